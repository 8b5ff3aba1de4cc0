"""What each metric measures: direction, unit and range, kept in one place and read by scores, boards and lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A quantity that a protocol can put into a column.

    Attributes:
        name: as protocols name it.
        section: what it measures, `image` or `surface`, or `cost`, which every record tells and no protocol chooses.
        better: `higher` or `lower`.
        unit: `dB`, `s`, `B`, `1` for a plain number, or one of `LENGTHS`, where the protocol says what a length is in.
        low: the least value there can be.
        high: the greatest.
        summary: the definition in one sentence.
    """

    name: str
    section: Literal["image", "surface", "cost"]
    better: Literal["higher", "lower"]
    unit: str
    low: float
    high: float
    summary: str


_INF = float("inf")

LENGTHS = {"length": "{}", "length^2": "{}^2 (squared)", "length*points": "{}, summed over points"}
"""Units made of the protocol's unit of length, as they are written with it in place of the braces."""

METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("psnr", "image", "higher", "dB", -_INF, _INF, "10 log10(1 / mean squared error) of one image."),
        Metric("ssim", "image", "higher", "1", -1, 1, "Structural similarity, mean over pixels and channels."),
        Metric("ms_ssim", "image", "higher", "1", 0, 1, "Structural similarity over five scales, mean over channels."),
        Metric("lpips", "image", "lower", "1", 0, _INF, "Learned perceptual distance, network and version named."),
        Metric("accuracy", "surface", "lower", "length", 0, _INF, "Mean distance from prediction to truth."),
        Metric("completeness", "surface", "lower", "length", 0, _INF, "Mean distance from truth to prediction."),
        Metric("chamfer_l1_mean", "surface", "lower", "length", 0, _INF, "Half of accuracy plus completeness."),
        Metric("chamfer_l1_sum", "surface", "lower", "length", 0, _INF, "Accuracy plus completeness."),
        Metric("chamfer_sq_sum", "surface", "lower", "length^2", 0, _INF, "Sum of both mean squared distances."),
        Metric("chamfer_sq_half", "surface", "lower", "length^2", 0, _INF, "Half of chamfer_sq_sum."),
        Metric("chamfer_points_sum", "surface", "lower", "length*points", 0, _INF, "Sum of all points' distances."),
        Metric("hausdorff", "surface", "lower", "length", 0, _INF, "The greatest distance of either way."),
        Metric("mesh_accuracy", "surface", "lower", "length", 0, _INF, "Distance holding 90 % of the prediction."),
        Metric("mesh_completion", "surface", "higher", "1", 0, 1, "Part of the truth near the prediction's points."),
        Metric("normal_consistency", "surface", "higher", "1", 0, 1, "Mean |cos| of nearest normals, both ways."),
        Metric("normal_cosine_loss", "surface", "lower", "1", 0, 2, "Mean 1 - |cos| of nearest normals, ways added."),
        Metric("fscore", "surface", "higher", "1", 0, 1, "Harmonic mean of precision and recall at a radius."),
        Metric("precision", "surface", "higher", "1", 0, 1, "Part of the prediction within a radius of the truth."),
        Metric("recall", "surface", "higher", "1", 0, 1, "Part of the truth within a radius of the prediction."),
        Metric("iou", "surface", "higher", "1", 0, 1, "Volume intersection over union at the truth's query points."),
        Metric(
            "learn_seconds", "cost", "lower", "s", 0, _INF, "Wall time of learning the prior, shared by all scenes."
        ),
        Metric("fit_seconds", "cost", "lower", "s", 0, _INF, "Wall time of fitting one scene."),
        Metric("predict_seconds", "cost", "lower", "s", 0, _INF, "Wall time of rendering and extracting one scene."),
        Metric("peak_memory_bytes", "cost", "lower", "B", 0, _INF, "Highest memory, of the GPU where there is one."),
        Metric("parameters", "cost", "lower", "1", 0, _INF, "Trainable numbers of the field."),
    )
}
