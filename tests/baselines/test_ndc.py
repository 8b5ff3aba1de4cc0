import dataclasses

import numpy as np
import pytest
import torch

from nfbench.baselines.ndc import Ndc, faces_forward
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.errors import Unsupported
from nfbench.loaders import llff


def forward_facing(count=6, near_far=(1.0, 8.0)):
    draws = np.random.default_rng(0)
    eyes = draws.uniform(-0.2, 0.2, (count, 3)) + [2.0, -1.0, 0.5]
    c2w = np.stack([look_at(eye, eye * [1, 0, 0] + [0, 6, draws.uniform(0, 0.4)]) for eye in eyes])
    K = [[30, 0, 16], [0, 30, 12], [0, 0, 1]]
    return Cameras(c2w, np.tile(K, (count, 1, 1)), np.tile([32, 24], (count, 1)), np.tile(near_far, (count, 1)))


def frusta_box(cameras):
    ends = []
    for index in range(len(cameras)):
        origins, directions = rays(cameras, index, np.array([[0, 0], [32, 0], [0, 24], [32, 24]], np.float32))
        ends += [origins + distance * directions for distance in cameras.near_far[index]]
    points = np.concatenate(ends)
    return np.stack([points.min(0), points.max(0)])


def slow_map(ndc, xyz):
    """Equation 8 of the supplement, one point at a time in float64: x, y and the inverse of depth."""
    axes, centre = ndc.axes.double().numpy(), ndc.centre.double().numpy()
    x, y, z = axes.T @ (xyz - centre)
    return np.array([-ndc.slope[0] * x / z, -ndc.slope[1] * y / z, 1 + 2 * ndc.near / z])


def all_rays(cameras, index=0):
    return tuple(torch.from_numpy(a) for a in rays(cameras, index))


def test_points_against_the_equation_and_the_ends_of_the_frustum():
    cameras = forward_facing()
    ndc = Ndc.of(cameras, "cpu")
    draws = np.random.default_rng(1)
    origins, directions = rays(cameras, 2)
    xyz = (origins + draws.uniform(1.5, 30, (len(origins), 1)) * directions).astype(np.float32)
    mapped, rate = ndc.points(torch.from_numpy(xyz))
    assert (rate > 0).all()
    for point, found in zip(xyz[::50].astype(np.float64), mapped[::50], strict=True):
        np.testing.assert_allclose(found, slow_map(ndc, point), atol=2e-5)
    assert ndc.near == pytest.approx(0.75)
    backwards = ndc.centre + torch.tensor([[0.0, 0.0, 2.0]]) @ ndc.axes.T
    assert ndc.points(backwards)[1].tolist() == [0.0]


def test_points_on_a_ray_lie_on_its_image_and_their_distance_comes_back():
    cameras = forward_facing()
    ndc = Ndc.of(cameras, "cpu")
    origins, directions = all_rays(cameras, 1)
    bent = ndc.rays(origins, directions)
    np.testing.assert_allclose(bent.origins[:, 2], -1, atol=1e-5)
    np.testing.assert_allclose((bent.origins + bent.far[:, None] * bent.directions)[:, 2], 1, atol=1e-5)
    np.testing.assert_allclose(bent.directions.norm(dim=1), 1, atol=1e-5)
    np.testing.assert_allclose(bent.views @ ndc.axes.T, directions, atol=1e-5)
    for distance in (1.0, 2.5, 40.0):
        mapped, _ = ndc.points(origins + distance * directions)
        along = mapped - bent.origins
        off = along - (along * bent.directions).sum(1, keepdim=True) * bent.directions
        assert off.abs().max() < 1e-4
        np.testing.assert_allclose(ndc.distance(origins, directions, mapped[:, 2]), distance, rtol=2e-3)


def test_the_rate_is_the_length_of_a_short_way_from_the_mean_camera():
    ndc = Ndc.of(forward_facing(), "cpu")
    ndc = dataclasses.replace(ndc, **{n: getattr(ndc, n).double() for n in ("axes", "centre", "box")})
    local = torch.tensor([[0.2, -0.1, -1.5], [-0.5, 0.3, -3.0], [0.1, 0.0, -20.0]], dtype=torch.float64)
    away = local / local.norm(dim=1, keepdim=True) * 1e-5
    start, end = (ndc.points(ndc.centre + part @ ndc.axes.T) for part in (local, local + away))
    np.testing.assert_allclose((end[0] - start[0]).norm(dim=1) / 1e-5, start[1], rtol=1e-3)


def test_the_mean_camera_turns_with_the_scene():
    cameras = forward_facing()
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    turn = turn * np.sign(np.linalg.det(turn))
    turned = dataclasses.replace(cameras, c2w=(turn @ cameras.c2w.astype(np.float64)).astype(np.float32))
    one, two = (Ndc.of(c, "cpu").rays(*all_rays(c)) for c in (cameras, turned))
    for name in ("origins", "directions", "far", "views"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=2e-5)


def test_rays_backwards_are_of_no_length():
    cameras = forward_facing()
    ndc = Ndc.of(cameras, "cpu")
    origins, directions = all_rays(cameras)
    bent = ndc.rays(origins, -directions)
    assert not bent.far.any() and torch.isfinite(bent.origins).all() and torch.isfinite(bent.directions).all()


def test_the_map_comes_back_from_what_it_tells():
    ndc = Ndc.of(forward_facing(), "cpu")
    again = Ndc.from_about(ndc.about(), "cpu")
    xyz = torch.rand(20, 3) + torch.tensor([2.0, 3.0, 0.0])
    assert all(torch.equal(a, b) for a, b in zip(ndc.points(xyz), again.points(xyz), strict=True))
    with pytest.raises(ValueError, match="another shape"):
        Ndc.from_about({**ndc.about(), "centre": [1.0, 2.0]}, "cpu")


def test_what_faces_forward():
    cameras = forward_facing()
    box = frusta_box(cameras)
    assert faces_forward(cameras, box)
    assert faces_forward(cameras[[0]], box)
    assert not faces_forward(cameras, box * 0.5 + 0.5 * box.mean(0))  # the box of an object in view
    assert not faces_forward(dataclasses.replace(cameras, near_far=None), box)
    around = np.stack([look_at([3 * np.cos(a), 3 * np.sin(a), 1], [0, 0, 0]) for a in range(6)])
    circle = dataclasses.replace(cameras, c2w=around)
    assert not faces_forward(circle, np.array([[-20.0] * 3, [20.0] * 3]))


def test_cameras_that_do_not_suit_are_refused():
    cameras = forward_facing()
    with pytest.raises(Unsupported, match="how near"):
        Ndc.of(dataclasses.replace(cameras, near_far=None), "cpu")
    with pytest.raises(Unsupported, match="same way"):
        around = np.stack([look_at([3 * np.cos(a), 3 * np.sin(a), 1], [0, 0, 0]) for a in range(6)])
        Ndc.of(dataclasses.replace(cameras, c2w=around), "cpu")


def test_fern_faces_forward(real_data):
    scene = llff.read(real_data / "llff_fern")
    cameras = scene.given.views.cameras
    assert faces_forward(cameras, scene.box)
    ndc = Ndc.of(cameras, "cpu")
    assert ndc.near == pytest.approx(0.75 * cameras.near_far[:, 0].min())
    assert (ndc.box[1, :2] < 2).all() and (ndc.box[0, :2] > -2).all()
