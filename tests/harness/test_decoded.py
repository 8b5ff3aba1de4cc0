import errno
import os
import shutil
import stat
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from nfbench.harness import decoded
from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.decoded import DecodedViews
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.image import flattened
from nfbench.harness.scene import Views

SIZES = [(5, 4), (5, 4), (3, 7)]  # width, height
PIXELS = 5 * 4 + 5 * 4 + 3 * 7
WHITE = (1.0, 1.0, 1.0)


def image(index, channels=3, sizes=SIZES):
    width, height = sizes[index]
    return np.random.default_rng(index).integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.fixture
def loaded():
    """How often each view was decoded."""
    return Counter()


@pytest.fixture
def make(tmp_path, loaded):
    """Views of images that are made here, with files that stand for them."""

    def views(channels=(3, 3, 3), name="set", sizes=SIZES, files=True):
        count = len(sizes)
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        paths = tuple(folder / f"{i}.png" for i in range(count))
        for path in paths:
            if not path.exists():
                path.write_bytes(b"1234")

        def load(index):
            loaded[index] += 1
            return image(index, channels[index], sizes)

        pose = np.stack([look_at([0, -2, i], [0, 0, 0]) for i in range(count)])
        K = np.tile([[4.0, 0, 2], [0, 4, 2], [0, 0, 1]], (count, 1, 1))
        cameras = Cameras(pose, K, np.array(sizes))
        return Views(cameras, tuple(f"v{i}" for i in range(count)), load, files=paths if files else ())

    return views


def everywhere():
    """Every pixel of all views: view, row and column."""
    places = [(i, y, x) for i, (w, h) in enumerate(SIZES) for y in range(h) for x in range(w)]
    return np.array(places).T


def stored(cache):
    return sorted((cache / "decoded").iterdir())


def all_pixels(channels=3):
    return np.concatenate([image(i, channels).reshape(-1, channels) for i in range(3)])


def test_pixels_come_from_the_file_the_second_time(make, loaded, tmp_path):
    DecodedViews(make(), cache=tmp_path)
    assert loaded == {0: 2, 1: 1, 2: 1}
    loaded.clear()
    views = DecodedViews(make(), cache=tmp_path)
    assert views.mapped and views.channels == 3 and len(views) == 3
    assert views.starts.tolist() == [0, 20, 40, 61] and views.widths.tolist() == [5, 5, 3]
    found = views.pixels(*everywhere())
    assert found.dtype == np.uint8 and found.shape == (PIXELS, 3)
    assert np.array_equal(found, all_pixels())
    for i in range(3):
        assert np.array_equal(views.image(i), image(i))
        assert not views.image(i).flags.writeable
    assert loaded == {0: 1}


def test_pixels_in_any_order(make, tmp_path):
    for limit in (decoded.LIMIT, 0):
        views = DecodedViews(make(), cache=tmp_path, limit=limit)
        index, row, column = np.array([2, 0, 2, 1]), np.array([6, 3, 0, 1]), np.array([2, 4, 1, 0])
        expected = [image(i)[y, x].tolist() for i, y, x in zip(index, row, column, strict=True)]
        assert views.pixels(index, row, column).tolist() == expected
        none = np.zeros(0, np.int64)
        assert views.pixels(none, none, none).shape == (0, 3)


def test_the_file_is_what_its_description_says(make, tmp_path):
    DecodedViews(make(), cache=tmp_path)
    (file,) = stored(tmp_path)
    data = file.read_bytes()
    assert data[: PIXELS * 3] == all_pixels().tobytes()
    assert len(data) == PIXELS * 3 + 4 * 3 + 32
    assert file.name == f"decoded-{data[-32:].hex()}.pixels"


@pytest.mark.parametrize("limit", [decoded.LIMIT, 0])
def test_alpha_is_kept_without_a_background(make, tmp_path, limit):
    views = DecodedViews(make((4, 4, 4)), cache=tmp_path, limit=limit)
    assert views.channels == 4 and views.mapped == (limit > 0)
    assert np.array_equal(views.pixels(*everywhere()), all_pixels(4))


@pytest.mark.parametrize("limit", [decoded.LIMIT, 0])
def test_alpha_in_some_images_goes_over_the_background(make, tmp_path, limit):
    background = (0.25, 0.5, 1.0)
    views = DecodedViews(make((3, 4, 3)), background, cache=tmp_path, limit=limit)
    assert views.channels == 3
    assert np.array_equal(views.image(1), flattened(image(1, 4), background))
    assert np.array_equal(views.image(2), image(2))


