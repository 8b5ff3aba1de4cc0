"""The entries of zip and tar files, one after another, each with what it declares; nothing is written here."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Literal

from nfbench.harness.errors import DataCorrupt, DataMissing

_CHUNK = 1 << 20
_BLOCK = tarfile.BLOCKSIZE
_HEADER_LIMIT = 1 << 24  # bytes that tarfile may ask for at once: a longer header is no header
_LINK_LENGTH = 4096  # PATH_MAX of Linux

Kind = Literal["zip", "tar"]


@dataclass(frozen=True)
class Entry:
    """One entry of an archive, as the archive has it.

    Attributes:
        name: as it is written there, not to be trusted.
        size: bytes that it declares.
        open: its bytes; None for a folder or a link.
        link: where a link leads to.
        from_top: whether that is told from the top of the archive, not from where the link is.
        refused: why nothing can be made of it.
    """

    name: str
    size: int = 0
    open: Callable[[], IO[bytes]] | None = None
    link: str | None = None
    from_top: bool = False
    refused: str = ""


def kind(archive: Path) -> Kind:
    """Whether a file is a zip or a tar, told by its first bytes.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it is neither; the message says what it looks like.
    """
    if not archive.is_file():
        raise DataMissing(f"There is no file {archive}.", "Check the path.")
    with archive.open("rb") as stream:
        head = stream.read(_BLOCK)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\0" or head[257:262] == b"ustar":
        return "tar"
    looks = "begins like a web page" if head.lstrip()[:1] == b"<" else "is neither zip nor tar"
    looks = "is empty" if not head else looks
    raise DataCorrupt(f"{archive} {looks}.", "Zip and tar, also .tar.gz, .tar.bz2 and .tar.xz, can be unpacked.")


def entries(archive: Path, what: Kind) -> Iterator[tuple[float, Entry]]:
    """The fraction that lies behind, and the entry, which is to be read before the next is asked for.

    Raises:
        tarfile.TarError, zipfile.BadZipFile, OSError without a number, EOFError, zlib.error, lzma.LZMAError: damage.
    """
    return _zip_entries(archive) if what == "zip" else _tar_entries(archive)


def _zip_entries(archive: Path) -> Iterator[tuple[float, Entry]]:
    with zipfile.ZipFile(archive) as opened:
        total = sum(info.file_size for info in opened.infolist()) or 1
        behind = 0
        for info in opened.infolist():
            yield behind / total, _zip_entry(opened, info)
            behind += info.file_size


def _zip_entry(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    name, size, mode = info.filename, info.file_size, info.external_attr >> 16
    if info.is_dir() or stat.S_ISDIR(mode):
        return Entry(name)
    if info.flag_bits & 1:
        return Entry(name, size, refused="is encrypted")
    if stat.S_ISLNK(mode):
        target = opened.read(info) if size <= _LINK_LENGTH else b""
        return Entry(name, link=os.fsdecode(target))
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        return Entry(name, size, refused="is a device or the like")
    return Entry(name, size, lambda: opened.open(info))


def _tar_entries(archive: Path) -> Iterator[tuple[float, Entry]]:
    """The fraction that lies behind, and the entry. It reads to the very end, where the packer's check sum is."""
    size = archive.stat().st_size
    with archive.open("rb") as raw, _unpacked(raw) as stream:
        tape = _Tape(stream)
        with tarfile.open(fileobj=tape, mode="r:") as opened:  # type: ignore[call-overload]  # it reads, seeks and tells
            while (info := opened.next()) is not None:
                yield raw.tell() / size, _tar_entry(opened, info)
                opened.members = []  # it would keep every entry that it has seen
            if tape.last != bytes(_BLOCK):
                raise tarfile.ReadError("it is cut short, or a header in it is damaged")
            while stream.read(_CHUNK):
                pass


def _unpacked(raw: BinaryIO) -> IO[bytes]:
    head = raw.read(6)
    raw.seek(0)
    if head[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=raw)  # type: ignore[return-value]  # it reads like one
    if head[:3] == b"BZh":
        return bz2.BZ2File(raw)
    return lzma.LZMAFile(raw) if head == b"\xfd7zXZ\0" else raw


def _tar_entry(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Entry:
    name = info.name
    if info.isdir():
        return Entry(name)
    if info.issym():
        return Entry(name, link=info.linkname)
    if info.islnk():
        return Entry(name, link=info.linkname, from_top=True)
    if not info.isreg():
        return Entry(name, info.size, refused="is a device or the like")

    def source() -> IO[bytes]:
        found = opened.extractfile(info)
        assert found is not None
        return found

    return Entry(name, info.size, source)


class _Tape:
    """A stream for tarfile that remembers the block it read last, by which a sound end is told from a torn one."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.last = b""

    def read(self, size: int) -> bytes:
        if size > _HEADER_LIMIT:
            raise tarfile.ReadError("a header in it is too long")
        self.last = self._stream.read(size)
        return self.last

    def seek(self, position: int) -> int:
        return self._stream.seek(position)

    def tell(self) -> int:
        return self._stream.tell()
