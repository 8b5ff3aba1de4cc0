"""ShapeNet cars and chairs of Scene Representation Networks (Sitzmann et al. 2019).

    {cars,chairs}_{train,val,test}/<id>/        chairs_train may hold them one level down, in chairs_2.0_train
        rgb/000000.png ...      128x128, white background
        pose/000000.txt ...     16 numbers, camera to world, OpenCV axes
        intrinsics.txt          f cx cy 0. / barycentre of a grid / near plane / height width / optionally 1, where
                                poses are world to camera
        convention.txt          optional, nfbench's own: `opencv` or `opengl`

vsitzmann/scene-representation-networks util.py; sxyu/pixel-nerf SRNDataset.py. Copies of the data with OpenGL poses
look the same on disk. `read` tells them apart by the silhouettes, and warns of OpenGL; `notes` says what was found.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, check_poses, from_opengl
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import Image, check_header, read_png, write_png
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Scene, Views
from nfbench.loaders.imagefolder import images_in
from nfbench.loaders.listfile import read_text
from nfbench.loaders.silhouettes import agreement
from nfbench.loaders.srnfile import read_intrinsics, read_poses
from nfbench.loaders.viewsets import one_of_each

Convention = Literal["opencv", "opengl"]

given = ("views",)

TEST_VIEWS, SOURCE = 251, 64  # a test object's spiral, and the view of it that is given (pixelNeRF, eval -P '64')

_CATEGORIES = ("cars", "chairs")
_NESTED = "chairs_2.0_train"
_EVERY = 8  # a folder outside of the dataset hides every eighth view, as is usual for views of one scene
_LOOKED_AT = 6  # views by which the convention is told
_SURE, _UNSURE = 0.8, 0.5  # the right convention reaches 0.95 and more, the wrong one some 0.1
_FARTHEST = 1e5  # times the radius that cameras see, beyond which a camera has no use of float32
_OPAQUE = 128  # alpha from which on a pixel is foreground


class Evidence(NamedTuple):
    """How well the silhouettes of a scene agree, in [0,1], if its poses are OpenCV's and if they are OpenGL's.

    `convention` is the one that they speak for, None where the evidence is weak.
    """

    convention: Convention | None
    opencv: float
    opengl: float


def detect(folder: Path) -> bool:
    """Whether a folder has intrinsics.txt, rgb and pose, and not the bbox.txt that NSVF puts beside them."""
    there = (folder / "intrinsics.txt").is_file() and not (folder / "bbox.txt").exists()
    return there and (folder / "rgb").is_dir() and (folder / "pose").is_dir()


def scenes(path: Path) -> list[Path]:
    """The objects in a path: itself, those in it, or the test objects below cars_test and chairs_test.

    Where a dataset lacks test objects, those of val count, else those of train.
    """
    if detect(path):
        return [path]
    if not path.is_dir():
        return []
    found = _objects(path) or _objects(path / _NESTED)
    for split in ("test", "val", "train"):
        found = found or _category_objects(path, split)
    return found


def training(path: Path) -> list[Path]:
    """The objects of cars_train and chairs_train in the folder that holds them."""
    return _category_objects(path, "train")


def read(folder: Path, convention: Convention | None = None, source: int | None = None) -> Scene:
    """One object. No image is decoded but some to tell the convention, where that is not given.

    A training object (below cars_train or chairs_train) gives all its views. An object of 251 views, or below a
    category's test or val, gives `source` alone, and all its views are hidden ones, that one included, as SRN measures.
    Elsewhere every eighth view is hidden, from the first on. Near, far and the box enclose the sphere around the origin
    that the cameras see whole: a little more than pixelNeRF's 0.8 and 1.8 for cars at 1.3, 1.25 and 2.75 for chairs.

    Args:
        folder: the object.
        convention: of its poses; left out, that in convention.txt, else the one that the silhouettes speak for.
        source: the view that is given; left out, view 64 of those with as many, else the first.

    Raises:
        DataMissing: a file is not there.
        DataCorrupt: a file is not what it should be.
        NfbenchError: the silhouettes speak for neither convention; it asks for one.
    """
    return _parted(folder, *_views(folder, convention)[:2], source)


def splits(folder: Path, convention: Convention | None = None) -> dict[str, Views]:
    """`train`, the views that are given, and `test`, the hidden ones, as `read` parts them; raises as it does."""
    return _splits(read(folder, convention))


def evidence(folder: Path) -> Evidence:
    """What the silhouettes of a scene say about the convention of its poses.

    Raises as `read` does, but for the last.
    """
    poses, K, size, files = _files(folder)
    return _evidence(poses, K, size, files)


def notes(folder: Path) -> list[str]:
    """What a reader of the scene should know: the convention of its poses and what speaks for it."""
    said = _said(folder)
    return [_note(folder, said or evidence(folder))]


def opened(folder: Path) -> tuple[Scene, dict[str, Views], list[str]]:
    """What `read`, `splits` and `notes` give, from one look at the files; raises as `read` does."""
    views, reach, told = _views(folder, None)
    scene = _parted(folder, views, reach, None)
    return scene, _splits(scene), [_note(folder, told)]


def write(folder: Path, splits: Mapping[str, Views]) -> None:
    """Write the views of all splits with OpenCV poses: reading gives the same poses, intrinsics, names and pixels.

    A view in two splits is written once. Which views are given, near and far are not stored, and views are read back
    sorted by name. intrinsics.txt comes last, so that a folder left half written is not taken for a scene.

    Raises:
        ContractBroken: no views, names that cannot be those of files, or views of one name that differ.
        NfbenchError: the folder holds a scene already.
        Unsupported: cameras that differ in intrinsics or size, or have skew or two focal lengths.
    """
    if (folder / "intrinsics.txt").exists():
        raise NfbenchError(f"{folder} holds a scene already.", "Choose another folder, or delete this one.")
    views = one_of_each(folder, splits)
    cameras = views.cameras
    f, cx, cy = (float(cameras.K[0][at]) for at in ((0, 0), (0, 2), (1, 2)))
    wanted = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]], np.float32)
    if (wanted != cameras.K).any() or (cameras.size != cameras.size[0]).any() or f <= 0:
        raise Unsupported(f"{folder}: the format has one focal length and size for all views.", "Resample the images.")
    for name in views.names:
        if name in ("", ".", "..") or set(name) & {"/", "\\", "\0"} or name.startswith("."):
            raise ContractBroken(f"{folder}: {name!r} cannot be the name of an image.", "Use the name of a file only.")
    (folder / "pose").mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(views.names):
        write_png(folder / "rgb" / f"{name}.png", views.image(index))
        rows = [*cameras.c2w[index].astype(np.float64).tolist(), [0.0, 0.0, 0.0, 1.0]]
        write_text(folder / "pose" / f"{name}.txt", "\n".join(" ".join(map(repr, row)) for row in rows) + "\n")
    width, height = cameras.size[0].tolist()
    write_text(folder / "convention.txt", "opencv\n")
    write_text(folder / "intrinsics.txt", f"{f!r} {cx!r} {cy!r} 0.\n0. 0. 0.\n1.\n{height} {width}\n")


_AXES: dict[Convention, str] = {"opencv": "OpenCV", "opengl": "OpenGL"}


def _parted(folder: Path, views: Views, reach: float, source: int | None) -> Scene:
    """The scene of all views of an object: which of them are given."""
    name, box = folder.resolve().name, np.array([[-reach] * 3, [reach] * 3], np.float32)
    parent = _category(folder)
    if source is None and parent is not None and parent.endswith("_train"):
        return Scene(name, Given(views=views), box)
    if source is None and parent is None and len(views) != TEST_VIEWS and len(views) > 1:
        held = set(range(0, len(views), _EVERY))
        seen = views.subset([i for i in range(len(views)) if i not in held])
        return Scene(name, Given(views=seen), box, hidden=views.subset(sorted(held)))
    at = source if source is not None else SOURCE if len(views) > SOURCE else 0
    if not 0 <= at < len(views):
        raise DataMissing(f"{folder} has no view {at}: it has {len(views)}.", "Choose one of them.")
    return Scene(name, Given(views=views.subset([at])), box, hidden=views)


def _splits(scene: Scene) -> dict[str, Views]:
    assert scene.given.views is not None
    return {"train": scene.given.views, **({"test": scene.hidden} if scene.hidden else {})}


def _note(folder: Path, found: Convention | Evidence) -> str:
    """What speaks for the convention of a scene's poses: what its convention.txt says, or its silhouettes."""
    name = folder.resolve().name
    if not isinstance(found, Evidence):
        return f"{name}: {_AXES[found]} poses, by its convention.txt"
    what = "poses of unclear convention" if found.convention is None else f"{_AXES[found.convention]} poses"
    agree = f"silhouettes agree to {found.opencv:.0%} as OpenCV, {found.opengl:.0%} as OpenGL"
    return f"{name}: {what}; {agree}"


