"""OpenEXR images of one part in scan lines, as Blender writes depth: uncompressed or ZIP, half or float channels.

Technical Introduction to OpenEXR, file layout: a magic number, attributes, a table of offsets, and chunks of one line
(none, ZIPS) or sixteen (ZIP). Within a chunk, each line holds the channels one after the other in alphabetical order.
ZIP stores the even bytes before the odd ones, and each as its difference from the one before, plus 128.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.png import MAX_PIXELS, first_and_last, stranger, unreadable
from nfbench.harness.wholefile import read_whole

_MAGIC, _VERSION = 20000630, 2
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<u4"), 1: np.dtype("<f2"), 2: np.dtype("<f4")}
_LINES = {0: 1, 2: 1, 3: 16}  # in a chunk, by compression: none, ZIPS, ZIP
_CHANNELS = 32  # more than anybody renders
_HEAD = 1 << 16  # bytes by which a header ends
_AGAIN = "Download or copy the file again."

_Channels = list[tuple[str, np.dtype[Any]]]


def exr_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, by the header.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is no OpenEXR image, is cut short or damaged, without pixels, or too large.
        Unsupported: tiles, several parts, another compression, or channels of fewer pixels.
    """
    _, _, size, _ = _header(path, first_and_last(path, _HEAD, 0)[0])
    return size


def read_exr(path: Path) -> dict[str, NDArray[np.float32]]:
    """The channels of an image by name, each float32 (H,W). Raises as `exr_size` does."""
    try:
        data = read_whole(path)
    except OSError as error:
        raise unreadable(path, error) from None
    channels, compression, (width, height), at = _header(path, data)
    row = width * sum(kind.itemsize for _, kind in channels)
    lines = _LINES[compression]
    chunks = []
    try:
        offsets = struct.unpack_from(f"<{-(-height // lines)}Q", data, at)
        for number, offset in enumerate(offsets):
            _, size = struct.unpack_from("<iI", data, offset)
            stored = data[offset + 8 : offset + 8 + size]
            chunks.append(_inflated(stored, min(lines, height - number * lines) * row, compression))
    except (struct.error, OverflowError, ValueError, isal_zlib.error) as error:  # type: ignore[misc]  # its stub
        raise DataCorrupt(f"{path}: damaged or cut short ({error}).", _AGAIN) from None
    rows = np.frombuffer(b"".join(chunks), np.uint8).reshape(height, row)
    image, at = {}, 0
    for name, kind in channels:
        stop = at + width * kind.itemsize
        image[name] = np.ascontiguousarray(rows[:, at:stop]).view(kind).astype(np.float32)
        at = stop
    return image


def _inflated(stored: bytes, size: int, compression: int) -> bytes:
    """The `size` bytes of one chunk; a chunk that would not become smaller is stored as it is."""
    if len(stored) == size:
        return stored
    if compression == 0:
        raise ValueError(f"a chunk of {len(stored)} bytes, not {size}")
    inflate = isal_zlib.decompressobj()
    raw = inflate.decompress(stored, size + 1)
    if len(raw) != size:
        raise ValueError(f"a chunk inflates to {len(raw)} bytes, not {size}")
    steps = np.frombuffer(raw, np.uint8).astype(np.uint64)
    steps[1:] += 128  # that is, - 128 modulo 256
    halves = np.cumsum(steps).astype(np.uint8)
    whole = np.empty(size, np.uint8)
    middle = (size + 1) // 2
    whole[0::2], whole[1::2] = halves[:middle], halves[middle:]
    return whole.tobytes()


def _header(path: Path, data: bytes) -> tuple[_Channels, int, tuple[int, int], int]:
    """Channels, compression, width and height, and where the table of offsets begins."""
    if len(data) < 8 or struct.unpack_from("<I", data)[0] != _MAGIC:
        raise stranger(path, data[:24], "an OpenEXR image", "Convert it to OpenEXR.")
    if struct.unpack_from("<I", data, 4)[0] != _VERSION:
        raise Unsupported(f"{path}: tiles, several parts, or another version of OpenEXR.", "Save it in scan lines.")
    found: dict[bytes, bytes] = {}
    at = 8
    try:
        while data[at]:
            name, kind = data.index(0, at), data.index(0, data.index(0, at) + 1)
            (size,) = struct.unpack_from("<I", data, kind + 1)
            found[data[at:name]] = data[kind + 5 : kind + 5 + size]
            at = kind + 5 + size
        left, top, right, bottom = struct.unpack("<4i", found[b"dataWindow"])
        compression = found[b"compression"][0]
        channels = _channels(path, found[b"channels"])
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise DataCorrupt(f"{path}: its header is damaged ({error}).", _AGAIN) from None
    width, height = right - left + 1, bottom - top + 1
    if width < 1 or height < 1 or width * height > MAX_PIXELS:
        raise DataCorrupt(f"{path}: {width}x{height} pixels.", f"Images have 1 to {MAX_PIXELS} pixels.")
    if compression not in _LINES:
        raise Unsupported(f"{path}: compression {compression} of OpenEXR.", "Save it with ZIP or without compression.")
    return channels, compression, (width, height), at + 1


def _channels(path: Path, data: bytes) -> _Channels:
    channels: _Channels = []
    at = 0
    while data[at]:
        end = data.index(0, at)
        kind, _, x, y = struct.unpack_from("<iIii", data, end + 1)
        if kind not in _TYPES or (x, y) != (1, 1) or len(channels) == _CHANNELS:
            raise Unsupported(f"{path}: a channel of type {kind}, every {x} by {y} pixels.", "Save it as float.")
        channels.append((data[at:end].decode("latin-1"), _TYPES[kind]))
        at = end + 17
    if not channels:
        raise ValueError("no channels")
    return channels
