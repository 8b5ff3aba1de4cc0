"""Cameras in the one convention of nfbench, and the rays and projections they define.

Camera to world, OpenCV axes (x right, y down, z forward), intrinsics in pixels, the centre of the first pixel at
(0.5, 0.5). Loaders convert to it once; nothing else in nfbench knows another convention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness import lens
from nfbench.harness.errors import DataCorrupt

Float = NDArray[np.float32]

_ROTATION_TOLERANCE = 1e-2  # float32 poses written with few digits stay well below this


@dataclass(frozen=True, eq=False)
class Cameras:
    """N posed cameras, pinholes or with a lens that distorts.

    Attributes:
        c2w: (N,3,4) float32, camera to world, OpenCV axes; a rotation and a centre in scene units.
        K: (N,3,3) float32, intrinsics in pixels, pixel centres at +0.5.
        size: (N,2) int32, width and height in pixels.
        near_far: (N,2) float32, the distances from the camera centre along a ray, in scene units, between which
            the scene lies; None where the dataset does not say.
        distortion: (N,8) float32, each camera's lens in the numbers of `harness/lens.py`: OpenCV's
            k1 k2 p1 p2 k3 k4 k5 k6, or k1 k2 k3 k4 0 0 0 0 of a fisheye; None where all cameras are pinholes.
        fisheye: (N,) bool, which of the lenses are fisheyes; none where only `distortion` is given.

    Raises:
        DataCorrupt: a wrong shape, a value that is not finite, a pose that is no rigid motion, or a lens that does not
            even see what is half way from the middle of the image to its edges; it names the camera.
    """

    c2w: Float
    K: Float
    size: NDArray[np.int32]
    near_far: Float | None = None
    distortion: Float | None = None
    fisheye: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "c2w", np.ascontiguousarray(self.c2w, np.float32))
        object.__setattr__(self, "K", np.ascontiguousarray(self.K, np.float32))
        object.__setattr__(self, "size", np.ascontiguousarray(self.size, np.int32))
        n = len(self.c2w)
        shapes = {"c2w": (n, 3, 4), "K": (n, 3, 3), "size": (n, 2)}
        if self.near_far is not None:
            object.__setattr__(self, "near_far", np.ascontiguousarray(self.near_far, np.float32))
            shapes["near_far"] = (n, 2)
        if self.distortion is not None:
            object.__setattr__(self, "distortion", np.ascontiguousarray(self.distortion, np.float32))
            fisheye = np.zeros(n, bool) if self.fisheye is None else np.ascontiguousarray(self.fisheye, bool)
            object.__setattr__(self, "fisheye", fisheye)
            shapes |= {"distortion": (n, 8), "fisheye": (n,)}
        elif self.fisheye is not None:
            raise DataCorrupt("Cameras.fisheye is given without Cameras.distortion.", "Give both, or neither.")
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise DataCorrupt(
                    f"Cameras.{name} has shape {getattr(self, name).shape}, not {shape}.", "Mend its shape."
                )
        check_poses(self.c2w, [f"camera {i}" for i in range(n)])
        if self.near_far is not None and not (np.diff(self.near_far) > 0).all():
            index = int(np.flatnonzero(~(np.diff(self.near_far)[:, 0] > 0))[0])
            found = self.near_far[index].tolist()
            raise DataCorrupt(f"camera {index}: near and far are {found}, not near < far.", "Mend or drop this view.")
        focal = self.K[:, [0, 1], [0, 1]]
        bad = np.flatnonzero(~np.isfinite(self.K).all((1, 2)) | (focal == 0).any(1) | (self.size < 1).any(1))
        if len(bad):
            what = f"camera {bad[0]} has no usable intrinsics: K {self.K[bad[0]].tolist()}."
            raise DataCorrupt(what, "Mend or drop this view.")
        _check_lenses(self)

    def __len__(self) -> int:
        return len(self.c2w)

    def __getitem__(self, index: int | np.integer | slice | Sequence[int]) -> Cameras:
        """The cameras at `index`; one number gives Cameras of length 1."""
        at = [int(index)] if isinstance(index, int | np.integer) else index
        near_far = None if self.near_far is None else self.near_far[at]
        distortion = None if self.distortion is None else self.distortion[at]
        fisheye = None if self.fisheye is None else self.fisheye[at]
        return Cameras(self.c2w[at], self.K[at], self.size[at], near_far, distortion, fisheye)

    def lens(self, index: int) -> tuple[NDArray[np.float64], bool] | None:
        """The (8,) numbers of one camera's lens and whether it is a fisheye; None for a pinhole."""
        if self.distortion is None or self.fisheye is None:
            return None
        numbers, fisheye = self.distortion[index].astype(np.float64), bool(self.fisheye[index])
        return (numbers, fisheye) if fisheye or numbers.any() else None

    @property
    def centres(self) -> Float:
        """(N,3) float32, the camera centres in scene units."""
        return self.c2w[:, :, 3]


