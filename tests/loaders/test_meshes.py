import json

import numpy as np
import pytest
import trimesh

from nfbench.harness.dataset import task
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.guard import hidden_files
from nfbench.harness.meshfile import read_mesh, write_ply
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import clouds, meshes

BOX = trimesh.creation.box((4.0, 2.0, 1.0))
BOX.apply_translation((10, 20, 30))
CUBOID = Mesh(BOX.vertices, BOX.faces)


@pytest.mark.parametrize("ending", ["ply", "obj", "off", "stl", "glb"])
def test_each_format_is_read_and_normalised(tmp_path, ending):
    path = tmp_path / f"a ü.{ending}"
    path.write_bytes(
        b"" if (data := BOX.export(file_type=ending)) is None else data if isinstance(data, bytes) else data.encode()
    )
    assert meshes.scenes(tmp_path) == [path]
    scene = meshes.read(path, queries=500)
    assert scene.name == "a ü"
    assert scene.given.kinds() == meshes.given == ("cloud",)
    low, high = scene.surface.vertices.min(0), scene.surface.vertices.max(0)
    np.testing.assert_allclose([low, high], [[-0.5, -0.25, -0.125], [0.5, 0.25, 0.125]], atol=1e-6)
    back = scene.surface.vertices @ scene.frame[:3, :3].T + scene.frame[:3, 3]
    np.testing.assert_allclose([back.min(0), back.max(0)], [[8, 19, 29.5], [12, 21, 30.5]], rtol=1e-6)
    np.testing.assert_array_equal(scene.box, np.float32([[-0.55] * 3, [0.55] * 3]))
    within = (np.abs(scene.occupancy.xyz) < [0.5, 0.25, 0.125]).all(1)
    np.testing.assert_array_equal(scene.occupancy.value, within)
    assert scene.occupancy.kind == "occupancy"
    assert len(scene.occupancy) == 500
    assert np.abs(scene.occupancy.xyz).max() <= 0.55
    assert np.abs(scene.occupancy.xyz).max() > 0.53
    assert meshes.splits(path) == {}


def test_what_is_given_is_300_noisy_points_of_the_surface(tmp_path):
    write_ply(tmp_path / "a.ply", CUBOID)
    assert meshes.QUERIES == 100_000
    read = lambda **choices: meshes.read(tmp_path / "a.ply", queries=10, **choices)  # noqa: E731

    def off(xyz):
        beyond = np.abs(xyz) - [0.5, 0.25, 0.125]
        return np.abs(np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(1), 0))

    cloud = read().given.cloud
    assert len(cloud) == 300
    assert 0.002 < off(cloud.xyz).mean() < 0.008
    assert off(read(noise=0).given.cloud.xyz).max() < 1e-6
    assert len(read(points=7).given.cloud) == 7
    np.testing.assert_array_equal(cloud.xyz, read().given.cloud.xyz)
    assert (read(seed=1).given.cloud.xyz != cloud.xyz).any()
    assert (read(seed=1).occupancy.xyz != read().occupancy.xyz).any()


def test_a_mesh_with_every_face_both_ways_round_has_no_inside(tmp_path):
    write_ply(tmp_path / "a.ply", Mesh(CUBOID.vertices, np.concatenate([CUBOID.faces, CUBOID.faces[:, ::-1]])))
    assert meshes.read(tmp_path / "a.ply", queries=200).occupancy is None


def test_training_scenes_give_their_occupancy(tmp_path):
    write_ply(tmp_path / "a.ply", CUBOID)
    scene = meshes.read_training(tmp_path / "a.ply")
    assert scene.given.kinds() == ("cloud", "samples")
    assert len(scene.given.samples) == 100_000
    assert scene.surface is None


def test_names_that_differ_in_the_ending_only(tmp_path):
    write_ply(tmp_path / "a.ply", CUBOID)
    BOX.export(tmp_path / "a.off")
    write_ply(tmp_path / "b.ply", CUBOID)
    assert [meshes.name(p) for p in meshes.scenes(tmp_path)] == ["a_off", "a_ply", "b"]


def test_folders_of_other_formats_are_left_alone(tmp_path):
    write_ply(tmp_path / "a.ply", CUBOID)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "stats.json").write_text("{}")
    (tmp_path / "bad.ply").write_text("no ply")
    (tmp_path / ".hidden.npz").write_text("")
    (tmp_path / "Textures").mkdir()
    assert meshes.scenes(tmp_path) == [tmp_path / "a.ply"]
    assert meshes.scenes(tmp_path / "a.ply") == meshes.scenes(tmp_path / "gone") == []
    (tmp_path / "images").mkdir()
    assert meshes.scenes(tmp_path) == []
    (tmp_path / "images").rmdir()
    for ending in ("npz", "npy", "lst", "hdf5", "h5", "binvox"):
        (tmp_path / f"x.{ending}").write_text("x")
        assert meshes.scenes(tmp_path) == []
        (tmp_path / f"x.{ending}").unlink()
    clouds.write(tmp_path / "c", [Scene("s", Given(), [[-1] * 3, [1] * 3], surface=Points(CUBOID.vertices))])
    assert meshes.scenes(tmp_path / "c") == []


def test_bad_meshes_are_named(tmp_path):
    write_ply(tmp_path / "a.ply", Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64)))
    with pytest.raises(DataCorrupt, match=r"a\.ply holds no faces"):
        meshes.read(tmp_path / "a.ply")
    with pytest.raises(DataMissing, match=r"gone\.obj"):
        meshes.read(tmp_path / "gone.obj")
    (tmp_path / "c.off").write_text(f"OFF\n{'9' * 5000} 1 0\n0 0 0\n")  # more digits than Python converts
    with pytest.raises(DataCorrupt, match=r"c\.off: the OFF header declares counts of more than 18 digits"):
        meshes.read(tmp_path / "c.off")
    write_ply(tmp_path / "b.ply", Mesh(CUBOID.vertices * 0 + np.eye(3).repeat(3, 0)[:8] * 1e-31, CUBOID.faces))
    with pytest.raises(DataCorrupt, match=r"b\.ply"):
        meshes.read(tmp_path / "b.ply")


