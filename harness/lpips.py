"""LPIPS: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".

The values are those of the authors' `lpips` package, whose code is never imported, on the public weights (see
nfbench.harness.lpips_weights). Images go through the network one by one, so that on the CPU a value does not depend on
what else is scored; on a GPU it is computed without TF32 and by deterministic convolutions.
"""

from __future__ import annotations

import functools
import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nfbench.harness import lpips_weights
from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.lpips_networks import NETWORKS
from nfbench.harness.lpips_weights import TRUNKS, Net, Version, find_weights, weights_for

__all__ = [
    "TRUNKS", "Features", "Lpips", "Net", "Version",
    "distance", "distance_to", "features", "find_weights", "load", "weights_for",
]  # fmt: skip

Pixels = NDArray[Any]  # uint8, or floating in [0,1]

_SHIFT = (-0.030, -0.088, -0.188)  # the input scaling of version 0.1: ImageNet's mean and deviation on [-1,1]
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10  # keeps a feature vector of zeros at zero when its length is divided out
_BLOCK = 2**18  # features compared at a time: 1 MiB, which stays in a second-level cache


class Lpips(nn.Module):
    """The distance network: a trunk up to its last tap and one non-negative weight for each channel at each tap.

    Attributes:
        net: which network it is.
        version: 0.1, or 0.0, the first release, which leaves the input scaling out and has heads of its own.
        features: the trunk.
        heads: the weights of the channels, (C,) for each tap.
    """

    def __init__(self, net: Net, version: Version = "0.1") -> None:
        super().__init__()
        self.net: Net = net
        self.version: Version = version
        self.features = NETWORKS[net].trunk()
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in NETWORKS[net].widths])

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        where: torch.device = self.heads[0].device
        return where

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of the trunk's weights: what features depend on, beside the image, the version and the device."""
        sha = hashlib.sha256()
        for parameter in self.features.parameters():
            sha.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, eq=False)
class Features:
    """What the network sees in one image.

    Attributes:
        taps: (h,w,C) float32 for each tap, every vector of C of length 1, or 0.
        size: (H,W) of the image.
        net: of the model.
        version: of the model.
        normalised: whether the image was brought to [-1,1].
    """

    taps: tuple[Tensor, ...]
    size: tuple[int, int]
    net: Net
    version: Version
    normalised: bool


@functools.cache
def load(net: Net, weights: Path | None = None, device: str = "cpu", version: Version = "0.1") -> Lpips:
    """The network with its weights, built once a process.

    Args:
        net: `alex`, `vgg`, or `squeeze` (SqueezeNet 1.1).
        weights: a `.pth`, `.safetensors` or `.npz` file with torchvision's key names (`features.0.weight`); heads in it
            (`lin0.model.1.weight`) are those of version 0.1 and go before those of the `lpips` package. When left out,
            the torch hub cache, which is filled from torchvision's server.
        device: where the network is to run.
        version: `0.1`, or `0.0`, the first release, for numbers of papers that used it.

    Raises:
        DataMissing: no such file, or nothing in the cache and no server.
        DataCorrupt: a file that cannot be read, or one of another network.
        NfbenchError: a network or version that is not known.
    """
    for what, given, known in (("network", net, get_args(Net)), ("version", version, get_args(Version))):
        if given not in known:
            raise NfbenchError(f"LPIPS has no {what} {given!r}.", f"There are: {', '.join(known)}.")
    state, file = lpips_weights.trunk(net, weights)
    model = Lpips(net, version).requires_grad_(False).eval()
    for name, parameter in model.features.named_parameters():
        lpips_weights.fill(parameter, state, f"features.{name}", net, file)
    names = [f"lin{i}.model.1.weight" for i in range(len(model.heads))]
    heads, source = (state, file) if version == "0.1" and names[0] in state else lpips_weights.heads(net, version)
    for name, head in zip(names, model.heads, strict=True):
        lpips_weights.fill(head, heads, name, net, source)
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # the overload is in torch's manual only
    return model.to(device=torch.device(device))


def distance(
    model: Lpips,
    prediction: Pixels,
    truth: Pixels,
    mask: NDArray[np.bool_] | None = None,
    *,
    normalised: bool = True,
) -> NDArray[np.float64]:
    """LPIPS, (…) float64, 0 for equal images, one pair at a time.

    The features of a truth that comes several times in a row are computed once.

    Args:
        model: from `load`.
        prediction: (…,H,W,3) sRGB, uint8 or floating in [0,1], at their own resolution.
        truth: the same, of the same shape; nfbench.harness.image.lpips checks both.
        mask: (…,H,W) bool, see `distance_to`.
        normalised: see `features`.

    Raises:
        NfbenchError: images too small for the network.
    """
    lead = prediction.shape[:-3]
    values = np.empty(lead)
    seen: tuple[Pixels, Features] | None = None
    for i in np.ndindex(lead):
        if seen is None or not np.array_equal(seen[0], truth[i]):
            seen = truth[i], features(model, truth[i], normalised=normalised)
        values[i] = distance_to(model, prediction[i], seen[1], None if mask is None else mask[i])
    return values


