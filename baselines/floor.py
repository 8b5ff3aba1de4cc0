"""Floors: trivial answers that every real method must beat. They learn nothing and have no parameters.

The mean colour and the nearest training image are the floors of image scores, the bounding box that of surface scores;
the visual hull, in a file of its own, is one of both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.image import composite
from nfbench.harness.method import Budget, Method, NoConfig
from nfbench.harness.scene import Mesh, Points, Scene, Views

_Array = NDArray[np.float32]


def training_views(scene: Scene, method: str) -> Views:
    """The posed images that the scene gives.

    Raises:
        DataMissing: it gives none; the message names the scene and the method.
    """
    views = scene.given.views
    if views is None or not len(views):
        raise DataMissing(
            f"Scene {scene.name!r} gives no posed images, which {method} needs.",
            "Use a task that gives views, procedural/knot for one.",
        )
    return views


def image_size(cameras: Cameras) -> tuple[int, int]:
    """Width and height in pixels that all cameras share.

    Raises:
        Unsupported: the cameras differ in size.
    """
    sizes = np.unique(cameras.size, axis=0)
    if len(sizes) != 1:
        raise Unsupported(f"{len(sizes)} image sizes in one call of render.", "Render cameras of one size at a time.")
    return int(sizes[0, 0]), int(sizes[0, 1])


# ----------------------------------------------------------------------------------------------------- mean colour


class MeanColourField:
    """The same colour (3,) everywhere in every image."""

    parameters = 0

    def __init__(self, colour: _Array) -> None:
        self.colour = colour

    def render(self, cameras: Cameras) -> _Array:
        """(N,H,W,3) float32 in [0,1], each pixel the colour."""
        width, height = image_size(cameras)
        return np.tile(self.colour, (len(cameras), height, width, 1))


class MeanColour(Method[NoConfig]):
    """Answers every view with the mean colour of the training pixels, the best constant for the squared error there."""

    needs = ("views",)

    def fit(self, scene: Scene, budget: Budget) -> MeanColourField:
        """The mean over all pixels of the training images on the scene's background; one image in memory at a time.

        Raises:
            DataMissing: the scene gives no views.
        """
        views = training_views(scene, "mean-colour")
        total, count = np.zeros(3), 0
        for i in range(len(views)):
            image = composite(views.image(i), scene.background)
            total += image.sum((0, 1), dtype=np.float64)
            count += image.shape[0] * image.shape[1]
        return MeanColourField((total / count).astype(np.float32))


# ---------------------------------------------------------------------------------------------------- nearest view


def view_distances(
    cameras: Cameras, index: int, training: Cameras, target: NDArray[np.floating]
) -> NDArray[np.float64]:
    """How far each training camera is from one asked camera: (T,) float64, without unit, 0 for the same pose.

    The distance between the centres, in units of the mean distance of the training cameras from `target` (3,), plus
    the angle in radians of the rotation that takes one camera's axes to the other's. For cameras on a sphere that look
    at the target, both terms are about the angle at the target.
    """
    centres = training.centres.astype(np.float64)
    radius = np.linalg.norm(centres - target, axis=1).mean()
    apart = np.linalg.norm(centres - cameras.centres[index], axis=1)
    turn = training.c2w[:, :, :3].astype(np.float64) - cameras.c2w[index, :, :3]
    # |R - S| = 2 sqrt(2) sin(angle / 2) in the Frobenius norm, which is exact near 0 where the arc cosine is not
    angle = 2 * np.arcsin(np.minimum(np.linalg.norm(turn, axis=(1, 2)) / np.sqrt(8), 1))
    return np.asarray(apart / max(radius, np.finfo(np.float64).tiny) + angle)


class NearestViewField:
    """Renders the training image whose camera is nearest; images are decoded when they are rendered, and not kept."""

    parameters = 0

    def __init__(self, views: Views, target: NDArray[np.floating], background: tuple[float, float, float]) -> None:
        self.views = views
        self.target = target
        self.background = background

    def render(self, cameras: Cameras) -> _Array:
        """(N,H,W,3) float32 in [0,1]: whole training images, resized where their size differs."""
        width, height = image_size(cameras)
        images = np.empty((len(cameras), height, width, 3), np.float32)
        for i in range(len(cameras)):
            nearest = int(view_distances(cameras, i, self.views.cameras, self.target).argmin())
            images[i] = resized(composite(self.views.image(nearest), self.background), width, height)
        return images


class NearestView(Method[NoConfig]):
    """Answers a view with the training image taken from the nearest camera, as measured by `view_distances`."""

    needs = ("views",)

    def fit(self, scene: Scene, budget: Budget) -> NearestViewField:
        """The training views, still on disk.

        Raises:
            DataMissing: the scene gives no views.
        """
        views = training_views(scene, "nearest-view")
        return NearestViewField(views, scene.box.mean(0), scene.background)


def resized(image: _Array, width: int, height: int) -> _Array:
    """An image (H,W,3) float32 at another size: bilinear, over the area of the new pixel when it shrinks."""
    if image.shape[:2] == (height, width):
        return image
    channels = [Image.fromarray(np.ascontiguousarray(image[:, :, c])) for c in range(3)]
    sized = [np.asarray(c.resize((width, height), Image.Resampling.BILINEAR), np.float32) for c in channels]
    return np.clip(np.stack(sized, axis=-1), 0, 1)


# ---------------------------------------------------------------------------------------------------- bounding box


class BoundingBoxField:
    """A box (2,3) with its edges along the axes, as a surface."""

    parameters = 0

    def __init__(self, box: _Array) -> None:
        self.box = box

    def mesh(self) -> Mesh:
        """The box as 12 triangles."""
        return box_mesh(self.box)


class BoundingBox(Method[NoConfig]):
    """Answers a shape with the box around what is known of it, noise and outliers included.

    That is the cloud where the scene gives one, else the samples that lie inside, else the filled voxels, else the box
    of interest.
    """

    def fit(self, scene: Scene, budget: Budget) -> BoundingBoxField:
        """The box of one scene; every scene has one."""
        for points in (scene.given.cloud, scene.given.samples):
            xyz = None if points is None else _surface_or_inside(points)
            if xyz is not None and len(xyz):
                return BoundingBoxField(np.stack([xyz.min(0), xyz.max(0)]))
        voxels = scene.given.voxels
        if voxels is not None and voxels.filled.any():
            xyz = voxels.centres()[voxels.filled.reshape(-1)]
            half = (voxels.box[1] - voxels.box[0]) / len(voxels) / 2
            return BoundingBoxField(np.stack([xyz.min(0) - half, xyz.max(0) + half]))
        return BoundingBoxField(scene.box)


def _surface_or_inside(points: Points) -> _Array | None:
    if points.value is None:
        return points.xyz
    if points.kind == "density":  # no level that would mean the same in every scene
        return None
    inside: _Array = points.xyz[points.value < 0 if points.kind == "sdf" else points.value >= 0.5]
    return inside


def box_mesh(box: NDArray[np.floating]) -> Mesh:
    """A box, low and high corner (2,3), as 8 vertices and 12 triangles that face outwards."""
    corner = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(-1, 3)
    vertices = np.where(corner == 1, box[1], box[0]).astype(np.float64)
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
    return Mesh(vertices, np.array(faces, np.int64))
