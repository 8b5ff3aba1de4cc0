from dataclasses import replace

import numpy as np
import pytest

from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.dataset import task
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.guard import hidden_files
from nfbench.harness.inspection import in_frame
from nfbench.harness.scene import KINDS, Given, Mesh, Points, Scene, Views, Voxels
from nfbench.loaders import onet
from nfbench.loaders.binvox import Grid, write_binvox

N = 100
RNG = np.random.default_rng(0)
XYZ = RNG.uniform(-0.55, 0.55, (N, 3))
INSIDE = RNG.random(N) > 0.5
NORMAL = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
LOC, SCALE = np.array([0.5, -1.0, 2.0]), 4.0


def shape(folder, kind=np.float16, **changes):
    """One shape as scripts/sample_mesh.py of the original writes it."""
    folder.mkdir(parents=True)
    where = {"loc": LOC, "scale": SCALE}
    points = {"points": XYZ.astype(kind), "occupancies": np.packbits(INSIDE), **where}
    cloud = {"points": XYZ.astype(kind), "normals": NORMAL.astype(kind), **where}
    np.savez(folder / "points.npz", **points | changes)
    np.savez(folder / "pointcloud.npz", **cloud)
    return folder


def refused(folder, words, error=DataCorrupt, **changes):
    with pytest.raises(error, match=words):
        onet.read(shape(folder / "x", **changes))


def test_a_shape_is_read(tmp_path):
    scene = onet.read(shape(tmp_path / "04379243" / "ab", np.float32))
    assert scene.name == "04379243-ab"
    assert scene.given.kinds() == onet.given == ("cloud",)
    np.testing.assert_array_equal(scene.occupancy.xyz, XYZ.astype(np.float32))
    np.testing.assert_array_equal(scene.occupancy.value, INSIDE)
    assert scene.occupancy.kind == "occupancy"
    np.testing.assert_array_equal(scene.surface.xyz, XYZ.astype(np.float32))
    np.testing.assert_array_equal(scene.surface.normal, NORMAL.astype(np.float32))
    np.testing.assert_array_equal(scene.box, np.float32([[-0.55] * 3, [0.55] * 3]))
    np.testing.assert_array_equal(scene.frame, [[4, 0, 0, 0.5], [0, 4, 0, -1], [0, 0, 4, 2], [0, 0, 0, 1]])
    assert onet.splits(tmp_path) == {}


def test_what_is_given_is_300_noisy_points(tmp_path):
    assert (onet.CLOUD, onet.NOISE, onet.JITTER) == (300, 0.005, 1e-4)
    folder = shape(tmp_path / "x")
    big = RNG.uniform(-0.5, 0.5, (2000, 3)).astype(np.float32)
    np.savez(folder / "pointcloud.npz", points=big)
    cloud = onet.read(folder).given.cloud
    assert len(cloud) == 300
    nearest = np.linalg.norm(cloud.xyz[:, None] - big[None], axis=2).min(1)
    assert 1e-3 < nearest.mean() < 0.01
    np.testing.assert_array_equal(cloud.xyz, onet.read(folder).given.cloud.xyz)
    other = onet.read(folder, points=10, noise=0.0, seed=1).given.cloud.xyz
    assert {tuple(p) for p in other.tolist()} <= {tuple(p) for p in big.tolist()}
    assert len(other) == 10


def test_points_in_float16_get_the_same_noise_every_time(tmp_path):
    folder = shape(tmp_path / "x")
    stored = XYZ.astype(np.float16).astype(np.float32)
    first, again = onet.read(folder).occupancy.xyz, onet.read(folder).occupancy.xyz
    np.testing.assert_array_equal(first, again)
    assert 0.8e-4 < (first - stored).std() < 1.2e-4
    assert (onet.read(folder, seed=1).occupancy.xyz != first).any()
    bare = onet.read_points(folder / "points.npz", deviation=0)[0]
    np.testing.assert_array_equal(bare.xyz, stored)
    np.testing.assert_array_equal(onet.read(folder).surface.xyz, stored)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 100])
