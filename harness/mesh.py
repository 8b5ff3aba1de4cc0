"""Points on a mesh."""

from __future__ import annotations

import numpy as np

from nfbench.harness.errors import ContractBroken
from nfbench.harness.scene import Mesh, Points


def sample(mesh: Mesh, count: int, seed: int) -> Points:
    """`count` Points drawn uniformly by area on the mesh, with the normals of their faces; the same for the same seed.

    Points within a triangle are drawn in its parallelogram, one half of which is folded onto the other.

    Raises:
        ContractBroken: a mesh that is empty or has no area.
    """
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    cross = np.cross(second - first, third - first)
    cumulative = np.cumsum(np.linalg.norm(cross, axis=1) / 2)
    if not len(mesh.faces) or not cumulative[-1] > 0:
        raise ContractBroken(
            f"A mesh of {len(mesh.faces)} faces has no area to draw points on.", "The predicted surface is empty."
        )
    generator = np.random.default_rng(seed)
    face = np.searchsorted(cumulative, generator.random(count) * cumulative[-1])
    along = generator.random((count, 2, 1))
    folded = along.sum(1, keepdims=True) > 1
    along = np.abs(along - folded)
    origin = first[face]
    xyz = origin + along[:, 0] * (second[face] - origin) + along[:, 1] * (third[face] - origin)
    normal = cross[face]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    return Points(xyz.astype(np.float32), normal.astype(np.float32))
