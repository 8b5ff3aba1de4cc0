"""Which inputs a format offers and which a scene has, as `nfbench inspect` tells them."""

import json
from dataclasses import replace

import numpy as np
import pytest

from nfbench.harness.dataset import task_from_path
from nfbench.harness.errors import NfbenchError, Unsupported
from nfbench.harness.inputs import gives, inputs
from nfbench.harness.inspection import inspect, rendered
from nfbench.harness.scene import KINDS, Given, Points, Scene, Voxels
from nfbench.loaders import blender, colmap, dtu_truth, onet

SIDE = 8


@pytest.fixture
def shapes(tmp_path):
    """Two shapes in the format of Occupancy Networks, `a` with voxels and `b` without."""
    cells = np.indices((SIDE, SIDE, SIDE)).sum(0) < 9
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (400, 3)).astype(np.float32)
    space = Points(xyz, value=(xyz.sum(1) < 0).astype(np.float32), kind="occupancy")
    box = np.array([[-0.55] * 3, [0.55] * 3], np.float32)
    scene = Scene("a", Given(voxels=Voxels(cells, [[-0.5] * 3, [0.5] * 3])), box, surface=Points(xyz), occupancy=space)
    onet.write(tmp_path, [scene, replace(scene, name="b", given=Given())])
    return tmp_path


def test_the_inputs_of_a_format_are_those_that_its_tasks_can_be_asked_for(shapes):
    assert inputs(onet) == ("cloud", "views", "samples", "voxels")
    assert inputs(blender) == ("views",) and inputs(colmap) == ("views", "cloud") and inputs(dtu_truth) == ()
    task = task_from_path(shapes, "onet")
    for kind in KINDS:
        assert (kind in inputs(onet)) == (task.giving(kind).given == (kind,))


def test_a_scene_gives_an_input_when_its_files_are_there(shapes):
    found = {
        name: [kind for kind in KINDS if gives(shapes / name, onet, onet.read(shapes / name), kind)] for name in "ab"
    }
    assert found == {"a": ["cloud", "samples", "voxels"], "b": ["cloud", "samples"]}


def test_a_format_of_one_input_gives_no_other(shapes):
    scene = onet.read(shapes / "a")
    assert not gives(shapes / "a", blender, scene, "voxels")


def test_files_that_are_damaged_are_not_taken_for_absent(shapes):
    (shapes / "a" / "model.binvox").write_bytes(b"#binvox 1\ndim 8 8 8\n")
    with pytest.raises(NfbenchError, match=r"model\.binvox"):
        gives(shapes / "a", onet, onet.read(shapes / "a"), "voxels")


def test_inspect_tells_what_can_be_given(shapes, nfbench):
    code, out, _ = nfbench("inspect", shapes, "--json")
    found = json.loads(out)
    assert code == 0 and found["given"] == ["cloud"] and found["inputs"] == ["cloud", "views", "samples", "voxels"]
    assert "check" not in found
    code, out, _ = nfbench("inspect", shapes)
    assert code == 0 and "\ngives     cloud; with --given also views, samples, voxels\n" in out


def test_a_check_counts_the_scenes_with_each_input(shapes, nfbench):
    code, out, _ = nfbench("inspect", shapes, "--check", "--json")
    assert code == 0 and json.loads(out)["check"]["inputs"] == {"cloud": 2, "views": 0, "samples": 2, "voxels": 1}
    code, out, _ = nfbench("inspect", shapes, "--check")
    assert code == 0 and "inputs    cloud of 2, views of 0, samples of 2, voxels of 1 scenes\n" in out


def test_a_damaged_input_fails_the_check_only(shapes, nfbench):
    (shapes / "a" / "model.binvox").write_bytes(b"#binvox 1\ndim 8 8 8\n")
    assert nfbench("inspect", shapes)[0] == 0
    code, out, _ = nfbench("inspect", shapes, "--check", "--json")
    found = json.loads(out)
    assert code == 2 and found["check"]["inputs"]["voxels"] == 0
    (problem,) = found["problems"]
    assert str(shapes / "a" / "model.binvox") in problem


def test_one_input_leaves_nothing_to_choose(blender_ball):
    found = inspect(blender_ball, check=True)
    assert found["given"] == found["inputs"] == ["views"] and "inputs" not in found["check"]
    assert "\ngives     views\n" in rendered(found, False) and "inputs    " not in rendered(found, False)
    with pytest.raises(Unsupported):
        task_from_path(blender_ball).giving("cloud")
