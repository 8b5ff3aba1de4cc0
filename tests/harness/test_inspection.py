import json
from dataclasses import replace

import numpy as np
import pytest

from nfbench.harness import inspection
from nfbench.harness.camera import Cameras, from_opengl, look_at
from nfbench.harness.errors import DataCorrupt
from nfbench.harness.inspection import in_frame, inspect, known_points, mask_of, rendered, text
from nfbench.harness.probe import ball
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views
from nfbench.loaders import blender, colmap

BOX = np.array([[-1, -1, -1], [1, 1, 1]], np.float32)


@pytest.fixture
def made(tmp_path):
    return ball(tmp_path / "ball")


@pytest.fixture
def folder(made, tmp_path):
    """A scene in Blender format: 8 views for training, 3 for tests."""
    blender.write(tmp_path / "scene", {"train": made.given.views, "test": made.hidden})
    return tmp_path / "scene"


def cameras(*eyes, size=(4, 2), focal=2.0, away=False):
    poses = [look_at(eye, np.multiply(2, eye) if away else (0, 0, 0)) for eye in eyes]
    K = np.tile([[focal, 0, size[0] / 2], [0, focal, size[1] / 2], [0, 0, 1]], (len(eyes), 1, 1))
    return Cameras(np.stack(poses), K, np.tile(size, (len(eyes), 1)))


def views(count=1, *, masks=None, depths=None, away=False, load=None, eyes=None):
    found = cameras(*(eyes or [(0, -4, 0)] * count), away=away)
    grey = np.zeros((2, 4, 3), np.uint8)
    return Views(found, tuple(f"v{i}" for i in range(len(found))), load or (lambda i: grey), masks, depths)


def check(monkeypatch, splits, **of):
    """What --check finds in a scene of a made-up format."""

    class Made:
        given = ("views",)
        read = staticmethod(
            lambda folder: Scene("s", Given(of.get("views"), of.get("cloud")), BOX, surface=of.get("surface"))
        )
        splits = staticmethod(lambda folder: given)

    given = splits
    spec = type("Spec", (), {"name": "made", "protocol": "p@1"})
    monkeypatch.setattr(inspection, "detect", lambda path, format: (spec, [path]))
    monkeypatch.setattr(inspection, "loader", lambda spec: Made)
    return inspect("s_folder", check=True)


def cloud(*xyz):
    return Points(np.array(xyz, np.float32))


def tear(file):
    """Damage the pixels of a file and leave its header and size."""
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(data)


def test_without_check_nothing_is_decoded(folder):
    tear(folder / "train" / "v_3.png")
    found = inspect(folder)
    assert "check" not in found and found["problems"] == []
    assert "decoded" not in text(folder, None, False)


def test_a_sound_scene_has_no_problems(folder):
    found = inspect(folder, check=True)
    assert found["problems"] == []
    assert found["check"] == {"images": 11, "masks": 0, "depths": 0, "scenes": []}
    assert json.loads(rendered(found, True)) == found
    assert "decoded   11 images, 0 masks, 0 depths\nproblems  none" in rendered(found, False)


def test_every_damaged_file_of_every_split_is_told(folder, nfbench):
    bad = [folder / "train" / "v_1.png", folder / "train" / "v_6.png", folder / "test" / "v_2.png"]
    for file in bad:
        tear(file)
    code, out, err = nfbench("inspect", folder, "--check", "--json")
    found = json.loads(out)
    assert code == 2 and "has 3 problems." in err and "report above" in err
    assert found["check"]["images"] == 8 and len(found["problems"]) == 3
    for file, problem in zip(bad, found["problems"], strict=True):
        assert str(file) in problem
    assert nfbench("inspect", folder)[0] == 0, "what is not asked to be checked is no failure"


def test_one_problem_is_one(folder, nfbench):
    tear(folder / "train" / "v_1.png")
    code, out, err = nfbench("inspect", folder, "--check")
    assert code == 2 and "has 1 problem." in err and "problems  1\n" in out and "10 images" in out


def test_a_sound_scene_ends_well(folder, nfbench):
    code, out, err = nfbench("inspect", folder, "--check")
    assert (code, err) == (0, "") and "problems  none" in out


def test_problems_of_a_scene_that_cannot_be_opened_fail_the_check(folder, nfbench):
    (folder / "transforms_test.json").write_text("{")
    code, out, err = nfbench("inspect", folder, "--format", "blender", "--check")
    assert code == 2 and "1 problem." in err and "transforms_test.json" in out


