import io

import numpy as np
import pytest

from nfbench.harness.cloudfile import read_cloud
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.meshfile import write_ply
from nfbench.harness.scene import Mesh

XYZ = np.array([[1.5, -2, 3], [4, 5, 6.25], [7, 8, 9]])
UNIT = np.array([[1, 0, 0], [0, -1, 0], [0, 0.6, 0.8]])


def ply(path, columns, form="binary_little_endian", before="", body=b"", kinds=None, count=None, end="\n"):
    """A PLY whose vertices have the given columns, name to numbers, of the given kinds (double)."""
    kinds = kinds or dict.fromkeys(columns, "double")
    codes = {"double": "f8", "float": "f4", "uchar": "u1", "int16": "i2", "uint": "u4"}
    length = len(next(iter(columns.values())))
    lines = ["ply", f"format {form} 1.0", "comment made by hand"]
    lines += [*([before] if before else []), f"element vertex {length if count is None else count}"]
    lines += [f"property {kinds[name]} {name}" for name in columns] + ["element face 0"]
    lines += ["property list uchar int vertex_indices", "end_header", ""]
    if form == "ascii":
        rows = ["\t".join(repr(float(v)) for v in row) for row in zip(*columns.values(), strict=True)]
        data = "\n".join(rows).encode()
    else:
        order = "<" if "little" in form else ">"
        table = np.empty(length, [(name, order + codes[kinds[name]]) for name in columns])
        for name, values in columns.items():
            table[name] = values
        data = table.tobytes()
    path.write_bytes(end.join(lines).encode() + body + data)
    return path


def named(*names):
    all_columns = dict(zip(("x", "y", "z", "nx", "ny", "nz"), np.c_[XYZ, UNIT].T, strict=True))
    return {name: all_columns.get(name, np.array([200, 1, 2])) for name in names}


