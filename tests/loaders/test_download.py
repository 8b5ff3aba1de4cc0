"""`nfbench download` from end to end, against a server on this machine."""

import errno
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import threading
import zipfile
from dataclasses import replace

import pytest

from nfbench.harness import doctor
from nfbench.harness.cli import main
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.registry import DatasetSpec, registry
from nfbench.harness.watcher import Watcher
from nfbench.loaders import download as download_module
from nfbench.loaders import pins, transfer
from nfbench.loaders.datasets import Dataset, Piece
from nfbench.loaders.download import Order, order
from nfbench.loaders.transfer import Patience

SCENE = {"transforms_train.json": b"{}", "train/r_0.png": b"png" * 1000, "train/größe.png": b"x"}
OFFERED = []  # what `offered` gives: the registry holds the name of a function


def offered(name):
    return OFFERED[-1]


def zipped(files, top=""):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        for name, data in files.items():
            out.writestr(top + name, data)
    return made.getvalue()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def dataset(*pieces, version="1", scenes=("lego", "mic")):
    return Dataset(
        "blocks", "Blocks", "S.", version, "blender", "none", "CC0 of blocks", "Me", "the page", scenes, pieces
    )


def lego(mirror, data, **more):
    return Piece("lego", "lego.zip", (mirror.serve("/lego.zip", data),), ("lego",), "lego", **more)


