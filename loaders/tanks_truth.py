"""The truth of Tanks and Temples' training scenes: a laser scan, its crop and the alignment of the reference poses.

Knapitsch et al. 2017, "Tanks and Temples"; the files that isl-org/TanksAndTemples' evaluation reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import DataCorrupt, NotFound, did_you_mean
from nfbench.harness.scan import CropVolume
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.loaders.listfile import read_text

# metres; scenes_tau_dict of isl-org/TanksAndTemples, python_toolbox/evaluation/config.py
TOLERANCES = {
    "Barn": 0.01,
    "Caterpillar": 0.005,
    "Church": 0.025,
    "Courthouse": 0.025,
    "Ignatius": 0.003,
    "Meetingroom": 0.01,
    "Truck": 0.005,
}

given: tuple[str, ...] = ()

_FETCH = "Fetch the scene's evaluation files from tanksandtemples.org."
_ROOM = 0.05  # of the longest edge, around the scan
_LEAST = np.float32(1e-3)  # scene units around a single point
_RIGID = 1e-3  # by which the rotation of an alignment written with few digits may be off


def detect(folder: Path) -> bool:
    """Whether a folder holds the truth of the scene that it is named after, and not its photographs as well."""
    from nfbench.loaders import tanks  # which reads the truth along

    return is_there(folder) and not tanks.detect(folder)


def is_there(folder: Path) -> bool:
    """Whether a folder holds the truth of the scene that it is named after."""
    scene = folder.resolve().name
    return scene in TOLERANCES and all((folder / f"{scene}{end}").is_file() for end in (".ply", ".json", "_trans.txt"))


def read(folder: Path) -> Scene:
    """The scene in the coordinates of the dataset's camera poses, its frame the alignment with the scan in metres."""
    points, crop, alignment, tolerance = read_tanks_truth(folder)
    back = np.linalg.inv(alignment)
    with np.errstate(over="ignore"):  # what float32 cannot hold is found to be infinite
        xyz = (points.xyz @ back[:3, :3].T + back[:3, 3]).astype(np.float32)
    if not np.isfinite(xyz).all():
        raise DataCorrupt(
            f"{folder}: its scan, moved by the inverse of its alignment, is not finite.", "Fetch it again."
        )
    low, high = xyz.min(0), xyz.max(0)
    room = max(_ROOM * float((high - low).max()), _LEAST)
    box = np.stack([low - room, high + room])
    scale = float(np.cbrt(np.linalg.det(alignment[:3, :3])))
    return Scene(
        folder.resolve().name,
        Given(),
        box,
        surface=Points(xyz),
        scan=crop,
        tolerance=tolerance,
        unit=scale,
        frame=alignment,
    )


def splits(folder: Path) -> dict[str, Views]:
    """None: the truth comes without views."""
    return {}


def read_tanks_truth(folder: Path) -> tuple[Points, CropVolume, NDArray[np.float64], float]:
    """The scan in metres, its crop, the alignment (4,4) float64 and the tolerance in metres of one scene.

    The alignment takes points from the frame of the reference poses (`Ignatius_COLMAP_SfM.log`) to that of the scan.

    Args:
        folder: named as the scene, `Ignatius` for one; holds `Ignatius.ply`, `Ignatius.json`, `Ignatius_trans.txt`.

    Raises:
        NotFound: not one of the seven scenes that have a truth.
        DataMissing: one of the three files is not there.
        DataCorrupt: a file that is not what it should be, an empty cloud among them.
    """
    scene = folder.resolve().name
    if scene not in TOLERANCES:
        raise NotFound(
            f"Tanks and Temples has no truth for a scene {scene!r}.", did_you_mean(scene, TOLERANCES, "scenes")
        )
    crop = read_crop(folder / f"{scene}.json")
    alignment = read_alignment(folder / f"{scene}_trans.txt")
    cloud = folder / f"{scene}.ply"
    points = read_cloud(cloud)
    if not len(points):
        raise DataCorrupt(f"{cloud} holds no points.", "Fetch it again.")
    return points, crop, alignment, TOLERANCES[scene]


def read_crop(path: Path) -> CropVolume:
    """The CropVolume in a JSON file as Open3D writes a SelectionPolygonVolume, version 1.0.

    Raises:
        DataMissing: no such file.
        DataCorrupt: another format, or values that make no crop.
    """
    try:
        data: Any = json.loads(read_text(path, _FETCH))
    except (ValueError, RecursionError) as error:
        raise DataCorrupt(f"{path} cannot be read as JSON: {error}", "Fetch it again.") from error
    if not isinstance(data, dict) or data.get("class_name") != "SelectionPolygonVolume":
        raise DataCorrupt(f"{path} is no SelectionPolygonVolume.", "Fetch it again.")
    version = (data.get("version_major", 1), data.get("version_minor", 0))
    if version != (1, 0):
        raise DataCorrupt(f"{path} is a SelectionPolygonVolume of version {version}, not (1, 0).", "Fetch it again.")
    try:
        return CropVolume(
            np.array(data["bounding_polygon"], np.float64),
            str(data["orthogonal_axis"]),
            float(data["axis_min"]),
            float(data["axis_max"]),
        )
    except DataCorrupt as error:
        raise DataCorrupt(f"{path}: {error.message}", "Fetch it again.") from error
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataCorrupt(f"{path}: {type(error).__name__}: {error}", "Fetch it again.") from error


def read_alignment(path: Path) -> NDArray[np.float64]:
    """(4,4) float64, a similarity: four lines of four numbers.

    Raises:
        DataMissing: no such file.
        DataCorrupt: anything else than a rotation times a factor, with a translation.
    """
    try:
        matrix = np.array([line.split() for line in read_text(path, _FETCH).splitlines() if line.strip()], np.float64)
    except ValueError as error:
        raise DataCorrupt(f"{path} is no matrix: {error}", "Give four lines of four numbers.") from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise DataCorrupt(f"{path} holds a matrix of shape {matrix.shape}, or values that are not finite.", "4 x 4.")
    with np.errstate(all="ignore"):  # of numbers that no alignment has
        factor = np.cbrt(np.linalg.det(matrix[:3, :3]))
        similar = factor > 0 and np.abs(matrix[:3, :3] @ matrix[:3, :3].T / factor**2 - np.eye(3)).max() <= _RIGID
    if not similar or (matrix[3] != (0, 0, 0, 1)).any():
        raise DataCorrupt(f"{path} is no rotation, factor and translation: {matrix.tolist()}.", "Fetch it again.")
    return matrix
