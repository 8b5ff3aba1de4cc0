import shutil

import numpy as np
import pytest

from nfbench.harness import inspection
from nfbench.harness.camera import Cameras, look_at, project
from nfbench.harness.dataset import opened
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import srn, srnfile

F, SIDE, RADIUS = 40.0, 32, 2.0
BALLS = np.array([[0.0, 0, 0, 0.35], [0.4, 0.1, 0, 0.15], [0, -0.3, 0.35, 0.2]])


def picture(c2w):
    """A few balls on white, drawn ray by ray."""
    y, x = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    local = np.stack([(x - SIDE / 2) / F, (y - SIDE / 2) / F, np.ones_like(x)], axis=-1)
    rays = (local / np.linalg.norm(local, axis=-1, keepdims=True)) @ c2w[:, :3].T
    image = np.full((SIDE, SIDE, 3), 255, np.uint8)
    for shade, (*centre, radius) in enumerate(BALLS):
        to = np.array(centre) - c2w[:, 3]
        apart = np.linalg.norm(np.cross(rays, to), axis=-1)
        image[(apart < radius) & (rays @ to > 0)] = (255, 60 * shade, 0)
    return image


def poses(n):
    angles = np.linspace(0, 2 * np.pi, n, endpoint=False)
    up = 0.3 + 0.5 * np.cos(3 * angles)
    eyes = np.stack([np.cos(angles), np.sin(angles), up], axis=1)
    return [look_at(RADIUS * eye / np.linalg.norm(eye), [0, 0, 0]).astype(np.float64) for eye in eyes]


def make(folder, n=9, opengl=False, draw=picture):
    """A scene made without the module under test, but for the PNGs."""
    (folder / "pose").mkdir(parents=True)
    for i, pose in enumerate(poses(n)):
        write_png(folder / "rgb" / f"{i:06d}.png", draw(pose))
        stored = np.eye(4)
        stored[:3] = pose * ([1, -1, -1, 1] if opengl else 1)
        (folder / "pose" / f"{i:06d}.txt").write_text(" ".join(map(str, stored.ravel())))
    (folder / "intrinsics.txt").write_text(f"{F} {SIDE / 2} {SIDE / 2} 0.\n0. 0. 0.\n1.\n{SIDE} {SIDE}\n")
    return folder


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "my car")


