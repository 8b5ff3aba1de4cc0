"""Shared fixtures: the folder of real samples, where the caller has one."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real-data", metavar="DIR", help="folder of real dataset samples (never part of the project)")


@pytest.fixture(scope="session")
def real_data(request: pytest.FixtureRequest) -> Path:
    given = request.config.getoption("--real-data")
    if not given:
        pytest.skip("needs real dataset samples, whose licences forbid shipping them: give --real-data=DIR")
    folder = Path(given)
    assert folder.is_dir(), f"--real-data {folder} is no folder"
    return folder
