"""JSON that may be compressed by gzip, and the large lists of records that CO3D keeps in such files.

A list is gone through once, and its records are kept as compressed text by sequence: the annotations of a category
would take gigabytes as Python objects, and a scene needs some two hundred of its hundred thousand frames.
"""

from __future__ import annotations

import functools
import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

from isal import igzip, isal_zlib

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.wholefile import read_whole

MOST = 1 << 31  # bytes of JSON; the largest annotations of CO3D v2 have some hundred million

_PART = 1 << 20  # bytes that are read at a time
_AGAIN = "Download the file again."
_SPACE = " \t\r\n"


def read_json(path: Path) -> Any:  # noqa: ANN401  # whatever JSON holds
    """What a file of JSON, or of JSON compressed by gzip where it is called .jgz or .gz, holds.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it cannot be read, is damaged, cut short, larger than `MOST`, or no JSON.
    """
    try:
        return json.loads(_text(path))
    except (ValueError, RecursionError) as error:  # numbers of too many digits are ValueErrors as well
        raise DataCorrupt(f"{path}: no JSON: {error}.", _AGAIN) from None


def write_json(path: Path, data: Any) -> None:  # noqa: ANN401  # whatever JSON can hold
    """Write `data` as `read_json` reads it, whole or not at all; the folder is made when it is not there."""
    text = json.dumps(data).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_bytes(gzip.compress(text, mtime=0) if _zipped(path) else text)


def records(path: Path, key: str, value: str) -> list[dict[str, Any]]:
    """The objects, of a list of objects, whose `key` is `value`, in the order of the file.

    The file is parsed once for all values, until it changes.

    Raises as `read_json` does, and DataCorrupt where the file is no list of objects that have `key`.
    """
    try:
        there = path.stat()
    except OSError:
        raise DataMissing(f"There is no {path}.", "Download the dataset again.") from None
    packed = _by_value(path, key, there.st_mtime_ns, there.st_size).get(value)
    if packed is None:
        return []
    found: list[dict[str, Any]] = json.loads(isal_zlib.decompress(packed))
    return found


@functools.lru_cache(maxsize=2)
def _by_value(path: Path, key: str, changed: int, size: int) -> dict[str, bytes]:
    """The text of all objects of the list, as compressed lists by the value of `key`."""
    text = _text(path)
    decoder = json.JSONDecoder()
    groups: dict[str, list[str]] = {}
    at = _skip(text, 0)
    if text[at : at + 1] != "[":
        raise DataCorrupt(f"{path} holds no list.", _AGAIN)
    at = _skip(text, at + 1)
    count = 0
    while text[at : at + 1] != "]":
        try:
            item, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise DataCorrupt(f"{path}: entry {count}: no JSON: {error}.", _AGAIN) from None
        if not isinstance(item, dict) or not isinstance(item.get(key), str):
            raise DataCorrupt(f"{path}: entry {count} has no {key}.", _AGAIN)
        groups.setdefault(item[key], []).append(text[at:end])
        count += 1
        at = _skip(text, end)
        if text[at : at + 1] == ",":
            at = _skip(text, at + 1)
        elif text[at : at + 1] != "]":
            raise DataCorrupt(f"{path}: entry {count} is not parted from the one before it.", _AGAIN)
    return {value: isal_zlib.compress(f"[{','.join(parts)}]".encode(), 1) for value, parts in groups.items()}


def _skip(text: str, at: int) -> int:
    """The place of the first character from `at` on that is no space."""
    while text[at : at + 1] and text[at] in _SPACE:
        at += 1
    return at


def _zipped(path: Path) -> bool:
    return path.suffix in (".jgz", ".gz")


def _text(path: Path) -> str:
    try:
        stored = io.BytesIO(read_whole(path))
        with igzip.IGzipFile(fileobj=stored) if _zipped(path) else stored as file:  # type: ignore[no-untyped-call]
            data = bytearray()
            while part := file.read(_PART):  # asked for at once, room would be made for `MOST`
                data += part
                if len(data) > MOST:
                    raise DataCorrupt(f"{path} holds more than {MOST} bytes.", _AGAIN)
        return data.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataMissing(f"There is no {path}.", "Download the dataset again.") from None
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path}: byte {error.start} is not UTF-8.", _AGAIN) from None
    except (OSError, EOFError, zlib.error, isal_zlib.error) as error:  # type: ignore[misc]  # its stub calls it an instance
        raise DataCorrupt(f"{path} cannot be read: {error}.", _AGAIN) from None
