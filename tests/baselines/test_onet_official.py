"""Occupancy Networks filled under the released names, against the outputs of the released networks."""

import json

import numpy as np
import pytest
import torch

from nfbench.baselines.occupancy_network import (
    Network,
    OccupancyField,
    OccupancyNetwork,
    OccupancyNetworkConfig,
    OccupancyNetworkImage,
    OccupancyNetworkImageConfig,
    OccupancyNetworkVoxels,
    OccupancyNetworkVoxelsConfig,
    network,
    official_networks,
)
from nfbench.harness.errors import DataCorrupt
from nfbench.harness.method import Budget
from nfbench.harness.probe import ball

DECODER = "decoder_cbatchnorm_c{}_z0 (configs/{}/onet.yaml)"
CODES = {
    OccupancyNetworkConfig: (DECODER.format(512, "pointcloud"), "encoder_ResnetPointnet_c512_hidden512"),
    OccupancyNetworkImageConfig: (DECODER.format(256, "img"), "encoder_Resnet18_c256"),
}


def wave(shape, amplitude, phase):
    return torch.from_numpy(amplitude * np.sin(0.61 * (np.arange(np.prod(shape)) + 1) + phase).reshape(shape))


def hashed(k, count):
    """The fingerprints' integer stream for parameter k, as numbers in [-1,1)."""
    h = ((np.arange(count, dtype=np.uint64) + 1) * 2654435761 + (k + 1) * 40503) % 2**32
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        h = ((h ^ (h >> shift)) * factor) % 2**32
    return 2 * (h ^ (h >> 16)).astype(np.float64) / 2**32 - 1


def test_the_integer_stream_is_the_one_of_the_fingerprints():
    np.testing.assert_allclose((hashed(0, 2) + 1) / 2, [0.24189440556801856, 0.9901073360815644], rtol=1e-14)
    np.testing.assert_allclose((hashed(5, 3)[2] + 1) / 2, 0.031215242110192776, rtol=1e-14)


def filled(prefix, listed):
    """Tensors in float64 under the released names, with the statistics that go with normalisation."""
    state = {}
    for k, (name, shape) in enumerate(listed):
        u, fan = hashed(k, int(np.prod(shape))), np.prod(shape[1:])
        norm = len(shape) == 1 and name.endswith("weight")
        values = np.sqrt(6 / fan) * u if len(shape) > 1 else (1.0 if norm else 0.0) + 0.1 * u
        state[f"{prefix}.{name}"] = torch.from_numpy(values.reshape(shape))
        if norm or name.endswith("conv_beta.bias"):
            layer = f"{prefix}.{name.removesuffix('.weight').removesuffix('.conv_beta.bias')}{'' if norm else '.bn'}"
            width = torch.zeros(shape[0], dtype=torch.float64)
            state |= {f"{layer}.running_mean": width, f"{layer}.running_var": width + 1}
            state[f"{layer}.num_batches_tracked"] = torch.tensor(7)
    return state


@pytest.fixture(scope="module")
def released(real_data):
    path = real_data.parent / "reference" / "network_fingerprints.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return json.loads(path.read_text())["networks"]["ONet"]


def taken(released, config):
    """Our network in float64 with the fingerprints' weights, and the outputs to be met."""
    decoder, encoder = (released[name]["parameters"] for name in CODES[type(config)])
    state = {"model": filled("decoder", decoder) | filled("encoder", encoder), "epoch_it": 3, "optimizer": {}}
    net = Network(config).double().eval()
    net.load_state_dict(official_networks(state, config))
    return net, released["fingerprint"]["hash"]


@pytest.fixture(scope="module")
def points(released):
    return taken(released, OccupancyNetworkConfig())


POINTS, CLOUD, CODE = wave((2, 7, 3), 0.5, 0), wave((2, 20, 3), 0.5, 6), wave((2, 512), 0.3, 2)


def assert_summary(found, known):
    expected = [*known["first"], known["sum"], known["abs_sum"], known["l2"]]
    found = found.detach().reshape(-1)
    np.testing.assert_allclose([*found[:6], found.sum(), found.abs().sum(), found.norm()], expected, rtol=1e-8)


def test_point_cloud_model(points):
    net, expected = points
    logits = expected["decoder_c512 eval (running mean 0, var 1), c fixed: logits[2x7]"]
    np.testing.assert_allclose(net.decoder(POINTS, CODE).detach(), logits, rtol=1e-8, atol=1e-9)
    codes = net.encoder(CLOUD).detach()
    for code, known in zip(codes, expected["encoder_ResnetPointnet c[2x512]"], strict=True):
        assert_summary(code, known)
    found = net.decoder(POINTS, codes / 1000).detach()
    np.testing.assert_allclose(found, expected["encoder -> c/1000 -> decoder eval: logits[2x7]"], rtol=1e-8)


def test_the_specialised_field_gives_the_released_logits(points):
    net, expected = points
    logits = expected["decoder_c512 eval (running mean 0, var 1), c fixed: logits[2x7]"]
    for i in range(2):
        field = OccupancyField(net.decoder.specialise(CODE[i : i + 1]), 0, "cpu", "onet")
        np.testing.assert_allclose(field._logits(POINTS[i]), logits[i], rtol=1e-8, atol=1e-9)


