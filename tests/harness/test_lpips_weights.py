import hashlib
import urllib.error
import urllib.request
from dataclasses import FrozenInstanceError
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from nfbench.harness import lpips, lpips_weights
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.lpips_networks import NETWORKS

NETS = ("alex", "vgg", "squeeze")


def random_trunk(net):
    generator = torch.Generator().manual_seed(0)
    named = NETWORKS[net].trunk().named_parameters()
    return {f"features.{name}": torch.randn(p.shape, generator=generator) for name, p in named}


def ones(net):
    return {f"lin{i}.model.1.weight": torch.ones(1, n, 1, 1) for i, n in enumerate(NETWORKS[net].widths)}


@pytest.fixture(scope="module", params=("alex", "squeeze"))
def trunk(request, tmp_path_factory):
    """A network's name, random weights for its trunk, and a file that holds them."""
    state = random_trunk(request.param)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save(state | {"classifier.1.weight": torch.zeros(3, 3), "epoch": 3}, path)
    return request.param, state, path


def test_reads_every_kind_of_file(trunk, tmp_path):
    net, state, path = trunk
    save_file(state, tmp_path / "trunk.safetensors")
    np.savez(tmp_path / "trunk.npz", **{k: v.numpy() for k, v in state.items()})
    for file in (path, tmp_path / "trunk.safetensors", tmp_path / "trunk.npz"):
        found, source = lpips_weights.trunk(net, file)
        assert source == file
        assert all(torch.equal(found[name], tensor) for name, tensor in state.items())
        model = lpips.load(net, file)
        assert all(torch.equal(p, state[f"features.{name}"]) for name, p in model.features.named_parameters())


def test_loads_once(trunk):
    net, _, path = trunk
    assert lpips.load(net, path) is lpips.load(net, path)
    assert lpips.load(net, path) is not lpips.load(net, path, "cpu", "0.0")


@pytest.mark.parametrize("version", ["0.1", "0.0"])
@pytest.mark.parametrize("net", NETS)
def test_heads_are_those_of_the_package(net, version):
    found, file = lpips_weights.heads(net, version)
    assert file.parts[-2:] == (f"v{version}", f"{net}.pth")
    expected = torch.load(file, map_location="cpu", weights_only=True)
    assert set(found) == set(expected) == set(ones(net))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_heads_in_the_file_are_of_version_0_1(trunk, tmp_path):
    net, state, path = trunk
    np.savez(tmp_path / "both.npz", **{k: v.numpy() for k, v in (state | ones(net)).items()})
    read = "".join([*"0.1"])  # equal to the version in the code, not the same object, as in a protocol that was read
    assert all(bool((head == 1).all()) for head in lpips.load(net, tmp_path / "both.npz", "cpu", read).heads)
    for version, file in (("0.1", path), ("0.0", tmp_path / "both.npz")):
        packaged, _ = lpips_weights.heads(net, version)
        model = lpips.load(net, file, "cpu", version)
        for i, head in enumerate(model.heads):
            assert torch.equal(head, packaged[f"lin{i}.model.1.weight"].flatten())
            assert not head.requires_grad


def test_heads_without_the_package(monkeypatch):
    monkeypatch.setattr(lpips_weights.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataMissing, match="lpips") as caught:
        lpips_weights.heads("alex")
    assert caught.value.hint == "pip install lpips"


def test_refuses_the_other_network(trunk):
    net, _, path = trunk
    for other in set(NETS) - {net}:
        with pytest.raises(
            DataCorrupt, match=rf"{net}\.pth does not hold the weights of {other}: features\."
        ) as caught:
            lpips.load(other, path)
        assert lpips.TRUNKS[other].file in caught.value.hint


def test_says_what_is_wrong_with_a_tensor(tmp_path):
    target = torch.zeros(4)
    file = tmp_path / "w.pth"
    lpips_weights.fill(target, {"a": torch.ones(1, 4, 1, 1)}, "a", "alex", file)
    assert target.tolist() == [1, 1, 1, 1]
    for state, words in [
        ({}, r"a should be \(4,\) and is nothing"),
        ({"a": torch.ones(5)}, r"a should be \(4,\) and is \(5,\)"),
        ({"a": torch.ones(2, 2)}, r"is \(2, 2\)"),
        ({"a": torch.tensor([1, 2, torch.inf, 4])}, "a holds NaN or infinity"),
    ]:
        with pytest.raises(DataCorrupt, match=words):
            lpips_weights.fill(target, state, "a", "alex", file)
    assert target.tolist() == [1, 1, 1, 1]