def test_bits_are_unpacked_highest_first(tmp_path, count):
    folder = shape(tmp_path / "x", points=XYZ[:count], occupancies=np.packbits(INSIDE[:count]))
    if count == 1:  # a single number is one, not eight bits
        np.savez(folder / "points.npz", points=XYZ[:1], occupancies=np.array([1], np.uint8))
        assert onet.read(folder).occupancy.value.tolist() == [1]
        return
    np.testing.assert_array_equal(onet.read(folder).occupancy.value, INSIDE[:count])


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.float32, np.int64])
def test_occupancies_need_not_be_packed(tmp_path, kind):
    scene = onet.read(shape(tmp_path / "x", occupancies=INSIDE.astype(kind)))
    np.testing.assert_array_equal(scene.occupancy.value, INSIDE)


def test_bad_files_are_named(tmp_path):
    refused(tmp_path / "1", r"points\.npz: 100 points and 12 occ", occupancies=np.zeros(12, np.uint8))
    refused(tmp_path / "2", "100 points and 101 occ", occupancies=np.zeros(101, np.uint8))
    refused(tmp_path / "3", "100 points and 13 occ", occupancies=np.zeros(13, np.int64))
    refused(tmp_path / "4", "other than 0 and 1", occupancies=np.full(N, 0.5))
    refused(tmp_path / "5", r"shape \(100, 4\), not \(N, 3\)", points=np.zeros((N, 4)))
    broken = XYZ.copy()
    broken[3] = np.inf
    refused(tmp_path / "6", "points.npz: Points.xyz .* row 3", points=broken)
    refused(tmp_path / "7", "unpickled", points=np.array([[None] * 3] * N, object))
    refused(tmp_path / "8", "holds no points", points=XYZ[:0], occupancies=np.zeros(0, np.uint8))
    folder = shape(tmp_path / "9" / "x")
    for where in ({"loc": LOC, "scale": 0.0}, {"loc": LOC, "scale": np.inf}, {"loc": LOC * np.nan, "scale": 1.0}):
        np.savez(folder / "pointcloud.npz", points=XYZ, **where)
        with pytest.raises(DataCorrupt, match=r"pointcloud\.npz: loc .* and scale"):
            onet.read(folder)
    np.savez(folder / "pointcloud.npz", points=XYZ)
    (folder / "points.npz").write_bytes((folder / "points.npz").read_bytes()[:500])
    with pytest.raises(DataCorrupt, match=r"points\.npz cannot be read as NPZ"):
        onet.read(folder)


def test_either_file_may_be_missing(tmp_path):
    folder = shape(tmp_path / "x")
    (folder / "points.npz").rename(tmp_path / "p.npz")
    assert onet.read(folder).occupancy is None
    (folder / "pointcloud.npz").unlink()
    with pytest.raises(DataMissing, match=r"neither points\.npz nor pointcloud\.npz"):
        onet.read(folder)
    (tmp_path / "p.npz").rename(folder / "points.npz")
    scene = onet.read(folder)
    assert scene.surface is None
    assert scene.given.kinds() == ()
    assert scene.frame[0, 0] == SCALE
    np.savez(folder / "points.npz", points=XYZ, occupancies=INSIDE)
    np.testing.assert_array_equal(onet.read(folder).frame, np.eye(4))


def test_lists_are_kept_and_their_blank_lines_are_no_shapes(tmp_path):
    for group in ("02691156", "04379243"):
        for name in ("a", "b", "c"):
            shape(tmp_path / group / name)
        (tmp_path / group / "test.lst").write_bytes(b"b\r\n\r\n")
        (tmp_path / group / "train.lst").write_bytes(b"c\na\n\n")
    (tmp_path / "metadata.yaml").write_text("{}")
    names = lambda paths: [onet.name(path) for path in paths]  # noqa: E731
    assert names(onet.scenes(tmp_path)) == ["02691156-b", "04379243-b"]
    assert names(onet.training(tmp_path)) == ["02691156-c", "02691156-a", "04379243-c", "04379243-a"]
    assert names(onet.scenes(tmp_path / "02691156")) == ["02691156-b"]
    single = tmp_path / "02691156" / "a"
    assert onet.scenes(single) == [single]
    assert onet.training(single) == []
    (tmp_path / "02691156" / "test.lst").write_text("b\ngone\n")
    with pytest.raises(DataMissing, match=r"test\.lst names 'gone'"):
        onet.scenes(tmp_path)
    (tmp_path / "02691156" / "gone").mkdir()
    with pytest.raises(DataMissing, match=r"test\.lst names 'gone'; .*gone has no points"):
        onet.scenes(tmp_path)
    (tmp_path / "02691156" / "test.lst").write_text("b\n../04379243/a\n")
    with pytest.raises(DataCorrupt, match="no place"):
        onet.scenes(tmp_path)


