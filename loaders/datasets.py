"""The datasets that have names: what they hold, under which licence, who is to be cited and where each is got.

The facts are in `datasets.toml`, one table a dataset. What is fetched as one file is a Piece.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from nfbench.harness.errors import NfbenchError, NotFound, Unsupported, did_you_mean
from nfbench.harness.registry import DatasetSpec

_TARGET = "nfbench.loaders.datasets:dataset"


@dataclass(frozen=True)
class Piece:
    """What is fetched as one file.

    Attributes:
        name: of the piece in its dataset, `lego`; its lock file bears it.
        file: what the file is called, `lego.zip`.
        urls: its mirrors, best first; none where the user gets the file himself.
        scenes: which scenes of the dataset it holds; none where that is not known.
        into: the folder below the dataset's that the archive is unpacked to.
        inside: the folder of the archive that is taken, where it is there.
        single: where a file that is no archive goes, below the dataset's folder.
        size: bytes, where published.
        sha256: hexadecimal, where published.
        get: how the user gets the file.
        several: the piece stands for any number of archives, each of which becomes a piece by its file's name.
    """

    name: str
    file: str
    urls: tuple[str, ...] = ()
    scenes: tuple[str, ...] = ()
    into: str = ""
    inside: str = ""
    single: str = ""
    size: int | None = None
    sha256: str | None = None
    get: str = ""
    several: bool = False


@dataclass(frozen=True)
class Dataset:
    """A dataset that has a name, and the pieces it comes in."""

    name: str
    title: str
    summary: str
    version: str
    format: str
    splits: str
    licence: str
    citation: str
    page: str
    scenes: tuple[str, ...]
    pieces: tuple[Piece, ...]

    @property
    def open(self) -> bool:
        """Whether it can be fetched without the user's own archive."""
        return any(piece.urls for piece in self.pieces)

    def fetched(self, scene: str = "") -> tuple[Piece, ...]:
        """The pieces to fetch for one scene, or for all of them.

        Raises:
            NotFound: no such scene.
            Unsupported: none can be fetched; the hint says how to get them.
        """
        self.check_scene(scene)
        chosen = tuple(p for p in self.pieces if p.urls and (not scene or scene in p.scenes))
        if not chosen:
            hint = f"{self.how()}\n  Its licence: {self.licence}\n  {self._by_from()}"
            raise Unsupported(f"{self.name} cannot be fetched by a program.", hint)
        return chosen

    def own(self, file: str, scene: str = "") -> Piece:
        """The piece that an archive of the user's own is, told by the scene named or by the name of the file.

        Raises:
            NotFound: no such scene, or a file that none of the pieces is called.
        """
        self.check_scene(scene)
        held = [p for p in self.pieces if not scene or scene in p.scenes]
        named = [p for p in held if stem(p.file).casefold() == stem(file).casefold()]
        alone = held[:1] if scene or len(held) == 1 else []
        if chosen := (named or alone):
            return replace(chosen[0], file=file, name=stem(file) if chosen[0].several else chosen[0].name)
        files = sorted(p.file for p in self.pieces)
        raise NotFound(
            f"{file} is none of the files that {self.name} comes in.", did_you_mean(file, files, "files") + self._or()
        )

    def check_scene(self, scene: str) -> None:
        """Raise NotFound for a scene that the dataset does not have."""
        if scene and scene not in self.scenes:
            known = did_you_mean(scene, self.scenes, "scenes") if self.scenes else "It is fetched as a whole."
            raise NotFound(f"{self.name} has no scene {scene!r}.", known)

    def how(self) -> str:
        """How the user gets the pieces that cannot be fetched, and from which page."""
        ways = [f"{p.file}: {p.get}" for p in self.pieces if not p.urls]
        return f"Get it from {self.page}: {'; '.join(ways)}."

    def terms(self) -> str:
        """What one agrees to and whom one cites, in lines."""
        return "\n".join(
            [
                f"{self.title}, version {self.version}",
                f"  licence   {self.licence}",
                f"  cite      {self.citation}",
                f"  page      {self.page}",
            ]
        )

    def _by_from(self) -> str:
        return f"Then: nfbench download {self.name} --from FILE"

    def _or(self) -> str:
        return f" Or name a scene: nfbench download {self.name}/SCENE --from FILE" if self.scenes else ""


def stem(file: str) -> str:
    """The name of an archive without what tells its kind.

    >>> stem("cars_train.tar.gz"), stem("dataset_small_v1.1.zip"), stem("Points")
    ('cars_train', 'dataset_small_v1.1', 'Points')
    """
    for end in (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip", ".tsv"):
        if file.lower().endswith(end) and len(file) > len(end):
            return file[: -len(end)]
    return file


def dataset(name: str) -> Dataset:
    """The built-in dataset called `name`.

    Raises:
        NotFound: there is none.
    """
    table = _tables()
    if name not in table:
        raise NotFound(f"There is no dataset {name!r}.", did_you_mean(name, table, "datasets"))
    return read_dataset(name, table[name])


def dataset_specs() -> tuple[DatasetSpec, ...]:
    """The built-in datasets for the registry."""
    found = (dataset(name) for name in _tables())
    return tuple(
        DatasetSpec(
            d.name,
            _TARGET,
            d.summary,
            d.licence,
            d.version,
            d.format,
            d.scenes,
            "open" if d.open else "own archive",
            d.splits,
            d.citation,
            d.page,
        )
        for d in found
    )


def read_dataset(name: str, table: Mapping[str, Any]) -> Dataset:
    """The dataset that a table of `datasets.toml` describes.

    Raises:
        NfbenchError: an unknown key, two pieces of one name, or a piece that can neither be fetched nor got.
    """
    scenes = tuple(table.get("scenes", ()))
    facts = {key: value for key, value in table.items() if key not in ("pieces", "scenes")}
    try:
        pieces = tuple(piece for row in table["pieces"] for piece in _pieces(row, scenes))
        found = Dataset(name=name, scenes=scenes, pieces=pieces, **facts)
    except TypeError as error:
        raise NfbenchError(f"{name} in datasets.toml: {error}") from error
    names = sorted(piece.name for piece in pieces)
    if len(set(names)) < len(names):
        raise NfbenchError(f"{name} has two pieces of one name: {', '.join(names)}.")
    for piece in pieces:
        if not piece.urls and not piece.get:
            raise NfbenchError(f"{name}: nothing says how {piece.name} is got.", "Give it urls, or get.")
    return found


def _pieces(row: Mapping[str, Any], scenes: tuple[str, ...]) -> Iterator[Piece]:
    """The pieces of one row: one, or one a scene where its addresses say {scene}."""
    urls = tuple(row.get("urls", ()))
    given = tuple(row.get("scenes", scenes))
    rest = {key: value for key, value in row.items() if key not in ("name", "file", "urls", "scenes", "into")}
    each = [(s,) for s in given] if any("{scene}" in url for url in urls) else [given]
    for held in each:
        alone = held[0] if len(held) == 1 else ""
        mirrors = tuple(url.replace("{scene}", alone) for url in urls)
        name = row.get("name", alone)
        file = row.get("file") or (_file_name(mirrors[0]) if mirrors else f"{name}.zip")
        yield Piece(name, file, mirrors, held, row.get("into", alone), **rest)


def _file_name(url: str) -> str:
    return unquote(PurePosixPath(urlsplit(url).path).name)


@functools.cache
def _tables() -> dict[str, dict[str, Any]]:
    return tomllib.loads((Path(__file__).parent / "datasets.toml").read_text(encoding="utf-8"))
