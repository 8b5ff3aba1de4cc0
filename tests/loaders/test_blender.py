import json
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import distance_transform_edt

from nfbench.harness import png_pixels
from nfbench.harness.camera import Cameras, look_at, project, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import blender

ANGLE = 0.8
W, H = 8, 6


def opengl_pose(angle, radius=4.0):
    """A camera on a circle, as Blender writes it: x right, y up, z away from the scene."""
    back = np.array([math.cos(angle), math.sin(angle), 0.5])
    back /= np.linalg.norm(back)
    right = np.cross([0, 0, 1], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, radius * back], axis=1)
    return pose


def image_of(index, channels=4):
    return np.random.default_rng(index).integers(0, 256, (H, W, channels), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """A scene made without the module under test, but for the PNGs."""
    scene = tmp_path / "my scene"
    for split, count in (("train", 3), ("val", 2), ("test", 5)):
        frames = []
        for i in range(count):
            write_png(scene / split / f"r_{i}.png", image_of(i))
            pose = opengl_pose(i + count).tolist()
            frames.append({"file_path": f"./{split}/r_{i}", "rotation": 0.1, "transform_matrix": pose})
        data = {"camera_angle_x": ANGLE, "frames": frames}
        (scene / f"transforms_{split}.json").write_text(json.dumps(data))
    return scene


def edit(folder, change, split="train"):
    """Apply `change` to the JSON of one split."""
    path = folder / f"transforms_{split}.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return path


def change_frame(index, **values):
    return lambda data: data["frames"][index].update(values)


def refused(folder, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        blender.read(folder)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message
    return caught.value


# --- what is read


def test_reads_the_given_and_the_hidden_views(folder):
    scene = blender.read(folder)
    assert scene.name == "my scene"
    assert scene.given.kinds() == blender.given
    assert scene.given.views.names == ("r_0", "r_1", "r_2")
    assert scene.hidden.names == ("r_0", "r_1", "r_2", "r_3", "r_4")
    assert scene.hidden.files[4] == folder / "test" / "r_4.png"
    assert scene.box.tolist() == [[-1.5] * 3, [1.5] * 3]
    assert scene.given.views.cameras.near_far.tolist() == [[2, 6]] * 3
    for i in range(5):
        np.testing.assert_array_equal(scene.hidden.image(i), image_of(i))
    assert list(blender.splits(folder)) == ["train", "val", "test"]
    assert [len(views) for views in blender.splits(folder).values()] == [3, 2, 5]


def test_focal_length_and_centre_follow_from_the_angle(folder):
    K = blender.read(folder).given.views.cameras.K
    focal = 0.5 * W / math.tan(0.5 * ANGLE)
    np.testing.assert_allclose(K, np.tile([[focal, 0, W / 2], [0, focal, H / 2], [0, 0, 1]], (3, 1, 1)), rtol=1e-6)


def test_poses_are_turned_to_opencv_axes(folder):
    """A point above and to the right of the scene's centre, seen by the OpenGL camera, is at high x and low y."""
    cameras = blender.read(folder).given.views.cameras
    for i in range(3):
        pose = opengl_pose(i + 3)
        np.testing.assert_allclose(cameras.centres[i], pose[:3, 3], rtol=1e-6)
        np.testing.assert_allclose(cameras.c2w[i, :, 2], -pose[:3, 2], rtol=1e-6)
        image, depth = project(cameras, i, np.array([[0, 0, 0], pose[:3, 0] * 0.1, pose[:3, 1] * 0.1]))
        np.testing.assert_allclose(image[0], [W / 2, H / 2], atol=1e-5)
        np.testing.assert_allclose(depth, 4, rtol=1e-5)
        assert image[1, 0] > W / 2
        assert image[2, 1] < H / 2


def test_rays_are_those_of_the_original_code(folder):
    """bmild/nerf: dirs = [(i - W/2) / f, -(j - H/2) / f, -1] in OpenGL axes, here at pixel centres."""
    cameras = blender.read(folder).given.views.cameras
    focal = 0.5 * W / math.tan(0.5 * ANGLE)
    y, x = np.mgrid[0:H, 0:W] + 0.5
    local = np.stack([(x - W / 2) / focal, -(y - H / 2) / focal, -np.ones_like(x)], axis=-1).reshape(-1, 3)
    expected = local @ opengl_pose(4)[:3, :3].T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rays(cameras, 1)[1], expected, atol=2e-6)


def test_opening_decodes_nothing(folder, monkeypatch):
    monkeypatch.setattr(png_pixels, "decode", None)
    scene = blender.read(folder)
    with pytest.raises(TypeError):
        scene.hidden.image(0)


def test_the_scene_that_a_method_sees_holds_no_test_view(folder):
    seen = blender.read(folder).seen()
    assert seen.hidden is None
    assert all("test" not in str(file.relative_to(folder)) for file in seen.given.views.files)


def test_testskip_thins_out_test_and_val_but_not_train(folder):
    scene = blender.read(folder, testskip=2)
    assert len(scene.given.views) == 3
    assert scene.hidden.names == ("r_0", "r_2", "r_4")
    np.testing.assert_array_equal(scene.hidden.image(2), image_of(4))
    np.testing.assert_array_equal(scene.hidden.cameras.c2w, blender.read(folder).hidden.cameras.c2w[::2])
    assert [len(v) for v in blender.splits(folder, testskip=2).values()] == [3, 1, 3]
    for call in (blender.read, blender.splits):
        with pytest.raises(NfbenchError, match="testskip=0"):
            call(folder, testskip=0)


@pytest.mark.parametrize(
    ("extra", "expected"),
    [
        ({"camera_angle_y": 0.5}, (None, 0.5 * H / math.tan(0.25), W / 2, H / 2)),
        ({"fl_x": 9.5}, (9.5, 9.5, W / 2, H / 2)),
        ({"fl_x": 9.5, "fl_y": 7, "cx": 3.5, "cy": 2.5, "w": W, "h": H}, (9.5, 7, 3.5, 2.5)),
    ],
)
def test_intrinsics_that_the_file_gives_are_taken(folder, extra, expected):
    edit(folder, lambda data: data.update(extra))
    K = blender.read(folder).given.views.cameras.K[0]
    fx, fy, cx, cy = expected
    fx = fx or 0.5 * W / math.tan(0.5 * ANGLE)
    np.testing.assert_allclose(K, [[fx, 0, cx], [0, fy, cy], [0, 0, 1]], rtol=1e-6)


def test_a_focal_length_alone_is_enough(folder):
    edit(folder, lambda data: (data.pop("camera_angle_x"), data.update(fl_x=12, k1=0.0, camera_model="OPENCV")))
    assert blender.read(folder).given.views.cameras.K[0, 0, 0] == 12


def test_poses_of_three_rows_are_read(folder):
    whole = blender.read(folder).given.views.cameras.c2w
    edit(folder, lambda data: [f["transform_matrix"].pop() for f in data["frames"]])
    np.testing.assert_array_equal(blender.read(folder).given.views.cameras.c2w, whole)


@pytest.mark.parametrize("path", ["./train/r_1.png", "train/r_1", ".\\train\\r_1", "train/../train/r_1.png"])
def test_spellings_of_one_path(folder, path):
    edit(folder, change_frame(1, file_path=path))
    views = blender.read(folder).given.views
    assert views.names[1] == "r_1"
    np.testing.assert_array_equal(views.image(1), image_of(1))


@pytest.mark.parametrize("name", ["näme ☃ 图", "r 1 ", "r_0.5", "r_1.PNG"])
def test_names_with_spaces_points_and_unicode(folder, name):
    file = folder / "train" / (name if name.endswith("PNG") else f"{name}.png")
    (folder / "train" / "r_1.png").rename(file)
    edit(folder, change_frame(1, file_path=f"./train/{name}"))
    views = blender.read(folder).given.views
    assert views.names[1] == name.removesuffix(".PNG")
    np.testing.assert_array_equal(views.image(1), image_of(1))


def test_byte_order_mark_and_windows_line_ends(folder):
    path = folder / "transforms_train.json"
    text = json.dumps(json.loads(path.read_text()), indent=2)
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert len(blender.read(folder).given.views) == 3


def test_a_link_to_the_folder_and_links_inside_it_are_followed(folder, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(folder)
    (folder / "train" / "r_1.png").rename(folder / "elsewhere.png")
    (folder / "train" / "r_1.png").symlink_to(folder / "elsewhere.png")
    assert len(blender.read(link).given.views) == 3


def test_detection_goes_by_the_json_files(folder, tmp_path):
    assert blender.detect(folder)
    assert not blender.detect(tmp_path)
    (folder / "transforms_test.json").unlink()
    assert blender.detect(folder)  # so that the error can name the file that is missing
    (folder / "transforms_train.json").unlink()
    assert not blender.detect(folder)


# --- what is refused


def test_val_may_be_missing_train_and_test_may_not(folder):
    (folder / "transforms_val.json").unlink()
    assert list(blender.splits(folder)) == ["train", "test"]
    for split in ("test", "train"):
        (folder / f"transforms_{split}.json").unlink()
        refused(folder, folder / f"transforms_{split}.json", error=DataMissing)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b'{"camera_angle_x": 0.8,\n "frames": [}', "line 2, column 13"),
        (b"", "line 1, column 1"),
        (b'{"camera_angle_x": 0.8, "frames": [', "line 1"),
        (b"[]", "list"),
        (b"null", "NoneType"),
        (b'{"camera_angle_x": "\xff"}', "byte 20 is not UTF-8"),
        (b"[" * 100_000, "JSON"),
        (b'{"camera_angle_x": 0.8}', "`frames` is missing"),
        (b'{"camera_angle_x": 0.8, "frames": []}', "`frames` is empty"),
        (b'{"camera_angle_x": 0.8, "frames": {"0": 1}}', "`frames` is not a list"),
        (b'{"camera_angle_x": 0.8, "frames": [3]}', "frame 0 has no usable file_path"),
    ],
)
def test_wrong_json_is_named_with_its_place(folder, text, word):
    path = folder / "transforms_test.json"
    path.write_bytes(text)
    refused(folder, path, word)


