"""What is said about a board in words: its caption and its footnotes, the same in every table and on the page."""

from __future__ import annotations

from collections.abc import Sequence

from nfbench.leaderboards.board import Board
from nfbench.leaderboards.row import Row
from nfbench.leaderboards.wording import PENALISED, is_length, losses, number, penalty, title

_OVER = {
    "scenes": "over scenes (Student's t)",
    "seeds": "over seeds (Student's t)",
    "items": "over the items of the one scene (bootstrap)",
}
_MESSAGES = 3  # of one kind and row that are spelled out


def caption(board: Board) -> str:
    """What the board is about and what ranks it, in one sentence."""
    better = next((column.better for column in board.columns if column.name == board.primary), "")
    ranked = f"ranked by {title(board.primary)}" + (f", {better} is better" if better else "")
    scenes = f"{len(board.scenes)} scene{'s' if len(board.scenes) != 1 else ''}"
    return f"version {board.version}, {scenes}, protocol {board.protocol}, {ranked}"


def notes(board: Board, interval: str = "± is half the width of") -> list[str]:
    """The footnotes: units, intervals, penalties, who leads, failures and gaps of rows, columns not measured, problems.

    `interval` begins the sentence that says what the intervals are over.
    """
    found = [*_unit_notes(board), *_interval_note(board, interval), *_penalty_note(board), *_lead_note(board)]
    for row in board.rows:
        found += [f"{row.label}: failed: {text}" for text in _first(row.failures)]
        found += [f"{row.label}: {text}" for text in _first(row.gaps)]
        if row.rank is None:
            found.append(f"{row.label}: not ranked, {_unranked(row, board.primary)}.")
        found += _loss_notes(row)
        if row.unsupported:
            found.append(f"{row.label}: gives no {' and no '.join(row.unsupported)}, so those columns are empty.")
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in board.rows:
        for column, reason in row.unmeasured.items():
            reasons.setdefault((column, reason), []).append(row.label)
    found += [f"{title(c)} not measured for {', '.join(rows)}: {reason}" for (c, reason), rows in reasons.items()]
    return [" ".join(text.split()) for text in (*found, *(f"Problem: {text}" for text in board.problems))]


def _first(texts: Sequence[str]) -> list[str]:
    """The first few of many messages and how many more there are; JSON and the records have them all."""
    more = len(texts) - _MESSAGES
    return [*texts[:_MESSAGES], *([f"and {more} more like these"] if more > 0 else [])]


def _unit_notes(board: Board) -> list[str]:
    lengths: dict[str, list[str]] = {}
    for column in board.shown_columns():
        if is_length(column.unit):
            lengths.setdefault(column.unit, []).append(title(column.name))
    return [f"Unit of {', '.join(names)}: {unit}." for unit, names in lengths.items()]


def _interval_note(board: Board, start: str) -> list[str]:
    rows = [row for row in board.rows if board.primary in row.values and row.values[board.primary].over]
    by = {over: [r.label for r in rows if r.values[board.primary].over == over] for over in _OVER}
    kinds = {over: labels for over, labels in by.items() if labels}
    if len(kinds) < 2:
        return [f"{start} the 95 % interval of the mean, {_OVER[over]}." for over in kinds]
    parts = [f"{_OVER[over]} for {', '.join(labels)}" for over, labels in kinds.items()]
    return [f"{start} the 95 % interval of the mean: {'; '.join(parts)}."]


def _penalty_note(board: Board) -> list[str]:
    """What the penalised means of the rows with losses are, where the board has any."""
    counted = {
        column.name: penalty(row.values[column.name])
        for column in board.columns
        for row in board.rows
        if column.name in row.values and row.values[column.name].shows_penalised
    }
    if not counted:
        return []
    means = ", ".join(f"{title(name)} {value}" for name, value in counted.items())
    return [
        f"{PENALISED} is the penalised mean: what is lost, failed or missing, counts as {means}. "
        "The other number, where there is one, is the mean of what is valid only."
    ]


def _loss_notes(row: Row) -> list[str]:
    """How much of which columns is lost, columns that lost the same together."""
    groups: dict[str, list[str]] = {}
    for name, value in row.values.items():
        if value.shows_penalised:
            groups.setdefault(losses(value, len(row.seeds)), []).append(title(name))
    return [f"{row.label}: {text} ({', '.join(names)})." for text, names in groups.items()]


def _lead_note(board: Board) -> list[str]:
    lead = board.lead()
    if lead is None:
        return []
    first, second, found = lead
    unit = first.values[board.primary].unit
    short = f" {unit}" if unit != "1" else ""
    sign = -1 if found.better == "lower" else 1
    low, high = sorted(sign * end for end in found.interval)
    verdict = "is ahead of" if found.beats else "cannot be told apart from"
    return [
        f"{first.label} {verdict} {second.label} on {found.count} common items of these scenes: "
        f"{title(board.primary)} better by {number(sign * found.difference, unit)}{short} "
        f"(95 % interval {number(low, unit)} to {number(high, unit)}, paired bootstrap, p = {found.p:.2g})."
    ]


def _unranked(row: Row, primary: str) -> str:
    if row.measured < row.expected or not row.expected:
        return f"{row.measured} of {row.expected} items measured"
    return f"{title(primary)} is not there for every scene, seed and item"
