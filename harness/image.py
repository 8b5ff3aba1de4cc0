"""Images as protocols compare them: over a background, as 8 bit, and the distances between two of them.

Images are sRGB, (…,H,W,3): uint8, or floating in [0,1]. Every distance gives one float64 an image.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness import ssim as family
from nfbench.harness.errors import ContractBroken, NfbenchError, Unsupported
from nfbench.harness.ssim import Precision, Variant

Pixels = NDArray[Any]  # uint8, or floating in [0,1]
Mask = NDArray[np.bool_]

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
    return rgb  # in [0,1] without clipping: what 1 - b and a product lose or gain by rounding, the sum rounds away


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


def flattened(image: NDArray[np.uint8], background: ArrayLike) -> NDArray[np.uint8]:
    """The image over a background, rounded to 8 bit, (H,W,3) uint8: what truth is measured as, and methods learn from.

    Args and errors as `composite`.
    """
    if image.shape[-1] == 3:
        return image
    from nfbench.harness.over import flatten  # loads numba

    return flatten(image, background)


def psnr(prediction: Pixels, truth: Pixels, *, mask: Mask | None = None) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio in dB, (…) float64, data range 1: 10 log10(1 / mean squared error); inf where equal.

    The squared error of 8-bit images is summed exactly.

    Args:
        prediction: (…,H,W,3) uint8, or floating in [0,1].
        truth: the same.
        mask: (…,H,W) bool, the pixels that count: the mean is over these alone.

    Raises:
        ContractBroken: shapes or types that differ or are others, or floats outside [0,1].
        NfbenchError: an empty mask, named.
    """
    _check_pair(prediction, truth)
    _check_mask(mask, prediction)
    inverse = _each(_inverse_mean_square, prediction, truth, mask)
    return np.asarray(10 * np.log10(inverse))


def ssim(
    prediction: Pixels,
    truth: Pixels,
    *,
    size: int = 11,
    sigma: float = 1.5,
    covariance: Literal["population", "sample"] = "population",
    variant: Variant = "gaussian",
    precision: Precision = "double",
    mask: Mask | None = None,
) -> NDArray[np.float64]:
    """Structural similarity in [-1,1], (…) float64: the mean over channels and over all places where the window fits.

    Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity", equation 13, with
    data range 1, K1 = 0.01, K2 = 0.03. The variants in use:

    - `gaussian`: a Gaussian window, its size, sigma and covariance free. As given it equals scikit-image with
      `gaussian_weights=True, sigma=1.5, use_sample_covariance=False`, whose window at sigma 1.5 has 11 taps; there,
      another size would leave the window as it is and only move the border.
    - `tf`: TensorFlow's `tf.image.ssim` and DeepMind's `dm_pix.ssim`: 11 taps, sigma 1.5, only where the window fits,
      per channel. What they compute in float32 is the default of `gaussian`; named for records that must say so.
    - `matlab`: the authors' `ssim.m`, which first makes the image smaller by the whole factor
      round(min(H,W) / 256), with means over as many pixels; each channel on its own and their mean, as piq does.
    - `matlab-grey`: the same of the luminance, MATLAB's `rgb2gray`, the only input that `ssim.m` documents.
    - `uniform7`: `compare_ssim(multichannel=True)` of scikit-image before 0.16, used by SRN and pixelNeRF: equal
      weights over 7x7 pixels, sample covariance.

    Args:
        prediction: (…,H,W,3) uint8, or floating in [0,1].
        truth: the same.
        size: taps of the window along each axis, odd; for `gaussian` only, as are the next two.
        sigma: standard deviation of the window in pixels.
        covariance: `population`, as in the paper, or `sample`, which scales it by size^2 / (size^2 - 1).
        variant: the convention.
        precision: `double` is within 1e-9 of scikit-image in float64, `single` within 1e-6 and faster.
        mask: (…,H,W) bool, the pixels that count: the mean is over the similarities there. The windows of these reach
            pixels outside the mask. Pixels whose window leaves the image do not count.

    Raises:
        ContractBroken: shapes or types that differ or are others, or floats outside [0,1].
        NfbenchError: an image smaller than the window, a window that is none or that the variant does not have, a
            mask that is empty or leaves no place where the window fits.
        Unsupported: a mask for a variant that makes images smaller.
    """
    _check_pair(prediction, truth)
    _check_mask(mask, prediction)
    window = family.window(size, sigma, covariance, variant)
    family.check_precision(precision)
    height, width = prediction.shape[-3:-1]
    if min(height, width) < window.size:
        raise NfbenchError(
            f"SSIM needs images of {window.size}x{window.size} pixels or more; these have {width}x{height}.",
            "Score larger images, or leave SSIM out of the protocol.",
        )
    matlab = variant.startswith("matlab")
    if matlab and mask is not None:
        raise Unsupported(f"SSIM variant {variant} makes images smaller, a mask is not defined.", "Give another one.")

    def one(x: Pixels, y: Pixels, valid: Mask | None) -> float:
        peak = 255.0 if x.dtype == np.uint8 else 1.0
        if variant == "matlab-grey":
            x, y = family.grey(x), family.grey(y)
        if matlab and (factor := family.matlab_factor(height, width)) > 1:
            x, y = family.downsample(x, factor), family.downsample(y, factor)
        return float(family.similarity(x, y, window, peak=peak, precision=precision, mask=valid).mean())

    values = _each(one, prediction, truth, mask)
    if np.isnan(values).any():
        raise NfbenchError(
            f"The mask of image {_first(np.isnan(values))} holds no pixel whose SSIM window fits into the image.",
            "Leave masked SSIM out for such an image.",
        )
    return values


