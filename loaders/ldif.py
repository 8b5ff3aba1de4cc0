"""LDIF's prepared meshes (Genova et al. 2020; google/ldif scripts/process_mesh_local.sh, inference/example.py).

    <root>/{train,val,test}/<class>/<shape>/uniform_points.sdf      float32 (100000,4): x y z and signed distance
                                           /nss_points.sdf          likewise, near the surface
                                           /surface_samples_from_dodeca.pts     float32 (100000,6): points and normals
                                           /orig_to_gaps.txt        4x4, original to scene coordinates
                                           /mesh_orig.ply           the mesh, ORIGINAL coordinates; often a link

Files of samples are bare little-endian numbers. Scene coordinates are those of GAPS: centred, scaled by the spread of
the shape; uniform samples lie in [-0.7,0.7]^3. The original measures IoU there, and distances in original coordinates.
Both kinds of samples are given; the uniform ones' sign is the truth of being inside, negative inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.record import write_text
from nfbench.harness.scene import Float, Given, Mesh, Points, Scene, Views
from nfbench.loaders.arrayfile import write_bytes
from nfbench.loaders.cloud import checked, cube, distance_samples, surface_points
from nfbench.loaders.listfile import check_name, within

given = ("samples",)

EDGE = 0.7  # half the edge of the cube of uniform samples

_UNIFORM, _NEAR, _SURFACE = "uniform_points.sdf", "nss_points.sdf", "surface_samples_from_dodeca.pts"
_FRAME, _MESH = "orig_to_gaps.txt", "mesh_orig.ply"
_MOST = 1 << 30  # bytes of samples
_AGAIN = "Fetch it again, or run meshes2dataset.py of LDIF again."


def scenes(path: Path) -> list[Path]:
    """The shapes of the folder `test`, or of a folder of classes or of shapes; a shape's folder itself."""
    return _below(path / "test") or _below(path)


def training(path: Path) -> list[Path]:
    """The shapes of the folder `train`."""
    return _below(path / "train")


def detect(folder: Path) -> bool:
    """Whether a folder is a shape: it has uniform and near-surface samples."""
    return (folder / _UNIFORM).is_file() and (folder / _NEAR).is_file()


def name(folder: Path) -> str:
    """The shape's name, after that of its class."""
    shape = folder.absolute()
    return f"{shape.parent.name}-{shape.name}"


def read(folder: Path) -> Scene:
    """The scene of one shape: samples near the surface and, after them, uniform ones are given.

    The true surface is the mesh, else the points of it; a mesh that is a link out of the folder is not followed.

    Raises:
        DataMissing: a file of samples is not there.
        DataCorrupt: a file that is not what it should be, or a matrix that is no similarity.
    """
    near, uniform = (read_samples(folder / file, 4) for file in (_NEAR, _UNIFORM))
    rows = np.concatenate([near, uniform])
    inside = (uniform[:, 3] < 0).astype(np.float32)
    frame = read_frame(folder / _FRAME)
    return Scene(
        name(folder),
        Given(samples=checked(folder / _NEAR, rows[:, :3], value=rows[:, 3], kind="sdf")),
        cube(EDGE),
        surface=_surface(folder, frame),
        occupancy=checked(folder / _UNIFORM, uniform[:, :3], value=inside, kind="occupancy"),
        frame=frame,
        withheld=(folder / _MESH, folder / _SURFACE),
    )


