"""The plain step that ours is timed against computes the same."""

import importlib.util
from pathlib import Path

import pytest
import torch

from nfbench.baselines.occupancy_network import OccupancyNetworkConfig, entropy, network

SMALL = OccupancyNetworkConfig(
    code=24, encoder_hidden=32, encoder_blocks=3, decoder_hidden=32, decoder_blocks=3, input_points=40
)


@pytest.fixture(scope="module")
def plain_onet():
    path = Path(__file__).parents[2] / "benchmarks" / "plain_onet.py"
    spec = importlib.util.spec_from_file_location("plain_onet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_loss_and_gradients_are_the_same(plain_onet):
    draws = torch.Generator().manual_seed(1)
    ours = network(SMALL, 0).train()
    for parameter in ours.parameters():
        parameter.data += torch.randn(parameter.shape, generator=draws) * 0.1
    plain = plain_onet.plain_of(ours, SMALL).train()
    cloud, xyz, inside = plain_onet.batch_of(SMALL, 4, 100)
    losses = [entropy(net(cloud, xyz), inside) / 4 for net in (ours, plain)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    for loss in losses:
        loss.backward()
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        known = theirs.grad.reshape(mine.shape)
        apart = (mine.grad - known).norm().item()
        assert apart < 1e-5 * known.norm().item() + 1e-4, name  # before a normalisation shifts have but rounding


def test_both_steps_start_alike_and_go_down(plain_onet):
    ours, plain = plain_onet.steps(SMALL, 2, 50)
    first, other = [ours() for _ in range(20)], [plain() for _ in range(20)]
    assert first[0] == pytest.approx(other[0], rel=1e-5) and first[5] == pytest.approx(other[5], rel=1e-3)
    assert first[-1] < first[0] and other[-1] < other[0]
