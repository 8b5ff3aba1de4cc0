import dataclasses

import numpy as np
import pytest
import torch

from nfbench.baselines.encoding import encode
from nfbench.baselines.nerf import OFFICIAL, Nerf, NerfConfig, NerfField, official_field, official_networks
from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.scene import Given, Scene, Views

SHAPES = {
    **{f"pts_linears.{i}": (256, {0: 63, 5: 319}.get(i, 256)) for i in range(8)},
    "views_linears.0": (128, 283),
    "feature_linear": (256, 256),
    "alpha_linear": (1, 256),
    "rgb_linear": (3, 128),
}


def checkpoint(prefix=""):
    """As torch.load(..., weights_only=True) gives a .tar of nerf-pytorch."""
    draws = torch.Generator().manual_seed(0)
    networks = []
    for _ in range(2):
        state = {}
        for name, shape in SHAPES.items():
            state[f"{prefix}{name}.weight"] = torch.randn(shape, generator=draws) * (2 / shape[1]) ** 0.5
            state[f"{prefix}{name}.bias"] = torch.randn(shape[0], generator=draws) * 0.1
        networks.append(state)
    names = ("network_fn_state_dict", "network_fine_state_dict")
    return {"global_step": 200000, **dict(zip(names, networks, strict=True)), "optimizer_state_dict": {"state": {}}}


def scene():
    K = [[8, 0, 2], [0, 8, 2], [0, 0, 1]]
    cameras = Cameras(look_at([0, -4, 0], [0, 0, 0])[None], [K], [[4, 4]], np.array([[2.0, 6.0]]))
    views = Views(cameras, ("a",), lambda i: np.zeros((4, 4, 3), np.uint8))
    return Scene("one", Given(views=views), np.array([[-1.5] * 3, [1.5] * 3]))


def original_colours(state, c2w, focal, side):
    """Fine colours (H,W,3) as the original computes them: no half pixel, samples by depth, unnormalised directions."""
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    local = torch.stack([(columns - side / 2) / focal, (rows - side / 2) / focal, torch.ones(side, side)], -1)
    directions = local.reshape(-1, 3).double() @ c2w[:, :3].T.double()
    views = directions / directions.norm(dim=1, keepdim=True)
    depth = torch.linspace(2, 6, 3000, dtype=torch.float64)
    points = c2w[:, 3].double() + depth[:, None] * directions[:, None]

    def layer(name, x):
        return x @ state[f"{name}.weight"].double().t() + state[f"{name}.bias"].double()

    colours = []
    for i in range(len(directions)):
        first = hidden = encode(points[i], 10)
        for index in range(8):
            hidden = torch.relu(layer(f"pts_linears.{index}", hidden))
            if index == 4:
                hidden = torch.cat([first, hidden], 1)
        sigma = torch.relu(layer("alpha_linear", hidden)[:, 0])
        feature = layer("feature_linear", hidden)
        seen = torch.cat([feature, encode(views[i][None], 4).expand(len(feature), -1)], 1)
        rgb = torch.sigmoid(layer("rgb_linear", torch.relu(layer("views_linears.0", seen))))
        gaps = torch.cat([depth.diff(), torch.tensor([1e10])]) * directions[i].norm()
        alpha = 1 - torch.exp(-sigma * gaps)
        clear = torch.cumprod(torch.cat([torch.ones(1), 1 - alpha]), 0)[:-1]
        weights = alpha * clear
        colours.append((weights[:, None] * rgb).sum(0) + 1 - weights.sum())
    return torch.stack(colours).view(side, side, 3)


def test_an_imported_field_renders_what_the_original_does():
    state = checkpoint()
    for container in ("network_fn_state_dict", "network_fine_state_dict"):  # smooth, so that few samples are enough
        for name in ("pts_linears.0.weight", "pts_linears.5.weight"):
            state[container][name][:, 12:63] *= 0.02
    field = official_field(state, scene())
    field.config = dataclasses.replace(field.config, coarse=600, fine=600)
    cameras = scene().given.views.cameras
    expected = original_colours(state["network_fine_state_dict"], torch.from_numpy(cameras.c2w[0]), 8, 4)
    rendered = field.render(cameras)[0]
    np.testing.assert_allclose(rendered, expected, atol=0.01)
    centred = NerfField(dataclasses.replace(field.config, pixel=0.5), scene().box, (1, 1, 1), "cpu")
    centred.networks.load_state_dict(field.networks.state_dict())
    assert np.abs(centred.render(cameras)[0] - expected.numpy()).max() > 0.02


def test_a_saved_import_is_restored(tmp_path):
    field = official_field(checkpoint("module."), scene())
    field.save(tmp_path)
    again = Nerf(NerfConfig()).restore(tmp_path)
    assert again.config == OFFICIAL and again.config.pixel == 0.0
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3)).astype(np.float32)
    assert np.array_equal(field.value(points), again.value(points))


def test_coarse_and_fine_are_not_mixed_up():
    state = checkpoint()
    ours = official_networks(state)
    assert torch.equal(ours["0.trunk.3.weight"], state["network_fn_state_dict"]["pts_linears.3.weight"])
    assert torch.equal(ours["1.view.bias"], state["network_fine_state_dict"]["views_linears.0.bias"])
    assert len(ours) == 2 * 24


def test_what_is_wrong_is_named():
    with pytest.raises(DataCorrupt, match=r"network_fine_state_dict.*global_step"):
        official_networks({"global_step": 1, "network_fn_state_dict": {}, "network_fine_state_dict": None})
    state = checkpoint()
    state["network_fine_state_dict"]["output_linear.weight"] = torch.zeros(4, 256)
    del state["network_fine_state_dict"]["rgb_linear.bias"]
    with pytest.raises(DataCorrupt, match=r"fine_state_dict does not fit: rgb_linear\.bias is missing; output_lin"):
        official_networks(state)
    state = checkpoint()
    state["network_fn_state_dict"]["alpha_linear.weight"] = torch.zeros(2, 256)
    with pytest.raises(DataCorrupt, match=r"alpha_linear.weight is \(2, 256\) and not \(1, 256\)"):
        official_networks(state)
    state = checkpoint()
    state["network_fn_state_dict"]["pts_linears.2.bias"][3] = float("nan")
    with pytest.raises(DataCorrupt, match=r"pts_linears.2.bias holds NaN"):
        official_networks(state)
    with pytest.raises(Unsupported, match="coordinates of its dataset"):
        official_field(checkpoint(), dataclasses.replace(scene(), frame=np.diag([2.0, 2, 2, 1])))
