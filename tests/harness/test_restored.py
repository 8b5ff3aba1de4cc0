import dataclasses

import numpy as np
import pytest

from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, NotFound, RecordInvalid
from nfbench.harness.meshfile import write_ply
from nfbench.harness.probe import ball
from nfbench.harness.protocol import protocol
from nfbench.harness.record import MethodEntry, Record, TaskEntry, read_record, write_record
from nfbench.harness.registry import method_spec
from nfbench.harness.restored import MeshField, restored, restored_run
from nfbench.harness.runner import Run
from nfbench.harness.scene import Mesh
from nfbench.harness.task import SceneRef, Task

METHODS = """
from dataclasses import dataclass
from pathlib import Path
import numpy as np

@dataclass(frozen=True)
class Settings:
    tint: tuple[float, ...] = (0.5, 0.25)
    width: int = 3
    name: str | None = None

class Field:
    def __init__(self, config, seed, scale):
        self.config, self.seed, self.scale = config, seed, scale
    def render(self, cameras):
        width, height = cameras.size[0]
        return np.full((len(cameras), height, width, 3), self.config.tint[0] * self.scale, np.float32)
    def save(self, folder):
        (folder / "scale.txt").write_text(str(self.scale))

class Tinted:
    Config = Settings
    def __init__(self, config, seed, device):
        self.config, self.seed = config, seed
    def fit(self, scene, budget):
        return Field(self.config, self.seed, 0.75)
    def restore(self, folder):
        return Field(self.config, self.seed, float((folder / "scale.txt").read_text()))
"""
MESH = Mesh(np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]), [[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


@pytest.fixture
def ran(tmp_path):
    """A run of Tinted on the probe, with a setting of its own, and the file of the method."""
    file = tmp_path / "mine.py"
    file.write_text(METHODS)
    scene = ball(tmp_path / "scene", hidden=1)
    task = Task("probe/ball", "1", "nerf-synthetic@1", ("views",), (SceneRef("ball", lambda: scene),))
    spec = method_spec(f"{file}:Tinted")
    chosen = protocol("nerf-synthetic@1")
    (outcome,) = Run(spec, task, chosen, tmp_path / "runs", settings={"tint": "[0.25, 0.5]", "width": "7"})(seed=4)
    assert outcome.record.status == "ok"
    return outcome.folder, f"{file}:Tinted"


def test_a_field_comes_back_with_config_seed_and_weights(ran):
    folder, method = ran
    field = restored(folder, read_record(folder), method)
    assert dataclasses.asdict(field.config) == {"tint": (0.25, 0.5), "width": 7, "name": None}
    assert (field.seed, field.scale) == (4, 0.75)


def test_a_method_from_a_file_must_be_named(ran):
    folder, method = ran
    with pytest.raises(NotFound, match=r"mine\.py:Tinted is from a file"):
        restored(folder, read_record(folder))
    with pytest.raises(NotFound, match="found by its name no more"):
        restored_run(folder, method=method)


def test_a_config_that_fits_no_more_is_told(ran):
    folder, method = ran
    record = read_record(folder)
    record.method.config["width"] = "wide"
    with pytest.raises(DataCorrupt, match="config does not fit Tinted: width"):
        restored(folder, record, method)


def mesh_run(folder, task="procedural/knot", mesh=True, scene="", protocol="procedural@1"):
    scene = scene or find_task("procedural/knot").test[0].name
    entry = MethodEntry(name="visual-hull", target="nfbench.baselines.visual_hull:VisualHull", config={"resolution": 8})
    write_record(
        folder,
        Record(
            method=entry,
            task=TaskEntry(name=task, version="1", scenes=[scene]),
            scene=scene,
            seed=0,
            protocol=protocol,
            primary="psnr",
            status="ok",
        ),
    )
    if mesh:
        (folder / "predictions").mkdir()
        write_ply(folder / "predictions" / "mesh.ply", MESH)


def test_without_a_checkpoint_the_predicted_mesh_is_the_field(tmp_path):
    mesh_run(tmp_path, task="procedural/knot+every8")
    found = restored_run(tmp_path)
    assert isinstance(found.field, MeshField)
    np.testing.assert_allclose(found.field.mesh().vertices, MESH.vertices)
    np.testing.assert_array_equal(found.field.mesh().faces, MESH.faces)
    whole = find_task("procedural/knot").test[0].open()
    assert found.scene.name == whole.name
    assert len(found.scene.hidden) == -(-len(whole.hidden) // 8)
    assert found.scene.background == found.protocol.image.background
    assert found.protocol.id == "procedural@1"


def test_a_run_on_another_input_is_restored_from_the_whole_task(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    write_ply(data / "tetrahedron.ply", MESH)
    mesh_run(tmp_path / "run", task="meshes/data+from-samples", scene="tetrahedron", protocol="onet-shapenet@1")
    for task in (data, f"{data}+from-samples"):
        found = restored_run(tmp_path / "run", str(task))
        assert found.scene.given.kinds() == ("samples",) and found.scene.name == "tetrahedron"
    with pytest.raises(NfbenchError, match=r"of task meshes/data\+from-samples, not of meshes/data\+from-voxels"):
        restored_run(tmp_path / "run", f"{data}+from-voxels")


def test_what_is_not_there_is_told(tmp_path):
    with pytest.raises(RecordInvalid):
        restored_run(tmp_path)
    mesh_run(tmp_path, mesh=False)
    with pytest.raises(DataMissing, match=r"saved no checkpoint.*mesh\.ply"):
        restored_run(tmp_path)
    (tmp_path / "checkpoint").mkdir()
    with pytest.raises(DataMissing, match="no restore"):
        restored_run(tmp_path)


def test_another_task_is_refused(tmp_path):
    mesh_run(tmp_path)
    with pytest.raises(NfbenchError, match="not of procedural/vase"):
        restored_run(tmp_path, task="procedural/vase")
