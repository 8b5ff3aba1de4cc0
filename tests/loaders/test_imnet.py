import h5py
import numpy as np
import pytest
from scipy.ndimage import binary_fill_holes

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, Unsupported
from nfbench.harness.inside import inside
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import binvox, imnet

RNG = np.random.default_rng(0)
EDGE = 6
VOXELS = (RNG.random((2, EDGE, EDGE, EDGE, 1)) > 0.5).astype(np.uint8)


def lattice(high, count=50):
    points = RNG.integers(0, high, (2, count, 3)).astype(np.uint8)
    points[:, 0] = high - 1
    return points


POINTS = {64: lattice(256), 32: lattice(32), 16: lattice(16)}
VALUES = {n: (points[..., :1] % 2) for n, points in POINTS.items()}


def written(folder, name="all_vox256_img_test", text="02691156/a\n03001627/b\n", **changes):
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.hdf5"
    arrays = {"voxels": VOXELS, "pixels": np.zeros((2, 1, 5, 5), np.uint8)}
    arrays |= {f"points_{n}": p for n, p in POINTS.items()} | {f"values_{n}": v for n, v in VALUES.items()}
    with h5py.File(file, "w") as out:
        for key, array in (arrays | changes).items():
            if array is not None:
                out[key] = array
    if text is not None:
        file.with_suffix(".txt").write_text(text)
    return file


def refused(folder, words, **changes):
    row = imnet.scenes(written(folder, **changes))[0]
    with pytest.raises(DataCorrupt, match=words):
        imnet.read(row)


def test_rows_are_scenes_named_by_the_list(tmp_path):
    file = written(tmp_path)
    rows = imnet.scenes(tmp_path)
    assert rows == imnet.scenes(file) == [file / "02691156" / "a", file / "03001627" / "b"]
    assert [imnet.name(row) for row in rows] == ["02691156-a", "03001627-b"]
    assert all(imnet.detect(row) for row in rows)
    assert not imnet.detect(file / "c")
    assert not imnet.detect(tmp_path / "gone.hdf5" / "a")
    file.with_suffix(".txt").unlink()
    assert imnet.scenes(tmp_path) == [file / "000000", file / "000001"]
    file.with_suffix(".txt").write_text("x\r\n\r\ny\r\n")
    assert [imnet.name(row) for row in imnet.scenes(tmp_path)] == ["x", "y"]
    assert imnet.splits(rows[0]) == {}


def test_test_and_training_rows(tmp_path):
    test, train = written(tmp_path), written(tmp_path, "all_vox256_img_train", "c\nd\n")
    assert [row.parents[1] for row in imnet.scenes(tmp_path)] == [test, test]
    assert imnet.training(tmp_path) == [train / "c", train / "d"]
    test.unlink()
    assert imnet.scenes(tmp_path) == []  # what is learned from is not solved
    assert imnet.scenes(train) == [train / "c", train / "d"]  # unless it is asked for
    assert imnet.scenes(tmp_path / "gone") == imnet.training(tmp_path / "gone") == []


def test_a_row_is_read(tmp_path):
    row = imnet.scenes(written(tmp_path))[1]
    scene = imnet.read(row)
    assert scene.name == "03001627-b"
    assert scene.given.kinds() == imnet.given == ("samples",)
    np.testing.assert_array_equal(scene.given.samples.value, VOXELS[1].reshape(-1))
    centres = (np.stack(np.unravel_index(np.arange(EDGE**3), (EDGE,) * 3), 1) + 0.5) / EDGE - 0.5
    np.testing.assert_allclose(scene.given.samples.xyz, centres, atol=1e-7)
    np.testing.assert_array_equal(scene.box, [[-0.5] * 3, [0.5] * 3])
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    np.testing.assert_array_equal(inside(scene.surface, scene.given.samples.xyz), scene.given.samples.value > 0)
    np.testing.assert_array_equal(scene.occupancy.value, VALUES[64][1, :, 0])
    assert scene.occupancy.kind == "occupancy"


def test_indices_count_256_voxels_or_in_the_oldest_files_as_many_as_the_name_says(tmp_path):
    row = imnet.scenes(written(tmp_path))[0]
    for n, lattice_edge in ((64, 256), (32, 32), (16, 16)):
        expected = (POINTS[n][0].astype(np.float64) + 0.5) / lattice_edge - 0.5
        np.testing.assert_allclose(imnet.read_resolution(row, n).xyz, expected, atol=1e-7)
    newer = POINTS[16].copy()
    newer[0, 3] = 16
    row = imnet.scenes(written(tmp_path / "new", points_16=newer, points_64=None, points_32=None))[0]
    expected = (newer[0].astype(np.float64) + 0.5) / 256 - 0.5
    np.testing.assert_allclose(imnet.read(row).occupancy.xyz, expected, atol=1e-7)


