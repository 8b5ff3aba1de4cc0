"""Steps a second, memory and time to PSNR 25, 28 and 30 of NeRF on the chair: paper, fast and a plain fp32 step.

    .venv/bin/python benchmarks/nerf_time.py FOLDER [--minutes 6] [--fast-minutes 1]   in the blender format
    .venv/bin/python benchmarks/nerf_time.py --small                                  a procedural scene on the CPU

All three in one run on one device, one after the other; prints a Markdown table. The budget of `fast` may be another.
Validation is on every so-manieth hidden view, at set times, with the clock stopped. `paper` and the plain step are
trained with the config of `paper`, whose rate follows the budget; the plain step is that of `plain_nerf.py`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nfbench.baselines.nerf import FAST, PAPER, TINY, Nerf, NerfConfig, NerfField
from nfbench.baselines.rays import Pixels, bounded, camera_rays
from nfbench.harness.camera import Cameras
from nfbench.harness.image import flattened
from nfbench.harness.method import Budget, Progress, Validation
from nfbench.harness.probe import ball
from nfbench.harness.scene import Float, Scene
from nfbench.loaders import blender

sys.path.insert(0, str(Path(__file__).parent))
from plain_nerf import PlainNerf, plain_loss

TARGETS = (25.0, 28.0, 30.0)
_CHUNK = 1 << 12  # rays of the plain field that are rendered at once


@dataclass
class Curve:
    """What one contestant did.

    Attributes:
        seconds: of the budget at each validation.
        psnr: then.
        steps: taken in all.
        spent: seconds for them.
        memory: the most that the device held, bytes.
    """

    seconds: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    steps: int = 0
    spent: float = 0.0
    memory: int = 0

    def reached(self, target: float) -> float | None:
        """The seconds after which the PSNR was first `target` or more."""
        return next((s for s, p in zip(self.seconds, self.psnr, strict=True) if p >= target), None)


class PlainField:
    """What the plain networks render, for validation."""

    def __init__(self, plain: PlainNerf, bounds: NerfField) -> None:
        self.plain, self.bounds = plain, bounds

    @torch.no_grad()
    def render(self, cameras: Cameras) -> Float:
        """Images (N,H,W,3) of N cameras of one size."""
        width, height = cameras.size[0].tolist()
        images = []
        for index in range(len(cameras)):
            origins, directions = camera_rays(cameras, index, self.bounds.box.device)
            rays = bounded(cameras, index, origins, directions, self.bounds.bounds)
            parts = [self.plain.colours(rays[i : i + _CHUNK], False)[1] for i in range(0, len(rays), _CHUNK)]
            images.append(torch.cat(parts).clamp(0, 1).view(height, width, 3).cpu().numpy())
        return np.stack(images)


def measured(scene: Scene, every: int) -> Callable[[Any], Mapping[str, float]]:
    """A measure for Validation: the mean PSNR over every so-manieth hidden view."""
    views = scene.hidden
    assert views is not None
    chosen = range(0, len(views), every)
    truths = [flattened(views.image(i), scene.background).astype(np.float64) / 255 for i in chosen]

    def measure(rendering: Any) -> Mapping[str, float]:  # noqa: ANN401  # whatever renders
        errors = [
            ((rendering.render(views.cameras[[i]])[0] - t) ** 2).mean() for i, t in zip(chosen, truths, strict=True)
        ]
        return {"psnr": float(np.mean([-10 * math.log10(error) for error in errors]))}

    return measure


def ours(config: NerfConfig, scene: Scene, budget: Budget, check: Validation, device: str) -> Curve:
    """A fit of `nerf`."""
    curve = Curve()

    def listen(progress: Progress) -> None:
        curve.steps = max(curve.steps, progress.step + 1)
        if "validation psnr" in progress.numbers:
            curve.seconds.append(progress.seconds)
            curve.psnr.append(progress.numbers["validation psnr"])
        curve.spent = progress.seconds

    return _watched(
        curve, device, lambda: Nerf(config, 0, device).fit(scene.seen(), budget.start(listen, validation=check))
    )


def plain(config: NerfConfig, scene: Scene, budget: Budget, check: Validation, device: str) -> Curve:
    """The same with plain PyTorch steps, each of rays of one view."""
    curve = Curve()

    def fit() -> None:
        start = budget.start()
        views = scene.given.views
        assert views is not None
        bounds = NerfField(config, scene.box, scene.background, device)
        networks = PlainNerf(bounds)
        pixels = Pixels(views, scene.background, bounds.bounds, device)
        draws = torch.Generator(device).manual_seed(0)
        adam = torch.optim.Adam(networks.networks.parameters(), lr=config.rate)
        stopped, due = 0.0, list(check.seconds)
        while (now := start.elapsed() - stopped) < (budget.seconds or math.inf) or not curve.steps:
            adam.param_groups[0]["lr"] = config.rate * config.rate_decay ** (now / (budget.seconds or 1))
            rays, truth = pixels.draw(config.rays, draws, config.one_view)
            adam.zero_grad()
            torch.autograd.backward(plain_loss(networks, rays, truth, True))
            adam.step()
            curve.steps += 1
            if due and start.elapsed() - stopped >= due[0]:
                _finished(device)
                began = time.perf_counter()
                while due and due[0] <= start.elapsed() - stopped:
                    due.pop(0)
                curve.seconds.append(start.elapsed() - stopped)
                curve.psnr.append(check.measure(PlainField(networks, bounds))["psnr"])
                stopped += time.perf_counter() - began
        _finished(device)
        curve.spent = start.elapsed() - stopped

    return _watched(curve, device, fit)


def _watched(curve: Curve, device: str, run: Callable[[], object]) -> Curve:
    """The curve, after the run has filled it and its memory has been read."""
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    run()
    curve.memory = torch.cuda.max_memory_allocated() if cuda else 0
    return curve


def _finished(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def table(curves: Mapping[str, Curve]) -> str:
    """Markdown: one row a contestant, and how much sooner than the plain step each PSNR was reached."""
    plain_curve = curves.get("plain")
    heads = "".join(f" s to {t:g} dB | ratio |" for t in TARGETS)
    lines = [f"| what | steps/s | memory, GiB | last dB |{heads}", "|---|--:|--:|--:|" + "--:|--:|" * len(TARGETS)]
    for name, curve in curves.items():
        row = f"| {name} | {curve.steps / max(curve.spent, 1e-9):.1f} | {curve.memory / 2**30:.2f} |"
        row += f" {curve.psnr[-1]:.2f} |" if curve.psnr else " - |"
        for target in TARGETS:
            took, plainly = curve.reached(target), plain_curve.reached(target) if plain_curve else None
            row += f" {took:.1f} |" if took is not None else " - |"
            row += f" {plainly / took:.1f} |" if took is not None and plainly is not None else " - |"
        lines.append(row)
    return "\n".join(lines)


def race(
    scene: Scene,
    contestants: Sequence[str],
    seconds: tuple[float, float],
    device: str,
    paper: NerfConfig,
    fast: NerfConfig,
    every: int,
    times: int,
) -> dict[str, Curve]:
    """The curves of the contestants on one scene; `seconds` are those of `fast` and those of each of the others."""
    measure = measured(scene, every)

    def check(whole: float) -> Validation:  # closer together at the beginning, where PSNR rises most
        return Validation(tuple(whole * ((i + 1) / times) ** 2 for i in range(times)), measure)

    quick, slow = seconds
    once = Budget(seconds=1e-3)  # what is imported, compiled or set up once in a process is not timed
    ours(fast, scene, once, check(1e-3), device)
    plain(paper, scene, once, check(1e-3), device)
    runs = {"fast": (ours, fast, quick), "paper": (ours, paper, slow), "plain": (plain, paper, slow)}
    curves = {}
    for name in contestants:
        contest, config, length = runs[name]
        curves[name] = contest(config, scene, Budget(seconds=length), check(length), device)
        reached = zip(curves[name].seconds, curves[name].psnr, strict=True)
        print(f"{name}, dB after s:", ", ".join(f"{psnr:.2f} {at:.1f}" for at, psnr in reached), flush=True)
    return curves


def main(arguments: list[str]) -> None:
    """Run the race and print its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="a scene in the blender format")
    parser.add_argument("--minutes", type=float, default=6.0, help="budget of each of the three")
    parser.add_argument("--fast-minutes", type=float, help="budget of fast, where it is another")
    parser.add_argument("--every", type=int, default=10, help="so many hidden views lie between two that are measured")
    parser.add_argument("--times", type=int, default=60, help="validations a run")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="small networks and a procedural scene, some seconds")
    parser.add_argument("--contestants", nargs="*", default=["fast", "paper", "plain"], help="some of the three")
    given = parser.parse_args(arguments)
    if not given.small and given.folder is None:
        parser.error("name a folder, or --small")
    minutes = (given.minutes if given.fast_minutes is None else given.fast_minutes, given.minutes)
    name = torch.cuda.get_device_name() if given.device.startswith("cuda") else "CPU"
    print(
        f"{time.strftime('%Y-%m-%d')}, {name}, PyTorch {torch.__version__}, {minutes[0]:g} min for fast, "
        f"{minutes[1]:g} min each for paper and plain.\n"
    )
    seconds = (minutes[0] * 60, minutes[1] * 60)
    if given.small:
        paper = dataclasses.replace(PAPER, layers=3, skip=2, width=32, view_width=16, coarse=16, fine=16, rays=128)
        fast = dataclasses.replace(TINY, width=32, coarse=48, grid=16, samples=2048)
        with tempfile.TemporaryDirectory() as folder:
            scene = ball(Path(folder))
            print(table(race(scene, given.contestants, seconds, given.device, paper, fast, 2, 3)))
    else:
        scene = blender.read(given.folder)
        print(table(race(scene, given.contestants, seconds, given.device, PAPER, FAST, given.every, given.times)))


if __name__ == "__main__":
    main(sys.argv[1:])
