"""NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis (Mildenhall et al., ECCV 2020).

A network takes a point and a viewing direction to a density and a colour; quadrature of both along a ray gives the
pixel. `nerf_config` holds the settings, `radiance_network` the network, `ndc` the coordinates for forward-facing
scenes, `nerf_field` what is done along rays; here the field is fitted.

`paper` follows the settings and the code of the original for its synthetic scenes: two networks, a coarse one at 64
stratified samples that tells the fine one where to take 128 more. `paper-llff` follows those for forward-facing
photographs: normalised device coordinates, 4096 rays a step from all views, noise on the density. The bench's own are
these: distances are measured along the ray, where the original measures depth along the optical axis; the first pixel's
centre is at +0.5; pixels are drawn with replacement; and the mean camera of normalised device coordinates is that of
the given views, without the hidden ones. Views with alpha are laid over the scene's background and only their RGB is
used, never alpha or a mask.

Whatever the preset, a forward-facing scene, whose cameras all look much the same way and whose box holds all that they
see, as the llff format gives it, is fitted in normalised device coordinates; `space=box` or `space=ndc` decides it.

`fast` is the same idea with the network of the paper, for a GPU and a few minutes. It differs in this: coordinates
scaled to the scene's box, or to the frustum of normalised device coordinates, and nothing outside of it; one network
and an occupancy grid in place of the coarse one, so that samples are evenly spaced, and evaluated only in cells that
may hold density and while the ray is not yet opaque; softplus in place of ReLU for the density; rays from all views at
once, as many as keep the samples of a step about equal; matrices and activations in bfloat16; and a higher rate that
falls further.

`tiny` is `fast` for two processor cores and a few minutes: in fp32, with a small network without the feature layer and
the skip, fewer frequencies, and a coarser grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from nfbench.baselines.floor import training_views
from nfbench.baselines.ndc import Ndc, faces_forward
from nfbench.baselines.nerf_config import PRESETS, NerfConfig
from nfbench.baselines.nerf_field import NerfField
from nfbench.baselines.rays import Pixels, box_interval
from nfbench.harness.checkpoint import read_checkpoint
from nfbench.harness.errors import DataCorrupt
from nfbench.harness.method import Budget, Method
from nfbench.harness.scene import Scene, Views
from nfbench.harness.training import Training
from nfbench.harness.training_state import Kept

_PRUNE_EVERY = 128  # steps
_FIRST_PART = 0.125  # of the samples a step are taken by the first step, all by the last: early steps need few
_LEAST_RAYS, _MOST_RAYS = 64, 1 << 16
_PART_CPU = 1 << 12  # samples of a step that go through the network at once: their activations stay in the cache
_LEAST_ERROR = 1e-10  # 100 dB, where the logarithm of a perfect batch would not exist
_PROBED = 4096  # rays that must not all miss the box


class RayCount:
    """How many rays a step takes, adapted to a number of samples.

    Attributes:
        rays: of the next step.
    """

    def __init__(self, rays: int) -> None:
        self.rays = rays

    def state_dict(self) -> dict[str, int]:
        """What `load_state_dict` takes."""
        return {"rays": self.rays}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a state."""
        self.rays = int(state["rays"])

    def adapt(self, samples: int, wanted: float) -> None:
        """After a step of `samples`, so that the next takes `wanted`; it changes by a factor of two at most."""
        factor = min(max(wanted / max(samples, 1), 0.5), 2.0)
        self.rays = min(max(int(self.rays * factor), _LEAST_RAYS), _MOST_RAYS)


