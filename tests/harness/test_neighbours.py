import dataclasses

import numpy as np
import pytest
from scipy.spatial import cKDTree

from nfbench.harness import neighbours
from nfbench.harness.errors import NfbenchError


def rng(seed=0):
    return np.random.default_rng(seed)


def ball(count, seed, radius=1.0):
    x = rng(seed).normal(size=(count, 3))
    return radius * x / np.linalg.norm(x, axis=1, keepdims=True)


def brute_force(a, b):
    """Squared distances (P,Q) in float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return sum((a[:, None, k] - b[None, :, k]) ** 2 for k in range(3))


def assert_exact(a, b):
    distance, index = neighbours.nearest(a, b)
    assert (distance.dtype, index.dtype, distance.shape, index.shape) == (float, int, (len(a),), (len(a),))
    squares = brute_force(a, b)
    np.testing.assert_allclose(distance, np.sqrt(squares.min(1)), rtol=4e-16)
    np.testing.assert_allclose(squares[np.arange(len(a)), index], squares.min(1), rtol=4e-16)


CLOUDS = {
    "sphere": ball(1500, 0),
    "larger sphere": ball(1500, 1, 1.3),
    "volume": rng(2).uniform(-1, 1, (1000, 3)),
    "gaussian": rng(3).normal(size=(1000, 3)),
    "one point": np.array([[0.25, 0.5, -1]]),
    "two points": np.array([[0.0, 0, 0], [1, 1, 1]]),
    "all equal": np.full((500, 3), 0.3),
    "two heaps": np.repeat([[0.0, 0, 0], [1, 2, 3]], 400, 0),
    "line": np.linspace(-1, 1, 700)[:, None] * [1, 0, 0],
    "diagonal": np.linspace(-1, 1, 700)[:, None] * [1, 1, 1],
    "plane": rng(4).uniform(-1, 1, (900, 3)) * [1, 0, 1],
    "long box": rng(5).uniform(0, 1, (900, 3)) * [1000, 1, 0.001],
    "far outliers": np.r_[rng(6).normal(size=(800, 3)) * 1e-3, rng(7).normal(size=(4, 3)) * 1e4],
    "lattice": np.stack(np.meshgrid(*3 * [np.arange(9.0)]), -1).reshape(-1, 3),
    "millimetres": 1e6 + 100 * ball(900, 8),
    "float32": (1e3 + ball(900, 9)).astype(np.float32),
    "steep": np.exp(rng(10).normal(size=(900, 3)) * 9),
    "tiny": ball(700, 11, 1e-140),
    "huge": ball(700, 12, 1e100),
}


@pytest.mark.parametrize("to", CLOUDS)
@pytest.mark.parametrize("of", ["sphere", "two points", "far outliers", "millimetres", "lattice"])
def test_equals_brute_force(of, to):
    with np.errstate(under="ignore"):
        assert_exact(CLOUDS[of], CLOUDS[to])


@pytest.mark.parametrize("name", CLOUDS)
def test_every_point_is_its_own_neighbour(name):
    distance, index = neighbours.nearest(CLOUDS[name], CLOUDS[name])
    assert not distance.any()
    np.testing.assert_array_equal(CLOUDS[name][index], CLOUDS[name])


@pytest.mark.parametrize("seed", range(40))
def test_random_clouds_equal_brute_force(seed):
    g = rng(seed)
    a, b = (
        g.normal(size=(int(g.integers(1, 400)), 3)) ** int(g.integers(1, 4)) * 10.0 ** g.integers(-3, 4, 3)
        + g.normal(size=3) * 10.0 ** g.integers(-3, 3)
        for _ in range(2)
    )
    assert_exact(a, b)
    assert_exact(np.round(a), np.round(b))  # ties and duplicates


@pytest.mark.parametrize("radius", [1.0, 1.02, 1.2, 0.1, 30.0])
def test_larger_clouds_equal_scipy(radius):
    a, b = ball(4000, 0, radius), ball(3000, 1)
    (forth, at_b), (back, at_a) = neighbours.mutual(a, b)
    for x, y, distance, index in ((a, b, forth, at_b), (b, a, back, at_a)):
        np.testing.assert_allclose(distance, cKDTree(y).query(x)[0], rtol=4e-16)
        np.testing.assert_allclose(np.linalg.norm(x - y[index], axis=1), distance, rtol=1e-15)


@pytest.mark.parametrize(
    ("reach", "budget", "crowd", "few"), [(0, 0, 64, 0), (2, 9, 64, 0), (2, 9, 64, 10**6), (16, 2000, 0, 0)]
)
def test_limits_change_no_answer(monkeypatch, reach, budget, crowd, few):
    for name, value in (("REACH", float(reach)), ("BUDGET", budget), ("CROWD", float(crowd)), ("FEW", few)):
        monkeypatch.setattr(neighbours, name, value)
    for a, b in ((ball(800, 0, 1.2), ball(900, 1)), (CLOUDS["two heaps"], CLOUDS["far outliers"])):
        assert_exact(a, b)
        assert_exact(b, a)


def test_the_tree_is_asked_for_what_the_grid_does_not_serve(monkeypatch):
    asked = []
    tree = neighbours._by_tree
    monkeypatch.setattr(neighbours, "_by_tree", lambda a, b, threads: asked.append(len(a)) or tree(a, b, threads))
    near = ball(5000, 0)
    neighbours.nearest(near, ball(5000, 1))
    neighbours.nearest(np.r_[near, ball(neighbours.FEW, 2, 50)], near)
    assert asked == []
    neighbours.nearest(np.r_[near, ball(neighbours.FEW + 1, 2, 50)], near)
    assert asked == [neighbours.FEW + 1]
    neighbours.nearest(near, np.zeros((65, 3)))
    assert asked[1:] == [5000]
    neighbours.nearest(near, np.zeros((64, 3)))
    assert len(asked) == 2, "64 points in a cell are no crowd"


def test_threads_change_no_answer(monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", 100)
    a, b = ball(3000, 0), ball(3000, 1)
    for one, many in zip(neighbours.mutual(a, b), neighbours.mutual(a, b, threads=3), strict=True):
        np.testing.assert_array_equal(one, many)
    np.testing.assert_array_equal(neighbours.nearest(a, b, threads=7), neighbours.nearest(a, b))


def test_translation_and_permutation_change_nothing():
    a, b = (np.round(ball(900, seed) * 2**20) / 2**20 for seed in (0, 1))  # so that what is added is representable
    distance, index = neighbours.nearest(a, b)
    moved = neighbours.nearest(a + [4, -2, 1024], b + [4, -2, 1024])
    np.testing.assert_array_equal(moved[0], distance)
    order, other = rng(2).permutation(900), rng(3).permutation(900)
    mixed = neighbours.nearest(a[order], b[other])
    np.testing.assert_array_equal(mixed[0], distance[order])
    np.testing.assert_array_equal(other[mixed[1]], index[order])


def test_inputs_stay_as_they_are():
    a, b = (ball(300, seed)[:, ::-1] for seed in (0, 1))  # not contiguous
    b.flags.writeable = False
    before = a.copy(), b.copy()
    assert_exact(a, b)
    assert_exact(np.asfortranarray(a), b.astype(np.float32))
    np.testing.assert_array_equal(before, (a, b))
    assert a.flags.writeable


def test_grid_is_the_cloud_sorted_by_cells():
    cloud = ball(5000, 0).astype(np.float32)
    grid = neighbours.grid(cloud)
    np.testing.assert_array_equal(grid.points, cloud[grid.order])
    np.testing.assert_array_equal(np.sort(grid.order), np.arange(5000))
    x, y, z = ((grid.points - cloud.min(0).astype(float)) * grid.inverse).astype(int).T
    cells = (z * grid.shape[1] + y) * grid.shape[0] + x
    assert (np.diff(cells) >= 0).all()
    np.testing.assert_array_equal(grid.starts, np.searchsorted(cells, np.arange(np.prod(grid.shape) + 1)))
    counts = np.bincount(cells)
    assert grid.crowd == (counts[counts > 0] ** 2).sum() / 5000
    assert 2.5 < 5000 / np.count_nonzero(counts) < 8


@pytest.mark.parametrize("name", CLOUDS)
def test_tables_are_bounded(name):
    grid = neighbours.grid(CLOUDS[name])
    assert np.prod(grid.shape) == len(grid.starts) - 1 <= neighbours.CELLS_A_POINT * max(len(CLOUDS[name]), 1)


def test_no_table_is_larger_than_the_most_cells(monkeypatch):
    monkeypatch.setattr(neighbours, "MOST_CELLS", 1000)
    assert 500 < np.prod(neighbours.grid(ball(5000, 0)).shape) <= 1000
    assert_exact(ball(500, 1), ball(1500, 0))


def test_clouds_without_points_or_numbers():
    some, none = ball(4, 0), np.empty((0, 3))
    assert [len(x) for x in neighbours.nearest(none, some)] == [0, 0]
    for call in (neighbours.nearest, neighbours.mutual):
        with pytest.raises(NfbenchError, match="no nearest point among none"):
            call(some, none)
    with pytest.raises(NfbenchError, match="no nearest point among none"):
        neighbours.mutual(none, some)
    for value in (np.nan, np.inf, -np.inf, 1e150, -1e150):
        for row in (0, 3):
            bad = some.copy()
            bad[row, 1] = value
            for pair in ((bad, some), (some, bad)):
                with pytest.raises(NfbenchError, match="not finite, or beyond 1e150"):
                    neighbours.nearest(*pair)


def test_agreement_is_the_cosine_without_its_sign():
    a = np.array([[1, 0, 0], [0, 2, 0], [3, 4, 0], [0, 0, 0], [1, 1, 1]], np.float32)
    b = np.array([[0, 0, 0], [-5, 0, 0], [1, 1, 1]], np.float32)
    found = neighbours.agreement(a, b, np.array([1, 1, 1, 1, 0]))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [1, 0, 0.6, 0, 0], atol=1e-15)
    np.testing.assert_allclose(neighbours.agreement(a[:3], b, np.array([2, 2, 2])), [3**-0.5, 3**-0.5, 7 / 75**0.5])
    assert neighbours.agreement(ball(2000, 0), ball(2000, 0), np.arange(2000)).max() == 1


def test_a_grid_does_not_change_and_is_compared_by_identity():
    one, other = neighbours.grid(ball(9, 0)), neighbours.grid(ball(9, 0))
    assert one == one
    assert one != other
    assert not one.points.flags.writeable
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.crowd = 0.0


def slow_fineness(points):
    """Cells in a unit of length by the recipe, the boxes counted one by one."""
    low, extent = points.min(0), np.ptp(points, axis=0)
    across = min(64, max(2, int(len(points) ** 0.5 / 8)))
    occupied = [
        len({tuple(c) for c in ((points - low) * (n / extent.max())).astype(int)}) for n in (across / 2, across)
    ]
    dimension = min(max(np.log2(occupied[1] / occupied[0]), 1), 3)
    inverse = across / extent.max() * (len(points) / (5 * occupied[1])) ** (1 / dimension)
    most = min(2**25, 64 * len(points))
    while np.prod(extent * inverse + 1) > most:
        inverse /= 1.01 * (np.prod(extent * inverse + 1) / most) ** (1 / 3)
    return inverse


@pytest.mark.parametrize("name", sorted({*CLOUDS} - {"one point", "all equal", "two heaps", "float32"}))
def test_cells_are_as_fine_as_the_recipe_makes_them(name):
    assert neighbours.grid(CLOUDS[name]).inverse == pytest.approx(slow_fineness(CLOUDS[name]), rel=1e-12)


def test_a_cell_with_points_holds_about_five():
    g = rng(0)
    for cloud in (ball(300_000, 0), g.random((100_000, 3)), g.random((50_000, 1)) * [0, 2, 0]):
        counts = np.diff(neighbours.grid(cloud).starts)
        assert 3.5 < counts[counts > 0].mean() < 7
    assert neighbours.grid(ball(300_000, 0)).inverse == pytest.approx(slow_fineness(ball(300_000, 0)), rel=1e-12)


def test_clouds_at_one_place_have_one_cell():
    for spread, inverse in ((0, 1), (0.9e-150, 1)):
        made = neighbours.grid(np.array([[0.0, 0, 0], [spread, 0, 0]]))
        assert (made.inverse, made.shape) == (inverse, (1, 1, 1))
    assert neighbours.grid(np.array([[0.0, 0, 0], [1.1e-150, 0, 0]])).inverse > 1e149


def interleaved(cell):
    """The bits of three numbers in turns, the first in the lowest place."""
    return sum((int(part) >> bit & 1) << (3 * bit + axis) for axis, part in enumerate(cell) for bit in range(10))


def test_the_tree_is_asked_along_a_z_order_curve():
    numbers = np.r_[rng(0).integers(0, 1024, 50), 0, 1, 1023].astype(np.uint32)
    assert neighbours._spread(numbers).tolist() == [interleaved((n, 0, 0)) for n in numbers]
    for points in (rng(1).normal(size=(400, 3)), rng(2).integers(0, 4, (200, 3)) * [1.0, 2, 0.5], np.ones((5, 3))):
        edge = np.ptp(points, axis=0).max()
        cells = ((points - points.min(0)) * (1023 / edge if edge else 0)).astype(int)
        wanted = sorted(range(len(points)), key=lambda i, cells=cells: interleaved(cells[i]))
        assert neighbours._morton_order(points).tolist() == wanted


def test_what_the_search_is_allowed_before_the_tree_is_asked():
    assert (neighbours.REACH, neighbours.BUDGET, neighbours.FEW, neighbours.CROWD) == (16, 2000, 256, 64)
    assert (neighbours.CHUNK, neighbours.MOST_CELLS, neighbours.CELLS_A_POINT) == (65_536, 33_554_432, 64)
