"""4x4 matrices in npz files, in which IDR, NeuS and DVR keep their cameras."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt
from nfbench.loaders.arrayfile import Array, names_in, read_arrays

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
    known = names_in(path) if pattern else ()
    matched = [name for name in known if re.fullmatch(pattern, name)]
    wanted = [*names, *matched]
    found = read_arrays(path, wanted, _MOST)
    return {name: _matrix(path, found.get(name), name) for name in wanted}


def _matrix(path: Path, array: Array | None, name: str) -> Matrix:
    if array is None:
        raise DataCorrupt(f"{path} has no {name}.", _FETCH)
    if array.shape != (4, 4) or array.dtype.kind not in "fiu":
        raise DataCorrupt(f"{path}: {name} is {array.dtype} of shape {array.shape}, not (4, 4) numbers.", _FETCH)
    values = array.astype(np.float64)
    if not np.isfinite(values).all() or np.abs(values).max() > np.finfo(np.float32).max:
        raise DataCorrupt(f"{path}: {name} holds NaN or infinity: {values.tolist()}.", _FETCH)
    if np.abs(values[3] - (0, 0, 0, 1)).max() > _LAST_ROW:
        raise DataCorrupt(f"{path}: the last row of {name} is {values[3].tolist()}, not 0 0 0 1.", "Is it transposed?")
    return values
