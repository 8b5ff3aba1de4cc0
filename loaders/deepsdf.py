"""DeepSDF's preprocessed meshes (Park et al. 2019; facebookresearch/DeepSDF src/PreprocessMesh.cpp, deep_sdf/data.py).

    <data>/SdfSamples/<dataset>/<class>/<shape>.npz                 pos and neg (N,4) float32: x y z and signed distance
    <data>/NormalizationParameters/<dataset>/<class>/<shape>.npz    offset (3,), scale (1,)
    <data>/SurfaceSamples/<dataset>/<class>/<shape>.ply             about 30,000 points, ORIGINAL coordinates
    <data>/*.json, <data>/splits/*.json                             {dataset: {class: [shapes]}}, *_train and *_test

Scene coordinates are the normalised ones of the samples, in which the mesh lies in a sphere of radius 1 / 1.03:
``(original + offset) * scale``. Distance is negative inside. `neg` holds zeros as well; rows with NaN, which the
original drops to train and keeps to reconstruct, are dropped here always. Folders may lie less deep.
Lists name shapes for which no samples could be made; they are left out, as the original does: see `missing`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.record import write_text
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.harness.wholefile import read_whole
from nfbench.loaders.arrayfile import names_in, read_npz, write_bytes, write_npz
from nfbench.loaders.cloud import checked, cube, distance_samples, scale_and_move, similarity, surface_points
from nfbench.loaders.listfile import check_name, within

given = ("samples",)

SAMPLES, SURFACE, NORMALIZATION = "SdfSamples", "SurfaceSamples", "NormalizationParameters"
SURFACE_POINTS = 30_000  # bin/SampleVisibleMeshSurface
DATASET = "nfbench"  # the name of a dataset that is written

_MOST = 1 << 26  # bytes of a list
_AGAIN = "Fetch it again, or run preprocess_data.py of DeepSDF again."


def scenes(path: Path) -> list[Path]:
    """The files of samples to be solved: those that the lists *_test.json name and that are there, all without lists.

    Args:
        path: the folder that holds SdfSamples, or one file of samples.
    """
    return _of_split(path, "test") if path.is_dir() else [path] if detect(path) else []


def training(path: Path) -> list[Path]:
    """The files of samples that the lists *_train.json name and that are there."""
    return _of_split(path, "train") if path.is_dir() else []


def missing(path: Path) -> list[str]:
    """The shapes that a list names and that have no samples: `dataset/class/shape` each."""
    named = {shape for split in ("train", "test") for shape in _named(path, split)}
    return sorted(shape for shape in named if not (path / SAMPLES / f"{shape}.npz").is_file())


def detect(file: Path) -> bool:
    """Whether a file holds samples: an NPZ with pos and neg, below SdfSamples."""
    return file.suffix == ".npz" and SAMPLES in file.absolute().parts[:-1] and {"pos", "neg"} <= set(names_in(file))


def name(file: Path) -> str:
    """The shape's name, after that of its class where there is one."""
    return "-".join(_relative(file).with_suffix("").parts[-2:])


def read(file: Path) -> Scene:
    """The scene of one shape: signed distances are given; points of the surface, where there are some, are the truth.

    Raises:
        DataMissing: no such file.
        DataCorrupt: a file that is not what it should be.
    """
    root, shape = _root(file), _relative(file)
    frame = read_normalization(root / NORMALIZATION / shape)
    cloud = root / SURFACE / shape.with_suffix(".ply")
    surface = None
    if cloud.is_file():
        original = read_cloud(cloud)
        back = np.linalg.inv(frame)
        surface = checked(cloud, original.xyz @ back[:3, :3].T + back[:3, 3], original.normal)
    samples = read_samples(file)[0]
    withheld = (cloud,) if surface is not None else ()
    return Scene(name(file), Given(samples=samples), cube(1.0), surface=surface, frame=frame, withheld=withheld)


