import copy
import dataclasses
import json
import random

import numpy as np
import pytest
import torch
from torch import nn

from nfbench.harness.errors import DataCorrupt, NfbenchError
from nfbench.harness.method import Budget, Validation
from nfbench.harness.runner import seed_everything
from nfbench.harness.training import STATE, Diverged, Training
from nfbench.harness.training_state import read_state, write_state
from nfbench.harness.workfolder import LAST_GOOD

pytestmark = pytest.mark.usefixtures("one_thread")


class Stopped(Exception):
    pass


def train(budget, *, steps=40, stop=None, rows=None, precision="fp32", wrong=None, field=None, keep_always=False):
    """A small regression with everything that a real loop has: dropout, draws of both kinds, a schedule, Adam."""
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    draws, numbers = torch.Generator().manual_seed(1), np.random.default_rng(2)
    adam = torch.optim.Adam(network.parameters(), lr=1e-2)
    kept = {"network": network, "draws": draws, "numbers": numbers}
    training = Training(budget, steps, adam, kept, rows=rows, precision=precision, field=field)
    for step in training:
        if stop is not None and step.index == stop:
            raise Stopped
        training.set_rates(1e-2 * 0.1**step.fraction)
        x = torch.rand(32, 3, generator=draws) + float(numbers.normal()) * 0.01
        y = x.sum(1, keepdim=True) * (float("nan") if wrong == step.index else 1.0)

        def loss(part, x=x, y=y):
            with training.autocast():
                return (network(x[part]) - y[part]).square().sum() / 32

        training.descend(len(x), loss, twice=lambda: 2.0)
        if keep_always and step.index % 7 == 6:
            training._write(training._folder / STATE, step.index + 1)
    return [p.detach().clone() for p in network.parameters()], training


def same(one, two):
    return all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("stop", [7, 13, 20, 39])
def test_a_loop_that_was_broken_off_ends_as_one_that_was_not(tmp_path, stop):
    whole, _ = train(Budget(steps=40))
    with pytest.raises(Stopped):
        train(Budget(steps=40).start(keep=tmp_path), stop=stop, keep_always=True)
    torch.manual_seed(99)  # a new process has other global numbers
    told = []
    again, _ = train(Budget(steps=40).start(keep=tmp_path, tell=told.append))
    assert same(whole, again)
    assert told == [f"Going on from step {stop // 7 * 7}, 0 s into the budget."]


def test_the_state_is_not_read_by_a_loop_that_keeps_something_else(tmp_path):
    with pytest.raises(Stopped):
        train(Budget(steps=40).start(keep=tmp_path), stop=8, keep_always=True)
    network = nn.Linear(2, 1)
    training = Training(
        Budget(steps=2).start(keep=tmp_path), 2, torch.optim.SGD(network.parameters(), 0.1), {"network": network}
    )
    with pytest.raises(DataCorrupt, match=STATE):
        list(training)


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_state_is_named(tmp_path, damage):
    with pytest.raises(Stopped):
        train(Budget(steps=40).start(keep=tmp_path), stop=8, keep_always=True)
    path = tmp_path / "training" / STATE
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[: len(whole) // 2], "text": b"hello", "empty": b""}[damage])
    with pytest.raises(DataCorrupt, match=STATE) as caught:
        train(Budget(steps=40).start(keep=tmp_path))
    assert "Delete" in caught.value.hint


def test_nan_stops_the_loop_before_it_changes_anything_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(Diverged, match=r"Step 11.*nan") as caught:
        train(Budget(steps=40).start(keep=tmp_path), wrong=11, keep_always=True)
    assert LAST_GOOD in caught.value.message and "rate" in caught.value.hint
    assert not (tmp_path / "training" / STATE).exists()
    network = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    adam = torch.optim.Adam(network.parameters(), lr=1e-2)
    kept = {"network": network, "draws": torch.Generator(), "numbers": np.random.default_rng(0), "optimiser_0": adam}
    assert read_state(tmp_path / "training" / LAST_GOOD, kept)["step"] == 11
    assert same(network.parameters(), by_hand(11))


def by_hand(steps):
    """The parameters after as many of the 40 steps, without Training: an independent account of what they do."""
    torch.manual_seed(5)
    network = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 1))
    draws, numbers = torch.Generator().manual_seed(1), np.random.default_rng(2)
    adam = torch.optim.Adam(network.parameters(), lr=1e-2)
    for index in range(steps):
        adam.param_groups[0]["lr"] = 1e-2 * 0.1 ** (index / 40)
        x = torch.rand(32, 3, generator=draws) + float(numbers.normal()) * 0.01
        adam.zero_grad()
        ((network(x) - x.sum(1, keepdim=True)).square().sum() / 32).backward()
        adam.step()
    return list(network.parameters())


def test_a_batch_in_parts_is_the_same_step_as_the_batch_at_once():
    network = nn.Linear(4, 1).double()
    start = copy.deepcopy(network.state_dict())
    x, y = torch.rand(50, 4).double(), torch.rand(50, 1).double()
    ends = []
    for rows in (None, 50, 16, 7, 1):
        network.load_state_dict(start)
        training = Training(Budget(steps=3), 3, torch.optim.SGD(network.parameters(), 0.1), {"n": network}, rows=rows)
        for _ in training:
            training.descend(50, lambda part: (network(x[part]) - y[part]).square().sum() / 50)
        ends.append(network.weight.detach().clone())
    for end in ends[1:]:
        torch.testing.assert_close(end, ends[0], rtol=1e-12, atol=1e-12)


