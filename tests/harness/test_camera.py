import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nfbench.harness import lens
from nfbench.harness.camera import (
    Cameras,
    check_poses,
    from_opengl,
    local_rays,
    look_at,
    moved,
    pinholes,
    pixel_grid,
    project,
    rays,
    undistorted,
    unit_frame,
)
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


# --- lenses

BARREL = (-0.25, 0.06, 0.001, -0.002, 0, 0, 0, 0)
FISHEYE = (0.03, -0.01, 0.002, 0, 0, 0, 0, 0)


def bent(numbers=BARREL, fisheye=None, pose=None):
    c2w = np.eye(4)[:3] if pose is None else pose
    return Cameras(np.array([c2w]), np.array([K]), np.array([SIZE]), None, np.array([numbers]), fisheye)


@pytest.mark.parametrize(
    ("numbers", "fisheye"), [(BARREL, None), (BARREL, [False]), (FISHEYE, [True]), ((0,) * 8, [True])]
)
@given(seed=seeds, x=st.floats(0, 32), y=st.floats(0, 24))
@settings(max_examples=30, deadline=None)
def test_a_point_on_the_ray_of_a_lens_projects_to_its_pixel(numbers, fisheye, seed, x, y):
    cameras = bent(numbers, fisheye, random_pose(seed))
    origins, directions = rays(cameras, 0, np.array([[x, y]]))
    np.testing.assert_allclose(np.linalg.norm(directions), 1, atol=1e-6)
    local = local_rays(cameras, 0, np.array([[x, y]]))
    c2w = cameras.c2w[0].astype(np.float64)
    exact = c2w[:, 3] + 2 * local @ np.linalg.inv(c2w[:, :3])
    image, depth = project(cameras, 0, exact)
    np.testing.assert_allclose(image, [[x, y]], atol=1e-4)
    assert depth[0] > 0
    image, _ = project(cameras, 0, origins.astype(np.float64) + 2 * directions.astype(np.float64))
    np.testing.assert_allclose(image, [[x, y]], atol=2e-3)


def test_the_lens_bends_as_its_module_says():
    cameras = bent()
    image, depth = project(cameras, 0, np.array([[0.3, 0.2, 2.0]]))
    place = lens.distort(np.array([[0.3, 0.2, 2.0]]), np.float32(BARREL).astype(float), False)[0]
    np.testing.assert_allclose(image, [place * [50, 40] + [16, 12]], rtol=1e-12)
    assert depth.tolist() == [2]


def test_a_lens_of_zeros_is_a_pinhole():
    assert bent((0,) * 8).lens(0) is None
    assert bent((0,) * 8, [True]).lens(0) is not None
    numbers, fisheye = bent().lens(0)
    assert numbers.dtype == np.float64
    assert fisheye is False
    np.testing.assert_array_equal(rays(bent((0,) * 8), 0)[1], rays(camera(), 0)[1])
    assert camera().lens(0) is None


def test_every_camera_has_its_own_lens():
    both = Cameras(
        np.tile(np.eye(4)[:3], (3, 1, 1)), np.tile(K, (3, 1, 1)), np.tile(SIZE, (3, 1)), None,
        np.array([BARREL, FISHEYE, (0,) * 8]), np.array([False, True, False]),
    )  # fmt: skip
    assert both.distortion.dtype == np.float32
    assert both.fisheye.dtype == bool
    at = np.array([[3.0, 5.0]])
    for i, alone in enumerate((bent(), bent(FISHEYE, [True]), camera())):
        np.testing.assert_array_equal(rays(both, i, at)[1], rays(alone, 0, at)[1])
        np.testing.assert_array_equal(rays(both[i], 0, at)[1], rays(alone, 0, at)[1])
    assert both[[2, 1]].fisheye.tolist() == [False, True]
    np.testing.assert_array_equal(both[1:].distortion, both.distortion[1:])
    assert pinholes(both).distortion is None
    assert pinholes(both).fisheye is None


@pytest.mark.parametrize(
    ("numbers", "fisheye", "word"),
    [
        ([BARREL[:5]], None, "Cameras.distortion has shape"),
        ([BARREL], [True, False], "Cameras.fisheye has shape"),
        ([(math.nan, *BARREL[1:])], None, "camera 0 has no usable distortion"),
        ([(0, 0, 0, 0, 1, 0, 0, 0)], [True], "camera 0 has no usable distortion"),
        ([(-60, 0, 0, 0, 0, 0, 0, 0)], None, "camera 0: its distortion folds the middle"),
        ([(-60, 0, 0, 0, 0, 0, 0, 0)], [True], "camera 0: its distortion folds the middle"),
        (None, [True], "Cameras.fisheye is given without"),
    ],
)
def test_wrong_lenses_are_named(numbers, fisheye, word):
    distortion = None if numbers is None else np.array(numbers)
    with pytest.raises(DataCorrupt, match=word):
        Cameras(np.eye(4)[None, :3], K[None], np.array([SIZE]), None, distortion, fisheye)


