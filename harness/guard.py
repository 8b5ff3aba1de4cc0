"""No method reads the truth: while one runs, opening a hidden file raises, and so does the run if that is swallowed.

Methods get `scene.seen()`, which holds no truth. What is left is the disk: a method could build the path of a held-out
image from that of a given one. Python tells an audit hook of every file that it opens, links or hands to another
process, and this hook refuses those. Compiled code that opens files without Python's help is not seen, and whoever
means to can get around it: the guard is against mistakes, not against malice.
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

_EVENTS = ("open", "os.link", "os.symlink", "os.rename", "subprocess.Popen", "os.posix_spawn", "os.exec", "os.system")
_hidden: dict[tuple[int, int], str] = {}  # device and inode -> path; empty while no method runs
_refused: list[str] = []
_installed = False


def hidden_files(scene: Scene) -> list[Path]:
    """The files that hold what a scene does not give: its hidden views and what lies beside them, what is withheld."""
    given = set(scene.given.views.files) if scene.given.views is not None else set()
    hidden = set(scene.hidden.files) - given if scene.hidden is not None else set()
    folders = {path.parent for path in hidden} - {path.parent for path in given}
    beside = [path for folder in folders for path in folder.iterdir() if path.is_file()]
    return sorted({*hidden, *beside, *scene.withheld} - given)


def hidden_from_learning(test: Iterable[Scene], training: Iterable[Scene]) -> list[Path]:
    """The files that the scenes to be solved do not give, but for those of images that scenes to learn from give."""
    given = {path for scene in training if scene.given.views is not None for path in scene.given.views.files}
    return sorted({path for scene in test for path in hidden_files(scene)} - given)


@contextmanager
def hiding(files: Iterable[Path]) -> Iterator[None]:
    """Inside the block, opening one of `files` raises ContractBroken; so does its end, if that was swallowed."""
    global _installed
    if not _installed:  # an audit hook cannot be taken out: it is put in once and idles
        sys.addaudithook(_refuse)
        _installed = True
    _refused.clear()
    _hidden.update({_identity(path): str(path) for path in files})
    try:
        yield
        if _refused:
            raise _broken(_refused[0])
    finally:
        _hidden.clear()


def _identity(path: Any) -> tuple[int, int]:  # noqa: ANN401  # whatever names a file
    """Device and inode, the same for all names of a file; (0, 0) for no file."""
    try:
        found = os.stat(path)  # noqa: PTH116  # bytes too, and called for every file that is opened
    except (OSError, ValueError, TypeError):
        return 0, 0
    return found.st_dev, found.st_ino


def _broken(path: str) -> ContractBroken:
    return ContractBroken(
        f"The method opens {path}, a hidden view or another file that the scene does not give.",
        "A method may read only what scene.given holds; the rest is for scoring.",
    )


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if not _hidden or event not in _EVENTS:
        return
    named = arguments[:1] if event == "open" else _words(arguments)
    for word in named:
        path = _hidden.get(_identity(word)) if isinstance(word, str | bytes | os.PathLike) else None
        if path is not None:
            _refused.append(path)
            raise _broken(path)


def _words(arguments: Iterable[Any]) -> Iterator[Any]:
    """All that could name a file in the arguments of an event, the words of a shell's command too."""
    for argument in arguments:
        if isinstance(argument, list | tuple):
            yield from _words(argument)
        elif isinstance(argument, str | bytes):
            yield from (argument, *argument.split())
        else:
            yield argument
