"""Wavefront OBJ: vertices and faces in the order of the file, all else left aside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt
from nfbench.harness.polygon import fan

_HINT = "It is truncated, damaged or of another format than its name."


def read_obj(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (V,3) and triangles (F,3) of an OBJ file, polygons cut into fans, none merged.

    A negative index counts back from the last vertex before its face. Texture coordinates, normals, colours, groups
    and materials are left aside, so that no vertex is repeated for their sake.

    Raises:
        DataCorrupt: not text, numbers that are none, faces of fewer than three corners or of vertices that are not
            there; it names the file and, for a face, its number.
    """
    text = path.read_bytes()
    if b"\0" in text:
        raise DataCorrupt(f"{path} is not an OBJ file: it is not text.", "Check its name.")
    if b"\\" in text:  # a line may go on in the next
        text = text.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")
    places: list[bytes] = []
    corners: list[bytes] = []
    sizes: list[int] = []
    before: list[int] = []  # vertices in front of each face
    for line in text.splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == b"v":
            if len(words) < 4:
                raise DataCorrupt(f"{path}: vertex {len(places) // 3 + 1} has no three coordinates.", _HINT)
            places += words[1:4]
        elif words[0] == b"f":
            named = _uncommented(words[1:])
            if len(named) < 3:
                raise DataCorrupt(f"{path}: face {len(sizes) + 1} has {len(named)} corners.", _HINT)
            corners += [word.partition(b"/")[0] for word in named] if b"/" in line else named
            sizes.append(len(named))
            before.append(len(places) // 3)
    return _numbers(path, places), _faces(path, corners, np.array(sizes, np.int64), before, len(places) // 3)


def _uncommented(words: list[bytes]) -> list[bytes]:
    comment = next((at for at, word in enumerate(words) if word.startswith(b"#")), None)
    return words[:comment]


def _numbers(path: Path, words: list[bytes]) -> NDArray[np.float64]:
    try:
        return np.array(words, np.float64).reshape(-1, 3)
    except ValueError as error:
        raise DataCorrupt(f"{path}: a vertex cannot be read: {error}.", _HINT) from error


def _faces(
    path: Path, words: list[bytes], sizes: NDArray[np.int64], before: list[int], count: int
) -> NDArray[np.int64]:
    try:
        named = np.array([int(word) for word in words], np.int64)
    except (ValueError, OverflowError) as error:
        raise DataCorrupt(f"{path}: a face cannot be read: {error}.", _HINT) from error
    index = np.where(named > 0, named - 1, named + np.repeat(np.array(before, np.int64), sizes))
    wrong = np.flatnonzero((named == 0) | (index < 0) | (index >= count))
    if len(wrong):
        face = int(np.searchsorted(np.cumsum(sizes), wrong[0], "right")) + 1
        raise DataCorrupt(f"{path}: face {face} names vertex {named[wrong[0]]}; there are {count}.", _HINT)
    return fan(sizes, index)
