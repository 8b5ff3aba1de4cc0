"""The training loop that all baselines share: budget, rate, gradients, precision, resuming, NaN, reports.

training = Training(budget, config.steps, adam, {"networks": networks, "draws": generator}, device=device)
for step in training:
    training.set_rates(config.rate * 0.1**step.fraction)
    rays, truth = pixels.draw(count, generator)
    training.descend(count, lambda part: squared_error(rays[part], truth[part]))
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor

from nfbench.harness.asking import out_of_memory
from nfbench.harness.errors import NfbenchError
from nfbench.harness.method import Budget, Progress, Step
from nfbench.harness.training_state import Kept, global_numbers_kept, read_state, write_state
from nfbench.harness.workfolder import LAST_GOOD

Precision = Literal["fp32", "bf16"]

STATE = "state.safetensors"
_REPORT_SECONDS = 0.5
_KEEP_SECONDS = 5.0  # between two states on disk, and never more than a fiftieth of the time goes into them
_KEEP_SHARE = 50.0
_LEAST_ROWS = 16  # a batch that does not fit into memory with so few rows at once will not fit with fewer


class Diverged(NfbenchError):
    """A loss or a gradient that is no number; the state before that step is kept."""


class Training:
    """One loop of optimisation steps. Iterate over it, and call `descend` once in each turn.

    With a folder to keep its state in (`budget.keep`; the runner gives one), the loop goes on where a broken-off run
    of the same loop stopped: with the same numbers, bit by bit on one thread of a CPU, where the budget is in steps.
    What the loop draws must therefore come from generators that are kept, or from the global ones.

    Attributes:
        rows: how many rows of a batch go through the network at once. Gradients are summed over these parts, so the
            step is the same. It is halved when memory runs out.
    """

    def __init__(
        self,
        budget: Budget,
        steps: int,
        optimisers: torch.optim.Optimizer | Sequence[torch.optim.Optimizer],
        kept: Mapping[str, Kept],
        *,
        device: str = "cpu",
        precision: Precision = "fp32",
        rows: int | None = None,
        field: Callable[[], Any] | None = None,
        name: str = "",
    ) -> None:
        """Prepare the loop; the state of an earlier one is read when the iteration begins.

        Args:
            budget: of the call of `learn` or `fit`.
            steps: the config's own number, where the budget has none.
            optimisers: one, or several that step together.
            kept: by name, what changes while training beside the optimisers: networks, generators, samplers, grids.
            device: of the networks, `cpu` or `cuda`.
            precision: `fp32`, or `bf16` for matrix products in bfloat16 where `autocast` is entered.
            rows: see above; all rows at once when left out.
            field: gives the field as it is, for the validation curve.
            name: of the loop, where a method has several in one call.
        """
        self.budget = budget if budget.started is not None else budget.start(budget.listener)
        self.steps = steps
        self.optimisers = [optimisers] if isinstance(optimisers, torch.optim.Optimizer) else list(optimisers)
        self.kept = {**kept, **{f"optimiser_{i}": optimiser for i, optimiser in enumerate(self.optimisers)}}
        self.device = device
        self.precision = precision
        self.rows = rows
        self._field = field
        self._folder = None if self.budget.keep is None else self.budget.keep / (name or "training")
        self._parameters = [p for o in self.optimisers for group in o.param_groups for p in group["params"]]
        self._step = Step(0, 0.0, self.budget)
        self._reported = self._written = -math.inf
        self._write_seconds = 0.0
        self._validated = -math.inf

    def __iter__(self) -> Iterator[Step]:
        index = self._resumed()
        self._written = time.perf_counter()
        while True:
            fraction = self.budget.spent(index, self.steps)
            if fraction >= 1 and index > 0:
                break
            self._step = Step(index, min(fraction, 1.0), self.budget)
            yield self._step
            index += 1
            self._validate()
            self._keep(index)
        if index == 1 and self.budget.seconds is not None and self.budget.elapsed() >= self.budget.seconds:
            self.budget.tell(f"The budget of {self.budget} was enough for one step only.")
        self.budget.report(Progress(index - 1, self.budget.elapsed(), 1.0, {}))

    def autocast(self) -> AbstractContextManager[Any]:
        """Within it, matrix products are in the precision of the loop."""
        kind = torch.device(self.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.precision == "bf16")

    def set_rates(self, *rates: float) -> None:
        """Set the learning rate of all groups of parameters, or one after the other."""
        groups = [group for optimiser in self.optimisers for group in optimiser.param_groups]
        for group, rate in zip(groups, rates * len(groups) if len(rates) == 1 else rates, strict=True):
            group["lr"] = rate

    def descend(self, count: int, loss: Callable[[slice], Tensor], **numbers: Callable[[], float] | float) -> None:
        """One optimisation step on the sum of `loss` over the parts of a batch of `count` rows.

        Args:
            count: rows of the batch.
            loss: from rows start:stop to a scalar, this part's share of the batch's loss; each has a graph of its own.
            numbers: to report beside the loss, or what gives them, called only when a report is due.

        Raises:
            Diverged: loss or gradient is NaN or infinite; nothing was changed by this step.
            NfbenchError: out of memory even with few rows at once.
        """
        total = self._backward(count, loss)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        if gradients:
            dense = [g.coalesce().values() if g.is_sparse else g for g in gradients]
            found = torch.stack([total, torch.nn.utils.get_total_norm(dense).to(total)]).tolist()
            if not all(map(math.isfinite, found)):
                self._diverged(*found)
            for optimiser in self.optimisers:
                optimiser.step()
        if time.perf_counter() - self._reported >= _REPORT_SECONDS:
            self._reported = time.perf_counter()
            told = {name: float(number() if callable(number) else number) for name, number in numbers.items()}
            self._step.log(loss=float(total), **told)

    def _backward(self, count: int, loss: Callable[[slice], Tensor]) -> Tensor:
        """The loss of the whole batch, detached; its gradients are in the parameters."""
        while True:
            for optimiser in self.optimisers:
                optimiser.zero_grad(set_to_none=True)
            rows = min(self.rows or count, count)
            try:
                parts = []
                for start in range(0, count, max(rows, 1)):
                    part = loss(slice(start, min(start + rows, count)))
                    if part.requires_grad:
                        torch.autograd.backward(part)
                    parts.append(part.detach())
                return torch.stack(parts).sum()
            except (MemoryError, RuntimeError) as error:
                if not out_of_memory(error):
                    raise
                self._shrink(rows, error)

    def _shrink(self, rows: int, error: BaseException) -> None:
        if rows // 2 < _LEAST_ROWS:
            raise NfbenchError(
                f"Out of memory with {rows} rows of a batch at once.", "Set a smaller network, or use another device."
            ) from error
        self.rows = rows // 2
        self.budget.tell(f"Out of memory with {rows} rows of a batch at once; going on with {self.rows}.")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _diverged(self, loss: float, norm: float) -> None:
        what = f"the loss is {loss}" if not math.isfinite(loss) else f"the norm of the gradient is {norm}"
        kept = ""
        if self._folder is not None:
            self._write(self._folder / LAST_GOOD, self._step.index)
            (self._folder / STATE).unlink(missing_ok=True)
            kept = f" The state before it is kept in {LAST_GOOD}."
        raise Diverged(f"Step {self._step.index}: {what}.{kept}", "Try a lower rate, or fp32 where it was bf16.")

    def _resumed(self) -> int:
        """The first step to take: 0, or where the state on disk stopped."""
        if self._folder is None or not (self._folder / STATE).is_file():
            return 0
        about = read_state(self._folder / STATE, self.kept)
        assert self.budget.started is not None
        self._shift(-float(about["seconds"]))
        self.rows, self._validated = about["rows"], float(about["seconds"])
        index = int(about["step"])
        self.budget.tell(f"Going on from step {index}, {about['seconds']:.0f} s into the budget.")
        return index

    def _keep(self, index: int) -> None:
        pause = max(_KEEP_SECONDS, _KEEP_SHARE * self._write_seconds)
        if self._folder is not None and time.perf_counter() - self._written >= pause:
            started = time.perf_counter()
            self._write(self._folder / STATE, index)
            self._written = time.perf_counter()
            self._write_seconds = self._written - started

    def _write(self, path: Any, index: int) -> None:  # noqa: ANN401
        about = {"step": index, "seconds": self.budget.elapsed(), "rows": self.rows}
        write_state(path, self.kept, about)

    def _validate(self) -> None:
        """Measure the field where it is time to, with the clock and the global generators as if it had not been."""
        check = self.budget.validation
        if check is None or self._field is None:
            return
        now = self.budget.elapsed()
        due = [at for at in check.seconds if self._validated < at <= now]
        if not due:
            return
        self._validated = due[-1]
        started = time.perf_counter()
        with global_numbers_kept(), torch.no_grad():
            numbers = {f"validation {name}": value for name, value in check.measure(self._field()).items()}
        self._shift(time.perf_counter() - started)
        self.budget.report(Progress(self._step.index, self.budget.elapsed(), self._step.fraction, numbers))

    def _shift(self, seconds: float) -> None:
        """Move the start of the budget's clock by `seconds`."""
        assert self.budget.started is not None
        self.budget = dataclasses.replace(self.budget, started=self.budget.started + seconds)
