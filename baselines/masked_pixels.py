"""Batches of the pixels of posed views with masks: colour, foreground, and direction in the axes of the camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation
from torch import Tensor

from nfbench.harness.camera import local_rays
from nfbench.harness.errors import DataMissing
from nfbench.harness.image import flattened
from nfbench.harness.scene import Scene, Views

_LOOKED_AT = 20_000  # pixels of the foreground, to find out whether they see a sphere
_OUTLINE = 4  # pixels outwards from the mask's edge


@dataclass(frozen=True)
class Batch:
    """R pixels.

    Attributes:
        view: (R,) int64, the view of each.
        local: (R,3) unit vectors, the direction of its ray in the axes of its camera.
        colours: (R,3) sRGB in [0,1].
        mask: (R,) bool, whether it is foreground.
    """

    view: Tensor
    local: Tensor
    colours: Tensor
    mask: Tensor


class MaskedPixels:
    """All pixels of the given views, decoded once, 8-bit RGB over the scene's background.

    Raises:
        DataMissing: no views, a view without mask and alpha, or no foreground in any view; scene or view are named.
    """

    def __init__(self, scene: Scene, method: str, device: str) -> None:
        views = _views_of(scene, method)
        cameras = views.cameras
        colours, masks, outlines = [], [], []
        for i in range(len(views)):
            mask = _mask_of(views, i, scene.name, method)
            colours.append(flattened(views.image(i), scene.background).reshape(-1, 3))
            masks.append(mask.reshape(-1))
            outlines.append((binary_dilation(mask, iterations=_OUTLINE) & ~mask).reshape(-1))
        self.colours = torch.from_numpy(np.concatenate(colours)).to(device)
        self.mask = torch.from_numpy(np.concatenate(masks)).to(device)
        if not self.mask.any():
            raise DataMissing(
                f"Scene {scene.name!r}: the masks of all {len(views)} views are empty.",
                f"{method} learns a shape from what is foreground; look at the masks, or at the images' alpha.",
            )
        counts = torch.tensor([len(mask) for mask in masks], device=device)
        self.ends = counts.cumsum(0)
        self.starts = self.ends - counts
        self.widths = torch.from_numpy(cameras.size[:, 0].astype(np.int64)).to(device)
        inverse = np.linalg.inv(cameras.K.astype(np.float64)).astype(np.float32)
        self.inverse = torch.from_numpy(inverse).to(device)
        self._cameras = cameras
        self._bent = [i for i in range(len(views)) if cameras.lens(i) is not None]
        pools = (self.mask, torch.from_numpy(np.concatenate(outlines)).to(device), torch.ones_like(self.mask))
        self._pools = [pool for chosen in pools if len(pool := chosen.nonzero()[:, 0])]

    def __len__(self) -> int:
        return len(self.mask)

    def of_view(self, count: int, view: int, generator: torch.Generator) -> Batch:
        """`count` different pixels of one view, or all where it has no more, each as likely as any other."""
        low, high = int(self.starts[view]), int(self.ends[view])
        order = torch.randperm(high - low, generator=generator, device=self.mask.device)
        return self.at(order[:count] + low)

    def balanced(self, count: int, generator: torch.Generator) -> Batch:
        """`count` pixels of all views: half foreground, a quarter next to its outline, the rest from anywhere."""
        shares, places = (count // 2, count // 4, count - count // 2 - count // 4), []
        for share, pool in zip(shares[-len(self._pools) :], self._pools, strict=True):
            chosen = torch.randint(len(pool), (share,), generator=generator, device=pool.device)
            places.append(pool[chosen])
        return self.at(torch.cat(places))

    def missed(self, c2w: NDArray[np.float32], centre: NDArray[np.float64], radius: float) -> float:
        """The part of the foreground, seen by cameras `c2w` (N,3,4), whose rays miss a sphere."""
        place = self._pools[0]
        batch = self.at(place[:: max(1, len(place) // _LOOKED_AT)].contiguous())
        poses = torch.from_numpy(c2w).to(place.device)[batch.view]
        directions = (poses[:, :, :3] * batch.local[:, None, :]).sum(-1)
        away = poses[:, :, 3] - torch.from_numpy(centre).to(poses)
        along = (away * directions).sum(1)
        nearest = (away - torch.minimum(along, torch.zeros_like(along))[:, None] * directions).norm(dim=1)
        return float((nearest > radius).float().mean())

    def at(self, place: Tensor) -> Batch:
        """The pixels at `place` (R,), counted through all views."""
        view = torch.searchsorted(self.ends, place, right=True)
        inside, width = place - self.starts[view], self.widths[view]
        row = torch.div(inside, width, rounding_mode="floor")
        image = torch.stack([inside - row * width + 0.5, row + 0.5, torch.ones_like(row)], -1).float()
        local = (self.inverse[view] * image[:, None, :]).sum(-1)
        for bent in self._bent:
            rows = (view == bent).nonzero()[:, 0]
            found = local_rays(self._cameras, bent, image[rows, :2].cpu().numpy()).astype(np.float32)
            local[rows] = torch.from_numpy(found).to(local.device)
        local = local / local.norm(dim=-1, keepdim=True)
        return Batch(view, local, self.colours[place].float() / 255, self.mask[place])


def _views_of(scene: Scene, method: str) -> Views:
    views = scene.given.views
    if views is None or not len(views):
        raise DataMissing(f"Scene {scene.name!r} gives no views.", f"{method} needs a task that gives posed views.")
    return views


def _mask_of(views: Views, index: int, scene: str, method: str) -> NDArray[np.bool_]:
    try:
        return views.mask(index)
    except DataMissing as error:
        raise DataMissing(
            f"Scene {scene!r}: {error.message} {method} cannot do without.",
            "Put masks beside the images (a folder `mask` in the IDR format) or alpha into them, or fit `nerf`.",
        ) from None
