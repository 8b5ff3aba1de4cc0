"""From a checkpoint as the original code saves it to a scored run, without training."""

import shlex

import numpy as np
import pytest
import torch

from nfbench.baselines.idr import Idr, IdrField, _original
from nfbench.harness.record import find_records, read_record

SMALL = ("--set", "width=48", "--set", "colour_width=16", "--set", "guide=0")


@pytest.fixture
def official(tmp_path):
    """A file like IDR's ModelParameters/latest.pth, of a small network."""
    from dataclasses import replace

    config = replace(Idr.presets["tiny"], width=48, colour_width=16, guide=0)
    field = IdrField(config, ((0.0, 0.0, 0.0), 1.0), (1.0, 1.0, 1.0), "cpu", 3)
    tensors = {_original(name): t for name, t in field.networks.state_dict().items() if ".layers." in name}
    torch.save({"epoch": 7, "model_state_dict": tensors}, tmp_path / "latest.pth")
    return tmp_path / "latest.pth", field


def test_an_imported_checkpoint_is_scored_in_place_of_training(nfbench, blender_ball, official, tmp_path):
    file, field = official
    code, out, err = nfbench("import-checkpoint", "idr", file, "-o", tmp_path / "mine", "--preset", "tiny", *SMALL)
    assert code == 0, err
    told = shlex.split(out.splitlines()[1])
    assert told == ["nfbench", "run", "idr", "TASK", "--preset", "tiny", *SMALL, "--checkpoint", str(tmp_path / "mine")]
    told[3] = str(blender_ball)
    run = (*told[1:], "--device", "cpu")
    code, _, err = nfbench(*run, "--runs", tmp_path / "runs")
    assert code == 0, err
    (folder,) = find_records(tmp_path / "runs")
    record = read_record(folder)
    assert len(record.method.checkpoint) == 8 and record.cost.steps is None and record.cost.parameters
    restored = Idr(field.config).restore(folder / "checkpoint")
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 3)).astype(np.float32)
    np.testing.assert_array_equal(restored.value(points), field.value(points))
    assert "Nothing to do" in nfbench(*run, "--runs", tmp_path / "runs")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nerf",), ["network_fn_state_dict", "--task"]),
        (("idr",), ["does not fit", "--preset"]),
        (("mean-colour",), ["mean-colour has no original checkpoints", "idr"]),
        (("idr", "--preset", "tiny", *SMALL, "--task", "procedural/nothing"), ["procedural/nothing"]),
    ],
)
def test_what_cannot_be_imported_is_told(nfbench, official, tmp_path, arguments, words):
    method, *rest = arguments
    code, _, err = nfbench("import-checkpoint", method, official[0], "-o", tmp_path / "mine", *rest)
    assert code == 2
    assert any(word in err for word in words), err
    assert not (tmp_path / "mine").exists()


def test_a_folder_that_is_there_and_a_file_that_is_not(nfbench, official, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_text("")
    code, _, err = nfbench("import-checkpoint", "idr", official[0], "-o", tmp_path / "full", "--preset", "tiny", *SMALL)
    assert code == 2 and "full is there already" in err
    code, _, err = nfbench("import-checkpoint", "idr", tmp_path / "absent.pth", "-o", tmp_path / "mine")
    assert code == 2 and "absent.pth" in err


def test_a_checkpoint_of_another_method_fails_by_name(nfbench, blender_ball, official, tmp_path):
    nfbench("import-checkpoint", "idr", official[0], "-o", tmp_path / "mine", "--preset", "tiny", *SMALL)
    run = (
        "run",
        "nerf",
        blender_ball,
        "--preset",
        "tiny",
        "--checkpoint",
        tmp_path / "mine",
        "--runs",
        tmp_path / "runs",
    )
    code, _, err = nfbench(*run)
    assert code == 2 and "belongs to idr, not to nerf" in err
    code, _, err = nfbench(*run[:-3], tmp_path / "nothing", *run[-2:])
    assert code == 2 and "nothing is no checkpoint" in err
