import random

import numpy as np
import pytest
from PIL import Image

from nfbench.harness import png_pixels
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import nsvf
from nfbench.loaders.watched import watched_box

W, H = 20, 16
FOCAL, X, Y = 30.5, 10.25, 8.0


def pose(i):
    return look_at([3 * np.cos(i), 3 * np.sin(i), 1.0], [0, 0, 0])


def image_of(i, channels=4):
    return np.random.default_rng(i).integers(0, 256, (H, W, channels), dtype=np.uint8)


def lines(matrix):
    return "\n".join(" ".join(f"{value:.17g}" for value in row) for row in matrix) + "\n"


def make(folder, numbers=(0, 0, 0, 1, 1, 2, 2)):
    (folder / "pose").mkdir(parents=True)
    for i, number in enumerate(numbers):
        name = f"{number}_{i:04d}"
        write_png(folder / "rgb" / f"{name}.png", image_of(i))
        (folder / "pose" / f"{name}.txt").write_text(lines(np.r_[pose(i), [[0, 0, 0, 1]]]))
    (folder / "intrinsics.txt").write_text(f"{FOCAL} 0 {X} 0\n0. {FOCAL} {Y} 0.\n0. 0. 1. 0.\n0. 0. 0. 1.\n")
    (folder / "bbox.txt").write_text("-1 -0.5 -2 1 1.5 2.5 0.4\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "Wine Holder")


def refused(folder, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        nsvf.read(folder)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message


def test_the_first_number_of_a_name_is_its_split(folder):
    scene = nsvf.read(folder)
    assert scene.name == "Wine Holder"
    assert scene.given.kinds() == nsvf.given == ("views",)
    assert scene.given.views.names == ("0_0000", "0_0001", "0_0002")
    assert scene.hidden.names == ("2_0005", "2_0006")
    assert scene.box.tolist() == [[-1, -0.5, -2], [1, 1.5, 2.5]]
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert scene.hidden.cameras.near_far is None
    assert {split: views.names for split, views in nsvf.splits(folder).items()} == {
        "train": ("0_0000", "0_0001", "0_0002"),
        "val": ("1_0003", "1_0004"),
        "test": ("2_0005", "2_0006"),
    }
    np.testing.assert_array_equal(scene.hidden.image(1), image_of(6))
    np.testing.assert_array_equal(scene.hidden.mask(1), image_of(6)[..., 3] >= 128)
    assert scene.hidden.files[0] == folder / "rgb" / "2_0005.png"


def test_without_a_2_the_test_set_is_1(tmp_path):
    """As in NSVF's Tanks and Temples and BlendedMVS."""
    folder = make(tmp_path / "Ignatius", (0, 0, 1))
    assert {split: views.names for split, views in nsvf.splits(folder).items()} == {
        "train": ("0_0000", "0_0001"),
        "test": ("1_0002",),
    }
    assert nsvf.read(folder).hidden.names == ("1_0002",)


@pytest.mark.parametrize("numbers", [(0, 0), (1, 2), (2,)])
def test_a_scene_needs_train_and_test(tmp_path, numbers):
    refused(make(tmp_path / "scene", numbers), "holds no images of", error=DataMissing)


def test_poses_are_those_of_the_files_in_opencv_axes(folder):
    cameras = nsvf.read(folder).hidden.cameras
    np.testing.assert_array_equal(cameras.c2w, [pose(5), pose(6)])


def test_rays_are_those_of_the_original_code(folder):
    """NSVF: uv of whole pixels, lifted by the inverse intrinsics and turned by the pose."""
    y, x = np.mgrid[0:H, 0:W]
    local = np.stack([(x.ravel() - X) / FOCAL, (y.ravel() - Y) / FOCAL, np.ones(W * H)], 1)
    expected = local @ pose(1)[:, :3].T.astype(float)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rays(nsvf.read(folder).given.views.cameras, 1)[1], expected, atol=2e-6)


@pytest.mark.parametrize(
    "text",
    [
        f"{FOCAL} 0 {X}\n0 {FOCAL} {Y}\n0 0 1\n",
        f"{FOCAL} {X} {Y} 0.\n0. 0. 0.\n1.\n{H} {W}\n",
        f"\ufeff\r\n{FOCAL} 0 {X} 0\r\n\r\n0 {FOCAL} {Y} 0\r\n0 0 1 0\r\n0 0 0 1\r\n\r\n",
    ],
)
def test_intrinsics_of_all_kinds(folder, text):
    (folder / "intrinsics.txt").write_bytes(text.encode())
    K = nsvf.read(folder).given.views.cameras.K
    assert K.tolist() == [[[FOCAL, 0, X + 0.5], [0, FOCAL, Y + 0.5], [0, 0, 1]]] * 3


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "neither"),
        ("1 2 3\n4 5\n", "neither"),
        ("1 2 3 4 5\n", "neither"),
        (f"{FOCAL} 0 {X} 1\n0 {FOCAL} {Y} 0\n0 0 1 0\n0 0 0 1\n", "more than intrinsics"),
        (f"{FOCAL} 0 {X}\n1 {FOCAL} {Y}\n0 0 1\n", "no intrinsics"),
        (f"{FOCAL} 0 {X}\n0 {FOCAL} {Y}\n0 0 2\n", "no intrinsics"),
        (f"-{FOCAL} 0 {X}\n0 {FOCAL} {Y}\n0 0 1\n", "no intrinsics"),
        (f"{FOCAL} 0 {X}\n0 0 {Y}\n0 0 1\n", "no intrinsics"),
        (f"{FOCAL} nan {Y} 0\n", "line 1: 'nan'"),
        (f"{FOCAL} {2 * X} {2 * Y} 0\n", "principal point"),
        (f"{FOCAL} 0 {X / 2}\n0 {FOCAL} {Y / 2}\n0 0 1\n", "principal point"),
    ],
)
def test_wrong_intrinsics_are_named(folder, text, word):
    (folder / "intrinsics.txt").write_text(text)
    refused(folder, "intrinsics.txt", word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("0 0 0 1 1", "holds 5 numbers"),
        ("0 0 0 1 1 1 1 1", "holds 8 numbers"),
        ("0 0 0 1 0 1", "not a low and a high corner"),
        ("0 0 0 1 1 x", "line 1: 'x'"),
    ],
)
def test_wrong_boxes_are_named(folder, text, word):
    (folder / "bbox.txt").write_text(text)
    refused(folder, "bbox.txt", word)


