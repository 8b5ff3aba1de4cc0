import json

import igl
import numpy as np
import pytest
from trimesh import Trimesh
from trimesh.ray.ray_pyembree import RayMeshIntersector

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import deepsdf

POS = np.float32([[0.5, 0, 0, 0.1], [0.6, 0, 0, 0.2]])
NEG = np.float32([[0.1, 0, 0, -0.1], [0.2, 0, 0, 0.0], [0.3, 0, 0, -0.3]])
OFFSET, SCALE = np.array([1.0, -2.0, 3.0]), np.array([0.5])
CLOUD = "ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty float y\nproperty float z\nend_header\n"


def shape(root, name="ShapeNetV2/03636649/ab", pos=POS, neg=NEG, **more):
    file = root / "SdfSamples" / f"{name}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, pos=pos, neg=neg, **more)
    return file


def normalisation(root, name="ShapeNetV2/03636649/ab", **arrays):
    file = root / "NormalizationParameters" / f"{name}.npz"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **{"offset": OFFSET, "scale": SCALE} | arrays)


def surface(root, rows, name="ShapeNetV2/03636649/ab"):
    file = root / "SurfaceSamples" / f"{name}.ply"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(CLOUD + "\n".join(" ".join(map(str, row)) for row in rows) + "\n")


def split(path, *shapes, dataset="ShapeNetV2"):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({dataset: {"03636649": list(shapes)}}))


def test_a_shape_is_read(tmp_path):
    scene = deepsdf.read(shape(tmp_path))
    assert scene.name == "03636649-ab"
    assert scene.given.kinds() == deepsdf.given == ("samples",)
    np.testing.assert_array_equal(scene.given.samples.xyz[:, 0], np.float32([0.5, 0.6, 0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(scene.given.samples.value, np.float32([0.1, 0.2, -0.1, 0, -0.3]))
    assert scene.given.samples.kind == "sdf"
    np.testing.assert_array_equal(scene.box, [[-1] * 3, [1] * 3])
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert scene.surface is None
    assert deepsdf.splits(tmp_path) == {}


def test_normalised_coordinates_are_point_plus_offset_times_scale(tmp_path):
    normalisation(tmp_path)
    surface(tmp_path, [(1, 2, 3), (-1, 2, -3)])
    scene = deepsdf.read(shape(tmp_path))
    np.testing.assert_allclose(scene.surface.xyz, [[1, 0, 3], [0, 0, 0]])
    back = scene.surface.xyz @ scene.frame[:3, :3].T + scene.frame[:3, 3]
    np.testing.assert_allclose(back, [[1, 2, 3], [-1, 2, -3]])
    np.testing.assert_array_equal(scene.frame[:3, 3], -OFFSET)
    assert scene.frame[0, 0] == 2


def test_rows_with_nan_are_dropped_and_counted(tmp_path):
    pos, neg = np.repeat(POS, 2, 0), np.repeat(NEG, 2, 0)
    pos[0, 3], pos[2, 0], neg[5, 1] = np.nan, np.nan, np.inf
    points, dropped = deepsdf.read_samples(shape(tmp_path, pos=pos, neg=neg))
    assert dropped == 3
    assert len(points) == 7
    assert deepsdf.read_samples(shape(tmp_path))[1] == 0
    with pytest.raises(DataCorrupt, match=r"ab\.npz holds no points"):
        deepsdf.read_samples(shape(tmp_path, pos=POS * np.nan, neg=NEG * np.nan))


def test_distances_of_the_wrong_sign_are_named(tmp_path):
    with pytest.raises(DataCorrupt, match=r"ab\.npz: pos holds a distance of -0\.2"):
        deepsdf.read(shape(tmp_path, pos=POS * np.float32([[1, 1, 1, 1], [1, 1, 1, -1]])))
    with pytest.raises(DataCorrupt, match=r"ab\.npz: neg holds a distance of 0\.1"):
        deepsdf.read(shape(tmp_path, neg=-NEG))
    assert len(deepsdf.read(shape(tmp_path, pos=POS * 0)).given.samples) == 5


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"pos": POS[:, :3]}, r"'pos' has shape \(2, 3\), not \(N, 4\)"),
        ({"neg": np.array([[None] * 4], object)}, "unpickled"),
        ({"neg": NEG.astype(str)}, "not numbers"),
    ],
)
def test_bad_samples_are_named(tmp_path, arrays, words):
    with pytest.raises(DataCorrupt, match=words):
        deepsdf.read(shape(tmp_path, **arrays))