class Nerf(Method[NerfConfig]):
    """NeRF, fitted to the posed views of one scene."""

    Config: ClassVar[type[NerfConfig]] = NerfConfig
    presets: ClassVar[Mapping[str, NerfConfig]] = PRESETS
    needs: ClassVar[tuple[str, ...]] = ("views",)

    def fit(self, scene: Scene, budget: Budget) -> NerfField:
        """The radiance field of one scene, from its views.

        Raises:
            DataMissing: the scene gives no views.
            DataCorrupt: no view sees anything of the scene's box.
            Unsupported: normalised device coordinates are asked for, and the cameras do not suit them.
            Diverged: a loss or a gradient that is no number.
        """
        views = training_views(scene, "nerf")
        config = self.config
        field = NerfField(
            config, scene.box, scene.background, self.device, self.seed, self._space(scene, views, budget)
        )
        pixels = Pixels(views, scene.background, field.bounds, self.device, config.pixel)
        _check(scene, field, pixels, self.seed)
        if len(views) == 1:
            budget.tell(f"Scene {scene.name!r} gives one view, from which no depth can be told.")
        self._train(field, pixels, budget)
        return field

    def _space(self, scene: Scene, views: Views, budget: Budget) -> Ndc | None:
        """The normalised device coordinates of the scene, where they are to be used."""
        space = self.config.space
        if space == "auto":
            space = "ndc" if faces_forward(views.cameras, scene.box) else "box"
            if space == "ndc":
                budget.tell(
                    f"The cameras of {scene.name!r} all look much the same way: it is fitted in normalised device "
                    "coordinates, as in the paper. Set space=box for the scene's box instead."
                )
        return Ndc.of(views.cameras, self.device) if space == "ndc" else None

    def _train(self, field: NerfField, pixels: Pixels, budget: Budget) -> None:
        config = self.config
        draws, count = torch.Generator(self.device).manual_seed(self.seed), RayCount(config.rays)
        adam = torch.optim.Adam(field.networks.parameters(), lr=config.rate, fused=True)
        kept: dict[str, Kept] = {"networks": field.networks, "draws": draws, "count": count}
        if field.grid is not None:
            kept["grid"] = field.grid
        training = Training(
            budget,
            config.steps,
            adam,
            kept,
            device=self.device,
            precision=config.precision,
            rows=_rows(config) if self.device == "cpu" else None,
            field=lambda: field,
        )
        for step in training:
            training.set_rates(config.rate * config.rate_decay**step.fraction)
            rays, truth = pixels.draw(count.rays, draws, config.one_view)
            seen = _Seen()

            def loss(part: slice, truth: Tensor = truth, seen: _Seen = seen) -> Tensor:
                traced = field.trace(rays[part], draws)  # noqa: B023  # called within this turn
                errors = [(colour - truth[part]).square().sum() / truth.numel() for colour in traced.colours]
                seen.add(part, traced.samples, errors[-1])
                return torch.stack(errors).sum()

            training.descend(len(rays), loss, psnr=seen.psnr)
            if field.grid is not None:
                if config.samples:
                    count.adapt(seen.samples, config.samples * (_FIRST_PART + (1 - _FIRST_PART) * step.fraction))
                if step.index % _PRUNE_EVERY == _PRUNE_EVERY - 1:
                    field.prune(draws)

    def restore(self, folder: Path) -> NerfField:
        """The field that `NerfField.save` wrote into `folder`.

        Raises:
            DataMissing: a file is not there.
            DataCorrupt: a file is not what `save` writes.
        """
        tensors, about = read_checkpoint(folder, "nerf", "field")
        try:
            config = NerfConfig(**about["config"])
            ndc = None if about["ndc"] is None else Ndc.from_about(about["ndc"], self.device)
            field = NerfField(config, np.array(about["box"], np.float32), about["background"], self.device, ndc=ndc)
            if field.grid is not None:
                field.grid.load_state_dict({"occupied": tensors.pop("occupied")})
            field.networks.load_state_dict(tensors)
        except (ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
            raise DataCorrupt(f"{folder} holds no fitted NeRF: {error}.", "Fit it again.") from error
        return field


class _Seen:
    """What the parts of one step's batch came to."""

    def __init__(self) -> None:
        self.samples = 0
        self._errors: list[Tensor] = []

    def add(self, part: slice, samples: int, error: Tensor) -> None:
        if part.start == 0:  # also where a step begins again, for want of memory
            self.samples, self._errors = 0, []
        self.samples += samples
        self._errors.append(error.detach())

    def psnr(self) -> float:
        """Of the best colours."""
        return -10 * math.log10(max(float(torch.stack(self._errors).sum()), _LEAST_ERROR))


def _rows(config: NerfConfig) -> int | None:
    """Rays of a step that go through the networks at once on a CPU; with a grid, all."""
    return None if config.grid else max(1, _PART_CPU // (config.coarse + config.fine))


def _check(scene: Scene, field: NerfField, pixels: Pixels, seed: int) -> None:
    """Raise DataCorrupt where no ray of the views meets what is fitted."""
    draws = torch.Generator(pixels.colours.device).manual_seed(seed)
    rays = pixels.draw(_PROBED, draws)[0]
    near, far = rays.near, rays.far
    if field.grid is not None:
        enter, leave = box_interval(rays.origins, rays.directions, field.region)
        near, far = torch.maximum(near, enter), torch.minimum(far, leave)
    if not (far > near).any():
        raise DataCorrupt(
            f"Scene {scene.name!r}: none of {_PROBED} rays of its views meets its box {scene.box.tolist()}.",
            "Are box and cameras in the same coordinates, and the box between near and far? "
            "`nfbench inspect` shows them.",
        )
