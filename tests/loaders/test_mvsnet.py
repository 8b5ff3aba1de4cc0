import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from nfbench.harness import png_pixels
from nfbench.harness.camera import Cameras, look_at, project, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import mvsnet

W, H, N = 24, 16, 3
K = np.array([[30, 0, 11.5], [0, 31, 8.25], [0, 0, 1.0]])


def pose(i):
    return look_at([5 * np.cos(i / 3), 5 * np.sin(i / 3), 1.0], [0, 0, 0])


def extrinsic(i):
    return np.linalg.inv(np.r_[pose(i).astype(float), [[0, 0, 0, 1]]])


def lines(matrix):
    return "\n".join(" ".join(f"{value:.17g}" for value in row) + " " for row in matrix) + "\n"


def camera_text(i, depth="2.5 0.05 128 8.85", K=K, matrix=None):
    return f"extrinsic\n{lines(extrinsic(i) if matrix is None else matrix)}\nintrinsic\n{lines(K)}\n{depth}\n"


def depth_of(i):
    values = np.random.default_rng(i).uniform(3, 8, (H, W)).astype(np.float32)
    values[2, 3] = 0
    return values


def image_of(i, channels=3):
    return np.random.default_rng(i).integers(0, 256, (H, W, channels), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    scene = tmp_path / "5a3ca9cb"
    (scene / "cams").mkdir(parents=True)
    (scene / "rendered_depth_maps").mkdir()
    (scene / "blended_images").mkdir()
    for i in range(N):
        write_png(scene / "blended_images" / f"{i:08d}.png", image_of(i))
        Image.new("RGB", (W, H)).save(scene / "blended_images" / f"{i:08d}_masked.jpg")
        (scene / "cams" / f"{i:08d}_cam.txt").write_text(camera_text(i))
        data = depth_of(i)[::-1].astype("<f4").tobytes()
        (scene / "rendered_depth_maps" / f"{i:08d}.pfm").write_bytes(f"Pf\n{W} {H}\n-1.0\n".encode() + data)
    (scene / "cams" / "pair.txt").write_text("3\n0\n2 1 100.5 2 3.0\n1\n1 0 100.5\n2\n0\n")
    return scene


def refused(folder, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        mvsnet.read(folder)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message


def test_all_views_are_given(folder):
    scene = mvsnet.read(folder)
    assert scene.name == "5a3ca9cb"
    assert scene.hidden is None
    assert scene.given.kinds() == mvsnet.given == ("views",)
    views = scene.given.views
    assert views.names == ("00000000", "00000001", "00000002")
    assert views.files[1] == folder / "blended_images" / "00000001.png"
    assert views.load_mask is None
    np.testing.assert_array_equal(views.image(2), image_of(2))
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert list(mvsnet.splits(folder)) == ["train"]
    assert mvsnet.splits(folder)["train"].names == views.names


def test_cameras_are_turned_from_world_to_camera(folder):
    cameras = mvsnet.read(folder).given.views.cameras
    np.testing.assert_allclose(cameras.c2w, [pose(i) for i in range(N)], atol=1e-6)
    np.testing.assert_array_equal(cameras.size, [[W, H]] * N)


def test_pixels_are_counted_from_the_corner_of_the_first(folder):
    """MVSNet's grid of pixels begins at 0.5, so that intrinsics are ours as they are."""
    cameras = mvsnet.read(folder).given.views.cameras
    np.testing.assert_array_equal(cameras.K, np.tile(K.astype(np.float32), (N, 1, 1)))
    points = np.random.default_rng(0).uniform(-1, 1, (20, 3))
    own = (np.c_[points, np.ones(20)] @ extrinsic(1).T)[:, :3] @ K.T
    np.testing.assert_allclose(project(cameras, 1, points)[0], own[:, :2] / own[:, 2:], atol=1e-4)


def test_depth_along_the_axis_becomes_distance_along_rays(folder):
    """A point lifted by its depth along the axis lies at our distance along the ray of its pixel."""
    views = mvsnet.read(folder).given.views
    for i in range(N):
        z = depth_of(i)
        y, x = np.mgrid[0:H, 0:W] + 0.5
        local = np.linalg.inv(K) @ np.stack([x.ravel(), y.ravel(), np.ones(W * H)]) * z.ravel()
        points = local.T @ pose(i)[:, :3].T + pose(i)[:, 3]
        origins, directions = rays(views.cameras, i)
        found = views.depth(i)
        assert found.dtype == np.float32
        assert np.isinf(found[2, 3]) and np.isfinite(found).sum() == W * H - 1
        seen = np.isfinite(found).ravel()
        np.testing.assert_allclose((origins + found.reshape(-1, 1) * directions)[seen], points[seen], atol=1e-5)


def test_without_depth_maps_there_is_no_depth(folder):
    (folder / "rendered_depth_maps").rename(folder / "gone")
    views = mvsnet.read(folder).given.views
    assert views.load_depth is None


@pytest.mark.parametrize(
    ("depth", "far"), [("2.5 0.05 128 8.85", 8.85), ("2.5 0.05 128", 2.5 + 128 * 0.05), ("2.5 0.05", 2.5 + 192 * 0.05)]
)
def test_near_and_far_hold_all_that_is_seen_within_the_range_of_depth(folder, depth, far):
    """By load_cam of MVSNet: the maximum, or the minimum and so many intervals; 192 where it does not say."""
    for i in range(N):
        (folder / "cams" / f"{i:08d}_cam.txt").write_text(camera_text(i, depth))
    near_far = mvsnet.read(folder).given.views.cameras.near_far
    longest = np.sqrt((12.5 / 30) ** 2 + (8.25 / 31) ** 2 + 1)  # to the farthest corner
    np.testing.assert_allclose(near_far, [[2.5, far * longest]] * N, rtol=1e-6)


def test_the_box_holds_what_is_seen(folder):
    scene = mvsnet.read(folder)
    points = []
    for i in range(N):
        y, x = np.mgrid[0 : H + 1, 0 : W + 1]
        local = np.linalg.inv(K) @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])
        points += [(z * local).T @ pose(i)[:, :3].T + pose(i)[:, 3] for z in (2.5, 8.85)]
    points = np.concatenate(points)
    np.testing.assert_allclose(scene.box, [points.min(0), points.max(0)], atol=1e-5)


