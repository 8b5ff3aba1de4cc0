"""Files written whole or not at all: beside their place first, then moved there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

PARTIAL = ".part"  # what the name of a file that is being written ends in


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to, which takes its place once the block ends, and is removed when it fails.

    Readers see the old file or all of the new one, and of several writers the last one wins. The name is hidden,
    ``.NAME.<16 hexadecimal digits>.part``, and no other writer on any machine has it. The folder must be there.

    Raises:
        OSError: the file cannot take its place; whatever the block raises goes through.
    """
    partial = path.with_name(f".{path.name}.{os.urandom(8).hex()}{PARTIAL}")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is what the caller must know
            partial.unlink()
        raise
