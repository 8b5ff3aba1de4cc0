import json
import math
import re
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import nfbench.harness.sampling_floor as floors
from nfbench.harness.errors import Unsupported
from nfbench.harness.protocol import Protocol, protocol, read_protocol
from nfbench.harness.sampling_floor import SEEDS, SHIPPED, sampling_floor, shipped_floors, sphere, sphere_pairs

BUILT_IN = {read.id: read for read in (read_protocol(path) for path in sorted(SHIPPED.parent.glob("*.toml")))}
SURFACES = {name: read for name, read in BUILT_IN.items() if read.surface is not None}
COSTLY = 300_000  # points a seed: more are left to benchmarks/floors.py


def mine(columns, **choices):
    surface = {
        "levels": {"sdf": 0.0, "occupancy": 0.5, "density": 10.0},
        "resolution": 8,
        "samples": 300,
        "unit": "mm",
        "columns": columns,
        **choices,
    }
    data = {"name": "mine", "version": 1, "summary": "s", "source": "s", "primary": next(iter(columns))}
    return Protocol.model_validate(data | {"surface": surface})


def column(metric, **choices):
    return {"c": {"metric": metric, **choices}}


def value(read):
    return sampling_floor(read)["columns"]["c"]


def test_a_sphere_is_exact_and_uniform():
    points = sphere(20_000, 2.0, 7)
    xyz = points.xyz.astype(np.float64)
    assert points.xyz.dtype == np.float32 and xyz.shape == (20_000, 3)
    assert np.abs(np.linalg.norm(xyz, axis=1) - 2).max() < 1e-6
    assert np.abs(points.normal - xyz / 2).max() < 1e-6
    for axis in range(3):  # Archimedes: each coordinate of a uniform point is uniform
        ordered = np.sort(xyz[:, axis]) / 4 + 0.5
        assert np.abs(ordered - np.linspace(0, 1, 20_000)).max() < 1.95 / math.sqrt(20_000)  # Kolmogorov, 0.1 %
    assert (sphere(20_000, 2.0, 7).xyz == points.xyz).all() and (sphere(20_000, 2.0, 8).xyz != points.xyz).any()


def test_the_two_drawings_have_seeds_of_their_own():
    pairs = sphere_pairs(30, 50, 0.5, 11)
    distance = cdist(sphere(30, 0.5, 11).xyz, sphere(50, 0.5, 12).xyz)
    assert pairs.to_truth == pytest.approx(distance.min(1), rel=1e-9)
    assert pairs.to_prediction == pytest.approx(distance.min(0), rel=1e-9)


def test_mean_and_sample_deviation_over_five_seeds_by_brute_force():
    read = mine(column("chamfer_sq_sum", factor=1000.0), seed=3, truth_samples=200, floor_radius=2.0)
    singles = []
    for seed in (3, 5, 7, 9, 11):
        distance = cdist(sphere(300, 2.0, seed).xyz, sphere(200, 2.0, seed + 1).xyz, "sqeuclidean")
        singles.append(1000 * (distance.min(1).mean() + distance.min(0).mean()))
    found = sampling_floor(read)
    assert found["columns"]["c"]["mean"] == pytest.approx(np.mean(singles), rel=1e-9)
    assert found["columns"]["c"]["std"] == pytest.approx(np.std(singles, ddof=1), rel=1e-9)
    assert found["columns"]["c"]["reason"] is None
    del found["columns"]
    assert found == {"shape": "sphere", "radius": 2.0, "unit": "mm", "points": [300, 200], "seeds": 5}
    assert len(singles) == SEEDS


def test_a_length_grows_with_the_radius_and_its_square_with_the_square():
    for metric, power in (("chamfer_l1_mean", 1), ("chamfer_sq_half", 2), ("normal_consistency", 0)):
        small, large = (value(mine(column(metric), floor_radius=radius))["mean"] for radius in (0.5, 5.0))
        assert large == pytest.approx(small * 10**power, rel=1e-5)


