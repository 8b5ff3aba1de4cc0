"""Arrays that SciPy wrote, and files made by hand; SciPy's reader is the reference."""

import struct
import zlib

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.loaders.matfile import read_mat

KINDS = ("f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8")


@pytest.mark.parametrize("packed", [True, False])
def test_arrays_are_what_scipy_reads(tmp_path, packed):
    rng = np.random.default_rng(0)
    arrays = {f"of_{kind}": (100 * rng.normal(size=(3, 4, 2))).astype(kind) for kind in KINDS}
    arrays |= {"one": np.array(3.5), "row": np.arange(5.0), "none": np.zeros((0, 3)), "flags": rng.random((3, 2)) > 0.5}
    arrays |= {"a": np.uint8([[7]]), "a_long_name_for_an_array": np.eye(3), "text": "left out"}
    savemat(tmp_path / "x.mat", arrays, do_compression=packed)
    wanted = loadmat(tmp_path / "x.mat")
    names = [name for name in arrays if name != "text"]
    found = read_mat(tmp_path / "x.mat", names)
    assert list(found) == names
    for name in names:
        np.testing.assert_array_equal(found[name], wanted[name])
        assert found[name].shape == wanted[name].shape
        assert found[name].dtype == (np.uint8 if name == "flags" else wanted[name].dtype)
    assert read_mat(tmp_path / "x.mat", ["one"])["one"].tolist() == [[3.5]]


def element(order, kind, data):
    return struct.pack(f"{order}II", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(order, values, stored, kind=6, name=b"X", shape=(2, 3)):
    """A matrix in numbers of another type than its class, its name in a small element."""
    parts = element(order, 6, struct.pack(f"{order}II", kind, 0)) + element(order, 5, struct.pack(f"{order}2i", *shape))
    parts += struct.pack(f"{order}I", len(name) << 16 | 1) + name.ljust(4, b"\0")
    return element(order, 14, parts + element(order, stored, values.ravel(order="F").tobytes()))


def header(order):
    mark = struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    return b"MATLAB 5.0 MAT-file".ljust(124) + mark


@pytest.mark.parametrize("order", "<>")
def test_either_byte_order_and_numbers_stored_smaller_than_they_are(tmp_path, order):
    values = np.array([[1, 2, 3], [40, 50, 600]])
    (tmp_path / "x.mat").write_bytes(header(order) + matrix(order, values.astype(f"{order}u2"), 4))
    found = read_mat(tmp_path / "x.mat", ["X"])["X"]
    np.testing.assert_array_equal(found, values)
    np.testing.assert_array_equal(found, loadmat(tmp_path / "x.mat")["X"])
    assert found.dtype == np.float64


def test_what_is_wrong_is_named(tmp_path):
    path = tmp_path / "x.mat"
    sound = header("<") + matrix("<", np.ones((2, 3)), 9)
    for data, word in (
        (b"", "no MAT file"),
        (header("<")[:-2] + b"II", "no MAT file of version 5"),
        (header("<"), "X is missing"),
        (sound[:-8], "an element of"),
        (sound[:-3], "an element of"),
        (sound + b"abc", "3 bytes where an element"),
        (header("<") + matrix("<", np.ones((2, 2)), 9), "32 bytes for 6 numbers"),
        (header("<") + matrix("<", np.ones((2, 3)), 10), "numbers of type 10"),
        (header("<") + matrix("<", np.ones((2, 3)), 9, kind=99), "X is of class 99"),
        (header("<") + matrix("<", np.ones((2, 3)), 9, kind=17), "X is opaque"),
        (header("<") + matrix("<", np.ones((2, 3)), 9, kind=0x806), "complex"),
        (header("<") + matrix("<", np.ones((2, 3)), 9, shape=(-2, -3)), "declares 6 numbers"),
        (header("<") + matrix("<", np.ones((2, 3)), 9, shape=(1 << 20, 1 << 20)), "declares 1099511627776"),
        (header("<") + element("<", 14, b""), "without its flags"),
        (header("<") + element("<", 15, b"no zlib at all"), "damaged or cut short"),
        (header("<") + element("<", 15, zlib.compress(b"abc")), "without a beginning"),
        (header("<") + element("<", 15, zlib.compress(struct.pack("<II", 14, 80))), "80 bytes, 0 of which"),
        (header("<") + element("<", 15, zlib.compress(struct.pack("<II", 1, 80))), "type 1 of 80 bytes"),
    ):
        path.write_bytes(data)
        with pytest.raises(DataCorrupt, match=word) as caught:
            read_mat(path, ["X"])
        assert "x.mat" in caught.value.message
        assert caught.value.hint
    path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(200))
    with pytest.raises(Unsupported, match=r"7\.3"):
        read_mat(path, ["X"])
    for unread, word in ((tmp_path / "y.mat", "There is no .*y.mat"), (tmp_path, "cannot be read")):
        with pytest.raises(DataMissing, match=word):
            read_mat(unread, ["X"])
