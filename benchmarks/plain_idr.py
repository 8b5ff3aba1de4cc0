"""One training step of IDR written straight from the paper and the order of its released code, and ours beside it.

The plain step takes gradients by autograd, evaluates the geometry anew for each use of it, keeps arrays of all rays and
searches chords whole, as the original does. Both start from the same weights and see the same pixels and places.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from nfbench.baselines.idr import IdrConfig, IdrField, Poses, loss, rows_at_once, seen
from nfbench.baselines.masked_pixels import Batch
from nfbench.baselines.sphere_tracing import Tracer

SPHERE = ((0.0, 0.0, 0.0), 1.0)


def encode(x: Tensor, frequencies: int) -> Tensor:
    """x and the sines and cosines of its octaves."""
    parts = [x]
    for octave in range(frequencies):
        parts += [torch.sin(2.0**octave * x), torch.cos(2.0**octave * x)]
    return torch.cat(parts, -1)


class PlainGeometry(nn.Module):
    """The signed distance and features, with weight normalisation at every call."""

    def __init__(self, config: IdrConfig, weights: nn.ModuleList) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(_normed(layer) for layer in weights)

    def forward(self, x: Tensor) -> Tensor:
        """Signed distance and features (P,1+F)."""
        encoded = encode(x, self.config.frequencies)
        hidden = encoded
        for index, layer in enumerate(self.layers):
            if index and index == self.config.skip:
                hidden = torch.cat([hidden, encoded], -1) / math.sqrt(2)
            hidden = layer(hidden)
            if index < len(self.layers) - 1:
                hidden = F.softplus(hidden, self.config.beta)
        return hidden

    def gradient(self, x: Tensor) -> Tensor:
        """Of the signed distance, (P,3), with a graph."""
        x = x.requires_grad_()
        y = self(x)[:, :1]
        return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]


class PlainColour(nn.Module):
    """The colour, with weight normalisation at every call."""

    def __init__(self, config: IdrConfig, weights: nn.ModuleList) -> None:
        super().__init__()
        self.config = config
        self.layers = nn.ModuleList(_normed(layer) for layer in weights)

    def forward(self, x: Tensor, normals: Tensor, views: Tensor, features: Tensor) -> Tensor:
        """Colours (P,3) in [-1,1]."""
        hidden = torch.cat([x, encode(views, self.config.view_frequencies), normals, features], -1)
        for layer in self.layers[:-1]:
            hidden = torch.relu(layer(hidden))
        return torch.tanh(self.layers[-1](hidden))


def _normed(layer: Any) -> nn.Module:  # noqa: ANN401  # nfbench's Linear, out of a ModuleList
    linear: Any = weight_norm(nn.Linear(layer.weight_v.shape[1], layer.weight_v.shape[0], dtype=layer.bias.dtype))
    with torch.no_grad():
        linear.parametrizations.weight.original0.copy_(layer.weight_g)
        linear.parametrizations.weight.original1.copy_(layer.weight_v)
        linear.bias.copy_(layer.bias)
    normed: nn.Module = linear
    return normed


def plain_trace(
    f: Callable[[Tensor], Tensor], o: Tensor, d: Tensor, mask: Tensor, draws: torch.Generator, tracer: Tracer
) -> tuple[Tensor, Tensor]:
    """Distances and hits (R,), with arrays over all rays and each end by itself."""
    along = (o * d).sum(1)
    under = along**2 - (o.square().sum(1) - 1)
    meets = under > 0
    root = under.clamp_min(0).sqrt()
    near, far = torch.zeros_like(along), torch.zeros_like(along)
    near[meets], far[meets] = (-along - root).clamp_min(0)[meets], (-along + root).clamp_min(0)[meets]
    start, end, on, on_end = near.clone(), far.clone(), meets.clone(), meets.clone()
    value, value_end = torch.zeros_like(along), torch.zeros_like(along)
    value[on], value_end[on_end] = f(o[on] + start[on, None] * d[on]), f(o[on_end] + end[on_end, None] * d[on_end])
    turn = 0
    while True:
        step, step_end = torch.zeros_like(along), torch.zeros_like(along)
        step[on], step_end[on_end] = value[on], value_end[on_end]
        step[step <= tracer.threshold], step_end[step_end <= tracer.threshold] = 0, 0
        on, on_end = on & (step > tracer.threshold), on_end & (step_end > tracer.threshold)
        if (not on.any() and not on_end.any()) or turn == tracer.iterations:
            break
        turn += 1
        start, end = start + step, end - step_end
        value, value_end = torch.zeros_like(along), torch.zeros_like(along)
        value[on], value_end[on_end] = f(o[on] + start[on, None] * d[on]), f(o[on_end] + end[on_end, None] * d[on_end])
        through, through_end, again = value < 0, value_end < 0, 0
        while (through.any() or through_end.any()) and again < tracer.line_steps:
            back = (1 - tracer.line_step) / 2**again
            start[through] -= back * step[through]
            end[through_end] += back * step_end[through_end]
            if through.any():
                value[through] = f(o[through] + start[through, None] * d[through])
            if through_end.any():
                value_end[through_end] = f(o[through_end] + end[through_end, None] * d[through_end])
            through, through_end, again = value < 0, value_end < 0, again + 1
        on, on_end = on & (start < end), on_end & (start < end)
    hit, stop = start < end, start.clone()
    if on.any():
        stop[on], hit[on] = _plain_search(f, o[on], d[on], start[on], end[on], mask[on], tracer)
    other = ~on & ((~hit & mask) | ~mask)
    beside = other & ~meets
    stop[beside] = -along[beside]
    inside = other & meets
    if inside.any():
        part = torch.rand(tracer.samples, generator=draws, device=o.device)
        low = torch.where(hit & ~mask, start, near)[inside]
        places = low[:, None] + (far[inside] - low)[:, None] * part
        values = f((o[inside, None] + places[..., None] * d[inside, None]).reshape(-1, 3)).view_as(places)
        stop[inside] = places[torch.arange(len(places), device=places.device), values.argmin(1)]
    return stop, hit


def _plain_search(
    f: Callable[[Tensor], Tensor], o: Tensor, d: Tensor, low: Tensor, high: Tensor, mask: Tensor, tracer: Tracer
) -> tuple[Tensor, Tensor]:
    places = low[:, None] + torch.linspace(0, 1, tracer.samples, device=low.device) * (high - low)[:, None]
    values = f((o[:, None] + places[..., None] * d[:, None]).reshape(-1, 3)).view_as(places)
    order = torch.sign(values) * torch.arange(tracer.samples, 0, -1, device=low.device)
    first, rows = order.argmin(1), torch.arange(len(places), device=low.device)
    stop, met = places[rows, first], values[rows, first] < 0
    stop[~(met & mask)] = places[rows, values.argmin(1)][~(met & mask)]
    rows, first = rows[met & mask], first[met & mask]
    if len(rows):
        b, fb, a, fa = places[rows, first], values[rows, first], places[rows, first - 1], values[rows, first - 1]
        z = -fa * (b - a) / (fb - fa) + a
        for _ in range(tracer.secants):
            middle = f(o[rows] + z[:, None] * d[rows])
            a, fa = torch.where(middle > 0, z, a), torch.where(middle > 0, middle, fa)
            b, fb = torch.where(middle < 0, z, b), torch.where(middle < 0, middle, fb)
            z = -fa * (b - a) / (fb - fa) + a
        stop[rows] = z
    return stop, met


class PlainIdr(nn.Module):
    """Networks, tracer and losses."""

    def __init__(self, field: IdrField) -> None:
        super().__init__()
        self.config, self.tracer = field.config, field.tracer
        self.geometry = PlainGeometry(field.config, field.geometry.layers)
        self.colour = PlainColour(field.config, field.colour.layers)

    def loss(self, o: Tensor, d: Tensor, truth: Tensor, mask: Tensor, alpha: float, draws: torch.Generator) -> Tensor:
        """The loss of rays (R,3) with colours in [-1,1] and masks."""
        with torch.no_grad():
            f: Callable[[Tensor], Tensor] = lambda x: self.geometry(x)[:, 0]  # noqa: E731
            t, hit = plain_trace(f, o.detach(), d.detach(), mask, draws, self.tracer)
            uniform = torch.rand(len(o) // 2, 3, generator=draws, device=o.device) * 2 - 1
        points = o + t[:, None] * d
        distance = self.geometry(points)[:, 0]
        surface = hit & mask
        count = int(surface.sum())
        on = points[surface].detach()
        constant = self.geometry(on)[:, 0].detach()
        gradients = self.geometry.gradient(torch.cat([on, uniform, points.detach()]))
        slope = (gradients[:count].detach() * d[surface]).sum(1)
        moved = t[surface] - (distance[surface] - constant) / slope
        x = o[surface] + moved[:, None] * d[surface]
        features = self.geometry(x)[:, 1:]
        normals = self._normals(x)
        colours = self.colour(x, normals, -d[surface], features)
        found = (colours - truth[surface]).abs().sum() / len(o)
        found = found + self.config.eikonal * (gradients[count:].norm(dim=1) - 1).square().mean()
        logits, labels = -alpha * distance[~surface], mask[~surface].to(distance)
        masks = F.binary_cross_entropy_with_logits(logits, labels, reduction="sum") / alpha / len(o)
        whole: Tensor = found + self.config.mask * masks
        return whole

    def _normals(self, x: Tensor) -> Tensor:
        y = self.geometry(x)[:, :1]
        return torch.autograd.grad(y, x, torch.ones_like(y), create_graph=True)[0]


def pixels_of_a_ball(count: int, seed: int = 0) -> tuple[Batch, Poses]:
    """Pixels of one camera that sees a ball of radius 0.5 from 2.5 away, over a fifth of the image."""
    generator = torch.Generator().manual_seed(seed)
    plane = torch.rand(count, 2, generator=generator) * 0.9 - 0.45
    local = F.normalize(torch.cat([plane, torch.ones(count, 1)], 1), dim=1)
    mask = plane.norm(dim=1) < 0.5 / math.sqrt(2.5**2 - 0.5**2)
    c2w = torch.tensor([[[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -2.5]]])
    colours = torch.rand(count, 3, generator=generator)
    return Batch(torch.zeros(count, dtype=torch.int64), local, colours, mask), Poses(c2w).requires_grad_(False)


def steps(
    config: IdrConfig | None = None, pixels: int = 256, device: str = "cpu"
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Ours and the plain one: one step of optimisation each, which gives the loss; same start, same batch."""
    config = config or IdrConfig()
    field = IdrField(config, SPHERE, (1.0, 1.0, 1.0), device, 0)
    plain = PlainIdr(field).to(device)
    batch, poses = pixels_of_a_ball(pixels)
    batch = Batch(*(getattr(batch, part.name).to(device) for part in dataclasses.fields(batch)))
    poses = poses.to(device)
    origins, directions = poses(batch.view, batch.local)
    own_adam = torch.optim.Adam(field.networks.parameters(), config.rate)
    plain_adam = torch.optim.Adam(plain.parameters(), config.rate)
    own_draws, plain_draws = torch.Generator(device).manual_seed(1), torch.Generator(device).manual_seed(1)

    def ours() -> float:
        own_adam.zero_grad()
        sight = seen(field, poses, batch, own_draws)
        share, total, rows = (
            partial(loss, field, poses, sight, config.alpha),
            0.0,
            rows_at_once(config, device) or pixels,
        )
        for start in range(0, pixels, rows):
            part = share(slice(start, min(start + rows, pixels)))
            torch.autograd.backward(part)
            total += part.item()
        own_adam.step()
        return total

    def plainly() -> float:
        plain_adam.zero_grad()
        found = plain.loss(origins, directions, batch.colours * 2 - 1, batch.mask, config.alpha, plain_draws)
        torch.autograd.backward(found)
        plain_adam.step()
        return found.item()

    return ours, plainly


CONTESTS = {f"IDR, paper, {pixels} pixels": partial(steps, pixels=pixels) for pixels in (256, 512)}
CONTESTS_CUDA = {"IDR, paper, 2048 pixels": partial(steps, pixels=2048)}
