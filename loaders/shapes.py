"""Tasks about a category of shapes, the vessels: a shape from noisy points, signed distances, an image or voxels."""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.scene import Given, Points, Scene, Views, Voxels
from nfbench.harness.task import SceneRef, Task
from nfbench.loaders.analytic import Size, exact_queries, exact_surface, occupancy_points, orbit, surface_points
from nfbench.loaders.cache import Arrays, Cached, cache_file
from nfbench.loaders.distance import Revolution, Solid
from nfbench.loaders.tracing import render_arrays, sample_surface
from nfbench.loaders.vessels import KINDS, vessel

VERSION = "1"
EDGE = 0.55  # half the edge of the box around a shape whose longest edge is 1, as in Occupancy Networks
TRAIN_SHAPES, TEST_SHAPES = 32, 8

SHAPE_TASKS: Mapping[str, tuple[str, str]] = {
    "procedural-shapes/points-to-shape": ("cloud", "A vessel from 300 noisy points of its surface."),
    "procedural-shapes/sdf-to-shape": ("samples", "A vessel from 50,000 points with exact signed distance."),
    "procedural-shapes/image-to-shape": ("views", "A vessel from one image of 137x137 pixels."),
    "procedural-shapes/voxels-to-shape": ("voxels", "A vessel from 32x32x32 voxels."),
}

PIXELS = 137  # width and height of a view, as of the renderings of Choy et al. 2016 that Occupancy Networks takes
VIEWS = 8  # of a training shape
VOXELS = 32  # along an edge, as of the voxels that go with those renderings
VOXEL_EDGE = 0.5  # half the edge of the cube of voxels, which the longest edge of a shape fills

_FAMILY = 2026  # the seed of all shapes
_CLOUD_NOISE = 0.005  # standard deviation of the given cloud, as in Occupancy Networks' point cloud completion
_SPREADS = (0.05, 0.0125)  # standard deviations about the surface of two fifths of the distance samples each
_GIVEN_ARRAYS = ("cloud", "samples", "distance", "query", "inside")
_SURFACE_ARRAYS = ("surface", "normal")
_GRAZING = 5e-4  # scene units, a twentieth of a pixel: see nfbench.loaders.tracing.trace
_FAR = 1.9  # from the centre to the cameras, the longest edge being 1
_UP = (15.0, 45.0)  # degrees of elevation of training views; a test shape is seen from the middle between them


def shape(index: int) -> Revolution:
    """Shape `index` of the category, its longest edge 1; every kind comes round in turn."""
    return vessel(KINDS[index % len(KINDS)], (_FAMILY, index))


def shape_name(index: int) -> str:
    """The name of shape `index`."""
    return f"{KINDS[index % len(KINDS)]}_{index:02d}"


def shape_task(name: str, cache: Path | None, size: Size) -> Task:
    """The task `name` of SHAPE_TASKS: shapes 0 to 31 to learn from, 32 to 39 to be fitted.

    Args:
        name: one of SHAPE_TASKS.
        cache: folder for what was made; the user's cache folder when left out.
        size: how many points of everything.
    """
    given, summary = SHAPE_TASKS[name]

    def ref(index: int, train: bool) -> SceneRef:
        file = cache_file(f"{shape_name(index)}-{size.label()}-v{VERSION}", cache)
        return SceneRef(shape_name(index), lambda: _scene(index, train, given, size, file))

    test = tuple(ref(i, False) for i in range(TRAIN_SHAPES, TRAIN_SHAPES + TEST_SHAPES))
    train = tuple(ref(i, True) for i in range(TRAIN_SHAPES))
    return Task(name, VERSION, "onet-shapenet@1", (given,), test, train, summary, thinned="scenes")


