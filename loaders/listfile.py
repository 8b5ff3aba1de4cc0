"""Text files, lists of names in them, a name a line, and the places that they name in a dataset's folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.wholefile import read_whole

_LONGEST = 255  # bytes of a file's name, on most file systems
_MOST = 1 << 26  # bytes of a text file; the longest list in use, pixelNeRF's, has 0.4 million


def read_text(path: Path, gone: str = "Download the dataset again.") -> str:
    """The text in a file, its byte order mark and Windows line ends taken out; `gone` is the mend where it is missing.

    Raises:
        DataMissing: there is no such file.
        DataCorrupt: it cannot be read, is larger than 64 MiB, or no UTF-8.
    """
    try:
        data = read_whole(path, _MOST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise DataMissing(f"There is no {path}.", gone) from None
    except OSError as error:
        raise DataCorrupt(f"{path} cannot be read: {error.strerror}.", "Check its permissions and the disk.") from None
    if len(data) > _MOST:
        raise DataCorrupt(f"{path} has {path.stat().st_size} bytes: no text of this kind.", "Fetch it again.")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path} is no text: byte {error.start} is not UTF-8.", "Save the file as UTF-8.") from None


def line_list(path: Path, blank: bool = False) -> list[str]:
    """The lines of a file without space around them; blank lines are left out unless `blank`.

    Raises:
        DataMissing, DataCorrupt: as `read_text`, or a line that leads to another folder.
    """
    lines = [line.strip() for line in read_text(path).split("\n")]
    for number, line in enumerate(lines, 1):
        if line in (".", "..") or set(line) & {"/", "\\", "\0"}:
            raise DataCorrupt(f"{path}: line {number} is no name: {line!r}.", "Mend or remove the line.")
    return lines if blank else [line for line in lines if line]


def read_list(path: Path) -> list[str]:
    """The names in a text file, in its order; blank lines, spaces around names and Windows line ends are dropped.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no text, a name that comes twice, or one that leads out of the folder.
    """
    lines = read_text(path, "Fetch the dataset again; its splits are never made anew.").splitlines()
    names = [line.strip() for line in lines if line.strip()]
    seen: set[str] = set()
    for name in names:
        check_name(name, path)
        if name in seen:
            raise DataCorrupt(f"{path} names {name!r} twice.", "Leave one of the two.")
        seen.add(name)
    return names


def check_name(name: str, path: Path) -> None:
    """Make sure that a name, as `path` gives it, stays in the folder that it is looked up in.

    Raises:
        DataCorrupt: it does not.
    """
    parts = PurePosixPath(name.replace("\\", "/"))
    strange = ":" in name or not name.isprintable()  # a colon names a drive on Windows
    too_long = any(len(part.encode(errors="replace")) > _LONGEST for part in parts.parts)
    if strange or too_long or not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise DataCorrupt(f"{path} names {name!r}, which is no place in the dataset.", "Name folders below its own.")


def within(root: Path, path: Path) -> bool:
    """Whether a path is below `root` after all links are followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):  # links in a circle, a name with a zero byte
        return False


def place(root: Path, name: str, source: Path) -> Path:
    """The path called `name` below `root`, as the list `source` names it.

    Raises:
        DataMissing: there is nothing of that name.
        DataCorrupt: it is a link that leads out of the folder.
    """
    check_name(name, source)
    path = root / name
    if not path.exists():
        raise DataMissing(f"{source} names {name!r}; there is no {path}.", "Fetch the dataset again.")
    if not within(root, path):
        raise DataCorrupt(f"{path} is a link that leads out of {root}.", "Put what it names in its place.")
    return path
