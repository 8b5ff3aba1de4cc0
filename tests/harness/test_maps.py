import numpy as np
import pytest

from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.maps import depth_error, normal_error
from nfbench.harness.metric import METRICS

pytestmark = pytest.mark.filterwarnings("error")

DEPTHS = ("abs", "abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")
NORMALS = ("mean", "median", "rmse", "within_11.25", "within_22.5", "within_30")


def slow_depth(prediction, truth, kind, mask):
    """The definitions, pixel by pixel."""
    terms = []
    for p, t, m in zip(prediction.ravel(), truth.ravel(), mask.ravel(), strict=True):
        if not m or not np.isfinite(t) or t <= 0:
            continue
        p, t = float(p), float(t)
        ratio = max(p / t, t / p)
        terms.append(
            {
                "abs": abs(p - t),
                "abs_rel": abs(p - t) / t,
                "sq_rel": (p - t) ** 2 / t,
                "rmse": (p - t) ** 2,
                "rmse_log": np.log(p / t) ** 2,
                "delta1": ratio < 1.25,
                "delta2": ratio < 1.25**2,
                "delta3": ratio < 1.25**3,
            }[kind]
        )
    mean = sum(terms) / len(terms)
    return mean**0.5 if kind.startswith("rmse") else mean


def depths(shape=(2, 9, 7), dtype=np.float32):
    rng = np.random.default_rng(0)
    truth = rng.uniform(1, 5, shape).astype(dtype)
    prediction = (truth * np.exp(rng.normal(0, 0.4, shape))).astype(dtype)
    mask = rng.random(shape) < 0.7
    truth.reshape(-1)[:4] = [0, -1, np.nan, np.inf]
    return prediction, truth, mask


@pytest.mark.parametrize("kind", DEPTHS)
def test_depth_errors_equal_their_definition(kind):
    prediction, truth, mask = depths()
    measured = depth_error(prediction, truth, kind, mask=mask)
    assert measured.dtype == np.float64
    expected = [slow_depth(p, t, kind, m) for p, t, m in zip(prediction, truth, mask, strict=True)]
    np.testing.assert_allclose(measured, expected, rtol=1e-12)
    everywhere = [slow_depth(p, t, kind, np.ones_like(m)) for p, t, m in zip(prediction, truth, mask, strict=True)]
    np.testing.assert_allclose(depth_error(prediction, truth, kind), everywhere, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("abs", 1.5), ("abs_rel", 0.75), ("sq_rel", 1), ("rmse", 2.5**0.5), ("rmse_log", np.log(2)),
        ("delta1", 0), ("delta2", 0), ("delta3", 0),
    ],
)  # fmt: skip
def test_depth_errors_of_known_depths(kind, value):
    read = "".join([*kind])  # equal to the name in the code, not the same object, as in a protocol that was read
    assert depth_error(np.array([[2.0, 2.0]]), np.array([[1.0, 4.0]]), read) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_ratio_at_the_threshold_is_not_within_it(power):
    limit = 1.25**power
    below = np.nextafter(limit, 0)
    prediction = np.array([[limit, 1.0, below, 1.0, 0.0]])
    truth = np.array([[1.0, limit, 1.0, below, 1.0]])
    assert depth_error(prediction, truth, f"delta{power}") == 2 / 5


def test_depth_defaults_to_the_mean_absolute_error():
    prediction, truth, _ = depths()
    np.testing.assert_array_equal(depth_error(prediction, truth), depth_error(prediction, truth, "abs"))


@pytest.mark.parametrize("kind", DEPTHS)
def test_equal_depths_have_no_error(kind):
    _, truth, _ = depths((2, 2, 5, 6))
    truth = np.abs(np.nan_to_num(truth, nan=1, posinf=1)) + 1
    np.testing.assert_array_equal(depth_error(truth, truth, kind), np.full((2, 2), float(kind.startswith("delta"))))


@pytest.mark.parametrize("kind", set(DEPTHS) - {"abs", "sq_rel", "rmse"})
def test_relative_depth_errors_have_no_unit(kind):
    prediction, truth, _ = depths(dtype=np.float64)
    np.testing.assert_allclose(depth_error(8 * prediction, 8 * truth, kind), depth_error(prediction, truth, kind))


def test_predictions_outside_the_valid_area_may_be_anything():
    prediction, truth, mask = depths()
    expected = depth_error(prediction, truth, "rmse_log", mask=mask)
    wild = np.where(mask, prediction, np.resize([np.nan, -1, np.inf, 0], mask.shape).astype(np.float32))
    wild[0, 0, :4] = [np.nan, -1, np.inf, 0]
    np.testing.assert_array_equal(depth_error(wild, truth, "rmse_log", mask=mask), expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -1e-9])
