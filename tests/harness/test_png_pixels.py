import io
import struct
import tracemalloc
import zlib
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numba.core.dispatcher import Dispatcher
from PIL import Image

from nfbench.harness import png_pixels
from nfbench.harness.png import read_png
from nfbench.harness.png_pixels import AVERAGE, PAETH, SUB, UP, decode

NONE = 0
RNG = np.random.default_rng(3)
SHAPES = [(1, 1, 3), (1, 1, 4), (1, 9, 4), (9, 1, 3), (9, 1, 4), (2, 2, 3), (5, 7, 3), (5, 7, 4), (16, 33, 4)]


def predicted(image, kind):
    """What a filter subtracts, from the specification's words: no arithmetic in common with the decoder."""
    above, left, corner = (np.zeros(image.shape, np.int64) for _ in range(3))
    above[1:], left[:, 1:], corner[1:, 1:] = image[:-1], image[:, :-1], image[:-1, :-1]
    p = left + above - corner
    distance = np.stack([abs(p - left), abs(p - above), abs(p - corner)])
    nearest = np.choose(distance.argmin(0), [left, above, corner])  # the first of equals
    return [np.zeros_like(p), left, above, (left + above) // 2, nearest][kind]


def filtered(image, kinds):
    """The rows of an image, each after the number of its filter."""
    rows = [predicted(image, kind) for kind in range(5)]
    return b"".join(
        bytes([kind]) + ((image[y].astype(np.int64) - rows[kind][y]) & 255).astype(np.uint8).tobytes()
        for y, kind in enumerate(kinds)
    )


def png_of(image, rows, parts=1):
    """A PNG of filtered rows, its stream in as many chunks."""
    height, width, channels = image.shape
    stream = zlib.compress(rows)
    cuts = np.linspace(0, len(stream), parts + 1).astype(int)
    head = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = [(b"IHDR", head), *((b"IDAT", stream[a:b]) for a, b in pairwise(cuts)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def wrong(stream, shape, words):
    with pytest.raises(ValueError, match=words):
        decode(stream, shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", [NONE, SUB, UP, AVERAGE, PAETH])
def test_each_filter_is_undone_as_pillow_undoes_it(shape, kind):
    image = RNG.integers(0, 256, shape, dtype=np.uint8)
    rows = filtered(image, [kind] * shape[0])
    decoded = decode(zlib.compress(rows), shape)
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, image)
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(png_of(image, rows)))), image)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([3, 4]))), st.data())
@settings(max_examples=80, deadline=None)
def test_any_order_of_filters_is_undone(image, data):
    kinds = [data.draw(st.integers(0, 4)) for _ in image]
    np.testing.assert_array_equal(decode(zlib.compress(filtered(image, kinds)), image.shape), image)


@pytest.mark.parametrize("channels", [3, 4])
def test_the_paeth_predictor_breaks_ties_as_specified(channels):
    values = np.r_[0, 1, 2, 3, 64, 127:130, 192, 252:256, np.arange(5, 250, 7)].astype(np.uint8)
    c, b, a = (grid.ravel() for grid in np.meshgrid(values, values, values, indexing="ij"))
    pairs = np.stack([np.stack([c, b], -1).ravel(), np.stack([a, a], -1).ravel()])  # rows of c b, above a and any
    image = np.repeat(pairs[:, :, None], channels, axis=2)
    rows = filtered(image, [NONE, PAETH])
    np.testing.assert_array_equal(decode(zlib.compress(rows, 1), image.shape), image)


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("channels", [3, 4])
def test_what_pillow_writes_at_any_level_is_read(tmp_path, level, channels):
    y, x = np.mgrid[:40, :60]
    image = np.stack([x * 4, y * 6, x ^ y, np.where(x > y, 255, x)], axis=-1).astype(np.uint8)[..., :channels]
    image[5:20, 7:30] = RNG.integers(0, 256, (15, 23, channels))
    Image.fromarray(image).save(tmp_path / "a.png", compress_level=level)
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), image)


