"""Whatever is given: one message that names file and mend, exit 2, no traceback, and no memory taken on faith."""

import json
import os
import shutil
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import trimesh
from PIL import Image

from nfbench.harness import image
from nfbench.harness.errors import NfbenchError
from nfbench.harness.meshfile import write_ply
from nfbench.harness.png import write_png
from nfbench.harness.scene import Mesh

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
PICTURE = Image.fromarray(RGB)
TURNED = Image.fromarray(RGB[::-1].copy())


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def header(width, height):
    """A PNG whose header is sound and declares this size, with hardly any pixels."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", ihdr) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def png_bytes(folder):
    write_png(folder / "whole.png", RGB)
    data = (folder / "whole.png").read_bytes()
    (folder / "whole.png").unlink()
    return data


IMAGES = {
    "grey": ("1.png", lambda p: PICTURE.convert("L").save(p), "8-bit grey"),
    "grey_alpha": ("1.png", lambda p: PICTURE.convert("LA").save(p), "grey with alpha"),
    "palette": ("1.png", lambda p: PICTURE.convert("P").save(p), "palette"),
    "16_bit": ("1.png", lambda p: Image.fromarray(RGB[:, :, 0].astype(np.uint16) * 257).save(p), "16-bit"),
    "cmyk": ("1.jpg", lambda p: PICTURE.convert("CMYK").save(p), "CMYK"),
    "grey_jpeg": ("1.jpg", lambda p: PICTURE.convert("L").save(p), "8-bit grey"),
    "gif": ("1.gif", lambda p: PICTURE.save(p, save_all=True, append_images=[TURNED]), "not read"),
    "apng": ("1.png", lambda p: PICTURE.save(p, save_all=True, append_images=[TURNED]), "animation"),
    "webp": ("1.webp", lambda p: PICTURE.save(p, save_all=True, append_images=[TURNED]), "animation"),
    "truncated": ("1.png", lambda p: p.write_bytes(png_bytes(p.parent)[:600]), "cut short"),
    "empty": ("1.png", lambda p: p.write_bytes(b""), "is empty"),
    "wide": ("1.png", lambda p: p.write_bytes(header(30_000, 20_000)), "30000x20000, more than"),
    "no_pixels": ("1.png", lambda p: p.write_bytes(header(0, 20)), "without pixels"),
    "text": ("1.png", lambda p: p.write_text("not an image"), "is not a PNG"),
    "gif_as_png": ("1.png", lambda p: PICTURE.save(p, "GIF"), "is not a PNG but a GIF"),
    "jpeg_as_png": ("1.png", lambda p: PICTURE.save(p, "JPEG"), "is not a PNG but a JPEG"),
    "png_as_jpeg": ("1.jpg", lambda p: PICTURE.save(p, "PNG"), "is not a JPEG but a PNG"),
    "folder": ("1.png", lambda p: p.mkdir(), "is a folder"),
}
PREDICTIONS = IMAGES | {
    "transparent": ("1.png", lambda p: write_png(p, np.dstack([RGB, RGB[:, :, 0]])), "transparent"),
    "size": ("1.png", lambda p: write_png(p, RGB[:, :29]), "29x20 pixels, the test view is 30x20"),
    "turned": ("1.png", lambda p: write_png(p, RGB.transpose(1, 0, 2).copy()), "20x30 pixels"),
    "declared_wide": ("1.png", lambda p: p.write_bytes(header(30_000, 20)), "damaged pixels"),
    "name": ("01.png", lambda p: write_png(p, RGB), "1 of 2 predictions missing: 1.png"),
    "space": ("1 .png", lambda p: write_png(p, RGB), "There, but not asked for: 1 .png"),
}


@pytest.fixture
def folders(tmp_path):
    """Folders of predictions and of truth with one good image each, 0.png; 1.png is for the test."""
    for name in ("predictions", "truth"):
        (tmp_path / name).mkdir()
        write_png(tmp_path / name / "0.png", RGB)
    return tmp_path / "predictions", tmp_path / "truth"


def refused(nfbench, *arguments):
    """The message of a score that is refused as it should be."""
    code, out, err = nfbench("score", *arguments)
    assert code == 2 and out == "" and "Traceback" not in err
    lines = err.rstrip("\n").split("\n")
    assert len(lines) == 2 and lines[0].startswith("nfbench: ") and lines[1].startswith("  "), "a message and a mend"
    return err


@pytest.mark.parametrize("case", PREDICTIONS)
def test_a_bad_predicted_image(nfbench, folders, case):
    name, write, words = PREDICTIONS[case]
    write_png(folders[1] / "1.png", RGB)
    write(folders[0] / name)
    message = refused(nfbench, *folders, "--protocol", "srn@1")
    assert str(folders[0]) in message and name in message and words in message


@pytest.mark.parametrize("case", IMAGES)
def test_a_bad_true_image(nfbench, folders, case):
    name, write, words = IMAGES[case]
    write_png(folders[0] / "1.png", RGB)
    write(folders[1] / name)
    message = refused(nfbench, *folders, "--protocol", "srn@1")
    assert str(folders[1] / name) in message and words in message


@pytest.mark.parametrize("side", [0, 1])
def test_a_declared_size_is_not_allocated(nfbench, folders, side):
    write_png(folders[1 - side] / "1.png", RGB)
    (folders[side] / "1.png").write_bytes(header(30_000, 20_000))
    refused(nfbench, *folders, "--protocol", "srn@1")  # imports what is imported once
    tracemalloc.start()
    refused(nfbench, *folders, "--protocol", "srn@1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 << 20, "1.8 GB are declared"


def test_partial_measures_the_rest_of_a_folder_with_a_bad_image(nfbench, folders):
    write_png(folders[1] / "1.png", RGB)
    PICTURE.convert("L").save(folders[0] / "1.png")
    code, out, _ = nfbench("score", *folders, "--protocol", "volsdf-dtu@1", "--partial", "--json")
    data = json.loads(out)
    assert code == 0 and data["coverage"] == 0.5 and data["missing"] == []
    assert "8-bit grey" in data["failed"]["1"] and data["scores"]["psnr"]["penalised"] == "Infinity"


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_files_that_may_not_be_read(nfbench, folders, tmp_path):
    write_png(folders[1] / "1.png", RGB)
    write_png(folders[0] / "1.png", RGB)
    (folders[0] / "1.png").chmod(0)
    assert "1.png cannot be read" in refused(nfbench, *folders, "--protocol", "srn@1")
    trimesh.creation.box().export(tmp_path / "t.ply")
    shutil.copy(tmp_path / "t.ply", tmp_path / "p.ply")
    (tmp_path / "p.ply").chmod(0)
    message = refused(nfbench, tmp_path / "p.ply", tmp_path / "t.ply", "--protocol", "pytorch3d@1")
    assert "p.ply cannot be opened" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -0.01, 1.01, 255.0])
@pytest.mark.parametrize("function", ["psnr", "ssim"])
def test_floats_out_of_range_from_python(function, value):
    good = np.full((16, 16, 3), 0.5)
    bad = good.copy()
    bad[3, 4, 1] = value
    for pair in ((bad, good), (good, bad)):
        with pytest.raises(NfbenchError) as caught:
            getattr(image, function)(*pair)
        assert caught.value.hint


BOX = trimesh.creation.box((1, 1, 1))
V, F = np.array(BOX.vertices), np.array(BOX.faces)


def export(vertices, faces):
    return lambda path: trimesh.Trimesh(vertices, faces, process=False).export(path)


def changed(at, value):
    vertices = V.copy()
    vertices[at] = value
    return export(vertices, F)


PLACE = "property float x\nproperty float y\nproperty float z\n"
FACES = "element face 4000000000\nproperty list uchar int vertex_indices\n"


def ply(form, vertices, rest="", body=b""):
    text = f"ply\nformat {form} 1.0\nelement vertex {vertices}\n{PLACE}{rest}end_header\n"
    return lambda path: path.write_bytes(text.encode() + body)


EMPTY = Mesh(np.zeros((0, 3)), np.zeros((0, 3), np.int64))
BINARY = "binary_little_endian"
SURFACES = {
    "empty_file": ("a.ply", lambda p: p.write_bytes(b""), "is empty: 0 bytes"),
    "nan_ply": ("a.ply", changed((3, 1), np.nan), "NaN or infinity in vertex 3"),
    "inf_ply": ("a.ply", changed((5, 2), np.inf), "NaN or infinity in vertex 5"),
    "nan_stl": ("a.stl", changed((3, 1), np.nan), "NaN or infinity"),
    "nan_obj": ("a.obj", changed((3, 1), np.nan), "NaN or infinity"),
    "far": ("a.ply", export(V * 1e30, F), "square float32 cannot hold"),
    "flat": ("a.ply", export(V * [1, 0, 0], F), "has an area"),
    "cloud_nan": ("a.npy", lambda p: np.save(p, np.full((4, 3), np.nan)), "NaN or infinity in row 0"),
    "cloud_shape": ("a.npy", lambda p: np.save(p, np.zeros((4, 2))), "shape (4, 2)"),
    "cloud_pickle": ("a.npy", lambda p: np.save(p, np.array([{}], object)), "cannot be read as NPY"),
    "no_points_xyz": ("a.xyz", lambda p: p.write_text("# none\n"), "a.xyz"),
    "no_points_ply": ("a.ply", ply("ascii", 0), "a.ply"),
    "words": ("a.xyz", lambda p: p.write_text("hello world\n"), "cannot be read as XYZ"),
    "four_billion": ("a.ply", ply(BINARY, 4_000_000_000, FACES, bytes(100)), "declares 4000000000 vert"),
    "four_billion_points": ("a.ply", ply(BINARY, 4_000_000_000, "", bytes(100)), "declares 4000000000 vert"),
    "four_billion_lines": ("a.ply", ply("ascii", 4_000_000_000, "", b"0 0 0\n"), "declares 4000000000 vert"),
    "png_as_ply": ("a.ply", lambda p: PICTURE.save(p, "PNG"), "is a PNG image, not PLY"),
    "ply_as_obj": ("a.obj", lambda p: BOX.export(p, "ply"), "is a PLY file, not OBJ"),
    "stl_as_ply": ("a.ply", lambda p: BOX.export(p, "stl"), "is not a PLY file"),
    "off_as_stl": ("a.stl", lambda p: BOX.export(p, "off"), "is an OFF file, not STL"),
    "npy_as_xyz": ("a.xyz", lambda p: np.save(p.open("wb"), V), "cannot be read as XYZ"),
    "ending": ("a.foo", lambda p: p.write_text("x"), "not read from '.foo'"),
    "no_ending": ("a", lambda p: p.write_text("x"), "not read from"),
    "link": ("a.ply", lambda p: p.symlink_to("nowhere"), "There is no"),
    "truncated_ply": ("a.ply", lambda p: (BOX.export(p), p.write_bytes(p.read_bytes()[:-7])), "a.ply"),
    "truncated_stl": ("a.stl", lambda p: (BOX.export(p), p.write_bytes(p.read_bytes()[:-7])), "declares 12 triangles"),
    "truncated_glb": ("a.glb", lambda p: (BOX.export(p), p.write_bytes(p.read_bytes()[:-200])), "a.glb"),
}


@pytest.fixture
def box(tmp_path):
    BOX.export(tmp_path / "box.ply")
    return tmp_path / "box.ply"


@pytest.mark.parametrize("side", ["prediction", "truth"])
@pytest.mark.parametrize("case", SURFACES)
def test_a_bad_surface(nfbench, box, case, side):
    name, write, words = SURFACES[case]
    bad = box.parent / name
    write(bad)
    pair = (bad, box) if side == "prediction" else (box, bad)
    message = refused(nfbench, *pair, "--protocol", "pytorch3d@1")
    assert str(bad) in message and words in message


@pytest.mark.parametrize(
    "write", [lambda p: write_ply(p, EMPTY), lambda p: np.save(p.with_suffix(".npy"), np.zeros((0, 3)))]
)
def test_an_empty_surface_is_named_on_either_side(nfbench, box, write):
    write(box.parent / "none.ply")
    (none,) = box.parent.glob("none.*")
    assert "has no" in refused(nfbench, none, box, "--protocol", "pytorch3d@1")
    assert "the true surface is empty" in refused(nfbench, box, none, "--protocol", "pytorch3d@1")


def test_a_folder_in_the_place_of_a_surface(nfbench, box):
    (box.parent / "folder.ply").mkdir()
    assert "folder.ply/mesh.ply" in refused(nfbench, box.parent / "folder.ply", box, "--protocol", "pytorch3d@1")
    assert "no known format" in refused(nfbench, box, box.parent / "folder.ply", "--protocol", "pytorch3d@1")
    (box.parent / "folder.ply" / "mesh.ply").mkdir()
    refused(nfbench, box.parent / "folder.ply", box, "--protocol", "pytorch3d@1")


def facts(nfbench, prediction, truth, protocol="onet-shapenet@1"):
    code, out, err = nfbench("score", prediction, truth, "--protocol", protocol, "--json")
    assert code == 0, err
    data = json.loads(out)
    return data["facts"]["box"], {column: score["mean"] for column, score in data["scores"].items()}


def test_an_inside_out_mesh_is_scored_and_told(nfbench, box):
    export(V, F[:, ::-1])(box.with_name("p.ply"))
    told, means = facts(nfbench, box.with_name("p.ply"), box)
    assert told["inside_out"] and told["watertight"] and told["signed_volume"] == pytest.approx(-1)
    assert means["iou"] == 1 and means["chamfer_l1_mean"] < 0.01


def test_a_mesh_that_is_no_manifold_is_scored_and_told(nfbench, box):
    export(np.vstack([V, [2, 2, 2]]), np.vstack([F, [0, 1, 8], [0, 0, 1]]))(box.with_name("p.ply"))
    told, means = facts(nfbench, box.with_name("p.ply"), box)
    assert told["nonmanifold_edges"] == 1 and told["boundary_edges"] == 2 and not told["watertight"]
    assert told["degenerate_faces"] == 1 and told["faces"] == 14 and told["inside"] == "winding-number"
    assert means["iou"] == 1 and means["accuracy"] > 0.05 > means["completeness"]


def test_one_huge_face_is_scored_and_told(nfbench, box):
    far = np.vstack([V, 1e6 * np.eye(3)])
    export(far, np.vstack([F, [8, 9, 10]]))(box.with_name("p.ply"))
    told, means = facts(nfbench, box.with_name("p.ply"), box, "pytorch3d@1")
    assert told["area"] == pytest.approx(np.sqrt(3) / 2 * 1e12, rel=1e-6) and told["components"] == 2
    assert 5e11 < means["chamfer_sq_sum"] < 1e12 and 0 < means["normal_cosine_loss"] < 1


def test_names_with_spaces_and_of_any_script(nfbench, tmp_path):
    folder = tmp_path / "eine Büste 真"
    folder.mkdir()
    BOX.export(folder / "wahr ä 1.ply")
    code, out, err = nfbench("score", folder / "wahr ä 1.ply", folder / "wahr ä 1.ply", "--protocol", "pytorch3d@1")
    assert code == 0 and out.startswith("plain/wahr ä 1 under pytorch3d@1"), err
    assert "nichts ö.ply" in refused(nfbench, folder / "nichts ö.ply", folder / "wahr ä 1.ply", "--protocol", "dvr@1")
