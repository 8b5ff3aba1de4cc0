"""NeRF-synthetic, the Blender scenes of Mildenhall et al. 2020: PNG images and a JSON file of poses for each split.

    <scene>/transforms_{train,val,test}.json
        camera_angle_x          horizontal field of view in radians; focal = W / (2 tan(angle / 2))
        frames[].file_path      `./train/r_0`, without the ending
        frames[].transform_matrix   camera to world, OpenGL axes
    <scene>/{train,val,test}/r_<i>.png      RGBA, straight alpha

Beside the angle a file may give `fl_x fl_y cx cy w h` in pixels or `camera_angle_y`, and a frame `near` and `far`;
`write` does, so that cameras survive it to the last bit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses, from_opengl
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import check_header, read_png, write_png
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Scene, Views
from nfbench.harness.wholefile import read_whole
from nfbench.loaders.listfile import within
from nfbench.loaders.viewsets import refuse_lenses

given = ("views",)

SPLITS = ("train", "val", "test")
NEAR_FAR = (2.0, 6.0)  # Mildenhall et al. 2020, bmild/nerf run_nerf.py
BOX = ((-1.5, -1.5, -1.5), (1.5, 1.5, 1.5))  # holds the eight published scenes

_NUMBERS = ("camera_angle_x", "camera_angle_y", "fl_x", "fl_y", "cx", "cy", "w", "h")
_DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")
_PINHOLES = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE")  # OPENCV with distortion of zero
_IMAGES = (".png", ".jpg", ".jpeg")
_LARGEST = float(np.finfo(np.float32).max)
_FOCAL_TOLERANCE = 1e-2  # by how much the angle and the focal length of one file may differ


def detect(folder: Path) -> bool:
    """Whether the folder has the JSON file of the training or the test split."""
    return any(_json_path(folder, split).is_file() for split in ("train", "test"))


def read(folder: Path, testskip: int = 1) -> Scene:
    """The scene in a folder: the training views are given, the test views hidden.

    Every JSON file and every image's header is checked; no image is decoded.

    Args:
        folder: the scene.
        testskip: keep every `testskip`-th test view, as the original loader does.

    Raises:
        DataMissing: a JSON file or an image is not there.
        DataCorrupt: a JSON file or an image is not what it should be.
        Unsupported: cameras with distortion, or intrinsics that differ from frame to frame.
    """
    _check_skip(testskip)
    train, test = _read_split(folder, "train"), _read_split(folder, "test", testskip)
    return Scene(folder.resolve().name, Given(views=train), np.array(BOX, np.float32), hidden=test)


def splits(folder: Path, testskip: int = 1) -> dict[str, Views]:
    """The splits `train`, `val` where the folder has it, and `test`; `testskip` thins out the last two.

    Raises as `read` does.
    """
    _check_skip(testskip)
    found = [split for split in SPLITS if split != "val" or _json_path(folder, split).is_file()]
    return {split: _read_split(folder, split, 1 if split == "train" else testskip) for split in found}


def write(folder: Path, splits: Mapping[str, Views]) -> None:
    """Write `train`, `test` and, where there is one, `val`: reading them gives the same cameras, names and pixels.

    Cameras without near and far are read back with those of the paper. The JSON files come last, so that a folder
    left half written is not taken for a scene.

    Raises:
        ContractBroken: other splits than these, or a name that cannot be a file's.
        DataCorrupt: near and far that are no interval.
        NfbenchError: the folder holds a scene already.
        Unsupported: a split that is empty, or whose cameras differ in intrinsics, or have skew.
    """
    refuse_lenses(folder, splits)
    if not {"train", "test"} <= set(splits) <= set(SPLITS):
        raise ContractBroken(f"{folder}: the splits are {', '.join(splits)}.", "Give train and test, and val or not.")
    if any(_json_path(folder, split).exists() for split in SPLITS):
        raise NfbenchError(f"{folder} holds a scene already.", "Choose another folder, or delete this one.")
    texts = {split: json.dumps(_transforms(folder, split, views), indent=1) for split, views in splits.items()}
    for split, views in splits.items():
        for index, name in enumerate(views.names):
            write_png(folder / split / f"{name}.png", views.image(index))
    for split, text in texts.items():
        write_text(_json_path(folder, split), text + "\n")


def _json_path(folder: Path, split: str) -> Path:
    return folder / f"transforms_{split}.json"


def _check_skip(testskip: int) -> None:
    if testskip < 1:
        raise NfbenchError(f"testskip={testskip}: it must be 1 or more.", "1 keeps all test views, 8 an eighth.")


def _read_split(folder: Path, split: str, skip: int = 1) -> Views:
    path = _json_path(folder, split)
    data = _load_json(path)
    frames = _frames(path, data)
    labels = [f"{path}: frame {i} ({frame['file_path']})" for i, frame in enumerate(frames)]
    labels, frames = labels[::skip], frames[::skip]
    c2w = from_opengl([_matrix(frame, label) for frame, label in zip(frames, labels, strict=True)])
    check_poses(c2w, labels)
    files, names = _files(folder, frames, labels)
    size = check_header(files[0]).size
    for file in files[1:]:
        check_header(file, size)
    near_far = [_near_far(frame, label) for frame, label in zip(frames, labels, strict=True)]
    cameras = Cameras(
        c2w,
        np.tile(_intrinsics(path, data, *size), (len(frames), 1, 1)),
        np.tile(np.array(size, np.int32), (len(frames), 1)),
        np.array(near_far, np.float32),
    )
    return Views(cameras, names, lambda i: read_png(files[i]), files=files)


def _load_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_whole(path).decode("utf-8-sig"))
    except FileNotFoundError:
        raise DataMissing(
            f"There is no {path}.", "A scene needs transforms_train.json and transforms_test.json; download it again."
        ) from None
    except OSError as error:
        raise DataCorrupt(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path}: byte {error.start} is not UTF-8.", "Save the file as UTF-8.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise DataCorrupt(f"{path}: {where}: no JSON: {error.msg}.", "Mend the line, or download it again.") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, a number of too many digits
        raise DataCorrupt(f"{path}: no usable JSON: {error}.", "Download the file again.") from None
    if not isinstance(data, dict):
        raise DataCorrupt(f"{path}: holds a {type(data).__name__}, not an object.", "It must begin with {.")
    return data


def _frames(path: Path, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    frames = data.get("frames")
    if not isinstance(frames, list) or not frames:
        what = "is missing" if "frames" not in data else "is empty" if frames == [] else "is not a list"
        raise DataCorrupt(f"{path}: `frames` {what}.", "It must list a file_path and a transform_matrix per view.")
    for i, frame in enumerate(frames):
        if not isinstance(frame, dict) or not _is_path(frame.get("file_path")):
            raise DataCorrupt(f"{path}: frame {i} has no usable file_path.", "Name its image, ./train/r_0 for one.")
        own = sorted(frame.keys() & {*_NUMBERS, *_DISTORTION})
        if own:
            raise Unsupported(
                f"{path}: frame {i} ({frame['file_path']}) has its own {own[0]}.",
                "All frames of a file share its intrinsics; move them to the top where they are equal.",
            )
    return frames


def _is_path(value: Any) -> bool:  # noqa: ANN401  # whatever JSON holds
    """Whether a value of JSON can be a path at all: text without NUL and without half a character."""
    return isinstance(value, str) and "\0" not in value and value.encode(errors="ignore").decode() == value


def _matrix(frame: Mapping[str, Any], label: str) -> list[list[float]]:
    """The first three rows of the pose of a frame."""
    if "transform_matrix" not in frame:
        raise DataCorrupt(f"{label}: no transform_matrix.", "Give its 4x4 pose, camera to world, or drop the frame.")
    rows = frame["transform_matrix"]
    if not isinstance(rows, list) or len(rows) not in (3, 4) or not all(isinstance(r, list) for r in rows):
        raise DataCorrupt(f"{label}: transform_matrix is not a list of 4 rows.", "Give its 4x4 pose, row by row.")
    if any(len(row) != 4 for row in rows):
        raise DataCorrupt(
            f"{label}: transform_matrix has rows of {', '.join(str(len(row)) for row in rows)} numbers, not of 4.",
            "Give its 4x4 pose, row by row.",
        )
    for value in (v for row in rows for v in row):
        if not _is_number(value):
            raise DataCorrupt(f"{label}: transform_matrix holds {value!r}.", "Give finite numbers, or drop the frame.")
    if len(rows) == 4 and any(abs(v - w) > 1e-6 for v, w in zip(rows[3], (0, 0, 0, 1), strict=True)):
        raise DataCorrupt(
            f"{label}: the last row of transform_matrix is {rows[3]}, not [0, 0, 0, 1].", "Is it transposed?"
        )
    return rows[:3]


def _is_number(value: Any) -> bool:  # noqa: ANN401  # whatever JSON holds
    """Whether a value of JSON is a finite number that float32 can hold."""
    return type(value) in (int, float) and abs(value) < _LARGEST  # NaN is not


def _near_far(frame: Mapping[str, Any], label: str) -> tuple[float, float]:
    near, far = frame.get("near", NEAR_FAR[0]), frame.get("far", NEAR_FAR[1])
    if not (_is_number(near) and _is_number(far) and 0 <= near < far):
        raise DataCorrupt(f"{label}: near {near!r} and far {far!r}.", "Give 0 <= near < far, or neither.")
    return near, far


def _intrinsics(path: Path, data: Mapping[str, Any], width: int, height: int) -> NDArray[np.float32]:
    """(3,3) intrinsics in pixels of one file's cameras, whose images are `width` x `height`."""
    numbers = {key: data[key] for key in _NUMBERS if key in data}
    for key, value in numbers.items():
        if not _is_number(value):
            raise DataCorrupt(f"{path}: {key} is {value!r}, not a number.", "Mend it, or download the file again.")
        if key.startswith("camera_angle") and not 0 < value < math.pi:
            raise DataCorrupt(f"{path}: {key} is {value}.", "Give radians, between 0 and pi.")
        if key.startswith("fl_") and value <= 0:
            raise DataCorrupt(f"{path}: {key} is {value}.", "A focal length in pixels is more than 0.")
    if (numbers.get("w", width), numbers.get("h", height)) != (width, height):
        raise DataCorrupt(
            f"{path}: w {numbers.get('w')} and h {numbers.get('h')}, but its images are {width}x{height}.",
            "Its intrinsics are of images of another size; scale fl_x, fl_y, cx, cy, w and h with the images.",
        )
    _check_pinhole(path, data)
    fx = _focal(path, numbers, "x", width)
    if fx is None:
        raise DataCorrupt(f"{path}: no camera_angle_x.", "Give the horizontal field of view in radians.")
    fy = _focal(path, numbers, "y", height) or fx
    cx, cy = numbers.get("cx", width / 2), numbers.get("cy", height / 2)
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)


