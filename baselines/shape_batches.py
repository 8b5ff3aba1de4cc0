"""Training batches for methods that learn shapes from clouds and from points inside and outside of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.scene import Points, Scene

_Array = NDArray[np.float32]
_NEAR = 0.08  # longest edges of the cloud: about as far as 300 points lie from each other on a surface


@dataclass(frozen=True, eq=False)
class Shape:
    """One training shape.

    Attributes:
        cloud: (N,3) float32 points of its surface.
        xyz: (P,3) float32 points in space.
        inside: (P,) whether they lie inside.
        near: the rows of xyz that are close to the cloud; all, where none is or none was asked for.
    """

    cloud: _Array
    xyz: _Array
    inside: NDArray[np.bool_]
    near: NDArray[np.intp]

    @classmethod
    def of(cls, scene: Scene, near: float) -> Shape:
        """The shape of a training scene; what is close to the cloud is looked for only where `near` is above 0.

        Raises:
            DataMissing: the scene gives no cloud or no samples.
            Unsupported: samples that tell no inside.
        """
        samples = scene.given.samples
        if samples is None or samples.value is None or not len(samples):
            raise DataMissing(
                f"Training scene {scene.name!r} has no samples of its inside and outside.",
                "Use a task whose training scenes give occupancy or signed distance samples.",
            )
        if samples.kind not in ("occupancy", "sdf"):
            raise Unsupported(
                f"The samples of training scene {scene.name!r} are {samples.kind} values, which tell no inside.",
                "Give it occupancy or signed distance samples.",
            )
        inside = samples.value < 0 if samples.kind == "sdf" else samples.value >= 0.5
        cloud = cloud_of(scene).xyz
        close = np.arange(0)
        if near > 0:
            bound = _NEAR * np.ptp(cloud, axis=0).max()
            close = np.flatnonzero(np.isfinite(cKDTree(cloud).query(samples.xyz, distance_upper_bound=bound)[0]))
        return cls(cloud, samples.xyz, inside, close if len(close) else np.arange(len(inside)))


def cloud_of(scene: Scene) -> Points:
    """The point cloud that a scene gives.

    Raises:
        DataMissing: it gives none.
    """
    if scene.given.cloud is None or not len(scene.given.cloud):
        raise DataMissing(
            f"Scene {scene.name!r} gives no point cloud.",
            "Use a task that gives a cloud, procedural-shapes/points-to-shape for one.",
        )
    return scene.given.cloud


@dataclass(frozen=True)
class ShapeBatches:
    """Batches without end, the same for the same seed.

    Attributes:
        shapes: to draw from, in fresh permutations.
        batch: shapes a batch.
        query_points: points in space for each shape.
        input_points: points of each cloud.
        noise: standard deviation, in scene units, added to the cloud.
        near: the part of the query points that is drawn close to the cloud.
        turn: the axis (0, 1, 2) about which shapes are turned and along which plane mirrored at random; None for not.
        stretch: standard deviation of the logarithm of random factors along the axes.
        seed: of all of this.
    """

    shapes: Sequence[Shape]
    batch: int
    query_points: int
    input_points: int
    noise: float = 0.0
    near: float = 0.0
    turn: int | None = None
    stretch: float = 0.0
    seed: int = 0

    def __iter__(self) -> Iterator[tuple[_Array, _Array, _Array]]:
        """Clouds (B,N,3), query points (B,T,3) and their occupancy (B,T), all float32."""
        rng = np.random.default_rng(self.seed)
        queue: list[int] = []
        while True:
            while len(queue) < self.batch:
                queue += rng.permutation(len(self.shapes)).tolist()
            taken, queue = [self.shapes[i] for i in queue[: self.batch]], queue[self.batch :]
            rows = [self._rows(shape, rng) for shape in taken]
            cloud = np.stack([subset(shape.cloud, self.input_points, self.noise, rng) for shape in taken])
            xyz = np.stack([shape.xyz[at] for shape, at in zip(taken, rows, strict=True)])
            inside = np.stack([shape.inside[at] for shape, at in zip(taken, rows, strict=True)])
            yield *varied(cloud, xyz, self.turn, self.stretch, rng), inside.astype(np.float32)

    def _rows(self, shape: Shape, rng: np.random.Generator) -> NDArray[np.intp]:
        close = round(self.near * self.query_points)
        anywhere = rng.integers(len(shape.xyz), size=self.query_points - close)
        return np.concatenate([rng.choice(shape.near, close), anywhere])


def subset(cloud: _Array, count: int, noise: float, rng: np.random.Generator) -> _Array:
    """`count` points of a cloud (N,3), with noise; points come again where it has fewer, which alters no maximum."""
    n = len(cloud)
    points = cloud[rng.permutation(n)[:count] if n >= count else np.arange(count) % n]
    if noise > 0:
        points = points + rng.normal(0, noise, points.shape).astype(np.float32)
    return points


def varied(
    cloud: _Array, xyz: _Array, turn: int | None, stretch: float, rng: np.random.Generator
) -> tuple[_Array, _Array]:
    """Clouds (B,N,3) and query points (B,T,3) after one random linear map for each shape.

    A map of all space takes the inside to the inside, so the occupancy of the query points stays as it was. The
    longest edge of each cloud keeps its length.
    """
    if turn is None and stretch == 0:
        return cloud, xyz
    matrix = np.exp(rng.normal(0, stretch, (len(cloud), 3)))[:, :, None] * np.eye(3)
    if turn is not None:
        matrix = matrix @ _turns(len(cloud), turn, rng)
    mapped = cloud @ matrix.transpose(0, 2, 1)
    matrix *= (np.ptp(cloud, axis=1).max(-1) / np.maximum(np.ptp(mapped, axis=1).max(-1), 1e-6))[:, None, None]
    maps = matrix.transpose(0, 2, 1).astype(np.float32)
    return cloud @ maps, xyz @ maps


def _turns(size: int, axis: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(size,3,3) rotations about `axis` by any angle, every other one of them mirrored, on average."""
    a, b = (axis + 1) % 3, (axis + 2) % 3
    angle, mirror = rng.uniform(0, 2 * np.pi, size), rng.choice([-1.0, 1.0], size)
    turns = np.tile(np.eye(3), (size, 1, 1))
    turns[:, a, a], turns[:, a, b] = np.cos(angle), -np.sin(angle) * mirror
    turns[:, b, a], turns[:, b, b] = np.sin(angle), np.cos(angle) * mirror
    return turns
