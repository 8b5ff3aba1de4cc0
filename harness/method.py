"""Method, Field, Config and Budget: the contract between the bench and a method.

A method is any class that can be built from a config, a seed and a device, and that has `fit`. A field is any object
that has `render`, or `value` with `kind`, or `mesh`. Subclassing `Method` is a convenience, not a duty.
"""

from __future__ import annotations

import dataclasses
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import NfbenchError, NotFound, did_you_mean
from nfbench.harness.scene import Kind, Mesh, Scene

STANDARD_PRESETS = ("paper", "fast", "tiny")


@runtime_checkable
class Renders(Protocol):
    """A field that makes images."""

    def render(self, cameras: Cameras) -> NDArray[np.floating]:
        """Images (N,H,W,3), float in [0,1] sRGB, of N cameras of one size, on the scene's background."""
        ...


@runtime_checkable
class Valued(Protocol):
    """A field with a value everywhere; the harness extracts its surface, the same way for every method."""

    kind: Kind

    def value(self, xyz: NDArray[np.float32]) -> NDArray[np.floating]:
        """Values (P,) at `xyz` (P,3) in scene units: signed distance, occupancy probability or density, by `kind`."""
        ...


@runtime_checkable
class Meshed(Protocol):
    """A field that is a surface already."""

    def mesh(self) -> Mesh:
        """The surface in scene units."""
        ...


Field = Renders | Valued | Meshed


@dataclass(frozen=True)
class Progress:
    """One report from a training loop: step, seconds since the budget started, fraction done, numbers to show."""

    step: int
    seconds: float
    fraction: float
    numbers: Mapping[str, float]


@dataclass
class Step:
    """One turn of a training loop.

    Attributes:
        index: 0 for the first step.
        fraction: the part of the budget spent, in [0,1); what a schedule should follow when the budget is in seconds.
    """

    index: int
    fraction: float
    _budget: Budget

    def log(self, **numbers: float) -> None:
        """Report numbers of this step, the loss for one; cheap enough to call at every step that has them at hand."""
        self._budget.report(Progress(self.index, self._budget.elapsed(), self.fraction, numbers))


@dataclass(frozen=True)
class Validation:
    """When and how the field is measured while it is trained; the time that takes is not charged to the budget.

    Attributes:
        seconds: times since the start of the budget, ascending, at the first step after which it is measured.
        measure: from a field to numbers by name. It knows the truth, of which the method gets nothing.
    """

    seconds: tuple[float, ...]
    measure: Callable[[Any], Mapping[str, float]]


