"""DeepSDF against the original's fingerprints, a slow transcription, torch's own parts, and small families of balls."""

import dataclasses
import importlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nfbench.baselines import deepsdf
from nfbench.baselines.deepsdf import (
    DeepSdf,
    DeepSdfConfig,
    DeepSdfField,
    DeepSdfShape,
    DeepSdfShapeConfig,
    Dropout,
    decoder,
    epoch,
    official_networks,
    pieces,
    plain_distances,
    rate_factor,
    shared_loss,
    shorten,
)
from nfbench.harness.checks import check_method
from nfbench.harness.errors import DataCorrupt, DataMissing, NotFound, Unsupported
from nfbench.harness.method import Budget
from nfbench.harness.registry import MethodSpec
from nfbench.harness.scene import Given, Points, Scene
from nfbench.harness.training import STATE, Diverged, Training

BOX = np.array([[-0.55] * 3, [0.55] * 3], np.float32)
SMALL = DeepSdfConfig(
    width=48,
    layers=4,
    skip=2,
    code=8,
    dropout=0.0,
    samples=256,
    epochs=200,
    rate=4e-3,
    code_rate=1e-2,
    anneal=True,
    batch=8,
    fit_steps=150,
    fit_samples=512,
    fit_rate=2e-2,
)
ALONE = DeepSdfShapeConfig(width=48, layers=4, skip=2, dropout=0.0, samples=512, epochs=200, rate=4e-3, anneal=True)
relu = torch.nn.functional.relu


def ball(seed, points=3000):
    """A ball of a random radius about a random centre, with its exact distances."""
    rng = np.random.default_rng(seed)
    centre, radius = rng.uniform(-0.12, 0.12, 3), rng.uniform(0.2, 0.4)
    xyz = rng.uniform(-0.55, 0.55, (points, 3))
    distance = np.linalg.norm(xyz - centre, axis=1) - radius
    return Scene(f"ball_{seed}", Given(samples=Points(xyz, value=distance, kind="sdf")), BOX)


def iou(field, scene):
    samples = scene.given.samples
    predicted, inside = field.value(samples.xyz) < 0, samples.value < 0
    return (predicted & inside).sum() / (predicted | inside).sum()


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def learned():
    method = DeepSdf(SMALL)
    method.learn([ball(i) for i in range(16)], Budget())
    return method


# ------------------------------------------------------------------------------------- the original's network and ours


def hashed(k, name, shape):
    """The fingerprints' values for parameter k."""
    i = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
    h = (i * 2654435761 + (k + 1) * 40503) % 2**32
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        h = ((h ^ (h >> shift)) * factor) % 2**32
    u = 2 * (h ^ (h >> 16)).astype(np.float64) / 2**32 - 1
    fan = math.prod(shape[1:])
    if len(shape) > 1:
        u = math.sqrt(6 / fan) * u if fan > 1 else 1.4 + 0.1 * u
    else:
        u = 1 + 0.1 * u if name.endswith("weight") else 0.1 * u
    return torch.from_numpy(u.reshape(shape))


def wave(shape, amplitude, phase):
    return torch.from_numpy(amplitude * np.sin(0.61 * np.arange(1, math.prod(shape) + 1) + phase).reshape(shape))


@pytest.fixture(scope="module")
def original(real_data):
    path = real_data.parent / "reference" / "network_fingerprints.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return json.loads(path.read_text())["networks"]["DeepSDF"]


@pytest.fixture(scope="module")
def filled(original):
    """Our decoder in float64 with the weights of the fingerprints, by way of the published names."""
    state = {f"module.{n}": hashed(k, n, shape) for k, (n, shape) in enumerate(original["parameters"])}
    tensors = official_networks({"epoch": 2000, "model_state_dict": state}, DeepSdfConfig())
    net = decoder(256, DeepSdfConfig(), 0).double()
    net.load_state_dict({name.removeprefix("decoder."): tensor for name, tensor in tensors.items()})
    return net


CODE, POINTS = wave((1, 256), 0.1, 2), wave((7, 3), 0.8, 0)


