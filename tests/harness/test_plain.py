"""Truth given plainly: two folders of images, or two surfaces, and a protocol."""

import json
import unicodedata

import numpy as np
import pytest
import trimesh
from PIL import Image

from nfbench.harness import image, surface
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.mesh import sample
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.plain import images_in, is_plain, plain_predictions, plain_task
from nfbench.harness.png import read_png, write_png
from nfbench.harness.protocol import protocol
from nfbench.harness.record import find_records, read_record
from nfbench.harness.scene import Points

TEN_LEVELS = 20 * np.log10(255 / 10)


def noise(seed, shape=(20, 30, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def off_by_ten(picture):
    return np.where(picture > 127, picture - 10, picture + 10).astype(np.uint8)


@pytest.fixture
def pair(tmp_path):
    """Folders of predictions and of truth, three images each, ten levels apart everywhere."""
    truth, predictions = tmp_path / "truth", tmp_path / "predictions"
    truth.mkdir()
    predictions.mkdir()
    for index in range(3):
        write_png(truth / f"v{index}.png", noise(index))
        write_png(predictions / f"v{index}.png", off_by_ten(noise(index)))
    return predictions, truth


@pytest.fixture
def scored(nfbench):
    """The JSON of a score that succeeds."""

    def call(*arguments):
        code, out, err = nfbench("score", *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


def means(data):
    return {column: score["mean"] for column, score in data["scores"].items()}


def test_two_folders_have_the_values_of_the_python_functions(pair, scored):
    data = scored(*pair, "--protocol", "nsvf@1")
    assert data["task"] == "plain/truth" and data["protocol"] == "nsvf@1"
    assert data["coverage"] == 1 and data["missing"] == [] and data["warnings"] == []
    assert set(data["scores"]) | set(data["unmeasured"]) == set(protocol("nsvf@1").columns())
    predictions, truth = (np.stack([read_png(f / f"v{i}.png") for i in range(3)]) for f in pair)
    items = data["scores"]["psnr"]["items"]
    assert list(items) == ["v0", "v1", "v2"]
    assert list(items.values()) == image.psnr(predictions, truth).tolist() == pytest.approx([TEN_LEVELS] * 3)
    assert means(data)["psnr"] == pytest.approx(TEN_LEVELS, abs=1e-12)
    srn = scored(*pair, "--protocol", "srn@1")
    assert set(srn["scores"]) == {"psnr", "ssim"}
    expected = image.ssim(predictions, truth, variant="uniform7").tolist()
    assert list(srn["scores"]["ssim"]["items"].values()) == expected


def test_the_text_says_what_was_measured(pair, nfbench):
    code, out, err = nfbench("score", *pair, "--protocol", "srn@1")
    assert code == 0 and err == ""
    assert out.splitlines()[0] == "plain/truth under srn@1: 3 of 3 items measured"
    assert "28.1308 dB  (higher is better, 3 items)" in out
    assert "unit of the files" not in out, "images have no lengths"


@pytest.mark.parametrize("kinds", [("png", "jpg"), ("jpg", "jpeg"), ("JPG", "bmp"), ("webp", "tif")])
def test_images_of_any_kind_meet_by_their_names(tmp_path, scored, kinds):
    folders = tmp_path / "p", tmp_path / "t"
    for folder, kind, seed in zip(folders, kinds, (1, 2), strict=True):
        folder.mkdir()
        Image.fromarray(noise(seed)).save(folder / f"a.b.{kind}")
    pixels = [np.array(Image.open(f / f"a.b.{k}").convert("RGB")) for f, k in zip(folders, kinds, strict=True)]
    data = scored(*folders, "--protocol", "volsdf-dtu@1")
    assert data["scores"]["psnr"]["items"] == {"a.b": float(image.psnr(*pixels))}


@pytest.mark.parametrize(("chosen", "behind"), [("nerf-synthetic@1", 255), ("nerf-synthetic-black@1", 0)])
def test_true_images_with_alpha_lie_over_the_background_of_the_protocol(tmp_path, scored, chosen, behind):
    folders = tmp_path / "p", tmp_path / "t"
    for folder in folders:
        folder.mkdir()
    alpha = np.zeros((20, 30), np.uint8)
    alpha[:, :15] = 255
    write_png(folders[1] / "a.png", np.dstack([noise(0), alpha]))
    shown = noise(0)
    shown[:, 15:] = behind
    write_png(folders[0] / "a.png", shown)
    assert scored(*folders, "--protocol", chosen)["scores"]["psnr"]["mean"] == "Infinity"


def test_masked_psnr_of_given_views_by_hand(tmp_path, scored, nfbench):
    folders = tmp_path / "p", tmp_path / "t"
    for folder in folders:
        folder.mkdir()
    mask = np.zeros((20, 30), bool)
    mask[4:9, 5:15] = True
    truth = noise(0)
    write_png(folders[1] / "a.png", np.dstack([truth, mask.astype(np.uint8) * 255]))
    write_png(folders[0] / "a.png", np.where(mask[..., None], off_by_ten(truth), 77).astype(np.uint8))
    data = scored(*folders, "--protocol", "idr-dtu@1")
    assert data["scores"]["psnr_masked"]["items"] == {"a": pytest.approx(TEN_LEVELS)}
    write_png(folders[1] / "a.png", truth)
    code, _, err = nfbench("score", *folders, "--protocol", "idr-dtu@1")
    assert code == 2 and "a.png has neither mask nor alpha" in err


def test_one_of_another_size_is_named(pair, nfbench):
    write_png(pair[0] / "v1.png", noise(0, (20, 31, 3)))
    code, out, err = nfbench("score", *pair, "--protocol", "srn@1")
    assert code == 2 and out == "" and "v1.png is 31x20 pixels, the test view is 30x20" in err


def test_missing_extra_and_renamed_ones_are_named(pair, nfbench, scored):
    write_png(pair[0] / "extra.png", noise(0))
    code, _, err = nfbench("score", *pair, "--protocol", "srn@1")
    assert code == 0 and "not asked for and not scored: extra.png" in err
    (pair[0] / "extra.png").unlink()
    (pair[0] / "v2.png").rename(pair[0] / "v02.png")
    code, out, err = nfbench("score", *pair, "--protocol", "srn@1")
    assert code == 2 and out == ""
    assert "1 of 3 predictions missing: v2.png. There, but not asked for: v02.png." in err and "--partial" in err
    data = scored(*pair, "--protocol", "srn@1", "--partial")
    assert data["missing"] == ["v2"] and data["coverage"] == pytest.approx(2 / 3)
    assert data["scores"]["psnr"]["penalised"] == pytest.approx(TEN_LEVELS * 2 / 3)


@pytest.mark.parametrize("side", [0, 1])
def test_two_files_of_one_name_are_refused(pair, nfbench, side):
    Image.fromarray(noise(1)).save(pair[side] / "v1.jpg")
    code, _, err = nfbench("score", *pair, "--protocol", "srn@1")
    assert code == 2 and f"{pair[side]} holds v1.jpg, v1.png" in err and "Leave one" in err


def test_hidden_files_folders_and_notes_are_left_aside(pair, scored):
    for folder in pair:
        (folder / "sub").mkdir()
        write_png(folder / "sub" / "v9.png", noise(9))
        (folder / ".hidden.png").write_bytes(b"nothing")
        (folder / "notes.txt").write_text("by hand")
        np.save(folder / "v1.npy", noise(1))  # beside v1.png, which counts
    data = scored(*pair, "--protocol", "srn@1")
    assert list(data["scores"]["psnr"]["items"]) == ["v0", "v1", "v2"]
    assert [file.name for file in images_in(pair[1])] == ["v0.png", "v1.png", "v2.png"]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("kind", ["gif", "exr", "npy", "folder", "link"])
def test_what_stands_in_the_place_of_an_image_is_named(pair, nfbench, side, kind):
    (pair[side] / "v1.png").unlink()
    place = pair[side] / ("v1.png" if kind in ("folder", "link") else f"v1.{kind}")
    if kind == "folder":
        place.mkdir()
    elif kind == "link":
        place.symlink_to("nowhere.png")
    else:
        place.write_bytes(b"GIF89a")
    code, out, err = nfbench("score", *pair, "--protocol", "srn@1")
    words = {"folder": "is a folder", "link": "There is no image"}.get(kind, "are not read")
    assert code == 2 and out == "" and str(place) in err and words in err


def test_accents_composed_and_apart_are_one_name(tmp_path, scored):
    for folder, form in (("p", "NFD"), ("t", "NFC")):
        (tmp_path / folder).mkdir()
        write_png(tmp_path / folder / unicodedata.normalize(form, "Büste é 1.png"), noise(0))
    data = scored(tmp_path / "p", tmp_path / "t", "--protocol", "srn@1")
    assert list(data["scores"]["psnr"]["items"]) == [unicodedata.normalize("NFC", "Büste é 1")]


def test_what_is_plain(pair, tmp_path):
    assert is_plain(pair[1]) and is_plain(pair[1] / "v0.png") and not is_plain(tmp_path)
    assert not is_plain(tmp_path / "nowhere")
    task = plain_task(pair[1], "12345678")
    assert (task.name, task.version, task.protocol, task.given) == ("plain/truth", "12345678", "", ())
    assert task.plain == pair[1] and task.scenes == ["truth"]
    assert plain_task(pair[1] / "v0.png", "1").name == "plain/v0"
    with pytest.raises(DataMissing, match="is a file, not a folder"):
        plain_predictions(pair[0] / "v0.png", pair[1])
    with pytest.raises(DataMissing, match="is not there"):
        plain_predictions(tmp_path / "nowhere", pair[1])


BOX = trimesh.creation.box((1, 1, 1))
SHIFT = 0.125


@pytest.fixture
def boxes(tmp_path):
    """Unit cubes, truth and prediction shifted by an eighth, in every format of meshes and clouds."""
    moved = BOX.copy()
    moved.apply_translation((SHIFT, 0, 0))
    for stem, mesh in (("truth", BOX), ("moved", moved)):
        for kind in ("ply", "obj", "off", "stl", "glb"):
            mesh.export(tmp_path / f"{stem}.{kind}")
        cloud = sample(read_mesh(tmp_path / f"{stem}.ply"), 2000, seed=1).xyz
        np.save(tmp_path / f"{stem}.npy", cloud)
        np.savetxt(tmp_path / f"{stem}.xyz", cloud, fmt="%.9g")
        trimesh.PointCloud(cloud).export(tmp_path / f"{stem}_cloud.ply")
    return tmp_path


def test_meshes_have_the_same_values_in_every_format(boxes, scored):
    found = [
        means(scored(boxes / f"moved.{kind}", boxes / f"truth.{other}", "--protocol", "pytorch3d@1"))
        for kind, other in (("ply", "obj"), ("obj", "off"), ("off", "stl"), ("stl", "glb"), ("glb", "ply"))
    ]
    assert set(found[0]) == {"chamfer_sq_sum", "normal_cosine_loss"}
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-6)


def test_clouds_have_the_values_of_the_functions_in_every_format(boxes, scored):
    prediction, truth = Points(np.load(boxes / "moved.npy")), Points(np.load(boxes / "truth.npy"))
    for kind in (".npy", ".xyz", "_cloud.ply"):
        data = scored(boxes / f"moved{kind}", boxes / f"truth{kind}", "--protocol", "dvr@1")
        assert data["scores"]["chamfer_l1_mean"]["items"] == {
            "mesh.ply": pytest.approx(surface.chamfer_l1_mean(prediction, truth), rel=1e-9)
        }
        assert data["scores"]["accuracy"]["mean"] == pytest.approx(surface.accuracy(prediction, truth), rel=1e-9)
        assert "needs normals" in data["unmeasured"]["normal_consistency"]
        assert data["facts"] == {}


def test_iou_with_a_closed_true_mesh_by_hand(boxes, scored):
    data = scored(boxes / "moved.ply", boxes / "truth.ply", "--protocol", "onet-shapenet@1")
    # Both hold 1 - SHIFT; of the union 1 + SHIFT, what lies beyond the cube of edge 1.1 is not asked.
    expected = (1 - SHIFT) / (1 + 0.05)
    assert means(data)["iou"] == pytest.approx(expected, abs=3 * np.sqrt(expected * (1 - expected) / 80_000))
    assert data["facts"]["truth"]["watertight"] and data["facts"]["truth"]["inside"] == "winding-number"
    assert set(data["scores"]) == {
        *("iou", "chamfer_l1_mean", "accuracy", "completeness", "normal_consistency", "fscore@r0.01")
    }


def test_an_open_true_mesh_leaves_out_iou_alone(boxes, scored, nfbench):
    trimesh.Trimesh(BOX.vertices, BOX.faces[2:]).export(boxes / "open.ply")
    data = scored(boxes / "moved.ply", boxes / "open.ply", "--protocol", "onet-shapenet@1")
    assert list(data["unmeasured"]) == ["iou"] and "no closed true mesh" in data["unmeasured"]["iou"]
    assert data["coverage"] == 1 and len(data["scores"]) == 5
    code, out, _ = nfbench("score", boxes / "moved.ply", boxes / "open.ply", "--protocol", "onet-shapenet@1")
    assert code == 0 and "iou                  not measured" in out
    assert "lengths are in the unit of the files" in out


def test_a_folder_with_mesh_ply_is_a_prediction_too(boxes, scored, nfbench, tmp_path):
    (tmp_path / "folder").mkdir()
    code, _, err = nfbench("score", tmp_path / "folder", boxes / "truth.ply", "--protocol", "pytorch3d@1")
    assert code == 2 and "There is no surface" in err and "mesh.ply" in err
    (tmp_path / "folder" / "mesh.ply").write_bytes((boxes / "moved.ply").read_bytes())
    pair = tmp_path / "folder", boxes / "moved.ply"
    both = [scored(prediction, boxes / "truth.ply", "--protocol", "pytorch3d@1") for prediction in pair]
    assert both[0] == both[1]
    code, _, err = nfbench("score", tmp_path / "nowhere.ply", boxes / "truth.ply", "--protocol", "pytorch3d@1")
    assert code == 2 and "There is no surface" in err and "nowhere.ply" in err


@pytest.mark.parametrize("kind", ["images", "surface"])
def test_a_submission_stands_on_the_board_with_pictures(boxes, pair, nfbench, kind):
    truth = pair[1] if kind == "images" else boxes / "truth.stl"
    predictions, chosen = (pair[0], "srn@1") if kind == "images" else (boxes / "moved.obj", "pytorch3d@1")
    arguments = ("--protocol", chosen, "--submit", "mine", "--runs", boxes / "runs")
    assert nfbench("score", predictions, truth, *arguments)[0] == 0
    code, out, _ = nfbench("board", truth, "--runs", boxes / "runs", "--as", "json")
    (row,) = json.loads(out)
    assert code == 0 and row["method"] == "mine" and row["rank"] == 1 and row["protocol"] == chosen
    (folder,) = find_records(boxes / "runs")
    assert read_record(folder).task.name == "plain/truth" and read_record(folder).origin == "submitted"
    shown = sorted(path.name for path in (folder / "pictures" / "error").iterdir())
    assert shown == (["v0.png", "v1.png", "v2.png"] if kind == "images" else ["mesh.ply.png"])


def test_a_protocol_is_asked_for_by_name_or_by_file(pair, nfbench, scored, tmp_path):
    code, out, err = nfbench("score", *pair)
    assert code == 2 and out == "" and "belongs to no protocol" in err and "--protocol" in err
    code, _, err = nfbench("score", *pair, "--protocol", tmp_path / "mine.toml")
    assert code == 2 and "mine.toml cannot be read: No such file" in err and "Errno" not in err
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nversion = 3\nprimary = "db"\nsource = "here"\nsummary = "PSNR."\n'
        '[image]\nbackground = [1.0, 1.0, 1.0]\n[image.columns.db]\nmetric = "psnr"\n'
    )
    data = scored(*pair, "--protocol", tmp_path / "mine.toml")
    assert data["protocol"] == "mine@3" and means(data) == {"db": pytest.approx(TEN_LEVELS)}
    assert data["scores"]["db"]["penalised"] is None
    code, _, err = nfbench("score", *pair, "--protocol", "onet-shapenet@1")
    assert code == 2 and "measures nothing that scene 'truth' has truth of" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("score", "{p}", "{t}/v0.png", "--protocol", "srn@1"), "is one surface"),
        (("score", "{p}/v0.png", "{t}/v0.png", "--protocol", "srn@1"), "v0.png is one image"),
        (("score", "{p}/v0.png", "{t}", "--protocol", "srn@1"), "v0.png is a file, not a folder"),
        (("score", "{p}", "{t}", "--protocol", "srn@1", "--test-every", "2"), "scored whole"),
        (("score", "{p}", "{t}+every2", "--protocol", "srn@1"), "scored whole"),
        (("score", "{p}", "{t}", "--protocol", "srn@1", "--format", "blender"), "A scene needs transforms_train.json"),
        (("inspect", "{t}"), "As plain truth: nfbench score PREDICTIONS"),
        (("run", "mean-colour", "{t}"), "nothing to learn from"),
        (("run", "mean-colour", "{t}", "--protocol", "srn@1"), "nothing to learn from"),
        (("score", "{p}", "{t}/nowhere.ply", "--protocol", "dvr@1"), "There is no folder or file"),
        (("score", "{p}", "nowhere.ply", "--protocol", "dvr@1"), "There is no task, folder or file 'nowhere.ply'"),
    ],
)
def test_what_plain_truth_cannot_be_asked(pair, nfbench, arguments, words):
    code, out, err = nfbench(*(text.format(p=pair[0], t=pair[1]) for text in arguments))
    assert code == 2 and out == "" and words in err and "Traceback" not in err


def test_an_empty_true_surface_is_named(tmp_path):
    np.save(tmp_path / "none.npy", np.zeros((0, 3), np.float32))
    with pytest.raises(DataCorrupt, match=r"none\.npy: the true surface is empty"):
        plain_task(tmp_path / "none.npy", "1").test[0].open()


def test_the_box_of_a_plain_surface_has_room_around_it(boxes):
    scene = plain_task(boxes / "truth.ply", "1").test[0].open()
    np.testing.assert_allclose(scene.box, [[-0.55] * 3, [0.55] * 3], rtol=1e-6)
    assert scene.hidden is None and scene.given.kinds() == ()
