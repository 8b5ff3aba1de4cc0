"""Column: one column of a board, and the scenes in which it is to be had."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nfbench.harness.protocol import Protocol
from nfbench.leaderboards.run import MESH, Run
from nfbench.leaderboards.statistics import Better


@dataclass(frozen=True)
class Column:
    """A column of a board.

    Attributes:
        summary: defines its metric, where the protocol is registered here.
        section: `image` or `surface`, what it measures.
    """

    name: str
    unit: str
    better: Better
    summary: str = ""
    section: str = "image"


def build_columns(shown: Protocol | None, runs: Sequence[Run]) -> tuple[Column, ...]:
    """The protocol's columns in its order, then others that have scores, by name."""
    scores = {name: score for run in runs for name, score in run.record.scores.items()}
    columns: dict[str, Column] = {}
    if shown is not None:
        for name in shown.columns():
            metric = shown.metric(name)
            columns[name] = Column(name, shown.unit(name), metric.better, metric.summary, metric.section)
    for name, score in sorted(scores.items()):
        section = "surface" if any(MESH in run.items.get(name, {}) for run in runs) else "image"
        columns.setdefault(name, Column(name, score.unit, score.better, section=section))
    return tuple(columns.values())


def wanted_scenes(column: Column, runs: Sequence[Run], scenes: Sequence[str], primary: Column | None) -> list[str]:
    """The scenes in which the column is to be had, so that a run that fails there has lost it.

    The good runs of the board that can give its section tell whether a scene has the truth that the column needs: they
    have a score there, or they have none though they lost nothing. Where none tells, a scene is like the others of the
    board. Where no run of the board is good, only the section of the `primary` column is sure to be wanted.

    Args:
        column: the column.
        runs: all runs of the board.
        scenes: all test scenes of the task.
        primary: the column that ranks, where the board has it.
    """
    good = [run for run in runs if run.good]
    able = [run for run in good if column.section not in run.record.unsupported]
    told: dict[str, bool] = {}
    for run in able:
        if column.name in run.record.scores:
            told[run.record.scene] = True
        elif _tells_absence(run, column):
            told.setdefault(run.record.scene, False)
    if told:
        usual = any(told.values())
    elif good:
        refused = any(column.name in run.record.unmeasured for run in able)
        usual = not refused and any(run.lost_items(column.section) for run in able)
    else:
        usual = primary is not None and column.section == primary.section
    return [scene for scene in scenes if told.get(scene, usual)]


def _tells_absence(run: Run, column: Column) -> bool:
    """Whether a run without a score in the column shows that the scene has no truth for it; a paper may be silent."""
    refused = column.name in run.record.unmeasured
    return run.record.origin != "paper" and not refused and not run.lost_items(column.section)
