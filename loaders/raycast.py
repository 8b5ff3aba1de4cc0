"""Pictures of meshes with their own colours, by ray casting on the CPU (Embree): exact silhouettes, no GL."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.scene import Image, Mesh, Views

Reals = NDArray[np.float64]
Paint = Callable[[NDArray[np.int64], Reals], Reals]
"""From faces (P,) and barycentric coordinates (P,3) to sRGB colours (P,3) in [0,1]."""

GREY = 0.72  # of a surface without colours
AMBIENT = 0.45  # part of a surface's colour that shows without light
_LIGHT = np.array([0.35, -0.45, 0.82])  # towards the light: from the front right, above
_SIDE = 2  # rays along each edge of a pixel
_MISSED = -1
_ROOM = 1.05  # of the view around the object's sphere


def read_painted(path: Path) -> tuple[Mesh, Paint]:
    """The mesh in a file and its colours: a texture, colours of vertices or of faces, or plain grey where it has none.

    Raises:
        DataMissing, DataCorrupt, Unsupported: as `read_mesh` does.
    """
    import trimesh

    plain = read_mesh(path)  # whose checks come before a reader that trusts the file
    try:
        loaded: Any = trimesh.load(path, force="mesh", process=False)
        mesh = Mesh(np.asarray(loaded.vertices), np.asarray(loaded.faces))
        paint = _paint(loaded, mesh.faces)
    except Exception:  # its readers of colours let whatever a damaged material provokes through
        return plain, plain_paint
    return mesh, paint or plain_paint


def plain_paint(face: NDArray[np.int64], barycentric: Reals) -> Reals:
    """Grey everywhere."""
    return np.full((len(face), 3), GREY)


def _paint(loaded: Any, faces: NDArray[np.int64]) -> Paint | None:  # noqa: ANN401  # a mesh of trimesh
    visual = loaded.visual
    if visual.kind == "texture" and visual.uv is not None:
        material = visual.material
        image = getattr(material, "image", None) or getattr(material, "baseColorTexture", None)
        if image is not None:
            pixels = np.asarray(image.convert("RGB"), np.float64) / 255
            return _of_texture(pixels, np.asarray(visual.uv, np.float64), faces)
    elif visual.kind == "vertex":
        colours = np.asarray(visual.vertex_colors, np.float64)[:, :3] / 255
        return lambda face, barycentric: np.einsum("pk,pkc->pc", barycentric, colours[faces[face]])
    elif visual.kind == "face":
        own = np.asarray(visual.face_colors, np.float64)[:, :3] / 255
        return lambda face, barycentric: own[face]
    return None


def _of_texture(pixels: Reals, uv: Reals, faces: NDArray[np.int64]) -> Paint:
    """Bilinear, repeated beyond its edges; v goes up, rows go down."""
    height, width = pixels.shape[:2]

    def paint(face: NDArray[np.int64], barycentric: Reals) -> Reals:
        at = np.einsum("pk,pkc->pc", barycentric, uv[faces[face]])
        x, y = at[:, 0] * width - 0.5, (1 - at[:, 1]) * height - 0.5
        left, top = np.floor(x).astype(np.int64), np.floor(y).astype(np.int64)
        right, down = (x - left)[:, None], (y - top)[:, None]
        rows, columns = (top % height, (top + 1) % height), (left % width, (left + 1) % width)
        upper = pixels[rows[0], columns[0]] * (1 - right) + pixels[rows[0], columns[1]] * right
        lower = pixels[rows[1], columns[0]] * (1 - right) + pixels[rows[1], columns[1]] * right
        return np.asarray(upper * (1 - down) + lower * down)

    return paint


class Caster:
    """A mesh ready to be seen from anywhere.

    Args:
        mesh: in scene coordinates.
        paint: its colours.

    Raises:
        DataCorrupt: a mesh without faces.
        Unsupported: embreex is not to be had.
    """

    def __init__(self, mesh: Mesh, paint: Paint = plain_paint) -> None:
        if not len(mesh.faces):
            raise DataCorrupt("The mesh has no faces to render.", "Leave it out.")
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise Unsupported(f"Rendering meshes needs embreex: {error}.", "pip install embreex") from error
        self.mesh, self.paint = mesh, paint
        self._scene = EmbreeScene()
        self._triangles = TriangleMesh(self._scene, mesh.vertices[mesh.faces].astype(np.float32))

    def image(self, cameras: Cameras, index: int) -> Image:
        """What one camera sees, uint8 (H,W,4) sRGB with straight alpha, four rays a pixel, lit from one side.

        Lambert's law with an ambient part; faces are lit from behind as well, since many meshes have some turned over.
        """
        width, height = cameras.size[index].tolist()
        colour, hit = self._cast(cameras, index, width, height)
        blocks = hit.reshape(height, _SIDE, width, _SIDE)
        count = blocks.sum((1, 3))
        total = (colour * hit[:, None]).reshape(height, _SIDE, width, _SIDE, 3).sum((1, 3))
        rgb = total / np.maximum(count, 1)[..., None]
        alpha = count[..., None] / _SIDE**2
        rounded: Image = np.rint(np.concatenate([np.clip(rgb, 0, 1), alpha], axis=-1) * 255).astype(np.uint8)
        return rounded

    def hits(self, origins: NDArray[np.floating], directions: NDArray[np.floating]) -> tuple[NDArray[np.int64], Reals]:
        """The face (P,) that each ray meets first, -1 for none, and the distance (P,) to it, inf for none."""
        found = self._run(origins, directions)
        face = found["primID"].astype(np.int64)
        return face, np.where(face == _MISSED, np.inf, found["tfar"].astype(np.float64))

    def _run(self, origins: NDArray[np.floating], directions: NDArray[np.floating]) -> dict[str, NDArray[Any]]:
        rays = (np.ascontiguousarray(a, np.float32) for a in (origins, directions))
        found: dict[str, NDArray[Any]] = self._scene.run(*rays, output=True)
        return found

    def _cast(self, cameras: Cameras, index: int, width: int, height: int) -> tuple[Reals, NDArray[np.bool_]]:
        """Colours (P,3) and hits (P,) of the rays of a camera, rows of rays from the top."""
        y, x = np.mgrid[0 : height * _SIDE, 0 : width * _SIDE]
        xy = (np.stack([x, y], -1).reshape(-1, 2) + 0.5) / _SIDE
        found = self._run(*rays(cameras, index, xy))
        face = found["primID"].astype(np.int64)
        hit = face != _MISSED
        colour = np.zeros((len(face), 3))
        seen = np.flatnonzero(hit)
        u, v = found["u"][seen].astype(np.float64), found["v"][seen].astype(np.float64)
        barycentric = np.clip(np.stack([1 - u - v, u, v], -1), 0, 1)
        colour[seen] = self.paint(face[seen], barycentric) * self._shade(face[seen])[:, None]
        return colour, hit

    def _shade(self, face: NDArray[np.int64]) -> Reals:
        first, second, third = (self.mesh.vertices[self.mesh.faces[face, corner]] for corner in range(3))
        normal = np.cross(second - first, third - first)
        length = np.linalg.norm(normal, axis=1)
        facing = np.abs(normal @ (_LIGHT / np.linalg.norm(_LIGHT))) / np.where(length > 0, length, 1)
        return np.asarray(AMBIENT + (1 - AMBIENT) * facing)


def cameras_around(count: int, pixels: int, radius: float, degrees: float = 40.0, seed: int = 0) -> Cameras:
    """`count` cameras spread evenly over the sphere (a Fibonacci spiral turned by the seed), looking at the origin.

    Args:
        count: how many.
        pixels: width and height.
        radius: of the sphere around the origin that they see whole.
        degrees: field of view.
        seed: of the turn, so that training and test views differ.
    """
    distance = _ROOM * radius / np.sin(np.radians(degrees / 2))
    height = 1 - 2 * (np.arange(count) + 0.5) / count
    turn = np.arange(count) * np.pi * (3 - 5**0.5) + np.random.default_rng(seed).uniform(0, 2 * np.pi)
    across = np.sqrt(1 - height**2)
    eyes = distance * np.stack([across * np.cos(turn), across * np.sin(turn), height], -1)
    focal = pixels / 2 / np.tan(np.radians(degrees / 2))
    lens = np.array([[focal, 0, pixels / 2], [0, focal, pixels / 2], [0, 0, 1]])
    near_far = np.tile([distance - radius, distance + radius], (count, 1))
    return Cameras(
        np.stack([look_at(eye, (0, 0, 0)) for eye in eyes]),
        np.tile(lens, (count, 1, 1)).astype(np.float32),
        np.full((count, 2), pixels, np.int32),
        near_far.astype(np.float32),
    )


def views_of(caster: Caster, cameras: Cameras, prefix: str) -> Views:
    """Views of a mesh, rendered when asked for, named `prefix` and a number."""
    names = tuple(f"{prefix}{index:04d}" for index in range(len(cameras)))
    return Views(cameras, names, lambda index: caster.image(cameras, index))
