"""Scene Representation Networks against the original's fingerprint, slow transcriptions, and a tiny family of balls."""

import dataclasses
import functools
import importlib.util
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from nfbench.baselines import srn
from nfbench.baselines.floor import MeanColour, NearestView
from nfbench.baselines.object_views import Bundle
from nfbench.baselines.srn import (
    Srn,
    SrnConfig,
    SrnField,
    Stage,
    StepLoss,
    features,
    networks,
    official_networks,
    phi_layers,
)
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.checks import check_method
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.method import Budget, NoConfig
from nfbench.harness.registry import MethodSpec
from nfbench.harness.scene import Given, Points, Scene, Views
from nfbench.harness.training import STATE, Diverged, Training

BOX = np.array([[-0.5] * 3, [0.5] * 3], np.float32)
SMALL = dataclasses.replace(
    Srn.presets["tiny"], code=8, hyper_hidden=16, width=16, layers=2, march_hidden=4, march_steps=4, rays=64, objects=4
)
LIKE_PAPER = dataclasses.replace(  # whole images, march from the camera, nothing normalised, but small
    SrnConfig(),
    code=6,
    hyper_hidden=8,
    width=12,
    layers=3,
    march_hidden=4,
    march_steps=3,
    generator_layers=3,
    stages=(Stage(4, 2, 3), Stage(8, 3, 2)),
    fit_steps=6,
    fit_every=3,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def ball(seed, views=6, hidden=0, size=16):
    """A ball of one size and one colour, somewhere between red and blue, before a white background."""
    rng = np.random.default_rng(seed)
    radius, colour = rng.uniform(0.2, 0.35), np.array([0.8, 0.2, 0.1]) + rng.uniform() * np.array([-0.7, 0.2, 0.6])

    def of(count):
        eyes = rng.normal(size=(count, 3))
        eyes *= 1.3 / np.linalg.norm(eyes, axis=1, keepdims=True)
        K = np.tile([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]], (count, 1, 1))
        poses = np.stack([look_at(eye, rng.uniform(-0.25, 0.25, 3), (0.1, 0.2, 1)) for eye in eyes])
        seen = Cameras(poses, K, np.full((count, 2), size), np.tile([0.8, 1.8], (count, 1)))
        images = []
        for i in range(count):
            origin, direction = rays(seen, i)
            hit = (origin**2).sum(1) - (origin * direction).sum(1) ** 2 < radius**2
            picture = np.where(hit[:, None], colour, 1).reshape(size, size, 3)
            images.append(np.rint(picture * 255).astype(np.uint8))
        return Views(seen, tuple(f"{seed}_{i}" for i in range(count)), lambda i: images[i])

    return Scene(f"ball_{seed}", Given(views=of(views)), BOX, hidden=of(hidden) if hidden else None)


def psnr(field, views):
    truth = np.stack([views.image(i) for i in range(len(views))]) / 255
    found = field.render(views.cameras)
    assert found.shape == truth.shape and found.dtype == np.float32 and 0 <= found.min() <= found.max() <= 1
    return -10 * np.log10(((found - truth) ** 2).mean())