def refused(folder, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        srn.read(folder)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message
    return caught.value


# --- what is read


def test_reads_views_cameras_and_bounds(folder):
    scene = srn.read(folder)
    assert scene.name == "my car"
    assert scene.given.kinds() == srn.given
    assert scene.hidden.names == ("000000", "000008")
    assert scene.given.views.names == tuple(f"{i:06d}" for i in range(1, 8))
    views = srn._views(folder, None)[0]
    np.testing.assert_allclose(views.cameras.c2w, poses(9), atol=1e-6)
    np.testing.assert_array_equal(views.cameras.K, np.tile([[F, 0, 16], [0, F, 16], [0, 0, 1]], (9, 1, 1)))
    assert views.cameras.size.tolist() == [[SIDE, SIDE]] * 9
    reach = RADIUS * np.sin(np.arctan(16 / F))
    np.testing.assert_allclose(scene.box, [[-reach] * 3, [reach] * 3], rtol=1e-6)
    np.testing.assert_allclose(views.cameras.near_far, [[RADIUS - reach, RADIUS + reach]] * 9, rtol=1e-5)
    np.testing.assert_array_equal(views.image(3), picture(poses(9)[3]))
    assert list(srn.splits(folder)) == ["train", "test"]
    assert [len(v) for v in srn.splits(folder).values()] == [7, 2]


def test_bounds_hold_those_of_pixelnerf():
    """Official cars: f 131.25 at 128 pixels from 1.3, near and far 0.8 and 1.8; chairs from 2.0, 1.25 and 2.75."""
    for distance, near, far in ((1.3, 0.8, 1.8), (2.0, 1.25, 2.75)):
        reach = distance * np.sin(np.arctan(64 / 131.25))
        assert distance - reach < near < far < distance + reach
        assert distance - reach > 0.85 * near


def test_opening_decodes_no_image_where_the_convention_is_said(folder, monkeypatch):
    monkeypatch.setattr(srn, "read_png", None)
    assert len(srn.read(folder, convention="opencv").hidden) == 2
    (folder / "convention.txt").write_text("OpenCV\r\n")
    assert len(srn.read(folder).hidden) == 2
    with pytest.raises(TypeError):
        srn.read(folder).hidden.image(0)


# --- the convention of poses


def test_both_conventions_are_told_by_the_silhouettes(tmp_path):
    one, two = make(tmp_path / "cv"), make(tmp_path / "gl", opengl=True)
    with pytest.warns(UserWarning, match="gl: OpenGL poses"):
        turned = srn.read(two)
    for a, b in ((srn.read(one).given, turned.given), (srn.read(one), turned)):
        left, right = (getattr(x, "views", None) or x.hidden for x in (a, b))
        np.testing.assert_array_equal(left.cameras.c2w, right.cameras.c2w)
    for folder, found, share in ((one, "opencv", "opencv"), (two, "opengl", "opengl")):
        evidence = srn.evidence(folder)
        assert evidence.convention == found
        assert getattr(evidence, share) > 0.95
        assert min(evidence.opencv, evidence.opengl) < 0.2
    assert "cv: OpenCV poses; silhouettes agree to 100% as OpenCV, 0% as OpenGL" in srn.notes(one)[0]
    assert "gl: OpenGL poses; silhouettes agree to 0% as OpenCV, 100% as OpenGL" in srn.notes(two)[0]


def test_the_original_convention_does_not_warn(folder, recwarn):
    srn.read(folder)
    assert not recwarn.list


@pytest.mark.parametrize("colour", [(255, 255, 255), (9, 9, 9)])
def test_images_without_silhouettes_are_no_evidence(tmp_path, colour):
    folder = make(tmp_path / "flat", draw=lambda pose: np.full((SIDE, SIDE, 3), colour, np.uint8))
    error = refused(folder, "flat", "convention", "unclear", "0% as OpenCV", "0% as OpenGL", error=NfbenchError)
    assert "convention='opencv'" in error.hint and "convention.txt" in error.hint
    assert srn.evidence(folder).convention is None
    assert "unclear" in srn.notes(folder)[0]
    assert len(srn.read(folder, convention="opengl").hidden) == 2
    (folder / "convention.txt").write_text("opengl")
    np.testing.assert_allclose(
        srn.read(folder).hidden.cameras.c2w[:, :, 1], -np.array(poses(9))[[0, 8], :, 1], atol=1e-6
    )
    assert srn.notes(folder) == ["flat: OpenGL poses, by its convention.txt"]


def test_one_view_is_no_evidence(tmp_path):
    refused(make(tmp_path / "one", n=1), "unclear", error=NfbenchError)


def test_parallel_cameras_are_no_evidence(tmp_path):
    """Cameras side by side see the same disparities in both conventions."""
    folder = make(tmp_path / "row", n=3)
    for i in range(3):
        pose = np.eye(4)
        pose[:3, 3] = ((i - 1) * 0.2, 0, -2)
        image = np.full((SIDE, SIDE, 3), 255, np.uint8)
        image[10:20, 12 - 3 * i + 3 : 18 - 3 * i + 3] = 0
        write_png(folder / "rgb" / f"{i:06d}.png", image)
        (folder / "pose" / f"{i:06d}.txt").write_text(" ".join(map(str, pose.ravel())))
    refused(folder, "unclear", error=NfbenchError)


def test_silhouettes_are_alpha_where_there_is_any(tmp_path):
    def cut_out(pose):
        image = picture(pose)
        alpha = np.where((image != 255).any(2), 255, 0).astype(np.uint8)
        return np.dstack([np.where(alpha[..., None] > 0, image, 0), alpha]).astype(np.uint8)

    assert srn.evidence(make(tmp_path / "alpha", draw=cut_out)).convention == "opencv"


def test_pure_colours_are_foreground():
    """pixelNeRF's mask asks for all channels below 255, and loses pure red."""
    image = np.full((2, 3, 3), 255, np.uint8)
    image[0, 1] = (255, 0, 0)
    assert srn._foreground(image).tolist() == [[False, True, False], [False, False, False]]
    rgba = np.dstack([image, np.uint8([[255, 127, 128], [0, 255, 255]])])
    assert srn._foreground(rgba).tolist() == [[True, False, True], [False, True, True]]
    rgba[:, :, 3] = 128
    assert srn._foreground(rgba).sum() == 1


def test_unknown_conventions_are_refused(folder):
    with pytest.raises(NfbenchError, match="no convention 'blender'"):
        srn.read(folder, convention="blender")
    (folder / "convention.txt").write_text("colmap")
    refused(folder, "convention.txt", "colmap")


# --- what is given


def test_views_of_the_datasets_own_splits(tmp_path, monkeypatch):
    monkeypatch.setattr(srn, "TEST_VIEWS", 7)
    monkeypatch.setattr(srn, "SOURCE", 5)
    counts = {}
    for split, n in (("cars_train", 4), ("cars_test", 9), ("chairs_val", 3), ("loose", 7), ("cars_other", 9)):
        scene = srn.read(make(tmp_path / split / "id", n=n), convention="opencv")
        counts[split] = (scene.given.views.names, len(scene.hidden or ()))
    every = tuple(f"{i:06d}" for i in range(9))
    assert counts["cars_train"] == (every[:4], 0)
    assert counts["cars_test"] == (("000005",), 9)
    assert counts["chairs_val"] == (("000000",), 3)
    assert counts["loose"] == (("000005",), 7)
    assert counts["cars_other"] == (every[1:8], 2)
    assert list(srn.splits(tmp_path / "cars_train" / "id", "opencv")) == ["train"]
    scene = srn.read(tmp_path / "cars_train" / "id", "opencv", source=3)
    assert scene.given.views.names == ("000003",)
    assert len(scene.hidden) == 4
    for wrong in (-1, 4):
        with pytest.raises(DataMissing, match=f"no view {wrong}: it has 4"):
            srn.read(tmp_path / "cars_train" / "id", "opencv", source=wrong)


def test_the_given_view_is_measured_too(tmp_path):
    """SRN takes one mean over all test views; view 64 of 251 is the one that is given."""
    assert (srn.TEST_VIEWS, srn.SOURCE) == (251, 64)


def test_scenes_of_a_dataset(tmp_path):
    for place in ("cars_train/b", "cars_train/a", "cars_val/v", "cars_test/t", "chairs_train/chairs_2.0_train/c"):
        make(tmp_path / place, n=1)
    (tmp_path / "cars_test" / "notes.txt").write_text("x")

    def found(path, ask=srn.scenes):
        return [p.relative_to(tmp_path).as_posix() for p in ask(path)]

    assert found(tmp_path) == ["cars_test/t"]
    assert found(tmp_path / "cars_train") == ["cars_train/a", "cars_train/b"]
    assert found(tmp_path / "cars_train" / "a") == ["cars_train/a"]
    assert found(tmp_path / "chairs_train") == ["chairs_train/chairs_2.0_train/c"]
    assert found(tmp_path, srn.training) == ["cars_train/a", "cars_train/b", "chairs_train/chairs_2.0_train/c"]
    assert found(tmp_path / "cars_train", srn.training) == []
    assert srn._category(tmp_path / "chairs_train/chairs_2.0_train/c") == "chairs_train"
    shutil.rmtree(tmp_path / "cars_test")
    assert found(tmp_path) == ["cars_val/v"]
    shutil.rmtree(tmp_path / "cars_val")
    assert found(tmp_path) == ["cars_train/a", "cars_train/b", "chairs_train/chairs_2.0_train/c"]
    assert srn.scenes(tmp_path / "nothing") == []
    assert srn.scenes(tmp_path / "cars_train" / "a" / "intrinsics.txt") == []


def test_detection_leaves_nsvf_alone(folder):
    assert srn.detect(folder)
    (folder / "bbox.txt").write_text("0 0 0 1 1 1 0.1")
    assert not srn.detect(folder)
    (folder / "bbox.txt").unlink()
    (folder / "intrinsics.txt").unlink()
    assert not srn.detect(folder)


@pytest.mark.parametrize("missing", ["rgb", "pose"])
def test_detection_needs_both_folders(folder, missing):
    shutil.rmtree(folder / missing)
    assert not srn.detect(folder)


# --- intrinsics and poses as text


def test_poses_on_one_line_or_four_and_windows_line_ends(folder):
    whole = srn.read(folder).hidden.cameras.c2w
    for file in (folder / "pose").iterdir():
        words = file.read_text().split()
        rows = [" ".join(words[i : i + 4]) for i in range(0, 16, 4)]
        file.write_bytes(("\ufeff" + "\r\n".join(rows) + "\r\n\r\n").encode())
    path = folder / "intrinsics.txt"
    path.write_bytes(path.read_text().replace("\n", "\r\n\r\n").encode())
    np.testing.assert_array_equal(srn.read(folder).hidden.cameras.c2w, whole)


def test_world_to_camera_poses(folder):
    whole = srn.read(folder).hidden.cameras.c2w
    path = folder / "intrinsics.txt"
    path.write_text(path.read_text() + "0\n")
    np.testing.assert_array_equal(srn.read(folder).hidden.cameras.c2w, whole)
    path.write_text(path.read_text().replace(f"{SIDE}\n0", f"{SIDE}\n1"))
    for file in (folder / "pose").iterdir():
        pose = np.linalg.inv(np.array(file.read_text().split(), float).reshape(4, 4))
        file.write_text(" ".join(map(str, pose.ravel())))
    np.testing.assert_allclose(srn.read(folder).hidden.cameras.c2w, whole, atol=1e-6)


def test_height_comes_before_width(tmp_path):
    folder = tmp_path / "wide"
    (folder / "pose").mkdir(parents=True)
    write_png(folder / "rgb" / "0.png", np.zeros((3, 5, 3), np.uint8))
    (folder / "pose" / "0.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 -2 -0.0 0 -0.0 1")
    (folder / "intrinsics.txt").write_text("4 2.5 1.5\n0 0 0\n1\n3 5")
    scene = srn.read(folder, "opencv")
    assert scene.given.views.cameras.size.tolist() == [[5, 3]]
    assert scene.given.views.cameras.K[0].tolist() == [[4, 0, 2.5], [0, 4, 1.5], [0, 0, 1]]
    np.testing.assert_allclose(scene.box[1], 2 * np.sin(np.arctan(3 / 8)), rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["lines of"]),
        ("40 16 16 0\n0 0 0\n1\n", ["lines of 4 3 1"]),
        ("40 16 16 0\n0 0 0\n1\n32 32 32\n", ["lines of"]),
        ("40 16\n0 0 0\n1\n32 32\n", ["lines of 2 3 1 2"]),
        ("40 16 16 0\n0 0 0\n1\n32 32\n1\n1\n", ["lines of"]),
        ("40 16 16 0\n0 0 0\n1\n32 32\n2\n", ["fifth line"]),
        ("40 16 16 0\n0 0 0\n1\n32 32\n0 1\n", ["fifth line"]),
        ("40 16 x 0\n0 0 0\n1\n32 32\n", ["line 1", "40 16 x 0"]),
        ("nan 16 16 0\n0 0 0\n1\n32 32\n", ["line 1", "NaN"]),
        ("40 16 16 0\n0 0 1e39\n1\n32 32\n", ["line 2"]),
        ("0 16 16 0\n0 0 0\n1\n32 32\n", ["focal length 0"]),
        ("-4 16 16 0\n0 0 0\n1\n32 32\n", ["focal length -4"]),
        ("40 16 16 0\n0 0 0\n1\n32.5 32\n", ["height 32.5"]),
        ("40 16 16 0\n0 0 0\n1\n32 0\n", ["width 0"]),
        ("40 16 16 0\n0 0 0\n1\n64 64\n", ["000000.png", "32x32"]),
    ],
)
def test_bad_intrinsics(folder, text, words):
    (folder / "intrinsics.txt").write_text(text)
    refused(folder, *(words if ".png" in words[0] else ["intrinsics.txt", *words]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: "", ["0 numbers"]),
        (lambda t: t[: len(t) // 2], ["numbers"]),
        (lambda t: t + " 1", ["17 numbers"]),
        (lambda t: t.replace(t.split()[0], "nan", 1), ["line 1", "NaN"]),
        (lambda t: "1 0 0 0 0 1 0 0 0 0 1 0 0 0 1 1", ["last row", "transposed"]),
        (lambda t: "1 0 0 0 0 1 0 0 0 0 0 0 0 0 0 1", ["not a rotation"]),
        (lambda t: "1 0 0 0 0 1 0 0 0 0 -1 0 0 0 0 1", ["mirrors"]),
        (lambda t: "\x00\x01", ["line 1"]),
    ],
)
def test_bad_poses(folder, change, words):
    path = folder / "pose" / "000003.txt"
    path.write_text(change(path.read_text()))
    error = refused(folder, "000003.txt")
    for word in words:
        assert word in str(error)


def test_binary_and_missing_files(folder):
    path = folder / "pose" / "000003.txt"
    path.write_bytes(b"\xff\xfe1")
    refused(folder, "000003.txt", "UTF-8")
    path.unlink()
    refused(folder, "pose lacks 000003 (1 in all)", error=DataMissing)
    shutil.copy(folder / "pose" / "000002.txt", path)
    (folder / "rgb" / "000001.png").unlink()
    refused(folder, "rgb lacks 000001 (1 in all)", error=DataMissing)
    shutil.rmtree(folder / "rgb")
    refused(folder, "no folder", "rgb", error=DataMissing)
    (folder / "intrinsics.txt").unlink()
    refused(folder, "intrinsics.txt", error=DataMissing)


def test_images_that_are_not_what_they_should_be(folder):
    path = folder / "rgb" / "000004.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    refused(folder, "000004.png")
    write_png(path, np.zeros((SIDE, SIDE + 1, 3), np.uint8))
    refused(folder, "000004.png", "33x32")
    path.unlink()
    path.symlink_to(folder.parent / "elsewhere.png")
    (folder.parent / "elsewhere.png").write_bytes(whole)
    refused(folder, "000004.png", "outside")


def test_cameras_at_the_origin(folder):
    for file in (folder / "pose").iterdir():
        file.write_text("1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1")
    with pytest.raises(DataCorrupt, match="at the origin"):
        srn.read(folder, convention="opencv")


# --- what is written


def random_views(n=4, size=(6, 4), seed=0, names=None):
    rng = np.random.default_rng(seed)
    c2w = np.stack([look_at(rng.normal(size=3) + [3, 0, 0], rng.normal(size=3)) for _ in range(n)])
    K = np.tile(np.float32([[7.3, 0, 3.1], [0, 7.3, 1.9], [0, 0, 1]]), (n, 1, 1))
    images = rng.integers(0, 256, (n, size[1], size[0], 4), dtype=np.uint8)
    return Views(
        Cameras(c2w, K, np.tile(np.int32(size), (n, 1))),
        names or tuple(f"v {i}" for i in range(n)),
        lambda i: images[i],
    )


def test_written_scenes_are_read_back_exactly(tmp_path):
    views = random_views(names=("b ☃", "a", "d", "c"))
    srn.write(tmp_path / "s", {"train": views.subset([0, 1]), "test": views.subset([1, 2, 3])})
    back = srn._views(tmp_path / "s", None)[0]
    order = [1, 0, 3, 2]
    assert back.names == ("a", "b ☃", "c", "d")
    np.testing.assert_array_equal(back.cameras.c2w, views.cameras.c2w[order])
    np.testing.assert_array_equal(back.cameras.K, views.cameras.K)
    np.testing.assert_array_equal(back.cameras.size, views.cameras.size)
    for i, j in enumerate(order):
        np.testing.assert_array_equal(back.image(i), views.image(j))
    assert len((tmp_path / "s" / "pose" / "a.txt").read_text().splitlines()) == 4  # SRN's own reader asks for four
    with pytest.raises(NfbenchError, match="already"):
        srn.write(tmp_path / "s", {"train": views})


def test_what_cannot_be_written(tmp_path):
    views = random_views()
    for at, value in (((0, 0, 1), 0.5), ((1, 1, 1), 7.0), ((2, 0, 0), 8.0), ((0, 2, 2), 2.0)):
        K = views.cameras.K.copy()
        K[at] = value
        with pytest.raises(Unsupported, match="one focal length"):
            srn.write(
                tmp_path / "s",
                {"train": Views(Cameras(views.cameras.c2w, K, views.cameras.size), views.names, views.load)},
            )
    for at in range(4):
        size = views.cameras.size.copy()
        size[at] += 1
        wrong = Views(Cameras(views.cameras.c2w, views.cameras.K, size), views.names, views.load)
        with pytest.raises(Unsupported, match="one focal length"):
            srn.write(tmp_path / "s", {"train": wrong})
    for f in (-7.3, 0.5):
        K = views.cameras.K.copy()
        K[:, 0, 0] = K[:, 1, 1] = f
        changed = {"train": Views(Cameras(views.cameras.c2w, K, views.cameras.size), views.names, views.load)}
        if f > 0:
            srn.write(tmp_path / "short", changed)
            assert srn._views(tmp_path / "short", None)[0].cameras.K[0, 0, 0] == 0.5
        else:
            with pytest.raises(Unsupported, match="one focal length"):
                srn.write(tmp_path / "s", changed)
    for name in ("", "..", "a/b", "a\\b", ".hidden"):
        with pytest.raises(ContractBroken, match="name of an image"):
            srn.write(tmp_path / "s", {"train": random_views(1, names=(name,))})
    with pytest.raises(ContractBroken, match="no views"):
        srn.write(tmp_path / "s", {})
    other = random_views(seed=1)
    with pytest.raises(ContractBroken, match="different cameras"):
        srn.write(tmp_path / "s", {"train": views, "test": other})
    assert not (tmp_path / "s").exists()


# --- damage


def damaged(rng, data):
    kind = rng.integers(5)
    at = int(rng.integers(len(data) + 1))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + bytes(rng.integers(0, 256, int(rng.integers(1, 20)), dtype=np.uint8)) + data[at:]
    if kind == 2:
        return data[:at] + data[at + int(rng.integers(1, 20)) :]
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 8))):
        changed[int(rng.integers(len(data)))] = int(
            rng.choice(list(b"0123456789.-e \n\x00\xffn")) if kind == 3 else rng.integers(256)
        )
    return bytes(changed)


