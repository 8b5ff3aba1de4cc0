import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import convolve2d
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
    values, alphas = np.meshgrid(np.array([0, 1, 2, 250, 253, 254, 255], np.uint8), np.arange(256, dtype=np.uint8))
    rgba = np.stack([values, values, values, alphas], axis=-1)
    rng = np.random.default_rng(0)
    for shades in np.concatenate([rng.random((100, 3)), rng.random((100, 3)) * 1e-7, 1 - rng.random((100, 3)) * 1e-6]):
        over = image.composite(rgba, shades)
        assert over.min() >= 0
        assert over.max() <= 1


RGBA = np.zeros((4, 4, 4), np.uint8)


@pytest.mark.parametrize(
    ("pixels", "background", "words"),
    [
        (RGBA.astype(np.float32), (1, 1, 1), r"float32 \(4, 4, 4\)"),
        (RGBA.astype(np.int8), (1, 1, 1), "int8"),
        (RGBA[0], (1, 1, 1), r"uint8 \(4, 4\)"),
        (RGBA[None].repeat(2, 0), (1, 1, 1), r"uint8 \(2, 4, 4, 4\)"),
        (RGBA[..., :2], (1, 1, 1), r"\(4, 4, 2\)"),
        (RGBA.repeat(2, 2)[..., :5], (1, 1, 1), r"\(4, 4, 5\)"),
        (RGBA, (255, 255, 255), "not an sRGB colour"),
        (RGBA, (1, 1.01, 1), "not an sRGB colour"),
        (RGBA, (1, 1, -0.01), "not an sRGB colour"),
        (RGBA, (np.nan, 1, 1), "not an sRGB colour"),
        (RGBA, (1, 1), "not an sRGB colour"),
        (RGBA, (1, 1, 1, 1), "not an sRGB colour"),
        (RGBA, 1.0, "not an sRGB colour"),
    ],
)
def test_composite_refuses(pixels, background, words):
    with pytest.raises(ContractBroken, match=words):
        image.composite(pixels, background)


def test_flattened_is_composite_in_8_bit():
    rgba = np.random.default_rng(1).integers(0, 256, (5, 3, 4), dtype=np.uint8)
    over = image.flattened(rgba, (0.2, 0.4, 1))
    np.testing.assert_array_equal(over, image.quantise(image.composite(rgba, (0.2, 0.4, 1))))
    assert image.flattened(over, (0, 0, 0)) is over
    with pytest.raises(ContractBroken, match="5, 3, 2"):
        image.flattened(rgba[..., :2], (0, 0, 0))


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
    bad[1, 4, 0, 2] = np.nan
    with pytest.raises(ContractBroken, match=r"\(1, 2, 3, 0\)"):
        image.quantise(bad)


def test_quantise_refuses():
    with pytest.raises(ContractBroken, match="uint8"):
        image.quantise(np.zeros((4, 4, 3), np.uint8))
    for shape in ((4, 3), (3,), (4, 4, 2), (4, 4, 4)):
        with pytest.raises(ContractBroken, match="float64"):
            image.quantise(np.zeros(shape))
    assert image.quantise(np.zeros((0, 4, 3))).shape == (0, 4, 3)


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


@pytest.mark.parametrize("metric", [image.psnr, image.ssim, image.ms_ssim, image.lpips])
def test_masks_are_checked(metric):
    pair = noisy_pair((2, 20, 20, 3))
    empty = np.ones((2, 20, 20), bool)
    empty[1] = False
    with pytest.raises(NfbenchError, match="mask of image 1 is empty"):
        metric(*pair, mask=empty)
    with pytest.raises(NfbenchError, match="mask of image 0 is empty"):
        metric(*pair, mask=np.zeros((2, 20, 20), bool))
    shapes = ((20, 20), (2, 20, 19), (2, 20, 20, 3))
    for mask in (np.ones((2, 20, 20), np.uint8), *(np.ones(shape, bool) for shape in shapes)):
        with pytest.raises(ContractBroken, match="mask") as caught:
            metric(*pair, mask=mask)
        assert caught.value.hint.startswith("Give bool of shape (2, 20, 20), ")