def test_refuses_files_that_are_no_weights(tmp_path):
    with pytest.raises(DataMissing, match=r"none\.pth"):
        lpips.load("alex", tmp_path / "none.pth")
    for name in ("text.pth", "text.npz", "text.safetensors"):
        (tmp_path / name).write_text("these are no weights, and not a pickle either")
        with pytest.raises(DataCorrupt, match=f"{name} cannot be read"):
            lpips.load("alex", tmp_path / name)
    for kind in ("doc", "zip"):
        (tmp_path / f"text.{kind}").write_text("no weights")
        with pytest.raises(DataCorrupt, match=rf"text\.{kind}: weights cannot be read from '\.{kind}'"):
            lpips.load("alex", tmp_path / f"text.{kind}")
    state = random_trunk("alex")
    state["features.3.bias"][2] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(DataCorrupt, match=r"nan\.pth: features\.3\.bias"):
        lpips.load("alex", tmp_path / "nan.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataCorrupt, match=r"list\.pth"):
        lpips.load("alex", tmp_path / "list.pth")


@pytest.mark.parametrize(("why", "told"), [("x" * 300 + "\nmore", "x" * 200), ("short\nmore\nand more", "short")])
def test_says_the_first_line_of_why_a_file_cannot_be_read_and_not_too_much_of_it(tmp_path, monkeypatch, why, told):
    def refuse(*given, **choices):
        raise OSError(why)

    monkeypatch.setattr(lpips_weights.np, "load", refuse)
    (tmp_path / "w.npz").touch()
    with pytest.raises(DataCorrupt) as caught:
        lpips_weights.trunk("alex", tmp_path / "w.npz")
    assert caught.value.message == f"{tmp_path / 'w.npz'} cannot be read as weights: OSError: {told}"


def test_unpickles_nothing(tmp_path):
    class Code:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"features.0.weight": Code()}, tmp_path / "code.pth")
    np.savez(tmp_path / "code.npz", **{"features.0.weight": np.array([Code()], object)})
    for name in ("code.pth", "code.npz"):
        with pytest.raises(DataCorrupt, match=f"{name} cannot be read"):
            lpips.load("alex", tmp_path / name)
        assert not (tmp_path / "ran").exists()


def test_picks_the_file_of_the_network(tmp_path):
    files = {net: tmp_path / f"{net}.safetensors" for net in NETS}
    for net, file in files.items():
        trunk = lpips.TRUNKS[net]
        save_file({trunk.mark: torch.zeros(trunk.shape)}, file)
        with torch.device("meta"):
            shapes = {f"features.{name}": p.shape for name, p in NETWORKS[net].trunk().named_parameters()}
        assert shapes[trunk.mark] == trunk.shape
    assert [lpips.weights_for(net, list(files.values())) for net in NETS] == list(files.values())
    assert lpips.weights_for("vgg", [files["alex"]]) is lpips.weights_for("vgg", []) is None
    with pytest.raises(DataMissing, match="nowhere"):
        lpips.weights_for("alex", [files["alex"], tmp_path / "nowhere.pth"])


def test_a_file_is_looked_into_once(tmp_path, monkeypatch):
    trunk = lpips.TRUNKS["squeeze"]
    save_file({trunk.mark: torch.zeros(trunk.shape)}, tmp_path / "squeeze.safetensors")
    files = [tmp_path / "squeeze.safetensors"]
    assert lpips.weights_for("squeeze", files) == files[0]
    monkeypatch.setattr(lpips_weights, "_read", None)
    assert lpips.weights_for("squeeze", files) == files[0]
    with pytest.raises(FrozenInstanceError):
        trunk.file = "other.pth"


@pytest.mark.parametrize("content", [{"conv.weight": (3,)}, *({"features.3.weight": (192, 64, n, n)} for n in (3, 7))])
def test_refuses_a_file_of_no_network(tmp_path, content):
    file = tmp_path / "other.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in content.items()}, file)
    with pytest.raises(DataCorrupt, match=r"other\.safetensors .* none of the networks alex, vgg, squeeze") as caught:
        lpips.weights_for("alex", [file])
    assert "vgg16-397923af.pth or squeezenet1_1-b8a52dc0.pth" in caught.value.hint


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "of" / "torch"))
    lpips_weights._fetch.cache_clear()
    yield tmp_path / "of" / "torch" / "checkpoints"
    lpips_weights._fetch.cache_clear()


def test_offline_says_what_is_missing_and_tries_once(hub, monkeypatch):
    tries = []

    def refuse(address, timeout):
        tries.append((address, timeout))
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    assert lpips.find_weights("vgg") is None
    assert tries == []
    for _ in range(2):
        with pytest.raises(DataMissing, match="no network") as caught:
            lpips.load("vgg")
        assert str(hub) in caught.value.hint
        assert "vgg16-397923af.pth" in caught.value.hint
    assert len(tries) == 1
    assert tries[0] == ("https://download.pytorch.org/models/vgg16-397923af.pth", 10)


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
    assert lpips_weights._fetch(hub / f"some-{digest[:8]}.pth") == ""
    assert [p.read_bytes() for p in hub.iterdir()] == [b"genuine"]
    lpips_weights._fetch.cache_clear()
    assert lpips_weights._fetch(hub / f"other-{digest[:8]}.pth") == "", "the folder may be there"


def test_fetches_in_pieces(hub, monkeypatch):
    pieces = [b"gen", b"uine", b""]
    sizes = []

    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def read(self, size):
            sizes.append(size)
            return pieces.pop(0)

    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: Answer())
    path = hub / f"some-{hashlib.sha256(b'genuine').hexdigest()[:8]}.pth"
    assert lpips_weights._fetch(path) == ""
    assert path.read_bytes() == b"genuine"
    assert sizes == [2**20] * 3


def test_takes_the_genuine_file_from_the_hub(hub, monkeypatch):
    digest = hashlib.sha256(b"genuine").hexdigest()
    named = lpips_weights.Trunk(f"some-{digest[:8]}.pth", "a", (1,))
    monkeypatch.setitem(lpips_weights.TRUNKS, "alex", named)
    hub.mkdir(parents=True)
    (hub / named.file).write_bytes(b"genuine")
    assert lpips_weights._published("alex") == hub / named.file


@pytest.mark.parametrize("error", [HTTPException("odd answer"), TimeoutError("too slow")])
def test_a_failing_server_leaves_nothing_behind(hub, monkeypatch, error):
    class Answer:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def read(self, _):
            raise error

    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: Answer())
    with pytest.raises(DataMissing, match=str(error)):
        lpips.load("squeeze")
    assert list(hub.iterdir()) == []
