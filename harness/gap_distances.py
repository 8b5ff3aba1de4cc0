"""explain-gap on surfaces: every measure of two surfaces that goes by one name, from the distances of their points."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.column import AtRadius, Distance, Iou, MeshAccuracy, MeshCompletion, NormalConsistency
from nfbench.harness.gap import Choices
from nfbench.harness.gap_reported import Number
from nfbench.harness.protocol import SurfaceSection
from nfbench.harness.surface import Correspondence

Value = tuple[str, Choices, float, float]  # family, choices on the measure's own axes, factor, value
SurfaceColumn = Distance | NormalConsistency | AtRadius | MeshAccuracy | MeshCompletion | Iou

OF_PAIRS = frozenset(
    {
        "chamfer", "accuracy", "completeness", "hausdorff", "mesh_accuracy", "mesh_completion",
        "normal_consistency", "fscore", "precision", "recall",
    }
)  # fmt: skip
"""The families that are measured on nearest neighbours."""

RADII = (0.001, 0.002, 0.005, 0.01, 0.01414213562373095, 0.015, 0.02, 0.03162277660168379, 0.05, 0.1)
"""Of F-scores, in the unit of the frame; LDIF's 2 tau and AtlasNet's threshold are roots of squares."""
FACTORS = (1.0, 10.0, 100.0, 1000.0, 10000.0)
PARTS = (1.0, 100.0)
"""Factors of what is at most 1: as it is, and in percent."""

TO_TRUTH, TO_PREDICTION = "prediction to truth", "truth to prediction"
HALF, SUM, GREATER = "half the sum", "sum", "greater of the two"
PLAIN, SQUARED, ROOT, ADDED = "unsquared", "squared", "root of the mean square", "unsquared, summed over points"
_HAUSDORFF_95 = 0.95  # as in medical imaging, where single outliers shall not count


@dataclass(frozen=True, eq=False)
class Pairs:
    """Nearest neighbours both ways, in scene units.

    Attributes:
        to_truth: (P,) distances from the prediction's points.
        to_prediction: (Q,) distances from the truth's points.
        cosine_to_truth: (P,) cosines of the normals of those pairs, signed; None without normals.
        cosine_to_prediction: (Q,), likewise.
    """

    to_truth: NDArray[np.float64]
    to_prediction: NDArray[np.float64]
    cosine_to_truth: NDArray[np.float64] | None = None
    cosine_to_prediction: NDArray[np.float64] | None = None


def measures(pairs: Pairs, length: float, families: set[str], radii: tuple[float, ...] = RADII) -> Iterator[Value]:
    """Every measure of the families, where a scene unit is `length` long."""
    if "chamfer" in families:
        yield from _chamfers(pairs, length)
    for family, usual in (("accuracy", TO_TRUTH), ("completeness", TO_PREDICTION)):
        if family in families:
            ways = (TO_TRUTH, TO_PREDICTION) if usual == TO_TRUTH else (TO_PREDICTION, TO_TRUTH)
            yield from _lengths(family, _means(pairs), ways, length)
    if "hausdorff" in families:
        yield from _lengths("hausdorff", _greatest(pairs), (GREATER, TO_TRUTH, TO_PREDICTION, SUM), length)
    found = Correspondence(pairs.to_truth * length, pairs.to_prediction * length)
    if "mesh_accuracy" in families:
        for name, points in (("1,000 points", 1000), ("all points", None)):
            for factor in FACTORS:
                value = factor * found.mesh_accuracy(0.9, points)
                yield "mesh_accuracy", (("of", f"90 % of {name}"), ("factor", f"{factor:g}")), factor, value
    for family in ("fscore", "precision", "recall", "mesh_completion"):
        if family in families:
            for radius in radii:
                for factor in PARTS:
                    choices = (("radius", f"{radius:.4g}"), ("factor", f"{factor:g}"))
                    yield family, choices, factor, factor * float(getattr(found, family)(radius))
    if "normal_consistency" in families:
        yield from _cosines(pairs)


def _chamfers(pairs: Pairs, length: float) -> Iterator[Value]:
    yield from _lengths("chamfer", _means(pairs), (HALF, SUM, GREATER, TO_TRUTH, TO_PREDICTION), length)
    total = float(pairs.to_truth.sum() + pairs.to_prediction.sum()) * length
    for factor in FACTORS:
        choices = (("distance", ADDED), ("ways", SUM), ("factor", f"{factor:g}"))
        yield "chamfer", choices, factor, factor * total


def _means(pairs: Pairs) -> dict[str, tuple[int, tuple[float, float]]]:
    """How distances are averaged, to the power of a length that comes of it and the two ways' values."""
    ways = (pairs.to_truth, pairs.to_prediction)
    plain, squared = [tuple(float(np.mean(way**power)) for way in ways) for power in (1, 2)]
    return {
        PLAIN: (1, (plain[0], plain[1])),
        SQUARED: (2, (squared[0], squared[1])),
        ROOT: (1, (float(np.sqrt(squared[0])), float(np.sqrt(squared[1])))),
    }


