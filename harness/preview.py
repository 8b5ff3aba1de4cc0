"""`nfbench inspect --preview`: one picture of a scene, from above and from the side, and a few of its given views."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, local_rays
from nfbench.harness.dataset import detect, loader, scene_name
from nfbench.harness.errors import DataMissing, NfbenchError
from nfbench.harness.inspection import known_points, mask_of
from nfbench.harness.png import write_png
from nfbench.harness.scene import Image, Scene, Views

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

IMAGES = 8
"""How many given views are shown at most."""

_WIDTH, _PLAN, _TITLE, _GAP, _CAPTION = 1240, 520, 76, 12, 22  # pixels
_ACROSS = 4  # images a row
_TILE = (_WIDTH - (_ACROSS + 1) * _GAP) // _ACROSS
_POINTS = 60_000  # enough for a dense outline of a panel
_FRUSTA = 120  # of each kind at most: more hide each other
_REACH = (0.03, 0.07)  # least and greatest length of a frustum, in widths of what a panel shows
_SHARE = (0.01, 0.99)  # of the points a panel holds along each axis; the few astray ones are cut off
_FONT = 15
_PAPER, _INK, _FAINT = (255, 255, 255), (30, 34, 42), (214, 218, 226)
_GIVEN, _HIDDEN, _BOX, _CLOUD = (24, 98, 196), (222, 110, 12), (14, 134, 74), (128, 120, 140)
_OUTLINE = (235, 0, 140)
_UPRIGHT = np.array([[[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0]]])  # a camera that looks along x, z up

Reals = NDArray[np.float64]
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class _Plan:
    """A view along an axis: where in the picture points of space come to lie.

    Attributes:
        title: what is shown, and which axes.
        axes: (2,3), of length 1: to the right and upwards.
        centre: (2,) along these, in the middle.
        scale: pixels a scene unit.
        corner: left and top of the panel in the picture, pixels.
        side: its width, pixels; it is `_PLAN` high.
    """

    title: str
    axes: Reals
    centre: Reals
    scale: float
    corner: tuple[int, int]
    side: int

    def place(self, xyz: NDArray[np.floating]) -> Reals:
        """(P,2) pixels of the picture, x and y, of points (P,3)."""
        flat = (np.asarray(xyz, np.float64) @ self.axes.T - self.centre) * self.scale
        return np.asarray(flat * (1, -1) + (self.corner[0] + self.side / 2, self.corner[1] + _PLAN / 2))


def write_preview(path: Path, file: Path, format: str | None = None) -> None:
    """Write a picture, `file`, of the first scene of a folder that can be opened.

    Raises:
        DataMissing: no such folder, no known format in it, or no scene that can be opened.
        NfbenchError: a name that does not end in .png.
    """
    if file.suffix.lower() != ".png":
        raise NfbenchError(f"A preview is a PNG; {file} is not called so.", "Give a name that ends in .png.")
    spec, folders = detect(path, format)
    module = loader(spec)
    for number, folder in enumerate(folders):
        try:
            scene = module.read(folder)
        except NfbenchError:  # inspect has told
            continue
        of = f", scene {number + 1} of {len(folders)}" if len(folders) > 1 else ""
        write_png(file, preview(scene, f"{scene_name(folder, module)}  ({spec.name}{of})"))
        return
    raise DataMissing(f"No scene of {path} can be opened: there is nothing to draw.", "nfbench inspect says why.")


def preview(scene: Scene, title: str) -> Image:
    """A picture of a scene, uint8 (H,1240,3): frusta, box and points twice, then given views, their masks outlined.

    A view that cannot be decoded gets an empty tile that says so.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw

    views = scene.given.views
    chosen = [] if views is None else _evenly(len(views), IMAGES)
    tiles = [] if views is None else [(views.names[index], _tile(views, index)) for index in chosen]
    rows = [tiles[i : i + _ACROSS] for i in range(0, len(tiles), _ACROSS)]
    top = _TITLE + _PLAN + _GAP
    height = top + sum(max(tile.height for _, tile in row) + _CAPTION + _GAP for row in rows)
    picture = Pillow.new("RGB", (_WIDTH, height), _PAPER)
    xyz, what = _points(scene)
    for plan in _plans(scene, xyz):
        _draw_plan(picture, plan, scene, xyz)
    _draw_title(ImageDraw.Draw(picture), scene, title, f"{len(xyz)} {what}" if len(xyz) else "")
    for row in rows:
        for column, (name, tile) in enumerate(row):
            left = _GAP + column * (_TILE + _GAP)
            picture.paste(tile, (left, top))
            draw = ImageDraw.Draw(picture)
            draw.rectangle((left - 1, top - 1, left + tile.width, top + tile.height), outline=_FAINT)
            _write(draw, (left, top + tile.height + 2), _cut(name, _TILE))
        top += max(tile.height for _, tile in row) + _CAPTION + _GAP
    return np.asarray(picture)


