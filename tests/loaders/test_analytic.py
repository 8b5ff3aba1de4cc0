import numpy as np
import pytest

from nfbench.harness.camera import project
from nfbench.harness.errors import DataCorrupt
from nfbench.loaders.analytic import DISTANCE, Size, analytic_scene, around, orbit, spiral
from nfbench.loaders.distance import Torus
from nfbench.loaders.shading import checks

SIZE = Size(train_views=4, test_views=3, pixels=24, points=2000)
SOLID, TEXTURE = Torus(0.6, 0.25), checks((1, 0, 0), (0, 0, 1), 0.5)


@pytest.fixture(scope="module")
def scene():
    return analytic_scene("ring", SOLID, TEXTURE, SIZE)


def test_everything_is_there_and_seen_hides_the_truth(scene):
    assert scene.given.kinds() == ("views",) and len(scene.given.views) == 4 and len(scene.hidden) == 3
    assert not set(scene.given.views.names) & set(scene.hidden.names)
    np.testing.assert_array_equal(scene.box, [[-1, -1, -1], [1, 1, 1]])
    seen = scene.seen()
    assert seen.hidden is None and seen.surface is None and seen.occupancy is None
    assert seen.given is scene.given


def test_truth_is_exact(scene):
    xyz = scene.surface.xyz.astype(np.float64)
    assert len(xyz) == 2000 and np.abs(SOLID.distance(xyz)).max() < 1e-6
    np.testing.assert_allclose(scene.surface.normal, SOLID.gradient(xyz), atol=1e-5)
    query = scene.occupancy
    assert query.kind == "occupancy" and len(query) == 2000
    np.testing.assert_array_equal(query.value, SOLID.distance(query.xyz.astype(np.float64)) < 0)
    volume = 2 * np.pi**2 * 0.6 * 0.25**2
    assert query.value.mean() == pytest.approx(volume / 8, abs=0.02)


def test_views_show_what_their_names_say(scene):
    for views in (scene.given.views, scene.hidden):
        for i in range(len(views)):
            np.testing.assert_array_equal(views.mask(i), np.isfinite(views.depth(i)))
            assert 0.05 < views.mask(i).mean() < 0.5
            assert not views.mask(i)[[0, -1]].any() and not views.mask(i)[:, [0, -1]].any()  # all of it is in view


def test_the_seed_moves_cameras_and_points(scene):
    same, other = (analytic_scene("ring", SOLID, TEXTURE, SIZE, seed) for seed in (0, 1))
    np.testing.assert_array_equal(same.given.views.image(1), scene.given.views.image(1))
    np.testing.assert_array_equal(same.surface.xyz, scene.surface.xyz)
    np.testing.assert_array_equal(same.occupancy.xyz, scene.occupancy.xyz)
    assert (other.given.views.cameras.c2w != scene.given.views.cameras.c2w).any()
    assert (other.surface.xyz != scene.surface.xyz).any()
    np.testing.assert_array_equal(other.hidden.cameras.c2w, scene.hidden.cameras.c2w)


def test_kept_in_a_file(scene, tmp_path):
    file = tmp_path / "ring.npz"
    analytic_scene("ring", SOLID, TEXTURE, SIZE, cache_file=file)

    def refuse(xyz):
        raise AssertionError("the file has it all")

    kept = analytic_scene("ring", SOLID, refuse, SIZE, cache_file=file)
    np.testing.assert_array_equal(kept.hidden.image(2), scene.hidden.image(2))
    np.testing.assert_array_equal(kept.hidden.depth(2), scene.hidden.depth(2))
    np.testing.assert_array_equal(kept.surface.normal, scene.surface.normal)


def test_cameras_stand_around_and_hold_the_box_in_view():
    cameras = orbit(around(48, 0), 100)
    np.testing.assert_allclose(np.linalg.norm(cameras.centres, axis=1), DISTANCE, rtol=1e-6)
    corners = np.stack(np.meshgrid(*[[-1, 1]] * 3), -1).reshape(-1, 3)
    for i in range(len(cameras)):
        centre, ahead = project(cameras, i, np.zeros((1, 3)))
        np.testing.assert_allclose(centre, [[50, 50]], atol=1e-3)
        near, far = cameras.near_far[i]
        distance = np.linalg.norm(corners - cameras.centres[i], axis=1)
        assert near - 1e-5 <= distance.min() and distance.max() <= far + 1e-5
        assert ahead == pytest.approx(DISTANCE, rel=1e-6)


def test_training_directions_are_spread_and_test_directions_are_others():
    train, test = around(48, 0), spiral(16)
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([train, test]), axis=1), 1)
    assert (train[:, 2] < -0.3).sum() > 10 and (train[:, 2] > 0.3).sum() > 10
    between = np.arccos(np.clip(train @ train.T, -1, 1)) + 9 * np.eye(48)
    assert np.degrees(between.min(1)).mean() > 15  # an even spread has about 28 degrees
    assert np.degrees(np.arccos((test @ train.T).max(1))).min() > 0.5


def test_a_direction_along_z_has_no_up():
    with pytest.raises(DataCorrupt), np.errstate(invalid="ignore"):
        orbit([[0, 0, 1]], 8)
