import base64
import json
import struct
import zipfile

import numpy as np
import pytest
import trimesh

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.meshfile import FORMATS, is_cloud, read_mesh, write_ply
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
    for name in ("none.ply", "none.obj", "none.glb"):
        with pytest.raises(DataMissing, match=f"There is no mesh .*{name}"):
            read_mesh(tmp_path / name)
    with pytest.raises(Unsupported, match=r"'\.blend' files\.\n") as caught:
        (tmp_path / "mesh.blend").write_bytes(b"BLENDER")
        read_mesh(tmp_path / "mesh.blend")
    for ending in FORMATS:
        assert ending in caught.value.hint
    assert ".xyz" not in caught.value.hint
    with pytest.raises(Unsupported, match="unnamed"):
        read_mesh(tmp_path / "mesh")
    if "dae" not in trimesh.exchange.load.mesh_formats():
        with pytest.raises(Unsupported, match="needs the package pycollada"):
            read_mesh(tmp_path / "mesh.dae")
    with pytest.raises(DataMissing, match=r"folder\.ply is a folder"):
        (tmp_path / "folder.ply").mkdir()
        read_mesh(tmp_path / "folder.ply")


def test_files_that_may_not_be_read(tmp_path, monkeypatch):
    def refuse(self, *_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "mesh.ply").write_text(PENTAGON)
    monkeypatch.setattr(type(tmp_path), "open", refuse)
    with pytest.raises(DataMissing, match=r"mesh\.ply cannot be opened: Permission denied"):
        read_mesh(tmp_path / "mesh.ply")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.obj", b"\xff\xd8\xff\xe0JFIF", "a JPEG image, not OBJ"),
        ("a.ply", b"\x89PNG\r\n", "a PNG image, not PLY"),
        ("a.stl", b"GIF89a", "a GIF image, not STL"),
        ("a.off", b"%PDF-1.4", "a PDF file, not OFF"),
        ("a.ply", b"<!DOCTYPE html><title>404", "an HTML page, not PLY"),
        ("a.obj", b"\n<html>", "an HTML page, not OBJ"),
        ("a.ply", b"\x93NUMPY\x01", "a NumPy array, not PLY"),
        ("a.obj", b"\x1f\x8b\x08", "a gzip file, not OBJ"),
        ("a.ply", b"glTF\x02\0\0\0", "a GLB file, not PLY"),
        ("a.ply", b"OFF\n3 1 0\n", "an OFF file, not PLY"),
        ("a.glb", b"ply\nformat ascii 1.0\n", "a PLY file, not GLB"),
        ("a.obj", b"ply\r\nformat", "a PLY file, not OBJ"),
        ("a.ply", b"o cube\nv 0 0 0\n", "not a PLY file: it does not start with 'ply'"),
        ("a.obj", b"Kaydara FBX Binary  ", "an FBX file, not OBJ"),
        ("a.obj", b"v 0 0 0\0", "not an OBJ file: it is not text"),
        ("a.obj", b"Dear reader,\nno mesh here\n", "holds no faces"),
        ("a.glb", b"hello hello hello hello hello", "not a GLB file of version 2"),
        ("a.gltf", b"{", "JSON cannot be read"),
        ("a.gltf", b"[" * 100_000, "JSON cannot be read: RecursionError"),
        ("a.gltf", b"[]", "JSON has no asset"),
        ("a.gltf", b'{"asset": {"version": "2.0"}, "meshes": 3}', "no sound glTF"),
        ("a.xyz", b"0 0 0\n", "is a point cloud"),
        ("a.npy", b"\x93NUMPY", "is a point cloud"),
        ("a.obj", b"v 0 0 0\nv 1 0 0\n", "is a point cloud: 2 vertices and no faces"),
    ],
)
def test_other_formats_than_the_name_says(tmp_path, name, content, says):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataCorrupt, match=f"{name} .*{says}|{name}: .*{says}"):
        read_mesh(tmp_path / name)


@pytest.mark.parametrize("name", ["a.ply", "a.obj", "a.stl", "a.glb"])
def test_git_lfs_pointers(tmp_path, name):
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(DataMissing, match=f"{name} is a Git LFS pointer"):
        read_mesh(tmp_path / name)


