"""Exact nearest neighbours between clouds of points: a uniform grid, and a k-d tree where a grid does not serve.

The points of each cloud are sorted by cell, the cells of a row one after another, so that any stretch of a row is one
stretch of memory. A query looks through the rows around its own, nearest first, and of each row at the stretch that
the ball around it reaches; the ball shrinks with every nearer point, and when no row is left within it the answer is
exact. A search that would have to look too far, or at too many points, is left to scipy's cKDTree, and so are clouds
of which most lie in few cells. All arithmetic is in float64, whatever comes in.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nfbench.harness.errors import NfbenchError

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]
Counts = NDArray[np.int32]
Shape = tuple[int, int, int]
Cell = tuple[int, int, int]
Place = tuple[float, float, float]
Table = tuple[Reals, Counts, Shape, float]  # points, starts, shape and inverse of a Grid
Found = tuple[Reals, Whole]
Real = TypeVar("Real", bound=np.floating)

PER_CELL = 3.0  # points aimed at in a cell that has any; 2 to 4 cost the same
MOST_CELLS = 2**25  # 128 MiB of starts a cloud
CELLS_A_POINT = 64  # so that the table of a small cloud is small
CROWD = 64.0  # points in the cell of a point, on average, from which on the tree is faster
REACH = 16.0  # cells that a query looks ahead
BUDGET = 2000  # points that a query looks at, to within one row
NO_LIMIT = 2**62
FEW = 256  # queries left over for which no tree is built
CHUNK = 65_536  # the fewest queries worth a thread
FARTHEST = 1e150  # beyond it squares of distances overflow
SLACK = 1e-6  # of a cell: what rounding may take off the gap between a query and a cell; gaps are below 2^26 cells
ROUNDED = 2.0**27  # cells from the grid up to which rounding stays below SLACK
_MORTON_BITS = 10  # an axis: cells a thousandth of the cloud, finer gains nothing


@dataclass(frozen=True, eq=False)
class Grid:
    """A cloud sorted by the cells of a uniform grid.

    Attributes:
        points: (P,3) float64, read-only, cell by cell, x first.
        order: (P,) int32, the place of each in the cloud as it was given.
        starts: (cells + 1,) int32, where each cell begins in `points`.
        low: (3,) the lowest corner.
        inverse: cells in a unit of length.
        shape: cells along x, y and z.
        crowd: how many points the cell of a point holds, on average over points.
    """

    points: Reals
    order: Counts
    starts: Counts
    low: Reals
    inverse: float
    shape: Shape
    crowd: float


def nearest(a: NDArray[np.floating], b: NDArray[np.floating], *, threads: int = 1) -> Found:
    """Distance (P,) float64 from each of `a` (P,3) to the nearest of `b` (Q,3), Q > 0, and its index (P,) in `b`.

    Exact, in float64. Where several of `b` are nearest, the index is that of one of them.

    Raises:
        NfbenchError: `b` is empty, or a coordinate is not finite or beyond 1e150.
    """
    if not len(b):
        raise NfbenchError("There is no nearest point among none.", "Give at least one point.")
    if not len(a):
        return np.empty(0, np.float64), np.empty(0, np.int64)
    return _across(grid(a), grid(b), threads)


def mutual(a: NDArray[np.floating], b: NDArray[np.floating], *, threads: int = 1) -> tuple[Found, Found]:
    """`nearest` from `a` to `b`, and from `b` to `a`, each cloud sorted once; both have a point at least."""
    if not len(a) or not len(b):
        raise NfbenchError("There is no nearest point among none.", "Give at least one point.")
    ours, theirs = grid(a), grid(b)
    return _across(ours, theirs, threads), _across(theirs, ours, threads)


def agreement(a: NDArray[np.floating], b: NDArray[np.floating], index: Whole) -> Reals:
    """``|cos|`` (P,) float64 in [0,1] between each vector of `a` (P,3) and that of `b` (Q,3) at its `index` (P,).

    A vector of length zero agrees with nothing; the others need not be unit vectors.
    """
    return _agreement(_fixed(a, np.float32), _fixed(b, np.float32), index)


def grid(points: NDArray[np.floating]) -> Grid:
    """The Grid of points (P,3), P > 0, whose cells hold about PER_CELL points, of those that hold any.

    Raises:
        NfbenchError: a coordinate is not finite or beyond 1e150.
    """
    fixed = _fixed(points, np.float64)
    low, high = _bounds(fixed)
    if not (np.abs(low) < FARTHEST).all() or not (np.abs(high) < FARTHEST).all():
        raise NfbenchError("A point has a coordinate that is not finite, or beyond 1e150.", "Check the cloud.")
    inverse = _fineness(fixed, low, high)
    shape = _shape(high - low, inverse)
    cells, order, starts, crowd = _sort(fixed, low, inverse, shape)
    return Grid(_fixed(cells, np.float64), order, starts, low, inverse, shape, crowd)


def _fixed(array: NDArray[np.floating], dtype: type[Real]) -> NDArray[Real]:
    """The array, contiguous and never writeable, for numba compiles once more for arrays that are."""
    fixed = np.ascontiguousarray(array, dtype).view()
    fixed.flags.writeable = False
    return fixed


def _fineness(points: Reals, low: Reals, high: Reals) -> float:
    """Cells in a unit of length, by counting boxes: of edge e, e^-D of them hold points, D being the dimension."""
    extent = high - low
    edge = extent.max()
    if edge < 1 / FARTHEST:
        return 1.0
    across = min(64, max(2, int(len(points) ** 0.5 / 8)))
    coarse, fine = (_occupied(points, low, n / edge, _shape(extent, n / edge)) for n in (across / 2, across))
    dimension = min(max(np.log2(fine / coarse), 1.0), 3.0)
    inverse = across / edge * (len(points) / (PER_CELL * fine)) ** (1 / dimension)
    most = min(MOST_CELLS, CELLS_A_POINT * len(points))
    while (excess := np.prod(extent * inverse + 1) / most) > 1:
        inverse /= 1.01 * excess ** (1 / 3)
    return float(inverse)


def _shape(extent: Reals, inverse: float) -> Shape:
    x, y, z = (int(length * inverse) + 1 for length in extent)
    return x, y, z


def _across(a: Grid, b: Grid, threads: int) -> Found:
    """`nearest` between the clouds of two grids, in the order in which they were given."""
    distance, index = np.empty(len(a.points), np.float64), np.empty(len(a.points), np.int64)
    if b.crowd > CROWD:
        missed = np.arange(len(a.points))
    else:
        parts = np.array_split(np.arange(len(a.points)), max(1, min(threads, len(a.points) // CHUNK)))
        with ThreadPoolExecutor(len(parts)) as pool:
            found = pool.map(lambda part: _answer(a, b, part, (REACH, BUDGET), distance, index), parts)
            missed = np.concatenate(list(found))
        if len(missed) <= FEW:
            missed = _answer(a, b, missed, (np.inf, NO_LIMIT), distance, index)
    if len(missed):
        found_distance, found_index = _by_tree(a.points[missed], b.points, threads)
        at = a.order[missed]
        distance[at], index[at] = found_distance, b.order[found_index]
    return distance, index


def _answer(a: Grid, b: Grid, asked: Whole, limits: tuple[float, int], distance: Reals, index: Whole) -> Whole:
    """Fills in the neighbours of the points `asked` of a grid; those not found within the limits are given back."""
    table = b.points, b.starts, b.shape, b.inverse
    found: Whole = _search(a.points, a.order, table, b.order, b.low, asked, *limits, distance, index)
    return found


def _by_tree(a: Reals, b: Reals, threads: int) -> Found:
    """`nearest` by cKDTree, which is slow where many points are the same, so that each is kept once."""
    alphabetic = np.lexsort(b.T)
    differs = np.r_[True, (b[alphabetic[1:]] != b[alphabetic[:-1]]).any(1)]
    kept = alphabetic[differs]
    # Neighbours in space become neighbours in memory, which about halves the time of the search.
    from_order, to_order = _morton_order(a), kept[_morton_order(b[kept])]
    found, where = cKDTree(b[to_order], balanced_tree=False).query(a[from_order], workers=threads)
    distance, index = np.empty(len(a), np.float64), np.empty(len(a), np.int64)
    distance[from_order], index[from_order] = found, to_order[where]
    return distance, index


def _morton_order(points: Reals) -> Whole:
    """(P,) the order of points along the Z-order curve through their bounding box."""
    low = points.min(0)
    edge = (points.max(0) - low).max()
    scale = (2**_MORTON_BITS - 1) / edge if edge > 1 / FARTHEST else 0.0
    cells = ((points - low) * scale).astype(np.uint32)
    codes = _spread(cells[:, 0]) | _spread(cells[:, 1]) << np.uint32(1) | _spread(cells[:, 2]) << np.uint32(2)
    return np.argsort(codes, kind="stable")


def _spread(cell: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The low ten bits of each number, two empty bits after each."""
    for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
        cell = (cell | cell << np.uint32(shift)) & np.uint32(mask)
    return cell


