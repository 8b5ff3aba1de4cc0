import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from nfbench.baselines.idr import (
    Colour,
    Idr,
    IdrConfig,
    IdrField,
    encode,
    official_networks,
)

SMALL = IdrConfig(
    layers=4,
    width=32,
    skip=2,
    features=8,
    colour_layers=2,
    colour_width=16,
    pixels=64,
    samples=24,
    secants=4,
    rate=1e-3,
)
TINY = dataclasses.replace(Idr.presets["tiny"], width=32, colour_width=32, features=8, guide=32, pixels=256)
SPHERE = ((0.0, 0.0, 0.0), 1.0)
WHITE = (1.0, 1.0, 1.0)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def field_of(config, seed=0, sphere=SPHERE):
    return IdrField(config, sphere, WHITE, "cpu", seed)


def shaken(field, amount=0.1, seed=0):
    """The field with parameters that are no longer those of a sphere."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in field.networks.parameters():
            parameter += amount * parameter.abs().mean() * torch.randn(parameter.shape, generator=generator)
    return field


def hashed(k, shape):
    i = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    mask = np.uint64(0xFFFFFFFF)
    h = (i * np.uint64(2654435761) + np.uint64((k + 1) * 40503)) & mask
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & mask
    h ^= h >> np.uint64(16)
    u = 2 * h.astype(np.float64) / 2**32 - 1
    fan = math.prod(shape[1:])
    if len(shape) == 1:
        return 0.1 * u.reshape(shape)
    return ((math.sqrt(6 / fan) * u) if fan > 1 else 1.4 + 0.1 * u).reshape(shape)


def wave(shape, amplitude, phase):
    return amplitude * np.sin(0.61 * np.arange(1, math.prod(shape) + 1) + phase).reshape(shape)


def test_networks_agree_with_the_original(real_data):
    file = real_data.parent / "reference" / "network_fingerprints.json"
    reference = json.loads(file.read_text())["networks"]["IDR"]
    state = {}
    for part, prefix in (("implicit", "implicit_network"), ("rendering", "rendering_network")):
        for k, (name, shape) in enumerate(reference[part]["parameters"]):
            state[f"module.{prefix}.{name}"] = torch.from_numpy(hashed(k, shape))
    field = field_of(IdrConfig())
    field.networks.double().load_state_dict(official_networks({"epoch": 3, "model_state_dict": state}))
    directions = wave((7, 3), 1, 1)
    directions = torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    x = torch.from_numpy(wave((7, 3), 0.8, 0))
    with torch.no_grad():
        answer = field.geometry(x, field.geometry.folded())
        colours = field.colour(x, answer.gradient, directions, answer.features)
    expected = reference["fingerprint"]["hash"]
    np.testing.assert_allclose(answer.distance, expected["sdf[7]"], rtol=1e-8)
    np.testing.assert_allclose(field.geometry.distances(x, field.geometry.folded()), expected["sdf[7]"], rtol=1e-8)
    np.testing.assert_allclose(answer.gradient, expected["gradient[7x3]"], rtol=1e-8)
    rgb = next(value for name, value in expected.items() if name.startswith("rgb"))
    np.testing.assert_allclose(colours, rgb, rtol=1e-8)
    features = next(value for name, value in expected.items() if name.startswith("features"))
    np.testing.assert_allclose(answer.features.flatten()[:6], features["first"], rtol=1e-8)
    for found, name in ((answer.features.sum(), "sum"), (answer.features.abs().sum(), "abs_sum")):
        np.testing.assert_allclose(found, features[name], rtol=1e-8)


def test_parameters_are_as_many_as_the_original_has():
    field = field_of(IdrConfig())
    counts = [sum(p.numel() for p in network.parameters()) for network in (field.geometry, field.colour)]
    assert counts == [1_975_220, 940_038] and field.parameters == 2_915_258


def test_starts_as_a_sphere():
    """Section 4 of Atzmon and Lipman 2020: value at radius r is about r - bias; here to 2 % of it, averaged."""
    field = field_of(IdrConfig(), seed=1)
    towards = np.random.default_rng(0).normal(size=(400, 3)).astype(np.float32)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    for radius in (0.1, 0.3, 0.9, 1.0):
        value = field.value(radius * towards)
        assert abs(value.mean() - (radius - 0.6)) < 0.02 * abs(radius - 0.6)
    weights = [layer.weight_v for layer in field.geometry.layers]
    assert float(weights[0][:, 3:].abs().max()) == 0 and float(weights[4][:, 512 - 36 :].abs().max()) == 0
    assert float(weights[1].std()) == pytest.approx(math.sqrt(2 / 512), rel=0.01)
    assert float(weights[3].std()) == pytest.approx(math.sqrt(2 / 473), rel=0.01)
    assert float(weights[8].mean()) == pytest.approx(math.sqrt(math.pi / 512), rel=1e-4)
    assert float(weights[8].std()) == pytest.approx(1e-4, rel=0.02)
    assert all(float(layer.bias.abs().max()) == 0 for layer in field.geometry.layers[:-1])
    assert torch.equal(field.geometry.layers[8].bias, torch.full((257,), -0.6))


def slow_geometry(geometry, x):
    """Distance and features of one point (3,), in loops over the numbers of each layer."""
    config = geometry.config
    encoded = list(x)
    for octave in range(config.frequencies):
        encoded += [math.sin(2**octave * c) for c in x] + [math.cos(2**octave * c) for c in x]
    hidden = encoded
    for index, layer in enumerate(geometry.layers):
        v, g, bias = layer.weight_v.tolist(), layer.weight_g[:, 0].tolist(), layer.bias.tolist()
        if index == config.skip and index:
            hidden = [h / math.sqrt(2) for h in hidden + encoded]
        rows = []
        for row, scale, b in zip(v, g, bias, strict=True):
            length = math.sqrt(sum(w * w for w in row))
            rows.append(b + scale * sum(w * h for w, h in zip(row, hidden, strict=True)) / length)
        last = index == len(geometry.layers) - 1
        hidden = rows if last else [max(a, 0) + math.log1p(math.exp(-abs(a) * 100)) / 100 for a in rows]
    return hidden


def test_geometry_against_a_slow_transcription_and_finite_differences():
    field = shaken(field_of(SMALL))
    field.networks.double()
    x = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 1.6 - 0.8
    weights = field.geometry.folded()
    answer = field.geometry(x, weights)
    for i, point in enumerate(x.tolist()):
        distance, *features = slow_geometry(field.geometry, point)
        assert float(answer.distance[i]) == pytest.approx(distance, rel=1e-9, abs=1e-12)
        assert answer.features[i].tolist() == pytest.approx(features, rel=1e-9, abs=1e-12)
        for axis in range(3):
            beside = [[c + sign * 1e-6 * (a == axis) for a, c in enumerate(point)] for sign in (-1, 1)]
            low, high = (slow_geometry(field.geometry, p)[0] for p in beside)
            assert float(answer.gradient[i, axis]) == pytest.approx((high - low) / 2e-6, rel=1e-4, abs=1e-6)
    assert field.geometry(x, weights, features=False).features.shape == (4, 0)
    torch.testing.assert_close(field.geometry.distances(x, weights), answer.distance, rtol=1e-12, atol=1e-12)


def test_the_gradient_in_closed_form_is_that_of_autograd_to_the_second_order():
    field = shaken(field_of(dataclasses.replace(SMALL, growing=0.5)))
    field.networks.double()
    field.geometry.grow(0.2)  # some frequencies partly in
    x = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    own = field.geometry(x, field.geometry.folded()).gradient
    parameters = list(field.geometry.parameters())
    first = torch.autograd.grad((own.norm(dim=1) - 1).square().sum(), [x, *parameters[:-1]], allow_unused=True)

    def plain(x):  # the same network by torch's functions alone
        encoded = encode(x, 6) * field.geometry.reach
        hidden = encoded
        for index, layer in enumerate(field.geometry.layers):
            if index == 2:
                hidden = torch.cat([hidden, encoded], 1) / math.sqrt(2)
            weight = layer.weight_v * (layer.weight_g / layer.weight_v.norm(dim=1, keepdim=True))
            hidden = hidden @ weight.T + layer.bias
            hidden = torch.nn.functional.softplus(hidden, 100) if index < 4 else hidden
        return hidden[:, 0]

    (theirs,) = torch.autograd.grad(plain(x).sum(), x, create_graph=True)
    torch.testing.assert_close(own, theirs, rtol=1e-9, atol=1e-12)
    second = torch.autograd.grad((theirs.norm(dim=1) - 1).square().sum(), [x, *parameters[:-1]], allow_unused=True)
    for mine, reference in zip(first, second, strict=True):
        torch.testing.assert_close(
            *(g if g is not None else torch.zeros(1, dtype=x.dtype) for g in (mine, reference)), rtol=1e-8, atol=1e-11
        )


def test_colour_against_a_slow_transcription():
    colour = Colour(SMALL, torch.Generator().manual_seed(0)).double()
    generator = torch.Generator().manual_seed(1)
    x, n, v, z = (torch.randn(3, k, dtype=torch.float64, generator=generator) for k in (3, 3, 3, 8))
    found = colour(x, n, v, z)
    for i in range(3):
        hidden = torch.cat([x[i], encode(v, 4)[i], n[i], z[i]])
        for index, layer in enumerate(colour.layers):
            weight = torch.einsum(
                "o,oi->oi", layer.weight_g[:, 0] / layer.weight_v.square().sum(1).sqrt(), layer.weight_v
            )
            hidden = torch.einsum("oi,i->o", weight, hidden) + layer.bias
            hidden = hidden.clamp_min(0) if index < 2 else (1 - 2 / (torch.exp(2 * hidden) + 1))
        torch.testing.assert_close(found[i], hidden)
