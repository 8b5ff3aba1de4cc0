import hashlib
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nfbench.harness import scoring, surface_scores
from nfbench.harness.column import AtRadius, Distance, MeshAccuracy, MeshCompletion
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.image_scores import measure, truth_image
from nfbench.harness.mesh import sample
from nfbench.harness.meshfile import read_mesh, write_ply
from nfbench.harness.png import write_png
from nfbench.harness.prediction import MESH, predict, rendered, sections, unsupported
from nfbench.harness.probe import RADIUS, ball
from nfbench.harness.protocol import protocol
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.harness.scoring import Scores, score
from nfbench.harness.surface_scores import SurfaceScores

IMAGES = protocol("nerf-synthetic@1")
SURFACE = protocol("onet-shapenet@1")
SURFACE = SURFACE.model_copy(
    update={"surface": SURFACE.surface.model_copy(update={"resolution": 48, "samples": 20_000})}
)


class Truth:
    """A field that knows the answer, but for `shift` in every colour and `grow` in the radius."""

    kind = "sdf"

    def __init__(self, scene: Scene, shift=0.0, grow=0.0):
        self.scene, self.shift, self.grow = scene, shift, grow

    def render(self, cameras):
        views = self.scene.hidden
        same = [i for i in range(len(views)) if np.array_equal(views.cameras.c2w[i], cameras.c2w[0])]
        image = truth_image(views, same[0], (1.0, 1.0, 1.0))[None] / 255
        return np.clip(image + self.shift, 0, 1).astype(np.float32)

    def value(self, xyz):
        return np.linalg.norm(xyz, axis=1) - RADIUS - self.grow


@pytest.fixture
def scene(tmp_path):
    return ball(tmp_path / "ball")


def predicted(field, scene, chosen, folder):
    predict(field, scene, chosen, folder)
    return score(folder, scene, chosen)


def test_the_truth_itself_scores_perfectly(scene, tmp_path):
    found = predicted(Truth(scene), scene, IMAGES, tmp_path / "p")
    assert set(found.items["psnr"]) == set(scene.hidden.names)
    assert all(value == np.inf for value in found.items["psnr"].values())
    assert np.allclose(list(found.items["ssim"].values()), 1)
    assert found.missing == [] and found.extra == []


def test_a_known_error_gives_its_decibels(scene, tmp_path):
    name = scene.hidden.names[0]
    folder = tmp_path / "p"
    predict(Truth(scene), scene, IMAGES, folder)
    truth = truth_image(scene.hidden, 0, (1.0, 1.0, 1.0))
    write_png(folder / f"{name}.png", np.where(truth > 127, truth - 10, truth + 10).astype(np.uint8))
    assert score(folder, scene, IMAGES).items["psnr"][name] == pytest.approx(20 * np.log10(255 / 10), abs=1e-9)


def test_predictions_are_rounded_not_truncated(scene, tmp_path):
    predict(Truth(scene, shift=0.4 / 255), scene, IMAGES, tmp_path / "p")
    found = score(tmp_path / "p", scene, IMAGES)
    assert all(value == np.inf for value in found.items["psnr"].values()), "0.4 of a level rounds back to the truth"


def test_the_background_is_the_protocols(scene, tmp_path):
    predict(Truth(scene), scene, IMAGES, tmp_path / "p")
    found = score(tmp_path / "p", scene, protocol("nerf-synthetic-black@1"))
    assert max(found.items["psnr"].values()) < 20


def test_a_surface_scores_as_its_geometry_says(scene, tmp_path):
    found = predicted(Truth(scene, grow=0.02), scene, SURFACE, tmp_path / "p")
    values = {column: items[MESH] for column, items in found.items.items()}
    assert values["chamfer_l1_mean"] == pytest.approx(0.02, abs=4e-3), "4,000 true points: a floor of a few thousandths"
    assert values["completeness"] == pytest.approx(0.02, abs=2e-3)
    assert values["iou"] == pytest.approx((RADIUS / (RADIUS + 0.02)) ** 3, abs=0.01)
    assert values["normal_consistency"] > 0.99
    assert values["fscore@r0.01"] == 0


