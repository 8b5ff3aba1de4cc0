"""Shared fixtures: the folder of real samples, where there is one; torch on one thread; torchvision as Python alone."""

import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Torch on one thread: for small networks, which more threads slow down, and for sums that repeat bit by bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def import_torchvision() -> object:
    """What keeps the import of torchvision possible where its compiled part does not load: its operators, declared."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if "torchvision" in sys.modules or spec is None or spec.submodule_search_locations is None:
        return None
    try:
        torch.ops.load_library(Path(spec.submodule_search_locations[0]) / "_C.so")
    except OSError:
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return library
    return None


@pytest.fixture(scope="session")
def torchvision() -> None:
    """For references that import torchvision, which nfbench never does."""
    import_torchvision()
