import errno

import numpy as np
import pytest
from PIL import Image

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.imagefile import image_size
from nfbench.harness.png import write_png
from nfbench.harness.scene import Views
from nfbench.loaders import imagefolder
from nfbench.loaders.imagefolder import (
    beside,
    check_intrinsics,
    check_names,
    check_one_size,
    has_masks,
    image_sizes,
    images_in,
    mask_size,
    only_split,
    read_mask,
    refuse_scene,
)


def picture(path, size=(4, 3), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path)
    return path


def test_images_are_listed_by_name(tmp_path):
    for name in ("b.png", "B.PNG", "a.jpg", "10.png", "2.png", "c d ü.jpeg", "a-1.jpg"):
        picture(tmp_path / "image" / name)
    for name in ("notes.txt", ".hidden.png", "Thumbs.db"):
        (tmp_path / "image" / name).write_bytes(b"")
    (tmp_path / "image" / "folder").mkdir()
    found = images_in(tmp_path / "image", tmp_path)
    assert [file.name for file in found.values()] == [
        "10.png",
        "2.png",
        "B.PNG",
        "a-1.jpg",
        "a.jpg",
        "b.png",
        "c d ü.jpeg",
    ]
    assert list(found) == ["10", "2", "B", "a-1", "a", "b", "c d ü"]
    assert found["10"] == tmp_path / "image" / "10.png"
    assert images_in(tmp_path / "image", tmp_path, (".txt",)) == {"notes": tmp_path / "image" / "notes.txt"}


def test_some_images_may_be_left_out(tmp_path):
    for name in ("0.jpg", "0_masked.jpg", "1_masked_.jpg"):
        picture(tmp_path / "image" / name)
    assert list(images_in(tmp_path / "image", tmp_path, skip=("_masked",))) == ["0", "1_masked_"]
    assert len(images_in(tmp_path / "image", tmp_path)) == 3
    with pytest.raises(DataMissing, match="image holds no images"):
        images_in(tmp_path / "image", tmp_path, skip=("0", "masked", "masked_"))


def test_folders_that_are_missing_or_empty_are_named(tmp_path, monkeypatch):
    place = tmp_path / "image"
    for there in (place, picture(tmp_path / "c.png")):
        with pytest.raises(DataMissing, match=f"no folder .*{there.name}"):
            images_in(there, tmp_path)
    place.mkdir()
    with pytest.raises(DataMissing, match=r"image holds no images"):
        images_in(place, tmp_path)
    picture(place / "a.png")
    picture(place / "a.jpg")
    with pytest.raises(DataMissing, match=r"image holds no \.exr or \.pfm"):
        images_in(place, tmp_path, (".exr", ".pfm"))
    with pytest.raises(DataCorrupt, match=r"image holds a\.jpg and a\.png"):
        images_in(place, tmp_path)

    def fails(folder):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(imagefolder.os, "scandir", fails)
    with pytest.raises(DataCorrupt, match="image cannot be read: Permission denied"):
        images_in(place, tmp_path)


def test_links_out_of_the_scene_are_refused(tmp_path):
    scene, outside = tmp_path / "scene", picture(tmp_path / "elsewhere" / "a.png")
    picture(scene / "image" / "b.png")
    link = scene / "image" / "a.png"
    link.symlink_to("b.png")
    assert len(images_in(scene / "image", scene)) == 2
    link.unlink()
    link.symlink_to(outside)
    with pytest.raises(DataCorrupt, match=r"a\.png lies outside of .*scene"):
        images_in(scene / "image", scene)
    link.unlink()
    (scene / "linked").symlink_to(outside.parent)
    with pytest.raises(DataCorrupt, match=r"a\.png lies outside of .*scene"):
        images_in(scene / "linked", scene)
    (tmp_path / "link").symlink_to(scene)  # the scene itself may be one
    assert list(images_in(tmp_path / "link" / "image", tmp_path / "link")) == ["b"]


def test_masks_go_beside_their_images_by_name(tmp_path):
    images = {name: tmp_path / f"{name}.jpg" for name in ("b", "a")}
    masks = {name: picture(tmp_path / "mask" / f"{name}.png") for name in ("a", "b", "c")}
    assert beside(images, [(4, 3), (4, 3)], masks, image_size) == [masks["b"], masks["a"]]
    with pytest.raises(DataCorrupt, match=r"a\.png is not of the size of its image, 5x3"):
        beside(images, [(4, 3), (5, 3)], masks, image_size)
    del masks["b"]
    with pytest.raises(DataMissing, match="mask has nothing for image b"):
        beside(images, [(4, 3), (4, 3)], masks, image_size)


def test_sizes(tmp_path):
    files = [picture(tmp_path / "a.png"), picture(tmp_path / "b.jpg", (5, 2))]
    size = image_sizes(files)
    assert size.dtype == np.int32
    assert size.tolist() == [[4, 3], [5, 2]]
    assert image_sizes([]).shape == (0, 2)
    check_one_size(files[:1], size[:1])
    with pytest.raises(DataCorrupt, match=r"b\.jpg: 5x2 pixels, but a\.png has 4x3"):
        check_one_size(files, size)


@pytest.mark.parametrize(
    ("centre", "good"),
    [
        ((30, 50), True),
        ((70, 50), True),
        ((29, 50), False),
        ((71, 50), False),
        ((50, 29), False),
        ((50, 71), False),
        ((np.nan, 50), False),
    ],
)
def test_principal_points_are_near_the_middle(tmp_path, centre, good):
    K = np.tile(np.array([[90.0, 0, 50], [0, 90, 50], [0, 0, 1]]), (2, 1, 1))
    K[1, :2, 2] = centre
    size, files = np.full((2, 2), 100, np.int32), [tmp_path / "a.png", tmp_path / "b.png"]
    if good:
        check_intrinsics(K, size, files, tmp_path / "cameras")
        return
    with pytest.raises(DataCorrupt, match=r"cameras: its camera of b\.png .* the image has 100x100"):
        check_intrinsics(K, size, files, tmp_path / "cameras")


