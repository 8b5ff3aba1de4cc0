import gzip
import json
import os
import shutil
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from nfbench.harness.camera import Cameras, look_at, project, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, NotFound, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import co3d, jgzfile

W, H = 12, 8
N = 6


def image_of(i):
    return np.random.default_rng(i).integers(0, 256, (H, W, 3), dtype=np.uint8)


def depth_of(i):
    depth = np.random.default_rng(i).uniform(1, 3, (H, W)).astype(np.float16)
    depth[0, :3] = 0, np.inf, np.nan
    return depth


def viewpoint(i):
    """PyTorch3D's camera i: rows of world_to_view are x left, y up, z forward."""
    angle = 2 * np.pi * i / N
    eye = np.array([2 * np.cos(angle), 2 * np.sin(angle), 0.6])
    forward = -eye / np.linalg.norm(eye)
    left = np.cross([0, 0, 1], forward)
    left /= np.linalg.norm(left)
    R = np.stack([left, np.cross(forward, left), forward], axis=1)  # columns: x_camera = x_world R + T
    return {"R": R.tolist(), "T": (-eye @ R).tolist(), "focal_length": [2.0, 2.1], "principal_point": [0.1, -0.2]}


def frame(category, sequence, i):
    there = f"{category}/{sequence}"
    name = f"frame{i:06d}"
    return {
        "sequence_name": sequence,
        "frame_number": i + 20,  # not that in the name
        "frame_timestamp": i / 10,
        "image": {"path": f"{there}/images/{name}.png", "size": [H, W]},
        "depth": {
            "path": f"{there}/depths/{name}.png.geometric.png",
            "scale_adjustment": 1.5,
            "mask_path": f"{there}/depth_masks/{name}.png",
        },
        "mask": {"path": f"{there}/masks/{name}.png", "mass": 3.5},
        "viewpoint": viewpoint(i) | {"intrinsics_format": "ndc_isotropic"},
        "meta": {"frame_type": "test_unseen" if i % 3 == 0 else "test_known"},
    }


def make(root, category="apple", sequences=("110_13051_23361", "2_x y")):
    """A category made without the module under test, but for the colour PNGs."""
    frames = [frame(category, s, i) for s in sequences for i in range(N)]
    for f in frames:
        i = f["frame_number"] - 20
        write_png(root / f["image"]["path"], image_of(i))
        for key in ("masks", "depths", "depth_masks"):
            (root / category / f["sequence_name"] / key).mkdir(exist_ok=True)
        Image.fromarray(image_of(i)[:, :, 0]).save(root / f["mask"]["path"])
        Image.fromarray(depth_of(i).view(np.uint16)).save(root / f["depth"]["path"])
        Image.fromarray(image_of(i)[:, :, 1] > 60).save(root / f["depth"]["mask_path"])
    save(root / category, frames)
    lists = {"train": [], "val": [], "test": []}
    for i in range(N):
        split = "test" if i == 1 else "val" if i == 2 else "train"
        lists[split].append([sequences[0], 20 + i, "unused"])
    (root / category / "set_lists").mkdir()
    (root / category / "set_lists" / "set_lists_manyview_dev_0.json").write_text(json.dumps(lists))
    (root / category / "set_lists" / "set_lists_fewview_dev.json").write_text(json.dumps({**lists, "test": []}))
    return root / category / sequences[0]


def save(category, frames):
    (category / "frame_annotations.jgz").write_bytes(gzip.compress(json.dumps(frames).encode()))


def load(category):
    return json.loads(gzip.decompress((category / "frame_annotations.jgz").read_bytes()))


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "co3d v2")


def edit(folder, change, index=1):
    frames = load(folder.parent)
    change(frames[index])
    save(folder.parent, frames)


def refused(folder, *words, error=DataCorrupt, **given):
    with pytest.raises(error) as caught:
        co3d.read(folder, **given)
    for word in words:
        assert str(word) in str(caught.value)
    assert caught.value.hint
    return caught.value


# --- what is read


def test_reads_the_subset_of_many_views(folder):
    scene = co3d.read(folder)
    assert scene.name == "110_13051_23361"
    assert scene.given.kinds() == co3d.given
    assert scene.given.views.names == ("frame000000", "frame000003", "frame000004", "frame000005")
    assert scene.hidden.names == ("frame000001",)
    assert {k: len(v) for k, v in co3d.splits(folder).items()} == {"train": 4, "val": 1, "test": 1}
    assert scene.hidden.cameras.size.tolist() == [[W, H]]
    np.testing.assert_array_equal(scene.hidden.image(0), image_of(1))
    np.testing.assert_array_equal(scene.hidden.mask(0), image_of(1)[:, :, 0] >= 128)
    assert scene.hidden.files == (folder / "images" / "frame000001.png",)
    assert scene.surface is None
    np.testing.assert_allclose(scene.box, [[-1.044] * 3, [1.044] * 3], atol=1e-3)  # half of the cameras' distance


@pytest.mark.parametrize("format", ["ndc_isotropic", "ndc_norm_image_bounds", None])
def test_projection_is_that_of_pytorch3d(folder, format):
    """renderer/cameras.py: ndc = f xy / z + p, left and up; one unit is half the shorter side, or half of each."""

    def change(f):
        f["viewpoint"]["intrinsics_format"] = format
        if format is None:
            del f["viewpoint"]["intrinsics_format"]

    edit(folder, change)
    views = co3d.read(folder).hidden
    point = np.array([[0.3, -0.2, 0.25]])
    v = viewpoint(1)
    x, y, z = (point @ np.array(v["R"]) + v["T"])[0]
    unit = (H / 2, H / 2) if format == "ndc_isotropic" else (W / 2, H / 2)
    expected = [W / 2 - unit[0] * (2.0 * x / z + 0.1), H / 2 - unit[1] * (2.1 * y / z - 0.2)]
    xy, depth = project(views.cameras, 0, point)
    np.testing.assert_allclose(xy[0], expected, rtol=1e-5)
    np.testing.assert_allclose(depth, z, rtol=1e-5)


def test_depth_is_distance_along_the_ray(folder):
    scene = co3d.read(folder)
    depth = scene.hidden.depth(0)
    assert depth.dtype == np.float32
    known = image_of(1)[:, :, 1] > 60
    known[0, :3] = False
    assert (np.isfinite(depth) == known).all()
    directions = rays(scene.hidden.cameras, 0)[1].reshape(H, W, 3)
    z = directions @ scene.hidden.cameras.c2w[0, :, 2]
    np.testing.assert_allclose((depth * z)[known], depth_of(1)[known].astype(np.float32) * 1.5, rtol=1e-5)