def ms_ssim(
    prediction: Pixels, truth: Pixels, *, precision: Precision = "double", mask: Mask | None = None
) -> NDArray[np.float64]:
    """Structural similarity over five scales in [0,1], (…) float64: per channel, then the mean over the channels.

    Wang, Simoncelli and Bovik 2003, "Multiscale structural similarity for image quality assessment", equation 7, with
    its weights, 11x11 Gaussian windows of sigma 1.5 where they fit, and 2x2 means from scale to scale (the last row
    or column of an odd size counts twice, as in the authors' code). torchmetrics differs: it takes the mean over the
    channels at each scale, mirrors the border of the last one, and leaves the last row or column of odd sizes out.

    Args:
        prediction: (…,H,W,3) uint8, or floating in [0,1].
        truth: the same.
        precision: `double` or `single`.
        mask: (…,H,W) bool, the pixels that count: at each scale the mean is over the places there, as in `ssim`. A
            pixel of a smaller scale counts when all the pixels that it is the mean of do.

    Raises:
        ContractBroken: shapes or types that differ or are others, or floats outside [0,1].
        NfbenchError: an image with fewer than 161 pixels on a side, a precision that is none, or a mask that is empty
            or, at some scale, leaves no place where the window fits.
    """
    _check_pair(prediction, truth)
    _check_mask(mask, prediction)
    family.check_precision(precision)
    height, width = prediction.shape[-3:-1]
    least = family.smallest_of_scales()
    if min(height, width) < least:
        raise NfbenchError(
            f"MS-SSIM needs images of {least}x{least} pixels or more; these have {width}x{height}.",
            "Five scales leave no room for the window; use SSIM.",
        )

    def one(x: Pixels, y: Pixels, valid: Mask | None) -> float:
        peak = 255.0 if x.dtype == np.uint8 else 1.0
        if valid is None:
            return float(family.several_scales(x, y, peak=peak, precision=precision).mean())
        return _masked_scales(x, y, valid, peak, precision)

    values = _each(one, prediction, truth, mask)
    if np.isnan(values).any():
        raise NfbenchError(
            f"The mask of image {_first(np.isnan(values))} holds, at some scale, no pixel whose window fits.",
            "Leave masked MS-SSIM out for such an image; SSIM needs less room.",
        )
    return values


