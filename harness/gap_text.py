"""The command explain-gap: predictions and reported numbers in, a short table or JSON out."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfbench.harness import gap
from nfbench.harness.commands.weights import check_weights
from nfbench.harness.console import dumps, watching
from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import Unsupported
from nfbench.harness.gap import Convention, Row
from nfbench.harness.gap_reported import Number, Section, read_reported
from nfbench.harness.prediction import on_background
from nfbench.harness.protocol import Protocol
from nfbench.harness.protocol import protocol as find_protocol
from nfbench.harness.scene import Scene
from nfbench.harness.submission import locate

_WIDTH = 100
_NOUNS: dict[Section, str] = {"image": "images", "surface": "surfaces"}


@dataclass(frozen=True, eq=False)
class Explained:
    """What was found of the numbers of one section.

    Attributes:
        section: `image` or `surface`.
        reported: the numbers by name.
        rows: ranked.
        conventions: name of a number to all its conventions.
        left_out: what could not be tried.
    """

    section: Section
    reported: Mapping[str, Number]
    rows: Sequence[Row]
    conventions: Mapping[str, Sequence[Convention]]
    left_out: Sequence[str]

    @property
    def explained(self) -> bool:
        """Whether the best row comes near every number."""
        best = self.rows[0]
        return all(gap.distance(self.reported[n], c) <= gap.FAR for n, c in best.conventions.items())

    @property
    def agreeing(self) -> int:
        """How many rows agree with all numbers within their digits and the spread over seeds."""
        return sum(row.distance == 0 for row in self.rows)

    @property
    def own(self) -> Row | None:
        """The nearest row of the protocol's own columns."""
        return next((row for row in self.rows if row.own), None)


def text(
    predictions: Path,
    task: str,
    reported: str,
    *,
    protocol: str | None = None,
    as_json: bool = False,
    top: int = 8,
    test_every: int = 1,
    seeds: int = 3,
    format: str | None = None,
    lpips_weights: Sequence[Path] = (),
    quiet: bool = False,
) -> str:
    """The answer of `nfbench explain-gap`, a table of at most 100 columns, or JSON.

    Args:
        predictions: a folder as `nfbench score` takes it.
        task: a registered task, or a path.
        reported: `psnr=31.0,ssim=.947`.
        protocol: its id; the task's own without it.
        as_json: JSON with every convention.
        top: rows to show.
        test_every: the sub-task of every n-th test view.
        seeds: drawings of points on surfaces.
        format: of a task that is a path.
        lpips_weights: files with trunk weights for LPIPS.
        quiet: tell no progress.

    Raises:
        NfbenchError: numbers, predictions or a task that are not what they should be.
    """
    numbers = read_reported(reported)
    check_weights(lpips_weights)
    found_task, parts = locate(predictions, find_task(task, format).every(test_every))
    chosen = find_protocol(protocol or found_task.protocol)
    _check(numbers, chosen)
    scenes = [(on_background(part.ref.open(), chosen), part.located()) for part in parts]
    with watching(quiet or as_json) as watcher:
        explained = explain(
            numbers,
            scenes,
            chosen,
            seeds=seeds,
            lpips_weights=lpips_weights,
            progress=lambda scene, fraction: watcher.progress(f"explain {scene}", fraction, {}),
        )
    if as_json:
        return dumps(_as_json(explained, found_task.name, chosen, top))
    lines = [f"{found_task.name} against {chosen.id}"]
    for each in explained:
        lines += _lines(each, chosen, top)
    return "\n".join(lines)


