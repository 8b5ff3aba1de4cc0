"""Arrows point to harness; leaderboards and the start of the command line import no torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("harness", "loaders", "baselines", "leaderboards")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
NOUNLESS = {"utils", "util", "common", "base", "manager", "helpers", "misc"}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_room_imports_only_itself_and_harness(path):
    room = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "nfbench" and len(parts) > 1 and parts[1] in ROOMS:
            assert parts[1] in (room, "harness"), f"{path} imports {name}"
        assert parts[0] not in ROOMS, f"{path} imports {name}: write nfbench.{name}"
        assert parts[0] != "pickle", f"{path} imports pickle: nothing unpickles"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_file_is_named_for_a_noun(path):
    assert path.stem not in NOUNLESS


def loaded_by(code):
    script = f"import sys\n{code}\nprint([m for m in ('torch', 'pandas', 'skimage', 'trimesh') if m in sys.modules])"
    return ast.literal_eval(
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()[
            -1
        ]
    )


def test_the_command_line_starts_light():
    assert loaded_by("import nfbench.harness.cli") == []


def test_help_and_list_import_no_torch():
    for arguments in (["--help"], ["list"], ["list", "protocols", "--json"]):
        code = f"import sys; sys.argv = ['nfbench', *{arguments!r}]\nfrom nfbench.harness.cli import app\n"
        assert "torch" not in loaded_by(code + "try:\n    app()\nexcept SystemExit:\n    pass")


def test_leaderboards_import_no_torch():
    modules = [f"nfbench.leaderboards.{p.stem}" for p in (ROOT / "leaderboards").glob("*.py") if p.stem != "__init__"]
    assert len(modules) > 3
    assert "torch" not in loaded_by("\n".join(f"import {module}" for module in modules))
