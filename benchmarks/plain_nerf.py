"""One training step of NeRF as the original takes it, in plain PyTorch, beside ours.

Two networks of 8x256, 64 stratified and 128 further samples a ray, the squared error of both, Adam. The plain step
encodes every sample's direction, concatenates at the skip and the view branch, and sends 65,536 points through the
network at once, as run_nerf.py does with its default chunk. Ours is that of `nerf`, in fp32 and in bf16.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfbench.baselines.encoding import encode
from nfbench.baselines.nerf import PAPER, NerfConfig, NerfField, RadianceNetwork, _rows
from nfbench.baselines.rays import Rays
from nfbench.harness.method import Budget
from nfbench.harness.training import Precision, Training

_NETCHUNK = 1024 * 64
_BOX = np.array([[-1, -1, -1], [1, 1, 1]], np.float32)

Step = Callable[[], float]


class PlainNetwork(nn.Module):
    """Figure 7 of the paper, layer by layer, with the weights of one of our networks."""

    def __init__(self, ours: RadianceNetwork) -> None:
        super().__init__()
        self.skip, self.frequencies, self.view_frequencies = ours.skip, ours.frequencies, ours.view_frequencies
        self.points = copy.deepcopy(ours.trunk)
        self.feature, self.view = copy.deepcopy(ours.feature), copy.deepcopy(ours.view)
        self.sigma, self.rgb = copy.deepcopy(ours.sigma), copy.deepcopy(ours.rgb)

    def forward(self, encoded: Tensor, viewed: Tensor) -> Tensor:
        """(P,4) raw colour and density at encoded points and encoded directions."""
        hidden = encoded
        for index, layer in enumerate(self.points):
            if index and index == self.skip:
                hidden = torch.cat([encoded, hidden], -1)
            hidden = F.relu(layer(hidden))
        seen = F.relu(self.view(torch.cat([self.feature(hidden), viewed], -1)))
        return torch.cat([self.rgb(seen), self.sigma(hidden)], -1)


class PlainNerf:
    """The original's way through a batch of rays."""

    def __init__(self, field: NerfField) -> None:
        self.config, self.background = field.config, field.background
        self.networks = nn.ModuleList(PlainNetwork(network) for network in field.networks)  # type: ignore[arg-type]
        self.networks.to(field.background.device)

    def colours(self, rays: Rays, perturb: bool) -> tuple[Tensor, Tensor]:
        """Coarse and fine colours (R,3)."""
        config, device = self.config, rays.near.device
        part = torch.linspace(0, 1, config.coarse, device=device)
        depth = rays.near[:, None] * (1 - part) + rays.far[:, None] * part
        if perturb:
            middle = 0.5 * (depth[:, 1:] + depth[:, :-1])
            upper, lower = torch.cat([middle, depth[:, -1:]], -1), torch.cat([depth[:, :1], middle], -1)
            depth = lower + (upper - lower) * torch.rand(depth.shape, device=device)
        coarse, weights = self._render(self.networks[0], rays, depth)
        middle = 0.5 * (depth[:, 1:] + depth[:, :-1])
        further = self._sampled(middle, weights[:, 1:-1], perturb).detach()
        depth, _ = torch.sort(torch.cat([depth, further], -1), -1)
        return coarse, self._render(self.networks[1], rays, depth)[0]

    def _render(self, network: nn.Module, rays: Rays, depth: Tensor) -> tuple[Tensor, Tensor]:
        points = (rays.origins[:, None] + rays.directions[:, None] * depth[..., None]).reshape(-1, 3)
        directions = rays.directions[:, None].expand(*depth.shape, 3).reshape(-1, 3)
        encoded = encode(points, self.config.frequencies)
        viewed = encode(directions, self.config.view_frequencies)
        chunks = range(0, len(points), _NETCHUNK)
        raw = torch.cat([network(encoded[i : i + _NETCHUNK], viewed[i : i + _NETCHUNK]) for i in chunks])
        raw = raw.view(*depth.shape, 4)
        beyond = torch.full_like(depth[:, :1], 1e10)
        alpha = 1 - torch.exp(-F.relu(raw[..., 3]) * torch.cat([depth[:, 1:] - depth[:, :-1], beyond], -1))
        clear = torch.cumprod(torch.cat([torch.ones_like(alpha[:, :1]), 1 - alpha + 1e-10], -1), -1)[:, :-1]
        weights = alpha * clear
        colour = (weights[..., None] * torch.sigmoid(raw[..., :3])).sum(-2)
        return colour + (1 - weights.sum(-1, keepdim=True)) * self.background, weights

    def _sampled(self, bins: Tensor, weights: Tensor, perturb: bool) -> Tensor:
        weights = weights + 1e-5
        pdf = weights / weights.sum(-1, keepdim=True)
        cdf = torch.cat([torch.zeros_like(pdf[:, :1]), torch.cumsum(pdf, -1)], -1)
        shape, device = (len(cdf), self.config.fine), cdf.device
        u = torch.rand(shape, device=device) if perturb else torch.linspace(0, 1, shape[1], device=device).expand(shape)
        index = torch.searchsorted(cdf, u.contiguous(), right=True)
        below, above = (index - 1).clamp_min(0), index.clamp_max(cdf.shape[-1] - 1)
        low, high = torch.gather(cdf, 1, below), torch.gather(cdf, 1, above)
        left, right = torch.gather(bins, 1, below), torch.gather(bins, 1, above)
        width = torch.where(high - low < 1e-5, torch.ones_like(low), high - low)
        return left + (u - low) / width * (right - left)


