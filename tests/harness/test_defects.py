"""What other evaluation codes were measured to get wrong, and what a user may do to numbers: all right here."""

import json
import os
import shutil
import subprocess
import sys
import urllib.error

import numpy as np
import pytest
import torch
import trimesh

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken
from nfbench.harness.image import psnr
from nfbench.harness.image_scores import truth_image
from nfbench.harness.meshfile import write_ply
from nfbench.harness.png import read_png, write_png
from nfbench.harness.prediction import predict
from nfbench.harness.protocol import protocol
from nfbench.harness.scene import Given, Mesh, Scene, Views
from nfbench.harness.scoring import score
from nfbench.loaders import blender

WHITE = (1.0, 1.0, 1.0)


@pytest.fixture
def data(blender_ball, tmp_path):
    """A small scene in Blender format, three test views, that a test may damage."""
    return shutil.copytree(blender_ball, tmp_path / "data" / "ball")


@pytest.fixture
def run(nfbench, data, tmp_path):
    """The folder of a run on that scene."""
    assert nfbench("run", "nearest-view", data, "--runs", tmp_path / "runs", "--quiet")[0] == 0
    (folder,) = (tmp_path / "runs" / "blender" / "ball" / "nearest-view" / "ball").iterdir()
    return folder


@pytest.fixture
def scored(nfbench):
    """The JSON of a score that succeeds."""

    def call(*arguments):
        code, out, err = nfbench("score", *arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    return call


def one_view(truth):
    cameras = Cameras(np.eye(3, 4, dtype=np.float32)[None], np.eye(3, dtype=np.float32)[None], [truth.shape[1::-1]])
    views = Views(cameras, ("a",), lambda index: truth)
    return Scene("one", Given(views=views), np.array([[-1, -1, -1], [1, 1, 1]]), hidden=views)


class Rendered:
    """A field that renders one image, whatever it is asked."""

    def __init__(self, image):
        self.image = image

    def render(self, cameras):
        return self.image[None]


def decibels(prediction, truth):
    """PSNR by its definition, in float64, of values in 0..255."""
    return 10 * np.log10(255**2 / np.mean((np.asarray(prediction, float) - truth) ** 2))


def test_floats_are_rounded_truncation_would_cost_half_a_decibel(tmp_path):
    rng = np.random.default_rng(0)
    truth = rng.integers(20, 236, (200, 200, 3)).astype(np.uint8)
    floats = (truth + rng.normal(0, 255 * 10 ** (-45 / 20), truth.shape)) / 255  # 45 dB before it is written
    floats = floats.astype(np.float32)
    predict(Rendered(floats), one_view(truth), protocol("volsdf-dtu@1"), tmp_path)
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), np.rint(floats * 255))
    found = score(tmp_path, one_view(truth), protocol("volsdf-dtu@1")).items["psnr"]["a"]
    rounded, truncated = decibels(np.rint(floats * 255), truth), decibels(np.floor(floats * 255), truth)
    assert found == pytest.approx(rounded, abs=1e-9)
    assert rounded - truncated == pytest.approx(10 * np.log10((2.056 + 1 / 3) / (2.056 + 1 / 12)), abs=0.02)
    assert rounded - truncated > 0.45


def test_masked_psnr_divides_by_the_pixels_of_the_mask(tmp_path):
    truth = np.random.default_rng(0).integers(20, 236, (40, 40, 3)).astype(np.uint8)
    alpha = np.zeros((40, 40), np.uint8)
    alpha[10:30, 10:30] = 255  # a quarter of the image
    behind = round(255 * protocol("volsdf-dtu@1").image.background[0])
    shown = np.where(alpha[..., None] == 255, truth + 5, behind).astype(np.uint8)
    write_png(tmp_path / "a.png", shown)
    scene = one_view(np.dstack([truth, alpha]))
    found = score(tmp_path, scene, protocol("idr-dtu@1")).items["psnr_masked"]["a"]
    assert found == pytest.approx(20 * np.log10(255 / 5), abs=1e-9)
    everywhere = score(tmp_path, scene, protocol("volsdf-dtu@1")).items["psnr"]["a"]
    assert everywhere - found == pytest.approx(20 * np.log10(2), abs=1e-9), "all pixels would make it 6 dB better"


