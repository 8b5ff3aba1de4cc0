"""DeepSDF's training step the plain way, beside ours: same maths, same weights, same samples.

The plain way is that of a first implementation in PyTorch: the code is repeated for every sample and put before its
point, the whole batch goes through at once, weight norm, ReLU, dropout, embedding and Adam are those of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.deepsdf import Decoder, DeepSdfConfig, Dropout, decoder, rows_at_once, shared_loss, shorten

SHAPES, SAMPLES = 4, 4096  # a batch of the paper has 64 shapes with 16384 samples each
WEIGHT = 1e-4  # of the norm of the codes, from epoch 100 on


class PlainDecoder(nn.Module):
    """The network with the whole input, code and point, in a row for each sample, and torch's own weight norm."""

    def __init__(self, config: DeepSdfConfig) -> None:
        super().__init__()
        self.config = config
        entering = config.code + 3
        inputs = [entering] + [config.width] * config.layers
        outputs = [config.width] * config.layers
        outputs[config.skip - 1] -= entering
        normed = [nn.utils.parametrizations.weight_norm(nn.Linear(n, m)) for n, m in zip(inputs, outputs, strict=False)]
        self.lins = nn.ModuleList([*normed, nn.Linear(config.width, 1)])

    def forward(self, rows: Tensor) -> Tensor:
        """Signed distances (P,1) of rows (P,code+3)."""
        x = rows
        for index, lin in enumerate(self.lins):
            x = lin(torch.cat([x, rows], 1) if index == self.config.skip else x)
            if index < self.config.layers:
                x = functional.dropout(functional.relu(x), self.config.dropout, self.training)
        return torch.tanh(x)


def plain_of(ours: Decoder, config: DeepSdfConfig) -> PlainDecoder:
    """The plain network with the same weights."""
    plain = PlainDecoder(config)
    state = {
        name.replace("weight_g", "parametrizations.weight.original0").replace(
            "weight_v", "parametrizations.weight.original1"
        ): tensor
        for name, tensor in ours.state_dict().items()
    }
    plain.load_state_dict(state)
    return plain


def batch_of(shapes: int, samples: int) -> tuple[Tensor, Tensor]:
    """Points (B,N,3) and their distances (B,N) to balls of several sizes."""
    xyz = torch.rand(shapes, samples, 3, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6
    return xyz, xyz.norm(dim=-1) - torch.linspace(0.2, 0.5, shapes)[:, None]


def steps(
    config: DeepSdfConfig | None = None, shapes: int = SHAPES, samples: int = SAMPLES, device: str = "cpu"
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Our step and the plain one, each giving its loss; both start from the same weights and see the same batch.

    With dropout, the masks are not the same.
    """
    config = config or DeepSdfConfig()
    xyz, true = (tensor.to(device) for tensor in batch_of(shapes, samples))
    net = decoder(config.code, config, 0).to(device)
    start = torch.randn(shapes, config.code, generator=torch.Generator().manual_seed(0)) / config.code**0.5
    start = start.to(device)
    return ours(net, nn.Parameter(start.clone()), xyz, true, config), plain(
        plain_of(net, config).to(device), start, xyz, true
    )


def ours(net: Decoder, codes: nn.Parameter, xyz: Tensor, true: Tensor, config: DeepSdfConfig) -> Callable[[], float]:
    """Our step, in parts as `Training.descend` takes it."""
    adam = torch.optim.Adam(
        [{"params": net.parameters(), "lr": config.rate}, {"params": [codes], "lr": config.code_rate}]
    )
    active = Dropout(config.dropout, np.random.default_rng(0))
    indices = torch.arange(len(codes), device=codes.device)
    rows = rows_at_once(config.width, codes.device.type)

    def step() -> float:
        shorten(codes, indices, config.code_norm)
        adam.zero_grad(set_to_none=True)
        total = 0.0
        for at in range(0, true.numel(), rows):
            part = slice(at, min(at + rows, true.numel()))
            loss = shared_loss(net, codes[indices], xyz, true, part, config.clamp, WEIGHT, active)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        adam.step()
        return total

    return step


def plain(net: PlainDecoder, start: Tensor, xyz: Tensor, true: Tensor) -> Callable[[], float]:
    """The plain step."""
    config = net.config
    table = nn.Embedding(len(start), config.code, max_norm=config.code_norm, _weight=start.clone())
    adam = torch.optim.Adam(
        [{"params": net.parameters(), "lr": config.rate}, {"params": table.parameters(), "lr": config.code_rate}]
    )
    indices = torch.arange(len(start), device=start.device).repeat_interleave(xyz.shape[1])
    points, target = xyz.reshape(-1, 3), true.reshape(-1, 1).clamp(-config.clamp, config.clamp)

    def step() -> float:
        adam.zero_grad()
        codes = table(indices)
        found = net(torch.cat([codes, points], 1)).clamp(-config.clamp, config.clamp)
        loss = functional.l1_loss(found, target, reduction="sum") / len(target)
        loss = loss + WEIGHT * codes.norm(dim=1).sum() / len(target)
        loss.backward()
        adam.step()
        return float(loss.item())

    return step


CONTESTS = {f"DeepSDF, paper, {SHAPES} shapes x {SAMPLES} samples": steps}
CONTESTS_CUDA = {"DeepSDF, paper, 16 shapes x 16384 samples": partial(steps, shapes=16, samples=16384)}
