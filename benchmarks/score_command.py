"""What scoring a whole set of images costs beside NerfBaselines: PSNR and SSIM of PNGs, each as one whole command.

    python benchmarks/score_command.py [VIEWS] --peer PYTHON

PYTHON is an interpreter with nerfbaselines installed, for instance of an environment of its own. Its `evaluate` always
computes LPIPS too; here LPIPS is replaced by a constant on that side and left out of the protocol on ours. The two
commands take turns; CPU time and peak memory are those of the whole process, start and imports included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.png import write_png

SIDE = 800
TURNS = 3
PROTOCOL = """
name = "psnr-and-ssim"
version = 1
primary = "psnr"
source = "this benchmark"
summary = "PSNR and SSIM of nerf-synthetic@1"
[image]
background = [1.0, 1.0, 1.0]
[image.columns.psnr]
metric = "psnr"
[image.columns.ssim]
metric = "ssim"
"""
PEER = """
import sys, numpy as np
from nerfbaselines import evaluation, metrics
nothing = lambda gt, pred, **_: np.zeros(gt.shape[:-3])
metrics.lpips = metrics.lpips_vgg = nothing
evaluation.evaluate(sys.argv[1], sys.argv[2])
"""


def render(index: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Truth (H,W,4), a textured disc on nothing as NeRF-synthetic images have it, and a noisy prediction (H,W,3)."""
    rng = np.random.default_rng(index)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    waves = np.stack([0.5 + 0.4 * np.sin(40 * x * f + index) * np.cos(23 * y + f) for f in (1, 2, 3)], axis=-1)
    disc = (x**2 + y**2 < 0.5)[..., None]
    noisy = np.where(disc, waves + rng.normal(0, 0.03, waves.shape), 1.0)
    truth = np.concatenate([np.where(disc, waves, 0), disc], axis=-1)
    return tuple(np.rint(np.clip(a, 0, 1) * 255).astype(np.uint8) for a in (truth, noisy))  # type: ignore[return-value]


def write_set(folder: Path, views: int) -> None:
    """The set for both: truth/ and color/, and NerfBaselines' gt-color/ and info.json."""
    for index in range(views):
        truth, prediction = render(index)
        name = f"{index:05d}.png"
        write_png(folder / "gt-color" / name, truth)
        write_png(folder / "color" / name, prediction)
    metadata = {"background_color": [255, 255, 255], "color_space": "srgb", "id": "blender", "scene": "disc"}
    info = {"evaluation_protocol": "default", "render_dataset_metadata": metadata, "dataset_metadata": metadata}
    (folder / "info.json").write_text(json.dumps(info))
    (folder / "psnr-and-ssim.toml").write_text(PROTOCOL)


def cost(command: list[str], folder: Path) -> tuple[float, float, int]:
    """CPU seconds, wall seconds and peak bytes of a command."""
    with (folder / "output.txt").open("wb") as sink:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit((folder / "output.txt").read_text())
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start, usage.ru_maxrss * 1024


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", nargs="?", type=int, default=200)
    parser.add_argument("--peer", metavar="PYTHON", help="an interpreter with nerfbaselines")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, given.views)
        ours = [sys.executable, "-m", "nfbench.harness.cli", "score", f"{folder}/color", f"{folder}/gt-color"]
        ours += ["--protocol", f"{folder}/psnr-and-ssim.toml", "--json", "--quiet"]
        commands = {"nfbench score": ours}
        if given.peer:
            commands = {
                "NerfBaselines evaluate": [given.peer, "-c", PEER, str(folder), f"{folder}/out.json"],
                **commands,
            }
        turns: dict[str, list[tuple[float, float, int]]] = {who: [] for who in commands}
        for _ in range(TURNS):
            for who, command in commands.items():
                (folder / "out.json").unlink(missing_ok=True)
                turns[who].append(cost(command, folder))
        print(f"{time.strftime('%Y-%m-%d')}, {given.views} views of {SIDE}x{SIDE}, median of {TURNS} turns\n")
        print("| command | CPU s | wall s | peak MiB | ratio of CPU | ratio of wall |\n|---|--:|--:|--:|--:|--:|")
        medians = {
            who: [sorted(column)[TURNS // 2] for column in zip(*rows, strict=True)] for who, rows in turns.items()
        }
        first = next(iter(medians.values()))
        for who, (cpu, wall, peak) in medians.items():
            ratios = f"{first[0] / cpu:.1f} | {first[1] / wall:.1f}"
            print(f"| {who} | {cpu:.1f} | {wall:.1f} | {peak / 2**20:.0f} | {ratios} |")


if __name__ == "__main__":
    main()
