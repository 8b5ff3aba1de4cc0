import struct

import numpy as np
import pytest
from PIL import Image

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.imagefile import image_size
from nfbench.harness.png import write_png
from nfbench.loaders import photographs

W, H = 31, 17
PICTURE = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)


def jpeg(path, mode="RGB", **options):
    Image.fromarray(PICTURE).convert(mode).save(path, "JPEG", **options)
    return path


# --- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "a"),
        ("a.b.JPG", "a.b"),
        ("cam/a.png", "cam_a"),
        ("cam\\a.jpeg", "cam_a"),
        ("v1.5", "v1.5"),
        ("a.txt", "a.txt"),
    ],
)
def test_a_view_is_called_as_its_image_without_the_ending(name, expected):
    assert photographs.stem(name) == expected


def test_hidden_files_are_no_pictures(tmp_path):
    for name in ("b.PNG", "a.jpg", ".c.png", "Thumbs.db", "d.txt"):
        (tmp_path / name).write_bytes(b"")
    assert photographs.pictures(tmp_path) == ["a.jpg", "b.PNG"]
    with pytest.raises(DataCorrupt, match="nothing"):
        photographs.pictures(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["/a", "\\a", "C:/a", "c:a", "..", "a/../b", "..\\a", "a\0b"])
def test_paths_that_lead_out(name):
    assert photographs.leads_out(name)
    assert not photographs.leads_out("a..b/c d/...png")


def test_every_eighth_from_the_first_on():
    train, test = photographs.held_out(17)
    assert test == [0, 8, 16]
    assert train == [i for i in range(17) if i not in (0, 8, 16)]
    assert photographs.HOLD == 8


def test_copies_by_their_number(tmp_path):
    for name in ("images", "images_4", "images_16", "images_0", "images_x", "image", "images_2"):
        (tmp_path / name).mkdir()
    (tmp_path / "images_8").write_text("a file")
    assert {n: path.name for n, path in photographs.copies(tmp_path).items()} == {
        1: "images",
        2: "images_2",
        4: "images_4",
        16: "images_16",
    }
    assert photographs.chosen_copy(tmp_path, None, (8, 2, 1))[0] == 2
    assert photographs.chosen_copy(tmp_path, None, (8,))[0] == 1  # the largest, where none of the order is there
    assert photographs.chosen_copy(tmp_path, 16, (8, 2)) == (16, tmp_path / "images_16")
    with pytest.raises(DataMissing, match="has no images_8") as caught:
        photographs.chosen_copy(tmp_path, 8, ())
    assert "images, images_2, images_4, images_16" in caught.value.hint


# --- sizes


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + b"x" * 60_000}, {"comment": "y" * 995}]
)
def test_the_size_of_a_jpeg_by_its_header(tmp_path, options, monkeypatch):
    path = jpeg(tmp_path / "a.JPG", **options)
    assert image_size(path) == (W, H)
    monkeypatch.setattr(photographs, "image_size", None)  # not asked
    sizes = photographs.sizes([path, path])
    assert sizes.tolist() == [[W, H]] * 2
    assert sizes.dtype == np.int32


def test_wherever_the_header_lies(tmp_path):
    """With a comment of every length the frame header crosses the end of what is read first."""
    plain = jpeg(tmp_path / "a.jpg").read_bytes()
    for length in range(850, 1040):
        padding = b"\xff\xfe" + struct.pack(">H", length + 2) + b"\0" * length
        (tmp_path / "a.jpg").write_bytes(plain[:2] + padding + plain[2:])
        assert photographs._jpeg_size(tmp_path / "a.jpg") == (W, H)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_other_jpegs_are_left_to_the_strict_reader(tmp_path, mode):
    path = jpeg(tmp_path / "a.jpg", mode)
    with pytest.raises(DataCorrupt, match=r"a\.jpg"):
        photographs.sizes([path])


def test_what_is_no_jpeg_or_damaged_is_named(tmp_path):
    data = jpeg(tmp_path / "a.jpg").read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(data)
        changed[rng.integers(0, 200)] = rng.integers(256)
        (tmp_path / "a.jpg").write_bytes(changed[: rng.integers(1, len(data))])
        try:
            width, height = photographs.sizes([tmp_path / "a.jpg"])[0]
            assert 0 < width < 65536
            assert 0 < height < 65536
        except NfbenchError as error:
            assert "a.jpg" in error.message
    (tmp_path / "a.jpg").write_bytes(data[:2] + b"\xff\xd0" + b"\0" * 20)
    assert photographs._jpeg_size(tmp_path / "a.jpg") is None
    with pytest.raises(DataMissing):
        photographs.sizes([tmp_path / "b.jpg"])
    assert photographs.sizes([]).shape == (0, 2)


