import json

import numpy as np
import pytest

from nfbench.harness.dataset import detect, fingerprint, readable, task, task_from_path
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, NotFound
from nfbench.harness.inspection import inspect, text
from nfbench.harness.probe import ball
from nfbench.harness.task import SceneRef, Task
from nfbench.loaders import blender


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A small scene in Blender format, as a folder."""
    folder = tmp_path_factory.mktemp("data") / "ball"
    made = ball(tmp_path_factory.mktemp("ball"))
    blender.write(folder, {"train": made.given.views, "test": made.hidden})
    return folder


def test_a_path_is_a_task_under_its_formats_protocol(scene):
    found = task(str(scene))
    assert (found.name, found.protocol, found.given) == ("blender/ball", "nerf-synthetic@1", ("views",))
    assert [ref.name for ref in found.test] == ["ball"] and found.train == ()
    assert found.version == fingerprint(scene)
    assert len(found.test[0].open().hidden) == 3


def test_a_folder_of_scenes_is_a_task_of_many(scene, tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).symlink_to(scene)
    (tmp_path / "notes").mkdir()
    found = task_from_path(tmp_path)
    assert [ref.name for ref in found.test] == ["a", "b"], "a scene goes by the name it has in this folder"
    assert len(found.test[1].open().given.views) == 8


def test_every_nth_is_a_sub_task_with_its_own_name(scene):
    full = task(str(scene))
    assert full.every(1) is full
    third = full.every(3)
    assert third.name == "blender/ball+every3"
    assert third.test[0].open().hidden.names == (full.test[0].open().hidden.names[0],)
    assert task(f"{scene}+every3").name == third.name, "as a board shows it"
    with pytest.raises(NfbenchError, match="--test-every 0"):
        full.every(0)


def test_every_nth_scene_where_no_views_are_given():
    full = task("procedural-shapes/points-to-shape")
    assert [ref.name for ref in full.every(4).test] == [ref.name for ref in full.test][::4]
    assert full.only([full.test[1].name]).test == full.test[1:2]
    with pytest.raises(NotFound, match="no scene"):
        full.only(["nobody"])


def test_a_fingerprint_follows_names_sizes_and_text(scene, tmp_path):
    (tmp_path / "a.png").write_bytes(b"12")
    first = fingerprint(tmp_path)
    (tmp_path / "a.png").write_bytes(b"123")
    second = fingerprint(tmp_path)
    (tmp_path / "a.png").rename(tmp_path / "b.png")
    third = fingerprint(tmp_path)
    (tmp_path / "poses.json").write_text("1")
    fourth = fingerprint(tmp_path)
    (tmp_path / "poses.json").write_text("2")
    assert len({first, second, third, fourth, fingerprint(tmp_path)}) == 5


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all"])
def test_a_path_that_is_not_there(name):
    with pytest.raises(DataMissing, match="no folder"):
        task(name)


def test_a_name_that_nothing_goes_by_gives_the_nearest():
    with pytest.raises(NotFound) as caught:
        task("procedural/knott")
    assert "procedural/knot" in caught.value.hint


def test_a_folder_of_no_format_lists_the_known_ones(tmp_path):
    with pytest.raises(DataMissing, match="no known format") as caught:
        detect(tmp_path)
    assert "blender" in caught.value.hint


def test_inspect_tells_what_is_there(scene):
    found = inspect(scene)
    assert found["format"] == "blender" and found["problems"] == []
    assert found["scenes"][0]["name"] == "ball"
    assert found["scenes"][0]["splits"]["train"]["views"] == 8
    assert found["scenes"][0]["splits"]["test"]["size"] == [24, 24]
    assert np.shape(found["scenes"][0]["box"]) == (2, 3)
    assert json.loads(text(scene, None, True)) == found
    assert "8 views, 24x24" in text(scene, None, False)


def test_inspect_tells_what_is_wrong_and_still_the_rest(scene, tmp_path):
    (tmp_path / "good").symlink_to(scene)
    (tmp_path / "worse").mkdir()
    for path in scene.glob("*.json"):
        (tmp_path / "worse" / path.name).write_text(path.read_text())
    found = inspect(tmp_path)
    assert [s["name"] for s in found["scenes"]] == ["good"]
    assert len(found["problems"]) == 1 and "worse" in found["problems"][0]
    assert "problems  1" in text(tmp_path, None, False)


def test_scenes_that_do_not_open_are_left_out_and_named():
    def broken():
        raise DataCorrupt("half of it is gone", "fetch it")

    def fine():
        return "a scene"

    both = Task("t", "1", "p@1", (), (SceneRef("a", fine), SceneRef("b", broken)), (SceneRef("c", broken),))
    found, wrong = readable(both)
    assert [ref.name for ref in found.test] == ["a"] and found.train == ()
    assert found.scenes == ["a", "b"] and wrong == {"b": "half of it is gone", "c": "half of it is gone"}
    with pytest.raises(DataCorrupt, match="No scene of t opens: half of it"):
        readable(Task("t", "1", "p@1", (), (SceneRef("b", broken),)))
