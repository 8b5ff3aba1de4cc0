"""NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis (Mildenhall et al., ECCV 2020).

A network takes a point and a viewing direction to a density and a colour; quadrature of both along a ray gives the
pixel. `paper` follows the settings and the code of the original for its synthetic scenes: two networks, a coarse one
at 64 stratified samples that tells the fine one where to take 128 more. Two things are the bench's own: distances are
measured along the ray, where the original measures depth along the optical axis, and the first pixel's centre is at
+0.5. Views with alpha are laid over the scene's background and only their RGB is used, never alpha or a mask.

`tiny` is the same idea for two processor cores and a few minutes. It differs in this: one small network without the
feature layer and the skip, and with fewer frequencies, on coordinates scaled to the scene's box; nothing outside the
box; an occupancy grid in place of the coarse network, so that samples are evenly spaced, and evaluated only in cells
that may hold density and while the ray is not yet opaque; softplus in place of ReLU for the density; rays from all
views at once, as many as keep the samples of a step about equal; and a higher rate that falls further.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfbench.baselines.occupancy_grid import OccupancyGrid
from nfbench.baselines.rays import Pixels, Rays, camera_rays, draw_distances, ray_weights, stratified
from nfbench.harness.camera import Cameras
from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.method import Budget, Method
from nfbench.harness.scene import Float, Kind, Scene

_BEYOND = 1e10  # the length of a ray's last interval in the original code
_THIN = -5.0  # softplus starts from a thin fog, through which every ray sees the whole box
_ROUND = 8  # samples of a ray that are evaluated between two looks at whether it is opaque
_OPAQUE = 1e-3  # transmittance below which the rest of a ray is left out
_CHUNK_SAMPLES, _CHUNK_RAYS = 1 << 17, 1 << 12  # bound the memory of rendering, without a grid and with one
_PRUNE_EVERY = 128  # steps
_EMPTY = 0.004  # optical thickness of one step below which a probed cell counts as empty
_FIRST_PART = 0.125  # of the samples a step are taken by the first step, all by the last: early steps need few
_LEAST_RAYS, _MOST_RAYS = 64, 1 << 14
_REPORT_SECONDS = 0.5
_LEAST_ERROR = 1e-10  # 100 dB, where the logarithm of a perfect batch would not exist


@dataclass(frozen=True)
class NerfConfig:
    """Settings; the defaults are the paper's for its synthetic scenes.

    Attributes:
        layers: hidden layers of the trunk.
        width: of each.
        skip: the encoded point is fed in again after this many layers; 0 for never.
        feature: whether a linear layer stands between trunk and view branch.
        view_width: of the one hidden layer of the view branch.
        frequencies: of the positional encoding of points.
        view_frequencies: of the positional encoding of directions.
        normalise: whether points are scaled so that the longest edge of the scene's box is [-1,1].
        density: what makes the network's output a density, `relu` or `softplus`.
        coarse: stratified samples a ray; with a grid, evenly spaced samples along the diagonal of the box.
        fine: further samples a ray, drawn where the coarse network found density.
        grid: cells along each edge of the occupancy grid; 0 for none, and a coarse and a fine network instead.
        rays: rays a step; with a grid, of the first step.
        one_view: whether the rays of a step come from one view.
        samples: with a grid, the samples a step that the number of rays is adapted to; 0 to keep that number.
        steps: optimisation steps where the budget has no number.
        rate: of Adam, at the first step.
        rate_decay: the factor by which the rate has fallen at the end.
    """

    layers: int = 8
    width: int = 256
    skip: int = 5
    feature: bool = True
    view_width: int = 128
    frequencies: int = 10
    view_frequencies: int = 4
    normalise: bool = False
    density: Literal["relu", "softplus"] = "relu"
    coarse: int = 64
    fine: int = 128
    grid: int = 0
    rays: int = 1024
    one_view: bool = True
    samples: int = 0
    steps: int = 500_000
    rate: float = 5e-4
    rate_decay: float = 0.1


def encode(x: Tensor, frequencies: int) -> Tensor:
    """(P, 3+6L): x (P,3), then for l = 0..L-1 sin(2^l x) and cos(2^l x), three of each.

    Equation 4 of the paper without its factor of pi, and with x itself in front, as in the original code.
    """
    angles = x[:, None, :] * 2.0 ** torch.arange(frequencies, dtype=x.dtype, device=x.device)[:, None]
    return torch.cat([x, torch.stack([angles.sin(), angles.cos()], 2).flatten(1)], 1)


TINY = NerfConfig(
    layers=4,
    width=64,
    skip=0,
    feature=False,
    view_width=32,
    frequencies=8,
    view_frequencies=2,
    normalise=True,
    density="softplus",
    coarse=192,
    fine=0,
    grid=64,
    rays=64,
    one_view=False,
    samples=1 << 14,
    steps=8000,
    rate=5e-3,
    rate_decay=0.05,
)


class Network(nn.Module):
    """The radiance field: density from the point alone, colour from point and direction (figure 7 of the paper)."""

    def __init__(self, config: NerfConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        encoded, viewed = 3 + 6 * config.frequencies, 3 + 6 * config.view_frequencies
        inputs = [encoded] + [config.width] * (config.layers - 1)
        if 0 < config.skip < config.layers:
            inputs[config.skip] += encoded
        self.trunk = nn.ModuleList(_linear(n, config.width, generator) for n in inputs)
        self.view = _linear(config.width + viewed, config.view_width, generator)
        self.feature = _linear(config.width, config.width, generator) if config.feature else nn.Identity()
        self.sigma = _linear(config.width, 1, generator)
        self.rgb = _linear(config.view_width, 3, generator)

    def forward(self, xyz: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        """Raw density (P,) and raw colour (P,3) at `xyz` (P,3), seen along `directions` (R,3)[`ray` (P,)].

        The part of the view branch that depends on the direction alone is computed once a ray.
        """
        hidden = self.hidden(xyz)
        width = self.config.width
        viewed = F.linear(encode(directions, self.config.view_frequencies), self.view.weight[:, width:])
        branch = F.linear(self.feature(hidden), self.view.weight[:, :width], self.view.bias)
        colour = self.rgb(F.relu(branch + viewed[ray]))
        return self.sigma(hidden)[:, 0], colour

    def hidden(self, xyz: Tensor) -> Tensor:
        """The output (P,width) of the trunk at `xyz` (P,3)."""
        encoded = encode(xyz, self.config.frequencies)
        hidden = encoded
        for index, layer in enumerate(self.trunk):
            if index and index == self.config.skip:
                hidden = torch.cat([encoded, hidden], 1)
            hidden = F.relu_(layer(hidden))
        return hidden


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):  # the layer's own initialisation leaves the global generator alone
        layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, generator=generator)  # the default of the original's framework
    nn.init.zeros_(layer.bias)
    return layer


class NerfField:
    """A fitted radiance field.

    Attributes:
        kind: `density`, one per scene unit.
        networks: coarse and fine, or the one network that works with the grid.
        grid: the occupancy grid, where the config asks for one.
        parameters: how many trainable numbers there are.
    """

    kind: Kind = "density"

    def __init__(self, config: NerfConfig, box: Float, background: Sequence[float], device: str, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.box = torch.from_numpy(np.array(box, np.float32)).to(device)
        self.background = torch.tensor(background, dtype=torch.float32, device=device)
        self.networks = nn.ModuleList(Network(config, generator) for _ in range(1 if config.grid else 2)).to(device)
        self.grid = OccupancyGrid(self.box, config.grid) if config.grid else None
        self.parameters = sum(p.numel() for p in self.networks.parameters())
        extent = self.box[1] - self.box[0]
        self.step = float(extent.norm()) / config.coarse
        self.centre = self.box.mean(0) if config.normalise else torch.zeros(3, device=device)
        self.scale = float(2 / extent.max()) if config.normalise else 1.0

    def radiance(self, network: nn.Module, xyz: Tensor, directions: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        """Density (P,) per scene unit and colour (P,3) in [0,1] of a network at `xyz` (P,3), along directions[ray]."""
        sigma, rgb = network((xyz - self.centre) * self.scale, directions, ray)
        return self._density(sigma), torch.sigmoid(rgb)

    def density(self, xyz: Tensor) -> Tensor:
        """Density (P,) per scene unit at `xyz` (P,3), by the fine network, without regard to the grid."""
        network: Network = self.networks[-1]  # type: ignore[assignment]
        return self._density(network.sigma(network.hidden((xyz - self.centre) * self.scale))[:, 0])

    def _density(self, raw: Tensor) -> Tensor:
        return F.relu(raw) if self.config.density == "relu" else F.softplus(raw + _THIN) / self.step

    def trace(self, rays: Rays, generator: torch.Generator | None = None) -> tuple[list[Tensor], int]:
        """Colours (R,3) in [0,1] of rays, one tensor a network, the best last, and how many samples they took.

        With a generator, the samples are stratified at random, for training; without one, always the same.
        """
        if self.grid is not None:
            colour, evaluated = self._trace_grid(self.grid, rays, generator)
            return [colour], evaluated
        distance = stratified(rays, self.config.coarse, generator)
        coarse, weights = self._trace_dense(self.networks[0], rays, distance)
        middle = (distance[:, 1:] + distance[:, :-1]) / 2
        further = draw_distances(middle, weights[:, 1:-1].detach(), self.config.fine, generator)
        union = torch.cat([distance, further], 1).sort(1).values
        return [coarse, self._trace_dense(self.networks[1], rays, union)[0]], distance.numel() + union.numel()

    def _trace_dense(self, network: nn.Module, rays: Rays, distance: Tensor) -> tuple[Tensor, Tensor]:
        count, samples = distance.shape
        xyz = rays.origins[:, None] + distance[..., None] * rays.directions[:, None]
        ray = torch.arange(count, device=distance.device).repeat_interleave(samples)
        sigma, rgb = self.radiance(network, xyz.reshape(-1, 3), rays.directions, ray)
        last = torch.where(rays.far > rays.near, _BEYOND, 0.0)[:, None]
        optical = sigma.view(count, samples) * torch.cat([distance.diff(dim=1), last], 1)
        weights = ray_weights(optical)
        colour = (weights[..., None] * rgb.view(count, samples, 3)).sum(1)
        return colour + (1 - weights.sum(1, keepdim=True)) * self.background, weights

    def _trace_grid(self, grid: OccupancyGrid, rays: Rays, generator: torch.Generator | None) -> tuple[Tensor, int]:
        """Colours (R,3), and how many samples were evaluated: a few of each ray at a time, until it is opaque."""
        device = self.box.device
        offset = torch.full((len(rays),), 0.5, device=device)
        if generator is not None:
            offset = torch.rand(len(rays), generator=generator, device=device)
        ray, rank, distance = grid.march(rays, self.step, offset)
        clear = torch.ones(len(rays), device=device)
        colour = torch.zeros(len(rays), 3, device=device)
        evaluated, size = 0, _ROUND
        while len(ray):
            now = rank < size
            at, place = ray[now], rank[now]
            xyz = rays.origins[at] + distance[now, None] * rays.directions[at]
            sigma, rgb = self.radiance(self.networks[0], xyz, rays.directions, at)
            optical = torch.zeros(len(rays), size, device=device).index_put((at, place), sigma * self.step)
            weights = ray_weights(optical) * clear[:, None]
            colour = colour.index_add(0, at, weights[at, place, None] * rgb)
            clear = clear * torch.exp(-optical.sum(1))
            evaluated += len(at)
            left = ~now & (clear.detach() > _OPAQUE)[ray]
            ray, rank, distance = ray[left], rank[left] - size, distance[left]
            size *= 2
        return colour + clear[:, None] * self.background, evaluated

    @torch.no_grad()
    def prune(self, generator: torch.Generator) -> None:
        """Drop the cells of the grid that have come out empty."""
        if self.grid is not None:
            self.grid.prune(self.density, _EMPTY / self.step, generator)

    @torch.no_grad()
    def render(self, cameras: Cameras) -> Float:
        """Images (N,H,W,3) float32 in [0,1] of N cameras of one size, over the scene's background."""
        samples = self.config.coarse + self.config.fine
        count = _CHUNK_RAYS if self.grid is not None else max(1, _CHUNK_SAMPLES // samples)
        width, height = cameras.size[0].tolist()
        images = np.empty((len(cameras), height, width, 3), np.float32)
        for index in range(len(cameras)):
            rays = camera_rays(cameras, index, self.box)
            parts = [self.trace(rays[i : i + count])[0][-1] for i in range(0, len(rays), count)]
            images[index] = torch.cat(parts).clamp_(0, 1).view(height, width, 3).cpu().numpy()
        return images

    @torch.no_grad()
    def value(self, xyz: Float) -> Float:
        """Density (P,) float32, per scene unit, at `xyz` (P,3) in scene units; 0 where the grid is empty."""
        parts = []
        for points in torch.split(torch.from_numpy(np.ascontiguousarray(xyz, np.float32)), _CHUNK_SAMPLES):
            points = points.to(self.box.device)
            density = self.density(points)
            parts.append(density if self.grid is None else density * self.grid.contains(points))
        return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, np.float32)

    def save(self, folder: Path) -> None:
        """Write the field into `folder`: field.safetensors and field.json."""
        tensors = dict(self.networks.state_dict())
        if self.grid is not None:
            tensors["occupied"] = self.grid.occupied.to(torch.uint8)
        about = {"config": dataclasses.asdict(self.config), "box": self.box.tolist()}
        write_checkpoint(folder, "nerf", "field", tensors, about | {"background": self.background.tolist()})


