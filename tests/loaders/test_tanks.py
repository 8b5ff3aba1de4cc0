import json
import random

import numpy as np
import pytest

from nfbench.harness import png_pixels
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.meshfile import write_ply
from nfbench.harness.png import write_png
from nfbench.harness.scan import CropVolume
from nfbench.harness.scene import Mesh, Views
from nfbench.loaders import tanks
from nfbench.loaders.tanks import read_log, write_log
from nfbench.loaders.watched import watched_box

W, H, N = 20, 12, 4
LENS = {"width": W, "height": H, "intrinsic_matrix": [21.5, 0, 0, 0.5, 22, 0, 9.25, 6, 1]}
K = np.array([[21.5, 0.5, 9.25], [0, 22, 6], [0, 0, 1]])


def pose(i):
    return look_at([4 * np.cos(i), 4 * np.sin(i), 1.0], [0, 0, 0])


def image_of(i):
    return np.random.default_rng(i).integers(0, 256, (H, W, 3), dtype=np.uint8)


def log_text(missing=()):
    """As convert_to_logfile.py writes it: an image that was not registered has -1 and the identity."""
    text = ""
    for i in range(N):
        matrix = np.eye(4) if i in missing else np.r_[pose(i), [[0, 0, 0, 1]]]
        text += f"{i} {-1 if i in missing else i} 0\n"
        text += "\n".join(" ".join(f"{v:.12f}" for v in row) for row in matrix) + "\n"
    return text


@pytest.fixture
def folder(tmp_path):
    scene = tmp_path / "Ignatius"
    for i in range(N):
        write_png(scene / "images" / f"{i + 1:06d}.png", image_of(i))
    (scene / "Ignatius_COLMAP_SfM.log").write_text(log_text())
    (scene / "camera_intrinsic.json").write_text(json.dumps(LENS))
    return scene


def refused(folder, *words, error=DataCorrupt, **options):
    with pytest.raises(error) as caught:
        tanks.read(folder, **options)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message


def test_all_registered_views_are_given(folder):
    scene = tanks.read(folder)
    assert scene.name == "Ignatius"
    assert scene.hidden is None and scene.surface is None
    assert scene.given.kinds() == tanks.given == ("views",)
    views = scene.given.views
    assert views.names == ("000001", "000002", "000003", "000004")
    assert views.files[1] == folder / "images" / "000002.png"
    np.testing.assert_allclose(views.cameras.c2w, [pose(i) for i in range(N)], atol=1e-6)
    np.testing.assert_array_equal(views.image(2), image_of(2))
    assert views.cameras.near_far is None
    np.testing.assert_array_equal(scene.box, watched_box(views.cameras))
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert list(tanks.splits(folder)) == ["train"]
    assert tanks.splits(folder)["train"].names == views.names


def test_images_that_were_not_registered_are_left_out(folder):
    """Their identity is no pose: taken for one it would put a camera into the middle of the scene."""
    (folder / "Ignatius_COLMAP_SfM.log").write_text(log_text(missing=(0, 2)))
    views = tanks.read(folder).given.views
    assert views.names == ("000002", "000004")
    np.testing.assert_allclose(views.cameras.c2w, [pose(1), pose(3)], atol=1e-6)
    np.testing.assert_array_equal(views.image(1), image_of(3))
    assert views.files[0].name == "000002.png"
    (folder / "Ignatius_COLMAP_SfM.log").write_text(log_text(missing=range(N)))
    refused(folder, "Ignatius_COLMAP_SfM.log", "no image that is registered")


