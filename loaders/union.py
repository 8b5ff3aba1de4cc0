"""Several solids as one: its distance is exact outside and its sign everywhere; inside, the distance is a bound.

Outside of all parts the nearest point of the union is the nearest point of the nearest part, so that rays step as far
as they may and normals are right. Inside, that point may be covered by another part: the surface is then farther than
the distance says. So it serves to render, to tell inside from outside and to draw the surface, not as signed distance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nfbench.loaders.distance import Float, Solid, length
from nfbench.loaders.tracing import areas, sample_mesh, surface_mesh

UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
"""A turn (3,3) that stands a prism up: its outline's x and y become x and z, its height runs along -y."""

_SPARE = 1.3  # points drawn for each that is wanted, for those that are covered
_COVERED = 1e-9  # scene units by which a point may lie in another part and still be on the union's surface


@dataclass(frozen=True, eq=False)
class Part:
    """A solid that is turned and moved.

    Attributes:
        solid: around its own origin.
        centre: (3,) where that origin goes.
        turn: (3,3) rotation from its own axes to those of the whole.
    """

    solid: Solid
    centre: Float
    turn: Float

    @property
    def radius(self) -> float:
        """Of a sphere around the origin that holds the part."""
        return float(np.linalg.norm(self.centre)) + self.solid.radius

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3)."""
        return self.solid.distance((xyz - self.centre) @ self.turn)

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3)."""
        gradient: Float = self.solid.gradient((xyz - self.centre) @ self.turn) @ self.turn.T
        return gradient


@dataclass(frozen=True, eq=False)
class Union:
    """All points of any of its parts.

    Attributes:
        parts: one at least.
    """

    parts: tuple[Part, ...]

    @cached_property
    def radius(self) -> float:
        """Of a sphere around it."""
        return max(part.radius for part in self.parts)

    def distance(self, xyz: Float) -> Float:
        """Signed distances (P,) at `xyz` (P,3): exact outside, negative inside, where the surface may be farther."""
        return self._nearest(xyz)[0]

    def gradient(self, xyz: Float) -> Float:
        """Gradients (P,3) at `xyz` (P,3): the outward normals on the surface."""
        which = self.nearest_part(xyz)
        gradient = np.empty_like(xyz)
        for index, part in enumerate(self.parts):
            of = which == index
            gradient[of] = part.gradient(xyz[of])
        return gradient

    def nearest_part(self, xyz: Float) -> NDArray[np.intp]:
        """The number (P,) of the part whose signed distance is the least at each of `xyz` (P,3)."""
        return self._nearest(xyz)[1]

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Points (count,3) uniform by area on the surface, and their outward normals (count,3).

        Every part gives points by its area; those that lie within another part are dropped.
        """
        meshes = {id(part.solid): surface_mesh(part.solid) for part in self.parts}  # parts may share a solid
        area = np.array([areas(meshes[id(part.solid)]).sum() for part in self.parts])
        found: list[tuple[Float, Float]] = []
        have = 0
        while have < count:
            drawn, wanted = [], int(_SPARE * (count - have)) + 1
            for part, share in zip(self.parts, rng.multinomial(wanted, area / area.sum()), strict=True):
                xyz, normal = sample_mesh(part.solid, meshes[id(part.solid)], int(share), rng)
                drawn.append((xyz @ part.turn.T + part.centre, normal @ part.turn.T))
            xyz, normal = (np.concatenate(arrays) for arrays in zip(*drawn, strict=True))
            bare = self.distance(xyz) > -_COVERED
            order = rng.permutation(np.flatnonzero(bare))
            found.append((xyz[order], normal[order]))
            have += len(order)
        xyz, normal = (np.concatenate(arrays)[:count] for arrays in zip(*found, strict=True))
        return xyz, normal

    def _nearest(self, xyz: Float) -> tuple[Float, NDArray[np.intp]]:
        """The least signed distance (P,) and its part; a part whose sphere is farther than another part is left out."""
        least = np.full(len(xyz), np.inf)
        which = np.zeros(len(xyz), np.intp)
        for index, part in enumerate(self.parts):
            near = np.flatnonzero(length(xyz - part.centre) - part.solid.radius < least)
            distance = part.distance(xyz[near])
            less = distance < least[near]
            least[near[less]], which[near[less]] = distance[less], index
        return least, which
