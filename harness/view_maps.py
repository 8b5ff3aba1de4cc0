"""Depth, normals and opacity of a field as cameras see it: its own where it gives them, else those of its mesh."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, Unsupported
from nfbench.harness.scene import Float, Mesh

_OPAQUE = 0.5  # from this opacity on a pixel shows the surface, not what is behind it
_SMOOTH = 0.8  # cosine from a face to the normal at a corner of it, below which its edges are meant to be seen
_MISSED = -1
_AMBIENT = 0.2  # part of the light of `shaded` that comes from everywhere
_COLOUR = np.array([0.78, 0.8, 0.84])  # of a surface without colours
_SIDE = 2  # rays along each edge of a pixel of `shaded`


@dataclass(frozen=True, eq=False)
class FieldMaps:
    """What N cameras of one size see of a field.

    Attributes:
        depth: (N,H,W) float32 distances along the rays, scene units; inf where opacity is below one half. Of a density,
            the expected depth over what stops the ray there.
        normal: (N,H,W,3) float32 unit vectors in scene coordinates, outwards, 0 where depth is infinite; None where the
            field has none.
        opacity: (N,H,W) float32 in [0,1], the part of the light from behind that is stopped.
    """

    depth: Float
    normal: Float | None
    opacity: Float


@runtime_checkable
class Maps(Protocol):
    """A field that gives depth, normals and opacity itself; an optional capability beside `render`."""

    def maps(self, cameras: Cameras) -> FieldMaps:
        """The maps of N cameras of one size."""
        ...


def maps_of(field: Maps, cameras: Cameras) -> FieldMaps:
    """A field's own maps, checked; depth and normals are taken away where opacity is below one half.

    Raises:
        ContractBroken: another shape, NaN, depth of 0 or less, or opacity out of [0,1]; it names the map.
    """
    answer = field.maps(cameras)
    who = f"{type(field).__name__}.maps"
    size = (len(cameras), int(cameras.size[0, 1]), int(cameras.size[0, 0]))
    found: dict[str, Float | None] = {}
    for name, shape in (("depth", size), ("opacity", size), ("normal", (*size, 3))):
        given = getattr(answer, name, None)
        if given is None and name == "normal":
            found[name] = None
            continue
        array = np.array(given, np.float32)
        if array.shape != shape:
            raise ContractBroken(f"{who}: {name} has shape {array.shape}, not {shape}.", "See FieldMaps.")
        if np.isnan(array).any():
            raise ContractBroken(f"{who}: {name} holds NaN.", "Depth is infinite, normals are 0, where nothing is.")
        found[name] = array
    depth, opacity, normal = found["depth"], found["opacity"], found["normal"]
    assert depth is not None and opacity is not None
    if opacity.min() < -1e-4 or opacity.max() > 1 + 1e-4:
        raise ContractBroken(f"{who}: opacity spans [{opacity.min():.3g}, {opacity.max():.3g}], not [0, 1].")
    clear = opacity < _OPAQUE
    if (depth[~clear] <= 0).any():
        raise ContractBroken(f"{who}: a depth of {depth[~clear].min():.3g}.", "Depth is a distance along the ray.")
    depth[clear] = np.inf
    if normal is not None:
        normal[~np.isfinite(depth)] = 0
    return FieldMaps(depth, normal, np.clip(opacity, 0, 1))


class MeshMaps:
    """A mesh as cameras see it, by ray casting (Embree); an empty one is seen nowhere.

    Args:
        mesh: in scene coordinates.

    Raises:
        Unsupported: embreex is not to be had.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        if not len(mesh.faces):
            return
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise Unsupported(f"Pictures of meshes need embreex: {error}.", "pip install embreex") from error
        # in a box of one unit at the origin, since Embree reckons in float32
        low, high = mesh.vertices.min(0), mesh.vertices.max(0)
        self._centre, self._edge = (low + high) / 2, float((high - low).max()) or 1.0
        self._scene = EmbreeScene()
        corners = ((mesh.vertices - self._centre) / self._edge)[mesh.faces].astype(np.float32)
        self._triangles = TriangleMesh(self._scene, corners)
        self._flat, self._round = _normals(mesh)
        agree = np.einsum("fkc,fc->fk", self._round[mesh.faces], self._flat)
        self._sharp: NDArray[np.bool_] = np.asarray((agree < _SMOOTH).any(1))

    def maps(self, cameras: Cameras) -> FieldMaps:
        """The maps of N cameras of one size: one ray through each pixel's centre, opacity 0 or 1.

        Normals are those of the faces, smoothed over edges that are not sharp.
        """
        width, height = _size(cameras)
        depth = np.full((len(cameras), height * width), np.inf, np.float32)
        normal = np.zeros((len(cameras), height * width, 3), np.float32)
        if len(self.mesh.faces):
            for index in range(len(cameras)):
                depth[index], normal[index] = self._cast(*rays(cameras, index))
        size = (len(cameras), height, width)
        opacity = np.isfinite(depth).astype(np.float32)
        return FieldMaps(depth.reshape(size), normal.reshape(*size, 3), opacity.reshape(size))

    def shaded(self, cameras: Cameras, background: tuple[float, float, float]) -> Float:
        """(N,H,W,3) float32 in [0,1]: grey, by Lambert's law, lit from the camera; four rays a pixel.

        Faces are lit from behind as well, as a mesh may have some turned over.
        """
        width, height = _size(cameras)
        fine = _finer(cameras)
        images = np.empty((len(cameras), height, width, 3), np.float32)
        for index in range(len(cameras)):
            seen = self.maps(fine[index])
            _, directions = rays(fine, index)
            assert seen.normal is not None
            facing = np.abs(np.einsum("pk,pk->p", seen.normal.reshape(-1, 3), directions))
            colour = (_AMBIENT + (1 - _AMBIENT) * facing[:, None]) * _COLOUR
            opacity = seen.opacity.reshape(-1, 1)
            colour = colour * opacity + (1 - opacity) * np.array(background)
            images[index] = colour.reshape(height, _SIDE, width, _SIDE, 3).mean((1, 3))
        return images

    def _cast(self, origins: Float, directions: Float) -> tuple[Float, Float]:
        """Depths (P,) and normals (P,3) of rays."""
        placed = ((origins - self._centre) / self._edge).astype(np.float32)
        found: dict[str, NDArray[Any]] = self._scene.run(placed, np.ascontiguousarray(directions), output=True)
        face = found["primID"].astype(np.int64)
        hit = np.flatnonzero(face != _MISSED)
        depth = np.full(len(face), np.inf, np.float32)
        depth[hit] = found["tfar"][hit] * self._edge
        u, v, face = found["u"][hit].astype(np.float64), found["v"][hit].astype(np.float64), face[hit]
        smooth = np.einsum("pk,pkc->pc", np.stack([1 - u - v, u, v], -1), self._round[self.mesh.faces[face]])
        smooth /= np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        flat = self._flat[face]
        normal = np.zeros((len(depth), 3), np.float32)
        normal[hit] = np.where(self._sharp[face, None], flat, smooth)
        return depth, normal


