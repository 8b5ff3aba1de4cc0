"""Contests about surfaces: nearest neighbours with three metrics, and drawing points on a mesh.

The clouds are drawn on a bumpy sphere and on a slightly larger one. Peers that are not installed are left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import trimesh
from contest import Contest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from nfbench.harness import surface
from nfbench.harness.mesh import sample
from nfbench.harness.scene import Mesh, Points

SIZES = {100_000: 9, 1_000_000: 3}  # points, turns
DRAWN, DRAWING_TURNS = 1_000_000, 9
RADIUS = 0.01
Scores = NDArray[np.floating]
Search = Callable[[NDArray[np.floating], NDArray[np.floating]], tuple[NDArray[Any], NDArray[Any]]]


def bumpy_sphere(radius: float) -> Mesh:
    """An icosphere of 81,920 faces with bumps."""
    ball = trimesh.creation.icosphere(subdivisions=6)
    vertices = np.asarray(ball.vertices)
    return Mesh(vertices * (radius + 0.05 * np.sin(9 * vertices).prod(1, keepdims=True)), np.asarray(ball.faces))


def by_search(prediction: Points, truth: Points, search: Search) -> Scores:
    """Chamfer-L1, F-score and normal consistency in numpy, from one search each way."""
    forth, at_truth = search(prediction.xyz, truth.xyz)
    back, at_prediction = search(truth.xyz, prediction.xyz)
    ours, theirs = (np.asarray(p.normal, np.float64) for p in (prediction, truth))
    ours, theirs = (n / np.linalg.norm(n, axis=1, keepdims=True) for n in (ours, theirs))
    agreement = [np.abs((ours * theirs[at_truth]).sum(1)).mean(), np.abs((theirs * ours[at_prediction]).sum(1)).mean()]
    precision, recall = (forth <= RADIUS).mean(), (back <= RADIUS).mean()
    harmonic = 2 * precision * recall / (precision + recall)
    return np.array([(forth.mean() + back.mean()) / 2, harmonic, sum(agreement) / 2])


def by_correspondence(prediction: Points, truth: Points) -> Scores:
    """The same three by nfbench."""
    found = surface.correspond(prediction, truth)
    return np.array([found.chamfer_l1_mean(), found.fscore(RADIUS), found.normal_consistency()])


def searches() -> dict[str, Search]:
    """The search of every peer that is installed."""
    found: dict[str, Search] = {"scipy cKDTree": lambda a, b: cKDTree(b).query(a)}
    try:
        tree = importlib.import_module("pykdtree.kdtree").KDTree
        found["pykdtree"] = lambda a, b: tree(np.float64(b)).query(np.float64(a))
    except ImportError:
        pass
    try:
        pcu = importlib.import_module("point_cloud_utils")
        found["point-cloud-utils"] = lambda a, b: pcu.k_nearest_neighbors(
            np.float64(a), np.float64(b), 1, num_threads=1
        )
    except ImportError:
        pass
    return found


def neighbours(count: int) -> Contest:
    """Contestants on two clouds of `count` points."""
    prediction, truth = sample(bumpy_sphere(1.002), count, 0), sample(bumpy_sphere(1.0), count, 1)
    contest: Contest = {
        name: lambda search=search: by_search(prediction, truth, search)  # type: ignore[misc]
        for name, search in searches().items()
    }
    return {**contest, "nfbench": lambda: by_correspondence(prediction, truth)}


def drawing() -> Contest:
    """Contestants that draw points on a mesh, from the same random numbers."""
    mesh = bumpy_sphere(1.0)
    peer = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)

    def by_trimesh() -> Scores:
        peer._cache.clear()  # the areas of the faces, which nfbench computes each time
        xyz, _ = trimesh.sample.sample_surface(peer, DRAWN, seed=0)
        return np.asarray(xyz)

    return {"trimesh": by_trimesh, "nfbench": lambda: np.asarray(sample(mesh, DRAWN, 0).xyz)}


def contests() -> dict[str, tuple[Contest, int]]:
    """What is computed, to contestants and turns."""
    found = {
        f"Chamfer-L1, F-score, normals, {count:,} points each": (neighbours(count), turns)
        for count, turns in SIZES.items()
    }
    return {**found, f"drawing {DRAWN:,} points": (drawing(), DRAWING_TURNS)}
