"""Images as datasets store them beside 8-bit colour: masks, 16-bit depth, and 16-bit colour of which 8 bits count.

Each is told by its header first, so that a folder is checked without decoding.
"""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness import imagefile
from nfbench.harness.errors import DataCorrupt
from nfbench.harness.png import MAX_PIXELS, Header, Image, read_header, read_png
from nfbench.loaders.arrayfile import write_bytes

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6  # PNG specification, table 11.1
HALF = 128  # from this on a pixel of a soft mask is foreground

_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error)
_MASKS = {(1, GREY), (8, GREY), (16, GREY), (8, GREY_ALPHA), (8, RGB), (8, RGBA), (16, RGB), (16, RGBA)}
_DEFLATE = 1032  # the most that deflate can compress by
_AGAIN = "Download or copy the file again."


def colour_size(path: Path) -> tuple[int, int]:
    """Width and height of an image of 8-bit or, as PNG, 16-bit RGB or RGBA, by its header.

    Raises what `imagefile.image_size` does.
    """
    return _header(path).size if _deep(path) else imagefile.image_size(path)


def read_colour(path: Path) -> Image:
    """The image in a file, uint8 (H,W,3) or (H,W,4) sRGB with straight alpha; of 16-bit channels the upper 8 bits.

    So Pillow opens such files, and with it the code of DVR and pixelNeRF. Raises what `imagefile.read_image` does.
    """
    if not _deep(path):
        return imagefile.read_image(path)
    pixels = _pillow(path, _header(path))
    if pixels.dtype != np.uint8 or pixels.ndim != 3:
        raise DataCorrupt(f"{path}: decoded to {pixels.dtype} {pixels.shape}, not what its header says.", _AGAIN)
    return pixels.astype(np.uint8, copy=False)


def mask_size(path: Path) -> tuple[int, int]:
    """Width and height of a mask, a PNG of grey or colour in 1, 8 or 16 bits, by its header.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is no PNG, damaged, without pixels, too large, or of palette.
    """
    header = _header(path)
    if (header.depth, header.colour) not in _MASKS:
        raise DataCorrupt(f"{path}: a PNG of another kind than masks have.", "Save it as 8-bit grey.")
    return header.size


def read_mask(path: Path) -> NDArray[np.bool_]:
    """The foreground, bool (H,W), of a mask: where its first channel is at least half. Raises as `mask_size` does."""
    mask_size(path)
    header = _header(path)
    pixels = read_png(path) if header.depth == 8 and header.colour in (RGB, RGBA) else _pillow(path, header)
    first = pixels if pixels.ndim == 2 else pixels[:, :, 0]
    half = {np.dtype(bool): 1, np.dtype(np.uint8): HALF}.get(first.dtype, HALF << 8)
    mask: NDArray[np.bool_] = first >= half
    return mask


def depth_size(path: Path) -> tuple[int, int]:
    """Width and height of a 16-bit grey PNG, by its header. Raises as `mask_size` does."""
    header = _header(path)
    if (header.depth, header.colour) != (16, GREY):
        raise DataCorrupt(f"{path}: not a 16-bit grey PNG, which depth comes as.", _AGAIN)
    return header.size


def read_depth(path: Path) -> NDArray[np.uint16]:
    """The numbers in a 16-bit grey PNG, uint16 (H,W). Raises as `mask_size` does."""
    depth_size(path)
    return _pillow(path, _header(path)).astype(np.uint16)


def write_grey(path: Path, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write (H,W) uint8 or uint16 as a grey PNG of as many bits; by rename, with the folders it needs."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
    write_bytes(path, buffer.getbuffer())


def _deep(path: Path) -> bool:
    """Whether a file is called a PNG and is one of 16-bit colour."""
    if path.suffix.lower() != ".png":
        return False
    header = read_header(path)
    return header.depth == 16 and header.colour in (RGB, RGBA)


def _header(path: Path) -> Header:
    header = read_header(path)
    if header.width < 1 or header.height < 1 or header.width * header.height > MAX_PIXELS:
        raise DataCorrupt(f"{path}: {header.width}x{header.height} pixels.", f"Images have 1 to {MAX_PIXELS} pixels.")
    least = header.width * header.height * header.depth * header.channels // 8
    if least > _DEFLATE * path.stat().st_size:  # room would be made, and filled, for nothing
        raise DataCorrupt(f"{path}: {header.width}x{header.height} pixels declared, more than it can hold.", _AGAIN)
    return header


def _pillow(path: Path, header: Header) -> NDArray[Any]:
    """The pixels as Pillow decodes them, (H,W) or (H,W,channels)."""
    from PIL.PngImagePlugin import PngImageFile

    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file, PngImageFile(file) as image:
            pixels = np.asarray(image)
    except _DAMAGE as error:
        raise DataCorrupt(f"{path}: damaged pixels ({error}).", _AGAIN) from None
    if pixels.shape[:2] != (header.height, header.width):
        raise DataCorrupt(f"{path}: decoded to {pixels.shape}, not what its header says.", _AGAIN)
    return pixels