@pytest.mark.parametrize("shape", [(11, 11, 3), (11, 80, 3), (42, 43, 3), (120, 75, 3)])
@pytest.mark.parametrize("sample", [False, True])
def test_ssim_equals_scikit_image(shape, sample):
    covariance = "sample" if sample else "population"
    for prediction, truth in (noisy_pair(shape), [a / 255 for a in noisy_pair(shape)]):
        measured = image.ssim(prediction, truth, covariance=covariance)
        assert measured == pytest.approx(reference_ssim(prediction, truth, sample), abs=1e-11)


@pytest.mark.parametrize(("size", "sigma"), [(3, 0.4), (7, 0.9), (15, 2.0)])
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
        (good[:20], good, "shape"),
        (good[..., :2], good[..., :2], "shape"),
        (good.repeat(2, 2)[..., :4], good.repeat(2, 2)[..., :4], "shape"),
        (good[0], good[0], "shape"),
        (good[:0], good[:0], "shape"),
        (good.astype(np.int64), good, "int64"),
        (good.astype(np.int8), good.astype(np.int8), "int8"),
        (good + 255, good, r"spans \[255, 255\]"),
        (good + 1.01, good, r"spans \[1.01, 1.01\]"),
        (good, good - 0.01, r"truth spans \[-0.01, -0.01\]"),
        (good * np.nan, good, r"\[0,1\]"),
        (good, good.astype(np.uint8), "prediction is float64, the truth uint8"),
        (good.astype(np.uint8), good, "prediction is uint8, the truth float64"),
    ]:
        with pytest.raises(ContractBroken, match=words) as caught:
            metric(prediction, truth)
        assert caught.value.hint


@pytest.mark.parametrize(
    "bad",
    [
        {"size": 10},
        {"size": 1},
        {"size": 51},
        {"sigma": 0.0},
        {"sigma": -1.5},
        {"sigma": np.nan},
        {"covariance": "none"},
    ],
)
def test_ssim_refuses_windows(bad):
    with pytest.raises(NfbenchError):
        image.ssim(*noisy_pair((40, 40, 3)), **bad)


def test_ssim_refuses_images_smaller_than_the_window():
    with pytest.raises(NfbenchError, match="12x10"):
        image.ssim(*noisy_pair((10, 12, 3)))


def uneven_pair(height, width, seed=0):
    """An uneven image with noise that grows to the right, and the image: uint8."""
    y, x = np.mgrid[:height, :width]
    truth = np.stack([0.5 + 0.4 * np.sin(x * f / 9) * np.cos(y / (5 + f)) for f in (1, 2, 3)], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 0.2, truth.shape) * (x / width)[..., None]
    return tuple(np.rint(np.clip(a, 0, 1) * 255).astype(np.uint8) for a in (truth + noise, truth))


def halved(a, reduce):
    """2x2 blocks of an image or a mask reduced to one; those at the end of an odd side have fewer pixels."""
    height, width = a.shape[:2]
    rows, columns = range(0, height, 2), range(0, width, 2)
    return np.array([[reduce(a[i : i + 2, j : j + 2]) for j in columns] for i in rows])


