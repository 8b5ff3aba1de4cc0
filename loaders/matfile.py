"""MAT files of version 5 (MATLAB's `-v7` and `-v6`): arrays of numbers, sizes checked before memory is taken.

MathWorks, "MAT-File Format": a header of 128 bytes, then elements of a type, a length and data padded to 8 bytes; up to
4 bytes of data may stand in the place of the padding. A matrix holds its flags, dimensions, name and numbers as
elements; a compressed element holds one matrix. SciPy's reader crashes the whole process on some damaged files.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.wholefile import read_whole

MOST = 1 << 30
"""Numbers of one array; the masks of DTU have some ten million."""

_HEAD = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_OTHERS = {1: "cell", 2: "struct", 3: "object", 4: "char", 5: "sparse", 16: "function", 17: "opaque"}
_COMPLEX = 0x800
_AGAIN = "Fetch it again."


class _Damaged(Exception):
    """What is wrong with the bytes of a file."""


def read_mat(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays of numbers called `names` in a MAT file, of two or more dimensions, as they are stored there.

    Raises:
        DataMissing: no such file.
        DataCorrupt: it is damaged, or one of `names` is not there, no array of real numbers, or of more than `MOST`.
        Unsupported: version 7.3, which is HDF5, or the old version 4.
    """
    try:
        data = read_whole(path)
    except FileNotFoundError:
        raise DataMissing(f"There is no {path}.", _AGAIN) from None
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}.", _AGAIN) from None
    if data[:19] == b"MATLAB 7.3 MAT-file":
        raise Unsupported(f"{path} is a MAT file of version 7.3.", "Save it again with -v7.")
    order = {b"IM": "<", b"MI": ">"}.get(data[126:128])
    if order is None:
        raise DataCorrupt(f"{path} is no MAT file of version 5.", "Fetch it again, or save it with -v7.")
    found: dict[str, NDArray[Any]] = {}
    try:
        for kind, content in _elements(memoryview(data)[_HEAD:], order):
            matrix = _inflated(content, order) if kind == _COMPRESSED else content if kind == _MATRIX else None
            if matrix is not None:
                _take(path, matrix, order, names, found)
    except _Damaged as error:
        raise DataCorrupt(f"{path} is damaged or cut short: {error}.", _AGAIN) from None
    for name in names:
        if name not in found:
            raise DataCorrupt(f"{path}: {name} is missing.", _AGAIN)
    return found


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Type and data of the elements that lie one behind the other."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise _Damaged(f"{len(data) - at} bytes where an element should begin")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # a small element: its length is in the upper half
            kind, size, start, end = kind & 0xFFFF, kind >> 16, at + 4, at + 8
        else:
            start = at + 8
            end = start + (size if kind == _COMPRESSED else -(-size // 8) * 8)
        if start + size > min(len(data), max(end, start)):
            raise _Damaged(f"an element of {size} bytes, {len(data) - start} of which are there")
        yield kind, data[start : start + size]
        at = end


def _inflated(content: memoryview, order: str) -> memoryview:
    """The data of the matrix in a compressed element."""
    stream = zlib.decompressobj()
    try:
        head = stream.decompress(content, 8)
        if len(head) < 8:
            raise _Damaged("a compressed matrix without a beginning")
        kind, size = struct.unpack(f"{order}II", head)
        if kind != _MATRIX or size > 16 * MOST:
            raise _Damaged(f"type {kind} of {size} bytes is compressed where a matrix should be")
        data = stream.decompress(stream.unconsumed_tail, size or 1)
    except zlib.error as error:
        raise _Damaged(str(error)) from None
    if len(data) != size:
        raise _Damaged(f"a matrix of {size} bytes, {len(data)} of which are there")
    return memoryview(data)


def _take(path: Path, matrix: memoryview, order: str, names: Sequence[str], found: dict[str, NDArray[Any]]) -> None:
    """Add the array in a matrix to what was found, where its name is wanted."""
    parts = _elements(matrix, order)
    flags, shape, name = _next(parts, "flags"), _next(parts, "dimensions"), _next(parts, "name")
    called = bytes(name[1]).decode("latin-1")
    if called not in names:
        return
    if flags[0] != 6 or len(flags[1]) != 8 or shape[0] != 5 or len(shape[1]) % 4 or len(shape[1]) < 8:
        raise _Damaged(f"{called} has no flags and dimensions")
    (word,) = struct.unpack_from(f"{order}I", flags[1])
    kind = word & 0xFF
    if kind not in _CLASSES:
        what = _OTHERS.get(kind, f"of class {kind}")
        raise DataCorrupt(f"{path}: {called} is {what}, not an array of numbers.", _AGAIN)
    if word & _COMPLEX:
        raise DataCorrupt(f"{path}: {called} is an array of complex numbers, not of real ones.", _AGAIN)
    lengths = struct.unpack(f"{order}{len(shape[1]) // 4}i", shape[1])
    count = math.prod(lengths)
    if min(lengths) < 0 or count > MOST:
        raise DataCorrupt(f"{path}: {called} declares {count} numbers.", _AGAIN)
    stored, values = _next(parts, "numbers")
    if stored not in _NUMBERS:
        raise _Damaged(f"{called} is stored in numbers of type {stored}")
    numbers = np.dtype(order + _NUMBERS[stored])
    if len(values) != count * numbers.itemsize:
        raise _Damaged(f"{called} has {len(values)} bytes for {count} numbers")
    array = np.frombuffer(values, numbers).reshape(lengths, order="F")
    with np.errstate(over="ignore", invalid="ignore"):  # MATLAB stores whole numbers in the smallest type that they fit
        found[called] = array.astype(_CLASSES[kind])


def _next(parts: Iterator[tuple[int, memoryview]], what: str) -> tuple[int, memoryview]:
    part = next(parts, None)
    if part is None:
        raise _Damaged(f"a matrix without its {what}")
    return part
