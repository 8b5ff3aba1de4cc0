"""Poses and intrinsics of other programs, to and from the one convention of `harness/camera.py`.

All work in float64, so that a conversion and its inverse agree to 1e-6 px. OpenGL's axes, a change of signs that is its
own inverse, are `camera.from_opengl`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]

_P3D_AXES = np.array([-1.0, -1.0, 1.0])  # x left, y up, z forward, told by ours


def from_world_to_camera(w2c: ArrayLike) -> Float64:
    """(N,3,4) camera-to-world poses from world-to-camera matrices [R|t] (N,3|4,4), OpenCV axes in both."""
    matrices = np.asarray(w2c, np.float64)[:, :3, :4]
    turn = matrices[:, :, :3].transpose(0, 2, 1)
    return np.concatenate([turn, -turn @ matrices[:, :, 3:]], axis=2)


to_world_to_camera = from_world_to_camera
"""(N,3,4) world-to-camera matrices from camera-to-world poses: the inverse of a rigid motion is its own inverse."""


def rotations(quaternions: ArrayLike) -> Float64:
    """(N,3,3) rotations of quaternions (N,4), w first, of any length but zero."""
    q = np.asarray(quaternions, np.float64).reshape(-1, 4)
    w, x, y, z = (q / np.linalg.norm(q, axis=1, keepdims=True)).T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)


def quaternions(rotations: ArrayLike) -> Float64:
    """(N,4) unit quaternions, w first and not negative, of rotations (N,3,3).

    The eigenvector of Bar-Itzhack 2000, "New Method for Extracting the Quaternion from a Rotation Matrix", version 3:
    the nearest rotation where a matrix is one only up to rounding.
    """
    r = np.asarray(rotations, np.float64).reshape(-1, 3, 3)
    symmetric = np.empty((len(r), 4, 4))
    trace = np.trace(r, axis1=1, axis2=2)
    symmetric[:, 0, 0] = trace
    symmetric[:, 1:, 1:] = r + r.transpose(0, 2, 1) - trace[:, None, None] * np.eye(3)
    turn = np.stack([r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]], axis=1)
    symmetric[:, 0, 1:] = symmetric[:, 1:, 0] = turn
    found: Float64 = np.linalg.eigh(symmetric)[1][:, :, 3]
    return np.where(found[:, :1] < 0, -found, found)


def from_colmap(quaternion: ArrayLike, translation: ArrayLike) -> Float64:
    """(N,3,4) camera-to-world poses from COLMAP's world-to-camera quaternions (N,4), w first, and shifts (N,3)."""
    t = np.asarray(translation, np.float64).reshape(-1, 3, 1)
    return from_world_to_camera(np.concatenate([rotations(quaternion), t], axis=2))


def to_colmap(c2w: ArrayLike) -> tuple[Float64, Float64]:
    """COLMAP's world-to-camera quaternions (N,4), w first, and translations (N,3) from camera-to-world (N,3|4,4)."""
    poses = np.asarray(c2w, np.float64)[:, :3, :4]
    q = quaternions(poses[:, :, :3].transpose(0, 2, 1))
    return q, -(rotations(q) @ poses[:, :, 3:])[:, :, 0]


def from_llff(poses: ArrayLike) -> Float64:
    """(N,3,4) poses in OpenCV axes from LLFF's (N,3,4), whose columns are down, right, backwards and the centre."""
    p = np.asarray(poses, np.float64)
    return np.stack([p[:, :, 1], p[:, :, 0], -p[:, :, 2], p[:, :, 3]], axis=2)


to_llff = from_llff
"""(N,3,4) poses in LLFF's axes from poses in OpenCV axes: the same exchange."""


def from_pytorch3d(R: ArrayLike, T: ArrayLike) -> Float64:
    """(N,3,4) poses in OpenCV axes from PyTorch3D's R (N,3,3) and T (N,3): x_camera = x_world R + T, x left, y up."""
    rotation, t = np.asarray(R, np.float64), np.asarray(T, np.float64)
    return np.concatenate([rotation * _P3D_AXES, -(rotation @ t[:, :, None])], axis=2)


def to_pytorch3d(c2w: ArrayLike) -> tuple[Float64, Float64]:
    """PyTorch3D's R (N,3,3) and T (N,3) from poses in OpenCV axes (N,3|4,4)."""
    poses = np.asarray(c2w, np.float64)
    R = poses[:, :3, :3] * _P3D_AXES
    return R, -(poses[:, None, :3, 3] @ R)[:, 0]


def to_ndc(K: ArrayLike, size: ArrayLike) -> tuple[Float64, Float64]:
    """PyTorch3D's focal lengths (N,2) and principal points (N,2) in NDC from K (N,3,3) and width and height (N,2).

    NDC has its origin in the middle of the image, x left and y up, and [-1,1] along the shorter side.
    """
    k, wh = np.asarray(K, np.float64), np.asarray(size, np.float64)
    half = wh.min(1, keepdims=True) / 2
    return k[:, [0, 1], [0, 1]] / half, -(k[:, :2, 2] - wh / 2) / half


def from_ndc(focal: ArrayLike, principal: ArrayLike, size: ArrayLike) -> Float64:
    """K (N,3,3) in pixels from PyTorch3D's focal lengths (N,2) and principal points (N,2) in NDC, for `size` (N,2)."""
    wh = np.asarray(size, np.float64)
    half = wh.min(1, keepdims=True) / 2
    K = np.tile(np.eye(3), (len(wh), 1, 1))
    K[:, [0, 1], [0, 1]] = np.asarray(focal, np.float64) * half
    K[:, :2, 2] = wh / 2 - np.asarray(principal, np.float64) * half
    return K