def test_without_lists_all_shapes_count(tmp_path):
    for name in ("b", "a"):
        shape(tmp_path / "shapes" / name)
    (tmp_path / "shapes" / "other").mkdir()
    assert [onet.name(p) for p in onet.scenes(tmp_path)] == ["a", "b"]
    assert [onet.name(p) for p in onet.scenes(tmp_path / "shapes")] == ["a", "b"]
    assert onet.training(tmp_path) == []
    assert onet.scenes(tmp_path / "gone") == onet.scenes(tmp_path / "shapes" / "other") == []


def test_links_that_lead_out_are_refused(tmp_path):
    shape(tmp_path / "out")
    shape(tmp_path / "data" / "in")
    (tmp_path / "data" / "bad").symlink_to(tmp_path / "out")
    (tmp_path / "data" / "test.lst").write_text("in\nbad\n")
    with pytest.raises(DataCorrupt, match="leads out"):
        onet.scenes(tmp_path / "data")


def test_folders_of_other_formats_are_left_alone(tmp_path):
    folder = shape(tmp_path / "x")
    assert onet.detect(folder)
    np.savez(folder / "cameras.npz", world_mat_0=np.eye(4))
    assert onet.detect(folder)
    (folder / "points.npz").unlink()
    assert not onet.detect(folder)  # of NMR's renderings
    (folder / "cameras.npz").unlink()
    assert onet.detect(folder)
    (tmp_path / "test.lst").write_text("y\n")  # a list of another format
    assert onet.scenes(tmp_path) == []


def test_what_is_written_in_float32_is_read_back_exactly(tmp_path):
    before = onet.read(shape(tmp_path / "04379243" / "a b", np.float32))
    other = onet.read(shape(tmp_path / "shapes" / "c-d", np.float32))
    onet.write(tmp_path / "out", [before, other])
    onet.write(tmp_path / "out", [before], "train")
    onet.write(tmp_path / "out", [before])
    assert (tmp_path / "out" / "04379243" / "test.lst").read_text() == "a b\n"
    assert (tmp_path / "out" / "04379243" / "train.lst").read_text() == "a b\n"
    assert (tmp_path / "out" / "test.lst").read_text() == "c-d\n"
    found = onet.scenes(tmp_path / "out")
    assert [onet.name(path) for path in found] == ["c-d", "04379243-a b"]
    after = onet.read(found[1])
    for old, new in ((before.surface, after.surface), (before.occupancy, after.occupancy)):
        np.testing.assert_array_equal(old.xyz, new.xyz)
    np.testing.assert_array_equal(before.surface.normal, after.surface.normal)
    np.testing.assert_array_equal(before.occupancy.value, after.occupancy.value)
    np.testing.assert_array_equal(before.given.cloud.xyz, after.given.cloud.xyz)
    np.testing.assert_array_equal(before.frame, after.frame)


def test_float16_rounds_by_what_is_stated(tmp_path):
    before = onet.read(shape(tmp_path / "a", np.float32))
    onet.write(tmp_path / "out", [before], float16=True)
    with np.load(tmp_path / "out" / "a" / "points.npz") as arrays:
        assert arrays["points"].dtype == np.float16
        assert np.abs(arrays["points"] - before.occupancy.xyz).max() <= 2.5e-4
        assert arrays["occupancies"].shape == (13,)
    after = onet.read(tmp_path / "out" / "a")
    assert np.abs(after.surface.xyz - before.surface.xyz).max() <= 2.5e-4


def test_scenes_of_other_formats_are_written(tmp_path):
    mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]))
    sdf = Points(XYZ, value=np.where(INSIDE, -1.0, 1.0), kind="sdf")
    scene = Scene("s", Given(samples=sdf), [[-1] * 3, [1] * 3], surface=mesh)
    onet.write(tmp_path, [scene])
    after = onet.read(tmp_path / "s")
    assert len(after.surface) == 100_000
    np.testing.assert_array_equal(after.occupancy.value, INSIDE)
    with pytest.raises(ContractBroken, match="turns"):
        onet.write(tmp_path, [Scene("s", Given(samples=sdf), scene.box, surface=mesh, frame=np.diag([1, 2, 1, 1]))])
    with pytest.raises(DataCorrupt, match="no place"):
        onet.write(tmp_path, [Scene("../s", Given(samples=sdf), scene.box, surface=mesh)])


