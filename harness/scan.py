"""What a scanner saw: the volumes of DTU and of Tanks and Temples within which a surface is judged.

Everything is in the original coordinates of the dataset: millimetres for DTU, metres for Tanks and Temples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt

_AXES = {"x": (1, 2, 0), "y": (0, 2, 1), "z": (0, 1, 2)}  # the two axes of the polygon, then that along the prism
_CHUNK = 65_536  # points tested at once: bounds memory, and stays in the cache


@dataclass(frozen=True, eq=False)
class ObservedVolume:
    """The voxels of space that DTU's scanner observed, and the table that the object stands on (Jensen et al. 2014).

    Attributes:
        mask: (X,Y,Z) bool, whether a voxel was observed (`ObsMask`).
        box: (2,3) float64 mm, the centre of the first voxel and the far corner (`BB`).
        cell: edge of a voxel in mm (`Res`).
        plane: (4,) float64, of which (x,y,z,1) . plane > 0 is above the table (`P`); None where all counts.

    Raises:
        DataCorrupt: a wrong shape, an empty mask or box, a value that is not finite, or a plane without a normal.
    """

    mask: NDArray[np.bool_]
    box: NDArray[np.float64]
    cell: float
    plane: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", np.ascontiguousarray(self.box, np.float64))
        object.__setattr__(self, "cell", float(self.cell))
        if self.mask.dtype != np.bool_ or self.mask.ndim != 3 or not self.mask.any():
            raise DataCorrupt(f"ObservedVolume.mask is {self.mask.dtype} {self.mask.shape}, or has no voxel set.")
        if self.box.shape != (2, 3) or not np.isfinite(self.box).all() or not (self.box[0] < self.box[1]).all():
            raise DataCorrupt(f"ObservedVolume.box is {self.box.tolist()}, not a low and a higher corner.")
        if not 0 < self.cell < np.inf:
            raise DataCorrupt(f"ObservedVolume.cell is {self.cell}, not an edge in mm.")
        if self.plane is not None:
            object.__setattr__(self, "plane", np.ascontiguousarray(self.plane, np.float64))
            if self.plane.shape != (4,) or not np.isfinite(self.plane).all() or not self.plane[:3].any():
                raise DataCorrupt(f"ObservedVolume.plane is {self.plane.tolist()}, not the 4 numbers of a plane.")

    def near(self, points: NDArray[np.floating], patch: float) -> NDArray[np.bool_]:
        """(P,) bool, which of (P,3) points lie in the box widened by `patch` mm below and twice that above.

        The low side counts, the high side does not; the two widths differ in the evaluation code that all use.
        """
        inside: NDArray[np.bool_] = ((points >= self.box[0] - patch) & (points < self.box[1] + 2 * patch)).all(1)
        return inside

    def observed(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(P,) bool, which of (P,3) points have their nearest voxel, ties to even, in the mask."""
        voxel = np.rint((np.asarray(points, np.float64) - self.box[0]) / self.cell)
        seen: NDArray[np.bool_] = ((voxel >= 0) & (voxel < self.mask.shape)).all(1)
        x, y, z = voxel[seen].astype(np.int64).T
        seen[seen] = self.mask[x, y, z]
        return seen

    def above(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(P,) bool, which of (P,3) points lie above the table, not on it; all of them without a plane."""
        if self.plane is None:
            return np.ones(len(points), np.bool_)
        height: NDArray[np.float64] = np.asarray(points, np.float64) @ self.plane[:3] + self.plane[3]
        return height > 0


@dataclass(frozen=True, eq=False)
class CropVolume:
    """A prism over a polygon: the part of space that Tanks and Temples judges (Open3D's SelectionPolygonVolume).

    Attributes:
        polygon: (N,2) float64, corners in the two axes other than `axis`, in the order x, y, z; N >= 3. Given as
            (N,3), the coordinate along `axis` is dropped.
        axis: "x", "y" or "z", the axis along the prism; capitals mean the same.
        low: the least coordinate along the axis; it counts.
        high: the greatest, likewise.

    Raises:
        DataCorrupt: a polygon of fewer than three corners or of another shape, an unknown axis, values that are not
            finite, or low above high.
    """

    polygon: NDArray[np.float64]
    axis: str
    low: float
    high: float

    def __post_init__(self) -> None:
        polygon = np.asarray(self.polygon, np.float64)
        if self.axis.lower() not in _AXES:
            raise DataCorrupt(f"CropVolume.axis is {self.axis!r}, not x, y or z.")
        if polygon.ndim != 2 or len(polygon) < 3 or polygon.shape[1] not in (2, 3) or not np.isfinite(polygon).all():
            raise DataCorrupt(f"CropVolume.polygon has shape {polygon.shape} or values that are not finite.")
        if not -np.inf < self.low <= self.high < np.inf:
            raise DataCorrupt(f"CropVolume reaches from {self.low} to {self.high}, not from low to high.")
        if polygon.shape[1] == 3:
            polygon = polygon[:, _AXES[self.axis.lower()][:2]]
        object.__setattr__(self, "axis", self.axis.lower())
        object.__setattr__(self, "polygon", np.ascontiguousarray(polygon))

    def inside(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(P,) bool, which of (P,3) points are inside.

        Along the second axis of the polygon an edge counts from above its lower end up to and with its upper end; a
        point is inside where an odd number of the edges at its height lie strictly before it on the first axis.
        """
        u, v, w = _AXES[self.axis]
        result = np.zeros(len(points), np.bool_)
        for start in range(0, len(points), _CHUNK):
            chunk = np.asarray(points[start : start + _CHUNK], np.float64)
            within = np.flatnonzero((chunk[:, w] >= self.low) & (chunk[:, w] <= self.high))
            result[start + within] = self._in_polygon(chunk[within, u], chunk[within, v])
        return result

    def _in_polygon(self, u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
        odd = np.zeros(len(u), np.bool_)
        for (u0, v0), (u1, v1) in zip(self.polygon, np.roll(self.polygon, -1, 0), strict=True):
            crossed = np.flatnonzero((v > min(v0, v1)) & (v <= max(v0, v1)))  # nowhere on a level edge
            odd[crossed] ^= u0 + (v[crossed] - v0) / (v1 - v0) * (u1 - u0) < u[crossed]
        return odd
