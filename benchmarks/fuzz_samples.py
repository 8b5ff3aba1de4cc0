"""Small valid samples of every format, and what is called of its reader: the subjects of `fuzz.py`."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image as Pillow
from scipy.io import savemat

from nfbench.harness import cloudfile, imagefile, meshfile, png, surfacefile
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.meshfile import read_mesh, write_ply
from nfbench.harness.scene import Given, Mesh, Points, Scene, Views
from nfbench.loaders import (
    binvox,
    blender,
    choy,
    clouds,
    co3d,
    colmap,
    convonet_rooms,
    deepsdf,
    dfaust,
    dtu_truth,
    exr,
    idr,
    imnet,
    jgzfile,
    ldif,
    llff,
    meshes,
    mvsnet,
    nerfstudio,
    nmr,
    nsvf,
    onet,
    pfm,
    pngkinds,
    points2surf,
    siren_xyz,
    srn,
    tanks,
    tanks_truth,
    texture_fields,
)

Calls = list[Callable[[], object]]

SIDE = 16  # pixels
RADIUS = 0.4  # of the ball that the images show
TETRAHEDRON = Mesh(
    np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]]), np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
)


@dataclass(frozen=True)
class Subject:
    """A reader: how its sample is made in a folder, and what is called on it.

    `only` has the endings of the files that are damaged, all of them where it is empty.
    """

    name: str
    make: Callable[[Path], None]
    calls: Callable[[Path], Calls]
    only: tuple[str, ...] = ()


def ball_views(side: int = SIDE, count: int = 5) -> Views:
    """Views of a ball: RGBA, with masks, depths, near and far."""
    eyes = np.random.default_rng(0).normal(size=(count, 3))
    eyes = 1.5 * eyes / np.linalg.norm(eyes, axis=1, keepdims=True)
    K = np.array([[1.25 * side, 0, side / 2], [0, 1.25 * side, side / 2], [0, 0, 1]], np.float32)
    c2w = np.stack([look_at(eye, (0, 0, 0)) for eye in eyes])
    near_far = np.tile(np.array([[0.8, 2.2]], np.float32), (count, 1))
    cameras = Cameras(c2w, np.tile(K, (count, 1, 1)), np.full((count, 2), side, np.int32), near_far)

    def depth(index: int) -> NDArray[np.float32]:
        origins, directions = (array.astype(np.float64) for array in rays(cameras, index))
        along = -(origins * directions).sum(-1)
        root = along**2 - (origins**2).sum(-1) + RADIUS**2
        distance = np.where(root > 0, along - np.sqrt(np.maximum(root, 0)), np.inf)
        return distance.reshape(side, side).astype(np.float32)

    def image(index: int) -> NDArray[np.uint8]:
        hit = np.isfinite(depth(index))
        shade = np.where(hit, 40 + 30 * index, 255).astype(np.uint8)
        return np.stack([shade, shade // 2 + 127 * ~hit, shade, 255 * hit.astype(np.uint8)], -1).astype(np.uint8)

    names = tuple(f"{i:06d}" for i in range(count))
    return Views(cameras, names, image, lambda i: np.isfinite(depth(i)), depth)


def shape(solid: bool) -> Scene:
    """A scene with a cloud, samples and a surface: a mesh where `solid`, else points with normals."""
    xyz = np.random.default_rng(0).uniform(-0.5, 0.5, (27, 3)).astype(np.float32)
    normal = xyz / np.linalg.norm(xyz, axis=1, keepdims=True)
    samples = Points(xyz, value=np.where(np.arange(27) % 2, 0.1, -0.1).astype(np.float32), kind="sdf")
    surface = TETRAHEDRON if solid else Points(xyz, normal=normal)
    box = np.array([[-1] * 3, [1] * 3], np.float32)
    return Scene("04379243-a", Given(cloud=Points(xyz), samples=samples), box, surface=surface)


def of_views(name: str, module: ModuleType, place: str = "scene", **more: Any) -> Subject:  # noqa: ANN401
    """A reader of views; `place` is where in the sample's folder the scene is."""
    count = 3 if module in (nmr, texture_fields, co3d) else 5  # whose files are many a view
    whole = ball_views(count=count)
    if module in (idr, mvsnet, tanks):
        parts = {"train": whole}
    else:
        parts = {"train": whole.subset(list(range(1, count))), "test": whole.subset([0])}
    if module is co3d:  # its images are named by nothing else, and val is a part too
        parts = {"train": whole.subset([1]), "test": whole.subset([0]), "val": whole.subset([2])}

    def make(folder: Path) -> None:
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        module.write(folder / place, parts, **more)
        _beside(module, folder / place)

    return Subject(name, make, lambda folder: list(_of_scene(module, folder, folder / place)))


