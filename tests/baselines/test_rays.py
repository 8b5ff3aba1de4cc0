import math

import numpy as np
import pytest
import torch

from nfbench.baselines.rays import (
    Pixels,
    Rays,
    bounded,
    box_interval,
    camera_rays,
    draw_distances,
    interval,
    ray_weights,
    stratified,
)
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.image import flattened
from nfbench.harness.scene import Views

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])


def in_box(origins, directions, near_far):
    return interval(origins, directions, near_far, BOX)


def whole_view(cameras, index):
    return bounded(cameras, index, *camera_rays(cameras, index, "cpu"), in_box)


def two_cameras(near_far=None):
    c2w = np.stack([look_at([0, -4, 1], [0, 0, 0]), look_at([3, 1, 2], [0.2, 0, 0])])
    K = np.array([[[20, 0, 4.5], [0, 18, 3], [0, 0, 1]], [[11, 0.3, 2], [0, 12, 2.5], [0, 0, 1]]])
    return Cameras(c2w, K, np.array([[9, 6], [4, 5]]), near_far)


def two_views(near_far=None):
    generator = np.random.default_rng(0)
    images = [generator.integers(0, 256, (6, 9, 3), np.uint8), generator.integers(0, 256, (5, 4, 4), np.uint8)]
    return Views(two_cameras(near_far), ("a", "b"), lambda i: images[i]), images


def test_box_interval_is_where_points_on_the_ray_are_inside():
    generator = torch.Generator().manual_seed(1)
    origins = torch.rand(200, 3, generator=generator) * 6 - 3
    directions = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=1)
    near, far = box_interval(origins, directions, BOX)
    assert (near >= 0).all() and (far >= near).all()
    distance = torch.linspace(0, 12, 4001)
    inside = ((origins[:, None] + distance[:, None] * directions[:, None]).abs() <= 1).all(-1)
    counted = inside.sum(1) * (12 / 4000)
    assert (counted - (far - near)).abs().max() < 0.01
    assert (far > near).any() and (far == near).any()


def test_box_interval_of_a_ray_along_an_axis():
    origins = torch.tensor([[-3.0, 0.5, 0.0], [-3.0, 1.5, 0.0]])
    near, far = box_interval(origins, torch.tensor([[1.0, 0.0, 0.0]]).expand(2, 3), BOX)
    assert near[0] == pytest.approx(2) and far[0] == pytest.approx(4)
    assert near[1] == far[1]


def test_pixels_give_the_rays_of_the_camera_and_the_colours_of_the_image():
    views, images = two_views()
    pixels = Pixels(views, (1.0, 0.0, 0.5), in_box, "cpu")
    assert len(pixels) == 6 * 9 + 5 * 4
    batch, colours = pixels.at(torch.arange(len(pixels)))
    expected = [rays(views.cameras, i) for i in range(2)]
    np.testing.assert_array_equal(batch.origins, np.concatenate([origins for origins, _ in expected]))
    np.testing.assert_allclose(batch.directions, np.concatenate([d for _, d in expected]), atol=3e-7)
    truth = np.concatenate([flattened(image, (1.0, 0.0, 0.5)).reshape(-1, 3) for image in images])
    np.testing.assert_array_equal((colours * 255).round().byte(), truth)
    whole = [whole_view(views.cameras, i) for i in range(2)]
    np.testing.assert_allclose(batch.near, torch.cat([r.near for r in whole]), atol=1e-5)
    np.testing.assert_allclose(batch.far, torch.cat([r.far for r in whole]), atol=1e-5)


def test_near_far_of_each_camera_comes_before_the_box():
    views, _ = two_views(np.array([[2, 6], [1, 5]]))
    batch, _ = Pixels(views, (1, 1, 1), in_box, "cpu").at(torch.tensor([0, 53, 54, 73]))
    assert batch.near.tolist() == [2, 2, 1, 1] and batch.far.tolist() == [6, 6, 5, 5]
    assert whole_view(views.cameras, 1).far.unique().tolist() == [5]


def test_draws_repeat_with_the_seed_and_can_keep_to_one_view():
    views, _ = two_views()
    pixels = Pixels(views, (1, 1, 1), in_box, "cpu")
    first, second = (pixels.draw(50, torch.Generator().manual_seed(3))[0] for _ in range(2))
    assert torch.equal(first.directions, second.directions)
    assert len(first.origins.unique(dim=0)) == 2
    generator = torch.Generator().manual_seed(4)
    seen = [pixels.draw(50, generator, one_view=True)[0].origins.unique(dim=0) for _ in range(12)]
    assert all(len(centres) == 1 for centres in seen) and len(torch.cat(seen).unique(dim=0)) == 2