def test_pixels_are_counted_from_the_centre_of_the_first(folder):
    cameras = tanks.read(folder).given.views.cameras
    np.testing.assert_array_equal(cameras.K[1], np.float32(K + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
    y, x = np.mgrid[0:H, 0:W]
    local = np.linalg.inv(K) @ np.stack([x.ravel(), y.ravel(), np.ones(W * H)])
    expected = local.T @ pose(1)[:, :3].T.astype(float)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rays(cameras, 1)[1], expected, atol=2e-6)


def test_images_right_in_the_folder(folder):
    for path in (folder / "images").iterdir():
        path.rename(folder / path.name)
    (folder / "images").rmdir()
    assert tanks.detect(folder)
    assert tanks.read(folder).given.views.names == ("000001", "000002", "000003", "000004")


def test_the_truth_is_read_along_with_the_reference_log(folder):
    points, turn = (
        np.array([[1, 2, 3], [4, 5, 6.0]]),
        np.array([[0, -2, 0, 5], [2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]]),
    )
    crop = {"axis_max": 4.5, "axis_min": -1.25, "bounding_polygon": [[0, 9, 0], [2, 9, 0], [2, 9, 3]]}
    crop |= {"class_name": "SelectionPolygonVolume", "orthogonal_axis": "Y", "version_major": 1, "version_minor": 0}
    write_ply(folder / "Ignatius.ply", Mesh(points, np.empty((0, 3), int)))
    (folder / "Ignatius.json").write_text(json.dumps(crop))
    np.savetxt(folder / "Ignatius_trans.txt", turn)
    scene = tanks.read(folder)
    assert len(scene.given.views) == N
    np.testing.assert_array_equal(scene.frame, turn)
    np.testing.assert_allclose(scene.surface.xyz @ turn[:3, :3].T + turn[:3, 3], points, atol=1e-5)
    assert isinstance(scene.scan, CropVolume)
    assert scene.tolerance == 0.003
    assert scene.unit == pytest.approx(2)
    assert scene.seen().surface is None
    (folder / "mine.log").write_text(log_text())
    own = tanks.read(folder, "mine.log")  # another frame, which the truth is not aligned with
    assert own.surface is None
    np.testing.assert_array_equal(own.frame, np.eye(4))


def test_which_log_is_read(folder):
    (folder / "mine.log").write_text(log_text(missing=(1,)))
    (folder / "train.log").write_text("epoch 1 loss 3\nepoch 2 loss 2\n")
    assert len(tanks.read(folder).given.views) == N
    assert len(tanks.read(folder, "mine.log").given.views) == N - 1
    assert len(tanks.splits(folder, "mine.log")["train"]) == N - 1
    (folder / "Ignatius_COLMAP_SfM.log").rename(folder / "other.log")
    refused(folder, "several logs: mine.log, other.log")
    (folder / "other.log").unlink()
    assert len(tanks.read(folder).given.views) == N - 1
    (folder / "mine.log").unlink()
    assert not tanks.detect(folder)
    refused(folder, "no log", error=DataMissing)
    refused(folder, "absent.log", error=DataMissing, log="absent.log")


def test_detection(folder, real_data):
    assert tanks.detect(folder)
    assert not tanks.detect(folder / "images")
    assert not tanks.detect(folder / "none")
    assert not [path for path in real_data.rglob("*") if path.is_dir() and tanks.detect(path)]
    for path in (folder / "images").iterdir():
        path.unlink()
    assert not tanks.detect(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"1 2 3\n", b"1 2\n1 0 0 0\n", b"1 2 3\n1 0 0\n", b"a b c\n1 0 0 0\n", b"\xff\xfe\n", b"1 2 3\n1 0 0 nan\n"],
)
def test_logs_of_other_kinds(folder, content):
    (folder / "Ignatius_COLMAP_SfM.log").write_bytes(content)
    assert not tanks.detect(folder)


def test_windows_line_ends_and_blank_lines(folder):
    (folder / "Ignatius_COLMAP_SfM.log").write_bytes(("\ufeff" + log_text().replace("\n", "\r\n\r\n")).encode())
    assert tanks.detect(folder)
    np.testing.assert_allclose(tanks.read(folder).given.views.cameras.c2w[3], pose(3), atol=1e-6)


def test_opening_decodes_nothing(folder, monkeypatch):
    monkeypatch.setattr(png_pixels, "decode", None)
    views = tanks.read(folder).given.views
    with pytest.raises(TypeError):
        views.image(0)


# --- bad input


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda text: text[: text.rindex("0.0")], "line 20: 2 numbers, not 4"),
        (lambda text: "\n".join(text.splitlines()[:-1]), "19 lines"),
        (lambda text: text.replace("2 2 0\n", "3 2 0\n"), "line 11: '3 2 0' where image 2"),
        (lambda text: text.replace("2 2 0\n", "2 2\n"), "line 11: '2 2' where image 2"),
        (lambda text: text.replace("2 2 0\n", "2 x 0\n"), "line 11: 'x'"),
        (lambda text: text.replace("2 2 0\n", "2.5 2 0\n"), "line 11: '2.5'"),
        (
            lambda text: text.replace("0.000000000000 0.000000000000 0.000000000000 1.000000000000", "1 2 3 4"),
            "image 0: the last row",
        ),
        (lambda text: text.replace(text.splitlines()[12], "1 0 0 0"), "image 2: the pose is not a rotation"),
        (lambda text: text.replace(text.splitlines()[12], "nan 0 0 0"), "line 13: 'nan'"),
        (lambda text: "".join(line + "\n" for line in text.splitlines()[:15]), "poses of 3 images"),
    ],
)
def test_wrong_logs_are_named(folder, change, word):
    path = folder / "Ignatius_COLMAP_SfM.log"
    path.write_text(change(path.read_text()))
    refused(folder, "Ignatius_COLMAP_SfM.log", word)


