import contextlib
import json
import math

import numpy as np
import pytest
from PIL import Image

from nfbench.harness.camera import Cameras, look_at, project
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import blender, colmap, llff, nerfstudio

W, H = 16, 12
COUNT = 12
AXES = np.diag([1.0, -1, -1, 1])  # OpenGL from OpenCV


def image_of(index, size=(W, H)):
    return np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def pose_of(index):
    angle = 2 * math.pi * index / COUNT
    pose = np.eye(4)
    pose[:3] = look_at([3 * math.cos(angle), 3 * math.sin(angle), 1], [0, 0, 0])
    return pose


def make_json():
    frames = [
        {"file_path": f"images/frame é {i:02}.png", "transform_matrix": (pose_of(i) @ AXES).tolist()}
        for i in reversed(range(COUNT))
    ]
    return {
        "camera_model": "OPENCV",
        "fl_x": 15.0,
        "fl_y": 14.0,
        "cx": 8.5,
        "cy": 6.25,
        "w": W,
        "h": H,
        "frames": frames,
    }


@pytest.fixture
def folder(tmp_path):
    scene = tmp_path / "my poster"
    for i in range(COUNT):
        write_png(scene / "images" / f"frame é {i:02}.png", image_of(i))
    (scene / "transforms.json").write_text(json.dumps(make_json()), encoding="utf-8")
    return scene


def edit(folder, change):
    data = json.loads((folder / "transforms.json").read_text())
    change(data)
    (folder / "transforms.json").write_text(json.dumps(data))


def top(**values):
    return lambda data: data.update(values)


def at(index, **values):
    return lambda data: data["frames"][index].update(values)


def refused(folder, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        nerfstudio.read(folder)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message
    return caught.value


# --- what is read


def test_one_frame_in_ten_is_hidden_by_the_rule_of_nerfstudio(folder):
    """ceil(0.9 * 12) = 11 frames at linspace(0, 11, 11) for training, 0 1 2 3 4 5 6 7 8 9 11; the rest is hidden."""
    scene = nerfstudio.read(folder)
    assert scene.name == "my poster"
    assert scene.given.kinds() == nerfstudio.given == ("views",)
    assert scene.hidden.names == ("frame é 10",)
    assert scene.given.views.names == tuple(f"frame é {i:02}" for i in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11))
    np.testing.assert_array_equal(scene.hidden.image(0), image_of(10))
    np.testing.assert_array_equal(scene.given.views.image(10), image_of(11))
    assert list(nerfstudio.splits(folder)) == ["train", "test"]
    np.testing.assert_array_equal(scene.frame, np.eye(4))


def test_axes_and_intrinsics(folder):
    cameras = nerfstudio.read(folder).hidden.cameras
    np.testing.assert_allclose(cameras.c2w[0], pose_of(10)[:3], atol=1e-6)
    np.testing.assert_array_equal(cameras.K[0], [[15, 0, 8.5], [0, 14, 6.25], [0, 0, 1]])
    assert cameras.distortion is None
    assert cameras.near_far is None
    image, depth = project(cameras, 0, np.zeros((1, 3)))
    np.testing.assert_allclose(image, [[8.5, 6.25]], atol=1e-4)
    assert depth[0] > 0


def test_lists_name_the_splits_in_their_order(folder):
    def lists(data):
        names = [f"images/frame é {i:02}.png" for i in range(COUNT)]
        data.update(
            train_filenames=names[4:], val_filenames=[names[3]], test_filenames=[names[2], "images\\frame é 00.png"]
        )

    edit(folder, lists)
    splits = nerfstudio.splits(folder)
    assert list(splits) == ["train", "val", "test"]
    assert splits["test"].names == ("frame é 02", "frame é 00")
    assert nerfstudio.read(folder).hidden.names == splits["test"].names
    np.testing.assert_array_equal(splits["test"].image(1), image_of(0))
    np.testing.assert_allclose(splits["test"].cameras.c2w[1], pose_of(0)[:3], atol=1e-6)
    edit(folder, lambda data: data.pop("test_filenames"))
    assert nerfstudio.read(folder).hidden.names == ("frame é 03",)


