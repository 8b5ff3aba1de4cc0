import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.meshfile import write_ply
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import ldif

RNG = np.random.default_rng(0)
NEAR = RNG.uniform(-0.5, 0.5, (30, 4)).astype(np.float32)
UNIFORM = RNG.uniform(-0.7, 0.7, (20, 4)).astype(np.float32)
SURFACE = RNG.uniform(-0.5, 0.5, (10, 6)).astype(np.float32)
TURN = np.array([[0, -2, 0, 1], [2, 0, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1.0]])  # original to GAPS
MESH = Mesh(np.eye(3), np.array([[0, 1, 2]]))


def shape(folder, frame=True, surface=True):
    folder.mkdir(parents=True)
    NEAR.tofile(folder / "nss_points.sdf")
    UNIFORM.tofile(folder / "uniform_points.sdf")
    if surface:
        SURFACE.tofile(folder / "surface_samples_from_dodeca.pts")
    if frame:
        np.savetxt(folder / "orig_to_gaps.txt", TURN)
    return folder


def test_a_shape_is_read(tmp_path):
    scene = ldif.read(shape(tmp_path / "test" / "airplane" / "ab"))
    assert scene.name == "airplane-ab"
    assert tmp_path / "test" / "airplane" / "ab" / "surface_samples_from_dodeca.pts" in scene.withheld
    assert scene.given.kinds() == ldif.given == ("samples",)
    np.testing.assert_array_equal(scene.given.samples.xyz, np.concatenate([NEAR, UNIFORM])[:, :3])
    np.testing.assert_array_equal(scene.given.samples.value, np.concatenate([NEAR, UNIFORM])[:, 3])
    assert scene.given.samples.kind == "sdf"
    np.testing.assert_array_equal(scene.occupancy.xyz, UNIFORM[:, :3])
    np.testing.assert_array_equal(scene.occupancy.value, UNIFORM[:, 3] < 0)
    np.testing.assert_array_equal(scene.surface.xyz, SURFACE[:, :3])
    np.testing.assert_array_equal(scene.surface.normal, SURFACE[:, 3:])
    np.testing.assert_array_equal(scene.box, np.float32([[-0.7] * 3, [0.7] * 3]))
    np.testing.assert_allclose(scene.frame, np.linalg.inv(TURN))
    assert ldif.splits(tmp_path) == {}


def test_the_mesh_comes_first_and_is_brought_to_scene_coordinates(tmp_path):
    folder = shape(tmp_path / "a" / "b")
    write_ply(folder / "mesh_orig.ply", MESH)
    scene = ldif.read(folder)
    np.testing.assert_allclose(scene.surface.vertices, [[1, 4, 3], [-1, 2, 3], [1, 2, 5]])
    back = scene.surface.vertices @ scene.frame[:3, :3].T + scene.frame[:3, 3]
    np.testing.assert_allclose(back, np.eye(3), atol=1e-12)


def test_a_mesh_that_is_a_link_out_of_the_folder_is_not_followed(tmp_path):
    """process_mesh_local.sh of the original makes such links."""
    write_ply(tmp_path / "mesh.ply", MESH)
    folder = shape(tmp_path / "a" / "b")
    (folder / "mesh_orig.ply").symlink_to(tmp_path / "mesh.ply")
    assert isinstance(ldif.read(folder).surface, Points)
    (folder / "surface_samples_from_dodeca.pts").unlink()
    with pytest.raises(DataMissing, match=r"mesh_orig\.ply is a link out of its folder"):
        ldif.read(folder)
    (folder / "mesh_orig.ply").unlink()
    assert ldif.read(folder).surface is None


def test_scenes_by_split_and_without(tmp_path):
    for name in ("test/chair/b", "test/chair/a", "train/chair/c"):
        shape(tmp_path / name)
    assert [ldif.name(p) for p in ldif.scenes(tmp_path)] == ["chair-a", "chair-b"]
    assert [ldif.name(p) for p in ldif.training(tmp_path)] == ["chair-c"]
    assert [ldif.name(p) for p in ldif.scenes(tmp_path / "train")] == ["chair-c"]
    assert [ldif.name(p) for p in ldif.scenes(tmp_path / "train" / "chair")] == ["chair-c"]
    single = tmp_path / "train" / "chair" / "c"
    assert ldif.scenes(single) == [single]
    (single / "nss_points.sdf").unlink()
    assert not ldif.detect(single)
    assert ldif.scenes(tmp_path / "gone") == []


