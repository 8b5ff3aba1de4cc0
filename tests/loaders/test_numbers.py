import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.loaders import listfile
from nfbench.loaders.numbers import check_last_row, numbers, read_matrix, read_words, text_of, whole


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some file.txt"


def test_blank_lines_line_ends_and_marks(path):
    path.write_bytes("\ufeff1 2\r\n\r\n  \t3\t4  \r\n5".encode())
    assert read_words(path) == [(1, ["1", "2"]), (3, ["3", "4"]), (4, ["5"])]
    path.write_bytes(b"")
    assert read_words(path) == []


def test_files_that_are_no_text(path, monkeypatch):
    with pytest.raises(DataMissing, match="some file"):
        read_words(path)
    path.write_bytes(b"12\xff")
    with pytest.raises(DataCorrupt, match="byte 2"):
        read_words(path)
    path.write_bytes(b"1234")
    monkeypatch.setattr(listfile, "_MOST", 4)
    assert read_words(path) == [(1, ["1234"])]
    monkeypatch.setattr(listfile, "_MOST", 3)
    with pytest.raises(DataCorrupt, match="4 bytes"):
        read_words(path)


def test_numbers(path):
    assert numbers(path, 3, ["1", "-2.5e3", "9e29"]) == [1, -2500, 9e29]
    assert numbers(path, 3, ["1", "2"], 2) == [1, 2]
    with pytest.raises(DataCorrupt, match=r"file\.txt, line 3: 2 numbers, not 3"):
        numbers(path, 3, ["1", "2"], 3)
    for word in ("nan", "inf", "-inf", "x", "1e30", "-1e30", "1,5"):
        with pytest.raises(DataCorrupt, match=f"line 7: '{word}' is no finite number"):
            numbers(path, 7, ["1", word])
    with pytest.raises(DataCorrupt, match=f"'{'x' * 40}'"):
        numbers(path, 7, ["x" * 1000])


def test_whole_numbers(path):
    assert whole(path, 1, "12") == 12
    assert isinstance(whole(path, 1, "12.0"), int)
    assert whole(path, 1, "-1") == -1
    with pytest.raises(DataCorrupt, match=r"line 4: '1\.5' is no whole"):
        whole(path, 4, "1.5")


def test_matrices(path):
    matrix = np.arange(16.0).reshape(4, 4)
    matrix[3] = 0, 0, 0, 1
    for text in (
        text_of(matrix),
        text_of(matrix).replace("\n", " "),
        text_of(matrix[:3]),
        text_of(matrix[:3].reshape(1, 12)),
    ):
        path.write_text(text)
        found = read_matrix(path)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, matrix)
    for rows in (np.eye(4)[:2], np.eye(3), np.ones((1, 15)), np.ones((5, 4)), np.ones((0, 4))):
        path.write_text(text_of(rows))
        with pytest.raises(DataCorrupt, match=f"{len(rows)} lines of numbers"):
            read_matrix(path)
    path.write_text(text_of(matrix.T))
    with pytest.raises(DataCorrupt, match="the last row"):
        read_matrix(path)


def test_the_last_row():
    rows = np.eye(4).tolist()
    check_last_row("here", rows)
    check_last_row("here", [[1.0] * 4] * 3)
    rows[3] = [0, 0, 1e-7, 1]
    check_last_row("here", rows)
    for i in range(4):
        rows = np.eye(4)
        rows[3, i] += 2e-6
        with pytest.raises(DataCorrupt, match="here: the last row"):
            check_last_row("here", rows.tolist())


def test_text_keeps_every_bit():
    values = np.float32(np.random.default_rng(0).normal(size=(3, 4)))
    back = np.array([[float(w) for w in line.split()] for line in text_of(values).splitlines()])
    np.testing.assert_array_equal(back, values)
    assert text_of(np.eye(2)) == "1.0 0.0\n0.0 1.0\n"