def test_training_scenes_give_their_occupancy(tmp_path):
    folder = shape(tmp_path / "x")
    scene = onet.read_training(folder)
    assert scene.given.kinds() == ("cloud", "samples")
    assert scene.surface is scene.occupancy is None
    np.testing.assert_array_equal(scene.given.samples.value, INSIDE)


def test_the_cloud_of_a_real_object(real_data):
    """Longest edge 1 but for what watertight meshes add, about the origin; scale and loc as stored."""
    folder = real_data / "shapenet_dvr_nmr" / "ShapeNet" / "04379243" / "1a9bb6a5cf448d75e6fd255f2d77a585"
    assert not onet.detect(folder)  # renderings with poses, read as views
    assert onet.scenes(real_data / "shapenet_dvr_nmr" / "ShapeNet") == []
    scene = onet.read(folder)
    assert len(scene.surface) == 100_000
    np.testing.assert_allclose(np.ptp(scene.surface.xyz, axis=0).max(), 1, atol=0.01)
    np.testing.assert_allclose(scene.surface.xyz.max(0) + scene.surface.xyz.min(0), 0, atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(scene.surface.normal, axis=1), 1, atol=2e-3)
    assert scene.frame[0, 0] == 0.921875
    np.testing.assert_array_equal(scene.frame[:3, 3], 0)
    assert onet.scenes(real_data / "texture_fields_car") == []


# --- inputs


def renderings(count=3):
    """Views of 137x137 pixels that look at the origin from 1.5 away, each in a colour of its own."""
    poses = [look_at(1.5 * np.array([np.cos(a), np.sin(a), 0.4]), (0, 0, 0)) for a in np.arange(count)]
    K = np.tile([[150.0, 0, 68.5], [0, 150, 68.5], [0, 0, 1]], (count, 1, 1))
    cameras = Cameras(np.stack(poses), K, np.full((count, 2), 137))
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * 40 + np.zeros((1, 137, 137, 3), np.uint8)
    return Views(cameras, tuple(f"{i:03d}" for i in range(count)), lambda i: images[i])


@pytest.fixture
def whole(tmp_path):
    """The folder of one shape with everything, as `write` makes it, and the scene that was written."""
    cells = (np.indices((8, 8, 8)).sum(0) % 3 == 0) & (np.indices((8, 8, 8))[0] < 4)
    voxels = Voxels(cells, [[-0.5] * 3, [0.5] * 3])
    space = Points(XYZ, value=INSIDE, kind="occupancy")
    frame = np.array([[4.0, 0, 0, 0.5], [0, 4, 0, -1], [0, 0, 4, 2], [0, 0, 0, 1]])
    scene = Scene(
        "04379243-ab", Given(views=renderings(), voxels=voxels), [[-0.55] * 3, [0.55] * 3],
        surface=Points(XYZ, NORMAL), occupancy=space, frame=frame,
    )  # fmt: skip
    onet.write(tmp_path, [scene])
    onet.write(tmp_path, [replace(scene, name="04379243-cd")], "train")
    return tmp_path / "04379243" / "ab", scene


def test_renderings_and_voxels_survive_a_round_trip(whole):
    folder, scene = whole
    assert np.load(folder / "img_choy2016" / "cameras.npz")["world_mat_0"].shape == (4, 4)
    one, all_views = onet.read(folder, "views"), onet.read_training(folder, "views")
    assert one.given.kinds() == ("views",) and one.given.views.names == ("000",)
    assert all_views.given.kinds() == ("views", "samples") and len(all_views.given.views) == 3
    np.testing.assert_allclose(all_views.given.views.cameras.c2w, scene.given.views.cameras.c2w, atol=1e-6)
    np.testing.assert_array_equal(all_views.given.views.cameras.K, scene.given.views.cameras.K)
    np.testing.assert_array_equal(all_views.given.views.image(2), scene.given.views.image(2))
    near, far = one.given.views.cameras.near_far[0]
    distance = np.linalg.norm(scene.given.views.cameras.c2w[0, :, 3])
    assert (near, far) == pytest.approx((distance - 0.55 * 3**0.5, distance + 0.55 * 3**0.5), abs=1e-5)
    assert one.hidden is None and len(one.surface) == len(one.occupancy) == N
    for read in (onet.read, onet.read_training):
        given = read(folder, "voxels").given
        np.testing.assert_array_equal(given.voxels.filled, scene.given.voxels.filled)
        np.testing.assert_array_equal(given.voxels.box, scene.given.voxels.box)
    assert given.kinds() == ("samples", "voxels")


