"""What the harness itself offers: its protocols, one TOML file each."""

from pathlib import Path

from nfbench.harness.registry import ProtocolSpec

SPECS = tuple(
    ProtocolSpec(path.stem, f"nfbench.harness:protocols/{path.name}")
    for path in sorted((Path(__file__).parent / "protocols").glob("*.toml"))
)
