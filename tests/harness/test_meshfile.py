import json

import numpy as np
import pytest
import trimesh

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.meshfile import read_mesh, write_ply
from nfbench.harness.scene import Mesh


def cube():
    return Mesh(*igl_cube())


def igl_cube():
    box = trimesh.creation.box()
    return np.asarray(box.vertices), np.asarray(box.faces)


def volume(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def test_ply_round_trip_is_exact(tmp_path):
    rng = np.random.default_rng(0)
    mesh = Mesh(rng.normal(size=(100, 3)), rng.integers(0, 100, (150, 3)))
    write_ply(tmp_path / "mesh.ply", mesh)
    again = read_mesh(tmp_path / "mesh.ply")
    np.testing.assert_array_equal(again.vertices, mesh.vertices)
    np.testing.assert_array_equal(again.faces, mesh.faces)
    assert [p.name for p in tmp_path.iterdir()] == ["mesh.ply"]


def test_empty_mesh_round_trip(tmp_path):
    write_ply(tmp_path / "mesh.ply", Mesh(np.empty((0, 3)), np.empty((0, 3), int)))
    assert len(read_mesh(tmp_path / "mesh.ply").faces) == 0


@pytest.mark.parametrize("ending", ["ply", "obj", "off", "stl"])
def test_reads_what_trimesh_writes(tmp_path, ending):
    vertices, faces = igl_cube()
    trimesh.Trimesh(vertices, faces, process=False).export(tmp_path / f"cube.{ending}")
    mesh = read_mesh(tmp_path / f"cube.{ending}")
    assert len(mesh.faces) == 12
    assert volume(mesh) == pytest.approx(1)
    if ending != "stl":
        np.testing.assert_allclose(mesh.vertices, vertices)
        np.testing.assert_array_equal(mesh.faces, faces)


PENTAGON = """ply
format ascii 1.0
comment a house, and a triangle beside it
element vertex 6
property float x
property float y
property float z
property uchar red
element face 2
property list uchar int vertex_indices
end_header
0 0 0 9
1 0 0 9
1 1 0 9
.5 1.5 0 9
0 1 0 9
2 0 0 9
5 0 1 2 3 4
3 1 5 2
"""


def test_polygons_become_triangles(tmp_path):
    (tmp_path / "house.ply").write_text(PENTAGON)
    mesh = read_mesh(tmp_path / "house.ply")
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert np.cross(b - a, c - a)[:, 2].sum() / 2 == pytest.approx(1.25 + 0.5)
    assert len(mesh.faces) == 4


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.97])
def test_truncated_ply_is_refused(tmp_path, binary, part):
    ball = trimesh.creation.icosphere(subdivisions=2)
    content = trimesh.exchange.ply.export_ply(ball, encoding="binary" if binary else "ascii")
    (tmp_path / "ball.ply").write_bytes(content[: int(len(content) * part)])
    with pytest.raises(DataCorrupt, match=r"ball\.ply"):
        read_mesh(tmp_path / "ball.ply")


@pytest.mark.parametrize("part", [0.005, 0.3, 0.6, 0.97])
def test_truncated_off_is_refused(tmp_path, part):
    content = trimesh.creation.icosphere(subdivisions=2).export(file_type="off")
    (tmp_path / "ball.off").write_text(content[: int(len(content) * part)])
    with pytest.raises(DataCorrupt, match=r"ball\.off"):
        read_mesh(tmp_path / "ball.off")


def test_truncated_stl_is_refused(tmp_path):
    content = trimesh.creation.icosphere(subdivisions=2).export(file_type="stl")
    (tmp_path / "ball.stl").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataCorrupt, match=r"ball\.stl"):
        read_mesh(tmp_path / "ball.stl")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("absurd.ply", PENTAGON.replace("face 2", "face 2000000000")),
        ("absurd.ply", PENTAGON.replace("ascii", "binary_little_endian").replace("vertex 6", "vertex 90000000000")),
        ("absurd.off", "OFF\n4000000000 4000000000 0\n0 0 0\n"),
        ("points.ply", PENTAGON.replace("element face 2\nproperty list uchar int vertex_indices\n", "")),
        ("beyond.ply", PENTAGON.replace("3 1 5 2", "3 1 7 2")),
        ("nan.ply", PENTAGON.replace("2 0 0 9", "nan 0 0 9")),
        ("header.ply", PENTAGON.replace("element vertex 6", "element vertex -6")),
        ("endless.ply", PENTAGON.replace("end_header", "")),
        ("other.ply", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"),
        ("other.off", PENTAGON),
        ("other.obj", PENTAGON),
        ("other.stl", PENTAGON),
        ("empty.ply", ""),
        ("empty.obj", ""),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataCorrupt, match=name):
        read_mesh(tmp_path / name)


def test_missing_file_and_other_format(tmp_path):
    with pytest.raises(DataMissing, match=r"none\.ply"):
        read_mesh(tmp_path / "none.ply")
    with pytest.raises(Unsupported, match=r"\.glb"):
        read_mesh(tmp_path / "mesh.glb")


@pytest.mark.parametrize("name", ["bunny.off", "cube.obj", "fandisk.off", "snail.obj", "sphere.obj", "spot.obj"])
def test_reads_real_meshes(real_data, name):
    expected = json.loads((real_data / "meshes" / "mesh_stats.json").read_text())["stats"][name]
    mesh = read_mesh(real_data / "meshes" / name)
    assert (len(mesh.vertices), len(mesh.faces)) == (expected["V"], expected["F"])
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], expected["bounds"], atol=1e-9)
    if expected["volume"]:
        assert volume(mesh) == pytest.approx(expected["volume"], rel=1e-9)
