"""What the copy of a scene lacks of the original, told by comparing the two as they were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import ArrayLike

from nfbench.harness.camera import Cameras
from nfbench.harness.scene import Mesh, Points, Scene, Views

_SAME = 1e-4  # of the largest number: what a format rounds is no loss to tell
_PIXEL = 1e-2  # by which intrinsics may differ


def losses(scene: Scene, splits: Mapping[str, Views], copy: Scene, copied: Mapping[str, Views]) -> list[str]:
    """Sentences without a subject, such as `masks are lost`, one for each thing that is not in the copy as it was.

    Pixels are not compared, but for alpha, of which the first image of either tells.
    """
    return [*_of_views(splits, copied), *_of_points(scene, copy), *_of_space(scene, copy)]


def _of_views(splits: Mapping[str, Views], copied: Mapping[str, Views]) -> Iterator[str]:
    before, after = [v for v in splits.values() if len(v)], [v for v in copied.values() if len(v)]
    if not before:
        return
    if not after:
        yield "views are lost"
        return
    counts = {name: len(views) for name, views in splits.items()}
    if counts != {name: len(views) for name, views in copied.items()}:
        yield f"splits are {_counted(copied)}, and were {_counted(splits)}"
    if {name for views in before for name in views.names} != {name for views in after for name in views.names}:
        yield "views have other names"
    for what, of in (("masks", "load_mask"), ("depth maps", "load_depth")):
        if any(getattr(v, of) is not None for v in before) and not all(getattr(v, of) is not None for v in after):
            yield f"{what} are lost"
    if before[0].image(0).shape[2] == 4 and after[0].image(0).shape[2] == 3:
        yield "alpha of images is lost"
    yield from _of_cameras(_paired(_by_name(splits), _by_name(copied)))


def _of_cameras(pairs: list[tuple[Cameras, Cameras]]) -> Iterator[str]:
    """What the second camera of each pair has no longer."""
    ranges = [(a.near_far, b.near_far) for a, b in pairs if a.near_far is not None]
    if any(b is None for _, b in ranges):
        yield "near and far are lost"
    elif not all(_alike(a, b) for a, b in ranges if a is not None and b is not None):
        yield "near and far are others, by the format's own rule"
    if any(np.abs(a.K - b.K).max() > _PIXEL or not _alike(a.c2w, b.c2w) for a, b in pairs):
        yield "cameras are not the same"


def _of_points(scene: Scene, copy: Scene) -> Iterator[str]:
    for what, before, after in (
        ("the cloud", scene.given.cloud, copy.given.cloud),
        ("samples of space", scene.given.samples, copy.given.samples),
        ("query points with occupancy", scene.occupancy, copy.occupancy),
        ("the true surface", scene.surface, copy.surface),
    ):
        lost = "are lost" if what.endswith(("space", "occupancy")) else "is lost"
        if before is None:
            continue
        if after is None:
            yield f"{what} {lost}"
        elif isinstance(before, Mesh) != isinstance(after, Mesh):
            yield f"{what}, {_called(before)}, became {_called(after)}"
        elif isinstance(before, Points) and isinstance(after, Points):
            yield from _of_cloud(what, before, after)


def _of_cloud(what: str, before: Points, after: Points) -> Iterator[str]:
    if len(after) != len(before):
        yield f"{what} has {len(after)} points, and had {len(before)}"
    if before.normal is not None and after.normal is None:
        yield f"normals of {what} are lost"
    if before.kind != after.kind:
        yield f"{what} tell {after.kind or 'nothing'}, and told {before.kind or 'nothing'}"


def _of_space(scene: Scene, copy: Scene) -> Iterator[str]:
    if not _alike(scene.frame, copy.frame):
        yield "the frame, which leads to the dataset's original coordinates, is another"
    if not _alike(scene.box, copy.box):
        yield "the box is another, by the format's own rule"
    for what in ("unit", "tolerance"):
        if getattr(scene, what) is not None and getattr(copy, what) != getattr(scene, what):
            yield f"the {what} is lost"
    if scene.scan is not None and copy.scan is None:
        yield "what bounds the scan is lost"


def _counted(splits: Mapping[str, Views]) -> str:
    return " and ".join(f"{name} of {len(views)}" for name, views in splits.items() if len(views))


def _paired(before: Mapping[str, Cameras], after: Mapping[str, Cameras]) -> list[tuple[Cameras, Cameras]]:
    """Cameras of the same name; in order of splits and names where all have another, as where a format numbers them."""
    same = [(camera, after[name]) for name, camera in before.items() if name in after]
    if not same and len(before) == len(after):
        return list(zip(before.values(), after.values(), strict=True))
    return same


def _by_name(splits: Mapping[str, Views]) -> dict[str, Cameras]:
    ordered = [(split, name, i) for split in sorted(splits) for i, name in enumerate(splits[split].names)]
    return {name: splits[split].cameras[i] for split, name, i in sorted(ordered)}


def _called(surface: Points | Mesh) -> str:
    return "a mesh" if isinstance(surface, Mesh) else f"{len(surface)} points"


def _alike(one: ArrayLike, other: ArrayLike) -> bool:
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    return a.shape == b.shape and bool(np.abs(a - b).max(initial=0) <= _SAME * max(1e-30, np.abs(a).max(initial=0)))
