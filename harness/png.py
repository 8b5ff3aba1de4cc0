"""8-bit PNG images: the one place where they are checked, read and written.

A header tells in microseconds most of what can be wrong with a file, so a loader opens a thousand images without
decoding one.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.wholefile import read_whole

Image = NDArray[np.uint8]

KINDS = (  # how the files begin that turn up where an image should be
    (b"\x89PNG\r\n\x1a\n", "a PNG"),
    (b"\xff\xd8\xff", "a JPEG"),
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"RIFF", "a WebP"),
    (b"v/1\x01", "an OpenEXR image"),
    (b"II*\x00", "a TIFF"),
    (b"MM\x00*", "a TIFF"),
)
MAX_PIXELS = 89_478_485  # beyond this Pillow suspects a decompression bomb

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEAD = 33  # the signature and the whole chunk IHDR
_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
_RGB, _RGBA = 2, 6
_CHANNELS = {0: 1, _RGB: 3, 3: 1, 4: 2, _RGBA: 4}  # PNG specification, table 11.1
_INTERLACE = 28  # the place of the byte that says so
_METHODS = ((0, 0, 0), (0, 0, 1))  # of compression, of filters, of interlacing: no others are specified
_COLOURS = {0: "grey", _RGB: "RGB", 3: "palette", 4: "grey with alpha", _RGBA: "RGBA"}
_OPEN = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)  # a named pipe must not block
_AGAIN = "Download or copy the file again."


class Header(NamedTuple):
    """What the first chunk of a PNG says: size in pixels, bits a channel, and the PNG specification's colour type."""

    width: int
    height: int
    depth: int
    colour: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.width, self.height

    @property
    def channels(self) -> int:
        """Stored numbers a pixel: 1 for grey or palette, 2 for grey with alpha, 3 for RGB, 4 for RGBA."""
        return _CHANNELS[self.colour]


def read_header(path: Path, whole: bool = True) -> Header:
    """The header of a PNG file of any kind, without decoding it.

    Args:
        path: the file.
        whole: look also at the end of the file, where a file that was cut short lacks its last chunk.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it cannot be read, is no PNG, is cut short, or its header is damaged.
    """
    head, end = first_and_last(path, _HEAD, len(_END))
    header = _parse(path, head)
    if whole and end != _END:
        _chunks(path, _bytes(path))  # bytes after the last chunk do no harm
    return header


def check_header(path: Path, size: tuple[int, int] | None = None) -> Header:
    """The header of a PNG file, where it is whole and 8-bit RGB or RGBA, without decoding it.

    Args:
        path: the file.
        size: the width and height it must have, in pixels.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is no PNG, cut short, without pixels, too large, grey, palette, not 8-bit, or of another size.
    """
    header = read_header(path)
    width, height, depth, colour = header
    if colour not in (_RGB, _RGBA) or depth != 8:
        raise DataCorrupt(
            f"{path}: {depth}-bit {_COLOURS[colour]}, not 8-bit RGB or RGBA.", "Convert the file to 8-bit RGB or RGBA."
        )
    if width < 1 or height < 1:
        raise DataCorrupt(f"{path}: {width}x{height}, an image without pixels.", _AGAIN)
    if width * height > MAX_PIXELS:
        raise DataCorrupt(f"{path}: {width}x{height}, more than {MAX_PIXELS} pixels.", "Scale the image down.")
    if size is not None and (width, height) != tuple(size):
        raise DataCorrupt(
            f"{path}: {width}x{height} pixels, not {size[0]}x{size[1]}.",
            "All images of one set of intrinsics must have one size; scale or drop this image.",
        )
    return header


def read_png(path: Path) -> Image:
    """The image in an 8-bit RGB or RGBA file, uint8 (H,W,3) or (H,W,4) sRGB with straight alpha.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: whatever `check_header` finds, a damaged chunk, damaged pixels, an animation, or a transparent
            colour beside RGB, which would be an alpha channel in disguise.
    """
    header = check_header(path)
    data = _bytes(path)
    chunks = _chunks(path, data)
    if b"acTL" in chunks:
        raise DataCorrupt(f"{path}: an animation, not one image.", "Save a single frame.")
    if b"tRNS" in chunks:
        raise DataCorrupt(f"{path}: RGB with a transparent colour.", "Convert the file to RGBA.")
    if data[_INTERLACE]:
        return _interlaced(path, data, header)
    from nfbench.harness.png_pixels import decode  # loads numba

    try:
        return decode(b"".join(chunks.get(b"IDAT", ())), (header.height, header.width, header.channels))
    except ValueError as error:
        raise DataCorrupt(f"{path}: damaged pixels ({error}).", _AGAIN) from None