def test_the_decoder_gives_the_original_distances_and_gradients(original, filled):
    expected = original["fingerprint"]["hash"]
    code, xyz = CODE.clone().requires_grad_(), POINTS.clone().requires_grad_()
    found = filled(xyz[None], code)
    np.testing.assert_allclose(found[0].detach(), expected["sdf[7]"], rtol=1e-8)
    by_code, by_xyz = torch.autograd.grad(found.sum(), [code, xyz])
    np.testing.assert_allclose(by_xyz, expected["d_sum(sdf)/d_xyz[7x3]"], rtol=1e-7)
    known = expected["d_sum(sdf)/d_code (summed over the 7 rows)"]
    np.testing.assert_allclose(by_code[0, :6], known["first"], rtol=1e-8)
    np.testing.assert_allclose(
        [by_code.sum(), by_code.abs().sum(), by_code.norm()], [known[k] for k in ("sum", "abs_sum", "l2")], rtol=1e-8
    )


def test_a_batch_of_codes_and_the_specialised_network_give_the_same(original, filled):
    expected = original["fingerprint"]["hash"]["sdf[7]"]
    found = filled(POINTS.expand(3, 7, 3), torch.cat([-CODE, CODE, CODE * 2])).detach()
    np.testing.assert_allclose(found[1], expected, rtol=1e-8)
    assert (found[0] - found[1]).abs().max() > 1e-3
    layers = filled.specialise(CODE[0])
    np.testing.assert_allclose(plain_distances(layers, 4, POINTS, relu), expected, rtol=1e-8)
    assert layers[0][0].shape == (512, 3) and layers[4][0].shape == (512, 256)


def test_sizes_are_those_of_the_original(original):
    net = decoder(256, DeepSdfConfig(), 0)
    assert sum(p.numel() for p in net.parameters()) == original["total_parameters"] == 1_843_195
    assert [list(p.shape) for p in net.parameters()] == [shape for _, shape in original["parameters"]]
    assert DeepSdf.presets["paper"] == DeepSdfConfig()


def slow(net, xyz, code):
    """Distances (P,) of points (P,3) with sums written out, from the parameters of `net` by their names."""
    state = {name: tensor.detach().numpy() for name, tensor in net.named_parameters()}
    count, found = len(net.lins), []
    for point in xyz:
        entering = np.concatenate([code, point])
        x = entering
        for i in range(count):
            if i and i == net.skip:
                x = np.concatenate([x, entering])
            if i < count - 1:
                v, g = state[f"lins.{i}.weight_v"], state[f"lins.{i}.weight_g"]
                rows = [sum(v[r] * x) * g[r, 0] / math.sqrt(sum(v[r] ** 2)) for r in range(len(v))]
                x = np.maximum(np.array(rows) + state[f"lins.{i}.bias"], 0)
            else:
                x = state[f"lins.{i}.weight"] @ x + state[f"lins.{i}.bias"]
        found.append(math.tanh(x[0]))
    return np.array(found)


@pytest.mark.parametrize(("code", "skip"), [(8, 2), (8, 0), (0, 2), (0, 0), (8, 3)])
def test_decoders_against_a_slow_transcription(code, skip):
    net = decoder(code, dataclasses.replace(SMALL, skip=skip), 3).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)) * 0.2)
    rng = np.random.default_rng(0)
    xyz, codes = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, code))
    found = net(torch.from_numpy(xyz), torch.from_numpy(codes)).detach().numpy()
    for shape in range(2):
        np.testing.assert_allclose(found[shape], slow(net, xyz[shape], codes[shape]), rtol=1e-10)
        layers = net.specialise(torch.from_numpy(codes[shape]))
        np.testing.assert_allclose(
            plain_distances(layers, skip, torch.from_numpy(xyz[shape]), relu), found[shape], rtol=1e-10
        )


def test_fresh_weights_are_those_of_a_linear_layer_and_its_lengths():
    net = decoder(256, DeepSdfConfig(), 5)
    for lin in net.lins:
        fan = lin.weight.shape[1]
        drawn = lin.weight.detach()
        assert drawn.abs().max() <= 1 / math.sqrt(fan) * (1 + 1e-5)
        assert drawn.std() == pytest.approx(1 / math.sqrt(3 * fan), rel=0.05)
        assert lin.bias.abs().max() <= 1 / math.sqrt(fan)
    torch.testing.assert_close(net.lins[0].weight_g, net.lins[0].weight_v.norm(dim=1, keepdim=True))
    state = torch.get_rng_state()
    assert torch.equal(decoder(256, DeepSdfConfig(), 5).lins[3].weight, net.lins[3].weight)
    assert torch.equal(torch.get_rng_state(), state)


