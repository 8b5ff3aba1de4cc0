import math

import pytest

from nfbench.harness.record import Failure
from nfbench.leaderboards.board import read_boards

IMAGES = {"psnr": 5.0, "ssim": 0.0}
SHAPES = {"iou": 0.0, "chamfer_l1_mean": 1.5}
ONET = {"protocol": "onet-shapenet@1", "primary": "iou"}
ERROR = Failure(type="RuntimeError", message="no memory")


@pytest.fixture
def row(only):
    def read(name="m"):
        (found,) = [row for row in only().rows if row.name == name]
        return found

    return read


def counts(value):
    return value.runs, value.runs_lost, value.items, value.items_lost


def test_of_a_whole_row_the_penalised_mean_is_the_mean(put, row):
    for scene, values in (("a", [20, 22]), ("b", [30])):
        put("m", {"psnr": values}, scene=scene, scenes=("a", "b"), penalties=IMAGES)
    value = row().values["psnr"]
    assert (value.mean, value.penalised, value.penalty) == (25.5, 25.5, 5)
    assert counts(value) == (2, 0, 3, 0)
    assert (value.lossy, value.shows_penalised, value.complete) == (False, False, True)


def test_missing_items_count_as_the_penalty_within_their_scene(put, row):
    put("m", {"psnr": [20, 22]}, scene="a", scenes=("a", "b"), penalties=IMAGES, expected=4, missing=["x", "y"], lost=2)
    put("m", {"psnr": [30, 32]}, scene="b", scenes=("a", "b"), penalties=IMAGES)
    value = row().values["psnr"]
    assert value.mean == (21 + 31) / 2
    assert value.penalised == ((20 + 22 + 5 + 5) / 4 + 31) / 2 == 22.0
    assert counts(value) == (2, 0, 6, 2)
    assert (value.lossy, value.shows_penalised, value.complete) == (True, True, True)


@pytest.mark.parametrize("failed", [True, False])
def test_a_failed_and_an_absent_scene_count_as_the_penalty(put, row, failed):
    scenes = ("a", "b", "c", "d")
    for scene, iou, chamfer in (("a", 0.8, 0.1), ("b", 0.7, 0.2), ("c", 0.6, 0.3)):
        put("m", {"iou": [iou], "chamfer_l1_mean": [chamfer]}, scene=scene, scenes=scenes, penalties=SHAPES, **ONET)
    if failed:
        put("m", scene="d", scenes=scenes, status="failed", error=ERROR, penalties=SHAPES, **ONET)
    iou, chamfer = (row().values[name] for name in ("iou", "chamfer_l1_mean"))
    assert iou.mean == pytest.approx(0.7) and iou.penalised == pytest.approx(2.1 / 4)
    assert chamfer.mean == pytest.approx(0.2) and chamfer.penalised == pytest.approx((0.6 + 1.5) / 4)
    assert counts(iou) == counts(chamfer) == (4, 1, 3, 0)
    assert iou.scenes == {"a": 0.8, "b": 0.7, "c": 0.6}  # of what is valid
    assert (row().rank, iou.complete, iou.lossy) == (None, False, True)


def test_a_failed_and_an_absent_seed_count_within_their_scene(put, row):
    scenes = ("a", "b")
    put("m", {"psnr": [20]}, scene="a", scenes=scenes, seed=0, penalties=IMAGES)
    put("m", scene="a", scenes=scenes, seed=1, status="failed", error=ERROR, penalties=IMAGES)
    put("m", {"psnr": [30]}, scene="b", scenes=scenes, seed=0, penalties=IMAGES)
    value = row().values["psnr"]  # seed 1 of b has no record
    assert value.mean == 25
    assert value.penalised == ((20 + 5) / 2 + (30 + 5) / 2) / 2 == 15
    assert counts(value) == (4, 2, 2, 0)


