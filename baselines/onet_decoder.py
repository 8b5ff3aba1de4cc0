"""The decoder of Occupancy Networks: points and a shape's code to the logit of lying inside.

Mescheder et al., CVPR 2019, section 3 and supplementary material. While training, the normed layers run as one
operation with a gradient of its own: the maths of batch normalisation, over parts of the batch that stay in the
processor's cache, with nothing kept but the inputs of the layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_EPSILON, _MOMENTUM = 1e-5, 0.1  # of batch normalisation, as in PyTorch and in the released models
_PART = 1 << 17  # numbers of a part for each thread, 512 KiB: half of a processor core's second-level cache


class ConditionalNorm(nn.Module):
    """Batch normalisation whose scale and shift are linear in the code (de Vries et al. 2017).

    It starts as plain normalisation: scale 1 and shift 0 whatever the code.
    """

    mean: Tensor
    var: Tensor

    def __init__(self, code: int, hidden: int) -> None:
        super().__init__()
        self.gamma = nn.Linear(code, hidden)
        self.beta = nn.Linear(code, hidden)
        nn.init.zeros_(self.gamma.weight)
        nn.init.ones_(self.gamma.bias)
        nn.init.zeros_(self.beta.weight)
        nn.init.zeros_(self.beta.bias)
        self.register_buffer("mean", torch.zeros(hidden))
        self.register_buffer("var", torch.ones(hidden))

    def affine(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and shift (B,hidden) that the layer comes down to once the running statistics are fixed."""
        scale = self.gamma(code) * torch.rsqrt(self.var + _EPSILON)
        return scale, self.beta(code) - self.mean * scale

    @torch.no_grad()
    def update(self, mean: Tensor, var: Tensor, count: int) -> None:
        """Move the running statistics towards those (hidden,) of a batch of `count` points."""
        self.mean.lerp_(mean.to(self.mean), _MOMENTUM)
        self.var.lerp_((var * (count / max(count - 1, 1))).to(self.var), _MOMENTUM)


class ConditionalBlock(nn.Module):
    """Two fully connected layers, each behind conditional normalisation and ReLU, added to the input (B,T,hidden)."""

    def __init__(self, code: int, hidden: int) -> None:
        super().__init__()
        self.bn_0 = ConditionalNorm(code, hidden)
        self.bn_1 = ConditionalNorm(code, hidden)
        self.fc_0 = nn.Linear(hidden, hidden)
        self.fc_1 = nn.Linear(hidden, hidden)
        nn.init.zeros_(self.fc_1.weight)