def test_mvsnets_own_names(folder):
    (folder / "blended_images").rename(folder / "images")
    (folder / "cams" / "pair.txt").rename(folder / "pair.txt")
    assert mvsnet.detect(folder)
    assert len(mvsnet.read(folder).given.views) == N


def test_windows_line_ends_and_blank_lines(folder):
    path = folder / "cams" / "00000001_cam.txt"
    path.write_bytes(("\ufeff" + camera_text(1).replace("\n", "\r\n\r\n")).encode())
    np.testing.assert_allclose(mvsnet.read(folder).given.views.cameras.c2w[1], pose(1), atol=1e-6)


def test_opening_decodes_nothing(folder, monkeypatch):
    monkeypatch.setattr(png_pixels, "decode", None)
    monkeypatch.setattr(mvsnet, "read_pfm", None)
    views = mvsnet.read(folder).given.views
    with pytest.raises(TypeError):
        views.image(0)
    with pytest.raises(TypeError):
        views.depth(0)


def test_detection(folder, real_data):
    assert mvsnet.detect(folder)
    assert not mvsnet.detect(folder / "cams")
    assert not [path for path in real_data.rglob("*") if path.is_dir() and mvsnet.detect(path)]


def test_detection_needs_cameras_and_images(folder):
    (folder / "blended_images").rename(folder / "gone")
    assert not mvsnet.detect(folder)
    (folder / "gone").rename(folder / "images")
    assert mvsnet.detect(folder)
    for path in (folder / "cams").glob("*_cam.txt"):
        path.unlink()
    assert not mvsnet.detect(folder)


