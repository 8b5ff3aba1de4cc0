import numpy as np
import pytest
import trimesh

from nfbench.harness.errors import DataCorrupt
from nfbench.harness.scene import Mesh
from nfbench.loaders.mesh_samples import MARGIN, distance, distances, normalised, occupancy, voxels


def solid(shape, scale=1.0, move=(0, 0, 0)):
    return Mesh(np.asarray(shape.vertices) * scale + move, np.asarray(shape.faces))


BALL = trimesh.creation.icosphere(subdivisions=4, radius=0.5)
BRICK = trimesh.creation.box((1, 2, 4))


@pytest.mark.parametrize(
    ("fit", "size"), [("box", 12.0), ("diagonal", 3 * 21**0.5), ("sphere", MARGIN * 3 * 21**0.5 / 2), ("none", None)]
)
def test_frames_lead_back_to_the_file(fit, size):
    mesh = solid(BRICK, 3, (5, -2, 1))
    lone = Mesh(np.vstack([mesh.vertices, [[99, 99, 99]]]), mesh.faces)
    found, frame = normalised(lone, fit)
    back = found.vertices @ frame[:3, :3].T + frame[:3, 3]
    np.testing.assert_allclose(back, lone.vertices, atol=1e-12)
    if size is None:
        np.testing.assert_array_equal(frame, np.eye(4))
    else:
        np.testing.assert_allclose(frame, [[size, 0, 0, 5], [0, size, 0, -2], [0, 0, size, 1], [0, 0, 0, 1]])
        np.testing.assert_allclose(found.vertices[:-1].max(0), -found.vertices[:-1].min(0))


def test_a_mesh_without_faces_or_extent_is_named():
    with pytest.raises(DataCorrupt, match="no faces"):
        normalised(Mesh(np.zeros((3, 3)), np.zeros((0, 3), int)), "box")
    with pytest.raises(DataCorrupt, match="no extent"):
        normalised(Mesh(np.ones((3, 3)), np.array([[0, 1, 2]])), "box")


def test_distances_to_a_brick_are_exact():
    xyz = np.random.default_rng(0).uniform(-3, 3, (4000, 3))
    outside = np.maximum(np.abs(xyz) - [0.5, 1, 2], 0)
    within = np.minimum((np.abs(xyz) - [0.5, 1, 2]).max(1), 0)
    np.testing.assert_allclose(distance(solid(BRICK), xyz), np.linalg.norm(outside, axis=1) + within, atol=1e-12)


def test_an_open_mesh_still_has_signs():
    whole = solid(BALL)
    value = distance(Mesh(whole.vertices, whole.faces[:-20]), np.array([[0, 0, 0.1], [0, 0, 0.9]]))
    assert value[0] == pytest.approx(-0.4, abs=5e-3) and value[1] == pytest.approx(0.4, abs=5e-3)


def test_occupancy_of_a_ball():
    found = occupancy(solid(BALL), 40_000, 1.1, seed=3)
    assert found.kind == "occupancy" and np.abs(found.xyz).max() <= 0.55 and np.abs(found.xyz).max() > 0.549
    radius = np.linalg.norm(found.xyz, axis=1)
    sure = np.abs(radius - 0.5) > 2e-3
    np.testing.assert_array_equal(found.value[sure], radius[sure] < 0.5)
    np.testing.assert_array_equal(found.xyz, occupancy(solid(BALL), 40_000, 1.1, seed=3).xyz)
    assert not np.array_equal(found.xyz, occupancy(solid(BALL), 40_000, 1.1, seed=4).xyz)


def test_distances_are_drawn_as_deepsdf_draws_them():
    mesh, _ = normalised(solid(BALL), "sphere")
    found = distances(mesh, 50_000, seed=0)
    assert found.kind == "sdf" and len(found) == 50_000
    np.testing.assert_allclose(found.value, np.linalg.norm(found.xyz, axis=1) - 1 / MARGIN, atol=2e-3)
    near, far = found.xyz[:47_000], found.xyz[47_000:]
    # along the normal of a sphere, noise of deviation s moves a point by s, and by 2 s^2 / 2r outwards besides
    for at, variance in enumerate((0.005, 0.0005)):
        assert np.std(np.linalg.norm(near[at::2], axis=1)) == pytest.approx(variance**0.5, rel=0.02)
    assert far.min() < -0.999 and far.max() > 0.999 and abs(far.mean()) < 0.02


def test_voxels_of_a_ball():
    found = voxels(solid(BALL), 16)
    np.testing.assert_array_equal(found.box, [[-0.5] * 3, [0.5] * 3])
    radius = np.linalg.norm(found.centres(), axis=1)
    sure = np.abs(radius - 0.5) > 2e-3
    np.testing.assert_array_equal(found.filled.ravel()[sure], radius[sure] < 0.5)
    assert voxels(solid(BALL), 4, half=1.0).filled.sum() == 8  # of centres at 0.25 and 0.75


def test_distances_of_another_scale():
    """Half the cube: the same draws at half the size about a mesh of half the size."""
    whole, half = (distances(solid(BALL, scale), 1000, 5, scale) for scale in (1.0, 0.5))
    np.testing.assert_allclose(half.xyz, whole.xyz / 2, atol=1e-6)
    np.testing.assert_allclose(half.value, whole.value / 2, atol=1e-6)
