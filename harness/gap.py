"""explain-gap: which conventions could lie behind reported numbers, ranked by how near they come to them.

The measuring of images is in gap_images, that of surfaces in gap_surface, the reading of reported numbers in
gap_reported; here is the ranking of conventions that were measured.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nfbench.harness.gap_reported import Number

Choices = tuple[tuple[str, str], ...]  # axis and choice, in the order of the axes

FAR = 3.0
"""Scales from a reported number beyond which a convention does not explain it."""
_SEEDS_WIDE = 2.0  # standard deviations over sampling seeds within which two numbers are the same
_COMBINED = 200  # about as many rows in each shared setting: of n numbers, the nearest 200^(1/n) conventions each
_ALIKE = 2  # decimals of a scale within which two distances are the same, and the simpler convention goes first


@dataclass(frozen=True)
class Convention:
    """One way to measure a number, and what it gives.

    Attributes:
        choices: axis and choice.
        value: what it gives on these predictions.
        spread: the standard deviation over sampling seeds.
        floor: what the truth gives against an independent sampling of itself, where points are drawn.
        factor: what the value was multiplied by.
        own: whether a column of the protocol is measured so.
    """

    choices: Choices
    value: float
    spread: float = 0.0
    floor: float | None = None
    factor: float = 1.0
    own: bool = False


@dataclass
class Found:
    """What was measured of one section.

    Attributes:
        conventions: name of a reported number to its conventions, the protocol's own first.
        left_out: what could not be tried, in sentences.
    """

    conventions: dict[str, list[Convention]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One choice on every axis, and what it gives of each reported number.

    Attributes:
        distance: the sum over the numbers of the distance to what was reported, in scales; see `distance`.
        conventions: name of a reported number to its convention.
        changes: the choices in which it differs from the protocol's own convention, in words.
        own: whether it is the protocol's own.
    """

    distance: float
    conventions: dict[str, Convention]
    changes: tuple[str, ...]
    own: bool


def distance(number: Number, convention: Convention) -> float:
    """How far the convention is from the reported number, in scales of its family, 0 where they agree.

    They agree within half a unit of the last digit reported plus two standard deviations over sampling seeds; what is
    beyond counts in scales. A scale is never less than the seeds' deviation.
    """
    off = _off(number, convention)
    free = number.precision + _SEEDS_WIDE * convention.spread
    return max(0.0, off - free) / max(_scale(number, convention), convention.spread)


def difference(number: Number, convention: Convention) -> float:
    """The convention's value less the reported one; 0 where both are infinite alike."""
    return math.copysign(_off(number, convention), convention.value - number.value)


def _off(number: Number, convention: Convention) -> float:
    if math.isnan(convention.value):
        return math.inf
    return 0.0 if convention.value == number.value else abs(convention.value - number.value)


def _scale(number: Number, convention: Convention) -> float:
    if number.family.relative:
        return number.family.scale * max(abs(number.value), number.precision)
    return number.family.scale * (convention.factor if abs(number.value) > 1 else 1.0)  # percent where it can be


def rank(reported: Mapping[str, Number], found: Mapping[str, Sequence[Convention]], shared: Sequence[str]) -> list[Row]:
    """Rows, the nearest first; where two are as near, the one with fewer changes from the protocol's own.

    Args:
        reported: the numbers of one section.
        found: name of a number to its conventions, the first of them the one that changes are told from where the
            protocol has none of its own.
        shared: the axes whose choice must be the same for all numbers. A number that is not offered a choice keeps the
            protocol's there.
    """
    kept = round(_COMBINED ** (1 / len(reported)))
    shelves = {name: _by_setting(reported[name], found[name], shared, kept) for name in reported}
    settings = dict.fromkeys(setting for shelf in shelves.values() for setting in shelf)
    rows: dict[tuple[Choices, ...], Row] = {}
    for setting in settings:
        answers = {name: _answers(setting, shelves[name], found[name][0]) for name in reported}
        _add(rows, answers, reported, found, shared)
    # a protocol may itself choose differently for two columns, masked for one and not for the other
    _add(rows, {name: [c for c in found[name] if c.own] for name in reported}, reported, found, shared)
    return sorted(rows.values(), key=lambda row: _order(row, reported))


