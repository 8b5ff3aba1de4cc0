"""The validation curve: a field measured on what is hidden, at set times while it is trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from nfbench.harness.errors import NfbenchError
from nfbench.harness.image import flattened, psnr
from nfbench.harness.method import Renders, Validation, Valued
from nfbench.harness.prediction import measured_views, rendered
from nfbench.harness.protocol import Protocol
from nfbench.harness.scene import Scene
from nfbench.harness.surface import iou

_VIEWS = 4
_POINTS = 20_000


def parse_times(text: str) -> tuple[float, ...]:
    """Ascending seconds from `10s,60s,300s`.

    >>> parse_times("60s,10s")
    (10.0, 60.0)

    Raises:
        NfbenchError: something else.
    """
    parts = text.replace(" ", "").split(",") if text.strip() else []
    if any(re.fullmatch(r"\d+(\.\d+)?s?", part) is None for part in parts):
        raise NfbenchError(f"--curve {text!r} is no list of times.", "Write seconds with commas: 10s,60s,300s.")
    return tuple(sorted(float(part.rstrip("s")) for part in parts))


def validation(scene: Scene, protocol: Protocol, seconds: tuple[float, ...]) -> Validation | None:
    """What measures fields of a scene at the times `seconds`; None without times.

    PSNR over at most 4 of the measured views, rounded to 8 bit, on the scene's background; and the IoU at the
    protocol's level on at most 20,000 of the points with known occupancy. A curve shows how training goes; it is no
    score. The truth is read at once, so that no hidden file is opened while the method runs.
    """
    if not seconds:
        return None
    views = measured_views(scene, protocol)
    chosen = None
    if views is not None:
        at = np.unique(np.linspace(0, len(views) - 1, min(_VIEWS, len(views))).astype(int))
        chosen = views.subset([int(i) for i in at])
    truth = [] if chosen is None else [flattened(chosen.image(i), scene.background) for i in range(len(chosen))]
    points = scene.occupancy

    def measure(field: Any) -> Mapping[str, float]:  # noqa: ANN401
        found: dict[str, float] = {}
        if chosen is not None and isinstance(field, Renders):
            found["psnr"] = float(np.mean([psnr(rendered(field, chosen, i), t) for i, t in enumerate(truth)]))
        level = None if protocol.surface is None else getattr(protocol.surface.levels, str(_kind(field)), None)
        if points is not None and points.value is not None and level is not None:
            every = max(1, -(-len(points) // _POINTS))
            value = np.asarray(field.value(points.xyz[::every]))
            inside = value < level if field.kind == "sdf" else value > level
            found["iou"] = iou(inside, points.value[::every] >= 0.5)
        return found

    return Validation(seconds, measure)


def _kind(field: object) -> str | None:
    return field.kind if isinstance(field, Valued) else None
