import dataclasses
import time

import pytest

from nfbench.harness.errors import NfbenchError, NotFound
from nfbench.harness.method import Budget, Method, configure


@dataclasses.dataclass(frozen=True)
class Config:
    lr: float = 1e-3
    width: int = 256
    skips: tuple[int, ...] = (4,)
    white: bool = True
    note: str | None = None


class Example(Method[Config]):
    Config = Config
    presets = {"paper": Config(), "tiny": Config(width=32)}

    def fit(self, scene, budget):
        return None


class Bare:
    pass


def test_a_preset_and_settings_by_the_type_of_the_field():
    settings = {"lr": "5e-4", "skips": "[2, 5]", "white": "false", "note": "none"}
    assert configure(Example, "tiny", settings) == Config(5e-4, 32, (2, 5), False, None)
    assert configure(Example, None, {}) == Config()


@pytest.mark.parametrize(
    ("preset", "settings", "message"),
    [
        ("tini", {}, "tini"),
        ("tiny", {"widht": "3"}, "widht"),
        ("tiny", {"width": "wide"}, "width=wide"),
        ("tiny", {"width": "2.5"}, "width=2.5"),
        ("tiny", {"skips": "[1,"}, "skips"),
    ],
)
def test_what_does_not_fit_is_named(preset, settings, message):
    with pytest.raises(NfbenchError, match=message.replace("[", r"\[")) as caught:
        configure(Example, preset, settings)
    assert caught.value.hint


def test_a_method_with_nothing_to_set_takes_the_standard_presets_only():
    assert configure(Bare, "tiny", {}) == configure(Bare, None, {})
    with pytest.raises(NotFound):
        configure(Bare, "tiniest", {})


@pytest.mark.parametrize("text", ["120", "s", "-3s", "0s", "2.5steps", "1h", "120s;", ""])
def test_a_wrong_budget_says_how_to_write_one(text):
    with pytest.raises(NfbenchError, match="not a budget"):
        Budget.parse(text)


def test_budgets_read_and_print_alike():
    for text in ("120s", "2000steps", "1.5s,10steps"):
        assert str(Budget.parse(text)) == text
    assert Budget.parse("1step").steps == 1


def test_steps_are_the_configs_unless_the_budget_says():
    assert len(list(Budget().run(7))) == 7
    assert len(list(Budget(steps=3).run(7))) == 3
    assert [step.fraction for step in Budget(steps=4).run(9)] == [0, 0.25, 0.5, 0.75]


def test_seconds_end_the_loop_and_count_the_set_up():
    budget = Budget(seconds=0.05).start()
    time.sleep(0.06)
    steps = list(budget.run(100))
    assert [step.index for step in steps] == [0], "set-up spent the budget, and one step is always given"
    assert steps[0].fraction == 1
    count = sum(1 for _ in Budget(seconds=0.05).run(1))
    assert count > 1, "seconds, where given, decide; not the config's steps"


def test_logging_reaches_the_listener():
    heard = []
    for step in Budget(steps=2).start(heard.append).run(5):
        step.log(loss=0.5)
    logged = [(p.step, p.fraction, p.numbers) for p in heard]
    assert logged == [(0, 0, {"loss": 0.5}), (1, 0.5, {"loss": 0.5}), (1, 1, {})], "the end of the loop is told too"
    Budget(steps=1).report(heard[0])
