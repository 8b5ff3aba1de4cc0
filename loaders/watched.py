"""What cameras watch: a box of interest for datasets that give none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras


def watched_box(cameras: Cameras) -> NDArray[np.float32]:
    """(2,3) a cube around the point nearest to all optical axes, its faces as far from it as half of the cameras are.

    Nearest by least squares; where all axes are parallel, of such points the one nearest to the middle of the cameras.
    """
    centres, axes = cameras.centres.astype(np.float64), cameras.c2w[:, :, 2].astype(np.float64)
    across = np.eye(3) - axes[:, :, None] * axes[:, None]  # what is left of a vector beside each axis
    middle = centres.mean(0)
    off = np.einsum("nij,nj->i", across, centres - middle)
    point = middle + np.linalg.lstsq(across.sum(0), off, rcond=1e-9)[0]
    half = max(float(np.median(np.linalg.norm(centres - point, axis=1))), 1e-6 * (1 + float(np.abs(point).max())))
    return np.stack([point - half, point + half]).astype(np.float32)
