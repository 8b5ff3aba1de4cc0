import os

import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.loaders import listfile
from nfbench.loaders.listfile import check_name, place, read_list, within


def test_blank_lines_spaces_and_windows_line_ends_are_no_names(tmp_path):
    path = tmp_path / "test.lst"
    path.write_bytes("\ufeffone\r\n\r\n  two words \r\nübung/3\n\n\n".encode())
    assert read_list(path) == ["one", "two words", "übung/3"]
    path.write_bytes(b"")
    assert read_list(path) == []


def test_lists_that_are_none_are_named(tmp_path):
    path = tmp_path / "test.lst"
    with pytest.raises(DataMissing, match=r"no .*test\.lst"):
        read_list(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataCorrupt, match=r"test\.lst is no text"):
        read_list(path)
    path.write_bytes(b"a\nb\na\n")
    with pytest.raises(DataCorrupt, match=r"test\.lst names 'a' twice"):
        read_list(path)


def test_a_list_beyond_all_sizes_is_not_read(tmp_path, monkeypatch):
    assert listfile._MOST == 2**26
    (tmp_path / "x.lst").write_bytes(b"abcd")
    monkeypatch.setattr(listfile, "_MOST", 4)
    assert read_list(tmp_path / "x.lst") == ["abcd"]
    monkeypatch.setattr(listfile, "_MOST", 3)
    with pytest.raises(DataCorrupt, match="has 4 bytes"):
        read_list(tmp_path / "x.lst")


@pytest.mark.parametrize(
    "name", ["..", "../x", "a/../../x", "/etc", "a\\..\\b", "c:x", "", ".", "a\0b", "a" * 256, "\ud800"]
)
def test_names_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(DataCorrupt, match="no place in the dataset"):
        check_name(name, tmp_path / "x.lst")


def test_sound_names_pass(tmp_path):
    for name in ("a", "a/b", "a b", "ü", "a" * 255, "..a", "02691156/10155655850468db78d106ce0a280f87"):
        check_name(name, tmp_path)


def test_places_have_to_be_there_and_inside(tmp_path):
    root, source = tmp_path / "data", tmp_path / "data" / "x.lst"
    (root / "in").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (root / "bad").symlink_to(tmp_path / "out")
    (root / "good").symlink_to(root / "in")
    (root / "loop").symlink_to(root / "loop")
    assert place(root, "in", source) == root / "in"
    assert place(root, "good", source) == root / "good"
    with pytest.raises(DataMissing, match=r"x\.lst names 'gone'; there is no"):
        place(root, "gone", source)
    with pytest.raises(DataCorrupt, match="bad is a link that leads out"):
        place(root, "bad", source)
    with pytest.raises(DataCorrupt, match="no place"):
        place(root, "../out", source)
    assert within(root, root / "in")
    assert not within(root, root / "bad")
    assert not within(root, root / "loop")


def test_a_text_and_its_lines(tmp_path, monkeypatch):
    path = tmp_path / "a.lst"
    path.write_bytes("\ufeffä b \r\n\r\n c".encode())
    assert listfile.line_list(path) == ["ä b", "c"]
    assert listfile.line_list(path, blank=True) == ["ä b", "", "c"]
    path.write_bytes(b"a\xff")
    with pytest.raises(DataCorrupt, match="byte 1 is not UTF-8"):
        listfile.read_text(path)
    with pytest.raises(DataMissing, match=r"no .*lst2"):
        listfile.read_text(tmp_path / "a.lst2")
    with pytest.raises(DataCorrupt, match="cannot be read"):
        listfile.read_text(tmp_path)
    monkeypatch.setattr(listfile, "_MOST", 2)
    path.write_bytes(b"ab")
    assert listfile.read_text(path) == "ab"
    path.write_bytes(b"abc")
    with pytest.raises(DataCorrupt, match="3 bytes"):
        listfile.read_text(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.lst")
    with pytest.raises(DataCorrupt, match="a pipe or a device, not a file"):
        listfile.read_text(tmp_path / "a.lst")
