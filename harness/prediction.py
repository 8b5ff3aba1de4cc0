"""What a field predicts, written to disk: 8-bit PNGs by view name and one mesh. Scores are measured on these files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from nfbench.harness.errors import ContractBroken
from nfbench.harness.extraction import surface_of
from nfbench.harness.image import quantise
from nfbench.harness.meshfile import write_ply
from nfbench.harness.method import Meshed, Renders, Valued
from nfbench.harness.png import write_png
from nfbench.harness.protocol import Protocol
from nfbench.harness.scene import Image, Scene, Views

MESH = "mesh.ply"


def sections(scene: Scene, protocol: Protocol) -> list[str]:
    """Which of `image` and `surface` the protocol asks for and this scene has truth of."""
    found = ["image"] if measured_views(scene, protocol) is not None else []
    return found + (["surface"] if protocol.surface is not None and scene.surface is not None else [])


def measured_views(scene: Scene, protocol: Protocol) -> Views | None:
    """The views whose images the protocol compares: those held out, or the given ones where it says so."""
    if protocol.image is None:
        return None
    return scene.hidden if protocol.image.views == "hidden" else scene.given.views


def on_background(scene: Scene, protocol: Protocol) -> Scene:
    """The scene on the background that the protocol asks for, where it measures images."""
    return scene if protocol.image is None else replace(scene, background=protocol.image.background)


def unsupported(field: object, wanted: list[str]) -> list[str]:
    """The wanted sections that the field has no means to answer."""
    able = {"image": isinstance(field, Renders), "surface": isinstance(field, Valued | Meshed)}
    return [section for section in wanted if not able[section]]


def predict(
    field: object,
    scene: Scene,
    protocol: Protocol,
    folder: Path,
    progress: Callable[[float], None] = lambda fraction: None,
) -> dict[str, float]:
    """Write NAME.png for every measured view and mesh.ply for the surface, as far as protocol and field go.

    Gives what a reader of the scores should know of how the surface was extracted, plain numbers by name.

    Raises:
        ContractBroken: the field gives a wrong shape, type or NaN; it names the view.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wanted = sections(scene, protocol)
    views = measured_views(scene, protocol)
    if views is not None and isinstance(field, Renders):
        for index, name in enumerate(views.names):
            write_png(folder / f"{name}.png", rendered(field, views, index))
            progress((index + 1) / len(views))
    if "surface" in wanted and protocol.surface is not None and isinstance(field, Valued | Meshed):
        found = surface_of(field, scene.box, protocol.surface)
        write_ply(folder / MESH, found.mesh)
        return found.facts()
    return {}


def rendered(field: Renders, views: Views, index: int) -> Image:
    """One view, asked of the field by its camera alone: uint8 (H,W,3), rounded.

    Raises:
        ContractBroken: a wrong shape, a type that is not float, NaN, or values out of [0,1]; it names the view.
    """
    camera = views.cameras[index]
    width, height = camera.size[0].tolist()
    where = f"render of view {views.names[index]!r}"
    answer = field.render(camera)
    try:
        images = np.asarray(answer)
    except (RuntimeError, TypeError) as error:  # a tensor with gradients, or on a GPU
        raise ContractBroken(f"{where} is no array: {error}", "Return tensor.detach().cpu().numpy().") from error
    if images.shape != (1, height, width, 3):
        raise ContractBroken(f"{where} has shape {images.shape}, not (1, {height}, {width}, 3).", "See Renders.render.")
    if not np.issubdtype(images.dtype, np.floating):
        raise ContractBroken(f"{where} is {images.dtype}, not float.", "Render floats in [0,1]; nfbench rounds them.")
    if not np.isfinite(images).all():
        count = int((~np.isfinite(images)).any(-1).sum())
        raise ContractBroken(f"{where} holds NaN or infinity in {count} pixels.", "Look at the field's last steps.")
    low, high = float(images.min()), float(images.max())
    if low < -_SLACK or high > 1 + _SLACK:
        raise ContractBroken(f"{where} spans [{low:.3g}, {high:.3g}], not [0, 1].", "Clip or rescale the colours.")
    return quantise(np.clip(images[0], 0, 1))


_SLACK = 0.02  # interpolation may overshoot a little; a picture in 0..255 or in linear HDR must not pass
