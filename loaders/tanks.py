"""Tanks and Temples' photographs with a log of camera poses, and the truth beside them where it is there.

    <Scene>/images/*.jpg, or the images right in <Scene>, in the order of their names
    <Scene>/<Scene>_COLMAP_SfM.log      for each image in that order: a line `k k 0`, or `k -1 0` where the image was
                                        not registered, and (4,4) camera to world, OpenCV axes, in four lines
    <Scene>/camera_intrinsic.json       Open3D's PinholeCameraIntrinsic, since the logs have none: width, height and
                                        intrinsic_matrix, nine numbers column by column, (0,0) the centre of the first
                                        pixel

Knapitsch et al. 2017; isl-org/TanksAndTemples python_toolbox/convert_to_logfile.py, evaluation/trajectory_io.py. The
poses of the reference log belong to the truth of the format tanks-truth, which is read along where it lies in the same
folder. Logs of other reconstructions have a frame of their own.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.imagefile import ENDINGS, read_image
from nfbench.harness.png import write_png
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Scene, Views
from nfbench.loaders import tanks_truth
from nfbench.loaders.imagefolder import (
    check_intrinsics,
    check_names,
    check_one_size,
    image_sizes,
    images_in,
    only_split,
    refuse_scene,
)
from nfbench.loaders.numbers import check_last_row, numbers, read_words, text_of, whole
from nfbench.loaders.viewsets import refuse_lenses
from nfbench.loaders.watched import watched_box

given = ("views",)

LENS = "camera_intrinsic.json"  # the name that Open3D's tools give it
REFERENCE = "_COLMAP_SfM.log"  # after the name of the scene: the poses that its truth is aligned with

_WRITTEN = "trajectory.log"
_LOOK = 512  # bytes of a log that tell whether it is a trajectory
_LARGEST = 1e30  # pixels; what is computed from such numbers still is a float32
_MOST = 1 << 16  # bytes of a file of intrinsics


def detect(folder: Path) -> bool:
    """Whether a folder has images, right in it or in `images`, and a trajectory among its logs."""
    if not folder.is_dir() or not _logs(folder):
        return False
    place = folder / _images(folder)
    return any(path.suffix.lower() in ENDINGS for path in place.iterdir())


def read(folder: Path, log: str | None = None) -> Scene:
    """The scene in a folder: all registered views are given; with its truth where that and the reference log are there.

    Without the truth the box is `watched_box`. Every image's header is checked; no image is decoded.

    Args:
        folder: the scene.
        log: the name of the log, where there are several and none is the reference.

    Raises:
        DataMissing: images, the log or the intrinsics are not there.
        DataCorrupt: a file that is not what it should be, or a log of other images.
    """
    path = _log(folder, log)
    files = tuple(images_in(folder / _images(folder), folder).values())
    poses, registered = read_log(path)
    if len(poses) != len(files):
        raise DataCorrupt(
            f"{path} has poses of {len(poses)} images, and {files[0].parent} holds {len(files)}.",
            "Poses belong to images by the order of their names: put back the images that are missing.",
        )
    files = tuple(file for file, here in zip(files, registered, strict=True) if here)
    if not files:
        raise DataCorrupt(f"{path} has no image that is registered.", "Reconstruct the poses again.")
    size = image_sizes(files)
    check_one_size(files, size)
    K = _read_lens(folder / LENS, files[0], size[0].tolist())
    check_intrinsics(K[None], size[:1], files[:1], folder / LENS)
    cameras = Cameras(poses[registered, :3].astype(np.float32), np.tile(K.astype(np.float32), (len(files), 1, 1)), size)
    names = tuple(file.stem for file in files)
    views = Views(cameras, names, lambda i: read_image(files[i]), files=files)
    if path.name == folder.resolve().name + REFERENCE and tanks_truth.is_there(folder):
        return replace(tanks_truth.read(folder), given=Given(views=views))
    return Scene(folder.resolve().name, Given(views=views), watched_box(cameras))


def splits(folder: Path, log: str | None = None) -> dict[str, Views]:
    """All registered views as `train`: the format holds none out. Raises as `read` does."""
    views = read(folder, log).given.views
    assert views is not None
    return {"train": views}


def write(folder: Path, splits: Mapping[str, Views]) -> None:
    """Write the one split `train`: reading it gives the same cameras, names and pixels, in the order of the names.

    Images are PNG, to lose nothing, in `images`. Lost: near and far, masks, depth and the scene's box. The log comes
    last.

    Raises:
        ContractBroken: other splits, or names that cannot be files'.
        NfbenchError: the folder holds a scene already.
        Unsupported: no views, or views of several intrinsics or sizes.
    """
    refuse_lenses(folder, splits)
    only_split(folder, splits)
    refuse_scene(folder, "images", LENS, _WRITTEN)
    views = splits["train"]
    check_names(str(folder), views.names)
    K, size = views.cameras.K.astype(np.float64), views.cameras.size
    if not len(views) or np.ptp(K, axis=0).any() or np.ptp(size, axis=0).any():
        raise Unsupported(
            f"{folder}: no views, or intrinsics or sizes that differ.", "Write one folder for each camera."
        )
    order = sorted(range(len(views)), key=lambda i: f"{views.names[i]}.png")
    for i in order:
        write_png(folder / "images" / f"{views.names[i]}.png", views.image(i))
    lens = K[0].copy()
    lens[:2, 2] -= 0.5
    width, height = size[0].tolist()
    data = {"width": width, "height": height, "intrinsic_matrix": lens.T.ravel().tolist()}
    write_text(folder / LENS, json.dumps(data, indent=1) + "\n")
    write_log(folder / _WRITTEN, views.cameras.c2w[order])


def read_log(path: Path) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Poses (N,4,4), camera to world in OpenCV axes, and which of the N images are registered, of a camera log.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: entries that are not five lines, not numbered from 0 on, or whose pose is no rigid motion.
    """
    lines = read_words(path)
    if not lines or len(lines) % 5:
        raise DataCorrupt(f"{path} has {len(lines)} lines, not five for each image.", "Fetch or write it again.")
    poses, registered = [], []
    for k, start in enumerate(range(0, len(lines), 5)):
        line, words = lines[start]
        if len(words) != 3 or whole(path, line, words[0]) != k:
            raise DataCorrupt(
                f"{path}, line {line}: {' '.join(words)[:40]!r} where image {k} is expected.",
                "Each image has three whole numbers, the first its own, then four lines of four.",
            )
        registered.append(whole(path, line, words[1]) != -1)
        rows = [numbers(path, *entry, 4) for entry in lines[start + 1 : start + 5]]
        check_last_row(f"{path}: image {k}", rows)
        poses.append(rows)
    found = np.array(poses, np.float64)
    check_poses(found[:, :3], [f"{path}: image {k}" for k in range(len(poses))])
    return found, np.array(registered, np.bool_)


