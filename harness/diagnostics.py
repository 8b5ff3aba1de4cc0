"""What a mesh is, before anything is measured on it: closed, in how many pieces, which way round; and a field's energy.

Vertices at exactly one position count as one for all that is about connection, so that a mesh whose file repeats its
vertices (STL always does) is judged by its shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.scene import Mesh

_FLAT = 1e-12  # a face whose doubled area is this part of its longest edge squared is a line for float64
_STEP = 1e-3  # of the box's longest edge: float32 fields still have four digits in their differences
_BATCH = 65_536  # points at which a field is asked at once

_Index = NDArray[np.int64]


@dataclass(frozen=True)
class Diagnostics:
    """What a mesh is; lengths in its own unit.

    Attributes:
        vertices: as the mesh has them, used or not.
        faces: as the mesh has them, degenerate ones included.
        watertight: there are faces, and each edge is shared by exactly two.
        consistent: two faces that share an edge run through it in opposite directions, wherever exactly two do.
        inside_out: watertight, consistent, and of negative volume: the normals point inwards.
        components: pieces that share no vertex.
        euler: vertices in use - edges + faces, without the faces of fewer than three different corners.
        genus: handles of all components together; None unless the mesh is a closed, consistent manifold.
        area: of all faces.
        signed_volume: positive where faces are counter-clockwise seen from outside; no volume unless watertight.
        boundary_edges: edges of one face.
        nonmanifold_edges: edges of three faces or more.
        degenerate_faces: faces without area.
        duplicate_faces: faces whose three corners another, earlier one has, in any order.
        longest_edge: as a part of the diagonal of the box around the vertices in use, in [0,1].
    """

    vertices: int
    faces: int
    watertight: bool
    consistent: bool
    inside_out: bool
    components: int
    euler: int
    genus: int | None
    area: float
    signed_volume: float
    boundary_edges: int
    nonmanifold_edges: int
    degenerate_faces: int
    duplicate_faces: int
    longest_edge: float

    def as_dict(self) -> dict[str, int | float | bool | None]:
        """The attributes by name, as plain numbers for a record."""
        return asdict(self)


def diagnose(mesh: Mesh) -> Diagnostics:
    """What the mesh is, as Diagnostics; an empty mesh has zeros and is not watertight. About 2 s a million faces."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    doubled = np.sqrt(_squared(np.cross(b - a, c - a)))
    longest = np.maximum(np.maximum(_squared(b - a), _squared(c - b)), _squared(a - c))
    joined = _welded(mesh)
    counts, balanced = _edge_counts(joined)
    paired = counts == 2
    watertight, consistent = bool(len(counts) and paired.all()), bool(balanced[paired].all())
    used, components = _components(joined)
    euler = used - len(counts) + len(joined)
    volume = _signed_volume(a, b, c)
    manifold = watertight and consistent and _fans(joined) == used
    diagonal = _diagonal(a, b, c)
    return Diagnostics(
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        watertight=watertight,
        consistent=consistent,
        inside_out=watertight and consistent and volume < 0,
        components=components,
        euler=euler,
        genus=components - euler // 2 if manifold else None,
        area=float(doubled.sum() / 2),
        signed_volume=volume,
        boundary_edges=int(np.count_nonzero(counts == 1)),
        nonmanifold_edges=int(np.count_nonzero(counts > 2)),
        degenerate_faces=int(np.count_nonzero(doubled <= _FLAT * longest)),
        duplicate_faces=_repeated(joined),
        longest_edge=float(np.sqrt(longest.max()) / diagonal) if diagonal > 0 else 0.0,
    )


def is_watertight(mesh: Mesh) -> bool:
    """Whether the mesh has faces and each of its edges is shared by exactly two; whichever way round they are."""
    counts, _ = _edge_counts(_welded(mesh))
    return bool(len(counts) and (counts == 2).all())


