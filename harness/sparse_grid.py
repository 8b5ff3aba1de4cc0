"""SparseGrid: a field's values near its surface, in blocks, and elsewhere no more than the side of each point."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import NfbenchError

_BITS = 3
_SIDE = 1 << _BITS  # points along the edge of a block
_INSIDE, _OUTSIDE = -2, -1  # what the table has in place of a block whose points lie all on one side
_UNKNOWN, _QUEUED = 3e30, 2e30  # with the sign of a point that has no value, and of one that will be given it
_WAITING, _KNOWN = 2.5e30, 1.5e30  # between these, and between these and all values
_MOST = 300_000  # blocks, 600 MiB: a surface so crumpled that it needs more is none
_GROUP = 8192  # blocks that are looked through at once: at most 4 million points are in waiting

Points = NDArray[np.int32]
Values = NDArray[np.float32]
Depth = Callable[[Points], Values]
"""From points (C,3), indices of the grid, to how far inside they are (C,)."""


class SparseGrid:
    """Points of a regular grid: positive inside, with a value at all corners of the cells that the surface crosses.

    Attributes:
        shape: (3,) int64 points along each axis.
    """

    def __init__(self, shape: NDArray[np.int64]) -> None:
        self.shape = np.asarray(shape, np.int64)
        self._table = np.full(tuple(-(-self.shape // _SIDE)), _OUTSIDE, np.int32)
        self._blocks = np.empty((0, 3), np.int32)
        self._pool = np.empty((0, _SIDE, _SIDE, _SIDE), np.float32)

    @classmethod
    def dense(cls, values: Values) -> SparseGrid:
        """The grid that has `values` (X,Y,Z) everywhere."""
        grid = cls(np.array(values.shape))
        grid._allocate(np.argwhere(grid._table < 0).astype(np.int32))
        padded = np.pad(
            values, [(0, _SIDE * blocks - n) for blocks, n in zip(grid._table.shape, values.shape, strict=True)]
        )
        for number, (x, y, z) in enumerate((grid._blocks * _SIDE).tolist()):
            grid._pool[number] = padded[x : x + _SIDE, y : y + _SIDE, z : z + _SIDE]
        return grid

    def refined(self, shape: NDArray[np.int64], depth: Depth) -> SparseGrid:
        """The grid of half the spacing, evaluated where the surface passes, which is followed wherever it leads."""
        from nfbench.harness import sparse_grid_kernel as kernel

        fine = SparseGrid(shape)
        blocks = kernel.finer(self._table, self._pool, self.shape, fine._table)
        fine._allocate(blocks)
        kernel.interpolate(self._table, self._pool, self.shape, blocks, fine._pool[: len(blocks)])
        turned = []
        for start in range(0, len(blocks), _GROUP):
            wanted = kernel.scan(fine._table, fine._pool, blocks[start : start + _GROUP], fine.shape)
            turned.append(wanted[kernel.write(fine._table, fine._pool, wanted, depth(wanted))])
        fine._follow(np.concatenate(turned) if turned else blocks, depth)
        return fine

    def inside(self, points: Points) -> NDArray[np.bool_]:
        """(P,) bool, on which side each of the points (P,3) is, as far as is known."""
        from nfbench.harness import sparse_grid_kernel as kernel

        return kernel.numbers_at(self._table, self._pool, points) > 0

    def known(self, points: Points) -> NDArray[np.bool_]:
        """(P,) bool, which of the points (P,3) have a value."""
        from nfbench.harness import sparse_grid_kernel as kernel

        return np.abs(kernel.numbers_at(self._table, self._pool, points)) < _KNOWN

    def correct(self, points: Points, values: Values, depth: Depth) -> None:
        """Put values (P,) at points (P,3), and follow the surface from those not on the side they were taken for."""
        from nfbench.harness import sparse_grid_kernel as kernel

        self._cover(points)
        self._follow(points[kernel.write(self._table, self._pool, points, values)], depth)

    def crossed(self, stride: int) -> NDArray[np.bool_]:
        """Which cells of the grid at `stride` times the spacing hold a cell that the surface crosses."""
        from nfbench.harness import sparse_grid_kernel as kernel

        cells = np.zeros(tuple(-(-(self.shape - 1) // stride)), np.bool_)
        kernel.crossed(self._table, self._pool, self._blocks, self.shape, stride, cells)
        return cells

    def cut(self, start: NDArray[np.int64], size: NDArray[np.int64]) -> Values | None:
        """The numbers of `size` (3,) points from `start` (3,) on; None where the surface does not pass between them.

        The grid is taken to lie within a shell of points outside, one thick, which begins at (-1,-1,-1). A point
        without a value has 1 or -1.
        """
        from nfbench.harness import sparse_grid_kernel as kernel

        if kernel.plain(self._table, self.shape, start, int(size.max()) - 1):
            return None
        numbers = np.empty(tuple(size), np.float32)
        inside = kernel.cut(self._table, self._pool, self.shape, start, numbers)
        return numbers if 0 < inside < numbers.size else None

    def _follow(self, turned: Points, depth: Depth) -> None:
        """Evaluate the corners of crossed cells around points that changed sides, until no side changes any more."""
        from nfbench.harness import sparse_grid_kernel as kernel

        while len(turned):
            wanted = kernel.around(self._table, self._pool, turned, self.shape)
            homeless = self._table[tuple((wanted >> _BITS).T)] < 0
            lost = wanted[homeless]
            self._cover(lost)
            lost = lost[kernel.queue(self._table, self._pool, lost)]
            wanted = np.concatenate([wanted[~homeless], lost])
            turned = wanted[kernel.write(self._table, self._pool, wanted, depth(wanted))]

    def _cover(self, points: Points) -> None:
        """Have a block for every one of the points (P,3)."""
        blocks = points >> _BITS
        blocks = blocks[self._table[tuple(blocks.T)] < 0]
        if len(blocks):
            self._allocate(np.unique(blocks, axis=0))

    def _allocate(self, blocks: Points) -> None:
        """Make blocks (B,3) that are not there, their points on the side that the table has."""
        first, last = len(self._blocks), len(self._blocks) + len(blocks)
        if last > _MOST:
            raise NfbenchError(
                f"The surface passes through {last} blocks of {_SIDE}^3 points, too many for a surface.",
                "Is the field fitted, and the level one of it? Else extract at a lower resolution.",
            )
        if last > len(self._pool):
            grown = np.empty((max(last, len(self._pool) * 3 // 2), _SIDE, _SIDE, _SIDE), np.float32)
            grown[:first] = self._pool[:first]
            self._pool = grown
        at = tuple(blocks.T)
        self._pool[first:last] = np.where(self._table[at] == _INSIDE, _UNKNOWN, -_UNKNOWN)[:, None, None, None]
        self._table[at] = np.arange(first, last, dtype=np.int32)
        self._blocks = np.concatenate([self._blocks, blocks.astype(np.int32)])
