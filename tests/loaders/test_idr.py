import io
import random
import shutil
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from nfbench.harness import png_pixels
from nfbench.harness.camera import Cameras, look_at, project, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.prediction import measured_views, sections
from nfbench.harness.protocol import protocol
from nfbench.harness.scan import ObservedVolume
from nfbench.harness.scene import Mesh, Points, Views
from nfbench.harness.surface_scores import measure
from nfbench.loaders import idr

W, H, N = 40, 30, 4
K = np.array([[50, 0.25, 20.5], [0, 55, 14], [0, 0, 1.0]])  # of pixels whose centres are whole numbers
SCALE, MOVE = 200.0, np.array([10.0, -20, 600])


def world_to_camera(i):
    """A camera 2.5 from the middle of the sphere, in the dataset's own coordinates, looking at it."""
    rotation = Rotation.from_euler("yx", [0.5 * i, 0.2 + 0.1 * i]).as_matrix()
    centre = SCALE * (-2.5 * rotation[2]) + MOVE
    matrix = np.eye(4)
    matrix[:3] = np.c_[rotation, -rotation @ centre]
    return matrix


def matrices(count=N):
    lens, scale = np.eye(4), np.diag([SCALE, SCALE, SCALE, 1.0])
    lens[:3, :3], scale[:3, 3] = K, MOVE
    found = {}
    for i in range(count):
        found[f"world_mat_{i}"] = lens @ world_to_camera(i)
        found[f"scale_mat_{i}"] = scale
        found[f"camera_mat_{i}"] = np.eye(3)  # some copies have it; of no use
    return found


def image_of(i, channels=3):
    return np.random.default_rng(i).integers(0, 256, (H, W, channels), dtype=np.uint8)


def mask_of(i):
    return np.random.default_rng(100 + i).integers(0, 2, (H, W)).astype(bool)


@pytest.fixture
def folder(tmp_path):
    scene = tmp_path / "scan 65 ü"
    (scene / "mask").mkdir(parents=True)
    for i in range(N):
        write_png(scene / "image" / f"{i:06d}.png", image_of(i))
        Image.fromarray(mask_of(i).astype(np.uint8) * 255).save(scene / "mask" / f"{i:03d}.png")
    np.savez(scene / "cameras.npz", **matrices())
    return scene


def store(folder, change, name="cameras.npz"):
    found = matrices()
    change(found)
    np.savez(folder / name, **found)


def refused(folder, *words, error=DataCorrupt, **options):
    with pytest.raises(error) as caught:
        idr.read(folder, **options)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message
    return caught.value


# --- what is read


def test_all_views_are_given_and_none_held_out(folder):
    scene = idr.read(folder)
    assert scene.name == "scan 65 ü"
    assert scene.hidden is None
    assert scene.given.kinds() == idr.given == ("views",)
    assert scene.given.views.names == ("000000", "000001", "000002", "000003")
    assert scene.given.views.files[2] == folder / "image" / "000002.png"
    assert scene.box.tolist() == [[-1] * 3, [1] * 3]
    assert scene.given.views.cameras.near_far is None
    assert scene.given.views.cameras.size.tolist() == [[W, H]] * N
    for i in range(N):
        np.testing.assert_array_equal(scene.given.views.image(i), image_of(i))
        np.testing.assert_array_equal(scene.given.views.mask(i), mask_of(i))
    assert list(idr.splits(folder)) == ["train"]
    assert idr.splits(folder)["train"].names == scene.given.views.names


def test_the_protocol_of_idr_measures_the_given_views(folder):
    scene = idr.read(folder)
    assert measured_views(scene, protocol("idr-dtu@1")) is scene.given.views
    assert sections(scene, protocol("idr-dtu@1")) == ["image"]


def test_pixels_are_counted_from_the_centre_of_the_first(folder):
    """The file's projection of a point, and half a pixel more, is ours: there (0,0) is a centre, here (0.5,0.5)."""
    cameras = idr.read(folder).given.views.cameras
    points = np.random.default_rng(0).uniform(-1, 1, (50, 3))
    for i in range(N):
        own = np.c_[points * SCALE + MOVE, np.ones(50)] @ (matrices()[f"world_mat_{i}"]).T
        xy, depth = project(cameras, i, points)
        np.testing.assert_allclose(xy, own[:, :2] / own[:, 2:3] + 0.5, atol=1e-4)
        np.testing.assert_allclose(depth, own[:, 2] / SCALE, rtol=1e-5)
    np.testing.assert_allclose(cameras.K[0], K + [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]], atol=1e-4)


