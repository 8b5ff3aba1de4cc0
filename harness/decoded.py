"""Views decoded once: their pixels in one file on disk, mapped into memory.

A file is written beside its place and moved there, so that readers see all of it or nothing; two writers write the
same. It is never changed in place, so that one that is mapped stays sound when it is replaced or removed. What a file
holds is checked when it is opened, and a damaged one is written again. No trouble with the disk reaches the caller:
images are then decoded when asked for.

    decoded-<64 hexadecimal digits>.pixels
        uint8, the pixels of all views one after another, row by row; (N,H,W,C) where all are of one size
        uint32, the CRC-32 of each view's pixels, little-endian
        32 bytes, the SHA-256 that the file is named for
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import re
import shutil
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from nfbench.harness.atomic import PARTIAL, replacing
from nfbench.harness.cachefolder import default_cache
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.image import flattened
from nfbench.harness.scene import Views

LIMIT = 16 * 2**30  # bytes of all files together: the NeRF-synthetic scenes take 0.2 GB each, Mip-NeRF 360's about 1
MEMORY = 2**30  # bytes of images that are held where there is no file
RESTING = 3600  # seconds after which a partial file has lost its writer
FORMAT = 1  # of the files; another number makes all of them unknown

_OWN = re.compile(rf"\.?decoded-[0-9a-f]{{64}}\.pixels(\.\w+{re.escape(PARTIAL)})?")

Bytes = NDArray[np.uint8]
Indices = NDArray[np.int64]


class DecodedViews:
    """The pixels of views as 8 bit, decoded when first needed and read from a file from then on.

    Views without files, or of more bytes than the limit, and those that the disk has no room for are decoded when
    asked for. Files belong to paths, sizes and times of change of the images; that the first image is what the views
    give is checked as well.

    Args:
        views: at least one.
        background: sRGB in [0,1] that the images are put over, which gives RGB; None keeps what the files hold.
        cache: holds the folder `decoded`; the default cache when left out.
        limit: bytes of all files in there; the least recently used go first. 0 keeps all off the disk.
        memory: bytes of images that may be held where there is no file.

    Attributes:
        starts: (N+1,) int64, where the pixels of each view begin when those of all are counted through.
        widths: (N,) int64, in pixels.
        channels: 3 or 4.

    Raises:
        DataMissing: no views, or an image that is not there.
        DataCorrupt: an image that cannot be decoded, or alpha in some images only and no background.
    """

    def __init__(
        self,
        views: Views,
        background: tuple[float, float, float] | None = None,
        *,
        cache: Path | None = None,
        limit: int = LIMIT,
        memory: int = MEMORY,
    ) -> None:
        if not len(views):
            raise DataMissing("There are no views to decode.", "Give at least one.")
        self.views = views
        self.background = background
        size = views.cameras.size.astype(np.int64)
        self.widths: Indices = np.ascontiguousarray(size[:, 0])
        self.starts: Indices = np.concatenate([np.zeros(1, np.int64), size.prod(1).cumsum()])
        self.channels = 0
        first = self._decoded(0)
        self.channels = first.shape[2]
        self._held: dict[int, Bytes] = {}
        self._room = memory
        self._pixels = self._on_disk(first, cache or default_cache(), limit)

    def __len__(self) -> int:
        """How many views there are."""
        return len(self.views)

    @property
    def mapped(self) -> bool:
        """Whether the pixels are read from a file."""
        return self._pixels is not None

    def image(self, index: int) -> Bytes:
        """View `index`, (H,W,C) uint8, not to be written to.

        Raises:
            ContractBroken: there is no such view.
            DataMissing, DataCorrupt: as above, where there is no file.
        """
        self._check_views(index, index)
        if self._pixels is None:
            return self._in_memory(index)
        pixels = self._pixels[self.starts[index] : self.starts[index + 1]]
        return pixels.reshape(-1, int(self.widths[index]), self.channels)

    def pixels(self, index: NDArray[np.integer], row: NDArray[np.integer], column: NDArray[np.integer]) -> Bytes:
        """The pixels (P,C) uint8 at `row` and `column` of the views `index`, all (P,).

        Raises:
            ContractBroken: a place outside of the images.
            DataMissing, DataCorrupt: as above, where there is no file.
        """
        if len(index):
            self._check_views(int(index.min()), int(index.max()))
        width = self.widths[index]
        height = (self.starts[index + 1] - self.starts[index]) // width
        wrong = (row < 0) | (row >= height) | (column < 0) | (column >= width)
        if wrong.any():
            i = int(wrong.argmax())
            where = f"{self.views.names[index[i]]!r} of {width[i]}x{height[i]}"
            raise ContractBroken(f"Row {row[i]}, column {column[i]} is outside of view {where} pixels.")
        return self.at(self.starts[index] + row * width + column)

    def at(self, place: Indices) -> Bytes:
        """The pixels (P,C) uint8 at the places (P,), from 0 to starts[-1] - 1, counted through all views.

        Raises:
            ContractBroken: a place outside of that.
            DataMissing, DataCorrupt: as above, where there is no file.
        """
        if len(place) and not 0 <= place.min() <= place.max() < self.starts[-1]:
            raise ContractBroken(
                f"Pixels {place.min()} to {place.max()} are asked for.", f"There are {self.starts[-1]}, counted from 0."
            )
        if self._pixels is not None:
            return self._pixels.take(place, axis=0)
        found = np.empty((len(place), self.channels), np.uint8)
        view = self.starts.searchsorted(place, side="right") - 1
        order = view.argsort(kind="stable")
        ends = np.flatnonzero(np.diff(view[order])) + 1
        for some in np.split(order, ends) if len(order) else []:
            index = int(view[some[0]])
            found[some] = self._in_memory(index).reshape(-1, self.channels)[place[some] - self.starts[index]]
        return found

    def _check_views(self, low: int, high: int) -> None:
        if not 0 <= low <= high < len(self):
            raise ContractBroken(f"Views {low} to {high} are asked for; there are {len(self)}, counted from 0.")

    def _decoded(self, index: int) -> Bytes:
        image = self.views.image(index)
        if self.background is not None:
            image = flattened(image, self.background)
        if self.channels not in (0, image.shape[2]):
            names = self.views.files or self.views.names
            raise DataCorrupt(
                f"{names[index]} has {image.shape[2]} channels, {names[0]} has {self.channels}.",
                "Give a background to put images with alpha over.",
            )
        return np.ascontiguousarray(image)

    def _in_memory(self, index: int) -> Bytes:
        if index in self._held:
            return self._held[index]
        image = self._decoded(index)
        if image.nbytes <= self._room:
            self._room -= image.nbytes
            self._held[index] = image
        return image

    def _on_disk(self, first: Bytes, cache: Path | None, limit: int) -> Bytes | None:
        """The pixels of all views (P,C), mapped from a file that is written first where there is none; or None."""
        size = int(self.starts[-1]) * self.channels
        whole = size + 4 * len(self) + hashlib.sha256().digest_size
        if cache is None or whole > limit or not self.views.files:
            return None
        folder = cache / "decoded"
        with contextlib.suppress(OSError):
            key = self._key()
            file = folder / f"decoded-{key.hex()}.pixels"
            if (pixels := self._read(file, key, first)) is not None:
                return pixels
            folder.mkdir(parents=True, exist_ok=True)
            if _has_room(folder, file, whole, limit):
                with replacing(file) as partial, partial.open("xb") as stream:
                    self._write(stream, key)
                return self._read(file, key, first)
        return None

    def _key(self) -> bytes:
        """SHA-256 of all that the pixels depend on.

        Raises:
            OSError: an image that is not there.
        """
        states = [(str(file.absolute()), (s := file.stat()).st_size, s.st_mtime_ns) for file in self.views.files]
        background = self.background and tuple(map(float, self.background))
        of_all = (FORMAT, self.channels, background, self.views.cameras.size.tolist(), states)
        return hashlib.sha256(repr(of_all).encode("utf-8", "surrogateescape")).digest()

    def _write(self, stream: BinaryIO, key: bytes) -> None:
        checks = np.empty(len(self), "<u4")
        for index in range(len(self)):
            image = self._decoded(index)
            checks[index] = isal_zlib.crc32(image.data)
            stream.write(image.data)
        stream.write(checks.tobytes() + key)

    def _read(self, file: Path, key: bytes, first: Bytes) -> Bytes | None:
        """The pixels in a file, mapped into memory; None where there is no such file, or another or a damaged one."""
        ends = self.starts * self.channels
        try:
            with file.open("rb") as stream:
                stream.seek(int(ends[-1]))
                end = stream.read(4 * len(self) + len(key) + 1)
                if len(end) != 4 * len(self) + len(key) or not end.endswith(key):
                    return None
                stream.seek(0)
                for check, size in zip(np.frombuffer(end, "<u4", len(self)), np.diff(ends).tolist(), strict=True):
                    if isal_zlib.crc32(stream.read(size)) != check:
                        return None
                mapping = mmap.mmap(stream.fileno(), int(ends[-1]), access=mmap.ACCESS_READ)
        except OSError:
            return None
        pixels = np.frombuffer(mapping, np.uint8).reshape(-1, self.channels)
        if not np.array_equal(pixels[: self.starts[1]], first.reshape(-1, self.channels)):
            return None
        with contextlib.suppress(OSError):  # a read-only folder serves as well
            os.utime(file)  # when it was last used
        return pixels


def _has_room(folder: Path, file: Path, wanted: int, limit: int) -> bool:
    """Whether `file` of `wanted` bytes fits, once the least recently used files have been removed for it.

    Raises:
        OSError: the folder cannot be read.
    """
    kept = sorted((s.st_mtime, s.st_size, path) for path in folder.iterdir() if path != file and (s := _own(path)))
    excess = sum(size for _, size, _ in kept) + wanted - limit
    for used, size, path in kept:
        lost = path.suffix == PARTIAL and used < time.time() - RESTING
        if lost or (excess > 0 and path.suffix != PARTIAL):
            path.unlink(missing_ok=True)
            excess -= size
    return excess <= 0 and wanted <= shutil.disk_usage(folder).free


def _own(path: Path) -> os.stat_result | None:
    """The status of a file that this cache wrote; None for any other, and for one that is gone."""
    if _OWN.fullmatch(path.name):
        with contextlib.suppress(OSError):
            return path.stat()
    return None
