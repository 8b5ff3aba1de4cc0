"""Features of true images on disk, shared by processes without a lock.

A file is written beside its place and moved there, so that readers see all of it or nothing; two writers write the
same. What a file holds is checked whenever it is read, and a damaged one is written again. No trouble with the disk
reaches the caller: the features are then computed and not kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nfbench.harness.atomic import PARTIAL, replacing
from nfbench.harness.lpips import Features, Lpips, features

LIMIT = 4 * 2**30  # bytes of all files together
RESTING = 3600  # seconds since its last use after which a file may be removed for another
FORMAT = 1  # of the files; another number makes all of them unknown

_NAME = "lpips-"
_SUFFIX = ".safetensors"
_OWN = re.compile(rf"\.?{_NAME}[0-9a-f]{{64}}{re.escape(_SUFFIX)}(\.\w+{re.escape(PARTIAL)})?")
_DAMAGE = (SafetensorError, ValueError, KeyError, TypeError, RuntimeError)  # what a file of other content provokes


@dataclass(frozen=True)
class FeatureCache:
    """Features of images, computed when first asked for and read from `folder` from then on.

    When `limit` is reached the least recently used files go first, but none that was used within the last hour: a test
    set larger than the limit would otherwise push out each file just before it is needed again.

    Attributes:
        folder: made when first needed. Other files in it are left alone and do not count.
        limit: bytes of all files together; several writers at once may pass it by what they are writing.
    """

    folder: Path
    limit: int = LIMIT

    def features(self, model: Lpips, image: NDArray[Any], *, normalised: bool = True) -> Features:
        """The features of one image, the same to the last bit as nfbench.harness.lpips.features gives.

        Args and errors as there.
        """
        name = f"{_NAME}{_key(model, image, normalised)}"
        taps = _read(self.folder / f"{name}{_SUFFIX}")
        if taps is None:
            found = features(model, image, normalised=normalised)
            self._keep(name, [tap.cpu() for tap in found.taps])
            return found
        size = (image.shape[0], image.shape[1])
        return Features(tuple(tap.to(model.device) for tap in taps), size, model.net, model.version, normalised)

    def _keep(self, name: str, taps: list[Tensor]) -> None:
        """Write the taps to the file called `name`, unless there is no room or the disk refuses."""
        with contextlib.suppress(OSError, SafetensorError):
            self.folder.mkdir(parents=True, exist_ok=True)
            if self._has_room(sum(tap.nbytes for tap in taps)):
                with replacing(self.folder / f"{name}{_SUFFIX}") as partial:
                    save_file({str(i): tap for i, tap in enumerate(taps)}, partial, {"checks": _checks(taps)})

    def _has_room(self, wanted: int) -> bool:
        """Whether another `wanted` bytes fit below the limit, once files that rest have been removed for it."""
        kept = sorted((s.st_mtime, s.st_size, path) for path in self.folder.iterdir() if (s := _own(path)))
        resting = [(size, path) for used, size, path in kept if used < time.time() - RESTING]
        excess = sum(size for _, size, _ in kept) + wanted - self.limit
        if excess > sum(size for size, _ in resting):
            return False
        for size, path in resting:
            if path.suffix == PARTIAL or excess > 0:  # a partial file that rests has lost its writer
                excess -= size if _removed(path) else 0
        return excess <= 0


def _key(model: Lpips, image: NDArray[Any], normalised: bool) -> str:
    """64 hexadecimal digits for all that the features depend on."""
    of_model = (model.net, model.version, model.digest, model.device.type, torch.__version__)
    sha = hashlib.sha256(repr((FORMAT, *of_model, normalised, image.dtype.str, image.shape)).encode())
    sha.update(image.tobytes())
    return sha.hexdigest()


def _read(file: Path) -> list[Tensor] | None:
    """The taps in a file, mapped into memory; None where there is no such file, or a damaged one."""
    try:
        with safe_open(file, "pt") as opened:
            taps = [opened.get_tensor(str(i)) for i in range(len(opened.keys()))]
            if opened.metadata()["checks"] != _checks(taps):
                return None
    except (OSError, *_DAMAGE):
        return None
    with contextlib.suppress(OSError):  # a read-only folder serves as well
        os.utime(file)  # when it was last used
    return taps


def _checks(taps: list[Tensor]) -> str:
    """Type, shape and CRC-32 of every tap."""
    return " ".join(f"{tap.dtype}{list(tap.shape)}{zlib.crc32(tap.numpy().data):08x}" for tap in taps)


def _own(path: Path) -> os.stat_result | None:
    """The status of a file that this cache wrote; None for any other, and for one that is gone."""
    if _OWN.fullmatch(path.name):
        with contextlib.suppress(OSError):
            return path.stat()
    return None


def _removed(path: Path) -> bool:
    """Whether the file could be removed, by this process or another."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return False
    return True
