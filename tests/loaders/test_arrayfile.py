import io
import os
import struct
import warnings
import zipfile

import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.loaders import arrayfile
from nfbench.loaders.arrayfile import names_in, npy_shape, read_npy, read_npz, write_bytes, write_npy, write_npz

A = np.arange(6, dtype=np.float32).reshape(2, 3)


def npy_bytes(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def header_of(text):
    body = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(body)) + body


def zipped(path, members, kind=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_reads_what_numpy_writes(tmp_path, save):
    path = tmp_path / "a b ü.npz"
    fortran, double = np.asfortranarray(A), A.astype(">f8")
    save(path, a=A, f=fortran, d=double, s=np.array(2.5), bits=np.array([True, False]))
    shapes = {"a": (None, 3), "f": (2, 3), "d": (2, None), "s": (), "bits": (2,)}
    read = read_npz(path, shapes)
    assert list(read) == list(shapes)
    for name, expected in (("a", A), ("f", A), ("d", A), ("s", 2.5), ("bits", [True, False])):
        np.testing.assert_array_equal(read[name], expected)
    assert read["d"].dtype == np.dtype(">f8")
    assert not read["a"].flags.writeable


def test_optional_arrays_may_be_missing_and_are_checked_where_they_are_not(tmp_path):
    np.savez(tmp_path / "x.npz", a=A, loc=np.zeros(4))
    assert list(read_npz(tmp_path / "x.npz", {"a": (2, 3)}, {"scale": ()})) == ["a"]
    with pytest.raises(DataCorrupt, match=r"x\.npz: array 'loc' has shape \(4,\), not \(3\)"):
        read_npz(tmp_path / "x.npz", {"a": (2, 3)}, {"loc": (3,)})


def test_a_missing_array_is_named_with_those_that_are_there(tmp_path):
    np.savez(tmp_path / "x.npz", points=A)
    with pytest.raises(DataCorrupt, match=r"x\.npz has no array 'pos'; it has points\."):
        read_npz(tmp_path / "x.npz", {"pos": (None, 4)})
    zipped(tmp_path / "empty.npz", {})
    with pytest.raises(DataCorrupt, match="it has nothing"):
        read_npz(tmp_path / "empty.npz", {"pos": (None, 4)})


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (A[0], r"has shape \(3,\), not \(N, 3\)"),
        (A.T, r"has shape \(3, 2\), not \(N, 3\)"),
        (np.array(["x", "y", "z"] * 2).reshape(2, 3), "holds <U1, not numbers"),
        (A.astype(complex), "holds complex128"),
        (A.astype("M8[s]"), "holds datetime64"),
    ],
)
def test_other_shapes_and_types_are_refused(tmp_path, array, words):
    np.savez(tmp_path / "x.npz", a=array)
    with pytest.raises(DataCorrupt, match=words):
        read_npz(tmp_path / "x.npz", {"a": (None, 3)})


def test_objects_are_never_unpickled(tmp_path):
    class Boom:
        def __reduce__(self):
            return pytest.fail, ("it was unpickled",)

    data = npy_bytes(np.array([[Boom()] * 3], object), allow_pickle=True)
    zipped(tmp_path / "x.npz", {"a.npy": data})
    (tmp_path / "x.npy").write_bytes(data)
    for read in (lambda: read_npz(tmp_path / "x.npz", {"a": (None, 3)}), lambda: read_npy(tmp_path / "x.npy", (1, 3))):
        with pytest.raises(DataCorrupt, match="would have to be unpickled"):
            read()
    assert npy_shape(tmp_path / "x.npy") is None


def test_truncated_and_damaged_files_are_named(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, a=A)
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:40], b"PK\x05\x06", b"no zip at all"):
        path.write_bytes(damaged)
        with pytest.raises(DataCorrupt, match=r"x\.npz cannot be read as NPZ"):
            read_npz(path, {"a": (2, 3)})
    flipped = bytearray(whole)
    flipped[whole.find(A.tobytes())] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(DataCorrupt, match="CRC"):
        read_npz(path, {"a": (2, 3)})


