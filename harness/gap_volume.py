"""explain-gap on volumes: IoU by every choice of query points."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.gap import Choices
from nfbench.harness.gap_distances import INTERSECTION, PARTS, STORED, drawn_in
from nfbench.harness.inside import inside
from nfbench.harness.scene import Mesh, Scene

POINTS = 100_000
"""Query points drawn in a box, as Occupancy Networks has them."""
_MARGINS = (1.0, 1.1, 2.0)
_GRIDS = (32, 64)  # cells a side of voxel IoU, as R2N2 and later work report it

Overlap = tuple[NDArray[np.bool_], NDArray[np.bool_]]


def measures(
    prediction: Mesh, scene: Scene, seed: int, seeds: int
) -> Iterator[tuple[Choices, float, NDArray[np.float64]]]:
    """Choices, factor and values of each IoU: one a seed, and NaN for a floor, which it does not have.

    The stored query points of the scene, and where the truth is a mesh, points drawn in boxes
    around it and grids, inside both meshes told by the winding number.
    """
    stored = scene.occupancy
    if stored is not None and stored.value is not None:
        pair = (inside(prediction, stored.xyz), stored.value >= 0.5)
        yield from _forms(STORED, [pair] * seeds)
    if not isinstance(scene.surface, Mesh):
        return
    truth = scene.surface
    low, high = truth.vertices.min(0), truth.vertices.max(0)
    middle, edge = (low + high) / 2, float((high - low).max())

    def told(xyz: NDArray[np.float64]) -> Overlap:
        return inside(prediction, xyz), inside(truth, xyz)

    for margin in _MARGINS:
        draws = [np.random.default_rng(seed + k).uniform(-0.5, 0.5, (POINTS, 3)) for k in range(seeds)]
        pairs = [told(middle + margin * edge * draw) for draw in draws]
        yield from _forms(drawn_in(POINTS, margin), pairs)
    for cells in _GRIDS:
        line = (np.arange(cells) + 0.5) / cells - 0.5
        grid = np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
        yield from _forms(f"grid of {cells}^3 in a cube of 1 edge", [told(middle + edge * grid)] * seeds)


def _forms(points: str, pairs: list[Overlap]) -> Iterator[tuple[Choices, float, NDArray[np.float64]]]:
    forms: dict[str, Callable[[int, int, int], float]] = {
        INTERSECTION: lambda both, one, other: both / (one + other - both),
        "Dice": lambda both, one, other: 2 * both / (one + other),
    }
    for form, ratio in forms.items():
        values = []
        for ours, theirs in pairs:
            counts = int(np.count_nonzero(ours & theirs)), int(ours.sum()), int(theirs.sum())
            values.append(ratio(*counts) if counts[1] + counts[2] else np.nan)
        for factor in PARTS:
            choices = (("query points", points), ("form", form), ("factor", f"{factor:g}"))
            yield choices, factor, factor * np.array([*values, np.nan])
