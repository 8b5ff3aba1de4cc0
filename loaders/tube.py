"""A tube around a smooth closed curve, knotted or not, with its exact signed distance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from nfbench.harness.errors import NfbenchError
from nfbench.loaders.distance import length, unit

Float = NDArray[np.float64]

_KNOTS = 512  # points of the curve, from which the nearest one is refined
_CANDIDATES = 4  # how many of them: three of one strand leave room for the nearest of another
_NEWTON_STEPS = 2
_CHUNK = 4096  # points at a time, so that the work stays in the processor's cache
_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Tube:
    """All points within `thickness` of a smooth closed curve.

    The curve is the trigonometric polynomial through `points`, which are taken at equal steps of its parameter. The
    nearest point is looked for from the 4 nearest of 512 points of the curve, so that no strand is missed, and refined
    by Newton's method on the curve's Taylor series, to about 1e-9.

    Attributes:
        points: (N,3), N odd or large enough that the highest frequency is not in use.
        thickness: the radius of the tube, smaller than the reach of the curve.

    Raises:
        NfbenchError: the tube would touch itself or fold; its distance would not be exact then.
    """

    points: Float
    thickness: float

    def __post_init__(self) -> None:
        reach = self.reach()
        if self.thickness >= reach:
            raise NfbenchError(
                f"A tube of radius {self.thickness:.3g} touches itself: the curve's reach is {reach:.3g}.",
                "Make the tube thinner or the curve wider.",
            )

    @cached_property
    def _series(self) -> Float:
        """(6,3,512), Taylor coefficients of the curve at each of 512 points, its parameter having period 1."""
        waves = np.fft.rfft(np.asarray(self.points, np.float64), axis=0)
        if len(self.points) % 2 == 0:
            waves = waves[:-1]
        turn = 2j * np.pi * np.arange(len(waves))[:, None]
        scale = _KNOTS / len(self.points)
        terms = [np.fft.irfft(waves * turn**k, _KNOTS, axis=0).T * scale / math.factorial(k) for k in range(6)]
        return np.stack(terms)

    @cached_property
    def _tree(self) -> KDTree:
        return KDTree(self._series[0].T, leafsize=32)

    @cached_property
    def radius(self) -> float:
        """Of a sphere around it."""
        between = np.linalg.norm(self._series[1], axis=0).max() / _KNOTS / 2
        return float(np.linalg.norm(self._series[0], axis=0).max() + between) + self.thickness

    def reach(self) -> float:
        """The reach of the curve: the least of |q - p|^2 / (2 dist(q - p, tangent at p)) over its points p and q.

        Federer 1959, "Curvature measures", theorem 4.18; up to the spacing of the 512 points that are compared.
        """
        least = np.inf
        at = self._series[0].T
        for p, tangent in zip(at, unit(self._series[1].T), strict=True):
            apart = at - p
            squared = (apart**2).sum(1)
            off = np.sqrt(np.maximum(squared - (apart @ tangent) ** 2, _TINY))
            least = min(least, float((squared / (2 * off))[squared > 0].min()))
        return least

    def _foot(self, xyz: Float) -> Float:
        """The nearest points of the curve (P,3)."""
        return np.concatenate([self._foot_of(xyz[i : i + _CHUNK]) for i in range(0, len(xyz), _CHUNK)] or [xyz])

    def _foot_of(self, xyz: Float) -> Float:
        nearest = np.asarray(self._tree.query(xyz, k=_CANDIDATES)[1])
        target = xyz.T[:, :, None]  # (3,P,1) against (3,P,4)
        at, speed, bend = (self._series[k][:, nearest] for k in range(3))
        apart = at - target
        slip = (apart * speed).sum(0)
        step = _newton(slip, (speed * speed + 2 * apart * bend).sum(0), 0.6 / _KNOTS)  # just beyond half-way
        rows = np.arange(len(xyz))
        short = apart + step * (speed + step * bend)
        chosen = (short * short).sum(0).argmin(1)
        series = self._series[:, :, nearest[rows, chosen]]
        step = step[rows, chosen]
        for _ in range(_NEWTON_STEPS):
            at, speed, bend = _taylor(series, step)
            apart = at - xyz.T
            slip, slope = (apart * speed).sum(0), (speed * speed + apart * bend).sum(0)
            step = np.clip(step + _newton(slip, slope, 1 / _KNOTS), -1 / _KNOTS, 1 / _KNOTS)
        return _taylor(series, step)[0].T

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3)."""
        return length(xyz - self._foot(xyz)) - self.thickness

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3)."""
        return unit(xyz - self._foot(xyz))


def torus_knot(p: int, q: int, ring: float, tube: float, thickness: float) -> Tube:
    """A tube along the (p, q) torus knot, which winds p times around the axis of a torus and q times around its ring.

    Args:
        p: turns around the z axis, coprime to q.
        q: turns around the ring.
        ring: radius of the torus's circle.
        tube: radius of the torus's section.
        thickness: radius of the tube along the knot.
    """
    angle = np.arange(257) * (2 * np.pi / 257)
    across = ring + tube * np.cos(q * angle)
    points = np.stack([across * np.cos(p * angle), across * np.sin(p * angle), tube * np.sin(q * angle)], 1)
    return Tube(points, thickness)


def _newton(slip: Float, slope: Float, most: float) -> Float:
    """The step of Newton's method to a minimum, downhill where the function is not convex, of length `most` at most."""
    step: Float = np.where(slope * most > np.abs(slip), -slip / np.maximum(slope, _TINY), -np.sign(slip) * most)
    return step


def _taylor(series: Float, step: Float) -> tuple[Float, Float, Float]:
    """Value, first and second derivative (3,P) of the polynomials with coefficients `series` (K,3,P) at `step` (P,)."""
    value, first, second = series[-1], np.zeros_like(series[-1]), np.zeros_like(series[-1])
    for k in reversed(range(len(series) - 1)):
        second = second * step + 2 * first
        first = first * step + value
        value = value * step + series[k]
    return value, first, second
