import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from nfbench.harness.atomic import replacing


def test_the_file_takes_its_place_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as partial:
        assert partial.parent == tmp_path
        assert re.fullmatch(r"\.a\.txt\.[0-9a-f]{16}\.part", partial.name)
        assert not partial.exists()
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_of_a_block_that_fails(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error, match="why"), replacing(path) as partial:
        partial.write_text("half")
        raise error("why")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_before_it_writes_tells_why(tmp_path):
    with pytest.raises(ValueError, match="early"), replacing(tmp_path / "a.txt"):
        raise ValueError("early")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_take_its_place_is_removed(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError), replacing(tmp_path / "folder") as partial:
        partial.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_cannot_be_removed_hides_no_error(tmp_path, monkeypatch):
    def refuse(self, missing_ok=False):
        raise PermissionError(self)

    with pytest.raises(ValueError, match="first"), replacing(tmp_path / "a") as partial:
        partial.write_text("half")
        monkeypatch.setattr(type(partial), "unlink", refuse)
        raise ValueError("first")


def test_writers_at_once_do_not_meet(tmp_path):
    path = tmp_path / "a.txt"

    def write(number):
        with replacing(path) as partial:
            partial.write_text(str(number) * 10_000)
            return partial

    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(write, range(10)))
    assert len(names) == 10
    assert len(set(path.read_text())) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_made_as_any_other(tmp_path):
    with replacing(tmp_path / "a") as partial:
        partial.write_text("")
    (tmp_path / "b").write_text("")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode
