import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from nfbench.harness.lens import distort, reach, undistort

NONE = np.zeros(8)
LENSES = {
    "barrel": ([-0.3, 0.1, 0.001, -0.002, 0, 0, 0, 0], False),
    "pincushion": ([0.2, -0.01, 0, 0, 0.003, 0, 0, 0], False),
    "rational": ([0.2, -0.05, 0.001, 0.001, 0.01, 0.1, 0.02, 0.001], False),
    "tangential": ([0, 0, 0.01, -0.02, 0, 0, 0, 0], False),
    "fisheye": ([0.05, -0.01, 0.003, -0.001, 0, 0, 0, 0], True),
    "equidistant": ([0.0] * 8, True),
}
lenses = pytest.mark.parametrize(("lens", "fisheye"), [(np.array(a), b) for a, b in LENSES.values()], ids=LENSES)


def opencv(x, y, lens):
    """OpenCV 4 documentation, calib3d: the detailed equations, number by number."""
    k1, k2, p1, p2, k3, k4, k5, k6 = lens
    r2 = x**2 + y**2
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2),
        y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y,
    )


@pytest.mark.parametrize("name", ["barrel", "pincushion", "rational", "tangential"])
def test_distortion_is_that_of_opencv(name):
    lens = np.array(LENSES[name][0])
    rng = np.random.default_rng(0)
    x, y, z = rng.uniform(-0.5, 0.5, 50), rng.uniform(-0.5, 0.5, 50), rng.uniform(0.5, 3, 50)
    places = distort(np.stack([x * z, y * z, z], axis=1), lens, False)
    np.testing.assert_allclose(places, np.stack(opencv(x, y, lens), axis=1), rtol=1e-13, atol=1e-15)


def test_each_number_of_the_lens_has_its_place():
    """At (0.5, 0.2): r^2 = 0.29, worked out by hand."""
    at = np.array([[0.5, 0.2, 1.0]])
    for i, expected in enumerate(
        [
            (0.5 * 1.029, 0.2 * 1.029),
            (0.5 * 1.00841, 0.2 * 1.00841),
            (0.5 + 0.1 * 0.2, 0.2 + 0.1 * (0.29 + 0.08)),
            (0.5 + 0.1 * (0.29 + 0.5), 0.2 + 0.1 * 0.2),
            (0.5 * 1.0024389, 0.2 * 1.0024389),
            (0.5 / 1.029, 0.2 / 1.029),
            (0.5 / 1.00841, 0.2 / 1.00841),
            (0.5 / 1.0024389, 0.2 / 1.0024389),
        ]
    ):
        np.testing.assert_allclose(distort(at, np.eye(8)[i] * 0.1, False)[0], expected, rtol=1e-12)


def test_a_fisheye_bends_the_angle_by_its_polynomial():
    """Kannala and Brandt 2006, equation 6; the direction around the axis stays."""
    lens = np.array([0.1, -0.02, 0.003, 0.004, 0, 0, 0, 0])
    theta, phi = np.array([0.1, 0.7, 1.2]), np.array([0.3, 2.0, -2.5])
    directions = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1) * 3
    bent = theta + 0.1 * theta**3 - 0.02 * theta**5 + 0.003 * theta**7 + 0.004 * theta**9
    expected = np.stack([bent * np.cos(phi), bent * np.sin(phi)], axis=1)
    np.testing.assert_allclose(distort(directions, lens, True), expected, rtol=1e-12)


def test_a_fisheye_sees_beyond_a_right_angle_and_a_pinhole_does_not_bend():
    place = distort(np.array([[1.0, 0, -1]]), NONE, True)
    np.testing.assert_allclose(place, [[0.75 * math.pi, 0]], rtol=1e-12)
    direction, found = undistort(place, NONE, True)
    np.testing.assert_allclose(direction, [[math.sqrt(0.5), 0, -math.sqrt(0.5)]], atol=1e-12)
    assert found.all()
    np.testing.assert_allclose(distort(np.array([[2.0, 4, 2]]), NONE, False), [[1, 2]])


@pytest.mark.parametrize("fisheye", [False, True])
def test_the_axis_stays_where_it_is(fisheye):
    np.testing.assert_array_equal(distort(np.array([[0.0, 0, 5]]), NONE, fisheye), [[0, 0]])
    direction, found = undistort(np.zeros((1, 2)), NONE, fisheye)
    np.testing.assert_array_equal(direction, [[0, 0, 1]])
    assert found.tolist() == [True]


@lenses
def test_undistortion_inverts_distortion(lens, fisheye):
    """To 1e-4 px for a focal length of 4000 px is 2.5e-8; it is far better."""
    places = np.random.default_rng(1).uniform(-0.6, 0.6, (500, 2))
    directions, found = undistort(places, lens, fisheye)
    assert found.all()
    np.testing.assert_allclose(distort(directions, lens, fisheye), places, atol=1e-10)


