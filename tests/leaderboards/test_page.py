import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from nfbench.harness.errors import NfbenchError
from nfbench.harness.record import Failure, MethodEntry, Record, Score, TaskEntry, run_folder, write_record
from nfbench.leaderboards.board import read_boards
from nfbench.leaderboards.gallery import thumbnail
from nfbench.leaderboards.page import page, write_page

VOID = {"meta", "img", "input", "br", "link", "hr"}
NASTY = '"><script>alert(1)</script>&'


class Document(HTMLParser):
    """Collects tags with their attributes, and fails on a tag that is closed out of turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def place(
    runs, method, values, *, task="t/x", scene="a", scenes=("a",), seed=0, pictures=(), size=(300, 150), **fields
):
    psnr = {f"v{i}": float(v) for i, v in enumerate(values)}
    scores = {"psnr": Score(mean=float(np.mean(values)), unit="dB", better="higher", count=len(values))} if psnr else {}
    defaults = {"protocol": "nerf-synthetic@1", "primary": "psnr", "status": "ok", "expected": len(values)}
    entry = MethodEntry(name=method, hash="h1")
    entries = {"method": entry, "task": TaskEntry(name=task, version="1", scenes=list(scenes))}
    record = Record(**entries, scene=scene, seed=seed, **defaults | {"scores": scores} | fields)
    folder = run_folder(runs, task, "m" if method == NASTY else method, scene, seed, "h1")
    write_record(folder, record, {"psnr": psnr})
    for number, item in enumerate(pictures):
        for sub in ("", "truth", "error"):
            path = folder / "pictures" / sub / f"{item}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = (len(sub) * 20, 10 * number, len(method))
            Image.fromarray(np.full((size[1], size[0], 3), colour, np.uint8)).save(path)
    return folder


def decoded(uri):
    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))


def test_the_page_is_one_sound_file_without_network(tmp_path):
    place(tmp_path, "good", [30, 31], pictures=["v0", "v1"])
    place(tmp_path, NASTY, [20, 21], pictures=["v0"])
    place(tmp_path, "bad", [], status="failed", error=Failure(type="RuntimeError", message=NASTY))
    place(tmp_path, "good", [10], task="t/y")
    path = write_page(read_boards(tmp_path), tmp_path / "out" / "page.html")
    text = path.read_text(encoding="utf-8")
    document = Document(text)
    assert text.lstrip().startswith("<!doctype html>")
    assert not re.search(r"(https?:)?//[a-z0-9]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", text))
    assert not re.search(r"@import|url\(", text)
    for _, attributes in document.tags:
        assert attributes.get("src", "data:image/").startswith("data:image/")
        assert attributes.get("href", "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)
    assert len(document.all("script")) == 1  # the page's own; the nasty name is text
    assert "<script>alert(1)" not in text
    assert NASTY in "".join(document.text)
    names = [attrs["id"] for _, attrs in document.tags if "id" in attrs]
    assert len(names) == len(set(names))
    pointed = {a["href"][1:] for a in document.all("a")} | {
        t[1]["aria-labelledby"] for t in document.tags if "aria-labelledby" in t[1]
    }
    assert pointed <= set(names)
    assert all(image["alt"] for image in document.all("img"))


def test_tables_show_ranks_scores_coverage_and_failures(tmp_path):
    place(tmp_path, "good", [30, 32])
    place(tmp_path, "half", [40], expected=2, missing=["v1"])
    place(tmp_path, "bad", [], status="failed", error=Failure(type="RuntimeError", message="no more memory"))
    text = page(read_boards(tmp_path))
    shown = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))
    assert re.search(r"rank 1 good 31\.00 \(best\)", shown)
    assert re.search(r"not ranked — half 40\.00", shown)
    assert "1 failed" in shown and "bad: failed: scene a, seed 0: RuntimeError: no more memory" in shown
    assert "What nerf-synthetic@1 means" in shown and "written as PNG and read back" in shown
    assert "@media (prefers-color-scheme: dark)" in text and "position: sticky" in text


def test_headings_break_between_words_only(put, tmp_path):
    put("m", {"psnr": [20], "fscore@r0.01": [0.5]}, protocol="nobody@9")
    text = page(read_boards(tmp_path))
    (rule,) = re.findall(r"\.word \{([^}]*)\}", text)
    assert "white-space: nowrap" in rule
    assert '<span class="word">F-score@r0.01</span>&nbsp;<span aria-hidden="true">↑' in text


def test_pictures_stand_beside_the_truth_in_rank_order(tmp_path):
    place(tmp_path, "worse", [20, 21], pictures=["v0", "v1"])
    place(tmp_path, "better", [30, 31], pictures=["v1"])
    document = Document(page(read_boards(tmp_path)))
    alts = [image["alt"] for image in document.all("img") if "error" not in image.get("class", "")]
    assert alts == [
        "Truth, view v0 of scene a",
        "worse, view v0 of scene a, PSNR 20.00 dB",
        "Truth, view v1 of scene a",
        "better, view v1 of scene a, PSNR 31.00 dB",
        "worse, view v1 of scene a, PSNR 21.00 dB",
    ]
    missing = [attrs for attrs in document.all("span") if attrs.get("role") == "img"]
    assert [attrs["aria-label"] for attrs in missing] == ["better, view v0 of scene a, PSNR 30.00 dB: no picture"]
    sources = {image["alt"]: image["src"] for image in document.all("img")}
    assert decoded(sources["Truth, view v0 of scene a"]).convert("RGB").getpixel((5, 5)) == (100, 0, 5)
    errors = [image["alt"] for image in document.all("img") if "error" in image.get("class", "")]
    assert len(errors) == 3 and all(alt.startswith("Absolute error: ") for alt in errors)


def test_items_and_scenes_are_few_and_the_rest_is_counted(tmp_path):
    scenes = [f"s{i}" for i in range(6)]
    for scene in scenes:
        place(
            tmp_path,
            "m",
            [1],
            scene=scene,
            scenes=scenes,
            pictures=["r_10", "r_9", "r_2", "r_1", "r_30", "mesh.ply"],
            size=(4, 4),
        )
    text = page(read_boards(tmp_path))
    alts = [image["alt"] for image in Document(text).all("img") if image["alt"].startswith("Truth")]
    assert len(alts) == 16
    assert alts[:4] == [f"Truth, {item} of scene s0" for item in ("view r_1", "view r_2", "view r_9", "the surface")]
    assert text.count("2 more items not shown.") == 4
    assert "2 more scenes have pictures." in text


def test_view_names_with_a_slash_have_pictures(tmp_path):
    place(tmp_path, "m", [1], pictures=["left/r_0"])
    alts = [image["alt"] for image in Document(page(read_boards(tmp_path))).all("img")]
    assert alts[0] == "Truth, view left/r_0 of scene a" and len(alts) == 3


def test_what_is_lost_is_told_in_the_cell(put, tmp_path):
    told = {"penalties": {"psnr": 0.0, "ssim": 0.0}, "scenes": ("a", "b", "c", "d")}
    for scene in "abcd":
        put("good", {"psnr": [30, 32]}, scene=scene, **told)
        put("bad", scene=scene, status="failed", error=Failure(type="E", message="no"), **told)
    for scene in "abc":
        put("half", {"psnr": [20, 21]}, scene=scene, **told)
    text = page(read_boards(tmp_path))
    Document(text)
    cells = re.findall(
        r'<span class="detail warn" title="([^"]*)">([^<]*)<span class="hide">: ([^<]*)</span></span>', text
    )
    half = "1 of 4 scenes lost; penalised: each counts as 0 dB"
    bad = "4 of 4 scenes lost; penalised: each counts as 0 dB"
    assert cells == [(half, "pen. 15.38", half), (bad, "pen. 0.00", bad)]
    order = re.findall(r'<td data-order="([^"]*)"[^>]*>(20.50|—)<span class="detail', text)
    assert order == [("20.5", "20.50"), ("", "—")]  # a row without a mean is sorted last


def test_facts_of_meshes_are_a_table_of_their_own(put, tmp_path):
    put("m", {"psnr": [20]}, facts={"watertight": False, "note": NASTY})
    text = page(read_boards(tmp_path))
    Document(text)
    assert text.count('<table class="facts">') == 1 and "facts, told by" not in text
    shown = " ".join(re.sub(r"<[^>]+>", " ", text[text.index('<table class="facts">') :]).split())
    assert shown.startswith("Method Scene Seed note watertight m a 0 ")
    assert "no" in shown.split()[8:14] and "<script>alert(1)" not in text
    put("m", {"psnr": [20]})
    assert '<table class="facts">' not in page(read_boards(tmp_path))


def test_a_picture_that_cannot_be_read_is_said_so(tmp_path):
    folder = place(tmp_path, "m", [1], pictures=["v0"])
    (folder / "pictures" / "v0.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    assert thumbnail(folder / "pictures" / "v0.png") == thumbnail(folder / "nowhere.png") == ""
    assert 'aria-label="m, view v0 of scene a, PSNR 1.00 dB: no picture"' in page(read_boards(tmp_path))


def test_a_page_of_six_methods_stays_small(tmp_path):
    x, y = np.meshgrid(*[np.linspace(0, 9, 240)] * 2)
    image = np.stack([np.sin(3 * x), np.cos(5 * y), np.sin(7 * x * y)], -1) * 100 + 128  # busier than most renders
    noise = np.random.default_rng(0).normal(0, 5, image.shape)
    sink = io.BytesIO()
    Image.fromarray((image + noise).clip(0, 255).astype(np.uint8)).save(sink, "PNG", compress_level=1)
    for method in range(6):
        folder = place(tmp_path, f"m{method}", [30] * 4, pictures=[f"v{i}" for i in range(4)], size=(4, 4))
        for path in (folder / "pictures").rglob("*.png"):
            path.write_bytes(sink.getvalue())
    document = page(read_boards(tmp_path))
    assert document.count("<img") == 4 * (1 + 2 * 6)
    assert len(document) < 3_000_000


def test_a_folder_gets_an_index_and_an_impossible_place_a_named_error(tmp_path):
    place(tmp_path / "runs", "m", [1])
    boards = read_boards(tmp_path / "runs")
    (tmp_path / "site").mkdir()
    assert write_page(boards, tmp_path / "site") == tmp_path / "site" / "index.html"
    (tmp_path / "file").write_text("")
    with pytest.raises(NfbenchError, match=r"file/page\.html cannot be written") as caught:
        write_page(boards, tmp_path / "file" / "page.html")
    assert "--output" in caught.value.hint


def test_the_heading_and_the_same_page_for_the_same_records(tmp_path):
    place(tmp_path, "m", [1], created="2025-03-04T00:00:00+00:00")
    text = page(read_boards(tmp_path), "Ours & theirs")
    assert "<title>Ours &amp; theirs</title>" in text and "newest record 2025-03-04" in text
    assert text == page(read_boards(tmp_path), "Ours & theirs")


def test_no_torch():
    code = "import sys, nfbench.leaderboards.page; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
