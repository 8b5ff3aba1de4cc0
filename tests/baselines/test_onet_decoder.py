"""The decoder of Occupancy Networks against slow transcriptions of it, and its own gradient against PyTorch's."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from nfbench.baselines import onet_decoder
from nfbench.baselines.onet_decoder import ConditionalNorm, Decoder


def decoder(hidden=4, blocks=2, code=5, dtype=torch.float64):
    """A decoder none of whose weights is special."""
    draws = torch.Generator().manual_seed(0)
    made = Decoder(code, hidden, blocks).to(dtype)
    for parameter in made.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draws, dtype=dtype) * 0.5
    return made


def batch(shapes=3, points=6, code=5, dtype=torch.float64):
    draws = torch.Generator().manual_seed(1)
    return tuple(torch.randn(size, generator=draws, dtype=dtype) for size in ((shapes, points, 3), (shapes, code)))


def slowly_normed(layer, x, code, training, statistics):
    """relu(gamma n + beta) one channel of one shape after the other; the running statistics are moved along."""
    out = np.zeros_like(x)
    for channel in range(x.shape[2]):
        column = x[:, :, channel]
        centre, spread = column.mean(), column.var()
        if not training:
            centre, spread = statistics[0][channel], statistics[1][channel]
        else:
            statistics[0][channel] = 0.9 * statistics[0][channel] + 0.1 * centre
            statistics[1][channel] = 0.9 * statistics[1][channel] + 0.1 * column.var(ddof=1)
        for shape in range(len(x)):
            gamma = layer.gamma.weight[channel].detach().numpy() @ code[shape] + layer.gamma.bias[channel].item()
            beta = layer.beta.weight[channel].detach().numpy() @ code[shape] + layer.beta.bias[channel].item()
            out[shape, :, channel] = gamma * (column[shape] - centre) / np.sqrt(spread + 1e-5) + beta
    return np.maximum(out, 0)


def through(linear, x):
    return np.einsum("oi,bti->bto", linear.weight.detach().numpy(), x) + linear.bias.detach().numpy()


def test_decoder_against_a_slow_transcription_in_both_modes():
    made, (xyz, code) = decoder(), batch()
    norms = [norm for block in made.blocks for norm in (block.bn_0, block.bn_1)] + [made.bn]
    statistics = [(np.zeros(4), np.ones(4)) for _ in norms]
    for training in (True, True, False):
        found = made.train(training)(xyz, code).detach().numpy()
        x, known = through(made.fc_p, xyz.numpy()), iter(zip(norms, statistics, strict=True))
        for block in made.blocks:
            inner = x
            for linear in (block.fc_0, block.fc_1):
                norm, running = next(known)
                inner = through(linear, slowly_normed(norm, inner, code.numpy(), training, running))
            x = x + inner
        norm, running = next(known)
        slow = through(made.fc_out, slowly_normed(norm, x, code.numpy(), training, running))[:, :, 0]
        np.testing.assert_allclose(found, slow, rtol=1e-9, atol=1e-9)
        for layer, (mean, var) in zip(norms, statistics, strict=True):
            np.testing.assert_allclose(layer.mean, mean, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(layer.var, var, rtol=1e-9, atol=1e-9)


def plainly(made, xyz, code):
    """The training pass in PyTorch's own operations, for their gradient."""
    x = made.fc_p(xyz)

    def normed(norm, x):
        n = functional.batch_norm(x.flatten(0, 1), None, None, training=True).view_as(x)
        return functional.relu(norm.gamma(code)[:, None] * n + norm.beta(code)[:, None])

    for block in made.blocks:
        x = x + block.fc_1(normed(block.bn_1, block.fc_0(normed(block.bn_0, x))))
    return made.fc_out(normed(made.bn, x))[..., 0]


@pytest.mark.parametrize("part", [1, 50, 4 * 7, 4 * 14 + 3, 1 << 17])
def test_gradients_are_those_of_plain_operations_whatever_the_parts(part, monkeypatch):
    monkeypatch.setattr(onet_decoder, "_PART", part)  # from single rows to all shapes at once
    made, (xyz, code) = decoder(blocks=3).train(), batch(shapes=5, points=7)
    weight = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = []
    for run in (made, lambda *given: plainly(made, *given)):
        made.zero_grad()
        point, given = xyz.clone().requires_grad_(), code.clone().requires_grad_()
        out = run(point, given)
        (out.square() * weight).sum().backward()
        found.append([out, point.grad, given.grad, *(p.grad.clone() for p in made.parameters())])
    for ours, plain in zip(*found, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9)


def test_shifts_before_a_normalisation_have_no_gradient_but_the_last_bias_has():
    made, (xyz, code) = decoder().train(), batch()
    made(xyz, code).sum().backward()
    assert all(not block.fc_0.bias.grad.any() and not block.fc_1.bias.grad.any() for block in made.blocks)
    assert made.fc_out.bias.grad.item() == 18


def test_statistics_of_features_far_from_zero_keep_their_digits():
    x = torch.randn(4, 500, 3, generator=torch.Generator().manual_seed(0)) * 1e-2 + 100
    parts = onet_decoder._Statistics()
    for rows in x.split(1):
        parts.add(rows, torch.empty_like(rows))
    mean, var = parts.total()
    np.testing.assert_allclose(mean, x.double().mean((0, 1)), rtol=1e-6)
    np.testing.assert_allclose(var, x.double().var((0, 1), correction=0), rtol=1e-3)


def test_bfloat16_stays_close():
    made, (xyz, code) = decoder(hidden=32, blocks=2, dtype=torch.float32).train(), batch(dtype=torch.float32, points=50)
    grads = []
    for half in (False, True):
        made.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            logits = made(xyz, code)
        logits.square().mean().backward()
        assert logits.dtype == torch.float32
        grads.append((logits.detach(), made.blocks[0].fc_0.weight.grad.clone()))
    for exact, rough in zip(*grads, strict=True):
        apart = ((exact - rough).norm() / exact.norm()).item()
        assert 0 < apart < 0.03


def test_a_fresh_decoder_ignores_the_code_and_starts_with_identity_blocks():
    made, x = Decoder(5, 8, 2).train(), torch.randn(2, 6, 3)
    torch.testing.assert_close(made(x, torch.zeros(2, 5)), made(x, torch.ones(2, 5)))
    norm = ConditionalNorm(5, 4)
    scale, shift = norm.affine(torch.randn(2, 5))
    torch.testing.assert_close(scale, torch.full((2, 4), (1 + 1e-5) ** -0.5))
    assert not shift.any() and not any(block.fc_1.weight.any() for block in made.blocks)
