"""Outlines of plane regions from straight pieces and circular arcs, with their exact signed distance.

An outline is what a body of revolution is turned from and what a prism is cut along. Corners are rounded with arcs
that touch both sides, so that curved outlines need few pieces and no approximation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.errors import NfbenchError

Float = NDArray[np.float64]

_CHUNK = 4096  # points at a time, so that the table of points and pieces stays in the processor's cache
_ON_CORNER = 1e-12  # nearer to a corner than this, the direction away from it is not known
_STRAIGHT = 1e-9  # sine of a turn that needs no arc


def rounded(vertices: ArrayLike, radius: ArrayLike, *, closed: bool = True) -> Float:
    """Rows (M,3) of x, y and bulge: the polygon of `vertices` (V,2) with its corners rounded to `radius`.

    The bulge of a row is that of the piece to the next row: the tangent of a quarter of the arc's angle, positive
    where the arc turns left, 0 for a straight piece. An arc is smaller where it would use more than half of a side.

    Args:
        vertices: (V,2), the region on the left.
        radius: of the arcs, one number or (V,); 0 keeps a corner sharp.
        closed: whether the last vertex is joined to the first; the ends of an open chain are not rounded.
    """
    at = np.asarray(vertices, np.float64)
    radii = np.broadcast_to(np.asarray(radius, np.float64), len(at)).copy()
    if not closed:
        radii[[0, -1]] = 0
    before, after = at - np.roll(at, 1, 0), np.roll(at, -1, 0) - at
    rows: list[list[float]] = []
    for corner, arriving, leaving, r in zip(at, before, after, radii, strict=True):
        a, b = np.linalg.norm(arriving), np.linalg.norm(leaving)
        u, v = arriving / a, leaving / b
        turn = np.arctan2(u[0] * v[1] - u[1] * v[0], u @ v)
        back = min(r * np.tan(abs(turn) / 2), a / 2, b / 2)
        if back <= 0 or abs(np.sin(turn / 2)) < _STRAIGHT:
            rows.append([*corner, 0.0])
            continue
        rows += [[*(corner - back * u), np.tan(turn / 4)], [*(corner + back * v), 0.0]]
    table: Float = np.array(rows)
    gap = np.linalg.norm(np.roll(table[:, :2], -1, 0) - table[:, :2], axis=1)
    kept: Float = table[(table[:, 2] != 0) | (gap > _ON_CORNER)]  # where two arcs meet, no straight piece is left
    return kept


def circle(radius: float, *, clockwise: bool = False) -> Float:
    """Rows (2,3) of x, y and bulge: a circle around the origin; clockwise for a hole."""
    return np.array([[radius, 0.0, 1.0], [-radius, 0.0, 1.0]]) * (1, 1, -1 if clockwise else 1)


@dataclass(frozen=True, eq=False)
class Outline:
    """The boundary of a plane region, made of straight pieces and arcs, the region on the left.

    Attributes:
        loops: each (M,3), rows of x, y and the bulge of the piece to the next row (see `rounded`); the outer boundary
            runs counter-clockwise, holes clockwise, and loops neither cross nor touch.
        half: the one loop is an open chain from the line x = 0 to it again, the right half of a mirror-symmetric
            region; distances hold for x >= 0.

    Raises:
        NfbenchError: a loop that is no outline, a chain that does not end on the axis, or an arc of more than 180
            degrees.
    """

    loops: Sequence[Float]
    half: bool = False

    def __post_init__(self) -> None:
        for loop in self.loops:
            if loop.ndim != 2 or loop.shape[1] != 3 or len(loop) < 2 or not np.isfinite(loop).all():
                raise NfbenchError(f"An outline's loop has shape {loop.shape}, not (M,3) of finite numbers.")
            if np.abs(loop[:, 2]).max() > 1:
                raise NfbenchError(f"An arc has bulge {np.abs(loop[:, 2]).max():.3g}.", "Split it: 1 is a half circle.")
        if self.half and (len(self.loops) != 1 or np.abs(self.loops[0][[0, -1], 0]).max() > 0):
            raise NfbenchError("A half outline is one chain with both ends at x = 0.")

    @cached_property
    def _pieces(self) -> _Pieces:
        return _Pieces.of(self.loops, self.half)

    def bounds(self) -> Float:
        """(2,2), the lowest and highest x and y of the region's boundary."""
        p = self._pieces
        extremes = [p.start, p.end]
        for direction in np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float64):
            on = p.middle @ direction >= p.cos
            extremes.append(p.centre[on] + p.radius[on, None] * direction)
        points = np.concatenate(extremes)
        return np.stack([points.min(0), points.max(0)])

    def reach(self) -> float:
        """A length that no boundary point is farther from the origin than."""
        p = self._pieces
        round_ = np.linalg.norm(p.centre, axis=1) + p.radius
        return float(max(np.linalg.norm(p.start, axis=1).max(), round_.max(initial=0)))

    def moved(self, scale: float, shift: ArrayLike) -> Outline:
        """The outline scaled by `scale` about the origin and then moved by `shift` (2,)."""
        by = np.append(np.asarray(shift, np.float64), 0.0)
        return Outline([loop * (scale, scale, 1) + by for loop in self.loops], self.half)

    def nearest(self, xy: Float) -> tuple[Float, Float]:
        """Signed distances (P,), negative inside, and their gradients (P,2), unit vectors, at `xy` (P,2).

        The sign comes from the normal at the nearest boundary point, at a corner from the sum of its two normals
        (Baerentzen and Aanaes 2005, "Signed distance computation using the angle weighted pseudonormal").
        """
        distance, gradient = np.empty(len(xy)), np.empty((len(xy), 2))
        for first in range(0, len(xy), _CHUNK):
            at = slice(first, first + _CHUNK)
            distance[at], gradient[at] = self._pieces.nearest(xy[at])
        return distance, gradient

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
        """Points (count,2) uniform by length on the boundary, and their outward normals (count,2)."""
        p = self._pieces
        lengths = np.concatenate([p.length, p.radius * 2 * np.arccos(p.cos)])
        which = rng.choice(len(lengths), count, p=lengths / lengths.sum())
        along = rng.random(count)
        straight = which < len(p.length)
        xy, normal = np.empty((count, 2)), np.empty((count, 2))
        k = which[straight]
        xy[straight] = p.start[k] + along[straight, None] * p.length[k, None] * p.along[k]
        normal[straight] = p.normal[k]
        k = which[~straight] - len(p.length)
        angle = (2 * along[~straight] - 1) * np.arccos(p.cos[k])
        side = np.stack([-p.middle[k, 1], p.middle[k, 0]], 1)
        radial = np.cos(angle)[:, None] * p.middle[k] + np.sin(angle)[:, None] * side
        xy[~straight] = p.centre[k] + p.radius[k, None] * radial
        normal[~straight] = p.convex[k, None] * radial
        return xy, normal