def bundle(objects=2, count=5, seed=0, dtype=torch.float64):
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(objects, count, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    arrays = (
        rng.normal(size=(objects, count, 3)),
        directions,
        rng.uniform(0.7, 1, (objects, count)),
        rng.uniform(0.5, 1, (objects, count)),
        rng.uniform(0, 1, (objects, count, 3)),
    )
    return Bundle(torch.arange(objects), *(torch.from_numpy(a).to(dtype) for a in arrays))


def plain():
    file = Path(__file__).parents[2] / "benchmarks" / "plain_srn.py"
    spec = importlib.util.spec_from_file_location("plain_srn", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ------------------------------------------------------------------------------------------- the networks of the paper


def hashed(k, shape, name):
    """The numbers of the fingerprints' recipe for parameter k."""
    count, mask = math.prod(shape), np.uint64(0xFFFFFFFF)
    h = (np.arange(1, count + 1, dtype=np.uint64) * np.uint64(2654435761) + np.uint64((k + 1) * 40503)) & mask
    for shift, factor in ((15, 2246822519), (13, 3266489917)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & mask
    u = 2 * (h ^ (h >> np.uint64(16))).astype(np.float64) / 2**32 - 1
    fan = math.prod(shape[1:])
    u = math.sqrt(6 / fan) * u if len(shape) > 1 else 0.1 * u + (1 if name.endswith("weight") else 0)
    return torch.from_numpy(u.reshape(shape))


@pytest.fixture(scope="module")
def original(real_data):
    path = real_data.parent / "reference" / "network_fingerprints.json"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return json.loads(path.read_text())["networks"]["SRN"]


def test_the_march_and_its_pixels_are_those_of_the_original(original):
    state = {f"module.{n}": hashed(k, s, n) for k, (n, s) in enumerate(original["parameters"])}
    tensors = official_networks({"model": state, "optimizer": {}})
    code = tensors.pop("codes")
    net = networks(SrnConfig(), 0).double()
    net.load_state_dict(tensors)
    counts = [sum(p.numel() for p in part.parameters()) for part in (net, net.hyper, net.marcher, net.generator)]
    assert counts == [51_869_076, 51_519_232, 17_553, 332_291]
    expected = original["fingerprint"]["hash"]
    turn = np.array([[math.cos(0.3), 0, math.sin(0.3)], [0, 1, 0], [-math.sin(0.3), 0, math.cos(0.3)]])
    y, x = np.mgrid[:4, :4]
    local = np.stack([(x.ravel() - 2) / 4, (y.ravel() - 2) / 4, np.ones(16)], axis=1)
    direction = local / np.linalg.norm(local, axis=1, keepdims=True) @ turn.T
    origin = np.tile([0.2, -0.1, -1.5], (16, 1))
    arrays = (origin, direction, direction @ turn[:, 2], np.zeros(16), np.zeros((16, 3)))
    seen = Bundle(torch.zeros(1, dtype=torch.int64), *(torch.from_numpy(a)[None] for a in arrays))
    with torch.no_grad():
        weights = net.weights(code)
        points = torch.from_numpy(0.8 * np.sin(0.61 * np.arange(1, 22)).reshape(1, 7, 3))
        phi = features(phi_layers(weights, 256), points)
        step, (hidden, memory) = net.marcher(phi[0], None)
        rgb, distance = net.trace(weights, seen)
    for row, known in zip(phi[0, [0, 6]], expected["phi(points)[7x256]"], strict=True):
        np.testing.assert_allclose(row[:6], known["first"], rtol=1e-8, atol=1e-9)
        assert row.sum().item() == pytest.approx(known["sum"], rel=1e-8)
    np.testing.assert_allclose(step, expected["first step length[7]"], rtol=1e-8)
    name = "LSTM h after one step from zero state[7x16], row 0"
    np.testing.assert_allclose(hidden[:, 0], expected[name], rtol=1e-8)
    np.testing.assert_allclose(memory[:, 0], expected["LSTM c row 0"], rtol=1e-8)
    np.testing.assert_allclose(net.generator(phi)[0].detach(), expected["pixel_generator(phi(points))[7x3]"], rtol=1e-8)
    np.testing.assert_allclose(rgb[0], expected["full forward: rgb[16x3]"], rtol=1e-8)
    depth = (distance * seen.cosines)[0]
    np.testing.assert_allclose(depth, expected["full forward 10 steps, 4x4 pixels: depth[16]"], rtol=1e-8)


def test_paper_is_the_default():
    assert Srn.presets["paper"] == SrnConfig() and SrnConfig().total_steps() == 175_000


def test_initial_weights_are_those_of_the_original():
    config = dataclasses.replace(SrnConfig(), width=64, code=100, hyper_hidden=50)
    net = networks(config, 3)
    for i, hyper in enumerate(net.hyper):
        first, hidden, last = hyper[0], hyper[3], hyper[6]
        assert first.weight.std().item() == pytest.approx(math.sqrt(2 / 100), rel=0.05)
        assert hidden.weight.std().item() == pytest.approx(math.sqrt(2 / 50), rel=0.05)
        assert last.weight.std().item() == pytest.approx(0.1 * math.sqrt(2 / 50), rel=0.05)
        assert last.weight.shape[0] == (3 if i == 0 else 64) * 64 + 64
        assert 0.9 / math.sqrt(50) < last.bias.abs().max().item() <= 1 / math.sqrt(50)
    for layer in (net.generator[0], net.generator[-1]):
        assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / 64), rel=0.15)
    cell = net.marcher.lstm
    for bias in (cell.bias_ih, cell.bias_hh):
        assert (bias[16:32] == 1).all() and bias[:16].abs().max() <= 0.25 and bias[32:].abs().max() <= 0.25
    assert 0.2 < cell.weight_ih.abs().max().item() <= 0.25  # uniform: the cell is none of the original's exceptions
    codes = Srn(config)._codes(500).weight
    assert codes.std().item() == pytest.approx(0.01, rel=0.05) and abs(codes.mean().item()) < 1e-3


# ------------------------------------------------------------------------------------------------ slow transcriptions


def norm_relu(x):
    return np.maximum((x - x.mean()) / math.sqrt(x.var() + 1e-5), 0)


def sequence(state, name, x):
    """Linear layers with learned normalisation and ReLU between them."""
    places = sorted({int(key.split(".")[0]) for key in (k.removeprefix(name) for k in state if k.startswith(name))})
    for place in places:
        weight, bias = state[f"{name}{place}.weight"], state[f"{name}{place}.bias"]
        if weight.ndim == 2:
            x = weight @ x + bias
        else:
            x = np.maximum((x - x.mean()) / math.sqrt(x.var() + 1e-5) * weight + bias, 0)
    return x


def slow(state, config, code, origin, direction, start):
    """Colour and distance of one ray, in loops."""
    flat = [sequence(state, f"hyper.{i}.", code) for i in range(config.layers)]
    w = config.width

    def phi(point):
        x = (point - state["frame"][:3]) / state["frame"][3]
        for numbers in flat:
            x = norm_relu(numbers[: w * len(x)].reshape(w, len(x)) @ x + numbers[w * len(x) :])
        return x

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    h = c = np.zeros(config.march_hidden)
    distance = start
    cell = "marcher.lstm."
    for _ in range(config.march_steps):
        gates = state[cell + "weight_ih"] @ phi(origin + distance * direction) + state[cell + "bias_ih"]
        i, f, g, o = np.split(gates + state[cell + "weight_hh"] @ h + state[cell + "bias_hh"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        step = state["marcher.out_layer.weight"][0] @ h + state["marcher.out_layer.bias"][0]
        distance = distance + step * state["frame"][3]
    return sequence(state, "generator.", phi(origin + distance * direction)), distance


@pytest.mark.parametrize("start", ["camera", "near"])
@pytest.mark.parametrize("objects", [1, 2])
def test_the_march_against_a_slow_transcription(start, objects):
    config = dataclasses.replace(LIKE_PAPER, start=start)
    net = networks(config, 1).double()
    net.frame.copy_(torch.tensor([0.1, -0.2, 0.3, 1.7]))
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
    codes, seen = torch.randn(objects, 6, dtype=torch.float64), bundle(objects)
    with torch.no_grad():
        colour, distance = net.trace(net.weights(codes), seen)
    state = {name: tensor.detach().numpy() for name, tensor in net.state_dict().items()}
    for item in range(objects):
        for ray in range(5):
            origin, direction = seen.origins[item, ray].numpy(), seen.directions[item, ray].numpy()
            first = float(seen.near[item, ray] if start == "near" else 0.05 / seen.cosines[item, ray])
            rgb, end = slow(state, config, codes[item].numpy(), origin, direction, first)
            np.testing.assert_allclose(colour[item, ray], rgb, rtol=1e-9, atol=1e-10)
            assert distance[item, ray].item() == pytest.approx(end, rel=1e-9)


def test_the_first_depths_are_noisy_along_the_axis_while_training():
    seen = bundle(1, 4000)
    depth = srn.first_distances(SrnConfig(), seen, torch.Generator().manual_seed(0)) * seen.cosines
    assert depth.mean().item() == pytest.approx(0.05, abs=5e-5) and depth.std().item() == pytest.approx(5e-4, rel=0.05)
    assert torch.allclose(srn.first_distances(SrnConfig(), seen, None) * seen.cosines, torch.tensor(0.05).double())


def test_a_shift_of_the_world_and_its_frame_changes_nothing():
    net = networks(dataclasses.replace(LIKE_PAPER, start="near"), 0).double()
    codes, seen = torch.randn(2, 6, dtype=torch.float64), bundle()
    with torch.no_grad():
        colour, distance = net.trace(net.weights(codes), seen)
        net.frame.copy_(torch.tensor([2.0, 4.0, 6.0, 2.0]))
        moved = seen._replace(origins=2 * seen.origins + torch.tensor([2.0, 4.0, 6.0]), near=2 * seen.near)
        again, farther = net.trace(net.weights(codes), moved)
    torch.testing.assert_close(again, colour)
    torch.testing.assert_close(farther, 2 * distance)


# ------------------------------------------------------------------------------------------------------------ the loss


def gradients(net, codes, seen, sizes):
    net.zero_grad(), setattr(codes, "grad", None)
    share, total, at = StepLoss(net, codes, seen, None), 0.0, 0
    for size in sizes:
        part = share(slice(at, at + size))
        part.backward()
        total, at = total + part.item(), at + size
    return total, [codes.grad.clone(), *(p.grad.clone() for p in net.parameters())]


def test_the_loss_is_the_papers_and_parts_add_up_to_the_whole():
    net = networks(LIKE_PAPER, 0).double()
    codes, seen = torch.randn(2, 6, dtype=torch.float64, requires_grad=True), bundle()
    with torch.no_grad():
        net.marcher.out_layer.bias.fill_(-0.3)  # so that some depths are negative
    whole, expected = gradients(net, codes, seen, [5])
    colour, distance = net.trace(net.weights(codes), seen)
    depth = distance * seen.cosines
    assert (depth < 0).any()
    loss = 200 * ((colour - (2 * seen.colours - 1)) ** 2).mean() + (codes**2).mean()
    loss = loss + 1e-3 * 10000 * (torch.min(depth, torch.zeros_like(depth)) ** 2).mean()
    assert whole == pytest.approx(loss.item(), rel=1e-12)
    by_hand = torch.autograd.grad(loss, [codes, *net.parameters()])
    for sizes in ([5], [2, 2, 1], [1] * 5):
        total, found = gradients(net, codes, seen, sizes)
        assert total == pytest.approx(whole, rel=1e-12)
        for one, two, three in zip(found, expected, by_hand, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)
            torch.testing.assert_close(one, three, rtol=1e-10, atol=1e-12)


def test_gradients_at_the_states_are_bounded():
    marcher = networks(LIKE_PAPER, 0).marcher
    x = torch.randn(1, 12)
    sizes = []
    for scale in (1.0, 1e6, 1e9):
        marcher.zero_grad()
        step, _ = marcher(x, None)
        (scale * step.sum()).backward()
        sizes.append(marcher.lstm.bias_ih.grad.abs().max().item())
    assert sizes[0] < sizes[1] == sizes[2] <= 10


def test_the_plain_step_gives_the_same_loss_and_gradients():
    module = plain()
    ours, beside = module.steps(LIKE_PAPER, images=3, side=6)
    assert ours() == pytest.approx(beside(), rel=1e-5)
    net, seen = networks(LIKE_PAPER, 0), module.bundle_of(3, 6)
    start = 0.01 * torch.randn(3, 6, generator=torch.Generator().manual_seed(0))
    other = module.plain_of(net)
    codes = start.clone().requires_grad_()
    _, found = gradients(net, codes, seen, [20, 16])
    z = start.clone().requires_grad_()
    colour, depth = other(z, seen)
    loss = 200 * torch.nn.functional.mse_loss(colour, 2 * seen.colours - 1) + (z**2).mean()
    (loss + 10 * (depth.clamp_max(0) ** 2).mean()).backward()
    grads = {name: p.grad for name, p in other.named_parameters()}
    names = [name.removeprefix("marcher.") for name, _ in net.named_parameters()]
    names = [f"hyper.{n.split('.')[1]}.net.{n.split('.', 2)[2]}" if n.startswith("hyper.") else n for n in names]
    for one, two in zip(found, [z.grad, *(grads[name] for name in names)], strict=True):
        assert (one - two).norm() <= 1e-5 * two.norm() + 1e-7


# ----------------------------------------------------------------------------------------------------------- learning


@pytest.fixture(scope="module")
def learned():
    method = Srn(dataclasses.replace(SMALL, width=32, steps=400, rate=5e-3, fit_steps=60, fit_rays=128))
    method.learn([ball(i) for i in range(10)], Budget())
    return method


def test_it_learns_balls_and_beats_the_floors_on_an_unseen_one(learned):
    for seed in (50, 51):
        scene = ball(seed, views=1, hidden=4)
        floors = [kind(NoConfig()).fit(scene.seen(), Budget()) for kind in (MeanColour, NearestView)]
        assert psnr(learned.fit(scene.seen(), Budget()), scene.hidden) > max(psnr(f, scene.hidden) for f in floors) + 2


def test_depth_lies_along_the_ray_where_the_march_ends(learned):
    scene = ball(50, views=1, hidden=2)
    field = learned.fit(scene.seen(), Budget(steps=5))
    cameras = scene.hidden.cameras
    depth = field.depth(cameras)
    assert depth.shape == (2, 16, 16) and np.isfinite(depth).all() and depth.dtype == np.float32
    origin, direction = rays(cameras, 1)
    points = torch.from_numpy(origin + depth[1].reshape(-1, 1) * direction)
    net = learned.networks
    with torch.no_grad():
        found = features(phi_layers(net.weights(field.code[None]), 32), ((points - net.frame[:3]) / net.frame[3])[None])
        colour = (net.generator(found)[0] / 2 + 0.5).clamp(0, 1).view(16, 16, 3)
    np.testing.assert_allclose(field.render(cameras)[1], colour, atol=1e-4)


def test_whole_images_train_in_stages_and_codes_move_on_between_looks():
    scenes = [ball(i, views=2, size=8) for i in range(3)]
    method = Srn(LIKE_PAPER)
    method.learn(scenes, Budget())
    assert method.codes.shape == (3, 6) and method.networks.frame.tolist() == [0, 0, 0, 1]
    assert [srn._stage(LIKE_PAPER.stages, i / 5).side for i in range(5)] == [4, 4, 8, 8, 8]
    ends = [method.fit(ball(9, views=1, size=8), Budget(steps=n)).code for n in (1, 2, 3, 4)]
    moves = [(two - one).abs().max().item() for one, two in itertools.pairwise(ends)]
    assert moves[0] > 0 and moves[1] > 0  # of the momentum alone
    assert (ends[0] - method._codes(1).weight[0].detach()).abs().max().item() == pytest.approx(5e-5, rel=0.02)


def test_half_precision_trains_too():
    method = Srn(dataclasses.replace(SMALL, precision="bf16"))
    losses = []
    method.learn([ball(i) for i in range(3)], Budget(steps=30).start(lambda p: losses.append(p.numbers.get("loss"))))
    assert np.isfinite(losses[0]) and np.isfinite(psnr(method.fit(ball(5), Budget(steps=2)), ball(5).given.views))


class Stopped(Exception):
    pass


@pytest.mark.parametrize("config", [SMALL, LIKE_PAPER], ids=["rays", "images"])
def test_a_broken_off_run_ends_as_one_that_was_not(config, tmp_path, monkeypatch):
    scenes = [ball(i, views=3, size=8) for i in range(4)]
    config = dataclasses.replace(config, fit_start="random")

    def learn(budget):
        method = Srn(config, seed=4)
        method.learn(scenes, budget)
        return method

    def fit(method, budget):
        return method.fit(ball(8, views=2, size=8), budget)

    whole = learn(Budget(steps=9))
    field = fit(whole, Budget(steps=7))
    descend, at = Training.descend, 5

    def stopping(self, count, loss, **numbers):
        descend(self, count, loss, **numbers)
        if self._step.index == at:
            self._write(self._folder / STATE, at + 1)
            raise Stopped

    for steps, call in ((9, learn), (7, functools.partial(fit, whole))):
        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(Training, "descend", stopping)
            call(Budget(steps=steps).start(keep=tmp_path))
    torch.manual_seed(77)
    told = []
    method = learn(Budget(steps=9).start(keep=tmp_path, tell=told.append))
    again = fit(method, Budget(steps=7).start(keep=tmp_path, tell=told.append))
    assert [text[:20] for text in told] == ["Going on from step 6"] * 2
    for name, tensor in whole.networks.state_dict().items():
        assert torch.equal(method.networks.state_dict()[name], tensor), name
    assert torch.equal(method.codes, whole.codes) and torch.equal(again.code, field.code)


# ------------------------------------------------------------------------------------------- checkpoints and bad input


def test_method_and_field_survive_the_disk(learned, tmp_path):
    scene = ball(60, views=1, hidden=2)
    field = learned.fit(scene, Budget(steps=3))
    learned.save(tmp_path / "method")
    field.save(tmp_path / "field")
    again = Srn(dataclasses.replace(learned.config, steps=7, rate=1.0))  # which make no other networks
    restored = again.restore(tmp_path / "field")
    again.load(tmp_path / "method")
    for other in (restored, Srn(learned.config).restore(tmp_path / "field")):
        np.testing.assert_array_equal(other.render(scene.hidden.cameras), field.render(scene.hidden.cameras))
        np.testing.assert_array_equal(other.depth(scene.hidden.cameras), field.depth(scene.hidden.cameras))
    fitted = again.fit(scene, Budget(steps=3)).render(scene.hidden.cameras)
    np.testing.assert_array_equal(fitted, field.render(scene.hidden.cameras))
    assert restored.parameters == field.parameters == sum(p.numel() for p in learned.networks.parameters()) + 8


def test_other_checkpoints_are_refused(learned, tmp_path):
    learned.save(tmp_path)
    with pytest.raises(Unsupported, match="width 32 instead of 16"):
        Srn(SMALL).load(tmp_path)
    with pytest.raises(DataMissing, match=r"field\.json"):
        learned.restore(tmp_path)
    about = tmp_path / "network.json"
    about.write_text(about.read_text().replace('"srn"', '"deepsdf"'))
    with pytest.raises(DataCorrupt, match="deepsdf"):
        Srn(learned.config).load(tmp_path)
    learned.fit(ball(3, views=1), Budget(steps=1)).save(tmp_path)
    field = tmp_path / "field.json"
    for old, new in (('"width": 32', '"width": 31'), ('"config"', '"konfig"')):
        text = field.read_text()
        field.write_text(text.replace(old, new))
        with pytest.raises(DataCorrupt, match="holds no field of srn"):
            learned.restore(tmp_path)
        field.write_text(text)


def official(config, codes=3):
    """A state dict as the original code names it."""
    state = {srn._official(n, config): t for n, t in networks(config, 5).state_dict().items() if n != "frame"}
    return state | {"latent_codes.weight": torch.randn(codes, config.code)}


def test_an_official_checkpoint_becomes_a_method_that_fits_saves_and_loads(tmp_path):
    state = official(LIKE_PAPER)
    assert "hyper_phi.layers.2.hyper_linear.hypo_params.net.1.net.0.weight" in state
    assert {"hyper_phi.layers.0.hyper_linear.hypo_params.net.2.bias", "pixel_generator.net.2.weight"} <= state.keys()
    method = Srn(LIKE_PAPER)
    assert method.adopt(state, None) is None
    assert torch.equal(method.codes, state["latent_codes.weight"])
    method.save(tmp_path)
    again = Srn(LIKE_PAPER)
    again.load(tmp_path)
    scene = ball(1, views=1, hidden=1, size=8)
    first, second = (m.fit(scene, Budget(steps=2)).render(scene.hidden.cameras) for m in (method, again))
    np.testing.assert_array_equal(first, second)


def test_an_official_checkpoint_that_does_not_fit_is_told_why():
    state = official(LIKE_PAPER)
    with pytest.raises(DataCorrupt, match=r"phi\.net\.0\.weight is not known"):
        official_networks(state | {"phi.net.0.weight": torch.zeros(1)}, LIKE_PAPER)
    with pytest.raises(DataCorrupt, match=r"ray_marcher\.lstm\.bias_hh is missing"):
        official_networks({n: t for n, t in state.items() if n != "ray_marcher.lstm.bias_hh"}, LIKE_PAPER)
    with pytest.raises(DataCorrupt, match=r"latent_codes\.weight is \(3, 5\)"):
        official_networks(state | {"latent_codes.weight": torch.zeros(3, 5)}, LIKE_PAPER)
    with pytest.raises(DataCorrupt, match=r"net\.2\.weight is \("):
        official_networks(state, dataclasses.replace(LIKE_PAPER, width=13))
    with pytest.raises(DataCorrupt, match="model is not known"):
        official_networks({"model": 3}, LIKE_PAPER)


def test_bad_scenes_are_named():
    method = Srn(SMALL)
    bare = Scene("bare", Given(cloud=Points(np.zeros((1, 3)))), BOX)
    with pytest.raises(Unsupported, match="training scenes"):
        method.learn([], Budget(steps=1))
    with pytest.raises(DataMissing, match="bare"):
        method.learn([ball(0), bare], Budget(steps=1))
    for call in (lambda: method.fit(ball(0), Budget()), lambda: method.save(Path("nowhere"))):
        with pytest.raises(Unsupported, match="learned nothing"):
            call()
    method.learn([ball(0)], Budget(steps=1))
    with pytest.raises(DataMissing, match="bare"):
        method.fit(bare, Budget(steps=1))
    field = method.fit(ball(0), Budget(steps=1))
    two = Cameras(*(np.concatenate([a, b]) for a, b in zip(*map(arrays_of, (ball(0), ball(0, size=8))), strict=True)))
    with pytest.raises(Unsupported, match="2 image sizes"):
        field.render(two)


def arrays_of(scene):
    cameras = scene.given.views.cameras
    return cameras.c2w, cameras.K, cameras.size


def test_a_loss_that_is_no_number_stops():
    with pytest.raises(Diverged):
        Srn(dataclasses.replace(SMALL, image_weight=float("nan"))).learn([ball(0)], Budget(steps=2))


def test_the_seed_decides_and_the_global_random_state_is_left_alone():
    def after(seed):
        torch.manual_seed(seed + 100)
        state = torch.get_rng_state()
        method = Srn(SMALL, seed=seed)
        method.learn([ball(i) for i in range(3)], Budget(steps=2))
        assert torch.equal(torch.get_rng_state(), state)
        return method.networks.state_dict()

    first, again, other = after(1), after(1), after(2)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["marcher.lstm.weight_ih"], other["marcher.lstm.weight_ih"])


def test_the_contract_is_kept():
    spec = MethodSpec(
        "srn",
        "nfbench.baselines.srn:Srn",
        "A test.",
        needs=("views",),
        gives=("render",),
        presets=("paper", "fast", "tiny"),
    )
    broken = [f"{finding.clause}: {finding.why}" for finding in check_method(spec) if not finding.kept]
    assert not broken
    assert not hasattr(SrnField, "value")
