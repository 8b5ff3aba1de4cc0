"""Task: scenes, what is given of them, what is hidden, and the Protocol that measures the difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from nfbench.harness.errors import NfbenchError, NotFound, Unsupported, did_you_mean
from nfbench.harness.scene import KINDS, Scene

EVERY, FROM = "+every", "+from-"
"""What the names of declared sub-tasks have behind the task's own: `+from-views`, then `+every8`."""


@dataclass(frozen=True, eq=False)
class SceneRef:
    """A scene by name, opened only when asked for.

    Attributes:
        name: of the scene.
        open: gives it as its task does.
        give: gives it with another kind of input, for tasks that have several; left out, `open` gives all kinds.
    """

    name: str
    open: Callable[[], Scene]
    give: Callable[[str], Scene] | None = None


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be solved, and how the answer is measured.

    Attributes:
        name: `procedural/knot`, or format and folder for a path: `blender/chair`; `+from-views` and `+every8` mark
            declared sub-tasks.
        version: changes whenever the data does; for a path, a fingerprint of its files.
        protocol: the id of the protocol it is measured under, `nerf-synthetic@1`.
        given: what a method sees of a test scene: some of `views`, `cloud`, `samples`, `voxels`.
        test: the scenes that are fitted and measured.
        train: the scenes that a method may learn a prior from; none for a task about single scenes.
        summary: one sentence.
        full: names of all test scenes, where `test` holds only some of them.
        plain: the truth itself, where that is all there is: a folder of images, or one mesh or point cloud.
        inputs: the kinds that `giving` can choose from; `given` when left out.
        thinned: what `every` takes some of, held-out `views` or `scenes`; left out, views where views are given.
    """

    name: str
    version: str
    protocol: str
    given: tuple[str, ...]
    test: tuple[SceneRef, ...]
    train: tuple[SceneRef, ...] = ()
    summary: str = ""
    full: tuple[str, ...] = ()
    plain: Path | None = None
    inputs: tuple[str, ...] = ()
    thinned: Literal["views", "scenes"] | None = None

    @property
    def scenes(self) -> list[str]:
        """The names of all test scenes: what a complete row has, also of a task restricted to some."""
        return list(self.full) or [ref.name for ref in self.test]

    def every(self, n: int) -> Task:
        """The declared sub-task that measures every n-th held-out view, or every n-th scene without views."""
        if n < 1:
            raise NfbenchError(f"--test-every {n}: it must be 1 or more.", "1 is the full task, 8 an eighth of it.")
        if n == 1:
            return self
        if self.plain is not None:
            raise NfbenchError(f"{self.name} is plain truth, which is scored whole.", "Leave out --test-every.")
        fewer = tuple(_fewer_views(ref, n) for ref in self.test) if self._thins() == "views" else self.test[::n]
        return replace(self, name=f"{self.name}{EVERY}{n}", test=fewer)

    def giving(self, kind: str) -> Task:
        """The declared sub-task whose scenes give `kind` alone, training scenes also what samples they have.

        What a task gives anyway is the task itself. A number of one sub-task is no number of another.

        Raises:
            NotFound: no such kind.
            Unsupported: the task cannot give it.
        """
        if kind not in KINDS:
            raise NotFound(f"--given {kind}: there is no such kind of input.", did_you_mean(kind, KINDS, "kinds"))
        if self.given == (kind,):
            return self
        inputs = self.inputs or self.given
        if kind not in inputs:
            can = ", ".join(inputs) or "nothing"
            raise Unsupported(f"{self.name} cannot give {kind}.", f"It can give: {can}.")
        name, every, n = self.name.partition(EVERY)
        return replace(
            self,
            name=f"{name}{FROM}{kind}{every}{n}",
            given=(kind,),
            inputs=(kind,),
            test=tuple(_giving(ref, kind) for ref in self.test),
            train=tuple(_giving(ref, kind, "samples") for ref in self.train),
            thinned=self._thins(),
        )

    def _thins(self) -> Literal["views", "scenes"]:
        return self.thinned or ("views" if "views" in self.given else "scenes")

    def as_run(self, name: str) -> Task | None:
        """The declared sub-task that a run of task `name` is of, or this task where it is that; None for another task.

        Both the task as it is on disk and the sub-task itself may be asked.
        """
        if self.name == name:
            return self
        own, _, every = name.partition(EVERY)
        own, _, kind = own.partition(FROM)
        task = self
        if kind and task.name.partition(EVERY)[0] == own:
            task = task.giving(kind)
        if every.isdecimal() and EVERY not in task.name:
            task = task.every(int(every))
        return task if task.name == name else None

    def only(self, scenes: Sequence[str]) -> Task:
        """The task restricted to the named test scenes."""
        known = {ref.name: ref for ref in self.test}
        for name in scenes:
            if name not in known:
                raise NotFound(f"Task {self.name} has no scene {name!r}.", did_you_mean(name, known, "scenes"))
        return replace(self, test=tuple(known[name] for name in scenes), full=tuple(self.scenes))


def _fewer_views(ref: SceneRef, n: int) -> SceneRef:
    def fewer(scene: Scene) -> Scene:
        if scene.hidden is None:
            return scene
        return replace(scene, hidden=scene.hidden.subset(range(0, len(scene.hidden), n)))

    give = ref.give
    return SceneRef(ref.name, lambda: fewer(ref.open()), None if give is None else lambda kind: fewer(give(kind)))


def _giving(ref: SceneRef, kind: str, *also: str) -> SceneRef:
    def opened() -> Scene:
        scene = ref.open() if ref.give is None else ref.give(kind)
        return scene.giving(kind, *also)

    return SceneRef(ref.name, opened)
