import numpy as np
import pytest

from nfbench.harness.camera import Cameras, look_at, project, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import texture_fields

SIDE, N = 16, 4
K = np.array([[35.0, 0, -16, 0], [0, 35, -16, 0], [0, 0, -16, 0]])


def world_mat(i):
    """World to camera in OpenGL axes, written down without the module under test."""
    pose = np.eye(4)
    pose[:3] = look_at([1.5 * np.cos(i), 1.5 * np.sin(i), 0.4], [0, 0, 0]) * [1, -1, -1, 1]
    return np.linalg.inv(pose)[:3]


def image_of(i):
    return np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def arrays(n=N):
    return {f"world_mat_{i}": world_mat(i) for i in range(n)} | {f"camera_mat_{i}": K for i in range(n)}


def save(folder, arrays):
    (folder / "visualize" / "depth").mkdir(parents=True, exist_ok=True)
    np.savez(folder / "visualize" / "depth" / "cameras.npz", **arrays)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "id"
    for i in range(N):
        write_png(folder / "visualize" / "image" / f"{i:03d}.png", image_of(i))
    save(folder, arrays())
    return folder


def test_reads_views(folder):
    assert texture_fields.detect(folder)
    scene = texture_fields.read(folder)
    assert scene.name == "id"
    assert scene.given.kinds() == texture_fields.given
    assert scene.hidden.names == ("000",)
    assert scene.given.views.names == ("001", "002", "003")
    np.testing.assert_array_equal(scene.given.views.image(1), image_of(2))
    np.testing.assert_allclose(scene.given.views.cameras.K[0], [[17.5, 0, 8], [0, 17.5, 8], [0, 0, 1]])
    np.testing.assert_array_equal(scene.box, np.float32([[-0.55] * 3, [0.55] * 3]))
    assert scene.given.views.load_depth is None
    assert {k: len(v) for k, v in texture_fields.splits(folder).items()} == {"train": 3, "test": 1}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("key", ["world_mat_1", "camera_mat_1"])
def test_numbers_beyond_float32_are_refused_by_the_name_of_the_view(folder, key):
    beyond = arrays()[key].copy()
    beyond[0, 3 if key == "world_mat_1" else 2] = 1e39
    save(folder, arrays() | {key: beyond})
    with pytest.raises(DataCorrupt, match=r"cameras\.npz \(001\)"):
        texture_fields.read(folder)


def test_projection_is_that_of_the_original(folder):
    """u = (K W p)_x / (K W p)_z in [0,2]; v likewise, from below."""
    point = np.array([[0.1, 0.2, -0.15]])
    views = texture_fields.read(folder).given.views
    for i in range(3):
        q = K[:, :3] @ world_mat(i + 1) @ np.append(point, 1)
        xy, depth = project(views.cameras, i, point)
        np.testing.assert_allclose(xy[0], [q[0] / q[2] * SIDE / 2, (2 - q[1] / q[2]) * SIDE / 2], rtol=1e-5)
        assert depth > 0


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("camera_mat_1", np.eye(2), "shape"),
        ("camera_mat_1", -K, "looks along -z"),
        ("camera_mat_1", np.diag([1.0, 1, 0]), "looks along -z"),
        ("camera_mat_1", K + np.eye(3, 4, k=3), "looks along -z"),
        ("camera_mat_1", K + np.eye(3, 4, k=-2), "looks along -z"),
        ("camera_mat_1", K + np.eye(3, 4, k=-1), "looks along -z"),
        ("world_mat_1", np.zeros((3, 4)), "not a rotation"),
        ("world_mat_4", world_mat(0), "belongs to no image"),
    ],
)
def test_bad_cameras(folder, key, value, word):
    save(folder, arrays() | {key: value})
    with pytest.raises((DataCorrupt, DataMissing), match=word):
        texture_fields.read(folder)


def test_one_view_is_not_enough(tmp_path):
    write_png(tmp_path / "visualize" / "image" / "000.png", image_of(0))
    assert not texture_fields.detect(tmp_path)
    save(tmp_path, arrays(1))
    with pytest.raises(DataMissing, match="single view"):
        texture_fields.read(tmp_path)


