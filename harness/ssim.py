"""The family of structural similarities by name, and the one over several scales; the arithmetic is in ssim_kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import NfbenchError, did_you_mean

Precision = Literal["double", "single"]
Variant = Literal["gaussian", "matlab", "matlab-grey", "tf", "uniform7"]

K1, K2 = 0.01, 0.03  # Wang et al. 2004, section III.B
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang, Simoncelli and Bovik 2003, section 3.2
GREY = (0.298936021293775, 0.587043074451121, 0.114020904255103)  # ITU-R BT.601 as MATLAB's rgb2gray has it


@dataclass(frozen=True)
class Window:
    """What is averaged around a pixel.

    Attributes:
        size: taps along each axis, odd.
        sigma: standard deviation of the Gaussian in pixels; None for equal weights.
        covariance: `population`, as in the paper, or `sample`, which scales it by size^2 / (size^2 - 1).
    """

    size: int = 11
    sigma: float | None = 1.5
    covariance: Literal["population", "sample"] = "population"

    def taps(self, kind: np.dtype[Any]) -> NDArray[np.floating]:
        """The weights along one axis, (size,) of a floating type, of sum 1."""
        middle = self.size // 2
        exact = np.ones(self.size)
        if self.sigma is not None:
            exact = np.exp(-0.5 * ((np.arange(self.size) - middle) / self.sigma) ** 2)
        taps: NDArray[np.floating] = (exact / exact.sum()).astype(kind)
        # rounded one by one, float32 weights miss 1 by enough to shift every variance of a bright image
        taps[middle] += 1 - taps.sum(dtype=np.float64)
        taps[[0, -1]] += (1 - taps.sum(dtype=np.float64)) / 2  # the smallest hold the finest digits
        return taps


GAUSSIAN = Window()

WINDOWS: dict[Variant, Window] = {
    "gaussian": GAUSSIAN,
    "matlab": GAUSSIAN,
    "matlab-grey": GAUSSIAN,
    "tf": GAUSSIAN,
    "uniform7": Window(7, None, "sample"),
}


def window(size: int, sigma: float, covariance: Literal["population", "sample"], variant: Variant) -> Window:
    """The window of a variant, checked; size, sigma and covariance may differ from the paper's for `gaussian` only."""
    if variant not in WINDOWS:
        raise NfbenchError(f"SSIM variant {variant!r} is not known.", did_you_mean(str(variant), WINDOWS, "variants"))
    if size < 3 or size % 2 == 0 or not sigma > 0:
        raise NfbenchError(
            f"An SSIM window of {size} taps and sigma {sigma} is none.", "Give an odd size, sigma above 0."
        )
    if covariance not in ("population", "sample"):
        raise NfbenchError(f"SSIM covariance {covariance!r} is not known.", "Give 'population' or 'sample'.")
    given = Window(size, float(sigma), covariance)
    if variant == "gaussian":
        return given
    if given != GAUSSIAN:
        raise NfbenchError(
            f"SSIM variant {variant} has a window of its own.", "Leave size, sigma and covariance out, or use gaussian."
        )
    return WINDOWS[variant]


def check_precision(precision: Precision) -> None:
    """Raises NfbenchError for another precision than `double` or `single`."""
    if precision not in ("double", "single"):
        raise NfbenchError(f"SSIM precision {precision!r} is not known.", "Give 'double' or 'single'.")


