"""Field to mesh beside dense marching cubes by scikit-image: evaluations of the field, CPU time, peak memory.

    python benchmarks/extraction.py [RESOLUTION ...]

Every case runs in a process of its own, whose peak of resident memory it tells; the contestants take turns. The field
is a formula, so that the time is that of the extraction; with a network, the evaluations are what costs.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from nfbench.harness.extraction import extracted

RESOLUTIONS = (128, 256, 512, 1024)
BOX = np.array([[-0.55] * 3, [0.55] * 3])
CHUNK = 1 << 16
Points = NDArray[np.float32]
Reals = NDArray[np.floating]


def ball(xyz: Points) -> Reals:
    """Signed distance of a ball of radius 0.4."""
    return np.asarray(np.sqrt(np.einsum("pk,pk->p", xyz, xyz)) - 0.4)


def chair(xyz: Points) -> Reals:
    """A bound of the signed distance of a seat, a back and four thin legs."""
    parts = [([-0.3, -0.3, -0.03], [0.3, 0.3, 0.03]), ([-0.3, 0.25, 0.0], [0.3, 0.3, 0.5])]
    parts += [([x - 0.015, y - 0.015, -0.5], [x + 0.015, y + 0.015, 0.0]) for x in (-0.28, 0.28) for y in (-0.28, 0.28)]
    boxes = [np.abs(xyz - np.float32(np.add(*part) / 2)) - np.float32(np.subtract(*part[::-1]) / 2) for part in parts]
    return np.asarray(np.min([box.max(1) for box in boxes], axis=0))


def waves(xyz: Points) -> Reals:
    """A gyroid, whose surface fills the box."""
    x, y, z = xyz.T * np.float32(14)
    return np.asarray((np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)) / 20)


FIELDS = {"ball": ball, "chair": chair, "waves": waves}


def dense(value: Callable[[Points], Reals], resolution: int) -> tuple[int, int]:
    """Evaluations and faces of marching cubes on all points."""
    n = resolution + 1
    axis = np.linspace(-0.55, 0.55, n, dtype=np.float32)
    grid = np.full((n + 2,) * 3, -1, np.float32)
    plane = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    for index, x in enumerate(axis):
        xyz = np.column_stack([np.full(len(plane), x), plane])
        parts = [value(xyz[start : start + CHUNK]) for start in range(0, len(xyz), CHUNK)]
        grid[index + 1, 1:-1, 1:-1] = -np.concatenate(parts).reshape(n, n)
    return n**3, len(marching_cubes(grid, 0.0)[1])


def ours(value: Callable[[Points], Reals], resolution: int) -> tuple[int, int]:
    """Evaluations and faces of nfbench's extraction."""
    found = extracted(value, BOX, resolution, 0.0, inside_above=False)
    return found.evaluations, len(found.mesh.faces)


CONTESTANTS = {"dense": dense, "nfbench": ours}


def case(who: str, name: str, resolution: int) -> None:
    """Print what one extraction took, as JSON."""
    CONTESTANTS[who](FIELDS[name], 96)  # compiles or loads what was compiled
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    evaluations, faces = CONTESTANTS[who](FIELDS[name], resolution)
    seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps([evaluations, faces, seconds, (peak - before) / 1024]))


def main(resolutions: list[int]) -> None:
    """Print the table."""
    print(f"{datetime.now(UTC):%Y-%m-%d}. Memory is the peak above what the process had before.\n")
    print("| cells | field | by | faces | evaluations | ratio | CPU s | ratio | memory, MiB |")
    print("|--:|---|---|--:|--:|--:|--:|--:|--:|")
    for resolution in resolutions:
        for name in FIELDS:
            first: list[float] = []
            for who in CONTESTANTS:
                command = [sys.executable, __file__, "--case", who, name, str(resolution)]
                evaluations, faces, seconds, mib = json.loads(subprocess.check_output(command))
                first = first or [evaluations, seconds]
                print(
                    f"| {resolution} | {name} | {who} | {faces} | {evaluations} | {first[0] / evaluations:.1f} | "
                    f"{seconds:.2f} | {first[1] / seconds:.1f} | {mib:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        case(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        main([int(n) for n in sys.argv[1:]] or list(RESOLUTIONS))
