import numpy as np
import pytest
from PIL import Image

from nfbench.harness.camera import Cameras, look_at, project
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.scene import Views
from nfbench.loaders import choy

K = np.array([[149.84375, 0, 68.5], [0, 149.84375, 68.5], [0, 0, 1]])


def world_mat(i):
    pose = np.eye(4)
    pose[:3] = look_at([np.cos(i), np.sin(i), 0.5], [0, 0, 0])
    return np.linalg.inv(pose)[:3]


def image_of(i):
    return np.random.default_rng(i).integers(0, 256, (137, 137, 3), dtype=np.uint8)


def arrays(n=3):
    return {f"world_mat_{i}": world_mat(i) for i in range(n)} | {f"camera_mat_{i}": K for i in range(n)}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "id" / "img_choy2016"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.fromarray(image_of(i)).save(folder / f"{i:03d}.jpg", quality=95)
    np.savez(folder / "cameras.npz", **arrays())
    return folder


def test_reads_views(folder):
    views = choy.read_choy(folder)
    assert views.names == ("000", "001", "002")
    assert views.files[1] == folder / "001.jpg"
    assert views.cameras.size.tolist() == [[137, 137]] * 3
    np.testing.assert_array_equal(views.cameras.K, np.tile(np.float32(K), (3, 1, 1)))
    np.testing.assert_array_equal(views.image(2), np.array(Image.open(folder / "002.jpg")))
    assert views.cameras.near_far is None


def test_projection_is_that_of_onet(folder):
    """img_choy2016: pixels of 137x137 are camera_mat @ world_mat @ (x, y, z, 1)."""
    points = np.array([[0.1, -0.2, 0.05], [0, 0, 0]])
    views = choy.read_choy(folder)
    for i in range(3):
        q = np.c_[points, np.ones(2)] @ (K @ world_mat(i)).T
        xy, depth = project(views.cameras, i, points)
        np.testing.assert_allclose(xy, q[:, :2] / q[:, 2:], rtol=1e-5)
        np.testing.assert_allclose(depth, q[:, 2], rtol=1e-5)


def test_scale_and_loc_bring_cameras_to_the_points(folder):
    points, scale, loc = np.array([[0.1, -0.2, 0.05], [0.3, 0, 0]]), 0.7, np.array([0.1, 0.02, -0.3])
    near, far = choy.read_choy(folder, scale, loc), choy.read_choy(folder)
    for i in range(3):
        xy, depth = project(near.cameras, i, points)
        expected, deep = project(far.cameras, i, points * scale + loc)
        np.testing.assert_allclose(xy, expected, rtol=1e-4)
        np.testing.assert_allclose(depth * scale, deep, rtol=1e-4)


@pytest.mark.parametrize(
    ("scale", "loc"), [(0, (0, 0, 0)), (-1, (0, 0, 0)), (np.nan, (0, 0, 0)), (1, (0, 0)), (1, (0, 0, np.inf))]
)
def test_scales_and_places_that_cannot_be(folder, scale, loc):
    with pytest.raises(DataCorrupt, match=r"scale .* and loc"):
        choy.read_choy(folder, scale, loc)


def test_bad_input(folder):
    Image.fromarray(np.zeros((137, 138, 3), np.uint8)).save(folder / "001.jpg")
    with pytest.raises(DataCorrupt, match=r"001.jpg: \(138, 137\) pixels, not 137x137"):
        choy.read_choy(folder)
    (folder / "001.jpg").unlink()
    with pytest.raises(DataMissing, match="world_mat_1 belongs to no image"):
        choy.read_choy(folder)
    np.savez(folder / "cameras.npz", **{k: v for k, v in arrays().items() if k[-1] != "2"})
    with pytest.raises(DataMissing, match="world_mat_2 is missing, the camera of image 002"):
        choy.read_choy(folder)
    (folder / "cameras.npz").unlink()
    with pytest.raises(DataMissing, match=r"cameras.npz"):
        choy.read_choy(folder)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (np.eye(4), r"\(4, 4\), not \(3, 3\)"),
        (np.diag([2.0, 2, 2]), "last row"),
        (np.full((3, 3), np.inf), "NaN"),
        (np.diag([0.0, 1, 1]), "usable"),
    ],
)
def test_bad_intrinsics(folder, value, word):
    np.savez(folder / "cameras.npz", **arrays() | {"camera_mat_1": value})
    with pytest.raises(DataCorrupt, match=word):
        choy.read_choy(folder)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("key", ["world_mat_1", "camera_mat_1"])