def lpips(
    prediction: Pixels,
    truth: Pixels,
    *,
    net: Literal["alex", "vgg", "squeeze"] = "alex",
    version: Literal["0.1", "0.0"] = "0.1",
    weights: Path | None = None,
    device: str = "cpu",
    mask: Mask | None = None,
    normalised: bool = True,
) -> NDArray[np.float64]:
    """Learned perceptual distance, (…) float64, 0 where equal; see nfbench.harness.lpips, which this imports.

    Args:
        prediction: (…,H,W,3) uint8, or floating in [0,1].
        truth: the same.
        net: the network.
        version: of the weights of its channels; 0.0 is the first release, whose input is not scaled.
        weights: a file with its weights; the files of torchvision in the torch hub cache when left out.
        device: where it is computed.
        mask: (…,H,W) bool, the pixels that count: the mean is over the distances there, brought to the image's size.
        normalised: bring images to [-1,1], as the network expects; papers have left this out by oversight.

    Raises:
        ContractBroken: shapes or types that differ or are others, or floats outside [0,1].
        DataMissing: the weights are not there and cannot be fetched.
        NfbenchError: images too small for the network, an empty mask, or a network or version that is not known.
    """
    _check_pair(prediction, truth)
    _check_mask(mask, prediction)
    from nfbench.harness import lpips as network

    model = network.load(net, weights, device, version)
    return network.distance(model, prediction, truth, mask, normalised=normalised)


def _masked_scales(x: Pixels, y: Pixels, valid: Mask, peak: float, precision: Precision) -> float:
    """MS-SSIM of one pair over the valid pixels (H,W) of each scale; NaN where one has no place for the window."""
    score = np.ones(3)
    for scale, weight in enumerate(family.SCALE_WEIGHTS, 1):
        last = scale == len(family.SCALE_WEIGHTS)
        value = family.similarity(x, y, family.GAUSSIAN, peak=peak, precision=precision, mask=valid, luminance=last)
        score *= np.maximum(value, 0) ** weight  # a negative mean has no real power
        if not last:
            x, y = family.downsample(x, 2), family.downsample(y, 2)
            valid = family.downsample(valid, 2) == 1
    return float(score.mean())


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


def _check_mask(mask: Mask | None, image: Pixels) -> None:
    if mask is None:
        return
    if mask.dtype != np.bool_ or mask.shape != image.shape[:-1]:
        raise ContractBroken(
            f"The mask is {mask.dtype} {mask.shape}, the images have shape {image.shape}.",
            f"Give bool of shape {image.shape[:-1]}, true where pixels count.",
        )
    empty = np.asarray(~mask.any(axis=(-2, -1)))
    if empty.any():
        raise NfbenchError(
            f"The mask of image {_first(empty)} is empty.", "Leave that image out: it has nothing to score."
        )


def _first(wrong: NDArray[np.bool_]) -> str:
    """The place of the first true value, as in '2' or '1, 0'."""
    return ", ".join(str(i) for i in np.argwhere(np.atleast_1d(wrong))[0])


def _masks(mask: Mask | None, images: Pixels) -> Iterable[Mask | None]:
    """One mask an image, or None for each."""
    n = math.prod(images.shape[:-3])
    return [None] * n if mask is None else mask.reshape(n, *mask.shape[-2:])


def _each(
    measure: Callable[[Pixels, Pixels, Mask | None], float], prediction: Pixels, truth: Pixels, mask: Mask | None
) -> NDArray[np.float64]:
    """The measure of each pair of images, (…) float64."""
    pairs = (a.reshape(-1, *a.shape[-3:]) for a in (prediction, truth))
    values = [measure(x, y, valid) for x, y, valid in zip(*pairs, _masks(mask, prediction), strict=True)]
    return np.array(values, np.float64).reshape(prediction.shape[:-3])


def _inverse_mean_square(prediction: Pixels, truth: Pixels, mask: Mask | None) -> float:
    """1 over the mean squared difference, both images scaled to [0,1], over the mask or all pixels; inf where equal."""
    x, y = (a.ravel() if mask is None else a[mask].ravel() for a in (prediction, truth))
    squares = _squared_error(x, y)
    return x.size / squares if squares else math.inf


def _squared_error(prediction: Pixels, truth: Pixels) -> float:
    """The sum of squared differences of two flat images, both scaled to [0,1]."""
    if prediction.dtype != np.uint8:
        error = prediction.astype(np.float64) - truth
        return float(error @ error)
    error32 = (np.maximum(prediction, truth) - np.minimum(prediction, truth)).astype(np.float32)
    whole = len(error32) // _EXACT * _EXACT
    head, tail = error32[:whole].reshape(-1, _EXACT), error32[whole:]
    return float(np.vecdot(head, head).sum(dtype=np.float64) + float(tail @ tail)) / 255**2
