"""Field to Mesh: the level set of a field, extracted the same way for every method."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.asking import Asking, Value
from nfbench.harness.errors import ContractBroken, NfbenchError, Unsupported
from nfbench.harness.marching import march
from nfbench.harness.method import Meshed, Valued
from nfbench.harness.scene import Kind, Mesh
from nfbench.harness.sparse_grid import Depth, SparseGrid
from nfbench.harness.thin_parts import Probes, Scale, find_thin_parts

if TYPE_CHECKING:
    from nfbench.harness.protocol import SurfaceSection

_COARSE = 32  # least cells along the longest edge of the first grid, as Mescheder et al. 2019, section 3.3
_FLOOR = 1e-7  # least probability or density that is told from none when their slopes are looked at


@dataclass(frozen=True, eq=False)
class Extracted:
    """A mesh, and how it was come by.

    Attributes:
        mesh: the surface; empty where there is none.
        evaluations: points that the field was asked for; 0 for a field that is a mesh itself.
        probes: what asking at random told of parts that were missed.
    """

    mesh: Mesh
    evaluations: int = 0
    probes: Probes = field(default_factory=Probes)

    def facts(self) -> dict[str, float]:
        """What a reader of the scores should know, for the record: plain numbers by name; none of a mesh as it is."""
        if not self.evaluations:
            return {}
        return {
            "extraction_evaluations": self.evaluations,
            "extraction_thin_parts_found": self.probes.found,
            "extraction_probes": self.probes.count,
            "extraction_probes_wrong": self.probes.wrong,
            "extraction_missed_at_most": self.probes.bound(),
        }


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
    return surface_of(field, box, section).mesh


def surface_of(field: object, box: ArrayLike, section: SurfaceSection) -> Extracted:
    """The surface of a field as `mesh_of` gives it, with what is to be told of the extraction."""
    if isinstance(field, Valued):
        level = getattr(section.levels, str(field.kind), None)
        if level is None:
            raise ContractBroken(f"{type(field).__name__}.kind is {field.kind!r}.", "Kinds: sdf, occupancy, density.")
        return extracted(field.value, box, section.resolution, level, field.kind != "sdf", field.kind)
    if isinstance(field, Meshed):
        mesh = field.mesh()
        if not isinstance(mesh, Mesh):
            raise ContractBroken(f"{type(field).__name__}.mesh() gives {type(mesh).__name__}, not a Mesh.")
        return Extracted(mesh)
    raise Unsupported(
        f"{type(field).__name__} has no surface: neither value and kind, nor mesh.", "Use a protocol about images."
    )


def extract(value: Value, box: ArrayLike, resolution: int, level: float, inside_above: bool) -> Mesh:
    """The level set of a field in a box, as `extracted` gives it, without more."""
    return extracted(value, box, resolution, level, inside_above).mesh


def extracted(
    value: Value, box: ArrayLike, resolution: int, level: float, inside_above: bool, kind: Kind = "sdf"
) -> Extracted:
    """The level set of a field in a box: closed, faces counter-clockwise seen from outside; empty where there is none.

    A grid of cubic cells, `resolution` of them along the longest edge of the box; the shorter edges are covered, evenly
    beyond both ends where they are no multiple of a cell. The field is evaluated on every 2^k-th point of it, at least
    32 cells along the longest edge, and then only at the corners of cells that the surface passes, at twice the
    resolution each time; the surface is followed wherever it leads. So the mesh is that of the dense grid, but for
    parts of the surface that no point of the first grid tells from their surroundings. These are looked for
    (`harness/thin_parts.py`), and the report bounds what may be missing still. Where the inside reaches the end of the
    grid, the mesh is closed there. Memory goes with the area of the surface. Triangles by Lewiner et al. 2003,
    "Efficient Implementation of Marching Cubes' Cases with Topological Guarantees", as scikit-image has it.

    Args:
        value: gives (C,) values at (C,3) float32 points; called with at most 65,536 points, with fewer after it ran out
            of memory.
        box: (2,3) low and high corner, scene units.
        resolution: cells along the longest edge.
        level: where the field is cut.
        inside_above: whether the inside has values above the level, or below it.
        kind: what the values are, which tells how to read distances from the surface out of them.

    Raises:
        NfbenchError: a box or a resolution that is none, a field that runs out of memory at 1024 points, or a surface
            so crumpled that it fills the box.
        ContractBroken: NaN from `value`, naming the first such point, or values of another shape.
    """
    low, cell, cells = _layout(box, resolution)
    high = low + cells * cell
    asking = Asking(value, level, inside_above)
    stride = 2 ** max(0, int(math.log2(max(resolution, _COARSE) / _COARSE)))

    def depth(stride: int) -> Depth:
        """How far inside points (C,3) of the grid with that stride are."""
        return lambda points: asking(points, lambda index: np.minimum(low + index * (stride * cell), high))

    shape = -(-cells // stride) + 1
    coarse = depth(stride)(np.argwhere(np.ones(shape, np.bool_)).astype(np.int32)).reshape(shape)
    grid = SparseGrid.dense(coarse)
    for halved in (stride // 2**n for n in range(1, stride.bit_length())):
        grid = grid.refined(-(-cells // halved) + 1, depth(halved))
    probes = Probes()
    if stride > 1:
        probes = find_thin_parts(grid, coarse, stride, depth(1), _scale(asking, kind, level))
    vertices, faces = march(grid)
    return Extracted(Mesh(np.clip(low + vertices * cell, low, high), faces), asking.asked, probes)


def _scale(asking: Asking, kind: Kind, level: float) -> Scale:
    """What makes depths comparable to distances: logits of a probability, the logarithm of a density."""
    if kind == "sdf":
        return lambda depth: depth.astype(np.float64)

    def flat(values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        if kind == "occupancy":
            p = np.clip(values, _FLOOR, 1 - _FLOOR)
            return np.asarray(np.log(p / (1 - p)))
        return np.asarray(np.log(np.maximum(values, _FLOOR)))

    return lambda depth: flat(asking.values(depth)) - flat(level)


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
