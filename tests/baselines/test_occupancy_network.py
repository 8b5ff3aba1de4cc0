"""Occupancy Networks on tiny families, from clouds, images and voxels; the networks' own tests are in test_onet_*."""

import dataclasses

import numpy as np
import pytest
import torch

from nfbench.baselines.occupancy_network import (
    OccupancyNetwork,
    OccupancyNetworkConfig,
    OccupancyNetworkImage,
    OccupancyNetworkVoxels,
)
from nfbench.baselines.onet_encoders import ResNet18
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.checks import check_method
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.method import Budget
from nfbench.harness.probe import ball
from nfbench.harness.registry import MethodSpec
from nfbench.harness.scene import Given, Points, Scene, Views, Voxels
from nfbench.harness.training import STATE, Training

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


# ------------------------------------------------------------------------------------------------ all kinds of input

NARROW = {"code": 16, "decoder_hidden": 16, "decoder_blocks": 1, "query_points": 200, "batch": 4}
METHODS = {
    OccupancyNetwork: OccupancyNetworkConfig(**NARROW, encoder_hidden=8, encoder_blocks=2, turn=2, stretch=0.1),
    OccupancyNetworkImage: dataclasses.replace(OccupancyNetworkImage.presets["tiny"], **NARROW, side=32, width=4),
    OccupancyNetworkVoxels: dataclasses.replace(OccupancyNetworkVoxels.presets["tiny"], **NARROW, width=2, voxels=16),
}


def full_sphere(seed):
    """A sphere with everything given: cloud, samples, 16 voxels along an edge and views shaded by depth."""
    scene, rng = sphere(seed), np.random.default_rng(seed)
    centre, radius = rng.uniform(-0.12, 0.12, 3), rng.uniform(0.2, 0.4)  # the first draws of sphere(seed)
    empty = Voxels(np.zeros((16, 16, 16), np.bool_), BOX)
    filled = (np.linalg.norm(empty.centres() - centre, axis=1) < radius).reshape(16, 16, 16)
    c2w = np.stack([look_at(1.5 * np.array([np.cos(a), np.sin(a), 0.4]), [0, 0, 0]) for a in (0.3, 2.4)])
    cameras = Cameras(c2w, np.tile([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]], (2, 1, 1)), np.tile([32, 32], (2, 1)))

    def image(index):
        origins, directions = (a.astype(np.float64) for a in rays(cameras, index))
        along = ((centre - origins) * directions).sum(1)
        beside = np.linalg.norm(origins + along[:, None] * directions - centre, axis=1)
        hit = beside < radius
        depth = along - np.sqrt(np.maximum(radius**2 - beside**2, 0))
        grey = np.where(hit, np.clip(255 * (2.2 - depth), 0, 255), 0).astype(np.uint8)
        return np.stack([grey, grey, grey, 255 * hit.astype(np.uint8)], 1).reshape(32, 32, 4)

    given = dataclasses.replace(scene.given, views=Views(cameras, ("a", "b"), image), voxels=Voxels(filled, BOX))
    return dataclasses.replace(scene, given=given)


WIDER = {"code": 32, "decoder_hidden": 32, "decoder_blocks": 2, "query_points": 256, "batch": 8, "width": 4}


@pytest.mark.parametrize(
    ("kind", "rate", "steps", "least"),
    [(OccupancyNetworkImage, 1e-2, 150, 0.4), (OccupancyNetworkVoxels, 5e-3, 250, 0.6)],
)
def test_images_and_voxels_teach_spheres_better_than_the_box(kind, rate, steps, least):
    """The box of interest, all that one knows from an image, has an IoU of 0.1 with a ball; a ball's own box 0.52."""
    method = kind(dataclasses.replace(METHODS[kind], **WIDER, learning_rate=rate, steps=steps))
    method.learn([full_sphere(i) for i in range(16)], Budget())
    unseen = [full_sphere(seed) for seed in range(40, 46)]
    only = [dataclasses.replace(s, given=s.given.only(*kind.needs)) for s in unseen]
    found = np.mean([iou(method.fit(part, Budget()), scene) for part, scene in zip(only, unseen, strict=True)])
    assert found > least


class Stopped(Exception):
    """The process is killed."""


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", METHODS)
def test_learning_goes_on_bit_by_bit_where_it_was_broken_off(kind, tmp_path, monkeypatch):
    scenes, taken, keep = [full_sphere(i) for i in range(5)], [], Training._keep

    def learned_by(budget):
        method = kind(METHODS[kind], seed=3)
        method.learn(scenes, budget)
        return method.network.state_dict()

    def stopping(self, index):
        taken.append(index)
        if index == 5:
            self._write(self._folder / STATE, index)
        elif index == 7:
            raise Stopped
        keep(self, index)

    whole = learned_by(Budget(steps=9))
    monkeypatch.setattr(Training, "_keep", stopping)
    with pytest.raises(Stopped):
        learned_by(Budget(steps=9).start(keep=tmp_path))
    monkeypatch.setattr(Training, "_keep", keep)
    told = []
    again = learned_by(Budget(steps=9).start(keep=tmp_path, tell=told.append))
    assert taken == [1, 2, 3, 4, 5, 6, 7] and "Going on from step 5" in told[0]
    assert all(torch.equal(whole[name], again[name]) for name in whole)


