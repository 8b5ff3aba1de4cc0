"""What nerfstudio's JSON file says of the camera of one frame, checked: intrinsics, lens, pose, near and far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, Unsupported

LENS = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
"""The keys of distortion, in the order of `harness/lens.py`."""

RATIONAL = "FULL_OPENCV"
"""The camera model of k4, k5 and k6 below the fraction bar: nerfstudio has none, so that it is nfbench's own."""

_CAMERA = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_angle_x", "camera_angle_y")
_PLAIN = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE")
_FISHEYES = ("OPENCV_FISHEYE", "FISHEYE")
_LARGEST = 1e30  # what float32 can hold, and its square nearly
_LONGEST = 100_000  # pixels along a side


def own(data: Mapping[str, Any], frame: Mapping[str, Any], label: str) -> dict[str, Any]:
    """What the file and a frame say of its camera; no key may be in both with different values."""
    keys = (*_CAMERA, *LENS, "camera_model", "is_fisheye")
    for key in keys:
        if key in data and key in frame and data[key] != frame[key]:
            raise DataCorrupt(
                f"{label}: its {key} is {frame[key]!r}, that of the whole file {data[key]!r}.",
                "nerfstudio takes the latter, others the former: take one of them out.",
            )
    found = {key: source[key] for source in (data, frame) for key in keys if source.get(key) is not None}
    for key in found.keys() & {*_CAMERA, *LENS}:
        number(found, key, label, 0.0)
    return found


def number(source: Mapping[str, Any], key: str, label: str, default: float) -> float:
    """The number of a key, finite; `default` without it."""
    value = source.get(key, default)
    if type(value) not in (int, float) or not abs(value) < _LARGEST:
        raise DataCorrupt(f"{label}: {key} is {value!r}, not a finite number.", "Mend it, or download the file again.")
    return float(value)


def intrinsics(own: Mapping[str, Any], size: Sequence[float], label: str) -> NDArray[np.float64]:
    """(3,3) in pixels of images of `size`, width and height."""
    if not all(1 <= side <= _LONGEST for side in size):
        raise DataCorrupt(f"{label}: w and h are {size}.", "Give the width and height of the image in pixels.")
    focal: list[float | None] = []
    for axis, side in zip("xy", size, strict=True):
        length, angle = own.get(f"fl_{axis}"), own.get(f"camera_angle_{axis}")
        if angle is not None and not 0 < angle < math.pi:
            raise DataCorrupt(f"{label}: camera_angle_{axis} is {angle}.", "Give radians, between 0 and pi.")
        if length is None and angle is not None:
            length = side / 2 / math.tan(angle / 2)
        if length is not None and length <= 0:
            raise DataCorrupt(f"{label}: fl_{axis} is {length}.", "A focal length in pixels is more than 0.")
        focal.append(length)
    fx = focal[0]
    if fx is None:
        raise DataCorrupt(f"{label}: no fl_x and no camera_angle_x.", "Give the focal length in pixels.")
    fy = focal[1] if focal[1] is not None else fx
    return np.array([[fx, 0, own.get("cx", size[0] / 2)], [0, fy, own.get("cy", size[1] / 2)], [0, 0, 1]])


def lens(own: Mapping[str, Any], label: str) -> tuple[list[float], bool]:
    """The (8,) numbers of a frame's lens, and whether it is a fisheye."""
    model = str(own.get("camera_model", "OPENCV_FISHEYE" if own.get("is_fisheye") else "OPENCV")).upper()
    numbers = {key: float(own.get(key, 0.0)) for key in LENS}
    if model in _FISHEYES:
        unread = [key for key in ("p1", "p2", "k5", "k6") if numbers[key]]
        values = [numbers[key] for key in ("k1", "k2", "k3", "k4")] + [0.0] * 4
    elif model in _PLAIN or model == RATIONAL:
        # nerfstudio's k4 is a power of the radius, OpenCV's is below the fraction bar
        unread = [key for key in ("k4", "k5", "k6") if numbers[key] and model != RATIONAL]
        values = [numbers[key] for key in LENS]
    else:
        raise Unsupported(
            f"{label}: the camera model {model} is not read.",
            f"Undistort the images first. Read are {', '.join((*_PLAIN, RATIONAL, *_FISHEYES))}.",
        )
    if unread:
        raise Unsupported(
            f"{label}: {unread[0]} is {numbers[unread[0]]} in the camera model {model}.", "Undistort the images first."
        )
    return values, model in _FISHEYES


def matrix(value: object, label: str) -> list[list[float]]:
    """(3,4) or the first three rows of (4,4), checked."""
    rows = value if isinstance(value, list) else []
    sound = len(rows) in (3, 4) and all(isinstance(row, list) and len(row) == 4 for row in rows)
    if not sound:
        raise DataCorrupt(f"{label} has no transform_matrix of 4x4.", "Give its 4x4 pose, row by row.")
    for entry in (entry for row in rows for entry in row):
        if type(entry) not in (int, float) or not abs(entry) < _LARGEST:
            raise DataCorrupt(f"{label}: transform_matrix holds {entry!r}.", "Give finite numbers, or drop the frame.")
    if len(rows) == 4 and np.abs(np.subtract(rows[3], (0, 0, 0, 1))).max() > 1e-6:
        raise DataCorrupt(f"{label}: the last row of transform_matrix is {rows[3]}.", "It must be 0 0 0 1.")
    return rows[:3]


def near_far(frame: Mapping[str, Any], label: str) -> tuple[float, float] | None:
    """Near and far of a frame in scene units, None where it has neither."""
    if "near" not in frame and "far" not in frame:
        return None
    near, far = number(frame, "near", label, -1.0), number(frame, "far", label, -1.0)
    if not 0 <= near < far:
        raise DataCorrupt(f"{label}: near {near} and far {far}.", "Give 0 <= near < far, or neither.")
    return near, far
