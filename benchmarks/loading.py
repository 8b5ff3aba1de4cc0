"""What loading costs beside what was asked of it: scenes, decoding, random rays, shapes and preparing samples.

    python benchmarks/loading.py [--only TEXT]

All data is made in a temporary folder. CPU time of one process, best of a few turns; `x` is how many times as fast. A
scene is opened in a fresh process, so that memory counts as it does for a user. `images.py` has more decoders of PNGs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import images
import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image as Pillow

from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.decoded import DecodedViews
from nfbench.harness.png import read_png, write_png
from nfbench.harness.raybatches import RayBatches
from nfbench.harness.scene import Mesh, Views
from nfbench.loaders.arrayfile import write_npz
from nfbench.loaders.mesh_samples import distances, normalised
from nfbench.loaders.onet import read_points

Row = tuple[str, str, str]  # what, target, figure

HEAD = "| what | target | measured |\n|---|--:|--:|"
MANY = 10_000  # images of the large scene
VIEWS, SIDE, BATCH = 100, 800, 4096
SHAPES, POINTS = 200, 100_000  # of an Occupancy Networks points.npz
SAMPLES = 250_000  # of DeepSDF
TURNS = 5
OPEN = """
import resource, sys, time
from pathlib import Path
from nfbench.loaders import {0} as loader
start = time.perf_counter(), time.process_time()
scene = loader.read(Path(sys.argv[1]))
seconds = time.perf_counter() - start[0], time.process_time() - start[1]
views = len(scene.given.views) + len(scene.hidden)
print(*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, views)
"""


def poses(count: int) -> NDArray[np.float32]:
    """Cameras (count,3,4) around the origin, looking at it."""
    places = np.random.default_rng(0).normal(size=(count, 3))
    return np.stack([look_at(4 * place / np.linalg.norm(place), (0, 0, 0)) for place in places])


def write_many(folder: Path, layout: str) -> None:
    """A scene of `MANY` images of 2x2 pixels, each a file of its own, as Blender's scenes or nerfstudio's."""
    blender = layout == "blender"
    c2w = poses(MANY)
    c2w[:, :, 1:3] *= -1  # OpenGL axes
    last = [0.0, 0.0, 0.0, 1.0]
    frames = [
        {"file_path": f"./images/r_{i}{'' if blender else '.png'}", "transform_matrix": [*pose.tolist(), last]}
        for i, pose in enumerate(c2w)
    ]
    (folder / "images").mkdir(parents=True)
    write_png(folder / "images" / "r_0.png", np.zeros((2, 2, 4 if blender else 3), np.uint8))
    data = (folder / "images" / "r_0.png").read_bytes()
    for i in range(1, MANY):
        (folder / "images" / f"r_{i}.png").write_bytes(data)
    if blender:
        for split, some in (("train", frames[: MANY // 2]), ("test", frames[MANY // 2 :])):
            text = json.dumps({"camera_angle_x": 0.7, "frames": some})
            (folder / f"transforms_{split}.json").write_text(text)
    else:
        text = json.dumps({"fl_x": 2, "fl_y": 2, "cx": 1, "cy": 1, "w": 2, "h": 2, "frames": frames})
        (folder / "transforms.json").write_text(text)


def write_srn(folder: Path) -> None:
    """The same of SRN's layout, which has a file for each pose too."""
    for part in ("rgb", "pose"):
        (folder / part).mkdir(parents=True)
    write_png(folder / "rgb" / "0.png", np.zeros((2, 2, 3), np.uint8))
    data = (folder / "rgb" / "0.png").read_bytes()
    for i, pose in enumerate(poses(MANY)):
        (folder / "rgb" / f"{i}.png").write_bytes(data)
        (folder / "pose" / f"{i}.txt").write_text(" ".join(map(str, [*pose.ravel().tolist(), 0, 0, 0, 1])))
    (folder / "intrinsics.txt").write_text("2.05 1 1 0.\n0. 0. 0.\n1.\n2 2\n")
    (folder / "convention.txt").write_text("opencv\n")


def opening(folder: Path) -> list[Row]:
    """Seconds and memory to open a scene of many images, none decoded."""
    rows = []
    for layout in ("blender", "nerfstudio", "srn"):
        if layout == "srn":
            write_srn(folder / layout)
        else:
            write_many(folder / layout, layout)
        command = [sys.executable, "-c", OPEN.format(layout), str(folder / layout)]
        runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(TURNS)]
        wall, cpu, memory, views = np.array([run.split() for run in runs], float).min(0)
        assert views == MANY
        rows.append((f"{layout} scene of {MANY:,} images: open", "< 1 s", f"{wall:.2f} s, {cpu:.2f} CPU s"))
        rows.append((f"{layout} scene of {MANY:,} images: memory", "< 300 MB", f"{memory:.0f} MB"))
    return rows


