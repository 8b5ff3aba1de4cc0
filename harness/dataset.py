"""From a path to a Task: the contract of a loader, and detection of a folder's format."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, NotFound, did_you_mean
from nfbench.harness.plain import is_plain, plain_task
from nfbench.harness.registry import FormatSpec, find, registry, resolve
from nfbench.harness.scene import KINDS, Scene, Views
from nfbench.harness.task import EVERY, FROM, SceneRef, Task

_NAME_ONE = "Name a registered task (nfbench list tasks), a folder, or a mesh or point cloud."


class Loader(Protocol):
    """What the module of a format offers.

    A loader opens without decoding, checks what it can by looking at headers, and raises DataMissing or DataCorrupt
    that name the file and the item.

    Where a scene is no folder of its own, the module also has `scenes(path) -> list[Path]`, the scenes that a file or a
    dataset's folder holds, and `name(path) -> str`, what the dataset calls such a scene; the other functions then take
    what `scenes` gives. A dataset that names scenes to learn from has `training(path) -> list[Path]`, and
    `read_training(path)` where these give more than others. `notes(path) -> list[str]` says what more there is to know
    of a scene. `opened(path)` gives what `read`, `splits` and `notes` do, as a tuple, where one look at the files tells
    all three. A format whose scenes can give one of several inputs has `inputs: tuple[str, ...]`, their kinds, and
    `read(path, giving=KIND)`, likewise `read_training`: a scene that gives that kind at least, in place of `given`. A
    format that can be written has `write(folder, splits)` where it gives views, else
    `write(folder, scenes)`.
    """

    given: tuple[str, ...]
    """What its scenes give: some of `views`, `cloud`, `samples`, `voxels`."""

    def detect(self, folder: Path) -> bool:
        """Whether this folder is one scene of the format, told by its files alone."""
        ...

    def read(self, folder: Path) -> Scene:
        """The scene in a folder."""
        ...

    def splits(self, folder: Path) -> Mapping[str, Views]:
        """All splits of a scene, by name."""
        ...


def loader(spec: FormatSpec) -> Loader:
    """The loader module of a format."""
    import importlib

    module: Loader = importlib.import_module(spec.target)
    return module


def detect(path: Path, format: str | None = None) -> tuple[FormatSpec, list[Path]]:
    """The format of a scene or dataset folder, and the folders of its scenes.

    Raises:
        DataMissing: no such folder, or no known format in it or one level below.
        NfbenchError: more than one format fits, and `format` does not say which.
    """
    if not path.exists():
        raise DataMissing(f"There is no folder or file {path}.", _NAME_ONE)
    shelf = registry().formats
    specs = [find(shelf, format, "format")] if format else list(shelf.values())
    fitting = [(spec, scenes) for spec in specs if (scenes := _scenes(loader(spec), path))]
    if not fitting and format and path.is_dir():
        return specs[0], [path]  # the reader says what is wrong with it
    itself = [(spec, scenes) for spec, scenes in fitting if scenes == [path]]
    fitting = itself or fitting  # a scene goes before what may lie in its folders
    if not fitting:
        expected = ", ".join(spec.name for spec in specs)
        if is_plain(path):
            expected += f". As plain truth: nfbench score PREDICTIONS {path} --protocol ID"
        else:
            expected += "; nfbench list formats says how each looks"
        for spec in specs:
            if getattr(loader(spec), "training", _none)(path):
                raise DataMissing(
                    f"{path} has shapes to learn from in {spec.name} format, and none to be solved.",
                    "Add a list of test shapes; nfbench prepare --split test adds one.",
                )
        what = "" if path.is_file() else ", and neither is a folder in it"
        raise DataMissing(f"{path} is of no known format{what}.", f"Known: {expected}.")
    if len(fitting) > 1:
        names = ", ".join(spec.name for spec, _ in fitting)
        raise NfbenchError(f"{path} could be {names}.", "Say which with --format.")
    return fitting[0]


def _scenes(module: Loader, path: Path) -> list[Path]:
    """The scenes of a format in a path: the folder itself, else folders in it, or what the module itself finds."""
    if hasattr(module, "scenes"):
        found: list[Path] = module.scenes(path)
        return found
    if not path.is_dir():
        return []
    if module.detect(path):
        return [path]
    return [child for child in sorted(path.iterdir()) if child.is_dir() and module.detect(child)]


def task_from_path(path: Path, format: str | None = None) -> Task:
    """The Task of a scene folder, or of a folder of scene folders, under its format's own protocol."""
    spec, folders = detect(path, format)
    module = loader(spec)

    learned: Callable[..., Scene] = getattr(module, "read_training", module.read)
    inputs: tuple[str, ...] = getattr(module, "inputs", ())

    def opener(folder: Path, read: Callable[..., Scene] = module.read) -> SceneRef:
        name = scene_name(folder, module)
        give = (lambda kind: replace(read(folder, giving=kind), name=name)) if inputs else None
        return SceneRef(name, lambda: replace(read(folder), name=name), give)

    return Task(
        name=f"{spec.name}/{path.resolve().stem if path.is_file() else path.resolve().name}",
        version=fingerprint(path),
        protocol=spec.protocol,
        given=module.given,
        test=tuple(opener(folder) for folder in folders),
        train=tuple(opener(folder, learned) for folder in getattr(module, "training", _none)(path)),
        summary=f"{len(folders)} scene{'s' if len(folders) > 1 else ''} in {spec.name} format",
        inputs=inputs,
    )


