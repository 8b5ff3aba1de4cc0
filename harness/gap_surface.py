"""explain-gap on surfaces: every number of points, frame, norm, sum, factor and radius that could have been meant.

All frames differ by a similarity, so that one search of neighbours for each number of points and each seed serves all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness import gap_distances, gap_volume, surface_scores
from nfbench.harness import mesh as meshes
from nfbench.harness import surface as surfaces
from nfbench.harness.column import Iou
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.gap import Choices, Convention, Found
from nfbench.harness.gap_distances import Pairs, Value
from nfbench.harness.gap_reported import Number
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.prediction import MESH
from nfbench.harness.protocol import Protocol, SurfaceSection
from nfbench.harness.scene import Mesh, Points, Scene

SHARED: tuple[str, ...] = ("points", "frame")
"""The axes on which all numbers of one row make the same choice."""

COUNTS = (2500, 10_000, 30_000, 100_000)
"""Points a side that papers draw: AtlasNet; PyTorch3D and Points2Surf; DeepSDF; Occupancy Networks."""
_ALIKE = 1e-6  # relative, between the scales of two frames that are the same
_APART = 1000  # between the seeds of one drawing and the next: sides and floor have their own in between
MEAN, MEDIAN = "over shapes", "median over shapes"


@dataclass(frozen=True, eq=False)
class _Shape:
    """One shape: both surfaces and how long a scene unit is in each frame."""

    prediction: Mesh
    scene: Scene
    frames: Mapping[str, float]


@dataclass(frozen=True)
class _Key:
    family: str
    choices: Choices
    factor: float


def measure(
    reported: Mapping[str, Number],
    scenes: Sequence[tuple[Scene, Mapping[str, Path]]],
    protocol: Protocol,
    *,
    seeds: int = 3,
    progress: Callable[[str, float], None] = lambda scene, fraction: None,
) -> Found:
    """Every convention of the reported numbers on these meshes.

    Args:
        reported: numbers about surfaces.
        scenes: each with a true surface, and the files of its predictions by item.
        protocol: which compares surfaces; its choices are the protocol's own.
        seeds: how many drawings; a value is their mean, the protocol's own that of its own seed.
        progress: told the scene and the fraction done of it.

    Raises:
        DataMissing: a mesh is missing, or a scene has no true surface.
        DataCorrupt: a mesh is damaged.
    """
    section = protocol.surface
    assert section is not None
    found = Found()
    families = {number.family.name for number in reported.values()}
    every: list[dict[_Key, NDArray[np.float64]]] = []
    own: list[dict[str, NDArray[np.float64]]] = []
    for scene, files in scenes:
        shape = _shape(scene, files, section.frame)
        own.append(_own(shape, section, reported, seeds))
        every.append(_scene(shape, section, families, seeds, lambda f, n=scene.name: progress(n, f)))  # type: ignore[misc]
    _tell(found.left_out, section)
    stored = scenes[0][0].occupancy is not None
    usual = (("points", _own_points(section, scenes)), ("frame", section.frame))
    for name, number in reported.items():
        keys = [key for key in every[0] if key.family == number.family.name and all(key in one for one in every)]
        others = [c for key in keys for c in _means(key, [one[key] for one in every]) if not np.isnan(c.value)]
        floors = {c.choices: c.floor for c in others}
        mine = list(_own_conventions(name, number, section, own, usual, stored, floors))
        taken = {convention.choices for convention in mine}
        found.conventions[name] = mine + [c for c in others if c.choices not in taken]
    return found


def _shape(scene: Scene, files: Mapping[str, Path], own_frame: str) -> _Shape:
    if scene.surface is None:
        raise DataMissing(f"Scene {scene.name!r} has no true surface.", "Choose a task with geometry.")
    if MESH not in files:
        raise DataMissing(f"Scene {scene.name!r}: there is no {MESH}.", "The predicted surface is looked for there.")
    file = files[MESH]
    prediction = read_mesh(file)
    if not len(prediction.faces):
        raise Unsupported(f"{file} has no faces.", "An empty surface has no distance to anything.")
    return _Shape(prediction, scene, _frames(scene, own_frame))


def _frames(scene: Scene, own: str) -> dict[str, float]:
    """Frame to the length of a scene unit in it, the protocol's own first; others go by the box of the truth."""
    assert scene.surface is not None
    xyz = np.asarray(scene.surface.vertices if isinstance(scene.surface, Mesh) else scene.surface.xyz, np.float64)
    low, high = xyz.min(0), xyz.max(0)
    edge, diagonal = float((high - low).max()), float(np.linalg.norm(high - low))
    radius = float(np.linalg.norm(xyz - (low + high) / 2, axis=1).max())
    frames = {"scene": 1.0, "original": float(np.cbrt(abs(np.linalg.det(scene.frame[:3, :3]))))}
    if edge > 0:
        frames |= {
            "longest edge 1": 1 / edge,
            "longest edge 2": 2 / edge,
            "diagonal 1": 1 / diagonal,
            "sphere of radius 1": 1 / radius,
        }
    return {own: frames[own], **frames}


