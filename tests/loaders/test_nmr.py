import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from nfbench.harness.camera import Cameras, look_at, project, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.guard import hidden_files, hiding
from nfbench.harness.png import write_png
from nfbench.harness.scene import Points, Views
from nfbench.loaders import nmr

SIDE, F = 16, 2.0


def pose(i, n=5):
    angle = 2 * np.pi * i / n
    return look_at([1.5 * np.cos(angle), 1.5 * np.sin(angle), 0.7], [0, 0, 0]).astype(np.float64)


def world_mat(i):
    whole = np.eye(4)
    whole[:3] = pose(i)
    return np.linalg.inv(whole)


def image_of(i):
    return np.random.default_rng(i).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def make(folder, n=5, **extra):
    """An object made without the module under test, but for the PNGs."""
    for i in range(n):
        write_png(folder / "image" / f"{i:04d}.png", image_of(i))
        write_png(
            folder / "mask" / f"{i:04d}.png", np.where(image_of(i)[:, :, :1] > 99, 255, 0).repeat(3, 2).astype(np.uint8)
        )
    save(folder, arrays(n) | extra)
    return folder


def arrays(n=5):
    camera = np.diag([F, F, 1, 1])
    return {f"world_mat_{i}": world_mat(i) for i in range(n)} | {f"camera_mat_{i}": camera for i in range(n)}


def save(folder, arrays):
    np.savez(folder / "cameras.npz", **arrays)


@pytest.fixture
def folder(tmp_path):
    return make(tmp_path / "04379243" / "abc")


def refused(folder, *words, error=DataCorrupt, **given):
    with pytest.raises(error) as caught:
        nmr.read(folder, **given)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message
    return caught.value


# --- what is read


def test_reads_the_given_and_the_hidden_views(folder):
    scene = nmr.read(folder)
    assert scene.name == "04379243-abc"
    assert scene.given.kinds() == nmr.given
    assert scene.given.views.names == ("0000",)
    assert scene.hidden.names == ("0001", "0002", "0003", "0004")
    assert scene.surface is None
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    np.testing.assert_array_equal(scene.box, np.float32([[-0.55] * 3, [0.55] * 3]))
    np.testing.assert_allclose(scene.hidden.cameras.c2w[2], pose(3), atol=1e-6)
    assert scene.hidden.cameras.size.tolist() == [[SIDE, SIDE]] * 4
    assert scene.hidden.cameras.K[0].tolist() == [[16, 0, 8], [0, 16, 8], [0, 0, 1]]
    distance, reach = np.hypot(1.5, 0.7), 0.55 * np.sqrt(3)
    np.testing.assert_allclose(scene.hidden.cameras.near_far, [[distance - reach, distance + reach]] * 4, rtol=1e-5)
    np.testing.assert_array_equal(scene.hidden.image(1), image_of(2))
    np.testing.assert_array_equal(scene.hidden.mask(1), image_of(2)[:, :, 0] > 99)
    assert {name: len(views) for name, views in nmr.splits(folder).items()} == {"train": 1, "test": 4}


def test_projection_is_that_of_dvr(folder):
    """autonomousvision/dvr FAQ: camera_mat @ world_mat takes a point to [-1,1], -1 at the left and upper edge."""
    point = np.array([[0.2, -0.1, 0.3]])
    views = nmr.read(folder).hidden
    for i in range(4):
        q = np.diag([F, F, 1, 1]) @ world_mat(i + 1) @ np.append(point, 1)
        xy, depth = project(views.cameras, i, point)
        np.testing.assert_allclose(xy[0], (q[:2] / q[2] + 1) * SIDE / 2, rtol=1e-5)
        np.testing.assert_allclose(depth, q[2], rtol=1e-5)


def test_near_stays_above_nothing_for_close_cameras(folder):
    close = arrays()
    for i in range(5):
        close[f"world_mat_{i}"] = world_mat(i) @ np.diag([1, 1, 1, 1.0])
        close[f"world_mat_{i}"][:3, 3] *= 0.5
    save(folder, close)
    distance = np.hypot(1.5, 0.7) / 2
    np.testing.assert_allclose(nmr.read(folder).hidden.cameras.near_far[:, 0], 0.01 * distance, rtol=1e-5)


def test_principal_points_and_two_sizes(folder):
    write_png(folder / "image" / "0001.png", np.zeros((8, 20, 3), np.uint8))
    shutil.rmtree(folder / "mask")
    camera = np.diag([F, 3.0, 1, 1])
    camera[0, 2], camera[1, 2], camera[0, 1] = 0.5, -0.25, 0.1
    save(folder, arrays() | {"camera_mat_1": camera})
    views = nmr.read(folder).hidden
    np.testing.assert_allclose(views.cameras.K[0], [[20, 1, 15], [0, 12, 3], [0, 0, 1]], rtol=1e-6)
    assert views.cameras.size[0].tolist() == [20, 8]
    assert views.load_mask is None


def test_scale_mat_leads_from_the_object_to_the_world(folder):
    angle, move = 0.3, np.array([0.5, -0.2, 0.1])
    scale = np.eye(4)
    scale[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    scale[:3, :3] *= 2.5
    scale[:3, 3] = move
    save(folder, arrays() | {f"scale_mat_{i}": scale for i in range(5)})
    scene = nmr.read(folder)
    np.testing.assert_allclose(scene.frame, scale)
    point = np.array([[0.1, 0.2, -0.1]])
    for i in range(4):
        q = np.diag([F, F, 1, 1]) @ world_mat(i + 1) @ scale @ np.append(point, 1)
        xy, depth = project(scene.hidden.cameras, i, point)
        np.testing.assert_allclose(xy[0], (q[:2] / q[2] + 1) * SIDE / 2, rtol=1e-4)
        np.testing.assert_allclose(depth * 2.5, q[2], rtol=1e-4)


def test_the_inverse_is_preferred_as_pixelnerf_does(folder):
    whole = np.eye(4)
    whole[:3] = pose(1)
    whole[0, 3] += 2e-4  # float32 of a file; still the inverse within its rounding
    save(folder, arrays() | {"world_mat_inv_1": whole})
    np.testing.assert_array_equal(nmr.read(folder).hidden.cameras.c2w[0], whole[:3].astype(np.float32))
    whole[0, 3] += 0.1
    save(folder, arrays() | {"world_mat_inv_1": whole})
    refused(folder, "world_mat_inv_1", "not the inverse")


def test_poses_of_three_rows(folder):
    save(folder, arrays() | {"world_mat_2": world_mat(2)[:3]})
    np.testing.assert_allclose(nmr.read(folder).hidden.cameras.c2w[1], pose(2), atol=1e-6)


def test_cameras_go_by_the_number_in_the_name(tmp_path):
    """A copy with some views left out must not shift the cameras of the others."""
    folder = make(tmp_path / "abc")
    kept = {k: v for k, v in arrays().items() if not k.endswith("_1")}
    (folder / "image" / "0001.png").unlink()
    save(folder, kept)
    scene = nmr.read(folder, source=1)
    assert scene.name == "abc"
    assert scene.given.views.names == ("0002",)
    np.testing.assert_allclose(scene.given.views.cameras.c2w[0], pose(2), atol=1e-6)


def test_cameras_go_by_order_where_names_are_no_numbers(folder):
    for file in [*(folder / "image").iterdir(), *(folder / "mask").iterdir()]:
        file.rename(file.with_name(f"{chr(ord('e') - int(file.stem))} ü.png"))
    views = nmr.read(folder).hidden
    assert views.names == ("b ü", "c ü", "d ü", "e ü")
    np.testing.assert_allclose(views.cameras.c2w[0], pose(1), atol=1e-6)
    np.testing.assert_array_equal(views.image(0), image_of(3))


def test_surface_is_read_with_unit_normals(folder):
    normal = np.float16([[0, 0, 1], [0.6, 0.8, 0], [0, 0, 0]])
    points = np.float16([[0, 0.1, 0.2], [0.3, 0.4, 0.5], [-0.1, 0, 0]])
    np.savez(folder / "pointcloud.npz", points=points, normals=normal, loc=np.zeros(3), scale=np.float16(0.9))
    surface = nmr.read(folder).surface
    np.testing.assert_array_equal(surface.xyz, points.astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(surface.normal, axis=1), [1, 1, 0], rtol=1e-6)
    np.savez(folder / "pointcloud.npz", points=points)
    assert nmr.read(folder).surface.normal is None
    for wrong, word in ((points[:, :2], "shape (3, 2)"), (points * np.nan, "NaN")):
        np.savez(folder / "pointcloud.npz", points=wrong)
        refused(folder, "pointcloud.npz: points", word)
    np.savez(folder / "pointcloud.npz", points=points[:0])
    refused(folder, "pointcloud.npz holds no points")
    np.savez(folder / "pointcloud.npz", points=points, normals=normal[:2])
    refused(folder, "normals", "(2, 3)")


def test_sixteen_bits_are_read_as_their_upper_eight(folder):
    """As Pillow, and with it DVR and pixelNeRF, opens them."""
    deep = np.random.default_rng(0).integers(0, 65536, (SIDE, SIDE, 4), dtype=np.uint16)
    (folder / "image" / "0002.png").write_bytes(deep_png(deep))
    np.testing.assert_array_equal(nmr.read(folder).hidden.image(1), (deep >> 8).astype(np.uint8))


def deep_png(pixels):
    """A 16-bit RGBA PNG, put together by hand."""
    import struct
    import zlib

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("mode", ["L", "1", "RGBA", "LA"])
def test_masks_of_all_kinds(folder, mode):
    soft = np.tile(np.uint8([0, 127, 128, 255]), (SIDE, SIDE // 4))
    pixels = Image.fromarray(np.where(soft >= 128, 255, 0).astype(np.uint8) if mode == "1" else soft)
    pixels.convert(mode, dither=Image.Dither.NONE).save(folder / "mask" / "0001.png")
    np.testing.assert_array_equal(nmr.read(folder).hidden.mask(0), soft >= 128)


def exr(pixels):
    """An uncompressed OpenEXR image of one channel of floats, put together by hand."""
    import struct

    height, width = pixels.shape

    def attribute(name, kind, data):
        return name + b"\0" + kind + b"\0" + struct.pack("<I", len(data)) + data

    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<II", 20000630, 2)
    head += attribute(b"channels", b"chlist", b"Z\0" + struct.pack("<iIii", 2, 0, 1, 1) + b"\0")
    head += attribute(b"compression", b"compression", b"\0") + attribute(b"dataWindow", b"box2i", window) + b"\0"
    rows = [struct.pack("<iI", y, 4 * width) + row.astype("<f4").tobytes() for y, row in enumerate(pixels)]
    start = len(head) + 8 * height
    return head + struct.pack(f"<{height}Q", *(start + y * len(rows[0]) for y in range(height))) + b"".join(rows)


def test_depth_is_distance_along_the_ray(folder):
    (folder / "depth").mkdir()
    z = np.random.default_rng(0).uniform(1, 2, (5, SIDE, SIDE)).astype(np.float32)
    z[:, 0, :3] = np.inf, 1e10, 1e4
    for i in range(5):
        (folder / "depth" / f"{i:04d}0001.exr").write_bytes(exr(z[i]))
    scale = np.diag([2.0, 2, 2, 1])
    save(folder, arrays() | {f"scale_mat_{i}": scale for i in range(5)})
    views = nmr.read(folder).hidden
    depth = views.depth(2)
    assert depth.dtype == np.float32
    assert np.isinf(depth[0]).tolist() == [True, True, False] + [False] * (SIDE - 3)
    along = rays(views.cameras, 2)[1].reshape(SIDE, SIDE, 3) @ views.cameras.c2w[2, :, 2]
    np.testing.assert_allclose((depth * along)[1:], z[3, 1:] / 2, rtol=1e-5)
    (folder / "depth" / "00040001.exr").write_bytes(exr(z[0, :5]))
    refused(folder, "00040001.exr", "16x16")
    (folder / "depth" / "00040001.exr").unlink()
    refused(folder, "4 maps for 5 images", error=DataMissing)


# --- which view is given


def test_the_view_list_of_pixelnerf(folder):
    root = folder.parent.parent
    (root / "src_dvr.txt").write_bytes(b"02691156 abc 1\r\n\r\n04379243 abd 2\r\n04379243 abc 3")
    scene = nmr.read(folder)
    assert scene.given.views.names == ("0003",)
    assert scene.hidden.names == ("0000", "0001", "0002", "0004")
    assert nmr.read(folder, source=4).given.views.names == ("0004",)
    for text, word in (
        ("04379243 abc 5", "line 1 names view 5 of 5"),
        ("04379243 abc -1", "line 1"),
        ("04379243 abc", "line 1"),
        ("\nx y 1 2", "line 2"),
        (f"04379243 abc {'1' * 5000}", "line 1 is not synset, id and view"),  # more digits than Python converts
    ):
        (root / "src_dvr.txt").write_text(text)
        refused(folder, "src_dvr.txt", word)
    (root / "src_dvr.txt").write_text("04379243 other 1")
    assert nmr.read(folder).given.views.names == ("0000",)
    (folder.parent / "softras_test.lst").write_text("abc\n")
    refused(folder, "src_dvr.txt", "04379243 abc", error=DataMissing)


@pytest.mark.parametrize("source", [-1, 5])
def test_sources_that_there_are_not(folder, source):
    refused(folder, f"no view {source}: it has 5", error=DataMissing, source=source)


def test_training_objects_give_all_their_views(folder):
    (folder.parent / "softras_train.lst").write_text("xyz\r\nabc\r\n")
    scene = nmr.read(folder)
    assert len(scene.given.views) == 5
    assert scene.hidden is None
    assert list(nmr.splits(folder)) == ["train"]
    assert len(nmr.read(folder, source=2).hidden) == 4


def test_scenes_of_a_dataset(tmp_path):
    for place in ("04379243/b", "04379243/a", "02691156/c", "02691156/d", "other/e"):
        make(tmp_path / place, n=1)
    (tmp_path / "02691156" / "softras_test.lst").write_bytes(b"d\r\n\r\ngone\r\n")
    (tmp_path / "02691156" / "softras_train.lst").write_text("c\n")

    def found(path, ask=nmr.scenes):
        return [p.relative_to(tmp_path).as_posix() for p in ask(path)]

    assert found(tmp_path) == ["02691156/d", "02691156/gone", "04379243/a", "04379243/b"]
    assert found(tmp_path / "04379243") == ["04379243/a", "04379243/b"]
    assert found(tmp_path / "04379243" / "a") == ["04379243/a"]
    assert found(tmp_path, nmr.training) == found(tmp_path / "02691156", nmr.training) == ["02691156/c"]
    assert found(tmp_path / "04379243", nmr.training) == []
    assert nmr.scenes(tmp_path / "other") == []
    assert nmr.scenes(tmp_path / "nothing") == []
    refused(tmp_path / "02691156" / "gone", "no folder", "gone", error=DataMissing)
    (tmp_path / "02691156" / "softras_test.lst").unlink()
    assert found(tmp_path / "02691156") == []
    assert nmr.name(tmp_path / "04379243" / "b") == "04379243-b"
    assert nmr.name(tmp_path / "other" / "e") == "e"


@pytest.mark.parametrize("line", ["../x", "a/b", "..", "a\\b", "a\0b"])
def test_lists_lead_to_no_other_folder(folder, line):
    (folder.parent / "softras_test.lst").write_text(f"\n{line}\n")
    with pytest.raises(DataCorrupt, match=r"softras_test.lst: line 2"):
        nmr.scenes(folder.parent)


# --- detection


def test_detection(folder):
    assert nmr.detect(folder)
    shutil.rmtree(folder / "mask")
    assert nmr.detect(folder)
    (folder / "image").rename(folder / "images")
    assert not nmr.detect(folder)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [1e200, np.inf, np.nan])
def test_detection_of_numbers_that_no_rotation_has(folder, number):
    save(folder, arrays() | {"world_mat_0": np.full((4, 4), number)})
    assert not nmr.detect(folder)


def test_detection_leaves_idr_alone(folder):
    """IDR, NeuS and DVR's DTU have the same names, but world_mat is a projection there."""
    projection = np.diag([800.0, 800, 1, 1]) @ world_mat(0)
    save(folder, arrays() | {"world_mat_0": projection})
    assert not nmr.detect(folder)
    save(folder, {"world_mat_0": world_mat(0), "scale_mat_0": np.eye(4)})
    assert not nmr.detect(folder)
    save(folder, {"camera_mat_0": np.eye(4), "world_mat_1": world_mat(0)})
    assert not nmr.detect(folder)
    save(folder, arrays() | {"world_mat_0": np.eye(5)})
    assert not nmr.detect(folder)
    save(folder, arrays() | {"world_mat_0": np.array([None], object)})
    assert not nmr.detect(folder)
    (folder / "cameras.npz").write_bytes(b"PK\3\4nonsense")
    assert not nmr.detect(folder)
    (folder / "cameras.npz").unlink()
    assert not nmr.detect(folder)


# --- bad input


def test_extra_and_missing_cameras(folder):
    save(folder, arrays() | {"world_mat_5": world_mat(0)})
    refused(folder, "world_mat_5 belongs to no image", error=DataMissing)
    lacking = arrays()
    del lacking["world_mat_3"]
    save(folder, lacking)
    refused(folder, "world_mat_3 is missing", "0003", error=DataMissing)
    lacking = arrays()
    del lacking["camera_mat_3"]
    save(folder, lacking)
    refused(folder, "camera_mat_3 is missing", error=DataMissing)
    save(folder, arrays())
    shutil.copy(folder / "image" / "0003.png", folder / "image" / "3.png")
    refused(folder, "same number")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("world_mat_1", world_mat(1)[:2], ["shape (2, 4)", "(3, 4) or (4, 4)"]),
        ("world_mat_1", world_mat(1) * np.nan, ["NaN or infinity in row 0 (4 in all)"]),
        ("world_mat_1", np.zeros((4, 4)) + np.diag([0, 0, 0, 1]), ["not a rotation"]),
        ("world_mat_1", np.diag([1.0, 1, -1, 1]), ["mirrors"]),
        ("world_mat_1", world_mat(1).T, ["transposed"]),
        ("world_mat_1", np.array("x"), ["<U1"]),
        ("world_mat_1", np.array([{}], object), ["unpickle"]),
        ("world_mat_1", world_mat(1) + 1j, ["complex"]),
        ("camera_mat_1", np.eye(3), ["shape (3, 3)", "(4, 4)"]),
        ("camera_mat_1", np.diag([2.0, 2, -1, 1]), ["no pinhole"]),
        ("camera_mat_1", np.eye(4) + np.eye(4, k=3), ["no pinhole"]),
        ("camera_mat_1", np.diag([0.0, 2, 1, 1]), ["usable intrinsics"]),
        ("scale_mat_1", np.diag([2.0, 2, 2, 1]), ["scale_mat_1 differs"]),
    ],
)
def test_bad_arrays(folder, key, value, words):
    save(folder, arrays() | {key: value})
    with pytest.raises(DataCorrupt) as caught:
        nmr.read(folder)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("key", ["world_mat_1", "camera_mat_1"])
def test_numbers_beyond_float32_are_refused_by_the_name_of_the_view(folder, key):
    beyond = arrays()[key].copy()
    beyond[0, 3 if key == "world_mat_1" else 2] = 1e39
    save(folder, arrays() | {key: beyond})
    refused(folder, "cameras.npz (0001)")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "scale",
    [
        np.diag([1.0, 2, 1, 1]),
        -np.eye(4),
        np.zeros((4, 4)),
        np.diag([1.0, 1, 1, 2]),
        np.diag([1e200, 1e200, 1e200, 1]),
    ],
)
def test_scale_mats_that_are_no_similarity(folder, scale):
    save(folder, arrays() | {f"scale_mat_{i}": scale for i in range(5)})
    refused(folder, "scale_mat_0 is no similarity")


def test_images_and_masks_that_do_not_fit(folder):
    write_png(folder / "mask" / "0002.png", np.zeros((SIDE, SIDE + 1, 3), np.uint8))
    refused(folder, "0002.png", "16x16")
    (folder / "mask" / "0002.png").unlink()
    refused(folder, "mask has nothing for image 0002", error=DataMissing)
    shutil.copy(folder / "mask" / "0001.png", folder / "mask" / "0002.png")
    Image.new("P", (SIDE, SIDE)).save(folder / "mask" / "0002.png")
    refused(folder, "0002.png", "another kind")
    shutil.rmtree(folder / "mask")
    shutil.copy(folder / "image" / "0001.png", folder / "image" / "0001.jpg")
    refused(folder, "image holds 0001.jpg and 0001.png")
    (folder / "image" / "0001.jpg").unlink()
    Image.new("L", (SIDE, SIDE)).save(folder / "image" / "0001.png")
    refused(folder, "0001.png", "grey")
    (folder / "image" / "0001.png").unlink()
    (folder / "image" / "0001.png").symlink_to(folder.parent.parent / "x.png")
    write_png(folder.parent.parent / "x.png", image_of(0))
    refused(folder, "0001.png", "outside")


