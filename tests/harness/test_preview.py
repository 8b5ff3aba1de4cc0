from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as Pillow

from nfbench.harness import preview as module
from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.png import read_png
from nfbench.harness.preview import preview, write_preview
from nfbench.harness.probe import ball
from nfbench.harness.scene import Given, Points, Scene, Views, Voxels
from nfbench.loaders import blender

BLUE, ORANGE, GREEN, GREY, PINK, FAINT = (
    (24, 98, 196),
    (222, 110, 12),
    (14, 134, 74),
    (128, 120, 140),
    (235, 0, 140),
    (214, 218, 226),
)
BOX = np.array([[-1, -1, -1], [1, 1, 1]], np.float32)
SCALE = 520 * 0.84 / 2  # of a box of edge 2 that fills a panel of 520 pixels
ABOVE, SIDE = (12 + 301, 76 + 260), (12 + 602 + 12 + 301, 76 + 260)  # the middles of the panels


@pytest.fixture
def made(tmp_path):
    return ball(tmp_path / "ball")


@pytest.fixture
def folder(made, tmp_path):
    blender.write(tmp_path / "data" / "b", {"train": made.given.views, "test": made.hidden})
    return tmp_path / "data" / "b"


def looking(*eyes, target=(0, 0, 0), up=(0, 0, 1), size=(40, 20)):
    """Grey views from some places."""
    K = np.tile([[40.0, 0, size[0] / 2], [0, 40, size[1] / 2], [0, 0, 1]], (len(eyes), 1, 1))
    poses = np.stack([look_at(eye, target, up) for eye in eyes])
    cameras = Cameras(poses, K, np.tile(size, (len(eyes), 1)))
    return Views(
        cameras, tuple(f"v{i}" for i in range(len(eyes))), lambda i: np.full((size[1], size[0], 3), 90, np.uint8)
    )


def count(image, colour):
    return int((image == colour).all(-1).sum())


def near(image, place, colour, reach=1):
    """Whether a pixel about `place` (x, y) has the colour."""
    x, y = (int(np.floor(v)) for v in place)
    return count(image[y - reach : y + reach + 1, x - reach : x + reach + 1], colour) > 0


def test_a_scene_is_drawn_to_a_file(folder, nfbench, tmp_path, made):
    code, out, err = nfbench("inspect", folder, "--preview", tmp_path / "new" / "p.png")
    assert (code, err) == (0, "") and "blender" in out
    image = read_png(tmp_path / "new" / "p.png")
    assert image.shape == (76 + 520 + 12 + 2 * (295 + 22 + 12), 1240, 3), "two rows of four square tiles"
    for colour in (BLUE, ORANGE, GREEN):
        assert count(image, colour) > 144 + 50, "more than the legend"
    assert count(image, GREY) == 0 and count(image[608:], PINK) > 8 * 200
    drawn = preview(made, "b  (blender)")
    assert count(drawn, GREY) > 1000 and drawn.dtype == np.uint8


def test_json_and_preview_go_together(folder, nfbench, tmp_path):
    code, out, _ = nfbench("inspect", folder, "--preview", tmp_path / "p.PNG", "--json", "--check")
    assert code == 0 and '"check"' in out and (tmp_path / "p.PNG").is_file()


def test_a_preview_is_a_png(folder, nfbench, tmp_path):
    code, _, err = nfbench("inspect", folder, "--preview", tmp_path / "p.jpg")
    assert code == 2 and "p.jpg is not called so" in err and "ends in .png" in err


