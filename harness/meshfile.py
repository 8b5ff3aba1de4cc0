"""Mesh files of any format that trimesh reads, every count checked before memory is taken; PLY written."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.objfile import read_obj
from nfbench.harness.plyfile import read_header, read_ply
from nfbench.harness.scene import Mesh
from nfbench.harness.scenefile import read_scene
from nfbench.harness.wholefile import read_whole

FORMATS = (".ply", ".obj", ".off", ".stl", ".glb", ".gltf")
"""Those that are always read; `read_mesh` takes others where trimesh has what it needs for them."""

CLOUDS = (".npy", ".xyz")

_FAR = 1e18  # the square of a distance twice as long is still a float32
_START = 1 << 16  # bytes looked at before a file is parsed
_DIGITS = 18  # of a count; Python converts no more than some thousand
_NEEDS = {".3mf": "lxml", ".xaml": "lxml", ".3dxml": "lxml", ".dae": "pycollada", ".zae": "pycollada"}
_MARKS = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF file",
    b"<!DOCTYPE html": "an HTML page",
    b"<html": "an HTML page",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b": "a gzip file",
    b"Kaydara FBX": "an FBX file",
    b"ply\n": ".ply",
    b"ply\r": ".ply",
    b"glTF": ".glb",
    b"OFF\n": ".off",
    b"OFF\r": ".off",
}
_NAMES = {".ply": "a PLY file", ".glb": "a GLB file", ".off": "an OFF file"}
_POINTER = b"version https://git-lfs"


def read_mesh(path: Path) -> Mesh:
    """The mesh in a file: PLY, OBJ, OFF, STL, GLB, glTF and what else trimesh reads here, such as 3MF with lxml.

    Vertices and faces are in the order of the file, none merged; polygons become fans of triangles. The meshes of a
    scene become one, each where its nodes put it. A PLY with a face element of no faces is an empty mesh.

    Raises:
        DataMissing: no such file, or none that may be read.
        DataCorrupt: empty, truncated, of another format than its name, a point cloud, without faces or area, or with
            values that are not finite or too large for float32 to square; counts that the file is too small for are
            refused before anything is allocated.
        Unsupported: a format that is not read here, or geometry that is compressed.
    """
    kind = path.suffix.lower()
    _check_kind(path, kind)
    start = _start(path)
    _check_start(path, kind, start)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # trimesh's and numpy's, about files that are refused below
            vertices, faces = _read(path, kind, start)
    except (NfbenchError, KeyboardInterrupt):
        raise
    except PermissionError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # readers let whatever a damaged file provokes through
        raise DataCorrupt(
            f"{path} cannot be read as {kind[1:].upper()}: {type(error).__name__}: {error}",
            "It is truncated, damaged or of another format than its name.",
        ) from error
    return _checked(path, vertices, faces, kind)


def is_cloud(path: Path) -> bool:
    """Whether a file is a point cloud by its ending, or a PLY with vertices and without faces by its header.

    Raises:
        DataMissing: a PLY file that is not there or may not be read.
        DataCorrupt: a file named PLY that has no such header.
    """
    kind = path.suffix.lower()
    if kind != ".ply":
        return kind in CLOUDS
    _check_start(path, kind, _start(path))
    header = read_header(path)
    return bool(header.count("vertex")) and not header.count("face") and not header.count("tristrips")


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write the mesh as binary PLY, in double precision, which reading gives back unchanged; whole or not at all."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty double x\nproperty double y\nproperty double z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.faces), [("corners", "u1"), ("index", "<i4", (3,))])
    faces["corners"] = 3
    faces["index"] = mesh.faces
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(mesh.vertices.astype("<f8", copy=False).tobytes())
        file.write(faces.tobytes())


def _check_kind(path: Path, kind: str) -> None:
    if kind in FORMATS:
        return
    if kind in CLOUDS:
        raise DataCorrupt(f"{path} is a point cloud, by its ending.", "A mesh is needed, not points.")
    from trimesh.exchange.load import mesh_formats

    read = sorted({*FORMATS, *(f".{name}" for name in mesh_formats())} - {*CLOUDS, ".stl_ascii"})
    if kind not in read:
        also = f" Reading it needs the package {_NEEDS[kind]}." if kind in _NEEDS else ""
        raise Unsupported(
            f"{path}: meshes are not read from {kind or 'unnamed'!r} files.{also}",
            f"Convert it to one of {', '.join(read)}.",
        )


def _start(path: Path) -> bytes:
    """The first bytes of a file that is there and holds some."""
    if path.is_dir():
        raise DataMissing(f"{path} is a folder, not a mesh.", "Name the file in it.")
    try:
        start = read_whole(path, _START)
    except FileNotFoundError as error:
        raise DataMissing(f"There is no mesh {path}.", "Check the path.") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    if not start:
        raise DataCorrupt(f"{path} is empty: 0 bytes.", "Write or fetch it again.")
    return start


def _unreadable(path: Path, error: OSError) -> DataMissing:
    return DataMissing(f"{path} cannot be opened: {error.strerror}.", "Check the path and its permissions.")


def _check_start(path: Path, kind: str, start: bytes) -> None:
    """Refuse a file that is something else by its first bytes, and a header of counts that it is too small for."""
    if start.startswith(_POINTER):
        raise DataMissing(f"{path} is a Git LFS pointer, not the file.", "Fetch it: git lfs pull.")
    found = next((name for mark, name in _MARKS.items() if start.lstrip()[: len(mark)] == mark), kind)
    if found != kind and not (kind == ".stl" and _binary_stl(path, start)):
        what = _NAMES.get(found, found)
        raise DataCorrupt(f"{path} is {what}, not {kind[1:].upper()}, by its first bytes.", "Check its name.")
    if kind == ".off":
        _check_off(path, start)
    elif kind == ".stl" and not start.lstrip().startswith(b"solid") and not _binary_stl(path, start):
        triangles = int.from_bytes(start[80:84], "little")
        raise DataCorrupt(
            f"{path} declares {triangles} triangles, {84 + 50 * triangles} bytes, and has {path.stat().st_size}.",
            "It is truncated or no STL: write it again.",
        )


def _binary_stl(path: Path, start: bytes) -> bool:
    return len(start) >= 84 and 84 + 50 * int.from_bytes(start[80:84], "little") == path.stat().st_size


def _check_off(path: Path, start: bytes) -> None:
    _, vertices, faces = _off_counts(path, start)
    needed = 6 * vertices + 2 * faces  # a digit and a space for each number
    if needed > path.stat().st_size + 1:
        raise DataCorrupt(
            f"{path} declares {vertices} vertices and {faces} faces, at least {needed} bytes, and has "
            f"{path.stat().st_size}.",
            "It is truncated: write it again.",
        )


def _off_counts(path: Path, start: bytes) -> tuple[bytes, int, int]:
    lines = [line.split(b"#")[0].split() for line in start.splitlines()[:50]]
    words = [word for line in lines for word in line][:4]
    if not words or words[0] not in (b"OFF", b"COFF"):
        raise DataCorrupt(f"{path} is not an OFF file: it does not start with OFF or COFF.", "Check its name.")
    if len(words) < 3 or not (words[1].isdigit() and words[2].isdigit()):
        raise DataCorrupt(f"{path}: the OFF header has no counts.", "Write it again.")
    if max(len(words[1]), len(words[2])) > _DIGITS:
        raise DataCorrupt(f"{path}: the OFF header declares counts of more than {_DIGITS} digits.", "Write it again.")
    return words[0], int(words[1]), int(words[2])


def _read(path: Path, kind: str, start: bytes) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if kind == ".ply":
        return read_ply(path)
    if kind == ".obj":
        return read_obj(path)
    vertices, faces = read_scene(path)
    if kind == ".off":
        _, declared, polygons = _off_counts(path, start)
        if len(vertices) < declared or len(faces) < polygons:
            raise DataCorrupt(
                f"{path} declares {declared} vertices and {polygons} faces, and holds {len(vertices)} and {len(faces)}"
                " triangles.",
                "It is truncated, or holds faces of fewer than three corners: write it again.",
            )
    return vertices, faces


def _checked(path: Path, vertices: NDArray[np.float64], faces: NDArray[np.int64], kind: str) -> Mesh:
    if not len(faces):
        if kind == ".ply":
            return Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))
        what = f"is a point cloud: {len(vertices)} vertices and no faces" if len(vertices) else "holds no faces"
        raise DataCorrupt(f"{path} {what}.", "A mesh is needed; check that the format is what the name says.")
    try:
        mesh = Mesh(vertices, faces)
    except DataCorrupt as error:
        raise DataCorrupt(f"{path}: {error.message}", "Mend the mesh, or write it again.") from error
    furthest = float(np.abs(mesh.vertices).max())
    if furthest > _FAR:
        raise DataCorrupt(
            f"{path} has a coordinate of {furthest:g}, whose square float32 cannot hold.",
            f"Scale the mesh to coordinates of at most {_FAR:g}.",
        )
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    if not np.cross(second - first, third - first).any():
        raise DataCorrupt(f"{path}: none of its {len(mesh.faces)} faces has an area.", "Mend the mesh.")
    return mesh