@pytest.mark.parametrize(
    ("at", "value", "good"),
    [
        ((0, 0), 0.1, True),
        ((0, 0), 0.099, False),
        ((1, 1), 0.2, True),
        ((1, 1), 0.199, False),
        ((0, 1), 90.0, True),
        ((0, 1), -90.0, True),
        ((0, 1), 91.0, False),
        ((0, 1), -91.0, False),
    ],
)
def test_intrinsics_that_no_camera_has(tmp_path, at, value, good):
    K = np.array([[90.0, 0, 50], [0, 90, 100], [0, 0, 1]])
    K[at] = value
    files = [tmp_path / "a.png"]
    if good:
        check_intrinsics(K[None], np.array([[100, 200]], np.int32), files, tmp_path / "cameras")
        return
    with pytest.raises(DataCorrupt, match=r"cameras: its camera of a\.png has the intrinsics .* 100x200 pixels"):
        check_intrinsics(K[None], np.array([[100, 200]], np.int32), files, tmp_path / "cameras")


GREY = np.array([[0, 127, 128, 255]], np.uint8)


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "LA"])
def test_grey_above_the_middle_is_foreground(tmp_path, mode):
    path = tmp_path / "mask.png"
    image = Image.fromarray(GREY)
    image.convert(mode).save(path)
    mask = read_mask(path)
    assert mask.dtype == np.bool_
    assert mask.tolist() == [[False, False, True, True]]
    assert mask_size(path) == (4, 1)


def test_black_and_white_masks(tmp_path):
    Image.fromarray(np.array([[True, False, True]])).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[True, False, True]]
    Image.fromarray(np.uint8([[[250, 250, 250], [4, 4, 4]]])).save(tmp_path / "mask.bmp")
    assert read_mask(tmp_path / "mask.bmp").tolist() == [[True, False]]


def test_colours_count_by_their_luma(tmp_path):
    """0.299 R + 0.587 G + 0.114 B, as imageio's as_gray, which IDR's loader calls."""
    colours = np.uint8([[[255, 0, 0], [0, 255, 0], [255, 87, 0], [255, 88, 0], [0, 218, 0], [0, 217, 0]]])
    write_png(tmp_path / "mask.png", colours)
    expected = (colours.astype(float) @ [0.299, 0.587, 0.114] > 127.5).tolist()
    assert read_mask(tmp_path / "mask.png").tolist() == expected == [[False, True, False, True, True, False]]


def test_masks_that_are_none(tmp_path):
    path = tmp_path / "mask.png"
    with pytest.raises(DataMissing):
        read_mask(path)
    Image.fromarray(np.uint16([[1, 65535]])).save(path)
    with pytest.raises(DataCorrupt, match="16 bits"):
        read_mask(path)
    write_png(path, np.uint8([[[255, 255, 255, 255], [255, 255, 255, 254]]]))
    with pytest.raises(DataCorrupt, match="transparent"):
        read_mask(path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (20, 20), np.uint8)).save(path)
    whole = bytearray(path.read_bytes())
    whole[60] ^= 255
    path.write_bytes(whole)
    with pytest.raises(DataCorrupt, match="damaged"):
        read_mask(path)


def test_masks_too_large_are_refused_by_their_header(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((5, 4), np.uint8)).save(tmp_path / "mask.png")
    monkeypatch.setattr(imagefolder, "MAX_PIXELS", 20)
    assert mask_size(tmp_path / "mask.png") == (4, 5)
    monkeypatch.setattr(imagefolder, "MAX_PIXELS", 19)
    with pytest.raises(DataCorrupt, match="4x5 pixels"):
        mask_size(tmp_path / "mask.png")


@pytest.mark.parametrize("name", ["", ".", "..", ".a", "a/b", "a\\b", "a\0", "a.png", "a.JPG", "\ud800"])
def test_names_that_are_no_file_names(name):
    with pytest.raises(ContractBroken, match=r"here: .* cannot be the name"):
        check_names("here", ["fine", name])


def test_names_that_differ_in_case_only():
    check_names("here", ["a b", "ü", "r.0", "a", "a-1"])
    with pytest.raises(ContractBroken, match="'View' and 'vIEW'"):
        check_names("here", ["View", "x", "vIEW"])
    with pytest.raises(ContractBroken, match="'a' and 'a'"):
        check_names("here", ["a", "a"])


def test_formats_without_held_out_views_take_one_split(tmp_path):
    only_split(tmp_path, ["train"])
    for names in ([], ["test"], ["train", "test"]):
        with pytest.raises(ContractBroken, match="the splits are"):
            only_split(tmp_path, names)


def test_a_scene_is_never_written_over(tmp_path):
    refuse_scene(tmp_path, "a", "b")
    (tmp_path / "b").mkdir()
    with pytest.raises(NfbenchError, match="holds a scene already"):
        refuse_scene(tmp_path, "a", "b")


def test_masks_are_files_or_alpha():
    cameras = Cameras(np.eye(3, 4)[None], np.eye(3)[None], [[1, 1]])
    for channels in (3, 4):
        image = np.zeros((1, 1, channels), np.uint8)
        assert has_masks(Views(cameras, ("a",), lambda i, image=image: image)) is (channels == 4)
        assert has_masks(Views(cameras, ("a",), lambda i, image=image: image, lambda i: np.ones((1, 1), bool)))
    assert not has_masks(Views(cameras[[]], (), lambda i: None))
