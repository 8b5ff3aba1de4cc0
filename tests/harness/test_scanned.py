import numpy as np
import pytest
from scipy.spatial.distance import cdist

from nfbench.harness import scanned
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.gridding import grid, thin
from nfbench.harness.scan import CropVolume, ObservedVolume
from nfbench.harness.scanned import dtu, tanks
from nfbench.harness.scene import Mesh

EVERYWHERE = ObservedVolume(np.ones((41, 41, 21), bool), [[0, 0, 0], [80, 80, 40]], 2.0, [0, 0, 1, -1])


def plane(z, low=0.0, high=80.0, count=41):
    axis = np.linspace(low, high, count)
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, float(z))], 1)


def slow_dtu(prediction, scan, mask, bb, res, p, patch, cutoff):
    """Point by point, as the evaluation code of DTU goes; the two means and their mean."""
    near = [q for q in prediction if all(bb[0][k] - patch <= q[k] < bb[1][k] + patch * 2 for k in range(3))]
    judged = []
    for q in near:
        index = [round((q[k] - bb[0][k]) / res) for k in range(3)]  # Python rounds ties to even as well
        if all(0 <= index[k] < mask.shape[k] for k in range(3)) and mask[tuple(index)]:
            judged.append(q)
    above = [q for q in scan if p[0] * q[0] + p[1] * q[1] + p[2] * q[2] + p[3] > 0]
    d2s, s2d = cdist(judged, scan).min(1), cdist(above, near).min(1)
    means = [float(np.mean([d for d in side if d < cutoff])) for side in (d2s, s2d)]
    return means[0], means[1], sum(means) / 2, len(judged), len(above)


@pytest.mark.parametrize(("patch", "cutoff"), [(60.0, 20.0), (10.0, 20.0), (10.0, 4.0)])
def test_dtu_agrees_with_a_transcription_point_by_point(patch, cutoff):
    rng = np.random.default_rng(0)
    mask = rng.random((21, 21, 11)) < 0.7
    bb, res, p = np.array([[-20, 0, 10], [20, 40, 30.0]]), 2.0, np.array([0.1, 0.2, 1.0, -19.0])
    scan = rng.uniform([-30, -10, 8], [30, 50, 32], (900, 3))
    prediction = rng.uniform([-120, -100, -80], [150, 190, 160], (6000, 3))
    prediction = np.concatenate([prediction, rng.uniform([-20, 0, 10], [20, 40, 30], (500, 3))])
    found = dtu(prediction, scan, ObservedVolume(mask, bb, res, p), patch, cutoff)
    accuracy, completeness, overall, judged, above = slow_dtu(prediction, scan, mask, bb, res, p, patch, cutoff)
    assert found.accuracy() == pytest.approx(accuracy, rel=1e-12)
    assert found.completeness() == pytest.approx(completeness, rel=1e-12)
    assert found.chamfer_l1_mean() == pytest.approx(overall, rel=1e-12)
    assert len(found.to_truth) <= judged < len(prediction)
    assert len(found.to_prediction) <= above < len(scan)


@pytest.mark.parametrize("distance", [0.3, 1.7, 19.9])
def test_parallel_planes_score_their_distance(distance):
    found = dtu(plane(10 + distance), plane(10), EVERYWHERE)
    assert found.accuracy() == found.completeness() == found.chamfer_l1_mean() == pytest.approx(distance)
    assert len(found.to_truth) == len(found.to_prediction) == 41**2


def test_a_mesh_in_the_plane_scores_the_spacing_of_the_points_only():
    corners = np.array([[10, 10, 10], [30, 10, 10], [30, 30, 10], [10, 30, 10.0]])
    points = thin(grid(Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]])), 0.2), 0.2, 0)
    found = dtu(points, points + [0, 0, 0.5], EVERYWHERE)
    assert found.chamfer_l1_mean() == pytest.approx(0.5)
    assert 4000 < len(points) < 5000


