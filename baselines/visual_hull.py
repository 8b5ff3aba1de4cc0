"""The visual hull: all points that no training silhouette rules out, coloured from the nearest training view.

Laurentini, "The Visual Hull Concept for Silhouette-Based Image Understanding", PAMI 1994. It is a floor: what masks
alone tell about a shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from nfbench.baselines.floor import image_size, training_views
from nfbench.harness.camera import Cameras, project, rays
from nfbench.harness.image import flattened
from nfbench.harness.method import Budget, Method
from nfbench.harness.scene import Kind, Scene, Views

_Array = NDArray[np.float32]
_MAX_MARCH = 512  # steps along a ray; most need some tens


@dataclass(frozen=True)
class VisualHullConfig:
    """Settings of the visual hull.

    Attributes:
        resolution: cells of the carved grid along each edge of the scene's box.
    """

    resolution: int = 128


class VisualHull(Method[VisualHullConfig]):
    """Carves a grid over the scene's box with the masks of the training views."""

    Config = VisualHullConfig
    needs = ("views",)

    def fit(self, scene: Scene, budget: Budget) -> VisualHullField:
        """The hull of one scene.

        Raises:
            DataMissing: the scene gives no views, or a view has neither mask nor alpha; it is named.
        """
        views = training_views(scene, "visual-hull")
        inside = carve(views, scene.box, self.config.resolution)
        return VisualHullField(views, scene.box, inside, scene.background)


def carve(views: Views, box: NDArray[np.floating], resolution: int) -> NDArray[np.bool_]:
    """(R+1,R+1,R+1) bool: the nodes, at the corners of R cells along each edge of the box, that no mask rules out.

    A view rules out what falls between four pixels of its background, so that the rounding of masks to pixels takes
    nothing from the shape. It says nothing about what falls outside the image or lies behind the camera.

    Raises:
        DataMissing: a view has neither mask nor alpha.
    """
    edges = [np.linspace(low, high, resolution + 1) for low, high in box.T.tolist()]
    nodes = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).astype(np.float32).reshape(-1, 3)
    kept = np.arange(len(nodes))
    for i in range(len(views)):
        near = np.pad(views.mask(i), 1)  # then the largest of four pixels, (H+1,W+1) at the corners of pixels
        near = near[1:, 1:] | near[1:, :-1] | near[:-1, 1:] | near[:-1, :-1]
        xy, depth = project(views.cameras, i, nodes[kept])
        seen = _in_image(xy, depth, views.cameras.size[i])
        corner = (xy[seen] + 0.5).astype(np.int32)
        seen[seen] = ~near[corner[:, 1], corner[:, 0]]
        kept = kept[~seen]
    inside = np.zeros(len(nodes), bool)
    inside[kept] = True
    return inside.reshape(3 * (resolution + 1,))