def test_a_box_without_voxels_and_in_lines(folder):
    (folder / "bbox.txt").write_text("0 0 0\n1 2 3\n")
    assert nsvf.read(folder).box.tolist() == [[0, 0, 0], [1, 2, 3]]


def test_images_and_poses_belong_together(folder):
    (folder / "pose" / "1_0003.txt").rename(folder / "pose" / "1_0009.txt")
    refused(folder, "rgb/1_0003.png", "no pose", error=DataMissing)
    (folder / "pose" / "1_0009.txt").rename(folder / "pose" / "1_0003.txt")
    (folder / "rgb" / "2_0006.png").unlink()
    refused(folder, "pose/2_0006.txt has no image", error=DataMissing)


def test_paths_for_videos_have_no_images(tmp_path):
    folder = make(tmp_path / "Truck", (0, 1))
    for name in ("2_0000", "path"):
        (folder / "pose" / f"{name}.txt").write_text("not even read")
    assert nsvf.read(folder).hidden.names == ("1_0001",)


@pytest.mark.parametrize("name", ["0001", "3_0001", "00_1", "_0"])
def test_names_that_tell_no_split(folder, name):
    (folder / "rgb" / "0_0001.png").rename(folder / "rgb" / f"{name}.png")
    (folder / "pose" / "0_0001.txt").rename(folder / "pose" / f"{name}.txt")
    refused(folder, f"{name}.png", "tells no split")


def test_wrong_poses_are_named(folder):
    path = folder / "pose" / "1_0004.txt"
    path.write_text(lines(np.diag([1, 1, -1, 1.0])))
    refused(folder, "pose/1_0004.txt", "mirrors")
    path.write_text(lines(np.diag([1, 1, 0, 1.0])))
    refused(folder, "pose/1_0004.txt", "not a rotation")
    path.write_text("1 0 0\n")
    refused(folder, "pose/1_0004.txt", "no matrix")


def test_images_of_another_size(folder):
    Image.new("RGB", (W + 1, H)).save(folder / "rgb" / "2_0005.png")
    refused(folder, "2_0005.png: 21x16", "0_0000.png")


def test_opening_decodes_nothing(folder, monkeypatch):
    monkeypatch.setattr(png_pixels, "decode", None)
    scene = nsvf.read(folder)
    with pytest.raises(TypeError):
        scene.hidden.image(0)


@pytest.mark.parametrize("name", ["bbox.txt", "intrinsics.txt", "rgb", "pose"])
def test_detection_needs_all_four(folder, name):
    assert nsvf.detect(folder)
    (folder / name).rename(folder / "gone")
    assert not nsvf.detect(folder)


def test_no_sample_of_another_format_is_taken_for_this_one(real_data):
    """SRN's folders have rgb, pose and intrinsics.txt as well."""
    assert not [path for path in real_data.rglob("*") if path.is_dir() and nsvf.detect(path)]


def test_damage_in_any_file_is_told(folder):
    chance = random.Random(0)
    names = ["bbox.txt", "intrinsics.txt", "pose/0_0001.txt", "rgb/0_0001.png"]
    whole = {name: (folder / name).read_bytes() for name in names}
    told = 0
    for turn in range(200):
        name = names[turn % len(names)]
        data = bytearray(whole[name])
        for _ in range(chance.choice((1, 4, 40))):
            data[chance.randrange(len(data))] = chance.choice((chance.randrange(256), 32, 45, 57, 101))
        (folder / name).write_bytes(data[: chance.randrange(len(data))] if turn % 7 == 0 else data)
        try:
            nsvf.read(folder).given.views.image(1)
        except NfbenchError as error:
            told += 1
            assert str(folder) in error.message
        (folder / name).write_bytes(whole[name])
    assert told > 100


# --- what is written