def test_frames_may_have_intrinsics_of_their_own(folder):
    def own(data):
        for key in ("fl_x", "fl_y", "cx", "cy", "w", "h"):
            del data[key]
        for i, frame in enumerate(data["frames"]):
            frame.update(fl_x=10.0 + i, w=W, h=H, k1=0.01 * i)

    edit(folder, own)
    cameras = nerfstudio.splits(folder)["train"].cameras
    np.testing.assert_array_equal(cameras.K[0], [[21, 0, 8], [0, 21, 6], [0, 0, 1]])  # the last frame of the file
    np.testing.assert_allclose(
        cameras.distortion[:, 0], 0.01 * np.array([11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 0]), rtol=1e-6
    )
    assert not cameras.distortion[:, 1:].any()


def test_an_angle_stands_for_a_focal_length(folder):
    edit(folder, lambda data: (data.pop("fl_x"), data.pop("fl_y"), data.update(camera_angle_x=1.0)))
    K = nerfstudio.read(folder).hidden.cameras.K[0]
    np.testing.assert_allclose(K[[0, 1], [0, 1]], 8 / math.tan(0.5), rtol=1e-6)
    edit(folder, top(camera_angle_y=0.7))
    assert nerfstudio.read(folder).hidden.cameras.K[0, 1, 1] == pytest.approx(6 / math.tan(0.35), rel=1e-6)
    edit(folder, top(fl_y=9.0))
    assert nerfstudio.read(folder).hidden.cameras.K[0, 1, 1] == 9


def test_size_comes_from_the_images_where_the_file_does_not_say(folder):
    edit(folder, lambda data: [data.pop(key) for key in ("w", "h", "cx", "cy")])
    np.testing.assert_array_equal(nerfstudio.read(folder).hidden.cameras.K[0, :2, 2], [8, 6])


@pytest.mark.parametrize(
    ("values", "lens", "fisheye"),
    [
        ({"k1": 0.1, "k2": 0.02, "p1": 0.003, "p2": 0.004}, [0.1, 0.02, 0.003, 0.004, 0, 0, 0, 0], False),
        ({"k3": 0.05, "k4": 0.0}, [0, 0, 0, 0, 0.05, 0, 0, 0], False),
        ({"camera_model": "opencv_fisheye", "k1": 0.1, "k4": 0.04}, [0.1, 0, 0, 0.04, 0, 0, 0, 0], True),
        ({"camera_model": "OPENCV_FISHEYE"}, [0] * 8, True),
        ({"camera_model": None, "is_fisheye": True, "k2": 0.1}, [0, 0.1, 0, 0, 0, 0, 0, 0], True),
        ({"camera_model": "FULL_OPENCV", "k3": 0.1, "k6": 0.2}, [0, 0, 0, 0, 0.1, 0, 0, 0.2], False),
        ({"camera_model": "SIMPLE_RADIAL", "k1": 0.1}, [0.1, 0, 0, 0, 0, 0, 0, 0], False),
    ],
)
def test_lenses(folder, values, lens, fisheye):
    edit(folder, top(**values))
    cameras = nerfstudio.read(folder).hidden.cameras
    np.testing.assert_array_equal(cameras.distortion, np.float32([lens]))
    assert cameras.fisheye.tolist() == [fisheye]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"k4": 0.1}, ["k4 is 0.1", "OPENCV"]),  # nerfstudio's fourth power, not OpenCV's fraction
        ({"camera_model": "OPENCV_FISHEYE", "p1": 0.1}, ["p1 is 0.1", "OPENCV_FISHEYE"]),
        ({"camera_model": "EQUIRECTANGULAR"}, ["EQUIRECTANGULAR is not read"]),
        ({"camera_model": 3}, ["3 is not read"]),
    ],
)
def test_lenses_that_are_not_read_are_refused_by_name(folder, values, words):
    edit(folder, top(**values))
    refused(folder, "frame 0", *words, error=Unsupported)