def test_an_image_that_is_missing_would_shift_all_poses(folder):
    (folder / "images" / "000002.png").unlink()
    refused(folder, "poses of 4 images", "holds 3")


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"width": W + 1}, "images of 21x12, and 000001.png has 20x12"),
        ({"height": H * 2}, "images of 20x24, and 000001.png has 20x12"),
        ({"intrinsic_matrix": [1, 2, 3]}, "intrinsic_matrix is"),
        ({"intrinsic_matrix": K.ravel().tolist()}, "intrinsic_matrix is"),  # row by row
        ({"intrinsic_matrix": [-21, 0, 0, 0, 22, 0, 9, 6, 1]}, "intrinsic_matrix is"),
        ({"intrinsic_matrix": [float("nan"), 0, 0, 0, 22, 0, 9, 6, 1]}, "intrinsic_matrix is"),
        ({"intrinsic_matrix": [1e300, 0, 0, 0, 22, 0, 9, 6, 1]}, "intrinsic_matrix is"),
        ({"intrinsic_matrix": [21, 0, 0, 1, 22, 0, 9, 6, 2]}, "intrinsic_matrix is"),
        ({"intrinsic_matrix": [21, 0, 0, 0, 22, 0, 19, 6, 1]}, "principal point"),
        ({"intrinsic_matrix": "x"}, "holds no intrinsics"),
    ],
)
def test_wrong_intrinsics_are_named(folder, changes, word):
    (folder / "camera_intrinsic.json").write_text(json.dumps(LENS | changes))
    refused(folder, "camera_intrinsic.json", word)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"width": 20, "height": 12}', "\xff", " " * 70000])
def test_files_that_hold_no_intrinsics(folder, text):
    (folder / "camera_intrinsic.json").write_text(text)
    refused(folder, "camera_intrinsic.json", "holds no intrinsics")


def test_without_intrinsics_it_is_told_how_to_give_them(folder):
    (folder / "camera_intrinsic.json").unlink()
    assert tanks.detect(folder)
    refused(folder, "camera_intrinsic.json", error=DataMissing)


def test_images_of_several_sizes(folder):
    write_png(folder / "images" / "000003.png", np.zeros((H + 1, W, 3), np.uint8))
    refused(folder, "000003.png: 20x13")


def test_damage_in_any_file_is_told(folder):
    chance = random.Random(0)
    names = ["Ignatius_COLMAP_SfM.log", "camera_intrinsic.json"]
    whole = {name: (folder / name).read_bytes() for name in names}
    told = 0
    for turn in range(200):
        name = names[turn % len(names)]
        data = bytearray(whole[name])
        for _ in range(chance.choice((1, 4, 40))):
            data[chance.randrange(len(data))] = chance.choice((chance.randrange(256), 32, 45, 57, 101))
        (folder / name).write_bytes(data[: chance.randrange(len(data))] if turn % 7 == 0 else data)
        try:
            tanks.read(folder)
        except NfbenchError as error:
            told += 1
            assert str(folder) in error.message
        tanks.detect(folder)
        (folder / name).write_bytes(whole[name])
    assert told > 100


# --- what is written


def views_of(names):
    count = len(names)
    poses = np.stack([pose(i) for i in range(count)]) if count else np.empty((0, 3, 4))
    lens = np.tile(np.float32(K), (count, 1, 1))
    return Views(Cameras(poses, lens, np.tile([W, H], (count, 1))), tuple(names), image_of)


def test_what_is_written_is_read_back_bit_by_bit(tmp_path):
    views = views_of(["b ü", "a", "a-1"])
    tanks.write(tmp_path / "out", {"train": views})
    assert tanks.detect(tmp_path / "out")
    again, expected = tanks.read(tmp_path / "out").given.views, views.subset([2, 1, 0])
    assert again.names == expected.names == ("a-1", "a", "b ü")
    np.testing.assert_array_equal(again.cameras.c2w, expected.cameras.c2w)
    np.testing.assert_array_equal(again.cameras.K, expected.cameras.K)
    np.testing.assert_array_equal(again.cameras.size, expected.cameras.size)
    for i in range(3):
        np.testing.assert_array_equal(again.image(i), expected.image(i))


def test_logs_are_written_as_the_evaluation_reads_them(tmp_path):
    write_log(tmp_path / "a.log", np.stack([pose(0), pose(1)]))
    rows = (tmp_path / "a.log").read_text().splitlines()
    assert len(rows) == 10
    assert rows[5] == "1 1 0"
    np.testing.assert_array_equal(np.float64([row.split() for row in rows[6:]]), np.r_[pose(1), [[0, 0, 0, 1]]])
    poses, registered = read_log(tmp_path / "a.log")
    assert poses.dtype == np.float64
    np.testing.assert_array_equal(poses[:, :3], [pose(0), pose(1)])
    assert registered.tolist() == [True, True]


def test_what_cannot_be_written(tmp_path, folder):
    out, one = tmp_path / "out", views_of(["a"])
    with pytest.raises(ContractBroken, match="train, test"):
        tanks.write(out, {"train": one, "test": one})
    with pytest.raises(ContractBroken, match="'a/b'"):
        tanks.write(out, {"train": views_of(["a/b"])})
    with pytest.raises(NfbenchError, match="holds a scene already"):
        tanks.write(folder, {"train": one})
    with pytest.raises(Unsupported, match="no views"):
        tanks.write(out, {"train": views_of([])})
    two = views_of(["a", "b"])
    lens, size = two.cameras.K.copy(), two.cameras.size.copy()
    lens[1, 0, 0], size[1, 0] = 20, W + 1
    for cameras in (Cameras(two.cameras.c2w, lens, two.cameras.size), Cameras(two.cameras.c2w, two.cameras.K, size)):
        with pytest.raises(Unsupported, match="differ"):
            tanks.write(out, {"train": Views(cameras, two.names, image_of)})
    assert not out.exists()
