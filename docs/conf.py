"""Sphinx: the pages here, and the protocols as their files have them."""

from pathlib import Path

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


def write_protocols() -> None:
    from nfbench.harness.listing import protocols

    lines = ["# Protocols", "", "Two numbers may share a column only when they share a protocol id.", ""]
    for row in protocols():
        lines += [f"## {row['name']}", "", row["summary"], "", f"*Source*: {row['source']}", ""]
        lines += [f"Ranks by `{row['primary']}`.", "", "| column | unit | better | choices |", "|---|---|---|---|"]
        for name, column in row["columns"].items():
            hidden = ("unit", "better", "metric")
            choices = ", ".join(f"{k} {v}" for k, v in column.items() if k not in hidden)
            lines.append(f"| `{name}` | {column['unit']} | {column['better']} | {choices} |")
        lines.append("")
    (Path(__file__).parent / "protocols.md").write_text("\n".join(lines))


write_protocols()