@dataclass(frozen=True, eq=False)
class _Pieces:
    """An outline's S straight pieces and A arcs as arrays; a straight piece of length 0 stands for a corner of arcs."""

    start: Float  # (S,2)
    end: Float  # (S,2)
    along: Float  # (S,2) unit direction
    length: Float  # (S,)
    normal: Float  # (S,2) outward
    corners: Float  # (2,S,2) sum of the normals that meet at start and at end
    centre: Float  # (A,2)
    radius: Float  # (A,)
    middle: Float  # (A,2) unit vector from the centre to the middle of the arc
    cos: Float  # (A,) cosine of half its angle
    convex: Float  # (A,) 1 where the region is on the centre's side, else -1

    @classmethod
    def of(cls, loops: Sequence[Float], half: bool) -> _Pieces:
        parts = [_loop_pieces(loop, half) for loop in loops]
        start, end, bulge, at_start, at_end, bare_start, bare_end = (
            np.concatenate(p) for p in zip(*parts, strict=True)
        )
        chord = end - start
        length = np.linalg.norm(chord, axis=1)
        along = chord / length[:, None]
        right = np.stack([along[:, 1], -along[:, 0]], 1)
        arc = bulge != 0
        b, c = bulge[arc], length[arc]
        flat = [start[~arc], start[bare_start], end[bare_end]]
        zero = np.zeros(int(bare_start.sum() + bare_end.sum()))
        same = [np.flatnonzero(~arc), np.flatnonzero(bare_start), np.flatnonzero(bare_end)]
        which = np.concatenate(same)
        return cls(
            np.concatenate(flat),
            np.concatenate([end[~arc], *flat[1:]]),
            along[which],
            np.append(length[~arc], zero),
            right[which],
            np.stack(
                [
                    np.concatenate([at_start[~arc], at_start[bare_start], at_end[bare_end]]),
                    np.concatenate([at_end[~arc], at_start[bare_start], at_end[bare_end]]),
                ]
            ),
            (start[arc] + end[arc]) / 2 - right[arc] * (c * (1 - b**2) / (4 * b))[:, None],
            c * (1 + b**2) / (4 * np.abs(b)),
            right[arc] * np.sign(b)[:, None],
            np.cos(2 * np.arctan(np.abs(b))),
            np.sign(b),
        )

    def nearest(self, xy: Float) -> tuple[Float, Float]:
        s = xy @ self.along.T - (self.start * self.along).sum(1)
        beyond = np.maximum(np.abs(s - self.length / 2) - self.length / 2, 0)
        across = xy @ self.normal.T - (self.start * self.normal).sum(1)
        table = (
            np.hypot(across, beyond)
            if not len(self.radius)
            else np.concatenate([np.sqrt(across * across + beyond * beyond), self._to_arcs(xy)], axis=1)
        )
        best = table.argmin(1)
        rows = np.arange(len(xy))
        distance, gradient = np.empty(len(xy)), np.empty((len(xy), 2))
        on_arc = best >= len(self.length)
        k = best[on_arc] - len(self.length)
        outward = xy[on_arc] - self.centre[k]
        from_centre = np.maximum(np.linalg.norm(outward, axis=1), _ON_CORNER)
        distance[on_arc] = self.convex[k] * (from_centre - self.radius[k])
        gradient[on_arc] = (self.convex[k] / from_centre)[:, None] * outward
        flat = ~on_arc
        k = best[flat]
        gradient[flat], distance[flat] = self.normal[k], across[rows[flat], k]
        corner = rows[flat][(beyond[rows[flat], k] > 0) | (self.length[k] == 0)]
        distance[corner], gradient[corner] = self._from_corner(xy[corner], best[corner], s[corner, best[corner]])
        return distance, gradient

    def _to_arcs(self, xy: Float) -> Float:
        dx, dy = xy[:, :1] - self.centre[:, 0], xy[:, 1:] - self.centre[:, 1]
        from_centre = np.sqrt(dx * dx + dy * dy)
        inside_angle = dx * self.middle[:, 0] + dy * self.middle[:, 1] >= from_centre * self.cos
        return np.where(inside_angle, np.abs(from_centre - self.radius), np.inf)

    def _from_corner(self, xy: Float, k: NDArray[np.intp], s: Float) -> tuple[Float, Float]:
        at_end = (s > self.length[k] / 2).astype(np.intp)
        away = xy - np.where(at_end[:, None] == 1, self.end[k], self.start[k])
        normal = self.corners[at_end, k]
        distance = np.linalg.norm(away, axis=1)
        sign = np.where((away * normal).sum(1) < 0, -1.0, 1.0)
        at_corner = distance < _ON_CORNER
        away[at_corner], distance[at_corner] = normal[at_corner], np.linalg.norm(normal[at_corner], axis=1)
        gradient = (sign / distance)[:, None] * away
        return np.where(at_corner, 0.0, sign * distance), gradient