def test_the_first_scene_that_opens_is_drawn(folder, tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr(module, "preview", lambda scene, title: titles.append(title) or np.zeros((1, 1, 3), np.uint8))
    write_preview(folder, tmp_path / "p.png")
    bad = folder.parent / "a"
    bad.mkdir()
    for split in ("train", "test"):
        (bad / f"transforms_{split}.json").write_bytes((folder / f"transforms_{split}.json").read_bytes())
    write_preview(folder.parent, tmp_path / "p.png")
    assert titles == ["b  (blender)", "b  (blender, scene 2 of 2)"]
    with pytest.raises(DataMissing, match="can be opened: there is nothing to draw"):
        write_preview(bad, tmp_path / "q.png", "blender")
    assert not (tmp_path / "q.png").exists()
    with pytest.raises(NfbenchError):
        write_preview(tmp_path / "nowhere", tmp_path / "q.png")


def test_box_and_points_lie_where_they_should():
    xyz = np.array([[0.5, 0.25, -0.75]], np.float32)
    image = preview(Scene("s", Given(cloud=Points(xyz)), BOX), "s")
    assert image.shape == (608, 1240, 3)
    for middle in (ABOVE, SIDE):
        for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            assert near(image, (middle[0] + x * SCALE, middle[1] + y * SCALE), GREEN)
        assert not near(image, middle, GREEN, reach=20)
    assert near(image, (ABOVE[0] + 0.5 * SCALE, ABOVE[1] - 0.25 * SCALE), GREY, 0)
    assert near(image, (SIDE[0] + 0.5 * SCALE, SIDE[1] + 0.75 * SCALE), GREY, 0)
    assert count(image[76:], GREY) == 2, "one in each panel"


def test_points_far_astray_do_not_shrink_the_rest():
    xyz = np.zeros((1000, 3), np.float32)
    xyz[0] = 500
    image = preview(Scene("s", Given(cloud=Points(xyz)), BOX), "s")
    assert near(image, (ABOVE[0] + SCALE, ABOVE[1]), GREEN), "they are cut off"
    assert count(image[76:], GREY) == 2


def test_up_is_what_is_up_in_the_images():
    def axes(views, hidden=None):
        plans = module._plans(Scene("s", Given(views=views), BOX, hidden=hidden), np.empty((0, 3), np.float32))
        return [plan.title for plan in plans]

    assert axes(looking((0, -4, 0))) == [
        "from above: y to the right, -x upwards",
        "from the side: y to the right, z upwards",
    ]
    assert axes(looking((-4, 0, 0)))[1] == "from the side: x to the right, z upwards"
    assert axes(looking((0, 0, -4), up=(0, -1, 0))) == [
        "from above: z to the right, -x upwards",
        "from the side: z to the right, -y upwards",
    ]
    assert axes(looking((0, 0, 4), up=(1, 0, 0)))[1] == "from the side: z to the right, x upwards"
    assert axes(None, looking((0, -4, 0)))[1] == "from the side: y to the right, z upwards"
    assert axes(None) == ["along -z: x to the right, y upwards", "along y: x to the right, z upwards"]


def test_cameras_are_drawn_in_their_place():
    scene = Scene("s", Given(views=looking((0, -4, 0))), BOX, hidden=looking((0, 4, 0)))
    image = preview(scene, "s")
    scale = 602 * 0.84 / 8  # eight units from camera to camera
    reach = 0.07 * 602
    for middle in (ABOVE, SIDE):
        assert near(image, (middle[0] - 4 * scale, middle[1]), BLUE)
        assert near(image, (middle[0] + 4 * scale, middle[1]), ORANGE)
        panel = image[80:590, middle[0] - 300 : middle[0] + 300]
        blue = np.argwhere((panel == BLUE).all(-1))
        assert np.ptp(blue[:, 1]) <= reach + 4, "frusta open towards what they look at"
        assert blue[:, 1].min() == pytest.approx(300 - 4 * scale, abs=3)
        assert blue[:, 1].max() == pytest.approx(
            300 - 4 * scale + reach * np.cos(np.arctan(np.hypot(0.5, 0.25))), abs=2
        )
    heights = [np.ptp(np.argwhere((image[80:590, m[0] - 300 : m[0]] == BLUE).all(-1))[:, 0]) for m in (ABOVE, SIDE)]
    assert heights[0] == pytest.approx(2 * heights[1], abs=3), "an image twice as wide as high"


def test_frusta_shrink_where_cameras_crowd():
    plan = module._plans(Scene("s", Given(), BOX), np.empty((0, 3), np.float32))[0]
    width = 602 / SCALE
    assert plan.scale == pytest.approx(SCALE)
    reach = lambda *x: module._reach([np.array([[v, 0, 0] for v in x])], plan)  # noqa: E731
    assert module._reach([], plan) == reach(0) == reach(0, 9) == pytest.approx(0.07 * width)
    assert reach(0, 0, 0) == pytest.approx(0.03 * width)
    assert reach(0, 0.08, 0.16) == pytest.approx(0.12)
    both = [np.zeros((1, 3), np.float32), np.array([[0.08, 0, 0]], np.float32)]
    assert module._reach(both, plan) == pytest.approx(0.12), "given and hidden cameras count alike"


def test_views_are_chosen_evenly():
    assert module._evenly(0, 8) == [] and module._evenly(1, 8) == [0] and module._evenly(8, 8) == list(range(8))
    assert module._evenly(15, 8) == [0, 2, 4, 6, 8, 10, 12, 14]
    assert module.IMAGES == 8


def test_tiles_keep_the_shape_of_their_image():
    def size(width, height):
        return module._tile(looking((0, -4, 0), size=(width, height)), 0).size

    assert size(40, 20) == (295, 148) and size(1000, 500) == (295, 148)
    assert size(20, 40) == (148, 295) and size(5000, 2) == (295, 1)
    assert np.unique(np.asarray(module._tile(looking((0, -4, 0)), 0))).tolist() == [90]


def test_transparent_pixels_are_white_and_masks_outlined():
    image = np.zeros((2, 2, 4), np.uint8)
    image[:, 0] = (10, 20, 30, 255)
    views = replace(looking((0, -4, 0), size=(2, 2)), load=lambda i: image)
    tile = np.asarray(module._tile(views, 0))
    assert tile.shape == (295, 295, 3)
    assert tile[100, 50].tolist() == [10, 20, 30] and tile[100, 250].tolist() == [255] * 3
    edge = np.flatnonzero((tile[100] == PINK).all(-1))
    assert len(edge) == 1 and abs(edge[0] - 147) <= 1, "the outline lies on the last pixel of the mask"
    masked = replace(looking((0, -4, 0)), load_mask=lambda i: np.ones((20, 40), np.bool_))
    assert count(np.asarray(module._tile(masked, 0)), PINK) == 0, "a mask that is all of the image has no outline"


def test_an_outline_is_the_inner_rim():
    mask = np.zeros((5, 6), np.bool_)
    mask[1:5, 1:5] = True
    expected = mask.copy()
    expected[2:5, 2:4] = False
    assert np.array_equal(module._outline(mask), expected), "the frame of the image is no rim"


@pytest.mark.parametrize("error", [DataCorrupt("torn"), OSError("gone")])
def test_a_view_that_cannot_be_decoded_is_told(error):
    def load(i):
        raise error

    tile = np.asarray(module._tile(replace(looking((0, -4, 0)), load=load), 0))
    assert tile.shape == (98, 295, 3) and tile[-1, -1].tolist() == list(FAINT)
    assert len(np.unique(tile.reshape(-1, 3), axis=0)) > 3, "it says so"


def test_what_is_written_above(monkeypatch, made):
    told = []
    monkeypatch.setattr(module, "_write", lambda draw, place, text, size=15: told.append(text))
    preview(replace(made, unit=0.001), "b  (blender)")
    assert "b  (blender)" in told and "8 given views" in told and "3 hidden views" in told
    assert "box of 1.1 x 1.1 x 1.1 units of 0.001 m" in told and "4000 points of the true surface" in told
    assert [text for text in told if text.startswith("v_")] == list(made.given.views.names)
    told.clear()
    one = Scene("s", Given(views=looking((0, -4, 0)), cloud=Points(np.zeros((1, 3)))), BOX, hidden=looking((0, 4, 0)))
    preview(one, "s")
    assert {"1 given view", "1 hidden view", "box of 2 x 2 x 2 scene units", "1 point of the given cloud"} <= set(told)
    told.clear()
    preview(Scene("s", Given(), BOX), "s")
    assert not any("views" in text or "point" in text for text in told)


@pytest.mark.parametrize("kind", ["sdf", "occupancy", "voxels"])
def test_samples_and_voxels_show_the_shape(monkeypatch, kind):
    told = []
    monkeypatch.setattr(module, "_write", lambda draw, place, text, size=15: told.append(text))
    xyz = np.stack(np.meshgrid(*[np.linspace(-0.9, 0.9, 19)] * 3, indexing="ij"), -1).reshape(-1, 3)
    far = np.linalg.norm(xyz, axis=1) - 0.35  # the outermost are 0.3 from the centre
    if kind == "voxels":
        given = Given(voxels=Voxels((far < 0).reshape(19, 19, 19), np.float32([[-0.95] * 3, [0.95] * 3])))
    else:
        given = Given(samples=Points(xyz, value=far if kind == "sdf" else far < 0, kind=kind))
    picture = preview(Scene("s", given, BOX), "s")[module._TITLE :]  # below the legend
    number = int((far < 0).sum())
    assert f"{number} of the {'filled voxels' if kind == 'voxels' else 'given samples, inside'}" in told
    rows, columns = np.nonzero((picture == module._CLOUD).all(2)[:, : picture.shape[1] // 2])
    box_rows, _ = np.nonzero((picture == module._BOX).all(2))
    assert np.ptp(rows) / np.ptp(box_rows) == pytest.approx(0.3, abs=0.03)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), abs=2)


def test_long_names_lose_their_beginning():
    assert module._cut("short", 295) == "short"
    cut = module._cut("a_very_long_name_of_an_image_" * 3 + "end", 295)
    assert cut.startswith("…") and cut.endswith("end") and module._font(15).getlength(cut) <= 295
    assert module._cut("wide", 1) == "…"


def test_real_scenes_are_drawn(real_data, tmp_path):
    for name, rows in (("llff_fern", 221), ("dtu_scan24_200x150", 221)):
        write_preview(real_data / name, tmp_path / "p.png")
        with Pillow.open(tmp_path / "p.png") as image:
            assert image.size == (1240, 608 + 2 * (rows + 34))