def test_intrinsics_and_pose_come_apart(folder):
    cameras = idr.read(folder).given.views.cameras
    for i in range(N):
        rotation = world_to_camera(i)[:3, :3]
        np.testing.assert_allclose(cameras.c2w[i, :, :3], rotation.T, atol=1e-6)
        np.testing.assert_allclose(cameras.centres[i], -2.5 * rotation[2], atol=1e-5)


def test_rays_are_those_of_the_original_code(folder):
    """lioryariv/idr rend_util.get_camera_params: through whole pixels, lifted by the inverse intrinsics."""
    cameras = idr.read(folder).given.views.cameras
    y, x = np.mgrid[0:H, 0:W]
    local = np.linalg.inv(K) @ np.stack([x.ravel(), y.ravel(), np.ones(W * H)])
    expected = (world_to_camera(2)[:3, :3].T @ local).T
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rays(cameras, 2)[1], expected, atol=2e-6)


def test_the_frame_leads_to_the_coordinates_of_the_dataset(folder):
    frame = idr.read(folder).frame
    assert frame.dtype == np.float64
    np.testing.assert_array_equal(frame, matrices()["scale_mat_0"])


def test_opening_decodes_nothing(folder, monkeypatch):
    monkeypatch.setattr(png_pixels, "decode", None)
    views = idr.read(folder).given.views
    with pytest.raises(TypeError):
        views.image(0)


def test_the_file_of_neus_is_read_as_well(folder):
    (folder / "cameras.npz").rename(folder / "cameras_sphere.npz")
    assert idr.detect(folder)
    assert len(idr.read(folder).given.views) == N
    (folder / "cameras_sphere.npz").rename(folder / "other.npz")
    assert not idr.detect(folder)
    refused(folder, "cameras.npz or cameras_sphere.npz", error=DataMissing)
    assert len(idr.read(folder, "other.npz").given.views) == N


def test_of_two_files_that_differ_one_must_be_named(folder):
    shutil.copy(folder / "cameras.npz", folder / "cameras_sphere.npz")
    assert len(idr.read(folder).given.views) == N

    def smaller(found):
        for i in range(N):
            found[f"scale_mat_{i}"] = np.diag([100.0, 100, 100, 1])

    store(folder, smaller, "cameras_sphere.npz")
    refused(folder, "cameras.npz and cameras_sphere.npz", "differ")
    assert idr.read(folder, "cameras_sphere.npz").frame[0, 0] == 100
    assert idr.splits(folder, "cameras.npz")["train"].cameras.centres[0, 0] == pytest.approx(0, abs=1e-5)


def test_images_go_by_their_sorted_names(folder):
    """Names of several lengths: image i is the i-th name in the order of characters, as glob and sort give it."""
    for i, name in enumerate(("10", "2", "a-1", "a")):
        (folder / "image" / f"{i:06d}.png").rename(folder / "image" / f"{name}.png")
        (folder / "mask" / f"{i:03d}.png").rename(folder / "mask" / f"{name}.png")
    views = idr.read(folder).given.views
    assert views.names == ("10", "2", "a-1", "a")
    np.testing.assert_array_equal(views.image(2), image_of(2))


def test_without_a_folder_of_masks_there_are_none(folder):
    shutil.rmtree(folder / "mask")
    views = idr.read(folder).given.views
    assert views.load_mask is None
    with pytest.raises(DataMissing):
        views.mask(0)


# --- detection


def test_detection(folder, tmp_path):
    assert idr.detect(folder)
    assert not idr.detect(tmp_path)
    assert not idr.detect(tmp_path / "none")
    (folder / "cameras.npz").write_bytes(b"no zip")
    assert not idr.detect(folder)


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_files_of_dvr_are_told_apart(folder, scale):
    """DVR's cameras.npz: the same names, a folder image beside it, world_mat without intrinsics."""

    def rigid(found):
        for i in range(N):
            found[f"world_mat_{i}"] = np.diag([scale, scale, scale, 1]) @ world_to_camera(i)
            found[f"camera_mat_{i}"] = np.diag([2.1875, 2.1875, 1, 1])

    store(folder, rigid)
    assert not idr.detect(folder)
    refused(folder, "world_mat_0", "no intrinsics in pixels")


