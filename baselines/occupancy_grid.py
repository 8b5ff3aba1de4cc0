"""A grid over the scene's box that remembers where there is density, so that empty space is skipped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nfbench.baselines.rays import Rays, box_interval

_CHUNK = 1 << 16  # cells that are evaluated at once


class Samples(NamedTuple):
    """M samples along R rays, ray by ray and front to back.

    Attributes:
        ray: (M,) int64, the ray of each sample.
        rank: (M,) int64, the how-manieth sample of its ray it is, from 0.
        distance: (M,) float32 along the ray, scene units.
    """

    ray: Tensor
    rank: Tensor
    distance: Tensor


class OccupancyGrid:
    """Which cells of a box may hold density. It starts with all of them and only ever loses cells.

    Attributes:
        box: (2,3) float32, scene units.
        occupied: (C,C,C) bool, indexed by x, y, z.
    """

    def __init__(self, box: Tensor, cells: int) -> None:
        self.box = box
        self.load(torch.ones((cells, cells, cells), dtype=torch.bool, device=box.device))

    @property
    def cells(self) -> int:
        """Cells along each edge."""
        return self.occupied.shape[0]

    def load(self, occupied: Tensor) -> None:
        """Take over which cells are occupied, (C,C,C) bool."""
        self.occupied = occupied.to(self.box.device)
        filled = occupied.nonzero()
        size = (self.box[1] - self.box[0]) / self.cells
        low, high = filled.amin(0).to(self.box.device), filled.amax(0).to(self.box.device) + 1
        self._bounds = torch.stack([self.box[0] + low * size, self.box[0] + high * size])

    def state_dict(self) -> dict[str, Tensor]:
        """What `load_state_dict` takes: `occupied` as (C,C,C) uint8."""
        return {"occupied": self.occupied.to(torch.uint8)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Become the grid whose state it is.

        Raises:
            ValueError: it is of another grid, or all empty.
        """
        occupied = state["occupied"]
        if occupied.shape != self.occupied.shape or not occupied.any():
            raise ValueError(f"an occupancy grid of {tuple(occupied.shape)} where {tuple(self.occupied.shape)} is due")
        self.load(occupied.bool())

    def contains(self, xyz: Tensor) -> Tensor:
        """(P,) bool, whether points (P,3) lie in the box and in an occupied cell."""
        relative = (xyz - self.box[0]) / (self.box[1] - self.box[0])
        inside = ((relative >= 0) & (relative < 1)).all(-1)
        cell = (relative * self.cells).long().clamp_(0, self.cells - 1)
        return inside & self.occupied[cell[:, 0], cell[:, 1], cell[:, 2]]

    def prune(self, density: Callable[[Tensor], Tensor], threshold: float, generator: torch.Generator) -> None:
        """Give up the occupied cells in and around which `density`, (P,3) to (P,), stays below `threshold`.

        Each cell is probed at one random point; it stays when it or one of its 26 neighbours has density, for the
        point may have missed what the cell holds. Nothing is given up when nothing would be left.
        """
        filled = self.occupied.nonzero()
        size = (self.box[1] - self.box[0]) / self.cells
        dense = torch.zeros_like(self.occupied)
        for cells in torch.split(filled, _CHUNK):
            point = cells + torch.rand(cells.shape, generator=generator, device=cells.device)
            dense[tuple(cells.T)] = density(self.box[0] + point * size) > threshold
        near = F.max_pool3d(dense[None, None].float(), 3, stride=1, padding=1)[0, 0] > 0
        kept = near & self.occupied
        if kept.any():
            self.load(kept)

    def march(self, rays: Rays, step: float, offset: Tensor) -> Samples:
        """The samples in occupied cells, at every `step` along the rays; `offset` (R,) in [0,1) shifts each ray's."""
        enter, leave = box_interval(rays.origins, rays.directions, self._bounds)
        near = torch.maximum(enter, rays.near)
        far = torch.minimum(leave, rays.far)
        longest = float((far - near).max()) if len(rays) else 0.0
        count = max(1, int(longest / step) + 1)
        number = torch.arange(count, device=near.device) + offset[:, None]  # (R,K) in steps
        scale = self.cells / (self.box[1] - self.box[0])
        start = (rays.origins + near[:, None] * rays.directions - self.box[0]) * scale
        stride = rays.directions * (step * scale)
        cell = torch.zeros(number.shape, dtype=torch.int64, device=near.device)
        for axis in range(3):
            place = torch.addcmul(start[:, axis, None], stride[:, axis, None], number)
            cell.mul_(self.cells).add_(place.clamp_(0, self.cells - 1).long())
        hit = self.occupied.reshape(-1)[cell] & (number * step < (far - near)[:, None])
        ray, at = hit.nonzero(as_tuple=True)
        each = hit.sum(1)
        rank = torch.arange(len(ray), device=near.device) - (each.cumsum(0) - each)[ray]
        return Samples(ray, rank, near[ray] + (at + offset[ray]) * step)
