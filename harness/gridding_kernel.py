"""The loops of gridding that numba compiles when first called, and keeps on disk."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from nfbench.harness.gridding import _CELLS

_SIDES = 9  # columns of cells around a cell, its own included
_CHAIN = 64  # points that wait for one another, at first


@numba.njit(cache=True, nogil=True)
def count(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """(F,) how many points `fill` puts on each triangle of (F,2) steps."""
    counts = np.zeros(len(steps), np.int64)
    for face in range(len(steps)):
        n, m = steps[face]
        if n < 1 or m < 1:
            continue
        for i in range(n):
            for j in range(m):
                if (i + 0.5) / n + (j + 0.5) / m >= 1:
                    break
                counts[face] += 1
    return counts


@numba.njit(cache=True, nogil=True)
def fill(
    origin: NDArray[np.float64],
    along: NDArray[np.float64],
    across: NDArray[np.float64],
    steps: NDArray[np.int64],
    points: NDArray[np.float64],
) -> None:
    """Write the gridded points of all triangles, one after another, into `points`."""
    at = 0
    for face in range(len(steps)):
        n, m = steps[face]
        if n < 1 or m < 1:
            continue
        for i in range(n):
            a = (i + 0.5) / n
            for j in range(m):
                b = (j + 0.5) / m
                if a + b >= 1:
                    break
                for axis in range(3):
                    points[at, axis] = along[face, axis] * a + across[face, axis] * b + origin[face, axis]
                at += 1


@numba.njit(cache=True, nogil=True)
def thin(
    points: NDArray[np.float64],
    keys: NDArray[np.int64],
    starts: NDArray[np.int64],
    cell: NDArray[np.int32],
    turn: NDArray[np.int64],
    radius: float,
) -> NDArray[np.bool_]:
    """(P,) bool, which points are kept.

    Each point is decided on in the order of space, for the sake of the cache, once all those near it whose turn comes
    earlier are: a chain of such points is short, as turns are random.

    Args:
        points: (P,3), those of a cell one after another.
        keys: (C,) the cells' keys, rising.
        starts: (C+1,) where the points of each cell start.
        cell: (P,) the cell of each point.
        turn: (P,) the turn of each point, a permutation.
        radius: within which a kept point removes others.
    """
    columns = _columns(keys)
    squared = radius * radius
    kept = np.zeros(len(points), np.bool_)
    decided = np.zeros(len(points), np.bool_)
    chain = np.empty(_CHAIN, np.int64)
    for start in range(len(points)):
        chain[0] = start
        length = 1
        while length:
            here = chain[length - 1]
            earlier = here
            if not decided[here]:
                earlier = _visit(here, False, points, keys, starts, cell[here], columns, turn, squared, decided)
            if earlier != here:
                if length == len(chain):
                    chain = np.concatenate((chain, np.empty_like(chain)))
                chain[length] = earlier
                length += 1
                continue
            if not decided[here]:
                kept[here] = True
                _visit(here, True, points, keys, starts, cell[here], columns, turn, squared, decided)
            length -= 1
    return kept


@numba.njit(cache=True, nogil=True)
def _visit(
    here: int,
    settle: bool,
    points: NDArray[np.float64],
    keys: NDArray[np.int64],
    starts: NDArray[np.int64],
    own: int,
    columns: NDArray[np.int32],
    turn: NDArray[np.int64],
    squared: float,
    decided: NDArray[np.bool_],
) -> int:
    """An undecided point near `here` whose turn comes earlier, or else `here`; `settle` decides on all near it."""
    x, y, z = points[here]
    for side in range(_SIDES):
        last = keys[own] + _offset(side) + 1
        there = columns[own, side]
        while there < len(keys) and keys[there] <= last:
            for k in range(starts[there], starts[there + 1]):
                if decided[k] or (not settle and turn[k] >= turn[here]):
                    continue
                dx, dy, dz = points[k, 0] - x, points[k, 1] - y, points[k, 2] - z
                if dx * dx + dy * dy + dz * dz <= squared:
                    if not settle:
                        return k
                    decided[k] = True
            there += 1
    return here


@numba.njit(cache=True, nogil=True)
def _columns(keys: NDArray[np.int64]) -> NDArray[np.int32]:
    """(C,9) the first of the three neighbours, or what follows them, in each column of cells around each cell."""
    columns = np.empty((len(keys), _SIDES), np.int32)
    for side in range(_SIDES):
        offset = _offset(side)
        there = 0
        for own in range(len(keys)):
            first = keys[own] + offset - 1
            while there < len(keys) and keys[there] < first:
                there += 1
            columns[own, side] = there
    return columns


@numba.njit(cache=True, nogil=True)
def _offset(side: int) -> int:
    """From the key of a cell to that at the same height in the column at `side`."""
    return ((side // 3 - 1) * _CELLS + side % 3 - 1) * _CELLS
