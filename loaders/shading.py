"""Colours of analytic surfaces: patterns in space, and shading that depends on where they are seen from.

A texture is a function from points (P,3) in scene units to sRGB colours (P,3) in [0,1]. The patterns here have soft
edges, so that one ray through the centre of each pixel shows them without aliasing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float = NDArray[np.float64]
Texture = Callable[[Float], Float]
Colour = tuple[float, float, float]

_EDGE = 5.0  # how steep a pattern's edges are: about a tenth of its period wide


@dataclass(frozen=True)
class Light:
    """A light far away.

    Attributes:
        towards: direction to the light, of any length.
        colour: its strength in each channel.
    """

    towards: Colour
    colour: Colour


@dataclass(frozen=True)
class Gloss:
    """How a surface answers to light: Lambert's law and the highlight of Blinn 1977, equation 3 with a power.

    Attributes:
        ambient: part of its colour that needs no light.
        highlight: strength of the highlight.
        power: its sharpness.
        lights: a warm one from above and a cool one from the other side.
    """

    ambient: float = 0.4
    highlight: float = 0.5
    power: float = 40.0
    lights: tuple[Light, ...] = (
        Light((0.5, -0.6, 0.9), (0.7, 0.68, 0.64)),
        Light((-0.7, 0.6, -0.3), (0.3, 0.33, 0.38)),
    )


def shade(colour: Float, normal: Float, to_eye: Float, gloss: Gloss | None = None) -> Float:
    """SRGB colours (P,3) in [0,1] of lit points.

    Args:
        colour: (P,3) in [0,1], the surface's own colours.
        normal: (P,3) outward unit normals.
        to_eye: (P,3) unit vectors towards the camera.
        gloss: the material and its lights.
    """
    gloss = gloss or Gloss()
    lit = gloss.ambient * colour
    for light in gloss.lights:
        towards = np.asarray(light.towards) / np.linalg.norm(light.towards)
        facing = normal @ towards
        lit = lit + np.maximum(facing, 0)[:, None] * colour * light.colour
        between = towards + to_eye
        between = between / np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-9)
        shine = np.maximum((normal * between).sum(1), 0) ** gloss.power * (facing > 0)
        lit = lit + gloss.highlight * shine[:, None] * light.colour
    return np.clip(lit, 0, 1)


def blend(first: Float, second: Float, wave: Float) -> Float:
    """Colours (P,3) between `first` and `second`, each (3,) or (P,3), as `wave` (P,) goes from -1 to 1."""
    weight = (0.5 + 0.5 * np.tanh(_EDGE * wave) / np.tanh(_EDGE))[:, None]
    colour: Float = (1 - weight) * first + weight * second
    return colour


def checks(first: ArrayLike, second: ArrayLike, period: ArrayLike) -> Texture:
    """A texture of boxes in two colours (3,), `period` scene units for a pair of them along each axis."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)

    def texture(xyz: Float) -> Float:
        return blend(one, two, np.sin(2 * np.pi * xyz / np.asarray(period, np.float64) + 0.5).prod(axis=1))

    return texture


def rings(first: ArrayLike, second: ArrayLike, spokes: int, period: float) -> Texture:
    """A texture of checks around the z axis: `spokes` pairs around it, `period` scene units for a pair along it."""
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)

    def texture(xyz: Float) -> Float:
        around = np.sin(spokes * np.arctan2(xyz[:, 1], xyz[:, 0]))
        return blend(one, two, around * np.sin(2 * np.pi * xyz[:, 2] / period))

    return texture


def marbled(texture: Texture, hue: float = 0.25, period: float = 1.3) -> Texture:
    """`texture` with slow waves of colour over it, of strength `hue`, so that no two places look quite the same."""

    def waved(xyz: Float) -> Float:
        turn = 2 * np.pi / period
        waves = np.sin(turn * (xyz @ [[1.0, 0.3, -0.2], [-0.4, 1.0, 0.5], [0.2, -0.6, 1.0]]) + [0.0, 1.0, 2.5])
        return np.clip(texture(xyz) * (1 + hue * waves), 0, 1)

    return waved
