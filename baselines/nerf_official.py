"""Checkpoints of the original NeRF, as nerf-pytorch writes them, brought into ours.

The `.tar` of that repository holds `network_fn_state_dict` and `network_fine_state_dict`, the coarse and the fine
network, beside the optimiser. A field is a function of position and direction, the same one here as there; what
differs is through which point of a pixel its ray passes, which the config of an imported field says, and that samples
lie between near and far along the ray and not along the optical axis.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nfbench.baselines.ndc import Ndc, faces_forward
from nfbench.baselines.nerf_config import PAPER, NerfConfig
from nfbench.baselines.nerf_field import NerfField
from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.scene import Scene

OFFICIAL = dataclasses.replace(PAPER, pixel=0.0)
"""The config of an imported field: the original has no offset of half a pixel."""

_CONTAINERS = ("network_fn_state_dict", "network_fine_state_dict")
_ROLES = {"view": "views_linears.0", "feature": "feature_linear", "sigma": "alpha_linear", "rgb": "rgb_linear"}
_PREFIX = "module."
_HINT = "A .tar of nerf-pytorch, trained with view directions and a fine network of the same size, is expected."


def official_networks(state: Mapping[str, Any], config: NerfConfig = OFFICIAL) -> dict[str, Tensor]:
    """The state dict of `NerfField.networks` from a checkpoint of nerf-pytorch, as torch.load gives it.

    Raises:
        DataCorrupt: it holds no two networks, or one whose tensors are not those of the config; they are named.
    """
    lacking = [name for name in _CONTAINERS if not isinstance(state.get(name), Mapping)]
    if lacking:
        raise DataCorrupt(
            f"The checkpoint has no {' and no '.join(lacking)}, but {', '.join(map(str, state)) or 'nothing'}.", _HINT
        )
    ours = _shapes(config)
    found: dict[str, Tensor] = {}
    for index, container in enumerate(_CONTAINERS):
        given = {str(name).removeprefix(_PREFIX): tensor for name, tensor in state[container].items()}
        wanted = {_original(name): name for name in ours}
        _check_names(container, set(given), set(wanted))
        for original, name in wanted.items():
            tensor = given[original]
            if not isinstance(tensor, Tensor) or tensor.shape != ours[name]:
                shape = tuple(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise DataCorrupt(f"{container}: {original} is {shape}, not {tuple(ours[name])}.", _HINT)
            if not torch.isfinite(tensor).all():
                raise DataCorrupt(f"{container}: {original} holds NaN or infinity.", "Take an earlier checkpoint.")
            found[f"{index}.{name}"] = tensor.detach()
    return found


def official_field(state: Mapping[str, Any], scene: Scene, device: str = "cpu") -> NerfField:
    """The field of a checkpoint of nerf-pytorch that was trained on `scene`; `save` makes it one of ours.

    A forward-facing scene is taken to be trained in normalised device coordinates, whose mean camera and near plane
    are those of all views, hidden ones too, as in the original.

    Raises:
        DataCorrupt: as `official_networks`.
        Unsupported: the scene is not in the coordinates of its dataset.
    """
    networks = official_networks(state, OFFICIAL)
    parts = [views.cameras for views in (scene.given.views, scene.hidden) if views is not None]
    forward = bool(parts) and faces_forward(parts[0], scene.box)
    if not forward and not np.allclose(scene.frame, np.eye(4)):
        raise Unsupported(
            f"Scene {scene.name!r} is not in the coordinates of its dataset, in which the checkpoint was trained.",
            "Open it in the format that the checkpoint's code read, blender or llff.",
        )
    ndc = Ndc.of(_together(parts), device) if forward else None
    field = NerfField(OFFICIAL, scene.box, scene.background, device, ndc=ndc)
    field.networks.load_state_dict(networks)
    return field


def _together(parts: list[Cameras]) -> Cameras:
    near_far = [cameras.near_far for cameras in parts if cameras.near_far is not None]
    return Cameras(
        np.concatenate([cameras.c2w for cameras in parts]),
        np.concatenate([cameras.K for cameras in parts]),
        np.concatenate([cameras.size for cameras in parts]),
        np.concatenate(near_far) if len(near_far) == len(parts) else None,
    )


def _shapes(config: NerfConfig) -> dict[str, torch.Size]:
    field = NerfField(config, np.array([[-1, -1, -1], [1, 1, 1]], np.float32), (1, 1, 1), "cpu")
    return {name: tensor.shape for name, tensor in field.networks[0].state_dict().items()}


def _original(name: str) -> str:
    """The original's name of one of our parameters."""
    role, _, part = name.rpartition(".")
    return f"{role.replace('trunk', 'pts_linears') if role.startswith('trunk') else _ROLES[role]}.{part}"


def _check_names(container: str, given: set[str], wanted: set[str]) -> None:
    unknown, missing = sorted(given - wanted), sorted(wanted - given)
    if unknown or missing:
        told = [f"misses {', '.join(missing)}"] if missing else []
        told += [f"has unknown {', '.join(unknown)}"] if unknown else []
        raise DataCorrupt(f"{container} {' and '.join(told)}.", _HINT)
