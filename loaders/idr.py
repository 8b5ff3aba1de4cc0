"""DTU and BlendedMVS as IDR, NeuS and VolSDF read them: photographs with masks, and one npz of projections.

    <scene>/image/*.png, mask/*.png     in the order of their names; a mask's grey above 127.5 is the object
    <scene>/cameras.npz                 or cameras_sphere.npz (NeuS)
        world_mat_<i>   (4,4) K [R|t] of image i, pixels from the dataset's own coordinates; (0,0) is the centre of
                        the first pixel
        scale_mat_<i>   (4,4) from scene coordinates, where the object is in the unit sphere, to those; all the same

Yariv et al. 2020, lioryariv/idr code/datasets/scene_dataset.py; Wang et al. 2021, Totoro97/NeuS models/dataset.py. All
views are given: these papers score the views that they learn from. The copies differ in scale_mat: VolSDF's brings the
cameras within 3 of the middle, NeuS's the object into the sphere.

DVR's `cameras.npz` of ShapeNet has the same names and another meaning (world_mat is a rigid motion there, without
intrinsics), so that the matrices, not the names, tell the formats apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.image import flattened
from nfbench.harness.imagefile import read_image
from nfbench.harness.png import write_png
from nfbench.harness.scene import WHITE, Given, Scene, Views
from nfbench.loaders.arrayfile import write_npz
from nfbench.loaders.imagefolder import (
    check_intrinsics,
    check_names,
    check_one_size,
    has_masks,
    image_sizes,
    images_in,
    mask_size,
    only_split,
    read_mask,
    refuse_scene,
)
from nfbench.loaders.matrices import read_matrices
from nfbench.loaders.viewsets import refuse_lenses

Matrix = NDArray[np.float64]

given = ("views",)

CAMERAS = ("cameras.npz", "cameras_sphere.npz")  # IDR's and VolSDF's name, NeuS's name
BOX = ((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))  # around the unit sphere that scale_mat maps from

_IN_PIXELS = 8.0  # by what a row of intrinsics in pixels is larger than the third; 1 where the matrix is rigid
_SINGULAR = 1e-9
_SAME = 1e-5  # relative; scale matrices computed in float32 one by one
_FETCH = "Fetch the file again."


def detect(folder: Path) -> bool:
    """Whether there are a folder `image` and an npz whose projections are in pixels, which those of DVR are not."""
    if not (folder / "image").is_dir():
        return False
    for name in CAMERAS:
        try:
            world = read_matrices(folder / name, ["world_mat_0"])["world_mat_0"]
        except NfbenchError:
            continue
        if _in_pixels(world):
            return True
    return False


def read(folder: Path, cameras: str | None = None) -> Scene:
    """The scene in a folder: all views are given, in the coordinates of the unit sphere; `frame` is scale_mat.

    Every image's and mask's header is checked; none is decoded. Without a folder `mask` the views have no masks; the
    masks of NeuS's scenes "without mask" are all white.

    Args:
        folder: the scene.
        cameras: the name of the npz, where there is more than one.

    Raises:
        DataMissing: images, the npz, or as many masks as images are not there.
        DataCorrupt: a file that is not what it should be, cameras of images of another size, or two npz files of which
            neither is named.
    """
    path = _camera_file(folder, cameras)
    files = tuple(images_in(folder / "image", folder).values())
    world, frame = _projections(path, len(files))
    size = image_sizes(files)
    check_one_size(files, size)
    K, c2w = decompose(path, world @ frame)
    K[:, :2, 2] += 0.5  # the file counts pixels from the centre of the first
    check_intrinsics(K, size, files, path)
    masks = _masks(folder, files, size)
    check_poses(c2w, [f"{path}: world_mat_{i}" for i in range(len(files))])
    views = Views(
        Cameras(c2w, K.astype(np.float32), size),
        tuple(file.stem for file in files),
        lambda i: read_image(files[i]),
        (lambda i: read_mask(masks[i])) if masks else None,
        files=files,
    )
    return Scene(folder.resolve().name, Given(views=views), np.array(BOX, np.float32), frame=frame)


def splits(folder: Path, cameras: str | None = None) -> dict[str, Views]:
    """All views as `train`: the format holds none out. Raises as `read` does."""
    views = read(folder, cameras).given.views
    assert views is not None
    return {"train": views}


def write(folder: Path, splits: Mapping[str, Views], frame: Matrix | None = None) -> None:
    """Write the one split `train`: reading it gives the same names, pixels and masks, in the order of the names.

    Lost: near and far, depth, and what rounding takes, since a projection holds intrinsics and pose multiplied: they
    come back to 1e-6 pixels and to 2e-7 of the poses. Images with alpha are written over white, and their alpha becomes
    the masks, since the format's readers take three channels. The npz comes last, so that a folder left half written
    is no scene.

    Args:
        folder: the scene's.
        splits: `train` alone.
        frame: (4,4), from scene coordinates to the dataset's own: one scale and a translation; the same without it.

    Raises:
        ContractBroken: other splits, or names that cannot be files'.
        NfbenchError: the folder holds a scene already.
        Unsupported: no views, images of several sizes, or a frame that turns.
    """
    refuse_lenses(folder, splits)
    only_split(folder, splits)
    refuse_scene(folder, *CAMERAS, "image", "mask")
    views = splits["train"]
    check_names(str(folder), views.names)
    frame = np.eye(4) if frame is None else np.asarray(frame, np.float64)
    _check_scale("frame", frame, Unsupported)
    if not len(views) or np.ptp(views.cameras.size, axis=0).any():
        raise Unsupported(f"{folder}: no views, or images of several sizes.", "Write one folder for each size.")
    order = sorted(range(len(views)), key=lambda i: f"{views.names[i]}.png")
    masked = has_masks(views)
    for i in order:
        write_png(folder / "image" / f"{views.names[i]}.png", flattened(views.image(i), WHITE))
        if masked:
            grey = np.where(views.mask(i), np.uint8(255), np.uint8(0))
            write_png(folder / "mask" / f"{views.names[i]}.png", np.repeat(grey[:, :, None], 3, axis=2))
    _write_cameras(folder / CAMERAS[0], views.cameras[order], frame)


def decompose(path: Path, projections: Matrix) -> tuple[Matrix, NDArray[np.float32]]:
    """Intrinsics (N,3,3) and poses (N,3,4) float32, camera to world in OpenCV axes, of projections (N,3|4,4).

    Hartley and Zisserman, "Multiple View Geometry", section 6.2.4: the left 3x3 of a projection is an upper triangle,
    the intrinsics, times a rotation; the centre is what it maps to zero.

    Raises:
        DataCorrupt: a projection that is singular or mirrors space; `path` and the view are named.
    """
    left = projections[:, :3, :3]
    volume = np.linalg.det(left) / np.maximum(np.linalg.norm(left, axis=2).prod(1), np.finfo(np.float64).tiny)
    for i in np.flatnonzero(~(volume > _SINGULAR))[:1]:
        what = "mirrors space" if volume[i] < -_SINGULAR else "is singular"
        raise DataCorrupt(
            f"{path}: world_mat_{i} {what} (determinant {np.linalg.det(left[i]):.3g}).",
            "It must be the product of intrinsics, a right-handed rotation and a translation.",
        )
    # the QR decomposition of the transposed matrix, its rows and columns in reverse, is the RQ decomposition
    q, r = np.linalg.qr(left[:, ::-1].transpose(0, 2, 1))
    K, rotation = r.transpose(0, 2, 1)[:, ::-1, ::-1], q.transpose(0, 2, 1)[:, ::-1]
    sign = np.sign(np.diagonal(K, axis1=1, axis2=2))
    K, rotation = K * sign[:, None], rotation * sign[:, :, None]
    centre = -np.linalg.solve(left, projections[:, :3, 3:])
    with np.errstate(over="ignore"):  # a centre beyond float32 is found to be no pose
        c2w = np.concatenate([rotation.transpose(0, 2, 1), centre], axis=2).astype(np.float32)
    return K / K[:, 2:, 2:], c2w


def _camera_file(folder: Path, name: str | None) -> Path:
    there = [name] if name else [n for n in CAMERAS if (folder / n).is_file()]
    if not there:
        raise DataMissing(f"{folder} has no {' or '.join(CAMERAS)}.", "Copy the whole dataset again.")
    path = folder / there[0]
    for other in there[1:]:
        first, second = (read_matrices(folder / n, ["world_mat_0", "scale_mat_0"]) for n in (there[0], other))
        if any(not np.allclose(first[key], second[key], rtol=_SAME) for key in first):
            raise DataCorrupt(f"{folder} has {there[0]} and {other}, which differ.", "Take one of the two away.")
    return path


def _projections(path: Path, count: int) -> tuple[Matrix, Matrix]:
    """The projections (N,4,4) of `count` images, and the one scale matrix (4,4)."""
    matrices = read_matrices(path, pattern=r"(world|scale)_mat_\d{1,9}")
    found = sorted(int(name[len("world_mat_") :]) for name in matrices if name.startswith("world"))
    if found != list(range(count)):
        missing = sorted(set(range(count)) - set(found))
        what = f"no world_mat_{missing[0]}" if missing else f"cameras of {len(found)} views"
        raise DataCorrupt(
            f"{path} has {what}, and {path.parent / 'image'} holds {count} images.",
            "Cameras belong to images by the order of their names: put back the images or cameras that are missing.",
        )
    if not _in_pixels(matrices["world_mat_0"]):
        raise DataCorrupt(
            f"{path}: world_mat_0 holds no intrinsics in pixels.",
            "DVR and NMR name their matrices alike: this may be one of their ShapeNet folders.",
        )
    for i in range(count):
        if f"scale_mat_{i}" not in matrices:
            raise DataCorrupt(f"{path} has no scale_mat_{i}.", _FETCH)
    frame = matrices["scale_mat_0"]
    _check_scale(f"{path}: scale_mat_0", frame, DataCorrupt)
    for i in range(count):
        if not np.allclose(matrices[f"scale_mat_{i}"], frame, rtol=_SAME, atol=_SAME * frame[0, 0]):
            raise DataCorrupt(f"{path}: scale_mat_{i} is not scale_mat_0.", "A scene has one scale matrix for all.")
    return np.stack([matrices[f"world_mat_{i}"] for i in range(count)]), frame


def _check_scale(what: str, frame: Matrix, error: type[NfbenchError]) -> None:
    """Raise `error` unless a (4,4) frame is one positive scale and a translation, as IDR and NeuS take it to be."""
    scale = frame[0, 0] if frame.shape == (4, 4) else 0.0
    if not scale > 0 or not np.allclose(frame[:3, :3], scale * np.eye(3), rtol=0, atol=_SAME * scale):
        raise error(
            f"{what} is no single positive scale with a translation: {frame.tolist()}.",
            "The format's readers bring surfaces back by its first number and its last column.",
        )


def _in_pixels(world: Matrix) -> bool:
    """Whether a (4,4) projection has intrinsics in pixels; DVR's has none."""
    sizes = np.linalg.norm(world[:3, :3], axis=1)
    return bool((sizes[:2] > _IN_PIXELS * sizes[2]).all())


