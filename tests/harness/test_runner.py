import json

import numpy as np
import pytest

from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.method import Budget
from nfbench.harness.probe import ball
from nfbench.harness.protocol import protocol
from nfbench.harness.record import find_records, read_record
from nfbench.harness.registry import method_spec, resolve
from nfbench.harness.runner import PRIOR, Run, choose_device
from nfbench.harness.scoring import score
from nfbench.harness.task import SceneRef, Task
from nfbench.harness.watcher import Watcher

METHODS = '''
from pathlib import Path
import numpy as np

class Flat:
    """One grey."""
    def __init__(self, config, seed, device):
        self.seed = seed
    def fit(self, scene, budget):
        for step in budget.run(3):
            step.log(loss=1.0 / (step.index + 1))
        return self
    def render(self, cameras):
        width, height = cameras.size[0]
        return np.full((len(cameras), height, width, 3), 0.5 + 0.1 * self.seed, np.float32)

class Bad(Flat):
    def render(self, cameras):
        return np.full_like(super().render(cameras), np.nan)

class Crash(Flat):
    def fit(self, scene, budget):
        raise ValueError("out of cheese")

class Peek(Flat):
    def fit(self, scene, budget):
        train = scene.given.views.files[0]
        (train.parent.parent / "test" / "v_0.png").read_bytes()

class Nothing(Flat):
    render = None
    def fit(self, scene, budget):
        return object()

class NoSurface(Flat):
    kind = "density"
    def value(self, xyz):
        return np.zeros(len(xyz))

class Learned(Flat):
    def learn(self, scenes, budget):
        self.grey = 0.25
        for scene in scenes:
            assert scene.hidden is None and scene.surface is None
    def save(self, folder):
        (folder / "grey.txt").write_text(str(self.grey))
    def load(self, folder):
        self.grey = float((folder / "grey.txt").read_text())
    def render(self, cameras):
        return super().render(cameras) * 0 + self.grey

class LearnsPeeking(Learned):
    def learn(self, scenes, budget):
        super().learn(scenes, budget)
        scenes[0].given.views.image(0)
        (scenes[0].given.views.files[0].parent.parent / "test" / "v_0.png").read_bytes()

class LearnsPeekingInSilence(LearnsPeeking):
    def learn(self, scenes, budget):
        try:
            super().learn(scenes, budget)
        except Exception:
            pass
'''


@pytest.fixture
def task(tmp_path):
    scene = ball(tmp_path / "ball")
    ref = SceneRef("ball", lambda: scene)
    return Task("test/ball", "1", "nerf-synthetic@1", ("views", "cloud"), (ref,), (ref,))


@pytest.fixture
def run(task, tmp_path):
    path = tmp_path / "methods.py"
    path.write_text(METHODS)

    def make(name, **changes):
        values = {"task": task, "protocol": protocol("nerf-synthetic@1"), "runs": tmp_path / "runs", **changes}
        return Run(method_spec(f"{path}:{name}"), **values)

    return make


def test_a_run_leaves_all_that_the_design_promises(run, tmp_path):
    (outcome,) = run("Flat", budget=Budget(steps=2))(0)
    record = outcome.record
    assert outcome.folder.parent == tmp_path / "runs" / "test" / "ball" / "Flat" / "ball"
    assert outcome.folder.name == f"0-{record.method.hash}"
    names = {p.relative_to(outcome.folder).as_posix() for p in outcome.folder.rglob("*") if p.is_file()}
    assert {"record.json", "scores.parquet", "log.jsonl", "predictions/v_0.png", "pictures/truth/v_0.png"} <= names
    assert read_record(outcome.folder) == record
    assert record.status == "ok" and record.coverage == 1 and record.expected == 3
    assert record.method.budget == "2steps" and record.cost.steps == 2
    log = [json.loads(line) for line in (outcome.folder / "log.jsonl").open()]
    assert [line.get("loss") for line in log] == [1.0, 0.5, None]
    assert record.cost.peak_memory_bytes > 1e6 and record.environment["packages"]["numpy"] == np.__version__
    assert set(record.hashes) == {"predictions", "truth"}


def test_scoring_the_written_predictions_gives_the_same_to_the_last_digit(run, task):
    (outcome,) = run("Flat")(0)
    again = score(outcome.folder / "predictions", task.test[0].open(), protocol("nerf-synthetic@1"))
    assert again.summary(protocol("nerf-synthetic@1")) == outcome.record.scores


def test_the_same_run_again_does_nothing(run):
    (first,) = run("Flat")(0)
    stamp = (first.folder / "record.json").stat().st_mtime_ns
    (second,) = run("Flat")(0)
    assert second.reused and not first.reused
    assert (first.folder / "record.json").stat().st_mtime_ns == stamp


def test_seed_budget_and_code_make_another_run(run, tmp_path):
    folders = {run("Flat")(0)[0].folder, run("Flat")(1)[0].folder, run("Flat", budget=Budget(steps=1))(0)[0].folder}
    (tmp_path / "methods.py").write_text(METHODS + "\n# changed\n")
    folders.add(run("Flat")(0)[0].folder)
    assert len(folders) == 4


