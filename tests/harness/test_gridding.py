import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from nfbench.harness import gridding
from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.gridding import grid, thin, voxel_downsample
from nfbench.harness.scene import Mesh


def test_one_triangle_counted_by_hand():
    # a right angle with legs of 0.4 and 0.6: sqrt(|a| |b| / |a x b|) = 1, so 2 and 3 steps of 0.2 (and a little less)
    corners = [[0, 0, 1], [0.4001, 0, 1], [0, 0.6001, 1]]
    points = grid(Mesh(np.array(corners), np.array([[0, 1, 2]])), 0.2)
    # factors (1/4 | 3/4, 1/6 | 3/6 | 5/6): below 1 in sum are (1/4, 1/6), (1/4, 3/6), (3/4, 1/6)
    wanted = [*corners, [0.4001 / 4, 0.6001 / 6, 1], [0.4001 / 4, 0.6001 / 2, 1], [0.4001 * 3 / 4, 0.6001 / 6, 1]]
    assert points.dtype == np.float64
    np.testing.assert_allclose(points, wanted, rtol=1e-14)


def test_points_whose_factors_add_up_to_one_are_left_out():
    corners = np.array([[0, 0, 0], [1.0, 0, 0], [0, 1.0, 0]])
    mesh = Mesh(corners, np.array([[0, 1, 2]]))
    assert len(grid(mesh, 1.0)) == 3  # one step each way: 1/2 + 1/2
    np.testing.assert_array_equal(grid(mesh, 0.5)[3:], [[0.25, 0.25, 0]])  # 1/4 + 3/4


def test_sheared_triangles_are_gridded_more_coarsely():
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1e-3, 0.0]])
    assert len(grid(Mesh(corners, np.array([[0, 1, 2]])), 0.1)) == 3
    flat = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0.0]])
    np.testing.assert_array_equal(grid(Mesh(flat, np.array([[0, 1, 2]])), 0.1), flat)


def slow_grid(mesh, spacing):
    """Triangle by triangle, in lists."""
    points = [tuple(v) for v in mesh.vertices]
    for face in mesh.faces:
        o, p, q = mesh.vertices[face]
        a, b = p - o, q - o
        area2 = np.linalg.norm(np.cross(a, b))
        if area2 == 0:
            continue
        step = spacing * np.sqrt(np.linalg.norm(a) * np.linalg.norm(b) / area2)
        n, m = int(np.linalg.norm(a) / step), int(np.linalg.norm(b) / step)
        for i in range(n + 1):
            for j in range(m + 1):
                s, t = (i + 0.5) / max(n, 1e-7), (j + 0.5) / max(m, 1e-7)
                if s + t < 1:
                    points.append(tuple(a * s + b * t + o))
    return np.array(points)


def test_grid_agrees_with_triangle_by_triangle():
    rng = np.random.default_rng(1)
    mesh = Mesh(rng.normal(size=(40, 3)), rng.integers(0, 40, (60, 3)))  # some faces name a vertex twice
    points = grid(mesh, 0.11)
    np.testing.assert_allclose(points, slow_grid(mesh, 0.11), atol=1e-13)
    assert len(points) > 4000


def test_grid_of_a_mesh_without_faces_is_its_vertices():
    vertices = np.arange(6.0).reshape(2, 3)
    np.testing.assert_array_equal(grid(Mesh(vertices, np.empty((0, 3), int)), 0.2), vertices)


def test_a_mesh_in_the_wrong_unit_is_refused_before_memory_is_taken(monkeypatch):
    corners = np.array([[0, 0, 0], [1e6, 0, 0], [0, 1e6, 0.0]])
    mesh = Mesh(corners, np.array([[0, 1, 2]]))
    with pytest.raises(ContractBroken, match=r"1.25e\+13 points at a spacing of 0.2"):
        grid(mesh, 0.2)
    assert gridding.MOST == 200_000_000
    monkeypatch.setattr(gridding, "MOST", 50)
    assert len(grid(mesh, 1e5)) == 3 + 45
    with pytest.raises(ContractBroken, match=r"60\.5 points"):
        grid(mesh, 1e6 / 11.001)


@pytest.mark.parametrize("bad", [0, -1, np.nan, np.inf])
def test_spacings_that_are_none_are_refused(bad):
    points = np.zeros((1, 3))
    with pytest.raises(NfbenchError, match="spacing"):
        grid(Mesh(points, np.empty((0, 3), int)), bad)
    with pytest.raises(NfbenchError, match="radius"):
        thin(points, bad, 0)
    with pytest.raises(NfbenchError, match="voxel size"):
        voxel_downsample(points, bad)


def slow_thin(points, radius, seed):
    """Each point in its turn removes its neighbours, found by brute force."""
    kept = np.ones(len(points), bool)
    for i in np.random.default_rng(seed).permutation(len(points)):
        if kept[i]:
            kept[((points - points[i]) ** 2).sum(1) <= radius * radius] = False
            kept[i] = True
    return points[kept]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("radius", [0.02, 0.1, 0.5, 3])
