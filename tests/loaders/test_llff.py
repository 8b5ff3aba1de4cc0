import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest

from nfbench.harness.camera import Cameras, look_at, project
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import colmap, llff

W, H = 64, 48
COUNT = 10


def image_of(index, size=(W, H)):
    return np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def stored_rows(count=COUNT, focal=60.0, spread=0.5):
    """Cameras in a row that look along +z, as LLFF stores them: down, right, backwards, centre, hwf."""
    rows = []
    for i in range(count):
        x = (i - count / 2) * spread
        pose = look_at([x, 0, 0], [0, 0, 10], up=(0, -1, 0)).astype(np.float64)
        matrix = np.stack([pose[:, 1], pose[:, 0], -pose[:, 2], pose[:, 3], [H, W, focal]], axis=1)
        rows.append([*matrix.reshape(-1), 2.0 + i, 20.0 + i])
    return np.array(rows)


@pytest.fixture
def folder(tmp_path):
    scene = tmp_path / "my fern"
    for i in range(COUNT):
        write_png(scene / "images" / f"IMG {i:02}é.png", image_of(i))
    np.save(scene / "poses_bounds.npy", stored_rows())
    return scene


def edit(folder, change):
    rows = stored_rows()
    changed = change(rows)
    np.save(folder / "poses_bounds.npy", rows if changed is None else changed)


