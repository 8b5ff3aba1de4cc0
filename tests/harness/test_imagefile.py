import io
import os
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfbench.harness import imagefile, png
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.harness.imagefile import ENDINGS, image_size, read_image

RNG = np.random.default_rng(11)
RGB = RNG.integers(0, 256, (9, 12, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (9, 12, 4), dtype=np.uint8)
GREY = RGB[..., 0]
LOSSLESS = {
    "a.png": {},
    "a.bmp": {},
    "a.tif": {},
    "lzw.TIFF": {"compression": "tiff_lzw"},
    "deflate.tiff": {"compression": "tiff_adobe_deflate"},
    "a.webp": {"lossless": True, "exact": True},
}
MENDS = {"Check", "Convert", "Download", "Give", "Run", "Save", "Scale", "Transfer"}


def refused(path, *words, error=DataCorrupt, calls=(read_image, image_size)):
    for call in calls:
        with pytest.raises(error) as caught:
            call(path)
        assert type(caught.value) is error
        assert caught.value.message.startswith((f"{path}", f"There is no image {path}"))
        assert caught.value.hint.split()[0] in MENDS
        for word in words:
            assert word in f"{caught.value.message} {caught.value.hint}"


def saved(path, image, **options):
    made = image if isinstance(image, Image.Image) else Image.fromarray(image)
    made.save(path, **options)
    return path


@pytest.fixture
def undecoded(monkeypatch):
    """Nothing may be decoded while this is in force."""

    def never(*_):
        raise AssertionError("decoded")

    for format_ in ("Jpeg", "Bmp", "Tiff", "WebP"):
        plugin = __import__(f"PIL.{format_}ImagePlugin", fromlist=["x"])
        monkeypatch.setattr(getattr(plugin, f"{format_}ImageFile"), "load", never)
    monkeypatch.setattr(imagefile, "read_png", never)


def test_the_endings_are_those_documented():
    assert ENDINGS == (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


@pytest.mark.parametrize("image", [RGB, RGBA], ids=["RGB", "RGBA"])
@pytest.mark.parametrize(("name", "options"), LOSSLESS.items(), ids=LOSSLESS)
def test_lossless_formats_give_back_the_pixels(tmp_path, name, options, image):
    path = saved(tmp_path / name, image, **options)
    read = read_image(path)
    if path.suffix == ".bmp":  # the fourth byte of its pixels is reserved, no alpha
        image = image[..., :3]
    assert (read.dtype, read.shape) == (np.uint8, image.shape)
    np.testing.assert_array_equal(read, image)
    assert image_size(path) == (12, 9)
    read[0, 0] = 0  # the caller's own


@pytest.mark.parametrize("name", ["a.jpg", "a.jpeg", "a.JPG"])
def test_a_jpeg_is_read_as_pillow_reads_it(tmp_path, name):
    path = saved(tmp_path / name, RGB)
    np.testing.assert_array_equal(read_image(path), np.array(Image.open(path)))
    assert image_size(path) == (12, 9)
    assert abs(read_image(saved(path, np.full((8, 8, 3), 100, np.uint8))).astype(int) - 100).max() <= 1


def test_a_lossy_webp_is_read_as_pillow_reads_it(tmp_path):
    for image in (RGB, RGBA):
        path = saved(tmp_path / "a.webp", image, quality=80)
        np.testing.assert_array_equal(read_image(path), np.array(Image.open(path)))
        assert image_size(path) == (12, 9)


def test_the_size_is_known_without_decoding(tmp_path, undecoded):
    for name, options in (LOSSLESS | {"a.jpg": {}}).items():
        assert image_size(saved(tmp_path / name, RGB, **options)) == (12, 9)


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_an_exif_orientation_does_not_turn_the_pixels(tmp_path, name):
    exif = Image.Exif()
    exif[274] = 6
    plain = read_image(saved(tmp_path / f"plain{Path(name).suffix}", RGB))
    turned = saved(tmp_path / name, RGB, exif=exif)
    assert turned.read_bytes() != (tmp_path / f"plain{Path(name).suffix}").read_bytes()
    np.testing.assert_array_equal(read_image(turned), plain)
    assert image_size(turned) == (12, 9)


def test_a_tiff_is_refused_where_it_asks_to_be_turned(tmp_path, undecoded):
    refused(saved(tmp_path / "a.tif", RGB, tiffinfo={274: 3}), "orientation", "upright")
    assert image_size(saved(tmp_path / "a.tif", RGB, tiffinfo={274: 1})) == (12, 9)


OTHERS = {
    "grey.png": (GREY, "8-bit grey"),
    "grey.jpg": (GREY, "8-bit grey"),
    "grey.bmp": (GREY, "8-bit grey"),
    "grey.tif": (GREY, "8-bit grey"),
    "palette.png": (Image.fromarray(RGB).quantize(8), "palette"),
    "palette.bmp": (Image.fromarray(RGB).quantize(8), "palette"),
    "palette.tif": (Image.fromarray(RGB).quantize(8), "palette"),
    "two.tif": (Image.new("LA", (4, 4)), "grey with alpha"),
    "bits.png": (Image.new("1", (9, 9)), "1-bit grey"),
    "bits.bmp": (Image.new("1", (9, 9)), "black and white"),
    "16.png": (GREY.astype(np.uint16), "16-bit grey"),
    "16.tif": (GREY.astype(np.uint16), "16-bit I;16"),
    "32.tif": (GREY.astype(np.int32), "32-bit grey"),
    "float.tif": (GREY.astype(np.float32), "floating-point grey"),
    "cmyk.jpg": (Image.new("CMYK", (9, 9)), "8-bit CMYK"),
    "cmyk.tif": (Image.new("CMYK", (9, 9)), "8-bit CMYK"),
    "lab.tif": (Image.new("LAB", (9, 9)), "CIE L*a*b*"),
}


@pytest.mark.parametrize(("name", "image", "words"), [(n, *rest) for n, rest in OTHERS.items()], ids=OTHERS)
def test_other_kinds_of_pixels_are_refused_without_decoding(tmp_path, undecoded, monkeypatch, name, image, words):
    monkeypatch.setattr(imagefile, "read_png", png.check_header)
    refused(saved(tmp_path / name, image), words, "not 8-bit RGB or RGBA", "Convert")


def tiff_of_16_bits(channels):
    """A TIFF of 3x2 pixels in RGB or RGBA of 16 bits, which Pillow would cut to 8 (TIFF 6.0, section 2)."""
    data = np.arange(6 * channels, dtype="<u2").tobytes()
    tags = [(256, 3, 1, 3), (257, 3, 1, 2), (258, 3, channels, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 16)]
    tags += [(277, 3, 1, channels), (278, 3, 1, 2), (279, 4, 1, len(data))] + [(338, 3, 1, 2)] * (channels == 4)
    bits = struct.pack(f"<{channels}H", *[16] * channels)
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    head = b"II*\0" + struct.pack("<I", 16 + len(data)) + bits.ljust(8, b"\0")
    return head + data + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("channels", [3, 4])
def test_a_tiff_of_16_bits_a_channel_is_refused_though_pillow_cuts_it_to_8(tmp_path, undecoded, channels):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff_of_16_bits(channels))
    assert Image.open(path).mode in ("RGB", "RGBA")
    refused(path, f"16-bit {'RGB' if channels == 3 else 'RGBA'}, not 8-bit")


def test_a_bmp_of_16_bits_a_pixel_is_refused(tmp_path, undecoded):
    head = struct.pack("<2sIHHI", b"BM", 54 + 8, 0, 0, 54) + struct.pack(
        "<IiiHHIIiiII", 40, 2, 2, 1, 16, 0, 8, 0, 0, 0, 0
    )
    (tmp_path / "a.bmp").write_bytes(head + bytes(8))
    refused(tmp_path / "a.bmp", "5-bit RGB, not 8-bit")


@pytest.mark.parametrize(("name", "what"), [("a.tif", "2 frames"), ("a.webp", "animation"), ("a.png", "animation")])
def test_several_frames_are_refused(tmp_path, name, what):
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:])
    refused(path, what, "single", calls=(read_image,) if name == "a.png" else (read_image, image_size))