def test_deleted_predictions_are_no_better_score(nfbench, tmp_path):
    for folder in ("p", "t"):
        (tmp_path / folder).mkdir()
    for index in range(4):
        truth = np.full((16, 16, 3), 100, np.uint8)
        write_png(tmp_path / "t" / f"v{index}.png", truth)
        write_png(tmp_path / "p" / f"v{index}.png", truth + np.uint8(1 if index == 0 else 50))
    arguments = (tmp_path / "p", tmp_path / "t", "--protocol", "volsdf-dtu@1")
    for index in (1, 2, 3):
        (tmp_path / "p" / f"v{index}.png").unlink()
    code, out, err = nfbench("score", *arguments)
    assert code == 2 and out == "" and "3 of 4 predictions missing: v1.png, v2.png, v3.png." in err
    best = 20 * np.log10(255)  # 48.13 dB, which other codes print without a word
    code, out, _ = nfbench("score", *arguments, "--partial", "--submit", "mine", "--runs", tmp_path / "runs")
    assert code == 0 and f"{best:.6g} dB" in out and f"{best / 4:.6g} with the penalty for what is lost" in out
    assert "not ranked: 3 missing, 0 failed: v1, v2, v3" in out and "1 of 4 items measured" in out
    (row,) = json.loads(nfbench("board", "--runs", tmp_path / "runs", "--as", "json")[1])
    assert row["rank"] is None and row["coverage"] == 0.25
    assert row["scores"]["psnr"]["mean"] == pytest.approx(best)
    assert row["scores"]["psnr"]["penalised"] == pytest.approx(best / 4)


def test_a_renamed_prediction_is_missing_under_its_name(nfbench, run, data):
    (run / "predictions" / "v_1.png").rename(run / "predictions" / "view_1.png")
    code, out, err = nfbench("score", run / "predictions", data)
    assert code == 2 and out == "" and "missing: v_1.png. There, but not asked for: view_1.png." in err


def test_scores_go_by_name_not_by_order(run, data, scored, tmp_path):
    before = scored(run / "predictions", data)["scores"]["psnr"]["items"]
    (tmp_path / "again").mkdir()
    for age, name in enumerate(["v_2.png", "v_0.png", "v_1.png"]):
        shutil.copyfile(run / "predictions" / name, tmp_path / "again" / name)
        os.utime(tmp_path / "again" / name, (1e9 + age, 1e9 - age))
    assert scored(tmp_path / "again", data)["scores"]["psnr"]["items"] == before
    assert list(before) == ["v_0", "v_1", "v_2"]


def test_two_swapped_predictions_score_as_what_they_are(run, data, scored):
    folder = run / "predictions"
    first, second = (read_png(folder / name) for name in ("v_0.png", "v_1.png"))
    write_png(folder / "v_0.png", second)
    write_png(folder / "v_1.png", first)
    found = scored(run, data)
    scene = blender.read(data)
    for index, prediction in enumerate((second, first)):
        expected = float(psnr(prediction, truth_image(scene.hidden, index, WHITE)))
        assert found["scores"]["psnr"]["items"][f"v_{index}"] == expected
    (warning,) = found["warnings"]
    assert "its predictions have changed since it was recorded" in warning and "nearest-view on ball" in warning


def test_a_run_that_nobody_touched_is_scored_without_a_warning(run, data, scored, nfbench):
    record = json.loads((run / "record.json").read_text())
    found = scored(run, data)
    assert found["warnings"] == []
    assert found["scores"]["psnr"]["mean"] == record["scores"]["psnr"]["mean"]
    assert "warning" not in nfbench("score", run, data)[1]


