"""PyTorch3D's batches as meshes and points, without PyTorch3D: whatever has its methods is taken for one of them.

`surface` measures a batch of one as it is. For more, `meshes` and `clouds` give the items, and the mean over pairs is
what PyTorch3D calls `batch_reduction="mean"`, since it divides each cloud by its own number of points:

    mean(chamfer_sq_sum(p, t) for p, t in zip(clouds(predictions), clouds(truths), strict=True))

Its `chamfer_distance` (loss/chamfer.py) sums both ways' means of squared distances: `chamfer_sq_sum`, with `norm=2`,
its default. Its term for normals is `normal_cosine_loss`. `point_reduction="max"` gives the square of `hausdorff`,
`single_directional=True` the mean square of `Correspondence.to_truth`. `norm=1` is the Manhattan distance, with
neighbours found by it, and no Chamfer-L1; nothing here computes it. It works in float32, here distances are float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, DataCorrupt, NfbenchError
from nfbench.harness.scene import Mesh, Points


@runtime_checkable
class MeshBatch(Protocol):
    """A batch of meshes, as `pytorch3d.structures.Meshes` has them."""

    def verts_list(self) -> Sequence[Any]:
        """(V,3) of each mesh."""
        ...

    def faces_list(self) -> Sequence[Any]:
        """(F,3) of each mesh."""
        ...


@runtime_checkable
class CloudBatch(Protocol):
    """A batch of point clouds, as `pytorch3d.structures.Pointclouds` has them."""

    def points_list(self) -> Sequence[Any]:
        """(P,3) of each cloud."""
        ...

    def normals_list(self) -> Sequence[Any] | None:
        """(P,3) of each cloud; None where the batch has no normals."""
        ...


def meshes(batch: MeshBatch) -> list[Mesh]:
    """The meshes of a batch, in its order, an empty one as an empty Mesh.

    Tensors may require gradients, be of any float type and lie on any device.

    Raises:
        ContractBroken: no such batch, or lists of different lengths.
        DataCorrupt: vertices that are not finite, or a face that names no vertex; the item is named.
    """
    if not isinstance(batch, MeshBatch):
        raise ContractBroken(f"{_kind(batch)} is no batch of meshes.", "Give what has verts_list() and faces_list().")
    vertices, faces = batch.verts_list(), batch.faces_list()
    if len(vertices) != len(faces):
        raise ContractBroken(f"{_kind(batch)} has {len(vertices)} lists of vertices and {len(faces)} of faces.")
    return [_mesh(index, v, f) for index, (v, f) in enumerate(zip(vertices, faces, strict=True))]


def clouds(batch: CloudBatch) -> list[Points]:
    """The clouds of a batch, in its order, with normals where it has them; an empty one as Points of length 0.

    Tensors may require gradients, be of any float type and lie on any device.

    Raises:
        ContractBroken: no such batch, or lists of different lengths.
        DataCorrupt: points or normals that are not finite or do not fit each other; the item is named.
    """
    if not isinstance(batch, CloudBatch):
        raise ContractBroken(
            f"{_kind(batch)} is no batch of clouds.", "Give what has points_list() and normals_list()."
        )
    points, normals = batch.points_list(), batch.normals_list()
    if normals is None:
        return [_points(index, xyz, None) for index, xyz in enumerate(points)]
    if len(points) != len(normals):
        raise ContractBroken(f"{_kind(batch)} has {len(points)} lists of points and {len(normals)} of normals.")
    return [_points(index, xyz, n) for index, (xyz, n) in enumerate(zip(points, normals, strict=True))]


def single(surface: Points | Mesh | MeshBatch | CloudBatch) -> Points | Mesh:
    """The one surface that is given: itself, or the only item of a batch.

    Raises:
        NfbenchError: a batch of none or of several.
        ContractBroken: neither Points nor Mesh nor a batch of them.
    """
    if isinstance(surface, Points | Mesh):
        return surface
    items: list[Mesh] | list[Points]
    if isinstance(surface, MeshBatch):
        items, name = meshes(surface), "meshes"
    elif isinstance(surface, CloudBatch):
        items, name = clouds(surface), "clouds"
    else:
        raise ContractBroken(f"{_kind(surface)} is no surface.", "Give Points, a Mesh, or a PyTorch3D batch of one.")
    if len(items) != 1:
        raise NfbenchError(
            f"A batch of {len(items)} {name} where one surface is measured.",
            f"Measure each of nfbench.harness.bridge.{name}(batch) and take the mean.",
        )
    return items[0]


def _mesh(index: int, vertices: object, faces: object) -> Mesh:
    try:
        return Mesh(_array(vertices).astype(np.float64), _array(faces).astype(np.int64))
    except DataCorrupt as error:
        raise DataCorrupt(f"Mesh {index} of the batch: {error.message}", error.hint) from error


def _points(index: int, xyz: object, normal: object) -> Points:
    try:
        return Points(_array(xyz).astype(np.float32), None if normal is None else _array(normal).astype(np.float32))
    except DataCorrupt as error:
        raise DataCorrupt(f"Cloud {index} of the batch: {error.message}", error.hint) from error


def _array(tensor: object) -> NDArray[Any]:
    """A tensor as an array; bfloat16, which numpy lacks, by way of float32."""
    if not hasattr(tensor, "detach"):
        return np.asarray(tensor)
    plain: Any = tensor.detach().cpu()
    return np.asarray((plain.float() if str(plain.dtype) == "torch.bfloat16" else plain).numpy())


def _kind(thing: object) -> str:
    return f"A {type(thing).__name__}"
