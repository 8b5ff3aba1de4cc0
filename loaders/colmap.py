"""COLMAP, photographs with a sparse model (Schoenberger and Frahm 2016), as mip-NeRF 360 ships its scenes.

    <scene>/sparse/0/{cameras,images,points3D}.{bin,txt}    see `colmap_model`
    <scene>/sparse/0/test.txt                               names of the test images, a line each, where there is one
    <scene>/images/, images_2/, images_4/, images_8/        photographs, and copies that many times smaller

Without a list every eighth image by name is for testing, as in mip-NeRF 360 (Barron et al. 2022). The list is that of
the code of 3D Gaussian splatting. Intrinsics are scaled by what a copy measures, which differs from the exact quotient
where a side cannot be divided. A smaller copy that has other names (`image000.png` for `IMG_4026.JPG`) is matched with
`images` in the order of names, as google-research/multinerf does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.convention import from_colmap, to_colmap
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.loaders import llff, photographs
from nfbench.loaders.arrayfile import write_bytes
from nfbench.loaders.colmap_model import MODELS, Camera, Placed, model_folder, read_cameras, read_images, read_points
from nfbench.loaders.listfile import read_text

given = ("views", "cloud")

INDOORS = frozenset({"room", "counter", "kitchen", "bonsai"})
"""The scenes whose images mip-NeRF 360 takes 2 times smaller; of the others those 4 times smaller (section 5)."""

_MIDDLE = (1.0, 99.0)  # percentiles of the sparse points that the box holds: the rest is sky and mistakes
_ROOM = 0.1  # of the longest edge, around them and the cameras
_LIST = "test.txt"


def detect(folder: Path) -> bool:
    """Whether the folder has a model and images, and is not better read as nerfstudio, Blender or LLFF."""
    if model_folder(folder) is None or not photographs.copies(folder):
        return False
    if any((folder / f"transforms{split}.json").is_file() for split in ("", "_train", "_test")):
        return False
    return not llff.detect(folder)


def read(folder: Path, factor: int | None = None) -> Scene:
    """The scene in a folder: training views and sparse points are given, test views hidden; `frame` is the identity.

    The box holds the cameras and all but the outermost sparse points. The scale of a model is arbitrary.

    Args:
        folder: the scene.
        factor: open the images that are this many times smaller. By default those that mip-NeRF 360 takes, 2 for the
            scenes in `INDOORS` and 4 for others, where they are there, else `images`.

    Raises:
        DataMissing: no model, no images, or an image of the model, or of the list, that is not there.
        DataCorrupt: a model that is damaged, a pose that is no rigid motion, an image of another size than its camera
            says, or one outside of the folder.
        Unsupported: a camera model that is not read.
    """
    views = splits(folder, factor)
    cloud = Points(read_points(_model(folder)).astype(np.float32))
    centres = np.concatenate([split.cameras.centres for split in views.values()])
    seen = Given(views=views["train"], cloud=cloud)
    return Scene(folder.resolve().name, seen, box_around(cloud.xyz, centres), hidden=views["test"])


def splits(folder: Path, factor: int | None = None) -> dict[str, Views]:
    """The splits `train` and `test`; takes and raises what `read` does."""
    model = _model(folder)
    lenses, placed = read_cameras(model), read_images(model)
    prefer = 2 if folder.resolve().name in INDOORS else 4
    number, images = photographs.chosen_copy(folder, factor, (prefer, 1, 2, 4, 8))
    files = _files(folder, images, placed.names)
    cameras = _cameras(model, lenses, placed, files, number)
    views = photographs.views_of(folder, cameras, [photographs.stem(name) for name in placed.names], files)
    return photographs.split_views(folder, views, _test(model, placed.names))


def write(folder: Path, splits: Mapping[str, Views], cloud: Points | None = None) -> None:
    """Write `train` and `test` with a binary model and PNG images: reading gives the same names, pixels and lenses.

    Rotations come back to 1e-6, since the format holds unit quaternions; near and far, masks and depths are left out.

    Args:
        folder: a new folder.
        splits: `train` and `test`.
        cloud: the sparse points; without normals, colours grey, no tracks.

    Raises:
        ContractBroken: other splits than these, or names that cannot be files'.
        NfbenchError: the folder is not empty.
        Unsupported: intrinsics with skew or a focal length that is not positive.
    """
    order = photographs.in_order(folder, splits)
    cameras = [_written(folder, name, splits[split].cameras, index) for name, split, index in order]
    numbers = {camera: i + 1 for i, camera in enumerate(dict.fromkeys(cameras))}
    q, t = to_colmap(np.concatenate([splits[split].cameras.c2w[index][None] for _, split, index in order]))
    photographs.write_pictures(folder, order, splits)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    if not photographs.follows_the_rule(order):
        write_text(model / _LIST, "".join(f"{name}.png\n" for name, split, _ in order if split == "test"))
    parts = [struct.pack("<Q", len(numbers))]
    for camera, i in numbers.items():
        parts.append(struct.pack("<IiQQ", i, MODELS[camera.model][0], camera.width, camera.height))
        parts.append(struct.pack(f"<{len(camera.values)}d", *camera.values))
    xyz = np.empty((0, 3)) if cloud is None else cloud.xyz.astype(np.float64)
    points = [struct.pack("<Q3d3BdQ", i, *row, 128, 128, 128, 0.0, 0) for i, row in enumerate(xyz.tolist(), 1)]
    write_bytes(model / "points3D.bin", struct.pack("<Q", len(points)) + b"".join(points))
    write_bytes(model / "cameras.bin", b"".join(parts))
    parts = [struct.pack("<Q", len(order))]
    for i, (name, _, _) in enumerate(order):
        pose = struct.pack("<I7dI", i + 1, *q[i], *t[i], numbers[cameras[i]])
        parts.append(pose + f"{name}.png".encode() + b"\0" + struct.pack("<Q", 0))
    write_bytes(model / "images.bin", b"".join(parts))


def box_around(points: NDArray[np.floating], centres: NDArray[np.floating]) -> NDArray[np.float32]:
    """(2,3) box of the cameras' centres (N,3) and of all but the outermost of sparse points (P,3), with some room."""
    corners = np.concatenate([centres, *([np.percentile(points, _MIDDLE, axis=0)] if len(points) else [])])
    low, high = corners.min(0), corners.max(0)
    longest = float((high - low).max())
    room = (_ROOM if len(points) else 1.0) * longest or 1.0  # cameras alone tell little of what they look at
    return np.stack([low - room, high + room]).astype(np.float32)


