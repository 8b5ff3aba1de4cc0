"""Asking a field for its values: in chunks that its network's memory bears, checked, and counted."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, NfbenchError

_CHUNK = 1 << 16  # points handed to a field at once: bounds the memory of its network
_LEAST = 1 << 10  # fewer are no help
_GREATEST = 1e30  # infinite values become this
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # how torch's allocators put it

Value = Callable[[NDArray[np.float32]], NDArray[np.floating]]
Place = Callable[[NDArray[np.integer]], NDArray[np.float64]]
"""From points (C,3), indices of a grid, to where they are (C,3) in scene units."""


class Asking:
    """How far above a level, counted inwards, a field is anywhere.

    Attributes:
        asked: how many points the field was asked for so far.
        chunk: points handed to it at once; halved, with a warning, when the field runs out of memory.
    """

    def __init__(self, value: Value, level: float, inside_above: bool) -> None:
        self._value, self._level = value, level
        self._sign = 1.0 if inside_above else -1.0
        self.asked, self.chunk = 0, _CHUNK

    def __call__(self, index: NDArray[np.integer], place: Place) -> NDArray[np.float32]:
        """Depths (C,) float32 at the places of points `index` (C,3) of some grid, infinite ones cut to 1e30.

        Raises:
            ContractBroken: NaN, naming the first such point, or values of another shape.
            NfbenchError: the field runs out of memory however few points it is asked for.
        """
        depth = np.empty(len(index), np.float32)
        start = 0
        while start < len(index):
            points = place(index[start : start + self.chunk]).astype(np.float32)
            found = self._values(points)
            if found is None:
                continue
            depth[start : start + len(points)] = found
            start += len(points)
            self.asked += len(points)
        return depth

    def values(self, depth: NDArray[np.float32]) -> NDArray[np.float64]:
        """The field's values (C,) that belong to depths (C,)."""
        return self._level + self._sign * depth.astype(np.float64)

    def _values(self, points: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Depths (C,) at points (C,3); None, and a smaller chunk, where memory was too small for so many."""
        try:
            answer = self._value(points)
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            answer = None  # the error, and with it what it holds, goes before the next try
        if answer is None:
            self._shrink()
            return None
        values = np.asarray(answer, np.float64)
        if values.shape != (len(points),):
            raise ContractBroken(f"value() gives shape {values.shape} for {len(points)} points, not one value each.")
        bad = np.flatnonzero(np.isnan(values))
        if len(bad):
            raise ContractBroken(
                f"value() is NaN at {points[bad[0]].tolist()} ({len(bad)} of {len(points)} points).",
                "Find where the field loses its numbers; the harness asks everywhere in the scene's box.",
            )
        return np.clip(self._sign * (values - self._level), -_GREATEST, _GREATEST)

    def _shrink(self) -> None:
        if self.chunk <= _LEAST:
            raise NfbenchError(f"The field runs out of memory at {_LEAST} points.", "Free memory, or use --device cpu.")
        if self.chunk == _CHUNK:
            warnings.warn("The field ran out of memory: it is asked for fewer points at once.", stacklevel=2)
        self.chunk //= 2
        torch = sys.modules.get("torch")
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory is used up: Python's own, or torch's on a GPU or the CPU."""
    text = str(error).lower()
    return isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY)
