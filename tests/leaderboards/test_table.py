import csv
import io
import json
import math
import re
import shutil
import subprocess

import pytest

from nfbench.harness.errors import NotFound
from nfbench.harness.record import Cost, Failure
from nfbench.leaderboards.board import read_boards
from nfbench.leaderboards.table import escape_latex, render


@pytest.fixture
def boards(put, tmp_path):
    put("nerf_50%", {"psnr": [30, 32]}, cost=Cost(fit_seconds=90, parameters=593_924))
    put("flat", {"psnr": [10, 11]}, kind="floor", unmeasured={"lpips_vgg": "the weights are not here"})
    put("half", {"psnr": [40]}, expected=2, missing=["v1"])
    failure = Failure(type="RuntimeError", message="loss is\nnot a number")
    put("bad", status="failed", expected=2, error=failure)
    put("perfect", {"psnr": [math.inf, 30]})
    shape = {"protocol": "onet-shapenet@1", "task": "u", "primary": "chamfer_l1_mean"}
    put("net", {"chamfer_l1_mean": [0.012345678]}, **shape)
    put("paper", {"chamfer_l1_mean": [0.01]}, origin="paper", **shape)
    return read_boards(tmp_path)


def test_text_says_what_is_ranked_and_why_not(boards):
    text = render(boards, "text")
    first, second = text.split("u: version 1")
    assert "t/x: version 1, 1 scene, protocol nerf-synthetic@1, ranked by PSNR, higher is better" in first
    lines = first.splitlines()
    head = next(line for line in lines if line.startswith("#"))
    assert "PSNR dB ↑" in head and "coverage" in head
    ranks = {name: next(line.split()[0] for line in lines if name in line.split()[:2]) for name in ("perfect", "flat")}
    assert ranks == {"perfect": "1", "flat": "3"}
    assert re.search(r"^1  perfect +run +∞\* +2/2", first, re.M)
    assert re.search(r"^3  flat +floor +10\.50 ±0\.50 ", first, re.M)
    assert re.search(r"^—  half +run +40\.00 +1/2", first, re.M)
    assert re.search(r"^—  bad +run +— +0/2", first, re.M)
    assert "  bad: failed: scene a, seed 0: RuntimeError: loss is not a number" in lines
    assert "  half: scene a, seed 0: 1 of 2 items missing: v1" in lines
    assert "  half: not ranked, 1 of 2 items measured." in lines
    assert "  LPIPS VGG not measured for flat: the weights are not here" in lines
    assert "Chamfer L1 mean ↓" in second and "0.01235" in second
    assert "Unit of Chamfer L1 mean: longest edge of the bounding box." in second
    assert re.search(r"^1  paper +paper +0\.01000\* ", second, re.M)


def test_text_is_aligned(boards):
    for block in render(boards, "text").split("\n\n"):
        lines = block.splitlines()
        if lines and lines[0].startswith("#"):
            starts = [match.start() for match in re.finditer(r"-+", lines[1])]
            for line in (lines[0], *lines[2:]):
                assert all(line[at - 2 : at].strip() == "" for at in starts[1:] if at < len(line))


def test_markdown_is_a_table_with_the_best_in_bold(boards):
    lines = [line for line in render(boards, "markdown").splitlines() if line.startswith("|")]
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert {len(cells) for cells in split[:7]} == {8}
    assert all(re.fullmatch(r" :?-+:? ", cell) for cell in split[1])
    assert " **∞** " in split[2]
    assert any(cells[1] == r" nerf\_50% " for cells in split)


def test_latex_is_escaped_and_set_in_booktabs(boards):
    text = render(boards, "latex")
    table = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert table.count(r"\toprule") == table.count(r"\end{tabular}") == 2
    assert r"nerf\_50\%" in table and r"\textbf{$\infty$}" in table and r"PSNR dB $\uparrow$" in table
    assert not re.search(r"(?<!\\)[_%#]", table)
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {8}
    assert table.isascii()


def test_latex_escapes_every_special_letter():
    assert escape_latex("\\&%$#_{}~^") == (r"\textbackslash{}\&\%\$\#\_\{\}\textasciitilde{}\textasciicircum{}")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")
