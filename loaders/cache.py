"""Arrays that are made once and kept on disk, shared by processes without a lock.

A file is written beside its place and moved there, so that readers see all of it or nothing; two
writers write the same. A damaged file is made again, and where nothing can be written the arrays stay in memory.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.atomic import replacing
from nfbench.harness.cachefolder import default_cache

Arrays = Mapping[str, NDArray[np.generic]]

_DAMAGE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)


def cache_file(name: str, cache: Path | None = None) -> Path | None:
    """The file of procedural data called `name` below `cache`, the default cache when left out; None without one."""
    root = cache or default_cache()
    return None if root is None else root / "procedural" / f"{name}.npz"


class Cached(Mapping[str, NDArray[np.generic]]):
    """Named arrays, each read from `file` when asked for; `make` gives all of them when the file does not.

    Args:
        file: an .npz file; None keeps the arrays in memory.
        names: of the arrays that `make` gives.
        make: gives the arrays; the same ones every time.
    """

    def __init__(self, file: Path | None, names: tuple[str, ...], make: Callable[[], Arrays]) -> None:
        self.file = file
        self.names = names
        self._make = make
        self._made: Arrays | None = None

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        """The array called `name`.

        Raises:
            KeyError: there is none.
        """
        if name not in self.names:
            raise KeyError(name)
        if self._made is None and self.file is not None:
            try:
                with np.load(self.file, allow_pickle=False) as arrays:
                    array: NDArray[np.generic] = arrays[name]
                    return array
            except _DAMAGE:
                pass
        if self._made is None:
            made = self._make()
            if self.file is None or not write_arrays(self.file, made):
                self._made = made
            return made[name]
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def write_arrays(file: Path, arrays: Arrays) -> bool:
    """Whether `arrays` could be written to `file` (.npz), whole or not at all."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing(file) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    except OSError:
        return False
    return True
