"""`nfbench download`: the pieces of a dataset fetched or taken from the user's file, checked, unpacked, put in place.

The dataset is in `DIR/NAME`; partial files, lock files and what is being unpacked are in `DIR/.nfbench/NAME`.
Each step can be broken off: the next run goes on with what is whole.
"""

from __future__ import annotations

import filecmp
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.watcher import Watcher
from nfbench.loaders.archive import Unpacked, unpack
from nfbench.loaders.datasets import Dataset, Piece, stem
from nfbench.loaders.pins import Pin, lacking, lock_file, only_one, place, read_pin, write_pin
from nfbench.loaders.transfer import Fetched, Patience, digest, disk_error, fetch


@dataclass(frozen=True)
class Order:
    """What is to be downloaded, known before anything is done.

    Attributes:
        dataset: of which.
        pieces: the pieces to get.
        to: the folder of all datasets.
        source: the user's own file, which is the one piece, in place of a download.
        patience: how long mirrors are tried.
        sleep: what pauses between tries are made by.
    """

    dataset: Dataset
    pieces: tuple[Piece, ...]
    to: Path
    source: Path | None = None
    patience: Patience = field(default_factory=Patience)
    sleep: Callable[[float], None] = time.sleep

    def terms(self) -> str:
        """The licence, whom to cite, and what will be done, in lines."""
        what = f"unpacks {self.source}" if self.source else f"fetches {', '.join(p.file for p in self.pieces)}"
        return f"{self.dataset.terms()}\n  {what} to {self.to / self.dataset.name}"

    def carry_out(self, watcher: Watcher) -> list[str]:
        """One line on each piece: what was done.

        Raises:
            NfbenchError: a piece could not be got; those before it are there.
        """
        kept = place(self.to, self.dataset.name)
        try:
            kept.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(error, kept) from error
        return [self._piece(piece, watcher) for piece in self.pieces]

    def _piece(self, piece: Piece, watcher: Watcher) -> str:
        lock = lock_file(self.to, self.dataset.name, piece.name)
        with only_one(
            lock.with_suffix(".lock"),
            lambda: watcher.line(f"{piece.file}: another process is at it; waiting for its end."),
        ):
            pin = read_pin(lock)
            if pin is not None and pin.version != self.dataset.version:
                pin = None  # the files of another version have another hash
            if pin is not None and self.source is None and not lacking(self.to, pin):
                return f"{self.dataset.name}/{piece.name} is complete already: {len(pin.files):,} files."
            return self._get(piece, pin, lock, watcher)

    def _get(self, piece: Piece, pin: Pin | None, lock: Path, watcher: Watcher) -> str:
        file, came = self._file(piece, pin, lock, watcher)
        if piece.single:
            files = {piece.single: came.size}
            _copy(file, lock.with_suffix(".copy"), self.to / self.dataset.name / piece.single)
        else:
            files = self._unpack(piece, file, lock, watcher)
        write_pin(
            lock,
            Pin(
                self.dataset.name,
                self.dataset.version,
                piece.name,
                piece.scenes,
                self.dataset.licence,
                came.url,
                piece.file,
                came.size,
                came.sha256,
                piece.sha256 is not None,
                files,
            ),
        )
        if self.source is None:
            file.unlink(missing_ok=True)
        how = "as published" if piece.sha256 else "as before" if pin else f"pinned in {lock}"
        return f"{self.dataset.name}/{piece.name}: {len(files):,} files; SHA-256 {came.sha256[:12]}… {how}."

    def _file(self, piece: Piece, pin: Pin | None, lock: Path, watcher: Watcher) -> tuple[Path, Fetched]:
        """The file of a piece, checked, and what is known of it."""
        expected = piece.sha256 or (pin.sha256 if pin else None)
        if self.source is not None:
            return self.source, self._own(self.source, piece, expected, lock)
        file = lock.parent / f"{piece.name}-{piece.file}"
        if file.is_file():  # whole and checked by a run that did not get to unpack it
            found = digest(file)
            if expected in (None, found):
                return file, Fetched(piece.urls[0], file.stat().st_size, found)
            file.unlink()
        try:
            came = fetch(
                piece.urls,
                file,
                size=piece.size,
                sha256=expected,
                watcher=watcher,
                patience=self.patience,
                sleep=self.sleep,
            )
        except NfbenchError as error:
            if expected is not None and piece.sha256 is None and "SHA-256" in error.message:
                raise NfbenchError(error.message, f"{error.hint} {_unpin(lock)}") from error
            raise
        return file, came

    def _own(self, source: Path, piece: Piece, expected: str | None, lock: Path) -> Fetched:
        size = source.stat().st_size
        if piece.size not in (None, size):
            raise DataCorrupt(f"{source} has {size} bytes, {piece.file} has {piece.size}.", "Get the file anew.")
        found = digest(source)
        if expected not in (None, found):
            hint = "Get the file anew." if piece.sha256 else f"Get the file anew. {_unpin(lock)}"
            raise DataCorrupt(f"{source}: SHA-256 is {found}, not {expected}.", hint)
        return Fetched("", size, found)

    def _unpack(self, piece: Piece, file: Path, lock: Path, watcher: Watcher) -> dict[str, int]:
        """Path below the dataset's folder to bytes, of all files of the piece, which are in place."""
        work = lock.with_suffix(".unpacking")
        shutil.rmtree(work, ignore_errors=True)
        try:
            out = unpack(
                file, work, progress=lambda done, n: watcher.progress(f"unpack {piece.file}", done, {"files": n})
            )
            for one, other in out.clashes:
                watcher.line(f"{piece.file}: {one} and {other} are one file on a disk that does not tell case.")
            top = _top(piece, out)
            _merge(work / top, self.to / self.dataset.name / piece.into)
        except DataCorrupt as error:
            if self.source is None:
                file.unlink(missing_ok=True)
                raise DataCorrupt(
                    error.message, f"{error.hint} It is deleted: the same command fetches it anew."
                ) from error
            raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        below = f"{piece.into}/" if piece.into else ""
        skip = len(top) + 1 if top else 0
        return {below + p[skip:]: n for p, n in sorted(out.files.items()) if not top or p.startswith(f"{top}/")}