def test_voxels_fill_the_unit_cube_whatever_the_header_says(whole):
    folder, scene = whole
    write_binvox(folder / "model.binvox", Grid(scene.given.voxels.filled, np.array([3.0, 4, 5]), 7.0))
    np.testing.assert_array_equal(onet.read(folder, "voxels").given.voxels.box, [[-0.5] * 3, [0.5] * 3])
    moved = replace(scene, given=Given(voxels=Voxels(scene.given.voxels.filled, [[0] * 3, [1] * 3])))
    with pytest.raises(ContractBroken, match="fill"):
        onet.write(folder.parent.parent / "other", [moved])


def test_points_that_are_given_are_not_those_that_measure(whole):
    folder, _ = whole
    test, train = onet.read(folder, "samples"), onet.read_training(folder, "samples")
    assert test.given.kinds() == ("samples",)
    given, truth = ({tuple(p) for p in part.xyz.tolist()} for part in (test.given.samples, test.occupancy))
    assert len(given) == len(truth) == N // 2 and not given & truth
    assert len(train.given.samples) == N and train.occupancy is None
    inside = {tuple(p): v for p, v in zip(np.float32(XYZ).tolist(), INSIDE, strict=True)}
    for part in (test.given.samples, test.occupancy):
        assert [inside[tuple(p)] for p in part.xyz.tolist()] == (part.value == 1).tolist()
    np.testing.assert_array_equal(onet.read(folder, "samples").given.samples.xyz, test.given.samples.xyz)


def test_sub_tasks_of_a_folder(whole):
    folder, _ = whole
    path = folder.parent
    full = task(str(path))
    assert (full.given, full.inputs) == (("cloud",), ("views", "cloud", "samples", "voxels"))
    assert [ref.open().given.kinds() for ref in (*full.test, *full.train)] == [("cloud",), ("cloud", "samples")]
    for kind in ("views", "samples", "voxels"):
        part = task(f"{path}+from-{kind}")
        assert part.name == f"onet/04379243+from-{kind}" and part.version == full.version
        assert part.test[0].open().given.kinds() == (kind,)
        assert part.train[0].open().given.kinds() == tuple(k for k in KINDS if k in (kind, "samples"))
        hidden = {file.relative_to(folder).as_posix() for file in hidden_files(part.test[0].open())}
        images = {f"img_choy2016/{i:03d}.png" for i in range(3)}
        others = {"points.npz", "pointcloud.npz", "model.binvox", "img_choy2016/cameras.npz"}
        assert hidden == (others | images) - ({"img_choy2016/000.png"} if kind == "views" else set())


@pytest.mark.parametrize(("kind", "gone"), [("views", "img_choy2016/cameras.npz"), ("voxels", "model.binvox")])
def test_what_is_to_be_given_and_is_not_there(whole, kind, gone):
    folder, _ = whole
    (folder / gone).unlink()
    with pytest.raises(DataMissing, match=gone.rpartition("/")[2]):
        onet.read(folder, kind)
    (folder / "points.npz").unlink()
    with pytest.raises(DataMissing, match=r"points\.npz"):
        onet.read(folder, "samples")


def test_renderings_of_a_real_object_show_its_points(real_data):
    """Nearly all points of the surface that fall into the frame fall on what is not white."""
    folder = real_data / "shapenet_dvr_nmr" / "ShapeNet" / "04379243" / "1a9bb6a5cf448d75e6fd255f2d77a585"
    scene = onet.read_training(folder, "views") if (folder / "points.npz").is_file() else onet.read(folder, "views")
    views = onet.read_views(folder, scene.frame)
    assert len(views) == 24 and scene.given.views.names[0] == views.names[0]
    xyz, parts = scene.surface.xyz[::50], []
    for i in range(len(views)):
        framed, pixels = in_frame(views.cameras, i, xyz)
        coloured = (views.image(i)[..., :3] < 250).any(-1)
        parts.append(coloured[pixels[:, 1], pixels[:, 0]].mean())
        assert framed.mean() > 0.5
    assert np.mean(parts) > 0.99
