"""The synthetic rooms of Convolutional Occupancy Networks (Peng et al. 2020).

    <root>/rooms_0{4..8}/{train,val,test}.lst
    <root>/rooms_04/<room>/pointcloud/pointcloud_{00..09}.npz       points and normals (N,3)
    <root>/rooms_04/<room>/points_iou/points_iou_{00..09}.npz       points (N,3), occupancies (N,) packed to bits

The files are those of Occupancy Networks, ten of each; `item_dict.npz`, `z_scale` and `semantics` are left aside. The
original picks one of the ten at random whenever it loads a room, also to evaluate; here it is always the first. A
method gets 10,000 noisy points. Rooms lie in a cube of edge 1 and a padding of 0.1; the frame is the identity.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nfbench.harness.errors import NfbenchError
from nfbench.harness.scene import Given, Scene, Views
from nfbench.loaders.arrayfile import write_npz
from nfbench.loaders.cloud import cube, for_training, noisy, occupancy_points, surface_points
from nfbench.loaders.listfile import check_name
from nfbench.loaders.onet import EDGE, NOISE, add_to_list, listed, read_cloud, read_points

given = ("cloud",)

FILES = 10  # multi_files of configs/pointcloud/room_grid64.yaml
CLOUD = 10_000  # pointcloud_n of the same

_CLOUD, _POINTS = "pointcloud", "points_iou"


def scenes(path: Path) -> list[Path]:
    """The rooms to be solved: those of the lists test.lst, or all where there is no list; a room's folder itself."""
    return [path] if detect(path) else listed(path, "test", detect)


def training(path: Path) -> list[Path]:
    """The rooms of the lists train.lst."""
    return [] if detect(path) else listed(path, "train", detect)


def detect(folder: Path) -> bool:
    """Whether a folder is a room: it has the first of its clouds and of its query points."""
    return _file(folder, _CLOUD, 0).is_file() and _file(folder, _POINTS, 0).is_file()


def name(folder: Path) -> str:
    """The room's name, after that of its class: `rooms_04-00000001`."""
    room = folder.absolute()
    return f"{room.parent.name}-{room.name}"


def read(folder: Path, *, file: int = 0, points: int = CLOUD, noise: float = NOISE, seed: int = 0) -> Scene:
    """The scene of one room: a noisy cloud is given, the whole cloud and the points with occupancy are the truth.

    Args:
        folder: of the room.
        file: which of its files, 0 to 9.
        points: how many are given.
        noise: their standard deviation.
        seed: of both.

    Raises:
        DataMissing: a file is not there.
        DataCorrupt: a file that is not what it should be.
    """
    if not 0 <= file < FILES:
        raise NfbenchError(f"File {file} of {folder}.", f"A room has files 0 to {FILES - 1}.")
    surface = read_cloud(_file(folder, _CLOUD, file))[0]
    occupancy = read_points(_file(folder, _POINTS, file), seed=seed)[0]
    cloud = noisy(surface, points, noise, seed)
    withheld = tuple(_file(folder, kind, at) for kind in (_CLOUD, _POINTS) for at in range(FILES))
    return Scene(name(folder), Given(cloud=cloud), cube(EDGE), surface=surface, occupancy=occupancy, withheld=withheld)


def read_training(folder: Path) -> Scene:
    """The scene of a room to learn from: its query points are given as samples."""
    return for_training(read(folder))


def splits(folder: Path) -> dict[str, Views]:
    """None: rooms have no views."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test") -> None:
    """Write rooms, one file of each kind, and add them to the list of a split.

    Surface, occupancy and given cloud are read back exactly; frames, other boxes, and samples beside occupancy are
    lost. A true mesh becomes 100,000 points. A name such as `rooms_04-00000001` is class and room.

    Raises:
        DataMissing: a scene without surface, or without occupancy.
    """
    for scene in scenes:
        check_name(scene.name, folder)
        group, _, room = scene.name.partition("-")
        home, room = folder / (group if room else "rooms"), room or group
        surface, space = surface_points(scene), occupancy_points(scene)
        assert space.value is not None
        normal = np.zeros_like(surface.xyz) if surface.normal is None else surface.normal
        write_npz(_file(home / room, _CLOUD, 0), {"points": surface.xyz, "normals": normal})
        bits = np.packbits(space.value >= 0.5)
        write_npz(_file(home / room, _POINTS, 0), {"points": space.xyz, "occupancies": bits})
        add_to_list(home / f"{split}.lst", room)


def _file(folder: Path, kind: str, number: int) -> Path:
    return folder / kind / f"{kind}_{number:02d}.npz"