# --- bad input


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "0 words"),
        (camera_text(1, ""), "27 words"),
        (camera_text(1, "1"), "28 words"),
        (camera_text(1, "1 2 3 4 5"), "32 words"),
        (camera_text(1).replace("extrinsic", "pose"), "no camera"),
        (camera_text(1).replace("intrinsic", "K"), "no camera"),
        (camera_text(1, "1 nan"), "line 12: 'nan'"),
        (camera_text(1, "3 1 1 3"), "depth from 3 to 3"),
        (camera_text(1, "1 9e29 2"), "depth from 1 to 1.8e+30"),
        (camera_text(1, matrix=extrinsic(1).T), "extrinsic: the last row"),
        (camera_text(1, matrix=np.diag([1, 1, -1, 1])), "extrinsic: the pose mirrors"),
        (camera_text(1, matrix=np.diag([1, 1, 0, 1])), "extrinsic: the pose is not a rotation"),
        (camera_text(1, K=np.diag([1, 1, 2])), "intrinsic is"),
        (camera_text(1, K=np.diag([-1, 1, 1])), "intrinsic is"),
        (camera_text(1, K=K + [[0, 0, 0], [1, 0, 0], [0, 0, 0]]), "intrinsic is"),
        (camera_text(1, K=K * [[2], [2], [1]]), "00000001.png has its principal point"),
        (camera_text(1, K=K * [[0.5], [0.5], [1]]), "00000001.png has its principal point"),
    ],
)
def test_wrong_cameras_are_named(folder, text, word):
    (folder / "cams" / "00000001_cam.txt").write_text(text)
    refused(folder, "00000001_cam.txt", word)


def test_images_cameras_and_depth_maps_belong_together(folder):
    for name, word in (
        ("cams/00000001_cam.txt", "00000001_cam.txt"),
        ("blended_images/00000002.png", "00000002_cam.txt has no image"),
        ("rendered_depth_maps/00000000.pfm", "00000000.pfm"),
    ):
        (folder / name).rename(folder / "gone")
        refused(folder, word, error=DataMissing)
        (folder / "gone").rename(folder / name)


def test_depth_maps_of_another_size(folder):
    (folder / "rendered_depth_maps" / "00000001.pfm").write_bytes(b"Pf\n2 2\n-1\n" + bytes(16))
    refused(folder, "00000001.pfm: 2x2", "24x16")


def test_depth_that_is_none_is_named(folder):
    values = depth_of(1)
    values[0, 0] = np.nan
    path = folder / "rendered_depth_maps" / "00000001.pfm"
    path.write_bytes(f"Pf\n{W} {H}\n-1.0\n".encode() + values.tobytes())
    views = mvsnet.read(folder).given.views
    with pytest.raises(DataCorrupt, match=r"00000001\.pfm holds NaN"):
        views.depth(1)


@pytest.mark.parametrize(
    ("text", "word", "error"),
    [
        ("", "pair.txt", DataCorrupt),
        ("2\n0\n0\n", "two lines a view", DataCorrupt),
        ("1\n0\n", "two lines a view", DataCorrupt),
        ("x\n0\n0\n", "line 1: 'x'", DataCorrupt),
        ("1\n0\n2 1 5.0\n", "line 3: not as many", DataCorrupt),
        ("1\n0\n1 1\n", "line 3: not as many", DataCorrupt),
        ("1\n0\n1 7 5.0\n", "line 3: there is no view 7", DataMissing),
        ("1\n9\n1 1 5.0\n", "line 2: there is no view 9", DataMissing),
    ],
)
def test_wrong_pairs_are_named(folder, text, word, error):
    (folder / "cams" / "pair.txt").write_text(text)
    refused(folder, "pair.txt", word, error=error)


def test_pairs_may_be_missing(folder):
    (folder / "cams" / "pair.txt").unlink()
    assert len(mvsnet.read(folder).given.views) == N


def test_damage_in_any_file_is_told(folder):
    chance = random.Random(0)
    names = ["cams/00000001_cam.txt", "cams/00000001_cam.txt", "cams/pair.txt", "rendered_depth_maps/00000001.pfm"]
    whole = {name: (folder / name).read_bytes() for name in names}
    told = 0
    for turn in range(200):
        name = names[turn % len(names)]
        data = bytearray(whole[name])
        for _ in range(chance.choice((1, 4, 40))):
            data[chance.randrange(min(len(data), 600))] = chance.choice((chance.randrange(256), 32, 45, 57, 101))
        (folder / name).write_bytes(data[: chance.randrange(len(data))] if turn % 7 == 0 else data)
        try:
            mvsnet.read(folder).given.views.depth(1)
        except NfbenchError as error:
            told += 1
            assert str(folder) in error.message
        (folder / name).write_bytes(whole[name])
    assert told > 80