def test_bad_predicted_depths_are_named(bad):
    prediction, truth = np.ones((2, 4, 5)), np.ones((2, 4, 5))
    prediction[1, 2, 3] = bad
    prediction[1, 3, 0] = -7
    with pytest.raises(ContractBroken, match=f"predicted depth at 1, 2, 3 is {bad}") as caught:
        depth_error(prediction, truth)
    assert caught.value.hint


def test_a_depth_of_0_has_no_logarithm():
    prediction = np.array([[0.0, 1.0]])
    truth = np.ones((1, 2))
    assert depth_error(prediction, truth, "abs") == 0.5
    with pytest.raises(ContractBroken, match=r"predicted depth at 0, 0 is 0\.0"):
        depth_error(prediction, truth, "".join([*"rmse_log"]))


@pytest.mark.parametrize("kind", sorted(set(DEPTHS) - {"rmse_log"}))
def test_a_depth_of_0_is_one_where_no_logarithm_is_taken(kind):
    assert np.isfinite(depth_error(np.array([[0.0, 1.0]]), np.ones((1, 2)), kind))


@pytest.mark.parametrize(
    ("prediction", "truth", "mask", "words"),
    [
        (np.ones((4, 5)), np.ones((5, 4)), None, r"prediction has shape \(4, 5\), the truth \(5, 4\)"),
        (np.ones(4), np.ones(4), None, r"shape \(4,\).*maps are \(…,H,W\)"),
        (np.ones((4, 5), np.uint16), np.ones((4, 5)), None, "prediction is uint16"),
        (np.ones((4, 5)), np.ones((4, 5), int), None, "truth is int64"),
        (np.ones((4, 5)), np.ones((4, 5)), np.ones((4, 5), np.uint8), r"mask is uint8 \(4, 5\)"),
        (np.ones((2, 4, 5)), np.ones((2, 4, 5)), np.ones((4, 5), bool), r"mask is bool \(4, 5\).*\(2, 4, 5\)"),
        (np.ones((2, 4, 5)), np.ones((2, 4, 5)), np.ones((2, 4, 4), bool), r"mask is bool \(2, 4, 4\).*\(2, 4, 5\)"),
    ],
)
def test_depth_error_refuses(prediction, truth, mask, words):
    with pytest.raises(ContractBroken, match=words):
        depth_error(prediction, truth, mask=mask)


def test_images_without_a_valid_pixel_are_named():
    truth = np.ones((2, 3, 4, 5))
    truth[1, 2] = truth[1, 1, 0] = 0
    with pytest.raises(NfbenchError, match="Image 1, 2 has no valid pixel"):
        depth_error(np.ones_like(truth), truth)
    truth[0, 1] = 0
    with pytest.raises(NfbenchError, match="Image 0, 1 has no valid pixel"):
        depth_error(np.ones_like(truth), truth)
    with pytest.raises(NfbenchError, match="Image 0 has no valid pixel"):
        depth_error(np.ones((4, 5)), np.ones((4, 5)), mask=np.zeros((4, 5), bool))
    with pytest.raises(NfbenchError, match="Image 1 has no valid pixel"):
        normal_error(np.ones((2, 4, 5, 3)), np.ones((2, 4, 5, 3)) * np.array([1, 0])[:, None, None, None])


def test_unknown_kinds_are_refused():
    with pytest.raises(NfbenchError, match="no depth error 'mae'") as caught:
        depth_error(np.ones((2, 2)), np.ones((2, 2)), "mae")
    assert "abs, abs_rel" in caught.value.hint
    with pytest.raises(NfbenchError, match="no normal error 'max'") as caught:
        normal_error(np.ones((2, 2, 3)), np.ones((2, 2, 3)), "max")
    assert "mean, median" in caught.value.hint


def normals(shape=(2, 9, 7, 3)):
    rng = np.random.default_rng(0)
    truth = rng.normal(size=shape)
    prediction = truth + rng.normal(0, 0.3, shape) * np.linalg.norm(truth, axis=-1, keepdims=True)
    mask = rng.random(shape[:-1]) < 0.7
    truth[0, 0, :3] = [[0, 0, 0], [np.nan, 0, 1], [0, np.inf, 1]]
    return prediction.astype(np.float32), truth.astype(np.float32), mask


def slow_angles(prediction, truth, mask):
    found = []
    for p, t, m in zip(prediction.reshape(-1, 3), truth.reshape(-1, 3), mask.ravel(), strict=True):
        if m and np.isfinite(t).all() and t.any():
            p, t = p.astype(float), t.astype(float)
            found.append(np.degrees(np.arccos(p @ t / np.sqrt((p @ p) * (t @ t)))))
    return np.array(found)


