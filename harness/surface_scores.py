"""A predicted surface against the true one: cleaned, brought into the protocol's frame, drawn, compared."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness import mesh as meshes
from nfbench.harness import surface as surfaces
from nfbench.harness.cleaning import cull_by_masks, largest_component
from nfbench.harness.column import AtRadius, Iou, SurfaceColumn
from nfbench.harness.diagnostics import diagnose, is_watertight
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.gridding import grid, thin
from nfbench.harness.inside import inside, method_for
from nfbench.harness.protocol import Cleaning, SurfaceSection
from nfbench.harness.scan import CropVolume, ObservedVolume
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
        ContractBroken: nothing is left of the prediction to compare.
        DataCorrupt: the scene's frame is no similarity.
        DataMissing: the scene lacks what the section needs to compare at all.
    """
    assert scene.surface is not None
    result = SurfaceScores()
    if isinstance(prediction, Mesh):
        result.facts |= diagnose(prediction).as_dict()
        if section.cleaning is not None:
            prediction = _cleaned(prediction, scene, section.cleaning)
            result.facts["faces_after_cleaning"] = len(prediction.faces)
    predicted, truth = prediction, scene.surface
    if section.frame == "original":
        predicted, truth = _original(predicted, scene), _original(truth, scene)
    true_points = _true_points(truth, section)
    result.truth = hashlib.sha256(true_points.xyz.tobytes()).digest()
    pairs = _compare(predicted, true_points, scene, section)
    for name, column in section.columns.items():
        try:
            result.values[name] = column.factor * _value(column, pairs, prediction, scene, section, result.facts)
        except DataMissing as error:
            result.unmeasured[name] = error.message
    return result


def _cleaned(mesh: Mesh, scene: Scene, cleaning: Cleaning) -> Mesh:
    if cleaning.dilation is not None:
        views = scene.given.views
        if views is None:
            raise DataMissing(
                f"Scene {scene.name!r} has no views, whose masks the protocol cleans the mesh by.",
                "Choose a protocol that cleans otherwise.",
            )
        mesh = cull_by_masks(mesh, views.cameras, views.mask, cleaning.dilation, element=cleaning.element)
    if cleaning.component is not None and len(mesh.faces):
        mesh = largest_component(mesh, cleaning.component)
    if not len(mesh.faces):
        raise ContractBroken("Nothing is left of the mesh once it is cleaned.", "It lies outside of the masks.")
    return mesh


def _original(surface: Mesh | Points, scene: Scene) -> Mesh | Points:
    """The surface in the dataset's original coordinates.

    Raises:
        DataCorrupt: the scene's frame does more than turn, scale and move.
    """
    linear, move = scene.frame[:3, :3], scene.frame[:3, 3]
    scale = float(np.cbrt(abs(np.linalg.det(linear))))
    if not scale > 0 or not np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=_SKEW * scale**2):
        raise DataCorrupt(
            f"Scene {scene.name!r}: the frame to the original coordinates is no similarity.",
            "It may turn, scale all axes alike, and move.",
        )
    if isinstance(surface, Mesh):
        return Mesh(surface.vertices @ linear.T + move, surface.faces)
    moved = (surface.xyz @ linear.T + move).astype(np.float32)
    if surface.normal is None:
        return Points(moved)
    return Points(moved, (surface.normal @ (linear / scale).T).astype(np.float32))


def _true_points(truth: Mesh | Points, section: SurfaceSection) -> Points:
    """The points of the truth that the prediction is compared with."""
    count, seed = section.truth_samples, section.seed + 1
    if isinstance(truth, Mesh):
        if section.drawing == "area":
            return meshes.sample(truth, count or section.samples or 0, seed)
        return Points(_drawn(truth, section, seed).astype(np.float32))
    if count is None or len(truth) <= count:
        return truth
    picked = np.random.default_rng(seed).choice(len(truth), count, replace=False)
    return Points(truth.xyz[picked], None if truth.normal is None else truth.normal[picked])


def _drawn(surface: Mesh | Points, section: SurfaceSection, seed: int) -> NDArray[np.floating]:
    """Points (P,3) of a surface where they are not drawn by area."""
    if isinstance(surface, Points):
        cloud: NDArray[np.floating] = surface.xyz
    else:
        cloud = surface.vertices if section.spacing is None else grid(surface, section.spacing)
    return cloud if section.spacing is None else thin(cloud, section.spacing, seed)


