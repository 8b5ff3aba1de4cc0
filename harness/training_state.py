"""The state of a training loop in one file: everything that it needs to go on exactly as if it had not stopped.

One safetensors file, whose header holds the rest as JSON; it is written whole or not at all, and nothing in it is
ever unpickled.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nfbench.harness.atomic import replacing
from nfbench.harness.errors import DataCorrupt

_HEADER = "state"
_TENSOR, _ITEMS, _TUPLE = "$tensor", "$items", "$tuple"


@runtime_checkable
class Stateful(Protocol):
    """What has a state of tensors, numbers, texts, lists, tuples and dicts: modules, optimisers, samplers."""

    def state_dict(self) -> Mapping[str, Any]:
        """The state."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> object:
        """Take over a state that `state_dict` gave."""
        ...


Kept = Stateful | torch.Generator | np.random.Generator


def write_state(path: Path, kept: Mapping[str, Kept], about: Mapping[str, Any]) -> None:
    """Write the state of all that is `kept`, of the global generators of random numbers, and `about`, any JSON."""
    tensors: dict[str, Tensor] = {}
    tree = {name: _packed(_state(thing), f"{name}", tensors) for name, thing in kept.items()}
    text = json.dumps({"about": dict(about), "kept": tree, "global": _packed(_global_state(), "global", tensors)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={_HEADER: text})


def read_state(path: Path, kept: Mapping[str, Kept]) -> dict[str, Any]:
    """Put everything that is `kept`, and the global generators, into the state in a file; gives what `about` was.

    Raises:
        DataCorrupt: the file cannot be read, or it is the state of something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
        if set(header["kept"]) != set(kept):
            raise ValueError(f"it holds {', '.join(header['kept'])} and not {', '.join(kept)}")
        for name, thing in kept.items():
            _put(thing, _unpacked(header["kept"][name], tensors))
        _put_global(_unpacked(header["global"], tensors))
        about: dict[str, Any] = header["about"]
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        raise DataCorrupt(f"{path} is no state of this training: {error}", "Delete it and start anew.") from error
    return about


def _state(thing: Kept) -> Any:  # noqa: ANN401
    if isinstance(thing, torch.Generator):
        return thing.get_state()
    return thing.bit_generator.state if isinstance(thing, np.random.Generator) else thing.state_dict()


def _put(thing: Kept, state: Any) -> None:  # noqa: ANN401
    if isinstance(thing, torch.Generator):
        thing.set_state(state)
    elif isinstance(thing, np.random.Generator):
        thing.bit_generator.state = state
    else:
        thing.load_state_dict(state)


@contextmanager
def global_numbers_kept() -> Iterator[None]:
    """The global generators of torch, numpy and Python are afterwards where they were before."""
    state = _global_state()
    try:
        yield
    finally:
        _put_global(state)


def _global_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002  # for methods that use the global generator
    found = {"torch": torch.get_rng_state(), "python": random.getstate()}
    found["numpy"] = (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest)
    return found | ({"cuda": list(torch.cuda.get_rng_state_all())} if torch.cuda.is_available() else {})


def _put_global(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    random.setstate(state["python"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])


def _packed(value: Any, place: str, tensors: dict[str, Tensor]) -> Any:  # noqa: ANN401
    """The value as JSON holds it; its tensors go into `tensors` under the name of their place."""
    if isinstance(value, Tensor):
        tensors[place] = value.detach().to("cpu", copy=True).contiguous()  # a copy: files hold no shared memory
        return {_TENSOR: place}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {key: _packed(item, f"{place}/{key}", tensors) for key, item in value.items()}
        return {_ITEMS: [[key, _packed(item, f"{place}/{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        items = [_packed(item, f"{place}/{index}", tensors) for index, item in enumerate(value)]
        return {_TUPLE: items} if isinstance(value, tuple) else items
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{place} is a {type(value).__name__}, which the state of a training cannot hold.")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:  # noqa: ANN401
    if isinstance(value, list):
        return [_unpacked(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    if _TENSOR in value:
        return tensors[value[_TENSOR]]
    if _TUPLE in value:
        return tuple(_unpacked(item, tensors) for item in value[_TUPLE])
    if _ITEMS in value:
        return {key: _unpacked(item, tensors) for key, item in value[_ITEMS]}
    return {key: _unpacked(item, tensors) for key, item in value.items()}
