"""The scene of any solid with an exact distance: posed views, depth, occupancy and surface, all of them exact.

A scene of one's own takes three lines:

>>> from nfbench.loaders.distance import Torus
>>> from nfbench.loaders.shading import checks
>>> size = Size(train_views=2, test_views=1, pixels=16, points=100)
>>> scene = analytic_scene("ring", Torus(0.6, 0.2), checks((0.9, 0.2, 0.1), (0.9, 0.9, 0.8), 0.4), size)
>>> scene.given.views.image(0).shape, len(scene.hidden), len(scene.surface)
((16, 16, 4), 1, 100)
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.loaders.cache import Arrays, Cached
from nfbench.loaders.distance import Solid
from nfbench.loaders.shading import Texture
from nfbench.loaders.tracing import render_arrays, sample_surface, views_of

EDGE = 1.0  # half the edge of the scene's box
DISTANCE = 3.5  # of the cameras from the centre
FIELD_OF_VIEW = 40.0  # degrees

_ARRAYS = ("train_image", "train_depth", "test_image", "test_depth", "surface", "normal", "query", "inside")


@dataclass(frozen=True)
class Size:
    """How much of everything is made; the defaults are the registered tasks.

    Attributes:
        train_views: given views of a single scene.
        test_views: hidden views of a single scene.
        pixels: width and height of a view.
        points: on the surface, and query points in the box.
        cloud: points of a shape's given cloud.
        samples: points of a shape with given signed distance.
    """

    train_views: int = 48
    test_views: int = 16
    pixels: int = 100
    points: int = 100_000
    cloud: int = 300
    samples: int = 50_000

    def label(self) -> str:
        """A file's name for this size."""
        return f"{self.train_views}x{self.test_views}x{self.pixels}-{self.points}-{self.cloud}-{self.samples}"


def orbit(directions: ArrayLike, pixels: int, box_edge: float = EDGE, distance: float = DISTANCE) -> Cameras:
    """Cameras in `directions` (N,3) from the centre, all at one distance and looking at it.

    Args:
        directions: (N,3), of any length, not along z.
        pixels: width and height of the images.
        box_edge: half the edge of the box that `near_far` holds.
        distance: from the centre.
    """
    towards = np.asarray(directions, np.float64)
    eyes = distance * towards / np.linalg.norm(towards, axis=1, keepdims=True)
    focal = pixels / 2 / np.tan(np.radians(FIELD_OF_VIEW / 2))
    n, reach = len(eyes), box_edge * np.sqrt(3)
    K = np.array([[focal, 0, pixels / 2], [0, focal, pixels / 2], [0, 0, 1]])
    return Cameras(
        np.stack([look_at(eye, (0, 0, 0)) for eye in eyes]),
        np.broadcast_to(K, (n, 3, 3)),
        np.full((n, 2), pixels, np.int32),
        np.broadcast_to([distance - reach, distance + reach], (n, 2)),
    )


def around(count: int, seed: int) -> NDArray[np.float64]:
    """Directions (count,3) spread evenly over the sphere, the poles left out, jittered by the seed."""
    rng = np.random.default_rng(seed)
    height = 0.95 * (1 - (2 * np.arange(count) + 2 * rng.random(count)) / count)
    golden = np.pi * (3 - np.sqrt(5))
    angle = golden * np.arange(count) + rng.random() * 2 * np.pi + rng.normal(0, 0.1, count)
    flat = np.sqrt(1 - height**2)
    return np.stack([flat * np.cos(angle), flat * np.sin(angle), height], axis=1)


def spiral(count: int) -> NDArray[np.float64]:
    """Directions (count,3) on a spiral of two turns from 30 degrees below the horizon to 60 above."""
    part = (np.arange(count) + 0.5) / count
    up, angle = np.radians(-30 + 90 * part), 4 * np.pi * part
    return np.stack([np.cos(up) * np.cos(angle), np.cos(up) * np.sin(angle), np.sin(up)], axis=1)


def analytic_scene(
    name: str,
    solid: Solid,
    texture: Texture,
    size: Size | None = None,
    seed: int = 0,
    cache_file: Path | None = None,
) -> Scene:
    """The scene of a solid inside [-1,1]^3: given and hidden views, surface and occupancy, exact.

    Args:
        name: of the scene.
        solid: exact signed distance; see nfbench.loaders.distance.
        texture: points (P,3) to sRGB colours (P,3) in [0,1].
        size: how much of everything.
        seed: of the training cameras and of all points.
        cache_file: an .npz file to keep it in; it is made now when left out.
    """
    return stored_scene(name, lambda: (solid, texture), size or Size(), seed, cache_file)


def stored_scene(
    name: str, make: Callable[[], tuple[Solid, Texture]], size: Size, seed: int, file: Path | None
) -> Scene:
    """The scene of `analytic_scene`, read from `file` where it is there; the solid is made only where it is not."""
    train = orbit(around(size.train_views, seed), size.pixels)
    test = orbit(spiral(size.test_views), size.pixels)

    def arrays() -> Arrays:
        solid, texture = make()
        views: dict[str, NDArray[np.generic]] = {}
        for split, cameras in (("train", train), ("test", test)):
            images, depths = render_arrays(solid, texture, cameras)
            views |= {f"{split}_image": np.stack(images), f"{split}_depth": np.stack(depths)}
        rng = np.random.default_rng(seed)
        return views | exact_surface(solid, size.points, rng) | exact_queries(solid, EDGE, size.points, rng)

    stored = Cached(file, _ARRAYS, arrays)
    return Scene(
        name,
        Given(views=_views(stored, "train", train)),
        np.array([[-EDGE] * 3, [EDGE] * 3], np.float32),
        hidden=_views(stored, "test", test),
        surface=surface_points(stored),
        occupancy=occupancy_points(stored),
    )


def _views(stored: Arrays, split: str, cameras: Cameras) -> Views:
    images = functools.cache(lambda: stored[f"{split}_image"].astype(np.uint8, copy=False))
    depths = functools.cache(lambda: stored[f"{split}_depth"].astype(np.float32, copy=False))
    names = tuple(f"{split}_{i:03d}" for i in range(len(cameras)))
    return views_of(cameras, names, lambda i: images()[i], lambda i: depths()[i])


def surface_points(stored: Arrays) -> Points:
    """The surface with normals from arrays made by `exact_surface`."""
    return Points(stored["surface"].astype(np.float32, copy=False), stored["normal"].astype(np.float32, copy=False))


def occupancy_points(stored: Arrays) -> Points:
    """The query points with occupancy from arrays made by `exact_queries`."""
    query = stored["query"].astype(np.float32, copy=False)
    return Points(query, value=stored["inside"].astype(np.float32), kind="occupancy")


def exact_surface(solid: Solid, count: int, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """`surface` (count,3), uniform by area, and `normal` (count,3)."""
    surface, normal = sample_surface(solid, count, rng)
    return {"surface": surface.astype(np.float32), "normal": normal.astype(np.float32)}


def exact_queries(solid: Solid, edge: float, count: int, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """`query` (count,3), uniform in the cube of half edge `edge`, and whether each is `inside` (count,)."""
    query = rng.uniform(-edge, edge, (count, 3)).astype(np.float32)
    return {"query": query, "inside": solid.distance(query.astype(np.float64)) < 0}
