import igl
import numpy as np
import pytest
from skimage.measure import marching_cubes

from nfbench.loaders.distance import Box, Extrusion, Revolution, Sampled, Sphere, Torus
from nfbench.loaders.outline import Outline, circle, rounded
from nfbench.loaders.procedural import SCENES
from nfbench.loaders.tube import torus_knot

GOBLET = [(0, -0.8), (0.5, -0.8), (0.5, -0.7), (0.1, -0.6), (0.1, -0.2), (0.5, 0.2), (0.4, 0.8), (0.3, 0.8), (0, 0)]
SOLIDS = {
    "sphere": Sphere(0.7),
    "box": Box((0.5, 0.3, 0.7)),
    "rounded box": Box((0.5, 0.3, 0.7), 0.1),
    "torus": Torus(0.6, 0.25),
    "goblet": Revolution(Outline([rounded(GOBLET, 0.03, closed=False)], half=True)),
    "ring": Revolution(Outline([rounded([(0.3, -0.2), (0.8, -0.2), (0.5, 0.3)], 0.05)])),
    "prism": Extrusion(Outline([rounded([(-0.7, -0.5), (0.8, -0.4), (0, 0.1), (0, 0.7)], 0)]), 0.3),
    "trefoil": torus_knot(2, 3, 0.6, 0.25, 0.12),
    "scene knot": SCENES["knot"][0]()[0],
    "scene vase": SCENES["vase"][0]()[0],
    "scene gear": SCENES["gear"][0]()[0],
}


@pytest.fixture(params=SOLIDS)
def solid(request):
    return SOLIDS[request.param]


def points(count, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 3))


def test_distance_against_a_mesh_of_the_zero_set(solid):
    """Only the zero set is taken on trust: libigl's distance and winding number of a mesh of it are the reference."""
    edge, cells = solid.radius * 1.02, 72
    line = np.linspace(-edge, edge, cells)
    lattice = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    volume = solid.distance(lattice).reshape([cells] * 3)
    vertices, faces, _, _ = marching_cubes(volume, 0, spacing=[line[1] - line[0]] * 3)
    vertices = np.ascontiguousarray(vertices - edge, np.float64)
    vertices -= solid.distance(vertices)[:, None] * solid.gradient(vertices)
    xyz = points(1500)
    squared, _, _ = igl.point_mesh_squared_distance(xyz, vertices, faces.astype(np.int64))
    inside = igl.fast_winding_number(vertices, faces[:, ::-1].astype(np.int64), xyz)
    distance = solid.distance(xyz)
    off = np.abs(np.abs(distance) - np.sqrt(squared))
    assert off.max() < 0.035  # the mesh cuts corners by about a cell, 0.03
    assert ((distance < 0) == (np.abs(inside) > 0.5))[np.sqrt(squared) > 0.02].all()


def test_the_foot_of_every_point_lies_on_the_surface(solid):
    """Exact to rounding: going back by the distance along the gradient ends on the surface, from inside and outside."""
    xyz = points(20_000)
    distance, gradient = solid.distance(xyz), solid.gradient(xyz)
    assert (distance < 0).any()
    np.testing.assert_allclose(np.linalg.norm(gradient, axis=1), 1, atol=1e-12)
    assert np.abs(solid.distance(xyz - distance[:, None] * gradient)).max() < 1e-11


def test_gradient_against_differences(solid):
    xyz, h = points(4000, seed=1), 1e-5
    steps = h * np.eye(3)
    numeric = np.stack([solid.distance(xyz + s) - solid.distance(xyz - s) for s in steps], 1) / (2 * h)
    off = np.linalg.norm(numeric - solid.gradient(xyz), axis=1)
    assert np.quantile(off, 0.99) < 1e-8  # the rest lies on the medial axis
    assert np.median(np.abs(np.linalg.norm(numeric, axis=1) - 1)) < 1e-9


def test_no_distance_is_greater_than_the_way_to_another_point(solid):
    a, b = points(5000, seed=2), points(5000, seed=3)
    assert (np.abs(solid.distance(a) - solid.distance(b)) <= np.linalg.norm(a - b, axis=1) + 1e-12).all()


def test_all_of_it_is_within_its_radius(solid):
    directions = points(2000, seed=4)
    on_sphere = solid.radius * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    assert (solid.distance(on_sphere) > -1e-12).all()


@pytest.mark.parametrize("name", [name for name, solid in SOLIDS.items() if isinstance(solid, Sampled)])
def test_own_samples_are_on_the_surface_with_normals(name):
    solid = SOLIDS[name]
    xyz, normal = solid.sample(5000, np.random.default_rng(5))
    assert xyz.shape == normal.shape == (5000, 3)
    assert np.abs(solid.distance(xyz)).max() < 1e-12
    assert np.quantile(np.abs(normal - solid.gradient(xyz)).max(1), 0.99) < 1e-9


def test_torus_samples_are_uniform_by_area():
    xyz, _ = Torus(0.6, 0.3).sample(40_000, np.random.default_rng(6))
    outer = (np.hypot(xyz[:, 0], xyz[:, 1]) > 0.6).mean()
    assert outer == pytest.approx(0.5 + 0.3 / 0.6 / np.pi, abs=0.01)  # by Pappus's theorem


def test_closed_forms():
    origin = np.zeros((1, 3))
    assert Sphere(0.7).distance(origin) == pytest.approx(-0.7)
    assert Box((0.5, 0.3, 0.7), 0.1).distance(origin) == pytest.approx(-0.3)
    assert Torus(0.6, 0.25).distance(origin) == pytest.approx(0.35)
    ball = Revolution(Outline([np.array([[0, -0.7, 1.0], [0, 0.7, 0]])], half=True))
    np.testing.assert_allclose(ball.distance(points(500)), Sphere(0.7).distance(points(500)), atol=1e-14)
    ring = Revolution(Outline([circle(0.25) + (0.6, 0, 0)]))
    np.testing.assert_allclose(ring.distance(points(500)), Torus(0.6, 0.25).distance(points(500)), atol=1e-14)