def test_smaller_copies(folder):
    for i in range(COUNT):
        write_png(folder / "images_2" / f"frame é {i:02}.png", image_of(i, (8, 6)))
    cameras = nerfstudio.read(folder, factor=2).hidden.cameras
    np.testing.assert_array_equal(cameras.K[0], [[7.5, 0, 4.25], [0, 7, 3.125], [0, 0, 1]])
    assert nerfstudio.splits(folder, 2)["test"].image(0).shape == (6, 8, 3)
    with pytest.raises(DataMissing, match="images_4"):
        nerfstudio.read(folder, factor=4)


def test_an_image_without_an_ending_is_a_png(folder):
    edit(folder, lambda data: [f.update(file_path=f["file_path"][:-4]) for f in data["frames"]])
    assert nerfstudio.read(folder).hidden.files[0].name == "frame é 10.png"


def test_a_cloud_is_given_where_there_is_one(folder):
    np.save(folder / "points.npy", np.array([[0, 0, 5.0], [1, 2, 3]]))
    edit(folder, top(ply_file_path="points.npy"))
    scene = nerfstudio.read(folder)
    np.testing.assert_array_equal(scene.given.cloud.xyz, [[0, 0, 5], [1, 2, 3]])
    assert 4 < scene.box[1, 2] < 6
    edit(folder, top(ply_file_path="none.ply"))
    refused(folder, "ply_file_path", "none.ply", error=DataMissing)
    edit(folder, top(ply_file_path="../points.ply"))
    refused(folder, "ply_file_path", "outside")


# --- masks and depths


def with_masks_and_depths(folder):
    rng = np.random.default_rng(3)
    for i in range(COUNT):
        for kind, array in (("masks", rng.integers(0, 3, (H, W)).astype(np.uint8)), ("depths", None)):
            (folder / kind).mkdir(exist_ok=True)
            depth = rng.integers(0, 3000, (H, W)).astype(np.uint16)
            Image.fromarray(depth if array is None else array).save(folder / kind / f"{i}.png")

    def name(data):
        for i, frame in enumerate(data["frames"]):
            frame.update(mask_path=f"masks/{COUNT - 1 - i}.png", depth_file_path=f"depths/{COUNT - 1 - i}.png")

    edit(folder, name)


def test_masks_are_what_is_not_black(folder):
    with_masks_and_depths(folder)
    views = nerfstudio.read(folder).hidden
    expected = np.asarray(Image.open(folder / "masks" / "10.png")) > 0
    np.testing.assert_array_equal(views.mask(0), expected)
    coloured = np.repeat((expected * 255).astype(np.uint8)[:, :, None], 3, axis=2)
    coloured[:, :, 1:] = 0
    write_png(folder / "masks" / "10.png", coloured)
    np.testing.assert_array_equal(nerfstudio.read(folder).hidden.mask(0), expected)
    Image.fromarray(expected).save(folder / "masks" / "10.png")  # one bit a pixel
    np.testing.assert_array_equal(nerfstudio.read(folder).hidden.mask(0), expected)


def test_depths_along_the_axis_become_distances_along_the_rays(folder):
    with_masks_and_depths(folder)
    millimetres = np.asarray(Image.open(folder / "depths" / "10.png")).astype(float)
    y, x = np.mgrid[0:H, 0:W] + 0.5
    longer = np.sqrt(1 + ((x - 8.5) / 15) ** 2 + ((y - 6.25) / 14) ** 2)
    expected = np.where(millimetres > 0, millimetres / 1000 * longer, np.inf)
    depth = nerfstudio.read(folder).hidden.depth(0)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, expected, rtol=1e-6)
    np.save(folder / "depths" / "10.npy", millimetres[:, :, None].astype(np.float32))
    edit(folder, at(1, depth_file_path="depths/10.npy"))
    edit(folder, top(depth_unit_scale_factor=0.01))
    np.testing.assert_allclose(nerfstudio.read(folder).hidden.depth(0), 10 * expected, rtol=1e-6)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("metres", [1e300, np.nan, -np.inf])
