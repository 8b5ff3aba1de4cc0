"""Truth given plainly: a folder of images, or one mesh or point cloud, without cameras, splits or a format."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.imagefile import ENDINGS as IMAGES
from nfbench.harness.imagefile import image_size, read_image
from nfbench.harness.prediction import MESH
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.harness.surfacefile import read_surface
from nfbench.harness.task import SceneRef, Task

_ANYWHERE = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]], np.float32)  # images alone have no place in space


def is_plain(path: Path) -> bool:
    """Whether a path is plain truth: a file, or a folder with images right in it."""
    return path.is_file() or (path.is_dir() and bool(images_in(path)))


def images_in(folder: Path) -> list[Path]:
    """The image files right in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES and p.is_file() and p.name[0] != ".")


def plain_task(path: Path, version: str) -> Task:
    """The Task of plain truth; it gives nothing and asks for a protocol.

    Args:
        path: a folder of images, or a mesh or point cloud.
        version: a fingerprint of the data.
    """
    name = path.resolve().name if path.is_dir() else path.stem
    read = _image_scene if path.is_dir() else _surface_scene
    test = (SceneRef(name, lambda: read(path, name)),)
    what = "a folder of images" if path.is_dir() else "one surface"
    return Task(name=f"plain/{name}", version=version, protocol="", given=(), test=test, summary=what, plain=path)


def plain_predictions(predictions: Path, truth: Path) -> dict[str, Path]:
    """Item name to the file that predicts it, for plain truth: images by the name without its ending, or one surface.

    Raises:
        DataMissing: the prediction is not there, or no single surface can be told.
        DataCorrupt: two images predict one.
    """
    if truth.is_file():
        return {MESH: _one_surface(predictions)}
    if not predictions.is_dir():
        raise DataMissing(f"There is no folder {predictions}.", "The truth is a folder of images: name one of renders.")
    found = images_in(predictions)
    names = _names(found, predictions)
    return dict(zip(names, found, strict=True))


def _one_surface(predictions: Path) -> Path:
    if predictions.is_file():
        return predictions
    if (predictions / MESH).is_file():
        return predictions / MESH
    raise DataMissing(
        f"There is no mesh {predictions if not predictions.is_dir() else predictions / MESH}.",
        f"The truth is one surface: name the predicted one, or a folder with {MESH}.",
    )


def _image_scene(folder: Path, name: str) -> Scene:
    files = images_in(folder)
    sizes = np.array([image_size(file) for file in files], np.int32)
    pose, lens = np.eye(3, 4, dtype=np.float32), np.eye(3, dtype=np.float32)
    cameras = Cameras(np.tile(pose, (len(files), 1, 1)), np.tile(lens, (len(files), 1, 1)), sizes)
    views = Views(cameras, _names(files, folder), lambda i: read_image(files[i]), files=tuple(files))
    return Scene(name, Given(views=views), _ANYWHERE, hidden=views)  # some protocols measure what was given


def _names(files: list[Path], folder: Path) -> tuple[str, ...]:
    counts = Counter(file.stem for file in files)
    for stem, count in counts.items():
        if count > 1:
            both = ", ".join(file.name for file in files if file.stem == stem)
            raise DataCorrupt(f"{folder} holds {both}: images are told apart by name.", "Leave one of them.")
    return tuple(file.stem for file in files)


def _surface_scene(path: Path, name: str) -> Scene:
    surface = read_surface(path)
    corners = surface.xyz if isinstance(surface, Points) else surface.vertices[np.unique(surface.faces)]
    if not len(corners):
        raise DataCorrupt(f"{path}: the true surface is empty.", "Name the file with the true surface.")
    low, high = corners.min(0), corners.max(0)
    room = max(float((high - low).max()), float(np.finfo(np.float32).tiny)) * 0.05
    return Scene(name, Given(), np.stack([low - room, high + room]).astype(np.float32), surface=surface)
