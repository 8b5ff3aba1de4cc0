"""A small analytic scene that every contract check runs on: a textured ball that gives every kind of input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, look_at, pixel_grid, rays
from nfbench.harness.png import read_png, write_png
from nfbench.harness.scene import Given, Image, Points, Scene, Views, Voxels

RADIUS = 0.4
_SIDE = 24  # pixels
_FIELD_OF_VIEW = 0.7  # radians
_DISTANCE = 1.6
_VOXELS = 32  # along an edge


def ball(folder: Path, *, views: int = 8, hidden: int = 3, seed: int = 0) -> Scene:
    """A ball of radius 0.4 at the origin in a box of [-0.55,0.55]^3, its images written as PNG under `folder`.

    Args:
        folder: gets `train/` and `test/`.
        views: given views, 24x24 RGBA.
        hidden: held-out views.
        seed: of camera and point positions.
    """
    generator = np.random.default_rng(seed)
    box = np.array([[-0.55] * 3, [0.55] * 3], np.float32)
    normal = _directions(generator, 4000)
    query = generator.uniform(-0.55, 0.55, (8000, 3))
    distance = np.linalg.norm(query, axis=1) - RADIUS
    given = Given(
        views=_views(folder / "train", _directions(generator, views)),
        cloud=Points(_f32(normal[:300] * RADIUS + generator.normal(0, 0.005, (300, 3)))),
        samples=Points(_f32(query[:4000]), value=_f32(distance[:4000]), kind="sdf"),
        voxels=_voxels(box),
    )
    return Scene(
        "ball",
        given,
        box,
        hidden=_views(folder / "test", _directions(generator, hidden)),
        surface=Points(_f32(normal * RADIUS), normal=_f32(normal)),
        occupancy=Points(_f32(query[4000:]), value=_f32(distance[4000:] < 0), kind="occupancy"),
    )


def _f32(array: NDArray[Any]) -> NDArray[np.float32]:
    return array.astype(np.float32)


def _voxels(box: NDArray[np.float32]) -> Voxels:
    """The ball in voxels, filled where their centres are inside."""
    empty = Voxels(np.zeros((_VOXELS,) * 3, np.bool_), box)
    inside = np.linalg.norm(empty.centres(), axis=1) < RADIUS
    return Voxels(inside.reshape(empty.filled.shape), box)


def _directions(generator: np.random.Generator, count: int) -> NDArray[np.float64]:
    vectors = generator.normal(size=(count, 3))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def _views(folder: Path, directions: NDArray[np.float64]) -> Views:
    count = len(directions)
    focal = _SIDE / 2 / np.tan(_FIELD_OF_VIEW / 2)
    K = np.array([[focal, 0, _SIDE / 2], [0, focal, _SIDE / 2], [0, 0, 1]])
    cameras = Cameras(
        np.stack([look_at(d * _DISTANCE, (0, 0, 0), (0.1, 0.2, 1)) for d in directions]),
        np.tile(K, (count, 1, 1)),
        np.tile([_SIDE, _SIDE], (count, 1)),
        np.tile([_DISTANCE - 1, _DISTANCE + 1], (count, 1)),
    )
    names = tuple(f"v_{i}" for i in range(count))
    files = tuple(folder / f"{name}.png" for name in names)
    folder.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(files):
        write_png(path, _image(cameras, index))
    return Views(cameras, names, lambda i: read_png(files[i]), files=files)


def _image(cameras: Cameras, index: int) -> Image:
    """The exact picture of the ball, one ray a pixel: colour by position, alpha 0 outside."""
    width, height = cameras.size[index].tolist()
    origins, directions = rays(cameras, index, pixel_grid(width, height))
    along = -(origins * directions).sum(1)
    discriminant = along**2 - (origins**2).sum(1) + RADIUS**2
    hit = discriminant > 0
    point = origins + (along - np.sqrt(np.where(hit, discriminant, 0)))[:, None] * directions
    colour = 0.5 + 0.5 * point / RADIUS
    rgba = np.concatenate([np.where(hit[:, None], colour, 0), hit[:, None]], axis=1)
    return np.asarray(np.rint(np.clip(rgba, 0, 1) * 255), np.uint8).reshape(height, width, 4)