def test_alpha_in_some_images_needs_a_background(make, tmp_path):
    with pytest.raises(DataCorrupt, match=r"1\.png has 4 channels, .*0\.png has 3") as caught:
        DecodedViews(make((3, 4, 3)), cache=tmp_path)
    assert "background" in caught.value.hint
    assert stored(tmp_path) == []
    late = DecodedViews(make((3, 4, 3), files=False), cache=tmp_path)
    with pytest.raises(DataCorrupt, match="v1 has 4 channels, v0 has 3"):
        late.image(1)


def test_no_views():
    with pytest.raises(DataMissing, match="no views") as caught:
        DecodedViews(Views(Cameras(np.zeros((0, 3, 4)), np.zeros((0, 3, 3)), np.zeros((0, 2))), (), image))
    assert caught.value.hint


def test_each_background_and_each_set_has_a_file(make, tmp_path):
    DecodedViews(make((4, 4, 4)), cache=tmp_path)
    DecodedViews(make((4, 4, 4)), WHITE, cache=tmp_path)
    DecodedViews(make((4, 4, 4)), (1, 1, 1), cache=tmp_path)  # the same
    assert len(stored(tmp_path)) == 2
    DecodedViews(make((4, 4, 4)), (1.0, 0.5, 1.0), cache=tmp_path)
    assert len(stored(tmp_path)) == 3
    DecodedViews(make(name="other"), cache=tmp_path)
    DecodedViews(make(name="other", sizes=[(4, 5), *SIZES[1:]]), cache=tmp_path)
    assert len(stored(tmp_path)) == 5


def test_changed_images_are_decoded_again(make, tmp_path, loaded):
    views = make()
    DecodedViews(views, cache=tmp_path)
    os.utime(views.files[2], ns=(0, 123456789))
    loaded.clear()
    DecodedViews(views, cache=tmp_path)
    assert loaded == {0: 2, 1: 1, 2: 1}
    was = views.files[1].stat()
    views.files[1].write_bytes(b"longer")
    os.utime(views.files[1], ns=(was.st_atime_ns, was.st_mtime_ns))
    loaded.clear()
    DecodedViews(views, cache=tmp_path)
    assert loaded == {0: 2, 1: 1, 2: 1}
    assert len(stored(tmp_path)) == 3


def test_another_format_number_is_another_file(make, tmp_path, monkeypatch):
    DecodedViews(make(), cache=tmp_path)
    monkeypatch.setattr(decoded, "FORMAT", decoded.FORMAT + 1)
    DecodedViews(make(), cache=tmp_path)
    assert len(stored(tmp_path)) == 2


def test_a_relative_path_is_the_same_file(make, tmp_path, monkeypatch):
    DecodedViews(make(), cache=tmp_path)
    monkeypatch.chdir(tmp_path)
    views = make()
    relative = tuple(file.relative_to(tmp_path) for file in views.files)
    DecodedViews(Views(views.cameras, views.names, views.load, files=relative), cache=tmp_path)
    assert len(stored(tmp_path)) == 1


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data + b"0",
        lambda data: data[:10],
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data[: PIXELS * 3 - 1] + bytes([data[PIXELS * 3 - 1] ^ 128]) + data[PIXELS * 3 :],
        lambda data: data[:-33] + bytes([data[-33] ^ 1]) + data[-32:],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:-44] + data[-44:] + data[-44:],
    ],
)
def test_a_damaged_file_is_written_again(make, tmp_path, loaded, damage):
    DecodedViews(make(), cache=tmp_path)
    (file,) = stored(tmp_path)
    data = file.read_bytes()
    file.write_bytes(damage(data))
    loaded.clear()
    views = DecodedViews(make(), cache=tmp_path)
    assert views.mapped and loaded == {0: 2, 1: 1, 2: 1}
    assert np.array_equal(views.pixels(*everywhere()), all_pixels())
    assert file.read_bytes() == data


def test_a_sound_file_of_other_pixels_is_written_again(make, tmp_path):
    views = make()
    other = Views(views.cameras, views.names, lambda i: 255 - image(i), files=views.files)
    DecodedViews(other, cache=tmp_path)
    assert np.array_equal(DecodedViews(views, cache=tmp_path).pixels(*everywhere()), all_pixels())
    assert len(stored(tmp_path)) == 1


def test_a_folder_in_the_place_of_the_file(make, tmp_path):
    DecodedViews(make(), cache=tmp_path)
    (file,) = stored(tmp_path)
    file.unlink()
    file.mkdir()
    (file / "something").touch()
    views = DecodedViews(make(), cache=tmp_path)
    assert not views.mapped and np.array_equal(views.image(2), image(2))
    assert stored(tmp_path) == [file]


