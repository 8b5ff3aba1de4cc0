"""What is asked of a mesh: points on it, and whether points are inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken
from nfbench.harness.scene import Mesh, Points


def sample(mesh: Mesh, count: int, seed: int) -> Points:
    """`count` Points drawn uniformly by area on the mesh, with the normals of their faces; the same for the same seed.

    Points within a triangle are drawn in its parallelogram, one half of which is folded onto the other.

    Raises:
        ContractBroken: a mesh that is empty or has no area.
    """
    from nfbench.harness import drawing  # numba takes its time

    cross, cumulative = drawing.areas(mesh.vertices, mesh.faces)
    if not len(mesh.faces) or not cumulative[-1] > 0:
        raise ContractBroken(
            f"A mesh of {len(mesh.faces)} faces has no area to draw points on.", "The predicted surface is empty."
        )
    generator = np.random.default_rng(seed)
    face = drawing.faces_at(cumulative, generator.random(count))
    return Points(*drawing.on_faces(mesh.vertices, mesh.faces, cross, face, generator.random((count, 2))))


def inside(mesh: Mesh, xyz: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Whether each point is inside the mesh, (P,) bool: a winding number above one half.

    Faces are counter-clockwise seen from outside. Holes and soups of triangles are no obstacle. Barill et al. 2018,
    "Fast Winding Numbers for Soups and Clouds", as libigl has it.

    Args:
        mesh: the mesh; nothing is inside an empty one.
        xyz: (P,3) in the unit of the mesh.
    """
    if not len(mesh.faces) or not len(xyz):
        return np.zeros(len(xyz), np.bool_)
    import igl

    number = igl.fast_winding_number(mesh.vertices, mesh.faces, np.ascontiguousarray(xyz, np.float64))
    return np.asarray(number > 0.5)
