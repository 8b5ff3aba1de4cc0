"""One file over HTTP against a server that drops, lies, changes the file, redirects, refuses and dawdles."""

import errno
import hashlib
import json
import shutil
import time
import urllib.error
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import format_datetime
from pathlib import Path

import pytest

from nfbench.harness.errors import NfbenchError
from nfbench.harness.watcher import Watcher
from nfbench.loaders import transfer
from nfbench.loaders.http_answer import (
    Dropped,
    Redirects,
    Refused,
    content_range,
    judged,
    length,
    seconds,
    strong_version,
)
from nfbench.loaders.transfer import Patience, digest, disk_error, fetch

BODY = bytes(range(256)) * 4000  # 1,024,000 bytes, none of whose parts stands for another
SHA = hashlib.sha256(BODY).hexdigest()
OTHER = BODY[::-1]
QUICK = Patience(timeout=2.0, tries=3, worth=1000, pause=1.0, longest=8.0)


class Told:
    def __init__(self):
        self.lines, self.shares, self.naps = [], [], []

    def fetch(self, urls, file, **more):
        watcher = Watcher(self.lines.append, lambda stage, share, numbers: self.shares.append((stage, share, numbers)))
        more.setdefault("patience", QUICK)
        return fetch(urls, file, watcher=watcher, sleep=self.naps.append, **more)


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "a.zip"


def left(file):
    return sorted(path.name for path in file.parent.iterdir())


def test_a_file_comes_whole_and_nothing_else_is_left(mirror, told, file):
    got = told.fetch([mirror.serve("/a.zip", BODY)], file, size=len(BODY), sha256=SHA)
    assert (got.url, got.size, got.sha256) == (f"{mirror.address}/a.zip", len(BODY), SHA)
    assert file.read_bytes() == BODY and left(file) == ["a.zip"]
    assert told.lines == [] and told.naps == []
    stage, share, numbers = told.shares[-1]
    assert stage == "fetch a.zip" and share == 1.0 and numbers["MiB"] == len(BODY) / 2**20 and numbers["MiB/s"] > 0
    ((_, headers),) = mirror.asked
    assert headers["Accept-Encoding"] == "identity" and headers["User-Agent"].startswith("nfbench/")
    assert "Range" not in headers and "If-Range" not in headers


def test_dropped_several_times_it_goes_on_where_it_was(mirror, told, file):
    got = told.fetch([mirror.serve("/a.zip", BODY, drops=[300_000, 200_000, 100_000])], file, sha256=SHA)
    assert file.read_bytes() == BODY and got.sha256 == SHA
    assert mirror.ranges() == [None, "bytes=300000-", "bytes=500000-", "bytes=600000-"]
    assert [headers.get("If-Range") for _, headers in mirror.asked] == [None, '"one"', '"one"', '"one"']
    assert told.naps == [1.0, 1.0, 1.0], "a try that brought something begins the count again"
    assert told.lines[0] == "a.zip: the connection ended after 300000 of 1024000 bytes; next try in 1 s."


def test_tries_that_bring_nothing_are_counted_and_pauses_grow_to_a_bound(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, drops=[1000, 0, 0, 0, 0, 0, 0, 0])
    with pytest.raises(NfbenchError, match=r"5 tries failed, the last one because the connection ended") as caught:
        told.fetch([url], file, patience=Patience(tries=5, worth=1000, pause=1.5, longest=5.0))
    assert told.naps == [1.5, 1.5, 3.0, 5.0, 5.0] and len(mirror.asked) == 6
    assert left(file) == ["a.zip.part", "a.zip.part.json"] and file.with_name("a.zip.part").read_bytes() == BODY[:1000]
    assert "0.0 MiB, is kept" in caught.value.hint and "--from" in caught.value.hint
    told.fetch([url], file, sha256=SHA)
    assert mirror.ranges()[-1] == "bytes=1000-" and file.read_bytes() == BODY and left(file) == ["a.zip"]


def test_a_try_that_brings_just_less_than_it_is_worth_counts(mirror, told, file):
    with pytest.raises(NfbenchError, match=r"2 tries failed"):
        told.fetch([mirror.serve("/a.zip", BODY, drops=[999] * 9)], file, patience=Patience(tries=2, worth=1000))
    assert len(mirror.asked) == 2


def test_a_server_without_ranges_begins_anew(mirror, told, file):
    told.fetch([mirror.serve("/a.zip", BODY, ranges=False, drops=[300_000, 100_000])], file, sha256=SHA)
    assert file.read_bytes() == BODY and mirror.ranges() == [None, "bytes=300000-", "bytes=100000-"]


