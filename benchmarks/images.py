"""What reading truth costs: decoding PNGs of 800x800 pixels beside Pillow, and putting RGBA over white beside numpy.

    python benchmarks/images.py

The PNGs are written by Pillow at its default compression. All contestants take turns in one process; a row is the
median of its turns in CPU time. The first of each contest is the reference; OpenCV and imagecodecs take part where they
are installed.
"""

from __future__ import annotations

import importlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from nfbench.harness import image as images
from nfbench.harness.over import flatten
from nfbench.harness.png import read_png

SIDE = 800
TURNS = 15
WHITE = (1.0, 1.0, 1.0)
Bytes = NDArray[np.uint8]
Contest = dict[str, Callable[[], Bytes]]  # the first is the reference


def rendering() -> Bytes:
    """A textured, slightly noisy disc with a soft edge over nothing, as NeRF-synthetic images are, (800,800,4)."""
    rng = np.random.default_rng(0)
    y, x = (np.mgrid[:SIDE, :SIDE] - SIDE / 2) / (SIDE / 2)
    waves = np.stack([0.5 + 0.4 * np.sin(40 * x * f) * np.cos(23 * y + f) for f in (1, 2, 3)], axis=-1)
    alpha = np.clip((0.5 - x**2 - y**2) * 50, 0, 1)[..., None]
    colour = np.clip(waves + rng.normal(0, 0.01, waves.shape), 0, 1) * (alpha > 0)
    return np.rint(np.concatenate([colour, alpha], axis=-1) * 255).astype(np.uint8)


def readers(path: Path) -> Contest:
    """Everything installed that reads a PNG, by its name."""
    contest: Contest = {"Pillow": lambda: np.array(Pillow.open(path)), "nfbench": lambda: read_png(path)}
    for name, read in (("cv2", _by_opencv), ("imagecodecs", _by_imagecodecs)):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        contest[name] = lambda library=library, read=read: read(library, path)  # type: ignore[misc]
    return contest


def _by_opencv(cv2: object, path: Path) -> Bytes:
    stored: Bytes = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)  # type: ignore[attr-defined]
    return stored[..., [2, 1, 0, 3][: stored.shape[2]]]


def _by_imagecodecs(imagecodecs: object, path: Path) -> Bytes:
    decoded: Bytes = imagecodecs.png_decode(path.read_bytes())  # type: ignore[attr-defined]
    return decoded


def contests(folder: Path) -> dict[str, Contest]:
    """Every function under test by what it computes."""
    rgba = rendering()
    Pillow.fromarray(rgba).save(folder / "rgba.png")
    Pillow.fromarray(rgba[..., :3]).save(folder / "rgb.png")
    return {
        "RGBA PNG": readers(folder / "rgba.png"),
        "RGB PNG": readers(folder / "rgb.png"),
        "RGBA over white": {
            "numpy": lambda: images.quantise(images.composite(rgba, WHITE)),
            "nfbench": lambda: flatten(rgba, WHITE),
        },
    }


def cpu_milliseconds(run: Callable[[], object]) -> float:
    """CPU time of one call."""
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000


def table(contest: Contest) -> list[tuple[str, float, float, float, bool]]:
    """Per contestant: its name, first call and median turn in CPU ms, ratio to the reference, equal to it."""
    first = {name: cpu_milliseconds(run) for name, run in contest.items()}
    turns: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(TURNS):
        for name, run in contest.items():
            turns[name].append(cpu_milliseconds(run))
    medians = {name: statistics.median(times) for name, times in turns.items()}
    reference = next(iter(contest))
    expected = contest[reference]()
    return [
        (name, first[name], medians[name], medians[reference] / medians[name], bool(np.array_equal(run(), expected)))
        for name, run in contest.items()
    ]


def main() -> None:
    """Print one Markdown table."""
    print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {SIDE}x{SIDE}, ", end="")
    print(f"median of {TURNS} turns in CPU time; the first call compiles, or loads what was compiled\n")
    print("| task | by | first call, ms | ms | ratio | equal |\n|---|---|--:|--:|--:|---|")
    with tempfile.TemporaryDirectory() as folder:
        for task, contest in contests(Path(folder)).items():
            for name, first, median, ratio, equal in table(contest):
                print(f"| {task} | {name} | {first:.0f} | {median:.2f} | {ratio:.1f} | {'yes' if equal else 'NO'} |")


if __name__ == "__main__":
    main()