def splits(folder: Path) -> dict[str, Views]:
    """None: depth images are left aside."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], split: str = "test") -> None:
    """Write each scene to `<split>/<class>/<shape>`, its name being class and shape with a hyphen between.

    Uniform samples are those of the given ones that the scene's query points repeat, or, where they do not, the last
    half; the others are near the surface. Read back, samples and the frame are the same, the frame but for rounding; a
    true mesh becomes 100,000 points. Query points that are no samples are lost, as are other boxes.

    Raises:
        DataMissing: a scene without signed distances.
    """
    for scene in scenes:
        check_name(scene.name, folder)
        group, _, shape = scene.name.partition("-")
        _write_shape(folder / split / (group if shape else "shapes") / (shape or group), scene)


def read_samples(file: Path, columns: int) -> Float:
    """(N,columns) float32, the bare numbers of a file.

    Raises:
        DataMissing: no such file.
        DataCorrupt: empty, no whole number of rows, or far too large.
    """
    if not file.is_file():
        raise DataMissing(f"There is no {file}.", _AGAIN)
    size = file.stat().st_size
    if not size or size % (4 * columns) or size > _MOST:
        raise DataCorrupt(f"{file} has {size} bytes, not {columns} float32 a row.", _AGAIN)
    try:
        return np.frombuffer(file.read_bytes(), "<f4").reshape(-1, columns).astype(np.float32, copy=False)
    except OSError as error:
        raise DataMissing(f"{file} cannot be opened: {error.strerror}.", "Check its permissions.") from error


def read_frame(file: Path) -> NDArray[np.float64]:
    """The frame (4,4), scene to original coordinates: the inverse of the matrix in the file; the identity without it.

    Raises:
        DataCorrupt: not sixteen numbers, or no turn, scale and move.
    """
    if not file.is_file():
        return np.eye(4)
    try:
        if file.stat().st_size > 1 << 16:
            raise ValueError(f"{file.stat().st_size} bytes")
        matrix = np.array(file.read_text("utf-8").split(), np.float64).reshape(4, 4)
    except (ValueError, OSError) as error:
        raise DataCorrupt(f"{file} is no 4x4 matrix: {error}", _AGAIN) from error
    with np.errstate(all="ignore"):
        factor = np.cbrt(np.linalg.det(matrix[:3, :3]))
        off = np.abs(matrix[:3, :3] @ matrix[:3, :3].T / factor**2 - np.eye(3)).max()
    if not (1e-30 < factor < 1e30 and off < 1e-4 and np.isfinite(matrix).all() and (matrix[3] == (0, 0, 0, 1)).all()):
        raise DataCorrupt(f"{file} is no rotation, factor and translation: {matrix.tolist()}.", _AGAIN)
    return np.linalg.inv(matrix).astype(np.float64, copy=False)


def _below(path: Path) -> list[Path]:
    """The shapes of a folder, one or two levels below it, or itself."""
    if not path.is_dir():
        return []
    if detect(path):
        return [path]
    children = sorted(child for child in path.iterdir() if child.is_dir())
    shapes = [child for child in children if detect(child)]
    return shapes or [s for child in children for s in sorted(child.iterdir()) if s.is_dir() and detect(s)]


def _surface(folder: Path, frame: NDArray[np.float64]) -> Mesh | Points | None:
    mesh, points = folder / _MESH, folder / _SURFACE
    if mesh.is_file() and within(folder, mesh):
        original = read_mesh(mesh)
        back = np.linalg.inv(frame)
        return Mesh(original.vertices @ back[:3, :3].T + back[:3, 3], original.faces)
    if points.is_file():
        rows = read_samples(points, 6)
        return checked(points, rows[:, :3], rows[:, 3:])
    if mesh.is_symlink():
        raise DataMissing(f"{mesh} is a link out of its folder, and there is no {points.name}.", "Copy the mesh there.")
    return None


def _write_shape(folder: Path, scene: Scene) -> None:
    samples, query = distance_samples(scene), scene.occupancy
    assert samples.value is not None
    rows = np.concatenate([samples.xyz, samples.value[:, None]], 1)
    repeated = query is not None and 0 < len(query) < len(rows) and np.array_equal(query.xyz, rows[-len(query) :, :3])
    start = len(rows) - len(query) if query is not None and repeated else len(rows) // 2
    write_bytes(folder / _NEAR, rows[:start].astype("<f4").tobytes())
    write_bytes(folder / _UNIFORM, rows[start:].astype("<f4").tobytes())
    matrix = np.linalg.inv(scene.frame)
    matrix[3] = (0, 0, 0, 1)
    write_text(folder / _FRAME, "\n".join(" ".join(repr(float(x)) for x in row) for row in matrix) + "\n")
    if scene.surface is not None:
        surface = surface_points(scene)
        normal = np.zeros_like(surface.xyz) if surface.normal is None else surface.normal
        write_bytes(folder / _SURFACE, np.concatenate([surface.xyz, normal], 1).astype("<f4").tobytes())
