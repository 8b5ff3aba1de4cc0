import warnings

import numpy as np
import pytest

from nfbench.harness.asking import Asking, out_of_memory
from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.extraction import extract

POINTS = np.random.default_rng(0).integers(0, 100, (100_000, 3))


def place(index):
    return index * 0.5


class Small:
    """A field with memory for `most` points."""

    def __init__(self, most, error):
        self.most, self.error, self.asked = most, error, []

    def __call__(self, xyz):
        self.asked.append(len(xyz))
        if len(xyz) > self.most:
            raise self.error
        return xyz.sum(1)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes."),
    ],
)
def test_chunks_are_halved_until_memory_is_enough(error):
    field = Small(10_000, error)
    asking = Asking(field, 3.0, inside_above=True)
    with pytest.warns(UserWarning, match="out of memory") as told:
        depth = asking(POINTS, place)
    assert len(told) == 1
    np.testing.assert_allclose(depth, (POINTS * 0.5).sum(1) - 3)
    assert asking.chunk == 8192
    assert asking.asked == len(POINTS)  # what failed gave no values
    assert field.asked[:5] == [65_536, 32_768, 16_384, 8192, 8192]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asking(POINTS, place)  # it is told once, and the small chunk is kept


def test_memory_for_less_than_1024_points_is_an_error_to_mend():
    field = Small(1000, MemoryError())
    with pytest.warns(UserWarning), pytest.raises(NfbenchError, match="1024 points"):
        extract(field, [[0, 0, 0], [1, 1, 1]], 64, 0.5, inside_above=True)
    assert min(field.asked) == 1024


def test_other_errors_of_a_field_pass():
    with pytest.raises(RuntimeError, match="shapes"):
        Asking(Small(1, RuntimeError("shapes do not fit")), 0.0, True)(POINTS, place)
    assert not out_of_memory(RuntimeError("shapes do not fit"))


def test_depth_grows_inwards_and_values_come_back():
    inwards = Asking(lambda xyz: xyz[:, 0], 2.0, inside_above=False)
    depth = inwards(POINTS[:50], place)
    np.testing.assert_allclose(depth, 2 - POINTS[:50, 0] * 0.5)
    np.testing.assert_allclose(inwards.values(depth), POINTS[:50, 0] * 0.5)
    endless = Asking(lambda xyz: np.full(len(xyz), -np.inf), 0.0, True)
    np.testing.assert_array_equal(endless(POINTS[:2], place), np.float32(-1e30))


def test_nan_and_shapes_are_named():
    with pytest.raises(ContractBroken, match=r"NaN at \[.*1 of 1 points"):
        Asking(lambda xyz: np.full(len(xyz), np.nan), 0.0, True)(POINTS[:1], place)
    with pytest.raises(ContractBroken, match="shape"):
        Asking(lambda xyz: xyz, 0.0, True)(POINTS, place)
