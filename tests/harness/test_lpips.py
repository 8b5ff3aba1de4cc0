import sys
import warnings
from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nfbench.harness import image, lpips
from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.lpips_networks import NETWORKS

NETS = ("alex", "vgg", "squeeze")
VERSIONS = ("0.1", "0.0")


def random_trunk(net):
    generator = torch.Generator().manual_seed(0)
    return {
        f"features.{name}": torch.randn(p.shape, generator=generator) * (2 / max(p[0].numel(), 8)) ** 0.5
        for name, p in NETWORKS[net].trunk().named_parameters()
    }


@pytest.fixture(scope="module", params=NETS)
def trunk(request, tmp_path_factory):
    """A network's name, random weights for its trunk, and a file that holds them."""
    state = random_trunk(request.param)
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pth"
    torch.save(state, path)
    return request.param, state, path


@pytest.fixture(scope="module")
def alex(tmp_path_factory):
    """AlexNet with random weights, and the file that holds them."""
    path = tmp_path_factory.mktemp("weights") / "alex.pth"
    torch.save(random_trunk("alex"), path)
    return lpips.load("alex", path), path


def pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, shape, dtype=np.uint8), rng.integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def reference(trunk, torchvision):
    """The package's model with the weights of `trunk`."""
    import lpips as package

    net, state, _ = trunk
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it calls torchvision as one used to
        model = package.LPIPS(net=net, pnet_rand=True, verbose=False)
        slices = [getattr(model.net, f"slice{s + 1}") for s in range(model.net.N_slices)]
        parameters = {f"features.{k}": v for part in slices for k, v in part.named_parameters()}
        assert set(parameters) == set(state)
        for name, parameter in parameters.items():
            parameter.copy_(state[name])
    return model


@pytest.mark.parametrize(("version", "normalised"), [("0.1", True), ("0.1", False), ("0.0", True)])
def test_equals_the_lpips_package(trunk, reference, version, normalised):
    net, _, path = trunk
    prediction, truth = pair((2, 67, 94, 3))
    first, second = (torch.from_numpy(a).permute(0, 3, 1, 2) / 255 for a in (prediction, truth))
    heads = Path(sys.modules["lpips"].__file__).parent / "weights" / f"v{version}" / f"{net}.pth"
    reference.load_state_dict(torch.load(heads, map_location="cpu", weights_only=True), strict=False)
    reference.version = version
    with torch.no_grad():
        reference.spatial = False
        expected = reference(first, second, normalize=normalised).flatten().numpy()
        reference.spatial = True
        maps = reference(first, second, normalize=normalised)[:, 0].double().numpy()
    choices = {"net": net, "version": version, "weights": path, "normalised": normalised}
    measured = image.lpips(prediction, truth, **choices)
    assert measured.dtype == np.float64
    np.testing.assert_allclose(measured, expected, atol=1e-6)
    assert expected.min() > 1e-3  # the random network does tell the images apart
    mask = np.random.default_rng(3).random((2, 67, 94)) < 0.3
    valid = [m[v].mean() for m, v in zip(maps, mask, strict=True)]
    np.testing.assert_allclose(image.lpips(prediction, truth, mask=mask, **choices), valid, atol=1e-6)


def test_is_a_distance_of_images(trunk):
    net, _, path = trunk
    prediction, truth = pair((2, 40, 48, 3))
    value = image.lpips(prediction, truth, net=net, weights=path)
    np.testing.assert_allclose(image.lpips(truth, prediction, net=net, weights=path), value, rtol=1e-6)
    np.testing.assert_allclose(image.lpips(prediction / 255, truth / 255, net=net, weights=path), value, atol=1e-6)
    assert image.lpips(prediction[0], truth[0], net=net, weights=path) == value[0]
    assert image.lpips(prediction[0], truth[0], net=net, weights=path).shape == ()
    assert image.lpips(truth, truth, net=net, weights=path).tolist() == [0, 0]


def test_defaults(alex):
    model, path = alex
    prediction, truth = pair((40, 48, 3))
    value = image.lpips(prediction, truth, net="alex", version="0.1", weights=path, device="cpu", normalised=True)
    assert image.lpips(prediction, truth, weights=path) == value
    assert lpips.distance(model, prediction, truth) == value
    assert lpips.features(model, truth).normalised
    assert (model.net, model.version, model.device.type) == ("alex", "0.1", "cpu")


