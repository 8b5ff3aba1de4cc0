"""Synthetic-NSVF, and NSVF's masked Tanks and Temples and BlendedMVS: views of a bounded object.

    <scene>/rgb/<s>_<name>.png      s is 0 for train, 1 for val, 2 for test; without any 2, 1 is the test set, as in
                                    the sets of Tanks and Temples and BlendedMVS
    <scene>/pose/<s>_<name>.txt     (4,4) camera to world, OpenCV axes
    <scene>/intrinsics.txt          (3,3) or (4,4) in pixels, (0,0) the centre of the first; or, as SRN has it, a first
                                    line `f cx cy 0`
    <scene>/bbox.txt                xmin ymin zmin xmax ymax zmax, and the edge of the first voxels

Liu et al. 2020; facebookresearch/NSVF fairnr/data/data_utils.py load_intrinsics, get_uv. SRN's own folders look alike
but have no bbox.txt. Images of the synthetic scenes have alpha; the masked photographs keep the white that masking put
behind the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, Unsupported
from nfbench.harness.imagefile import read_image
from nfbench.harness.png import write_png
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Scene, Views
from nfbench.loaders.imagefolder import (
    check_intrinsics,
    check_names,
    check_one_size,
    image_sizes,
    images_in,
    refuse_scene,
)
from nfbench.loaders.numbers import numbers, read_matrix, read_words, text_of
from nfbench.loaders.viewsets import refuse_lenses
from nfbench.loaders.watched import watched_box

given = ("views",)

SPLITS = ("train", "val", "test")  # by the number before the underscore

_VOXELS = 1000  # NSVF begins with about so many in the box


def detect(folder: Path) -> bool:
    """Whether the folder has NSVF's bbox.txt, intrinsics.txt, rgb and pose."""
    files = all((folder / name).is_file() for name in ("bbox.txt", "intrinsics.txt"))
    return files and all((folder / name).is_dir() for name in ("rgb", "pose"))


def read(folder: Path) -> Scene:
    """The scene in a folder: the training views are given, those of the test set hidden, and the box is its own.

    Every pose and every image's header is checked; no image is decoded. Poses of a split without any image, such as
    paths for videos, are left out.

    Raises:
        DataMissing: a file, the pose of an image or the image of a pose, or all images of train or test are not there.
        DataCorrupt: a file that is not what it should be, or intrinsics of images of another size.
    """
    found = splits(folder)
    for split in ("train", "test"):
        if split not in found:
            raise DataMissing(
                f"{folder / 'rgb'} holds no images of {split}.",
                "Their names begin with 0_ for train and with 2_, or 1_, for test.",
            )
    box = _box(folder / "bbox.txt")
    return Scene(folder.resolve().name, Given(views=found["train"]), box, hidden=found["test"])


def splits(folder: Path) -> dict[str, Views]:
    """The splits that there are images of, of `train`, `val` and `test`. Raises as `read` does."""
    files = tuple(images_in(folder / "rgb", folder).values())
    size = image_sizes(files)
    check_one_size(files, size)
    K = _intrinsics(folder / "intrinsics.txt")
    K[:2, 2] += 0.5  # the file counts pixels from the centre of the first
    check_intrinsics(K[None], size[:1], files[:1], folder / "intrinsics.txt")
    poses = np.stack([_pose(folder, file) for file in files])[:, :3]
    check_poses(poses, [str(folder / "pose" / f"{file.stem}.txt") for file in files])
    cameras = Cameras(poses.astype(np.float32), np.tile(K.astype(np.float32), (len(files), 1, 1)), size)
    everything = Views(cameras, tuple(file.stem for file in files), lambda i: read_image(files[i]), files=files)
    numbered = [_split(file) for file in files]
    _check_poses_have_images(folder, set(everything.names), set(numbered))
    names = SPLITS if 2 in numbered else ("train", "test")
    chosen = {name: [i for i, number in enumerate(numbered) if number == s] for s, name in enumerate(names)}
    return {name: everything.subset(indices) for name, indices in chosen.items() if indices}


def write(folder: Path, splits: Mapping[str, Views], box: NDArray[np.floating] | None = None) -> None:
    """Write `train`, `test` and, where there is one, `val`: reading them gives the same cameras, pixels and box.

    A name that does not begin with its split's number gets it put before, so that it is read back with it; views come
    back in the order of their names. Lost: near and far, masks beside images, depth. bbox.txt comes last.

    Args:
        folder: the scene's.
        splits: views of one and the same intrinsics and size.
        box: (2,3), the lowest and the highest corner of what is of interest; `watched_box` of the training views
            without it.

    Raises:
        ContractBroken: other splits, names that cannot be files', or a box that is none.
        NfbenchError: the folder holds a scene already.
        Unsupported: a split without views, or views of several intrinsics or sizes.
    """
    refuse_lenses(folder, splits)
    if not {"train", "test"} <= set(splits) <= set(SPLITS):
        raise ContractBroken(f"{folder}: the splits are {', '.join(splits)}.", "Give train and test, and val or not.")
    refuse_scene(folder, "rgb", "pose", "bbox.txt", "intrinsics.txt")
    K = _shared_intrinsics(folder, splits)
    box = np.asarray(watched_box(splits["train"].cameras) if box is None else box, np.float64)
    if box.shape != (2, 3) or not np.isfinite(box).all() or not (box[0] < box[1]).all():
        raise ContractBroken(f"{folder}: the box {box.tolist()} is not a low and a high corner.", "Give scene.box.")
    names = _numbered_names(splits)
    check_names(str(folder), [name for split in names.values() for name in split])
    for split, views in splits.items():
        for i, name in enumerate(names[split]):
            write_png(folder / "rgb" / f"{name}.png", views.image(i))
    (folder / "pose").mkdir()
    for split, views in splits.items():
        for i, name in enumerate(names[split]):
            pose = np.concatenate([views.cameras.c2w[i], [[0, 0, 0, 1]]])
            write_text(folder / "pose" / f"{name}.txt", text_of(pose))
    write_text(folder / "intrinsics.txt", text_of(K))
    voxel = float(np.cbrt((box[1] - box[0]).prod() / _VOXELS))
    write_text(folder / "bbox.txt", text_of(np.array([[*box.ravel(), voxel]])))