def test_without_etag_the_date_is_the_version(mirror, told, file):
    day = "Wed, 21 Oct 2015 07:28:00 GMT"
    told.fetch([mirror.serve("/a.zip", BODY, etag='W/"weak"', modified=day, drops=[5000])], file)
    assert mirror.asked[1][1]["If-Range"] == day and mirror.ranges()[1] == "bytes=5000-" and file.read_bytes() == BODY


def test_without_any_version_nothing_is_joined(mirror, told, file):
    told.fetch([mirror.serve("/a.zip", BODY, etag="", drops=[5000])], file)
    assert mirror.ranges() == [None, None] and file.read_bytes() == BODY


def test_without_a_version_but_with_a_hash_it_goes_on(mirror, told, file):
    told.fetch([mirror.serve("/a.zip", BODY, etag="", drops=[5000])], file, sha256=SHA)
    assert mirror.ranges() == [None, "bytes=5000-"] and "If-Range" not in mirror.asked[1][1]
    assert file.read_bytes() == BODY


@pytest.mark.parametrize("honest", [True, False], ids=["if-range", "if-range-ignored"])
def test_a_file_that_changes_between_two_tries_is_not_joined(mirror, told, file, honest):
    url = mirror.serve("/a.zip", BODY, drops=[300_000], then=OTHER, if_range=honest)
    got = told.fetch([url], file)
    assert file.read_bytes() == OTHER and got.sha256 == hashlib.sha256(OTHER).hexdigest()
    assert mirror.ranges() == [None, "bytes=300000-"] + ([] if honest else [None])
    assert any("another one now" in line for line in told.lines) != honest


def test_a_file_of_another_length_now_is_not_joined(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, etag="", drops=[300_000], then=BODY + b"more")
    with pytest.raises(NfbenchError, match=f"SHA-256 is {hashlib.sha256(BODY + b'more').hexdigest()}, not {SHA}"):
        told.fetch([url], file, sha256=SHA)
    assert mirror.ranges() == [None, "bytes=300000-", None], "the longer file came in one piece, and is wrong"
    assert left(file) == []


def test_a_shorter_file_now_has_no_such_range(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, drops=[300_000], then=BODY[:1000], if_range=False)
    told.fetch([url], file)
    assert mirror.ranges() == [None, "bytes=300000-", None] and file.read_bytes() == BODY[:1000]
    assert any("no such range" in line for line in told.lines)


def test_a_wrong_hash_after_joining_is_tried_once_more_in_one_piece(mirror, told, file):
    file.with_name("a.zip.part").write_bytes(b"x" * 5000)
    state = {"url": f"{mirror.address}/a.zip", "version": '"one"', "total": len(BODY)}
    file.with_name("a.zip.part.json").write_text(json.dumps(state))
    told.fetch([mirror.serve("/a.zip", BODY)], file, sha256=SHA)
    assert mirror.ranges() == ["bytes=5000-", None] and file.read_bytes() == BODY


@pytest.mark.parametrize("notes", ["", "[]", '{"url": 3, "version": "", "total": 9}', '{"no": 1}', None])
def test_damaged_notes_make_it_begin_anew(mirror, told, file, notes):
    file.with_name("a.zip.part").write_bytes(b"x" * 5000)
    if notes is not None:
        file.with_name("a.zip.part.json").write_text(notes)
    told.fetch([mirror.serve("/a.zip", BODY)], file)
    assert mirror.ranges() == [None] and file.read_bytes() == BODY


def test_what_is_whole_already_is_not_asked_for_again(mirror, told, file):
    url = mirror.serve("/a.zip", BODY)
    file.with_name("a.zip.part").write_bytes(BODY)
    file.with_name("a.zip.part.json").write_text(json.dumps({"url": url, "version": '"one"', "total": len(BODY)}))
    assert told.fetch([url], file, sha256=SHA).size == len(BODY)
    assert mirror.asked == [] and file.read_bytes() == BODY and left(file) == ["a.zip"]


def test_a_wrong_hash_gives_the_next_mirror_its_turn(mirror, told, file):
    bad, good = mirror.serve("/bad.zip", OTHER), mirror.serve("/good.zip", BODY)
    assert told.fetch([bad, good], file, sha256=SHA).url == good
    assert file.read_bytes() == BODY and mirror.ranges() == [None, None]
    assert told.lines == [f"a.zip: {bad} is given up: SHA-256 is {digest_of(OTHER)}, not {SHA}."]


