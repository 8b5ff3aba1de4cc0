import numpy as np
import pytest

from nfbench.harness.camera import Cameras, look_at, project
from nfbench.harness.errors import NfbenchError
from nfbench.harness.orbit import orbit
from nfbench.harness.scene import Given, Scene, Views

BOX = np.array([[-1, -1, 0], [1, 1, 1.0]], np.float32)
CORNERS = np.array(np.meshgrid(*BOX.T, indexing="ij")).reshape(3, -1).T


def scene(views=None):
    return Scene("s", Given(views=views), BOX)


def views(up, elevation, distance, count=12, near_far=None):
    """Views on a circle about the middle of the box, `up` upwards."""
    up = np.array(up) / np.linalg.norm(up)
    first = np.cross(up, [0.3, 0.5, 0.81])
    first /= np.linalg.norm(first)
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)[:, None]
    level = np.cos(turn) * first + np.sin(turn) * np.cross(up, first)
    eyes = BOX.mean(0) + distance * (np.cos(elevation) * level + np.sin(elevation) * up)
    K = np.array([[120.0, 0, 50], [0, 120, 40], [0, 0, 1]])
    cameras = Cameras(
        np.stack([look_at(eye, BOX.mean(0), up) for eye in eyes]),
        np.tile(K, (count, 1, 1)),
        np.tile([100, 80], (count, 1)),
        None if near_far is None else np.tile(near_far, (count, 1)),
    )
    return Views(cameras, tuple(map(str, range(count))), lambda i: None)


def test_without_views_the_box_is_seen_whole_from_thirty_degrees():
    found = orbit(scene(), 8, 100)
    away = found.centres - BOX.mean(0)
    np.testing.assert_allclose(np.arcsin(away[:, 2] / np.linalg.norm(away, axis=1)), np.radians(30), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(np.diff(found.centres, axis=0), axis=1).std(), 0, atol=1e-5)
    for index in range(8):
        xy, depth = project(found, index, CORNERS)
        assert (xy > 0).all()
        assert (xy < 100).all()
        assert (depth > 0).all()
        distance = np.linalg.norm(CORNERS - found.centres[index], axis=1)
        assert (distance > found.near_far[index, 0] - 1e-4).all()
        assert (distance < found.near_far[index, 1] + 1e-4).all()


@pytest.mark.parametrize(("up", "elevation"), [((0, 0, 1), 0.3), ((0, -1, 0), -0.2), ((0.6, 0.1, 0.7), 0.5)])
def test_views_give_elevation_up_and_distance(up, elevation):
    given = views(up, elevation, 5.0, near_far=[3.0, 7.0])
    found = orbit(scene(given), 6, 64)
    unit = np.array(up) / np.linalg.norm(up)
    away = found.centres - BOX.mean(0)
    np.testing.assert_allclose(np.linalg.norm(away, axis=1), 5, rtol=1e-4)
    np.testing.assert_allclose(np.arcsin(away @ unit / 5), elevation, atol=1e-3)
    assert (-found.c2w[:, :, 1] @ unit > 0.8).all()
    np.testing.assert_allclose(found.near_far, [[3, 7]] * 6)
    # the shorter edge of the given images is as wide as the turntable's
    np.testing.assert_allclose(found.K[:, 0, 0] / 64, 120 / 80, rtol=1e-5)


def test_an_axis_near_to_what_is_up_is_up():
    found = orbit(scene(views((0.1, 0, 1), 0.0, 4.0)), 4, 10)
    np.testing.assert_allclose(found.centres[:, 2], 0.5, atol=1e-5)


def test_no_frame_is_refused():
    with pytest.raises(NfbenchError, match="0 frames"):
        orbit(scene(), 0, 10)
