"""The encoders of Occupancy Networks against slow transcriptions in numpy."""

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.torch import save_file
from torch import nn

from nfbench.baselines.onet_encoders import ImageEncoder, PointEncoder, ResNet18, VoxelEncoder, read_trunk
from nfbench.harness.errors import DataCorrupt, DataMissing


def filled(module, scale=0.3):
    """The module in float64 with weights and statistics none of which is special."""
    draws = torch.Generator().manual_seed(0)
    for name, tensor in module.double().state_dict().items():
        if tensor.is_floating_point():
            values = torch.randn(tensor.shape, generator=draws, dtype=torch.float64) * scale
            tensor.copy_(values.abs() + 0.5 if name.endswith("running_var") else values)
    return module.eval()


def weights(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def relu(x):
    return np.maximum(x, 0)


def convolved(x, weight, stride, padding, bias=None):
    """(O,...) from (I,...) in two or three dimensions: every window times the kernel."""
    axes = x.ndim - 1
    padded = np.pad(x, [(0, 0)] + [(padding, padding)] * axes)
    windows = sliding_window_view(padded, weight.shape[2:], axis=tuple(range(1, axes + 1)))
    windows = windows[(slice(None), *[slice(None, None, stride)] * axes)]
    out = np.tensordot(weight, windows, (list(range(1, weight.ndim)), [0, *range(axes + 1, 2 * axes + 1)]))
    return out if bias is None else out + bias.reshape(-1, *[1] * axes)


# ----------------------------------------------------------------------------------------------------- point clouds


def test_point_encoder_against_a_slow_transcription():
    encoder = filled(PointEncoder(6, 4, 3))
    w, cloud = weights(encoder), np.random.default_rng(0).normal(size=(9, 3))
    x = cloud @ w["fc_pos.weight"].T + w["fc_pos.bias"]
    for i in range(3):
        if i:
            x = np.concatenate([x, np.tile(x.max(0), (9, 1))], 1)
        inner = relu(x) @ w[f"blocks.{i}.fc_0.weight"].T + w[f"blocks.{i}.fc_0.bias"]
        inner = relu(inner) @ w[f"blocks.{i}.fc_1.weight"].T + w[f"blocks.{i}.fc_1.bias"]
        x = x @ w[f"blocks.{i}.shortcut.weight"].T + inner
    expected = w["fc_c.weight"] @ relu(x.max(0)) + w["fc_c.bias"]
    found = encoder(torch.from_numpy(cloud[None]))[0].detach()
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_code_depends_neither_on_order_nor_on_repeats():
    encoder = filled(PointEncoder(8, 16, 3))
    cloud = torch.randn(2, 30, 3, dtype=torch.float64)
    code = encoder(cloud)
    torch.testing.assert_close(encoder(cloud[:, torch.randperm(30)]), code, rtol=0, atol=1e-12)
    torch.testing.assert_close(encoder(torch.cat([cloud, cloud[:, :7]], 1)), code, rtol=0, atol=1e-12)
    assert (encoder(cloud + 0.1) - code).abs().max() > 1e-3


# ----------------------------------------------------------------------------------------------------------- images


def slowly_normed(x, w, name):
    mean, var, gamma, beta = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return ((x.T - mean) / np.sqrt(var + 1e-5) * gamma + beta).T


def slow_resnet(image, w):
    x = relu(slowly_normed(convolved(image, w["conv1.weight"], 2, 3), w, "bn1"))
    windows = sliding_window_view(np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf), (3, 3), axis=(1, 2))
    x = windows[:, ::2, ::2].max((3, 4))
    for layer in range(1, 5):
        for block in range(2):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            inner = relu(slowly_normed(convolved(x, w[f"{name}.conv1.weight"], stride, 1), w, f"{name}.bn1"))
            inner = slowly_normed(convolved(inner, w[f"{name}.conv2.weight"], 1, 1), w, f"{name}.bn2")
            if stride == 2:
                x = slowly_normed(convolved(x, w[f"{name}.downsample.0.weight"], 2, 0), w, f"{name}.downsample.1")
            x = relu(x + inner)
    return x.mean((1, 2))


