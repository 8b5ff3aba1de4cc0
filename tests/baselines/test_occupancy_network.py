"""Occupancy Networks against the released networks' fingerprints, an independent transcription, and tiny families."""

import json

import numpy as np
import pytest
import torch

from nfbench.baselines.occupancy_network import (
    ConditionalNorm,
    Decoder,
    OccupancyField,
    OccupancyNetwork,
    OccupancyNetworkConfig,
    PointEncoder,
    network,
)
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.method import Budget
from nfbench.harness.scene import Given, Points, Scene

BOX = np.array([[-0.55] * 3, [0.55] * 3], np.float32)
SMALL = OccupancyNetworkConfig(
    code=32,
    encoder_hidden=32,
    encoder_blocks=2,
    decoder_hidden=32,
    decoder_blocks=2,
    input_points=100,
    query_points=256,
    batch=8,
    learning_rate=1.5e-2,
    cosine=True,
    steps=400,
    turn=2,
    stretch=0.1,
)


def sphere(seed, points=4000, kind="occupancy"):
    """A sphere of a random radius about a random centre, with samples of its inside."""
    rng = np.random.default_rng(seed)
    centre, radius = rng.uniform(-0.12, 0.12, 3), rng.uniform(0.2, 0.4)
    direction = rng.normal(size=(150, 3))
    cloud = centre + radius * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    xyz = rng.uniform(-0.55, 0.55, (points, 3))
    distance = np.linalg.norm(xyz - centre, axis=1) - radius
    value = distance if kind == "sdf" else (distance < 0).astype(np.float32)
    return Scene(f"sphere_{seed}", Given(cloud=Points(cloud), samples=Points(xyz, value=value, kind=kind)), BOX)


def without_samples(scene):
    return Scene(scene.name, Given(cloud=scene.given.cloud), scene.box)


@pytest.fixture(scope="module")
def learned():
    method = OccupancyNetwork(SMALL)
    method.learn([sphere(i) for i in range(16)], Budget())
    return method


# ------------------------------------------------------------------------------ the networks of the paper, bit by bit


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


def fill(module, listed):
    """The module in float64 with hashed weights, given to its parameters in the order of the released ones."""
    parameters = list(module.double().parameters())
    assert len(parameters) == len(listed)
    for k, (parameter, (_, shape)) in enumerate(zip(parameters, listed, strict=True)):
        assert parameter.numel() == np.prod(shape)
        u, fan = hashed(k, parameter.numel()), np.prod(shape[1:])
        values = np.sqrt(6 / fan) * u if len(shape) > 1 else 0.1 * u
        parameter.data = torch.from_numpy(values).reshape(parameter.shape)
    return module


def summary(code):
    return {"first": code[:6].tolist(), "sum": code.sum(), "abs_sum": code.abs().sum(), "l2": code.norm()}


@pytest.fixture(scope="module")
def released(real_data):
    path = real_data.parent / "reference" / "network_fingerprints.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return json.loads(path.read_text())["networks"]["ONet"]


@pytest.fixture(scope="module")
def filled(released):
    decoder = fill(
        Decoder(512, 256, 5), released["decoder_cbatchnorm_c512_z0 (configs/pointcloud/onet.yaml)"]["parameters"]
    )
    encoder = fill(PointEncoder(512, 512, 5), released["encoder_ResnetPointnet_c512_hidden512"]["parameters"])
    return decoder, encoder, released["fingerprint"]["hash"]


POINTS, CLOUD, CODE = wave((2, 7, 3), 0.5, 0), wave((2, 20, 3), 0.5, 6), wave((2, 512), 0.3, 2)


def test_decoder_gives_the_released_logits(filled):
    decoder, _, expected = filled
    found = decoder.eval()(POINTS, CODE).detach()
    logits = expected["decoder_c512 eval (running mean 0, var 1), c fixed: logits[2x7]"]
    np.testing.assert_allclose(found, logits, rtol=1e-8, atol=1e-9)


def test_encoder_gives_the_released_codes_and_logits(filled):
    decoder, encoder, expected = filled
    codes = encoder(CLOUD).detach()
    for code, known in zip(codes, expected["encoder_ResnetPointnet c[2x512]"], strict=True):
        for name, value in summary(code).items():
            np.testing.assert_allclose(value, known[name], rtol=1e-8)
    found = decoder.eval()(POINTS, codes / 1000).detach()
    np.testing.assert_allclose(found, expected["encoder -> c/1000 -> decoder eval: logits[2x7]"], rtol=1e-8)


