import json

import numpy as np
import pytest
from PIL import Image
from scipy.signal import convolve2d

from nfbench.harness import image, ssim
from nfbench.harness.errors import NfbenchError, Unsupported

C1, C2 = 0.01**2, 0.03**2


def pair(height, width, seed=0):
    """An uneven image with a flat bright part, and a noisy copy: uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    truth = np.stack([0.5 + 0.5 * np.sin(x * f / 9) * np.cos(y / (5 + f)) for f in (1, 2, 3)], axis=-1)
    truth[: height // 3] = 1
    noisy = truth + rng.normal(0, 0.06, truth.shape)
    noisy[:, : width // 4] = truth[:, : width // 4]
    return tuple(np.rint(np.clip(a, 0, 1) * 255).astype(np.uint8) for a in (noisy, truth))


def gaussian11():
    d = np.arange(-5, 6)
    window = np.exp(-(d[:, None] ** 2 + d[None] ** 2) / (2 * 1.5**2))
    return window / window.sum()


def places(x, y, window, factor=1.0):
    """Luminance, and contrast times structure, from the definition with a two-dimensional window: (H',W',3) each."""

    def mean(a):
        return np.stack([convolve2d(a[..., c], window, mode="valid") for c in range(3)], axis=-1)

    mx, my = mean(x), mean(y)
    vx, vy, cov = (
        factor * (mean(a * b) - ma * mb) for a, b, ma, mb in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
    )
    return (2 * mx * my + C1) / (mx**2 + my**2 + C1), (2 * cov + C2) / (vx + vy + C2)


def reference(x, y, window, factor=1.0):
    luminance, structure = places(x / 255, y / 255, window, factor)
    return luminance * structure


BOX = np.full((7, 7), 1 / 49)
WINDOWS = {"gaussian": (gaussian11(), 1.0), "tf": (gaussian11(), 1.0), "uniform7": (BOX, 49 / 48)}


def shrink(a, factor):
    """Means around every factor-th pixel, from the definition, one by one; mirrored beyond the border."""
    before = (factor + 1) // 2 - 1
    mirrored = np.pad(a, ((factor, factor), (factor, factor), (0, 0)), mode="symmetric").astype(np.float64)
    starts = [range(factor - before, factor - before + n, factor) for n in a.shape[:2]]
    return np.array([[mirrored[i : i + factor, j : j + factor].mean((0, 1)) for j in starts[1]] for i in starts[0]])


@pytest.mark.parametrize("size", [3, 7, 11])
@pytest.mark.parametrize(("kind", "tolerance"), [(np.float32, 1e-9), (np.float64, 2e-16)])
def test_taps_sum_to_one_in_their_own_type(size, kind, tolerance):
    taps = ssim.Window(size).taps(np.dtype(kind))
    assert taps.dtype == kind
    exact = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * 1.5**2))
    np.testing.assert_allclose(taps, exact / exact.sum(), rtol=4 * np.finfo(kind).eps, atol=2 * np.finfo(kind).eps)
    np.testing.assert_array_equal(taps, taps[::-1])
    assert abs(taps.sum(dtype=np.float64) - 1) <= tolerance
    np.testing.assert_allclose(ssim.Window(size, None).taps(np.dtype(kind)), 1 / size, rtol=10 * np.finfo(kind).eps)


@pytest.mark.parametrize("variant", WINDOWS)
@pytest.mark.parametrize("size", [(11, 12), (37, 300)])
def test_variants_equal_their_definition(variant, size):
    x, y = pair(*size)
    expected = reference(x, y, *WINDOWS[variant]).mean()
    variant = "".join([*variant])  # equal to the name in the code, not the same object, as in a protocol that was read
    assert image.ssim(x, y, variant=variant) == pytest.approx(expected, abs=1e-12)
    assert image.ssim(x / 255, y / 255, variant=variant) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("variant", ["gaussian", "uniform7"])
@pytest.mark.parametrize("scale", [1, 0.02])
def test_single_precision_is_near(variant, scale):
    x, y = (np.rint(a * scale + 255 * (1 - scale)).astype(np.uint8) for a in pair(90, 150))
    exact = image.ssim(x, y, variant=variant)
    assert image.ssim(x, y, variant=variant, precision="single") == pytest.approx(exact, abs=3e-7)
    x32, y32 = (a.astype(np.float32) / np.float32(255) for a in (x, y))
    assert image.ssim(x32, y32, variant=variant, precision="single") == pytest.approx(exact, abs=3e-7)


def test_single_precision_is_float32():
    x, y = pair(60, 70)
    assert image.ssim(x, y, precision="single") != image.ssim(x, y)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 5])
def test_downsample_equals_its_definition(factor):
    x, _ = pair(13, 22)
    np.testing.assert_allclose(ssim.downsample(x, factor), shrink(x, factor), rtol=1e-13)


def test_matlab_factor_rounds_half_up():
    sides = (11, 383, 384, 639, 640, 800, 1152)
    assert [ssim.matlab_factor(side, 4000) for side in sides] == [1, 1, 2, 2, 3, 3, 5]
    assert ssim.matlab_factor(4000, 384) == 2


def test_matlab_makes_images_smaller_first():
    x, y = pair(387, 400)
    expected = reference(shrink(x, 2), shrink(y, 2), gaussian11()).mean()
    assert image.ssim(x, y, variant="matlab") == pytest.approx(expected, abs=1e-12)
    assert image.ssim(x, y) != pytest.approx(expected, abs=1e-3)


def test_matlab_grey_is_of_the_rounded_luminance():
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [13, 13, 13]]], np.uint8)
    np.testing.assert_array_equal(ssim.grey(primaries)[0], np.repeat([[76], [150], [29], [255], [13]], 3, axis=1))
    np.testing.assert_allclose(ssim.grey(primaries[0] / 255)[0], 0.298936, atol=1e-6)
    x, y = pair(40, 50)
    expected = reference(ssim.grey(x), ssim.grey(y), gaussian11()).mean()
    assert image.ssim(x, y, variant="".join([*"matlab-grey"])) == pytest.approx(expected, abs=1e-12)
    assert image.ssim(x, y, variant="matlab") != pytest.approx(expected, abs=1e-2)
    stacked = [a[..., 1:2].repeat(3, -1) for a in (x, y)]
    assert image.ssim(*stacked, variant="matlab-grey") == pytest.approx(image.ssim(*stacked, variant="matlab"))


@pytest.mark.parametrize("variant", [*WINDOWS, "matlab", "matlab-grey"])
def test_equal_images_score_one(variant):
    x, _ = pair(20, 30)
    assert image.ssim(x, x, variant=variant) == pytest.approx(1, abs=1e-12)


def test_layout_in_memory_does_not_matter():
    x, y = pair(40, 60)
    expected = image.ssim(x[::2, ::-1].copy(), y[::2, ::-1].copy())
    x.flags.writeable = False
    assert image.ssim(x[::2, ::-1], y[::2, ::-1]) == expected
    assert image.ssim(np.asfortranarray(x[::2, ::-1]), y[::2, ::-1]) == expected


@pytest.mark.parametrize("variant", WINDOWS)
def test_masked_is_the_mean_of_the_masked_places(variant):
    x, y = pair(40, 150)
    mask = np.random.default_rng(2).random((40, 150)) < 0.2
    similarities = reference(x, y, *WINDOWS[variant])
    border = (40 - len(similarities)) // 2
    expected = similarities[mask[border:-border, border:-border]].mean()
    assert image.ssim(x, y, variant=variant, mask=mask) == pytest.approx(expected, abs=1e-12)
    whole = np.ones_like(mask)
    assert image.ssim(x, y, variant=variant, mask=whole) == pytest.approx(image.ssim(x, y, variant=variant), abs=1e-12)


def test_mask_within_the_border_is_refused():
    x, y = pair(30, 30)
    mask = np.zeros((30, 30), bool)
    mask[4] = mask[:, -5] = True
    with pytest.raises(NfbenchError, match="mask of image 0 holds no pixel whose SSIM window fits"):
        image.ssim(x, y, mask=mask)
    assert np.isfinite(image.ssim(x, y, mask=mask, variant="uniform7"))
    per_channel = ssim.similarity(x, y, ssim.GAUSSIAN, peak=255, mask=mask)
    np.testing.assert_array_equal(per_channel, [np.nan] * 3)


def test_variants_refuse():
    x, y = pair(30, 30)
    with pytest.raises(Unsupported, match="matlab"):
        image.ssim(x, y, variant="matlab", mask=np.ones((30, 30), bool))
    with pytest.raises(NfbenchError, match="uniform7 has a window of its own"):
        image.ssim(x, y, variant="uniform7", size=9)
    with pytest.raises(NfbenchError, match="not known") as caught:
        image.ssim(x, y, variant="unifrom7")
    assert "uniform7" in caught.value.hint
    for metric in (image.ssim, image.ms_ssim):
        with pytest.raises(NfbenchError, match="'half'"):
            metric(x, y, precision="half")
    with pytest.raises(NfbenchError, match="7x7"):
        image.ssim(x[:6], y[:6], variant="uniform7")


@pytest.mark.parametrize("size", [(161, 178), (200, 161)])
def test_ms_ssim_equals_its_definition(size):
    x, y = pair(*size)
    expected = np.ones(3)
    a, b = x / 255, y / 255
    for weight in (0.0448, 0.2856, 0.3001, 0.2363):
        expected *= places(a, b, gaussian11())[1].mean((0, 1)) ** weight
        a, b = shrink(a, 2), shrink(b, 2)
    luminance, structure = places(a, b, gaussian11())
    expected = (expected * (luminance * structure).mean((0, 1)) ** 0.1333).mean()
    assert image.ms_ssim(x, y) == pytest.approx(expected, abs=1e-11)
    assert image.ms_ssim(x / 255, y / 255) == pytest.approx(expected, abs=1e-11)
    assert image.ms_ssim(x, y, precision="single") == pytest.approx(expected, abs=2e-6)


def test_ms_ssim_of_constant_images_is_their_luminance():
    a, b = 0.25, 0.75
    shape = (2, 161, 170, 3)
    expected = ((2 * a * b + C1) / (a * a + b * b + C1)) ** 0.1333
    np.testing.assert_allclose(image.ms_ssim(np.full(shape, a), np.full(shape, b)), [expected] * 2, rtol=1e-9)


def test_ms_ssim_of_a_negative_is_zero():
    _, y = pair(165, 165)
    assert image.ms_ssim(255 - y, y) == 0
    assert image.ms_ssim(y, y) == pytest.approx(1, abs=1e-12)


def test_ms_ssim_refuses_small_images():
    x, y = pair(160, 300)
    with pytest.raises(NfbenchError, match="161x161 pixels or more; these have 300x160"):
        image.ms_ssim(x, y)


def read(folder, name, grey):
    picture = Image.open(folder / name)
    return np.asarray(picture.convert("L").convert("RGB") if grey else picture.convert("RGB"))


def test_published_values(real_data):
    folder = real_data / "image_metric_fixtures"
    expected = json.loads((folder / "expected.json").read_text())
    goldhill = [read(folder, name, True) for name in ("goldhill.gif", "goldhill_jpeg.gif")]
    published = expected["goldhill.gif__goldhill_jpeg.gif"]
    for variant in ("matlab", "matlab-grey"):
        assert image.ssim(*goldhill, variant=variant) == pytest.approx(published["ssim"], abs=published["tol"])
    assert image.ssim(*goldhill) == pytest.approx(published["ours_without_downsampling"], abs=1e-8)
    colour = [read(folder, name, False) for name in ("I01.BMP", "i01_01_5.bmp")]
    published = expected["I01.BMP__i01_01_5.bmp"]
    assert image.ssim(*colour, variant="matlab") == pytest.approx(published["ours"], abs=1e-8)
    assert image.ssim(*colour, variant="matlab") == pytest.approx(published["ssim"], abs=published["tol"])
    camera = [read(folder, name, True) for name in ("camera.png", "camera_noisy.png")]
    published = expected["camera.png__camera_noisy.png"]
    assert image.psnr(*camera) == pytest.approx(published["psnr_ipol"], rel=1e-7)
    assert image.ssim(*camera) == pytest.approx(published["ssim_ipol"], abs=1e-5)
    assert image.ssim(*camera, variant="uniform7") == pytest.approx(published["ssim_uniform7_skimage0.17"], abs=1e-9)
