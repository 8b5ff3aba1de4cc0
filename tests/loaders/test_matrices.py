import io
import zipfile

import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.loaders import matrices
from nfbench.loaders.matrices import read_matrices


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cameras.npz"


def matrix(seed):
    found = np.random.default_rng(seed).normal(size=(4, 4))
    found[3] = 0, 0, 0, 1
    return found


def test_matrices_by_name_and_by_pattern(path):
    np.savez(path, a_0=matrix(0), a_1=matrix(1), a_x=matrix(2), ba_1=matrix(3), b=np.zeros(5))
    found = read_matrices(path, ["a_1"])
    assert list(found) == ["a_1"]
    np.testing.assert_array_equal(found["a_1"], matrix(1))
    assert found["a_1"].dtype == np.float64
    assert sorted(read_matrices(path, pattern=r"a_\d")) == ["a_0", "a_1"]
    assert sorted(read_matrices(path, ["a_x"], pattern=r"a_\d")) == ["a_0", "a_1", "a_x"]
    assert read_matrices(path) == {}


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "i2", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_numbers_of_all_kinds(path, kind, order, save):
    values = np.arange(16).reshape(4, 4)
    values[3] = 0, 0, 0, 1
    save(path, a=np.asarray(values, kind, order=order))
    np.testing.assert_array_equal(read_matrices(path, ["a"])["a"], values)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (np.eye(4).tolist()[:3], r"a is float64 of shape \(3, 4\)"),
        (np.eye(4, dtype=complex), "'a' holds complex128"),
        (np.eye(4, dtype=bool), "a is bool"),
        (np.zeros((5, 25)), r"a.npy declares 1128 bytes"),
        (np.diag([1, np.nan, 1, 1]), "a holds NaN or infinity"),
        (np.diag([1, -np.inf, 1, 1]), "a holds NaN or infinity"),
        (np.diag([1, 1e39, 1, 1]), "a holds NaN or infinity"),
        (np.diag([1, 1, 1, 1.0001]), "the last row of a is"),
        (np.eye(4) + np.eye(4, k=-3) * 1e-4, "the last row of a is"),
    ],
)
def test_what_is_no_matrix(path, value, word):
    np.savez(path, a=value, b=np.eye(4))
    with pytest.raises(DataCorrupt, match=word) as caught:
        read_matrices(path, ["b", "a"])
    assert str(path) in caught.value.message
    assert list(read_matrices(path, ["b"])) == ["b"]


def test_rounding_in_the_last_row_is_none(path):
    np.savez(path, a=np.diag([1, 3e38, 1, 1 + 1e-6]))
    assert read_matrices(path, ["a"])["a"][1, 1] == 3e38


def test_what_is_missing_is_named(path):
    with pytest.raises(DataMissing, match=r"no .*cameras\.npz"):
        read_matrices(path, ["a"])
    np.savez(path, a=np.eye(4))
    with pytest.raises(DataCorrupt, match="has no b"):
        read_matrices(path, ["a", "b"])


def test_the_most_bytes(path, monkeypatch):
    np.savez(path, a=np.eye(4))  # 128 bytes of header, 128 of numbers
    monkeypatch.setattr(matrices, "_MOST", 256)
    read_matrices(path, ["a"])
    monkeypatch.setattr(matrices, "_MOST", 255)
    with pytest.raises(DataCorrupt, match=r"a\.npy declares 256 bytes"):
        read_matrices(path, ["a"])


def test_objects_are_not_unpickled(path):
    cursed = np.empty((4, 4), object)
    np.savez(path, a=cursed)
    with pytest.raises(DataCorrupt, match="array 'a' holds objects"):
        read_matrices(path, ["a"])


def test_numbers_cut_short_and_other_versions(path):
    whole, other = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array(whole, np.eye(4))
    np.lib.format.write_array(other, np.eye(4), version=(2, 0))
    for data in (whole.getvalue()[:-1], whole.getvalue()[:20], b""):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", data)
        with pytest.raises(DataCorrupt, match=r"'a' (cannot be read|declares 128 bytes and has 127)"):
            read_matrices(path, ["a"])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", other.getvalue())
    np.testing.assert_array_equal(read_matrices(path, ["a"])["a"], np.eye(4))
    path.write_bytes(b"PK")
    with pytest.raises(DataCorrupt, match="cannot be read as NPZ"):
        read_matrices(path)
