import numpy as np
import pytest

from nfbench.harness import over
from nfbench.harness.errors import ContractBroken
from nfbench.harness.image import composite, flattened, quantise
from nfbench.harness.over import flatten

RNG = np.random.default_rng(5)
VALUE, ALPHA = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
EVERY = np.stack([VALUE, VALUE[:, ::-1], VALUE, ALPHA], axis=-1)


@pytest.mark.parametrize(
    "background", [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (0.2, 0.2, 0.2), (0.1, 0.73, 1.0), np.array([1, 0, 0.2])]
)
def test_every_value_through_every_alpha_is_what_the_definition_gives(background):
    flat = flatten(EVERY, background)
    assert flat.dtype == np.uint8
    np.testing.assert_array_equal(flat, quantise(composite(EVERY, background)))
    np.testing.assert_array_equal(flattened(EVERY, background), flat)


def test_it_is_the_rounded_mixture_in_exact_arithmetic():
    whole = VALUE.astype(int) * ALPHA + 255 * (255 - ALPHA.astype(int))  # times 255, over white
    flat = flatten(EVERY, (1, 1, 1))[..., 0].astype(int)
    assert (abs(255 * flat - whole) <= 127).all()  # 255 is odd: there are no ties


def test_each_channel_has_its_own_background():
    image = np.array([[[255, 255, 255, 0], [0, 255, 100, 255], [200, 100, 0, 51]]], np.uint8)
    assert flatten(image, (1.0, 0.5, 0.0))[0].tolist() == [[255, 128, 0], [0, 255, 100], [244, 122, 0]]


def test_other_layouts_and_read_only_images_are_taken():
    image = RNG.integers(0, 256, (12, 14, 4), dtype=np.uint8)
    expected = quantise(composite(image, (1, 1, 1)))
    np.testing.assert_array_equal(flatten(image[::2, ::-3], (1, 1, 1)), expected[::2, ::-3])
    np.testing.assert_array_equal(flatten(np.asfortranarray(image), (1, 1, 1)), expected)
    image.flags.writeable = False
    np.testing.assert_array_equal(flatten(image, (1, 1, 1)), expected)


def test_the_result_is_the_callers_own():
    first = flatten(EVERY, (1, 1, 1))
    kept = first.copy()
    first[:] = 7
    np.testing.assert_array_equal(flatten(EVERY, (1, 1, 1)), kept)


def test_a_background_is_worked_out_once():
    over._table.cache_clear()
    for background in ((1, 1, 1), (1.0, 1.0, 1.0), np.ones(3), [1, 1, 1], (0, 0, 0)):
        flatten(EVERY[:1], background)
    assert over._table.cache_info().misses == 2
    assert over._table.cache_info().maxsize == 8
    assert over._table((1.0, 1.0, 1.0)).shape == (3, 256, 256)
    assert over._look_up.targetoptions["nogil"]


def test_three_channels_pass_through():
    image = RNG.integers(0, 256, (3, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(flatten(image, (0.3, 0.3, 0.3)), image)


@pytest.mark.parametrize("shape", [(0, 4, 4), (4, 0, 4)])
def test_no_pixels_give_none(shape):
    assert flatten(np.zeros(shape, np.uint8), (1, 1, 1)).shape == (*shape[:2], 3)


@pytest.mark.parametrize(
    ("image", "background", "words"),
    [
        (EVERY.astype(np.float32), (1, 1, 1), "float32"),
        (EVERY[0], (1, 1, 1), "256, 4"),
        (EVERY[None], (1, 1, 1), "1, 256, 256, 4"),
        (EVERY[None, :2, :4], (1, 1, 1), "1, 2, 4, 4"),
        (EVERY[..., :2], (1, 1, 1), "256, 2"),
        (EVERY[:1, :4, [0, 1, 2, 3, 3]], (1, 1, 1), "1, 4, 5"),
        (EVERY.view(np.int8), (1, 1, 1), "int8"),
        (EVERY, (1, 1, 1, 1), "not an sRGB colour"),
        (EVERY, (1, 1), "not an sRGB colour"),
        (EVERY, 1.0, "not an sRGB colour"),
        (EVERY, (1, 1, 1.01), "not an sRGB colour"),
        (EVERY, (-0.01, 1, 1), "not an sRGB colour"),
        (EVERY, (np.nan, 1, 1), "not an sRGB colour"),
    ],
    ids=str,
)
def test_anything_else_is_refused_by_name(image, background, words):
    with pytest.raises(ContractBroken, match=words):
        flatten(image, background)
