"""Where rays meet the zero level of a signed distance that is a network: the tracer of IDR, and one led by a grid.

`Tracer` is that of the released code of Yariv et al., NeurIPS 2020 (code/model/ray_tracing.py): sphere tracing (Hart
1996) from both ends of the ray's chord of the unit sphere, a search along the chord where that does not converge, and,
for training, the point of least distance on the rays that should meet no surface, or should and do not. Only rays that
are still on their way are evaluated, both ends in one batch; a chord is searched from its front, and no further than
to the first negative value where only that one is asked for; places that cannot be the least are left out.

`GuidedTracer` looks at a grid of recent values first, and asks the network only next to the surface.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Distance = Callable[[Tensor], Tensor]  # from points (P,3) to signed distances (P,), without gradients

_BLOCK = 20  # samples of a chord that are evaluated between two looks at whether a ray has met the surface
_STRIDES = (8, 4, 2, 1)  # of the samples that are looked at for the least value
_SAFETY = 1.5  # by which the distance may change faster than it was seen to
_LEAST_SLOPE = 1e-12  # keeps the secant finite where both ends are equal


@dataclass(frozen=True)
class Traced:
    """Where R rays were stopped.

    Attributes:
        distance: (R,) along the ray: of the surface where `hit`, else of the least signed distance or the end.
        hit: (R,) bool, which rays met the surface.
    """

    distance: Tensor
    hit: Tensor


def chords(origins: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distances (R,) from 0 on where rays enter and leave the unit sphere, and which (R,) bool do; 0 and 0 if not."""
    along = (origins * directions).sum(-1)
    square = along**2 - ((origins**2).sum(-1) - 1)
    half = square.clamp_min(0).sqrt()
    near, far = (-along - half).clamp_min(0), (-along + half).clamp_min(0)
    meets = (square > 0) & (far > near)
    return torch.where(meets, near, 0), torch.where(meets, far, 0), meets


def secant(
    distance: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, at: tuple[Tensor, Tensor], n: int
) -> Tensor:
    """The zero (R,) between `low` and `high` (R,), where the values `at` (R,) are positive and negative: n steps.

    Args:
        distance: values (R,) at places (R,).
        low: where the value is positive.
        high: where it is negative.
        at: the values at both.
        n: how many values may be asked for.
    """
    above, below = at
    place = _crossing(low, high, above, below)
    for _ in range(n):
        value = distance(place)
        positive, negative = value > 0, value < 0
        low, above = torch.where(positive, place, low), torch.where(positive, value, above)
        high, below = torch.where(negative, place, high), torch.where(negative, value, below)
        place = _crossing(low, high, above, below)
    return place


def _crossing(low: Tensor, high: Tensor, above: Tensor, below: Tensor) -> Tensor:
    return low - above * (high - low) / (below - above).clamp_max(-_LEAST_SLOPE)