def test_versions_and_ranges_differ(alex):
    _, path = alex
    prediction, truth = pair((40, 48, 3))
    choices = [{"version": v, "normalised": n} for v in VERSIONS for n in (True, False)]
    values = [float(image.lpips(prediction, truth, weights=path, **choice)) for choice in choices]
    assert len({round(value, 4) for value in values}) == 4


def test_a_value_is_the_same_in_any_company(alex):
    model, _ = alex
    prediction, truth = pair((2, 2, 40, 48, 3))
    together = lpips.distance(model, prediction, truth)
    assert together.shape == (2, 2)
    for i in np.ndindex(2, 2):
        assert lpips.distance(model, prediction[i], truth[i]) == together[i]
        assert lpips.distance_to(model, prediction[i], lpips.features(model, truth[i])) == together[i]


def test_features_of_a_repeated_truth_are_computed_once(alex, monkeypatch):
    model, _ = alex
    prediction, truth = pair((4, 40, 48, 3))
    truth = truth[[0, 0, 1, 0]]
    expected = lpips.distance(model, prediction, truth)
    seen = []
    compute = lpips.features

    def counted(model, image, **choices):
        seen.append(image)
        return compute(model, image, **choices)

    monkeypatch.setattr(lpips, "features", counted)
    np.testing.assert_array_equal(lpips.distance(model, prediction, truth), expected)
    assert len(seen) == 3


def test_features_have_unit_length(trunk):
    net, _, path = trunk
    model = lpips.load(net, path)
    found = lpips.features(model, pair((50, 64, 3))[0], normalised=False)
    assert (found.net, found.version, found.size, found.normalised) == (net, "0.1", (50, 64), False)
    assert tuple(tap.shape[2] for tap in found.taps) == NETWORKS[net].widths
    for tap in found.taps:
        assert tap.dtype == torch.float32
        assert tap.is_contiguous()
        lengths = tap.norm(dim=2)
        assert ((lengths - 1).abs().minimum(lengths) < 1e-5).all()


