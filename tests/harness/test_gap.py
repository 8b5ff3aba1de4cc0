import math

import pytest

from nfbench.harness.gap import FAR, Convention, as_json, convention_as_json, distance, rank
from nfbench.harness.gap_reported import FAMILIES, Number


def number(value, family="psnr", precision=0.0):
    return Number(family, FAMILIES[family], value, precision)


def made(value, own=False, spread=0.0, factor=1.0, **choices):
    return Convention(tuple(choices.items()), value, spread=spread, factor=factor, own=own)


@pytest.mark.parametrize(
    ("family", "scale"),
    [("psnr", 0.1), ("ssim", 0.001), ("ms_ssim", 0.001), ("lpips", 0.001), ("iou", 0.005), ("fscore", 0.005)],
)
def test_distances_are_in_scales_of_the_family(family, scale):
    assert distance(number(0.5, family), made(0.5 + 2 * scale)) == pytest.approx(2)
    assert distance(number(0.5, family), made(0.5 - 2 * scale)) == pytest.approx(2)


def test_lengths_are_measured_by_their_parts():
    assert distance(number(2.0, "chamfer"), made(2.08, factor=10)) == pytest.approx(2)
    assert distance(number(0.0, "chamfer", 0.05), made(0.052)) == pytest.approx(0.002 / (0.02 * 0.05))


def test_percent_has_the_scale_of_percent():
    assert distance(number(57.0, "iou"), made(58.0, factor=100)) == pytest.approx(2)
    assert distance(number(57.0, "iou"), made(0.57)) > 1000
    assert distance(number(1.0, "iou"), made(1.5, factor=100)) == pytest.approx(100), "a part, and no percent"


def test_digits_and_seeds_are_free():
    assert distance(number(31.0, precision=0.05), made(31.05)) == pytest.approx(0, abs=1e-9)
    assert distance(number(31.0, precision=0.05), made(31.15)) == pytest.approx(1)
    assert distance(number(31.0), made(31.04, spread=0.02)) == pytest.approx(0, abs=1e-9)
    assert distance(number(31.0), made(31.14, spread=0.02)) == pytest.approx(1)
    assert distance(number(31.0), made(31.8, spread=0.2)) == pytest.approx(0.4 / 0.2), "a scale is at least the spread"


def test_infinite_and_undefined_values_are_far():
    assert distance(number(31.0), made(math.inf)) == math.inf
    assert distance(number(31.0), made(math.nan)) == math.inf
    assert distance(number(math.inf), made(math.inf)) == 0


def test_shared_axes_are_chosen_alike():
    found = {
        "psnr": [made(30.0, True, back="white"), made(25.0, back="black")],
        "ssim": [made(0.8, True, back="white", window="11"), made(0.9, back="black", window="11")],
    }
    reported = {"psnr": number(30.0), "ssim": number(0.9, "ssim")}
    rows = rank(reported, found, ("back",))
    assert len(rows) == 2, "white psnr never stands beside black ssim"
    assert [row.changes for row in rows] == [("back: black",), ()]
    assert rows[0].distance == pytest.approx(50) and rows[1].distance == pytest.approx(100)
    assert rows[1].own and not rows[0].own
    assert len(rank(reported, found, ())) == 4, "but where the axis is not shared"


def test_a_number_that_is_not_offered_a_choice_keeps_the_protocols():
    found = {
        "psnr": [made(30.0, True, mask="all"), made(20.0, mask="foreground")],
        "lpips": [made(0.1, True, mask="all", net="vgg"), made(0.2, mask="all", net="alex")],
    }
    rows = rank({"psnr": number(20.0), "lpips": number(0.2, "lpips")}, found, ("mask",))
    assert rows[0].distance == 0
    assert rows[0].changes == ("mask: foreground", "lpips net: alex")
    assert len(rows) == 4


def test_a_number_without_an_axis_takes_no_part_in_it():
    found = {
        "cd": [made(1.0, True, points="10"), made(2.0, points="20")],
        "iou": [made(0.5, True, query="stored"), made(0.6, query="drawn")],
    }
    reported = {"cd": number(2.0, "chamfer"), "iou": number(0.6, "iou")}
    rows = rank(reported, found, ("points",))
    assert len(rows) == 4 and rows[0].changes == ("points: 20", "iou query: drawn")


