import numpy as np
import pytest

from nfbench.harness.camera import Cameras, from_opengl, look_at
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