def test_a_folder_in_place_of_the_json(folder):
    (folder / "transforms_train.json").unlink()
    (folder / "transforms_train.json").mkdir()
    refused(folder, folder / "transforms_train.json", "cannot be read")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"camera_angle_x": "0.8"}, "'0.8'"),
        ({"camera_angle_x": None}, "None"),
        ({"camera_angle_x": True}, "True"),
        ({"camera_angle_x": math.nan}, "nan"),
        ({"camera_angle_x": 0}, "camera_angle_x is 0"),
        ({"camera_angle_x": 45.0}, "radians"),
        ({"fl_x": -9.5}, "fl_x is -9.5"),
        ({"fl_x": 95.0}, "fl_x is 95"),
        ({"w": 2 * W, "h": 2 * H}, f"{W}x{H}"),
        ({"cx": math.inf}, "cx is inf"),
        ({"cy": 10**400}, "cy is 1"),
    ],
)
def test_wrong_intrinsics_are_refused(folder, values, word):
    path = edit(folder, lambda data: data.update(values))
    assert word in str(refused(folder, path))


def test_a_missing_angle_is_refused(folder):
    path = edit(folder, lambda data: data.pop("camera_angle_x"))
    refused(folder, path, "no camera_angle_x")


@pytest.mark.parametrize("values", [{"k1": 0.01}, {"p2": -1e-4}, {"camera_model": "OPENCV_FISHEYE"}])
def test_distortion_is_not_dropped_in_silence(folder, values):
    path = edit(folder, lambda data: data.update(values))
    refused(folder, path, next(iter(values)), error=Unsupported)


