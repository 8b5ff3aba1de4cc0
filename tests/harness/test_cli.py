"""The command line as a user meets it: exit codes, messages, fixed JSON, nothing printed twice."""

import json
import shutil
import sys

import numpy as np
import pytest

from nfbench.harness.png import read_png, write_png
from nfbench.loaders import blender

EXAMPLE = "examples/my_method.py:MyMethod"


@pytest.fixture
def scene(blender_ball, tmp_path):
    """A copy of the ball that a test may damage."""
    return shutil.copytree(blender_ball, tmp_path / "scene" / "ball")


@pytest.fixture
def example(request):
    return f"{request.config.rootpath / 'examples' / 'my_method.py'}:MyMethod"


def test_run_score_board_and_again(nfbench, scene, tmp_path, example):
    runs = tmp_path / "runs"
    code, out, err = nfbench("run", f"mean-colour,nearest-view,{example}", scene, "--runs", runs)
    assert code == 0, err
    assert "MyMethod" in out and "nearest-view" in out and "blender/ball" in out
    assert "Nothing to do" not in out

    code, out, _ = nfbench("run", f"mean-colour,nearest-view,{example}", scene, "--runs", runs)
    assert code == 0 and "Nothing to do: all 3 recorded already" in out

    code, out, _ = nfbench("board", "--as", "json", "--runs", runs)
    rows = json.loads(out)
    assert code == 0 and [row["rank"] for row in rows] == [1, 2, 3]
    for row in rows:
        assert {"rank", "method", "task", "protocol", "coverage", "origin", "seeds", "scores", "cost"} <= set(row)
        assert row["coverage"] == 1 and row["seeds"] == [0] and row["protocol"] == "nerf-synthetic@1"
    assert nfbench("board", scene, "--runs", runs)[0] == 0, "a board may be asked for by path"

    (written,) = (runs / "blender" / "ball" / "MyMethod" / "ball").iterdir()
    mine = next(row for row in rows if row["method"] == "MyMethod")
    for predictions in (written, written / "predictions"):
        code, out, _ = nfbench("score", predictions, scene, "--json")
        assert code == 0
        assert json.loads(out)["scores"]["psnr"]["mean"] == mine["scores"]["psnr"]["mean"], "to the last digit"


def test_a_deleted_prediction_is_refused_named_and_not_ranked(nfbench, scene, tmp_path):
    runs = tmp_path / "runs"
    assert nfbench("run", "nearest-view", scene, "--runs", runs, "--quiet")[0] == 0
    (written,) = (runs / "blender" / "ball" / "nearest-view" / "ball").iterdir()
    (written / "predictions" / "v_1.png").unlink()
    code, out, err = nfbench("score", written, scene)
    assert code == 2 and "v_1.png" in err and "--partial" in err and out == ""
    code, out, _ = nfbench("score", written, scene, "--partial", "--json", "--submit", "theirs", "--runs", runs)
    data = json.loads(out)
    assert code == 0 and data["missing"] == ["v_1"] and data["coverage"] == pytest.approx(2 / 3)
    rows = json.loads(nfbench("board", "--as", "json", "--runs", runs)[1])
    theirs = next(row for row in rows if row["method"] == "theirs")
    assert theirs["rank"] is None and theirs["origin"] == "submitted"


def test_a_sub_task_never_mixes_with_the_full_one(nfbench, scene, tmp_path):
    runs = tmp_path / "runs"
    nfbench("run", "mean-colour", scene, "--runs", runs)
    code, _, _ = nfbench("run", "mean-colour", scene, "--runs", runs, "--test-every", "2")
    rows = json.loads(nfbench("board", "--as", "json", "--runs", runs)[1])
    assert code == 0 and {row["task"] for row in rows} == {"blender/ball", "blender/ball+every2"}