def test_a_phones_picture_of_two_is_its_first(tmp_path):
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.mpo", save_all=True, append_images=frames[1:])
    path = (tmp_path / "a.mpo").rename(tmp_path / "a.jpg")
    assert Image.open(path).n_frames == 2
    assert read_image(path).shape == (8, 16, 3)
    assert read_image(path)[0, 0, 0] > 250


@pytest.mark.parametrize("name", ["a.gif", "a.exr", "a.npy", "a", "a.png.txt", ".png"])
def test_other_names_are_unsupported_and_those_that_are_read_are_listed(tmp_path, name):
    (tmp_path / name).write_bytes(b"GIF89a")
    refused(tmp_path / name, "not read", ".webp", "PNG", error=Unsupported)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
@pytest.mark.parametrize(
    ("form", "kind"),
    [("PNG", "PNG"), ("JPEG", "JPEG"), ("BMP", "BMP"), ("TIFF", "TIFF"), ("WEBP", "WebP"), ("GIF", "GIF")],
)
def test_a_file_of_another_format_than_its_name_is_recognised(tmp_path, name, form, kind):
    path = tmp_path / name
    saved(path, RGB, format=form)
    expected = {".jpg": "JPEG", ".tif": "TIFF", ".webp": "WebP"}.get(path.suffix, path.suffix[1:].upper())
    if kind == expected:
        assert image_size(path) == (12, 9)
    else:
        refused(path, f"is not a {expected} but a {kind}", "ending")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tiff", "a.webp"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"<!doctype html><html></html>", "something else"),
    ],
)
def test_files_that_are_no_images_are_named(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, words)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif"])
def test_missing_files_folders_and_forbidden_files_are_named(tmp_path, monkeypatch, name):
    path = tmp_path / name
    refused(path, "There is no image", error=DataMissing)
    path.mkdir()
    refused(path, "is a folder")
    path.rmdir()
    path.write_bytes(b"x")

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    refused(path, "Permission denied", "permissions")


