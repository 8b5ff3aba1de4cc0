"""IM-NET's HDF5 files of sampled voxels (Chen and Zhang 2019; czq142857/IM-NET point_sampling).

    all_vox256_img_{train,test}.hdf5    voxels u8 (N,64,64,64,1); points_16, points_32, points_64 u8 (N,P,3) and
                                        values_16, values_32, values_64 u8 (N,P,1); pixels are left aside
    all_vox256_img_{train,test}.txt     a shape's name a line, `02691156/10155655850468db78d106ce0a280f87`

Points are indices of a lattice of 256 voxels along each edge of the cube [-0.5,0.5]^3, in the files of the authors'
first code of as many as the name says: of those, no index reaches that number. A coordinate is ``(index + 0.5) / n -
0.5``. Points that are float are coordinates already. The frame is ShapeNet's with a bounding box of DIAGONAL 1, not of
longest edge 1 as in Occupancy Networks: numbers of the two do not compare. It is kept as it is, the frame the identity.

A scene is one row, named by a path that goes on behind its file: `all_vox256_img_test.hdf5/02691156/1015...`. Its
voxels are given as samples, as the auto-encoder gets them; their surface and the sampled points are the truth.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.loaders.binvox import EDGE, Grid, voxel_scene, voxels_of
from nfbench.loaders.cloud import checked, cube, for_training, occupancy_points
from nfbench.loaders.listfile import check_name, read_list

if TYPE_CHECKING:
    import h5py

given = ("samples",)
inputs = ("samples", "voxels")

RESOLUTIONS = (64, 32, 16)
LATTICE = 256  # voxels along an edge that indices count, but in the oldest files

_ENDINGS = (".hdf5", ".h5")
_MOST = 1 << 28  # numbers in one row
_AGAIN = "Fetch it again."


def scenes(path: Path) -> list[Path]:
    """The rows of an HDF5 file, or of those of a folder: the ones called `test` where any says its split."""
    if path.is_file():
        return [path / shape for shape in _names(path)] if _is_file(path) else []
    files = _files(path)
    tests = [file for file in files if "test" in file.stem]
    chosen = files if not any(split in file.stem for file in files for split in ("train", "test")) else tests
    return [file / shape for file in chosen for shape in _names(file)]


def training(path: Path) -> list[Path]:
    """The rows of the HDF5 files of a folder that are called `train`."""
    return [file / shape for file in _files(path) if "train" in file.stem for shape in _names(file)]


def detect(row: Path) -> bool:
    """Whether a path names a row of an HDF5 file of IM-NET."""
    file = _file(row)
    return file is not None and _is_file(file) and row.relative_to(file).as_posix() in _names(file)


def name(row: Path) -> str:
    """The shape's name, its class before it: `02691156-1015...`."""
    file = _file(row)
    return row.name if file is None else "-".join(row.relative_to(file).parts)


def read(row: Path, giving: str = "samples") -> Scene:
    """The scene of one row: the centres of its voxels with their occupancy, or giving `voxels` these as they are.

    Raises:
        DataMissing: no such file, or no row of that name.
        DataCorrupt: a file without voxels and points, or with values other than 0 and 1.
    """
    where = str(row)
    with _opened(row) as (file, index):
        voxels = _row(file, index, "voxels", where)
        points = _points(file, index, where)
    edge = voxels.shape[0]
    if voxels.shape not in ((edge, edge, edge), (edge, edge, edge, 1)) or not voxels.size or not _is_binary(voxels):
        raise DataCorrupt(
            f"{where}: voxels of shape {voxels.shape} up to {voxels.max(initial=0)}, not a cube of 0 and 1.", _AGAIN
        )
    grid = Grid(voxels.reshape(edge, edge, edge) == 1, np.full(3, -0.5), 1.0)
    scene = voxel_scene(grid, name(row), where, giving)
    return Scene(scene.name, scene.given, scene.box, surface=scene.surface, occupancy=points, frame=scene.frame)


