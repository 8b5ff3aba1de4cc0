"""Cameras in the one convention of nfbench, and the rays and projections they define.

Camera to world, OpenCV axes (x right, y down, z forward), intrinsics in pixels, the centre of the first pixel at
(0.5, 0.5). Loaders convert to it once; nothing else in nfbench knows another convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.errors import DataCorrupt

Float = NDArray[np.float32]

_ROTATION_TOLERANCE = 1e-2  # float32 poses written with few digits stay well below this


@dataclass(frozen=True, eq=False)
class Cameras:
    """N posed pinhole cameras.

    Attributes:
        c2w: (N,3,4) float32, camera to world, OpenCV axes; a rotation and a centre in scene units.
        K: (N,3,3) float32, intrinsics in pixels, pixel centres at +0.5.
        size: (N,2) int32, width and height in pixels.
        near_far: (N,2) float32, the distances from the camera centre along a ray, in scene units, between which
            the scene lies; None where the dataset does not say.

    Raises:
        DataCorrupt: a wrong shape, a value that is not finite, or a pose that is no rigid motion; it names the camera.
    """

    c2w: Float
    K: Float
    size: NDArray[np.int32]
    near_far: Float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "c2w", np.ascontiguousarray(self.c2w, np.float32))
        object.__setattr__(self, "K", np.ascontiguousarray(self.K, np.float32))
        object.__setattr__(self, "size", np.ascontiguousarray(self.size, np.int32))
        n = len(self.c2w)
        shapes = {"c2w": (n, 3, 4), "K": (n, 3, 3), "size": (n, 2)}
        if self.near_far is not None:
            object.__setattr__(self, "near_far", np.ascontiguousarray(self.near_far, np.float32))
            shapes["near_far"] = (n, 2)
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise DataCorrupt(f"Cameras.{name} has shape {getattr(self, name).shape}, not {shape}.")
        check_poses(self.c2w, [f"camera {i}" for i in range(n)])
        if self.near_far is not None and not (np.diff(self.near_far) > 0).all():
            index = int(np.flatnonzero(~(np.diff(self.near_far)[:, 0] > 0))[0])
            raise DataCorrupt(f"camera {index}: near and far are {self.near_far[index].tolist()}, not near < far.")
        focal = self.K[:, [0, 1], [0, 1]]
        bad = np.flatnonzero(~np.isfinite(self.K).all((1, 2)) | (focal == 0).any(1) | (self.size < 1).any(1))
        if len(bad):
            raise DataCorrupt(f"camera {bad[0]} has no usable intrinsics: K {self.K[bad[0]].tolist()}.")

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, index: int | np.integer | slice | Sequence[int]) -> Cameras:
        """The cameras at `index`; one number gives Cameras of length 1."""
        at = [int(index)] if isinstance(index, int | np.integer) else index
        near_far = None if self.near_far is None else self.near_far[at]
        return Cameras(self.c2w[at], self.K[at], self.size[at], near_far)

    @property
    def centres(self) -> Float:
        """(N,3) float32, the camera centres in scene units."""
        return self.c2w[:, :, 3]


def check_poses(c2w: NDArray[np.floating], names: Sequence[str]) -> None:
    """Raise DataCorrupt, naming the first of `names`, where a pose of `c2w` (N,3|4,4) is no rigid motion."""
    for pose, name in zip(np.asarray(c2w, np.float64), names, strict=True):
        if not np.isfinite(pose).all():
            raise DataCorrupt(f"{name}: the pose holds NaN or infinity: {pose.tolist()}.", "Mend or drop this view.")
        rotation = pose[:3, :3]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > _ROTATION_TOLERANCE:
            raise DataCorrupt(
                f"{name}: the pose is not a rotation and a translation (determinant {np.linalg.det(rotation):.3g}).",
                "A camera-to-world matrix needs orthonormal axes; take out scale and shear, or drop this view.",
            )
        if np.linalg.det(rotation) < 0:
            raise DataCorrupt(f"{name}: the pose mirrors space (determinant -1).", "Use right-handed camera axes.")


def from_opengl(c2w: ArrayLike) -> Float:
    """(N,3,4) float32 poses in OpenCV axes from (N,3|4,4) poses in OpenGL axes (x right, y up, z backward)."""
    poses = np.asarray(c2w, np.float64)[:, :3, :4].copy()
    poses[:, :, 1:3] *= -1
    return poses.astype(np.float32)


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike = (0.0, 0.0, 1.0)) -> Float:
    """(3,4) float32 camera-to-world pose at `eye` (3,) looking at `target` (3,), with `up` (3,) upwards in the image.

    >>> look_at([0, -2, 0], [0, 0, 0])[:, 2].tolist()
    [0.0, 1.0, 0.0]
    """
    origin = np.asarray(eye, np.float64)
    forward = np.asarray(target, np.float64) - origin
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, np.asarray(up, np.float64))
    right = right / np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward, origin], axis=1).astype(np.float32)


def pixel_grid(width: int, height: int) -> Float:
    """(height*width, 2) float32 pixel centres (x, y), row by row.

    >>> pixel_grid(2, 1).tolist()
    [[0.5, 0.5], [1.5, 0.5]]
    """
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    return np.stack([x, y], axis=-1).reshape(-1, 2)


def rays(cameras: Cameras, index: int, xy: NDArray[np.floating] | None = None) -> tuple[Float, Float]:
    """Origins (P,3) and unit directions (P,3), float32 in scene units, of the rays through pixels of one camera.

    Args:
        cameras: the cameras.
        index: which of them.
        xy: (P,2) image points in pixels, x right and y down; every pixel centre, row by row, when left out.
    """
    if xy is None:
        xy = pixel_grid(int(cameras.size[index, 0]), int(cameras.size[index, 1]))
    homogeneous = np.concatenate([xy, np.ones((len(xy), 1))], axis=1)
    c2w = cameras.c2w[index].astype(np.float64)
    directions = homogeneous @ np.linalg.inv(cameras.K[index].astype(np.float64)).T @ c2w[:, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.broadcast_to(c2w[:, 3], directions.shape)
    return origins.astype(np.float32), directions.astype(np.float32)


def project(cameras: Cameras, index: int, xyz: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image points (P,2) in pixels and depths (P,) along the optical axis in scene units of `xyz` (P,3).

    A point behind the camera has a depth of zero or less; its image point is not meaningful.
    """
    c2w = cameras.c2w[index].astype(np.float64)
    local = (np.asarray(xyz, np.float64) - c2w[:, 3]) @ c2w[:, :3]
    image = local @ cameras.K[index].astype(np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return image[:, :2] / image[:, 2:], local[:, 2]
