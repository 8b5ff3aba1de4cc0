import json

from nfbench.harness.journal import LOG, journal
from nfbench.harness.method import Progress
from nfbench.harness.watcher import Watcher


def test_rows_are_json_whatever_the_numbers(tmp_path):
    told = []
    watcher = Watcher(progress=lambda stage, fraction, numbers: told.append(numbers))
    with journal(tmp_path, "x fit", watcher) as notes:
        notes.listen(Progress(3, 1.5, 0.1, {"loss": 0.25, "psnr": float("inf")}))

    def refuse(constant):
        raise AssertionError(constant)

    row = json.loads((tmp_path / LOG).read_text(), parse_constant=refuse)
    assert row == {"step": 3, "seconds": 1.5, "loss": 0.25, "psnr": None}
    assert told == [{"loss": 0.25, "psnr": float("inf")}]


def test_a_loop_that_goes_on_drops_the_rows_behind_its_state(tmp_path):
    for steps in ((0, 1, 2, 3), (2, 3, 4)):
        with journal(tmp_path, "x fit", Watcher()) as notes:
            for step in steps:
                notes.listen(Progress(step, 0.0, 0.0, {"loss": float(len(steps))}))
    rows = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(0, 4), (1, 4), (2, 3), (3, 3), (4, 3)]
