"""Positional encoding: coordinates and their sines and cosines at doubling frequencies (NeRF, section 5.1)."""

from __future__ import annotations

import torch
from torch import Tensor


def encode(x: Tensor, frequencies: int) -> Tensor:
    """(P, 3+6L): x (P,3), then for l = 0..L-1 sin(2^l x) and cos(2^l x), three of each; x alone for L = 0.

    Equation 4 of NeRF (Mildenhall et al. 2020) without its factor of pi, and with x itself in front, as in its code.
    """
    if not frequencies:
        return x
    angles = x[:, None, :] * 2.0 ** torch.arange(frequencies, dtype=x.dtype, device=x.device)[:, None]
    return torch.cat([x, torch.stack([angles.sin(), angles.cos()], 2).flatten(1)], 1)
