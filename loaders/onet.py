"""ShapeNet as Occupancy Networks prepared it (Mescheder et al. 2019); Convolutional Occupancy Networks and others, too.

    <root>/<class>/{train,val,test}.lst     a shape's name a line; blank lines are none
    <root>/<class>/<shape>/points.npz       points (N,3), occupancies (N,) or packed to bits, loc (3,), scale ()
    <root>/<class>/<shape>/pointcloud.npz   points and normals (N,3), loc, scale
    <root>/<class>/<shape>/model.binvox     32 voxels along an edge, see nfbench.loaders.binvox
    <root>/<class>/<shape>/img_choy2016     24 renderings with cameras, see nfbench.loaders.choy

The longest edge of a shape's bounding box is 1, its centre the origin; original coordinates are ``scale * x + loc``.
Published files hold float16. For points in space the original code adds noise of 1e-4 whenever it loads them, also to
evaluate; here the noise is drawn from a seed. Occupancy was computed before rounding, so that some labels next to the
surface are wrong. A method gets 300 noisy points of the surface, as in the paper's point cloud completion; giving
`views` the first rendering, and all of them to learn from; giving `voxels` those of model.binvox, which fill the cube
[-0.5,0.5]^3 whatever its header says, as the original code takes them (im2mesh/onet/training.py); giving `samples` half
of the points in space, drawn by the seed, and the other half measures.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Points, Scene, Views, Voxels
from nfbench.loaders.arrayfile import read_npz, write_npz
from nfbench.loaders.binvox import Grid, read_binvox, write_binvox
from nfbench.loaders.choy import SIDE, read_choy, write_choy
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
inputs = ("views", "cloud", "samples", "voxels")

EDGE = 0.55  # half the edge of the cube that points were drawn in: 1 and a padding of 0.1
JITTER = 1e-4  # im2mesh/data/fields.py: against the symmetry of points that are float16
VOXEL_EDGE = 0.5  # half the edge of the cube of voxels
VIEW = 0  # the rendering that a test shape is given: im2mesh/data/fields.py, ImagesField
CLOUD, NOISE = 300, 0.005  # configs/pointcloud/onet.yaml: points given, and their standard deviation
RENDERINGS, MODEL = "img_choy2016", "model.binvox"
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


def read(folder: Path, giving: str = "cloud", *, points: int = CLOUD, noise: float = NOISE, seed: int = 0) -> Scene:
    """The scene of one shape: a noisy cloud is given, the whole cloud and the points with occupancy are the truth.

    Either file may be missing, not both. Normals are those of the file, unit vectors but for rounding.

    Args:
        folder: of the shape.
        giving: one of `inputs`, in place of the cloud.
        points: how many are given.
        noise: their standard deviation.
        seed: of that, of the jitter of float16 and of the half of the samples.

    Raises:
        DataMissing: neither points.npz nor pointcloud.npz, or not the files of what is to be given.
        DataCorrupt: a file that is not what it should be.
    """
    cloud, space = folder / "pointcloud.npz", folder / "points.npz"
    if not cloud.is_file() and not space.is_file():
        raise DataMissing(f"{folder} has neither points.npz nor pointcloud.npz.", "Fetch the dataset again.")
    surface, frame = read_cloud(cloud) if cloud.is_file() else (None, None)
    occupancy, other = read_points(space, seed=seed) if space.is_file() else (None, None)
    chosen = next((place for place in (frame, other) if place is not None), np.eye(4))
    if giving == "views":
        seen = Given(views=read_views(folder, chosen).subset([VIEW]))
    elif giving == "voxels":
        seen = Given(voxels=read_voxels(folder))
    elif giving == "samples":
        samples, occupancy = _halves(space, occupancy, seed)
        seen = Given(samples=samples)
    else:
        seen = Given(cloud=None if surface is None else noisy(surface, points, noise, seed))
    return Scene(
        name(folder),
        seen,
        cube(EDGE),
        surface=surface,
        occupancy=occupancy,
        frame=chosen,
        withheld=tuple(file for file in sorted(folder.rglob("*")) if file.is_file()),
    )


def read_training(folder: Path, giving: str = "cloud") -> Scene:
    """The scene of a shape to learn from: its points in space are given as samples, of renderings all."""
    scene = read(folder, "cloud" if giving in ("views", "samples") else giving)
    if giving == "views":
        scene = replace(scene, given=Given(views=read_views(folder, scene.frame)))
    return for_training(scene)


def read_views(folder: Path, frame: NDArray[np.float64]) -> Views:
    """All renderings of a shape, `frame` (4,4) leading from its points to ShapeNet's coordinates.

    Near and far enclose the box.

    Raises:
        DataMissing, DataCorrupt: as `choy.read_choy`.
    """
    views = read_choy(folder / RENDERINGS, float(frame[0, 0]), frame[:3, 3])
    away = np.linalg.norm(views.cameras.c2w[:, :, 3], axis=1)
    reach = EDGE * 3**0.5
    near_far = np.stack([np.maximum(away - reach, 0.01 * away), away + reach], 1).astype(np.float32)
    return replace(views, cameras=replace(views.cameras, near_far=near_far))


def read_voxels(folder: Path) -> Voxels:
    """The voxels of a shape.

    Raises:
        DataMissing, DataCorrupt: as `binvox.read_binvox`.
        Unsupported: they are no cube.
    """
    file = folder / MODEL
    return Grid(read_binvox(file).filled, np.full(3, -VOXEL_EDGE), 2 * VOXEL_EDGE).cube(str(file))


def _halves(file: Path, points: Points | None, seed: int) -> tuple[Points, Points]:
    """The half of the points that is given, and the other."""
    if points is None or points.value is None or len(points) < 2:
        raise DataMissing(f"{file} has no points to give and to measure.", "Fetch the dataset again.")
    order = np.random.default_rng([seed, 1]).permutation(len(points))
    value = points.value
    first, second = (np.sort(part) for part in np.split(order, [len(points) // 2]))
    return tuple(Points(points.xyz[at], value=value[at], kind="occupancy") for at in (first, second))  # type: ignore[return-value]


def splits(folder: Path) -> dict[str, Views]:
    """None that are measured: the renderings in img_choy2016 are an input, see `read_views`."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test", *, float16: bool = False) -> None:
    """Write shapes and add them to the list of a split; surface, occupancy, frame and given cloud are read back.

    In float32 exactly; in float16, as the published files are, coordinates are rounded by up to 2.5e-4 and points in
    space are then read with jitter. A true mesh becomes 100,000 points on it. Voxels that are given go to model.binvox,
    given views of 137x137 pixels to img_choy2016. A name such as `04379243-1a9b` goes to the folder of that class, any
    other to `folder` itself. Not written: samples beside occupancy, views of other sizes, and other boxes.

    Raises:
        ContractBroken: a frame that is more than a scale and a move, or voxels that do not fill the cube [-0.5,0.5]^3.
        DataMissing: a scene without surface, or without occupancy.
    """
    kind = np.float16 if float16 else np.float32
    for scene in scenes:
        home, shape = _home(folder, scene.name)
        write_shape(home / shape, scene, kind)
        add_to_list(home / f"{split}.lst", shape)


