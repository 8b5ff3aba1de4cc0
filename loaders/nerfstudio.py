"""nerfstudio (Tancik et al. 2023), also as instant-ngp writes it: one JSON file for photographs of any camera.

    <scene>/transforms.json
        camera_model            OPENCV (the default), PINHOLE, ..., or OPENCV_FISHEYE
        fl_x fl_y cx cy w h     in pixels, or camera_angle_x in radians in place of fl_x
        k1 k2 k3 k4 p1 p2       distortion, 0 where it is not given
        frames[].file_path, transform_matrix    camera to world, OpenGL axes
        frames[].mask_path      where not black, the pixel counts
        frames[].depth_file_path    along the optical axis: 16-bit grey PNG or .npy, times depth_unit_scale_factor
        {train,val,test}_filenames  which frames belong to a split
        ply_file_path           sparse points

All numbers of a camera can be in a frame instead, and `near` and `far` are too where `write` puts them. Without lists
of names nine tenths of the frames, evenly spread in the order of their paths, are for training and the rest for testing
(`eval_mode` fraction, its default). The scene keeps the coordinates of the file; to turn and scale it is the method's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses, from_opengl, local_rays, pixel_grid
from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.meshfile import write_ply
from nfbench.harness.png import write_png
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views
from nfbench.harness.wholefile import read_whole
from nfbench.loaders import photographs
from nfbench.loaders.arrayfile import write_npy
from nfbench.loaders.colmap import box_around
from nfbench.loaders.nerfstudio_frame import LENS, RATIONAL, intrinsics, lens, matrix, near_far, number, own
from nfbench.loaders.pngkinds import write_grey

given = ("views",)

SPLITS = ("train", "val", "test")

_FILE = "transforms.json"
_CLOUD = "sparse_pc.ply"  # as ns-process-data calls it
_TRAIN = 0.9  # train_split_fraction of nerfstudio's NerfstudioDataParserConfig
_MILLIMETRES = 1e-3  # depth_unit_scale_factor, likewise


def detect(folder: Path) -> bool:
    """Whether the folder has transforms.json, and none of Blender's files of splits."""
    if any((folder / f"transforms_{split}.json").is_file() for split in ("train", "test")):
        return False
    return (folder / _FILE).is_file()


def read(folder: Path, factor: int = 1) -> Scene:
    """The scene in a folder: the views of `train` are given, those of `test`, else of `val`, hidden.

    The cloud is given where `ply_file_path` names one. The box holds the cameras and what of the cloud is not far off.

    Args:
        folder: the scene.
        factor: open the images in `images_<factor>`, that many times smaller, in place of those in `images`.

    Raises:
        DataMissing: no JSON file, or an image, mask, depth or cloud that is not there, or not in the list of frames.
        DataCorrupt: a JSON file or an image that is not what it should be; it names the frame.
        Unsupported: a camera model that is not read.
    """
    data = _load(folder)
    views = _splits(folder, data, factor)
    hidden = views.get("test", views.get("val"))
    centres = np.concatenate([split.cameras.centres for split in views.values()])
    cloud = None
    if "ply_file_path" in data:
        (file,) = _paths(folder, [data["ply_file_path"]], [f"{folder / _FILE}: ply_file_path"])
        cloud = read_cloud(file)
    box = box_around(np.empty((0, 3)) if cloud is None else cloud.xyz, centres)
    return Scene(folder.resolve().name, Given(views=views["train"], cloud=cloud), box, hidden=hidden)


def splits(folder: Path, factor: int = 1) -> dict[str, Views]:
    """The splits that the file names, else `train` and `test`; takes and raises what `read` does."""
    return _splits(folder, _load(folder), factor)


