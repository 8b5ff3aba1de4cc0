"""One file over HTTP: mirrors in order, resumed where it stopped, checked by size and SHA-256, put in place whole.

What came so far is kept in `FILE.part`, and in `FILE.part.json` from where and which version of it. A later try asks
for the rest with `Range` and `If-Range` (RFC 9110, 13.1.5 and 14), so that two versions of a file are never joined.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from nfbench.harness.errors import NfbenchError
from nfbench.harness.watcher import Watcher
from nfbench.loaders.http_answer import Dropped, Redirects, Refused, content_range, judged, length, strong_version

_CHUNK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
_EVERY = 0.1  # seconds between two reports of progress


@dataclass(frozen=True)
class Patience:
    """How long a download is tried.

    Attributes:
        timeout: seconds without a byte, after which a try has failed.
        tries: how many tries in a row may bring next to nothing before the next mirror has its turn.
        worth: bytes that make a try more than nothing.
        pause: seconds before the second try, doubled before each one after it.
        longest: the most seconds of a pause, also of one that the server asks for.
        slow: bytes a second, below which a try has failed.
        window: seconds over which that is measured.
        redirects: how many a try may follow.
    """

    timeout: float = 30.0
    tries: int = 6
    worth: int = 1 << 20
    pause: float = 1.0
    longest: float = 60.0
    slow: float = 1024.0
    window: float = 60.0
    redirects: int = 5


@dataclass(frozen=True)
class Fetched:
    """A file that came: from where, its bytes and its SHA-256 in hexadecimal."""

    url: str
    size: int
    sha256: str


def fetch(
    urls: Sequence[str],
    file: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    watcher: Watcher | None = None,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """What came to be in `file`: all of it, or the file is not there and what came is kept beside it to go on from.

    One process at a time may fetch one file; see `nfbench.loaders.pins.only_one`.

    Args:
        urls: mirrors, best first: http or https.
        file: where it is put, by renaming, once it is whole and checked; its folder must be there.
        size: bytes it must have, where known.
        sha256: hexadecimal digits it must have, where known.
        watcher: told the progress, and why a mirror is left.
        patience: how long each mirror is tried.
        sleep: what pauses are made by.

    Raises:
        NfbenchError: no mirror gave it, with the reason of each; the disk is full or too small.
    """
    task = _Task(file, size, sha256, watcher or Watcher(), patience or Patience(), sleep)
    why = []
    for url in urls:
        try:
            return task.from_mirror(url)
        except Refused as error:
            why.append(f"{url}: {error}")
            task.watcher.line(f"{file.name}: {url} is given up: {error}.")
    kept = f" What came, {task.have() / 2**20:.1f} MiB, is kept: the same command goes on." if task.have() else ""
    raise NfbenchError(
        f"{file.name} could not be fetched. {'; '.join(why)}.",
        f"Try again later, or get it yourself and give it by --from.{kept}",
    )


def digest(file: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def disk_error(error: OSError, file: Path) -> NfbenchError:
    """What to tell of a failed write."""
    if error.errno in _FULL:
        kept = "Make room and run the same command again, which goes on; or choose another disk with --to."
        return NfbenchError(f"The disk of {file.parent} is full: {file.name} could not be written.", kept)
    return NfbenchError(f"{file} cannot be written: {error.strerror}.", "Choose another folder with --to.")


@dataclass
class _State:
    """What a partial file is a part of: an address, its version (a strong ETag or a date), the bytes of all of it."""

    url: str = ""
    version: str = ""
    total: int | None = None


@dataclass
class _Task:
    """One file to fetch, through all its tries."""

    file: Path
    size: int | None
    sha256: str | None
    watcher: Watcher
    patience: Patience
    sleep: Callable[[float], None]
    resumed: bool = False  # whether the partial file is of more than one request
    part: Path = field(init=False)
    notes: Path = field(init=False)

    def __post_init__(self) -> None:
        self.part = self.file.with_name(f"{self.file.name}.part")
        self.notes = self.file.with_name(f"{self.file.name}.part.json")

    def have(self) -> int:
        """Bytes that came so far."""
        try:
            return self.part.stat().st_size
        except FileNotFoundError:
            return 0

    def discard(self) -> None:
        """Begin anew."""
        self.part.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    def from_mirror(self, url: str) -> Fetched:
        """The whole file, checked and in its place; Refused when this mirror does not give it."""
        if urlsplit(url).scheme not in ("http", "https"):
            raise Refused("is no http or https address")
        for _ in range(2):  # a wrong hash may come of joining parts: once more in one piece
            self.resumed = self.have() > 0
            self._arrive(url)
            found = digest(self.part)
            if self.sha256 in (None, found):
                size = self.have()
                self.part.replace(self.file)
                self.notes.unlink(missing_ok=True)
                return Fetched(url, size, found)
            self.discard()
            if not self.resumed:
                break
        raise Refused(f"SHA-256 is {found}, not {self.sha256}")

    def _arrive(self, url: str) -> None:
        """Try until all bytes are here."""
        poor, furthest = 0, self.have()
        while True:
            try:
                self._try(url)
                return
            except Dropped as drop:
                if drop.anew:
                    self.discard()
                poor = 0 if self.have() - furthest >= self.patience.worth else poor + 1
                furthest = max(furthest, self.have())
                if poor >= self.patience.tries:
                    raise Refused(f"{poor} tries failed, the last one because {drop}") from drop
                wait = min(self.patience.longest, self.patience.pause * 2 ** max(0, poor - 1))
                self.watcher.line(f"{self.file.name}: {drop}; next try in {max(wait, drop.after):.3g} s.")
                self.sleep(max(wait, drop.after))

    def _try(self, url: str) -> None:
        """One request; Dropped when it does not bring all."""
        state = self._state()
        have = self.have()
        headers = {"User-Agent": f"nfbench/{version('nfbench')}", "Accept-Encoding": "identity"}
        same = state.url == url and state.version != ""
        if have and not same and (self.sha256 is None or state.total is None):
            have = 0  # nothing would tell whether the rest belongs to it
        if have and have == state.total:
            return
        if have:
            headers["Range"] = f"bytes={have}-"
            if same:
                headers["If-Range"] = state.version
        try:
            with self._open(urllib.request.Request(url, headers=headers)) as answer:
                start, total = self._begin(answer, url, have, state)
                self._receive(answer, start, total)
        except urllib.error.HTTPError as error:
            with error:
                raise judged(error, self.patience.longest) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise Refused(f"its certificate is not good: {error.reason}") from error
            raise Dropped(f"it cannot be reached ({_told(error.reason)})") from error
        except (OSError, http.client.HTTPException) as error:
            raise Dropped(f"the connection broke ({_told(error)})") from error

    def _open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        opener = urllib.request.build_opener(Redirects(self.patience.redirects))
        answer: http.client.HTTPResponse = opener.open(request, timeout=self.patience.timeout)
        return answer

    def _begin(self, answer: http.client.HTTPResponse, url: str, have: int, state: _State) -> tuple[int, int | None]:
        """Where the bytes of an answer begin and where the file ends; its version is noted."""
        if answer.status not in (200, 206):
            raise Refused(f"it answers {answer.status} {answer.reason}")
        packed = answer.headers.get("Content-Encoding", "identity")
        if answer.headers.get_content_type() == "text/html":
            raise Refused("it gives a web page, not the file")
        if packed.lower() != "identity":
            raise Refused(f"it packs the file by {packed}, which was not asked for")
        found = _State(url, strong_version(answer.headers), length(answer.headers.get("Content-Length")))
        start = 0
        if answer.status == 206:
            start, found.total = content_range(answer.headers.get("Content-Range", ""))
            differs = found.url == state.url and found.version not in ("", state.version)
            if start != have or found.total != state.total or differs:
                raise Dropped("the file is another one now", anew=True)
        if self.size is not None and found.total not in (None, self.size):
            raise Refused(f"its file has {found.total} bytes, not {self.size}")
        self.resumed = start > 0
        if found.total is not None:
            self._check_room(found.total - start)
        try:
            self.notes.write_text(json.dumps(asdict(found)), encoding="utf-8")
        except OSError as error:
            raise disk_error(error, self.notes) from error
        return start, found.total

    def _receive(self, answer: http.client.HTTPResponse, start: int, total: int | None) -> None:
        """Write what comes; Dropped when it ends before `total`, or comes too slowly."""
        got = mark = told = start
        began = since = shown = time.monotonic()
        with _writing(self.part, start) as out:
            while chunk := answer.read1(_CHUNK):
                _store(out, chunk, self.part)
                got += len(chunk)
                now = time.monotonic()
                if now - since >= self.patience.window:
                    if got - mark < self.patience.slow * (now - since):
                        raise Dropped(f"it is too slow: {got - mark} bytes in {now - since:.3g} s")
                    mark, since = got, now
                if now - shown >= _EVERY or got == total:
                    shown, told = now, got
                    rate = (told - start) / 2**20 / max(now - began, 1e-9)
                    self.watcher.progress(
                        f"fetch {self.file.name}", told / total if total else 0.0, {"MiB": told / 2**20, "MiB/s": rate}
                    )
            _sync(out, self.part)
        if total is not None and got < total:
            raise Dropped(f"the connection ended after {got} of {total} bytes")
        if self.size is not None and got != self.size:
            raise Refused(f"its file has {got} bytes, not {self.size}")

    def _check_room(self, need: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if free < need:
            raise NfbenchError(
                f"{self.file.name} needs {need / 2**30:.2f} GiB more in {self.part.parent}, and "
                f"{free / 2**30:.2f} GiB are free.",
                "Make room, or choose another disk with --to.",
            )

    def _state(self) -> _State:
        try:
            state = _State(**json.loads(self.notes.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return _State()
        sound = isinstance(state.url, str) and isinstance(state.version, str) and isinstance(state.total, int | None)
        return state if sound else _State()


def _writing(part: Path, start: int) -> BinaryIO:
    """The partial file, cut to what is good of it, without a buffer: a full disk is told where it is met."""
    try:
        if not start:
            return part.open("wb", buffering=0)
        out = part.open("r+b", buffering=0)
        out.seek(start)
        out.truncate()
        return out
    except OSError as error:
        raise disk_error(error, part) from error


def _store(out: BinaryIO, chunk: bytes, part: Path) -> None:
    rest = memoryview(chunk)
    try:
        while rest:
            rest = rest[out.write(rest) :]
    except OSError as error:
        raise disk_error(error, part) from error


def _sync(out: BinaryIO, part: Path) -> None:
    try:
        os.fsync(out.fileno())
    except OSError as error:
        raise disk_error(error, part) from error


def _told(error: object) -> str:
    return str(error) or type(error).__name__
