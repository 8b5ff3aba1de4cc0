"""D-FAUST's scans as IGR and SAL prepare them (Gropp et al. 2020; amosgropp/IGR code/preprocess).

    <root>/<subject>/<sequence>/<scan>.npy                  (250000,6): points less their mean, in metres, and normals
    <root>/<subject>/<sequence>/<scan>_normalization.npy    a pickled dict of center and scale; NEVER read
    <root>/*.json                                           {"scans": {subject: {sequence: [scans]}}}, train and test

A pickle runs whatever code it likes, so the mean is only known where `<scan>_normalization.npz` says it: see
`read_normalization`. Without it the frame is the identity, which moves no distance. The cloud is given, and is the
truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Scene, Views
from nfbench.harness.wholefile import read_whole
from nfbench.loaders.arrayfile import npy_shape, read_npy, read_npz, write_npy, write_npz
from nfbench.loaders.cloud import box_around, checked, scale_and_move, similarity, surface_points
from nfbench.loaders.listfile import check_name, place

given = ("cloud",)

_NORMALIZATION = "_normalization"
_MOST = 1 << 26  # bytes of a list
_AGAIN = "Fetch it again."


def scenes(path: Path) -> list[Path]:
    """The scans to be solved: those that the lists *test*.json name, or all without a list; a scan itself."""
    if path.is_file():
        return [path] if detect(path) else []
    return _named(path, "test") if _lists(path) else _all(path)


def training(path: Path) -> list[Path]:
    """The scans that the lists *train*.json name."""
    return _named(path, "train")


def detect(scan: Path) -> bool:
    """Whether a file is a scan: an array of six columns with its normalisation beside it."""
    if scan.suffix != ".npy" or scan.stem.endswith(_NORMALIZATION) or not scan.is_file():
        return False
    beside = any(scan.with_name(f"{scan.stem}{_NORMALIZATION}{end}").is_file() for end in (".npy", ".npz"))
    shape = npy_shape(scan) if beside else None
    return shape is not None and len(shape) == 2 and shape[1] == 6


def name(scan: Path) -> str:
    """Subject, sequence and scan: `50002-chicken_wings-00045`."""
    whole = scan.absolute()
    return f"{whole.parents[1].name}-{whole.parent.name}-{whole.stem}"


def read(scan: Path) -> Scene:
    """The scene of one scan, a metre a unit.

    Raises:
        DataMissing: no such file.
        DataCorrupt: not (N,6) finite numbers, or a normalisation that is none.
    """
    rows = read_npy(scan, (None, 6))
    points = checked(scan, rows[:, :3], rows[:, 3:])
    frame = np.eye(4)
    if scan.with_name(f"{scan.stem}{_NORMALIZATION}.npz").is_file():
        frame = read_normalization(scan)
    unit = float(frame[0, 0])
    return Scene(name(scan), Given(cloud=points), box_around(points.xyz), surface=points, unit=unit, frame=frame)


def read_normalization(scan: Path) -> NDArray[np.float64]:
    """The frame (4,4) of a scan, scene to original coordinates: ``x * scale + center``.

    Raises:
        Unsupported: there is only the pickled file; the hint says how to convert it.
        DataMissing: there is neither.
        DataCorrupt: no center and a scale above 0.
    """
    path = scan.with_name(f"{scan.stem}{_NORMALIZATION}.npz")
    pickled = path.with_suffix(".npy")
    if not path.is_file() and pickled.is_file():
        raise Unsupported(
            f"{pickled} holds a pickled dict, which can run any code when it is read.",
            "If you trust where it comes from, convert it once: "
            f"d = numpy.load('{pickled.name}', allow_pickle=True).item(); "
            f"numpy.savez('{path.name}', center=d['center'], scale=d['scale'])",
        )
    arrays = read_npz(path, {"center": (3,), "scale": ()})
    centre, scale = arrays["center"].astype(np.float64), float(arrays["scale"])
    if not (np.isfinite(centre).all() and 1e-30 < scale < 1e30):
        raise DataCorrupt(f"{path}: center {centre.tolist()} and scale {scale}.", "The scale is more than 0.")
    return similarity(scale, centre)


def splits(scan: Path) -> dict[str, Views]:
    """None: scans have no views here."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test") -> None:
    """Write scans and the list of a split, `<folder>/nfbench_<split>.json`, which names these scans only.

    Surface with normals and frame are read back exactly, in float32, the normalisation as NPZ and not as a pickle; a
    true mesh becomes 100,000 points, and boxes are lost. A name such as `50002-chicken_wings-00045` is subject,
    sequence and scan.

    Raises:
        ContractBroken: a frame that is more than a scale and a move.
        DataMissing: a scene without surface, or without normals.
    """
    lists: dict[str, dict[str, list[str]]] = {}
    for scene in scenes:
        check_name(scene.name, folder)
        subject, sequence, scan = (["subject", "sequence", *scene.name.split("-", 2)])[-3:]
        scale, move = scale_and_move(scene.frame, scene.name)
        points = surface_points(scene)
        if points.normal is None:
            raise DataMissing(f"The surface of scene {scene.name!r} has no normals.", "Choose a format without them.")
        home = folder / subject / sequence
        write_npz(home / f"{scan}{_NORMALIZATION}.npz", {"center": move, "scale": np.array(scale)})
        write_npy(home / f"{scan}.npy", np.concatenate([points.xyz, points.normal], 1))
        lists.setdefault(subject, {}).setdefault(sequence, []).append(scan)
    write_text(folder / f"nfbench_{split}.json", json.dumps({"scans": lists}, indent=1) + "\n")


def read_split(path: Path) -> list[str]:
    """The scans that a list names, `subject/sequence/scan` each.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no JSON of {dataset: {subject: {sequence: [scans]}}}, or a name that leads out of the folder.
    """
    try:
        if path.stat().st_size > _MOST:
            raise DataCorrupt(f"{path} has {path.stat().st_size} bytes: no list.", _AGAIN)
        data: Any = json.loads(read_whole(path).decode("utf-8-sig"))
        names = [
            "/".join((subject, sequence, scan))
            for subjects in data.values()
            for subject, sequences in subjects.items()
            for sequence, scans in sequences.items()
            for scan in _list(scans)
        ]
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}.", "Fetch the list again.") from error
    except (ValueError, RecursionError) as error:
        raise DataCorrupt(f"{path} cannot be read as JSON: {error}", "Fetch the list again.") from error
    except (AttributeError, TypeError) as error:
        raise DataCorrupt(f"{path} is no list of scans.", "{dataset: {subject: {sequence: [scan, ...]}}}.") from error
    for scan in names:
        check_name(scan, path)
    return names


def _list(scans: Any) -> list[str]:  # noqa: ANN401  # whatever JSON holds
    if not isinstance(scans, list):
        raise TypeError
    return scans


def _all(path: Path) -> list[Path]:
    """All scans up to two folders below a path."""
    return [s for depth in ("*.npy", "*/*.npy", "*/*/*.npy") for s in sorted(path.glob(depth)) if detect(s)]


def _lists(path: Path) -> list[Path]:
    """The lists of a folder that holds scans."""
    if not any(detect(scan) for scan in path.glob("*/*/*.npy")):
        return []
    return sorted(file for file in path.glob("*.json") if "train" in file.stem or "test" in file.stem)


def _named(path: Path, split: str) -> list[Path]:
    named: dict[str, Path] = {}  # and the first list that does
    for file in _lists(path):
        if split in file.stem:
            for scan in read_split(file):
                named.setdefault(scan, file)
    return [place(path, f"{scan}.npy", file) for scan, file in named.items()]
