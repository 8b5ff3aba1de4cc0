"""Rays through pixels: batches to train on, whole images to render, and the quadrature along a ray.

Equations are those of NeRF (Mildenhall et al., ECCV 2020), whose quadrature later papers share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from nfbench.harness.camera import Cameras, local_rays, pixel_grid, rays
from nfbench.harness.image import flattened
from nfbench.harness.scene import Views

_LEAST_COMPONENT = 1e-9  # keeps the division by a direction's component finite for rays along an axis
_MANY = 1 << 62  # so large a range that its remainder by a number of pixels is as good as even
_LEAST_WEIGHT = 1e-5  # what NeRF's code adds to every weight, so that no interval is left out


@dataclass(frozen=True)
class Rays:
    """R rays, each with the interval that is of interest.

    Attributes:
        origins: (R,3) float32, scene units.
        directions: (R,3) float32 unit vectors.
        near: (R,) float32, distance along the ray where the interval begins, scene units, 0 or more.
        far: (R,) float32, where it ends; equal to `near` for a ray that misses what is of interest.
        views: (R,3) float32 unit vectors, the directions of sight that colour may depend on; they differ from
            `directions` where space is bent.
    """

    origins: Tensor
    directions: Tensor
    near: Tensor
    far: Tensor
    views: Tensor

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, at: slice | Tensor) -> Rays:
        """The rays at `at`."""
        return Rays(self.origins[at], self.directions[at], self.near[at], self.far[at], self.views[at])


Bounds = Callable[[Tensor, Tensor, Tensor | None], Rays]
"""From origins (R,3), unit directions (R,3) and near and far (R,2) of their cameras, or None, to bounded rays."""


def box_interval(origins: Tensor, directions: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (R,) where rays enter and leave `box` (2,3), from 0 on; both are equal for a ray that misses it."""
    safe = torch.where(directions.abs() < _LEAST_COMPONENT, _LEAST_COMPONENT, directions)
    first, second = (box[0] - origins) / safe, (box[1] - origins) / safe
    near = torch.minimum(first, second).amax(-1).clamp_min(0)
    return near, torch.maximum(torch.maximum(first, second).amin(-1), near)


def interval(origins: Tensor, directions: Tensor, near_far: Tensor | None, box: Tensor) -> Rays:
    """The rays between the distances `near_far` (R,2) of their cameras, or, without them, inside `box` (2,3)."""
    if near_far is None:
        return Rays(origins, directions, *box_interval(origins, directions, box), directions)
    return Rays(origins, directions, near_far[:, 0], near_far[:, 1], directions)


def camera_rays(cameras: Cameras, index: int, device: torch.device | str, place: float = 0.5) -> tuple[Tensor, Tensor]:
    """Origins (P,3) and unit directions (P,3) of the rays through all pixels of one camera, row by row.

    `place` is where in its square, in x and y, the ray of a pixel passes; 0.5 is the centre.
    """
    xy = pixel_grid(*cameras.size[index].tolist()) + np.float32(place - 0.5)
    origins, directions = rays(cameras, index, xy)
    return torch.from_numpy(origins).to(device), torch.from_numpy(directions).to(device)


def bounded(cameras: Cameras, index: int, origins: Tensor, directions: Tensor, bounds: Bounds) -> Rays:
    """Rays of one camera, bounded by `bounds`, which gets the camera's near and far."""
    if cameras.near_far is None:
        return bounds(origins, directions, None)
    near_far = torch.from_numpy(cameras.near_far[index]).to(origins.device).expand(len(origins), 2)
    return bounds(origins, directions, near_far)


def ray_weights(optical: Tensor) -> Tensor:
    """What each interval contributes to its ray, (R,S), from optical thickness sigma delta (R,S): equation 3."""
    before = F.pad(optical[:, :-1].cumsum(1), (1, 0))
    return torch.exp(-before) * -torch.expm1(-optical)


def stratified(rays: Rays, count: int, generator: torch.Generator | None) -> Tensor:
    """Distances (R,count) from near to far: evenly spaced, or, with a generator, one at random in each bin (eq. 2)."""
    device = rays.near.device
    part = torch.linspace(0, 1, count, device=device)
    distance = rays.near[:, None] * (1 - part) + rays.far[:, None] * part
    if generator is None:
        return distance
    middle = (distance[:, 1:] + distance[:, :-1]) / 2
    low, high = torch.cat([distance[:, :1], middle], 1), torch.cat([middle, distance[:, -1:]], 1)
    return low + (high - low) * torch.rand(distance.shape, generator=generator, device=device)


def draw_distances(edges: Tensor, weights: Tensor, count: int, generator: torch.Generator | None) -> Tensor:
    """Distances (R,count) from the histogram `weights` (R,B) on `edges` (R,B+1), by its inverse distribution.

    Section 5.2 of the paper. Evenly spaced in probability, or drawn with the generator; the histogram is first
    raised by a little everywhere.
    """
    device = edges.device
    probability = weights + _LEAST_WEIGHT
    probability = probability / probability.sum(1, keepdim=True)
    cumulated = F.pad(probability.cumsum(1), (1, 0))
    if generator is None:
        chance = torch.linspace(0, 1, count, device=device).expand(len(edges), count).contiguous()
    else:
        chance = torch.rand((len(edges), count), generator=generator, device=device)
    above = torch.searchsorted(cumulated, chance, right=True).clamp_(1, weights.shape[1])
    low, mass = cumulated.gather(1, above - 1), probability.gather(1, above - 1)
    left, right = edges.gather(1, above - 1), edges.gather(1, above)
    return left + (right - left) * ((chance - low) / mass).clamp_(0, 1)


