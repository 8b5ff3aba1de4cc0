import hashlib
import importlib.util
import urllib.error
import urllib.request
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from nfbench.harness import image, lpips
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError

NETS = ("alex", "vgg")


def random_trunk(net):
    generator = torch.Generator().manual_seed(0)
    features = lpips.Lpips(net).features
    return {
        f"features.{name}": torch.randn(p.shape, generator=generator) * (2 / max(p[0].numel(), 8)) ** 0.5
        for name, p in features.named_parameters()
    }


@pytest.fixture(scope="module", params=NETS)
def trunk(request, tmp_path_factory):
    """A network's name, random weights for its trunk, and a file that holds them."""
    state = random_trunk(request.param)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save(state | {"classifier.1.weight": torch.zeros(3, 3)}, path)
    return request.param, state, path


@pytest.fixture(scope="module")
def package():
    """The lpips package, which imports torchvision, whose compiled part this machine may not be able to load."""
    spec = importlib.util.find_spec("torchvision")
    library = None
    try:
        torch.ops.load_library(Path(spec.submodule_search_locations[0]) / "_C.so")
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import lpips as reference

    yield reference
    del library


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)


def test_equals_the_lpips_package(trunk, package):
    net, state, path = trunk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it calls torchvision as one used to
        reference = package.LPIPS(net=net, pnet_rand=True, verbose=False)
    slices = {k: v for s in range(1, 6) for k, v in getattr(reference.net, f"slice{s}").named_parameters()}
    assert {f"features.{k}" for k in slices} == set(state)
    for name, parameter in slices.items():
        parameter.data.copy_(state[f"features.{name}"])
    prediction, truth = pair((2, 67, 94, 3))
    with torch.no_grad():
        first, second = (torch.from_numpy(a).permute(0, 3, 1, 2) / 127.5 - 1 for a in (prediction, truth))
        expected = reference(first, second).flatten().numpy()
    measured = image.lpips(prediction, truth, net=net, weights=path)
    assert measured.dtype == np.float64
    np.testing.assert_allclose(measured, expected, atol=1e-6)
    assert expected.min() > 1e-3  # the random network does tell the images apart


def test_is_a_distance_of_images(trunk):
    net, _, path = trunk
    prediction, truth = pair((2, 40, 48, 3))
    value = image.lpips(prediction, truth, net=net, weights=path)
    np.testing.assert_allclose(image.lpips(truth, prediction, net=net, weights=path), value, rtol=1e-6)
    np.testing.assert_allclose(image.lpips(prediction / 255, truth / 255, net=net, weights=path), value, atol=1e-6)
    assert image.lpips(prediction[0], truth[0], net=net, weights=path) == pytest.approx(value[0], rel=1e-6)
    assert image.lpips(truth, truth, net=net, weights=path).tolist() == [0, 0]


def test_reads_every_kind_of_file(trunk, tmp_path):
    net, state, path = trunk
    prediction, truth = pair((40, 48, 3))
    heads = {f"lin{i}.model.1.weight": torch.ones(1, len(h), 1, 1) for i, h in enumerate(lpips.Lpips(net).heads)}
    save_file(state, tmp_path / "trunk.safetensors")
    np.savez(tmp_path / "trunk.npz", **{k: v.numpy() for k, v in state.items()})
    np.savez(tmp_path / "both.npz", **{k: v.numpy() for k, v in (state | heads).items()})
    expected = image.lpips(prediction, truth, net=net, weights=path)
    for name in ("trunk.safetensors", "trunk.npz"):
        assert image.lpips(prediction, truth, net=net, weights=tmp_path / name) == expected
    model = lpips.load(net, tmp_path / "both.npz")
    assert all(bool((head == 1).all()) for head in model.heads)
    assert lpips.load(net, path) is lpips.load(net, path)


def test_refuses_the_other_network(trunk):
    net, _, path = trunk
    other = next(n for n in NETS if n != net)
    with pytest.raises(DataCorrupt, match=rf"weights of {other}: features\.0"):
        lpips.load(other, path)


