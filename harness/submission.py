"""Predictions from anywhere: a folder, or a run's folder, against the scenes of a task."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nfbench.harness import provenance
from nfbench.harness.errors import DataMissing, NfbenchError
from nfbench.harness.imagefile import ENDINGS as IMAGES
from nfbench.harness.picture import write_pictures
from nfbench.harness.plain import plain_predictions
from nfbench.harness.prediction import MESH, on_background, sections
from nfbench.harness.protocol import Protocol
from nfbench.harness.record import (
    FILE,
    MethodEntry,
    Record,
    Score,
    TaskEntry,
    read_record,
    run_folder,
    short_hash,
    write_record,
)
from nfbench.harness.scene import Scene
from nfbench.harness.scoring import Scores, items_in, score
from nfbench.harness.task import SceneRef, Task

_SAME = 1e-4  # by how much the same score may differ between machines, LPIPS on a GPU and on a CPU most


@dataclass(frozen=True)
class Part:
    """The predictions of one scene: where they lie, and the sections that the method cannot answer.

    Attributes:
        record: of the run that made them.
        files: item to its file, where items are not found by their names in the folder: for plain truth.
    """

    ref: SceneRef
    folder: Path
    unsupported: tuple[str, ...] = ()
    record: Record | None = None
    files: Mapping[str, Path] | None = None

    def located(self) -> dict[str, Path]:
        """Item to its file, for the items that are there."""
        return items_in(self.folder) if self.files is None else dict(self.files)


@dataclass
class Submission:
    """Scored predictions: scene name to scores, and what the reader of them is to be warned of."""

    task: Task
    protocol: Protocol
    scores: dict[str, Scores] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def expected(self) -> int:
        """Items that the protocol wants."""
        return sum(len(s.expected) for s in self.scores.values())

    @property
    def missing(self) -> list[str]:
        """Items that were not there, with their scene where there is more than one."""
        return [self._item(scene, item) for scene, s in self.scores.items() for item in s.missing]

    @property
    def failed(self) -> dict[str, str]:
        """Items that were there and could not be measured, with the reason."""
        return {self._item(scene, item): why for scene, s in self.scores.items() for item, why in s.failed.items()}

    @property
    def coverage(self) -> float:
        """The part of the expected items that was measured."""
        return 1 - (len(self.missing) + len(self.failed)) / self.expected if self.expected else 0.0

    def unmeasured(self) -> dict[str, str]:
        """Column to the reason why it could not be measured at all."""
        return {column: why for s in self.scores.values() for column, why in s.unmeasured.items()}

    def as_json(self) -> dict[str, Any]:
        """The fixed form of `nfbench score --json`; a mean is over scenes of the mean over a scene's items."""
        columns: dict[str, Any] = {}
        for column in self.protocol.columns():
            summaries = [s.summary(self.protocol) for s in self.scores.values() if column in s.items]
            found = [summary[column] for summary in summaries if column in summary]
            if found:
                columns[column] = {
                    "mean": statistics.fmean(score.mean for score in found),
                    "penalised": self._penalised(column, found, len(summaries) - len(found)),
                    "unit": found[0].unit,
                    "better": found[0].better,
                    "items": self._values(column),
                }
        return {
            "protocol": self.protocol.id,
            "task": self.task.name,
            "coverage": self.coverage,
            "missing": self.missing,
            "failed": self.failed,
            "scores": columns,
            "unmeasured": self.unmeasured(),
            "facts": {scene: s.facts for scene, s in self.scores.items() if s.facts},
            "warnings": self.warnings,
        }

    def _penalised(self, column: str, found: Sequence[Score], empty: int) -> float | None:
        """The mean over scenes of the penalised means; `empty` scenes have no valid item."""
        known = [score.penalised for score in found if score.penalised is not None]
        if len(known) < len(found):
            return None
        return statistics.fmean(known + [self.protocol.failure[column]] * empty)

    def _values(self, column: str) -> dict[str, float]:
        return {self._item(scene, i): v for scene, s in self.scores.items() for i, v in s.items.get(column, {}).items()}

    def _item(self, scene: str, item: str) -> str:
        return item if len(self.task.test) == 1 else f"{scene}/{item}"