def test_a_mesh_as_truth_is_sampled(scene, tmp_path):
    predict(Truth(scene), scene, SURFACE, tmp_path / "p")
    made = replace(scene, surface=read_mesh(tmp_path / "p" / MESH))
    again = score(tmp_path / "p", made, SURFACE).items["chamfer_l1_mean"][MESH]
    floor = score(tmp_path / "p", replace(scene, surface=sample(made.surface, 20_000, 5)), SURFACE)
    assert again == pytest.approx(floor.items["chamfer_l1_mean"][MESH], rel=0.1), "the sampling floor, not zero"


def square(height):
    corners = np.array([[0, 0, height], [1, 0, height], [1, 1, height], [0, 1, height]], float)
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]]))


DISTANCE = 0.125


@pytest.fixture
def squares(tmp_path):
    """A folder with a unit square, and a scene whose truth is another in parallel."""
    (tmp_path / "squares").mkdir()
    write_ply(tmp_path / "squares" / MESH, square(DISTANCE))
    above = Points(np.array([[0.5, 0.5, 0.1]]), value=np.ones(1), kind="occupancy")
    box = np.array([[0, 0, -1], [1, 1, 1]])
    return tmp_path / "squares", Scene("squares", Given(), box, surface=square(0.0), occupancy=above)


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("onet-shapenet@1", "chamfer_l1_mean", DISTANCE),
        ("convonet@1", "chamfer_l1_mean", DISTANCE),
        ("dvr@1", "completeness", DISTANCE),
        ("deepsdf@1", "chamfer_sq_sum", 2 * DISTANCE**2),
        ("deepsdf@1", "mesh_accuracy", DISTANCE),
        ("imnet@1", "chamfer_sq_sum", 2 * DISTANCE**2),
        ("ldif@1", "chamfer_sq_sum", 2 * DISTANCE**2),
        ("atlasnet@1", "chamfer_sq_sum", 2 * DISTANCE**2),
        ("pytorch3d@1", "chamfer_sq_sum", 2 * DISTANCE**2),
        ("points2surf@1", "chamfer_points_sum", 2 * 10_000 * DISTANCE),
        ("points2surf@1", "hausdorff", DISTANCE),
    ],
)
def test_parallel_squares_have_each_protocols_value(squares, name, column, value):
    folder, scene = squares
    chosen = protocol(name)
    found = score(folder, scene, chosen)
    # The mean square of the distance to the nearest of N samples per unit area is 1 / (pi N): the sampling floor.
    floor = 1 / (np.pi * chosen.surface.samples * DISTANCE**2)
    assert value < found.items[column][MESH] < value * (1 + (30 if column == "hausdorff" else 2) * floor)
    for at, item in found.items.items():
        if at.startswith("fscore"):
            assert item[MESH] == 0, "all radii are below the distance"


def test_the_original_frame_is_that_of_the_dataset(squares):
    folder, scene = squares
    turn = Rotation.random(rng=np.random.default_rng(0)).as_matrix()
    frame = np.eye(4)
    frame[:3, :3], frame[:3, 3] = 3 * turn, [5, -2, 1]
    moved = replace(scene, frame=frame)
    for name, factor in (("deepsdf@1", 9), ("pytorch3d@1", 1)):
        before, after = (score(folder, s, protocol(name)).items["chamfer_sq_sum"][MESH] for s in (scene, moved))
        assert after == pytest.approx(factor * before, rel=1e-5)
    cosines = changed("pytorch3d@1", frame="original")
    assert score(folder, moved, cosines).items["normal_cosine_loss"][MESH] == pytest.approx(0, abs=1e-6)
    frame[0] *= 1.01
    with pytest.raises(DataCorrupt, match="no similarity"):
        score(folder, replace(scene, frame=frame), protocol("deepsdf@1"))


def changed(name, **update):
    chosen = protocol(name)
    return chosen.model_copy(update={"surface": chosen.surface.model_copy(update=update)})


