import numpy as np
import pytest
import trimesh

from nfbench.harness.dataset import task_from_path
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, NotFound, Unsupported
from nfbench.harness.inside import inside
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.scene import Points
from nfbench.harness.surface import iou, nearest
from nfbench.loaders import onet
from nfbench.loaders import prepare as module
from nfbench.loaders.mesh_samples import distance, normalised
from nfbench.loaders.prepare import RECIPES, WORK, Settings, meshes_in, prepare


@pytest.fixture(scope="module")
def meshes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("meshes")
    (folder / "sub").mkdir()
    ball = trimesh.creation.icosphere(subdivisions=3, radius=2)
    ball.apply_translation((5, 0, 1))
    ball.export(folder / "ball.ply")
    trimesh.creation.box((1, 2, 3)).export(folder / "sub" / "brick.off")
    return folder


def opened(folder, name):
    refs = {ref.name: ref for ref in task_from_path(folder).test}
    (found,) = [ref for key, ref in refs.items() if key.endswith(name)]
    return found.open()


@pytest.mark.parametrize("to", [name for name in RECIPES if name not in ("imnet", "binvox")])
def test_what_is_prepared_is_loaded_and_lies_on_the_mesh(meshes, tmp_path, to):
    assert prepare(meshes, tmp_path / "out", Settings(to)) == {}
    assert not (tmp_path / "out" / WORK).exists()
    for name, file in meshes_in(meshes).items():
        scene = opened(tmp_path / "out", name)
        surface = scene.surface if isinstance(scene.surface, Points) else Points(scene.surface.vertices)
        back = surface.xyz @ scene.frame[:3, :3].T + scene.frame[:3, 3]
        mesh = read_mesh(file)
        if to not in ("onet", "convonet-rooms", "points2surf", "siren-xyz", "clouds"):  # whose frames are their own
            assert np.abs(distance(mesh, back[:2000])).max() < 2e-3
        fitted, _ = normalised(mesh, RECIPES[to].fit)
        samples = scene.given.samples
        if samples is not None and samples.kind == "sdf" and to == "deepsdf":
            np.testing.assert_allclose(samples.value[:500], distance(fitted, samples.xyz[:500]), atol=1e-5)
        if to in ("onet", "convonet-rooms"):
            query = scene.occupancy
            assert iou(inside(fitted, query.xyz), query.value >= 0.5) > 0.99
        if to == "onet":
            cubes = onet.read(tmp_path / "out" / name, "voxels").given.voxels
            assert cubes.filled.shape == (32, 32, 32)
            np.testing.assert_array_equal(inside(fitted, cubes.centres()), cubes.filled.ravel())


@pytest.mark.parametrize("to", ["imnet", "binvox"])
def test_voxels_agree_with_the_mesh(meshes, tmp_path, to):
    prepare(meshes, tmp_path / "out", Settings(to))
    for name in meshes_in(meshes):
        scene = opened(tmp_path / "out", name)
        assert len(scene.given.samples) > 1000 and 0.05 < scene.given.samples.value.mean() < 0.6


@pytest.mark.parametrize("to", ["blender", "srn", "nsvf", "idr"])
def test_rendered_silhouettes_are_those_of_the_mesh(meshes, tmp_path, to):
    prepare(meshes, tmp_path / "out", Settings(to, views=4, pixels=48))
    scene = opened(tmp_path / "out", "ball")
    views = scene.given.views
    assert len(views) >= 1 and tuple(views.cameras.size[0]) == (48, 48)
    share = np.mean([views.mask(i).mean() for i in range(len(views))]) if to != "srn" else None
    if share is not None:
        assert 0.4 < share < 0.75, "a ball that a square picture holds with a little room"


def test_the_same_seed_gives_the_same_set_whatever_the_processes(meshes, tmp_path):
    prepare(meshes, tmp_path / "one", Settings("deepsdf", seed=3))
    prepare(meshes, tmp_path / "two", Settings("deepsdf", seed=3), jobs=2)
    prepare(meshes, tmp_path / "other", Settings("deepsdf", seed=4))
    first, second, third = (opened(tmp_path / name, "ball").given.samples.xyz for name in ("one", "two", "other"))
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, third)


