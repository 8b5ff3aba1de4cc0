import pytest
import torch

from nfbench.baselines.occupancy_grid import OccupancyGrid
from nfbench.baselines.rays import Rays, box_interval

BOX = torch.tensor([[-1.0, -2.0, 0.0], [1.0, 2.0, 3.0]])


def ball(xyz):
    return (((xyz - torch.tensor([0.2, 0.5, 1.0])).norm(dim=1)) < 0.6).float() * 50


def some_rays(count=300):
    generator = torch.Generator().manual_seed(0)
    origins = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=1) * 6
    towards = torch.rand(count, 3, generator=generator) * (BOX[1] - BOX[0]) + BOX[0]
    directions = torch.nn.functional.normalize(towards - origins, dim=1)
    return Rays(origins, directions, *box_interval(origins, directions, BOX), directions)


def pruned(cells=16):
    grid = OccupancyGrid(BOX, cells)
    for seed in range(3):
        grid.prune(ball, 1.0, torch.Generator().manual_seed(seed))
    return grid


def test_a_full_grid_samples_the_whole_interval():
    rays, step = some_rays(), 0.05
    samples = OccupancyGrid(BOX, 8).march(rays, step, torch.full((len(rays),), 0.5))
    counts = samples.ray.bincount(minlength=len(rays))
    assert ((counts * step - (rays.far - rays.near)).abs() <= step).all()
    assert (samples.distance >= rays.near[samples.ray]).all() and (samples.distance <= rays.far[samples.ray]).all()


def test_march_finds_exactly_the_samples_whose_cell_is_occupied():
    rays, step, grid = some_rays(), 0.03, pruned()
    samples = grid.march(rays, step, torch.rand(len(rays), generator=torch.Generator().manual_seed(1)))
    points = rays.origins[samples.ray] + samples.distance[:, None] * rays.directions[samples.ray]
    size = (BOX[1] - BOX[0]) / grid.cells
    safe = (((points - BOX[0]) / size) % 1 - 0.5).abs().amax(1) < 0.499  # off the faces, where rounding decides
    assert grid.contains(points)[safe].all() and safe.float().mean() > 0.98
    full = OccupancyGrid(BOX, 16).march(rays, step, torch.zeros(len(rays)))
    everywhere = rays.origins[full.ray] + full.distance[:, None] * rays.directions[full.ray]
    expected = grid.contains(everywhere).sum()
    assert abs(len(samples.ray) - expected) / expected < 0.03


def test_samples_come_ray_by_ray_front_to_back():
    rays = some_rays()
    ray, rank, distance = pruned().march(rays, 0.03, torch.zeros(len(rays)))
    same = ray[1:] == ray[:-1]
    assert (ray[1:] >= ray[:-1]).all() and (distance[1:] > distance[:-1])[same].all()
    assert (rank[1:] == rank[:-1] + 1)[same].all() and (rank[1:][~same] == 0).all() and rank[0] == 0


def test_pruning_keeps_what_has_density_and_drops_most_of_the_rest():
    grid = pruned()
    points = torch.rand(20000, 3, generator=torch.Generator().manual_seed(5)) * (BOX[1] - BOX[0]) + BOX[0]
    inside = ball(points) > 0
    assert grid.contains(points[inside]).all()
    assert grid.contains(points[~inside]).float().mean() < 0.2


def test_pruning_never_empties_the_grid():
    grid = OccupancyGrid(BOX, 4)
    grid.prune(lambda xyz: torch.zeros(len(xyz)), 0.1, torch.Generator().manual_seed(0))
    assert grid.occupied.all()
    grid.prune(lambda xyz: torch.full((len(xyz),), float("nan")), 0.1, torch.Generator().manual_seed(0))
    assert grid.occupied.all()


def test_a_grid_loads_what_another_had():
    grid, other = pruned(), OccupancyGrid(BOX, 16)
    other.load(grid.occupied)
    rays = some_rays()
    for first, second in zip(
        grid.march(rays, 0.05, torch.zeros(len(rays))), other.march(rays, 0.05, torch.zeros(len(rays))), strict=True
    ):
        assert torch.equal(first, second)


def test_the_state_of_a_grid_comes_back_and_that_of_another_does_not():
    grid, other = pruned(), OccupancyGrid(BOX, 16)
    other.load_state_dict(grid.state_dict())
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) * 3
    assert torch.equal(grid.occupied, other.occupied) and torch.equal(grid.contains(points), other.contains(points))
    with pytest.raises(ValueError, match=r"\(4, 4, 4\)"):
        other.load_state_dict(OccupancyGrid(BOX, 4).state_dict())
    with pytest.raises(ValueError, match="occupancy"):
        other.load_state_dict({"occupied": torch.zeros(16, 16, 16, dtype=torch.uint8)})


def test_points_outside_the_box_are_not_contained():
    outside = torch.tensor([[-1.1, 0.0, 1.0], [0.0, 2.1, 1.0], [0.0, 0.0, -0.1], [0.0, 0.0, 1.0]])
    assert OccupancyGrid(BOX, 4).contains(outside).tolist() == [False, False, False, True]