TWO = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0.5], [2, 3, 4]])


def binary_ply(order, lists, vertices=TWO, between=b"", extra="", length="B"):
    """A PLY with an element before the vertices, and faces as given, of one property more."""
    name, mark = {"<": ("little", "<"), ">": ("big", ">")}[order]
    kind = {"B": "uchar", "I": "uint", "b": "char", "f": "float"}[length]
    header = (
        f"ply\nformat binary_{name}_endian 1.0\nelement material 2\nproperty uchar red\n"
        "property list uchar short ids\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty double y\nproperty float z\nproperty uchar a\n"
        f"{extra}element face {len(lists)}\nproperty uchar flag\nproperty list {kind} int vertex_index\nend_header\n"
    )
    body = struct.pack(f"{mark}BBhh", 7, 2, 1, 2) + struct.pack(f"{mark}BBh", 7, 1, 5)
    body += b"".join(struct.pack(f"{mark}fdfB", *row, 9) for row in vertices) + between
    body += b"".join(struct.pack(f"{mark}B{length}{len(f)}i", 1, len(f), *f) for f in lists)
    return header.encode() + body


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("lists", "triangles"),
    [
        ([[0, 1, 2], [0, 2, 3]], [[0, 1, 2], [0, 2, 3]]),
        ([[0, 1, 2, 3], [4, 3, 2, 1]], [[0, 1, 2], [0, 2, 3], [4, 3, 2], [4, 2, 1]]),
        (
            [[0, 1, 2], [4, 0, 1, 2, 3], [1, 2, 3, 4]],
            [[0, 1, 2], [4, 0, 1], [4, 1, 2], [4, 2, 3], [1, 2, 3], [1, 3, 4]],
        ),
    ],
)
def test_binary_ply_of_any_polygons_and_elements(tmp_path, order, lists, triangles):
    (tmp_path / "a.ply").write_bytes(binary_ply(order, lists))
    mesh = read_mesh(tmp_path / "a.ply")
    np.testing.assert_array_equal(mesh.vertices, TWO)
    np.testing.assert_array_equal(mesh.faces, triangles)
    assert not is_cloud(tmp_path / "a.ply")


def test_bombs_of_lists_are_refused(tmp_path):
    for length, count, says in [("I", 4_000_000_000, "4000000000"), ("b", -1, "-1"), ("f", 2.5, "-1")]:
        content = bytearray(binary_ply("<", [[0, 1, 2], [0, 1, 2]], length=length))
        at = len(content) - 2 * (1 + struct.calcsize(length) + 12) + 1
        content[at : at + struct.calcsize(length)] = struct.pack(f"<{length}", count)
        (tmp_path / "bomb.ply").write_bytes(content)
        with pytest.raises(DataCorrupt, match=rf"bomb\.ply ends within its rows, or a list of {says} "):
            read_mesh(tmp_path / "bomb.ply")
    (tmp_path / "bomb.ply").write_bytes(binary_ply("<", [[0, 1, 2]], extra="element ghost 9000000000\n"))
    assert len(read_mesh(tmp_path / "bomb.ply").faces) == 1, "rows of nothing take no room"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("3 1 5 2", "3 1 6 2", "face 1 names vertex 6; there are 6"),
        ("3 1 5 2", "3 1 -1 2", "face 1 names vertex -1"),
        ("3 1 5 2", "3 1 1.5 2", "face 1 names vertex 1.5"),
        ("3 1 5 2", "3 1 nan 2", "face 1 names vertex nan"),
        ("3 1 5 2", "2 1 5", "face 1 has 2 corners"),
        ("3 1 5 2", "3 1 5", "ends within its rows"),
        ("3 1 5 2", "4000000000 1 5 2", "a list of 4000000000"),
        ("2 0 0 9", "2 0 zero 9", "a number cannot be read"),
        ("2 0 0 9", "2 0 1e30 9", "coordinate of 1e\\+30, whose square float32 cannot hold"),
        ("2 0 0 9", "-2e18 0 0 9", "coordinate of 2e\\+18"),
        ("2 0 0 9", "inf 0 0 9", "NaN or infinity in vertex 5"),
        ("property float z", "property float y", "the line 'property float y'"),
        ("property float z", "property quad z", "the line 'property quad z'"),
        ("property float z", "property list uchar float z", "no vertices with x, y and z"),
        ("property float z", "property float w", "no vertices with x, y and z"),
        ("property float z", "property float #z", "the line 'property float #z'"),
        ("element face 2", "element vertex 2", "the line 'element vertex 2'"),
        ("element face 2", "element face two", "the line 'element face two'"),
        ("element face 2", "element tristrips 2", "strips"),
        ("element face 2", "element edge 2", "is a point cloud: 6 vertices and no faces"),
        ("element vertex 6", "element node 6", "no vertices and faces"),
        ("vertex_indices", "v\nproperty list uchar int w", "ends within its rows"),
        ("property list uchar int vertex_indices", "property int vertex_indices", "without vertex_indices"),
        ("format ascii", "format utf8", "the format 'utf8'"),
        ("element vertex 6", "element vertex 4000000000", "declares 4000000000 vertex rows and 2 face rows, at least"),
    ],
)
def test_damaged_ply(tmp_path, old, new, says):
    assert old in PENTAGON
    (tmp_path / "bad.ply").write_text(PENTAGON.replace(old, new))
    with pytest.raises(DataCorrupt, match=rf"bad\.ply.*{says}"):
        read_mesh(tmp_path / "bad.ply")


