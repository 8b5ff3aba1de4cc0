"""The truth of DTU's scans: a point cloud of the structured-light scanner, and what the scanner observed.

Jensen et al. 2014, "Large Scale Multi-view Stereopsis Evaluation"; the files of `SampleSet` and `Points` as published.
A scene is one cloud, `Points/stl/stl024_total.ply`, and is called scan24; nothing is given, meshes are only judged.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.scan import ObservedVolume
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.loaders.matfile import read_mat

given: tuple[str, ...] = ()

_CLOUD = re.compile(r"stl(\d{3})_total\.ply")
_FARTHEST = 1e9  # mm
_ROOM = np.float32(1.0)  # mm around the scan


def scenes(path: Path) -> list[Path]:
    """The clouds of scans: the one that `path` is, or all below the folder that holds Points and ObsMask."""
    if path.is_file():
        return [path] if detect(path) else []
    return sorted(file for file in (path / "Points" / "stl").glob("stl*_total.ply") if detect(file))


def detect(cloud: Path) -> bool:
    """Whether a file is the cloud of a scan, by its name and the masks that belong to it."""
    return _CLOUD.fullmatch(cloud.name) is not None and (_root(cloud) / "ObsMask").is_dir()


def name(cloud: Path) -> str:
    """scan24 for the cloud of scan 24."""
    return f"scan{_number(cloud)}"


def read(cloud: Path) -> Scene:
    """The scene of one scan, in mm."""
    points, volume = read_dtu_truth(_root(cloud), _number(cloud))
    low, high = points.xyz.min(0), points.xyz.max(0)
    box = np.stack([low - _ROOM, high + _ROOM])
    return Scene(name(cloud), Given(), box, surface=points, scan=volume, unit=0.001)


def splits(cloud: Path) -> dict[str, Views]:
    """None: the truth comes without views."""
    return {}


def _root(cloud: Path) -> Path:
    """The folder that holds Points and ObsMask."""
    return cloud.absolute().parents[2]


def _number(cloud: Path) -> int:
    found = _CLOUD.fullmatch(cloud.name)
    if found is None:
        raise DataMissing(f"{cloud} is no scan of DTU.", "They are called stl024_total.ply, for scan 24.")
    return int(found[1])


def read_dtu_truth(root: Path, scan: int) -> tuple[Points, ObservedVolume]:
    """The scanned points in mm, and the observed volume above its table, of one scan of DTU.

    Args:
        root: holds `Points/stl/stl024_total.ply`, `ObsMask/ObsMask24_10.mat` and `ObsMask/Plane24.mat`.
        scan: its number, 24 for one.

    Raises:
        DataMissing: one of the three files is not there.
        DataCorrupt: a file that is not what it should be, an empty cloud among them.
        Unsupported: a MAT file of version 7.3.
    """
    cloud = root / "Points" / "stl" / f"stl{scan:03d}_total.ply"
    observed = read_mat(root / "ObsMask" / f"ObsMask{scan}_10.mat", ("ObsMask", "BB", "Res"))
    plane_file = root / "ObsMask" / f"Plane{scan}.mat"
    plane = read_mat(plane_file, ("P",))["P"]
    mask, box, cell = observed["ObsMask"], observed["BB"], observed["Res"]
    if cell.size != 1 or plane.size != 4:
        raise DataCorrupt(
            f"{plane_file.parent}, scan {scan}: Res has shape {cell.shape} and P {plane.shape}, not 1 and 4 numbers.",
            "Fetch its files again.",
        )
    try:
        if not (np.abs(box.astype(np.float64)) < _FARTHEST).all():  # NaN is not
            raise DataCorrupt(f"BB is {box.tolist()}.")
        # the box through float32, as the evaluation code that all use rounds it
        volume = ObservedVolume(mask != 0, box.astype(np.float32), float(cell.item()), plane.reshape(4))
    except DataCorrupt as error:
        raise DataCorrupt(f"{plane_file.parent}, scan {scan}: {error.message}", "Fetch its files again.") from error
    points = read_cloud(cloud)
    if not len(points):
        raise DataCorrupt(f"{cloud} holds no points.", "Fetch it again.")
    return points, volume