def test_intrinsics_of_few_pixels_are_in_pixels(folder):
    def by(factor):
        return lambda found: found.update(world_mat_0=np.diag([factor, factor, 1, 1]) @ world_to_camera(0))

    store(folder, by(8.01))
    assert idr.detect(folder)
    store(folder, by(7.99))
    assert not idr.detect(folder)
    store(folder, lambda found: found.update(world_mat_0=np.diag([100.0, 1, 1, 1]) @ world_to_camera(0)))
    assert not idr.detect(folder)


def test_a_folder_of_images_is_needed(folder):
    (folder / "image").rename(folder / "images")
    assert not idr.detect(folder)
    refused(folder, "no folder", "image", error=DataMissing)


# --- bad input


def test_cameras_of_images_of_another_size_are_named(folder):
    def larger(factor):
        shift = np.array(
            [[factor, 0, (factor - 1) / 2, 0], [0, factor, (factor - 1) / 2, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
        )
        return lambda found: found.update({f"world_mat_{i}": shift @ found[f"world_mat_{i}"] for i in range(N)})

    for factor in (2, 0.5, 8):
        store(folder, larger(factor))
        refused(folder, "cameras.npz", "000000.png", "principal point", "40x30")


@pytest.mark.parametrize("missing", ["image/000003.png", "image/000000.png"])
def test_an_image_that_is_missing_would_shift_all_cameras(folder, missing):
    (folder / missing).unlink()
    refused(folder, "cameras of 4 views", "3 images")


def test_a_camera_that_is_missing(folder):
    store(folder, lambda found: found.pop("world_mat_1"))
    refused(folder, "no world_mat_1", "4 images")
    store(folder, lambda found: found.pop("scale_mat_2"))
    refused(folder, "no scale_mat_2")


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("world_mat_1", np.full((4, 4), np.nan), "NaN"),
        ("world_mat_1", np.full((4, 4), 1e300), "infinity"),
        ("world_mat_1", np.eye(4)[:3], "shape (3, 4)"),
        ("world_mat_1", np.eye(4).astype("U4"), "<U4"),
        ("world_mat_1", np.eye(4, dtype=complex), "complex128"),
        ("world_mat_1", np.zeros((40, 40)), "world_mat_1.npy declares"),
        ("world_mat_1", np.diag([100.0, 100, 0, 1]), "world_mat_1 is singular"),
        ("world_mat_1", np.zeros((4, 4)) + np.diag([0, 0, 0, 1.0]), "world_mat_1 is singular"),
        ("world_mat_1", np.diag([100.0, -100, 1, 1]), "world_mat_1 mirrors space"),
        ("world_mat_1", (np.diag([100.0, 100, 1, 1]) + np.eye(4, k=3)).T, "last row of world_mat_1"),
        ("scale_mat_0", np.diag([2.0, 2, 3, 1]), "scale_mat_0 is no single"),
        ("scale_mat_0", np.diag([-2.0, -2, -2, 1]), "scale_mat_0 is no single"),
        ("scale_mat_0", np.diag([0.0, 0, 0, 1]), "scale_mat_0 is no single"),
        ("scale_mat_3", np.diag([SCALE, SCALE, SCALE, 1.0]), "scale_mat_3 is not scale_mat_0"),
    ],
)
def test_wrong_matrices_are_named(folder, key, value, word):
    store(folder, lambda found: found.update({key: value}))
    refused(folder, "cameras.npz", word)


def test_a_scale_that_turns_is_no_scale(folder):
    turn = np.eye(4)
    turn[:3, :3] = 200 * Rotation.from_euler("x", 0.1).as_matrix()
    store(folder, lambda found: found.update({f"scale_mat_{i}": turn for i in range(N)}))
    refused(folder, "scale_mat_0 is no single")