def test_bad_normalisations_and_surfaces_are_named(tmp_path):
    file = shape(tmp_path)
    for bad in ({"scale": np.array([0.0])}, {"scale": np.array([-1.0])}, {"offset": OFFSET * np.nan}):
        normalisation(tmp_path, **bad)
        with pytest.raises(DataCorrupt, match=r"NormalizationParameters.*ab\.npz: offset"):
            deepsdf.read(file)
    normalisation(tmp_path, offset=OFFSET[:2])
    with pytest.raises(DataCorrupt, match="'offset' has shape"):
        deepsdf.read(file)
    normalisation(tmp_path)
    surface(tmp_path, [(1, 2, 3)])
    with pytest.raises(DataCorrupt, match=r"SurfaceSamples.*ab\.ply"):
        deepsdf.read(file)


def test_splits_choose_and_shapes_without_samples_are_left_out(tmp_path):
    a, b, c = (shape(tmp_path, f"ShapeNetV2/03636649/{name}") for name in "abc")
    assert deepsdf.scenes(tmp_path) == [a, b, c]
    assert deepsdf.training(tmp_path) == []
    assert deepsdf.scenes(a) == [a]
    assert deepsdf.training(a) == []
    split(tmp_path / "sv2_lamps_test.json", "c", "rejected")
    split(tmp_path / "splits" / "sv2_lamps_train.json", "b", "a", "b")
    assert deepsdf.scenes(tmp_path) == [c]
    assert deepsdf.training(tmp_path) == [b, a]
    assert deepsdf.missing(tmp_path) == ["ShapeNetV2/03636649/rejected"]
    split(tmp_path / "sv2_lamps_test.json", "gone")
    with pytest.raises(DataMissing, match="None of the 1 shapes"):
        deepsdf.scenes(tmp_path)


def test_links_that_lead_out_are_refused(tmp_path):
    out = shape(tmp_path / "out")
    file = shape(tmp_path / "data")
    file.unlink()
    file.symlink_to(out)
    split(tmp_path / "data" / "x_test.json", "ab")
    with pytest.raises(DataCorrupt, match="leads out"):
        deepsdf.scenes(tmp_path / "data")


def test_a_list_beyond_all_sizes_is_not_read(tmp_path, monkeypatch):
    assert deepsdf._MOST == 2**26
    (tmp_path / "x.json").write_text("{}")
    monkeypatch.setattr(deepsdf, "_MOST", 2)
    assert deepsdf.read_split(tmp_path / "x.json") == []
    monkeypatch.setattr(deepsdf, "_MOST", 1)
    with pytest.raises(DataCorrupt, match="has 2 bytes: no list"):
        deepsdf.read_split(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"[1]", "no list of shapes"),
        (b'{"a": 1}', "no list of shapes"),
        (b'{"a": {"b": "c"}}', "no list of shapes"),
        (b'{"a": {"b": [1]}}', "no list of shapes"),
        (b'{"a": {"b": ["../../../x"]}}', "no place"),
    ],
)
def test_bad_splits_are_named(tmp_path, text, words):
    shape(tmp_path)
    (tmp_path / "x_test.json").write_bytes(text)
    with pytest.raises(DataCorrupt, match=rf"x_test\.json.*{words}"):
        deepsdf.scenes(tmp_path)
    with pytest.raises(DataMissing, match=r"gone\.json"):
        deepsdf.read_split(tmp_path / "gone.json")


def test_folders_of_other_formats_are_left_alone(tmp_path):
    file = shape(tmp_path)
    assert deepsdf.detect(file)
    np.savez(tmp_path / "SdfSamples" / "other.npz", pos=POS)
    np.savez(tmp_path / "other.npz", pos=POS, neg=NEG)
    assert not deepsdf.detect(tmp_path / "SdfSamples" / "other.npz")
    assert not deepsdf.detect(tmp_path / "other.npz")
    assert deepsdf.scenes(tmp_path) == [file]
    assert deepsdf.scenes(tmp_path / "other.npz") == deepsdf.scenes(tmp_path / "gone") == []
    with pytest.raises(DataMissing, match="SdfSamples"):
        deepsdf.read(tmp_path / "other.npz")