def refused(folder, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        llff.read(folder)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message
    return caught.value


# --- what is read


def test_every_eighth_image_by_name_is_hidden(folder):
    scene = llff.read(folder)
    assert scene.name == "my fern"
    assert scene.given.kinds() == llff.given == ("views",)
    assert scene.hidden.names == ("IMG 00é", "IMG 08é")
    assert scene.given.views.names == tuple(f"IMG {i:02}é" for i in (1, 2, 3, 4, 5, 6, 7, 9))
    np.testing.assert_array_equal(scene.hidden.image(1), image_of(8))
    np.testing.assert_array_equal(scene.given.views.image(7), image_of(9))
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert list(llff.splits(folder)) == ["train", "test"]


def test_axes_focal_length_and_centre(folder):
    cameras = llff.read(folder).hidden.cameras
    np.testing.assert_array_equal(cameras.K[0], [[60, 0, 32], [0, 60, 24], [0, 0, 1]])
    assert cameras.size.tolist() == [[W, H]] * 2
    np.testing.assert_allclose(cameras.centres, [[-2.5, 0, 0], [1.5, 0, 0]], atol=1e-6)
    image, depth = project(cameras, 1, np.array([[0, 0, 10], [0.1, 0, 10], [0, 0.1, 10]]))
    np.testing.assert_allclose(image[0], [32, 24], atol=1e-4)
    assert depth[0] > 0
    assert image[1, 0] > 32
    assert image[2, 1] > 24


def test_near_and_far_hold_the_depths_in_every_pixel(folder):
    """LLFF's bounds are depths along the axis; the ray to a corner is longer."""
    near_far = llff.read(folder).hidden.cameras.near_far
    longer = np.sqrt(1 + (32 / 60) ** 2 + (24 / 60) ** 2)
    np.testing.assert_allclose(near_far, [[2, 20 * longer], [10, 28 * longer]], rtol=1e-6)


def test_the_box_holds_the_frusta_and_no_more(folder):
    scene = llff.read(folder)
    farthest = 29 / np.sqrt(1 + 0.2**2)
    assert scene.box[0, 2] > 0
    assert farthest < scene.box[1, 2] < 29 * 1.3
    assert scene.box[0, 0] < -29 * 32 / 60 * 0.9


def test_opening_decodes_nothing(folder, monkeypatch):
    monkeypatch.setattr(llff.photographs, "read_image", None)
    llff.read(folder)


def test_the_copy_four_times_smaller_is_preferred(folder):
    for factor, size in ((8, (8, 6)), (2, (32, 24)), (4, (16, 12))):
        for i in range(COUNT):
            write_png(folder / f"images_{factor}" / f"image{i:03}.png", image_of(i, size))
    cameras = llff.read(folder).hidden.cameras
    assert cameras.size[0].tolist() == [16, 12]
    np.testing.assert_allclose(cameras.K[0], [[15, 0, 8], [0, 15, 6], [0, 0, 1]])
    assert llff.read(folder).hidden.names == ("image000", "image008")
    assert llff.read(folder, factor=2).hidden.cameras.size[0].tolist() == [32, 24]
    assert llff.splits(folder, factor=1)["test"].cameras.size[0].tolist() == [W, H]
    shutil.rmtree(folder / "images_4")
    assert llff.read(folder).hidden.cameras.size[0].tolist() == [8, 6]
    shutil.rmtree(folder / "images_8")
    assert llff.read(folder).hidden.cameras.size[0].tolist() == [32, 24]
    with pytest.raises(DataMissing, match="has no images_4"):
        llff.read(folder, factor=4)


def test_a_copy_whose_sides_were_rounded_has_a_focal_length_for_each_axis(folder):
    for i in range(COUNT):
        write_png(folder / "images_5" / f"{i}.png", image_of(i, (13, 10)))
    K = llff.read(folder, factor=5).hidden.cameras.K[0]
    np.testing.assert_allclose(K, [[60 * 13 / 64, 0, 6.5], [0, 60 * 10 / 48, 5], [0, 0, 1]], rtol=1e-6)


# --- which format


def test_detection_is_by_files_alone(folder, tmp_path):
    assert llff.detect(folder)
    assert not llff.detect(tmp_path)
    assert not llff.detect(folder / "nothing")
    assert not llff.detect(folder / "poses_bounds.npy")
    (folder / "images").rename(folder / "image")  # NeuS's DTU carries a poses_bounds.npy too
    assert not llff.detect(folder)
    (folder / "image").rename(folder / "images_8")
    assert llff.detect(folder)


@pytest.mark.parametrize("name", ["transforms.json", "transforms_train.json", "transforms_test.json"])
def test_a_folder_with_transforms_is_not_llff(folder, name):
    (folder / name).write_text("{}")
    assert not llff.detect(folder)


def test_beside_a_model_of_colmap_the_views_decide(folder):
    """Forward-facing scenes are LLFF's, those around something are COLMAP's; never both, never none."""
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    for name in ("cameras", "images", "points3D"):
        (model / f"{name}.txt").write_text("")
    assert llff.detect(folder)
    assert not colmap.detect(folder)
    around = stored_rows()
    for i in range(COUNT):
        angle = 2 * np.pi * i / COUNT
        pose = look_at([np.cos(angle), np.sin(angle), 0.5], [0, 0, 0])
        around[i, :15].reshape(3, 5)[:, :4] = np.stack([pose[:, 1], pose[:, 0], -pose[:, 2], pose[:, 3]], axis=1)
    np.save(folder / "poses_bounds.npy", around)
    assert not llff.detect(folder)
    assert colmap.detect(folder)
    shutil.rmtree(folder / "sparse")
    assert llff.detect(folder)  # nothing else is there to read
    (folder / "poses_bounds.npy").write_bytes(b"damaged")
    model.mkdir(parents=True)
    assert llff.detect(folder)  # and says what is wrong


# --- bad input


def test_a_folder_without_poses_or_images_is_refused(folder):
    shutil.move(folder / "images", folder / "photos")
    refused(folder, "no folder images", error=DataMissing)
    (folder / "poses_bounds.npy").unlink()
    refused(folder, "poses_bounds.npy", error=DataMissing)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda rows: rows[:9], ["9 images", "10 images"]),
        (lambda rows: rows[:, :16], ["float64 (10, 16)"]),
        (lambda rows: rows.reshape(-1), ["float64 (170,)"]),
        (lambda rows: rows[:0], ["no rows"]),
        (lambda rows: rows.astype(np.int64), ["int64"]),
        (lambda rows: rows.astype(complex), ["complex"]),
        (lambda rows: rows.__setitem__((3, 2), np.nan), ["row 3", "NaN"]),
        (lambda rows: rows.__setitem__((4, 3), np.inf), ["row 4"]),
        (lambda rows: rows.__setitem__((4, 3), 1e31), ["row 4", "out of range"]),
        (lambda rows: rows.__setitem__((5, slice(0, 15, 5)), 0), ["row 5 (IMG 05é.png)", "determinant 0"]),
        (lambda rows: rows.__setitem__((5, 0), 7), ["row 5", "not a rotation"]),
        (lambda rows: rows.__setitem__((6, slice(0, 15, 5)), -rows[6, 0:15:5]), ["row 6", "mirrors"]),
        (lambda rows: rows.__setitem__((2, 14), 0), ["row 2", "focal length of 0"]),
        (lambda rows: rows.__setitem__((2, 4), 0), ["row 2", "height and width of 0 and 64"]),
        (lambda rows: rows.__setitem__((2, 15), 22), ["row 2", "depths of 22 and 22"]),
        (lambda rows: rows.__setitem__((2, 15), 0), ["row 2", "depths of 0 and 22"]),
        (lambda rows: rows.__setitem__((1, 4), 47), ["IMG 01é.png", "64x48", "64x47"]),
    ],
)
def test_wrong_rows_are_named(folder, change, words):
    edit(folder, change)
    refused(folder, "my fern", *words)


