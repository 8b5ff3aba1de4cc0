"""What was downloaded to a folder: lock files, which pin the hash of what came first, and whether all of it is there.

`DIR/.nfbench/DATASET/PIECE.json` tells of one piece of a dataset from where it came, its SHA-256, and every file of it
with its bytes. A later download of the same version is compared with it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import DataCorrupt, NfbenchError
from nfbench.harness.registry import registry

FOLDER = ".nfbench"
_POLL = 0.2  # seconds between two looks whether another process has ended
_NAMED = 3  # how many missing files are named


@dataclass(frozen=True)
class Pin:
    """One piece of a dataset that is on this disk.

    Attributes:
        dataset, version, piece: what it is.
        scenes: which scenes it holds.
        licence: what was agreed to.
        url: where it came from; empty for the user's own file.
        archive: what the file was called.
        size: bytes of that file.
        sha256: its hash in hexadecimal.
        published: whether the hash was published, else that of the first download is pinned here.
        files: path below the dataset's folder, with slashes, to bytes.
    """

    dataset: str
    version: str
    piece: str
    scenes: tuple[str, ...]
    licence: str
    url: str
    archive: str
    size: int
    sha256: str
    published: bool
    files: dict[str, int]


def place(root: Path, dataset: str) -> Path:
    """The folder in which nfbench keeps its lock files and what is not whole yet."""
    return root / FOLDER / dataset


def lock_file(root: Path, dataset: str, piece: str) -> Path:
    """The lock file of a piece."""
    return place(root, dataset) / f"{piece}.json"


def read_pin(file: Path) -> Pin | None:
    """What a lock file pins; None when there is none.

    Raises:
        DataCorrupt: it is not what `write_pin` writes.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        pin = Pin(**{**data, "scenes": tuple(data["scenes"])})
        if not all(isinstance(path, str) and isinstance(size, int) for path, size in pin.files.items()):
            raise TypeError("files are no sizes by path")
        if not all(isinstance(text, str) for text in (pin.dataset, pin.version, pin.piece, pin.url, pin.sha256)):
            raise TypeError("not text where text must be")
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataCorrupt(f"{file} is no lock file: {error}.", "Delete it, and download the dataset again.") from error
    return pin


def write_pin(file: Path, pin: Pin) -> None:
    """Write a lock file, whole or not at all."""
    try:
        with replacing(file) as partial:
            partial.write_text(json.dumps(asdict(pin), indent=1) + "\n", encoding="ascii")
    except OSError as error:
        raise NfbenchError(
            f"{file} cannot be written: {error.strerror}.", "Make room, or choose another --to."
        ) from error


def lacking(root: Path, pin: Pin) -> list[str]:
    """The files of a piece that are not there, or not of their size any more."""
    folder = root / pin.dataset
    return [path for path, size in pin.files.items() if _size(folder / path) != size]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size if file.is_file() else -1
    except OSError:
        return -1


@contextlib.contextmanager
def only_one(file: Path, wait: Callable[[], None]) -> Iterator[None]:
    """Inside the block no other process is in one for the same `file`; `wait` is called once if one must be waited for.

    The lock is the system's: it ends with the process, however that ends.

    Raises:
        NfbenchError: the lock file cannot be written.
    """
    try:
        opened = file.open("ab")
    except OSError as error:
        raise NfbenchError(f"{file} cannot be written: {error.strerror}.", "Choose another --to.") from error
    with opened as stream:
        told = False
        while not _taken(stream):
            if not told:
                wait()
            told = True
            time.sleep(_POLL)
        yield


if sys.platform == "win32":
    import msvcrt

    def _taken(stream: IO[bytes]) -> bool:
        stream.seek(0)
        try:
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _taken(stream: IO[bytes]) -> bool:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a file system without locks: partial names and renames must do
            return True
        return True


def report(root: Path) -> list[tuple[str, bool]]:
    """What doctor says of each dataset below `root`, and whether it is complete."""
    kept = root / FOLDER
    names = sorted(path.name for path in kept.iterdir() if path.is_dir()) if kept.is_dir() else []
    return [told for name in names if (told := _dataset(root, name)) is not None]


def _dataset(root: Path, name: str) -> tuple[str, bool] | None:
    where = root / name
    try:
        pins = [pin for file in sorted(place(root, name).glob("*.json")) if _is_lock(file) and (pin := read_pin(file))]
    except DataCorrupt as error:
        return f"{where}: {error.message} {error.hint}", False
    gaps = [path for pin in pins for path in lacking(root, pin)]
    parts = sorted(place(root, name).glob("*.part"))
    if not pins and not parts:
        return None
    told = [f"{sum(len(pin.files) for pin in pins):,} files"] if pins else []
    scenes = sorted({scene for pin in pins for scene in pin.scenes})
    spec = registry().datasets.get(name)
    if scenes and spec is not None:
        some = "" if len(scenes) == len(spec.scenes) else f": {', '.join(scenes)}"
        told.insert(0, f"{len(scenes)} of {len(spec.scenes)} scenes{some}")
    if gaps:
        more = " ..." if len(gaps) > _NAMED else ""
        told.append(
            f"{len(gaps)} missing or changed: {', '.join(gaps[:_NAMED])}{more}; move changed ones away, download again"
        )
    told += [f"{p.name} came in part, {p.stat().st_size / 2**20:.1f} MiB; the same command goes on" for p in parts]
    return f"{where}: {'; '.join(told)}", not gaps and not parts


def _is_lock(file: Path) -> bool:
    return not file.name.endswith(".part.json") and not file.name.startswith(".")