def test_files_that_keep_a_scene_from_opening_are_told_together(folder):
    bad = [folder / "train" / "v_1.png", folder / "test" / "v_0.png", folder / "train" / "v_7.png"]
    for file in bad:
        file.write_bytes(file.read_bytes()[:-60])
    (folder / "notes.txt").write_text("no image")
    assert len(inspect(folder)["problems"]) == 1
    found = inspect(folder, check=True)
    assert found["scenes"] == [] and found["check"]["images"] == 0 and len(found["problems"]) == 3
    for file, problem in zip(bad, found["problems"], strict=True):
        assert problem.startswith(str(file))
    assert "cannot be decoded: OSError" in found["problems"][2] and "copy the file again" in found["problems"][2]


def test_a_scene_that_is_a_damaged_file_is_one_problem(tmp_path):
    (tmp_path / "a.ply").write_bytes(b"ply\n")
    assert len(inspect(tmp_path, "meshes", check=True)["problems"]) == 1


def test_images_masks_and_depths_are_each_decoded(monkeypatch):
    def mask(i):
        if i == 1:
            raise DataCorrupt("mask 1 is torn.", "Fetch it.")
        return np.ones((2, 4), np.bool_)

    def depth(i):
        if i == 0:
            raise OSError("depth 0 is gone")
        return np.full((2, 4), np.nan if i == 1 else np.inf, np.float32) if i < 3 else np.ones((4, 2), np.float32)

    def image(i):
        return np.zeros((2, 4 if i < 3 else 5, 3), np.uint8)

    found = check(monkeypatch, {"train": views(4, masks=mask, depths=depth, load=image)})
    assert found["check"] == {"images": 3, "masks": 3, "depths": 1, "scenes": []}
    told = found["problems"]
    assert told[0] == "depth 0 is gone" and told[1] == "mask 1 is torn. Fetch it."
    assert "view 'v1'" in told[2] and "NaN" in told[2]
    assert "view 'v3': 5x2 pixels" in told[3]
    assert "view 'v3'" in told[4] and "depth is (4, 2), not (2, 4)" in told[4] and len(told) == 5


def test_a_view_of_two_splits_is_decoded_once(made, monkeypatch):
    whole = made.given.views
    found = check(monkeypatch, {"train": whole, "test": whole.subset([0, 1])})
    assert found["check"]["images"] == 8
    found = check(monkeypatch, {"train": views(2), "test": views(2)})
    assert found["check"]["images"] == 4, "views without files are told apart by their split"


def test_known_points_are_projected(monkeypatch):
    mask = np.zeros((2, 4), np.bool_)
    mask[:, 2:] = True
    points = cloud((0.5, 0, 0.1), (-0.5, 0, 0.1), (0, 0, 3), (0, -8, 0))  # right, left, above the frame, behind
    found = check(monkeypatch, {"a": views(2, masks=lambda i: mask)}, cloud=points)
    assert found["check"]["scenes"] == [
        {"name": "s_folder", "points": 4, "views": 2, "in_any_frame": 0.5, "in_frame": 0.5, "in_mask": 0.5}
    ]
    assert found["problems"] == []
    assert (
        "points    s_folder: 50.0% of 4 in the frames of 2 views, 50.0% in one on average, 50.0% of these in its mask"
        in rendered(found, False)
    )


def test_without_masks_only_frames_are_told(monkeypatch):
    found = check(monkeypatch, {"a": views(2, eyes=[(0, -4, 0), (0, 4, 0)])}, cloud=cloud((0, 0, 0), (0, -8, 0)))
    row = found["check"]["scenes"][0]
    assert (row["in_any_frame"], row["in_frame"], row["in_mask"]) == (1.0, 0.75, None)
    assert "mask" not in rendered(found, False).split("points")[1]


def test_fewer_than_half_of_the_points_in_any_frame_is_a_problem(monkeypatch):
    points = cloud((0, 0, 0), (0, 0, 9), (0, 0, 9), (0, 0.1, 0), (0, 0, 9))
    found = check(monkeypatch, {"a": views(1)}, cloud=points)
    assert len(found["problems"]) == 1
    assert "s_folder: the cameras do not look at the cloud: 40.0% of its points" in found["problems"][0]
    assert "0 of 1 views see none. Are the poses of another convention" in found["problems"][0]


