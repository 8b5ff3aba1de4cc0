"""Training batches for methods that learn a category from posed images of its objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from nfbench.baselines.floor import training_views
from nfbench.harness.camera import Cameras, pixel_grid, rays
from nfbench.harness.decoded import DecodedViews
from nfbench.harness.errors import Unsupported
from nfbench.harness.scene import Float, Scene


class Bundle(NamedTuple):
    """R rays for each of B objects, float32 but for `objects`.

    Attributes:
        objects: (B,) int64, which objects.
        origins: (B,R,3), scene units.
        directions: (B,R,3) unit vectors.
        cosines: (B,R), of the angle between ray and optical axis: depth along the axis is distance times this.
        near: (B,R), distance along the ray at which the scene may begin, scene units.
        colours: (B,R,3), sRGB in [0,1].
    """

    objects: Tensor
    origins: Tensor
    directions: Tensor
    cosines: Tensor
    near: Tensor
    colours: Tensor

    def to(self, device: str) -> Bundle:
        """The same on a device."""
        return Bundle(*(tensor.to(device) for tensor in self))

    def part(self, rows: slice) -> Bundle:
        """The same objects with some of the rays of each."""
        return Bundle(self.objects, *(tensor[:, rows] for tensor in self[1:]))


def near_distances(cameras: Cameras, box: Float) -> Float:
    """(N,) float32: where the scene begins, by the cameras, else where the sphere around `box` (2,3) begins."""
    if cameras.near_far is not None:
        near: Float = cameras.near_far[:, 0]
        return near
    middle, radius = box.mean(0), float(np.linalg.norm(box[1] - box[0])) / 2
    apart: Float = np.linalg.norm(cameras.centres - middle, axis=1).astype(np.float32)
    beyond: Float = np.maximum(apart - np.float32(radius), 0)
    return beyond


@dataclass(frozen=True)
class _Object:
    """The views of one object, their pixels, and what their rays need."""

    name: str
    pixels: DecodedViews
    turned: NDArray[np.float64]  # (V,3,3), from a pixel (x, y, 1) to a direction in the world, of any length
    near: Float  # (V,)
    bent: bool  # whether a lens bends any view's rays

    @classmethod
    def of(cls, scene: Scene, method: str) -> _Object:
        views = training_views(scene, method)
        cameras = views.cameras
        turned = cameras.c2w[:, :, :3].astype(np.float64) @ np.linalg.inv(cameras.K.astype(np.float64))
        bent = any(cameras.lens(i) is not None for i in range(len(cameras)))
        pixels = DecodedViews(views, scene.background)
        return cls(scene.name, pixels, turned, near_distances(cameras, scene.box), bent)

    def directions(self, view: NDArray[np.int64], xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Unit directions (R,3) through the image points `xy` (R,2) of the views (R,)."""
        if self.bent:
            found = np.empty((len(xy), 3))
            for index in np.unique(view).tolist():
                of_view = view == index
                found[of_view] = rays(self.pixels.views.cameras, index, xy[of_view])[1]
            return found
        found = self.turned[view, :, 2] + xy[:, :1] * self.turned[view, :, 0] + xy[:, 1:] * self.turned[view, :, 1]
        return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    def rays(self, view: NDArray[np.int64], xy: NDArray[np.float64]) -> tuple[NDArray[np.floating], ...]:
        """Origins, directions (R,3), cosines and near (R,) of the rays through `xy` (R,2) of the views (R,)."""
        cameras, directions = self.pixels.views.cameras, self.directions(view, xy)
        cosines = (directions * cameras.c2w[view, :, 2]).sum(1)
        return cameras.centres[view], directions, cosines, self.near[view]


