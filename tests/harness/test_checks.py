import numpy as np
import pytest

from nfbench.harness.checks import check_method
from nfbench.harness.probe import RADIUS, ball
from nfbench.harness.registry import method_spec, registry
from nfbench.harness.scene import KINDS

SOURCE = """
import dataclasses
import numpy as np

@dataclasses.dataclass(frozen=True)
class Config:
    grey: float = 0.5

class Good:
    Config = Config
    presets = {"tiny": Config(0.25)}
    needs = ("views",)
    kind = "sdf"
    def __init__(self, config, seed, device):
        self.grey, self.seed = config.grey, seed
    def fit(self, scene, budget):
        for step in budget.run(10):
            step.log(loss=0.0)
        return self
    def render(self, cameras):
        width, height = cameras.size[0]
        return np.full((len(cameras), height, width, 3), self.grey, np.float32)
    def value(self, xyz):
        return np.linalg.norm(xyz, axis=1) - 0.3
    def save(self, folder):
        (folder / "grey.txt").write_text(str(self.grey))
    def restore(self, folder):
        self.grey = float((folder / "grey.txt").read_text())
        return self

class NanRender(Good):
    def render(self, cameras):
        return super().render(cameras) * np.nan

class WrongShape(Good):
    def render(self, cameras):
        return super().render(cameras)[0]

class Levels255(Good):
    def render(self, cameras):
        return super().render(cameras) * 255

class OneImageOnly(Good):
    def render(self, cameras):
        return super().render(cameras)[:1]

class WrongValue(Good):
    def value(self, xyz):
        return xyz

class UnknownKind(Good):
    kind = "distance"

class NoField(Good):
    def fit(self, scene, budget):
        return 3

class Unseeded(Good):
    def fit(self, scene, budget):
        self.grey = np.random.default_rng().uniform(0, 1)
        return self

class PeekObject(Good):
    def fit(self, scene, budget):
        return scene.hidden.image(0)

class PeekFile(Good):
    def fit(self, scene, budget):
        folder = scene.given.views.files[0].parent.parent / "test"
        for path in folder.glob("*.png"):
            path.read_bytes()
        return self

class Overtime(Good):
    def fit(self, scene, budget):
        import time
        time.sleep(0 if budget.seconds is None else budget.seconds + 4)
        return self

class Forgetful(Good):
    def restore(self, folder):
        self.grey = 0.9
        return self

class NoAnswer(Good):
    def fit(self, scene, budget):
        pass

class Exits(Good):
    def fit(self, scene, budget):
        raise SystemExit(3)

class SwallowsTheRefusal(Good):
    def fit(self, scene, budget):
        try:
            scene.given.views.files[0].parent.parent.joinpath("test", "v_0.png").read_bytes()
        except Exception:
            pass
        return self

class NoBuild(Good):
    def __init__(self):
        pass

class WrongPreset(Good):
    presets = {"tiny": 0.5}
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("methods") / "methods.py"
    path.write_text(SOURCE)
    return path


def broken(file, name):
    return {f.clause: f.why for f in check_method(method_spec(f"{file}:{name}")) if not f.kept}


def test_a_good_method_keeps_every_clause(file):
    findings = check_method(method_spec(f"{file}:Good"))
    assert [f.why for f in findings if not f.kept] == []
    assert len(findings) == 9


@pytest.mark.parametrize(
    ("name", "clause", "words"),
    [
        ("NanRender", "renders", "NaN"),
        ("WrongShape", "renders", "shape (24, 24, 3), not (1, 24, 24, 3)"),
        ("Levels255", "renders", "spans"),
        ("OneImageOnly", "renders", "1 images for 3 cameras"),
        ("WrongValue", "value", "shape (1, 3), not (1,)"),
        ("UnknownKind", "value", "distance"),
        ("NoField", "renders, has a value", "int"),
        ("NoAnswer", "renders, has a value", "NoneType"),
        ("Exits", "fits a scene", "SystemExit"),
        ("SwallowsTheRefusal", "without a hidden view", "hidden view"),
        ("Unseeded", "same answer again", "differs"),
        ("PeekObject", "without a hidden view", "scene.given"),
        ("PeekFile", "without a hidden view", "hidden view"),
        ("Forgetful", "restores", "differs"),
        ("NoBuild", "is built", "positional argument"),
        ("WrongPreset", "presets", "float"),
    ],
)
def test_what_is_wrong_is_said_in_words(file, name, clause, words):
    found = broken(file, name)
    assert any(clause in key and words in why for key, why in found.items()), found


def test_a_budget_of_seconds_is_kept(file, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.sleep", lambda seconds: clock.__setitem__(0, clock[0] + seconds))
    monkeypatch.setattr("nfbench.harness.checks.time.perf_counter", lambda: clock[0])
    assert "budget of 1 s took" in next(iter(broken(file, "Overtime").values()))


@pytest.mark.parametrize("name", sorted(registry().methods))
def test_every_method_here_keeps_the_contract(name):
    findings = check_method(method_spec(name))
    assert [f"{f.clause}: {f.why}" for f in findings if not f.kept] == []


def test_the_probe_gives_every_kind_of_input(tmp_path):
    scene = ball(tmp_path)
    assert scene.given.kinds() == KINDS
    voxels = scene.given.voxels
    inside = np.linalg.norm(voxels.centres(), axis=1) < RADIUS
    np.testing.assert_array_equal(voxels.filled.ravel(), inside)
    volume = inside.mean() * np.prod(voxels.box[1] - voxels.box[0])
    assert volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.02)