def test_a_true_cloud_is_thinned_only_where_the_protocol_says(squares):
    folder, scene = squares
    cloud = replace(scene, surface=sample(square(0.0), 50_000, 3))
    for count, sides in ((10_000, 20_000), (None, 60_000), (60_000, 60_000), (5000, 15_000)):
        found = score(folder, cloud, changed("points2surf@1", truth_samples=count))
        assert found.items["chamfer_points_sum"][MESH] == pytest.approx(sides * DISTANCE, rel=0.01)
    found = score(folder, scene, changed("points2surf@1", truth_samples=5000))
    assert found.items["chamfer_points_sum"][MESH] == pytest.approx(15_000 * DISTANCE, rel=0.01)
    bare = replace(scene, surface=Points(cloud.surface.xyz))
    assert score(folder, bare, protocol("points2surf@1")).items["hausdorff"][MESH] > DISTANCE


def test_columns_have_their_factor_and_their_choices(squares):
    folder, scene = squares
    write_ply(folder / MESH, Mesh(np.array([[0, 0, 0], [1e-9, 0, 0], [0, 1e-9, 0]]), np.array([[0, 1, 2]])))
    truth = replace(scene, surface=Points(np.array([[0, 0, DISTANCE]])))
    columns = {
        "scaled": Distance(metric="chamfer_l1_sum", factor=1000),
        "open": AtRadius(metric="fscore", radius=DISTANCE, factor=100),
        "strict": AtRadius(metric="fscore", radius=DISTANCE, strict=True),
        "near": MeshCompletion(metric="mesh_completion", radius=DISTANCE),
        "far": MeshCompletion(metric="mesh_completion"),
        "held": MeshAccuracy(metric="mesh_accuracy", factor=2),
    }
    found = score(folder, truth, changed("pytorch3d@1", columns=columns))
    values = {column: items[MESH] for column, items in found.items.items()}
    expected = {"scaled": 2000 * DISTANCE, "open": 100, "strict": 0, "near": 1, "far": 0, "held": 2 * DISTANCE}
    assert values == pytest.approx(expected)


def test_a_missing_prediction_is_refused_and_named(scene, tmp_path):
    folder = tmp_path / "p"
    predict(Truth(scene), scene, IMAGES, folder)
    (folder / "v_1.png").rename(folder / "view_1.png")
    with pytest.raises(DataMissing) as caught:
        score(folder, scene, IMAGES)
    assert "1 of 3" in caught.value.message and "v_1.png" in caught.value.message
    assert "view_1.png" in caught.value.message, "what lies there under another name is told"
    assert "--partial" in caught.value.hint
    part = score(folder, scene, IMAGES, partial=True)
    assert part.missing == ["v_1"] and set(part.items["psnr"]) == {"v_0", "v_2"}
    assert part.extra == ["view_1.png"]


def test_the_same_predictions_have_the_same_hash(scene, tmp_path):
    first = predicted(Truth(scene), scene, IMAGES, tmp_path / "p")
    assert score(tmp_path / "p", scene, IMAGES).hashes == first.hashes
    other = predicted(Truth(scene, shift=0.1), scene, IMAGES, tmp_path / "q")
    assert other.hashes["truth"] == first.hashes["truth"]
    assert other.hashes["predictions"] != first.hashes["predictions"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((24, 25, 3), np.uint8), "25x24 pixels"),
        (np.zeros((24, 24, 4), np.uint8), "transparent"),
    ],
)
def test_a_prediction_of_the_wrong_kind_is_named(scene, tmp_path, image, message):
    folder = tmp_path / "p"
    predict(Truth(scene), scene, IMAGES, folder)
    write_png(folder / "v_2.png", image)
    with pytest.raises(DataCorrupt, match=message) as caught:
        score(folder, scene, IMAGES)
    assert "v_2.png" in caught.value.message and caught.value.hint


def test_an_opaque_alpha_channel_does_no_harm(scene, tmp_path):
    folder = tmp_path / "p"
    predict(Truth(scene), scene, IMAGES, folder)
    truth = truth_image(scene.hidden, 0, (1.0, 1.0, 1.0))
    write_png(folder / "v_0.png", np.dstack([truth, np.full(truth.shape[:2], 255, np.uint8)]))
    assert score(folder, scene, IMAGES).items["psnr"]["v_0"] == np.inf


