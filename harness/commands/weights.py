"""Files of LPIPS weights, as commands are given them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nfbench.harness.errors import DataMissing


def check_weights(files: Sequence[Path]) -> None:
    """Raise DataMissing for a file of LPIPS weights that is not there."""
    for file in files:
        if not file.is_file():
            raise DataMissing(f"There is no weights file {file}.", "Check the path given to --lpips-weights.")
