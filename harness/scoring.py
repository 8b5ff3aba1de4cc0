"""Scoring: predictions on disk against the truth of a scene, under a protocol. `run` and `score` both end here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from nfbench.harness import image_scores, surface_scores
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.prediction import MESH, measured_views, sections
from nfbench.harness.protocol import Protocol
from nfbench.harness.record import Score
from nfbench.harness.scene import Mesh, Points, Scene
from nfbench.harness.surfacefile import read_surface

_NAMED = 5  # how many missing items a message lists by name


@dataclass
class Scores:
    """What was measured on one scene.

    Attributes:
        items: column to item name to value.
        expected: every item the protocol wants, by name.
        missing: those that were not there.
        failed: those that were there and cannot be measured, with the reason: an empty surface, a damaged file.
        unmeasured: column to the reason why it could not be measured at all.
        extra: files in the folder that are no item.
        facts: what else a reader must know of a mesh and how it was measured.
        hashes: sha256 of what was compared, `predictions` and `truth`.
    """

    items: dict[str, dict[str, float]] = field(default_factory=dict)
    expected: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    hashes: dict[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> list[str]:
        """The items without a value, missing or failed."""
        return [item for item in self.expected if item in self.failed or item in self.missing]

    def summary(self, protocol: Protocol) -> dict[str, Score]:
        """Column to its means over the items, for the columns that have any: over the valid ones, and penalised.

        In the penalised mean an item that is missing or failed counts as the protocol's penalty.
        """
        found = {}
        for column, values in self.items.items():
            lost = [item for item in self.lost if (item == MESH) == (protocol.metric(column).section == "surface")]
            if not values:
                continue
            valid = list(values.values())
            found[column] = Score(
                mean=float(np.mean(valid)),
                unit=protocol.unit(column),
                better=protocol.metric(column).better,
                count=len(valid),
                penalised=_penalised(valid, len(lost), protocol.failure.get(column)),
                lost=len(lost),
            )
        return found


def _penalised(valid: list[float], lost: int, penalty: float | None) -> float | None:
    return None if penalty is None else float(np.mean(valid + [penalty] * lost))


def score(
    folder: Path,
    scene: Scene,
    protocol: Protocol,
    *,
    only: Sequence[str] | None = None,
    files: Mapping[str, Path] | None = None,
    partial: bool = False,
    device: str = "cpu",
    lpips_weights: Sequence[Path] = (),
    progress: Callable[[float], None] = lambda fraction: None,
) -> Scores:
    """The scores of the predictions in `folder`: NAME.png for every measured view, mesh.ply for the surface.

    Args:
        folder: the predictions of this scene.
        scene: with its truth.
        protocol: every choice behind the numbers.
        only: sections to measure, where the method cannot answer all of `image` and `surface`.
        files: item to its file, in place of the names in `folder`.
        partial: measure what is there and list what is missing or failed, instead of refusing.
        device: where LPIPS runs.
        lpips_weights: files with LPIPS trunk weights; the torch hub cache is looked at otherwise.
        progress: told the fraction done now and then.

    Raises:
        DataMissing: an item is missing and `partial` is false; it names the items.
        DataCorrupt: a prediction is not an 8-bit RGB PNG of the right size, or no mesh; it names the file.
        Unsupported: the protocol measures nothing that this scene has truth of.
    """
    answerable = sections(scene, protocol)
    if not answerable:
        raise Unsupported(
            f"Protocol {protocol.id} measures nothing that scene {scene.name!r} has truth of.",
            "Choose another protocol: nfbench list protocols.",
        )
    wanted = [section for section in answerable if only is None or section in only]
    if files is None and not folder.is_dir() and not partial:
        raise DataMissing(f"There is no folder {folder}.", "Name the folder with the predictions.")
    result = Scores(items={column: {} for section in wanted for column in _columns(protocol, section)})
    there, others = _there(folder) if files is None else (dict(files), [])
    _take_stock(there, scene, protocol, wanted, result)
    result.extra = sorted([*result.extra, *others])
    if result.missing and not partial:
        raise DataMissing(_missing_message(folder, result), "Add them, or say --partial to score the rest unranked.")
    digests = _Digests()
    if "image" in wanted:
        _images(there, scene, protocol, result, digests, partial, device, lpips_weights, progress)
    if MESH in result.expected and MESH not in result.missing:
        _surface(there[MESH], scene, protocol, result, digests, partial)
    result.hashes = digests.hex()
    return result


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


def _there(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Item to file for the PNGs and the mesh in a folder of predictions, and the names of what else lies there."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [path for path in files if path.is_file() and not path.name.startswith(".")]
    items = {path.name.removesuffix(".png"): path for path in files if path.suffix == ".png" or path.name == MESH}
    return items, [path.name for path in files if path not in items.values()]


def _take_stock(
    there: Mapping[str, Path], scene: Scene, protocol: Protocol, wanted: Sequence[str], result: Scores
) -> None:
    """Fill in what is expected, what is missing and what else lies there."""
    views = measured_views(scene, protocol)
    if "image" in wanted and views is not None:
        result.expected += views.names
    if "surface" in wanted:
        result.expected.append(MESH)
    result.missing = [item for item in result.expected if item not in there]
    result.extra = sorted(path.name for item, path in there.items() if item not in result.expected)


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


def _images(
    there: Mapping[str, Path],
    scene: Scene,
    protocol: Protocol,
    result: Scores,
    digests: _Digests,
    partial: bool,
    device: str,
    lpips_weights: Sequence[Path],
    progress: Callable[[float], None],
) -> None:
    """Measure every image that is there."""
    views, section = measured_views(scene, protocol), protocol.image
    assert views is not None and section is not None
    files = {name: there[name] for name in views.names if name in there}
    found = image_scores.measure(
        files,
        views,
        section,
        device=device,
        lpips_weights=lpips_weights,
        unmeasured=result.unmeasured,
        failed=result.failed if partial else None,
    )
    for done, one in enumerate(found, 1):
        for column, value in one.values.items():
            result.items[column][one.name] = value
        digests.prediction.update(one.name.encode() + one.prediction)
        digests.truth.update(one.name.encode() + one.truth)
        progress(done / len(files))


def _surface(path: Path, scene: Scene, protocol: Protocol, result: Scores, digests: _Digests, partial: bool) -> None:
    """Measure the surface; what is wrong with the prediction makes it a failed item where `partial`."""
    assert protocol.surface is not None
    try:
        surface = _not_empty(path, read_surface(path))
    except DataCorrupt as error:
        if not partial:
            raise
        result.failed[MESH] = error.message
        return
    try:
        found = surface_scores.measure(surface, scene, protocol.surface)
    except ContractBroken as error:  # what is wrong with the truth is no failure of the prediction
        if not partial:
            raise ContractBroken(f"{path}: {error.message}", error.hint) from error
        result.failed[MESH] = error.message
        return
    for column, value in found.values.items():
        if math.isnan(value):
            raise NfbenchError(f"{path}: {column} came out as NaN.", "Please report this with the mesh.")
        result.items[column][MESH] = value
    result.unmeasured |= found.unmeasured
    result.facts |= found.facts
    digests.prediction.update(path.read_bytes())
    digests.truth.update(found.truth)


def _not_empty(path: Path, surface: Mesh | Points) -> Mesh | Points:
    if isinstance(surface, Mesh) and not len(surface.faces):
        raise DataCorrupt(f"{path} has no faces.", "The surface is empty at the protocol's level: nothing to measure.")
    if not len(surface.faces if isinstance(surface, Mesh) else surface):
        raise DataCorrupt(f"{path} has no points.", "Nothing to measure: write it again.")
    return surface
