"""Images as protocols compare them: over a background, as 8 bit, and the distances between two of them.

Images are sRGB, (…,H,W,3): uint8, or floating in [0,1]. Every distance gives one float64 an image.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.errors import ContractBroken, NfbenchError

Pixels = NDArray[Any]  # uint8, or floating in [0,1]

_K1, _K2 = 0.01, 0.03  # Wang et al. 2004, section III.B
_BLOCK = 32  # outputs a matrix product gives along one axis: long enough for BLAS, short enough for the cache
_EXACT = 256  # squares of 8-bit differences that float32 sums exactly: 256 * 255^2 < 2^24


def composite(image: NDArray[np.uint8], background: ArrayLike) -> NDArray[np.float32]:
    """The image over a background, (H,W,3) float32 in [0,1].

    Args:
        image: (H,W,3) uint8 sRGB, which no background shows through, or (H,W,4) with straight alpha.
        background: (3,) sRGB in [0,1].

    Raises:
        ContractBroken: another shape or type, or a background outside [0,1].
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ContractBroken(f"An image is {image.dtype} {image.shape}.", "Give 8-bit RGB or RGBA, (H,W,3) or (H,W,4).")
    behind = np.asarray(background, np.float32)
    if behind.shape != (3,) or not ((behind >= 0) & (behind <= 1)).all():
        raise ContractBroken(f"Background {background!r} is not an sRGB colour.", "Give three numbers in [0,1].")
    rgb = image[..., :3].astype(np.float32)
    rgb /= 255
    if image.shape[2] == 3:
        return rgb
    rgb -= behind
    rgb *= image[..., 3:].astype(np.float32) / np.float32(255)
    rgb += behind
    return np.clip(rgb, 0, 1, out=rgb)


def quantise(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The image as 8 bit, (…,H,W,3) uint8, rounded to nearest; what lies outside [0,1], however far, is clipped.

    Raises:
        ContractBroken: NaN, another type than floating, or another shape.
    """
    if not np.issubdtype(image.dtype, np.floating) or image.ndim < 3 or image.shape[-1] != 3:
        raise ContractBroken(f"An image is {image.dtype} {image.shape}.", "Give floats in [0,1] of shape (…,H,W,3).")
    if image.size and np.isnan(image.min()):
        where = tuple(int(i[0]) for i in np.nonzero(np.isnan(image)))
        raise ContractBroken(f"An image holds NaN at {where}.", "Find where the method's render loses its numbers.")
    scaled = np.clip(image, 0, 1).astype(np.float32, copy=False) * np.float32(255)
    rounded: NDArray[np.uint8] = np.rint(scaled, out=scaled).astype(np.uint8)
    return rounded


def psnr(prediction: Pixels, truth: Pixels) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB, (…) float64, data range 1: 10 log10(1 / mean squared error); inf where equal.

    The squared error of 8-bit images is summed exactly.

    Args:
        prediction: (…,H,W,3) uint8, or floating in [0,1].
        truth: the same.

    Raises:
        ContractBroken: shapes or types that differ or are others, or floats outside [0,1].
    """
    _check_pair(prediction, truth)
    n, count = math.prod(prediction.shape[:-3]), math.prod(prediction.shape[-3:])
    pairs = zip(prediction.reshape(n, count), truth.reshape(n, count), strict=True)
    squares = np.array([_squared_error(p, t) for p, t in pairs], np.float64).reshape(prediction.shape[:-3])
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(count / squares))


def ssim(
    prediction: Pixels,
    truth: Pixels,
    *,
    size: int = 11,
    sigma: float = 1.5,
    covariance: Literal["population", "sample"] = "population",
) -> NDArray[np.float64]:
    """Structural similarity in [-1,1], (…) float64: the mean over channels and over all places where the window fits.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", equation 13, with a
    Gaussian window and data range 1. Equal to scikit-image with `gaussian_weights=True`, whose window at sigma 1.5 has
    11 taps; there, another size would leave the window as it is and only move the border.

    Args:
        prediction: (…,H,W,3) uint8, or floating in [0,1].
        truth: the same.
        size: taps of the window along each axis, odd.
        sigma: standard deviation of the window in pixels.
        covariance: `population`, as in the paper, or `sample`, which scales it by size^2 / (size^2 - 1).

    Raises:
        ContractBroken: shapes or types that differ or are others, or floats outside [0,1].
        NfbenchError: an image smaller than the window, or a window that is none.
    """
    _check_pair(prediction, truth)
    if size < 3 or size % 2 == 0 or not sigma > 0:
        raise NfbenchError(
            f"An SSIM window of {size} taps and sigma {sigma} is none.", "Give an odd size, sigma above 0."
        )
    if covariance not in ("population", "sample"):
        raise NfbenchError(f"SSIM covariance {covariance!r} is not known.", "Give 'population' or 'sample'.")
    height, width = prediction.shape[-3:-1]
    if min(height, width) < size:
        raise NfbenchError(
            f"SSIM needs images of {size}x{size} pixels or more; these have {width}x{height}.",
            "Score larger images, or leave SSIM out of the protocol.",
        )
    peak = 255.0 if prediction.dtype == np.uint8 else 1.0
    norm = size**2 / (size**2 - 1) if covariance == "sample" else 1.0
    lead = prediction.shape[:-3]
    images = (a.reshape(-1, *a.shape[-3:]).transpose(0, 3, 1, 2) for a in (prediction, truth))
    values = [_ssim_image(x, y, size, float(sigma), peak, norm) for x, y in zip(*images, strict=True)]
    return np.array(values, np.float64).reshape(lead)