@pytest.mark.parametrize(
    ("name", "status", "kind", "words"),
    [
        ("Bad", "failed", "ContractBroken", "v_0"),
        ("Crash", "failed", "ValueError", "out of cheese"),
        ("Peek", "failed", "ContractBroken", "hidden view"),
    ],
)
def test_a_failure_is_a_record(run, name, status, kind, words):
    good = run("Flat")(0)[0].folder
    (outcome,) = run(name)(0)
    record = read_record(outcome.folder)
    assert (record.status, record.error.type) == (status, kind) and words in record.error.message
    assert bool(record.error.traceback) == (kind == "ValueError")
    assert record.coverage == 0 and not record.scores
    assert read_record(good).status == "ok"
    assert not run(name)(0)[0].reused, "a failure is tried again"


def test_an_empty_surface_does_not_cost_the_images(run):
    (outcome,) = run("NoSurface", protocol=protocol("procedural@1"))(0)
    record = outcome.record
    assert record.status == "ok" and list(record.failed) == ["mesh.ply"] and record.coverage == 0.75
    assert "psnr" in record.scores and "iou" not in record.scores
    (outcome,) = run("NoSurface", protocol=protocol("onet-shapenet@1"))(0)
    assert outcome.record.status == "failed" and "no faces" in outcome.record.error.message


def test_a_field_that_gives_nothing_measurable_is_unsupported(run):
    assert run("Nothing")(0)[0].record.status == "unsupported"


def test_a_method_that_needs_what_the_task_does_not_give_is_unsupported(run, task):
    spec = run("Flat").spec
    from dataclasses import replace

    (outcome,) = replace(run("Flat"), spec=replace(spec, needs=("samples",)))(0)
    assert outcome.record.status == "unsupported"
    assert "needs samples" in outcome.record.error.message


def test_a_prior_is_learned_once_and_read_again(run, task):
    lines = []
    (first,) = run("Learned")(0)
    assert first.record.status == "ok", first.record.error
    assert (first.folder.parent.parent / PRIOR / first.folder.name / "grey.txt").exists()
    (first.folder / "record.json").unlink()
    (second,) = run("Learned", watcher=Watcher(line=lines.append))(0)
    assert lines == ["Learned: the prior learned before is used again"]
    assert second.record.scores == first.record.scores
    assert second.record.cost.learn_seconds == first.record.cost.learn_seconds


@pytest.mark.parametrize("name", ["LearnsPeeking", "LearnsPeekingInSilence"])
def test_learning_from_a_hidden_file_is_a_failure_by_name(run, task, tmp_path, name):
    (outcome,) = run(name)(0)
    record = read_record(outcome.folder)
    assert (record.status, record.error.type) == ("failed", "ContractBroken") and not record.error.traceback
    assert str(tmp_path / "ball" / "test" / "v_0.png") in record.error.message
    assert not list((tmp_path / "runs").rglob("grey.txt")), "what was learned from it is not kept"
    assert task.test[0].open().hidden.image(0).shape == (24, 24, 4), "and all is open again afterwards"


def test_data_that_cannot_be_opened_is_told_before_learning_and_a_learned_prior_needs_no_training_data(run, task):
    from dataclasses import replace

    def broken():
        raise DataMissing("There is no transforms_test.json.")

    gone = SceneRef("other", broken)
    with pytest.raises(DataMissing):
        run("Learned", task=replace(task, test=(*task.test, gone)))(0)
    learned = run("Learned")
    assert not (learned.runs / "test" / "ball" / "Learned").exists()
    (first,) = learned(0)
    (first.folder / "record.json").unlink()
    assert run("Learned", task=replace(task, train=(gone,)))(0)[0].record.status == "ok"


def test_a_learner_without_training_scenes_is_unsupported(run, task):
    from dataclasses import replace

    (outcome,) = run("Learned", task=replace(task, train=()))(0)
    assert outcome.record.status == "unsupported" and "training scenes" in outcome.record.error.message


def test_a_defect_of_the_data_stops_the_run_and_charges_no_method(run, task, tmp_path):
    from dataclasses import replace

    def broken():
        raise DataMissing("There is no transforms_test.json.")

    with pytest.raises(DataMissing):
        run("Flat", task=replace(task, test=(SceneRef("ball", broken),)))(0)
    assert find_records(tmp_path / "runs") == []


def test_a_damaged_record_is_told_and_run_again(run):
    (first,) = run("Flat")(0)
    (first.folder / "record.json").write_text("{")
    lines = []
    (second,) = run("Flat", watcher=Watcher(line=lines.append))(0)
    assert not second.reused and read_record(second.folder).status == "ok"
    assert "record.json" in lines[0]


def test_cuda_asked_for_and_absent_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert choose_device("auto") == "cpu"
    with pytest.raises(Unsupported, match="no GPU"):
        choose_device("cuda")


