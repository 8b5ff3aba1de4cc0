"""NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis (Mildenhall et al., ECCV 2020).

A network takes a point and a viewing direction to a density and a colour; quadrature of both along a ray gives the
pixel. `rays` has the quadrature, `ndc` the coordinates for forward-facing scenes, `occupancy_grid` what skips empty
space in the presets that are not the paper's.

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

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfbench.baselines.encoding import encode
from nfbench.baselines.floor import training_views
from nfbench.baselines.ndc import Ndc, faces_forward
from nfbench.baselines.occupancy_grid import OccupancyGrid
from nfbench.baselines.rays import (
    Pixels,
    Rays,
    bounded,
    box_interval,
    camera_rays,
    draw_distances,
    interval,
    ray_weights,
    stratified,
)
from nfbench.harness.camera import Cameras
from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.method import Budget, Method
from nfbench.harness.official import mapped, section
from nfbench.harness.scene import Float, Kind, Scene, Views
from nfbench.harness.training import Precision, Training
from nfbench.harness.training_state import Kept
from nfbench.harness.view_maps import FieldMaps


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
        space: `box` for the scene as it is, `ndc` for normalised device coordinates, or `auto`: `ndc` where all cameras
            look much the same way and the scene's box holds all that they see, as in the llff format, else `box`.
        normalise: whether points are scaled so that the longest edge of the box is [-1,1].
        density: what makes the network's output a density, `relu` or `softplus`.
        noise: standard deviation of what is added to the network's density before that, in training.
        coarse: stratified samples a ray; with a grid, evenly spaced samples along the diagonal of the box.
        fine: further samples a ray, drawn where the coarse network found density.
        grid: cells along each edge of the occupancy grid; 0 for none, and a coarse and a fine network instead.
        rays: rays a step; with a grid, of the first step.
        one_view: whether the rays of a step come from one view.
        samples: with a grid, the samples a step that the number of rays is adapted to; 0 to keep that number.
        pixel: where in its square, in x and y, the ray of a pixel passes: 0.5 is the centre, 0 the original's.
        steps: optimisation steps where the budget has no number.
        rate: of Adam, at the first step.
        rate_decay: the factor by which the rate has fallen at the end.
        precision: of the network's matrices and activations; what is drawn, summed along rays and stepped is fp32.
    """

    layers: int = 8
    width: int = 256
    skip: int = 5
    feature: bool = True
    view_width: int = 128
    frequencies: int = 10
    view_frequencies: int = 4
    space: Literal["auto", "box", "ndc"] = "auto"
    normalise: bool = False
    density: Literal["relu", "softplus"] = "relu"
    noise: float = 0.0
    coarse: int = 64
    fine: int = 128
    grid: int = 0
    rays: int = 1024
    one_view: bool = True
    samples: int = 0
    pixel: float = 0.5
    steps: int = 500_000
    rate: float = 5e-4
    rate_decay: float = 0.1
    precision: Precision = "fp32"


PAPER = NerfConfig()
PAPER_LLFF = NerfConfig(
    space="ndc",
    noise=1.0,
    rays=4096,
    one_view=False,
    steps=200_000,
    rate_decay=0.1**0.8,  # the original's rate falls by 0.1 in 250,000 steps, of which it takes 200,000
)
FAST = NerfConfig(
    normalise=True,
    density="softplus",
    coarse=512,
    fine=0,
    grid=128,
    one_view=False,
    samples=1 << 18,
    steps=12_000,
    rate=1e-3,
    rate_decay=0.05,
    precision="bf16",
)
TINY = dataclasses.replace(
    FAST,
    layers=4,
    width=64,
    skip=0,
    feature=False,
    view_width=32,
    frequencies=8,
    view_frequencies=2,
    coarse=192,
    grid=64,
    rays=64,
    samples=1 << 14,
    steps=8000,
    rate=5e-3,
    precision="fp32",
)

PRESETS: Mapping[str, NerfConfig] = {"paper": PAPER, "paper-llff": PAPER_LLFF, "fast": FAST, "tiny": TINY}


# --------------------------------------------------------------------------------------------------------- the network


