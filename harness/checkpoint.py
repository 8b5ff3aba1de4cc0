"""Checkpoints: named tensors in a safetensors file, and beside it a JSON file that says whose they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from nfbench.harness.errors import DataCorrupt, DataMissing


def write_checkpoint(
    folder: Path, method: str, holds: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> None:
    """Write `<holds>.safetensors` and `<holds>.json` into `folder`, which is made when it is not there.

    Args:
        folder: where to.
        method: name of the method they belong to.
        holds: what they are, `network` or `field` for one; it names the files.
        tensors: by name; they are copied to the CPU.
        about: whatever JSON can say of them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().cpu().contiguous() for name, t in tensors.items()}, folder / f"{holds}.safetensors")
    text = json.dumps({"method": method, "holds": holds, **about}, indent=1, sort_keys=True)
    (folder / f"{holds}.json").write_text(text + "\n", encoding="utf-8")


def read_checkpoint(folder: Path, method: str, holds: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, on the CPU, and the notes that `write_checkpoint` wrote.

    Raises:
        DataMissing: a file is not there.
        DataCorrupt: a file cannot be read, or belongs to another method.
    """
    weights, description = folder / f"{holds}.safetensors", folder / f"{holds}.json"
    for path in (description, weights):
        if not path.is_file():
            raise DataMissing(f"There is no {path}.", f"Name a folder that {method} saved a {holds} to.")
    try:
        about = json.loads(description.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataCorrupt(f"{description} is no JSON: {error}.", "Save it again.") from None
    if not isinstance(about, dict) or about.get("method") != method or about.get("holds") != holds:
        whose = about.get("method", "nothing known") if isinstance(about, dict) else "nothing known"
        raise DataCorrupt(f"{description} belongs to {whose}, not to {method}.", "Name another folder.")
    try:
        return load_file(weights), about
    except SafetensorError as error:
        raise DataCorrupt(f"{weights} cannot be read: {error}.", "Save it again.") from None


def folder_digest(folder: Path) -> str:
    """8 hexadecimal digits over the names and contents of all files of a checkpoint.

    Raises:
        DataMissing: no such folder, or an empty one.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise DataMissing(
            f"{folder} is no checkpoint.", "Name a folder that a run wrote, or that nfbench import-checkpoint made."
        )
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest.update(path.relative_to(folder).as_posix().encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:8]
