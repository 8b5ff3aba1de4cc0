"""Names to things: methods, tasks, formats, protocols, datasets, from one group of entry points, imported when used.

A package takes part with one line in its pyproject.toml,

    [project.entry-points.nfbench]
    mine = "my_package.bench:SPECS"

where SPECS is a tuple of the specs below. The built-in ones use the same tuples.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, TypeVar

from nfbench.harness.errors import ContractBroken, NfbenchError, NotFound, did_you_mean

GROUP = "nfbench"


@dataclass(frozen=True)
class MethodSpec:
    """A method by name.

    Attributes:
        name: `nerf`.
        target: `package.module:Class` or `file.py:Class`, imported when the method is used.
        summary: one sentence for `nfbench list`.
        needs: what `fit` needs to see: some of `views`, `cloud`, `samples`, `voxels`.
        gives: what its fields can do: some of `render`, `value`, `mesh`.
        presets: names of its presets.
        paper: citation, where it comes from a paper.
        origin: `floor` for a trivial answer that every real method must beat, else `method`.
    """

    name: str
    target: str
    summary: str
    needs: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    presets: tuple[str, ...] = ()
    paper: str = ""
    origin: str = "method"


@dataclass(frozen=True)
class TaskSpec:
    """A task by name; `target` is a function that takes the name and gives the Task."""

    name: str
    target: str
    summary: str
    protocol: str


@dataclass(frozen=True)
class FormatSpec:
    """An on-disk format by name.

    Attributes:
        name: `onet`.
        target: a module with the functions of `nfbench.harness.dataset.Loader`.
        summary: one sentence for `nfbench list`.
        protocol: the id of the protocol that its scenes are measured under.
        given: what its scenes give, as in the module: some of `views`, `cloud`, `samples`, `voxels`.
        inputs: what `--given` can choose from beside it, as in the module.
    """

    name: str
    target: str
    summary: str
    protocol: str
    given: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ProtocolSpec:
    """A protocol by id, `nerf-synthetic@1`; `target` is `package:file.toml`, a file shipped inside the package."""

    name: str
    target: str


@dataclass(frozen=True)
class DatasetSpec:
    """A dataset by name, for `nfbench download`.

    Attributes:
        name: `nerf-synthetic`.
        target: a function that takes the name and gives a `nfbench.loaders.datasets.Dataset`.
        summary: one sentence for `nfbench list`.
        licence: what its use is bound to.
        version: of the dataset, changed when its files change.
        format: the on-disk format that it is in.
        scenes: their names, each of which may be asked for as `NAME/SCENE`.
        access: `open`, or `own archive` where the user must get it himself.
        splits: what is trained on and what is tested, in words.
        citation: whom to cite.
        page: where it is published.
    """

    name: str
    target: str
    summary: str
    licence: str
    version: str = ""
    format: str = ""
    scenes: tuple[str, ...] = ()
    access: str = "open"
    splits: str = ""
    citation: str = ""
    page: str = ""


Spec = MethodSpec | TaskSpec | FormatSpec | ProtocolSpec | DatasetSpec
S = TypeVar("S", MethodSpec, TaskSpec, FormatSpec, ProtocolSpec, DatasetSpec)


@dataclass
class Registry:
    """Specs by kind and name, and what went wrong while collecting them."""

    methods: dict[str, MethodSpec] = field(default_factory=dict)
    tasks: dict[str, TaskSpec] = field(default_factory=dict)
    formats: dict[str, FormatSpec] = field(default_factory=dict)
    protocols: dict[str, ProtocolSpec] = field(default_factory=dict)
    datasets: dict[str, DatasetSpec] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, spec: Spec, source: str) -> None:
        """Add a spec; a name that is taken is a problem, and the first keeps it."""
        shelves: dict[type, dict[str, Any]] = {
            MethodSpec: self.methods,
            TaskSpec: self.tasks,
            FormatSpec: self.formats,
            ProtocolSpec: self.protocols,
            DatasetSpec: self.datasets,
        }
        shelf = shelves[type(spec)]
        if spec.name in shelf and shelf[spec.name] != spec:
            self.problems.append(f"{source} offers {spec.name!r}, which {shelf[spec.name].target} has already.")
            return
        shelf[spec.name] = spec


@functools.cache
def registry() -> Registry:
    """All specs of all installed packages. A package that fails to import is a problem, not an end."""
    found = Registry()
    builtin_first = sorted(entry_points(group=GROUP), key=lambda e: (not e.value.startswith("nfbench."), e.name))
    for entry in builtin_first:
        try:
            for spec in entry.load():
                found.add(spec, entry.value)
        except Exception as error:  # somebody else's package; doctor tells
            found.problems.append(f"{entry.value} (entry point {entry.name!r}): {type(error).__name__}: {error}")
    if not found.protocols:
        raise NfbenchError("nfbench finds no entry points, its own included.", "Install it: pip install -e .")
    return found


def find(shelf: Mapping[str, S], name: str, what: str) -> S:
    """The spec called `name`.

    Raises:
        NotFound: there is none; the hint has the nearest names.
    """
    if name in shelf:
        return shelf[name]
    raise NotFound(f"There is no {what} {name!r}.", did_you_mean(name, shelf, f"{what}s"))


def method_spec(name: str) -> MethodSpec:
    """The spec of a registered method, or one made on the spot for `file.py:Class` or `package.module:Class`."""
    if ":" not in name and name.endswith(".py"):
        raise NotFound(f"{name} names a file, not a class in it.", f"Write {name}:CLASS.")
    if ":" not in name:
        return find(registry().methods, name, "method")
    kind = resolve(name)
    if not isinstance(kind, type):
        raise ContractBroken(f"{name} is a {type(kind).__name__}, not a class.", "Name the method's class.")
    summary = (kind.__doc__ or "").strip().split("\n")[0]
    presets = tuple(getattr(kind, "presets", ()))
    return MethodSpec(kind.__name__, name, summary, tuple(getattr(kind, "needs", ())), presets=presets)


def resolve(target: str) -> Any:  # noqa: ANN401  # whatever the target names
    """The object that `package.module:name` or `path/file.py:name` names.

    Raises:
        NotFound: no such file, module or name in it.
        ContractBroken: the file or module fails while it is imported.
    """
    place, _, name = target.rpartition(":")
    if not place:
        raise NotFound(f"{target!r} is not a target.", "Write file.py:Class or package.module:Class.")
    try:
        module = _import_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
    except NfbenchError:
        raise
    except ModuleNotFoundError as error:
        raise NotFound(f"{target}: no module {error.name!r}.", "Install it, or check the spelling.") from error
    except Exception as error:
        raise ContractBroken(f"{place} fails while it is imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        public = [n for n in vars(module) if not n.startswith("_")]
        raise NotFound(f"{place} has no {name!r}.", did_you_mean(name, public))
    return getattr(module, name)


def _import_file(path: Path) -> Any:  # noqa: ANN401
    if not path.is_file():
        raise NotFound(f"There is no file {path}.", "The path is taken from the current folder.")
    name = f"nfbench_file_{path.stem}_{abs(hash(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise NotFound(f"{path} cannot be imported as Python.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