def test_distances_of_the_cutoff_and_more_are_left_out_not_clipped():
    assert (scanned.PATCH, scanned.CUTOFF) == (60.0, 20.0)
    truth = np.array([[10, 10, 10], [70, 70, 30.0]])
    prediction = np.array([[10, 10, 11], [10, 10, 30], [10, 10, np.nextafter(30, 0)]])
    found = dtu(prediction, truth, EVERYWHERE)
    assert found.to_truth.tolist() == [1, pytest.approx(20)]
    assert found.to_prediction.tolist() == [1]
    assert dtu(prediction, truth, EVERYWHERE, cutoff=20.1).to_truth.tolist() == [1, 20, pytest.approx(20)]
    assert dtu(prediction, truth, EVERYWHERE, cutoff=1.5).chamfer_l1_mean() == 1
    assert dtu(truth + [0, 0, 0.5], truth, EVERYWHERE, cutoff=0.75).chamfer_l1_mean() == 0.5
    assert dtu(truth[:1], prediction, EVERYWHERE).to_prediction.tolist() == [1, pytest.approx(20)]


def test_a_hole_costs_completeness_only_and_beyond_the_cutoff_nothing():
    truth, whole = plane(10), plane(10.5)
    hole = whole[whole[:, 0] < 78]
    found = dtu(hole, truth, EVERYWHERE)
    assert found.accuracy() == pytest.approx(0.5)
    assert found.completeness() > 0.5
    half = whole[whole[:, 0] < 41]  # up to 40 mm, of which 20 are forgiven
    assert len(dtu(half, truth, EVERYWHERE).to_prediction) == 30 * 41  # x up to 58
    assert dtu(half, truth, EVERYWHERE).accuracy() == pytest.approx(0.5)


def test_what_the_scanner_did_not_observe_completes_but_is_not_judged():
    mask = np.ones((41, 41, 21), bool)
    mask[21:] = False
    volume = ObservedVolume(mask, EVERYWHERE.box, 2.0, EVERYWHERE.plane)
    found = dtu(plane(11), plane(10), volume)
    assert len(found.to_truth) == 21 * 41
    assert found.completeness() == pytest.approx(1)


def test_the_table_counts_as_truth_but_need_not_be_completed():
    table, shape = plane(1), plane(10)
    truth = np.concatenate([table, shape])
    found = dtu(np.concatenate([plane(1.25), shape]), truth, EVERYWHERE)
    assert found.accuracy() == pytest.approx(0.125)
    assert found.completeness() == 0
    assert len(found.to_prediction) == len(shape)
    assert len(dtu(shape, truth, ObservedVolume(EVERYWHERE.mask, EVERYWHERE.box, 2.0)).to_prediction) == len(truth)


def test_the_default_box_is_wider_by_60_and_120_mm():
    truth = np.array([[-75.0, 40, 20], [215, 40, 20], [40, 40, 20]])
    near = np.array([[40.0, 40, 20], [-60, 40, 20], [199.9, 40, 20]])
    beyond = np.array([[-60.1, 40, 20], [200, 40, 20]])
    found = dtu(np.concatenate([near, beyond]), truth, EVERYWHERE)
    assert sorted(found.to_prediction.tolist()) == [0, 15, pytest.approx(15.1)]


def test_dtu_names_what_is_empty():
    shape = plane(10)
    for prediction, word in [
        (np.empty((0, 3)), "None of 0 predicted points lies in the box"),
        (shape + 1000, "None of 1681 predicted points lies in the box"),
        (shape + [0, 0, 45], "None of 1681 predicted points lies where the scanner observed"),
        (plane(39), "nowhere within 20.0 mm"),
    ]:
        with pytest.raises(ContractBroken, match=word) as caught:
            dtu(prediction, shape, EVERYWHERE)
        assert "scale_mat" in caught.value.hint
    with pytest.raises(DataMissing, match="no points"):
        dtu(shape, np.empty((0, 3)), EVERYWHERE)
    with pytest.raises(DataCorrupt, match="None of the 1681 points of the scan lies above"):
        dtu(shape, plane(0.5), EVERYWHERE)


