"""Mesh files: PLY, OBJ, OFF and STL read with every count checked before memory is taken; PLY written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.scene import Mesh

FORMATS = (".ply", ".obj", ".off", ".stl")

_HEADER = 1 << 16  # bytes in which a PLY header has to end
_PLY_SIZES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "float", "int32", "uint32", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}


def read_mesh(path: Path) -> Mesh:
    """The mesh in a PLY (ASCII or binary), OBJ, OFF or STL file, vertices in the order of the file, none merged.

    Polygons become triangles. A PLY file with a face element of no faces is an empty mesh.

    Raises:
        DataMissing: no such file.
        DataCorrupt: empty, truncated, of another format than its name, without faces, or with values that are not
            finite; counts that the file is too small for are refused before anything is allocated.
        Unsupported: another ending.
    """
    kind = path.suffix.lower()
    if kind not in FORMATS:
        raise Unsupported(f"{path}: meshes are not read from {kind!r} files.", f"Convert it to one of {FORMATS}.")
    if not path.is_file():
        raise DataMissing(f"There is no mesh {path}.", "Check the path.")
    if not path.stat().st_size:
        raise DataCorrupt(f"{path} is empty: 0 bytes.", "Write or fetch it again.")
    vertices, faces = _declared(path, kind)
    if faces == 0:
        return Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64))
    mesh = _parse(path, kind)
    if len(mesh.vertices) < vertices or len(mesh.faces) < (faces or 1):
        raise DataCorrupt(
            f"{path} declares {vertices} vertices and {faces} faces, and holds {len(mesh.vertices)} and "
            f"{len(mesh.faces)} triangles.",
            "It is truncated, or holds faces without area of fewer than three corners: write it again.",
        )
    return mesh


def write_ply(path: Path, mesh: Mesh) -> None:
    """Write the mesh as binary PLY, in double precision, so that reading gives back the same numbers; by rename."""
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(mesh.vertices)}\nproperty double x\nproperty double y\nproperty double z\n"
        f"element face {len(mesh.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    faces = np.empty(len(mesh.faces), [("corners", "u1"), ("index", "<i4", (3,))])
    faces["corners"] = 3
    faces["index"] = mesh.faces
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(header.encode("ascii"))
            file.write(mesh.vertices.astype("<f8", copy=False).tobytes())
            file.write(faces.tobytes())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _declared(path: Path, kind: str) -> tuple[int, int | None]:
    """The numbers of vertices and faces in a mesh file's header; 0 and None where its format has no such header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_HEADER)
    if kind == ".ply":
        return _ply_counts(path, start, size)
    if kind == ".off":
        lines = [line.split(b"#")[0].split() for line in start.splitlines()[:50]]
        words = [word for line in lines for word in line][:4]
        if not words or not words[0].endswith(b"OFF"):
            raise DataCorrupt(f"{path} is not an OFF file: it does not start with OFF.", "Check its name.")
        if len(words) < 3 or not (words[1].isdigit() and words[2].isdigit()):
            raise DataCorrupt(f"{path}: the OFF header has no counts.", "Write it again.")
        vertices, faces = int(words[1]), int(words[2])
        _check_room(path, 6 * vertices + 2 * faces, size + 1, f"{vertices} vertices and {faces} faces")
        return vertices, faces
    if kind == ".stl" and not start.lstrip().startswith(b"solid"):
        triangles = int.from_bytes(start[80:84], "little")
        _check_room(path, 84 + 50 * triangles, size, f"{triangles} triangles")
        return 0, triangles
    return 0, None


def _ply_counts(path: Path, start: bytes, size: int) -> tuple[int, int]:
    if not start.startswith(b"ply"):
        raise DataCorrupt(f"{path} is not a PLY file: it does not start with 'ply'.", "Check its name.")
    header, end, _ = start.partition(b"end_header")
    if not end:
        raise DataCorrupt(f"{path}: the PLY header does not end.", "It is truncated: write it again.")
    binary = b"format ascii" not in header
    counts: dict[str, int] = {}
    room = 0  # the least number of bytes that such a body can have
    element = ""
    for line in header.decode("latin-1").splitlines():
        words = line.split()
        if words[:1] == ["element"] and len(words) == 3 and words[2].isdigit():
            element = words[1]
            counts[element] = int(words[2])
        elif words[:1] == ["property"] and element and len(words) in (3, 5):
            kind = words[2] if words[1] == "list" else words[1]
            room += counts[element] * (_PLY_SIZES.get(kind, 1) if binary else 2)
        elif words[:1] in (["element"], ["property"]):
            raise DataCorrupt(f"{path}: the PLY header has the line {line!r}.", "Write it again.")
    if "vertex" not in counts or "face" not in counts:
        raise DataCorrupt(f"{path} holds {sorted(counts)}, no vertices and faces.", "A mesh is needed, not points.")
    declared = f"{counts['vertex']} vertices and {counts['face']} faces"
    _check_room(path, room, size - len(header) - len(end) + (not binary), declared)
    return counts["vertex"], counts["face"]


def _check_room(path: Path, needed: int, there: int, declared: str) -> None:
    if needed > there:
        raise DataCorrupt(
            f"{path} declares {declared}, at least {needed} bytes, and has {there}.", "It is truncated: write it again."
        )


def _parse(path: Path, kind: str) -> Mesh:
    import trimesh

    try:
        with path.open("rb") as file:
            # no resolver: materials and textures beside the file are not looked for
            parsed: Any = trimesh.load_mesh(
                file, file_type=kind[1:], process=False, maintain_order=True, skip_materials=True
            )
    except Exception as error:  # its readers let whatever a damaged file provokes through
        raise DataCorrupt(
            f"{path} cannot be read as {kind[1:].upper()}: {type(error).__name__}: {error}",
            "It is truncated, damaged or of another format than its name.",
        ) from error
    if not isinstance(parsed, trimesh.Trimesh) or not len(parsed.faces):
        raise DataCorrupt(f"{path} holds no faces.", "A mesh is needed; check that the format is what the name says.")
    try:
        return Mesh(np.asarray(parsed.vertices), np.asarray(parsed.faces))
    except DataCorrupt as error:
        raise DataCorrupt(f"{path}: {error.message}", "Mend the mesh, or write it again.") from error