def test_what_is_written_is_read_back(tmp_path):
    write_ply(tmp_path / "a.ply", CUBOID)
    before = meshes.read(tmp_path / "a.ply", queries=100)
    meshes.write(tmp_path / "out", [before])
    original = read_mesh(tmp_path / "out" / "a.ply")
    np.testing.assert_allclose(original.vertices, CUBOID.vertices, rtol=1e-14)
    np.testing.assert_array_equal(original.faces, CUBOID.faces)
    after = meshes.read(tmp_path / "out" / "a.ply", queries=100)
    np.testing.assert_allclose(after.surface.vertices, before.surface.vertices, atol=1e-14)
    np.testing.assert_allclose(after.given.cloud.xyz, before.given.cloud.xyz, atol=1e-6)
    with pytest.raises(DataMissing, match="no true mesh"):
        meshes.write(tmp_path, [Scene("s", Given(), before.box, surface=Points(CUBOID.vertices))])


def test_real_meshes(real_data):
    """Boxes as the statistics beside them say, and the part inside is the volume."""
    root = real_data / "meshes"
    stats = json.loads((root / "mesh_stats.json").read_text())["stats"]
    found = meshes.scenes(root)
    assert {path.name for path in found} == set(stats)
    for path in found:
        known = stats[path.name]
        scene = meshes.read(path, queries=2000)
        low, high = np.array(known["bounds"])
        np.testing.assert_allclose(scene.frame[0, 0], (high - low).max(), rtol=1e-9)
        np.testing.assert_allclose(scene.frame[:3, 3], (low + high) / 2, atol=1e-9)
        assert len(scene.surface.faces) == known["F"]
        if known["watertight"]:
            part = known["volume"] / scene.frame[0, 0] ** 3 / 1.1**3
            assert abs(scene.occupancy.value.mean() - part) < 4 * np.sqrt(part * (1 - part) / 2000)


# --- inputs


def cuboid_distance(xyz):
    beyond = np.abs(xyz.astype(np.float64)) - [0.5, 0.25, 0.125]
    return np.linalg.norm(np.maximum(beyond, 0), axis=1) + np.minimum(beyond.max(1), 0)


def test_signed_distances_are_exact_and_kept(tmp_path):
    write_ply(tmp_path / "a.ply", CUBOID)
    read = lambda **choices: meshes.read(  # noqa: E731
        tmp_path / "a.ply", "samples", queries=500, samples=2000, cache=tmp_path / "cache", **choices
    )
    scene = read()
    samples = scene.given.samples
    assert scene.given.kinds() == ("samples",) and samples.kind == "sdf" and len(samples) == 2000
    np.testing.assert_allclose(samples.value, cuboid_distance(samples.xyz), atol=1e-6)
    assert (samples.value < 0).any() and (np.abs(samples.value) < 0.03).mean() > 0.4
    assert np.abs(samples.xyz[np.abs(samples.value) > 0.3]).max() <= 0.55
    assert not {tuple(p) for p in samples.xyz.tolist()} & {tuple(p) for p in scene.occupancy.xyz.tolist()}
    (kept,) = (tmp_path / "cache").rglob("*.npz")
    np.savez(kept, xyz=samples.xyz, distance=samples.value + 1)  # what is kept is read again
    np.testing.assert_allclose(read().given.samples.value, samples.value + 1, atol=1e-6)
    assert (read(seed=1).given.samples.xyz != samples.xyz).any()
    write_ply(tmp_path / "a.ply", Mesh(CUBOID.vertices * (1, 1, 2), CUBOID.faces))
    changed = read()  # another mesh under the same name
    assert len(list((tmp_path / "cache").rglob("*.npz"))) == 3
    assert np.abs(changed.given.samples.value - cuboid_distance(changed.given.samples.xyz)).max() > 0.05


def test_voxels_of_a_mesh(tmp_path):
    write_ply(tmp_path / "a.ply", CUBOID)
    for read in (meshes.read, meshes.read_training):
        scene = read(tmp_path / "a.ply", "voxels")
        voxels = scene.given.voxels
        assert voxels.filled.shape == (32, 32, 32)
        inside = (np.abs(voxels.centres()) < [0.5, 0.25, 0.125]).all(1)
        np.testing.assert_array_equal(voxels.filled.ravel(), inside)
    assert scene.given.kinds() == ("samples", "voxels")


def test_a_mesh_without_an_inside_gives_no_samples(tmp_path):
    write_ply(tmp_path / "a.ply", Mesh(CUBOID.vertices, np.concatenate([CUBOID.faces, CUBOID.faces[:, ::-1]])))
    for kind in ("samples", "voxels"):
        with pytest.raises(Unsupported, match=f"no inside, and so cannot give {kind}"):
            meshes.read(tmp_path / "a.ply", kind, queries=200)


def test_sub_tasks_of_a_folder_of_meshes(tmp_path):
    (tmp_path / "m").mkdir()
    write_ply(tmp_path / "m" / "a.ply", CUBOID)
    part = task(f"{tmp_path / 'm'}+from-voxels")
    scene = part.test[0].open()
    assert (part.name, scene.given.kinds()) == ("meshes/m+from-voxels", ("voxels",))
    assert hidden_files(scene) == [tmp_path / "m" / "a.ply"]
