"""Files of many meshes in many places, GLB and glTF first: read by trimesh after a check, and merged into one mesh."""

from __future__ import annotations

import json
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported

_MOST = 300_000_000  # corners, vertices or unpacked bytes of geometry: a file that asks for more is a bomb or too large
_SIZES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}  # bytes a component, glTF 2.0, 3.6.2.2
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_PACKED = {"KHR_draco_mesh_compression", "EXT_meshopt_compression"}
_TRIANGLES, _FAN = (4, 5), 6  # modes of a primitive: lists and strips are read
_QUIET = logging.NullHandler()  # what trimesh tells its log about bad files is not printed for want of a handler
_HINT = "It is truncated, damaged or of another format than its name."


def read_scene(path: Path) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Vertices (V,3) and triangles (F,3) of all meshes of a file, each as often and where its nodes put it.

    Nodes of the file's own scene count; skins and morph targets do not. A glTF may name buffers that lie in its own
    folder or below.

    Raises:
        DataCorrupt: damaged, or without any mesh.
        DataMissing: a buffer that the file names is not there.
        Unsupported: compressed or sparse geometry, or far too much of it.
    """
    kind = path.suffix.lower()
    if kind in (".glb", ".gltf"):
        _check_gltf(path, _gltf_json(path, kind))
    elif zipfile.is_zipfile(path):
        _check_archive(path)
    return _merged(path, kind)


def _gltf_json(path: Path, kind: str) -> dict[str, Any]:
    data = path.read_bytes()
    if kind == ".glb":
        head = np.frombuffer(data[:20], "<u4") if len(data) >= 20 else np.zeros(5, "<u4")
        length, chunk = int(head[2]), int(head[3])
        if data[:4] != b"glTF" or head[1] != 2 or data[16:20] != b"JSON":
            raise DataCorrupt(f"{path} is not a GLB file of version 2.", "Check its name, or write it again.")
        if length != len(data) or 20 + chunk > length:
            raise DataCorrupt(f"{path} declares {max(length, 20 + chunk)} bytes and has {len(data)}.", _HINT)
        data = data[20 : 20 + chunk]
    try:
        header = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataCorrupt(f"{path}: its JSON cannot be read: {type(error).__name__}: {error}.", _HINT) from error
    if not isinstance(header, dict) or not isinstance(header.get("asset"), dict):
        raise DataCorrupt(f"{path} is no glTF: its JSON has no asset.", _HINT)
    return header


def _check_gltf(path: Path, header: dict[str, Any]) -> None:
    """Refuse what trimesh would read wrongly, or what asks for far more memory than the file has data for."""
    packed = _PACKED & {*header.get("extensionsRequired", [])}
    if packed:
        raise Unsupported(f"{path} is compressed by {' and '.join(sorted(packed))}.", "Write it uncompressed.")
    try:
        room = path.stat().st_size + sum(_buffer_size(path, buffer) for buffer in header.get("buffers", []))
        accessors = header.get("accessors", [])
        for number, accessor in enumerate(accessors):
            needed = accessor["count"] * _SIZES[accessor["componentType"]] * _WIDTHS[accessor["type"]]
            if not 0 <= needed <= room:
                raise DataCorrupt(f"{path}: accessor {number} takes {needed} bytes; there are {room}.", _HINT)
        weights = [sum(_weight(path, p, accessors) for p in mesh["primitives"]) for mesh in header.get("meshes", [])]
        placed = sum(weights[node["mesh"]] for node in header.get("nodes", []) if "mesh" in node)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise DataCorrupt(f"{path} is no sound glTF: {type(error).__name__}: {error}.", _HINT) from error
    if max(placed, sum(weights)) > _MOST:
        raise Unsupported(f"{path} places {placed} corners and vertices.", f"At most {_MOST} are read: simplify it.")


def _buffer_size(path: Path, buffer: dict[str, Any]) -> int:
    """The bytes of a buffer in a file of its own; 0 for one within this file."""
    uri = buffer.get("uri")
    if not isinstance(uri, str) or uri.startswith("data:"):
        return 0
    other = (path.parent / uri).resolve()
    if not other.is_relative_to(path.parent.resolve()):
        raise Unsupported(f"{path} names the buffer {uri!r}, outside of its folder.", "Put it beside the file.")
    if not other.is_file():
        raise DataMissing(f"{path} names the buffer {uri!r}, which is not there.", "Put it beside the file.")
    return int(other.stat().st_size)


def _weight(path: Path, primitive: dict[str, Any], accessors: list[dict[str, Any]]) -> int:
    """How many vertices and corners a primitive has."""
    mode = primitive.get("mode", _TRIANGLES[0])
    if mode == _FAN:
        raise Unsupported(f"{path} has triangle fans.", "Write lists of triangles.")
    if mode not in _TRIANGLES:
        return 0
    places = accessors[primitive["attributes"]["POSITION"]]
    used = [places] + ([accessors[primitive["indices"]]] if "indices" in primitive else [])
    if places.get("normalized") or any("sparse" in a or "bufferView" not in a for a in used):
        raise Unsupported(f"{path} has sparse, normalized or missing geometry.", "Write plain triangles of float32.")
    return sum(int(accessor["count"]) for accessor in used)


def _check_archive(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > _MOST:
        raise Unsupported(f"{path} unpacks to {unpacked} bytes.", f"At most {_MOST} are read: write it as PLY.")


def _merged(path: Path, kind: str) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    import trimesh

    logging.getLogger("trimesh").addHandler(_QUIET)
    resolver = trimesh.resolvers.FilePathResolver(str(path)) if kind == ".gltf" else None
    with path.open("rb") as file:
        # no other resolver: materials and textures beside the file are not looked for
        scene: Any = trimesh.load_scene(
            file,
            file_type=kind[1:],
            resolver=resolver,
            process=False,
            maintain_order=True,
            skip_materials=True,
        )
    if any(isinstance(part, trimesh.PointCloud) for part in scene.geometry.values()) and not _surfaces(scene):
        raise DataCorrupt(f"{path} is a point cloud: it has vertices and no faces.", "A mesh is needed, not points.")
    mesh = scene.to_mesh()
    return np.asarray(mesh.vertices, np.float64), np.asarray(mesh.faces, np.int64)


def _surfaces(scene: Any) -> bool:  # noqa: ANN401
    return any(len(getattr(part, "faces", ())) for part in scene.geometry.values())
