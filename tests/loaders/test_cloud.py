from pathlib import Path

import numpy as np
import pytest

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import cloud

FILE = Path("some/points.npz")
XYZ = np.random.default_rng(0).uniform(-1, 1, (500, 3)).astype(np.float32)
TRIANGLE = Mesh(np.eye(3), np.array([[0, 1, 2]]))
BOX = cloud.cube(1)


def scene(**parts):
    return Scene("s", parts.pop("given", Given()), BOX, **parts)


def test_errors_of_points_name_their_file():
    broken = XYZ.copy()
    broken[7, 1] = np.nan
    with pytest.raises(DataCorrupt, match=r"points\.npz: Points\.xyz holds NaN or infinity in row 7"):
        cloud.checked(FILE, broken)
    with pytest.raises(DataCorrupt, match=r"points\.npz holds no points"):
        cloud.checked(FILE, XYZ[:0])
    with pytest.raises(DataCorrupt, match="row 0"):
        cloud.checked(FILE, np.full((1, 3), 1e300))
    points = cloud.checked(FILE, XYZ, XYZ, XYZ[:, 0], "sdf")
    assert points.kind == "sdf"
    np.testing.assert_array_equal(points.normal, XYZ)
    np.testing.assert_array_equal(points.value, XYZ[:, 0])


def test_noisy_points_are_some_of_the_cloud_and_the_same_for_one_seed():
    whole = Points(XYZ, normal=XYZ)
    few = cloud.noisy(whole, 300, 0.0)
    assert len(few) == 300
    assert few.normal is None
    assert len(np.unique(few.xyz, axis=0)) == 300
    assert {tuple(p) for p in few.xyz.tolist()} <= {tuple(p) for p in XYZ.tolist()}
    moved = cloud.noisy(whole, 300, 0.005)
    assert 0.0045 < (moved.xyz - few.xyz).std() < 0.0055
    np.testing.assert_array_equal(moved.xyz, cloud.noisy(whole, 300, 0.005, 0).xyz)
    assert (moved.xyz != cloud.noisy(whole, 300, 0.005, 1).xyz).all()
    np.testing.assert_array_equal(cloud.noisy(whole, 500, 0.0).xyz, XYZ)
    np.testing.assert_array_equal(cloud.noisy(whole, 501, 0.0).xyz, XYZ)


def test_jitter_is_drawn_once():
    noise = cloud.jitter(20_000, 1e-4, 3)
    assert noise.dtype == np.float32
    assert noise.shape == (20_000, 3)
    assert 0.98e-4 < noise.std() < 1.02e-4
    assert cloud.jitter(20_000, 1e-4, 3) is noise
    assert not noise.flags.writeable
    assert (cloud.jitter(20_000, 1e-4, 4) != noise).any()


def test_boxes():
    np.testing.assert_array_equal(cloud.cube(0.55), np.float32([[-0.55] * 3, [0.55] * 3]))
    box = cloud.box_around(np.array([[0, 0, 0], [4.0, 2.0, 1.0]]))
    np.testing.assert_allclose(box, [[-0.2, -0.2, -0.2], [4.2, 2.2, 1.2]], rtol=1e-6)
    np.testing.assert_allclose(cloud.box_around(np.array([[0, 0, 0], [4.0, 2, 1]]), 0.5)[0], [-2, -2, -2])
    for flat in ([[1000.0, 0, 0]], [[0.0, 0, 0]]):
        box = cloud.box_around(np.array(flat))
        assert (box[0] < box[1]).all()


def test_frames_of_scale_and_move():
    frame = cloud.similarity(2.0, np.array([1, 2, 3]))
    np.testing.assert_array_equal(frame @ [1, 1, 1, 1], [3, 4, 5, 1])
    scale, move = cloud.scale_and_move(frame, "s")
    assert scale == 2
    assert move.tolist() == [1, 2, 3]
    turned = frame.copy()
    turned[:2, :2] = [[0, -2], [2, 0]]
    stretched = np.diag([1.0, 1, 2, 1])
    for bad in (turned, stretched, np.diag([-1.0, -1, -1, 1])):
        with pytest.raises(ContractBroken, match="scene 's' turns or stretches"):
            cloud.scale_and_move(bad, "s")


def test_surfaces_to_write():
    points = Points(XYZ)
    assert cloud.surface_points(scene(surface=points)) is points
    drawn = cloud.surface_points(scene(surface=TRIANGLE), 50)
    assert len(drawn) == 50
    np.testing.assert_allclose(drawn.xyz.sum(1), 1, rtol=1e-5)
    assert cloud.SURFACE_POINTS == 100_000
    with pytest.raises(DataMissing, match="'s' has no true surface"):
        cloud.surface_points(scene())


def test_occupancy_to_write():
    value = np.float32([-1, 0, 1, 0.4, 0.5])
    sdf = Points(XYZ[:5], value=value, kind="sdf")
    occupancy = Points(XYZ[5:10], value=value, kind="occupancy")
    density = Points(XYZ[:5], value=value, kind="density")
    assert cloud.occupancy_points(scene(given=Given(samples=sdf))).value.tolist() == [1, 0, 0, 0, 0]
    both = cloud.occupancy_points(scene(given=Given(samples=sdf), occupancy=occupancy))
    assert both.value.tolist() == [0, 0, 1, 0, 1]
    np.testing.assert_array_equal(both.xyz, XYZ[5:10])
    assert both.kind == "occupancy"
    for bad in (scene(), scene(given=Given(samples=density)), scene(given=Given(samples=Points(XYZ)))):
        with pytest.raises(DataMissing, match="no points with occupancy"):
            cloud.occupancy_points(bad)
    assert cloud.distance_samples(scene(given=Given(samples=sdf))) is sdf
    for bad in (scene(), scene(given=Given(samples=occupancy)), scene(given=Given(samples=Points(XYZ)))):
        with pytest.raises(DataMissing, match="no signed distances"):
            cloud.distance_samples(bad)


def test_training_scenes_give_what_test_scenes_hide():
    occupancy = Points(XYZ, value=(XYZ[:, 0] > 0).astype(np.float32), kind="occupancy")
    given = Points(XYZ[:3])
    learnt = cloud.for_training(scene(given=Given(cloud=given), surface=TRIANGLE, occupancy=occupancy))
    assert learnt.given.samples is occupancy
    assert learnt.given.cloud is given
    assert learnt.surface is None
    assert learnt.occupancy is None
    kept = cloud.for_training(scene(given=Given(samples=given), occupancy=occupancy))
    assert kept.given.samples is given
