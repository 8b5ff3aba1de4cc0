"""The settings of NeRF and their presets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from nfbench.harness.training import Precision


@dataclass(frozen=True)
class NerfConfig:
    """Settings; the defaults are the paper's for its synthetic scenes.

    Attributes:
        layers: hidden layers of the trunk.
        width: of each.
        skip: the encoded point is fed in again after this many layers; 0 for never.
        feature: whether a linear layer stands between trunk and view branch.
        view_width: of the one hidden layer of the view branch.
        frequencies: of the positional encoding of points.
        view_frequencies: of the positional encoding of directions.
        space: `box` for the scene as it is, `ndc` for normalised device coordinates, or `auto`: `ndc` where all cameras
            look much the same way and the scene's box holds all that they see, as in the llff format, else `box`.
        normalise: whether points are scaled so that the longest edge of the box is [-1,1].
        density: what makes the network's output a density, `relu` or `softplus`.
        noise: standard deviation of what is added to the network's density before that, in training.
        coarse: stratified samples a ray; with a grid, evenly spaced samples along the diagonal of the box.
        fine: further samples a ray, drawn where the coarse network found density.
        grid: cells along each edge of the occupancy grid; 0 for none, and a coarse and a fine network instead.
        rays: rays a step; with a grid, of the first step.
        one_view: whether the rays of a step come from one view.
        samples: with a grid, the samples a step that the number of rays is adapted to; 0 to keep that number.
        pixel: where in its square, in x and y, the ray of a pixel passes: 0.5 is the centre, 0 the original's.
        steps: optimisation steps where the budget has no number.
        rate: of Adam, at the first step.
        rate_decay: the factor by which the rate has fallen at the end.
        precision: of the network's matrices and activations; what is drawn, summed along rays and stepped is fp32.
    """

    layers: int = 8
    width: int = 256
    skip: int = 5
    feature: bool = True
    view_width: int = 128
    frequencies: int = 10
    view_frequencies: int = 4
    space: Literal["auto", "box", "ndc"] = "auto"
    normalise: bool = False
    density: Literal["relu", "softplus"] = "relu"
    noise: float = 0.0
    coarse: int = 64
    fine: int = 128
    grid: int = 0
    rays: int = 1024
    one_view: bool = True
    samples: int = 0
    pixel: float = 0.5
    steps: int = 500_000
    rate: float = 5e-4
    rate_decay: float = 0.1
    precision: Precision = "fp32"


PAPER = NerfConfig()
PAPER_LLFF = NerfConfig(
    space="ndc",
    noise=1.0,
    rays=4096,
    one_view=False,
    steps=200_000,
    rate_decay=0.1**0.8,  # the original's rate falls by 0.1 in 250,000 steps, of which it takes 200,000
)
FAST = NerfConfig(
    normalise=True,
    density="softplus",
    coarse=512,
    fine=0,
    grid=128,
    one_view=False,
    samples=1 << 18,
    steps=12_000,
    rate=1e-3,
    rate_decay=0.05,
    precision="bf16",
)
TINY = dataclasses.replace(
    FAST,
    layers=4,
    width=64,
    skip=0,
    feature=False,
    view_width=32,
    frequencies=8,
    view_frequencies=2,
    coarse=192,
    grid=64,
    rays=64,
    samples=1 << 14,
    steps=8000,
    rate=5e-3,
    precision="fp32",
)

PRESETS: Mapping[str, NerfConfig] = {"paper": PAPER, "paper-llff": PAPER_LLFF, "fast": FAST, "tiny": TINY}
