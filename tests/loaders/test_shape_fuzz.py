"""Damaged files of every shape format: whatever comes out is an NfbenchError."""

import warnings

import numpy as np
import pytest

from nfbench.harness.errors import NfbenchError
from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import (
    binvox,
    clouds,
    convonet_rooms,
    deepsdf,
    dfaust,
    imnet,
    ldif,
    meshes,
    onet,
    points2surf,
    siren_xyz,
)

ROUNDS = 200
XYZ = np.random.default_rng(0).uniform(-0.5, 0.5, (27, 3)).astype(np.float32)
NORMAL = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]), np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
)
FORMATS = (binvox, clouds, convonet_rooms, deepsdf, dfaust, imnet, ldif, meshes, onet, points2surf, siren_xyz)


def scene_for(module):
    value = np.where(np.arange(27) % 2, 0.1, -0.1)
    samples = Points(XYZ, value=value, kind="sdf")
    surface = TETRAHEDRON if module in (meshes, binvox, imnet) else Points(XYZ, normal=NORMAL)
    given = Given(cloud=Points(XYZ), samples=samples)
    return Scene("04379243-a", given, [[-1] * 3, [1] * 3], surface=surface)


def damaged(data, rng):
    """A file's bytes after one to three mishaps."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        size = len(data)
        at = int(rng.integers(0, max(size, 1)))
        if rng.random() < 0.6:  # headers are where the damage tells
            at = min(at, int(rng.integers(0, 200)))
        match rng.integers(0, 7):
            case 0 if size:
                data[at] ^= 1 << int(rng.integers(0, 8))
            case 1:
                del data[at:]
            case 2:
                data[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                data[at : at + 8] = b"\xff" * 8
            case 4:
                data[at : at + 4] = bytes(rng.choice([b"nan ", b"1e99", b"9999", b"-1-1", b"\r\n\r\n", b"../."]))
            case 5:
                del data[at : at + int(rng.integers(1, 9))]
            case 6:
                data[at:at] = data[at : at + 16]
    return bytes(data)


def calls(module, folder, path):
    """What the format's functions do with a folder and a scene in it."""
    choices = {"queries": 8} if module is meshes else {}
    yield lambda: module.scenes(folder)
    yield lambda: getattr(module, "training", module.scenes)(folder)
    yield lambda: module.detect(path)
    yield lambda: module.name(path)
    yield lambda: module.read(path, **choices)
    if module is dfaust:
        yield lambda: dfaust.read_normalization(path)
    if module is points2surf:
        yield lambda: points2surf.read_training(path)


@pytest.mark.parametrize("module", FORMATS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_damaged_files_raise_only_what_a_user_can_mend(tmp_path, module):
    rng = np.random.default_rng(20)
    module.write(tmp_path, [scene_for(module)], **({"edge": 4} if module in (binvox, imnet) else {}))
    (path,) = module.scenes(tmp_path)
    files = sorted(file for file in tmp_path.rglob("*") if file.is_file())
    whole = {file: file.read_bytes() for file in files}
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's and others' would reach the user
        for _ in range(ROUNDS):
            file = files[rng.integers(len(files))]
            file.write_bytes(damaged(whole[file], rng))
            for call in calls(module, tmp_path, path):
                try:
                    call()
                except NfbenchError as error:
                    refused += 1
                    assert error.message
                    assert error.hint
            file.write_bytes(whole[file])
    assert refused > ROUNDS // 4
    assert module.scenes(tmp_path) == [path]
    assert module.read(path).name == module.name(path)
