import math
import subprocess
import sys

import pytest

from nfbench.harness.errors import DataMissing, NotFound, RecordInvalid
from nfbench.harness.record import Cost, Failure, MethodEntry, Record, Score, TaskEntry, run_folder, write_record
from nfbench.leaderboards.board import read_boards
from nfbench.leaderboards.statistics import t_interval

UNITS = {"psnr": ("dB", "higher"), "ssim": ("1", "higher"), "lpips_vgg": ("1", "lower"), "iou": ("1", "higher")}


@pytest.fixture
def put(tmp_path):
    """Writes one record under tmp_path; `scores` maps a column to the values of its items."""

    def write(method, scores=None, *, task="t/x", scene="a", scenes=("a",), seed=0, hash="h1", **fields):
        named = {c: {f"v{i}": float(v) for i, v in enumerate(vs)} for c, vs in (scores or {}).items()}
        summary = {
            c: Score(mean=sum(vs.values()) / len(vs), unit=UNITS[c][0], better=UNITS[c][1], count=len(vs))
            for c, vs in named.items()
        }
        entry = {k: fields.pop(k) for k in ("preset", "budget") if k in fields}
        kind = fields.pop("kind", "method")
        version = fields.pop("task_version", "1")
        defaults = {"protocol": "nerf-synthetic@1", "primary": "psnr", "status": "ok", "scores": summary}
        defaults["expected"] = max((len(vs) for vs in named.values()), default=0)
        record = Record(
            method=MethodEntry(name=method, hash=hash, origin=kind, **entry),
            task=TaskEntry(name=task, version=version, scenes=list(scenes)),
            scene=scene,
            seed=seed,
            **defaults | fields,
        )
        folder = run_folder(tmp_path, task, method, scene, seed, hash)
        write_record(folder, record, named)
        return folder

    return write


def only(runs, task=None):
    (found,) = read_boards(runs, task)
    return found


def test_rank_follows_the_direction_of_the_primary_column(put, tmp_path):
    put("low", {"psnr": [20, 22], "lpips_vgg": [0.1, 0.3]})
    put("high", {"psnr": [30, 32], "lpips_vgg": [0.2, 0.4]})
    found = only(tmp_path)
    assert [(r.rank, r.name, r.values["psnr"].mean) for r in found.rows] == [(1, "high", 31), (2, "low", 21)]
    assert [sorted(r.best) for r in found.rows] == [["psnr"], ["lpips_vgg"]]
    for name in ("low", "high"):
        put(name, {"lpips_vgg": [0.1 if name == "low" else 0.2]}, task="t/y", primary="lpips_vgg")
    assert [r.name for r in only(tmp_path, "t/y").rows] == ["low", "high"]


def test_ties_share_a_rank(put, tmp_path):
    for name, value in (("a", 30), ("b", 30), ("c", 20)):
        put(name, {"psnr": [value]})
    assert [(r.rank, r.name) for r in only(tmp_path).rows] == [(1, "a"), (1, "b"), (3, "c")]
    assert [sorted(r.best) for r in only(tmp_path).rows] == [["psnr"], ["psnr"], []]


def test_mean_is_over_scenes_of_seeds_of_items(put, tmp_path):
    for scene, seed, values in (("a", 0, [10]), ("a", 1, [20]), ("b", 0, [30, 31, 32]), ("b", 1, [33, 33, 33])):
        put("m", {"psnr": values}, scene=scene, scenes=("a", "b"), seed=seed)
    (row,) = only(tmp_path).rows
    value = row.values["psnr"]
    assert value.scenes == {"a": 15, "b": 32}
    assert value.mean == 23.5
    assert (row.seeds, row.measured, row.expected, row.rank) == ([0, 1], 8, 8, 1)
    assert value.over == "scenes" and value.interval == pytest.approx(t_interval([15, 32]))
    assert row.items("psnr")[("b", "v0")] == 31.5


def test_interval_over_seeds_then_items_then_none(put, tmp_path):
    put("seeds", {"psnr": [10, 30]}, seed=0)
    put("seeds", {"psnr": [22]}, seed=1)
    put("items", {"psnr": [10, 30, 20, 15]})
    put("one", {"psnr": [10]})
    rows = {row.name: row.values["psnr"] for row in only(tmp_path).rows}
    assert rows["seeds"].over == "seeds" and rows["seeds"].interval == pytest.approx(t_interval([20, 22]))
    assert rows["items"].over == "items" and 10 < rows["items"].interval[0] < 18.75 < rows["items"].interval[1] < 30
    assert rows["one"].over == "" and rows["one"].interval is None


