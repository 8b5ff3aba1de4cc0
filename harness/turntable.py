"""A turntable: colour, depth, normals and opacity of a field from cameras on a circle, as pictures and as a film."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken, NfbenchError, NotFound, did_you_mean
from nfbench.harness.extraction import extracted, mesh_of
from nfbench.harness.image import quantise
from nfbench.harness.method import Meshed, Renders, Valued
from nfbench.harness.orbit import orbit
from nfbench.harness.png import write_png
from nfbench.harness.prediction import rendered
from nfbench.harness.scene import Float, Image, Mesh, Scene, Views
from nfbench.harness.video import check_ending, write_film
from nfbench.harness.view_maps import FieldMaps, Maps, MeshMaps, maps_of

if TYPE_CHECKING:
    from nfbench.harness.protocol import SurfaceSection

WHAT = ("colour", "depth", "normal", "opacity")
_SECONDS = 4.0  # for one turn
_RESOLUTION = 128  # of the extraction, where no protocol says another
_LEVELS = {"sdf": 0.0, "occupancy": 0.5, "density": 10.0}  # likewise
_SHARE = (1, 99)  # percentiles of the depths between which colours are spread
_LEGEND, _BAR = 22, 8  # pixels: height of the legend of depth, and of the bar in it
_FONT = 12
_INK = (30, 34, 42)
# viridis (van der Walt and Smith, matplotlib) at nine even places, near to far
_PALETTE = np.frombuffer(
    bytes.fromhex("fde725 addc30 5ec962 28ae80 21918c 2c728e 3b528b 472d7b 440154"), np.uint8
).reshape(-1, 3)


def turntable(
    field: object,
    scene: Scene,
    output: Path,
    frames: int = 60,
    pixels: int = 256,
    what: Sequence[str] = WHAT,
    section: SurfaceSection | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> list[str]:
    """Write a film of a field on a turntable, and its frames as PNGs; gives what is shown, from left to right.

    The frames lie beside the film: `NAME_frames/colour/0000.png` for a film called NAME.webp, and so on.
    Colour is what the field renders; of one that does not, its mesh, lit from the camera. Depth goes from yellow, near,
    to violet, far, the same in all frames, with a legend in scene units, and white where there is nothing. Normals are
    (n+1)/2 in the camera's axes, x to the right, y up, z towards the viewer. The last three are the field's own where
    it gives maps (`harness/view_maps.py`), else those of its mesh. What a field cannot give is left out.

    Args:
        field: a field that renders, or has values, a mesh or maps.
        scene: for its box, its background and the cameras that were given.
        output: ends in .webp, .gif, .png (animated) or .mp4.
        frames: in one turn.
        pixels: width and height of each picture.
        what: some of colour, depth, normal, opacity.
        section: the level and resolution of the mesh; without it 0, 0.5 or 10 by the kind of value, at 128 cells.
        progress: told the fraction done.

    Raises:
        NotFound: something else is asked for.
        NfbenchError: no frame, no pixel, an ending that is none, or nothing of what is asked for can be given.
        Unsupported: MP4 without PyAV.
        ContractBroken: the field renders or maps something wrong.
    """
    for name in what:
        if name not in WHAT:
            raise NotFound(f"A turntable has no {name!r}.", did_you_mean(name, WHAT, "pictures"))
    check_ending(output)
    cameras = orbit(scene, frames, pixels)
    seen = _Seen(field, scene, section)
    shown: dict[str, list[Image]] = {name: [] for name in what if seen.can(name)}
    if not shown:
        raise NfbenchError(f"{type(field).__name__} gives nothing of {', '.join(what)}.", "Ask for colour alone.")
    depths = []
    for index in range(frames):
        one = cameras[index]
        maps = seen.maps(one) if set(shown) - {"colour"} else None
        for name in shown:
            if name == "colour":
                shown[name].append(seen.colour(one))
            elif maps is not None and name == "depth":
                depths.append(maps.depth[0])
            elif maps is not None:
                shown[name].append(_normal(maps, one) if name == "normal" else _grey(maps.opacity[0]))
        progress((index + 1) / frames)
    if "depth" in shown:
        shown["depth"] = _painted(depths)
    folder = output.with_name(f"{output.stem}_frames")
    for name, images in shown.items():
        for old in (folder / name).glob("[0-9][0-9][0-9][0-9].png"):  # of a turntable with more frames
            old.unlink()
        for index, image in enumerate(images):
            write_png(folder / name / f"{index:04d}.png", image)
    write_film(output, [_side_by_side(images) for images in zip(*shown.values(), strict=True)], _SECONDS)
    return list(shown)


class _Seen:
    """A field with a mesh at its side, made where the field itself does not give what is asked for."""

    def __init__(self, field: object, scene: Scene, section: SurfaceSection | None) -> None:
        self._field, self._scene, self._section = field, scene, section
        self._cast: MeshMaps | None = None

    def can(self, name: str) -> bool:
        """Whether there is a picture of that name; normals of a field's own maps are found out by trying."""
        solid = isinstance(self._field, Valued | Meshed)
        if name == "colour":
            return solid or isinstance(self._field, Renders)
        if isinstance(self._field, Maps) and name == "normal" and not solid:
            return maps_of(self._field, orbit(self._scene, 1, 2)).normal is not None
        return solid or isinstance(self._field, Maps)

    def colour(self, camera: Cameras) -> Image:
        """uint8 (H,W,3)."""
        if isinstance(self._field, Renders):
            return rendered(self._field, Views(camera, ("turntable",), _no_image), 0)
        return quantise(self._mesh().shaded(camera, self._scene.background)[0])

    def maps(self, camera: Cameras) -> FieldMaps:
        """The field's own maps, its normals from the mesh where it gives none and has one."""
        if not isinstance(self._field, Maps):
            return self._mesh().maps(camera)
        own = maps_of(self._field, camera)
        if own.normal is not None or not isinstance(self._field, Valued | Meshed):
            return own
        return FieldMaps(own.depth, self._mesh().maps(camera).normal, own.opacity)

    def _mesh(self) -> MeshMaps:
        if self._cast is None:
            self._cast = MeshMaps(self._extracted())
        return self._cast

    def _extracted(self) -> Mesh:
        field, box = self._field, self._scene.box
        if self._section is not None:
            return mesh_of(field, box, self._section)
        if isinstance(field, Valued) and field.kind in _LEVELS:
            return extracted(field.value, box, _RESOLUTION, _LEVELS[field.kind], field.kind != "sdf", field.kind).mesh
        if not isinstance(field, Meshed):
            kind = getattr(field, "kind", None)
            raise ContractBroken(f"{type(field).__name__}.kind is {kind!r}.", f"Kinds: {', '.join(_LEVELS)}.")
        return field.mesh()


