import hashlib
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from nfbench.harness import image, image_scores, image_torch, lpips
from nfbench.harness.camera import Cameras
from nfbench.harness.column import Lpips, MsSsim, Psnr, Ssim
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.image_scores import measure, truth_image
from nfbench.harness.lpips_networks import NETWORKS
from nfbench.harness.png import write_png
from nfbench.harness.protocol import ImageSection
from nfbench.harness.scene import Views

BACKGROUND = (1.0, 0.5, 0.0)
NAMES = ("b", "a", "c")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A folder of its own for features that are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def section(**columns):
    return ImageSection(background=BACKGROUND, columns=columns)


def views_of(height, width, names=NAMES, masks=None):
    """Views of RGBA noise with a soft alpha, and masks beside them where given."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (len(names), height, width, 4), dtype=np.uint8)
    pictures[:, :, : width // 2, 3] = 255
    count = len(names)
    K = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]])
    cameras = Cameras(
        np.tile(np.eye(4)[:3], (count, 1, 1)), np.tile(K, (count, 1, 1)), np.tile([width, height], (count, 1))
    )
    return Views(cameras, names, lambda i: pictures[i], None if masks is None else lambda i: masks[i])


def predictions(folder, views, seed=1):
    """Noisy copies of what the views are measured as, and their files by name."""
    rng = np.random.default_rng(seed)
    made, files = {}, {}
    for index, name in enumerate(views.names):
        noisy = truth_image(views, index, BACKGROUND) + rng.normal(0, 20, views.image(index).shape[:2])[..., None]
        made[name] = np.clip(noisy, 0, 255).astype(np.uint8)
        files[name] = folder / f"{name}.png"
        write_png(files[name], made[name])
    return made, files


def left_half(views):
    height, width = views.image(0).shape[:2]
    mask = np.zeros((height, width), bool)
    mask[:, : 3 * width // 4] = True
    return [mask] * len(views.names)


@pytest.fixture
def alex(tmp_path):
    generator = torch.Generator().manual_seed(0)
    named = NETWORKS["alex"].trunk().named_parameters()
    path = tmp_path / "alex.pth"
    torch.save({f"features.{n}": torch.randn(p.shape, generator=generator) * 0.03 for n, p in named}, path)
    return path


COLUMNS = {
    "psnr": (Psnr(metric="psnr"), image.psnr, {}),
    "ssim": (Ssim(metric="ssim"), image.ssim, {}),
    "small": (
        Ssim(metric="ssim", size=7, sigma=1.0, covariance="sample"),
        image.ssim,
        {"size": 7, "sigma": 1.0, "covariance": "sample"},
    ),
    "uniform7": (Ssim(metric="ssim", variant="uniform7"), image.ssim, {"variant": "uniform7"}),
    "matlab": (Ssim(metric="ssim", variant="matlab-grey"), image.ssim, {"variant": "matlab-grey"}),
    "ms_ssim": (MsSsim(metric="ms_ssim"), image.ms_ssim, {}),
}


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])  # the second is computed by torch, as on a GPU
def test_each_column_is_its_metric_of_each_image(tmp_path, monkeypatch, device):
    used = []
    for name in ("psnr", "ssim"):
        compute = getattr(image_torch, name)
        monkeypatch.setattr(image_torch, name, lambda *a, f=compute, n=name: (used.append(n), f(*a))[1])
    views = views_of(165, 170)
    made, files = predictions(tmp_path, views)
    found = list(
        measure(dict(reversed(files.items())), views, section(**{n: c[0] for n, c in COLUMNS.items()}), device=device)
    )
    assert [one.name for one in found] == list(NAMES)
    for index, one in enumerate(found):
        truth = truth_image(views, index, BACKGROUND)
        np.testing.assert_array_equal(truth, image.quantise(image.composite(views.image(index), BACKGROUND)))
        expected = {n: float(metric(made[one.name], truth, **given)) for n, (_, metric, given) in COLUMNS.items()}
        assert one.values == pytest.approx(expected, abs=0 if device == "cpu" else 1e-10, rel=0)
        assert one.prediction == hashlib.sha256(made[one.name].tobytes()).digest()
        assert one.truth == hashlib.sha256(truth.tobytes()).digest()
    assert sorted(set(used)) == ([] if device == "cpu" else ["psnr", "ssim"])
    assert len(used) == (0 if device == "cpu" else 3 * 4)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_masked_columns_count_the_masked_pixels(tmp_path, alex, device):
    views = views_of(165, 170)
    mask = left_half(views)[0]
    views = views_of(165, 170, masks=[mask] * 3)
    made, files = predictions(tmp_path, views)
    columns = {
        "psnr": Psnr(metric="psnr", masked=True),
        "ssim": Ssim(metric="ssim", masked=True),
        "ms_ssim": MsSsim(metric="ms_ssim", masked=True),
        "lpips": Lpips(metric="lpips", net="alex", masked=True),
        "whole": Psnr(metric="psnr"),
        "whole_lpips": Lpips(metric="lpips", net="alex"),
        "older": Lpips(metric="lpips", net="alex", version="0.0"),
    }
    (one,) = measure({"a": files["a"]}, views, section(**columns), device=device, lpips_weights=[alex])
    pair = made["a"], truth_image(views, 1, BACKGROUND)
    near = {"abs": 1e-10, "rel": 1e-6}
    assert one.values["psnr"] == pytest.approx(float(image.psnr(*pair, mask=mask)), **near)
    assert one.values["ssim"] == pytest.approx(float(image.ssim(*pair, mask=mask)), **near)
    assert one.values["ms_ssim"] == pytest.approx(float(image.ms_ssim(*pair, mask=mask)), **near)
    assert one.values["lpips"] == pytest.approx(float(image.lpips(*pair, weights=alex, mask=mask)), **near)
    assert one.values["whole"] == pytest.approx(float(image.psnr(*pair)), **near)
    assert one.values["whole_lpips"] == pytest.approx(float(image.lpips(*pair, weights=alex)), **near)
    assert one.values["older"] == pytest.approx(float(image.lpips(*pair, weights=alex, version="0.0")), **near)
    assert len({round(value, 6) for value in one.values.values()}) == len(columns)
    kept = (tmp_path / "cache" / "nfbench" / "features").exists()
    assert kept == (device == "cpu"), "a GPU computes features faster than a disk reads them"


def test_masks_are_asked_for_by_masked_columns_alone(tmp_path):
    views = views_of(12, 14, masks=[np.zeros((12, 14), bool)] * 3)
    _, files = predictions(tmp_path, views)
    assert len(list(measure(files, views, section(psnr=Psnr(metric="psnr"))))) == 3
    with pytest.raises(DataMissing, match=r"The mask of view 'b' is empty\.") as caught:
        list(measure(files, views, section(psnr=Psnr(metric="psnr"), inside=Psnr(metric="psnr", masked=True))))
    assert "test split" in caught.value.hint


def test_what_a_metric_refuses_names_the_view(tmp_path):
    views = views_of(9, 14)
    _, files = predictions(tmp_path, views)
    with pytest.raises(NfbenchError, match=r"View 'b': SSIM needs images of 11x11 .* 14x9") as caught:
        list(measure(files, views, section(ssim=Ssim(metric="ssim"))))
    assert caught.value.hint.startswith("Score larger images")


def test_failed_predictions_are_raised_or_told(tmp_path):
    views = views_of(12, 14)
    made, files = predictions(tmp_path, views)
    write_png(files["a"], made["a"][:, :13])
    transparent = np.dstack([made["c"], np.full((12, 14), 255, np.uint8)])
    transparent[3, 4, 3] = 254
    write_png(files["c"], transparent)
    chosen = section(psnr=Psnr(metric="psnr"))
    with pytest.raises(DataCorrupt, match=r"a\.png is 13x12 pixels, the test view is 14x12") as caught:
        list(measure(files, views, chosen))
    assert "does not resize" in caught.value.hint
    failed = {}
    assert [one.name for one in measure(files, views, chosen, failed=failed)] == ["b"]
    assert list(failed) == ["a", "c"]
    assert "13x12" in failed["a"] and "transparent" in failed["c"]
    for height, width in ((12, 15), (13, 14), (11, 14)):
        write_png(files["b"], np.zeros((height, width, 3), np.uint8))
        assert list(measure(files, views, chosen, failed=failed)) == []
        assert f"b.png is {width}x{height} pixels" in failed["b"]


def test_an_opaque_alpha_channel_is_left_out(tmp_path):
    views = views_of(12, 14)
    made, files = predictions(tmp_path, views)
    chosen = section(ssim=Ssim(metric="ssim"), psnr=Psnr(metric="psnr"))
    before = list(measure(files, views, chosen))
    for name, path in files.items():
        write_png(path, np.dstack([made[name], np.full((12, 14), 255, np.uint8)]))
    assert list(measure(files, views, chosen)) == before


def test_a_network_without_weights_leaves_its_columns_unmeasured(tmp_path, monkeypatch, alex):
    def nowhere(net, *given):
        raise DataMissing("no weights", "none")

    views = views_of(40, 48)
    _, files = predictions(tmp_path, views)
    monkeypatch.setattr(lpips, "load", nowhere)
    chosen = section(lpips=Lpips(metric="lpips", net="vgg"), psnr=Psnr(metric="psnr"))
    unmeasured = {}
    found = list(measure(files, views, chosen, unmeasured=unmeasured))
    assert unmeasured == {"lpips": "no weights for vgg here; nfbench doctor says where they go"}
    assert all(list(one.values) == ["psnr"] for one in found)
    assert len(list(measure(files, views, chosen))) == 3


@pytest.mark.parametrize(("cores", "threads"), [(None, 1), (1, 1), (3, 3), (64, 8)])
def test_threads_and_waiting_images_are_bounded(monkeypatch, cores, threads):
    made = []

    class Recorded(image_scores.ThreadPoolExecutor):
        def __init__(self, count):
            made.append(self)
            self.count, self.submitted = count, 0
            super().__init__(1)

        def submit(self, *given):
            self.submitted += 1
            return super().submit(*given)

    monkeypatch.setattr(image_scores.os, "cpu_count", lambda: cores)
    monkeypatch.setattr(image_scores, "ThreadPoolExecutor", Recorded)
    squares = image_scores._in_order(lambda i: i * i, range(100))
    assert next(squares) == 0
    (pool,) = made
    assert (pool.count, pool.submitted) == (threads, 2 * threads + 1)
    assert next(squares) == 1
    assert pool.submitted == 2 * threads + 2
    assert list(squares) == [i * i for i in range(2, 100)]
    assert pool._shutdown


def test_what_threads_hand_on_does_not_change():
    pair = image_scores._Pair("a", np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1, 3), np.uint8), None)
    for one in (pair, image_scores.Measured("a", {}, b"", b"")):
        with pytest.raises(FrozenInstanceError):
            one.name = "b"
