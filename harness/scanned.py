"""A surface judged by a scan, as DTU and Tanks and Temples do it: the distances of those points that count."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.errors import ContractBroken, DataCorrupt, DataMissing, NfbenchError
from nfbench.harness.gridding import voxel_downsample
from nfbench.harness.scan import CropVolume, ObservedVolume
from nfbench.harness.surface import Correspondence, nearest

Cloud = NDArray[np.floating]  # (P,3)

PATCH = 60.0  # mm, as DTUeval-python and the Matlab code before it
CUTOFF = 20.0  # mm, likewise


def dtu(
    prediction: Cloud, truth: Cloud, volume: ObservedVolume, patch: float = PATCH, cutoff: float = CUTOFF
) -> Correspondence:
    """The distances in mm that the Chamfer distance of DTU averages (Jensen et al. 2014; DTUeval-python).

    Its accuracy is the mean distance from the predicted points in the observed voxels to the truth; its completeness
    that from the true points above the table to the predicted points in the box, observed or not; its
    `chamfer_l1_mean` is the overall score. Distances of `cutoff` and more are left out, not clipped: what is missing
    by more than that goes unpunished.

    Args:
        prediction: (P,3) mm, gridded and thinned by `gridding.grid` and `gridding.thin`, both at 0.2 mm.
        truth: (Q,3) mm, the scan as it is.
        volume: what was observed of the scan.
        patch: mm by which the box is widened, twice that on its high sides.
        cutoff: mm.

    Raises:
        ContractBroken: no predicted point is in the box, in an observed voxel, or within `cutoff` of the truth.
        DataMissing: the truth is empty.
        DataCorrupt: no true point lies above the table.
    """
    if not patch >= 0 or not cutoff > 0:
        raise NfbenchError(f"A patch of {patch} mm and a cutoff of {cutoff} mm.", "Give patch >= 0 and cutoff > 0.")
    if not len(truth):
        raise DataMissing("The scan has no points.", "Check the scan's file.")
    mend = "Check that it is in the millimetres and the frame of the scan (apply scale_mat), and not empty."
    near = prediction[volume.near(prediction, patch)]
    if not len(near):
        raise ContractBroken(f"None of {len(prediction)} predicted points lies in the box of the scan.", mend)
    judged = near[volume.observed(near)]
    if not len(judged):
        raise ContractBroken(f"None of {len(prediction)} predicted points lies where the scanner observed.", mend)
    standing = truth[volume.above(truth)]
    if not len(standing):
        raise DataCorrupt(f"None of the {len(truth)} points of the scan lies above its plane.", "Check both files.")
    to_truth, to_prediction = nearest(judged, truth)[0], nearest(standing, near)[0]
    to_truth, to_prediction = to_truth[to_truth < cutoff], to_prediction[to_prediction < cutoff]
    if not len(to_truth) or not len(to_prediction):
        raise ContractBroken(f"The prediction is nowhere within {cutoff} mm of the scan.", mend)
    return Correspondence(to_truth, to_prediction)


def tanks(prediction: Cloud, truth: Cloud, crop: CropVolume, tolerance: float) -> Correspondence:
    """The distances in metres that precision and recall of Tanks and Temples count (Knapitsch et al. 2017).

    Both clouds are cropped, then averaged by voxels of half the tolerance. Precision and recall are the parts strictly
    below `tolerance`: `precision(tolerance, strict=True)`.

    Args:
        prediction: (P,3) metres, aligned with the truth beforehand; no alignment is sought here.
        truth: (Q,3) metres.
        crop: what is judged.
        tolerance: metres, the scene's tau.

    Raises:
        ContractBroken: no predicted point is in the crop.
        DataMissing: the truth is empty.
        DataCorrupt: no true point is in the crop.
    """
    if not 0 < tolerance < np.inf:
        raise NfbenchError(f"A tolerance of {tolerance} m.", "Give the scene's tau.")
    if not len(truth):
        raise DataMissing("The scan has no points.", "Check the scan's file.")
    cropped = prediction[crop.inside(prediction)]
    if not len(cropped):
        raise ContractBroken(
            f"None of {len(prediction)} predicted points lies in the crop of the scan.",
            "Check that it is in the metres and the frame of the scan (apply the alignment), and not empty.",
        )
    expected = truth[crop.inside(truth)]
    if not len(expected):
        raise DataCorrupt(f"None of the {len(truth)} points of the scan lies in its crop.", "Check both files.")
    ours, theirs = voxel_downsample(cropped, tolerance / 2), voxel_downsample(expected, tolerance / 2)
    return Correspondence(nearest(ours, theirs)[0], nearest(theirs, ours)[0])
