import dataclasses
import math

import numpy as np
import pytest
import torch

from nfbench.baselines.nerf import Nerf, NerfConfig, NerfField
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.checks import check_method
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.method import Budget, Renders, Validation, Valued
from nfbench.harness.registry import MethodSpec
from nfbench.harness.scene import Given, Scene, Views

REDUCED = NerfConfig(layers=4, width=32, skip=2, view_width=16, frequencies=5, coarse=16, fine=16, rays=256, rate=5e-3)
TINY = dataclasses.replace(
    Nerf.presets["tiny"], width=32, view_width=16, frequencies=5, coarse=48, grid=16, samples=2048
)

pytestmark = pytest.mark.usefixtures("one_thread")


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


def test_paper_sizes():
    field = NerfField(NerfConfig(), ball_scene().box, (1, 1, 1), "cpu")
    assert field.parameters == 1_191_688
    assert [sum(p.numel() for p in network.parameters()) for network in field.networks] == [595_844, 595_844]


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


def test_keeps_the_contract():
    spec = MethodSpec(
        "nerf",
        "nfbench.baselines.nerf:Nerf",
        "x",
        needs=("views",),
        gives=("render", "value"),
        presets=tuple(Nerf.presets),
    )
    findings = check_method(spec)
    assert len(findings) > 6 and all(finding.kept for finding in findings), findings


class Killed(Exception):
    pass


@pytest.mark.parametrize("config", [TINY, REDUCED], ids=["tiny", "reduced paper"])
def test_a_killed_fit_goes_on_to_the_same_bits(config, tmp_path, monkeypatch):
    config, scene, steps = dataclasses.replace(config, width=16, rays=32), ball_scene(), 150 if config.grid else 9
    whole = Nerf(config, seed=2).fit(scene, Budget(steps=steps))
    monkeypatch.setattr("nfbench.harness.training._KEEP_SECONDS", 0.0)
    monkeypatch.setattr("nfbench.harness.training._KEEP_SHARE", 0.0)
    monkeypatch.setattr("nfbench.harness.training._REPORT_SECONDS", 0.0)

    def kill(progress):
        if progress.step == steps - 4:
            raise Killed

    with pytest.raises(Killed):
        Nerf(config, seed=2).fit(scene, Budget(steps=steps).start(kill, keep=tmp_path))
    told = []
    again = Nerf(config, seed=2).fit(scene, Budget(steps=steps).start(tell=told.append, keep=tmp_path))
    assert any(f"from step {steps - 4}" in text for text in told)
    for one, two in zip(whole.networks.parameters(), again.networks.parameters(), strict=True):
        assert torch.equal(one, two)
    if config.grid:
        assert not whole.grid.occupied.all() and torch.equal(whole.grid.occupied, again.grid.occupied)


def test_a_batch_in_parts_of_any_size_gives_the_same_gradient():
    field = NerfField(dataclasses.replace(REDUCED, width=16), ball_scene().box, (1, 0, 1), "cpu", seed=1)
    origins, directions = (torch.from_numpy(a) for a in rays(ring(1), 0))
    bundle = field.bounds(origins, directions, None)
    field.trace(bundle).colours[-1].square().sum().backward()
    gradients = [p.grad.clone() for p in field.networks[1].parameters()]
    field.networks.zero_grad()
    for start in range(0, len(bundle), 100):
        field.trace(bundle[start : start + 100]).colours[-1].square().sum().backward()
    for one, two in zip(gradients, field.networks[1].parameters(), strict=True):
        assert torch.allclose(one, two.grad, rtol=1e-3, atol=1e-4 * float(one.abs().max()))


def test_bfloat16_is_of_equal_quality():
    scene = ball_scene()
    fitted = []
    for precision in ("fp32", "bf16"):
        config = dataclasses.replace(TINY, precision=precision)
        fitted.append(psnr_and_floor(Nerf(config, seed=1).fit(scene.seen(), Budget(steps=120)), scene)[0])
    assert abs(fitted[0] - fitted[1]) < 1.0


