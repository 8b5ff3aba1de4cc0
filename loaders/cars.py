"""A category of cars for methods that learn from images of many objects: rounded bodies, dark windows, four wheels.

Made after the cars of Scene Representation Networks (Sitzmann et al. 2019): many views of every training object, one
of each test object. Front is +x, left +y, up +z; a car is 1.8 scene units long, its bounding box around the origin.
"""

from __future__ import annotations

import colorsys
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.scene import Given, Scene, Views
from nfbench.harness.task import SceneRef, Task
from nfbench.loaders.analytic import EDGE, Size, exact_queries, exact_surface, occupancy_points, orbit, surface_points
from nfbench.loaders.cache import Arrays, Cached, cache_file
from nfbench.loaders.distance import Extrusion
from nfbench.loaders.outline import Outline, circle, rounded
from nfbench.loaders.shading import Texture, blend
from nfbench.loaders.tracing import render_arrays
from nfbench.loaders.union import UPRIGHT, Part, Union

Float = NDArray[np.float64]

VERSION = "1"
LENGTH = 1.8  # scene units, the longest edge of every car
TRAIN_CARS, TEST_CARS = 24, 4
CAR_SIZE = Size(train_views=24, test_views=12, pixels=64)
KINDS = ("saloon", "hatchback", "coupe", "van")
CAR_TASKS: Mapping[str, str] = {
    "procedural-cars/one-view": "A car from one image of 64x64 pixels; 24 with 24 views each to learn from, 4 to solve."
}

_FAMILY = 2027  # the seed of all cars
_GIVEN_VIEW = (np.radians(35.0), np.radians(25.0))  # azimuth from the front, and elevation, of a test car's one view
_LOWEST, _HIGHEST = 3.0, 70.0  # degrees of elevation that views are within
_GLASS, _RUBBER, _METAL, _SILL = (0.09, 0.11, 0.15), (0.07, 0.07, 0.07), (0.72, 0.73, 0.75), (0.16, 0.16, 0.17)
_LAMP, _TAIL = (0.98, 0.95, 0.75), (0.75, 0.04, 0.05)
_GRAZING = 2e-3  # scene units; a twentieth of a pixel
_SOFT = 0.012  # lengths over which a colour goes into the next

# Where the windscreen and the rear window meet body and roof, from -0.5 at the rear to 0.5 at the front, and heights
# of body and cabin: ranges, relative to the length.
_CABINS: dict[str, tuple[tuple[float, float], ...]] = {
    "saloon": ((0.18, 0.24), (0.04, 0.10), (-0.24, -0.18), (-0.38, -0.32), (0.12, 0.15), (0.10, 0.13)),
    "hatchback": ((0.20, 0.26), (0.06, 0.12), (-0.40, -0.34), (-0.47, -0.44), (0.13, 0.16), (0.12, 0.15)),
    "coupe": ((0.12, 0.17), (-0.06, 0.00), (-0.18, -0.10), (-0.44, -0.38), (0.11, 0.13), (0.08, 0.10)),
    "van": ((0.30, 0.36), (0.20, 0.26), (-0.46, -0.44), (-0.48, -0.46), (0.14, 0.18), (0.18, 0.23)),
}


@dataclass(frozen=True)
class Proportions:
    """What makes a car, lengths relative to its own.

    Attributes:
        cabin: x of the windscreen's foot and top, and of the rear window's top and foot.
        body: height of the body.
        roof: height of the roof above the body.
        width: of the body.
        wheel: radius of the wheels.
        clearance: height of the body above the ground.
        axles: x of the front and the rear axle.
        paint: sRGB colour in [0,1].
    """

    cabin: tuple[float, float, float, float]
    body: float
    roof: float
    width: float
    wheel: float
    clearance: float
    axles: tuple[float, float]
    paint: tuple[float, float, float]

    @property
    def height(self) -> float:
        """From the ground to the roof."""
        return self.clearance + self.body + self.roof


