"""Journal: what a method reports while it learns or fits, kept as log.jsonl and told to whoever watches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from nfbench.harness.errors import Unsupported
from nfbench.harness.method import Progress
from nfbench.harness.watcher import Watcher

LOG = "log.jsonl"


class Journal:
    """The reports of one call of `learn` or `fit`.

    Attributes:
        steps: steps that were taken, also by the process that this one goes on from; None where none was reported.
        earlier: seconds of the budget that an earlier process had spent.
    """

    def __init__(self, log: TextIO, stage: str, watcher: Watcher, board: Any = None) -> None:  # noqa: ANN401
        self.steps: int | None = None
        self.earlier = 0.0
        self._log, self._stage, self._watcher, self._board = log, stage, watcher, board
        self._opened = time.perf_counter()
        self._first = True

    def listen(self, progress: Progress) -> None:
        """Take one report."""
        if self._first:
            self._first = False
            self.earlier = max(0.0, progress.seconds - (time.perf_counter() - self._opened))
            self._forget(progress.step)
        numbers = {name: float(value) for name, value in progress.numbers.items()}
        known = {name: value if math.isfinite(value) else None for name, value in numbers.items()}  # JSON has no others
        row = {"step": progress.step, "seconds": round(progress.seconds, 3), **known}
        self._log.write(json.dumps(row) + "\n")
        self._log.flush()  # what a killed run has reported is what its successor shows
        self.steps = progress.step + 1
        if self._board is not None:
            _chart(self._board, self._stage, progress.step, numbers)
        self._watcher.progress(self._stage, progress.fraction, numbers)

    def _forget(self, step: int) -> None:
        """Drop the rows from `step` on, which an earlier process wrote after the state that this one goes on from."""
        self._log.seek(0)
        kept = [line for line in self._log if _step(line) < step]
        self._log.seek(0)
        self._log.truncate()
        self._log.writelines(kept)


@contextmanager
def journal(folder: Path, stage: str, watcher: Watcher, charts: Path | None = None) -> Iterator[Journal]:
    """A Journal that writes `folder`/log.jsonl, after what an earlier process wrote there.

    Args:
        folder: made when it is not there.
        stage: what is going on, for the watcher.
        watcher: whom to tell.
        charts: a folder for TensorBoard's event files; none when left out.

    Raises:
        Unsupported: charts are wanted and TensorBoard is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    board = None if charts is None else _summary_writer(charts)
    try:
        with (folder / LOG).open("a+", encoding="utf-8") as log:
            yield Journal(log, stage, watcher, board)
    finally:
        if board is not None:
            board.close()


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):  # the half of a line that a killed process wrote
        return 1 << 62


def _summary_writer(folder: Path) -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise Unsupported("TensorBoard is not installed.", "pip install 'nfbench[tensorboard]'") from None
    return SummaryWriter(str(folder))


def _chart(board: Any, stage: str, step: int, numbers: Mapping[str, float]) -> None:  # noqa: ANN401
    for name, value in numbers.items():
        board.add_scalar(f"{stage}/{name}", value, step)
