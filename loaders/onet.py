"""ShapeNet as Occupancy Networks prepared it (Mescheder et al. 2019); Convolutional Occupancy Networks and others, too.

    <root>/<class>/{train,val,test}.lst     a shape's name a line; blank lines are none
    <root>/<class>/<shape>/points.npz       points (N,3), occupancies (N,) or packed to bits, loc (3,), scale ()
    <root>/<class>/<shape>/pointcloud.npz   points and normals (N,3), loc, scale
    <root>/<class>/<shape>/model.binvox     see nfbench.loaders.binvox

The longest edge of a shape's bounding box is 1, its centre the origin; original coordinates are ``scale * x + loc``.
Published files hold float16. For points in space the original code adds noise of 1e-4 whenever it loads them, also to
evaluate; here the noise is drawn from a seed. Occupancy was computed before rounding, so that some labels next to the
surface are wrong. A method gets 300 noisy points of the surface, as in the paper's point cloud completion.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.loaders.arrayfile import read_npz, write_npz
from nfbench.loaders.cloud import (
    checked,
    cube,
    for_training,
    jitter,
    noisy,
    occupancy_points,
    scale_and_move,
    similarity,
    surface_points,
)
from nfbench.loaders.listfile import check_name, place, read_list

given = ("cloud",)

EDGE = 0.55  # half the edge of the cube that points were drawn in: 1 and a padding of 0.1
JITTER = 1e-4  # im2mesh/data/fields.py: against the symmetry of points that are float16
CLOUD, NOISE = 300, 0.005  # configs/pointcloud/onet.yaml: points given, and their standard deviation
SPLITS = ("train", "val", "test")

_SYNSET = re.compile(r"\d{7,8}")  # WordNet's offsets, which name ShapeNet's classes
_PLACE = {"loc": (3,), "scale": ()}
_AGAIN = "Fetch it again."


def scenes(path: Path) -> list[Path]:
    """The shapes to be solved: those of the lists test.lst, or all where there is no list; a shape's folder itself."""
    return [path] if detect(path) else listed(path, "test", detect)


def training(path: Path) -> list[Path]:
    """The shapes of the lists train.lst."""
    return [] if detect(path) else listed(path, "train", detect)


def detect(folder: Path) -> bool:
    """Whether a folder is a shape: it has points.npz, or pointcloud.npz and no cameras beside it, as NMR's have."""
    if (folder / "points.npz").is_file():
        return True
    return (folder / "pointcloud.npz").is_file() and not (folder / "cameras.npz").is_file()


def name(folder: Path) -> str:
    """The shape's name, after that of its class where that is one of ShapeNet's: a shape may be in two classes."""
    shape = folder.absolute()
    return f"{shape.parent.name}-{shape.name}" if _SYNSET.fullmatch(shape.parent.name) else shape.name


def read(folder: Path, *, points: int = CLOUD, noise: float = NOISE, seed: int = 0) -> Scene:
    """The scene of one shape: a noisy cloud is given, the whole cloud and the points with occupancy are the truth.

    Either file may be missing, not both. Normals are those of the file, unit vectors but for rounding.

    Args:
        folder: of the shape.
        points: how many are given.
        noise: their standard deviation.
        seed: of that and of the jitter of float16.

    Raises:
        DataMissing: neither points.npz nor pointcloud.npz.
        DataCorrupt: a file that is not what it should be.
    """
    cloud, space = folder / "pointcloud.npz", folder / "points.npz"
    if not cloud.is_file() and not space.is_file():
        raise DataMissing(f"{folder} has neither points.npz nor pointcloud.npz.", "Fetch the dataset again.")
    surface, frame = read_cloud(cloud) if cloud.is_file() else (None, None)
    occupancy, other = read_points(space, seed=seed) if space.is_file() else (None, None)
    chosen = frame if frame is not None else other
    return Scene(
        name(folder),
        Given(cloud=None if surface is None else noisy(surface, points, noise, seed)),
        cube(EDGE),
        surface=surface,
        occupancy=occupancy,
        frame=np.eye(4) if chosen is None else chosen,
    )


def read_training(folder: Path) -> Scene:
    """The scene of a shape to learn from: its points in space are given as samples."""
    return for_training(read(folder))


