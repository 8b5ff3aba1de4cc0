"""explain-gap on images: what two images that are compared in one setting give, by every measure that is in use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from nfbench.harness import image as images
from nfbench.harness import ssim as family
from nfbench.harness.column import Lpips, MsSsim, Psnr, Ssim
from nfbench.harness.errors import DataMissing, NfbenchError
from nfbench.harness.gap import Choices
from nfbench.harness.gap_reported import Number
from nfbench.harness.image import Mask, Pixels
from nfbench.harness.protocol import ImageSection

Value = tuple[str, Choices, float]  # family, choices on the measure's own axes, value

SHARED: tuple[str, ...] = ("background", "quantisation", "size", "pixels")
"""The axes on which all numbers of one row make the same choice."""

ROUNDED = "truth rounded to 8 bit"
FULL = "full"
ALL = "all"
FOREGROUND = "foreground alone"
BLACKENED = "all, black outside the foreground in both"
DIVIDED = "error of all, divided by the foreground's count"

_DECIBELS_OF_2 = float(20 * np.log10(2))
_BORDERS: dict[str, Callable[[int], int]] = {"4 pixels cut": lambda side: 4, "10 % cut": lambda side: side // 10}
_GAUSSIAN = "Gaussian 11x11"
_ZERO_PADDED = "Gaussian 11x11, border padded with zeros"
_RANGE_2: dict[str, family.Variant] = {
    "Gaussian 11x11, data range 2": "gaussian",
    "uniform 7x7, data range 2": "uniform7",
}
_SSIMS: dict[str, dict[str, Any]] = {
    _GAUSSIAN: {},
    "Gaussian 11x11, sample covariance": {"covariance": "sample"},
    "Gaussian 3x3": {"size": 3},
    "uniform 7x7, sample covariance": {"variant": "uniform7"},
    "ssim.m of each channel": {"variant": "matlab"},
    "ssim.m of the grey image": {"variant": "matlab-grey"},
}
_PADDING = 5  # half the window of 11, as pytorch-ssim and its descendants pad


class Setting(NamedTuple):
    """What both images are made to be before they are compared, and which pixels count."""

    background: str
    quantisation: str
    size: str
    pixels: str

    def choices(self) -> Choices:
        """As conventions have it."""
        return tuple(zip(SHARED, self, strict=True))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two images in one setting.

    Attributes:
        setting: the choices made.
        prediction: (H,W,3) uint8, or floating in [0,1].
        truth: the same.
        mask: (H,W) bool, the foreground, where it is known.
    """

    setting: Setting
    prediction: Pixels
    truth: Pixels
    mask: Mask | None

    @property
    def covered(self) -> float:
        """The foreground's part of all pixels."""
        return 1.0 if self.mask is None else float(self.mask.mean())

    def whole(self) -> tuple[Pixels, Pixels]:
        """Both images, black outside the foreground where the setting has it so."""
        if self.setting.pixels != BLACKENED or self.mask is None:
            return self.prediction, self.truth
        inside = self.mask[..., None]
        return self.prediction * inside, self.truth * inside


class Measures:
    """The measures of the reported families, and which of them are the protocol's own.

    What has no weights here is told to `left_out`.
    """

    def __init__(
        self,
        reported: Mapping[str, Number],
        section: ImageSection,
        own_background: str,
        lpips_weights: Sequence[Path],
        left_out: list[str],
    ) -> None:
        self.reported = reported
        self.section = section
        self.own_background = own_background
        self.families = {number.family.name for number in reported.values()}
        self.ssims = _SSIMS | {_name(c): _choices(c) for c in section.columns.values() if isinstance(c, Ssim)}
        self.networks = _networks(lpips_weights, left_out) if "lpips" in self.families else {}

    def __call__(self, compared: Comparison) -> Iterator[Value]:
        """What can be measured in this setting; a measure that the images are too small for is left out."""
        if "psnr" in self.families:
            yield from _psnr(compared, self._plain(compared.setting))
        if compared.setting.pixels == DIVIDED or (compared.setting.pixels != ALL and not self._own(compared)):
            return  # the slower measures: on the protocol's background alone, and a mean of errors they are not
        if "ssim" in self.families:
            yield from self._ssim(compared)
        if "ms_ssim" in self.families and compared.setting.pixels != FOREGROUND:
            yield from _value("ms_ssim", (), images.ms_ssim, *compared.whole())
        small = compared.setting.size == FULL or self._own(compared)
        if compared.setting.quantisation == ROUNDED and compared.setting.pixels != FOREGROUND and small:
            yield from self._lpips(compared)

    def is_own(self, name: str, choices: Choices) -> bool:
        """Whether a column of the protocol is measured so; the column of that very name where there is one."""
        columns = self.section.columns
        wanted = [columns[name]] if name in columns else list(columns.values())
        made = dict(choices)
        pixels = {FOREGROUND: True, ALL: False}.get(made["pixels"])
        there = (self.own_background, ROUNDED, FULL)
        if tuple(made[axis] for axis in SHARED[:3]) != there:
            return False
        of_family = [c for c in wanted if c.metric == self.reported[name].family.name and c.masked == pixels]
        return any(_own_choices(column).items() <= made.items() for column in of_family)

    def _own(self, compared: Comparison) -> bool:
        return compared.setting.background == self.own_background

    def _plain(self, setting: Setting) -> bool:
        return (setting.quantisation, setting.size, setting.pixels) == (ROUNDED, FULL, ALL)

    def _ssim(self, compared: Comparison) -> Iterator[Value]:
        prediction, truth = compared.whole()
        mask = compared.mask if compared.setting.pixels == FOREGROUND else None
        for name, free in self.ssims.items():
            if mask is None or not free.get("variant", "").startswith("matlab"):
                yield from _value("ssim", (("window", name),), images.ssim, prediction, truth, mask=mask, **free)
        if mask is None:
            padded = [
                np.pad(image, ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0))) for image in (prediction, truth)
            ]
            yield from _value("ssim", (("window", _ZERO_PADDED),), images.ssim, *padded)
        if self._plain(compared.setting):
            for name, variant in _RANGE_2.items():
                yield from _value("ssim", (("window", name),), _ssim_of_range_2, prediction, truth, variant=variant)

    def _lpips(self, compared: Comparison) -> Iterator[Value]:
        from nfbench.harness import lpips

        prediction, truth = compared.whole()
        for (net, version), model in self.networks.items():
            for name, shown in (("[-1,1]", (prediction, truth)), ("[0,1]", (_halved(prediction), _halved(truth)))):
                choices = (("net", net), ("version", version), ("input", name))
                yield from _value("lpips", choices, lpips.distance, model, *shown)


