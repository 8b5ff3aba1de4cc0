"""Normalised device coordinates: a frustum without end as a box (Mildenhall et al., ECCV 2020, appendix C).

For cameras that all look much the same way. Depth becomes linear in its inverse, so that the interval [-1,1] holds all
that lies beyond a near plane, however far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfbench.baselines.rays import Rays
from nfbench.harness.camera import Cameras, rays
from nfbench.harness.errors import Unsupported

_SAME_WAY = 0.8  # the least length of the mean viewing direction; 0.95 and more in the published scenes
_NEAR = 0.75  # of the nearest depth, where the original puts the near plane
_FORWARD = 1e-6  # the least component along the axis of a ray that is mapped
_TOLERANCE = 1e-3  # of the box, for the rounding of its corners
_ROOM = 0.02  # that the box in these coordinates has beyond the given views


@dataclass(frozen=True)
class Ndc:
    """The map from the scene to normalised device coordinates.

    Attributes:
        axes: (3,3), the columns are the axes of the mean camera in the scene: right, up, backwards.
        centre: (3,) of the mean camera, scene units.
        near: distance of the near plane from it, scene units.
        slope: what x/z and y/z are multiplied with: twice the focal length over the size of the image.
        box: (2,3) in normalised device coordinates: all that the given views can see.
    """

    axes: Tensor
    centre: Tensor
    near: float
    slope: tuple[float, float]
    box: Tensor

    @classmethod
    def of(cls, cameras: Cameras, device: str) -> Ndc:
        """The frustum of the mean of cameras, from their axes, intrinsics and nearest depth.

        Raises:
            Unsupported: cameras that do not say how near the scene begins, or that look in different directions.
        """
        if cameras.near_far is None or float(cameras.near_far[:, 0].min()) <= 0:
            raise Unsupported(
                "Normalised device coordinates need cameras that say how near the scene begins.",
                "Set space=box, or use a format that gives near and far, llff for one.",
            )
        if _mean_direction(cameras) < _SAME_WAY:
            raise Unsupported(
                "Normalised device coordinates need cameras that all look much the same way.", "Set space=box."
            )
        c2w = cameras.c2w.astype(np.float64)
        backwards, up = _unit(-c2w[:, :, 2].sum(0)), -c2w[:, :, 1].sum(0)
        right = _unit(np.cross(up, backwards))
        axes = np.stack([right, np.cross(backwards, right), backwards], 1)
        slope = np.median(2 * cameras.K[:, [0, 1], [0, 1]] / cameras.size, axis=0)
        near = _NEAR * float(cameras.near_far[:, 0].min())
        ndc = cls(
            _f32(axes, device),
            _f32(c2w[:, :, 3].mean(0), device),
            near,
            (float(slope[0]), float(slope[1])),
            _f32([], device),
        )
        return cls(ndc.axes, ndc.centre, near, ndc.slope, ndc._seen(cameras))

    @classmethod
    def from_about(cls, about: Mapping[str, Any], device: str) -> Ndc:
        """The map that `about` told of.

        Raises:
            KeyError, TypeError, ValueError: it tells of something else.
        """
        x, y = map(float, about["slope"])
        tensors = [torch.tensor(about[name], dtype=torch.float32, device=device) for name in ("axes", "centre", "box")]
        if [tuple(tensor.shape) for tensor in tensors] != [(3, 3), (3,), (2, 3)]:
            raise ValueError("its normalised device coordinates are of another shape")
        return cls(tensors[0], tensors[1], float(about["near"]), (x, y), tensors[2])

    def about(self) -> dict[str, Any]:
        """All that `from_about` needs, as JSON holds it."""
        numbers = {"axes": self.axes.tolist(), "centre": self.centre.tolist(), "box": self.box.tolist()}
        return {**numbers, "near": self.near, "slope": list(self.slope)}

    def _seen(self, cameras: Cameras) -> Tensor:
        """(2,3) in these coordinates, the box of the corner rays of all cameras."""
        ends = []
        for index in range(len(cameras)):
            width, height = cameras.size[index].tolist()
            corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
            origins, directions = (torch.from_numpy(a).to(self.centre) for a in rays(cameras, index, corners))
            mapped = self.rays(origins, directions)
            ends += [mapped.origins, mapped.origins + mapped.far[:, None] * mapped.directions]
        corner = torch.cat(ends)
        low, high = corner.amin(0) - _ROOM, corner.amax(0) + _ROOM
        low[2], high[2] = -1.0, 1.0
        return torch.stack([low, high])

    def rays(self, origins: Tensor, directions: Tensor) -> Rays:
        """Rays of the scene (R,3), (R,3) in these coordinates, from the near plane to infinity; `far` is their length.

        One that does not look forwards is of length 0. `views` are the directions in the axes of the mean camera.
        """
        o, d = self._local(origins), directions @ self.axes
        forward = d[:, 2] < -_FORWARD
        safe = torch.where(forward[:, None], d, torch.tensor([0.0, 0.0, -1.0]).to(d))
        start = self._project(o - ((self.near + o[:, 2]) / safe[:, 2])[:, None] * safe)
        end = torch.cat([self._project(safe)[:, :2], torch.ones_like(start[:, 2:])], 1)
        way = end - start
        length = way.norm(dim=1)
        far = torch.where(forward, length, 0.0)
        return Rays(start, way / length[:, None], torch.zeros_like(far), far, d)

    def points(self, xyz: Tensor) -> tuple[Tensor, Tensor]:
        """Points (P,3) of the scene in these coordinates, and by how much a scene unit is longer there (P,).

        That is measured along the way from the mean camera, and it is 0 for points that the frustum does not hold;
        these are mapped to its near plane.
        """
        local = self._local(xyz)
        ahead = local[:, 2] <= -self.near
        local = torch.where(ahead[:, None], local, torch.tensor([0.0, 0.0, -self.near]).to(local))
        mapped = self._project(local)
        inside = ahead & ((mapped >= self.box[0]) & (mapped <= self.box[1])).all(1)
        rate = 2 * self.near / (-local[:, 2] * local.norm(dim=1))
        return mapped, torch.where(inside, rate, 0.0)

    def distance(self, origins: Tensor, directions: Tensor, depth: Tensor) -> Tensor:
        """The distance (R,) along rays of the scene at which they have the depth (R,) of these coordinates, -1 to 1."""
        axial = 2 * self.near / (depth - 1)
        o, d = self._local(origins), directions @ self.axes
        return (axial - o[:, 2]) / torch.where(d[:, 2] < -_FORWARD, d[:, 2], -_FORWARD)

    def _local(self, xyz: Tensor) -> Tensor:
        return (xyz - self.centre) @ self.axes

    def _project(self, local: Tensor) -> Tensor:
        x, y, z = local.unbind(1)
        return torch.stack([-self.slope[0] * x / z, -self.slope[1] * y / z, 1 + 2 * self.near / z], 1)


def faces_forward(cameras: Cameras, box: NDArray[np.float32]) -> bool:
    """Whether cameras look much the same way at a scene that fills all they see.

    It does where `box` (2,3) holds their whole frusta, from near to far; the box of an object does not.
    """
    if cameras.near_far is None or cameras.near_far[:, 0].min() <= 0 or _mean_direction(cameras) < _SAME_WAY:
        return False
    room = _TOLERANCE * (box[1] - box[0])
    for index in range(len(cameras)):
        width, height = cameras.size[index].tolist()
        corners = np.array([[0, 0], [width, 0], [0, height], [width, height]], np.float32)
        origins, directions = rays(cameras, index, corners)
        for distance in cameras.near_far[index]:
            points = origins + distance * directions
            if (points < box[0] - room).any() or (points > box[1] + room).any():
                return False
    return True


def _mean_direction(cameras: Cameras) -> float:
    return float(np.linalg.norm(cameras.c2w[:, :, 2].astype(np.float64).mean(0)))


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(vector / np.linalg.norm(vector))


def _f32(array: NDArray[np.float64] | list[float], device: str) -> Tensor:
    return torch.from_numpy(np.asarray(array, np.float32)).to(device)
