"""Marching cubes in pieces against scikit-image on the whole, where fields are at their worst: noise."""

import numpy as np
import pytest
from skimage.measure import marching_cubes

from nfbench.harness.marching import march
from nfbench.harness.sparse_grid import SparseGrid


def noise(seed, shape=(45, 37, 70)):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def whole(values):
    vertices, faces, _, _ = marching_cubes(np.pad(values, 1, constant_values=-1e3), 0.0, gradient_direction="ascent")
    return vertices.astype(np.float64) - 1, faces


def both(values):
    end = np.array(values.shape) - 1
    (vertices, faces), (expected, whole_faces) = march(SparseGrid.dense(values)), whole(values)
    return np.clip(vertices, 0, end), faces, np.clip(expected, 0, end), whole_faces


@pytest.mark.parametrize("seed", range(3))
def test_pieces_of_noise_are_the_whole(seed):
    vertices, faces, expected, whole_faces = both(noise(seed))
    np.testing.assert_allclose(vertices, expected, atol=1e-5)
    np.testing.assert_array_equal(faces, whole_faces)


@pytest.mark.parametrize("share", [0.001, 0.05])
def test_zeros_exactly_on_points_leave_the_same_triangles(share):
    values = noise(5)
    values[np.random.default_rng(6).random(values.shape) < share] = 0
    vertices, faces, expected, whole_faces = both(values)
    assert len(faces) == len(whole_faces)
    ours, theirs = (np.sort(v[f].mean(1) @ [1e6, 1e3, 1]) for v, f in ((vertices, faces), (expected, whole_faces)))
    np.testing.assert_allclose(ours, theirs, atol=70)  # the same triangles, to 1e-4 of a cell
    # the whole has open edges itself, where zeros are corners of ambiguous cells: Lewiner's tests cannot tell there
    assert open_edges(faces) <= open_edges(whole_faces)


def open_edges(faces):
    """How many edges, counted by direction, lack the face on their other side."""
    count = int(faces.max()) + 1
    start, end = faces.ravel().astype(np.int64), faces[:, [1, 2, 0]].ravel()
    edges, turn = np.unique(np.concatenate([start * count + end, end * count + start]), return_inverse=True)
    return np.abs(np.bincount(turn, np.repeat([1, -1], len(start)), len(edges))).sum()


def test_noise_is_closed():
    assert open_edges(march(SparseGrid.dense(noise(1)))[1]) == 0


def test_a_plane_on_points_of_the_grid_is_the_whole():
    x = np.arange(70, dtype=np.float32)[:, None, None]
    vertices, faces, expected, whole_faces = both(np.broadcast_to(32 - x, (70, 40, 36)).copy())
    np.testing.assert_allclose(vertices, expected, atol=1e-5)
    np.testing.assert_array_equal(faces, whole_faces)


def test_one_point_and_none():
    values = np.full((3, 3, 3), -1, np.float32)
    assert [len(part) for part in march(SparseGrid.dense(values))] == [0, 0]
    values[1, 1, 1] = 1
    vertices, faces = march(SparseGrid.dense(values))
    assert (len(vertices), len(faces)) == (6, 8)
    np.testing.assert_allclose(np.sort(np.abs(vertices - 1), axis=1), [[0, 0, 0.5]] * 6)