def similarity(
    x: NDArray[Any],
    y: NDArray[Any],
    around: Window,
    *,
    peak: float,
    precision: Precision = "double",
    mask: NDArray[np.bool_] | None = None,
    luminance: bool = True,
) -> NDArray[np.float64]:
    """The mean similarity of two images per channel, (3,) float64; NaN where the mask leaves no place.

    Args:
        x: (H,W,3) uint8 or floating, at least as large as the window.
        y: the same, uint8 where x is.
        around: what is averaged.
        peak: the value of white.
        precision: float64 or float32 arithmetic; the sum over pixels is float64 in both.
        mask: (H,W), the pixels to average over; those whose window leaves the image never count.
        luminance: without it, contrast and structure alone.
    """
    from nfbench.harness import ssim_kernel  # numba takes its time

    kind = np.dtype(np.float64 if precision == "double" else np.float32)
    if x.dtype != np.uint8:
        x, y = x.astype(kind, copy=False), y.astype(kind, copy=False)
    factor = around.size**2 / (around.size**2 - 1) if around.covariance == "sample" else 1.0
    constants = ((K1 * peak) ** 2, (K2 * peak) ** 2, factor)
    taps = around.taps(kind)
    if mask is None:
        return ssim_kernel.similarity(x, y, taps, constants, luminance=luminance)
    border = around.size // 2
    inside = mask[border : mask.shape[0] - border, border : mask.shape[1] - border]
    if not inside.any():
        return np.full(3, np.nan)
    places = np.empty((*inside.shape, 3), kind)
    ssim_kernel.similarity(x, y, taps, constants, luminance=luminance, places=places)
    return np.asarray(places[inside].mean(axis=0, dtype=np.float64))


def several_scales(
    x: NDArray[Any], y: NDArray[Any], *, peak: float, precision: Precision = "double"
) -> NDArray[np.float64]:
    """MS-SSIM per channel, (3,) float64 in [0,1]: equation 7 of Wang, Simoncelli and Bovik 2003.

    Contrast and structure at five scales, each half as large as the one before, to the power of the scale's weight;
    luminance at the last alone. A negative mean at any scale counts as 0, for its power is no real number.

    Args:
        x: (H,W,3) uint8 or floating, at least smallest_of_scales() pixels high and wide.
        y: the same.
        peak: the value of white.
        precision: float64 or float32 arithmetic.
    """
    score = np.ones(3)
    for scale, weight in enumerate(SCALE_WEIGHTS, 1):
        last = scale == len(SCALE_WEIGHTS)
        value = similarity(x, y, GAUSSIAN, peak=peak, precision=precision, luminance=last)
        score *= np.maximum(value, 0) ** weight
        if not last:
            x, y = downsample(x, 2), downsample(y, 2)
    return score


def smallest_of_scales() -> int:
    """The least height and width at which the window still fits the smallest scale, 161."""
    return int((GAUSSIAN.size - 1) * 2 ** (len(SCALE_WEIGHTS) - 1) + 1)


def matlab_factor(height: int, width: int) -> int:
    """How many times smaller the authors' ssim.m makes an image first: its shorter side over 256, rounded half up."""
    return max(1, math.floor(min(height, width) / 256 + 0.5))


def downsample(image: NDArray[Any], factor: int) -> NDArray[np.float64]:
    """Every factor-th pixel of the image's factor x factor means, (ceil(H/factor), ceil(W/factor), …) float64.

    As ssim.m does it: the mean around pixel i covers i - (c-1) to i + factor - c with c = floor((factor + 1) / 2),
    so that a factor of 2 gives plain blocks; beyond the border the image is mirrored.
    """
    smaller: NDArray[np.float64] = image.astype(np.float64)
    before = (factor + 1) // 2 - 1
    for axis in (0, 1):
        count = -(-smaller.shape[axis] // factor)
        around = [(0, 0)] * smaller.ndim
        around[axis] = (before, factor - 1 - before)
        padded = np.moveaxis(np.pad(smaller, around, mode="symmetric"), axis, 0)
        mean = padded[::factor][:count].copy()
        for k in range(1, factor):
            mean += padded[k::factor][:count]
        smaller = np.moveaxis(mean / factor, 0, axis)
    return smaller


def grey(image: NDArray[Any]) -> NDArray[np.float64]:
    """The luminance of an image in all three channels, (H,W,3) float64; 8-bit ones are rounded, as rgb2gray does."""
    luminance = image.astype(np.float64) @ np.array(GREY)
    if image.dtype == np.uint8:
        luminance = np.floor(luminance + 0.5)
    return np.repeat(luminance[..., None], 3, axis=-1)
