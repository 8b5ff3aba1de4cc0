"""The loops over a sparse grid that numba compiles when first called, and keeps on disk."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from nfbench.harness.sparse_grid import _BITS, _INSIDE, _KNOWN, _QUEUED, _SIDE, _UNKNOWN, _WAITING

_LAST = _SIDE - 1
_HALF = _SIDE // 2
Table = NDArray[np.int32]
Pool = NDArray[np.float32]
Points = NDArray[np.int32]


@numba.njit(cache=True, nogil=True)
def _at(table: Table, pool: Pool, x: int, y: int, z: int) -> float:
    """The number at a point: a value, or the sign alone, which is beyond _KNOWN."""
    block = table[x >> _BITS, y >> _BITS, z >> _BITS]
    if block < 0:
        return _UNKNOWN if block == _INSIDE else -_UNKNOWN
    return pool[block, x & _LAST, y & _LAST, z & _LAST]  # type: ignore[no-any-return]


@numba.njit(cache=True, nogil=True)
def _visit(table: Table, pool: Pool, x: int, y: int, z: int, wanted: Points, count: int) -> tuple[Points, int]:
    """Append the corners without a value of the cell at (x,y,z), where the surface crosses it."""
    inside = 0
    for a in range(8):
        if _at(table, pool, x + (a >> 2), y + ((a >> 1) & 1), z + (a & 1)) > 0:
            inside += 1
    if inside == 0 or inside == 8:
        return wanted, count
    if count + 8 > len(wanted):
        grown = np.empty((2 * len(wanted), 3), np.int32)
        grown[:count] = wanted[:count]
        wanted = grown
    for a in range(8):
        i, j, k = x + (a >> 2), y + ((a >> 1) & 1), z + (a & 1)
        block = table[i >> _BITS, j >> _BITS, k >> _BITS]
        if block >= 0:
            number = pool[block, i & _LAST, j & _LAST, k & _LAST]
            if abs(number) < _WAITING:
                continue  # known, or in the list already
            pool[block, i & _LAST, j & _LAST, k & _LAST] = _QUEUED if number > 0 else -_QUEUED
        wanted[count, 0], wanted[count, 1], wanted[count, 2] = i, j, k
        count += 1
    return wanted, count


@numba.njit(cache=True, nogil=True)
def scan(table: Table, pool: Pool, blocks: Points, shape: NDArray[np.int64]) -> Points:
    """(C,3) the points without a value at the corners of crossed cells that start in `blocks` (B,3)."""
    wanted = np.empty((4096, 3), np.int32)
    count = 0
    for b in range(len(blocks)):
        x0, y0, z0 = blocks[b, 0] * _SIDE, blocks[b, 1] * _SIDE, blocks[b, 2] * _SIDE
        for x in range(x0, min(x0 + _SIDE, shape[0] - 1)):
            for y in range(y0, min(y0 + _SIDE, shape[1] - 1)):
                for z in range(z0, min(z0 + _SIDE, shape[2] - 1)):
                    wanted, count = _visit(table, pool, x, y, z, wanted, count)
    return wanted[:count]


@numba.njit(cache=True, nogil=True)
def around(table: Table, pool: Pool, points: Points, shape: NDArray[np.int64]) -> Points:
    """(C,3) the points without a value at the corners of crossed cells that have one of `points` (P,3) as a corner.

    Such as lie in no block may be named more than once.
    """
    wanted = np.empty((4096, 3), np.int32)
    count = 0
    for p in range(len(points)):
        for a in range(8):
            x, y, z = points[p, 0] - (a >> 2), points[p, 1] - ((a >> 1) & 1), points[p, 2] - (a & 1)
            if min(x, y, z) >= 0 and x < shape[0] - 1 and y < shape[1] - 1 and z < shape[2] - 1:
                wanted, count = _visit(table, pool, x, y, z, wanted, count)
    return wanted[:count]


@numba.njit(cache=True, nogil=True)
def queue(table: Table, pool: Pool, points: Points) -> NDArray[np.bool_]:
    """(P,) bool, which points have no value and are not queued yet; they are now. All must lie in blocks."""
    fresh = np.zeros(len(points), np.bool_)
    for p in range(len(points)):
        x, y, z = points[p]
        block = table[x >> _BITS, y >> _BITS, z >> _BITS]
        number = pool[block, x & _LAST, y & _LAST, z & _LAST]
        if abs(number) > _WAITING:
            pool[block, x & _LAST, y & _LAST, z & _LAST] = _QUEUED if number > 0 else -_QUEUED
            fresh[p] = True
    return fresh


@numba.njit(cache=True, nogil=True)
def write(table: Table, pool: Pool, points: Points, values: Pool) -> NDArray[np.bool_]:
    """Put values (P,) at points (P,3), which lie in blocks; (P,) bool, where the sign is not what it was taken for."""
    flipped = np.zeros(len(points), np.bool_)
    for p in range(len(points)):
        x, y, z = points[p]
        block = table[x >> _BITS, y >> _BITS, z >> _BITS]
        flipped[p] = (pool[block, x & _LAST, y & _LAST, z & _LAST] > 0) != (values[p] > 0)
        pool[block, x & _LAST, y & _LAST, z & _LAST] = values[p]
    return flipped


@numba.njit(cache=True, nogil=True)
def numbers_at(table: Table, pool: Pool, points: Points) -> Pool:
    """(P,) the numbers at points (P,3)."""
    found = np.empty(len(points), np.float32)
    for p in range(len(points)):
        found[p] = _at(table, pool, points[p, 0], points[p, 1], points[p, 2])
    return found


@numba.njit(cache=True, nogil=True)
def finer(table: Table, pool: Pool, shape: NDArray[np.int64], fine: Table) -> Points:
    """(B,3) the blocks of the grid of half the spacing that need numbers; `fine` gets the signs of the others.

    A block needs them where not all points of the coarse grid in it and one beyond have one sign: only there can a
    cell that starts in it, or ends in it, be crossed.
    """
    blocks = np.empty((4096, 3), np.int32)
    count = 0
    for x in range(fine.shape[0]):
        for y in range(fine.shape[1]):
            for z in range(fine.shape[2]):
                inside = _one_sign(table, pool, shape, x * _HALF, y * _HALF, z * _HALF)
                if inside != 0:
                    fine[x, y, z] = _INSIDE if inside > 0 else _INSIDE + 1
                    continue
                if count == len(blocks):
                    grown = np.empty((2 * count, 3), np.int32)
                    grown[:count] = blocks
                    blocks = grown
                blocks[count, 0], blocks[count, 1], blocks[count, 2] = x, y, z
                count += 1
    return blocks[:count]


@numba.njit(cache=True, nogil=True)
def _one_sign(table: Table, pool: Pool, shape: NDArray[np.int64], x: int, y: int, z: int) -> int:
    """1 or -1 where all points from one below (x,y,z) to half a block above it have that sign, else 0."""
    x0, y0, z0 = max(x - 1, 0), max(y - 1, 0), max(z - 1, 0)
    x1, y1, z1 = min(x + _HALF, shape[0] - 1), min(y + _HALF, shape[1] - 1), min(z + _HALF, shape[2] - 1)
    first = table[x0 >> _BITS, y0 >> _BITS, z0 >> _BITS]
    plain = first < 0
    for i in range(x0 >> _BITS, (x1 >> _BITS) + 1):
        for j in range(y0 >> _BITS, (y1 >> _BITS) + 1):
            for k in range(z0 >> _BITS, (z1 >> _BITS) + 1):
                plain = plain and table[i, j, k] == first
    if plain:
        return 1 if first == _INSIDE else -1
    sign = _at(table, pool, x0, y0, z0) > 0
    for i in range(x0, x1 + 1):
        for j in range(y0, y1 + 1):
            for k in range(z0, z1 + 1):
                if (_at(table, pool, i, j, k) > 0) != sign:
                    return 0
    return 1 if sign else -1


@numba.njit(cache=True, nogil=True)
def interpolate(table: Table, pool: Pool, shape: NDArray[np.int64], blocks: Points, fine: Pool) -> None:
    """Fill `fine` (B,8,8,8), the blocks (B,3) of the grid of half the spacing.

    Where both grids have a point, it keeps its value; between, it gets the sign of the mean of its neighbours.
    """
    for b in range(len(blocks)):
        for i in range(_SIDE):
            x = blocks[b, 0] * _SIDE + i
            x0, x1 = min(x >> 1, shape[0] - 1), min((x + 1) >> 1, shape[0] - 1)
            for j in range(_SIDE):
                y = blocks[b, 1] * _SIDE + j
                y0, y1 = min(y >> 1, shape[1] - 1), min((y + 1) >> 1, shape[1] - 1)
                for k in range(_SIDE):
                    z = blocks[b, 2] * _SIDE + k
                    z0, z1 = min(z >> 1, shape[2] - 1), min((z + 1) >> 1, shape[2] - 1)
                    if x0 == x1 and y0 == y1 and z0 == z1:
                        fine[b, i, j, k] = _at(table, pool, x0, y0, z0)
                        continue
                    total = 0.0
                    for a in range(8):
                        total += _at(table, pool, x1 if a & 4 else x0, y1 if a & 2 else y0, z1 if a & 1 else z0)
                    fine[b, i, j, k] = _UNKNOWN if total > 0 else -_UNKNOWN


@numba.njit(cache=True, nogil=True)
def crossed(
    table: Table, pool: Pool, blocks: Points, shape: NDArray[np.int64], stride: int, cells: NDArray[np.bool_]
) -> None:
    """Set those `cells` of the grid at `stride` times the spacing that hold a crossed cell which starts in `blocks`."""
    for b in range(len(blocks)):
        x0, y0, z0 = blocks[b, 0] * _SIDE, blocks[b, 1] * _SIDE, blocks[b, 2] * _SIDE
        for x in range(x0, min(x0 + _SIDE, shape[0] - 1)):
            for y in range(y0, min(y0 + _SIDE, shape[1] - 1)):
                for z in range(z0, min(z0 + _SIDE, shape[2] - 1)):
                    inside = 0
                    for a in range(8):
                        if _at(table, pool, x + (a >> 2), y + ((a >> 1) & 1), z + (a & 1)) > 0:
                            inside += 1
                    if 0 < inside < 8:
                        cells[x // stride, y // stride, z // stride] = True


@numba.njit(cache=True, nogil=True)
def cut(table: Table, pool: Pool, shape: NDArray[np.int64], start: NDArray[np.int64], out: Pool) -> int:
    """Fill `out` with the numbers from `start` on of the grid within a shell of points outside; how many are inside.

    The shell is one point thick and begins at (-1,-1,-1); each of its points stands as far outside as its neighbour
    within the grid is inside. A point without a value gets 1 or -1.
    """
    total = 0
    for i in range(out.shape[0]):
        x = start[0] + i
        nx = min(max(x, 0), shape[0] - 1)
        for j in range(out.shape[1]):
            y = start[1] + j
            ny = min(max(y, 0), shape[1] - 1)
            for k in range(out.shape[2]):
                z = start[2] + k
                nz = min(max(z, 0), shape[2] - 1)
                number = _at(table, pool, nx, ny, nz)
                if abs(number) > _KNOWN:
                    number = 1.0 if number > 0 else -1.0
                if nx != x or ny != y or nz != z:
                    number = -abs(number) if number != 0 else -1.0
                out[i, j, k] = number
                if number > 0:
                    total += 1
    return total


@numba.njit(cache=True, nogil=True)
def plain(table: Table, shape: NDArray[np.int64], start: NDArray[np.int64], size: int) -> bool:
    """Whether all points from `start` to `start` + size, the shell included, lie in blocks of one sign."""
    edge = False
    low, high = np.empty(3, np.int64), np.empty(3, np.int64)
    for axis in range(3):
        edge = edge or start[axis] < 0 or start[axis] + size >= shape[axis]
        low[axis] = max(start[axis], 0) >> _BITS
        high[axis] = min(start[axis] + size, shape[axis] - 1) >> _BITS
    first = table[low[0], low[1], low[2]]
    if first >= 0 or (edge and first == _INSIDE):
        return False
    for x in range(low[0], high[0] + 1):
        for y in range(low[1], high[1] + 1):
            for z in range(low[2], high[2] + 1):
                if table[x, y, z] != first:
                    return False
    return True