def _masks(folder: Path, files: tuple[Path, ...], size: NDArray[np.int32]) -> tuple[Path, ...]:
    """The mask of each image by their order, whose numbers must agree where both names are numbers; or none."""
    if not (folder / "mask").is_dir():
        return ()
    masks = tuple(images_in(folder / "mask", folder).values())
    if len(masks) != len(files):
        raise DataMissing(
            f"{folder} has {len(files)} images and {len(masks)} masks.", "Each image needs its mask, or none has one."
        )
    for file, mask, expected in zip(files, masks, size.tolist(), strict=True):
        if file.stem.isdecimal() and mask.stem.isdecimal() and int(file.stem) != int(mask.stem):
            raise DataCorrupt(f"{folder}: {file.name} comes with the mask {mask.name}.", "Give both the same number.")
        if (found := mask_size(mask)) != tuple(expected):
            raise DataCorrupt(
                f"{mask}: {found[0]}x{found[1]} pixels, its image has {expected[0]}x{expected[1]}.",
                "Scale the masks with the images.",
            )
    return masks


def _write_cameras(path: Path, cameras: Cameras, frame: Matrix) -> None:
    scale, move = frame[0, 0], frame[:3, 3]
    arrays: dict[str, Matrix] = {}
    for i in range(len(cameras)):
        K = cameras.K[i].astype(np.float64)
        K[:2] -= 0.5 * K[2]
        u, _, v = np.linalg.svd(cameras.c2w[i, :, :3].astype(np.float64))
        rotation, centre = (
            (u @ v).T,
            cameras.c2w[i, :, 3].astype(np.float64),
        )  # what float32 takes from it stays out of K
        world = np.eye(4)
        world[:3, :3] = K @ rotation
        world[:3, 3] = -world[:3, :3] @ (scale * centre + move)
        arrays |= {f"world_mat_{i}": world, f"scale_mat_{i}": frame}
    write_npz(path, arrays)
