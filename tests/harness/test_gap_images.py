from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from nfbench.harness import image as images
from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.gap_reported import read_reported
from nfbench.harness.gap_text import explain
from nfbench.harness.image_scores import truth_image
from nfbench.harness.png import read_png, write_png
from nfbench.harness.probe import ball
from nfbench.harness.protocol import protocol
from nfbench.harness.scoring import items_in, score

WHITE, BLACK = (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)
CHOSEN = protocol("nerf-synthetic@1")


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    return ball(tmp_path_factory.mktemp("ball"), hidden=3)


@pytest.fixture(scope="module")
def folder(scene, tmp_path_factory):
    """Predictions whose errors grow from view to view and are another in the background."""
    target = tmp_path_factory.mktemp("predictions")
    for index, name in enumerate(scene.hidden.names):
        noise = np.random.default_rng(index).normal(0, 3 + 5 * index, (24, 24, 3))
        noise[~scene.hidden.mask(index)] *= 0.5
        image = truth_image(scene.hidden, index, WHITE) + noise
        write_png(target / f"{name}.png", np.clip(np.rint(image), 0, 255).astype(np.uint8))
    return target


@pytest.fixture(scope="module")
def pairs(scene, folder):
    views = scene.hidden
    return [
        (read_png(folder / f"{name}.png"), truth_image(views, i, WHITE), truth_image(views, i, BLACK), views.mask(i))
        for i, name in enumerate(views.names)
    ]


def best(scene, folder, chosen=CHOSEN, **numbers):
    text = ",".join(f"{name}={value!r}" for name, value in numbers.items())
    (found,) = explain(read_reported(text), [(scene, items_in(folder))], chosen)
    return found


def mean(measure, pairs):
    return float(np.mean([measure(*pair) for pair in pairs]))


def test_the_protocols_own_numbers_have_the_protocols_own_convention(scene, folder):
    scored = score(folder, scene, CHOSEN)
    numbers = {name: float(np.mean(list(scored.items[name].values()))) for name in ("psnr", "ssim")}
    found = best(scene, folder, **numbers)
    assert found.rows[0].own and found.rows[0].changes == () and found.explained
    assert {name: c.value for name, c in found.rows[0].conventions.items()} == numbers
    assert sum(c.own for c in found.conventions["psnr"]) == 1 == sum(c.own for c in found.conventions["ssim"])


def decibels(error):
    return float(-10 * np.log10(error))


def linear(image):
    x = image / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def squares(prediction, truth):
    return np.square((prediction.astype(float) - truth) / 255)


def half(image, method):
    return np.asarray(Pillow.fromarray(image).resize((12, 12), method))


PSNRS = {
    ("background: black",): lambda p, w, b, m: decibels(squares(p, b).mean()),
    ("pixels: foreground alone",): lambda p, w, b, m: decibels(squares(p, w)[m].mean()),
    ("pixels: all, black outside the foreground in both",): lambda p, w, b, m: decibels(
        squares(p * m[..., None], w * m[..., None]).mean()
    ),
    ("pixels: error of all, divided by the foreground's count",): lambda p, w, b, m: decibels(
        squares(p, w).sum() / m.sum() / 3
    ),
    ("data range: 2",): lambda p, w, b, m: decibels(squares(p, w).mean() / 4),
    ("colour: linear",): lambda p, w, b, m: decibels(np.square(linear(p) - linear(w)).mean()),
    ("border: 4 pixels cut",): lambda p, w, b, m: decibels(squares(p, w)[4:-4, 4:-4].mean()),
    ("border: 10 % cut",): lambda p, w, b, m: decibels(squares(p, w)[2:-2, 2:-2].mean()),
    ("size: half, box filter",): lambda p, w, b, m: decibels(
        squares(half(p, Pillow.Resampling.BOX), half(w, Pillow.Resampling.BOX)).mean()
    ),
    ("size: half, bicubic filter",): lambda p, w, b, m: decibels(
        squares(half(p, Pillow.Resampling.BICUBIC), half(w, Pillow.Resampling.BICUBIC)).mean()
    ),
    ("size: half, nearest filter",): lambda p, w, b, m: decibels(squares(p[1::2, 1::2], w[1::2, 1::2]).mean()),
    ("background: black", "size: half, Lanczos filter"): lambda p, w, b, m: decibels(
        squares(half(p, Pillow.Resampling.LANCZOS), half(b, Pillow.Resampling.LANCZOS)).mean()
    ),
}  # fmt: skip