def test_depths_beyond_all_numbers_were_not_measured(folder, metres):
    with_masks_and_depths(folder)
    np.save(folder / "depths" / "10.npy", np.full((H, W), metres))
    edit(folder, at(1, depth_file_path="depths/10.npy"))
    edit(folder, top(depth_unit_scale_factor=1e10))
    assert np.isinf(nerfstudio.read(folder).hidden.depth(0)).all()


@pytest.mark.parametrize(
    ("array", "word"),
    [(np.zeros((H, W + 1)), "(12, 17)"), (np.zeros((H, W), int), "int64"), (np.array([None]), "cannot be read as NPY")],
)
def test_a_wrong_depth_is_named(folder, array, word):
    with_masks_and_depths(folder)
    np.save(folder / "depths" / "10.npy", array)
    edit(folder, at(1, depth_file_path="depths/10.npy"))
    with pytest.raises(DataCorrupt) as caught:
        nerfstudio.read(folder).hidden.depth(0)
    assert "10.npy" in caught.value.message
    assert word in caught.value.message


def test_a_damaged_mask_is_named(folder):
    with_masks_and_depths(folder)
    path = folder / "masks" / "10.png"
    data = path.read_bytes()
    path.write_bytes(data[:45] + b"????????" + data[53:])
    with pytest.raises(DataCorrupt, match=r"10\.png"):
        nerfstudio.read(folder).hidden.mask(0)


@pytest.mark.parametrize("key", ["mask_path", "depth_file_path"])
def test_all_frames_have_a_mask_or_none(folder, key):
    with_masks_and_depths(folder)
    edit(folder, lambda data: data["frames"][3].pop(key))
    refused(folder, "frame 3", f"no {key}")


def test_a_mask_that_is_not_there_is_named(folder):
    with_masks_and_depths(folder)
    (folder / "masks" / "4.png").unlink()
    refused(folder, "frame 7", "masks/4.png", error=DataMissing)


# --- which format


def test_detection_is_by_files_alone_and_leaves_blender_to_blender(folder, tmp_path):
    assert nerfstudio.detect(folder)
    assert not blender.detect(folder)
    assert not nerfstudio.detect(tmp_path)
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    for name in ("cameras.txt", "images.txt"):
        (model / name).write_text("")
    np.save(folder / "poses_bounds.npy", np.zeros((1, 17)))
    assert [module.detect(folder) for module in (nerfstudio, colmap, llff)] == [True, False, False]
    for name in ("transforms_train.json", "transforms_test.json"):
        (folder / name).write_text("{}")
        assert not nerfstudio.detect(folder)
        (folder / name).unlink()


def test_no_real_sample_is_taken_for_nerfstudio(real_data):
    assert not [path for path in real_data.iterdir() if nerfstudio.detect(path)]


# --- bad input