def plain_loss(plain: PlainNerf, rays: Rays, truth: Tensor, perturb: bool) -> Tensor:
    """The squared error of both colours."""
    coarse, fine = plain.colours(rays, perturb)
    return F.mse_loss(fine, truth) + F.mse_loss(coarse, truth)


def plain_step(plain: PlainNerf, rays: Rays, truth: Tensor, perturb: bool = True) -> Step:
    """A function that takes one plain step of Adam and gives its loss."""
    adam = torch.optim.Adam(plain.networks.parameters(), lr=plain.config.rate)

    def step() -> float:
        loss = plain_loss(plain, rays, truth, perturb)
        adam.zero_grad()
        torch.autograd.backward(loss)
        adam.step()
        return loss.item()

    return step


def our_step(field: NerfField, rays: Rays, truth: Tensor, perturb: bool = True) -> Step:
    """A function that takes one step of ours, as `Nerf.fit` does, and gives its loss."""
    adam = torch.optim.Adam(field.networks.parameters(), lr=field.config.rate, fused=True)
    draws = torch.Generator(rays.near.device).manual_seed(0) if perturb else None
    rows = _rows(field.config) if rays.near.device.type == "cpu" else None
    training = Training(Budget(steps=1), 1, adam, {"networks": field.networks}, rows=rows)
    losses: list[Tensor] = []

    def loss(part: slice) -> Tensor:
        colours = field.trace(rays[part], draws).colours
        losses.append(sum((colour - truth[part]).square().sum() for colour in colours) / truth.numel())  # type: ignore[arg-type]
        return losses[-1]

    def step() -> float:
        losses.clear()
        training.descend(len(rays), loss)
        return float(torch.stack(losses).detach().sum())

    return step


def batch(count: int, device: str = "cpu") -> tuple[Rays, Tensor]:
    """Rays from a sphere of radius 4 towards the box, and colours for them."""
    draws = torch.Generator().manual_seed(0)
    origins = 4 * F.normalize(torch.randn(count, 3, generator=draws), dim=1)
    directions = F.normalize(torch.rand(count, 3, generator=draws) - 0.5 - origins, dim=1)
    near, far = torch.full((count,), 2.0), torch.full((count,), 6.0)
    tensors = [t.to(device) for t in (origins, directions, near, far, torch.rand(count, 3, generator=draws))]
    return Rays(*tensors[:4], tensors[1]), tensors[4]


def steps(
    config: NerfConfig = PAPER, rays: int = 256, perturb: bool = True, device: str = "cpu"
) -> tuple[Step, Step, dict[str, Any]]:
    """One step of ours and one plain step, from the same start on the same batch, and the two they are of."""
    field = NerfField(config, _BOX, (1, 1, 1), device, seed=1)
    plain = PlainNerf(field)
    bundle, truth = batch(rays, device)
    both = {"ours": field, "plain": plain}
    return our_step(field, bundle, truth, perturb), plain_step(plain, bundle, truth, perturb), both


def _pair(precision: Precision, rays: int = 256, device: str = "cpu") -> tuple[Step, Step]:
    """Our step in a precision, and the plain one in fp32."""
    return steps(dataclasses.replace(PAPER, precision=precision), rays, device=device)[:2]


CONTESTS = {
    "NeRF, paper, 256 rays": partial(_pair, "fp32"),
    "NeRF, paper in bf16 beside plain fp32, 256 rays": partial(_pair, "bf16"),
}

CONTESTS_CUDA = {
    "NeRF, paper, 1024 rays": partial(_pair, "fp32", 1024),
    "NeRF, paper in bf16 beside plain fp32, 1024 rays": partial(_pair, "bf16", 1024),
}
