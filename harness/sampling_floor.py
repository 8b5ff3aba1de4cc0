"""Sampling floors: what the truth itself scores against a second drawing of its points, so that 0 is not expected.

The shape is a sphere, drawn exactly: the floor of a distance grows with the root of the area over the number of points.
Those of the protocols that come with nfbench are shipped in `protocols/floors.json`, so that listing them computes
nothing; `python benchmarks/floors.py` writes that file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfbench.harness.column import AtRadius, Iou, SurfaceColumn
from nfbench.harness.errors import Unsupported
from nfbench.harness.protocol import Protocol, SurfaceSection

if TYPE_CHECKING:
    from nfbench.harness.scene import Points
    from nfbench.harness.surface import Correspondence

SEEDS = 5
SCANNED = 1_000_000  # points of the scan that gridded meshes are compared with: about those of one of DTU
HOW = "not shipped: nfbench.harness.sampling_floor.sampling_floor(protocol({!r})) computes it"
SHIPPED = Path(__file__).parent / "protocols" / "floors.json"

Floor = dict[str, Any]
Pairs = Callable[[int, int, float, int], "Correspondence"]


def sampling_floor(protocol: Protocol, pairs: Pairs | None = None) -> Floor:
    """What every surface column of a protocol says of two independent drawings of one sphere, over five seeds.

    Plain values for JSON: `shape`, `radius` and `unit` of the sphere, `points` drawn on the prediction and on the truth
    (None where no points are drawn, or where a grid tells how many), `seeds`, and `columns`: name to `mean`, `std` (the
    sample standard deviation over the seeds) and `reason`. Mean and std are None where the column has no floor, and the
    reason says why.

    Args:
        protocol: with a surface section.
        pairs: `sphere_pairs`, or the same with a memory.

    Raises:
        Unsupported: the protocol compares no surfaces.
    """
    section = protocol.surface
    if section is None:
        raise Unsupported(f"Protocol {protocol.id} compares no surfaces and draws no points.")
    points = None if section.samples is None else (section.samples, section.truth_samples or section.samples)
    drawn = [gridded_pair(section, seed) for seed in range(SEEDS)] if section.drawing == "grid" else []
    if points is not None and any(_reason(column, section) is None for column in section.columns.values()):
        seeds = range(section.seed, section.seed + 2 * SEEDS, 2)
        drawn = [(pairs or sphere_pairs)(*points, section.floor_radius, seed) for seed in seeds]
    return {
        "shape": "sphere",
        "radius": section.floor_radius,
        "unit": section.unit,
        "points": [None, SCANNED] if section.drawing == "grid" else None if points is None else list(points),
        "seeds": SEEDS,
        "columns": {name: _column_floor(column, section, drawn) for name, column in section.columns.items()},
    }


def sphere_pairs(count: int, truth_count: int, radius: float, seed: int) -> Correspondence:
    """The nearest neighbours between two drawings on one sphere, with `seed` and the one after it."""
    from nfbench.harness.surface import correspond

    return correspond(sphere(count, radius, seed), sphere(truth_count, radius, seed + 1))


def gridded_pair(section: SurfaceSection, seed: int) -> Correspondence:
    """The nearest neighbours between a fine mesh of the sphere, gridded and thinned, and SCANNED points drawn on it.

    The mesh is a subdivided icosahedron, whose faces lie less than 0.02 % of the radius below the sphere.
    """
    import trimesh

    from nfbench.harness.gridding import grid, thin
    from nfbench.harness.scene import Mesh, Points
    from nfbench.harness.surface import correspond

    ball = trimesh.creation.icosphere(subdivisions=6, radius=section.floor_radius)
    spacing = section.spacing or 0.0
    points = thin(grid(Mesh(ball.vertices, ball.faces), spacing), spacing, seed)
    return correspond(Points(points.astype("float32")), sphere(SCANNED, section.floor_radius, seed))


def sphere(count: int, radius: float, seed: int) -> Points:
    """`count` points drawn uniformly on a sphere around the origin, with their exact normals."""
    import numpy as np

    from nfbench.harness.scene import Points

    direction = np.random.default_rng(seed).normal(size=(count, 3))  # no direction is preferred by a normal law
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return Points((radius * direction).astype(np.float32), direction.astype(np.float32))


@functools.cache
def shipped_floors() -> dict[str, Floor]:
    """Protocol id to floor, as `sampling_floor` gives it, of the protocols with surfaces that come with nfbench."""
    floors: dict[str, Floor] = json.loads(SHIPPED.read_text())
    return floors


def _column_floor(column: SurfaceColumn, section: SurfaceSection, drawn: list[Correspondence]) -> dict[str, Any]:
    import statistics

    reason = _reason(column, section)
    if reason is not None:
        return {"mean": None, "std": None, "reason": reason}
    choices = column.model_dump(exclude={"metric", "factor"})
    values = [column.factor * float(getattr(pair, column.metric)(**choices)) for pair in drawn]
    return {"mean": statistics.fmean(values), "std": statistics.stdev(values), "reason": None}


def _reason(column: SurfaceColumn, section: SurfaceSection) -> str | None:
    """Why a column has no floor; None where it has one."""
    if isinstance(column, Iou):
        return "measured inside and outside, not at points drawn on the surface: the truth itself scores 1"
    if section.drawing == "vertices":
        return f"points come from the {section.drawing} of a mesh, which an exact sphere has not"
    if isinstance(column, AtRadius) and column.radius == "tolerance":
        return "the radius is each scene's own"
    return None
