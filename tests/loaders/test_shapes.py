import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from nfbench.harness.camera import project
from nfbench.loaders.analytic import Size
from nfbench.loaders.procedural import task
from nfbench.loaders.shapes import distance_samples, shape

SMALL = Size(points=3000, cloud=50, samples=1000)
POINTS, SDF = "procedural-shapes/points-to-shape", "procedural-shapes/sdf-to-shape"
IMAGE, VOXELS = "procedural-shapes/image-to-shape", "procedural-shapes/voxels-to-shape"


def test_the_split_is_disjoint_and_of_one_family(tmp_path):
    for name in (POINTS, SDF, IMAGE, VOXELS):
        found = task(name, tmp_path, SMALL)
        train, test = ({ref.name for ref in refs} for refs in (found.train, found.test))
        assert (len(train), len(test)) == (32, 8) and not train & test
        assert {n[:-3] for n in train} == {n[:-3] for n in test} == {"bowl", "cup", "vase", "bottle", "goblet"}
        assert found.protocol == "onet-shapenet@1"
    assert not list(tmp_path.iterdir())


def test_points_to_shape(tmp_path):
    found = task(POINTS, tmp_path, SMALL)
    train, test = found.train[4].open(), found.test[0].open()
    assert found.given == test.given.kinds() == ("cloud",) and train.given.kinds() == ("cloud", "samples")
    for scene, index in ((train, 4), (test, 32)):
        solid = shape(index)
        np.testing.assert_array_equal(scene.box, np.float32([[-0.55] * 3, [0.55] * 3]))
        assert len(scene.given.cloud) == 50 and scene.given.cloud.normal is None
        off = solid.distance(scene.given.cloud.xyz.astype(np.float64))
        assert 0.003 < off.std() < 0.008
    assert train.given.samples.kind == "occupancy" and len(train.given.samples) == 3000
    inside = shape(4).distance(train.given.samples.xyz.astype(np.float64)) < 0
    np.testing.assert_array_equal(train.given.samples.value, inside)
    assert train.surface is None and train.occupancy is None
    assert test.seen().surface is None and test.seen().occupancy is None


def test_truth_of_a_test_shape(tmp_path):
    for name in (POINTS, SDF, IMAGE, VOXELS):
        scene, solid = task(name, tmp_path, SMALL).test[3].open(), shape(35)
        xyz = scene.surface.xyz.astype(np.float64)
        assert np.abs(solid.distance(xyz)).max() < 1e-6
        assert np.quantile(np.abs(solid.gradient(xyz) - scene.surface.normal), 0.999) < 1e-4
        extent = xyz.max(0) - xyz.min(0)
        assert 0.99 < extent.max() <= 1 + 1e-6
        np.testing.assert_array_equal(scene.occupancy.value, solid.distance(scene.occupancy.xyz.astype(np.float64)) < 0)


@pytest.mark.parametrize("split", ["train", "test"])
def test_sdf_to_shape(tmp_path, split):
    found = task(SDF, tmp_path, SMALL)
    scene, solid = getattr(found, split)[2].open(), shape(2 if split == "train" else 34)
    assert found.given == scene.given.kinds() == ("samples",)
    samples = scene.given.samples
    assert samples.kind == "sdf" and len(samples) == 1000
    np.testing.assert_allclose(samples.value, solid.distance(samples.xyz.astype(np.float64)), atol=1e-7)
    assert (np.abs(samples.value) < 0.02).mean() > 0.3 and (samples.value > 0.1).any() and (samples.value < 0).any()


def test_both_tasks_share_one_file_a_shape_and_making_again_changes_nothing(tmp_path):
    clouds = []
    for folder in ("a", "a", "b"):
        clouds.append(task(POINTS, tmp_path / folder, SMALL).test[1].open().given.cloud.xyz.tobytes())
        task(SDF, tmp_path / folder, SMALL).test[1].open()
    assert len(set(clouds)) == 1
    assert len(list((tmp_path / "a").rglob("*.npz"))) == 1


def test_distance_samples_lie_where_they_are_needed():
    solid = shape(0)
    xyz = distance_samples(solid, 10_000, np.random.default_rng(0)).astype(np.float64)
    near = np.abs(solid.distance(xyz))
    assert xyz.shape == (10_000, 3)
    assert 0.35 < (near < 0.0125).mean() < 0.65  # within one deviation of the narrow spread, and some others
    half = xyz[:5000], xyz[5000:]  # shuffled: a prefix is a fair sample
    assert abs(np.abs(solid.distance(half[0])).mean() - np.abs(solid.distance(half[1])).mean()) < 0.01


def test_image_to_shape(tmp_path):
    found = task(IMAGE, tmp_path, SMALL)
    train, test = found.train[2].open(), found.test[0].open()
    assert found.given == test.given.kinds() == ("views",) and train.given.kinds() == ("views", "samples")
    assert (len(train.given.views), len(test.given.views), test.hidden) == (8, 1, None)
    np.testing.assert_array_equal(train.given.samples.value, shape(2).distance(train.given.samples.xyz + 0.0) < 0)
    view = test.given.views
    assert view.image(0).shape == (137, 137, 4)
    xy, depth = project(view.cameras, 0, test.surface.xyz)  # the surface lies on the silhouette, and fills it
    column, row = np.floor(xy).astype(int).T
    mask = view.mask(0)
    assert binary_dilation(mask, np.ones((3, 3)))[row, column].all() and (depth > 0).all()
    seen = np.zeros_like(mask)
    seen[row, column] = True
    assert (mask & ~binary_dilation(seen, iterations=5)).sum() == 0
    near, far = view.cameras.near_far[0]
    assert near < depth.min() and depth.max() < far
    assert [ref.name for ref in found.every(4).test] == [ref.name for ref in found.test[::4]]  # scenes, not views


def test_voxels_to_shape(tmp_path):
    found = task(VOXELS, tmp_path, SMALL)
    train, test = found.train[1].open(), found.test[4].open()
    assert found.given == test.given.kinds() == ("voxels",) and train.given.kinds() == ("samples", "voxels")
    for scene, solid in ((train, shape(1)), (test, shape(36))):
        voxels = scene.given.voxels
        assert voxels.filled.shape == (32, 32, 32)
        np.testing.assert_array_equal(voxels.box, [[-0.5] * 3, [0.5] * 3])
        for i, j, k in np.random.default_rng(0).integers(0, 32, (200, 3)):
            centre = (np.array([i, j, k]) + 0.5) / 32 - 0.5
            assert voxels.filled[i, j, k] == (solid.distance(centre[None])[0] < 0)
        assert voxels.filled.any()
    again = task(VOXELS, tmp_path, SMALL).test[4].open().given.voxels.filled  # from the cache
    np.testing.assert_array_equal(again, test.given.voxels.filled)
