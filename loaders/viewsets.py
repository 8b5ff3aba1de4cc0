"""What writers of views share: views gathered from several splits, and lenses that a format does not know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken, Unsupported
from nfbench.harness.scene import Views


def refuse_lenses(folder: Path, splits: Mapping[str, Views]) -> None:
    """Raise Unsupported where a view has a lens that distorts: for formats that have pinholes alone."""
    for views in splits.values():
        for index, name in enumerate(views.names):
            if views.cameras.lens(index) is not None:
                raise Unsupported(
                    f"{folder}: the camera of view {name!r} has a lens that distorts; the format has pinholes alone.",
                    "Undistort the images first, or write colmap or nerfstudio.",
                )


def one_of_each(folder: Path, splits: Mapping[str, Views]) -> Views:
    """The views of all splits, one of each name, in the order of the splits.

    Raises:
        ContractBroken: no views, two views of one name that differ in their cameras, or masks in some splits only.
        Unsupported: lenses that distort.
    """
    refuse_lenses(folder, splits)
    found: dict[str, tuple[Views, int]] = {}
    for views in splits.values():
        for index, name in enumerate(views.names):
            first, at = found.setdefault(name, (views, index))
            if not _same_camera(first.cameras, at, views.cameras, index):
                raise ContractBroken(f"{folder}: two views called {name!r} have different cameras.", "Rename one.")
    chosen = list(found.values())
    if not chosen:
        raise ContractBroken(f"{folder}: no views to write.", "Give at least one.")
    if len({views.load_mask is None for views, _ in chosen}) > 1:
        raise ContractBroken(f"{folder}: some splits have masks and others have none.", "Give masks to all or none.")

    def pick(what: str) -> NDArray[np.generic]:
        return np.stack([getattr(views.cameras, what)[i] for views, i in chosen])

    def through(ask: Callable[[Views, int], NDArray[np.generic]]) -> Callable[[int], NDArray[np.generic]]:
        return lambda i: ask(*chosen[i])

    bounded = all(views.cameras.near_far is not None for views, _ in chosen)
    cameras = Cameras(pick("c2w"), pick("K"), pick("size"), pick("near_far") if bounded else None)  # type: ignore[arg-type]
    masked = chosen[0][0].load_mask is not None
    deep = all(views.load_depth is not None for views, _ in chosen)
    return Views(
        cameras,
        tuple(found),
        through(Views.image),  # type: ignore[arg-type]  # the same loaders, view by view
        through(Views.mask) if masked else None,  # type: ignore[arg-type]
        through(Views.depth) if deep else None,  # type: ignore[arg-type]
    )


def _same_camera(one: Cameras, i: int, two: Cameras, j: int) -> bool:
    return all(np.array_equal(getattr(one, what)[i], getattr(two, what)[j]) for what in ("c2w", "K", "size"))
