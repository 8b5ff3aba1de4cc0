import json
from dataclasses import replace

import pytest

from nfbench.harness.errors import DataMissing, NfbenchError, NotFound
from nfbench.harness.image_scores import truth_image
from nfbench.harness.png import write_png
from nfbench.harness.probe import ball
from nfbench.harness.protocol import protocol
from nfbench.harness.record import find_records, read_record
from nfbench.harness.submission import keep, locate, score_parts
from nfbench.harness.task import SceneRef, Task

IMAGES = protocol("nerf-synthetic@1")


@pytest.fixture
def task(tmp_path):
    scenes = {name: replace(ball(tmp_path / name, seed=i), name=name) for i, name in enumerate(("one", "two"))}
    refs = tuple(SceneRef(name, lambda name=name: scenes[name]) for name in scenes)
    return Task("test/balls", "1", IMAGES.id, ("views",), refs)


def answer(folder, scene):
    folder.mkdir(parents=True)
    for index, name in enumerate(scene.hidden.names):
        write_png(folder / f"{name}.png", 255 - truth_image(scene.hidden, index, (1.0, 1.0, 1.0)))


def test_one_scene_flat_and_many_in_folders(task, tmp_path):
    for ref in task.test:
        answer(tmp_path / "p" / ref.name, ref.open())
    _, parts = locate(tmp_path / "p", task)
    assert [p.folder for p in parts] == [tmp_path / "p" / "one", tmp_path / "p" / "two"]
    _, parts = locate(tmp_path / "p" / "one", task.only(["one"]))
    assert parts[0].folder == tmp_path / "p" / "one"
    _, parts = locate(tmp_path / "p", task.only(["one"]))
    assert parts[0].folder == tmp_path / "p" / "one", "a folder a scene also for one scene"


def test_the_json_is_of_the_fixed_form(task, tmp_path):
    for ref in task.test:
        answer(tmp_path / "p" / ref.name, ref.open())
    task, parts = locate(tmp_path / "p", task)
    data = json.loads(json.dumps(score_parts(parts, task, IMAGES).as_json()))
    assert {"protocol", "task", "coverage", "missing", "scores"} <= set(data)
    assert (data["protocol"], data["task"], data["coverage"], data["missing"]) == (IMAGES.id, "test/balls", 1.0, [])
    psnr = data["scores"]["psnr"]
    assert (psnr["unit"], psnr["better"]) == ("dB", "higher")
    assert set(psnr["items"]) == {f"{s}/v_{i}" for s in ("one", "two") for i in range(3)}
    assert psnr["mean"] == pytest.approx(sum(psnr["items"].values()) / 6)
    single, parts = locate(tmp_path / "p" / "one", task.only(["one"]))
    assert set(score_parts(parts, single, IMAGES).as_json()["scores"]["psnr"]["items"]) == {"v_0", "v_1", "v_2"}


def test_a_missing_scene_is_named_and_partial_counts_it(task, tmp_path):
    answer(tmp_path / "p" / "one", task.test[0].open())
    task, parts = locate(tmp_path / "p", task)
    with pytest.raises(DataMissing, match="two"):
        score_parts(parts, task, IMAGES)
    found = score_parts(parts, task, IMAGES, partial=True)
    assert found.coverage == 0.5 and found.missing == ["two/v_0", "two/v_1", "two/v_2"]


def test_submitted_predictions_become_a_record(task, tmp_path):
    single = replace(task, test=task.test[:1])
    answer(tmp_path / "p", single.test[0].open())
    (tmp_path / "p" / "v_2.png").unlink()
    single, parts = locate(tmp_path / "p", single)
    score_parts(
        parts,
        single,
        IMAGES,
        partial=True,
        after=lambda part, scene, scores: keep("theirs", part, scene, scores, single, IMAGES, tmp_path / "runs"),
    )
    (folder,) = find_records(tmp_path / "runs")
    record = read_record(folder)
    assert (record.method.name, record.origin, record.missing) == ("theirs", "submitted", ["v_2"])
    assert record.coverage == pytest.approx(2 / 3)
    assert (folder / "pictures" / "truth" / "v_0.png").exists()


def test_the_scenes_of_a_submission_share_a_row_and_a_later_one_replaces_it(task, tmp_path):
    for ref in task.test:
        answer(tmp_path / "p" / ref.name, ref.open())
    _, parts = locate(tmp_path / "p", task)
    for _ in range(2):
        score_parts(
            parts,
            task,
            IMAGES,
            after=lambda part, scene, scores: keep("theirs", part, scene, scores, task, IMAGES, tmp_path / "runs"),
        )
    records = [read_record(folder) for folder in find_records(tmp_path / "runs")]
    assert sorted(record.scene for record in records) == ["one", "two"]
    assert len({record.method.hash for record in records}) == 1
    assert records[0].task.scenes == ["one", "two"]


def test_a_runs_folder_answers_for_its_own_scene_and_sub_task(task, tmp_path):
    single = task.only(["two"]).every(2)
    answer(tmp_path / "p", single.test[0].open())
    scene = single.test[0].open()
    part = locate(tmp_path / "p", single)[1][0]
    scores = score_parts([part], single, IMAGES).scores["two"]
    folder = keep("theirs", part, scene, scores, single, IMAGES, tmp_path / "runs")
    (tmp_path / "p").rename(folder / "predictions")
    found, parts = locate(folder, task)
    assert found.name == "test/balls+every2" and [p.ref.name for p in parts] == ["two"]
    again = score_parts(parts, found, IMAGES)
    assert again.scores["two"].items == scores.items
    with pytest.raises(NfbenchError, match="is a run of task"):
        locate(folder, replace(task, name="another/task"))
    with pytest.raises(NotFound):
        locate(folder, task.only(["one"]))


def test_no_folder(task, tmp_path):
    with pytest.raises(DataMissing, match="no folder"):
        locate(tmp_path / "nowhere", task)
