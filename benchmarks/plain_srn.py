"""A training step of Scene Representation Networks the plain way, beside ours: same maths, same weights, same rays.

The plain way is that of a first implementation in PyTorch: a hypernetwork gives weights that a batched product applies
to all rays of all images at once, the march keeps a list of points and of states, torch's own LSTM cell and Adam.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.object_views import Bundle, camera_bundle
from nfbench.baselines.srn import Networks, SrnConfig, StepLoss, networks, optimiser_of, rows_at_once
from nfbench.harness.camera import Cameras, look_at

IMAGES, SIDES = 4, (16, 32)  # a batch of the paper has 64 images of 64 x 64, then 16 of 128 x 128


class PlainHypernetwork(nn.Module):
    """Weight and bias of one layer from a code."""

    def __init__(self, code: int, hidden: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.net = nn.Sequential(
            *(nn.Linear(code, hidden), nn.LayerNorm(hidden), nn.ReLU(inplace=True)),
            *(nn.Linear(hidden, hidden), nn.LayerNorm(hidden), nn.ReLU(inplace=True)),
            nn.Linear(hidden, inputs * outputs + outputs),
        )

    def forward(self, code: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (B,out,in) and bias (B,1,out) for codes (B,code)."""
        flat = self.net(code)
        weight = flat[:, : self.inputs * self.outputs].view(-1, self.outputs, self.inputs)
        return weight, flat[:, self.inputs * self.outputs :].view(-1, 1, self.outputs)


class PlainNetworks(nn.Module):
    """All networks."""

    def __init__(self, config: SrnConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.hyper = nn.ModuleList(
            PlainHypernetwork(config.code, config.hyper_hidden, 3 if i == 0 else width, width)
            for i in range(config.layers)
        )
        self.norm = nn.LayerNorm([width], elementwise_affine=False)
        self.lstm = nn.LSTMCell(width, config.march_hidden)
        self.out_layer = nn.Linear(config.march_hidden, 1)
        parts: list[nn.Module] = []
        for _ in range(config.generator_layers - 1):
            parts += [nn.Linear(width, width), nn.LayerNorm(width), nn.ReLU(inplace=True)]
        self.generator = nn.Sequential(*parts, nn.Linear(width, 3))

    def forward(self, codes: Tensor, rays: Bundle) -> tuple[Tensor, Tensor]:
        """Colours (B,R,3) and depths (B,R,1)."""
        layers = [hyper(codes) for hyper in self.hyper]

        def phi(points: Tensor) -> Tensor:
            x = points
            for weight, bias in layers:
                x = functional.relu(self.norm(x.matmul(weight.permute(0, 2, 1)) + bias), inplace=True)
            return x

        first = torch.full_like(rays.cosines, 0.05) / rays.cosines
        world = [rays.origins + first[..., None] * rays.directions]
        states: list[tuple[Tensor, Tensor] | None] = [None]
        for _ in range(self.config.march_steps):
            state = self.lstm(phi(world[-1]).view(-1, self.config.width), states[-1])
            state[0].register_hook(lambda gradient: gradient.clamp(min=-10, max=10))
            length = self.out_layer(state[0]).view(*rays.cosines.shape, 1)
            states.append(state)
            world.append(world[-1] + rays.directions * length)
        distance = ((world[-1] - rays.origins) * rays.directions).sum(-1)
        return self.generator(phi(world[-1])), distance * rays.cosines


def plain_of(ours: Networks) -> PlainNetworks:
    """The plain networks with the same weights."""
    plain = PlainNetworks(ours.config)
    state = {name.removeprefix("marcher."): tensor for name, tensor in ours.state_dict().items() if name != "frame"}
    state = {
        f"hyper.{name.split('.')[1]}.net.{name.split('.', 2)[2]}" if name.startswith("hyper.") else name: tensor
        for name, tensor in state.items()
    }
    plain.load_state_dict(state)
    return plain


def bundle_of(images: int, side: int) -> Bundle:
    """All rays of one image for each of several objects, with colours that depend on where they go."""
    generator = np.random.default_rng(0)
    eyes = generator.normal(size=(images, 3))
    eyes *= 1.3 / np.linalg.norm(eyes, axis=1, keepdims=True)
    K = np.tile([[2.05 * side, 0, side / 2], [0, 2.05 * side, side / 2], [0, 0, 1]], (images, 1, 1))
    c2w = np.stack([look_at(eye, (0, 0, 0), (0.1, 0.2, 1)) for eye in eyes])
    cameras = Cameras(c2w, K, np.full((images, 2), side), np.tile([0.8, 1.8], (images, 1)))
    box = np.array([[-0.5] * 3, [0.5] * 3], np.float32)
    each = [camera_bundle(cameras, i, box, 0.0) for i in range(images)]
    _, *rest = (torch.cat(tensors) for tensors in zip(*each, strict=True))
    rays = Bundle(torch.arange(images), *rest)
    return rays._replace(colours=0.5 + 0.5 * rays.directions)


def steps(
    config: SrnConfig | None = None, images: int = IMAGES, side: int = SIDES[0], device: str = "cpu"
) -> tuple[Callable[[], float], Callable[[], float]]:
    """Our step and the plain one, each giving its loss; both start from the same weights and see the same rays."""
    config = config or SrnConfig()
    net, rays = networks(config, 0), bundle_of(images, side).to(device)
    start = 0.01 * torch.randn(images, config.code, generator=torch.Generator().manual_seed(0))
    start, beside = start.to(device), plain_of(net).to(device)
    return ours(net.to(device), start, rays), plain(beside, start, rays)


def ours(net: Networks, start: Tensor, rays: Bundle) -> Callable[[], float]:
    """Our step, in parts as `Training.descend` takes it."""
    codes = nn.Embedding(len(start), start.shape[1], _weight=start.clone())
    adam = optimiser_of(net, codes)
    adam.param_groups[0]["lr"], adam.param_groups[1]["lr"] = net.config.rate, net.config.code_rate
    count, rows = rays.near.shape[1], rows_at_once(net.config, len(rays.objects), start.device.type)

    def step() -> float:
        adam.zero_grad(set_to_none=True)
        share, total = StepLoss(net, codes(rays.objects), rays, None), 0.0
        for at in range(0, count, rows):
            loss = share(slice(at, min(at + rows, count)))
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.item()
        adam.step()
        return total

    return step


def plain(net: PlainNetworks, start: Tensor, rays: Bundle) -> Callable[[], float]:
    """The plain step."""
    config, codes = net.config, nn.Embedding(len(start), start.shape[1], _weight=start.clone())
    adam = torch.optim.Adam([*net.parameters(), *codes.parameters()], lr=config.rate)
    target = 2 * rays.colours - 1

    def step() -> float:
        z = codes(rays.objects)
        colour, depth = net(z, rays)
        adam.zero_grad()
        negative = torch.min(depth, torch.zeros_like(depth)) ** 2
        loss = config.image_weight * functional.mse_loss(colour, target)
        loss = loss + config.depth_weight * negative.mean() + config.code_weight * (z**2).mean()
        loss.backward()
        adam.step()
        return float(loss.item())

    return step


# Adam on 52 million numbers weighs most where rays are few, the products where they are many.
CONTESTS = {f"SRN, paper, {IMAGES} images of {side} x {side}": partial(steps, side=side) for side in SIDES}
CONTESTS_CUDA = {"SRN, paper, 16 images of 64 x 64": partial(steps, images=16, side=64)}
