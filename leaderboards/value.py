"""Value: one column of one row, over what is valid and with the penalty for what is lost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nfbench.leaderboards.column import Column
from nfbench.leaderboards.run import Run
from nfbench.leaderboards.statistics import Better, Interval, bootstrap_interval, mean, t_interval

Place = tuple[str, int]
"""Scene and seed."""


@dataclass(frozen=True, eq=False)
class Value:
    """One column of one row.

    Attributes:
        mean: over scenes of the mean over seeds of the mean over items, of all that is valid; NaN where nothing is.
        unit: of the mean.
        better: `higher` or `lower`.
        interval: 95 % interval of the mean, where it can be told.
        over: what the interval is over: `scenes` or `seeds` (Student's t) or `items` (bootstrap); empty without one.
        scenes: scene to the mean over seeds.
        complete: whether every scene and seed of the row has it.
        penalised: the mean in which a failed or absent run, and every lost item of another, counts as `penalty`; None
            where no penalty is declared or the column could not be measured in some run.
        penalty: what a lost item counts as.
        runs: runs, one a scene and seed, that ought to have it.
        runs_lost: those of them that failed, are absent, or lost all their items.
        items: items of the other runs.
        items_lost: those of them that are missing or failed.
    """

    mean: float
    unit: str
    better: Better
    interval: Interval | None
    over: str
    scenes: dict[str, float]
    complete: bool
    penalised: float | None
    penalty: float | None
    runs: int
    runs_lost: int
    items: int
    items_lost: int

    @property
    def lossy(self) -> bool:
        """Whether some run or item is lost, so that `mean` is over a part only."""
        return self.runs_lost > 0 or self.items_lost > 0

    @property
    def shows_penalised(self) -> bool:
        """Whether a reader must see the penalised mean beside the mean."""
        return self.lossy and self.penalised is not None


def build_value(
    column: Column, runs: Sequence[Run], scenes: Sequence[str], seeds: Sequence[int], wanted: Sequence[str]
) -> Value | None:
    """The value of a column in the row that the runs make; None where no run has it and no penalty counts for it.

    Args:
        column: the column.
        runs: of one row, at most one for each scene and seed.
        scenes: all test scenes of the task.
        seeds: of the row.
        wanted: the scenes in which the column is to be had.
    """
    valid = {_place(run): run for run in runs if _is_valid(run, column)}
    lost = _lost(column, runs, wanted, seeds)
    penalty = _penalty(column, runs)
    if not valid and (penalty is None or not lost):
        return None
    scores = {place: run.record.scores[column.name] for place, run in valid.items()}
    means = _by_scene({place: score.mean for place, score in scores.items()}, scenes)
    interval, over = _interval(column, list(valid.values()), means)
    first = next(iter(scores.values()), column)
    lost_items = [_lost_items(run, column) for run in valid.values()]
    return Value(
        mean=_mean(means),
        unit=first.unit,
        better=first.better,
        interval=interval,
        over=over if interval else "",
        scenes={scene: mean(values) for scene, values in means.items()},
        complete=all((scene, seed) in valid for scene in scenes for seed in seeds),
        penalised=None if penalty is None else _penalised(column, valid, lost, penalty, scenes),
        penalty=penalty,
        runs=len(valid) + len(lost),
        runs_lost=len(lost),
        items=sum(score.count for score in scores.values()) + sum(lost_items),
        items_lost=sum(lost_items),
    )


def _place(run: Run) -> Place:
    return run.record.scene, run.record.seed


def _is_valid(run: Run, column: Column) -> bool:
    score = run.record.scores.get(column.name)
    return run.good and score is not None and not math.isnan(score.mean)


def _penalty(column: Column, runs: Sequence[Run]) -> float | None:
    """What a lost item counts as; None where that is not declared, or a run could not measure the column at all."""
    if any(column.name in run.record.unmeasured for run in runs):
        return None
    return next((r.record.penalties[column.name] for r in runs if column.name in r.record.penalties), None)


def _lost(column: Column, runs: Sequence[Run], wanted: Sequence[str], seeds: Sequence[int]) -> list[Place]:
    """Where the column is wanted and the row has lost it; nowhere for a method that cannot give it."""
    good = [run for run in runs if run.good]
    able = [run for run in good if column.section not in run.record.unsupported]
    if not able and (good or not any(run.record.status == "failed" for run in runs)):
        return []
    at = {_place(run): run for run in runs}
    return [(scene, seed) for scene in wanted for seed in seeds if _is_lost(at.get((scene, seed)), column)]


def _is_lost(run: Run | None, column: Column) -> bool:
    """Whether a run failed, is absent, or is good and has lost every item of the column."""
    if run is None or not run.good:
        return run is None or run.record.status == "failed"
    if column.section in run.record.unsupported or column.name in run.record.unmeasured or _is_valid(run, column):
        return False
    return column.name in run.record.scores or bool(run.lost_items(column.section))


def _lost_items(run: Run, column: Column) -> int:
    """Items of the column that a run lost; a record that declares no penalties need not have counted them."""
    score = run.record.scores[column.name]
    return score.lost if score.penalised is not None else max(score.lost, len(run.lost_items(column.section)))


def _penalised(
    column: Column, valid: dict[Place, Run], lost: Sequence[Place], penalty: float, scenes: Sequence[str]
) -> float | None:
    values = dict.fromkeys(lost, penalty)
    for place, run in valid.items():
        score = run.record.scores[column.name]
        if score.penalised is None and _lost_items(run, column):
            return None
        values[place] = score.mean if score.penalised is None else score.penalised
    return _mean(_by_scene(values, scenes))


def _by_scene(values: dict[Place, float], scenes: Sequence[str]) -> dict[str, list[float]]:
    """Scene to its values, one a seed, in the order of the scenes; only scenes that have some."""
    found: dict[str, list[float]] = {scene: [] for scene in scenes}
    for (scene, _), value in values.items():
        found[scene].append(value)
    return {scene: kept for scene, kept in found.items() if kept}


def _mean(values: dict[str, list[float]]) -> float:
    """The mean over scenes of the mean over seeds."""
    return mean([mean(kept) for kept in values.values()])


def _interval(column: Column, valid: Sequence[Run], means: dict[str, list[float]]) -> tuple[Interval | None, str]:
    """The interval of the mean, and what it is over: scenes where there are two, else seeds, else items."""
    if len(means) >= 2:
        return t_interval([mean(values) for values in means.values()]), "scenes"
    seeds = next(iter(means.values()), [])
    if len(seeds) >= 2:
        return t_interval(seeds), "seeds"
    return bootstrap_interval(list(valid[0].items.get(column.name, {}).values()) if valid else []), "items"