def test_batch_statistics_are_those_of_the_released_decoder(released):
    net, expected = taken(released, OccupancyNetworkConfig())
    logits = expected["decoder_c512 train mode (batch statistics over 2x7), c fixed: logits[2x7]"]
    np.testing.assert_allclose(net.decoder.train()(POINTS, CODE).detach(), logits, rtol=1e-8, atol=1e-9)
    statistics = expected["after that one train-mode pass (momentum 0.1): block0.bn_0 running_mean, running_var"]
    first = net.decoder.blocks[0].bn_0
    for found, known in zip((first.mean, first.var), statistics, strict=True):
        np.testing.assert_allclose(found[:6], known["first"], rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose([found.abs().sum(), found.norm()], [known["abs_sum"], known["l2"]], rtol=1e-8)


def test_image_model(released):
    net, expected = taken(released, OccupancyNetworkImageConfig())
    code = net.encoder(0.5 + 0.5 * wave((1, 3, 224, 224), 1, 4)).detach()
    assert_summary(code, expected["encoder_Resnet18 eval c[1x256]"])
    found = net.decoder(POINTS[:1], code / 1000).detach()
    np.testing.assert_allclose(found, expected["Resnet18 -> c/1000 -> decoder_c256 eval: logits[1x7]"], rtol=1e-8)
    fixed = net.decoder(POINTS, wave((2, 256), 0.3, 2)).detach()
    np.testing.assert_allclose(fixed, expected["decoder_c256 eval, c fixed: logits[2x7]"], rtol=1e-8)


def test_parameter_counts_are_those_of_the_released_models():
    counts = {}
    for method in (OccupancyNetwork, OccupancyNetworkImage, OccupancyNetworkVoxels):
        net = network(method.presets["paper"], 0)
        counts[method] = [sum(p.numel() for p in part.parameters()) for part in (net.decoder, net.encoder)]
        assert method.presets["paper"] == method.Config()
    assert counts[OccupancyNetwork] == [3_548_417, 6_825_472]  # 10,373,889
    assert counts[OccupancyNetworkImage] == [2_106_625, 11_307_840]  # 13,414,465
    convolutions = sum(27 * a * b + b for a, b in ((1, 32), (32, 64), (64, 128), (128, 256), (256, 512)))
    assert counts[OccupancyNetworkVoxels] == [2_106_625, convolutions + 256 * (4096 + 1)]


# --------------------------------------------------------------------------------- small models under released names

SMALL = {"code": 6, "decoder_hidden": 5, "decoder_blocks": 2}
CONFIGS = {
    OccupancyNetwork: OccupancyNetworkConfig(**SMALL, encoder_hidden=4, encoder_blocks=3),
    OccupancyNetworkImage: OccupancyNetworkImageConfig(**SMALL, side=32, width=2),
    OccupancyNetworkVoxels: OccupancyNetworkVoxelsConfig(**SMALL, width=1),
}


def official(net):
    """The state dict of a network of ours as the original code would name and shape it."""
    state = {}
    for name, value in net.state_dict().items():
        part, _, rest = name.partition(".")
        if part == "decoder":
            rest = rest.replace("blocks.", "block").replace(".gamma.", ".conv_gamma.").replace(".beta.", ".conv_beta.")
            for statistic in ("mean", "var"):
                if rest.endswith(f".{statistic}"):
                    rest = f"{rest.removesuffix(statistic)}bn.running_{statistic}"
            value = value[..., None] if value.ndim == 2 else value
        else:
            rest = rest.replace("blocks.", "block_")
        state[f"{part}.{rest}"] = value
    return state


@pytest.mark.parametrize("method", CONFIGS)
def test_every_kind_of_released_model_is_taken_over_and_saved(method, tmp_path):
    source, scene = network(CONFIGS[method], 5), ball(tmp_path / "ball").seen()
    learner, again = method(CONFIGS[method]), method(CONFIGS[method])
    learner.adopt({"model": {f"module.{name}": value for name, value in official(source).items()}})
    learner.save(tmp_path)
    again.load(tmp_path)
    source.eval()
    with torch.no_grad():
        logits = source(learner._seen(scene), torch.from_numpy(scene.given.samples.xyz[None]))
    for one in (learner, again):
        np.testing.assert_allclose(
            one.fit(scene, Budget()).value(scene.given.samples.xyz), torch.sigmoid(logits[0]), atol=1e-5
        )


def test_what_does_not_fit_is_named():
    config = CONFIGS[OccupancyNetwork]
    good = official(network(config, 0))
    assert official_networks(good, config).keys() == network(config, 0).state_dict().keys()
    missing = {name: value for name, value in good.items() if name != "decoder.fc_p.bias"}
    for state, words in (
        (missing, "decoder.fc_p.bias is missing"),
        (good | {"encoder_latent.fc.weight": torch.zeros(2)}, "encoder_latent.fc.weight is not known"),
        (good | {"encoder.fc_c.weight": torch.zeros(6, 9)}, r"encoder.fc_c.weight is \(6, 9\) and not \(6, 4\)"),
        (good | {"decoder.fc_p.bias": 3.0}, "decoder.fc_p.bias of the checkpoint is a float"),
        ({"model": torch.zeros(2)}, "model is not known"),
        (
            {"model": official(network(CONFIGS[OccupancyNetworkVoxels], 0))},
            r"conv_0.weight is not known.* more",
        ),
    ):
        with pytest.raises(DataCorrupt, match=words):
            official_networks(state, config)