def test_ascii_ply_of_any_line_ends(tmp_path):
    (tmp_path / "a.ply").write_bytes(PENTAGON.replace("\n", "\r\n").encode())
    (tmp_path / "b.ply").write_text(PENTAGON.rstrip("\n"))
    (tmp_path / "ünï çødé.PLY").write_text(PENTAGON.replace("a house", "ein Häuschen"), encoding="utf-8")
    expected = [[0, 1, 2], [0, 2, 3], [0, 3, 4], [1, 5, 2]]
    for name in ("a.ply", "b.ply", "ünï çødé.PLY"):
        np.testing.assert_array_equal(read_mesh(tmp_path / name).faces, expected)


def test_the_largest_coordinates_that_are_read(tmp_path):
    (tmp_path / "far.ply").write_text(PENTAGON.replace("2 0 0 9", "-1e18 0 0 9"))
    assert read_mesh(tmp_path / "far.ply").vertices.min() == -1e18


OBJ = """# a comment
mtllib none.mtl
o thing
v 0 0 0
v 1 0 0 0.5 0.5 0.5
v 1 1 0
vt 0 0
vn 0 0 1
  f 1/1/1 2//1 3 # the first
usemtl red
v 0 1 0
v 5 5 \\
  5
f -5 -3 -2
s off
f 1/1 2/1 3/1 4/1 5/1
"""


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_obj(tmp_path, ends):
    (tmp_path / "a.obj").write_bytes(OBJ.replace("\n", ends).encode())
    mesh = read_mesh(tmp_path / "a.obj")
    np.testing.assert_array_equal(mesh.vertices, [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [5, 5, 5]])
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3], [0, 3, 4]])


def test_relative_indices_count_from_their_own_place(tmp_path):
    squares = "".join(f"v {x} 0 0\nv {x} 1 0\nv {x} 0 1\nf -3 -2 -1\n" for x in range(4))
    (tmp_path / "a.obj").write_text(squares)
    np.testing.assert_array_equal(read_mesh(tmp_path / "a.obj").faces, np.arange(12).reshape(4, 3))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("f -5 -3 -2", "f -6 -3 -2", "face 2 names vertex -6; there are 5"),
        ("f -5 -3 -2", "f 6 3 2", "face 2 names vertex 6; there are 5"),
        ("f -5 -3 -2", "f 0 3 2", "face 2 names vertex 0; there are 5"),
        ("f -5 -3 -2", "f 3 2", "face 2 has 2 corners"),
        ("f -5 -3 -2", "f 3 2 # 4 5", "face 2 has 2 corners"),
        ("f -5 -3 -2", "f 3 2 x", "a face cannot be read"),
        ("f -5 -3 -2", "f 3 2 99999999999999999999", "a face cannot be read"),
        ("v 0 1 0", "v 0 1", "vertex 4 has no three coordinates"),
        ("v 0 1 0", "v 0 1 one", "a vertex cannot be read"),
        ("v 0 1 0", "v 0 1 nan", "The mesh has NaN or infinity in vertex 3"),
    ],
)
def test_damaged_obj(tmp_path, old, new, says):
    (tmp_path / "bad.obj").write_text(OBJ.replace(old, new))
    with pytest.raises(DataCorrupt, match=rf"bad\.obj: {says}"):
        read_mesh(tmp_path / "bad.obj")


