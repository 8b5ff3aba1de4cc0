"""Files read whole, which never waits: a pipe or a device in the place of a file is refused."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

_FLAGS = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NONBLOCK", 0)


def read_whole(path: Path, most: int | None = None) -> bytes:
    """The bytes of a file, the first `most` of them where that is given.

    Raises:
        OSError: it cannot be opened or read, or is no file: a folder, a pipe, a device.
    """
    with os.fdopen(os.open(path, _FLAGS), "rb") as file:
        kind = os.fstat(file.fileno()).st_mode
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "a pipe or a device, not a file", str(path))
        return file.read() if most is None else file.read(most)
