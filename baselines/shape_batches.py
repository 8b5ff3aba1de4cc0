"""Training batches for methods that learn shapes from what is given of them and from points inside and outside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.image import flattened
from nfbench.harness.scene import Points, Scene, Views, Voxels

_Array = NDArray[np.float32]
_NEAR = 0.08  # longest edges of the surface: about as far as 300 points lie from each other on it
_KEPT_BYTES = 2 << 30  # of decoded pictures; views beyond that are decoded whenever they are drawn

G = TypeVar("G")


@dataclass(frozen=True, eq=False)
class Shape(Generic[G]):
    """One training shape.

    Attributes:
        given: what a method sees of it.
        xyz: (P,3) float32 points in space.
        inside: (P,) whether they lie inside.
        near: the rows of xyz that are close to the surface; all, where none is or none was asked for.
    """

    given: G
    xyz: _Array
    inside: NDArray[np.bool_]
    near: NDArray[np.intp]

    @classmethod
    def of(cls, scene: Scene, given: G, surface: _Array | None = None) -> Shape[G]:
        """The shape of a training scene.

        Args:
            scene: with samples.
            given: what a method sees of it.
            surface: (N,3) points of its surface, to tell which samples are close to it; None where nobody asks.

        Raises:
            DataMissing: the scene gives no samples.
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
        close = np.arange(0)
        if surface is not None and len(surface):
            bound = _NEAR * np.ptp(surface, axis=0).max()
            close = np.flatnonzero(np.isfinite(cKDTree(surface).query(samples.xyz, distance_upper_bound=bound)[0]))
        return cls(given, samples.xyz, inside, close if len(close) else np.arange(len(inside)))


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


def views_of(scene: Scene) -> Views:
    """The views that a scene gives.

    Raises:
        DataMissing: it gives none.
    """
    if scene.given.views is None or not len(scene.given.views):
        raise DataMissing(
            f"Scene {scene.name!r} gives no image.",
            "Use a task that gives an image of a shape, procedural-shapes/image-to-shape for one.",
        )
    return scene.given.views


def voxels_of(scene: Scene, along: int) -> Voxels:
    """The voxels that a scene gives.

    Raises:
        DataMissing: it gives none.
        Unsupported: there are not `along` of them along an edge.
    """
    voxels = scene.given.voxels
    if voxels is None:
        raise DataMissing(
            f"Scene {scene.name!r} gives no voxels.",
            "Use a task that gives voxels, procedural-shapes/voxels-to-shape for one.",
        )
    if len(voxels) != along:
        raise Unsupported(
            f"Scene {scene.name!r} gives {len(voxels)} voxels along an edge, and the network takes {along}.",
            f"Set voxels={len(voxels)} to learn from such scenes, or give voxels of the other resolution.",
        )
    return voxels


def border(voxels: Voxels) -> _Array:
    """The centres (N,3) of the filled voxels that have an empty neighbour or none."""
    shell = voxels.filled & ~binary_erosion(voxels.filled)
    return voxels.centres()[shell.reshape(-1)]


# --------------------------------------------------------------------------------------------------------- batches


class ShapeBatches(ABC, Generic[G]):
    """Batches without end, the same for the same seed. Their state can be kept, so that training goes on from there.

    What is given of a shape and its points in space go through the same map where shapes are varied.
    """

    def __init__(
        self, shapes: Sequence[Shape[G]], batch: int, query_points: int, *, near: float = 0.0, seed: int = 0
    ) -> None:
        """Prepare to draw.

        Args:
            shapes: to draw from, in fresh permutations.
            batch: shapes a batch.
            query_points: points in space for each shape.
            near: the part of the query points that is drawn close to the surface.
            seed: of all draws.
        """
        self.shapes, self.batch, self.query_points, self.near = shapes, batch, query_points, near
        self._rng = np.random.default_rng(seed)
        self._queue: list[int] = []

    def __iter__(self) -> Iterator[tuple[NDArray[Any], _Array, _Array]]:
        return self

    def __next__(self) -> tuple[NDArray[Any], _Array, _Array]:
        """What is given of B shapes, query points (B,T,3) float32 and their occupancy (B,T) float32."""
        while len(self._queue) < self.batch:
            self._queue += self._rng.permutation(len(self.shapes)).tolist()
        taken, self._queue = self._queue[: self.batch], self._queue[self.batch :]
        rows = [self._rows(self.shapes[i]) for i in taken]
        xyz = np.stack([self.shapes[i].xyz[at] for i, at in zip(taken, rows, strict=True)])
        inside = np.stack([self.shapes[i].inside[at] for i, at in zip(taken, rows, strict=True)])
        given, xyz = self._drawn(taken, xyz, self._rng)
        return given, xyz, inside.astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Where the draws are."""
        return {"generator": dict(self._rng.bit_generator.state), "queue": list(self._queue)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` gave."""
        self._rng.bit_generator.state = state["generator"]
        self._queue = [int(i) for i in state["queue"]]

    def _rows(self, shape: Shape[G]) -> NDArray[np.intp]:
        close = round(self.near * self.query_points)
        anywhere = self._rng.integers(len(shape.xyz), size=self.query_points - close)
        return np.concatenate([self._rng.choice(shape.near, close), anywhere])

    @abstractmethod
    def _drawn(self, taken: list[int], xyz: _Array, rng: np.random.Generator) -> tuple[NDArray[Any], _Array]:
        """What is given of the shapes `taken`, and their query points (B,T,3), varied alike."""