def test_scores_written_into_a_record_are_not_believed(run, data, scored, nfbench):
    record = json.loads((run / "record.json").read_text())
    true = record["scores"]["psnr"]["mean"]
    record["scores"]["psnr"]["mean"] = 45.0
    (run / "record.json").write_text(json.dumps(record))
    found = scored(run, data)
    assert found["scores"]["psnr"]["mean"] == true
    (warning,) = found["warnings"]
    assert f"its record says psnr 45, its files give {true:.6g}" in warning
    code, out, _ = nfbench("score", run, data)
    assert code == 0 and f"  warning: {warning}" in out.splitlines()


@pytest.mark.parametrize(("factor", "told"), [(1 + 2e-4, True), (1 + 5e-5, False)])
def test_what_another_machine_may_differ_by_is_no_warning(run, data, scored, factor, told):
    record = json.loads((run / "record.json").read_text())
    record["scores"]["psnr"]["mean"] *= factor
    (run / "record.json").write_text(json.dumps(record))
    assert bool(scored(run, data)["warnings"]) is told


def test_truth_among_the_predictions_is_not_looked_at(run, data, scored):
    before = scored(run, data)["scores"]
    shutil.copytree(run / "predictions", run / "predictions" / "test")
    shutil.copyfile(data / "transforms_test.json", run / "predictions" / "transforms_test.json")
    assert scored(run, data)["scores"] == before


def test_a_true_image_that_was_changed_since_the_run_is_told(run, data, scored):
    file = data / "test" / "v_1.png"
    forged = read_png(file)
    forged[0, 0, 0] ^= 1
    forged[0, 0, 3] = 255
    size = file.stat().st_size
    write_png(file, forged)
    found = scored(run, data)
    assert any("its truth has changed since it was recorded" in warning for warning in found["warnings"])
    assert not any("predictions" in warning for warning in found["warnings"])
    grown = file.stat().st_size != size
    assert any("version" in warning for warning in found["warnings"]) is grown


def test_data_of_another_version_is_told(run, data, scored):
    (data / "test" / "more.txt").write_text("a file that was not there")
    (warning,) = scored(run, data)["warnings"]
    assert "was recorded with version" in warning and "; this is version" in warning


def test_a_run_with_lost_items_says_so_instead_of_comparing_hashes(run, data, scored):
    (run / "predictions" / "v_0.png").unlink()
    (warning,) = scored(run, data, "--partial")["warnings"]
    assert "with other items than are there now" in warning


def test_the_protocol_of_another_dataset_is_told(run, data, scored, nfbench):
    found = scored(run, data, "--protocol", "srn@1")
    assert found["warnings"] == ["srn@1 is not the task's own protocol, nerf-synthetic@1."]
    assert set(found["scores"]) == {"psnr", "ssim"}, "allowed, under its own name"
    code, out, err = nfbench("score", run, data, "--protocol", "onet-shapenet@1")
    assert code == 2 and out == "" and "onet-shapenet@1 measures nothing that scene 'ball' has truth of" in err
    assert scored(run / "predictions", data, "--protocol", "nerf-synthetic@1")["warnings"] == []
    other = data.with_name("other")
    shutil.copytree(data, other)
    code, out, err = nfbench("score", run, other)
    assert code == 2 and "is a run of task blender/ball, not of blender/other" in err


@pytest.mark.parametrize(("low", "high"), [(0.0, 255.0), (0.0, 1.5), (-0.5, 1.0), (0.0, 1.021), (-0.021, 1.0)])
def test_renders_beyond_the_range_of_a_picture_are_refused(tmp_path, low, high):
    truth = np.zeros((4, 5, 3), np.uint8)
    wrong = np.linspace(low, high, truth.size).reshape(truth.shape)
    with pytest.raises(ContractBroken, match=r"view 'a' spans \[.*\], not \[0, 1\]"):
        predict(Rendered(wrong), one_view(truth), protocol("volsdf-dtu@1"), tmp_path)
    assert not (tmp_path / "a.png").exists()


def test_a_little_beyond_the_range_is_clipped(tmp_path):
    truth = np.zeros((4, 5, 3), np.uint8)
    predict(Rendered(np.full(truth.shape, 1.02)), one_view(truth), protocol("volsdf-dtu@1"), tmp_path)
    assert (read_png(tmp_path / "a.png") == 255).all()


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """No file in the torch hub cache, and no server; the addresses that were asked for."""
    asked = []

    def refuse(address, **_):
        asked.append(address)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return asked