@numba.njit(nogil=True, cache=True)
def _bounds(points: Reals) -> tuple[Reals, Reals]:
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
def _occupied(points: Reals, low: Reals, inverse: float, shape: Shape) -> int:
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
def _sort(points: Reals, low: Reals, inverse: float, shape: Shape) -> tuple[Reals, Counts, Counts, float]:
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
def _gap(place: float, cell: int) -> float:
    """A lower bound of the distance, in cells, from a place on an axis to a cell."""
    return max(cell - place, place - cell - 1, SLACK) - SLACK


@numba.njit(nogil=True, cache=True)
def _scan(points: Reals, begin: int, end: int, x: float, y: float, z: float, best: float, at: int) -> tuple[float, int]:
    """The least squared distance of a stretch of points from (x,y,z), if below `best`, and where it is."""
    for i in range(begin, end):
        dx, dy, dz = points[i, 0] - x, points[i, 1] - y, points[i, 2] - z
        square = dx * dx + dy * dy + dz * dz
        if square < best:
            best, at = square, i
    return best, at


@numba.njit(nogil=True, cache=True, inline="always")
def _cube(
    points: Reals, starts: Counts, shape: Shape, at: int, best: float, query: Place, cell: Cell, size: int
) -> tuple[float, int, int]:
    """`_scan` of the cells up to `size` from a cell along y and z, and at least one along x, and how many it holds."""
    across, up, deep = shape
    x, y, z = query
    cx, cy, cz = cell
    first, last = max(cx - max(size, 1), 0), min(cx + max(size, 1), across - 1)
    looked = 0
    for row_z in range(max(cz - size, 0), min(cz + size, deep - 1) + 1):
        for row_y in range(max(cy - size, 0), min(cy + size, up - 1) + 1):
            row = (row_z * up + row_y) * across
            begin, end = starts[row + first], starts[row + last + 1]
            best, at = _scan(points, begin, end, x, y, z, best, at)
            looked += end - begin
    return best, at, looked