class CloudBatches(ShapeBatches[_Array]):
    """Clouds (B,N,3) float32, subsampled anew for every batch."""

    def __init__(
        self,
        shapes: Sequence[Shape[_Array]],
        batch: int,
        query_points: int,
        input_points: int,
        *,
        noise: float = 0.0,
        near: float = 0.0,
        turn: int | None = None,
        stretch: float = 0.0,
        seed: int = 0,
    ) -> None:
        """Prepare to draw; see `ShapeBatches` for what is not told here.

        Args:
            shapes: given as clouds.
            batch: shapes a batch.
            query_points: for each shape.
            input_points: points of each cloud.
            noise: standard deviation, in scene units, added to the cloud.
            near: part of the query points close to the cloud.
            turn: the axis (0, 1, 2) about which shapes are turned and along which plane mirrored; None for not.
            stretch: standard deviation of the logarithm of random factors along the axes.
            seed: of all draws.
        """
        super().__init__(shapes, batch, query_points, near=near, seed=seed)
        self.input_points, self.noise, self.turn, self.stretch = input_points, noise, turn, stretch

    def _drawn(self, taken: list[int], xyz: _Array, rng: np.random.Generator) -> tuple[NDArray[Any], _Array]:
        clouds = [subset(self.shapes[i].given, self.input_points, self.noise, rng) for i in taken]
        return varied(np.stack(clouds), xyz, self.turn, self.stretch, rng)


class ImageBatches(ShapeBatches[Views]):
    """Pictures (B,3,S,S) uint8, of each shape a random one of its views."""

    def __init__(
        self,
        shapes: Sequence[Shape[Views]],
        batch: int,
        query_points: int,
        backgrounds: Sequence[tuple[float, float, float]],
        side: int,
        *,
        recolour: bool = False,
        seed: int = 0,
    ) -> None:
        """Prepare to draw; see `ShapeBatches` for what is not told here.

        Args:
            shapes: given as views.
            batch: shapes a batch.
            query_points: for each shape.
            backgrounds: of each shape's pictures, sRGB in [0,1].
            side: pixels along an edge.
            recolour: exchanges the channels of the pictures at random.
            seed: of all draws.
        """
        super().__init__(shapes, batch, query_points, seed=seed)
        self.backgrounds, self.side, self.recolour = backgrounds, side, recolour
        self._pictures: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def _drawn(self, taken: list[int], xyz: _Array, rng: np.random.Generator) -> tuple[NDArray[Any], _Array]:
        pictures = [self._picture(i, int(rng.integers(len(self.shapes[i].given)))) for i in taken]
        if self.recolour:
            pictures = [picture[rng.permutation(3)] for picture in pictures]
        return np.stack(pictures), xyz

    def _picture(self, shape: int, view: int) -> NDArray[np.uint8]:
        found = self._pictures.get((shape, view))
        if found is None:
            found = picture(self.shapes[shape].given, view, self.backgrounds[shape], self.side)
            if (len(self._pictures) + 1) * found.nbytes <= _KEPT_BYTES:
                self._pictures[shape, view] = found
        return found


class VoxelBatches(ShapeBatches[Voxels]):
    """Voxels (B,R,R,R) bool."""

    def __init__(
        self,
        shapes: Sequence[Shape[Voxels]],
        batch: int,
        query_points: int,
        *,
        near: float = 0.0,
        turn: int | None = None,
        seed: int = 0,
    ) -> None:
        """Prepare to draw; see `ShapeBatches` for what is not told here.

        Args:
            shapes: given as voxels.
            batch: shapes a batch.
            query_points: for each shape.
            near: part of the query points close to the border of what is filled.
            turn: the axis (0, 1, 2) about which shapes are turned, by quarters, and mirrored; None for not.
            seed: of all draws.
        """
        super().__init__(shapes, batch, query_points, near=near, seed=seed)
        self.turn = turn

    def _drawn(self, taken: list[int], xyz: _Array, rng: np.random.Generator) -> tuple[NDArray[Any], _Array]:
        given = [self.shapes[i].given for i in taken]
        if self.turn is None:
            return np.stack([voxels.filled for voxels in given]), xyz
        turned = [quarter_turned(v, p, self.turn, rng) for v, p in zip(given, xyz, strict=True)]
        return np.stack([filled for filled, _ in turned]), np.stack([points for _, points in turned])


# ----------------------------------------------------------------------------------------------------------- inputs


def picture(views: Views, index: int, background: tuple[float, float, float], side: int) -> NDArray[np.uint8]:
    """One view as (3,side,side) uint8 sRGB on a background, its middle where it is no square."""
    image = Pillow.fromarray(flattened(views.image(index), background))
    edge = min(image.size)
    left, top = (image.width - edge) // 2, (image.height - edge) // 2
    square = image.crop((left, top, left + edge, top + edge)).resize((side, side), Pillow.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def quarter_turned(
    voxels: Voxels, xyz: _Array, axis: int, rng: np.random.Generator
) -> tuple[NDArray[np.bool_], _Array]:
    """Voxels (R,R,R) and points (T,3) after a random number of quarter turns about an axis through the box's centre.

    Every other one is mirrored, on average. In a box that is no square across the axis only half turns are made.
    """
    a, b = (axis + 1) % 3, (axis + 2) % 3
    edges, centre = voxels.box[1] - voxels.box[0], voxels.box.mean(0)
    quarters, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    if not np.isclose(edges[a], edges[b], rtol=1e-5):
        quarters = 2 * (quarters // 2)
    filled = np.rot90(voxels.filled, quarters, axes=(a, b))
    points = xyz - centre
    for _ in range(quarters):
        points[:, a], points[:, b] = -points[:, b], points[:, a].copy()
    if mirrored:
        filled = np.flip(filled, a)
        points[:, a] *= -1
    return np.ascontiguousarray(filled), (points + centre).astype(np.float32)


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
