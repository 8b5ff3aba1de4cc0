from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from nfbench.harness import mesh as meshes
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.gap_reported import read_reported
from nfbench.harness.gap_text import explain
from nfbench.harness.inside import inside as inside_test
from nfbench.harness.meshfile import write_ply
from nfbench.harness.prediction import MESH
from nfbench.harness.protocol import protocol
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.harness.scoring import items_in, score

BOX = np.array([[-2.0] * 3, [2.0] * 3])
SAMPLES = 3000


def sphere(radius, stretch=(1.0, 1.0, 1.0), seed=0):
    """A closed mesh of a stretched sphere, from the hull of random directions."""
    from scipy.spatial import ConvexHull

    directions = np.random.default_rng(seed).normal(size=(600, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    faces = ConvexHull(directions).simplices
    corners = directions[faces]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    flipped = (normal * corners.mean(1)).sum(1) < 0
    faces[flipped] = faces[flipped][:, ::-1]
    return Mesh(directions * radius * np.array(stretch), faces)


TRUTH = sphere(0.4, (1.0, 0.8, 0.6))
WRONG = sphere(0.43, (1.0, 0.8, 0.65), seed=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("nfbench.harness.gap_surface.COUNTS", (500, 3000, 8000))
    monkeypatch.setattr("nfbench.harness.gap_volume.POINTS", 4000)
    monkeypatch.setattr("nfbench.harness.gap_volume._GRIDS", (20, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    target = tmp_path_factory.mktemp("predictions")
    write_ply(target / MESH, WRONG)
    return target


FRAME = np.diag([3.0, 3.0, 3.0, 1.0])
SCENE = Scene("egg", Given(), BOX, surface=TRUTH, frame=FRAME)


def chosen(name, **update):
    found = protocol(name)
    section = found.surface.model_copy(update={"samples": SAMPLES, "truth_samples": SAMPLES, **update})
    return found.model_copy(update={"surface": section})


ONET = chosen("onet-shapenet@1")


def best(folder, text, scene=SCENE, under=ONET, seeds=3):
    (found,) = explain(read_reported(text), [(scene, items_in(folder))], under, seeds=seeds)
    return found


def distances(count, seed=77):
    """Distances both ways, from another drawing than the program's."""
    ours, theirs = meshes.sample(WRONG, count, seed).xyz, meshes.sample(TRUTH, count, seed + 1).xyz
    return cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]


def chamfer(count, squared, factor=1.0, length=1.0):
    return factor * sum(np.mean((length * way) ** (2 if squared else 1)) for way in distances(count))


def test_the_protocols_own_numbers_have_the_protocols_own_convention(folder):
    scored = score(folder, SCENE, ONET)
    names = ("chamfer_l1_mean", "accuracy", "completeness", "normal_consistency", "fscore@r0.01")
    text = ",".join(f"{name}={scored.items[name][MESH]!r}" for name in names)
    found = best(folder, text)
    assert found.rows[0].own and found.rows[0].distance == 0 and found.rows[0].changes == ()
    assert [c.value for c in found.rows[0].conventions.values()] == [scored.items[name][MESH] for name in names]
    own = found.rows[0].conventions["chamfer_l1_mean"]
    assert 0 < own.spread < 0.02 * own.value, "over three drawings"
    assert dict(own.choices) == {
        "points": "3,000", "frame": "scene", "distance": "unsquared", "ways": "half the sum", "factor": "1",
        "mean": "over shapes",
    }  # fmt: skip
    expected = chamfer_floor()
    assert own.floor == pytest.approx(expected, rel=0.1)


def chamfer_floor():
    first, second = meshes.sample(TRUTH, SAMPLES, 5).xyz, meshes.sample(TRUTH, SAMPLES, 6).xyz
    return (cKDTree(first).query(second)[0].mean() + cKDTree(second).query(first)[0].mean()) / 2


CHAMFERS = [
    (lambda: chamfer(3000, False), {"ways: sum"}),
    (lambda: chamfer(3000, True, 1000), {"distance: squared", "ways: sum", "factor: 1000"}),
    (lambda: chamfer(500, False) / 2, {"points: 500"}),
    (lambda: chamfer(500, True, 1000), {"points: 500", "distance: squared", "ways: sum", "factor: 1000"}),
    (lambda: chamfer(3000, False, 10) / 2, {"factor: 10"}),
    (lambda: chamfer(3000, False, length=3) / 2, {"frame: original"}),
    (lambda: chamfer(3000, False, length=1 / 0.8) / 2, {"frame: longest edge 1"}),
    (lambda: distances(3000)[0].mean(), {"ways: prediction to truth"}),
    (lambda: distances(3000)[1].mean(), {"ways: truth to prediction"}),
    (lambda: sum(way.sum() for way in distances(3000)), {"distance: unsquared, summed over points", "ways: sum"}),
]


@pytest.mark.parametrize(
    ("value", "changes"), CHAMFERS, ids=lambda x: "; ".join(sorted(x)) if isinstance(x, set) else ""
)
def test_a_chamfer_distance_of_another_convention_is_recognised(folder, value, changes):
    found = best(folder, f"cd={float(value())!r}")
    assert found.explained and found.agreeing >= 1
    agreeing = [set(row.changes) for row in found.rows if row.distance < 1]
    assert changes in agreeing, "another drawing than the program's own: within the seeds or one scale"
    assert len(changes) <= min(len(each) for each in agreeing) + 1


def test_another_protocol_is_recognised_by_two_numbers(folder):
    under = chosen("atlasnet@1", samples=500, truth_samples=500)
    scored = score(folder, SCENE, under)
    cd, f = (scored.items[name][MESH] for name in ("chamfer_sq_sum", "fscore@r0.03162"))
    found = best(folder, f"cd={1000 * cd!r},f={100 * f!r}%")
    expected = {"points: 500", "cd distance: squared", "cd ways: sum", "cd factor: 1000", "f radius: 0.03162"}
    agreeing = [set(row.changes) for row in found.rows if row.distance < 1]
    assert expected in agreeing
    for row in found.rows:
        alike = [dict(convention.choices) for convention in row.conventions.values()]
        assert alike[0]["points"] == alike[1]["points"] and alike[0]["frame"] == alike[1]["frame"]
    own = best(folder, f"cd={cd!r},f={f!r}", under=under)
    assert own.rows[0].own and own.rows[0].distance == 0


@pytest.mark.parametrize(
    ("name", "column", "text"),
    [
        ("deepsdf@1", "mesh_accuracy", "mesh_accuracy"),
        ("deepsdf@1", "mesh_completion@r0.01", "mesh_completion"),
        ("deepsdf@1", "chamfer_sq_sum", "cd"),
        ("points2surf@1", "hausdorff", "hausdorff"),
        ("points2surf@1", "chamfer_points_sum", "chamfer_points_sum"),
        ("pytorch3d@1", "normal_cosine_loss", "normal_cosine_loss"),
        ("atlasnet@1", "precision@r0.03162", "precision"),
        ("atlasnet@1", "recall@r0.03162", "recall"),
    ],
)
def test_each_protocols_own_number_is_its_own(folder, name, column, text):
    under = chosen(name)
    value = score(folder, SCENE, under).items[column][MESH]
    (row, *_) = best(folder, f"{text}={value!r}", under=under).rows
    assert row.own and row.distance == 0 and row.changes == ()
    (convention,) = row.conventions.values()
    assert convention.value == value
    found = [
        c for c in best(folder, f"{text}={value!r}", under=under).conventions[text] if c.choices == convention.choices
    ]
    assert len(found) == 1, "what the protocol has is not listed once more"


def test_the_sign_of_normals_and_the_ways_are_told_apart(tmp_path):
    inside_out = Mesh(TRUTH.vertices, TRUTH.faces[:, ::-1])
    write_ply(tmp_path / MESH, inside_out)
    found = best(tmp_path, "nc=-0.9")
    values = {
        (dict(c.choices)["sign"], dict(c.choices)["form"]): c.value
        for c in found.conventions["nc"]
        if c.factor == 1 and dict(c.choices)["points"] == "8,000"
    }
    assert values["kept", "cosine"] == pytest.approx(-values["ignored", "cosine"], abs=0.02)
    assert values["ignored", "cosine"] > 0.9
    assert values["kept", "1 - cosine"] > 1.9


def test_conventions_are_what_they_are_called(folder):
    found = best(folder, "hd=1,acc=1,cd=1,comp=1", seeds=1)
    # one seed: the program's own drawing, 3,000 points with the seeds of the protocol
    ours, theirs = meshes.sample(WRONG, 3000, 0).xyz, meshes.sample(TRUTH, 3000, 1).xyz
    p, t = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    table = {
        name: {
            tuple(v for k, v in c.choices if k in ("distance", "ways")): c
            for c in found.conventions[name]
            if dict(c.choices)["points"] == "3,000" and dict(c.choices)["frame"] == "original" and c.factor == 10
        }
        for name in found.conventions
    }
    expected = {
        "cd": {
            ("unsquared", "half the sum"): 30 * (p.mean() + t.mean()) / 2,
            ("unsquared", "sum"): 30 * (p.mean() + t.mean()),
            ("unsquared", "greater of the two"): 30 * max(p.mean(), t.mean()),
            ("unsquared", "prediction to truth"): 30 * p.mean(),
            ("squared", "truth to prediction"): 90 * (t**2).mean(),
            ("squared", "half the sum"): 90 * ((p**2).mean() + (t**2).mean()) / 2,
            ("root of the mean square", "sum"): 30 * ((p**2).mean() ** 0.5 + (t**2).mean() ** 0.5),
            ("unsquared, summed over points", "sum"): 30 * (p.sum() + t.sum()),
        },
        "acc": {
            ("unsquared", "prediction to truth"): 30 * p.mean(),
            ("squared", "truth to prediction"): 90 * (t**2).mean(),
        },
        "comp": {
            ("unsquared", "truth to prediction"): 30 * t.mean(),
            ("squared", "prediction to truth"): 90 * (p**2).mean(),
        },
        "hd": {
            ("unsquared", "greater of the two"): 30 * max(p.max(), t.max()),
            ("squared", "prediction to truth"): 90 * p.max() ** 2,
            ("95 % of points", "sum"): 30 * (np.quantile(p, 0.95) + np.quantile(t, 0.95)),
        },
    }  # fmt: skip
    for name, values in expected.items():
        for choices, value in values.items():
            assert table[name][choices].value == pytest.approx(value, rel=1e-5), (name, choices)
            assert table[name][choices].spread == 0, "one seed has none"
    assert set(table["cd"]) > set(expected["cd"])


def test_frames_are_normalised_by_the_truths_box(folder):
    found = best(folder, "cd=1", seeds=1)
    values = {
        dict(c.choices)["frame"]: c.value
        for c in found.conventions["cd"]
        if dict(c.choices) | {"frame": ""} == dict(found.conventions["cd"][0].choices) | {"frame": ""}
    }
    low, high = TRUTH.vertices.min(0), TRUTH.vertices.max(0)
    edge, diagonal = (high - low).max(), np.linalg.norm(high - low)
    radius = np.linalg.norm(TRUTH.vertices - (low + high) / 2, axis=1).max()
    lengths = {
        "scene": 1, "original": 3, "longest edge 1": 1 / edge, "longest edge 2": 2 / edge, "diagonal 1": 1 / diagonal,
        "sphere of radius 1": 1 / radius,
    }  # fmt: skip
    assert values == pytest.approx({name: length * values["scene"] for name, length in lengths.items()}, rel=1e-5)
    same = best(folder, "cd=1", scene=replace(SCENE, frame=np.eye(4)), seeds=1)
    assert "original" not in {dict(c.choices)["frame"] for c in same.conventions["cd"]}, "one length, one frame"
    deepsdf = best(folder, "cd=1", scene=replace(SCENE, frame=np.eye(4)), under=chosen("deepsdf@1"), seeds=1)
    frames = {dict(c.choices)["frame"] for c in deepsdf.conventions["cd"]}
    assert "original" in frames and "scene" not in frames, "the protocol's own name goes first"


def test_a_cloud_is_thinned_or_whole_and_its_floor_is_of_its_halves(folder):
    cloud = meshes.sample(TRUTH, 4000, 9)
    scene = replace(SCENE, surface=cloud)
    found = best(folder, "cd=.03", scene=scene, under=protocol("onet-shapenet@1"))
    names = {dict(c.choices)["points"] for c in found.conventions["cd"]}
    against = "against the whole cloud"
    assert names == {
        "500", "3,000", f"500 {against}", f"3,000 {against}", f"8,000 {against}", f"100,000 {against}",
    }  # fmt: skip
    own = next(c for c in found.conventions["cd"] if c.own)
    assert dict(own.choices)["points"] == f"100,000 {against}"
    floors = {
        dict(c.choices)["points"]: c.floor
        for c in found.conventions["cd"]
        if dict(c.choices).items()
        >= {"distance": "unsquared", "ways": "half the sum", "frame": "scene", "factor": "1"}.items()
    }
    first, second = meshes.sample(TRUTH, 2000, 5).xyz, meshes.sample(TRUTH, 2000, 6).xyz
    expected = (cKDTree(first).query(second)[0].mean() + cKDTree(second).query(first)[0].mean()) / 2
    assert floors["3,000"] == pytest.approx(expected, rel=0.1)
    assert floors["500"] == pytest.approx(2 * expected, rel=0.15)
    bare = replace(scene, surface=Points(cloud.xyz))
    with pytest.raises(Unsupported, match="nc cannot be measured"):
        best(folder, "nc=.9", scene=bare)


def test_a_truth_of_its_own_count_is_drawn_so(folder):
    under = chosen("pytorch3d@1", samples=700, truth_samples=900)
    value = score(folder, SCENE, under).items["chamfer_sq_sum"][MESH]
    found = best(folder, f"cd={value!r}", under=under)
    assert found.rows[0].own and dict(found.rows[0].conventions["cd"].choices)["points"] == "700 against 900"
    assert found.rows[0].conventions["cd"].floor is not None


def volume(mesh):
    corners = mesh.vertices[mesh.faces]
    return abs(np.linalg.det(corners).sum()) / 6


def test_iou_by_stored_and_by_drawn_points(folder, tmp_path):
    query = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, 3)).astype(np.float32)
    inside = inside_test(TRUTH, query)
    scene = replace(SCENE, occupancy=Points(query, value=inside.astype(np.float32), kind="occupancy"))
    predicted = inside_test(WRONG, query)
    both, either = (inside & predicted).sum(), (inside | predicted).sum()
    found = best(folder, f"iou={float(both / either)!r}", scene=scene)
    assert found.rows[0].own and found.rows[0].distance == 0
    assert found.rows[0].conventions["iou"].spread == 0 and found.rows[0].conventions["iou"].floor is None
    dice = 2 * both / (inside.sum() + predicted.sum())
    (row, *_) = best(folder, f"iou={100 * float(dice)!r}", scene=scene).rows
    assert row.changes == ("form: Dice", "factor: 100")
    (row, *_) = best(folder, f"cd=.02,iou={float(both / either)!r}", scene=scene).rows
    assert row.conventions["iou"].own
    # the truth lies in the prediction, but for the facets
    ratio = volume(TRUTH) / volume(WRONG)
    drawn = best(folder, "iou=.8", scene=scene)
    for convention in drawn.conventions["iou"]:
        choices = dict(convention.choices)
        if choices["form"] == "intersection over union" and choices["factor"] == "1":
            assert convention.value == pytest.approx(ratio, abs=0.03), choices
    assert all(c.spread == 0 for c in drawn.conventions["iou"] if "grid" in dict(c.choices)["query points"])
    assert {dict(c.choices)["query points"] for c in drawn.conventions["iou"]} == {
        "stored with the truth", "4,000 drawn in a cube of 1 edges", "4,000 drawn in a cube of 1.1 edges",
        "4,000 drawn in a cube of 2 edges", "grid of 20^3 in a cube of 1 edge", "grid of 32^3 in a cube of 1 edge",
    }  # fmt: skip
    cloud = replace(scene, surface=meshes.sample(TRUTH, 100, 0))
    assert {dict(c.choices)["query points"] for c in best(folder, "iou=.8", scene=cloud).conventions["iou"]} == {
        "stored with the truth"
    }


def test_several_shapes_have_a_mean_and_a_median(folder, tmp_path):
    for name, shape in (("far", sphere(0.8)), ("near", TRUTH)):
        (tmp_path / name).mkdir()
        write_ply(tmp_path / name / MESH, shape)
    folders = [folder, tmp_path / "far", tmp_path / "near"]
    scenes = [(replace(SCENE, name=f"egg {i}"), items_in(each)) for i, each in enumerate(folders)]
    values = [
        score(each, scene, ONET).items["chamfer_l1_mean"][MESH]
        for (scene, _), each in zip(scenes, folders, strict=True)
    ]
    (found,) = explain(read_reported(f"cd={float(np.mean(values))!r}"), scenes, ONET)
    assert found.rows[0].own and found.rows[0].distance == 0
    (found,) = explain(read_reported(f"cd={float(np.median(values))!r}"), scenes, ONET)
    medians = [row for row in found.rows if row.changes == ("mean: median over shapes",)]
    assert len(medians) == 1 and medians[0].distance == 0


def test_what_only_the_protocols_own_row_has_is_told(folder):
    found = best(folder, "cd=.03", under=chosen("onet-shapenet@1"))
    assert len(found.left_out) == 1 and "level" in found.left_out[0]
    gridded = chosen("onet-shapenet@1", cutoff=0.5, within="observed", drawing="grid", columns={})
    found = best(folder, "cd=.03", under=gridded)
    assert "drawing by grid, counting what is observed alone, leaving out far points" in found.left_out[0]
    assert found.own is None


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(DataMissing, match=r"there is no mesh\.ply"):
        best(tmp_path, "cd=1")
    with pytest.raises(DataMissing, match="'egg' has no true surface"):
        best(folder, "cd=1", scene=replace(SCENE, surface=None))
    write_ply(tmp_path / MESH, Mesh(np.empty((0, 3)), np.empty((0, 3), np.int64)))
    with pytest.raises(Unsupported, match="no faces"):
        best(tmp_path, "cd=1")


def test_progress_ends_at_the_whole(folder):
    told = []
    explain(read_reported("cd=1"), [(SCENE, items_in(folder))], ONET, seeds=1, progress=lambda *step: told.append(step))
    assert told == [("egg", 1 / 3), ("egg", 2 / 3), ("egg", 1.0)]
