"""CO3D v2, Common Objects in 3D (Reizenstein et al. 2021): one scene is one sequence, a turn around an object.

    <category>/frame_annotations.jgz            all frames of all sequences, JSON in gzip
    <category>/set_lists/set_lists_<subset>.json    {train,val,test}: [[sequence, frame number, image path], ...]
    <category>/<sequence>/images/frame000001.jpg    and masks/, depths/, depth_masks/, pointcloud.ply

A frame's viewpoint is PyTorch3D's: row vectors, x_camera = x_world R + T, with x left, y up and z forward. Its focal
length and principal point are in normalised coordinates that grow to the left and up from the middle of the image:

    ndc_isotropic           one unit is half the shorter side
    ndc_norm_image_bounds   one unit is half the width along x and half the height along y; what is meant where the
                            format is not said

facebookresearch/co3d dataset/data_types.py; facebookresearch/pytorch3d implicitron/dataset. Depth is a 16-bit PNG whose
bits are float16, along the optical axis. The point cloud comes from the views and is no truth: it only gives the box.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses
from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, NotFound, Unsupported, did_you_mean
from nfbench.harness.imagefile import image_size, read_image
from nfbench.harness.png import write_png
from nfbench.harness.scene import Float, Given, Scene, Views
from nfbench.loaders.imagefolder import within
from nfbench.loaders.jgzfile import read_json, records, write_json
from nfbench.loaders.pngkinds import depth_size, mask_size, read_depth, read_mask, write_grey
from nfbench.loaders.viewsets import one_of_each

given = ("views",)

ANNOTATIONS = "frame_annotations.jgz"
FORMATS = ("ndc_isotropic", "ndc_norm_image_bounds")

_SPLITS = ("train", "val", "test")
_TO_OPENCV = np.array([-1.0, -1.0, 1.0])  # PyTorch3D's x and y point left and up
_ROOM = 0.05  # of the longest edge, around the point cloud
_AGAIN = "Download the category's annotations again."
_LARGEST = float(np.finfo(np.float32).max)


def detect(folder: Path) -> bool:
    """Whether a folder holds images and lies beside the annotations of a category."""
    return (folder / "images").is_dir() and (folder.absolute().parent / ANNOTATIONS).is_file()


def scenes(path: Path) -> list[Path]:
    """The sequences in a path: itself, those of a category, or those of all categories in it."""
    if detect(path):
        return [path]
    if not path.is_dir():
        return []
    categories = [path] if (path / ANNOTATIONS).is_file() else sorted(path.iterdir())
    return [s for c in categories if (c / ANNOTATIONS).is_file() for s in sorted(c.iterdir()) if detect(s)]


def read(folder: Path, subset: str | None = None) -> Scene:
    """One sequence, by headers alone: the train frames of a subset are given, its test frames hidden.

    Args:
        folder: the sequence.
        subset: `manyview_dev_0` for set_lists_manyview_dev_0.json. Left out, the subset of many views that lists the
            sequence, else the known and the unseen frames as their `meta` tells them.

    Raises:
        DataMissing: a file or a frame is not there, or nothing parts known from unseen frames.
        DataCorrupt: a file is not what it should be.
        NotFound: there is no such subset.
        Unsupported: intrinsics in a format other than `FORMATS`.
    """
    parts = splits(folder, subset)
    for split in ("train", "test"):
        if split not in parts:
            raise DataMissing(f"{folder}: no {split} frames.", "Name a subset with train and test frames.")
    return Scene(folder.resolve().name, Given(views=parts["train"]), _box(folder, parts["train"]), hidden=parts["test"])


def splits(folder: Path, subset: str | None = None) -> dict[str, Views]:
    """The splits `train`, `val` and `test`, those that have frames; arguments and errors as `read`."""
    frames = _frames(folder)
    parts = _parts(folder, frames, subset)
    return {split: _views(folder, [frames[number] for number in parts[split]]) for split in _SPLITS if parts[split]}


def write(folder: Path, splits: Mapping[str, Views]) -> None:
    """Write a sequence beside the other ones of its category; the splits become the subset manyview_<sequence>.

    Reading gives the same rotations, intrinsics, names, pixels and masks. Lost: the last digit of camera centres
    (1e-6 of the longest), near and far, depth beyond float16, and frames in val that are in no other split are kept.

    Args:
        folder: of the sequence, in the folder of its category; images are written as PNG.
        splits: `train`, `test` and, where there is one, `val`.

    Raises:
        ContractBroken: other splits, or a name that cannot be a file's.
        NfbenchError: the category has this sequence already.
        Unsupported: cameras with skew or a negative focal length.
    """
    if not {"train", "test"} <= set(splits) <= set(_SPLITS):
        raise ContractBroken(f"{folder}: the splits are {', '.join(splits)}.", "Give train and test, and val or not.")
    category, sequence = folder.absolute().parent, folder.absolute().name
    path = category / ANNOTATIONS
    known = read_json(path) if path.exists() else []
    if (folder / "images").exists() or any(frame.get("sequence_name") == sequence for frame in known):
        raise NfbenchError(f"{category} has a sequence {sequence} already.", "Choose another folder.")
    views = one_of_each(folder, splits)
    frames = [_annotation(category.name, sequence, views, i) for i in range(len(views))]
    for index, frame in enumerate(frames):
        _write_images(category.parent, frame, views, index)
    number = {name: i for i, name in enumerate(views.names)}
    lists = {s: [[sequence, number[n], frames[number[n]]["image"]["path"]] for n in v.names] for s, v in splits.items()}
    write_json(category / "set_lists" / f"set_lists_manyview_{sequence}.json", {"val": [], **lists})
    write_json(path, known + frames)


def _frames(folder: Path) -> dict[int, dict[str, Any]]:
    """The annotations of a sequence by frame number."""
    whole = folder.absolute()
    path = whole.parent / ANNOTATIONS
    frames: dict[int, dict[str, Any]] = {}
    for frame in records(path, "sequence_name", whole.name):
        number = frame.get("frame_number")
        if type(number) is not int or number in frames:
            raise DataCorrupt(f"{path}: {whole.name}: frame number {number!r} is none, or there twice.", _AGAIN)
        frames[number] = frame
    if not frames:
        raise DataMissing(f"{path} has no frames of sequence {whole.name}.", "Is the folder renamed?")
    return dict(sorted(frames.items()))


def _parts(folder: Path, frames: Mapping[int, Mapping[str, Any]], subset: str | None) -> dict[str, list[int]]:
    """The numbers of the frames in each split."""
    lists = folder.absolute().parent / "set_lists"
    names = [path.stem.removeprefix("set_lists_") for path in sorted(lists.glob("set_lists_*.json"))]
    if subset is not None and subset not in names:
        raise NotFound(f"{lists} has no subset {subset!r}.", did_you_mean(subset, names, "subsets"))
    for name in [subset] if subset else [name for name in names if name.startswith("manyview")]:
        parts = _listed(lists / f"set_lists_{name}.json", folder.absolute().name, frames)
        if any(parts.values()):
            return parts
    if subset is not None:
        raise DataMissing(f"Subset {subset} lists no frame of {folder}.", f"Subsets there: {', '.join(names)}.")
    kinds = {number: str((frame.get("meta") or {}).get("frame_type")) for number, frame in frames.items()}
    ends = {"train": "known", "val": " ", "test": "unseen"}
    parts = {split: [n for n, kind in kinds.items() if kind.endswith(end)] for split, end in ends.items()}
    if not parts["train"] or not parts["test"]:
        raise DataMissing(f"{folder}: no subset of many views lists it, and its frames are not parted.", "Name a subset.")
    return parts


def _listed(path: Path, sequence: str, frames: Mapping[int, Mapping[str, Any]]) -> dict[str, list[int]]:
    """The numbers of the frames of one sequence in each split of one set list."""
    data = read_json(path)
    if not isinstance(data, dict):
        raise DataCorrupt(f"{path} holds no object.", _AGAIN)
    parts: dict[str, list[int]] = {}
    for split in _SPLITS:
        entries = data.get(split, [])
        if not isinstance(entries, list) or not all(isinstance(e, list) and len(e) >= 2 for e in entries):
            raise DataCorrupt(f"{path}: {split} is no list of sequence, frame number and path.", _AGAIN)
        parts[split] = [entry[1] for entry in entries if entry[0] == sequence]
        for number in parts[split]:
            if type(number) is not int or number not in frames:
                raise DataMissing(f"{path}: {split} lists frame {number!r} of {sequence}, which is not annotated.", _AGAIN)
    return parts


def _views(folder: Path, frames: Sequence[Mapping[str, Any]]) -> Views:
    """The views of some frames."""
    labels = [f"{folder}: frame {frame['frame_number']}" for frame in frames]
    paths = _Paths(folder)
    files = tuple(paths.of(label, frame, "image", "path") for label, frame in zip(labels, frames, strict=True))
    sizes = [_size(label, frame, file) for label, frame, file in zip(labels, frames, files, strict=True)]
    points = [_viewpoint(*each) for each in zip(labels, frames, sizes, strict=True)]
    c2w = np.stack([pose for pose, _ in points])
    check_poses(c2w, labels)
    cameras = Cameras(c2w.astype(np.float32), np.stack([K for _, K in points]).astype(np.float32), np.int32(sizes))
    masks = [paths.of(*each, "mask", "path") if each[1].get("mask") else None for each in zip(labels, frames, strict=True)]
    for file, size in zip(masks, sizes, strict=True):
        if file is not None and mask_size(file) != size:
            raise DataCorrupt(f"{file} is not of the size of its image, {size[0]}x{size[1]}.", "Fetch it again.")
    depths = [_depth_files(paths, *each) for each in zip(labels, frames, strict=True)]

    def mask(index: int) -> NDArray[np.bool_]:
        file = masks[index]
        if file is None:
            raise DataMissing(f"{labels[index]} has no mask.", "Use the frames that have one.")
        return read_mask(file)

    def depth(index: int) -> Float:
        return _depth(labels[index], cameras[index], depths[index])

    return Views(
        cameras,
        tuple(file.stem for file in files),
        lambda i: read_image(files[i]),
        mask if any(masks) else None,
        depth if any(depths) else None,
        files,
    )


class _Paths:
    """The files that the annotations of a sequence name, made sure to lie in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.home = folder.resolve()
        self.inside: dict[Path, bool] = {}

    def of(self, label: str, frame: Mapping[str, Any], what: str, key: str) -> Path:
        """The file that `frame[what][key]` names, relative to the folder of the categories."""
        part = frame.get(what)
        text = part.get(key) if isinstance(part, dict) else None
        if not isinstance(text, str) or "\0" in text or not text.isprintable() or not PurePosixPath(text).name:
            raise DataCorrupt(f"{label}: {what} has no usable {key}: {text!r}.", _AGAIN)
        file = self.folder.parent.parent / PurePosixPath(text)
        if file.parent not in self.inside:
            self.inside[file.parent] = within(self.home, file.parent)
        if not self.inside[file.parent] or (file.is_symlink() and not within(self.home, file)):
            raise DataCorrupt(f"{label}: {what} {text} lies outside of {self.folder}.", "Was a folder renamed?")
        return file


