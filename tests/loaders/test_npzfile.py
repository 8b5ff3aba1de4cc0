import io
import zipfile

import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError
from nfbench.loaders import npzfile


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(
        path,
        a=np.arange(6, dtype=">i2").reshape(2, 3),
        b=np.asfortranarray(np.eye(3)[:2]),
        c=np.float16(3),
        d=np.array([True]),
    )
    return path


def test_reads_what_numpy_reads(path):
    arrays = npzfile.read_npz(path)
    assert list(arrays) == ["a", "b", "c", "d"] == list(npzfile.names(path))
    with np.load(path) as expected:
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name])
    assert list(npzfile.read_npz(path, ["c", "x"])) == ["c"]


def test_writes_what_it_reads(tmp_path):
    path = tmp_path / "new" / "a.npz"
    npzfile.write_npz(path, {"x": np.arange(3)})
    np.testing.assert_array_equal(npzfile.read_npz(path)["x"], np.arange(3))
    (tmp_path / "file").write_text("")
    with pytest.raises(NfbenchError, match="cannot be written"):
        npzfile.write_npz(tmp_path / "file" / "a.npz", {"x": np.arange(3)})


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.array([{}]), "unpickle"),
        (np.array(["x"]), "<U1"),
        (np.array([1j]), "complex128"),
        (np.zeros(2, "i4,f4"), "not of numbers"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, word):
    np.savez(tmp_path / "a.npz", good=np.eye(2), bad=array)
    with pytest.raises(DataCorrupt, match=word) as caught:
        npzfile.read_npz(tmp_path / "a.npz")
    assert "a.npz: bad" in caught.value.message
    np.testing.assert_array_equal(npzfile.read_npz(tmp_path / "a.npz", ["good"])["good"], np.eye(2))


def test_missing_and_damaged_files(path, tmp_path):
    with pytest.raises(DataMissing, match=r"no .*x\.npz"):
        npzfile.read_npz(tmp_path / "x.npz")
    assert npzfile.names(tmp_path / "x.npz") == ()
    whole = path.read_bytes()
    for data in (b"", b"x", whole[:100], whole[:60] + b"####" + whole[64:]):
        path.write_bytes(data)
        with pytest.raises(DataCorrupt, match=r"a\.npz"):
            npzfile.read_npz(path)


def archive(path, name, data, times=1):
    with zipfile.ZipFile(path, "w") as file:
        for _ in range(times):
            file.writestr(name, data)


def npy(shape, data=b"\0" * 16, magic=(1, 0)):
    head = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if magic == (1, 0) else np.lib.format.write_array_header_2_0
    write(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return head.getvalue() + data


def test_sizes_that_are_declared_and_not_there(tmp_path):
    path = tmp_path / "a.npz"
    for shape in ((3,), (1,), (10**12,), (2, 0), (-2,), (-1, -2)):
        archive(path, "x.npy", npy(shape))
        with pytest.raises(DataCorrupt, match=r"x has 16 bytes|x is no array"):
            npzfile.read_npz(path)
    archive(path, "x.npy", npy((2,), magic=(2, 0)))
    assert npzfile.read_npz(path)["x"].tolist() == [0, 0]
    archive(path, "x.npy", npy((2,)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"))
    with pytest.raises(DataCorrupt, match="x is no array"):
        npzfile.read_npz(path)


def test_sizes_are_bounded(path, monkeypatch):
    assert npzfile.MOST == 1 << 30
    size = len(npy((2,)))
    archive(path, "x.npy", npy((2,)))
    monkeypatch.setattr(npzfile, "MOST", size)
    assert len(npzfile.read_npz(path)["x"]) == 2
    monkeypatch.setattr(npzfile, "MOST", size - 1)
    with pytest.raises(DataCorrupt, match=f"x declares {size} bytes"):
        npzfile.read_npz(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_given_twice(path):
    archive(path, "x.npy", npy((2,)), times=2)
    with pytest.raises(DataCorrupt, match="x is there twice"):
        npzfile.read_npz(path)


def test_shapes():
    value = npzfile.shaped("f: x", np.ones((5, 3), np.float16), (4, 3), (-1, 3))
    assert value.dtype == np.float64
    assert npzfile.shaped("f: x", np.array(2), ()) == 2
    assert npzfile.shaped("f: x", np.ones((0, 3)), (-1, 3)).shape == (0, 3)
    with pytest.raises(DataMissing, match="f: x is missing"):
        npzfile.shaped("f: x", None, (3,))
    with pytest.raises(DataCorrupt, match=r"f: x has shape \(5, 3\), not \(4, 3\) or \(N, 2\)"):
        npzfile.shaped("f: x", np.ones((5, 3)), (4, 3), (-1, 2))
    with pytest.raises(DataCorrupt, match="shape"):
        npzfile.shaped("f: x", np.ones(3), (3, 3))
    bad = np.ones((4, 3))
    bad[2, 1], bad[3, 0] = np.nan, np.inf
    with pytest.raises(DataCorrupt, match=r"f: x holds NaN or infinity in row 2 \(2 in all\)"):
        npzfile.shaped("f: x", bad, (4, 3))
    with pytest.raises(DataCorrupt, match="row 0"):
        npzfile.shaped("f: x", np.array(np.nan), ())
