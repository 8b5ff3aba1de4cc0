"""Archives unpacked safely: zip, and tar plain or packed by gzip, bzip2 or xz.

Nothing is written outside the folder, nothing on the disk is a link or a device, and no more is written than the
bounds allow. Files are copied by this module, never by the extraction of `zipfile` or `tarfile`: no permissions, owners
or links of the archive take effect. A link to a file of the archive becomes that file; any other link is refused.
"""

from __future__ import annotations

import errno
import lzma
import re
import shutil
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO

from nfbench.harness.errors import DataCorrupt, NfbenchError, Unsupported
from nfbench.loaders.archive_entries import Entry, Kind, entries, kind

_CHUNK = 1 << 20
_LEAST_BOUND = 1 << 30
_RATIO = 200  # times the archive's size: images and points pack far less, bombs far more
_MOST_FILES = 5_000_000
_LINK_STEPS = 40  # as many links as Linux follows
_FULL = (errno.ENOSPC, errno.EDQUOT)
_DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, lzma.LZMAError, ValueError)


@dataclass(frozen=True)
class Bounds:
    """What an archive may become at most: bytes of all its files, and their number."""

    total: int
    count: int = _MOST_FILES

    @classmethod
    def of(cls, archive: Path) -> Bounds:
        """200 times the size of the archive, but 1 GiB at least."""
        return cls(max(_LEAST_BOUND, _RATIO * archive.stat().st_size))


@dataclass
class Unpacked:
    """What came out of an archive.

    Attributes:
        files: path below the folder, with slashes, to bytes.
        clashes: pairs of paths that are one where the disk does not tell upper from lower case.
    """

    files: dict[str, int] = field(default_factory=dict)
    clashes: list[tuple[str, str]] = field(default_factory=list)


def unpack(
    archive: Path,
    folder: Path,
    bounds: Bounds | None = None,
    progress: Callable[[float, int], None] = lambda fraction, files: None,
) -> Unpacked:
    """The files of `archive`, written below `folder`, which is empty or made; it is removed when anything goes wrong.

    Args:
        archive: a zip or tar file.
        folder: where to; nobody else may write there meanwhile.
        bounds: of all that is written; `Bounds.of(archive)` when left out.
        progress: told the fraction that is done and the number of files.

    Raises:
        DataCorrupt: a damaged archive, an entry that leads out, two entries of one name, more than the bounds.
        Unsupported: an entry that is encrypted, a device, or a link to what is no file of the archive.
        NfbenchError: the disk is full or too small, or a name is not possible there.
    """
    what = kind(archive)
    writer = _Writer(archive, folder, bounds or Bounds.of(archive))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _check_room(archive, folder, what)
        for fraction, entry in entries(archive, what):
            writer.add(entry)
            progress(fraction, len(writer.done.files))
        writer.follow_links()
        if not writer.done.files:
            raise DataCorrupt(f"{archive} holds no files.", "Get another.")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, NotImplementedError):  # zipfile: a method of packing that it lacks
            raise Unsupported(f"{archive} cannot be unpacked: {error}.", "Unpack it yourself and zip it.") from error
        if isinstance(error, _DAMAGE) or (isinstance(error, OSError) and error.errno is None):
            raise DataCorrupt(f"{archive} is damaged: {error}.", "Get the file anew.") from error
        raise
    progress(1.0, len(writer.done.files))
    return writer.done


def _check_room(archive: Path, folder: Path, what: Kind) -> None:
    need = archive.stat().st_size
    if what == "zip":
        with zipfile.ZipFile(archive) as opened:
            need = sum(info.file_size for info in opened.infolist())
    free = shutil.disk_usage(folder).free
    if free < need:
        raise NfbenchError(
            f"{folder}: {archive.name} needs {need / 2**30:.2f} GiB, and {free / 2**30:.2f} GiB are free.",
            "Make room, or choose another disk with --to.",
        )


def place(name: str) -> str:
    """The path of an entry below the folder, with slashes; empty for the top folder itself.

    Raises:
        ValueError: it is absolute, leads out, or holds what no path may hold; the message says which.
    """
    plain = name.replace("\\", "/")  # some zip files of Windows; and a way out of the folder there
    if plain.startswith("/") or re.match(r"[A-Za-z]:", plain):
        raise ValueError("is an absolute path")
    if any(ord(letter) < 32 for letter in plain):
        raise ValueError("holds a control character")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ValueError("leads out of its folder")
    return "/".join(parts)


