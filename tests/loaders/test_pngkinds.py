import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.loaders import pngkinds

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def test_eight_bit_images_are_those_of_the_harness(tmp_path):
    rgb = np.dstack([RAMP] * 3)
    for name in ("a.png", "a.bmp"):
        Image.fromarray(rgb).save(tmp_path / name)
        assert pngkinds.colour_size(tmp_path / name) == (16, 16)
        np.testing.assert_array_equal(pngkinds.read_colour(tmp_path / name), rgb)
    with pytest.raises(DataMissing):
        pngkinds.colour_size(tmp_path / "b.png")
    with pytest.raises(Unsupported):
        (tmp_path / "a.exr").write_bytes(b"v/1\x01")
        pngkinds.colour_size(tmp_path / "a.exr")


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_masks_by_half(tmp_path, bits):
    path = tmp_path / "m.png"
    if bits == 1:
        Image.fromarray(RAMP > 100).save(path)
        expected = RAMP > 100
    elif bits == 8:
        pngkinds.write_grey(path, RAMP)
        expected = RAMP >= 128
    else:
        pngkinds.write_grey(path, RAMP.astype(np.uint16) * 256 + np.uint16(255) * (RAMP == 127))
        expected = RAMP >= 128
    mask = pngkinds.read_mask(path)
    assert mask.dtype == np.bool_
    np.testing.assert_array_equal(mask, expected)
    assert pngkinds.mask_size(path) == (16, 16)


def test_masks_in_colour_go_by_their_first_channel(tmp_path):
    for rest in (255 - RAMP, RAMP * 0):
        for channels in ([RAMP, rest, rest], [RAMP, rest, rest, rest]):
            Image.fromarray(np.dstack(channels)).save(tmp_path / "m.png")
            np.testing.assert_array_equal(pngkinds.read_mask(tmp_path / "m.png"), RAMP >= 128)


def test_palettes_are_no_masks(tmp_path):
    path = tmp_path / "m.png"
    Image.fromarray(RAMP).convert("P").save(path)
    for ask in (pngkinds.mask_size, pngkinds.read_mask):
        with pytest.raises(DataCorrupt, match="another kind") as caught:
            ask(path)
        assert caught.value.hint


def test_depth_is_sixteen_bit_grey(tmp_path):
    path = tmp_path / "new" / "d.png"
    values = np.random.default_rng(0).integers(0, 65536, (3, 5), dtype=np.uint16)
    pngkinds.write_grey(path, values)
    assert pngkinds.depth_size(path) == (5, 3)
    read = pngkinds.read_depth(path)
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, values)
    for wrong in (RAMP, np.dstack([RAMP] * 3)):
        Image.fromarray(wrong).save(path)
        for ask in (pngkinds.depth_size, pngkinds.read_depth):
            with pytest.raises(DataCorrupt, match="16-bit grey"):
                ask(path)


def test_damage(tmp_path):
    path = tmp_path / "d.png"
    pngkinds.write_grey(path, np.random.default_rng(0).integers(0, 65536, (30, 50), dtype=np.uint16))
    whole = path.read_bytes()
    path.write_bytes(whole[:200])
    with pytest.raises(DataCorrupt, match=r"d\.png"):
        pngkinds.depth_size(path)
    path.write_bytes(whole[:100] + b"\0" * 100 + whole[200:])
    assert pngkinds.depth_size(path) == (50, 30)
    with pytest.raises(DataCorrupt, match="damaged pixels"):
        pngkinds.read_depth(path)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    path = tmp_path / "d.png"
    pngkinds.write_grey(path, RAMP)
    monkeypatch.setattr(pngkinds, "MAX_PIXELS", 256)
    assert pngkinds.mask_size(path) == (16, 16)
    monkeypatch.setattr(pngkinds, "MAX_PIXELS", 255)
    with pytest.raises(DataCorrupt, match="16x16 pixels"):
        pngkinds.mask_size(path)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def grey(width, height, bits=16, before=b""):
    """A grey PNG of 16x16 pixels of `bits` bits, which declares `width` and `height`."""
    rows = zlib.compress((b"\0" + bytes(2 * bits)) * 16)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_no_room_is_made_for_pixels_that_a_file_cannot_hold(tmp_path):
    path = tmp_path / "d.png"
    path.write_bytes(grey(16, 16))
    assert pngkinds.depth_size(path) == (16, 16)
    path.write_bytes(grey(8000, 8000))
    for ask in (pngkinds.depth_size, pngkinds.read_depth, pngkinds.mask_size, pngkinds.read_mask):
        with pytest.raises(DataCorrupt, match=r"d\.png: 8000x8000 pixels declared, more than it can hold") as caught:
            ask(path)
        assert caught.value.hint


def test_memory_that_runs_out_over_a_damaged_image(tmp_path, monkeypatch):
    def load(image):
        raise MemoryError

    path = tmp_path / "d.png"
    path.write_bytes(grey(16, 16))
    monkeypatch.setattr(PngImageFile, "load", load)
    with pytest.raises(DataCorrupt, match=r"d\.png: damaged pixels"):
        pngkinds.read_depth(path)


@pytest.mark.filterwarnings("error")
def test_pillow_warns_of_nothing(tmp_path):
    path = tmp_path / "d.png"
    path.write_bytes(grey(16, 16, before=chunk(b"acTL", struct.pack(">II", 0, 0))))  # an animation of no frames
    with pytest.warns(UserWarning, match="APNG"):
        Image.open(path).close()
    np.testing.assert_array_equal(pngkinds.read_depth(path), np.zeros((16, 16)))
