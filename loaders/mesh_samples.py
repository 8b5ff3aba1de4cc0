"""What shape methods learn from, made of a mesh: a normalised frame, points on the surface, around it and in a volume.

The sign of a distance and the occupancy come from the winding number, so that a mesh need not be watertight.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import DataCorrupt
from nfbench.harness.inside import inside
from nfbench.harness.mesh import sample
from nfbench.harness.scene import Mesh, Points, Voxels

Frame = NDArray[np.float64]  # (4,4), from the normalised coordinates to those of the file
Fit = Literal["box", "sphere", "diagonal", "none"]
Reals = NDArray[np.float64]

MARGIN = 1.03  # of DeepSDF's bounding sphere: facebookresearch/DeepSDF src/Utils.cpp
VARIANCES = (0.005, 0.0005)  # of DeepSDF's two Gaussians around the surface, for training
NEAR = 47 / 50  # of DeepSDF's samples are near the surface, the others uniform in [-1,1]^3


def normalised(mesh: Mesh, fit: Fit) -> tuple[Mesh, Frame]:
    """The mesh in a standard frame, and the (4,4) similarity back to the coordinates of its file.

    Args:
        mesh: with faces.
        fit: the centre of the bounding box goes to the origin, and `box`: its longest edge becomes 1 (Occupancy
            Networks); `diagonal`: its diagonal becomes 1 (IM-NET); `sphere`: the farthest vertex comes to 1/1.03
            (DeepSDF). `none` leaves all as it is.

    Raises:
        DataCorrupt: a mesh without faces or without extent.
    """
    if not len(mesh.faces):
        raise DataCorrupt("The mesh has no faces.", "There is no surface to sample.")
    if fit == "none":
        return mesh, np.eye(4)
    corners = mesh.vertices[np.unique(mesh.faces)]
    low, high = corners.min(0), corners.max(0)
    middle = (low + high) / 2
    if fit == "sphere":
        size = MARGIN * float(np.linalg.norm(corners - middle, axis=1).max())
    else:
        size = float((high - low).max() if fit == "box" else np.linalg.norm(high - low))
    if not size > 0:
        raise DataCorrupt("The mesh has no extent: all its vertices are one point.", "Check the file.")
    frame = np.diag([size, size, size, 1.0])
    frame[:3, 3] = middle
    return Mesh((mesh.vertices - middle) / size, mesh.faces), frame


def distance(mesh: Mesh, xyz: NDArray[np.floating]) -> Reals:
    """The exact distance (P,) float64 from each point (P,3) to the mesh, negative inside by the winding number."""
    import igl

    points = np.ascontiguousarray(xyz, np.float64)
    squares = np.asarray(igl.point_mesh_squared_distance(points, mesh.vertices, mesh.faces)[0], np.float64)
    return np.sqrt(squares) * np.where(inside(mesh, points), -1.0, 1.0)


def occupancy(mesh: Mesh, count: int, edge: float, seed: int) -> Points:
    """`count` Points uniform in the cube of `edge` around the origin, their value 1 inside the mesh and 0 outside."""
    xyz = np.random.default_rng(seed).uniform(-edge / 2, edge / 2, (count, 3)).astype(np.float32)
    return Points(xyz, value=inside(mesh, xyz).astype(np.float32), kind="occupancy")


def voxels(mesh: Mesh, edge: int, half: float = 0.5) -> Voxels:
    """`edge` voxels along each edge of the cube of half edge `half`, filled where their centres are inside the mesh."""
    box = np.array([[-half] * 3, [half] * 3], np.float32)
    centres = Voxels(np.zeros((edge,) * 3, np.bool_), box).centres()
    return Voxels(inside(mesh, centres).reshape((edge,) * 3), box)


def distances(mesh: Mesh, count: int, seed: int, half: float = 1.0) -> Points:
    """`count` Points with signed distance as DeepSDF draws them: 47 of 50 near the surface, the others in [-1,1]^3.

    Half of those near are a point of the surface plus Gaussian noise of variance 0.005, half of 0.0005. Park et al.
    2019, "DeepSDF", section 5 (with the variances of the code, which the paper states as half of it). With another
    `half` edge of the cube than 1 all lengths are smaller in proportion.
    """
    generator = np.random.default_rng(seed)
    near = round(NEAR * count)
    surface = sample(mesh, near, seed).xyz.astype(np.float64)
    deviation = half * np.sqrt(np.array(VARIANCES))[np.arange(near) % 2]
    around = surface + deviation[:, None] * generator.standard_normal((near, 3))
    xyz = np.concatenate([around, generator.uniform(-half, half, (count - near, 3))]).astype(np.float32)
    return Points(xyz, value=distance(mesh, xyz).astype(np.float32), kind="sdf")
