from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from nfbench.harness.camera import rays
from nfbench.harness.errors import ContractBroken, NfbenchError, NotFound
from nfbench.harness.png import read_png
from nfbench.harness.probe import RADIUS, ball
from nfbench.harness.protocol import Levels
from nfbench.harness.scene import Mesh
from nfbench.harness.turntable import turntable
from nfbench.harness.view_maps import FieldMaps


class Density:
    """The ball of the probe as a density that is 10 on its surface."""

    kind = "density"

    def value(self, xyz):
        return 10 + 200 * (RADIUS - np.linalg.norm(xyz, axis=1))


class Exact:
    """The same ball, with maps and colours of its own: no mesh is needed."""

    def maps(self, cameras):
        width, height = cameras.size[0]
        origins, directions = (a.astype(np.float64) for a in rays(cameras, 0))
        along = -(origins * directions).sum(1)
        root = along**2 - (origins**2).sum(1) + RADIUS**2
        depth = np.where(root > 0, along - np.sqrt(np.maximum(root, 0)), np.inf)
        with np.errstate(invalid="ignore"):
            normal = np.where(root[:, None] > 0, (origins + depth[:, None] * directions) / RADIUS, 0)
        size = (1, height, width)
        return FieldMaps(depth.reshape(size), normal.reshape(*size, 3), (root > 0).astype(float).reshape(size))

    def render(self, cameras):
        return np.full((1, *cameras.size[0, ::-1], 3), 0.5, np.float32)


@pytest.fixture
def scene(tmp_path):
    return ball(tmp_path / "scene")


def frames(tmp_path, name):
    return [read_png(path) for path in sorted((tmp_path / "film_frames" / name).glob("*.png"))]


def test_a_field_with_a_value_is_shown_by_its_mesh(scene, tmp_path):
    told = []
    shown = turntable(Density(), scene, tmp_path / "film.webp", frames=3, pixels=60, progress=told.append)
    assert shown == ["colour", "depth", "normal", "opacity"]
    assert told == pytest.approx([1 / 3, 2 / 3, 1])
    colour, depth, normal, opacity = (frames(tmp_path, name) for name in shown)
    assert [len(images) for images in (colour, depth, normal, opacity)] == [3] * 4
    for k in range(3):
        inside = opacity[k][:, :, 0] == 255
        assert np.isin(opacity[k], (0, 255)).all()
        assert inside[30, 30]
        assert not inside[0, 0]
        np.testing.assert_allclose(normal[k][30, 30], [128, 128, 255], atol=8)  # towards the viewer
        assert (colour[k][0, 0] == 255).all()  # the background is white
        assert depth[k].shape == (82, 60, 3)  # with its legend


def test_the_film_has_all_frames_side_by_side(scene, tmp_path):
    aside = SimpleNamespace(kind="density", value=lambda xyz: Density().value(xyz - np.float32([0.1, 0.05, 0])))
    turntable(aside, scene, tmp_path / "film.webp", 3, 40)
    with Image.open(tmp_path / "film.webp") as film:  # frames that look the same would be one
        assert (film.n_frames, film.size) == (3, (160, 62))
        film.seek(2)
        last = np.asarray(film.convert("RGB"), int)
    for column, name in enumerate(("colour", "depth", "normal", "opacity")):
        image = frames(tmp_path, name)[2]
        assert np.abs(last[: len(image), 40 * column : 40 * column + 40] - image).mean() < 6


def test_mesh_and_formula_look_the_same(scene, tmp_path):
    turntable(Density(), scene, tmp_path / "film.gif", 2, 50, ("normal", "opacity", "depth"))
    mesh = {name: frames(tmp_path, name) for name in ("normal", "opacity", "depth")}
    assert turntable(Exact(), scene, tmp_path / "film.gif", 2, 50, ("opacity", "normal", "depth", "colour")) == [
        "opacity", "normal", "depth", "colour",
    ]  # fmt: skip
    for name, images in mesh.items():
        for ours, exact in zip(images, frames(tmp_path, name), strict=True):
            apart = np.abs(ours[:50].astype(int) - exact[:50]).max(-1)
            assert np.median(apart) <= 3
            assert (apart > 25).mean() < 0.03  # the rim
    assert (frames(tmp_path, "colour")[0] == 128).all()
    turntable(Exact(), scene, tmp_path / "film.gif", 1, 50, ("opacity",))
    assert len(frames(tmp_path, "opacity")) == 1  # none of the earlier ones is left


