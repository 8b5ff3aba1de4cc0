"""Training batches for methods that learn from points with signed distance: as many outside a shape as inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.scene import Scene

_DEVICE_BYTES = 8 << 30  # samples of more bytes stay in the main memory


class SdfBatches:
    """Samples of shapes, drawn at random; what is drawn next is its state, which a training loop can keep.

    Every shape comes once an epoch, in a fresh order; those that no longer fill a batch are left out of the epoch. Of
    each shape, samples are drawn with replacement, half of them outside, half inside or on the surface.

    Args:
        scenes: each with signed distances.
        batch: shapes a batch; all of them where there are fewer.
        samples: of each shape.
        device: of what is drawn.
        seed: of all draws.

    Attributes:
        batch: shapes a batch.
        per_epoch: batches an epoch.

    Raises:
        DataMissing: a scene without samples, or none of them outside or inside; it is named.
        Unsupported: samples of another kind.
    """

    def __init__(self, scenes: Sequence[Scene], batch: int, samples: int, device: str = "cpu", seed: int = 0) -> None:
        parts = [part for scene in scenes for part in _outside_inside(scene)]
        counts = torch.tensor([len(part) for part in parts])
        self._rows = torch.from_numpy(np.concatenate(parts))
        if self._rows.nbytes <= _DEVICE_BYTES:
            self._rows = self._rows.to(device)
        place = self._rows.device
        self._counts = counts.view(-1, 2).to(place)
        self._starts = (counts.cumsum(0) - counts).view(-1, 2).to(place)
        self._generator = torch.Generator(place).manual_seed(seed)
        self._queue = torch.zeros(0, dtype=torch.int64)
        self._device = device
        self._halves = (samples - samples // 2, samples // 2)
        self.batch = min(batch, len(scenes))
        self.per_epoch = len(scenes) // self.batch

    def draw(self) -> tuple[Tensor, Tensor, Tensor]:
        """The next batch: which shapes (B,) int64, points (B,N,3) and their distances (B,N) float32."""
        if len(self._queue) < self.batch:
            order = torch.randperm(len(self._counts), generator=self._generator, device=self._rows.device)
            self._queue = order.cpu()
        shapes, self._queue = self._queue[: self.batch].to(self._rows.device), self._queue[self.batch :]
        rows = []
        for side, count in enumerate(self._halves):
            at = torch.rand(self.batch, count, generator=self._generator, device=self._rows.device)
            among = self._counts[shapes, side, None]
            rows.append(self._starts[shapes, side, None] + torch.minimum((at * among).long(), among - 1))
        drawn = self._rows[torch.cat(rows, 1)].to(self._device)
        return shapes.to(self._device), drawn[..., :3].contiguous(), drawn[..., 3].contiguous()

    def state_dict(self) -> dict[str, Any]:
        """What decides all further draws."""
        return {"queue": self._queue, "generator": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a state that `state_dict` gave."""
        self._queue = state["queue"].clone()
        self._generator.set_state(state["generator"])


def _outside_inside(scene: Scene) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Rows of x, y, z and distance: those outside, and those inside or on the surface."""
    samples = scene.given.samples
    if samples is None or samples.value is None or not len(samples):
        raise DataMissing(
            f"Scene {scene.name!r} has no samples with signed distance.",
            "Use a task that gives them: procedural-shapes/sdf-to-shape, or what nfbench prepare --to deepsdf writes.",
        )
    if samples.kind != "sdf":
        raise Unsupported(
            f"The samples of scene {scene.name!r} are {samples.kind} values, not signed distances.",
            "nfbench prepare --to deepsdf makes signed distances from meshes.",
        )
    rows = np.concatenate([samples.xyz, samples.value[:, None]], 1, dtype=np.float32)
    outside = samples.value > 0
    for side, place in ((outside, "outside"), (~outside, "inside")):
        if not side.any():
            raise DataMissing(
                f"None of the {len(rows)} samples of scene {scene.name!r} lies {place} its surface.",
                "Samples on both sides tell where the surface is: sample the shape again.",
            )
    return rows[outside], rows[~outside]