@pytest.mark.parametrize("ending", ["obj", "ply", "off"])
def test_a_polygon_of_a_hundred_thousand_corners(tmp_path, ending):
    count = 100_000
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    rows = [f"{x:.9f} {y:.9f} 0" for x, y in zip(np.cos(turn), np.sin(turn), strict=True)]
    numbers = " ".join(map(str, range(count)))
    text = {
        "obj": "\n".join(f"v {row}" for row in rows) + "\nf " + " ".join(map(str, range(1, count + 1))) + "\n",
        "off": f"OFF\n{count} 1 0\n" + "\n".join(rows) + f"\n{count} {numbers}\n",
        "ply": f"ply\nformat ascii 1.0\nelement vertex {count}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face 1\nproperty list int int vertex_indices\nend_header\n{chr(10).join(rows)}\n{count} {numbers}\n",
    }[ending]
    (tmp_path / f"disc.{ending}").write_text(text)
    mesh = read_mesh(tmp_path / f"disc.{ending}")
    assert len(mesh.faces) == count - 2
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert np.cross(b - a, c - a)[:, 2].sum() / 2 == pytest.approx(np.pi, rel=1e-6)


@pytest.mark.parametrize("ending", ["obj", "ply"])
def test_faces_without_area(tmp_path, ending):
    trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False).export(tmp_path / f"flat.{ending}")
    with pytest.raises(DataCorrupt, match=r"flat\.\w+: none of its 1 faces has an area"):
        read_mesh(tmp_path / f"flat.{ending}")


@pytest.mark.parametrize(
    ("name", "content", "cloud"),
    [
        ("a.ply", PENTAGON, False),
        ("a.ply", PENTAGON.replace("element face 2", "element face 0"), True),
        ("a.ply", PENTAGON.replace("element face 2", "element edge 2"), True),
        ("a.ply", PENTAGON.replace("element face 2", "element tristrips 2"), False),
        ("a.ply", PENTAGON.replace("face 2", "face 0").replace("vertex 6", "vertex 0"), False),
        ("a.xyz", "", True),
        ("a.NPY", "", True),
        ("a.obj", "v 0 0 0\n", False),
    ],
)
def test_is_cloud(tmp_path, name, content, cloud):
    (tmp_path / name).write_text(content)
    assert is_cloud(tmp_path / name) is cloud


def test_is_cloud_needs_a_header(tmp_path):
    with pytest.raises(DataMissing, match=r"none\.ply"):
        is_cloud(tmp_path / "none.ply")
    (tmp_path / "a.ply").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataCorrupt, match="JPEG"):
        is_cloud(tmp_path / "a.ply")


def scene():
    """A cube at the origin, and another twice as large beside it, by one mesh and two nodes."""
    box = trimesh.creation.box()
    made = trimesh.Scene()
    made.add_geometry(box, geom_name="box", node_name="small")
    place = trimesh.transformations.translation_matrix([5, 0, 0]) @ np.diag([2, 2, 2, 1])
    made.graph.update(frame_to="large", frame_from="world", matrix=place, geometry="box")
    return made


def gltf(change=lambda tree: None):
    """The scene as glTF, its buffer within it, after a change to its tree."""
    files = scene().export(file_type="gltf")
    tree = json.loads(files["model.gltf"])
    for buffer in tree["buffers"]:
        buffer["uri"] = "data:application/octet-stream;base64," + base64.b64encode(files[buffer["uri"]]).decode()
    change(tree)
    return json.dumps(tree)


