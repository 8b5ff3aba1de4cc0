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