def test_an_undistorted_picture_is_what_a_pinhole_sees():
    """A picture whose colour is linear in the direction stays so, without the lens."""
    size, matrix = (64, 48), np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    cameras = Cameras(random_pose(4)[None], matrix[None], np.array([size]), None, np.array([BARREL]))

    def painted(at):
        local = local_rays(at, 0, pixel_grid(*size))
        colour = 127 + 150 * np.stack([local[:, 0], local[:, 1], local[:, 0]], axis=1) / local[:, 2:]
        return np.rint(colour).astype(np.uint8).reshape(48, 64, 3)

    straight = undistorted(painted(cameras), cameras, 0)
    assert (straight.shape, straight.dtype) == ((48, 64, 3), np.uint8)
    assert np.abs(straight.astype(int) - painted(pinholes(cameras))).max() <= 2
    plain = Cameras(random_pose(4)[None], matrix[None], np.array([size]), None, np.zeros((1, 8)))
    np.testing.assert_array_equal(undistorted(painted(plain), plain, 0), painted(plain))


def test_what_the_lens_did_not_see_is_black():
    size, matrix = (64, 48), np.array([[60.0, 0, 32], [0, 60, 24], [0, 0, 1]])
    cameras = Cameras(random_pose(4)[None], matrix[None], np.array([size]), None, np.array([(0.5, *[0] * 7)]))
    straight = undistorted(np.full((48, 64, 4), 200, np.uint8), cameras, 0)
    assert straight[0, 0].tolist() == [0] * 4
    assert straight[24, 32].tolist() == [200] * 4


# --- other coordinates


def test_the_unit_frame_holds_the_box():
    frame = unit_frame([[1.0, 2, 3], [5, 4, 4]])
    inverse = np.linalg.inv(frame)
    corners = np.array([[1.0, 2, 3, 1], [5, 4, 4, 1]]) @ inverse.T
    np.testing.assert_allclose(corners[:, :3], [[-1, -0.5, -0.25], [1, 0.5, 0.25]], atol=1e-12)
    assert (frame.shape, frame.dtype) == ((4, 4), np.float64)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_moved_cameras_see_moved_points_at_the_same_pixels(seed):
    rng = np.random.default_rng(seed)
    similarity = np.eye(4)
    similarity[:3, :3] = Rotation.random(rng=rng).as_matrix() * rng.uniform(0.2, 5)
    similarity[:3, 3] = rng.normal(size=3)
    scale = np.cbrt(np.linalg.det(similarity[:3, :3]))
    cameras = camera(random_pose(seed), near_far=[[1, 2]])
    point = cameras.centres[0] + 3 * cameras.c2w[0, :, 2] + 0.3 * cameras.c2w[0, :, 0]
    there = moved(cameras, similarity)
    np.testing.assert_allclose(there.near_far, [[scale, 2 * scale]], rtol=1e-6)
    image, depth = project(cameras, 0, point[None])
    again, far = project(there, 0, (similarity[:3, :3] @ point + similarity[:3, 3])[None])
    np.testing.assert_allclose(again, image, atol=2e-3)
    np.testing.assert_allclose(far, depth * scale, rtol=1e-4)
    back = moved(there, np.linalg.inv(similarity))
    np.testing.assert_allclose(back.c2w, cameras.c2w, atol=1e-5)
    assert back.c2w.dtype == np.float32


def test_moved_cameras_keep_their_lenses():
    there = moved(bent(FISHEYE, [True]), np.diag([2.0, 2, 2, 1]))
    np.testing.assert_array_equal(there.distortion, np.float32([FISHEYE]))
    assert there.fisheye.tolist() == [True]
    assert there.near_far is None


@pytest.mark.parametrize(("fx", "half_way"), [(50, 8 / 50), (60, 6 / 40)])
@pytest.mark.parametrize("fisheye", [False, True])
def test_a_lens_must_see_half_way_to_the_edges(fx, half_way, fisheye):
    """r (1 + k r^2) turns back at r = 1 / sqrt(-3 k), where it is two thirds of that."""
    matrix = np.array([[fx, 0, 16], [0, 40, 12], [0, 0, 1]])
    for farthest, fine in ((half_way * 1.01, True), (half_way * 0.99, False)):
        numbers = np.array([[-1 / (3 * (1.5 * farthest) ** 2), *[0] * 7]])
        arguments = np.eye(4)[None, :3], matrix[None], np.array([SIZE]), None, numbers, np.array([fisheye])
        if fine:
            Cameras(*arguments)
            continue
        with pytest.raises(DataCorrupt, match="folds"):
            Cameras(*arguments)