def _focal(path: Path, numbers: Mapping[str, float], axis: str, extent: int) -> float | None:
    """The focal length in pixels along one axis, None where the file does not say."""
    angle, focal = numbers.get(f"camera_angle_{axis}"), numbers.get(f"fl_{axis}")
    if angle is None:
        return focal
    by_angle = 0.5 * extent / math.tan(0.5 * angle)
    if focal is not None and abs(focal - by_angle) > _FOCAL_TOLERANCE * by_angle:
        raise DataCorrupt(
            f"{path}: fl_{axis} is {focal:g}, but camera_angle_{axis} makes it {by_angle:g} for {extent} pixels.",
            f"Take out the one that is wrong; fl_{axis} must be of images of this size.",
        )
    return by_angle if focal is None else focal


def _check_pinhole(path: Path, data: Mapping[str, Any]) -> None:
    bent = [key for key in _DISTORTION if data.get(key)]
    if bent or str(data.get("camera_model", "PINHOLE")).upper() not in _PINHOLES:
        what = f"{bent[0]} is {data[bent[0]]}" if bent else f"camera_model is {data['camera_model']}"
        raise Unsupported(f"{path}: {what}; cameras here have no distortion.", "Undistort the images first.")


def _files(
    folder: Path, frames: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The image of each frame, made sure to lie in `folder`, and its name."""
    inside: dict[PurePosixPath, bool] = {}  # to resolve every path would cost more than to read the headers
    taken: dict[str, str] = {}
    files = []
    for frame, label in zip(frames, labels, strict=True):
        relative = PurePosixPath(frame["file_path"].replace("\\", "/"))
        parent, file_name = relative.parent, relative.name
        name = file_name.rpartition(".")[0] if file_name.lower().endswith(_IMAGES) else file_name
        if name in ("", ".."):
            raise DataCorrupt(f"{label}: this names no image.", "Name its image, ./train/r_0 for one.")
        file = folder / parent / (file_name if name != file_name else f"{name}.png")
        if parent not in inside:
            inside[parent] = not relative.is_absolute() and within(folder, folder / parent)
        if not inside[parent] or (file.is_symlink() and not within(folder, file)):
            raise DataCorrupt(f"{label}: the image is outside of {folder}.", "Move it into the folder of the scene.")
        if name in taken:
            raise DataCorrupt(f"{label}: another image is named {name!r}: {taken[name]}.", "Rename one of the two.")
        taken[name] = label
        files.append(file)
    return tuple(files), tuple(taken)


def _transforms(folder: Path, split: str, views: Views) -> dict[str, Any]:
    """The JSON object of one split."""
    cameras = views.cameras
    where = f"{folder}: split {split}"
    if len(views) == 0:
        raise Unsupported(f"{where} has no views.", "Give it one at least.")
    if np.ptp(cameras.K, axis=0).any() or np.ptp(cameras.size, axis=0).any():
        raise Unsupported(f"{where}: intrinsics or sizes differ between views.", "Write one folder for each camera.")
    fx, fy, cx, cy = (float(cameras.K[0][at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    if not np.array_equal(cameras.K[0], np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float32)):
        raise Unsupported(f"{where}: the intrinsics have skew or scale.", "The format has none.")
    if fx <= 0 or fy <= 0:
        raise Unsupported(f"{where}: a negative focal length.", "Turn the camera's axes instead.")
    for name in views.names:
        if name in ("", ".", "..") or set(name) & {"/", "\\"} or not _is_path(name) or name.lower().endswith(_IMAGES):
            raise ContractBroken(f"{where}: {name!r} cannot be the name of an image.", "Use the name of a file only.")
    width, height = cameras.size[0].tolist()
    angles = {"camera_angle_x": 2 * math.atan(0.5 * width / fx), "camera_angle_y": 2 * math.atan(0.5 * height / fy)}
    pixels = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "w": width, "h": height}
    return {**angles, **pixels, "frames": [_frame(split, views, i) for i in range(len(views))]}


def _frame(split: str, views: Views, index: int) -> dict[str, Any]:
    pose = np.eye(4)
    pose[:3] = from_opengl(views.cameras.c2w[index : index + 1])[0]  # the change of axes is its own inverse
    frame: dict[str, Any] = {"file_path": f"./{split}/{views.names[index]}", "transform_matrix": pose.tolist()}
    if views.cameras.near_far is not None:
        near, far = views.cameras.near_far[index].tolist()
        frame |= {} if (near, far) == NEAR_FAR else {"near": near, "far": far}
        _near_far(frame, f"split {split}, view {views.names[index]!r}")
    return frame
