"""Numbers in small text files, read with the line named where one is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt
from nfbench.loaders.listfile import read_text

_LARGEST = 1e30  # beyond any unit of length; what is computed from such numbers still is a float32
_MEND = "Mend the line, or fetch the file again."


def read_words(path: Path) -> list[tuple[int, list[str]]]:
    """The words of each line that is not blank, with the line's number; any line ends, with or without a BOM.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it cannot be read, is no UTF-8 text, or is far too large.
    """
    lines = read_text(path, "Copy the whole dataset again.").splitlines()
    return [(number, words) for number, line in enumerate(lines, 1) if (words := line.split())]


def numbers(path: Path, line: int, words: list[str], count: int | None = None) -> list[float]:
    """The finite numbers that `words` of a line are; DataCorrupt names the line where one is none, or not `count`."""
    if count is not None and len(words) != count:
        raise DataCorrupt(f"{path}, line {line}: {len(words)} numbers, not {count}.", _MEND)
    values = []
    for word in words:
        try:
            value = float(word)
        except ValueError:
            value = np.nan
        if not abs(value) < _LARGEST:  # NaN is not
            raise DataCorrupt(f"{path}, line {line}: {word[:40]!r} is no finite number.", _MEND)
        values.append(value)
    return values


def whole(path: Path, line: int, word: str) -> int:
    """The whole number that a word is; DataCorrupt names the line where it is none."""
    value = numbers(path, line, [word])[0]
    if value != int(value):
        raise DataCorrupt(f"{path}, line {line}: {word!r} is no whole number.", _MEND)
    return int(value)


def read_matrix(path: Path) -> NDArray[np.float64]:
    """(4,4) float64: four lines of four numbers, or all sixteen in one line; a last row 0 0 0 1 may be left out.

    Raises as `read_words`, and:
        DataCorrupt: another shape, a value that is not finite, or another last row.
    """
    rows = [numbers(path, line, words) for line, words in read_words(path)]
    if len(rows) == 1 and len(rows[0]) in (12, 16):
        rows = np.reshape(rows[0], (-1, 4)).tolist()
    if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
        raise DataCorrupt(f"{path} holds {len(rows)} lines of numbers, no matrix of 4x4.", "Give 4 lines of 4 numbers.")
    check_last_row(str(path), rows)
    return np.array([*rows[:3], (0, 0, 0, 1)], np.float64)


def check_last_row(where: str, rows: list[list[float]]) -> None:
    """Raise DataCorrupt where a matrix has a fourth row that is not 0 0 0 1."""
    if len(rows) == 4 and any(abs(v - w) > 1e-6 for v, w in zip(rows[3], (0, 0, 0, 1), strict=True)):
        raise DataCorrupt(f"{where}: the last row is {rows[3]}, not [0, 0, 0, 1].", "Is the matrix transposed?")


def text_of(matrix: NDArray[np.floating]) -> str:
    """A matrix as lines of numbers that are read back to the last bit."""
    return "".join(" ".join(repr(float(value)) for value in row) + "\n" for row in matrix)