def _value(name: str, choices: Choices, measure: Callable[..., Any], *images: Any, **free: Any) -> Iterator[Value]:  # noqa: ANN401
    try:
        yield name, choices, float(measure(*images, **free))
    except NfbenchError:  # too small for the window or the network, or a mask that leaves nothing
        return


def _psnr(compared: Comparison, plain: bool) -> Iterator[Value]:
    """PSNR with the pixels of the setting; of plain 8-bit images also in other colours, borders and ranges."""
    usual = {"colour": "sRGB", "border": "kept", "data range": "1"}

    def named(value: float, **changed: str) -> Value:
        return (
            "psnr",
            tuple((usual | {axis.replace("_", " "): choice for axis, choice in changed.items()}).items()),
            value,
        )

    prediction, truth, pixels = compared.prediction, compared.truth, compared.setting.pixels
    if pixels in (FOREGROUND, BLACKENED):
        if not compared.covered:
            return
        value = float(images.psnr(prediction, truth, mask=compared.mask))
        yield named(value if pixels == FOREGROUND else value - 10 * float(np.log10(compared.covered)))
        return
    value = float(images.psnr(prediction, truth))
    if pixels == DIVIDED:
        if compared.covered:
            yield named(value + 10 * float(np.log10(compared.covered)))
        return
    yield named(value)
    if not plain:
        return
    yield named(value + _DECIBELS_OF_2, data_range="2")
    yield named(float(images.psnr(_LINEAR[prediction], _LINEAR[truth])), colour="linear")
    grey = (family.grey(image) / 255 for image in (prediction, truth))
    yield named(float(images.psnr(*grey)), colour="luminance")
    for name, width in _BORDERS.items():
        rows, columns = (slice(width(side), side - width(side)) for side in prediction.shape[:2])
        if prediction[rows, columns].size:
            yield named(float(images.psnr(prediction[rows, columns], truth[rows, columns])), border=name)


def _linear_of_bytes() -> NDArray[np.float64]:
    """The light of each 8-bit value, (256,) in [0,1]: IEC 61966-2-1, section 5.2."""
    value = np.arange(256) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


_LINEAR = _linear_of_bytes()


def _ssim_of_range_2(prediction: Pixels, truth: Pixels, variant: family.Variant) -> float:
    """SSIM with the constants of images in [-1,1], which old scikit-image took floats for unless told the range."""
    window = family.WINDOWS[variant]
    if min(prediction.shape[:2]) < window.size:
        raise NfbenchError("The image is smaller than the window.")
    return float(family.similarity(prediction, truth, window, peak=2 * 255.0).mean())


def _halved(image: Pixels) -> NDArray[np.float32]:
    """The image that is x where the network is to see x in [0,1] instead of 2x - 1."""
    x = image.astype(np.float32)
    if image.dtype == np.uint8:
        x /= 255
    x += 1
    x /= 2
    return x


def _choices(column: Ssim) -> dict[str, Any]:
    """The arguments of `nfbench.harness.image.ssim`."""
    if column.variant != "gaussian":
        return {"variant": column.variant}
    return {"size": column.size, "sigma": column.sigma, "covariance": column.covariance}


def _name(column: Ssim) -> str:
    """What the window of a column is called here."""
    if column.variant == "tf":
        return _GAUSSIAN
    usual = {"size": 11, "sigma": 1.5, "covariance": "population"}
    chosen = _choices(column)
    known = (name for name, free in _SSIMS.items() if (free if "variant" in free else usual | free) == chosen)
    own = f"Gaussian {column.size}x{column.size}, sigma {column.sigma:g}, {column.covariance} covariance"
    return next(known, own)


def _own_choices(column: Psnr | Ssim | MsSsim | Lpips) -> dict[str, str]:
    """The column's choices on its measure's own axes."""
    if isinstance(column, Psnr):
        return {"colour": "sRGB", "border": "kept", "data range": "1"}
    if isinstance(column, Ssim):
        return {"window": _name(column)}
    if isinstance(column, Lpips):
        return {"net": column.net, "version": column.version, "input": "[-1,1]"}
    return {}


def _networks(files: Sequence[Path], left_out: list[str]) -> dict[tuple[str, str], Any]:
    """Net and version to the network, for those whose weights are here."""
    from nfbench.harness import lpips

    load: Any = lpips.load
    versions = get_args(getattr(lpips, "Version", Literal["0.1"]))
    found: dict[tuple[str, str], Any] = {}
    for net in lpips.TRUNKS:
        for version in versions:
            try:
                further = () if version == "0.1" else (version,)
                found[net, version] = load(net, lpips.weights_for(net, files), "cpu", *further)
            except DataMissing as error:
                left_out.append(f"LPIPS with {net} {version}: {error.message}")
    return found
