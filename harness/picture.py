"""Pictures for the page: a few items of a run, prediction, truth and error, as small PNGs in the run's folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import NfbenchError
from nfbench.harness.image_scores import truth_image
from nfbench.harness.imagefile import read_image
from nfbench.harness.mesh import sample
from nfbench.harness.png import write_png
from nfbench.harness.prediction import MESH, measured_views
from nfbench.harness.protocol import Protocol
from nfbench.harness.scene import Image, Mesh, Points, Scene
from nfbench.harness.surfacefile import read_surface

VIEWS = 4
"""How many views of a scene get pictures."""
_SIDE = 240  # pixels of a surface picture
_POINTS = 200_000  # enough to cover its pixels without holes
_REACH = 0.72  # longest edges of the box that half a picture spans: a cube of its size is just within
_EYE = np.array([0.55, -0.75, 0.36])  # from the front right, a little above
_LIGHT = np.array([0.35, -0.6, 0.72])


def write_pictures(
    folder: Path, predictions: Path, scene: Scene, protocol: Protocol, files: Mapping[str, Path] | None = None
) -> None:
    """Write `pictures/`, `pictures/truth/` and `pictures/error/` into `folder` for the items that can be shown.

    Args:
        folder: of the run.
        predictions: the folder with the predictions.
        scene: with its truth.
        protocol: which says what is measured.
        files: item to its file, in place of the names in `predictions`.
    """
    shutil.rmtree(folder / "pictures", ignore_errors=True)  # those of an earlier submission under this name
    for sub in ("", "truth", "error"):
        (folder / "pictures" / sub).mkdir(parents=True, exist_ok=True)
    views = measured_views(scene, protocol)
    if protocol.image is not None and views is not None:
        for index in np.unique(np.linspace(0, len(views) - 1, VIEWS).astype(int)).tolist():
            name = views.names[index]
            file = predictions / f"{name}.png" if files is None else files.get(name)
            if file is not None and file.exists():
                _show_image(folder, name, file, truth_image(views, index, protocol.image.background))
    if protocol.surface is not None and scene.surface is not None:
        file = predictions / MESH if files is None else files.get(MESH)
        if file is not None and file.exists():
            _show_surface(folder, file, scene)


def _show_image(folder: Path, name: str, file: Path, truth: Image) -> None:
    try:
        prediction = read_image(file)[:, :, :3]
    except NfbenchError:  # a failed item: scoring has told why
        return
    if prediction.shape == truth.shape:
        _write(folder, name, prediction, truth)


def _show_surface(folder: Path, file: Path, scene: Scene) -> None:
    assert scene.surface is not None
    try:
        prediction = read_surface(file)
    except NfbenchError:
        return
    _write(folder, MESH, shaded(prediction, scene.box), shaded(scene.surface, scene.box))


def _write(folder: Path, name: str, prediction: Image, truth: Image) -> None:
    error = np.abs(prediction.astype(np.int16) - truth).astype(np.uint8)
    for sub, image in (("", prediction), ("truth", truth), ("error", error)):
        write_png(folder / "pictures" / sub / f"{name}.png", image)


def shaded(surface: Mesh | Points, box: NDArray[np.float32]) -> Image:
    """A picture of a surface, uint8 (240,240,3), by splatting points with normals; truth and prediction alike.

    A mesh is sampled; points without normals are shaded by depth. An empty mesh gives an empty picture.
    """
    if isinstance(surface, Mesh):
        if len(surface.faces) == 0:
            return np.full((_SIDE, _SIDE, 3), 255, np.uint8)
        return _splat(sample(surface, _POINTS, seed=0), box)
    return _splat(surface, box)


def _splat(points: Points, box: NDArray[np.float32]) -> Image:
    toward = _EYE / np.linalg.norm(_EYE)
    right = np.cross([0.0, 0.0, 1.0], toward)
    right /= np.linalg.norm(right)
    up = np.cross(toward, right)
    centre, reach = box.mean(0), _REACH * float((box[1] - box[0]).max())
    local = (points.xyz - centre) / reach
    x, y, nearness = local @ right, local @ up, local @ toward
    shade = 0.5 + 0.5 * nearness if points.normal is None else _lambert(points.normal, toward)
    colour = np.clip(shade[:, None] * np.array([0.62, 0.72, 0.86]) + 0.08, 0, 1)
    column, row = ((x + 1) / 2 * _SIDE).astype(int), ((1 - y) / 2 * _SIDE).astype(int)
    image = np.full((_SIDE, _SIDE, 3), 255, np.uint8)
    order = np.argsort(nearness)  # the nearest is written last and stays
    for dy in (0, 1):  # 2x2 pixels a point
        for dx in (0, 1):
            at = np.clip(row[order] + dy, 0, _SIDE - 1), np.clip(column[order] + dx, 0, _SIDE - 1)
            image[at] = np.rint(colour[order] * 255).astype(np.uint8)
    return image


def _lambert(normal: NDArray[np.float32], toward: NDArray[np.float64]) -> NDArray[np.float64]:
    facing = np.where((normal @ toward < 0)[:, None], -normal, normal)  # a back face is seen from inside
    light = _LIGHT / np.linalg.norm(_LIGHT)
    return np.asarray(0.35 + 0.65 * np.clip(facing @ light, 0, 1))