def order(dataset: Dataset, scene: str, to: Path, source: Path | None) -> Order:
    """The order for one scene of a dataset, or for all of it when `scene` is empty.

    Raises:
        NotFound: no such scene, or a file that the dataset does not come in.
        DataMissing: there is no file `source`.
        Unsupported: the dataset must be got by the user; the hint says how.
    """
    if source is None:
        return Order(dataset, dataset.fetched(scene), to)
    if not source.is_file():
        raise DataMissing(f"There is no file {source}.", f"--from takes an archive. {dataset.how()}".strip())
    return Order(dataset, (dataset.own(source.name, scene),), to, source)


def _unpin(lock: Path) -> str:
    return f"The first download is pinned; if this one is right, delete {lock}."


def _top(piece: Piece, out: Unpacked) -> str:
    """The folder of the archive that becomes the piece's: `inside`, or a lone one named like the scene or archive."""
    if piece.inside and any(path.startswith(f"{piece.inside}/") for path in out.files):
        return piece.inside
    tops = {path.split("/")[0] for path in out.files}
    lone = next(iter(tops)) if len(tops) == 1 else ""
    named = {_plain(piece.into), _plain(piece.name), _plain(stem(piece.file))}
    return lone if piece.into and _plain(lone) in named and lone not in out.files else ""


def _plain(name: str) -> str:
    return name.casefold().replace("_", "-")


def _merge(work: Path, target: Path) -> None:
    """Move a folder to its place: by one rename where nothing is there, else file by file beside what is the same.

    Raises:
        NfbenchError: a file is there that is another one; then nothing is moved.
    """
    if not target.exists():
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            work.rename(target)
        except OSError as error:
            raise disk_error(error, target) from error
        return
    moves = [(file, target / file.relative_to(work)) for file in sorted(work.rglob("*")) if file.is_file()]
    for file, there in moves:
        _check_same(file, there)
    for file, there in moves:
        _merge_file(file, there)


def _copy(file: Path, work: Path, target: Path) -> None:
    try:
        shutil.copyfile(file, work)
    except OSError as error:
        raise disk_error(error, work) from error
    _merge_file(work, target)


def _merge_file(file: Path, there: Path) -> None:
    _check_same(file, there)
    try:
        there.parent.mkdir(parents=True, exist_ok=True)
        file.replace(there)
    except OSError as error:
        raise disk_error(error, there) from error


def _check_same(file: Path, there: Path) -> None:
    """Raise NfbenchError when another file is there."""
    if there.is_dir() or (there.exists() and not filecmp.cmp(file, there, shallow=False)):
        raise NfbenchError(
            f"{there} is there and is another file than the dataset's.", "Move it away, or choose another --to."
        )