def test_most_views_that_see_nothing_are_a_problem(monkeypatch):
    eyes = [(0, -4, 0), (0, 4, 0)]
    turned = views(eyes=eyes, away=True)
    points = cloud((0, 0, 0), (0.1, 0, 0))
    assert "2 of 2 views see none" in check(monkeypatch, {"a": turned}, cloud=points)["problems"][0]
    half = {"a": views(eyes=eyes), "b": turned}
    assert check(monkeypatch, half, cloud=points)["problems"] == []
    most = {"a": views(1), "b": turned}
    assert "2 of 3 views see none" in check(monkeypatch, most, cloud=points)["problems"][0]


def test_the_true_surface_goes_before_the_cloud(made):
    assert known_points(made, 4000).shape == (4000, 3)
    assert np.array_equal(known_points(made, 1500), made.surface.xyz[::3])
    assert np.array_equal(known_points(replace(made, surface=None), 10_000), made.given.cloud.xyz)
    assert known_points(Scene("s", Given(), BOX), 10).shape == (0, 3)
    triangle = Mesh(np.eye(3), [[0, 1, 2]])
    drawn = known_points(replace(made, surface=triangle), 50)
    assert drawn.shape == (50, 3) and np.allclose(drawn.sum(1), 1, atol=1e-6)
    assert known_points(replace(made, surface=Mesh(np.empty((0, 3)), np.empty((0, 3)))), 5).shape == (0, 3)


def test_a_frame_holds_its_first_edge_and_not_its_last():
    camera = Cameras(np.eye(4)[None, :3], [[[1, 0, 0], [0, 1, 0], [0, 0, 1]]], [[4, 2]])
    xyz = np.array([[0, 0, 1], [4, 0, 1], [0, 2, 1], [3.9, 1.9, 1], [-0.1, 1, 1], [1, 1, -1], [0, 0, 0]])
    framed, pixels = in_frame(camera, 0, xyz)
    assert framed.tolist() == [True, False, False, True, False, False, False]
    assert pixels.tolist() == [[0, 0], [3, 1]] and pixels.dtype == np.int64


def test_a_mask_is_the_datasets_or_of_alpha():
    mask = np.eye(2, 4, dtype=np.bool_)
    rgba = np.zeros((2, 4, 4), np.uint8)
    rgba[0, :, 3] = [127, 128, 255, 0]
    assert mask_of(views(masks=lambda i: mask), 0, rgba) is mask
    assert mask_of(views(), 0, rgba).tolist() == [[False, True, True, False], [False] * 4]
    assert mask_of(views(), 0, rgba[:, :, :3]) is None and mask_of(views(), 0, None) is None
    assert mask_of(views(), 0, np.full((2, 4, 4), 128, np.uint8)) is None, "an opaque image has no mask"


def test_alpha_masks_judge_points(made, monkeypatch):
    both = {"train": made.given.views, "test": made.hidden}
    found = check(monkeypatch, both, surface=Points(made.surface.xyz * 0.85))
    row = found["check"]["scenes"][0]
    assert (row["points"], row["views"], row["in_frame"], row["in_mask"]) == (4000, 11, 1.0, 1.0)
    assert found["check"]["masks"] == 0
    wide = check(monkeypatch, both, surface=Points(made.surface.xyz * 1.2))["check"]["scenes"][0]
    assert 0.4 < wide["in_mask"] < 0.6, "more than half lies beyond the silhouette"


def test_dvr_points_lie_in_the_masks(real_data):
    found = inspect(real_data / "shapenet_dvr_nmr" / "ShapeNet", check=True)
    row = found["check"]["scenes"][0]
    assert found["problems"] == [] and found["check"]["depths"] == 24
    assert row["in_any_frame"] == 1.0 and row["in_mask"] > 0.985


@pytest.mark.parametrize("turned", [False, True])
def test_a_colmap_scene_is_judged_by_its_sparse_points(made, tmp_path, nfbench, turned):
    sets = {"train": made.given.views.subset([1, 2, 3, 4, 5, 6, 7]), "test": made.given.views.subset([0])}
    if turned:  # OpenGL's axes taken for OpenCV's
        sets = {
            name: replace(found, cameras=replace(found.cameras, c2w=from_opengl(found.cameras.c2w)))
            for name, found in sets.items()
        }
    colmap.write(tmp_path / "c", sets, made.given.cloud)
    code, out, _ = nfbench("inspect", tmp_path / "c", "--check", "--json")
    row = json.loads(out)["check"]["scenes"][0]
    assert (row["points"], row["views"]) == (300, 8)
    assert (row["in_any_frame"], code) == ((0.0, 2) if turned else (1.0, 0))
    assert ("another convention" in out) is turned