class ObjectViews:
    """Draws rays with their colours from the views of many objects; the order is kept in its state.

    Args:
        scenes: one for each object; images are decoded when they are first drawn.
        offset: where in a pixel its ray goes through, from its upper left corner: 0.5 is the centre.
        seed: of all that is drawn.
        method: who asks, for the messages.

    Raises:
        DataMissing: a scene without views; it is named.
    """

    def __init__(self, scenes: Sequence[Scene], offset: float, seed: int, method: str) -> None:
        self._objects = [_Object.of(scene, method) for scene in scenes]
        self._offset = offset
        self._rng = np.random.default_rng(seed)
        counts = [len(item.pixels) for item in self._objects]
        self._images = np.stack([np.repeat(np.arange(len(counts)), counts), np.concatenate([*map(np.arange, counts)])])
        self._queues: dict[str, list[int]] = {"images": [], "objects": []}

    def __len__(self) -> int:
        """How many objects there are."""
        return len(self._objects)

    def images(self, count: int, side: int) -> Bundle:
        """All rays of `count` images, of any object, in fresh permutations of all images of all objects.

        Args:
            count: how many images.
            side: pixels along the longer edge, to which larger images are reduced; their pixels are averaged.

        Raises:
            Unsupported: the images are not all of one size.
        """
        drawn = [self._images[:, i].tolist() for i in self._drawn("images", len(self._images[0]), count)]
        parts = [self._image(self._objects[item], view, side) for item, view in drawn]
        if len({len(part[0]) for part in parts}) > 1:
            names = sorted({self._objects[item].name for item, _ in drawn})
            raise Unsupported(
                f"The views of {', '.join(names[:3])} are not all of one size.",
                "Give images of one size, or train on single rays (config field `rays`).",
            )
        return _bundle([item for item, _ in drawn], parts)

    def rays(self, count: int, each: int) -> Bundle:
        """`each` rays through random pixels of all views of each of `count` objects, in fresh permutations of them.

        Where there are fewer objects, some come more than once, with other rays.
        """
        drawn = self._drawn("objects", len(self), count)
        return _bundle(drawn, [self._random(self._objects[item], each) for item in drawn])

    def state_dict(self) -> dict[str, Any]:
        """What was drawn so far, as far as it decides what comes next."""
        return {"queues": {name: list(queue) for name, queue in self._queues.items()}, "rng": self._rng_state()}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from a state that `state_dict` gave."""
        self._queues = {name: list(queue) for name, queue in state["queues"].items()}
        self._rng.bit_generator.state = state["rng"]

    def _rng_state(self) -> Any:  # noqa: ANN401
        return self._rng.bit_generator.state

    def _drawn(self, queue: Literal["images", "objects"], total: int, count: int) -> list[int]:
        waiting = self._queues[queue]
        while len(waiting) < count:
            waiting = waiting + self._rng.permutation(total).tolist()
        self._queues[queue] = waiting[count:]
        return waiting[:count]

    def _random(self, item: _Object, count: int) -> tuple[NDArray[np.floating], ...]:
        pixels = item.pixels
        place = self._rng.integers(0, pixels.starts[-1], count)
        view = np.searchsorted(pixels.starts, place, side="right") - 1
        row, column = np.divmod(place - pixels.starts[view], pixels.widths[view])
        xy = np.stack([column, row], axis=1) + self._offset
        return *item.rays(view, xy), pixels.at(place).astype(np.float32) / 255

    def _image(self, item: _Object, view: int, side: int) -> tuple[NDArray[np.floating], ...]:
        image = item.pixels.image(view)
        size = np.array(image.shape[1::-1])
        small = np.maximum(np.rint(size * min(1.0, side / size.max())).astype(int), 1)
        if (small != size).any():
            image = np.asarray(Image.fromarray(image).resize(tuple(small.tolist()), Image.Resampling.BOX))
        xy = (pixel_grid(*small.tolist()).astype(np.float64) - 0.5 + self._offset) * (size / small)
        views = np.full(len(xy), view)
        return *item.rays(views, xy), image.reshape(-1, 3).astype(np.float32) / 255


def _bundle(objects: Sequence[int], parts: Sequence[tuple[NDArray[np.floating], ...]]) -> Bundle:
    stacked = (torch.from_numpy(np.stack(arrays).astype(np.float32)) for arrays in zip(*parts, strict=True))
    return Bundle(torch.tensor(objects), *stacked)


def camera_bundle(cameras: Cameras, index: int, box: Float, offset: float) -> Bundle:
    """All rays of one camera, row by row, as a bundle of one object without colours: zeros stand for them."""
    width, height = cameras.size[index].tolist()
    origins, directions = rays(cameras, index, pixel_grid(width, height).astype(np.float64) - 0.5 + offset)
    cosines = directions @ cameras.c2w[index, :, 2]
    near = np.full(len(origins), near_distances(cameras[index], box)[0])
    return _bundle([0], [(origins, directions, cosines, near, np.zeros_like(origins))])
