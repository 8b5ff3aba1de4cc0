"""Field to Mesh: the level set of a field, extracted the same way for every method."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.errors import ContractBroken, NfbenchError, Unsupported
from nfbench.harness.method import Meshed, Valued
from nfbench.harness.scene import Mesh

if TYPE_CHECKING:
    from nfbench.harness.protocol import SurfaceSection

_COARSE = 32  # least cells along the longest edge of the first grid, as Mescheder et al. 2019, section 3.3
_CHUNK = 1 << 16  # points handed to a field at once: bounds the memory of its network
_OUTSIDE = 1e6  # how many times the greatest value stands behind the box, so that surfaces close at its faces
_GREATEST = 1e30  # infinite values become this, of which float32 still holds _OUTSIDE times as much

Value = Callable[[NDArray[np.float32]], NDArray[np.floating]]
Grid = NDArray[np.float32]


def mesh_of(field: object, box: ArrayLike, section: SurfaceSection) -> Mesh:
    """The surface of a field: extracted at the protocol's level where the field has a value, else its own mesh.

    Args:
        field: a Valued or a Meshed field.
        box: (2,3) low and high corner, scene units.
        section: the protocol's levels and resolution; inside is below the level of a signed distance and above that of
            an occupancy or a density.

    Raises:
        Unsupported: a field with neither value nor mesh.
        ContractBroken: a kind of value that is not known, NaN, or a mesh that is none.
    """
    if isinstance(field, Valued):
        level = getattr(section.levels, str(field.kind), None)
        if level is None:
            raise ContractBroken(f"{type(field).__name__}.kind is {field.kind!r}.", "Kinds: sdf, occupancy, density.")
        return extract(field.value, box, section.resolution, level, inside_above=field.kind != "sdf")
    if isinstance(field, Meshed):
        mesh = field.mesh()
        if not isinstance(mesh, Mesh):
            raise ContractBroken(f"{type(field).__name__}.mesh() gives {type(mesh).__name__}, not a Mesh.")
        return mesh
    raise Unsupported(
        f"{type(field).__name__} has no surface: neither value and kind, nor mesh.", "Use a protocol about images."
    )


def extract(value: Value, box: ArrayLike, resolution: int, level: float, inside_above: bool) -> Mesh:
    """The level set of a field in a box: closed, faces counter-clockwise seen from outside; empty where there is none.

    A grid of cubic cells, `resolution` of them along the longest edge of the box; the shorter edges are covered, evenly
    beyond both ends where they are no multiple of a cell. The field is evaluated on every 2^k-th point of it, at least
    32 cells along the longest edge, and then only where the surface passes, at twice the resolution each time; the
    surface is followed wherever it leads. So the mesh is that of the dense grid, but for parts of the surface that no
    point of the first grid tells from their surroundings: what is thinner than a cell of it can be missed. Where the
    inside reaches the end of the grid, the mesh is closed there. Triangles by Lewiner et al. 2003, "Efficient
    Implementation of Marching Cubes' Cases with Topological Guarantees", as scikit-image has it.

    Args:
        value: gives (C,) values at (C,3) float32 points; called with at most 65,536 points.
        box: (2,3) low and high corner, scene units.
        resolution: cells along the longest edge.
        level: where the field is cut.
        inside_above: whether the inside has values above the level, or below it.

    Raises:
        NfbenchError: a box or a resolution that is none.
        ContractBroken: NaN from `value`, naming the first such point, or values of another shape.
    """
    low, cell, cells = _layout(box, resolution)
    halvings = max(0, int(math.log2(max(resolution, _COARSE) / _COARSE)))
    high = low + cells * cell
    sign = 1.0 if inside_above else -1.0

    def depth(stride: int, index: NDArray[np.int64]) -> Grid:
        """How far above the level, counted inwards, the field is at points (C,3) of the grid with that stride."""
        return _depth(value, np.minimum(low + index * (stride * cell), high), level, sign)

    stride = 2**halvings
    shape = tuple(-(-cells // stride) + 1)
    grid = depth(stride, np.argwhere(np.ones(shape, np.bool_))).reshape(shape)
    while stride > 1:
        stride //= 2
        grid = _refine(grid, functools.partial(depth, stride), widen=stride > 1)
    grid = grid[tuple(slice(n + 1) for n in cells)]
    return _march(grid, low, high, cell)


def _layout(box: ArrayLike, resolution: int) -> tuple[NDArray[np.float64], float, NDArray[np.int64]]:
    """The grid's low corner (3,), the edge of its cells, and how many of them there are along each axis (3,)."""
    corners = np.asarray(box, np.float64)
    if corners.shape != (2, 3) or not (corners[0] < corners[1]).all() or not np.isfinite(corners).all():
        raise NfbenchError(f"{corners.tolist()} is not a box.", "Give a low and a high corner, (2,3).")
    if resolution < 1:
        raise NfbenchError(f"A surface cannot be extracted at resolution {resolution}.", "Give 1 cell or more.")
    edges = corners[1] - corners[0]
    cell = float(edges.max()) / resolution
    cells = np.maximum(np.ceil(edges / cell - 1e-4), 1).astype(np.int64)  # float32 corners: no cell for their rounding
    low = corners.mean(0) - cells * cell / 2
    return np.where(np.abs(low - corners[0]) < 1e-4 * cell, corners[0], low), cell, cells