def _loop_pieces(loop: Float, half: bool) -> tuple[NDArray[Any], ...]:
    """Start, end and bulge of each piece, the sums of the normals at its ends, and which ends touch no straight piece.

    Of an end that two arcs share, only the start of the second is marked.
    """
    start, end, bulge = loop[:, :2], np.roll(loop[:, :2], -1, 0), loop[:, 2]
    if half:  # no piece along the axis
        start, end, bulge = start[:-1], end[:-1], bulge[:-1]
    chord = end - start
    if (np.linalg.norm(chord, axis=1) == 0).any():
        raise NfbenchError("An outline has two equal vertices in a row.", "Drop one of them.")
    angle = np.arctan2(-chord[:, 0], chord[:, 1])  # of the normal: the direction turned right
    swing = 2 * np.arctan(bulge)
    first, last = (np.stack([np.cos(a), np.sin(a)], 1) for a in (angle - swing, angle + swing))
    at_start, at_end = first + np.roll(last, 1, 0), last + np.roll(first, -1, 0)
    arc = bulge != 0
    bare_start, bare_end = arc & np.roll(arc, 1), np.zeros_like(arc)
    if half:  # beyond the axis lies the mirror image
        at_start[0], at_end[-1] = first[0] * (0, 2), last[-1] * (0, 2)
        bare_start[0], bare_end[-1] = arc[0], arc[-1]
    return start, end, bulge, at_start, at_end, bare_start, bare_end