def read_training(row: Path, giving: str = "samples") -> Scene:
    """The scene of a row to learn from: the finest sampled points are given instead of the voxels, or beside them."""
    if giving == "voxels":
        return for_training(read(row, giving))
    with _opened(row) as (file, index):
        points = _points(file, index, str(row))
    return for_training(Scene(name(row), Given(), cube(0.5), occupancy=points))


def read_resolution(row: Path, resolution: int) -> Points:
    """The points of one row sampled at a resolution of 16, 32 or 64, with occupancy.

    Raises as `read`.
    """
    with _opened(row) as (file, index):
        return _at(file, index, resolution, str(row))


def splits(row: Path) -> dict[str, Views]:
    """None: pixels come without cameras."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test", *, edge: int = EDGE) -> None:
    """Write all shapes of a split to `nfbench_<split>.hdf5` and its list.

    Scenes with whole voxels as samples, such as this format gives, are read back exactly, their points in float32;
    others are cut into `edge` voxels along an edge: those of the cube [-0.5,0.5]^3 where the scene lies in it and fills
    half of it, else those of its box, which is moved into that cube. Lost are frames, and query points beyond the
    number that all scenes have; a name has its class before a hyphen.

    Raises:
        ContractBroken: no scenes, or one without query points.
        Unsupported: a scene with neither whole voxels nor a true mesh.
    """
    import h5py

    scenes = list(scenes)  # a file holds them in arrays of them all
    if not scenes:
        raise ContractBroken(f"{folder}: no scenes to write.", "Give one at least.")
    grids = [voxels_of(scene, edge, 1.0) for scene in scenes]
    points = [occupancy_points(scene) for scene in scenes]
    count = min(len(p) for p in points)
    places = [_to_cube(p.xyz[:count], grid) for p, grid in zip(points, grids, strict=True)]
    values = [np.asarray(p.value[:count], np.uint8)[:, None] for p in points if p.value is not None]
    shapes = {grid.filled.shape for grid in grids}
    if len(shapes) > 1:
        raise ContractBroken(f"{folder}: voxels of {len(shapes)} shapes.", "All scenes of a file have one resolution.")
    for scene in scenes:
        check_name(scene.name, folder)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"nfbench_{split}.hdf5"
    with replacing(file) as part:
        with h5py.File(part, "w") as out:
            filled = np.stack([grid.filled for grid in grids])[..., None].astype(np.uint8)
            for key, array in (("voxels", filled), ("points_64", np.stack(places)), ("values_64", np.stack(values))):
                out.create_dataset(key, data=array, compression="gzip")
        write_text(file.with_suffix(".txt"), "\n".join(scene.name.replace("-", "/", 1) for scene in scenes) + "\n")


def _to_cube(xyz: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Points in the cube of side 1 around the origin that the voxels' cube becomes."""
    if grid.scale == 1 and (grid.corner == -0.5).all():
        return xyz
    return (((xyz - grid.corner) / grid.scale) - 0.5).astype(np.float32)


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if _is_file(file)) if path.is_dir() else []


def _is_file(file: Path) -> bool:
    """Whether a file is HDF5 and has voxels and points."""
    if file.suffix.lower() not in _ENDINGS or not file.is_file():
        return False
    import h5py  # takes its time

    try:
        with h5py.File(file, "r") as opened:
            return "voxels" in opened and any(f"points_{n}" in opened for n in RESOLUTIONS)
    except (OSError, RuntimeError, ValueError, KeyError):
        return False


def _file(row: Path) -> Path | None:
    """The HDF5 file that a row's path goes on behind."""
    return next((at for at in row.parents if at.suffix.lower() in _ENDINGS and at.is_file()), None)


def _names(file: Path) -> tuple[str, ...]:
    """The names of the rows of a file: of the list beside it, else their numbers."""
    sidecar = file.with_suffix(".txt")
    stamps = tuple(p.stat().st_mtime_ns if p.is_file() else 0 for p in (file, sidecar))
    return tuple(_rows(file, stamps))