def test_thinning_is_the_greedy_one_in_the_order_of_the_seed(radius, seed):
    points = np.random.default_rng(9).normal(size=(1500, 3))
    points[::7] = points[3]  # many at one place
    np.testing.assert_array_equal(thin(points, radius, seed), slow_thin(points, radius, seed))


def test_thinning_reaches_over_the_borders_of_cells_on_all_axes_and_includes_the_radius():
    steps = np.stack(np.meshgrid(*[np.arange(12.0)] * 3), -1).reshape(-1, 3)
    assert len(thin(steps, np.nextafter(1, 0), 0)) == 12**3
    np.testing.assert_array_equal(thin(steps, 1.0, 0), slow_thin(steps, 1.0, 0))
    np.testing.assert_array_equal(thin(steps, np.sqrt(3) + 1e-9, 4), slow_thin(steps, np.sqrt(3) + 1e-9, 4))
    assert len(thin(steps[:2], 1.0, 0)) == 1


def test_thinned_points_keep_their_distance_and_leave_no_gap():
    mesh = trimesh.creation.icosphere(subdivisions=4, radius=10)
    points = grid(Mesh(mesh.vertices, mesh.faces), 0.2)
    left = thin(points, 0.2, 5)
    tree = cKDTree(left)
    assert not tree.query_pairs(0.2)
    assert tree.query(points)[0].max() <= 0.2
    # random sequential packing of discs covers 0.547 of a surface: discs of radius 0.1, at most every gridded point
    assert 0.35 < len(left) * np.pi * 0.01 / mesh.area < 0.6


def test_thinning_follows_the_seed_and_keeps_the_given_order():
    points = np.random.default_rng(2).random((3000, 3)).astype(np.float32)
    first, again, other = thin(points, 0.1, 3), thin(points, 0.1, 3), thin(points, 0.1, 4)
    assert first.dtype == np.float64
    np.testing.assert_array_equal(first, again)
    assert first.tolist() != other.tolist()
    where = [np.flatnonzero((points == p).all(1))[0] for p in first]
    assert where == sorted(where)


def test_long_chains_of_points_that_wait_for_one_another():
    # a dense cluster: hundreds wait for the one whose turn is first
    points = np.random.default_rng(3).normal(scale=1e-3, size=(20_000, 3))
    assert len(thin(points, 1.0, 0)) == 1
    line = np.zeros((4000, 3))
    line[:, 0] = np.arange(4000)
    np.testing.assert_array_equal(thin(line, 30.0, 0), slow_thin(line, 30.0, 0))


def test_nothing_thins_to_nothing():
    assert thin(np.empty((0, 3)), 1, 0).shape == (0, 3)
    assert voxel_downsample(np.empty((0, 3)), 1).shape == (0, 3)
    np.testing.assert_array_equal(thin(np.ones((1, 3)), 1, 0), np.ones((1, 3)))


@pytest.mark.parametrize("far", [1e9, np.inf, np.nan])
def test_points_that_cannot_be_binned_are_refused(far):
    points = np.array([[0, 0, 0], [0, far, 0]])
    with pytest.raises(ContractBroken, match="cannot be told apart"):
        thin(points, 0.2, 0)
    with pytest.raises(ContractBroken, match="cannot be told apart"):
        voxel_downsample(points, 0.2)


def test_the_farthest_points_that_can_be_binned():
    cells = 2**21
    pair = np.array([[0, 0, 0], [cells - 4, cells - 4, cells - 4.0]])
    assert len(thin(pair, 1.0, 0)) == 2
    assert len(voxel_downsample(pair, 1.0)) == 2
    assert len(thin(pair + 2e6, 1.0, 0)) == len(voxel_downsample(pair + 2e6, 1.0)) == 2
    with pytest.raises(ContractBroken):
        thin(pair + [[0], [4]], 1.0, 0)
    with pytest.raises(ContractBroken):
        voxel_downsample(pair + [[0], [4]], 1.0)


def test_voxels_start_half_an_edge_below_the_least_coordinates():
    x = np.array([0, 0.49, 0.5, 1.49, 1.5])
    for axis in range(3):
        points = np.full((5, 3), 7.0)
        points[:, axis] += x
        means = voxel_downsample(points, 1.0)
        assert means.dtype == np.float64
        wanted = np.full((3, 3), 7.0)
        wanted[:, axis] += [0.245, 0.995, 1.5]
        np.testing.assert_allclose(means, wanted, rtol=1e-15)


def test_voxel_means_agree_with_a_dictionary():
    points = np.random.default_rng(5).random((2000, 3))
    voxels = {}
    low = points.min(0) - 0.15 / 2
    for p in points:
        voxels.setdefault(tuple(np.floor((p - low) / 0.15).astype(int)), []).append(p)
    wanted = np.array(sorted(np.mean(v, 0).tolist() for v in voxels.values()))
    ours = np.array(sorted(voxel_downsample(points, 0.15).tolist()))
    np.testing.assert_allclose(ours, wanted, rtol=1e-13)
    assert 100 < len(ours) < 1000
