import os
import struct
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from nfbench.harness import png, png_pixels
from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing
from nfbench.harness.png import Header, check_header, read_header, read_png, write_png

RNG = np.random.default_rng(7)
MENDS = {"All", "Check", "Convert", "Download", "Give", "Run", "Save", "Scale", "Transfer"}
RGBA = RNG.integers(0, 256, (5, 7, 4), dtype=np.uint8)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_bytes(width, height, depth=8, colour=2, rows=b"", extra=b""):
    """A PNG written from the specification alone, independent of Pillow and of the module under test."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def rows_of(image):
    return b"".join(b"\0" + row.tobytes() for row in image)


def rgb_bytes(image, extra=b""):
    return png_bytes(image.shape[1], image.shape[0], 8, {3: 2, 4: 6}[image.shape[2]], rows_of(image), extra)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "r_0.png"


def refused(call, path, *words, error=DataCorrupt):
    with pytest.raises(error) as caught:
        call(path)
    assert caught.value.message.startswith((f"{path}", f"There is no image {path}"))
    assert caught.value.hint.split()[0] in MENDS
    for word in words:
        assert word in caught.value.message
    return caught.value


@pytest.mark.parametrize("channels", [3, 4])
def test_reads_what_the_specification_says(file, channels):
    file.write_bytes(rgb_bytes(RGBA[:, :, :channels]))
    assert read_header(file) == Header(7, 5, 8, {3: 2, 4: 6}[channels])
    assert read_header(file).size == (7, 5)
    assert read_header(file).channels == channels
    assert check_header(file, (7, 5)) == read_header(file)
    image = read_png(file)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, RGBA[:, :, :channels])
    image[0, 0] = 0  # the caller's own


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))))
@settings(max_examples=40, deadline=None)
def test_what_is_written_is_read_back_bit_by_bit(tmp_path_factory, image):
    path = tmp_path_factory.getbasetemp() / "hypothesis.png"
    write_png(path, image)
    np.testing.assert_array_equal(read_png(path), image)
    np.testing.assert_array_equal(np.array(Image.open(path)), image)


def test_writes_views_of_arrays_that_are_not_contiguous(file):
    write_png(file, RGBA[::-1, ::2, :3])
    np.testing.assert_array_equal(read_png(file), RGBA[::-1, ::2, :3])


def test_writing_makes_the_folder_and_leaves_nothing_beside_the_file(tmp_path):
    path = tmp_path / "a" / "b" / "ein Bild ü.png"
    for image in (RGBA, RGBA[:, :, :3]):
        write_png(path, image)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert read_png(path).shape == (5, 7, 3)


@pytest.mark.parametrize(
    "image",
    [RGBA.astype(np.float32), RGBA[:, :, 0], RGBA[:, :, :2], RGBA[:0], RGBA[None], RGBA.astype(np.int64)],
    ids=["float", "grey", "two channels", "empty", "batch", "int64"],
)
def test_refuses_to_write_anything_else(file, image):
    refused(lambda path: write_png(path, image), file, str(image.dtype), error=ContractBroken)
    assert not file.exists()


def test_a_failed_write_leaves_the_old_file_and_no_other(file, monkeypatch):
    write_png(file, RGBA)

    def full(self, out, *args, **kwargs):
        out.write(b"\x89PNG half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space"):
        write_png(file, RGBA[:2])
    np.testing.assert_array_equal(read_png(file), RGBA)
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_many_threads_write_one_file_and_it_is_always_whole(file):
    images = [np.full((40, 40, 3), i, np.uint8) for i in range(6)]
    threads = [threading.Thread(target=write_png, args=(file, image)) for image in images * 5]
    for thread in threads:
        thread.start()
        if file.exists():
            assert np.ptp(read_png(file)) == 0
    for thread in threads:
        thread.join()
    assert np.ptp(read_png(file)) == 0
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_missing_file_is_named(file):
    for call in (read_header, check_header, read_png):
        refused(call, file, error=DataMissing)
    refused(read_header, file / "below.png", error=DataMissing)


@pytest.mark.parametrize(
    ("start", "word"),
    [
        (b"", "empty"),
        (b"\x89PN", "cut short"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "not a PNG but a JPEG"),
        (b"GIF89a" + bytes(40), "not a PNG but a GIF"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "not a PNG but a WebP"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS"),
        (b"BM" + bytes(40), "but a BMP"),
        (b"II*\x00" + bytes(40), "but a TIFF"),
        (b"MM\x00*" + bytes(40), "but a TIFF"),
        (b"v/1\x01" + bytes(40), "but an OpenEXR image"),
        (b"\x89PNG\n\x1a\n" + bytes(40), "text"),
        (b"\x89PNG\r\r\n\x1a\r\n" + bytes(40), "text"),
        (b"PNG\r\n\x1a\n" + bytes(40), "text"),
        (b"PNG\n\x1a\n" + bytes(40), "text"),
        (b"<!doctype html><html><body>404</body></html>", "but something else"),
    ],
)
def test_another_file_under_the_name_is_recognised(file, start, word):
    file.write_bytes(start)
    for call in (read_header, check_header, read_png):
        refused(call, file, word)


def test_a_real_jpeg_under_the_name_is_recognised(file):
    Image.fromarray(RGBA[:, :, :3]).save(file, "JPEG")
    refused(check_header, file, "JPEG")


def test_a_folder_and_a_pipe_under_the_name_are_refused_at_once(file, tmp_path):
    refused(check_header, tmp_path, "folder")
    os.mkfifo(file)
    for call in (check_header, read_png):
        refused(call, file, "empty")


def test_every_truncation_is_found_without_decoding(file, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    whole = rgb_bytes(RGBA)
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        refused(check_header, file, f"cut short after {length} bytes" if length else "empty")
    file.write_bytes(whole)
    assert check_header(file).size == (7, 5)


def test_the_end_is_not_looked_at_when_not_asked(file):
    file.write_bytes(rgb_bytes(RGBA)[:-20])
    assert read_header(file, whole=False).size == (7, 5)
    refused(read_header, file, "cut short")


def test_bytes_after_the_last_chunk_do_no_harm(file):
    file.write_bytes(rgb_bytes(RGBA) + b"appended by a careless program")
    assert check_header(file).size == (7, 5)
    np.testing.assert_array_equal(read_png(file), RGBA)


def test_every_flipped_byte_is_found(file):
    whole = rgb_bytes(RGBA)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        file.write_bytes(damaged)
        refused(read_png, file)


@pytest.mark.parametrize(
    ("depth", "colour", "words"),
    [
        (8, 0, (": 8-bit grey, not",)),
        (1, 0, (": 1-bit grey, not",)),
        (8, 3, (": 8-bit palette, not",)),
        (8, 4, (": 8-bit grey with alpha, not",)),
        (16, 2, (": 16-bit RGB, not",)),
        (16, 6, (": 16-bit RGBA, not",)),
    ],
)
def test_other_kinds_of_png_are_refused_by_their_header(file, depth, colour, words):
    file.write_bytes(png_bytes(7, 5, depth, colour))
    assert read_header(file) == Header(7, 5, depth, colour)
    refused(check_header, file, *words)
    refused(read_png, file, *words)


def test_channels_of_every_colour_type_agree_with_pillow(file):
    for mode, channels in {"L": 1, "LA": 2, "RGB": 3, "P": 1, "RGBA": 4}.items():
        Image.new(mode, (3, 2)).save(file)
        assert (read_header(file).size, read_header(file).channels) == ((3, 2), channels)


@pytest.mark.parametrize("size", [(0, 5), (7, 0)])
def test_an_image_without_pixels_is_refused(file, size):
    file.write_bytes(png_bytes(*size))
    refused(check_header, file, "without pixels")


def test_a_decompression_bomb_is_refused_before_it_is_decoded(file, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    monkeypatch.setattr(png_pixels, "decode", None)
    file.write_bytes(png_bytes(100_000, 100_000))
    refused(read_png, file, str(png.MAX_PIXELS))
    assert png.MAX_PIXELS <= Image.MAX_IMAGE_PIXELS  # so that Pillow never warns


def test_another_size_is_refused_with_both_sizes(file):
    write_png(file, RGBA)
    assert "7x5" in refused(lambda p: check_header(p, (8, 5)), file, "8x5").message


def test_an_unknown_colour_type_and_a_damaged_header_are_refused(file):
    file.write_bytes(png_bytes(7, 5, 8, 5))
    refused(read_header, file, "header")
    whole = bytearray(rgb_bytes(RGBA))
    whole[19] ^= 1  # the width, without its checksum
    file.write_bytes(whole)
    refused(read_header, file, "header")


@pytest.mark.parametrize("methods", [(1, 0, 0), (0, 1, 0), (0, 0, 2)], ids=["compression", "filter", "interlace"])
def test_methods_that_are_not_specified_are_refused(file, methods):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 7, 5, 8, 6, *methods))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + head + rgb_bytes(RGBA)[33:])
    for call in (read_header, check_header, read_png):
        refused(call, file, "header")


def interlaced_bytes(image, rows=None):
    """Adam7 (PNG specification, section 8): seven images of every so manieth pixel, one after the other."""
    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [image[y::down, x::right] for y, x, down, right in starts]
    head = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, {3: 2, 4: 6}[image.shape[2]], 0, 0, 1)
    rows = b"".join(rows_of(part) for part in passes if part.size) if rows is None else rows
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("channels", [3, 4])
def test_interlaced_files_are_read(file, channels):
    image = RNG.integers(0, 256, (13, 11, channels), dtype=np.uint8)
    file.write_bytes(interlaced_bytes(image))
    assert read_header(file).size == (11, 13)
    decoded = read_png(file)
    np.testing.assert_array_equal(decoded, image)
    decoded[0, 0] = 0  # the caller's own


def test_damaged_interlaced_files_are_refused(file):
    file.write_bytes(interlaced_bytes(RGBA, bytes(9)))
    refused(read_png, file, "damaged pixels")


@pytest.mark.parametrize("rows", [rows_of(RGBA) + b"\0", rows_of(RGBA) * 2], ids=["a byte", "another image"])
def test_more_pixels_than_the_header_says_are_refused(file, rows):
    file.write_bytes(png_bytes(7, 5, 8, 6, rows))
    refused(read_png, file, "damaged pixels", "more than the 145 bytes")


def test_a_file_without_pixels_chunks_is_refused(file):
    whole = rgb_bytes(RGBA)
    file.write_bytes(whole[:33] + chunk(b"IEND", b""))
    refused(read_png, file, "damaged pixels", "cut short after 0 of 145 bytes")


def test_the_largest_number_of_pixels_is_allowed(file, monkeypatch):
    write_png(file, RGBA)
    monkeypatch.setattr(png, "MAX_PIXELS", 35)
    np.testing.assert_array_equal(read_png(file), RGBA)
    monkeypatch.setattr(png, "MAX_PIXELS", 34)
    refused(read_png, file, "7x5, more than 34 pixels")


def test_a_very_wide_image_of_few_pixels_is_read(file):
    image = RNG.integers(0, 256, (1, 30_000, 3), dtype=np.uint8)
    write_png(file, image)
    np.testing.assert_array_equal(read_png(file), image)


def test_an_animation_is_refused(file):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(file, save_all=True, append_images=frames[1:])
    assert check_header(file).size == (4, 4)
    refused(read_png, file, "animation")


def test_a_transparent_colour_beside_rgb_is_refused(file):
    file.write_bytes(rgb_bytes(RGBA[:, :, :3], chunk(b"tRNS", bytes(6))))
    refused(read_png, file, "transparent")


@pytest.mark.parametrize("rows", [b"", rows_of(RGBA)[:-30], b"\x09" + rows_of(RGBA)[1:]], ids=["none", "few", "filter"])
def test_sound_chunks_around_damaged_pixels_are_refused(file, rows):
    file.write_bytes(png_bytes(7, 5, 8, 6, rows))
    refused(read_png, file, "pixels")


def test_a_stream_that_is_not_zlib_is_refused(file):
    whole = rgb_bytes(RGBA)
    start = whole.index(b"IDAT") - 4
    file.write_bytes(whole[:start] + chunk(b"IDAT", b"no deflate stream") + chunk(b"IEND", b""))
    refused(read_png, file, "pixels")


def test_an_unreadable_file_is_named(file, monkeypatch):
    write_png(file, RGBA)

    def denied(path, flags):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)
    refused(check_header, file, "Permission denied")


def test_real_images_are_read_as_pillow_reads_them(real_data):
    path: Path = next((real_data / "nerf_synthetic_chair_200").rglob("r_*.png"))
    np.testing.assert_array_equal(read_png(path), np.array(Image.open(path)))
