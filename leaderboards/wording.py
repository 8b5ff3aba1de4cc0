"""How names, numbers, times and sizes are written for a reader, in tables and on the page."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from nfbench.leaderboards.column import Column
from nfbench.leaderboards.row import Row
from nfbench.leaderboards.value import Value

ABSENT = "—"
PENALISED = "pen."
"""Stands before a penalised mean."""
ARROWS = {"higher": "↑", "lower": "↓"}
_WORDS = {
    "psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "vgg": "VGG", "alex": "Alex",
    "iou": "IoU", "fscore": "F-score", "chamfer": "Chamfer", "l1": "L1",
}  # fmt: skip
_DECIMALS = {"dB": 2, "1": 4}
_DIGITS = 4  # significant ones, of lengths


def title(column: str) -> str:
    """A column's name for a reader.

    >>> title("lpips_vgg"), title("fscore@r0.01"), title("normal_consistency")
    ('LPIPS VGG', 'F-score@r0.01', 'normal consistency')
    """
    return re.sub(r"[a-z][a-z0-9]*", lambda word: _WORDS.get(word[0], word[0]), column.replace("_", " "))


def heading(column: Column) -> str:
    """Name, short unit and direction: `PSNR dB ↑`. The unit of a length, often a phrase, is left to the notes."""
    unit = f" {column.unit}" if column.unit in _DECIMALS and column.unit != "1" else ""
    return f"{title(column.name)}{unit} {ARROWS[column.better]}"


def is_length(unit: str) -> bool:
    """Whether a unit is one of length, often a phrase such as `longest edge of the bounding box`."""
    return unit not in _DECIMALS


def number(value: float | None, unit: str) -> str:
    """A value with the digits that its unit deserves: dB 2 decimals, plain numbers 4, lengths 4 significant digits.

    >>> number(31.005, "dB"), number(0.9471, "1"), number(0.0123, "scene unit"), number(None, "dB")
    ('31.00', '0.9471', '0.01230', '—')
    """
    if value is None or math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if unit in _DECIMALS:
        return f"{value:.{_DECIMALS[unit]}f}"
    return f"{value:#.{_DIGITS}g}".rstrip(".")


def duration(seconds: float | None) -> str:
    """Wall time in the unit that suits it.

    >>> duration(1e-5), duration(0.25), duration(42.4), duration(90), duration(7200), duration(None)
    ('< 0.01 s', '0.25 s', '42 s', '1.5 min', '2.0 h', '—')
    """
    if seconds is None:
        return ABSENT
    if 0 < seconds < 0.01:
        return "< 0.01 s"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def scaled(amount: int | None, step: int, units: Sequence[str]) -> str:
    """A whole number in the largest of `units` that it fills, each `step` times the one before.

    >>> scaled(593_924, 1000, ("", "k", "M", "G")), scaled(3 * 2**30, 1024, ("B", "KiB", "MiB", "GiB"))
    ('594 k', '3 GiB')
    """
    if amount is None:
        return ABSENT
    size, at = float(amount), 0
    while size >= step and at + 1 < len(units):
        size, at = size / step, at + 1
    return f"{size:.3g} {units[at]}".rstrip() if size < 1000 else f"{size:.0f} {units[at]}".rstrip()


def memory(size: int | None) -> str:
    """A number of bytes, in binary units."""
    return scaled(size, 1024, ("B", "KiB", "MiB", "GiB", "TiB"))


def count(amount: int | None) -> str:
    """A number of parameters, in thousands, millions or billions."""
    return scaled(amount, 1000, ("", "k", "M", "G"))


def penalty(value: Value) -> str:
    """What a lost item counts as, with the short unit: `0 dB`, `1.73205`."""
    amount = math.nan if value.penalty is None else value.penalty
    text = f"{amount:g}" if math.isfinite(amount) else number(amount, value.unit)
    return f"{text} {value.unit}" if value.unit in _DECIMALS and value.unit != "1" else text


def losses(value: Value, seeds: int) -> str:
    """How much of a column a row has lost: `2 of 8 scenes lost, and 1 of 40 items of the others`.

    Args:
        value: the column's value.
        seeds: how many the row has; with more than one, runs are counted, one for each scene and seed.
    """
    one = "scene" if seeds == 1 else "run"
    items = f"{value.items_lost} of {value.items} items"
    if not value.runs_lost:
        return f"{items} lost"
    runs = f"{value.runs_lost} of {value.runs} {one}{'s' if value.runs > 1 else ''} lost"
    return f"{runs}, and {items} of the others" if value.items_lost else runs


def origin(row: Row) -> str:
    """Where the row comes from, for a reader: `floor`, `run`, `paper` or `submitted`."""
    return "floor" if row.floor and row.origin == "run" else row.origin + (", floor" if row.floor else "")


def exact(value: float | None) -> float | str | None:
    """The number itself, `Infinity` and `-Infinity` as strings, NaN as None."""
    if value is None or math.isnan(value):
        return None
    return value if math.isfinite(value) else ("Infinity" if value > 0 else "-Infinity")