def _only_plain(path: Path) -> bool:
    """Whether a path is plain truth and of no known format."""
    if not is_plain(path):
        return False
    try:
        detect(path)
    except DataMissing:
        return True
    return False


def _none(path: Path) -> list[Path]:
    """No scenes to learn from: what a format without a list of them has."""
    return []


def readable(task: Task) -> tuple[Task, dict[str, str]]:
    """The task with the scenes that open, and scene to reason for those left out; a row of it is not complete.

    Raises:
        DataCorrupt: no test scene opens.
    """
    wrong: dict[str, str] = {}

    def opens(ref: SceneRef) -> bool:
        try:
            ref.open()
        except NfbenchError as error:
            wrong[ref.name] = error.message
        return ref.name not in wrong

    test, train = tuple(filter(opens, task.test)), tuple(filter(opens, task.train))
    if not test:
        raise DataCorrupt(f"No scene of {task.name} opens: {next(iter(wrong.values()), 'there is none')}", "Mend one.")
    return replace(task, test=test, train=train, full=tuple(task.scenes)), wrong


def opened(folder: Path, module: Loader) -> tuple[Scene, Mapping[str, Views], list[str]]:
    """A scene, its splits, and what its format has to say of it, the files looked at as seldom as the format can."""
    at_once = getattr(module, "opened", None)
    if at_once is not None:
        found: tuple[Scene, Mapping[str, Views], list[str]] = at_once(folder)
        return found
    return module.read(folder), module.splits(folder), getattr(module, "notes", lambda _: [])(folder)


def scene_name(folder: Path, module: Loader | None = None) -> str:
    """The name of the scene in a folder: what its format calls it, else the folder's own, also for `.` and `..`."""
    named = getattr(module, "name", None)
    if named is not None:
        return str(named(folder))
    return Path(os.path.abspath(folder)).name  # noqa: PTH100  # resolve would follow a link to another name


def fingerprint(folder: Path) -> str:
    """8 hexadecimal digits that change when a file of the folder is added, removed, renamed or changes its size.

    Small text files count with their content. It reads no images.
    """
    digest = hashlib.sha256()
    root, files = (folder.parent, [folder]) if folder.is_file() else (folder, sorted(folder.rglob("*")))
    for path in files:
        if not path.is_file():
            continue
        digest.update(f"{path.relative_to(root).as_posix()} {path.stat().st_size}\n".encode())
        if path.suffix in (".json", ".txt", ".lst"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:8]


def task(name: str, format: str | None = None) -> Task:
    """The Task of a registered name or of a path.

    Raises:
        NotFound: neither, with the nearest names.
    """
    whole, _, every = name.rpartition(EVERY)
    if whole and every.isdecimal():
        return task(whole, format).every(int(every))
    whole, _, kind = name.rpartition(FROM)
    if whole and kind in KINDS:
        return task(whole, format).giving(kind)
    if name in registry().tasks:
        built: Task = resolve(registry().tasks[name].target)(name)
        return built
    path = Path(name)
    if path.exists() and not format and _only_plain(path):
        return plain_task(path, fingerprint(path))
    if path.exists():
        return task_from_path(path, format)
    if name.startswith((".", "/", "~")) or format:
        raise DataMissing(f"There is no folder or file {name}.", _NAME_ONE)
    raise NotFound(f"There is no task, folder or file {name!r}.", did_you_mean(name, registry().tasks, "tasks"))