def test_a_row_in_which_every_run_failed_has_the_penalised_mean_alone(put, row):
    for scene in ("a", "b"):
        put("m", scene=scene, scenes=("a", "b"), status="failed", error=ERROR, penalties=SHAPES, **ONET)
    found = row()
    value = found.values["chamfer_l1_mean"]
    assert math.isnan(value.mean) and value.penalised == 1.5
    assert (value.unit, value.better) == ("longest edge of the bounding box", "lower")
    assert (value.interval, value.over, value.scenes, value.complete) == (None, "", {}, False)
    assert counts(value) == (2, 2, 0, 0)
    assert sorted(found.values) == ["chamfer_l1_mean", "iou"]
    assert (found.rank, found.best, found.items("iou")) == (None, frozenset(), {})


def test_an_empty_mesh_costs_the_surface_and_not_the_images(put, row):
    both = IMAGES | SHAPES
    put("m", {"psnr": [20], "iou": [0.6]}, scene="a", scenes=("a", "b"), protocol="procedural@1", penalties=both)
    failed = {"mesh.ply": "no surface"}
    lossy = {"failed": failed, "expected": 2, "protocol": "procedural@1", "penalties": both}
    put("m", {"psnr": [30]}, scene="b", scenes=("a", "b"), **lossy)
    values = row().values
    assert (values["psnr"].mean, values["psnr"].penalised, counts(values["psnr"])) == (25, 25, (2, 0, 2, 0))
    assert (values["iou"].mean, values["iou"].penalised, counts(values["iou"])) == (0.6, 0.3, (2, 1, 1, 0))
    assert row().gaps == ["scene b, seed 0: mesh.ply failed: no surface"]


def test_all_views_missing_cost_the_images_and_not_the_surface(put, row):
    both = IMAGES | SHAPES
    put("m", {"psnr": [20], "iou": [0.6]}, scene="a", scenes=("a", "b"), protocol="procedural@1", penalties=both)
    lossy = {"missing": ["v0"], "expected": 2, "protocol": "procedural@1", "penalties": both}
    put("m", {"iou": [0.8]}, scene="b", scenes=("a", "b"), **lossy)
    values = row().values
    assert (values["psnr"].mean, values["psnr"].penalised, counts(values["psnr"])) == (20, 12.5, (2, 1, 1, 0))
    assert values["iou"].penalised == values["iou"].mean == pytest.approx(0.7)
    assert counts(values["iou"]) == (2, 0, 2, 0)


def test_an_infinite_mean_or_penalty_makes_the_penalised_mean_infinite(put, row):
    put("m", {"psnr": [math.inf, 30]}, scene="a", scenes=("a", "b"), penalties=IMAGES)
    put("m", scene="b", scenes=("a", "b"), status="failed", error=ERROR, penalties=IMAGES)
    put("far", {"chamfer_l1_mean": [0.1]}, scene="a", scenes=("a", "b"), penalties={"chamfer_l1_mean": math.inf})
    put("far", scene="b", scenes=("a", "b"), status="failed", penalties={"chamfer_l1_mean": math.inf})
    value = row().values["psnr"]
    assert (value.mean, value.penalised) == (math.inf, math.inf)
    far = row("far").values["chamfer_l1_mean"]
    assert (far.mean, far.penalised, far.penalty) == (0.1, math.inf, math.inf)


def test_a_mean_that_is_not_a_number_is_lost(put, row):
    put("m", {"psnr": [math.nan]}, scene="a", scenes=("a", "b"), penalties=IMAGES)
    put("m", {"psnr": [30]}, scene="b", scenes=("a", "b"), penalties=IMAGES)
    value = row().values["psnr"]
    assert (value.mean, value.penalised, counts(value)) == (30, 17.5, (2, 1, 1, 0))