# -------------------------------------------------------------------------------------------------- loss and schedule


def plain_loss(net, codes, xyz, true, clamp, weight):
    """The loss of the original code: codes repeated for every sample, both distances cut off, sums over N."""
    count = true.numel()
    found = torch.stack([net(xyz[i][None], codes[i][None])[0] for i in range(len(codes))])
    error = nn.L1Loss(reduction="sum")(found.clamp(-clamp, clamp), true.clamp(-clamp, clamp)) / count
    repeated = codes.repeat_interleave(true.shape[1], 0)
    return error + weight * torch.sum(torch.norm(repeated, dim=1)) / count


@pytest.mark.parametrize("rows", [4, 20, 25, 40, 100, 7])
def test_parts_of_a_batch_add_up_to_the_loss_and_its_gradients(rows):
    net = decoder(8, SMALL, 0).double()
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(5, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    xyz = torch.rand(5, 20, 3, generator=generator, dtype=torch.float64)
    true = torch.rand(5, 20, generator=generator, dtype=torch.float64) * 0.4 - 0.2
    wanted = [codes, *net.parameters()]
    expected = plain_loss(net, codes, xyz, true, 0.1, 0.3)
    parts = [slice(at, min(at + rows, 100)) for at in range(0, 100, rows)]
    found = sum(shared_loss(net, codes, xyz, true, part, 0.1, 0.3, relu) for part in parts)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)  # the error is summed in float32
    for mine, theirs in zip(torch.autograd.grad(found, wanted), torch.autograd.grad(expected, wanted), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-6, atol=1e-9)