def _model(folder: Path) -> Path:
    model = model_folder(folder)
    if model is None:
        raise DataMissing(
            f"{folder} has no sparse/0 with cameras and images.", "Run COLMAP's mapper, or copy its model there."
        )
    return model


def _cameras(model: Path, lenses: Mapping[int, Camera], placed: Placed, files: Sequence[Path], factor: int) -> Cameras:
    for name, number in zip(placed.names, placed.cameras, strict=True):
        if number not in lenses:
            raise DataCorrupt(f"{model}: image {name!r} is of camera {number}, which is not there.", "Export it again.")
    position = {number: i for i, number in enumerate(lenses)}
    of = [position[number] for number in placed.cameras]
    own = list(lenses.values())
    K = np.stack([camera.intrinsics() for camera in own])[of]
    declared = np.array([(camera.width, camera.height) for camera in own], np.float64)[of]
    actual = photographs.sizes(files)
    photographs.check_sizes(files, declared, actual, factor)
    distortion = np.stack([camera.lens() for camera in own])[of]
    fisheye = np.array([camera.fisheye for camera in own])[of]
    bent = bool(distortion.any() or fisheye.any())
    c2w = from_colmap(placed.quaternions, placed.translations)
    with photographs.naming(model, placed.names):
        return Cameras(
            c2w.astype(np.float32),
            photographs.scaled(K, declared, actual).astype(np.float32),
            actual,
            distortion=distortion.astype(np.float32) if bent else None,
            fisheye=fisheye if bent else None,
        )


