import numpy as np

from nfbench.baselines.dropout_kernel import relu_dropout


def dropped(x, keys, chance=0.2):
    out = np.empty_like(x)
    relu_dropout(
        x, out, np.uint32(keys[0]), np.uint32(keys[1]), np.uint32(chance * 2**32), np.float32(1 / (1 - chance))
    )
    return out


def test_kept_numbers_are_scaled_and_negative_ones_are_zero():
    x = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    out = dropped(x, (3, 4))
    kept = out != 0
    np.testing.assert_allclose(out[kept], x[kept] * 1.25, rtol=1e-6)
    assert not kept[x <= 0].any()
    assert abs(kept[x > 0].mean() - 0.8) < 0.02
    np.testing.assert_array_equal(dropped(x, (3, 4)), out)


def test_masks_are_even_and_independent_of_place_and_of_each_other():
    count = 1 << 18
    rng = np.random.default_rng(1)
    masks = [dropped(np.ones(count, np.float32), rng.integers(2**32, size=2)) > 0 for _ in range(24)]
    spread = 0.4 / np.sqrt(count)  # the standard deviation of a mean of independent draws
    for chance in (0.05, 0.2, 0.5):
        mask = dropped(np.ones(count, np.float32), (5, 6), chance) > 0
        assert abs(mask.mean() - (1 - chance)) < 5 * np.sqrt(chance * (1 - chance) / count)
    centred = np.array(masks) / 0.4 - 2  # mean 0, standard deviation 1
    assert np.abs(centred.mean(1)).max() < 5 * spread / 0.4
    for lag in (1, 2, 3, 64, 128, 253, 512, 1024):
        assert np.abs((centred[:, lag:] * centred[:, :-lag]).mean(1)).max() < 5 / np.sqrt(count)
    between = centred @ centred.T / count - np.eye(len(masks))
    assert np.abs(between).max() < 0.015
    per_column = centred.reshape(-1, 512).mean(0)  # a column is a unit of a layer
    assert np.abs(per_column).max() < 5 / np.sqrt(centred.size / 512)


def test_neighbouring_keys_give_unrelated_masks():
    count = 1 << 17
    base = dropped(np.ones(count, np.float32), (100, 200)) > 0
    for keys in ((101, 200), (100, 201), (200, 100)):
        other = dropped(np.ones(count, np.float32), keys) > 0
        agreement = (base == other).mean()
        assert abs(agreement - (0.8**2 + 0.2**2)) < 0.01
