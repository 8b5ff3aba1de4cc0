"""PLY: the vertices and polygons of a file, ASCII or binary of either byte order, every count checked first."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt
from nfbench.harness.polygon import fan

Rows = dict[str, NDArray[Any]]
"""Property to its values (N,); of a list, all values one after the other, and the lengths (N,) as `#name`."""

_HEADER = 1 << 16  # bytes in which a header has to end
_DIGITS = 18  # of a count that int64 holds for sure
_ORDERS = {"ascii": "=", "binary_little_endian": "<", "binary_big_endian": ">"}
_TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "i2"),
    **dict.fromkeys(("ushort", "uint16"), "u2"),
    **dict.fromkeys(("int", "int32"), "i4"),
    **dict.fromkeys(("uint", "uint32"), "u4"),
    **dict.fromkeys(("float", "float32"), "f4"),
    **dict.fromkeys(("double", "float64"), "f8"),
}
_PLACE = ("x", "y", "z")
_CORNERS = ("vertex_indices", "vertex_index")
_AGAIN = "It is truncated or damaged: write it again."


@dataclass(frozen=True)
class Property:
    """One property: the numpy type of its values and, where it is a list, of its length."""

    name: str
    kind: str
    length: str | None = None


@dataclass(frozen=True)
class Element:
    """One element of a header: how many rows it has, and of which properties."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)

    def dtype(self, order: str) -> np.dtype[np.void]:
        """The rows of an element without lists, in a byte order, `<` or `>`."""
        return np.dtype([(entry.name, order + entry.kind) for entry in self.properties])


@dataclass(frozen=True)
class Header:
    """A PLY header: `ascii`, `binary_little_endian` or `binary_big_endian`, the elements, and where the body starts."""

    form: str
    elements: list[Element]
    body: int

    @property
    def order(self) -> str:
        """The byte order as numpy writes it; of text, that of the machine."""
        return _ORDERS[self.form]

    def count(self, name: str) -> int | None:
        """The rows of an element; None where there is no such element."""
        return next((element.count for element in self.elements if element.name == name), None)


def read_header(path: Path) -> Header:
    """The header of a PLY file.

    Raises:
        DataCorrupt: no PLY file, or a header that does not end or has an impossible line; it names the file.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER)
    if not start.startswith((b"ply\n", b"ply\r", b"ply ")):
        raise DataCorrupt(f"{path} is not a PLY file: it does not start with 'ply'.", "Check its name.")
    at = start.find(b"\nend_header")
    line_end = start.find(b"\n", at + 1)
    if at < 0 or line_end < 0:
        raise DataCorrupt(f"{path}: the PLY header does not end.", _AGAIN)
    form, elements = "", list[Element]()
    for line in start[:at].decode("latin-1").splitlines():
        words = line.split()
        match words:
            case ["format", name, _]:
                form = name
            case ["element" | "property" | "format", *_]:
                if not _take(words, elements):
                    raise DataCorrupt(f"{path}: the PLY header has the line {line!r}.", _AGAIN)
    if form not in _ORDERS:
        raise DataCorrupt(f"{path}: the PLY header has the format {form!r}.", f"Formats: {', '.join(_ORDERS)}.")
    return Header(form, elements, line_end + 1)


def read_ply(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (V,3) and triangles (F,3) of a PLY file in its order, polygons cut into fans, none merged.

    Raises:
        DataCorrupt: no PLY mesh, or shorter than it declares; a point cloud is called one. It names the file.
    """
    header = read_header(path)
    vertices, faces = header.count("vertex"), header.count("face")
    if vertices is None or faces is None:
        if header.count("tristrips") is not None:
            raise DataCorrupt(f"{path} holds strips of triangles and no faces.", "Write its strips as triangles.")
        if vertices:
            raise DataCorrupt(f"{path} is a point cloud: {vertices} vertices and no faces.", "A mesh is needed.")
        if vertices == 0:
            raise DataCorrupt(f"{path} is empty: it declares 0 points, and no faces.", "Write it with its points.")
        raise DataCorrupt(f"{path} holds {[e.name for e in header.elements]}, no vertices and faces.", _AGAIN)
    body = path.read_bytes()[header.body :]
    _check_room(path, header, len(body))
    elements = header.elements
    if header.form == "ascii":
        body, elements = _numbers(path, body), [_as_numbers(element) for element in elements]
    reader = _Body(path, body, header.order)
    rows = {element.name: reader.rows(element) for element in elements}
    places = _places(path, rows["vertex"])
    return places, _triangles(path, rows["face"], len(places))


def _take(words: list[str], elements: list[Element]) -> bool:
    """Whether a line of a header is sound; what it declares is added to the elements."""
    match words:
        case ["element", name, count] if count.isascii() and count.isdigit() and len(count) <= _DIGITS:
            sound = all(element.name != name for element in elements)
            elements.append(Element(name, int(count)))
            return sound
        case ["property", kind, name]:
            entry = Property(name, _TYPES.get(kind, ""))
        case ["property", "list", length, kind, name]:
            entry = Property(name, _TYPES.get(kind, ""), _TYPES.get(length, ""))
        case _:
            return False
    if not elements or not entry.kind or entry.length == "" or entry.name.startswith("#"):
        return False
    known = {known.name for known in elements[-1].properties}
    elements[-1].properties.append(entry)
    return entry.name not in known


