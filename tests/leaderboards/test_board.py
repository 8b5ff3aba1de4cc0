import math
import subprocess
import sys

import pytest

from nfbench.harness.errors import DataMissing, NotFound, RecordInvalid
from nfbench.leaderboards.board import read_boards


def test_rank_follows_the_direction_of_the_primary_column(put, only):
    put("low", {"psnr": [20, 22], "lpips_vgg": [0.1, 0.3]})
    put("high", {"psnr": [30, 32], "lpips_vgg": [0.2, 0.4]})
    found = only()
    assert [(r.rank, r.name, r.values["psnr"].mean) for r in found.rows] == [(1, "high", 31), (2, "low", 21)]
    assert [sorted(r.best) for r in found.rows] == [["psnr"], ["lpips_vgg"]]
    for name in ("low", "high"):
        put(name, {"lpips_vgg": [0.1 if name == "low" else 0.2]}, task="t/y", primary="lpips_vgg")
    assert [r.name for r in only("t/y").rows] == ["low", "high"]


def test_ties_share_a_rank(put, only):
    for name, value in (("a", 30), ("b", 30), ("c", 20)):
        put(name, {"psnr": [value]})
    assert [(r.rank, r.name) for r in only().rows] == [(1, "a"), (1, "b"), (3, "c")]
    assert [sorted(r.best) for r in only().rows] == [["psnr"], ["psnr"], []]


def test_versions_and_protocols_never_share_a_board(put, tmp_path):
    put("m", {"psnr": [20]}, task_version="1", hash="h1")
    put("m", {"psnr": [21]}, task_version="2", hash="h2")
    put("m", {"psnr": [22]}, protocol="nerf-synthetic-black@1", hash="h3")
    boards = read_boards(tmp_path)
    keys = [(b.protocol, b.version, b.rows[0].values["psnr"].mean) for b in boards]
    assert keys == [("nerf-synthetic-black@1", "1", 22), ("nerf-synthetic@1", "1", 20), ("nerf-synthetic@1", "2", 21)]


def test_columns_in_the_order_of_the_protocol_else_of_the_alphabet(put, only):
    put("m", {"ssim": [0.5], "psnr": [20], "iou": [1]})
    names = [c.name for c in only().columns]
    assert names == ["psnr", "ssim", "lpips_vgg", "lpips_alex", "iou"]
    assert "8 bit" in only().summary
    put("m", {"ssim": [0.5], "psnr": [20]}, task="u", protocol="nobody@9")
    unknown = only("u")
    assert ([c.name for c in unknown.columns], unknown.summary) == (["psnr", "ssim"], "")


def test_labels_tell_rows_apart(put, only):
    put("nerf", {"psnr": [20]}, preset="fast", budget="180s", hash="aa")
    put("nerf", {"psnr": [21]}, preset="fast", budget="180s", hash="bb")
    put("nerf", {"psnr": [22]}, hash="cc")
    put("flat", {"psnr": [5]}, kind="floor")
    put("nerf", {"psnr": [30]}, hash="cc", seed=1, origin="paper")
    rows = only().rows
    assert [r.label for r in rows] == ["nerf #cc", "nerf #cc", "nerf (fast, 180s) #bb", "nerf (fast, 180s) #aa", "flat"]
    assert [r.origin for r in rows] == ["paper", "run", "run", "run", "run"]
    assert [r.floor for r in rows] == [False] * 4 + [True]


def test_infinite_psnr_ranks_first_and_nan_is_no_value(put, only):
    put("perfect", {"psnr": [math.inf, 40]})
    put("good", {"psnr": [30, 31]})
    put("nan", {"psnr": [math.nan, 31]})
    found = only()
    assert [(r.rank, r.name) for r in found.rows] == [(1, "perfect"), (2, "good"), (None, "nan")]
    assert found.rows[0].values["psnr"].interval is None
    assert "psnr" not in found.rows[2].values
    assert any("psnr is not a number" in text for text in found.problems)


def test_a_broken_record_is_told_and_hides_nothing(put, tmp_path):
    put("m", {"psnr": [20]})
    put("m", {"psnr": [20]}, task="other")
    broken = tmp_path / "t/x/n/a/0-h1/record.json"
    broken.parent.mkdir(parents=True)
    broken.write_text("{")
    stray = tmp_path / "who/knows/record.json"
    stray.parent.mkdir(parents=True)
    stray.write_text('{"version": 1}')
    other, mine = read_boards(tmp_path)
    assert [len(b.rows) for b in (other, mine)] == [1, 1]
    assert len(mine.problems) == 2 and str(broken) in mine.problems[0] and str(stray) in mine.problems[1]
    assert [str(stray) in text for text in other.problems] == [True]


def test_only_broken_records(put, tmp_path):
    (put("m", {"psnr": [20]}) / "record.json").write_text("[]")
    with pytest.raises(RecordInvalid, match=r"None of the 1 records .*record\.json"):
        read_boards(tmp_path)
    put("m", {"psnr": [20]}, task="other")
    with pytest.raises(RecordInvalid, match="No record of task 't/x'"):
        read_boards(tmp_path, "t/x")


@pytest.mark.parametrize(
    ("asked", "tasks"),
    [
        ("blender/lego", ["blender/lego", "blender/lego+every8"]),
        ("blender/lego+", ["blender/lego+every8"]),
        ("blender", ["blender/lego", "blender/lego+every8"]),
        ("blender/", ["blender/lego", "blender/lego+every8"]),
        ("blender/lego+every8", ["blender/lego+every8"]),
        (None, ["blender/lego", "blender/lego+every8", "blenders"]),
    ],
)
def test_task_filter(put, tmp_path, asked, tasks):
    for task in ("blender/lego", "blender/lego+every8", "blenders"):
        put("m", {"psnr": [1]}, task=task)
    assert [b.task for b in read_boards(tmp_path, asked)] == tasks


def test_no_such_task_and_no_records(put, tmp_path):
    with pytest.raises(DataMissing, match="nfbench run"):
        read_boards(tmp_path)
    with pytest.raises(DataMissing, match="no records"):
        read_boards(tmp_path / "nowhere")
    put("m", {"psnr": [1]}, task="blender/lego")
    with pytest.raises(NotFound, match="Did you mean blender/lego"):
        read_boards(tmp_path, "blender/lgo")


def test_lead_compares_the_two_best_that_are_no_floors(put, only):
    put("first", {"psnr": [30, 31, 32, 33]})
    put("floor", {"psnr": [29.5, 30.5, 31.5, 32.5]}, kind="floor")
    put("second", {"psnr": [29, 30.1, 31, 32]})
    first, second, found = only().lead()
    assert (first.name, second.name, found.count) == ("first", "second", 4)
    assert found.difference == pytest.approx(0.975) and found.beats


def test_reading_boards_imports_no_torch(put, tmp_path):
    put("m", {"psnr": [1, 2]})
    code = (
        "import sys, pathlib; from nfbench.leaderboards.board import read_boards;"
        "b, = read_boards(pathlib.Path(sys.argv[1])); assert b.summary and b.rows; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
