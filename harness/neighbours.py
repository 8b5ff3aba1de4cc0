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

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nfbench.harness import neighbours_kernel
from nfbench.harness.errors import NfbenchError
from nfbench.harness.neighbours_kernel import Counts, Reals, Shape, Whole

Found = tuple[Reals, Whole]
Real = TypeVar("Real", bound=np.floating)

PER_CELL = 5.0  # points aimed at in a cell that has any: 3 cost 10 to 20 % more, at 100,000 points as at a million
MOST_CELLS = 2**25  # 128 MiB of starts a cloud
CELLS_A_POINT = 64  # so that the table of a small cloud is small
CROWD = 64.0  # points in the cell of a point, on average, from which on the tree is faster
REACH = 16.0  # cells that a query looks ahead
BUDGET = 2000  # points that a query looks at, to within one row
NO_LIMIT = 2**62
FEW = 256  # queries left over for which no tree is built
CHUNK = 65_536  # the fewest queries worth a thread
FARTHEST = 1e150  # beyond it squares of distances overflow
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
    return neighbours_kernel.agreement(_fixed(a, np.float32), _fixed(b, np.float32), index)


def grid(points: NDArray[np.floating]) -> Grid:
    """The Grid of points (P,3), P > 0, whose cells hold about PER_CELL points, of those that hold any.

    Raises:
        NfbenchError: a coordinate is not finite or beyond 1e150.
    """
    fixed = _fixed(points, np.float64)
    low, high = neighbours_kernel.bounds(fixed)
    if not (np.abs(low) < FARTHEST).all() or not (np.abs(high) < FARTHEST).all():
        raise NfbenchError("A point has a coordinate that is not finite, or beyond 1e150.", "Check the cloud.")
    inverse = _fineness(fixed, low, high)
    shape = _shape(high - low, inverse)
    cells, order, starts, crowd = neighbours_kernel.sort_by_cell(fixed, low, inverse, shape)
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
    coarse, fine = (
        neighbours_kernel.occupied(points, low, n / edge, _shape(extent, n / edge)) for n in (across / 2, across)
    )
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
    found: Whole = neighbours_kernel.search(a.points, a.order, table, b.order, b.low, asked, *limits, distance, index)
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