def test_a_copy_of_another_size_is_named(folder):
    for i in range(COUNT):
        write_png(folder / "images_4" / f"{i}.png", image_of(i, (16, 12) if i != 3 else (18, 12)))
    refused(folder, "images_4/3.png: 18x12", "64x48, divided by 4")
    write_png(folder / "images_4" / "3.png", image_of(3, (17, 12)))
    llff.read(folder)


def test_objects_are_not_unpickled(folder):
    np.save(folder / "poses_bounds.npy", np.array([{}], object), allow_pickle=True)
    refused(folder, "cannot be read as NPY")
    with (folder / "poses_bounds.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    refused(folder, "several arrays")


def test_a_header_that_declares_more_than_is_there_takes_no_memory(folder):
    data = bytearray((folder / "poses_bounds.npy").read_bytes())
    at = data.index(b"(10, 17)")
    data[at : at + 20] = b"(99999999999, 17), }"
    (folder / "poses_bounds.npy").write_bytes(bytes(data))
    refused(folder, "poses_bounds.npy")


def test_a_link_out_of_the_scene_is_refused(folder, tmp_path):
    write_png(tmp_path / "else.png", image_of(0))
    (folder / "images" / "IMG 03é.png").unlink()
    (folder / "images" / "IMG 03é.png").symlink_to(tmp_path / "else.png")
    refused(folder, "IMG 03é.png", "outside")


def test_a_folder_that_links_out_of_the_scene_is_refused(folder, tmp_path):
    (folder / "images").rename(tmp_path / "elsewhere")
    (folder / "images").symlink_to(tmp_path / "elsewhere")
    refused(folder, "outside")


def test_one_view_is_too_few(folder):
    for file in sorted((folder / "images").iterdir())[1:]:
        file.unlink()
    edit(folder, lambda rows: rows[:1])
    refused(folder, "1 views", "none is left to train")


def test_only_its_own_errors_come_out_of_damaged_files(folder):
    rng = np.random.default_rng(0)
    sound = (folder / "poses_bounds.npy").read_bytes()
    picture = (folder / "images" / "IMG 00é.png").read_bytes()
    for _ in range(200):
        for path, data in ((folder / "poses_bounds.npy", sound), (folder / "images" / "IMG 00é.png", picture)):
            path.write_bytes(damaged(data, rng))
        try:
            with warnings.catch_warnings(action="ignore"):
                llff.read(folder)
        except NfbenchError:
            pass
        llff.detect(folder)


def damaged(data, rng):
    """The data with a few bytes changed, the first ones more often, or cut short."""
    changed = bytearray(data)
    for _ in range(rng.integers(0, 4)):
        changed[int(rng.integers(len(data)) * rng.random() ** 2)] = rng.integers(256)
    return bytes(changed[: rng.integers(len(data))] if rng.random() < 0.2 else changed)


# --- what is written


def test_what_is_written_is_read_again_to_the_last_bit(folder, tmp_path):
    splits = llff.splits(folder)
    llff.write(tmp_path / "copy", splits)
    again = llff.splits(tmp_path / "copy")
    for split, views in splits.items():
        assert again[split].names == views.names
        for field in ("c2w", "K", "size", "near_far"):
            np.testing.assert_array_equal(getattr(again[split].cameras, field), getattr(views.cameras, field))
        for i in range(len(views)):
            np.testing.assert_array_equal(again[split].image(i), views.image(i))
    assert np.load(tmp_path / "copy" / "poses_bounds.npy").shape == (COUNT, 17)
    with pytest.raises(NfbenchError, match="holds something"):
        llff.write(tmp_path / "copy", splits)


def changed_views(views, names=None, **fields):
    c = views.cameras
    parts = {"c2w": c.c2w, "K": c.K, "size": c.size, "near_far": c.near_far} | fields
    return Views(Cameras(**parts), names or views.names, views.load)


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"near_far": None}, "no near and far"),
        ({"near_far": np.array([[0, 1]] * 2)}, "near 0"),
        ({"distortion": np.full((2, 8), 0.01)}, "lens"),
        ({"K": np.tile([[60, 0, 32], [0, 61, 24], [0, 0, 1]], (2, 1, 1))}, "two focal lengths"),
        ({"K": np.tile([[60, 1, 32], [0, 60, 24], [0, 0, 1]], (2, 1, 1))}, "skew"),
        ({"K": np.tile([[60, 0, 33], [0, 60, 24], [0, 0, 1]], (2, 1, 1))}, "off the middle"),
        ({"K": np.tile([[-60, 0, 32], [0, -60, 24], [0, 0, 1]], (2, 1, 1))}, "focal"),
    ],
)
def test_what_the_format_cannot_say_is_not_written(folder, tmp_path, fields, word):
    splits = llff.splits(folder)
    splits["test"] = changed_views(splits["test"], **fields)
    with pytest.raises(Unsupported, match=word) as caught:
        llff.write(tmp_path / "copy", splits)
    assert "IMG 00é" in caught.value.message
    assert not (tmp_path / "copy").exists()


