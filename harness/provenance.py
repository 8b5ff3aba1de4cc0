"""Where a number comes from: code revision, packages, machine; and the meters of a run's cost."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_PACKAGES = ("nfbench", "torch", "numpy", "scipy", "scikit-image", "trimesh", "libigl", "lpips")


@functools.cache
def environment() -> dict[str, Any]:
    """Git revision of nfbench's checkout (where it is one), package versions, Python, machine, GPU and driver."""
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {_processor()}",
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": git_revision(Path(__file__).resolve().parent),
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
            found["cuda"] = torch.version.cuda
    return found


def git_revision(folder: Path) -> str:
    """`abc1234`, `abc1234+changes`, or empty outside a git checkout."""
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+changes", "--abbrev=12"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def device_name(device: str) -> str:
    """`cpu`, or the name of the GPU."""
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


@dataclass
class Meter:
    """What a block cost: wall seconds and, in bytes, the highest resident (on a GPU: allocated) memory within it."""

    seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def metered(device: str = "cpu") -> Iterator[Meter]:
    """Measure the block; the Meter is filled in when it ends, also by an error."""
    meter = Meter()
    _reset_peak(device)
    started = time.perf_counter()
    try:
        yield meter
    finally:
        if device != "cpu":
            import torch

            torch.cuda.synchronize()
        meter.seconds = time.perf_counter() - started
        meter.peak_bytes = _peak(device)


def _reset_peak(device: str) -> None:
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats()
        return
    try:  # Linux: start the high-water mark of resident memory anew; elsewhere it is that of the whole process
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak(device: str) -> int:
    if device != "cpu":
        import torch

        return int(torch.cuda.max_memory_allocated())
    status = Path("/proc/self/status")
    if status.exists():
        line = next((row for row in status.read_text().splitlines() if row.startswith("VmHWM")), "VmHWM: 0")
        return int(line.split()[1]) * 1024
    import resource

    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        rows = (row.partition(":") for row in info.read_text().splitlines())
        return next((value.strip() for key, _, value in rows if key.strip() == "model name"), "")
    return platform.processor()