def test_without_files_nothing_is_written(make, tmp_path):
    views = DecodedViews(make(files=False), cache=tmp_path)
    assert not views.mapped and not (tmp_path / "decoded").exists()
    assert np.array_equal(views.pixels(*everywhere()), all_pixels())


def test_a_file_that_is_gone_is_no_trouble_here(make, tmp_path):
    views = make()
    views.files[1].unlink()
    assert not DecodedViews(views, cache=tmp_path).mapped


def test_trouble_with_an_image_reaches_the_caller(make, tmp_path):
    views = make()

    def load(index):
        if index == 1:
            raise DataMissing("no 1.png")
        return image(index)

    with pytest.raises(DataMissing, match=r"no 1\.png"):
        DecodedViews(Views(views.cameras, views.names, load, files=views.files), cache=tmp_path)
    assert stored(tmp_path) == []


def test_memory_holds_no_more_than_asked_for(make, tmp_path, loaded):
    room = image(0).nbytes + image(1).nbytes
    views = DecodedViews(make(), cache=tmp_path, limit=0, memory=room)
    for _ in range(2):
        for i in range(3):
            assert np.array_equal(views.image(i), image(i))
    assert loaded == {0: 2, 1: 1, 2: 2}  # the first was looked at before
    loaded.clear()
    views = DecodedViews(make(), cache=tmp_path, limit=0, memory=room - 1)
    for _ in range(2):
        views.pixels(*everywhere())
    assert loaded == {0: 2, 1: 2, 2: 2}  # 0, then no room for 1 or 2: none is left for 63 bytes of 59


def test_a_gigabyte_is_held_where_nothing_else_is_said(make, tmp_path, loaded):
    assert decoded.MEMORY == 2**30 and decoded.LIMIT == 16 * 2**30
    views = DecodedViews(make(), cache=tmp_path, limit=0)
    views.pixels(*everywhere())
    views.pixels(*everywhere())
    assert loaded == {0: 2, 1: 1, 2: 1}


def test_a_set_that_just_fits(make, tmp_path):
    whole = PIXELS * 3 + 4 * 3 + 32
    assert not DecodedViews(make(), cache=tmp_path, limit=whole - 1).mapped
    assert not (tmp_path / "decoded").exists()
    assert DecodedViews(make(), cache=tmp_path, limit=whole).mapped


def test_the_least_recently_used_goes_first(make, tmp_path):
    size = PIXELS * 3 + 4 * 3 + 32
    files = {}
    for age, name in enumerate("abc"):
        DecodedViews(make(name=name), cache=tmp_path)
        (files[name],) = set(stored(tmp_path)) - set(files.values())
        os.utime(files[name], (1000 - age, 1000 - age))
    DecodedViews(make(name="c"), cache=tmp_path)  # used now
    assert files["c"].stat().st_mtime > time.time() - 600
    foreign = tmp_path / "decoded" / "notes.txt"
    foreign.write_bytes(b"0" * 10 * size)
    os.utime(foreign, (1, 1))
    DecodedViews(make(name="d"), cache=tmp_path, limit=3 * size)
    left = set(stored(tmp_path))
    assert files["b"] not in left and {files["a"], files["c"], foreign} < left and len(left) == 4
    DecodedViews(make(name="e"), cache=tmp_path, limit=2 * size + size - 1)
    left = set(stored(tmp_path))
    assert files["a"] not in left and files["c"] not in left and len(left) == 3


def test_partial_files_go_once_they_have_lost_their_writer(make, tmp_path):
    folder = tmp_path / "decoded"
    folder.mkdir()
    lost, written = (folder / f".decoded-{digit * 64}.pixels.0123456789abcdef.part" for digit in "01")
    for path, age in ((lost, decoded.RESTING + 60), (written, decoded.RESTING - 60)):
        path.write_bytes(b"0" * 50)
        os.utime(path, (time.time() - age,) * 2)
    size = PIXELS * 3 + 4 * 3 + 32
    assert not DecodedViews(make(), cache=tmp_path, limit=size + 49).mapped
    assert stored(tmp_path) == [written]
    assert DecodedViews(make(), cache=tmp_path, limit=size + 50).mapped
    assert written.exists()
    assert decoded.RESTING == 3600


def test_a_mapped_file_may_be_removed_or_replaced(make, tmp_path):
    views = DecodedViews(make(), cache=tmp_path)
    (file,) = stored(tmp_path)
    file.unlink()
    again = DecodedViews(make(), cache=tmp_path)
    for each in (views, again):
        assert np.array_equal(each.pixels(*everywhere()), all_pixels())


