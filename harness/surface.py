"""Distances between surfaces from samples of both, and volume IoU, in the points' own unit or its square.

One function a metric, on Points or Mesh: `chamfer_sq_sum(prediction, truth)`. For many metrics of one pair,
`correspond` searches once and its Correspondence has each as a method. A name says every convention: squared (`sq`) or
not (`l1`), the two directions added (`sum`) or averaged (`mean`, `half`). Nothing is multiplied by 10, 100 or 1000.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nfbench.harness import mesh as meshes
from nfbench.harness.bridge import CloudBatch, MeshBatch, single
from nfbench.harness.errors import ContractBroken, DataMissing, NfbenchError
from nfbench.harness.scene import Mesh, Points

Surface = Points | Mesh | MeshBatch | CloudBatch

_THREADS = os.cpu_count() or 1
SAMPLES = 100_000  # points drawn on a mesh, as Occupancy Networks does


@dataclass(frozen=True, eq=False)
class Correspondence:
    """Nearest neighbours between a predicted and a true surface, both ways.

    Attributes:
        to_truth: (P,) float64, the distance from each predicted point to the nearest true one.
        to_prediction: (Q,) float64, the distance from each true point to the nearest predicted one.
        agreement_to_truth: (P,) float64 in [0,1], ``|cos|`` between the normals of those pairs; None without normals.
        agreement_to_prediction: (Q,) float64 in [0,1], likewise.
    """

    to_truth: NDArray[np.float64]
    to_prediction: NDArray[np.float64]
    agreement_to_truth: NDArray[np.float64] | None = None
    agreement_to_prediction: NDArray[np.float64] | None = None

    def accuracy(self) -> float:
        """Mean distance from prediction to truth."""
        return float(self.to_truth.mean())

    def completeness(self) -> float:
        """Mean distance from truth to prediction."""
        return float(self.to_prediction.mean())

    def chamfer_l1_mean(self) -> float:
        """Half of accuracy plus completeness: the Chamfer-L1 of Occupancy Networks, not multiplied by 10."""
        return self.chamfer_l1_sum() / 2

    def chamfer_l1_sum(self) -> float:
        """Accuracy plus completeness, unsquared: the `chamfer_distance` of point-cloud-utils."""
        return self.accuracy() + self.completeness()

    def chamfer_sq_sum(self) -> float:
        """Sum of the two mean squared distances: the Chamfer distance of DeepSDF, AtlasNet, LDIF and PyTorch3D."""
        return _mean_square(self.to_truth) + _mean_square(self.to_prediction)

    def chamfer_sq_half(self) -> float:
        """Half the sum of the two mean squared distances: the Chamfer-L2 of Occupancy Networks' evaluation code."""
        return self.chamfer_sq_sum() / 2

    def chamfer_points_sum(self) -> float:
        """Sum of the unsquared distances of all points, both ways (Points2Surf); it grows with their number."""
        return float(self.to_truth.sum() + self.to_prediction.sum())

    def hausdorff(self) -> float:
        """The greatest distance of either way."""
        return float(max(self.to_truth.max(), self.to_prediction.max()))

    def mesh_accuracy(self, part: float = 0.9, points: int | None = None) -> float:
        """The smallest distance within which `part` of the prediction lies of the truth (Park et al. 2019, DeepSDF).

        Args:
            part: in (0,1].
            points: how many of the predicted points to ask, evenly picked; all without it, or where there are fewer.
        """
        if not 0 < part <= 1 or (points is not None and points < 1):
            raise NfbenchError(f"Mesh accuracy of a part {part} of {points} points.", "Give 0 < part <= 1, points > 0.")
        count = len(self.to_truth) if points is None else min(points, len(self.to_truth))
        asked = self.to_truth[np.arange(count) * len(self.to_truth) // count]
        return float(np.quantile(asked, part, method="inverted_cdf"))

    def mesh_completion(self, radius: float = 0.01) -> float:
        """The part of the truth within `radius`, inclusive, of the prediction's points, in [0,1] (DeepSDF): recall."""
        return self.recall(radius)

    def normal_consistency(self) -> float:
        """Mean ``|cos|`` between the normals of nearest neighbours, averaged over both ways, in [0,1].

        Raises:
            DataMissing: one of the clouds has no normals.
        """
        if self.agreement_to_truth is None or self.agreement_to_prediction is None:
            raise DataMissing(
                "Normal consistency needs normals on both surfaces.",
                "Give a mesh or points with normals, or leave the column out of the protocol.",
            )
        return float(self.agreement_to_truth.mean() + self.agreement_to_prediction.mean()) / 2

    def normal_cosine_loss(self) -> float:
        """Sum over both ways of mean ``1 - |cos|``, in [0,2]: the normal term of PyTorch3D's `chamfer_distance`.

        Raises:
            DataMissing: one of the clouds has no normals.
        """
        return 2 * (1 - self.normal_consistency())

    def precision(self, radius: float, strict: bool = False) -> float:
        """The part of the prediction within `radius` of the truth, in [0,1]; below it where `strict`."""
        return _part_within(self.to_truth, radius, strict)

    def recall(self, radius: float, strict: bool = False) -> float:
        """The part of the truth within `radius` of the prediction, in [0,1]; below it where `strict`."""
        return _part_within(self.to_prediction, radius, strict)

    def fscore(self, radius: float, strict: bool = False) -> float:
        """Harmonic mean of precision and recall, in [0,1]; 0 where both are 0 (other code gives NaN there)."""
        precision, recall = self.precision(radius, strict), self.recall(radius, strict)
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def correspond(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> Correspondence:
    """The Correspondence of two surfaces in one frame: one search each way, whatever is read from it later.

    A normal of length zero agrees with nothing; the others need not be unit vectors.

    Args:
        prediction: points, used as they are, or a mesh, on which points are drawn.
        truth: likewise.
        count: points drawn on a mesh.
        seed: of the drawing on the prediction; the truth has the next one.

    Raises:
        ContractBroken: the prediction is empty.
        DataMissing: the truth is empty.
    """
    prediction, truth = _cloud(prediction, count, seed), _cloud(truth, count, seed + 1)
    if not len(prediction):
        raise ContractBroken("The predicted surface is empty.", "It has no distance to anything: a failed scene.")
    if not len(truth):
        raise DataMissing("The true surface is empty.", "Check the scene's data.")
    from nfbench.harness import neighbours  # numba takes its time

    forth, back = neighbours.mutual(prediction.xyz, truth.xyz, threads=_THREADS)
    (to_truth, at_truth), (to_prediction, at_prediction) = forth, back
    if prediction.normal is None or truth.normal is None:
        return Correspondence(to_truth, to_prediction)
    return Correspondence(
        to_truth,
        to_prediction,
        neighbours.agreement(prediction.normal, truth.normal, at_truth),
        neighbours.agreement(truth.normal, prediction.normal, at_prediction),
    )


def nearest(a: NDArray[np.floating], b: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance (P,) float64 from each of `a` (P,3) to the nearest of `b` (Q,3), Q > 0, and its index (P,) in `b`.

    Exact, in float64. Where several of `b` are nearest, the index is that of one of them.
    """
    from nfbench.harness import neighbours  # numba takes its time

    return neighbours.nearest(a, b, threads=_THREADS)


def accuracy(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Mean distance from prediction to truth; arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).accuracy()


def completeness(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Mean distance from truth to prediction; arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).completeness()


def chamfer_l1_mean(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Half of accuracy plus completeness (Occupancy Networks); arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).chamfer_l1_mean()


def chamfer_l1_sum(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Accuracy plus completeness (point-cloud-utils); arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).chamfer_l1_sum()


def chamfer_sq_sum(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Sum of both mean squared distances (DeepSDF, AtlasNet, LDIF, PyTorch3D); arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).chamfer_sq_sum()


def chamfer_sq_half(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Half the sum of both mean squared distances (Chamfer-L2 of Occupancy Networks); arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).chamfer_sq_half()


def chamfer_points_sum(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Sum of the distances of all points, both ways (Points2Surf); arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).chamfer_points_sum()


def hausdorff(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """The greatest distance of either way; arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).hausdorff()


def normal_consistency(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Mean ``|cos|`` between normals of nearest neighbours, both ways averaged, in [0,1]; arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).normal_consistency()


def normal_cosine_loss(prediction: Surface, truth: Surface, *, count: int = SAMPLES, seed: int = 0) -> float:
    """Sum over both ways of mean ``1 - |cos|`` between normals, in [0,2] (PyTorch3D); arguments as `correspond`."""
    return correspond(prediction, truth, count=count, seed=seed).normal_cosine_loss()


def precision(
    prediction: Surface, truth: Surface, radius: float, *, strict: bool = False, count: int = SAMPLES, seed: int = 0
) -> float:
    """The part of the prediction within `radius` of the truth, in [0,1]; `strict` leaves out what lies at `radius`."""
    return correspond(prediction, truth, count=count, seed=seed).precision(radius, strict)


def recall(
    prediction: Surface, truth: Surface, radius: float, *, strict: bool = False, count: int = SAMPLES, seed: int = 0
) -> float:
    """The part of the truth within `radius` of the prediction, in [0,1]; `strict` leaves out what lies at `radius`."""
    return correspond(prediction, truth, count=count, seed=seed).recall(radius, strict)


def fscore(
    prediction: Surface, truth: Surface, radius: float, *, strict: bool = False, count: int = SAMPLES, seed: int = 0
) -> float:
    """Harmonic mean of precision and recall, in [0,1]; `strict` leaves out what lies at `radius`."""
    return correspond(prediction, truth, count=count, seed=seed).fscore(radius, strict)


def mesh_accuracy(
    prediction: Surface, truth: Surface, part: float = 0.9, *, points: int = 1000, count: int = SAMPLES, seed: int = 0
) -> float:
    """The smallest distance within which `part` of `points` predicted points lie of the truth's points (DeepSDF)."""
    return correspond(prediction, truth, count=count, seed=seed).mesh_accuracy(part, points)


def mesh_completion(
    prediction: Surface, truth: Surface, radius: float = 0.01, *, count: int = SAMPLES, seed: int = 0
) -> float:
    """The part of the truth's points within `radius`, inclusive, of the prediction's points, in [0,1] (DeepSDF)."""
    return correspond(prediction, truth, count=count, seed=seed).mesh_completion(radius)


def iou(predicted_inside: NDArray[np.bool_], true_inside: NDArray[np.bool_]) -> float:
    """Volume intersection over union, in [0,1], at points (P,) whose being inside is known for both shapes.

    Raises:
        ContractBroken: shapes that differ, or arrays that are not bool.
        DataMissing: no point is inside either shape, so that 0/0 is asked for.
    """
    if predicted_inside.shape != true_inside.shape or predicted_inside.dtype != bool or true_inside.dtype != bool:
        raise ContractBroken(
            f"IoU of {predicted_inside.dtype} {predicted_inside.shape} and {true_inside.dtype} {true_inside.shape}.",
            "Give two bool arrays of one shape, one entry a query point.",
        )
    union = np.count_nonzero(predicted_inside | true_inside)
    if not union:
        raise DataMissing(
            "No query point is inside the truth or the prediction: there is no IoU.",
            "Check that the query points surround the true shape and are in its frame.",
        )
    return int(np.count_nonzero(predicted_inside & true_inside)) / union


def _cloud(surface: Surface, count: int, seed: int) -> Points:
    """The points of a surface: its own, or drawn on it; of a PyTorch3D batch of one, likewise."""
    surface = single(surface)
    if isinstance(surface, Points):
        return surface
    return meshes.sample(surface, count, seed) if len(surface.faces) else Points(np.empty((0, 3), np.float32))


def _mean_square(distance: NDArray[np.float64]) -> float:
    return float(np.square(distance).mean())


def _part_within(distance: NDArray[np.float64], radius: float, strict: bool) -> float:
    if not radius > 0:
        raise NfbenchError(f"A radius of {radius} holds no points.", "Give a radius above 0.")
    within = distance < radius if strict else distance <= radius
    return int(np.count_nonzero(within)) / len(distance)
