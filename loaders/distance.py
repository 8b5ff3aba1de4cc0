"""Solids with an exact signed distance: true to rounding everywhere, inside and outside.

Every solid here is one of those whose distance is known in closed form or by a search for the nearest point of a curve.
There are no unions, intersections or blends: the distance inside them is only a bound. An exact distance lets a ray
step as far as it says, tells occupancy by its sign, and has a gradient of length 1 that is the normal on the surface.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nfbench.loaders.outline import Outline

Float = NDArray[np.float64]

_TINY = 1e-12


class Solid(Protocol):
    """A solid around the origin, known by its exact signed distance."""

    @property
    def radius(self) -> float:
        """A length that no point of the solid is farther from the origin than."""
        ...

    def distance(self, xyz: Float) -> Float:
        """Distances (P,) from `xyz` (P,3) float64 to the surface, negative inside."""
        ...

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) of the distance at `xyz` (P,3): unit vectors, the outward normals on the surface."""
        ...


@runtime_checkable
class Sampled(Protocol):
    """A solid that draws points on its own surface exactly."""

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Points (count,3) uniform by area on the surface, and their outward normals (count,3)."""
        ...


@dataclass(frozen=True)
class Sphere:
    """A ball around the origin."""

    radius: float

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3)."""
        return length(xyz) - self.radius

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3)."""
        return unit(xyz)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Points uniform by area, and their normals."""
        normal = unit(rng.standard_normal((count, 3)))
        return normal * self.radius, normal


@dataclass(frozen=True)
class Box:
    """A box around the origin whose edges and corners are rounded.

    Attributes:
        half: half of its edges, rounding included.
        rounding: radius of the edges, at most the least of `half`.
    """

    half: tuple[float, float, float]
    rounding: float = 0.0

    @property
    def radius(self) -> float:
        """Of a sphere around it."""
        return float(np.linalg.norm(self.half))

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3)."""
        beyond = np.abs(xyz) - (np.array(self.half) - self.rounding)
        return _corner_distance(beyond) - self.rounding

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3)."""
        beyond = np.abs(xyz) - (np.array(self.half) - self.rounding)
        return _corner_gradient(beyond) * np.where(xyz < 0, -1.0, 1.0)


@dataclass(frozen=True)
class Torus:
    """A torus around the z axis: radius `ring` of its circle and `tube` of its section, tube < ring."""

    ring: float
    tube: float

    @property
    def radius(self) -> float:
        """Of a sphere around it."""
        return self.ring + self.tube

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3)."""
        return np.hypot(np.hypot(xyz[:, 0], xyz[:, 1]) - self.ring, xyz[:, 2]) - self.tube

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3)."""
        outwards = unit(xyz * (1, 1, 0))
        return unit(xyz - self.ring * outwards)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Points uniform by area, and their normals."""
        section = Outline([np.array([[self.ring + s * self.tube, 0.0, 1.0] for s in (1, -1)])])
        return Revolution(section).sample(count, rng)


@dataclass(frozen=True, eq=False)
class Revolution:
    """What an outline sweeps when it turns about the z axis.

    Attributes:
        outline: in the half plane of (distance from the axis, z): a half outline, or whole loops at x > 0.
    """

    outline: Outline

    @cached_property
    def radius(self) -> float:
        """Of a sphere around it."""
        return self.outline.reach()

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3)."""
        return self.outline.nearest(_meridian(xyz))[0]

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3)."""
        flat = self.outline.nearest(_meridian(xyz))[1]
        return unit(np.concatenate([unit(xyz[:, :2]) * flat[:, :1], flat[:, 1:]], axis=1))

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Points uniform by area, and their normals: uniform by length, kept in proportion to the radius."""
        widest, kept, have = self.outline.bounds()[1, 0], [], 0
        while have < count:
            xy, normal = self.outline.sample(count, rng)
            keep = rng.random(count) * widest < xy[:, 0]
            kept.append(np.concatenate([xy, normal], axis=1)[keep])
            have += len(kept[-1])
        flat = np.concatenate(kept)[:count]
        angle = rng.random(count) * 2 * np.pi
        cos, sin = np.cos(angle), np.sin(angle)
        xyz = np.stack([flat[:, 0] * cos, flat[:, 0] * sin, flat[:, 1]], 1)
        return xyz, np.stack([flat[:, 2] * cos, flat[:, 2] * sin, flat[:, 3]], 1)


@dataclass(frozen=True, eq=False)
class Extrusion:
    """A prism along z over an outline, grown by `rounding` in all directions, which rounds its edges.

    It is exact when the rounding is smaller than the radius of every arc that turns inwards and than half of every
    gap, and no corner that turns inwards is sharp; a rounding of 0 is exact over any outline.

    Attributes:
        outline: of the prism before it grows.
        half_height: of the prism before it grows.
        rounding: how much it grows.
    """

    outline: Outline
    half_height: float
    rounding: float = 0.0

    @cached_property
    def radius(self) -> float:
        """Of a sphere around it."""
        return float(np.hypot(self.outline.reach(), self.half_height)) + self.rounding

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3)."""
        across = self.outline.nearest(xyz[:, :2])[0]
        return _corner_distance(np.stack([across, np.abs(xyz[:, 2]) - self.half_height], 1)) - self.rounding

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3)."""
        across, flat = self.outline.nearest(xyz[:, :2])
        weight = _corner_gradient(np.stack([across, np.abs(xyz[:, 2]) - self.half_height], 1))
        up = np.where(xyz[:, 2] < 0, -1.0, 1.0) * weight[:, 1]
        return np.concatenate([flat * weight[:, :1], up[:, None]], axis=1)


def length(vectors: Float) -> Float:
    """The lengths (P,) of vectors (P,D)."""
    lengths: Float = np.sqrt((vectors * vectors).sum(1))
    return lengths


def _meridian(xyz: Float) -> Float:
    return np.stack([np.hypot(xyz[:, 0], xyz[:, 1]), xyz[:, 2]], 1)


def unit(vectors: Float) -> Float:
    """The vectors (P,D) at length 1; the last axis for one of no length, where every direction is as good."""
    lengths = length(vectors)[:, None]
    axis = np.zeros(vectors.shape[1])
    axis[-1] = 1.0
    return np.where(lengths < _TINY, axis, vectors / np.maximum(lengths, _TINY))


def _corner_distance(beyond: Float) -> Float:
    """Distance (P,) to a box, or product of regions, from the distances `beyond` (P,D) to each of its factors."""
    inside: Float = np.minimum(beyond.max(1), 0)
    return length(np.maximum(beyond, 0)) + inside


def _corner_gradient(beyond: Float) -> Float:
    """The gradient (P,D) of `_corner_distance` with respect to `beyond`."""
    outside = np.maximum(beyond, 0)
    away = length(outside)[:, None]
    nearest: Float = np.eye(beyond.shape[1])[beyond.argmax(1)]
    return np.where(away > _TINY, outside / np.maximum(away, _TINY), nearest)
