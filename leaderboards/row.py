"""Row: one method with one config on a board, built from its runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from nfbench.leaderboards.column import Column, wanted_scenes
from nfbench.leaderboards.run import Run
from nfbench.leaderboards.statistics import Item, mean
from nfbench.leaderboards.value import Value, build_value

_NAMED = 3  # how many of many names a gap spells out


@dataclass(frozen=True)
class RowCost:
    """What a row's runs cost: mean seconds of the runs that went well, the highest memory and parameter count.

    None where it is not known; a submitted or published row need not tell.
    """

    fit_seconds: float | None = None
    learn_seconds: float | None = None
    predict_seconds: float | None = None
    peak_memory_bytes: int | None = None
    parameters: int | None = None
    device: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """One method with one config: all its scenes and seeds.

    Attributes:
        rank: 1 for the best; ties share a rank; None for a row that is incomplete or lacks the primary column.
        label: name, preset and budget, and the hash where two rows of the board would read the same.
        origin: `run`, `paper` or `submitted`.
        floor: whether it is a trivial answer that every real method must beat.
        measured: items that were measured.
        expected: items of all scenes of the task, for each of the row's seeds.
        failures: one message a failed run.
        gaps: what else is missing of the expected, in words.
        unsupported: `image`, `surface`: what the method cannot give; no failure.
        unmeasured: column to the reason why it was not measured.
        values: column to value; absent where the row has neither scores nor a penalty.
        best: columns in which no ranked row is better.
    """

    name: str
    preset: str
    budget: str
    hash: str
    origin: str
    floor: bool
    seeds: list[int]
    measured: int
    expected: int
    failures: list[str]
    gaps: list[str]
    unsupported: list[str]
    unmeasured: dict[str, str]
    values: dict[str, Value]
    cost: RowCost
    runs: list[Run] = field(repr=False)
    rank: int | None = None
    label: str = ""
    best: frozenset[str] = frozenset()

    @property
    def coverage(self) -> float:
        """The part of the expected items that was measured, in [0,1]."""
        return self.measured / self.expected if self.expected else 0.0

    def items(self, column: str) -> dict[Item, float]:
        """(scene, item) to the mean over seeds, for the items of a column."""
        found: dict[Item, list[float]] = {}
        for run in self.runs:
            for item, value in run.items.get(column, {}).items():
                found.setdefault((run.record.scene, item), []).append(value)
        return {key: mean(values) for key, values in found.items()}


def build_rows(runs: Sequence[Run], scenes: Sequence[str], columns: Sequence[Column], primary: str) -> list[Row]:
    """One Row for each method, config and origin, unranked and without labels, in the order of the runs.

    Args:
        runs: all runs of the board, at most one for each row, scene and seed.
        scenes: all test scenes of the task.
        columns: those that rows may have values in.
        primary: the name of the column that ranks.
    """
    known: dict[tuple[str, ...], int] = {}
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        record = run.record
        key = (record.scene, *sorted(record.unsupported))
        known[key] = max(known.get(key, 0), run.expected)
        groups.setdefault((record.method.name, record.method.hash, record.origin), []).append(run)
    first = next((column for column in columns if column.name == primary), None)
    wanted = {column: wanted_scenes(column, runs, scenes, first) for column in columns}
    return [_row(group, scenes, wanted, known) for group in groups.values()]


def _row(
    runs: list[Run],
    scenes: Sequence[str],
    wanted: Mapping[Column, Sequence[str]],
    known: Mapping[tuple[str, ...], int],
) -> Row:
    method = runs[0].record.method
    seeds = sorted({run.record.seed for run in runs})
    measured, expected = _count_items(runs, scenes, seeds, known)
    values = {column.name: build_value(column, runs, scenes, seeds, there) for column, there in wanted.items()}
    return Row(
        name=method.name,
        preset=method.preset,
        budget=method.budget,
        hash=method.hash,
        origin=runs[0].record.origin,
        floor=method.origin == "floor",
        seeds=seeds,
        measured=measured,
        expected=expected,
        failures=[_failure(run) for run in runs if run.record.status == "failed"],
        gaps=_gaps(runs, scenes, seeds),
        unsupported=sorted({section for run in runs for section in run.record.unsupported}),
        unmeasured={name: reason for run in runs for name, reason in run.record.unmeasured.items()},
        values={name: value for name, value in values.items() if value is not None},
        cost=_cost(runs),
        runs=runs,
    )


def _count_items(
    runs: Iterable[Run], scenes: Sequence[str], seeds: Sequence[int], known: Mapping[tuple[str, ...], int]
) -> tuple[int, int]:
    """Items measured and items expected over all scenes and seeds.

    What a scene without a good record expects is taken from another seed of the row, else from a row with the same
    abilities, else from the row's largest scene.
    """
    at = {(run.record.scene, run.record.seed): run for run in runs}
    own: dict[str, int] = {}
    for (scene, _), run in at.items():
        own[scene] = max(own.get(scene, 0), run.expected)
    abilities = sorted({section for run in at.values() for section in run.record.unsupported})
    largest = max([1, *own.values()])
    expected = 0
    for scene in scenes:
        likely = own.get(scene) or known.get((scene, *abilities)) or largest
        for seed in seeds:
            found = at.get((scene, seed))
            expected += (found.expected if found else 0) or likely
    return sum(run.measured for run in at.values()), expected


def _failure(run: Run) -> str:
    error = run.record.error
    what = f"{error.type}: {error.message}" if error else "no error recorded"
    return f"{_place(run)}: {what}"


def _gaps(runs: Sequence[Run], scenes: Sequence[str], seeds: Sequence[int]) -> list[str]:
    """What is missing though no run failed: records, items of good runs, runs that the method does not support."""
    there = {(run.record.scene, run.record.seed) for run in runs}
    absent = [f"scene {scene}, seed {seed}" for scene in scenes for seed in seeds if (scene, seed) not in there]
    gaps = [f"no record of {_some(absent)}"] if absent else []
    for run in runs:
        record = run.record
        if run.good and record.missing:
            part = f"{len(record.missing)} of {run.expected}"
            gaps.append(f"{_place(run)}: {part} items missing: {_some(record.missing)}")
        for item, reason in record.failed.items() if run.good else ():
            gaps.append(f"{_place(run)}: {item} failed: {reason}")
        if record.status == "unsupported":
            reason = record.error.message if record.error else "the method cannot give what the protocol measures"
            gaps.append(f"{_place(run)}: not supported: {reason}")
    return gaps


def _place(run: Run) -> str:
    return f"scene {run.record.scene}, seed {run.record.seed}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return "; ".join(names[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _cost(runs: Sequence[Run]) -> RowCost:
    costs = [run.record.cost for run in runs if run.good]
    if not costs:
        return RowCost()
    ran = runs[0].record.origin == "run"

    def seconds(name: str) -> float | None:
        average = mean([getattr(cost, name) for cost in costs])
        return average if ran or average else None

    return RowCost(
        fit_seconds=seconds("fit_seconds"),
        learn_seconds=seconds("learn_seconds"),
        predict_seconds=seconds("predict_seconds"),
        peak_memory_bytes=max(cost.peak_memory_bytes for cost in costs) or None,
        parameters=max((cost.parameters for cost in costs if cost.parameters is not None), default=None),
        device=", ".join(sorted({cost.device for cost in costs})) if ran else "",
    )