@pytest.mark.parametrize("parts", [1, 2, 7, 400])
def test_a_stream_in_several_chunks_some_of_them_empty_is_one(tmp_path, parts):
    image = RNG.integers(0, 256, (6, 8, 4), dtype=np.uint8)
    (tmp_path / "a.png").write_bytes(png_of(image, filtered(image, [0, 1, 2, 3, 4, 4]), parts))
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), image)


@pytest.mark.parametrize("window", [9, 12, 15])
def test_a_stream_of_a_smaller_window_is_read(window):
    image = RNG.integers(0, 4, (30, 40, 3), dtype=np.uint8)
    compress = zlib.compressobj(wbits=window)
    stream = compress.compress(filtered(image, [0] * 30)) + compress.flush()
    np.testing.assert_array_equal(decode(stream, image.shape), image)


def test_bytes_after_the_stream_do_no_harm_and_views_of_bytes_are_read():
    image = RNG.integers(0, 256, (2, 3, 3), dtype=np.uint8)
    stream = zlib.compress(filtered(image, [1, 4])) + b"more"
    np.testing.assert_array_equal(decode(memoryview(stream), image.shape), image)


def test_every_cut_of_a_stream_is_noticed():
    shape = (4, 5, 3)
    stream = zlib.compress(RNG.bytes(4 * 16).replace(b"\xff", b"\0"))
    for length in range(len(stream)):
        wrong(stream[:length], shape, r"cut short after \d+ of 64 bytes")


def test_a_wrong_checksum_is_noticed():
    stream = bytearray(zlib.compress(bytes(64)))
    stream[-1] ^= 1
    wrong(bytes(stream), (4, 5, 3), "checksum")


def test_one_byte_too_few_or_too_many_is_noticed():
    np.testing.assert_array_equal(decode(zlib.compress(bytes(64)), (4, 5, 3)), 0)
    wrong(zlib.compress(bytes(63)), (4, 5, 3), "63 of the 64 bytes of the image")
    wrong(zlib.compress(bytes(65)), (4, 5, 3), "more than the 64 bytes of the image")


@pytest.mark.parametrize("stream", [b"no deflate stream", zlib.compress(bytes(64))[2:-4]], ids=["text", "raw"])
def test_what_is_no_zlib_stream_is_noticed(stream):
    wrong(stream, (4, 5, 3), ".")


@pytest.mark.parametrize("number", [5, 6, 255])
def test_a_filter_that_there_is_none_of_is_named_with_its_row(number):
    rows = bytearray(4 * 16)
    rows[2 * 16] = number
    wrong(zlib.compress(rows), (4, 5, 3), f"no filter {number}, in row 2")
    rows[0] = number
    wrong(zlib.compress(rows), (4, 5, 3), f"no filter {number}, in row 0")


def test_a_bomb_takes_no_more_memory_than_its_header_asks_for():
    bomb = zlib.compress(bytes(50_000_000))
    wrong(bomb, (4, 5, 3), "more than")  # compiled before it is measured
    tracemalloc.start()
    try:
        wrong(bomb, (100, 100, 3), "more than")
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_threads_decode_side_by_side_and_the_kernels_hold_no_lock():
    images = [RNG.integers(0, 256, (40, 50, 4), dtype=np.uint8) for _ in range(8)]
    streams = [zlib.compress(filtered(image, [i % 5 for i in range(40)])) for image in images]
    with ThreadPoolExecutor(4) as pool:
        decoded = list(pool.map(lambda stream: decode(stream, (40, 50, 4)), streams * 4))
    np.testing.assert_array_equal(decoded, images * 4)
    kernels = [value for value in vars(png_pixels).values() if isinstance(value, Dispatcher)]
    assert len(kernels) >= 4
    assert all(kernel.targetoptions.get("nogil") for kernel in kernels)


def test_real_images_of_every_dataset_are_read_as_pillow_reads_them(real_data):
    checked = 0
    for folder in sorted({path.parent for path in real_data.rglob("*.png")}):
        for path in sorted(folder.glob("*.png"))[:3]:
            with Image.open(path) as image:
                if image.mode not in ("RGB", "RGBA") or path.read_bytes()[24] != 8:
                    continue
                np.testing.assert_array_equal(read_png(path), np.array(image))
                checked += 1
    assert checked > 20
