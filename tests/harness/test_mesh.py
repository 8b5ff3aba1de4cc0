import numpy as np
import pytest
import trimesh

from nfbench.harness.errors import ContractBroken
from nfbench.harness.mesh import sample
from nfbench.harness.scene import Mesh


def cube():
    return Mesh(*igl_cube())


def igl_cube():
    box = trimesh.creation.box()
    return np.asarray(box.vertices), np.asarray(box.faces)


def test_sample_is_uniform_by_area_and_on_the_surface():
    vertices = cube().vertices * [1, 2, 4]  # sides of area 8, 4 and 2, twice each
    points = sample(Mesh(vertices, cube().faces), 56_000, 0)
    axis = np.abs(points.normal).argmax(1)
    half = np.array([0.5, 1, 2])
    np.testing.assert_allclose(np.bincount(axis) / 56_000, np.array([8, 4, 2]) / 14, atol=0.008)
    rows = np.arange(len(points))
    np.testing.assert_allclose(points.xyz[rows, axis], points.normal[rows, axis] * half[axis], atol=1e-6)
    front = points.xyz[(axis == 0) & (points.normal[:, 0] > 0)]
    counts, _, _ = np.histogram2d(front[:, 1], front[:, 2], bins=4, range=[[-1, 1], [-2, 2]])
    assert ((counts - len(front) / 16) ** 2).sum() / (len(front) / 16) < 37.7  # chi squared, 15 degrees, p = 0.001


def test_sample_depends_on_the_seed_alone():
    np.testing.assert_array_equal(sample(cube(), 100, 7).xyz, sample(cube(), 100, 7).xyz)
    assert not np.array_equal(sample(cube(), 100, 7).xyz, sample(cube(), 100, 8).xyz)


@pytest.mark.parametrize("faces", [np.empty((0, 3), int), np.array([[0, 1, 1]])])
def test_sample_needs_area(faces):
    with pytest.raises(ContractBroken, match="area"):
        sample(Mesh(np.eye(3), faces), 10, 0)