def _own(
    shape: _Shape, section: SurfaceSection, reported: Mapping[str, Number], seeds: int
) -> dict[str, NDArray[np.float64]]:
    """Column to its values by seed, measured as `nfbench score` measures it, for the columns that are reported."""
    columns = {name for given, number in reported.items() for name in gap_distances.own_columns(given, number, section)}
    asked = section.model_copy(update={"columns": {n: c for n, c in section.columns.items() if n in columns}})
    if not columns:
        return {}
    values = []
    for k in range(seeds):
        seeded = asked.model_copy(update={"seed": section.seed + _APART * k})
        values.append(surface_scores.measure(shape.prediction, shape.scene, seeded).values)
    return {name: np.array([one[name] for one in values]) for name in values[0]}


def _own_points(section: SurfaceSection, scenes: Sequence[tuple[Scene, Mapping[str, Path]]]) -> str:
    """The protocol's own choice on the axis `points`."""
    drawn = _own_drawing(section, scenes[0][0].surface)
    return f"by {section.drawing}" if drawn is None else _points_name(*drawn)


def _own_drawing(section: SurfaceSection, truth: Mesh | Points | None) -> tuple[int, int | None] | None:
    """How many points the protocol draws on the prediction and on the truth; None for the second is a whole cloud."""
    if section.samples is None:
        return None
    if isinstance(truth, Points) and (section.truth_samples is None or len(truth) <= section.truth_samples):
        return section.samples, None
    return section.samples, section.truth_samples or section.samples


def _points_name(ours: int, theirs: int | None) -> str:
    if ours == theirs:
        return f"{ours:,}"
    return f"{ours:,} against {'the whole cloud' if theirs is None else f'{theirs:,}'}"


def _drawings(section: SurfaceSection, truth: Mesh | Points | None) -> list[tuple[int, int | None]]:
    """Every pair of counts, each once; None for the second is a whole cloud."""
    counts = sorted({*COUNTS, *([] if section.samples is None else [section.samples])})
    drawings: list[tuple[int, int | None]] = [(count, count) for count in counts]
    if isinstance(truth, Points):
        drawings = [(n, n) for n in counts if n < len(truth)] + [(count, None) for count in counts]
    own = _own_drawing(section, truth)
    return drawings if own is None or own in drawings else [own, *drawings]


def _scene(
    shape: _Shape, section: SurfaceSection, families: set[str], seeds: int, progress: Callable[[float], None]
) -> dict[_Key, NDArray[np.float64]]:
    """Convention to its values: one a seed, and the floor last."""
    table: dict[_Key, NDArray[np.float64]] = {}
    drawings = _drawings(section, shape.scene.surface) if families & gap_distances.OF_PAIRS else []
    for done, (ours, theirs) in enumerate(drawings, 1):
        columns: list[dict[_Key, float]] = []
        points = ("points", _points_name(ours, theirs))
        for pairs in _pairs(shape, section, ours, theirs, seeds):
            values = _values(pairs, shape.frames, families)
            columns.append({_Key(family, (points, *choices), factor): v for family, choices, factor, v in values})
        table |= {key: np.array([column[key] for column in columns]) for key in columns[0]}
        progress(done / len(drawings))
    if "iou" in families:
        every = gap_volume.measures(shape.prediction, shape.scene, section.seed, seeds)
        table |= {_Key("iou", choices, factor): values for choices, factor, values in every}
    return table


def _values(pairs: Pairs, frames: Mapping[str, float], families: set[str]) -> Iterator[Value]:
    """Every measure in every frame; frames of one length once."""
    seen: list[float] = []
    for frame, length in frames.items():
        if any(abs(length - other) <= _ALIKE * other for other in seen):
            continue
        seen.append(length)
        for family, choices, factor, value in gap_distances.measures(pairs, length, families):
            yield family, (("frame", frame), *choices), factor, value


