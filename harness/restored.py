"""From a run's folder back to its field: the method's own from the checkpoint, else the predicted mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, NotFound
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.method import NoConfig
from nfbench.harness.prediction import MESH, on_background
from nfbench.harness.protocol import Protocol
from nfbench.harness.protocol import protocol as find_protocol
from nfbench.harness.record import Record, read_record
from nfbench.harness.registry import registry, resolve
from nfbench.harness.scene import Mesh, Scene


@dataclass(frozen=True, eq=False)
class MeshField:
    """A field that is a mesh from a file."""

    surface: Mesh

    def mesh(self) -> Mesh:
        """The surface in scene units."""
        return self.surface


@dataclass(frozen=True, eq=False)
class RestoredRun:
    """A run as it was left.

    Attributes:
        record: of the run.
        field: the method's field from `checkpoint/`, or a MeshField of `predictions/mesh.ply`.
        scene: whole, on the protocol's background.
        protocol: that it was measured under.
    """

    record: Record
    field: Any
    scene: Scene
    protocol: Protocol


def restored_run(
    folder: Path, task: str = "", format: str | None = None, method: str = "", device: str = "cpu"
) -> RestoredRun:
    """The field and the scene of a run's folder.

    Args:
        folder: with record.json.
        task: name or path of the task; where it is left out, the record's, which must be a registered one.
        format: of the task's folder.
        method: `file.py:Class` of a method from a file, which a record names without its folder.
        device: `cpu` or `cuda`.

    Raises:
        RecordInvalid: no record in the folder.
        NotFound: a task or method that is not to be found; the hint says what to name.
        NfbenchError: another task than the run's.
        DataMissing, DataCorrupt: neither a checkpoint that can be restored nor a mesh.
    """
    record = read_record(folder)
    protocol = find_protocol(record.protocol)
    scene = on_background(_scene(record, task, format), protocol)
    return RestoredRun(record, restored(folder, record, method, device), scene, protocol)


def restored(folder: Path, record: Record, method: str = "", device: str = "cpu") -> Any:  # noqa: ANN401  # a Field
    """The field of a run: by its method's `restore` from `checkpoint/`, else the mesh that it predicted.

    Raises:
        NotFound: the method is not to be found.
        DataMissing, DataCorrupt: neither a checkpoint that can be restored nor a mesh, or a damaged one.
    """
    checkpoint = folder / "checkpoint"
    if checkpoint.is_dir() and record.method.target:
        kind = resolve(_target(record, method))
        if hasattr(kind, "restore"):
            return kind(_config(kind, record, folder), record.seed, device).restore(checkpoint)
    mesh = folder / "predictions" / MESH
    if not mesh.is_file():
        why = "has no restore for its checkpoint" if checkpoint.is_dir() else "saved no checkpoint"
        raise DataMissing(
            f"{folder}: {record.method.name} {why}, and there is no {mesh}.",
            "Name a run whose field can be restored, or one that predicted a surface.",
        )
    return MeshField(read_mesh(mesh))


def _target(record: Record, method: str) -> str:
    """Where the method is to be imported from."""
    if method and ":" in method:
        return method
    spec = registry().methods.get(method or record.method.name)
    if spec is not None:
        return spec.target
    if record.method.target.partition(":")[0].endswith(".py"):
        raise NotFound(
            f"The run's method {record.method.target} is from a file, whose folder its record does not tell.",
            f"Name it: --method PATH/TO/{record.method.target}.",
        )
    return record.method.target


def _config(kind: type[Any], record: Record, folder: Path) -> Any:  # noqa: ANN401  # the method's own dataclass
    """The config that the record holds, as the method's own type."""
    from pydantic import TypeAdapter, ValidationError

    adapter: TypeAdapter[Any] = TypeAdapter(getattr(kind, "Config", NoConfig))
    try:
        return adapter.validate_python(record.method.config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataCorrupt(
            f"{folder}: its config does not fit {kind.__name__}: {where}: {first['msg']}.",
            "The method's code has changed since; run it again.",
        ) from None


def _scene(record: Record, name: str, format: str | None) -> Scene:
    """The scene that the record is of."""
    own = record.task.name
    try:
        task = find_task(name or own, format)
    except NfbenchError as error:
        if name:
            raise
        raise NotFound(
            f"The run is of task {own}, which is found by its name no more: {error.message}",
            "Name the task, or the folder that its data is in.",
        ) from None
    run = task.as_run(own)
    if run is None:
        raise NfbenchError(f"The run is of task {own}, not of {task.name}.", "Name the task that was run.")
    return run.only([record.scene]).test[0].open()