def test_headers_that_declare_more_or_less_than_is_there_are_refused(tmp_path):
    path = tmp_path / "x.npy"
    for shape in ("(10000000000, 3)", "(1, 3)", "(3, 3)", "(0, 3)"):
        path.write_bytes(header_of(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}") + A.tobytes())
        with pytest.raises(DataCorrupt, match=r"x\.npy declares \d+ bytes and has 24"):
            read_npy(path, (None, 3))
    path.write_bytes(header_of("{'descr': '<f4', 'fortran_order': False, 'shape': (-2, -3)}") + A.tobytes())
    with pytest.raises(DataCorrupt, match=r"declares the shape \(-2, -3\)"):
        read_npy(path, (None, None))
    for header in ("{", "{'descr': '<f4'}", "[" * 100, "{'descr': 'zz', 'fortran_order': False, 'shape': (2, 3)}"):
        path.write_bytes(header_of(header) + A.tobytes())
        with pytest.raises(DataCorrupt, match=r"x\.npy cannot be read"):
            read_npy(path, (None, 3))
        assert npy_shape(path) is None


def test_headers_of_python_2_are_read_without_a_warning(tmp_path):
    path = tmp_path / "x.npy"
    path.write_bytes(header_of("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L)}") + A.tobytes())
    with warnings.catch_warnings(action="error"):
        np.testing.assert_array_equal(read_npy(path, (2, 3)), A)


def test_bombs_are_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "x.npz"
    zeros = npy_bytes(np.zeros((1 << 18, 3), np.float32))
    zipped(path, {"a.npy": zeros}, zipfile.ZIP_DEFLATED)
    assert read_npz(path, {"a": (None, 3)})["a"].shape == (1 << 18, 3)
    monkeypatch.setattr(arrayfile, "_DEFLATE", 10)
    with pytest.raises(DataCorrupt, match=f"a.npy declares {len(zeros)} bytes"):
        read_npz(path, {"a": (None, 3)})
    monkeypatch.undo()
    assert (arrayfile._MOST, arrayfile._DEFLATE) == (2**30, 1032)
    monkeypatch.setattr(arrayfile, "_MOST", len(zeros))
    read_npz(path, {"a": (None, 3)})
    monkeypatch.setattr(arrayfile, "_MOST", len(zeros) - 1)
    with pytest.raises(DataCorrupt, match="declares"):
        read_npz(path, {"a": (None, 3)})
    (tmp_path / "x.npy").write_bytes(zeros)
    with pytest.raises(DataCorrupt, match=f"has {len(zeros)} bytes; at most"):
        read_npy(tmp_path / "x.npy", (None, 3))


def test_other_compressions_are_unsupported(tmp_path):
    zipped(tmp_path / "x.npz", {"a.npy": npy_bytes(A)}, zipfile.ZIP_BZIP2)
    with pytest.raises(Unsupported, match="compressed in another way"):
        read_npz(tmp_path / "x.npz", {"a": (2, 3)})


def test_files_that_are_not_there_empty_or_pointers(tmp_path):
    for read in (lambda path: read_npz(path, {}), lambda path: read_npy(path, (None,))):
        with pytest.raises(DataMissing, match=r"There is no .*gone"):
            read(tmp_path / "gone")
        with pytest.raises(DataMissing, match="There is no"):
            read(tmp_path)
        (tmp_path / "x").write_bytes(b"")
        with pytest.raises(DataCorrupt, match="empty"):
            read(tmp_path / "x")
        (tmp_path / "x").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(DataMissing, match="Git LFS"):
            read(tmp_path / "x")


def test_names_and_shapes_are_told_without_reading(tmp_path):
    np.savez(tmp_path / "x.npz", pos=A, neg=A)
    np.save(tmp_path / "x.npy", A)
    assert names_in(tmp_path / "x.npz") == ("pos", "neg")
    assert names_in(tmp_path / "x.npy") == names_in(tmp_path / "gone") == ()
    assert npy_shape(tmp_path / "x.npy") == (2, 3)
    assert npy_shape(tmp_path / "gone") is npy_shape(tmp_path / "x.npz") is npy_shape(tmp_path) is None


def test_what_is_written_is_read_back_and_nothing_is_left_beside_it(tmp_path):
    write_npz(tmp_path / "new" / "x.npz", {"a": A, "s": np.array(3)})
    write_npy(tmp_path / "new" / "x.npy", A)
    read = read_npz(tmp_path / "new" / "x.npz", {"a": (2, 3), "s": ()})
    np.testing.assert_array_equal(read["a"], A)
    assert read["s"] == 3
    np.testing.assert_array_equal(read_npy(tmp_path / "new" / "x.npy", (2, 3)), A)
    write_bytes(tmp_path / "new" / "y", b"12")
    (tmp_path / "new" / "z").mkdir()
    with pytest.raises(NfbenchError, match="z cannot be written"):
        write_bytes(tmp_path / "new" / "z", b"12")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["x.npy", "x.npz", "y", "z"]


# --- arrays of any shape


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(
        path,
        a=np.arange(6, dtype=">i2").reshape(2, 3),
        b=np.asfortranarray(np.eye(3)[:2]),
        c=np.float16(3),
        d=np.array([True]),
    )
    return path


def test_reads_what_numpy_reads(packed):
    arrays = arrayfile.read_arrays(packed)
    assert list(arrays) == ["a", "b", "c", "d"] == list(arrayfile.names_in(packed))
    with np.load(packed) as expected:
        for name, array in arrays.items():
            assert array.dtype == expected[name].dtype
            np.testing.assert_array_equal(array, expected[name])
    assert list(arrayfile.read_arrays(packed, ["c", "x"])) == ["c"]


def test_writes_what_it_reads(tmp_path):
    path = tmp_path / "new" / "a.npz"
    arrayfile.write_npz(path, {"x": np.arange(3)})
    np.testing.assert_array_equal(arrayfile.read_arrays(path)["x"], np.arange(3))
    (tmp_path / "file").write_text("")
    with pytest.raises(NfbenchError, match="cannot be written"):
        arrayfile.write_npz(tmp_path / "file" / "a.npz", {"x": np.arange(3)})


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.array([{}]), "unpickle"),
        (np.array(["x"]), "<U1"),
        (np.array([1j]), "complex128"),
        (np.zeros(2, "i4,f4"), "not numbers"),
    ],
)
def test_other_arrays_are_refused(tmp_path, array, word):
    np.savez(tmp_path / "a.npz", good=np.eye(2), bad=array)
    with pytest.raises(DataCorrupt, match=word) as caught:
        arrayfile.read_arrays(tmp_path / "a.npz")
    assert "a.npz: array 'bad'" in caught.value.message
    np.testing.assert_array_equal(arrayfile.read_arrays(tmp_path / "a.npz", ["good"])["good"], np.eye(2))