def seconds(run: Callable[[], object], turns: int = TURNS) -> float:
    """CPU seconds of the best of several turns, after one that compiles."""
    run()
    times = []
    for _ in range(turns):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def ray_batches(folder: Path) -> list[Row]:
    """Random rays with colours from the decoded file of views, and what the file costs."""
    (folder / "views").mkdir()
    file = folder / "views" / "first.png"
    Pillow.fromarray(images.rendering()).save(file)
    files = tuple(folder / "views" / f"{i}.png" for i in range(VIEWS))
    for each in files:
        os.link(file, each)
    K = np.array([[1111.0, 0, SIDE / 2], [0, 1111, SIDE / 2], [0, 0, 1]])
    cameras = Cameras(poses(VIEWS), np.tile(K, (VIEWS, 1, 1)), np.full((VIEWS, 2), SIDE))
    views = Views(cameras, tuple(str(i) for i in range(VIEWS)), lambda i: read_png(files[i]), files=files)

    def opened() -> DecodedViews:
        return DecodedViews(views, images.WHITE, cache=folder / "cache")

    start = time.process_time()
    decoded = opened()
    first = time.process_time() - start
    assert decoded.mapped
    batches, generator = RayBatches(decoded), np.random.default_rng(0)

    def thousand() -> None:
        for _ in range(1000):
            batches.draw(BATCH, generator)

    rate = 1000 * BATCH / seconds(thousand)
    what = f"{VIEWS} views of {SIDE}x{SIDE}"
    return [
        (f"rays with colours, {what}, batches of {BATCH}", "≥ 2 M/s", f"{rate / 1e6:.1f} M/s a core"),
        (f"decoding {what} to disk", "", f"{first:.2f} CPU s"),
        ("opening them decoded, checked", "", f"{seconds(opened):.2f} CPU s"),
    ]


def decoding(folder: Path) -> list[Row]:
    """PNGs of 800x800 pixels, beside Pillow."""
    rows = []
    for name, image in (("RGBA", images.rendering()), ("RGB", images.rendering()[..., :3])):
        file = folder / f"{name}.png"
        Pillow.fromarray(image).save(file)
        times = {by: seconds(read, 3 * TURNS) for by, read in images.readers(file).items()}
        figures = [f"{times['Pillow'] / taken:.2f}x ({by})" for by, taken in times.items() if by != "Pillow"]
        rows.append((f"{name} PNG, beside Pillow's {times['Pillow'] * 1000:.1f} ms", "≥ 1.8x", ", ".join(figures)))
    return rows


def shapes(folder: Path) -> list[Row]:
    """Points in space with occupancy, as Occupancy Networks' files hold them: float16, packed to bits."""
    generator = np.random.default_rng(0)
    files = [folder / "shapes" / f"{i}" / "points.npz" for i in range(SHAPES)]
    for file in files:
        file.parent.mkdir(parents=True)
        xyz = generator.uniform(-0.55, 0.55, (POINTS, 3)).astype(np.float16)
        bits = np.packbits(np.linalg.norm(xyz.astype(np.float32), axis=1) < 0.4)
        write_npz(file, {"points": xyz, "occupancies": bits, "loc": np.zeros(3), "scale": np.array(1.0)})
    rate = SHAPES / seconds(lambda: [read_points(file) for file in files], 3)
    return [(f"points.npz of {POINTS:,} points", "≥ 300 shapes/s", f"{rate:.0f} shapes/s a core")]


def preparing(folder: Path) -> list[Row]:
    """Signed distances around a wavy torus of 84,000 faces."""
    torus = trimesh.creation.torus(1.0, 0.3, 300, 140)
    vertices = np.asarray(torus.vertices)
    vertices = vertices * (1 + 0.15 * np.sin(vertices @ np.diag([9.0, 8.0, 7.0]))[:, ::-1])
    mesh, _ = normalised(Mesh(vertices, np.asarray(torus.faces)), "sphere")
    taken = seconds(lambda: distances(mesh, SAMPLES, 0), 1)
    what = f"mesh of {len(mesh.faces):,} faces to {SAMPLES:,} DeepSDF samples"
    return [(what, "≤ 10 CPU s", f"{taken:.1f} CPU s")]


PARTS: dict[str, Callable[[Path], list[Row]]] = {
    "scene": opening,
    "rays": ray_batches,
    "PNG": decoding,
    "points.npz": shapes,
    "prepare": preparing,
}


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", metavar="TEXT", default="", help=f"parts whose name has this in it: {', '.join(PARTS)}"
    )
    given = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores.\n\n{HEAD}")
    for name, part in PARTS.items():
        if given.only in name:
            with tempfile.TemporaryDirectory() as folder:
                for row in part(Path(folder)):
                    print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
