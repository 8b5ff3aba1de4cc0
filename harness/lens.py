"""Lens distortion: where a lens puts a direction on its image plane, and which direction a place there comes from.

Two models with eight numbers each, in the order and with the meaning that OpenCV 4 gives them:

- OpenCV: k1 k2 p1 p2 k3 k4 k5 k6, radial (rational) and tangential: Brown 1966, "Decentering Distortion of Lenses".
- fisheye: k1 k2 k3 k4 0 0 0 0, the angle from the axis instead of its tangent: Kannala and Brandt 2006, "A Generic
  Camera Model and Calibration Method", equation 6.

Far from the axis a polynomial turns back, and would put what lies far outside of the picture into it. Up to `reach` it
does not; what lies beyond is not seen.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

_STEPS = 30  # of Newton's method; sound lenses need five
_CLOSE = 1e-10  # of the focal length: 1e-6 px for the longest of lenses
_WITHIN = 0.999  # of the reach, where the slope is zero and Newton's method would leap


def reach(lens: Float64, fisheye: bool) -> float:
    """How far from the axis the distorted radius grows with the true one, inf where it always does.

    The tangent of the angle from the axis; for a fisheye the angle itself, in radians and at most pi.
    """
    if fisheye:
        slope = np.array([1.0, 3 * lens[0], 5 * lens[1], 7 * lens[2], 9 * lens[3]])
        return min(_first_root(slope), math.pi)
    k1, k2, _, _, k3, k4, k5, k6 = lens
    top, bottom = np.array([1.0, k1, k2, k3]), np.array([1.0, k4, k5, k6])  # of the radial factor, in u = r^2
    # the slope of r N(u) / D(u) has the sign of N D + 2 u (N' D - N D'); u N' has the coefficients i N_i
    power = np.arange(4)
    product = np.convolve(top, bottom)
    slope = product + 2 * (np.convolve(power * top, bottom) - np.convolve(top, power * bottom))
    return min(_first_root(slope), _first_root(bottom))


def _first_root(coefficients: Float64) -> float:
    """The square root of the smallest positive root of a polynomial, lowest power first, 1; inf where there is none."""
    inverse = np.roots(coefficients)  # of the same polynomial in 1 / u, whose first coefficient is never too small
    real = inverse.real[(np.abs(inverse.imag) <= 1e-9 * np.abs(inverse)) & (inverse.real > 0)]
    return 1 / math.sqrt(real.max()) if len(real) else math.inf


def distort(directions: Float64, lens: Float64, fisheye: bool) -> Float64:
    """Places (P,2) on the image plane, in focal lengths from the axis, of directions (P,3); NaN where not seen.

    Args:
        directions: x right, y down, z forward, of any length.
        lens: (8,) the numbers of the lens.
        fisheye: whether it is a fisheye.
    """
    x, y, z = np.asarray(directions, np.float64).T
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if fisheye:
            radius = np.hypot(x, y)
            angle = np.arctan2(radius, z)
            scale = np.where(radius > 0, _bent(angle, lens)[0] / radius, 1 / z)
            place = np.stack([x * scale, y * scale], axis=1)
            place[~(angle <= reach(lens, True))] = np.nan
        else:
            x, y = x / z, y / z
            place = np.stack(_moved(x, y, lens)[:2], axis=1)
            place[~(np.hypot(x, y) <= reach(lens, False))] = np.nan
    return place


def undistort(places: Float64, lens: Float64, fisheye: bool) -> tuple[Float64, NDArray[np.bool_]]:
    """Directions (P,3) that a lens puts at places (P,2) on the image plane, and which of them (P,) are exact.

    A place that no direction is put at gets the direction at the edge of what the lens sees on its side.

    Args:
        places: in focal lengths from the axis.
        lens: (8,) the numbers of the lens.
        fisheye: whether it is a fisheye.
    """
    x, y = np.asarray(places, np.float64).T
    edge, radius = reach(lens, fisheye), np.hypot(x, y)
    if fisheye:
        angle = _unbend(radius, lens, edge)
        found = np.abs(_bent(angle, lens)[0] - radius) <= _CLOSE
        angle = np.where(found, angle, edge)
        toward = np.where(radius > 0, np.sin(angle) / np.where(radius > 0, radius, 1), 1)
        return np.stack([x * toward, y * toward, np.cos(angle)], axis=1), found
    u, v = _unmove(x, y, lens, edge)
    again_x, again_y = _moved(u, v, lens)[:2]
    found = (np.hypot(again_x - x, again_y - y) <= _CLOSE) & (np.hypot(u, v) <= edge)
    outward = edge / np.where(radius > 0, radius, 1) if math.isfinite(edge) else 1.0
    u, v = np.where(found, u, x * outward), np.where(found, v, y * outward)
    return np.stack([u, v, np.ones_like(u)], axis=1), found


def _bent(angle: Float64, lens: Float64) -> tuple[Float64, Float64]:
    """The distorted angle of a fisheye, and its slope (Kannala and Brandt 2006, equation 6)."""
    u = angle * angle
    k1, k2, k3, k4 = lens[:4]
    value = angle * (1 + u * (k1 + u * (k2 + u * (k3 + u * k4))))
    return value, 1 + u * (3 * k1 + u * (5 * k2 + u * (7 * k3 + u * 9 * k4)))


def _unbend(bent: Float64, lens: Float64, edge: float) -> Float64:
    """The angle from the axis that a fisheye bends to `bent` (P,), by Newton's method."""
    angle = np.minimum(bent, _WITHIN * edge)
    for _ in range(_STEPS):
        value, slope = _bent(angle, lens)
        step = (value - bent) / slope
        angle = np.clip(angle - step, 0, _WITHIN * edge)
        if not (np.abs(step) > _CLOSE / 10).any():
            break
    return angle


