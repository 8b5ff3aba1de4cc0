import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from nfbench.baselines.nerf import Nerf, NerfConfig, NerfField, Network, encode
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.method import Budget, Renders, Valued
from nfbench.harness.scene import Given, Scene, Views

# the original's module for each of ours, in the order of its parameters
ROLES = [f"trunk.{i}" for i in range(8)] + ["view", "feature", "sigma", "rgb"]
REDUCED = NerfConfig(layers=4, width=32, skip=2, view_width=16, frequencies=5, coarse=16, fine=16, rays=256, rate=5e-3)
TINY = dataclasses.replace(
    Nerf.presets["tiny"], width=32, view_width=16, frequencies=5, coarse=48, grid=16, samples=2048
)


def ring(count, size=24):
    turns = np.arange(count) * 2.4
    eyes = [[3 * math.cos(a), 3 * math.sin(a), 2.5 * math.sin(3 * a)] for a in turns]
    K = [[1.3 * size, 0, size / 2], [0, 1.3 * size, size / 2], [0, 0, 1]]
    c2w = np.stack([look_at(eye, [0, 0, 0]) for eye in eyes])
    return Cameras(c2w, np.tile(K, (count, 1, 1)), np.full((count, 2), size))


def photograph(cameras, index):
    """RGBA of a ball of radius 0.8 whose colour is its normal, by the closed form of where a ray meets it."""
    size = int(cameras.size[index, 0])
    origins, directions = (a.astype(np.float64) for a in rays(cameras, index))
    along = -(origins * directions).sum(1)
    inside = 0.8**2 - (origins**2).sum(1) + along**2
    point = origins + (along - np.sqrt(np.maximum(inside, 0)))[:, None] * directions
    colour = np.where(inside[:, None] > 0, 0.5 + 0.5 * point / 0.8, 0.3)
    rgba = np.concatenate([colour, (inside > 0)[:, None]], 1)
    return np.round(rgba * 255).astype(np.uint8).reshape(size, size, 4)


def ball_scene(near_far=None, views=8):
    cameras = ring(views)
    if near_far is not None:
        cameras = dataclasses.replace(cameras, near_far=np.tile(near_far, (views, 1)))
    images = [photograph(cameras, i) for i in range(views)]
    given = Given(views=Views(cameras, tuple(str(i) for i in range(views)), lambda i: images[i]))
    return Scene("ball", given, np.array([[-1, -1, -1], [1, 1, 1]]), background=(1.0, 0.8, 0.6))


def psnr_and_floor(field, scene):
    """PSNR of the field and of the best single colour, over the scene's own views."""
    views = scene.given.views
    truth = np.stack([views.image(i) for i in range(len(views))]).astype(np.float64) / 255
    truth = truth[..., :3] * truth[..., 3:] + np.array(scene.background) * (1 - truth[..., 3:])
    rendered = field.render(views.cameras)
    assert rendered.shape == truth.shape and rendered.dtype == np.float32
    assert rendered.min() >= 0 and rendered.max() <= 1
    mean = truth.mean((0, 1, 2))
    return tuple(-10 * np.log10(((guess - truth) ** 2).mean()) for guess in (rendered, mean))


def hashed(k, shape, name):
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


def test_paper_sizes():
    field = NerfField(NerfConfig(), ball_scene().box, (1, 1, 1), "cpu")
    assert field.parameters == 1_191_688
    assert [sum(p.numel() for p in network.parameters()) for network in field.networks] == [595_844, 595_844]


def test_network_agrees_with_the_original(real_data):
    file = real_data.parent / "reference" / "network_fingerprints.json"
    reference = json.loads(file.read_text())["networks"]["NeRF"]
    order = [name for name, _ in reference["parameters"]]
    originals = [f"pts_linears.{i}" for i in range(8)]
    originals += ["views_linears.0", "feature_linear", "alpha_linear", "rgb_linear"]
    network = Network(NerfConfig(), torch.Generator()).double()
    state = {}
    for role, original in zip(ROLES, originals, strict=True):
        for part in ("weight", "bias"):
            name = f"{original}.{part}"
            shape = dict(reference["parameters"])[name]
            state[f"{role}.{part}"] = torch.from_numpy(hashed(order.index(name), shape, name))
    network.load_state_dict(state)
    directions = wave((7, 3), 1, 1)
    directions = torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    with torch.no_grad():
        sigma, rgb = network(torch.from_numpy(wave((7, 3), 0.8, 0)), directions, torch.arange(7))
    expected = reference["fingerprint"]["hash"]["raw_rgb_sigma[7x4] (columns r,g,b before sigmoid, sigma before relu)"]
    np.testing.assert_allclose(torch.cat([rgb, sigma[:, None]], 1), expected, atol=1e-8)
    encoded = encode(torch.from_numpy(wave((7, 3), 0.8, 0)), 10)[0]
    np.testing.assert_allclose(encoded, reference["encoding_of_first_point"], atol=1e-9)


