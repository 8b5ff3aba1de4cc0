"""Board: the Records of one task under one protocol, as ranked rows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nfbench.harness.errors import NfbenchError, NotFound, RecordInvalid, did_you_mean
from nfbench.harness.protocol import Protocol, protocol
from nfbench.harness.record import Record
from nfbench.leaderboards.column import Column, build_columns
from nfbench.leaderboards.row import Row, build_rows
from nfbench.leaderboards.run import Run, disagreements, newest, read_records, read_runs
from nfbench.leaderboards.statistics import Comparison, compare
from nfbench.leaderboards.value import Value

_TIE = 1e-9  # relative; means that differ by less differ by rounding


@dataclass(frozen=True, eq=False)
class Board:
    """The rows of one task and task version under one protocol, ranked ones first.

    Attributes:
        primary: the column that ranks.
        summary: what the protocol means; empty where the protocol is not registered here.
        source: the code or paper that the protocol follows.
        scenes: all test scenes of the task.
        problems: records and scores that could not be read, or do not agree.
    """

    task: str
    version: str
    protocol: str
    primary: str
    summary: str
    source: str
    scenes: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    problems: tuple[str, ...] = ()

    def shown_columns(self) -> list[Column]:
        """The columns that some row has a value in, and the one that ranks."""
        return [c for c in self.columns if c.name == self.primary or any(c.name in row.values for row in self.rows)]

    def lead(self) -> tuple[Row, Row, Comparison] | None:
        """The two best rows that are no floors, and their paired comparison on the primary column, if it can be made.

        Rows that share the first rank are compared as well.
        """
        best = [row for row in self.rows if row.rank is not None and not row.floor][:2]
        if len(best) < 2:
            return None
        first, second = best
        found = compare(first.items(self.primary), second.items(self.primary), first.values[self.primary].better)
        return None if found is None else (first, second, found)


def read_boards(runs: Path, task: str | None = None) -> list[Board]:
    """One Board for each task, task version and protocol that has records under `runs`, by name.

    Args:
        runs: the folder of all runs.
        task: only the boards of this task, and of tasks whose names continue it after `/` or `+`.

    A record that cannot be read is a problem of the boards of its task, or of all boards where the path does not tell.

    Raises:
        DataMissing: there are no records.
        NotFound: there are records, and none of `task`.
        RecordInvalid: there are records, and none can be read.
    """
    records, broken = read_records(runs)
    groups: dict[tuple[str, str, str], list[tuple[Path, Record]]] = {}
    for folder, record in records:
        groups.setdefault((record.task.name, record.protocol, record.task.version), []).append((folder, record))
    tasks = {key[0] for key in groups}
    chosen = [key for key in sorted(groups) if task is None or _matches(key[0], task)]
    if task is not None and not chosen:
        unread = [text for folder, text in broken.items() if _matches(folder.relative_to(runs).as_posix(), task)]
        if unread:
            raise RecordInvalid(f"No record of task {task!r} can be read. {unread[0]}", "Delete it and run again.")
        raise NotFound(f"There are no records of task {task!r} under {runs}.", did_you_mean(task, tasks, "tasks"))
    boards = []
    for key in chosen:
        group, problems = read_runs(groups[key])
        boards.append(_board(group, [*_broken_of(runs, key[0], tasks, broken), *problems]))
    return boards


def _matches(name: str, task: str) -> bool:
    return name == task or name.startswith((f"{task.rstrip('/')}/", f"{task.rstrip('+')}+"))


def _broken_of(runs: Path, task: str, tasks: Iterable[str], broken: Mapping[Path, str]) -> list[str]:
    """The messages of broken records in the task's own folder, and of those in the folder of no known task."""
    found = []
    for folder, text in broken.items():
        place = folder.relative_to(runs).as_posix()
        owners = [name for name in tasks if place.startswith(f"{name}/")]
        if task in owners or not owners:
            found.append(text)
    return found


def _board(runs: Sequence[Run], problems: Sequence[str]) -> Board:
    first = runs[0].record
    shown, trouble = _protocol(first.protocol)
    runs, doubles = newest(runs)
    wrong = [text for run in runs for text in disagreements(run)]
    scenes = tuple(dict.fromkeys(name for run in runs for name in (*run.record.task.scenes, run.record.scene)))
    columns = build_columns(shown, runs)
    rows = build_rows(runs, scenes, columns, first.primary)
    return Board(
        task=first.task.name,
        version=first.task.version,
        protocol=first.protocol,
        primary=first.primary,
        summary=" ".join(shown.summary.split()) if shown else "",
        source=shown.source if shown else "",
        scenes=scenes,
        columns=columns,
        rows=_ranked(_labelled(rows), first.primary),
        problems=(*problems, *trouble, *doubles, *wrong),
    )


def _protocol(name: str) -> tuple[Protocol | None, list[str]]:
    try:
        return protocol(name), []
    except NotFound:
        return None, []
    except NfbenchError as error:
        return None, [error.message]


def _labelled(rows: Sequence[Row]) -> list[Row]:
    def plain(row: Row) -> str:
        details = ", ".join(filter(None, (row.preset, row.budget)))
        return f"{row.name} ({details})" if details else row.name

    labels = [plain(row) for row in rows]
    return [
        replace(row, label=label if labels.count(label) == 1 else f"{label} #{row.hash or row.origin}")
        for row, label in zip(rows, labels, strict=True)
    ]


def _ranked(rows: Sequence[Row], primary: str) -> tuple[Row, ...]:
    """The rows with ranks and best values: complete rows by the primary column, then the others by coverage."""

    def whole(row: Row) -> bool:
        value = row.values.get(primary)
        complete = 0 < row.expected == row.measured and value is not None and value.complete and not value.lossy
        return complete and not math.isnan(row.values[primary].mean)

    ranked = sorted(filter(whole, rows), key=lambda row: (_order(row.values[primary]), row.label))
    best: dict[str, float] = {}
    for row in ranked:
        for name, value in row.values.items():
            if value.complete and not value.lossy:
                best[name] = min(best.get(name, math.inf), _order(value))
    done: list[Row] = []
    for place, row in enumerate(ranked, start=1):
        tied = bool(done) and _same(_order(done[-1].values[primary]), _order(row.values[primary]))
        whole_values = {n: v for n, v in row.values.items() if v.complete and not v.lossy}
        flags = frozenset(n for n, v in whole_values.items() if _same(_order(v), best[n]))
        done.append(replace(row, rank=done[-1].rank if tied else place, best=flags))
    others = sorted((row for row in rows if not whole(row)), key=lambda row: (-row.coverage, row.label))
    return (*done, *others)


def _order(value: Value) -> float:
    """A number that is lower for the better value."""
    return value.mean if value.better == "lower" else -value.mean


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=_TIE)