def write_log(path: Path, c2w: NDArray[np.floating]) -> None:
    """Write poses (N,3,4), camera to world in OpenCV axes, as a log of N registered images; no bit is lost."""
    entries = [
        f"{k} {k} 0\n" + text_of(np.concatenate([pose, [[0, 0, 0, 1]]]).astype(np.float64))
        for k, pose in enumerate(c2w)
    ]
    write_text(path, "".join(entries))


def _images(folder: Path) -> str:
    return "images" if (folder / "images").is_dir() else "."


def _logs(folder: Path) -> list[str]:
    """The names of the files in a folder that begin as trajectories do."""
    return [path.name for path in sorted(folder.glob("*.log")) if _is_log(path)]


def _is_log(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            lines = [line.split() for line in file.read(_LOOK).decode("utf-8-sig", "replace").splitlines()]
        first, second = [line for line in lines if line][:2]
        return len(first) == 3 and len(second) == 4 and all(math.isfinite(float(word)) for word in first + second)
    except (OSError, ValueError):
        return False


def _log(folder: Path, name: str | None) -> Path:
    """The log that is named, else the reference, else the only one."""
    there = _logs(folder)
    reference = folder.resolve().name + REFERENCE
    if name is None and not there:
        raise DataMissing(f"{folder} has no log of camera poses.", f"Put {reference} beside the images.")
    if name is None and reference not in there and len(there) > 1:
        raise DataCorrupt(f"{folder} has several logs: {', '.join(there)}.", "Leave one of them.")
    return folder / (name or (reference if reference in there else there[0]))


def _read_lens(path: Path, image: Path, size: list[int]) -> NDArray[np.float64]:
    """(3,3) intrinsics in pixels, centres at +0.5, which must be made for images of `size`."""
    if not path.is_file():
        raise DataMissing(
            f"There is no {path}.",
            'Logs have no intrinsics: write {"width": w, "height": h, "intrinsic_matrix": [fx, 0, 0, 0, fy, 0, cx, cy, '
            "1]} there, as Open3D does.",
        )
    try:
        if path.stat().st_size > _MOST:
            raise ValueError("too long")
        data: Any = json.loads(path.read_bytes().decode("utf-8-sig"))
        declared = [data["width"], data["height"]]
        values = np.array(data["intrinsic_matrix"], np.float64)
    except (OSError, KeyError, TypeError, ValueError, RecursionError, OverflowError) as error:
        raise DataCorrupt(
            f"{path} holds no intrinsics: {type(error).__name__}: {error}.", "Write it as Open3D does."
        ) from None
    if declared != size:
        raise DataCorrupt(
            f"{path} is of images of {declared[0]}x{declared[1]}, and {image.name} has {size[0]}x{size[1]}.",
            "Scale its numbers with the images.",
        )
    K = values.reshape(3, 3).T.copy() if values.shape == (9,) else np.zeros((3, 3))
    if not (np.abs(K) < _LARGEST).all() or K[1, 0] or (K[2] != (0, 0, 1)).any() or not (np.diag(K) > 0).all():
        raise DataCorrupt(f"{path}: intrinsic_matrix is {values.tolist()}.", "Give [fx, 0, 0, skew, fy, 0, cx, cy, 1].")
    K[:2, 2] += 0.5
    return K
