"""`nfbench prepare`."""

from __future__ import annotations

from pathlib import Path

from nfbench.harness.console import watching
from nfbench.harness.registry import resolve


def prepare_meshes(
    meshes: Path,
    destination: Path,
    to: str,
    split: str,
    seed: int,
    views: int,
    pixels: int,
    jobs: int,
    skip_bad: bool,
    quiet: bool,
) -> None:
    """Make a dataset of meshes and say what was left out.

    Raises:
        NfbenchError: as `nfbench.loaders.prepare.prepare` does.
    """
    settings = resolve("nfbench.loaders.prepare:Settings")(to, seed, views, pixels)
    with watching(quiet) as watcher:
        wrong = resolve("nfbench.loaders.prepare:prepare")(
            meshes,
            destination,
            settings,
            split=split,
            jobs=jobs,
            skip_bad=skip_bad,
            progress=lambda fraction, name: watcher.progress(f"prepare {name}", fraction, {}),
        )
        for name, why in wrong.items():
            watcher.line(f"left out: {name}: {why}")
    print(f"Wrote {destination} in {to} format{f'; {len(wrong)} meshes were left out' if wrong else ''}.")