@pytest.mark.parametrize("count", [2500, 10_000])
def test_the_floor_is_that_of_points_on_a_plane(count):
    # Points of density n an area, independent: the nearest lies 1 / (2 sqrt(n)) off in the mean, squared 1 / (pi n).
    density = count / math.pi  # the sphere of radius 1/2 has the area pi
    near = {"metric": "fscore", "radius": 0.01}
    columns = {"l1": {"metric": "chamfer_l1_mean"}, "sq": {"metric": "chamfer_sq_sum"}, "f": near}
    found = sampling_floor(mine(columns, samples=count))["columns"]
    assert found["f"]["mean"] == pytest.approx(1 - math.exp(-math.pi * density * 0.01**2), rel=0.02)
    assert found["l1"]["mean"] == pytest.approx(0.5 / math.sqrt(density), rel=0.02)
    assert found["sq"]["mean"] == pytest.approx(2 / (math.pi * density), rel=0.04)
    assert found["sq"]["mean"] == pytest.approx(2 / count, rel=0.04)


# An earlier measurement of single drawings: ONet's Chamfer-L1 times 10, the squared sum times 1000, F-score at 0.01.
MEASURED = {2500: (0.175, 0.788, 0.236), 10_000: (0.089, 0.201, 0.634), 30_000: (0.051, 0.066, 0.950)}


@pytest.mark.parametrize("count", MEASURED)
def test_the_floor_agrees_with_an_independent_measurement(count):
    columns = {
        "l1": {"metric": "chamfer_l1_mean", "factor": 10},
        "sq": {"metric": "chamfer_sq_sum", "factor": 1000},
        "f": {"metric": "fscore", "radius": 0.01},
    }
    found = sampling_floor(mine(columns, samples=count))["columns"]
    for name, expected in zip(columns, MEASURED[count], strict=True):
        rel = 0.07 if (name, count) == ("f", 2500) else 0.03  # few points, a single drawing
        assert found[name]["mean"] == pytest.approx(expected, rel=rel)


def test_the_shipped_floors_agree_with_it_too():
    shipped = {name: {c: f["mean"] for c, f in floor["columns"].items()} for name, floor in shipped_floors().items()}
    assert shipped["onet-shapenet@1"]["chamfer_l1_mean"] * 10 == pytest.approx(0.028, rel=0.01)
    assert shipped["onet-shapenet@1"]["fscore@r0.01"] == pytest.approx(1, abs=5e-4)
    assert shipped["imnet@1"]["chamfer_sq_sum"] * 1000 == pytest.approx(0.020, rel=0.01)
    assert shipped["deepsdf@1"]["chamfer_sq_sum"] * 1000 == pytest.approx(0.066, rel=0.02)
    assert shipped["deepsdf@1"]["mesh_completion@r0.01"] == pytest.approx(0.950, rel=0.01)
    assert shipped["pytorch3d@1"]["chamfer_sq_sum"] * 1000 == pytest.approx(0.201, rel=0.01)
    assert shipped["atlasnet@1"]["chamfer_sq_sum"] * 1000 == pytest.approx(0.788, rel=0.03)
    assert shipped["points2surf@1"]["chamfer_points_sum"] == pytest.approx(20_000 * 0.0089, rel=0.01)


def test_every_built_in_protocol_with_surfaces_ships_its_floor_and_no_other():
    assert list(shipped_floors()) == list(SURFACES)


def test_the_shipped_file_is_what_the_function_gives():
    """Where it is red, run benchmarks/floors.py."""
    seen = {}

    def pairs(*key):
        return seen.setdefault(key, sphere_pairs(*key)) if key not in seen else seen[key]

    for name, read in SURFACES.items():
        shipped = shipped_floors()[name]
        samples = read.surface.samples
        points = None if samples is None else [samples, read.surface.truth_samples or samples]
        gridded = read.surface.drawing == "grid"
        points = [None, 1_000_000] if gridded else points
        assert (shipped["points"], shipped["radius"], shipped["unit"], shipped["seeds"], shipped["shape"]) == (
            points,
            read.surface.floor_radius,
            read.surface.unit,
            SEEDS,
            "sphere",
        )
        assert list(shipped["columns"]) == list(read.surface.columns)
        if gridded or (points is not None and sum(points) > COSTLY):
            continue
        for column, floor in sampling_floor(read, pairs)["columns"].items():
            there = shipped["columns"][column]
            assert there["reason"] == floor["reason"]
            for key in ("mean", "std"):
                expected = None if floor[key] is None else pytest.approx(floor[key], rel=1e-6, abs=1e-10)
                assert there[key] == expected, (name, column)


