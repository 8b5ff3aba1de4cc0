"""A family of shapes to learn a prior from: bowls, cups, vases, bottles, goblets, hollow, turned about an axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nfbench.loaders.distance import Revolution
from nfbench.loaders.outline import Outline, rounded

Float = NDArray[np.float64]
Range = tuple[float, float]

KINDS = ("bowl", "cup", "vase", "bottle", "goblet")
WALL: Range = (0.09, 0.11)  # thickness, longest edge of the bounding box 1

# What a wall passes through from its foot to its rim: ranges of the radius and of the height. Height and width are
# relative to each other only, since every shape is scaled to its longest edge.
_WALLS: dict[str, tuple[tuple[Range, Range], ...]] = {
    "bowl": (((0.16, 0.26), (0.0, 0.0)), ((0.36, 0.46), (0.12, 0.22)), ((0.47, 0.55), (0.40, 0.60))),
    "cup": (((0.24, 0.36), (0.0, 0.0)), ((0.32, 0.44), (0.25, 0.40)), ((0.30, 0.44), (0.75, 0.95))),
    "vase": (
        ((0.17, 0.26), (0.0, 0.0)),
        ((0.32, 0.45), (0.28, 0.45)),
        ((0.17, 0.22), (0.68, 0.80)),
        ((0.24, 0.34), (1.0, 1.0)),
    ),
    "bottle": (
        ((0.24, 0.36), (0.0, 0.0)),
        ((0.24, 0.36), (0.48, 0.60)),
        ((0.15, 0.17), (0.70, 0.78)),
        ((0.15, 0.17), (1.0, 1.0)),
    ),
    "goblet": (((0.20, 0.26), (0.50, 0.58)), ((0.30, 0.38), (0.70, 0.76)), ((0.26, 0.40), (1.0, 1.0))),
}
_FOOT: Range = (0.24, 0.34)  # radius of a goblet's foot
_STEM: Range = (0.06, 0.09)  # radius of its stem
_FLOOR: Range = (0.38, 0.46)  # height of the stem's top
_LEAST_ROUNDING = 0.02


def vessel(kind: str, seed: Sequence[int]) -> Revolution:
    """One vessel of a kind, centred, the longest edge of its bounding box 1; the same seed gives the same one."""
    rng = np.random.default_rng(seed)
    wall = np.array([[rng.uniform(*radius), rng.uniform(*height)] for radius, height in _WALLS[kind]])
    thickness, bend = rng.uniform(*WALL), rng.uniform(0.10, 0.30)
    if kind == "goblet":
        foot, stem, floor = rng.uniform(*_FOOT), rng.uniform(*_STEM), rng.uniform(*_FLOOR)
        below = np.array([[0, 0], [foot, 0], [foot, 0.09], [stem, 0.16], [stem, floor]])
    else:
        foot, stem, floor = 0.0, 0.0, 0.0
        below = np.zeros((1, 2))
    scale = 1 / max(2 * wall[:, 0].max(), 2 * foot, wall[-1, 1])
    cup = np.concatenate([[[0, floor]], wall]) * scale
    outer, inner = np.concatenate([below * scale, cup[1:]]), offset(cup, thickness)
    rounding = np.full(len(outer), bend)
    rounding[: len(below) + 1] = rng.uniform(0.03, 0.08)  # the foot
    rounding[-1] = thickness / 2  # the rim
    bends = rounding[-len(cup) :] - thickness * np.sign(turns(cup))  # the same centres on the inside
    hollow = np.maximum(bends, _LEAST_ROUNDING)
    hollow[-1] = thickness / 2
    chain = rounded(np.concatenate([outer, inner[::-1]]), np.concatenate([rounding, hollow[::-1]]), closed=False)
    return fitted(Outline([chain], half=True))


def fitted(outline: Outline) -> Revolution:
    """The body of revolution of a half outline, centred and scaled to a longest edge of 1."""
    low, high = outline.bounds()
    scale = 1 / max(2 * high[0], high[1] - low[1])
    return Revolution(outline.moved(scale, (0, -scale * (low[1] + high[1]) / 2)))


def offset(chain: Float, by: float) -> Float:
    """The open chain (V,2), which starts on the axis, moved to its left by `by`; its sides stay parallel."""
    side = np.diff(chain, axis=0)
    left = np.stack([-side[:, 1], side[:, 0]], 1) / np.linalg.norm(side, axis=1, keepdims=True)
    before, after = np.concatenate([left[:1] * (-1, 1), left]), np.concatenate([left, left[-1:]])
    moved: Float = chain + by * (before + after) / (1 + (before * after).sum(1, keepdims=True))
    return moved


def turns(chain: Float) -> Float:
    """Angles (V,) by which an open chain (V,2) turns left at its vertices, 0 at its ends."""
    side = np.diff(chain, axis=0)
    angle = np.diff(np.arctan2(side[:, 1], side[:, 0]))
    return np.concatenate([[0.0], (angle + np.pi) % (2 * np.pi) - np.pi, [0.0]])