def fuzz(folder, rounds, seed=0):
    """How many of the damaged scenes were refused; anything but an NfbenchError comes out."""
    rng = np.random.default_rng(seed)
    files = [folder / "intrinsics.txt", folder / "pose" / "000001.txt", folder / "rgb" / "000002.png"]
    refusals = 0
    for _ in range(rounds):
        file = files[int(rng.integers(len(files)))]
        whole = file.read_bytes()
        file.write_bytes(damaged(rng, whole))
        try:
            srn.read(folder, "opencv").hidden.image(0)
        except NfbenchError as error:
            assert error.hint
            refusals += 1
        finally:
            file.write_bytes(whole)
    return refusals


def test_damaged_files_are_refused_in_words(tmp_path):
    folder = make(tmp_path / "s", n=3)
    assert fuzz(folder, 200) > 100
    assert len(srn.read(folder, "opencv").hidden) == 1


# --- real samples


def test_the_real_cars(real_data):
    for name in ("minicooper", "peugot"):
        folder = real_data / "srn_format_cars" / "opencv_pose" / name
        evidence = srn.evidence(folder)
        assert evidence.convention == "opencv"
        assert evidence.opencv > 0.99
        assert evidence.opengl < 0.05
        views = srn._views(folder, None)[0]
        assert len(views) == 4
        assert views.cameras.size.tolist() == [[256, 256]] * 4
        assert views.cameras.K[0, 0, 0] == 472
    assert len(srn.scenes(real_data / "srn_format_cars" / "opencv_pose")) == 2