def _files(folder: Path, images: Path, names: Sequence[str]) -> list[Path]:
    """The file of each image of the model in one folder of images."""
    paths = [name.replace("\\", "/") for name in names]
    for name, path in zip(names, paths, strict=True):
        if photographs.leads_out(path):
            raise DataCorrupt(f"{folder}: the model names {name!r}, outside of the images.", "Mend or drop this image.")
        if not photographs.is_picture(path.rpartition("/")[2]):
            raise DataCorrupt(f"{folder}: the model names {name!r}, which is no image.", "Mend or drop this image.")
    there = {}
    for parent in dict.fromkeys(path.rpartition("/")[0] for path in paths):
        photographs.check_inside(folder, [images / parent / "any"])
        there[parent] = set(photographs.pictures(images / parent)) if (images / parent).is_dir() else set()
    missing = next((path for path in paths if path.rpartition("/")[2] not in there[path.rpartition("/")[0]]), None)
    if missing is not None:
        paths = _renamed(folder, images, paths, there, missing)
    files = [images / path for path in paths]
    photographs.check_inside(folder, files)
    return files


def _renamed(folder: Path, images: Path, paths: list[str], there: Mapping[str, set[str]], missing: str) -> list[str]:
    """The paths in a copy whose endings, or whole names, are not those of the model."""
    stems = {PurePosixPath(parent, name).with_suffix(""): name for parent, names in there.items() for name in names}
    wanted = [PurePosixPath(path) for path in paths]
    if images.name != "images" and all(path.with_suffix("") in stems for path in wanted):
        return [str(path.with_name(stems[path.with_suffix("")])) for path in wanted]
    full = folder / "images"
    if images != full and full.is_dir():
        originals, smaller = photographs.pictures(full), photographs.pictures(images)
        matched = dict(zip(originals, smaller, strict=False))
        if len(originals) == len(smaller) and not set(originals) & set(smaller) and set(paths) <= set(originals):
            return [matched[path] for path in paths]
    parent, _, lost = missing.rpartition("/")
    same = next((name for name in sorted(there[parent]) if name.lower() == lost.lower()), None)
    hint = f"There is {same}: the case of the name differs." if same else "Download it, or drop it from the model."
    raise DataMissing(f"There is no {images / missing}, which the model of {folder} names.", hint)


def _test(model: Path, names: Sequence[str]) -> list[int]:
    """Which images are for testing."""
    path = model / _LIST
    if not path.is_file():
        return photographs.held_out(len(names))[1]
    lines = read_text(path).split("\n")
    by_name = {name: i for i, name in enumerate(names)}
    by_stem = {photographs.stem(name): i for i, name in enumerate(names)}
    found: dict[int, None] = {}  # in the order of the list
    for number, line in enumerate(lines, 1):
        if not (name := line.strip()):
            continue
        index = by_name.get(name, by_stem.get(name))
        if index is None:
            raise DataMissing(f"{path}: line {number}: the model has no image {name!r}.", "Mend or drop the line.")
        if index in found:
            raise DataCorrupt(f"{path}: line {number}: {name!r} is named twice.", "Drop the line.")
        found[index] = None
    return list(found)


def _written(folder: Path, name: str, cameras: Cameras, index: int) -> Camera:
    """The camera of one view in the plainest of COLMAP's models."""
    K, (width, height) = cameras.K[index].astype(np.float64), cameras.size[index].tolist()
    fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
    if not np.array_equal(K, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]) or fx <= 0 or fy <= 0:
        raise Unsupported(f"{folder}: view {name!r} has skew or a negative focal length.", "COLMAP knows neither.")
    values: tuple[float, ...] = (float(fx), float(fy), float(cx), float(cy))
    lens = cameras.lens(index)
    if lens is None:
        return Camera("PINHOLE", width, height, values)
    numbers, fisheye = lens
    if fisheye:
        return Camera("OPENCV_FISHEYE", width, height, (*values, *numbers[:4].tolist()))
    if numbers[4:].any():
        return Camera("FULL_OPENCV", width, height, (*values, *numbers.tolist()))
    return Camera("OPENCV", width, height, (*values, *numbers[:4].tolist()))
