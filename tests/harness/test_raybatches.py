from itertools import pairwise

import numpy as np
import pytest

from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.decoded import DecodedViews
from nfbench.harness.errors import ContractBroken
from nfbench.harness.raybatches import RayBatches
from nfbench.harness.scene import Views

SIZES = [(5, 4), (1, 1), (40, 30), (3, 70)]  # width, height
STARTS = [0, 20, 21, 1221, 1431]


def image(index, channels=3):
    width, height = SIZES[index]
    return np.random.default_rng(index).integers(0, 256, (height, width, channels), dtype=np.uint8)


def batches(lenses=None, fisheye=None, channels=3):
    rng = np.random.default_rng(7)
    pose = np.stack([look_at(rng.normal(size=3) * 2, rng.normal(size=3) * 0.3) for _ in SIZES])
    size = np.array(SIZES)
    K = np.zeros((len(SIZES), 3, 3))
    K[:, 0, 0], K[:, 1, 1], K[:, 2, 2] = size[:, 0] * 1.1, size[:, 1] * 0.9, 1
    K[:, :2, 2] = size * 0.45
    K[:, 0, 1] = 0.03
    cameras = Cameras(pose, K, size, distortion=lenses, fisheye=fisheye)
    views = Views(cameras, tuple("abcd"), lambda i: image(i, channels))
    return cameras, RayBatches(DecodedViews(views))


def check(cameras, batch):
    """All pixels of all views, in their order, against the rays of each camera."""
    for i, (start, end) in enumerate(pairwise(STARTS)):
        origins, directions = rays(cameras, i)
        assert np.array_equal(batch.origins[start:end], origins)
        np.testing.assert_allclose(batch.directions[start:end], directions, rtol=0, atol=1.2e-7)
        assert np.array_equal(batch.colours[start:end], image(i).reshape(-1, 3).astype(np.float32) / np.float32(255))
        assert (batch.view[start:end] == i).all()


def test_every_pixel_gets_the_ray_of_its_camera():
    cameras, found = batches()
    batch = found.at(np.arange(STARTS[-1]))
    check(cameras, batch)
    assert {a.dtype for a in (batch.origins, batch.directions, batch.colours)} == {np.dtype(np.float32)}
    assert batch.view.dtype == np.int64
    np.testing.assert_allclose(np.linalg.norm(batch.directions, axis=1), 1, atol=2e-7)


def test_lenses_bend_the_rays_of_their_views_only():
    lenses = np.zeros((4, 8))
    lenses[0, :3] = 0.05, -0.02, 0.01
    lenses[3, :2] = 0.03, 0.01
    cameras, found = batches(lenses, np.array([False, False, False, True]))
    batch = found.at(np.arange(STARTS[-1]))
    check(cameras, batch)
    straight = batches()[1].at(np.arange(STARTS[-1])).directions
    bent = np.abs(batch.directions - straight).max(1) > 1e-4
    assert bent[:20].any() and bent[1221:].any() and not bent[20:1221].any()


def test_batches_are_rows_of_the_whole_in_the_order_of_the_places():
    lenses = np.zeros((4, 8))
    lenses[2, 0] = 0.05
    _, found = batches(lenses)
    whole = found.at(np.arange(STARTS[-1]))
    places = np.random.default_rng(0).integers(0, STARTS[-1], 300)
    batch = found.at(places)
    for name in ("origins", "directions", "colours", "view"):
        assert np.array_equal(getattr(batch, name), getattr(whole, name)[places])
    assert found.at(places[:0]).directions.shape == (0, 3)


def test_draws_are_seeded_and_every_pixel_is_as_likely():
    _, found = batches()
    count = 143_100  # a hundred a pixel
    drawn = found.draw(count, np.random.default_rng(3))
    places = np.random.default_rng(3).integers(0, STARTS[-1], count)
    assert np.array_equal(drawn.directions, found.at(places).directions)
    assert np.array_equal(drawn.colours, found.at(places).colours)
    share = np.bincount(drawn.view, minlength=4) / 100
    np.testing.assert_allclose(share, np.diff(STARTS), rtol=0.02, atol=0.4)
    assert np.bincount(places, minlength=STARTS[-1]).min() > 50  # the first and the last pixel too


def test_alpha_needs_a_background():
    with pytest.raises(ContractBroken, match="alpha and no background") as caught:
        batches(channels=4)
    assert "DecodedViews" in caught.value.hint


@pytest.mark.parametrize("place", [-1, 1431])
def test_places_outside(place):
    _, found = batches()
    with pytest.raises(ContractBroken, match=r"Pixels -?\d+ to -?\d+ are asked for") as caught:
        found.at(np.array([5, place]))
    assert "1431" in caught.value.hint