def test_the_real_car_with_opengl_poses(real_data):
    (folder,) = srn.scenes(real_data / "srn_format_cars" / "opengl_pose")
    evidence = srn.evidence(folder)
    assert evidence.convention == "opengl"
    assert evidence.opengl > 0.99
    assert evidence.opencv < 0.05
    with pytest.warns(UserWarning, match="OpenGL"):
        views = srn._views(folder, None)[0]
    assert len(views) == 50
    np.testing.assert_allclose(np.linalg.norm(views.cameras.centres, axis=1), 10, rtol=1e-4)
    for i in range(0, 50, 7):  # the visual hull is car-shaped: the origin lies in all silhouettes
        xy, depth = project(views.cameras, i, np.zeros((1, 3)))
        assert depth > 0
        assert srn._foreground(views.image(i))[int(xy[0, 1]), int(xy[0, 0])]


def counted(whole, what, looks):
    def call(*arguments):
        looks[what] += 1
        return whole(*arguments)

    return call


@pytest.mark.parametrize("said", [True, False])
def test_one_look_at_the_files_opens_a_scene_with_all_that_is_known_of_it(tmp_path, monkeypatch, said):
    folder = tmp_path / "a"
    make(folder)
    if said:
        (folder / "convention.txt").write_text("opencv")
    wanted = srn.read(folder), srn.splits(folder), srn.notes(folder)
    looks = {"read_poses": 0, "agreement": 0}
    for what in looks:
        monkeypatch.setattr(srn, what, counted(getattr(srn, what), what, looks))
    found = opened(folder, srn)
    assert looks == {"read_poses": 1, "agreement": 0 if said else 2}  # one for each convention
    assert found[2] == wanted[2]
    assert {name: views.names for name, views in found[1].items()} == {
        name: views.names for name, views in wanted[1].items()
    }
    assert found[0].hidden.names == wanted[0].hidden.names
    np.testing.assert_array_equal(found[1]["train"].cameras.c2w, wanted[0].given.views.cameras.c2w)
    again = inspection.inspect(folder, "srn")
    assert again["scenes"][0]["notes"] == wanted[2]
    assert looks == {"read_poses": 2, "agreement": 0 if said else 4}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1 2 3", "3 numbers"),
        ("nan " * 16, "NaN"),
        ("1e39 " + "0 " * 15, "line 1 holds"),
        ("1 0 0 0 0 1 0 0 0 0 1 0 0 0 1 1", "last row"),
        ("x " * 16, "not of numbers"),
        (b"\xff", "UTF-8"),
        (None, "no .*b.txt"),
    ],
)
def test_poses_read_together_are_refused_as_one_is(tmp_path, text, word):
    paths = [tmp_path / f"{name}.txt" for name in "ab"]
    sound = "1 0 0 0.5\r\n0 1 0 2\n\n0 0 1 3 0 0 0 1\n"
    paths[0].write_text(sound)
    paths[1].write_text("\ufeff" + sound, encoding="utf-8")
    np.testing.assert_array_equal(srnfile.read_poses(paths), np.stack([srnfile.read_pose(path) for path in paths]))
    paths[1].unlink()
    if text is not None:
        paths[1].write_bytes(text if isinstance(text, bytes) else text.encode())
    for read in (lambda: srnfile.read_pose(paths[1]), lambda: srnfile.read_poses(paths)):
        with pytest.raises(NfbenchError, match=word) as caught:
            read()
        assert "b.txt" in caught.value.message
