"""Watcher: whom long work tells what happens; the command line shows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Watcher:
    """Whom the runner tells what happens; the command line prints it.

    Attributes:
        line: a sentence worth a line.
        progress: stage, fraction done in [0,1], numbers to show.
    """

    line: Callable[[str], None] = lambda text: None
    progress: Callable[[str, float, Mapping[str, float]], None] = lambda stage, fraction, numbers: None
