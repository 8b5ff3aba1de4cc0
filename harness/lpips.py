"""LPIPS 0.1: Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric".

The networks are plain sequences of layers and the weights are the public ones: the trunks that torchvision publishes,
and the heads inside the `lpips` package, whose code is never imported. The values are those of that package.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import tempfile
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nfbench.harness.errors import DataCorrupt, DataMissing, NfbenchError

Net = Literal["alex", "vgg"]

_ADDRESS = "https://download.pytorch.org/models/"
_SECONDS = 10  # to wait for the server
_SHIFT = (-0.030, -0.088, -0.188)  # the input scaling of version 0.1: ImageNet's mean and deviation on [-1,1]
_SCALE = (0.458, 0.448, 0.450)
_EPSILON = 1e-10  # keeps a feature vector of zeros at zero when its length is divided out


@dataclass(frozen=True)
class Trunk:
    """A network as torchvision numbers its layers.

    Attributes:
        file: the published weights; the name ends in the start of the file's SHA-256.
        taps: the layers after which features are compared.
        least: the least edge of an image, in pixels, that reaches the last tap.
    """

    file: str
    taps: tuple[int, ...]
    least: int


TRUNKS: dict[Net, Trunk] = {
    "alex": Trunk("alexnet-owt-7be5be79.pth", (1, 4, 7, 9, 11), 31),
    "vgg": Trunk("vgg16-397923af.pth", (3, 8, 15, 22, 29), 16),
}


class Lpips(nn.Module):
    """The distance network: a trunk up to its last tap and one non-negative weight for each channel at each tap.

    Attributes:
        net: which network it is.
    """

    def __init__(self, net: Net) -> None:
        super().__init__()
        self.net = net
        self.taps = TRUNKS[net].taps
        self.features = _layers(net)
        widths = [_width_at(self.features, tap) for tap in self.taps]
        self.heads = nn.ParameterList([nn.Parameter(torch.zeros(width)) for width in widths])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))

    def forward(self, prediction: Tensor, truth: Tensor) -> Tensor:
        """Distances (B,) of images (B,3,H,W) in [-1,1]."""
        x = (torch.cat([prediction, truth]) - self.get_buffer("shift")) / self.get_buffer("scale")
        total = torch.zeros(len(prediction), device=x.device)
        start = 0
        for tap, head in zip(self.taps, self.heads, strict=True):
            x = self.features[start : tap + 1](x)
            start = tap + 1
            unit = x / (x.square().sum(1, keepdim=True).sqrt() + _EPSILON)
            first, second = unit.chunk(2)
            squares = (first - second).square()
            total = total + torch.einsum("bchw,c->bhw", squares, head).mean((1, 2))
        return total


def distance(model: Lpips, prediction: NDArray[np.generic], truth: NDArray[np.generic]) -> NDArray[np.float64]:
    """LPIPS, (…) float64, 0 for equal images, one pair at a time.

    Args:
        model: from `load`.
        prediction: (…,H,W,3) sRGB, uint8 or floating in [0,1], at their own resolution.
        truth: the same, of the same shape; nfbench.harness.image.lpips checks both.

    Raises:
        NfbenchError: images too small for the network.
    """
    height, width = prediction.shape[-3:-1]
    least = TRUNKS[model.net].least
    if min(height, width) < least:
        raise NfbenchError(
            f"LPIPS with {model.net} needs images of {least}x{least} pixels or more; these have {width}x{height}.",
            "Score larger images, or leave LPIPS out of the protocol.",
        )
    lead = prediction.shape[:-3]
    pairs = zip(*(image.reshape(-1, height, width, 3) for image in (prediction, truth)), strict=True)
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)  # as on the CPU
    with torch.inference_mode(), exact:
        values = [model(_tensor(p, model), _tensor(t, model)).item() for p, t in pairs]
    return np.array(values, np.float64).reshape(lead)


@functools.cache
def load(net: Net, weights: Path | None = None, device: str = "cpu") -> Lpips:
    """The network with its weights, built once a process.

    Args:
        net: `alex` or `vgg`.
        weights: a `.pth`, `.safetensors` or `.npz` file with torchvision's key names (`features.0.weight`); heads in it
            (`lin0.model.1.weight`) go before those of the `lpips` package. When left out, the torch hub cache, which
            is filled from torchvision's server.
        device: where the network is to run.

    Raises:
        DataMissing: no such file, or nothing in the cache and no server.
        DataCorrupt: a file that cannot be read, or one of another network.
        NfbenchError: a network that is not known.
    """
    if net not in get_args(Net):
        raise NfbenchError(f"LPIPS has no network {net!r}.", "Networks: alex, vgg.")
    file = weights if weights is not None else _published(net)
    state = _read(file)
    model = Lpips(net)
    for name, parameter in model.features.named_parameters():
        _fill(parameter, state, f"features.{name}", net, file)
    names = [f"lin{i}.model.1.weight" for i in range(len(model.heads))]
    heads, source = (state, file) if names[0] in state else _packaged_heads(net)
    for name, head in zip(names, model.heads, strict=True):
        _fill(head, heads, name, net, source)
    model.requires_grad_(False).eval()
    return model.to(device=torch.device(device))


def find_weights(net: Net) -> Path | None:
    """The trunk's file in the torch hub cache, None where it is not there; looks nowhere else and fetches nothing."""
    path = _cache() / TRUNKS[net].file
    return path if path.is_file() else None


