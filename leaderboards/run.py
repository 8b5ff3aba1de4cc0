"""Run: one Record with the folder it lies in and its items, as read from the store."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nfbench.harness.errors import DataMissing, RecordInvalid
from nfbench.harness.record import FILE, SCORES, Record, find_records, read_record
from nfbench.leaderboards.statistics import mean

if TYPE_CHECKING:
    import duckdb

MESH = "mesh.ply"
"""The item that is the predicted surface; every other item is a view."""
Items = dict[str, dict[str, float]]
"""Column to item to value."""


@dataclass(frozen=True, eq=False)
class Run:
    """One record, the folder it lies in, and its items."""

    folder: Path
    record: Record
    items: Items

    @property
    def good(self) -> bool:
        """Whether the run went well, so that its scores count."""
        return self.record.status == "ok"

    @property
    def expected(self) -> int:
        """The items that the record wants; a published record wants what it has, one item at least."""
        return self.record.expected or max((score.count for score in self.record.scores.values()), default=0)

    def lost_items(self, section: str) -> list[str]:
        """The items of `image` or `surface` that are missing or failed."""
        lost = dict.fromkeys([*self.record.missing, *self.record.failed])
        return [item for item in lost if (item == MESH) == (section == "surface")]

    @property
    def measured(self) -> int:
        """The items that were measured, none in a run that did not go well."""
        return max(0, self.expected - len(self.record.missing) - len(self.record.failed)) if self.good else 0


def read_records(runs: Path) -> tuple[list[tuple[Path, Record]], dict[Path, str]]:
    """Every record under `runs` with its folder, and for each folder whose record cannot be read why not.

    Raises:
        DataMissing: there are no records.
        RecordInvalid: there are records, and none can be read.
    """
    records: list[tuple[Path, Record]] = []
    broken: dict[Path, str] = {}
    for folder in find_records(runs):
        try:
            records.append((folder, read_record(folder)))
        except RecordInvalid as error:
            broken[folder] = error.message
    if not records and not broken:
        raise DataMissing(f"There are no records under {runs}.", "Make some: nfbench run METHOD TASK.")
    if not records:
        raise RecordInvalid(
            f"None of the {len(broken)} records under {runs} can be read. {next(iter(broken.values()))}",
            "Delete their folders and run again.",
        )
    return records, broken


def read_runs(records: Sequence[tuple[Path, Record]]) -> tuple[list[Run], list[str]]:
    """The records, each with its folder, as runs with their items; and what could not be read."""
    items, problems = _read_items([folder for folder, _ in records])
    return [Run(folder, record, items.get(folder, {})) for folder, record in records], problems


def _read_items(folders: Sequence[Path]) -> tuple[dict[Path, Items], list[str]]:
    """The items of every run folder that has scores, in one query, and what could not be read."""
    import duckdb

    files = [folder / SCORES for folder in folders if (folder / SCORES).is_file()]
    found: dict[Path, Items] = {}
    problems: list[str] = []
    pending = [files] if files else []
    with duckdb.connect() as connection:
        while pending:
            part = pending.pop()
            try:
                rows = _query(connection, part)
            except duckdb.Error as error:
                if len(part) == 1:
                    problems.append(f"{part[0]} cannot be read: {str(error).splitlines()[0]}.")
                else:  # halve until the broken file stands alone
                    middle = len(part) // 2
                    pending += [part[middle:], part[:middle]]
                continue
            for name, column, item, value in rows:
                found.setdefault(Path(name).parent, {}).setdefault(column, {})[item] = value
    return found, problems


def _query(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> list[tuple[str, str, str, float]]:
    """File, column, item and value of every line of the files."""
    return connection.execute(
        "SELECT filename, metric, item, value FROM read_parquet(?, filename = true, hive_partitioning = false)",
        [[glob.escape(str(file)) for file in files]],
    ).fetchall()


def newest(runs: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """One run for each method, config, origin, scene and seed: the newest; and a message for every other."""
    kept: dict[tuple[str, str, str, str, int], Run] = {}
    problems = []
    for run in sorted(runs, key=lambda run: (run.record.created, run.folder), reverse=True):
        record = run.record
        key = (record.method.name, record.method.hash, record.origin, record.scene, record.seed)
        if key in kept:
            problems.append(f"{run.folder} is an older run of what {kept[key].folder} holds; it is not counted.")
        kept.setdefault(key, run)
    return sorted(kept.values(), key=lambda run: run.folder), problems


def disagreements(run: Run) -> list[str]:
    """Messages where the mean in record.json is not the mean of the items in scores.parquet."""
    record = run.record
    if record.origin == "paper" or not run.good:
        return []
    problems = []
    for column, score in record.scores.items():
        values = list(run.items.get(column, {}).values())
        again = mean(values)
        if math.isnan(score.mean):
            problems.append(f"{run.folder / FILE}: {column} is not a number; it is not counted.")
        elif values and not math.isclose(score.mean, again, rel_tol=1e-6, abs_tol=1e-9):
            problems.append(f"{run.folder}: {FILE} has {column} {score.mean:g}, the items' mean is {again:g}.")
        elif not values:
            problems.append(f"{run.folder / SCORES} has no items of {column}.")
    return problems
