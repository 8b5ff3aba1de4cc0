"""Boards as text, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from nfbench.harness.errors import NotFound, did_you_mean
from nfbench.leaderboards.board import Board
from nfbench.leaderboards.notes import caption, notes
from nfbench.leaderboards.row import Row
from nfbench.leaderboards.value import Value
from nfbench.leaderboards.wording import ABSENT, PENALISED, duration, exact, heading, number, origin

_TAIL = f" ({PENALISED} "
_LEFT = (1, 2)  # method and origin; numbers go to the right
_LOSSES = ("penalised", "runs", "runs_lost", "items", "items_lost")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", "∞": r"$\infty$", "−": "$-$", "—": "---",
}  # fmt: skip
_MARKDOWN = re.compile(r"([\\`*_\[\]<>|])")


def render(boards: Sequence[Board], form: str) -> str:
    """The boards as one string in `form`, one after the other.

    Args:
        boards: what to show.
        form: `text`, `markdown`, `latex` (needs booktabs), `csv` (one header; columns that a board lacks are empty) or
            `json` (a list of rows). The last two hold full precision; infinities are the string `Infinity`.

    Raises:
        NotFound: no such form.
    """
    forms: dict[str, Callable[[Sequence[Board]], str]] = {
        "text": lambda boards: "\n".join(map(_text, boards)),
        "markdown": lambda boards: "\n".join(map(_markdown, boards)),
        "latex": lambda boards: "\n".join(map(_latex, boards)),
        "csv": _csv,
        "json": _json,
    }
    if form not in forms:
        raise NotFound(f"There is no table form {form!r}.", did_you_mean(form, forms, "forms"))
    return forms[form](boards)


def _cells(board: Board, mark: Callable[[str], str], escape: Callable[[str], str]) -> list[list[str]]:
    """Header and rows of cells, already escaped by `escape`; `mark` sets off the best of a column."""
    columns = board.shown_columns()
    head = ["#", "method", "origin", *map(heading, columns), "coverage", "seeds", "fit", "predict"]
    table = [[escape(cell) for cell in head]]
    for row in board.rows:
        first = [ABSENT if row.rank is None else str(row.rank), row.label, origin(row)]
        scores = []
        for column in columns:
            value = row.values.get(column.name)
            text = escape(_score(value, column.name == board.primary))
            scores.append((mark(text) if column.name in row.best else text) + escape(_penalised(value)))
        times = [duration(row.cost.fit_seconds), duration(row.cost.predict_seconds)]
        last = [f"{row.measured}/{row.expected}", " ".join(map(str, row.seeds)), *times]
        table.append([*map(escape, first), *scores, *map(escape, last)])
    return table


def _score(value: Value | None, with_interval: bool) -> str:
    if value is None:
        return ABSENT
    text = number(value.mean, value.unit)
    if with_interval and value.interval is not None:
        text += f" ±{number((value.interval[1] - value.interval[0]) / 2, value.unit)}"
    return text


def _penalised(value: Value | None) -> str:
    """What follows the mean of a column that has lost something."""
    if value is None or not value.shows_penalised:
        return ""
    return f"{_TAIL}{number(value.penalised, value.unit)})"


def _aligned(cells: Sequence[str]) -> list[str]:
    """The cells of a column with the ends of their numbers below each other, whatever follows some of them."""
    parts = [re.fullmatch(rf"(.*?)(\*?(?:{re.escape(_TAIL)}.*)?)", cell) for cell in cells]
    tails = [part[2] if part else "" for part in parts]
    width = max(map(len, tails))
    return [cell + " " * (width - len(tail)) for cell, tail in zip(cells, tails, strict=True)]


def _text(board: Board) -> str:
    table = _cells(board, lambda cell: f"{cell}*", str)
    columns = [list(c) if i in _LEFT else _aligned(c) for i, c in enumerate(zip(*table, strict=True))]
    table = [list(cells) for cells in zip(*columns, strict=True)]
    widths = [max(map(len, column)) for column in columns]
    lines = [f"{board.task}: {caption(board)}", ""]
    for cells in table:
        padded = [c.ljust(w) if i in _LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
        lines.append("  ".join(padded).rstrip())
        if cells is table[0]:
            lines.append("  ".join("-" * width for width in widths))
    best = ["* best of the ranked rows."] if any(row.best for row in board.rows) else []
    return "\n".join([*lines, "", *(f"  {note}" for note in [*best, *notes(board)]), ""])


def _markdown(board: Board) -> str:
    def escape(text: str) -> str:
        return _MARKDOWN.sub(r"\\\1", text)

    head, *rows = _cells(board, lambda cell: f"**{cell}**", escape)
    rule = [":---" if i in _LEFT else "---:" for i in range(len(head))]
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, rule, *rows)]
    footer = [f"- {escape(note)}" for note in notes(board)]
    parts = [f"### {escape(board.task)}", "", escape(caption(board)), "", *lines, ""]
    return "\n".join(parts + ([*footer, ""] if footer else []))


def escape_latex(text: str) -> str:
    """The text with everything that LaTeX would take as a command made harmless.

    >>> escape_latex("a_b & 50 %")
    'a\\\\_b \\\\& 50 \\\\%'
    """
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _latex(board: Board) -> str:
    head, *rows = _cells(board, lambda cell: rf"\textbf{{{cell}}}", escape_latex)
    kinds = "".join("l" if i in _LEFT else "r" for i in range(len(head)))
    lines = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", " & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join(cells) + r" \\" for cells in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    about = [f"% {line}" for text in (f"{board.task}: {caption(board)}", *notes(board)) for line in text.splitlines()]
    return "\n".join([*about, *lines, ""])


def _csv(boards: Sequence[Board]) -> str:
    names = list(dict.fromkeys(column.name for board in boards for column in board.columns))
    rows = [_flat(board, row) for board in boards for row in board.rows]
    scores = [name + end for name in names for end in ("", "_low", "_high", *(f"_{count}" for count in _LOSSES))]
    first = list(_identity(boards[0], boards[0].rows[0])) if rows else []
    last = list(_costs(boards[0].rows[0])) if rows else []
    sink = io.StringIO()
    writer = csv.DictWriter(sink, [*first, *scores, *last], restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue()


def _flat(board: Board, row: Row) -> dict[str, Any]:
    flat = _identity(board, row) | _costs(row)
    flat["seeds"] = " ".join(map(str, row.seeds))
    flat["failures"] = len(row.failures)
    for name, value in row.values.items():
        low, high = value.interval or (None, None)
        flat |= {name: exact(value.mean), f"{name}_low": exact(low), f"{name}_high": exact(high)}
        flat |= {f"{name}_{loss}": found for loss, found in _losses(value).items()}
    return flat


def _json(boards: Sequence[Board]) -> str:
    rows = []
    for board in boards:
        for row in board.rows:
            scores = {name: _json_score(value) for name, value in row.values.items()}
            rows.append(_identity(board, row) | {"scores": scores, "cost": _costs(row)})
    return json.dumps(rows, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _identity(board: Board, row: Row) -> dict[str, Any]:
    return {
        "rank": row.rank,
        "method": row.name,
        "label": row.label,
        "preset": row.preset,
        "budget": row.budget,
        "hash": row.hash,
        "task": board.task,
        "task_version": board.version,
        "protocol": board.protocol,
        "primary": board.primary,
        "origin": row.origin,
        "floor": row.floor,
        "coverage": row.coverage,
        "measured": row.measured,
        "expected": row.expected,
        "seeds": row.seeds,
        "failures": row.failures,
    }


def _json_score(value: Value) -> dict[str, Any]:
    return {
        "mean": exact(value.mean),
        "unit": value.unit,
        "better": value.better,
        "interval": None if value.interval is None else [exact(end) for end in value.interval],
        "interval_over": value.over or None,
        "scenes": {scene: exact(mean) for scene, mean in value.scenes.items()},
        "complete": value.complete,
        "penalty": exact(value.penalty),
        **_losses(value),
    }


def _losses(value: Value) -> dict[str, Any]:
    """The penalised mean and what it counts, by the names of `_LOSSES`."""
    return {name: exact(value.penalised) if name == "penalised" else getattr(value, name) for name in _LOSSES}


def _costs(row: Row) -> dict[str, Any]:
    cost = row.cost
    return {
        "fit_seconds": cost.fit_seconds,
        "learn_seconds": cost.learn_seconds,
        "predict_seconds": cost.predict_seconds,
        "peak_memory_bytes": cost.peak_memory_bytes,
        "parameters": cost.parameters,
        "device": cost.device or None,
    }