def write(folder: Path, splits: Mapping[str, Views], cloud: Points | None = None) -> None:
    """Write `train` and `test`, `val` or both: reading them gives the same cameras, names, pixels, masks and depths.

    nerfstudio itself reads what is written but for lenses with k4, k5 or k6, of the camera model FULL_OPENCV, and takes
    depths with `--depth-unit-scale-factor 1`. Masks and depths are written where all splits have them.

    Args:
        folder: a new folder.
        splits: `train`, and `test`, `val` or both.
        cloud: the sparse points, written to sparse_pc.ply in double precision; without normals.

    Raises:
        ContractBroken: other splits than these, or a name that cannot be a file's.
        NfbenchError: the folder is not empty.
        Unsupported: a split that is empty, or intrinsics with skew or a focal length that is not positive.
    """
    if not {"train"} < set(splits) <= set(SPLITS):
        raise ContractBroken(f"{folder}: the splits are {', '.join(splits)}.", "Give train, and test or val.")
    if folder.exists() and any(folder.iterdir()):
        raise NfbenchError(f"{folder} holds something already.", "Choose another folder, or delete this one.")
    masks = all(views.load_mask is not None for views in splits.values())
    depths = all(views.load_depth is not None for views in splits.values())
    data: dict[str, Any] = {"depth_unit_scale_factor": 1.0} if depths else {}
    frames = []
    for split, views in splits.items():
        if not len(views):
            raise Unsupported(f"{folder}: split {split} has no views.", "Give it one at least.")
        written = [_frame(folder, split, views, i) for i in range(len(views))]
        for i, frame in enumerate(written):
            frame |= {"mask_path": f"masks/{split}/{views.names[i]}.png"} if masks else {}
            frame |= {"depth_file_path": f"depths/{split}/{views.names[i]}.npy"} if depths else {}
        data[f"{split}_filenames"] = [frame["file_path"] for frame in written]
        frames += written
    data["frames"] = frames
    data |= {} if cloud is None else {"ply_file_path": _CLOUD}
    for split, views in splits.items():
        _write_files(folder, split, views, masks, depths)
    if cloud is not None:
        write_ply(folder / _CLOUD, Mesh(cloud.xyz.astype(np.float64), np.empty((0, 3), np.int64)))
    write_text(folder / _FILE, json.dumps(data, indent=1) + "\n")


