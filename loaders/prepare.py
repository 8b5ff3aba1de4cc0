"""From a folder of meshes to the training sets of shape methods and to rendered views: `nfbench prepare`.

Every mesh is worked on by itself, in processes side by side, with a seed of its own made of the given one and its name,
so that the result does not depend on their number. What is done is kept below OUT/.prepare until all of it is written:
the same command goes on where it was broken off.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from nfbench.harness.atomic import replacing
from nfbench.harness.dataset import loader, scene_name
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported, did_you_mean
from nfbench.harness.mesh import sample
from nfbench.harness.meshfile import FORMATS, read_mesh
from nfbench.harness.registry import find, registry
from nfbench.harness.scene import Given, Mesh, Points, Scene, Voxels
from nfbench.loaders.cloud import cube
from nfbench.loaders.mesh_samples import Fit, distances, normalised, occupancy, voxels
from nfbench.loaders.raycast import Caster, cameras_around, read_painted, views_of

WORK = ".prepare"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Recipe:
    """What a format of shapes is made of.

    Attributes:
        fit: the frame, see `mesh_samples.normalised`.
        surface: points drawn on the surface; 0 keeps the mesh itself.
        occupancy: query points with true occupancy; 0 for none.
        edge: of the cube in which these are drawn.
        samples: points with signed distance; 0 for none.
        voxels: along each edge of the cube [-0.5,0.5]^3; 0 for none.
    """

    fit: Fit = "box"
    surface: int = 100_000
    occupancy: int = 0
    edge: float = 1.1
    samples: int = 0
    voxels: int = 0


RECIPES = {
    "onet": Recipe(occupancy=100_000, voxels=32),
    "convonet-rooms": Recipe(occupancy=100_000),
    "deepsdf": Recipe(fit="sphere", surface=30_000, samples=250_000),
    "imnet": Recipe(fit="diagonal", surface=0, occupancy=16_384, edge=1.0),
    "binvox": Recipe(surface=0),
    "ldif": Recipe(samples=200_000),
    "points2surf": Recipe(surface=0, samples=20_000),
    "siren-xyz": Recipe(),
    "dfaust": Recipe(fit="none", surface=250_000),
    "clouds": Recipe(),
    "meshes": Recipe(surface=0),
}
"""Format of shapes to how it is made."""

WHOLE = frozenset({"idr", "mvsnet", "tanks"})
"""Formats of views that give all of them and hold none out."""


@dataclass(frozen=True)
class Settings:
    """How a set is prepared.

    Attributes:
        to: the format.
        seed: of all drawings.
        views: training views of a rendered set; a quarter as many test views go with them.
        pixels: width and height of a view.
    """

    to: str
    seed: int = 0
    views: int = 100
    pixels: int = 400


def prepare(
    source: Path,
    destination: Path,
    settings: Settings,
    *,
    split: str = "test",
    jobs: int = 1,
    skip_bad: bool = False,
    progress: Callable[[float, str], None] = lambda fraction, name: None,
) -> dict[str, str]:
    """Make a dataset of every mesh below `source`; name to reason for the meshes that were left out.

    Where the destination holds a dataset of the format without that split, the split is added to it.

    Args:
        source: a mesh, or a folder with meshes at any depth.
        destination: the folder of the dataset.
        settings: what is made.
        split: the list that shapes go into, or several with commas between them.
        jobs: processes side by side.
        skip_bad: leave out what cannot be read, instead of stopping.
        progress: told the fraction done and the name.

    Raises:
        DataMissing: no meshes.
        DataCorrupt: a mesh that cannot be read, unless `skip_bad`.
        NfbenchError: the destination holds something else, that split, or a shape of one of these names.
        NotFound: no such format.
        Unsupported: a format that is not made of meshes.
    """
    files = meshes_in(source)
    writer: Any = loader(find(registry().formats, settings.to, "format"))
    if settings.to not in RECIPES and not ("views" in writer.given and hasattr(writer, "write")):
        hint = did_you_mean(settings.to, RECIPES, "formats")
        raise Unsupported(f"The format {settings.to} is not made of meshes.", hint)
    work, wanted = destination / WORK, _splits(split)
    if destination.exists() and not work.exists() and any(destination.iterdir()):
        _check_room(writer, destination, settings.to, wanted, files)
    work.mkdir(parents=True, exist_ok=True)
    make = _shape if settings.to in RECIPES else _rendered
    wrong: dict[str, str] = {}
    tasks = [(make, name, file, destination, settings) for name, file in files.items()]
    for done, (name, problem) in enumerate(_run(tasks, jobs), 1):
        if problem and not skip_bad:
            raise DataCorrupt(f"{files[name]}: {problem}", "Mend it, or say --skip-bad to leave it out.")
        if problem:
            wrong[name] = problem
        progress(done / len(files), name)
    if make is _shape and len(wrong) < len(files):
        kept = {name: _kept(destination, name, files[name], settings) for name in files if name not in wrong}
        _write(writer, destination, kept, wanted)
    shutil.rmtree(work)
    return wrong


def meshes_in(source: Path) -> dict[str, Path]:
    """Name to file of the meshes at and below a path; a name is the path below it with `-` for `/`, without ending."""
    files = [source] if source.is_file() else sorted(p for p in source.rglob("*") if p.suffix.lower() in FORMATS)
    root = source.parent if source.is_file() else source
    named: dict[str, Path] = {}
    for file in files:
        name = "-".join(file.relative_to(root).with_suffix("").parts)
        if name in named:
            raise DataCorrupt(f"{named[name]} and {file} would both be called {name}.", "Rename one of them.")
        named[name] = file
    if not named:
        raise DataMissing(f"There is no mesh at {source}.", f"Meshes end in {', '.join(FORMATS)}.")
    return named


Job = tuple[Callable[[str, Path, Path, Settings], None], str, Path, Path, Settings]


def _run(tasks: Sequence[Job], jobs: int) -> Iterator[tuple[str, str]]:
    """Name and what went wrong, empty if nothing did, in order."""
    if jobs == 1:
        yield from map(_one, tasks)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_one, tasks)


def _one(task: Job) -> tuple[str, str]:
    make, name, file, destination, settings = task
    try:
        make(name, file, destination, settings)
    except NfbenchError as error:
        return name, error.message
    return name, ""


def _seed(settings: Settings, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{settings.seed} {name}".encode()).digest()[:4], "big")


def _kept(destination: Path, name: str, file: Path, settings: Settings) -> Path:
    """Where the samples of one mesh are kept; another mesh or other settings have another file."""
    what = json.dumps([asdict(settings), file.stat().st_size, file.stat().st_mtime_ns])
    return destination / WORK / f"{name}.{hashlib.sha256(what.encode()).hexdigest()[:12]}.npz"


def _shape(name: str, file: Path, destination: Path, settings: Settings) -> None:
    """Draw what the format is made of, unless that is kept already."""
    kept = _kept(destination, name, file, settings)
    if kept.exists():
        return
    recipe, seed = RECIPES[settings.to], _seed(settings, name)
    mesh, frame = normalised(read_mesh(file), recipe.fit)
    arrays: dict[str, Any] = {"frame": frame}
    if recipe.surface:
        drawn = sample(mesh, recipe.surface, seed)
        arrays |= {"surface": drawn.xyz, "normal": drawn.normal}
    else:
        arrays |= {"vertices": mesh.vertices, "faces": mesh.faces}
    if recipe.occupancy:
        query = occupancy(mesh, recipe.occupancy, recipe.edge, seed + 1)
        arrays |= {"query": query.xyz, "inside": query.value}
    if recipe.samples:
        samples = distances(mesh, recipe.samples, seed + 2)
        arrays |= {"sample": samples.xyz, "distance": samples.value}
    if recipe.voxels:
        arrays |= {"filled": voxels(mesh, recipe.voxels).filled}
    with replacing(kept) as partial, partial.open("wb") as sink:
        np.savez(sink, **arrays)


def _read_scene(kept: Path, name: str) -> Scene:
    with np.load(kept, allow_pickle=False) as arrays:
        found = {key: arrays[key] for key in arrays.files}
    samples = Points(found["sample"], value=found["distance"], kind="sdf") if "sample" in found else None
    query = Points(found["query"], value=found["inside"], kind="occupancy") if "query" in found else None
    cubes = Voxels(found["filled"], cube(0.5)) if "filled" in found else None
    surface: Mesh | Points
    if "surface" in found:
        surface = Points(found["surface"], found["normal"])
        corners = surface.xyz
    else:
        surface = Mesh(found["vertices"], found["faces"])
        corners = surface.vertices.astype(np.float32)
    box = np.stack([corners.min(0) - 1e-3, corners.max(0) + 1e-3])
    return Scene(
        name, Given(samples=samples, voxels=cubes), box, surface=surface, occupancy=query, frame=found["frame"]
    )


def _write(writer: Any, destination: Path, kept: Mapping[str, Path], splits: list[str]) -> None:  # noqa: ANN401  # a module
    """Write all shapes, into the lists of the splits where the format has lists."""

    def scenes() -> Iterator[Scene]:  # one at a time: thousands of shapes do not fit into memory
        return (_read_scene(file, name) for name, file in kept.items())

    if not _has_lists(writer):
        writer.write(destination, scenes())
        return
    for split in splits:
        writer.write(destination, scenes(), split)


def _has_lists(writer: Any) -> bool:  # noqa: ANN401  # a module
    return "split" in inspect.signature(writer.write).parameters


def _splits(text: str) -> list[str]:
    """The names in `train,test`."""
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in SPLITS or names.count(name) > 1:
            raise NfbenchError(f"{text!r} names no splits.", f"Known: {', '.join(SPLITS)}, with commas between them.")
    return names


def _check_room(writer: Any, destination: Path, to: str, splits: list[str], names: Collection[str]) -> None:  # noqa: ANN401  # a module
    """Make sure that a folder holds a dataset of the format, and neither these splits nor shapes of these names."""
    taken = NfbenchError(f"{destination} is there already.", "Name a folder that is not there, or an empty one.")
    if not (_has_lists(writer) and hasattr(writer, "training")):
        raise taken
    there = {"train": writer.training(destination), "test": writer.scenes(destination)}
    if not any(there.values()):
        raise taken
    for split, shapes in there.items():
        if shapes and split in splits:
            raise NfbenchError(f"{destination} has a {split} split in {to} format already.", "Name another folder.")
        if twice := {scene_name(shape, writer) for shape in shapes} & set(names):
            raise NfbenchError(
                f"{destination} has a shape {min(twice)} in its {split} split already.",
                "Give other names to the meshes, or name both splits at once: --split train,test.",
            )


def _rendered(name: str, file: Path, destination: Path, settings: Settings) -> None:
    """Render one mesh from all around, unless that is done already."""
    place = destination / name
    if place.exists():
        return
    mesh, paint = read_painted(file)
    fitted, _ = normalised(mesh, "sphere")
    caster = Caster(fitted, paint)
    seed = _seed(settings, name)
    counts = {"train": settings.views}
    if settings.to not in WHOLE:
        counts["test"] = max(1, settings.views // 4)
    splits = {
        split: views_of(caster, cameras_around(count, settings.pixels, 1.0, seed=seed + at), f"{split}_")
        for at, (split, count) in enumerate(counts.items())
    }
    writer: Any = loader(find(registry().formats, settings.to, "format"))
    partial = destination / WORK / name
    shutil.rmtree(partial, ignore_errors=True)
    writer.write(partial, splits)
    partial.replace(place)
