import json
import math

import numpy as np
import pytest
import torch

from nfbench.baselines.encoding import encode
from nfbench.baselines.nerf import OFFICIAL, RadianceNetwork, official_networks

SMALL = {"layers": 4, "width": 12, "skip": 2, "feature": True, "view_width": 6, "frequencies": 3, "view_frequencies": 2}
KINDS = {"paper": {}, "no skip": {"skip": 0}, "no feature": {"feature": False, "skip": 3}}


def network(**changes):
    made = RadianceNetwork(**(SMALL | changes), generator=torch.Generator().manual_seed(0)).double()
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.uniform_(parameter, -0.3, 0.3, generator=torch.Generator().manual_seed(1))
    return made


def inputs(rays=5, samples=4):
    generator = torch.Generator().manual_seed(3)
    xyz = torch.rand(rays * samples, 3, dtype=torch.float64, generator=generator) * 2 - 1
    directions = torch.randn(rays, 3, dtype=torch.float64, generator=generator)
    return xyz, directions / directions.norm(dim=1, keepdim=True)


def written_out(made, xyz, directions):
    """The layers of figure 7 one after the other, for one direction a point, with concatenation and autograd."""
    first = hidden = encode(xyz, made.frequencies)
    for index, layer in enumerate(made.trunk):
        hidden = torch.cat([first, hidden], 1) if index and index == made.skip else hidden
        hidden = torch.einsum("pi,oi->po", hidden, layer.weight) + layer.bias
        hidden = torch.where(hidden > 0, hidden, 0.0)
    seen = torch.cat([made.feature(hidden), encode(directions, made.view_frequencies)], 1)
    seen = torch.einsum("pi,oi->po", seen, made.view.weight) + made.view.bias
    seen = torch.where(seen > 0, seen, 0.0)
    return (hidden @ made.sigma.weight[0]) + made.sigma.bias, seen @ made.rgb.weight.t() + made.rgb.bias


def loss_of(sigma, rgb):
    number = torch.arange(len(sigma), dtype=torch.float64)
    return ((sigma.double() * torch.sin(number)) + (rgb.double() * torch.cos(number)[:, None]).sum(1)).sum()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grouped", [True, False])
def test_values_and_gradients_against_the_layers_written_out(kind, grouped):
    made = network(**KINDS[kind])
    xyz, directions = inputs()
    ray = torch.arange(5).repeat_interleave(4)
    if not grouped:
        ray = ray[torch.randperm(20, generator=torch.Generator().manual_seed(0))]
    expected = written_out(made, xyz, directions[ray])
    gradients = torch.autograd.grad(loss_of(*expected), list(made.parameters()))
    found = made(xyz, directions, None if grouped else ray)
    assert all(torch.allclose(a, b, rtol=1e-12, atol=1e-12) for a, b in zip(found, expected, strict=True))
    again = torch.autograd.grad(loss_of(*found), list(made.parameters()))
    for name, one, two in zip(dict(made.named_parameters()), gradients, again, strict=True):
        assert torch.allclose(one, two, rtol=1e-10, atol=1e-12), name
    with torch.no_grad():
        assert torch.equal(made(xyz, directions, None if grouped else ray)[0], found[0])


def test_gradient_by_finite_differences():
    made = network()
    xyz, directions = inputs(2, 3)
    weight = made.trunk[1].weight
    loss_of(*made(xyz, directions)).backward()
    with torch.no_grad():
        for at in ((0, 0), (3, 7), (11, 2)):
            weight[at] += 1e-6
            up = loss_of(*made(xyz, directions))
            weight[at] -= 2e-6
            down = loss_of(*made(xyz, directions))
            weight[at] += 1e-6
            assert float(up - down) / 2e-6 == pytest.approx(float(weight.grad[at]), abs=1e-6)


def test_density_is_the_same_and_lets_gradients_through_to_the_points():
    made = network()
    xyz, directions = inputs()
    xyz.requires_grad_()
    sigma = made.density(xyz)
    assert torch.allclose(sigma, made(xyz.detach(), directions)[0], rtol=1e-12)
    (gradient,) = torch.autograd.grad(sigma.sum(), xyz)
    shift = torch.zeros_like(xyz)
    shift[:, 1] = 1e-6
    with torch.no_grad():
        numeric = (made.density(xyz + shift) - made.density(xyz - shift)) / 2e-6
    assert torch.allclose(gradient[:, 1], numeric, atol=1e-6)


