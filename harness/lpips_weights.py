"""The public weights of LPIPS: where they lie, which file is of which network, and what is in it.

Trunks are the files that torchvision publishes, in the torch hub cache or given by the user; heads are those inside the
`lpips` package. Neither package is ever imported, and nothing is unpickled.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import DataCorrupt, DataMissing

Net = Literal["alex", "vgg", "squeeze"]
Version = Literal["0.1", "0.0"]
Weights = Mapping[str, Tensor]

_ADDRESS = "https://download.pytorch.org/models/"
_SECONDS = 10  # to wait for the server


@dataclass(frozen=True)
class Trunk:
    """The published weights of a network.

    Attributes:
        file: its name ends in the start of the file's SHA-256.
        mark: a tensor that none of the other networks has by this name and shape.
        shape: of `mark`.
    """

    file: str
    mark: str
    shape: tuple[int, ...]


TRUNKS: dict[Net, Trunk] = {
    "alex": Trunk("alexnet-owt-7be5be79.pth", "features.3.weight", (192, 64, 5, 5)),
    "vgg": Trunk("vgg16-397923af.pth", "features.2.weight", (64, 64, 3, 3)),
    "squeeze": Trunk("squeezenet1_1-b8a52dc0.pth", "features.3.squeeze.weight", (16, 64, 1, 1)),
}


def trunk(net: Net, file: Path | None = None) -> tuple[Weights, Path]:
    """The tensors of the trunk's file, and which file that is.

    Args:
        net: the network.
        file: a `.pth`, `.safetensors` or `.npz` file; the hub cache, filled from torchvision's server, when left out.

    Raises:
        DataMissing: no such file, or nothing in the cache and no server.
        DataCorrupt: a file that cannot be read, or that is not what its name says.
    """
    found = file if file is not None else _published(net)
    return _read(found), found


def heads(net: Net, version: Version = "0.1") -> tuple[Weights, Path]:
    """The heads inside the `lpips` package, `lin0.model.1.weight` (1,C,1,1) and so on, and the file that holds them.

    Raises:
        DataMissing: the package is not installed.
    """
    spec = importlib.util.find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise DataMissing("The package lpips, which holds the heads of LPIPS, is not installed.", "pip install lpips")
    file = Path(spec.submodule_search_locations[0]) / "weights" / f"v{version}" / f"{net}.pth"
    return _read(file), file


def fill(parameter: Tensor, state: Weights, name: str, net: Net, file: Path) -> None:
    """Copy the tensor called `name` in `state`, which came from `file`, into `parameter`.

    Raises:
        DataCorrupt: there is none, one of another shape, or one with NaN or infinity.
    """
    found = state.get(name)
    if found is None or found.squeeze().shape != parameter.squeeze().shape:
        what = "nothing" if found is None else tuple(found.shape)
        raise DataCorrupt(
            f"{file} does not hold the weights of {net}: {name} should be {tuple(parameter.shape)} and is {what}.",
            f"Give torchvision's {TRUNKS[net].file}, or leave the file out.",
        )
    if not torch.isfinite(found).all():
        raise DataCorrupt(f"{file}: {name} holds NaN or infinity.", "Fetch the file again.")
    parameter.copy_(found.reshape(parameter.shape))


def find_weights(net: Net) -> Path | None:
    """The trunk's file in the torch hub cache, None where it is not there; looks nowhere else and fetches nothing."""
    path = _cache() / TRUNKS[net].file
    return path if path.is_file() else None


def weights_for(net: Net, files: Sequence[Path]) -> Path | None:
    """The first of the weights files that is one of `net`; None where none is, which `trunk` takes for the hub cache.

    Raises:
        DataMissing: one of the files is not there.
        DataCorrupt: one of them cannot be read, or holds none of the networks.
    """
    return next((file for file, found in [(file, _network_in(file)) for file in files] if found == net), None)


@functools.cache
def _network_in(file: Path) -> Net:
    state = _read(file)
    for net, trunk in TRUNKS.items():
        if trunk.mark in state and state[trunk.mark].shape == trunk.shape:
            return net
    raise DataCorrupt(
        f"{file} holds the weights of none of the networks {', '.join(TRUNKS)}.",
        f"Give torchvision's {' or '.join(trunk.file for trunk in TRUNKS.values())}.",
    )


def _read(file: Path) -> Weights:
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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            with urllib.request.urlopen(_ADDRESS + path.name, timeout=_SECONDS) as answer, part.open("wb") as file:
                while chunk := answer.read(1 << 20):
                    file.write(chunk)
            if not _is_genuine(part, path.name):
                raise OSError("the SHA-256 of what the server sent differs")
    except (OSError, HTTPException) as error:  # URLError, time-outs and full disks are OSErrors
        return str(getattr(error, "reason", error))
    return ""