def _silent(text: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class Budget:
    """How long a method may learn and fit: in steps, in seconds, or, with neither, as long as its config says.

    Attributes:
        seconds: wall time for one call of `learn` or `fit`, set-up included.
        steps: optimisation steps.
        listener: gets a Progress whenever a method logs.
        started: the clock's reading when the call began; the runner sets it.
        tell: gets a sentence that a person should read.
        keep: a folder for the state of training loops, from which a broken-off run goes on; None for not.
        validation: what measures the field while it is trained, for a curve; None for not.
    """

    seconds: float | None = None
    steps: int | None = None
    listener: Callable[[Progress], None] | None = field(default=None, compare=False, repr=False)
    started: float | None = field(default=None, compare=False, repr=False)
    tell: Callable[[str], None] = field(default_factory=lambda: _silent, compare=False, repr=False)
    keep: Path | None = field(default=None, compare=False, repr=False)
    validation: Validation | None = field(default=None, compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Budget:
        """A budget from `120s`, `2000steps`, or both with a comma: whichever ends first.

        >>> Budget.parse("120s")
        Budget(seconds=120.0, steps=None)

        Raises:
            NfbenchError: the text says something else, or nothing positive.
        """
        found: dict[str, Any] = {}
        for part in text.replace(" ", "").split(","):
            match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|steps?)", part)
            if not match or float(match[1]) <= 0 or (match[2] != "s" and "." in match[1]):
                raise NfbenchError(f"--budget {text!r} is not a budget.", "Write seconds or steps: 120s or 2000steps.")
            found.update({"seconds": float(match[1])} if match[2] == "s" else {"steps": int(match[1])})
        return cls(**found)

    def __str__(self) -> str:
        parts = [f"{self.seconds:g}s"] if self.seconds is not None else []
        return ",".join(parts + ([f"{self.steps}steps"] if self.steps is not None else []))

    def start(
        self,
        listener: Callable[[Progress], None] | None = None,
        tell: Callable[[str], None] = _silent,
        keep: Path | None = None,
        validation: Validation | None = None,
    ) -> Budget:
        """The same budget with its clock running, and with whom to report to and where to keep the state of loops."""
        started = time.perf_counter()
        return dataclasses.replace(
            self, started=started, listener=listener, tell=tell, keep=keep, validation=validation
        )

    def elapsed(self) -> float:
        """Seconds since the start, 0 for a budget that was not started."""
        return 0.0 if self.started is None else time.perf_counter() - self.started

    def report(self, progress: Progress) -> None:
        """Hand `progress` to the listener, where there is one."""
        if self.listener is not None:
            self.listener(progress)

    def spent(self, index: int, steps: int) -> float:
        """The part of the budget that is spent before step `index`, 1 or more at its end; `steps` is the config's."""
        limit = self.steps if self.steps is not None else (None if self.seconds is not None else steps)
        parts = [index / limit] if limit is not None else []
        parts += [self.elapsed() / self.seconds] if self.seconds is not None else []
        return max(parts)

    def run(self, steps: int) -> Iterator[Step]:
        """The steps of a training loop: as many as the budget allows, or `steps`, the config's own number.

        At least one step is given, so that a field always exists. A method with a network has more of
        `nfbench.harness.training.Training`, which resumes and watches for NaN.
        """
        budget = self if self.started is not None else self.start(self.listener)
        index = 0
        while True:
            fraction = budget.spent(index, steps)
            if fraction >= 1 and index > 0:
                budget.report(Progress(index - 1, budget.elapsed(), 1.0, {}))
                return
            yield Step(index, min(fraction, 1.0), budget)
            index += 1


@dataclass(frozen=True)
class NoConfig:
    """The config of a method that has nothing to set."""


C = TypeVar("C")


class Method(ABC, Generic[C]):
    """Base of the methods here; a plain class with the same members serves as well.

    A method that learns a prior over a category also has `learn(scenes, budget)`, which trains on whole training
    scenes, and `save(folder)` and `load(folder)` for what it learned. A field may have `save(folder)`; then the
    method's `restore(folder)` gives the same field again.

    `Config` is a frozen dataclass whose defaults are the paper's values, `presets` are named configs, and `needs` is
    what `fit` needs to see of a scene: some of `views`, `cloud`, `samples`, `voxels`.
    """

    Config: ClassVar[type[Any]] = NoConfig
    presets: ClassVar[Mapping[str, Any]] = {}
    needs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: C, seed: int = 0, device: str = "cpu") -> None:
        self.config = config
        self.seed = seed
        self.device = device

    @abstractmethod
    def fit(self, scene: Scene, budget: Budget) -> Any:  # noqa: ANN401  # a Field, found by structure
        """The field of one scene, from what is given of it (`scene.seen()`), within the budget."""


@runtime_checkable
class Learner(Protocol):
    """A method that learns a prior before it fits."""

    def learn(self, scenes: Sequence[Scene], budget: Budget) -> None:
        """Learn from whole training scenes, within the budget."""
        ...

    def save(self, folder: Path) -> None:
        """Write what was learned."""
        ...

    def load(self, folder: Path) -> None:
        """Read what `save` wrote."""
        ...


def configure(method: type[Any], preset: str | None, settings: Mapping[str, str]) -> Any:  # noqa: ANN401
    """The config of `method` for a preset, with `settings` (field name to text) put in by the type of the field.

    Raises:
        NotFound: no such preset or field, with the nearest names.
        NfbenchError: a text that does not fit the type of its field.
    """
    from pydantic import TypeAdapter, ValidationError

    presets = getattr(method, "presets", {})
    kind = getattr(method, "Config", NoConfig)
    if preset is None or (preset in STANDARD_PRESETS and not presets):
        config = kind()
    elif preset in presets:
        config = presets[preset]
    else:
        raise NotFound(f"{method.__name__} has no preset {preset!r}.", did_you_mean(preset, presets, "presets"))
    types = {f.name: f.type for f in dataclasses.fields(kind)}
    hints = _field_types(kind)
    values: dict[str, Any] = {}
    for name, text in settings.items():
        if name not in types:
            raise NotFound(f"{method.__name__} has no field {name!r}.", did_you_mean(name, types, "fields"))
        adapter: TypeAdapter[Any] = TypeAdapter(hints[name])
        try:
            if text[:1] in "[{":
                values[name] = adapter.validate_json(text)
            else:
                values[name] = None if text == "none" else adapter.validate_python(text)
        except ValidationError as error:
            raise NfbenchError(
                f"--set {name}={text}: {error.errors()[0]['msg']}.", f"{name} is of type {types[name]}."
            ) from None
    return dataclasses.replace(config, **values)


def _field_types(kind: type[Any]) -> dict[str, Any]:
    from typing import get_type_hints

    return get_type_hints(kind)
