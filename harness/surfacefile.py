"""A surface in a file, whichever it is: a mesh or a point cloud."""

from __future__ import annotations

from pathlib import Path

from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.meshfile import is_cloud, read_mesh
from nfbench.harness.scene import Mesh, Points


def read_surface(path: Path) -> Mesh | Points:
    """The mesh in a file, or the cloud where it has points and no faces.

    Raises:
        DataMissing, DataCorrupt, Unsupported: as `read_mesh` and `read_cloud` do.
    """
    return read_cloud(path) if is_cloud(path) else read_mesh(path)
