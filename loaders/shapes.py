"""Tasks about a category of shapes, the vessels: a shape from a noisy point cloud, or from signed distances."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.scene import Given, Points, Scene
from nfbench.harness.task import SceneRef, Task
from nfbench.loaders.analytic import Size, exact_queries, exact_surface, occupancy_points, surface_points
from nfbench.loaders.cache import Arrays, Cached, cache_file
from nfbench.loaders.distance import Revolution, Solid
from nfbench.loaders.tracing import sample_surface
from nfbench.loaders.vessels import KINDS, vessel

VERSION = "1"
EDGE = 0.55  # half the edge of the box around a shape whose longest edge is 1, as in Occupancy Networks
TRAIN_SHAPES, TEST_SHAPES = 32, 8

SHAPE_TASKS: Mapping[str, tuple[str, str]] = {
    "procedural-shapes/points-to-shape": ("cloud", "A vessel from 300 noisy points of its surface."),
    "procedural-shapes/sdf-to-shape": ("samples", "A vessel from 50,000 points with exact signed distance."),
}

_FAMILY = 2026  # the seed of all shapes
_CLOUD_NOISE = 0.005  # standard deviation of the given cloud, as in Occupancy Networks' point cloud completion
_SPREADS = (0.05, 0.0125)  # standard deviations about the surface of two fifths of the distance samples each
_GIVEN_ARRAYS = ("cloud", "samples", "distance", "query", "inside")
_SURFACE_ARRAYS = ("surface", "normal")


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
    return Task(name, VERSION, "onet-shapenet@1", (given,), test, train, summary)


def _scene(index: int, train: bool, given: str, size: Size, file: Path | None) -> Scene:
    names = _GIVEN_ARRAYS if train else _GIVEN_ARRAYS + _SURFACE_ARRAYS
    stored = Cached(file, names, lambda: _make(index, train, size))
    if given == "samples":
        distance = stored["distance"].astype(np.float32, copy=False)
        seen = Given(samples=Points(_xyz(stored, "samples"), value=distance, kind="sdf"))
    else:
        cloud = Points(_xyz(stored, "cloud"))
        seen = Given(cloud=cloud, samples=occupancy_points(stored) if train else None)
    box = np.array([[-EDGE] * 3, [EDGE] * 3], np.float32)
    if train:
        return Scene(shape_name(index), seen, box)
    return Scene(shape_name(index), seen, box, surface=surface_points(stored), occupancy=occupancy_points(stored))


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