def _check_room(path: Path, header: Header, there: int) -> None:
    """Refuse counts that the file is too short for, before anything is allocated for them."""
    text = header.form == "ascii"
    needed = 0
    for element in header.elements:
        sizes = [2 if text else np.dtype(p.length or p.kind).itemsize for p in element.properties]
        needed += element.count * sum(sizes)  # in text a digit and a space for each number, but for the last
    if needed > there + text:
        declared = " and ".join(f"{element.count} {element.name} rows" for element in header.elements)
        raise DataCorrupt(f"{path} declares {declared}, at least {needed} bytes, and has {there}.", _AGAIN)


def _numbers(path: Path, text: bytes) -> bytes:
    """The numbers of a text body as the bytes of float64, which hold every index exactly."""
    try:
        return np.array(text.split(), np.float64).tobytes()
    except ValueError as error:
        raise DataCorrupt(f"{path}: a number cannot be read: {error}.", _AGAIN) from error


def _as_numbers(element: Element) -> Element:
    properties = [Property(entry.name, "f8", entry.length and "f8") for entry in element.properties]
    return Element(element.name, element.count, properties)


def _places(path: Path, rows: Rows) -> NDArray[np.float64]:
    if any(name not in rows or f"#{name}" in rows for name in _PLACE):
        raise DataCorrupt(f"{path} has no vertices with x, y and z.", _AGAIN)
    return np.stack([rows[name].astype(np.float64) for name in _PLACE], axis=1)


def _triangles(path: Path, rows: Rows, count: int) -> NDArray[np.int64]:
    lists = [name[1:] for name in rows if name.startswith("#")]
    name = next((known for known in _CORNERS if known in lists), lists[0] if len(lists) == 1 else None)
    if name is None:
        raise DataCorrupt(f"{path} has faces without vertex_indices.", _AGAIN)
    corners, sizes = rows[name], rows[f"#{name}"].astype(np.int64)
    if len(sizes) and sizes.min() < 3:
        raise DataCorrupt(f"{path}: face {int(np.argmin(sizes))} has {sizes.min()} corners.", _AGAIN)
    wrong = np.flatnonzero(~((corners >= 0) & (corners < count) & (corners % 1 == 0)))  # NaN is wrong too
    if len(wrong):
        face = int(np.searchsorted(np.cumsum(sizes), wrong[0], "right"))
        raise DataCorrupt(f"{path}: face {face} names vertex {corners[wrong[0]]:g}; there are {count}.", _AGAIN)
    return fan(sizes, corners.astype(np.int64))


class _Body:
    """A body of binary rows, read from the front."""

    def __init__(self, path: Path, body: bytes, order: str) -> None:
        self.path, self.body, self.order, self.at = path, body, order, 0

    def rows(self, element: Element) -> Rows:
        """The next rows, those of `element`: at once where its lists are all as long as in its first row."""
        if not element.count or not element.properties:
            return {n: np.empty(0) for p in element.properties for n in (p.name, f"#{p.name}")[: 2 if p.length else 1]}
        lengths = dict(zip(element.properties, self._lengths(element.properties), strict=True))
        table_type = np.dtype([part for entry in element.properties for part in self._parts(entry, lengths[entry])])
        if self.at + element.count * table_type.itemsize <= len(self.body):
            table = np.frombuffer(self.body, table_type, element.count, self.at)
            if all((table[f"#{entry.name}"] == n).all() for entry, n in lengths.items() if entry.length):
                self.at += element.count * table_type.itemsize
                return {name: table[name].reshape(-1) for name in table_type.names or ()}
        return self._walk(element)

    def _parts(self, entry: Property, length: int) -> list[tuple[str, str, tuple[int, ...]]]:
        values = (entry.name, self.order + entry.kind)
        if entry.length is None:
            return [(*values, ())]
        return [(f"#{entry.name}", self.order + entry.length, ()), (*values, (length,))]

    def _walk(self, element: Element) -> Rows:
        """Rows of lists of different lengths, one at a time."""
        found: dict[str, list[NDArray[Any]]] = {p.name: [] for p in element.properties}
        counts: dict[str, list[int]] = {f"#{p.name}": [] for p in element.properties if p.length}
        for _ in range(element.count):
            for entry, length in zip(element.properties, self._lengths(element.properties), strict=True):
                if entry.length:
                    self.at += np.dtype(entry.length).itemsize
                    counts[f"#{entry.name}"].append(length)
                found[entry.name].append(np.frombuffer(self.body, self.order + entry.kind, length, self.at))
                self.at += length * np.dtype(entry.kind).itemsize
        rows: Rows = {name: np.concatenate(values) for name, values in found.items()}
        return rows | {name: np.array(lengths, np.int64) for name, lengths in counts.items()}

    def _lengths(self, properties: list[Property]) -> list[int]:
        """How many values each property has in the next row, all of which lie within the body."""
        at, found = self.at, []
        for entry in properties:
            length = 1
            if entry.length is not None:
                length = self._length(entry.length, at)
                at += np.dtype(entry.length).itemsize
            at += length * np.dtype(entry.kind).itemsize
            if length < 0 or at > len(self.body):
                raise DataCorrupt(f"{self.path} ends within its rows, or a list of {length} is none.", _AGAIN)
            found.append(length)
        return found

    def _length(self, kind: str, at: int) -> int:
        """The length of a list, which stands before it; -1 where it is no whole number or beyond the end."""
        if at + np.dtype(kind).itemsize > len(self.body):
            return -1
        number = float(np.frombuffer(self.body, self.order + kind, 1, at)[0])
        return int(number) if number.is_integer() else -1
