import numpy as np
import pytest

from nfbench.harness.conversion import convert
from nfbench.harness.errors import DataMissing, NfbenchError, NotFound, Unsupported
from nfbench.harness.probe import ball
from nfbench.loaders import blender


@pytest.fixture
def source(tmp_path):
    scene = ball(tmp_path / "cache")
    blender.write(tmp_path / "ball", {"train": scene.given.views, "test": scene.hidden})
    return tmp_path / "ball"


def test_a_scene_is_written_with_all_its_splits(source, tmp_path):
    assert convert(source, tmp_path / "copy", "blender") == [tmp_path / "copy"]
    theirs, ours = blender.splits(source), blender.splits(tmp_path / "copy")
    assert list(theirs) == list(ours) == ["train", "test"]
    for name in theirs:
        assert theirs[name].names == ours[name].names
        np.testing.assert_array_equal(theirs[name].cameras.c2w, ours[name].cameras.c2w)
        np.testing.assert_array_equal(theirs[name].image(0), ours[name].image(0))


def test_several_scenes_keep_their_names(source, tmp_path):
    (tmp_path / "many").mkdir()
    for name in ("a", "b"):
        convert(source, tmp_path / "many" / name, "blender")
    written = convert(tmp_path / "many", tmp_path / "out", "blender")
    assert written == [tmp_path / "out" / "a", tmp_path / "out" / "b"]
    assert len(blender.splits(tmp_path / "out" / "b")["test"]) == len(blender.splits(source)["test"])


def test_what_cannot_be_converted_is_named(source, tmp_path):
    with pytest.raises(NotFound, match="blendr"):
        convert(source, tmp_path / "c", "blendr")
    with pytest.raises(Unsupported, match="read and not written"):
        convert(source, tmp_path / "c", "dtu-truth")
    with pytest.raises(NfbenchError, match="there already"):
        convert(source, source, "blender")
    with pytest.raises(DataMissing):
        convert(tmp_path / "nothing", tmp_path / "c", "blender")
    assert not (tmp_path / "c").exists()
