"""Frames to a film: WebP, GIF and APNG by Pillow, MP4 by PyAV, an extra."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import NfbenchError, Unsupported
from nfbench.harness.scene import Image

BY_PILLOW = {".webp": "WEBP", ".gif": "GIF", ".png": "PNG"}
ENDINGS = (*BY_PILLOW, ".mp4")
_QUALITY = "18"  # constant rate factor of x264: no loss that one sees


def check_ending(path: Path) -> None:
    """Raise, before any work is done, where a film cannot be written to `path`.

    Raises:
        NfbenchError: an ending that is none of a film.
        Unsupported: MP4 without PyAV.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise NfbenchError(f"{path} does not end like a film.", f"Give a name that ends in {', '.join(ENDINGS)}.")
    if ending == ".mp4":
        _av()


def write_film(path: Path, frames: Sequence[Image], seconds: float) -> None:
    """Write frames, uint8 (H,W,3) of one size, as a film that lasts so long and begins again, whole or not at all.

    Raises:
        NfbenchError, Unsupported: as `check_ending` does.
    """
    check_ending(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        if path.suffix.lower() == ".mp4":
            _write_mp4(partial, frames, seconds)
        else:
            _write_by_pillow(partial, BY_PILLOW[path.suffix.lower()], frames, seconds)


def _write_by_pillow(path: Path, kind: str, frames: Sequence[Image], seconds: float) -> None:
    from PIL import Image as Pillow

    pictures = [Pillow.fromarray(np.ascontiguousarray(frame)) for frame in frames]
    options: dict[str, Any] = {"WEBP": {"quality": 90, "method": 4}, "GIF": {"disposal": 1}, "PNG": {}}[kind]
    each = max(round(1000 * seconds / len(pictures)), 1)  # milliseconds
    with path.open("wb") as file:
        pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], duration=each, loop=0, **options)


def _write_mp4(path: Path, frames: Sequence[Image], seconds: float) -> None:
    from fractions import Fraction

    av = _av()
    height, width = frames[0].shape[:2]
    with path.open("wb") as file, av.open(file, "w", format="mp4") as container:
        rate = Fraction(len(frames) / seconds).limit_denominator(1001)
        stream = container.add_stream("libx264", rate=rate, options={"crf": _QUALITY})
        # H.264 in 4:2:0 has pixels by twos
        stream.width, stream.height, stream.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
        for frame in frames:
            padded = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(padded), format="rgb24")))
        container.mux(stream.encode())


def _av() -> Any:  # noqa: ANN401  # an extra, whose types are not here
    try:
        return import_module("av")
    except ImportError as error:
        raise Unsupported(
            f"MP4 needs PyAV, which is not here: {error}.",
            "pip install 'nfbench[video]', or give a name that ends in .webp or .gif.",
        ) from None