def _objects(folder: Path) -> list[Path]:
    return [child for child in sorted(folder.iterdir()) if detect(child)] if folder.is_dir() else []


def _category_objects(path: Path, split: str) -> list[Path]:
    """The objects of one split of all categories in the folder of a dataset."""
    folders = [path / f"{category}_{split}" for category in _CATEGORIES]
    return [object for folder in folders for object in _objects(folder) or _objects(folder / _NESTED)]


def _category(folder: Path) -> str | None:
    """cars_test for an object below it, None for one that is in no such folder."""
    above = [parent.name for parent in folder.absolute().parents[:2]]
    known = {f"{category}_{split}" for category in _CATEGORIES for split in ("train", "val", "test")}
    return next((name for name in above if name in known), None)


def _views(folder: Path, convention: Convention | None) -> tuple[Views, float, Convention | Evidence]:
    """All views of a scene, the radius of the sphere around the origin that cameras see whole, what told the axes."""
    if convention is not None and convention not in get_args(Convention):
        raise NfbenchError(f"There is no convention {convention!r}.", "Say opencv or opengl.")
    poses, K, size, files = _files(folder)
    told = convention or _said(folder) or _evidence(poses, K, size, files)
    axes = _axes(folder, told) if isinstance(told, Evidence) else told
    c2w = _turned(poses, axes)
    distance = np.linalg.norm(c2w[:, :, 3], axis=1)
    reach = float(np.median(distance)) * math.sin(math.atan(min(size) / (2 * float(K[0, 0]))))
    if reach <= 0:
        raise DataCorrupt(f"{folder}: its cameras stand at the origin, where the object should be.", "Shift them.")
    if distance.max() > _FARTHEST * reach:
        far = files[int(distance.argmax())].stem
        raise DataCorrupt(
            f"{folder / 'pose' / far}.txt: {distance.max():g} from the origin.", "Mend or drop this view."
        )
    near_far = np.stack([np.maximum(distance - reach, 0), distance + reach], axis=1)
    n = len(files)
    cameras = Cameras(
        c2w, np.tile(K, (n, 1, 1)), np.tile(np.array(size, np.int32), (n, 1)), near_far.astype(np.float32)
    )
    return Views(cameras, tuple(file.stem for file in files), lambda i: read_png(files[i]), files=files), reach, told


