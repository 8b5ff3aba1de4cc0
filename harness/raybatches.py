"""Random rays through the pixels of views, with their colours, for methods that learn from them."""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import rays
from nfbench.harness.decoded import DecodedViews
from nfbench.harness.errors import ContractBroken

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class RayBatch:
    """R rays through pixel centres and what was seen there.

    Attributes:
        origins: (R,3) float32, scene units.
        directions: (R,3) float32 unit vectors.
        colours: (R,3) float32 sRGB in [0,1].
        view: (R,) int64, the view of each.
    """

    origins: Floats
    directions: Floats
    colours: Floats
    view: Indices


class RayBatches:
    """Rays through random pixels of all views, with their colours.

    Args:
        decoded: views over a background, or without alpha.

    Raises:
        ContractBroken: images with alpha.
    """

    def __init__(self, decoded: DecodedViews) -> None:
        if decoded.channels != 3:
            raise ContractBroken("The views have alpha and no background.", "Give DecodedViews a background.")
        cameras = decoded.views.cameras
        self.decoded = decoded
        self._turned = cameras.c2w[:, :, :3].astype(np.float64) @ np.linalg.inv(cameras.K.astype(np.float64))
        self._centres = np.ascontiguousarray(cameras.centres)
        self._bent = np.array([cameras.lens(i) is not None for i in range(len(cameras))])

    def draw(self, count: int, generator: np.random.Generator) -> RayBatch:
        """`count` rays, pixels drawn with replacement, each pixel of each view as likely as any other."""
        return self.at(generator.integers(0, self.decoded.starts[-1], count))

    def at(self, place: Indices) -> RayBatch:
        """The rays through the pixels at the places (R,), from 0 to starts[-1] - 1, counted through all views.

        Directions are those of nfbench.harness.camera.rays to the rounding of float32.

        Raises:
            ContractBroken: a place outside of that.
            DataMissing, DataCorrupt: as DecodedViews.
        """
        decoded = self.decoded
        colours = decoded.at(place).astype(np.float32)  # first, for it checks the places
        colours /= np.float32(255)
        origins, directions = np.empty((len(place), 3), np.float32), np.empty((len(place), 3), np.float32)
        view = np.empty(len(place), np.int64)
        _through(place, decoded.starts, decoded.widths, self._turned, self._centres, origins, directions, view)
        bent = np.flatnonzero(self._bent[view]) if self._bent.any() else view[:0]
        for index in np.unique(view[bent]).tolist():
            of_view = bent[view[bent] == index]
            row, column = np.divmod(place[of_view] - decoded.starts[index], decoded.widths[index])
            xy = np.stack([column, row], axis=1) + 0.5
            directions[of_view] = rays(decoded.views.cameras, index, xy)[1]
        return RayBatch(origins, directions, colours, view)


@numba.njit(cache=True, nogil=True)
def _through(
    place: Indices,
    starts: Indices,
    widths: Indices,
    turned: NDArray[np.float64],
    centres: Floats,
    origins: Floats,
    directions: Floats,
    view: Indices,
) -> None:
    """Fill `origins`, `directions` (R,3) and `view` (R,) for pinholes; `turned` (N,3,3) takes pixels to directions."""
    views_a_pixel = len(widths) / starts[-1]
    for i in range(len(place)):
        at = place[i]
        v = min(int(at * views_a_pixel), len(widths) - 1)  # right where all views have as many pixels
        while at < starts[v]:
            v -= 1
        while at >= starts[v + 1]:
            v += 1
        row = (at - starts[v]) // widths[v]
        x, y = at - starts[v] - row * widths[v] + 0.5, row + 0.5
        m = turned[v]
        dx = m[0, 0] * x + m[0, 1] * y + m[0, 2]
        dy = m[1, 0] * x + m[1, 1] * y + m[1, 2]
        dz = m[2, 0] * x + m[2, 1] * y + m[2, 2]
        length = np.sqrt(dx * dx + dy * dy + dz * dz)
        directions[i, 0], directions[i, 1], directions[i, 2] = dx / length, dy / length, dz / length
        origins[i, 0], origins[i, 1], origins[i, 2] = centres[v, 0], centres[v, 1], centres[v, 2]
        view[i] = v