def lpips(
    prediction: Pixels,
    truth: Pixels,
    *,
    net: Literal["alex", "vgg"] = "alex",
    weights: Path | None = None,
    device: str = "cpu",
) -> NDArray[np.float64]:
    """Learned perceptual distance, (…) float64, 0 where equal; see nfbench.harness.lpips, which this imports.

    Args:
        prediction: (…,H,W,3) uint8, or floating in [0,1].
        truth: the same.
        net: the network.
        weights: a file with its weights; the files of torchvision in the torch hub cache when left out.
        device: where it is computed.

    Raises:
        ContractBroken: shapes or types that differ or are others, or floats outside [0,1].
        DataMissing: the weights are not there and cannot be fetched.
    """
    _check_pair(prediction, truth)
    from nfbench.harness import lpips as network

    return network.distance(network.load(net, weights, device), prediction, truth)


def _check_pair(prediction: Pixels, truth: Pixels) -> None:
    for name, image in (("prediction", prediction), ("truth", truth)):
        if image.ndim < 3 or image.shape[-1] != 3 or not image.size:
            raise ContractBroken(
                f"The {name} has shape {image.shape}, not (…,H,W,3).", "Composite RGBA; stack grey into three channels."
            )
        if image.dtype != np.uint8 and not np.issubdtype(image.dtype, np.floating):
            raise ContractBroken(f"The {name} is {image.dtype}.", "Give uint8, or floats in [0,1].")
        if image.dtype != np.uint8 and not (image.min() >= 0 and image.max() <= 1):
            raise ContractBroken(
                f"The {name} spans [{image.min():.4g}, {image.max():.4g}], not [0,1].",
                "Divide 8-bit values by 255; clip or quantise the rest.",
            )
    if prediction.shape != truth.shape:
        raise ContractBroken(
            f"The prediction has shape {prediction.shape}, the truth {truth.shape}.",
            "Render at the size and number of the true images; nothing is resized here.",
        )
    if (prediction.dtype == np.uint8) != (truth.dtype == np.uint8):
        raise ContractBroken(
            f"The prediction is {prediction.dtype}, the truth {truth.dtype}.", "Quantise both, or neither."
        )


def _squared_error(prediction: Pixels, truth: Pixels) -> float:
    """The sum of squared differences of two flat images, both scaled to [0,1]."""
    if prediction.dtype != np.uint8:
        error = prediction.astype(np.float64) - truth
        return float(error @ error)
    error32 = (np.maximum(prediction, truth) - np.minimum(prediction, truth)).astype(np.float32)
    whole = len(error32) // _EXACT * _EXACT
    head, tail = error32[:whole].reshape(-1, _EXACT), error32[whole:]
    return float(np.vecdot(head, head).sum(dtype=np.float64) + float(tail @ tail)) / 255**2


@functools.lru_cache(maxsize=16)
def _band(size: int, sigma: float, count: int) -> NDArray[np.float64]:
    """(count, count+size-1): the matrix that convolves with the Gaussian, `count` outputs at once."""
    taps = np.exp(-0.5 * ((np.arange(size) - size // 2) / sigma) ** 2)
    taps /= taps.sum()
    matrix = np.zeros((count, count + size - 1))
    for i in range(count):
        matrix[i, i : i + size] = taps
    return matrix


def _ssim_image(x: Pixels, y: Pixels, size: int, sigma: float, peak: float, norm: float) -> float:
    """Mean SSIM of two (3,H,W) images, strip by strip, so that all its maps stay in the cache.

    Equation 13 needs the sum of the two variances only, hence four filtered maps, not five.
    """
    x, y = np.ascontiguousarray(x), np.ascontiguousarray(y)
    c1, c2 = (_K1 * peak) ** 2, (_K2 * peak) ** 2
    rows = x.shape[1] - size + 1
    columns = x.shape[2] - size + 1
    total = 0.0
    for top in range(0, rows, _BLOCK):
        count = min(_BLOCK, rows - top)
        a, b = (i[:, top : top + count + size - 1].astype(np.float64) for i in (x, y))
        maps = _band(size, sigma, count) @ np.stack([a, b, a * a + b * b, a * b])  # (4,3,count,W)
        wide = maps.reshape(-1, maps.shape[-1])
        inside = np.empty((len(wide), columns))
        for left in range(0, columns, _BLOCK):
            n = min(_BLOCK, columns - left)
            inside[:, left : left + n] = wide[:, left : left + n + size - 1] @ _band(size, sigma, n).T
        mean_x, mean_y, squares, product = inside.reshape(4, -1)
        means, mean_squares = mean_x * mean_y, mean_x**2 + mean_y**2
        numerator = (2 * means + c1) * (2 * norm * (product - means) + c2)
        denominator = (mean_squares + c1) * (norm * (squares - mean_squares) + c2)
        total += float((numerator / denominator).sum())
    return total / float(3 * rows * columns)
