"""A folder of meshes, each of them a scene: PLY, OBJ, OFF, STL, GLB and glTF.

Scene coordinates are those of Occupancy Networks: the centre of the bounding box is the origin and its longest edge is
1, so that absolute thresholds mean the same for every mesh; the frame leads back. Truth is the mesh itself, watertight
or not, and the winding number at 100,000 points drawn in a cube of edge 1.1; a mesh that has every face both ways round
has no inside, and so no such points. A method gets 300 noisy points of the surface; giving `samples` 50,000 points with
exact signed distance, drawn apart from the query points and kept in the user's cache folder, as they take a while;
giving `voxels` 32 along each edge of the cube [-0.5,0.5]^3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.inside import inside
from nfbench.harness.mesh import sample
from nfbench.harness.meshfile import FORMATS, is_cloud, read_mesh, write_ply
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views
from nfbench.loaders.cache import Arrays, Cached, cache_file
from nfbench.loaders.cloud import cube, for_training, noisy, similarity
from nfbench.loaders.listfile import check_name
from nfbench.loaders.mesh_samples import distances, voxels
from nfbench.loaders.onet import CLOUD, EDGE, NOISE

given = ("cloud",)
inputs = ("cloud", "samples", "voxels")

QUERIES = 100_000
SAMPLES = 50_000  # with signed distance
VOXELS = 32  # along an edge
VERSION = "1"  # of what is kept

_OTHERS = (".npz", ".npy", ".lst", ".hdf5", ".h5", ".binvox")  # beside meshes that belong to a dataset


def scenes(path: Path) -> list[Path]:
    """The meshes right in a folder that has no folders and no files of other formats in it.

    A mesh by itself is no dataset: it is plain truth.
    """
    if not path.is_dir():
        return []
    children = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    if any(child.is_dir() and not _decoration(child) for child in children):
        return []
    if any(child.suffix.lower() in _OTHERS for child in children):
        return []
    return [child for child in children if detect(child)]


def detect(file: Path) -> bool:
    """Whether a file is a mesh, by its ending and, a PLY, by its header."""
    if file.suffix.lower() not in FORMATS or not file.is_file():
        return False
    try:
        return file.suffix.lower() != ".ply" or not is_cloud(file)
    except NfbenchError:
        return False


def name(file: Path) -> str:
    """The file's name without its ending; with it where another mesh of the folder differs in the ending only."""
    twin = any(ending != file.suffix and file.with_suffix(ending).is_file() for ending in FORMATS)
    return f"{file.stem}_{file.suffix[1:]}" if twin else file.stem


def read(
    file: Path,
    giving: str = "cloud",
    *,
    points: int = CLOUD,
    noise: float = NOISE,
    queries: int = QUERIES,
    samples: int = SAMPLES,
    seed: int = 0,
    cache: Path | None = None,
) -> Scene:
    """The scene of one mesh.

    Args:
        file: of the mesh.
        giving: one of `inputs`, in place of the cloud.
        points: how many of its surface are given.
        noise: their standard deviation, longest edges.
        queries: how many points have occupancy.
        samples: how many have a signed distance, where these are given.
        seed: of everything drawn.
        cache: folder for the signed distances; the user's cache folder when left out.

    Raises:
        DataMissing, DataCorrupt, Unsupported: as `read_mesh`; a mesh without faces or extent is corrupt, and one that
            has no inside cannot give samples or voxels.
    """
    original = read_mesh(file)
    if not len(original.faces):
        raise DataCorrupt(f"{file} holds no faces.", "Mend the mesh, or take it out of the folder.")
    corners = original.vertices[np.unique(original.faces)]
    low, high = corners.min(0), corners.max(0)
    centre, edge = (low + high) / 2, float((high - low).max())
    if not edge > 1e-30:
        raise DataCorrupt(f"{file}: the longest edge of its box is {edge}.", "Scale the mesh.")
    mesh = Mesh((original.vertices - centre) / edge, original.faces)
    xyz = np.random.default_rng(seed + 2).uniform(-EDGE, EDGE, (queries, 3)).astype(np.float32)
    value = inside(mesh, xyz).astype(np.float32)
    if giving in ("samples", "voxels") and not value.any():
        raise Unsupported(f"{file} has no inside, and so cannot give {giving}.", "Give its cloud.")
    if giving == "samples":
        seen = Given(samples=_distances(mesh, samples, seed, cache))
    elif giving == "voxels":
        seen = Given(voxels=voxels(mesh, VOXELS))
    else:
        seen = Given(cloud=noisy(sample(mesh, max(points, 1), seed), points, noise, seed))
    return Scene(
        name(file),
        seen,
        cube(EDGE),
        surface=mesh,
        occupancy=Points(xyz, value=value, kind="occupancy") if value.any() else None,
        frame=similarity(edge, centre),
        withheld=(file,),
    )


def read_training(file: Path, giving: str = "cloud") -> Scene:
    """The scene of a mesh to learn from: its query points are given as samples, or those with signed distance."""
    return for_training(read(file, giving))


def _distances(mesh: Mesh, count: int, seed: int, cache: Path | None) -> Points:
    """Points with signed distance of a normalised mesh, from the cache where they are there."""
    digest = hashlib.sha256(mesh.vertices.tobytes() + mesh.faces.tobytes()).hexdigest()[:16]
    kept = cache_file(f"distances-{digest}-{count}-{seed}-v{VERSION}", cache)

    def make() -> Arrays:
        drawn = distances(mesh, count, seed + 3, EDGE)
        assert drawn.value is not None
        return {"xyz": drawn.xyz, "distance": drawn.value}

    stored = Cached(kept, ("xyz", "distance"), make)
    xyz, distance = (stored[key].astype(np.float32, copy=False) for key in ("xyz", "distance"))
    return Points(xyz, value=distance, kind="sdf")


def splits(file: Path) -> dict[str, Views]:
    """None: meshes have no views."""
    return {}


def write(folder: Path, scenes: Iterable[Scene]) -> None:
    """Write the true mesh of each scene as PLY in original coordinates, double precision.

    Read back, the mesh is the same but for the rounding of that change and of the normalisation, cloud and query
    points are drawn anew from it; everything else of the scene is lost.

    Raises:
        DataMissing: a scene without a true mesh.
    """
    for scene in scenes:
        check_name(scene.name, folder)
        if not isinstance(scene.surface, Mesh):
            raise DataMissing(f"Scene {scene.name!r} has no true mesh to write.", "Choose a format of points.")
        folder.mkdir(parents=True, exist_ok=True)
        vertices = scene.surface.vertices @ scene.frame[:3, :3].T + scene.frame[:3, 3]
        write_ply(folder / f"{scene.name}.ply", Mesh(vertices, scene.surface.faces))


def _decoration(folder: Path) -> bool:
    """Whether a folder beside meshes holds only what they look like."""
    return folder.name.lower() in ("textures", "materials", "maps")
