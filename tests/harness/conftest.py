"""Shared fixtures: the command line in this process; the probe's ball as a Blender folder."""

import sys

import pytest

from nfbench.harness.cli import main
from nfbench.harness.probe import ball
from nfbench.loaders import blender


@pytest.fixture
def nfbench(monkeypatch, capsys):
    """Call the command line: exit code, standard output and standard error."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["nfbench", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def blender_ball(tmp_path_factory):
    """A small scene in Blender format, which no test changes."""
    made = ball(tmp_path_factory.mktemp("ball"))
    target = tmp_path_factory.mktemp("data") / "ball"
    blender.write(target, {"train": made.given.views, "test": made.hidden})
    return target
