"""What each metric measures: direction, unit and range, kept in one place and read by scores, boards and lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """A quantity that is measured.

    Attributes:
        name: as protocols name it.
        section: what it measures. Protocols choose from `image` and `surface`; `map`, of depth or normals, is to be had
            from Python; `cost` is in every record.
        better: `higher` or `lower`.
        unit: `dB`, `s`, `B`, `degree`, `1` for a plain number, or one of `LENGTHS`, whose unit the protocol says.
        low: the least value there can be.
        high: the greatest.
        summary: the definition in one sentence.
    """

    name: str
    section: Literal["image", "surface", "map", "cost"]
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
        Metric("depth_abs", "map", "lower", "length", 0, _INF, "Mean absolute error of depth."),
        Metric("depth_abs_rel", "map", "lower", "1", 0, _INF, "Mean absolute error of depth, as part of the true one."),
        Metric("depth_sq_rel", "map", "lower", "length", 0, _INF, "Mean squared error of depth over the true one."),
        Metric("depth_rmse", "map", "lower", "length", 0, _INF, "Root of the mean squared error of depth."),
        Metric("depth_rmse_log", "map", "lower", "1", 0, _INF, "The same of the natural logarithm of depth."),
        Metric("depth_delta1", "map", "higher", "1", 0, 1, "Part of pixels within a factor 1.25 of the true depth."),
        Metric("depth_delta2", "map", "higher", "1", 0, 1, "The same for a factor of 1.25^2."),
        Metric("depth_delta3", "map", "higher", "1", 0, 1, "The same for a factor of 1.25^3."),
        Metric("normal_mean", "map", "lower", "degree", 0, 180, "Mean angle between normals."),
        Metric("normal_median", "map", "lower", "degree", 0, 180, "Median angle between normals."),
        Metric("normal_rmse", "map", "lower", "degree", 0, 180, "Root of the mean squared angle between normals."),
        Metric("normal_within_11.25", "map", "higher", "1", 0, 1, "Part of normals within 11.25 degrees."),
        Metric("normal_within_22.5", "map", "higher", "1", 0, 1, "Part of normals within 22.5 degrees."),
        Metric("normal_within_30", "map", "higher", "1", 0, 1, "Part of normals within 30 degrees."),
        Metric("learn_seconds", "cost", "lower", "s", 0, _INF, "Wall time of learning the prior, once for all scenes."),
        Metric("fit_seconds", "cost", "lower", "s", 0, _INF, "Wall time of fitting one scene."),
        Metric("predict_seconds", "cost", "lower", "s", 0, _INF, "Wall time of rendering and extracting one scene."),
        Metric("peak_memory_bytes", "cost", "lower", "B", 0, _INF, "Highest memory, of the GPU where there is one."),
        Metric("parameters", "cost", "lower", "1", 0, _INF, "Trainable numbers of the field."),
    )
}