# --- what is written


def views_of(names, near_far=(2.0, 9.0), depth=True, channels=3):
    count = len(names)
    poses = np.stack([pose(i) for i in range(count)]) if count else np.empty((0, 3, 4))
    lens = np.tile(K.astype(np.float32), (count, 1, 1)) + np.float32(np.arange(count))[:, None, None] * np.diag(
        [1, 1, 0]
    )
    cameras = Cameras(
        poses, lens, np.tile([W, H], (count, 1)), None if near_far is None else np.tile(near_far, (count, 1))
    )

    def distances(i):
        return np.where(depth_of(i) > 0, depth_of(i), np.inf).astype(np.float32)

    return Views(cameras, tuple(names), lambda i: image_of(i, channels), None, distances if depth else None)


def test_what_is_written_is_read_back(tmp_path):
    names = ["00000005", "00000002", "00000009"]
    views = views_of(names, channels=4)
    mvsnet.write(tmp_path / "out", {"train": views})
    assert mvsnet.detect(tmp_path / "out")
    again, order = mvsnet.read(tmp_path / "out").given.views, [1, 0, 2]
    assert again.names == ("00000002", "00000005", "00000009")
    expected = views.subset(order)
    np.testing.assert_array_equal(again.cameras.K, expected.cameras.K)
    np.testing.assert_array_equal(again.cameras.c2w[:, :, :3], expected.cameras.c2w[:, :, :3])
    np.testing.assert_allclose(again.cameras.c2w, expected.cameras.c2w, rtol=0, atol=1e-14)
    np.testing.assert_allclose(again.cameras.near_far, expected.cameras.near_far, rtol=2e-7)
    for i in range(3):
        np.testing.assert_array_equal(again.image(i), expected.image(i))
        np.testing.assert_allclose(again.depth(i), expected.depth(i), rtol=3e-7)


def test_names_that_are_no_eight_digits_become_numbers(tmp_path):
    mvsnet.write(tmp_path / "out", {"train": views_of(["b", "00000002", "a"], depth=False)})
    views = mvsnet.read(tmp_path / "out").given.views
    assert views.names == ("00000000", "00000001", "00000002")
    assert views.load_depth is None
    np.testing.assert_array_equal(views.image(0), image_of(0))
    for names in (["1234567"], ["123456789"], ["٠٠٠٠٠٠٠١"]):
        mvsnet.write(tmp_path / names[0], {"train": views_of(names)})
        assert mvsnet.read(tmp_path / names[0]).given.views.names == ("00000000",)


def test_files_are_written_as_mvsnet_reads_them(tmp_path):
    """Words by place, as load_cam takes them: 31 of them, the last four of depth."""
    mvsnet.write(tmp_path / "out", {"train": views_of(["00000000"])})
    words = (tmp_path / "out" / "cams" / "00000000_cam.txt").read_text().split()
    assert len(words) == 31
    np.testing.assert_allclose(np.float64(words[1:17]).reshape(4, 4), extrinsic(0), atol=1e-6)
    np.testing.assert_array_equal(np.float64(words[18:27]).reshape(3, 3), K)
    near, interval, steps, far = map(float, words[27:])
    assert (near, steps) == (2, 192)
    assert near + interval * (steps - 1) == pytest.approx(far)
    assert far == pytest.approx(9 / np.sqrt((12.5 / 30) ** 2 + (8.25 / 31) ** 2 + 1))