def _size(label: str, frame: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """Width and height of the image, which must be those that the annotation says as height and width."""
    size = image_size(file)
    said = frame["image"].get("size")
    if said != [size[1], size[0]]:
        raise DataCorrupt(f"{label}: image {file} is {size[0]}x{size[1]}, annotated is size (H, W) {said!r}.", _AGAIN)
    return size


def _numbers(label: str, value: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:  # noqa: ANN401  # of JSON
    """The numbers in nested lists of JSON."""

    def sound(value: Any, shape: tuple[int, ...]) -> bool:  # noqa: ANN401
        if not shape:
            return type(value) in (int, float) and abs(value) < _LARGEST  # NaN is not
        return isinstance(value, list) and len(value) == shape[0] and all(sound(v, shape[1:]) for v in value)

    if not sound(value, shape):
        raise DataCorrupt(f"{label} is {str(value)[:80]}, not {' x '.join(map(str, shape)) or 1} numbers.", _AGAIN)
    return np.array(value, np.float64)


def _viewpoint(
    label: str, frame: Mapping[str, Any], size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(3,4) camera-to-world pose in OpenCV axes, and (3,3) intrinsics in pixels."""
    point = frame.get("viewpoint")
    if not isinstance(point, dict):
        raise DataMissing(f"{label} has no viewpoint.", "Take the frame out of the set lists.")
    R = _numbers(f"{label}: viewpoint R", point.get("R"), (3, 3))
    T = _numbers(f"{label}: viewpoint T", point.get("T"), (3,))
    focal = _numbers(f"{label}: focal_length", point.get("focal_length"), (2,))
    principal = _numbers(f"{label}: principal_point", point.get("principal_point"), (2,))
    if (focal <= 0).any():
        raise DataCorrupt(f"{label}: focal_length {focal.tolist()} is not above 0.", _AGAIN)
    unit = _unit(label, point.get("intrinsics_format", FORMATS[1]), size)
    half = np.array(size) / 2
    K = np.diag([*(focal * unit), 1.0])
    K[:2, 2] = half - principal * unit
    return np.concatenate([R * _TO_OPENCV, -(R @ T)[:, None]], axis=1), K


def _unit(label: str, format: Any, size: tuple[int, int]) -> NDArray[np.float64]:  # noqa: ANN401  # of JSON
    """(2,) the pixels in one unit of normalised coordinates along x and y."""
    if format not in FORMATS:
        raise Unsupported(f"{label}: intrinsics_format {format!r}.", f"Known: {', '.join(FORMATS)}.")
    half = np.array(size) / 2
    return np.full(2, half.min()) if format == FORMATS[0] else half


def _depth_files(paths: _Paths, label: str, frame: Mapping[str, Any]) -> tuple[Path, Path | None, float] | None:
    """The depth of a frame, the mask of where it holds, and the factor to scene units; None where it has no depth."""
    depth = frame.get("depth")
    if not depth:
        return None
    file = paths.of(label, frame, "depth", "path")
    depth_size(file)
    valid = paths.of(label, frame, "depth", "mask_path") if depth.get("mask_path") else None
    if valid is not None and mask_size(valid) != depth_size(file):
        raise DataCorrupt(f"{valid} is not of the size of {file.name}.", "Download the sequence again.")
    return file, valid, float(_numbers(f"{label}: depth scale_adjustment", depth.get("scale_adjustment"), ()))


def _depth(label: str, camera: Cameras, files: tuple[Path, Path | None, float] | None) -> Float:
    """(H,W) distance along the ray, inf where it is not known; of the nearest pixel where depth is of another size."""
    if files is None:
        raise DataMissing(f"{label} has no depth.", "Use the frames that have it.")
    file, valid, factor = files
    z = read_depth(file).view(np.float16).astype(np.float32) * np.float32(factor)
    known = np.isfinite(z) & (z > 0)
    if valid is not None:
        known &= read_mask(valid)
    z = np.where(known, z, np.float32(np.inf))
    width, height = camera.size[0].tolist()
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    z = z[(y * len(z) / height).astype(np.int64)][:, (x * z.shape[1] / width).astype(np.int64)]
    K = camera.K[0].astype(np.float64)
    slope = np.hypot(((x - K[0, 2]) / K[0, 0])[None], ((y - K[1, 2]) / K[1, 1])[:, None])
    return (z * np.sqrt(1 + slope**2)).astype(np.float32)


def _box(folder: Path, views: Views) -> Float:
    """The box around pointcloud.ply, or around where the cameras look at, half their distance to each side."""
    path = folder / "pointcloud.ply"
    if path.is_file():
        xyz = read_cloud(path).xyz
        if not len(xyz):
            raise DataCorrupt(f"{path} holds no points.", "Download the sequence again.")
        low, high = xyz.min(0), xyz.max(0)
        room = max(_ROOM * float((high - low).max()), 1e-6)
        return np.stack([low - room, high + room])
    axes, centres = views.cameras.c2w[:, :, 2].astype(np.float64), views.cameras.centres.astype(np.float64)
    across = np.eye(3) - axes[:, :, None] * axes[:, None]
    middle = np.linalg.lstsq(across.sum(0), (across @ centres[:, :, None]).sum(0)[:, 0], rcond=None)[0]
    reach = max(float(np.median(np.linalg.norm(centres - middle, axis=1))) / 2, 1e-6)
    return np.stack([middle - reach, middle + reach]).astype(np.float32)


def _annotation(category: str, sequence: str, views: Views, index: int) -> dict[str, Any]:
    """The FrameAnnotation of one view."""
    name, camera = views.names[index], views.cameras[index]
    if name in ("", ".", "..") or set(name) & {"/", "\\"} or not name.isprintable():
        raise ContractBroken(f"{sequence}: {name!r} cannot be the name of an image.", "Use the name of a file only.")
    K, c2w, half = camera.K[0].astype(np.float64), camera.c2w[0].astype(np.float64), camera.size[0] / 2
    if not np.array_equal(K, [[K[0, 0], 0, K[0, 2]], [0, K[1, 1], K[1, 2]], [0, 0, 1]]) or min(K[0, 0], K[1, 1]) <= 0:
        raise Unsupported(f"{sequence}: view {name!r} has skew or a negative focal length.", "The format has neither.")
    R, unit = c2w[:, :3] * _TO_OPENCV, float(half.min())
    there = f"{category}/{sequence}"
    depth = {"path": f"{there}/depths/{name}.geometric.png", "scale_adjustment": 1.0, "mask_path": None}
    return {
        "sequence_name": sequence,
        "frame_number": index,
        "frame_timestamp": 0.0,
        "image": {"path": f"{there}/images/{name}.png", "size": camera.size[0, ::-1].tolist()},
        "depth": None if views.load_depth is None else depth,
        "mask": None if views.load_mask is None else {"path": f"{there}/masks/{name}.png", "mass": None},
        "viewpoint": {
            "R": R.tolist(),
            "T": np.linalg.solve(R, -c2w[:, 3]).tolist(),
            "focal_length": [K[0, 0] / unit, K[1, 1] / unit],
            "principal_point": ((half - K[:2, 2]) / unit).tolist(),
            "intrinsics_format": FORMATS[0],
        },
    }


def _write_images(root: Path, frame: Mapping[str, Any], views: Views, index: int) -> None:
    write_png(root / frame["image"]["path"], views.image(index))
    if frame["mask"]:
        write_grey(root / frame["mask"]["path"], views.mask(index).astype(np.uint8) * 255)
    if frame["depth"]:
        K, (width, height) = views.cameras.K[index].astype(np.float64), views.cameras.size[index].tolist()
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        slope = np.hypot(((x - K[0, 2]) / K[0, 0])[None], ((y - K[1, 2]) / K[1, 1])[:, None])
        z = np.where(np.isfinite(views.depth(index)), views.depth(index), 0) / np.sqrt(1 + slope**2)
        write_grey(root / frame["depth"]["path"], z.astype(np.float16).view(np.uint16))
