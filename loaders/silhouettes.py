"""Whether the silhouettes of posed views agree on one object: what tells a right camera convention from a wrong one.

A coarse visual hull (Laurentini 1994), tested along rays only: with the right cameras, the ray through a foreground
pixel meets a place that the other views see in their foreground as well; with wrong ones it does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, project, rays

Mask = NDArray[np.bool_]

LEAST, MOST = 0.002, 0.95  # the share of an image that a silhouette takes: outside of it there is none to speak of

_RAYS = 32  # a view
_STEPS = 128  # along a ray
_SLACK = 0.015  # of the image's width by which silhouettes are widened, for the steps between places on a ray


def agreement(cameras: Cameras, masks: Sequence[Mask], reach: float) -> float | None:
    """The share in [0,1] of other views that agree at the best place on a foreground ray, mean over rays and views.

    Args:
        cameras: N cameras.
        masks: N foregrounds, bool (H,W).
        reach: the length of rays, scene units.

    Returns:
        None where fewer than two views have a silhouette, which takes 0.2 % of the image at least and 95 % at most.
    """
    usable = [i for i, mask in enumerate(masks) if LEAST <= mask.mean() <= MOST]
    if len(usable) < 2:
        return None
    wide = {i: _widened(masks[i]) for i in usable}
    best = []
    for i in usable:
        places = _places(cameras, i, masks[i], reach)
        votes = [_seen(cameras, j, wide[j], places) for j in usable if j != i]
        best.append(np.mean(votes, axis=0).max(axis=1))
    return float(np.concatenate(best).mean())


def _places(cameras: Cameras, index: int, mask: Mask, reach: float) -> NDArray[np.float64]:
    """(rays, steps, 3) places along rays through pixels spread over the foreground of one view."""
    pixels = np.flatnonzero(mask)
    pixels = pixels[np.linspace(0, len(pixels) - 1, min(_RAYS, len(pixels))).astype(np.int64)]
    y, x = np.divmod(pixels, mask.shape[1])
    origins, directions = rays(cameras, index, np.stack([x, y], axis=1) + 0.5)
    along = np.linspace(0, reach, _STEPS + 1)[1:]
    places: NDArray[np.float64] = origins[:, None] + directions[:, None] * along[:, None]
    return places


def _seen(cameras: Cameras, index: int, mask: Mask, places: NDArray[np.float64]) -> Mask:
    """(rays, steps) whether each place lies before the camera and in its foreground."""
    xy, depth = project(cameras, index, places.reshape(-1, 3))
    height, width = mask.shape
    with np.errstate(invalid="ignore"):
        inside = (depth > 0) & (xy >= 0).all(1) & (xy < (width, height)).all(1)
    column, row = xy[inside].astype(np.int64).T
    inside[inside] = mask[row, column]
    return inside.reshape(places.shape[:2])


def _widened(mask: Mask) -> Mask:
    from scipy.ndimage import maximum_filter

    size = 2 * round(_SLACK * mask.shape[1]) + 1
    wide: Mask = maximum_filter(mask, size=size)
    return wide
