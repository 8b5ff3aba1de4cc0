"""The released Occupancy Networks in our names: `model.pt` of a point-cloud, image or voxel model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nfbench.baselines.onet_encoders import matched
from nfbench.harness.errors import DataCorrupt
from nfbench.harness.official import section

_RENAMED = (
    (r"^decoder\.block(\d+)\.", r"decoder.blocks.\1."),
    (r"^encoder\.block_(\d+)\.", r"encoder.blocks.\1."),
    (r"^(decoder\..*)\.(?:conv|fc)_(gamma|beta)\.", r"\1.\2."),  # fc in models from before the release
    (r"^(decoder\..*bn(?:_\d)?)\.bn\.running_(mean|var)$", r"\1.\2"),
)
_HINT = "Name a checkpoint of the paper's code for the same kind of input, and the preset that it was trained with."


def official_tensors(state: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of our network from one of the original code.

    Args:
        state: what `torch.load(file, weights_only=True)` gives: a dict with `model`, or the state dict itself.
        wanted: the state dict of a network of ours of the same config, for names and shapes.

    Raises:
        DataCorrupt: a state dict of something else; what is missing, unknown or of another shape is named.
    """
    model = section(state, "model")
    found: dict[str, Tensor] = {}
    for name, value in model.items():
        if not isinstance(value, Tensor):
            raise DataCorrupt(f"{name} of the checkpoint is a {type(value).__name__} and no tensor.", _HINT)
        ours = _our_name(str(name))
        if ours.startswith("decoder.") and ours.endswith("num_batches_tracked"):
            continue  # a counter that is not used with a fixed momentum
        convolution = ours.startswith("decoder.") and value.ndim == 3  # 1x1
        found[ours] = value.squeeze(-1) if convolution else value
    return matched(found, wanted, "The checkpoint", _HINT)


def _our_name(name: str) -> str:
    for pattern, ours in _RENAMED:
        name = re.sub(pattern, ours, name)
    return name
