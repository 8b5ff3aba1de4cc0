"""ShapeNet objects as Texture Fields renders them (Oechsle et al. 2019).

    <id>/visualize/image/000.png ...    256x256, white background
    <id>/visualize/depth/000.exr ...    along the optical axis, inf on background
    <id>/visualize/depth/cameras.npz
        world_mat_i (3,4)       world to camera, OpenGL axes: x right, y up, looking along -z
        camera_mat_i (3,4)      to image coordinates in [0,2], x from the left and y from below
    <id>/input_image/000.jpg            without a camera, and left aside

autonomousvision/texture_fields mesh2tex/data/fields.py. The names in cameras.npz are those of DVR, the meaning is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, from_opengl
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.png import write_png
from nfbench.harness.scene import Float, Given, Scene, Views
from nfbench.loaders.arrayfile import Array, read_arrays, shaped, write_npz
from nfbench.loaders.choy import camera_to_world, file_numbers, numbered
from nfbench.loaders.exr import exr_size, read_exr
from nfbench.loaders.imagefolder import beside, images_in
from nfbench.loaders.photographs import naming
from nfbench.loaders.pngkinds import colour_size, read_colour
from nfbench.loaders.viewpoint import ray_lengths
from nfbench.loaders.viewsets import one_of_each

given = ("views",)

BOX = ((-0.55, -0.55, -0.55), (0.55, 0.55, 0.55))  # the longest edge of an object is 1; a margin as ONet's padding

_EVERY = 8  # views of which the first is hidden, as is usual for views of one scene
_OPENGL = np.diag([1.0, -1.0, -1.0])


def detect(folder: Path) -> bool:
    """Whether a folder has visualize/image and the cameras beside its depth."""
    place = folder / "visualize"
    return (place / "image").is_dir() and (place / "depth" / "cameras.npz").is_file()


def read(folder: Path) -> Scene:
    """One object, by headers alone: every eighth view is hidden, from the first on, and the others are given.

    Raises:
        DataMissing: an image, a camera or a depth map is not there, or there is one view only.
        DataCorrupt: a file is not what it should be.
    """
    views = _views(folder)
    held = list(range(0, len(views), _EVERY))
    seen = [i for i in range(len(views)) if i not in held]
    if not seen:
        raise DataMissing(f"{folder} has a single view.", "Download the object again.")
    box = np.array(BOX, np.float32)
    return Scene(folder.resolve().name, Given(views=views.subset(seen)), box, hidden=views.subset(held))


def splits(folder: Path) -> dict[str, Views]:
    """`train`, the views that are given, and `test`, the hidden ones; raises as `read` does."""
    scene = read(folder)
    assert scene.given.views is not None and scene.hidden is not None
    return {"train": scene.given.views, "test": scene.hidden}


def write(folder: Path, splits: Mapping[str, Views]) -> None:
    """Write the views of all splits: reading gives the same rotations, names and pixels.

    A view in two splits is written once, and views are read back sorted by name. Lost: which views are given, depth,
    and the last digit of camera centres and intrinsics.

    Raises:
        ContractBroken: names that cannot be those of files, or intrinsics with a last row other than 0 0 1.
        NfbenchError: the folder holds an object already.
    """
    path = folder / "visualize" / "depth" / "cameras.npz"
    if path.exists():
        raise NfbenchError(f"{folder} holds an object already.", "Choose another folder, or delete this one.")
    views = one_of_each(folder, splits)
    if (views.cameras.K[:, 2] != (0, 0, 1)).any():
        raise ContractBroken(f"{folder}: intrinsics with a last row other than 0 0 1.", "Scale them.")
    arrays: dict[str, Array] = {}
    for index, number in enumerate(file_numbers(folder, views.names)):
        pose = np.eye(4)
        pose[:3] = from_opengl(views.cameras.c2w[index : index + 1])[0]  # the change of axes is its own inverse
        arrays[f"world_mat_{number}"] = np.linalg.inv(pose)[:3]
        M = views.cameras.K[index].astype(np.float64)
        M[:2] *= 2 / views.cameras.size[index][:, None]
        M[1] = (0, 0, 2) - M[1]
        arrays[f"camera_mat_{number}"] = np.concatenate([M @ _OPENGL, np.zeros((3, 1))], axis=1)
        write_png(folder / "visualize" / "image" / f"{views.names[index]}.png", views.image(index))
    write_npz(path, arrays)


def _views(folder: Path) -> Views:
    """All views of an object."""
    images = images_in(folder / "visualize" / "image", folder)
    path = folder / "visualize" / "depth" / "cameras.npz"
    arrays = read_arrays(path)
    numbers = numbered(path, arrays, tuple(images))
    files = tuple(images.values())
    sizes = [colour_size(file) for file in files]
    c2w = from_opengl(np.stack([camera_to_world(path, arrays, n) for n in numbers]))
    K = np.stack([_intrinsics(path, arrays, n, size) for n, size in zip(numbers, sizes, strict=True)])
    with naming(path, tuple(images)), np.errstate(over="ignore"):  # what is infinite then is found to be so
        cameras = Cameras(c2w, K.astype(np.float32), np.array(sizes, np.int32))
    depths = _depths(folder, images, sizes)

    def depth(index: int) -> Float:
        z = next(iter(read_exr(depths[index]).values()))
        return z * ray_lengths(cameras[index])

    return Views(cameras, tuple(images), lambda i: read_colour(files[i]), None, depth if depths else None, files)


def _intrinsics(path: Path, arrays: Mapping[str, Array], number: int, size: tuple[int, int]) -> NDArray[np.float64]:
    """(3,3) in pixels, for OpenCV axes."""
    label = f"{path}: camera_mat_{number}"
    stored = shaped(label, arrays.get(f"camera_mat_{number}"), (3, 3), (3, 4))
    M = stored[:, :3] @ _OPENGL
    if M[2, 2] <= 0 or max(np.abs(M[2, :2]).max(), np.abs(stored[:, 3:]).max(initial=0)) > 1e-6 * M[2, 2]:
        raise DataCorrupt(f"{label} is no pinhole camera that looks along -z: {M.tolist()}.", "Fetch it again.")
    K: NDArray[np.float64] = M / M[2, 2]
    K[1] = 2 * K[2] - K[1]  # from below to from above
    K[:2] *= np.array(size)[:, None] / 2
    return K


def _depths(folder: Path, images: Mapping[str, Path], sizes: list[tuple[int, int]]) -> list[Path]:
    """The depth maps in the order of the images; none where there is none."""
    place = folder / "visualize" / "depth"
    if not any(place.glob("*.exr")):
        return []
    return beside(images, sizes, images_in(place, folder, (".exr",)), exr_size)
