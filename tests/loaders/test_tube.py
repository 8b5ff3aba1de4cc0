import numpy as np
import pytest
from scipy.spatial import KDTree

from nfbench.harness.errors import NfbenchError
from nfbench.loaders.distance import Torus
from nfbench.loaders.tube import Tube, torus_knot


def points(count):
    return np.random.default_rng(0).uniform(-1, 1, (count, 3))


def circle(count):
    angle = np.arange(count) * 2 * np.pi / count
    return 0.6 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)


@pytest.mark.parametrize("count", [9, 64])
def test_tube_around_a_circle_is_a_torus(count):
    tube, xyz = Tube(circle(count), 0.25), points(2000)
    np.testing.assert_allclose(tube.distance(xyz), Torus(0.6, 0.25).distance(xyz), atol=1e-10)
    assert tube.reach() == pytest.approx(0.6)
    assert tube.radius == pytest.approx(0.85, abs=0.01) and tube.radius >= 0.85


def test_knot_against_half_a_million_points_of_its_curve():
    angle = np.linspace(0, 2 * np.pi, 500_000, endpoint=False)
    across = 0.6 + 0.25 * np.cos(3 * angle)
    curve = np.stack([across * np.cos(2 * angle), across * np.sin(2 * angle), 0.25 * np.sin(3 * angle)], 1)
    xyz = points(1500)
    reference = KDTree(curve, leafsize=64).query(xyz)[0] - 0.12
    assert np.abs(torus_knot(2, 3, 0.6, 0.25, 0.12).distance(xyz) - reference).max() < 1e-7


def test_the_reach_is_met_by_curvature_or_by_strands():
    angle = np.arange(65) * 2 * np.pi / 65
    ellipse = Tube(np.stack([np.cos(angle), 0.5 * np.sin(angle), 0 * angle], 1), 0.1)
    assert ellipse.reach() == pytest.approx(0.25, rel=1e-2)  # least radius of curvature, b^2 / a
    assert torus_knot(2, 3, 0.62, 0.24, 0.13).reach() == pytest.approx(0.24, rel=1e-2)  # half between two strands


def test_a_tube_that_touches_itself_is_refused():
    with pytest.raises(NfbenchError, match="touches itself"):
        torus_knot(2, 3, 0.62, 0.24, 0.25)
    with pytest.raises(NfbenchError, match="touches itself"):
        Tube(circle(32), 0.61)
