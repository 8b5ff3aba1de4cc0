"""binvox: run-length coded voxels (Min 2004), as Choy et al. 2016, Occupancy Networks and IM-NET keep their shapes.

    #binvox 1
    dim 32 32 32                voxels along x, z and y: the body runs along y first, then z, then x
    translate -0.5 -0.5 -0.5    the low corner
    scale 1                     the longest edge of the whole grid
    data
    <value 0 or 1><count 1-255> pairs of bytes

A file is one scene, in the coordinates that its header gives; the surface is where the voxels' centres cross one half.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, Unsupported
from nfbench.harness.inside import inside
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views, Voxels
from nfbench.loaders.arrayfile import write_bytes
from nfbench.loaders.cloud import similarity
from nfbench.loaders.listfile import check_name

given = ("samples",)
inputs = ("samples", "voxels")

SAMPLES = 64**3  # centres that a scene gives; finer grids are thinned to so many, evenly in their order
EDGE = 64  # voxels along an edge where a mesh is written

_MOST = 1 << 30  # voxels; 1024 along an edge, the most that binvox itself makes
_HEADER = 1 << 12  # bytes in which the header has to end
_AGAIN = "It is truncated or damaged: fetch it again."
_FAR = 1e15  # a corner or edge whose square float32 holds


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid of occupied voxels.

    Attributes:
        filled: (X,Y,Z) bool.
        corner: (3,) float64, the low corner of the grid.
        scale: the longest edge of the grid.
    """

    filled: NDArray[np.bool_]
    corner: NDArray[np.float64]
    scale: float

    @property
    def cell(self) -> float:
        """The edge of a voxel."""
        return float(self.scale / max(self.filled.shape))

    def samples(self, count: int | None = None) -> Points:
        """The voxels' centres, x slowest and z fastest, with their occupancy; evenly thinned to `count` of them."""
        size = self.filled.size
        flat = np.arange(size) if count is None or count >= size else np.arange(count) * size // count
        index = np.stack(np.unravel_index(flat, self.filled.shape), 1)
        xyz = self.corner + (index + 0.5) * self.cell
        value = self.filled.reshape(-1)[flat].astype(np.float32)
        return Points(xyz.astype(np.float32), value=value, kind="occupancy")

    def cube(self, where: str) -> Voxels:
        """The voxels as a scene gives them; `where` says in errors whence they come.

        Raises:
            Unsupported: they are no cube.
        """
        if len(set(self.filled.shape)) > 1:
            shape = " x ".join(map(str, self.filled.shape))
            raise Unsupported(f"{where}: {shape} voxels, which are no cube.", "Pad the grid to a cube.")
        return Voxels(self.filled, np.stack([self.corner, self.corner + self.scale]).astype(np.float32))

    def mesh(self) -> Mesh:
        """The surface between centres inside and outside, closed, by marching cubes.

        Raises:
            DataCorrupt: no voxel is filled.
        """
        from skimage.measure import marching_cubes  # takes its time

        if not self.filled.any():
            raise DataCorrupt("None of the voxels is filled.", "Fetch them again.")
        padded = np.pad(self.filled, 1).astype(np.float32)
        extract: Any = marching_cubes  # has no types
        vertices, faces, _, _ = extract(padded, 0.5, gradient_direction="ascent")
        return Mesh(self.corner + (vertices.astype(np.float64) - 0.5) * self.cell, faces)


def scenes(path: Path) -> list[Path]:
    """The files of a folder, or the file itself."""
    if path.is_file():
        return [path] if detect(path) else []
    return sorted(file for file in path.glob("*.binvox") if detect(file)) if path.is_dir() else []


def detect(file: Path) -> bool:
    """Whether a file is binvox, by its ending and first bytes."""
    if file.suffix.lower() != ".binvox" or not file.is_file():
        return False
    try:
        with file.open("rb") as stream:
            return stream.read(7) == b"#binvox"
    except OSError:
        return False


def name(file: Path) -> str:
    """The file's name without its ending."""
    return file.stem


