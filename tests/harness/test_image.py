import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nfbench.harness import image
from nfbench.harness.errors import ContractBroken, NfbenchError


def noisy_pair(shape, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 256, shape, dtype=np.uint8)
    return np.clip(truth + rng.normal(0, 20, shape), 0, 255).astype(np.uint8), truth


def reference_ssim(prediction, truth, sample=False, sigma=1.5):
    peak = 255 if prediction.dtype == np.uint8 else 1
    return structural_similarity(
        prediction.astype(np.float64) / peak,
        truth.astype(np.float64) / peak,
        gaussian_weights=True,
        sigma=sigma,
        use_sample_covariance=sample,
        data_range=1,
        channel_axis=-1,
    )


def test_composite_puts_straight_alpha_over_the_colour():
    rgba = np.array([[[255, 0, 51, 255], [255, 0, 51, 0], [255, 0, 51, 51]]], np.uint8)
    over = image.composite(rgba, (0.5, 1.0, 0.0))
    assert over.dtype == np.float32
    np.testing.assert_allclose(over[0], [[1, 0, 0.2], [0.5, 1, 0], [0.6, 0.8, 0.04]], atol=1e-7)


def test_composite_passes_rgb_through():
    rgb = np.arange(256, dtype=np.uint8).reshape(-1, 1, 1).repeat(3, 2)
    np.testing.assert_array_equal(image.composite(rgb, (1, 1, 1)), rgb.astype(np.float32) / 255)


def test_composite_stays_in_range():
    rng = np.random.default_rng(0)
    over = image.composite(rng.integers(250, 256, (64, 64, 4), dtype=np.uint8), rng.uniform(0.9, 1, 3))
    assert over.max() <= 1


@pytest.mark.parametrize(
    ("pixels", "background"),
    [
        (np.zeros((4, 4, 4), np.float32), (1, 1, 1)),
        (np.zeros((4, 4), np.uint8), (1, 1, 1)),
        (np.zeros((4, 4, 4), np.uint8), (255, 255, 255)),
        (np.zeros((4, 4, 4), np.uint8), 1.0),
    ],
)
def test_composite_refuses(pixels, background):
    with pytest.raises(ContractBroken):
        image.composite(pixels, background)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_quantise_undoes_division_and_rounds(dtype):
    levels = np.arange(256).reshape(-1, 1, 1).repeat(3, 2)
    for shift in (-0.49, 0.0, 0.49):
        np.testing.assert_array_equal(image.quantise(((levels + shift) / 255).astype(dtype)), levels)


def test_quantise_clips():
    np.testing.assert_array_equal(image.quantise(np.array([[[-np.inf, 1.7, np.inf]]])), [[[0, 255, 255]]])


def test_quantise_names_nan():
    bad = np.zeros((2, 5, 4, 3))
    bad[1, 2, 3, 0] = np.nan
    with pytest.raises(ContractBroken, match=r"\(1, 2, 3, 0\)"):
        image.quantise(bad)
    with pytest.raises(ContractBroken, match="uint8"):
        image.quantise(np.zeros((4, 4, 3), np.uint8))


@pytest.mark.parametrize("shape", [(13, 17, 3), (300, 200, 3), (2, 2, 16, 11, 3)])
def test_psnr_equals_scikit_image(shape):
    prediction, truth = noisy_pair(shape)
    expected = [
        peak_signal_noise_ratio(t, p)
        for p, t in zip(prediction.reshape(-1, *shape[-3:]), truth.reshape(-1, *shape[-3:]), strict=True)
    ]
    measured = image.psnr(prediction, truth)
    assert measured.shape == shape[:-3]
    np.testing.assert_allclose(measured.ravel(), expected, rtol=1e-13)
    np.testing.assert_allclose(image.psnr(prediction / 255, truth / 255).ravel(), expected, rtol=1e-12)


def test_psnr_of_known_errors():
    black = np.zeros((16, 16, 3), np.uint8)
    assert image.psnr(black, black) == np.inf
    assert image.psnr(black, black + np.uint8(255)) == 0
    np.testing.assert_allclose(image.psnr(np.full((4, 4, 3), 0.1), np.zeros((4, 4, 3))), 20)


def test_psnr_sums_exactly():
    truth = np.full((401, 399, 3), 255, np.uint8)
    prediction = np.zeros_like(truth)
    prediction[7, 7, 1] = 254
    error = 255**2 * (truth.size - 1) + 1
    assert image.psnr(prediction, truth) == 10 * np.log10(truth.size / (error / 255**2))


def test_masked_psnr_divides_by_the_masked_pixels_alone():
    prediction, truth = noisy_pair((2, 30, 20, 3))
    mask = np.random.default_rng(1).random((2, 30, 20)) < 0.3
    expected = [peak_signal_noise_ratio(t[m], p[m]) for p, t, m in zip(prediction, truth, mask, strict=True)]
    np.testing.assert_allclose(image.psnr(prediction, truth, mask=mask), expected, rtol=1e-13)
    np.testing.assert_allclose(image.psnr(prediction / 255, truth / 255, mask=mask), expected, rtol=1e-12)
    np.testing.assert_array_equal(
        image.psnr(np.where(mask[..., None], prediction, 0).astype(np.uint8), truth, mask=mask),
        image.psnr(prediction, truth, mask=mask),
    )
    np.testing.assert_array_equal(image.psnr(prediction, truth, mask=np.ones_like(mask)), image.psnr(prediction, truth))


