"""Polygons of any number of corners as triangles."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_Index = NDArray[np.int64]


def fan(sizes: _Index, corners: _Index) -> _Index:
    """(F,3) triangles of polygons, in their order, each cut into a fan from its first corner.

    Args:
        sizes: (N,) corners of each polygon; one of fewer than three gives none.
        corners: (sum of sizes,) vertex numbers, polygon after polygon.
    """
    if (sizes == 3).all():
        return corners.reshape(-1, 3)
    starts = np.cumsum(sizes) - sizes
    triangles = np.maximum(sizes - 2, 0)
    first = np.repeat(starts, triangles)
    step = np.arange(len(first)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    return np.stack([corners[first], corners[first + step + 1], corners[first + step + 2]], axis=1)
