"""COLMAP's sparse models: cameras, images and points3D, as text or binary, read with every count checked first.

    cameras     id, model, width, height, parameters in pixels; the first pixel's centre is at (0.5, 0.5)
    images      id, world to camera as a quaternion (w first) and a translation, id of a camera, name; 2D points
    points3D    id, x y z, colour, error, track

Where both forms are there the binary one counts, as in COLMAP. The 2D points are skipped, not read. From version 3.12
on rigs and frames lie beside these; each image still has its whole pose, and they are not read.
"""

from __future__ import annotations

import itertools
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported

Float64 = NDArray[np.float64]
Number = TypeVar("Number", int, float)

MODELS: dict[str, tuple[int, tuple[str, ...]]] = {  # number and parameters: COLMAP src/colmap/sensor/models.h
    "SIMPLE_PINHOLE": (0, ("f", "cx", "cy")),
    "PINHOLE": (1, ("fx", "fy", "cx", "cy")),
    "SIMPLE_RADIAL": (2, ("f", "cx", "cy", "k1")),
    "RADIAL": (3, ("f", "cx", "cy", "k1", "k2")),
    "OPENCV": (4, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2")),
    "OPENCV_FISHEYE": (5, ("fx", "fy", "cx", "cy", "k1", "k2", "k3", "k4")),
    "FULL_OPENCV": (6, ("fx", "fy", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
    "SIMPLE_RADIAL_FISHEYE": (8, ("f", "cx", "cy", "k1")),
    "RADIAL_FISHEYE": (9, ("f", "cx", "cy", "k1", "k2")),
    "SIMPLE_FISHEYE": (14, ("f", "cx", "cy")),  # equidistant: a fisheye without distortion
    "FISHEYE": (15, ("fx", "fy", "cx", "cy")),
}
"""The camera models that are read."""

LENS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
FISHEYE_LENS = ("k1", "k2", "k3", "k4")

_OTHERS = {
    7: "FOV",
    10: "THIN_PRISM_FISHEYE",
    11: "RAD_TAN_THIN_PRISM_FISHEYE",
    12: "SIMPLE_DIVISION",
    13: "DIVISION",
    16: "EUCM",
    17: "EQUIRECTANGULAR",
}
_BY_NUMBER = {number: name for name, (number, _) in MODELS.items()}
_LEAST = 2  # parameters of a camera: EQUIRECTANGULAR's
_LONGEST = 100_000  # pixels along a side
_LONGEST_NAME = 1024  # bytes of an image's path
_LARGEST = 1e30  # what float32 can hold, and its square nearly
_AGAIN = "Copy the model again, or export it anew with colmap model_converter."
_IMAGE, _POINT = struct.Struct("<I4d3dI"), struct.Struct("<Q3d3Bd")  # up to the name, up to the track's length


@dataclass(frozen=True)
class Camera:
    """One camera: its model's name, the size of its images and the values of its model's parameters."""

    model: str
    width: int
    height: int
    values: tuple[float, ...]

    @property
    def fisheye(self) -> bool:
        """Whether its lens is a fisheye."""
        return self.model.endswith("FISHEYE")

    def intrinsics(self) -> Float64:
        """(3,3) intrinsics in pixels."""
        named = dict(zip(MODELS[self.model][1], self.values, strict=True))
        fx, fy = named.get("fx", named.get("f", 0.0)), named.get("fy", named.get("f", 0.0))
        return np.array([[fx, 0, named["cx"]], [0, fy, named["cy"]], [0, 0, 1]])

    def lens(self) -> Float64:
        """(8,) numbers of its lens, as `harness/lens.py` has them."""
        named = dict(zip(MODELS[self.model][1], self.values, strict=True))
        order = (*FISHEYE_LENS, "", "", "", "") if self.fisheye else LENS
        return np.array([named.get(name, 0.0) for name in order])


@dataclass(frozen=True)
class Placed:
    """The images of a model: N names, quaternions (N,4), translations (N,3), and the number of the camera of each."""

    names: list[str]
    quaternions: Float64
    translations: Float64
    cameras: list[int]


def model_folder(scene: Path) -> Path | None:
    """The folder of the model: sparse/0, or sparse as `colmap image_undistorter` writes it; None without one."""
    for folder in (scene / "sparse" / "0", scene / "sparse"):
        if _file(folder, "cameras") is not None and _file(folder, "images") is not None:
            return folder
    return None


def _file(folder: Path, what: str) -> Path | None:
    return next((f for f in (folder / f"{what}.bin", folder / f"{what}.txt") if f.is_file()), None)


def _there(folder: Path, what: str) -> Path:
    file = _file(folder, what)
    if file is None:
        raise DataMissing(f"There is no {folder / what}.bin or .txt.", "A COLMAP model has cameras, images, points3D.")
    return file


def read_cameras(folder: Path) -> dict[int, Camera]:
    """The cameras of a model by their ids.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is cut short, too long, gives an id twice, or holds what no camera can have.
        Unsupported: a camera model that is not one of `MODELS`; it is named.
    """
    file = _there(folder, "cameras")
    found: dict[int, Camera] = {}
    for identity, camera in _binary_cameras(file) if file.suffix == ".bin" else _text_cameras(file):
        if identity in found:
            raise DataCorrupt(f"{file}: camera {identity} is there twice.", _AGAIN)
        _check_camera(f"{file}: camera {identity} ({camera.model})", camera)
        found[identity] = camera
    if not found:
        raise DataCorrupt(f"{file} holds no cameras.", _AGAIN)
    return found


def _check_camera(label: str, camera: Camera) -> None:
    if not (1 <= camera.width <= _LONGEST and 1 <= camera.height <= _LONGEST):
        raise DataCorrupt(f"{label} has images of {camera.width}x{camera.height} pixels.", _AGAIN)
    expected = MODELS[camera.model][1]
    if len(camera.values) != len(expected):
        raise DataCorrupt(f"{label} has {len(camera.values)} parameters, not {', '.join(expected)}.", _AGAIN)
    for name, value in zip(expected, camera.values, strict=True):
        if not abs(value) < _LARGEST or (name[0] == "f" and not value > 0):
            raise DataCorrupt(f"{label}: {name} is {value}.", "Calibrate again, or mend the number.")


def _known(label: str, model: str | None, number: int | None = None) -> str:
    if model in MODELS:
        return model
    name = model or _OTHERS.get(number or 0, f"number {number}")
    raise Unsupported(
        f"{label} is of the camera model {name}, which is not read.",
        f"Undistort the images with colmap image_undistorter. Read are {', '.join(MODELS)}.",
    )


def read_images(folder: Path) -> Placed:
    """The placed images of a model, sorted by name.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is cut short, too long, gives a name twice, or holds a pose that is none.
    """
    file = _there(folder, "images")
    rows = sorted(_binary_images(file) if file.suffix == ".bin" else _text_images(file), key=lambda row: row[0])
    if not rows:
        raise DataCorrupt(f"{file} holds no images.", _AGAIN)
    names = [row[0] for row in rows]
    for name, other in itertools.pairwise(names):
        if name == other:
            raise DataCorrupt(f"{file}: the image {name!r} is there twice.", _AGAIN)
    poses = np.array([row[1] for row in rows], np.float64)
    norm = np.linalg.norm(np.where(np.abs(poses) < _LARGEST, poses, np.nan)[:, :4], axis=1)
    bad = np.flatnonzero(~(np.abs(poses) < _LARGEST).all(1) | ~(norm > 1e-6))
    if len(bad):
        raise DataCorrupt(
            f"{file}: image {names[bad[0]]!r} has the quaternion and translation {poses[bad[0]].tolist()}.",
            "Finite numbers are needed, and a quaternion that is not zero.",
        )
    return Placed(names, poses[:, :4], poses[:, 4:], [row[2] for row in rows])


def read_points(folder: Path) -> Float64:
    """(P,3) sparse points of a model; there may be none.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is cut short, too long, or holds a point that is not finite.
    """
    file = _there(folder, "points3D")
    xyz = _binary_points(file) if file.suffix == ".bin" else _text_points(file)
    bad = np.flatnonzero(~(np.abs(xyz) < _LARGEST).all(1))
    if len(bad):
        raise DataCorrupt(f"{file}: point {bad[0]} in order is {xyz[bad[0]].tolist()}.", _AGAIN)
    return xyz


@contextmanager
def _opened(file: Path) -> Iterator[tuple[Callable[[int, int], bytes], int]]:
    """What reads a number of bytes from a place in a file, and the file's size."""
    try:
        with file.open("rb", buffering=0) as stream:

            def part(length: int, at: int) -> bytes:
                stream.seek(at)
                return stream.read(length)

            yield part, os.fstat(stream.fileno()).st_size
    except OSError as error:
        raise DataCorrupt(f"{file} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None


def _bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataCorrupt(f"{file} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None


def _short(file: Path, what: str) -> DataCorrupt:
    return DataCorrupt(f"{file} is cut short, or damaged, in {what}.", _AGAIN)


def _count(file: Path, start: bytes, size: int, least: int) -> int:
    """How many records a file of `size` bytes declares, each of at least `least` bytes."""
    if len(start) < 8:
        raise _short(file, "its first 8 bytes")
    count = int.from_bytes(start[:8], "little")
    if count * least > size - 8:
        raise DataCorrupt(f"{file} declares {count} records and has {size} bytes: it is cut short.", _AGAIN)
    return count


def _check_end(file: Path, size: int, end: int) -> None:
    if end != size:
        raise DataCorrupt(f"{file} has {size - end} bytes after its last record.", _AGAIN)


def _binary_cameras(file: Path) -> Iterator[tuple[int, Camera]]:
    data, at = _bytes(file), 8
    for i in range(_count(file, data, len(data), 24 + 8 * _LEAST)):
        if at + 24 > len(data):
            raise _short(file, f"camera {i} in order")
        identity, number, width, height = struct.unpack_from("<IiQQ", data, at)
        model = _known(f"{file}: camera {identity}", _BY_NUMBER.get(number), number)
        size = 8 * len(MODELS[model][1])
        if at + 24 + size > len(data):
            raise _short(file, f"camera {identity}")
        yield identity, Camera(model, width, height, struct.unpack_from(f"<{size // 8}d", data, at + 24))
        at += 24 + size
    _check_end(file, len(data), at)


def _binary_images(file: Path) -> Iterator[tuple[str, tuple[float, ...], int]]:
    head = _IMAGE.size
    with _opened(file) as (part, size):
        at = 8
        for i in range(_count(file, part(8, 0), size, head + 9)):
            record = part(head + _LONGEST_NAME + 9, at)  # not the 2D points, most of the file
            end = record.find(b"\0", head)
            if end < 0 or end + 9 > len(record):
                raise _short(file, f"image {i} in order")
            values = _IMAGE.unpack_from(record)
            try:
                name = record[head:end].decode("utf-8")
            except UnicodeDecodeError:
                raise DataCorrupt(f"{file}: the name of image {i} in order is not UTF-8.", "Rename it.") from None
            at += end + 9 + 24 * int.from_bytes(record[end + 1 : end + 9], "little")
            if at > size:
                raise _short(file, f"the 2D points of image {name!r}")
            yield name, values[1:8], values[8]
        _check_end(file, size, at)


def _binary_points(file: Path) -> Float64:
    data, at = _bytes(file), 8
    count, head = _count(file, data, len(data), _POINT.size + 8), _POINT.size
    starts, length, end = np.empty(count, np.int64), struct.Struct("<Q").unpack_from, len(data)
    for i in range(count):
        if at + head + 8 > end:
            raise _short(file, f"point {i} in order")
        starts[i] = at
        at += head + 8 + 8 * length(data, at + head)[0]
    _check_end(file, len(data), at)
    if not count:
        return np.empty((0, 3))
    raw = np.frombuffer(data, np.uint8)
    return np.asarray(raw[starts[:, None] + np.arange(8, 32)].view("<f8"), np.float64)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """Number and text of the lines of a file, without their ends."""
    try:
        with file.open(encoding="utf-8-sig", newline=None) as stream:
            for number, line in enumerate(stream, 1):
                yield number, line.rstrip("\n")
    except OSError as error:
        raise DataCorrupt(f"{file} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{file}: byte {error.start} of a line is not UTF-8.", "Save the file as UTF-8.") from None


def _records(file: Path) -> Iterator[tuple[int, str]]:
    """The lines that are neither empty nor a comment."""
    return ((number, line) for number, line in _lines(file) if line.strip() and not line.lstrip().startswith("#"))


def _numbers(file: Path, line: int, words: list[str], convert: Callable[[str], Number]) -> list[Number]:
    try:
        return [convert(word) for word in words]
    except ValueError:
        raise DataCorrupt(f"{file}: line {line}: {' '.join(words)[:80]!r} are no numbers.", _AGAIN) from None


def _text_cameras(file: Path) -> Iterator[tuple[int, Camera]]:
    for line, text in _records(file):
        words = text.split()
        if len(words) < 4:
            raise DataCorrupt(f"{file}: line {line} has {len(words)} items, not 5 or more.", _AGAIN)
        identity, width, height = _numbers(file, line, [words[0], *words[2:4]], int)
        model = _known(f"{file}: camera {identity}", words[1])
        yield identity, Camera(model, width, height, tuple(_numbers(file, line, words[4:], float)))


def _text_images(file: Path) -> Iterator[tuple[str, tuple[float, ...], int]]:
    """Two lines an image; the second, of 2D points, is empty where there are none."""
    lines = _lines(file)
    for line, text in lines:
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        words = text.split(maxsplit=9)
        if len(words) != 10:
            raise DataCorrupt(f"{file}: line {line} has {len(words)} items, not 10.", "Each image has two lines.")
        _numbers(file, line, words[:1], int)
        pose = tuple(_numbers(file, line, words[1:8], float))
        yield words[9].rstrip(), pose, _numbers(file, line, words[8:9], int)[0]
        next(lines, None)


def _text_points(file: Path) -> Float64:
    rows = []
    for line, text in _records(file):
        words = text.split(maxsplit=8)
        if len(words) < 8:
            raise DataCorrupt(f"{file}: line {line} has {len(words)} items, not 8 or more.", _AGAIN)
        rows.append(_numbers(file, line, words[1:4], float))
    return np.array(rows, np.float64).reshape(-1, 3)