def test_files_that_mac_and_windows_leave_do_no_harm(folder):
    (folder / "image" / "._0001.png").write_bytes(b"x")
    (folder / "image" / "Thumbs.db").write_bytes(b"x")
    assert len(nmr.read(folder).hidden) == 4


def test_arrays_that_declare_too_much(folder):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**9, 4)})
    with zipfile.ZipFile(folder / "cameras.npz", "a") as archive:
        archive.writestr("scale_mat_0.npy", head.getvalue() + b"\0" * 64)
    refused(folder, "'scale_mat_0' declares 32000000000 bytes and has 64")


# --- what is written


def test_written_objects_are_read_back_exactly(tmp_path):
    rng = np.random.default_rng(0)
    n, size = 4, (6, 4)
    c2w = np.stack([look_at(rng.normal(size=3) + [2, 0, 0], rng.normal(size=3)) for _ in range(n)])
    K = np.tile(np.float32([[7.3, 0.2, 3.1], [0, 6.9, 1.9], [0, 0, 1]]), (n, 1, 1)) + np.float32([[[1e-3]] * 3])
    K[:, 2] = 0, 0, 1
    K[:, 1, 0] = 0
    images = rng.integers(0, 256, (n, size[1], size[0], 4), dtype=np.uint8)
    masks = rng.random((n, size[1], size[0])) > 0.5
    cameras = Cameras(c2w, K, np.tile(np.int32(size), (n, 1)))
    normal = rng.normal(size=(9, 3))
    surface = Points(rng.random((9, 3)), normal / np.linalg.norm(normal, axis=1, keepdims=True))
    for names in (("0007", "0001", "12", "3"), ("b", "a ü", "d", "c")):
        views = Views(cameras, names, lambda i: images[i], lambda i: masks[i])
        folder = tmp_path / names[0]
        nmr.write(folder, {"train": views.subset([0, 1]), "test": views.subset([1, 2, 3])}, surface)
        assert nmr.detect(folder)
        back, frame = nmr._views(folder)
        np.testing.assert_array_equal(frame, np.eye(4))
        assert sorted(back.names) == sorted(names)
        for i, name in enumerate(back.names):
            j = names.index(name)
            np.testing.assert_array_equal(back.cameras.c2w[i], c2w[j])
            np.testing.assert_array_equal(back.cameras.K[i], K[j])
            np.testing.assert_array_equal(back.image(i), images[j])
            np.testing.assert_array_equal(back.mask(i), masks[j])
        read = nmr.read(folder).surface
        np.testing.assert_array_equal(read.xyz, surface.xyz)
        np.testing.assert_array_equal(read.normal, surface.normal)
        with pytest.raises(NfbenchError, match="already"):
            nmr.write(folder, {"train": views})
    views = Views(cameras, ("3", "03", "1", "2"), lambda i: images[i])
    with pytest.raises(ContractBroken, match="same number"):
        nmr.write(tmp_path / "x", {"train": views})


