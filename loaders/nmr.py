"""ShapeNet as rendered for the Neural Mesh Renderer, in the layout of DVR that pixelNeRF shares.

    <synset>/softras_{train,val,test}.lst       ids of objects, one a line
    <synset>/<id>/image/0000.png ... 0023.png   64x64, white background
    <synset>/<id>/mask/0000.png ...             optional
    <synset>/<id>/depth/00000001.exr ...        optional: along the optical axis, inf on background, in world units
    <synset>/<id>/cameras.npz
        world_mat_i (4,4)       world to camera; z forward, y down
        camera_mat_i (4,4)      to image coordinates in [-1,1], -1 at the outer edge of the first pixel
        scale_mat_i (4,4)       object to world; the identity when it is not there
        world_mat_inv_i         optional; taken, as pixelNeRF does, where it is there
    <synset>/<id>/pointcloud.npz                points and normals of the surface in object coordinates
    src_dvr.txt                                 pixelNeRF's list, beside the synsets: synset, id, the view that is given

Niemeyer et al. 2020, autonomousvision/differentiable_volumetric_rendering FAQ.md; Yu et al. 2021, sxyu/pixel-nerf
DVRDataset.py. The same names in the cameras.npz of IDR, NeuS and DVR's DTU have other meanings: there world_mat
is a whole projection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.png import write_png
from nfbench.harness.scene import Float, Given, Points, Scene, Views
from nfbench.loaders.arrayfile import Array, names_in, read_arrays, shaped, write_npz
from nfbench.loaders.choy import camera_to_world, file_numbers, numbered, world_arrays
from nfbench.loaders.cloud import noisy
from nfbench.loaders.exr import exr_size, read_exr
from nfbench.loaders.imagefolder import beside, images_in
from nfbench.loaders.listfile import line_list
from nfbench.loaders.onet import CLOUD, NOISE
from nfbench.loaders.photographs import naming
from nfbench.loaders.pngkinds import colour_size, mask_size, read_colour, read_mask, write_grey
from nfbench.loaders.viewpoint import ray_lengths
from nfbench.loaders.viewsets import one_of_each

given = ("views",)
inputs = ("views", "cloud")

BOX = ((-0.55, -0.55, -0.55), (0.55, 0.55, 0.55))  # the longest edge of an object is 1; a margin as ONet's padding
SOURCE = 0  # the view that is given where no list tells another

_RADIUS = 0.55 * 3**0.5  # of the sphere around the box
_LIST = "src_dvr.txt"
_SYNSET = re.compile(r"\d{8}")
_IMAGES = (".png", ".jpg")
_RIGID = 1e-2
_DIGITS = 9  # of a view's number
_BACKGROUND = 1e4  # scene units from which on a renderer means nothing is there


def detect(folder: Path) -> bool:
    """Whether a folder has images and a cameras.npz whose world_mat is a rigid motion, with a camera_mat beside it."""
    path = folder / "cameras.npz"
    if not (folder / "image").is_dir() or not path.is_file():
        return False
    there = set(names_in(path))
    number = next((n.removeprefix("camera_mat_") for n in sorted(there) if re.fullmatch(r"camera_mat_\d+", n)), None)
    if number is None or f"world_mat_{number}" not in there:
        return False
    try:
        world = read_arrays(path, [f"world_mat_{number}"])[f"world_mat_{number}"]
    except NfbenchError:
        return False
    if world.shape not in ((3, 4), (4, 4)):
        return False
    R = world[:3, :3].astype(np.float64)
    with np.errstate(all="ignore"):  # of numbers that no rotation has
        return bool(np.abs(R @ R.T - np.eye(3)).max() < _RIGID)


def scenes(path: Path) -> list[Path]:
    """The objects to be tested in a path: an object itself, those of a synset, or those of all synsets below.

    Where a synset has softras_test.lst, that list counts, objects that are not on disk included; otherwise all objects.
    """
    return [path] if detect(path) else [object for synset in _synsets(path) for object in _listed(synset, "test")]


def training(path: Path) -> list[Path]:
    """The objects of softras_train.lst of a synset, or of all synsets below a path."""
    return [object for synset in _synsets(path) for object in _listed(synset, "train")]


def name(folder: Path) -> str:
    """Synset and id, `04379243-1a9bb6a5`; the id alone where the folder above is no synset."""
    whole = folder.absolute()
    return f"{whole.parent.name}-{whole.name}" if _SYNSET.fullmatch(whole.parent.name) else whole.name


def read(folder: Path, source: int | None = None, giving: str = "views", seed: int = 0) -> Scene:
    """One object: its source view given, the others hidden, its point cloud the surface.

    An object of softras_train.lst gives all its views and hides none. Coordinates are those of the object; `frame`
    leads to the world of the cameras. Near and far enclose the box; pixelNeRF's 1.2 and 4.0 belong to cameras at 2.732.

    Args:
        folder: the object.
        source: the view that is given; left out, the one in src_dvr.txt beside the synsets, or the first.
        giving: `cloud` for 300 noisy points of the surface instead, as Occupancy Networks'; the same views are hidden.
        seed: of their choice and noise.

    Raises:
        DataMissing: a file, a camera, or the object in the list is not there.
        DataCorrupt: a file is not what it should be.
    """
    whole, frame = _views(folder)
    surface = _surface(folder / "pointcloud.npz")
    box = np.array(BOX, np.float32)
    cloud = _cloud(folder, surface, seed) if giving == "cloud" else None
    if source is None and _is_training(folder):
        seen = Given(views=whole) if cloud is None else Given(cloud=cloud)
        return Scene(name(folder), seen, box, surface=surface, frame=frame)
    at = _source(folder, whole) if source is None else source
    if not 0 <= at < len(whole):
        raise DataMissing(f"{folder} has no view {at}: it has {len(whole)}.", "Choose one of them.")
    others = [i for i in range(len(whole)) if i != at]
    hidden = whole.subset(others) if others else None
    seen = Given(views=whole.subset([at])) if cloud is None else Given(cloud=cloud)
    withheld = _withheld(folder, whole.names[at] if cloud is None else None)
    return Scene(name(folder), seen, box, hidden=hidden, surface=surface, frame=frame, withheld=withheld)


def splits(folder: Path) -> dict[str, Views]:
    """`train`, the views that are given, and `test`, the hidden ones, as `read` parts them."""
    scene = read(folder)
    assert scene.given.views is not None
    return {"train": scene.given.views, **({"test": scene.hidden} if scene.hidden else {})}


def write(folder: Path, splits: Mapping[str, Views], surface: Points | None = None) -> None:
    """Write the views of all splits, and the surface: reading gives the same cameras, names, pixels and masks.

    A view in two splits is written once. Which views are given is not stored: `read` parts them by its own rule, and
    sorts them by name. Skew and alpha are kept; depth, near and far are not.

    Raises:
        ContractBroken: names that cannot be those of files, or that have the same number.
        NfbenchError: the folder holds an object already.
    """
    if (folder / "cameras.npz").exists():
        raise NfbenchError(f"{folder} holds an object already.", "Choose another folder, or delete this one.")
    views = one_of_each(folder, splits)
    if any((views.cameras.K[:, 2] != (0, 0, 1)).ravel()):
        raise ContractBroken(f"{folder}: intrinsics with a last row other than 0 0 1.", "Scale them.")
    arrays: dict[str, Array] = {}
    for index, number in enumerate(file_numbers(folder, views.names)):
        arrays |= world_arrays(views, index, number)
        arrays[f"camera_mat_{number}"] = _camera_mat(views, index)
        write_png(folder / "image" / f"{views.names[index]}.png", views.image(index))
        if views.load_mask is not None:
            write_grey(folder / "mask" / f"{views.names[index]}.png", views.mask(index).astype(np.uint8) * 255)
    if surface is not None:
        normals = {} if surface.normal is None else {"normals": surface.normal}
        place = {"loc": np.zeros(3), "scale": np.ones(())}
        write_npz(folder / "pointcloud.npz", {"points": surface.xyz, **normals, **place})
    write_npz(folder / "cameras.npz", arrays)


def _cloud(folder: Path, surface: Points | None, seed: int) -> Points:
    if surface is None:
        raise DataMissing(f"There is no {folder / 'pointcloud.npz'}, of which points are given.", "Give its views.")
    return noisy(surface, CLOUD, NOISE, seed)


def _withheld(folder: Path, view: str | None) -> tuple[Path, ...]:
    """The files of an object but its cameras and what the given view has: its image, mask and depth, by place."""
    kept = {folder / "cameras.npz"}
    for below in ("image", "mask", "depth") if view is not None else ():
        files = sorted(file for file in (folder / below).glob("*") if not file.name.startswith("."))
        image = sorted(file.stem for file in (folder / "image").glob("*") if not file.name.startswith("."))
        kept |= {file for file, stem in zip(files, image, strict=False) if stem == view}
    return tuple(file for file in sorted(folder.rglob("*")) if file.is_file() and file not in kept)


def _synsets(path: Path) -> list[Path]:
    """The synsets in a path: the path itself, or the folders in it that are called so."""
    if not path.is_dir():
        return []
    if _SYNSET.fullmatch(path.resolve().name) or (path / "softras_test.lst").is_file():
        return [path]
    return [child for child in sorted(path.iterdir()) if _SYNSET.fullmatch(child.name) and child.is_dir()]


def _listed(synset: Path, split: str) -> list[Path]:
    """The objects of one split of a synset; nothing where it has objects of this format neither."""
    path = synset / f"softras_{split}.lst"
    if path.is_file():
        return [synset / id for id in line_list(path)]
    if split != "test" or (synset / "softras_train.lst").is_file():
        return []
    return [child for child in sorted(synset.iterdir()) if child.is_dir() and detect(child)]


def _is_training(folder: Path) -> bool:
    path = folder.absolute().parent / "softras_train.lst"
    return path.is_file() and folder.absolute().name in line_list(path)


def _source(folder: Path, views: Views) -> int:
    """The place among `views` of the one that src_dvr.txt, two folders above, names for this object."""
    whole = folder.absolute()
    path = whole.parent.parent / _LIST
    if not path.is_file():
        return SOURCE
    wanted = (whole.parent.name, whole.name)
    for number, line in enumerate(line_list(path, blank=True), 1):
        words = line.split()
        if words and (len(words) != 3 or not words[2].isdecimal() or len(words[2]) > _DIGITS):
            raise DataCorrupt(f"{path}: line {number} is not synset, id and view: {line[:80]!r}.", "Mend or remove it.")
        if tuple(words[:2]) == wanted:
            if int(words[2]) >= len(views):
                raise DataCorrupt(f"{path}: line {number} names view {words[2]} of {len(views)}.", "Mend the line.")
            return int(words[2])
    tested = whole.parent / "softras_test.lst"
    if tested.is_file() and whole.name in line_list(tested):
        raise DataMissing(f"{path} does not list {wanted[0]} {wanted[1]}, a test object.", "Fetch the list again.")
    return SOURCE


def _views(folder: Path) -> tuple[Views, NDArray[np.float64]]:
    """All views of an object in its own coordinates, and the frame from these to the world of the cameras."""
    if not folder.is_dir():
        raise DataMissing(f"There is no folder {folder}.", "Fetch the object, or take it off the list of its synset.")
    images = images_in(folder / "image", folder, _IMAGES)
    path = folder / "cameras.npz"
    arrays = read_arrays(path)
    numbers = numbered(path, arrays, tuple(images))
    files = tuple(images.values())
    sizes = np.array([colour_size(file) for file in files], np.int32)
    frame = _frame(path, arrays, numbers)
    to_object = np.linalg.inv(frame)
    scale = np.cbrt(np.linalg.det(frame[:3, :3]))
    c2w = np.stack([to_object @ camera_to_world(path, arrays, n) for n in numbers])
    c2w[:, :3, :3] *= scale
    K = np.stack([_intrinsics(path, arrays, n, size) for n, size in zip(numbers, sizes, strict=True)])
    distance = np.linalg.norm(c2w[:, :3, 3], axis=1)
    near_far = np.stack([np.maximum(distance - _RADIUS, 0.01 * distance), distance + _RADIUS], axis=1)
    with naming(path, tuple(images)), np.errstate(over="ignore"):  # what is infinite then is found to be so
        cameras = Cameras(c2w[:, :3].astype(np.float32), K.astype(np.float32), sizes, near_far.astype(np.float32))
    masks = _masks(folder, images, sizes)
    load_mask = None if masks is None else lambda i: read_mask(masks[i])
    depths = _depths(folder, sizes)

    def depth(index: int) -> Float:
        z = next(iter(read_exr(depths[index]).values())) / np.float32(scale)
        return np.where(z < _BACKGROUND, z * ray_lengths(cameras[index]), np.float32(np.inf))

    load_depth = depth if depths else None
    return Views(cameras, tuple(images), lambda i: read_colour(files[i]), load_mask, load_depth, files), frame


def _masks(folder: Path, images: Mapping[str, Path], sizes: NDArray[np.int32]) -> list[Path] | None:
    """The masks in the order of the images, None where there is no folder of them."""
    if not (folder / "mask").is_dir():
        return None
    return beside(images, sizes.tolist(), images_in(folder / "mask", folder, (".png",)), mask_size)


def _depths(folder: Path, sizes: NDArray[np.int32]) -> list[Path]:
    """The depth maps in the order of the images, as many of the same sizes; none where there is no folder of them."""
    if not (folder / "depth").is_dir():
        return []
    files = list(images_in(folder / "depth", folder, (".exr",)).values())
    if len(files) != len(sizes):
        raise DataMissing(f"{folder / 'depth'} holds {len(files)} maps for {len(sizes)} images.", "Fetch it again.")
    for file, size in zip(files, sizes.tolist(), strict=True):
        if exr_size(file) != tuple(size):
            raise DataCorrupt(f"{file} is not of the size of its image, {size[0]}x{size[1]}.", "Fetch it again.")
    return files


def _frame(path: Path, arrays: Mapping[str, Array], numbers: tuple[int, ...]) -> NDArray[np.float64]:
    """(4,4) object to world: scale_mat, one similarity for all views; the identity where there is none."""
    frames = []
    for number in numbers:
        given = arrays.get(f"scale_mat_{number}")
        frames.append(np.eye(4) if given is None else shaped(f"{path}: scale_mat_{number}", given, (4, 4)))
    frame: NDArray[np.float64] = frames[0]
    for number, other in zip(numbers, frames, strict=True):
        if np.abs(other - frame).max() > 1e-6 * np.abs(frame).max():
            raise DataCorrupt(f"{path}: scale_mat_{number} differs from the first.", "All views have one object.")
    with np.errstate(all="ignore"):  # of numbers that no similarity has
        scale = np.cbrt(np.linalg.det(frame[:3, :3]))
        similar = scale > 0 and np.abs(frame[:3, :3] @ frame[:3, :3].T / scale**2 - np.eye(3)).max() < _RIGID
    if not similar or np.abs(frame[3] - (0, 0, 0, 1)).max() > 1e-6:
        raise DataCorrupt(f"{path}: scale_mat_{numbers[0]} is no similarity: {frame.tolist()}.", "Fetch it again.")
    return frame


def _intrinsics(path: Path, arrays: Mapping[str, Array], number: int, size: NDArray[np.int32]) -> NDArray[np.float64]:
    """(3,3) in pixels from a camera_mat whose image spans [-1,1]."""
    label = f"{path}: camera_mat_{number}"
    M = shaped(label, arrays.get(f"camera_mat_{number}"), (4, 4))
    if np.abs(M[2:] - np.eye(4)[2:]).max() > 1e-6 or np.abs(M[:2, 3]).max() > 1e-6:
        raise DataCorrupt(f"{label} is no pinhole camera: {M.tolist()}.", "Its last rows are those of the identity.")
    K: NDArray[np.float64] = M[:3, :3].copy()
    K[0] = (K[0] + (0, 0, 1)) * size[0] / 2
    K[1] = (K[1] + (0, 0, 1)) * size[1] / 2
    return K


def _camera_mat(views: Views, index: int) -> NDArray[np.float64]:
    """(4,4), the way back from `_intrinsics`."""
    M = np.eye(4)
    M[:2, :3] = views.cameras.K[index, :2].astype(np.float64) * 2 / views.cameras.size[index][:, None]
    M[:2, 2] -= 1
    return M


def _surface(path: Path) -> Points | None:
    """The points of the surface with unit normals, None where there is no file."""
    if not path.exists():
        return None
    arrays = read_arrays(path, ("points", "normals"))
    xyz = shaped(f"{path}: points", arrays.get("points"), (-1, 3))
    if not len(xyz):
        raise DataCorrupt(f"{path} holds no points.", "Download the file again.")
    if "normals" not in arrays:
        return Points(xyz.astype(np.float32))
    normal = shaped(f"{path}: normals", arrays["normals"], (len(xyz), 3))
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    rounded = (np.abs(length - 1) > 1e-6) & (length > 0)  # float16 leaves them up to 1e-3 off
    normal = np.where(rounded, normal / np.where(rounded, length, 1), normal)
    return Points(xyz.astype(np.float32), normal.astype(np.float32))
