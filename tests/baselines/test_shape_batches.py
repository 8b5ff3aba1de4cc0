from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from nfbench.baselines.shape_batches import Shape, ShapeBatches, subset
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.probe import ball
from nfbench.harness.scene import Given, Points


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
    drawn = ShapeBatches([sphere_shape()], batch=4, input_points=400, query_points=2000, turn=1, stretch=0.3)
    clouds, points, inside = next(iter(drawn))
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
    drawn = ShapeBatches([Shape.of(scene, near)], batch=2, query_points=1000, input_points=300, near=near)
    _, points, _ = next(iter(drawn))

    def close(xyz):
        distance = np.linalg.norm(xyz[:, None] - cloud, axis=-1).min(1)
        return (distance < 0.08 * np.ptp(cloud, axis=0).max()).mean()

    everywhere = close(scene.given.samples.xyz)
    assert close(points.reshape(-1, 3)) == pytest.approx(near + (1 - near) * everywhere, abs=0.05)


def test_every_shape_comes_equally_often():
    shapes = [replace(sphere_shape(), cloud=np.full((5, 3), i, np.float32)) for i in range(5)]
    drawn = islice(ShapeBatches(shapes, batch=3, query_points=1, input_points=5), 50)
    seen = np.concatenate([cloud[:, 0, 0] for cloud, _, _ in drawn])
    assert np.bincount(seen.astype(int)).tolist() == [30] * 5


def test_the_seed_alone_decides():
    def first(seed):
        return next(iter(ShapeBatches([sphere_shape()], 2, 10, 20, noise=0.01, turn=2, seed=seed)))[0]

    assert np.array_equal(first(3), first(3)) and not np.array_equal(first(3), first(4))


def test_a_small_cloud_is_filled_up_with_its_own_points():
    cloud = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert {tuple(p) for p in subset(cloud, 7, 0.0, np.random.default_rng(0))} == {tuple(p) for p in cloud}


def test_signed_distances_tell_the_inside_too(scene):
    sdf = Points(scene.given.samples.xyz, value=0.5 - scene.given.samples.value, kind="sdf")
    given = Given(cloud=scene.given.cloud, samples=sdf)
    assert np.array_equal(Shape.of(replace(scene, given=given), 0).inside, Shape.of(scene, 0).inside)


def test_a_scene_that_cannot_be_learned_from_is_named(scene):
    density = Points(scene.given.samples.xyz, value=scene.given.samples.value, kind="density")
    for given, error in (
        (Given(samples=scene.given.samples), DataMissing),
        (Given(cloud=scene.given.cloud), DataMissing),
        (Given(cloud=scene.given.cloud, samples=density), Unsupported),
    ):
        with pytest.raises(error, match="'ball'"):
            Shape.of(replace(scene, given=given), 0)
