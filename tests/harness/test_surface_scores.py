import hashlib
from dataclasses import asdict

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nfbench.harness import surface_scores
from nfbench.harness.camera import Cameras
from nfbench.harness.diagnostics import diagnose
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.gridding import grid, thin, voxel_downsample
from nfbench.harness.mesh import sample
from nfbench.harness.protocol import Cleaning, Levels, SurfaceSection
from nfbench.harness.scan import CropVolume, ObservedVolume
from nfbench.harness.scanned import dtu
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views
from nfbench.harness.surface import correspond
from nfbench.harness.surface_scores import measure

BOX = [[-1, -1, -1], [1, 1, 1]]
CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
CUBE_FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1]]
    + [[2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
)
MEANS = ("accuracy", "completeness", "chamfer_l1_mean")
VERTICES = {"drawing": "vertices", "samples": None}
GRID = {"drawing": "grid", "samples": None, "frame": "original"}
TURN = Rotation.from_euler("xyz", [30, -40, 70], degrees=True).as_matrix()
FRAME = np.eye(4)
FRAME[:3, :3], FRAME[:3, 3] = 4 * TURN, [3, -2, 10]
VOLUME = ObservedVolume(np.ones((41, 41, 21), bool), [[0, 0, 0], [80, 80, 40]], 2.0, [0, 0, 1, -1])


def section(*names, columns=None, cleaning=None, **choices):
    """Columns of the given names, each called as its metric, and others as they are."""
    given = {name: {"metric": name} for name in names} | (columns or {})
    choices = {"samples": 300, **choices}
    levels = Levels(sdf=0, occupancy=0.5, density=1)
    cleaning = None if cleaning is None else Cleaning(**cleaning)
    return SurfaceSection(levels=levels, resolution=8, cleaning=cleaning, unit="mm", columns=given, **choices)


def scene(surface, **parts):
    return Scene("room", parts.pop("given", Given()), BOX, surface=surface, **parts)


def cube(edge=1.0, low=0.0):
    return Mesh(low + edge * CUBE, CUBE_FACES)


def square(z=0.0, edge=1.0, low=(0.0, 0.0)):
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * edge + low
    return Mesh(np.c_[corners, np.full(4, z)], np.array([[0, 1, 2], [0, 2, 3]]))


def joined(*meshes):
    starts = np.cumsum([0, *(len(mesh.vertices) for mesh in meshes)])
    faces = [mesh.faces + start for mesh, start in zip(meshes, starts, strict=False)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces))


def placed(surface, frame=FRAME):
    """What lies at `surface` in the original coordinates, in those of the scene."""
    back = np.linalg.inv(frame)
    xyz = (surface.vertices if isinstance(surface, Mesh) else surface.xyz) @ back[:3, :3].T + back[:3, 3]
    return Mesh(xyz, surface.faces) if isinstance(surface, Mesh) else Points(xyz)


