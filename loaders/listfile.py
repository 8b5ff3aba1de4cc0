"""Lists of scenes, a name a line, and the places that they name in a dataset's folder."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from nfbench.harness.errors import DataCorrupt, DataMissing

_LONGEST = 255  # bytes of a file's name, on most file systems
_MOST = 1 << 26  # bytes of a list; those of ShapeNet have some ten thousand


def read_list(path: Path) -> list[str]:
    """The names in a text file, in its order; blank lines, spaces around names and Windows line ends are dropped.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no text, a name that comes twice, or one that leads out of the folder.
    """
    if not path.is_file():
        raise DataMissing(f"There is no list {path}.", "Fetch the dataset again; its splits are never made anew.")
    try:
        if path.stat().st_size > _MOST:
            raise DataCorrupt(f"{path} has {path.stat().st_size} bytes: no list of names.", "Fetch it again.")
        lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        raise DataMissing(f"{path} cannot be opened: {error.strerror}.", "Check its permissions.") from error
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path} is no text: {error}", "Fetch it again.") from error
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
    too_long = any(len(part.encode()) > _LONGEST for part in parts.parts)
    if strange or too_long or not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise DataCorrupt(f"{path} names {name!r}, which is no place in the dataset.", "Name folders below its own.")


def within(root: Path, path: Path) -> bool:
    """Whether a path is below `root` after all links are followed."""
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links in a circle
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