class RadianceNetwork(nn.Module):
    """Density from the point alone, colour from point and direction.

    Args:
        layers: hidden layers of the trunk.
        width: of each.
        skip: the encoded point is fed in again after this many layers; 0 for never.
        feature: whether a linear layer stands between trunk and view branch.
        view_width: of the one hidden layer of the view branch.
        frequencies: of the encoding of points.
        view_frequencies: of the encoding of directions.
        generator: draws the weights.
    """

    def __init__(
        self,
        *,
        layers: int,
        width: int,
        skip: int,
        feature: bool,
        view_width: int,
        frequencies: int,
        view_frequencies: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        self.width, self.skip = width, skip if skip < layers else 0
        self.frequencies, self.view_frequencies = frequencies, view_frequencies
        self.encoded = 3 + 6 * frequencies
        inputs = [self.encoded] + [width] * (layers - 1)
        if self.skip:
            inputs[self.skip] += self.encoded
        self.trunk = nn.ModuleList(_linear(n, width, generator) for n in inputs)
        self.view = _linear(width + 3 + 6 * view_frequencies, view_width, generator)
        self.feature = _linear(width, width, generator) if feature else nn.Identity()
        self.sigma = _linear(width, 1, generator)
        self.rgb = _linear(view_width, 3, generator)

    def forward(
        self, xyz: Tensor, directions: Tensor, ray: Tensor | None = None, dtype: torch.dtype | None = None
    ) -> tuple[Tensor, Tensor]:
        """Raw density (P,) and raw colour (P,3) at `xyz` (P,3), seen along unit vectors `directions` (R,3).

        The part of the view branch that depends on the direction alone is computed once a ray, and the feature layer,
        which no activation follows, is multiplied into the view branch.

        Args:
            xyz: points; no gradient flows back to them.
            directions: one a ray.
            ray: (P,) int64, the ray of each point; without it every ray has P/R points, one ray after the other.
            dtype: of matrices and activations, that of the parameters when left out; what is returned has the latter.
        """
        viewed = F.linear(encode(directions, self.view_frequencies), self.view.weight[:, self.width :])
        branch = self.view.weight[:, : self.width]
        bias: Tensor = self.view.bias
        if isinstance(self.feature, nn.Linear):
            bias = bias + branch @ self.feature.bias
            branch = branch @ self.feature.weight
        trunk: list[nn.Linear] = list(self.trunk)  # type: ignore[arg-type]
        again = trunk[self.skip].weight[:, : self.encoded] if self.skip else self.sigma.weight[:, :0]
        parameters = [again, self.sigma.weight, self.sigma.bias, branch, bias, self.rgb.weight, self.rgb.bias]
        for index, layer in enumerate(trunk):
            weight = layer.weight[:, self.encoded :] if index and index == self.skip else layer.weight
            parameters += [weight, layer.bias]
        encoded, kind = encode(xyz, self.frequencies), dtype or self.sigma.weight.dtype
        sigma, rgb = _Layers.apply(encoded, viewed, ray, self.skip, kind, torch.is_grad_enabled(), *parameters)  # type: ignore[no-untyped-call]
        return sigma, rgb

    def density(self, xyz: Tensor) -> Tensor:
        """Raw density (P,) at `xyz` (P,3), through which gradients flow back to the points."""
        encoded = encode(xyz, self.frequencies)
        hidden = encoded
        for index, layer in enumerate(self.trunk):
            if index and index == self.skip:
                hidden = torch.cat([encoded, hidden], 1)
            hidden = F.relu(layer(hidden))
        return self.sigma(hidden)[:, 0]  # type: ignore[no-any-return]


class _Layers(torch.autograd.Function):
    """All layers behind the encoding in one node: ReLU in place, no concatenation, gradients of the weights alone."""

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        encoded: Tensor,
        viewed: Tensor,
        ray: Tensor | None,
        skip: int,
        dtype: torch.dtype,
        learning: bool,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        kept = learning and any(ctx.needs_input_grad)  # which is as in training even where no gradient is wanted
        cast = [p.detach().to(dtype) for p in parameters]
        again, sigma_weight, sigma_bias, branch, branch_bias, rgb_weight, rgb_bias = cast[:7]
        first = hidden = encoded.to(dtype)
        trunk: list[Tensor] = []
        for index, (weight, bias) in enumerate(_pairs(cast[7:])):
            hidden = torch.addmm(bias, hidden, weight.t())
            if index and index == skip:
                hidden.addmm_(first, again.t())
            hidden.relu_()
            if kept:
                trunk.append(hidden)
        sigma = torch.addmv(sigma_bias.expand(len(hidden)), hidden, sigma_weight[0])
        seen = torch.addmm(branch_bias, hidden, branch.t())
        if ray is None:
            seen.view(len(viewed), -1, seen.shape[1]).add_(viewed.to(dtype)[:, None])
        else:
            seen.add_(viewed.to(dtype).index_select(0, ray))
        rgb = torch.addmm(rgb_bias, seen.relu_(), rgb_weight.t())
        if kept:
            ctx.save_for_backward(first, seen, ray, *trunk, *cast)
        ctx.skip, ctx.rays, ctx.layers = skip, len(viewed), len(trunk)
        return sigma.to(viewed.dtype), rgb.to(viewed.dtype)

    @staticmethod
    def backward(ctx: Any, to_sigma: Tensor, to_rgb: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        first, seen, ray, *rest = ctx.saved_tensors
        trunk, cast, given = rest[: ctx.layers], rest[ctx.layers :], to_rgb.dtype
        again, sigma_weight, _, branch, _, rgb_weight, _ = cast[:7]
        weights = [weight for weight, _ in _pairs(cast[7:])]
        to_again = torch.zeros_like(again)
        summed_rgb, summed_sigma = to_rgb.sum(0), to_sigma.sum(0, keepdim=True)
        to_rgb, to_sigma = to_rgb.to(first.dtype), to_sigma.to(first.dtype)
        to_rgb_weight = to_rgb.t() @ seen
        to_seen = _through_relu(to_rgb @ rgb_weight, seen)
        if ray is None:
            to_viewed = to_seen.view(ctx.rays, -1, to_seen.shape[1]).sum(1, dtype=given)
        else:
            to_viewed = torch.zeros(ctx.rays, to_seen.shape[1], dtype=given, device=seen.device)
            to_viewed.index_add_(0, ray, to_seen.to(given))
        to_branch, to_sigma_weight = to_seen.t() @ trunk[-1], (to_sigma @ trunk[-1])[None]
        gradient = (to_seen @ branch).addr_(to_sigma, sigma_weight[0])
        to_trunk: list[Tensor] = []
        for index in range(ctx.layers - 1, -1, -1):
            gradient = _through_relu(gradient, trunk[index])
            to_trunk += [gradient.sum(0, dtype=given), gradient.t() @ (trunk[index - 1] if index else first)]
            if index and index == ctx.skip:
                to_again = gradient.t() @ first
            if index:
                gradient = gradient @ weights[index]
        head = [to_again, to_sigma_weight, summed_sigma, to_branch, to_viewed.sum(0), to_rgb_weight, summed_rgb]
        return None, to_viewed, None, None, None, None, *(g.to(given) for g in [*head, *reversed(to_trunk)])


def _pairs(parameters: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    return list(zip(parameters[::2], parameters[1::2], strict=True))


def _through_relu(gradient: Tensor, output: Tensor) -> Tensor:
    """The gradient, changed in place to 0 where a ReLU gave 0."""
    return torch.ops.aten.threshold_backward.grad_input(gradient, output, 0, grad_input=gradient)  # type: ignore[no-any-return]


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):  # the layer's own initialisation leaves the global generator alone
        layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight, generator=generator)  # the default of the original's framework
    nn.init.zeros_(layer.bias)
    return layer


# ----------------------------------------------------------------------------------------------------------- the field

_BEYOND = 1e10  # the length of a ray's last interval in the original code
_THIN = -5.0  # softplus starts from a thin fog, through which every ray sees the whole box
_ROUND_CPU, _ROUND_GPU = 8, 64  # samples of a ray that are evaluated between two looks at whether it is opaque
_OPAQUE = 1e-3  # transmittance below which the rest of a ray is left out
_EMPTY = 0.004  # optical thickness of one step below which a probed cell counts as empty
_CHUNK_CPU, _CHUNK_GPU = 1 << 13, 1 << 19  # samples at once: on a CPU, their activations stay in the cache
_CHUNK_RAYS_CPU, _CHUNK_RAYS_GPU = 1 << 12, 1 << 15  # with a grid
_HALF = 0.5  # the opacity that makes a surface


class Traced(NamedTuple):
    """What R rays saw.

    Attributes:
        colours: (R,3) in [0,1], one tensor a network, the best last.
        samples: how many points were evaluated.
        opacity: (R,) in [0,1].
        depth: (R,) in the coordinates of the rays, where half of the light is taken, inf where less is.
    """

    colours: list[Tensor]
    samples: int
    opacity: Tensor
    depth: Tensor


class NerfField:
    """A fitted radiance field.

    Attributes:
        kind: `density`, one per scene unit.
        ndc: the coordinates of the networks, where these are not those of the scene.
        region: (2,3), the box, or that of `ndc`.
        networks: coarse and fine, or the one network that works with the grid.
        grid: the occupancy grid, where the config asks for one.
        parameters: how many trainable numbers there are.
    """

    kind: Kind = "density"

    def __init__(
        self,
        config: NerfConfig,
        box: Float,
        background: Sequence[float],
        device: str,
        seed: int = 0,
        ndc: Ndc | None = None,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.box = torch.from_numpy(np.array(box, np.float32)).to(device)
        self.background = torch.tensor(background, dtype=torch.float32, device=device)
        self.ndc = ndc
        self.region = self.box if ndc is None else ndc.box
        self.networks = nn.ModuleList(_network(config, generator) for _ in range(1 if config.grid else 2)).to(device)
        self.grid = OccupancyGrid(self.region, config.grid) if config.grid else None
        self.parameters = sum(p.numel() for p in self.networks.parameters())
        extent = self.region[1] - self.region[0]
        self.step = float(extent.norm()) / config.coarse
        self.centre = self.region.mean(0) if config.normalise else torch.zeros(3, device=device)
        self.scale = float(2 / extent.max()) if config.normalise else 1.0
        self.dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self._gpu = self.box.is_cuda

    def bounds(self, origins: Tensor, directions: Tensor, near_far: Tensor | None) -> Rays:
        """Rays (R,3), (R,3) of the scene in the coordinates of the networks, between their near and far."""
        if self.ndc is None:
            return interval(origins, directions, near_far, self.box)
        return self.ndc.rays(origins, directions)

    # ------------------------------------------------------------------------------------------- at points

    def radiance(
        self, network: nn.Module, points: Tensor, rays: Rays, ray: Tensor | None, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Density (P,) and colour (P,3) in [0,1] of a network at points (P,3) of the region, on the rays[ray (P,)]."""
        sigma, rgb = network((points - self.centre) * self.scale, rays.views, ray, self.dtype)
        if generator is not None and self.config.noise:
            noise = torch.randn(sigma.shape, generator=generator, device=sigma.device)
            sigma = sigma + self.config.noise * noise
        return self._density(sigma), torch.sigmoid(rgb)

    def density(self, points: Tensor) -> Tensor:
        """Density (P,) at points (P,3) of the region, by the fine network, without regard to the grid."""
        return self._density(self._raw(points))

    def _raw(self, points: Tensor) -> Tensor:
        network: RadianceNetwork = self.networks[-1]  # type: ignore[assignment]
        return network.density((points - self.centre) * self.scale)

    def _density(self, raw: Tensor) -> Tensor:
        return F.relu(raw) if self.config.density == "relu" else F.softplus(raw + _THIN) / self.step

    def _placed(self, xyz: Tensor) -> tuple[Tensor, Tensor | float]:
        """Points (P,3) of the scene in the region, and the length (P,) there of a scene unit."""
        return (xyz, 1.0) if self.ndc is None else self.ndc.points(xyz)

    @torch.no_grad()
    def value(self, xyz: Float) -> Float:
        """Density (P,) float32, per scene unit, at `xyz` (P,3) in scene units; 0 where the grid is empty.

        Normalised device coordinates stretch space differently in different directions; then the unit is one along the
        way from the mean camera, and the density is 0 outside of what the cameras see.
        """
        parts = []
        chunk = _CHUNK_GPU if self._gpu else _CHUNK_CPU
        for part in torch.split(torch.from_numpy(np.ascontiguousarray(xyz, np.float32)), chunk):
            points, rate = self._placed(part.to(self.box.device))
            density = self.density(points) * rate
            parts.append(density if self.grid is None else density * self.grid.contains(points))
        return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, np.float32)

    def _normals(self, xyz: Tensor) -> Tensor:
        """Unit vectors (P,3) against the gradient of the density at `xyz` (P,3) in scene units; 0 where it is 0."""
        with torch.enable_grad():
            xyz = xyz.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._raw(self._placed(xyz)[0]).sum(), xyz)
        return F.normalize(-gradient, dim=1)

    # ------------------------------------------------------------------------------------------- along rays

    def trace(self, rays: Rays, generator: torch.Generator | None = None, deep: bool = False) -> Traced:
        """What rays see. With a generator, as in training: samples are stratified at random and noise is added.

        Args:
            rays: in the region.
            generator: draws; without one the answer is always the same.
            deep: whether opacity and depth are wanted; without, they are of no rays.
        """
        if self.grid is not None:
            return self._trace_grid(self.grid, rays, generator, deep)
        distance = stratified(rays, self.config.coarse, generator)
        coarse, weights = self._trace_dense(self.networks[0], rays, distance, generator)
        middle = (distance[:, 1:] + distance[:, :-1]) / 2
        further = draw_distances(middle, weights[:, 1:-1].detach(), self.config.fine, generator)
        union = torch.cat([distance, further], 1).sort(1).values
        fine, weights = self._trace_dense(self.networks[1], rays, union, generator)
        opacity, depth = _surface(weights, union) if deep else (weights[:0, 0], weights[:0, 0])
        return Traced([coarse, fine], distance.numel() + union.numel(), opacity, depth)

    def _trace_dense(
        self, network: nn.Module, rays: Rays, distance: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Colours (R,3) and weights (R,S) of samples at distances (R,S)."""
        count, samples = distance.shape
        points = rays.origins[:, None] + distance[..., None] * rays.directions[:, None]
        sigma, rgb = self.radiance(network, points.reshape(-1, 3), rays, None, generator)
        last = torch.where(rays.far > rays.near, _BEYOND, 0.0)[:, None]
        optical = sigma.view(count, samples) * torch.cat([distance.diff(dim=1), last], 1)
        weights = ray_weights(optical)
        colour = (weights[..., None] * rgb.view(count, samples, 3)).sum(1)
        return colour + (1 - weights.sum(1, keepdim=True)) * self.background, weights

    def _trace_grid(self, grid: OccupancyGrid, rays: Rays, generator: torch.Generator | None, deep: bool) -> Traced:
        """A few samples of each ray at a time, in occupied cells, until it is opaque."""
        device = self.box.device
        offset = torch.full((len(rays),), 0.5, device=device)
        if generator is not None:
            offset = torch.rand(len(rays), generator=generator, device=device)
        ray, rank, distance = grid.march(rays, self.step, offset)
        clear = torch.ones(len(rays), device=device)
        colour = torch.zeros(len(rays), 3, device=device)
        depth = torch.full((len(rays) if deep else 0,), torch.inf, device=device)
        evaluated, size = 0, _ROUND_GPU if self._gpu else _ROUND_CPU
        while len(ray):
            now = rank < size
            at, place = ray[now], rank[now]
            points = rays.origins[at] + distance[now, None] * rays.directions[at]
            sigma, rgb = self.radiance(self.networks[0], points, rays, at, generator)
            optical = torch.zeros(len(rays), size, device=device).index_put((at, place), sigma * self.step)
            weights = ray_weights(optical) * clear[:, None]
            colour = colour.index_add(0, at, weights[at, place, None] * rgb)
            if deep:
                taken = 1 - clear[:, None] + weights.cumsum(1)
                places = torch.full_like(optical, torch.inf).index_put((at, place), distance[now])
                depth = torch.minimum(depth, _crossed(taken, places))
            clear = clear * torch.exp(-optical.sum(1))
            evaluated += len(at)
            left = ~now & (clear.detach() > _OPAQUE)[ray]
            ray, rank, distance = ray[left], rank[left] - size, distance[left]
            size *= 2
        return Traced([colour + clear[:, None] * self.background], evaluated, 1 - clear if deep else clear[:0], depth)

    @torch.no_grad()
    def prune(self, generator: torch.Generator) -> None:
        """Drop the cells of the grid that have come out empty."""
        if self.grid is not None:
            self.grid.prune(self.density, _EMPTY / self.step, generator)

    # ------------------------------------------------------------------------------------------- whole images

    @torch.no_grad()
    def render(self, cameras: Cameras) -> Float:
        """Images (N,H,W,3) float32 in [0,1] of N cameras of one size, over the scene's background."""
        width, height = cameras.size[0].tolist()
        images = np.empty((len(cameras), height, width, 3), np.float32)
        for index in range(len(cameras)):
            parts = [self.trace(rays).colours[-1] for _, _, rays in self._chunks(cameras, index)]
            images[index] = torch.cat(parts).clamp_(0, 1).view(height, width, 3).cpu().numpy()
        return images

    @torch.no_grad()
    def maps(self, cameras: Cameras) -> FieldMaps:
        """Depth, normals and opacity of N cameras of one size."""
        width, height = cameras.size[0].tolist()
        shape = (len(cameras), height, width)
        every = (np.empty(shape, np.float32), np.empty((*shape, 3), np.float32), np.empty(shape, np.float32))
        for index in range(len(cameras)):
            parts = []
            for origins, directions, rays in self._chunks(cameras, index):
                traced = self.trace(rays, deep=True)
                depth = traced.depth
                if self.ndc is not None:
                    reached = rays.origins[:, 2] + depth * rays.directions[:, 2]
                    depth = torch.where(
                        depth.isfinite(), self.ndc.distance(origins, directions, reached.clamp(-1, 1)), torch.inf
                    )
                normal = torch.zeros_like(directions)
                hit = depth.isfinite()
                normal[hit] = self._normals(origins[hit] + depth[hit, None] * directions[hit])
                parts.append((depth, normal, traced.opacity))
            for array, found in zip(every, zip(*parts, strict=True), strict=True):
                array[index] = torch.cat(found).view(array.shape[1:]).cpu().numpy()
        return FieldMaps(*every)

    def _chunks(self, cameras: Cameras, index: int) -> Iterator[tuple[Tensor, Tensor, Rays]]:
        """Origins, directions and, in the region, the rays of a camera's pixels, a part at a time."""
        if self.grid is not None:
            count = _CHUNK_RAYS_GPU if self._gpu else _CHUNK_RAYS_CPU
        else:
            count = max(1, (_CHUNK_GPU if self._gpu else _CHUNK_CPU) // (self.config.coarse + self.config.fine))
        every = camera_rays(cameras, index, self.box.device, self.config.pixel)
        for origins, directions in zip(*(torch.split(part, count) for part in every), strict=True):
            yield origins, directions, bounded(cameras, index, origins, directions, self.bounds)

    def save(self, folder: Path) -> None:
        """Write the field into `folder`: field.safetensors and field.json."""
        tensors = dict(self.networks.state_dict())
        if self.grid is not None:
            tensors |= self.grid.state_dict()
        about: dict[str, Any] = {"config": dataclasses.asdict(self.config), "box": self.box.tolist()}
        about |= {"background": self.background.tolist(), "ndc": None if self.ndc is None else self.ndc.about()}
        write_checkpoint(folder, "nerf", "field", tensors, about)


def _network(config: NerfConfig, generator: torch.Generator) -> RadianceNetwork:
    return RadianceNetwork(
        layers=config.layers,
        width=config.width,
        skip=config.skip,
        feature=config.feature,
        view_width=config.view_width,
        frequencies=config.frequencies,
        view_frequencies=config.view_frequencies,
        generator=generator,
    )


def _surface(weights: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Opacity (R,) and the distance (R,) at which half of the light is taken, of weights (R,S) at distances (R,S)."""
    taken = weights.cumsum(1)
    return taken[:, -1].clamp(0, 1), _crossed(taken, distance)


def _crossed(taken: Tensor, distance: Tensor) -> Tensor:
    """The distance (R,) of the first of samples (R,S) by which half of the light is taken, inf where there is none."""
    beyond = taken >= _HALF
    first = beyond.float().argmax(1, keepdim=True)
    return torch.where(beyond.any(1), distance.gather(1, first)[:, 0], torch.inf)


# ---------------------------------------------------------------------------------------------------------- the method

_PRUNE_EVERY = 128  # steps
_FIRST_PART = 0.125  # of the samples a step are taken by the first step, all by the last: early steps need few
_LEAST_RAYS, _MOST_RAYS = 64, 1 << 16
_PART_CPU: Mapping[Precision, int] = {"fp32": 1 << 12, "bf16": 1 << 13}
"""Samples of a step that go through the network at once: their activations stay in the cache."""
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

    def adopt(self, state: Mapping[str, Any], scene: Scene | None) -> NerfField:
        """The field of a checkpoint of nerf-pytorch that was trained on `scene`, given with its hidden views.

        Raises:
            Unsupported: no scene, or one that is not in the coordinates of its dataset.
            DataCorrupt: names or shapes that are not those of the paper's networks.
        """
        if scene is None:
            raise Unsupported("A NeRF is of one scene, and none is given.", "Name it with --task.")
        return official_field(state, scene, self.device)

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
    return None if config.grid else max(1, _PART_CPU[config.precision] // (config.coarse + config.fine))


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


# ---------------------------------------------------------------------------------------------- the original's weights

OFFICIAL = dataclasses.replace(PAPER, pixel=0.0)
"""The config of an imported field: the original has no offset of half a pixel."""

_CONTAINERS = ("network_fn_state_dict", "network_fine_state_dict")
_ROLES = {"view": "views_linears.0", "feature": "feature_linear", "sigma": "alpha_linear", "rgb": "rgb_linear"}
_HINT = "A .tar of nerf-pytorch, trained with view directions and a fine network of the same size, is expected."


def official_networks(state: Mapping[str, Any], config: NerfConfig = OFFICIAL) -> dict[str, Tensor]:
    """The state dict of `NerfField.networks` from a checkpoint of nerf-pytorch, as torch.load gives it.

    Raises:
        DataCorrupt: it holds no two networks, or one whose tensors are not those of the config; they are named.
    """
    lacking = [name for name in _CONTAINERS if not isinstance(state.get(name), Mapping)]
    if lacking:
        raise DataCorrupt(
            f"The checkpoint has no {' and no '.join(lacking)}, but {', '.join(map(str, state)) or 'nothing'}.", _HINT
        )
    ours = _shapes(config)
    names = {name: _original(name) for name in ours}
    found: dict[str, Tensor] = {}
    for index, container in enumerate(_CONTAINERS):
        tensors = mapped(section(state, container), names, ours, whose=container, hint=_HINT)
        for name, tensor in tensors.items():
            if not torch.isfinite(tensor).all():
                raise DataCorrupt(f"{container}: {names[name]} holds NaN or infinity.", "Take an earlier checkpoint.")
            found[f"{index}.{name}"] = tensor
    return found


def official_field(state: Mapping[str, Any], scene: Scene, device: str = "cpu") -> NerfField:
    """The field of a checkpoint of nerf-pytorch that was trained on `scene`; `save` makes it one of ours.

    A forward-facing scene is taken to be trained in normalised device coordinates, whose mean camera and near plane
    are those of all views, hidden ones too, as in the original.

    Raises:
        DataCorrupt: as `official_networks`.
        Unsupported: the scene is not in the coordinates of its dataset.
    """
    networks = official_networks(state, OFFICIAL)
    parts = [views.cameras for views in (scene.given.views, scene.hidden) if views is not None]
    forward = bool(parts) and faces_forward(parts[0], scene.box)
    if not forward and not np.allclose(scene.frame, np.eye(4)):
        raise Unsupported(
            f"Scene {scene.name!r} is not in the coordinates of its dataset, in which the checkpoint was trained.",
            "Open it in the format that the checkpoint's code read, blender or llff.",
        )
    ndc = Ndc.of(_together(parts), device) if forward else None
    field = NerfField(OFFICIAL, scene.box, scene.background, device, ndc=ndc)
    field.networks.load_state_dict(networks)
    return field


def _together(parts: list[Cameras]) -> Cameras:
    near_far = [cameras.near_far for cameras in parts if cameras.near_far is not None]
    return Cameras(
        np.concatenate([cameras.c2w for cameras in parts]),
        np.concatenate([cameras.K for cameras in parts]),
        np.concatenate([cameras.size for cameras in parts]),
        np.concatenate(near_far) if len(near_far) == len(parts) else None,
    )


def _shapes(config: NerfConfig) -> dict[str, torch.Size]:
    field = NerfField(config, np.array([[-1, -1, -1], [1, 1, 1]], np.float32), (1, 1, 1), "cpu")
    return {name: tensor.shape for name, tensor in field.networks[0].state_dict().items()}


def _original(name: str) -> str:
    """The original's name of one of our parameters."""
    role, _, part = name.rpartition(".")
    return f"{role.replace('trunk', 'pts_linears') if role.startswith('trunk') else _ROLES[role]}.{part}"
