"""Points as shape datasets store and give them: checked with the name of their file, thinned, made noisy, boxed."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.mesh import sample
from nfbench.harness.scene import Float, Kind, Mesh, Points, Scene

SURFACE_POINTS = 100_000  # drawn on a mesh where a format stores points, as Occupancy Networks does


def checked(
    path: Path,
    xyz: NDArray[Any],
    normal: NDArray[Any] | None = None,
    value: NDArray[Any] | None = None,
    kind: Kind | None = None,
) -> Points:
    """The Points that a file holds.

    Raises:
        DataCorrupt: as Points, with the name of the file, and where there are none at all.
    """
    if not len(xyz):
        raise DataCorrupt(f"{path} holds no points.", "Fetch it again.")
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is found to be infinite
            return Points(xyz, normal, value, kind)
    except DataCorrupt as error:
        raise DataCorrupt(f"{path}: {error.message}", "Mend it, or fetch it again.") from error


def noisy(points: Points, count: int, noise: float, seed: int = 0) -> Points:
    """`count` of the points, without normals, moved by Gaussian `noise`; the same for the same seed.

    Args:
        points: the whole cloud.
        count: how many; all where the cloud has fewer.
        noise: standard deviation, scene units.
        seed: of both.
    """
    generator = np.random.default_rng(seed)
    size = len(points)
    at = generator.choice(size, count, replace=False, shuffle=False) if count < size else np.arange(size)
    moved = points.xyz[at] + noise * generator.standard_normal((len(at), 3))
    return Points(moved.astype(np.float32))


@functools.lru_cache(maxsize=2)
def jitter(count: int, deviation: float, seed: int) -> Float:
    """(count,3) float32 Gaussian noise, read-only, drawn once: every shape of `count` points has the same."""
    noise = np.random.default_rng(seed).standard_normal((count, 3), np.float32) * np.float32(deviation)
    noise.setflags(write=False)
    return noise


def box_around(xyz: NDArray[np.floating], room: float = 0.05) -> Float:
    """(2,3) float32, the corners of the box of points (P,3), with `room` of its longest edge on every side."""
    low, high = xyz.min(0).astype(np.float64), xyz.max(0).astype(np.float64)
    edge = max(float((high - low).max()), float(np.abs(xyz).max()) * 1e-3, 1e-30)
    return np.stack([low - room * edge, high + room * edge]).astype(np.float32)


def cube(half: float) -> Float:
    """(2,3) float32, the corners of a cube around the origin."""
    return np.array([[-half] * 3, [half] * 3], np.float32)


def similarity(scale: float, move: NDArray[Any]) -> NDArray[np.float64]:
    """The (4,4) float64 matrix that takes x to ``scale * x + move``."""
    frame = np.diag([scale, scale, scale, 1.0])
    frame[:3, 3] = np.asarray(move, np.float64)
    return frame


def scale_and_move(frame: NDArray[np.float64], scene: str) -> tuple[float, NDArray[np.float64]]:
    """Scale and move of a frame that does no more than that.

    Raises:
        ContractBroken: it turns, mirrors or stretches, which formats without a matrix cannot say.
    """
    scale = float(frame[0, 0])
    if not scale > 0 or not np.array_equal(frame, similarity(scale, frame[:3, 3])):
        raise ContractBroken(
            f"The frame of scene {scene!r} turns or stretches: {frame.tolist()}.",
            "The format stores a scale and a move only.",
        )
    return scale, frame[:3, 3]


def surface_points(scene: Scene, count: int = SURFACE_POINTS, seed: int = 0) -> Points:
    """The true surface of a scene as points: its own, or `count` drawn on its mesh.

    Raises:
        DataMissing: the scene has no surface.
    """
    if scene.surface is None:
        raise DataMissing(f"Scene {scene.name!r} has no true surface to write.", "Give it one.")
    return sample(scene.surface, count, seed) if isinstance(scene.surface, Mesh) else scene.surface


def occupancy_points(scene: Scene) -> Points:
    """Query points with occupancy 0 or 1: the scene's own, else what its samples tell.

    Raises:
        DataMissing: the scene has neither.
    """
    for points in (scene.occupancy, scene.given.samples):
        if points is not None and points.value is not None and points.kind in ("occupancy", "sdf"):
            inside = points.value < 0 if points.kind == "sdf" else points.value >= 0.5
            return Points(points.xyz, value=inside.astype(np.float32), kind="occupancy")
    raise DataMissing(f"Scene {scene.name!r} has no points with occupancy to write.", "Give it occupancy or samples.")


def distance_samples(scene: Scene) -> Points:
    """The signed distance samples that a scene gives.

    Raises:
        DataMissing: it gives none.
    """
    samples = scene.given.samples
    if samples is None or samples.value is None or samples.kind != "sdf":
        raise DataMissing(f"Scene {scene.name!r} gives no signed distances to write.", "Give it samples of kind sdf.")
    return samples


def for_training(scene: Scene) -> Scene:
    """The scene as one to learn from: its query points are samples that it gives, and nothing is hidden."""
    samples = scene.given.samples if scene.given.samples is not None else scene.occupancy
    return replace(scene, given=replace(scene.given, samples=samples), surface=None, occupancy=None)
