import pytest

from nfbench.harness.record import Cost, Failure
from nfbench.leaderboards.statistics import t_interval


def test_mean_is_over_scenes_of_seeds_of_items(put, only):
    for scene, seed, values in (("a", 0, [10]), ("a", 1, [20]), ("b", 0, [30, 31, 32]), ("b", 1, [33, 33, 33])):
        put("m", {"psnr": values}, scene=scene, scenes=("a", "b"), seed=seed)
    (row,) = only().rows
    value = row.values["psnr"]
    assert value.scenes == {"a": 15, "b": 32}
    assert value.mean == 23.5
    assert (row.seeds, row.measured, row.expected, row.rank) == ([0, 1], 8, 8, 1)
    assert value.over == "scenes" and value.interval == pytest.approx(t_interval([15, 32]))
    assert row.items("psnr")[("b", "v0")] == 31.5


def test_interval_over_seeds_then_items_then_none(put, only):
    put("seeds", {"psnr": [10, 30]}, seed=0)
    put("seeds", {"psnr": [22]}, seed=1)
    put("items", {"psnr": [10, 30, 20, 15]})
    put("one", {"psnr": [10]})
    rows = {row.name: row.values["psnr"] for row in only().rows}
    assert rows["seeds"].over == "seeds" and rows["seeds"].interval == pytest.approx(t_interval([20, 22]))
    assert rows["items"].over == "items" and 10 < rows["items"].interval[0] < 18.75 < rows["items"].interval[1] < 30
    assert rows["one"].over == "" and rows["one"].interval is None


def test_missing_scene_counts_against_coverage_and_unranks(put, only):
    put("half", {"psnr": [40, 40]}, scene="a", scenes=("a", "b"))
    for scene in ("a", "b"):
        put("whole", {"psnr": [20, 20] if scene == "a" else [20, 20, 20]}, scene=scene, scenes=("a", "b"))
    whole, half = only().rows
    assert (whole.rank, whole.coverage, whole.best) == (1, 1, {"psnr"})
    assert (half.name, half.rank, half.measured, half.expected) == ("half", None, 2, 5)  # b has three items
    assert half.gaps == ["no record of scene b, seed 0"]
    assert half.best == frozenset()


def test_missing_seed_and_missing_items_are_gaps(put, only):
    put("m", {"psnr": [20, 20]}, scene="a", scenes=("a", "b"), seed=0)
    put("m", {"psnr": [20]}, scene="b", scenes=("a", "b"), seed=0, expected=4, missing=["v1", "v2", "v3"])
    put("m", {"psnr": [20, 20]}, scene="a", scenes=("a", "b"), seed=7)
    (row,) = only().rows
    assert (row.rank, row.seeds, row.measured, row.expected) == (None, [0, 7], 5, 12)
    assert row.gaps == ["no record of scene b, seed 7", "scene b, seed 0: 3 of 4 items missing: v1; v2; v3"]


def test_a_failed_run_is_a_failure_and_not_covered(put, only):
    put("bad", {"psnr": [50]}, scene="a", scenes=("a", "b"))
    error = Failure(type="RuntimeError", message="the loss is not a number")
    put("bad", scene="b", scenes=("a", "b"), status="failed", error=error)
    (row,) = only().rows
    assert row.failures == ["scene b, seed 0: RuntimeError: the loss is not a number"]
    assert (row.rank, row.measured, row.expected) == (None, 1, 2)


def test_what_a_method_cannot_give_is_no_failure(put, only):
    put("both", {"psnr": [20], "iou": [0.5]}, protocol="procedural@1")
    put("images", {"psnr": [30]}, protocol="procedural@1", unsupported=["surface"])
    put("surfaces", {"iou": [0.9]}, protocol="procedural@1", unsupported=["image"])
    put("neither", status="unsupported", protocol="procedural@1", error=Failure(type="Unsupported", message="no cloud"))
    rows = {row.name: row for row in only().rows}
    assert rows["images"].rank == 1 and "iou" not in rows["images"].values
    assert rows["surfaces"].rank is None and rows["surfaces"].coverage == 1
    assert rows["neither"].gaps == ["scene a, seed 0: not supported: no cloud"]
    assert all(row.failures == [] for row in rows.values())
    assert rows["both"].best == {"iou"}  # the unranked 0.9 does not count


def test_costs_are_means_and_maxima_of_good_runs(put, only):
    for seed, seconds, memory in ((0, 10.0, 5), (1, 30.0, 9)):
        put("m", {"psnr": [1]}, seed=seed, cost=Cost(fit_seconds=seconds, peak_memory_bytes=memory, parameters=7))
    put("m", seed=2, status="failed", cost=Cost(fit_seconds=1000))
    put("p", {"psnr": [1]}, origin="paper")
    rows = {row.name: row.cost for row in only().rows}
    assert (rows["m"].fit_seconds, rows["m"].peak_memory_bytes, rows["m"].parameters) == (20, 9, 7)
    assert (rows["p"].fit_seconds, rows["p"].peak_memory_bytes, rows["p"].device) == (None, None, "")
