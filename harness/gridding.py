"""Points on a mesh at a spacing, points thinned to a radius, points averaged by voxel: the clouds that scans are
judged with. The compiled loops are in gridding_kernel."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.scene import Mesh

MOST = 200_000_000  # gridded points, 4.8 GB: far above any object of DTU (about 10 million)

_CELLS = 1 << 21  # along an axis, so that three indices fit into 63 bits
_MARGIN = 1e-6  # by how much a cell is longer than the radius: rounding puts no neighbour two cells off

Cloud = NDArray[np.float64]  # (P,3)


def grid(mesh: Mesh, spacing: float) -> Cloud:
    """(P,3) float64: the vertices of a mesh, then points on each of its triangles about `spacing` apart.

    As DTUeval-python has it: a triangle with the edges a and b from its first corner carries the points
    ``(i + 1/2) a / n + (j + 1/2) b / m`` for which the two factors add up to less than 1, n and m being the lengths of
    the edges over ``spacing * sqrt(|a| |b| / |a x b|)``, rounded down. Triangles without area carry none, nor do those
    with n or m below 1.

    Args:
        mesh: in the original unit of the dataset; its vertices count whether a face has them or not.
        spacing: in the same unit.

    Raises:
        ContractBroken: the mesh would give more than 200 million points.
    """
    from nfbench.harness import gridding_kernel

    _check_positive(spacing, "spacing")
    origin, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    along, across = second - origin, third - origin
    doubled = np.linalg.norm(np.cross(along, across), axis=1)
    solid = doubled > 0
    origin, along, across, doubled = origin[solid], along[solid], across[solid], doubled[solid]
    lengths = np.stack([np.linalg.norm(along, axis=1), np.linalg.norm(across, axis=1)], axis=1)
    step = spacing * np.sqrt(lengths[:, 0] * lengths[:, 1] / doubled)
    steps = np.floor(lengths / step[:, None])
    if (estimate := float(steps.prod(1).sum()) / 2) > MOST:
        raise ContractBroken(
            f"The mesh would give about {estimate:.3g} points at a spacing of {spacing}.",
            "Check its unit (millimetres for DTU), and cut away background that is not judged.",
        )
    steps = steps.astype(np.int64)
    counts = gridding_kernel.count(steps)
    points = np.empty((len(mesh.vertices) + int(counts.sum()), 3))
    points[: len(mesh.vertices)] = mesh.vertices
    gridding_kernel.fill(origin, along, across, steps, points[len(mesh.vertices) :])
    return points


def thin(points: NDArray[np.floating], radius: float, seed: int) -> Cloud:
    """(Q,3) float64, Q <= P: the points left when each, in random order, removes the others within `radius`, inclusive.

    DTUeval-python's thinning, but for its order, which is another at each run and here follows from the seed. The
    points that are left are in the order in which they were given.

    Args:
        points: (P,3), finite.
        radius: in the unit of the points.
        seed: of the order.

    Raises:
        ContractBroken: points so far apart, or not finite, that they cannot be binned.
    """
    from nfbench.harness import gridding_kernel

    _check_positive(radius, "radius")
    cloud: Cloud = np.ascontiguousarray(points, np.float64)
    if not len(cloud):
        return np.empty((0, 3))
    keys = _keys(cloud, cloud.min(0), radius * (1 + _MARGIN), border=1)
    order = np.argsort(keys, kind="stable")
    binned = cloud[order]
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    turn = np.empty(len(cloud), np.int64)
    turn[np.random.default_rng(seed).permutation(len(cloud))] = np.arange(len(cloud))
    turn = turn[order]
    starts = np.append(first, len(cloud))
    cell = np.repeat(np.arange(len(first), dtype=np.int32), np.diff(starts))
    kept = gridding_kernel.thin(binned, keys[first], starts, cell, turn, radius)
    remaining = np.zeros(len(cloud), np.bool_)
    remaining[order[kept]] = True
    left: Cloud = cloud[remaining]
    return left


def voxel_downsample(points: NDArray[np.floating], size: float) -> Cloud:
    """(Q,3) float64, Q <= P: the mean of the points in each voxel that has any, as Open3D's `voxel_down_sample`.

    The voxels start half a voxel below the least coordinates; a point on a border belongs to the voxel above it.

    Args:
        points: (P,3), finite.
        size: edge of a voxel in the unit of the points.

    Raises:
        ContractBroken: points so far apart, or not finite, that they cannot be binned.
    """
    _check_positive(size, "voxel size")
    cloud: Cloud = np.asarray(points, np.float64)
    if not len(cloud):
        return np.empty((0, 3))
    keys = _keys(cloud, cloud.min(0) - size * 0.5, size, border=0)
    _, voxel, counts = np.unique(keys, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(voxel, cloud[:, axis], len(counts)) for axis in range(3)], axis=1)
    means: Cloud = sums / counts[:, None]
    return means


def _keys(points: Cloud, origin: Cloud, edge: float, border: int) -> NDArray[np.int64]:
    """(P,) one number for each cell, the last axis running fastest, with `border` empty cells on every side."""
    extent = points.max(0) - origin
    if not (extent / edge < _CELLS - 2 * border - 1).all():  # also where a point is not finite
        raise ContractBroken(
            f"Points over {extent.tolist()} units cannot be told apart at {edge:.4g} units.",
            "Check the unit and that all points are finite; cut away what lies far off.",
        )
    keys = np.zeros(len(points), np.int64)
    for axis in range(3):
        index = np.floor((points[:, axis] - origin[axis]) / edge).astype(np.int64)
        keys = keys * _CELLS + index + border
    return keys


def _check_positive(value: float, name: str) -> None:
    if not 0 < value < np.inf:
        raise NfbenchError(f"A {name} of {value}.", f"Give a {name} above 0.")