def _add(
    rows: dict[tuple[Choices, ...], Row],
    answers: Mapping[str, Sequence[Convention]],
    reported: Mapping[str, Number],
    found: Mapping[str, Sequence[Convention]],
    shared: Sequence[str],
) -> None:
    """Add a row for every combination of one answer a number."""
    for combination in itertools.product(*answers.values()):
        key = tuple(convention.choices for convention in combination)
        if key not in rows:
            rows[key] = _row(reported, dict(zip(reported, combination, strict=True)), found, shared)


def _order(row: Row, reported: Mapping[str, Number]) -> tuple[float, int, float]:
    off = sum(_off(reported[n], c) / _scale(reported[n], c) for n, c in row.conventions.items())
    return (round(row.distance, _ALIKE), len(row.changes), off)


def _by_setting(
    number: Number, conventions: Sequence[Convention], shared: Sequence[str], kept: int
) -> dict[Choices, list[Convention]]:
    """Choices on the shared axes to the nearest conventions there, the protocol's own always among them."""
    shelf: dict[Choices, list[Convention]] = {}
    for convention in conventions:
        shelf.setdefault(_only(convention.choices, shared), []).append(convention)
    for setting, several in shelf.items():
        near = sorted(
            several, key=lambda c: (round(distance(number, c), _ALIKE), len(_fewest(c, conventions)), _off(number, c))
        )
        shelf[setting] = near[:kept] + [c for c in near[kept:] if c.own]
    return shelf


def _answers(setting: Choices, shelf: Mapping[Choices, list[Convention]], usual: Convention) -> Sequence[Convention]:
    """The conventions of one number in a shared setting, its usual choice where it is not offered the setting's."""
    if setting in shelf:
        return shelf[setting]
    offered = {pair for choices in shelf for pair in choices}
    default = dict(usual.choices)
    adapted = tuple(
        (axis, choice if (axis, choice) in offered else default[axis]) for axis, choice in setting if axis in default
    )
    return shelf.get(adapted, ())


def _only(choices: Choices, axes: Sequence[str]) -> Choices:
    return tuple((axis, choice) for axis, choice in choices if axis in axes)


def _row(
    reported: Mapping[str, Number],
    conventions: dict[str, Convention],
    found: Mapping[str, Sequence[Convention]],
    shared: Sequence[str],
) -> Row:
    several = len(reported) > 1
    changes: dict[str, None] = {}
    for name, convention in conventions.items():
        for axis, choice in _fewest(convention, found[name]):
            changes[f"{axis}: {choice}" if axis in shared or not several else f"{name} {axis}: {choice}"] = None
    total = sum(distance(reported[name], convention) for name, convention in conventions.items())
    return Row(total, conventions, tuple(changes), all(convention.own for convention in conventions.values()))


def _fewest(convention: Convention, conventions: Sequence[Convention]) -> list[tuple[str, str]]:
    """The choices in which it differs from that one of the protocol's own which is most like it."""
    usual = [each for each in conventions if each.own] or conventions[:1]
    differing = ([pair for pair in convention.choices if pair not in each.choices] for each in usual)
    return min(differing, key=len)


def as_json(reported: Mapping[str, Number], row: Row) -> dict[str, Any]:
    """A row as JSON has it."""
    numbers = {name: convention_as_json(reported[name], convention) for name, convention in row.conventions.items()}
    return {"distance": row.distance, "own": row.own, "changes": list(row.changes), "numbers": numbers}


def convention_as_json(number: Number, convention: Convention) -> dict[str, Any]:
    """A convention of one number as JSON has it."""
    return {
        "reported": number.value,
        "value": convention.value,
        "difference": difference(number, convention),
        "distance": distance(number, convention),
        "spread": convention.spread,
        "floor": convention.floor,
        "choices": dict(convention.choices),
        "own": convention.own,
    }