def _greatest(pairs: Pairs) -> dict[str, tuple[int, tuple[float, float]]]:
    ways = (pairs.to_truth, pairs.to_prediction)
    first, second = (float(way.max()) for way in ways)
    most, more = (float(np.quantile(way, _HAUSDORFF_95)) for way in ways)
    return {PLAIN: (1, (first, second)), SQUARED: (2, (first**2, second**2)), "95 % of points": (1, (most, more))}


def _lengths(
    family: str, means: dict[str, tuple[int, tuple[float, float]]], ways: tuple[str, ...], length: float
) -> Iterator[Value]:
    for distance, (power, (to_truth, to_prediction)) in means.items():
        joined = {
            HALF: (to_truth + to_prediction) / 2,
            SUM: to_truth + to_prediction,
            GREATER: max(to_truth, to_prediction),
            TO_TRUTH: to_truth,
            TO_PREDICTION: to_prediction,
        }
        for way in ways:
            for factor in FACTORS:
                choices = (("distance", distance), ("ways", way), ("factor", f"{factor:g}"))
                yield family, choices, factor, factor * joined[way] * length**power


def _cosines(pairs: Pairs) -> Iterator[Value]:
    if pairs.cosine_to_truth is None or pairs.cosine_to_prediction is None:
        return
    for sign in ("ignored", "kept"):
        cosines = (pairs.cosine_to_truth, pairs.cosine_to_prediction)
        first, second = (float(np.mean(np.abs(c) if sign == "ignored" else c)) for c in cosines)
        values = {
            ("cosine", HALF): (first + second) / 2,
            ("cosine", TO_TRUTH): first,
            ("cosine", TO_PREDICTION): second,
            ("1 - cosine", SUM): 2 - first - second,
            ("1 - cosine", HALF): 1 - (first + second) / 2,
        }
        for (form, ways), value in values.items():
            for factor in PARTS:
                choices = (("sign", sign), ("form", form), ("ways", ways), ("factor", f"{factor:g}"))
                yield "normal_consistency", choices, factor, factor * value


_OWN: dict[str, tuple[str, Choices]] = {
    "chamfer_l1_mean": ("chamfer", (("distance", PLAIN), ("ways", HALF))),
    "chamfer_l1_sum": ("chamfer", (("distance", PLAIN), ("ways", SUM))),
    "chamfer_sq_sum": ("chamfer", (("distance", SQUARED), ("ways", SUM))),
    "chamfer_sq_half": ("chamfer", (("distance", SQUARED), ("ways", HALF))),
    "chamfer_points_sum": ("chamfer", (("distance", ADDED), ("ways", SUM))),
    "accuracy": ("accuracy", (("distance", PLAIN), ("ways", TO_TRUTH))),
    "completeness": ("completeness", (("distance", PLAIN), ("ways", TO_PREDICTION))),
    "hausdorff": ("hausdorff", (("distance", PLAIN), ("ways", GREATER))),
    "normal_consistency": ("normal_consistency", (("sign", "ignored"), ("form", "cosine"), ("ways", HALF))),
    "normal_cosine_loss": ("normal_consistency", (("sign", "ignored"), ("form", "1 - cosine"), ("ways", SUM))),
}


STORED, INTERSECTION = "stored with the truth", "intersection over union"


def drawn_in(points: int, margin: float) -> str:
    """The name of query points drawn in a cube of `margin` longest edges of the truth."""
    return f"{points:,} drawn in a cube of {margin:g} edges"


def family_of(column: SurfaceColumn) -> str:
    """The family that a column of a protocol is of."""
    return _OWN[column.metric][0] if column.metric in _OWN else column.metric


def own_columns(name: str, number: Number, section: SurfaceSection) -> list[str]:
    """The columns of the protocol that a reported number may be: that of its very name, else all of its family."""
    if name in section.columns:
        return [name]
    return [given for given, column in section.columns.items() if family_of(column) == number.family.name]


def own_choices(column: SurfaceColumn, stored: bool) -> Choices:
    """The column's choices on its measure's own axes; `stored`: the truth brings query points for IoU."""
    factor = ("factor", f"{column.factor:g}")
    if isinstance(column, AtRadius | MeshCompletion):
        radius = column.radius
        return (("radius", radius if isinstance(radius, str) else f"{radius:.4g}"), factor)
    if isinstance(column, MeshAccuracy):
        return (("of", f"{100 * column.part:g} % of {column.points:,} points"), factor)
    if isinstance(column, Iou):
        points = STORED if stored else drawn_in(column.points, column.margin)
        return (("query points", points), ("form", INTERSECTION), factor)
    return (*_OWN[column.metric][1], factor)
