"""No method reads the truth: while one runs, opening a hidden file raises.

Methods get `scene.seen()`, which holds no truth. What is left is the disk: a method could build the path of a held-out
image from that of a given one. Python tells an audit hook of every file it opens, and this hook refuses those. A file
opened by compiled code without Python's help is not seen; the guard is against mistakes, not against malice.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nfbench.harness.errors import ContractBroken
from nfbench.harness.scene import Scene

_hidden: dict[str, set[str]] = {}  # file name -> real paths; empty while no method runs
_installed = False


def hidden_files(scene: Scene) -> list[Path]:
    """The files that hold the truth of a scene and are not given as well."""
    given = set(scene.given.views.files) if scene.given.views is not None else set()
    return [path for path in scene.hidden.files if path not in given] if scene.hidden is not None else []


@contextmanager
def hiding(files: Iterable[Path]) -> Iterator[None]:
    """Inside the block, opening one of `files` raises ContractBroken."""
    global _installed
    if not _installed:  # an audit hook cannot be taken out: it is put in once and idles
        sys.addaudithook(_refuse)
        _installed = True
    for path in files:
        _hidden.setdefault(path.name, set()).add(os.path.realpath(path))
    try:
        yield
    finally:
        _hidden.clear()


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or not _hidden or not isinstance(arguments[0], (str, bytes)):
        return
    path = os.fsdecode(arguments[0])
    if os.path.realpath(path) in _hidden.get(os.path.basename(path), ()):  # noqa: PTH119  # called for every open
        raise ContractBroken(
            f"The method opens {path}, a hidden view of the scene.",
            "A method may read only what scene.given holds; held-out images are for scoring.",
        )
