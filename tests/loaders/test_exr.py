import struct
import zlib

import numpy as np
import pytest

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError, Unsupported
from nfbench.loaders.exr import exr_size, read_exr

TYPES = {0: "<u4", 1: "<f2", 2: "<f4"}
LINES = {0: 1, 2: 1, 3: 16}


def attribute(name, kind, data):
    return name + b"\0" + kind + b"\0" + struct.pack("<I", len(data)) + data


def packed(raw):
    """OpenEXR's ZIP: even bytes, then odd ones, as differences, deflated."""
    data = np.frombuffer(raw, np.uint8).astype(int)
    data = np.concatenate([data[0::2], data[1::2]])
    data[1:] = (data[1:] - data[:-1] + 128) % 256
    return zlib.compress(data.astype(np.uint8).tobytes())


def exr(channels, compression=3, version=2, origin=(3, -2), sampling=1, raw=False):
    """channels: name -> (type, pixels)."""
    height, width = next(iter(channels.values()))[1].shape
    listed = b"".join(n.encode() + b"\0" + struct.pack("<iIii", t, 0, sampling, 1) for n, (t, _) in channels.items())
    window = struct.pack("<4i", *origin, origin[0] + width - 1, origin[1] + height - 1)
    head = struct.pack("<II", 20000630, version) + attribute(b"channels", b"chlist", listed + b"\0")
    head += attribute(b"compression", b"compression", bytes([compression])) + attribute(b"dataWindow", b"box2i", window)
    head += attribute(b"owner", b"string", b"x") + b"\0"
    chunks = []
    lines = LINES.get(compression, 1)
    for y in range(0, height, lines):
        rows = [p[r].astype(TYPES[t]).tobytes() for r in range(y, min(height, y + lines)) for t, p in channels.values()]
        data = b"".join(rows)
        data = data if compression == 0 or raw else packed(data)
        chunks.append(struct.pack("<iI", origin[1] + y, len(data)) + data)
    at, offsets = len(head) + 8 * len(chunks), []
    for chunk in chunks:
        offsets.append(at)
        at += len(chunk)
    return head + struct.pack(f"<{len(offsets)}Q", *offsets) + b"".join(chunks)


def pixels(seed=0, shape=(35, 7)):
    return (np.random.default_rng(seed).random(shape) * 1000).astype(np.float16).astype(np.float32).round()


@pytest.mark.parametrize("compression", [0, 2, 3])
def test_reads_channels_of_all_types(tmp_path, compression):
    path = tmp_path / "a.exr"
    planes = {"A": (0, pixels(0)), "B": (1, pixels(1)), "Z.V": (2, pixels(2))}
    path.write_bytes(exr(planes, compression))
    assert exr_size(path) == (7, 35)
    image = read_exr(path)
    assert list(image) == ["A", "B", "Z.V"]
    for name, (_, plane) in planes.items():
        assert image[name].dtype == np.float32
        np.testing.assert_array_equal(image[name], plane)


def test_chunks_that_would_not_become_smaller_are_stored_raw(tmp_path):
    path = tmp_path / "a.exr"
    path.write_bytes(exr({"Z": (1, pixels())}, raw=True))
    np.testing.assert_array_equal(read_exr(path)["Z"], pixels())


def test_infinity_stays(tmp_path):
    path = tmp_path / "a.exr"
    path.write_bytes(exr({"Z": (1, np.full((3, 3), np.inf))}))
    assert np.isposinf(read_exr(path)["Z"]).all()


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (exr({"Z": (1, pixels())}, version=2 | 0x200), "tiles"),
        (exr({"Z": (1, pixels())}, compression=4), "compression 4"),
        (exr({"Z": (1, pixels())}, sampling=2), "every 2 by 1 pixels"),
        (exr({"Z": (1, pixels())}).replace(b"Z\0\x01", b"Z\0\x03"), "type 3"),
        (exr({chr(200 + i): (1, pixels(0, (1, 1))) for i in range(33)}), "channel"),
    ],
)
def test_what_is_not_supported(tmp_path, data, word):
    path = tmp_path / "a.exr"
    path.write_bytes(data)
    with pytest.raises(Unsupported, match=word):
        exr_size(path)


def test_what_is_not_there_or_no_exr(tmp_path):
    path = tmp_path / "a.exr"
    with pytest.raises(DataMissing, match=r"a\.exr"):
        exr_size(path)
    with pytest.raises(DataMissing, match=r"a\.exr"):
        read_exr(path)
    for data, word in ((b"", "empty"), (b"\x89PNG\r\n\x1a\n" + b"0" * 30, "a PNG"), (b"v/1\x01", "cut short|no")):
        path.write_bytes(data)
        with pytest.raises(DataCorrupt, match=word):
            exr_size(path)


def test_sizes_that_cannot_be(tmp_path):
    path = tmp_path / "a.exr"
    whole = exr({"Z": (1, pixels())}, origin=(0, 0))
    for right, bottom in ((-1, 34), (6, -1), (2**31 - 1, 2**31 - 1), (89_478_485, 0)):
        path.write_bytes(whole.replace(struct.pack("<4i", 0, 0, 6, 34), struct.pack("<4i", 0, 0, right, bottom)))
        with pytest.raises(DataCorrupt, match="pixels"):
            exr_size(path)
    path.write_bytes(whole.replace(b"dataWindow", b"dataWindoW"))
    with pytest.raises(DataCorrupt, match="header is damaged"):
        exr_size(path)
    path.write_bytes(exr({} | {"Z": (1, pixels())}).replace(b"Z\0\x01", b"\0\0\x01"))
    with pytest.raises(DataCorrupt, match="header is damaged"):
        exr_size(path)


def test_damaged_pixels(tmp_path):
    path = tmp_path / "a.exr"
    whole = exr({"Z": (1, pixels())})
    path.write_bytes(whole[:-30])
    with pytest.raises(DataCorrupt, match="damaged or cut short"):
        read_exr(path)
    path.write_bytes(exr({"Z": (1, pixels())}, compression=0)[:-1])
    with pytest.raises(DataCorrupt, match="chunk of 13 bytes, not 14"):
        read_exr(path)


def fuzz(path, rounds):
    rng = np.random.default_rng(0)
    whole = exr({"A": (1, pixels(0, (20, 5))), "Z": (2, pixels(1, (20, 5)))})
    refusals = 0
    for _ in range(rounds):
        data = bytearray(whole)
        at = int(rng.integers(len(data)))
        data[at : at + int(rng.integers(0, 5))] = rng.bytes(int(rng.integers(0, 5)))
        path.write_bytes(data)
        try:
            read_exr(path)
        except NfbenchError as error:
            assert error.hint
            refusals += 1
    return refusals


def test_damaged_files_are_refused_in_words(tmp_path):
    assert fuzz(tmp_path / "a.exr", 200) > 100


def test_real_depth(real_data):
    path = next((real_data / "texture_fields_car").rglob("depth/000.exr"))
    image = read_exr(path)
    assert exr_size(path) == (256, 256)
    assert list(image) == ["B", "G", "R"]
    np.testing.assert_array_equal(image["B"], image["R"])
    known = image["B"][np.isfinite(image["B"])]
    assert 1.29 < known.min() < known.max() < 1.69