def test_missing_and_damaged_files(packed, tmp_path):
    with pytest.raises(DataMissing, match=r"no .*x\.npz"):
        arrayfile.read_arrays(tmp_path / "x.npz")
    assert arrayfile.names_in(tmp_path / "x.npz") == ()
    whole = packed.read_bytes()
    for data in (b"", b"x", whole[:100], whole[:60] + b"####" + whole[64:]):
        packed.write_bytes(data)
        with pytest.raises(DataCorrupt, match=r"a\.npz"):
            arrayfile.read_arrays(packed)


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
        with pytest.raises(DataCorrupt, match=r"'x' declares \d+ bytes and has 16|'x' cannot be read"):
            arrayfile.read_arrays(path)
    archive(path, "x.npy", npy((2,), magic=(2, 0)))
    assert arrayfile.read_arrays(path)["x"].tolist() == [0, 0]
    archive(path, "x.npy", npy((2,)).replace(b"\x93NUMPY\x01", b"\x93NUMPY\x03"))
    with pytest.raises(DataCorrupt, match="'x' cannot be read"):
        arrayfile.read_arrays(path)


def test_sizes_are_bounded(packed, monkeypatch):
    assert arrayfile._MOST == 1 << 30
    size = len(npy((2,)))
    archive(packed, "x.npy", npy((2,)))
    monkeypatch.setattr(arrayfile, "_MOST", size)
    assert len(arrayfile.read_arrays(packed)["x"]) == 2
    monkeypatch.setattr(arrayfile, "_MOST", size - 1)
    with pytest.raises(DataCorrupt, match=f"x.npy declares {size} bytes"):
        arrayfile.read_arrays(packed)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_given_twice(packed):
    archive(packed, "x.npy", npy((2,)), times=2)
    with pytest.raises(DataCorrupt, match="x is there twice"):
        arrayfile.read_arrays(packed)


def test_shapes():
    value = arrayfile.shaped("f: x", np.ones((5, 3), np.float16), (4, 3), (-1, 3))
    assert value.dtype == np.float64
    assert arrayfile.shaped("f: x", np.array(2), ()) == 2
    assert arrayfile.shaped("f: x", np.ones((0, 3)), (-1, 3)).shape == (0, 3)
    with pytest.raises(DataMissing, match="f: x is missing"):
        arrayfile.shaped("f: x", None, (3,))
    with pytest.raises(DataCorrupt, match=r"f: x has shape \(5, 3\), not \(4, 3\) or \(N, 2\)"):
        arrayfile.shaped("f: x", np.ones((5, 3)), (4, 3), (-1, 2))
    with pytest.raises(DataCorrupt, match="shape"):
        arrayfile.shaped("f: x", np.ones(3), (3, 3))
    bad = np.ones((4, 3))
    bad[2, 1], bad[3, 0] = np.nan, np.inf
    with pytest.raises(DataCorrupt, match=r"f: x holds NaN or infinity in row 2 \(2 in all\)"):
        arrayfile.shaped("f: x", bad, (4, 3))
    with pytest.raises(DataCorrupt, match="row 0"):
        arrayfile.shaped("f: x", np.array(np.nan), ())


def test_a_pipe_has_no_names_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.npz")
    assert names_in(tmp_path / "a.npz") == ()


def test_a_member_that_declares_to_be_stored_in_more_than_the_file(packed):
    """As in a damaged directory: room would be made for what is to be read."""
    archive(packed, "x.npy", npy((2,)))
    whole = packed.read_bytes()
    at = whole.rindex(b"PK\x01\x02") + 20
    packed.write_bytes(whole[:at] + b"\xff\xff\xff\x7f" + whole[at + 4 :])
    with pytest.raises(DataCorrupt, match=r"x\.npy declares"):
        arrayfile.read_arrays(packed)