# --- damage


def damaged(rng, data):
    """Some bytes cut off, put in, taken out or changed."""
    at, much = int(rng.integers(len(data))), int(rng.integers(1, 20))
    kind = rng.integers(4)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + rng.bytes(much) + data[at:]
    if kind == 2:
        return data[:at] + data[at + much :]
    return data[:at] + rng.bytes(much) + data[at + much :]


def fuzz(folder, rounds, seed=0):
    """How many of the damaged objects were refused; anything but an NfbenchError comes out."""
    rng = np.random.default_rng(seed)
    (folder.parent.parent / "src_dvr.txt").write_text("04379243 abd 2\n04379243 abc 3\n")
    np.savez(folder / "pointcloud.npz", points=np.zeros((4, 3), np.float16), normals=np.ones((4, 3), np.float16))
    files = ["cameras.npz", "pointcloud.npz", "image/0002.png", "mask/0002.png", "../../src_dvr.txt"]
    refusals = 0
    for _ in range(rounds):
        file = folder / files[int(rng.integers(len(files)))]
        whole = file.read_bytes()
        file.write_bytes(damaged(rng, whole))
        try:
            nmr.detect(folder)
            scene = nmr.read(folder)
            for views in (scene.given.views, scene.hidden):
                for i in range(len(views)):
                    views.image(i), views.mask(i)
        except NfbenchError:
            refusals += 1
        finally:
            file.write_bytes(whole)
    return refusals


