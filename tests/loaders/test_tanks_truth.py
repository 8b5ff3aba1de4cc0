import json

import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing, NotFound
from nfbench.harness.meshfile import write_ply
from nfbench.harness.scene import Mesh
from nfbench.loaders import tanks_truth
from nfbench.loaders.tanks_truth import TOLERANCES, read_alignment, read_crop, read_tanks_truth

XYZ = np.array([[1, 2, 3], [4, 5, 6.0]])
CROP = {
    "axis_max": 4.5,
    "axis_min": -1.25,
    "bounding_polygon": [[0, 9, 0], [2, 9, 0], [2, 9, 3]],
    "class_name": "SelectionPolygonVolume",
    "orthogonal_axis": "Y",
    "version_major": 1,
    "version_minor": 0,
}
TURN = np.array([[0, -2, 0, 5], [2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])


def write(folder, points=XYZ):
    folder.mkdir(parents=True, exist_ok=True)
    write_ply(folder / f"{folder.name}.ply", Mesh(points, np.empty((0, 3), int)))
    (folder / f"{folder.name}.json").write_text(json.dumps(CROP))
    np.savetxt(folder / f"{folder.name}_trans.txt", TURN)
    return folder


def test_the_tolerances_are_those_of_the_evaluation():
    assert TOLERANCES == {
        "Barn": 0.01,
        "Caterpillar": 0.005,
        "Church": 0.025,
        "Courthouse": 0.025,
        "Ignatius": 0.003,
        "Meetingroom": 0.01,
        "Truck": 0.005,
    }


@pytest.mark.parametrize("scene", ["Ignatius", "Barn"])
def test_a_scene_is_read(tmp_path, scene, monkeypatch):
    folder = write(tmp_path / scene)
    points, crop, alignment, tolerance = read_tanks_truth(folder)
    np.testing.assert_array_equal(points.xyz, XYZ)
    assert crop.polygon.tolist() == [[0, 0], [2, 0], [2, 3]]
    assert (crop.axis, crop.low, crop.high) == ("y", -1.25, 4.5)
    np.testing.assert_array_equal(alignment, TURN)
    assert alignment.dtype == np.float64
    assert tolerance == TOLERANCES[scene]
    monkeypatch.chdir(folder)
    assert read_tanks_truth(folder.relative_to(folder))[3] == tolerance


def test_a_scan_of_one_point_has_a_box_around_it(tmp_path):
    scene = tanks_truth.read(write(tmp_path / "Truck", XYZ[:1]))
    place = (np.linalg.inv(TURN) @ [*XYZ[0], 1])[:3]
    np.testing.assert_allclose(scene.surface.xyz, [place], rtol=1e-6)
    np.testing.assert_allclose(scene.box, [place - 1e-3, place + 1e-3], rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_a_scan_that_its_alignment_moves_beyond_all_numbers_is_named(tmp_path):
    folder = write(tmp_path / "Truck", XYZ * 1e9)
    np.savetxt(folder / "Truck_trans.txt", TURN * [[1e-30], [1e-30], [1e-30], [1]])
    with pytest.raises(DataCorrupt, match="Truck: its scan, moved by the inverse of its alignment, is not finite"):
        tanks_truth.read(folder)


def test_scenes_without_truth_are_named(tmp_path):
    with pytest.raises(NotFound, match="'Ignatus'") as caught:
        read_tanks_truth(write(tmp_path / "Ignatus"))
    assert "Ignatius" in caught.value.hint


@pytest.mark.parametrize("name", ["Truck.ply", "Truck.json", "Truck_trans.txt"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    folder = write(tmp_path / "Truck")
    (folder / name).unlink()
    with pytest.raises(DataMissing, match=name):
        read_tanks_truth(folder)


def test_a_scan_without_points_is_named(tmp_path):
    with pytest.raises(DataCorrupt, match=r"Truck.ply holds no points"):
        read_tanks_truth(write(tmp_path / "Truck", np.empty((0, 3))))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"class_name": "PointCloud"}, "no SelectionPolygonVolume"),
        ({"version_major": 2}, "version \\(2, 0\\)"),
        ({"version_minor": 1}, "version \\(1, 1\\)"),
        ({"bounding_polygon": []}, "crop.json: CropVolume.polygon"),
        ({"bounding_polygon": [[0, 0, 0], [1, 0]]}, "crop.json: ValueError"),
        ({"bounding_polygon": {"a": 1}}, "crop.json: TypeError"),
        ({"orthogonal_axis": ""}, "CropVolume.axis"),
        ({"axis_min": None}, "TypeError"),
        ({"axis_max": 10**400}, "crop.json: OverflowError"),
        ({"axis_max": -2}, "from -1.25 to -2.0"),
    ],
)
def test_crops_that_are_none_are_named(tmp_path, changes, word):
    path = tmp_path / "crop.json"
    path.write_text(json.dumps({**CROP, **changes}))
    with pytest.raises(DataCorrupt, match=word):
        read_crop(path)