def check_poses(c2w: NDArray[np.floating], names: Sequence[str]) -> None:
    """Raise DataCorrupt, naming the first of `names`, where a pose of `c2w` (N,3|4,4) is no rigid motion."""
    poses = np.asarray(c2w, np.float64)
    turns: NDArray[np.float64] = poses[:, :3, :3]
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).reshape(len(turns), 9)
        skewed: NDArray[np.bool_] = np.asarray((off > _ROTATION_TOLERANCE).any(1))
        determinant = np.atleast_1d(np.linalg.det(turns))
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(poses).all((1, 2)))
    bad = np.flatnonzero(~finite | skewed | (determinant < 0))
    if not len(bad):
        return
    i = int(bad[0])
    if not finite[i]:
        raise DataCorrupt(
            f"{names[i]}: the pose holds NaN or infinity: {poses[i].tolist()}.", "Mend or drop this view."
        )
    if skewed[i]:
        raise DataCorrupt(
            f"{names[i]}: the pose is not a rotation and a translation (determinant {determinant[i]:.3g}).",
            "A camera-to-world matrix needs orthonormal axes; take out scale and shear, or drop this view.",
        )
    raise DataCorrupt(f"{names[i]}: the pose mirrors space (determinant -1).", "Use right-handed camera axes.")


def _check_lenses(cameras: Cameras) -> None:
    """Raise DataCorrupt where a lens is not finite or cannot belong to its image."""
    if cameras.distortion is None or cameras.fisheye is None:
        return
    bad = np.flatnonzero(~np.isfinite(cameras.distortion).all(1) | (cameras.fisheye & cameras.distortion[:, 4:].any(1)))
    if len(bad):
        raise DataCorrupt(
            f"camera {bad[0]} has no usable distortion: {cameras.distortion[bad[0]].tolist()}.",
            "Eight finite numbers are needed, of a fisheye the last four zero.",
        )
    n = len(cameras)
    rows = np.concatenate([cameras.distortion, cameras.fisheye[:, None], cameras.K.reshape(n, 9), cameras.size], axis=1)
    for index in np.unique(rows, axis=0, return_index=True)[1].tolist():
        if (seen := cameras.lens(index)) is None:
            continue
        middle = cameras.size[index] * np.array([[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]])
        if not lens.undistort(_plane(cameras, index, middle), *seen)[1].all():
            raise DataCorrupt(
                f"camera {index}: its distortion folds the middle of the image: {seen[0].tolist()}.",
                "Are its numbers in the order k1 k2 p1 p2 k3 k4 k5 k6, and of this camera?",
            )


