"""Scoring: predictions on disk against the truth of a scene, under a protocol. `run` and `score` both end here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nfbench.harness import image as images
from nfbench.harness import mesh as meshes
from nfbench.harness import surface as surfaces
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.inside import inside
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.png import read_png
from nfbench.harness.prediction import MESH, sections
from nfbench.harness.protocol import ImageColumn, Lpips, Protocol, Ssim, SurfaceColumn, SurfaceSection
from nfbench.harness.record import Score
from nfbench.harness.scene import Image, Mesh, Points, Scene, Views

_NAMED = 5  # how many missing items a message lists by name
_SKEW = 1e-5  # relative; a frame from a float32 file turns this exactly


@dataclass
class Scores:
    """What was measured on one scene.

    Attributes:
        items: column to item name to value.
        expected: every item the protocol wants, by name.
        missing: those that were not there.
        unmeasured: column to the reason why it could not be measured at all.
        extra: files in the folder that are no item.
        hashes: sha256 of what was compared, `predictions` and `truth`.
    """

    items: dict[str, dict[str, float]] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unmeasured: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)

    def summary(self, protocol: Protocol) -> dict[str, Score]:
        """Column to mean over items, for the columns that have any."""
        found = {}
        for column, values in self.items.items():
            if values:
                mean = float(np.mean(list(values.values())))
                metric = protocol.metric(column)
                found[column] = Score(mean=mean, unit=protocol.unit(column), better=metric.better, count=len(values))
        return found


def score(
    folder: Path,
    scene: Scene,
    protocol: Protocol,
    *,
    only: Sequence[str] | None = None,
    partial: bool = False,
    device: str = "cpu",
    lpips_weights: Sequence[Path] = (),
    progress: Callable[[float], None] = lambda fraction: None,
) -> Scores:
    """The scores of the predictions in `folder`: NAME.png for every hidden view, mesh.ply for the surface.

    Args:
        folder: the predictions of this scene.
        scene: with its truth.
        protocol: every choice behind the numbers.
        only: sections to measure, where the method cannot answer all of `image` and `surface`.
        partial: measure what is there and list what is missing, instead of refusing; an empty surface is missing.
        device: where LPIPS runs.
        lpips_weights: files with LPIPS trunk weights; the torch hub cache is looked at otherwise.
        progress: told the fraction done now and then.

    Raises:
        DataMissing: an item is missing and `partial` is false; it names the items.
        DataCorrupt: a prediction is not an 8-bit RGB PNG of the right size, or no mesh; it names the file.
        Unsupported: the protocol measures nothing that this scene has truth of.
    """
    wanted = [s for s in sections(scene, protocol) if only is None or s in only]
    if not sections(scene, protocol):
        raise Unsupported(
            f"Protocol {protocol.id} measures nothing that scene {scene.name!r} has truth of.",
            "Choose another protocol: nfbench list protocols.",
        )
    if not folder.is_dir() and not partial:
        raise DataMissing(f"There is no folder {folder}.", "Name the folder with the predictions.")
    result = Scores(items={column: {} for section in wanted for column in _columns(protocol, section)})
    _take_stock(folder, scene, wanted, result)
    if result.missing and not partial:
        raise DataMissing(_missing_message(folder, result), "Add them, or say --partial to score the rest unranked.")
    digests = _Digests()
    if "image" in wanted and protocol.image is not None and scene.hidden is not None:
        present = [i for i, name in enumerate(scene.hidden.names) if name not in result.missing]
        pairs = _pairs(folder, scene.hidden, present, protocol.image.background, digests)
        measures = _image_measures(protocol.image.columns, result.unmeasured, device, lpips_weights)
        for done, (name, prediction, truth) in enumerate(pairs, 1):
            for column, measure in measures.items():
                result.items[column][name] = measure(prediction, truth)
            progress(done / len(present))
    if "surface" in wanted and protocol.surface is not None and MESH not in result.missing:
        mesh = _surface(folder / MESH, partial)
        if mesh is None:
            result.missing.append(MESH)
        else:
            digests.prediction.update((folder / MESH).read_bytes())
            for column, value in _score_surface(mesh, scene, protocol.surface, digests).items():
                result.items[column][MESH] = value
    result.hashes = digests.hex()
    return result


def truth_image(views: Views, index: int, background: tuple[float, float, float]) -> Image:
    """The hidden view as predictions are measured against it: over the background, rounded, uint8 (H,W,3)."""
    return images.flattened(views.image(index), background)


class _Digests:
    """Running hashes of all that is compared."""

    def __init__(self) -> None:
        self.prediction = hashlib.sha256()
        self.truth = hashlib.sha256()

    def hex(self) -> dict[str, str]:
        return {"predictions": self.prediction.hexdigest(), "truth": self.truth.hexdigest()}


def _columns(protocol: Protocol, section: str) -> Iterable[str]:
    chosen = protocol.image if section == "image" else protocol.surface
    return chosen.columns if chosen is not None else ()


def _take_stock(folder: Path, scene: Scene, wanted: Sequence[str], result: Scores) -> None:
    """Fill in what is expected, what is missing and what else lies there."""
    if "image" in wanted and scene.hidden is not None:
        result.expected += scene.hidden.names
    if "surface" in wanted:
        result.expected.append(MESH)
    there = {path.name for path in folder.iterdir() if path.is_file()} if folder.is_dir() else set()
    result.missing = [item for item in result.expected if _file(item) not in there]
    wanted_files = {_file(item) for item in result.expected}
    result.extra = sorted(name for name in there - wanted_files if not name.startswith("."))


def _file(item: str) -> str:
    return item if item == MESH else f"{item}.png"


def _missing_message(folder: Path, result: Scores) -> str:
    names = [_file(item) for item in result.missing[:_NAMED]]
    more = f" and {len(result.missing) - _NAMED} more" if len(result.missing) > _NAMED else ""
    message = (
        f"{folder}: {len(result.missing)} of {len(result.expected)} predictions missing: {', '.join(names)}{more}."
    )
    if result.extra:
        message += f" There, but not asked for: {', '.join(result.extra[:_NAMED])}."
    return message


def _pairs(
    folder: Path, views: Views, present: Sequence[int], background: tuple[float, float, float], digests: _Digests
) -> Iterator[tuple[str, Image, Image]]:
    """Name, prediction and truth of the views at `present`, one at a time."""
    for index in present:
        name = views.names[index]
        truth = truth_image(views, index, background)
        prediction = _opaque(read_png(folder / f"{name}.png"), folder / f"{name}.png")
        if prediction.shape != truth.shape:
            raise DataCorrupt(
                f"{folder / name}.png is {prediction.shape[1]}x{prediction.shape[0]} pixels, "
                f"the test view is {truth.shape[1]}x{truth.shape[0]}.",
                "Render at the size of the dataset; nfbench does not resize.",
            )
        digests.prediction.update(name.encode() + prediction.tobytes())
        digests.truth.update(name.encode() + truth.tobytes())
        yield name, prediction, truth


def _opaque(prediction: Image, path: Path) -> Image:
    if prediction.shape[2] == 4 and prediction[:, :, 3].min() < 255:
        raise DataCorrupt(f"{path} has transparent pixels.", "Composite it on the protocol's background, save as RGB.")
    return prediction[:, :, :3]


def _image_measures(
    columns: Mapping[str, ImageColumn], unmeasured: dict[str, str], device: str, lpips_weights: Sequence[Path]
) -> dict[str, Callable[[Image, Image], float]]:
    """Column to a function of prediction and truth; a column whose weights are not to be had goes to `unmeasured`."""
    found: dict[str, Callable[[Image, Image], float]] = {}
    for name, column in columns.items():
        if isinstance(column, Lpips):
            try:
                found[name] = _lpips(column, device, lpips_weights)
            except DataMissing:
                unmeasured[name] = f"no weights for {column.net} here; nfbench doctor says where they go"
        elif isinstance(column, Ssim):
            found[name] = _ssim(column)
        else:
            found[name] = lambda prediction, truth: float(images.psnr(prediction, truth))
    return found


def _ssim(column: Ssim) -> Callable[[Image, Image], float]:
    def measure(prediction: Image, truth: Image) -> float:
        size, sigma, covariance = column.size, column.sigma, column.covariance
        return float(images.ssim(prediction, truth, size=size, sigma=sigma, covariance=covariance))

    return measure


def _lpips(column: Lpips, device: str, weights: Sequence[Path]) -> Callable[[Image, Image], float]:
    from nfbench.harness import lpips

    model = lpips.load(column.net, lpips.weights_for(column.net, weights), device)
    return lambda prediction, truth: float(lpips.distance(model, prediction, truth))


def _surface(path: Path, partial: bool) -> Mesh | None:
    """The predicted mesh; None for an empty one, where what is missing may be missing."""
    mesh = read_mesh(path)
    if len(mesh.faces):
        return mesh
    if partial:
        return None
    raise DataCorrupt(f"{path} has no faces.", "The surface is empty at the protocol's level: nothing to measure.")


def _score_surface(mesh: Mesh, scene: Scene, section: SurfaceSection, digests: _Digests) -> dict[str, float]:
    """Every column of the surface section."""
    assert scene.surface is not None
    truth = _true_points(scene.surface, section)
    prediction = meshes.sample(mesh, section.samples, section.seed)
    if section.frame == "original":
        truth, prediction = _original(truth, scene), _original(prediction, scene)
    digests.truth.update(truth.xyz.tobytes())
    pairs = surfaces.correspond(prediction, truth)
    return {name: _surface_value(column, pairs, mesh, scene) for name, column in section.columns.items()}


def _true_points(truth: Mesh | Points, section: SurfaceSection) -> Points:
    """The points of the truth that the prediction is compared with; scene coordinates."""
    count, seed = section.truth_samples, section.seed + 1
    if isinstance(truth, Mesh):
        return meshes.sample(truth, count or section.samples, seed)
    if count is None or len(truth) <= count:
        return truth
    picked = np.random.default_rng(seed).choice(len(truth), count, replace=False)
    return Points(truth.xyz[picked], None if truth.normal is None else truth.normal[picked])


def _original(points: Points, scene: Scene) -> Points:
    """The points in the dataset's original coordinates.

    Raises:
        DataCorrupt: the scene's frame does more than turn, scale and move.
    """
    linear = scene.frame[:3, :3]
    scale = np.cbrt(abs(np.linalg.det(linear)))
    if not scale > 0 or not np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=_SKEW * scale**2):
        raise DataCorrupt(
            f"Scene {scene.name!r}: the frame to the original coordinates is no similarity.",
            "It may turn, scale all axes alike, and move.",
        )
    moved = (points.xyz @ linear.T + scene.frame[:3, 3]).astype(np.float32)
    if points.normal is None:
        return Points(moved)
    return Points(moved, (points.normal @ (linear / scale).T).astype(np.float32))


def _surface_value(column: SurfaceColumn, pairs: surfaces.Correspondence, mesh: Mesh, scene: Scene) -> float:
    if column.metric == "iou":
        points = scene.occupancy
        if points is None or points.value is None:
            raise Unsupported(f"Scene {scene.name!r} has no query points with true occupancy, which iou needs.")
        return column.factor * surfaces.iou(inside(mesh, points.xyz), points.value >= 0.5)
    choices = column.model_dump(exclude={"metric", "factor"})
    return column.factor * float(getattr(pairs, column.metric)(**choices))
