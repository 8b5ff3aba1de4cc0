import igl
import numpy as np
import pytest
from scipy.ndimage import binary_dilation
from skimage.measure import marching_cubes

from nfbench.harness.camera import project
from nfbench.loaders.analytic import Size
from nfbench.loaders.cars import (
    CAR_SIZE,
    KINDS,
    LENGTH,
    around_above,
    car,
    made_car,
    proportions,
    rising,
)
from nfbench.loaders.procedural import task

SMALL = Size(train_views=3, test_views=2, pixels=24, points=2000)
NAME = "procedural-cars/one-view"


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    return task(NAME, tmp_path_factory.mktemp("cars"), SMALL)


def test_the_split_is_disjoint_and_of_one_family(cars, tmp_path):
    full = task(NAME, tmp_path)
    train, test = ({ref.name for ref in refs} for refs in (full.train, full.test))
    assert (len(train), len(test)) == (24, 4) and not train & test
    assert {n[:-3] for n in train} == {n[:-3] for n in test} == set(KINDS)
    assert (full.protocol, full.given) == ("procedural@1", ("views",))
    assert not list(tmp_path.iterdir())  # nothing is made before it is opened
    assert (CAR_SIZE.train_views, CAR_SIZE.test_views, CAR_SIZE.pixels) == (24, 12, 64)


def test_a_training_car_gives_all_its_views_and_a_test_car_one(cars):
    train, test = cars.train[1].open(), cars.test[1].open()
    assert train.given.kinds() == test.given.kinds() == ("views",)
    assert (len(train.given.views), len(test.given.views), len(test.hidden)) == (3, 1, 2)
    assert train.hidden is train.surface is train.occupancy is None
    for views in (train.given.views, test.given.views, test.hidden):
        for i in range(len(views)):
            image = views.image(i)
            assert image.shape == (24, 24, 4) and set(np.unique(image[..., 3])) == {0, 255}
            assert 0.03 < views.mask(i).mean() < 0.5
    assert not set(test.given.views.names) & set(test.hidden.names)
    elevation = test.given.views.cameras.c2w[0, 2, 3] / np.linalg.norm(test.given.views.cameras.c2w[0, :, 3])
    assert elevation == pytest.approx(np.sin(np.radians(25)), abs=1e-6)


def test_the_truth_of_a_test_car_agrees_with_its_images(cars):
    scene = cars.test[0].open()
    solid, _ = made_car(24)
    xyz = scene.surface.xyz.astype(np.float64)
    assert np.abs(solid.distance(xyz)).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(scene.surface.normal, axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(scene.occupancy.value, solid.distance(scene.occupancy.xyz.astype(np.float64)) < 0)
    assert scene.occupancy.value.any()
    for i in range(len(scene.hidden)):  # every point falls on the silhouette, to a pixel
        xy, depth = project(scene.hidden.cameras, i, scene.surface.xyz)
        column, row = np.floor(xy).astype(int).T
        assert (depth > 0).all()
        wider = binary_dilation(scene.hidden.mask(i), np.ones((3, 3)))
        assert wider[row, column].all() and wider.mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_sound_solid(kind):
    solid, texture = car(kind, (5, 1))
    xyz, normal = solid.sample(5000, np.random.default_rng(0))
    low, high = xyz.min(0), xyz.max(0)
    np.testing.assert_allclose((high - low)[0], LENGTH, atol=0.02)  # corners are rounded
    assert LENGTH > (high - low)[1] > (high - low)[2] * 0.8
    np.testing.assert_allclose(high + low, 0, atol=0.02)
    colour = texture(xyz)
    assert colour.shape == xyz.shape and colour.min() >= 0 and colour.max() <= 1
    paint = np.array(proportions(kind, (5, 1)).paint)
    assert 0.15 < (np.abs(colour - paint).max(1) < 0.05).mean() < 0.9  # painted, and glass and tyres beside it
    dark = (colour.max(1) < 0.2).mean()
    assert 0.1 < dark < 0.7
    mirrored = solid.distance(xyz * (1, -1, 1))
    assert np.abs(mirrored).max() < 1e-6  # left and right are alike
    assert (xyz[normal[:, 2] < -0.99, 2].min()) == pytest.approx(low[2], abs=0.01)  # it stands on its wheels


def test_distance_outside_against_a_mesh():
    solid, _ = made_car(0)
    cells = 96
    line = np.linspace(-1, 1, cells)
    lattice = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    volume = solid.distance(lattice).reshape([cells] * 3)
    vertices, faces, _, _ = marching_cubes(volume, 0, spacing=[line[1] - line[0]] * 3)
    xyz = np.random.default_rng(0).uniform(-1, 1, (1500, 3))
    squared, _, _ = igl.point_mesh_squared_distance(xyz, vertices.astype(np.float64) - 1, faces.astype(np.int64))
    distance = solid.distance(xyz)
    outside = distance > 0.03
    assert np.abs(distance - np.sqrt(squared))[outside].max() < 0.015  # the mesh cuts corners by less than a cell
    assert (-distance[distance < 0] <= np.sqrt(squared)[distance < 0] + 0.015).all()  # inside, a bound


def test_directions():
    for directions in (around_above(50, 3), rising(50)):
        np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
        up = np.degrees(np.arcsin(directions[:, 2]))
        assert up.min() >= 3 and up.max() <= 70
    assert np.abs(around_above(50, 3)[:, :2].mean(0)).max() < 0.15  # from all around
    assert (around_above(5, 3) != around_above(5, 4)).any()


def test_the_same_again(cars, tmp_path):
    other = task(NAME, tmp_path, SMALL)
    for split in ("train", "test"):
        one, two = getattr(cars, split)[0].open(), getattr(other, split)[0].open()
        np.testing.assert_array_equal(one.given.views.image(0), two.given.views.image(0))
    np.testing.assert_array_equal(one.surface.xyz, two.surface.xyz)
    assert len({tuple(proportions("van", (1, seed)).paint) for seed in range(5)}) == 5
