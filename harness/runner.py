"""The scene loop: build a method, learn, and for every scene fit, predict to disk, read back, measure, record."""

from __future__ import annotations

import dataclasses
import json
import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nfbench.harness import provenance
from nfbench.harness.checkpoint import folder_digest
from nfbench.harness.errors import DataCorrupt, NfbenchError, NotFound, RecordInvalid, Unsupported, did_you_mean
from nfbench.harness.guard import hidden_files, hidden_from_learning, hiding
from nfbench.harness.journal import LOG, Journal, journal
from nfbench.harness.method import Budget, Learner, Validation, configure
from nfbench.harness.picture import write_pictures
from nfbench.harness.prediction import on_background, predict, sections, unsupported
from nfbench.harness.protocol import Protocol
from nfbench.harness.record import (
    FILE,
    Cost,
    Failure,
    MethodEntry,
    Record,
    TaskEntry,
    read_record,
    run_folder,
    short_hash,
    write_record,
    write_text,
)
from nfbench.harness.registry import MethodSpec, resolve
from nfbench.harness.scene import Scene
from nfbench.harness.scoring import Scores, score
from nfbench.harness.task import SceneRef, Task
from nfbench.harness.validation import validation
from nfbench.harness.watcher import Watcher
from nfbench.harness.workfolder import claimed_state, keep_last_good, put_in_place, work_folder

PRIOR = "_prior"
PRIOR_FILE = "prior.json"


@dataclass(frozen=True)
class Outcome:
    """One run: its record, its folder, and whether it was there already."""

    record: Record
    folder: Path
    reused: bool


