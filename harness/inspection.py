"""`nfbench inspect`: what a folder is, and what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, project
from nfbench.harness.console import dumps
from nfbench.harness.dataset import Loader, detect, loader, opened, scene_name
from nfbench.harness.errors import DataCorrupt, NfbenchError
from nfbench.harness.imagefile import ENDINGS
from nfbench.harness.inputs import gives, inputs
from nfbench.harness.mesh import sample
from nfbench.harness.scene import Image, Mesh, Scene, Views

LEAST = 0.5
"""Cameras whose frames together hold a smaller part of the known points do not look at them."""

_POINTS = 10_000  # of a cloud are projected: the parts are then known to half a percent
_MOST_THREADS = 8  # beyond this the disk sets the pace
_KINDS = ("images", "masks", "depths")
_MEND = "Are the poses of another convention (axes, world to camera), or the points of another frame?"
Bool = NDArray[np.bool_]
T = TypeVar("T")


@dataclass(frozen=True)
class _Decoded:
    """What one view came to: how much was decoded, what could not be, and the points that its frame and mask hold."""

    problems: list[str]
    counts: dict[str, int]
    framed: Bool | None
    masked: int | None


@dataclass
class _Tally:
    """The sums of a scene's views."""

    points: int
    seen: Bool
    views: int = 0
    blind: int = 0
    framed: int = 0
    before_masks: int = 0
    masked: int = 0
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_KINDS, 0))


def inspect(path: Path, format: str | None = None, check: bool = False) -> dict[str, Any]:
    """Format, scenes with their splits, and problems, in the fixed form of `nfbench inspect --json`.

    `given` is what the scenes of the format give, and `inputs` what `--given` can choose from.
    A scene that cannot be opened is a problem and does not hide the others. With `check`, every image, mask and depth
    is decoded, each that cannot be is a problem (in a scene that cannot be opened, each such image file below it), and
    known points are projected into the views; the result then has
    `check`: how many `images`, `masks` and `depths` are sound, and of each of the `scenes` with points and views its
    `name`, number of `points` projected and of `views`, and, as parts in [0,1], the points `in_any_frame`, those
    `in_frame` of a view on average, and those of them that are `in_mask`, None without masks. Where there are inputs to
    choose from, `check` has `inputs`, of each kind how many scenes have the files of it; files that are there and
    damaged are a problem.

    Raises:
        DataMissing: no such folder, or no known format in it.
    """
    spec, folders = detect(path, format)
    module = loader(spec)
    scenes, problems = [], []
    kinds = inputs(module)
    chosen = kinds if len(kinds) > 1 else ()
    checked: dict[str, Any] = {**dict.fromkeys(_KINDS, 0), "scenes": []}
    checked |= {"inputs": dict.fromkeys(chosen, 0)} if chosen else {}
    for folder in folders:
        try:
            scene, splits, notes = opened(folder, module)
            scenes.append(_scene(scene_name(folder, module), scene, splits, notes))
            if check:
                problems += _check(scenes[-1]["name"], scene, splits, checked)
                if chosen:
                    problems += _count_inputs(folder, module, scene, checked["inputs"])
        except NfbenchError as error:
            problems.append(_told(error))
            problems += _damaged(folder, problems[-1]) if check else []
    found: dict[str, Any] = {"format": spec.name, "protocol": spec.protocol, "given": module.given, "inputs": kinds}
    found = {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}
    found |= {"scenes": scenes, "problems": problems}
    return {**found, "check": checked} if check else found


