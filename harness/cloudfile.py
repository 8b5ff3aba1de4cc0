"""Point-cloud files: PLY, XYZ and NPY read with every count checked before memory is taken."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.plyfile import Element, read_header
from nfbench.harness.scene import Points

FORMATS = (".ply", ".xyz", ".npy")

_PLACE, _NORMAL = ("x", "y", "z"), ("nx", "ny", "nz")
_UNIT = 1e-2  # by how much the length of a normal written with few digits may differ from 1


def read_cloud(path: Path) -> Points:
    """The Points in a PLY (ASCII or binary), XYZ or NPY file, with normals where it has them; there may be none.

    PLY: the properties x y z, and nx ny nz, of the element `vertex`; faces and colours are left aside. XYZ: lines of
    three numbers, or of six with a unit normal; `#` starts a comment. NPY: an (N,3) or (N,6) array, likewise.

    Raises:
        DataMissing: no such file.
        DataCorrupt: empty, truncated, of another format than its name, or with values that are not finite.
        Unsupported: another ending, or a PLY that has lists before or among its vertices.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise Unsupported(f"{path}: point clouds are not read from {kind!r} files.", f"Convert it to one of {FORMATS}.")
    if not path.is_file():
        raise DataMissing(f"There is no point cloud {path}.", "Check the path.")
    if not path.stat().st_size:
        raise DataCorrupt(f"{path} is empty: 0 bytes.", "Write or fetch it again.")
    if kind == ".ply":
        columns = _read_ply(path)
    else:
        columns = _read_npy(path) if kind == ".npy" else _read_text(path)
        _check_columns(path, columns)
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold is found to be infinite
            return Points(columns[:, :3], columns[:, 3:6] if columns.shape[1] == 6 else None)
    except DataCorrupt as error:
        raise DataCorrupt(f"{path}: {error.message}", "Mend the cloud, or write it again.") from error


def _read_ply(path: Path) -> NDArray[np.floating]:
    """(N,3) or (N,6) places, and normals, of the vertices in a PLY file."""
    header = read_header(path)
    at = next((at for at, element in enumerate(header.elements) if element.name == "vertex"), len(header.elements))
    before, vertices = header.elements[:at], header.elements[at : at + 1]
    names = [entry.name for element in vertices for entry in element.properties]
    if not set(_PLACE) <= set(names):
        raise DataCorrupt(f"{path} has no vertices with x, y and z.", "A point cloud is needed.")
    if _has_lists(vertices) or (header.form != "ascii" and _has_lists(before)):
        raise Unsupported(f"{path} has lists before or among its vertices.", "Write it with plain vertices first.")
    wanted = _PLACE + (_NORMAL if set(_NORMAL) <= set(names) else ())
    count, offset = vertices[0].count, header.body
    if header.form == "ascii":
        _check_room(path, count, 2 * len(names), path.stat().st_size - offset + 1)
        lines = sum(element.count for element in before)
        return _ply_text(path, count, offset, lines, [names.index(name) for name in wanted])
    offset += sum(element.count * element.dtype(header.order).itemsize for element in before)
    rows = vertices[0].dtype(header.order)
    _check_room(path, count, rows.itemsize, path.stat().st_size - offset)
    if not count:
        return np.empty((0, len(wanted)))
    table = np.memmap(path, rows, "r", offset, (count,))
    columns = np.empty((count, len(wanted)), np.float32)
    with np.errstate(over="ignore"):
        for to, name in enumerate(wanted):
            columns[:, to] = table[name]
    return columns


def _has_lists(elements: list[Element]) -> bool:
    return any(entry.length is not None for element in elements for entry in element.properties)


def _ply_text(path: Path, count: int, offset: int, lines: int, wanted: list[int]) -> NDArray[np.floating]:
    """(N,C) the `wanted` columns of the vertices in a text body, `lines` of other elements being before them."""
    if not count:
        return np.empty((0, len(wanted)))
    with path.open("rb") as file:
        file.seek(offset)
        for _ in range(lines):
            file.readline()
        try:
            with warnings.catch_warnings(action="ignore"):  # about empty lines, which the count below tells of
                columns = np.loadtxt(file, comments=None, usecols=wanted, max_rows=count, ndmin=2)
        except ValueError as error:
            raise DataCorrupt(f"{path}: a vertex cannot be read: {error}", "Write it again.") from error
    if len(columns) != count:
        raise DataCorrupt(
            f"{path} declares {count} vertices and has {len(columns)}.", "It is truncated: write it again."
        )
    return columns


def _check_room(path: Path, count: int, each: int, there: int) -> None:
    if count * each > there:
        raise DataCorrupt(
            f"{path} declares {count} vertices, at least {count * each} bytes, and has {max(there, 0)}.",
            "It is truncated: write it again.",
        )


def _read_text(path: Path) -> NDArray[np.floating]:
    try:
        with warnings.catch_warnings(action="ignore"):  # about no lines at all, which the shape tells of
            return np.loadtxt(path, ndmin=2)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataCorrupt(f"{path} cannot be read as XYZ: {error}", "Give lines of three or of six numbers.") from error


def _read_npy(path: Path) -> NDArray[np.floating]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of headers that Python 2 wrote
            array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: the header may declare what is not there
    except Exception as error:  # numpy lets whatever a damaged header provokes through
        raise DataCorrupt(
            f"{path} cannot be read as NPY: {error}", "It is truncated, or no array of numbers."
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise DataCorrupt(f"{path} holds no array of numbers.", "Write an (N,3) or (N,6) array with numpy.save.")
    return array


def _check_columns(path: Path, columns: NDArray[np.floating]) -> None:
    if columns.ndim != 2 or columns.shape[1] not in (3, 6) or (path.suffix.lower() == ".xyz" and not len(columns)):
        raise DataCorrupt(f"{path} holds an array of shape {columns.shape}, not (N, 3) or (N, 6).", "Write it again.")
    if columns.shape[1] == 6:
        off = np.abs(np.linalg.norm(np.asarray(columns[:, 3:], np.float64), axis=1) - 1)
        if not (off <= _UNIT).all():
            row = int(np.argmin(off <= _UNIT))
            raise DataCorrupt(
                f"{path}: columns 4 to 6 are no unit normal in row {row}: {columns[row, 3:].tolist()}.",
                "Give unit normals, or leave out the columns (colours, for one).",
            )