def test_numbers_beyond_float32_are_refused_by_the_name_of_the_view(folder, key):
    beyond = arrays()[key].copy()
    beyond[0, 3 if key == "world_mat_1" else 2] = 1e39
    np.savez(folder / "cameras.npz", **arrays() | {key: beyond})
    with pytest.raises(DataCorrupt, match=r"cameras\.npz \(001\)"):
        choy.read_choy(folder)


def test_a_number_of_more_digits_than_python_converts(folder):
    np.savez(folder / "cameras.npz", **arrays() | {f"world_mat_{'1' * 5000}": np.eye(4)})
    with pytest.raises(DataMissing, match="belongs to no image"):
        choy.read_choy(folder)


def test_written_views_are_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    c2w = np.stack([look_at(rng.normal(size=3) + [2, 0, 0], rng.normal(size=3)) for _ in range(3)])
    intrinsics = np.float32([[[140 + i, 0.1, 60], [0, 150, 70 - i], [0, 0, 1]] for i in range(3)])
    images = rng.integers(0, 256, (3, 137, 137, 3), dtype=np.uint8)
    for names, order in ((("000", "005", "017"), [0, 1, 2]), (("c", "a ü", "b"), [1, 2, 0])):
        views = Views(Cameras(c2w, intrinsics, np.full((3, 2), 137)), names, lambda i: images[i])
        choy.write_choy(tmp_path / names[0], views)
        back = choy.read_choy(tmp_path / names[0])
        assert back.names == tuple(names[i] for i in order)
        np.testing.assert_array_equal(back.cameras.c2w, c2w[order])
        np.testing.assert_array_equal(back.cameras.K, intrinsics[order])
        for i, j in enumerate(order):
            np.testing.assert_array_equal(back.image(i), images[j])


def test_what_cannot_be_written(tmp_path):
    views = Views(Cameras(np.eye(4)[None, :3], K[None], [[137, 136]]), ("a",), image_of)
    with pytest.raises(ContractBroken, match="137x137"):
        choy.write_choy(tmp_path / "x", views)
    with pytest.raises(ContractBroken, match="137x137"):
        choy.write_choy(tmp_path / "x", views.subset([]))
    for names in (("..",), ("a/b",), (".a",)):
        one = Views(Cameras(np.eye(4)[None, :3], K[None], [[137, 137]]), names, image_of)
        with pytest.raises(ContractBroken, match="name of an image"):
            choy.write_choy(tmp_path / "x", one)
    assert not (tmp_path / "x").exists()


def test_the_real_table(real_data):
    folder = real_data / "shapenet_dvr_nmr/ShapeNet/04379243/1a9bb6a5cf448d75e6fd255f2d77a585"
    cloud = np.load(folder / "pointcloud.npz")
    points = cloud["points"].astype(np.float64)

    def share(views):
        inside = 0
        for i in range(len(views)):
            column, row = np.floor(project(views.cameras, i, points)[0]).astype(int).T
            seen = (column >= 0) & (row >= 0) & (column < 137) & (row < 137)
            assert seen.mean() > 0.97
            inside += (views.image(i)[row[seen], column[seen]] < 250).any(axis=1).mean()
        return inside / len(views)

    placed = choy.read_choy(folder / "img_choy2016", float(cloud["scale"]), cloud["loc"])
    assert len(placed) == 24
    assert share(placed) > 0.999
    assert share(choy.read_choy(folder / "img_choy2016")) < 0.95