def test_the_specialised_field_gives_the_released_logits(filled):
    decoder, _, expected = filled
    logits = expected["decoder_c512 eval (running mean 0, var 1), c fixed: logits[2x7]"]
    for i in range(2):
        field = OccupancyField(decoder.eval().specialise(CODE[i : i + 1]), 0, "cpu")
        np.testing.assert_allclose(field._logits(POINTS[i]), logits[i], rtol=1e-8, atol=1e-9)


def test_batch_statistics_are_those_of_the_released_decoder(released):
    listed = released["decoder_cbatchnorm_c512_z0 (configs/pointcloud/onet.yaml)"]["parameters"]
    decoder, expected = fill(Decoder(512, 256, 5), listed).train(), released["fingerprint"]["hash"]
    logits = expected["decoder_c512 train mode (batch statistics over 2x7), c fixed: logits[2x7]"]
    np.testing.assert_allclose(decoder(POINTS, CODE).detach(), logits, rtol=1e-8, atol=1e-9)
    statistics = expected["after that one train-mode pass (momentum 0.1): block0.bn_0 running_mean, running_var"]
    for found, known in zip((decoder.blocks[0].bn_0.mean, decoder.blocks[0].bn_0.var), statistics, strict=True):
        for name, value in summary(found).items():
            np.testing.assert_allclose(value, known[name], rtol=1e-8, atol=1e-9)


def test_parameter_counts_are_those_of_the_released_model():
    net = network(OccupancyNetwork.presets["paper"], 0)
    counts = [sum(p.numel() for p in module.parameters()) for module in (net.decoder, net.encoder, net)]
    assert counts == [3_548_417, 6_825_472, 10_373_889]
    assert OccupancyNetwork.presets["paper"] == OccupancyNetworkConfig()


# ------------------------------------------------------------------------------------------------ parts and invariances


def test_conditional_norm_against_a_slow_transcription():
    torch.manual_seed(0)
    layer = ConditionalNorm(5, 4).double()
    for parameter in layer.parameters():
        parameter.data.normal_()
    x, code = torch.randn(3, 6, 4, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    mean, var = np.zeros(4), np.ones(4)
    for training in (True, False):
        found = layer.train(training)(x, code).detach().numpy()
        for channel in range(4):
            column = x[:, :, channel].numpy()
            if training:
                centre, spread = column.mean(), column.var()
                mean[channel] = 0.9 * mean[channel] + 0.1 * centre
                var[channel] = 0.9 * var[channel] + 0.1 * column.var(ddof=1)
            else:
                centre, spread = mean[channel], var[channel]
            for shape in range(3):
                gamma = (layer.gamma.weight[channel] @ code[shape] + layer.gamma.bias[channel]).item()
                beta = (layer.beta.weight[channel] @ code[shape] + layer.beta.bias[channel]).item()
                slow = gamma * (column[shape] - centre) / np.sqrt(spread + 1e-5) + beta
                np.testing.assert_allclose(found[shape, :, channel], slow, rtol=1e-10, atol=1e-10)


def test_a_fresh_conditional_norm_ignores_the_code():
    layer, x = ConditionalNorm(5, 4), torch.randn(2, 6, 4)
    torch.testing.assert_close(layer(x, torch.zeros(2, 5)), layer(x, torch.ones(2, 5)))


def test_the_code_depends_neither_on_order_nor_on_repeats():
    encoder = fill_randomly(PointEncoder(8, 16, 3).double())
    cloud = torch.randn(2, 30, 3, dtype=torch.float64)
    code = encoder(cloud)
    torch.testing.assert_close(encoder(cloud[:, torch.randperm(30)]), code, rtol=0, atol=1e-12)
    torch.testing.assert_close(encoder(torch.cat([cloud, cloud[:, :7]], 1)), code, rtol=0, atol=1e-12)
    assert (encoder(cloud + 0.1) - code).abs().max() > 1e-3


def fill_randomly(module):
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.3
    return module


def test_the_field_gives_what_network_and_cloud_give(learned):
    scene = without_samples(sphere(11))
    xyz = np.random.default_rng(0).uniform(-0.55, 0.55, (20000, 3)).astype(np.float32)
    value = learned.fit(scene, Budget()).value(xyz)
    rows = np.random.default_rng(learned.seed).permutation(150)[:100]
    with torch.no_grad():
        logits = learned.network(torch.from_numpy(scene.given.cloud.xyz[None, rows]), torch.from_numpy(xyz[None]))
    np.testing.assert_allclose(value, torch.sigmoid(logits[0]), atol=1e-5)
    assert value.dtype == np.float32 and value.shape == (20000,)


# ----------------------------------------------------------------------------------------------------------- learning


def iou(field, scene):
    samples = scene.given.samples
    predicted, inside = field.value(samples.xyz) >= 0.2, samples.value >= 0.5
    return (predicted & inside).sum() / (predicted | inside).sum()


def test_it_learns_spheres_and_completes_unseen_ones(learned):
    unseen = [sphere(seed) for seed in range(40, 46)]
    assert np.mean([iou(learned.fit(without_samples(scene), Budget()), scene) for scene in unseen]) > 0.7


def test_distances_teach_the_same_as_occupancy():
    fields = []
    for kind in ("sdf", "occupancy"):
        method = OccupancyNetwork(SMALL)
        method.learn([sphere(i, kind=kind) for i in range(3)], Budget(steps=3))
        fields.append(method.fit(sphere(9), Budget()).value(BOX))
    np.testing.assert_array_equal(*fields)


def test_the_seed_decides_and_the_global_random_state_is_left_alone():
    def after(seed):
        torch.manual_seed(seed + 100)  # must make no difference
        state = torch.get_rng_state()
        method = OccupancyNetwork(OccupancyNetwork.presets["tiny"], seed=seed)
        method.learn([sphere(i) for i in range(3)], Budget(steps=2))
        assert torch.equal(torch.get_rng_state(), state)
        return method.network.state_dict()

    first, again, other = after(1), after(1), after(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["decoder.fc_p.weight"], other["decoder.fc_p.weight"])


def test_learning_reports_its_loss():
    seen = []
    OccupancyNetwork(SMALL).learn([sphere(0)], Budget(steps=2).start(seen.append))
    assert seen[0].step == 0 and np.isfinite(seen[0].numbers["loss"])


# ------------------------------------------------------------------------------------------- checkpoints and bad input


def test_a_learned_method_and_its_fields_survive_the_disk(learned, tmp_path):
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (500, 3)).astype(np.float32)
    field = learned.fit(sphere(30), Budget())
    learned.save(tmp_path / "method")
    field.save(tmp_path / "field")
    again = OccupancyNetwork(SMALL)
    restored = again.restore(tmp_path / "field")
    again.load(tmp_path / "method")
    np.testing.assert_array_equal(again.fit(sphere(30), Budget()).value(xyz), field.value(xyz))
    np.testing.assert_array_equal(restored.value(xyz), field.value(xyz))
    assert restored.parameters == field.parameters == sum(p.numel() for p in learned.network.parameters())


