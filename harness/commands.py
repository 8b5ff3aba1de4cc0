"""What the commands of the command line do, once their options are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfbench.harness.console import dumps, watching
from nfbench.harness.dataset import readable
from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import DataMissing, NfbenchError, NotFound, did_you_mean
from nfbench.harness.method import STANDARD_PRESETS, Budget, NoConfig, configure
from nfbench.harness.protocol import Protocol
from nfbench.harness.protocol import protocol as find_protocol
from nfbench.harness.record import Record, check_writable
from nfbench.harness.registry import MethodSpec, method_spec, registry, resolve
from nfbench.harness.runner import Outcome, Run, choose_device
from nfbench.harness.submission import Submission, keep, locate, score_parts
from nfbench.harness.watcher import Watcher

_SHOWN = 3  # columns in the one line about a finished run
_NAMED = 5  # how many lost items are named


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
) -> None:
    """Run methods on a task and print their board. What is wrong with the request is found before the first run.

    Raises:
        NfbenchError: a wrong request, or a run that failed; what was recorded stays.
    """
    specs = [method_spec(name.strip()) for name in methods if name.strip()]
    if not specs:
        raise NfbenchError("No method is named.", "nfbench list methods says which there are.")
    check_weights(lpips_weights)
    own = settings_by_method(specs, preset, dict(_setting(text) for text in settings))
    allowed = Budget.parse(budget) if budget else Budget()
    task = find_task(task_name, format).every(test_every)
    if task.plain is not None:
        raise NfbenchError(
            f"{task_name} is plain truth, which gives a method nothing to learn from.",
            f"Score predictions with it: nfbench score PREDICTIONS {task_name} --protocol ID.",
        )
    task, wrong = readable(task) if skip_bad else (task, {})
    chosen = find_protocol(protocol or task.protocol)
    check_writable(runs)
    where = choose_device(device)
    outcomes: list[Outcome] = []
    with watching(quiet) as watcher:
        for name, why in wrong.items():
            watcher.line(f"left out: {name}: {why}")
        try:
            for spec in specs:
                for seed in seeds:
                    run = Run(
                        spec, task, chosen, runs, preset, own[spec.name], allowed, where, tuple(lpips_weights), watcher
                    )
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


def check_weights(files: Sequence[Path]) -> None:
    """Raise DataMissing for a file of LPIPS weights that is not there."""
    for file in files:
        if not file.is_file():
            raise DataMissing(f"There is no weights file {file}.", "Check the path given to --lpips-weights.")


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


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise NfbenchError(f"--set {text!r} is no setting.", "Write --set field=value.")
    return name.strip().replace("-", "_"), value.strip()


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


def score_predictions(
    predictions: Path,
    task_name: str,
    *,
    protocol: str | None,
    as_json: bool,
    partial: bool,
    test_every: int,
    submit: str,
    device: str,
    runs: Path,
    format: str | None,
    lpips_weights: Sequence[Path],
    quiet: bool,
) -> None:
    """Score predictions on disk and print them.

    Raises:
        NfbenchError: something is missing (and `partial` is not asked for) or is not what it should be.
    """
    check_weights(lpips_weights)
    asked = find_task(task_name, format).every(test_every)
    task, parts = locate(predictions, asked)
    if not (protocol or task.protocol):
        raise NfbenchError(
            f"{task_name} is plain truth, which belongs to no protocol.",
            "Say which with --protocol; nfbench list protocols explains each.",
        )
    chosen = find_protocol(protocol or task.protocol)
    if submit:
        check_writable(runs)
    where = _device(device, chosen)
    with watching(quiet or as_json) as watcher:

        def after(part: Any, scene: Any, scores: Any) -> None:  # noqa: ANN401  # Part, Scene, Scores
            if scores.extra:
                watcher.line(f"{part.folder}: not asked for and not scored: {', '.join(scores.extra[:5])}")
            if submit:
                keep(submit, part, scene, scores, task, chosen, runs)

        result = score_parts(
            parts,
            task,
            chosen,
            partial=partial,
            device=where,
            lpips_weights=lpips_weights,
            progress=lambda scene, fraction: watcher.progress(f"score {scene}", fraction, {}),
            after=after,
        )
    if asked.protocol not in ("", chosen.id):
        result.warnings.insert(0, f"{chosen.id} is not the task's own protocol, {asked.protocol}.")
    if as_json:
        print(dumps(result.as_json()))
    else:
        _print_scores(result)


def _device(asked: str, protocol: Protocol) -> str:
    """The device to score on; left to nfbench and without LPIPS it is the CPU, so that torch need not be loaded."""
    uses_network = any(column.metric == "lpips" for column in protocol.columns().values())
    return "cpu" if asked == "auto" and not uses_network else choose_device(asked)


def _print_scores(result: Submission) -> None:
    data = result.as_json()
    lost = [*result.missing, *result.failed]
    print(f"{data['task']} under {data['protocol']}: {result.expected - len(lost)} of {result.expected} items measured")
    for name, column in data["scores"].items():
        arrow = "higher" if column["better"] == "higher" else "lower"
        unit = "" if column["unit"] == "1" else f" {column['unit']}"
        declared = lost and column["penalised"] is not None
        penalised = f"; {column['penalised']:.6g} with the penalty for what is lost" if declared else ""
        items = f"{len(column['items'])} item{'' if len(column['items']) == 1 else 's'}"
        print(f"  {name:<20} {column['mean']:.6g}{unit}  ({arrow} is better, {items}{penalised})")
    for name, why in data["unmeasured"].items():
        print(f"  {name:<20} not measured: {why}")
    if result.task.plain is not None and any(result.protocol.metric(c).section == "surface" for c in data["scores"]):
        print("  lengths are in the unit of the files: plain truth is compared as it is, nothing is normalised")
    if lost:
        more = " ..." if len(lost) > _NAMED else ""
        counts = f"{len(result.missing)} missing, {len(result.failed)} failed"
        print(f"  not ranked: {counts}: {', '.join(lost[:_NAMED])}{more}")
        for item, why in list(result.failed.items())[:_NAMED]:
            print(f"  {item}: {why}")
    for warning in result.warnings:
        print(f"  warning: {warning}")


def show_board(task: str | None, runs: Path, form: str, output: Path | None) -> None:
    """Print the board, or write it to a file.

    Raises:
        NfbenchError: no records, an unknown form, or a file that cannot be written.
    """
    forms = ("text", "markdown", "latex", "csv", "json", "html")
    if form not in forms:
        raise NotFound(f"--as {form!r} is not a form of the board.", did_you_mean(form, forms, "forms"))
    if task is not None and task not in registry().tasks and Path(task).exists():
        task = find_task(task).name
    boards = resolve("nfbench.leaderboards.board:read_boards")(runs, task)
    if form == "html":
        path = output or Path("board.html")
        resolve("nfbench.leaderboards.page:write_page")(boards, path)
        print(f"Wrote {path}.")
        return
    text = resolve("nfbench.leaderboards.table:render")(boards, form)
    if output is None:
        print(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
    except OSError as error:
        raise NfbenchError(f"{output} cannot be written: {error.strerror}.", "Choose another -o file.") from error
    print(f"Wrote {output}.")


def check_target(target: str, device: str) -> None:
    """Run the contract on a method, or read a protocol, and print what holds.

    Raises:
        NfbenchError: a clause is not kept.
    """
    if target.endswith(".toml") or target in registry().protocols:
        read = find_protocol(target)
        print(f"ok  {read.id} is a sound protocol with columns {', '.join(read.columns())}.")
        return
    from nfbench.harness.checks import check_method

    findings = check_method(method_spec(target), choose_device(device))
    for finding in findings:
        print(f"{'ok' if finding.kept else '--'}  {finding.clause}{'' if finding.kept else ': ' + finding.why}")
    broken = [finding for finding in findings if not finding.kept]
    if broken:
        raise NfbenchError(f"{target} breaks {len(broken)} of {len(findings)} clauses of the contract.")
    print(f"{target} keeps all {len(findings)} clauses of the contract.")


def prepare_meshes(
    meshes: Path,
    destination: Path,
    to: str,
    split: str,
    seed: int,
    views: int,
    pixels: int,
    jobs: int,
    skip_bad: bool,
    quiet: bool,
) -> None:
    """Make a dataset of meshes and say what was left out.

    Raises:
        NfbenchError: as `nfbench.loaders.prepare.prepare` does.
    """
    settings = resolve("nfbench.loaders.prepare:Settings")(to, seed, views, pixels)
    with watching(quiet) as watcher:
        wrong = resolve("nfbench.loaders.prepare:prepare")(
            meshes,
            destination,
            settings,
            split=split,
            jobs=jobs,
            skip_bad=skip_bad,
            progress=lambda fraction, name: watcher.progress(f"prepare {name}", fraction, {}),
        )
        for name, why in wrong.items():
            watcher.line(f"left out: {name}: {why}")
    print(f"Wrote {destination} in {to} format{f'; {len(wrong)} meshes were left out' if wrong else ''}.")