def weights_for(net: Net, files: Sequence[Path]) -> Path | None:
    """The first of the weights files that is one of `net`; None where none is, which `load` takes for the hub cache.

    Raises:
        DataMissing: one of the files is not there.
        DataCorrupt: one of them cannot be read, or holds none of the networks.
    """
    return next((file for file, found in [(file, _network_in(file)) for file in files] if found == net), None)


@functools.cache
def _network_in(file: Path) -> Net:
    first = _read(file).get("features.0.weight")
    for net in TRUNKS:
        if first is not None and first.shape == _layers(net)[0].weight.shape:
            return net
    raise DataCorrupt(
        f"{file} holds the weights of none of the networks {', '.join(TRUNKS)}.",
        f"Give torchvision's {' or '.join(trunk.file for trunk in TRUNKS.values())}.",
    )


def _layers(net: Net) -> nn.Sequential:
    return _alexnet() if net == "alex" else _vgg16()


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU(inplace=True)]


def _alexnet() -> nn.Sequential:
    """AlexNet's features (Krizhevsky 2014, "One weird trick") up to the last ReLU."""
    return nn.Sequential(
        *_convolution(3, 64, 11, 4, 2),
        nn.MaxPool2d(3, 2),
        *_convolution(64, 192, 5, 1, 2),
        nn.MaxPool2d(3, 2),
        *_convolution(192, 384, 3, 1, 1),
        *_convolution(384, 256, 3, 1, 1),
        *_convolution(256, 256, 3, 1, 1),
    )


