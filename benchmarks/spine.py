"""What starting and opening cost: `nfbench --help`, `nfbench list`, and a Blender scene opened without decoding.

    python benchmarks/spine.py path/to/blender/scene

Each figure is the median of fresh processes, so that imports and caches count as they do for a user.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

REPEATS = 7
OPEN = """
import sys, time
from pathlib import Path
from nfbench.loaders import blender
start = time.perf_counter()
scene = blender.read(Path(sys.argv[1]))
print((time.perf_counter() - start) * 1000, len(scene.given.views) + len(scene.hidden))
"""


def cpu_seconds(command: list[str]) -> float:
    """User and system time of one child process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main(scene: Path) -> None:
    """Print the table."""
    script = Path(sys.executable).with_name("nfbench")
    print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, median of {REPEATS} processes\n")
    for arguments in (["--help"], ["list", "methods"], ["list", "protocols", "--json"]):
        seconds = statistics.median(cpu_seconds([str(script), *arguments]) for _ in range(REPEATS))
        print(f"nfbench {' '.join(arguments):<28} {seconds:6.3f} CPU s")
    runs = [
        subprocess.run([sys.executable, "-c", OPEN, str(scene)], check=True, capture_output=True, text=True).stdout
        for _ in range(REPEATS)
    ]
    times = [float(run.split()[0]) for run in runs]
    print(f"open {runs[0].split()[1]} views, nothing decoded     {statistics.median(times):6.1f} ms")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
