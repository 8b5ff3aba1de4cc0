"""What can happen to a file of a dataset: bytes, words, JSON values, arrays and chunks that are not what they were."""

from __future__ import annotations

import copy
import gzip
import io
import json
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Draw = np.random.Generator

MARK = "NFBENCH_FUZZ_MARK"
"""Variable of the environment with a path that unpickling one of the object arrays here would make a folder of."""

WORDS = (
    *(b"nan", b"inf", b"-inf", b"-1", b"0", b"-0", b"1e39", b"1e309", b"1e-320", b"2147483648", b"9223372036854775808"),
    *(b"9" * 400, b"1" * 5000, b"", b"x", b"1,5", b"0x10", b"1_000", b"\xff\xfe", b"\xef\xbb\xbf", b"\xc3\xa4 b"),
    *(b"../../etc/passwd", b"/etc/passwd", b"..", b".", b"con\0trol", b"a" * 3000, b"\xed\xa0\x80", b"#", b"{}", b"[]"),
    *(b"true", b"None", b"\\", b'"', b"\r", b"\n\n", b"\t", b"\xc2\xa0", b"1 2 3 4", b"float64", b"4294967295"),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 0.5, 1e39, 1e308, float("nan"), float("inf"), 2**31, 2**63, -(2**63), 10**400),
    *("", "x", "\0", "..", "../a", "/etc/passwd", "a" * 5000, "\ud800", "nan", "C:\\a", "é", [], {}, [[]], [None], [0]),
    *([float("nan")] * 3, [[1, 2], [3]], {"a": 1}, [1, 2, 3, 4], [[1, 2, 3, 4]] * 4, [[0, 0, 0, 0]] * 4),
)
KINDS = (
    *("<f2", "<f4", "<f8", ">f8", ">f4", "g", "i1", "u1", "<i4", ">i8", "u8", "?", "c16", "U3", "S4", "M8[s]", "m8[s]"),
    *("V8", "O", "structured"),
)
NUMBERS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e39, 1e308, 255.0, 1e-30, 65536.0)