def test_out_of_memory_halves_the_rows_tells_it_and_takes_the_whole_step():
    network = nn.Linear(4, 1).double()
    start = copy.deepcopy(network.state_dict())
    x = torch.rand(100, 4).double()
    told = []

    def run(most):
        network.load_state_dict(start)
        budget = Budget(steps=2).start(tell=told.append)
        training = Training(budget, 2, torch.optim.SGD(network.parameters(), 0.1), {"n": network})

        def loss(part):
            if part.stop - part.start > most:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return network(x[part]).square().sum()

        for _ in training:
            training.descend(100, loss)
        return network.weight.detach().clone(), training.rows

    plain, rows = run(100)
    assert rows is None and not told
    small, rows = run(30)
    assert rows == 25 and len(told) == 2 and "100 rows" in told[0] and "with 25" in told[1]
    torch.testing.assert_close(small, plain, rtol=1e-12, atol=1e-12)
    with pytest.raises(NfbenchError, match="Out of memory with 25 rows"):
        run(3)


def test_other_errors_go_through():
    network = nn.Linear(4, 1)
    training = Training(Budget(steps=2), 2, torch.optim.SGD(network.parameters(), 0.1), {"n": network})
    with pytest.raises(RuntimeError, match="shapes"):
        for _ in training:
            training.descend(8, lambda part: network(torch.rand(8, 5)).sum())


def test_bfloat16_is_used_where_asked_for():
    network = nn.Linear(64, 1)
    for precision, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        training = Training(Budget(steps=1), 1, torch.optim.SGD(network.parameters(), 0.1), {}, precision=precision)
        with training.autocast():
            assert network(torch.rand(2, 64)).dtype == kind


def test_reports_have_the_loss_and_the_numbers():
    heard = []
    train(Budget(steps=5).start(heard.append))
    assert {"loss", "twice"} == set(heard[0].numbers) and heard[0].numbers["twice"] == 2.0
    assert heard[-1].fraction == 1.0 and heard[-1].step == 4


def test_a_budget_for_one_step_only_is_told():
    told = []
    train(Budget(seconds=1e-9).start(tell=told.append))
    assert told and "one step" in told[0]


def test_one_step_that_is_not_all_that_the_seconds_allow_is_not_told(tmp_path):
    told = []
    train(Budget(seconds=1e9, steps=1).start(tell=told.append))
    with pytest.raises(Stopped):
        train(Budget(seconds=1e9, steps=15).start(keep=tmp_path), stop=14, keep_always=True)
    train(Budget(seconds=1e9, steps=15).start(keep=tmp_path, tell=told.append))
    assert told == ["Going on from step 14, 0 s into the budget."]


def test_the_validation_curve_is_measured_at_its_times_and_changes_nothing():
    now = {"value": 0.0}
    measured = []

    def measure(field):
        torch.rand(3), np.random.rand(3), random.random()  # noqa: NPY002  # draws that must not be seen by the loop
        measured.append(field)
        return {"psnr": 20.0}

    heard = []
    seed_everything(3)
    plain, _ = train(Budget(steps=40))
    expected = np.random.rand(), random.random()  # noqa: NPY002
    seed_everything(3)
    budget = Budget(steps=40).start(heard.append, validation=Validation((0.0, 1e-6, 1e9), measure))
    again, _ = train(budget, field=lambda: now)
    assert same(plain, again)
    assert (np.random.rand(), random.random()) == expected  # noqa: NPY002
    assert measured == [now]  # two times were due at the first step and are one measurement, the third never came
    assert any(report.numbers == {"validation psnr": 20.0} for report in heard)


def test_measuring_takes_no_time_from_the_budget():
    import time

    def slow(field):
        time.sleep(0.3)
        return {}

    budget = Budget(seconds=0.2).start(validation=Validation((0.05,), slow))
    started = time.perf_counter()
    _, training = train(budget, field=lambda: None)
    assert time.perf_counter() - started > 0.48
    assert training.budget.elapsed() < 0.45


def test_states_keep_what_python_keeps_apart(tmp_path):
    class Thing:
        def __init__(self, state):
            self.state = state

        def state_dict(self):
            return self.state

        def load_state_dict(self, state):
            self.state = state

    shared = torch.arange(6.0)
    state = {"t": (1, 2.5, "x", None, True), 3: [shared, shared[2:]], "$odd": {"a/b": shared}, "big": 2**100}
    write_state(tmp_path / "s", {"thing": Thing(state)}, {"n": 1})
    other = Thing({})
    assert read_state(tmp_path / "s", {"thing": other}) == {"n": 1}
    assert other.state["t"] == state["t"] and other.state["big"] == 2**100
    assert torch.equal(other.state[3][1], shared[2:]) and torch.equal(other.state["$odd"]["a/b"], shared)
    with pytest.raises(TypeError, match="thing/bad"):
        write_state(tmp_path / "s", {"thing": Thing({"bad": object()})}, {})


def test_rates_by_group():
    network = nn.Linear(2, 1)
    adam = torch.optim.Adam([{"params": [network.weight]}, {"params": [network.bias]}])
    training = Training(Budget(steps=1), 1, adam, {})
    training.set_rates(0.5)
    assert [group["lr"] for group in adam.param_groups] == [0.5, 0.5]
    training.set_rates(0.1, 0.2)
    assert [group["lr"] for group in adam.param_groups] == [0.1, 0.2]
    with pytest.raises(ValueError):
        training.set_rates(0.1, 0.2, 0.3)


def test_budget_texts_know_nothing_of_the_loop(tmp_path):
    budget = Budget.parse("3steps").start(keep=tmp_path, tell=print)
    assert str(budget) == "3steps" and json.dumps(str(budget))
    assert dataclasses.replace(budget, started=None) == Budget(steps=3)