def test_intrinsics_of_single_frames_are_not_dropped_in_silence(folder):
    path = edit(folder, change_frame(2, fl_x=3.0))
    refused(folder, path, "frame 2", "fl_x", error=Unsupported)


POSE = opengl_pose(1.0)


@pytest.mark.parametrize(
    ("matrix", "word"),
    [
        (None, "4 rows"),
        ([[1, 2, 3, 4]], "4 rows"),
        (POSE[:, :3].tolist(), "rows of 3, 3, 3, 3"),
        ([*POSE[:3].tolist(), [0, 0, 1]], "rows of 4, 4, 4, 3"),
        ([[1, 0, 0, "x"], *POSE[1:].tolist()], "'x'"),
        ([[True, 0, 0, 0], *POSE[1:].tolist()], "True"),
        ([[math.nan, 0, 0, 0], *POSE[1:].tolist()], "nan"),
        ([[math.inf, 0, 0, 0], *POSE[1:].tolist()], "inf"),
        ([[1e39, 0, 0, 0], *POSE[1:].tolist()], "1e+39"),
        (np.zeros((4, 4)).tolist(), "last row"),
        (POSE.T.tolist(), "last row"),
        (np.diag([1, 1, 0, 1]).tolist(), "determinant 0"),
        (np.diag([2, 2, 2, 1]).tolist(), "determinant 8"),
        ((POSE @ np.diag([-1, 1, 1, 1])).tolist(), "mirrors"),
    ],
)
def test_wrong_poses_are_named_by_file_and_frame(folder, matrix, word):
    path = edit(folder, change_frame(1, transform_matrix=matrix))
    refused(folder, f"{path}: frame 1 (./train/r_1)", word)


