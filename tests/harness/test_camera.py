import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nfbench.harness.camera import Cameras, check_poses, from_opengl, look_at, pixel_grid, project, rays
from nfbench.harness.errors import DataCorrupt

K = np.array([[50.0, 0, 16], [0, 40, 12], [0, 0, 1]])
SIZE = (32, 24)


def camera(c2w=None, intrinsics=K, size=SIZE, near_far=None):
    pose = np.eye(4)[:3] if c2w is None else c2w
    return Cameras(np.array([pose]), np.array([intrinsics]), np.array([size]), near_far)


def random_pose(seed):
    rng = np.random.default_rng(seed)
    return np.concatenate([Rotation.random(rng=rng).as_matrix(), rng.normal(size=(3, 1)) * 3], axis=1)


seeds = st.integers(0, 2**32 - 1)
numbers = st.floats(-5, 5, width=32)
points = st.tuples(numbers, numbers, numbers)


# --- the convention


def test_x_is_right_y_is_down_z_is_forward():
    xyz = np.array([[0, 0, 2], [1, 0, 2], [0, 1, 2], [0, 0, -2.0]])
    image, depth = project(camera(), 0, xyz)
    np.testing.assert_allclose(image[:3], [[16, 12], [16 + 50 / 2, 12], [16, 12 + 40 / 2]])
    np.testing.assert_allclose(depth, [2, 2, 2, -2])


def test_the_centre_of_the_first_pixel_is_at_one_half():
    grid = pixel_grid(*SIZE)
    assert grid.shape == (24 * 32, 2)
    assert grid[0].tolist() == [0.5, 0.5]
    assert grid[1].tolist() == [1.5, 0.5]
    assert grid[32].tolist() == [0.5, 1.5]
    assert grid[-1].tolist() == [31.5, 23.5]
    np.testing.assert_array_equal(grid.reshape(24, 32, 2).mean((0, 1)), [16, 12])