def splits(folder: Path) -> dict[str, Views]:
    """None: views are beside the shape in img_choy2016, a format of its own."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test", *, float16: bool = False) -> None:
    """Write shapes and add them to the list of a split; surface, occupancy, frame and given cloud are read back.

    In float32 exactly; in float16, as the published files are, coordinates are rounded by up to 2.5e-4 and points in
    space are then read with jitter. A true mesh becomes 100,000 points on it. A name such as `04379243-1a9b` goes to
    the folder of that class, any other to `folder` itself. Not written: samples beside occupancy, and other boxes.

    Raises:
        ContractBroken: a frame that is more than a scale and a move.
        DataMissing: a scene without surface, or without occupancy.
    """
    kind = np.float16 if float16 else np.float32
    for scene in scenes:
        home, shape = _home(folder, scene.name)
        write_shape(home / shape, scene, kind)
        add_to_list(home / f"{split}.lst", shape)


def write_shape(folder: Path, scene: Scene, kind: type[np.float16 | np.float32]) -> None:
    """Write points.npz and pointcloud.npz of one scene."""
    scale, move = scale_and_move(scene.frame, scene.name)
    where = {"loc": move, "scale": np.array(scale)}
    surface, space = surface_points(scene), occupancy_points(scene)
    assert space.value is not None
    normal = {} if surface.normal is None else {"normals": surface.normal.astype(kind)}
    bits = np.packbits(space.value >= 0.5)
    write_npz(folder / "pointcloud.npz", {"points": surface.xyz.astype(kind), **normal, **where})
    write_npz(folder / "points.npz", {"points": space.xyz.astype(kind), "occupancies": bits, **where})


def add_to_list(path: Path, shape: str) -> None:
    """Add a name to a list, once, by rename."""
    names = read_list(path) if path.is_file() else []
    if shape not in names:
        write_text(path, "\n".join([*names, shape]) + "\n")


def read_points(path: Path, *, deviation: float = JITTER, seed: int = 0) -> tuple[Points, NDArray[np.float64] | None]:
    """Points in space with occupancy, and the frame (4,4) where the file has loc and scale.

    Occupancies are bools or numbers, one each, or packed to bits, the highest first. What is float16 gets noise.

    Args:
        path: points.npz.
        deviation: standard deviation of the noise.
        seed: of the noise, which is the same for every file.

    Raises:
        DataMissing: no such file.
        DataCorrupt: not what it should be.
    """
    arrays = read_npz(path, {"points": (None, 3), "occupancies": (None,)}, _PLACE)
    xyz, occupancies = arrays["points"], arrays["occupancies"]
    count = len(xyz)
    packed = len(occupancies) == -(-count // 8) and occupancies.dtype == np.uint8 and count > 1
    if not packed and len(occupancies) != count:
        raise DataCorrupt(f"{path}: {count} points and {len(occupancies)} occupancies.", _AGAIN)
    value = np.unpackbits(occupancies, count=count) if packed else occupancies
    if not packed and not ((value == 0) | (value == 1)).all():
        raise DataCorrupt(f"{path}: occupancies other than 0 and 1.", "Threshold them first.")
    if xyz.dtype == np.float16:
        xyz = xyz.astype(np.float32)
        if deviation:
            xyz += jitter(count, deviation, seed)
    return checked(path, xyz, value=value.astype(np.float32), kind="occupancy"), _frame(path, arrays)


def read_cloud(path: Path) -> tuple[Points, NDArray[np.float64] | None]:
    """Points on the surface, with normals where they have some, and the frame (4,4) where the file has loc and scale.

    Raises:
        DataMissing: no such file.
        DataCorrupt: not what it should be.
    """
    arrays = read_npz(path, {"points": (None, 3)}, {"normals": (None, 3), **_PLACE})
    return checked(path, arrays["points"], arrays.get("normals")), _frame(path, arrays)


def listed(path: Path, split: str, is_shape: Callable[[Path], bool]) -> list[Path]:
    """The shapes of one split in a class's folder, or in the folders of classes; all where nothing lists any.

    Args:
        path: of a class or of all of them.
        split: whose list.
        is_shape: whether a folder is a shape of the format; a list that names none of them is of another format.

    Raises:
        DataMissing: a listed shape that is not there, where others are.
        DataCorrupt: a list that is no list, or a link that leads out.
    """
    if not path.is_dir():
        return []
    classes = [path, *sorted(child for child in path.iterdir() if child.is_dir())]
    lists = [folder for folder in classes if any((folder / f"{s}.lst").is_file() for s in SPLITS)]
    if lists:
        return [shape for folder in lists for shape in _of_list(folder, split, is_shape)]
    if split != "test":
        return []
    direct = [child for child in classes[1:] if is_shape(child)]
    if direct:
        return direct
    return [shape for child in classes[1:] for shape in sorted(child.iterdir()) if shape.is_dir() and is_shape(shape)]


def _of_list(folder: Path, split: str, is_shape: Callable[[Path], bool]) -> list[Path]:
    path = folder / f"{split}.lst"
    if not path.is_file():
        return []
    names = read_list(path)
    if not any(is_shape(folder / shape) for shape in names):
        return []
    found = [place(folder, shape, path) for shape in names]
    for shape in found:
        if not is_shape(shape):
            raise DataMissing(f"{path} names {shape.name!r}; {shape} has no points.", "Fetch the dataset again.")
    return found


def _home(folder: Path, scene: str) -> tuple[Path, str]:
    """The folder of a scene's class, and the name of its shape."""
    check_name(scene, folder)
    group, _, shape = scene.partition("-")
    return (folder / group, shape) if shape and _SYNSET.fullmatch(group) else (folder, scene)


def _frame(path: Path, arrays: dict[str, Any]) -> NDArray[np.float64] | None:
    if not {"loc", "scale"} <= set(arrays):
        return None
    loc, scale = arrays["loc"].astype(np.float64), float(arrays["scale"])
    if not (np.isfinite(loc).all() and 0 < scale < np.inf):
        raise DataCorrupt(f"{path}: loc {loc.tolist()} and scale {scale}.", "The scale is more than 0.")
    return similarity(scale, loc)