def test_our_step_is_the_plain_one(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    make = importlib.import_module("plain_deepsdf").steps
    monkeypatch.setattr(deepsdf, "_CACHED", 48 * 300)  # in parts that end within shapes
    ours, plain = make(SMALL, 3, 500)
    losses = np.array([(ours(), plain()) for _ in range(6)])
    np.testing.assert_allclose(losses[:, 0], losses[:, 1], rtol=1e-5)
    assert losses[5, 0] < losses[0, 0]


def test_pieces_cover_every_row_once_in_few_blocks():
    for samples, count in ((20, 5), (1, 7), (7, 3)):
        for start in range(samples * count):
            for stop in range(start + 1, samples * count + 1, 3):
                blocks = pieces(slice(start, stop), samples)
                seen = [
                    s * samples + r
                    for shape, rows in blocks
                    for s in range(shape.start, shape.stop)
                    for r in range(rows.start, rows.stop)
                ]
                assert seen == list(range(start, stop)) and len(blocks) <= 3


def test_rates_are_halved_every_500_epochs_counted_from_1():
    config = DeepSdfConfig()
    per_epoch, steps = 7, 7 * 2001
    for index in range(steps):
        number = index // per_epoch + 1
        assert epoch(config, index / steps) == number
        assert rate_factor(config, index / steps) == 0.5 ** (number // 500)
    found = [rate_factor(dataclasses.replace(config, anneal=True), part) for part in (0, 0.01, 0.5, 1)]
    assert found == pytest.approx([0.1, 0.3, 0.5, 0], abs=1e-3)


def test_long_codes_are_shortened_as_an_embedding_does():
    table = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    embedding = nn.Embedding(6, 4, max_norm=1.0, _weight=table.clone())
    drawn = torch.tensor([1, 4, 5])
    embedding(drawn)
    codes = nn.Parameter(table.clone())
    shorten(codes, drawn, 1.0)
    torch.testing.assert_close(codes.detach(), embedding.weight.detach(), rtol=1e-6, atol=0)
    assert not torch.equal(codes, table) and torch.equal(codes[[0, 2, 3]], table[[0, 2, 3]])


def test_dropout_goes_back_through_what_was_kept():
    x = torch.randn(3, 50, 64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    for chance in (0.0, 0.2):
        active = Dropout(chance, np.random.default_rng(0))
        out = active(x)
        upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(1))
        (gradient,) = torch.autograd.grad(out, x, upstream)
        slope = (out.detach() != 0) / (1 - chance)
        torch.testing.assert_close(out.detach(), x.detach() * slope)
        torch.testing.assert_close(gradient, upstream * slope)
        kept = (out.detach() != 0)[x > 0].float().mean()
        assert kept == pytest.approx(1 - chance, abs=0.02)
    assert not torch.equal(active(x), active(x))


# ----------------------------------------------------------------------------------------------------------- learning


def test_it_learns_balls_and_fits_unseen_ones(learned):
    unseen = [ball(seed) for seed in range(40, 43)]
    assert min(iou(learned.fit(scene, Budget()), scene) for scene in unseen) > 0.85
    assert min(iou(learned.known(f"ball_{i}"), ball(i)) for i in range(0, 16, 5)) > 0.85
    with pytest.raises(NotFound, match="ball_99"):
        learned.known("ball_99")


def test_distances_are_right_about_the_surface(learned):
    scene = ball(50)
    samples = scene.given.samples
    near = np.abs(samples.value) < 0.05
    error = learned.fit(scene, Budget()).value(samples.xyz[near]) - samples.value[near]
    assert np.abs(error).mean() < 0.012 and samples.value[near].std() > 0.02


def test_one_network_learns_one_shape():
    scene = ball(7)
    field = DeepSdfShape(ALONE).fit(scene, Budget())
    assert field.kind == "sdf" and iou(field, scene) > 0.95
    assert field.parameters == sum(p.numel() for p in decoder(0, ALONE, 0).parameters())


def test_dropout_is_only_used_to_learn():
    config = dataclasses.replace(SMALL, dropout=0.5)
    method = DeepSdf(config)
    method.learn([ball(0), ball(1)], Budget(steps=3))
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3)).astype(np.float32)
    field = method.known("ball_1")
    np.testing.assert_array_equal(field.value(xyz), field.value(xyz))
    state = {name: tensor.detach().double() for name, tensor in method.decoder.state_dict().items()}
    net = decoder(8, config, 0).double()
    net.load_state_dict(state)
    np.testing.assert_allclose(field.value(xyz), slow(net, xyz, method.codes[1].double().numpy()), atol=1e-5)


def test_bfloat16_learns_too():
    method = DeepSdf(dataclasses.replace(SMALL, precision="bf16", dropout=0.1))
    heard = []
    method.learn([ball(0), ball(1)], Budget(steps=60, listener=heard.append))
    assert method.fit(ball(0), Budget(steps=2)).value(BOX).dtype == np.float32
    losses = [report.numbers["loss"] for report in heard if "loss" in report.numbers]
    assert all(map(math.isfinite, losses)) and next(method.decoder.parameters()).dtype == torch.float32


@pytest.mark.parametrize("what", ["learn", "shape", "fit"])
def test_a_loop_that_was_killed_ends_as_one_that_was_not(what, learned, tmp_path, monkeypatch):
    config = dataclasses.replace(SMALL, dropout=0.3, batch=2)
    scenes = [ball(i) for i in range(5)]

    def run(budget):
        if what == "shape":
            field = DeepSdfShape(dataclasses.replace(ALONE, dropout=0.3)).fit(scenes[0], budget)
            return [tensor for layer in field.layers for tensor in layer]
        if what == "fit":
            return [tensor for layer in learned.fit(ball(60), budget).layers for tensor in layer]
        method = DeepSdf(config)
        method.learn(scenes, budget)
        return [method.codes, *method.decoder.parameters()]

    whole = run(Budget(steps=12))
    taken = Training.set_rates

    def killed(training, *rates):  # what every step begins with
        if training._step.index == 7:
            training._write(training._folder / STATE, 7)
            raise KeyboardInterrupt
        taken(training, *rates)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Training, "set_rates", killed)
        run(Budget(steps=12).start(keep=tmp_path))
    told = []
    again = run(Budget(steps=12).start(keep=tmp_path, tell=told.append))
    assert told and "step 7" in told[0]
    assert all(torch.equal(a, b) for a, b in zip(whole, again, strict=True))


