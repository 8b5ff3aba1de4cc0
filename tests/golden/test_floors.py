"""Scores that must not change unnoticed: the floors on a small torus. A change here goes with a protocol version.

Run this file to write the values anew: python tests/golden/test_floors.py
"""

import json
import tempfile
from pathlib import Path

import pytest

from nfbench.harness.protocol import protocol
from nfbench.harness.registry import method_spec
from nfbench.harness.runner import Run
from nfbench.loaders.analytic import Size
from nfbench.loaders.procedural import task

FILE = Path(__file__).with_name("floors.json")
FLOORS = ("mean-colour", "nearest-view", "bounding-box", "visual-hull")
SIZE = Size(train_views=8, test_views=4, pixels=48, points=20_000)
TOLERANCE = 1e-3  # relative; another BLAS or another rounding of a pixel moves less


def measured(name, folder):
    torus = task("procedural/torus", cache=folder / "cache", size=SIZE)
    (outcome,) = Run(method_spec(name), torus, protocol(torus.protocol), folder / "runs")(0)
    assert outcome.record.status == "ok", outcome.record.error
    return {column: score.mean for column, score in outcome.record.scores.items() if not column.startswith("lpips")}


@pytest.mark.parametrize("name", FLOORS)
def test_the_floors_score_as_they_did(name, tmp_path):
    golden = json.loads(FILE.read_text())[name]
    assert measured(name, tmp_path) == pytest.approx(golden, rel=TOLERANCE)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        values = {name: measured(name, Path(scratch)) for name in FLOORS}
    FILE.write_text(json.dumps(values, indent=1) + "\n")