@given(
    st.lists(st.floats(-0.2, 0.2), min_size=4, max_size=4),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.booleans(),
)
@settings(max_examples=100, deadline=None)
def test_what_is_found_is_put_back_where_it_was(numbers, x, y, fisheye):
    lens = np.array([*numbers[:2], *(np.array(numbers[2:]) * (1 if fisheye else 0.02)), 0, 0, 0, 0])
    directions, found = undistort(np.array([[x, y]]), lens, fisheye)
    assert np.isfinite(directions).all()
    if found[0]:
        np.testing.assert_allclose(distort(directions, lens, fisheye), [[x, y]], atol=1e-9)


def test_the_reach_is_where_the_radius_turns_back():
    """r (1 - 0.3 r^2) is highest at r = 1 / sqrt(0.9)."""
    assert reach(np.array([-0.3, 0, 0, 0, 0, 0, 0, 0]), False) == pytest.approx(1 / math.sqrt(0.9), rel=1e-9)
    assert reach(np.array([-0.3, 0, 0.1, 0.1, 0, 0, 0, 0]), False) == pytest.approx(1 / math.sqrt(0.9), rel=1e-9)
    assert reach(np.array([0.3, 0, 0, 0, 0, 0, 0, 0]), False) == math.inf
    assert reach(NONE, False) == math.inf
    assert reach(NONE, True) == math.pi
    assert reach(np.array([-0.1, 0, 0, 0, 0, 0, 0, 0]), True) == pytest.approx(math.sqrt(1 / 0.3), rel=1e-9)


@pytest.mark.parametrize("power", range(4))
def test_the_reach_of_a_fisheye_is_that_of_its_derivative(power):
    lens = np.zeros(8)
    lens[power] = -0.01
    slope = lambda a: 1 - 0.01 * (2 * power + 3) * a ** (2 * power + 2)  # noqa: E731
    expected = brentq(slope, 0.1, 50)
    assert reach(lens, True) == pytest.approx(min(expected, math.pi), rel=1e-9)


@pytest.mark.parametrize(
    "numbers", [[-0.2, 0.01, 0, 0, 0.003, 0.02, 0.01, 0.001], [0.1, 0.1, 0, 0, -0.1, 0.3, -0.02, 0]]
)
def test_the_reach_of_a_rational_lens_is_the_first_place_of_no_slope(numbers):
    lens = np.array(numbers, float)
    radius = np.linspace(0, 10, 2_000_001)
    first = radius[:-1][np.diff(opencv(radius, 0 * radius, lens)[0]) <= 0]
    expected = first[0] if len(first) else math.inf
    assert reach(lens, False) == pytest.approx(expected, abs=1e-5)


def test_a_pole_of_the_rational_lens_ends_its_sight():
    """1 / (1 - r^2) is infinite at 1, and its slope never zero before."""
    assert reach(np.array([0, 0, 0, 0, 0, -1.0, 0, 0]), False) == pytest.approx(1, rel=1e-9)


def test_what_lies_beyond_the_reach_is_not_seen():
    """Without that a point at r = 1.8 would land at 0.05, in the middle of the picture."""
    lens = np.array([-0.3, 0, 0, 0, 0, 0, 0, 0])
    inside, outside = distort(np.array([[1.05, 0, 1.0], [1.8, 0, 1]]), lens, False)
    assert np.isfinite(inside).all()
    assert np.isnan(outside).all()
    lens = np.array([-0.1, 0, 0, 0, 0, 0, 0, 0])
    beyond = math.sqrt(1 / 0.3) + 1e-6
    assert np.isnan(distort(np.array([[math.sin(beyond), 0, math.cos(beyond)]]), lens, True)).all()


@pytest.mark.parametrize("fisheye", [False, True])
def test_a_place_that_nothing_is_put_at_gets_the_edge_of_sight(fisheye):
    lens = np.array([-0.3, 0, 0, 0, 0, 0, 0, 0])
    edge = reach(lens, fisheye)
    directions, found = undistort(np.array([[0.0, 30.0], [0.1, 0.0]]), lens, fisheye)
    assert found.tolist() == [False, True]
    angle = math.atan2(directions[0, 1], directions[0, 2])
    assert angle == pytest.approx(edge if fisheye else math.atan(edge), rel=1e-9)
    assert directions[0, 0] == 0


def test_nothing_warns():
    with np.errstate(all="raise"):
        distort(np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, -1]]), np.array(LENSES["barrel"][0]), False)
        distort(np.array([[1.0, 0, 0], [0, 0, 0], [0, 0, -1]]), NONE, True)
        undistort(np.array([[0.0, 0], [9, 9]]), np.array(LENSES["barrel"][0]), False)
        undistort(np.array([[0.0, 0], [9, 9]]), NONE, True)