def read(file: Path, giving: str = "samples") -> Scene:
    """The scene of one file: its voxels' centres are given with their occupancy, their surface is hidden.

    The frame is the identity: scene coordinates are those of the header. At most SAMPLES centres are given; giving
    `voxels`, the voxels are as they are.

    Raises as `read_binvox`, DataCorrupt where no voxel is filled, and Unsupported where voxels to give are no cube.
    """
    return voxel_scene(read_binvox(file), name(file), str(file), giving)


def splits(file: Path) -> dict[str, Views]:
    """None: voxels have no views."""
    return {}


def write(folder: Path, scenes: Iterable[Scene], edge: int = EDGE) -> None:
    """Write each scene as a file; a scene that gives the centres of a whole cube of voxels is read back exactly.

    Of others, whatever is finer than a voxel is lost: `edge` voxels along an edge of the box say by the winding number
    whether their centre is inside the true mesh.

    Raises:
        Unsupported: a scene that has neither whole voxels nor a true mesh.
    """
    for scene in scenes:
        check_name(scene.name, folder)
        write_binvox(folder / f"{scene.name}.binvox", voxels_of(scene, edge))


def voxel_scene(voxels: Grid, name: str, where: str, giving: str = "samples") -> Scene:
    """The Scene of voxels with its truth, giving `samples` or `voxels`; `where` says in errors whence they come."""
    try:
        mesh = voxels.mesh()
    except DataCorrupt as error:
        raise DataCorrupt(f"{where}: {error.message}", error.hint) from error
    box = np.stack([voxels.corner, voxels.corner + voxels.cell * np.array(voxels.filled.shape)])
    given = Given(voxels=voxels.cube(where)) if giving == "voxels" else Given(samples=voxels.samples(SAMPLES))
    return Scene(name, given, box.astype(np.float32), surface=mesh, frame=similarity(1.0, np.zeros(3)))


def voxels_of(scene: Scene, edge: int, cube: float | None = None) -> Grid:
    """The voxels that a scene gives, or their centres; else `edge` to an edge of its box, filled inside its mesh.

    With `cube`, a scene that lies in the cube of that edge around the origin, and fills half of it in some direction,
    is cut into the voxels of that cube in place of those of its box.
    """
    cubes = scene.given.voxels
    edges = None if cubes is None else cubes.box[1].astype(np.float64) - cubes.box[0]
    if cubes is not None and edges is not None and np.ptp(edges) <= 1e-4 * edges.max() / len(cubes):
        return Grid(cubes.filled, cubes.box[0].astype(np.float64), float(edges.max()))
    given = scene.given.samples
    low, high = scene.box.astype(np.float64)
    whole = None if given is None else _whole(given, low, float((high - low).max()))
    if whole is not None:
        return whole
    if not isinstance(scene.surface, Mesh):
        raise Unsupported(
            f"Scene {scene.name!r} gives no whole grid of voxels and has no true mesh.", "Give it one of the two."
        )
    if edge < 1:
        raise ContractBroken(f"{edge} voxels along an edge.", "Give 1 or more.")
    size = float((high - low).max())
    corner = (low + high - size) / 2
    if cube is not None and size >= cube / 2 and np.abs(scene.box).max() <= cube / 2:
        corner, size = np.full(3, -cube / 2), cube
    grid = Grid(np.zeros((edge, edge, edge), np.bool_), corner, size)
    filled = inside(scene.surface, grid.samples().xyz).reshape(grid.filled.shape)
    return Grid(filled, corner, size)


def _whole(points: Points, low: NDArray[np.float64], size: float) -> Grid | None:
    """The cube of voxels whose centres the points are, in the order of Grid.samples; None where they are none."""
    edge = round(len(points) ** (1 / 3))
    if points.kind != "occupancy" or points.value is None or edge**3 != len(points) or not edge:
        return None
    grid = Grid((points.value >= 0.5).reshape(edge, edge, edge), low, size)
    return grid if np.allclose(grid.samples().xyz, points.xyz, rtol=0, atol=0.01 * grid.cell) else None


