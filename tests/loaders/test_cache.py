import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nfbench.harness.cachefolder import default_cache
from nfbench.loaders.cache import Cached, cache_file, write_arrays

ARRAYS = {"a": np.arange(5000.0), "b": np.eye(3, dtype=np.float32)}


class Maker:
    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return ARRAYS


def cached(file, maker):
    return Cached(file, tuple(ARRAYS), maker)


def test_made_once_and_read_by_others(tmp_path):
    file, maker = tmp_path / "below" / "x.npz", Maker()
    first, second = cached(file, maker), cached(file, maker)
    assert not file.exists() and maker.calls == 0
    np.testing.assert_array_equal(first["a"], ARRAYS["a"])
    np.testing.assert_array_equal(second["b"], ARRAYS["b"])
    assert maker.calls == 1 and second["b"].dtype == np.float32
    assert list(second) == ["a", "b"] and len(second) == 2
    assert [p.name for p in file.parent.iterdir()] == ["x.npz"]


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "empty", "other"])
def test_a_damaged_file_is_made_again(tmp_path, damage):
    file, maker = tmp_path / "x.npz", Maker()
    cached(file, maker)["a"]
    whole = file.read_bytes()
    middle = len(whole) // 3
    {
        "cut": lambda: file.write_bytes(whole[: len(whole) // 2]),
        "bit": lambda: file.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]),
        "text": lambda: file.write_text("not an archive"),
        "empty": lambda: file.write_bytes(b""),
        "other": lambda: np.savez(file, c=np.zeros(1)),
    }[damage]()
    np.testing.assert_array_equal(cached(file, maker)["a"], ARRAYS["a"])
    assert maker.calls == 2
    np.testing.assert_array_equal(cached(file, maker)["a"], ARRAYS["a"])
    assert maker.calls == 2  # the file was mended


def test_a_pickle_is_not_loaded(tmp_path):
    file, maker = tmp_path / "x.npz", Maker()
    np.savez(file, a=np.array([{"an": "object"}], dtype=object), b=np.eye(3))
    np.testing.assert_array_equal(cached(file, maker)["a"], ARRAYS["a"])
    assert maker.calls == 1


def test_an_unwritable_cache_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    for file in (tmp_path / "file" / "x.npz", None):
        maker = Maker()
        arrays = cached(file, maker)
        np.testing.assert_array_equal(arrays["a"], ARRAYS["a"])
        np.testing.assert_array_equal(arrays["b"], ARRAYS["b"])
        assert maker.calls == 1


def test_a_failed_write_leaves_nothing_behind(tmp_path):
    (tmp_path / "x.npz").mkdir()
    assert not write_arrays(tmp_path / "x.npz", ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_many_writers_at_once(tmp_path):
    file = tmp_path / "x.npz"
    with ThreadPoolExecutor(8) as pool:
        for array in pool.map(lambda _: cached(file, Maker())["a"], range(32)):
            np.testing.assert_array_equal(array, ARRAYS["a"])
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]


def test_unknown_names_are_key_errors(tmp_path):
    with pytest.raises(KeyError):
        cached(tmp_path / "x.npz", Maker())["z"]


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file("knot-v1") == tmp_path / "nfbench" / "procedural" / "knot-v1.npz"
    assert cache_file("knot-v1", tmp_path / "mine") == tmp_path / "mine" / "procedural" / "knot-v1.npz"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # the specification says to pass over it
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if os.name == "posix":
        assert default_cache() == tmp_path / "home" / ".cache" / "nfbench"
