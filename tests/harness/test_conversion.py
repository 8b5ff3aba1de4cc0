from dataclasses import replace

import numpy as np
import pytest

from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.conversion import convert
from nfbench.harness.errors import DataMissing, NfbenchError, NotFound, Unsupported
from nfbench.harness.meshfile import write_ply
from nfbench.harness.probe import ball
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views
from nfbench.harness.watcher import Watcher
from nfbench.loaders import blender, colmap, deepsdf, idr, mvsnet, nerfstudio, nmr, onet, tanks


@pytest.fixture
def source(tmp_path):
    scene = ball(tmp_path / "cache")
    blender.write(tmp_path / "ball", {"train": scene.given.views, "test": scene.hidden})
    return tmp_path / "ball"


def test_a_scene_is_written_with_all_its_splits(source, tmp_path):
    assert convert(source, tmp_path / "copy", "blender") == [tmp_path / "copy"]
    theirs, ours = blender.splits(source), blender.splits(tmp_path / "copy")
    assert list(theirs) == list(ours) == ["train", "test"]
    for name in theirs:
        assert theirs[name].names == ours[name].names
        np.testing.assert_array_equal(theirs[name].cameras.c2w, ours[name].cameras.c2w)
        np.testing.assert_array_equal(theirs[name].image(0), ours[name].image(0))


def test_several_scenes_keep_their_names(source, tmp_path):
    (tmp_path / "many").mkdir()
    for name in ("a", "b"):
        convert(source, tmp_path / "many" / name, "blender")
    written = convert(tmp_path / "many", tmp_path / "out", "blender")
    assert written == [tmp_path / "out" / "a", tmp_path / "out" / "b"]
    assert len(blender.splits(tmp_path / "out" / "b")["test"]) == len(blender.splits(source)["test"])


def test_what_cannot_be_converted_is_named(source, tmp_path):
    with pytest.raises(NotFound, match="blendr"):
        convert(source, tmp_path / "c", "blendr")
    with pytest.raises(Unsupported, match="read and not written"):
        convert(source, tmp_path / "c", "dtu-truth")
    with pytest.raises(NfbenchError, match="there already"):
        convert(source, source, "blender")
    with pytest.raises(DataMissing):
        convert(tmp_path / "nothing", tmp_path / "c", "blender")
    assert not (tmp_path / "c").exists()


# --- what a copy holds beside views, and what it lacks


class Told:
    """What a conversion says."""

    def __init__(self):
        self.lines = []
        self.watcher = Watcher(line=self.lines.append)

    def losses(self, to):
        """What is lost, without the format and the names of scenes."""
        assert all(line.startswith(f"In {to} format ") for line in self.lines)
        return [line.removeprefix(f"In {to} format ").rpartition(": ")[0] for line in self.lines]


@pytest.fixture
def told():
    return Told()


def views_with_all(n=5):
    """Views with near and far, masks and depths."""
    eyes = np.random.default_rng(0).normal(size=(n, 3))
    c2w = np.stack([look_at(2 * eye / np.linalg.norm(eye), (0, 0, 0)) for eye in eyes])
    K = np.array([[20.0, 0, 8], [0, 20, 8], [0, 0, 1]])
    cameras = Cameras(c2w, np.tile(K, (n, 1, 1)), np.full((n, 2), 16), np.tile([1.25, 2.75], (n, 1)))
    image = np.zeros((16, 16, 4), np.uint8)
    image[4:12, 4:12] = 255
    return Views(
        cameras,
        tuple(f"{i:06d}" for i in range(n)),
        lambda i: image + np.uint8([10 * i % 7, 0, 0, 0]),
        lambda i: image[:, :, 3] > 0,
        lambda i: np.full((16, 16), 2.0, np.float32),
    )


CLOUD = Points(np.random.default_rng(1).uniform(-0.4, 0.4, (50, 3)))


def as_colmap(folder):
    whole = views_with_all()
    colmap.write(folder, {"train": whole.subset([1, 2, 3, 4]), "test": whole.subset([0])}, cloud=CLOUD)
    return folder


@pytest.mark.parametrize("to", ["nerfstudio", "colmap"])
def test_a_sparse_cloud_goes_along(tmp_path, told, to):
    convert(as_colmap(tmp_path / "source"), tmp_path / "copy", to, watcher=told.watcher)
    copy = {"nerfstudio": nerfstudio, "colmap": colmap}[to].read(tmp_path / "copy")
    np.testing.assert_array_equal(copy.given.cloud.xyz, CLOUD.xyz)
    assert told.lines == []
    if to == "nerfstudio":
        convert(tmp_path / "copy", tmp_path / "back", "colmap", watcher=told.watcher)
        np.testing.assert_array_equal(colmap.read(tmp_path / "back").given.cloud.xyz, CLOUD.xyz)


def test_a_cloud_that_a_format_cannot_hold_is_told(tmp_path, told):
    convert(as_colmap(tmp_path / "source"), tmp_path / "copy", "blender", watcher=told.watcher)
    assert told.losses("blender") == ["the cloud is lost", "the box is another, by the format's own rule"]
    assert told.lines[0] == "In blender format the cloud is lost: source."


