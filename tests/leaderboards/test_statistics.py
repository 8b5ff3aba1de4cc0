import math

import numpy as np
import pytest
import scipy.stats

from nfbench.leaderboards.statistics import bootstrap_interval, compare, deviation, mean, t_interval

VALUES = np.random.default_rng(3).normal(30, 2, size=40).tolist()


def test_mean_and_deviation_against_scipy():
    described = scipy.stats.describe(VALUES)
    assert mean(VALUES) == pytest.approx(described.mean)
    assert deviation(VALUES) == pytest.approx(math.sqrt(described.variance))


@pytest.mark.parametrize("n", [2, 3, 40])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_t_interval_against_scipy(n, confidence):
    expected = scipy.stats.ttest_1samp(VALUES[:n], 0).confidence_interval(confidence)
    assert t_interval(VALUES[:n], confidence) == pytest.approx((expected.low, expected.high))


def test_t_interval_of_two_values_by_hand():
    low, high = t_interval([0.0, 2.0])
    assert (low, high) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-3)  # t(1 degree, 97.5 %) times s/sqrt(2) = 1


def test_bootstrap_against_scipy_and_normal_theory():
    low, high = bootstrap_interval(VALUES, resamples=8000)
    theirs = scipy.stats.bootstrap((VALUES,), np.mean, method="percentile", n_resamples=8000, rng=1)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.05)
    half = 1.96 * np.std(VALUES) / math.sqrt(len(VALUES))
    assert high - low == pytest.approx(2 * half, rel=0.05)


def test_bootstrap_is_repeatable_and_follows_shift_and_scale():
    first = bootstrap_interval(VALUES)
    assert bootstrap_interval(VALUES) == first
    moved = bootstrap_interval([10 + 2 * value for value in VALUES])
    assert moved == pytest.approx(tuple(10 + 2 * end for end in first))


def test_bootstrap_in_chunks_equals_bootstrap_at_once(monkeypatch):
    whole = bootstrap_interval(VALUES)
    monkeypatch.setattr("nfbench.leaderboards.statistics._CHUNK", 40 * 7)
    assert bootstrap_interval(VALUES) == pytest.approx(whole)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, math.inf]])
def test_no_interval_where_there_is_none(values):
    assert t_interval(values) is None
    assert bootstrap_interval(values) is None


def test_infinite_values_keep_the_mean_infinite():
    assert mean([1.0, math.inf]) == math.inf
    assert math.isnan(mean([math.inf, -math.inf]))
    assert math.isnan(mean([]))


def rows(first, second):
    return tuple({("s", str(i)): v for i, v in enumerate(row)} for row in (first, second))


def test_compare_against_the_paired_t_test():
    rng = np.random.default_rng(0)
    second = rng.normal(30, 5, 100)
    first = second + rng.normal(0.25, 1, 100)
    found = compare(*rows(first, second), "higher", resamples=8000)
    expected = scipy.stats.ttest_rel(first, second)
    assert found.difference == pytest.approx((first - second).mean())
    assert found.p == pytest.approx(expected.pvalue, abs=0.02)
    interval = expected.confidence_interval(0.95)
    assert found.interval == pytest.approx((interval.low, interval.high), abs=0.03)
    assert found.count == 100
    assert found.share == pytest.approx(1 - found.p / 2, abs=0.01)


def test_compare_knows_the_direction():
    better, worse = [0.1, 0.2, 0.15, 0.12], [0.3, 0.5, 0.35, 0.31]
    low = compare(*rows(better, worse), "lower")
    assert low.beats and low.share == 1 and low.difference < 0
    high = compare(*rows(better, worse), "higher")
    assert not high.beats and high.share == 0


def test_compare_swapped_is_mirrored():
    first, second = rows(VALUES[:20], VALUES[20:])
    one, two = compare(first, second, "higher"), compare(second, first, "higher")
    assert one.difference == pytest.approx(-two.difference)
    assert one.interval == pytest.approx((-two.interval[1], -two.interval[0]))
    assert one.p == pytest.approx(two.p)


def test_compare_of_equal_rows_finds_nothing():
    found = compare(*rows(VALUES, VALUES), "higher")
    assert (found.difference, found.interval, found.p, found.share, found.beats) == (0, (0, 0), 1, 0, False)


def test_compare_weighs_scenes_equally_and_uses_common_finite_items_only():
    first = {("a", "0"): 3.0, ("b", "0"): 1.0, ("b", "1"): 1.0, ("b", "2"): math.inf, ("c", "0"): 9.0}
    second = {("a", "0"): 1.0, ("b", "0"): 1.0, ("b", "1"): 1.0, ("b", "2"): 1.0, ("d", "0"): 9.0}
    found = compare(first, second, "higher")
    assert (found.difference, found.count) == (1.0, 3)
    assert compare({("a", "0"): 1.0}, {("a", "0"): 2.0}, "higher") is None
