"""The images of a scene: those in one of its folders, or those that its annotations name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from nfbench.harness import imagefile
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.loaders.imagefolder import within

_AGAIN = "Download the scene again."


def images_in(folder: Path, root: Path, endings: tuple[str, ...] = imagefile.ENDINGS) -> dict[str, Path]:
    """The images in `folder` by name, without the ending, sorted by name; other files and hidden ones are left out.

    Args:
        folder: holds the images.
        root: the scene's folder, out of which no link may lead.
        endings: of files that count, in lower case.

    Raises:
        DataMissing: no such folder, or no image in it.
        DataCorrupt: two images of one name, or a link out of `root`.
    """
    try:
        with os.scandir(folder) as entries:  # tells links from files without another look at each
            there = sorted((entry.name, entry.is_symlink()) for entry in entries)
    except (FileNotFoundError, NotADirectoryError):
        raise DataMissing(f"There is no folder {folder}.", _AGAIN) from None
    except OSError as error:
        raise DataCorrupt(f"{folder} cannot be read: {error.strerror}.", "Check its permissions.") from None
    files = [(folder / name, linked) for name, linked in there if name.lower().endswith(endings) and name[0] != "."]
    if not files:
        raise DataMissing(f"{folder} holds no {' or '.join(endings)}.", _AGAIN)
    home = root.resolve()
    outside = not within(home, folder)
    found: dict[str, Path] = {}
    for file, linked in files:
        if outside or (linked and not within(home, file)):
            raise DataCorrupt(f"{file} lies outside of {root}.", "Copy what the link leads to into the scene.")
        if file.stem in found:
            raise DataCorrupt(f"{folder}: two files are called {file.stem!r}.", "Rename or remove one of them.")
        found[file.stem] = file
    return found


def beside(
    images: Mapping[str, Path],
    sizes: Iterable[Sequence[int]],
    found: Mapping[str, Path],
    size_of: Callable[[Path], tuple[int, int]],
) -> list[Path]:
    """The masks or depth maps among `found` that go with `images`, by name and in their order.

    Args:
        images: by name.
        sizes: width and height of each of them.
        found: masks or depth maps by name, at least one.
        size_of: tells width and height of one of those.

    Raises:
        DataMissing: an image has none.
        DataCorrupt: one is of another size than its image.
    """
    for name, size in zip(images, sizes, strict=True):
        if name not in found:
            raise DataMissing(f"{next(iter(found.values())).parent} has nothing for image {name}.", _AGAIN)
        if size_of(found[name]) != tuple(size):
            raise DataCorrupt(f"{found[name]} is not of the size of its image, {size[0]}x{size[1]}.", _AGAIN)
    return [found[name] for name in images]


class NamedFiles:
    """The files that the annotations of a folder name, made sure to lie in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.home = folder.resolve()
        self.inside: dict[Path, bool] = {}

    def of(self, label: str, frame: Mapping[str, Any], what: str, key: str) -> Path:
        """The file that `frame[what][key]` names, relative to the folder two above.

        Raises:
            DataCorrupt: it names none, or one outside of the folder.
        """
        part = frame.get(what)
        text = part.get(key) if isinstance(part, dict) else None
        if not isinstance(text, str) or "\0" in text or not text.isprintable() or not PurePosixPath(text).name:
            raise DataCorrupt(f"{label}: {what} has no usable {key}: {text!r}.", "Download the annotations again.")
        file = self.folder.parent.parent / PurePosixPath(text)
        if file.parent not in self.inside:
            self.inside[file.parent] = within(self.home, file.parent)
        if not self.inside[file.parent] or (file.is_symlink() and not within(self.home, file)):
            raise DataCorrupt(f"{label}: {what} {text} lies outside of {self.folder}.", "Was a folder renamed?")
        return file