def _scene(index: int, train: bool, given: str, size: Size, file: Path | None) -> Scene:
    names = _GIVEN_ARRAYS if train else _GIVEN_ARRAYS + _SURFACE_ARRAYS
    stored = Cached(file, names, lambda: _make(index, train, size))
    if given == "samples":
        distance = stored["distance"].astype(np.float32, copy=False)
        seen = Given(samples=Points(_xyz(stored, "samples"), value=distance, kind="sdf"))
    else:
        samples = occupancy_points(stored) if train else None
        beside = None if file is None else file.with_name(f"{shape_name(index)}-{given}-{train:d}-v{VERSION}.npz")
        if given == "views":
            seen = Given(views=_views(index, train, beside), samples=samples)
        elif given == "voxels":
            seen = Given(voxels=_voxels(index, beside), samples=samples)
        else:
            seen = Given(cloud=Points(_xyz(stored, "cloud")), samples=samples)
    box = np.array([[-EDGE] * 3, [EDGE] * 3], np.float32)
    if train:
        return Scene(shape_name(index), seen, box)
    return Scene(shape_name(index), seen, box, surface=surface_points(stored), occupancy=occupancy_points(stored))


def _views(index: int, train: bool, file: Path | None) -> Views:
    """Views of a shape in a colour of its own: all of a training shape's, the one of a test shape."""
    rng = np.random.default_rng([_FAMILY, index, 2])
    colour = np.array(colorsys.hsv_to_rgb(rng.random(), 0.45, 0.85))
    count = VIEWS if train else 1
    up = np.radians(rng.uniform(*_UP, count) if train else [np.mean(_UP)])
    around = rng.uniform(0, 2 * np.pi, count)
    flat = np.cos(up)
    directions = np.stack([flat * np.cos(around), flat * np.sin(around), np.sin(up)], 1)
    cameras = orbit(directions, PIXELS, EDGE, _FAR)

    def arrays() -> Arrays:
        plain = lambda xyz: np.tile(colour, (len(xyz), 1))  # noqa: E731
        return {"image": np.stack(render_arrays(shape(index), plain, cameras, grazing=_GRAZING)[0])}

    stored = Cached(file, ("image",), arrays)
    images = functools.cache(lambda: stored["image"].astype(np.uint8, copy=False))
    return Views(cameras, tuple(f"{i:03d}" for i in range(count)), lambda i: images()[i])


def _voxels(index: int, file: Path | None) -> Voxels:
    """The voxels of a shape, filled where their centres are inside."""
    box = np.array([[-VOXEL_EDGE] * 3, [VOXEL_EDGE] * 3], np.float32)
    empty = Voxels(np.zeros((VOXELS,) * 3, np.bool_), box)

    def arrays() -> Arrays:
        inside = shape(index).distance(empty.centres().astype(np.float64)) < 0
        return {"filled": inside.reshape(empty.filled.shape)}

    return Voxels(Cached(file, ("filled",), arrays)["filled"].astype(np.bool_, copy=False), box)


def _xyz(stored: Arrays, name: str) -> NDArray[np.float32]:
    return stored[name].astype(np.float32, copy=False)


def _make(index: int, train: bool, size: Size) -> Arrays:
    solid, seed = shape(index), (_FAMILY, index)
    rng = np.random.default_rng([*seed, 1])
    surface = sample_surface(solid, size.cloud, rng)[0]
    cloud = (surface + rng.normal(0, _CLOUD_NOISE, surface.shape)).astype(np.float32)
    samples = distance_samples(solid, size.samples, rng)
    distance = solid.distance(samples.astype(np.float64)).astype(np.float32)
    arrays = {"cloud": cloud, "samples": samples, "distance": distance, **exact_queries(solid, EDGE, size.points, rng)}
    return arrays if train else arrays | exact_surface(solid, size.points, rng)


def distance_samples(solid: Solid, count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Points (count,3) to know the distance at: four fifths about the surface, the others uniform in the box.

    After DeepSDF (Park et al. 2019, section 5), which uses Gaussians of two widths about the surface and a few points
    in the volume; more of them are in the volume here, and widths are relative to a longest edge of 1.
    """
    near = count * 2 // 5
    about = [sample_surface(solid, near, rng)[0] + rng.normal(0, spread, (near, 3)) for spread in _SPREADS]
    anywhere = rng.uniform(-EDGE, EDGE, (count - 2 * near, 3))
    return rng.permutation(np.concatenate([*about, anywhere])).astype(np.float32)
