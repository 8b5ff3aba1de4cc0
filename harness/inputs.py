"""Inputs: the kinds of data that the scenes of a format can give to a method, and which of them one scene has."""

from __future__ import annotations

from pathlib import Path

from nfbench.harness.dataset import Loader
from nfbench.harness.errors import DataMissing
from nfbench.harness.scene import Scene


def inputs(module: Loader) -> tuple[str, ...]:
    """The kinds that `Task.giving` and `--given` can choose from in a format, those that it gives anyway first."""
    return tuple(dict.fromkeys((*module.given, *getattr(module, "inputs", ()))))


def gives(folder: Path, module: Loader, scene: Scene, kind: str) -> bool:
    """Whether the scene in a folder has the files of an input of its format. Without them it is no worse a scene.

    Raises:
        NfbenchError: they are there and cannot be read.
    """
    if kind in scene.given.kinds():
        return True
    if kind not in getattr(module, "inputs", ()):
        return False
    try:
        return kind in module.read(folder, giving=kind).given.kinds()  # type: ignore[call-arg]
    except DataMissing:
        return False