def test_objects_are_not_unpickled(folder):
    cursed = np.empty((4, 4), object)
    cursed[:] = 1.0
    found = matrices()
    found["world_mat_2"] = cursed
    np.savez(folder / "cameras.npz", **found)
    refused(folder, "world_mat_2' holds objects")


def test_an_array_that_declares_too_much_is_refused_unread(folder):
    packed = io.BytesIO()
    np.lib.format.write_array_header_1_0(packed, {"descr": "<f8", "fortran_order": False, "shape": (1 << 20, 1 << 20)})
    with zipfile.ZipFile(folder / "cameras.npz", "a") as archive:
        archive.writestr("world_mat_4.npy", packed.getvalue())
    refused(folder, "'world_mat_4' declares 8796093022208 bytes")


def test_npy_of_other_versions(folder):
    """2.0 is for headers beyond 64 KiB, which no matrix has; it is read all the same."""
    before = idr.read(folder).given.views.cameras
    with zipfile.ZipFile(folder / "cameras.npz", "w") as archive:
        for name, matrix in matrices().items():
            packed = io.BytesIO()
            np.lib.format.write_array(packed, matrix, version=(2, 0))
            archive.writestr(f"{name}.npy", packed.getvalue())
    np.testing.assert_array_equal(idr.read(folder).given.views.cameras.c2w, before.c2w)


@pytest.mark.parametrize("kind", ["<f4", ">f8", "<i4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_matrices_of_any_numbers_in_any_order(folder, kind, order):
    before = idr.read(folder).given.views.cameras
    whole = {key: np.rint(value * 8) / 8 if kind != "<i4" else value for key, value in matrices().items()}
    store(folder, lambda found: found.update({k: np.asarray(v, kind, order=order) for k, v in whole.items()}))
    if kind == "<i4":
        refused(folder)  # rotations cut to whole numbers
        return
    np.testing.assert_allclose(idr.read(folder).given.views.cameras.centres, before.centres, atol=0.5)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"\x93NUMPY"])
def test_a_file_that_is_no_npz(folder, content):
    (folder / "cameras.npz").write_bytes(content)
    refused(folder, "cameras.npz cannot be read as NPZ" if content else "cameras.npz is empty")