def test_a_jpeg_of_too_many_pixels_is_refused(tmp_path):
    data = bytearray(jpeg(tmp_path / "a.jpg").read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", 65000, 65000)
    (tmp_path / "a.jpg").write_bytes(data)
    with pytest.raises(DataCorrupt, match="65000x65000"):
        photographs.sizes([tmp_path / "a.jpg"])


def test_intrinsics_follow_the_size():
    K = np.array([[[100.0, 2, 50], [0, 200, 40], [0, 0, 1]]])
    scaled = photographs.scaled(K, np.array([[100.0, 80]]), np.array([[50, 20]]))
    np.testing.assert_array_equal(scaled, [[[50, 1, 25], [0, 50, 10], [0, 0, 1]]])


@pytest.mark.parametrize(
    ("actual", "factor", "fine"),
    [
        ((100, 80), 1, True),
        ((101, 80), 1, False),
        ((51, 40), 2, True),
        ((50, 39), 2, True),
        ((52, 40), 2, False),
        ((50, 42), 2, False),
    ],
)
def test_sizes_may_differ_by_rounding_only_in_copies(tmp_path, actual, factor, fine):
    arguments = [tmp_path / "a.png"], np.array([[100.0, 80]]), np.array([actual]), factor
    if fine:
        photographs.check_sizes(*arguments)
        return
    with pytest.raises(DataCorrupt, match=rf"a\.png: {actual[0]}x{actual[1]} pixels; its camera says 100x80"):
        photographs.check_sizes(*arguments)


# --- grey pictures and arrays


def test_grey_pixels_of_every_kind(tmp_path):
    grey = PICTURE[:, :, 0]
    for array, expected in (
        (grey, grey),
        (grey.astype(np.uint16) * 200, grey.astype(np.uint16) * 200),
        (grey > 100, (grey > 100).astype(np.uint8)),
        (PICTURE, PICTURE.max(2)),
        (np.dstack([grey, np.full((H, W), 255, np.uint8)]), grey),
        (np.dstack([PICTURE, np.full((H, W), 255, np.uint8)]), PICTURE.max(2)),
    ):
        Image.fromarray(array).save(tmp_path / "a.png")
        found = photographs.grey_pixels(tmp_path / "a.png")
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


def test_grey_pixels_of_damaged_files_are_named(tmp_path):
    path = tmp_path / "a.png"
    with pytest.raises(DataMissing):
        photographs.grey_pixels(path)
    write_png(path, PICTURE)
    data = path.read_bytes()
    path.write_bytes(data[:60] + b"!!!!" + data[64:])
    with pytest.raises(DataCorrupt, match=r"a\.png"):
        photographs.grey_pixels(path)
    header = struct.pack(">II", 60000, 60000)
    path.write_bytes(data[:16] + header + data[24:])
    with pytest.raises(DataCorrupt, match=r"a\.png"):
        photographs.grey_pixels(path)


def test_mapped_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(4.0))
    np.testing.assert_array_equal(photographs.mapped_array(tmp_path / "a.npy"), [0, 1, 2, 3])
    (tmp_path / "a.npy").write_bytes(b"")
    with pytest.raises(DataCorrupt, match=r"a\.npy cannot be read as NPY"):
        photographs.mapped_array(tmp_path / "a.npy")


# --- errors


def test_errors_of_cameras_name_the_view(tmp_path):
    with (
        pytest.raises(DataCorrupt, match=r"here \(b\.png\): camera 1 is odd"),
        photographs.naming("here", ["a.png", "b.png"]),
    ):
        raise DataCorrupt("camera 1 is odd.", "Mend it.")
    with pytest.raises(DataCorrupt, match="here: two") as caught, photographs.naming("here", ["a.png"]):
        raise DataCorrupt("two.", "Mend it.")
    assert caught.value.hint == "Mend it."
    with pytest.raises(Unsupported, match="other"), photographs.naming("here", []):
        raise Unsupported("other")
