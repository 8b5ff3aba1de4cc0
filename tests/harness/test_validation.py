"""The validation curve's numbers against plain numpy, and its list of times."""

from dataclasses import replace

import numpy as np
import pytest

from nfbench.harness.errors import NfbenchError
from nfbench.harness.probe import ball
from nfbench.harness.protocol import protocol
from nfbench.harness.scene import Points
from nfbench.harness.validation import parse_times, validation

SHAPES, IMAGES = protocol("onet-shapenet@1"), protocol("nerf-synthetic@1")


class Ball:
    """A field that notes where it is asked, 1 inside a ball and 0 outside."""

    kind = "occupancy"

    def __init__(self, radius):
        self.radius, self.asked = radius, []

    def value(self, xyz):
        self.asked.append(xyz)
        return (np.linalg.norm(xyz, axis=1) < self.radius).astype(np.float32)


class Grey:
    def render(self, cameras):
        width, height = cameras.size[0]
        return np.full((len(cameras), height, width, 3), 0.4, np.float32)


def points(count):
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (count, 3)).astype(np.float32)
    return Points(xyz, value=(np.linalg.norm(xyz, axis=1) < 0.3).astype(np.float32), kind="occupancy")


@pytest.mark.parametrize("count", [100, 19_999, 20_000, 20_001, 39_999, 40_000])
def test_iou_is_that_of_at_most_20000_points_evenly_taken(tmp_path, count):
    occupancy = points(count)
    field = Ball(0.4)
    found = validation(replace(ball(tmp_path), occupancy=occupancy), SHAPES, (1.0,)).measure(field)
    (asked,) = field.asked
    assert count / 2 - 1 < len(asked) <= 20_000 and (count > 20_000) == (len(asked) < count)
    distance = np.linalg.norm(asked.astype(np.float64), axis=1)
    truth, mine = distance < 0.3, distance < 0.4
    assert found["iou"] == pytest.approx((truth & mine).sum() / (truth | mine).sum(), abs=1e-3)


def test_a_signed_distance_is_negative_inside(tmp_path):
    scene = replace(ball(tmp_path), occupancy=points(500))
    distance = Ball(0.3)
    distance.kind = "sdf"
    distance.value = lambda xyz: np.linalg.norm(xyz, axis=1) - 0.3
    assert validation(scene, SHAPES, (1.0,)).measure(distance) == {"iou": 1.0}


def test_psnr_is_the_mean_over_the_hidden_views(tmp_path):
    scene = ball(tmp_path)
    found = validation(scene, IMAGES, (1.0,)).measure(Grey())
    expected = []
    for index in range(len(scene.hidden)):
        image = scene.hidden.image(index).astype(np.float64) / 255
        flat = image[:, :, :3] * image[:, :, 3:] + np.array(scene.background) * (1 - image[:, :, 3:])
        expected.append(-10 * np.log10(((np.rint(flat * 255) / 255 - 102 / 255) ** 2).mean()))
    assert found == {"psnr": pytest.approx(np.mean(expected), abs=0.02)}


def test_the_truth_is_read_before_the_method_runs(tmp_path):
    scene = ball(tmp_path)
    curve = validation(scene, IMAGES, (1.0,))
    for file in scene.hidden.files:
        file.unlink()
    assert set(curve.measure(Grey())) == {"psnr"}
    assert validation(scene, IMAGES, ()) is None, "without times nothing is read"


def test_times_are_sorted_seconds():
    assert parse_times(" 60s, 10,0.5s") == (0.5, 10.0, 60.0) and parse_times("") == ()
    for wrong in ("1m", "10s,", "-1s", "s"):
        with pytest.raises(NfbenchError, match="no list of times"):
            parse_times(wrong)