def write_shape(folder: Path, scene: Scene, kind: type[np.float16 | np.float32]) -> None:
    """Write points.npz and pointcloud.npz of one scene, and what is given of voxels and views."""
    scale, move = scale_and_move(scene.frame, scene.name)
    where = {"loc": move, "scale": np.array(scale)}
    surface, space = surface_points(scene), occupancy_points(scene)
    assert space.value is not None
    normal = {} if surface.normal is None else {"normals": surface.normal.astype(kind)}
    bits = np.packbits(space.value >= 0.5)
    write_npz(folder / "pointcloud.npz", {"points": surface.xyz.astype(kind), **normal, **where})
    write_npz(folder / "points.npz", {"points": space.xyz.astype(kind), "occupancies": bits, **where})
    views, voxels = scene.given.views, scene.given.voxels
    if voxels is not None:
        if np.abs(voxels.box - cube(VOXEL_EDGE)).max() > 1e-6:
            raise ContractBroken(
                f"The voxels of scene {scene.name!r} fill {voxels.box.tolist()}.", "The format's fill [-0.5,0.5]^3."
            )
        write_binvox(folder / MODEL, Grid(voxels.filled, np.full(3, -VOXEL_EDGE), 2 * VOXEL_EDGE))
    if views is not None and len(views) and (views.cameras.size == SIDE).all():
        c2w = views.cameras.c2w.astype(np.float64)
        c2w[:, :, 3] = c2w[:, :, 3] * scale + move
        write_choy(folder / RENDERINGS, replace(views, cameras=replace(views.cameras, c2w=c2w.astype(np.float32))))


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
