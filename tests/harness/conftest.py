"""The command line in this process: exit code, standard output and standard error of one call."""

import sys

import pytest

from nfbench.harness.cli import main


@pytest.fixture
def nfbench(monkeypatch, capsys):
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