def test_an_empty_surface_is_named(scene, tmp_path):
    (tmp_path / "p").mkdir()
    write_ply(tmp_path / "p" / MESH, Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64)))
    with pytest.raises(DataCorrupt, match=r"mesh\.ply"):
        score(tmp_path / "p", scene, SURFACE)
    found = score(tmp_path / "p", scene, SURFACE, partial=True)
    assert found.missing == [] and list(found.failed) == found.lost == [MESH]
    assert "no faces" in found.failed[MESH]


def test_a_protocol_that_measures_nothing_here(scene, tmp_path):
    (tmp_path / "p").mkdir()
    with pytest.raises(Unsupported, match="measures nothing"):
        score(tmp_path / "p", replace(scene, hidden=None), IMAGES)
    with pytest.raises(DataMissing, match="no folder"):
        score(tmp_path / "nowhere", scene, IMAGES)


class Wrong:
    def __init__(self, image):
        self.image = image

    def render(self, cameras):
        return self.image


GREY = np.full((1, 24, 24, 3), 0.5, np.float32)
NAN = GREY.copy()
NAN[0, 3, 4, 1] = np.nan


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (NAN, "NaN or infinity in 1 pixels"),
        (GREY[0], "shape"),
        (GREY[:, :, :20], "shape"),
        ((GREY * 255).astype(np.uint8), "uint8"),
        (GREY * 255, r"spans \[1"),
    ],
)
def test_a_wrong_render_names_the_view(scene, image, message):
    with pytest.raises(ContractBroken, match=message) as caught:
        rendered(Wrong(image), scene.hidden, 1)
    assert "v_1" in caught.value.message and caught.value.hint


def test_sections_follow_protocol_truth_and_field(scene):
    both = protocol("procedural@1")
    assert sections(scene, both) == ["image", "surface"]
    assert sections(replace(scene, surface=None), both) == ["image"]
    assert sections(scene, SURFACE) == ["surface"]
    assert unsupported(Wrong(GREY), ["image", "surface"]) == ["surface"]
    assert unsupported(Truth(scene), ["image", "surface"]) == []


BOTH = protocol("procedural@1")
PSNR = IMAGES.model_copy(
    update={"image": IMAGES.image.model_copy(update={"columns": {"psnr": IMAGES.image.columns["psnr"]}})}
)


def truths(scene, folder, names):
    """What predictions must be to be perfect."""
    folder.mkdir(exist_ok=True)
    for name in names:
        index = scene.hidden.names.index(name)
        write_png(folder / f"{name}.png", truth_image(scene.hidden, index, (1.0, 1.0, 1.0)))


def test_summary_is_the_mean_and_the_penalised_mean_of_each_column():
    values = {"psnr": {"a": 10.0, "b": 20.0}, "ssim": {"a": 0.5, "b": 1.0}, "iou": {MESH: 0.5}, "lpips_vgg": {}}
    found = Scores(values, expected=["a", "b", "c", "d", MESH], missing=["d"], failed={"c": "cut short"})
    assert found.lost == ["c", "d"]
    summary = found.summary(BOTH)
    assert list(summary) == ["psnr", "ssim", "iou"]
    psnr, iou = summary["psnr"], summary["iou"]
    assert (psnr.mean, psnr.count, psnr.lost, psnr.penalised) == (15, 2, 2, 7.5)
    assert (psnr.unit, psnr.better) == ("dB", "higher")
    assert (iou.mean, iou.count, iou.lost, iou.penalised) == (0.5, 1, 0, 0.5)
    found.items["psnr"] = {"a": 10.0, "b": 20.0}
    found.failed[MESH] = "no faces"
    assert (found.summary(BOTH)["psnr"].lost, found.summary(BOTH)["iou"].lost) == (2, 1)
    unpunished = found.summary(BOTH.model_copy(update={"failure": {}}))["psnr"]
    assert (unpunished.mean, unpunished.lost, unpunished.penalised) == (15, 2, None)