def _points(scene: Scene) -> tuple[NDArray[np.float32], str]:
    """Points (P,3) of the shape, and what they are: of its surface or cloud, else given samples or voxels inside."""
    xyz = known_points(scene, _POINTS)
    if len(xyz):
        of = "true surface" if scene.surface is not None else "given cloud"
        return xyz, f"point{'s' if len(xyz) > 1 else ''} of the {of}"
    samples, voxels = scene.given.samples, scene.given.voxels
    if samples is not None and samples.value is not None and samples.kind in ("sdf", "occupancy"):
        inside = samples.xyz[samples.value < 0 if samples.kind == "sdf" else samples.value >= 0.5]
        return inside[_evenly(len(inside), _POINTS)], "of the given samples, inside"
    if voxels is not None:
        filled = voxels.centres()[voxels.filled.reshape(-1)]
        return filled[_evenly(len(filled), _POINTS)], "of the filled voxels"
    return xyz, ""


def _draw_title(draw: ImageDraw, scene: Scene, title: str, points: str) -> None:
    given, hidden = _cameras(scene)
    _write(draw, (_GAP, 8), _cut(title, _WIDTH - 2 * _GAP, _FONT + 5), size=_FONT + 5)
    edges = " x ".join(f"{edge:.3g}" for edge in (scene.box[1] - scene.box[0]).tolist())
    unit = "scene units" if scene.unit is None else f"units of {scene.unit:g} m"
    parts = [
        (_GIVEN, f"{len(given)} given view{'s' if len(given) > 1 else ''}" if given else ""),
        (_HIDDEN, f"{len(hidden)} hidden view{'s' if len(hidden) > 1 else ''}" if hidden else ""),
        (_BOX, f"box of {edges} {unit}"),
        (_CLOUD, points),
    ]
    left = float(_GAP)
    for colour, label in parts:
        if label:
            draw.rectangle((left, 44, left + 12, 56), fill=colour)
            _write(draw, (left + 18, 41), label)
            left += 18 + _font(_FONT).getlength(label) + 26


def _cameras(scene: Scene) -> tuple[Cameras | tuple[()], Cameras | tuple[()]]:
    given, hidden = scene.given.views, scene.hidden
    return () if given is None else given.cameras, () if hidden is None else hidden.cameras


def _plans(scene: Scene, xyz: NDArray[np.float32]) -> tuple[_Plan, _Plan]:
    """From above and from the side: the axis nearest to what is up in the images is up, z without images.

    To the right goes the level axis along which most is looked, so that what the cameras face is seen from its side.
    """
    cameras = [found for found in _cameras(scene) if found]
    poses = np.concatenate([found.c2w for found in cameras]) if cameras else _UPRIGHT
    lifted, ahead = -poses[:, :, 1].mean(0), np.abs(poses[:, :, 2]).mean(0)
    axis = int(np.argmax(np.abs(lifted)))
    up = np.eye(3)[axis] * (-1.0 if lifted[axis] < 0 else 1.0)
    ahead[axis] = -1
    right = np.eye(3)[np.argmax(ahead)]
    shown: list[NDArray[np.floating]] = [scene.box, *(found.centres for found in cameras)]
    if len(xyz):
        shown.append(np.quantile(xyz, _SHARE, axis=0))
    everything = np.concatenate(shown, dtype=np.float64)
    side = (_WIDTH - 3 * _GAP) // 2
    names = ("from above", "from the side") if cameras else ("along -z", "along y")
    plans = []
    for number, axes in enumerate(((right, np.cross(up, right)), (right, up))):
        flat = everything @ np.array(axes).T
        low, high = flat.min(0), flat.max(0)
        scale = float(np.min(np.array([side, _PLAN]) * 0.84 / np.maximum(high - low, 1e-12)))
        title = f"{names[number]}: {_axis(axes[0])} to the right, {_axis(axes[1])} upwards"
        plans.append(
            _Plan(title, np.array(axes), (low + high) / 2, scale, (_GAP + number * (side + _GAP), _TITLE), side)
        )
    return plans[0], plans[1]


def _axis(direction: Reals) -> str:
    axis = int(np.argmax(np.abs(direction)))
    return ("-" if direction[axis] < 0 else "") + "xyz"[axis]