def _split(file: Path) -> int:
    number, underscore, _ = file.stem.partition("_")
    if number not in ("0", "1", "2") or not underscore:
        raise DataCorrupt(
            f"{file}: its name tells no split.", "Names begin with 0_, 1_ or 2_: for train, val and test."
        )
    return int(number)


def _pose(folder: Path, file: Path) -> NDArray[np.float64]:
    path = folder / "pose" / f"{file.stem}.txt"
    if not path.is_file():
        raise DataMissing(f"The image {file} has no pose {path}.", "Copy the whole dataset again, or drop the image.")
    return read_matrix(path)


def _check_poses_have_images(folder: Path, names: set[str], splits: set[int]) -> None:
    """Raise DataMissing for a pose without its image in a split of which there are images."""
    for path in sorted((folder / "pose").glob("*.txt")):
        if path.stem not in names and path.stem[:2] in {f"{number}_" for number in splits}:
            raise DataMissing(f"The pose {path} has no image.", "Copy the whole dataset again, or drop the pose.")


def _intrinsics(path: Path) -> NDArray[np.float64]:
    """(3,3) float64 as the file has them."""
    rows = [(line, words) for line, words in read_words(path)]
    K = np.eye(3)
    if len(rows) in (3, 4) and all(len(words) == len(rows) for _, words in rows):
        values = np.array([numbers(path, line, words) for line, words in rows])
        K = values[:3, :3]
        rest = values.copy()
        rest[:3, :3] = np.eye(3)
        if (rest != np.eye(len(rows))).any():
            raise DataCorrupt(f"{path} holds more than intrinsics: {values.tolist()}.", "Give 3x3 numbers.")
    elif rows and len(rows[0][1]) == 4:
        focal, x, y, _ = numbers(path, *rows[0])
        K[0, 0] = K[1, 1] = focal
        K[:2, 2] = x, y
    else:
        raise DataCorrupt(f"{path} holds neither a matrix nor a first line `f cx cy 0`.", "Give 4x4 numbers.")
    if K[1, 0] or (K[2] != (0, 0, 1)).any() or not (np.diag(K) > 0).all():
        raise DataCorrupt(f"{path}: {K.tolist()} are no intrinsics.", "Give [[fx, s, cx], [0, fy, cy], [0, 0, 1]].")
    return K


def _box(path: Path) -> NDArray[np.float32]:
    """(2,3) float32, the two corners; the edge of voxels, where there is one, only has to be a number."""
    values = [value for line, words in read_words(path) for value in numbers(path, line, words)]
    if len(values) not in (6, 7):
        raise DataCorrupt(f"{path} holds {len(values)} numbers, not 6 or 7.", "Give two corners and a voxel's edge.")
    box = np.array(values[:6], np.float32).reshape(2, 3)
    if not (box[0] < box[1]).all():
        raise DataCorrupt(f"{path}: {box.tolist()} is not a low and a high corner.", "Give xmin ymin zmin xmax ...")
    return box


def _shared_intrinsics(folder: Path, splits: Mapping[str, Views]) -> NDArray[np.float64]:
    """(4,4) as the format counts pixels, of all views."""
    if any(not len(views) for views in splits.values()):
        raise Unsupported(f"{folder}: a split has no views.", "Give each split one at least.")
    K = np.concatenate([views.cameras.K for views in splits.values()]).astype(np.float64)
    size = np.concatenate([views.cameras.size for views in splits.values()])
    if np.ptp(K, axis=0).any() or np.ptp(size, axis=0).any():
        raise Unsupported(f"{folder}: intrinsics or sizes differ between views.", "Write one folder for each camera.")
    if K[0, 1, 0] or (K[0, 2] != (0, 0, 1)).any() or not (np.diag(K[0]) > 0).all():
        raise Unsupported(
            f"{folder}: {K[0].tolist()} are intrinsics that the format has not.", "Turn the axes instead."
        )
    padded = np.eye(4)
    padded[:3, :3] = K[0]
    padded[:2, 2] -= 0.5
    return padded


def _numbered_names(splits: Mapping[str, Views]) -> dict[str, list[str]]:
    """The names of each split's views with its number before them; a test set that begins with 1 keeps it."""
    marks = {split: f"{number}_" for number, split in enumerate(SPLITS)}
    if "val" not in splits and all(name.startswith("1_") for name in splits["test"].names):
        marks["test"] = "1_"
    return {
        split: [name if name.startswith(marks[split]) else marks[split] + name for name in views.names]
        for split, views in splits.items()
    }