def test_float_points_are_coordinates(tmp_path):
    xyz = RNG.uniform(-0.5, 0.5, (2, 50, 3)).astype(np.float32)
    row = imnet.scenes(written(tmp_path, points_64=xyz))[0]
    np.testing.assert_array_equal(imnet.read(row).occupancy.xyz, xyz[0])


def test_training_rows_give_the_finest_points(tmp_path):
    row = imnet.scenes(written(tmp_path))[0]
    scene = imnet.read_training(row)
    assert len(scene.given.samples) == 50
    assert scene.surface is scene.occupancy is None
    np.testing.assert_array_equal(scene.given.samples.value, VALUES[64][0, :, 0])
    row = imnet.scenes(written(tmp_path / "few", points_64=None, points_32=None))[0]
    np.testing.assert_array_equal(imnet.read_training(row).given.samples.value, VALUES[16][0, :, 0])


def test_bad_files_are_named(tmp_path):
    refused(tmp_path / "1", "voxels of shape", voxels=VOXELS[:, :, :, :3])
    refused(tmp_path / "2", "up to 7", voxels=VOXELS * 7)
    refused(tmp_path / "3", "None of the voxels", voxels=VOXELS * 0)
    refused(tmp_path / "4", r"points of shape \(50, 2\)", points_64=POINTS[64][:, :, :2])
    refused(tmp_path / "5", r"values of \(49, 1\)", values_64=VALUES[64][:, :49])
    refused(tmp_path / "6", "values_64 other than 0 and 1", values_64=VALUES[64] * 2)
    refused(tmp_path / "7", "no array of numbers 'values_64'", values_64=None)
    refused(tmp_path / "8", "an index of 300", points_64=POINTS[64].astype(np.int64) * 0 + 300)
    refused(tmp_path / "9", "no array of numbers 'points_64'", points_64=np.array([b"x", b"y"]))
    refused(tmp_path / "10", "row 0", points_64=np.full((2, 50, 3), np.nan, np.float32))
    for number in (-1, 0.5, np.nan):
        refused(tmp_path / str(number), "not a cube of 0 and 1", voxels=np.where(VOXELS == 1, VOXELS, number))
    refused(tmp_path / "empty", r"voxels of shape \(0, 0, 0, 1\) up to 0", voxels=VOXELS[:, :0, :0, :0])
    refused(tmp_path / "11", "an index of", points_64=POINTS[64].astype(np.int64) * 0 - 1)
    refused(tmp_path / "12", "points_64 has shape", points_64=POINTS[64][:0].reshape(0, 50, 3))


def test_lists_of_another_length_and_unknown_rows(tmp_path):
    file = written(tmp_path, text="a\n")
    with pytest.raises(DataCorrupt, match=r"\.txt names 1 shapes; .* has 2"):
        imnet.scenes(file)
    file.with_suffix(".txt").write_text("a\nb\n")
    with pytest.raises(DataMissing, match="no shape 'c'"):
        imnet.read(file / "c")
    with pytest.raises(DataMissing, match="no HDF5 file on the way"):
        imnet.read(tmp_path / "gone.hdf5" / "a")


def test_links_to_other_files_are_not_followed(tmp_path):
    written(tmp_path / "out")
    file = written(tmp_path, points_64=None)
    with h5py.File(file, "a") as out:
        out["points_64"] = h5py.ExternalLink(str(tmp_path / "out" / file.name), "points_64")
    with pytest.raises(DataCorrupt, match="no array of numbers 'points_64'"):
        imnet.read(imnet.scenes(file)[0])


def test_truncated_and_other_files(tmp_path):
    file = written(tmp_path)
    rows = imnet.scenes(file)
    file.write_bytes(file.read_bytes()[:700])
    with pytest.raises(DataCorrupt, match="cannot be read"):
        imnet.read(rows[0])
    assert imnet.scenes(tmp_path) == []
    with h5py.File(tmp_path / "other.h5", "w") as out:
        out["voxels"] = VOXELS
    assert imnet.scenes(tmp_path) == imnet.scenes(tmp_path / "other.h5") == []


