"""`nfbench import-checkpoint`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from nfbench.harness.commands.run import settings_by_method, split_settings
from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import NfbenchError, Unsupported
from nfbench.harness.method import configure
from nfbench.harness.official import read_official
from nfbench.harness.prediction import on_background
from nfbench.harness.protocol import protocol as find_protocol
from nfbench.harness.registry import method_spec, registry, resolve
from nfbench.harness.scene import Scene


def import_checkpoint(
    name: str,
    file: Path,
    output: Path,
    preset: str,
    settings: Sequence[str],
    task: str | None,
    scene: str | None,
    format: str | None,
) -> None:
    """Write what the original code of a paper saved as a checkpoint of nfbench, and say how to use it.

    Raises:
        NfbenchError: the file, the method, the config or the scene does not fit.
    """
    spec = method_spec(name)
    kind = resolve(spec.target)
    if not hasattr(kind, "adopt"):
        can = [other for other, its in registry().methods.items() if hasattr(resolve(its.target), "adopt")]
        raise Unsupported(f"{name} has no original checkpoints to import.", f"These have: {', '.join(can)}.")
    if output.exists() and (output.is_file() or any(output.iterdir())):
        raise NfbenchError(f"{output} is there already.", "Name a folder that is not there, or an empty one.")
    own = settings_by_method([spec], preset, split_settings(settings))[spec.name]
    method = kind(configure(kind, preset, own), 0, "cpu")
    opened = None if task is None else _scene(task, scene, format)
    adopted = method.adopt(read_official(file), opened)
    (method if adopted is None else adopted).save(output)
    print(f"Wrote {output}: {_numbers(output):,} numbers of {name}.")
    fields = "".join(f" --set {shlex.quote(setting)}" for setting in settings)
    where = shlex.quote(task) if task else "TASK"
    how = f" --format {format}" if task and format else ""
    print(f"  nfbench run {name} {where}{how} --preset {preset}{fields} --checkpoint {shlex.quote(str(output))}")


def _scene(task: str, scene: str | None, format: str | None) -> Scene:
    """The one scene, hidden views and all: the original's frame may come from all cameras."""
    found = find_task(task, format)
    refs = (found if scene is None else found.only([scene])).test
    if not refs:
        raise NfbenchError(f"{task} has no scene to be solved.", "Name a task with test scenes.")
    if len(refs) > 1:
        names = ", ".join(ref.name for ref in refs[:8])
        raise NfbenchError(f"{task} has {len(refs)} scenes.", f"Say which one with --scene: {names}.")
    return on_background(refs[0].open(), find_protocol(found.protocol))


def _numbers(folder: Path) -> int:
    from safetensors.torch import load_file

    return sum(tensor.numel() for file in folder.glob("*.safetensors") for tensor in load_file(file).values())
