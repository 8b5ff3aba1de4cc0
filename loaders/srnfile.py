"""The text files of SRN's layout: intrinsics.txt and the poses, one a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt
from nfbench.harness.wholefile import read_whole
from nfbench.loaders.listfile import read_text

_LAST = 1e-6  # by which the last row of a pose may be off
_LARGEST = float(np.finfo(np.float32).max)


def read_intrinsics(path: Path) -> tuple[float, float, float, tuple[int, int], bool]:
    """Focal length, principal point, width and height in pixels, and whether poses are world to camera.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is not of the lines that it should be, or its numbers cannot be.
    """
    rows = _rows(path)
    if len(rows) not in (4, 5) or len(rows[0]) not in (3, 4) or len(rows[3]) != 2 or len(rows[-1]) > 2:
        counts = " ".join(str(len(row)) for row in rows[:8])
        raise DataCorrupt(f"{path}: lines of {counts} numbers.", "It has lines of 4, 3, 1, 2 and perhaps 1.")
    (f, cx, cy), (height, width) = rows[0][:3], rows[3]
    if f <= 0 or any(side < 1 or side != int(side) for side in (height, width)):
        raise DataCorrupt(f"{path}: focal length {f:g}, height {height:g}, width {width:g}.", "Fetch it again.")
    if len(rows) == 5 and (len(rows[4]) != 1 or rows[4][0] not in (0, 1)):
        raise DataCorrupt(f"{path}: the fifth line is not 0 or 1.", "1 says that poses are world to camera.")
    return f, cx, cy, (int(width), int(height)), len(rows) == 5 and rows[4][0] == 1


def read_pose(path: Path) -> NDArray[np.float64]:
    """(4,4) float64 from 16 numbers on one line or several, as SRN's reader wants four and pixelNeRF's takes any.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: other than 16 finite numbers, or a last row other than 0 0 0 1.
    """
    values = [v for row in _rows(path) for v in row]
    if len(values) != 16:
        raise DataCorrupt(f"{path}: {len(values)} numbers, not the 16 of a pose.", "Fetch it again.")
    pose = np.array(values).reshape(4, 4)
    if np.abs(pose[3] - (0, 0, 0, 1)).max() > _LAST:
        raise DataCorrupt(f"{path}: the last row is {pose[3].tolist()}, not 0 0 0 1.", "Is it transposed?")
    return pose


def read_poses(paths: Sequence[Path]) -> NDArray[np.float64]:
    """(N,4,4) float64, what `read_pose` gives of each file, or raises, in a third of its time."""
    poses = np.empty((len(paths), 16))
    for i, path in enumerate(paths):
        try:
            values = [float(word) for word in read_whole(path).split()]
        except (OSError, ValueError):
            values = []
        poses[i] = values if len(values) == 16 else read_pose(path).ravel()
    sound = (np.abs(poses) < _LARGEST).all(1) & (np.abs(poses[:, 12:] - (0, 0, 0, 1)) <= _LAST).all(1)
    for odd in np.flatnonzero(~sound).tolist():
        read_pose(paths[odd])  # says what is wrong
    return poses.reshape(-1, 4, 4)


def _rows(path: Path) -> list[list[float]]:
    """The numbers on each line that has any."""
    return [_numbers(path, number, line) for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]


def _numbers(path: Path, number: int, line: str) -> list[float]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError:
        raise DataCorrupt(f"{path}: line {number} is not of numbers: {line[:60]!r}.", "Fetch it again.") from None
    if not all(abs(value) < _LARGEST for value in values):  # NaN is not
        raise DataCorrupt(f"{path}: line {number} holds NaN, infinity or more: {line[:60]!r}.", "Drop this view.")
    return values
