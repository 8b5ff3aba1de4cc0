"""`nfbench score`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nfbench.harness.commands.weights import check_weights
from nfbench.harness.console import dumps, watching
from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import NfbenchError
from nfbench.harness.protocol import Protocol
from nfbench.harness.protocol import protocol as find_protocol
from nfbench.harness.record import check_writable
from nfbench.harness.runner import choose_device
from nfbench.harness.submission import Submission, keep, locate, score_parts

_NAMED = 5  # how many lost items are named


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
