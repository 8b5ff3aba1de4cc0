"""Means, their 95 % intervals, and whether one row of a board beats another."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95
RESAMPLES = 2000  # the ends of a 95 % interval then rest on 50 resamples each
SEED = 0
_CHUNK = 2_000_000  # numbers drawn at once, 16 MB of indices

Interval = tuple[float, float]
Item = tuple[str, str]
Better = Literal["higher", "lower"]


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean; infinite where a value is, NaN where infinities of both signs meet or there are no values.

    >>> mean([1.0, 2.0, 6.0])
    3.0
    """
    if not values:
        return math.nan
    with np.errstate(invalid="ignore"):
        return float(np.mean(np.asarray(values, np.float64)))


def deviation(values: Sequence[float]) -> float:
    """The sample standard deviation, n - 1 in the denominator; NaN for fewer than two values or infinite ones.

    >>> deviation([1.0, 3.0])
    1.4142135623730951
    """
    array = np.asarray(values, np.float64)
    if len(array) < 2 or not np.isfinite(array).all():
        return math.nan
    return float(array.std(ddof=1))


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval | None:
    """Student's interval of the mean of independent values; None for fewer than two, or infinite ones."""
    spread = deviation(values)
    if math.isnan(spread):
        return None
    half = float(stdtrit(len(values) - 1, (1 + confidence) / 2)) * spread / math.sqrt(len(values))
    middle = mean(values)
    return middle - half, middle + half


def bootstrap_interval(
    values: Sequence[float], confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = SEED
) -> Interval | None:
    """The percentile bootstrap interval of the mean (Efron and Tibshirani 1993, chapter 13).

    None for fewer than two values, or infinite ones. The same values and seed give the same interval.
    """
    array = np.asarray(values, np.float64)
    if len(array) < 2 or not np.isfinite(array).all():
        return None
    return _percentiles(_resampled_means(array, resamples, np.random.default_rng(seed)), confidence)


@dataclass(frozen=True)
class Comparison:
    """Two rows on the items that both have.

    Attributes:
        difference: first minus second: the mean over scenes of the mean over the scene's common items.
        interval: its 95 % percentile bootstrap interval, items resampled within each scene.
        share: the part of the resamples in which the first is strictly better.
        p: two-sided bootstrap p-value of no difference, at least 2 / (resamples + 1).
        count: how many items both have.
        better: the direction of the column.
    """

    difference: float
    interval: Interval
    share: float
    p: float
    count: int
    better: Better

    @property
    def beats(self) -> bool:
        """Whether the whole interval lies on the first row's side of zero."""
        return self.interval[0] > 0 if self.better == "higher" else self.interval[1] < 0


def compare(
    first: Mapping[Item, float],
    second: Mapping[Item, float],
    better: Better,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> Comparison | None:
    """The paired difference of two rows, each a mapping of (scene, item) to value; None below two common items.

    It speaks about these scenes only: scenes are not resampled, so it does not say what holds on others. Pairs with an
    infinite value have no difference and are left out of `count`.
    """
    scenes: dict[str, list[float]] = {}
    for key in sorted(first.keys() & second.keys()):
        if math.isfinite(first[key]) and math.isfinite(second[key]):
            scenes.setdefault(key[0], []).append(first[key] - second[key])
    count = sum(map(len, scenes.values()))
    if count < 2:
        return None
    rng = np.random.default_rng(seed)
    means = np.mean([_resampled_means(np.asarray(d), resamples, rng) for d in scenes.values()], axis=0)
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    wins = means > 0 if better == "higher" else means < 0
    return Comparison(
        difference=mean([mean(d) for d in scenes.values()]),
        interval=_percentiles(means, CONFIDENCE),
        share=float(wins.mean()),
        p=min(1.0, 2 * (min(below, above) + 1) / (resamples + 1)),
        count=count,
        better=better,
    )


def _resampled_means(values: NDArray[np.float64], resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(resamples,) means of `values` (N,) drawn with replacement."""
    at_once = max(1, _CHUNK // len(values))
    parts = [
        values[rng.integers(len(values), size=(min(at_once, resamples - start), len(values)))].mean(axis=1)
        for start in range(0, resamples, at_once)
    ]
    return np.concatenate(parts)


def _percentiles(means: NDArray[np.float64], confidence: float) -> Interval:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