TRAINED = """
from pathlib import Path
import numpy as np
import torch
from nfbench.harness.training import Training

class Trained:
    \"\"\"A grey that is trained; what goes wrong with it stands in files beside this one.\"\"\"
    def __init__(self, config, seed, device):
        pass
    def fit(self, scene, budget):
        self.grey = torch.nn.Parameter(torch.zeros(()))
        adam = torch.optim.Adam([self.grey], 0.05)
        draws = torch.Generator().manual_seed(0)
        holder = torch.nn.ParameterDict({"grey": self.grey})
        training = Training(budget, 30, adam, {"grey": holder, "draws": draws}, field=lambda: self)
        training._written = -1e9
        for step in training:
            if when("stop") == step.index:
                raise KeyboardInterrupt
            target = 0.6 + 0.1 * torch.rand((), generator=draws)
            if when("wrong") == step.index:
                target = target * float("nan")
            training.descend(1, lambda part: (self.grey - target).square())
            training._written = -1e9
        return self
    def render(self, cameras):
        width, height = cameras.size[0]
        return np.full((len(cameras), height, width, 3), float(self.grey.detach()), np.float32).clip(0, 1)

def when(what):
    path = Path(__file__).with_name(what)
    return int(path.read_text()) if path.exists() else None
"""


@pytest.fixture
def trained(run, tmp_path):
    path = tmp_path / "trained.py"
    path.write_text(TRAINED)

    def make(**changes):
        from dataclasses import replace

        return replace(run("Flat", budget=Budget(steps=30)), spec=method_spec(f"{path}:Trained"), **changes)

    return make


def states(tmp_path):
    return [path.name for path in (tmp_path / "runs").rglob(".*.state")]


def test_a_run_that_was_killed_goes_on_and_ends_as_one_that_was_not(trained, tmp_path):
    told = []
    whole = trained(runs=tmp_path / "whole")
    (expected,) = whole(0)
    broken = trained(watcher=Watcher(line=told.append))
    (tmp_path / "stop").write_text("17")
    with pytest.raises(KeyboardInterrupt):
        broken(0)
    assert states(tmp_path) and not find_records(tmp_path / "runs")
    (tmp_path / "stop").unlink()
    (outcome,) = broken(0)
    assert [line for line in told if "Going on from step 17" in line]
    assert outcome.record.scores == expected.record.scores
    assert outcome.record.cost.steps == 30 and not states(tmp_path)
    log = [json.loads(line)["step"] for line in (outcome.folder / "log.jsonl").open()]
    assert log == sorted(log) and log[0] == 0 and log[-1] == 29


def test_a_run_that_diverges_fails_by_name_and_leaves_its_last_good_state(trained, tmp_path):
    (tmp_path / "wrong").write_text("5")
    (outcome,) = trained()(0)
    assert outcome.record.status == "failed" and outcome.record.error.type == "Diverged"
    assert "Step 5" in outcome.record.error.message and outcome.record.error.traceback == ""
    assert (outcome.folder / "training" / "last-good.safetensors").is_file()
    assert (outcome.folder / "log.jsonl").is_file() and not states(tmp_path)


def test_the_curve_is_in_the_log_and_changes_no_score(trained, tmp_path):
    (plain,) = trained(runs=tmp_path / "plain")(0)
    (curved,) = trained(curve=(0.0,))(0)
    assert curved.record.scores == plain.record.scores
    rows = [json.loads(line) for line in (curved.folder / "log.jsonl").open()]
    (measured,) = [row for row in rows if "validation psnr" in row]
    assert 1 < measured["validation psnr"] < 20


def test_charts_for_tensorboard(trained, tmp_path):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = trained(charts=tmp_path / "charts")
    run(0)
    (folder,) = {path.parent for path in (tmp_path / "charts").rglob("events*")}
    events = event_accumulator.EventAccumulator(str(folder))
    events.Reload()
    (tag,) = events.Tags()["scalars"]
    assert tag == "Trained fit ball/loss"
    assert 0.3 < events.Scalars(tag)[0].value < 0.5  # (0 - 0.6..0.7)^2


def test_energy_is_read_where_the_machine_tells(tmp_path):
    from nfbench.harness.provenance import energy_meter

    assert energy_meter("cpu", tmp_path)() is None
    for name, value in (("intel-rapl:0", 5_000_000), ("intel-rapl:1", 7_500_000), ("intel-rapl:0:0", 1)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{value}\n")
    assert energy_meter("cpu", tmp_path)() == 12.5


def test_the_hash_covers_the_files_of_its_package_that_a_method_uses(tmp_path, monkeypatch):
    import sys

    from nfbench.harness.provenance import code_digest

    package = tmp_path / "someones"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "method.py").write_text(
        "from someones.network import WIDTH\nimport json\nclass Mine:\n    width = WIDTH\n"
    )
    (package / "network.py").write_text("from someones import deep\nWIDTH = 3\n")
    (package / "deep.py").write_text("DEPTH = 1\n")
    (package / "other.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        kind = resolve("someones.method:Mine")
        digests = [code_digest(kind)]
        for name in ("deep", "network", "method", "other"):
            with (package / f"{name}.py").open("a") as file:
                file.write("# changed\n")
            digests.append(code_digest(kind))
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "someones"]:
            del sys.modules[name]
    assert len(set(digests[:4])) == 4, "each of the three files counts"
    assert digests[4] == digests[3], "one that the method does not import does not"