@pytest.mark.parametrize(
    ("views", "words"),
    [
        (1, "1 of 1 predictions missing: v_0.png."),
        (5, "5 of 5 predictions missing: v_0.png, v_1.png, v_2.png, v_3.png, v_4.png."),
        (6, "6 of 6 predictions missing: v_0.png, v_1.png, v_2.png, v_3.png, v_4.png and 1 more."),
        (11, "11 of 11 predictions missing: v_0.png, v_1.png, v_2.png, v_3.png, v_4.png and 6 more."),
    ],
)
def test_a_long_list_of_missing_predictions_is_cut(tmp_path, views, words):
    made = ball(tmp_path / "ball", hidden=views)
    folder = tmp_path / "p"
    folder.mkdir()
    with pytest.raises(DataMissing) as caught:
        score(folder, made, PSNR)
    assert caught.value.message == f"{folder}: {words}"
    for name in "fedcba":
        (folder / f"{name}.png").touch()
    with pytest.raises(DataMissing) as caught:
        score(folder, made, PSNR)
    assert caught.value.message == f"{folder}: {words} There, but not asked for: a.png, b.png, c.png, d.png, e.png."


def test_a_missing_mesh_is_named_as_its_file(scene, tmp_path):
    (tmp_path / "p").mkdir()
    with pytest.raises(DataMissing, match=r"1 of 1 predictions missing: mesh\.ply\.\n"):
        score(tmp_path / "p", scene, SURFACE)


def test_what_else_lies_in_the_folder_is_told(scene, tmp_path):
    folder = tmp_path / "p"
    truths(scene, folder, scene.hidden.names)
    for name in (".hidden.png", "z.png", "notes.txt", "mesh.obj", MESH):
        (folder / name).touch()
    (folder / "folder.png").mkdir()
    found = score(folder, scene, PSNR)
    assert found.extra == ["mesh.obj", MESH, "notes.txt", "z.png"]
    assert found.expected == ["v_0", "v_1", "v_2"]
    assert list(scoring.items_in(folder)) == [MESH, "v_0", "v_1", "v_2", "z"]


def test_sections_are_chosen(scene, tmp_path):
    found = score(tmp_path / "nowhere", scene, BOTH, partial=True)
    assert found.expected == found.missing == found.lost == ["v_0", "v_1", "v_2", MESH]
    assert list(found.items) == list(BOTH.columns())
    found = score(tmp_path / "nowhere", scene, BOTH, only=["image"], partial=True)
    assert found.expected == ["v_0", "v_1", "v_2"]
    assert list(found.items) == list(BOTH.image.columns)
    found = score(tmp_path / "nowhere", scene, BOTH, only=["surface"], partial=True)
    assert (found.expected, list(found.items)) == ([MESH], list(BOTH.surface.columns))


def test_files_go_before_the_folder_and_progress_is_told(scene, tmp_path):
    truths(scene, tmp_path / "p", scene.hidden.names)
    files = {name: tmp_path / "p" / f"{name}.png" for name in ("v_0", "v_2", "v_1")} | {"other": tmp_path / "other"}
    told = []
    found = score(tmp_path / "nowhere", scene, PSNR, files=files, progress=told.append)
    assert told == [1 / 3, 2 / 3, 1]
    assert (found.missing, found.extra) == ([], ["other"])
    assert found.items == {"psnr": dict.fromkeys(("v_0", "v_1", "v_2"), np.inf)}
    with pytest.raises(DataMissing, match="1 of 3"):
        score(tmp_path / "p", scene, PSNR, files={"v_0": files["v_0"], "v_1": files["v_1"]})


def test_hashes_are_of_the_names_and_what_was_compared(scene, tmp_path):
    folder = tmp_path / "p"
    truths(scene, folder, ["v_0", "v_2"])
    found = score(folder, scene, PSNR, partial=True)
    compared = measure({name: folder / f"{name}.png" for name in ("v_0", "v_2")}, scene.hidden, PSNR.image)
    prediction, truth = hashlib.sha256(), hashlib.sha256()
    for one in compared:
        prediction.update(one.name.encode() + one.prediction)
        truth.update(one.name.encode() + one.truth)
    assert found.hashes == {"predictions": prediction.hexdigest(), "truth": truth.hexdigest()}


