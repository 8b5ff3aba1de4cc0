import math

from nfbench.leaderboards.wording import count, duration, memory, number, title


def test_numbers_for_readers():
    assert [number(v, "dB") for v in (31.005, -math.inf, math.nan, None)] == ["31.00", "−∞", "—", "—"]
    assert [number(v, "mm") for v in (1234.0, 0.000012345, 1.0)] == ["1234", "1.234e-05", "1.000"]
    assert [duration(s) for s in (0.0, 9.94, 59.4, 3599.0, 86400.0)] == ["0 s", "9.9 s", "59 s", "60.0 min", "24.0 h"]
    assert [memory(b) for b in (None, 1, 2**20, 1_300_000_000)] == ["—", "1 B", "1 MiB", "1.21 GiB"]
    assert [count(n) for n in (None, 999, 1000, 12_345_678)] == ["—", "999", "1 k", "12.3 M"]
    assert title("chamfer_l1_mean") == "Chamfer L1 mean"