def _load(folder: Path) -> dict[str, Any]:
    path = folder / _FILE
    try:
        data = json.loads(read_whole(path).decode("utf-8-sig"))
    except FileNotFoundError:
        raise DataMissing(f"There is no {path}.", "ns-process-data makes it of photographs.") from None
    except OSError as error:
        raise DataCorrupt(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path}: byte {error.start} is not UTF-8.", "Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataCorrupt(f"{path}: {where}: no JSON: {error.msg}.", "Mend the line, or download it again.") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, a number of too many digits
        raise DataCorrupt(f"{path}: no usable JSON: {error}.", "Download the file again.") from None
    frames = data.get("frames") if isinstance(data, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise DataCorrupt(f"{path} has no list of frames.", "It must list a file_path and a transform_matrix per view.")
    return dict(data)


def _splits(folder: Path, data: Mapping[str, Any], factor: int) -> dict[str, Views]:
    frames = data["frames"]
    labels = [f"{folder / _FILE}: frame {i} ({frame.get('file_path')})" for i, frame in enumerate(frames)]
    paths = [_relative(frame.get("file_path"), label) for frame, label in zip(frames, labels, strict=True)]
    chosen = _chosen(folder, data, paths)
    files = _paths(folder, [_copy(path, factor, "images").as_posix() for path in paths], labels)
    cameras = _cameras(folder / _FILE, data, labels, files, factor)
    masks = _beside(folder, frames, labels, "mask_path", factor)
    depths = _beside(folder, frames, labels, "depth_file_path", factor)
    scale = number(data, "depth_unit_scale_factor", str(folder / _FILE), _MILLIMETRES)
    found = {}
    for split, at in chosen.items():
        load_mask = None if masks is None else lambda i, at=at: photographs.grey_pixels(masks[at[i]]) > 0
        load_depth = None if depths is None else lambda i, at=at: _read_depth(depths[at[i]], cameras, at[i], scale)
        pictures = photographs.views_of(folder, cameras[at], _names(paths, at), [files[i] for i in at])
        found[split] = Views(pictures.cameras, pictures.names, pictures.load, load_mask, load_depth, pictures.files)
    return found


def _names(paths: Sequence[PurePosixPath], at: Sequence[int]) -> list[str]:
    """The names of the images without their endings; with their folders where they would not differ otherwise."""
    names = [photographs.stem(paths[i].name) for i in at]
    return names if len(set(names)) == len(names) else [photographs.stem(paths[i].as_posix()) for i in at]


def _chosen(folder: Path, data: Mapping[str, Any], paths: Sequence[PurePosixPath]) -> dict[str, list[int]]:
    """Which frames belong to each split."""
    where = folder / _FILE
    index = {path: i for i, path in enumerate(paths)}
    if len(index) != len(paths):
        twice = next(path for i, path in enumerate(paths) if index[path] != i)
        raise DataCorrupt(f"{where}: two frames are of {twice}.", "Drop one of the two.")
    lists = {split: data[f"{split}_filenames"] for split in SPLITS if f"{split}_filenames" in data}
    if not lists:
        order = sorted(range(len(paths)), key=lambda i: paths[i].parts)
        train = np.linspace(0, len(order) - 1, math.ceil(_TRAIN * len(order)), dtype=int).tolist()
        kept = set(train)
        rest = [order[i] for i in range(len(order)) if i not in kept]
        if not rest:
            raise DataCorrupt(
                f"{where}: of {len(order)} frames none is left for testing.", "Name some in test_filenames."
            )
        return {"train": [order[i] for i in train], "test": rest}
    found = {}
    for split, names in lists.items():
        label = f"{where}: {split}_filenames"
        if not isinstance(names, list) or not names:
            raise DataCorrupt(f"{label} is no list of names.", "Name the images of its frames.")
        at = [index.get(_relative(name, label), -1) for name in names]
        if -1 in at:
            raise DataMissing(f"{label}: no frame is of {names[at.index(-1)]!r}.", "Mend the name, or add the frame.")
        if len(set(at)) != len(at):
            raise DataCorrupt(f"{label} names a frame twice.", "Name it once.")
        found[split] = at
    if "train" not in found or len(found) == 1:
        raise DataMissing(f"{where} names the frames of {', '.join(found)} only.", "Name those of train and of test.")
    return found


def _relative(name: object, label: str) -> PurePosixPath:
    """A path of the file, always with an ending."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataCorrupt(f"{label}: {name!r} names no file.", "Name its file, images/frame_00001.png for one.")
    path = PurePosixPath(name.strip().replace("\\", "/"))
    if photographs.leads_out(str(path)) or not path.name:
        raise DataCorrupt(f"{label}: {name!r} is outside of the scene.", "Name files below the folder of the scene.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataCorrupt(f"{label}: {name!r} cannot be the name of a file.", "Mend the name.") from None
    return path if path.suffix else path.with_name(f"{path.name}.png")


def _copy(path: PurePosixPath, factor: int, kind: str) -> PurePosixPath:
    """The file in the folder of copies that are `factor` times smaller."""
    return path if factor == 1 else PurePosixPath(f"{kind}_{factor}") / path.name


def _paths(folder: Path, names: Sequence[object], labels: Sequence[str]) -> list[Path]:
    """The files of the scene that `names` tell; all are there."""
    files = [folder / _relative(name, label) for name, label in zip(names, labels, strict=True)]
    photographs.check_inside(folder, files)
    for file, label in zip(files, labels, strict=True):
        try:
            there = file.is_file()
        except OSError:  # a name that is too long
            there = False
        if not there:
            raise DataMissing(f"{label}: there is no {file}.", "Download it, or drop the frame.")
    return files


def _beside(
    folder: Path, frames: Sequence[Mapping[str, Any]], labels: Sequence[str], key: str, factor: int
) -> list[Path] | None:
    """The masks or depths of all frames, None where there are none."""
    have = [key in frame for frame in frames]
    if not any(have):
        return None
    if not all(have):
        raise DataCorrupt(f"{labels[have.index(False)]} has no {key}, others have.", "Give all frames one, or none.")
    kind = {"mask_path": "masks", "depth_file_path": "depths"}[key]
    relative = [_relative(frame[key], f"{label}: {key}") for frame, label in zip(frames, labels, strict=True)]
    return _paths(folder, [_copy(path, factor, kind).as_posix() for path in relative], labels)


def _cameras(
    where: Path, data: Mapping[str, Any], labels: Sequence[str], files: Sequence[Path], factor: int
) -> Cameras:
    """The cameras of all frames."""
    frames = data["frames"]
    actual = photographs.sizes(files)
    c2w = from_opengl(
        [matrix(frame.get("transform_matrix"), label) for frame, label in zip(frames, labels, strict=True)]
    )
    check_poses(c2w, labels)
    n = len(frames)
    K, declared, bent, fisheye = np.empty((n, 3, 3)), np.empty((n, 2)), np.empty((n, 8)), np.empty(n, bool)
    limits = [near_far(frame, label) for frame, label in zip(frames, labels, strict=True)]
    for i, (frame, label) in enumerate(zip(frames, labels, strict=True)):
        camera = own(data, frame, label)
        declared[i] = (
            (actual[i] * factor) if "w" not in camera else (camera["w"], camera.get("h", actual[i, 1] * factor))
        )
        K[i] = intrinsics(camera, declared[i].tolist(), label)
        bent[i], fisheye[i] = lens(camera, label)
    photographs.check_sizes(files, declared, actual, factor)
    if None in limits and any(limits):
        raise DataCorrupt(
            f"{labels[limits.index(None)]} has no near and far, others have.", "Give all of them, or none."
        )
    has_lens = bool(bent.any() or fisheye.any())
    with photographs.naming(where, [str(frame["file_path"]) for frame in frames]):
        return Cameras(
            c2w,
            photographs.scaled(K, declared, actual).astype(np.float32),
            actual,
            np.array(limits, np.float32) if any(limits) else None,
            bent.astype(np.float32) if has_lens else None,
            fisheye if has_lens else None,
        )


def _read_depth(path: Path, cameras: Cameras, index: int, scale: float) -> NDArray[np.float32]:
    """(H,W) float32 distance along the rays, inf where nothing was measured."""
    if path.suffix.lower() == ".npy":
        stored: NDArray[np.generic] = photographs.mapped_array(path)
    else:
        stored = photographs.grey_pixels(path)
    width, height = cameras.size[index].tolist()
    if stored.dtype.kind not in "fu" or stored.size != width * height:
        raise DataCorrupt(
            f"{path}: {stored.dtype} {stored.shape}, not a depth a pixel of {width}x{height}.", "Write it again."
        )
    with np.errstate(over="ignore", invalid="ignore"):  # what is too far for a float32 was not measured
        along_axis = np.asarray(stored, np.float64).reshape(height, width) * scale
        along_axis = np.where(along_axis > 0, along_axis, np.inf)
        return (along_axis / _cosine(cameras, index)).astype(np.float32)


def _cosine(cameras: Cameras, index: int) -> NDArray[np.float64]:
    """(H,W) what of a way along a pixel's ray goes along the optical axis."""
    width, height = cameras.size[index].tolist()
    local = local_rays(cameras, index, pixel_grid(width, height))
    return np.asarray(local[:, 2] / np.linalg.norm(local, axis=1)).reshape(height, width)


def _frame(folder: Path, split: str, views: Views, index: int) -> dict[str, Any]:
    """The JSON object of one view."""
    cameras, name = views.cameras, views.names[index]
    photographs.check_name(folder, name)
    K, (width, height) = cameras.K[index].astype(np.float64), cameras.size[index].tolist()
    fx, fy, cx, cy = (float(K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if not np.array_equal(K, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])) or fx <= 0 or fy <= 0:
        raise Unsupported(f"{folder}: view {name!r} has skew or a negative focal length.", "The format knows neither.")
    pose = np.eye(4)
    pose[:3] = from_opengl(cameras.c2w[index][None])[0]  # the change of axes is its own inverse
    frame: dict[str, Any] = {"file_path": f"images/{split}/{name}.png", "transform_matrix": pose.tolist()}
    frame |= {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height}
    if cameras.near_far is not None:
        frame |= dict(zip(("near", "far"), cameras.near_far[index].tolist(), strict=True))
    if (bent := cameras.lens(index)) is None:
        return frame
    numbers, fisheye = bent
    if fisheye:
        return (
            frame
            | {"camera_model": "OPENCV_FISHEYE"}
            | dict(zip(("k1", "k2", "k3", "k4"), numbers.tolist(), strict=False))
        )
    model = RATIONAL if numbers[5:].any() else "OPENCV"
    return frame | {"camera_model": model} | {k: v for k, v in zip(LENS, numbers.tolist(), strict=True) if v}


def _write_files(folder: Path, split: str, views: Views, masks: bool, depths: bool) -> None:
    for i, name in enumerate(views.names):
        write_png(folder / "images" / split / f"{name}.png", views.image(i))
        if masks:
            write_grey(folder / "masks" / split / f"{name}.png", views.mask(i).astype(np.uint8) * 255)
        if depths:
            along_axis = views.depth(i).astype(np.float64) * _cosine(views.cameras, i)
            write_npy(folder / "depths" / split / f"{name}.npy", along_axis)