@pytest.mark.parametrize("changes", PSNRS, ids=" and ".join)
def test_a_psnr_of_another_convention_is_recognised(scene, folder, pairs, changes):
    found = best(scene, folder, psnr=mean(PSNRS[changes], pairs))
    assert found.rows[0].changes == changes
    assert found.rows[0].distance == pytest.approx(0, abs=1e-6) and found.explained


def test_the_mean_of_errors_before_the_psnr_is_recognised(scene, folder, pairs):
    value = decibels(np.mean([squares(p, w).mean() for p, w, _, _ in pairs]))
    assert abs(value - mean(lambda p, w, b, m: images.psnr(p, w), pairs)) > 1, "or the test shows nothing"
    assert best(scene, folder, psnr=value).rows[0].changes == ("mean: PSNR of the mean squared error",)


@pytest.mark.parametrize(
    ("word", "truth"),
    [
        ("not rounded", lambda view: images.composite(view, WHITE)),
        ("truncated", lambda view: np.floor(images.composite(view, WHITE) * np.float32(255)) / np.float32(255)),
    ],
)
def test_the_rounding_of_the_truth_is_recognised(scene, tmp_path, word, truth):
    hard = scene.hidden

    def soft(index):
        image = hard.image(index).copy()
        image[:, :, 3] = np.random.default_rng(index).integers(100, 256, (24, 24))
        return image

    views = replace(hard, load=soft)
    scene = replace(scene, hidden=views)
    values = []
    for index, name in enumerate(views.names):
        prediction = np.clip(truth_image(views, index, WHITE), 1, 255) - np.uint8(index % 2)
        write_png(tmp_path / f"{name}.png", prediction)
        exact = truth(views.image(index)).astype(np.float64)
        values.append(decibels(np.square(prediction / 255 - exact).mean()))
    (change,) = best(scene, tmp_path, psnr=float(np.mean(values))).rows[0].changes
    assert change.startswith("quantisation: ") and word in change


def test_what_truncation_took_is_given_back_on_average(scene, folder, pairs):
    value = mean(lambda p, w, b, m: decibels(np.square(np.minimum(p / 255 + 0.5 / 255, 1) - w / 255).mean()), pairs)
    found = best(scene, folder, psnr=value)
    assert found.rows[0].changes == ("quantisation: prediction half a level brighter, what truncation took on average",)


SSIMS = {
    "uniform 7x7, sample covariance": {"variant": "uniform7"},
    "Gaussian 11x11, sample covariance": {"covariance": "sample"},
    "Gaussian 3x3": {"size": 3},
    "ssim.m of the grey image": {"variant": "matlab-grey"},
}


@pytest.mark.parametrize("name", SSIMS)
def test_a_window_of_ssim_is_recognised(scene, folder, pairs, name):
    value = mean(lambda p, w, b, m: images.ssim(p, w, **SSIMS[name]), pairs)
    assert best(scene, folder, ssim=value).rows[0].changes == (f"window: {name}",)


def test_an_ssim_padded_with_zeros_is_recognised(scene, folder, pairs):
    def padded(p, w, b, m):
        from scipy.ndimage import gaussian_filter

        def blur(x):  # truncate 3.5 makes 11 taps of sigma 1.5
            return gaussian_filter(x, (1.5, 1.5, 0), mode="constant", truncate=3.5)

        x, y = p / 255, w / 255
        mx, my = blur(x), blur(y)
        vx, vy, c = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
        return ((2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4))).mean()

    (row, *_) = best(scene, folder, ssim=mean(padded, pairs)).rows
    assert row.changes == ("window: Gaussian 11x11, border padded with zeros",)
    assert row.distance == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(("name", "window"), [("uniform 7x7", 7), ("Gaussian 11x11", 11)])