def digest_of(data):
    return hashlib.sha256(data).hexdigest()


def test_a_wrong_hash_everywhere_leaves_nothing(mirror, told, file):
    with pytest.raises(NfbenchError, match=f"a.zip could not be fetched. .*SHA-256 is .*, not {SHA}") as caught:
        told.fetch([mirror.serve("/a.zip", OTHER)], file, sha256=SHA)
    assert left(file) == [] and "is kept" not in caught.value.hint and len(mirror.asked) == 1


def test_a_hash_lets_the_next_mirror_go_on(mirror, told, file):
    first = mirror.serve("/a.zip", BODY, drops=[400_000, 0, 0, 0])
    second = mirror.serve("/b.zip", BODY, etag='"theirs"')
    assert told.fetch([first, second], file, sha256=SHA).url == second
    assert mirror.ranges("/b.zip") == ["bytes=400000-"] and file.read_bytes() == BODY
    assert "If-Range" not in mirror.asked[-1][1], "the version is the first mirror's"


def test_without_a_hash_the_next_mirror_begins_anew(mirror, told, file):
    first = mirror.serve("/a.zip", BODY, drops=[400_000, 0, 0, 0])
    told.fetch([first, mirror.serve("/b.zip", OTHER)], file)
    assert mirror.ranges("/b.zip") == [None] and file.read_bytes() == OTHER


def test_404_is_not_tried_again(mirror, told, file):
    good = mirror.serve("/good.zip", BODY)
    told.fetch([f"{mirror.address}/gone.zip", good], file)
    assert [path for path, _ in mirror.asked] == ["/gone.zip", "/good.zip"] and told.naps == []
    with pytest.raises(NfbenchError, match=r"/gone.zip: it answers 404 Not Found"):
        told.fetch([f"{mirror.address}/gone.zip"], file)


def test_503_is_tried_again_when_the_server_asks(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, first=[(503, {"Retry-After": "7"}), (429, {}), (500, {"Retry-After": "soon"})])
    told.fetch([url], file, patience=Patience(tries=4, pause=1.0))
    assert told.naps == [7.0, 2.0, 4.0] and file.read_bytes() == BODY
    assert told.lines[0] == "a.zip: it answers 503 Service Unavailable; next try in 7 s."


def test_a_server_that_asks_for_too_long_a_pause_is_left(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, first=[(503, {"Retry-After": "9"})])
    with pytest.raises(NfbenchError, match=r"503 Service Unavailable, and asks to come back in 9 s"):
        told.fetch([url], file)
    assert told.naps == [] and len(mirror.asked) == 1


def test_a_redirect_to_another_mirror_is_followed_with_the_range(mirror, told, file):
    url = mirror.serve("/a.zip", first=[(302, {"Location": "/there"}), (307, {"Location": "/there"})])
    mirror.serve("/there", BODY, drops=[9000])
    assert told.fetch([url], file, sha256=SHA).url == url
    assert mirror.ranges("/there") == [None, "bytes=9000-"] and file.read_bytes() == BODY


def test_a_redirect_loop_is_left(mirror, told, file):
    back = {"Location": "/a.zip"}
    url = mirror.serve("/a.zip", first=[(302, back)] * 50)
    with pytest.raises(NfbenchError, match=r"it leads in a circle"):
        told.fetch([url], file)
    assert len(mirror.asked) <= 7 and told.naps == []


def test_more_redirects_than_allowed_are_left(mirror, told, file):
    for step in range(9):
        mirror.serve(f"/{step}", first=[(302, {"Location": f"/{step + 1}"})] * 2)
    mirror.serve("/3", BODY)
    assert told.fetch([f"{mirror.address}/0"], file, patience=Patience(redirects=3)).size == len(BODY)
    mirror.asked.clear()
    with pytest.raises(NfbenchError, match=r"or on and on"):
        told.fetch([f"{mirror.address}/0"], file, patience=Patience(redirects=2))
    assert len(mirror.asked) == 3


@pytest.mark.parametrize("place", ["ftp://127.0.0.1/a", "file:///etc/hostname"])
def test_redirects_lead_to_the_web_only(mirror, told, file, place):
    url = mirror.serve("/a.zip", first=[(302, {"Location": place})])
    with pytest.raises(NfbenchError, match=r"could not be fetched"):
        told.fetch([url], file)
    assert left(file) == []


