import contextlib
import shutil
import struct

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nfbench.harness.camera import Cameras, look_at, project
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.png import write_png
from nfbench.harness.scene import Points, Views
from nfbench.loaders import colmap, colmap_model

W, H = 64, 48
COUNT = 10
NAMES = [f"IMG {i:02}é.png" for i in range(COUNT)]
XYZ = np.random.default_rng(5).uniform(-1, 1, (30, 3))
LENS_OF = {  # every model that is read: its number, parameters, and K and lens as our convention has them
    "SIMPLE_PINHOLE": (0, [60, 31, 25], (60, 60, 31, 25), [0] * 8),
    "PINHOLE": (1, [60, 61, 31, 25], (60, 61, 31, 25), [0] * 8),
    "SIMPLE_RADIAL": (2, [60, 31, 25, 0.1], (60, 60, 31, 25), [0.1, 0, 0, 0, 0, 0, 0, 0]),
    "RADIAL": (3, [60, 31, 25, 0.1, 0.02], (60, 60, 31, 25), [0.1, 0.02, 0, 0, 0, 0, 0, 0]),
    "OPENCV": (4, [60, 61, 31, 25, 0.1, 0.02, 0.003, 0.004], (60, 61, 31, 25), [0.1, 0.02, 0.003, 0.004, 0, 0, 0, 0]),
    "OPENCV_FISHEYE": (5, [60, 61, 31, 25, 0.1, 0.02, 0.03, 0.04], (60, 61, 31, 25), [0.1, 0.02, 0.03, 0.04] + [0] * 4),
    "FULL_OPENCV": (
        6,
        [60, 61, 31, 25, 0.1, 0.02, 0.003, 0.004, 0.05, 0.06, 0.07, 0.08],
        (60, 61, 31, 25),
        [0.1, 0.02, 0.003, 0.004, 0.05, 0.06, 0.07, 0.08],
    ),
    "SIMPLE_RADIAL_FISHEYE": (8, [60, 31, 25, 0.1], (60, 60, 31, 25), [0.1, 0, 0, 0, 0, 0, 0, 0]),
    "RADIAL_FISHEYE": (9, [60, 31, 25, 0.1, 0.02], (60, 60, 31, 25), [0.1, 0.02, 0, 0, 0, 0, 0, 0]),
    "SIMPLE_FISHEYE": (14, [60, 31, 25], (60, 60, 31, 25), [0] * 8),
    "FISHEYE": (15, [60, 61, 31, 25], (60, 61, 31, 25), [0] * 8),
}


def image_of(index, size=(W, H)):
    return np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


def pose_of(index):
    angle = 2 * np.pi * index / COUNT
    return look_at([3 * np.cos(angle), 3 * np.sin(angle), 1], [0, 0, 0]).astype(np.float64)


def world_to_camera(index):
    """w x y z and t, worked out by scipy."""
    turn = pose_of(index)[:, :3].T
    return [*Rotation.from_matrix(turn).as_quat(scalar_first=True), *(-turn @ pose_of(index)[:, 3])]


def write_cameras(model, text, name="PINHOLE", size=(W, H)):
    number, values, _, _ = LENS_OF[name]
    if text:
        line = f"7 {name} {size[0]} {size[1]} {' '.join(map(str, values))}"
        (model / "cameras.txt").write_text(f"# Camera list\n\n{line}\n")
        return
    head = struct.pack("<QIiQQ", 1, 7, number, *size)
    (model / "cameras.bin").write_bytes(head + struct.pack(f"<{len(values)}d", *values))


