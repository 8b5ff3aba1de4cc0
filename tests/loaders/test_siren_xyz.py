import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import siren_xyz

RNG = np.random.default_rng(0)
XYZ = RNG.uniform(-1, 1, (60, 3)) * [3, 1, 0.5] + [10, 20, 30]
NORMAL = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)


def written(path, xyz=XYZ, normal=NORMAL, **choices):
    np.savetxt(path, np.concatenate([xyz, normal], 1), **choices)
    return path


def test_the_map_is_that_of_the_original_and_its_inverse_is_kept(tmp_path):
    """vsitzmann/siren: less the mean, then (x - min) / (max - min) of all coordinates, less 0.5, times 2."""
    scene = siren_xyz.read(written(tmp_path / "a.xyz"))
    coords = XYZ - XYZ.mean(axis=0, keepdims=True)
    expected = ((coords - coords.min()) / (coords.max() - coords.min()) - 0.5) * 2
    np.testing.assert_allclose(scene.given.cloud.xyz, expected, atol=2e-6)
    assert scene.given.cloud.xyz.min() == -1
    assert scene.given.cloud.xyz.max() == 1
    assert np.ptp(scene.given.cloud.xyz, axis=0)[2] < 0.5
    back = scene.surface.xyz @ scene.frame[:3, :3].T + scene.frame[:3, 3]
    np.testing.assert_allclose(back, XYZ, rtol=1e-6)
    np.testing.assert_allclose(scene.surface.normal, NORMAL, atol=1e-7)
    np.testing.assert_array_equal(scene.box, [[-1] * 3, [1] * 3])
    assert scene.given.kinds() == siren_xyz.given == ("cloud",)
    assert scene.name == "a"
    assert siren_xyz.splits(tmp_path) == {}


def test_detection_wants_six_numbers(tmp_path):
    path = written(tmp_path / "a.xyz")
    assert siren_xyz.detect(path)
    assert siren_xyz.scenes(tmp_path) == [path]
    assert siren_xyz.scenes(path) == siren_xyz.scenes(tmp_path / "gone") == []
    for text, sound in (("# x\n\n1 2 3 0 0 1\n", True), ("1 2 3\n", False), ("1 2 3 0 0 x", False), ("", False)):
        (tmp_path / "b.xyz").write_text(text)
        assert siren_xyz.detect(tmp_path / "b.xyz") is sound
    assert siren_xyz.scenes(tmp_path) == []
    (tmp_path / "b.xyz").unlink()
    (tmp_path / "notes.txt").write_text("x")
    assert siren_xyz.scenes(tmp_path) == [path]
    assert not siren_xyz.detect(tmp_path / "notes.txt")


def test_windows_line_ends_are_read(tmp_path):
    scene = siren_xyz.read(written(tmp_path / "a ü.xyz", newline="\r\n"))
    assert len(scene.surface) == 60


def test_bad_clouds_are_named(tmp_path):
    path = tmp_path / "a.xyz"
    np.savetxt(path, XYZ)
    with pytest.raises(DataCorrupt, match=r"a\.xyz has no normals"):
        siren_xyz.read(path)
    with pytest.raises(DataCorrupt, match=r"a\.xyz: all of its points are the same"):
        siren_xyz.read(written(path, np.ones((60, 3))))
    with pytest.raises(DataCorrupt, match="NaN"):
        siren_xyz.read(written(path, XYZ * np.nan))
    with pytest.raises(DataCorrupt, match="no unit normal in row 0"):
        siren_xyz.read(written(path, normal=NORMAL * 2))
    path.write_text("1 2 3 0 0 1\n1 2\n")
    with pytest.raises(DataCorrupt, match=r"a\.xyz cannot be read as XYZ"):
        siren_xyz.read(path)
    with pytest.raises(DataMissing, match=r"gone\.xyz"):
        siren_xyz.read(tmp_path / "gone.xyz")


def test_what_is_written_is_read_back(tmp_path):
    before = siren_xyz.read(written(tmp_path / "a b.xyz"))
    siren_xyz.write(tmp_path / "out", [before])
    after = siren_xyz.read(tmp_path / "out" / "a b.xyz")
    np.testing.assert_allclose(after.surface.xyz, before.surface.xyz, atol=2e-6)
    np.testing.assert_allclose(after.surface.normal, before.surface.normal, atol=1e-7)
    np.testing.assert_allclose(after.frame, before.frame, rtol=1e-6)


def test_scenes_of_other_formats_are_written_in_original_coordinates(tmp_path):
    mesh = Mesh(np.eye(3), np.array([[0, 1, 2]]))
    turn = np.array([[0, -2, 0, 5], [2, 0, 0, 6], [0, 0, 2, 7], [0, 0, 0, 1.0]])
    points = Points(np.eye(3), normal=np.eye(3))
    box = [[-1] * 3, [1] * 3]
    siren_xyz.write(
        tmp_path, [Scene("m", Given(), box, surface=mesh), Scene("p", Given(), box, surface=points, frame=turn)]
    )
    assert len(np.loadtxt(tmp_path / "m.xyz")) == 100_000
    rows = np.loadtxt(tmp_path / "p.xyz")
    np.testing.assert_allclose(rows[:, :3], [[5, 8, 7], [3, 6, 7], [5, 6, 9]])
    np.testing.assert_allclose(rows[:, 3:], [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-9)
    with pytest.raises(DataMissing, match="no normals"):
        siren_xyz.write(tmp_path, [Scene("s", Given(), box, surface=Points(np.eye(3)))])