def test_load_refuses_other_configs_other_methods_and_broken_files(learned, tmp_path):
    learned.save(tmp_path)
    with pytest.raises(Unsupported, match="decoder_hidden 32 instead of 64"):
        OccupancyNetwork(OccupancyNetwork.presets["tiny"]).load(tmp_path)
    with pytest.raises(DataMissing, match=r"field\.json"):
        learned.restore(tmp_path)
    with pytest.raises(DataMissing, match=r"network\.json"):
        learned.load(tmp_path / "nowhere")
    weights, about = tmp_path / "network.safetensors", tmp_path / "network.json"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataCorrupt, match=r"network\.safetensors"):
        OccupancyNetwork(SMALL).load(tmp_path)
    about.write_text(about.read_text().replace("occupancy-network", "deepsdf"))
    with pytest.raises(DataCorrupt, match="deepsdf"):
        OccupancyNetwork(SMALL).load(tmp_path)
    about.write_text("{")
    with pytest.raises(DataCorrupt, match="no JSON"):
        OccupancyNetwork(SMALL).load(tmp_path)


def test_bad_scenes_are_named():
    method, good = OccupancyNetwork(SMALL), sphere(0)
    with pytest.raises(DataMissing, match="sphere_0"):
        method.learn([without_samples(good)], Budget(steps=1))
    with pytest.raises(DataMissing, match="bare"):
        method.learn([Scene("bare", Given(samples=good.given.samples), BOX)], Budget(steps=1))
    dense = Points(good.given.samples.xyz, value=good.given.samples.value, kind="density")
    with pytest.raises(Unsupported, match="density"):
        method.learn([Scene("dense", Given(cloud=good.given.cloud, samples=dense), BOX)], Budget(steps=1))
    with pytest.raises(Unsupported, match="training scenes"):
        method.learn([], Budget(steps=1))
    for call in (lambda: method.fit(good, Budget()), lambda: method.save(BOX)):
        with pytest.raises(Unsupported, match="learned nothing"):
            call()
