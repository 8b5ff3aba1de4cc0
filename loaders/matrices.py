"""4x4 matrices in npz files, in which IDR, NeuS and DVR keep their cameras."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError

Matrix = NDArray[np.float64]

_MOST = 1024  # bytes of one stored matrix; 4x4 numbers and their header have less
_LAST_ROW = 1e-5
_FETCH = "Fetch the file again."


def read_matrices(path: Path, names: Iterable[str] = (), *, pattern: str = "") -> dict[str, Matrix]:
    """The matrices (4,4) float64 called `names` in an npz file, and all whose whole name `pattern` matches.

    Each one's size and header are looked at before anything is made room for; objects are never unpickled.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is no npz, lacks one of `names`, or holds one that is not of 4x4 finite numbers, the last row
            0 0 0 1; it is named.
    """
    if not path.is_file():
        raise DataMissing(f"There is no {path}.", "Copy the whole dataset again.")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {entry.filename.removesuffix(".npy"): entry for entry in archive.infolist()}
            matched = [name for name in entries if pattern and re.fullmatch(pattern, name)]
            return {name: _matrix(path, archive, entries.get(name), name) for name in [*names, *matched]}
    except NfbenchError:
        raise
    except Exception as error:  # zipfile and numpy let whatever a damaged file provokes through
        raise DataCorrupt(f"{path} cannot be read as npz: {type(error).__name__}: {error}.", _FETCH) from None


def _matrix(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo | None, name: str) -> Matrix:
    if entry is None:
        raise DataCorrupt(f"{path} has no {name}.", _FETCH)
    if entry.file_size > _MOST:
        raise DataCorrupt(f"{path}: {name} has {entry.file_size} bytes, no matrix of 4x4.", _FETCH)
    data = archive.read(entry)
    end = 10 + int.from_bytes(data[8:10], "little")
    shape, fortran, kind = _header(data[:end])
    if shape != (4, 4) or kind.kind not in "fiu":
        raise DataCorrupt(f"{path}: {name} is {kind} of shape {shape}, not (4, 4) numbers.", _FETCH)
    values = np.frombuffer(data, kind, 16, end).reshape(shape, order="F" if fortran else "C").astype(np.float64)
    if not np.isfinite(values).all() or np.abs(values).max() > np.finfo(np.float32).max:
        raise DataCorrupt(f"{path}: {name} holds NaN or infinity: {values.tolist()}.", _FETCH)
    if np.abs(values[3] - (0, 0, 0, 1)).max() > _LAST_ROW:
        raise DataCorrupt(f"{path}: the last row of {name} is {values[3].tolist()}, not 0 0 0 1.", "Is it transposed?")
    return values


@lru_cache(maxsize=16)
def _header(head: bytes) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Shape, whether columns come first, and type, of the header of an npy file; those of a scene are all the same."""
    stream = io.BytesIO(head)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an npy file of another version than 1.0")
    return np.lib.format.read_array_header_1_0(stream)
