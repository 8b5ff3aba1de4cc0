"""The field of NeRF: what its networks say along rays, as images, density, depth and normals."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfbench.baselines.ndc import Ndc
from nfbench.baselines.nerf_config import NerfConfig
from nfbench.baselines.occupancy_grid import OccupancyGrid
from nfbench.baselines.radiance_network import RadianceNetwork
from nfbench.baselines.rays import Rays, bounded, camera_rays, draw_distances, interval, ray_weights, stratified
from nfbench.harness.camera import Cameras
from nfbench.harness.checkpoint import write_checkpoint
from nfbench.harness.scene import Float, Kind

_BEYOND = 1e10  # the length of a ray's last interval in the original code
_THIN = -5.0  # softplus starts from a thin fog, through which every ray sees the whole box
_ROUND_CPU, _ROUND_GPU = 8, 64  # samples of a ray that are evaluated between two looks at whether it is opaque
_OPAQUE = 1e-3  # transmittance below which the rest of a ray is left out
_EMPTY = 0.004  # optical thickness of one step below which a probed cell counts as empty
_CHUNK_CPU, _CHUNK_GPU = 1 << 13, 1 << 19  # samples at once: on a CPU, their activations stay in the cache
_CHUNK_RAYS_CPU, _CHUNK_RAYS_GPU = 1 << 12, 1 << 15  # with a grid
_HALF = 0.5  # the opacity that makes a surface


class FieldMaps(NamedTuple):
    """What a field holds beside colour, for N cameras of one size.

    Attributes:
        depth: (N,H,W) float32, along the ray in scene units, where half of its light is taken; inf where less is.
        normal: (N,H,W,3) float32, unit vectors in scene coordinates, 0 where depth is inf.
        opacity: (N,H,W) float32 in [0,1], the part of the light that is taken.
    """

    depth: Float
    normal: Float
    opacity: Float


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
        maps = FieldMaps(np.empty(shape, np.float32), np.empty((*shape, 3), np.float32), np.empty(shape, np.float32))
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
            for array, found in zip(maps, zip(*parts, strict=True), strict=True):
                array[index] = torch.cat(found).view(array.shape[1:]).cpu().numpy()
        return maps

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