def features(model: Lpips, image: Pixels, *, normalised: bool = True) -> Features:
    """The features of one image, for `distance_to`.

    Args:
        model: from `load`.
        image: (H,W,3) sRGB, uint8 or floating in [0,1].
        normalised: bring the image to [-1,1], as the network expects; without it the image is fed in [0,1], which
            papers have done by oversight and which gives other, mostly lower, values.

    Raises:
        NfbenchError: an image too small for the network.
    """
    with torch.inference_mode(), _exact():
        taps = tuple(_unit(rows).contiguous() for rows in _responses(model, image, normalised))
    return Features(taps, (image.shape[0], image.shape[1]), model.net, model.version, normalised)


def distance_to(model: Lpips, prediction: Pixels, truth: Features, mask: NDArray[np.bool_] | None = None) -> float:
    """LPIPS of a prediction and an image whose features are known: the mean at each tap, summed over the taps.

    Args:
        model: that gave the features.
        prediction: (H,W,3) sRGB, uint8 or floating in [0,1].
        truth: from `features`.
        mask: (H,W) bool, the pixels that count. With it the distances at each tap are brought to the size of the
            image, bilinearly, summed, and averaged over these pixels, as the authors' `spatial=True` has them. What
            lies outside the mask still shows through the receptive fields of the network.

    Raises:
        ContractBroken: features of another network, version or size, or a mask of another size or type.
        NfbenchError: an empty mask, or an image too small for the network.
    """
    _check(model, prediction, truth, mask)
    with torch.inference_mode(), _exact():
        responses = _responses(model, prediction, truth.normalised)
        maps = [_apart(rows, unit, head) for rows, unit, head in zip(responses, truth.taps, model.heads, strict=True)]
        if mask is None:
            return sum(float(each.mean(dtype=torch.float64)) for each in maps)
        total = sum(
            nn.functional.interpolate(each[None, None], truth.size, mode="bilinear", align_corners=False)[0, 0]
            for each in maps
        )
        assert isinstance(total, Tensor)
        return float(total[torch.from_numpy(mask).to(total.device)].mean(dtype=torch.float64))


def _check(model: Lpips, prediction: Pixels, truth: Features, mask: NDArray[np.bool_] | None) -> None:
    size = prediction.shape[:2]
    if (truth.net, truth.version, truth.size) != (model.net, model.version, size):
        height, width = truth.size
        raise ContractBroken(
            f"The features are of {truth.net} {truth.version} on {width}x{height} pixels; the model is {model.net} "
            f"{model.version}, the prediction {size[1]}x{size[0]}.",
            "Compute them by the same model, of an image of the same size.",
        )
    if mask is None:
        return
    if mask.shape != size or mask.dtype != np.bool_:
        raise ContractBroken(f"The mask is {mask.dtype} {mask.shape}, the image {size}.", f"Give bool of shape {size}.")
    if not mask.any():
        raise NfbenchError("The mask of an image is empty.", "Leave that image out: it has nothing to score.")


def _exact() -> AbstractContextManager[None]:
    return torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)


def _responses(model: Lpips, image: Pixels, normalised: bool) -> list[Tensor]:
    """The trunk's (h,w,C) at each tap."""
    height, width = image.shape[:2]
    least = NETWORKS[model.net].least
    if min(height, width) < least:
        raise NfbenchError(
            f"LPIPS with {model.net} needs images of {least}x{least} pixels or more; these have {width}x{height}.",
            "Score larger images, or leave LPIPS out of the protocol.",
        )
    x = torch.from_numpy(image.astype(np.float32)).to(model.device)
    white = 255 if image.dtype == np.uint8 else 1
    x = x.div_(white / 2).sub_(1) if normalised else x.div_(white)
    if model.version == "0.1":
        x = x.sub_(torch.tensor(_SHIFT, device=x.device)).div_(torch.tensor(_SCALE, device=x.device))
    x = x.permute(2, 0, 1)[None]  # a view: channels last in memory, which pooling and convolutions are faster on
    found = []
    start = 0
    for tap in NETWORKS[model.net].taps:
        x = model.features[start : tap + 1](x)
        start = tap + 1
        found.append(x[0].permute(1, 2, 0))
    return found


def _unit(vectors: Tensor) -> Tensor:
    """The vectors along the last axis, divided by their lengths."""
    return vectors / (vectors.square().sum(-1, keepdim=True).sqrt_() + _EPSILON)


def _apart(response: Tensor, unit: Tensor, head: Tensor) -> Tensor:
    """The weighted squared distances (h,w) of the response's directions from the unit vectors, block by block."""
    vectors, others = (a.reshape(-1, a.shape[-1]) for a in (response, unit))
    found = vectors.new_empty(len(vectors))
    step = _BLOCK // vectors.shape[1]
    for i in range(0, len(vectors), step):
        difference = _unit(vectors[i : i + step]).sub_(others[i : i + step])
        torch.sum(difference.square_().mul_(head), 1, out=found[i : i + step])  # no matrix product: no TF32
    return found.reshape(response.shape[:2])
