"""DeepSDF's training step beside a plain one: the same loss on the same samples, a code repeated for every sample.

python -m benchmarks.plain_deepsdf
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.deepsdf import DeepSdf, DeepSdfConfig
from nfbench.harness.method import Budget
from nfbench.harness.scene import Given, Points, Scene

PAPER = dataclasses.replace(DeepSdfConfig(), batch=4, samples=4096, epochs=1_000_000)


class PlainDecoder(nn.Module):
    """The network with the whole input, code and point, in a row for each sample, and torch's own weight norm."""

    def __init__(self, config: DeepSdfConfig) -> None:
        super().__init__()
        self.config = config
        entering = config.code + 3
        inputs = [entering] + [config.width] * config.layers
        outputs = [config.width] * config.layers
        outputs[config.skip - 1] -= entering
        normed = [
            nn.utils.parametrizations.weight_norm(nn.Linear(n, m)) for n, m in zip(inputs, outputs, strict=False)
        ]
        self.lins = nn.ModuleList([*normed, nn.Linear(config.width, 1)])

    def forward(self, rows: Tensor) -> Tensor:
        """Signed distances (P,1) of rows (P,code+3)."""
        x = rows
        for index, lin in enumerate(self.lins):
            x = lin(torch.cat([x, rows], 1) if index == self.config.skip else x)
            if index < self.config.layers:
                x = functional.dropout(functional.relu(x), self.config.dropout, self.training)
        return torch.tanh(x)


def spheres(count: int, samples: int = 20_000) -> list[Scene]:
    """Scenes with the exact distance to spheres of several sizes."""
    found = []
    for index in range(count):
        rng = np.random.default_rng(index)
        xyz = rng.uniform(-0.55, 0.55, (samples, 3))
        distance = np.linalg.norm(xyz - rng.uniform(-0.1, 0.1, 3), axis=1) - rng.uniform(0.2, 0.4)
        given = Given(samples=Points(xyz, value=distance, kind="sdf"))
        found.append(Scene(f"sphere_{index}", given, np.array([[-0.55] * 3, [0.55] * 3])))
    return found