def proportions(kind: str, seed: Sequence[int]) -> Proportions:
    """Those of one car of a kind; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    foot, top, back, end, body, roof = (float(rng.uniform(*span)) for span in _CABINS[kind])
    wheel = float(rng.uniform(0.070, 0.085))
    return Proportions(
        cabin=(foot, top, back, end),
        body=body,
        roof=roof,
        width=float(rng.uniform(0.38, 0.44)),
        wheel=wheel,
        clearance=float(rng.uniform(0.55, 0.75)) * wheel,
        axles=(float(rng.uniform(0.28, 0.33)), float(rng.uniform(-0.33, -0.28))),
        paint=colorsys.hsv_to_rgb(rng.random(), float(rng.uniform(0.2, 0.9)), float(rng.uniform(0.45, 0.95))),
    )


def car(kind: str, seed: Sequence[int]) -> tuple[Union, Texture]:
    """One car of a kind and its colours; the same seed gives the same one."""
    of = proportions(kind, seed)
    solid = _solid(of)
    return solid, _painted(of, solid)


def car_name(index: int) -> str:
    """The name of car `index` of the category; every kind comes round in turn."""
    return f"{KINDS[index % len(KINDS)]}_{index:02d}"


def made_car(index: int) -> tuple[Union, Texture]:
    """Car `index` of the category."""
    return car(KINDS[index % len(KINDS)], (_FAMILY, index))


def _solid(of: Proportions) -> Union:
    """Body, cabin and four wheels."""
    floor, belt, half = of.clearance, of.clearance + of.body, of.width / 2
    grow = 0.018
    nose = belt - 0.25 * of.body
    side = [(-0.5, floor), (0.49, floor), (0.5, floor + 0.4 * of.body), (0.47, nose), (of.cabin[0], belt)]
    body = _prism(of, [*side, (-0.47, belt), (-0.5, nose)], [0.03, 0.02, 0.05, 0.06, 0.06, 0.05, 0.05], half, grow)
    foot, top, back, end = of.cabin
    low, high = belt - 0.05, belt + of.roof
    # drawn on downwards into the body, so that the glass starts right at the belt
    shape = [(end, low), (foot, low), (foot, belt), (top, high), (back, high), (end, belt)]
    cabin = _prism(of, shape, [0, 0, 0.02, 0.06, 0.06, 0.02], 0.86 * half, 0.015)
    tyre = Extrusion(Outline([circle(LENGTH * (of.wheel - 0.012))]), LENGTH * (0.030 - 0.012), LENGTH * 0.012)
    places = [(x, y, of.wheel - of.height / 2) for x in of.axles for y in (half - 0.025, 0.025 - half)]
    return Union((body, cabin, *(Part(tyre, LENGTH * np.array(place), UPRIGHT) for place in places)))


def _prism(of: Proportions, outline: list[tuple[float, float]], radius: list[float], half: float, grow: float) -> Part:
    """A part whose side view is `outline`, x and height above the ground; it is `grow` smaller, and grown by that."""
    corners = np.array(outline)
    middle = (corners.min(0) + corners.max(0)) / 2
    reach = (corners.max(0) - corners.min(0)) / 2
    shrunk = (corners - middle) * (1 - grow / reach)
    side = Outline([rounded(LENGTH * shrunk, LENGTH * np.array(radius))])
    centre = LENGTH * np.array([middle[0], 0.0, middle[1] - of.height / 2])
    return Part(Extrusion(side, LENGTH * (half - grow), LENGTH * grow), centre, UPRIGHT)


def _painted(of: Proportions, solid: Union) -> Texture:
    """Paint, with glass in the cabin, lamps on both ends, a dark sill, rubber and metal on the wheels."""

    def texture(xyz: Float) -> Float:
        x, y, z = xyz.T / LENGTH + np.array([[0.0], [0.0], [of.height / 2]])
        part = solid.nearest_part(xyz)
        parts = [_body(of, x, y, z), _cabin(of, x, z)]
        axle = np.where(np.abs(x - of.axles[0]) < np.abs(x - of.axles[1]), of.axles[0], of.axles[1])
        from_hub = np.hypot(x - axle, z - of.wheel)
        wheel = blend(np.array(_METAL), np.array(_RUBBER), _step(from_hub - 0.55 * of.wheel))
        return np.where(part[:, None] > 1, wheel, np.where(part[:, None] == 1, parts[1], parts[0]))

    return texture


def _body(of: Proportions, x: Float, y: Float, z: Float) -> Float:
    paint = blend(np.array(_SILL), np.array(of.paint), _step(z - of.clearance - 0.18 * of.body))
    at = np.abs(z - of.clearance - 0.58 * of.body) - 0.16 * of.body
    aside = np.abs(np.abs(y) - 0.36 * of.width) - 0.09 * of.width
    for colour, end in ((_LAMP, x - 0.46), (_TAIL, -x - 0.47)):
        lamp = np.minimum(np.minimum(-at, -aside), end)
        paint = blend(paint, np.array(colour), _step(lamp))
    return paint


def _cabin(of: Proportions, x: Float, z: Float) -> Float:
    belt = of.clearance + of.body
    pane = np.minimum(z - belt - 0.08 * of.roof, belt + 0.86 * of.roof - z)
    pillar = np.abs(x - (of.cabin[0] + of.cabin[3]) / 2) - 0.012
    return blend(np.array(of.paint), np.array(_GLASS), _step(np.minimum(pane, pillar)))


def _step(beyond: Float) -> Float:
    """From -1 to 1 where `beyond` goes through 0, as `blend` takes it."""
    return np.clip(beyond / _SOFT, -1, 1)


def around_above(count: int, seed: int) -> Float:
    """Directions (count,3) spread evenly over the upper part of the sphere, jittered by the seed."""
    rng = np.random.default_rng(seed)
    low, high = np.sin(np.radians([_LOWEST, _HIGHEST]))
    up = low + (high - low) * (np.arange(count) + rng.random(count)) / count
    return _directions(np.pi * (3 - np.sqrt(5)) * np.arange(count) + rng.random() * 2 * np.pi, np.arcsin(up))


def rising(count: int) -> Float:
    """Directions (count,3) on a spiral of two turns from near the ground upwards."""
    part = (np.arange(count) + 0.5) / count
    return _directions(4 * np.pi * part, np.radians(_LOWEST + (_HIGHEST - _LOWEST) * part))


def _directions(azimuth: Float, elevation: Float) -> Float:
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)


def car_task(name: str, cache: Path | None, size: Size | None = None) -> Task:
    """The task `name` of CAR_TASKS: cars 0 to 23 with all their views to learn from, 24 to 27 to be fitted.

    Args:
        name: one of CAR_TASKS.
        cache: folder for what was made; the user's cache folder when left out.
        size: how many views, pixels and points.
    """
    amount = size or CAR_SIZE

    def ref(index: int, train: bool) -> SceneRef:
        file = cache_file(f"{car_name(index)}-{amount.label()}-v{VERSION}", cache)
        return SceneRef(car_name(index), lambda: _scene(index, train, amount, file))

    test = tuple(ref(i, False) for i in range(TRAIN_CARS, TRAIN_CARS + TEST_CARS))
    train = tuple(ref(i, True) for i in range(TRAIN_CARS))
    return Task(name, VERSION, "procedural@1", ("views",), test, train, CAR_TASKS[name])


def _scene(index: int, train: bool, size: Size, file: Path | None) -> Scene:
    """A training car with all its views, or a test car with one, its others and its shape hidden."""
    if train:
        cameras = {"train": orbit(around_above(size.train_views, index), size.pixels)}
    else:
        azimuth, elevation = (np.array([angle]) for angle in _GIVEN_VIEW)
        given = orbit(_directions(azimuth, elevation), size.pixels)
        cameras = {"given": given, "test": orbit(rising(size.test_views), size.pixels)}

    def arrays() -> Arrays:
        solid, texture = made_car(index)
        views = {
            split: np.stack(render_arrays(solid, texture, cameras[split], grazing=_GRAZING)[0]) for split in cameras
        }
        if train:
            return views
        rng = np.random.default_rng([_FAMILY, index, 1])
        return views | exact_surface(solid, size.points, rng) | exact_queries(solid, EDGE, size.points, rng)

    stored = Cached(file, (*cameras, *(() if train else ("surface", "normal", "query", "inside"))), arrays)
    views = {split: _views(stored, split, cameras[split]) for split in cameras}
    box = np.array([[-EDGE] * 3, [EDGE] * 3], np.float32)
    if train:
        return Scene(car_name(index), Given(views=views["train"]), box)
    return Scene(
        car_name(index),
        Given(views=views["given"]),
        box,
        hidden=views["test"],
        surface=surface_points(stored),
        occupancy=occupancy_points(stored),
    )


def _views(stored: Arrays, split: str, cameras: Cameras) -> Views:
    images = functools.cache(lambda: stored[split].astype(np.uint8, copy=False))
    return Views(cameras, tuple(f"{split}_{i:03d}" for i in range(len(cameras))), lambda i: images()[i])
