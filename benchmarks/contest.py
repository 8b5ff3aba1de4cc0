"""Contestants that compute the same, taking turns in one process, in CPU time."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

Contest = dict[str, Callable[[], ArrayLike]]  # the first is the reference

HEAD = "| what | by | first call, ms | ms | ratio | difference |\n|---|---|--:|--:|--:|--:|"


def heading() -> str:
    """Date, interpreter, and what the columns mean."""
    return (
        f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}. CPU time, the median of turns taken one after "
        "the other; the first call compiles, or loads what was compiled; the difference is the greatest from the "
        "first contestant.\n"
    )


def print_rows(what: str, contest: Contest, turns: int) -> None:
    """One row of Markdown a contestant."""
    first = {name: _milliseconds(run) for name, run in contest.items()}
    times: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(turns):
        for name, run in contest.items():
            times[name].append(_milliseconds(run))
    medians = {name: statistics.median(taken) for name, taken in times.items()}
    reference = next(iter(contest))
    values = np.asarray(contest[reference](), np.float64)
    for name, run in contest.items():
        ratio = medians[reference] / medians[name]
        difference = np.abs(np.asarray(run(), np.float64) - values).max()
        print(
            f"| {what} | {name} | {first[name]:.0f} | {medians[name]:.2f} | {ratio:.1f} | {difference:.0e} |",
            flush=True,
        )


def _milliseconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000
