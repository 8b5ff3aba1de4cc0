"""Contests about LPIPS: the lpips package one pair at a time, and nfbench with and without the true image's features.

The package imports torchvision, whose compiled part may not load here; of it, LPIPS needs nothing.
"""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from contest import Contest
from images import pair

from nfbench.harness import lpips
from nfbench.harness.feature_cache import FeatureCache

TURNS = 7


def package(net: str, weights: Path) -> Any:  # noqa: ANN401  # a class of the package
    """The model of the lpips package with a trunk from a file."""
    found = importlib.util.find_spec("torchvision")
    assert found is not None and found.submodule_search_locations
    try:
        torch.ops.load_library(str(Path(found.submodule_search_locations[0]) / "_C.so"))
    except OSError:
        stand_in = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            stand_in.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        package.stand_in = stand_in  # type: ignore[attr-defined]  # it must outlive the import
    import lpips as original

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = original.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    ours = lpips.load(net, weights)
    theirs = [p for i in range(model.net.N_slices) for p in getattr(model.net, f"slice{i + 1}").parameters()]
    with torch.no_grad():
        for parameter, value in zip(theirs, ours.features.parameters(), strict=True):
            parameter.copy_(value)
    return model


def contests(folder: Path, weights: Path) -> dict[str, tuple[Contest, int]]:
    """What is computed, to contestants and turns; `folder` takes the features, `weights` are AlexNet's."""
    x, y = pair()
    theirs, ours = package("alex", weights), lpips.load("alex", weights)
    cache = FeatureCache(folder)

    def by_package() -> float:
        tensors = (torch.from_numpy(a).permute(2, 0, 1)[None].float() / 127.5 - 1 for a in (x, y))
        with torch.inference_mode():
            return float(theirs(*tensors))

    return {
        "LPIPS, AlexNet": (
            {
                "lpips, one pair": by_package,
                "nfbench, one pair": lambda: float(np.asarray(lpips.distance(ours, x, y))),
                "nfbench, true features from disk": lambda: lpips.distance_to(ours, x, cache.features(ours, y)),
            },
            TURNS,
        )
    }
