import io
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from nfbench.harness.errors import ContractBroken
from nfbench.harness.guard import hidden_files, hidden_from_learning, hiding
from nfbench.harness.probe import ball
from nfbench.harness.scene import Given


def test_hidden_files_cannot_be_opened_while_a_method_runs(tmp_path, monkeypatch):
    scene = ball(tmp_path)
    path = scene.hidden.files[0]
    with pytest.raises(ContractBroken, match="hidden view"), hiding(hidden_files(scene)):  # at its end once more
        for attempt in (
            lambda: path.read_bytes(),
            lambda: Image.open(path),
            lambda: os.open(path, os.O_RDONLY),
            lambda: open(os.fsencode(path), "rb"),  # noqa: SIM115, PTH123
        ):
            with pytest.raises(ContractBroken, match="hidden view"):
                attempt()
        monkeypatch.chdir(path.parent)
        with pytest.raises(ContractBroken):
            Path(path.name).read_bytes()
        with pytest.raises(ContractBroken):
            subprocess.run(["cat", str(path)], check=True)
        with pytest.raises(ContractBroken):
            os.system(f"cat {path} > /dev/null")
        with pytest.raises(ContractBroken):
            os.link(path, tmp_path / "another.png")
        with pytest.raises(ContractBroken):
            io.FileIO(path)
        alias = tmp_path / "alias"
        alias.symlink_to(path.parent)
        with pytest.raises(ContractBroken):
            (alias / path.name).read_bytes()
        assert scene.given.views.image(0).shape == (24, 24, 4), "what is given stays open"
        (tmp_path / path.name).write_bytes(b"a prediction of the same name")
    assert path.read_bytes(), "and all is open again afterwards"


def test_views_that_are_given_and_measured_are_not_hidden(tmp_path):
    scene = ball(tmp_path)
    assert hidden_files(replace(scene, hidden=scene.given.views)) == []
    assert hidden_files(scene.seen()) == []


def test_what_lies_beside_the_hidden_views_is_hidden_too(tmp_path):
    scene = ball(tmp_path)
    fewer = replace(scene, hidden=scene.hidden.subset([0]))
    assert hidden_files(fewer) == sorted(scene.hidden.files)


def test_learning_sees_its_own_images_and_no_other_scenes_truth(tmp_path):
    learned, solved = ball(tmp_path / "a"), ball(tmp_path / "b")
    assert hidden_from_learning([solved], [learned.seen()]) == sorted(solved.hidden.files)
    assert hidden_from_learning([solved, learned], [learned.seen()]) == sorted(
        [*learned.hidden.files, *solved.hidden.files]
    )
    shared = replace(learned, given=replace(learned.given, views=solved.hidden))
    assert hidden_from_learning([solved], [shared]) == [], "what is given to learn from may be read"
    assert hidden_from_learning([solved], [replace(solved, given=Given())]) == sorted(solved.hidden.files)


def test_the_guard_ends_with_an_error(tmp_path):
    scene = ball(tmp_path)
    with pytest.raises(RuntimeError), hiding(hidden_files(scene)):
        raise RuntimeError
    assert scene.hidden.image(0).shape == (24, 24, 4)


def test_what_a_scene_withholds_is_hidden_but_not_what_it_gives(tmp_path):
    scene = ball(tmp_path)
    mesh = tmp_path / "mesh.ply"
    mesh.write_bytes(b"ply")
    given = scene.given.views.files
    withholding = replace(scene, hidden=None, withheld=(mesh, given[0]))
    assert hidden_files(withholding) == [mesh]
    part = withholding.giving("cloud")
    assert hidden_files(part) == sorted({mesh, *given})
    with pytest.raises(ContractBroken, match="does not give"), hiding(hidden_files(part)):
        given[1].read_bytes()