def _depth(value: Value, xyz: NDArray[np.float64], level: float, sign: float) -> Grid:
    """sign * (value - level) at points (C,3), float32, evaluated chunk by chunk."""
    depth = np.empty(len(xyz), np.float32)
    for start in range(0, len(xyz), _CHUNK):
        points = xyz[start : start + _CHUNK].astype(np.float32)
        values = np.asarray(value(points), np.float64)
        if values.shape != (len(points),):
            raise ContractBroken(f"value() gives shape {values.shape} for {len(points)} points, not one value each.")
        bad = np.flatnonzero(np.isnan(values))
        if len(bad):
            raise ContractBroken(
                f"value() is NaN at {points[bad[0]].tolist()} ({len(bad)} of {len(points)} points).",
                "Find where the field loses its numbers; the harness asks everywhere in the scene's box.",
            )
        depth[start : start + _CHUNK] = np.clip(sign * (values - level), -_GREATEST, _GREATEST)
    return depth


def _refine(coarse: Grid, depth: Callable[[NDArray[np.int64]], Grid], widen: bool) -> Grid:
    """The grid at twice the resolution: evaluated in cells that the surface crosses and, if `widen`, beside them.

    Elsewhere a point takes the value of a neighbour, of which only the sign is of use. A crossed cell of the fine grid
    may have such a corner where the surface leaves the cells it was known to cross; it is followed until none has.
    """
    fine = coarse
    for axis in range(3):
        fine = np.repeat(fine, 2, axis)
    fine = fine[:-1, :-1, :-1]
    known = np.zeros(fine.shape, np.bool_)
    known[::2, ::2, ::2] = True
    crossed = _crossed(coarse > 0)
    if widen:
        from scipy.ndimage import binary_dilation

        crossed = binary_dilation(crossed, np.ones((3, 3, 3), np.bool_))
    wanted = _points_of(np.argwhere(crossed) * 2, 3, known)
    while len(wanted):
        fine[tuple(wanted.T)] = depth(wanted)
        known[tuple(wanted.T)] = True
        wanted = _points_of(np.argwhere(_crossed(fine > 0)), 2, known)
    return fine


def _crossed(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells of a grid of points that have corners of both sorts."""
    some, every = inside, inside
    for axis in range(3):
        lower, upper = (tuple(part if a == axis else slice(None) for a in range(3)) for part in _ENDS)
        some = some[lower] | some[upper]
        every = every[lower] & every[upper]
    return some & ~every


_ENDS = (slice(None, -1), slice(1, None))


def _points_of(first: NDArray[np.int64], width: int, known: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The points (C,3), not yet known, of blocks of width^3 points that start at `first` (B,3)."""
    wanted = np.zeros(known.shape, np.bool_)
    for offset in np.ndindex(width, width, width):
        wanted[tuple((first + offset).T)] = True
    return np.argwhere(wanted & ~known)


def _march(grid: Grid, low: NDArray[np.float64], high: NDArray[np.float64], cell: float) -> Mesh:
    if not (grid > 0).any():
        return _empty()
    from skimage.measure import marching_cubes

    behind = -_OUTSIDE * max(float(grid.max()), -float(grid.min()))
    padded = np.pad(grid, 1, constant_values=behind)
    vertices, faces, _, _ = marching_cubes(padded, 0.0, gradient_direction="ascent")  # type: ignore[no-untyped-call]
    return Mesh(np.clip(low + (vertices.astype(np.float64) - 1) * cell, low, high), faces)


def _empty() -> Mesh:
    return Mesh(np.empty((0, 3), np.float64), np.empty((0, 3), np.int64))
