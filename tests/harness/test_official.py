import pickle

import pytest
import torch
from safetensors.torch import save_file

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.official import mapped, read_official, section


class Evil:
    def __reduce__(self):
        return (print, ("ran",))


def test_tensors_numbers_and_dicts_are_read(tmp_path):
    state = {"epoch": 3, "model": {"module.a.weight": torch.arange(6.0).view(2, 3)}}
    torch.save(state, tmp_path / "a.pth")
    found = section(read_official(tmp_path / "a.pth"), "model_state_dict", "model")
    assert list(found) == ["a.weight"] and torch.equal(found["a.weight"], state["model"]["module.a.weight"])
    torch.save(state, tmp_path / "old.tar", _use_new_zipfile_serialization=False)
    assert read_official(tmp_path / "old.tar")["epoch"] == 3
    save_file({"a": torch.ones(2)}, tmp_path / "a.safetensors")
    assert list(section(read_official(tmp_path / "a.safetensors"), "model")) == ["a"]


def test_nothing_of_a_file_is_run(tmp_path, capsys):
    torch.save({"model": Evil()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(DataCorrupt, match=name):
            read_official(tmp_path / name)
    assert "ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.pth", b""),
        ("a.pth", b"hello, this is no checkpoint"),
        ("a.safetensors", b"12345678{}"),
        ("a.pth", b"PK\3\4xx"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataCorrupt, match=name):
        read_official(tmp_path / name)
    with pytest.raises(DataMissing, match="absent"):
        read_official(tmp_path / "absent.pth")


def test_a_cut_file_and_a_bare_tensor_are_named(tmp_path):
    torch.save({"a": torch.rand(100)}, tmp_path / "a.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "a.pth").read_bytes()[:-40])
    torch.save(torch.rand(3), tmp_path / "bare.pth")
    for name, word in (("cut.pth", "cut"), ("bare.pth", "Tensor")):
        with pytest.raises(DataCorrupt, match=word):
            read_official(tmp_path / name)


def test_names_are_mapped_and_everything_that_does_not_fit_is_told():
    names, shapes = {"mine.w": "w", "mine.b": "b"}, {"mine.w": (2, 3), "mine.b": (2,)}
    good = {"w": torch.ones(2, 3), "b": torch.zeros(2), "step.count": torch.tensor(1)}
    found = mapped(good, names, shapes, ignored=["step."])
    assert list(found) == ["mine.w", "mine.b"] and found["mine.w"] is good["w"]
    with pytest.raises(DataCorrupt) as caught:
        mapped({"w": torch.ones(3, 2), "c": torch.ones(1)}, names, shapes)
    for words in ("b is missing", "c is not known", "w is (3, 2) and not (2, 3)"):
        assert words in caught.value.message
    with pytest.raises(DataCorrupt, match=r"step\.count is not known"):
        mapped(good, names, shapes)
