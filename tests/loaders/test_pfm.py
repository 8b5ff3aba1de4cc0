import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.loaders import pfm
from nfbench.loaders.pfm import pfm_size, read_pfm, write_pfm

VALUES = np.array([[1, 2, 3], [4, 5, 6.5]], np.float32)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "maps" / "0.pfm"


def test_the_bottom_row_comes_first(path):
    write_pfm(path, VALUES)
    data = path.read_bytes()
    assert data == b"Pf\n3 2\n-1.000000\n" + np.array([4, 5, 6.5, 1, 2, 3], "<f4").tobytes()
    assert pfm_size(path) == (3, 2)
    found = read_pfm(path)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, VALUES)


@pytest.mark.parametrize(
    ("header", "order"), [(b"Pf\n3 2\n1.0\n", ">"), (b"Pf\r\n3 2\r\n-2\r\n", "<"), (b"Pf 3 2 -1e0\n", "<")]
)
def test_other_headers(path, header, order):
    path.parent.mkdir()
    path.write_bytes(header + VALUES[::-1].astype(f"{order}f4").tobytes())
    np.testing.assert_array_equal(read_pfm(path), VALUES)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "is no PFM"),
        (b"P5\n3 2\n255\n" + bytes(24), "is no PFM"),
        (b"Pf\n3 2\n0\n" + bytes(24), "is no PFM"),
        (b"Pf\n3 2\n-1-\n" + bytes(24), "is no PFM"),
        (b"Pf\n-3 2\n-1\n" + bytes(24), "is no PFM"),
        (b"PF\n3 2\n-1\n" + bytes(72), "three channels"),
        (b"Pf\n3 2\n-1\n" + bytes(23), "has 33 bytes, not the 34"),
        (b"Pf\n3 2\n-1\n" + bytes(25), "has 35 bytes, not the 34"),
        (b"Pf\n0 2\n-1\n", "0x2 pixels"),
        (b"Pf\n99999999 99999999\n-1\n", "99999999x99999999 pixels"),
    ],
)
def test_what_is_no_depth_map(path, data, word):
    path.parent.mkdir()
    path.write_bytes(data)
    for read in (pfm_size, read_pfm):
        with pytest.raises(DataCorrupt, match=word) as caught:
            read(path)
        assert str(path) in caught.value.message


def test_a_missing_file_is_named(path):
    with pytest.raises(DataMissing, match=r"0\.pfm"):
        pfm_size(path)


def test_the_most_pixels(path, monkeypatch):
    write_pfm(path, VALUES)
    monkeypatch.setattr(pfm, "MAX_PIXELS", 6)
    assert pfm_size(path) == (3, 2)
    monkeypatch.setattr(pfm, "MAX_PIXELS", 5)
    with pytest.raises(DataCorrupt, match="3x2 pixels"):
        pfm_size(path)
