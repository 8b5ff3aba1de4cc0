"""The executable contract: what every method must keep, run on a small analytic scene, told in words."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.guard import hidden_files, hiding
from nfbench.harness.method import Budget, Learner, Meshed, NoConfig, Renders, Valued
from nfbench.harness.prediction import rendered
from nfbench.harness.probe import ball
from nfbench.harness.registry import MethodSpec, resolve
from nfbench.harness.runner import seed_everything
from nfbench.harness.scene import Mesh, Scene

_STEPS = 5
_SECONDS = 1.0
_GRACE = 2.0  # seconds beyond the budget, for a machine that is busy with something else
_SAME = 1e-5  # two runs with one seed on one machine; parallel sums may differ in the last bits
_KINDS = ("sdf", "occupancy", "density")


@dataclass(frozen=True)
class Finding:
    """One clause of the contract: what it asks, whether it is kept, and if not, why."""

    clause: str
    kept: bool
    why: str = ""


class _Checker:
    """Runs clauses one after another; a clause that cannot be tried because an earlier one failed is left out."""

    def __init__(self, spec: MethodSpec, scene: Scene, device: str) -> None:
        self.spec, self.scene, self.device = spec, scene, device
        self.kind = resolve(spec.target)
        self.findings: list[Finding] = []

    def clause(self, text: str, trial: Callable[[], Any]) -> Any:  # noqa: ANN401  # what the trial gives
        """Try one clause; gives what the trial gave, None when it failed."""
        try:
            found = trial()
        except NfbenchError as error:
            self.findings.append(Finding(text, False, f"{error.message} {error.hint}".strip()))
            return None
        except (Exception, SystemExit) as error:  # whatever the method throws is its answer
            self.findings.append(Finding(text, False, _told(error)))
            return None
        self.findings.append(Finding(text, True))
        return found

    def config(self) -> Any:  # noqa: ANN401
        """The smallest preset there is."""
        presets = getattr(self.kind, "presets", {})
        return presets.get("tiny") or getattr(self.kind, "Config", NoConfig)()

    def build(self) -> Any:  # noqa: ANN401
        return self.kind(self.config(), 0, self.device)

    def fitted(self, budget: Budget, method: Any = None) -> Any:  # noqa: ANN401
        """The field of the probe scene, learned first where the method learns."""
        seed_everything(0)
        built = method if method is not None else self.build()
        with hiding(hidden_files(self.scene)):
            if method is None and isinstance(built, Learner):
                built.learn([self.scene.seen()] * 2, budget.start())
            return built.fit(self.scene.seen(), budget.start())

    def answers(self, field: Any) -> dict[str, NDArray[np.floating]]:  # noqa: ANN401
        """All that the field says, for comparison."""
        found: dict[str, NDArray[np.floating]] = {}
        assert self.scene.hidden is not None and self.scene.occupancy is not None
        if isinstance(field, Renders):
            found["render"] = np.asarray(field.render(self.scene.hidden.cameras[0]))
        if isinstance(field, Valued):
            found["value"] = np.asarray(field.value(self.scene.occupancy.xyz[:500]))
        if isinstance(field, Meshed):
            found["mesh"] = field.mesh().vertices
        return found


def check_method(spec: MethodSpec, device: str = "cpu") -> list[Finding]:
    """Every clause of the contract, kept or not, in the order in which they were tried."""
    with tempfile.TemporaryDirectory() as folder:
        checker = _Checker(spec, ball(Path(folder)), device)
        checker.clause("is built from a config, a seed and a device", checker.build)
        checker.clause("its presets are configs of its own kind", lambda: _presets(checker))
        if not all(finding.kept for finding in checker.findings):
            return checker.findings
        field = checker.clause(
            "fits a scene within a budget of steps, without a hidden view", lambda: checker.fitted(Budget(steps=_STEPS))
        )
        if not checker.findings[-1].kept:
            return checker.findings
        checker.clause("its field renders, has a value or has a mesh", lambda: _capable(field))
        _check_answers(checker, field)
        checker.clause("keeps a budget of seconds", lambda: _keeps_time(checker))
        if all(finding.kept for finding in checker.findings):
            checker.clause("gives the same answer again with the same seed", lambda: _same(checker, field))
            _check_saving(checker, Path(folder))
        return checker.findings


def _check_answers(checker: _Checker, field: Any) -> None:  # noqa: ANN401
    if isinstance(field, Renders):
        checker.clause("renders (N,H,W,3) floats in [0,1], never NaN", lambda: _renders(checker, field))
    if isinstance(field, Valued):
        checker.clause("its value is (P,), never NaN, of a known kind", lambda: _values(checker, field))
    if isinstance(field, Meshed):
        checker.clause("its mesh is a Mesh", lambda: _meshes(field))


def _check_saving(checker: _Checker, folder: Path) -> None:
    method = checker.build()
    if isinstance(method, Learner):
        checker.clause("gives the same answer after save and load", lambda: _loads(checker, folder / "prior"))
    field = checker.fitted(Budget(steps=_STEPS))
    if hasattr(field, "save") and hasattr(method, "restore"):
        checker.clause("restores the field that was saved", lambda: _restores(checker, field, folder / "field"))


def _presets(checker: _Checker) -> None:
    config = getattr(checker.kind, "Config", NoConfig)
    for name, preset in getattr(checker.kind, "presets", {}).items():
        if not isinstance(preset, config):
            raise ContractBroken(f"Preset {name!r} is a {type(preset).__name__}, not a {config.__name__}.")
    if tuple(getattr(checker.kind, "presets", {})) != checker.spec.presets:
        raise ContractBroken(f"The spec lists presets {checker.spec.presets}.", "List those that the class has.")


def _capable(field: Any) -> None:  # noqa: ANN401
    if not isinstance(field, Renders | Valued | Meshed):
        raise ContractBroken(
            f"fit returns a {type(field).__name__} with neither render, nor value and kind, nor mesh.",
            "See nfbench.harness.method: Renders, Valued, Meshed.",
        )


def _renders(checker: _Checker, field: Renders) -> None:
    assert checker.scene.hidden is not None
    for index in range(len(checker.scene.hidden)):
        rendered(field, checker.scene.hidden, index)
    cameras = checker.scene.hidden.cameras
    several = np.asarray(field.render(cameras))
    if len(several) != len(cameras):
        raise ContractBroken(f"render gives {len(several)} images for {len(cameras)} cameras.")


def _values(checker: _Checker, field: Valued) -> None:
    if field.kind not in _KINDS:
        raise ContractBroken(f"kind is {field.kind!r}.", f"Say what the value is: {', '.join(_KINDS)}.")
    assert checker.scene.occupancy is not None
    for count in (1, 777):
        value = np.asarray(field.value(checker.scene.occupancy.xyz[:count]))
        if value.shape != (count,):
            raise ContractBroken(f"value of {count} points has shape {value.shape}, not ({count},).")
        if not np.isfinite(value).all():
            raise ContractBroken("value gives NaN or infinity.", "Look at the field's last steps.")


def _meshes(field: Meshed) -> None:
    mesh = field.mesh()
    if not isinstance(mesh, Mesh):
        raise ContractBroken(f"mesh gives a {type(mesh).__name__}.", "Give an nfbench.harness.scene.Mesh.")


def _keeps_time(checker: _Checker) -> None:
    started = time.perf_counter()
    checker.fitted(Budget(steps=1))
    least = time.perf_counter() - started  # set-up and a step, which every budget has to allow
    checker.fitted(Budget(seconds=_SECONDS))
    spent = time.perf_counter() - started - least
    learns = 2 if isinstance(checker.build(), Learner) else 1  # a learner has the budget twice
    if spent > learns * _SECONDS + 2 * least + _GRACE:
        raise ContractBroken(
            f"A budget of {_SECONDS:g} s took {spent:.1f} s.",
            "Loop over budget.run(steps), or look at budget.elapsed().",
        )


def _same(checker: _Checker, field: Any) -> None:  # noqa: ANN401
    _compare(checker.answers(field), checker.answers(checker.fitted(Budget(steps=_STEPS))), "a second run")


def _loads(checker: _Checker, folder: Path) -> None:
    folder.mkdir()
    first = checker.build()
    seed_everything(0)
    first.learn([checker.scene.seen()] * 2, Budget(steps=_STEPS).start())
    first.save(folder)
    second = checker.build()
    second.load(folder)
    fields = [checker.fitted(Budget(steps=_STEPS), method) for method in (first, second)]
    _compare(checker.answers(fields[0]), checker.answers(fields[1]), "the loaded method")


def _restores(checker: _Checker, field: Any, folder: Path) -> None:  # noqa: ANN401
    folder.mkdir()
    field.save(folder)
    _compare(checker.answers(field), checker.answers(checker.build().restore(folder)), "the restored field")


def _compare(one: dict[str, NDArray[np.floating]], two: dict[str, NDArray[np.floating]], what: str) -> None:
    for name, answer in one.items():
        if name not in two or answer.shape != two[name].shape:
            raise ContractBroken(f"{name} of {what} is of another shape.")
        apart = float(np.abs(answer - two[name]).max(initial=0))
        if apart > _SAME:
            raise ContractBroken(f"{name} of {what} differs by up to {apart:.2g}.", "Draw only from the seed given.")


def _told(error: BaseException) -> str:
    """An exception in one sentence, with the line of the method that raised it."""
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "nfbench_file" in f.name or not f.filename.startswith(str(Path(__file__).parent))]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    hint = ""
    if isinstance(error, AttributeError) and "NoneType" in str(error):
        hint = " Hidden views, true surface and occupancy are None for a method: it may read only scene.given."
    return f"{type(error).__name__}: {error}{place}.{hint}"
