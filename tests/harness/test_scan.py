import dataclasses

import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt
from nfbench.harness.scan import CropVolume, ObservedVolume


def volume(**changes):
    mask = np.zeros((3, 4, 5), bool)
    mask[1, 2, 3] = mask[0, 0, 0] = mask[2, 3, 4] = True
    given = {"mask": mask, "box": [[10, 20, 30], [14, 26, 38]], "cell": 2, "plane": [0, 0, 2, -64], **changes}
    return ObservedVolume(**given)


def test_volume_holds_what_it_is_given():
    made = volume()
    assert made.box.dtype == np.float64
    assert made.plane.dtype == np.float64
    assert isinstance(made.cell, float)
    assert made.box.tolist() == [[10, 20, 30], [14, 26, 38]]
    assert made.cell == 2
    assert volume(cell=0.5).observed(np.array([[10.2, 20.2, 30.2], [10.3, 20.3, 30.3]])).tolist() == [True, False]


def test_volumes_and_crops_do_not_change_and_are_compared_by_identity():
    for make, name in ((volume, "cell"), (lambda: CropVolume(np.array(SQUARE), "z", 0, 1), "low")):
        made = make()
        assert made == made
        assert made != make()
        assert isinstance(hash(made), int)
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(made, name, 1.0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mask": np.ones((3, 3), bool)}, "mask"),
        ({"mask": np.ones((3, 3, 3), np.uint8)}, "mask is uint8"),
        ({"mask": np.zeros((3, 3, 3), bool)}, "no voxel"),
        ({"box": [[0, 0, 0], [1, 1, 0]]}, "box"),
        ({"box": [[0, 0, 0], [1, 1, np.inf]]}, "box"),
        ({"box": [[0, 0, 2], [1, 1, 1]]}, "box"),
        ({"box": [[0, 0], [1, 1]]}, "box"),
        ({"box": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]}, "box"),
        ({"mask": np.ones((3, 3, 3, 3), bool)}, "mask"),
        ({"plane": [1, 0, 0, 1, 1]}, "plane"),
        ({"box": [0, 0, 0, 1, 1, 1]}, "box"),
        ({"cell": 0}, "cell is 0"),
        ({"cell": -1}, "cell"),
        ({"cell": np.inf}, "cell"),
        ({"cell": np.nan}, "cell"),
        ({"plane": [1, 0, 0]}, "plane"),
        ({"plane": [0, 0, 0, 1]}, "plane"),
        ({"plane": [0, 0, np.nan, 1]}, "plane"),
    ],
)
def test_bad_volumes_are_refused(changes, word):
    with pytest.raises(DataCorrupt, match=word):
        volume(**changes)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_near_counts_the_low_side_and_not_the_high_one_which_is_twice_as_wide(axis):
    made = volume()
    low, high = made.box[0, axis] - 5, made.box[1, axis] + 10
    points = np.tile(made.box.mean(0), (5, 1))
    points[:, axis] = low, np.nextafter(low, -np.inf), high, np.nextafter(high, -np.inf), high + 1
    assert made.near(points, 5).tolist() == [True, False, False, True, False]


def test_observed_rounds_to_the_nearest_voxel_and_ties_to_even():
    made = volume()
    centre = np.array([12.0, 24.0, 36.0])  # of voxel (1, 2, 3)
    points = centre + np.array(
        [[0, 0, 0], [0.9, 0, 0], [1.1, 0, 0], [0, -0.9, 0], [0, -1.1, 0], [0, 0, 0.9], [0, 0, 1.1]]
    )
    assert made.observed(points).tolist() == [True, True, False, True, False, True, False]
    # the first axis: 0.5 goes to voxel 0 and 1.5 to voxel 2; the second: 1.5 and 2.5 both go to voxel 2
    ties = [[11, 20, 30], [11, 24, 36], [13, 24, 36], [12, 23, 36], [12, 25, 36]]
    assert made.observed(np.array(ties)).tolist() == [True, False, False, True, True]


def test_observed_leaves_out_what_is_beyond_the_mask_at_either_end():
    made = volume(mask=np.ones((3, 4, 5), bool))
    inside = np.array([[9.1, 19.1, 29.1], [14.9, 26.9, 38.9], [9.0, 19.0, 29.0]])  # -0.5 rounds to 0
    assert made.observed(inside).tolist() == [True, True, True]
    for axis in range(3):
        low, high = np.array([10.0, 20, 30]), np.array([14.0, 26, 38])
        low[axis] -= 1.1
        high[axis] += 1.1
        further = high + 9 * np.eye(3)[axis]
        assert made.observed(np.stack([low, high, further])).tolist() == [False, False, False]


def test_above_is_strict_and_scale_free():
    points = np.array([[0, 0, 32], [0, 0, 32.01], [5, 5, 31.99]], np.float32)
    assert volume().above(points).tolist() == [False, True, False]
    assert volume(plane=[0, 0, -1, 32]).above(points).tolist() == [False, False, True]
    assert volume(plane=None).above(points).tolist() == [True, True, True]


SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2]]


def test_crop_counts_borders_as_open3d():
    crop = CropVolume(np.array(SQUARE), "z", -1, 1)
    points = [
        [1, 1, 0],
        [1, 1, 1],  # the caps count
        [1, 1, -1],
        [1, 1, 1.01],
        [1, 1, -1.01],
        [0, 1, 0],  # nothing lies strictly before the low side
        [0.01, 1, 0],
        [2, 1, 0],  # only the low side lies strictly before the high one
        [2.01, 1, 0],
        [1, 0, 0],  # an edge counts from above its lower end
        [1, 0.01, 0],
        [1, 2, 0],  # up to and with its upper end
        [1, 2.01, 0],
    ]
    wanted = [True, True, True, False, False, False, True, True, False, False, True, True, False]
    assert crop.inside(np.array(points, float)).tolist() == wanted


@pytest.mark.parametrize(("axis", "order"), [("x", (1, 2, 0)), ("y", (0, 2, 1)), ("z", (0, 1, 2)), ("Y", (0, 2, 1))])
def test_crop_takes_its_polygon_in_the_other_two_axes(axis, order):
    u, v, w = order
    corners = np.full((4, 3), 99.0)
    corners[:, [u, v]] = [[0, 0], [3, 0], [3, 1], [0, 1]]
    for given in (corners, corners[:, [u, v]]):
        np.testing.assert_array_equal(CropVolume(given, axis, 5, 6).polygon, corners[:, [u, v]])
    crop = CropVolume(corners, axis, 5, 6)
    assert crop.axis == axis.lower()
    assert crop.polygon.tolist() == [[0, 0], [3, 0], [3, 1], [0, 1]]
    points = np.zeros((3, 3))
    points[:, u], points[:, v], points[:, w] = (2.5, 0.5, 2.5), (0.5, 2.5, 0.5), (5.5, 5.5, 0.5)
    assert crop.inside(points).tolist() == [True, False, False]


def slow_crop(polygon, points, low, high):
    """The crossings of each point one by one, sorted, and how many come before it."""
    result = []
    for x, y, z in points:
        nodes = []
        for i in range(len(polygon)):
            (ax, ay), (bx, by) = polygon[i], polygon[(i + 1) % len(polygon)]
            if (ay < y and by >= y) or (by < y and ay >= y):
                nodes.append(ax + (y - ay) / (by - ay) * (bx - ax))
        result.append(low <= z <= high and np.searchsorted(sorted(nodes), x, "left") % 2 == 1)
    return result


def test_crop_agrees_with_point_by_point_crossings_of_a_concave_polygon():
    rng = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    reach = np.where(np.arange(12) % 2, 1, 3)
    polygon = np.rint(4 * np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None])
    points = np.concatenate([rng.uniform(-13, 13, (2000, 3)), rng.integers(-13, 13, (2000, 3))])
    crop = CropVolume(polygon, "z", -6, 7)
    inside = crop.inside(points)
    assert inside.tolist() == slow_crop(polygon, points, -6, 7)
    assert 0.05 < inside.mean() < 0.5


def test_crop_of_more_points_than_one_chunk():
    points = np.tile([[1.0, 1, 0], [5, 1, 0], [1, 1, 9]], (50_000, 1))
    assert CropVolume(np.array(SQUARE), "z", -1, 1).inside(points).tolist() == [True, False, False] * 50_000
    assert CropVolume(np.array(SQUARE), "z", -1, 1).inside(np.empty((0, 3))).tolist() == []


@pytest.mark.parametrize(
    ("polygon", "axis", "low", "high", "word"),
    [
        (SQUARE, "w", 0, 1, "axis is 'w'"),
        (SQUARE, "", 0, 1, "axis"),
        (SQUARE[:2], "z", 0, 1, "polygon"),
        ([1, 2, 3], "z", 0, 1, "polygon"),
        (np.ones((3, 2, 2)), "z", 0, 1, "polygon"),
        ([[0, 0, 0, 0]] * 3, "z", 0, 1, "polygon"),
        ([[0, 0], [1, 0], [1, np.nan]], "z", 0, 1, "polygon"),
        (SQUARE, "z", 1, 0, "from 1 to 0"),
        (SQUARE, "z", -np.inf, 0, "low"),
        (SQUARE, "z", 0, np.inf, "high"),
        (SQUARE, "z", np.nan, 1, "low"),
    ],
)
def test_bad_crops_are_refused(polygon, axis, low, high, word):
    with pytest.raises(DataCorrupt, match=word):
        CropVolume(np.array(polygon, float), axis, low, high)


def test_triangles_and_flat_prisms_are_crops():
    assert CropVolume(np.array(SQUARE[:3]), "z", 1, 1).inside(np.array([[1.5, 1, 1]])).tolist() == [True]
