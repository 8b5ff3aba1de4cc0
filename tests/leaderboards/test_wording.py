import math

import pytest

from nfbench.leaderboards.value import Value
from nfbench.leaderboards.wording import count, duration, losses, memory, number, penalty, title


def test_numbers_for_readers():
    assert [number(v, "dB") for v in (31.005, -math.inf, math.nan, None)] == ["31.00", "−∞", "—", "—"]
    assert [number(v, "mm") for v in (1234.0, 0.000012345, 1.0)] == ["1234", "1.234e-05", "1.000"]
    assert [duration(s) for s in (0.0, 9.94, 59.4, 3599.0, 86400.0)] == ["0 s", "9.9 s", "59 s", "60.0 min", "24.0 h"]
    assert [memory(b) for b in (None, 1, 2**20, 1_300_000_000)] == ["—", "1 B", "1 MiB", "1.21 GiB"]
    assert [count(n) for n in (None, 999, 1000, 12_345_678)] == ["—", "999", "1 k", "12.3 M"]
    assert title("chamfer_l1_mean") == "Chamfer L1 mean"


def lossy(unit="1", penalty=0.0, runs=1, runs_lost=0, items=1, items_lost=0):
    return Value(1.0, unit, "higher", None, "", {}, False, 0.5, penalty, runs, runs_lost, items, items_lost)


@pytest.mark.parametrize(
    ("unit", "amount", "text"),
    [("dB", 0.0, "0 dB"), ("1", 1.0, "1"), ("mm", 20.0, "20"), ("mm", math.inf, "∞"), ("dB", None, "— dB")],
)
def test_penalties_for_readers(unit, amount, text):
    assert penalty(lossy(unit, amount)) == text


def test_losses_for_readers():
    assert losses(lossy(runs=1, runs_lost=1), 1) == "1 of 1 scene lost"
    assert losses(lossy(runs=2, runs_lost=1), 1) == "1 of 2 scenes lost"
    assert losses(lossy(runs=1, runs_lost=1), 2) == "1 of 1 run lost"
    assert (
        losses(lossy(runs=4, runs_lost=3, items=9, items_lost=2), 2)
        == "3 of 4 runs lost, and 2 of 9 items of the others"
    )
    assert losses(lossy(items=9, items_lost=2), 1) == "2 of 9 items lost"
