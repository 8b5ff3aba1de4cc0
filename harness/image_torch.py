"""PSNR and SSIM by torch, for a GPU: the same numbers as `nfbench.harness.image` to rounding.

On a CPU the compiled kernels are several times faster; this is for scores that are computed where LPIPS runs anyway.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv2d

from nfbench.harness.errors import NfbenchError
from nfbench.harness.ssim import K1, K2, Window

Image = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def psnr(prediction: Image, truth: Image, mask: Mask | None = None, device: str = "cpu") -> float:
    """Peak signal-to-noise ratio in dB of one pair of (H,W,3) uint8, inf where equal; summed exactly.

    Args:
        prediction: (H,W,3) uint8.
        truth: the same.
        mask: (H,W) bool, the pixels that count.
        device: where it is computed.
    """
    difference = _tensor(prediction, device, torch.int32) - _tensor(truth, device, torch.int32)
    squares = difference.square().sum(0)
    if mask is not None:
        squares = squares[torch.from_numpy(mask).to(device)]
    total = int(squares.sum(dtype=torch.int64).item())
    return 10 * math.log10(3 * squares.numel() * 255**2 / total) if total else math.inf


def ssim(prediction: Image, truth: Image, window: Window, mask: Mask | None = None, device: str = "cpu") -> float:
    """Structural similarity of one pair of (H,W,3) uint8 in float64, channels averaged: Wang et al. 2004, equation 13.

    Args:
        prediction: (H,W,3) uint8, no smaller than the window.
        truth: the same.
        window: what is averaged, of a variant that keeps the image's size.
        mask: (H,W) bool, the pixels to average over; those whose window leaves the image never count.
        device: where it is computed.

    Raises:
        NfbenchError: the mask holds no pixel whose window fits.
    """
    x, y = (_tensor(image, device, torch.float64)[:, None] / 255 for image in (prediction, truth))
    taps = torch.from_numpy(window.taps(np.dtype(np.float64))).to(device)

    def mean(image: Tensor) -> Tensor:
        return conv2d(conv2d(image, taps.view(1, 1, 1, -1)), taps.view(1, 1, -1, 1))

    mean_x, mean_y = mean(x), mean(y)
    scale = window.size**2 / (window.size**2 - 1) if window.covariance == "sample" else 1.0
    variances = scale * (mean(x * x) + mean(y * y) - mean_x * mean_x - mean_y * mean_y)
    covariance = scale * (mean(x * y) - mean_x * mean_y)
    c1, c2 = K1**2, K2**2
    places = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    places = places / ((mean_x.square() + mean_y.square() + c1) * (variances + c2))
    if mask is None:
        return float(places.mean())
    border = window.size // 2
    inside = torch.from_numpy(mask[border : mask.shape[0] - border, border : mask.shape[1] - border]).to(device)
    if not inside.any():
        raise NfbenchError("The mask holds no pixel whose SSIM window fits into the image.", "Leave masked SSIM out.")
    return float(places[:, 0, inside].mean())


def _tensor(image: Image, device: str, kind: torch.dtype) -> Tensor:
    """(3,H,W) on the device."""
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1).to(kind)
