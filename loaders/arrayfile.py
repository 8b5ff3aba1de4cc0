"""NPZ and NPY files: named arrays of numbers, their shapes and sizes checked before memory is taken; no pickles."""

from __future__ import annotations

import io
import math
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported

Array = NDArray[Any]
Shape = tuple[int | None, ...]
"""Expected lengths; None is any length."""

_MOST = 1 << 30  # bytes of one array; the largest of any format here has some ten million
_DEFLATE = 1032  # the most that deflate can compress by
_SMALL = 1 << 12  # bytes that a header may take, whatever it is compressed to
_POINTER = b"version https://git-lfs"
_DAMAGE = (OSError, ValueError, KeyError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error)
_AGAIN = "It is truncated or damaged: fetch it again."


def read_npz(path: Path, names: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> dict[str, Any]:
    """The arrays called `names`, and those of `optional` that are there, in an NPZ file; read-only, any kind of number.

    Args:
        path: of the file.
        names: name to expected shape; None is any length.
        optional: likewise.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no NPZ, truncated, an array that is not there, of another shape, or not of numbers.
        Unsupported: another compression than deflate.
    """
    wanted = {**names, **(optional or {})}
    found = read_arrays(path, wanted)
    for name in names:
        if name not in found:
            there = ", ".join(sorted(names_in(path))[:9]) or "nothing"
            raise DataCorrupt(f"{path} has no array {name!r}; it has {there}.", "Is it of another format?")
    for name, array in found.items():
        _check_shape(f"{path}: array {name!r}", array.shape, wanted[name])
    return {name: found[name] for name in wanted if name in found}


def read_arrays(path: Path, wanted: Iterable[str] | None = None, most: int | None = None) -> dict[str, Array]:
    """The arrays in an NPZ file by name, in its order; read-only, of any shape and any kind of number.

    Args:
        path: of the file.
        wanted: the names to read, those that the file lacks left out; all when left out.
        most: bytes that an array with its header may have, `_MOST` when left out.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no NPZ, truncated, a name that is there twice, or an array that is not of numbers.
        Unsupported: another compression than deflate.
    """
    there, keep = _there(path), None if wanted is None else set(wanted)
    found: dict[str, Array] = {}
    try:
        with zipfile.ZipFile(there) as archive:
            for entry in archive.infolist():
                name = entry.filename.removesuffix(".npy")
                if keep is not None and name not in keep:
                    continue
                if name in found:
                    raise DataCorrupt(f"{path}: {name} is there twice.", _AGAIN)
                found[name] = _decoded(path, name, _member(path, archive, entry, _MOST if most is None else most))
    except _DAMAGE as error:
        raise DataCorrupt(f"{path} cannot be read as NPZ: {type(error).__name__}: {error}", _AGAIN) from error
    return found


def names_in(path: Path) -> tuple[str, ...]:
    """The names of the arrays in an NPZ file; none where it is no such file. Nothing but its directory is read."""
    if not path.is_file():  # a pipe would be waited for
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except _DAMAGE:
        return ()


def read_npy(path: Path, shape: Shape) -> NDArray[Any]:
    """The array of numbers in an NPY file, of the expected shape; read-only.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no NPY, truncated, of another shape, or not of numbers.
    """
    there = _there(path)
    if there.stat().st_size > _MOST:
        raise DataCorrupt(f"{path} has {there.stat().st_size} bytes; at most {_MOST} are read.", _AGAIN)
    try:
        array = _decoded(path, "", there.read_bytes())
    except OSError as error:
        raise DataMissing(f"{path} cannot be opened: {error.strerror}.", "Check its permissions.") from error
    _check_shape(str(path), array.shape, shape)
    return array


def npy_shape(path: Path) -> tuple[int, ...] | None:
    """The shape that the header of an NPY file declares; None where it is no array of numbers. It raises nothing."""
    try:
        with path.open("rb") as file:
            shape, _, dtype = _header(file.read(_SMALL))[:3]
    except (OSError, DataCorrupt):
        return None
    return shape if dtype.kind in "buif" else None


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays to an NPZ file, uncompressed as most datasets have them; by rename, with the folders it needs."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    write_bytes(path, buffer.getbuffer())


def write_npy(path: Path, array: NDArray[Any]) -> None:
    """Write an array to an NPY file; by rename, with the folders it needs."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getbuffer())


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, with the folders it needs.

    Raises:
        NfbenchError: the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_bytes(data)
    except OSError as error:
        mend = "Check the permissions of its folder and the disk."
        raise NfbenchError(f"{path} cannot be written: {error.strerror}.", mend) from error


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


def _there(path: Path) -> Path:
    """The path, made sure to be a file of some bytes."""
    if not path.is_file():
        raise DataMissing(f"There is no {path}.", "Fetch the dataset again, or check its layout.")
    try:
        with path.open("rb") as file:
            start = file.read(len(_POINTER))
    except OSError as error:
        raise DataMissing(f"{path} cannot be opened: {error.strerror}.", "Check its permissions.") from error
    if not start:
        raise DataCorrupt(f"{path} is empty: 0 bytes.", _AGAIN)
    if start == _POINTER:
        raise DataMissing(f"{path} is a Git LFS pointer, not the file.", "Fetch it: git lfs pull.")
    return path


def _member(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    """The bytes of one member, which claims no more of them than it can hold."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unsupported(f"{path}: {entry.filename} is compressed in another way than NumPy does.", "Save it again.")
    stored = min(entry.compress_size, path.stat().st_size)
    if stored < entry.compress_size or entry.file_size > min(most, _DEFLATE * stored + _SMALL):
        raise DataCorrupt(f"{path}: {entry.filename} declares {entry.file_size} bytes.", _AGAIN)
    return archive.read(entry)


def _decoded(path: Path, name: str, data: bytes) -> Array:
    """The array in the bytes of an NPY file."""
    where = f"{path}: array {name!r}" if name else str(path)
    try:
        shape, fortran, dtype, start = _header(data)
    except DataCorrupt as error:
        raise DataCorrupt(f"{where} cannot be read: {error.message}", _AGAIN) from error
    if dtype.kind not in "buif":
        what = "objects, which would have to be unpickled" if dtype.hasobject else str(dtype)
        raise DataCorrupt(f"{where} holds {what}, not numbers.", "Save it again as an array of numbers.")
    count = math.prod(shape)
    if count * dtype.itemsize != len(data) - start:
        declared = count * dtype.itemsize
        raise DataCorrupt(f"{where} declares {declared} bytes and has {len(data) - start}.", _AGAIN)
    flat = np.frombuffer(data, dtype, count, start)
    return flat.reshape(shape, order="F" if fortran else "C")


def _check_shape(where: str, shape: tuple[int, ...], expected: Shape) -> None:
    if len(shape) != len(expected) or any(e is not None and e != n for n, e in zip(shape, expected, strict=True)):
        wanted = ", ".join("N" if e is None else str(e) for e in expected)
        raise DataCorrupt(f"{where} has shape {shape}, not ({wanted}).", "Is it of another format?")


def _header(data: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether in Fortran's order, type, and where the numbers start.

    Raises:
        DataCorrupt: the bytes do not start as an NPY file.
    """
    stream = io.BytesIO(data)
    try:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        with warnings.catch_warnings(action="ignore"):  # about headers that Python 2 wrote
            shape, fortran, dtype = read(stream)
    except (ValueError, TypeError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError) as error:
        raise DataCorrupt(f"{error}") from error
    if any(n < 0 for n in shape):
        raise DataCorrupt(f"it declares the shape {shape}.")
    return shape, fortran, dtype, stream.tell()