def _no_image(index: int) -> Image:
    raise NfbenchError("A view of a turntable has no image.")


def _normal(maps: FieldMaps, camera: Cameras) -> Image:
    """uint8 (H,W,3), white where there is nothing."""
    if maps.normal is None:
        return np.full((*maps.depth.shape[1:], 3), 255, np.uint8)
    turned = maps.normal[0].astype(np.float64) @ camera.c2w[0, :, :3].astype(np.float64) * (1, -1, -1)
    something = (maps.normal[0] != 0).any(-1, keepdims=True)
    return quantise(np.where(something, np.clip(turned / 2 + 0.5, 0, 1), 1.0))


def _grey(opacity: Float) -> Image:
    return quantise(np.repeat(opacity[:, :, None], 3, axis=2))


def _painted(depths: Sequence[Float]) -> list[Image]:
    """Pictures of depths (H,W), one scale for all, with a legend."""
    stack = np.stack(depths)
    finite = stack[np.isfinite(stack)]
    low, high = (float(n) for n in np.percentile(finite, _SHARE)) if len(finite) else (0.0, 1.0)
    high = max(high, low + 1e-6 * max(abs(low), 1))
    return [_with_legend(_viridis((depth - low) / (high - low)), low, high) for depth in depths]


def _viridis(share: NDArray[np.floating]) -> Image:
    """Colours uint8 (...,3) of numbers in [0,1]; white where infinite."""
    places = np.linspace(0, 1, len(_PALETTE))
    clipped = np.clip(np.where(np.isfinite(share), share, 0), 0, 1)
    colours = np.stack([np.interp(clipped, places, _PALETTE[:, channel]) for channel in range(3)], axis=-1)
    return np.where(np.isfinite(share)[..., None], np.rint(colours), 255).astype(np.uint8)


def _with_legend(image: Image, low: float, high: float) -> Image:
    """The picture over a bar and the two ends of the scale."""
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    height, width = image.shape[:2]
    texts = [f"{low:.3g}", f"{high:.3g}"]
    font: Any = ImageFont.load_default(_FONT)
    room = [int(font.getlength(text)) + 8 for text in texts]
    picture = Pillow.new("RGB", (width, height + _LEGEND), (255, 255, 255))
    picture.paste(Pillow.fromarray(image))
    draw = ImageDraw.Draw(picture)
    draw.text((4, height + 4), texts[0], fill=_INK, font=font)
    draw.text((width - room[1] + 4, height + 4), texts[1], fill=_INK, font=font)
    bar = max(width - sum(room), 1)
    colours = np.tile(_viridis(np.linspace(0, 1, bar)), (_BAR, 1, 1))
    picture.paste(Pillow.fromarray(colours), (room[0], height + (_LEGEND - _BAR) // 2))
    return np.asarray(picture)


def _side_by_side(images: Sequence[Image]) -> Image:
    """The pictures in a row, white below those that are lower."""
    height = max(len(image) for image in images)
    filled = [np.pad(i, ((0, height - len(i)), (0, 0), (0, 0)), constant_values=255) for i in images]
    return np.concatenate(filled, axis=1)