def test_dtu_where_only_one_way_is_within_the_cutoff():
    truth = np.array([[40.0, 40, 0.5], [40, 40, 35]])  # the first is under the table
    with pytest.raises(ContractBroken, match="nowhere within"):
        dtu(np.array([[40.0, 40, 1]]), truth, EVERYWHERE)
    mask = np.zeros((41, 41, 21), bool)
    mask[0, 0, 0] = True
    with pytest.raises(ContractBroken, match="nowhere within"):
        dtu(np.array([[0.0, 0, 0], [40, 40, 35]]), truth, ObservedVolume(mask, EVERYWHERE.box, 2.0, EVERYWHERE.plane))


@pytest.mark.parametrize(("patch", "cutoff"), [(-1.0, 20.0), (60.0, 0.0), (np.nan, 20.0), (60.0, np.nan)])
def test_dtu_refuses_widths_that_are_none(patch, cutoff):
    with pytest.raises(NfbenchError, match="patch of"):
        dtu(plane(10), plane(10), EVERYWHERE, patch, cutoff)


def test_dtu_with_no_patch_and_float32_points():
    found = dtu(plane(10.5).astype(np.float32), plane(10).astype(np.float32), EVERYWHERE, patch=0.0)
    assert found.accuracy() == pytest.approx(0.5)
    assert len(found.to_truth) == 40**2  # the high side of the box does not count


CROP = CropVolume(np.array([[-1, -1], [81, -1], [81, 81], [-1, 81.0]]), "z", 0, 40)


def test_tanks_precision_and_recall_of_shifted_planes_are_strict():
    truth = plane(10)
    for shift, strict, loose in [(0.25, 1, 1), (0.5, 0, 1), (0.75, 0, 0)]:
        found = tanks(plane(10 + shift), truth, CROP, 0.5)
        assert found.precision(0.5, strict=True) == found.recall(0.5, strict=True) == strict
        assert found.precision(0.5) == loose
        assert found.fscore(0.5, strict=True) == strict


def test_tanks_crops_both_and_counts_what_is_left():
    truth = np.concatenate([plane(10), plane(-5), plane(50)])
    half = plane(10)[: 41 * 20]
    found = tanks(np.concatenate([half, plane(41), plane(10) + [100, 0, 0]]), truth, CROP, 0.5)
    assert len(found.to_truth) == 820
    assert len(found.to_prediction) == 1681
    assert found.precision(0.5, strict=True) == 1
    assert found.recall(0.5, strict=True) == 820 / 1681


def test_tanks_averages_both_clouds_by_voxels_of_half_the_tolerance_after_the_crop():
    # voxels of 1 start half a unit below the least coordinate: 1 and 1.4 share one, 2 is alone
    cloud = np.array([[1, 5, 5], [1.4, 5, 5], [2, 5, 5], [-3, 5, 5.0]])
    truth = np.array([[1, 5, 5], [1.5, 5, 5.0]])
    found = tanks(cloud, truth, CROP, 2.0)
    assert sorted(found.to_truth.tolist()) == pytest.approx([0.2, 0.5])
    assert sorted(found.to_prediction.tolist()) == pytest.approx([0.2, 0.3])
    again = tanks(truth, cloud, CROP, 2.0)
    assert sorted(again.to_prediction.tolist()) == pytest.approx([0.2, 0.5])


def test_tanks_names_what_is_empty():
    with pytest.raises(ContractBroken, match="None of 1681 predicted points lies in the crop") as caught:
        tanks(plane(50), plane(10), CROP, 0.5)
    assert "alignment" in caught.value.hint
    with pytest.raises(ContractBroken, match="None of 0"):
        tanks(np.empty((0, 3)), plane(10), CROP, 0.5)
    with pytest.raises(DataMissing, match="no points"):
        tanks(plane(10), np.empty((0, 3)), CROP, 0.5)
    with pytest.raises(DataCorrupt, match="None of the 1681 points of the scan"):
        tanks(plane(10), plane(50), CROP, 0.5)
    for bad in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(NfbenchError, match="tolerance"):
            tanks(plane(10), plane(10), CROP, bad)
