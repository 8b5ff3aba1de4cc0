"""Checkpoints as the original code of a paper saves them: read without unpickling, and mapped name by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from nfbench.harness.errors import DataCorrupt, DataMissing

_TOLD = 4  # names of each kind of what is wrong
_LONG = 200  # characters of another library's words


def read_official(file: Path) -> Mapping[str, Any]:
    """What a file holds: a dict of tensors, or of such dicts, on the CPU.

    A file of torch (`.pth`, `.pt`, `.tar`) may hold tensors, numbers, texts and containers of them and nothing else;
    a `.safetensors` file holds tensors.

    Raises:
        DataMissing: no such file.
        DataCorrupt: it is no such file, or it would run code.
    """
    if not file.is_file():
        raise DataMissing(f"There is no file {file}.", "Name the checkpoint that the original code saved.")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        found = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files make torch raise nearly anything
        what = str(error).split("\n")[0][:_LONG]
        if type(error).__name__ == "UnpicklingError":
            raise DataCorrupt(
                f"{file} holds more than tensors: {what}",
                "nfbench runs no code of a file. Where you trust it: load it with torch, save its state_dict alone.",
            ) from None
        raise DataCorrupt(f"{file} is no checkpoint of torch: {what}", "Download it again.") from None
    if not isinstance(found, Mapping):
        raise DataCorrupt(f"{file} holds a {type(found).__name__}, not a dict.", "Save the model's state_dict.")
    return found


def section(state: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    """The dict under the first of `names` that the state has; the state itself where it has none of them.

    A prefix `module.`, which DataParallel puts before all names, is taken off.
    """
    found = next((state[name] for name in names if isinstance(state.get(name), Mapping)), state)
    return {str(name).removeprefix("module."): value for name, value in found.items()}


def mapped(
    official: Mapping[str, Any],
    names: Mapping[str, str],
    shapes: Mapping[str, Iterable[int]],
    ignored: Iterable[str] = (),
    whose: str = "The checkpoint",
    hint: str = "Is it of this method, and of the config asked for (--preset, --set)?",
) -> dict[str, Tensor]:
    """Our tensors by name, as they are: `names` from ours to the official name of each.

    Args:
        official: the published state dict.
        names: our name to the official one.
        shapes: our name to the shape of our tensor.
        ignored: official names that stand for nothing that we have, or what such names begin with.
        whose: what does not fit, at the beginning of the message.
        hint: of the error.

    Raises:
        DataCorrupt: names that are missing or not known, or shapes that differ; some of each are named.
    """
    known, skipped = set(names.values()), tuple(ignored)
    found = {mine: official[theirs] for mine, theirs in names.items() if isinstance(official.get(theirs), Tensor)}
    wrong = (
        [f"{theirs} is missing" for mine, theirs in names.items() if mine not in found],
        [f"{name} is not known" for name in official if name not in known and not name.startswith(skipped)],
        [
            f"{names[mine]} is {tuple(tensor.shape)} and not {tuple(shapes[mine])}"
            for mine, tensor in found.items()
            if tuple(tensor.shape) != tuple(shapes[mine])
        ],
    )
    if any(wrong):
        told = [sentence for kind in wrong for sentence in kind[:_TOLD]]
        more = sum(map(len, wrong)) - len(told)
        raise DataCorrupt(f"{whose} does not fit: {'; '.join(told)}{f'; and {more} more' if more else ''}.", hint)
    return found
