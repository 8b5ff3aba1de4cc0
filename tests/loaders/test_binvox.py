import numpy as np
import pytest

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, Unsupported
from nfbench.harness.inside import inside
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import binvox
from nfbench.loaders.binvox import Grid, read_binvox, write_binvox

CORNER = np.array([-1.0, 2.0, 0.1])


def voxels(shape=(5, 4, 3), seed=0, scale=2.0):
    return Grid(np.random.default_rng(seed).random(shape) > 0.6, CORNER, scale)


def body(*pairs, dim="2 2 2", translate="0 0 0", scale="1", start="#binvox 1"):
    header = f"{start}\ndim {dim}\ntranslate {translate}\nscale {scale}\ndata\n"
    return header.encode() + bytes(x for pair in pairs for x in pair)


def test_y_runs_fastest_then_z_then_x(tmp_path):
    """Written by hand after the format's own page: index = x * (z * y) + z * y + y."""
    path = tmp_path / "a.binvox"
    path.write_bytes(body((0, 1), (1, 1), (0, 21 + 1), dim="4 3 2", translate="1 2 3", scale="8"))
    read = read_binvox(path)
    assert read.filled.shape == (4, 2, 3)
    assert np.argwhere(read.filled).tolist() == [[0, 1, 0]]
    path.write_bytes(body((0, 2), (1, 1), (0, 21), dim="4 3 2", translate="1 2 3", scale="8"))
    read = read_binvox(path)
    assert np.argwhere(read.filled).tolist() == [[0, 0, 1]]
    assert read.corner.tolist() == [1, 2, 3]
    assert read.scale == 8
    assert read.cell == 2
    samples = read.samples()
    assert samples.kind == "occupancy"
    assert samples.xyz[samples.value > 0].tolist() == [[2, 3, 6]]


@pytest.mark.parametrize("shape", [(5, 4, 3), (1, 1, 1), (40, 1, 1), (16, 16, 16)])
def test_files_read_back_as_they_were(tmp_path, shape):
    before = voxels(shape)
    write_binvox(tmp_path / "new" / "x.binvox", before)
    after = read_binvox(tmp_path / "new" / "x.binvox")
    np.testing.assert_array_equal(after.filled, before.filled)
    np.testing.assert_array_equal(after.corner, before.corner)
    assert after.scale == before.scale
    assert after.filled.flags.c_contiguous


