import numpy as np
import pytest

from nfbench.loaders.shapes import TEST_SHAPES, TRAIN_SHAPES, shape
from nfbench.loaders.vessels import KINDS, WALL, offset, turns, vessel

ALL = range(TRAIN_SHAPES + TEST_SHAPES)


@pytest.mark.parametrize("index", ALL)
def test_a_shape_is_sound(index):
    solid = shape(index)
    low, high = solid.outline.bounds()
    assert max(2 * high[0], high[1] - low[1]) == pytest.approx(1, abs=1e-12)
    assert low[0] == 0 and low[1] == pytest.approx(-high[1], abs=1e-12)
    xy, normal = solid.outline.sample(1500, np.random.default_rng(index))
    for depth in np.linspace(0.01, 0.9 * WALL[0], 8):  # the wall goes on below every point of the surface
        below = xy - depth * normal
        below[:, 0] = np.abs(below[:, 0])
        assert solid.outline.nearest(below)[0].max() < 0
    above = xy + 0.002 * normal
    above[:, 0] = np.abs(above[:, 0])
    assert solid.outline.nearest(above)[0].min() > 0.0005  # nowhere does it touch itself


@pytest.mark.parametrize("index", range(TRAIN_SHAPES, TRAIN_SHAPES + TEST_SHAPES))
def test_its_bounding_box_is_a_poor_answer(index):
    solid = shape(index)
    top, width = solid.outline.bounds()[1][::-1]
    query = np.random.default_rng(0).uniform(-1, 1, (20_000, 3)) * (width, width, top)
    assert (solid.distance(query) < 0).mean() < 0.5


def test_the_same_seed_gives_the_same_vessel_and_another_another():
    for kind in KINDS:
        one, same, other = (vessel(kind, seed).outline.loops[0] for seed in ((3, 1), (3, 1), (3, 2)))
        np.testing.assert_array_equal(one, same)
        assert one.shape != other.shape or np.abs(one - other).max() > 1e-3


def test_no_two_shapes_are_alike():
    query = np.random.default_rng(1).uniform(-0.55, 0.55, (4000, 3))
    inside = np.array([shape(i).distance(query) < 0 for i in ALL])
    for i in ALL:
        union, both = (inside[i] | inside).sum(1), (inside[i] & inside).sum(1)
        assert np.delete(both / union, i).max() < 0.97


def test_offset_keeps_sides_parallel_and_the_end_on_the_axis():
    chain = np.array([[0, 0], [1, 0], [1, 2], [0.5, 2.5]])
    moved = offset(chain, 0.1)
    np.testing.assert_allclose(moved[:2], [[0, 0.1], [0.9, 0.1]], atol=1e-12)
    np.testing.assert_allclose(np.diff(moved, axis=0)[2] @ [1, 1], 0, atol=1e-12)
    assert offset(np.array([[0, 0], [1, 1], [1, 2]]), 0.1)[0] == pytest.approx([0, 0.1 * np.sqrt(2)], abs=1e-12)
    np.testing.assert_allclose(turns(chain), [0, np.pi / 2, np.pi / 4, 0])