def test_without_weights_lpips_says_so_and_the_rest_is_measured(run, data, scored, nfbench, no_weights):
    found = scored(run, data)
    assert set(found["scores"]) == {"psnr", "ssim"} and found["coverage"] == 1
    assert set(found["unmeasured"]) == {"lpips_vgg", "lpips_alex"}
    assert found["unmeasured"]["lpips_alex"] == "no weights for alex here; nfbench doctor says where they go"
    assert len(no_weights) == 2, "each network is asked for once, not once an image"
    code, out, _ = nfbench("score", run, data)
    assert code == 0 and "lpips_vgg            not measured: no weights for vgg" in out
    code, out, _ = nfbench("doctor")
    assert code == 0 and "LPIPS is left out" in out


def test_without_weights_nothing_hangs(run, data, tmp_path):
    """In a process of its own, whose cache is empty and whose connections are refused at once."""
    refuse = "import socket\ndef no(*a, **k): raise OSError('no network')\nsocket.getaddrinfo = no\n"
    (tmp_path / "sitecustomize.py").write_text(refuse)
    environment = {**os.environ, "TORCH_HOME": str(tmp_path / "empty"), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    command = [sys.executable, "-m", "nfbench.harness.cli", "score", run, data, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["scores"]) == {"psnr", "ssim"} and set(found["unmeasured"]) == {"lpips_vgg", "lpips_alex"}
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("damage", ["size", "truncated", "transparent"])
def test_a_failed_item_of_a_submission_is_kept_without_a_picture(run, data, nfbench, tmp_path, damage):
    file = run / "predictions" / "v_1.png"
    if damage == "truncated":
        file.write_bytes(file.read_bytes()[:-30])
    else:
        write_png(file, np.zeros((24, 30, 3) if damage == "size" else (24, 24, 4), np.uint8))
    submit = ("--partial", "--submit", "mine", "--runs", tmp_path / "mine", "--json")
    code, out, err = nfbench("score", run / "predictions", data, *submit)
    assert code == 0, err
    assert list(json.loads(out)["failed"]) == ["v_1"] and "v_1.png" in json.loads(out)["failed"]["v_1"]
    (kept,) = (tmp_path / "mine" / "blender" / "ball" / "mine" / "ball").iterdir()
    shown = {path.name for path in (kept / "pictures" / "error").iterdir()}
    assert {"v_0.png", "v_2.png"} <= shown
    assert damage == "transparent" or "v_1.png" not in shown


def test_a_later_submission_leaves_no_picture_of_an_earlier_one(run, data, nfbench, tmp_path):
    submit = ("--partial", "--submit", "mine", "--runs", tmp_path / "mine", "--quiet")
    for _ in range(2):
        assert nfbench("score", run / "predictions", data, *submit)[0] == 0
        (run / "predictions" / "v_2.png").unlink(missing_ok=True)
    (kept,) = (tmp_path / "mine" / "blender" / "ball" / "mine" / "ball").iterdir()
    assert {path.name for path in (kept / "pictures").glob("*.png")} == {"v_0.png", "v_1.png"}


def test_a_mesh_that_cannot_be_read_does_not_undo_a_partial_submission(nfbench, tmp_path):
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "truth.ply")
    write_ply(tmp_path / "flat.ply", Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])))
    arguments = ("--protocol", "pytorch3d@1", "--partial", "--submit", "mine", "--runs", tmp_path / "runs", "--json")
    code, out, err = nfbench("score", tmp_path / "flat.ply", tmp_path / "truth.ply", *arguments)
    assert code == 0, err
    assert "none of its 1 faces has an area" in json.loads(out)["failed"]["mesh.ply"]
    (kept,) = (tmp_path / "runs" / "plain" / "truth" / "mine" / "truth").iterdir()
    assert not list((kept / "pictures").rglob("*.png"))
