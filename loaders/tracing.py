"""Exact pictures and samples of a solid: sphere tracing (Hart 1996), marching cubes, projection onto the surface."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, rays
from nfbench.harness.errors import NfbenchError
from nfbench.harness.scene import Views
from nfbench.loaders.distance import Sampled, Solid
from nfbench.loaders.shading import Gloss, Texture, shade

Float = NDArray[np.float64]

HIT = 1e-5  # scene units: a ray this near to the surface has met it; one Newton step then brings it on it
_PATIENCE = 100  # steps after which a ray that grazes the surface may be let off, where the caller says so
_MOST_STEPS = 4000  # a ray that grazes the surface needs hundreds
_CELLS = 96  # along the cube in which steps and surface points are looked for
_COARSER = 4  # of these make one of the cells of a first look
_PROJECTIONS = 3  # Newton steps from marching cubes to the surface; the first does nearly all


def trace(solid: Solid, origins: NDArray[np.floating], directions: NDArray[np.floating], grazing: float = HIT) -> Float:
    """Distances (P,) along rays to where they first meet the solid from outside, inf where they miss it.

    Sphere tracing (Hart 1996, "Sphere tracing"): every step is the distance to the surface, so none passes it. Far
    from the surface, a table of lower bounds of the distance stands in for the distance itself.

    Args:
        solid: what is met.
        origins: (P,3), outside the solid, scene units.
        directions: (P,3) unit vectors.
        grazing: how near to the surface a ray has met it after a hundred steps, scene units. Flat faces seen edge-on
            have rays beside them that take thousands; where a pixel is far wider, this spares them.

    Raises:
        NfbenchError: a ray that starts inside.
    """
    start, way = np.asarray(origins, np.float64), np.asarray(directions, np.float64)
    depth = np.full(len(start), np.inf)
    middle = -(start * way).sum(1)
    inside = solid.radius**2 - (start**2).sum(1) + middle**2
    half = np.sqrt(np.maximum(inside, 0))
    ray = np.flatnonzero((inside > 0) & (middle + half > 0))
    at, last = np.maximum(middle - half, 0)[ray], (middle + half)[ray]
    step = _Steps(solid)
    for turn in range(_MOST_STEPS):
        if not len(ray):
            return depth
        xyz = start[ray] + at[:, None] * way[ray]
        distance = step(xyz)
        if distance.min() < -HIT:
            raise NfbenchError("A ray starts inside the solid.", "Put the cameras outside.")
        hit = distance < (HIT if turn < _PATIENCE else max(HIT, grazing))
        if hit.any():
            depth[ray[hit]] = at[hit] + _last_step(solid, xyz[hit], way[ray[hit]], distance[hit])
        at = at + distance
        on = ~hit & (at < last)
        ray, at, last = ray[on], at[on], last[on]
    return depth  # what is left has grazed the surface for thousands of steps without meeting it


def _last_step(solid: Solid, xyz: Float, way: Float, distance: Float) -> Float:
    """Newton's step onto the surface (P,), none where it would not bring the point nearer, as on a grazing ray."""
    slope = -(solid.gradient(xyz) * way).sum(1)
    step = np.where(slope > HIT, distance / np.maximum(slope, HIT), 0)
    left = solid.distance(xyz + step[:, None] * way)
    return np.where(np.abs(left) < np.abs(distance), step, 0)


class _Steps:
    """Lengths (P,) that a ray at `xyz` (P,3) may go: the exact distance near the surface, a lower bound elsewhere."""

    def __init__(self, solid: Solid) -> None:
        self.solid = solid
        self.cell = 2 * solid.radius / _CELLS
        self.slack = self.cell * np.sqrt(3) / 2
        distance, exact = _near_surface(solid, solid.radius, 0.0)
        self.table = (distance - np.where(exact, self.slack, self.slack * _COARSER)).ravel()

    def __call__(self, xyz: Float) -> Float:
        index = np.clip(((xyz + self.solid.radius) / self.cell).astype(np.intp), 0, _CELLS - 1)
        length: Float = self.table[(index[:, 0] * _CELLS + index[:, 1]) * _CELLS + index[:, 2]]
        near = np.flatnonzero(length < self.slack / 2)
        length[near] = self.solid.distance(xyz[near])
        return length


