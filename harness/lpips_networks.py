"""The trunks of LPIPS as torchvision numbers their layers and names their weights, up to the last layer compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nfbench.harness.lpips_weights import Net


class _Fire(nn.Module):
    """A narrow 1x1 convolution, then 1x1 and 3x3 ones side by side (Iandola et al. 2016, "SqueezeNet", section 3.2)."""

    def __init__(self, inputs: int, narrow: int, wide: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, narrow, 1)
        self.expand1x1 = nn.Conv2d(narrow, wide, 1)
        self.expand3x3 = nn.Conv2d(narrow, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B,2 wide,H,W) of (B,inputs,H,W)."""
        x = self.squeeze(x).relu_()
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1).relu_()


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU(inplace=True)]


def _alexnet() -> nn.Sequential:
    """AlexNet's features (Krizhevsky 2014, "One weird trick") up to the last ReLU."""
    return nn.Sequential(
        *_convolution(3, 64, 11, 4, 2),
        nn.MaxPool2d(3, 2),
        *_convolution(64, 192, 5, 1, 2),
        nn.MaxPool2d(3, 2),
        *_convolution(192, 384, 3, 1, 1),
        *_convolution(384, 256, 3, 1, 1),
        *_convolution(256, 256, 3, 1, 1),
    )


def _vgg16() -> nn.Sequential:
    """VGG16's features (Simonyan & Zisserman 2015, configuration D) up to the last ReLU."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage, (width, repeats) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        layers += [nn.MaxPool2d(2, 2)] if stage else []
        for _ in range(repeats):
            layers += _convolution(inputs, width, 3, 1, 1)
            inputs = width
    return nn.Sequential(*layers)


def _squeezenet() -> nn.Sequential:
    """SqueezeNet 1.1's features (Iandola et al. 2016 and the authors' revision of it) up to the last Fire module."""
    return nn.Sequential(
        *_convolution(3, 64, 3, 2),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        _Fire(64, 16, 64),
        _Fire(128, 16, 64),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        _Fire(128, 32, 128),
        _Fire(256, 32, 128),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        _Fire(256, 48, 192),
        _Fire(384, 48, 192),
        _Fire(384, 64, 256),
        _Fire(512, 64, 256),
    )


@dataclass(frozen=True)
class Network:
    """A trunk and where its features are taken.

    Attributes:
        trunk: builds it, its weights not set.
        taps: the layers after which features are compared.
        widths: how many channels there are at each tap.
        least: the least edge of an image, in pixels, that reaches the last tap.
    """

    trunk: Callable[[], nn.Sequential]
    taps: tuple[int, ...]
    widths: tuple[int, ...]
    least: int


NETWORKS: dict[Net, Network] = {
    "alex": Network(_alexnet, (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), 31),
    "vgg": Network(_vgg16, (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), 16),
    "squeeze": Network(_squeezenet, (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), 17),
}
