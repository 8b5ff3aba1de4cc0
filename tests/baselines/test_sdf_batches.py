import numpy as np
import pytest
import torch

from nfbench.baselines.sdf_batches import SdfBatches
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.scene import Given, Points, Scene

BOX = np.array([[-1] * 3, [1] * 3])


def shape(name, values, kind="sdf"):
    """Points whose x is the number of the shape, y the row and z the distance: a draw tells where it is from."""
    values = np.asarray(values, np.float32)
    xyz = np.stack([np.full(len(values), float(name)), np.arange(len(values)), values], 1)
    return Scene(name, Given(samples=Points(xyz, value=values, kind=kind)), BOX)


SHAPES = [shape(str(i), [0.5, -0.25, 0.0, 0.75] * (i + 1)) for i in range(5)]


def test_rows_belong_to_their_shape_and_half_of_them_lie_outside():
    for samples, outside in ((8, 4), (7, 4)):
        batches = SdfBatches(SHAPES, 2, samples)
        shapes, xyz, distance = batches.draw()
        assert xyz.shape == (2, samples, 3) and distance.shape == (2, samples)
        assert torch.equal(xyz[..., 2], distance)
        assert torch.equal(xyz[..., 0], shapes[:, None].float().expand(2, samples))
        assert ((distance > 0).sum(1) == outside).all()


def test_every_row_is_drawn_about_as_often():
    batches = SdfBatches([SHAPES[4]], 1, 20_000)
    _, xyz, _ = batches.draw()
    seen = np.bincount(xyz[0, :, 1].long().numpy(), minlength=20)
    assert len(seen) == 20 and np.abs(seen / 1000 - 1).max() < 0.15


def test_an_epoch_meets_every_shape_once_and_leaves_out_what_fills_no_batch():
    batches = SdfBatches(SHAPES, 2, 2)
    assert batches.per_epoch == 2 and batches.batch == 2
    epochs = [torch.cat([batches.draw()[0] for _ in range(2)]).tolist() for _ in range(40)]
    assert all(len(set(epoch)) == 4 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 20
    assert {shape for epoch in epochs for shape in epoch} == set(range(5))
    assert SdfBatches(SHAPES, 64, 2).batch == 5


def test_the_state_decides_what_comes_next():
    one = SdfBatches(SHAPES, 2, 6, seed=1)
    one.draw()
    state = one.state_dict()
    expected = [one.draw() for _ in range(5)]
    other = SdfBatches(SHAPES, 2, 6, seed=2)
    assert not all(torch.equal(a, b) for a, b in zip(other.draw(), expected[0], strict=True))
    other.load_state_dict(state)
    for draw in expected:
        assert all(torch.equal(a, b) for a, b in zip(other.draw(), draw, strict=True))


def test_scenes_without_two_sides_are_named():
    with pytest.raises(DataMissing, match=r"'7'.*inside"):
        SdfBatches([SHAPES[0], shape("7", [0.1, 0.2])], 2, 4)
    with pytest.raises(DataMissing, match=r"'7'.*outside"):
        SdfBatches([shape("7", [-0.1, 0.0])], 2, 4)
    with pytest.raises(DataMissing, match=r"'bare'"):
        SdfBatches([Scene("bare", Given(), BOX)], 2, 4)
    with pytest.raises(Unsupported, match=r"'7'.*occupancy"):
        SdfBatches([shape("7", [0, 1], "occupancy")], 2, 4)