@dataclass(frozen=True)
class Run:
    """One method on one task: everything but the seed and the scene.

    Attributes:
        spec: the method.
        task: the task.
        protocol: what measures it.
        runs: where records go.
        preset: of the method's config.
        settings: field name to text, put over the preset.
        budget: for learning, and again for the fit of each scene.
        device: `cpu` or `cuda`.
        lpips_weights: files with LPIPS weights.
        watcher: whom to tell.
        curve: seconds at which a field is measured while it is fitted.
        charts: a folder for TensorBoard's files.
        checkpoint: a folder that the method saved, or that was imported: it is loaded in place of learning, or, by a
            method that learns no prior, restored in place of fitting.
    """

    spec: MethodSpec
    task: Task
    protocol: Protocol
    runs: Path
    preset: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    device: str = "cpu"
    lpips_weights: tuple[Path, ...] = ()
    watcher: Watcher = field(default_factory=Watcher)
    curve: tuple[float, ...] = ()
    charts: Path | None = None
    checkpoint: Path | None = None

    def __call__(self, seed: int) -> list[Outcome]:
        """Run every test scene of the task that has no good record yet, and give the outcomes of all of them.

        Raises:
            NfbenchError: the method, its config or the records folder is unusable. What goes wrong inside a scene is
                no exception but a failed Record.
        """
        kind = resolve(self.spec.target)
        config = configure(kind, self.preset, self.settings)
        entry = self._entry(kind, config)
        done, todo = self._sort(entry, seed)
        lacking = [need for need in self.spec.needs if need not in self.task.given]
        if lacking and todo:
            return done + [self._unsupported(entry, ref, seed, lacking) for ref in todo]
        if not todo:
            return done
        method = kind(config, seed, self.device)
        prior = self._folder(entry, PRIOR, seed) / PRIOR_FILE
        learns = isinstance(method, Learner) and self.checkpoint is None and not prior.exists()
        training = [self._open(ref).seen() for ref in self.task.train] if learns else []
        hidden = hidden_from_learning(map(self._open, self.task.test), training) if training else []
        try:
            learned = self._learn(method, training, hidden, entry, seed)
        except (Exception, SystemExit) as error:
            return done + [self._failed(entry, ref.name, seed, error, Cost()) for ref in todo]
        return done + [self._scene(method, entry, self._open(ref), seed, learned) for ref in todo]

    def _open(self, ref: SceneRef) -> Scene:
        """The scene on the protocol's background. A defect of the data stops the run: no method is charged with it."""
        return on_background(ref.open(), self.protocol)

    def _entry(self, kind: type[Any], config: Any) -> MethodEntry:  # noqa: ANN401
        """The method as the record tells it; its hash covers all that may change the result."""
        place = self.spec.target.rpartition(":")[0]
        code = provenance.code_digest(kind)
        fields = dataclasses.asdict(config)
        budget = "" if self.spec.origin == "floor" else str(self.budget)  # a floor spends none
        device = "cpu" if self.device == "cpu" else "gpu"
        covered = [kind.__name__, code, fields, budget, self.task.version, self.protocol.id, device]
        checkpoint = "" if self.checkpoint is None else folder_digest(self.checkpoint)
        covered += [checkpoint] if checkpoint else []
        return MethodEntry(
            name=self.spec.name,
            target=f"{Path(place).name if place.endswith('.py') else place}:{kind.__name__}",
            preset=self.preset if self.preset and getattr(kind, "presets", None) else "",
            config=json.loads(json.dumps(fields, default=str)),
            budget=budget,
            hash=short_hash(covered),
            origin=self.spec.origin,
            checkpoint=checkpoint,
        )

    def _sort(self, entry: MethodEntry, seed: int) -> tuple[list[Outcome], list[SceneRef]]:
        """Scenes with a good record, and scenes to run."""
        done, todo = [], []
        for ref in self.task.test:
            folder = self._folder(entry, ref.name, seed)
            record = None
            if (folder / FILE).exists():
                try:
                    record = read_record(folder)
                except RecordInvalid as error:
                    self.watcher.line(f"{error.message} It is run again.")
            if record is not None and record.status != "failed":
                done.append(Outcome(self._complete(record, folder, ref), folder, reused=True))
            else:
                todo.append(ref)
        return done, todo

    def _complete(self, record: Record, folder: Path, ref: SceneRef) -> Record:
        """The record, measured again on what was predicted where it lacks LPIPS and weights are given now."""
        if not (record.unmeasured and self.lpips_weights and (folder / "predictions").is_dir()):
            return record
        self.watcher.line(f"{self.spec.name} on {ref.name}: measured again, with the weights given")
        measured = self._measure(self._open(ref), folder, record.unsupported)
        record.scores, record.unmeasured = measured.summary(self.protocol), measured.unmeasured
        write_record(folder, record, measured.items)
        return record

    def _folder(self, entry: MethodEntry, scene: str, seed: int) -> Path:
        return run_folder(self.runs, self.task.name, entry.name, scene, seed, entry.hash)

    def _learn(
        self, method: object, training: Sequence[Scene], hidden: Sequence[Path], entry: MethodEntry, seed: int
    ) -> Cost:
        """Learn the prior without the files `hidden`, or read the one that is there; what learning cost."""
        cost = Cost(device=provenance.device_name(self.device))
        if not isinstance(method, Learner):
            return cost
        if self.checkpoint is not None:
            method.load(self.checkpoint)
            return cost
        folder = self._folder(entry, PRIOR, seed)
        if (folder / PRIOR_FILE).exists():
            self.watcher.line(f"{self.spec.name}: the prior learned before is used again")
            method.load(folder)
            return Cost.model_validate_json((folder / PRIOR_FILE).read_text())
        if not training:
            raise Unsupported(
                f"{self.spec.name} learns a prior; task {self.task.name} has no training scenes.",
                "Choose a category task, procedural-shapes/points-to-shape for one, or a method that learns none: "
                "deepsdf-single for signed distances, nerf or idr for views.",
            )
        seed_everything(seed)
        with claimed_state(folder) as state:
            with (
                hiding(hidden),
                self._journal(state, "learn", PRIOR) as notes,
                provenance.metered(self.device) as meter,
            ):
                method.learn(training, self.budget.start(notes.listen, self.watcher.line, state))
            work = work_folder(folder)
            method.save(work)
            cost.charge_learning(meter, notes.earlier)
            (state / LOG).replace(work / LOG)
            write_text(work / PRIOR_FILE, cost.model_dump_json())
            put_in_place(work, folder, PRIOR_FILE)
            shutil.rmtree(state, ignore_errors=True)
        return cost

    def _journal(self, state: Path, stage: str, scene: str) -> AbstractContextManager[Journal]:
        charts = None if self.charts is None else self.charts / self.task.name / self.spec.name / scene
        return journal(state, f"{self.spec.name} {stage}", self.watcher, charts)

    def _scene(self, method: Any, entry: MethodEntry, scene: Scene, seed: int, learned: Cost) -> Outcome:  # noqa: ANN401
        """One scene, recorded; no other process takes the state of its loops away."""
        with claimed_state(self._folder(entry, scene.name, seed)) as state:
            return self._solve(method, entry, scene, seed, learned.model_copy(), state)

    def _solve(self, method: Any, entry: MethodEntry, scene: Scene, seed: int, cost: Cost, state: Path) -> Outcome:  # noqa: ANN401
        """Fit, predict to disk, read back, measure, record. The only place that catches all."""
        folder = work_folder(self._folder(entry, scene.name, seed))
        try:
            seed_everything(seed)
            curve = validation(scene, self.protocol, self.curve)
            with hiding(hidden_files(scene)):
                fitted = self._fit(method, scene, state, curve, cost)
                (state / LOG).replace(folder / LOG)
                lacking = unsupported(fitted, sections(scene, self.protocol))
                with provenance.metered(self.device) as meter:
                    told = predict(fitted, scene, self.protocol, folder / "predictions", self._fraction("predict"))
                cost.predict_seconds = meter.seconds
                if hasattr(fitted, "save"):
                    (folder / "checkpoint").mkdir()
                    fitted.save(folder / "checkpoint")
            measured = self._measure(scene, folder, lacking)
            write_pictures(folder, folder / "predictions", scene, self.protocol)
        except (Exception, SystemExit) as error:
            keep_last_good(state, folder)
            return self._failed(entry, scene.name, seed, error, cost)
        shutil.rmtree(state, ignore_errors=True)
        status = "ok" if measured.expected else "unsupported"
        record = self._record(entry, scene.name, seed, status=status, cost=cost, unsupported=lacking)
        record.scores = measured.summary(self.protocol)
        record.expected, record.missing, record.failed = len(measured.expected), measured.missing, measured.failed
        record.unmeasured, record.hashes = measured.unmeasured, measured.hashes
        record.facts = told | measured.facts
        return self._write(record, measured.items)

    def _fit(self, method: Any, scene: Scene, state: Path, curve: Validation | None, cost: Cost) -> Any:  # noqa: ANN401
        """The field; its cost goes into `cost`, its reports into log.jsonl beside the state of its loops."""
        with self._journal(state, f"fit {scene.name}", scene.name) as notes, provenance.metered(self.device) as meter:
            if self.checkpoint is not None and not isinstance(method, Learner):
                fitted = method.restore(self.checkpoint)
            else:
                fitted = method.fit(scene.seen(), self.budget.start(notes.listen, self.watcher.line, state, curve))
        cost.charge_fitting(meter, notes.earlier, notes.steps)
        parameters = getattr(fitted, "parameters", None)
        cost.parameters = int(parameters) if isinstance(parameters, int) else None
        return fitted

    def _measure(self, scene: Scene, folder: Path, lacking: Sequence[str]) -> Scores:
        only = [section for section in sections(scene, self.protocol) if section not in lacking]
        found = score(
            folder / "predictions",
            scene,
            self.protocol,
            only=only,
            partial=True,  # an empty surface must not cost the run its images
            device=self.device,
            lpips_weights=self.lpips_weights,
            progress=self._fraction("measure"),
        )
        if found.expected and len(found.failed) == len(found.expected):
            raise DataCorrupt(
                f"Nothing that was predicted of {scene.name} can be measured: {next(iter(found.failed.values()))}",
                "Without a surface at the protocol's level: fit longer, or look at the values of the field.",
            )
        return found

    def _fraction(self, stage: str) -> Callable[[float], None]:
        return lambda fraction: self.watcher.progress(f"{self.spec.name} {stage}", fraction, {})

    def _record(self, entry: MethodEntry, scene: str, seed: int, **values: Any) -> Record:  # noqa: ANN401
        return Record(
            method=entry,
            task=TaskEntry(name=self.task.name, version=self.task.version, scenes=self.task.scenes),
            scene=scene,
            seed=seed,
            protocol=self.protocol.id,
            primary=self.protocol.primary,
            penalties=self.protocol.failure,
            environment=provenance.environment(),
            **values,
        )

    def _failed(self, entry: MethodEntry, scene: str, seed: int, error: BaseException, cost: Cost) -> Outcome:
        named = isinstance(error, NfbenchError)
        failure = Failure(
            type=type(error).__name__,
            message=error.message if isinstance(error, NfbenchError) else str(error),
            hint=error.hint if isinstance(error, NfbenchError) else "",
            traceback="" if named else "".join(traceback.format_exception(error)),
        )
        status = "unsupported" if isinstance(error, Unsupported) else "failed"
        return self._write(self._record(entry, scene, seed, status=status, cost=cost, error=failure))

    def _unsupported(self, entry: MethodEntry, ref: SceneRef, seed: int, lacking: Sequence[str]) -> Outcome:
        error = Unsupported(
            f"{self.spec.name} needs {' and '.join(lacking)}; {self.task.name} gives {', '.join(self.task.given)}.",
            "nfbench list methods says what each method needs.",
        )
        return self._failed(entry, ref.name, seed, error, Cost())

    def _write(self, record: Record, items: Mapping[str, Mapping[str, float]] | None = None) -> Outcome:
        folder = self._folder(record.method, record.scene, record.seed)
        work = work_folder(folder, fresh=False)
        write_record(work, record, items)
        if put_in_place(work, folder, FILE):
            return Outcome(record, folder, reused=False)
        return Outcome(read_record(folder), folder, reused=True)


def seed_everything(seed: int) -> None:
    """Seed Python's, numpy's and torch's global generators, for methods that draw from them."""
    import random

    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  # for methods that use the global generator
    torch.manual_seed(seed)


def choose_device(asked: str) -> str:
    """`cpu` or `cuda` for `auto`, `cpu` or `cuda`.

    Raises:
        NotFound: something else.
        Unsupported: CUDA is asked for and there is none.
    """
    import torch

    if asked not in ("auto", "cpu", "cuda"):
        raise NotFound(f"--device {asked!r} is no device.", did_you_mean(asked, ("auto", "cpu", "cuda"), "devices"))
    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if asked == "cuda" and not torch.cuda.is_available():
        raise Unsupported("--device cuda: torch sees no GPU.", "Use --device cpu, or see nfbench doctor.")
    return asked
