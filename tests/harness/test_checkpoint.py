import json

import pytest
import torch

from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import DataCorrupt, DataMissing


@pytest.fixture
def folder(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "b": torch.tensor([True])}
    write_checkpoint(tmp_path / "new", "nerf", "field", tensors, {"config": {"width": 3}})
    return tmp_path / "new"


def test_what_is_read_is_what_was_written(folder):
    tensors, about = read_checkpoint(folder, "nerf", "field")
    assert torch.equal(tensors["a"], torch.arange(6.0).view(2, 3).T) and tensors["b"].dtype == torch.bool
    assert about["config"] == {"width": 3}


def test_a_missing_file_is_named(folder):
    with pytest.raises(DataMissing, match=r"network\.json"):
        read_checkpoint(folder, "nerf", "network")
    (folder / "field.safetensors").unlink()
    with pytest.raises(DataMissing, match=r"field\.safetensors"):
        read_checkpoint(folder, "nerf", "field")


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"method": "srn", "holds": "field"}), "3"])
def test_another_methods_checkpoint_is_refused(folder, text):
    (folder / "field.json").write_text(text)
    with pytest.raises(DataCorrupt, match=r"field\.json"):
        read_checkpoint(folder, "nerf", "field")


def test_a_damaged_file_is_named(folder):
    path = folder / "field.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataCorrupt, match=r"field\.safetensors"):
        read_checkpoint(folder, "nerf", "field")
