import numpy as np
import pytest

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import ContractBroken
from nfbench.harness.scene import Views
from nfbench.loaders import viewsets


def views(names, near_far=None, mask=True, depth=False):
    n = len(names)
    cameras = Cameras(
        np.tile(np.eye(4)[:3], (n, 1, 1)),
        np.tile(np.eye(3), (n, 1, 1)),
        np.tile([3, 2], (n, 1)),
        near_far and [near_far] * n,
    )

    def load(i):
        return np.full((2, 3, 3), ord(names[i]), np.uint8)

    return Views(
        cameras,
        tuple(names),
        load,
        (lambda i: load(i)[:, :, 0] > 97) if mask else None,
        (lambda i: load(i)[:, :, 0] * 1.0) if depth else None,
    )


def test_one_of_each_name(tmp_path):
    whole = viewsets.one_of_each(
        tmp_path, {"train": views("ba", (1, 2), depth=True), "test": views("ac", (1, 3), depth=True)}
    )
    assert whole.names == ("b", "a", "c")
    assert whole.cameras.near_far.tolist() == [[1, 2], [1, 2], [1, 3]]
    for i, name in enumerate("bac"):
        assert whole.image(i)[0, 0, 0] == ord(name)
        assert whole.mask(i).all() == (name != "a")
        assert whole.depth(i)[0, 0] == ord(name)
    plain = viewsets.one_of_each(
        tmp_path, {"train": views("a", (1, 2), mask=False, depth=True), "test": views("c", mask=False)}
    )
    assert plain.cameras.near_far is None
    assert plain.load_mask is None
    assert plain.load_depth is None


def test_what_does_not_go_together(tmp_path):
    with pytest.raises(ContractBroken, match="no views"):
        viewsets.one_of_each(tmp_path, {})
    with pytest.raises(ContractBroken, match="masks"):
        viewsets.one_of_each(tmp_path, {"train": views("a"), "test": views("c", mask=False)})
    for what, value in (
        ("c2w", np.eye(4)[None, :3] + np.eye(3, 4, k=3)),
        ("K", np.eye(3)[None] * 2),
        ("size", [[2, 3]]),
    ):
        one = views("a")
        parts = {k: getattr(one.cameras, k) for k in ("c2w", "K", "size")} | {what: value}
        with pytest.raises(ContractBroken, match="'a' have different cameras"):
            viewsets.one_of_each(
                tmp_path, {"train": one, "test": Views(Cameras(**parts), ("a",), one.load, one.load_mask)}
            )
