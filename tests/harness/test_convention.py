import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nfbench.harness import convention
from nfbench.harness.camera import from_opengl

K = np.array([[1200.0, 0, 650], [0, 1180, 470], [0, 0, 1]])
seeds = st.integers(0, 2**32 - 1)
TURN_BACK = {
    "colmap": lambda c2w: convention.from_colmap(*convention.to_colmap(c2w)),
    "llff": lambda c2w: convention.from_llff(convention.to_llff(c2w)),
    "pytorch3d": lambda c2w: convention.from_pytorch3d(*convention.to_pytorch3d(c2w)),
    "world to camera": lambda c2w: convention.from_world_to_camera(convention.to_world_to_camera(c2w)),
}


def pose(seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix()
    return np.concatenate([turn, rng.normal(size=(3, 1)) * 3], axis=1)[None]


def pixels(c2w, seed):
    """Where points before the camera land, in float64."""
    rng = np.random.default_rng(seed)
    local = np.concatenate([rng.uniform(-1, 1, (20, 2)), rng.uniform(1, 9, (20, 1))], axis=1)
    world = local @ pose(seed)[0, :, :3].T + pose(seed)[0, :, 3]
    image = (world - c2w[0, :, 3]) @ c2w[0, :, :3] @ K.T
    return image[:, :2] / image[:, 2:]


@pytest.mark.parametrize("name", TURN_BACK)
@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_there_and_back_moves_no_pixel(name, seed):
    c2w = pose(seed)
    back = TURN_BACK[name](c2w)
    assert back.shape == (1, 3, 4)
    assert back.dtype == np.float64
    np.testing.assert_allclose(pixels(back, seed), pixels(c2w, seed), atol=1e-6)


@given(seed=seeds)
@settings(max_examples=20, deadline=None)
def test_opengl_there_and_back_moves_no_bit(seed):
    c2w = pose(seed).astype(np.float32)
    np.testing.assert_array_equal(from_opengl(from_opengl(c2w)), c2w)


@given(seed=seeds)
@settings(max_examples=40, deadline=None)
def test_quaternions_are_those_of_scipy(seed):
    turn = Rotation.random(5, rng=np.random.default_rng(seed))
    expected = turn.as_quat(canonical=True, scalar_first=True)
    found = convention.quaternions(turn.as_matrix())
    np.testing.assert_allclose(found * np.sign((found * expected).sum(1, keepdims=True)), expected, atol=1e-12)
    assert (found[:, 0] >= 0).all()
    np.testing.assert_allclose(convention.rotations(expected * 3), turn.as_matrix(), atol=1e-12)


@pytest.mark.parametrize("turn", [np.diag([1.0, -1, -1]), np.diag([-1.0, 1, -1]), np.diag([-1.0, -1, 1]), np.eye(3)])
def test_half_turns_have_quaternions_too(turn):
    np.testing.assert_allclose(convention.rotations(convention.quaternions(turn[None])), turn[None], atol=1e-12)


def test_the_nearest_rotation_is_taken():
    q = convention.quaternions(np.eye(3)[None] + 1e-4)
    np.testing.assert_allclose(np.linalg.norm(q, axis=1), 1, rtol=1e-12)
    np.testing.assert_allclose(q, [[1, 0, 0, 0]], atol=1e-4)


def test_colmap_is_world_to_camera():
    """x_camera = R x_world + t: the camera's centre goes to the origin, and t is where the world's origin is seen."""
    q = np.array([[np.sqrt(0.5), 0, 0, np.sqrt(0.5)]])  # a quarter turn about z: x to y
    c2w = convention.from_colmap(q, np.array([[1.0, 2, 3]]))
    np.testing.assert_allclose(c2w[0, :, :3], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-12)
    np.testing.assert_allclose(c2w[0, :, 3], [-2, 1, -3], atol=1e-12)
    back, t = convention.to_colmap(c2w)
    np.testing.assert_allclose(back, q, atol=1e-12)
    np.testing.assert_allclose(t, [[1, 2, 3]], atol=1e-12)


def test_world_to_camera_takes_four_rows_as_well():
    whole = np.eye(4)[None].copy()
    whole[0, :3] = pose(3)[0]
    np.testing.assert_allclose(convention.from_world_to_camera(whole)[0], np.linalg.inv(whole[0])[:3], atol=1e-12)


def test_llff_axes_are_down_right_backwards():
    down, right, back, centre = np.eye(3)[1], np.eye(3)[0], -np.eye(3)[2], np.array([5.0, 6, 7])
    stored = np.stack([down, right, back, centre], axis=1)[None]
    np.testing.assert_array_equal(convention.from_llff(stored)[0], np.c_[np.eye(3), centre])
    np.testing.assert_array_equal(convention.to_llff(np.c_[np.eye(3), centre][None]), stored)


def test_pytorch3d_axes_are_left_up_forward_and_rows():
    """Rows times R plus T: a point to the right and below in our axes has negative x and y in PyTorch3D's."""
    c2w = pose(8)
    R, T = convention.to_pytorch3d(c2w)
    assert (R.shape, T.shape) == ((1, 3, 3), (1, 3))
    world = c2w[0, :, 3] + c2w[0, :, :3] @ np.array([0.5, 0.25, 2])
    np.testing.assert_allclose(world @ R[0] + T[0], [-0.5, -0.25, 2], atol=1e-12)
    np.testing.assert_allclose(convention.from_pytorch3d(R, T), c2w, atol=1e-12)


@given(st.floats(100, 5000), st.floats(100, 5000), st.floats(-100, 2000), st.integers(1, 4000), st.integers(1, 4000))
@settings(max_examples=60, deadline=None)
def test_ndc_there_and_back_moves_no_pixel(fx, fy, centre, width, height):
    k = np.array([[[fx, 0, centre], [0, fy, centre / 2], [0, 0, 1]]])
    focal, principal = convention.to_ndc(k, [[width, height]])
    np.testing.assert_allclose(convention.from_ndc(focal, principal, [[width, height]]), k, atol=1e-6)


def test_ndc_is_relative_to_the_shorter_side_and_points_left_and_up():
    focal, principal = convention.to_ndc([[[100.0, 0, 60], [0, 50, 10], [0, 0, 1]]], [[80, 40]])
    np.testing.assert_allclose(focal, [[5, 2.5]])
    np.testing.assert_allclose(principal, [[-1, 0.5]])  # 20 px to the right, 10 px up
