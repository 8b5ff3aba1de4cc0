"""Predicted images against true ones: read, measured and told of in order, several at a time in bounded memory.

Decoding, PSNR and SSIM release the interpreter's lock, so threads serve as well as processes and share what is
compiled. LPIPS follows in the caller's thread, since torch spreads one image over all cores by itself.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from nfbench.harness import image as images
from nfbench.harness.cachefolder import default_cache
from nfbench.harness.column import ImageColumn, Lpips, MsSsim, Psnr, Ssim
from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.imagefile import read_image
from nfbench.harness.protocol import ImageSection
from nfbench.harness.scene import Image, Views
from nfbench.harness.ssim import window

Mask = NDArray[np.bool_]
Measure = Callable[[Image, Image, Mask | None], float]
T = TypeVar("T")

_AHEAD = 2  # images that wait for each thread: enough that none idles, few enough for any memory
_MOST_THREADS = 8  # beyond this the disk and LPIPS set the pace


@dataclass(frozen=True)
class Measured:
    """One image: its name, column to value, and the SHA-256 of both sides."""

    name: str
    values: dict[str, float]
    prediction: bytes
    truth: bytes


@dataclass(frozen=True, eq=False)
class _Pair:
    name: str
    prediction: Image
    truth: Image
    mask: Mask | None


def measure(
    files: Mapping[str, Path],
    views: Views,
    section: ImageSection,
    *,
    device: str = "cpu",
    lpips_weights: Sequence[Path] = (),
    unmeasured: dict[str, str] | None = None,
    failed: dict[str, str] | None = None,
) -> Iterator[Measured]:
    """The scores of each image, in the order of `views`.

    Args:
        files: name of a view to the file with its prediction; views without a file are left out.
        views: with the true images.
        section: every choice.
        device: where LPIPS runs, and PSNR and SSIM where it is a GPU.
        lpips_weights: files with trunk weights; the torch hub cache is looked at otherwise.
        unmeasured: takes column to reason where a column cannot be measured at all.
        failed: takes name to reason where a prediction cannot be measured; without it, that is raised.

    Raises:
        DataMissing: a masked column, and a view without a mask, or with an empty one.
        DataCorrupt: a prediction is no opaque 8-bit RGB image of the size of its view.
    """
    quick, slow = _measures(section.columns, {} if unmeasured is None else unmeasured, device, lpips_weights)
    masked = {name for name, column in section.columns.items() if column.masked}
    wanted = [index for index, name in enumerate(views.names) if name in files]

    def one(index: int) -> tuple[_Pair, Measured] | DataCorrupt:
        name = views.names[index]
        truth, mask = _truth(views, index, section, bool(masked))
        try:
            pair = _Pair(name, _prediction(files[name], truth), truth, mask)
        except DataCorrupt as error:
            return error
        return pair, _finish(pair, {name: _value(pair, quick[name], name in masked) for name in quick})

    for index, answer in zip(wanted, _in_order(one, wanted), strict=True):
        if isinstance(answer, DataCorrupt):
            if failed is None:
                raise answer
            failed[views.names[index]] = answer.message
            continue
        pair, found = answer
        found.values.update({name: _value(pair, slow[name], name in masked) for name in slow})
        yield found


def _in_order(one: Callable[[int], T], wanted: Iterable[int]) -> Iterator[T]:
    """What `one` gives of each, in order, a few threads ahead."""
    threads = min(_MOST_THREADS, os.cpu_count() or 1)
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for index in wanted:
                waiting.append(pool.submit(one, index))
                if len(waiting) > threads * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def truth_image(views: Views, index: int, background: tuple[float, float, float]) -> Image:
    """The view as predictions are measured against it: over the background, rounded, uint8 (H,W,3)."""
    return images.flattened(views.image(index), background)


def _truth(views: Views, index: int, section: ImageSection, masked: bool) -> tuple[Image, Mask | None]:
    truth = truth_image(views, index, section.background)
    mask = views.mask(index) if masked else None
    if mask is not None and not mask.any():
        raise DataMissing(f"The mask of view {views.names[index]!r} is empty.", "Leave the view out of the test split.")
    return truth, mask


def _prediction(file: Path, truth: Image) -> Image:
    prediction = read_image(file)
    if prediction.shape[2] == 4 and prediction[:, :, 3].min() < 255:
        raise DataCorrupt(f"{file} has transparent pixels.", "Composite it on the protocol's background, save as RGB.")
    if prediction.shape[:2] != truth.shape[:2]:
        raise DataCorrupt(
            f"{file} is {prediction.shape[1]}x{prediction.shape[0]} pixels, "
            f"the test view is {truth.shape[1]}x{truth.shape[0]}.",
            "Render at the size of the dataset; nfbench does not resize.",
        )
    return np.ascontiguousarray(prediction[:, :, :3])


def _value(pair: _Pair, measure: Measure, masked: bool) -> float:
    try:
        return measure(pair.prediction, pair.truth, pair.mask if masked else None)
    except NfbenchError as error:
        raise type(error)(f"View {pair.name!r}: {error.message}", error.hint) from error


def _finish(pair: _Pair, values: dict[str, float]) -> Measured:
    digests = (hashlib.sha256(image.tobytes()).digest() for image in (pair.prediction, pair.truth))
    return Measured(pair.name, values, *digests)


def _measures(
    columns: Mapping[str, ImageColumn], unmeasured: dict[str, str], device: str, weights: Sequence[Path]
) -> tuple[dict[str, Measure], dict[str, Measure]]:
    """Column to measure, for the threads and for the caller; what has no weights here goes to `unmeasured`."""
    quick: dict[str, Measure] = {}
    slow: dict[str, Measure] = {}
    for name, column in columns.items():
        if isinstance(column, Lpips):
            try:
                slow[name] = _lpips(column, device, weights)
            except DataMissing:
                unmeasured[name] = f"no weights for {column.net} here; nfbench doctor says where they go"
        elif device != "cpu" and (found := _on_gpu(column, device)) is not None:
            slow[name] = found
        else:
            quick[name] = _of_pixels(column)
    return quick, slow


def _on_gpu(column: Psnr | Ssim | MsSsim, device: str) -> Measure | None:
    """The column by torch, None for those that have no such twin."""
    from nfbench.harness import image_torch

    if isinstance(column, Psnr):
        return lambda prediction, truth, mask: image_torch.psnr(prediction, truth, mask, device)
    if isinstance(column, MsSsim) or column.variant.startswith("matlab"):
        return None
    around = window(column.size, column.sigma, column.covariance, column.variant)
    return lambda prediction, truth, mask: image_torch.ssim(prediction, truth, around, mask, device)


def _of_pixels(column: Psnr | Ssim | MsSsim) -> Measure:
    if isinstance(column, Ssim):
        choices = column.model_dump(include={"variant", "size", "sigma", "covariance"})
        return lambda prediction, truth, mask: float(images.ssim(prediction, truth, mask=mask, **choices))
    if isinstance(column, MsSsim):
        return lambda prediction, truth, mask: float(images.ms_ssim(prediction, truth, mask=mask))
    return lambda prediction, truth, mask: float(images.psnr(prediction, truth, mask=mask))


def _lpips(column: Lpips, device: str, weights: Sequence[Path]) -> Measure:
    from nfbench.harness import lpips
    from nfbench.harness.feature_cache import FeatureCache

    model = lpips.load(column.net, lpips.weights_for(column.net, weights), device, column.version)
    root = default_cache() if device == "cpu" else None  # a GPU computes features faster than a disk reads them
    cache = None if root is None else FeatureCache(root / "features")

    def measure(prediction: Image, truth: Image, mask: Mask | None) -> float:
        true = lpips.features(model, truth) if cache is None else cache.features(model, truth)
        return lpips.distance_to(model, prediction, true, mask)

    return measure