def test_noise_is_for_training_only():
    field = NerfField(dataclasses.replace(REDUCED, width=8, noise=3.0), ball_scene().box, (1, 1, 1), "cpu")
    cameras = ring(1)
    assert np.array_equal(field.render(cameras), field.render(cameras))
    origins, directions = (torch.from_numpy(a) for a in rays(cameras, 0))
    bundle = field.bounds(origins, directions, None)
    quiet = dataclasses.replace(field.config, noise=0.0)
    noisy = field.trace(bundle, torch.Generator().manual_seed(0)).colours[-1]
    field.config = quiet
    assert (noisy - field.trace(bundle, torch.Generator().manual_seed(0)).colours[-1]).abs().max() > 0.05


def window_scene(views=7, size=20):
    """Forward-facing photographs of a wall at y = 4 with a pattern, before a farther one at y = 12."""
    eyes = np.random.default_rng(3).uniform(-0.4, 0.4, (views, 3)) * [1, 0.2, 1]
    c2w = np.stack([look_at(eye, eye + [0, 1, 0]) for eye in eyes])
    K = [[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]]
    near_far = np.tile([3.5, 14.0], (views, 1))
    cameras = Cameras(c2w, np.tile(K, (views, 1, 1)), np.full((views, 2), size), near_far)
    images, ends = [], []
    for index in range(views):
        origins, directions = rays(cameras, index)
        ends += [origins + 3.5 * directions, origins + 14 * directions * 1.1]
        at = [origins + (wall - origins[:, 1:2]) / directions[:, 1:2] * directions for wall in (4.0, 12.0)]
        front = (at[0][:, 0] ** 2 + at[0][:, 2] ** 2 < 0.8)[:, None]
        near = np.array([[0.9, 0.3, 0.1]]) * (0.75 + 0.25 * np.sin(4 * at[0][:, :1]))
        far = np.array([[0.1, 0.3, 0.7]]) * (0.75 + 0.25 * np.sin(1.5 * at[1][:, 2:]))
        images.append(np.rint(np.where(front, near, far) * 255).astype(np.uint8).reshape(size, size, 3))
    points = np.concatenate(ends)
    given = Given(views=Views(cameras, tuple(map(str, range(views))), lambda i: images[i]))
    return Scene("window", given, np.stack([points.min(0) - 0.5, points.max(0) + 0.5]), background=(0.0, 0.0, 0.0))


def test_a_forward_facing_scene_is_fitted_in_normalised_device_coordinates(tmp_path):
    scene, told = window_scene(), []
    config = dataclasses.replace(TINY, rate=1e-2)
    field = Nerf(config, seed=0).fit(scene, Budget(steps=250).start(tell=told.append))
    assert field.ndc is not None and any("space=box" in text for text in told)
    cameras = scene.given.views.cameras
    truth = np.stack([scene.given.views.image(i) for i in range(len(cameras))]) / 255
    error = ((field.render(cameras) - truth) ** 2).mean()
    assert -10 * np.log10(error) > -10 * np.log10(((truth - truth.mean((0, 1, 2))) ** 2).mean()) + 6
    field.save(tmp_path)
    again = Nerf(config).restore(tmp_path)
    assert np.array_equal(again.render(cameras[[0]]), field.render(cameras[[0]]))
    behind = dataclasses.replace(cameras[[0]], c2w=look_at([0, 0, 0], [0, -1, 0])[None])
    assert np.array_equal(field.render(behind), np.zeros((1, 20, 20, 3), np.float32))
    middle = field.maps(cameras).depth[:, 10, 10]
    assert 3.0 < np.median(middle) < 6.5
    wall = torch.tensor([[0.0, 4.0, 0.0], [0.3, 4.0, 0.2]])
    points, rate = field.ndc.points(wall)
    expected = field.density(points).detach() * rate
    assert (expected > 0).all() and (np.isin(field.value(wall.numpy()), [0, *expected.numpy()])).all()
    assert field.value(np.array([[0, -3.0, 0], [40, 4, 0]], np.float32)).tolist() == [0, 0]
    assert Nerf(dataclasses.replace(config, space="box")).fit(scene, Budget(steps=1)).ndc is None


def test_normalised_device_coordinates_are_refused_where_they_make_no_sense():
    with pytest.raises(Unsupported, match="how near"):
        Nerf(dataclasses.replace(TINY, space="ndc")).fit(ball_scene(), Budget(steps=1))
    assert Nerf(TINY).fit(ball_scene((1.5, 6.5)), Budget(steps=1)).ndc is None


