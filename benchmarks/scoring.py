"""What scoring costs beside the packages that are used for it today, each metric by itself.

    python benchmarks/scoring.py [--only TEXT] [--lpips-weights FILE]

All contestants of a row take turns in one process. `score_command.py` compares whole commands.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import geometry
import images
import perceptual
from contest import HEAD, heading, print_rows


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="TEXT", default="", help="rows whose name has this in it")
    parser.add_argument("--lpips-weights", metavar="FILE", type=Path, help="AlexNet's; without it LPIPS is left out")
    given = parser.parse_args()
    print(heading())
    print(HEAD)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = images.contests(folder) | geometry.contests()
        if given.lpips_weights:
            found |= perceptual.contests(folder / "features", given.lpips_weights)
        for what, (contest, turns) in found.items():
            if given.only in what:
                print_rows(what, contest, turns)


if __name__ == "__main__":
    main()
