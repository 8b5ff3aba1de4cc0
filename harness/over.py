"""Images over a background in 8 bit, by looking up what 256 values through 256 alphas become."""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.image import composite, quantise

Bytes = NDArray[np.uint8]


def flatten(image: Bytes, background: ArrayLike) -> Bytes:
    """The image over a background, (H,W,3) uint8, bit by bit `quantise(composite(image, background))`.

    Args:
        image: (H,W,4) uint8 sRGB with straight alpha, or (H,W,3), which no background shows through.
        background: (3,) sRGB in [0,1].

    Raises:
        ContractBroken: another shape or type, or a background outside [0,1].
    """
    behind = np.asarray(background, np.float32)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4 or behind.shape != (3,):
        return quantise(composite(image, background))  # which names what is wrong with it
    flat = np.empty((*image.shape[:2], 3), np.uint8)
    _look_up(np.ascontiguousarray(image).reshape(-1, 4), _table(tuple(behind.tolist())), flat.reshape(-1, 3))
    return flat


@lru_cache(maxsize=8)
def _table(background: tuple[float, float, float]) -> Bytes:
    """What values become through alphas over a background, (3,256,256): [channel, alpha, value].

    The definition itself computes it: every operation of `composite` and `quantise` is of one value and one alpha.
    """
    alpha, value = np.indices((256, 256), np.uint8)
    every = quantise(composite(np.stack([value, value, value, alpha], axis=-1), background))
    return np.ascontiguousarray(np.moveaxis(every, -1, 0))


@numba.njit(cache=True, nogil=True)
def _look_up(image: Bytes, table: Bytes, flat: Bytes) -> None:
    for i in range(len(image)):
        alpha = image[i, 3]
        for channel in range(3):
            flat[i, channel] = table[channel, alpha, image[i, channel]]
