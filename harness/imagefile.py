"""Images that people bring along: PNG, and what Pillow reads of JPEG, BMP, TIFF and WebP in 8-bit RGB or RGBA.

Nothing is converted silently. A grey, palette, CMYK or 16-bit image would need a choice of conversion that changes
scores, so that it is refused, by its header, with the mend. What a file is must agree with its name.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.png import KINDS, MAX_PIXELS, Image, check_header, first_and_last, read_png, stranger, unreadable

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

_KINDS = {
    ".png": "a PNG",
    ".jpg": "a JPEG",
    ".jpeg": "a JPEG",
    ".bmp": "a BMP",
    ".tif": "a TIFF",
    ".tiff": "a TIFF",
    ".webp": "a WebP",
}
ENDINGS = tuple(_KINDS)  # of the names of files that are read, in lower case; upper case is read as well

_HEAD = 30  # bytes: as many as tell the size of a WebP
_MODES = {  # Pillow's, where their names say too little
    "1": "black and white",
    "L": "8-bit grey",
    "LA": "grey with alpha",
    "La": "grey with alpha",
    "P": "palette",
    "PA": "palette with alpha",
    "I": "32-bit grey",
    "F": "floating-point grey",
    "LAB": "CIE L*a*b*",
}
_BITS, _ORIENTATION, _UPRIGHT = 258, 274, 1  # TIFF 6.0, section 8: BitsPerSample, Orientation
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
_AGAIN = "Download or copy the file again."
_TO_RGB = "Convert the file to 8-bit RGB or RGBA, best as PNG."


def read_image(path: Path) -> Image:
    """The image in a file, uint8 (H,W,3) or (H,W,4) sRGB with straight alpha, as stored.

    The Exif orientation of a JPEG or WebP is not applied: the cameras of datasets belong to the pixels as stored. A
    TIFF that asks to be turned is refused, since Pillow would turn it. Colour profiles are not applied.

    Raises:
        DataMissing: there is no such file.
        Unsupported: its name ends in none of `ENDINGS`.
        DataCorrupt: it cannot be read, is empty, a folder, another kind of file than its name says, cut short, damaged,
            without pixels, larger than `png.MAX_PIXELS`, of several frames or pages, or not 8-bit RGB or RGBA.
    """
    if _kind(path) == "a PNG":
        return read_png(path)
    with _opened(path) as image:
        try:
            pixels: Image = np.array(image)
        except _DAMAGE as error:
            raise DataCorrupt(f"{path}: damaged pixels ({error}).", _AGAIN) from None
    return pixels


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, by the header alone; raises what `read_image` does, as far as the header tells."""
    if _kind(path) == "a PNG":
        return check_header(path).size
    with _opened(path) as image:
        return image.size


def _kind(path: Path) -> str:
    """What the file is by its name, which must be what it is by its first bytes."""
    head, _ = first_and_last(path, _HEAD, 0)
    expected = _KINDS.get(path.suffix.lower())
    if expected is None:
        raise Unsupported(
            f"{path}: images of this kind are not read.", f"Convert it to PNG. Names may end in {', '.join(ENDINGS)}."
        )
    if not any(head.startswith(start) for start, kind in KINDS if kind == expected):
        raise stranger(path, head, expected, "Give it the ending of what it is, or convert it to PNG.")
    return expected


@contextmanager
def _opened(path: Path) -> Iterator[ImageFile]:
    """The file, opened by Pillow and found to be right by its header; not decoded yet."""
    kind = _kind(path)
    if kind == "a WebP":
        _check_webp(path)  # Pillow makes room for the pixels when it opens one
    try:
        file = path.open("rb")
    except OSError as error:
        raise unreadable(path, error) from None
    with file:
        try:
            image = _plugin(kind)(file)
            frames, bits, upright = getattr(image, "n_frames", 1), _bits(image), _upright(image)
        except _DAMAGE as error:
            what = "damaged, without pixels, or of a form that Pillow does not read"
            raise DataCorrupt(f"{path}: {kind}, {what} ({error}).", _TO_RGB) from None
        _check_size(path, *image.size)
        if frames != 1:
            raise DataCorrupt(f"{path}: {frames} frames or pages, not one image.", "Save a single one.")
        if image.mode not in ("RGB", "RGBA") or bits != 8:
            name = _MODES.get(image.mode, f"{bits}-bit {image.mode}")
            raise DataCorrupt(f"{path}: {name}, not 8-bit RGB or RGBA.", _TO_RGB)
        if not upright:
            raise DataCorrupt(f"{path}: its orientation tag asks to turn it.", "Save it upright, best as PNG.")
        yield image


def _plugin(kind: str) -> type[ImageFile]:
    """Pillow's reader of one kind: the file is tried as nothing else, and a phone's picture of two is its first."""
    from PIL.BmpImagePlugin import BmpImageFile
    from PIL.JpegImagePlugin import JpegImageFile
    from PIL.TiffImagePlugin import TiffImageFile
    from PIL.WebPImagePlugin import WebPImageFile

    return {"a JPEG": JpegImageFile, "a BMP": BmpImageFile, "a TIFF": TiffImageFile, "a WebP": WebPImageFile}[kind]


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise DataCorrupt(f"{path}: {width}x{height}, an image without pixels.", _AGAIN)
    if width * height > MAX_PIXELS:
        raise DataCorrupt(f"{path}: {width}x{height}, more than {MAX_PIXELS} pixels.", "Scale the image down.")


def _bits(image: ImageFile) -> int:
    """Bits a channel as stored: Pillow also opens other depths as 8-bit RGB, and drops or fills bits."""
    if image.format == "TIFF":
        return int(max(image.tag_v2.get(_BITS, (1,))))  # type: ignore[attr-defined]
    if image.format == "BMP" and ";1" in str(image.tile[0].args):  # BGR;15 and BGR;16, of 5 or 6 bits
        return 5
    return 8


def _upright(image: ImageFile) -> bool:
    return image.format != "TIFF" or image.tag_v2.get(_ORIENTATION, _UPRIGHT) == _UPRIGHT  # type: ignore[attr-defined]


def _check_webp(path: Path) -> None:
    """Refuse a WebP that is cut short, too large or animated by its first chunk (RFC 9649, sections 2.4 to 2.7)."""
    head, _ = first_and_last(path, _HEAD, 0)
    name, head = head[12:16], head.ljust(_HEAD, b"\0")
    if name == b"VP8X":
        width, height = (1 + int.from_bytes(head[i : i + 3], "little") for i in (24, 27))
        if head[20] & 2:
            raise DataCorrupt(f"{path}: an animation, not one image.", "Save a single frame.")
    elif name == b"VP8L":
        bits = int.from_bytes(head[21:25], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(head[i : i + 2], "little") & 0x3FFF for i in (26, 28))
    _check_size(path, width, height)
    if path.stat().st_size < 8 + int.from_bytes(head[4:8], "little"):
        raise DataCorrupt(f"{path}: cut short after {path.stat().st_size} bytes.", _AGAIN)
