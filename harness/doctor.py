"""`nfbench doctor`: what this installation has and lacks."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path

from nfbench.harness.cachefolder import default_cache
from nfbench.harness.registry import registry, resolve


def report(data: Path = Path("data")) -> list[tuple[str, str, bool]]:
    """What was looked at, what was found, and whether it is well; `data` is where datasets were downloaded to."""
    import torch

    found = registry()
    rows = [
        ("nfbench", f"{version('nfbench')} on Python {platform.python_version()}", True),
        ("torch", f"{torch.__version__}, {torch.get_num_threads()} threads", True),
        ("GPU", torch.cuda.get_device_name() if torch.cuda.is_available() else "none; methods run on the CPU", True),
        ("processors", str(os.cpu_count()), True),
        ("free disk", f"{shutil.disk_usage(Path.cwd()).free / 2**30:.0f} GiB in the current folder", True),
        (
            "known",
            f"{len(found.methods)} methods, {len(found.tasks)} tasks, {len(found.formats)} formats, "
            f"{len(found.protocols)} protocols, {len(found.datasets)} datasets",
            True,
        ),
    ]
    return rows + [_cache()] + _lpips() + _datasets(data) + [("plug-in", problem, False) for problem in found.problems]


def _cache() -> tuple[str, str, bool]:
    root = default_cache()
    if root is None:
        return "cache", "none: there is no home folder; procedural data is made again for every command", True
    size = sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) if root.is_dir() else 0
    return "cache", f"{root}, {size / 2**20:.0f} MiB; it may be deleted at any time", True


def _datasets(data: Path) -> list[tuple[str, str, bool]]:
    found = resolve("nfbench.loaders.pins:report")(data)
    return [("dataset", told, complete) for told, complete in found]


def _lpips() -> list[tuple[str, str, bool]]:
    from nfbench.harness.lpips import TRUNKS, find_weights

    folder = Path(_hub()) / "checkpoints"
    rows = []
    for net in ("alex", "vgg"):
        path = find_weights(net)
        missing = f"no weights: LPIPS is left out. Put {TRUNKS[net].file} into {folder}, or use --lpips-weights"
        rows.append((f"LPIPS {net}", str(path) if path else missing, path is not None))
    return rows


def _hub() -> str:
    import torch

    return torch.hub.get_dir()


def text(data: Path = Path("data")) -> str:
    """The report, a line each."""
    return "\n".join(f"{'ok' if well else '--'}  {name:<12}{found}" for name, found, well in report(data))