def views_of(names, first=0, K=None, size=(W, H)):
    count = len(names)
    K = [[FOCAL, 0.5, X], [0, 31, Y], [0, 0, 1]] if K is None else K
    poses = np.stack([pose(first + i) for i in range(count)]) if count else np.empty((0, 3, 4))
    cameras = Cameras(poses, np.tile(np.float32(K), (count, 1, 1)), np.tile(size, (count, 1)))
    return Views(cameras, tuple(names), lambda i: image_of(first + i, 3 + (first + i) % 2))


BOX = np.float32([[-1.1, -2, -3], [1, 2, 3.3]])


def test_what_is_written_is_read_back(tmp_path):
    splits = {"train": views_of(["0_b", "a"]), "val": views_of(["x"], 2), "test": views_of(["2_y", "9"], 3)}
    nsvf.write(tmp_path / "out", splits, BOX)
    assert nsvf.detect(tmp_path / "out")
    again = nsvf.splits(tmp_path / "out")
    assert {k: v.names for k, v in again.items()} == {"train": ("0_a", "0_b"), "val": ("1_x",), "test": ("2_9", "2_y")}
    orders = {"train": [1, 0], "val": [0], "test": [1, 0]}
    for split, order in orders.items():
        expected = splits[split].subset(order)
        np.testing.assert_array_equal(again[split].cameras.c2w, expected.cameras.c2w)
        np.testing.assert_array_equal(again[split].cameras.K, expected.cameras.K)
        for i in range(len(order)):
            np.testing.assert_array_equal(again[split].image(i), expected.image(i))
    np.testing.assert_array_equal(nsvf.read(tmp_path / "out").box, BOX)
    assert float((tmp_path / "out" / "bbox.txt").read_text().split()[6]) == pytest.approx(
        (2.1 * 4 * 6.3 / 1000) ** (1 / 3)
    )


@pytest.mark.parametrize("numbers", [(0, 0, 1, 1), (0, 1, 2)])
def test_writing_what_was_read_changes_nothing(tmp_path, numbers):
    folder = make(tmp_path / "scene", numbers)
    nsvf.write(tmp_path / "out", nsvf.splits(folder), nsvf.read(folder).box)
    before, after = nsvf.splits(folder), nsvf.splits(tmp_path / "out")
    assert list(before) == list(after)
    for split, views in before.items():
        assert after[split].names == views.names
        np.testing.assert_array_equal(after[split].cameras.c2w, views.cameras.c2w)
        np.testing.assert_array_equal(after[split].cameras.K, views.cameras.K)
        np.testing.assert_array_equal(after[split].image(0), views.image(0))


def test_a_test_set_named_1_beside_val_is_numbered_again(tmp_path):
    nsvf.write(tmp_path / "out", {"train": views_of(["a"]), "val": views_of(["b"]), "test": views_of(["1_c"])}, BOX)
    assert nsvf.read(tmp_path / "out").hidden.names == ("2_1_c",)


def test_without_a_box_it_is_what_the_training_cameras_watch(tmp_path):
    splits = {"train": views_of(["a", "b"]), "test": views_of(["c"], 5)}
    nsvf.write(tmp_path / "out", splits)
    np.testing.assert_array_equal(nsvf.read(tmp_path / "out").box, watched_box(splits["train"].cameras))


def test_what_cannot_be_written(tmp_path, folder):
    out, one = tmp_path / "out", views_of(["a"])
    for splits in ({"train": one}, {"test": one}, {"train": one, "test": one, "dev": one}):
        with pytest.raises(ContractBroken, match="the splits are"):
            nsvf.write(out, splits, BOX)
    with pytest.raises(NfbenchError, match="holds a scene already"):
        nsvf.write(folder, {"train": one, "test": one}, BOX)
    for box in (BOX[::-1], BOX[0], BOX * np.nan):
        with pytest.raises(ContractBroken, match="not a low and a high corner"):
            nsvf.write(out, {"train": one, "test": one}, box)
    with pytest.raises(Unsupported, match="has no views"):
        nsvf.write(out, {"train": one, "test": views_of([])}, BOX)
    for other in (views_of(["a"], K=[[FOCAL, 0, X], [0, 31, Y], [0, 0, 1]]), views_of(["a"], size=(W, H + 1))):
        with pytest.raises(Unsupported, match="differ between views"):
            nsvf.write(out, {"train": one, "test": other}, BOX)
    for K in ([[-1, 0, 5], [0, 1, 5], [0, 0, 1]], [[1, 0, 5], [1, 1, 5], [0, 0, 1]], [[1, 0, 5], [0, 1, 5], [0, 0, 2]]):
        with pytest.raises(Unsupported, match="the format has not"):
            nsvf.write(out, {"train": views_of(["a"], K=K), "test": views_of(["b"], K=K)}, BOX)
    with pytest.raises(ContractBroken, match="'0_a/b'"):
        nsvf.write(out, {"train": views_of(["a/b"]), "test": one}, BOX)
    with pytest.raises(ContractBroken, match="'0_a' and '0_a'"):
        nsvf.write(out, {"train": views_of(["a", "0_a"]), "test": one}, BOX)
    assert not out.exists()