@pytest.mark.parametrize("ending", ["glb", "gltf"])
def test_scenes_become_one_mesh(tmp_path, ending):
    content = scene().export(file_type="glb") if ending == "glb" else gltf().encode()
    (tmp_path / f"a.{ending}").write_bytes(content)
    mesh = read_mesh(tmp_path / f"a.{ending}")
    assert len(mesh.faces) == 24
    assert volume(mesh) == pytest.approx(1 + 8)
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[-0.5, -1, -1], [6, 1, 1]])


def test_buffers_beside_the_file_and_nowhere_else(tmp_path):
    files = scene().export(file_type="gltf")
    (tmp_path / "in").mkdir()
    for name, content in files.items():
        (tmp_path / "in" / name).write_bytes(content)
    path = tmp_path / "in" / "model.gltf"
    assert volume(read_mesh(path)) == pytest.approx(9)
    (buffer,) = json.loads(path.read_text())["buffers"][:1]
    (tmp_path / buffer["uri"]).write_bytes((tmp_path / "in" / buffer["uri"]).read_bytes())
    path.write_text(path.read_text().replace(buffer["uri"], f"../{buffer['uri']}"))
    with pytest.raises(Unsupported, match=r"outside of its folder"):
        read_mesh(path)
    path.write_text(path.read_text().replace("../", "no"))
    with pytest.raises(DataMissing, match=r"names the buffer 'no.*', which is not there"):
        read_mesh(path)


def changed(**changes):
    def change(tree):
        tree["accessors"][0].update(changes)
        tree["accessors"][1].update(changes)

    return change


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (changed(count=4_000_000_000), DataCorrupt, "accessor 0 takes"),
        (changed(count=-3), DataCorrupt, "accessor 0 takes -"),
        (changed(componentType=1), DataCorrupt, "no sound glTF: KeyError"),
        (changed(bufferView=99), DataCorrupt, "IndexError"),
        (changed(sparse={}), Unsupported, "sparse"),
        (changed(normalized=True), Unsupported, "normalized"),
        (lambda tree: tree["accessors"][0].pop("bufferView"), Unsupported, "missing geometry"),
        (lambda tree: tree["meshes"][0]["primitives"][0].update(mode=6), Unsupported, "triangle fans"),
        (lambda tree: tree["meshes"][0]["primitives"][0].update(mode=0), DataCorrupt, "is a point cloud"),
        (lambda tree: tree.update(extensionsRequired=["KHR_draco_mesh_compression"]), Unsupported, "KHR_draco"),
        (lambda tree: tree.update(scenes=[{"nodes": []}]), DataCorrupt, r"bad\.gltf"),
    ],
)
def test_damaged_gltf(tmp_path, change, error, says):
    (tmp_path / "bad.gltf").write_text(gltf(change))
    with pytest.raises(error, match=says) as caught:
        read_mesh(tmp_path / "bad.gltf")
    assert "bad.gltf" in caught.value.message


def test_a_mesh_in_too_many_places(tmp_path, monkeypatch):
    import nfbench.harness.scenefile as module

    tree = json.loads(gltf())
    (each,) = {tree["accessors"][p["indices"]]["count"] + 8 for p in tree["meshes"][0]["primitives"]}
    (tmp_path / "a.gltf").write_text(json.dumps(tree))
    monkeypatch.setattr(module, "_MOST", 2 * each)
    assert len(read_mesh(tmp_path / "a.gltf").faces) == 24
    monkeypatch.setattr(module, "_MOST", 2 * each - 1)
    with pytest.raises(Unsupported, match=f"places {2 * each} corners and vertices"):
        read_mesh(tmp_path / "a.gltf")


@pytest.mark.parametrize("at", [8, 12])
@pytest.mark.parametrize("number", [0xFFFFFFFF, 1])
def test_lengths_in_glb(tmp_path, at, number):
    content = bytearray(scene().export(file_type="glb"))
    content[at : at + 4] = struct.pack("<I", number)
    (tmp_path / "bad.glb").write_bytes(content)
    with pytest.raises(DataCorrupt, match=r"bad\.glb"):
        read_mesh(tmp_path / "bad.glb")
    (tmp_path / "bad.glb").write_bytes(scene().export(file_type="glb")[:-10])
    with pytest.raises(DataCorrupt, match="declares"):
        read_mesh(tmp_path / "bad.glb")