@pytest.mark.filterwarnings("error")  # torch enlarges what is too small for a result, with a warning
def test_large_images_are_compared_block_by_block(alex, monkeypatch):
    model, _ = alex
    prediction, truth = pair((70, 90, 3))
    expected = lpips.distance(model, prediction, truth)
    assert lpips._BLOCK == 2**18
    monkeypatch.setattr(lpips, "_BLOCK", 3 * 384 + 5)
    blocks = []
    compute = lpips._unit
    monkeypatch.setattr(lpips, "_unit", lambda vectors: (blocks.append(vectors.shape), compute(vectors))[1])
    known = lpips.features(model, truth)
    blocks.clear()
    assert lpips.distance_to(model, prediction, known) == pytest.approx(expected, rel=1e-12)
    for width in NETWORKS["alex"].widths:
        longest = max(length for length, channels in blocks if channels == width)
        assert longest == min((3 * 384 + 5) // width, max(h * w for h, w, c in map(np.shape, known.taps) if c == width))


def test_a_full_mask_is_the_mean_of_the_enlarged_maps(alex):
    model, _ = alex
    prediction, truth = pair((63, 63, 3))
    full = np.ones((63, 63), bool)
    left = full.copy()
    left[:, 20:] = False
    whole, part, rest = (lpips.distance(model, prediction, truth, mask) for mask in (full, left, ~left))
    assert whole == pytest.approx((20 * part + 43 * rest) / 63, rel=1e-6)
    assert part != pytest.approx(rest, rel=1e-3)


def test_masks_are_checked(alex):
    model, path = alex
    prediction, truth = pair((2, 40, 48, 3))
    known = lpips.features(model, truth[0])
    empty = np.ones((2, 40, 48), bool)
    empty[1] = False
    with pytest.raises(NfbenchError, match="mask of image 1 is empty"):
        image.lpips(prediction, truth, weights=path, mask=empty)
    with pytest.raises(NfbenchError, match="mask of an image is empty"):
        lpips.distance_to(model, prediction[0], known, empty[1])
    for mask in (np.ones((2, 40, 48), np.uint8), np.ones((2, 40, 47), bool), np.ones((2, 40, 49), bool)):
        with pytest.raises(ContractBroken, match=r"The mask is (uint8|bool)"):
            image.lpips(prediction, truth, weights=path, mask=mask)
        with pytest.raises(ContractBroken, match=r"The mask is (uint8|bool) .*image \(40, 48\)"):
            lpips.distance_to(model, prediction[0], known, mask[0])


def test_features_of_another_model_or_size_are_refused(alex):
    model, path = alex
    prediction, truth = pair((40, 48, 3))
    older = lpips.load("alex", path, "cpu", "0.0")
    with pytest.raises(
        ContractBroken, match=r"of alex 0\.0 on 48x40 pixels; the model is alex 0\.1, the prediction 48x40"
    ):
        lpips.distance_to(model, prediction, lpips.features(older, truth))
    with pytest.raises(ContractBroken, match=r"of alex 0\.1 .* the model is alex 0\.0"):
        lpips.distance_to(older, prediction, lpips.features(model, truth))
    with pytest.raises(ContractBroken, match=r"on 48x40 pixels.* the prediction 47x40"):
        lpips.distance_to(model, prediction[:, :47], lpips.features(model, truth))
    with pytest.raises(ContractBroken, match=r"on 47x40 pixels.* the prediction 48x40"):
        lpips.distance_to(model, prediction, lpips.features(model, truth[:, :47]))


def test_features_and_networks_do_not_change_and_are_compared_by_identity(alex):
    model, _ = alex
    truth = pair((40, 48, 3))[1]
    found = lpips.features(model, truth)
    assert found != lpips.features(model, truth)
    with pytest.raises(FrozenInstanceError):
        found.size = (1, 1)
    with pytest.raises(FrozenInstanceError):
        NETWORKS["alex"].least = 3


def test_a_gpu_is_told_to_be_exact():
    with lpips._exact():
        flags = torch.backends.cudnn
        assert (flags.enabled, flags.deterministic, flags.allow_tf32) == (True, True, False)


def test_the_digest_is_of_the_weights(alex, tmp_path):
    model, _ = alex
    state = random_trunk("alex")
    torch.save(state | {"extra": torch.zeros(1)}, tmp_path / "same.pth")
    state["features.10.bias"][0] += 1
    torch.save(state, tmp_path / "other.pth")
    assert len(model.digest) == 64
    assert lpips.load("alex", tmp_path / "same.pth").digest == model.digest
    assert lpips.load("alex", tmp_path / "other.pth").digest != model.digest


def test_refuses_small_images_and_unknown_networks(trunk):
    net, _, path = trunk
    least = {"alex": 31, "vgg": 16, "squeeze": 17}[net]
    assert np.isfinite(image.lpips(*pair((least, least, 3)), net=net, weights=path))
    for shape, words in (((50, least - 1, 3), f"{least - 1}x50"), ((least - 1, 50, 3), f"50x{least - 1}")):
        with pytest.raises(NfbenchError, match=f"{net} needs images of {least}x{least} .* {words}"):
            image.lpips(*pair(shape), net=net, weights=path)
    with pytest.raises(NfbenchError, match="no network 'resnet'") as caught:
        lpips.load("resnet", path)
    assert "alex, vgg, squeeze" in caught.value.hint
    with pytest.raises(NfbenchError, match=r"no version '0\.2'"):
        lpips.load(net, path, "cpu", "0.2")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_agrees_with_the_processor(trunk):
    net, _, path = trunk
    prediction, truth = pair((2, 67, 94, 3))
    for mask in (None, np.random.default_rng(3).random((2, 67, 94)) < 0.3):
        expected = image.lpips(prediction, truth, net=net, weights=path, mask=mask)
        found = [image.lpips(prediction, truth, net=net, weights=path, mask=mask, device="cuda") for _ in range(2)]
        np.testing.assert_array_equal(*found)
        np.testing.assert_allclose(found[0], expected, atol=1e-5)


def test_published_values(real_data):
    folder = real_data / "lpips_alex"
    reference, first, second = (
        np.asarray(Image.open(folder / name).convert("RGB")) for name in ("ex_ref.png", "ex_p0.png", "ex_p1.png")
    )
    measured = image.lpips(np.stack([first, second]), np.stack([reference] * 2), weights=folder / "lpips_alex_v0.1.npz")
    np.testing.assert_allclose(measured, [0.72188, 0.13757], atol=1e-4)