@numba.njit(nogil=True, cache=True, inline="always")
def _ring(
    grid: Table, ring: int, at: int, best: float, query: Place, place: Place, cell: Cell
) -> tuple[float, int, int]:
    """`_scan` of the rows `ring` away from a cell along y or z, as the ball reaches, and how many it looked at."""
    points, starts, (across, up, deep), inverse = grid
    x, y, z = query
    px, py, pz = place
    _, cy, cz = cell
    looked = 0
    for dz in range(max(-ring, -cz), min(ring, deep - 1 - cz) + 1):
        aside_z = _gap(pz, cz + dz) ** 2
        if aside_z >= best * inverse * inverse:
            continue
        step = 1 if abs(dz) == ring else 2 * ring
        for dy in range(-ring, ring + 1, step):
            chord = best * inverse * inverse - aside_z - _gap(py, cy + dy) ** 2
            if chord <= 0.0 or cy + dy < 0 or cy + dy >= up:
                continue
            half = np.sqrt(chord) + SLACK
            first = np.int64(min(max(px - half, 0.0), across - 1.0))
            last = np.int64(min(max(px + half, 0.0), across - 1.0))
            row = ((cz + dz) * up + cy + dy) * across
            begin, end = starts[row + first], starts[row + last + 1]
            best, at = _scan(points, begin, end, x, y, z, best, at)
            looked += end - begin
    return best, at, looked


