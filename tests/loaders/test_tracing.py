import numpy as np
import pytest

from nfbench.harness.camera import project, rays
from nfbench.harness.errors import NfbenchError
from nfbench.loaders.analytic import around, orbit
from nfbench.loaders.distance import Box, Sphere, Torus
from nfbench.loaders.procedural import SCENES
from nfbench.loaders.shading import checks
from nfbench.loaders.tracing import render, sample_surface, trace

TEXTURE = checks((1, 0, 0), (0, 0, 1), 0.5)


def bundle(count, seed=0):
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(count, 3))
    start *= 3 / np.linalg.norm(start, axis=1, keepdims=True)
    way = rng.uniform(-0.9, 0.9, (count, 3)) - start
    return start, way / np.linalg.norm(way, axis=1, keepdims=True)


def test_sphere_against_the_quadratic_equation():
    start, way = bundle(5000)
    along, beside = (start * way).sum(1), 0.49 - ((start**2).sum(1) - (start * way).sum(1) ** 2)
    sure = np.abs(beside) > 1e-4
    expected = np.where(beside > 0, -along - np.sqrt(np.maximum(beside, 0)), np.inf)
    np.testing.assert_allclose(trace(Sphere(0.7), start, way)[sure], expected[sure], atol=1e-9)


def test_box_against_its_slabs():
    half = np.array([0.5, 0.3, 0.7])
    start, way = bundle(5000, seed=1)
    ends = np.sort([(-half - start) / way, (half - start) / way], axis=0)
    near, far = ends[0].max(1), ends[1].min(1)
    sure = np.abs(far - near) > 1e-3
    expected = np.where(near < far, near, np.inf)
    np.testing.assert_allclose(trace(Box((0.5, 0.3, 0.7)), start, way)[sure], expected[sure], atol=1e-8)


@pytest.mark.parametrize("name", ["vase", "gear"])
def test_no_ray_enters_before_its_depth_and_no_miss_enters_at_all(name):
    solid, (start, way) = SCENES[name][0]()[0], bundle(1500, seed=2)
    depth = trace(solid, start, way)
    assert 0.1 < np.isfinite(depth).mean() < 0.9
    for at in np.linspace(1.8, 4.2, 200):
        before = at < depth - 1e-4
        assert solid.distance(start[before] + at * way[before]).min() > -1e-5
    hit = np.isfinite(depth)
    xyz = start[hit] + depth[hit, None] * way[hit]
    assert np.abs(solid.distance(xyz)).max() < 1e-5 and np.median(np.abs(solid.distance(xyz))) < 1e-9
    assert ((solid.gradient(xyz) * way[hit]).sum(1) < 1e-2).all()  # met from outside


def test_rays_that_point_elsewhere_miss():
    start, way = bundle(100)
    assert np.isinf(trace(Sphere(0.7), start, -way)).all()
    assert np.isinf(trace(Sphere(0.7), start[:0], way[:0])).all()


def test_a_ray_from_inside_is_refused():
    with pytest.raises(NfbenchError, match="starts inside"):
        trace(Sphere(0.7), np.zeros((1, 3)), np.array([[0, 0, 1.0]]))


def test_rendered_views_agree_with_themselves():
    solid, cameras = Torus(0.6, 0.25), orbit(around(4, 0), 32)
    views = render(solid, TEXTURE, cameras)
    assert views.names == ("000", "001", "002", "003")
    for i in range(4):
        image, depth, mask = views.image(i), views.depth(i), views.mask(i)
        assert image.shape == (32, 32, 4) and set(np.unique(image[..., 3])) == {0, 255}
        np.testing.assert_array_equal(mask, image[..., 3] == 255)
        np.testing.assert_array_equal(mask, np.isfinite(depth))
        origins, directions = rays(cameras, i)
        hit = mask.ravel()
        xyz = origins[hit].astype(np.float64) + depth.ravel()[hit, None] * directions[hit]
        assert np.abs(solid.distance(xyz)).max() < 1e-5
        pixels, ahead = project(cameras, i, xyz)
        centres = np.stack(np.meshgrid(np.arange(32), np.arange(32)), -1).reshape(-1, 2)[hit] + 0.5
        np.testing.assert_allclose(pixels, centres, atol=1e-4)
        assert (ahead > 0).all()


def test_samples_of_a_box_are_uniform_over_its_faces():
    xyz, normal = sample_surface(Box((0.6, 0.4, 0.3), 0.02), 30_000, np.random.default_rng(0))
    assert np.abs(Box((0.6, 0.4, 0.3), 0.02).distance(xyz)).max() < 1e-12
    faces = np.array([0.4 * 0.3, 0.6 * 0.3, 0.6 * 0.4])
    flat = np.abs(normal).max(1) > 0.999
    share = np.bincount(np.abs(normal[flat]).argmax(1)) / flat.sum()
    np.testing.assert_allclose(share, faces / faces.sum(), atol=0.015)
    inner = (np.abs(xyz[:, :2]) < 0.2).all(1) & (np.abs(normal[:, 2]) > 0.999)
    on_top = np.abs(normal[:, 2]) > 0.999
    assert inner.sum() / on_top.sum() == pytest.approx(0.16 / (1.16 * 0.76), abs=0.015)


def test_samples_of_a_torus_by_mesh_and_by_formula_agree():
    class Plain:  # a torus that does not draw its own points
        radius, distance, gradient = 0.85, Torus(0.6, 0.25).distance, Torus(0.6, 0.25).gradient

    xyz, normal = sample_surface(Plain(), 40_000, np.random.default_rng(0))
    own, _ = sample_surface(Torus(0.6, 0.25), 40_000, np.random.default_rng(1))
    for statistic in (lambda p: np.abs(p).mean(0), lambda p: (p**2).mean(0)):
        np.testing.assert_allclose(statistic(xyz), statistic(own), atol=0.004)
    np.testing.assert_allclose(normal, Torus(0.6, 0.25).gradient(xyz), atol=1e-12)
