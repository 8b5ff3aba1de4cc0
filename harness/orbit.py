"""Cameras on a circle around a scene."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.errors import NfbenchError
from nfbench.harness.scene import Scene

_ELEVATION = np.radians(30.0)
_STEEPEST = np.radians(75.0)  # elevation at which a circle still is one
_FIELD_OF_VIEW = np.radians(40.0)
_ROOM = 1.05  # of the view around the sphere about the box
_LEVEL = 0.97  # cosine: an axis this near to what the images have upwards is what is up
_AGREE = 0.3  # mean length of the images' directions upwards, below which they have none in common
_NEAREST = 0.05  # of the distance: the near end of the rays, where the views name none

Reals = NDArray[np.float64]


def orbit(scene: Scene, frames: int, pixels: int) -> Cameras:
    """`frames` square cameras on a circle around the middle of the scene's box, looking at it.

    Without given views: 30 degrees above the xy-plane, z up, so far away that the box is seen whole at 40 degrees.
    With views: their mean elevation, direction upwards, distance and field of view, so that a field is asked for what
    it was fitted to; up is the axis next to it where one is within 14 degrees.

    Raises:
        NfbenchError: no frame or no pixel.
    """
    if frames < 1 or pixels < 1:
        raise NfbenchError(f"A turntable of {frames} frames of {pixels} pixels.", "Give 1 or more of each.")
    box = scene.box.astype(np.float64)
    centre, radius = box.mean(0), float(np.linalg.norm(box[1] - box[0])) / 2
    up, elevation = np.array([0.0, 0.0, 1.0]), _ELEVATION
    opening = _FIELD_OF_VIEW
    distance = _ROOM * radius / np.sin(opening / 2)
    near_far = None
    views = scene.given.views
    if views is not None and len(views):
        cameras = views.cameras
        up = _upwards(cameras)
        away = cameras.centres.astype(np.float64) - centre
        length = np.linalg.norm(away, axis=1)
        sine = np.mean(away @ up / np.maximum(length, np.finfo(np.float64).tiny))
        elevation = float(np.clip(np.arcsin(np.clip(sine, -1, 1)), -_STEEPEST, _STEEPEST))
        distance = float(length.mean()) or distance
        focal = cameras.K[:, 0, 0] / cameras.size.min(1)
        opening = 2 * np.arctan(0.5 / float(np.median(focal)))
        if cameras.near_far is not None:
            near_far = [float(cameras.near_far[:, 0].min()), float(cameras.near_far[:, 1].max())]
    near_far = near_far or [max(distance - radius, _NEAREST * distance), distance + radius]
    first = _start(up)
    turn = 2 * np.pi * np.arange(frames) / frames
    level = np.cos(turn)[:, None] * first + np.sin(turn)[:, None] * np.cross(up, first)
    eyes = centre + distance * (np.cos(elevation) * level + np.sin(elevation) * up)
    focal_length = pixels / 2 / np.tan(opening / 2)
    K = np.array([[focal_length, 0, pixels / 2], [0, focal_length, pixels / 2], [0, 0, 1]])
    return Cameras(
        np.stack([look_at(eye, centre, up) for eye in eyes]),
        np.tile(K, (frames, 1, 1)).astype(np.float32),
        np.full((frames, 2), pixels, np.int32),
        np.tile(near_far, (frames, 1)).astype(np.float32),
    )


def _upwards(cameras: Cameras) -> Reals:
    """(3,) what the images have upwards, a unit vector; z where they do not agree."""
    mean = -cameras.c2w[:, :, 1].astype(np.float64).mean(0)
    length = float(np.linalg.norm(mean))
    if length < _AGREE:
        return np.array([0.0, 0.0, 1.0])
    mean /= length
    axis = int(np.abs(mean).argmax())
    if abs(mean[axis]) > _LEVEL:
        mean = np.where(np.arange(3) == axis, np.sign(mean), 0.0)
    return np.asarray(mean)


def _start(up: Reals) -> Reals:
    """(3,) where the circle starts: a unit vector across `up`, before a scene that faces -y where z is up."""
    axis = np.array([0.0, -1.0, 0.0]) if abs(up[1]) < 0.9 else np.array([0.0, 0.0, 1.0])
    across = axis - (axis @ up) * up
    return np.asarray(across / np.linalg.norm(across))
