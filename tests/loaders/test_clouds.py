import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.meshfile import write_ply
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import clouds, siren_xyz

XYZ = np.random.default_rng(0).uniform(-1, 3, (50, 3)).astype(np.float32)
NORMAL = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
PLY = (
    "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 2 3\n"
)
BOX = [[-1] * 3, [1] * 3]


def test_a_folder_of_clouds_is_read(tmp_path):
    np.save(tmp_path / "b ü.npy", np.concatenate([XYZ, NORMAL], 1))
    (tmp_path / "a.ply").write_text(PLY)
    np.savetxt(tmp_path / "c.xyz", XYZ)
    (tmp_path / "README.md").write_text("notes")
    found = clouds.scenes(tmp_path)
    assert [clouds.name(path) for path in found] == ["a", "b ü", "c"]
    scene = clouds.read(found[1])
    assert scene.given.kinds() == clouds.given == ("cloud",)
    np.testing.assert_array_equal(scene.given.cloud.xyz, XYZ)
    np.testing.assert_array_equal(scene.surface.normal, NORMAL)
    assert scene.occupancy is None
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    room = 0.05 * np.ptp(XYZ, axis=0).max()
    np.testing.assert_allclose(scene.box, [XYZ.min(0) - room, XYZ.max(0) + room], rtol=1e-5)
    assert clouds.read(found[0]).surface.xyz.tolist() == [[1, 2, 3]]
    assert clouds.read(found[2]).surface.normal is None
    assert clouds.splits(found[0]) == {}


def test_names_that_differ_in_the_ending_only(tmp_path):
    np.save(tmp_path / "a.npy", XYZ)
    np.savetxt(tmp_path / "a.xyz", XYZ)
    np.save(tmp_path / "b.npy", XYZ)
    assert [clouds.name(path) for path in clouds.scenes(tmp_path)] == ["a_npy", "a_xyz", "b"]


def test_folders_of_other_formats_are_left_alone(tmp_path):
    np.save(tmp_path / "a.npy", XYZ)
    found = clouds.scenes(tmp_path)
    assert found == [tmp_path / "a.npy"]
    assert clouds.scenes(found[0]) == clouds.scenes(tmp_path / "gone") == []
    for name in ("transforms.json", "x_trans.txt", "image.png", "mesh.obj"):
        (tmp_path / name).write_text("x")
        assert clouds.scenes(tmp_path) == []
        (tmp_path / name).unlink()
    (tmp_path / "images").mkdir()
    assert clouds.scenes(tmp_path) == []
    (tmp_path / "images").rmdir()
    np.save(tmp_path / "poses_bounds.npy", np.zeros((20, 17)))
    assert clouds.scenes(tmp_path) == []


def test_folders_of_nothing_but_oriented_text_are_sirens(tmp_path):
    np.savetxt(tmp_path / "a.xyz", np.concatenate([XYZ, NORMAL], 1))
    assert siren_xyz.scenes(tmp_path) == [tmp_path / "a.xyz"]
    assert clouds.scenes(tmp_path) == []
    np.save(tmp_path / "b.npy", XYZ)
    assert siren_xyz.scenes(tmp_path) == []
    assert len(clouds.scenes(tmp_path)) == 2


@pytest.mark.parametrize(
    ("shape", "sound"), [((5, 3), True), ((5, 6), True), ((5, 4), False), ((3,), False), ((2, 5, 3), False)]
)
def test_arrays_are_clouds_by_their_shape(tmp_path, shape, sound):
    np.save(tmp_path / "a.npy", np.zeros(shape))
    assert clouds.detect(tmp_path / "a.npy") is sound


def test_meshes_are_no_clouds(tmp_path):
    write_ply(tmp_path / "a.ply", Mesh(np.eye(3), np.array([[0, 1, 2]])))
    (tmp_path / "b.ply").write_text("no ply")
    assert not clouds.detect(tmp_path / "a.ply")
    assert not clouds.detect(tmp_path / "b.ply")
    assert not clouds.detect(tmp_path / "gone.xyz")


def test_bad_clouds_are_named(tmp_path):
    for array, words in ((XYZ[:0], "holds no points"), (XYZ * np.nan, "NaN"), (np.ones((5, 6)), "no unit normal")):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(DataCorrupt, match=rf"a\.npy.*{words}"):
            clouds.read(tmp_path / "a.npy")
    with pytest.raises(DataMissing, match=r"gone\.npy"):
        clouds.read(tmp_path / "gone.npy")


def test_what_is_written_is_read_back_exactly(tmp_path):
    np.save(tmp_path / "a b.npy", np.concatenate([XYZ, NORMAL], 1))
    clouds.write(tmp_path / "out", [clouds.read(tmp_path / "a b.npy")])
    after = clouds.read(tmp_path / "out" / "a b.npy")
    np.testing.assert_array_equal(after.surface.xyz, XYZ)
    np.testing.assert_array_equal(after.surface.normal, NORMAL)


def test_scenes_of_other_formats_are_written(tmp_path):
    mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]))
    given = Given(cloud=Points(XYZ))
    long_normals = Points(XYZ, normal=NORMAL * 1.02)
    scenes = [
        Scene("mesh", given, BOX, surface=mesh),
        Scene("given", given, BOX),
        Scene("long", Given(), BOX, surface=long_normals),
    ]
    clouds.write(tmp_path, scenes)
    assert len(clouds.read(tmp_path / "mesh.npy").surface) == 100_000
    np.testing.assert_array_equal(clouds.read(tmp_path / "given.npy").surface.xyz, XYZ)
    assert clouds.read(tmp_path / "long.npy").surface.normal is None
    with pytest.raises(DataMissing, match="no true surface"):
        clouds.write(tmp_path, [Scene("s", Given(), BOX)])
    with pytest.raises(DataCorrupt, match="no place"):
        clouds.write(tmp_path, [Scene("../s", given, BOX)])
