"""Writes the sampling floors of the protocols that come with nfbench: `harness/protocols/floors.json`.

    python benchmarks/floors.py

Run it when a protocol with surfaces is added or changed; a test compares the file with the protocols.
"""

from __future__ import annotations

import functools
import json
import sys

from nfbench.harness.protocol import read_protocol
from nfbench.harness.sampling_floor import SHIPPED, Floor, sampling_floor, sphere_pairs


def floors() -> dict[str, Floor]:
    """Protocol id to floor; the protocols that draw alike share their points."""
    pairs = functools.cache(sphere_pairs)
    protocols = (read_protocol(path) for path in sorted(SHIPPED.parent.glob("*.toml")))
    return {protocol.id: sampling_floor(protocol, pairs) for protocol in protocols if protocol.surface is not None}


def main() -> int:
    """Write the file and say what stands in it."""
    found = floors()
    SHIPPED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    for name, floor in found.items():
        for column, value in floor["columns"].items():
            shown = f"{value['mean']:.6g} ± {value['std']:.2g}" if value["reason"] is None else value["reason"]
            print(f"{name:20} {column:24} {shown}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
