"""Marching cubes on a SparseGrid: the mesh of the dense grid, vertex by vertex, cut out of small dense pieces of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.sparse_grid import SparseGrid, Values

_PIECE = 32  # cells along the edge of a piece
_APART = 3e-5  # of its greatest neighbour, the least value of a stand-in: float32 tells its vertices from corners
_ROUNDED = 1e-4  # of a cell: a vertex nearer to a corner lies on it, where corners name vertices

Reals = NDArray[np.float64]
Ints = NDArray[np.int64]


def march(grid: SparseGrid, by_corner: bool = False) -> tuple[Reals, Ints]:
    """Vertices (V,3), in cells of the grid, and faces (F,3), counter-clockwise seen from outside, of its zero level.

    Lewiner et al. 2003, "Efficient Implementation of Marching Cubes' Cases with Topological Guarantees", by
    scikit-image, piece by piece; the vertices that pieces share are made one, and the order of vertices and faces is
    that of the whole grid. Only where values are exactly 0 at corners of ambiguous cells, vertices that lie on one
    corner may be made one that are several in the mesh of the whole grid. The surface is closed at the grid's ends.

    Args:
        grid: the values.
        by_corner: make vertices one that lie on one corner, without looking for what tells them apart.
    """
    from nfbench.harness import marching_kernel as kernel

    cells = grid.shape + 1  # of the grid in a shell of points outside
    parts: list[tuple[Reals, Ints, Ints, Ints]] = []
    count = 0
    for piece in np.ndindex(*(-(-cells // _PIECE))):
        first = np.array(piece) * _PIECE
        values = grid.cut(first - 1, np.minimum(cells - first, _PIECE) + 1)
        if values is not None:
            found = _piece(values, by_corner)
            if found is None:
                return march(grid, by_corner=True)
            vertices, faces, edges, home = found
            at = _keys(first + home, cells + 1)
            at = np.minimum.accumulate(at[::-1])[::-1]  # faces come cell by cell; one between two cells is the first's
            shared = np.flatnonzero(edges[:, 0] >= 0)
            names = np.full(len(vertices), -1)
            names[shared] = _keys(first + edges[shared, :3], cells + 1) * 4 + edges[shared, 3]
            parts.append((vertices + (first - 1), faces + count, names, at))
            count += len(vertices)
    if not parts:
        return np.empty((0, 3)), np.empty((0, 3), np.int64)
    vertices, faces, names, at = (np.concatenate([part[i] for part in parts]) for i in range(4))
    parts.clear()
    faces = kernel.renumbered(faces, np.argsort(at, kind="stable"), _weld(names), vertices)
    return vertices[: faces.max() + 1], faces


def _keys(index: Ints, shape: Ints) -> Ints:
    """(C,) one number each for points (C,3) of a grid, in its order."""
    return np.asarray((index[:, 0] * shape[1] + index[:, 1]) * shape[2] + index[:, 2])


def _weld(names: Ints) -> Ints:
    """(V,) for each vertex the first of its name; those named -1 stay by themselves."""
    own = np.arange(len(names))
    shared = np.flatnonzero(names >= 0)
    _, first, same = np.unique(names[shared], return_index=True, return_inverse=True)
    own[shared] = shared[first[same]]
    return own


def _piece(values: Values, by_corner: bool) -> tuple[Reals, Ints, Ints, Ints] | None:
    """The mesh of a piece, which edge (V,4) each vertex on its faces is on, else -1, and the cell (F,3) of each face.

    An edge is told by the point where it starts and by its axis. A vertex so near to a corner that float32 puts it
    there is on any of its edges. Then a stand-in tells: the mesh of the same values held away from zero. None where
    that is another mesh.
    """
    vertices, faces = _lewiner(values)
    marks = vertices
    if by_corner:
        near = np.rint(vertices)
        marks = np.where(np.abs(vertices - near) < _ROUNDED, near, vertices)
    elif (vertices == np.floor(vertices)).all(1).any():
        marks, same = _lewiner(_held_apart(values))
        if not np.array_equal(faces, same):
            return None
    base = np.floor(marks)
    between = marks != base
    end = np.array(values.shape) - 1
    outer = ((marks == 0) | (marks == end)).any(1) & (between.sum(1) <= 1)
    edges = np.concatenate([base, between.argmax(1)[:, None]], axis=1).astype(np.int64)
    edges[~between.any(1), 3] = 3  # the corner itself
    edges[~outer] = -1
    home = np.minimum(np.floor(marks[faces].sum(1) / 3), end - 1).astype(np.int64)
    return vertices, faces, edges, home


def _lewiner(values: Values) -> tuple[Reals, Ints]:
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent")  # type: ignore[no-untyped-call]
    return vertices.astype(np.float64), faces.astype(np.int64)


def _held_apart(values: Values) -> Values:
    """The values, but none smaller than a trifle of its greatest neighbour, so that vertices leave corners."""
    padded = np.pad(np.abs(values), 1)
    greatest = np.zeros_like(values)
    for axis in range(3):
        for shift in (0, 2):
            at = tuple(slice(shift, shift + n) if a == axis else slice(1, -1) for a, n in enumerate(values.shape))
            greatest = np.maximum(greatest, padded[at])
    least = np.maximum(np.abs(values), _APART * greatest)
    return np.asarray(np.where(values > 0, least, -least))
