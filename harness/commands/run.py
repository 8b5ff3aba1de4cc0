"""`nfbench run`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfbench.harness.commands.weights import check_weights
from nfbench.harness.console import watching
from nfbench.harness.dataset import readable
from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import NfbenchError, NotFound, did_you_mean
from nfbench.harness.method import STANDARD_PRESETS, Budget, NoConfig, configure
from nfbench.harness.protocol import Protocol
from nfbench.harness.protocol import protocol as find_protocol
from nfbench.harness.record import Record, check_writable
from nfbench.harness.registry import MethodSpec, method_spec, resolve
from nfbench.harness.runner import Outcome, Run, choose_device
from nfbench.harness.task import Task
from nfbench.harness.validation import parse_times
from nfbench.harness.watcher import Watcher

_SHOWN = 3  # columns in the one line about a finished run


def run_methods(
    methods: Sequence[str],
    task_name: str,
    *,
    preset: str | None,
    settings: Sequence[str],
    seeds: Sequence[int],
    test_every: int,
    budget: str,
    device: str,
    runs: Path,
    format: str | None,
    protocol: str | None,
    lpips_weights: Sequence[Path],
    quiet: bool,
    skip_bad: bool = False,
    given: str | None = None,
    curve: str = "",
    tensorboard: Path | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Run methods on a task and print their board. What is wrong with the request is found before the first run.

    Raises:
        NfbenchError: a wrong request, or a run that failed; what was recorded stays.
    """
    specs = [method_spec(name.strip()) for name in methods if name.strip()]
    if not specs:
        raise NfbenchError("No method is named.", "nfbench list methods says which there are.")
    check_weights(lpips_weights)
    own = settings_by_method(specs, preset, split_settings(settings))
    allowed = Budget.parse(budget) if budget else Budget()
    task = _sub_task(task_name, format, given, test_every)
    task, wrong = readable(task) if skip_bad else (task, {})
    chosen = find_protocol(protocol or task.protocol)
    check_writable(runs)
    where = choose_device(device)
    times = parse_times(curve)
    outcomes: list[Outcome] = []
    with watching(quiet) as watcher:
        for name, why in wrong.items():
            watcher.line(f"left out: {name}: {why}")
        try:
            for spec in specs:
                run = Run(
                    spec,
                    task,
                    chosen,
                    runs,
                    preset,
                    own[spec.name],
                    allowed,
                    where,
                    lpips_weights=tuple(lpips_weights),
                    watcher=watcher,
                    curve=times,
                    charts=tensorboard,
                    checkpoint=checkpoint,
                )
                for seed in seeds:
                    outcomes += run(seed)
                    _tell(watcher, outcomes[-len(task.test) :], chosen)
        except KeyboardInterrupt:
            watcher.line("Stopped. What is recorded stays; the same command goes on from there.")
            raise
    if all(outcome.reused for outcome in outcomes):
        print(f"Nothing to do: {'all ' if len(outcomes) > 1 else ''}{len(outcomes)} recorded already under {runs}.")
    boards = resolve("nfbench.leaderboards.board:read_boards")(runs, task.name)
    shown = [board for board in boards if (board.task, board.protocol) == (task.name, chosen.id)]
    print(resolve("nfbench.leaderboards.table:render")(shown, "text"))
    _check_success([outcome.record for outcome in outcomes])


def _sub_task(name: str, format: str | None, given: str | None, every: int) -> Task:
    """The task that methods are run on: the declared sub-task that `--given` and `--test-every` ask for."""
    whole = find_task(name, format)
    task = (whole if given is None else whole.giving(given)).every(every)
    if task.plain is not None:
        raise NfbenchError(
            f"{name} is plain truth, which gives a method nothing to learn from.",
            f"Score predictions with it: nfbench score PREDICTIONS {name} --protocol ID.",
        )
    return task


def _check_success(records: Sequence[Record]) -> None:
    """Raise NfbenchError when a run failed, or when none was supported; one unsupported among others is no failure."""
    failed = [record for record in records if record.status == "failed"]
    if not any(record.status == "ok" for record in records):
        failed = failed or list(records)
    if failed:
        raise NfbenchError(
            f"{len(failed)} of {len(records)} runs did not succeed: {_why(failed[0])}",
            (failed[0].error.hint if failed[0].error else "") or "Each has a record.json with the whole error.",
        )


def settings_by_method(
    specs: Sequence[MethodSpec], preset: str | None, settings: dict[str, str]
) -> dict[str, dict[str, str]]:
    """Method name to the settings that it has fields for, each tried out.

    Raises:
        NotFound: a preset that a method does not have, or a field that none of them has.
        NfbenchError: a value that does not fit its field.
    """
    import dataclasses

    fields: dict[str, set[str]] = {}
    for spec in specs:
        kind = resolve(spec.target)
        fields[spec.name] = {f.name for f in dataclasses.fields(getattr(kind, "Config", NoConfig))}
    if preset is not None and preset not in STANDARD_PRESETS and not any(preset in spec.presets for spec in specs):
        known = {*STANDARD_PRESETS, *(name for spec in specs for name in spec.presets)}
        raise NotFound(f"No method here has a preset {preset!r}.", did_you_mean(preset, known, "presets"))
    every = set().union(*fields.values())
    for name in settings:
        if name not in every:
            named = ", ".join(spec.name for spec in specs)
            raise NotFound(f"{named}: there is no field {name!r} to set.", did_you_mean(name, every, "fields"))
    own = {spec.name: {n: v for n, v in settings.items() if n in fields[spec.name]} for spec in specs}
    for spec in specs:
        configure(resolve(spec.target), preset, own[spec.name])
    return own


def split_settings(texts: Sequence[str]) -> dict[str, str]:
    """Field to value of several `field=value`.

    Raises:
        NfbenchError: one that is not so, or a field that is set twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise NfbenchError(f"--set {text!r} is no setting.", "Write --set field=value.")
        field = name.strip().replace("-", "_")
        if field in found:
            raise NfbenchError(f"--set gives {field} twice: {found[field]} and {value.strip()}.", "Give it once.")
        found[field] = value.strip()
    return found


def _tell(watcher: Watcher, outcomes: Sequence[Outcome], protocol: Protocol) -> None:
    for outcome in outcomes:
        record = outcome.record
        name = f"{record.method.name} on {record.scene}, seed {record.seed}"
        if record.status != "ok":
            watcher.line(f"{name}: {record.status}. {_why(record)}")
        elif outcome.reused:
            watcher.line(f"{name}: recorded already, {_scores(record, protocol)}")
        else:
            cost = record.cost
            times = f"fit {cost.fit_seconds:.1f} s, predict {cost.predict_seconds:.1f} s"
            lost = [*record.missing, *record.failed]
            gaps = f"; missing or failed: {', '.join(lost)}" if lost else ""
            watcher.line(f"{name}: {_scores(record, protocol)} ({times}){gaps}")


def _scores(record: Record, protocol: Protocol) -> str:
    names = [column for column in protocol.columns() if column in record.scores][:_SHOWN]
    shown = []
    for name in names:
        value = record.scores[name]
        shown.append(f"{name} {value.mean:.4g}{' dB' if value.unit == 'dB' else ''}")
    return ", ".join(shown) or "nothing to measure"


def _why(record: Record) -> str:
    if record.error is None:
        return f"{record.method.name} gives nothing that {record.protocol} measures."
    kind = "" if record.error.traceback == "" else f"{record.error.type}: "
    return f"{kind}{record.error.message}"
