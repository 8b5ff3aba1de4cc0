"""The loop of marching that numba compiles when first called, and keeps on disk."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray


@numba.njit(cache=True, nogil=True)
def renumbered(
    faces: NDArray[np.int64], turn: NDArray[np.int64], same: NDArray[np.int64], vertices: NDArray[np.float64]
) -> NDArray[np.int64]:
    """(F,3) the faces in the order of `turn` (F,), their vertices numbered as they come.

    Args:
        faces: (F,3) into `vertices`.
        turn: (F,) a permutation of the faces.
        same: (V,) the vertex that each vertex is.
        vertices: (V,3), put in their new order at the front.
    """
    number = np.full(len(same), -1, np.int64)
    found = np.empty_like(faces)
    count = 0
    for place in range(len(turn)):
        for corner in range(3):
            vertex = same[faces[turn[place], corner]]
            if number[vertex] < 0:
                number[vertex] = count
                count += 1
            found[place, corner] = number[vertex]
    old = vertices.copy()
    for vertex in range(len(same)):
        if number[vertex] >= 0:
            vertices[number[vertex]] = old[vertex]
    return found