def homogeneous(config, sigma):
    """A field of one density everywhere in its box, grey."""
    field = NerfField(config, ball_scene().box, (1, 1, 1), "cpu")
    with torch.no_grad():
        for parameter in field.networks.parameters():
            parameter.zero_()
        for network in field.networks:
            raw = sigma if config.density == "relu" else math.log(math.expm1(sigma * field.step)) + 5
            network.sigma.bias.fill_(raw)
    return field


@pytest.mark.parametrize("config", [TINY, REDUCED], ids=["tiny", "reduced paper"])
def test_opacity_and_depth_of_a_homogeneous_medium(config):
    config = dataclasses.replace(config, coarse=200)
    field = homogeneous(config, 1.5)
    maps = field.maps(ring(2))
    for index in range(2):
        origins, directions = (torch.from_numpy(a) for a in rays(ring(2), index))
        bundle = field.bounds(origins, directions, None)
        length = (bundle.far - bundle.near).numpy()
        crossed = length > math.log(2) / 1.5 + 0.05
        depth = maps.depth[index].reshape(-1)
        expected = bundle.near.numpy() + math.log(2) / 1.5
        np.testing.assert_allclose(depth[crossed], expected[crossed], atol=0.04)
        if config.grid:  # without a grid, the last interval has no end
            assert np.isinf(depth[length < math.log(2) / 1.5 - 0.05]).all()
            np.testing.assert_allclose(maps.opacity[index].reshape(-1), 1 - np.exp(-1.5 * length), atol=0.03)
    assert field.value(np.array([[0.2, 0.1, -0.3]], np.float32))[0] == pytest.approx(1.5, rel=1e-4)


def test_maps_of_a_ball():
    scene = ball_scene(views=12)
    field = Nerf(TINY, seed=1).fit(scene.seen(), Budget(steps=250))
    cameras = scene.given.views.cameras
    maps = field.maps(cameras)
    assert maps.depth.dtype == maps.normal.dtype == maps.opacity.dtype == np.float32
    assert maps.opacity.min() >= 0 and maps.opacity.max() <= 1
    inside = np.stack([scene.given.views.image(i)[..., 3] > 0 for i in range(12)])
    assert ((maps.opacity > 0.5) == inside).mean() > 0.9
    found = np.isfinite(maps.depth)
    assert np.array_equal(found, np.linalg.norm(maps.normal, axis=-1) > 0.5)
    errors, agree = [], []
    for index in range(12):
        origins, directions = rays(cameras, index)
        at = found[index].reshape(-1) & inside[index].reshape(-1)
        points = (origins + maps.depth[index].reshape(-1, 1) * directions)[at]
        errors.append(np.abs(np.linalg.norm(points, axis=1) - 0.8))
        agree.append((maps.normal[index].reshape(-1, 3)[at] * points / np.linalg.norm(points, axis=1)[:, None]).sum(1))
    assert np.median(np.concatenate(errors)) < 0.12
    assert np.median(np.concatenate(agree)) > 0.7


def test_one_view_cameras_inside_the_box_and_a_box_beside_the_views():
    told = []
    one = Nerf(TINY).fit(ball_scene(views=1), Budget(steps=2).start(tell=told.append))
    assert np.isfinite(one.render(ring(1))).all() and any("one view" in text for text in told)
    scene = ball_scene()
    for config in (TINY, dataclasses.replace(REDUCED, width=8, rays=32)):
        around = dataclasses.replace(scene, box=np.array([[-8.0] * 3, [8.0] * 3]))
        field = Nerf(config).fit(around, Budget(steps=3))
        assert np.isfinite(field.render(ring(1))).all()
        beside = dataclasses.replace(scene, box=np.array([[50.0] * 3, [51.0] * 3]))
        with pytest.raises(DataCorrupt, match=r"ball.*none of 4096 rays"):
            Nerf(config).fit(beside, Budget(steps=1))


def test_the_field_is_measured_while_it_is_fitted():
    seen, reports = [], []

    def measure(field):
        seen.append(field.render(ring(1)))
        return {"mean": float(seen[-1].mean())}

    check = Validation((0.0001,), measure)
    Nerf(dataclasses.replace(TINY, width=8)).fit(
        ball_scene(views=2), Budget(steps=3).start(reports.append, validation=check)
    )
    assert len(seen) == 1 and any("validation mean" in report.numbers for report in reports)