def test_depth_of_another_size_and_without_a_mask(folder):
    small = np.arange(1, 7, dtype=np.float16).reshape(2, 3)
    path = folder / "depths" / "frame000001.png.geometric.png"
    Image.fromarray(small.view(np.uint16)).save(path)
    refused(folder, "depth_masks", "frame000001")
    edit(folder, lambda f: f["depth"].update(mask_path=None))
    views = co3d.read(folder).hidden
    directions = rays(views.cameras, 0)[1].reshape(H, W, 3)
    z = directions @ views.cameras.c2w[0, :, 2]
    np.testing.assert_allclose(views.depth(0) * z, small.astype(np.float32).repeat(4, 0).repeat(4, 1) * 1.5, rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_bits_that_are_no_depth_are_not_known(folder):
    bits = depth_of(1).view(np.uint16)
    bits[1] = 0x7D01  # a NaN that signals
    bits[2] = 0x7BFF  # the largest float16
    Image.fromarray(bits).save(folder / "depths" / "frame000001.png.geometric.png")
    Image.fromarray(np.ones((H, W), np.bool_)).save(folder / "depth_masks" / "frame000001.png")
    edit(folder, set_at("depth", "scale_adjustment", 1e35))
    depth = co3d.read(folder).hidden.depth(0)
    assert np.isinf(depth[:3]).sum() == 3 + 2 * W
    assert np.isfinite(depth[3:]).all()


def test_frames_without_depth_or_mask(folder):
    edit(folder, lambda f: f.update(depth=None, mask=None), 3)
    views = co3d.read(folder).given.views
    for ask in (views.mask, views.depth):
        ask(0)
        with pytest.raises(DataMissing, match="frame 23 has no"):
            ask(1)
    frames = load(folder.parent)
    for f in frames:
        del f["depth"], f["mask"]
    save(folder.parent, frames)
    views = co3d.read(folder).given.views
    assert views.load_mask is None
    assert views.load_depth is None


def test_the_point_cloud_gives_the_box(folder):
    head = (
        "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    (folder / "pointcloud.ply").write_text(head.format(2) + "0 0 0\n1 2 4\n")
    np.testing.assert_allclose(co3d.read(folder).box, [[-0.2, -0.2, -0.2], [1.2, 2.2, 4.2]], rtol=1e-6)
    (folder / "pointcloud.ply").write_text(head.format(0))
    with pytest.raises(NfbenchError, match=r"pointcloud\.ply"):
        co3d.read(folder)


def test_opening_decodes_nothing(folder, monkeypatch):
    for name in ("read_image", "read_mask", "read_depth"):
        monkeypatch.setattr(co3d, name, None)
    views = co3d.read(folder).hidden
    for ask in (views.image, views.mask, views.depth):
        with pytest.raises(TypeError):
            ask(0)


def test_jpegs(folder):
    path = folder / "images" / "frame000001.jpg"
    Image.fromarray(image_of(1)).save(path)
    edit(folder, lambda f: f["image"].update(path=f["image"]["path"].replace(".png", ".jpg")))
    views = co3d.read(folder).hidden
    assert views.names == ("frame000001",)
    np.testing.assert_array_equal(views.image(0), np.array(Image.open(path)))


# --- which frames are given


def test_sequences_of_few_views_go_by_frame_type(folder):
    other = folder.parent / "2_x y"
    scene = co3d.read(other)
    assert scene.hidden.names == ("frame000000", "frame000003")
    assert scene.given.views.names == tuple(f"frame00000{i}" for i in (1, 2, 4, 5))
    assert list(co3d.splits(other)) == ["train", "test"]
    frames = load(folder.parent)
    for f in frames:
        f["meta"] = None
    save(folder.parent, frames)
    refused(other, "no subset of many views", error=DataMissing)
    assert len(co3d.read(folder).hidden) == 1


def test_subsets_by_name(folder):
    assert len(co3d.read(folder, subset="manyview_dev_0").hidden) == 1
    refused(folder, "no test frames", error=DataMissing, subset="fewview_dev")
    assert list(co3d.splits(folder, "fewview_dev")) == ["train", "val"]
    error = refused(folder, "no subset 'manyview_dev'", error=NotFound, subset="manyview_dev")
    assert "manyview_dev_0" in error.hint
    refused(folder.parent / "2_x y", "lists no frame", error=DataMissing, subset="manyview_dev_0")


@pytest.mark.parametrize(
    ("data", "error", "word"),
    [
        ([], DataCorrupt, "no object"),
        ({"train": 3}, DataCorrupt, "train is no list"),
        ({"test": [["110_13051_23361"]]}, DataCorrupt, "test is no list"),
        ({"test": [["110_13051_23361", 99]]}, DataMissing, "frame 99"),
        ({"test": [["110_13051_23361", [1]]]}, DataMissing, "frame [1]"),
        ({"train": [["110_13051_23361", 20]]}, DataMissing, "no test frames"),
        ({"test": [["110_13051_23361", 20]]}, DataMissing, "no train frames"),
        ({"test": [["110_13051_23361", 20], ["110_13051_23361", 20]]}, DataCorrupt, "frame000000"),
    ],
)
def test_bad_set_lists(folder, data, error, word):
    (folder.parent / "set_lists" / "set_lists_manyview_dev_0.json").write_text(json.dumps(data))
    with pytest.raises(error) as caught:
        co3d.read(folder)
    assert word in caught.value.message


def test_scenes(folder, tmp_path):
    root = tmp_path / "co3d v2"
    make(root, "cup", ("9_9_9",))
    names = [path.name for path in co3d.scenes(root)]
    assert names == ["110_13051_23361", "2_x y", "9_9_9"]
    assert co3d.scenes(folder.parent) == [folder, folder.parent / "2_x y"]
    assert co3d.scenes(folder) == [folder]
    assert co3d.scenes(folder / "images") == []
    assert co3d.scenes(root / "nothing") == []
    assert not co3d.detect(folder.parent / "set_lists")
    (folder.parent / "frame_annotations.jgz").unlink()
    assert not co3d.detect(folder)
    refused(folder, "frame_annotations.jgz", error=DataMissing)


def test_renamed_folders(folder):
    folder.rename(folder.parent / "other")
    refused(folder.parent / "other", "no frames of sequence other", error=DataMissing)
    category = folder.parent.rename(folder.parent.parent / "pear")
    refused(category / "2_x y", "lies outside")


# --- bad input


def set_at(*keys):
    *keys, value = keys

    def change(f):
        for key in keys[:-1]:
            f = f[key]
        f[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_at("image", "size", [W, H]), ["12x8", "[12, 8]"]),
        (set_at("image", "size", None), ["None"]),
        (set_at("image", None), ["image has no usable path"]),
        (set_at("image", "path", 3), ["image has no usable path"]),
        (set_at("image", "path", ""), ["image has no usable path"]),
        (set_at("image", "path", "/etc/x.png"), ["outside"]),
        (set_at("image", "path", "apple/110_13051_23361/../../../x.png"), ["outside"]),
        (set_at("image", "path", "apple/110_13051_23361/images/frame000000.png\x00"), ["no usable path"]),
        (set_at("mask", "path", "apple/110_13051_23361/images"), ["images"]),
        (set_at("mask", "path", "apple/110_13051_23361/depths/frame000001.png.geometric.pnx"), ["pnx"]),
        (set_at("depth", "path", "apple/110_13051_23361/masks/frame000001.png"), ["16-bit"]),
        (set_at("depth", "scale_adjustment", None), ["scale_adjustment is None"]),
        (set_at("viewpoint", "R", [[1, 0], [0, 1]]), ["viewpoint R", "3 x 3"]),
        (set_at("viewpoint", "R", [[1, 0, 0], [0, 1, 0], [0, 0, 0]]), ["frame 21", "not a rotation"]),
        (set_at("viewpoint", "R", [[1, 0, 0], [0, 1, 0], [0, 0, -1]]), ["frame 21", "mirrors"]),
        (set_at("viewpoint", "T", [1, 2, "3"]), ["viewpoint T"]),
        (set_at("viewpoint", "T", [1, 2, float("nan")]), ["viewpoint T"]),
        (set_at("viewpoint", "T", [1, 2, True]), ["viewpoint T"]),
        (set_at("viewpoint", "T", [1, 2, 1e39]), ["viewpoint T"]),
        (set_at("viewpoint", "focal_length", [2, 0]), ["focal_length [2.0, 0.0]"]),
        (set_at("viewpoint", "focal_length", 2), ["focal_length"]),
        (set_at("viewpoint", "principal_point", None), ["principal_point"]),
        (set_at("frame_number", 20), ["frame number 20"]),
        (set_at("frame_number", "21"), ["frame number '21'"]),
        (set_at("sequence_name", 1), ["entry 1 has no sequence_name"]),
    ],
)
def test_bad_annotations(folder, change, words):
    edit(folder, change)
    with pytest.raises(NfbenchError) as caught:
        co3d.read(folder)
    assert isinstance(caught.value, DataCorrupt | DataMissing)
    assert all(word in str(caught.value) for word in words)
    assert caught.value.hint