def test_what_is_written_is_read_back_exactly(tmp_path):
    before = [imnet.read(row) for row in imnet.scenes(written(tmp_path))]
    imnet.write(tmp_path / "out", before, "train")
    rows = imnet.training(tmp_path / "out")
    assert [row.relative_to(tmp_path / "out").as_posix() for row in rows] == [
        "nfbench_train.hdf5/02691156/a",
        "nfbench_train.hdf5/03001627/b",
    ]
    for old, row in zip(before, rows, strict=True):
        new = imnet.read(row)
        assert new.name == old.name
        for a, b in ((old.given.samples, new.given.samples), (old.occupancy, new.occupancy)):
            np.testing.assert_array_equal(a.xyz, b.xyz)
            np.testing.assert_array_equal(a.value, b.value)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["nfbench_train.hdf5", "nfbench_train.txt"]


def test_meshes_are_moved_into_the_cube_and_cut_into_voxels(tmp_path):
    grid = binvox.Grid(np.pad(np.ones((4, 4, 4), np.bool_), 2), np.array([1.0, 2, 3]), 8.0)
    query = grid.samples()
    box = np.array([[1.0, 2, 3], [9, 10, 11]])
    scene = Scene("s", Given(), box, surface=grid.mesh(), occupancy=query)
    imnet.write(tmp_path, [scene], edge=8)
    after = imnet.read(imnet.scenes(tmp_path)[0])
    np.testing.assert_array_equal(after.given.samples.value, query.value)
    np.testing.assert_allclose(after.occupancy.xyz, after.given.samples.xyz, atol=1e-6)
    np.testing.assert_array_equal(after.occupancy.value, query.value)


def test_what_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ContractBroken, match="no scenes"):
        imnet.write(tmp_path, [])
    query = binvox.Grid(np.ones((3, 3, 3), np.bool_), np.zeros(3), 1.0).samples()
    cloud = Scene("s", Given(), [[0] * 3, [1] * 3], surface=Points(query.xyz), occupancy=query)
    with pytest.raises(Unsupported, match="no whole grid"):
        imnet.write(tmp_path, [cloud])
    mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]))
    a = Scene("a", Given(samples=query), cloud.box, surface=mesh)
    b = Scene("b", Given(samples=Points(query.xyz, value=query.xyz[:, 0], kind="sdf")), cloud.box, surface=mesh)
    with pytest.raises(ContractBroken, match="voxels of 2 shapes"):
        imnet.write(tmp_path, [a, b], edge=4)


def test_the_authors_sample_against_its_binvox(real_data):
    """Grid are those of the binvox files, hollows filled; points_64 have the value of the voxel that they name."""
    root = real_data / "imnet_samplechair"
    rows = imnet.scenes(root)
    assert [imnet.name(row) for row in rows] == ["1", "2", "3"]
    for row in rows:
        filled = binary_fill_holes(binvox.read_binvox(root / "binvox" / f"{row.name}.binvox").filled)
        scene = imnet.read(row)
        np.testing.assert_array_equal(scene.given.samples.value, filled.reshape(-1))
        index = np.floor((scene.occupancy.xyz + 0.5) * 64).astype(int)
        assert index.min() == 0
        assert index.max() == 63
        np.testing.assert_array_equal(scene.occupancy.value, filled[tuple(index.T)])
        for n, count in ((32, 8192), (16, 4096)):
            coarse = imnet.read_resolution(row, n)
            assert len(coarse) == count
            at = np.clip(np.floor((coarse.xyz + 0.5) * 64).astype(int), 0, 63)
            assert (filled[tuple(at.T)] == coarse.value).mean() > 0.9
    assert binvox.scenes(root) == []


def test_voxels_are_given_as_they_are(tmp_path):
    row = imnet.scenes(written(tmp_path))[1]
    scene, learned = imnet.read(row, "voxels"), imnet.read_training(row, "voxels")
    assert scene.given.kinds() == ("voxels",) and learned.given.kinds() == ("samples", "voxels")
    np.testing.assert_array_equal(scene.given.voxels.filled.ravel(), VOXELS[1].reshape(-1) == 1)
    np.testing.assert_allclose(scene.given.voxels.centres(), imnet.read(row).given.samples.xyz, atol=1e-6)
    np.testing.assert_array_equal(learned.given.samples.value, VALUES[64][1, :, 0])


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    scenes = [imnet.read(row) for row in imnet.scenes(written(tmp_path))]

    def full(path, text):
        raise OSError("no more")

    monkeypatch.setattr(imnet, "write_text", full)
    with pytest.raises(OSError, match="no more"):
        imnet.write(tmp_path / "out", iter(scenes))
    assert list((tmp_path / "out").iterdir()) == []
