"""Single scenes made by the program itself, and the tasks of all procedural data, scenes and shapes alike.

Everything follows from a seed and is kept in the user's cache folder after its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from nfbench.harness.errors import NotFound, did_you_mean
from nfbench.harness.task import SceneRef, Task
from nfbench.loaders.analytic import Size, stored_scene
from nfbench.loaders.cache import cache_file
from nfbench.loaders.cars import CAR_TASKS, car_task
from nfbench.loaders.distance import Extrusion, Revolution, Solid, Torus
from nfbench.loaders.outline import Outline, circle, rounded
from nfbench.loaders.shading import Texture, checks, marbled, rings
from nfbench.loaders.shapes import SHAPE_TASKS, shape_task
from nfbench.loaders.tube import torus_knot

VERSION = "1"


def knot() -> tuple[Solid, Texture]:
    """A trefoil tube in checks."""
    return torus_knot(2, 3, 0.62, 0.24, 0.13), marbled(checks((0.93, 0.55, 0.13), (0.12, 0.35, 0.55), 0.42))


def vase() -> tuple[Solid, Texture]:
    """A hollow vase with a band of checks."""
    outer = [(0, -0.9), (0.36, -0.9), (0.62, -0.2), (0.24, 0.48), (0.46, 0.9)]
    inner = [(0.36, 0.9), (0.13, 0.5), (0.50, -0.2), (0.29, -0.78), (0, -0.78)]
    radius = [0, 0.06, 0.35, 0.35, 0.045, 0.045, 0.35, 0.25, 0.05, 0]
    outline = Outline([rounded([*outer, *inner], radius, closed=False)], half=True)
    return Revolution(outline), marbled(rings((0.16, 0.45, 0.42), (0.95, 0.88, 0.72), 6, 0.6))


def gear() -> tuple[Solid, Texture]:
    """A gear of ten teeth with a hole and rounded edges."""
    teeth, grow = 10, 0.05
    angles = (np.arange(teeth)[:, None] + [-0.19, 0.19, 0.29, 0.71]) * 2 * np.pi / teeth
    radii = np.array([0.86, 0.86, 0.60, 0.60])
    corners = np.stack([radii * np.cos(angles), radii * np.sin(angles)], axis=-1).reshape(-1, 2)
    rim = rounded(corners, np.tile([0.0, 0.0, 0.08, 0.08], teeth))
    outline = Outline([rim, circle(0.30, clockwise=True)])
    return Extrusion(outline, 0.22, grow), marbled(checks((0.75, 0.20, 0.22), (0.90, 0.86, 0.78), 0.5))


def torus() -> tuple[Solid, Texture]:
    """A torus in checks, the simplest of the scenes."""
    return Torus(0.62, 0.28), marbled(rings((0.35, 0.20, 0.55), (0.95, 0.80, 0.30), 7, 0.7))


SCENES: Mapping[str, tuple[Callable[[], tuple[Solid, Texture]], str]] = {
    "knot": (knot, "a trefoil knot: thin, curved, seen through itself"),
    "vase": (vase, "a hollow vase: an inside that few views see"),
    "gear": (gear, "a gear with a hole: flat faces and tight edges"),
    "torus": (torus, "a torus: smooth and simple"),
}


def task(name: str, cache: Path | None = None, size: Size | None = None) -> Task:
    """The registered task of that name; its scenes are made, or read from the cache, when they are opened.

    Args:
        name: `procedural/knot` and the like, or `procedural-shapes/points-to-shape` and the like.
        cache: folder for what was made; the user's cache folder when left out.
        size: how much of everything, for tests and trials.

    Raises:
        NotFound: no such task.
    """
    known = [f"procedural/{scene}" for scene in SCENES] + list(SHAPE_TASKS) + list(CAR_TASKS)
    if name not in known:
        raise NotFound(f"There is no task {name!r}.", did_you_mean(name, known, "tasks"))
    if name in CAR_TASKS:
        return car_task(name, cache, size)
    amount = size or Size()
    if name in SHAPE_TASKS:
        return shape_task(name, cache, amount)
    short = name.partition("/")[2]
    make, summary = SCENES[short]
    file = cache_file(f"{short}-{amount.label()}-v{VERSION}", cache)
    refs = (SceneRef(short, lambda: stored_scene(short, make, amount, 0, file)),)
    return Task(name, VERSION, "procedural@1", ("views",), refs, summary=f"Views of {summary}.")