def test_damaged_files_are_refused_in_words(folder):
    assert fuzz(folder, 200) > 100
    assert nmr.read(folder).given.views.names == ("0003",)


# --- real samples


def test_the_real_table(real_data):
    root = real_data / "shapenet_dvr_nmr" / "ShapeNet"
    (folder,) = nmr.scenes(root)
    scene = nmr.read(folder)
    assert scene.name == "04379243-1a9bb6a5cf448d75e6fd255f2d77a585"
    assert len(scene.hidden) == 23
    assert scene.surface.xyz.shape == (100000, 3)
    np.testing.assert_allclose(np.linalg.norm(scene.surface.normal, axis=1), 1, atol=1e-6)
    inside, framed, apart = 0, 0, []
    for i in range(len(scene.hidden)):
        assert scene.hidden.image(i).shape == (256, 256, 4)
        xy, depth = project(scene.hidden.cameras, i, scene.surface.xyz)
        seen = (depth > 0) & (xy >= 0).all(1) & (xy < 256).all(1)
        column, row = xy[seen].astype(int).T
        inside += scene.hidden.mask(i)[row, column].sum()
        framed += seen.sum()
        distance = np.linalg.norm(scene.surface.xyz[seen] - scene.hidden.cameras.centres[i], axis=1)
        nearest = np.full((256, 256), np.inf, np.float32)
        np.minimum.at(nearest, (row, column), distance)
        both = np.isfinite(nearest) & np.isfinite(scene.hidden.depth(i))
        apart.append(np.abs(nearest[both] - scene.hidden.depth(i)[both]))
    assert inside / framed > 0.99
    assert np.median(np.concatenate(apart)) < 0.003
    assert framed / 23 / 100000 > 0.95


