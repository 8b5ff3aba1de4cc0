"""A folder of point clouds, each of them a scene: PLY without faces, NPY and XYZ, with or without normals.

Scene coordinates are those of the file. The cloud is given, and is the truth as well: where there is nothing better,
a surface is judged by how far from the points it lies. Nothing tells the inside.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nfbench.harness.cloudfile import FORMATS, read_cloud
from nfbench.harness.errors import DataCorrupt, NfbenchError
from nfbench.harness.meshfile import is_cloud
from nfbench.harness.scene import Float, Given, Points, Scene, Views
from nfbench.loaders import siren_xyz
from nfbench.loaders.arrayfile import npy_shape, write_npy
from nfbench.loaders.cloud import box_around, checked, surface_points
from nfbench.loaders.listfile import check_name

given = ("cloud",)

_NOTES = (".txt", ".md")  # may lie beside clouds; other files belong to a dataset of another format


def scenes(path: Path) -> list[Path]:
    """The clouds right in a folder that has nothing else in it but notes.

    A cloud by itself is no dataset: it is plain truth. Folders of nothing but `.xyz` with normals are SIREN's.
    """
    if not path.is_dir() or siren_xyz.scenes(path):
        return []
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    clouds = [child for child in children if detect(child)]
    others = [child for child in children if child not in set(clouds) and child.suffix.lower() not in _NOTES]
    return [] if others or any(child.name.endswith("_trans.txt") for child in children) else clouds


def detect(file: Path) -> bool:
    """Whether a file is a point cloud, by its ending and, a PLY or NPY, by its header."""
    kind = file.suffix.lower()
    if kind not in FORMATS or not file.is_file():
        return False
    if kind == ".npy":
        shape = npy_shape(file)
        return shape is not None and len(shape) == 2 and shape[1] in (3, 6)
    try:
        return is_cloud(file)
    except NfbenchError:
        return False


def name(file: Path) -> str:
    """The file's name without its ending; with it where another cloud of the folder differs in the ending only."""
    twin = any(ending != file.suffix and file.with_suffix(ending).is_file() for ending in FORMATS)
    return f"{file.stem}_{file.suffix[1:]}" if twin else file.stem


def read(file: Path) -> Scene:
    """The scene of one cloud.

    Raises:
        DataMissing, DataCorrupt, Unsupported: as `read_cloud`; a cloud without points is corrupt.
    """
    if file.suffix.lower() == ".npy" and file.is_file() and npy_shape(file) is None:
        raise DataCorrupt(f"{file} is no array of numbers.", "Write an (N,3) or (N,6) array with numpy.save.")
    with warnings.catch_warnings(action="ignore"):  # NumPy's, about arrays that Python 2 wrote
        points = read_cloud(file)
    points = checked(file, points.xyz, points.normal)
    return Scene(name(file), Given(cloud=points), box_around(points.xyz), surface=points)


def splits(file: Path) -> dict[str, Views]:
    """None: clouds have no views."""
    return {}


def write(folder: Path, scenes: Iterable[Scene]) -> None:
    """Write the surface of each scene, or the cloud that it gives, as NPY: read back exactly, with unit normals.

    Normals that are no unit vectors within a hundredth are left out, since no reader would take them; frames and
    boxes are lost. A true mesh becomes 100,000 points.

    Raises:
        DataMissing: a scene with neither.
    """
    for scene in scenes:
        check_name(scene.name, folder)
        points = scene.given.cloud if scene.surface is None and scene.given.cloud else surface_points(scene)
        write_npy(folder / f"{scene.name}.npy", columns(points))


def columns(points: Points) -> Float:
    """(N,3) float32, or (N,6) where all normals are unit vectors."""
    if points.normal is None or (np.abs(np.linalg.norm(points.normal, axis=1) - 1) > 1e-2).any():
        return points.xyz
    return np.concatenate([points.xyz, points.normal], 1)
