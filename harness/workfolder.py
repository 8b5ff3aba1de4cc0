"""A run is built in a folder beside its place and moved there whole, so that processes at the same run cannot clash."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nfbench.harness.errors import RecordInvalid
from nfbench.harness.journal import LOG
from nfbench.harness.record import FILE, read_record

if sys.platform != "win32":
    import fcntl

LAST_GOOD = "last-good.safetensors"
"""The state of a training loop before the step that went wrong."""


def work_folder(folder: Path, fresh: bool = True) -> Path:
    """The folder beside `folder` in which this process builds it, emptied when it is to be `fresh`."""
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work


def state_folder(folder: Path) -> Path:
    """The folder beside `folder` with the state of a run's training loops, from which a broken-off run goes on."""
    return folder.with_name(f".{folder.name}.state")


@contextmanager
def claimed_state(folder: Path) -> Iterator[Path]:
    """`state_folder(folder)`, made and held by this process; while another holds it, one that goes at the end.

    Two processes at the same run would else take each other's log and states away. The lock is on the folder itself and
    ends with the process, however that ends; where the system has no such locks, nothing is held.
    """
    state = state_folder(folder)
    held = _hold(state)
    if held is None:
        state = state.with_name(f"{state.name}.{os.getpid()}")
        shutil.rmtree(state, ignore_errors=True)
        state.mkdir(parents=True)
    try:
        yield state
    finally:
        if held is None:
            shutil.rmtree(state, ignore_errors=True)
        elif held >= 0:
            os.close(held)


def _hold(state: Path) -> int | None:
    """The open folder, locked; -1 where the system cannot lock it, None where another process has."""
    while True:
        state.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            return -1
        try:
            handle = os.open(state, os.O_RDONLY)
        except FileNotFoundError:  # another process was at its end
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if state.is_dir() and os.path.samestat(os.fstat(handle), state.stat()):
                return handle
        except BlockingIOError:
            os.close(handle)
            return None
        except FileNotFoundError:
            pass
        except OSError:  # a file system without locks
            os.close(handle)
            return -1
        os.close(handle)  # it was removed between


def keep_last_good(state: Path, work: Path) -> None:
    """Move what a failed run leaves to look into to its folder `work`: its log and the last good states of its loops.

    The state that a run goes on from stays where it is, for the failure may have been of another making.
    """
    for path in [*state.glob(f"*/{LAST_GOOD}"), *state.glob(LOG)]:
        target = work / path.relative_to(state)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.replace(target)
    if not any(path.is_file() for path in state.rglob("*")):
        shutil.rmtree(state, ignore_errors=True)


def put_in_place(work: Path, folder: Path, file: str) -> bool:
    """Move `work` to `folder`, over what a failed run left there; not over good work that another process did."""
    if (folder / file).exists() and (file != FILE or _is_good(folder)):
        shutil.rmtree(work, ignore_errors=True)
        return False
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    return True


def _is_good(folder: Path) -> bool:
    try:
        return read_record(folder).status == "ok"
    except RecordInvalid:
        return False