class _Trap:
    """What an object array holds: unpickled, it leaves a mark."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (os.environ.get(MARK, "mark"), 0o777, True)


def mishap(data: bytes, suffix: str, draw: Draw) -> bytes:
    """The bytes of a file after one mishap within its structure, or one to three of its words or bytes."""
    inner = _WITHIN.get(suffix)
    if inner is not None and draw.random() < 0.6:
        return inner(data, draw)
    words = suffix in _TEXTS or draw.random() < 0.3
    for _ in range(draw.integers(1, 4)):
        data = _words(data, draw) if words and draw.random() < 0.7 else _bytes(data, draw)
    return data


def _bytes(data: bytes, draw: Draw) -> bytes:
    size = len(data)
    at = int(draw.integers(0, max(size, 1)))
    if draw.random() < 0.5:  # headers are where damage tells
        at = min(at, int(draw.integers(0, 400)))
    much = int(draw.integers(1, 17))
    match draw.integers(0, 9):
        case 0:
            flipped = bytes([data[at] ^ (1 << int(draw.integers(0, 8)))]) if size else b"\1"
            return data[:at] + flipped + data[at + 1 :]
        case 1:
            return data[:at]
        case 2:
            return data[:at] + draw.bytes(much) + data[at:]
        case 3:
            return data[:at] + b"\xff" * much + data[at + much :]
        case 4:
            return data[:at] + data[at + much :]
        case 5:
            return data[:at] + data[at : at + 20 * much] + data[at:]
        case 6:
            return data[:at] + bytes(much) + data[at + much :]
        case 7:
            return data[:at] + _one(draw, WORDS) + data[at:]
        case _:
            return data[:at] + draw.bytes(much) + data[at + much :]


def _words(data: bytes, draw: Draw) -> bytes:
    """A word of a text, or the text before binary data, replaced; or a line doubled, lost, moved or ended otherwise."""
    head, tail = data[:4000], data[4000:]
    lines = head.split(b"\n")
    at, other = int(draw.integers(len(lines))), int(draw.integers(len(lines)))
    match draw.integers(0, 8):
        case 0:
            lines.insert(at, lines[at])
        case 1:
            del lines[at]
        case 2:
            lines[at], lines[other] = lines[other], lines[at]
        case 3:
            lines.insert(at, b"")
        case 4:
            lines = [line + b"\r" for line in lines]
        case _:
            found = list(re.finditer(rb"[^\s,:\[\]{}]+", head))
            if found:
                word = _one(draw, found)
                return head[: word.start()] + _one(draw, WORDS) + head[word.end() :] + tail
    return b"\n".join(lines) + tail


def _json(data: bytes, draw: Draw) -> bytes:
    """A value somewhere in a JSON text replaced, lost, doubled, or nested."""
    try:
        tree = json.loads(data)
    except ValueError:
        return _bytes(data, draw)
    if draw.random() < 0.03:
        return b"[" * 100_000
    holders = [node for node in _nodes(tree) if node]
    if not holders:
        return json.dumps(_one(draw, VALUES)).encode()
    holder = _one(draw, holders)
    key = _one(draw, list(holder) if isinstance(holder, dict) else range(len(holder)))
    match draw.integers(0, 6):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        case 2:
            other = _one(draw, holders)
            holder[key] = copy.deepcopy(_one(draw, list(other.values()) if isinstance(other, dict) else other))
        case 3:
            holder[key] = [holder[key]]
        case _:
            holder[key] = copy.deepcopy(_one(draw, VALUES))
    return json.dumps(tree).encode()


def _nodes(tree: Any) -> list[Any]:  # noqa: ANN401  # whatever JSON holds
    found, rest = [], [tree]
    while rest:
        node = rest.pop()
        if isinstance(node, dict | list):
            found.append(node)
            rest += list(node.values()) if isinstance(node, dict) else node
    return found


def _gzipped(data: bytes, draw: Draw) -> bytes:
    return gzip.compress(_json(gzip.decompress(data), draw), 1)


def _array(array: Array, draw: Draw) -> Array:
    """An array of another kind, shape, order or with other numbers."""
    match draw.integers(0, 9):
        case 0 | 1:
            return _of_kind(array, str(_one(draw, KINDS)))
        case 2:
            return array.reshape(-1)
        case 3:
            return array[:-1] if array.ndim else array[None]
        case 4:
            return array[None] if draw.random() < 0.5 else array.T
        case 5:
            return np.concatenate([array, array]) if array.ndim else np.array([array, array])
        case 6:
            return array[:0] if array.ndim else np.empty(0, array.dtype)
        case 7:
            return np.full_like(array, 0 if array.dtype.kind not in "fc" else _one(draw, NUMBERS))
        case _:
            if array.dtype.kind not in "fiu" or not array.size:
                return np.zeros(3)
            changed = array.copy()
            if array.dtype.kind in "iu":
                value = _one(draw, (np.iinfo(array.dtype).max, np.iinfo(array.dtype).min, 7))
            else:
                value = _one(draw, NUMBERS)
            with np.errstate(over="ignore"):
                changed.reshape(-1)[draw.integers(array.size)] = value
            return changed


def _of_kind(array: Array, kind: str) -> Array:
    if kind == "O":
        trapped = np.empty(array.shape, object)
        trapped[...] = _Trap()
        return trapped
    if kind == "structured":
        return np.zeros(array.shape, [("x", "<f4"), ("o", "u1")])
    with np.errstate(all="ignore"):
        try:
            return array.astype(kind)
        except (ValueError, TypeError):
            return np.zeros(array.shape, kind)


def _saved(array: Array) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=True)
    return stream.getvalue()


def _npy(data: bytes, draw: Draw) -> bytes:
    if draw.random() < 0.3:  # a header that promises what is not there
        shapes = (b"(2, 3)", b"(1099511627776, 3)", b"(-1, 3)", b"(0, 3)", b"(3,)", b"()", b"(True, 3)", b"'a'")
        shape = _one(draw, shapes)
        return re.sub(rb"\([^)]*\)", lambda _: shape, data, count=1)
    return _saved(_array(np.load(io.BytesIO(data), allow_pickle=False), draw))


def _npz(data: bytes, draw: Draw) -> bytes:
    """A member of an archive changed, lost, renamed, doubled or compressed otherwise."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    at = int(draw.integers(len(members)))
    name, content = members[at]
    how = zipfile.ZIP_STORED if draw.random() < 0.5 else zipfile.ZIP_DEFLATED
    match draw.integers(0, 8):
        case 0:
            del members[at]
        case 1:
            names = ("x.npy", "", "../x.npy", name.upper(), name.removesuffix(".npy"), "é")
            members[at] = (str(_one(draw, names)), content)
        case 2:
            members.append((members[0][0], content))
        case 3:
            how = int(_one(draw, (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)))
        case 4:
            members[at] = (name, _bytes(content, draw))
        case _:
            members[at] = (name, _npy(content, draw))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", how) as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = how
            archive.writestr(info, content)
    return stream.getvalue()


def _hdf5(data: bytes, draw: Draw) -> bytes:
    """A dataset of an HDF5 file changed, lost, made a group or a link."""
    import h5py

    stream = io.BytesIO(data)
    with h5py.File(stream, "r+") as file:
        name = str(_one(draw, sorted(file)))
        array = file[name][()] if isinstance(file[name], h5py.Dataset) else np.zeros(3)
        del file[name]
        match draw.integers(0, 7):
            case 0:
                pass
            case 1:
                file.create_group(name)
            case 2:
                file[name] = h5py.SoftLink(f"/{name}")
            case 3:
                file[name] = h5py.ExternalLink("/etc/passwd", name)
            case 4:
                file.create_dataset(name, shape=(1 << 30, 4096, 3), dtype="u1", chunks=(1, 64, 3))
            case _:
                changed = _array(array, draw)
                wrong = changed.dtype.kind in "OUMmVc" or changed.dtype.char == "g"
                file[name] = [b"text"] if wrong else changed
    return stream.getvalue()