class _Writer:
    """Writes entries below a folder and keeps count."""

    def __init__(self, archive: Path, folder: Path, bounds: Bounds) -> None:
        self.archive = archive
        self.folder = folder
        self.bounds = bounds
        self.done = Unpacked()
        self.links: dict[str, str] = {}
        self._total = 0
        self._spelled: dict[str, str] = {}  # folded path -> as it is spelled
        self._made: set[str] = set()  # folders

    def add(self, entry: Entry) -> None:
        """Write one entry, or keep a link for later."""
        try:
            path = place(entry.name)
        except ValueError as error:
            raise self._corrupt(entry.name, str(error)) from error
        if entry.refused:
            raise Unsupported(
                f"{self.archive}: {_shown(entry.name)} {entry.refused}.", "Unpack it yourself and zip it."
            )
        if not path or _is_litter(path):
            return
        try:
            if entry.open is None and entry.link is None:
                self._folder(path)
            else:
                self._file(path, entry)
        except OSError as error:
            if error.errno is None:
                raise
            raise self._disk(path, error) from error

    def follow_links(self) -> None:
        """Make every link the file that it leads to, at last through other links."""
        for path, target in self.links.items():
            for _ in range(_LINK_STEPS):
                target = self.links.get(target, target)
            if target not in self.done.files:
                raise self._unsupported(path, f"is a link to {_shown(target)}, which is no file of the archive")
            self._claim(self.done.files[target], path)
            try:
                shutil.copyfile(self.folder / target, self.folder / path)
            except OSError as error:
                raise self._disk(path, error) from error
            self.done.files[path] = self.done.files[target]

    def _file(self, path: str, entry: Entry) -> None:
        self._name(path)
        self._folder(path.rpartition("/")[0])
        if entry.link is not None:
            self.links[path] = self._target(path, entry.link, entry.from_top)
            return
        assert entry.open is not None
        self._claim(entry.size, path)
        with entry.open() as source, (self.folder / path).open("xb") as out:
            size = _copy(source, out, entry.size)
        if size != entry.size:
            raise self._corrupt(path, f"is not the {entry.size} bytes long that the archive declares")
        self.done.files[path] = size

    def _folder(self, path: str) -> None:
        if path not in self._made:
            (self.folder / path).mkdir(parents=True, exist_ok=True)
            self._made.add(path)

    def _target(self, path: str, link: str, from_top: bool) -> str:
        """Where a link leads to below the top of the archive, told by words alone: nothing on the disk is followed."""
        plain = link.replace("\\", "/")
        parts = [] if from_top else path.split("/")[:-1]
        out = not link or plain.startswith("/") or re.match(r"[A-Za-z]:", plain) is not None
        for part in plain.split("/"):
            if part == "..":
                out = out or not parts
                del parts[-1:]
            elif part not in ("", "."):
                parts.append(part)
        if out:
            raise self._unsupported(path, f"is a link that leads out, to {_shown(link) or 'nowhere'}")
        return "/".join(parts)

    def _claim(self, size: int, path: str) -> None:
        """Count a file before it is written."""
        self._total += size
        if self._total > self.bounds.total:
            raise self._corrupt(path, f"would make it more than {self.bounds.total / 2**30:.3g} GiB unpacked")
        if len(self.done.files) + len(self.links) >= self.bounds.count:
            raise self._corrupt(path, f"is one more than the {self.bounds.count} files allowed")

    def _name(self, path: str) -> None:
        """Keep the name of a file; two of one name are refused, two that differ by case only are told."""
        if path in self.done.files or path in self.links:
            raise self._corrupt(path, "is there twice")
        folded = unicodedata.normalize("NFC", path).casefold()
        if folded in self._spelled:
            self.done.clashes.append((self._spelled[folded], path))
        self._spelled.setdefault(folded, path)

    def _disk(self, path: str, error: OSError) -> NfbenchError:
        if error.errno in _FULL:
            return NfbenchError(
                f"The disk of {self.folder.parent} is full: {self.archive.name} could not be unpacked.",
                "Make room, or choose another disk with --to; the archive is kept.",
            )
        if isinstance(error, FileExistsError) and self.done.clashes:
            return NfbenchError(
                f"{self.archive}: {' and '.join(map(_shown, self.done.clashes[-1]))} are one file on this disk.",
                "Choose a disk that tells upper from lower case with --to.",
            )
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            return self._corrupt(path, "is both a file and a folder")
        return NfbenchError(f"{self.archive}: {_shown(path)} cannot be written: {error.strerror}.", "Try another --to.")

    def _corrupt(self, name: str, why: str) -> DataCorrupt:
        return DataCorrupt(f"{self.archive}: {_shown(name)} {why}.", "Nothing is unpacked: it is not to be trusted.")

    def _unsupported(self, name: str, why: str) -> Unsupported:
        return Unsupported(f"{self.archive}: {_shown(name)} {why}.", "Unpack it yourself, and zip it without that.")


def _copy(source: IO[bytes], out: BinaryIO, size: int) -> int:
    """The bytes copied: `size`, or fewer where the source ends before, or one more where it does not end there."""
    copied = 0
    while chunk := source.read(min(_CHUNK, size + 1 - copied)):
        out.write(chunk)
        copied += len(chunk)
        if copied > size:
            break
    return copied


def _is_litter(path: str) -> bool:
    """Whether a Mac put it there: a reader of `train/*.png` would take `train/._r_0.png` for an image."""
    parts = path.split("/")
    return parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._")


def _shown(name: str) -> str:
    """A name as it can be printed, whatever bytes it is of."""
    return name.encode("utf-8", "backslashreplace").decode() if name.isprintable() else ascii(name)