def test_another_split_than_every_eighth_is_not_written(folder, tmp_path):
    splits = llff.splits(folder)
    with pytest.raises(Unsupported, match="0, 8, 16"):
        llff.write(tmp_path / "copy", splits | {"test": splits["test"].subset([0])} | {"train": splits["train"]})
    with pytest.raises(ContractBroken, match="the splits are train"):
        llff.write(tmp_path / "copy", {"train": splits["train"]})
    with pytest.raises(ContractBroken, match="two views are named"):
        llff.write(tmp_path / "copy", {"train": splits["train"], "test": splits["train"]})


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\n", " a", "a ", ".a", "a.png", "a\x07"])
def test_a_name_that_cannot_be_a_files_is_not_written(folder, tmp_path, name):
    splits = llff.splits(folder)
    splits["test"] = changed_views(splits["test"], names=(name, "IMG 08é"))
    with pytest.raises(ContractBroken):
        llff.write(tmp_path / "copy", splits)


# --- the real thing


def test_the_real_fern(real_data):
    """Its SOURCE.txt: 20 images of 504x378 pixels, hwf 3024x4032x3260.5 of the full-size ones."""
    scene = llff.read(real_data / "llff_fern")
    assert scene.name == "llff_fern"
    assert scene.hidden.names == ("image000", "image008", "image016")
    assert len(scene.given.views) == 17
    cameras = scene.given.views.cameras
    assert cameras.size.tolist() == [[504, 378]] * 17
    np.testing.assert_allclose(cameras.K[0, [0, 1], [0, 1]], 3260.526 / 8, rtol=1e-6)
    assert scene.given.views.image(0).shape == (378, 504, 3)
    centre = np.array([[*cameras.centres.mean(0)]]) + 40 * cameras.c2w[:, :, 2].mean(0)
    for i in range(17):  # all look at what is before them
        image, depth = project(cameras, i, centre)
        assert depth[0] > 0
        assert ((image >= 0) & (image < cameras.size[i])).all()
    assert np.linalg.norm(cameras.c2w[:, :, 2].mean(0)) > 0.95


def test_no_other_real_sample_is_taken_for_llff(real_data):
    assert [path.name for path in sorted(real_data.iterdir()) if llff.detect(path)] == ["llff_fern"]
    assert (real_data / "dtu_scan24_200x150" / "poses_bounds.npy").is_file()  # the trap


# --- fern's cameras against its pixels: the sample has no sparse points, so that they are made here


SEEN_BY = (3, 8, 11)  # far apart; points are triangulated from the first two, and looked for in the third


@pytest.fixture(scope="module")
def tracks(real_data):
    """All twenty cameras of fern, and where (3,T,2) in pixels the same spots are seen in three of its views."""
    from skimage.color import rgb2gray
    from skimage.feature import SIFT, match_descriptors

    splits = llff.splits(real_data / "llff_fern").values()
    views = {name: (part, i) for part in splits for i, name in enumerate(part.names)}
    order = [views[name] for name in sorted(views)]
    of = {
        what: np.stack([getattr(part.cameras, what)[i] for part, i in order])
        for what in ("c2w", "K", "size", "near_far")
    }
    found = []
    for at in SEEN_BY:
        sift = SIFT(upsampling=1)
        sift.detect_and_extract(rgb2gray(order[at][0].image(order[at][1])))
        found.append((sift.keypoints[:, ::-1] + 0.5, sift.descriptors))  # pixel centres at +0.5
    matches = [
        dict(match_descriptors(found[0][1], other[1], cross_check=True, max_ratio=0.8).tolist()) for other in found[1:]
    ]
    spots = [(a, b, matches[1][a]) for a, b in matches[0].items() if a in matches[1]]
    return Cameras(**of), np.stack([found[k][0][[spot[k] for spot in spots]] for k in range(3)])


