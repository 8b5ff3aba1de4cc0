import igl
import numpy as np
import pytest

from nfbench.loaders.distance import Box, Sphere
from nfbench.loaders.tracing import HIT, trace
from nfbench.loaders.union import UPRIGHT, Part, Union

EYE = np.eye(3)


def part(solid, centre, turn=EYE):
    return Part(solid, np.array(centre, np.float64), turn)


BALLS = Union((part(Sphere(0.3), (0.25, 0, 0)), part(Sphere(0.3), (-0.2, 0, 0)), part(Sphere(0.1), (0, 0, 0.8))))


def points(count=20_000):
    return np.random.default_rng(0).uniform(-1.2, 1.2, (count, 3))


def test_three_balls_against_a_loop():
    xyz = points(500)
    balls = [((0.25, 0, 0), 0.3), ((-0.2, 0, 0), 0.3), ((0, 0, 0.8), 0.1)]
    expected = [min(np.linalg.norm(p - np.array(c)) - r for c, r in balls) for p in xyz]
    which = [int(np.argmin([np.linalg.norm(p - np.array(c)) - r for c, r in balls])) for p in xyz]
    np.testing.assert_allclose(BALLS.distance(xyz), expected, atol=1e-12)
    np.testing.assert_array_equal(BALLS.nearest_part(xyz), which)
    toward = np.array([p - np.array(balls[w][0]) for p, w in zip(xyz, which, strict=True)])
    np.testing.assert_allclose(BALLS.gradient(xyz), toward / np.linalg.norm(toward, axis=1, keepdims=True), atol=1e-9)


def test_a_turned_part_against_its_corners():
    """A box stood upright: its corners go where the turn says, by igl's distance to that box as triangles."""
    turn = np.array([[0.6, 0, 0.8], [0, 1, 0], [-0.8, 0, 0.6]]) @ UPRIGHT
    half, centre = (0.5, 0.2, 0.3), np.array([0.1, -0.2, 0.3])
    solid = Union((part(Box(half), centre, turn),))
    corner = np.stack(np.meshgrid(*[[-h, h] for h in half], indexing="ij"), -1).reshape(-1, 3) @ turn.T + centre
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    faces = np.array([f for a, b, c, d in quads for f in ((a, b, c), (a, c, d))])
    xyz = points(2000)
    squared, _, nearest = igl.point_mesh_squared_distance(xyz, corner, faces)
    np.testing.assert_allclose(np.abs(solid.distance(xyz)), np.sqrt(squared), atol=1e-9)
    outside = solid.distance(xyz) > 1e-3
    away = (xyz - nearest)[outside]
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    np.testing.assert_allclose(solid.gradient(xyz)[outside], away, atol=1e-6)
    assert np.linalg.det(UPRIGHT) == pytest.approx(1)  # a turn, no mirror
    np.testing.assert_array_equal(UPRIGHT @ (2, 3, 0), (2, 0, 3))  # an outline's y is up


def test_samples_are_on_the_surface_uniform_and_not_inside_another_part():
    xyz, normal = BALLS.sample(40_000, np.random.default_rng(1))
    assert xyz.shape == normal.shape == (40_000, 3)
    assert np.abs(BALLS.distance(xyz)).max() < 1e-9
    np.testing.assert_allclose(normal, BALLS.gradient(xyz), atol=1e-9)
    # two overlapping spheres lose a cap each, of height r - d/2 (Archimedes: area 2 pi r h); the third is whole
    cap = 0.3 - 0.45 / 2
    areas = np.array([4 * np.pi * 0.09 - 2 * np.pi * 0.3 * cap] * 2 + [4 * np.pi * 0.01])
    counts = np.bincount(BALLS.nearest_part(xyz), minlength=3)
    np.testing.assert_allclose(counts / 40_000, areas / areas.sum(), atol=0.01)
    assert xyz[:20_000, 0].mean() == pytest.approx(xyz[20_000:, 0].mean(), abs=0.01)  # a prefix is a fair sample


def test_rays_meet_the_first_part():
    origins = np.array([[2.0, 0, 0], [-2.0, 0, 0], [2.0, 0, 0.8], [2, 1.0, 0]])
    depth = trace(BALLS, origins, np.array([[-1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [-1, 0, 0]]))
    np.testing.assert_allclose(depth, [1.45, 1.5, 1.9, np.inf], atol=HIT)


def test_all_of_it_is_within_its_radius():
    xyz = points()
    assert (np.linalg.norm(xyz[BALLS.distance(xyz) < 0], axis=1) <= BALLS.radius).all()
