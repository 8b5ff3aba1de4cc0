"""BlendedMVS and MVSNet's input as published: photographs, a text file for each camera, rendered depth.

    <scene>/blended_images/<8 digits>.jpg       `_masked.jpg` beside them are left out; MVSNet calls the folder images
    <scene>/cams/<8 digits>_cam.txt             extrinsic (4,4) world to camera, OpenCV axes; intrinsic (3,3) in
                                                pixels, the centre of the first at (0.5, 0.5); and the range of depth
                                                along the axis: min, interval, and number of steps and max or not
    <scene>/cams/pair.txt                       or pair.txt: for each view, others to match it with
    <scene>/rendered_depth_maps/<8 digits>.pfm  depth along the axis, 0 where there is none

Yao et al. 2018 and 2020; YoYo000/MVSNet mvsnet/preprocess.py load_cam, load_pfm, homography_warping.py
get_pixel_grids. The unit is arbitrary. Copies that IDR, NeuS and VolSDF read are of the format idr.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.imagefile import read_image
from nfbench.harness.png import write_png
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Scene, Views
from nfbench.loaders.imagefolder import check_intrinsics, image_sizes, images_in, only_split, refuse_scene
from nfbench.loaders.numbers import check_last_row, numbers, read_words, text_of, whole
from nfbench.loaders.pfm import pfm_size, read_pfm, write_pfm
from nfbench.loaders.viewsets import refuse_lenses

Float = NDArray[np.float64]

given = ("views",)

IMAGES = ("blended_images", "images")  # BlendedMVS's name, MVSNet's name
DEPTH = "rendered_depth_maps"

_STEPS = 192  # of depth, where a file does not say: the default of MVSNet's train.py
_WIDER, _FARTHEST = 1 + 1e-6, 1e30  # ranges that are still some, and finite, in float32
_PAIRS = 10  # views to match with each, as MVSNet's colmap2mvsnet.py writes
_BEST, _BELOW, _ABOVE = 5.0, 1.0, 10.0  # degrees: θ0, σ1 and σ2 of Yao et al. 2018, section 4.1


class _Camera(NamedTuple):
    extrinsic: Float
    """(4,4), world to camera."""
    K: Float
    depth: tuple[float, float] | None
    """Along the optical axis; None where nothing of the scene is before the camera."""


def detect(folder: Path) -> bool:
    """Whether there are text files of cameras in `cams` and a folder of images beside it."""
    images = any((folder / name).is_dir() for name in IMAGES)
    return images and next((folder / "cams").glob("*_cam.txt"), None) is not None


def read(folder: Path) -> Scene:
    """The scene in a folder: all views are given, and the box holds what they see within their ranges of depth.

    Every camera, and every image's and depth map's header is checked; none is decoded.

    Raises:
        DataMissing: an image, camera or depth map is not there, or pair.txt names a view that is not.
        DataCorrupt: a file that is not what it should be, or cameras of images of another size.
    """
    files = tuple(images_in(folder / _images(folder), folder, skip=("_masked",)).values())
    names = tuple(file.stem for file in files)
    sources = [folder / "cams" / f"{name}_cam.txt" for name in names]
    found = [_read_camera(path) for path in sources]
    _check_others(folder, set(names))
    size = image_sizes(files)
    K = np.stack([camera.K for camera in found])
    for i, path in enumerate(sources):
        check_intrinsics(K[i : i + 1], size[i : i + 1], files[i : i + 1], path)
    c2w = np.stack([_inverse(camera.extrinsic) for camera in found])
    check_poses(c2w, [str(path) for path in sources])
    depth = _ranges(folder, [camera.depth for camera in found])
    far = [depth[i, 1] * _longest(K[i], size[i]) for i in range(len(found))]
    near_far = np.stack([depth[:, 0], far], axis=1).astype(np.float32)
    cameras = Cameras(c2w.astype(np.float32), K.astype(np.float32), size, near_far)
    depths = _depth_files(folder, names, size)
    views = Views(
        cameras,
        names,
        lambda i: read_image(files[i]),
        None,
        (lambda i: _distance(depths[i], cameras, i)) if depths else None,
        files,
    )
    return Scene(folder.resolve().name, Given(views=views), _seen(cameras, depth))


def splits(folder: Path) -> dict[str, Views]:
    """All views as `train`: the format holds none out. Raises as `read` does."""
    views = read(folder).given.views
    assert views is not None
    return {"train": views}


def write(folder: Path, splits: Mapping[str, Views], box: NDArray[np.floating] | None = None) -> None:
    """Write the one split `train`: reading it gives the same pixels, intrinsics and poses.

    Images are PNG, to lose nothing; MVSNet's own code asks for JPEG. Names that are not all of eight digits become the
    numbers of the views, and views come back in the order of their names. Lost: masks, and what rounding takes of
    near, far and the depth maps, some 1e-7 of them, and of centres, some 1e-15. pair.txt is written for the code of
    others: views are matched by the angle at which they look at the middle of what the first sees.

    Args:
        folder: the scene's.
        splits: `train` alone.
        box: (2,3), what is of interest; for the ranges of depth of cameras without near and far.

    Raises:
        ContractBroken: other splits.
        NfbenchError: the folder holds a scene already.
        Unsupported: no views, cameras without near and far and no box, or a box that a camera is in.
    """
    refuse_lenses(folder, splits)
    only_split(folder, splits)
    refuse_scene(folder, *IMAGES, "cams", DEPTH)
    views = splits["train"]
    if not len(views):
        raise Unsupported(f"{folder}: no views.", "Give it one at least.")
    depth = _depth_ranges(folder, views.cameras, box)
    digits = all(len(name) == 8 and name.isascii() and name.isdecimal() for name in views.names)
    names = list(views.names) if digits else [f"{i:08d}" for i in range(len(views))]
    for i, name in enumerate(names):
        write_png(folder / IMAGES[0] / f"{name}.png", views.image(i))
        if views.load_depth is not None:
            along = views.depth(i) / _stretch(views.cameras, i)
            write_pfm(folder / DEPTH / f"{name}.pfm", np.where(np.isfinite(along), along, 0).astype(np.float32))
    (folder / "cams").mkdir()
    write_text(folder / "cams" / "pair.txt", _pairs(views.cameras, [int(name) for name in names], depth.mean(1)))
    for i, name in enumerate(names):
        write_text(folder / "cams" / f"{name}_cam.txt", _camera_text(views.cameras, i, depth[i]))


def _images(folder: Path) -> str:
    return next((name for name in IMAGES if (folder / name).is_dir()), IMAGES[0])


def _read_camera(path: Path) -> _Camera:
    words = [(line, word) for line, words in read_words(path) for word in words]
    if len(words) not in (29, 30, 31) or words[0][1] != "extrinsic" or words[17][1] != "intrinsic":
        raise DataCorrupt(
            f"{path} is no camera: {len(words)} words.",
            "Give `extrinsic`, 4x4 numbers, `intrinsic`, 3x3 numbers, and the depth's min, interval, steps and max.",
        )
    values = [numbers(path, line, [word])[0] for line, word in words[1:17] + words[18:]]
    extrinsic, K, depth = np.reshape(values[:16], (4, 4)), np.reshape(values[16:25], (3, 3)), values[25:]
    check_last_row(f"{path}: extrinsic", extrinsic.tolist())
    check_poses(extrinsic[None], [f"{path}: extrinsic"])
    if K[1, 0] or (K[2] != (0, 0, 1)).any() or not (np.diag(K) > 0).all():
        raise DataCorrupt(f"{path}: intrinsic is {K.tolist()}.", "Give [[fx, s, cx], [0, fy, cy], [0, 0, 1]].")
    steps = depth[2] if len(depth) > 2 else _STEPS
    near, far = depth[0], depth[3] if len(depth) > 3 else depth[0] + depth[1] * steps
    if far <= 0:
        return _Camera(extrinsic, K, None)
    near = max(near, 0.0)
    if not near < far / _WIDER or far > _FARTHEST:
        raise DataCorrupt(f"{path}: depth from {near:g} to {far:g}.", "Give min < max in its last line.")
    return _Camera(extrinsic, K, (near, far))


def _check_others(folder: Path, names: set[str]) -> None:
    """Raise where a camera has no image, or pair.txt is damaged or names a view that there is none of."""
    for path in sorted((folder / "cams").glob("*_cam.txt")):
        if path.name.removesuffix("_cam.txt") not in names:
            raise DataMissing(f"The camera {path} has no image.", "Copy the whole dataset again, or drop the camera.")
    for path in (folder / "cams" / "pair.txt", folder / "pair.txt"):
        if path.is_file():
            _check_pairs(path, {int(name) for name in names if name.isdecimal()})


def _check_pairs(path: Path, known: set[int]) -> None:
    lines = read_words(path)
    if len(lines) % 2 != 1 or whole(path, lines[0][0], lines[0][1][0]) != len(lines) // 2:
        raise DataCorrupt(f"{path} does not hold the two lines a view that its first line promises.", "Fetch it again.")
    for i, (line, words) in enumerate(lines[1:]):
        if i % 2 and (len(words) % 2 != 1 or whole(path, line, words[0]) != len(words) // 2):
            raise DataCorrupt(f"{path}, line {line}: not as many pairs as it says.", "Fetch the file again.")
        for word in words[1::2] if i % 2 else words:
            if whole(path, line, word) not in known:
                raise DataMissing(f"{path}, line {line}: there is no view {word}.", "Copy the whole dataset again.")


def _inverse(extrinsic: Float) -> Float:
    """(3,4) camera to world; the rotation is transposed, to keep its bits."""
    centre = -np.linalg.solve(extrinsic[:3, :3], extrinsic[:3, 3:])
    return np.concatenate([extrinsic[:3, :3].T, centre], axis=1)


def _corners(K: NDArray[np.floating], size: NDArray[np.int32]) -> Float:
    """(4,3) the rays through the corners of an image, 1 long along the optical axis."""
    width, height = size.tolist()
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], np.float64)
    rays: Float = corners @ np.linalg.inv(K.astype(np.float64)).T
    return rays


def _longest(K: NDArray[np.floating], size: NDArray[np.int32]) -> float:
    """By how much the ray through the farthest corner is longer than its part along the optical axis."""
    return float(np.linalg.norm(_corners(K, size), axis=1).max())


def _ranges(folder: Path, depths: list[tuple[float, float] | None]) -> Float:
    """(N,2) ranges of depth; a camera that has none gets all that the others see.

    BlendedMVS has a few whose range ends at 0 or below, as its README.md says: nothing was rendered there.
    """
    known = [depth for depth in depths if depth is not None]
    if not known:
        raise DataCorrupt(f"{folder / 'cams'}: no camera has a range of depth above 0.", "Fetch the scene again.")
    widest = min(near for near, _ in known), max(far for _, far in known)
    return np.array([widest if depth is None else depth for depth in depths])


def _seen(cameras: Cameras, depth: Float) -> NDArray[np.float32]:
    """(2,3) the box around what all cameras see within their ranges of depth (N,2)."""
    ends = []
    for i, c2w in enumerate(cameras.c2w.astype(np.float64)):
        rays = _corners(cameras.K[i], cameras.size[i]) @ c2w[:, :3].T
        ends += [c2w[:, 3] + along * rays for along in depth[i]]
    points = np.concatenate(ends)
    return np.stack([points.min(0), points.max(0)]).astype(np.float32)


def _depth_files(folder: Path, names: tuple[str, ...], size: NDArray[np.int32]) -> list[Path]:
    if not (folder / DEPTH).is_dir():
        return []
    files = [folder / DEPTH / f"{name}.pfm" for name in names]
    for file, expected in zip(files, size.tolist(), strict=True):
        if (found := pfm_size(file)) != tuple(expected):
            raise DataCorrupt(
                f"{file}: {found[0]}x{found[1]} pixels, its image has {expected[0]}x{expected[1]}.",
                "Take the depth maps of this size, or remove their folder.",
            )
    return files


def _stretch(cameras: Cameras, index: int) -> Float:
    """(H,W) by how much the ray of each pixel is longer than its part along the optical axis."""
    width, height = cameras.size[index].tolist()
    inverse = np.linalg.inv(cameras.K[index].astype(np.float64))
    x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    square = [(row[0] * x + row[1] * y + row[2]) ** 2 for row in inverse]
    stretch: Float = np.sqrt(square[0] + square[1] + square[2])
    return stretch


def _distance(path: Path, cameras: Cameras, index: int) -> NDArray[np.float32]:
    """(H,W) the distance along rays, infinite where there is no depth."""
    depth = read_pfm(path)
    if not np.isfinite(depth).all():
        raise DataCorrupt(f"{path} holds NaN or infinity.", "Pixels without depth are 0.")
    distance = depth * _stretch(cameras, index)
    return np.where(depth > 0, distance, np.inf).astype(np.float32)


def _depth_ranges(folder: Path, cameras: Cameras, box: NDArray[np.floating] | None) -> Float:
    """(N,2) the ranges of depth along the optical axes."""
    if cameras.near_far is not None:
        longest = [_longest(cameras.K[i], cameras.size[i]) for i in range(len(cameras))]
        stretched: Float = cameras.near_far.astype(np.float64) / np.stack([np.ones(len(cameras)), longest], axis=1)
        return stretched
    if box is None:
        raise Unsupported(
            f"{folder}: the cameras have no near and far, which the format needs.", "Give the scene's box."
        )
    low, high = np.asarray(box, np.float64)
    corners = np.stack(np.meshgrid(*np.stack([low, high], 1), indexing="ij"), -1).reshape(-1, 3)
    along = np.einsum("npc,nc->np", corners[None] - cameras.centres[:, None], cameras.c2w[:, :, 2])
    if not (along > 0).all():
        raise Unsupported(f"{folder}: a part of the box is behind a camera.", "Give cameras near and far.")
    ranges: Float = np.stack([along.min(1), along.max(1)], axis=1)
    return ranges


def _camera_text(cameras: Cameras, index: int, depth: Float) -> str:
    pose = cameras.c2w[index].astype(np.float64)
    extrinsic = np.eye(4)
    extrinsic[:3, :3] = pose[:, :3].T
    extrinsic[:3, 3] = -extrinsic[:3, :3] @ pose[:, 3]
    near, far = depth.tolist()
    last = f"{near!r} {(far - near) / (_STEPS - 1)!r} {_STEPS} {far!r}"
    return f"extrinsic\n{text_of(extrinsic)}\nintrinsic\n{text_of(cameras.K[index])}\n{last}\n"


def _pairs(cameras: Cameras, numbers: list[int], middle: Float) -> str:
    """The text of pair.txt: for each view those that look at its middle from about five degrees beside it."""
    lines = [f"{len(cameras)}\n"]
    centres = cameras.centres.astype(np.float64)
    for i in range(len(cameras)):
        to = centres - (centres[i] + middle[i] * cameras.c2w[i, :, 2])
        to /= np.maximum(np.linalg.norm(to, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        angle = np.degrees(np.arccos(np.clip(to @ to[i], -1, 1)))
        score = np.exp(-((angle - _BEST) ** 2) / (2 * np.where(angle <= _BEST, _BELOW, _ABOVE) ** 2))
        others = [int(j) for j in np.argsort(-score, kind="stable") if j != i][:_PAIRS]
        pairs = " ".join(f"{numbers[j]} {score[j]:.6f}" for j in others)
        lines.append(f"{numbers[i]}\n{len(others)} {pairs}\n")
    return "".join(lines)