@pytest.mark.parametrize("kind", METHODS)
def test_the_contract_is_kept(kind):
    target = f"nfbench.baselines.occupancy_network:{kind.__name__}"
    spec = MethodSpec(kind.name, target, "", needs=kind.needs, gives=("value",), presets=("paper", "fast", "tiny"))
    assert [f"{f.clause}: {f.why}" for f in check_method(spec) if not f.kept] == []


def test_checkpoints_and_fields_of_another_kind_are_refused(tmp_path):
    scenes = [full_sphere(0)]
    methods = [kind(config) for kind, config in METHODS.items()]
    for method in methods:
        method.learn(scenes, Budget(steps=1))
        method.save(tmp_path / method.name)
        method.fit(scenes[0], Budget()).save(tmp_path / f"{method.name} field")
    for method in methods:
        method.restore(tmp_path / f"{method.name} field")
        for other in methods:
            if other is not method:
                with pytest.raises(DataCorrupt, match=f"belongs to {other.name}, not to {method.name}"):
                    method.load(tmp_path / other.name)
                with pytest.raises(DataCorrupt, match=f"belongs to {other.name}"):
                    method.restore(tmp_path / f"{other.name} field")


def test_settings_of_learning_do_not_keep_a_checkpoint_from_being_read(learned, tmp_path):
    learned.save(tmp_path)
    other = OccupancyNetwork(dataclasses.replace(SMALL, steps=7, batch=2, precision="bf16", turn=None))
    other.load(tmp_path)
    xyz = np.zeros((1, 3), np.float32)
    np.testing.assert_array_equal(
        other.fit(sphere(30), Budget()).value(xyz), learned.fit(sphere(30), Budget()).value(xyz)
    )


def test_bfloat16_learns_too(learned):
    method = OccupancyNetwork(dataclasses.replace(SMALL, precision="bf16", steps=150))
    method.learn([sphere(i) for i in range(16)], Budget())
    unseen = [sphere(seed) for seed in range(40, 46)]
    assert np.mean([iou(method.fit(without_samples(scene), Budget()), scene) for scene in unseen]) > 0.55


def test_the_image_network_starts_from_weights_of_a_file(tmp_path):
    torch.manual_seed(2)
    trunk = ResNet18(64).state_dict()
    torch.save(trunk, tmp_path / "resnet18.pth")
    config = dataclasses.replace(METHODS[OccupancyNetworkImage], width=64, pretrained=str(tmp_path / "resnet18.pth"))
    begun = OccupancyNetworkImage(config)._begun()
    assert all(torch.equal(value, trunk[name]) for name, value in begun.encoder.features.state_dict().items())
    with pytest.raises(Unsupported, match="64 channels"):
        OccupancyNetworkImage(dataclasses.replace(config, width=4)).learn([full_sphere(0)], Budget(steps=1))
    with pytest.raises(DataMissing, match=r"gone\.pth"):
        OccupancyNetworkImage(dataclasses.replace(config, pretrained="gone.pth")).learn(
            [full_sphere(0)], Budget(steps=1)
        )


def test_the_image_network_sees_the_first_view_on_the_background(tmp_path):
    scene = ball(tmp_path)
    method = OccupancyNetworkImage(METHODS[OccupancyNetworkImage])
    white, black = method._seen(scene), method._seen(dataclasses.replace(scene, background=(0.0, 0.0, 0.0)))
    assert white.shape == (1, 3, 32, 32) and white.dtype == torch.uint8
    assert white[0, :, 0, 0].tolist() == [255] * 3 and black[0, :, 0, 0].tolist() == [0] * 3


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
    for kind in (OccupancyNetworkImage, OccupancyNetworkVoxels):
        with pytest.raises(DataMissing, match="sphere_0"):
            kind(METHODS[kind]).learn([good], Budget(steps=1))
    with pytest.raises(Unsupported, match="16 voxels along an edge, and the network takes 32"):
        OccupancyNetworkVoxels(OccupancyNetworkVoxels.presets["tiny"]).learn([full_sphere(0)], Budget(steps=1))
    for call in (lambda: method.fit(good, Budget()), lambda: method.save(BOX)):
        with pytest.raises(Unsupported, match="learned nothing"):
            call()