@pytest.mark.parametrize(("before", "after", "kept"), [("https", "http", False), ("http", "https", True)])
def test_no_redirect_gives_up_encryption(before, after, kept):
    request = urllib.request.Request(f"{before}://127.0.0.1/a")
    step = lambda: Redirects(5).redirect_request(request, None, 302, "Found", Message(), f"{after}://127.0.0.1/b")  # noqa: E731
    if kept:
        assert step().full_url == "https://127.0.0.1/b"
    else:
        with pytest.raises(Refused, match=r"from https to http"):
            step()


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a"])
def test_only_web_addresses_are_fetched(told, file, url):
    with pytest.raises(NfbenchError, match=r"no http or https address"):
        told.fetch([url], file)


def test_a_web_page_is_not_the_file(mirror, told, file):
    with pytest.raises(NfbenchError, match=r"gives a web page, not the file"):
        told.fetch([mirror.serve("/a.zip", b"<html>Sign in</html>", kind="text/html; charset=utf-8")], file)
    assert left(file) == []


def test_a_packed_answer_is_not_the_file(mirror, told, file):
    with pytest.raises(NfbenchError, match=r"packs the file by gzip"):
        told.fetch([mirror.serve("/a.zip", BODY, packed="gzip")], file)
    assert told.fetch([mirror.serve("/a.zip", BODY, packed="Identity")], file).sha256 == SHA


def test_an_answer_without_a_file_is_left(mirror, told, file):
    with pytest.raises(NfbenchError, match=r"it answers 204 No Content"):
        told.fetch([mirror.serve("/a.zip", first=[(204, {})])], file)


def test_a_declared_length_that_is_too_long_is_not_believed(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, longer=10)
    with pytest.raises(NfbenchError, match=r"3 tries failed"):
        told.fetch([url], file)
    assert not file.exists()


def test_a_file_of_another_size_than_published_is_not_even_begun(mirror, told, file):
    with pytest.raises(NfbenchError, match=r"its file has 1024000 bytes, not 1024001"):
        told.fetch([mirror.serve("/a.zip", BODY)], file, size=len(BODY) + 1)
    assert left(file) == [] and told.naps == []


def test_without_a_declared_length_the_published_size_tells(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, declared=False)
    with pytest.raises(NfbenchError, match=r"its file has 1024000 bytes, not 1024001"):
        told.fetch([url], file, size=len(BODY) + 1)
    assert told.fetch([url], file, size=len(BODY)).sha256 == SHA
    assert told.fetch([url], file).size == len(BODY)


def test_a_server_that_says_nothing_runs_out_of_time(mirror, told, file):
    url = mirror.serve("/a.zip", BODY[:3], pause=0.6)
    with pytest.raises(NfbenchError, match=r"2 tries failed, .* \(timed out\)"):
        told.fetch([url], file, patience=Patience(timeout=0.2, tries=2, worth=1000))


def test_a_trickle_is_too_slow(mirror, told, file):
    url = mirror.serve("/a.zip", BODY, pause=0.01)
    with pytest.raises(NfbenchError, match=r"it is too slow: [0-9]+ bytes in 0.[12]"):
        told.fetch([url], file, patience=Patience(timeout=5.0, tries=1, slow=1e6, window=0.1))


def test_slow_is_good_enough_above_the_bound(mirror, told, file):
    url = mirror.serve("/a.zip", BODY[:40], pause=0.01)
    assert told.fetch([url], file, patience=Patience(slow=1.0, window=0.05)).size == 40


def test_nobody_there(told, file, mirror):
    mirror.server.shutdown()
    mirror.server.server_close()
    with pytest.raises(NfbenchError, match=r"3 tries failed, .*cannot be reached \(.*refused"):
        told.fetch([f"{mirror.address}/a.zip"], file)
    assert told.naps == [1.0, 2.0]


class FullDisk:
    """A file on a disk with so much room."""

    def __init__(self, file, room, code):
        self.file, self.room, self.code = file, room, code

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def fileno(self):
        return self.file.fileno()

    def write(self, data):
        if self.room <= 0:
            raise OSError(self.code, "no more")
        size = self.file.write(data[: self.room])
        self.room -= size
        return size


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_the_next_run_goes_on(mirror, told, file, monkeypatch, code):
    url = mirror.serve("/a.zip", BODY)
    real = transfer._writing
    monkeypatch.setattr(transfer, "_writing", lambda part, start: FullDisk(real(part, start), 300_000, code))
    with pytest.raises(NfbenchError, match=f"The disk of {file.parent} is full: a.zip.part could not") as caught:
        told.fetch([url, url], file, sha256=SHA)
    assert "--to" in caught.value.hint and len(mirror.asked) == 1, "another mirror would not help"
    assert file.with_name("a.zip.part").read_bytes() == BODY[:300_000]
    monkeypatch.undo()
    told.fetch([url], file, sha256=SHA)
    assert mirror.ranges() == [None, "bytes=300000-"] and file.read_bytes() == BODY