@dataclass(frozen=True)
class Tracer:
    """The tracer of IDR; the defaults are those of its configurations.

    Attributes:
        iterations: of sphere tracing.
        threshold: the distance at which a point is on the surface.
        line_step: a step that went through the surface is taken back by 1 minus this part, then by a half of that.
        line_steps: how often.
        samples: along a chord.
        secants: steps of the secant method.
    """

    iterations: int = 10
    threshold: float = 5e-5
    line_step: float = 0.5
    line_steps: int = 3
    samples: int = 100
    secants: int = 8

    def trace(
        self,
        distance: Distance,
        origins: Tensor,
        directions: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Traced:
        """Where rays (R,3), in units of the sphere, meet the surface; for training with a mask and a generator.

        Args:
            distance: the signed distance.
            origins: (R,3).
            directions: (R,3) unit vectors.
            mask: (R,) bool, the rays that should meet the surface. Those that should and do not, and those that should
                not, are then stopped where the distance is least of `samples` places drawn with the generator.
            generator: for these places.
        """
        near, far, meets = chords(origins, directions)
        ends, unfinished = self.march(distance, origins, directions, near, far, meets)
        start, hit = ends[0].clone(), ends[0] < ends[1]
        wanted = torch.ones_like(hit) if mask is None else mask
        rows = unfinished[0].nonzero()[:, 0]
        if len(rows):
            found = self.search(distance, origins[rows], directions[rows], ends[:, rows], wanted[rows])
            start[rows], hit[rows] = found.distance, found.hit
        if mask is None or generator is None:
            return Traced(start, hit)
        other = ~unfinished[0] & ~(hit & mask)
        # a ray that misses the sphere stops where it comes nearest to its centre
        start = torch.where(other & ~meets, -(origins * directions).sum(-1), start)
        rows = (other & meets).nonzero()[:, 0]
        if len(rows):
            low = torch.where(hit, ends[0], near)[rows]
            part = torch.rand(self.samples, generator=generator, device=origins.device)
            places = low[:, None] + (far[rows] - low)[:, None] * part
            start[rows] = least(distance, origins[rows], directions[rows], places)
        return Traced(start, hit)

    def march(
        self, distance: Distance, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor, meets: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Sphere tracing from both ends of each chord: distances (2,R), and which (2,R) bool have not arrived."""
        ends, sign = torch.stack([near, far]), torch.tensor([[1.0], [-1.0]], device=near.device)
        unfinished = torch.stack([meets, meets])

        def values(which: Tensor) -> Tensor:
            """The signed distance (2,R) at the ends chosen by `which` (2,R), 0 at the others."""
            end, ray = which.nonzero(as_tuple=True)
            found = torch.zeros_like(ends)
            found[end, ray] = distance(origins[ray] + ends[end, ray, None] * directions[ray])
            return found

        following = values(unfinished)
        for iteration in range(self.iterations + 1):
            unfinished = unfinished & (following > self.threshold)
            step = torch.where(unfinished, following, 0)
            if iteration == self.iterations or not unfinished.any():
                break
            ends = ends + sign * step
            following = values(unfinished)
            for turn in range(self.line_steps):
                through = following < 0
                if not through.any():
                    break
                ends = ends - torch.where(through, sign * step * ((1 - self.line_step) / 2**turn), 0)
                following = torch.where(through, values(through), following)
            unfinished = unfinished & (ends[0] < ends[1])
        return ends, unfinished

    def search(self, distance: Distance, origins: Tensor, directions: Tensor, ends: Tensor, wanted: Tensor) -> Traced:
        """The first change of sign between `ends` (2,R) of rays (R,3), refined where it is `wanted` (R,).

        Other rays stop where the sampled distance is least.
        """
        part = torch.linspace(0, 1, self.samples, device=origins.device)
        places = ends[0][:, None] + part * (ends[1] - ends[0])[:, None]
        values = torch.full_like(places, torch.inf)
        left = torch.arange(len(places), device=places.device)
        for start in range(0, self.samples, _BLOCK):
            block = places[left, start : start + _BLOCK]
            values[left, start : start + _BLOCK] = _along(distance, origins[left], directions[left], block)
            left = left[~(wanted[left] & (values[left, start : start + _BLOCK] < 0).any(1))]
            if not len(left):
                break
        negative = values < 0
        hit, first = negative.any(1), negative.int().argmax(1)
        stop = places.gather(1, values.argmin(1, keepdim=True))[:, 0]
        rows = (hit & wanted).nonzero()[:, 0]
        if len(rows):
            high = first[rows]
            low = (high - 1).clamp_min(0)
            at = (values[rows, low], values[rows, high])
            o, d = origins[rows], directions[rows]
            root = secant(
                lambda t: distance(o + t[:, None] * d), places[rows, low], places[rows, high], at, self.secants
            )
            stop[rows] = root
        return Traced(stop, hit)


def _along(distance: Distance, origins: Tensor, directions: Tensor, places: Tensor) -> Tensor:
    """Values (R,S) at places (R,S) along rays (R,3)."""
    xyz = origins[:, None] + places[..., None] * directions[:, None]
    return distance(xyz.reshape(-1, 3)).view_as(places)


def least(distance: Distance, origins: Tensor, directions: Tensor, places: Tensor) -> Tensor:
    """The place (R,) of the least value of `places` (R,S) along rays (R,3).

    Every eighth place is looked at first, then every fourth, second and single one where it can still be the least: the
    value is taken to change by no more along a ray than half as much again as it did between those places.
    """
    places = places.sort(dim=1).values
    rows, count = len(places), places.shape[1]
    values, bound = torch.full_like(places, torch.inf), torch.full_like(places, -torch.inf)
    column = torch.arange(count, device=places.device)
    slope = places.new_tensor(1.0)
    for stride in _STRIDES:
        fresh = (column % stride == 0) | (column == count - 1)
        wanted = fresh & ~(values < torch.inf) & (bound <= values.amin(1, keepdim=True))
        ray, at = wanted.nonzero(as_tuple=True)
        values[ray, at] = distance(origins[ray] + places[ray, at, None] * directions[ray])
        seen = values[:, fresh]
        if stride == _STRIDES[0]:
            change = seen.diff(dim=1) / places[:, fresh].diff(dim=1).clamp_min(_LEAST_SLOPE)
            slope = _SAFETY * torch.maximum(change.abs().amax() if change.numel() else slope, slope)
        apart = (places[:, :, None] - places[:, None, fresh]).abs()
        bound = torch.maximum(bound, (torch.where(seen < torch.inf, seen, -torch.inf)[:, None] - slope * apart).amax(2))
    return places[torch.arange(rows, device=places.device), values.argmin(1)]


class GuidedTracer:
    """A grid of the network's values over [-1,1]^3, as they were at the last `refresh`, that leads rays to the surface.

    Attributes:
        values: (1,1,R,R,R) at the nodes, z first; a plain sphere of radius `bias` before the first refresh.
        step: between two looks at the grid along a ray.
    """

    def __init__(self, nodes: int, bias: float, secants: int, device: torch.device | str) -> None:
        axis = torch.linspace(-1, 1, nodes, device=device)
        self._nodes = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3).flip(-1)
        self.values = (self._nodes.norm(dim=1) - bias).view(1, 1, nodes, nodes, nodes)
        self.step = 2 / (nodes - 1)
        self.secants = secants

    def state_dict(self) -> dict[str, Tensor]:
        """The values, to go on from."""
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put in what `state_dict` gave."""
        self.values = state["values"].to(self.values)

    def refresh(self, distance: Distance, within: float | None = None) -> None:
        """Ask the network anew at all nodes, or at those whose value was `within` this of the surface."""
        flat = self.values.view(-1).clone()
        if within is None:
            flat = distance(self._nodes)
        else:
            near = (flat.abs() < within).nonzero()[:, 0]
            flat[near] = distance(self._nodes[near])
        self.values = flat.view_as(self.values)

    def trace(
        self,
        distance: Distance,
        origins: Tensor,
        directions: Tensor,
        mask: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Traced:
        """As `Tracer.trace`: the first change of sign of the grid, then secants of the network next to it.

        With a generator the places on the grid are shifted at random. A ray stops at the least value on the grid where
        it should not meet the surface or does not.
        """
        near, far, meets = chords(origins, directions)
        count = int(2 / self.step) + 1
        shift = torch.ones(len(near), 1, device=near.device) / 2
        if generator is not None:
            shift = torch.rand(len(near), 1, generator=generator, device=near.device)
        part = (torch.arange(count, device=near.device) + shift) / count
        places = near[:, None] + part * (far - near)[:, None]
        xyz = origins[:, None] + places[..., None] * directions[:, None]
        sampled = F.grid_sample(self.values, xyz[None, None], align_corners=True, padding_mode="border")
        values = sampled.view(len(near), count)
        negative = (values < 0) & meets[:, None]
        first = negative.int().argmax(1).clamp_min(1)
        place = places.gather(1, values.argmin(1, keepdim=True))[:, 0]
        place = torch.where(meets, place, -(origins * directions).sum(-1))
        cut = negative[:, 0] & (values[:, 1] < 0)  # the sphere's own surface is within: as in the original, that is met
        place = torch.where(cut, near, place)
        found = negative.any(1) & ~cut if mask is None else negative.any(1) & ~cut & mask
        rows = found.nonzero()[:, 0]
        if not len(rows):
            return Traced(place, negative.any(1))
        high = first[rows]
        root, met = self._refined(distance, origins[rows], directions[rows], places[rows], values[rows], high)
        place[rows] = torch.where(met, root, place[rows])
        hit = negative.any(1)
        hit[rows] = met
        return Traced(place, hit)

    def _refined(
        self, distance: Distance, origins: Tensor, directions: Tensor, places: Tensor, values: Tensor, high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Secant steps (not bracketed, since the grid is older than the network): places (R,), and which converged."""
        rows = torch.arange(len(high), device=high.device)
        low, top = places[rows, high - 1], places[rows, high]
        slope = (values[rows, high] - values[rows, high - 1]) / (top - low).clamp_min(_LEAST_SLOPE)
        slope = torch.where(slope < -0.1, slope, -0.1)
        place = (low - values[rows, high - 1] / slope).clamp(min=low, max=top)
        value = distance(origins + place[:, None] * directions)
        for _ in range(self.secants):
            following = place - (value / slope).clamp(-self.step, self.step)
            after = distance(origins + following[:, None] * directions)
            change = (after - value) / torch.where(following == place, 1.0, following - place)
            slope = torch.where(change < -0.05, change.clamp_min(-5), slope)
            place, value = following, after
        return place, value.abs() < self.step / 4
