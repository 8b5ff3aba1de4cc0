"""explain-gap: the numbers that somebody reported, and the metrics that their names may stand for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nfbench.harness.errors import NfbenchError, NotFound, did_you_mean

Section = Literal["image", "surface"]


@dataclass(frozen=True)
class Family:
    """The metrics that one name in a paper may stand for.

    Attributes:
        name: as nfbench calls it.
        section: `image` or `surface`.
        scale: the difference that a reader would call small: absolute, or a part of the number where `relative`.
        relative: whether it is a part of the number.
        aliases: how papers write it, in lower case with underscores.
    """

    name: str
    section: Section
    scale: float
    relative: bool = False
    aliases: tuple[str, ...] = ()


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("psnr", "image", 0.1),
        Family("ssim", "image", 0.001),
        Family("ms_ssim", "image", 0.001, aliases=("msssim",)),
        Family("lpips", "image", 0.001, aliases=("lpips_vgg", "lpips_alex", "lpips_squeeze")),
        Family(
            "chamfer",
            "surface",
            0.02,
            True,
            ("cd", "chamfer_distance", "chamfer_l1", "chamfer_l2", "cd_l1", "cd_l2", "chamfer_l1_mean",
             "chamfer_l1_sum", "chamfer_sq_sum", "chamfer_sq_half", "chamfer_points_sum", "overall"),
        ),
        Family("accuracy", "surface", 0.02, True, ("acc",)),
        Family("completeness", "surface", 0.02, True, ("comp", "completion")),
        Family("hausdorff", "surface", 0.02, True, ("hd",)),
        Family("mesh_accuracy", "surface", 0.02, True),
        Family("mesh_completion", "surface", 0.005),
        Family("normal_consistency", "surface", 0.005, aliases=("nc", "normal", "normals", "normal_cosine_loss")),
        Family("fscore", "surface", 0.005, aliases=("f", "f1", "f_score", "f1_score")),
        Family("precision", "surface", 0.005, aliases=("prec",)),
        Family("recall", "surface", 0.005, aliases=("rec",)),
        Family("iou", "surface", 0.005, aliases=("viou", "volume_iou", "vol_iou")),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Number:
    """A number that somebody reported.

    Attributes:
        name: as it was written.
        family: what it may be.
        value: percent signs are read: 57.1% is 0.571.
        precision: half a unit of the last digit given.
    """

    name: str
    family: Family
    value: float
    precision: float


def read_reported(text: str) -> dict[str, Number]:
    """Name to Number, from `psnr=31.0,ssim=.947` or `iou=57.1%`.

    Raises:
        NotFound: a metric that is not known, with the nearest names.
        NfbenchError: no `name=value`, a value that is no number, or a name given twice.
    """
    known = {alias: family for family in FAMILIES.values() for alias in (family.name, *family.aliases)}
    numbers: dict[str, Number] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not name:
            raise NfbenchError(f"--reported {part!r} is no name=value.", "Write --reported psnr=31.0,ssim=.947.")
        plain = re.sub(r"[@(].*", "", name.lower()).replace("-", "_")
        if plain not in known:
            raise NotFound(f"No metric goes by the name {name!r}.", did_you_mean(plain, known, "metrics"))
        if name in numbers:
            raise NfbenchError(f"--reported gives {name} twice.", "Give each number once.")
        numbers[name] = Number(name, known[plain], *_value(name, value))
    if not numbers:
        raise NfbenchError("No number is reported.", "Write --reported psnr=31.0,ssim=.947.")
    return numbers


def _value(name: str, text: str) -> tuple[float, float]:
    """The value, and half a unit of its last digit."""
    found = re.fullmatch(r"([+-]?(?:\d+\.?(\d*)|\.(\d+))(?:[eE]([+-]?\d+))?)\s*(%?)", text)
    if found is None:
        raise NfbenchError(f"--reported {name}={text!r} is no number.", "Write --reported psnr=31.0,ssim=.947.")
    digits = len(found[2] or found[3] or "")
    hundredth = 0.01 if found[5] else 1.0
    return float(found[1]) * hundredth, 0.5 * 10.0 ** (int(found[4] or 0) - digits) * hundredth
