"""The network of NeRF (Mildenhall et al., ECCV 2020, figure 7): a point and a viewing direction to density and colour.

The layers are written twice: once as ordinary modules, which give gradients with respect to the point, and once as a
single node of autograd for training, which computes the same numbers with fewer passes over memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def encode(x: Tensor, frequencies: int) -> Tensor:
    """(P, 3+6L): x (P,3), then for l = 0..L-1 sin(2^l x) and cos(2^l x), three of each.

    Equation 4 of the paper without its factor of pi, and with x itself in front, as in the original code.
    """
    angles = x[:, None, :] * 2.0 ** torch.arange(frequencies, dtype=x.dtype, device=x.device)[:, None]
    return torch.cat([x, torch.stack([angles.sin(), angles.cos()], 2).flatten(1)], 1)


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
        sigma, rgb = _Layers.apply(encoded, viewed, ray, self.skip, kind, *parameters)  # type: ignore[no-untyped-call]
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
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        kept = any(ctx.needs_input_grad)
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
        return None, to_viewed, None, None, None, *(g.to(given) for g in [*head, *reversed(to_trunk)])


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
