"""A training step of each baseline beside a plain PyTorch one: the same networks, loss, batch and start.

    python benchmarks/training.py [nerf deepsdf ...] [--turns 7] [--threads 2] [--device cuda]

Plain steps are in `plain_<method>.py`, written the straightforward way. Both take turns in one process; a row is the
median over the turns of the wall time of a step, since both use all threads. Ratios within a row are what counts. On a
GPU the batches are larger.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import sys
import time
from collections.abc import Callable

import torch

METHODS = ("nerf", "deepsdf", "onet", "srn", "idr")

Steps = tuple[Callable[[], float], Callable[[], float]]


def turns(ours: Callable[[], float], plain: Callable[[], float], count: int) -> tuple[float, float, float]:
    """Median seconds of our step and of the plain one, and the median of the ratios of neighbouring steps."""
    ours(), plain()  # the first step allocates, and compiles what is compiled
    times: list[tuple[float, float]] = []
    for _ in range(count):
        times.append((_seconds(ours), _seconds(plain)))
    return (
        statistics.median(one for one, _ in times),
        statistics.median(other for _, other in times),
        statistics.median(other / one for one, other in times),
    )


def _seconds(step: Callable[[], float]) -> float:
    start = time.perf_counter()
    step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("methods", nargs="*", default=list(METHODS))
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cuda = arguments.device == "cuda"
    where = torch.cuda.get_device_name() if cuda else f"{arguments.threads} threads, CPU"
    print(
        f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, torch {torch.__version__}, "
        f"{where}. Seconds a step, median of {arguments.turns} turns.\n"
    )
    print("| step | ours, s | plain, s | ratio |\n|---|--:|--:|--:|")
    for method in arguments.methods:
        module = importlib.import_module(f"plain_{method}")
        for what, make in (module.CONTESTS_CUDA if cuda else module.CONTESTS).items():
            ours, plain, ratio = turns(*make(device=arguments.device), arguments.turns)
            print(f"| {what} | {ours:.4f} | {plain:.4f} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
