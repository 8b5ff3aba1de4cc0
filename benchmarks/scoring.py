"""What scoring an image costs beside scikit-image: SSIM and PSNR of one pair of 800x800x3 8-bit images.

    python benchmarks/scoring.py

All contestants take turns in one process; a row is the median of its turns in CPU time. SSIM in float64
and float32 has scikit-image's float64 on float images as its reference, PSNR scikit-image's on the 8-bit images.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from nfbench.harness import image

SIDE = 800
TURNS = 15
Contest = dict[str, Callable[[], float]]  # the first is the reference


def pair() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A textured disc on white, as NeRF-synthetic images are, and a noisy copy."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    waves = np.stack([0.5 + 0.4 * np.sin(40 * x * f) * np.cos(23 * y + f) for f in (1, 2, 3)], axis=-1)
    truth = np.where((x**2 + y**2 < 0.5)[..., None], waves, 1.0)
    noisy = truth + rng.normal(0, 0.03, truth.shape)
    return tuple(np.rint(np.clip(a, 0, 1) * 255).astype(np.uint8) for a in (noisy, truth))  # type: ignore[return-value]


def contests(x: NDArray[np.uint8], y: NDArray[np.uint8]) -> dict[str, Contest]:
    """Every function under test by what it computes, on the same two images."""
    x64, y64 = x / 255, y / 255
    return {
        "SSIM": {
            "scikit-image, float64": lambda: structural_similarity(
                x64, y64, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1, channel_axis=-1
            ),
            "nfbench, 8-bit, double": lambda: float(image.ssim(x, y)),
            "nfbench, 8-bit, single": lambda: float(image.ssim(x, y, precision="single")),
            "nfbench, float64, double": lambda: float(image.ssim(x64, y64)),
        },
        "SSIM, 7x7 uniform": {
            "scikit-image, float64": lambda: structural_similarity(x64, y64, data_range=1, channel_axis=-1),
            "nfbench, 8-bit, double": lambda: float(image.ssim(x, y, variant="uniform7")),
            "nfbench, 8-bit, single": lambda: float(image.ssim(x, y, variant="uniform7", precision="single")),
        },
        "PSNR": {
            "scikit-image, 8-bit": lambda: peak_signal_noise_ratio(y, x),
            "nfbench, 8-bit": lambda: float(image.psnr(x, y)),
        },
    }


def cpu_milliseconds(run: Callable[[], float]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000


def table(contest: Contest) -> list[tuple[str, float, float, float, float]]:
    """Per contestant: its name, first call and median turn in CPU ms, ratio to the reference, difference from it."""
    first = {name: cpu_milliseconds(run) for name, run in contest.items()}
    turns: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(TURNS):
        for name, run in contest.items():
            turns[name].append(cpu_milliseconds(run))
    medians = {name: statistics.median(times) for name, times in turns.items()}
    reference = next(iter(contest))
    value = contest[reference]()
    return [
        (name, first[name], medians[name], medians[reference] / medians[name], abs(run() - value))
        for name, run in contest.items()
    ]


def main() -> None:
    """Print one Markdown table."""
    print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {SIDE}x{SIDE}x3, ", end="")
    print(f"median of {TURNS} turns in CPU time; the first call compiles, or loads what was compiled\n")
    print("| metric | by | first call, ms | ms | ratio | difference |\n|---|---|--:|--:|--:|--:|")
    for metric, contest in contests(*pair()).items():
        for name, first, median, ratio, difference in table(contest):
            print(f"| {metric} | {name} | {first:.0f} | {median:.2f} | {ratio:.1f} | {difference:.0e} |")


if __name__ == "__main__":
    main()
