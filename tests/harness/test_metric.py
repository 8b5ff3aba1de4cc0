import dataclasses
import re

import pytest

from nfbench.harness import surface
from nfbench.harness.column import ImageColumn, SurfaceColumn
from nfbench.harness.metric import LENGTHS, METRICS, Metric

INF = float("inf")
LENGTH, PART = (0, INF), (0, 1)
EXPECTED = {
    "psnr": ("image", "higher", "dB", (-INF, INF)),
    "ssim": ("image", "higher", "1", (-1, 1)),
    "ms_ssim": ("image", "higher", "1", PART),
    "lpips": ("image", "lower", "1", LENGTH),
    "accuracy": ("surface", "lower", "length", LENGTH),
    "completeness": ("surface", "lower", "length", LENGTH),
    "chamfer_l1_mean": ("surface", "lower", "length", LENGTH),
    "chamfer_l1_sum": ("surface", "lower", "length", LENGTH),
    "chamfer_sq_sum": ("surface", "lower", "length^2", LENGTH),
    "chamfer_sq_half": ("surface", "lower", "length^2", LENGTH),
    "chamfer_points_sum": ("surface", "lower", "length*points", LENGTH),
    "hausdorff": ("surface", "lower", "length", LENGTH),
    "mesh_accuracy": ("surface", "lower", "length", LENGTH),
    "mesh_completion": ("surface", "higher", "1", PART),
    "normal_consistency": ("surface", "higher", "1", PART),
    "normal_cosine_loss": ("surface", "lower", "1", (0, 2)),
    "fscore": ("surface", "higher", "1", PART),
    "precision": ("surface", "higher", "1", PART),
    "recall": ("surface", "higher", "1", PART),
    "iou": ("surface", "higher", "1", PART),
    "depth_abs": ("map", "lower", "length", LENGTH),
    "depth_abs_rel": ("map", "lower", "1", LENGTH),
    "depth_sq_rel": ("map", "lower", "length", LENGTH),
    "depth_rmse": ("map", "lower", "length", LENGTH),
    "depth_rmse_log": ("map", "lower", "1", LENGTH),
    **{f"depth_delta{k}": ("map", "higher", "1", PART) for k in (1, 2, 3)},
    **{f"normal_{kind}": ("map", "lower", "degree", (0, 180)) for kind in ("mean", "median", "rmse")},
    **{f"normal_within_{angle}": ("map", "higher", "1", PART) for angle in ("11.25", "22.5", "30")},
    "learn_seconds": ("cost", "lower", "s", LENGTH),
    "fit_seconds": ("cost", "lower", "s", LENGTH),
    "predict_seconds": ("cost", "lower", "s", LENGTH),
    "peak_memory_bytes": ("cost", "lower", "B", LENGTH),
    "parameters": ("cost", "lower", "1", LENGTH),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_direction_unit_and_range(name):
    metric = METRICS[name]
    assert (metric.section, metric.better, metric.unit, (metric.low, metric.high)) == EXPECTED[name]
    assert type(metric.low) is not bool
    assert metric.name == name
    assert metric.summary.endswith(".")
    with pytest.raises(dataclasses.FrozenInstanceError):
        metric.low = 3


def test_no_metric_is_left_out():
    assert list(METRICS) == list(EXPECTED)
    assert all(isinstance(metric, Metric) for metric in METRICS.values())


def test_every_metric_of_a_section_is_one_of_its_columns_and_a_function():
    columns = {"image": ImageColumn, "surface": SurfaceColumn}
    for section, union in columns.items():
        kinds = union.__origin__.__args__
        named = {name for kind in kinds for name in kind.model_fields["metric"].annotation.__args__}
        assert named == {name for name, metric in METRICS.items() if metric.section == section}
    assert all(callable(getattr(surface, name)) for name, metric in METRICS.items() if metric.section == "surface")


def test_units_of_length_are_written_in_the_protocols_own():
    assert {unit: text.format("mm") for unit, text in LENGTHS.items()} == {
        "length": "mm",
        "length^2": "mm^2 (squared)",
        "length*points": "mm, summed over points",
    }
    assert all(metric.unit in LENGTHS or re.fullmatch("1|dB|s|B|degree", metric.unit) for metric in METRICS.values())
