"""Parts of a surface that no point of a coarse grid tells from their surroundings: found, or their size bounded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.sparse_grid import Depth, Points, SparseGrid, Values

_NEAR = 1.5  # coarse cells to the surface, by its slope, within which a point is looked at
_SLACK = 1.2  # how many times as far the surface may be before something else must be there
_STARTS = 128  # searches before the surface is followed from what they found
_SHARE = 1.0  # of the points of the coarse grid that searches may evaluate
_ROUNDS = 8  # of probes, each after what the last one found has been added
_CONFIDENCE = 0.95
_AROUND = np.array([offset for offset in itertools.product((-1, 0, 1), repeat=3) if any(offset)], np.int32)

Scale = Callable[[Values], NDArray[np.float64]]
"""From depths (C,) to numbers that grow with them, 0 at 0, about evenly with the distance from the surface."""


@dataclass(frozen=True)
class Probes:
    """What asking at random where the surface was not seen told.

    Attributes:
        count: points asked in the last round, one in every coarse cell that the surface does not pass.
        wrong: how many of them were not on the side that the mesh had them on, before it was mended there.
        found: how many of all points asked, in all rounds and searches, led to a part that was not seen before.
    """

    count: int = 0
    wrong: int = 0
    found: int = 0

    def bound(self) -> float:
        """The part of the box that the mesh has on the wrong side, at most, with 95 % confidence (Clopper-Pearson)."""
        from scipy.stats import beta

        if self.wrong == self.count:
            return 1.0 if self.count else 0.0
        return float(beta.ppf(_CONFIDENCE, self.wrong + 1, self.count - self.wrong))


def find_thin_parts(grid: SparseGrid, coarse: Values, stride: int, depth: Depth, scale: Scale) -> Probes:
    """Add to the grid what its coarse beginning has missed, and tell what may be missing still.

    First by evidence: a point of the coarse grid from whose value and slope the surface should be less than 1.5 cells
    away, where none is, starts a search downhill. Then by chance: one point in every coarse cell that the surface
    does not pass, again until none is on another side than thought. From each find the surface is followed.

    Args:
        grid: the fine grid.
        coarse: (X,Y,Z) depths at its points of index 0, stride, 2 stride and so on.
        stride: a power of two, 2 at least.
        depth: evaluates points of the fine grid.
        scale: makes depths comparable to distances.
    """
    found = _by_evidence(grid, coarse, stride, depth, scale)
    generator = np.random.default_rng(0)
    for _ in range(_ROUNDS):
        count, wrong = _by_chance(grid, stride, depth, generator)
        found += wrong
        if not wrong:
            break
    return Probes(count, wrong, found)


def _by_chance(grid: SparseGrid, stride: int, depth: Depth, generator: np.random.Generator) -> tuple[int, int]:
    """How many points were asked, and how many of them were on the other side."""
    cells = np.argwhere(~grid.crossed(stride))
    offset = generator.integers(1, stride**3, len(cells))  # 0 is a point of the coarse grid
    placed = cells * stride + np.stack(np.unravel_index(offset, (stride,) * 3), axis=1)
    points: Points = placed[(placed < grid.shape).all(1)].astype(np.int32)
    points = points[~grid.known(points)]
    values = depth(points)
    wrong = (values > 0) != grid.inside(points)
    grid.correct(points[wrong], values[wrong], depth)
    return len(points), int(wrong.sum())


def _by_evidence(grid: SparseGrid, coarse: Values, stride: int, depth: Depth, scale: Scale) -> int:
    """How many searches found a point on the other side."""
    away = _cells_to_surface(scale(coarse.ravel()).reshape(coarse.shape))
    index = np.argwhere(away < _NEAR)
    index = index[np.argsort(away[tuple(index.T)], kind="stable")]
    index = index[(index * stride < grid.shape).all(1)]  # the last ones may stand beyond the end of the fine grid
    found = 0
    allowed = int(_SHARE * coarse.size)
    while len(index) and allowed > 0:
        free = _cells_to_crossed(grid.crossed(stride), coarse.shape)
        index = index[free[tuple(index.T)] > _SLACK * away[tuple(index.T)]]
        starts, index = index[:_STARTS], index[_STARTS:]
        points, values, asked = _search(starts * stride, coarse[tuple(starts.T)], stride, grid.shape, depth)
        allowed -= asked
        other = (values > 0) != grid.inside(points)
        found += int(other.sum())
        grid.correct(points[other], values[other], depth)
    return found


def _cells_to_surface(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of each point, by its number and the steepest slope beside it along each axis, how far the zero should be."""
    steepest = np.zeros(numbers.shape)
    for axis in range(3):
        slope = np.abs(np.diff(numbers, axis=axis))
        ends = [(0, 0)] * 3
        ends[axis] = (1, 0)
        before = np.pad(slope, ends)
        ends[axis] = (0, 1)
        steepest += np.maximum(before, np.pad(slope, ends)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(steepest > 0, np.abs(numbers) / np.sqrt(steepest), np.inf)


def _cells_to_crossed(crossed: NDArray[np.bool_], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """How far each point of a grid of `shape` is from the nearest crossed cell, in cells, 0 for its corners."""
    from scipy.ndimage import distance_transform_edt

    if not crossed.any():
        return np.full(shape, np.inf)
    free = np.ones(tuple(2 * n - 1 for n in shape), np.bool_)
    first = 2 * np.argwhere(crossed)
    for offset in itertools.product(range(3), repeat=3):
        free[tuple((first + offset).T)] = False
    return np.asarray(distance_transform_edt(free)[::2, ::2, ::2] / 2)


def _search(
    starts: NDArray[np.int64], values: Values, stride: int, shape: NDArray[np.int64], depth: Depth
) -> tuple[Points, Values, int]:
    """The points (C,3) nearest to the other side that halved steps from each of `starts` lead to, and what it took.

    Each step goes to the best of the 26 neighbours; a point that has reached the other side stays. (Hooke and Jeeves
    1961, "Direct Search Solution of Numerical and Statistical Problems", with all diagonals.)
    """
    points: Points = starts.astype(np.int32)
    values = values.copy()
    side = np.sign(np.where(values > 0, 1, -1)).astype(np.float32)
    asked = 0
    while stride > 1:
        stride //= 2
        going = np.flatnonzero(values * side > 0)
        tried = np.clip(points[going, None] + stride * _AROUND, 0, (shape - 1).astype(np.int32))
        answer = depth(tried.reshape(-1, 3)).reshape(-1, len(_AROUND))
        asked += answer.size
        best = (answer * side[going, None]).argmin(1)
        rows = np.arange(len(going))
        better = answer[rows, best] * side[going] < values[going] * side[going]
        points[going[better]] = tried[rows, best][better]
        values[going[better]] = answer[rows, best][better]
    return points, values, asked
