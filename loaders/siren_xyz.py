"""SIREN's oriented point clouds (Sitzmann et al. 2020; vsitzmann/siren dataio.py): text, `x y z nx ny nz` a line.

As the original does on loading, a cloud is moved so that its mean is the origin, and then so that the least of ALL its
coordinates becomes -1 and the greatest 1, with one scale for the three axes: the shape touches the cube [-1,1]^3 and
is not centred in it. The original does not keep that map; here it is the scene's frame.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Scene, Views
from nfbench.loaders.cloud import checked, cube, similarity, surface_points
from nfbench.loaders.listfile import check_name

given = ("cloud",)

_COLUMNS = 6
_NOTES = (".txt", ".md")
_START = 1 << 12  # bytes in which the first line of numbers ends


def scenes(path: Path) -> list[Path]:
    """The clouds right in a folder that has nothing else in it but notes; a cloud by itself is plain truth."""
    if not path.is_dir():
        return []
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    clouds = [child for child in children if child.suffix.lower() not in _NOTES]
    return clouds if clouds and all(detect(child) for child in clouds) else []


def detect(file: Path) -> bool:
    """Whether a file is such a cloud, by its ending and six numbers in its first line."""
    if file.suffix.lower() != ".xyz" or not file.is_file():
        return False
    try:
        with file.open("rb") as stream:
            lines = stream.read(_START).decode("latin-1").splitlines()
        first = next((words for line in lines if (words := line.partition("#")[0].split())), [])
        return len(first) == _COLUMNS and len([float(word) for word in first]) == _COLUMNS
    except (OSError, ValueError):
        return False


def name(file: Path) -> str:
    """The file's name without its ending."""
    return file.stem


def read(file: Path) -> Scene:
    """The scene of one cloud, given with its normals; it is the truth as well.

    Raises:
        DataMissing: no such file.
        DataCorrupt: not six finite numbers a line, no unit normals, or points that are all the same.
    """
    original = read_cloud(file)
    if original.normal is None:
        raise DataCorrupt(f"{file} has no normals.", "Give lines of x y z nx ny nz.")
    centre = original.xyz.mean(0, dtype=np.float64)
    centred = original.xyz - centre
    low, high = float(centred.min()), float(centred.max())
    if not high - low > 1e-30:
        raise DataCorrupt(f"{file}: all of its points are the same.", "Mend the cloud.")
    half = (high - low) / 2
    xyz = np.clip((centred - low) / half - 1, -1, 1)
    points = checked(file, xyz, original.normal)
    frame = similarity(half, centre + low + half)
    return Scene(name(file), Given(cloud=points), cube(1.0), surface=points, frame=frame)


def splits(file: Path) -> dict[str, Views]:
    """None: clouds have no views."""
    return {}


def write(folder: Path, scenes: Iterable[Scene]) -> None:
    """Write the true surface of each scene with its normals, in original coordinates with nine digits.

    Read back it is the same to float32 where the scene came from this format; others are normalised by the format's
    own rule, and boxes are lost. A true mesh becomes 100,000 points.

    Raises:
        DataMissing: a scene without surface, or without normals.
    """
    for scene in scenes:
        check_name(scene.name, folder)
        points = surface_points(scene)
        if points.normal is None:
            raise DataMissing(f"The surface of scene {scene.name!r} has no normals.", "Choose a format without them.")
        turn = scene.frame[:3, :3]
        xyz = points.xyz.astype(np.float64) @ turn.T + scene.frame[:3, 3]
        normal = points.normal.astype(np.float64) @ turn.T / np.cbrt(abs(np.linalg.det(turn)))
        rows = np.concatenate([xyz, normal], 1)
        folder.mkdir(parents=True, exist_ok=True)
        text = "\n".join(" ".join(f"{x:.9g}" for x in row) for row in rows.tolist())
        write_text(folder / f"{scene.name}.xyz", text + "\n")
