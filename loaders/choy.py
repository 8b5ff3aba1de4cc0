"""The renderings of Choy et al. 2016 (3D-R2N2) as Occupancy Networks ship them: `img_choy2016` of a shape.

    img_choy2016/000.jpg ... 023.jpg    137x137 pixels, white background
    img_choy2016/cameras.npz            world_mat_i (3,4), world to camera; camera_mat_i (3,3), pixels of 137x137

Their world is the mesh as ShapeNet has it: a point of points.npz or pointcloud.npz is at `point * scale + loc` there,
with the `scale` and `loc` of that file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfbench.harness.camera import Cameras, check_poses
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.imagefile import image_size, read_image
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders.arrayfile import Array, read_arrays, shaped, write_npz
from nfbench.loaders.imagefolder import images_in
from nfbench.loaders.photographs import naming

SIDE = 137  # pixels, of all renderings

_AGREE = 1e-3  # by how much world_mat_inv, rounded to float32, may differ from the inverse of world_mat
_DIGITS = 9  # of a view's number


def read_choy(folder: Path, scale: float = 1.0, loc: ArrayLike = (0.0, 0.0, 0.0)) -> Views:
    """The renderings in a folder `img_choy2016`, their cameras in the coordinates of the shape's points.

    No image is decoded.

    Args:
        folder: holds the images and cameras.npz.
        scale: of the shape's points.npz or pointcloud.npz; left out, the cameras stay in ShapeNet's coordinates.
        loc: (3,), likewise.

    Raises:
        DataMissing: an image, cameras.npz or a camera in it is not there.
        DataCorrupt: an image or a camera is not what it should be.
    """
    centre = np.asarray(loc, np.float64)
    if not (np.isfinite(scale) and scale > 0 and centre.shape == (3,) and np.isfinite(centre).all()):
        raise DataCorrupt(f"{folder}: scale {scale} and loc {centre.tolist()}.", "Take them from the shape's .npz.")
    images = images_in(folder, folder.parent)
    path = folder / "cameras.npz"
    arrays = read_arrays(path)
    numbers = numbered(path, arrays, tuple(images))
    c2w = np.stack([camera_to_world(path, arrays, i) for i in numbers])
    c2w[:, :3, 3] = (c2w[:, :3, 3] - centre) / scale
    K = np.stack([_intrinsics(path, arrays, i) for i in numbers])
    files = tuple(images.values())
    for file in files:
        if image_size(file) != (SIDE, SIDE):
            raise DataCorrupt(f"{file}: {image_size(file)} pixels, not {SIDE}x{SIDE}.", "Its cameras are for those.")
    with naming(path, tuple(images)), np.errstate(over="ignore"):  # what is infinite then is found to be so
        cameras = Cameras(c2w[:, :3].astype(np.float32), K.astype(np.float32), np.full((len(files), 2), SIDE, np.int32))
    return Views(cameras, tuple(images), lambda i: read_image(files[i]), files=files)


def write_choy(folder: Path, views: Views) -> None:
    """Write views of 137x137 pixels as PNG and cameras.npz: `read_choy` gives the same cameras, names and pixels.

    Views are read back in the order of their names.

    Raises:
        ContractBroken: images of another size, no views, or a name that cannot be a file's.
    """
    if not len(views) or (views.cameras.size != SIDE).any():
        raise ContractBroken(f"{folder}: the renderings must have {SIDE}x{SIDE} pixels.", "Scale them first.")
    numbers = file_numbers(folder, views.names)
    arrays: dict[str, Array] = {}
    for index, number in enumerate(numbers):
        arrays |= world_arrays(views, index, number)
        arrays[f"camera_mat_{number}"] = views.cameras.K[index].astype(np.float64)
    for index, name in enumerate(views.names):
        write_png(folder / f"{name}.png", views.image(index))
    write_npz(folder / "cameras.npz", arrays)


def numbered(path: Path, arrays: Mapping[str, Array], names: tuple[str, ...]) -> tuple[int, ...]:
    """The number in cameras.npz of each image: that in its name, or its place where some names are no numbers.

    Args:
        path: of cameras.npz, for messages.
        arrays: what it holds.
        names: of the images, sorted.

    Raises:
        DataMissing: an image without a camera, or a camera without an image.
        DataCorrupt: two images of one number.
    """
    plain = all(name.isascii() and name.isdigit() and len(name) <= _DIGITS for name in names)
    numbers = tuple(int(name) for name in names) if plain else tuple(range(len(names)))
    if len(set(numbers)) != len(numbers):
        raise DataCorrupt(f"{path.parent}: two images have the same number.", "Remove one of them.")
    for name, number in zip(names, numbers, strict=True):
        if f"world_mat_{number}" not in arrays:
            raise DataMissing(f"{path}: world_mat_{number} is missing, the camera of image {name}.", "Fetch it again.")
    for key in arrays:
        kind, _, number_text = key.rpartition("_")
        known = len(number_text) <= _DIGITS and number_text.isdecimal() and int(number_text) in numbers
        if kind == "world_mat" and number_text.isdecimal() and not known:
            raise DataMissing(f"{path}: {key[:80]} belongs to no image; one is missing.", "Download the scene again.")
    return numbers


def file_numbers(folder: Path, names: tuple[str, ...]) -> tuple[int, ...]:
    """The number in cameras.npz for each view to be written under its name, as `numbered` will find it.

    Raises:
        ContractBroken: a name that cannot be a file's, or two of one number.
    """
    for name in names:
        if name in ("", ".", "..") or set(name) & {"/", "\\", "\0"} or name.startswith("."):
            raise ContractBroken(f"{folder}: {name!r} cannot be the name of an image.", "Use the name of a file only.")
    if all(name.isascii() and name.isdigit() and len(name) <= _DIGITS for name in names):
        if len({int(name) for name in names}) != len(names):
            raise ContractBroken(f"{folder}: two views have the same number.", "Rename one of them.")
        return tuple(int(name) for name in names)
    order = {name: i for i, name in enumerate(sorted(names, key=lambda name: f"{name}.png"))}
    return tuple(order[name] for name in names)


def camera_to_world(path: Path, arrays: Mapping[str, Array], number: int) -> NDArray[np.float64]:
    """(4,4) camera-to-world pose: world_mat_inv where the file has it, else the inverse of world_mat.

    Raises:
        DataMissing: no world_mat of this number.
        DataCorrupt: it is no rigid motion, or the two do not belong together.
    """
    label = f"{path}: world_mat_{number}"
    world = _whole(label, shaped(label, arrays.get(f"world_mat_{number}"), (3, 4), (4, 4)))
    check_poses(world[None], [label])
    given = arrays.get(f"world_mat_inv_{number}")
    if given is None:
        return np.linalg.inv(world).astype(np.float64)
    label = f"{path}: world_mat_inv_{number}"
    inverse = _whole(label, shaped(label, given, (3, 4), (4, 4)))
    if np.abs(inverse @ world - np.eye(4)).max() > _AGREE * max(1.0, np.abs(world).max()):
        raise DataCorrupt(f"{label} is not the inverse of world_mat_{number}.", "Download the file again.")
    return inverse


def world_arrays(views: Views, index: int, number: int) -> dict[str, Array]:
    """world_mat and world_mat_inv of one view; the inverse keeps the pose to the last bit."""
    pose = np.eye(4)
    pose[:3] = views.cameras.c2w[index]
    return {f"world_mat_{number}": np.linalg.inv(pose), f"world_mat_inv_{number}": pose}


def _whole(label: str, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(4,4) from a matrix of three rows or four."""
    last = np.array([[0.0, 0.0, 0.0, 1.0]])
    if len(matrix) == 3:
        return np.concatenate([matrix, last])
    if np.abs(matrix[3] - last).max() > 1e-6:
        raise DataCorrupt(f"{label}: its last row is {matrix[3].tolist()}, not 0 0 0 1.", "Is it transposed?")
    return matrix


def _intrinsics(path: Path, arrays: Mapping[str, Array], number: int) -> NDArray[np.float64]:
    label = f"{path}: camera_mat_{number}"
    K = shaped(label, arrays.get(f"camera_mat_{number}"), (3, 3))
    if np.abs(K[2] - (0, 0, 1)).max() > 1e-6:
        raise DataCorrupt(f"{label}: its last row is {K[2].tolist()}, not 0 0 1.", "Is it in pixels of 137x137?")
    return K