def test_bfloat16_agrees_to_its_precision():
    made = network(width=64, view_width=32).float()
    xyz, directions = (tensor.float() for tensor in inputs(20, 16))
    whole, half = made(xyz, directions), made(xyz, directions, dtype=torch.bfloat16)
    for one, two in zip(whole, half, strict=True):
        assert two.dtype == torch.float32
        assert 0 < (one - two).norm() / one.norm() < 0.02
    gradients = [torch.autograd.grad(loss_of(*found), list(made.parameters())) for found in (whole, half)]
    for one, two in zip(*gradients, strict=True):
        assert two.dtype == torch.float32 and torch.nn.functional.cosine_similarity(one, two, dim=0).mean() > 0.9


def test_initialisation_is_uniform_by_glorot_with_zero_biases_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    made = RadianceNetwork(
        layers=8, width=256, skip=5, feature=True, view_width=128, frequencies=10, view_frequencies=4,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert torch.equal(state, torch.get_rng_state())
    assert sum(p.numel() for p in made.parameters()) == 595_844
    for name, parameter in made.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            bound = math.sqrt(6 / sum(parameter.shape))
            assert parameter.abs().max() <= bound
            assert float(parameter.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.15), name


def test_encoding_against_a_slow_transcription():
    x = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4 - 2
    for row, encoded in zip(x.tolist(), encode(x, 6).tolist(), strict=True):
        expected = list(row)
        for octave in range(6):
            expected += [math.sin(2**octave * c) for c in row] + [math.cos(2**octave * c) for c in row]
        assert encoded == pytest.approx(expected, abs=1e-12)


def hashed(k, shape):
    i = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(2654435761) + np.uint64((k + 1) * 40503)) & mask
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & mask
    h ^= h >> np.uint64(16)
    u = 2 * h.astype(np.float64) / 2**32 - 1
    return (u * (math.sqrt(6 / math.prod(shape[1:])) if len(shape) > 1 else 0.1)).reshape(shape)


def wave(shape, amplitude, phase):
    return amplitude * np.sin(0.61 * np.arange(1, math.prod(shape) + 1) + phase).reshape(shape)


def test_agrees_with_the_original(real_data):
    file = real_data.parent / "reference" / "network_fingerprints.json"
    reference = json.loads(file.read_text())["networks"]["NeRF"]
    filled = {name: torch.from_numpy(hashed(k, shape)) for k, (name, shape) in enumerate(reference["parameters"])}
    other = {name: torch.zeros_like(tensor) for name, tensor in filled.items()}
    ours = official_networks({"network_fn_state_dict": other, "network_fine_state_dict": filled})
    made = RadianceNetwork(
        layers=OFFICIAL.layers, width=OFFICIAL.width, skip=OFFICIAL.skip, feature=True, view_width=OFFICIAL.view_width,
        frequencies=OFFICIAL.frequencies, view_frequencies=OFFICIAL.view_frequencies, generator=torch.Generator(),
    ).double()  # fmt: skip
    made.load_state_dict({name[2:]: tensor for name, tensor in ours.items() if name.startswith("1.")})
    assert sum(p.numel() for p in made.parameters()) == reference["total_parameters"]
    directions = wave((7, 3), 1, 1)
    directions = torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    with torch.no_grad():
        sigma, rgb = made(torch.from_numpy(wave((7, 3), 0.8, 0)), directions)
    expected = reference["fingerprint"]["hash"]["raw_rgb_sigma[7x4] (columns r,g,b before sigmoid, sigma before relu)"]
    np.testing.assert_allclose(torch.cat([rgb, sigma[:, None]], 1), expected, rtol=1e-8, atol=1e-8)
    encoded = encode(torch.from_numpy(wave((7, 3), 0.8, 0)), 10)[0]
    np.testing.assert_allclose(encoded, reference["encoding_of_first_point"], atol=1e-9)
