import numpy as np
import pytest
import torch

from nfbench.harness import image, image_torch
from nfbench.harness.errors import NfbenchError
from nfbench.harness.ssim import window

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 256, (41, 57, 3), dtype=np.uint8)
    noisy = np.clip(truth + rng.normal(0, 20, truth.shape), 0, 255).astype(np.uint8)
    return noisy, truth


def half(pair):
    mask = np.zeros(pair[0].shape[:2], bool)
    mask[3:30, 20:] = True
    return mask


@pytest.mark.parametrize("device", DEVICES)
def test_psnr_is_that_of_the_compiled_kernel(pair, device):
    assert image_torch.psnr(*pair, device=device) == pytest.approx(float(image.psnr(*pair)), abs=1e-12)
    mask = half(pair)
    assert image_torch.psnr(*pair, mask, device) == pytest.approx(float(image.psnr(*pair, mask=mask)), abs=1e-12)
    assert image_torch.psnr(pair[0], pair[0], device=device) == np.inf
    black, grey = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8)
    assert image_torch.psnr(grey, black, device=device) == pytest.approx(20 * np.log10(5))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("variant", "choices"),
    [("gaussian", {}), ("gaussian", {"size": 7, "sigma": 1.0, "covariance": "sample"}), ("tf", {}), ("uniform7", {})],
)
def test_ssim_is_that_of_the_compiled_kernel(pair, device, variant, choices):
    around = window(*{"size": 11, "sigma": 1.5, "covariance": "population", **choices}.values(), variant)
    expected = float(image.ssim(*pair, variant=variant, **choices))
    assert image_torch.ssim(*pair, around, device=device) == pytest.approx(expected, abs=1e-10)
    masked = float(image.ssim(*pair, variant=variant, mask=half(pair), **choices))
    assert image_torch.ssim(*pair, around, half(pair), device) == pytest.approx(masked, abs=1e-10)
    assert masked != pytest.approx(expected, abs=1e-4)


def test_a_mask_at_the_border_alone_is_named(pair):
    mask = np.zeros(pair[0].shape[:2], bool)
    mask[0] = True
    with pytest.raises(NfbenchError, match="window fits"):
        image_torch.ssim(*pair, window(11, 1.5, "population", "gaussian"), mask)