def test_image_encoder_against_a_slow_transcription():
    encoder = filled(ImageEncoder(6, 2))
    image = np.random.default_rng(0).integers(0, 256, (3, 37, 37), dtype=np.uint8)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normal = ((image.T / 255 - mean) / deviation).T
    w = weights(encoder)
    trunk = {name.removeprefix("features."): value for name, value in w.items()}
    expected = w["fc.weight"] @ slow_resnet(normal, trunk) + w["fc.bias"]
    for given in (torch.from_numpy(image), torch.from_numpy(image / 255)):
        np.testing.assert_allclose(encoder(given[None])[0].detach(), expected, rtol=1e-9)


def test_the_trunk_starts_as_torchvision_has_it():
    torch.manual_seed(0)
    trunk = ResNet18(16)
    spread = trunk.layer3[1].conv2.weight.std().item()
    assert spread == pytest.approx(np.sqrt(2 / (64 * 9)), rel=0.02)
    assert all((m.weight == 1).all() and not m.bias.any() for m in trunk.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.fixture(scope="module")
def imagenet():
    """A state dict as torchvision's, classifier and all."""
    torch.manual_seed(1)
    return ResNet18(64).state_dict() | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}


def test_trunk_is_read_from_both_kinds_of_file(imagenet, tmp_path):
    torch.save(imagenet, tmp_path / "resnet18.pth")
    save_file(imagenet, tmp_path / "resnet18.safetensors")
    for name in ("resnet18.pth", "resnet18.safetensors"):
        found, trunk = read_trunk(tmp_path / name), ResNet18(64)
        trunk.load_state_dict(found)
        assert all(torch.equal(tensor, imagenet[key]) for key, tensor in trunk.state_dict().items())


class Stranger:
    """Something that only unpickling could bring back."""


def test_bad_trunks_are_named(imagenet, tmp_path):
    with pytest.raises(DataMissing, match=r"gone\.pth"):
        read_trunk(tmp_path / "gone.pth")
    file = tmp_path / "trunk.pth"
    for state, words in (
        ({k: v for k, v in imagenet.items() if k != "bn1.bias"}, "bn1.bias is missing"),
        (imagenet | {"layer5.0.conv1.weight": torch.zeros(1)}, "layer5.0.conv1.weight is not known"),
        (imagenet | {"conv1.weight": torch.zeros(64, 1, 7, 7)}, r"conv1.weight is \(64, 1, 7, 7\)"),
        ([1, 2], "holds a list, not a dict"),
        (Stranger(), r"trunk\.pth holds more than tensors"),
    ):
        torch.save(state, file)
        with pytest.raises(DataCorrupt, match=words):
            read_trunk(file)
    for name in ("trunk.pth", "trunk.safetensors"):
        (tmp_path / name).write_bytes(b"no weights at all")
        with pytest.raises(DataCorrupt, match=r"is no checkpoint|more than tensors"):
            read_trunk(tmp_path / name)


# ----------------------------------------------------------------------------------------------------------- voxels


@pytest.mark.parametrize("voxels", [16, 32])
def test_voxel_encoder_against_a_slow_transcription(voxels):
    encoder = filled(VoxelEncoder(6, 1, voxels))
    w, filled_ = weights(encoder), np.random.default_rng(0).random((voxels,) * 3) < 0.5
    x = convolved(filled_[None].astype(float), w["conv_in.weight"], 1, 1, w["conv_in.bias"])
    for i in range(4):
        x = convolved(relu(x), w[f"conv_{i}.weight"], 2, 1, w[f"conv_{i}.bias"])
    expected = w["fc.weight"] @ relu(x.reshape(-1)) + w["fc.bias"]
    np.testing.assert_allclose(encoder(torch.from_numpy(filled_[None]))[0].detach(), expected, rtol=1e-8)
