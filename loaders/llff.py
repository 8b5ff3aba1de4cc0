"""LLFF, forward-facing photographs (Mildenhall et al. 2019, the scenes of NeRF 2020): images and one array of poses.

    <scene>/poses_bounds.npy    (N,17): a 3x5 matrix row by row, and the nearest and farthest depth
        columns 0-2                 camera to world, axes down, right, backwards
        column 3                    the camera's centre
        column 4                    height, width and focal length in pixels of the images in `images`
    <scene>/images_<N>/         N times smaller copies; the n-th by name belongs to the n-th row

The depths are along the optical axis: the 0.1 and the 99.9 percentile of the sparse points that the camera sees. Every
eighth view is for testing. Normalised device coordinates, as NeRF uses them here, are left to the method.

LLFF takes its poses from COLMAP, so that folders often hold `sparse/0` as well. Then the format is LLFF where all
cameras look much the same way, as in the published scenes, whose papers use these poses and not COLMAP's lens; and
COLMAP where they look around, as in mip-NeRF 360, whose folders carry this file too but whose code does not read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses, local_rays
from nfbench.harness.convention import from_llff, to_llff
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.scene import Given, Scene, Views
from nfbench.loaders import photographs
from nfbench.loaders.arrayfile import write_npy

given = ("views",)

ORDER = (4, 8, 2, 1)
"""Which copy of the images is opened: the protocol llff@1, as the paper, is of the one four times smaller."""

_FILE = "poses_bounds.npy"
_COLUMNS = 17
_SAME_WAY = 0.8
"""The least length of the mean viewing direction of forward-facing cameras: 0.95 and more in the published scenes; a
full circle around something, looking down by 50 degrees, has less."""
_LARGEST = 1e30  # what float32 can hold, and its square nearly


def detect(folder: Path) -> bool:
    """Whether the folder has poses and images, and is not better read as nerfstudio, Blender or COLMAP."""
    if not (folder / _FILE).is_file() or not photographs.copies(folder):
        return False
    if any((folder / f"transforms{split}.json").is_file() for split in ("", "_train", "_test")):
        return False
    return not (folder / "sparse").is_dir() or is_forward_facing(folder)


def is_forward_facing(folder: Path) -> bool:
    """Whether all cameras of poses_bounds.npy look much the same way; also where that cannot be told."""
    try:
        rows = _rows(folder)
    except (DataCorrupt, DataMissing):
        return True  # reading it will say what is wrong
    return bool(np.linalg.norm(_poses(rows)[:, :, 2].mean(0)) >= _SAME_WAY)


def read(folder: Path, factor: int | None = None) -> Scene:
    """The scene in a folder: every eighth view is hidden, the others are given; `frame` is the identity.

    Near and far hold what lies between the two depths in any pixel. The box holds the frusta between them.

    Args:
        folder: the scene.
        factor: open the images that are this many times smaller; by default the first of `ORDER` that is there.

    Raises:
        DataMissing: no poses or no images.
        DataCorrupt: poses that are no array of this form, not finite, no rigid motion, as many as there are images, or
            of images of another size; depths that are no interval; an image outside of the folder, or damaged.
    """
    views = splits(folder, factor)
    both = [views["train"].cameras, views["test"].cameras]
    corners = np.concatenate([_frusta(cameras) for cameras in both])
    box = np.stack([corners.min(0), corners.max(0)])
    return Scene(folder.resolve().name, Given(views=views["train"]), box, hidden=views["test"])


def splits(folder: Path, factor: int | None = None) -> dict[str, Views]:
    """The splits `train` and `test`; takes and raises what `read` does."""
    rows = _rows(folder)
    number, images = photographs.chosen_copy(folder, factor, ORDER)
    names = photographs.pictures(images)
    if len(names) != len(rows):
        raise DataCorrupt(
            f"{folder / _FILE} has poses of {len(rows)} images, {images} has {len(names)} images.",
            "LLFF writes no pose for an image that COLMAP could not place; take such images out.",
        )
    files = [images / name for name in names]
    photographs.check_inside(folder, files)
    labels = [f"{folder / _FILE}: row {i} ({name})" for i, name in enumerate(names)]
    cameras = _cameras(rows, labels, files, number)
    views = photographs.views_of(folder, cameras, [photographs.stem(name) for name in names], files)
    return photographs.split_views(folder, views, photographs.held_out(len(views))[1])


def write(folder: Path, splits: Mapping[str, Views]) -> None:
    """Write `train` and `test`: reading them gives the same cameras, names and pixels.

    Images become PNG in `images`, masks and depths are left out.

    Raises:
        ContractBroken: other splits than these, or names that cannot be files'.
        NfbenchError: the folder is not empty.
        Unsupported: what the format cannot say: a test view that is not every eighth by name, cameras without near and
            far, with a lens, with skew, two focal lengths or a principal point off the middle.
    """
    order = photographs.in_order(folder, splits)
    if not photographs.follows_the_rule(order):
        raise Unsupported(
            f"{folder}: the test views are not views 0, 8, 16, ... in the order of their names.",
            "LLFF knows no other split; write colmap or nerfstudio, or name the views so.",
        )
    rows = [_row(folder, name, splits[split].cameras[index]) for name, split, index in order]
    photographs.write_pictures(folder, order, splits)
    write_npy(folder / _FILE, np.stack(rows))


def _rows(folder: Path) -> NDArray[np.float64]:
    """(N,17) of the file, finite."""
    path = folder / _FILE
    if not path.is_file():
        raise DataMissing(f"There is no {path}.", "LLFF's imgs2poses.py makes it of a COLMAP model.")
    rows = photographs.mapped_array(path)
    if rows.dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] != _COLUMNS:
        raise DataCorrupt(
            f"{path} holds {rows.dtype} {rows.shape}, not floating-point (N, {_COLUMNS}).", "Fetch it again."
        )
    if not len(rows):
        raise DataCorrupt(f"{path} has no rows.", "Fetch it again.")
    values = np.asarray(rows, np.float64)
    bad = np.flatnonzero(~(np.abs(values) < _LARGEST).all(1))
    if len(bad):
        raise DataCorrupt(f"{path}: row {bad[0]} holds NaN, infinity or a number out of range.", "Fetch it again.")
    return values


def _poses(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,3,4) in OpenCV axes."""
    return from_llff(rows[:, :15].reshape(-1, 3, 5)[:, :, :4])