def test_pixels_of_a_lens_have_the_rays_of_its_camera():
    views, images = two_views()
    bent = np.zeros((3, 8), np.float32)
    bent[1:, :2] = [-0.2, 0.05]
    lenses = Cameras(
        views.cameras.c2w[[0, 1, 1]], views.cameras.K[[0, 1, 1]], views.cameras.size[[0, 1, 1]], None, bent
    )
    seen = Views(lenses, ("a", "b", "c"), lambda i: images[min(i, 1)])
    pixels = Pixels(seen, (1, 1, 1), in_box, "cpu")
    directions = pixels.at(torch.arange(len(pixels)))[0].directions
    expected = np.concatenate([rays(lenses, i)[1] for i in range(3)])
    np.testing.assert_allclose(directions, expected, atol=3e-7)
    assert np.abs(expected[54:74] - rays(views.cameras, 1)[1]).max() > 1e-3


def test_a_ray_may_pass_through_another_place_of_its_pixel():
    views, _ = two_views()
    corner = Pixels(views, (1, 1, 1), in_box, "cpu", 0.0).at(torch.tensor([10]))[0].directions  # x 1, y 1 of view 0
    np.testing.assert_allclose(corner, rays(views.cameras, 0, np.array([[1.0, 1.0]]))[1], atol=3e-7)
    whole = camera_rays(views.cameras, 0, "cpu", 0.0)[1]
    np.testing.assert_allclose(whole[10], corner[0], atol=3e-7)


def test_one_view_is_drawn_evenly():
    views, _ = two_views()
    pixels, generator = Pixels(views, (1, 1, 1), in_box, "cpu"), torch.Generator().manual_seed(0)
    directions = torch.cat([pixels.draw(200, generator, one_view=True)[0].directions for _ in range(60)])
    counts = directions.unique(dim=0, return_counts=True)[1].sort().values.float()
    assert len(counts) == 54 + 20
    assert counts[:54].mean() == pytest.approx(6000 / 54, rel=0.3) and counts[54:].mean() > 200
    assert counts[54:].std() / counts[54:].mean() < 0.15


def test_flattened_rounds_straight_alpha_over_the_background():
    image = np.array([[[200, 100, 0, 0], [200, 100, 0, 255], [200, 100, 0, 51]]], np.uint8)
    assert flattened(image, (1.0, 0.5, 0.0))[0].tolist() == [[255, 128, 0], [200, 100, 0], [244, 122, 0]]
    np.testing.assert_array_equal(flattened(image[:, :, :3], (1.0, 1.0, 1.0)), image[:, :, :3])


def test_weights_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    optical = torch.rand(6, 9, generator=generator) * torch.tensor([0.01, 0.1, 1, 5, 30, 0])[:, None]
    optical[3, 8] = 1e10
    for row, weights in zip(optical.double().tolist(), ray_weights(optical).tolist(), strict=True):
        clear = 1.0
        for thickness, weight in zip(row, weights, strict=True):
            alpha = 1 - math.exp(-thickness)
            assert weight == pytest.approx(clear * alpha, abs=1e-6)
            clear *= 1 - alpha


def test_a_homogeneous_medium_lets_through_what_the_law_says():
    sigma, delta = 0.17, torch.rand(4, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    through = 1 - ray_weights(sigma * delta).sum(1)
    np.testing.assert_allclose(through, torch.exp(-sigma * delta.sum(1)), rtol=1e-9)


def test_stratified_distances_stay_in_their_bins():
    near, far = torch.tensor([2.0, 0.0]), torch.tensor([6.0, 1.0])
    bundle = Rays(torch.zeros(2, 3), torch.ones(2, 3), near, far, torch.ones(2, 3))
    even = stratified(bundle, 5, None)
    assert even.tolist() == [[2, 3, 4, 5, 6], [0, 0.25, 0.5, 0.75, 1]]
    drawn = torch.stack([stratified(bundle, 5, torch.Generator().manual_seed(i)) for i in range(200)])
    assert (drawn[:, 0, 1] >= 2.5).all() and (drawn[:, 0, 1] <= 3.5).all() and drawn[:, 0, 1].std() > 0.2
    assert (drawn.diff(dim=2) >= 0).all()


def test_hierarchical_samples_follow_the_histogram():
    edges = torch.tensor([[0.0, 1.0, 2.0, 4.0, 5.0]]).double()
    weights = torch.tensor([[1.0, 0.0, 6.0, 3.0]]).double()
    for generator in (None, torch.Generator().manual_seed(0)):
        drawn = draw_distances(edges, weights, 20_000, generator)
        counts, _ = np.histogram(drawn.numpy(), edges[0].numpy())
        np.testing.assert_allclose(counts / 20_000, [0.1, 0, 0.6, 0.3], atol=0.01)
    chance = np.linspace(0, 1, 11)
    raised = np.append(0, np.cumsum(weights[0].numpy() + 1e-5))
    expected = np.interp(chance, raised / raised[-1], edges[0].numpy())
    np.testing.assert_allclose(draw_distances(edges, weights, 11, None)[0], expected, atol=1e-5)


def test_hierarchical_samples_of_an_empty_ray_are_spread_evenly():
    drawn = draw_distances(torch.linspace(2, 6, 9)[None], torch.zeros(1, 8), 17, None)
    np.testing.assert_allclose(drawn[0], np.linspace(2, 6, 17), atol=1e-3)
