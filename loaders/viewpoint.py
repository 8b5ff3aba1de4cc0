"""PyTorch3D's cameras, as the annotations of CO3D hold them: row vectors, x left, y up, z forward.

A viewpoint is `x_camera = x_world R + T`. Focal length and principal point are in normalised coordinates that grow to
the left and up from the middle of the image:

    ndc_isotropic           one unit is half the shorter side
    ndc_norm_image_bounds   one unit is half the width along x, half the height along y; meant where none is said

facebookresearch/co3d dataset/data_types.py ViewpointAnnotation; facebookresearch/pytorch3d renderer/cameras.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.scene import Float

FORMATS = ("ndc_isotropic", "ndc_norm_image_bounds")

_TO_OPENCV = np.array([-1.0, -1.0, 1.0])  # PyTorch3D's x and y point left and up
_LARGEST = float(np.finfo(np.float32).max)
_AGAIN = "Download the category's annotations again."


def read_viewpoint(
    label: str,
    viewpoint: Any,  # noqa: ANN401  # whatever JSON holds
    size: tuple[int, int],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3,4) camera-to-world pose in OpenCV axes, and (3,3) intrinsics in pixels; the pose is not checked to be rigid.

    Args:
        label: the file and the frame, for messages.
        viewpoint: an object of JSON.
        size: width and height of the image in pixels.

    Raises:
        DataMissing: it is no object.
        DataCorrupt: numbers are missing, too many, or not finite, or a focal length is not above 0.
        Unsupported: another intrinsics_format than `FORMATS`.
    """
    if not isinstance(viewpoint, Mapping):
        raise DataMissing(f"{label} has no viewpoint.", "Take the frame out of the set lists.")
    R = numbers(f"{label}: viewpoint R", viewpoint.get("R"), (3, 3))
    T = numbers(f"{label}: viewpoint T", viewpoint.get("T"), (3,))
    focal = numbers(f"{label}: focal_length", viewpoint.get("focal_length"), (2,))
    principal = numbers(f"{label}: principal_point", viewpoint.get("principal_point"), (2,))
    if (focal <= 0).any():
        raise DataCorrupt(f"{label}: focal_length {focal.tolist()} is not above 0.", _AGAIN)
    format = viewpoint.get("intrinsics_format", FORMATS[1])
    if format not in FORMATS:
        raise Unsupported(f"{label}: intrinsics_format {format!r}.", f"Known: {', '.join(FORMATS)}.")
    half = np.array(size) / 2
    unit = np.full(2, half.min()) if format == FORMATS[0] else half
    K = np.diag([*(focal * unit), 1.0])
    K[:2, 2] = half - principal * unit
    return np.concatenate([R * _TO_OPENCV, -(R @ T)[:, None]], axis=1), K


def viewpoint_of(label: str, camera: Cameras) -> dict[str, Any]:
    """The viewpoint of one camera, in ndc_isotropic: the way back, exact but for rounding of T.

    Raises:
        Unsupported: the camera has skew or a negative focal length.
    """
    K, c2w, half = camera.K[0].astype(np.float64), camera.c2w[0].astype(np.float64), camera.size[0] / 2
    focal = np.diag(K)[:2]
    if not np.array_equal(K, [[focal[0], 0, K[0, 2]], [0, focal[1], K[1, 2]], [0, 0, 1]]) or (focal <= 0).any():
        raise Unsupported(f"{label} has skew or a negative focal length.", "The format has neither.")
    R, unit = c2w[:, :3] * _TO_OPENCV, half.min()
    return {
        "R": R.tolist(),
        "T": np.linalg.solve(R, -c2w[:, 3]).tolist(),
        "focal_length": (focal / unit).tolist(),
        "principal_point": ((half - K[:2, 2]) / unit).tolist(),
        "intrinsics_format": FORMATS[0],
    }


def ray_lengths(camera: Cameras) -> Float:
    """(H,W) float32: the distance along the ray through each pixel's centre at which the depth along the axis is 1."""
    K, (width, height) = camera.K[0].astype(np.float64), camera.size[0].tolist()
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    slope = np.hypot(((x - K[0, 2]) / K[0, 0])[None], ((y - K[1, 2]) / K[1, 1])[:, None])
    lengths: Float = np.sqrt(1 + slope**2).astype(np.float32)
    return lengths


def numbers(label: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:  # noqa: ANN401  # of JSON
    """The numbers in nested lists of JSON, of the given shape.

    Raises:
        DataCorrupt: something else, NaN, infinity, or more than float32 can hold.
    """
    if not _sound(value, shape):
        raise DataCorrupt(f"{label} is {str(value)[:80]}, not {' x '.join(map(str, shape)) or 1} numbers.", _AGAIN)
    return np.array(value, np.float64)


def _sound(value: Any, shape: tuple[int, ...]) -> bool:  # noqa: ANN401  # of JSON
    if not shape:
        return type(value) in (int, float) and abs(value) < _LARGEST  # NaN is not
    return isinstance(value, list) and len(value) == shape[0] and all(_sound(v, shape[1:]) for v in value)