def test_hashes_of_a_surface_are_of_its_file_and_of_the_true_points(squares):
    folder, scene = squares
    scene = replace(scene, surface=Points(np.array([[0, 0, 0], [1, 1, 0]], np.float32)))
    found = score(folder, scene, changed("pytorch3d@1", columns={"d": Distance(metric="chamfer_l1_sum")}))
    assert found.hashes["predictions"] == hashlib.sha256((folder / MESH).read_bytes()).hexdigest()
    truth = hashlib.sha256(scene.surface.xyz.tobytes()).digest()
    assert found.hashes["truth"] == hashlib.sha256(truth).hexdigest()
    assert found.facts["faces"] == 2


def test_failed_predictions_are_raised_or_told(scene, tmp_path):
    folder = tmp_path / "p"
    truths(scene, folder, scene.hidden.names)
    write_png(folder / "v_1.png", np.zeros((24, 25, 3), np.uint8))
    (folder / MESH).write_text("ply cut short")
    for only in (["image"], ["surface"]):
        with pytest.raises(DataCorrupt, match=r"v_1\.png|mesh\.ply"):
            score(folder, scene, BOTH, only=only)
    found = score(folder, scene, BOTH, partial=True)
    assert list(found.failed) == ["v_1", MESH] == found.lost
    assert "25x24" in found.failed["v_1"] and "mesh.ply" in found.failed[MESH]
    assert list(found.items["psnr"]) == ["v_0", "v_2"]
    assert found.items["iou"] == {}


def test_a_surface_without_points_is_named(scene, tmp_path):
    (tmp_path / "p").mkdir()
    header = (
        "ply\nformat ascii 1.0\nelement vertex {}\nproperty float x\nproperty float y\nproperty float z\nend_header\n"
    )
    (tmp_path / "p" / MESH).write_text(header.format(0))
    with pytest.raises(DataCorrupt, match=r"mesh\.ply"):
        score(tmp_path / "p", scene, SURFACE)
    (tmp_path / "p" / MESH).write_text(header.format(1) + "0 0 0.3\n")
    found = score(tmp_path / "p", scene, SURFACE)
    assert found.items["completeness"][MESH] > 0.3


def test_what_the_surface_metrics_refuse_names_the_file(squares, monkeypatch):
    folder, scene = squares
    chosen = protocol("deepsdf@1")

    def nothing_left(*given):
        raise ContractBroken("Nothing is left.", "Look at it.")

    monkeypatch.setattr(surface_scores, "measure", nothing_left)
    with pytest.raises(ContractBroken, match=r"mesh\.ply: Nothing is left") as caught:
        score(folder, scene, chosen)
    assert caught.value.hint == "Look at it."
    found = score(folder, scene, chosen, partial=True)
    assert found.failed == {MESH: "Nothing is left."}
    assert all(items == {} for items in found.items.values())


def test_what_the_surface_metrics_say_is_kept(squares, monkeypatch):
    folder, scene = squares
    chosen = protocol("deepsdf@1")
    given = SurfaceScores({"mesh_accuracy": 0.25}, {"chamfer_sq_sum": "no truth"}, {"faces": 7}, b"truth")
    monkeypatch.setattr(surface_scores, "measure", lambda *given_: given)
    found = score(folder, scene, chosen)
    assert found.items["mesh_accuracy"] == {MESH: 0.25}
    assert (found.unmeasured, found.facts) == ({"chamfer_sq_sum": "no truth"}, {"faces": 7})
    given.values["mesh_accuracy"] = np.nan
    with pytest.raises(NfbenchError, match=r"mesh\.ply: mesh_accuracy came out as NaN"):
        score(folder, scene, chosen)


def test_a_missing_image_has_its_ending_whatever_its_name(scene, tmp_path):
    (tmp_path / "p").mkdir()
    names = tuple(f"{letter}_{i}" for i, letter in zip(range(len(scene.hidden)), "azmbycxd" * 9, strict=False))
    renamed = replace(scene, hidden=replace(scene.hidden, names=names))
    with pytest.raises(DataMissing) as caught:
        score(tmp_path / "p", renamed, IMAGES)
    assert all(f"{name}.png" in caught.value.message for name in names[:5])