def _vgg16() -> nn.Sequential:
    """VGG16's features (Simonyan & Zisserman 2015, configuration D) up to the last ReLU."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage, (width, repeats) in enumerate([(64, 2), (128, 2), (256, 3), (512, 3), (512, 3)]):
        layers += [nn.MaxPool2d(2, 2)] if stage else []
        for _ in range(repeats):
            layers += _convolution(inputs, width, 3, 1, 1)
            inputs = width
    return nn.Sequential(*layers)


def _width_at(features: nn.Sequential, tap: int) -> int:
    layer = features[tap - 1]
    assert isinstance(layer, nn.Conv2d)  # every tap is the ReLU of a convolution
    return layer.out_channels


def _tensor(image: NDArray[np.generic], model: Lpips) -> Tensor:
    """(1,3,H,W) float32 in [-1,1], channels last in memory, from (H,W,3)."""
    top = 127.5 if image.dtype == np.uint8 else 0.5
    scaled = torch.from_numpy(image.astype(np.float32)).to(model.heads[0].device) / top - 1
    return scaled.permute(2, 0, 1)[None]  # a view: channels last, which convolutions follow and like


def _fill(parameter: nn.Parameter, state: Mapping[str, Tensor], name: str, net: Net, file: Path) -> None:
    found = state.get(name)
    if found is None or found.numel() != parameter.numel() or found.squeeze().shape != parameter.squeeze().shape:
        what = "nothing" if found is None else tuple(found.shape)
        raise DataCorrupt(
            f"{file} does not hold the weights of {net}: {name} should be {tuple(parameter.shape)} and is {what}.",
            f"Give torchvision's {TRUNKS[net].file}, or leave the file out.",
        )
    if not torch.isfinite(found).all():
        raise DataCorrupt(f"{file}: {name} holds NaN or infinity.", "Fetch the file again.")
    parameter.data.copy_(found.reshape(parameter.shape))


def _read(file: Path) -> Mapping[str, Tensor]:
    """The tensors in a weights file, by name."""
    if not file.is_file():
        raise DataMissing(f"There is no weights file {file}.", "Check the path, or leave it out to use the hub cache.")
    try:
        if file.suffix == ".npz":
            with np.load(file, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        if file.suffix == ".pth":
            state = torch.load(file, map_location="cpu", weights_only=True)
            return {k: v for k, v in state.items() if isinstance(v, Tensor)}
    except Exception as error:  # the three readers let whatever a damaged file provokes through
        reason = str(error).split("\n", 1)[0][:200]
        raise DataCorrupt(
            f"{file} cannot be read as weights: {type(error).__name__}: {reason}", "Delete it and fetch it again."
        ) from error
    raise DataCorrupt(f"{file}: weights cannot be read from {file.suffix!r}.", "Give a .pth, .safetensors or .npz.")


def _packaged_heads(net: Net) -> tuple[Mapping[str, Tensor], Path]:
    """The heads of version 0.1 inside the `lpips` package, found without importing it."""
    spec = importlib.util.find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise DataMissing("The package lpips, which holds the heads of LPIPS, is not installed.", "pip install lpips")
    file = Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / f"{net}.pth"
    return _read(file), file


def _cache() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints"


def _published(net: Net) -> Path:
    """The trunk's file in the torch hub cache, fetched if need be and checked."""
    path = _cache() / TRUNKS[net].file
    if not path.is_file():
        problem = _fetch(path)
        if problem:
            raise DataMissing(
                f"LPIPS needs {path.name}, and it cannot be fetched: {problem}.",
                f"Put {_ADDRESS}{path.name} into {path.parent}, or give a weights file.",
            )
        return path
    if not _is_genuine(path):
        raise DataCorrupt(f"{path} is not what its name says: its SHA-256 differs.", "Delete it and run again.")
    return path


def _is_genuine(path: Path, name: str = "") -> bool:
    """Whether the file's SHA-256 starts with what its published name ends in."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return digest.startswith((name or path.name).removesuffix(".pth").rpartition("-")[2])


@functools.cache
def _fetch(path: Path) -> str:
    """Fetch a published file to `path`; what went wrong, empty if nothing did. Tried once a process."""
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(_ADDRESS + path.name, timeout=_SECONDS) as answer,
            tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, suffix=".part", delete=False) as file,
        ):
            part = Path(file.name)
            while chunk := answer.read(1 << 20):
                file.write(chunk)
        if not _is_genuine(part, path.name):
            return "the SHA-256 of what the server sent differs"
        part.replace(path)
    except (OSError, HTTPException) as error:  # URLError, time-outs and full disks are OSErrors
        return str(getattr(error, "reason", error))
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return ""