def test_viewpoints_that_are_missing_or_unknown(folder):
    edit(folder, set_at("viewpoint", "intrinsics_format", "pixels"))
    error = refused(folder, "frame 21", "'pixels'", error=Unsupported)
    assert "ndc_isotropic" in error.hint
    edit(folder, set_at("viewpoint", None))
    refused(folder, "frame 21", "no viewpoint", error=DataMissing)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{}", "no list"),
        ("[", "entry 0"),
        ('[{"sequence_name": "a"} {"sequence_name": "b"}]', "entry 1"),
        ('[{"sequence_name": "a"},', "entry 1"),
        ('[{"sequence_name": "a"', "entry 0"),
        ("[" * 100000, "entry 0"),
        ("[3]", "entry 0"),
        ("", "no list"),
    ],
)
def test_annotations_that_are_no_list(folder, text, word):
    path = folder.parent / "frame_annotations.jgz"
    path.write_bytes(gzip.compress(text.encode()))
    refused(folder, "frame_annotations.jgz", word)


def test_annotations_that_are_damaged(folder):
    path = folder.parent / "frame_annotations.jgz"
    whole = path.read_bytes()
    for data in (whole[: len(whole) // 2], b"", b"[]", whole[:-8] + b"12345678", gzip.compress(b"[\xff]")):
        path.write_bytes(data)
        refused(folder, "frame_annotations.jgz")


def test_a_pipe_in_place_of_annotations_is_not_waited_for(folder):
    path = folder.parent / "frame_annotations.jgz"
    path.unlink()
    os.mkfifo(path)
    refused(folder, "frame_annotations.jgz", "a pipe")


@pytest.mark.parametrize("name", ["small.jgz", "small.json"])
def test_no_room_is_made_for_more_than_a_file_holds(tmp_path, name):
    jgzfile.write_json(tmp_path / name, [1, 2])
    tracemalloc.start()
    try:
        assert jgzfile.read_json(tmp_path / name) == [1, 2]
        assert tracemalloc.get_traced_memory()[1] < 1 << 24  # bytes; `MOST` is 2 GiB
    finally:
        tracemalloc.stop()


def test_annotations_are_parsed_again_when_they_change(folder):
    path = folder.parent / "frame_annotations.jgz"
    assert len(jgzfile.records(path, "sequence_name", folder.name)) == N
    assert jgzfile.records(path, "sequence_name", "nothing") == []
    save(folder.parent, load(folder.parent)[1:])
    assert len(jgzfile.records(path, "sequence_name", folder.name)) == N - 1
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf [ ]\r\n"))
    assert jgzfile.records(path, "sequence_name", folder.name) == []


def test_sizes_are_bounded(folder, monkeypatch):
    monkeypatch.setattr(jgzfile, "MOST", 100)
    jgzfile._by_value.cache_clear()
    refused(folder, "more than 100 bytes")


def test_masks_of_another_size(folder):
    Image.fromarray(np.zeros((H, W + 1), np.uint8)).save(folder / "masks" / "frame000001.png")
    refused(folder, "frame000001.png", "12x8")


def test_links_out_of_the_sequence(folder):
    path = folder / "images" / "frame000001.png"
    path.unlink()
    path.symlink_to(folder.parent / "2_x y" / "images" / "frame000001.png")
    refused(folder, "frame 21", "lies outside")


# --- what is written


def test_written_sequences_are_read_back(tmp_path):
    rng = np.random.default_rng(0)
    n = 5
    c2w = np.stack([look_at(rng.normal(size=3) + [2, 0, 0], rng.normal(size=3)) for _ in range(n)])
    K = np.tile(np.float32([[7.3, 0, 3.1], [0, 6.9, 1.9], [0, 0, 1]]), (n, 1, 1)) + rng.random(
        (n, 1, 1), np.float32
    ) * np.eye(3, dtype=np.float32)
    K[:, 2, 2] = 1
    size = np.int32([[6, 4], [4, 6], [5, 5], [6, 4], [6, 4]])
    images = [rng.integers(0, 256, (h, w, 3), dtype=np.uint8) for w, h in size]
    masks = [rng.random((h, w)) > 0.5 for w, h in size]
    depths = [np.where(mask, rng.uniform(1, 3, mask.shape), np.inf).astype(np.float32) for mask in masks]
    names = ("b ☃", "a", "c", "d", "e")
    views = Views(Cameras(c2w, K, size), names, images.__getitem__, masks.__getitem__, depths.__getitem__)
    splits = {"train": views.subset([0, 1]), "val": views.subset([2]), "test": views.subset([3, 4])}
    for sequence in ("first", "second one"):
        co3d.write(tmp_path / "cat" / sequence, splits)
    assert [path.name for path in co3d.scenes(tmp_path)] == ["first", "second one"]
    for sequence in ("first", "second one"):
        back = co3d.splits(tmp_path / "cat" / sequence)
        assert {k: v.names for k, v in back.items()} == {k: v.names for k, v in splits.items()}
        for split, written in splits.items():
            read = back[split]
            np.testing.assert_array_equal(read.cameras.c2w[:, :, :3], written.cameras.c2w[:, :, :3])
            np.testing.assert_allclose(read.cameras.centres, written.cameras.centres, rtol=0, atol=5e-6)
            np.testing.assert_array_equal(read.cameras.K, written.cameras.K)
            np.testing.assert_array_equal(read.cameras.size, written.cameras.size)
            for i in range(len(read)):
                np.testing.assert_array_equal(read.image(i), written.image(i))
                np.testing.assert_array_equal(read.mask(i), written.mask(i))
                np.testing.assert_allclose(read.depth(i), written.depth(i), rtol=1e-3)
    with pytest.raises(NfbenchError, match="already"):
        co3d.write(tmp_path / "cat" / "first", splits)
    shutil.rmtree(tmp_path / "cat" / "first")
    with pytest.raises(NfbenchError, match="already"):
        co3d.write(tmp_path / "cat" / "first", splits)
    bare = Views(views.cameras, names, views.load)
    co3d.write(tmp_path / "dog" / "x", {"train": bare.subset([0]), "test": bare.subset([1])})
    read = co3d.read(tmp_path / "dog" / "x").hidden
    assert read.load_mask is None and read.load_depth is None


def test_what_cannot_be_written(folder, tmp_path):
    views = co3d.read(folder).given.views
    with pytest.raises(ContractBroken, match="splits are train"):
        co3d.write(tmp_path / "a" / "b", {"train": views})
    with pytest.raises(ContractBroken, match="splits are train, test, more"):
        co3d.write(tmp_path / "a" / "b", {"train": views, "test": views, "more": views})
    for at, value in (((0, 0, 1), 0.5), ((0, 0, 0), -2.0), ((1, 1, 1), -2.0), ((0, 2, 0), 0.1)):
        K = views.cameras.K.copy()
        K[at] = value
        wrong = Views(Cameras(views.cameras.c2w, K, views.cameras.size), views.names, views.load)
        with pytest.raises(Unsupported, match="skew"):
            co3d.write(tmp_path / "a" / "b", {"train": wrong, "test": wrong})
    for name in ("", "..", "a/b", "a\nb"):
        wrong = Views(views.cameras[[0]], (name,), views.load)
        with pytest.raises(ContractBroken, match="name of an image"):
            co3d.write(tmp_path / "a" / "b", {"train": wrong, "test": wrong})
    assert not (tmp_path / "a").exists()


# --- damage


def damaged(rng, data):
    """Some bytes cut off, put in, taken out or changed."""
    at, much = int(rng.integers(len(data))), int(rng.integers(1, 12))
    kind = rng.integers(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.bytes(much) + data[at:]
    if kind == 2:
        return data[:at] + data[at + much :]
    some = bytes(rng.choice(list(b'0123456789.-e[]{}",: n\x00\xff'), much).astype(np.uint8))
    return data[:at] + some + data[at + much :]


def fuzz(folder, rounds, seed=0):
    """How many of the damaged sequences were refused; anything but an NfbenchError comes out."""
    rng = np.random.default_rng(seed)
    annotations = folder.parent / "frame_annotations.jgz"
    files = [annotations, annotations, folder.parent / "set_lists" / "set_lists_manyview_dev_0.json"]
    files += [folder / f"{part}/frame000001.png" for part in ("images", "masks", "depth_masks")]
    refusals = 0
    for _ in range(rounds):
        file = files[int(rng.integers(len(files)))]
        whole = file.read_bytes()
        if file == annotations:
            file.write_bytes(gzip.compress(damaged(rng, gzip.decompress(whole)), 1))
        else:
            file.write_bytes(damaged(rng, whole))
        try:
            views = co3d.read(folder).hidden
            for i in range(len(views)):
                views.image(i), views.mask(i), views.depth(i)
        except NfbenchError:
            refusals += 1
        finally:
            file.write_bytes(whole)
    return refusals


def test_damaged_files_are_refused_in_words(folder):
    assert fuzz(folder, 200) > 100
    assert len(co3d.read(folder).hidden) == 1


def test_real_folders_of_other_formats_are_not_taken_for_this_one(real_data):
    for path in (real_data, *real_data.iterdir()):
        assert co3d.scenes(path) == []