def test_a_full_disk(make, tmp_path, monkeypatch):
    size = PIXELS * 3 + 4 * 3 + 32
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size - 1))
    assert not DecodedViews(make(), cache=tmp_path).mapped
    assert stored(tmp_path) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=size))
    assert DecodedViews(make(), cache=tmp_path).mapped


def test_a_disk_that_fills_up_while_writing(make, tmp_path, monkeypatch):
    def write(self, stream, key):
        stream.write(b"0" * 10)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(DecodedViews, "_write", write)
    views = DecodedViews(make(), cache=tmp_path)
    assert not views.mapped and stored(tmp_path) == []
    assert np.array_equal(views.pixels(*everywhere()), all_pixels())


def test_a_cache_that_cannot_be_made(make, tmp_path):
    (tmp_path / "decoded").write_text("a file")
    views = DecodedViews(make(), cache=tmp_path)
    assert not views.mapped and np.array_equal(views.image(1), image(1))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_cache_still_serves(make, tmp_path):
    DecodedViews(make(), cache=tmp_path)
    (tmp_path / "decoded").chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        assert DecodedViews(make(), cache=tmp_path).mapped
        assert not DecodedViews(make(name="other"), cache=tmp_path).mapped
    finally:
        (tmp_path / "decoded").chmod(stat.S_IRWXU)


def test_a_file_whose_time_cannot_be_set_still_serves(make, tmp_path, monkeypatch):
    DecodedViews(make(), cache=tmp_path)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "utime", refuse)
    assert DecodedViews(make(), cache=tmp_path).mapped


def test_the_default_cache(make, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert DecodedViews(make()).mapped
    assert len(stored(tmp_path / "home" / "nfbench")) == 1
    monkeypatch.setattr(decoded, "default_cache", lambda: None)
    assert not DecodedViews(make()).mapped


def test_readers_and_writers_at_once(make, tmp_path):
    size = PIXELS * 3 + 4 * 3 + 32
    sets = [make(name=name) for name in "abc"]
    start = threading.Barrier(6)

    def work(number):
        start.wait()
        for turn in range(20):
            views = DecodedViews(sets[(number + turn) % 3], cache=tmp_path, limit=2 * size)
            assert np.array_equal(views.pixels(*everywhere()), all_pixels())
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    assert all(file.suffix == ".pixels" for file in stored(tmp_path))


@pytest.mark.parametrize("limit", [decoded.LIMIT, 0])
@pytest.mark.parametrize(
    ("place", "words"),
    [
        ((3, 0, 0), r"Views 0 to 3 .* there are 3"),
        ((-1, 0, 0), r"Views -1 to 0 .* there are 3"),
        ((1, 4, 0), r"Row 4, column 0 .*'v1' of 5x4 pixels"),
        ((0, 9, 0), r"Row 9, column 0 .*'v0' of 5x4 pixels"),
        ((0, 0, 9), r"Row 0, column 9 .*'v0' of 5x4 pixels"),
        ((1, -1, 2), r"Row -1, column 2 .*'v1' of 5x4"),
        ((2, 0, 3), r"Row 0, column 3 .*'v2' of 3x7"),
        ((2, 6, -1), r"Row 6, column -1 .*'v2' of 3x7"),
    ],
)
def test_places_outside(make, tmp_path, limit, place, words):
    views = DecodedViews(make(), cache=tmp_path, limit=limit)
    index, row, column = np.array([(0, 0, 0), place]).T
    with pytest.raises(ContractBroken, match=words):
        views.pixels(index, row, column)


@pytest.mark.parametrize("limit", [decoded.LIMIT, 0])
def test_places_counted_through_all_views_outside(make, tmp_path, limit):
    views = DecodedViews(make(), cache=tmp_path, limit=limit)
    assert np.array_equal(views.at(np.array([0, 60, 20])), all_pixels()[[0, 60, 20]])
    for places in ([5, -1], [5, 61], [5, 99], [-1, -1]):
        with pytest.raises(ContractBroken, match=rf"Pixels {min(places)} to {max(places)} are asked for") as caught:
            views.at(np.array(places))
    assert views.at(np.array([5, 5])).tolist() == [all_pixels()[5].tolist()] * 2
    assert "61" in caught.value.hint
    for index in (-1, 3, 9):
        with pytest.raises(ContractBroken, match=rf"Views {index} to {index} are asked for; there are 3"):
            views.image(index)