def test_the_rays_of_an_upright_camera():
    origins, directions = rays(camera(), 0)
    local = np.stack([(pixel_grid(*SIZE)[:, 0] - 16) / 50, (pixel_grid(*SIZE)[:, 1] - 12) / 40, np.ones(768)], axis=1)
    np.testing.assert_allclose(directions, local / np.linalg.norm(local, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_array_equal(origins, np.zeros((768, 3)))
    assert (origins.dtype, directions.dtype) == (np.float32, np.float32)


def test_rays_and_projection_take_the_skew_and_the_camera_asked_for():
    skewed = K + np.array([[0, 3.0, 0], [0, 0, 0], [0, 0, 0]])
    cameras = Cameras(np.array([random_pose(0), random_pose(1)]), np.array([K, skewed]), np.array([SIZE, SIZE]))
    origins, directions = rays(cameras, 1, np.array([[20.0, 10.0]]))
    np.testing.assert_allclose(origins[0], random_pose(1)[:, 3], rtol=1e-6)
    image, _ = project(cameras, 1, origins + 2 * directions)
    np.testing.assert_allclose(image, [[20, 10]], atol=1e-3)


@given(seeds, st.floats(0, 32), st.floats(0, 24), st.floats(0.125, 50))
@settings(max_examples=60, deadline=None)
def test_a_point_on_a_ray_projects_to_its_pixel(seed, x, y, distance):
    cameras = camera(random_pose(seed))
    origins, directions = rays(cameras, 0, np.array([[x, y]]))
    np.testing.assert_allclose(np.linalg.norm(directions), 1, atol=1e-6)
    xyz = origins.astype(np.float64) + distance * directions.astype(np.float64)
    image, depth = project(cameras, 0, xyz)
    np.testing.assert_allclose(image[0], [x, y], atol=5e-3)
    assert 0 < depth[0] <= distance * (1 + 1e-6)


@given(seeds, points)
@settings(max_examples=60, deadline=None)
def test_projection_is_the_matrix_product_of_the_textbook(seed, point):
    """Hartley and Zisserman 2004, equation 6.8: x = K R [I | -C] X."""
    pose = random_pose(seed).astype(np.float32).astype(np.float64)
    world_to_camera = pose[:, :3].T
    expected = K @ world_to_camera @ (np.array(point) - pose[:, 3])
    assume(abs(expected[2]) > 0.05)
    image, depth = project(camera(pose), 0, np.array([point]))
    np.testing.assert_allclose(image[0], expected[:2] / expected[2], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(depth[0], expected[2], rtol=1e-6)


@given(seeds, seeds, points)
@settings(max_examples=40, deadline=None)
def test_moving_camera_and_point_together_changes_no_image(seed, motion, point):
    pose, moved = random_pose(seed), random_pose(motion)
    together = np.concatenate([moved[:, :3] @ pose[:, :3], moved[:, :3] @ pose[:, 3:] + moved[:, 3:]], axis=1)
    image, depth = project(camera(pose), 0, np.array([point]))
    assume(abs(depth[0]) > 0.2)
    again, depth_again = project(camera(together), 0, np.array([moved[:, :3] @ point + moved[:, 3]]))
    np.testing.assert_allclose(again, image, rtol=1e-3, atol=0.05)
    np.testing.assert_allclose(depth_again, depth, atol=1e-4)


def test_a_point_in_the_plane_of_the_camera_warns_of_nothing():
    with np.errstate(all="raise"):
        _, depth = project(camera(), 0, np.array([[1.0, 0, 0], [0, 0, 0]]))
    assert depth.tolist() == [0, 0]


def test_downscaled_cameras_see_along_the_same_rays():
    half = camera(random_pose(3), np.diag([0.5, 0.5, 1]) @ K, (16, 12))
    _, coarse = rays(half, 0, np.array([[4.0, 3.0]]))
    _, fine = rays(camera(random_pose(3)), 0, np.array([[8.0, 6.0]]))
    np.testing.assert_allclose(coarse, fine, atol=1e-6)


# --- poses


def test_opengl_axes_are_turned_about_x():
    """The identity in OpenGL looks along -z with y up."""
    pose = from_opengl(np.eye(4)[None])
    assert pose.dtype == np.float32
    np.testing.assert_array_equal(pose[0], [[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0]])
    image, depth = project(camera(pose[0]), 0, np.array([[0, 0.1, -2.0]]))
    assert depth[0] == 2
    assert image[0, 1] < 12  # above is up in the image


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_turning_the_axes_twice_gives_the_pose_again(seed):
    pose = random_pose(seed)[None].astype(np.float32)
    turned = from_opengl(pose)
    np.testing.assert_array_equal(turned[:, :, 3], pose[:, :, 3])
    np.testing.assert_allclose(np.linalg.det(turned[:, :, :3]), 1, atol=1e-5)
    np.testing.assert_array_equal(from_opengl(turned), pose)


def test_turning_the_axes_leaves_its_input_alone():
    poses = np.tile(np.eye(4), (2, 1, 1))
    from_opengl(poses)
    np.testing.assert_array_equal(poses, np.tile(np.eye(4), (2, 1, 1)))


@given(points, points)
@settings(max_examples=60, deadline=None)
def test_look_at_puts_the_target_in_the_middle_and_up_upwards(eye, target):
    eye, target = np.array(eye), np.array(target)
    assume(np.linalg.norm((target - eye)[:2]) > 0.5)  # not straight up or down
    cameras = camera(look_at(eye, target))
    image, depth = project(cameras, 0, np.array([target, eye + (target - eye) / 2 + [0, 0, 0.1]]))
    np.testing.assert_allclose(image[0], [16, 12], atol=1e-2)
    np.testing.assert_allclose(depth[0], np.linalg.norm(target - eye), rtol=1e-4)
    assert image[1, 1] < 12
    np.testing.assert_allclose(image[1, 0], 16, atol=1e-2)


def test_look_at_takes_another_up():
    np.testing.assert_allclose(
        look_at([0, 0, -2], [0, 0, 0], up=(0, -1, 0)), [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, -2]]
    )


# --- Cameras


def test_arrays_are_converted_once():
    cameras = camera(np.eye(4)[:3].tolist(), K.tolist(), list(SIZE), [[1, 2]])
    assert (cameras.c2w.dtype, cameras.K.dtype, cameras.near_far.dtype) == (np.float32,) * 3
    assert cameras.size.dtype == np.int32
    assert len(cameras) == 1


def test_indexing_keeps_what_belongs_together():
    n = 5
    cameras = Cameras(
        np.array([random_pose(i) for i in range(n)]),
        np.array([np.diag([10 + i, 10 + i, 1]) for i in range(n)]),
        np.array([(8 + i, 6) for i in range(n)]),
        np.array([(1, 2 + i) for i in range(n)]),
    )
    for index, at in ((2, [2]), (-1, [4]), (slice(1, None, 2), [1, 3]), ([3, 0], [3, 0]), ([], [])):
        picked = cameras[index]
        assert len(picked) == len(at)
        for name in ("c2w", "K", "size", "near_far"):
            np.testing.assert_array_equal(getattr(picked, name), getattr(cameras, name)[at])
        np.testing.assert_array_equal(picked.centres, cameras.c2w[at][:, :, 3])


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"c2w": np.eye(4)[None]}, "c2w"),
        ({"K": np.eye(4)[None]}, "K"),
        ({"K": np.tile(K, (2, 1, 1))}, "K"),
        ({"size": np.array([32, 24])}, "size"),
        ({"near_far": np.array([2.0, 6.0])}, "near_far"),
    ],
)
def test_wrong_shapes_are_named(wrong, word):
    fields = {"c2w": np.eye(4)[None, :3], "K": K[None], "size": np.array([SIZE])} | wrong
    with pytest.raises(DataCorrupt, match=f"Cameras.{word} has shape"):
        Cameras(**fields)


@pytest.mark.parametrize(
    ("intrinsics", "size"),
    [(K * math.nan, SIZE), (np.diag([0, 40, 1.0]), SIZE), (np.diag([50, 0, 1.0]), SIZE), (K, (0, 24)), (K, (32, -1))],
)
def test_unusable_intrinsics_are_named(intrinsics, size):
    good = np.eye(4)[:3]
    with pytest.raises(DataCorrupt, match="camera 1 has no usable intrinsics"):
        Cameras(np.array([good, good]), np.array([K, intrinsics]), np.array([SIZE, size]))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda pose: pose * [1, 1, 1, math.nan], "NaN"),
        (lambda pose: pose * [1, 1, 1, math.inf], "infinity"),
        (lambda pose: pose * 2, "determinant 8"),
        (lambda pose: pose * [1, 1, 0, 1], "determinant 0"),
        (lambda pose: pose + np.float64(0.1), "not a rotation"),
        (lambda pose: pose * [-1, 1, 1, 1], "mirrors"),
    ],
)
def test_poses_that_are_no_rigid_motion_are_named(change, word):
    poses = np.array([random_pose(1), change(random_pose(2))])
    with pytest.raises(DataCorrupt, match=word) as caught:
        check_poses(poses, ["frame 0 (a)", "frame 1 (b)"])
    assert caught.value.message.startswith("frame 1 (b)")
    assert caught.value.hint
    with pytest.raises(DataCorrupt, match="camera 1"):
        Cameras(poses, np.array([K, K]), np.array([SIZE, SIZE]))


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_every_rotation_passes_even_when_written_with_few_digits(seed):
    check_poses(np.round(random_pose(seed), 3)[None], ["a"])