def test_a_file_that_is_cut_short(folder):
    whole = (folder / "cameras.npz").read_bytes()
    (folder / "cameras.npz").write_bytes(whole[: len(whole) // 2])
    refused(folder, "cameras.npz cannot be read as NPZ")


def test_masks_that_are_missing_or_of_others(folder):
    (folder / "mask" / "002.png").rename(folder / "mask" / "007.png")
    refused(folder, "000002.png", "the mask 003.png")
    (folder / "mask" / "007.png").unlink()
    refused(folder, "4 images and 3 masks", error=DataMissing)
    shutil.copy(folder / "mask" / "003.png", folder / "mask" / "002.png")
    Image.new("L", (W - 1, H)).save(folder / "mask" / "001.png")
    refused(folder, "001.png: 39x30", "40x30")


def test_images_of_other_sizes(folder):
    write_png(folder / "image" / "000002.png", np.zeros((H, W + 1, 3), np.uint8))
    refused(folder, "000002.png: 41x30", "000000.png has 40x30")


def test_damage_in_any_file_is_told(folder, tmp_path):
    """Bytes changed at random: what is wrong is told in words, or nothing is wrong with the cameras."""
    chance = random.Random(0)
    names = ["cameras.npz", "cameras.npz", "cameras.npz", "image/000001.png", "mask/001.png"]
    whole = {name: (folder / name).read_bytes() for name in names}
    told = 0
    for turn in range(200):
        name = names[turn % len(names)]
        data = bytearray(whole[name])
        for _ in range(chance.choice((1, 4, 40))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (folder / name).write_bytes(data[: chance.randrange(len(data))] if turn % 7 == 0 else data)
        try:
            views = idr.read(folder).given.views
            views.image(1)
            views.mask(1)
        except NfbenchError as error:
            told += 1
            assert str(folder) in error.message
        idr.detect(folder)
        (folder / name).write_bytes(whole[name])
    assert told > 100


# --- what is written


def views_of(count, names=None, mask=True, channels=3):
    poses = [look_at([3 * np.cos(a), 3 * np.sin(a), 1.0], [0, 0, 0.2]) for a in np.linspace(0.1, 5, count)]
    lens = np.tile(np.array([[45.3, 0, 20.7], [0, 44.1, 15.2], [0, 0, 1]], np.float32), (count, 1, 1))
    cameras = Cameras(np.stack(poses), lens, np.tile([W, H], (count, 1)))
    names = names or tuple(f"v{i}" for i in range(count))
    return Views(cameras, names, lambda i: image_of(i, channels), mask_of if mask else None)


def assert_cameras_close(left, right):
    np.testing.assert_allclose(left.K, right.K, rtol=0, atol=1e-6)
    np.testing.assert_allclose(left.c2w, right.c2w, rtol=2e-7, atol=2e-7)
    np.testing.assert_array_equal(left.size, right.size)


def test_what_is_written_is_read_back(tmp_path):
    views = views_of(4, ("a", "a-1", "10", "9"))
    frame = np.array([[3.5, 0, 0, 1], [0, 3.5, 0, -2], [0, 0, 3.5, 40], [0, 0, 0, 1]])
    idr.write(tmp_path / "out", {"train": views}, frame)
    assert idr.detect(tmp_path / "out")
    scene = idr.read(tmp_path / "out")
    again, order = scene.given.views, [2, 3, 1, 0]  # by the names of the files: 10.png 9.png a-1.png a.png
    assert again.names == ("10", "9", "a-1", "a")
    np.testing.assert_array_equal(scene.frame, frame)
    assert_cameras_close(again.cameras, views.cameras[order])
    for place, i in enumerate(order):
        np.testing.assert_array_equal(again.image(place), image_of(i))
        np.testing.assert_array_equal(again.mask(place), mask_of(i))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["cameras.npz", "image", "mask"]


def test_projections_are_written_as_the_original_ones_are(folder, tmp_path):
    """In the dataset's unit: the third row of world_mat is the depth there, not in the scene's."""
    scene = idr.read(folder)
    idr.write(tmp_path / "out", {"train": scene.given.views}, scene.frame)
    with np.load(tmp_path / "out" / "cameras.npz") as found:
        for i in range(N):
            expected = matrices()[f"world_mat_{i}"]
            np.testing.assert_allclose(found[f"world_mat_{i}"], expected, rtol=1e-4, atol=2e-3)
            assert found[f"world_mat_{i}"].dtype == np.float64


def test_writing_again_changes_little(tmp_path):
    """What is lost is lost by rounding, and does not add up."""
    idr.write(tmp_path / "0", {"train": views_of(3)})
    for turn in range(3):
        scene = idr.read(tmp_path / str(turn))
        idr.write(tmp_path / str(turn + 1), {"train": scene.given.views}, scene.frame)
    assert_cameras_close(idr.read(tmp_path / "3").given.views.cameras, views_of(3).cameras)
    np.testing.assert_array_equal(idr.read(tmp_path / "3").frame, np.eye(4))


def test_alpha_becomes_masks_over_white(tmp_path):
    idr.write(tmp_path / "out", {"train": views_of(2, mask=False, channels=4)})
    views = idr.read(tmp_path / "out").given.views
    for i in range(2):
        image = image_of(i, 4)
        alpha = image[..., 3:] / 255
        assert views.image(i).shape == (H, W, 3)
        np.testing.assert_allclose(views.image(i), image[..., :3] * alpha + 255 * (1 - alpha), atol=0.51)
        np.testing.assert_array_equal(views.mask(i), image[..., 3] >= 128)


def test_views_without_masks_are_written_without(tmp_path):
    idr.write(tmp_path / "out", {"train": views_of(2, mask=False)})
    assert not (tmp_path / "out" / "mask").exists()
    assert idr.read(tmp_path / "out").given.views.load_mask is None


def test_what_cannot_be_written(tmp_path, folder):
    out = tmp_path / "out"
    with pytest.raises(ContractBroken, match="train, test"):
        idr.write(out, {"train": views_of(1), "test": views_of(1)})
    with pytest.raises(ContractBroken, match="none"):
        idr.write(out, {})
    with pytest.raises(ContractBroken, match="'a/b'"):
        idr.write(out, {"train": views_of(1, ("a/b",))})
    with pytest.raises(NfbenchError, match="holds a scene already"):
        idr.write(folder, {"train": views_of(1)})
    for frame in (np.diag([1, 1, 2.0, 1]), np.eye(3), look_at([0, -1, 0], [0, 0, 0])):
        with pytest.raises(Unsupported, match="frame is no single"):
            idr.write(out, {"train": views_of(1)}, frame)
    mixed = views_of(2)
    cameras = Cameras(mixed.cameras.c2w, mixed.cameras.K, [[W, H], [W, H + 1]])
    with pytest.raises(Unsupported, match="several sizes"):
        idr.write(out, {"train": replace(mixed, cameras=cameras)})
    with pytest.raises(Unsupported, match="no views"):
        idr.write(out, {"train": mixed.subset([])})
    assert not out.exists()


# --- masks and the scan: the protocol of DTU from end to end


def ball(radius, centre=(0.0, 0, 0), rings=40):
    """A closed mesh of a sphere, counter-clockwise seen from outside."""
    t, p = np.meshgrid(np.linspace(0, np.pi, rings + 1), np.linspace(0, 2 * np.pi, 2 * rings + 1), indexing="ij")
    xyz = radius * np.stack([np.sin(t) * np.cos(p), np.sin(t) * np.sin(p), np.cos(t)], -1).reshape(-1, 3) + centre
    at = np.arange(len(xyz)).reshape(t.shape)
    a, b, c, d = (
        at[i : i - 1 or None, j : j - 1 or None][:rings, : 2 * rings] for i, j in ((0, 0), (1, 0), (1, 1), (0, 1))
    )
    faces = np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])
    return Mesh(xyz, faces)


@pytest.fixture
def scan(tmp_path):
    """A ball of 10 mm seen by six cameras whose masks are its silhouettes, with its scanned points and volume."""
    width, height, radius = 160, 120, 0.5
    angles = np.linspace(0, 2 * np.pi, 6, endpoint=False)
    poses = np.stack([look_at([3 * np.cos(a), 3 * np.sin(a), 0.5], [0, 0, 0]) for a in angles])
    lens = np.tile(np.array([[150, 0, 80], [0, 150, 60], [0, 0, 1]], np.float32), (6, 1, 1))
    cameras = Cameras(poses, lens, np.tile([width, height], (6, 1)))

    def silhouette(i):
        origins, directions = rays(cameras, i)
        nearest = origins - (origins * directions).sum(1, keepdims=True) * directions
        return (np.linalg.norm(nearest, axis=1) < radius).reshape(height, width)

    names = tuple(f"{i:06d}" for i in range(6))
    views = Views(cameras, names, lambda i: np.zeros((height, width, 3), np.uint8), silhouette)
    frame = np.array([[20, 0, 0, 10], [0, 20, 0, 20], [0, 0, 20, 600], [0, 0, 0, 1.0]])
    idr.write(tmp_path / "scan", {"train": views}, frame)
    scene = idr.read(tmp_path / "scan")
    volume = ObservedVolume(np.ones((41, 41, 41), bool), [[-10, 0, 580], [30, 40, 620]], 1.0, [0, 0, 1.0, 0])
    truth = Points(ball(radius, rings=120).vertices.astype(np.float32))
    return replace(scene, surface=truth, scan=volume)


def test_a_ball_scores_by_its_distance_in_millimetres(scan):
    """A ball of a tenth more radius is 1 mm off in every direction, the unit of the scan, not of the unit sphere."""
    section = protocol("dtu-mask-dilate-12@1").surface
    found = measure(ball(0.55), scan, section).values
    assert found["accuracy"] == pytest.approx(1.0, abs=0.03)
    assert found["completeness"] == pytest.approx(1.0, abs=0.03)
    assert found["chamfer_l1_mean"] == pytest.approx((found["accuracy"] + found["completeness"]) / 2)


def test_what_lies_outside_of_the_masks_is_cut_off_before_the_scan_judges(scan):
    """A second ball beside the first, farther than 12 pixels from its silhouettes, costs nothing; one behind it all
    masks would hide does."""
    section = protocol("dtu-mask-dilate-12@1").surface
    one, far = ball(0.5), ball(0.05, (0.0, 0, 0.8))
    both = Mesh(
        np.concatenate([one.vertices, far.vertices]), np.concatenate([one.faces, far.faces + len(one.vertices)])
    )
    alone, cleaned = measure(one, scan, section), measure(both, scan, section)
    assert cleaned.facts["faces_after_cleaning"] == len(one.faces)
    assert cleaned.values == pytest.approx(alone.values)
    uncleaned = measure(both, scan, section.model_copy(update={"cleaning": None}))
    assert uncleaned.values["accuracy"] > alone.values["accuracy"]
    assert alone.values["accuracy"] < 0.15  # mm, of which most is the spacing of the scan


# --- the real sample


@pytest.fixture(scope="module")
def scan24(real_data):
    return real_data / "dtu_scan24_200x150"


def test_scan_24(scan24):
    assert idr.detect(scan24)
    scene = idr.read(scan24)
    views = scene.given.views
    assert len(views) == 49
    assert views.names[0] == "000000" and views.names[48] == "000048"
    assert views.cameras.size.tolist() == [[200, 150]] * 49
    assert scene.frame[0, 0] == pytest.approx(231.0682)
    assert np.linalg.norm(views.cameras.centres, axis=1).min() > 2.5
    assert views.image(7).shape == (150, 200, 3)
    assert all(0.1 < views.mask(i).mean() < 0.9 for i in range(49))


def test_the_projections_of_scan_24_are_those_of_its_file(scan24):
    scene = idr.read(scan24)
    points = np.random.default_rng(0).uniform(-0.5, 0.5, (100, 3))
    with np.load(scan24 / "cameras_sphere.npz") as found:
        for i in range(49):
            P = (found[f"world_mat_{i}"].astype(float) @ found[f"scale_mat_{i}"].astype(float))[:3]
            own = np.c_[points, np.ones(100)] @ P.T
            xy, _ = project(scene.given.views.cameras, i, points)
            np.testing.assert_allclose(xy, own[:, :2] / own[:, 2:] + 0.5, atol=2e-4)


def test_the_cameras_of_the_full_size_are_refused_for_small_images(scan24):
    error = refused(
        scan24, "cameras_sphere_1600x1200.npz", "000000.png", "200x150", cameras="cameras_sphere_1600x1200.npz"
    )
    assert "1647x1239" in error.message


def test_the_visual_hull_of_scan_24_is_in_the_unit_sphere(scan24):
    """A point is in the hull where each view has it in its image and its mask; without the half pixel it still is,
    with cameras that look the other way it is not."""
    scene = idr.read(scan24)
    views, masks = scene.given.views, [scene.given.views.mask(i) for i in range(49)]
    axis = np.linspace(-1, 1, 33)
    points = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    points = points[np.linalg.norm(points, axis=1) < 1]

    def hull(cameras):
        kept = points
        for i in range(49):
            xy, depth = project(cameras, i, kept)
            seen = (depth > 0) & (xy >= 0).all(1) & (xy < cameras.size[i]).all(1)
            at = np.where(seen[:, None], xy, 0).astype(int)
            kept = kept[seen & masks[i][at[:, 1], at[:, 0]]]
        return kept

    found = hull(views.cameras)
    assert 0.02 < len(found) / len(points) < 0.6
    turned = Cameras(views.cameras.c2w * np.float32([1, -1, -1, 1]), views.cameras.K, views.cameras.size)
    assert not len(hull(turned))


def test_no_other_sample_is_taken_for_this_format(real_data, scan24):
    claimed = [path for path in [real_data, *real_data.rglob("*")] if path.is_dir() and idr.detect(path)]
    assert claimed == [scan24]


def test_scan_24_survives_its_writer(scan24, tmp_path):
    scene = idr.read(scan24)
    idr.write(tmp_path / "out", {"train": scene.given.views}, scene.frame)
    again = idr.read(tmp_path / "out")
    assert again.given.views.names == scene.given.views.names
    assert_cameras_close(again.given.views.cameras, scene.given.views.cameras)
    np.testing.assert_array_equal(again.frame, scene.frame)
    np.testing.assert_array_equal(again.given.views.image(30), scene.given.views.image(30))
    np.testing.assert_array_equal(again.given.views.mask(30), scene.given.views.mask(30))