def _beside(module: ModuleType, folder: Path) -> None:
    """What datasets have and the writers leave out: lists, depths, clouds and texts in place of binary models."""
    if module is srn:
        (folder / "convention.txt").unlink()  # the silhouettes tell
    if module in (nmr, texture_fields):
        place = folder / "depth" if module is nmr else folder / "visualize" / "depth"
        place.mkdir(exist_ok=True)
        for i in range(3):
            name = f"{i + 1:08d}" if module is nmr else f"{i:06d}"
            (place / f"{name}.exr").write_bytes(exr_bytes(np.full((SIDE, SIDE), 1.5, np.float32), packed=i % 2 == 0))
    if module is nmr:
        (folder.parent / "softras_test.lst").write_text(f"{folder.name}\n")
        (folder.parent.parent / "src_dvr.txt").write_text(f"{folder.parent.name} {folder.name} 2\n")
    if module is co3d:
        write_ply(folder / "pointcloud.ply", TETRAHEDRON)
    if module is nerfstudio:
        write_ply(folder / "sparse.ply", Mesh(TETRAHEDRON.vertices, np.empty((0, 3), np.int64)))
        data = json.loads((folder / "transforms.json").read_text())
        (folder / "transforms.json").write_text(json.dumps({**data, "ply_file_path": "sparse.ply"}))
    if module is tanks:
        _tanks_truth(folder)
        (folder / "trajectory.log").rename(folder / f"{folder.name}_COLMAP_SfM.log")


