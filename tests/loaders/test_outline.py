import numpy as np
import pytest

from nfbench.harness.errors import NfbenchError
from nfbench.loaders.outline import Outline, circle, rounded

SQUARE = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
ARROW = [(0, -1), (1, 0.6), (0, 0.1), (-1, 0.6)]  # one corner turns inwards


def along(loop, steps=1000):
    """Points of a loop, arcs by the definition of the bulge: sagitta over half the chord."""
    points = []
    for (x, y, bulge), (u, v, _) in zip(loop, np.roll(loop, -1, 0), strict=True):
        a, b, t = np.array([x, y]), np.array([u, v]), np.linspace(0, 1, steps, endpoint=False)
        if bulge == 0:
            points.append(a + t[:, None] * (b - a))
            continue
        start, half = b - a, 2 * np.arctan(bulge)
        # the centre sees both ends under 4 atan(bulge)
        centre = (a + b) / 2 + np.array([-start[1], start[0]]) / 2 / np.tan(half)
        angle = 2 * half * t
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        points.append(centre + np.einsum("ijt,j->ti", turn, a - centre))
    return np.concatenate(points)


def even_odd(points, xy):
    a, b = points, np.roll(points, -1, 0)
    crosses = (a[:, 1] <= xy[:, None, 1]) != (b[:, 1] <= xy[:, None, 1])
    with np.errstate(divide="ignore", invalid="ignore"):
        where = a[:, 0] + (xy[:, None, 1] - a[:, 1]) / (b[:, 1] - a[:, 1]) * (b[:, 0] - a[:, 0])
    return (crosses & (xy[:, None, 0] < where)).sum(1) % 2 == 1


@pytest.mark.parametrize(
    "loops",
    [
        [rounded(SQUARE, 0)],
        [rounded(SQUARE, 0.4)],
        [rounded(ARROW, 0)],
        [rounded(ARROW, [0.1, 0.2, 0.15, 0])],
        [rounded(SQUARE, 9.0)],  # arcs that use up all sides
        [rounded(np.multiply(ARROW, 1.5), 0.05), circle(0.1, clockwise=True) - (0, 0.4, 0)],
    ],
)
def test_distance_against_dense_points_and_even_odd(loops):
    outline = Outline(loops)
    xy = np.random.default_rng(0).uniform(-1.6, 1.6, (600, 2))
    distance, gradient = outline.nearest(xy)
    dense = [along(loop) for loop in loops]
    reference = np.linalg.norm(xy[:, None] - np.concatenate(dense), axis=2).min(1)
    inside = np.logical_xor.reduce([even_odd(points, xy) for points in dense])
    longer = reference**2 - distance**2  # by the way along the curve to the nearest of the dense points
    assert longer.min() > -1e-12 and longer.max() < 0.003**2
    assert ((distance < 0) == inside)[reference > 1e-3].all()
    np.testing.assert_allclose(np.linalg.norm(gradient, axis=1), 1, atol=1e-12)
    assert np.abs(outline.nearest(xy - distance[:, None] * gradient)[0]).max() < 1e-12


def test_a_circle_of_two_arcs_is_a_circle():
    xy = np.random.default_rng(1).normal(size=(200, 2))
    distance, gradient = Outline([circle(0.7)]).nearest(xy)
    np.testing.assert_allclose(distance, np.linalg.norm(xy, axis=1) - 0.7, atol=1e-14)
    np.testing.assert_allclose(gradient, xy / np.linalg.norm(xy, axis=1, keepdims=True), atol=1e-12)


def test_rounding_keeps_sides_and_radius():
    loop = rounded(SQUARE, 0.25)
    assert len(loop) == 8 and np.allclose(loop[::2, 2], np.tan(np.pi / 8))
    outline = Outline([loop])
    corner = 1 - 0.25 + 0.25 / np.sqrt(2)
    distance, _ = outline.nearest(np.array([[1.0, 0.0], [corner, corner], [1.0, 1.0]]))
    np.testing.assert_allclose(distance, [0, 0, (np.sqrt(2) - 1) * 0.25], atol=1e-14)
    np.testing.assert_allclose(outline.bounds(), [[-1, -1], [1, 1]])


def test_sign_at_a_corner_that_turns_inwards():
    distance, gradient = Outline([rounded(ARROW, 0)]).nearest(np.array([[0, 0.2], [0, 0.05], [0, 0.1]]))
    assert distance[0] > 0 > distance[1] and distance[1] == pytest.approx(-0.05) and distance[2] == 0
    np.testing.assert_allclose(gradient[1], [0, 1], atol=1e-9)


def test_half_outline_is_the_right_half_of_the_whole():
    chain = np.array([[0, -1, 0], [0.5, -1, 0.3], [0.7, 0, 0], [0.2, 0.2, -0.1], [0, 0.6, 0.0]])
    mirrored = chain[::-1] * (-1, 1, 0)
    mirrored[:-1, 2] = chain[-2::-1, 2]
    whole = Outline([np.concatenate([chain[:-1], mirrored[:-1]])])
    xy = np.random.default_rng(2).uniform((0, -1.5), (1.5, 1.5), (500, 2))
    half = Outline([chain], half=True)
    np.testing.assert_allclose(half.nearest(xy)[0], whole.nearest(xy)[0], atol=1e-13)


def test_samples_lie_on_it_uniformly_with_its_normals():
    outline = Outline([rounded(SQUARE, 0.4)])
    xy, normal = outline.sample(20_000, np.random.default_rng(3))
    distance, gradient = outline.nearest(xy)
    assert np.abs(distance).max() < 1e-12
    np.testing.assert_allclose(normal, gradient, atol=1e-9)
    on_arcs = (np.abs(xy) > 0.6).all(1).mean()
    assert on_arcs == pytest.approx(0.8 * np.pi / (0.8 * np.pi + 4 * 1.2), abs=0.01)


def test_moving_scales_distances():
    outline, xy = Outline([rounded(ARROW, 0.1)]), np.random.default_rng(4).normal(size=(50, 2))
    moved = outline.moved(2.0, (0.3, -0.1))
    np.testing.assert_allclose(moved.nearest(2 * xy + (0.3, -0.1))[0], 2 * outline.nearest(xy)[0], atol=1e-13)


@pytest.mark.parametrize(
    ("loops", "half"),
    [
        ([np.zeros((3, 2))], False),
        ([np.array([[0, 0, 1.5], [1, 0, 0]])], False),
        ([np.array([[0.1, 0, 0], [1, 0, 0], [0, 1, 0]])], True),
        ([np.array([[np.nan, 0, 0], [1, 0, 0]])], False),
    ],
)
def test_what_is_no_outline_is_refused(loops, half):
    with pytest.raises(NfbenchError):
        Outline(loops, half)


def test_equal_vertices_are_refused():
    with pytest.raises(NfbenchError, match="equal vertices"):
        Outline([np.array([[0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]], float)]).nearest(np.zeros((1, 2)))
