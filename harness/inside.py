"""Whether points are inside a mesh: by the winding number of any mesh, or by the ray parity of a watertight one."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.diagnostics import is_watertight
from nfbench.harness.errors import NfbenchError, Unsupported
from nfbench.harness.scene import Mesh

InsideTest = Literal["winding-number", "parity"]

_BATCH = 262_144  # points at a time, so that memory stays bounded


def inside(mesh: Mesh, xyz: NDArray[np.floating], method: InsideTest = "winding-number") -> NDArray[np.bool_]:
    """Whether each point is inside the mesh, (P,) bool; a point on the surface is on either side.

    `winding-number`: its absolute value is above one half. Holes, soups of triangles and flipped faces are no
    obstacle, and a mesh that is inside out as a whole has the inside it has by parity: a wrong sign shall not score
    like an empty shape; `diagnose(mesh).inside_out` tells it. Degenerate faces count for nothing; a soup with every
    face both ways round encloses nothing. Barill et al. 2018, "Fast Winding Numbers for Soups and Clouds", by libigl.

    `parity`: a ray crosses the surface an odd number of times, forwards as well as backwards, and where the two
    disagree along another direction; in float32, by Embree. Only for watertight meshes: through one missing face of a
    thousand, it loses a row of space. `method_for` names the test to fall back on.

    Args:
        mesh: the mesh; nothing is inside an empty one.
        xyz: (P,3) finite, in the unit of the mesh.
        method: which test; name it beside the number.

    Raises:
        NfbenchError: an unknown method, or points that are not finite or not (P,3).
        Unsupported: parity of a mesh that is not watertight, or without embreex.
    """
    points = np.ascontiguousarray(xyz, np.float64)
    broken = int(np.count_nonzero(~np.isfinite(points)))
    if points.ndim != 2 or points.shape[1] != 3 or broken:
        raise NfbenchError(
            f"An inside test at points of shape {points.shape}, with {broken} numbers that are NaN or infinite.",
            "Give finite points, (P,3).",
        )
    if method not in ("winding-number", "parity"):
        raise NfbenchError(f"There is no inside test {method!r}.", "Say winding-number or parity.")
    if not len(mesh.faces) or not len(points):
        return np.zeros(len(points), np.bool_)
    return _by_winding_number(mesh, points) if method == "winding-number" else _by_parity(mesh, points)


def method_for(mesh: Mesh, wanted: InsideTest) -> InsideTest:
    """The test that can be made of this mesh: the one wanted, but the winding number where parity has no answer."""
    return "parity" if wanted == "parity" and is_watertight(mesh) else "winding-number"


def _by_winding_number(mesh: Mesh, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    import igl

    number = igl.fast_winding_number(mesh.vertices, mesh.faces, points)
    return np.asarray(np.abs(number) > 0.5)


def _by_parity(mesh: Mesh, points: NDArray[np.float64]) -> NDArray[np.bool_]:
    if not is_watertight(mesh):
        raise Unsupported(
            "Ray parity has no answer for a mesh that is not watertight.",
            "Use the winding number, or close the mesh: nfbench's diagnostics count its open edges.",
        )
    try:
        from trimesh import Trimesh
        from trimesh.ray.ray_pyembree import RayMeshIntersector
    except ImportError as error:
        raise Unsupported(
            f"Ray parity needs embreex, which is not to be had here: {error}.",
            "Install embreex, or use the winding number.",
        ) from error
    # in a box of one unit at the origin, since the caster steps over what it has hit by an absolute length
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    centre, edge = (low + high) / 2, (high - low).max()
    caster: Any = RayMeshIntersector(Trimesh((mesh.vertices - centre) / edge, mesh.faces, process=False))
    placed = (points - centre) / edge
    parts = [caster.contains_points(placed[start : start + _BATCH]) for start in range(0, len(placed), _BATCH)]
    return np.concatenate(parts)