def _interlaced(path: Path, data: bytes, header: Header) -> Image:
    """The pixels of an interlaced file by Pillow: too rare for a decoder of their own."""
    import io

    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(data), formats=["PNG"]) as image:
            pixels = np.array(image)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise DataCorrupt(f"{path}: damaged pixels ({error}).", _AGAIN) from None
    if pixels.dtype != np.uint8 or pixels.shape != (header.height, header.width, header.channels):
        raise DataCorrupt(f"{path}: decoded to {pixels.dtype} {pixels.shape}, not what its header says.", _AGAIN)
    return pixels


def write_png(path: Path, image: Image) -> None:
    """Write `image`, uint8 (H,W,3) or (H,W,4), whole or not at all.

    The folder is made when it is not there.

    Raises:
        ContractBroken: another type or shape.
    """
    from PIL import Image as Pillow

    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4) or image.size == 0:
        raise ContractBroken(
            f"{path}: an image of {image.dtype} {image.shape} cannot be written.",
            "Give uint8 (H,W,3) or (H,W,4); quantise images of floats first.",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, partial.open("wb") as file:
        # run lengths alone: as small as Pillow's default on renderings, at a quarter of its time
        Pillow.fromarray(np.ascontiguousarray(image)).save(file, "PNG", compress_type=zlib.Z_RLE)


def first_and_last(path: Path, first: int, last: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of a file; where it is shorter than `first`, all of it and none. Never waits.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is a folder or cannot be read.
    """
    try:
        file = os.open(path, _OPEN)
        try:
            head, end = os.read(file, first), b""
            if len(head) == first:  # a pipe cannot be gone through backwards
                os.lseek(file, -last, os.SEEK_END)
                end = os.read(file, last)
            return head, end
        finally:
            os.close(file)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> DataMissing | DataCorrupt:
    """What to raise for an image file that could not be opened or read."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return DataMissing(f"There is no image {path}.", "Check the name, or download the dataset again.")
    if isinstance(error, IsADirectoryError):
        return DataCorrupt(f"{path} is a folder, not an image.", _AGAIN)
    return DataCorrupt(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.")


def stranger(path: Path, head: bytes, expected: str, hint: str) -> DataCorrupt:
    """What to raise for a file that begins with `head` and not as what it should be.

    Args:
        path: the file.
        head: its first bytes, at least 24 where it has as many.
        expected: what it should be, such as "a PNG".
        hint: what to do where it is an image of another kind.
    """
    if not head:
        return DataCorrupt(f"{path} is empty.", _AGAIN)
    if head.startswith(b"version https://git-lfs"):
        return DataCorrupt(f"{path} is a pointer of Git LFS, not an image.", "Run git lfs pull in the dataset.")
    if head.startswith((b"\x89PNG\n", b"\x89PNG\r\r", b"PNG\r", b"PNG\n")):
        return DataCorrupt(f"{path}: its first bytes were changed as if it were text.", "Transfer it as binary.")
    if any(start.startswith(head) for start, kind in KINDS if kind == expected):
        return DataCorrupt(f"{path}: cut short after {len(head)} bytes.", _AGAIN)
    kind = next((kind for start, kind in KINDS if head.startswith(start)), "something else")
    return DataCorrupt(f"{path} is not {expected} but {kind}.", hint)


def _bytes(path: Path) -> bytes:
    try:
        return read_whole(path)
    except OSError as error:
        raise unreadable(path, error) from None


def _parse(path: Path, head: bytes) -> Header:
    if not head.startswith(_SIGNATURE):
        raise stranger(path, head, "a PNG", "Convert it to an 8-bit RGB or RGBA PNG.")
    if len(head) < _HEAD:
        raise DataCorrupt(f"{path}: cut short after {len(head)} bytes.", _AGAIN)
    length, name, width, height, depth, colour, *methods = struct.unpack_from(">I4sIIBBBBB", head, len(_SIGNATURE))
    sound = name == b"IHDR" and length == 13 and int.from_bytes(head[29:], "big") == zlib.crc32(head[12:29])
    if not sound or colour not in _CHANNELS or tuple(methods) not in _METHODS:
        raise DataCorrupt(f"{path}: its header is damaged.", _AGAIN)
    return Header(width, height, depth, colour)


def _chunks(path: Path, data: bytes) -> dict[bytes, list[memoryview]]:
    """What the chunks up to the last hold, by their names, their checksums compared."""
    chunks: dict[bytes, list[memoryview]] = {}
    view = memoryview(data)
    at = len(_SIGNATURE)
    while b"IEND" not in chunks:
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if at + 12 > len(data) or end > len(data):
            raise DataCorrupt(f"{path}: cut short after {len(data)} bytes.", _AGAIN)
        name = data[at + 4 : at + 8]
        if isal_zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise DataCorrupt(f"{path}: damaged at byte {at} (chunk {name.decode('latin-1')!r}).", _AGAIN)
        chunks.setdefault(name, []).append(view[at + 8 : end - 4])
        at = end
    return chunks