def _pairs(shape: _Shape, section: SurfaceSection, ours: int, theirs: int | None, seeds: int) -> Iterator[Pairs]:
    """The neighbours of both surfaces for each seed; then those of the truth and another drawing of itself."""
    truth = shape.scene.surface
    assert truth is not None
    for k in range(seeds):
        seed = section.seed + _APART * k
        yield _between(meshes.sample(shape.prediction, ours, seed), _drawn(truth, theirs, seed + 1))
    if isinstance(truth, Mesh):
        yield _between(_drawn(truth, ours, section.seed + 2), _drawn(truth, theirs, section.seed + 3))
        return
    order = np.random.default_rng(section.seed + 2).permutation(len(truth))
    half = max(1, len(truth) // 2)
    size = min(ours, half)
    yield _between(_picked(truth, order[:size]), _picked(truth, order[-half:][:size]))


def _drawn(surface: Mesh | Points, count: int | None, seed: int) -> Points:
    """Points on the surface, as many as `count`; a cloud whole without it, or where it has no more."""
    if isinstance(surface, Mesh):
        assert count is not None
        return meshes.sample(surface, count, seed)
    if count is None or len(surface) <= count:
        return surface
    return _picked(surface, np.random.default_rng(seed).choice(len(surface), count, replace=False))


def _picked(cloud: Points, at: NDArray[np.int64]) -> Points:
    return Points(cloud.xyz[at], None if cloud.normal is None else cloud.normal[at])


def _between(prediction: Points, truth: Points) -> Pairs:
    to_truth, at_truth = surfaces.nearest(prediction.xyz, truth.xyz)
    to_prediction, at_prediction = surfaces.nearest(truth.xyz, prediction.xyz)
    if prediction.normal is None or truth.normal is None:
        return Pairs(to_truth, to_prediction)
    ours, theirs = prediction.normal.astype(np.float64), truth.normal.astype(np.float64)
    return Pairs(to_truth, to_prediction, (ours * theirs[at_truth]).sum(1), (theirs * ours[at_prediction]).sum(1))


def _own_conventions(
    name: str,
    number: Number,
    section: SurfaceSection,
    own: Sequence[Mapping[str, NDArray[np.float64]]],
    usual: Choices,
    stored: bool,
    floors: Mapping[Choices, float | None],
) -> Iterator[Convention]:
    """The protocol's own conventions of a number: what nfbench prints, and the spread over seeds."""
    for given in gap_distances.own_columns(name, number, section):
        if not all(given in one for one in own):
            continue
        column = section.columns[given]
        shared = () if isinstance(column, Iou) else usual
        choices = (*shared, *gap_distances.own_choices(column, stored), ("mean", MEAN))
        by_seed = np.mean([one[given] for one in own], axis=0)
        yield Convention(choices, float(by_seed[0]), _deviation(by_seed), floors.get(choices), column.factor, own=True)


def _means(key: _Key, shapes: Sequence[NDArray[np.float64]]) -> Iterator[Convention]:
    """The convention over all shapes: their mean and, where there are several, their median."""
    table = np.stack(shapes)
    for name, over in ((MEAN, np.mean), (MEDIAN, np.median)) if len(shapes) > 1 else ((MEAN, np.mean),):
        values = over(table, axis=0)
        by_seed, floor = values[:-1], float(values[-1])
        shown = None if np.isnan(floor) else floor
        yield Convention((*key.choices, ("mean", name)), float(by_seed.mean()), _deviation(by_seed), shown, key.factor)


def _deviation(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) if np.ptp(values) > 0 else 0.0


def _tell(left_out: list[str], section: SurfaceSection) -> None:
    """Say what is only in the protocol's own row."""
    special = [
        what
        for there, what in (
            (section.cleaning is not None, "cleaning"),
            (section.drawing != "area", f"drawing by {section.drawing}"),
            (section.within != "everywhere", f"counting what is {section.within} alone"),
            (section.cutoff is not None, "leaving out far points"),
        )
        if there
    ]
    if special:
        left_out.append(f"{', '.join(special)}: in the protocol's own row alone; the others draw on whole surfaces.")
    left_out.append("level and resolution of the extraction, and inside tests: the mesh is measured as it is.")
