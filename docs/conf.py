"""Sphinx: the pages here, and the protocols as their files have them."""

from pathlib import Path
from typing import Any

from nfbench import __version__

project = "nfbench"
author = "The nfbench founders"
copyright = "2026, the nfbench founders"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"nfbench {release}"
exclude_patterns = ["_build"]
autodoc_typehints = "description"
autodoc_member_order = "bysource"
myst_enable_extensions = ["colon_fence"]


html_extra_path = ["../harness/protocols/schema.json"]

INTRODUCTION = """# Protocols

Two numbers may share a column only when they share a protocol id.

*Penalty*: what a lost item, missing or failed, counts as in the penalised mean; boards show it beside the mean of the
valid items and their number. *Floor*: what the column says when the prediction is the truth itself, its points drawn
once more: the mean and the standard deviation over five seeds, on a sphere drawn exactly. A difference smaller than
that is no difference, and a perfect surface does not score 0.

A protocol is a TOML file. Its keys are those of the <a href="schema.json">JSON Schema</a>, which
`nfbench list schema` prints too; an editor checks a file whose first line is `#:schema` and the schema's address. An
unknown key is refused with the nearest known one. [Plugging in](plugging-in.md) says how a package offers its own, and
`nfbench list protocols --json` gives all of this page to a program.
"""


def write_protocols() -> None:
    from nfbench.harness.listing import floor_told, protocols

    lines = [INTRODUCTION]
    for row in protocols():
        lines += [f"## {row['name']}", "", row["summary"], "", f"*Source*: {row['source']}", ""]
        lines += [f"Ranks by `{row['primary']}`.", "", *table(row["columns"]), ""]
        if row["floor"]:
            lines += [f"*Sampling floor*: {floor_told(row)}.", ""]
    (Path(__file__).parent / "protocols.md").write_text("\n".join(lines))


def table(columns: dict[str, dict[str, Any]]) -> list[str]:
    lines = ["| column | unit | better | choices | penalty | floor |", "|---|---|---|---|---|---|"]
    for name, column in columns.items():
        apart = ("unit", "better", "metric", "penalty", "floor")
        choices = ", ".join(f"{key} {value}" for key, value in column.items() if key not in apart)
        penalty = "" if column["penalty"] is None else f"{column['penalty']:.6g}"
        floor = column["floor"] or {"mean": None}
        told = "" if floor["mean"] is None else f"{floor['mean']:.5g} ± {floor['std']:.2g}"
        lines.append(f"| `{name}` | {column['unit']} | {column['better']} | {choices} | {penalty} | {told} |")
    return lines


write_protocols()
