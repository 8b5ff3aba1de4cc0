import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.inside import inside
from nfbench.harness.meshfile import write_ply
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import points2surf

RNG = np.random.default_rng(0)
SCAN = RNG.uniform(-0.5, 0.5, (40, 3)).astype(np.float32)
QUERY = RNG.uniform(-0.5, 0.5, (30, 3)).astype(np.float32)
DISTANCE = RNG.uniform(-0.3, 0.3, 30).astype(np.float32)
MESH = Mesh(np.eye(3) - 0.5, np.array([[0, 1, 2]]))


def shape(root, name="a", query=True, mesh=True):
    for folder in ("03_meshes", "04_pts", "05_query_pts", "05_query_dist"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    np.save(root / "04_pts" / f"{name}.xyz.npy", SCAN)
    if mesh:
        write_ply(root / "03_meshes" / f"{name}.ply", MESH)
    if query:
        np.save(root / "05_query_pts" / f"{name}.ply.npy", QUERY)
        np.save(root / "05_query_dist" / f"{name}.ply.npy", DISTANCE)
    return root / "04_pts" / f"{name}.xyz.npy"


def test_a_scan_is_read_and_positive_is_inside(tmp_path):
    scan = shape(tmp_path, "00994122_57d9_trimesh_000")
    scene = points2surf.read(scan)
    assert scene.name == "00994122_57d9_trimesh_000"
    assert scene.given.kinds() == points2surf.given == ("cloud",)
    np.testing.assert_array_equal(scene.given.cloud.xyz, SCAN)
    np.testing.assert_array_equal(scene.surface.vertices, MESH.vertices)
    np.testing.assert_array_equal(scene.occupancy.xyz, QUERY)
    np.testing.assert_array_equal(scene.occupancy.value, DISTANCE > 0)
    assert scene.occupancy.kind == "occupancy"
    low, high = np.minimum(SCAN.min(0), -0.5), np.maximum(SCAN.max(0), 0.5)
    np.testing.assert_allclose(
        scene.box, [low - 0.05 * (high - low).max(), high + 0.05 * (high - low).max()], atol=1e-6
    )
    truth = {path for path in tmp_path.rglob("*") if path.is_file() and path.parent.name != "04_pts"}
    assert set(scene.withheld) == truth
    learnt = points2surf.read_training(scan)
    assert learnt.given.kinds() == ("cloud", "samples")
    assert learnt.given.samples.kind == "sdf"
    np.testing.assert_array_equal(learnt.given.samples.value, -DISTANCE)
    assert learnt.surface is learnt.occupancy is None
    assert points2surf.splits(scan) == {}


def test_truth_may_be_missing(tmp_path):
    scan = shape(tmp_path, query=False, mesh=False)
    scene = points2surf.read(scan)
    assert scene.surface is scene.occupancy is None
    with pytest.raises(DataMissing, match=r"05_query_pts.*a\.ply\.npy"):
        points2surf.read_training(scan)


def test_lists_choose(tmp_path):
    a, b, c = (shape(tmp_path, name) for name in "abc")
    assert points2surf.scenes(tmp_path) == [a, b, c]
    assert points2surf.training(tmp_path) == []
    (tmp_path / "testset.txt").write_bytes(b"c\r\n\r\na")
    (tmp_path / "trainset.txt").write_text("b")
    assert points2surf.scenes(tmp_path) == [c, a]
    assert points2surf.training(tmp_path) == [b]
    assert points2surf.scenes(b) == [b]
    (tmp_path / "testset.txt").write_text("gone")
    with pytest.raises(DataMissing, match=r"testset\.txt names '04_pts/gone\.xyz\.npy'"):
        points2surf.scenes(tmp_path)
    (tmp_path / "testset.txt").write_text("../../a")
    with pytest.raises(DataCorrupt, match="no place"):
        points2surf.scenes(tmp_path)


def test_folders_of_other_formats_are_left_alone(tmp_path):
    (tmp_path / "testset.txt").write_text("a")
    (tmp_path / "trainset.txt").write_text("a")
    np.save(tmp_path / "a.xyz.npy", SCAN)
    assert points2surf.scenes(tmp_path) == points2surf.training(tmp_path) == []
    assert points2surf.scenes(tmp_path / "a.xyz.npy") == points2surf.scenes(tmp_path / "gone") == []
    assert not points2surf.detect(shape(tmp_path).with_name("gone.xyz.npy"))


def test_bad_files_are_named(tmp_path):
    scan = shape(tmp_path)
    for name, array, words in (
        ("05_query_dist/a.ply.npy", DISTANCE[:-1], r"05_query_dist.*shape \(29,\), not \(30\)"),
        ("05_query_dist/a.ply.npy", DISTANCE * np.nan, r"05_query_dist.*NaN"),
        ("05_query_pts/a.ply.npy", QUERY[:, :2], r"05_query_pts.*shape \(30, 2\)"),
        ("05_query_pts/a.ply.npy", np.array([[None] * 3], object), "unpickled"),
        ("04_pts/a.xyz.npy", np.zeros((5, 4)), r"04_pts.*shape \(5, 4\)"),
        ("04_pts/a.xyz.npy", SCAN[:0], "holds no points"),
    ):
        np.save(tmp_path / name, array)
        with pytest.raises(DataCorrupt, match=words):
            points2surf.read(scan)


def test_what_is_written_is_read_back_exactly(tmp_path):
    scan = shape(tmp_path / "in", "b ü")
    scene, learnt = points2surf.read(scan), points2surf.read_training(scan)
    both = Scene(scene.name, learnt.given, scene.box, surface=scene.surface)
    points2surf.write(tmp_path / "out", [both], "train")
    points2surf.write(tmp_path / "out", [both])  # into folders that are there
    (path,) = points2surf.training(tmp_path / "out")
    after, again = points2surf.read(path), points2surf.read_training(path)
    assert after.name == "b ü"
    np.testing.assert_array_equal(after.given.cloud.xyz, SCAN)
    np.testing.assert_array_equal(after.surface.vertices, MESH.vertices)
    np.testing.assert_array_equal(again.given.samples.value, -DISTANCE)
    np.testing.assert_array_equal(after.occupancy.value, scene.occupancy.value)
    np.testing.assert_array_equal(after.box, scene.box)


def test_scenes_of_other_formats_are_written(tmp_path):
    occupancy = Points(QUERY, value=(DISTANCE > 0).astype(np.float32), kind="occupancy")
    points2surf.write(tmp_path, [Scene("s", Given(samples=occupancy), [[-1] * 3, [1] * 3], surface=MESH)])
    scene = points2surf.read(points2surf.scenes(tmp_path)[0])
    assert len(scene.given.cloud) == 100_000
    assert scene.occupancy is None
    with pytest.raises(DataMissing, match="'s' has no cloud"):
        points2surf.write(tmp_path, [Scene("s", Given(), scene.box, surface=Points(QUERY))])


def test_real_scans(real_data):
    """Signs are positive inside, all of them, and distances are exact to five decimals."""
    import igl

    root = real_data / "points2surf_abc"
    found = points2surf.scenes(root)
    assert len(found) == 2
    for scan in found:
        scene = points2surf.read(scan)
        samples = points2surf.read_training(scan).given.samples
        assert len(samples) == 2000
        np.testing.assert_array_equal(inside(scene.surface, samples.xyz), samples.value < 0)
        np.testing.assert_array_equal(scene.occupancy.value, samples.value < 0)
        xyz = samples.xyz.astype(np.float64)
        exact = np.sqrt(igl.point_mesh_squared_distance(xyz, scene.surface.vertices, scene.surface.faces)[0])
        np.testing.assert_allclose(np.abs(samples.value), exact, atol=1e-5)