def test_normals_turn_with_the_camera(scene, tmp_path):
    turntable(Exact(), scene, tmp_path / "film.webp", 4, 41, ("normal",))
    for image in frames(tmp_path, "normal"):
        assert image[20, 27, 0] > 140 > 116 > image[20, 13, 0]  # right of the middle it faces right
        assert image[13, 20, 1] > 140 > 116 > image[27, 20, 1]  # above it, upwards


def test_near_is_yellow_and_far_is_violet(scene, tmp_path):
    turntable(Exact(), scene, tmp_path / "film.webp", 1, 61, ("depth",))
    (image,) = frames(tmp_path, "depth")
    np.testing.assert_allclose(image[30, 30], [253, 231, 37], atol=6)
    row = image[30].astype(int)
    rim = np.flatnonzero((row != 255).any(1))[1]
    assert row[rim, 2] > row[30, 2]
    assert row[rim, 0] < 110
    assert (image[0, 0] == 255).all()


def test_what_a_field_cannot_give_is_left_out(scene, tmp_path):
    only_render = SimpleNamespace(render=Exact().render)
    assert turntable(only_render, scene, tmp_path / "film.webp", 1, 8) == ["colour"]
    only_maps = SimpleNamespace(
        maps=lambda cameras: (
            FieldMaps(np.ones((1, 8, 8)), None, np.ones((1, 8, 8)))
            if cameras.size[0, 0] == 8
            else FieldMaps(np.ones((1, 2, 2)), None, np.ones((1, 2, 2)))
        )
    )
    assert turntable(only_maps, scene, tmp_path / "film.webp", 1, 8) == ["depth", "opacity"]
    with pytest.raises(NfbenchError, match="nothing of depth"):
        turntable(only_render, scene, tmp_path / "film.webp", 1, 8, ("depth",))


def test_an_empty_surface_is_all_background(scene, tmp_path):
    nothing = SimpleNamespace(mesh=lambda: Mesh(np.empty((0, 3)), np.empty((0, 3), int)))
    turntable(nothing, scene, tmp_path / "film.webp", 1, 40)
    assert (frames(tmp_path, "depth")[0][:40] == 255).all()
    assert not frames(tmp_path, "opacity")[0].any()


def test_the_protocols_level_is_taken(scene, tmp_path):
    section = SimpleNamespace(levels=Levels(sdf=0, occupancy=0.5, density=50.0), resolution=64)
    turntable(Density(), scene, tmp_path / "film.webp", 1, 80, ("opacity",), section)
    small = frames(tmp_path, "opacity")[0].sum()
    turntable(Density(), scene, tmp_path / "film.webp", 1, 80, ("opacity",))
    assert small / frames(tmp_path, "opacity")[0].sum() == pytest.approx((0.2 / 0.4) ** 2, rel=0.12)


def test_what_is_wrong_is_found_before_any_work(scene, tmp_path):
    untouched = SimpleNamespace(render=None)
    with pytest.raises(NotFound, match="'colur'"):
        turntable(untouched, scene, tmp_path / "film.webp", what=("colur",))
    with pytest.raises(NfbenchError, match="like a film"):
        turntable(untouched, scene, tmp_path / "film.avi")
    with pytest.raises(NfbenchError, match="0 frames"):
        turntable(untouched, scene, tmp_path / "film.webp", frames=0)
    bad = SimpleNamespace(render=lambda cameras: np.full((1, 8, 8, 3), np.nan))
    with pytest.raises(ContractBroken, match="NaN"):
        turntable(bad, scene, tmp_path / "film.webp", 1, 8)
    assert not (tmp_path / "film.webp").exists()


def test_a_kind_of_value_that_is_none_is_told_where_no_protocol_has_a_level(scene, tmp_path):
    field = Density()
    field.kind = "heat"
    with pytest.raises(ContractBroken, match="kind is 'heat'") as caught:
        turntable(field, scene, tmp_path / "film.webp", frames=1, pixels=8)
    assert caught.value.hint == "Kinds: sdf, occupancy, density."