def known_points(scene: Scene, most: int) -> NDArray[np.float32]:
    """Up to `most` points (P,3) of the true surface, else of the given cloud, evenly chosen; (0,3) without both."""
    if isinstance(scene.surface, Mesh):
        return sample(scene.surface, most, seed=0).xyz if len(scene.surface.faces) else np.empty((0, 3), np.float32)
    cloud = scene.surface or scene.given.cloud
    if cloud is None:
        return np.empty((0, 3), np.float32)
    return cloud.xyz[:: max(1, -(-len(cloud) // most))]


def in_frame(cameras: Cameras, index: int, xyz: NDArray[np.floating]) -> tuple[Bool, NDArray[np.int64]]:
    """(P,) bool, which of `xyz` (P,3) fall into the frame of a camera, and the pixels (K,2), x and y, of those."""
    xy, depth = project(cameras, index, xyz)
    with np.errstate(invalid="ignore"):
        framed: Bool = (depth > 0) & ((xy >= 0) & (xy < cameras.size[index])).all(1)
    return framed, xy[framed].astype(np.int64)


def mask_of(views: Views, index: int, image: Image | None) -> Bool | None:
    """The mask (H,W) of a view: the dataset's, else where its decoded image is half opaque; None without either."""
    if views.load_mask is not None:
        return views.mask(index)
    if image is None or image.shape[2] == 3 or image[:, :, 3].min() >= 128:
        return None
    mask: Bool = image[:, :, 3] >= 128
    return mask


def _check(name: str, scene: Scene, splits: Mapping[str, Views], checked: dict[str, Any]) -> list[str]:
    """The problems of a scene's files and cameras; what was found goes to `checked`."""
    xyz = known_points(scene, _POINTS)
    places: dict[tuple[object, str], tuple[Views, int]] = {
        (views.files[i] if views.files else split, views.names[i]): (views, i)  # a view in two splits counts once
        for split, views in splits.items()
        for i in range(len(views))
    }
    tally, problems = _Tally(len(xyz), np.zeros(len(xyz), np.bool_)), []
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for decoded in pool.map(lambda place: _decode(place[0], place[1], xyz), places.values()):
            problems += decoded.problems
            _add(tally, decoded)
    for kind in _KINDS:
        checked[kind] += tally.counts[kind]
    if tally.points and tally.views:
        checked["scenes"].append(_parts(name, tally))
        problems += _astray(name, tally)
    return list(dict.fromkeys(problems))


def _count_inputs(folder: Path, module: Loader, scene: Scene, counts: dict[str, int]) -> list[str]:
    """What is wrong with the files of the inputs that a scene has; those that it has are counted in `counts`."""
    problems: list[str] = []
    for kind in counts:
        counts[kind] += bool(_tried(lambda kind=kind: gives(folder, module, scene, kind), problems))  # type: ignore[misc]
    return problems


def _decode(views: Views, index: int, xyz: NDArray[np.float32]) -> _Decoded:
    problems: list[str] = []
    image = _tried(lambda: views.image(index), problems)
    mask = _tried(lambda: mask_of(views, index, image), problems)
    depth = None if views.load_depth is None else _tried(lambda: _depth(views, index), problems)
    found = (image, mask if views.load_mask is not None else None, depth)
    counts = {kind: int(item is not None) for kind, item in zip(_KINDS, found, strict=True)}
    if not len(xyz):
        return _Decoded(problems, counts, None, None)
    framed, pixels = in_frame(views.cameras, index, xyz)
    masked = None if mask is None else int(mask[pixels[:, 1], pixels[:, 0]].sum())
    return _Decoded(problems, counts, framed, masked)


def _damaged(folder: Path, told: str) -> list[str]:
    """The image files of any kind below a scene's folder that cannot be decoded, but for those that `told` names.

    A reader stops at the first file whose header shows damage; with this, the others are found in the same go.
    """
    if not folder.is_dir():
        return []
    files = [file for file in sorted(folder.rglob("*")) if file.suffix.lower() in ENDINGS and str(file) not in told]
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        return [problem for problem in pool.map(_damage, files) if problem]


def _damage(file: Path) -> str:
    from PIL import Image as Pillow

    try:
        with Pillow.open(file) as image:
            image.load()
    except Exception as error:  # what Pillow raises of damaged files has no end
        return f"{file} cannot be decoded: {type(error).__name__}: {error}. Download or copy the file again."
    return ""


def _tried(read: Callable[[], T], problems: list[str]) -> T | None:
    try:
        return read()
    except (NfbenchError, OSError) as error:
        problems.append(_told(error))
        return None


def _told(error: NfbenchError | OSError) -> str:
    return f"{error.message} {error.hint}".strip() if isinstance(error, NfbenchError) else str(error)


def _depth(views: Views, index: int) -> NDArray[np.float32]:
    depth = views.depth(index)
    width, height = views.cameras.size[index].tolist()
    if depth.shape != (height, width) or np.isnan(depth).any():
        where = views.files[index] if views.files else f"view {views.names[index]!r}"
        raise DataCorrupt(f"{where}: its depth is {depth.shape}, not ({height}, {width}), or holds NaN.")
    return depth


def _add(tally: _Tally, decoded: _Decoded) -> None:
    for kind, count in decoded.counts.items():
        tally.counts[kind] += count
    if decoded.framed is None:
        return
    framed = int(decoded.framed.sum())
    tally.seen |= decoded.framed
    tally.views += 1
    tally.blind += framed == 0
    tally.framed += framed
    if decoded.masked is not None:
        tally.before_masks += framed
        tally.masked += decoded.masked


def _parts(name: str, tally: _Tally) -> dict[str, Any]:
    return {
        "name": name,
        "points": tally.points,
        "views": tally.views,
        "in_any_frame": float(tally.seen.mean()),
        "in_frame": tally.framed / (tally.points * tally.views),
        "in_mask": tally.masked / tally.before_masks if tally.before_masks else None,
    }


def _astray(name: str, tally: _Tally) -> Iterator[str]:
    """What is wrong with where the cameras look.

    A view within a large scene rightly sees a small part of it, so that not the average counts: what counts is what all
    see together, and whether most see anything.
    """
    seen = float(tally.seen.mean())
    if seen < LEAST or tally.blind > tally.views / 2:
        yield (
            f"{name}: the cameras do not look at the cloud: {seen:.1%} of its points fall into any frame, and "
            f"{tally.blind} of {tally.views} views see none. {_MEND}"
        )


def _scene(name: str, scene: Scene, splits: Mapping[str, Views], notes: list[str]) -> dict[str, Any]:
    return {
        **({"notes": notes} if notes else {}),
        "name": name,
        "splits": {name: _split(views) for name, views in splits.items()},
        "box": scene.box.tolist(),
        "unit": scene.unit,
    }


def _split(views: Views) -> dict[str, Any]:
    sizes = sorted({tuple(size) for size in views.cameras.size.tolist()})
    near_far = views.cameras.near_far
    return {
        "views": len(views),
        "size": list(sizes[0]),
        **({"sizes": [list(size) for size in sizes]} if len(sizes) > 1 else {}),
        "near_far": None if near_far is None else [float(near_far[:, 0].min()), float(near_far[:, 1].max())],
    }


def text(path: Path, format: str | None, as_json: bool) -> str:
    """What `inspect` finds, as text or JSON."""
    return rendered(inspect(path, format), as_json)


def rendered(found: Mapping[str, Any], as_json: bool) -> str:
    """What `inspect` found, as text or JSON."""
    if as_json:
        return dumps(found)
    lines = [f"format    {found['format']} (scored under {found['protocol']})", *_input_lines(found)]
    for scene in found["scenes"]:
        lines.append(f"scene     {scene['name']}")
        lines += [f"  note    {note}" for note in scene.get("notes", ())]
        for name, split in scene["splits"].items():
            width, height = split["size"]
            others = f" and {len(split['sizes']) - 1} other sizes" if "sizes" in split else ""
            lines.append(f"  {name:<8}{split['views']} views, {width}x{height} pixels{others}")
        low, high = scene["box"]
        unit = "scene units, their length unknown" if scene["unit"] is None else f"units of {scene['unit']} m"
        lines.append(f"  box     {low} to {high} in {unit}")
    lines += _check_lines(found["check"]) if "check" in found else []
    lines.append(f"problems  {len(found['problems']) or 'none'}")
    return "\n".join(lines + [f"  {problem}" for problem in found["problems"]])


def _input_lines(found: Mapping[str, Any]) -> list[str]:
    others = [kind for kind in found["inputs"] if kind not in found["given"]]
    if not others:
        return [f"gives     {', '.join(found['given'])}"] if found["given"] else []
    return [f"gives     {', '.join(found['given'])}; with --given also {', '.join(others)}"]


def _check_lines(checked: Mapping[str, Any]) -> list[str]:
    lines = [f"decoded   {', '.join(f'{checked[kind]} {kind}' for kind in _KINDS)}"]
    if "inputs" in checked:
        lines.append(f"inputs    {', '.join(f'{kind} of {n}' for kind, n in checked['inputs'].items())} scenes")
    for scene in checked["scenes"]:
        masked = "" if scene["in_mask"] is None else f", {scene['in_mask']:.1%} of these in its mask"
        lines.append(
            f"points    {scene['name']}: {scene['in_any_frame']:.1%} of {scene['points']} in the frames of "
            f"{scene['views']} views, {scene['in_frame']:.1%} in one on average{masked}"
        )
    return lines