def test_an_ssim_of_floats_of_unknown_range_is_recognised(scene, folder, pairs, name, window):
    from skimage.metrics import structural_similarity

    free = {} if window == 7 else {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    value = mean(
        lambda p, w, b, m: structural_similarity(
            p / 255, w / 255, channel_axis=2, data_range=2, win_size=window, **free
        ),
        pairs,
    )
    assert best(scene, folder, ssim=value).rows[0].changes == (f"window: {name}, data range 2",)


def test_numbers_are_explained_together(scene, folder, pairs):
    psnr = mean(lambda p, w, b, m: images.psnr(p, w, mask=m), pairs)
    ssim = mean(lambda p, w, b, m: images.ssim(p, w, mask=m, variant="uniform7"), pairs)
    (row, *_) = best(scene, folder, psnr=psnr, ssim=ssim).rows
    assert row.changes == ("pixels: foreground alone", "ssim window: uniform 7x7, sample covariance")
    assert row.distance == pytest.approx(0, abs=1e-9)
    blackened = mean(lambda p, w, b, m: images.ssim(p * m[..., None], w * m[..., None]), pairs)
    (row, *_) = best(scene, folder, ssim=blackened).rows
    assert row.changes == ("pixels: all, black outside the foreground in both",)


def test_a_masked_column_of_the_protocol_is_its_own(scene, folder, pairs):
    columns = {
        "psnr": CHOSEN.image.columns["psnr"].model_copy(update={"masked": True}),
        "ssim": CHOSEN.image.columns["ssim"],
    }
    chosen = CHOSEN.model_copy(
        update={"image": CHOSEN.image.model_copy(update={"columns": columns, "background": BLACK})}
    )
    psnr = mean(lambda p, w, b, m: images.psnr(p, b, mask=m), pairs)
    ssim = mean(lambda p, w, b, m: images.ssim(p, b), pairs)
    (row, *_) = best(scene, folder, chosen, psnr=psnr, ssim=ssim).rows
    assert row.own and row.distance == 0 and row.changes == ()
    small = mean(
        lambda p, w, b, m: images.psnr(half(p, 4), half(b, 4), mask=half(255 * m.astype(np.uint8), 4) >= 128), pairs
    )
    (row, *_) = best(scene, folder, chosen, psnr=small).rows
    assert row.changes == ("size: half, box filter",)


def test_an_own_window_is_named_and_own(scene, folder, pairs):
    column = CHOSEN.image.columns["ssim"].model_copy(update={"size": 9, "sigma": 2.0})
    chosen = CHOSEN.model_copy(update={"image": CHOSEN.image.model_copy(update={"columns": {"mine": column}})})
    value = mean(lambda p, w, b, m: images.ssim(p, w, size=9, sigma=2.0), pairs)
    (row, *_) = best(scene, folder, chosen, ssim=value).rows
    assert row.own and dict(row.conventions["ssim"].choices)["window"] == "Gaussian 9x9, sigma 2, population covariance"
    tf = CHOSEN.image.columns["ssim"].model_copy(update={"variant": "tf"})
    chosen = CHOSEN.model_copy(update={"image": CHOSEN.image.model_copy(update={"columns": {"ssim": tf}})})
    value = mean(lambda p, w, b, m: images.ssim(p, w), pairs)
    assert best(scene, folder, chosen, ssim=value).rows[0].own


def test_nothing_explains_what_is_far(scene, folder):
    found = best(scene, folder, psnr=60.0)
    assert not found.explained and found.agreeing == 0 and found.rows[0].distance > 3
    assert any("float predictions" in sentence for sentence in found.left_out)


def test_images_without_alpha_have_no_background_and_no_mask(scene, folder, pairs):
    flat = replace(scene, hidden=replace(scene.hidden, load=lambda i: pairs[i][1]))
    found = best(flat, folder, psnr=30.0)
    assert {dict(c.choices)["background"] for c in found.conventions["psnr"]} == {"white"}
    assert {dict(c.choices)["pixels"] for c in found.conventions["psnr"]} == {"all"}
    assert sum("alpha" in sentence for sentence in found.left_out) == 2
    masks = replace(flat, hidden=replace(flat.hidden, load_mask=lambda i: pairs[i][3]))
    found = best(masks, folder, psnr=mean(PSNRS["pixels: foreground alone",], pairs))
    assert found.rows[0].changes == ("pixels: foreground alone",)


def test_an_empty_mask_takes_masked_scores_out(scene, folder):
    empty = replace(scene, hidden=replace(scene.hidden, load_mask=lambda i: np.full((24, 24), i != 1)))
    found = best(empty, folder, psnr=30.0)
    assert {dict(c.choices)["pixels"] for c in found.conventions["psnr"]} == {"all"}


def test_smaller_predictions_are_compared_with_the_truth_made_small(scene, folder, pairs, tmp_path):
    for name, (p, *_) in zip(scene.hidden.names, pairs, strict=True):
        write_png(tmp_path / f"{name}.png", half(p, Pillow.Resampling.NEAREST))
    value = mean(
        lambda p, w, b, m: decibels(squares(half(p, Pillow.Resampling.NEAREST), half(w, Pillow.Resampling.BOX)).mean()),
        pairs,
    )
    found = best(scene, tmp_path, psnr=value)
    assert (
        dict(found.rows[0].conventions["psnr"].choices)["size"] == "truth made as small as the prediction, box filter"
    )
    assert found.own is None and any("refuse" in sentence for sentence in found.left_out)
    for shape in ((48, 48, 3), (25, 12, 3), (12, 25, 3)):
        write_png(tmp_path / "v_0.png", np.zeros(shape, np.uint8))
        with pytest.raises(DataCorrupt, match=f"v_0.png is {shape[1]}x{shape[0]} pixels, its view is 24x24"):
            best(scene, tmp_path, psnr=value)
    write_png(tmp_path / "v_0.png", np.zeros((24, 12, 3), np.uint8))
    write_png(tmp_path / "v_1.png", np.zeros((24, 24, 3), np.uint8))
    with pytest.raises(DataCorrupt, match=r"v_1.png is 24x24"):
        best(scene, tmp_path, psnr=value)
    write_png(tmp_path / "v_0.png", np.zeros((24, 24, 3), np.uint8))
    with pytest.raises(DataCorrupt, match=r"v_2.png is 12x12"):
        best(scene, tmp_path, psnr=value)


def test_several_scenes_are_averaged_in_both_orders(scene, folder, pairs):
    fewer = replace(scene, name="fewer", hidden=scene.hidden.subset([0]))
    psnrs = [float(images.psnr(p, w)) for p, w, *_ in pairs]
    errors = [squares(p, w).mean() for p, w, *_ in pairs]
    expected = {
        (): (np.mean(psnrs) + psnrs[0]) / 2,
        ("mean: over all images of all scenes",): np.mean([*psnrs, psnrs[0]]),
        ("mean: PSNR of the mean squared error of each scene",): (decibels(np.mean(errors)) + psnrs[0]) / 2,
        ("mean: PSNR of the mean squared error of all images",): decibels(np.mean([*errors, errors[0]])),
    }
    for changes, value in expected.items():
        number = read_reported(f"psnr={float(value)!r}")
        (found,) = explain(number, [(scene, items_in(folder)), (fewer, items_in(folder))], CHOSEN)
        assert found.rows[0].changes == changes and found.rows[0].distance == pytest.approx(0, abs=1e-6)


def test_what_is_missing_or_wrong_is_named(scene, folder, tmp_path):
    with pytest.raises(DataMissing, match=r"3 of 3 predictions missing: v_0.png"):
        best(scene, tmp_path, psnr=30.0)
    for name in scene.hidden.names:
        write_png(tmp_path / f"{name}.png", np.zeros((24, 24, 4), np.uint8))
    with pytest.raises(DataCorrupt, match="transparent"):
        best(scene, tmp_path, psnr=30.0)
    with pytest.raises(DataMissing, match="no views"):
        best(replace(scene, hidden=None), folder, psnr=30.0)
    with pytest.raises(Unsupported, match="ms_ssim cannot be measured"):
        best(scene, folder, ms_ssim=0.9)


def test_progress_ends_at_the_whole(scene, folder):
    told = []
    explain(read_reported("psnr=30"), [(scene, items_in(folder))], CHOSEN, progress=lambda *step: told.append(step))
    assert told == [("ball", 1 / 3), ("ball", 2 / 3), ("ball", 1.0)]


def test_the_range_that_lpips_saw_is_recognised(real_data, tmp_path):
    from nfbench.harness import lpips

    weights = real_data / "lpips_alex" / "lpips_alex_v0.1.npz"
    made = ball(tmp_path / "ball", hidden=1)
    truth = np.kron(truth_image(made.hidden, 0, WHITE), np.ones((3, 3, 1), np.uint8))
    noise = np.random.default_rng(0).integers(-20, 20, truth.shape)
    prediction = np.clip(truth + noise, 0, 255).astype(np.uint8)
    views = replace(made.hidden, load=lambda i: truth, cameras=replace(made.hidden.cameras, size=np.array([[72, 72]])))
    write_png(tmp_path / "p" / "v_0.png", prediction)
    model = lpips.load("alex", weights)
    tops = {"[-1,1]": 1.0, "[0,1]": None}
    for name in tops:
        shown = [image if tops[name] else (image / 255 + 1) / 2 for image in (prediction, truth)]
        value = float(lpips.distance(model, *shown))
        (found,) = explain(
            read_reported(f"lpips={value!r}"),
            [(replace(made, hidden=views), items_in(tmp_path / "p"))],
            CHOSEN,
            lpips_weights=[weights],
        )
        (row, *_) = found.rows
        assert row.distance == pytest.approx(0, abs=1e-2) and row.own == (name == "[-1,1]")
        assert dict(row.conventions["lpips"].choices)["input"] == name
        assert (
            any("vgg" in sentence for sentence in found.left_out) or ("net", "vgg") in row.conventions["lpips"].choices
        )