def _compare(
    prediction: Mesh | Points, truth: Points, scene: Scene, section: SurfaceSection
) -> surfaces.Correspondence:
    """The nearest neighbours that count."""
    _check_scan(prediction, scene, section)
    if isinstance(prediction, Mesh) and section.drawing == "area":
        prediction = meshes.sample(prediction, section.samples or 0, section.seed)
    if section.drawing == "area" and section.within == "everywhere":
        return surfaces.correspond(prediction, truth)
    from nfbench.harness import scanned

    points = _drawn(prediction, section, section.seed)
    if isinstance(scene.scan, ObservedVolume) and section.within == "observed":
        return scanned.dtu(points, truth.xyz, scene.scan, cutoff=section.cutoff or scanned.CUTOFF)
    if isinstance(scene.scan, CropVolume) and section.within == "crop" and scene.tolerance is not None:
        return scanned.tanks(points, truth.xyz, scene.scan, scene.tolerance)
    return surfaces.correspond(Points(points.astype(np.float32)), truth)


def _check_scan(prediction: Mesh | Points, scene: Scene, section: SurfaceSection) -> None:
    """Refuse, before points are drawn, what no number of them could be judged by: a mesh in metres takes minutes."""
    from nfbench.harness import scanned

    if section.within == "crop" and not (isinstance(scene.scan, CropVolume) and scene.tolerance is not None):
        raise _no_scan(scene, "a crop and a tolerance")
    if section.within != "observed":
        return
    if not isinstance(scene.scan, ObservedVolume):
        raise _no_scan(scene, "an observed volume (ObsMask)")
    corners = prediction.xyz if isinstance(prediction, Points) else prediction.vertices
    low, high = corners.min(0), corners.max(0)
    box = scene.scan.box + np.array([[-scanned.PATCH], [2 * scanned.PATCH]])
    if (high < box[0]).any() or (low >= box[1]).any():
        raise ContractBroken(
            f"The prediction spans {_span(low, high)} and lies outside of what is judged, {_span(*box)}.",
            "Check that it is in the millimetres and the frame of the scan (apply scale_mat).",
        )


def _span(low: NDArray[np.floating], high: NDArray[np.floating]) -> str:
    return " x ".join(f"[{a:.4g}, {b:.4g}]" for a, b in zip(low, high, strict=True))


def _no_scan(scene: Scene, what: str) -> DataMissing:
    return DataMissing(
        f"Scene {scene.name!r} comes without {what}, which the protocol needs.",
        "Give the dataset's own evaluation files as the truth: nfbench list formats.",
    )


def _value(
    column: SurfaceColumn,
    pairs: surfaces.Correspondence,
    prediction: Mesh | Points,
    scene: Scene,
    section: SurfaceSection,
    facts: dict[str, Any],
) -> float:
    if isinstance(column, Iou):
        return _iou(prediction, scene, column, section, facts)
    choices = column.model_dump(exclude={"metric", "factor"})
    if isinstance(column, AtRadius) and column.radius == "tolerance":
        if scene.tolerance is None:
            raise DataMissing(f"Scene {scene.name!r} has no tolerance of its own.")
        choices["radius"] = scene.tolerance
    return float(getattr(pairs, column.metric)(**choices))


def _iou(prediction: Mesh | Points, scene: Scene, column: Iou, section: SurfaceSection, facts: dict[str, Any]) -> float:
    if isinstance(prediction, Points):
        raise DataMissing("A point cloud has no inside.")
    method = method_for(prediction, column.inside)
    facts["inside"] = method
    xyz, truth = _query(scene, column, section.seed)
    return surfaces.iou(inside(prediction, xyz, method), truth)


def _query(scene: Scene, column: Iou, seed: int) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Query points and whether they are truly inside: the scene's own, or drawn around a true mesh that is closed."""
    points, mesh = scene.occupancy, scene.surface
    if points is not None and points.value is not None:
        return points.xyz, points.value >= 0.5
    if not isinstance(mesh, Mesh) or not is_watertight(mesh):
        raise DataMissing(f"Scene {scene.name!r} has no query points with true occupancy, and no closed true mesh.")
    corners = mesh.vertices[np.unique(mesh.faces)]
    middle, half = (corners.max(0) + corners.min(0)) / 2, (corners.max(0) - corners.min(0)).max() / 2
    drawn = np.random.default_rng(seed + 2).uniform(-1, 1, (column.points, 3))
    xyz = middle + column.margin * half * drawn
    return xyz, inside(mesh, xyz)