def test_what_is_lost_of_views_is_told(tmp_path, told):
    whole = views_with_all()
    parts = {"train": whole.subset([1, 2]), "val": whole.subset([3, 4]), "test": whole.subset([0])}
    nerfstudio.write(tmp_path / "source", parts, cloud=CLOUD)
    convert(tmp_path / "source", tmp_path / "srn", "srn", watcher=told.watcher)
    assert told.losses("srn") == [
        "splits are train of 4 and test of 1, and were train of 2 and val of 2 and test of 1",
        "masks are lost",
        "depth maps are lost",
        "near and far are others, by the format's own rule",
        "the cloud is lost",
        "the box is another, by the format's own rule",
    ]
    told.lines.clear()
    convert(tmp_path / "source", tmp_path / "same", "nerfstudio", watcher=told.watcher)
    assert told.lines == []
    convert(tmp_path / "source", tmp_path / "nsvf", "nsvf", watcher=told.watcher)
    assert told.losses("nsvf") == [
        "views have other names",
        "masks are lost",
        "depth maps are lost",
        "near and far are lost",
        "the cloud is lost",
    ]


def test_a_true_surface_goes_along_where_it_can(tmp_path, told):
    normal = CLOUD.xyz / np.linalg.norm(CLOUD.xyz, axis=1, keepdims=True)
    whole = views_with_all()
    nmr.write(tmp_path / "02958343" / "a", {"train": whole}, surface=Points(CLOUD.xyz, normal=normal))
    convert(tmp_path / "02958343" / "a", tmp_path / "04379243" / "b", "nmr", watcher=told.watcher)
    np.testing.assert_array_equal(nmr.read(tmp_path / "04379243" / "b").surface.normal, normal.astype(np.float32))
    assert told.lines == []
    convert(tmp_path / "02958343" / "a", tmp_path / "c", "blender", watcher=told.watcher)
    assert "the true surface is lost" in told.losses("blender")


def test_lenses_are_refused_and_not_dropped(tmp_path):
    whole = views_with_all()
    bent = np.zeros((5, 8), np.float32)
    bent[:, 0] = 0.05
    bent = Views(replace(whole.cameras, distortion=bent), whole.names, whole.load)
    colmap.write(tmp_path / "source", {"train": bent.subset([1, 2, 3, 4]), "test": bent.subset([0])})
    for to in ("blender", "llff", "nsvf", "srn", "nmr", "texture-fields", "co3d"):
        with pytest.raises(Unsupported, match="lens"):
            convert(tmp_path / "source", tmp_path / to / "a", to)
    convert(tmp_path / "source", tmp_path / "copy", "nerfstudio")
    np.testing.assert_array_equal(
        nerfstudio.read(tmp_path / "copy").given.views.cameras.distortion, bent.cameras.distortion[1:]
    )
    only = {"train": bent}
    for writer in (idr, mvsnet, tanks):
        with pytest.raises(Unsupported, match="lens"):
            writer.write(tmp_path / writer.__name__, only)


# --- shapes


def shape(name, seed):
    xyz = np.random.default_rng(seed).uniform(-0.5, 0.5, (40, 3)).astype(np.float32)
    value = (np.linalg.norm(xyz, axis=1) - 0.4).astype(np.float32)
    surface = Points(xyz[:20], normal=xyz[:20] / np.linalg.norm(xyz[:20], axis=1, keepdims=True))
    samples = Points(xyz, value=value, kind="sdf")
    return Scene(name, Given(cloud=Points(xyz[:5]), samples=samples), [[-1] * 3, [1] * 3], surface=surface)


def test_shapes_go_into_one_dataset_with_its_lists(tmp_path, told):
    train, test = (
        [shape(f"03001627-{c}", i) for i, c in enumerate("ab")],
        [shape("03001627-c", 2), shape("04256520-d", 3)],
    )
    deepsdf.write(tmp_path / "source", train, "train")
    deepsdf.write(tmp_path / "source", test, "test")
    written = convert(tmp_path / "source", tmp_path / "copy", "onet", watcher=told.watcher)
    assert len(written) == 4
    names = {split: [onet.name(path) for path in of(tmp_path / "copy")] for split, of in LISTS.items()}
    assert names == {"test": ["03001627-c", "04256520-d"], "train": ["03001627-a", "03001627-b"]}
    for one in train + test:
        (path,) = [path for path in written if onet.name(path) == one.name]
        back = onet.read(path)
        inside = dict(zip(map(tuple, one.given.samples.xyz.tolist()), one.given.samples.value < 0, strict=True))
        for place, value in zip(back.occupancy.xyz.tolist(), back.occupancy.value, strict=True):
            assert inside[tuple(place)] == bool(value)
    assert told.losses("onet") == [
        "samples of space are lost",
        "the box is another, by the format's own rule",
    ]
    assert told.lines[0].endswith(": 03001627-c, 04256520-d, 03001627-a and 1 more.")


LISTS = {"test": onet.scenes, "train": onet.training}


def test_a_format_without_lists_gets_all_shapes_and_says_so(tmp_path, told):
    deepsdf.write(tmp_path / "source", [shape("03001627-a", 0)], "train")
    deepsdf.write(tmp_path / "source", [shape("03001627-b", 1)], "test")
    convert(tmp_path / "source", tmp_path / "copy", "clouds", watcher=told.watcher)
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["03001627-a.npy", "03001627-b.npy"]
    assert "the list of shapes to learn from is lost" in told.losses("clouds")
    assert "samples of space are lost" in told.losses("clouds")


def test_meshes_become_voxels_in_one_file(tmp_path, told):
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    (tmp_path / "source").mkdir()
    for name in "ab":
        write_ply(tmp_path / "source" / f"{name}.ply", Mesh(corners, faces))
    written = convert(tmp_path / "source", tmp_path / "copy", "imnet", watcher=told.watcher)
    assert len(written) == 2
    assert len(list((tmp_path / "copy").glob("*.hdf5"))) == 1
    assert any("the cloud is lost" in line for line in told.lines)
