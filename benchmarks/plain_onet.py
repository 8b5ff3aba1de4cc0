"""A training step of Occupancy Networks the plain way, beside ours: same maths, same weights, same batch.

The plain way is what a first implementation in PyTorch looks like: points as channels first and 1x1 convolutions, a
normalisation module, scale, shift and ReLU as operations of their own, the pooled features repeated for every point
and concatenated, Adam as it comes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.occupancy_network import Network, OccupancyNetworkConfig, entropy, network, optimiser_of

SHAPES, QUERIES = 8, 2048  # a batch of the paper has 64 shapes


class PlainResidual(nn.Module):
    """A fully connected residual block."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.fc_0 = nn.Linear(features, out)
        self.fc_1 = nn.Linear(out, out)
        self.shortcut = nn.Linear(features, out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B,N,out) from (B,N,features)."""
        inner = self.fc_0(functional.relu(x))
        return self.shortcut(x) + self.fc_1(functional.relu(inner))  # type: ignore[no-any-return]


class PlainEncoder(nn.Module):
    """Residual PointNet."""

    def __init__(self, code: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.fc_pos = nn.Linear(3, 2 * hidden)
        self.blocks = nn.ModuleList(PlainResidual(2 * hidden, hidden) for _ in range(blocks))
        self.fc_c = nn.Linear(hidden, code)

    def forward(self, cloud: Tensor) -> Tensor:
        """Codes (B,code) of clouds (B,N,3)."""
        x = self.blocks[0](self.fc_pos(cloud))
        for block in list(self.blocks)[1:]:
            pooled = x.max(dim=1, keepdim=True)[0].expand(x.size())
            x = block(torch.cat([x, pooled], dim=2))
        return self.fc_c(functional.relu(x.max(dim=1)[0]))  # type: ignore[no-any-return]


class PlainNorm(nn.Module):
    """Conditional batch normalisation."""

    def __init__(self, code: int, hidden: int) -> None:
        super().__init__()
        self.gamma = nn.Conv1d(code, hidden, 1)
        self.beta = nn.Conv1d(code, hidden, 1)
        self.bn = nn.BatchNorm1d(hidden, affine=False)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B,hidden,T) from features of the same shape and codes (B,code,1)."""
        return self.gamma(code) * self.bn(x) + self.beta(code)  # type: ignore[no-any-return]


class PlainBlock(nn.Module):
    """Two 1x1 convolutions, each behind conditional normalisation and ReLU, added to the input."""

    def __init__(self, code: int, hidden: int) -> None:
        super().__init__()
        self.bn_0, self.bn_1 = PlainNorm(code, hidden), PlainNorm(code, hidden)
        self.fc_0, self.fc_1 = nn.Conv1d(hidden, hidden, 1), nn.Conv1d(hidden, hidden, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(B,hidden,T) from the same and codes (B,code,1)."""
        inner = self.fc_0(functional.relu(self.bn_0(x, code)))
        return x + self.fc_1(functional.relu(self.bn_1(inner, code)))  # type: ignore[no-any-return]


class PlainNetwork(nn.Module):
    """Encoder and decoder."""

    def __init__(self, config: OccupancyNetworkConfig) -> None:
        super().__init__()
        hidden = config.decoder_hidden
        self.fc_p = nn.Conv1d(3, hidden, 1)
        self.blocks = nn.ModuleList(PlainBlock(config.code, hidden) for _ in range(config.decoder_blocks))
        self.bn = PlainNorm(config.code, hidden)
        self.fc_out = nn.Conv1d(hidden, 1, 1)
        self.encoder = PlainEncoder(config.code, config.encoder_hidden, config.encoder_blocks)

    def forward(self, cloud: Tensor, xyz: Tensor) -> Tensor:
        """Logits (B,T) of points (B,T,3) for clouds (B,N,3)."""
        code = self.encoder(cloud)[:, :, None]
        x = self.fc_p(xyz.transpose(1, 2))
        for block in self.blocks:
            x = block(x, code)
        return self.fc_out(functional.relu(self.bn(x, code))).squeeze(1)  # type: ignore[no-any-return]


def plain_of(ours: Network, config: OccupancyNetworkConfig) -> PlainNetwork:
    """The plain network with the same weights; both list their parameters in the order of the released model."""
    plain = PlainNetwork(config).to(next(ours.parameters()))
    with torch.no_grad():
        for mine, theirs in zip(plain.parameters(), ours.parameters(), strict=True):
            mine.copy_(theirs.reshape(mine.shape))
    return plain


def batch_of(
    config: OccupancyNetworkConfig, shapes: int = SHAPES, queries: int = QUERIES
) -> tuple[Tensor, Tensor, Tensor]:
    """Balls of several sizes: clouds (B,N,3), query points (B,T,3) and their occupancy (B,T)."""
    draws = torch.Generator().manual_seed(0)
    radius = torch.linspace(0.2, 0.5, shapes)[:, None, None]
    cloud = functional.normalize(torch.randn(shapes, config.input_points, 3, generator=draws), dim=-1) * radius
    xyz = torch.rand(shapes, queries, 3, generator=draws) * 1.1 - 0.55
    return cloud, xyz, (xyz.norm(dim=-1) < radius[..., 0]).float()


def steps(
    config: OccupancyNetworkConfig | None = None, shapes: int = SHAPES, queries: int = QUERIES, device: str = "cpu"
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Our step and the plain one, each giving its loss; both start from the same weights and see the same batch."""
    config = config or OccupancyNetworkConfig()
    cloud, xyz, inside = (tensor.to(device) for tensor in batch_of(config, shapes, queries))
    ours = network(config, 0).to(device).train()
    plain = plain_of(ours, config).train()
    fast = optimiser_of(ours, config)
    adam = torch.optim.Adam(plain.parameters(), lr=config.learning_rate)

    def our_step() -> float:
        fast.zero_grad(set_to_none=True)
        loss = entropy(ours(cloud, xyz), inside) / shapes
        loss.backward()  # type: ignore[no-untyped-call]
        fast.step()
        return loss.item()

    def plain_step() -> float:
        adam.zero_grad()
        each = functional.binary_cross_entropy_with_logits(plain(cloud, xyz), inside, reduction="none")
        loss = each.sum(-1).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        return loss.item()

    return our_step, plain_step


CONTESTS = {f"Occupancy Network, paper (points), {SHAPES} shapes x {QUERIES} points": steps}
CONTESTS_CUDA = {f"Occupancy Network, paper (points), 64 shapes x {QUERIES} points": partial(steps, shapes=64)}
