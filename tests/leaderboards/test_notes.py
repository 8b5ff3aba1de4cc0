import json

import pytest

from nfbench.harness.record import Failure
from nfbench.leaderboards.board import read_boards
from nfbench.leaderboards.notes import caption, notes
from nfbench.leaderboards.table import render


def test_many_failures_are_counted_not_spelled_out(put, tmp_path):
    scenes = [f"s{i}" for i in range(10)]
    for scene in scenes:
        put("m", scene=scene, scenes=scenes, status="failed", error=Failure(type="E", message=f"no {scene}"))
    boards = read_boards(tmp_path)
    text = render(boards, "text")
    assert text.count("m: failed: scene") == 3 and "and 7 more like these" in text
    assert len(json.loads(render(boards, "json"))[0]["failures"]) == 10


@pytest.mark.parametrize(("column", "direction"), [("psnr", "higher"), ("lpips_vgg", "lower")])
def test_the_lead_is_told_in_the_direction_of_the_column(put, only, column, direction):
    good, bad = ([30, 31, 32], [20, 21, 22]) if direction == "higher" else ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    put("good", {column: good}, primary=column)
    put("bad", {column: bad}, primary=column)
    text = next(note for note in notes(only()) if note.startswith("good is ahead of bad"))
    assert f"better by {'10.00 dB' if direction == 'higher' else '0.3000'} (" in text and "on 3 common items" in text
    assert caption(only()).endswith(f"{direction} is better")


def test_intervals_are_told_by_kind(put, only):
    items, seeds = "over the items of the one scene (bootstrap)", "over seeds (Student's t)"
    put("first", {"psnr": [30, 31, 33]})
    assert f"± is half the width of the 95 % interval of the mean, {items}." in notes(only())
    for seed in (0, 1):
        put("second", {"psnr": [20 + seed]}, seed=seed)
    told = f"It is the 95 % interval of the mean: {seeds} for second; {items} for first."
    assert told in notes(only(), "It is")


SHAPES = {
    "penalties": {"iou": 0.0, "chamfer_l1_mean": 1.7320508075688772, "fscore@r0.01": 0.0},
    "protocol": "onet-shapenet@1",
    "primary": "iou",
}


def test_penalties_and_counts_are_told(put, only):
    scenes = tuple("abcdefgh")
    for scene in scenes[:6]:
        put("net", {"iou": [0.8], "chamfer_l1_mean": [0.1]}, scene=scene, scenes=scenes, **SHAPES)
    for scene in scenes[6:]:
        put("net", scene=scene, scenes=scenes, status="failed", error=Failure(type="E", message="no"), **SHAPES)
    told = notes(only())
    assert (
        "pen. is the penalised mean: what is lost, failed or missing, counts as IoU 0, Chamfer L1 mean 1.73205. "
        "The other number, where there is one, is the mean of what is valid only." in told
    )
    assert "net: 2 of 8 scenes lost (IoU, Chamfer L1 mean)." in told
    assert "net: not ranked, 6 of 8 items measured." in told


def test_columns_that_lost_differently_are_told_apart(put, only):
    penalties = {"penalties": {"psnr": 0.0, "iou": 0.0}, "protocol": "procedural@1"}
    both = {"scene": "a", "scenes": ("a", "b"), **penalties}
    lossy = {"expected": 4, "missing": ["v2"], "failed": {"mesh.ply": "no surface"}, "lost": 1}
    put("m", {"psnr": [20, 22], "iou": [0.5]}, seed=0, **both)
    put("m", {"psnr": [20, 22]}, seed=1, **both | lossy)
    put("whole", {"psnr": [1, 2], "iou": [0.5]}, **both)
    put("whole", {"psnr": [1, 2], "iou": [0.5]}, **both | {"scene": "b"})
    told = [note for note in notes(only()) if "lost (" in note or "others (" in note]
    assert told == [
        "m: 2 of 4 runs lost, and 1 of 5 items of the others (PSNR).",
        "m: 3 of 4 runs lost (IoU).",
    ]
    assert any("counts as PSNR 0 dB, IoU 0." in note for note in notes(only()))


def test_nothing_is_told_of_penalties_where_nothing_is_lost_or_none_is_declared(put, only):
    put("m", {"psnr": [20, 22]}, penalties={"psnr": 0.0})
    put("n", {"psnr": [20, 22]}, expected=3, missing=["v2"])
    assert not any("pen." in note or "lost" in note for note in notes(only()))
