import numpy as np
import pytest

from nfbench.harness.camera import Cameras, from_opengl, look_at, project
from nfbench.loaders import silhouettes
from nfbench.loaders.silhouettes import agreement

SIDE = 40


def cameras(eyes, target=(0, 0, 0)):
    c2w = np.stack([look_at(eye, target) for eye in eyes])
    K = np.tile(np.float32([[50, 0, 20], [0, 50, 20], [0, 0, 1]]), (len(eyes), 1, 1))
    return Cameras(c2w, K, np.full((len(eyes), 2), SIDE))


EYES = [(2, 0, 0.5), (0, 2, 0.5), (-1.5, -1.5, 0.2)]
DISC = np.hypot(*(np.mgrid[0:SIDE, 0:SIDE] + 0.5 - 20)) < 8


def test_views_of_one_ball_agree():
    assert agreement(cameras(EYES), [DISC] * 3, 4.0) == pytest.approx(1, abs=0.01)


def test_cameras_that_look_away_do_not():
    away = cameras(EYES)
    turned = Cameras(from_opengl(away.c2w), away.K, away.size)
    assert agreement(turned, [DISC] * 3, 4.0) == 0


def test_the_share_is_that_of_the_other_views():
    """Two agree; the third has its disc where the others see nothing."""
    corner = np.zeros((SIDE, SIDE), bool)
    corner[:6, :6] = True
    found = agreement(cameras(EYES), [DISC, DISC, corner], 4.0)
    assert 0.3 < found < 0.6


def test_rays_too_short_meet_nothing():
    assert agreement(cameras(EYES), [DISC] * 3, 1.0) == 0


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)])
def test_no_silhouettes_no_answer(mask):
    assert agreement(cameras(EYES), [mask] * 3, 4.0) is None
    assert agreement(cameras(EYES), [DISC, mask, mask], 4.0) is None
    assert agreement(cameras(EYES), [DISC, DISC, mask], 4.0) == pytest.approx(1, abs=0.01)


def test_the_bounds_of_a_silhouette():
    few, many = np.zeros((SIDE, 25), bool), np.ones((SIDE, 25), bool)
    few.ravel()[:2] = True  # 0.2 % of 1000
    many.ravel()[:50] = False
    pair = cameras(EYES[:2])
    narrow = Cameras(pair.c2w, pair.K, [[25, SIDE]] * 2)
    assert agreement(narrow, [few, many], 4.0) is not None
    few.ravel()[1] = False
    assert agreement(narrow, [few, many], 4.0) is None
    few.ravel()[1] = True
    many.ravel()[50] = many.ravel()[49] = True
    assert agreement(narrow, [few, many], 4.0) is None


def test_what_a_view_sees():
    camera = Cameras(np.eye(4)[None, :3], [[[10, 0, 5], [0, 10, 4], [0, 0, 1]]], [[10, 8]])
    mask = np.ones((8, 10), bool)
    mask[2, 7] = False
    pixels = np.array([[5, 4], [0.5, 0.5], [-0.1, 4], [10, 4], [9.9, 7.9], [5, 8], [5, -0.1], [7.5, 2.5], [2.5, 7.5]])
    for depth in (0.1, 3.0):
        places = np.c_[(pixels - (5, 4)) / 10, np.ones(9)] * depth
        seen = silhouettes._seen(camera, 0, mask, places[None])
        assert seen.tolist() == [[True, True, False, False, True, False, False, False, True]]
        assert not silhouettes._seen(camera, 0, mask, -places[None]).any()
    assert not silhouettes._seen(camera, 0, mask, np.zeros((1, 1, 3))).any()


def test_places_along_rays():
    mask = np.zeros((SIDE, SIDE), bool)
    mask[3, 5] = mask[30, 8] = True
    view = cameras(EYES[:1])
    places = silhouettes._places(view, 0, mask, 4.0)
    assert places.shape == (2, 128, 3)
    for ray, pixel in zip(places, ((5.5, 3.5), (8.5, 30.5)), strict=True):
        np.testing.assert_allclose(project(view, 0, ray)[0], [pixel] * 128, atol=1e-3)
        np.testing.assert_allclose(np.linalg.norm(ray - EYES[0], axis=1), np.arange(1, 129) / 32, rtol=1e-5)
    assert silhouettes._places(view, 0, DISC, 4.0).shape == (32, 128, 3)


def test_silhouettes_are_widened_by_a_hundredth_and_a_half():
    mask = np.zeros((50, 100), bool)
    mask[20, 30] = True
    wide = silhouettes._widened(mask)
    assert wide.sum() == 25
    assert wide[18:23, 28:33].all()
