"""explain-gap on images: every setting in which two images can be compared, and every measure of them there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from nfbench.harness import image as images
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.gap import Choices, Convention, Found
from nfbench.harness.gap_measures import (
    ALL,
    BLACKENED,
    DIVIDED,
    FOREGROUND,
    FULL,
    ROUNDED,
    Comparison,
    Measures,
    Setting,
)
from nfbench.harness.gap_reported import Number
from nfbench.harness.imagefile import read_image
from nfbench.harness.prediction import measured_views
from nfbench.harness.protocol import ImageSection, Protocol
from nfbench.harness.scene import Image, Scene, Views

TRUNCATED = "truth truncated to 8 bit"
EXACT = "truth not rounded to 8 bit"
BRIGHTER = "prediction half a level brighter, what truncation took on average"
_FILTERS = {
    "box": Pillow.Resampling.BOX,
    "bilinear": Pillow.Resampling.BILINEAR,
    "bicubic": Pillow.Resampling.BICUBIC,
    "Lanczos": Pillow.Resampling.LANCZOS,
    "nearest": Pillow.Resampling.NEAREST,
}
_COLOURS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0)}
_MOST_THREADS = 8
_NAMED = 5

PER_IMAGE = "over the images of each scene, then over scenes"
POOLED = "over all images of all scenes"
OF_ERRORS = "PSNR of the mean squared error"


@dataclass(frozen=True, eq=False)
class _Pictures:
    """The images of one scene, and what can be tried on them; `resized`: the predictions are smaller than the truth."""

    views: Views
    files: Mapping[str, Path]
    has_alpha: bool
    has_mask: bool
    resized: bool

    def prediction(self, index: int) -> Image:
        """One prediction, (H,W,3), of the size of its view, or smaller where the first is."""
        file = self.files[self.views.names[index]]
        prediction = read_image(file)
        if prediction.shape[2] == 4 and prediction[:, :, 3].min() < 255:
            raise DataCorrupt(f"{file} has transparent pixels.", "Composite it on a background, save as RGB.")
        height, width = prediction.shape[:2]
        columns, rows = self.views.cameras.size[index].tolist()
        fits = (width, height) != (columns, rows) and width <= columns and height <= rows
        if not (fits if self.resized else (width, height) == (columns, rows)):
            raise DataCorrupt(
                f"{file} is {width}x{height} pixels, its view is {columns}x{rows}.",
                "Render all at the size of the dataset, or all smaller.",
            )
        return np.ascontiguousarray(prediction[:, :, :3])


def measure(
    reported: Mapping[str, Number],
    scenes: Sequence[tuple[Scene, Mapping[str, Path]]],
    protocol: Protocol,
    *,
    lpips_weights: Sequence[Path] = (),
    progress: Callable[[str, float], None] = lambda scene, fraction: None,
) -> Found:
    """Every convention of the reported numbers on these predictions.

    Args:
        reported: numbers about images.
        scenes: each with the files of its predictions by item.
        protocol: which compares images; its choices are the protocol's own.
        lpips_weights: files with LPIPS trunk weights; the torch hub cache is looked at otherwise.
        progress: told the scene and the fraction done of it.

    Raises:
        DataMissing: predictions that are missing.
        DataCorrupt: predictions that are damaged, transparent, or larger than the truth.
    """
    section = protocol.image
    assert section is not None
    found = Found()
    pictures = [_look(scene, files, protocol) for scene, files in scenes]
    own = background_name(section.background)
    measures = Measures(reported, section, own, lpips_weights, found.left_out)
    settings = list(_settings(pictures, section, found.left_out))
    raw: list[dict[tuple[str, Choices], NDArray[np.float64]]] = []
    for (scene, _), each in zip(scenes, pictures, strict=True):
        raw.append(_scene(each, settings, section, measures, lambda f, n=scene.name: progress(n, f)))  # type: ignore[misc]
    for name, number in reported.items():
        of_family = {c for one in raw for family, c in one if family == number.family.name}
        every = [
            c for choices in sorted(of_family) for c in _means(number, choices, raw, measures.is_own(name, choices))
        ]
        found.conventions[name] = sorted(every, key=lambda c: not c.own)
    return found


def _look(scene: Scene, files: Mapping[str, Path], protocol: Protocol) -> _Pictures:
    views = measured_views(scene, protocol)
    if views is None or not len(views):
        raise DataMissing(f"Scene {scene.name!r} has no views to compare.", "Choose a task with test views.")
    missing = [f"{name}.png" for name in views.names if name not in files]
    if missing:
        named = ", ".join(missing[:_NAMED]) + (" …" if len(missing) > _NAMED else "")
        raise DataMissing(
            f"Scene {scene.name!r}: {len(missing)} of {len(views)} predictions missing: {named}.",
            "A mean over other images explains nothing: add them, or thin with --test-every.",
        )
    first = views.image(0)
    has_alpha = first.shape[2] == 4
    resized = read_image(files[views.names[0]]).shape[:2] != first.shape[:2]
    return _Pictures(views, files, has_alpha, has_alpha or views.load_mask is not None, resized)


def _settings(pictures: Sequence[_Pictures], section: ImageSection, left_out: list[str]) -> Iterator[Setting]:
    """Every background with one other axis changed, and every quantisation on the protocol's background.

    Changes are not combined further: with enough of them every number is hit by chance.
    """
    own = background_name(section.background)
    backgrounds, rounding, pixels, masked = [own], [BRIGHTER], [ALL], [ALL]
    if all(each.has_alpha for each in pictures):
        backgrounds += [name for name in _COLOURS if name != own]
        rounding += [EXACT, TRUNCATED]
    else:
        left_out.append(
            "background and rounding of the truth: the true images have no alpha, they are 8 bit as they are."
        )
    if all(each.has_mask for each in pictures):
        pixels += [FOREGROUND, BLACKENED, DIVIDED]
        masked += [FOREGROUND] if any(column.masked for column in section.columns.values()) else []
    else:
        left_out.append("masked scores: the dataset has neither masks nor alpha.")
    left_out.append("float predictions: the files are 8 bit; how they were rounded shows on average only.")
    sizes = [f"half, {name} filter" for name in _FILTERS]
    if any(each.resized for each in pictures):
        left_out.append(
            "the protocol's own row: predictions are not of the size of the truth, nfbench would refuse them."
        )
        sizes = [f"truth made as small as the prediction, {name} filter" for name in _FILTERS]
    else:
        yield from (Setting(b, ROUNDED, FULL, p) for b in backgrounds for p in pixels)
        yield from (Setting(own, q, FULL, p) for q in rounding for p in masked)
    yield from (Setting(b, ROUNDED, size, p) for b in backgrounds for size in sizes for p in masked)


def background_name(colour: tuple[float, float, float]) -> str:
    """`white`, `black`, or the numbers."""
    return next((name for name, value in _COLOURS.items() if value == tuple(colour)), str(tuple(colour)))


def _scene(
    pictures: _Pictures,
    settings: Sequence[Setting],
    section: ImageSection,
    measures: Measures,
    progress: Callable[[float], None],
) -> dict[tuple[str, Choices], NDArray[np.float64]]:
    """Family and choices to the value of each image, for what every image can be measured by."""

    def one(index: int) -> dict[tuple[str, Choices], float]:
        view, prediction = pictures.views.image(index), pictures.prediction(index)
        mask = pictures.views.mask(index) if pictures.has_mask else None
        values: dict[tuple[str, Choices], float] = {}
        for setting in settings:
            compared = _compared(prediction, view, mask, setting, section)
            for family, choices, value in measures(compared):
                values[family, (*setting.choices(), *choices)] = value
        return values

    every: list[dict[tuple[str, Choices], float]] = []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for values in pool.map(one, range(len(pictures.views))):
            every.append(values)
            progress(len(every) / len(pictures.views))
    table = {key: np.array([values.get(key, np.nan) for values in every]) for key in every[0]}
    return {key: values for key, values in table.items() if not np.isnan(values).any()}


def _compared(
    prediction: Image, view: Image, mask: NDArray[np.bool_] | None, setting: Setting, section: ImageSection
) -> Comparison:
    """Both images and the mask as the setting has them."""
    colour = _COLOURS.get(setting.background, section.background)
    if setting.size != FULL:
        truth = images.flattened(view, colour)
        size = prediction.shape[:2]
        if size == truth.shape[:2]:
            size = (max(1, size[0] // 2), max(1, size[1] // 2))
        method = next(method for name, method in _FILTERS.items() if setting.size.endswith(f", {name} filter"))
        prediction, truth = _resize(prediction, size, method), _resize(truth, size, method)
        if mask is not None:
            mask = _resize(np.uint8(255) * mask.astype(np.uint8), size, Pillow.Resampling.BOX) >= 128
        return Comparison(setting, prediction, truth, mask)
    if setting.quantisation == ROUNDED:
        return Comparison(setting, prediction, images.flattened(view, colour), mask)
    exact = images.composite(view, colour)
    if setting.quantisation == TRUNCATED:
        return Comparison(setting, prediction, (exact * np.float32(255)).astype(np.uint8), mask)
    ours = prediction.astype(np.float32) / 255
    if setting.quantisation == BRIGHTER:
        return Comparison(setting, np.minimum(ours + np.float32(0.5 / 255), 1), exact, mask)
    return Comparison(setting, ours, exact, mask)


def _resize(image: Image, size: tuple[int, ...], method: Pillow.Resampling) -> Image:
    if image.shape[:2] == size:
        return image
    return np.asarray(Pillow.fromarray(image).resize((size[1], size[0]), method))


def _means(
    number: Number,
    choices: Choices,
    raw: Sequence[Mapping[tuple[str, Choices], NDArray[np.float64]]],
    own: bool,
) -> Iterator[Convention]:
    """The ways to make one number of all images' values."""
    key = (number.family.name, choices)
    if not all(key in one for one in raw):
        return
    scenes = [one[key] for one in raw]
    pooled = np.concatenate(scenes)
    several = len(scenes) > 1
    usual = PER_IMAGE if several else "over the images"
    yield Convention((*choices, ("mean", usual)), float(np.mean([one.mean() for one in scenes])), own=own)
    if several:
        yield Convention((*choices, ("mean", POOLED)), float(pooled.mean()))
    if number.family.name == "psnr":
        errors = [float(np.mean(10 ** (-one / 10))) for one in scenes]
        if not several:
            yield Convention((*choices, ("mean", OF_ERRORS)), _decibels(errors[0]))
            return
        each = float(np.mean([_decibels(error) for error in errors]))
        yield Convention((*choices, ("mean", f"{OF_ERRORS} of each scene")), each)
        total = float(np.mean(10 ** (-pooled / 10)))
        yield Convention((*choices, ("mean", f"{OF_ERRORS} of all images")), _decibels(total))


def _decibels(error: float) -> float:
    return float("inf") if error == 0 else float(-10 * np.log10(error))
