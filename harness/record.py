"""Record: one run of one method on one scene with one seed, and the store that keeps records as plain files.

    <runs>/<task>/<method>/<scene>/<seed>-<config hash>/
        record.json       sorted keys; written last, by rename
        scores.parquet    item, metric, value
        predictions/      NAME.png, mesh.ply
        pictures/         a few predictions and truths side by side, for the page
        checkpoint/       safetensors and json
        log.jsonl         one line a report

Every run owns its folder, so any number of writers need no lock.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import RecordInvalid
from nfbench.harness.provenance import Meter

FILE = "record.json"
SCORES = "scores.parquet"


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", ser_json_inf_nan="strings", allow_inf_nan=True)


class MethodEntry(_Data):
    """Which method, with every setting.

    Attributes:
        name: as registered, or the class of a file.
        target: what was imported, for a file without its folder; empty for submitted predictions.
        preset: the preset asked for, empty for the config's own defaults.
        config: every field of the config.
        budget: `180s`, empty for as long as the config says.
        hash: 8 digits over all that may change the result, seed and scene aside.
        origin: `floor` or `method`.
        checkpoint: 8 digits over the checkpoint that stood in place of training, where one did.
    """

    name: str
    target: str = ""
    preset: str = ""
    config: dict[str, Any] = Field(default_factory=dict)
    budget: str = ""
    hash: str = ""
    origin: str = "method"
    checkpoint: str = ""


class TaskEntry(_Data):
    """Which task: its name, the version of its data, and the names of all its test scenes."""

    name: str
    version: str
    scenes: list[str]


class Score(_Data):
    """One column of one scene: the mean over its valid items, with unit and direction.

    Attributes:
        count: valid items.
        penalised: the mean in which every lost item counts as the protocol's penalty; as `mean` where none is lost.
        lost: items that are missing or failed.
    """

    mean: float
    unit: str
    better: Literal["higher", "lower"]
    count: int
    penalised: float | None = None
    lost: int = 0


class Cost(_Data):
    """What the run cost.

    Attributes:
        learn_seconds: wall time of learning the prior, which all scenes of the run share; 0 without one.
        fit_seconds: wall time of fitting this scene.
        predict_seconds: wall time of rendering and extracting.
        peak_memory_bytes: highest resident memory of the process so far; on a GPU, highest allocated there.
        parameters: trainable numbers, where the field tells.
        steps: steps of the last training loop, where it reported any.
        joules: energy of learning and fitting, where the machine's meter tells: all of the GPU's, or the processor's.
        device: `cpu` or the name of the GPU.
    """

    learn_seconds: float = 0.0
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0
    peak_memory_bytes: int = 0
    parameters: int | None = None
    steps: int | None = None
    joules: float | None = None
    device: str = "cpu"

    def charge_learning(self, meter: Meter, earlier: float) -> None:
        """Add what learning cost, and the seconds that an earlier process had spent on it."""
        self.learn_seconds = meter.seconds + earlier
        self._charge(meter)

    def charge_fitting(self, meter: Meter, earlier: float, steps: int | None) -> None:
        """Add what fitting cost, and the seconds that an earlier process had spent on it."""
        self.fit_seconds, self.steps = meter.seconds + earlier, steps
        self._charge(meter)

    def _charge(self, meter: Meter) -> None:
        self.peak_memory_bytes = max(self.peak_memory_bytes, meter.peak_bytes)
        if meter.joules is not None:
            self.joules = (self.joules or 0.0) + meter.joules


class Failure(_Data):
    """Why a run failed: the kind of error, its message, the mend, and the traceback where it was no named error."""

    type: str
    message: str
    hint: str = ""
    traceback: str = ""


class Record(_Data):
    """One run of one method on one scene with one seed. A failure is a Record, never a gap.

    Attributes:
        scores: column to score; the items are in scores.parquet.
        expected: how many items the protocol wants of this method on this scene.
        missing: the items that were not there, by name.
        failed: the items that were there and could not be measured, with the reason.
        penalties: column to what a lost item counts as in the penalised mean.
        facts: what else a reader must know of a predicted mesh and how it was measured.
        unmeasured: column to the reason why it was not measured at all.
        unsupported: `image` or `surface`, where the method cannot give what that section measures.
        hashes: of predictions and truth.
        environment: code revision, packages, machine.
    """

    version: Literal[1] = 1
    method: MethodEntry
    task: TaskEntry
    scene: str
    seed: int
    protocol: str
    primary: str
    status: Literal["ok", "failed", "unsupported"]
    origin: Literal["run", "paper", "submitted"] = "run"
    scores: dict[str, Score] = Field(default_factory=dict)
    expected: int = 0
    missing: list[str] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    penalties: dict[str, float] = Field(default_factory=dict)
    facts: dict[str, Any] = Field(default_factory=dict)
    unmeasured: dict[str, str] = Field(default_factory=dict)
    unsupported: list[str] = Field(default_factory=list)
    cost: Cost = Field(default_factory=Cost)
    environment: dict[str, Any] = Field(default_factory=dict)
    hashes: dict[str, str] = Field(default_factory=dict)
    error: Failure | None = None
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def coverage(self) -> float:
        """The part of the expected items that was measured, 0 for a run that is not ok."""
        if self.status != "ok" or self.expected == 0:
            return 0.0
        return 1 - (len(self.missing) + len(self.failed)) / self.expected


def run_folder(runs: Path, task: str, method: str, scene: str, seed: int, digest: str) -> Path:
    """The folder that a run owns.

    Raises:
        RecordInvalid: a name that would lead elsewhere.
    """
    for name in (*task.split("/"), method, scene):
        if not name or name.startswith(".") or set(name) & set("/\\\0"):
            raise RecordInvalid(
                f"{name!r} cannot name a folder of records.", "Use a name without slashes or leading dots."
            )
    return runs / task / method / scene / f"{seed}-{digest}"


def short_hash(data: Any) -> str:  # noqa: ANN401  # anything json can say
    """8 hexadecimal digits over the JSON of `data`, keys sorted."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:8]


