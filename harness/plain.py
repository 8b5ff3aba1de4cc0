"""Truth given plainly: a folder of images, or one mesh or point cloud, without cameras, splits or a format."""

from __future__ import annotations

import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.imagefile import ENDINGS as IMAGES
from nfbench.harness.imagefile import image_size, read_image
from nfbench.harness.meshfile import CLOUDS
from nfbench.harness.prediction import MESH
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.harness.surfacefile import read_surface
from nfbench.harness.task import SceneRef, Task

# endings of images that are not read; a file that has one is told of where it stands in the place of an item
_UNREAD = (".apng", ".avif", ".exr", ".gif", ".hdr", ".heic", ".jp2", ".npy", ".pfm", ".pgm", ".ppm", ".tga")
_ANYWHERE = np.array([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]], np.float32)  # images alone have no place in space


def is_plain(path: Path) -> bool:
    """Whether a path is plain truth: a file, or a folder with images right in it."""
    return path.is_file() or (path.is_dir() and bool(images_in(path)))


def images_in(folder: Path) -> list[Path]:
    """The image files right in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES and p.is_file() and p.name[0] != ".")


def _items_in(folder: Path) -> list[Path]:
    """The images right in a folder, and what stands in the place of one: another kind, a folder, a dead link."""
    there = sorted(path for path in folder.iterdir() if path.name[0] != ".")
    images = [path for path in there if path.suffix.lower() in IMAGES]
    known = {_item(path) for path in images}
    return images + [path for path in there if path.suffix.lower() in _UNREAD and _item(path) not in known]


def _item(file: Path) -> str:
    """The name of the item in a file; composed, since some file systems give letters and accents apart."""
    return unicodedata.normalize("NFC", file.stem)


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
        what = "is a file, not a folder" if predictions.exists() else "is not there"
        raise DataMissing(f"{predictions} {what}.", "The truth is a folder of images: name the folder of the renders.")
    found = _items_in(predictions)
    names = _names(found, predictions)
    return dict(zip(names, found, strict=True))


def _one_surface(predictions: Path) -> Path:
    if predictions.is_file():
        return predictions
    if (predictions / MESH).is_file():
        return predictions / MESH
    raise DataMissing(
        f"There is no surface {predictions if not predictions.is_dir() else predictions / MESH}.",
        f"The truth is one surface: name the predicted one, or a folder with {MESH}.",
    )


def _image_scene(folder: Path, name: str) -> Scene:
    files = _items_in(folder)
    sizes = np.array([image_size(file) for file in files], np.int32)
    pose, lens = np.eye(3, 4, dtype=np.float32), np.eye(3, dtype=np.float32)
    cameras = Cameras(np.tile(pose, (len(files), 1, 1)), np.tile(lens, (len(files), 1, 1)), sizes)
    views = Views(cameras, _names(files, folder), lambda i: read_image(files[i]), files=tuple(files))
    return Scene(name, Given(views=views), _ANYWHERE, hidden=views)  # some protocols measure what was given


def _names(files: list[Path], folder: Path) -> tuple[str, ...]:
    names = tuple(_item(file) for file in files)
    for name, count in Counter(names).items():
        if count > 1:
            both = ", ".join(file.name for file in files if _item(file) == name)
            raise DataCorrupt(f"{folder} holds {both}: images are told apart by name.", "Leave one of them.")
    return names


def _surface_scene(path: Path, name: str) -> Scene:
    if path.suffix.lower() in (*IMAGES, *_UNREAD) and path.suffix.lower() not in CLOUDS:
        raise Unsupported(
            f"{path} is one image.", "Name two folders, of renders and of true images, with one name each."
        )
    surface = read_surface(path)
    corners = surface.xyz if isinstance(surface, Points) else surface.vertices[np.unique(surface.faces)]
    if not len(corners):
        raise DataCorrupt(f"{path}: the true surface is empty.", "Name the file with the true surface.")
    low, high = corners.min(0), corners.max(0)
    room = max(float((high - low).max()), float(np.finfo(np.float32).tiny)) * 0.05
    return Scene(name, Given(), np.stack([low - room, high + room]).astype(np.float32), surface=surface)