def _axes(folder: Path, found: Evidence) -> Convention:
    """The convention that silhouettes speak for, with a warning where it is not SRN's, or an error."""
    if found.convention is None:
        raise NfbenchError(
            f"{folder}: the convention of its poses is unclear; silhouettes agree to {found.opencv:.0%} as OpenCV,"
            f" {found.opengl:.0%} as OpenGL.",
            "Say it: read(folder, convention='opencv'), or write opencv or opengl into its convention.txt.",
        )
    if found.convention == "opengl":
        warnings.warn(f"{folder}: OpenGL poses, not SRN's; told by its silhouettes.", stacklevel=4)
    return found.convention


def _turned(poses: NDArray[np.float64], axes: Convention) -> NDArray[np.float32]:
    return from_opengl(poses) if axes == "opengl" else poses[:, :3].astype(np.float32)


def _files(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float32], tuple[int, int], tuple[Path, ...]]:
    """Poses (N,4,4) as stored but camera to world, intrinsics (3,3), width and height, and the images."""
    f, cx, cy, size, inverted = read_intrinsics(folder / "intrinsics.txt")
    images = images_in(folder / "rgb", folder, (".png",))
    texts = images_in(folder / "pose", folder, (".txt",))
    for one, other, what in ((images, texts, "pose"), (texts, images, "rgb")):
        lost = sorted(one.keys() - other.keys())
        if lost:
            raise DataMissing(f"{folder / what} lacks {lost[0]} ({len(lost)} in all).", "Download the scene again.")
    for file in images.values():
        check_header(file, size)
    poses = read_poses([texts[name] for name in images])
    check_poses(poses, [str(texts[name]) for name in images])
    K = np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]], np.float32)
    poses = np.linalg.inv(poses).astype(np.float64) if inverted else poses
    return poses, K, size, tuple(images.values())


def _said(folder: Path) -> Convention | None:
    """What convention.txt says, None where there is no such file."""
    path = folder / "convention.txt"
    if not path.exists():
        return None
    word = read_text(path).strip().lower()
    for convention in get_args(Convention):
        if word == convention:
            return convention  # type: ignore[no-any-return]
    raise DataCorrupt(f"{path} says {word[:40]!r}.", "It should say opencv or opengl.")


def _foreground(image: Image) -> NDArray[np.bool_]:
    """(H,W) what is opaque, else what is not white in any channel: pixelNeRF asks for all and loses pure colours."""
    if image.shape[2] == 4 and image[:, :, 3].min() < _OPAQUE:
        opaque: NDArray[np.bool_] = image[:, :, 3] >= _OPAQUE
        return opaque
    coloured: NDArray[np.bool_] = (image[:, :, :3] != 255).any(axis=2)
    return coloured


def _evidence(
    poses: NDArray[np.float64], K: NDArray[np.float32], size: tuple[int, int], files: tuple[Path, ...]
) -> Evidence:
    at = np.unique(np.linspace(0, len(files) - 1, _LOOKED_AT).round().astype(np.int64))
    masks = [_foreground(read_png(files[i])) for i in at]
    reach = 2 * float(np.linalg.norm(poses[:, :3, 3], axis=1).max())
    n = len(at)
    scores = {}
    for axes in get_args(Convention):
        cameras = Cameras(_turned(poses[at], axes), np.tile(K, (n, 1, 1)), np.tile(np.array(size, np.int32), (n, 1)))
        scores[axes] = agreement(cameras, masks, reach) or 0.0
    opencv, opengl = scores["opencv"], scores["opengl"]
    if max(opencv, opengl) < _SURE or min(opencv, opengl) > _UNSURE:
        return Evidence(None, opencv, opengl)
    return Evidence("opencv" if opencv > opengl else "opengl", opencv, opengl)