@numba.njit(nogil=True, cache=True, inline="always")
def _nearest(grid: Table, low: Reals, query: Place, at: int, reach: float, budget: int) -> tuple[float, int, bool]:
    """Squared distance and place of the point nearest to a query, and whether it was found within reach and budget.

    `at` is any point: one that is near saves time.
    """
    points, starts, shape, inverse = grid
    across, up, deep = shape
    x, y, z = query
    place = ((x - low[0]) * inverse, (y - low[1]) * inverse, (z - low[2]) * inverse)
    cell = (_within(place[0], across), _within(place[1], up), _within(place[2], deep))
    outside = max(_gap(place[0], cell[0]), _gap(place[1], cell[1]), _gap(place[2], cell[2]))
    if outside > min(reach, ROUNDED):
        return np.inf, at, False
    best, at = _scan(points, at, at + 1, x, y, z, np.inf, at)
    size, looked = 0, 0
    while looked == 0 and size <= reach and best * inverse * inverse > (size + 1) ** 2:
        best, at, looked = _cube(points, starts, shape, at, best, query, cell, size)
        size = max(2 * size, 1)
    fits = best * inverse * inverse <= reach * reach
    walls = min(_wall(place[1], cell[1]), _wall(place[2], cell[2]))
    ring, rings = 0, max(cell[1], up - 1 - cell[1], cell[2], deep - 1 - cell[2]) + 1
    while fits and ring < rings and max(ring - 1 + walls, 0.0) ** 2 < best * inverse * inverse:
        best, at, more = _ring(grid, ring, at, best, query, place, cell)
        looked += more
        fits = looked <= budget
        ring += 1
    return best, at, fits


@numba.njit(nogil=True, cache=True)
def _search(
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
        square, at, found = _nearest(grid, low, query, at, reach, budget)
        if found:
            distance[query_order[i]] = np.sqrt(square)
            index[query_order[i]] = order[at]
        else:
            missed[misses] = i
            misses += 1
    return missed[:misses]


@numba.njit(nogil=True, cache=True)
def _within(place: float, cells: int) -> int:
    """The cell of a place on an axis, or the cell nearest to it."""
    return int(min(max(place, 0.0), cells - 1.0))


@numba.njit(nogil=True, cache=True)
def _wall(place: float, cell: int) -> float:
    """A lower bound of the distance, in cells, from a place in a cell, or beside it, to the cells on both sides."""
    return max(min(place - cell, cell + 1 - place) - SLACK, 0.0)


@numba.njit(nogil=True, cache=True)
def _agreement(a: NDArray[np.float32], b: NDArray[np.float32], index: Whole) -> Reals:
    cosine = np.empty(len(a))
    for i in range(len(a)):
        j = index[i]
        ax, ay, az = np.float64(a[i, 0]), np.float64(a[i, 1]), np.float64(a[i, 2])
        bx, by, bz = np.float64(b[j, 0]), np.float64(b[j, 1]), np.float64(b[j, 2])
        lengths = np.sqrt((ax * ax + ay * ay + az * az) * (bx * bx + by * by + bz * bz))
        cosine[i] = min(abs(ax * bx + ay * by + az * bz) / lengths, 1.0) if lengths > 0.0 else 0.0
    return cosine