def test_a_frame_without_pose_or_path(folder):
    path = edit(folder, lambda data: data["frames"][1].pop("transform_matrix"), "test")
    refused(folder, f"{path}: frame 1 (./test/r_1)", "no transform_matrix")
    path = edit(folder, lambda data: data["frames"][0].pop("file_path"), "test")
    refused(folder, path, "frame 0")


@pytest.mark.parametrize("path", ["", 3, None, "a\0b", "train/\ud800", "train/..", "train/.png", "./"])
def test_paths_that_name_no_image(folder, path):
    json_path = edit(folder, change_frame(2, file_path=path))
    refused(folder, json_path, "frame 2")


@pytest.mark.parametrize(
    "path", ["../r_9", "train/../../r_9.png", "..\\r_9", "/etc/passwd", "out/r_9", "train/linked", "circle/r_9"]
)
def test_paths_out_of_the_folder_are_refused(folder, path):
    outside = folder.parent / "outside"
    write_png(outside / "r_9.png", image_of(9))
    write_png(folder.parent / "r_9.png", image_of(9))
    (folder / "out").symlink_to(outside)
    (folder / "train" / "linked.png").symlink_to(outside / "r_9.png")
    (folder / "circle").symlink_to(folder / "circle")
    json_path = edit(folder, change_frame(2, file_path=path))
    refused(folder, json_path, "frame 2", "outside")


def test_an_absolute_path_is_refused_even_into_the_folder(folder):
    edit(folder, change_frame(0, file_path=str(folder / "train" / "r_0")))
    refused(folder, "frame 0", "outside")


def test_two_images_of_one_name_are_refused(folder):
    path = edit(folder, change_frame(2, file_path="./val/r_0"))
    refused(folder, f"{path}: frame 2 (./val/r_0)", f"{path}: frame 0 (./train/r_0)", "'r_0'")


@pytest.mark.parametrize(("near", "far"), [(-1, 2), (3, 3), (2, "x"), (0, math.inf)])
def test_wrong_near_and_far_are_refused(folder, near, far):
    path = edit(folder, change_frame(1, near=near, far=far))
    refused(folder, f"{path}: frame 1 (./train/r_1)", "near")


@pytest.mark.parametrize("split", ["train", "test"])
def test_wrong_images_are_found_at_opening(folder, split):
    file = folder / split / "r_2.png"
    good = file.read_bytes()
    file.write_bytes(good[:-7])
    refused(folder, file, "cut short")
    for mode, word in (("L", "grey"), ("I;16", "16-bit"), ("P", "palette")):
        Image.new(mode, (W, H)).save(file)
        refused(folder, file, word)
    Image.new("RGB", (W, H + 1)).save(file)
    refused(folder, file, f"{W}x{H + 1}")
    Image.new("RGB", (W, H)).save(file, "JPEG")
    refused(folder, file, "JPEG")
    file.unlink()
    refused(folder, file, error=DataMissing)


def test_an_image_of_another_kind_is_named(folder):
    Image.new("RGB", (W, H)).save(folder / "train" / "photo.jpg")
    edit(folder, change_frame(1, file_path="./train/photo.jpg"))
    refused(folder, folder / "train" / "photo.jpg", "JPEG")


# --- the writer


def views_of(count, near_far=None, channels=4, offset=(0.0, 0.0), start=0):
    c2w = [look_at([3 * math.cos(i + start), 3 * math.sin(i + start), 1], [0.1, 0, 0]) for i in range(count)]
    K = np.tile(np.array([[11.3, 0, W / 2 + offset[0]], [0, 10.7, H / 2 + offset[1]], [0, 0, 1]]), (count, 1, 1))
    cameras = Cameras(np.array(c2w), K, np.tile([W, H], (count, 1)), near_far)
    return Views(cameras, tuple(f"view {i}" for i in range(count)), lambda i: image_of(i + start, channels))


def assert_same(left, right):
    assert left.names == right.names
    for name in ("c2w", "K", "size"):
        np.testing.assert_array_equal(getattr(left.cameras, name), getattr(right.cameras, name))
    for i in range(len(left)):
        np.testing.assert_array_equal(left.image(i), right.image(i))