FORMS = ["ascii", "binary_little_endian", "binary_big_endian"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_ply_of_every_form(tmp_path, form, end):
    points = read_cloud(ply(tmp_path / "a.ply", named("x", "y", "z"), form, end=end))
    assert points.xyz.dtype == np.float32
    np.testing.assert_array_equal(points.xyz, XYZ)
    assert points.normal is None


@pytest.mark.parametrize("form", FORMS)
def test_ply_columns_are_found_by_name_whatever_their_order_and_kind(tmp_path, form):
    names = ("nz", "red", "z", "y", "quality", "nx", "x", "ny")
    kinds = dict(zip(names, ("double", "uchar", "float", "float", "int16", "float", "double", "float"), strict=True))
    points = read_cloud(ply(tmp_path / "A.PLY", named(*names), form, kinds=kinds))
    np.testing.assert_array_equal(points.xyz, XYZ)
    np.testing.assert_allclose(points.normal, UNIT, atol=1e-7)
    some = read_cloud(ply(tmp_path / "b.ply", named("x", "y", "z", "nx", "ny"), form))
    assert some.normal is None


@pytest.mark.parametrize("form", FORMS)
def test_ply_elements_before_the_vertices_are_passed_over(tmp_path, form):
    before = "element camera 2\nproperty float focal\nproperty uchar id"
    body = b"1.5 3\n2.5 4\n" if form == "ascii" else bytes(10)
    points = read_cloud(ply(tmp_path / "a.ply", named("x", "y", "z"), form, before, body))
    np.testing.assert_array_equal(points.xyz, XYZ)


def test_ply_lists_before_the_vertices_are_read_as_text_only(tmp_path):
    before = "element strip 1\nproperty list uchar int indices"
    points = read_cloud(ply(tmp_path / "a.ply", named("x", "y", "z"), "ascii", before, b"3 1 2 3\n"))
    np.testing.assert_array_equal(points.xyz, XYZ)
    with pytest.raises(Unsupported, match="lists before"):
        read_cloud(ply(tmp_path / "b.ply", named("x", "y", "z"), FORMS[1], before, b"\0"))
    among = "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\n"
    (tmp_path / "c.ply").write_text(among + "property list uchar int near\nend_header\n1 2 3 1 0\n")
    with pytest.raises(Unsupported, match="lists before or among"):
        read_cloud(tmp_path / "c.ply")


def test_the_vertices_of_a_mesh_are_a_cloud(tmp_path):
    write_ply(tmp_path / "mesh.ply", Mesh(XYZ, np.array([[0, 1, 2]])))
    np.testing.assert_array_equal(read_cloud(tmp_path / "mesh.ply").xyz, XYZ)


@pytest.mark.parametrize("form", FORMS)
def test_no_points_are_points(tmp_path, form):
    empty = {name: np.empty(0) for name in ("x", "y", "z", "nx", "ny", "nz")}
    points = read_cloud(ply(tmp_path / "a.ply", empty, form))
    assert points.xyz.shape == points.normal.shape == (0, 3)


@pytest.mark.parametrize("form", FORMS)
def test_counts_beyond_the_file_are_refused(tmp_path, form):
    with pytest.raises(DataCorrupt, match="declares 4000000000 vertices, at least"):
        read_cloud(ply(tmp_path / "a.ply", named("x", "y", "z"), form, count=4_000_000_000))
    with pytest.raises(DataCorrupt, match="declares 4 vertices"):
        read_cloud(ply(tmp_path / "b.ply", named("x", "y", "z"), form, count=4))
    cut = ply(tmp_path / "c.ply", named("x", "y", "z"), form)
    cut.write_bytes(cut.read_bytes()[:-1])
    if form != "ascii":  # which loses a digit, and nothing tells
        with pytest.raises(DataCorrupt, match="declares 3 vertices, at least 72 bytes, and has 71"):
            read_cloud(cut)


def test_ascii_room_is_two_bytes_a_number_but_for_the_last_line(tmp_path):
    digits = "ply\nformat ascii 1.0\nelement vertex {}\nproperty char x\nproperty char y\nproperty char z\nend_header\n"
    (tmp_path / "a.ply").write_text(digits.format(2) + "1 2 3\n4 5 6")
    assert read_cloud(tmp_path / "a.ply").xyz.tolist() == [[1, 2, 3], [4, 5, 6]]
    (tmp_path / "a.ply").write_text(digits.format(3) + "1 2 3\n4 5 6")
    with pytest.raises(DataCorrupt, match="at least 18 bytes, and has 12"):
        read_cloud(tmp_path / "a.ply")
    (tmp_path / "a.ply").write_text(digits.format(3) + "1 2 3\n4 5 6\n\n\n\n\n\n\n\n")
    with pytest.raises(DataCorrupt, match="declares 3 vertices and has 2"):
        read_cloud(tmp_path / "a.ply")
    (tmp_path / "a.ply").write_text(digits.format(2) + "1 2 3\n4 five 6")
    with pytest.raises(DataCorrupt, match="a vertex cannot be read"):
        read_cloud(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("header", "word"),
    [
        ("plx\nformat ascii 1.0\nend_header\n", "not a PLY"),
        ("ply\nformat ascii 1.0\nelement vertex 1\n", "does not end"),
        ("ply\nformat ascii 1.0\nend_header", "does not end"),
        ("ply\nformat text 1.0\nelement vertex 0\nend_header\n", "format 'text'"),
        ("ply\nelement vertex 0\nend_header\n", "format ''"),
        ("ply\nformat ascii\nend_header\n", "the line 'format ascii'"),
        ("ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", "the line 'element vertex -1'"),
        ("ply\nformat ascii 1.0\nelement vertex \N{SUPERSCRIPT TWO}\nend_header\n", "the line"),
        ("ply\nformat ascii 1.0\nproperty float x\nend_header\n", "the line 'property float x'"),
        ("ply\nformat ascii 1.0\nproperty list uchar int x\nend_header\n", "the line"),
        ("ply\nformat ascii 1.0\nelement vertex 1\nproperty quad x\nend_header\n", "the line 'property quad x'"),
        ("ply\nformat ascii 1.0\nelement vertex 1\nelement vertex 1\nend_header\n", "the line 'element vertex 1'"),
        ("ply\nformat ascii 1.0\nelement a 1\nproperty char x\nproperty int x\nend_header\n", "'property int x'"),
        ("ply\nformat ascii 1.0\nelement point 1\nproperty float x\nend_header\n", "no vertices with x, y and z"),
        (
            "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nend_header\n1 2\n",
            "no vertices",
        ),
    ],
)
def test_damaged_headers_are_named(tmp_path, header, word):
    (tmp_path / "a.ply").write_bytes(header.encode("latin-1"))
    with pytest.raises(DataCorrupt, match=word) as caught:
        read_cloud(tmp_path / "a.ply")
    assert "a.ply" in caught.value.message


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("ending", ["ascii.ply", "binary.ply", "xyz", "npy"])
def test_values_that_are_not_finite_are_named_with_their_file(tmp_path, bad, ending):
    xyz = XYZ.copy()
    xyz[1, 2] = bad
    path = tmp_path / f"cloud.{ending}"
    if ending.endswith("ply"):
        ply(path, dict(zip("xyz", xyz.T, strict=True)), "ascii" if "ascii" in ending else FORMS[1])
    elif ending == "xyz":
        np.savetxt(path, xyz)
    else:
        np.save(path, xyz)
    with pytest.raises(DataCorrupt, match=r"cloud.*xyz holds NaN or infinity in row 1"):
        read_cloud(path)


def test_xyz_with_and_without_normals(tmp_path):
    (tmp_path / "a.xyz").write_text("# three\n1.5 -2 3\n\n4 5 6.25\n")
    points = read_cloud(tmp_path / "a.xyz")
    np.testing.assert_array_equal(points.xyz, XYZ[:2])
    assert points.normal is None
    np.savetxt(tmp_path / "b.xyz", np.c_[XYZ, UNIT])
    points = read_cloud(tmp_path / "b.xyz")
    np.testing.assert_array_equal(points.xyz, XYZ)
    np.testing.assert_allclose(points.normal, UNIT, atol=1e-7)
    (tmp_path / "c.xyz").write_text("1 2 3")
    assert read_cloud(tmp_path / "c.xyz").xyz.tolist() == [[1, 2, 3]]


def test_npy_of_numbers(tmp_path):
    np.save(tmp_path / "a.npy", XYZ)
    np.testing.assert_array_equal(read_cloud(tmp_path / "a.npy").xyz, XYZ)
    np.save(tmp_path / "b.npy", np.c_[XYZ, UNIT].astype(np.float16))
    np.testing.assert_allclose(read_cloud(tmp_path / "b.npy").normal, UNIT, atol=1e-3)
    np.save(tmp_path / "c.npy", np.arange(6).reshape(2, 3))
    assert read_cloud(tmp_path / "c.npy").xyz.tolist() == [[0, 1, 2], [3, 4, 5]]
    np.save(tmp_path / "d.npy", np.empty((0, 3)))
    assert len(read_cloud(tmp_path / "d.npy")) == 0


@pytest.mark.parametrize("ending", ["xyz", "npy"])
def test_six_columns_that_are_no_normals_are_named(tmp_path, ending):
    def write(columns):
        np.savetxt(tmp_path / "a.xyz", columns)
        np.save(tmp_path / "a.npy", columns)
        return tmp_path / f"a.{ending}"

    colours = np.c_[XYZ, UNIT]
    colours[1, 3:] = 200, 100, 0
    with pytest.raises(DataCorrupt, match=r"no unit normal in row 1: \[200"):
        read_cloud(write(colours))
    assert read_cloud(write(np.c_[XYZ, UNIT * 1.0099])).normal is not None
    with pytest.raises(DataCorrupt, match="no unit normal in row 0"):
        read_cloud(write(np.c_[XYZ, UNIT * 1.0101]))
    with pytest.raises(DataCorrupt, match="no unit normal in row 2"):
        read_cloud(write(np.c_[XYZ, UNIT * [[1], [1], [np.nan]]]))
    with pytest.raises(DataCorrupt, match="shape \\(3, 4\\)"):
        read_cloud(write(np.c_[XYZ, XYZ[:, 0]]))


def test_arrays_that_are_no_clouds_are_named(tmp_path):
    path = tmp_path / "a.npy"
    for array, word in [
        (np.zeros(3), "shape \\(3,\\)"),
        (np.zeros((2, 3, 3)), "shape"),
        (np.zeros((2, 3), complex), "no array of numbers"),
        (np.zeros((2, 3), "U4"), "no array of numbers"),
        (np.zeros((2, 3), bool), "no array of numbers"),
        (np.zeros((2, 3), object), "cannot be read as NPY"),
    ]:
        np.save(path, array, allow_pickle=True)
        with pytest.raises(DataCorrupt, match=word):
            read_cloud(path)
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f8", "fortran_order": False, "shape": (1 << 40, 3)})
    path.write_bytes(buffer.getvalue() + bytes(48))
    with pytest.raises(DataCorrupt, match="cannot be read as NPY"):
        read_cloud(path)
    np.savez(tmp_path / "b.npz", XYZ)
    path.write_bytes((tmp_path / "b.npz").read_bytes())
    with pytest.raises(DataCorrupt, match="no array of numbers"):
        read_cloud(path)
    path.write_bytes(b"what")
    with pytest.raises(DataCorrupt, match="cannot be read as NPY"):
        read_cloud(path)


def test_files_that_are_no_clouds_are_named(tmp_path):
    with pytest.raises(Unsupported, match=r"'\.pcd'"):
        read_cloud(tmp_path / "a.pcd")
    with pytest.raises(DataMissing, match=r"no point cloud .*a\.xyz"):
        read_cloud(tmp_path / "a.xyz")
    for name in ("a.ply", "a.xyz", "a.npy"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataCorrupt, match="0 bytes"):
            read_cloud(tmp_path / name)
    for text, word in [
        ("# nothing\n", "shape"),
        ("1 2 3\n4 5\n", "cannot be read as XYZ"),
        ("a b c\n", "cannot be read"),
    ]:
        (tmp_path / "a.xyz").write_text(text)
        with pytest.raises(DataCorrupt, match=word):
            read_cloud(tmp_path / "a.xyz")
    (tmp_path / "a.xyz").write_bytes(b"\x89PNG\r\n\x1a\n\0\xff")
    with pytest.raises(DataCorrupt, match="cannot be read as XYZ"):
        read_cloud(tmp_path / "a.xyz")