def test_room_is_looked_at_before(mirror, told, file, monkeypatch):
    url = mirror.serve("/a.zip", BODY, drops=[24_000])
    usage = type("Usage", (), {"free": len(BODY)})
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    told.fetch([url], file)
    usage.free = len(BODY) - 1
    with pytest.raises(NfbenchError, match=r"a.zip needs 0.00 GiB more in .* 0.00 GiB are free"):
        told.fetch([url], file)
    file.with_name("a.zip.part").write_bytes(BODY[:1])
    state = {"url": url, "version": '"one"', "total": len(BODY)}
    file.with_name("a.zip.part.json").write_text(json.dumps(state))
    told.fetch([url], file)


def test_a_folder_that_cannot_be_written_is_named(mirror, told, tmp_path):
    with pytest.raises(NfbenchError, match=r"cannot be written: No such file"):
        told.fetch([mirror.serve("/a.zip", BODY, declared=False)], tmp_path / "no" / "a.zip")


def test_what_a_failed_write_is_told_as():
    full = disk_error(OSError(errno.ENOSPC, "x"), Path("d/f"))
    assert full.message == "The disk of d is full: f could not be written." and "same command" in full.hint
    assert disk_error(OSError(errno.EACCES, "Permission denied"), Path("d/f")).message == (
        "d/f cannot be written: Permission denied."
    )


def test_digest_of_a_file(file):
    file.write_bytes(b"abc")
    assert digest(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes 5-9/10", (5, 10)),
        (" bytes 0-0/1 ", (0, 1)),
        ("bytes 5-9/*", (5, None)),
        ("bytes */10", (-1, None)),
        (f"bytes {'5' * 5000}-9/10", (-1, None)),  # more digits than Python converts
        (f"bytes 5-9/{'5' * 5000}", (5, None)),
        ("", (-1, None)),
        ("xbytes 5-9/10", (-1, None)),
    ],
)
def test_content_range(text, found):
    assert content_range(text) == found


def test_lengths_and_versions():
    assert length("1" * 5000) is None
    assert [length(text) for text in ("12", "0", None, "", "-1", "1.5")] == [12, 0, None, None, None, None]
    headers = Message()
    assert strong_version(headers) == ""
    headers["Last-Modified"] = "then"
    assert strong_version(headers) == "then"
    headers["ETag"] = 'W/"a"'
    assert strong_version(headers) == "then"
    headers.replace_header("ETag", '"a"')
    assert strong_version(headers) == '"a"'


def test_a_pause_until_a_date():
    soon = datetime.now(UTC) + timedelta(seconds=30)
    assert 28 < seconds(format_datetime(soon, usegmt=True)) < 31
    assert seconds(format_datetime(soon - timedelta(days=1), usegmt=True)) == 0.0
    assert [seconds(text) for text in ("5", " 6 ", "", "soon")] == [5.0, 6.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(300, Refused), (302, Refused), (399, Refused), (400, Refused), (401, Refused), (403, Refused), (410, Refused)]
    + [(code, Dropped) for code in (408, 416, 425, 429, 500, 502, 503, 504)]
    + [(501, Refused)],
)
def test_what_an_answer_means(code, kind):
    found = judged(urllib.error.HTTPError("http://127.0.0.1/", code, "So", Message(), None), 60.0)
    assert type(found) is kind
    assert getattr(found, "anew", False) == (code == 416)
    assert getattr(found, "after", 0.0) == 0.0
    if code in (300, 302, 399):
        assert str(found) == "it leads in a circle, or on and on"
    elif code != 416:
        assert str(found) == f"it answers {code} So"


def test_the_longest_pause_is_waited_for():
    headers = Message()
    headers["Retry-After"] = "60"
    error = urllib.error.HTTPError("http://127.0.0.1/", 503, "So", headers, None)
    assert judged(error, 60.0).after == 60.0
    assert type(judged(error, 59.0)) is Refused


def test_patience_by_default():
    assert Patience() == Patience(30.0, 6, 1 << 20, 1.0, 60.0, 1024.0, 60.0, 5)
    assert fetch.__kwdefaults__["sleep"] is time.sleep