class Decoder(nn.Module):
    """Points (B,T,3) and codes (B,code) to the logits (B,T) of lying inside."""

    def __init__(self, code: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.fc_p = nn.Linear(3, hidden)
        self.blocks = nn.ModuleList(ConditionalBlock(code, hidden) for _ in range(blocks))
        self.bn = ConditionalNorm(code, hidden)
        self.fc_out = nn.Linear(hidden, 1)

    def layers(self) -> list[tuple[ConditionalNorm, nn.Linear]]:
        """The normed layers in their order; every second one but the last ends a residual block."""
        found = [pair for block in self.blocks for pair in ((block.bn_0, block.fc_0), (block.bn_1, block.fc_1))]
        return [*found, (self.bn, self.fc_out)]  # type: ignore[list-item]  # modules of a list are plain modules to mypy

    def forward(self, xyz: Tensor, code: Tensor) -> Tensor:
        """Logits (B,T) of points (B,T,3) for codes (B,code): normalised over all points of the batch while training,
        by the running statistics otherwise.
        """
        layers = self.layers()
        if not self.training:
            return self._by_running_statistics(xyz, code)
        half = torch.is_autocast_enabled(xyz.device.type)
        with torch.autocast(xyz.device.type, enabled=False):
            x, code = self.fc_p(xyz), code.to(self.fc_p.weight)
            terms = [t for bn, fc in layers for t in (bn.gamma(code), bn.beta(code), fc.weight, fc.bias)]
            logits, mean, var = _NormedLayers.apply(half, x, *terms)  # type: ignore[no-untyped-call]
            for (bn, _), m, v in zip(layers, mean, var, strict=True):
                bn.update(m, v, xyz.shape[0] * xyz.shape[1])
        return logits.squeeze(-1)  # type: ignore[no-any-return]

    def _by_running_statistics(self, xyz: Tensor, code: Tensor) -> Tensor:
        x = before = self.fc_p(xyz)
        for i, (bn, fc) in enumerate(self.layers()):
            scale, shift = bn.affine(code)
            out = fc(functional.relu(torch.addcmul(shift[:, None], x, scale[:, None])))
            x, before = (out + before if _ends_block(i) else out), x
        return x.squeeze(-1)  # type: ignore[no-any-return]

    @torch.no_grad()
    def specialise(self, code: Tensor) -> dict[str, Tensor]:
        """The weights of a plain network that gives the same logits for this one code (1,code), and nothing else.

        For a fixed code the conditional normalisation is affine; the second one of a block goes into the layer
        before it, which leaves two thirds of the work per point.
        """
        weights = {"in.weight": self.fc_p.weight, "in.bias": self.fc_p.bias}
        for i, block in enumerate(self.blocks):
            assert isinstance(block, ConditionalBlock)  # for the type checker, which sees plain modules
            scale, shift = (t[0] for t in block.bn_0.affine(code))
            inner, offset = (t[0] for t in block.bn_1.affine(code))
            weights |= {
                f"{i}.scale": scale,
                f"{i}.shift": shift,
                f"{i}.weight_0": block.fc_0.weight * inner[:, None],
                f"{i}.bias_0": block.fc_0.bias * inner + offset,
                f"{i}.weight_1": block.fc_1.weight,
                f"{i}.bias_1": block.fc_1.bias,
            }
        scale, shift = (t[0] for t in self.bn.affine(code))
        weights |= {"out.scale": scale, "out.shift": shift, "out.weight": self.fc_out.weight}
        weights["out.bias"] = self.fc_out.bias
        return {name: weight.detach().clone().contiguous() for name, weight in weights.items()}


def _ends_block(layer: int) -> bool:
    """Whether the block's input is added to what this layer gives; not so for the last layer, whose number is even."""
    return layer % 2 == 1


# ------------------------------------------------------------------------------------- the layers as one operation


class _Parts:
    """The parts that a batch (B,T,F) is gone through in: whole shapes where they are small, else rows of one shape."""

    def __init__(self, like: Tensor) -> None:
        shapes, rows, width = like.shape
        fits = max(_PART * torch.get_num_threads() // width, 1) if like.device.type == "cpu" else shapes * rows
        self.several = max(fits // rows, 1)
        pieces = -(-rows // min(fits, rows))
        self.rows = -(-rows // pieces)
        self.shapes = [slice(i, min(i + self.several, shapes)) for i in range(0, shapes, self.several)]
        self.segments = [slice(i, min(i + self.rows, rows)) for i in range(0, rows, self.rows)]
        self.buffers = [like.new_empty(self.several * self.rows * width) for _ in range(3)]

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        return ((shapes, rows) for shapes in self.shapes for rows in self.segments)

    def buffer(self, index: int, like: Tensor) -> Tensor:
        """Scratch memory in the shape of a part, one of three."""
        return self.buffers[index][: like.numel()].view(like.shape)


class _NormedLayers(torch.autograd.Function):
    """h_{i+1} = relu(gamma_i norm(h_i) + beta_i) W_i^T + b_i, and + h_{i-1} where a block ends.

    It keeps the h_i and computes all else again for the gradient. The shift that a layer adds to all points alike is
    taken away by the next normalisation, so the gradient of every bias but the last one's is exactly zero.
    """

    @staticmethod
    def forward(ctx: Any, half: bool, x: Tensor, *terms: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401
        parts, statistics = _Parts(x), _Statistics()
        for shapes, rows in parts:
            statistics.add(x[shapes, rows], parts.buffer(0, x[shapes, rows]))
        inputs, means, variances = [x], [], []
        for i, (gamma, beta, weight, bias) in enumerate(_by_layer(terms)):
            mean, var = statistics.total()
            means.append(mean)
            variances.append(var)
            scale = gamma * torch.rsqrt(var + _EPSILON)
            before = inputs[i - 1] if _ends_block(i) else None
            affine = (scale, beta - mean * scale, weight, bias)
            out, statistics = _forward_layer(parts, inputs[i], affine, before, half)
            inputs.append(out)
        ctx.save_for_backward(*inputs[:-1], *means, *variances, *terms)
        ctx.half = half
        found = torch.stack(means), torch.stack(variances)
        ctx.mark_non_differentiable(*found)
        return inputs[-1], *found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        kept = ctx.saved_tensors
        count = len(kept) // 7
        inputs, means, variances = kept[:count], kept[count : 2 * count], kept[2 * count : 3 * count]
        layers, state = _by_layer(kept[3 * count :]), _Backward(inputs, ctx.half)
        found: list[tuple[Tensor, ...]] = []
        for i in reversed(range(count)):
            last = grad if i == count - 1 else None
            found.append(state.layer(i, last, (*layers[i], means[i], variances[i])))
        return None, state.first(), *(term for layer in reversed(found) for term in layer)


def _by_layer(terms: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """Gamma, beta, weight and bias of each layer."""
    return list(zip(*[iter(terms)] * 4, strict=True))


def _forward_layer(
    parts: _Parts, x: Tensor, terms: Sequence[Tensor], before: Tensor | None, half: bool
) -> tuple[Tensor, _Statistics]:
    """What one layer gives (B,T,G), and its statistics."""
    scale, shift, weight, bias = terms
    statistics, across = _Statistics(), weight.t().bfloat16() if half else weight.t()
    out = x.new_empty(*x.shape[:2], len(weight))
    for shapes, rows in parts:
        part, target = x[shapes, rows], out[shapes, rows]
        y = torch.addcmul(shift[shapes, None], part, scale[shapes, None], out=parts.buffer(0, part)).relu_()
        _product(y, across, target).add_(bias)
        if before is not None:
            target += before[shapes, rows]
        statistics.add(target, parts.buffer(1, target))
    return out, statistics


class _Statistics:
    """Mean and variance over the points of a batch, gathered part by part without loss of digits."""

    def __init__(self) -> None:
        self.counts: list[int] = []
        self.means: list[Tensor] = []
        self.squares: list[Tensor] = []

    def add(self, part: Tensor, scratch: Tensor) -> None:
        """Take in a part (...,F); `scratch` is of its shape and is written over."""
        flat, apart = part.view(-1, part.shape[-1]), scratch.view(-1, part.shape[-1])
        mean = flat.mean(0)
        torch.sub(flat, mean, out=apart).square_()
        self.counts.append(len(flat))
        self.means.append(mean)
        self.squares.append(apart.sum(0))

    def total(self) -> tuple[Tensor, Tensor]:
        """Mean and variance (F,), the latter over the count."""
        means, count = torch.stack(self.means), sum(self.counts)
        weight = means.new_tensor(self.counts)[:, None] / count
        mean = (means * weight).sum(0)
        return mean, torch.stack(self.squares).sum(0) / count + ((means - mean).square() * weight).sum(0)


class _Backward:
    """The gradient, layer after layer from the last one.

    With n the normalised inputs of a layer and z = gamma n + beta, the gradient of its inputs is
    (gamma dz - mean(gamma dz) - n mean(gamma dz n)) / sigma, means over all points; so a layer is gone through once
    for dz and the two means, and the rest is left to the pass of the layer before it.
    """

    def __init__(self, inputs: Sequence[Tensor], half: bool) -> None:
        self.inputs, self.half = inputs, half
        self.parts = _Parts(inputs[0])
        self.dz = torch.empty_like(inputs[0])  # of the layer last gone through
        self.skipped = torch.empty_like(inputs[0])  # the gradient of the last block's output
        self.from_input = self.from_dz = self.constant = inputs[0]  # what makes the gradient of the inputs; set below

    def layer(self, i: int, last: Tensor | None, terms: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of gamma and beta (B,F), weight and bias of layer i; `last` (B,T,1) is that of the whole output."""
        gamma, beta, weight, bias, mean, var = terms
        inverse = torch.rsqrt(var + _EPSILON)
        offset = -mean * inverse
        d_gamma, d_beta, d_weight = torch.zeros_like(gamma), torch.zeros_like(beta), torch.zeros_like(weight)
        across = weight.bfloat16() if self.half else weight
        for shapes, rows in self.parts:
            grad = self._incoming(i + 1, shapes, rows) if last is None else last[shapes, rows]
            x, dz = self.inputs[i][shapes, rows], self.dz[shapes, rows]
            n = torch.addcmul(offset, x, inverse, out=self.parts.buffer(1, x))
            y = torch.addcmul(beta[shapes, None], n, gamma[shapes, None], out=self.parts.buffer(2, x)).relu_()
            _add_product(d_weight, grad, y, self.half)
            _product(grad, across, dz)
            torch.ops.aten.threshold_backward.grad_input(dz, y, 0, grad_input=dz)
            d_beta[shapes] += dz.sum(1)
            d_gamma[shapes] += torch.mul(n, dz, out=n).sum(1)
        count = self.dz.shape[0] * self.dz.shape[1]
        along = inverse.square() * (gamma * d_gamma).sum(0) / count
        self.from_input, self.from_dz = -along, (inverse * gamma)[:, None]
        self.constant = mean * along - inverse * (gamma * d_beta).sum(0) / count
        return d_gamma, d_beta, d_weight, torch.zeros_like(bias) if last is None else last.sum((0, 1))

    def _incoming(self, i: int, shapes: slice, rows: slice) -> Tensor:
        """The gradient of the inputs of layer i, the one last gone through, for one part."""
        x = self.inputs[i][shapes, rows]
        grad = torch.addcmul(self.constant, x, self.from_input, out=self.parts.buffer(0, x))
        grad.addcmul_(self.dz[shapes, rows], self.from_dz[shapes])
        if not _ends_block(i):  # an input of a block: it is also added to the block's output
            skipped = self.skipped[shapes, rows]
            if i + 1 < len(self.inputs):
                grad += skipped
            skipped.copy_(grad)
        return grad

    def first(self) -> Tensor:
        """The gradient of the first layer's inputs."""
        for shapes, rows in self.parts:
            self._incoming(0, shapes, rows)
        return self.skipped


def _product(rows: Tensor, matrix: Tensor, out: Tensor) -> Tensor:
    """Rows (...,F) times a matrix (F,G) into `out`, in the precision of the matrix."""
    flat, target = rows.reshape(-1, rows.shape[-1]), out.view(-1, out.shape[-1])
    if matrix.dtype == rows.dtype:
        torch.mm(flat, matrix, out=target)
    else:
        target.copy_(torch.mm(flat.to(matrix.dtype), matrix))
    return out


def _add_product(total: Tensor, left: Tensor, right: Tensor, half: bool) -> None:
    """Add left^T right (F,G), of rows (...,F) and (...,G), to `total`."""
    left, right = left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1])
    if half:
        total += torch.mm(left.bfloat16().t(), right.bfloat16())
    else:
        total.addmm_(left.t(), right)