@pytest.mark.parametrize("form", ["text", "markdown", "latex", "csv", "html"])
def test_every_form_of_the_board(nfbench, scene, tmp_path, form):
    nfbench("run", "mean-colour", scene, "--runs", tmp_path / "runs")
    target = tmp_path / "out" / f"board.{form}"
    code, out, err = nfbench("board", "--runs", tmp_path / "runs", "--as", form, "-o", target)
    assert code == 0, err
    assert "Wrote" in out and "mean-colour" in target.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "nerv", "{scene}"), ("nerv", "nerf")),
        (("run", "nerf", "{scene}", "--preset", "tinny"), ("tinny", "tiny")),
        (("run", "mean-colour", "{scene}", "--preset", "tinny"), ("tinny", "tiny")),
        (("run", "nerf,mean-colour", "{scene}", "--set", "widht=3"), ("widht", "width")),
        (("run", "nerf", "{scene}", "--set", "width"), ("width", "field=value")),
        (("run", "nerf", "{scene}", "--set", "view-width=3", "--set", "view_width=4"), ("view_width twice: 3 and 4",)),
        (("run", "mean-colour", "{scene}", "--budget", "2 hours"), ("2 hours", "120s")),
        (("run", "mean-colour", "{scene}/nowhere"), ("nowhere",)),
        (("run", "mean-colour", "procedural/knott"), ("knott", "procedural/knot")),
        (("run", "mean-colour", "{scene}", "--protocol", "nerf"), ("nerf", "nerf-synthetic@1")),
        (("run", "mean-colour", "{scene}", "--format", "blander"), ("blander", "blender")),
        (("run", "mean-colour", "{scene}", "--test-every", "0"), ("--test-every 0",)),
        (
            ("run", "mean-colour", "{scene}", "--runs", "{scene}/transforms_test.json/x"),
            ("cannot be written", "--runs"),
        ),
        (("run", "occupancy-network", "{scene}"), ("needs cloud",)),
        (("score", "{scene}/nowhere", "{scene}"), ("nowhere",)),
        (("board", "--runs", "{scene}"), ("nfbench run",)),
        (("board", "--as", "pdf"), ("pdf",)),
        (("list", "method"), ("method", "methods")),
        (("inspect", "{scene}/train"), ("no known format",)),
        (("check", "no_such.py:Thing"), ("no_such.py",)),
        (("check", "nosuch"), ("nosuch",)),
    ],
)
def test_what_the_user_can_mend_is_one_message_and_exit_2(nfbench, scene, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, _, err = nfbench(*(a.format(scene=scene) for a in arguments))
    assert code == 2
    assert "Traceback" not in err
    for word in words:
        assert word in err


def damage_missing_test(scene):
    (scene / "transforms_test.json").unlink()
    return "transforms_test.json"


def damage_missing_image(scene):
    (scene / "train" / "v_3.png").unlink()
    return "v_3.png"


def damage_truncated(scene):
    path = scene / "train" / "v_2.png"
    path.write_bytes(path.read_bytes()[:-20])
    return "v_2.png"


def damage_grey(scene):
    from PIL import Image

    Image.new("L", (24, 24)).save(scene / "test" / "v_1.png")
    return "v_1.png"


def damage_16_bit(scene):
    from PIL import Image

    Image.new("I;16", (24, 24)).save(scene / "test" / "v_1.png")
    return "v_1.png"


def damage_size(scene):
    write_png(scene / "test" / "v_1.png", np.zeros((24, 30, 4), np.uint8))
    return "v_1.png"


def change_json(scene, change):
    path = scene / "transforms_train.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    return "transforms_train.json"


def damage_nan_pose(scene):
    return change_json(scene, lambda d: d["frames"][1]["transform_matrix"][0].__setitem__(3, float("nan")))


def damage_singular_pose(scene):
    return change_json(scene, lambda d: d["frames"][1].__setitem__("transform_matrix", [[0.0] * 4] * 4))


def damage_json(scene):
    (scene / "transforms_train.json").write_text('{"camera_angle_x": 0.6,')
    return "transforms_train.json"


@pytest.mark.parametrize(
    "damage",
    [v for k, v in sorted(globals().items()) if k.startswith("damage_")],
    ids=lambda f: f.__name__,
)
def test_damaged_data_is_named_and_other_records_are_untouched(nfbench, scene, blender_ball, tmp_path, damage):
    runs = tmp_path / "runs"
    assert nfbench("run", "mean-colour", blender_ball, "--runs", runs)[0] == 0
    before = {p: p.read_bytes() for p in runs.rglob("record.json")}
    name = damage(scene)
    code, _, err = nfbench("run", "mean-colour,nearest-view", scene, "--runs", runs)
    assert code == 2 and name in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if line.startswith("nfbench:")]) == 1
    assert {p: p.read_bytes() for p in runs.rglob("record.json")} == before


