"""Task: scenes, what is given of them, what is hidden, and the Protocol that measures the difference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from nfbench.harness.errors import NfbenchError, NotFound, did_you_mean
from nfbench.harness.scene import Scene


@dataclass(frozen=True, eq=False)
class SceneRef:
    """A scene by name, opened only when asked for."""

    name: str
    open: Callable[[], Scene]


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be solved, and how the answer is measured.

    Attributes:
        name: `procedural/knot`, or format and folder for a path: `blender/chair`; `+every8` marks a declared sub-task.
        version: changes whenever the data does; for a path, a fingerprint of its files.
        protocol: the id of the protocol it is measured under, `nerf-synthetic@1`.
        given: what a method sees of a test scene: some of `views`, `cloud`, `samples`, `voxels`.
        test: the scenes that are fitted and measured.
        train: the scenes that a method may learn a prior from; none for a task about single scenes.
        summary: one sentence.
        full: names of all test scenes, where `test` holds only some of them.
        plain: the truth itself, where that is all there is: a folder of images, or one mesh or point cloud.
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
        test = tuple(_fewer_views(ref, n) for ref in self.test) if "views" in self.given else self.test[::n]
        return replace(self, name=f"{self.name}+every{n}", test=test)

    def only(self, scenes: Sequence[str]) -> Task:
        """The task restricted to the named test scenes."""
        known = {ref.name: ref for ref in self.test}
        for name in scenes:
            if name not in known:
                raise NotFound(f"Task {self.name} has no scene {name!r}.", did_you_mean(name, known, "scenes"))
        return replace(self, test=tuple(known[name] for name in scenes), full=tuple(self.scenes))


def _fewer_views(ref: SceneRef, n: int) -> SceneRef:
    def opened() -> Scene:
        scene = ref.open()
        if scene.hidden is None:
            return scene
        return replace(scene, hidden=scene.hidden.subset(range(0, len(scene.hidden), n)))

    return SceneRef(ref.name, opened)