def test_a_file_that_is_forbidden_after_its_first_bytes_is_named(tmp_path, monkeypatch):
    path = saved(tmp_path / "a.jpg", RGB)

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    refused(path, "Permission denied")


@pytest.mark.parametrize(("name", "options"), (LOSSLESS | {"a.jpg": {}}).items(), ids=[*LOSSLESS, "a.jpg"])
def test_every_cut_is_noticed_and_named(tmp_path, name, options):
    whole = saved(tmp_path / name, RGB, **options).read_bytes()
    for length in [*range(0, len(whole) - 1, 7), len(whole) - 3]:
        (tmp_path / name).write_bytes(whole[:length])
        with warnings.catch_warnings(action="ignore"):  # Pillow's, of the damage
            refused(tmp_path / name, calls=(read_image,))


@pytest.mark.parametrize(("name", "options"), (LOSSLESS | {"a.jpg": {}}).items(), ids=[*LOSSLESS, "a.jpg"])
def test_damaged_bytes_give_an_image_or_a_named_error(tmp_path, name, options):
    rng = np.random.default_rng(0)
    whole = saved(tmp_path / name, RGB, **options).read_bytes()
    for _ in range(120):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        (tmp_path / name).write_bytes(damaged)
        with warnings.catch_warnings(action="ignore"):
            try:
                image = read_image(tmp_path / name)
            except NfbenchError as error:
                assert str(tmp_path / name) in error.message
            else:
                assert (image.dtype, image.ndim) == (np.uint8, 3)


def with_size(form, width, height):
    """A file of a format whose header has been made to say another size."""
    sink = io.BytesIO()
    Image.fromarray(RGB).save(sink, form, **({"lossless": True} if form == "WEBP" else {}))
    data = bytearray(sink.getvalue())
    if form == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", height, width)
    elif form == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    else:
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(data)