def test_a_budget_shortens_the_fit_and_never_prolongs_it(learned):
    counts, method = [], DeepSdf(dataclasses.replace(SMALL, fit_steps=20))
    method.decoder = learned.decoder
    for budget in (Budget(), Budget(steps=10_000), Budget(steps=5), Budget(seconds=1e-6), Budget(seconds=1e6)):
        heard = []
        method.fit(ball(3), dataclasses.replace(budget, listener=heard.append))
        counts.append(heard[-1].step + 1)
    assert counts == [20, 20, 5, 1, 20]


def test_the_seed_decides_and_the_global_random_state_is_left_alone():
    def after(seed):
        torch.manual_seed(seed + 100)
        state = torch.get_rng_state()
        method = DeepSdf(dataclasses.replace(SMALL, dropout=0.2), seed=seed)
        method.learn([ball(i) for i in range(3)], Budget(steps=2))
        assert torch.equal(torch.get_rng_state(), state)
        return method.fit(ball(9), Budget(steps=2)).value(BOX)

    first, again, other = after(1), after(1), after(2)
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_a_rate_that_diverges_stops_the_loop():
    with pytest.raises(Diverged, match="Step"):
        DeepSdf(dataclasses.replace(SMALL, rate=float("nan"), anneal=False)).learn([ball(0)], Budget(steps=3))


@pytest.mark.parametrize(("name", "kind"), [("deepsdf", DeepSdf), ("deepsdf-single", DeepSdfShape)])
def test_the_contract_is_kept(name, kind):
    target = f"nfbench.baselines.deepsdf:{kind.__name__}"
    spec = MethodSpec(name, target, "", needs=("samples",), gives=("value",), presets=tuple(kind.presets))
    assert [f"{f.clause}: {f.why}" for f in check_method(spec) if not f.kept] == []


# ------------------------------------------------------------------------------------------- checkpoints and bad input


def test_a_learned_method_and_its_fields_survive_the_disk(learned, tmp_path):
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)).astype(np.float32)
    field = learned.fit(ball(30), Budget(steps=20))
    learned.save(tmp_path / "method")
    field.save(tmp_path / "field")
    again = DeepSdf(dataclasses.replace(SMALL, fit_rate=0.5))
    restored = again.restore(tmp_path / "field")
    np.testing.assert_allclose(restored.value(xyz), field.value(xyz), atol=1e-6)
    again.load(tmp_path / "method")
    again.config = SMALL
    np.testing.assert_allclose(again.fit(ball(30), Budget(steps=20)).value(xyz), field.value(xyz), atol=1e-6)
    np.testing.assert_allclose(again.known("ball_3").value(xyz), learned.known("ball_3").value(xyz), atol=1e-6)
    assert restored.parameters == field.parameters == sum(p.numel() for p in learned.decoder.parameters()) + 8


def test_restore_and_load_refuse_what_is_not_theirs(learned, tmp_path):
    learned.save(tmp_path)
    with pytest.raises(Unsupported, match="width 48 instead of 128"):
        DeepSdf(DeepSdf.presets["tiny"]).load(tmp_path)
    with pytest.raises(DataMissing, match=r"field\.json"):
        learned.restore(tmp_path)
    learned.fit(ball(1), Budget(steps=1)).save(tmp_path / "field")
    with pytest.raises(DataCorrupt, match=r"deepsdf, not to deepsdf-single"):
        DeepSdfShape(ALONE).restore(tmp_path / "field")
    layers = decoder(0, ALONE, 0).specialise(torch.zeros(0))
    for wrong in (layers[1:], layers[:2], [(weight[:, 1:], bias) for weight, bias in layers]):
        DeepSdfField("deepsdf-single", wrong, 2, 1, "cpu").save(tmp_path / "wrong")
        with pytest.raises(DataCorrupt, match="holds no field"):
            DeepSdfShape(ALONE).restore(tmp_path / "wrong")
    weights, about = tmp_path / "network.safetensors", tmp_path / "network.json"
    deepsdf.write_checkpoint(tmp_path / "few", "deepsdf", "network", {}, json.loads(about.read_text()))
    with pytest.raises(DataCorrupt, match=r"decoder\.lins\.0\.bias is missing"):
        DeepSdf(SMALL).load(tmp_path / "few")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataCorrupt, match=r"network\.safetensors"):
        DeepSdf(SMALL).load(tmp_path)