def test_a_setting_that_one_number_lacks_in_combination_is_left_out():
    found = {
        "psnr": [made(30.0, True, back="white", size="full"), made(20.0, back="black", size="half")],
        "ssim": [
            made(0.9, True, back="white", size="full"),
            made(0.8, back="black", size="full"),
            made(0.7, back="white", size="half"),
        ],
    }
    rows = rank({"psnr": number(20.0), "ssim": number(0.7, "ssim")}, found, ("back", "size"))
    assert all(row.changes != ("back: black", "size: half") for row in rows)


def test_the_protocols_own_row_is_there_even_where_it_chooses_differently_for_two_numbers():
    found = {
        "psnr": [made(30.0, True, mask="foreground"), made(20.0, mask="all")],
        "ssim": [made(0.9, True, mask="all"), made(0.8, mask="foreground")],
    }
    rows = rank({"psnr": number(30.0), "ssim": number(0.9, "ssim")}, found, ("mask",))
    assert rows[0].own and rows[0].distance == 0 and rows[0].changes == ()
    assert len(rows) == 3


def test_the_simpler_of_two_alike_goes_first():
    found = {
        "psnr": [
            made(30.0, True, a="x", b="x"),
            made(30.2, a="y", b="y"),
            made(30.2001, a="x", b="y"),
            made(30.3, a="z", b="x"),
        ]
    }
    rows = rank({"psnr": number(30.2)}, found, ())
    assert [row.changes for row in rows] == [("b: y",), ("a: y", "b: y"), ("a: z",), ()]
    rows = rank({"psnr": number(30.2)}, {"psnr": found["psnr"][1:]}, ())
    assert rows[0].changes == (), "without a column of its own, changes are told from the first"


def test_of_many_that_agree_the_simplest_is_kept():
    several = [made(30.0 + k / 100, a=str(k), b=str(k)) for k in range(5)]
    conventions = [made(20.0, True, a="own", b="own"), *several, made(30.4, a="own", b="z")]
    rows = rank({"psnr": number(30.0, precision=0.5)}, {"psnr": conventions}, ())
    assert rows[0].changes == ("b: z",) and rows[1].changes == ("a: 0", "b: 0")


def test_of_many_numbers_the_nearest_are_combined_and_the_own_is_kept_however_far():
    def several(own):
        return [made(own, True, a="own"), *(made(30.0 + k, a=str(k)) for k in range(20))]

    rows = rank({"psnr": number(30.0)}, {"psnr": several(10.0)}, ())
    assert len(rows) == 21 and rows[-1].own
    two = {"psnr": number(30.0), "lpips": number(0.5, "lpips")}
    rows = rank(two, {"psnr": several(10.0), "lpips": [made(0.5, True, b="x")]}, ())
    assert [row.conventions["psnr"].value for row in rows] == [*range(30, 44), 10], "14 of 20, for 14^2 is near 200"
    assert [row.own for row in rows] == [False] * 14 + [True]


def test_of_several_own_columns_the_nearest_tells_the_changes():
    found = {
        "lpips": [made(0.1, True, net="vgg", x="1"), made(0.2, True, net="alex", x="1"), made(0.3, net="alex", x="2")]
    }
    rows = rank({"lpips": number(0.3, "lpips")}, found, ())
    assert rows[0].changes == ("x: 2",)


def test_json_has_every_choice():
    reported = {"psnr": number(30.0, precision=0.05)}
    (row,) = rank(reported, {"psnr": [made(30.2, True, spread=0.01, a="x")]}, ())
    data = as_json(reported, row)
    assert data["own"] is True and data["changes"] == []
    assert data["distance"] == pytest.approx(1.3)
    assert data["numbers"]["psnr"] == convention_as_json(reported["psnr"], row.conventions["psnr"])
    assert data["numbers"]["psnr"] == {
        "reported": 30.0,
        "value": 30.2,
        "difference": pytest.approx(0.2),
        "distance": pytest.approx(1.3),
        "spread": 0.01,
        "floor": None,
        "choices": {"a": "x"},
        "own": True,
    }
    assert FAR == 3
    same = convention_as_json(number(math.inf), made(math.inf))
    assert same["difference"] == 0, "JSON has no NaN"