@pytest.mark.parametrize("name", ["nss_points.sdf", "uniform_points.sdf", "surface_samples_from_dodeca.pts"])
def test_bad_samples_are_named(tmp_path, name):
    folder = shape(tmp_path / "a" / "b")
    whole = (folder / name).read_bytes()
    for data in (whole[:-1], whole[:-4], b""):
        (folder / name).write_bytes(data)
        with pytest.raises(DataCorrupt, match=rf"{name} has {len(data)} bytes, not [46] float32"):
            ldif.read(folder)
    (folder / name).write_bytes(np.full(24, np.nan, np.float32).tobytes())
    with pytest.raises(DataCorrupt, match="NaN"):
        ldif.read(folder)


def test_a_file_beyond_all_sizes_is_not_read(tmp_path, monkeypatch):
    assert ldif._MOST == 2**30
    NEAR.tofile(tmp_path / "x")
    monkeypatch.setattr(ldif, "_MOST", NEAR.nbytes)
    assert ldif.read_samples(tmp_path / "x", 4).shape == (30, 4)
    monkeypatch.setattr(ldif, "_MOST", NEAR.nbytes - 1)
    with pytest.raises(DataCorrupt, match=f"has {NEAR.nbytes} bytes"):
        ldif.read_samples(tmp_path / "x", 4)


def test_missing_samples_are_named(tmp_path):
    folder = shape(tmp_path / "a" / "b", frame=False)
    np.testing.assert_array_equal(ldif.read(folder).frame, np.eye(4))
    (folder / "uniform_points.sdf").unlink()
    with pytest.raises(DataMissing, match=r"uniform_points\.sdf"):
        ldif.read(folder)


@pytest.mark.parametrize(
    "text", ["1 2 3", "x " * 16, "1 0 0 0 0 2 0 0 0 0 1 0 0 0 0 1", "0 " * 16, "nan " * 16, "1 " * 16]
)
def test_matrices_that_are_no_similarity_are_named(tmp_path, text):
    folder = shape(tmp_path / "a" / "b")
    (folder / "orig_to_gaps.txt").write_text(text)
    with pytest.raises(DataCorrupt, match=r"orig_to_gaps\.txt is no"):
        ldif.read(folder)
    mirrored = np.diag([-1.0, 1, 1, 1])
    for matrix in (mirrored, TURN.T):
        np.savetxt(folder / "orig_to_gaps.txt", matrix)
        with pytest.raises(DataCorrupt, match="no rotation, factor and translation"):
            ldif.read(folder)


def test_what_is_written_is_read_back(tmp_path):
    before = ldif.read(shape(tmp_path / "test" / "chair" / "b c"))
    ldif.write(tmp_path / "out", [before], "train")
    (path,) = ldif.training(tmp_path / "out")
    after = ldif.read(path)
    assert after.name == before.name
    for old, new in ((before.given.samples, after.given.samples), (before.occupancy, after.occupancy)):
        np.testing.assert_array_equal(old.xyz, new.xyz)
        np.testing.assert_array_equal(old.value, new.value)
    np.testing.assert_array_equal(before.surface.xyz, after.surface.xyz)
    np.testing.assert_array_equal(before.surface.normal, after.surface.normal)
    np.testing.assert_allclose(before.frame, after.frame, rtol=1e-14, atol=1e-15)


def test_scenes_of_other_formats_are_written(tmp_path):
    samples = Points(NEAR[:, :3], value=NEAR[:, 3], kind="sdf")
    scene = Scene("s", Given(samples=samples), [[-1] * 3, [1] * 3], surface=Points(NEAR[:, :3]))
    ldif.write(tmp_path, [scene])
    after = ldif.read(tmp_path / "test" / "shapes" / "s")
    np.testing.assert_array_equal(after.given.samples.xyz, NEAR[:, :3])
    np.testing.assert_array_equal(after.occupancy.xyz, NEAR[15:, :3])
    assert not after.surface.normal.any()
    np.testing.assert_array_equal(after.frame, np.eye(4))
    with pytest.raises(DataMissing, match="no signed distances"):
        ldif.write(tmp_path, [Scene("s", Given(), scene.box)])