def official(config, codes=None, new=False):
    """A state as the original code saves it, and the decoder whose it is."""
    net = decoder(config.code, config, 11)
    state = {f"module.{name.replace('lins.', 'lin')}": tensor for name, tensor in net.state_dict().items()}
    if new:
        parts = (("weight_g", "parametrizations.weight.original0"), ("weight_v", "parametrizations.weight.original1"))
        for old, name in parts:
            state = {key.replace(old, name): tensor for key, tensor in state.items()}
    return net, {"epoch": 2000, "model_state_dict": state} | ({} if codes is None else {"latent_codes": codes})


@pytest.mark.parametrize("new", [False, True])
def test_original_checkpoints_are_adopted(new, tmp_path):
    table = torch.randn(3, 8)
    xyz = torch.rand(1, 20, 3)
    for codes in (None, {"weight": table}, table[:, None]):
        net, state = official(SMALL, codes, new)
        method = DeepSdf(SMALL)
        method.adopt(state)
        method.save(tmp_path)
        loaded = DeepSdf(SMALL)
        loaded.load(tmp_path)
        if codes is None:
            assert loaded.names == ()
            assert np.isfinite(loaded.fit(ball(0), Budget(steps=2)).value(BOX)).all()
        else:
            found = loaded.known("2").value(xyz[0].numpy())
            np.testing.assert_allclose(found, net(xyz, table[2:])[0].detach(), atol=1e-6)


def test_original_checkpoints_that_do_not_fit_are_told():
    _, state = official(SMALL)
    del state["model_state_dict"]["module.lin1.weight_g"]
    state["model_state_dict"]["module.bn1.weight"] = torch.ones(3)
    with pytest.raises(DataCorrupt, match=r"lin1\.weight_g is missing; bn1\.weight is not known"):
        DeepSdf(SMALL).adopt(state)
    with pytest.raises(DataCorrupt, match=r"lin0\.weight_v is \(48, 11\) and not \(48, 12\)"):
        DeepSdf(dataclasses.replace(SMALL, code=9)).adopt(official(SMALL)[1])
    with pytest.raises(DataCorrupt, match=r"codes are \(3, 5\)"):
        DeepSdf(SMALL).adopt(official(SMALL, torch.zeros(3, 5))[1])


def test_bad_scenes_and_settings_are_named(learned):
    values = Points(np.zeros((4, 3)), value=np.array([0, 0, 1, 1]), kind="occupancy")
    filled = Scene("filled", Given(samples=values), BOX)
    outside = Scene("far", Given(samples=Points(np.zeros((4, 3)), value=np.ones(4), kind="sdf")), BOX)
    for call in (
        lambda s: DeepSdf(SMALL).learn([ball(0), s], Budget(steps=1)),
        lambda s: learned.fit(s, Budget()),
        lambda s: DeepSdfShape(ALONE).fit(s, Budget()),
    ):
        with pytest.raises(Unsupported, match=r"'filled'.*occupancy"):
            call(filled)
        with pytest.raises(DataMissing, match=r"'far'.*inside"):
            call(outside)
        with pytest.raises(DataMissing, match=r"'bare'"):
            call(Scene("bare", Given(), BOX))
    with pytest.raises(Unsupported, match="training scenes") as caught:
        DeepSdf(SMALL).learn([], Budget(steps=1))
    assert "deepsdf-single" in caught.value.hint
    fresh = DeepSdf(SMALL)
    for call in (lambda: fresh.fit(ball(0), Budget()), lambda: fresh.save(BOX), lambda: fresh.known("x")):
        with pytest.raises(Unsupported, match="learned nothing"):
            call()
    for wrong in ({"skip": 4}, {"code": 45}, {"layers": 0}, {"skip": -1}):
        with pytest.raises(Unsupported, match="layers"):
            DeepSdf(dataclasses.replace(SMALL, **wrong)).learn([ball(0)], Budget(steps=1))