def _mat(data: bytes, draw: Draw) -> bytes:
    """A variable of a MAT file changed, lost or made a structure."""
    from scipy.io import loadmat, savemat

    arrays = {key: value for key, value in loadmat(io.BytesIO(data)).items() if not key.startswith("__")}
    name = str(_one(draw, sorted(arrays)))
    match draw.integers(0, 4):
        case 0:
            del arrays[name]
        case 1:
            arrays[name] = _one(draw, ("text", {"a": 1}, np.array([[1, "a"]], object)))
        case _:
            changed = _array(arrays[name], draw)
            arrays[name] = np.zeros((2, 2)) if changed.dtype.kind in "OVMm" or changed.dtype.char in "eg" else changed
    stream = io.BytesIO()
    savemat(stream, arrays, do_compression=bool(draw.integers(2)))
    return stream.getvalue()


def _png(data: bytes, draw: Draw) -> bytes:
    """A chunk of a PNG changed, lost, doubled or moved, with a sum that fits."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    i = int(draw.integers(len(chunks))) if draw.random() < 0.6 else 0
    kind, body = chunks[i]
    match draw.integers(0, 7):
        case 0:
            del chunks[i]
        case 1:
            chunks.insert(i, chunks[i])
        case 2:
            chunks.append(chunks.pop(0))
        case 3 if kind == b"IDAT":
            chunks[i] = (kind, zlib.compress(_bytes(zlib.decompress(body), draw)))
        case 4:
            other = _one(draw, (b"PLTE", b"tRNS", b"acTL", b"IEND", b"XXXX"))
            chunks.insert(1, (other, draw.bytes(int(draw.integers(20)))))
        case 5 if kind == b"IHDR":
            width, height, depth, colour, how, kept, laced = struct.unpack(">IIBBBBB", body)
            wide = _one(draw, (width, 0, 1, 2**31 - 1, 2**32 - 1, 100_000))
            deep, coloured = _one(draw, (depth, 1, 2, 4, 8, 16, 3)), _one(draw, (colour, 0, 2, 3, 4, 6, 7))
            chunks[i] = (kind, struct.pack(">IIBBBBB", wide, height, deep, coloured, how, kept, 1 - laced))
        case _:
            chunks[i] = (kind, _bytes(body, draw))
    wholes = [struct.pack(">I", len(body)) + kind + body for kind, body in chunks]
    return data[:8] + b"".join(whole + struct.pack(">I", zlib.crc32(whole[4:])) for whole in wholes)


def _glb(data: bytes, draw: Draw) -> bytes:
    """A value in the JSON of a binary glTF replaced."""
    (length,) = struct.unpack_from("<I", data, 12)
    text = _json(data[20 : 20 + length], draw)
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return data[:8] + struct.pack("<II4s", 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


_WITHIN: dict[str, Callable[[bytes, Draw], bytes]] = {
    ".json": _json,
    ".jgz": _gzipped,
    ".npy": _npy,
    ".npz": _npz,
    ".hdf5": _hdf5,
    ".mat": _mat,
    ".png": _png,
    ".glb": _glb,
}
_TEXTS = frozenset({".txt", ".lst", ".xyz", ".obj", ".off", ".log", ".ply", ".stl", ".binvox", ".pfm", ".json"})


def misplace(file: Path, root: Path, draw: Draw) -> Path | None:
    """Do to a file, as a whole, what happens on disks; the path of what it is now, None where it is gone."""
    content = file.read_bytes()
    file.unlink()
    match draw.integers(0, 8):
        case 0:
            return None
        case 1:
            names = (file.name.upper(), file.stem, f" {file.name}", f"é{file.name}", f".{file.name}", "0")
            other = file.with_name(str(_one(draw, names)))
            if not other.exists():
                other.write_bytes(content)
            return other
        case 2:
            file.mkdir()
        case 3:
            os.mkfifo(file)
        case 4:
            file.symlink_to(file.name)  # a circle
        case 5:
            file.symlink_to("/etc/passwd")
        case 6:
            file.write_bytes(b"")
        case _:
            others = sorted(path for path in root.rglob("*") if path.is_file())
            file.write_bytes(_one(draw, others).read_bytes() if others else b"")
    return file


def _one(draw: Draw, choices: Any) -> Any:  # noqa: ANN401
    return choices[int(draw.integers(len(choices)))]
