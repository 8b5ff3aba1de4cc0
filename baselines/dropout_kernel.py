"""ReLU and dropout in one pass on the CPU, compiled by numba when first called and kept on disk.

The masks come from a hash of each number's position and of a key, so that nothing is stored but the result, and drawing
them takes a fraction of a nanosecond a number, where a serial generator takes ten.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]

_STRIDE = np.uint32(2654435761)  # 2^32 over the golden ratio (Knuth, The Art of Computer Programming 3, section 6.4)
_MIX_1, _MIX_2 = np.uint32(2246822507), np.uint32(3266489909)  # the finaliser of MurmurHash3 (Appleby 2011)
_S16, _S13 = np.uint32(16), np.uint32(13)


@numba.njit(nogil=True, cache=True)
def relu_dropout(
    x: Singles, out: Singles, key_1: np.uint32, key_2: np.uint32, dropped: np.uint32, scale: np.float32
) -> None:
    """Write ReLU(x) * scale to `out` where a number is kept, and 0 where it is dropped.

    Args:
        x: (P,), contiguous.
        out: like `x`.
        key_1: with key_2, which mask is drawn.
        key_2: see key_1.
        dropped: the chance of being dropped, times 2^32.
        scale: what the kept ones are multiplied by.
    """
    for i in range(x.size):  # every product is cut to 32 bits by hand: numba's are of 64
        h = np.uint32(np.uint32(i) * _STRIDE + key_1)
        h = np.uint32((h ^ (h >> _S16)) * _MIX_2) ^ key_2
        h = np.uint32((h ^ (h >> _S16)) * _MIX_1)
        h = np.uint32((h ^ (h >> _S13)) * _MIX_2)
        h ^= h >> _S16
        value = x[i] * scale
        out[i] = value if (h >= dropped and value > 0) else np.float32(0)
