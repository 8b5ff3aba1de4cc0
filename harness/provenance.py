"""Where a number comes from: code revision, packages, machine; and the meters of a run's cost."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
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


def code_digest(kind: type) -> str:
    """64 hexadecimal digits over the file of a class and all files of its package that this one imports, and so on.

    Files of other packages, nfbench's harness among them, do not count: the record has their versions.
    """
    package = sys.modules[kind.__module__].__package__ or kind.__module__
    found: dict[str, bytes] = {}
    wanted = [kind.__module__]
    while wanted:
        name = wanted.pop()
        file = getattr(sys.modules.get(name), "__file__", None)
        if name in found or not file:
            continue
        found[name] = Path(file).read_bytes()
        wanted += [other for other in _imported(found[name]) if other.startswith(f"{package}.")]
    digest = hashlib.sha256()
    for name in [kind.__module__, *sorted(found.keys() - {kind.__module__})]:
        digest.update(found[name])
    return digest.hexdigest()


def _imported(source: bytes) -> Iterator[str]:
    """The modules that a file names in its imports, those that names are taken from included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def device_name(device: str) -> str:
    """`cpu`, or the name of the GPU."""
    if device == "cpu":
        return "cpu"
    import torch

    return torch.cuda.get_device_name(device)


@dataclass
class Meter:
    """What a block cost.

    Attributes:
        seconds: wall time.
        peak_bytes: the highest resident (on a GPU: allocated) memory within it.
        joules: what the GPU, or without one the processor, took; None where no meter can be read.
    """

    seconds: float = 0.0
    peak_bytes: int = 0
    joules: float | None = None


@contextmanager
def metered(device: str = "cpu") -> Iterator[Meter]:
    """Measure the block; the Meter is filled in when it ends, also by an error."""
    meter = Meter()
    _reset_peak(device)
    energy = energy_meter(device)
    before = energy()
    started = time.perf_counter()
    try:
        yield meter
    finally:
        if device != "cpu":
            import torch

            torch.cuda.synchronize()
        meter.seconds = time.perf_counter() - started
        meter.peak_bytes = _peak(device)
        after = energy()
        if before is not None and after is not None and after >= before:  # the counters begin anew now and then
            meter.joules = after - before


def energy_meter(device: str = "cpu", powercap: Path = Path("/sys/class/powercap")) -> Callable[[], float | None]:
    """What reads the joules taken since some start: of the GPU by its driver, else of all processor packages (RAPL).

    It gives None where the driver or the operating system does not tell.
    """
    if device != "cpu":
        try:
            import pynvml  # type: ignore[import-not-found, unused-ignore]
            import torch

            pynvml.nvmlInit()
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
            pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
        except Exception:  # without the package, or of a driver that does not tell: each has errors of its own
            return lambda: None
        return lambda: float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3
    counters = sorted(powercap.glob("intel-rapl:[0-9]*/energy_uj"))
    packages = [path for path in counters if path.parent.name.count(":") == 1]

    def read() -> float | None:
        try:
            return sum(int(path.read_text()) for path in packages) / 1e6 if packages else None
        except (OSError, ValueError):
            return None

    return read


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
