"""What a person sees while nfbench works: a bar on a terminal, plain lines off it. Results go to standard output."""

from __future__ import annotations

import datetime
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nfbench.harness.watcher import Watcher

_EVERY = 15.0  # seconds between two plain lines of one stage


@contextmanager
def watching(quiet: bool) -> Iterator[Watcher]:
    """A Watcher that shows progress on standard error: a bar where that is a terminal, else a line now and then."""
    if quiet:
        yield Watcher()
    elif sys.stderr.isatty():
        with _bar() as watcher:
            yield watcher
    else:
        yield _plain()


def _plain() -> Watcher:
    last: dict[str, float] = {}
    first: dict[str, tuple[float, float]] = {}

    def progress(stage: str, fraction: float, numbers: Mapping[str, float]) -> None:
        now = time.perf_counter()
        began, at = first.setdefault(stage, (now, fraction))
        if now - last.setdefault(stage, now) >= _EVERY:
            last[stage] = now
            left = f", {remaining(now - began, fraction - at, 1 - fraction)} left," if at < fraction < 1 else ""
            print(f"{stage}: {fraction:4.0%}{left} {told(numbers)}".rstrip(" ,"), file=sys.stderr, flush=True)

    return Watcher(lambda text: print(text, file=sys.stderr, flush=True), progress)


@contextmanager
def _bar() -> Iterator[Watcher]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    ]
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        current: dict[str, int] = {}

        def progress(stage: str, fraction: float, numbers: Mapping[str, float]) -> None:
            if stage not in current:
                for task in current.values():
                    bars.remove_task(task)  # type: ignore[arg-type]  # rich's TaskID is an int
                current.clear()
                current[stage] = bars.add_task(stage, total=1.0, numbers="")
            bars.update(current[stage], completed=fraction, numbers=told(numbers))  # type: ignore[arg-type]

        yield Watcher(lambda text: bars.console.print(text, markup=False, highlight=False), progress)


def remaining(seconds: float, done: float, left: float) -> str:
    """How long it will take, as `1:23:45`, when a part `done` took `seconds` and a part `left` is to be done.

    >>> remaining(60, 0.25, 0.75)
    '0:03:00'
    """
    return str(datetime.timedelta(seconds=round(seconds / done * left)))


def told(numbers: Mapping[str, float]) -> str:
    """Numbers in one short line.

    >>> told({"loss": 0.01234, "psnr": 25.0})
    'loss 0.01234, psnr 25'
    """
    return ", ".join(f"{name} {value:.4g}" for name, value in numbers.items())


def dumps(data: Any) -> str:  # noqa: ANN401  # whatever json takes
    """JSON with infinities as the strings "Infinity" and "-Infinity", which JSON has no numbers for."""

    def finite(value: Any) -> Any:  # noqa: ANN401
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        if isinstance(value, float) and value in (float("inf"), float("-inf")):
            return "Infinity" if value > 0 else "-Infinity"
        return value

    return json.dumps(finite(data), indent=1, ensure_ascii=False, allow_nan=False)