class Nerf(Method[NerfConfig]):
    """NeRF, fitted to the posed views of one scene."""

    Config: ClassVar[type[NerfConfig]] = NerfConfig
    presets: ClassVar[Mapping[str, NerfConfig]] = {"paper": NerfConfig(), "tiny": TINY}
    needs: ClassVar[tuple[str, ...]] = ("views",)

    def fit(self, scene: Scene, budget: Budget) -> NerfField:
        """The radiance field of one scene, from its views.

        Raises:
            DataMissing: the scene gives no views.
        """
        views = scene.given.views
        if views is None or not len(views):
            raise DataMissing(f"Scene {scene.name!r} gives no views.", "NeRF needs a task that gives posed views.")
        config = self.config
        field = NerfField(config, scene.box, scene.background, self.device, self.seed)
        generator = torch.Generator(self.device).manual_seed(self.seed)
        pixels = Pixels(views, scene.background, field.box)
        optimiser = torch.optim.Adam(field.networks.parameters(), lr=config.rate, fused=True)
        count, reported = config.rays, -math.inf
        for step in budget.run(config.steps):
            for group in optimiser.param_groups:
                group["lr"] = config.rate * config.rate_decay**step.fraction
            rays, truth = pixels.draw(count, generator, config.one_view)
            colours, samples = field.trace(rays, generator)
            losses = torch.stack([F.mse_loss(colour, truth) for colour in colours])
            if losses.requires_grad:  # not where no ray of a step meets an occupied cell
                optimiser.zero_grad()
                torch.autograd.backward(losses.sum())
                optimiser.step()
            if field.grid is not None:
                if config.samples:
                    wanted = config.samples * (_FIRST_PART + (1 - _FIRST_PART) * step.fraction)
                    count = _adapted(count, samples, wanted)
                if step.index % _PRUNE_EVERY == _PRUNE_EVERY - 1:
                    field.prune(generator)
            if time.perf_counter() - reported > _REPORT_SECONDS:
                reported = time.perf_counter()
                error = losses.detach().tolist()
                step.log(loss=sum(error), psnr=-10 * math.log10(max(error[-1], _LEAST_ERROR)))
        return field

    def restore(self, folder: Path) -> NerfField:
        """The field that `NerfField.save` wrote into `folder`.

        Raises:
            DataMissing: a file is not there.
            DataCorrupt: a file is not what `save` writes.
        """
        tensors, about = read_checkpoint(folder, "nerf", "field")
        try:
            config = NerfConfig(**about["config"])
            field = NerfField(config, np.array(about["box"], np.float32), about["background"], self.device)
            if field.grid is not None:
                field.grid.load(tensors.pop("occupied").bool())
            field.networks.load_state_dict(tensors)
        except (ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
            raise DataCorrupt(f"{folder} holds no fitted NeRF: {error}.", "Fit it again.") from error
        return field


def _adapted(rays: int, samples: int, wanted: float) -> int:
    """How many rays to draw next, so that they take `wanted` samples; it changes by a factor of two at most."""
    factor = min(max(wanted / max(samples, 1), 0.5), 2.0)
    return min(max(int(rays * factor), _LEAST_RAYS), _MOST_RAYS)
