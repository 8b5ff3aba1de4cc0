import numpy as np
import pytest

from nfbench.harness.camera import Cameras, look_at
from nfbench.loaders.watched import watched_box


def test_the_box_is_what_the_cameras_watch():
    poses = np.stack([look_at([1 + 3 * np.cos(a), 2 + 3 * np.sin(a), 3.0], [1, 2, 3]) for a in (0, 1, 2.5, 4)])
    cameras = Cameras(poses, np.tile(np.eye(3), (4, 1, 1)), np.ones((4, 2)))
    box = watched_box(cameras)
    assert box.dtype == np.float32
    np.testing.assert_allclose(box, [[-2, -1, 0], [4, 5, 6]], atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_cameras_that_look_along(count):
    """Axes that never meet: the cube is around the middle of the cameras, and never without extent."""
    poses = np.tile(np.eye(3, 4), (count, 1, 1))
    poses[:, :, 3] = np.arange(count)[:, None] * [1, 0, 0]
    box = watched_box(Cameras(poses, np.tile(np.eye(3), (count, 1, 1)), np.ones((count, 2))))
    half = 1 if count == 3 else 1e-6
    np.testing.assert_allclose(box.mean(0), [(count - 1) / 2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(box[1] - box[0], 2 * half, rtol=1e-3)