class Pixels:
    """The pixels of all given views, decoded once and kept as 8-bit RGB over the scene's background.

    Alpha and masks are used for nothing else, so that a method sees what a photograph would show.

    Args:
        views: posed images.
        background: sRGB in [0,1].
        bounds: what bounds the rays.
        device: where pixels are kept and drawn.
        place: where in its square, in x and y, the ray of a pixel passes; 0.5 is the centre.
    """

    def __init__(
        self,
        views: Views,
        background: tuple[float, float, float],
        bounds: Bounds,
        device: torch.device | str,
        place: float = 0.5,
    ) -> None:
        cameras = views.cameras
        images = [flattened(views.image(i), background).reshape(-1, 3) for i in range(len(views))]
        self.colours = torch.from_numpy(np.concatenate(images)).to(device)  # (P,3) uint8, view by view, row by row
        counts = torch.tensor([len(image) for image in images], device=device)
        self.ends = counts.cumsum(0)
        self.starts = self.ends - counts
        self.widths = torch.from_numpy(cameras.size[:, 0].astype(np.int64)).to(device)
        inverse = np.linalg.inv(cameras.K.astype(np.float64))
        turned = cameras.c2w[:, :, :3].astype(np.float64) @ inverse  # pixel to world direction, not yet of length 1
        self.turned = torch.from_numpy(turned.astype(np.float32)).to(device)
        self.axes = torch.from_numpy(cameras.c2w[:, :, :3].copy()).to(device)
        self.centres = torch.from_numpy(cameras.centres.copy()).to(device)
        self.near_far = None if cameras.near_far is None else torch.from_numpy(cameras.near_far).to(device)
        self.bounds, self.place = bounds, place
        self.bent = _bent_rays(cameras, place, device)

    def __len__(self) -> int:
        return len(self.colours)

    def draw(self, count: int, generator: torch.Generator, one_view: bool = False) -> tuple[Rays, Tensor]:
        """`count` rays and their colours (R,3) in [0,1], pixels drawn with replacement, of all views or of one."""
        device = self.colours.device
        if not one_view:
            return self.at(torch.randint(0, len(self), (count,), generator=generator, device=device))
        view = torch.randint(len(self.starts), (1,), generator=generator, device=device)
        pixel = torch.randint(_MANY, (count,), generator=generator, device=device)
        return self.at(self.starts[view] + pixel % (self.ends[view] - self.starts[view]))

    def at(self, index: Tensor) -> tuple[Rays, Tensor]:
        """The rays through the pixels `index` (R,), counted through all views, and their colours (R,3) in [0,1]."""
        view = torch.searchsorted(self.ends, index, right=True)
        inside, width = index - self.starts[view], self.widths[view]
        row = torch.div(inside, width, rounding_mode="floor")
        x, y = (inside - row * width).float() + self.place, row.float() + self.place
        image = torch.stack([x, y, torch.ones_like(x)], -1)
        directions = (self.turned[view] * image[:, None, :]).sum(-1)
        if self.bent is not None:
            table, starts = self.bent
            local = table[(starts[view].clamp_min(0) + inside).clamp_max(len(table) - 1)]
            turned = (self.axes[view] * local[:, None, :]).sum(-1)
            directions = torch.where((starts[view] >= 0)[:, None], turned, directions)
        directions = directions / directions.norm(dim=-1, keepdim=True)
        near_far = None if self.near_far is None else self.near_far[view]
        return self.bounds(self.centres[view], directions, near_far), self.colours[index].float() / 255


def _bent_rays(cameras: Cameras, place: float, device: torch.device | str) -> tuple[Tensor, Tensor] | None:
    """Directions (T,3) in the axes of the cameras, of all pixels of every distinct lens, and where each view's begin.

    The latter (N,) is -1 for a pinhole; None where all are pinholes.
    """
    tables: list[NDArray[np.float32]] = []
    starts: list[int] = []
    known: dict[bytes, int] = {}
    for index in range(len(cameras)):
        lens = cameras.lens(index)
        if lens is None:
            starts.append(-1)
            continue
        key = lens[0].tobytes() + bytes([lens[1]]) + cameras.K[index].tobytes() + cameras.size[index].tobytes()
        if key not in known:
            known[key] = sum(map(len, tables))
            xy = pixel_grid(*cameras.size[index].tolist()) + np.float32(place - 0.5)
            local = local_rays(cameras, index, xy)
            tables.append((local / np.linalg.norm(local, axis=1, keepdims=True)).astype(np.float32))
        starts.append(known[key])
    if not tables:
        return None
    return torch.from_numpy(np.concatenate(tables)).to(device), torch.tensor(starts, device=device)