def dirichlet_energy(
    value: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    box: ArrayLike,
    count: int = 100_000,
    seed: int = 0,
    *,
    step: float = _STEP,
) -> float:
    """The mean of ``|grad f|^2`` over the box, in (unit of f)^2 / (unit of length)^2: 1 for any signed distance.

    This is ``1/|B| int_B |grad f|^2 dx``: the Dirichlet energy without its half and per unit volume, so that boxes
    of different sizes compare. It is what smooth neural fields keep low (Liu et al. 2022, "Learning Smooth Neural
    Functions via Lipschitz Regularization"). Monte Carlo over uniform points, with central differences; where a
    neighbour would leave the box, the difference is taken from the face of the box.

    Args:
        value: the field, (P,3) float32 to (P,).
        box: (2,3), the lowest and the highest corner.
        count: points; six evaluations each.
        seed: of the points.
        step: half the length of a difference, as a part of the box's longest edge.

    Raises:
        NfbenchError: an impossible box, count or step.
        ContractBroken: the field gives another shape or a value that is not finite.
    """
    low, high = np.asarray(box, np.float64).reshape(2, 3)
    if not (np.isfinite([low, high]).all() and (low < high).all()) or count < 1 or not 0 < step < 1:
        raise NfbenchError(
            f"A Dirichlet energy over {low.tolist()} to {high.tolist()} from {count} points with step {step}.",
            "Give a low and a high corner, at least one point, and a step between 0 and 1.",
        )
    generator = np.random.default_rng(seed)
    reach = step * (high - low).max()
    total = 0.0
    for start in range(0, count, _BATCH):
        xyz = low + generator.random((min(_BATCH, count - start), 3)) * (high - low)
        total += sum(_squared_slope(value, xyz, axis, reach, (low[axis], high[axis])) for axis in range(3))
    return total / count


def _squared_slope(
    value: Callable[[NDArray[np.float32]], NDArray[np.floating]],
    xyz: NDArray[np.float64],
    axis: int,
    reach: float,
    ends: tuple[float, float],
) -> float:
    """The sum over points of the squared derivative of the field along an axis."""
    ahead, behind = xyz.astype(np.float32), xyz.astype(np.float32)
    ahead[:, axis] = np.minimum(xyz[:, axis] + reach, ends[1])
    behind[:, axis] = np.maximum(xyz[:, axis] - reach, ends[0])
    # the distance between the points as float32 has them
    apart = ahead[:, axis].astype(np.float64) - behind[:, axis]
    slope = (_values(value, ahead) - _values(value, behind)) / apart
    return float(np.square(slope).sum())


def _values(
    value: Callable[[NDArray[np.float32]], NDArray[np.floating]], xyz: NDArray[np.float32]
) -> NDArray[np.float64]:
    values = np.asarray(value(xyz), np.float64)
    if values.shape != (len(xyz),):
        raise ContractBroken(f"The field gives shape {values.shape} for {len(xyz)} points.", "Give one value each.")
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ContractBroken(
            f"The field is {values[bad[0]]} at {xyz[bad[0]].tolist()} ({len(bad)} of {len(xyz)} points).",
            "A field has a finite value everywhere in the box.",
        )
    return values


def _welded(mesh: Mesh) -> _Index:
    """(G,3) faces with one number a position, 0 to its count - 1; those of fewer than three corners left out."""
    flat = mesh.faces.ravel()
    if not len(flat):
        return mesh.faces
    used = np.zeros(len(mesh.vertices), np.bool_)
    used[flat] = True
    xyz = mesh.vertices[used]
    order = np.lexsort(xyz.T)
    fresh = np.ones(len(xyz), np.bool_)
    fresh[1:] = (xyz[order[1:]] != xyz[order[:-1]]).any(1)
    number = np.empty(len(mesh.vertices), np.int64)
    number[np.flatnonzero(used)[order]] = np.cumsum(fresh) - 1
    faces = number[mesh.faces]
    whole = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return faces if whole.all() else faces[whole]