def write_images(model, text, names=NAMES, points=3, backwards=True):
    """In another order than that of the names, as COLMAP does."""
    order = list(enumerate(names))[:: -1 if backwards else 1]
    if text:
        lines = ["# Image list with two lines of data per image:", "#   IMAGE_ID, QW, ..."]
        for i, name in order:
            lines.append(f"{i + 1} {' '.join(repr(float(v)) for v in world_to_camera(i))} 7 {name}")
            lines.append(" ".join("1.5 2.5 -1" for _ in range(points)))
        (model / "images.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    data = struct.pack("<Q", len(order))
    for i, name in order:
        data += struct.pack("<I7dI", i + 1, *world_to_camera(i), 7) + name.encode() + b"\0"
        data += struct.pack("<Q", points) + struct.pack("<ddq", 1.5, 2.5, -1) * points
    (model / "images.bin").write_bytes(data)


def write_points(model, text, xyz=XYZ):
    if text:
        lines = [f"{i} {p[0]!r} {p[1]!r} {p[2]!r} 1 2 3 0.5 1 0 2 4" for i, p in enumerate(xyz.tolist())]
        (model / "points3D.txt").write_text("# 3D points\n" + "\n".join(lines) + "\n")
        return
    data = struct.pack("<Q", len(xyz))
    for i, point in enumerate(xyz.tolist()):
        track = i % 3
        data += struct.pack("<Q3d3BdQ", i, *point, 1, 2, 3, 0.5, track) + struct.pack("<II", 1, 2) * track
    (model / "points3D.bin").write_bytes(data)


def make_scene(scene, text=False):
    model = scene / "sparse" / "0"
    model.mkdir(parents=True)
    write_cameras(model, text)
    write_images(model, text)
    write_points(model, text)
    for i, name in enumerate(NAMES):
        write_png(scene / "images" / name, image_of(i))
    return scene


@pytest.fixture(params=["binary", "text"])
def folder(tmp_path, request):
    return make_scene(tmp_path / "my garden", request.param == "text")


@pytest.fixture
def binary(tmp_path):
    return make_scene(tmp_path / "my garden")


@pytest.fixture
def text(tmp_path):
    return make_scene(tmp_path / "my garden", text=True)


def refused(folder, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        colmap.read(folder)
    assert caught.value.hint
    for word in words:
        assert str(word) in caught.value.message
    return caught.value


# --- what is read


def test_views_cloud_and_split(folder):
    scene = colmap.read(folder)
    assert scene.name == "my garden"
    assert scene.given.kinds() == colmap.given == ("views", "cloud")
    assert scene.hidden.names == ("IMG 00é", "IMG 08é")
    assert scene.given.views.names == tuple(f"IMG {i:02}é" for i in (1, 2, 3, 4, 5, 6, 7, 9))
    np.testing.assert_array_equal(scene.hidden.image(1), image_of(8))
    np.testing.assert_array_equal(scene.given.cloud.xyz, XYZ.astype(np.float32))
    np.testing.assert_array_equal(scene.frame, np.eye(4))
    cameras = scene.hidden.cameras
    np.testing.assert_allclose(cameras.c2w, [pose_of(0), pose_of(8)], atol=1e-6)
    np.testing.assert_array_equal(cameras.K[1], [[60, 0, 31], [0, 61, 25], [0, 0, 1]])
    assert cameras.distortion is None
    assert cameras.near_far is None
    image, depth = project(cameras, 0, np.zeros((1, 3)))
    np.testing.assert_allclose(image, [[31, 25]], atol=1e-4)
    np.testing.assert_allclose(depth, np.sqrt(10), rtol=1e-6)


def test_the_box_holds_cameras_and_most_points(binary):
    far = np.concatenate([np.zeros((300, 3)), [[1e6, 0, 0]]])
    write_points(binary / "sparse" / "0", False, far)
    box = colmap.read(binary).box
    centres = np.array([pose_of(i)[:, 3] for i in range(COUNT)])
    low, high = np.minimum(centres.min(0), 0), np.maximum(centres.max(0), 0)
    room = 0.1 * (high - low).max()
    np.testing.assert_allclose(box, [low - room, high + room], rtol=1e-5)


def test_a_model_without_points_is_read(folder):
    write_points(folder / "sparse" / "0", (folder / "sparse" / "0" / "points3D.txt").exists(), XYZ[:0])
    scene = colmap.read(folder)
    assert len(scene.given.cloud) == 0
    np.testing.assert_allclose(scene.box[0, 0], -3 - 6 * 0.975, rtol=0.05)
    np.testing.assert_array_equal(colmap.box_around(np.empty((0, 3)), np.ones((1, 3))), [[0] * 3, [2] * 3])


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("name", LENS_OF)
def test_every_model_of_a_camera(tmp_path, name, text):
    write_cameras(tmp_path, text, name)
    ((identity, camera),) = colmap_model.read_cameras(tmp_path).items()
    assert (identity, camera.model, camera.width, camera.height) == (7, name, W, H)
    _, _, (fx, fy, cx, cy), lens = LENS_OF[name]
    np.testing.assert_array_equal(camera.intrinsics(), [[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    np.testing.assert_array_equal(camera.lens(), lens)
    assert camera.fisheye == ("FISHEYE" in name)


def test_lenses_reach_the_cameras(binary):
    model = binary / "sparse" / "0"
    write_cameras(model, False, "OPENCV")
    cameras = colmap.read(binary).hidden.cameras
    np.testing.assert_array_equal(cameras.distortion, np.float32([LENS_OF["OPENCV"][3]] * 2))
    assert cameras.fisheye.tolist() == [False, False]
    write_cameras(model, False, "SIMPLE_RADIAL_FISHEYE")
    assert colmap.read(binary).hidden.cameras.fisheye.tolist() == [True, True]


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (7, "FOV"),
        (10, "THIN_PRISM_FISHEYE"),
        (11, "RAD_TAN_THIN_PRISM_FISHEYE"),
        (12, "SIMPLE_DIVISION"),
        (13, "DIVISION"),
        (16, "EUCM"),
        (17, "EQUIRECTANGULAR"),
        (18, "number 18"),
        (-1, "number -1"),
    ],
)
def test_other_models_of_a_camera_are_refused_by_name(binary, number, name):
    (binary / "sparse" / "0" / "cameras.bin").write_bytes(struct.pack("<QIiQQ12d", 1, 7, number, W, H, *[1.0] * 12))
    refused(binary, f"camera 7 is of the camera model {name}", error=Unsupported)


def test_other_models_in_text_are_refused_by_name(text):
    (text / "sparse" / "0" / "cameras.txt").write_text("7 FOV 64 48 60 60 32 24 0.1\n")
    assert "image_undistorter" in refused(text, "camera 7", "model FOV", error=Unsupported).hint


def test_binary_counts_where_both_are_there(binary):
    write_cameras(binary / "sparse" / "0", True, "SIMPLE_PINHOLE")
    assert colmap.read(binary).hidden.cameras.K[0, 1, 1] == 61


def test_the_model_may_lie_in_sparse_itself(binary):
    for file in (binary / "sparse" / "0").iterdir():
        file.rename(binary / "sparse" / file.name)
    (binary / "sparse" / "0").rmdir()
    assert colmap.detect(binary)
    assert len(colmap.read(binary).hidden) == 2


# --- copies of images


def test_smaller_copies_scale_the_intrinsics(binary):
    for factor, size in ((2, (32, 24)), (4, (16, 12)), (8, (8, 6))):
        for i, name in enumerate(NAMES):
            write_png(binary / f"images_{factor}" / name, image_of(i, size))
    cameras = colmap.read(binary).hidden.cameras
    np.testing.assert_allclose(cameras.K[0], [[15, 0, 31 / 4], [0, 61 / 4, 25 / 4], [0, 0, 1]])
    assert cameras.size[0].tolist() == [16, 12]
    assert colmap.read(binary, factor=8).hidden.cameras.size[0].tolist() == [8, 6]
    assert colmap.read(binary, factor=1).hidden.cameras.size[0].tolist() == [W, H]
    shutil.rmtree(binary / "images_4")
    assert colmap.read(binary).hidden.cameras.size[0].tolist() == [W, H]  # not another scene's rule


@pytest.mark.parametrize("name", ["room", "counter", "kitchen", "bonsai"])
def test_indoor_scenes_of_mipnerf360_take_the_copies_twice_smaller(binary, name):
    for factor, size in ((2, (32, 24)), (4, (16, 12))):
        for i, picture in enumerate(NAMES):
            write_png(binary / f"images_{factor}" / picture, image_of(i, size))
    binary = binary.rename(binary.with_name(name))
    assert colmap.read(binary).hidden.cameras.size[0].tolist() == [32, 24]


def test_a_copy_with_other_endings_or_names_is_matched(binary):
    for i in range(COUNT):
        write_png(binary / "images_4" / f"image{i:03}.png", image_of(i, (16, 12)))
    views = colmap.read(binary).hidden
    assert views.names == ("IMG 00é", "IMG 08é")
    assert views.files[1].name == "image008.png"
    (binary / "images_4" / "image009.png").unlink()
    refused(binary, "images_4", "IMG 00é.png", error=DataMissing)


def test_a_copy_with_other_endings_is_matched_by_name(binary):
    model = binary / "sparse" / "0"
    write_images(model, False, [name.replace(".png", ".JPG") for name in NAMES])
    for i, name in enumerate(NAMES):
        write_png(binary / "images_2" / name, image_of(i, (32, 24)))
    views = colmap.read(binary, factor=2).hidden
    assert views.names == ("IMG 00é", "IMG 08é")
    np.testing.assert_array_equal(views.image(1), image_of(8, (32, 24)))
    refused(binary, "IMG 00é.JPG", error=DataMissing)  # images itself must be as the model says


def test_images_in_folders_of_their_own(binary):
    names = [f"cam{i % 2}/{i // 2}.png" for i in range(COUNT)]
    write_images(binary / "sparse" / "0", False, names)
    for i, name in enumerate(names):
        write_png(binary / "images" / name, image_of(i))
    views = colmap.read(binary).hidden
    assert views.names == ("cam0_0", "cam1_3")
    np.testing.assert_array_equal(views.image(0), image_of(0))


def test_images_without_a_pose_are_left_out_and_do_not_count(binary):
    write_images(binary / "sparse" / "0", False, NAMES[:9])
    write_png(binary / "images" / "A.png", image_of(0))
    scene = colmap.read(binary)
    assert scene.hidden.names == ("IMG 00é", "IMG 08é")
    assert len(scene.given.views) == 7


# --- the list of test images


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_list_names_the_test_images(binary, ends):
    lines = ["IMG 03é.png", "", "  IMG 01é  ", ""]
    (binary / "sparse" / "0" / "test.txt").write_text(ends.join(lines), encoding="utf-8-sig", newline="")
    scene = colmap.read(binary)
    assert scene.hidden.names == ("IMG 03é", "IMG 01é")
    assert scene.given.views.names == tuple(f"IMG {i:02}é" for i in (0, 2, 4, 5, 6, 7, 8, 9))


@pytest.mark.parametrize(
    ("data", "words", "error"),
    [
        (b"IMG 03\xc3\xa9.png\nnone.png\n", ["line 2", "'none.png'"], DataMissing),
        (b"\xff\n", ["test.txt"], DataCorrupt),
        (b"\n", ["10 views", "left to test"], DataCorrupt),
        ("\n".join(NAMES).encode(), ["left to train"], DataCorrupt),
        (b"IMG 03\xc3\xa9.png\nIMG 03\xc3\xa9.png\n", ["IMG 03é", "twice"], DataCorrupt),
    ],
)
def test_a_wrong_list_is_named(binary, data, words, error):
    (binary / "sparse" / "0" / "test.txt").write_bytes(data)
    refused(binary, *words, error=error)


# --- which format


def test_detection_is_by_files_alone(folder, tmp_path):
    assert colmap.detect(folder)
    assert not colmap.detect(tmp_path)
    assert not colmap.detect(folder / "sparse")
    assert not colmap.detect(folder / "nothing")
    for name in ("transforms.json", "transforms_train.json", "transforms_test.json"):
        (folder / name).write_text("{}")
        assert not colmap.detect(folder)
        (folder / name).unlink()
    (folder / "images").rename(folder / "photos")
    assert not colmap.detect(folder)
    refused(folder, "no folder images", error=DataMissing)


def test_a_folder_without_a_model_is_refused(folder):
    shutil.rmtree(folder / "sparse")
    assert not colmap.detect(folder)
    refused(folder, "sparse/0", error=DataMissing)


def test_no_real_sample_is_taken_for_colmap(real_data):
    assert not [path for path in real_data.iterdir() if colmap.detect(path)]


# --- text


def test_images_without_2d_points_have_an_empty_second_line(text):
    write_images(text / "sparse" / "0", True, points=0)
    assert len(colmap.read(text).given.views) == 8
    file = text / "sparse" / "0" / "images.txt"
    file.write_bytes(file.read_bytes().rstrip(b"\n").replace(b"\n", b"\r\n"))
    assert len(colmap.read(text).given.views) == 8


@pytest.mark.parametrize(
    ("file", "data", "words"),
    [
        ("cameras.txt", "# only\n", ["no cameras"]),
        ("cameras.txt", "7 PINHOLE 64\n", ["line 1", "3 items"]),
        ("cameras.txt", "x PINHOLE 64 48 60 61 31 25\n", ["line 1", "no numbers"]),
        ("cameras.txt", "\n7 PINHOLE 64 48 60 sixty 31 25\n", ["line 2", "no numbers"]),
        ("cameras.txt", "7 PINHOLE 64 48 60 61 31\n", ["camera 7 (PINHOLE) has 3 parameters"]),
        ("cameras.txt", "7 PINHOLE 64 48 60 61 31 25 0\n", ["has 5 parameters"]),
        ("cameras.txt", "7 PINHOLE 64 48 nan 61 31 25\n", ["fx is nan"]),
        ("cameras.txt", "7 PINHOLE 64 48 0 61 31 25\n", ["fx is 0"]),
        ("cameras.txt", "7 PINHOLE 64 48 60 -1 31 25\n", ["fy is -1"]),
        ("cameras.txt", "7 PINHOLE 64 48 60 61 inf 25\n", ["cx is inf"]),
        ("cameras.txt", "7 PINHOLE 0 48 60 61 31 25\n", ["images of 0x48"]),
        ("cameras.txt", "7 PINHOLE 64 100001 60 61 31 25\n", ["64x100001"]),
        ("cameras.txt", "7 PINHOLE 64 48 60 61 31 25\n7 PINHOLE 64 48 60 61 31 25\n", ["camera 7", "twice"]),
        ("cameras.txt", "8 PINHOLE 64 48 60 61 31 25\n", ["IMG 00é.png", "camera 7"]),
        ("images.txt", "", ["no images"]),
        ("images.txt", "1 1 0 0 0 0 0 0 7\n\n", ["line 1", "9 items"]),
        ("images.txt", "1 1 0 0 0 0 0 zero 7 a.png\n\n", ["line 1", "no numbers"]),
        ("images.txt", "1 1 0 0 0 0 0 0 c a.png\n\n", ["line 1", "no numbers"]),
        ("images.txt", "i 1 0 0 0 0 0 0 7 a.png\n\n", ["line 1", "no numbers"]),
        ("images.txt", "1 0 0 0 0 0 0 0 7 a.png\n\n", ["'a.png'", "[0.0, 0.0, 0.0, 0.0,"]),
        ("images.txt", "1 1 0 0 nan 0 0 0 7 a.png\n\n", ["'a.png'", "nan"]),
        ("images.txt", "1 1 0 0 0 0 0 inf 7 a.png\n\n", ["'a.png'", "inf"]),
        ("images.txt", "1 1 0 0 0 0 0 0 7 a.png\n\n2 1 0 0 0 0 0 0 7 a.png\n\n", ["'a.png' is there twice"]),
        ("images.txt", "1 1 0 0 0 0 0 0 7 ../a.png\n\n", ["'../a.png'", "outside"]),
        ("images.txt", "1 1 0 0 0 0 0 0 7 /a.png\n\n", ["'/a.png'", "outside"]),
        ("images.txt", "1 1 0 0 0 0 0 0 7 C:\\a.png\n\n", ["outside"]),
        ("images.txt", "1 1 0 0 0 0 0 0 7 a.txt\n\n", ["'a.txt'", "no image"]),
        ("points3D.txt", "1 0 0 0 1 2 3\n", ["line 1", "7 items"]),
        ("points3D.txt", "1 0 0 z 1 2 3 0.5\n", ["line 1", "no numbers"]),
        ("points3D.txt", "1 0 0 0 1 2 3 0.5\n1 0 nan 0 1 2 3 0.5\n", ["point 1 in order"]),
    ],
)
def test_wrong_lines_are_named(text, file, data, words):
    (text / "sparse" / "0" / file).write_text(data)
    refused(text, *words)


def test_text_that_is_not_utf8_is_named(text):
    (text / "sparse" / "0" / "images.txt").write_bytes(b"\xff\xfe")
    refused(text, "images.txt", "not UTF-8")


# --- binary


@pytest.mark.parametrize("file", ["cameras.bin", "images.bin", "points3D.bin"])
def test_every_cut_and_every_byte_too_many_is_found(binary, file):
    path = binary / "sparse" / "0" / file
    data = path.read_bytes()
    for length in [*range(0, min(len(data), 200), 7), *range(max(len(data) - 90, 0), len(data))]:
        path.write_bytes(data[:length])
        refused(binary, file, "bytes" if length < 8 else file)
    path.write_bytes(data + b"\0")
    refused(binary, file, "1 bytes after its last record")
    path.write_bytes(struct.pack("<Q", 2**60) + data[8:])
    refused(binary, file, f"declares {2**60} records")


def test_a_name_that_is_not_utf8_is_named(binary):
    path = binary / "sparse" / "0" / "images.bin"
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xff\xff"))
    refused(binary, "image 0 in order is not UTF-8")


def test_a_file_of_the_model_that_is_not_there(folder):
    for name in ("points3D.bin", "points3D.txt"):
        (folder / "sparse" / "0" / name).unlink(missing_ok=True)
    refused(folder, "points3D", error=DataMissing)


# --- images


def test_an_image_that_is_not_there_is_named_and_case_is_told(binary):
    (binary / "images" / NAMES[3]).rename(binary / "images" / "img 03é.PNG")
    assert "img 03é.PNG: the case" in refused(binary, NAMES[3], error=DataMissing).hint
    (binary / "images" / "img 03é.PNG").unlink()
    assert "Download" in refused(binary, NAMES[3], error=DataMissing).hint


def test_an_image_of_another_size_is_named(binary):
    write_png(binary / "images" / NAMES[3], image_of(3, (W + 1, H)))
    refused(binary, NAMES[3], "65x48", "64x48")


def test_a_link_out_of_the_scene_is_refused(binary, tmp_path):
    (binary / "images" / NAMES[3]).rename(tmp_path / "else.png")
    (binary / "images" / NAMES[3]).symlink_to(tmp_path / "else.png")
    refused(binary, NAMES[3], "outside")


@pytest.mark.parametrize("file", ["cameras", "images", "points3D"])
def test_only_its_own_errors_come_out_of_damaged_files(folder, file):
    rng = np.random.default_rng(len(file))
    path = next((folder / "sparse" / "0").glob(f"{file}.*"))
    sound = path.read_bytes()
    for _ in range(100):
        path.write_bytes(damaged(sound, rng))
        with contextlib.suppress(NfbenchError):
            colmap.read(folder)
        colmap.detect(folder)


def damaged(data, rng):
    """The data with a few bytes changed, or cut short, or with a part of it twice."""
    changed = bytearray(data)
    for _ in range(rng.integers(0, 4)):
        changed[rng.integers(len(data))] = rng.integers(256)
    start, end = sorted(rng.integers(len(data), size=2).tolist())
    kind = rng.integers(8)
    if kind == 0:
        return bytes(changed[:start])
    return bytes(changed[:end] + changed[start:]) if kind == 1 else bytes(changed)


# --- what is written

LENSES = np.array([[0.1, 0.02, 0.003, 0.004, 0, 0, 0, 0], [0.1, 0, 0, 0, 0, 0, 0, 0.01], [0] * 8, [0.1] * 4 + [0] * 4])


def some_views(names, lenses=LENSES, fisheye=(False, False, False, True), first=0, **fields):
    n = len(names)
    poses = np.stack([pose_of(first + i)[:, :4] for i in range(n)]).astype(np.float32)
    K = np.array([[[60.5 + i, 0, 31], [0, 61, 25.25], [0, 0, 1]] for i in range(n)])
    parts = {"c2w": poses, "K": K, "size": np.tile((W, H), (n, 1))} | fields
    cameras = Cameras(**parts, distortion=lenses[:n], fisheye=np.array(fisheye[:n]))
    return Views(cameras, tuple(names), lambda i: image_of(first + i))


def test_what_is_written_is_read_again(tmp_path):
    """All but the last bits of rotations, for which the format has quaternions."""
    splits = {"train": some_views(["a", "c é", "b", "e"]), "test": some_views(["z", "d"], first=4)}
    cloud = Points(XYZ.astype(np.float32))
    colmap.write(tmp_path / "copy", splits, cloud)
    scene, again = colmap.read(tmp_path / "copy"), colmap.splits(tmp_path / "copy")
    np.testing.assert_array_equal(scene.given.cloud.xyz, cloud.xyz)
    assert colmap.detect(tmp_path / "copy")
    for split, views in splits.items():
        at = [again[split].names.index(name) for name in views.names]
        assert len(again[split]) == len(views)
        cameras = again[split].cameras[at]
        for field in ("K", "size", "distortion", "fisheye"):
            np.testing.assert_array_equal(getattr(cameras, field), getattr(views.cameras, field))
        np.testing.assert_allclose(cameras.c2w, views.cameras.c2w, atol=1e-6)
        for i in range(len(views)):
            np.testing.assert_array_equal(again[split].image(at[i]), views.image(i))
    kinds = [camera.model for camera in colmap_model.read_cameras(tmp_path / "copy" / "sparse" / "0").values()]
    assert sorted(kinds) == ["FULL_OPENCV", "OPENCV", "OPENCV_FISHEYE", "PINHOLE"]  # two views share each


def test_a_list_is_written_only_where_the_rule_would_not_give_the_split(binary, tmp_path):
    splits = colmap.splits(binary)
    colmap.write(tmp_path / "same", splits)
    assert not (tmp_path / "same" / "sparse" / "0" / "test.txt").exists()
    assert len(colmap_model.read_cameras(tmp_path / "same" / "sparse" / "0")) == 1  # shared by all
    assert len(colmap.read(tmp_path / "same").given.cloud) == 0
    colmap.write(tmp_path / "other", {"train": splits["test"], "test": splits["train"]})
    assert colmap.read(tmp_path / "other").given.views.names == splits["test"].names
    assert colmap.read(tmp_path / "other").hidden.names == splits["train"].names


@pytest.mark.parametrize(
    "K",
    [
        [[60, 1, 31], [0, 61, 25], [0, 0, 1]],
        [[-60, 0, 31], [0, 61, 25], [0, 0, 1]],
        [[60, 0, 31], [0, -61, 25], [0, 0, 1]],
    ],
)
def test_what_the_format_cannot_say_is_not_written(tmp_path, K):
    bad = some_views(["b"], lenses=np.zeros((4, 8)), K=np.array([K]))
    with pytest.raises(Unsupported, match="view 'b'"):
        colmap.write(tmp_path / "copy", {"train": some_views(["a"]), "test": bad})
    assert not (tmp_path / "copy").exists()


def test_only_two_splits_and_a_new_folder(binary, tmp_path):
    splits = colmap.splits(binary)
    with pytest.raises(NfbenchError, match="holds something"):
        colmap.write(binary, splits)
    with pytest.raises(ContractBroken, match="train, val"):
        colmap.write(tmp_path / "copy", {"train": splits["train"], "val": splits["test"]})


def test_an_equidistant_fisheye_sees_at_the_angle_times_the_focal_length(tmp_path):
    """theta = r of COLMAP's FISHEYE: 30 degrees off the axis is 60 pi / 6 pixels off the middle."""
    scene = make_scene(tmp_path / "scene")
    write_cameras(scene / "sparse" / "0", False, "SIMPLE_FISHEYE")
    cameras = colmap.read(scene).given.views.cameras
    angle = np.pi / 6
    local = np.array([np.sin(angle), 0, np.cos(angle)])
    xyz = cameras.centres[0] + 5 * cameras.c2w[0, :, :3] @ local
    xy, _ = project(cameras, 0, xyz[None])
    np.testing.assert_allclose(xy, [[31 + 60 * angle, 25]], atol=1e-3)


def test_a_panorama_is_refused_by_its_name(tmp_path):
    scene = make_scene(tmp_path / "scene")
    (scene / "sparse" / "0" / "cameras.bin").write_bytes(struct.pack("<QIiQQ2d", 1, 7, 17, W, H, W, H))
    refused(scene, "camera 7", "EQUIRECTANGULAR", error=Unsupported)


@pytest.mark.parametrize("text", [True, False])
def test_rigs_and_frames_of_newer_versions_lie_beside_the_model(tmp_path, text):
    """COLMAP 3.12 and later: src/colmap/scene/reconstruction_io_{binary,text}.cc."""
    scene = make_scene(tmp_path / "scene", text)
    wanted = colmap.read(scene)
    model = scene / "sparse" / "0"
    if text:
        (model / "rigs.txt").write_text("# Rig calib list\n1 1 CAMERA 7\n")
        (model / "frames.txt").write_text("# Frame list\n1 1 1 0 0 0 0 0 0 1 CAMERA 7 1\n")
    else:
        (model / "rigs.bin").write_bytes(struct.pack("<QIIiI", 1, 1, 1, 0, 7))
        frame = struct.pack("<II7dIiIQ", 1, 1, *world_to_camera(0), 1, 0, 7, 1)
        (model / "frames.bin").write_bytes(struct.pack("<Q", 1) + frame)
    assert colmap.detect(scene)
    found = colmap.read(scene)
    np.testing.assert_array_equal(found.given.views.cameras.c2w, wanted.given.views.cameras.c2w)
    np.testing.assert_array_equal(found.given.cloud.xyz, wanted.given.cloud.xyz)