@pytest.mark.parametrize(
    ("change", "words", "error"),
    [
        (lambda d: d.pop("frames"), ["no list of frames"], DataCorrupt),
        (top(frames=[]), ["no list of frames"], DataCorrupt),
        (top(frames=[3]), ["no list of frames"], DataCorrupt),
        (at(2, file_path=None), ["frame 2", "None names no file"], DataCorrupt),
        (at(2, file_path=" "), ["frame 2", "names no file"], DataCorrupt),
        (at(2, file_path="a\0b"), ["frame 2", "names no file"], DataCorrupt),
        (at(2, file_path="/etc/a.png"), ["frame 2", "outside"], DataCorrupt),
        (at(2, file_path="../a.png"), ["frame 2", "outside"], DataCorrupt),
        (at(2, file_path="C:\\a.png"), ["frame 2", "outside"], DataCorrupt),
        (at(2, file_path="images/none.png"), ["frame 2", "none.png"], DataMissing),
        (at(2, file_path="\ud800"), ["frame 2", "cannot be the name"], DataCorrupt),
        (at(2, file_path="a" * 5000), ["frame 2"], DataMissing),
        (at(2, file_path="images/frame é 00.png"), ["two frames", "frame é 00.png"], DataCorrupt),
        (at(2, transform_matrix=None), ["frame 2", "no transform_matrix"], DataCorrupt),
        (at(2, transform_matrix=[[1, 0, 0, 0]] * 2), ["frame 2", "no transform_matrix"], DataCorrupt),
        (at(2, transform_matrix=[[1, 0, 0]] * 4), ["frame 2", "no transform_matrix"], DataCorrupt),
        (at(2, transform_matrix=[[1, 0, 0, "0"]] * 4), ["frame 2", "'0'"], DataCorrupt),
        (at(2, transform_matrix=[[1, 0, 0, True]] * 4), ["frame 2", "True"], DataCorrupt),
        (at(2, transform_matrix=np.eye(4)[::-1].tolist()), ["frame 2", "last row"], DataCorrupt),
        (at(2, transform_matrix=(2 * np.eye(4)[:3]).tolist()), ["frame 2", "determinant 8"], DataCorrupt),
        (at(2, transform_matrix=np.diag([1.0, 1, 0, 1]).tolist()), ["frame 2", "determinant 0"], DataCorrupt),
        (at(2, transform_matrix=np.diag([1.0, 1, -1, 1]).tolist()), ["frame 2", "mirrors"], DataCorrupt),
        (at(2, transform_matrix=np.diag([1.0, 1, math.nan, 1]).tolist()), ["frame 2", "nan"], DataCorrupt),
        (at(2, fl_x=3.0), ["frame 2", "fl_x is 3.0", "whole file 15.0"], DataCorrupt),
        (top(fl_x=0), ["fl_x is 0"], DataCorrupt),
        (top(fl_y=-1), ["fl_y is -1"], DataCorrupt),
        (top(cx=math.inf), ["cx is inf"], DataCorrupt),
        (top(cx="8"), ["cx is '8'"], DataCorrupt),
        (top(k1=math.nan), ["k1 is nan"], DataCorrupt),
        (top(k1=-60.0), ["folds the middle"], DataCorrupt),
        (top(w=0), ["w and h are [0.0, 12.0]"], DataCorrupt),
        (top(w=17), ["images/", "16x12", "17x12"], DataCorrupt),
        (lambda d: d.pop("fl_x"), ["no fl_x and no camera_angle_x"], DataCorrupt),
        (lambda d: (d.pop("fl_x"), d.update(camera_angle_x=4)), ["camera_angle_x is 4"], DataCorrupt),
        (at(2, near=1, far=2), ["frame 0", "no near and far"], DataCorrupt),
        (at(2, near=2, far=2), ["frame 2", "near 2.0 and far 2.0"], DataCorrupt),
        (at(2, near=2), ["frame 2", "near 2.0 and far -1"], DataCorrupt),
        (top(depth_unit_scale_factor="mm"), ["depth_unit_scale_factor is 'mm'"], DataCorrupt),
        (top(train_filenames=[]), ["train_filenames", "no list"], DataCorrupt),
        (top(train_filenames=["images/frame é 00.png"]), ["of train only"], DataMissing),
        (
            top(val_filenames=["images/frame é 00.png"], test_filenames=["images/frame é 01.png"]),
            ["of val"],
            DataMissing,
        ),
        (top(train_filenames=["images/none.png"]), ["train_filenames", "'images/none.png'"], DataMissing),
        (top(train_filenames=[4]), ["train_filenames", "4 names no file"], DataCorrupt),
        (top(train_filenames=["images/frame é 00.png"] * 2), ["train_filenames", "twice"], DataCorrupt),
        (lambda d: d.update(frames=d["frames"][:9]), ["of 9 frames none is left"], DataCorrupt),
    ],
)
def test_wrong_entries_are_named(folder, change, words, error):
    edit(folder, change)
    refused(folder, "" if "images/" in words else "my poster", *words, error=error)