def _near_surface(solid: Solid, edge: float, within: float) -> tuple[Float, NDArray[np.bool_]]:
    """Distances at the centres of the cells of the cube of half edge `edge` (C,C,C), and which of them are exact.

    All are that lie `within` scene units of the surface; the others are distances at the centre of a cell that is
    4 times as wide and holds them.
    """
    cell = 2 * edge / _CELLS
    wide = (np.arange(_CELLS // _COARSER, dtype=np.float64) + 0.5) * _COARSER * cell - edge
    coarse = solid.distance(_lattice(wide)).reshape([len(wide)] * 3)
    of = np.arange(_CELLS) // _COARSER
    distance = coarse[np.ix_(of, of, of)]
    exact = np.abs(distance) <= within + _COARSER * cell * np.sqrt(3) / 2
    at = np.argwhere(exact).astype(np.float64)
    distance[exact] = solid.distance((at + 0.5) * cell - edge)
    return distance, exact


def render(
    solid: Solid, texture: Texture, cameras: Cameras, names: tuple[str, ...] = (), gloss: Gloss | None = None
) -> Views:
    """Views of a solid: RGBA uint8 with alpha 0 or 255, masks and exact depth, one ray through each pixel's centre.

    Args:
        solid: exact signed distance; see nfbench.loaders.distance.
        texture: points (P,3) to sRGB colours (P,3) in [0,1].
        cameras: N cameras outside the solid.
        names: of the views; `000`, `001`, ... when left out.
        gloss: the material and its lights.
    """
    images, depths = render_arrays(solid, texture, cameras, gloss)
    names = names or tuple(f"{i:03d}" for i in range(len(cameras)))
    return views_of(cameras, names, images.__getitem__, depths.__getitem__)


def views_of(
    cameras: Cameras,
    names: tuple[str, ...],
    image: Callable[[int], NDArray[np.uint8]],
    depth: Callable[[int], NDArray[np.float32]],
) -> Views:
    """Views whose masks are where `depth` (H,W) of a view is finite."""
    return Views(cameras, names, image, lambda i: np.isfinite(depth(i)), depth)


def render_arrays(
    solid: Solid, texture: Texture, cameras: Cameras, gloss: Gloss | None = None, grazing: float = HIT
) -> tuple[list[NDArray[np.uint8]], list[NDArray[np.float32]]]:
    """RGBA images (H,W,4) and depths along the ray (H,W), inf on background, of each camera; `grazing` as `trace`."""
    parts = [rays(cameras, i) for i in range(len(cameras))]
    origins, directions = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    depth = trace(solid, origins, directions, grazing)
    hit = np.isfinite(depth)
    xyz = origins[hit] + depth[hit, None] * directions[hit]
    colour = shade(texture(xyz), solid.gradient(xyz), -directions[hit], gloss)
    rgba = np.zeros((len(depth), 4), np.uint8)
    rgba[hit, :3], rgba[hit, 3] = np.round(colour * 255), 255
    ends = np.cumsum(cameras.size.prod(axis=1))[:-1]
    shapes = [(int(h), int(w)) for w, h in cameras.size]
    images = [part.reshape(*shape, 4) for part, shape in zip(np.split(rgba, ends), shapes, strict=True)]
    depths = [part.reshape(shape) for part, shape in zip(np.split(depth.astype(np.float32), ends), shapes, strict=True)]
    return images, depths


def sample_surface(solid: Solid, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
    """Points (count,3) on the surface, uniform by area, and their outward unit normals (count,3).

    A solid that draws its own points does so. Of another, points uniform by area on a marching-cubes mesh are moved
    onto the surface along the gradient; their density is off by about (cell * curvature)**2 / 8.
    """
    if isinstance(solid, Sampled):
        return solid.sample(count, rng)
    return sample_mesh(solid, surface_mesh(solid), count, rng)


def sample_mesh(solid: Solid, triangles: Float, count: int, rng: np.random.Generator) -> tuple[Float, Float]:
    """As `sample_surface`, from triangles (F,3,3) next to the surface."""
    xyz = _on_triangles(triangles, count, rng)
    for _ in range(_PROJECTIONS):
        xyz = xyz - solid.distance(xyz)[:, None] * solid.gradient(xyz)
    return xyz, solid.gradient(xyz)


def surface_mesh(solid: Solid) -> Float:
    """Triangles (F,3,3) of the zero set by marching cubes."""
    from skimage.measure import marching_cubes

    edge = solid.radius * _CELLS / (_CELLS - 4)  # two cells outside on each side
    cell = 2 * edge / _CELLS
    volume, _ = _near_surface(solid, edge, 2 * cell)
    vertices, faces, _, _ = marching_cubes(volume, 0.0)  # type: ignore[no-untyped-call]
    triangles: Float = ((np.asarray(vertices, np.float64) + 0.5) * cell - edge)[faces]
    return triangles


def _on_triangles(triangles: Float, count: int, rng: np.random.Generator) -> Float:
    sides = triangles[:, 1:] - triangles[:, :1]
    area = areas(triangles)
    chosen = rng.choice(len(area), count, p=area / area.sum())
    weight = rng.random((count, 2))
    beyond = weight.sum(1) > 1
    weight[beyond] = 1 - weight[beyond]
    points: Float = triangles[chosen, 0] + (weight[:, :, None] * sides[chosen]).sum(1)
    return points


def areas(triangles: Float) -> Float:
    """The areas (F,) of triangles (F,3,3), square scene units."""
    sides = triangles[:, 1:] - triangles[:, :1]
    area: Float = np.linalg.norm(np.cross(sides[:, 0], sides[:, 1]), axis=1) / 2
    return area


def _lattice(line: Float) -> Float:
    """(N^3,3), the points of a cubic lattice with coordinates `line` (N,), z fastest."""
    return np.stack(np.meshgrid(line, line, line, indexing="ij"), axis=-1).reshape(-1, 3)
