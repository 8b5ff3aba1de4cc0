"""The facts of a board's predicted meshes for a reader: what they are, and how they were measured."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from nfbench.leaderboards.board import Board
from nfbench.leaderboards.row import Row
from nfbench.leaderboards.run import Run
from nfbench.leaderboards.wording import ABSENT

SCENES = 20
"""Scenes of one row whose facts are shown."""


@dataclass(frozen=True)
class Facts:
    """A table: for every run with facts its row's label, scene, seed, and one text for each of `names`."""

    names: list[str]
    lines: list[tuple[str, str, int, list[str]]]
    more: str


def build_facts(board: Board) -> Facts:
    """The facts of the runs of every row, in the order of the rows, scenes and seeds; those of few scenes of a row."""
    kept: list[tuple[Row, Run]] = []
    left = 0
    for row in board.rows:
        runs = sorted((run for run in row.runs if run.record.facts), key=lambda run: run.record.seed)
        scenes = [scene for scene in board.scenes if any(run.record.scene == scene for run in runs)]
        kept += [(row, run) for scene in scenes[:SCENES] for run in runs if run.record.scene == scene]
        left += max(0, len(scenes) - SCENES)
    names = list(dict.fromkeys(name for _, run in kept for name in sorted(run.record.facts)))
    lines = [
        (row.label, run.record.scene, run.record.seed, [_text(run.record.facts.get(name)) for name in names])
        for row, run in kept
    ]
    more = f"{left} more scene{'s have' if left > 1 else ' has'} facts, told by record.json." if left else ""
    return Facts([name.replace("_", " ") for name in names], lines, more)


def _text(fact: Any) -> str:  # noqa: ANN401  # whatever a record holds
    """One fact in a few letters.

    >>> _text(True), _text(0.123456), _text(12), _text("winding-number"), _text([1, 2]), _text(None)
    ('yes', '0.1235', '12', 'winding-number', '[1, 2]', '—')
    """
    if fact is None:
        return ABSENT
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, float):
        return f"{fact:.4g}"
    return fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False)