def test_the_real_view_list(real_data, folder):
    shutil.copy(real_data / "pixelnerf_viewlist" / "src_dvr.txt", folder.parent.parent)
    target = folder.parent.parent / "03691459" / "102f9164c5ae3846205b5aa6ba4df9c8"
    make(target)
    assert nmr.read(target).given.views.names == ("0004",)
    assert len(nmr.line_list(folder.parent.parent / "src_dvr.txt")) == 8762


def test_other_real_folders_are_not_taken_for_this_format(real_data):
    for other in ("dtu_scan24_200x150", "texture_fields_car", "llff_fern", "srn_format_cars", "deepsdf_samples"):
        assert nmr.scenes(real_data / other) == []
        assert not any(nmr.detect(path) for path in (real_data / other).rglob("*") if path.is_dir())


# --- inputs


def test_a_cloud_instead_of_a_view(folder):
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (2000, 3)).astype(np.float32)
    np.savez(folder / "pointcloud.npz", points=xyz, normals=np.tile([0.0, 0, 1], (2000, 1)))
    views, scene = nmr.read(folder, 1), nmr.read(folder, 1, giving="cloud")
    assert nmr.inputs == ("views", "cloud") and scene.given.kinds() == ("cloud",)
    assert scene.hidden.names == views.hidden.names == ("0000", "0002", "0003", "0004")
    nearest = np.linalg.norm(scene.given.cloud.xyz[:, None] - xyz[None], axis=2).min(1)
    assert len(scene.given.cloud) == 300 and 1e-3 < nearest.mean() < 0.01
    np.testing.assert_array_equal(scene.given.cloud.xyz, nmr.read(folder, giving="cloud").given.cloud.xyz)
    (folder.parent / "softras_train.lst").write_text(folder.name + "\n")
    assert nmr.read(folder, giving="cloud").given.kinds() == ("cloud",)
    (folder / "pointcloud.npz").unlink()
    refused(folder, "pointcloud.npz", error=DataMissing, giving="cloud")


def test_only_files_of_what_is_given_stay_open(folder):
    np.savez(folder / "pointcloud.npz", points=np.zeros((9, 3), np.float32))
    kept = {folder / "cameras.npz"}
    files = {file for file in folder.rglob("*") if file.is_file()}
    assert set(hidden_files(nmr.read(folder, giving="cloud"))) == files - kept
    scene = nmr.read(folder, 2)
    assert set(hidden_files(scene)) == files - kept - {folder / "image" / "0002.png", folder / "mask" / "0002.png"}
    with hiding(hidden_files(scene)):  # what is given opens, its mask too
        scene.given.views.image(0), scene.given.views.mask(0)
