"""The plain step that benchmarks compare with is the same step, and the race of nerf_time runs."""

import dataclasses
import importlib.util
import sys
from pathlib import Path

import pytest

from nfbench.baselines.nerf import PAPER

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SMALL = dataclasses.replace(PAPER, layers=4, skip=2, width=32, view_width=16, frequencies=4, coarse=24, fine=24)


def benchmark(name):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_the_plain_step_has_our_loss_and_our_gradients():
    ours, plain, both = benchmark("plain_nerf").steps(SMALL, rays=40, perturb=False)
    assert ours() == pytest.approx(plain(), rel=1e-5)
    for network, other in zip(both["ours"].networks, both["plain"].networks, strict=True):
        pairs = [(a.grad, b.grad) for a, b in zip(network.trunk.parameters(), other.points.parameters(), strict=True)]
        pairs += [
            (a.grad, b.grad)
            for name in ("feature", "view", "sigma", "rgb")
            for a, b in zip(getattr(network, name).parameters(), getattr(other, name).parameters(), strict=True)
        ]
        for one, two in pairs:
            assert (one - two).norm() <= 1e-4 * two.norm()
    for _ in range(3):
        last = ours(), plain()
    assert last[0] == pytest.approx(last[1], rel=1e-3)


def test_the_race_prints_a_row_for_each(capsys):
    benchmark("plain_nerf")
    benchmark("nerf_time").main(["--small", "--minutes", "0.03", "--device", "cpu"])
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in ("paper", "fast", "plain")) and "s to 30 dB" in printed


def test_the_table_tells_the_first_time_and_the_ratio():
    race = benchmark("nerf_time")
    slow = race.Curve([1.0, 8.0, 20.0], [20.0, 26.0, 28.5], steps=40, spent=20.0, memory=2**30)
    quick = race.Curve([1.0, 2.0], [24.0, 31.0], steps=10, spent=2.0)
    rows = race.table({"fast": quick, "plain": slow}).splitlines()
    assert rows[2] == "| fast | 5.0 | 0.00 | 31.00 | 2.0 | 4.0 | 2.0 | 10.0 | 2.0 | - |"
    assert rows[3] == "| plain | 2.0 | 1.00 | 28.50 | 8.0 | 1.0 | 20.0 | 1.0 | - | - |"
