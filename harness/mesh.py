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
    from nfbench.harness import drawing  # numba takes its time

    cross, cumulative = drawing.areas(mesh.vertices, mesh.faces)
    if not len(mesh.faces) or not cumulative[-1] > 0:
        raise ContractBroken(
            f"A mesh of {len(mesh.faces)} faces has no area to draw points on.", "The predicted surface is empty."
        )
    generator = np.random.default_rng(seed)
    face = drawing.faces_at(cumulative, generator.random(count))
    return Points(*drawing.on_faces(mesh.vertices, mesh.faces, cross, face, generator.random((count, 2))))
