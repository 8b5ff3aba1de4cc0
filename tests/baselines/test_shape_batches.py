import json
from dataclasses import replace
from itertools import islice, permutations

import numpy as np
import pytest

from nfbench.baselines.shape_batches import (
    CloudBatches,
    ImageBatches,
    Shape,
    VoxelBatches,
    border,
    cloud_of,
    picture,
    subset,
    views_of,
    voxels_of,
)
from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.probe import ball
from nfbench.harness.scene import Given, Points, Views, Voxels


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return ball(tmp_path_factory.mktemp("ball"))


def sphere_shape(count=400):
    """A sphere of radius 0.4 about the origin with an exact cloud."""
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(count, 3))
    cloud = (0.4 * cloud / np.linalg.norm(cloud, axis=1, keepdims=True)).astype(np.float32)
    xyz = rng.uniform(-0.55, 0.55, (5000, 3)).astype(np.float32)
    return Shape(cloud, xyz, np.linalg.norm(xyz, axis=1) < 0.4, np.arange(len(xyz)))


def test_deformed_spheres_keep_their_occupancy():
    """Under turns and stretches a sphere about the origin becomes an ellipsoid that its cloud outlines."""
    drawn = CloudBatches([sphere_shape()], batch=4, input_points=400, query_points=2000, turn=1, stretch=0.3)
    clouds, points, inside = next(drawn)
    for cloud, xyz, occupied in zip(clouds, points, inside, strict=True):
        squares = np.stack([cloud[:, i] * cloud[:, j] for i in range(3) for j in range(3)], 1)
        form = np.linalg.lstsq(squares, np.ones(400))[0]
        level = np.einsum("pi,ij,pj->p", xyz, form.reshape(3, 3), xyz)
        assert np.ptp(np.linalg.norm(cloud, axis=1)) > 0.02
        clear = np.abs(level - 1) > 1e-3
        np.testing.assert_array_equal(level[clear] < 1, occupied[clear] == 1)


@pytest.mark.parametrize("near", [0.0, 0.75, 1.0])
def test_the_asked_part_of_the_query_points_is_close_to_the_cloud(scene, near):
    cloud = scene.given.cloud.xyz
    shape = Shape.of(scene, cloud, cloud if near else None)
    _, points, _ = next(CloudBatches([shape], batch=2, query_points=1000, input_points=300, near=near))

    def close(xyz):
        distance = np.linalg.norm(xyz[:, None] - cloud, axis=-1).min(1)
        return (distance < 0.08 * np.ptp(cloud, axis=0).max()).mean()

    everywhere = close(scene.given.samples.xyz)
    assert close(points.reshape(-1, 3)) == pytest.approx(near + (1 - near) * everywhere, abs=0.05)


def test_every_shape_comes_equally_often():
    shapes = [replace(sphere_shape(), given=np.full((5, 3), i, np.float32)) for i in range(5)]
    drawn = islice(CloudBatches(shapes, batch=3, query_points=1, input_points=5), 50)
    seen = np.concatenate([cloud[:, 0, 0] for cloud, _, _ in drawn])
    assert np.bincount(seen.astype(int)).tolist() == [30] * 5


def test_the_seed_alone_decides():
    def first(seed):
        return next(CloudBatches([sphere_shape()], 2, 10, 20, noise=0.01, turn=2, seed=seed))[0]

    assert np.array_equal(first(3), first(3)) and not np.array_equal(first(3), first(4))


def test_a_small_cloud_is_filled_up_with_its_own_points():
    cloud = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert {tuple(p) for p in subset(cloud, 7, 0.0, np.random.default_rng(0))} == {tuple(p) for p in cloud}


# ------------------------------------------------------------------------------------------------ images and voxels