def test_what_is_written_is_read_back_bit_by_bit(tmp_path):
    near_far = np.array([[0.1, 3.3], [2, 6], [1.7, 9.9]])
    written = {"train": views_of(3, near_far), "val": views_of(2, channels=3), "test": views_of(4, offset=(-1.3, 0.7))}
    blender.write(tmp_path / "new" / "scene", written)
    read = blender.splits(tmp_path / "new" / "scene")
    for split, views in written.items():
        assert_same(read[split], views)
    np.testing.assert_array_equal(read["train"].cameras.near_far, near_far.astype(np.float32))
    assert read["val"].cameras.near_far.tolist() == [[2, 6]] * 2


def test_the_original_loader_could_read_what_is_written(tmp_path):
    """camera_angle_x, file_path without the ending and OpenGL poses, as bmild/nerf load_blender.py takes them."""
    views = views_of(2)
    blender.write(tmp_path, {"train": views, "test": views})
    data = json.loads((tmp_path / "transforms_test.json").read_text())
    assert 0.5 * W / math.tan(0.5 * data["camera_angle_x"]) == pytest.approx(11.3)
    for i, frame in enumerate(data["frames"]):
        np.testing.assert_array_equal(np.array(Image.open(tmp_path / (frame["file_path"] + ".png"))), image_of(i))
        pose = np.array(frame["transform_matrix"])
        np.testing.assert_allclose(pose[:3, 3], views.cameras.centres[i])
        np.testing.assert_allclose(pose[:3, 2], -views.cameras.c2w[i, :, 2])
        np.testing.assert_array_equal(pose[3], [0, 0, 0, 1])


def test_writing_what_was_read_changes_nothing(folder, tmp_path):
    splits = blender.splits(folder)
    blender.write(tmp_path / "copy", splits)
    again = blender.splits(tmp_path / "copy")
    for split, views in splits.items():
        assert_same(again[split], views)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0.5, 1e4, width=32),
    st.floats(0.5, 1e4, width=32),
    st.floats(-10, 20, width=32),
    st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3),
)
def test_any_pinhole_camera_survives(tmp_path_factory, fx, fy, cx, centre):
    scene = tmp_path_factory.mktemp("any camera")
    pose = look_at([0, 0, 0], [1, 2, 3])
    pose[:, 3] = centre
    cameras = Cameras(pose[None], np.array([[[fx, 0, cx], [0, fy, 2.5], [0, 0, 1]]]), np.array([[W, H]]))
    views = Views(cameras, ("a",), image_of)
    blender.write(scene, {"train": views, "test": views})
    assert_same(blender.read(scene).given.views, views)


def other(views, **changes):
    fields = {name: getattr(views.cameras, name) for name in ("c2w", "K", "size", "near_far")}
    return Views(Cameras(**{**fields, **changes}), views.names, views.load)


def test_cameras_that_the_format_cannot_say_are_refused(tmp_path):
    views = views_of(2)
    scaled, skewed, negative = (views.cameras.K.copy() for _ in range(3))
    scaled[1, 0, 0] = 12
    skewed[:, 0, 1] = 0.1
    negative[:, 1, 1] *= -1
    for wrong in (
        other(views, K=scaled),
        other(views, K=skewed),
        other(views, K=negative),
        other(views, size=np.array([[W, H], [W, H + 1]])),
        views.subset([]),
    ):
        with pytest.raises(Unsupported, match="split test"):
            blender.write(tmp_path / "scene", {"train": views, "test": wrong})
    with pytest.raises(DataCorrupt, match="near"):
        blender.write(tmp_path / "scene", {"train": views, "test": other(views, near_far=np.full((2, 2), 3.0))})
    assert not (tmp_path / "scene").exists()


@pytest.mark.parametrize("name", ["../escape", "a/b", "a\\b", "", "..", "r_0.png", "r\0", "\ud800"])
def test_names_that_are_no_file_names_are_refused(tmp_path, name):
    views = views_of(1)
    wrong = Views(views.cameras, (name,), views.load)
    with pytest.raises(ContractBroken):
        blender.write(tmp_path / "scene", {"train": wrong, "test": views})
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("splits", [("train",), ("train", "test", "dev"), ()])
def test_other_splits_are_refused(tmp_path, splits):
    with pytest.raises(ContractBroken):
        blender.write(tmp_path / "scene", {split: views_of(1) for split in splits})