def test_ten_frames_are_enough(folder):
    edit(folder, lambda data: data.update(frames=data["frames"][:10]))
    assert len(nerfstudio.read(folder).hidden) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", ["line 1", "no JSON"]),
        (b"[]", ["no list of frames"]),
        (b"\xff", ["byte 0"]),
        (b'{"frames": [\n}', ["line 2"]),
        (b"[" * 100_000, ["JSON"]),
        (b'{"a": ' + b"9" * 5000 + b"}", ["no usable JSON"]),
    ],
)
def test_what_is_no_json_is_named(folder, data, words):
    (folder / "transforms.json").write_bytes(data)
    refused(folder, "transforms.json", *words)


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(folder):
    data = json.dumps(make_json(), indent=1).replace("\n", "\r\n").encode("utf-8-sig")
    (folder / "transforms.json").write_bytes(data)
    assert len(nerfstudio.read(folder).hidden) == 1


def test_a_folder_without_the_file_is_refused(folder):
    (folder / "transforms.json").unlink()
    refused(folder, "transforms.json", error=DataMissing)
    (folder / "transforms.json").mkdir()
    refused(folder, "transforms.json", "cannot be read")


def test_a_link_out_of_the_scene_is_refused(folder, tmp_path):
    (folder / "images" / "frame é 03.png").rename(tmp_path / "else.png")
    (folder / "images" / "frame é 03.png").symlink_to(tmp_path / "else.png")
    refused(folder, "frame é 03.png", "outside")


def test_images_of_the_same_name_in_two_folders_are_told_apart(folder):
    write_png(folder / "more" / "frame é 00.png", image_of(1))
    edit(folder, at(10, file_path="more/frame é 00.png"))
    names = nerfstudio.read(folder).given.views.names
    assert "images_frame é 00" in names
    assert "more_frame é 00" in names


def test_only_its_own_errors_come_out_of_damaged_files(folder):
    with_masks_and_depths(folder)
    rng = np.random.default_rng(0)
    path = folder / "transforms.json"
    sound = path.read_bytes()
    for _ in range(200):
        path.write_bytes(damaged(sound, rng))
        with contextlib.suppress(NfbenchError):
            scene = nerfstudio.read(folder)
            scene.hidden.mask(0)
            scene.hidden.depth(0)


def damaged(data, rng):
    """The data with a byte changed, a number replaced, a piece left out, or cut short."""
    changed = bytearray(data)
    kind, start = rng.integers(5), int(rng.integers(len(data)))
    if kind == 0:
        return bytes(changed[:start])
    if kind == 1:
        return bytes(changed[:start] + changed[start + int(rng.integers(40)) :])
    if kind == 2:
        odd = [b"null", b"1e999", b"NaN", b"-1", b"[]", b'""', b"{}", b"true", b"1e300", b"0"][rng.integers(10)]
        end = data.find(b",", start)
        begin = data.rfind(b" ", 0, end)
        return bytes(data[:begin] + odd + data[end:])
    changed[start] = rng.integers(256)
    return bytes(changed)


# --- what is written

LENSES = np.array(
    [[0.1, 0.02, 0.003, 0.004, 0.05, 0, 0, 0], [0.1, 0, 0, 0, 0, 0.02, 0, 0.01], [0] * 8, [0.1, 0.2, 0, 0.1] + [0] * 4]
)