def _tanks_truth(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_ply(folder / f"{folder.name}.ply", Mesh(TETRAHEDRON.vertices, np.empty((0, 3), np.int64)))
    polygon = {"axis_max": 4.5, "axis_min": -1.25, "bounding_polygon": [[0, 9, 0], [2, 9, 0], [2, 9, 3]]}
    kind = {"class_name": "SelectionPolygonVolume", "orthogonal_axis": "Y", "version_major": 1, "version_minor": 0}
    (folder / f"{folder.name}.json").write_text(json.dumps({**polygon, **kind}, indent=1))
    np.savetxt(folder / f"{folder.name}_trans.txt", np.eye(4))


def _of_scene(module: ModuleType, dataset: Path, folder: Path, **choices: Any) -> Iterator[Callable[[], object]]:  # noqa: ANN401
    """All that a format's module offers, on a dataset and on one scene of it."""
    if hasattr(module, "scenes"):
        yield lambda: module.scenes(dataset)
        yield lambda: getattr(module, "training", module.scenes)(dataset)
    yield lambda: module.detect(folder)
    if hasattr(module, "name"):
        yield lambda: module.name(folder)
    if hasattr(module, "notes"):
        yield lambda: module.notes(folder)
    yield lambda: _decoded(module.read(folder, **choices))
    yield lambda: module.splits(folder)
    if hasattr(module, "read_training"):
        yield lambda: module.read_training(folder)
    if module is dfaust:
        yield lambda: dfaust.read_normalization(folder)


def _decoded(scene: Scene) -> None:
    for views in (scene.given.views, scene.hidden):
        for i in range(len(views) if views is not None else 0):
            assert views is not None
            views.image(i)
            if views.load_mask is not None:
                views.mask(i)
            if views.load_depth is not None:
                views.depth(i)


def of_shapes(module: ModuleType) -> Subject:
    """A reader of shapes."""
    solid = module in (meshes, binvox, imnet)
    more = {"edge": 4} if module in (binvox, imnet) else {}
    choices = {"queries": 8} if module is meshes else {}

    def calls(folder: Path) -> Calls:
        (path,) = module.scenes(folder)
        return list(_of_scene(module, folder, path, **choices))

    name = module.__name__.rpartition(".")[2].replace("_", "-")
    return Subject(name, lambda folder: module.write(folder, [shape(solid)], **more), calls)


def of_file(name: str, file: str, content: Callable[[Path], object], *calls: Callable[[Path], object]) -> Subject:
    """A reader of single files; `content` writes the file."""

    def make(folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        content(folder / file)

    def calling(folder: Path) -> Calls:
        return [lambda call=call: call(folder / file) for call in calls]  # type: ignore[misc]

    return Subject(name, make, calling)


def exr_bytes(values: NDArray[np.float32], packed: bool) -> bytes:
    """An OpenEXR image of one float channel called V, in single lines: with ZIPS, or uncompressed."""
    height, width = values.shape

    def attribute(name: str, kind: str, data: bytes) -> bytes:
        return name.encode() + b"\0" + kind.encode() + b"\0" + struct.pack("<i", len(data)) + data

    channels = b"V\0" + struct.pack("<iB3xii", 2, 0, 1, 1) + b"\0"
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    head = struct.pack("<ii", 20000630, 2) + attribute("channels", "chlist", channels)
    head += attribute("compression", "compression", b"\2" if packed else b"\0")
    head += attribute("dataWindow", "box2i", window) + attribute("displayWindow", "box2i", window)
    head += attribute("lineOrder", "lineOrder", b"\0") + attribute("pixelAspectRatio", "float", struct.pack("<f", 1))
    head += attribute("screenWindowCenter", "v2f", bytes(8)) + attribute("screenWindowWidth", "float", bytes(4)) + b"\0"
    lines, offsets, at = b"", [], len(head) + 8 * height
    for y, row in enumerate(values):
        data = _packed(row.tobytes()) if packed else row.tobytes()
        offsets.append(at + len(lines))
        lines += struct.pack("<iI", y, len(data)) + data
    return head + struct.pack(f"<{height}Q", *offsets) + lines


def _packed(raw: bytes) -> bytes:
    """Even bytes before odd ones, as differences plus 128, deflated; as it is where that is no longer than it."""
    array = np.frombuffer(raw, np.uint8)
    order = np.concatenate([array[::2], array[1::2]]).astype(np.int64)
    order[1:] = np.diff(order) + 128
    small = zlib.compress((order % 256).astype(np.uint8).tobytes())
    return small if len(small) < len(raw) else raw


def _dtu(folder: Path) -> None:
    (folder / "ObsMask").mkdir(parents=True)
    (folder / "Points" / "stl").mkdir(parents=True)
    box = np.array([[0.0, 0, 0], [20, 20, 100]])
    observed = {"ObsMask": np.ones((3, 4, 5), np.uint8), "BB": box, "Res": np.array([[10.0]])}
    savemat(folder / "ObsMask" / "ObsMask24_10.mat", observed, do_compression=True)
    savemat(folder / "ObsMask" / "Plane24.mat", {"P": np.array([[0], [0], [1], [-40.0]])})
    write_ply(folder / "Points" / "stl" / "stl024_total.ply", Mesh(TETRAHEDRON.vertices, np.empty((0, 3), np.int64)))


def _mesh(kind: str) -> Subject:
    def write(file: Path) -> None:
        file.write_bytes(_exported(kind))

    suffix = kind.partition("-")[0]
    return of_file(f"mesh {kind}", f"a.{suffix}", write, read_mesh, meshfile.is_cloud, surfacefile.read_surface)


def _exported(kind: str) -> bytes:
    mesh = trimesh.creation.icosphere(1)
    match kind:
        case "ply-text":
            data = trimesh.exchange.ply.export_ply(mesh, encoding="ascii")
        case "stl-text":
            data = trimesh.exchange.stl.export_stl_ascii(mesh)
        case _:
            data = mesh.export(file_type=kind)
    return data.encode() if isinstance(data, str) else bytes(data)


def _cloud(suffix: str) -> Subject:
    xyz = shape(False).given.cloud
    assert xyz is not None

    def write(file: Path) -> None:
        if suffix == "npy":
            np.save(file, xyz.xyz)
        elif suffix == "ply":
            write_ply(file, Mesh(xyz.xyz.astype(np.float64), np.empty((0, 3), np.int64)))
        else:
            np.savetxt(file, xyz.xyz)

    return of_file(f"cloud {suffix}", f"a.{suffix}", write, cloudfile.read_cloud, surfacefile.read_surface)


def _picture(kind: str) -> Subject:
    pixels = np.random.default_rng(1).integers(0, 256, (24, 20, 3), np.uint8)

    def write(file: Path) -> None:
        Pillow.fromarray(pixels).save(file)

    def decoded(file: Path) -> None:
        imagefile.image_size(file)
        imagefile.read_image(file)

    return of_file(f"image {kind}", f"a.{kind}", write, decoded)


def _grey(file: Path) -> None:
    pngkinds.write_grey(file, np.random.default_rng(2).integers(0, 65536, (12, 10)).astype(np.uint16))


def _imnet_file(folder: Path) -> None:
    imnet.write(folder, [shape(True)], edge=4)
    for file in folder.glob("*.hdf5"):
        with h5py.File(file) as opened:
            assert opened


def _ramp() -> NDArray[np.float32]:
    return np.arange(9 * 7, dtype=np.float32).reshape(9, 7)


_VIEWS: tuple[Subject, ...] = (
    of_views("blender", blender),
    of_views("llff", llff),
    of_views("colmap", colmap, cloud=shape(False).given.cloud),
    of_views("nerfstudio", nerfstudio),
    of_views("idr", idr),
    of_views("mvsnet", mvsnet),
    of_views("nsvf", nsvf),
    of_views("srn", srn, "cars_test/a"),
    of_views("nmr", nmr, "02958343/a", surface=shape(False).surface),
    of_views("texture-fields", texture_fields),
    of_views("co3d", co3d, "car/1_2_3"),
    of_views("tanks", tanks, "Ignatius"),
)
_SHAPES = (binvox, clouds, convonet_rooms, deepsdf, dfaust, imnet, ldif, meshes, onet, points2surf, siren_xyz)

SUBJECTS: tuple[Subject, ...] = (
    *_VIEWS,
    Subject(
        "choy",
        lambda folder: choy.write_choy(folder / "img_choy2016", ball_views(choy.SIDE)),
        lambda folder: [lambda: choy.read_choy(folder / "img_choy2016", 2.0, (0.1, 0, 0)).image(0)],
    ),
    *map(of_shapes, _SHAPES),
    Subject("dtu-truth", _dtu, lambda f: list(_of_scene(dtu_truth, f, f / "Points" / "stl" / "stl024_total.ply"))),
    Subject("tanks-truth", lambda f: _tanks_truth(f / "Truck"), lambda f: list(_of_scene(tanks_truth, f, f / "Truck"))),
    Subject("mat", _dtu, lambda f: [lambda: dtu_truth.read_dtu_truth(f, 24)], only=(".mat",)),
    Subject(
        "hdf5",
        _imnet_file,
        lambda f: [lambda: [imnet.read(row) for row in imnet.scenes(f)]],
        only=(".hdf5",),
    ),
    *map(_mesh, ("obj", "ply", "ply-text", "off", "stl", "stl-text", "glb")),
    *map(_cloud, ("ply", "xyz", "npy")),
    *map(_picture, ("jpg", "bmp", "webp")),
    of_file(
        "png",
        "a.png",
        lambda file: png.write_png(file, ball_views().image(1)),
        *(png.read_header, png.read_png, imagefile.image_size, imagefile.read_image),
        *(pngkinds.colour_size, pngkinds.read_colour),
    ),
    of_file(
        "png grey",
        "a.png",
        _grey,
        *(pngkinds.mask_size, pngkinds.read_mask, pngkinds.depth_size, pngkinds.read_depth),
    ),
    of_file("exr", "a.exr", lambda f: f.write_bytes(exr_bytes(_ramp(), packed=True)), exr.exr_size, exr.read_exr),
    of_file("pfm", "a.pfm", lambda file: pfm.write_pfm(file, _ramp()), pfm.pfm_size, pfm.read_pfm),
    of_file(
        "jgz",
        "a.jgz",
        lambda file: jgzfile.write_json(file, [{"a": "x", "b": [1, {"c": "é"}]}, {"a": "y"}]),
        *(jgzfile.read_json, lambda file: jgzfile.records(file, "a", "x")),
    ),
)
"""Every reader: of views, of shapes, of truths, and of single files."""
