"""Boards as one static web page: ranked tables, what they mean, and renders beside the truth, all in one file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from nfbench.harness.errors import NfbenchError
from nfbench.harness.record import write_text
from nfbench.leaderboards.board import Board
from nfbench.leaderboards.column import Column
from nfbench.leaderboards.facts import build_facts
from nfbench.leaderboards.gallery import galleries
from nfbench.leaderboards.notes import caption, notes
from nfbench.leaderboards.row import Row
from nfbench.leaderboards.wording import (
    ABSENT,
    ARROWS,
    PENALISED,
    count,
    duration,
    exact,
    losses,
    memory,
    number,
    origin,
    penalty,
    title,
)

TEMPLATES = Path(__file__).parent / "templates"
_LEARN = ("Learn", "once")
_COSTS = (("Fit", "a scene"), ("Predict", "a scene"), _LEARN, ("Memory", "peak"), ("Parameters", ""))


@dataclass(frozen=True)
class Cell:
    """A cell of the table: what is shown, what it is sorted by, a second line, and whether it is the best.

    `penalised` is one more line where something is lost, and `hint` explains that line.
    """

    text: str
    order: str = ""
    detail: str = ""
    best: bool = False
    penalised: str = ""
    hint: str = ""


def write_page(boards: Sequence[Board], path: Path, heading: str = "Leaderboard") -> Path:
    """Write the boards as one HTML file that needs no network and no JavaScript; its path.

    Args:
        boards: what to show, one after the other.
        path: the file; `index.html` inside it when it is a folder.
        heading: the title of the page.

    Raises:
        NfbenchError: the file cannot be written.
    """
    path = path / "index.html" if path.is_dir() else path
    text = page(boards, heading)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise NfbenchError(f"{path} cannot be written: {error.strerror}.", "Choose another --output.") from error
    return path


def page(boards: Sequence[Board], heading: str = "Leaderboard") -> str:
    """The HTML of the page."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    newest = max((run.record.created for board in boards for row in board.rows for run in row.runs), default="")
    template = environment.get_template("board.html.jinja")
    return template.render(heading=heading, newest=newest[:10], boards=[_section(board) for board in boards])


def _section(board: Board) -> dict[str, Any]:
    columns = board.shown_columns()
    pictures, more = galleries(board)
    learned = any(row.cost.learn_seconds for row in board.rows)
    return {
        "task": board.task,
        "caption": caption(board),
        "protocol": board.protocol,
        "summary": board.summary,
        "source": board.source,
        "primary": board.primary,
        "columns": [_head(column, board.primary) for column in columns],
        "costs": [head for head in _COSTS if learned or head != _LEARN],
        "rows": [_line(row, columns, learned) for row in board.rows],
        "notes": notes(board, "The small range below a score is"),
        "facts": build_facts(board),
        "galleries": pictures,
        "more": more,
    }


def _head(column: Column, primary: str) -> dict[str, Any]:
    return {
        "title": title(column.name),
        "unit": "" if column.unit == "1" else column.unit,
        "arrow": ARROWS[column.better],
        "better": column.better,
        "summary": column.summary,
        "ranks": column.name == primary,
    }


def _line(row: Row, columns: Sequence[Column], learned: bool) -> dict[str, Any]:
    cost = row.cost
    costs = [
        Cell(duration(cost.fit_seconds), _sortable(cost.fit_seconds), cost.device),
        Cell(duration(cost.predict_seconds), _sortable(cost.predict_seconds)),
        *([Cell(duration(cost.learn_seconds or None), _sortable(cost.learn_seconds or None))] if learned else []),
        Cell(memory(cost.peak_memory_bytes), _sortable(cost.peak_memory_bytes)),
        Cell(count(cost.parameters), _sortable(cost.parameters)),
    ]
    return {
        "rank": ABSENT if row.rank is None else str(row.rank),
        "ranked": row.rank is not None,
        "label": row.label,
        "origin": origin(row),
        "scores": [_score(row, column) for column in columns],
        "coverage": Cell(f"{row.measured}/{row.expected}", str(row.coverage)),
        "partial": row.measured < row.expected,
        "seeds": " ".join(map(str, row.seeds)),
        "failures": len(row.failures),
        "costs": costs,
    }


def _score(row: Row, column: Column) -> Cell:
    value = row.values.get(column.name)
    if value is None:
        return Cell(ABSENT)
    detail = ""
    if value.interval is not None:
        low, high = (number(end, value.unit) for end in value.interval)
        detail = f"{low} to {high}"
    shown = Cell(number(value.mean, value.unit), _sortable(value.mean), detail, column.name in row.best)
    if not value.shows_penalised:
        return shown
    hint = f"{losses(value, len(row.seeds))}; penalised: each counts as {penalty(value)}"
    return replace(shown, penalised=f"{PENALISED} {number(value.penalised, value.unit)}", hint=hint)


def _sortable(value: float | None) -> str:
    """The number as JavaScript reads it, empty for none."""
    found = exact(value)
    return "" if found is None else str(found)