def test_stl_by_its_length(tmp_path):
    content = bytearray(trimesh.creation.box().export(file_type="stl"))
    content[:10] = b"solid name"
    (tmp_path / "a.stl").write_bytes(content)
    assert volume(read_mesh(tmp_path / "a.stl")) == pytest.approx(1)
    content[:4] = b"ply\n"
    (tmp_path / "a.stl").write_bytes(content)
    assert len(read_mesh(tmp_path / "a.stl").faces) == 12
    content[:4] = b"\0\0\0\0"
    content[80:84] = b"\xff\xff\xff\xff"
    (tmp_path / "a.stl").write_bytes(content)
    with pytest.raises(DataCorrupt, match="declares 4294967295 triangles"):
        read_mesh(tmp_path / "a.stl")
    (tmp_path / "t.stl").write_text(trimesh.creation.box().export(file_type="stl_ascii"))
    assert volume(read_mesh(tmp_path / "t.stl")) == pytest.approx(1)


def test_archives_that_unpack_to_too_much(tmp_path, monkeypatch):
    import nfbench.harness.scenefile as module

    with zipfile.ZipFile(tmp_path / "a.3mf", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("3D/3dmodel.model", "0" * 5000)
    monkeypatch.setattr(module, "_MOST", 4999)
    with pytest.raises(Unsupported, match=r"a\.3mf unpacks to 5000 bytes"):
        module.read_scene(tmp_path / "a.3mf")


def mutated(content, rng):
    """The content with one to four changes: bytes set, cut, repeated, or the end lost."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        at, how = int(rng.integers(len(data))), rng.integers(6)
        if how == 0:
            data[at] = rng.integers(256)
        elif how == 1 and at:
            del data[at:]
        elif how == 2 and len(data) > 60:
            del data[at : at + int(rng.integers(1, 50))]
        elif how == 3:
            data[at:at] = data[at : at + 50]
        elif how == 4:
            data[at : at + 4] = int(rng.choice([0, 1, 255, 2**31, 2**32 - 1])).to_bytes(4, "little")
        else:
            data[at % 300 % len(data)] = rng.integers(256)
        data = data or bytearray(b"\0")
    return bytes(data)


def test_whatever_a_file_holds_only_named_errors_come_out(tmp_path):
    ball, rng, refused = trimesh.creation.icosphere(subdivisions=1), np.random.default_rng(0), 0
    seeds = [
        ("ply", trimesh.exchange.ply.export_ply(ball)),
        ("ply", trimesh.exchange.ply.export_ply(ball, encoding="ascii")),
        ("ply", binary_ply(">", [[0, 1, 2], [0, 1, 2, 3]])),
        ("obj", OBJ.encode()),
        ("off", ball.export(file_type="off").encode()),
        ("stl", ball.export(file_type="stl")),
        ("glb", scene().export(file_type="glb")),
        ("gltf", gltf().encode()),
    ]
    for turn in range(320):
        ending, content = seeds[turn % len(seeds)]
        path = tmp_path / f"f.{ending}"
        path.write_bytes(mutated(content, rng))
        try:
            assert len(read_mesh(path).vertices) < 10_000
        except NfbenchError as error:
            refused += 1
            assert str(path) in error.message
    assert 200 < refused < 320


@pytest.mark.parametrize("name", ["bunny.off", "cube.obj", "fandisk.off", "snail.obj", "sphere.obj", "spot.obj"])
def test_reads_real_meshes(real_data, name):
    expected = json.loads((real_data / "meshes" / "mesh_stats.json").read_text())["stats"][name]
    mesh = read_mesh(real_data / "meshes" / name)
    assert (len(mesh.vertices), len(mesh.faces)) == (expected["V"], expected["F"])
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], expected["bounds"], atol=1e-9)
    if expected["volume"]:
        assert volume(mesh) == pytest.approx(expected["volume"], rel=1e-9)