@pytest.mark.parametrize("length", [254, 255, 256, 509, 510, 511, 1000])
def test_long_runs_are_cut(tmp_path, length):
    filled = np.zeros((1, 1001, 1), np.bool_)
    filled[0, 1 : 1 + length] = True
    write_binvox(tmp_path / "x.binvox", Grid(filled, CORNER, 1.0))
    data = (tmp_path / "x.binvox").read_bytes().split(b"data\n", 1)[1]
    assert 0 not in data[1::2]
    np.testing.assert_array_equal(read_binvox(tmp_path / "x.binvox").filled, filled)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (body((1, 7)), "declares 8 voxels and has 7"),
        (body((1, 9)), "declares 8 voxels and has 9"),
        (body((1, 8))[:-1], "declares 8 voxels and has 0"),
        (body((1, 8), (1,)), "declares 8 voxels"),
        (body((2, 8)), "a voxel of value 2"),
        (body((1, 8), dim="2 2"), "dim is 2 2, not 3"),
        (body((1, 8), dim="2 2 x"), "dim is 2 2 x"),
        (body((1, 8), dim="2 2 2.5"), "dim is 2 2 2.5"),
        (body((1, 8), dim="0 2 2"), "dim is 0 2 2"),
        (body((1, 8), dim="-2 -2 2"), "dim is -2 -2 2"),
        (body((1, 8), dim="2000 2000 2000"), "dim is 2000"),
        (body((1, 8), dim="nan 2 2"), "dim is nan"),
        (body((1, 8), scale="0"), "scale 0"),
        (body((1, 8), scale="-1"), "scale -1"),
        (body((1, 8), scale="inf"), "scale is inf"),
        (body((1, 8), scale="1e16"), "scale 1e"),
        (body((1, 8), translate="1e16 0 0"), "translate"),
        (body((1, 8), start="binvox"), "does not start"),
        (b"#binvox 1\ndim 2 2 2\n", "does not end"),
        (b"#binvox 1\ndim 2 2 2\nscale 1\ndata\n\x01\x08", "translate is missing"),
    ],
)
def test_bad_files_are_named(tmp_path, data, words):
    path = tmp_path / "bad.binvox"
    path.write_bytes(data)
    with pytest.raises(DataCorrupt, match=rf"bad\.binvox.*{words}"):
        read_binvox(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(DataMissing, match=r"gone\.binvox"):
        read_binvox(tmp_path / "gone.binvox")


def test_windows_line_ends_in_the_header_are_read(tmp_path):
    (tmp_path / "x.binvox").write_bytes(body((1, 8)).replace(b"2 2 2\n", b"2 2 2\r\n"))
    assert read_binvox(tmp_path / "x.binvox").filled.all()


def test_the_surface_is_closed_faces_outwards_and_parts_the_centres():
    grid = voxels((8, 8, 8))
    mesh = grid.mesh()
    samples = grid.samples()
    np.testing.assert_array_equal(inside(mesh, samples.xyz), samples.value > 0)
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6 > 0
    one = Grid(np.ones((1, 1, 1), np.bool_), np.zeros(3), 1.0).mesh()
    np.testing.assert_allclose([one.vertices.min(0), one.vertices.max(0)], [[0, 0, 0], [1, 1, 1]])


def test_fine_grids_are_thinned_evenly():
    grid = voxels((8, 8, 8))
    few, whole = grid.samples(64), grid.samples()
    assert len(few) == 64
    np.testing.assert_array_equal(few.xyz, whole.xyz[::8])
    np.testing.assert_array_equal(few.value, whole.value[::8])
    assert len(grid.samples(512)) == len(grid.samples(600)) == 512
    assert binvox.SAMPLES == 64**3


def test_a_folder_of_files_is_read_and_written(tmp_path):
    grid = voxels((6, 6, 6))
    write_binvox(tmp_path / "in" / "b ü.binvox", grid)
    write_binvox(tmp_path / "in" / "a.binvox", voxels((6, 5, 4), 1))
    (tmp_path / "in" / "c.binvox").write_bytes(b"something else")
    (tmp_path / "in" / "d.txt").write_bytes(b"#binvox")
    found = binvox.scenes(tmp_path / "in")
    assert [binvox.name(file) for file in found] == ["a", "b ü"]
    assert binvox.scenes(found[0]) == [found[0]]
    assert binvox.scenes(tmp_path / "in" / "d.txt") == binvox.scenes(tmp_path / "gone") == []
    scene = binvox.read(found[1])
    assert scene.given.kinds() == binvox.given == ("samples",)
    assert isinstance(scene.surface, Mesh)
    np.testing.assert_allclose(scene.box, [CORNER, CORNER + 2])
    np.testing.assert_allclose(binvox.read(found[0]).box, [CORNER, CORNER + 2 * np.array([1, 5 / 6, 4 / 6])])
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert binvox.splits(found[0]) == {}
    binvox.write(tmp_path / "out", [scene])
    again = read_binvox(tmp_path / "out" / "b ü.binvox")
    np.testing.assert_array_equal(again.filled, grid.filled)
    np.testing.assert_allclose(again.corner, grid.corner, rtol=1e-6)


def test_a_mesh_is_cut_into_voxels(tmp_path):
    grid = Grid(np.pad(np.ones((8, 8, 8), np.bool_), 4), np.full(3, -1.0), 2.0)
    scene = Scene("s", Given(), np.array([[-1] * 3, [1] * 3]), surface=grid.mesh())
    binvox.write(tmp_path, [scene], edge=16)
    again = read_binvox(tmp_path / "s.binvox")
    np.testing.assert_array_equal(again.filled, grid.filled)
    assert again.corner.tolist() == [-1, -1, -1]
    assert binvox.voxels_of(scene, binvox.EDGE).filled.shape == (64, 64, 64)
    with pytest.raises(ContractBroken, match="0 voxels"):
        binvox.voxels_of(scene, 0)
    flat = Scene("s", Given(), np.array([[-1, -0.5, 0], [1, 0.5, 1]]), surface=grid.mesh())
    assert binvox.voxels_of(flat, 4).corner.tolist() == [-1, -1, -0.5]


def test_scenes_without_voxels_or_mesh_are_refused(tmp_path):
    samples = voxels((3, 3, 3)).samples()
    moved = Points(samples.xyz + np.float32(0.3), value=samples.value, kind="occupancy")
    signed = Points(samples.xyz, value=samples.value, kind="sdf")
    for given in (Given(), Given(samples=moved), Given(samples=signed)):
        box = np.stack([CORNER, CORNER + 2])
        with pytest.raises(Unsupported, match="'s' gives no whole grid"):
            binvox.write(tmp_path, [Scene("s", given, box, surface=moved)])


def test_empty_voxels_are_named(tmp_path):
    write_binvox(tmp_path / "x.binvox", Grid(np.zeros((4, 4, 4), np.bool_), CORNER, 1.0))
    with pytest.raises(DataCorrupt, match=r"x\.binvox: None of the voxels is filled"):
        binvox.read(tmp_path / "x.binvox")


def test_voxels_are_given_as_they_are(tmp_path):
    grid = voxels((6, 6, 6))
    write_binvox(tmp_path / "a.binvox", grid)
    write_binvox(tmp_path / "b.binvox", voxels((6, 5, 4), 1))
    scene = binvox.read(tmp_path / "a.binvox", "voxels")
    assert scene.given.kinds() == ("voxels",) and set(binvox.inputs) == {"samples", "voxels"}
    np.testing.assert_array_equal(scene.given.voxels.filled, grid.filled)
    np.testing.assert_allclose(scene.given.voxels.box, scene.box)
    samples = binvox.read(tmp_path / "a.binvox").given.samples
    np.testing.assert_allclose(scene.given.voxels.centres(), samples.xyz, atol=1e-5)  # the same centres, in one order
    np.testing.assert_array_equal(scene.given.voxels.filled.ravel(), samples.value)
    binvox.write(tmp_path / "out", [scene])
    np.testing.assert_array_equal(read_binvox(tmp_path / "out" / "a.binvox").filled, grid.filled)
    with pytest.raises(Unsupported, match="6 x 5 x 4"):
        binvox.read(tmp_path / "b.binvox", "voxels")


def test_names_that_lead_out_are_not_written(tmp_path):
    box = np.array([[0.0] * 3, [1.0] * 3])
    samples = binvox.Grid(np.ones((2, 2, 2), np.bool_), np.zeros(3), 1.0).samples()
    with pytest.raises(DataCorrupt, match="no place in the dataset"):
        binvox.write(tmp_path / "out", [Scene("../evil", Given(samples=samples), box)])
    assert not list(tmp_path.rglob("*.binvox"))