def test_a_nan_in_a_render_is_a_failed_record_and_exit_2(nfbench, scene, tmp_path):
    (tmp_path / "bad.py").write_text(
        "import numpy as np\n"
        "class Bad:\n"
        "    def __init__(self, config, seed, device): ...\n"
        "    def fit(self, scene, budget):\n        return self\n"
        "    def render(self, cameras):\n        return np.full((1, 24, 24, 3), np.nan)\n"
    )
    code, out, err = nfbench("run", f"{tmp_path / 'bad.py'}:Bad,mean-colour", scene, "--runs", tmp_path / "runs")
    assert code == 2 and "NaN" in err and "v_0" in err
    assert "mean-colour" in out, "the other method is run and ranked"
    assert "Bad" in out, "the failure is on the board"


def test_list_prints_json_that_parses(nfbench):
    for kind in ("methods", "tasks", "formats", "protocols", "metrics"):
        code, out, _ = nfbench("list", kind, "--json")
        rows = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
        assert code == 0 and all(row["name"] and row["summary"] for row in rows)
    code, out, _ = nfbench("list")
    assert code == 0 and "occupancy-network" in out and "nerf-synthetic@1" in out


def test_inspect_prints_the_fixed_json(nfbench, scene):
    code, out, _ = nfbench("inspect", scene, "--json")
    data = json.loads(out)
    assert code == 0 and data["format"] == "blender" and data["problems"] == []
    assert data["scenes"][0]["splits"]["train"]["views"] == 8
    assert data["scenes"][0]["splits"]["train"]["size"] == [24, 24]
    assert data["scenes"][0]["splits"]["train"]["near_far"] == pytest.approx([0.6, 2.6])


def test_check_says_what_holds(nfbench, example, tmp_path):
    code, out, _ = nfbench("check", example)
    assert code == 0 and "keeps all" in out
    (tmp_path / "bad.py").write_text("class Bad: ...\n")
    code, out, err = nfbench("check", f"{tmp_path / 'bad.py'}:Bad")
    assert code == 2 and "breaks" in err and "--  " in out
    assert nfbench("check", "onet-shapenet@1")[0] == 0


def test_doctor_tells_of_this_machine(nfbench):
    code, out, _ = nfbench("doctor")
    assert code == 0 and "torch" in out and "LPIPS alex" in out


def test_usage_errors_exit_2(nfbench):
    assert nfbench("run")[0] == 2
    assert nfbench("nonsense")[0] == 2
    assert nfbench("--help")[0] == 0


def test_a_bug_is_a_traceback_not_a_message(nfbench, monkeypatch):
    monkeypatch.setattr("nfbench.harness.listing.text", lambda *a: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        nfbench("list")


def test_predictions_are_rgb_pngs_of_the_test_views(nfbench, scene, tmp_path):
    nfbench("run", "mean-colour", scene, "--runs", tmp_path / "runs")
    (written,) = (tmp_path / "runs" / "blender" / "ball" / "mean-colour" / "ball").iterdir()
    images = [read_png(path) for path in sorted((written / "predictions").iterdir())]
    assert len(images) == 3 and all(image.shape == (24, 24, 3) for image in images)


def test_lpips_with_weights_from_a_file(nfbench, real_data, tmp_path):
    from nfbench.loaders.analytic import Size
    from nfbench.loaders.procedural import task

    torus = task("procedural/torus", cache=tmp_path, size=Size(train_views=3, test_views=2, pixels=40, points=500))
    made = torus.test[0].open()
    blender.write(tmp_path / "torus", {"train": made.given.views, "test": made.hidden})
    weights = real_data / "lpips_alex" / "lpips_alex_v0.1.npz"
    arguments = ("mean-colour", tmp_path / "torus", "--runs", tmp_path / "runs", "--lpips-weights", weights)
    assert nfbench("run", *arguments)[0] == 0
    (row,) = json.loads(nfbench("board", "--as", "json", "--runs", tmp_path / "runs")[1])
    assert 0.2 < row["scores"]["lpips_alex"]["mean"] < 1.5
    assert "lpips_vgg" not in row["scores"], "VGG's weights are in no file given"


def test_a_runs_folder_is_scored_under_its_own_protocol(nfbench, scene, tmp_path):
    arguments = ("--runs", tmp_path / "runs", "--protocol", "nerf-synthetic-black@1", "--quiet")
    assert nfbench("run", "mean-colour", scene, *arguments)[0] == 0
    (written,) = (tmp_path / "runs" / "blender" / "ball" / "mean-colour" / "ball").iterdir()
    record = json.loads((written / "record.json").read_text())
    found = json.loads(nfbench("score", written, scene, "--json")[1])
    assert found["protocol"] == "nerf-synthetic-black@1"
    assert found["scores"]["psnr"]["mean"] == record["scores"]["psnr"]["mean"]
    other = json.loads(nfbench("score", written, scene, "--json", "--protocol", "nerf-synthetic@1")[1])
    assert other["scores"]["psnr"]["mean"] != record["scores"]["psnr"]["mean"]


def test_two_runs_of_the_same_at_once_leave_one_good_record(nfbench, scene, tmp_path):
    import subprocess

    command = [sys.executable, "-m", "nfbench.harness.cli", "run", "nearest-view", scene, "--runs", tmp_path / "runs"]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0], [process.stderr.read() for process in both]
    found = list((tmp_path / "runs").rglob("record.json"))
    assert len(found) == 1 and json.loads(found[0].read_text())["status"] == "ok"
    assert len(list(found[0].parent.parent.iterdir())) == 1, "no half-made folder is left"