def triangulated(cameras, xy):
    """(T,3) by the direct linear transform (Hartley and Zisserman, section 12.2), without nfbench's projection."""
    rows = []
    for at, spots in zip(SEEN_BY[:2], xy[:2], strict=True):
        turn, centre = cameras.c2w[at, :, :3].astype(np.float64).T, cameras.c2w[at, :, 3].astype(np.float64)
        P = cameras.K[at] @ np.concatenate([turn, -(turn @ centre)[:, None]], axis=1)
        rows += [spots[:, k, None] * P[2] - P[k] for k in (0, 1)]
    homogeneous = np.linalg.svd(np.stack(rows, axis=1))[2][:, -1]
    return homogeneous[:, :3] / homogeneous[:, 3:]


def judged(cameras, xy):
    """The median error in pixels in the third view, and the part of all points in frame and in range of all views."""
    points = triangulated(cameras, xy)
    apart = np.linalg.norm(project(cameras, SEEN_BY[2], points)[0] - xy[2], axis=1)
    front = np.all([project(cameras, at, points)[1] > 0 for at in SEEN_BY], axis=0)
    good = points[front & (apart < 2)]
    if not len(good):
        return float(np.median(apart)), 0.0, 0.0
    framed, ranged = [], []
    for at in range(len(cameras)):
        pixels, depth = project(cameras, at, good)
        framed.append((depth > 0) & ((pixels > 0) & (pixels < cameras.size[at])).all(1))
        distance = np.linalg.norm(good - cameras.centres[at], axis=1)
        ranged.append((cameras.near_far[at, 0] < distance) & (distance < cameras.near_far[at, 1]))
    share = len(good) / len(points)
    return float(np.median(apart)), share * float(np.mean(framed)), float(np.mean(ranged))


def test_spots_of_ferns_images_are_where_its_cameras_say(tracks):
    """Measured: 38 spots, 0.88 px in the third view, all of the good ones in the frames and ranges of all 20 views."""
    cameras, xy = tracks
    assert xy.shape[1] >= 30
    error, share, ranged = judged(cameras, xy)
    assert error < 1
    assert share > 0.75  # of all matches, false ones included
    assert ranged >= 0.98
    points = triangulated(cameras, xy)
    good = points[np.linalg.norm(project(cameras, SEEN_BY[2], points)[0] - xy[2], axis=1) < 2]
    inside = [project(cameras, at, good)[0] for at in range(len(cameras))]
    assert np.mean([((p > 0) & (p < cameras.size[0])).all(1) for p in inside]) >= 0.98


def flipped(cameras, axes):
    c2w = cameras.c2w.copy()
    c2w[:, :, axes] *= -1
    return replace(cameras, c2w=c2w)


def transposed(cameras):
    turned = cameras.c2w[:, :, :3].swapaxes(1, 2)
    return replace(cameras, c2w=np.concatenate([turned, cameras.c2w[:, :, 3:]], axis=2))


def with_intrinsics(cameras, change):
    K = cameras.K.copy()
    change(K)
    return replace(cameras, K=K)


def focal(factor):
    return lambda K: np.multiply.at(K, (slice(None), [0, 1], [0, 1]), factor)


def moved(x, y):
    return lambda K: np.add.at(K, (slice(None), [0, 1], 2), [x, y])


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda c: flipped(c, [1, 2]), id="OpenGL axes"),
        pytest.param(lambda c: flipped(c, [0, 2]), id="x and z turned"),
        pytest.param(lambda c: flipped(c, [0, 1]), id="x and y turned"),
        pytest.param(lambda c: replace(c, c2w=c.c2w[:, :, [1, 0, 2, 3]] * [1, -1, 1, 1]), id="LLFF's order of axes"),
        pytest.param(transposed, id="transposed"),
        pytest.param(lambda c: with_intrinsics(c, focal(8)), id="focal length of the whole image"),
        pytest.param(lambda c: with_intrinsics(c, focal(2)), id="focal length twice as long"),
        pytest.param(lambda c: with_intrinsics(c, focal(0.5)), id="focal length half as long"),
        pytest.param(lambda c: with_intrinsics(c, moved(-63, 63)), id="height and width swapped"),
        pytest.param(lambda c: with_intrinsics(c, moved(40, 40)), id="middle 40 pixels off"),
        pytest.param(lambda c: replace(c, near_far=c.near_far / 4), id="bounds of another scale"),
    ],
)
def test_wrong_cameras_of_fern_are_found_out(tracks, wrong):
    """A few percent of the focal length, or some pixels of its middle, a scene seen from the front does not tell."""
    cameras, xy = tracks
    error, share, ranged = judged(wrong(cameras), xy)
    assert error >= 1 or share <= 0.75 or ranged < 0.98