def locate(predictions: Path, task: Task) -> tuple[Task, list[Part]]:
    """The task that predictions answer, and where those of each scene lie.

    A run's folder answers for its own scene, its own sub-task (`+every8`) and its own protocol. Another folder holds
    the files themselves where the task has one scene, and else one folder a scene.

    Raises:
        DataMissing: no such folder.
        NfbenchError: a run of another task.
    """
    if task.plain is not None:
        return task, [Part(task.test[0], predictions, files=plain_predictions(predictions, task.plain))]
    if predictions.is_file() and predictions.suffix.lower() in IMAGES:
        raise DataMissing(f"{predictions} is one image.", "Name the folder that holds one for every view.")
    if predictions.is_file() and len(task.test) == 1:
        return task, [Part(task.test[0], predictions.parent, files={MESH: predictions})]
    if predictions.is_file():
        raise DataMissing(
            f"{predictions} is one file, and {task.name} has {len(task.test)} scenes.",
            "Name the folder that holds one folder of predictions a scene.",
        )
    if not predictions.is_dir():
        raise DataMissing(f"There is no folder {predictions}.", "Name the folder with the predictions.")
    if (predictions / FILE).exists():
        record = read_record(predictions)
        own = task.as_run(record.task.name)
        if own is None:
            raise NfbenchError(f"{predictions} is a run of task {record.task.name}, not of {task.name}.")
        task = replace(own.only([record.scene]), protocol=record.protocol)
        return task, [Part(task.test[0], predictions / "predictions", tuple(record.unsupported), record=record)]
    if len(task.test) == 1 and not (predictions / task.test[0].name).is_dir():
        return task, [Part(task.test[0], predictions)]
    return task, [Part(ref, predictions / ref.name) for ref in task.test]


def score_parts(
    parts: Sequence[Part],
    task: Task,
    protocol: Protocol,
    *,
    partial: bool = False,
    device: str = "cpu",
    lpips_weights: Sequence[Path] = (),
    progress: Callable[[str, float], None] = lambda scene, fraction: None,
    after: Callable[[Part, Scene, Scores], None] = lambda part, scene, scores: None,
) -> Submission:
    """Score every part, and tell `after` of each; raises what `nfbench.harness.scoring.score` does."""
    result = Submission(task, protocol)
    for part in parts:
        scene = on_background(part.ref.open(), protocol)

        def report(fraction: float, name: str = part.ref.name) -> None:
            progress(name, fraction)

        result.scores[part.ref.name] = score(
            part.folder,
            scene,
            protocol,
            only=[section for section in sections(scene, protocol) if section not in part.unsupported],
            files=part.files,
            partial=partial,
            device=device,
            lpips_weights=lpips_weights,
            progress=report,
        )
        if part.record is not None:
            result.warnings += _changes(part.record, result.scores[part.ref.name], task, protocol)
        after(part, scene, result.scores[part.ref.name])
    return result


def _changes(record: Record, scores: Scores, task: Task, protocol: Protocol) -> list[str]:
    """What differs between a run as it was recorded and as it is found, a sentence each.

    The hashes are over what was compared, so that they tell only where the same items were, under the same protocol.
    """
    run = f"The run of {record.method.name} on {record.scene}"
    found = []
    if record.task.version != task.version:
        found.append(
            f"{run} was recorded with version {record.task.version} of the data; this is version {task.version}."
        )
    if record.status != "ok" or record.protocol != protocol.id:
        return found
    if (set(record.missing), set(record.failed)) != (set(scores.missing), set(scores.failed)):
        return [*found, f"{run} was recorded with other items than are there now: its predictions have changed since."]
    for side in ("predictions", "truth"):
        if side in record.hashes and record.hashes[side] != scores.hashes[side]:
            verb = "have" if side == "predictions" else "has"
            found.append(f"{run}: its {side} {verb} changed since it was recorded; what is told here is of the files.")
    return found or _other_scores(run, record, scores.summary(protocol))


def _other_scores(run: str, record: Record, now: Mapping[str, Score]) -> list[str]:
    """The columns whose recorded mean is not what the same files give."""
    return [
        f"{run}: its record says {column} {record.scores[column].mean:.6g}, its files give {score.mean:.6g}."
        for column, score in now.items()
        if column in record.scores
        and not math.isclose(record.scores[column].mean, score.mean, rel_tol=_SAME, abs_tol=_SAME)
    ]


def keep(name: str, part: Part, scene: Scene, scores: Scores, task: Task, protocol: Protocol, runs: Path) -> Path:
    """Record submitted predictions of one scene as a method `name`; gives the folder of the record.

    All scenes of a submission share a row; the same name submitted again takes the place of what it was.
    """
    entry = MethodEntry(name=name, hash=short_hash([name, protocol.id, task.version]))
    record = Record(
        method=entry,
        task=TaskEntry(name=task.name, version=task.version, scenes=task.scenes),
        scene=part.ref.name,
        seed=0,
        protocol=protocol.id,
        primary=protocol.primary,
        status="ok",
        origin="submitted",
        scores=scores.summary(protocol),
        expected=len(scores.expected),
        missing=scores.missing,
        failed=scores.failed,
        penalties=protocol.failure,
        facts=scores.facts,
        unmeasured=scores.unmeasured,
        unsupported=list(part.unsupported),
        hashes=scores.hashes,
        environment=provenance.environment(),
    )
    folder = run_folder(runs, task.name, name, part.ref.name, 0, entry.hash)
    write_record(folder, record, scores.items)
    write_pictures(folder, part.folder, scene, protocol, part.files)
    return folder