def test_depth_that_does_not_fit(folder):
    (folder / "visualize" / "depth" / "000.exr").write_bytes(b"v/1\x01")
    with pytest.raises(DataCorrupt, match=r"000\.exr"):
        texture_fields.read(folder)
    (folder / "visualize" / "depth" / "000.exr").rename(folder / "visualize" / "depth" / "009.exr")
    with pytest.raises(DataMissing, match="depth has nothing for image 000"):
        texture_fields.read(folder)


def test_written_objects_are_read_back(tmp_path):
    rng = np.random.default_rng(0)
    c2w = np.stack([look_at(rng.normal(size=3) + [2, 0, 0], rng.normal(size=3)) for _ in range(3)])
    intrinsics = np.float32([[[7.3 + i, 0.2, 3.1], [0, 6.9, 1.9], [0, 0, 1]] for i in range(3)])
    images = rng.integers(0, 256, (3, 4, 6, 4), dtype=np.uint8)
    names = ("b ü", "a", "c")
    views = Views(Cameras(c2w, intrinsics, np.tile(np.int32([6, 4]), (3, 1))), names, lambda i: images[i])
    texture_fields.write(tmp_path / "s", {"train": views.subset([0, 1]), "test": views.subset([1, 2])})
    back = texture_fields._views(tmp_path / "s")
    assert back.names == ("a", "b ü", "c")
    for i, name in enumerate(back.names):
        j = names.index(name)
        np.testing.assert_allclose(back.cameras.c2w[i], c2w[j], atol=1e-6)
        np.testing.assert_allclose(back.cameras.K[i], intrinsics[j], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(back.image(i), images[j])
    with pytest.raises(NfbenchError, match="already"):
        texture_fields.write(tmp_path / "s", {"train": views})
    scaled = Views(Cameras(c2w, intrinsics * 2, views.cameras.size), names, views.load)
    with pytest.raises(ContractBroken, match="last row"):
        texture_fields.write(tmp_path / "t", {"train": scaled})


def test_the_real_car(real_data):
    """Points lifted from the depth of each view land in the silhouettes of the others."""
    folder = real_data / "texture_fields_car" / "cc067578ad92517bbe25370c898e25a5"
    assert texture_fields.detect(folder)
    assert not texture_fields.detect(folder.parent)
    views = texture_fields._views(folder)
    assert len(views) == 5
    assert views.image(0).shape == (256, 256, 4)
    shares = []
    for i in range(5):
        depth = views.depth(i).reshape(-1)
        known = np.isfinite(depth)
        assert 0.1 < known.mean() < 0.4
        origins, directions = rays(views.cameras, i)
        points = (origins + directions * np.where(known, depth, 0)[:, None])[known]
        for j in range(5):
            column, row = project(views.cameras, j, points)[0].astype(int).T
            seen = (column >= 0) & (row >= 0) & (column < 256) & (row < 256)
            shares.append(np.isfinite(views.depth(j))[row[seen], column[seen]].mean())
    assert min(shares) > 0.98
    assert np.mean(shares) > 0.99


def damaged(rng, data):
    """Some bytes cut off, put in, taken out or changed."""
    at, much = int(rng.integers(len(data))), int(rng.integers(1, 20))
    kind = rng.integers(4)
    if kind == 0:
        return data[:at]
    return data[:at] + (rng.bytes(much) if kind < 3 else b"") + data[at + (much if kind > 1 else 0) :]


def fuzz(folder, rounds, seed=0):
    """How many of the damaged objects were refused; anything but an NfbenchError comes out."""
    rng = np.random.default_rng(seed)
    files = [folder / "visualize" / "depth" / "cameras.npz", folder / "visualize" / "image" / "002.png"]
    refusals = 0
    for _ in range(rounds):
        file = files[int(rng.integers(2))]
        whole = file.read_bytes()
        file.write_bytes(damaged(rng, whole))
        try:
            views = texture_fields.read(folder).given.views
            for i in range(len(views)):
                views.image(i)
        except NfbenchError:
            refusals += 1
        finally:
            file.write_bytes(whole)
    return refusals


def test_damaged_files_are_refused_in_words(folder):
    assert fuzz(folder, 200) > 100
    assert len(texture_fields.read(folder).given.views) == 3
