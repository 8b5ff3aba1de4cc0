import json

import numpy as np
import pytest

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, Unsupported
from nfbench.harness.scene import Given, Points, Scene
from nfbench.loaders import clouds, dfaust

RNG = np.random.default_rng(0)
XYZ = RNG.normal(0, 0.3, (70, 3)).astype(np.float32)
NORMAL = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
ROWS = np.concatenate([XYZ, NORMAL], 1)


class Boom:
    def __reduce__(self):
        return pytest.fail, ("it was unpickled",)


def scan(root, name="50002/chicken_wings/00045", rows=ROWS, kind="npy"):
    path = root / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, rows)
    beside = path.with_name(f"{path.stem}_normalization.{kind}")
    if kind == "npy":
        np.save(beside, np.array({"center": Boom(), "scale": 1}, object), allow_pickle=True)
    else:
        np.savez(beside, center=np.array([1.0, 2, 3]), scale=np.array(1.0))
    return path


def split(path, *scans):
    path.write_text(json.dumps({"scans": {"50002": {"chicken_wings": list(scans)}}}))


def test_a_scan_is_read_and_nothing_unpickled(tmp_path):
    path = scan(tmp_path)
    scene = dfaust.read(path)
    assert scene.name == "50002-chicken_wings-00045"
    assert scene.given.kinds() == dfaust.given == ("cloud",)
    np.testing.assert_array_equal(scene.given.cloud.xyz, XYZ)
    np.testing.assert_array_equal(scene.surface.normal, NORMAL)
    assert scene.unit == 1
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    assert (scene.box[0] < XYZ.min(0)).all()
    assert (scene.box[1] > XYZ.max(0)).all()
    assert dfaust.splits(path) == {}


def test_the_pickled_normalisation_is_refused_and_the_hint_converts_it(tmp_path):
    path = scan(tmp_path)
    with pytest.raises(Unsupported, match="pickled dict") as caught:
        dfaust.read_normalization(path)
    assert "numpy.savez('00045_normalization.npz', center=d['center'], scale=d['scale'])" in caught.value.hint
    assert "allow_pickle=True).item()" in caught.value.hint
    np.savez(tmp_path / "50002/chicken_wings/00045_normalization.npz", center=[1.0, 2, 3], scale=2.0)
    scene = dfaust.read(path)
    np.testing.assert_array_equal(scene.frame, [[2, 0, 0, 1], [0, 2, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])
    assert scene.unit == 2
    with pytest.raises(DataMissing, match="gone_normalization"):
        dfaust.read_normalization(path.with_name("gone.npy"))
    for bad in ({"center": [1.0, 2, 3], "scale": 0.0}, {"center": [np.nan, 2, 3], "scale": 1.0}):
        np.savez(tmp_path / "50002/chicken_wings/00045_normalization.npz", **bad)
        with pytest.raises(DataCorrupt, match=r"00045_normalization\.npz: center"):
            dfaust.read(path)


def test_scans_with_and_without_lists(tmp_path):
    a, b, c = (scan(tmp_path, f"50002/chicken_wings/{n}") for n in "abc")
    assert dfaust.scenes(tmp_path) == [a, b, c]
    assert dfaust.scenes(tmp_path / "50002") == [a, b, c]
    assert dfaust.scenes(a.parent) == [a, b, c]
    assert dfaust.scenes(a) == [a]
    assert dfaust.training(tmp_path) == []
    split(tmp_path / "test_all.json", "c", "a", "c")
    split(tmp_path / "train_all.json", "b")
    assert dfaust.scenes(tmp_path) == [c, a]
    assert dfaust.training(tmp_path) == [b]
    assert clouds.scenes(a.parent) == []
    split(tmp_path / "a_test.json")
    split(tmp_path / "test_all.json", "gone")
    with pytest.raises(DataMissing, match=r"test_all\.json names '50002/chicken_wings/gone\.npy'"):
        dfaust.scenes(tmp_path)


def test_a_list_beyond_all_sizes_is_not_read(tmp_path, monkeypatch):
    assert dfaust._MOST == 2**26
    (tmp_path / "x.json").write_text("{}")
    monkeypatch.setattr(dfaust, "_MOST", 2)
    assert dfaust.read_split(tmp_path / "x.json") == []
    monkeypatch.setattr(dfaust, "_MOST", 1)
    with pytest.raises(DataCorrupt, match="has 2 bytes: no list"):
        dfaust.read_split(tmp_path / "x.json")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff\xff", "cannot be read as JSON"),
        (b"[1]", "no list of scans"),
        (b'{"a": {"b": {"c": "d"}}}', "no list of scans"),
        (b'{"a": {"b": {"c": [1]}}}', "no list of scans"),
        (b'{"a": {"..": {"..": ["x"]}}}', "no place"),
    ],
)
def test_bad_lists_are_named(tmp_path, text, words):
    scan(tmp_path)
    (tmp_path / "test_all.json").write_bytes(text)
    with pytest.raises(DataCorrupt, match=rf"test_all\.json.*{words}"):
        dfaust.scenes(tmp_path)
    with pytest.raises(DataMissing, match=r"gone\.json"):
        dfaust.read_split(tmp_path / "gone.json")


def test_files_of_other_formats_are_left_alone(tmp_path):
    path = scan(tmp_path, "a")
    assert dfaust.detect(path)
    assert not dfaust.detect(path.with_name("a_normalization.npy"))
    path.with_name("a_normalization.npy").unlink()
    assert not dfaust.detect(path)
    assert dfaust.scenes(tmp_path) == dfaust.scenes(tmp_path / "gone") == []
    assert not dfaust.detect(scan(tmp_path, "b", XYZ))
    (tmp_path / "test.json").write_text("not ours")
    assert dfaust.scenes(tmp_path) == dfaust.training(tmp_path) == []


def test_bad_scans_are_named(tmp_path):
    for rows, words in (
        (ROWS * np.nan, "NaN"),
        (ROWS[:0], "no points"),
        (ROWS[:, :5], r"shape \(70, 5\), not \(N, 6\)"),
    ):
        with pytest.raises(DataCorrupt, match=rf"00045\.npy.*{words}"):
            dfaust.read(scan(tmp_path, rows=rows))


def test_what_is_written_is_read_back_exactly(tmp_path):
    before = dfaust.read(scan(tmp_path / "in", kind="npz"))
    other = Scene("s", Given(), before.box, surface=before.surface)
    dfaust.write(tmp_path / "out", [before, other], "train")
    found = dfaust.training(tmp_path / "out")
    assert [dfaust.name(p) for p in found] == ["50002-chicken_wings-00045", "subject-sequence-s"]
    after = dfaust.read(found[0])
    np.testing.assert_array_equal(after.surface.xyz, XYZ)
    np.testing.assert_array_equal(after.surface.normal, NORMAL)
    np.testing.assert_array_equal(after.frame, before.frame)
    with pytest.raises(DataMissing, match="no normals"):
        dfaust.write(tmp_path, [Scene("s", Given(), before.box, surface=Points(XYZ))])
    with pytest.raises(ContractBroken, match="turns"):
        dfaust.write(tmp_path, [Scene("s", Given(), before.box, surface=before.surface, frame=np.diag([1, 2, 1, 1]))])