def _normals(mesh: Mesh) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit normals (F,3) of faces and (V,3) of vertices, the means of their faces' by area; 0 where there is none."""
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    cross = np.cross(second - first, third - first)
    total = np.zeros_like(mesh.vertices)
    for corner in range(3):
        for axis in range(3):
            total[:, axis] += np.bincount(mesh.faces[:, corner], cross[:, axis], len(total))
    tiny = np.finfo(np.float64).tiny
    flat, smooth = (a / np.maximum(np.linalg.norm(a, axis=1, keepdims=True), tiny) for a in (cross, total))
    return flat, smooth


def _size(cameras: Cameras) -> tuple[int, int]:
    """Width and height that all cameras share."""
    sizes = np.unique(cameras.size, axis=0)
    if len(sizes) != 1:
        raise DataCorrupt(f"Cameras of {len(sizes)} sizes in one call.", "Ask for maps of one size at a time.")
    return int(sizes[0, 0]), int(sizes[0, 1])


def _finer(cameras: Cameras) -> Cameras:
    """The same cameras with twice the pixels along each edge."""
    K = cameras.K.copy()
    K[:, :2] *= _SIDE
    return Cameras(cameras.c2w, K, cameras.size * _SIDE, cameras.near_far, cameras.distortion, cameras.fisheye)
