"""The pixels of 8-bit RGB and RGBA PNGs that are not interlaced: inflated by ISA-L, unfiltered by numba.

PNG specification (third edition), section 9, filtering: each row is stored as what a filter, named by the byte before
it, left of it. `a`, `b` and `c` are the specification's names for the same channel of the pixels to the left, above,
and above to the left, all 0 outside the image; sums are modulo 256. Both steps release the interpreter's lock.
"""

from __future__ import annotations

import numba
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

SUB, UP, AVERAGE, PAETH = 1, 2, 3, 4  # table 6; 0 is none


def decode(stream: bytes | memoryview, shape: tuple[int, int, int]) -> Bytes:
    """The image that the joined data of a PNG's IDAT chunks hold, uint8 (H,W,3) or (H,W,4).

    Never more memory than `shape` asks for is taken, whatever the stream would inflate to.

    Args:
        stream: the zlib stream.
        shape: height, width, and 3 or 4 channels, from the header.

    Raises:
        ValueError: it is no zlib stream, it is cut short, its checksum is wrong, it holds more or less than the image,
            or names a filter that there is none of.
    """
    height, width, channels = shape
    row = 1 + width * channels
    image = np.empty(shape, np.uint8)
    rows = np.frombuffer(_inflated(stream, height * row), np.uint8).reshape(height, row)
    wrong = _unfilter(rows, image.reshape(height, width * channels), channels)
    if wrong >= 0:
        raise ValueError(f"no filter {rows[wrong, 0]}, in row {wrong}")
    return image


def _inflated(stream: bytes | memoryview, size: int) -> bytes:
    """What `stream` holds, which must be `size` bytes; what follows its end does no harm."""
    inflate = isal_zlib.decompressobj()
    try:
        data = inflate.decompress(stream, size + 1)  # the one byte more shows that there is more
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub calls the class an instance
        raise ValueError(str(error)) from None
    if len(data) > size:
        raise ValueError(f"more than the {size} bytes of the image")
    if not inflate.eof:
        raise ValueError(f"cut short after {len(data)} of {size} bytes")
    if len(data) < size:
        raise ValueError(f"{len(data)} of the {size} bytes of the image")
    return data


@numba.njit(cache=True, nogil=True)
def _unfilter(rows: Bytes, image: Bytes, channels: int) -> int:
    """Undo the filters of all `rows` into `image`; the first row whose filter is unknown, or -1."""
    above = np.zeros(image.shape[1], np.uint8)
    for y in range(rows.shape[0]):
        kind, stored, row = rows[y, 0], rows[y, 1:], image[y]
        if kind == 0:
            for i in range(row.size):  # an assignment of slices first asks whether they overlap
                row[i] = stored[i]
        elif kind == SUB:
            _sub(stored, row, channels)
        elif kind == UP:
            for i in range(row.size):
                row[i] = stored[i] + above[i]
        elif kind == AVERAGE:
            _average(stored, above, row, channels)
        elif kind == PAETH:
            if channels == 4:
                _paeth4(stored, above, row)
            else:
                _paeth3(stored, above, row)
        else:
            return y
        above = row
    return -1


@numba.njit(cache=True, nogil=True)
def _sub(stored: Bytes, row: Bytes, channels: int) -> None:
    for channel in range(channels):
        a = np.uint8(0)
        for i in range(channel, row.size, channels):
            a = np.uint8(stored[i] + a)
            row[i] = a


@numba.njit(cache=True, nogil=True)
def _average(stored: Bytes, above: Bytes, row: Bytes, channels: int) -> None:
    for i in range(channels):
        row[i] = stored[i] + (above[i] >> 1)
    for i in range(channels, row.size):
        row[i] = stored[i] + ((row[i - channels] + above[i]) >> 1)


@numba.njit(cache=True, nogil=True)
def _nearest(a: np.int64, b: np.int64, c: np.int64) -> np.int64:
    """The Paeth predictor: of a, b and c the nearest to a + b - c, in this order where two are as near.

    With d = 3c - a - b, c is the nearest just where d lies strictly between the lesser and the greater of a and b; at
    or above the greater it is the lesser, at or below the lesser the greater. No branch, half the operations.
    """
    low, high = min(a, b), max(a, b)
    d = 3 * c - a - b
    nearest = low if d >= high else c
    return high if d <= low else nearest


@numba.njit(cache=True, nogil=True)
def _paeth4(stored: Bytes, above: Bytes, row: Bytes) -> None:
    """The filter Paeth of RGBA: four chains of dependent operations side by side keep the processor busy."""
    a0 = a1 = a2 = a3 = c0 = c1 = c2 = c3 = np.int64(0)
    for x in range(row.size // 4):
        i = 4 * x
        b0, b1, b2, b3 = np.int64(above[i]), np.int64(above[i + 1]), np.int64(above[i + 2]), np.int64(above[i + 3])
        a0 = (stored[i] + _nearest(a0, b0, c0)) & 255
        a1 = (stored[i + 1] + _nearest(a1, b1, c1)) & 255
        a2 = (stored[i + 2] + _nearest(a2, b2, c2)) & 255
        a3 = (stored[i + 3] + _nearest(a3, b3, c3)) & 255
        row[i], row[i + 1], row[i + 2], row[i + 3] = a0, a1, a2, a3
        c0, c1, c2, c3 = b0, b1, b2, b3


@numba.njit(cache=True, nogil=True)
def _paeth3(stored: Bytes, above: Bytes, row: Bytes) -> None:
    """The filter Paeth of RGB."""
    a0 = a1 = a2 = c0 = c1 = c2 = np.int64(0)
    for x in range(row.size // 3):
        i = 3 * x
        b0, b1, b2 = np.int64(above[i]), np.int64(above[i + 1]), np.int64(above[i + 2])
        a0 = (stored[i] + _nearest(a0, b0, c0)) & 255
        a1 = (stored[i + 1] + _nearest(a1, b1, c1)) & 255
        a2 = (stored[i + 2] + _nearest(a2, b2, c2)) & 255
        row[i], row[i + 1], row[i + 2] = a0, a1, a2
        c0, c1, c2 = b0, b1, b2