def _cameras(rows: NDArray[np.float64], labels: list[str], files: list[Path], factor: int) -> Cameras:
    c2w = _poses(rows)
    check_poses(c2w, labels)
    high, wide, focal = rows[:, 4], rows[:, 9], rows[:, 14]
    near, far = rows[:, 15], rows[:, 16]
    for wrong, what in (
        (~(np.minimum(high, wide) >= 1), "a height and width of {0:g} and {1:g}"),
        (~(focal > 0), "a focal length of {2:g}"),
        (~((near > 0) & (near < far)), "depths of {3:g} and {4:g}, not 0 < near < far"),
    ):
        if wrong.any():
            i = int(np.argmax(wrong))
            text = what.format(high[i], wide[i], focal[i], near[i], far[i])
            raise DataCorrupt(f"{labels[i]} has {text}.", "Mend the row, or fetch the file again.")
    declared, actual = np.stack([wide, high], axis=1), photographs.sizes(files)
    photographs.check_sizes(files, declared, actual, factor)
    K = np.zeros((len(rows), 3, 3))
    K[:, 0, 0] = K[:, 1, 1] = focal
    K[:, :2, 2] = declared / 2
    K[:, 2, 2] = 1
    K = photographs.scaled(K, declared, actual)
    far = far * _stretch(K, actual)
    near_far = np.stack([near, far], axis=1).astype(np.float32)
    with photographs.naming(files[0].parents[1] / _FILE, [file.name for file in files]):
        return Cameras(c2w.astype(np.float32), K.astype(np.float32), actual, near_far)


def _stretch(K: NDArray[np.float64], size: NDArray[np.int32]) -> NDArray[np.float64]:
    """(N,) by how much longer than along the axis the way to a depth is in the corner of an image."""
    k = K.astype(np.float32).astype(np.float64)
    tangent = size / 2 / k[:, [0, 1], [0, 1]]
    return np.asarray(np.sqrt(1 + (tangent**2).sum(1)))


def _frusta(cameras: Cameras) -> NDArray[np.float32]:
    """(8N,3) where the corners of the images are at near, and at the depth of far."""
    corners = []
    for i in range(len(cameras)):
        assert cameras.near_far is not None
        width, height = cameras.size[i].tolist()
        local = local_rays(cameras, i, np.array([[0, 0], [width, 0], [0, height], [width, height]]))
        local = local / np.linalg.norm(local, axis=1, keepdims=True)
        turned = local @ cameras.c2w[i, :, :3].T
        corners += [cameras.centres[i] + distance * turned for distance in cameras.near_far[i]]
    return np.concatenate(corners).astype(np.float32)


def _row(folder: Path, name: str, camera: Cameras) -> NDArray[np.float64]:
    """The (17,) of one camera."""
    K, (width, height) = camera.K[0].astype(np.float64), camera.size[0].tolist()
    plain = np.array([[K[0, 0], 0, width / 2], [0, K[0, 0], height / 2], [0, 0, 1]])
    if camera.lens(0) is not None or not np.array_equal(K, plain) or K[0, 0] <= 0:
        raise Unsupported(
            f"{folder}: view {name!r} has a lens, skew, two focal lengths or a principal point off the middle.",
            "LLFF knows one focal length only; write colmap or nerfstudio.",
        )
    if camera.near_far is None:
        raise Unsupported(f"{folder}: view {name!r} has no near and far.", "LLFF needs them; write colmap.")
    near, far = camera.near_far[0].astype(np.float64)
    if not 0 < near < far / _stretch(K[None], camera.size)[0]:
        raise Unsupported(f"{folder}: view {name!r} has near {near:g} and far {far:g}.", "LLFF needs depths above 0.")
    matrix = np.concatenate([to_llff(camera.c2w)[0], [[height], [width], [K[0, 0]]]], axis=1)
    return np.array([*matrix.reshape(-1), near, far / _stretch(K[None], camera.size)[0]])