def test_an_unsupported_method_among_others_is_no_failure(nfbench, scene, tmp_path):
    code, out, _ = nfbench("run", "mean-colour,bounding-box", scene, "--runs", tmp_path / "runs")
    assert code == 0 and "mean-colour" in out
    assert nfbench("run", "bounding-box", scene, "--runs", tmp_path / "runs")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("run", "mean-colour", "{scene}", "--device", "tpu"), "tpu"),
        (("run", "mean-colour", "{scene}", "--seed", "-1"), "--seed"),
        (("run", ",", "{scene}"), "No method"),
        (("run", "mean-colour", "{scene}", "--lpips-weights", "nowhere.pth"), "nowhere.pth"),
        (("check", "learner.py"), "learner.py:CLASS"),
    ],
)
def test_more_that_the_user_can_mend(nfbench, scene, tmp_path, monkeypatch, arguments, word):
    monkeypatch.chdir(tmp_path)
    code, _, err = nfbench(*(a.format(scene=scene) for a in arguments))
    assert code == 2 and word in err and "Traceback" not in err
    assert not list(tmp_path.rglob("record.json"))


def test_a_run_is_filmed_on_a_turntable(nfbench, scene, tmp_path):
    runs = tmp_path / "runs"
    quick = ("--preset", "tiny", "--budget", "3steps", "--set", "grid=16", "--device", "cpu", "--runs", runs)
    code, _, err = nfbench("run", "nerf", scene, *quick)
    assert code == 0, err
    (folder,) = (runs / "blender" / "ball" / "nerf" / "ball").iterdir()
    film = ("turntable", folder, "-o", tmp_path / "turn.gif", "--frames", "2", "--pixels", "24", "--device", "cpu")
    code, out, err = nfbench(*film, "--task", scene)
    assert code == 0, err
    assert "colour, depth, normal, opacity from left to right, 2 frames" in out
    assert (tmp_path / "turn.gif").read_bytes()[:3] == b"GIF"
    assert len(list((tmp_path / "turn_frames" / "opacity").iterdir())) == 2
    code, _, err = nfbench(*film)
    assert code == 2 and "Name the task" in err
    code, _, err = nfbench(*film, "--task", scene, "--what", "colours")
    assert code == 2 and "Did you mean colour?" in err


def test_inputs_of_a_task_are_chosen_by_given(nfbench, tmp_path):
    code, _, err = nfbench("run", "bounding-box", "procedural/knot", "--given", "voxels", "--runs", tmp_path / "runs")
    assert code == 2 and "procedural/knot cannot give voxels" in err
    code, _, err = nfbench("run", "bounding-box", "procedural/knot", "--given", "voxel", "--runs", tmp_path / "runs")
    assert code == 2 and "Did you mean voxels" in err


def test_a_wrong_curve_is_told(nfbench, scene, tmp_path):
    code, _, err = nfbench("run", "nearest-view", scene, "--curve", "10m", "--runs", tmp_path / "runs")
    assert code == 2 and "--curve '10m'" in err and "10s,60s" in err