@functools.lru_cache(maxsize=4)
def _rows(file: Path, stamps: tuple[int, ...]) -> dict[str, int]:
    """Name to number of each row; `stamps` tell when the files changed."""
    import h5py

    try:
        with h5py.File(file, "r") as opened:
            count = len(opened["voxels"])
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DataCorrupt(f"{file} cannot be read as HDF5: {error}", _AGAIN) from error
    sidecar = file.with_suffix(".txt")
    names = read_list(sidecar) if sidecar.is_file() else [f"{row:06d}" for row in range(count)]
    if len(names) != count:
        raise DataCorrupt(f"{sidecar} names {len(names)} shapes; {file} has {count}.", "Fetch the pair again.")
    return {shape: row for row, shape in enumerate(names)}


@contextmanager
def _opened(row: Path) -> Iterator[tuple[h5py.File, int]]:
    """The open HDF5 file of a row, and the row's number."""
    import h5py

    path = _file(row)
    if path is None:
        raise DataMissing(f"There is no HDF5 file on the way to {row}.", "Name it, and behind it the shape.")
    stamps = tuple(p.stat().st_mtime_ns if p.is_file() else 0 for p in (path, path.with_suffix(".txt")))
    rows = _rows(path, stamps)
    shape = row.relative_to(path).as_posix()
    if shape not in rows:
        raise DataMissing(f"{path} has no shape {shape!r}.", f"{path.with_suffix('.txt')} names its shapes.")
    try:
        with h5py.File(path, "r") as file:
            yield file, rows[shape]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise DataCorrupt(f"{path} cannot be read: {type(error).__name__}: {error}", _AGAIN) from error


def _row(file: h5py.File, index: int, key: str, where: str) -> NDArray[Any]:
    """One row of an array of numbers."""
    import h5py

    linked = file.get(key, getlink=True)
    array: Any = file.get(key) if isinstance(linked, h5py.HardLink) else None  # other links may lead to other files
    if not isinstance(array, h5py.Dataset) or array.dtype.kind not in "uif":
        raise DataCorrupt(f"{where}: {file.filename} has no array of numbers {key!r}.", _AGAIN)
    if array.ndim < 2 or index >= len(array) or array.size // len(array) > _MOST or array.is_virtual or array.external:
        raise DataCorrupt(f"{where}: {key} has shape {array.shape}, or lies in another file.", _AGAIN)
    read: NDArray[Any] = array[index]
    return read


def _is_binary(values: NDArray[Any]) -> bool:
    return bool(((values == 0) | (values == 1)).all())


def _points(file: h5py.File, index: int, where: str) -> Points:
    """The points of the finest resolution that the file has."""
    for resolution in RESOLUTIONS:
        if f"points_{resolution}" in file:
            return _at(file, index, resolution, where)
    raise DataCorrupt(f"{where}: {file.filename} has no points_64, points_32 or points_16.", _AGAIN)


def _at(file: h5py.File, index: int, resolution: int, where: str) -> Points:
    points = _row(file, index, f"points_{resolution}", where)
    values = _row(file, index, f"values_{resolution}", where)
    if points.ndim != 2 or points.shape[1] != 3 or values.reshape(-1).shape != points.shape[:1]:
        raise DataCorrupt(f"{where}: points of shape {points.shape}, values of {values.shape}.", _AGAIN)
    if not _is_binary(values):
        raise DataCorrupt(f"{where}: values_{resolution} other than 0 and 1.", _AGAIN)
    if points.dtype.kind != "f":
        lattice = resolution if len(points) and points.max() < resolution else LATTICE
        if len(points) and not 0 <= int(points.min()) <= int(points.max()) < lattice:
            raise DataCorrupt(f"{where}: points_{resolution} has an index of {points.max()}.", _AGAIN)
        points = (points.astype(np.float32) + np.float32(0.5)) / np.float32(lattice) - np.float32(0.5)
    return checked(Path(where), points, value=values.reshape(-1).astype(np.float32), kind="occupancy")
