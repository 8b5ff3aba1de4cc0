"""Runs that are killed from outside, at a step that nobody chose, and started again."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from safetensors.numpy import load_file

from nfbench.harness.record import find_records, read_record

SCRIPT = """
import sys, torch
import nfbench.harness.training as training
from nfbench.harness.cli import main
torch.set_num_threads(1)
training._KEEP_SECONDS = 0.05
training._KEEP_SHARE = 0.0
main()
"""


def start(scene, runs, method, *settings):
    command = [sys.executable, "-c", SCRIPT, "run", method, scene, "--preset", "tiny", "--budget", "150steps"]
    return subprocess.Popen(
        [*map(str, command), "--runs", str(runs), "--device", "cpu", *settings],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def parameters(runs):
    (folder,) = find_records(runs)
    assert read_record(folder).cost.steps == 150
    return load_file(folder / "checkpoint" / "field.safetensors")


@pytest.mark.parametrize("method", ["nerf", "idr"])
def test_a_killed_run_ends_with_the_parameters_of_one_that_was_not(blender_ball, tmp_path, method):
    whole = start(blender_ball, tmp_path / "whole", method)
    _, told = whole.communicate(timeout=300)
    assert whole.returncode == 0, told

    broken = start(blender_ball, tmp_path / "broken", method)
    states = tmp_path / "broken"
    while not list(states.rglob("state.safetensors")):
        assert broken.poll() is None, broken.stderr.read()
        time.sleep(0.01)
    time.sleep(random.random() * 0.5)
    broken.send_signal(signal.SIGKILL)
    broken.communicate()
    if find_records(tmp_path / "broken"):
        pytest.fail("the run ended before it could be killed: give it more steps")

    again = start(blender_ball, tmp_path / "broken", method)
    _, told = again.communicate(timeout=300)
    assert again.returncode == 0, told
    assert "Going on from step" in told
    expected, found = parameters(tmp_path / "whole"), parameters(tmp_path / "broken")
    assert expected.keys() == found.keys()
    for name, values in expected.items():
        assert (values == found[name]).all(), name
