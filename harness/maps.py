"""Errors of depth and normal maps as the field reports them: one value an image, over the pixels that have a truth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, NfbenchError

DepthKind = Literal["abs", "abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3"]
NormalKind = Literal["mean", "median", "rmse", "within_11.25", "within_22.5", "within_30"]
Reals = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]
_Exact = NDArray[np.float64]

_DELTA = 1.25  # Eigen et al. 2014, section 4.3


def depth_error(
    prediction: Reals, truth: Reals, kind: DepthKind = "abs", *, mask: Mask | None = None
) -> NDArray[np.float64]:
    """The error of depth maps, (…) float64, over valid pixels: true depth finite and above 0, and in the mask.

    Eigen, Puhrsch and Fergus 2014, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network",
    section 4.3, with p the predicted and t the true depth, and no alignment of their scales:

    - `abs`: mean |p - t|, in the unit of the depths. (The paper has it only relative.)
    - `abs_rel`, `sq_rel`: mean |p - t| / t, and mean (p - t)^2 / t, which is in the unit of the depths.
    - `rmse`, `rmse_log`: root of the mean of (p - t)^2, and of (ln p - ln t)^2.
    - `delta1`, `delta2`, `delta3`: the part in [0,1] with max(p/t, t/p) < 1.25, 1.25^2, 1.25^3; more is better.

    Args:
        prediction: (…,H,W) floating, depth along the ray or the axis, as the truth has it, at least 0.
        truth: the same shape; 0, negative, NaN or infinite where there is none.
        kind: which error.
        mask: (…,H,W) bool, the pixels that may count.

    Raises:
        ContractBroken: shapes or types that differ or are others; NaN, infinity or a negative depth, or for `rmse_log`
            0, predicted at a valid pixel, named.
        NfbenchError: an image without a valid pixel, named, or a kind that is not known.
    """
    _check_kind(kind, get_args(DepthKind), "depth error")
    _check_maps(prediction, truth, truth.shape, 2, "(…,H,W)")
    valid = _valid(np.isfinite(truth) & (truth > 0), mask)
    wrong = ~np.isfinite(prediction) | (prediction < 0)
    if kind == "rmse_log":
        wrong |= prediction == 0
    _refuse(valid & wrong, prediction, "depth", "Give depths above 0, or a mask of the pixels that count.")
    return _each(lambda p, t: _depth(p, t, kind), prediction, truth, valid)


def normal_error(
    prediction: Reals, truth: Reals, kind: NormalKind = "mean", *, mask: Mask | None = None
) -> NDArray[np.float64]:
    """The angle between predicted and true normals, (…) float64, over valid pixels: a true normal, and in the mask.

    Fouhey, Gupta and Hebert 2013, "Data-Driven 3D Primitives for Single Image Understanding", section 5:

    - `mean`, `median`, `rmse`: of the angles, in degrees, [0,180].
    - `within_11.25`, `within_22.5`, `within_30`: the part in [0,1] with a smaller angle; more is better.

    Args:
        prediction: (…,H,W,3) floating, of any length but 0, in the same frame as the truth.
        truth: the same shape; 0 or not finite where there is none.
        kind: which error.
        mask: (…,H,W) bool, the pixels that may count.

    Raises:
        ContractBroken: shapes or types that differ or are others; a vector of length 0 or with NaN or infinity
            predicted at a valid pixel, named.
        NfbenchError: an image without a valid pixel, named, or a kind that is not known.
    """
    _check_kind(kind, get_args(NormalKind), "normal error")
    _check_maps(prediction, truth, (*truth.shape[:-1], 3), 3, "(…,H,W,3)")
    valid = _valid(np.asarray(np.isfinite(truth).all(-1) & truth.any(-1)), mask)
    wrong = ~np.isfinite(prediction).all(-1) | ~prediction.any(-1)
    _refuse(valid & wrong, prediction, "normal", "Give a normal there, or a mask of the pixels that count.")
    return _each(lambda p, t: _summary(_angles(p, t), kind), prediction, truth, valid)


def _depth(p: _Exact, t: _Exact, kind: DepthKind) -> float:
    """The error of the depths (V,) of one image."""
    if kind == "rmse":
        return float(np.sqrt(np.square(p - t).mean()))
    if kind == "rmse_log":
        return float(np.sqrt(np.square(np.log(p) - np.log(t)).mean()))
    if kind == "abs":
        return float(np.abs(p - t).mean())
    if kind == "abs_rel":
        return float((np.abs(p - t) / t).mean())
    if kind == "sq_rel":
        return float((np.square(p - t) / t).mean())
    limit = _DELTA ** int(kind.removeprefix("delta"))
    return float(((p < limit * t) & (t < limit * p)).mean())


def _angles(p: _Exact, t: _Exact) -> _Exact:
    """The angles (V,) in degrees between vectors (V,3).

    Twice the arc tangent of |p - t| over |p + t| of unit vectors: exact near 0 and 180, where the arc cosine is not.
    """
    p, t = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (p, t))
    halves = np.arctan2(np.linalg.norm(p - t, axis=-1), np.linalg.norm(p + t, axis=-1))
    angles: _Exact = np.degrees(2 * halves)
    return angles


def _summary(angles: _Exact, kind: NormalKind) -> float:
    if kind == "mean":
        return float(angles.mean())
    if kind == "median":
        return float(np.median(angles))
    if kind == "rmse":
        return float(np.sqrt(np.square(angles).mean()))
    return float((angles < float(kind.removeprefix("within_"))).mean())


def _check_kind(kind: str, known: tuple[str, ...], what: str) -> None:
    if kind not in known:
        raise NfbenchError(f"There is no {what} {kind!r}.", f"There are: {', '.join(known)}.")


def _check_maps(prediction: Reals, truth: Reals, wanted: tuple[int, ...], least: int, form: str) -> None:
    """Both maps floating, of the shape `wanted`, with `least` dimensions or more."""
    for name, array in (("prediction", prediction), ("truth", truth)):
        if not np.issubdtype(array.dtype, np.floating):
            raise ContractBroken(f"The {name} is {array.dtype}.", "Give floating numbers.")
        if array.shape != wanted or array.ndim < least:
            raise ContractBroken(
                f"The {name} has shape {array.shape}, the truth {truth.shape}; maps are {form}.",
                "Render at the size and number of the true maps; nothing is resized here.",
            )


def _valid(has_truth: Mask, mask: Mask | None) -> Mask:
    """The pixels (…,H,W) that count, some in every image."""
    if mask is not None:
        if mask.dtype != np.bool_ or mask.shape != has_truth.shape:
            raise ContractBroken(
                f"The mask is {mask.dtype} {mask.shape}, the maps have {has_truth.shape} pixels.",
                f"Give bool of shape {has_truth.shape}, true where pixels count.",
            )
        has_truth = has_truth & mask
    empty = np.asarray(~has_truth.any(axis=(-2, -1)))
    if empty.any():
        raise NfbenchError(
            f"Image {_first(empty)} has no valid pixel: no truth, or none in the mask.",
            "Leave that image out: it has nothing to score.",
        )
    return has_truth


def _refuse(wrong: Mask, prediction: Reals, what: str, hint: str) -> None:
    if wrong.any():
        place = tuple(np.argwhere(wrong)[0])
        raise ContractBroken(f"The predicted {what} at {_first(wrong)} is {prediction[place]}.", hint)


def _first(wrong: Mask) -> str:
    """The place of the first true value, as in '2' or '1, 0'."""
    return ", ".join(str(i) for i in np.argwhere(np.atleast_1d(wrong))[0])


def _each(measure: Callable[[_Exact, _Exact], float], prediction: Reals, truth: Reals, valid: Mask) -> _Exact:
    """The measure of the valid pixels of each image, (…) float64."""
    values = np.empty(valid.shape[:-2])
    for i in np.ndindex(values.shape):
        chosen = valid[i]
        values[i] = measure(prediction[i][chosen].astype(np.float64), truth[i][chosen].astype(np.float64))
    return values
