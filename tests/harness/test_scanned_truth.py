"""DTU and Tanks and Temples from the command line, on small scans whose scores are known by hand."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from nfbench.harness.meshfile import write_ply
from nfbench.harness.scene import Mesh

NO_FACES = np.empty((0, 3), np.int64)


def grid(z, low, high, step):
    axis = np.arange(low, high + step / 2, step)
    x, y = np.meshgrid(axis, axis)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, float(z))], 1)


def square(z, low, high):
    corners = np.array([[low, low, z], [high, low, z], [high, high, z], [low, high, z]], float)
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))


@pytest.fixture
def dtu(tmp_path):
    """A scan of a square of 16 mm at z = 10, every 0.1 mm, and of the table below it; all of it observed."""
    root = tmp_path / "dtu"
    (root / "Points" / "stl").mkdir(parents=True)
    (root / "ObsMask").mkdir()
    box = np.array([[0, 0, 0], [20, 20, 20.0]])
    mask = np.ones((11, 11, 11), np.uint8)
    savemat(root / "ObsMask" / "ObsMask1_10.mat", {"ObsMask": mask, "BB": box, "Res": 2.0, "Margin": 10.0})
    savemat(root / "ObsMask" / "Plane1.mat", {"P": np.array([[0], [0], [1], [-5.0]])})
    points = np.concatenate([grid(10, 2, 18, 0.1), grid(1, 2, 18, 1)])
    write_ply(root / "Points" / "stl" / "stl001_total.ply", Mesh(points, NO_FACES))
    return root


def means(nfbench, *arguments):
    code, out, err = nfbench("score", *arguments, "--json")
    assert code == 0, err
    data = json.loads(out)
    return data, {column: score["mean"] for column, score in data["scores"].items()}


def test_dtu_is_inspected(nfbench, dtu):
    code, out, _ = nfbench("inspect", dtu, "--json")
    found = json.loads(out)
    assert code == 0 and found["format"] == "dtu-truth" and found["problems"] == []
    assert found["protocol"] == "dtu-largest-component@1"
    assert [scene["name"] for scene in found["scenes"]] == ["scan1"] and found["scenes"][0]["unit"] == 0.001
    code, out, _ = nfbench("inspect", dtu / "Points" / "stl" / "stl001_total.ply")
    assert code == 0 and "scan1" in out and "units of 0.001 m" in out


@pytest.mark.parametrize("whole", [True, False])
def test_a_mesh_above_a_scan_of_dtu_scores_its_height(nfbench, dtu, tmp_path, whole):
    write_ply(tmp_path / "mesh.ply", square(13, 2, 18))
    truth = dtu if whole else dtu / "Points" / "stl" / "stl001_total.ply"
    data, found = means(nfbench, tmp_path / "mesh.ply", truth)
    assert data["protocol"] == "dtu-largest-component@1" and data["warnings"] == []
    assert data["scores"]["chamfer_l1_mean"]["unit"] == "mm"
    assert set(found) == {"accuracy", "completeness", "chamfer_l1_mean"}
    # 3 mm and, across, half a step of the scan (0.05 mm) or of the thinned grid (0.2 mm) at the most in each axis
    assert 3 <= found["accuracy"] <= np.hypot(3, 0.05 * np.sqrt(2))
    assert 3 <= found["completeness"] <= np.hypot(3, 0.2 * np.sqrt(2))
    assert found["chamfer_l1_mean"] == pytest.approx((found["accuracy"] + found["completeness"]) / 2, rel=1e-12)


def test_the_largest_component_of_a_mesh_is_judged_alone(nfbench, dtu, tmp_path):
    shape, speck = square(13, 2, 18), square(19, 2, 3)
    both = Mesh(np.concatenate([shape.vertices, speck.vertices]), np.concatenate([shape.faces, speck.faces + 4]))
    write_ply(tmp_path / "both.ply", both)
    write_ply(tmp_path / "shape.ply", shape)
    data, found = means(nfbench, tmp_path / "both.ply", dtu)
    assert found == means(nfbench, tmp_path / "shape.ply", dtu)[1]
    (facts,) = data["facts"].values()
    assert facts["components"] == 2 and facts["faces"] == 4 and facts["faces_after_cleaning"] == 2


@pytest.mark.parametrize("name", ["dtu-mask-dilate-12@1", "dtu-mask-dilate-50"])
def test_cleaning_by_masks_needs_views(nfbench, dtu, tmp_path, name):
    write_ply(tmp_path / "mesh.ply", square(13, 2, 18))
    code, out, err = nfbench("score", tmp_path / "mesh.ply", dtu, "--protocol", name)
    assert code == 2 and out == "" and "'scan1' has no views, whose masks the protocol cleans the mesh by" in err
    assert "Choose a protocol that cleans otherwise" in err


@pytest.mark.parametrize(("z", "low", "high"), [(1e6, 2e5, 1.8e6), (-60.01, 2, 18), (140, 2, 18), (13, 140, 150)])
def test_a_mesh_away_from_the_scan_is_refused_at_once_with_the_mend(nfbench, dtu, tmp_path, z, low, high):
    write_ply(tmp_path / "mesh.ply", square(z, low, high))  # the first would be 6e13 points
    code, out, err = nfbench("score", tmp_path / "mesh.ply", dtu)
    assert code == 2 and out == "" and "mesh.ply: The prediction spans [" in err and "millimetres" in err
    assert "lies outside of what is judged, [-60, 140] x [-60, 140] x [-60, 140]" in err and "scale_mat" in err


@pytest.mark.parametrize("z", [-60, 139.9])
def test_a_mesh_at_the_border_of_the_box_is_judged_by_its_points(nfbench, dtu, tmp_path, z):
    write_ply(tmp_path / "mesh.ply", square(z, 2, 3))
    code, out, err = nfbench("score", tmp_path / "mesh.ply", dtu)
    assert code == 2 and out == "" and "predicted points lies where the scanner observed" in err


def test_a_scan_without_its_masks_is_plain_truth(nfbench, dtu, tmp_path):
    write_ply(tmp_path / "mesh.ply", square(13, 2, 18))
    cloud = dtu / "Points" / "stl" / "stl001_total.ply"
    (dtu / "ObsMask" / "Plane1.mat").unlink()
    code, _, err = nfbench("score", tmp_path / "mesh.ply", cloud)
    assert code == 2 and "There is no" in err and "Plane1.mat" in err
    (dtu / "ObsMask" / "ObsMask1_10.mat").unlink()
    (dtu / "ObsMask").rmdir()
    code, _, err = nfbench("score", tmp_path / "mesh.ply", cloud)
    assert code == 2 and "plain truth, which belongs to no protocol" in err
    code, _, err = nfbench("score", tmp_path / "mesh.ply", cloud, "--protocol", "dtu-largest-component@1")
    assert code == 2 and "comes without an observed volume (ObsMask)" in err


ALIGNMENT = np.array([[0, -2, 0, 5], [2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])


@pytest.fixture
def ignatius(tmp_path):
    """A scan of 100 points, a tenth of a metre apart, two of whose rows lie outside of the crop."""
    folder = tmp_path / "Ignatius"
    folder.mkdir()
    write_ply(folder / "Ignatius.ply", Mesh(grid(0, 0.05, 0.95, 0.1), NO_FACES))
    crop = {
        "class_name": "SelectionPolygonVolume",
        "version_major": 1,
        "version_minor": 0,
        "orthogonal_axis": "Z",
        "axis_min": -1.0,
        "axis_max": 1.0,
        "bounding_polygon": [[0, 0, 0], [0.8, 0, 0], [0.8, 1, 0], [0, 1, 0]],
    }
    (folder / "Ignatius.json").write_text(json.dumps(crop))
    np.savetxt(folder / "Ignatius_trans.txt", ALIGNMENT)
    return folder


def in_the_frame_of_the_poses(points):
    back = np.linalg.inv(ALIGNMENT)
    return points @ back[:3, :3].T + back[:3, 3]


def test_tanks_and_temples_is_inspected(nfbench, ignatius):
    code, out, _ = nfbench("inspect", ignatius, "--json")
    found = json.loads(out)
    assert code == 0 and found["format"] == "tanks-truth" and found["problems"] == []
    assert found["protocol"] == "tanks-and-temples@1"
    assert found["scenes"][0]["name"] == "Ignatius" and found["scenes"][0]["unit"] == pytest.approx(2)


@pytest.mark.parametrize("kind", ["mesh.ply", "cloud.npy"])
def test_precision_and_recall_of_ignatius_by_hand(nfbench, ignatius, tmp_path, kind):
    """Of the 80 points in the crop 20 are missing; of the 60 + 15 others there are, the 15 lie 5 mm off."""
    scan = grid(0, 0.05, 0.95, 0.1)
    near = scan[scan[:, 0] < 0.6]
    off = near[:15] + [0, 0, 0.005]  # tau is 3 mm
    points = in_the_frame_of_the_poses(np.concatenate([near + [0, 0, 0.001], off, scan[scan[:, 0] > 0.8]]))
    if kind == "mesh.ply":
        write_ply(tmp_path / kind, Mesh(points, np.array([[0, 1, 12]])))  # a mesh counts by its vertices
    else:
        np.save(tmp_path / kind, points.astype(np.float32))
    data, found = means(nfbench, tmp_path / kind, ignatius)
    assert data["protocol"] == "tanks-and-temples@1" and data["scores"]["fscore"]["unit"] == "1"
    precision, recall = 60 / 75, 60 / 80
    assert found["precision"] == pytest.approx(precision)
    assert found["recall"] == pytest.approx(recall)
    assert found["fscore"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_cloud_in_the_frame_of_the_scan_is_refused_with_the_mend(nfbench, ignatius, tmp_path):
    np.save(tmp_path / "cloud.npy", grid(0, 0.05, 0.95, 0.1).astype(np.float32))
    code, out, err = nfbench("score", tmp_path / "cloud.npy", ignatius)
    assert code == 2 and out == "" and "None of 100 predicted points lies in the crop" in err and "alignment" in err


def test_a_folder_of_scenes_has_a_prediction_each(nfbench, ignatius, tmp_path):
    (tmp_path / "all").mkdir()
    ignatius.rename(tmp_path / "all" / "Ignatius")
    points = in_the_frame_of_the_poses(grid(0, 0.05, 0.95, 0.1))
    (tmp_path / "mine" / "Ignatius").mkdir(parents=True)
    write_ply(tmp_path / "mine" / "Ignatius" / "mesh.ply", Mesh(points, np.array([[0, 1, 12]])))
    data, found = means(nfbench, tmp_path / "mine", tmp_path / "all")
    assert data["task"] == "tanks-truth/all" and found == {"fscore": 1, "precision": 1, "recall": 1}
    code, out, _ = nfbench(
        *("score", tmp_path / "mine", tmp_path / "all", "--submit", "mine", "--runs", tmp_path / "runs", "--quiet")
    )
    assert code == 0 and "fscore               1  (higher is better, 1 item" in out
    (row,) = json.loads(nfbench("board", "--runs", tmp_path / "runs", "--as", "json")[1])
    assert row["rank"] == 1 and row["scores"]["fscore"]["mean"] == 1
