import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.scene import Given, Points, Scene
from nfbench.loaders import convonet_rooms, onet

N = 40
RNG = np.random.default_rng(0)


def room(folder, files=2):
    for number in range(files):
        for kind in ("pointcloud", "points_iou"):
            (folder / kind).mkdir(parents=True, exist_ok=True)
        points = np.full((N, 3), number / 10) + RNG.uniform(0, 0.05, (N, 3))
        cloud = {"points": points.astype(np.float32), "normals": np.tile([0, 0, 1], (N, 1)).astype(np.float32)}
        np.savez(folder / "pointcloud" / f"pointcloud_{number:02d}.npz", **cloud, semantics=np.zeros(N))
        inside = np.packbits(np.arange(N) % 3 == number)
        query = {"points": points.astype(np.float32), "occupancies": inside, "z_scale": 0.3}
        np.savez(folder / "points_iou" / f"points_iou_{number:02d}.npz", **query)
    np.savez(folder / "item_dict.npz", objects=np.array([{}], object))
    return folder


def test_it_is_always_the_first_file_unless_another_is_asked_for(tmp_path):
    folder = room(tmp_path / "rooms_04" / "00000001")
    scene = convonet_rooms.read(folder)
    assert scene.name == "rooms_04-00000001"
    assert scene.surface.xyz.max() < 0.051
    assert scene.surface.normal[:, 2].tolist() == [1] * N
    np.testing.assert_array_equal(scene.occupancy.value, np.arange(N) % 3 == 0)
    np.testing.assert_array_equal(scene.box, np.float32([[-0.55] * 3, [0.55] * 3]))
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert scene.given.kinds() == convonet_rooms.given == ("cloud",)
    assert len(scene.given.cloud) == N
    assert {path for kind in ("pointcloud", "points_iou") for path in (folder / kind).iterdir()} <= set(scene.withheld)
    other = convonet_rooms.read(folder, file=1)
    assert other.surface.xyz.min() >= 0.1
    np.testing.assert_array_equal(other.occupancy.value, np.arange(N) % 3 == 1)
    with pytest.raises(DataMissing, match=r"pointcloud_09\.npz"):
        convonet_rooms.read(folder, file=9)
    for number in (-1, 10):
        with pytest.raises(NfbenchError, match=f"File {number}"):
            convonet_rooms.read(folder, file=number)
    assert convonet_rooms.splits(folder) == {}


def test_a_method_gets_10000_noisy_points(tmp_path):
    folder = room(tmp_path / "x" / "y")
    big = RNG.uniform(-0.5, 0.5, (11_000, 3)).astype(np.float32)
    np.savez(folder / "pointcloud" / "pointcloud_00.npz", points=big)
    cloud = convonet_rooms.read(folder).given.cloud
    assert len(cloud) == 10_000
    assert not {tuple(p) for p in cloud.xyz.tolist()} & {tuple(p) for p in big.tolist()}
    few = convonet_rooms.read(folder, points=5, noise=0, seed=1).given.cloud
    assert {tuple(p) for p in few.xyz.tolist()} <= {tuple(p) for p in big.tolist()}
    assert len(few) == 5


def test_lists_and_detection(tmp_path):
    for name in ("00000000", "00000001"):
        room(tmp_path / "rooms_04" / name)
    assert [convonet_rooms.name(p) for p in convonet_rooms.scenes(tmp_path)] == [
        "rooms_04-00000000",
        "rooms_04-00000001",
    ]
    (tmp_path / "rooms_04" / "test.lst").write_text("00000001\n\n")
    (tmp_path / "rooms_04" / "train.lst").write_text("00000000\n")
    found = convonet_rooms.scenes(tmp_path)
    assert [p.name for p in found] == ["00000001"]
    assert [p.name for p in convonet_rooms.training(tmp_path)] == ["00000000"]
    assert convonet_rooms.scenes(found[0]) == found
    assert convonet_rooms.training(found[0]) == []
    assert onet.scenes(tmp_path) == onet.scenes(found[0]) == []
    (found[0] / "points_iou" / "points_iou_00.npz").unlink()
    assert not convonet_rooms.detect(found[0])
    assert convonet_rooms.scenes(found[0]) == []


def test_training_rooms_give_their_occupancy(tmp_path):
    scene = convonet_rooms.read_training(room(tmp_path / "a" / "b"))
    assert scene.given.kinds() == ("cloud", "samples")
    assert scene.surface is None


def test_what_is_written_is_read_back_exactly(tmp_path):
    before = convonet_rooms.read(room(tmp_path / "rooms_05" / "00000007"))
    convonet_rooms.write(tmp_path / "out", [before], "train")
    path = convonet_rooms.training(tmp_path / "out")
    after = convonet_rooms.read(path[0])
    assert after.name == before.name
    for old, new in ((before.surface, after.surface), (before.occupancy, after.occupancy)):
        np.testing.assert_array_equal(old.xyz, new.xyz)
    np.testing.assert_array_equal(before.surface.normal, after.surface.normal)
    np.testing.assert_array_equal(before.occupancy.value, after.occupancy.value)
    np.testing.assert_array_equal(before.given.cloud.xyz, after.given.cloud.xyz)
    bare = Scene("s", Given(), before.box, surface=Points(before.surface.xyz), occupancy=before.occupancy)
    convonet_rooms.write(tmp_path / "bare", [bare])
    assert convonet_rooms.read(tmp_path / "bare" / "rooms" / "s").surface.normal.tolist() == [[0, 0, 0]] * N
    assert (tmp_path / "bare" / "rooms" / "test.lst").read_text() == "s\n"


def test_bad_files_are_named(tmp_path):
    folder = room(tmp_path / "a" / "b")
    (folder / "points_iou" / "points_iou_00.npz").write_bytes(b"PK no")
    with pytest.raises(DataCorrupt, match=r"points_iou_00\.npz"):
        convonet_rooms.read(folder)
