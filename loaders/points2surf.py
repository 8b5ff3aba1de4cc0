"""The data sets of Points2Surf (Erler et al. 2020): scans of meshes, and signed distances to learn from.

    <root>/{train,val,test}set.txt              a shape's name a line
    <root>/04_pts/<shape>.xyz.npy               (N,3) float32, the noisy scan
    <root>/03_meshes/<shape>.ply                the true mesh
    <root>/05_query_pts/<shape>.ply.npy         (Q,3) float32
    <root>/05_query_dist/<shape>.ply.npy        (Q,) float32, POSITIVE inside

Distances are turned round on the way in and out: negative inside. A scene is one scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nfbench.harness.errors import DataMissing
from nfbench.harness.mesh import sample
from nfbench.harness.meshfile import read_mesh, write_ply
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views
from nfbench.loaders.arrayfile import read_npy, write_npy
from nfbench.loaders.cloud import SURFACE_POINTS, box_around, checked, for_training
from nfbench.loaders.listfile import check_name, place, read_list
from nfbench.loaders.onet import add_to_list

given = ("cloud",)

_SCAN, _MESH, _QUERY, _DISTANCE = "04_pts", "03_meshes", "05_query_pts", "05_query_dist"
_ENDING = ".xyz.npy"


def scenes(path: Path) -> list[Path]:
    """The scans to be solved: those of testset.txt, or all without lists; the scan itself.

    Raises:
        DataMissing: the list names a scan that is not there.
    """
    if path.is_file():
        return [path] if detect(path) else []
    if (path / "testset.txt").is_file() and (path / _SCAN).is_dir():
        return _listed(path, "test")
    if (path / "trainset.txt").is_file():
        return []
    return sorted(scan for scan in (path / _SCAN).glob(f"*{_ENDING}") if detect(scan))


def training(path: Path) -> list[Path]:
    """The scans of trainset.txt."""
    return _listed(path, "train") if (path / "trainset.txt").is_file() and (path / _SCAN).is_dir() else []


def detect(scan: Path) -> bool:
    """Whether a file is a scan of such a data set, by its name and place."""
    return scan.name.endswith(_ENDING) and scan.absolute().parent.name == _SCAN and scan.is_file()


def name(scan: Path) -> str:
    """The shape's name."""
    return scan.name.removesuffix(_ENDING)


def read(scan: Path) -> Scene:
    """The scene of one scan: the scan is given; mesh and query points, where there are some, are the truth.

    Raises:
        DataMissing: no such file.
        DataCorrupt: a file that is not what it should be.
    """
    cloud = checked(scan, read_npy(scan, (None, 3)))
    root, shape = scan.absolute().parents[1], name(scan)
    mesh = root / _MESH / f"{shape}.ply"
    surface = read_mesh(mesh) if mesh.is_file() else None
    samples = read_queries(root, shape) if (root / _QUERY / f"{shape}.ply.npy").is_file() else None
    corners = cloud.xyz if surface is None else np.concatenate([cloud.xyz, surface.vertices])
    return Scene(
        shape,
        Given(cloud=cloud),
        box_around(corners),
        surface=surface,
        occupancy=None if samples is None else _inside(samples),
        withheld=(mesh, *(root / kind / f"{shape}.ply.npy" for kind in (_QUERY, _DISTANCE))),
    )


def read_training(scan: Path) -> Scene:
    """The scene of a scan to learn from: its query points are given as samples with signed distance.

    Raises:
        DataMissing: the shape has no query points.
    """
    samples = read_queries(scan.absolute().parents[1], name(scan))
    scene = read(scan)
    return for_training(replace(scene, given=Given(cloud=scene.given.cloud, samples=samples)))


def read_queries(root: Path, shape: str) -> Points:
    """The query points of a shape with their signed distance, negative inside.

    Raises:
        DataMissing: one of the two files is not there.
        DataCorrupt: a file that is not what it should be, or of another length than the other.
    """
    xyz = read_npy(root / _QUERY / f"{shape}.ply.npy", (None, 3))
    distances = root / _DISTANCE / f"{shape}.ply.npy"
    return checked(distances, xyz, value=-read_npy(distances, (len(xyz),)).astype(np.float64), kind="sdf")


def splits(scan: Path) -> dict[str, Views]:
    """None: scans have no views."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test") -> None:
    """Write shapes and add them to the list of a split: cloud, mesh and signed distances are read back exactly.

    A scene without a cloud gets 100,000 points of its mesh as its scan. Lost are frames, boxes, normals, true surfaces
    that are points, and query points that have occupancy only.

    Raises:
        DataMissing: a scene with neither a cloud nor a true mesh.
    """
    for scene in scenes:
        check_name(scene.name, folder)
        cloud, surface, samples = scene.given.cloud, scene.surface, scene.given.samples
        if cloud is None and isinstance(surface, Mesh):
            cloud = sample(surface, SURFACE_POINTS, 0)
        if cloud is None:
            raise DataMissing(f"Scene {scene.name!r} has no cloud to write.", "Give it a cloud or a true mesh.")
        write_npy(folder / _SCAN / f"{scene.name}{_ENDING}", cloud.xyz)
        if isinstance(surface, Mesh):
            (folder / _MESH).mkdir(exist_ok=True)
            write_ply(folder / _MESH / f"{scene.name}.ply", surface)
        if samples is not None and samples.value is not None and samples.kind == "sdf":
            write_npy(folder / _QUERY / f"{scene.name}.ply.npy", samples.xyz)
            write_npy(folder / _DISTANCE / f"{scene.name}.ply.npy", -samples.value)
        add_to_list(folder / f"{split}set.txt", scene.name)


def _listed(root: Path, split: str) -> list[Path]:
    path = root / f"{split}set.txt"
    return [place(root, f"{_SCAN}/{shape}{_ENDING}", path) for shape in read_list(path)]


def _inside(samples: Points) -> Points:
    assert samples.value is not None
    return Points(samples.xyz, value=(samples.value < 0).astype(np.float32), kind="occupancy")