@pytest.mark.parametrize("kind", NORMALS)
def test_normal_errors_equal_their_definition(kind):
    prediction, truth, mask = normals()
    measured = normal_error(prediction, truth, "".join([*kind]), mask=mask)
    assert measured.dtype == np.float64
    for value, p, t, m in zip(measured, prediction, truth, mask, strict=True):
        angles = slow_angles(p, t, m)
        expected = {
            "mean": angles.mean(),
            "median": np.median(angles),
            "rmse": np.sqrt((angles**2).mean()),
            "within_11.25": (angles < 11.25).mean(),
            "within_22.5": (angles < 22.5).mean(),
            "within_30": (angles < 30).mean(),
        }[kind]
        assert value == pytest.approx(expected, rel=1e-9)
        assert 0 < value < 180


def test_normal_defaults_to_the_mean_angle():
    prediction, truth, _ = normals()
    np.testing.assert_array_equal(normal_error(prediction, truth), normal_error(prediction, truth, "mean"))


@pytest.mark.parametrize("angle", [0, 1e-7, 45, 90, 180 - 1e-6, 180])
def test_normals_at_a_known_angle(angle):
    turn = np.radians(angle)
    prediction = np.array([[[2 * np.cos(turn), 2 * np.sin(turn), 0]]])
    assert normal_error(prediction, np.array([[[5.0, 0, 0]]])) == pytest.approx(angle, rel=1e-8, abs=1e-13)


def test_an_angle_at_the_threshold_is_not_within_it(monkeypatch):
    from nfbench.harness import maps

    for kind in ("within_11.25", "within_22.5", "within_30"):
        limit = float(kind[7:])
        monkeypatch.setattr(maps, "_angles", lambda p, t, limit=limit: np.array([limit, np.nextafter(limit, 0)]))
        assert normal_error(np.ones((1, 2, 3)), np.ones((1, 2, 3)), kind) == 0.5


@pytest.mark.parametrize("kind", NORMALS)
def test_normal_errors_turn_and_scale_with_the_frame(kind):
    prediction, truth, mask = (a.astype(np.float64) if a.dtype != bool else a for a in normals())
    turn, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))
    truth[0, 0, :3] = 0
    value = normal_error(prediction, truth, kind, mask=mask)
    np.testing.assert_allclose(normal_error(prediction @ turn * 3, truth @ turn / 7, kind, mask=mask), value)
    np.testing.assert_allclose(
        normal_error(np.where(mask[..., None], prediction, np.nan), truth, kind, mask=mask), value
    )


@pytest.mark.parametrize("bad", [(0, 0, 0), (np.nan, 1, 1), (1, 1, np.inf)])
def test_bad_predicted_normals_are_named(bad):
    prediction, truth = np.ones((2, 4, 5, 3)), np.ones((2, 4, 5, 3))
    prediction[1, 2, 3] = bad
    with pytest.raises(ContractBroken, match="predicted normal at 1, 2, 3 is"):
        normal_error(prediction, truth)
    truth[1, 2, 3] = 0
    assert normal_error(prediction, truth)[1] == 0


@pytest.mark.parametrize(
    ("prediction", "truth", "words"),
    [
        (np.ones((4, 5, 3)), np.ones((5, 4, 3)), r"prediction has shape \(4, 5, 3\), the truth \(5, 4, 3\)"),
        (np.ones((4, 5, 4)), np.ones((4, 5, 4)), r"maps are \(…,H,W,3\)"),
        (np.ones((4, 3)), np.ones((4, 3)), r"shape \(4, 3\)"),
        (np.ones((4, 5, 3), np.uint8), np.ones((4, 5, 3)), "prediction is uint8"),
    ],
)
def test_normal_error_refuses(prediction, truth, words):
    with pytest.raises(ContractBroken, match=words):
        normal_error(prediction, truth)


def test_zero_components_do_not_make_a_normal_void():
    upright = np.array([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]])
    assert normal_error(upright, upright) == 0
    assert normal_error(upright, np.roll(upright, 1, axis=1)) == 90


def test_every_error_is_among_the_metrics():
    names = {f"depth_{kind}" for kind in DEPTHS} | {f"normal_{kind}" for kind in NORMALS}
    assert {name for name, metric in METRICS.items() if metric.section == "map"} == names
    perfect = np.ones((2, 2, 3)), np.ones((2, 2))
    for name in names:
        measure, one = (depth_error, perfect[1]) if name.startswith("depth") else (normal_error, perfect[0])
        best = measure(one, one, name.partition("_")[2])
        assert best == (METRICS[name].low if METRICS[name].better == "lower" else METRICS[name].high), name