def _draw_plan(picture: Picture, plan: _Plan, scene: Scene, xyz: NDArray[np.float32]) -> None:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    left, top = plan.corner
    panel = np.full((_PLAN, plan.side, 3), 255, np.uint8)
    at = np.floor(plan.place(xyz) - (left, top)).astype(np.int64)
    at = at[((at >= 0) & (at < (plan.side, _PLAN))).all(1)]
    panel[at[:, 1], at[:, 0]] = _CLOUD
    cut = Pillow.fromarray(panel)  # what is drawn beyond its edges is lost
    draw = ImageDraw.Draw(cut)
    corners = scene.box[[[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], [0, 1, 2]]
    for first in range(8):
        for second in (first | 1, first | 2, first | 4):
            if second != first:
                _line(draw, plan, corners[[first, second]], _BOX, 2)
    given, hidden = _cameras(scene)
    reach = _reach([cameras.centres for cameras in (given, hidden) if cameras], plan)
    for cameras, colour in ((hidden, _HIDDEN), (given, _GIVEN)):  # the given ones on top
        for index in _evenly(len(cameras), _FRUSTA):
            _draw_frustum(draw, plan, _frustum(cameras, index, reach), colour)
    draw.rectangle((0, 0, plan.side - 1, _PLAN - 1), outline=_FAINT)
    draw.rectangle((6, 5, 16 + _font(_FONT).getlength(plan.title), 27), fill=_PAPER)
    _write(draw, (10, 6), plan.title)
    picture.paste(cut, plan.corner)


def _evenly(count: int, most: int) -> list[int]:
    """Up to `most` of `count` indices, the first and the last among them."""
    chosen: list[int] = np.unique(np.linspace(0, count - 1, most).astype(int)).tolist() if count else []
    return chosen


def _reach(centres: list[NDArray[np.float32]], plan: _Plan) -> float:
    """How long frusta are, scene units: the less room there is between cameras, the shorter."""
    least, most = (share * plan.side / plan.scale for share in _REACH)
    places = np.concatenate([group[_evenly(len(group), _FRUSTA)] for group in centres]) if centres else np.empty((0, 3))
    if len(places) < 2:
        return most
    apart = np.linalg.norm(places[:, None] - places, axis=2)
    np.fill_diagonal(apart, np.inf)
    return float(np.clip(1.5 * np.median(apart.min(1)), least, most))


def _frustum(cameras: Cameras | tuple[()], index: int, reach: float) -> Reals:
    """(5,3) the centre of a camera and the corners of its image, `reach` in front of it."""
    assert cameras
    width, height = cameras.size[index].tolist()
    local = local_rays(cameras, index, np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64))
    local *= reach / np.maximum(np.linalg.norm(local, axis=1, keepdims=True), 1e-12)
    pose = cameras.c2w[index].astype(np.float64)
    return np.concatenate([pose[:, 3:].T, local @ pose[:, :3].T + pose[:, 3]])


def _draw_frustum(draw: ImageDraw, plan: _Plan, ends: Reals, colour: Colour) -> None:
    for corner in range(1, 5):
        _line(draw, plan, ends[[0, corner]], colour, 1)
        _line(draw, plan, ends[[corner, corner % 4 + 1]], colour, 1)
    x, y = (plan.place(ends[:1])[0] - plan.corner).tolist()
    draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)


def _line(draw: ImageDraw, plan: _Plan, ends: NDArray[np.floating], colour: Colour, width: int) -> None:
    draw.line([tuple(place) for place in (plan.place(ends) - plan.corner).tolist()], fill=colour, width=width)


def _tile(views: Views, index: int) -> Picture:
    """A given view over white, as wide as a tile, no taller than wide, with the outline of its mask."""
    from PIL import Image as Pillow
    from PIL import ImageDraw

    try:
        image = views.image(index)
        mask = mask_of(views, index, image)
    except (NfbenchError, OSError):
        tile = Pillow.new("RGB", (_TILE, _TILE // 3), _FAINT)
        _write(ImageDraw.Draw(tile), (_GAP, _GAP), "cannot be decoded: see --check")
        return tile
    height, width = image.shape[:2]
    scale = min(_TILE / width, _TILE / height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    whole = Pillow.fromarray(image).convert("RGBA")
    whole = Pillow.alpha_composite(Pillow.new("RGBA", whole.size, (*_PAPER, 255)), whole).convert("RGB")
    tile = whole.resize(size, Pillow.Resampling.BOX if scale < 1 else Pillow.Resampling.NEAREST)
    if mask is None:
        return tile
    small = np.asarray(Pillow.fromarray(mask.astype(np.uint8) * 255).resize(size, Pillow.Resampling.NEAREST)) > 0
    drawn = np.array(tile)
    drawn[_outline(small)] = _OUTLINE
    return Pillow.fromarray(drawn)


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H,W) bool, the pixels of a mask (H,W) beside one that is not of it."""
    wide = np.pad(mask, 1, mode="edge")
    inner: NDArray[np.bool_] = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def _font(size: int) -> FreeTypeFont | ImageFont:
    from PIL.ImageFont import load_default

    return load_default(size)


def _write(draw: ImageDraw, place: tuple[float, float], text: str, size: int = _FONT) -> None:
    draw.text(place, text, fill=_INK, font=_font(size))


def _cut(text: str, width: float, size: int = _FONT) -> str:
    """The text, shortened to its end where it is wider than `width` pixels."""
    font = _font(size)
    while font.getlength(text) > width and len(text) > 1:
        text = "…" + text[2:]
    return text
