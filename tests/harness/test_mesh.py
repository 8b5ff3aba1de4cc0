import numpy as np
import pytest
import trimesh

from nfbench.harness.drawing import faces_at
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


def test_any_area_will_do_but_one_that_is_no_number():
    tiny = sample(Mesh(np.eye(3) * 1e-9, np.array([[0, 1, 2]])), 10, 0)
    assert tiny.xyz.sum(1) == pytest.approx(1e-9, rel=1e-5)
    huge = np.array([[0, 0, 0], [1, 1, 0], [1, 2, 0]]) * 1e200
    with pytest.raises(ContractBroken, match="1 faces has no area"):
        sample(Mesh(huge, np.array([[0, 1, 2]])), 10, 0)


def drawn_by_numpy(mesh, count, seed):
    """Points and normals by the recipe, in float64."""
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    cross = np.cross(second - first, third - first)
    cumulative = np.cumsum(np.linalg.norm(cross, axis=1) / 2)
    generator = np.random.default_rng(seed)
    face = np.searchsorted(cumulative, generator.random(count) * cumulative[-1])
    along = generator.random((count, 2, 1))
    along = np.abs(along - (along.sum(1, keepdims=True) > 1))
    xyz = first[face] + along[:, 0] * (second - first)[face] + along[:, 1] * (third - first)[face]
    return xyz, cross[face] / np.linalg.norm(cross[face], axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(4))
def test_sample_follows_the_recipe(seed):
    ball = trimesh.creation.icosphere(subdivisions=seed)
    faces = np.asarray(ball.faces)
    flat = faces[:1].repeat(3, 0) * 0
    mesh = Mesh(np.exp(2 * ball.vertices), np.concatenate([flat, faces[:9], flat, faces[9:], flat]))
    xyz, normal = drawn_by_numpy(mesh, 20_000, seed)
    found = sample(mesh, 20_000, seed)
    np.testing.assert_array_equal(found.xyz, xyz.astype(np.float32))
    np.testing.assert_array_equal(found.normal, normal.astype(np.float32))


@pytest.mark.parametrize("area", [[1, 1, 1, 1], [0, 3, 0, 1e-9, 5, 0], [1e9, 1e-9, 1e-9, 1e9], [7]])
def test_faces_are_found_as_by_halves(area):
    cumulative = np.cumsum(np.array(area, float))
    inner = cumulative[(cumulative > 0) & (cumulative < cumulative[-1])] / cumulative[-1]
    uniform = np.concatenate(
        [np.random.default_rng(0).random(999), inner, np.nextafter(inner, 0), np.nextafter(inner, 1)]
    )
    found = faces_at(cumulative, uniform)
    np.testing.assert_array_equal(found, np.searchsorted(cumulative, uniform * cumulative[-1]))
    ends = faces_at(cumulative, np.array([0.0, np.nextafter(1, 0)]))
    np.testing.assert_array_equal(ends, np.flatnonzero(area)[[0, -1]], "0 is no face without area")
