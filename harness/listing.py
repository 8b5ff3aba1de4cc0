"""`nfbench list`: what there is by name, without importing any of it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from nfbench.harness.console import dumps
from nfbench.harness.errors import NotFound, did_you_mean
from nfbench.harness.metric import METRICS
from nfbench.harness.registry import registry

Row = dict[str, Any]


def methods() -> list[Row]:
    """Name, summary, needs, gives, presets, paper, origin of every method."""
    return [asdict(spec) for spec in registry().methods.values()]


def tasks() -> list[Row]:
    """Name, summary and protocol of every task."""
    return [asdict(spec) for spec in registry().tasks.values()]


def formats() -> list[Row]:
    """Name, summary and protocol of every on-disk format."""
    return [asdict(spec) for spec in registry().formats.values()]


def protocols() -> list[Row]:
    """Every protocol with its paragraph, source and columns."""
    from nfbench.harness.protocol import protocol

    found = []
    for name in sorted(registry().protocols):
        read = protocol(name)
        columns = {
            column: {"unit": read.unit(column), "better": read.metric(column).better, **choice.model_dump()}
            for column, choice in read.columns().items()
        }
        summary = " ".join(read.summary.split())
        found.append(
            {"name": name, "summary": summary, "source": read.source, "primary": read.primary, "columns": columns}
        )
    return found


def metrics() -> list[Row]:
    """Every metric with direction, unit and range."""
    return [asdict(metric) for metric in METRICS.values()]


KINDS: dict[str, Callable[[], list[Row]]] = {
    "methods": methods,
    "tasks": tasks,
    "formats": formats,
    "protocols": protocols,
    "metrics": metrics,
}


def text(what: str, as_json: bool) -> str:
    """One kind, or all of them, as text or JSON.

    Raises:
        NotFound: no such kind.
    """
    if what and what not in KINDS:
        raise NotFound(f"There is nothing called {what!r} to list.", did_you_mean(what, KINDS, "kinds"))
    chosen = {name: rows for name, rows in KINDS.items() if not what or name == what}
    if as_json:
        data = {name: rows() for name, rows in chosen.items()}
        return dumps(data[what] if what else data)
    return "\n\n".join("\n".join([name, *(_row(row) for row in rows())]) for name, rows in chosen.items())


def _row(row: Row) -> str:
    lines = [f"  {row['name']}", _wrap(str(row["summary"]))]
    for key in ("needs", "gives", "presets", "paper", "protocol", "source", "unit", "better"):
        value = row.get(key)
        if value:
            shown = ", ".join(value) if isinstance(value, tuple) else str(value)
            lines.append(_wrap(f"{key}: {shown}"))
    if isinstance(row.get("columns"), dict):
        columns = ", ".join(f"{c} [{v['unit']}, {v['better']} is better]" for c, v in row["columns"].items())
        lines.append(_wrap(f"columns: {columns}"))
    return "\n".join(lines)


def _wrap(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="      ", subsequent_indent="        ")
