"""A run is built in a folder beside its place and moved there whole, so that processes at the same run cannot clash."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from nfbench.harness.errors import RecordInvalid
from nfbench.harness.record import FILE, read_record


def work_folder(folder: Path, fresh: bool = True) -> Path:
    """The folder beside `folder` in which this process builds it, emptied when it is to be `fresh`."""
    work = folder.with_name(f".{folder.name}.{os.getpid()}")
    if fresh:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    return work


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