def test_a_scene_is_never_overwritten(folder):
    before = {path: path.read_bytes() for path in folder.rglob("*.*")}
    with pytest.raises(NfbenchError, match="holds a scene already"):
        blender.write(folder, {"train": views_of(2), "test": views_of(2)})
    assert {path: path.read_bytes() for path in folder.rglob("*.*")} == before


def test_a_write_that_fails_leaves_no_scene(tmp_path):
    good = views_of(2)

    def load(index):
        raise DataCorrupt("no such image")

    with pytest.raises(DataCorrupt):
        blender.write(tmp_path, {"train": good, "test": Views(good.cameras, good.names, load)})
    assert not blender.detect(tmp_path)


# --- the real chair


@pytest.fixture(scope="module")
def chair(real_data):
    return real_data / "nerf_synthetic_chair_200"


def test_the_chair(chair):
    splits = blender.splits(chair)
    assert {split: len(views) for split, views in splits.items()} == {"train": 100, "val": 100, "test": 200}
    assert splits["test"].names == tuple(f"r_{i}" for i in range(200))
    for split, views in splits.items():
        frames = json.loads((chair / f"transforms_{split}.json").read_text())["frames"]
        translations = np.array([frame["transform_matrix"] for frame in frames])[:, :3, 3]
        np.testing.assert_allclose(views.cameras.centres, translations, rtol=1e-6)
        assert views.cameras.size.tolist() == [[200, 200]] * len(views)
        np.testing.assert_allclose(views.cameras.K[:, 0, 0], 1111.1110311937682 / 4, rtol=1e-6)  # 1111.11 at 800
        np.testing.assert_allclose(np.linalg.norm(views.cameras.centres, axis=1), 4.0311, atol=1e-3)
    assert blender.read(chair).hidden.image(0).shape == (200, 200, 4)


EDGE = 32  # cells along the box of the carved grid
CARVED_BY = range(0, 100, 10)


def hull(views, cameras):
    """The part of a grid over the box that lies inside the silhouettes of ten views, (P,3)."""
    axis = (np.arange(EDGE) + 0.5) / EDGE * 3 - 1.5
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = np.ones(len(grid), bool)
    for i in CARVED_BY:
        image, depth = project(cameras, i, grid)
        pixel = np.floor(image).astype(int)
        seen = (depth > 0) & ((pixel >= 0) & (pixel < 200)).all(1)
        inside &= seen
        inside[seen] &= views.mask(i)[pixel[seen, 1], pixel[seen, 0]]
    return grid[inside]


def explained(views, cameras, points, indices):
    """The part of each silhouette that lies within a cell's width of a projected point."""
    radius = 3 / EDGE * cameras.K[0, 0, 0] / 4
    parts = []
    for i in indices:
        pixel = np.floor(project(cameras, i, points)[0]).astype(int)
        empty = np.ones((200, 200), bool)
        empty[pixel[:, 1], pixel[:, 0]] = False
        parts.append((distance_transform_edt(empty)[views.mask(i)] <= radius).mean())
    return np.array(parts)


def test_the_silhouettes_of_the_chair_meet_in_the_box_in_the_right_axes_only(chair):
    scene = blender.read(chair)
    views, cameras = scene.given.views, scene.given.views.cameras
    carved = hull(views, cameras)
    assert 0.5 < len(carved) * (3 / EDGE) ** 3 < 2  # the volume of the box is 27
    assert np.abs(carved).max() < 1.1
    assert explained(views, cameras, carved, CARVED_BY).min() > 0.97
    assert explained(scene.hidden, scene.hidden.cameras, carved, range(0, 200, 25)).min() > 0.97

    frames = json.loads((chair / "transforms_train.json").read_text())["frames"]
    opengl = np.array([frame["transform_matrix"] for frame in frames])[:, :3]
    unconverted = Cameras(opengl, cameras.K, cameras.size)
    assert len(hull(views, unconverted)) == 0  # the scene is behind the cameras
    upside_down = Cameras(opengl * [-1, 1, -1, 1], cameras.K, cameras.size)
    assert explained(views, upside_down, hull(views, upside_down), CARVED_BY).min() < 0.9


def test_a_copy_of_the_chair_without_one_image_is_refused_by_name(chair, tmp_path):
    copy = tmp_path / "chair"
    shutil.copytree(chair, copy, ignore=shutil.ignore_patterns("val", "native800_samples"))
    (copy / "test" / "r_117.png").unlink()
    refused(copy, copy / "test" / "r_117.png", error=DataMissing)