def test_other_seeds_give_the_shipped_floor_within_its_spread():
    read = SURFACES["onet-shapenet@1"]
    floor = shipped_floors()["onet-shapenet@1"]["columns"]
    pair = sphere_pairs(read.surface.samples, read.surface.samples, 0.5, 1000)
    for name in ("chamfer_l1_mean", "accuracy", "completeness"):
        assert abs(getattr(pair, name)() - floor[name]["mean"]) < 5 * floor[name]["std"]


INSIDE = "measured inside and outside, not at points drawn on the surface: the truth itself scores 1"
NO_MESH = "points come from the {} of a mesh, which an exact sphere has not"


@pytest.mark.parametrize(
    ("read", "why"),
    [
        (mine(column("iou")), INSIDE),
        (mine(column("iou"), drawing="vertices", samples=None), INSIDE),
        (mine(column("hausdorff"), drawing="vertices", samples=None), NO_MESH.format("vertices")),
        (mine(column("fscore", radius="tolerance")), "the radius is each scene's own"),
    ],
)
def test_a_column_without_a_floor_says_why_and_nothing_is_drawn(read, why, monkeypatch):
    monkeypatch.setattr(floors, "sphere_pairs", lambda *a: pytest.fail("drawn for nothing"))
    found = sampling_floor(read)
    assert found["columns"]["c"] == {"mean": None, "std": None, "reason": why}
    assert found["points"] == (None if read.surface.samples is None else [300, 300])


def test_one_column_without_a_floor_leaves_the_others_theirs():
    columns = {"iou": {"metric": "iou"}, "r": {"metric": "recall", "radius": 0.05}}
    found = sampling_floor(mine(columns))["columns"]
    singles = [sphere_pairs(300, 300, 0.5, seed).recall(0.05) for seed in range(0, 10, 2)]
    assert found["iou"]["mean"] is None
    assert (found["r"]["mean"], found["r"]["std"]) == (statistics.fmean(singles), statistics.stdev(singles))


def test_the_choices_of_a_column_reach_its_metric():
    loose, strict = (value(mine(column("mesh_accuracy", part=part, points=300)))["mean"] for part in (0.9, 0.5))
    assert loose > strict > 0


def test_a_memory_is_asked_for_the_points():
    asked = []

    def remembered(*key):
        asked.append(key)
        return sphere_pairs(30, 40, 1.0, 0)

    floor = sampling_floor(mine(column("accuracy"), truth_samples=40, samples=30, floor_radius=1.0), remembered)
    assert asked == [(30, 40, 1.0, seed) for seed in (0, 2, 4, 6, 8)]
    assert floor["columns"]["c"]["std"] == 0


def test_a_protocol_of_images_has_no_floor():
    with pytest.raises(Unsupported, match="^" + re.escape("Protocol nerf-synthetic@1 compares no surfaces")):
        sampling_floor(protocol("nerf-synthetic@1"))


def test_the_shipped_file_lies_beside_the_protocols_and_is_plain_json():
    assert Path("protocols", "floors.json").parts == SHIPPED.parts[-2:]
    assert json.loads(SHIPPED.read_text(), parse_constant=pytest.fail) == shipped_floors()


def test_a_gridded_mesh_has_a_floor_of_half_its_spacing_or_so():
    read = mine(column("accuracy"), drawing="grid", samples=None, spacing=0.02)
    floor = sampling_floor(read)
    (found,) = floor["columns"].values()
    assert floor["points"] == [None, 1_000_000] and found["reason"] is None
    # a million points on a sphere of radius 0.5 leave about half of sqrt(area / count) to the next
    assert found["mean"] == pytest.approx(0.5 * (np.pi / 1e6) ** 0.5, rel=0.1) and 0 < found["std"] < 1e-5
