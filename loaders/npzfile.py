"""Arrays of numbers in .npz files, the sizes they declare looked at before room is made for them.

The format is NumPy's: NEP 1, a ZIP archive of .npy files. Nothing is unpickled.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError
from nfbench.loaders.cache import Arrays, write_arrays

Array = NDArray[Any]

MOST = 1 << 30  # bytes of one array; the largest in use, a million points of 6 float64, takes 48 million

_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_AGAIN = "Download the file again."


def names(path: Path) -> tuple[str, ...]:
    """The names of the arrays in a file, in its order; none where it is no readable .npz. It never raises."""
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except _DAMAGE:
        return ()


def read_npz(path: Path, wanted: Iterable[str] | None = None) -> dict[str, Array]:
    """The arrays of numbers or booleans in a file, by name.

    Args:
        path: the file.
        wanted: the names to read, those that the file lacks left out; all when left out.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is no .npz, is damaged or cut short, or an array holds Python objects, text, or more or fewer
            bytes than it declares.
    """
    if not path.is_file():
        raise DataMissing(f"There is no {path}.", "Check the name, or download the dataset again.")
    keep = None if wanted is None else set(wanted)
    arrays: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                name = info.filename.removesuffix(".npy")
                if keep is not None and name not in keep:
                    continue
                if info.file_size > MOST:
                    raise DataCorrupt(f"{path}: {name} declares {info.file_size} bytes, more than {MOST}.", _AGAIN)
                if name in arrays:
                    raise DataCorrupt(f"{path}: {name} is there twice.", _AGAIN)
                arrays[name] = _array(f"{path}: {name}", archive.read(info))
    except _DAMAGE as error:
        raise DataCorrupt(f"{path} is no sound .npz: {type(error).__name__}: {error}", _AGAIN) from None
    return arrays


def _array(label: str, data: bytes) -> Array:
    """The array that the bytes of a .npy file hold."""
    stream = io.BytesIO(data)
    try:
        read_header = _HEADERS[npy.read_magic(stream)]
        shape, fortran, dtype = read_header(stream)
    except Exception as error:  # numpy's reader evaluates the header and lets whatever that provokes through
        raise DataCorrupt(f"{label} is no array: {type(error).__name__}: {error}", _AGAIN) from None
    if dtype.hasobject:
        raise DataCorrupt(f"{label} holds Python objects, which nfbench never unpickles.", "Save it as numbers.")
    if dtype.kind not in "buif":
        raise DataCorrupt(f"{label} is an array of {dtype}, not of numbers.", _AGAIN)
    there = len(data) - stream.tell()
    if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != there:
        raise DataCorrupt(f"{label} has {there} bytes, not those of {dtype} {shape}.", _AGAIN)
    flat = np.frombuffer(data, dtype, offset=stream.tell())
    return flat.reshape(shape, order="F" if fortran else "C")


def shaped(label: str, array: Array | None, *shapes: tuple[int, ...]) -> NDArray[np.float64]:
    """`array` as float64, where it is there, has one of the `shapes` (-1 for any number) and is finite.

    Args:
        label: the file and the name of the array, for messages.
        array: what the file has by this name, None for nothing.
        shapes: those that will do.

    Raises:
        DataMissing: the array is None.
        DataCorrupt: another shape, NaN or infinity.
    """
    if array is None:
        raise DataMissing(f"{label} is missing.", "Download the file again, or write it as the format asks.")
    if not any(_fits(array.shape, shape) for shape in shapes):
        wanted = " or ".join(str(shape).replace("-1", "N") for shape in shapes)
        raise DataCorrupt(f"{label} has shape {array.shape}, not {wanted}.", _AGAIN)
    values: NDArray[np.float64] = array.astype(np.float64)
    finite = np.isfinite(np.atleast_1d(values))
    bad = np.flatnonzero(~finite.all(axis=tuple(range(1, finite.ndim))))
    if len(bad):
        raise DataCorrupt(f"{label} holds NaN or infinity in row {bad[0]} ({len(bad)} in all).", _AGAIN)
    return values


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) == len(wanted) and all(w in (-1, n) for n, w in zip(shape, wanted, strict=True))


def write_npz(path: Path, arrays: Arrays) -> None:
    """Write arrays of numbers, whole or not at all; the folder is made when it is not there.

    Raises:
        NfbenchError: the disk refuses.
    """
    if not write_arrays(path, arrays):
        raise NfbenchError(f"{path} cannot be written.", "Check the permissions of its folder and the disk.")