def test_a_broken_off_run_goes_on(meshes, tmp_path, monkeypatch):
    calls = []
    real = module.read_mesh

    def once(file):
        calls.append(file.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(file)

    monkeypatch.setattr(module, "read_mesh", once)
    with pytest.raises(KeyboardInterrupt):
        prepare(meshes, tmp_path / "out", Settings("clouds"))
    prepare(meshes, tmp_path / "out", Settings("clouds"))
    assert calls == ["ball.ply", "brick.off", "brick.off"], "the first is not made again"
    assert len(task_from_path(tmp_path / "out").test) == 2


def test_bad_meshes_are_named_or_left_out(meshes, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "good.ply").write_bytes((meshes / "ball.ply").read_bytes())
    (folder / "bad.ply").write_bytes(b"ply\nformat")
    with pytest.raises(DataCorrupt, match=r"bad\.ply"):
        prepare(folder, tmp_path / "out", Settings("clouds"))
    wrong = prepare(folder, tmp_path / "out", Settings("clouds"), skip_bad=True)
    assert list(wrong) == ["bad"] and len(task_from_path(tmp_path / "out").test) == 1


def test_what_cannot_be_prepared_is_named(meshes, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataMissing, match="no mesh"):
        prepare(tmp_path / "empty", tmp_path / "out", Settings("onet"))
    with pytest.raises(Unsupported, match="not made of meshes"):
        prepare(meshes, tmp_path / "out", Settings("dtu-truth"))
    with pytest.raises(NotFound, match="onett"):
        prepare(meshes, tmp_path / "out", Settings("onett"))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(NfbenchError, match="there already"):
        prepare(meshes, tmp_path / "full", Settings("onet"))
    (tmp_path / "twins").mkdir()
    for name in ("a.ply", "a.off"):
        (tmp_path / "twins" / name).touch()
    with pytest.raises(DataCorrupt, match="both be called a"):
        prepare(tmp_path / "twins", tmp_path / "out", Settings("onet"))


def test_nearest_points_of_a_prepared_cloud_are_spread(meshes, tmp_path):
    prepare(meshes, tmp_path / "out", Settings("clouds"))
    scene = opened(tmp_path / "out", "ball")
    other, _ = nearest(read_mesh(meshes / "ball.ply").vertices / 4 - np.array([1.25, 0, 0.25]), scene.surface.xyz)
    assert other.max() < 0.02


def one_mesh(folder, name, extent):
    folder.mkdir()
    trimesh.creation.box(extent).export(folder / f"{name}.ply")
    return folder


@pytest.mark.parametrize("to", ["onet", "convonet-rooms", "deepsdf", "ldif", "points2surf", "imnet", "dfaust"])
def test_a_split_is_added_to_a_dataset(tmp_path, to):
    seen, unseen = one_mesh(tmp_path / "a", "seen", (1, 2, 3)), one_mesh(tmp_path / "b", "unseen", (2, 1, 1))
    out = tmp_path / "out"
    prepare(seen, out, Settings(to), split="train")
    with pytest.raises(DataMissing, match=f"to learn from in {to} format, and none to be solved"):
        task_from_path(out)
    prepare(unseen, out, Settings(to), split="test")
    task = task_from_path(out)
    assert len(task.train) == len(task.test) == 1
    assert [ref.name.rsplit("-")[-1] for ref in (*task.train, *task.test)] == ["seen", "unseen"]
    given = task.train[0].open().given
    assert given.samples is not None or given.cloud is not None
    other = one_mesh(tmp_path / "c", "other", (1, 1, 1))
    for split in ("train", "test"):
        with pytest.raises(NfbenchError, match=f"has a {split} split in {to} format already"):
            prepare(other, out, Settings(to), split=split)


def test_meshes_go_into_several_lists(meshes, tmp_path):
    prepare(meshes, tmp_path / "out", Settings("onet"), split="train,test")
    task = task_from_path(tmp_path / "out")
    assert [ref.name for ref in task.train] == [ref.name for ref in task.test] == ["ball", "sub-brick"]
    prepare(meshes, tmp_path / "once", Settings("onet"), split="train")
    with pytest.raises(NfbenchError, match="has a shape ball in its train split already"):
        prepare(meshes, tmp_path / "once", Settings("onet"), split="test")
    for wrong in ("trian", "train,train", ""):
        with pytest.raises(NfbenchError, match="names no splits"):
            prepare(meshes, tmp_path / "none", Settings("onet"), split=wrong)


def test_what_imnet_holds_is_in_the_frame_of_its_recipe(tmp_path):
    """Points and voxels in the cube [-0.5,0.5]^3 in which the mesh has a diagonal of 1, as in the authors' files."""
    source = tmp_path / "meshes"
    source.mkdir()
    trimesh.creation.box((3, 2, 1)).export(source / "box.off")
    prepare(source, tmp_path / "out", Settings("imnet"))
    (row,) = task_from_path(tmp_path / "out").test
    scene = row.open()
    truth, _ = normalised(read_mesh(source / "box.off"), RECIPES["imnet"].fit)
    for points in (scene.occupancy, scene.given.samples):
        assert np.abs(points.xyz).max() <= 0.5
        assert iou(inside(truth, points.xyz), points.value >= 0.5) > 0.99