@pytest.mark.parametrize(("name", "form"), [("a.jpg", "JPEG"), ("a.bmp", "BMP"), ("a.webp", "WEBP")])
def test_too_many_pixels_are_refused_before_room_is_made(tmp_path, undecoded, monkeypatch, name, form):
    from PIL import WebPImagePlugin

    monkeypatch.setattr(WebPImagePlugin, "WebPImageFile", None)
    (tmp_path / name).write_bytes(with_size(form, 16_000, 15_999))
    with warnings.catch_warnings(action="error"):
        refused(tmp_path / name, f"16000x15999, more than {png.MAX_PIXELS} pixels", "Scale")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
def test_the_largest_number_of_pixels_is_allowed(tmp_path, monkeypatch, name):
    path = saved(tmp_path / name, RGB)
    for module in (png, imagefile):
        monkeypatch.setattr(module, "MAX_PIXELS", 108)
    assert read_image(path).shape == (9, 12, 3)
    for module in (png, imagefile):
        monkeypatch.setattr(module, "MAX_PIXELS", 107)
    refused(path, "12x9, more than 107 pixels")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif"])
def test_a_very_wide_image_of_few_pixels_is_read(tmp_path, name):
    path = saved(tmp_path / name, np.zeros((1, 30_000, 3), np.uint8))
    assert image_size(path) == (30_000, 1)
    assert read_image(path).shape == (1, 30_000, 3)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 5, 3), (5, 1, 3)], ids=str)
def test_images_of_one_pixel_or_row_or_column_are_read(tmp_path, name, shape):
    assert read_image(saved(tmp_path / name, np.full(shape, 9, np.uint8))).shape == shape


@pytest.mark.parametrize("size", [(0, 9), (12, 0)])
@pytest.mark.parametrize(("name", "form"), [("a.bmp", "BMP"), ("a.jpg", "JPEG")])
def test_an_image_without_pixels_is_refused(tmp_path, name, form, size):
    (tmp_path / name).write_bytes(with_size(form, *size))
    refused(tmp_path / name, "without pixels")


@pytest.mark.parametrize(("at", "size"), [(26, "0x9"), (28, "12x0")])
def test_a_webp_without_pixels_is_refused(tmp_path, at, size):
    data = bytearray(saved(tmp_path / "a.webp", RGB).read_bytes())
    assert data[12:16] == b"VP8 "
    data[at : at + 2] = b"\0\xc0"  # the two upper bits are a scale, no part of the size
    (tmp_path / "a.webp").write_bytes(data)
    refused(tmp_path / "a.webp", f"{size}, an image without pixels")


def test_what_pillow_cannot_open_is_named(tmp_path):
    path = saved(tmp_path / "a.tif", RGB)
    path.write_bytes(path.read_bytes()[:20])
    with warnings.catch_warnings(action="ignore"):
        refused(path, "a TIFF, damaged, without pixels, or of a form that Pillow does not read", "PNG")


def test_a_webp_of_extended_form_tells_its_size(tmp_path):
    path = saved(tmp_path / "a.webp", RGB, icc_profile=b"x" * 40)
    data = bytearray(path.read_bytes())
    assert data[12:16] == b"VP8X"
    data[24:30] = (16_000).to_bytes(3, "little") + (70_000).to_bytes(3, "little")
    path.write_bytes(data)
    refused(path, "16001x70001, more than")


def test_a_webp_that_is_cut_short_says_so(tmp_path):
    path = saved(tmp_path / "a.webp", RGB)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(path, f"cut short after {len(whole) - 1} bytes")
    path.write_bytes(whole + b"more")
    assert image_size(path) == (12, 9)


def test_real_images_are_read_as_pillow_reads_them(real_data):
    folder = real_data / "image_metric_fixtures"
    for name in ("I01.BMP", "i01_01_5.bmp"):
        read = read_image(folder / name)
        assert read.shape == (384, 512, 3)
        np.testing.assert_array_equal(read, np.array(Image.open(folder / name)))
    refused(folder / "goldhill.gif", "Convert it to PNG", error=Unsupported)
    refused(folder / "camera.png", "8-bit grey")