def _plane(cameras: Cameras, index: int, xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Places (P,2) on the image plane, in focal lengths from the axis, of image points (P,2) in pixels."""
    homogeneous = np.concatenate([xy, np.ones((len(xy), 1))], axis=1)
    plane = homogeneous @ np.linalg.inv(cameras.K[index].astype(np.float64)).T
    return np.asarray(plane[:, :2] / plane[:, 2:])


def from_opengl(c2w: ArrayLike) -> Float:
    """(N,3,4) float32 poses in OpenCV axes from (N,3|4,4) poses in OpenGL axes (x right, y up, z backward)."""
    poses = np.asarray(c2w, np.float64)[:, :3, :4].copy()
    poses[:, :, 1:3] *= -1
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is found to be no pose
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
    c2w = cameras.c2w[index].astype(np.float64)
    directions = local_rays(cameras, index, xy) @ c2w[:, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.broadcast_to(c2w[:, 3], directions.shape)
    return origins.astype(np.float32), directions.astype(np.float32)


def local_rays(cameras: Cameras, index: int, xy: NDArray[np.floating]) -> NDArray[np.float64]:
    """Directions (P,3) in the axes of one camera of the rays through image points `xy` (P,2), of any length.

    A pixel beyond what a lens sees gets the direction at the edge of its sight.
    """
    seen = cameras.lens(index)
    if seen is not None:
        return lens.undistort(_plane(cameras, index, xy), *seen)[0]
    homogeneous = np.concatenate([xy, np.ones((len(xy), 1))], axis=1)
    return np.asarray(homogeneous @ np.linalg.inv(cameras.K[index].astype(np.float64)).T)


def project(cameras: Cameras, index: int, xyz: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Image points (P,2) in pixels and depths (P,) along the optical axis in scene units of `xyz` (P,3).

    A point behind the camera has a depth of zero or less; its image point is not meaningful. One so far from the axis
    that the lens does not see it has an image point of NaN.
    """
    c2w = cameras.c2w[index].astype(np.float64)
    local = (np.asarray(xyz, np.float64) - c2w[:, 3]) @ c2w[:, :3]
    if (seen := cameras.lens(index)) is not None:
        place = lens.distort(local, *seen)
        image = np.concatenate([place, np.ones((len(place), 1))], axis=1) @ cameras.K[index].astype(np.float64).T
        return image[:, :2] / image[:, 2:], local[:, 2]
    image = local @ cameras.K[index].astype(np.float64).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return image[:, :2] / image[:, 2:], local[:, 2]


def undistorted(image: NDArray[np.uint8], cameras: Cameras, index: int) -> NDArray[np.uint8]:
    """What a pinhole of the same pose, intrinsics and size would have seen, uint8 (H,W,C): `image` of camera `index`.

    Bilinear; 0 where the camera saw nothing. `pinholes` gives the camera that belongs to it.
    """
    from scipy.ndimage import map_coordinates

    width, height = cameras.size[index].tolist()
    straight = local_rays(pinholes(cameras), index, pixel_grid(width, height))
    turned = straight @ cameras.c2w[index, :, :3].astype(np.float64).T + cameras.c2w[index, :, 3]
    xy, _ = project(cameras, index, turned)
    seen = ((xy >= 0) & (xy <= (width, height))).all(1)
    straight_image = np.zeros((height * width, image.shape[2]), np.uint8)
    at = xy[seen, ::-1].T - 0.5
    for channel in range(image.shape[2]):
        values = map_coordinates(image[:, :, channel].astype(np.float32), at, order=1, mode="nearest")
        straight_image[seen, channel] = np.rint(values)
    return straight_image.reshape(height, width, -1)


def pinholes(cameras: Cameras) -> Cameras:
    """The same cameras without their lenses."""
    return Cameras(cameras.c2w, cameras.K, cameras.size, cameras.near_far)


def unit_frame(box: ArrayLike) -> NDArray[np.float64]:
    """(4,4) similarity from the unit frame to the coordinates of `box` (2,3), a lowest and a highest corner.

    In the unit frame the box is centred on the origin and its longest edge spans [-1,1]. The inverse of the matrix
    brings cameras and points into the unit frame: `moved(cameras, np.linalg.inv(unit_frame(box)))`.

    >>> unit_frame([[0, 0, 0], [4, 2, 2]])[:3].tolist()
    [[2.0, 0.0, 0.0, 2.0], [0.0, 2.0, 0.0, 1.0], [0.0, 0.0, 2.0, 1.0]]
    """
    low, high = np.asarray(box, np.float64)
    frame = np.diag([*[(high - low).max() / 2] * 3, 1.0])
    frame[:3, 3] = (low + high) / 2
    return frame


def moved(cameras: Cameras, similarity: ArrayLike) -> Cameras:
    """The cameras in other coordinates: `similarity` (4,4) takes scene coordinates to them; near and far are scaled."""
    matrix = np.asarray(similarity, np.float64)
    scale = np.cbrt(np.linalg.det(matrix[:3, :3]))
    c2w = matrix[:3, :3] @ cameras.c2w.astype(np.float64)
    c2w[:, :, :3] /= scale
    c2w[:, :, 3] += matrix[:3, 3]
    near_far = None if cameras.near_far is None else (cameras.near_far * scale).astype(np.float32)
    return replace(cameras, c2w=c2w.astype(np.float32), near_far=near_far)