def test_encoding_against_a_slow_transcription():
    x = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 4 - 2
    for row, encoded in zip(x.tolist(), encode(x, 6).tolist(), strict=True):
        expected = list(row)
        for octave in range(6):
            expected += [math.sin(2**octave * c) for c in row] + [math.cos(2**octave * c) for c in row]
        assert encoded == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("config", "steps"), [(TINY, 150), (REDUCED, 200)], ids=["tiny", "reduced paper"])
def test_overfits_a_ball(config, steps):
    scene = ball_scene()
    field = Nerf(config, seed=1).fit(scene.seen(), Budget(steps=steps))
    assert isinstance(field, Renders) and isinstance(field, Valued) and field.kind == "density"
    fitted, mean_colour = psnr_and_floor(field, scene)
    assert fitted > mean_colour + 7
    towards = np.random.default_rng(0).normal(size=(200, 3))
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    inside, outside = (field.value((radius * towards).astype(np.float32)).mean() for radius in (0.7, 0.98))
    assert inside > 5 * outside


def test_near_and_far_are_optional_and_used():
    config = dataclasses.replace(REDUCED, width=8, rays=64)
    for scene in (ball_scene(), ball_scene(near_far=(1.5, 6.5))):
        field = Nerf(config).fit(scene, Budget(steps=2))
        assert np.isfinite(field.render(scene.given.views.cameras[[0]])).all()
    field = NerfField(dataclasses.replace(TINY, normalise=False), ball_scene().box, (0, 1, 0), "cpu")
    beyond = dataclasses.replace(ring(1), near_far=np.array([[20.0, 30.0]]))
    assert np.array_equal(np.unique(field.render(beyond).reshape(-1, 3), axis=0), [[0, 1, 0]])


def test_alpha_is_no_supervision():
    scene = ball_scene()
    views, behind = scene.given.views, np.array([255, 204, 153], np.uint8)
    images = [views.image(i) for i in range(len(views))]
    flat = [np.where(image[:, :, 3:] > 0, image[:, :, :3], behind) for image in images]
    opaque = dataclasses.replace(scene, given=Given(views=dataclasses.replace(views, load=lambda i: flat[i])))
    config = dataclasses.replace(TINY, width=16)
    first, second = (Nerf(config).fit(s, Budget(steps=5)).render(views.cameras[[0]]) for s in (scene, opaque))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("config", [TINY, REDUCED], ids=["tiny", "reduced paper"])
def test_seed_decides_everything_and_the_global_generator_is_left_alone(config):
    config, scene = dataclasses.replace(config, width=16), ball_scene()
    cameras = scene.given.views.cameras[[0]]
    state = torch.get_rng_state()
    first = Nerf(config, seed=3).fit(scene, Budget(steps=6)).render(cameras)
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(99)
    assert np.array_equal(first, Nerf(config, seed=3).fit(scene, Budget(steps=6)).render(cameras))
    assert not np.array_equal(first, Nerf(config, seed=4).fit(scene, Budget(steps=6)).render(cameras))


@pytest.mark.parametrize("config", [TINY, REDUCED], ids=["tiny", "reduced paper"])
def test_restored_fields_render_the_same_bits(config, tmp_path):
    scene = ball_scene()
    field = Nerf(dataclasses.replace(config, width=16)).fit(scene, Budget(steps=140 if config.grid else 5))
    field.save(tmp_path / "field")
    again = Nerf(NerfConfig()).restore(tmp_path / "field")
    cameras = ring(3)
    assert np.array_equal(field.render(cameras), again.render(cameras))
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (500, 3)).astype(np.float32)
    assert np.array_equal(field.value(points), again.value(points))
    assert again.config == field.config and again.parameters == field.parameters


def test_restore_names_what_is_wrong(tmp_path):
    with pytest.raises(DataMissing, match=r"field\.json"):
        Nerf(NerfConfig()).restore(tmp_path)
    NerfField(dataclasses.replace(TINY, width=8), ball_scene().box, (1, 1, 1), "cpu").save(tmp_path)
    (tmp_path / "field.safetensors").write_bytes(b"not tensors")
    with pytest.raises(DataCorrupt, match="field"):
        Nerf(NerfConfig()).restore(tmp_path)
    field = NerfField(dataclasses.replace(TINY, width=8), ball_scene().box, (1, 1, 1), "cpu")
    field.networks = torch.nn.ModuleList()
    field.save(tmp_path)
    with pytest.raises(DataCorrupt, match=r"no fitted NeRF[\s\S]*trunk"):
        Nerf(NerfConfig()).restore(tmp_path)


def test_budgets_in_steps_and_seconds_are_kept():
    reports = []
    scene, config = ball_scene(views=2), dataclasses.replace(TINY, width=8, steps=7)
    Nerf(config).fit(scene, Budget(listener=reports.append))
    assert reports[0].step == 0 and {"loss", "psnr"} <= set(reports[0].numbers)
    field = Nerf(config).fit(scene, Budget(seconds=1e-6))
    assert np.isfinite(field.render(scene.given.views.cameras)).all()


def test_a_scene_without_views_is_refused():
    with pytest.raises(DataMissing, match="ball"):
        Nerf(TINY).fit(dataclasses.replace(ball_scene(), given=Given()), Budget(steps=1))