@pytest.mark.parametrize("metric", [image.psnr, image.ssim])
def test_masks_are_checked(metric):
    pair = noisy_pair((2, 20, 20, 3))
    empty = np.ones((2, 20, 20), bool)
    empty[1] = False
    with pytest.raises(NfbenchError, match="mask of image 1 is empty"):
        metric(*pair, mask=empty)
    for mask in (np.ones((2, 20, 20), np.uint8), np.ones((20, 20), bool), np.ones((2, 20, 20, 3), bool)):
        with pytest.raises(ContractBroken, match="mask"):
            metric(*pair, mask=mask)


@pytest.mark.parametrize("shape", [(11, 11, 3), (11, 80, 3), (42, 43, 3), (120, 75, 3)])
@pytest.mark.parametrize("sample", [False, True])
def test_ssim_equals_scikit_image(shape, sample):
    covariance = "sample" if sample else "population"
    for prediction, truth in (noisy_pair(shape), [a / 255 for a in noisy_pair(shape)]):
        measured = image.ssim(prediction, truth, covariance=covariance)
        assert measured == pytest.approx(reference_ssim(prediction, truth, sample), abs=1e-11)


@pytest.mark.parametrize(("size", "sigma"), [(7, 0.9), (15, 2.0)])
def test_ssim_of_other_windows_equals_scikit_image(size, sigma):
    prediction, truth = noisy_pair((60, 40, 3))
    measured = image.ssim(prediction, truth, size=size, sigma=sigma)
    assert measured == pytest.approx(reference_ssim(prediction, truth, sigma=sigma), abs=1e-11)


def test_ssim_of_constant_images():
    # no variance: what remains is the luminance term (2ab + c1) / (a^2 + b^2 + c1)
    a, b, c1 = 0.25, 0.75, 0.01**2
    measured = image.ssim(np.full((20, 20, 3), a), np.full((20, 20, 3), b))
    assert measured == pytest.approx((2 * a * b + c1) / (a * a + b * b + c1), abs=1e-12)


@pytest.mark.parametrize("metric", [image.psnr, image.ssim])
def test_metrics_are_invariant(metric):
    prediction, truth = noisy_pair((3, 40, 50, 3))
    value = metric(prediction, truth)
    np.testing.assert_allclose(metric(truth, prediction), value, rtol=1e-12)
    np.testing.assert_allclose(metric(prediction[:, :, ::-1], truth[:, :, ::-1]), value, rtol=1e-12)
    np.testing.assert_allclose(metric(prediction.swapaxes(1, 2), truth.swapaxes(1, 2)), value, rtol=1e-12)
    np.testing.assert_allclose(metric(prediction[..., ::-1], truth[..., ::-1]), value, rtol=1e-12)
    np.testing.assert_array_equal([metric(p, t) for p, t in zip(prediction, truth, strict=True)], value)


@pytest.mark.parametrize("metric", [image.psnr, image.ssim, image.ms_ssim, image.lpips])
def test_metrics_refuse(metric):
    good = np.zeros((40, 40, 3))
    for prediction, truth, words in [
        (good, good[:20], "shape"),
        (good[..., :2], good[..., :2], "shape"),
        (good[:0], good[:0], "shape"),
        (good.astype(np.int64), good, "int64"),
        (good + 255, good, r"\[0,1\]"),
        (good * np.nan, good, r"\[0,1\]"),
        (good, good.astype(np.uint8), "uint8"),
    ]:
        with pytest.raises(ContractBroken, match=words) as caught:
            metric(prediction, truth)
        assert caught.value.hint


@pytest.mark.parametrize("bad", [{"size": 10}, {"size": 1}, {"sigma": 0.0}, {"covariance": "none"}, {"size": 51}])
def test_ssim_refuses_windows(bad):
    with pytest.raises(NfbenchError):
        image.ssim(*noisy_pair((40, 40, 3)), **bad)


def test_ssim_refuses_images_smaller_than_the_window():
    with pytest.raises(NfbenchError, match="12x10"):
        image.ssim(*noisy_pair((10, 12, 3)))


def test_import_leaves_torch_and_numba_alone():
    code = "import sys, nfbench.harness.image; sys.exit(bool({'torch', 'numba'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_published_values_of_the_noisy_camera(real_data):
    folder = real_data / "image_metric_fixtures"
    clean, noisy = (
        np.asarray(Image.open(folder / name).convert("L"))[..., None].repeat(3, 2)
        for name in ("camera.png", "camera_noisy.png")
    )
    assert image.psnr(noisy, clean) == pytest.approx(22.40935, abs=1e-5)
    assert image.ssim(noisy, clean) == pytest.approx(0.3579642362365815, abs=1e-9)
