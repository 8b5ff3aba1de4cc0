"""The pictures of a board's page: a few renders of each scene beside the truth, small and inside the page."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from nfbench.leaderboards.board import Board
from nfbench.leaderboards.row import Row
from nfbench.leaderboards.run import MESH, Run
from nfbench.leaderboards.wording import number, title

WIDTH = 200
"""Pixels of the widest picture."""
ITEMS = 4
"""Pictures of one scene and method."""
SCENES = 4
"""Scenes of one board that have pictures."""
METHODS = 12
"""Methods of one board that have pictures."""
_TALL = 2 * WIDTH
_QUALITY = 88  # JPEG, colour at full resolution


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


def galleries(board: Board) -> tuple[list[Gallery], str]:
    """The pictures of the first few scenes that have any, and what was left out, in words."""
    first: dict[str, list[tuple[Row, Run]]] = {scene: [] for scene in board.scenes}
    for row in board.rows:
        for scene in board.scenes:
            runs = [run for run in row.runs if run.record.scene == scene and (run.folder / "pictures").is_dir()]
            if runs:
                first[scene].append((row, min(runs, key=lambda run: run.record.seed)))
    shown = [(scene, runs) for scene, runs in first.items() if runs]
    made = [_gallery(board, scene, runs) for scene, runs in shown[:SCENES]]
    left = len(shown) - SCENES
    return made, f"{left} more scene{'s have' if left > 1 else ' has'} pictures." if left > 0 else ""


def _gallery(board: Board, scene: str, runs: Sequence[tuple[Row, Run]]) -> Gallery:
    names = sorted({name for _, run in runs for name in _picture_names(run.folder / "pictures")}, key=_natural)
    kept = names[:ITEMS]
    if MESH in names[ITEMS:]:  # one surface says more than a fourth view
        kept[-1] = MESH
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
    return name == MESH, parts


def _item(name: str) -> str:
    return "the surface" if name == MESH else f"view {name}"


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
