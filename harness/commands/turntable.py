"""`nfbench turntable`."""

from __future__ import annotations

from pathlib import Path

from nfbench.harness.console import watching
from nfbench.harness.restored import restored_run
from nfbench.harness.runner import choose_device
from nfbench.harness.turntable import turntable


def film_run(
    run: Path,
    output: Path,
    *,
    task: str,
    format: str | None,
    method: str,
    frames: int,
    pixels: int,
    what: str,
    device: str,
    quiet: bool,
) -> None:
    """Film the field of a run's folder on a turntable, and say what is to be seen.

    Raises:
        NfbenchError: the run cannot be brought back, or what is asked for cannot be shown.
    """
    with watching(quiet) as watcher:
        found = restored_run(run, task, format, method, choose_device(device))
        shown = turntable(
            found.field,
            found.scene,
            output,
            frames,
            pixels,
            tuple(name.strip() for name in what.split(",")),
            found.protocol.surface,
            lambda fraction: watcher.progress("turntable", fraction, {}),
        )
    print(f"Wrote {output}: {', '.join(shown)} from left to right, {frames} frames.")