def splits(file: Path) -> dict[str, Views]:
    """None: samples have no views."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test") -> None:
    """Write shapes, and the list of a split, `<folder>/nfbench_<split>.json`, which names these shapes only.

    Read back, samples are the same with those outside first, in float32. Points of the surface, 30,000 drawn on a true
    mesh, are in original coordinates in double precision, and so exact but for the rounding of one multiplication. A
    box other than [-1,1]^3, query points and views are not written. A name such as `03636649-1a9b` is class and shape.

    Raises:
        ContractBroken: a frame that is more than a scale and a move.
        DataMissing: a scene without signed distances.
    """
    shapes: dict[str, list[str]] = {}
    for scene in scenes:
        check_name(scene.name, folder)
        group, _, shape = scene.name.partition("-")
        group, shape = (group, shape) if shape else ("shapes", group)
        _write_shape(folder, Path(DATASET) / group / f"{shape}.npz", scene)
        shapes.setdefault(group, []).append(shape)
    write_text(folder / f"{DATASET}_{split}.json", json.dumps({DATASET: shapes}, indent=1) + "\n")


def read_samples(file: Path) -> tuple[Points, int]:
    """The samples of a shape, those outside first, and how many rows with NaN or infinity were dropped.

    Raises:
        DataMissing: no such file.
        DataCorrupt: not pos and neg of four columns, no row that is finite, or a distance of the wrong sign.
    """
    arrays = read_npz(file, {"pos": (None, 4), "neg": (None, 4)})
    kept = {key: rows[np.isfinite(rows).all(1)] for key, rows in arrays.items()}
    for key, wrong in (("pos", kept["pos"][:, 3] < 0), ("neg", kept["neg"][:, 3] > 0)):
        if wrong.any():
            row = kept[key][np.argmax(wrong)].tolist()
            raise DataCorrupt(f"{file}: {key} holds a distance of {row[3]:g}, at {row[:3]}.", _AGAIN)
    rows = np.concatenate([kept["pos"], kept["neg"]])
    dropped = sum(len(arrays[key]) - len(kept[key]) for key in arrays)
    return checked(file, rows[:, :3], value=rows[:, 3], kind="sdf"), dropped


def read_normalization(file: Path) -> NDArray[np.float64]:
    """The frame (4,4), normalised to original coordinates: ``x / scale - offset``; the identity without the file.

    Raises:
        DataCorrupt: not an offset and a scale above 0.
    """
    if not file.is_file():
        return np.eye(4)
    arrays = read_npz(file, {"offset": (3,), "scale": (1,)})
    offset, scale = arrays["offset"].astype(np.float64), arrays["scale"].astype(np.float64)
    if not (np.isfinite(offset).all() and 1e-30 < scale[0] < 1e30):
        raise DataCorrupt(f"{file}: offset {offset.tolist()} and scale {scale.tolist()}.", _AGAIN)
    return similarity(1 / float(scale[0]), -offset)


def read_split(path: Path) -> list[str]:
    """The shapes that a list of DeepSDF names, `dataset/class/shape` each, in its order.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no JSON of {dataset: {class: [shapes]}}, or a name that leads out of the folder.
    """
    try:
        if path.stat().st_size > _MOST:
            raise DataCorrupt(f"{path} has {path.stat().st_size} bytes: no list.", _AGAIN)
        data: Any = json.loads(read_whole(path).decode("utf-8-sig"))
    except OSError as error:
        raise DataMissing(f"{path} cannot be read: {error.strerror}.", "Fetch the list again.") from error
    except (ValueError, RecursionError) as error:
        raise DataCorrupt(f"{path} cannot be read as JSON: {error}", "Fetch the list again.") from error
    if not _is_split(data):
        raise DataCorrupt(f"{path} is no list of shapes.", "It has the form {dataset: {class: [shape, ...]}}.")
    names = [f"{d}/{c}/{shape}" for d, classes in data.items() for c, shapes in classes.items() for shape in shapes]
    for shape in names:
        check_name(shape, path)
    return names


def _is_split(data: Any) -> bool:  # noqa: ANN401  # whatever JSON holds
    if not isinstance(data, dict) or not all(isinstance(classes, dict) for classes in data.values()):
        return False
    lists = [shapes for classes in data.values() for shapes in classes.values()]
    return all(isinstance(shapes, list) and all(isinstance(s, str) for s in shapes) for shapes in lists)


def _of_split(root: Path, split: str) -> list[Path]:
    """The files of samples that belong to a split, below one root."""
    samples = root / SAMPLES
    if not samples.is_dir():
        return []
    named = _named(root, split)
    if not named:
        whole = split == "test" and not _named(root, "train")
        return sorted(file for file in samples.rglob("*.npz") if detect(file)) if whole else []
    found = [file for shape in named if (file := samples / f"{shape}.npz").is_file()]
    for file in found:
        if not within(root, file):
            raise DataCorrupt(f"{file} is a link that leads out of {root}.", "Put what it names in its place.")
    if not found:
        raise DataMissing(f"None of the {len(named)} shapes that the lists of {root} name has samples.", _AGAIN)
    return found


def _named(root: Path, split: str) -> list[str]:
    """The shapes in all lists of a split, each once."""
    lists = [path for at in (root, root / "splits") for path in sorted(at.glob(f"*{split}.json"))]
    return list(dict.fromkeys(shape for path in lists for shape in read_split(path)))


def _root(file: Path) -> Path:
    """The folder that holds SdfSamples."""
    for at in file.absolute().parents:
        if at.name == SAMPLES:
            return at.parent
    raise DataMissing(f"{file} does not lie below a folder {SAMPLES}.", "Keep the layout of DeepSDF.")


def _relative(file: Path) -> Path:
    """Where a file of samples lies below SdfSamples."""
    return file.absolute().relative_to(_root(file) / SAMPLES)


def _write_shape(folder: Path, shape: Path, scene: Scene) -> None:
    scale, move = scale_and_move(scene.frame, scene.name)
    samples = distance_samples(scene)
    assert samples.value is not None
    rows = np.concatenate([samples.xyz, samples.value[:, None]], 1)
    outside = samples.value > 0
    write_npz(folder / SAMPLES / shape, {"pos": rows[outside], "neg": rows[~outside]})
    write_npz(folder / NORMALIZATION / shape, {"offset": -move, "scale": np.array([1 / scale])})
    if scene.surface is None:
        return
    surface = surface_points(scene, SURFACE_POINTS)
    columns = [surface.xyz.astype(np.float64) * scale + move]
    names = ["x", "y", "z"]
    if surface.normal is not None:
        columns, names = [*columns, surface.normal.astype(np.float64)], [*names, "nx", "ny", "nz"]
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(surface)}\n"
    header += "".join(f"property double {axis}\n" for axis in names) + "end_header\n"
    body = np.concatenate(columns, 1).astype("<f8").tobytes()
    write_bytes(folder / SURFACE / shape.with_suffix(".ply"), header.encode("ascii") + body)