def _in_image(xy: NDArray[np.float64], depth: NDArray[np.float64], size: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which image points (P,2) with depths (P,) lie before the camera and in an image of `size` (2,)."""
    within: NDArray[np.bool_] = (depth > 0) & ((xy >= 0) & (xy < size)).all(1)
    return within


def clearance(inside: NDArray[np.bool_], spacing: _Array) -> _Array:
    """How far one may go from the cell around each node without meeting a cell of the hull, -1 inside it.

    (R+1,R+1,R+1) float32 in scene units, a lower bound, infinite for an empty hull.
    """
    if not inside.any():
        return np.full(inside.shape, np.inf, np.float32)
    distance = distance_transform_edt(~inside, sampling=spacing.tolist()).astype(np.float32)
    diagonal = float(np.linalg.norm(spacing))  # half of it at either end
    return np.where(inside, np.float32(-1), np.maximum(distance - diagonal, 0)).astype(np.float32)


def _through_box(origins: _Array, directions: _Array, box: _Array) -> tuple[_Array, _Array]:
    """Distances (P,) along rays to where they enter and leave a box; enter >= leave for a ray that misses it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        planes = (box[:, None] - origins) / directions  # (2,P,3)
    # a ray within a plane of the box gives 0/0 there, and that axis does not bound it
    low, high = np.fmin(*planes), np.fmax(*planes)
    return np.maximum(np.nanmax(low, axis=1), 0), np.nanmin(high, axis=1)


def _cosines(xyz: _Array, directions: _Array, centres: _Array) -> _Array:
    """(P,T) cosines of the angles between `directions` (P,3) and the lines of sight from `centres` (T,3) to `xyz`."""
    along = np.einsum("pc,pc->p", xyz, directions)[:, None] - directions @ centres.T
    square = (xyz**2).sum(1)[:, None] - 2 * (xyz @ centres.T) + (centres**2).sum(1)
    cosines: _Array = along / np.sqrt(np.maximum(square, np.finfo(np.float32).tiny))
    return cosines


class VisualHullField:
    """A carved grid as occupancy, and as images.

    Attributes:
        inside: (R+1,R+1,R+1) bool at the corners of the cells that divide the box.
        kind: `occupancy`.
    """

    kind: Kind = "occupancy"
    parameters = 0

    def __init__(
        self, views: Views, box: _Array, inside: NDArray[np.bool_], background: tuple[float, float, float]
    ) -> None:
        self.views = views
        self.box = box
        self.inside = inside
        self.background = background
        self._spacing = (box[1] - box[0]) / np.float32(len(inside) - 1)  # (3,)
        self._clearance: _Array | None = None
        self._decoded: dict[int, tuple[NDArray[np.uint8], NDArray[np.bool_]]] = {}

    def value(self, xyz: NDArray[np.float32]) -> _Array:
        """(P,) float32: 1 at `xyz` (P,3) inside every silhouette, 0 outside of one or of the box.

        Between the nodes of the grid it is interpolated, so that 0.5 is a smooth surface.
        """
        at = (np.asarray(xyz, np.float32) - self.box[0]) / self._spacing
        out = ((at < 0) | (at > len(self.inside) - 1)).any(1)
        low = np.clip(at.astype(np.int32), 0, len(self.inside) - 2)
        part = at - low
        flat, strides = self.inside.reshape(-1), np.array(self.inside.strides)  # one byte a node
        base = low @ strides
        total = np.zeros(len(at), np.float32)
        for corner in np.ndindex(2, 2, 2):
            weight = np.where(np.array(corner) == 1, part, 1 - part).prod(1)
            total += weight * flat[base + strides @ corner]
        total[out] = 0
        return np.minimum(total, 1)  # the weights add up to 1 but for rounding

    def render(self, cameras: Cameras) -> _Array:
        """(N,H,W,3) float32 in [0,1]: the first hit of each ray with the hull, on the scene's background.

        A hit takes the colour of its pixel in the training view whose line of sight to it is nearest in direction, of
        those that have it in the image and on their foreground; the background where none has. Whether something
        stands between is not asked.
        """
        width, height = image_size(cameras)
        images = np.empty((len(cameras), height * width, 3), np.float32)
        images[:] = self.background
        for i in range(len(cameras)):
            origins, directions = rays(cameras, i)
            distance = self._march(origins, directions)
            hit = np.flatnonzero(np.isfinite(distance))
            xyz = origins[hit] + distance[hit, None] * directions[hit]
            self._colour(images[i], hit, xyz, directions[hit])
        return images.reshape(len(cameras), height, width, 3)

    def _march(self, origins: _Array, directions: _Array) -> _Array:
        """(P,) distances along rays to the first node inside, inf where there is none (sphere tracing, Hart 1996)."""
        if self._clearance is None:
            self._clearance = clearance(self.inside, self._spacing)
        flat, strides = self._clearance.reshape(-1), np.array(self.inside.strides, np.int32)
        found = np.full(len(origins), np.inf, np.float32)
        near, far = _through_box(origins, directions, self.box)
        alive = np.flatnonzero(near < far)
        along, last, least = near[alive], far[alive], self._spacing.min() / 2
        start = (origins[alive] - self.box[0]) / self._spacing + np.float32(0.5)  # + 0.5: truncation rounds to nodes
        ahead = directions[alive] / self._spacing
        for _ in range(_MAX_MARCH):
            node = np.clip((start + along[:, None] * ahead).astype(np.int32), 0, len(self.inside) - 1)
            free = flat[node @ strides]
            hit = free < 0
            found[alive[hit]] = along[hit]
            along = along + np.maximum(free, least)
            on = ~hit & (along < last)
            if not on.any():
                break
            alive, along, last, start, ahead = alive[on], along[on], last[on], start[on], ahead[on]
        return found

    def _colour(self, image: _Array, pixels: NDArray[np.intp], xyz: _Array, directions: _Array) -> None:
        """Write the colours of hits `xyz` (P,3), seen along `directions` (P,3), into `pixels` (P,) of image (H*W,3)."""
        cameras = self.views.cameras
        cosine = _cosines(xyz, directions, cameras.centres)
        left = np.arange(len(xyz))
        while len(left):
            best = cosine[left].argmax(1)
            failed = []
            for view in np.unique(best).tolist():
                rows = left[best == view]
                picture, mask = self._picture(view)
                xy, depth = project(cameras, view, xyz[rows])
                seen = _in_image(xy, depth, cameras.size[view])
                column, row = xy[seen].astype(np.int32).T
                seen[seen] = front = mask[row, column]
                image[pixels[rows[seen]]] = picture[row[front], column[front]] / np.float32(255)
                failed.append(rows[~seen])
                cosine[failed[-1], view] = -np.inf
            left = np.concatenate(failed)
            left = left[np.isfinite(cosine[left]).any(1)]

    def _picture(self, view: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """A training image on the background (H,W,3), 8 bit to keep many of them, and its foreground (H,W)."""
        if view not in self._decoded:
            image = flattened(self.views.image(view), self.background)
            self._decoded[view] = image, self.views.mask(view)
        return self._decoded[view]
