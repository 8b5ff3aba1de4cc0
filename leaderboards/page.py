"""Boards as one static web page: ranked tables, what they mean, and renders beside the truth, all in one file."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from nfbench.harness.errors import NfbenchError
from nfbench.harness.record import write_text
from nfbench.leaderboards.board import Board, Column
from nfbench.leaderboards.notes import caption, notes
from nfbench.leaderboards.row import Row, Value
from nfbench.leaderboards.run import Run
from nfbench.leaderboards.wording import ABSENT, ARROWS, count, duration, exact, memory, number, origin, title

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 200
"""Pixels of the widest picture."""
ITEMS = 4
"""Pictures of one scene and method."""
SCENES = 4
"""Scenes of one board that have pictures."""
METHODS = 12
"""Methods of one board that have pictures."""
_LEARN = ("Learn", "once")
_COSTS = (("Fit", "a scene"), ("Predict", "a scene"), _LEARN, ("Memory", "peak"), ("Parameters", ""))
_TALL = 2 * WIDTH
_QUALITY = 88  # JPEG, colour at full resolution
_MESH = "mesh.ply"


@dataclass(frozen=True)
class Cell:
    """A cell of the table: what is shown, what it is sorted by, a second line, and whether it is the best."""

    text: str
    order: str = ""
    detail: str = ""
    best: bool = False


@dataclass(frozen=True)
class Picture:
    """A picture and what is said about it; `source` is a data URI, empty where there is no picture."""

    alt: str
    source: str = ""
    error: str = ""
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """The pictures of one scene: `rows` of item name, truth, and one picture for each of `methods`."""

    scene: str
    methods: list[str]
    rows: list[tuple[str, Picture, list[Picture]]]
    more: str
    errors: bool


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
    galleries, more = _galleries(board)
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
        "galleries": galleries,
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
        "scores": [_score(row.values.get(column.name), column.name in row.best) for column in columns],
        "coverage": Cell(f"{row.measured}/{row.expected}", str(row.coverage)),
        "partial": row.measured < row.expected,
        "seeds": " ".join(map(str, row.seeds)),
        "failures": len(row.failures),
        "costs": costs,
    }


def _score(value: Value | None, best: bool) -> Cell:
    if value is None:
        return Cell(ABSENT)
    detail = ""
    if value.interval is not None:
        low, high = (number(end, value.unit) for end in value.interval)
        detail = f"{low} to {high}"
    return Cell(number(value.mean, value.unit), _sortable(value.mean), detail, best)


def _sortable(value: float | None) -> str:
    """The number as JavaScript reads it, empty for none."""
    found = exact(value)
    return "" if found is None else str(found)


def _galleries(board: Board) -> tuple[list[Gallery], str]:
    """The pictures of the first few scenes that have any, and what was left out, in words."""
    first: dict[str, list[tuple[Row, Run]]] = {scene: [] for scene in board.scenes}
    for row in board.rows:
        for scene in board.scenes:
            runs = [run for run in row.runs if run.record.scene == scene and (run.folder / "pictures").is_dir()]
            if runs:
                first[scene].append((row, min(runs, key=lambda run: run.record.seed)))
    shown = [(scene, runs) for scene, runs in first.items() if runs]
    galleries = [_gallery(board, scene, runs) for scene, runs in shown[:SCENES]]
    left = len(shown) - SCENES
    return galleries, f"{left} more scene{'s have' if left > 1 else ' has'} pictures." if left > 0 else ""


def _gallery(board: Board, scene: str, runs: Sequence[tuple[Row, Run]]) -> Gallery:
    names = sorted({name for _, run in runs for name in _picture_names(run.folder / "pictures")}, key=_natural)
    kept = names[:ITEMS]
    if _MESH in names[ITEMS:]:  # one surface says more than a fourth view
        kept[-1] = _MESH
    columns = runs[:METHODS]
    rows = []
    for name in kept:
        truths = (run.folder / "pictures" / "truth" / f"{name}.png" for _, run in runs)
        source = next(filter(None, map(thumbnail, truths)), "")
        truth = Picture(f"Truth, {_item(name)} of scene {scene}", source)
        rows.append((name, truth, [_picture(board, row, run, name) for row, run in columns]))
    left = [(len(names) - len(kept), "item"), (len(runs) - len(columns), "method")]
    more = [f"{n} more {what}{'s' if n > 1 else ''}" for n, what in left if n > 0]
    errors = any(picture.error for _, _, pictures in rows for picture in pictures)
    text = f"{' and '.join(more)} not shown." if more else ""
    return Gallery(scene, [row.label for row, _ in columns], rows, text, errors)


def _picture_names(folder: Path) -> list[str]:
    """The items that have a picture: files in the folder, or in folders where a view's name has a slash."""
    places = [file.relative_to(folder) for file in folder.rglob("*.png")]
    return [p.with_suffix("").as_posix() for p in places if len(p.parts) == 1 or p.parts[0] not in ("truth", "error")]


def _natural(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """A sorting key that puts r_10 after r_2, and the surface last."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]
    return name == _MESH, parts


def _item(name: str) -> str:
    return "the surface" if name == _MESH else f"view {name}"


def _picture(board: Board, row: Row, run: Run, name: str) -> Picture:
    value = next(
        (
            f"{title(c.name)} {number(run.items[c.name][name], c.unit)}" + (f" {c.unit}" if c.unit == "dB" else "")
            for c in sorted(board.columns, key=lambda c: c.name != board.primary)
            if name in run.items.get(c.name, {})
        ),
        "",
    )
    alt = f"{row.label}, {_item(name)} of scene {run.record.scene}" + (f", {value}" if value else "")
    folder = run.folder / "pictures"
    return Picture(alt, thumbnail(folder / f"{name}.png"), thumbnail(folder / "error" / f"{name}.png"), value)


def thumbnail(path: Path) -> str:
    """The picture as a data URI, at most 200 pixels wide, PNG or JPEG, whichever is smaller.

    Empty where there is no file, or none that can be read: the page then says so in its place.
    """
    try:
        with Image.open(path) as opened:
            opened.draft("RGB", (WIDTH, _TALL))
            image = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Pillow's ways of refusing a file
        return ""
    image.thumbnail((WIDTH, _TALL), Image.Resampling.LANCZOS)
    encoders: dict[str, Callable[[io.BytesIO], None]] = {
        "png": lambda sink: image.save(sink, "PNG", optimize=True),
        "jpeg": lambda sink: image.save(sink, "JPEG", quality=_QUALITY, subsampling=0, optimize=True),
    }
    data = {}
    for kind, encode in encoders.items():
        sink = io.BytesIO()
        encode(sink)
        data[kind] = sink.getvalue()
    kind = min(data, key=lambda kind: len(data[kind]))
    return f"data:image/{kind};base64,{base64.b64encode(data[kind]).decode()}"