def explain(
    numbers: Mapping[str, Number],
    scenes: Sequence[tuple[Scene, Mapping[str, Path]]],
    protocol: Protocol,
    *,
    seeds: int = 3,
    lpips_weights: Sequence[Path] = (),
    progress: Callable[[str, float], None] = lambda scene, fraction: None,
) -> list[Explained]:
    """What was found of the numbers, section by section, images first.

    Args:
        numbers: by name.
        scenes: each with the files of its predictions by item, as `Part.located` gives them.
        protocol: its choices are those that changes are told from.
        seeds: drawings of points on surfaces.
        lpips_weights: files with trunk weights for LPIPS.
        progress: told the scene and the fraction done of it.

    Raises:
        Unsupported: a number that nothing here can be measured for.
    """
    explained = []
    for section in _NOUNS:
        reported = {name: number for name, number in numbers.items() if number.family.section == section}
        if not reported:
            continue
        if section == "image":
            from nfbench.harness import gap_images, gap_measures

            found = gap_images.measure(reported, scenes, protocol, lpips_weights=lpips_weights, progress=progress)
            shared = gap_measures.SHARED
        else:
            from nfbench.harness import gap_surface

            found = gap_surface.measure(reported, scenes, protocol, seeds=seeds, progress=progress)
            shared = gap_surface.SHARED
        for name in reported:
            if not found.conventions[name]:
                why = " ".join(found.left_out)
                raise Unsupported(f"{name} cannot be measured here in any way. {why}", "Leave it out of --reported.")
        rows = gap.rank(reported, found.conventions, shared)
        explained.append(Explained(section, reported, rows, found.conventions, found.left_out))
    return explained


def _check(numbers: Mapping[str, Number], protocol: Protocol) -> None:
    for name, number in numbers.items():
        if getattr(protocol, number.family.section) is None:
            nouns = _NOUNS[number.family.section]
            raise Unsupported(
                f"{name} is about {nouns}, and {protocol.id} compares no {nouns}.",
                "Name a protocol that does with --protocol, or leave the number out of --reported.",
            )


def _lines(explained: Explained, protocol: Protocol, top: int) -> list[str]:
    counts = ", ".join(f"{len(found):,} conventions of {name}" for name, found in explained.conventions.items())
    lines = ["", f"{_NOUNS[explained.section]}: {counts}"]
    for place, row in enumerate(explained.rows[:top], 1):
        lines += _row(f"{place}", row, explained.reported)
    own = explained.own
    if own is not None and own not in explained.rows[:top]:
        lines += _row("own", own, explained.reported)
    lines += ["", *_wrapped(_verdict(explained, protocol), "")]
    for sentence in explained.left_out:
        lines += _wrapped(f"Not tried: {sentence}", "  ")
    return lines


def _verdict(explained: Explained, protocol: Protocol) -> str:
    best = explained.rows[0]
    if not explained.explained:
        return (
            f"Nothing here explains the gap: the nearest row is {best.distance:.1f} scales off. What is left are the "
            "predictions themselves: another run, other training, other views, another version of the data."
        )
    if best.own:
        return f"{protocol.id} itself comes nearest: its conventions leave no gap to explain."
    return (
        f"{explained.agreeing:,} of {len(explained.rows):,} rows agree within the digits and the spread over seeds. "
        "That a convention agrees does not prove that it was meant: ask the authors, or report under the protocol."
    )


def _row(place: str, row: Row, reported: Mapping[str, Number]) -> list[str]:
    numbers = "  ".join(_number(name, reported[name], each) for name, each in row.conventions.items())
    words = "; ".join(row.changes) or "the protocol's own convention, what nfbench score prints"
    lines = _wrapped(f"{place:>4}  off {_short(row.distance):>6}  {numbers}", "                  ")
    return lines + _wrapped(f"      {words}", "      ")


def _number(name: str, number: Number, convention: Convention) -> str:
    shown = f"{name} {convention.value:.6g} ({gap.difference(number, convention):+.2g}"
    if convention.spread:
        shown += f", seeds ±{convention.spread:.1g}"
    if convention.floor is not None:
        shown += f", floor {convention.floor:.3g}"
    return shown + ")"


def _short(distance: float) -> str:
    return f"{distance:.2f}" if distance < 1000 else f"{distance:.0e}"


def _wrapped(line: str, indent: str) -> list[str]:
    return textwrap.wrap(line, _WIDTH, subsequent_indent=indent, drop_whitespace=True, replace_whitespace=False)


def _as_json(explained: Sequence[Explained], task: str, protocol: Protocol, top: int) -> dict[str, Any]:
    sections = {}
    for each in explained:
        sections[each.section] = {
            "explained": each.explained,
            "agreeing": each.agreeing,
            "combinations": len(each.rows),
            "rows": [gap.as_json(each.reported, row) for row in each.rows[:top]],
            "own": None if each.own is None else gap.as_json(each.reported, each.own),
            "conventions": {
                name: [gap.convention_as_json(each.reported[name], c) for c in found]
                for name, found in each.conventions.items()
            },
            "left_out": list(each.left_out),
        }
    return {"task": task, "protocol": protocol.id, "sections": sections}
