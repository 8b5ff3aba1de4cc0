"""Archives that are sound, and those that would write elsewhere, never end, or are torn."""

import bz2
import errno
import gzip
import io
import lzma
import shutil
import struct
import tarfile
import zipfile

import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.loaders import archive as archive_module
from nfbench.loaders.archive import Bounds, place, unpack
from nfbench.loaders.archive_entries import kind

KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]
PACKERS = {"tar": bytes, "tar.gz": gzip.compress, "tar.bz2": bz2.compress, "tar.xz": lzma.compress}
FILES = {
    "scene/a.txt": b"hello",
    "scene/deep/er/b.bin": bytes(range(256)) * 4200,
    "scene/größe 1/ü.png": b"",
    "c": b"!",
}


def zipped(path, files, folders=(), packing=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", packing) as out:
        for name in folders:
            out.writestr(f"{name}/", b"")
        for name, data in files.items():
            out.writestr(name, data)
    return path


def tarred(path, entries):
    """entries: name to bytes, or to (type, link)."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as out:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, tuple):
                info.type, info.linkname = data
                out.addfile(info)
            else:
                info.size, info.mode = len(data), 0o4777
                out.addfile(info, io.BytesIO(data))
    end = path.name.split(".", 1)[1]
    path.write_bytes(PACKERS[end](made.getvalue()))
    return path


def made(tmp_path, end, files):
    path = tmp_path / f"archive.{end}"
    return zipped(path, files) if end == "zip" else tarred(path, files)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def on_disk(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("end", KINDS)
def test_all_files_come_out(tmp_path, folder, end):
    seen = []
    done = unpack(made(tmp_path, end, FILES), folder, progress=lambda share, files: seen.append((share, files)))
    assert on_disk(folder) == FILES and done.files == {name: len(data) for name, data in FILES.items()}
    assert done.clashes == [] and seen[-1] == (1.0, 4) and len(seen) == 5
    assert [files for _, files in seen[:4]] == [1, 2, 3, 4] and all(0 <= share <= 1 for share, _ in seen)
    assert not folder.joinpath("c").stat().st_mode & 0o4111, "no permissions of the archive"


def test_progress_of_a_zip_is_by_bytes(tmp_path, folder):
    seen = []
    path = zipped(tmp_path / "a.zip", {"a": bytes(25), "b": bytes(75)})
    unpack(path, folder, progress=lambda share, files: seen.append((share, files)))
    assert seen == [(0.0, 1), (0.25, 2), (1.0, 2)]


def test_empty_folders_and_stored_files(tmp_path, folder):
    path = zipped(tmp_path / "a.zip", {"x/a": b"1"}, ["x", "y/z"], zipfile.ZIP_STORED)
    assert unpack(path, folder).files == {"x/a": 1} and (folder / "y" / "z").is_dir()
    path = tarred(tmp_path / "a.tar", {"d": (tarfile.DIRTYPE, ""), "./e/./f": b"1", "./": (tarfile.DIRTYPE, "")})
    assert unpack(path, tmp_path / "2").files == {"e/f": 1} and (tmp_path / "2" / "d").is_dir()


@pytest.mark.parametrize("end", ["zip", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../evil", "leads out"),
        ("a/../../evil", "leads out"),
        ("a/..", "leads out"),
        ("/evil", "absolute"),
        ("//host/evil", "absolute"),
        ("C:/evil", "absolute"),
        ("c:evil", "absolute"),
        ("..\\evil", "leads out"),
        ("\\evil", "absolute"),
        ("a\x1fb", "control character"),
        ("a\nb", "control character"),
    ],
)
def test_nothing_leads_out(tmp_path, folder, end, name, why):
    path = made(tmp_path, end, {"good": b"1", name: b"evil"})
    with pytest.raises(DataCorrupt, match=why) as caught:
        unpack(path, folder)
    shown = name if name.isprintable() else ascii(name)
    assert caught.value.message.startswith(f"{path}: {shown} ")
    assert not folder.exists() and sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_places():
    assert place("a/b") == "a/b" and place("./a//b/") == "a/b" and place("a\\b") == "a/b" and place("./") == ""
    assert place("..a/b..") == "..a/b.." and place("x:y/z"[1:]) == ":y/z" and place("a b/ü") == "a b/ü"
    assert place("ab:c") == "ab:c", "only one letter before the colon is a drive"
    assert place(" ") == " "


@pytest.mark.parametrize("kind_of_link", [tarfile.SYMTYPE, tarfile.LNKTYPE])
@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/passwd", "C:/x", "a/../../../x", "..\\..\\x", "\\x", ""])
def test_no_link_leads_out(tmp_path, folder, kind_of_link, target):
    path = tarred(tmp_path / "a.tar", {"good": b"1", "x/link": (kind_of_link, target), "x/link/evil": b"2"})
    with pytest.raises(Unsupported, match=r"x/link is a link that leads out") as caught:
        unpack(path, folder)
    assert caught.value.message.endswith(f"leads out, to {target or 'nowhere'}.")
    assert "zip it" in caught.value.hint and not folder.exists()


def test_a_link_within_becomes_the_file(tmp_path, folder):
    entries = {
        "d/soft": (tarfile.SYMTYPE, "./a"),
        "d/up": (tarfile.SYMTYPE, "../b"),
        "chain": (tarfile.SYMTYPE, "d/soft"),
        "d/a": b"one",
        "b": b"two",
        "d/hard": (tarfile.LNKTYPE, "d/a"),
    }
    done = unpack(tarred(tmp_path / "a.tar.gz", entries), folder)
    expected = {"d/soft": b"one", "d/up": b"two", "chain": b"one", "d/a": b"one", "b": b"two", "d/hard": b"one"}
    assert on_disk(folder) == expected and done.files == dict.fromkeys(expected, 3)
    assert not any(path.is_symlink() for path in folder.rglob("*"))
    (folder / "d" / "a").write_bytes(b"new")
    assert (folder / "d" / "hard").read_bytes() == b"one"


@pytest.mark.parametrize(
    ("links", "to"),
    [({"l": "folder"}, "folder"), ({"l": "nowhere"}, "nowhere"), ({"l": "m", "m": "l"}, "m"), ({"l": "."}, "")],
)
def test_a_link_to_no_file_is_refused(tmp_path, folder, links, to):
    entries = {"folder/a": b"1", **{name: (tarfile.SYMTYPE, target) for name, target in links.items()}}
    with pytest.raises(Unsupported, match=f"l is a link to {to}, which is no file of the archive"):
        unpack(tarred(tmp_path / "a.tar", entries), folder)


def test_writing_through_a_link_is_no_way_out(tmp_path, folder):
    entries = {"x": (tarfile.SYMTYPE, "y"), "x/evil": b"1", "y/ok": b"2"}
    with pytest.raises(NfbenchError):
        unpack(tarred(tmp_path / "a.tar", entries), folder)
    assert not folder.exists()


def test_links_in_a_zip(tmp_path, folder):
    def link(out, name, target):
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, 0o120777 << 16
        out.writestr(info, target)

    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("a/b", b"data")
        link(out, "a/l", "b")
    assert unpack(tmp_path / "a.zip", folder).files == {"a/b": 4, "a/l": 4}
    for target in ("../../x", "x" * 5000):
        with zipfile.ZipFile(tmp_path / "b.zip", "w") as out:
            link(out, "a/l", target)
        with pytest.raises(Unsupported, match=r"a/l is a link that leads out"):
            unpack(tmp_path / "b.zip", tmp_path / "2")


@pytest.mark.parametrize("type_", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path, folder, type_):
    with pytest.raises(Unsupported, match=r"null is a device or the like"):
        unpack(tarred(tmp_path / "a.tar", {"null": (type_, "")}), folder)
    info = zipfile.ZipInfo("null")
    info.create_system, info.external_attr = 3, 0o020666 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(info, b"")
    with pytest.raises(Unsupported, match=r"null is a device or the like"):
        unpack(tmp_path / "a.zip", folder)


@pytest.mark.parametrize("end", KINDS)
def test_a_bomb_is_stopped_before_it_is_written(tmp_path, folder, end):
    path = made(tmp_path, end, {"a": bytes(500), "b": bytes(501)})
    with pytest.raises(DataCorrupt, match=r"b would make it more than 9.31e-07 GiB unpacked"):
        unpack(path, folder, Bounds(1000))
    assert not folder.exists()
    assert len(unpack(path, folder, Bounds(1001)).files) == 2
    with pytest.raises(DataCorrupt, match=r"b is one more than the 1 files allowed"):
        unpack(path, tmp_path / "2", Bounds(1001, 1))
    assert len(unpack(path, tmp_path / "3", Bounds(1001, 2)).files) == 2


def test_links_count_too(tmp_path, folder):
    path = tarred(tmp_path / "a.tar", {"a": bytes(500), "l": (tarfile.SYMTYPE, "a")})
    with pytest.raises(DataCorrupt, match=r"l would make it more"):
        unpack(path, folder, Bounds(999))
    assert unpack(path, folder, Bounds(1000)).files == {"a": 500, "l": 500}


def test_bounds_by_default(tmp_path):
    (tmp_path / "small").write_bytes(b"1")
    assert Bounds.of(tmp_path / "small") == Bounds(1 << 30, 5_000_000)
    with (tmp_path / "big").open("wb") as out:
        out.truncate(1 << 30)
    assert Bounds.of(tmp_path / "big").total == 200 << 30


def test_a_zip_that_declares_less_than_it_holds(tmp_path, folder):
    path = zipped(tmp_path / "a.zip", {"a": bytes(100_000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 100_000), struct.pack("<L", 10)))
    with pytest.raises(DataCorrupt, match=r"a.zip is damaged: Bad CRC"):
        unpack(path, folder, Bounds(1000))
    assert not folder.exists()


def test_a_zip_that_declares_more_than_it_holds(tmp_path, folder):
    path = zipped(tmp_path / "a.zip", {"a": bytes(1000)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<L", 1000), struct.pack("<L", 9999)))
    with pytest.raises(DataCorrupt, match=r"a is not the 9999 bytes long that the archive declares"):
        unpack(path, folder)


def test_names_that_clash_by_case_are_told(tmp_path, folder):
    names = {"A/x.png": b"1", "a/X.png": b"2", "u\u0308": b"3", "\u00fc": b"4", "a/y": b"5"}
    done = unpack(zipped(tmp_path / "a.zip", names), folder)
    assert done.clashes == [("A/x.png", "a/X.png"), ("u\u0308", "\u00fc")]


def test_names_that_clash_on_this_disk_are_refused(tmp_path, folder, monkeypatch):
    """A disk that does not tell case: opening the second name for writing finds the first."""
    path = zipped(tmp_path / "a.zip", {"x.png": b"1", "X.png": b"2"})
    real = archive_module.Path.open

    def no_case(self, mode="r", *more, **named):
        return real(self.with_name(self.name.lower()) if mode == "xb" else self, mode, *more, **named)

    monkeypatch.setattr(archive_module.Path, "open", no_case)
    with pytest.raises(NfbenchError, match=r"x.png and X.png are one file on this disk") as caught:
        unpack(path, folder)
    assert "--to" in caught.value.hint


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("end", ["zip", "tar"])
def test_one_name_twice_is_refused(tmp_path, folder, end):
    path = tmp_path / f"a.{end}"
    if end == "zip":
        with zipfile.ZipFile(path, "w") as out:
            out.writestr("a/b", b"1")
            out.writestr("a//b", b"2")
    else:
        tarred(path, {"a/b": b"1", "./a/b": (tarfile.SYMTYPE, "b")})
    with pytest.raises(DataCorrupt, match=r"a/b is there twice"):
        unpack(path, folder)


def test_a_file_and_a_folder_of_one_name(tmp_path, folder):
    for at, names in enumerate((["a", "a/b"], ["a/b", "a"])):
        path = tarred(tmp_path / "a.tar", dict.fromkeys(names, b"1"))
        with pytest.raises(DataCorrupt, match=f"{names[1]} is both a file and a folder"):
            unpack(path, tmp_path / f"out{at}")


def test_what_a_mac_adds_is_left_out(tmp_path, folder):
    names = ["__MACOSX/a", "train/._r_0.png", "train/.DS_Store", "train/r_0.png", "a/__MACOSX"]
    done = unpack(zipped(tmp_path / "a.zip", dict.fromkeys(names, b"1")), folder)
    assert set(done.files) == {"train/r_0.png", "a/__MACOSX"}


@pytest.mark.parametrize("end", KINDS)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_torn_archive_is_refused(tmp_path, folder, end, share):
    rng = np.random.default_rng(0)
    path = made(tmp_path, end, {f"f{i}": rng.bytes(5000) for i in range(20)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(DataCorrupt, match=f"archive.{end} is damaged") as caught:
        unpack(path, folder)
    assert "anew" in caught.value.hint and not folder.exists()


@pytest.mark.parametrize("end", KINDS)
def test_a_byte_that_changed_is_found(tmp_path, folder, end):
    path = made(tmp_path, end, {f"f{i}": bytes(range(256)) * 20 for i in range(5)})
    data = bytearray(path.read_bytes())
    at = 5 * 512 + 3 * 5120 + 20 if end == "tar" else len(data) // 2  # in a header of the tar, whose data have no sum
    if end == "tar":
        at = bytes(data).index(b"f3") + 1
    data[at] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(NfbenchError):
        unpack(path, folder)
    assert not folder.exists()


def test_a_tar_cut_between_two_files_is_cut_short(tmp_path, folder):
    path = tarred(tmp_path / "a.tar", {"a": bytes(512), "b": bytes(512)})
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(DataCorrupt, match=r"cut short, or a header in it is damaged"):
        unpack(path, folder)


def test_the_check_sum_after_the_last_file_is_read(tmp_path, folder):
    path = tarred(tmp_path / "a.tar.gz", {"a": bytes(512)})
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataCorrupt, match=r"a.tar.gz is damaged"):
        unpack(path, folder)


def test_a_header_of_many_bytes_is_not_read_into_memory(tmp_path, folder):
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    path = tmp_path / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240))
    with pytest.raises(DataCorrupt, match=r"a header in it is too long"):
        unpack(path, folder)


def test_long_names_come_out(tmp_path, folder):
    name = "/".join(["d" * 90] * 3 + ["é" * 50])
    assert unpack(tarred(tmp_path / "a.tar", {name: b"1"}), folder).files == {name: 1}


def test_an_encrypted_zip_is_refused(tmp_path, folder):
    path = zipped(tmp_path / "a.zip", {"a": b"1"})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(Unsupported, match=r"a is encrypted"):
        unpack(path, folder)


def test_a_way_of_packing_that_python_lacks_is_refused(tmp_path, folder):
    path = zipped(tmp_path / "a.zip", {"a": b"1"})
    data = bytearray(path.read_bytes())
    data[8] = 99
    data[data.index(b"PK\x01\x02") + 10] = 99
    path.write_bytes(data)
    with pytest.raises(Unsupported, match=r"cannot be unpacked: That compression method is not supported"):
        unpack(path, folder)


def test_an_archive_of_nothing(tmp_path, folder):
    for path in (made(tmp_path, "zip", {}), tarred(tmp_path / "a.tar", {"d": (tarfile.DIRTYPE, "")})):
        with pytest.raises(DataCorrupt, match=r"holds no files"):
            unpack(path, folder)
        assert not folder.exists()


@pytest.mark.parametrize(
    ("data", "looks"),
    [(b"", "is empty"), (b"  <!DOCTYPE html>", "begins like a web page"), (b"Rar!\x1a\x07", "is neither zip nor tar")],
)
def test_what_is_no_archive(tmp_path, folder, data, looks):
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(DataCorrupt, match=f"a.zip {looks}"):
        unpack(tmp_path / "a.zip", folder)
    with pytest.raises(DataMissing, match=r"no file"):
        kind(tmp_path / "none.zip")


@pytest.mark.parametrize("end", KINDS)
def test_the_kind_is_told_by_content(tmp_path, end):
    path = made(tmp_path, end, FILES).rename(tmp_path / "download")
    assert kind(path) == end[:3]


def test_an_empty_zip_and_a_lone_packed_file(tmp_path, folder):
    assert kind(made(tmp_path, "zip", {})) == "zip"
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"no tar" * 1000))
    with pytest.raises(DataCorrupt, match=r"a.gz is damaged"):
        unpack(tmp_path / "a.gz", folder)


def test_room_is_looked_at_before(tmp_path, folder, monkeypatch):
    path = zipped(tmp_path / "a.zip", {"a": bytes(4096)})
    usage = type("Usage", (), {"free": 4096})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    unpack(path, folder)
    usage.free = 4095
    with pytest.raises(NfbenchError, match=r"a.zip needs 0.00 GiB, and 0.00 GiB are free"):
        unpack(path, tmp_path / "2")
    assert not (tmp_path / "2").exists()
    big = tarred(tmp_path / "a.tar", {"a": bytes(4096)})
    usage.free = big.stat().st_size - 1
    with pytest.raises(NfbenchError, match=r"a.tar needs"):
        unpack(big, tmp_path / "2")


def test_room_is_told_in_gibibytes(tmp_path, folder, monkeypatch):
    path = zipped(tmp_path / "a.zip", {"a": b"1"})
    info = type("Info", (), {"file_size": 3 << 30})
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda self: [info])
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1 << 29}))
    with pytest.raises(NfbenchError, match=r"a.zip needs 3.00 GiB, and 0.50 GiB are free"):
        unpack(path, folder)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_nothing_stays(tmp_path, folder, monkeypatch, code):
    def full(source, out, size):
        raise OSError(code, "no more")

    monkeypatch.setattr(archive_module, "_copy", full)
    with pytest.raises(NfbenchError, match=f"The disk of {tmp_path} is full: a.zip could not be unpacked") as caught:
        unpack(zipped(tmp_path / "a.zip", FILES), folder)
    assert "the archive is kept" in caught.value.hint and not folder.exists()


def test_a_disk_that_is_full_once_links_become_files(tmp_path, folder, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "no more")

    monkeypatch.setattr(archive_module.shutil, "copyfile", full)
    path = tarred(tmp_path / "a.tar", {"a": b"1", "b": (tarfile.SYMTYPE, "a")})
    with pytest.raises(NfbenchError, match=r"is full: a\.tar could not be unpacked"):
        unpack(path, folder)
    assert not folder.exists()


def test_another_failure_to_write_names_the_file(tmp_path, folder, monkeypatch):
    def fails(source, out, size):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(archive_module, "_copy", fails)
    with pytest.raises(NfbenchError, match=r"scene/a.txt cannot be written: Input/output error"):
        unpack(zipped(tmp_path / "a.zip", FILES), folder)


def test_a_name_that_the_disk_cannot_have(tmp_path, folder):
    with pytest.raises(NfbenchError, match=r"cannot be written: File name too long"):
        unpack(zipped(tmp_path / "a.zip", {"x" * 300: b"1"}), folder)


def test_names_that_are_no_unicode_can_be_told(tmp_path, folder):
    path = tarred(tmp_path / "a.tar", {"caf\udce9": b"1", "../caf\udce9": b"2"})
    with pytest.raises(DataCorrupt, match=r"caf\\udce9' leads out"):
        unpack(path, folder)