def read_binvox(file: Path) -> Grid:
    """The voxels in a file; its runs are added up before memory is taken.

    Raises:
        DataMissing: no such file.
        DataCorrupt: no binvox, a header without its lines, or runs that do not fill the grid exactly.
    """
    if not file.is_file():
        raise DataMissing(f"There is no {file}.", "Fetch the dataset again.")
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataMissing(f"{file} cannot be opened: {error.strerror}.", "Check its permissions.") from error
    shape, corner, scale, start = _header(file, data)
    pairs = np.frombuffer(data, np.uint8, (len(data) - start) // 2 * 2, start).reshape(-1, 2)
    count = math.prod(shape)
    runs = pairs[:, 1].astype(np.int64)
    if (len(data) - start) % 2 or int(runs.sum()) != count:
        raise DataCorrupt(f"{file} declares {count} voxels and has {int(runs.sum())}.", _AGAIN)
    if (pairs[:, 0] > 1).any():
        raise DataCorrupt(f"{file} has a voxel of value {pairs[:, 0].max()}, not 0 or 1.", _AGAIN)
    flat = np.repeat(pairs[:, 0].astype(np.bool_), runs)
    x, z, y = shape
    return Grid(np.ascontiguousarray(flat.reshape(x, z, y).transpose(0, 2, 1)), corner, scale)


def write_binvox(file: Path, voxels: Grid) -> None:
    """Write voxels to a file that reads back as they are, header included."""
    x, y, z = voxels.filled.shape
    flat = voxels.filled.transpose(0, 2, 1).reshape(-1)
    ends = np.append(np.flatnonzero(flat[1:] != flat[:-1]) + 1, len(flat))
    runs = np.diff(ends, prepend=0)
    value = flat[ends - 1]
    parts = -(-runs // 255)  # a run is cut into as many as a byte can count
    pairs = np.empty((int(parts.sum()), 2), np.uint8)
    pairs[:, 0] = np.repeat(value, parts)
    pairs[:, 1] = 255
    pairs[np.cumsum(parts) - 1, 1] = runs - 255 * (parts - 1)
    corner = " ".join(repr(float(c)) for c in voxels.corner)
    header = f"#binvox 1\ndim {x} {z} {y}\ntranslate {corner}\nscale {float(voxels.scale)!r}\ndata\n"
    write_bytes(file, header.encode("ascii") + pairs.tobytes())


def _header(file: Path, data: bytes) -> tuple[tuple[int, int, int], NDArray[np.float64], float, int]:
    """Voxels along x, z and y, low corner, longest edge, and where the body starts."""
    if not data.startswith(b"#binvox"):
        raise DataCorrupt(f"{file} is not a binvox file: it does not start with '#binvox'.", "Check its name.")
    at = data[:_HEADER].find(b"\ndata")
    end = data.find(b"\n", at + 1)
    if at < 0 or end < 0:
        raise DataCorrupt(f"{file}: the header does not end with a line 'data'.", _AGAIN)
    lines = [line.split() for line in data[:at].decode("latin-1").splitlines()]
    words = {line[0]: line[1:] for line in lines if line}
    dim = _numbers(file, words, "dim", 3)
    corner, scale = np.array(_numbers(file, words, "translate", 3)), _numbers(file, words, "scale", 1)[0]
    shape = [int(n) for n in dim]
    if any(n != d or n < 1 for n, d in zip(shape, dim, strict=True)) or math.prod(shape) > _MOST:
        raise DataCorrupt(f"{file}: dim is {' '.join(words['dim'])}.", "Give three whole numbers of voxels.")
    if not 0 < scale <= _FAR or float(np.abs(corner).max()) > _FAR:
        raise DataCorrupt(f"{file}: translate {corner.tolist()} and scale {scale}.", "The scale is more than 0.")
    return (shape[0], shape[1], shape[2]), corner, scale, end + 1


def _numbers(file: Path, words: dict[str, list[str]], key: str, count: int) -> list[float]:
    try:
        numbers: list[Any] = [float(word) for word in words[key]]
    except (KeyError, ValueError):
        numbers = []
    if len(numbers) != count or not all(math.isfinite(n) for n in numbers):
        given = " ".join(words[key]) if key in words else "missing"
        raise DataCorrupt(f"{file}: {key} is {given}, not {count} finite numbers.", _AGAIN)
    return numbers
