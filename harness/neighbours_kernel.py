"""The compiled part of `neighbours`: points sorted by the cells of a uniform grid, and the search through them."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]
Counts = NDArray[np.int32]
Shape = tuple[int, int, int]
Cell = tuple[int, int, int]
Place = tuple[float, float, float]
Table = tuple[Reals, Counts, Shape, float]  # points, starts, shape and inverse of a Grid

SLACK = 1e-6  # of a cell: what rounding may take off the gap between a query and a cell; gaps are below 2^26 cells
ROUNDED = 2.0**27  # cells from the grid up to which rounding stays below SLACK


@numba.njit(nogil=True, cache=True)
def bounds(points: Reals) -> tuple[Reals, Reals]:
    """The lowest and the highest corner; NaN where a point has one."""
    low, high = points[0].copy(), points[0].copy()
    for i in range(len(points)):
        for k in range(3):
            value = points[i, k]
            if not value >= low[k]:
                low[k] = value
            if not value <= high[k]:
                high[k] = value
            if value != value:
                return points[i].copy(), points[i].copy()
    return low, high


@numba.njit(nogil=True, cache=True)
def occupied(points: Reals, low: Reals, inverse: float, shape: Shape) -> int:
    """How many cells hold a point."""
    across, up, deep = shape
    seen = np.zeros(across * up * deep, np.bool_)
    count = 0
    for i in range(len(points)):
        x, y, z = (
            np.int64((points[i, 0] - low[0]) * inverse),
            np.int64((points[i, 1] - low[1]) * inverse),
            np.int64((points[i, 2] - low[2]) * inverse),
        )
        cell = (z * up + y) * across + x
        if not seen[cell]:
            seen[cell] = True
            count += 1
    return count


@numba.njit(nogil=True, cache=True)
def sort_by_cell(points: Reals, low: Reals, inverse: float, shape: Shape) -> tuple[Reals, Counts, Counts, float]:
    """Points, order, starts and crowd of a Grid, by a counting sort."""
    across, up, deep = shape
    count = len(points)
    cells = np.empty(count, np.int32)
    starts = np.zeros(across * up * deep + 2, np.int32)
    for i in range(count):
        x, y, z = (
            np.int64((points[i, 0] - low[0]) * inverse),
            np.int64((points[i, 1] - low[1]) * inverse),
            np.int64((points[i, 2] - low[2]) * inverse),
        )
        cells[i] = (z * up + y) * across + x
        starts[cells[i] + 2] += 1
    squares = 0.0
    for cell in range(2, len(starts)):
        squares += float(starts[cell]) ** 2
        starts[cell] += starts[cell - 1]
    # starts[c + 1] is where cell c begins, and once all its points are put down, where it ends
    moved, order = np.empty((count, 3)), np.empty(count, np.int32)
    for i in range(count):
        to = starts[cells[i] + 1]
        starts[cells[i] + 1] = to + 1
        order[to] = i
        moved[to, 0], moved[to, 1], moved[to, 2] = points[i, 0], points[i, 1], points[i, 2]
    return moved, order, starts[:-1], squares / count


@numba.njit(nogil=True, cache=True)
def gap(place: float, cell: int) -> float:
    """A lower bound of the distance, in cells, from a place on an axis to a cell."""
    return max(cell - place, place - cell - 1, SLACK) - SLACK


@numba.njit(nogil=True, cache=True)
def scan(points: Reals, begin: int, end: int, x: float, y: float, z: float, best: float, at: int) -> tuple[float, int]:
    """The least squared distance of a stretch of points from (x,y,z), if below `best`, and where it is."""
    for i in range(begin, end):
        dx, dy, dz = points[i, 0] - x, points[i, 1] - y, points[i, 2] - z
        square = dx * dx + dy * dy + dz * dz
        if square < best:
            best, at = square, i
    return best, at


@numba.njit(nogil=True, cache=True, inline="always")
def scan_cube(
    points: Reals, starts: Counts, shape: Shape, at: int, best: float, query: Place, cell: Cell, size: int
) -> tuple[float, int, int]:
    """`scan` of the cells up to `size` from a cell along y and z, and at least one along x, and how many it holds."""
    across, up, deep = shape
    x, y, z = query
    cx, cy, cz = cell
    first, last = max(cx - max(size, 1), 0), min(cx + max(size, 1), across - 1)
    looked = 0
    for row_z in range(max(cz - size, 0), min(cz + size, deep - 1) + 1):
        for row_y in range(max(cy - size, 0), min(cy + size, up - 1) + 1):
            row = (row_z * up + row_y) * across
            begin, end = starts[row + first], starts[row + last + 1]
            best, at = scan(points, begin, end, x, y, z, best, at)
            looked += end - begin
    return best, at, looked


@numba.njit(nogil=True, cache=True, inline="always")
def scan_ring(
    grid: Table, ring: int, at: int, best: float, query: Place, place: Place, cell: Cell
) -> tuple[float, int, int]:
    """`scan` of the rows `ring` away from a cell along y or z, as the ball reaches, and how many it looked at."""
    points, starts, (across, up, deep), inverse = grid
    x, y, z = query
    px, py, pz = place
    _, cy, cz = cell
    looked = 0
    for dz in range(max(-ring, -cz), min(ring, deep - 1 - cz) + 1):
        aside_z = gap(pz, cz + dz) ** 2
        if aside_z >= best * inverse * inverse:
            continue
        step = 1 if abs(dz) == ring else 2 * ring
        for dy in range(-ring, ring + 1, step):
            chord = best * inverse * inverse - aside_z - gap(py, cy + dy) ** 2
            if chord <= 0.0 or cy + dy < 0 or cy + dy >= up:
                continue
            half = np.sqrt(chord) + SLACK
            first = np.int64(min(max(px - half, 0.0), across - 1.0))
            last = np.int64(min(max(px + half, 0.0), across - 1.0))
            row = ((cz + dz) * up + cy + dy) * across
            begin, end = starts[row + first], starts[row + last + 1]
            best, at = scan(points, begin, end, x, y, z, best, at)
            looked += end - begin
    return best, at, looked


@numba.njit(nogil=True, cache=True, inline="always")
def nearest_to(grid: Table, low: Reals, query: Place, at: int, reach: float, budget: int) -> tuple[float, int, bool]:
    """Squared distance and place of the point nearest to a query, and whether it was found within reach and budget.

    `at` is any point: one that is near saves time.
    """
    points, starts, shape, inverse = grid
    across, up, deep = shape
    x, y, z = query
    place = ((x - low[0]) * inverse, (y - low[1]) * inverse, (z - low[2]) * inverse)
    cell = (within(place[0], across), within(place[1], up), within(place[2], deep))
    outside = max(gap(place[0], cell[0]), gap(place[1], cell[1]), gap(place[2], cell[2]))
    if outside > min(reach, ROUNDED):
        return np.inf, at, False
    best, at = scan(points, at, at + 1, x, y, z, np.inf, at)
    size, looked = 0, 0
    while looked == 0 and size <= reach and best * inverse * inverse > (size + 1) ** 2:
        best, at, looked = scan_cube(points, starts, shape, at, best, query, cell, size)
        size = max(2 * size, 1)
    fits = best * inverse * inverse <= reach * reach
    walls = min(wall(place[1], cell[1]), wall(place[2], cell[2]))
    ring, rings = 0, max(cell[1], up - 1 - cell[1], cell[2], deep - 1 - cell[2]) + 1
    while fits and ring < rings and max(ring - 1 + walls, 0.0) ** 2 < best * inverse * inverse:
        best, at, more = scan_ring(grid, ring, at, best, query, place, cell)
        looked += more
        fits = looked <= budget
        ring += 1
    return best, at, fits


@numba.njit(nogil=True, cache=True)
def search(
    queries: Reals,
    query_order: Counts,
    grid: Table,
    order: Counts,
    low: Reals,
    asked: Whole,
    reach: float,
    budget: int,
    distance: Reals,
    index: Whole,
) -> Whole:
    """Fills in `distance` and `index` for the queries `asked`; those beyond reach or budget are given back."""
    missed, misses = np.empty(len(asked), np.int64), 0
    at = 0  # the neighbour of the query before is seldom far from that of the next
    for i in asked:
        query = (queries[i, 0], queries[i, 1], queries[i, 2])
        square, at, found = nearest_to(grid, low, query, at, reach, budget)
        if found:
            distance[query_order[i]] = np.sqrt(square)
            index[query_order[i]] = order[at]
        else:
            missed[misses] = i
            misses += 1
    return missed[:misses]


@numba.njit(nogil=True, cache=True)
def within(place: float, cells: int) -> int:
    """The cell of a place on an axis, or the cell nearest to it."""
    return int(min(max(place, 0.0), cells - 1.0))


@numba.njit(nogil=True, cache=True)
def wall(place: float, cell: int) -> float:
    """A lower bound of the distance, in cells, from a place in a cell, or beside it, to the cells on both sides."""
    return max(min(place - cell, cell + 1 - place) - SLACK, 0.0)


@numba.njit(nogil=True, cache=True)
def agreement(a: NDArray[np.float32], b: NDArray[np.float32], index: Whole) -> Reals:
    """``|cos|`` (P,) between each vector of `a` and that of `b` at its index; 0 where one has no length."""
    cosine = np.empty(len(a))
    for i in range(len(a)):
        j = index[i]
        ax, ay, az = np.float64(a[i, 0]), np.float64(a[i, 1]), np.float64(a[i, 2])
        bx, by, bz = np.float64(b[j, 0]), np.float64(b[j, 1]), np.float64(b[j, 2])
        lengths = np.sqrt((ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz))
        cosine[i] = min(abs(ax * bx + ay * by + az * bz) / lengths, 1.0) if lengths > 0.0 else 0.0
    return cosine