def test_missing_scene_counts_against_coverage_and_unranks(put, tmp_path):
    put("half", {"psnr": [40, 40]}, scene="a", scenes=("a", "b"))
    for scene in ("a", "b"):
        put("whole", {"psnr": [20, 20] if scene == "a" else [20, 20, 20]}, scene=scene, scenes=("a", "b"))
    whole, half = only(tmp_path).rows
    assert (whole.rank, whole.coverage, whole.best) == (1, 1, {"psnr"})
    assert (half.name, half.rank, half.measured, half.expected) == ("half", None, 2, 5)  # b has three items
    assert half.gaps == ["no record of scene b, seed 0"]
    assert half.best == frozenset()


def test_missing_seed_and_missing_items_are_gaps(put, tmp_path):
    put("m", {"psnr": [20, 20]}, scene="a", scenes=("a", "b"), seed=0)
    put("m", {"psnr": [20]}, scene="b", scenes=("a", "b"), seed=0, expected=4, missing=["v1", "v2", "v3"])
    put("m", {"psnr": [20, 20]}, scene="a", scenes=("a", "b"), seed=7)
    (row,) = only(tmp_path).rows
    assert (row.rank, row.seeds, row.measured, row.expected) == (None, [0, 7], 5, 12)
    assert row.gaps == ["no record of scene b, seed 7", "scene b, seed 0: 3 of 4 items missing: v1; v2; v3"]


def test_a_failed_run_is_a_failure_and_not_covered(put, tmp_path):
    put("bad", {"psnr": [50]}, scene="a", scenes=("a", "b"))
    error = Failure(type="RuntimeError", message="the loss is not a number")
    put("bad", scene="b", scenes=("a", "b"), status="failed", error=error)
    (row,) = only(tmp_path).rows
    assert row.failures == ["scene b, seed 0: RuntimeError: the loss is not a number"]
    assert (row.rank, row.measured, row.expected) == (None, 1, 2)


def test_what_a_method_cannot_give_is_no_failure(put, tmp_path):
    put("both", {"psnr": [20], "iou": [0.5]}, protocol="procedural@1")
    put("images", {"psnr": [30]}, protocol="procedural@1", unsupported=["surface"])
    put("surfaces", {"iou": [0.9]}, protocol="procedural@1", unsupported=["image"])
    put("neither", status="unsupported", protocol="procedural@1", error=Failure(type="Unsupported", message="no cloud"))
    rows = {row.name: row for row in only(tmp_path).rows}
    assert rows["images"].rank == 1 and "iou" not in rows["images"].values
    assert rows["surfaces"].rank is None and rows["surfaces"].coverage == 1
    assert rows["neither"].gaps == ["scene a, seed 0: not supported: no cloud"]
    assert all(row.failures == [] for row in rows.values())
    assert rows["both"].best == {"iou"}  # the unranked 0.9 does not count


def test_versions_and_protocols_never_share_a_board(put, tmp_path):
    put("m", {"psnr": [20]}, task_version="1", hash="h1")
    put("m", {"psnr": [21]}, task_version="2", hash="h2")
    put("m", {"psnr": [22]}, protocol="nerf-synthetic-black@1", hash="h3")
    boards = read_boards(tmp_path)
    keys = [(b.protocol, b.version, b.rows[0].values["psnr"].mean) for b in boards]
    assert keys == [("nerf-synthetic-black@1", "1", 22), ("nerf-synthetic@1", "1", 20), ("nerf-synthetic@1", "2", 21)]


def test_columns_in_the_order_of_the_protocol_else_of_the_alphabet(put, tmp_path):
    put("m", {"ssim": [0.5], "psnr": [20], "iou": [1]})
    names = [c.name for c in only(tmp_path).columns]
    assert names == ["psnr", "ssim", "lpips_vgg", "lpips_alex", "iou"]
    assert "8 bit" in only(tmp_path).summary
    put("m", {"ssim": [0.5], "psnr": [20]}, task="u", protocol="nobody@9")
    unknown = only(tmp_path, "u")
    assert ([c.name for c in unknown.columns], unknown.summary) == (["psnr", "ssim"], "")