def some_views(names, first, near_far=True, lenses=LENSES):
    n = len(names)
    K = np.array([[[15.5 + i, 0, 8.25], [0, 14, 6], [0, 0, 1]] for i in range(n)])
    cameras = Cameras(
        np.stack([pose_of(first + i)[:3] for i in range(n)]),
        K,
        np.tile((W, H), (n, 1)),
        np.array([(0.1, 3.3 + i) for i in range(n)]) if near_far else None,
        lenses[:n],
        np.array([False, False, False, True])[:n],
    )
    rng = np.random.default_rng(first)
    masks, depths = rng.random((n, H, W)) > 0.5, rng.random((n, H, W)).astype(np.float32)
    depths[:, 0] = np.inf
    return Views(cameras, tuple(names), lambda i: image_of(first + i), lambda i: masks[i], lambda i: depths[i])


def test_what_is_written_is_read_again_to_the_last_bit(tmp_path):
    splits = {
        "train": some_views(["r_2", "r_10 é", "r_1", "x"], 0),
        "val": some_views(["r_2"], 4),
        "test": some_views("ba", 6),
    }
    nerfstudio.write(tmp_path / "copy", splits)
    assert nerfstudio.detect(tmp_path / "copy")
    again = nerfstudio.splits(tmp_path / "copy")
    assert list(again) == ["train", "val", "test"]
    for split, views in splits.items():
        assert again[split].names == views.names
        for field in ("c2w", "K", "size", "near_far", "distortion", "fisheye"):
            np.testing.assert_array_equal(getattr(again[split].cameras, field), getattr(views.cameras, field))
        for i in range(len(views)):
            np.testing.assert_array_equal(again[split].image(i), views.image(i))
            np.testing.assert_array_equal(again[split].mask(i), views.mask(i))
            np.testing.assert_array_equal(again[split].depth(i), views.depth(i))
    assert Image.open(tmp_path / "copy" / "masks" / "train" / "x.png").mode == "L"


def test_what_is_not_there_is_not_written(tmp_path):
    plain = {"near_far": False, "lenses": np.zeros((4, 8))}
    splits = {"train": some_views("ab", 0, **plain), "test": some_views("c", 4, **plain)}
    bare = splits["test"]
    splits["test"] = Views(bare.cameras, bare.names, bare.load)
    nerfstudio.write(tmp_path / "copy", splits)
    again = nerfstudio.read(tmp_path / "copy")
    assert again.given.views.load_mask is None
    assert again.given.views.load_depth is None
    assert again.hidden.cameras.near_far is None
    assert again.hidden.cameras.distortion is None
    assert set(json.loads((tmp_path / "copy" / "transforms.json").read_text())) == {
        "frames",
        "train_filenames",
        "test_filenames",
    }


def test_what_cannot_be_written(folder, tmp_path):
    views = some_views("ab", 0)
    for splits in ({"train": views}, {"train": views, "all": views}, {"test": views, "val": views}):
        with pytest.raises(ContractBroken, match="the splits are"):
            nerfstudio.write(tmp_path / "copy", splits)
    with pytest.raises(NfbenchError, match="holds something"):
        nerfstudio.write(folder, {"train": views, "test": views})
    with pytest.raises(Unsupported, match="split test has no views"):
        nerfstudio.write(tmp_path / "copy", {"train": views, "test": views.subset([])})
    with pytest.raises(ContractBroken, match="a/b"):
        nerfstudio.write(tmp_path / "copy", {"train": views, "test": some_views(["a/b"], 0)})
    for K in (
        [[15, 1, 8], [0, 14, 6], [0, 0, 1]],
        [[-15, 0, 8], [0, 14, 6], [0, 0, 1]],
        [[15, 0, 8], [0, -14, 6], [0, 0, 1]],
    ):
        skewed = Views(Cameras(pose_of(0)[None, :3], np.array([K]), np.array([(W, H)])), ("s",), views.load)
        with pytest.raises(Unsupported, match="view 's'"):
            nerfstudio.write(tmp_path / "copy", {"train": views, "test": skewed})
    assert not (tmp_path / "copy").exists()