def views_in(size, colours):
    """Views of one colour each, RGBA, left half transparent."""
    width, height = size
    K = np.tile([[9.0, 0, width / 2], [0, 9, height / 2], [0, 0, 1]], (len(colours), 1, 1))
    cameras = Cameras(np.tile(np.eye(4)[:3], (len(colours), 1, 1)), K, np.tile(size, (len(colours), 1)))
    images = [np.full((height, width, 4), (*colour, 255), np.uint8) for colour in colours]
    for image in images:
        image[:, : width // 2, 3] = 0
    return Views(cameras, tuple(str(i) for i in range(len(colours))), lambda i: images[i])


def test_a_picture_is_the_middle_of_the_view_on_the_background():
    shown = picture(views_in((60, 20), [(255, 0, 0)]), 0, (0.0, 1.0, 0.0), 10)
    assert shown.shape == (3, 10, 10) and shown.dtype == np.uint8
    np.testing.assert_array_equal(shown[:, :, 0], np.tile([[0], [255], [0]], 10))
    np.testing.assert_array_equal(shown[:, :, -1], np.tile([[255], [0], [0]], 10))


def test_all_views_of_a_shape_are_shown_and_colours_exchanged():
    shape = replace(sphere_shape(), given=views_in((8, 8), [(10, 20, 30), (40, 50, 60)]))
    plain = ImageBatches([shape], 4, 5, [(0.0, 0.0, 0.0)], 8)
    seen = {tuple(image[:, 4, 7]) for images, _, _ in islice(plain, 8) for image in images}
    assert seen == {(10, 20, 30), (40, 50, 60)}
    mixed = ImageBatches([shape], 4, 5, [(0.0, 0.0, 0.0)], 8, recolour=True)
    seen = {tuple(image[:, 4, 7]) for images, _, _ in islice(mixed, 40) for image in images}
    assert seen == set(permutations((10, 20, 30))) | set(permutations((40, 50, 60)))
    images, points, inside = next(mixed)
    assert images.shape == (4, 3, 8, 8) and points.shape == (4, 5, 3) and inside.dtype == np.float32


def test_pictures_are_decoded_once(monkeypatch):
    calls = []
    views = views_in((8, 8), [(1, 2, 3)])
    counted = replace(views, load=lambda i: calls.append(i) or views.load(i))
    batches = ImageBatches([replace(sphere_shape(), given=counted)], 2, 1, [(0.0, 0.0, 0.0)], 8)
    list(islice(batches, 5))
    assert calls == [0]
    monkeypatch.setattr("nfbench.baselines.shape_batches._KEPT_BYTES", 10)
    batches = ImageBatches([replace(sphere_shape(), given=counted)], 2, 1, [(0.0, 0.0, 0.0)], 8)
    list(islice(batches, 5))
    assert len(calls) == 11


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("box", [[[-0.4, -0.5, -0.6], [0.6, 0.5, 0.4]], [[-0.5, -0.7, -0.6], [0.5, 0.1, 0.7]]])
def test_turned_voxels_hold_the_turned_points(axis, box):
    """A point is in a filled voxel after the turn as it was before, in cubes and in other boxes."""
    rng = np.random.default_rng(axis)
    voxels = Voxels(rng.random((6, 6, 6)) < 0.4, np.array(box))
    low, high = voxels.box.astype(np.float64)
    xyz = (low + rng.random((400, 3)) * (high - low)).astype(np.float32)

    def held(filled, points):
        cell = np.clip(np.floor((points - low) / (high - low) * 6).astype(int), 0, 5)
        return filled[tuple(cell.T)]

    before = held(voxels.filled, xyz)
    at = np.abs((xyz - low) / (high - low) * 6 % 1 - 0.5) < 0.499  # not on a border, where rounding decides
    shape = Shape(voxels, xyz, before, np.arange(400))
    seen = set()
    for given, points, inside in islice(VoxelBatches([shape], 1, 400, turn=axis), 40):
        seen.add(given.tobytes())
        clear = (np.abs((points[0] - low) / (high - low) * 6 % 1 - 0.5) < 0.499).all(1)
        assert clear.mean() > 0.9 * at.all(1).mean()
        np.testing.assert_array_equal(held(given[0], points[0])[clear], inside[0][clear] == 1)
    assert len(seen) == (8 if box[0] == [-0.4, -0.5, -0.6] else 4)
    given, points, _ = next(VoxelBatches([shape], 1, 400))
    assert np.array_equal(given[0], voxels.filled)


def test_the_border_of_voxels_is_what_has_an_empty_neighbour():
    filled = np.zeros((7, 7, 7), np.bool_)
    filled[1:6, 1:6, 1:6] = True
    found = border(Voxels(filled, np.array([[0, 0, 0], [7, 7, 7]])))
    assert len(found) == 5**3 - 3**3
    assert np.isin(np.abs(found - 3.5).max(1), [2.0]).all()


# --------------------------------------------------------------------------------------------- state and bad input


def all_kinds():
    sphere = sphere_shape()
    voxels = Voxels(np.random.default_rng(1).random((4, 4, 4)) < 0.5, np.array([[-1] * 3, [1] * 3]))
    views = views_in((8, 8), [(10, 20, 30), (40, 50, 60)])
    return {
        "cloud": lambda: CloudBatches([sphere] * 5, 2, 10, 20, noise=0.01, turn=2, stretch=0.1, near=0.5, seed=3),
        "image": lambda: ImageBatches([replace(sphere, given=views)] * 5, 2, 10, [(0.0,) * 3] * 5, 8, recolour=True),
        "voxels": lambda: VoxelBatches([replace(sphere, given=voxels)] * 5, 2, 10, turn=0, seed=3),
    }


@pytest.mark.parametrize("kind", ["cloud", "image", "voxels"])
def test_batches_go_on_from_a_kept_state(kind):
    make = all_kinds()[kind]
    first = make()
    list(islice(first, 4))
    state = json.loads(json.dumps(first.state_dict()))
    expected, again = list(islice(first, 7)), make()
    again.load_state_dict(state)
    for one, two in zip(expected, islice(again, 7), strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


def test_signed_distances_tell_the_inside_too(scene):
    assert scene.given.samples.kind == "sdf"
    filled = Points(scene.given.samples.xyz, value=np.float32(scene.given.samples.value < 0), kind="occupancy")
    given = Given(cloud=scene.given.cloud, samples=filled)
    assert np.array_equal(Shape.of(replace(scene, given=given), 0).inside, Shape.of(scene, 0).inside)


def test_a_scene_that_cannot_be_learned_from_is_named(scene):
    density = Points(scene.given.samples.xyz, value=scene.given.samples.value, kind="density")
    for given, error in (
        (Given(cloud=scene.given.cloud), DataMissing),
        (Given(cloud=scene.given.cloud, samples=density), Unsupported),
    ):
        with pytest.raises(error, match="'ball'"):
            Shape.of(replace(scene, given=given), 0)
    bare = replace(scene, given=Given(samples=scene.given.samples))
    for get in (cloud_of, views_of, lambda scene: voxels_of(scene, 32)):
        with pytest.raises(DataMissing, match="'ball'"):
            get(bare)
    with pytest.raises(Unsupported, match="32 voxels along an edge, and the network takes 16"):
        voxels_of(scene, 16)
