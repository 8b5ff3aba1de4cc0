"""PFM files of one channel, in which MVSNet and BlendedMVS keep depth maps: float32, the bottom row first."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.png import MAX_PIXELS
from nfbench.loaders.arrayfile import write_bytes

_HEADER = re.compile(rb"(P[fF])\s+(\d{1,9})\s+(\d{1,9})\s+([-+]?[\d.eE+-]{1,30})\r?\n")
_LONGEST = 64  # bytes of a header
_AGAIN = "Download or copy the file again."


def pfm_size(path: Path) -> tuple[int, int]:
    """Width and height by the header, which must agree with the length of the file.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is no PFM, has three channels, is cut short or too long, or has no or far too many pixels.
    """
    return _parse(path)[:2]


def read_pfm(path: Path) -> NDArray[np.float32]:
    """(H,W) float32, the top row first. The header's scale tells the order of bytes alone, as MVSNet reads it.

    Raises as `pfm_size` does.
    """
    width, height, start, order = _parse(path)
    values = np.frombuffer(path.read_bytes()[start:], f"{order}f4").reshape(height, width)
    return np.ascontiguousarray(values[::-1], np.float32)


def write_pfm(path: Path, values: NDArray[np.float32]) -> None:
    """Write (H,W) float32, the top row first, as little-endian PFM; the folder is made when it is not there."""
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n-1.000000\n".encode()
    write_bytes(path, header + np.ascontiguousarray(values[::-1], "<f4").tobytes())


def _parse(path: Path) -> tuple[int, int, int, str]:
    """Width, height, where the values begin and the order of their bytes."""
    if not path.is_file():
        raise DataMissing(f"There is no {path}.", "Copy the whole dataset again.")
    try:
        with path.open("rb") as file:
            head = file.read(_LONGEST)
        length = path.stat().st_size
    except OSError as error:
        raise DataCorrupt(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None
    found = _HEADER.match(head)
    try:
        scale = float(found[4]) if found else 0.0
    except ValueError:
        scale = 0.0
    if found is None or not scale:
        raise DataCorrupt(f"{path} is no PFM.", _AGAIN)
    if found[1] == b"PF":
        raise DataCorrupt(f"{path} has three channels, not one.", "Depth maps are PFM files that begin with Pf.")
    width, height = int(found[2]), int(found[3])
    if not 0 < width * height <= MAX_PIXELS:
        raise DataCorrupt(f"{path}: {width}x{height} pixels.", _AGAIN)
    expected = found.end() + 4 * width * height
    if length != expected:
        raise DataCorrupt(f"{path} has {length} bytes, not the {expected} of {width}x{height} pixels.", _AGAIN)
    return width, height, found.end(), "<" if scale < 0 else ">"
