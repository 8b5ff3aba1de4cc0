"""On a GPU every baseline computes what it computes on a CPU. Skipped where there is no GPU."""

from typing import Any

import numpy as np
import pytest
import torch

from nfbench.baselines.deepsdf import DeepSdf, DeepSdfShape
from nfbench.baselines.idr import Idr
from nfbench.baselines.nerf import Nerf
from nfbench.baselines.occupancy_network import OccupancyNetwork, OccupancyNetworkVoxels
from nfbench.baselines.srn import Srn
from nfbench.harness.method import Budget
from nfbench.harness.probe import ball

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

METHODS: tuple[Any, ...] = (Nerf, Idr, DeepSdf, DeepSdfShape, OccupancyNetwork, OccupancyNetworkVoxels, Srn)
POINTS = np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 3)).astype(np.float32)


def fitted(method, scene, steps):
    """A field after a few steps, behind a prior of as few where the method has one."""
    if hasattr(method, "learn"):
        method.learn([scene], Budget(steps=steps))
    return method.fit(scene.seen(), Budget(steps=steps))


def answers(field, scene):
    """What a field gives, as arrays by name."""
    found = {"value": field.value(POINTS)} if hasattr(field, "value") else {}
    return found | ({"render": field.render(scene.hidden.cameras)} if hasattr(field, "render") else {})


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_a_field_of_the_cpu_gives_the_same_on_the_gpu(kind, tmp_path):
    scene, config = ball(tmp_path / "scene"), kind.presets["tiny"]
    field = fitted(kind(config, 0, "cpu"), scene, 20)
    field.save(tmp_path / "field")
    there = answers(kind(config, 0, "cuda").restore(tmp_path / "field"), scene)
    for name, here in answers(field, scene).items():
        size = max(float(np.abs(here).max()), 1e-3)
        # a ray that grazes a surface may end elsewhere, hence a mean
        assert np.abs(there[name] - here).mean() < 1e-3 * size, name


@pytest.mark.parametrize("preset", ["fast", "tiny"])
@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_training_on_the_gpu_gives_numbers(kind, preset, tmp_path):
    scene = ball(tmp_path)
    found = answers(fitted(kind(kind.presets[preset], 0, "cuda"), scene, 6), scene)
    assert found and all(np.isfinite(array).all() for array in found.values())