def slow_masked_ms_ssim(x, y, mask):
    """Equation 7 of Wang et al. 2003 over the valid pixels of each scale, by plain convolutions."""
    d = np.arange(-5, 6)
    window = np.exp(-(d[:, None] ** 2 + d[None] ** 2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(a):
        return np.stack([convolve2d(a[..., c], window, mode="valid") for c in range(3)], axis=-1)

    x, y = x / 255, y / 255
    score = np.ones(3)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        mx, my = mean(x), mean(y)
        similarity = (2 * (mean(x * y) - mx * my) + 9e-4) / (mean(x * x) - mx**2 + mean(y * y) - my**2 + 9e-4)
        if scale == 4:
            similarity *= (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        score *= np.maximum(similarity[mask[5:-5, 5:-5]].mean(axis=0), 0) ** weight
        x, y = (halved(a, lambda block: block.mean((0, 1))) for a in (x, y))
        mask = halved(mask, np.all)
    return score.mean()


@pytest.mark.parametrize("size", [(176, 208), (181, 243)])
def test_masked_ms_ssim_equals_its_definition(size):
    x, y = uneven_pair(*size)
    mask = np.ones(size, bool)
    mask[:, : size[1] // 3] = False
    mask[40:43, 200:] = False
    mask[100, 100] = False
    expected = slow_masked_ms_ssim(x, y, mask)
    assert image.ms_ssim(x, y, mask=mask) == pytest.approx(expected, abs=1e-11)
    assert image.ms_ssim(x / 255, y / 255, mask=mask) == pytest.approx(expected, abs=1e-11)
    assert image.ms_ssim(x, y, mask=mask, precision="single") == pytest.approx(expected, abs=3e-6)
    assert image.ms_ssim(x, y, mask=mask, precision="single") != image.ms_ssim(x, y, mask=mask)
    assert image.ms_ssim(x, y) != pytest.approx(expected, abs=1e-3)


def test_ms_ssim_over_all_pixels_needs_no_mask():
    pairs = [uneven_pair(170, 180, seed) for seed in range(2)]
    x, y = (np.stack(a) for a in zip(*pairs, strict=True))
    full = np.ones((2, 170, 180), bool)
    np.testing.assert_allclose(image.ms_ssim(x, y, mask=full), image.ms_ssim(x, y), rtol=1e-12)
    part = full.copy()
    part[0, :, :60] = False
    value = image.ms_ssim(x, y, mask=part)
    assert value.shape == (2,)
    assert value[0] == image.ms_ssim(x[0], y[0], mask=part[0])
    assert value[1] == image.ms_ssim(x[1], y[1], mask=full[1])


def test_masked_ms_ssim_of_a_negative_is_zero():
    _, y = uneven_pair(165, 165)
    assert image.ms_ssim(255 - y, y, mask=np.ones((165, 165), bool)) == 0


def test_masked_ms_ssim_needs_room_at_every_scale():
    x, y = (np.stack([a, a]) for a in uneven_pair(176, 176))
    mask = np.ones((2, 176, 176), bool)
    mask[1, ::16] = False  # leaves no whole block of 16x16
    with pytest.raises(NfbenchError, match="mask of image 1 holds, at some scale, no pixel whose window fits"):
        image.ms_ssim(x, y, mask=mask)
    mask[1, 80] = True  # row 5 of 11 at the last scale: the only place where the window fits
    assert np.isfinite(image.ms_ssim(x, y, mask=mask)).all()


def test_ms_ssim_equals_torchmetrics_but_for_its_border(torchvision):
    """Grey, and of a multiple of 16 pixels: it takes the mean over channels at each scale and cuts odd sizes."""
    from torchmetrics.functional import image as torchmetrics

    x, y = (a[..., 1:2].repeat(3, -1) for a in uneven_pair(176, 240))
    tensors = [torch.from_numpy(a / 255).permute(2, 0, 1)[None] for a in (x, y)]
    whole = torchmetrics.multiscale_structural_similarity_index_measure(*tensors, data_range=1.0, normalize="relu")
    # at the last scale its mean takes in windows that reach over the border, into a mirrored image
    smallest = [torch.nn.functional.avg_pool2d(tensor, 16) for tensor in tensors]
    _, places = torchmetrics.structural_similarity_index_measure(*smallest, data_range=1.0, return_full_image=True)
    border = float(places.mean() / places[..., 5:-5, 5:-5].mean()) ** 0.1333
    assert image.ms_ssim(x, y) == pytest.approx(whole.item() / border, abs=1e-9)
    assert border != pytest.approx(1, abs=1e-5)


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
