"""CO3D v2, Common Objects in 3D (Reizenstein et al. 2021): one scene is one sequence, a turn around an object.

    <category>/frame_annotations.jgz            all frames of all sequences, JSON in gzip
    <category>/set_lists/set_lists_<subset>.json    {train,val,test}: [[sequence, frame number, image path], ...]
    <category>/<sequence>/images/frame000001.jpg    and masks/, depths/, depth_masks/, pointcloud.ply

A frame's viewpoint is PyTorch3D's, see viewpoint.py. Depth is a 16-bit PNG whose bits are float16, along the optical
axis. The point cloud comes from the views and is no truth: it only gives the box.

facebookresearch/co3d dataset/data_types.py; facebookresearch/pytorch3d implicitron/dataset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses
from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import (
    ContractBroken,
    DataCorrupt,
    DataMissing,
    NfbenchError,
    NotFound,
    did_you_mean,
)
from nfbench.harness.imagefile import image_size, read_image
from nfbench.harness.png import write_png
from nfbench.harness.scene import Float, Given, Scene, Views
from nfbench.loaders.imagefolder import NamedFiles
from nfbench.loaders.jgzfile import read_json, records, write_json
from nfbench.loaders.pngkinds import depth_size, mask_size, read_depth, read_mask, write_grey
from nfbench.loaders.viewpoint import numbers, ray_lengths, read_viewpoint, viewpoint_of
from nfbench.loaders.viewsets import one_of_each

given = ("views",)

ANNOTATIONS = "frame_annotations.jgz"

_SPLITS = ("train", "val", "test")
_ROOM = 0.05  # of the longest edge, around the point cloud
_AGAIN = "Download the category's annotations again."


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
        Unsupported: intrinsics in a format other than those of viewpoint.py.
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

    Reading gives the same splits, rotations, intrinsics, names, pixels and masks. Lost: near and far, the last digit of
    camera centres (1e-6 of the longest), and what float16 cannot hold of depth.

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
        raise DataMissing(
            f"{folder}: no subset of many views lists it, and its frames are not parted.", "Name a subset."
        )
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
                raise DataMissing(
                    f"{path}: {split} lists frame {number!r} of {sequence}, which is not annotated.", _AGAIN
                )
    return parts


def _views(folder: Path, frames: Sequence[Mapping[str, Any]]) -> Views:
    """The views of some frames."""
    labels = [f"{folder}: frame {frame['frame_number']}" for frame in frames]
    paths = NamedFiles(folder)
    files = tuple(paths.of(label, frame, "image", "path") for label, frame in zip(labels, frames, strict=True))
    sizes = [_size(label, frame, file) for label, frame, file in zip(labels, frames, files, strict=True)]
    points = [
        read_viewpoint(label, frame.get("viewpoint"), size)
        for label, frame, size in zip(labels, frames, sizes, strict=True)
    ]
    c2w = np.stack([pose for pose, _ in points])
    check_poses(c2w, labels)
    cameras = Cameras(
        c2w.astype(np.float32), np.stack([K for _, K in points]).astype(np.float32), np.array(sizes, np.int32)
    )
    masks = [
        paths.of(*each, "mask", "path") if each[1].get("mask") else None for each in zip(labels, frames, strict=True)
    ]
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


def _size(label: str, frame: Mapping[str, Any], file: Path) -> tuple[int, int]:
    """Width and height of the image, which must be those that the annotation says as height and width."""
    size = image_size(file)
    said = frame["image"].get("size")
    if said != [size[1], size[0]]:
        raise DataCorrupt(f"{label}: image {file} is {size[0]}x{size[1]}, annotated is size (H, W) {said!r}.", _AGAIN)
    return size


def _depth_files(paths: NamedFiles, label: str, frame: Mapping[str, Any]) -> tuple[Path, Path | None, float] | None:
    """The depth of a frame, the mask of where it holds, and the factor to scene units; None where it has no depth."""
    depth = frame.get("depth")
    if not depth:
        return None
    file = paths.of(label, frame, "depth", "path")
    depth_size(file)
    valid = paths.of(label, frame, "depth", "mask_path") if depth.get("mask_path") else None
    if valid is not None and mask_size(valid) != depth_size(file):
        raise DataCorrupt(f"{valid} is not of the size of {file.name}.", "Download the sequence again.")
    return file, valid, float(numbers(f"{label}: depth scale_adjustment", depth.get("scale_adjustment"), ()))


def _depth(label: str, camera: Cameras, files: tuple[Path, Path | None, float] | None) -> Float:
    """(H,W) distance along the ray, inf where it is not known; of the nearest pixel where depth is of another size."""
    if files is None:
        raise DataMissing(f"{label} has no depth.", "Use the frames that have it.")
    file, valid, factor = files
    with np.errstate(over="ignore", invalid="ignore"):  # bits that are no depth: what comes of them is not known
        z = read_depth(file).view(np.float16).astype(np.float32) * np.float32(factor)
    known = np.isfinite(z) & (z > 0)
    if valid is not None:
        known &= read_mask(valid)
    z = np.where(known, z, np.float32(np.inf))
    width, height = camera.size[0].tolist()
    row = ((np.arange(height) + 0.5) * z.shape[0] / height).astype(np.int64)
    column = ((np.arange(width) + 0.5) * z.shape[1] / width).astype(np.int64)
    distance: Float = z[row][:, column] * ray_lengths(camera)
    return distance


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
    there = f"{category}/{sequence}"
    depth = {"path": f"{there}/depths/{name}.geometric.png", "scale_adjustment": 1.0, "mask_path": None}
    return {
        "sequence_name": sequence,
        "frame_number": index,
        "frame_timestamp": 0.0,
        "image": {"path": f"{there}/images/{name}.png", "size": camera.size[0, ::-1].tolist()},
        "depth": None if views.load_depth is None else depth,
        "mask": None if views.load_mask is None else {"path": f"{there}/masks/{name}.png", "mass": None},
        "viewpoint": viewpoint_of(f"{sequence}: view {name!r}", camera),
    }


def _write_images(root: Path, frame: Mapping[str, Any], views: Views, index: int) -> None:
    write_png(root / frame["image"]["path"], views.image(index))
    if frame["mask"]:
        write_grey(root / frame["mask"]["path"], views.mask(index).astype(np.uint8) * 255)
    if frame["depth"]:
        z = np.where(np.isfinite(views.depth(index)), views.depth(index), 0) / ray_lengths(views.cameras[index])
        write_grey(root / frame["depth"]["path"], z.astype(np.float16).view(np.uint16))
