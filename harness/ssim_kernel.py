"""Structural similarity in one pass, compiled by numba when first called and kept on disk.

A tile of columns goes down the image. Each row of it is filtered along x into a ring that holds as many rows as the
window has taps, the ring is filtered along y, and the similarity of one row comes out, so that everything between the
images and the sum stays in the cache.

What is filtered is the sum s and the difference d of the images, and their squares: the variances of x and y add up to
(var s + var d) / 2, and twice their covariance is (var s - var d) / 2. Where the images agree var d is small and exact
and errors of var s cancel, which float32 needs. No fast-math: every sum is taken in the order written here.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]  # uint8 or floating
Reals = NDArray[np.floating]  # of the type of the taps
Scalars = tuple[Any, ...]  # of the type of the taps

CHANNELS = 3  # side by side in a row: the next pixel of a channel is this far off
TILE = 192  # outputs of a row at a time: the ring takes 135 kB in float64, which a second-level cache holds
MIDDLE_EVERY = 8  # rows from one to the next whose mean is taken: any value serves, a near one serves better
MAPS = 4  # the means of s, d, s^2 and d^2


def similarity(
    x: Pixels,
    y: Pixels,
    taps: Reals,
    constants: tuple[float, float, float],
    *,
    luminance: bool = True,
    places: Reals | None = None,
) -> NDArray[np.float64]:
    """The mean of equation 13 of Wang et al. 2004 over the places where the window fits, (3,) float64, per channel.

    Args:
        x: (H,W,3) uint8 or floating, no smaller than the window.
        y: the same, of the same type.
        taps: (size,) weights of the window along each axis, symmetric, size odd; their type is that of the arithmetic.
        constants: C1, C2, the factor of the variances and the covariance.
        luminance: without it the first factor is left out, which leaves contrast and structure.
        places: (H-size+1, W-size+1, 3) of the type of `taps`, takes the similarity at each place.
    """
    kind = taps.dtype.type
    size = len(taps)
    reach = CHANNELS * (size - 1)
    rows, columns = x.shape[0] - size + 1, x.shape[1] - size + 1
    total = np.zeros(columns * CHANNELS)
    x, y = _flat(x), _flat(y)
    _pass(
        x,
        y,
        _middles(x, len(total)).astype(kind),
        tuple(kind(tap) for tap in taps),
        tuple(kind(constant) for constant in constants),
        luminance,
        np.empty((MAPS, TILE + reach), kind),
        np.empty((MAPS, 2 * size * TILE), kind),
        np.empty((MAPS, TILE), kind),
        total,
        np.empty((0, 0), kind) if places is None else places.reshape(rows, columns * CHANNELS),
    )
    sums: NDArray[np.float64] = total.reshape(columns, CHANNELS).sum(axis=0)
    return sums / float(rows * columns)


def _flat(image: Pixels) -> Pixels:
    """(H,3W), never writeable, for numba compiles once more for arrays that are."""
    flat = np.ascontiguousarray(image).reshape(image.shape[0], -1).view()
    flat.flags.writeable = False
    return flat


def _middles(image: Pixels, outputs: int) -> NDArray[np.float64]:
    """A value near the mean of each tile, whole for 8-bit images.

    Taken off every pixel it changes no variance, and squares of what is left are the smallest, and so their rounding.
    """
    columns = image[::MIDDLE_EVERY, :outputs].mean(axis=0, dtype=np.float64)
    starts = np.arange(0, outputs, TILE)
    middles = np.add.reduceat(columns, starts) / np.minimum(TILE, outputs - starts)
    return np.rint(middles) if image.dtype == np.uint8 else middles


@numba.njit(nogil=True, cache=True)
def _multiply(x: Pixels, y: Pixels, middle: float, out: Reals, count: int) -> None:
    """Of one row of both images: the sum, the difference and their squares."""
    sums, differences, sums2, differences2 = out[0], out[1], out[2], out[3]
    for i in range(count):
        a = x[i] - middle
        b = y[i] - middle
        sums[i] = a + b
        differences[i] = a - b
        sums2[i] = (a + b) * (a + b)
        differences2[i] = (a - b) * (a - b)


@numba.njit(nogil=True, cache=True)
def _convolve(source: Reals, out: Reals, taps: Scalars, step: int, count: int) -> None:
    """Inlined with a constant step, and with taps in a tuple, this unrolls and runs on whole vectors."""
    half = len(taps) // 2
    for i in range(count):
        value = taps[half] * source[i + half * step]
        for k in range(half):
            value += taps[k] * (source[i + k * step] + source[i + (2 * half - k) * step])
        out[i] = value


@numba.njit(nogil=True, cache=True, error_model="numpy")  # no check of each divisor, which is never 0
def _combine(maps: Reals, middle: float, constants: Scalars, luminance: bool, count: int) -> None:
    """Equation 13, numerator and denominator doubled, into the first map; c + c, for 2 * c would make float32 wider."""
    sums, differences, sums2, differences2 = maps[0], maps[1], maps[2], maps[3]
    c1, c2, factor = constants
    for i in range(count):
        s, d = sums[i], differences[i]
        of_sum = factor * (sums2[i] - s * s)
        of_difference = factor * (differences2[i] - d * d)
        numerator = of_sum - of_difference + (c2 + c2)
        denominator = of_sum + of_difference + (c2 + c2)
        if luminance:
            s = s + (middle + middle)
            numerator *= s * s - d * d + (c1 + c1)
            denominator *= s * s + d * d + (c1 + c1)
        sums[i] = numerator / denominator


@numba.njit(nogil=True, cache=True)
def _copy(source: Reals, out: Reals, count: int) -> None:
    for i in range(count):
        out[i] = source[i]


@numba.njit(nogil=True, cache=True)
def _add(source: Reals, out: NDArray[np.float64], count: int) -> None:
    for i in range(count):
        out[i] += source[i]


@numba.njit(nogil=True, cache=True)
def _pass(
    x: Pixels,
    y: Pixels,
    middles: Reals,
    taps: Scalars,
    constants: Scalars,
    luminance: bool,
    work: Reals,
    ring: Reals,
    maps: Reals,
    total: NDArray[np.float64],
    places: Reals,
) -> None:
    """Sums over all rows into `total`; into `places` too, unless that is empty."""
    size = len(taps)
    reach = CHANNELS * (size - 1)
    for left in range(0, len(total), TILE):
        count = min(TILE, len(total) - left)
        right = left + count
        middle = middles[left // TILE]
        for row in range(len(x)):
            _multiply(x[row, left : right + reach], y[row, left : right + reach], middle, work, count + reach)
            here = row % size * TILE
            for k in range(MAPS):
                _convolve(work[k], ring[k, here : here + TILE], taps, CHANNELS, count)
                # written twice, so that the last `size` rows always lie one after another
                again = here + size * TILE
                _copy(ring[k, here : here + TILE], ring[k, again : again + TILE], count)
            if row < size - 1:
                continue
            oldest = here + TILE
            for k in range(MAPS):
                _convolve(ring[k, oldest : oldest + size * TILE], maps[k], taps, TILE, count)
            _combine(maps, middle, constants, luminance, count)
            _add(maps[0], total[left:right], count)
            if len(places):
                _copy(maps[0], places[row - size + 1, left:right], count)
