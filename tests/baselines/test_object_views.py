"""Rays of many objects: where they go through, what they see, and how they are drawn."""

import dataclasses

import numpy as np
import pytest
import torch

from nfbench.baselines.object_views import ObjectViews, camera_bundle, near_distances
from nfbench.harness.camera import Cameras, look_at, pixel_grid, rays
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.scene import Given, Points, Scene, Views

BOX = np.array([[-1, -1, -1], [1, 1, 1]], np.float32)


def cameras(count, width=8, height=6, near_far=(1.0, 5.0)):
    K = [[9, 0, width / 2], [0, 10, height / 2 + 0.3], [0, 0, 1]]
    c2w = np.stack([look_at([3 * np.cos(i), 3 * np.sin(i), 1 + 0.1 * i], [0, 0, 0]) for i in range(count)])
    near = None if near_far is None else np.tile(near_far, (count, 1))
    return Cameras(c2w, np.tile(K, (count, 1, 1)), np.tile([width, height], (count, 1)), near)


def scene(name, count=3, shade=0, **kind):
    seen = cameras(count, **kind)
    width, height = seen.size[0].tolist()

    def load(index):
        """A pixel of view i at row r, column c is (shade + i, 10 r, 10 c)."""
        row, column = np.mgrid[:height, :width]
        return np.stack([np.full_like(row, shade + index), 10 * row, 10 * column], -1).astype(np.uint8)

    return Scene(name, Given(views=Views(seen, tuple(f"{name}_{i}" for i in range(count)), load)), BOX)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_random_rays_go_through_the_pixels_whose_colours_they_have(offset):
    objects = [scene("a", shade=0), scene("b", shade=100)]
    drawn = ObjectViews(objects, offset, 0, "srn").rays(2, 50)
    assert sorted(drawn.objects.tolist()) == [0, 1]
    for at, item in enumerate(drawn.objects.tolist()):
        views = objects[item].given.views
        for ray in range(50):
            shade, row, column = (drawn.colours[at, ray].numpy() * 255).round().astype(int)
            index = shade - 100 * item
            xy = np.array([[column / 10 + offset, row / 10 + offset]])
            origin, direction = rays(views.cameras, index, xy)
            np.testing.assert_allclose(drawn.origins[at, ray], origin[0], atol=1e-6)
            np.testing.assert_allclose(drawn.directions[at, ray], direction[0], atol=1e-6)
            assert drawn.cosines[at, ray].item() == pytest.approx(direction[0] @ views.cameras.c2w[index, :, 2])
            assert drawn.near[at, ray] == 1


def test_without_an_offset_rays_go_through_the_corner_as_in_the_original():
    seen = cameras(1)
    drawn = camera_bundle(seen, 0, BOX, 0.0)
    K, pose = seen.K[0].astype(float), seen.c2w[0].astype(float)
    for ray, (x, y) in enumerate((x, y) for y in range(6) for x in range(8)):
        local = np.array([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], 1])
        expected = pose[:, :3] @ (local / np.linalg.norm(local))
        np.testing.assert_allclose(drawn.directions[0, ray], expected, atol=1e-6)
        assert drawn.cosines[0, ray].item() == pytest.approx(1 / np.linalg.norm(local), rel=1e-5)


def test_whole_images_come_once_a_round_with_the_rays_of_their_cameras():
    objects = [scene("a", 3), scene("b", 2, shade=100)]
    views = ObjectViews(objects, 0.5, 0, "srn")
    seen = []
    for _ in range(5):
        drawn = views.images(1, 100)
        item, index = int(drawn.objects[0]), round(float(drawn.colours[0, 0, 0] * 255)) % 100
        seen.append((item, index))
        beside = camera_bundle(objects[item].given.views.cameras, index, BOX, 0.5)
        for name in ("origins", "directions", "cosines", "near"):
            np.testing.assert_allclose(getattr(drawn, name), getattr(beside, name), atol=1e-6)
    assert sorted(seen) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]


def test_larger_images_are_averaged_and_their_rays_spread():
    views = ObjectViews([scene("a", 1)], 0.5, 0, "srn")
    drawn = views.images(1, 4)
    assert drawn.near.shape == (1, 12)
    rows = (drawn.colours[0, :, 1].reshape(3, 4) * 255).round()
    assert rows[:, 0].tolist() == [5, 25, 45] and (rows == rows[:, :1]).all()
    xy = pixel_grid(4, 3) * 2
    np.testing.assert_allclose(drawn.directions[0], rays(cameras(1), 0, xy)[1], atol=1e-6)


def test_the_order_goes_on_from_a_state():
    first, second = (ObjectViews([scene(n) for n in "abc"], 0.5, seed, "srn") for seed in (1, 2))
    first.rays(2, 5), first.images(2, 8)
    second.load_state_dict(first.state_dict())
    for _ in range(4):
        for one, other in ((v.rays(2, 5), w.rays(2, 5)) for v, w in [(first, second)]):
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
        one, other = first.images(2, 8), second.images(2, 8)
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_lens_bends_the_rays():
    straight = scene("a", 2)
    seen = straight.given.views.cameras
    bent = dataclasses.replace(seen, distortion=np.tile([-0.2, 0, 0, 0, 0, 0, 0, 0], (2, 1)))
    lens = dataclasses.replace(straight, given=Given(views=dataclasses.replace(straight.given.views, cameras=bent)))
    drawn = ObjectViews([lens], 0.5, 0, "srn").images(1, 8)
    index = round(float(drawn.colours[0, 0, 0] * 255))
    np.testing.assert_allclose(drawn.directions[0], rays(bent, index)[1], atol=1e-6)
    assert np.abs(drawn.directions[0].numpy() - rays(seen, index)[1]).max() > 1e-3


def test_near_is_where_the_sphere_around_the_box_begins_when_cameras_do_not_say():
    seen = cameras(2, near_far=None)
    expected = np.linalg.norm(seen.centres, axis=1) - np.sqrt(3)
    np.testing.assert_allclose(near_distances(seen, BOX), expected, atol=1e-6)
    assert near_distances(seen, 10 * BOX).tolist() == [0, 0]
    assert near_distances(cameras(2), BOX).tolist() == [1, 1]


def test_images_of_two_sizes_and_scenes_without_views_are_named():
    mixed = ObjectViews([scene("small", 1), scene("large", 1, width=10)], 0.5, 0, "srn")
    assert mixed.rays(2, 4).near.shape == (2, 4)
    with pytest.raises(Unsupported, match="large, small"):
        mixed.images(2, 100)
    with pytest.raises(DataMissing, match="bare"):
        ObjectViews([Scene("bare", Given(cloud=Points(np.zeros((1, 3)))), BOX)], 0.5, 0, "srn")