def write_record(folder: Path, record: Record, items: Mapping[str, Mapping[str, float]] | None = None) -> None:
    """Write scores.parquet and then record.json into `folder`, each whole or not at all.

    Args:
        folder: the run's own folder; made when it is not there.
        record: the record.
        items: column to item to value.

    Raises:
        RecordInvalid: the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [(item, name, value) for name, values in (items or {}).items() for item, value in values.items()]
    schema = pa.schema([("item", pa.string()), ("metric", pa.string()), ("value", pa.float64())])
    columns = [[row[i] for row in rows] for i in range(3)]
    table = pa.table([pa.array(c, t) for c, t in zip(columns, schema.types, strict=True)], schema=schema)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / SCORES) as partial:
            pq.write_table(table, partial)
        text = json.dumps(json.loads(record.model_dump_json()), indent=1, sort_keys=True, ensure_ascii=False)
        write_text(folder / FILE, text + "\n")
    except OSError as error:
        raise RecordInvalid(
            f"{folder} cannot be written: {error.strerror}.", "Choose another --runs folder."
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_writable(runs: Path) -> None:
    """Raise RecordInvalid, before any work is done, when records cannot be written under `runs`."""
    try:
        runs.mkdir(parents=True, exist_ok=True)
        probe = runs / f".probe.{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise RecordInvalid(f"{runs} cannot be written: {error.strerror}.", "Choose another --runs folder.") from error


def read_record(folder: Path) -> Record:
    """The record in a run's folder.

    Raises:
        RecordInvalid: it is not there, is no JSON, or is no record.
    """
    path = folder / FILE
    try:
        return Record.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordInvalid(f"There is no {path}.", "Name a folder that nfbench run has written.") from None
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else None
        what = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"]))) if first else str(error)
        raise RecordInvalid(f"{path} is no record: {what}.", "Delete the folder and run again.") from None


def find_records(runs: Path) -> list[Path]:
    """The folders of all records under `runs`, sorted; a run that is still being written is not one."""
    found = (path.parent for path in runs.glob(f"**/{FILE}"))
    return sorted(folder for folder in found if not folder.name.startswith("."))