def _edge_counts(faces: _Index) -> tuple[_Index, NDArray[np.bool_]]:
    """For each edge, how many faces have it, and whether as many run through it one way as the other."""
    keys = _directed(faces)
    if not len(keys):
        return np.empty(0, np.int64), np.empty(0, np.bool_)
    keys.sort()
    first = _starts(keys >> 1)
    counts = np.diff(first, append=len(keys))
    forward = np.add.reduceat(keys & 1, first)
    return counts, 2 * forward == counts


def _directed(faces: _Index) -> _Index:
    """(3G,) a number for each edge of each face, twice that of its two ends, plus 1 where run through upwards."""
    size = int(faces.max(initial=-1)) + 1
    a, b = faces.ravel(), faces[:, (1, 2, 0)].ravel()
    return (np.minimum(a, b) * size + np.maximum(a, b)) * 2 + (a < b)


def _starts(ordered: _Index) -> _Index:
    """Where runs of equal numbers begin."""
    return np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))


def _components(faces: _Index) -> tuple[int, int]:
    """How many vertices are in use, and into how many connected sets the faces bind them."""
    if not len(faces):
        return 0, 0
    present = np.zeros(faces.max() + 1, np.bool_)
    present[faces.ravel()] = True
    used = int(np.count_nonzero(present))
    pieces = _pieces(faces[:, :2].T.ravel(), faces[:, 1:].T.ravel(), len(present))
    return used, pieces - (len(present) - used)


def _pieces(a: _Index, b: _Index, count: int) -> int:
    """The number of connected components of `count` nodes with links between `a` and `b`."""
    from scipy.sparse import coo_array  # half a second to load, and every format's module comes by here
    from scipy.sparse.csgraph import connected_components

    links = coo_array((np.ones(len(a), np.int8), (a.astype(np.int32), b.astype(np.int32))), shape=(count, count))
    found, _ = connected_components(links, directed=False)
    return int(found)


def _fans(faces: _Index) -> int:
    """How many separate fans of faces there are around all vertices: one a vertex where the mesh is a closed manifold.

    Corners of two faces at one vertex belong together where the faces share an edge at it. Each edge has two faces.
    """
    keys = _directed(faces)
    order = np.argsort(keys >> 1, kind="stable")
    one, other = order[0::2], order[1::2]  # each edge's two occurrences; corner i starts edge i
    after_one, after_other = _next_corner(one), _next_corner(other)
    # run through in opposite directions: the start of one is the end of the other
    return _pieces(np.concatenate([one, after_one]), np.concatenate([after_other, other]), len(keys))


def _next_corner(corner: _Index) -> _Index:
    return np.where(corner % 3 == 2, corner - 2, corner + 1)


def _repeated(faces: _Index) -> int:
    """How many faces have the corners of an earlier one."""
    if not len(faces):
        return 0
    a, b, c = np.sort(faces, axis=1).T
    pair = a * (int(faces.max()) + 1) + b
    order = np.lexsort((c, pair))
    same = (pair[order[1:]] == pair[order[:-1]]) & (c[order[1:]] == c[order[:-1]])
    return int(np.count_nonzero(same))


def _squared(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F,) the squared lengths of vectors (F,3)."""
    squared: NDArray[np.float64] = np.einsum("fi,fi->f", vectors, vectors)
    return squared


def _signed_volume(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]) -> float:
    """The sum of the signed volumes of the tetrahedra between one corner and each face: far from the origin, exact."""
    if not len(a):
        return 0.0
    pivot = a[0]
    return float(np.einsum("fi,fi->", a - pivot, np.cross(b - pivot, c - pivot)) / 6)


def _diagonal(*corners: NDArray[np.float64]) -> float:
    """The length of the diagonal of the box around all corners (F,3)."""
    if not len(corners[0]):
        return 0.0
    low = np.min([[column.min() for column in part.T] for part in corners], axis=0)
    high = np.max([[column.max() for column in part.T] for part in corners], axis=0)
    return float(np.linalg.norm(high - low))