def test_points_against_points_have_exact_values_and_no_facts_of_a_mesh():
    truth = Points([[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    found = measure(
        Points([[0, 0, 3], [1, 0, 4]]),
        scene(truth),
        section(
            *MEANS,
            columns={
                "times ten": {"metric": "accuracy", "factor": 10},
                "squared": {"metric": "chamfer_sq_sum"},
                "near": {"metric": "recall", "radius": 3.0},
                "nearer": {"metric": "recall", "radius": 3.0, "strict": True},
                "half": {"metric": "mesh_accuracy", "part": 0.5},
            },
        ),
    )
    back = [3, np.sqrt(10), np.sqrt(13)]
    assert found.values == pytest.approx(
        {
            "accuracy": 3.5,
            "completeness": np.mean(back),
            "chamfer_l1_mean": (3.5 + np.mean(back)) / 2,
            "times ten": 35,
            "squared": 12.5 + 32 / 3,
            "near": 1 / 3,
            "nearer": 0,
            "half": 3,
        }
    )
    assert (found.unmeasured, found.facts) == ({}, {})
    assert found.truth == hashlib.sha256(truth.xyz.tobytes()).digest()


def test_a_scene_needs_a_surface():
    with pytest.raises(AssertionError):
        measure(square(), scene(None), section("accuracy"))


def test_nothing_is_measured_at_first():
    assert asdict(surface_scores.SurfaceScores()) == {"values": {}, "unmeasured": {}, "facts": {}, "truth": b""}


def test_meshes_are_drawn_by_area_each_with_its_own_seed_and_number():
    prediction, truth = square(0.5), cube()
    chosen = section(*MEANS, "normal_consistency", samples=200, truth_samples=500, seed=7)
    found = measure(prediction, scene(truth), chosen)
    drawn = sample(truth, 500, 8)
    pairs = correspond(sample(prediction, 200, 7), drawn)
    assert found.values == {name: getattr(pairs, name)() for name in (*MEANS, "normal_consistency")}
    assert found.truth == hashlib.sha256(drawn.xyz.tobytes()).digest()
    assert found.facts == diagnose(prediction).as_dict()
    alike = measure(prediction, scene(truth), section(*MEANS, samples=200, seed=7))
    assert alike.truth == hashlib.sha256(sample(truth, 200, 8).xyz.tobytes()).digest()


def test_a_true_cloud_of_more_points_is_picked_from_with_its_normals():
    xyz = np.arange(30.0).reshape(10, 3)
    truth = Points(xyz, xyz / np.linalg.norm(xyz, axis=1, keepdims=True))
    picked = surface_scores._true_points(truth, section("accuracy", truth_samples=9, seed=4))
    at = np.random.default_rng(5).choice(10, 9, replace=False)
    np.testing.assert_array_equal(picked.xyz, truth.xyz[at])
    np.testing.assert_array_equal(picked.normal, truth.normal[at])
    assert surface_scores._true_points(Points(xyz), section("accuracy", truth_samples=9, seed=4)).normal is None
    for count in (10, 11, 1000):
        assert surface_scores._true_points(truth, section("accuracy", truth_samples=count)) is truth
    assert surface_scores._true_points(truth, section("accuracy", samples=2)) is truth


def test_vertices_stand_for_a_mesh_where_the_protocol_says_so():
    prediction, truth = square(3, edge=2), square(0, edge=2)
    found = measure(prediction, scene(truth), section(*MEANS, **VERTICES))
    assert found.values == dict.fromkeys(MEANS, 3)
    assert found.truth == hashlib.sha256(truth.vertices.astype(np.float32).tobytes()).digest()
    assert measure(Points(square(2).vertices), scene(truth), section("hausdorff", **VERTICES)).values == {
        "hausdorff": pytest.approx(np.sqrt(6))
    }


def test_a_grid_of_the_spacing_stands_for_a_mesh_thinned_by_the_seed():
    prediction, truth = square(0.25), square()
    chosen = section(*MEANS, drawing="grid", samples=None, spacing=0.1, seed=3)
    found = measure(prediction, scene(truth), chosen)
    ours, theirs = (thin(grid(m, 0.1), 0.1, seed).astype(np.float32) for m, seed in ((prediction, 3), (truth, 4)))
    assert found.values == {name: getattr(correspond(Points(ours), Points(theirs)), name)() for name in MEANS}
    assert found.truth == hashlib.sha256(theirs.tobytes()).digest()
    cloud = Points(grid(prediction, 0.05))
    thinned = Points(thin(cloud.xyz, 0.1, 3).astype(np.float32))
    again = measure(cloud, scene(truth), chosen)
    assert again.values["accuracy"] == correspond(thinned, Points(theirs)).accuracy()


# cleaning


@pytest.mark.parametrize(("component", "z", "faces"), [("area", 5, 2), ("faces", 7, 12), (None, 6, 14)])
def test_one_component_stays_by_what_the_protocol_counts(component, z, faces):
    corners = Mesh(CUBE * 1e-3 + [0, 0, 7], CUBE_FACES)
    mesh = joined(square(5), corners)
    cleaning = None if component is None else {"component": component}
    found = measure(mesh, scene(Points([[0, 0, 0]])), section("accuracy", cleaning=cleaning, **VERTICES))
    below = {"area": mesh.vertices[:4], "faces": mesh.vertices[4:], None: mesh.vertices}[component]
    assert found.values["accuracy"] == pytest.approx(np.linalg.norm(below, axis=1).mean())
    assert found.values["accuracy"] == pytest.approx(z, abs=0.9)
    assert found.facts["faces"] == 14, "the facts are those of the mesh as it was predicted"
    assert found.facts.get("faces_after_cleaning", 14) == faces
    assert ("faces_after_cleaning" in found.facts) == (component is not None)


def views(mask):
    """One camera at the origin that sees x and y of what lies at z = 10 as columns and rows, moved by 8."""
    cameras = Cameras(np.eye(4)[None, :3], [[[10, 0, 8], [0, 10, 8], [0, 0, 1]]], [[16, 16]])
    return Given(Views(cameras, ("a",), load=lambda i: None, load_mask=lambda i: mask))


def triangle(x, y):
    """A speck whose corners all fall into the pixel at (x,y)."""
    return Mesh(
        np.array([[x + 0.3, y + 0.3, 10], [x + 0.6, y + 0.3, 10], [x + 0.3, y + 0.6, 10]]) - [8, 8, 0], [[0, 1, 2]]
    )


@pytest.mark.parametrize(
    ("dilation", "element", "left"),
    [(0, "disc", 1), (1, "disc", 2), (2, "disc", 3), (2, "ellipse", 4), (3, "disc", 4)],
)
def test_masks_cut_away_what_they_do_not_reach(dilation, element, left):
    mask = np.zeros((16, 16), bool)
    mask[8, 8] = True
    mesh = joined(triangle(8, 8), triangle(9, 8), triangle(10, 8), triangle(10, 9))  # 0, 1, 2 and 2 by 1 pixels off
    chosen = section("accuracy", cleaning={"dilation": dilation, "element": element}, **VERTICES)
    found = measure(mesh, scene(Points([[0, 0, 10]]), given=views(mask)), chosen)
    assert found.facts["faces_after_cleaning"] == left
    assert found.values["accuracy"] == pytest.approx(np.linalg.norm(mesh.vertices[: 3 * left, :2], axis=1).mean())


def test_masks_come_before_the_largest_component():
    mask = np.zeros((16, 16), bool)
    mask[:, :4] = True
    speck, small = triangle(3, 8), Mesh(triangle(1, 8).vertices * [0.5, 0.5, 1] + [-3.5, 0, 0], [[0, 1, 2]])
    large = Mesh(np.array([[0, 0, 10], [4, 0, 10], [0, 4, 10.0]]), [[0, 1, 2]])
    chosen = section("hausdorff", cleaning={"dilation": 0, "component": "area"}, **VERTICES)
    truth = scene(Points(speck.vertices), given=views(mask))
    found = measure(joined(small, large, speck), truth, chosen)
    assert found.facts["faces_after_cleaning"] == 1
    assert found.values["hausdorff"] == pytest.approx(0, abs=1e-6)


def test_a_mesh_of_which_nothing_is_left_is_no_surface():
    mask = np.zeros((16, 16), bool)
    mask[8, 8] = True
    corner = Mesh(np.array([[0.5, 0.5, 10], [5, 0.5, 10], [0.5, 5, 10]]), [[0, 1, 2]])
    truth = scene(Points([[0, 0, 10]]), given=views(mask))
    for component in (None, "area"):
        chosen = section("accuracy", cleaning={"dilation": 0, "component": component}, **VERTICES)
        with pytest.raises(ContractBroken, match="Nothing is left of the mesh once it is cleaned"):
            measure(corner, truth, chosen)


def test_masks_without_views_are_missing():
    chosen = section("accuracy", cleaning={"dilation": 12})
    with pytest.raises(DataMissing, match="'room' has no views, whose masks"):
        measure(square(), scene(square()), chosen)


def test_a_predicted_cloud_is_not_cleaned():
    chosen = section("accuracy", cleaning={"dilation": 12, "component": "area"})
    assert measure(Points([[0, 0, 1]]), scene(Points([[0, 0, 0]])), chosen).values == {"accuracy": 1}


# frames


def test_lengths_are_those_of_the_original_frame_where_the_protocol_says_so():
    prediction, truth = Points([[0, 0, 0.5]]), Points([[0, 0, 0]])
    assert measure(prediction, scene(truth, frame=FRAME), section("accuracy")).values["accuracy"] == 0.5
    found = measure(prediction, scene(truth, frame=FRAME), section("accuracy", frame="original"))
    assert found.values["accuracy"] == pytest.approx(2, rel=1e-6)
    assert found.truth == hashlib.sha256(np.array([[3, -2, 10]], np.float32).tobytes()).digest()


@pytest.mark.parametrize("mirror", [1, -1])
def test_surfaces_are_turned_scaled_and_moved(mirror):
    frame = FRAME @ np.diag([mirror, 1, 1, 1])
    truth = scene(None, frame=frame)
    mesh = surface_scores._original(cube(), truth)
    np.testing.assert_allclose(mesh.vertices, CUBE * [mirror, 1, 1] @ FRAME[:3, :3].T + [3, -2, 10])
    np.testing.assert_array_equal(mesh.faces, CUBE_FACES)
    normal = np.array([[1, 0, 0], [0, 0.6, 0.8]])
    cloud = surface_scores._original(Points([[1, 0, 0], [1, 2, 3]], normal), truth)
    np.testing.assert_allclose(
        cloud.xyz, np.array([[mirror, 0, 0], [mirror, 2, 3]]) @ (4 * TURN.T) + [3, -2, 10], rtol=1e-6
    )
    np.testing.assert_allclose(cloud.normal, normal * [mirror, 1, 1] @ TURN.T, atol=1e-7)
    assert surface_scores._original(Points([[0, 0, 0]]), truth).normal is None


@pytest.mark.filterwarnings("ignore:invalid value")  # numpy's, about the frame of NaN
@pytest.mark.parametrize(
    ("linear", "fine"),
    [
        (np.diag([2, 2, 2 * (1 + 4e-6)]), True),
        (np.diag([2, 2, 2 * (1 + 2e-5)]), False),
        (1e-3 * (np.eye(3) + np.eye(3, k=1) * 4e-6), True),
        (1e-3 * (np.eye(3) + np.eye(3, k=1) * 2e-5), False),
        (np.diag([1, 1, 2]), False),
        (np.zeros((3, 3)), False),
        (np.diag([1, 1, 0]), False),
        (np.full((3, 3), np.nan), False),
    ],
)
def test_a_frame_that_is_no_similarity_is_named(linear, fine):
    frame = np.eye(4)
    frame[:3, :3] = linear
    truth, chosen = scene(Points([[0, 0, 0]]), frame=frame), section("accuracy", frame="original")
    if fine:
        assert measure(Points([[0, 0, 1]]), truth, chosen).values["accuracy"] == pytest.approx(linear[2, 2], rel=1e-4)
    else:
        with pytest.raises(DataCorrupt, match=r"'room': the frame .* is no similarity"):
            measure(Points([[0, 0, 1]]), truth, chosen)


# scans


def test_dtu_planes_in_a_frame_score_their_distance_in_millimetres():
    axis = np.linspace(10, 70, 121)
    x, y = (part.ravel() for part in np.meshgrid(axis, axis))
    truth = placed(Points(np.c_[x, y, np.full(len(x), 10.0)]))
    prediction = placed(square(11.5, edge=60, low=(10, 10)))
    chosen = section(*MEANS, **GRID, spacing=0.5, within="observed", cutoff=20.0)
    found = measure(prediction, scene(truth, scan=VOLUME, frame=FRAME), chosen)
    assert found.values == pytest.approx(dict.fromkeys(MEANS, 1.5), abs=0.05)
    assert found.values["accuracy"] >= 1.5 - 1e-5
    assert found.facts["faces"] == 2
    near = section(*MEANS, **GRID, spacing=0.5, within="observed", cutoff=1.0)
    with pytest.raises(ContractBroken, match=r"within 1\.0 mm"):
        measure(prediction, scene(truth, scan=VOLUME, frame=FRAME), near)


@pytest.mark.parametrize("drawing", ["grid", "area", "vertices"])
def test_dtu_judges_the_points_that_the_protocol_draws(drawing):
    mesh = Mesh(cube(30, 5).vertices, CUBE_FACES)
    truth = Points(np.random.default_rng(0).uniform(0, 40, (200, 3)))
    how = {"drawing": drawing, "samples": 250 if drawing == "area" else None, "seed": 2}
    how["spacing"] = 2.0 if drawing == "grid" else None
    found = measure(
        mesh, scene(truth, scan=VOLUME), section(*MEANS, **how, frame="original", within="observed", cutoff=9.0)
    )
    points = {
        "grid": lambda: thin(grid(mesh, 2.0), 2.0, 2),
        "area": lambda: sample(mesh, 250, 2).xyz,
        "vertices": lambda: mesh.vertices,
    }[drawing]()
    pairs = dtu(points, truth.xyz, VOLUME, cutoff=9.0)
    assert found.values == pytest.approx({name: getattr(pairs, name)() for name in MEANS}, rel=1e-9)


def test_a_predicted_cloud_is_judged_by_a_scan_as_it_is():
    cloud = Points([[10, 10, 11], [40, 40, 12]])
    chosen = section("accuracy", frame="original", within="observed", cutoff=20.0)
    found = measure(cloud, scene(Points([[10, 10, 10], [40, 40, 10]]), scan=VOLUME), chosen)
    assert found.values == {"accuracy": 1.5}


CROP = CropVolume(np.array([[0, 0], [10, 0], [10, 10], [0, 10.0]]), "z", 0.0, 10.0)
AT_TOLERANCE = {
    name: {"metric": name, "radius": "tolerance", "strict": True} for name in ("precision", "recall", "fscore")
}


def test_tanks_and_temples_counts_what_is_within_the_scenes_tolerance_in_the_crop():
    rng = np.random.default_rng(1)
    truth = Points(rng.uniform(0.5, 9.5, (400, 3)))
    moved = truth.xyz + np.where(np.arange(400)[:, None] < 100, [0, 0, 0.05], [0, 0.4, 0])
    cloud = Points(np.concatenate([moved, rng.uniform(20, 30, (50, 3))]))
    chosen = section(columns=AT_TOLERANCE, **GRID | {"drawing": "vertices"}, within="crop")
    found = measure(cloud, scene(truth, scan=CROP, tolerance=0.2), chosen)
    ours, theirs = (voxel_downsample(c, 0.1) for c in (cloud.xyz[CROP.inside(cloud.xyz)], truth.xyz))
    pairs = correspond(Points(ours), Points(theirs))
    assert found.values["precision"] == pytest.approx(np.mean(pairs.to_truth < 0.2), abs=3e-3)
    assert found.values["recall"] == pytest.approx(np.mean(pairs.to_prediction < 0.2), abs=3e-3)
    assert 0.2 < found.values["precision"] < 0.3
    p, r = found.values["precision"], found.values["recall"]
    assert found.values["fscore"] == pytest.approx(2 * p * r / (p + r))
    wider = measure(cloud, scene(truth, scan=CROP, tolerance=0.6), chosen)
    assert wider.values["precision"] == 1


@pytest.mark.parametrize(
    ("within", "parts", "what"),
    [
        ("observed", {}, r"an observed volume \(ObsMask\)"),
        ("observed", {"scan": CROP, "tolerance": 1.0}, r"an observed volume \(ObsMask\)"),
        ("crop", {}, "a crop and a tolerance"),
        ("crop", {"scan": VOLUME, "tolerance": 1.0}, "a crop and a tolerance"),
        ("crop", {"scan": CROP}, "a crop and a tolerance"),
        ("crop", {"tolerance": 1.0}, "a crop and a tolerance"),
    ],
)
def test_scans_that_a_scene_comes_without_are_named(within, parts, what):
    cutoff = 20.0 if within == "observed" else None
    chosen = section("accuracy", frame="original", within=within, cutoff=cutoff)
    with pytest.raises(DataMissing, match=f"'room' comes without {what}") as caught:
        measure(Points([[1, 1, 5]]), scene(Points([[1, 1, 5]]), **parts), chosen)
    assert "nfbench list formats" in caught.value.hint


# volume


def test_iou_by_the_query_points_of_the_scene():
    xyz = np.array([[0.5, 0.5, 0.5], [0.2, 0.2, 0.2], [0.9, 0.9, 0.9], [3, 3, 3], [4, 4, 4]])
    occupancy = Points(xyz, value=[1, 0.5, 0.49, 0.6, 0], kind="occupancy")
    found = measure(cube(), scene(cube(9), occupancy=occupancy, frame=FRAME), section("iou", frame="original"))
    assert found.values["iou"] == 2 / 4
    assert found.facts["inside"] == "winding-number"


@pytest.mark.parametrize(
    ("mesh", "wanted", "method"),
    [
        (cube(), "parity", "parity"),
        (cube(), "winding-number", "winding-number"),
        (Mesh(CUBE, CUBE_FACES[:-1]), "parity", "winding-number"),
    ],
)
def test_the_inside_test_that_was_made_is_a_fact(mesh, wanted, method, monkeypatch):
    asked = []
    real = surface_scores.inside
    monkeypatch.setattr(surface_scores, "inside", lambda *given: asked.append(given[2:]) or real(*given))
    columns = {"volume": {"metric": "iou", "inside": wanted, "factor": 100}}
    occupancy = Points([[0.6, 0.5, 0.4], [7, 7, 7]], value=[1, 0], kind="occupancy")
    found = measure(mesh, scene(cube(), occupancy=occupancy), section(columns=columns))
    assert found.facts["inside"] == method
    assert asked == [(method,)]
    assert found.values == {"volume": 100}


def test_iou_against_a_closed_true_mesh_draws_points_around_it():
    truth = Mesh(CUBE * [4, 1, 1] + 5, CUBE_FACES)
    stray = Mesh(np.concatenate([truth.vertices, [[99, 99, 99]]]), truth.faces)
    column = section(columns={"iou": {"metric": "iou", "points": 1000, "margin": 1.5}}).columns["iou"]
    xyz, within = surface_scores._query(scene(stray), column, 6)
    assert xyz.shape == (1000, 3)
    expected = np.array([7, 5.5, 5.5]) + 3.0 * np.random.default_rng(8).uniform(-1, 1, (1000, 3))
    np.testing.assert_allclose(xyz, expected)
    np.testing.assert_array_equal(within, ((xyz > 5) & (xyz < [9, 6, 6])).all(1))
    columns = {"iou": {"metric": "iou", "points": 200_000}}
    found = measure(Mesh(CUBE * [2, 1, 1] + 5, CUBE_FACES), scene(stray), section(columns=columns))
    assert found.values["iou"] == pytest.approx(0.5, abs=0.02)
    assert measure(stray, scene(stray), section(columns=columns)).values["iou"] == 1


def test_iou_has_true_points_by_signed_numbers_only_where_they_have_values():
    occupancy = Points([[0.5, 0.5, 0.5]])
    with pytest.raises(DataMissing, match="no query points"):
        surface_scores._query(scene(square(), occupancy=occupancy), section("iou").columns["iou"], 0)


def test_columns_that_cannot_be_measured_tell_why_and_leave_the_others():
    chosen = section("accuracy", "iou", "normal_consistency", columns=AT_TOLERANCE)
    found = measure(Points([[0, 0, 2]]), scene(Points([[0, 0, 0]])), chosen)
    assert found.values == {"accuracy": 2}
    assert found.unmeasured == {
        "iou": "A point cloud has no inside.",
        "normal_consistency": "Normal consistency needs normals on both surfaces.",
        **dict.fromkeys(AT_TOLERANCE, "Scene 'room' has no tolerance of its own."),
    }
    assert found.facts == {}
    no_query = "Scene 'room' has no query points with true occupancy, and no closed true mesh."
    for truth in (square(), Points([[0, 0, 0]]), Mesh(CUBE, CUBE_FACES[1:])):
        refused = measure(cube(), scene(truth), section("accuracy", "iou"))
        assert refused.unmeasured == {"iou": no_query}
        assert set(refused.values) == {"accuracy"}
        assert refused.facts["inside"] == "winding-number"


def test_the_cleaned_mesh_is_the_one_whose_inside_is_asked():
    mesh = joined(cube(), cube(0.5, 3))
    occupancy = Points([[0.5, 0.5, 0.5], [3.2, 3.2, 3.2]], value=[1, 0], kind="occupancy")
    chosen = section("iou", cleaning={"component": "area"})
    assert measure(mesh, scene(cube(), occupancy=occupancy), chosen).values["iou"] == 1
    assert measure(mesh, scene(cube(), occupancy=occupancy), section("iou")).values["iou"] == 0.5
