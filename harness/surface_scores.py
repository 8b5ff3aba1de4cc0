"""A predicted surface against the true one: cleaned, brought into the protocol's frame, drawn, compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness import mesh as meshes
from nfbench.harness import surface as surfaces
from nfbench.harness.column import Iou
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.inside import inside, method_for
from nfbench.harness.protocol import SurfaceSection
from nfbench.harness.scene import Mesh, Points, Scene

_SKEW = 1e-5  # relative; a frame from a float32 file turns this exactly


@dataclass
class SurfaceScores:
    """What was measured on one surface.

    Attributes:
        values: column to value.
        unmeasured: column to the reason why it could not be measured.
        facts: what else a reader must know of the mesh and how it was measured, plain values by name.
        truth: SHA-256 of the true points.
    """

    values: dict[str, float] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    truth: bytes = b""


def measure(prediction: Mesh | Points, scene: Scene, section: SurfaceSection) -> SurfaceScores:
    """Every column of the section; one that this pair has no data for is `unmeasured`.

    Args:
        prediction: in scene coordinates; not empty.
        scene: with its true surface.
        section: every choice.

    Raises:
        DataCorrupt: the scene's frame is no similarity.
        DataMissing: the scene lacks what the section needs to compare at all.
    """
    assert scene.surface is not None
    result = SurfaceScores()
    truth = _points(scene.surface, scene, section, of_truth=True)
    result.truth = hashlib.sha256(truth.xyz.tobytes()).digest()
    pairs = surfaces.correspond(_points(prediction, scene, section, of_truth=False), truth)
    for name, column in section.columns.items():
        try:
            if isinstance(column, Iou):
                result.values[name] = column.factor * _iou(prediction, scene, column, section, result.facts)
            else:
                choices = column.model_dump(exclude={"metric", "factor"})
                result.values[name] = column.factor * float(getattr(pairs, column.metric)(**choices))
        except DataMissing as error:
            result.unmeasured[name] = error.message
    return result


def _points(surface: Mesh | Points, scene: Scene, section: SurfaceSection, *, of_truth: bool) -> Points:
    """The points that are compared, in the section's frame."""
    seed = section.seed + of_truth
    count = section.truth_samples if of_truth else None
    if isinstance(surface, Mesh):
        points = meshes.sample(surface, count or section.samples or 0, seed)
    elif count is None or len(surface) <= count:
        points = surface
    else:
        picked = np.random.default_rng(seed).choice(len(surface), count, replace=False)
        points = Points(surface.xyz[picked], None if surface.normal is None else surface.normal[picked])
    return _original(points, scene) if section.frame == "original" else points


def _original(points: Points, scene: Scene) -> Points:
    """The points in the dataset's original coordinates.

    Raises:
        DataCorrupt: the scene's frame does more than turn, scale and move.
    """
    linear, scale = _similarity(scene)
    moved = (points.xyz @ linear.T + scene.frame[:3, 3]).astype(np.float32)
    if points.normal is None:
        return Points(moved)
    return Points(moved, (points.normal @ (linear / scale).T).astype(np.float32))


def _similarity(scene: Scene) -> tuple[NDArray[np.float64], float]:
    linear = scene.frame[:3, :3]
    scale = float(np.cbrt(abs(np.linalg.det(linear))))
    if not scale > 0 or not np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=_SKEW * scale**2):
        raise DataCorrupt(
            f"Scene {scene.name!r}: the frame to the original coordinates is no similarity.",
            "It may turn, scale all axes alike, and move.",
        )
    return linear, scale


def _iou(prediction: Mesh | Points, scene: Scene, column: Iou, section: SurfaceSection, facts: dict[str, Any]) -> float:
    points = scene.occupancy
    if points is None or points.value is None:
        raise DataMissing(f"Scene {scene.name!r} has no query points with true occupancy, which iou needs.")
    if isinstance(prediction, Points):
        raise DataMissing("A point cloud has no inside.")
    method = method_for(prediction, column.inside)
    facts["inside"] = method
    return surfaces.iou(inside(prediction, points.xyz, method), points.value >= 0.5)
