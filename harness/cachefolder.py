"""Where nfbench keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path | None:
    """The folder for what can be made again: XDG_CACHE_HOME/nfbench, else ~/.cache/nfbench; None without a home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if Path(given).is_absolute():
        return Path(given) / "nfbench"
    try:
        return Path.home() / ".cache" / "nfbench"
    except RuntimeError:
        return None