def _moved(x: Float64, y: Float64, lens: Float64) -> tuple[Float64, Float64, Float64, Float64, Float64]:
    """The places (P,), (P,) that the OpenCV model moves x and y to, and the derivatives xx, xy = yx and yy."""
    k1, k2, p1, p2, k3, k4, k5, k6 = lens
    u = x * x + y * y
    top, bottom = 1 + u * (k1 + u * (k2 + u * k3)), 1 + u * (k4 + u * (k5 + u * k6))
    factor = top / bottom
    slope = (k1 + u * (2 * k2 + u * 3 * k3) - factor * (k4 + u * (2 * k5 + u * 3 * k6))) / bottom
    xy = x * y
    moved_x = x * factor + 2 * p1 * xy + p2 * (u + 2 * x * x)
    moved_y = y * factor + 2 * p2 * xy + p1 * (u + 2 * y * y)
    across = 2 * (xy * slope + p1 * x + p2 * y)
    along_x = factor + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
    along_y = factor + 2 * y * y * slope + 2 * p2 * x + 6 * p1 * y
    return moved_x, moved_y, along_x, across, along_y


def _unmove(x: Float64, y: Float64, lens: Float64, edge: float) -> tuple[Float64, Float64]:
    """What the OpenCV model moves to x and y, by Newton's method kept within the reach."""
    u, v = _kept_within(x, y, edge)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for _ in range(_STEPS):
            at_x, at_y, xx, xy, yy = _moved(u, v, lens)
            off_x, off_y = at_x - x, at_y - y
            determinant = xx * yy - xy * xy
            step_x, step_y = (yy * off_x - xy * off_y) / determinant, (xx * off_y - xy * off_x) / determinant
            u, v = _kept_within(u - step_x, v - step_y, edge)
            if not (np.maximum(np.abs(step_x), np.abs(step_y)) > _CLOSE / 10).any():
                break
    return u, v


def _kept_within(x: Float64, y: Float64, edge: float) -> tuple[Float64, Float64]:
    """The places, those beyond the reach drawn back towards the axis."""
    if not math.isfinite(edge):
        return x, y
    radius = np.hypot(x, y)
    shrink = np.where(radius > _WITHIN * edge, _WITHIN * edge / np.where(radius > 0, radius, 1), 1)
    return x * shrink, y * shrink