@pytest.fixture
def root(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def told():
    return []


@pytest.fixture
def get(root, told):
    def call(made, scene="", source=None, **more):
        quick = Patience(tries=2, worth=1000, timeout=2.0)
        wanted = replace(order(made, scene, root, source), patience=quick, sleep=lambda seconds: None, **more)
        return wanted.carry_out(Watcher(told.append))

    return call


def on_disk(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def kept(root):
    return sorted(p.name for p in (root / ".nfbench" / "blocks").iterdir())


@pytest.mark.parametrize("top", ["", "lego/", "LEGO/"])
def test_a_scene_is_put_in_its_folder(mirror, root, get, top):
    data = zipped(SCENE, top)
    (line,) = get(dataset(lego(mirror, data)))
    assert on_disk(root / "blocks" / "lego") == SCENE
    lock = root / ".nfbench" / "blocks" / "lego.json"
    assert line == f"blocks/lego: 3 files; SHA-256 {sha(data)[:12]}… pinned in {lock}."
    assert kept(root) == ["lego.json", "lego.lock"]
    assert json.loads(lock.read_text()) == {
        "dataset": "blocks",
        "version": "1",
        "piece": "lego",
        "scenes": ["lego"],
        "licence": "CC0 of blocks",
        "url": f"{mirror.address}/lego.zip",
        "archive": "lego.zip",
        "size": len(data),
        "sha256": sha(data),
        "published": False,
        "files": {f"lego/{name}": len(content) for name, content in SCENE.items()},
    }


def test_again_nothing_is_fetched(mirror, root, get):
    made = dataset(lego(mirror, zipped(SCENE)))
    get(made)
    assert get(made) == ["blocks/lego is complete already: 3 files."] and len(mirror.asked) == 1


def test_a_lost_file_is_put_back_and_the_hash_compared(mirror, root, get):
    made = dataset(lego(mirror, zipped(SCENE)))
    get(made)
    (root / "blocks" / "lego" / "train" / "r_0.png").unlink()
    (line,) = get(made)
    assert line.endswith("as before.") and on_disk(root / "blocks" / "lego") == SCENE


def test_another_file_than_the_pinned_one_is_refused(mirror, root, get):
    made = dataset(lego(mirror, zipped(SCENE)))
    get(made)
    before = (root / ".nfbench" / "blocks" / "lego.json").read_bytes()
    (root / "blocks" / "lego" / "train" / "r_0.png").unlink()
    mirror.serve("/lego.zip", zipped({**SCENE, "new": b"1"}))
    with pytest.raises(NfbenchError, match=r"SHA-256 is .*, not ") as caught:
        get(made)
    lock = root / ".nfbench" / "blocks" / "lego.json"
    assert f"The first download is pinned; if this one is right, delete {lock}." in caught.value.hint
    assert lock.read_bytes() == before and not (root / "blocks" / "lego" / "new").exists()
    lock.unlink()
    assert "pinned in" in get(made)[0] and (root / "blocks" / "lego" / "new").exists()


def test_another_failure_says_nothing_of_pins(mirror, root, get):
    made = dataset(lego(mirror, zipped(SCENE)))
    get(made)
    (root / "blocks" / "lego" / "train" / "r_0.png").unlink()
    mirror.answers.clear()
    with pytest.raises(NfbenchError, match=r"404") as caught:
        get(made)
    assert "pinned" not in caught.value.hint


def test_another_version_of_the_dataset_has_another_hash(mirror, root, get):
    get(dataset(lego(mirror, zipped(SCENE))))
    piece = lego(mirror, zipped({**SCENE, "new": b"1"}))
    assert "pinned in" in get(dataset(piece, version="2"))[0]
    assert json.loads((root / ".nfbench" / "blocks" / "lego.json").read_text())["version"] == "2"


def test_a_published_hash_is_what_counts(mirror, root, get):
    data = zipped(SCENE)
    (line,) = get(dataset(lego(mirror, data, sha256=sha(data), size=len(data))))
    assert line.endswith("as published.")
    assert json.loads((root / ".nfbench" / "blocks" / "lego.json").read_text())["published"] is True


def test_a_wrong_published_hash_puts_nothing_in_place(mirror, root, get):
    with pytest.raises(NfbenchError, match=r"SHA-256") as caught:
        get(dataset(lego(mirror, zipped(SCENE), sha256="0" * 64)))
    assert "pinned" not in caught.value.hint and not (root / "blocks").exists() and kept(root) == ["lego.lock"]


def test_dropped_and_resumed_by_the_next_run(mirror, root, get):
    piece = lego(mirror, data := zipped({"a": bytes(range(256)) * 300}))
    mirror.answers["/lego.zip"].drops = [40_000, 0, 0]
    with pytest.raises(NfbenchError, match=r"2 tries failed"):
        get(dataset(piece))
    ((text, complete),) = pins.report(root)
    assert text == f"{root / 'blocks'}: lego-lego.zip.part came in part, 0.0 MiB; the same command goes on"
    assert complete is False
    get(dataset(piece))
    assert mirror.ranges()[-1] == "bytes=40000-" and (root / "blocks" / "lego" / "a").stat().st_size == 256 * 300
    assert json.loads((root / ".nfbench" / "blocks" / "lego.json").read_text())["sha256"] == sha(data)


def test_what_was_fetched_is_not_fetched_again_when_only_unpacking_failed(mirror, root, get, monkeypatch):
    made = dataset(lego(mirror, zipped(SCENE)))

    def full(*arguments, **more):
        raise NfbenchError("The disk is full.")

    monkeypatch.setattr(download_module, "unpack", full)
    with pytest.raises(NfbenchError, match=r"disk is full"):
        get(made)
    assert kept(root) == ["lego-lego.zip", "lego.lock"]
    monkeypatch.undo()
    get(made)
    assert len(mirror.asked) == 1 and on_disk(root / "blocks" / "lego") == SCENE
    assert kept(root) == ["lego.json", "lego.lock"]


def test_a_kept_archive_that_is_another_one_is_fetched_anew(mirror, root, get):
    data = zipped(SCENE)
    piece = lego(mirror, data, sha256=sha(data))
    (root / ".nfbench" / "blocks").mkdir(parents=True)
    (root / ".nfbench" / "blocks" / "lego-lego.zip").write_bytes(b"other")
    get(dataset(piece))
    assert len(mirror.asked) == 1 and on_disk(root / "blocks" / "lego") == SCENE


@pytest.mark.parametrize("data", [b"PK\x03\x04 torn", b"not an archive", zipped({"../evil": b"1"})])
def test_a_bad_archive_is_deleted_and_nothing_is_in_place(mirror, root, get, data):
    with pytest.raises(DataCorrupt) as caught:
        get(dataset(lego(mirror, data)))
    assert "the same command fetches it anew" in caught.value.hint
    assert kept(root) == ["lego.lock"] and not (root / "blocks").exists()


def test_many_scenes_of_one_archive(mirror, root, get):
    files = {f"{scene}/{name}": data for scene in ("lego", "mic") for name, data in SCENE.items()}
    piece = Piece(
        "all", "all.zip", (mirror.serve("/all.zip", zipped(files, "wrap/er/")),), ("lego", "mic"), inside="wrap/er"
    )
    other = Piece("more", "more.zip", (mirror.serve("/more.zip", zipped({"mic/extra": b"1"})),), ("mic",))
    lines = get(dataset(piece, other))
    assert [line.split(";")[0] for line in lines] == ["blocks/all: 6 files", "blocks/more: 1 files"]
    assert on_disk(root / "blocks") == {**files, "mic/extra": b"1"}
    assert get(dataset(piece, other), "lego") == ["blocks/all is complete already: 6 files."]
    ((text, complete),) = pins.report(root)
    assert complete and text == f"{root / 'blocks'}: 7 files", "of no dataset in the registry: no count of scenes"


def test_without_the_folder_that_is_meant_all_is_taken(mirror, root, get):
    piece = Piece("all", "all.zip", (mirror.serve("/all.zip", zipped({"lego/a": b"1"})),), ("lego",), inside="wrap")
    get(dataset(piece))
    assert on_disk(root / "blocks") == {"lego/a": b"1"}


def test_a_lone_folder_of_another_name_stays(mirror, root, get):
    get(dataset(lego(mirror, zipped({"images/a.png": b"1"}))))
    assert on_disk(root / "blocks" / "lego") == {"images/a.png": b"1"}


def test_a_file_that_is_no_archive(mirror, root, get):
    piece = Piece(
        "split", "s.tsv", (mirror.serve("/s.tsv", b"a\tb\n", kind="text/plain"),), ("mic",), single="mic/split.tsv"
    )
    get(dataset(piece), "mic")
    assert on_disk(root / "blocks") == {"mic/split.tsv": b"a\tb\n"} and kept(root) == ["split.json", "split.lock"]
    assert get(dataset(piece)) == ["blocks/split is complete already: 1 files."]


def test_the_users_files_are_not_overwritten(mirror, root, get):
    mine = root / "blocks" / "lego" / "train" / "r_0.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    (root / "blocks" / "lego" / "notes.txt").write_bytes(b"mine too")
    made = dataset(lego(mirror, zipped(SCENE)))
    with pytest.raises(NfbenchError, match=r"r_0.png is there and is another file than the dataset's"):
        get(made)
    assert on_disk(root / "blocks" / "lego") == {"train/r_0.png": b"mine", "notes.txt": b"mine too"}
    mine.unlink()
    get(made)
    assert on_disk(root / "blocks" / "lego") == {**SCENE, "notes.txt": b"mine too"}


def test_an_archive_of_the_users_own(root, get, tmp_path):
    piece = Piece("DTU", "DTU.zip", get="the page")
    made = dataset(piece, scenes=())
    with pytest.raises(Unsupported, match=r"blocks cannot be fetched by a program") as caught:
        get(made)
    assert "DTU.zip: the page" in caught.value.hint and "--from FILE" in caught.value.hint
    own = tmp_path / "mine.tar.gz"
    with tarfile.open(own, "w:gz") as out:
        info = tarfile.TarInfo("scan24/cameras.npz")
        info.size = 3
        out.addfile(info, io.BytesIO(b"npz"))
    before = own.read_bytes()
    (line,) = get(made, source=own)
    assert line.startswith("blocks/DTU: 1 files; SHA-256 ") and own.read_bytes() == before, "the user's file stays"
    assert on_disk(root / "blocks") == {"scan24/cameras.npz": b"npz"}
    pin = pins.read_pin(root / ".nfbench" / "blocks" / "DTU.json")
    assert (pin.url, pin.archive, pin.size, pin.sha256) == ("", "mine.tar.gz", len(before), sha(before))
    assert get(made, source=own)[0].endswith("as before.")
    own.write_bytes(zipped({"other": b"1"}))
    with pytest.raises(DataCorrupt, match=f"{own}: SHA-256 is .*, not {sha(before)}") as caught:
        get(made, source=own)
    assert "delete" in caught.value.hint
    with pytest.raises(DataMissing, match=r"no file") as caught:
        get(made, source=tmp_path / "none.zip")
    assert "the page" in caught.value.hint


def test_an_own_file_is_held_to_what_is_published(root, get, tmp_path):
    own = tmp_path / "lego.zip"
    own.write_bytes(zipped(SCENE))
    piece = Piece("lego", "lego.zip", (), ("lego",), "lego", get="x", sha256="0" * 64)
    with pytest.raises(DataCorrupt, match=f"not {'0' * 64}") as caught:
        get(dataset(piece), source=own)
    assert caught.value.hint == "Get the file anew."
    with pytest.raises(DataCorrupt, match=f"lego.zip has {own.stat().st_size} bytes, lego.zip has 7"):
        get(dataset(replace(piece, size=7)), source=own)
    own.write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(DataCorrupt, match=r"damaged") as caught:
        get(dataset(replace(piece, sha256=None)), source=own)
    assert own.exists() and "deleted" not in caught.value.hint


def test_clashes_of_case_are_told(mirror, root, get, told):
    get(dataset(lego(mirror, zipped({"a": b"1", "A": b"2"}))))
    assert told == ["lego.zip: a and A are one file on a disk that does not tell case."]


def test_two_at_once_fetch_it_once(mirror, root, get, told):
    made = dataset(lego(mirror, zipped({"a": bytes(300)})))
    mirror.answers["/lego.zip"].pause = 0.002
    lines = []
    threads = [threading.Thread(target=lambda: lines.extend(get(made))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(mirror.asked) == 1 and sorted(line.split(":")[0] for line in lines) == [
        "blocks/lego",
        "blocks/lego is complete already",
        "blocks/lego is complete already",
    ]
    assert told == ["lego.zip: another process is at it; waiting for its end."] * 2


def test_the_lock_ends_with_its_process(tmp_path):
    code = (
        "import sys, os; from pathlib import Path; from nfbench.loaders.pins import only_one\n"
        "with only_one(Path(sys.argv[1]), lambda: None): os._exit(3)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "l"]).returncode == 3
    waited = []
    with pins.only_one(tmp_path / "l", lambda: waited.append(1)):
        pass
    assert waited == []


def test_a_disk_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    def none(stream, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(pins.fcntl, "flock", none)
    with pins.only_one(tmp_path / "l", lambda: pytest.fail("it waits")):
        pass


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "l").mkdir()
    with pytest.raises(NfbenchError, match="l cannot be written: Is a directory"), pins.only_one(tmp_path / "l", list):
        pytest.fail("it goes on")


def test_a_folder_that_cannot_be_made(mirror, tmp_path, get, root):
    root.write_bytes(b"a file")
    with pytest.raises(NfbenchError, match=r"cannot be written"):
        get(dataset(lego(mirror, zipped(SCENE))))


def test_the_order_tells_what_it_will_do(root, tmp_path):
    piece = Piece("lego", "lego.zip", ("https://127.0.0.1/lego.zip",), ("lego",), "lego")
    made = dataset(piece, replace(piece, name="mic", file="mic.zip", scenes=("mic",)))
    wanted = order(made, "", root, None)
    assert wanted.patience == Patience() and wanted.source is None
    assert wanted.terms().splitlines() == [
        "Blocks, version 1",
        "  licence   CC0 of blocks",
        "  cite      Me",
        "  page      the page",
        f"  fetches lego.zip, mic.zip to {root / 'blocks'}",
    ]
    own = tmp_path / "lego.zip"
    own.write_bytes(b"")
    assert order(made, "", root, own).terms().endswith(f"  unpacks {own} to {root / 'blocks'}")


# what doctor says


def test_doctor_tells_what_is_complete(mirror, root, get, monkeypatch):
    spec = DatasetSpec("blocks", "x:y", "S.", "CC0", scenes=("lego", "mic"))
    monkeypatch.setitem(registry().datasets, "blocks", spec)
    assert pins.report(root) == []
    get(dataset(lego(mirror, zipped(SCENE))))
    where = root / "blocks"
    assert pins.report(root) == [(f"{where}: 1 of 2 scenes: lego; 3 files", True)]
    (where / "lego" / "train" / "r_0.png").write_bytes(b"short")
    (where / "lego" / "transforms_train.json").unlink()
    lost = "lego/train/r_0.png, lego/transforms_train.json"
    text = f"2 missing or changed: {lost}; move changed ones away, download again"
    assert pins.report(root) == [(f"{where}: 1 of 2 scenes: lego; 3 files; {text}", False)]
    monkeypatch.setitem(registry().datasets, "blocks", replace(spec, scenes=("lego",)))
    assert pins.report(root)[0][0].startswith(f"{where}: 1 of 1 scenes; 3 files; 2 missing")


def test_doctor_names_three_and_counts_the_rest(mirror, root, get):
    get(dataset(lego(mirror, zipped({str(n): b"1" for n in range(5)}))))
    for n in range(4):
        (root / "blocks" / "lego" / str(n)).unlink()
    assert "4 missing or changed: lego/0, lego/1, lego/2 ...; move" in pins.report(root)[0][0]


def test_a_folder_in_the_place_of_a_file_is_missing(mirror, root, get):
    get(dataset(lego(mirror, zipped({"a": b""}))))
    (root / "blocks" / "lego" / "a").unlink()
    (root / "blocks" / "lego" / "a").mkdir()
    assert pins.report(root)[0][1] is False


@pytest.mark.parametrize(
    "change",
    [
        lambda d: "",
        lambda d: "[]",
        lambda d: json.dumps({**d, "files": [1]}),
        lambda d: json.dumps({**d, "files": {"a": "1"}}),
        lambda d: json.dumps({**d, "sha256": 5}),
        lambda d: json.dumps({k: v for k, v in d.items() if k != "url"}),
        lambda d: json.dumps({k: v for k, v in d.items() if k != "scenes"}),
        lambda d: json.dumps({**d, "more": 1}),
    ],
)
def test_a_damaged_lock_file_is_named(mirror, root, get, change):
    made = dataset(lego(mirror, zipped(SCENE)))
    get(made)
    lock = root / ".nfbench" / "blocks" / "lego.json"
    lock.write_text(change(json.loads(lock.read_text())))
    with pytest.raises(DataCorrupt, match=f"{lock} is no lock file") as caught:
        get(made)
    assert "Delete it" in caught.value.hint
    ((text, complete),) = pins.report(root)
    assert not complete and text.startswith(f"{root / 'blocks'}: {lock} is no lock file")


def test_a_lock_file_that_cannot_be_written_is_told(mirror, root, get, monkeypatch):
    made = dataset(lego(mirror, zipped(SCENE)))
    get(made)
    pin = pins.read_pin(root / ".nfbench" / "blocks" / "lego.json")
    with pytest.raises(NfbenchError, match=r"cannot be written: No such file"):
        pins.write_pin(root / "no" / "lego.json", pin)


# the command line


@pytest.fixture
def nfbench(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nfbench", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def offer(monkeypatch):
    def add(made):
        spec = DatasetSpec("blocks", f"{__file__}:offered", "S.", made.licence, scenes=made.scenes)
        monkeypatch.setitem(registry().datasets, "blocks", spec)
        monkeypatch.setattr(download_module, "order", lambda *a: replace(order(*a), sleep=lambda seconds: None))
        monkeypatch.setattr("nfbench.harness.registry.resolve", resolver(made))

    return add


def resolver(made):
    from nfbench.harness.registry import resolve

    return lambda target: (lambda name: made) if target.endswith(":offered") else resolve(target)


def test_the_licence_comes_first_and_must_be_accepted(mirror, root, nfbench, offer, monkeypatch):
    offer(dataset(lego(mirror, zipped(SCENE))))
    code, out, err = nfbench("download", "blocks", "--to", root)
    assert code == 2 and "CC0 of blocks" in out and "The licence is not accepted" in err and "--yes" in err
    assert mirror.asked == [] and not root.exists()
    code, out, err = nfbench("download", "blocks/lego", "--to", root, "--yes", "--quiet")
    assert code == 0 and err == "" and out.index("CC0 of blocks") < out.index("blocks/lego: 3 files")
    assert on_disk(root / "blocks" / "lego") == SCENE


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 2), ("\n", 2)])
def test_on_a_terminal_it_asks(mirror, root, nfbench, offer, monkeypatch, answer, code):
    offer(dataset(lego(mirror, zipped(SCENE))))
    terminal = io.StringIO(answer)
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stdin", terminal)
    found, out, _ = nfbench("download", "blocks", "--to", root)
    assert found == code and "Do you accept the licence?" in out and len(mirror.asked) == (code == 0)


def test_a_failure_on_the_command_line(mirror, root, nfbench, offer):
    piece = lego(mirror, zipped(SCENE))
    mirror.answers.clear()
    offer(dataset(piece))
    code, _, err = nfbench("download", "blocks", "--to", root, "-y")
    assert code == 2 and "404" in err and "--from" in err and "Traceback" not in err


def test_unknown_datasets_and_scenes(nfbench, root):
    code, _, err = nfbench("download", "nerf-sinthetic")
    assert code == 2 and "no dataset 'nerf-sinthetic'" in err and "nerf-synthetic" in err
    code, _, err = nfbench("download", "nerf-synthetic/logo", "--to", root, "-y")
    assert code == 2 and "no scene 'logo'" in err and "lego" in err
    code, _, err = nfbench("download", "dtu", "--to", root, "-y")
    assert code == 2 and "--from FILE" in err and "github.com/lioryariv/idr" in err


def test_doctor_on_the_command_line(mirror, root, nfbench, offer, monkeypatch):
    monkeypatch.setattr(doctor, "report", doctor._datasets)  # the rest of the report loads torch
    offer(dataset(lego(mirror, zipped(SCENE))))
    nfbench("download", "blocks", "--to", root, "-y")
    told = f"  dataset     {root / 'blocks'}: 1 of 2 scenes: lego; 3 files"
    assert nfbench("doctor", "--data", root)[1] == f"ok{told}\n"
    (root / "blocks" / "lego" / "train" / "r_0.png").unlink()
    assert nfbench("doctor", "--data", root)[1].startswith(f"--{told}; 1 missing")


def test_download_starts_light():
    code = "import sys, nfbench.loaders.download; print([m for m in ('torch', 'numpy', 'numba') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
    assert transfer.fetch is download_module.fetch and Order