@pytest.mark.parametrize("missing", ["class_name", "bounding_polygon", "orthogonal_axis", "axis_min", "axis_max"])
def test_crops_that_lack_something_are_named(tmp_path, missing):
    path = tmp_path / "crop.json"
    path.write_text(json.dumps({k: v for k, v in CROP.items() if k != missing}))
    with pytest.raises(DataCorrupt, match=r"crop\.json"):
        read_crop(path)


def test_a_crop_needs_no_version(tmp_path):
    path = tmp_path / "crop.json"
    path.write_text(json.dumps({k: v for k, v in CROP.items() if not k.startswith("version")}))
    assert read_crop(path).high == 4.5


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"{", "as JSON"),
        (b"[1]", "no Selection"),
        (b"\xff\xfe\x00", "is no text"),
        (b"", "as JSON"),
        (b"[" * 100_000, "as JSON"),
    ],
)
def test_crops_of_another_format_are_named(tmp_path, text, word):
    path = tmp_path / "crop.json"
    path.write_bytes(text)
    with pytest.raises(DataCorrupt, match=word):
        read_crop(path)


def test_alignments(tmp_path):
    path = tmp_path / "trans.txt"
    path.write_text("\n".join("  ".join(f"{v:.4f}" for v in row) for row in TURN) + "\n\n")
    np.testing.assert_array_equal(read_alignment(path), TURN)
    nearly = TURN.copy()
    nearly[0, 0] = 4e-4 * 2  # off by 4e-4 of the factor
    np.savetxt(path, nearly)
    assert read_alignment(path)[0, 0] == 8e-4
    nearly[0, 0] = 2e-3 * 2
    np.savetxt(path, nearly)
    with pytest.raises(DataCorrupt, match="no rotation"):
        read_alignment(path)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("matrix", "word"),
    [
        (TURN[:3], "shape \\(3, 4\\)"),
        (TURN * [1, 1, 1, np.nan], "not finite"),
        (TURN * [1, 1, -1, 1], "no rotation"),
        (TURN * [1, 1, 1.01, 1], "no rotation"),
        (TURN * 0, "no rotation"),
        (TURN * 1e200, "no rotation"),
        (TURN + np.eye(4)[3] * 1.0, "no rotation"),
        (TURN.T, "no rotation"),
    ],
)
def test_matrices_that_are_no_alignments_are_named(tmp_path, matrix, word):
    np.savetxt(tmp_path / "trans.txt", matrix)
    with pytest.raises(DataCorrupt, match=word):
        read_alignment(tmp_path / "trans.txt")


@pytest.mark.parametrize("text", ["1 2 3 4\n5 6", "a b\nc d", ""])
def test_text_that_is_no_matrix_is_named(tmp_path, text):
    (tmp_path / "trans.txt").write_text(text)
    with pytest.raises(DataCorrupt, match=r"trans\.txt"):
        read_alignment(tmp_path / "trans.txt")