def test_pairs_are_those_that_look_from_about_five_degrees_beside(tmp_path):
    """Twelve cameras on a circle 4 degrees apart, around what they see: above five counts less than below."""
    angles = np.radians(4.0) * np.arange(12)
    poses = np.stack([look_at([5 * np.cos(a), 5 * np.sin(a), 0.0], [0, 0, 0]) for a in angles])
    one = views_of(["a"]).cameras
    longest = np.sqrt((12.5 / 30) ** 2 + (8.25 / 31) ** 2 + 1)
    near_far = np.tile([4, 6 * longest], (12, 1))
    cameras = Cameras(poses, np.tile(one.K, (12, 1, 1)), np.tile(one.size, (12, 1)), near_far)
    names = tuple(f"{i + 20:08d}" for i in range(12))
    mvsnet.write(tmp_path / "out", {"train": Views(cameras, names, image_of)})
    rows = [line.split() for line in (tmp_path / "out" / "cams" / "pair.txt").read_text().splitlines()]
    assert rows[0] == ["12"]
    assert rows[1] == ["20"]
    assert rows[2][0] == "10"
    assert rows[2][1::2] == [str(20 + i) for i in (2, 3, 1, 4, 5, 6, 7, 8, 9, 10)]
    scores = [np.exp(-((4 * i - 5) ** 2) / (2 * (1 if i == 1 else 100))) for i in (2, 3, 1, 4, 5, 6, 7, 8, 9, 10)]
    np.testing.assert_allclose(np.float64(rows[2][2::2]), scores, atol=2e-6)
    assert len(rows) == 25


def test_ranges_of_depth_come_from_a_box_where_cameras_have_none(tmp_path):
    views, box = views_of(["a", "b"], near_far=None), np.array([[-1, -1, -1], [1, 1, 1.5]])
    mvsnet.write(tmp_path / "out", {"train": views}, box)
    corners = np.array([[x, y, z] for x in box[:, 0] for y in box[:, 1] for z in box[:, 2]])
    for i in range(2):
        words = (tmp_path / "out" / "cams" / f"{i:08d}_cam.txt").read_text().split()
        depth = project(views.cameras, i, corners)[1]
        assert float(words[27]) == pytest.approx(depth.min())
        assert float(words[30]) == pytest.approx(depth.max())


def test_what_cannot_be_written(tmp_path, folder):
    out, views = tmp_path / "out", views_of(["a"], near_far=None)
    with pytest.raises(ContractBroken, match="train, test"):
        mvsnet.write(out, {"train": views, "test": views})
    with pytest.raises(Unsupported, match="no near and far"):
        mvsnet.write(out, {"train": views})
    with pytest.raises(Unsupported, match="behind a camera"):
        mvsnet.write(out, {"train": views}, [[-10, -10, -10], [10, 10, 10]])
    with pytest.raises(Unsupported, match="no views"):
        mvsnet.write(out, {"train": views_of([])})
    with pytest.raises(NfbenchError, match="holds a scene already"):
        mvsnet.write(folder, {"train": views_of(["a"])})
    assert not out.exists()


def test_writing_what_was_read_changes_nothing_but_rounding(folder, tmp_path):
    before = mvsnet.read(folder)
    mvsnet.write(tmp_path / "out", {"train": before.given.views})
    after = mvsnet.read(tmp_path / "out")
    np.testing.assert_allclose(after.box, before.box, rtol=1e-6)
    np.testing.assert_allclose(after.given.views.cameras.c2w, before.given.views.cameras.c2w, atol=1e-14)
    np.testing.assert_allclose(after.given.views.depth(1), before.given.views.depth(1), rtol=3e-7)
    unlike = replace(before.given.views, load_depth=None)
    mvsnet.write(tmp_path / "flat", {"train": unlike})
    assert not (tmp_path / "flat" / "rendered_depth_maps").exists()


@pytest.mark.parametrize(
    ("depth", "range_of"), [("0 0 0 0", (2.5, 8.85)), ("-4 0.1 2 -1", (2.5, 8.85)), ("-1 1 1 3", (0, 3))]
)
def test_ranges_at_or_below_zero_as_the_official_readme_warns_of(folder, depth, range_of):
    """BlendedMVS README.md, Note: depth_min and depth_max might be smaller than or equal to zero (very few)."""
    expected = mvsnet.read(folder).given.views.cameras.near_far
    (folder / "cams" / "00000001_cam.txt").write_text(camera_text(1, depth))
    found = mvsnet.read(folder).given.views.cameras.near_far
    np.testing.assert_array_equal(found[[0, 2]], expected[[0, 2]])
    np.testing.assert_allclose(found[1], [range_of[0], expected[1, 1] * range_of[1] / 8.85], rtol=1e-6)


def test_a_scene_without_any_range_is_refused(folder):
    for i in range(N):
        (folder / "cams" / f"{i:08d}_cam.txt").write_text(camera_text(i, "0 0 0 0"))
    refused(folder, "no camera has a range")