def test_what_is_written_is_read_back(tmp_path):
    normalisation(tmp_path / "in")
    surface(tmp_path / "in", [(1, 2, 3), (-1, 2, -3)])
    before = deepsdf.read(shape(tmp_path / "in"))
    deepsdf.write(tmp_path / "out", [before])
    found = deepsdf.scenes(tmp_path / "out")
    assert deepsdf.read_split(tmp_path / "out" / "nfbench_test.json") == ["nfbench/03636649/ab"]
    after = deepsdf.read(found[0])
    assert after.name == before.name
    np.testing.assert_array_equal(before.given.samples.xyz, after.given.samples.xyz)
    np.testing.assert_array_equal(before.given.samples.value, after.given.samples.value)
    np.testing.assert_allclose(before.frame, after.frame, rtol=1e-15)
    np.testing.assert_allclose(before.surface.xyz, after.surface.xyz, rtol=1e-6, atol=1e-7)


def test_scenes_of_other_formats_are_written(tmp_path):
    samples = Points(POS[:, :3], value=np.float32([-1, 1]), kind="sdf")
    mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]))
    scene = Scene("s", Given(samples=samples), [[-1] * 3, [1] * 3], surface=mesh)
    deepsdf.write(tmp_path, [scene], "train")
    (path,) = deepsdf.training(tmp_path)
    assert path == tmp_path / "SdfSamples" / "nfbench" / "shapes" / "s.npz"
    after = deepsdf.read(path)
    assert after.given.samples.value.tolist() == [1, -1]
    assert len(after.surface) == 30_000
    np.testing.assert_allclose(np.abs(after.surface.normal), 3**-0.5, rtol=1e-6)
    with pytest.raises(DataMissing, match="no signed distances"):
        deepsdf.write(tmp_path, [Scene("s", Given(), scene.box)])
    with pytest.raises(ContractBroken, match="turns"):
        deepsdf.write(tmp_path, [Scene("s", scene.given, scene.box, frame=np.diag([1, 1, 2, 1]))])


def hidden(vertices, faces, xyz):
    """Whether no ray of many gets away from a point: inside, where faces are both ways round and no winding tells."""
    ray = RayMeshIntersector(Trimesh(vertices, faces, process=False))
    directions = np.random.default_rng(0).normal(size=(24, 3))
    return np.all([ray.intersects_any(xyz, np.tile(d, (len(xyz), 1))) for d in directions], axis=0)


def test_real_samples_against_their_meshes(real_data):
    """|sdf| against the exact distance: median 0.0003, p95 0.001, after the centre of the box and the largest norm."""
    root = real_data / "deepsdf_samples"
    found = deepsdf.scenes(root)
    assert [deepsdf.name(path) for path in found] == ["10", "17", "54"]
    for path in found:
        samples = deepsdf.read(path).given.samples
        assert len(samples) == 15_000
        mesh = read_mesh(root / "meshes" / f"{path.stem}.obj")
        vertices = mesh.vertices - (mesh.vertices.max(0) + mesh.vertices.min(0)) / 2
        vertices /= np.linalg.norm(vertices, axis=1).max()
        some = slice(None, None, 20)
        xyz, value = samples.xyz[some].astype(np.float64), samples.value[some]
        exact = np.sqrt(igl.point_mesh_squared_distance(xyz, vertices, mesh.faces)[0])
        off = np.abs(np.abs(value) - exact)
        assert np.median(off) < 6e-4
        assert np.quantile(off, 0.95) < 2e-3
        assert (hidden(vertices, mesh.faces, xyz) == (value < 0))[np.abs(value) > 0.003].all()


def test_real_splits(real_data):
    lists = sorted((real_data / "deepsdf_splits").glob("*.json"))
    counts = {path.stem: len(deepsdf.read_split(path)) for path in lists}
    assert len(counts) == 10
    assert counts["sv2_lamps_test"] < counts["sv2_lamps_train"]
    first = deepsdf.read_split(real_data / "deepsdf_splits" / "sv2_lamps_test.json")[0]
    assert first == "ShapeNetV2/03636649/d00391a3bec2a9456a44fdd49dec8069"
    assert deepsdf.scenes(real_data / "deepsdf_splits") == []
    for kind in ("chairs", "lamps", "planes", "sofas", "tables"):
        train, test = (set(deepsdf.read_split(lists[0].with_name(f"sv2_{kind}_{s}.json"))) for s in ("train", "test"))
        assert not train & test


def test_the_points_that_measure_cannot_be_opened(tmp_path):
    file = shape(tmp_path)
    assert deepsdf.read(file).withheld == ()
    surface(tmp_path, [(0, 0, 0), (1, 0, 0)])
    (withheld,) = deepsdf.read(file).withheld
    assert withheld.name == "ab.ply" and withheld.parts[-4] == "SurfaceSamples"