def test_latex_compiles(boards, tmp_path):
    body = render(boards, "latex")
    source = f"\\documentclass{{article}}\\usepackage{{booktabs}}\\begin{{document}}\n{body}\\end{{document}}\n"
    (tmp_path / "t.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)


def test_csv_parses_back_to_the_same_numbers(boards):
    rows = list(csv.DictReader(io.StringIO(render(boards, "csv"))))
    expected = [row for board in boards for row in board.rows]
    assert [row["method"] for row in rows] == [row.name for row in expected]
    for got, row in zip(rows, expected, strict=True):
        assert (int(got["rank"]) if got["rank"] else None) == row.rank
        assert float(got["coverage"]) == row.coverage
        for column in ("psnr", "chamfer_l1_mean"):
            value = row.values.get(column)
            assert (float(got[column]) if got[column] else None) == (value.mean if value else None)
            ends = [float(got[column + end]) for end in ("_low", "_high") if got[column + end]]
            assert ends == list(value.interval if value and value.interval else ())


def test_json_keeps_its_contract(boards):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    rows = json.loads(render(boards, "json"), parse_constant=refuse)
    by_name = {row["method"]: row for row in rows}
    assert len(rows) == 7
    for row in rows:
        assert row.keys() >= {"rank", "method", "task", "protocol", "coverage", "origin", "seeds", "scores", "cost"}
        for score in row["scores"].values():
            assert score.keys() >= {"mean", "unit", "better", "interval", "scenes"}
    nerf = by_name["nerf_50%"]
    assert (nerf["rank"], nerf["task"], nerf["protocol"]) == (2, "t/x", "nerf-synthetic@1")
    assert (nerf["coverage"], nerf["origin"], nerf["seeds"], nerf["floor"]) == (1.0, "run", [0], False)
    assert nerf["scores"]["psnr"]["scenes"] == {"a": 31.0}
    low, high = nerf["scores"]["psnr"]["interval"]
    assert 30 <= low < 31 < high <= 32
    assert nerf["cost"]["fit_seconds"] == 90 and nerf["cost"]["parameters"] == 593_924
    assert by_name["perfect"]["scores"]["psnr"]["mean"] == "Infinity"
    assert by_name["bad"]["scores"] == {} and by_name["bad"]["rank"] is None
    assert by_name["net"]["scores"]["chamfer_l1_mean"]["better"] == "lower"
    assert by_name["flat"]["floor"] is True and by_name["paper"]["origin"] == "paper"


def test_an_unknown_form_is_named(boards):
    with pytest.raises(NotFound, match="Did you mean json"):
        render(boards, "jsn")


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "json"])
def test_every_form_takes_an_empty_list(form):
    assert render([], form).strip() in ("", "[]")


@pytest.fixture
def lossy(put, tmp_path):
    """A whole row, one that lost a scene and an item, one that failed, one that declares no penalty."""
    told = {"scenes": ("a", "b"), "penalties": {"psnr": 0.0, "lpips_vgg": 1.0}}
    for scene in ("a", "b"):
        put("whole", {"psnr": [30, 30.006], "lpips_vgg": [0.1, 0.1]}, scene=scene, **told)
        put("bad", scene=scene, status="failed", error=Failure(type="E", message="no"), **told)
    put("half", {"psnr": [40, 41], "lpips_vgg": [0.2, 0.3]}, scene="a", expected=3, missing=["v2"], lost=1, **told)
    put("silent", {"psnr": [25, 26]}, scene="a", scenes=("a", "b"))
    return read_boards(tmp_path)


def test_text_shows_both_means_where_something_is_lost(lossy):
    lines = render(lossy, "text").splitlines()
    rows = {
        name: next(line for line in lines if name in line.split()[:2]) for name in ("whole", "half", "bad", "silent")
    }
    assert re.match(r"1  whole +run +30\.00 ±0\.00\* +0\.1000\*  ", rows["whole"])
    assert re.match(r"—  half +run +40\.50 ±0\.50 \(pen\. 13\.50\) +0\.2500 \(pen\. 0\.7500\)  ", rows["half"])
    assert re.match(r"—  bad +run +— \(pen\. 0\.00\) +— \(pen\. 1\.0000\)  ", rows["bad"])
    assert re.match(r"—  silent +run +25\.50 ±0\.50 +—  ", rows["silent"])
    assert "  half: 1 of 2 scenes lost, and 1 of 3 items of the others (PSNR, LPIPS VGG)." in lines
    assert "  bad: 2 of 2 scenes lost (PSNR, LPIPS VGG)." in lines
    ends = {rows["whole"].index("*"), rows["half"].index(" (pen."), rows["bad"].index(" (pen.")}
    assert ends == {rows["silent"].index("±") + len("±0.50")} and len(ends) == 1  # numbers end below each other
    test_text_is_aligned(lossy)