def test_refuses_files_that_are_no_weights(tmp_path):
    with pytest.raises(DataMissing):
        lpips.load("alex", tmp_path / "none.pth")
    for name in ("text.pth", "text.npz", "text.safetensors", "text.doc"):
        (tmp_path / name).write_text("these are no weights, and not a pickle either")
        with pytest.raises(DataCorrupt, match=name):
            lpips.load("alex", tmp_path / name)
    state = random_trunk("alex")
    state["features.3.bias"][2] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(DataCorrupt, match=r"features\.3\.bias"):
        lpips.load("alex", tmp_path / "nan.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataCorrupt, match=r"list\.pth"):
        lpips.load("alex", tmp_path / "list.pth")


def test_picks_the_file_of_the_network(tmp_path):
    alex, vgg, other = (tmp_path / f"{name}.pth" for name in ("a", "v", "other"))
    torch.save(random_trunk("alex"), alex)
    torch.save(random_trunk("vgg"), vgg)
    torch.save({"conv.weight": torch.zeros(3)}, other)
    assert [lpips.weights_for(net, [alex, vgg]) for net in NETS] == [alex, vgg]
    assert lpips.weights_for("vgg", [alex]) is lpips.weights_for("vgg", []) is None
    with pytest.raises(DataCorrupt, match=r"other\.pth holds the weights of none"):
        lpips.weights_for("alex", [alex, other])


def test_unpickles_nothing(tmp_path):
    torch.save({"features.0.weight": Path("code")}, tmp_path / "code.pth")
    with pytest.raises(DataCorrupt, match=r"code\.pth"):
        lpips.load("alex", tmp_path / "code.pth")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    lpips._fetch.cache_clear()
    yield tmp_path / "checkpoints"
    lpips._fetch.cache_clear()


def test_offline_says_what_is_missing_and_tries_once(hub, monkeypatch):
    tries = []

    def refuse(address, timeout):
        tries.append((address, timeout))
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert lpips.find_weights("vgg") is None
    for _ in range(2):
        with pytest.raises(DataMissing, match="no network") as caught:
            lpips.load("vgg")
        assert str(hub) in caught.value.hint
        assert "vgg16-397923af.pth" in caught.value.hint
    assert len(tries) == 1
    assert tries[0][1] <= 10


def test_refuses_a_cached_or_fetched_file_that_is_not_genuine(hub, tmp_path, monkeypatch):
    (tmp_path / "sent").write_bytes(b"not the weights")
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: (tmp_path / "sent").open("rb"))
    with pytest.raises(DataMissing, match="SHA-256"):
        lpips.load("alex")
    assert list(hub.iterdir()) == []
    (hub / "alexnet-owt-7be5be79.pth").write_bytes(b"not the weights")
    assert lpips.find_weights("alex") == hub / "alexnet-owt-7be5be79.pth"
    with pytest.raises(DataCorrupt, match="SHA-256"):
        lpips.load("alex")


def test_fetches_what_the_server_has(hub, tmp_path, monkeypatch):
    (tmp_path / "sent").write_bytes(b"genuine")
    digest = hashlib.sha256(b"genuine").hexdigest()
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: (tmp_path / "sent").open("rb"))
    assert lpips._fetch(hub / f"some-{digest[:8]}.pth") == ""
    assert [p.read_bytes() for p in hub.iterdir()] == [b"genuine"]


def test_refuses_small_images_and_unknown_networks(trunk):
    net, _, path = trunk
    least = {"alex": 31, "vgg": 16}[net]
    assert np.isfinite(image.lpips(*pair((least, least, 3)), net=net, weights=path))
    with pytest.raises(NfbenchError, match=f"{least - 1}x50"):
        image.lpips(*pair((50, least - 1, 3)), net=net, weights=path)
    with pytest.raises(NfbenchError, match="squeeze"):
        image.lpips(*pair((50, 50, 3)), net="squeeze", weights=path)


def test_published_values(real_data):
    folder = real_data / "lpips_alex"
    reference, first, second = (
        np.asarray(Image.open(folder / name).convert("RGB")) for name in ("ex_ref.png", "ex_p0.png", "ex_p1.png")
    )
    measured = image.lpips(np.stack([first, second]), np.stack([reference] * 2), weights=folder / "lpips_alex_v0.1.npz")
    np.testing.assert_allclose(measured, [0.72188, 0.13757], atol=1e-4)
