"""Lists of names, and views gathered from several splits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.scene import Views

MOST = 1 << 26  # bytes of a text file; the longest list in use, pixelNeRF's, has 0.4 million


def read_text(path: Path) -> str:
    """The text in a file, its byte order mark and Windows line ends taken out.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it cannot be read, is larger than `MOST`, or no UTF-8.
    """
    try:
        if path.stat().st_size > MOST:
            raise DataCorrupt(f"{path} has {path.stat().st_size} bytes.", f"It should have fewer than {MOST}.")
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except FileNotFoundError:
        raise DataMissing(f"There is no {path}.", "Download the dataset again.") from None
    except OSError as error:
        raise DataCorrupt(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path}: byte {error.start} is not UTF-8.", "Save the file as UTF-8.") from None


def line_list(path: Path, blank: bool = False) -> list[str]:
    """The lines of a file without space around them; blank lines are left out unless `blank`.

    Raises:
        DataMissing, DataCorrupt: as `read_text`, or a line that leads to another folder.
    """
    lines = [line.strip() for line in read_text(path).split("\n")]
    for number, line in enumerate(lines, 1):
        if line in (".", "..") or set(line) & {"/", "\\", "\0"}:
            raise DataCorrupt(f"{path}: line {number} is no name: {line!r}.", "Mend or remove the line.")
    return lines if blank else [line for line in lines if line]


def one_of_each(folder: Path, splits: Mapping[str, Views]) -> Views:
    """The views of all splits, one of each name, in the order of the splits.

    Raises:
        ContractBroken: no views, two views of one name that differ in their cameras, or masks in some splits only.
    """
    found: dict[str, tuple[Views, int]] = {}
    for views in splits.values():
        for index, name in enumerate(views.names):
            first, at = found.setdefault(name, (views, index))
            if not _same_camera(first.cameras, at, views.cameras, index):
                raise ContractBroken(f"{folder}: two views called {name!r} have different cameras.", "Rename one.")
    chosen = list(found.values())
    if not chosen:
        raise ContractBroken(f"{folder}: no views to write.", "Give at least one.")
    if len({views.load_mask is None for views, _ in chosen}) > 1:
        raise ContractBroken(f"{folder}: some splits have masks and others have none.", "Give masks to all or none.")

    def pick(what: str) -> NDArray[np.generic]:
        return np.stack([getattr(views.cameras, what)[i] for views, i in chosen])

    def through(ask: Callable[[Views, int], NDArray[np.generic]]) -> Callable[[int], NDArray[np.generic]]:
        return lambda i: ask(*chosen[i])

    bounded = all(views.cameras.near_far is not None for views, _ in chosen)
    cameras = Cameras(pick("c2w"), pick("K"), pick("size"), pick("near_far") if bounded else None)  # type: ignore[arg-type]
    masked = chosen[0][0].load_mask is not None
    deep = all(views.load_depth is not None for views, _ in chosen)
    return Views(
        cameras,
        tuple(found),
        through(Views.image),  # type: ignore[arg-type]  # the same loaders, view by view
        through(Views.mask) if masked else None,  # type: ignore[arg-type]
        through(Views.depth) if deep else None,  # type: ignore[arg-type]
    )


def _same_camera(one: Cameras, i: int, two: Cameras, j: int) -> bool:
    return all(np.array_equal(getattr(one, what)[i], getattr(two, what)[j]) for what in ("c2w", "K", "size"))