def test_markdown_and_latex_show_both_means(lossy):
    markdown, latex = render(lossy, "markdown"), render(lossy, "latex")
    assert "| **30.00 ±0.00** | **0.1000** |" in markdown
    assert "| 40.50 ±0.50 (pen. 13.50) | 0.2500 (pen. 0.7500) |" in markdown
    assert "| — (pen. 0.00) | — (pen. 1.0000) |" in markdown
    assert r"& 40.50 $\pm$0.50 (pen. 13.50) & 0.2500 (pen. 0.7500) &" in latex
    assert r"& --- (pen. 0.00) & --- (pen. 1.0000) &" in latex
    assert r"& 25.50 $\pm$0.50 & --- &" in latex


def test_csv_and_json_have_the_penalised_means_and_the_counts(lossy):
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(render(lossy, "csv")))}
    ends = ("", "_penalised", "_runs", "_runs_lost", "_items", "_items_lost")
    assert [rows["half"][f"psnr{end}"] for end in ends] == ["40.5", "13.5", "2", "1", "3", "1"]
    assert [rows["bad"][f"lpips_vgg{end}"] for end in ends] == ["", "1.0", "2", "2", "0", "0"]
    assert [rows["silent"][f"psnr{end}"] for end in ends] == ["25.5", "", "2", "1", "2", "0"]
    assert [rows["silent"][f"lpips_vgg{end}"] for end in ends] == [""] * 6
    assert rows["whole"]["psnr_penalised"] == rows["whole"]["psnr"]
    scores = {row["method"]: row["scores"] for row in json.loads(render(lossy, "json"))}
    keys = ("mean", "penalised", "penalty", "runs", "runs_lost", "items", "items_lost", "complete")
    assert [scores["half"]["psnr"][key] for key in keys] == [40.5, 13.5, 0, 2, 1, 3, 1, False]
    assert [scores["bad"]["psnr"][key] for key in keys] == [None, 0, 0, 2, 2, 0, 0, False]
    assert [scores["silent"]["psnr"][key] for key in keys] == [25.5, None, None, 2, 1, 2, 0, False]
    assert [scores["whole"]["lpips_vgg"][key] for key in keys] == [0.1, 0.1, 1, 2, 0, 4, 0, True]


def test_infinite_penalised_means_are_strings_in_json(put, tmp_path):
    told = {"scenes": ("a", "b"), "penalties": {"psnr": 0.0, "chamfer_l1_mean": math.inf}}
    put("m", {"psnr": [math.inf], "chamfer_l1_mean": [0.1]}, scene="a", **told)
    boards = read_boards(tmp_path)
    ((row,),) = [json.loads(render(boards, "json"))]
    assert [row["scores"][name]["penalised"] for name in ("psnr", "chamfer_l1_mean")] == ["Infinity", "Infinity"]
    assert row["scores"]["chamfer_l1_mean"]["penalty"] == "Infinity"
    text = render(boards, "text")
    assert "∞ (pen. ∞)" in text and "0.1000 (pen. ∞)" in text and "counts as PSNR 0 dB, Chamfer L1 mean ∞." in text


def test_rounding_of_penalised_means_follows_the_unit(put, tmp_path):
    told = {"scenes": ("a", "b", "c"), "penalties": {"psnr": 0.0, "ssim": 0.0}}
    for scene in ("a", "b"):
        put("m", {"psnr": [20.0], "ssim": [0.5]}, scene=scene, **told)
    text = render(read_boards(tmp_path), "text")
    assert "(pen. 13.33)" in text and "(pen. 0.3333)" in text