def test_labels_tell_rows_apart(put, tmp_path):
    put("nerf", {"psnr": [20]}, preset="fast", budget="180s", hash="aa")
    put("nerf", {"psnr": [21]}, preset="fast", budget="180s", hash="bb")
    put("nerf", {"psnr": [22]}, hash="cc")
    put("flat", {"psnr": [5]}, kind="floor")
    put("nerf", {"psnr": [30]}, hash="cc", seed=1, origin="paper")
    rows = only(tmp_path).rows
    assert [r.label for r in rows] == ["nerf #cc", "nerf #cc", "nerf (fast, 180s) #bb", "nerf (fast, 180s) #aa", "flat"]
    assert [r.origin for r in rows] == ["paper", "run", "run", "run", "run"]
    assert [r.floor for r in rows] == [False] * 4 + [True]


def test_costs_are_means_and_maxima_of_good_runs(put, tmp_path):
    for seed, seconds, memory in ((0, 10.0, 5), (1, 30.0, 9)):
        put("m", {"psnr": [1]}, seed=seed, cost=Cost(fit_seconds=seconds, peak_memory_bytes=memory, parameters=7))
    put("m", seed=2, status="failed", cost=Cost(fit_seconds=1000))
    put("p", {"psnr": [1]}, origin="paper")
    rows = {row.name: row.cost for row in only(tmp_path).rows}
    assert (rows["m"].fit_seconds, rows["m"].peak_memory_bytes, rows["m"].parameters) == (20, 9, 7)
    assert (rows["p"].fit_seconds, rows["p"].peak_memory_bytes, rows["p"].device) == (None, None, "")


def test_infinite_psnr_ranks_first_and_nan_is_no_value(put, tmp_path):
    put("perfect", {"psnr": [math.inf, 40]})
    put("good", {"psnr": [30, 31]})
    put("nan", {"psnr": [math.nan, 31]})
    found = only(tmp_path)
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


def test_scores_that_cannot_be_read_or_disagree_are_told(put, tmp_path):
    for name in ("a", "b", "c", "d", "e"):
        put(name, {"psnr": [20, 22]})
    (tmp_path / "t/x/b/a/0-h1/scores.parquet").write_bytes(b"no parquet")
    (tmp_path / "t/x/c/a/0-h1/scores.parquet").unlink()
    record = tmp_path / "t/x/d/a/0-h1/record.json"
    record.write_text(record.read_text().replace('"mean": 21.0', '"mean": 99.0'))
    found = only(tmp_path)
    assert len(found.rows) == 5
    told = "\n".join(found.problems)
    assert "b/a/0-h1/scores.parquet cannot be read" in told
    assert "c/a/0-h1/scores.parquet has no items of psnr" in told
    assert "record.json has psnr 99, the items' mean is 21" in told
    by_name = {row.name: row for row in found.rows}
    assert by_name["a"].items("psnr") == by_name["e"].items("psnr") == {("a", "v0"): 20, ("a", "v1"): 22}


def test_folders_with_glob_characters_keep_their_items(put, tmp_path):
    put("m[1]*k=v", {"psnr": [20, 22]})
    assert len(only(tmp_path).rows[0].items("psnr")) == 2


def test_the_newest_of_two_equal_runs_counts(put, tmp_path):
    folder = put("m", {"psnr": [20]}, created="2024-01-01T00:00:00+00:00")
    folder.rename(folder.with_name("copy"))
    put("m", {"psnr": [25]}, created="2025-01-01T00:00:00+00:00")
    found = only(tmp_path)
    assert found.rows[0].values["psnr"].mean == 25
    assert "copy is an older run" in found.problems[0]


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


def test_lead_compares_the_two_best_that_are_no_floors(put, tmp_path):
    put("first", {"psnr": [30, 31, 32, 33]})
    put("floor", {"psnr": [29.5, 30.5, 31.5, 32.5]}, kind="floor")
    put("second", {"psnr": [29, 30.1, 31, 32]})
    first, second, found = only(tmp_path).lead()
    assert (first.name, second.name, found.count) == ("first", "second", 4)
    assert found.difference == pytest.approx(0.975) and found.beats


def test_reading_boards_imports_no_torch(put, tmp_path):
    put("m", {"psnr": [1, 2]})
    code = (
        "import sys, pathlib; from nfbench.leaderboards.board import read_boards;"
        "b, = read_boards(pathlib.Path(sys.argv[1])); assert b.summary and b.rows; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