def test_without_a_penalty_there_is_no_penalised_mean_but_the_counts(put, row):
    put("m", {"psnr": [20, 22]}, scene="a", scenes=("a", "b"), expected=3, missing=["v2"])
    put("m", scene="b", scenes=("a", "b"), status="failed", error=ERROR)
    value = row().values["psnr"]
    assert (value.mean, value.penalised, value.penalty) == (21, None, None)
    assert counts(value) == (2, 1, 3, 1)
    assert value.lossy and not value.shows_penalised
    put("none", status="failed", error=ERROR)
    assert row("none").values == {}


def test_an_older_record_counts_where_it_lost_nothing_and_spoils_where_it_did(put, row):
    put("m", {"psnr": [20]}, scene="a", scenes=("a", "b"))  # tells no penalties
    put("m", scene="b", scenes=("a", "b"), status="failed", error=ERROR, penalties=IMAGES)
    assert row().values["psnr"].penalised == 12.5
    put("m", {"psnr": [20]}, scene="a", scenes=("a", "b"), expected=2, missing=["v1"])
    assert row().values["psnr"].penalised is None
    assert counts(row().values["psnr"]) == (2, 1, 2, 1)


def test_what_a_method_cannot_give_has_no_penalty(put, row):
    both = {"protocol": "procedural@1", "penalties": IMAGES | SHAPES, "scenes": ("a", "b")}
    for scene in ("a", "b"):
        put("whole", {"psnr": [20], "iou": [0.5]}, scene=scene, **both)
    put("m", {"psnr": [20]}, scene="a", unsupported=["surface"], **both)
    put("m", scene="b", status="failed", error=ERROR, **both)
    assert sorted(row().values) == ["psnr"] and row().values["psnr"].penalised == 12.5
    put("never", scene="a", status="unsupported", error=Failure(type="Unsupported", message="no cloud"), **both)
    assert row("never").values == {}  # though scene b has no record
    put("some", {"psnr": [20], "iou": [0.5]}, scene="a", **both)
    put("some", scene="b", status="unsupported", error=Failure(type="Unsupported", message="no cloud"), **both)
    assert counts(row("some").values["psnr"]) == (1, 0, 1, 0)
    assert row("some").values["psnr"].penalised == 20


def test_a_run_that_could_not_give_one_section_loses_nothing_of_it(put, row):
    both = {"protocol": "procedural@1", "penalties": IMAGES | SHAPES, "scenes": ("a", "b", "c")}
    put("m", {"psnr": [20], "iou": [0.5]}, scene="a", **both)
    put("m", {"psnr": [20]}, scene="b", unsupported=["surface"], failed={"mesh.ply": "x"}, **both)
    put("m", scene="c", status="failed", error=ERROR, **both)
    assert counts(row().values["iou"]) == (2, 1, 1, 0)
    assert row().values["iou"].penalised == 0.25


def test_a_column_that_could_not_be_measured_has_no_penalty(put, row):
    penalties = IMAGES | {"lpips_vgg": 1.0}
    lacking = {"unmeasured": {"lpips_vgg": "no weights"}, "penalties": penalties, "scenes": ("a", "b", "c")}
    put("m", {"psnr": [20]}, scene="a", **lacking)
    put("m", {"psnr": [20], "lpips_vgg": [0.1]}, scene="b", penalties=penalties, scenes=("a", "b", "c"))
    put("m", scene="c", scenes=("a", "b", "c"), status="failed", error=ERROR, penalties=penalties)
    value = row().values["lpips_vgg"]
    assert (value.mean, value.penalised, value.penalty) == (0.1, None, None)
    assert counts(value) == (2, 1, 1, 0)
    assert row().values["psnr"].penalised == 15


def test_ranked_rows_lost_nothing_of_the_primary_column(put, tmp_path):
    put("lossy", {"psnr": [40, 42]}, penalties=IMAGES, expected=3, lost=1)  # though no item is named as lost
    put("whole", {"psnr": [20, 21, 22]}, penalties=IMAGES)
    (board,) = read_boards(tmp_path)
    assert [(r.name, r.rank, sorted(r.best)) for r in board.rows] == [("whole", 1, ["psnr"]), ("lossy", None, [])]
