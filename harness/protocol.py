"""Protocol: every choice behind a number, as data. Two numbers share a column only when they share a protocol."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from nfbench.harness.column import Data, ImageColumn, SurfaceColumn
from nfbench.harness.errors import ContractBroken, did_you_mean
from nfbench.harness.metric import LENGTHS, METRICS, Metric
from nfbench.harness.registry import find, registry


class ImageSection(Data):
    """How images are compared: predictions are written as 8-bit PNG, rounded, and read back before they are measured.

    Attributes:
        views: the views that are measured: those held out, or those that the method was given, as some papers do.
        background: the sRGB colour behind transparent pixels of the truth.
        quantisation: floats become 8 bit by rounding; truncation costs half a decibel at 45 dB.
        columns: column name to metric.
    """

    views: Literal["hidden", "given"] = "hidden"
    background: tuple[float, float, float]
    quantisation: Literal["round"] = "round"
    columns: dict[str, ImageColumn]


class Levels(Data):
    """The level at which a field's surface is extracted, by what its value is."""

    sdf: float
    occupancy: float
    density: float


class Cleaning(Data):
    """What is removed from a predicted mesh before it is measured, masks first.

    Attributes:
        dilation: vertices that some view's mask, grown by so many pixels, leaves out; without it, masks are not asked.
        element: what a mask is grown by: a `disc`, or the `ellipse` of OpenCV.
        component: keep one component only: that of the largest `area`, or of the most `faces`.
    """

    dilation: int | None = Field(default=None, ge=0)
    element: Literal["disc", "ellipse"] = "disc"
    component: Literal["area", "faces"] | None = None


class SurfaceSection(Data):
    """How surfaces are compared.

    Attributes:
        levels: where a field's value is cut.
        resolution: cubic cells along the longest edge of the box when a surface is extracted.
        cleaning: what is removed from the predicted mesh first; nothing without it.
        drawing: how a mesh becomes points: drawn uniformly by `area`, a `grid` of `spacing` on every triangle, thinned,
            or its `vertices`.
        samples: points drawn on the predicted surface.
        truth_samples: points drawn on the true surface where it is a mesh, and picked at random where it is a cloud of
            more; without it, `samples` on a mesh, and a cloud whole.
        seed: of those drawings.
        spacing: of the grid, in the unit of the columns; the same radius thins it.
        frame: the coordinates in which both surfaces are compared: the scene's, or the dataset's original ones.
        within: which points count: all, those in the volume that the scanner `observed`, or those in the `crop`.
        cutoff: nearest-neighbour distances of this or more are left out of all means; for what was `observed`.
        unit: what a length of 1 means in the columns.
        floor_radius: radius, in that unit, of the sphere whose sampling floor `nfbench list protocols` tells.
        columns: column name to metric.
    """

    levels: Levels
    resolution: int = Field(gt=0)
    cleaning: Cleaning | None = None
    drawing: Literal["area", "grid", "vertices"] = "area"
    samples: int | None = Field(default=None, gt=0)
    truth_samples: int | None = Field(default=None, gt=0)
    seed: int = 0
    spacing: float | None = Field(default=None, gt=0)
    frame: Literal["scene", "original"] = "scene"
    within: Literal["everywhere", "observed", "crop"] = "everywhere"
    cutoff: float | None = Field(default=None, gt=0)
    unit: str
    floor_radius: float = Field(default=0.5, gt=0)
    columns: dict[str, SurfaceColumn]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.samples is not None) != (self.drawing == "area"):
            raise ValueError(f"drawing by {self.drawing} {'needs' if self.drawing == 'area' else 'has no'} samples")
        if (self.spacing is not None) != (self.drawing == "grid"):
            raise ValueError(f"drawing by {self.drawing} {'needs' if self.drawing == 'grid' else 'has no'} spacing")
        if self.within != "everywhere" and self.frame != "original":
            raise ValueError(f"within {self.within} is told in the dataset's coordinates: frame must be original")
        if (self.cutoff is not None) != (self.within == "observed"):
            raise ValueError("within observed needs a cutoff, and nothing else has one")
        return self


class Protocol(Data):
    """A named, versioned set of choices; `id` joins both, `nerf-synthetic@1`.

    Attributes:
        name: without the version.
        version: bumped whenever a number could change.
        summary: one paragraph for the reader of a table.
        source: the code or paper it follows.
        primary: the column that ranks.
        image: how images are compared, where they are.
        surface: how surfaces are compared, where they are.
        failure: column to the value that a lost item counts as in the penalised mean; without it there is none.
    """

    name: str
    version: int
    summary: str
    source: str
    primary: str
    image: ImageSection | None = None
    surface: SurfaceSection | None = None
    failure: dict[str, float] = Field(default_factory=dict)

    @property
    def id(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    def columns(self) -> dict[str, Any]:
        """All columns by name, images first."""
        sections = [s.columns for s in (self.image, self.surface) if s is not None]
        return {name: column for columns in sections for name, column in columns.items()}

    def metric(self, column: str) -> Metric:
        """What the column measures."""
        return METRICS[self.columns()[column].metric]

    def unit(self, column: str) -> str:
        """The unit of a column in the protocol's own lengths, with its factor: `mm^2 (squared), times 1000`."""
        unit = self.metric(column).unit
        if self.surface is None or column not in self.surface.columns:
            return unit
        length, factor = self.surface.unit, self.surface.columns[column].factor
        if unit in LENGTHS:
            unit = LENGTHS[unit].format(f"({length})" if "^" in unit and " " in length else length)
        elif unit == "1" and factor == _PERCENT:
            return "percent"
        return unit if factor == 1 else f"{unit}, times {factor:g}"


_PERCENT = 100.0


def protocol(name: str) -> Protocol:
    """The protocol called `name`, `nerf-synthetic@1`, without a version the newest; or the one in a file, `mine.toml`.

    Raises:
        NotFound: there is none.
        ContractBroken: its file is not a protocol.
    """
    if name.endswith(".toml"):
        return read_protocol(Path(name))
    shelf = registry().protocols
    if "@" not in name:
        versions = sorted((n for n in shelf if n.rpartition("@")[0] == name), key=lambda n: int(n.rpartition("@")[2]))
        name = versions[-1] if versions else name
    package, _, file = find(shelf, name, "protocol").target.partition(":")
    root = Path(str(importlib.import_module(package).__file__)).parent
    read = read_protocol(root / file)
    if read.id != name:
        raise ContractBroken(f"{file} is registered as {name} and calls itself {read.id}.")
    return read


def read_protocol(path: Path) -> Protocol:
    """The protocol in a TOML file.

    Raises:
        ContractBroken: not TOML, an unknown key (with the nearest known one), a missing or an impossible value.
    """
    try:
        data = tomllib.loads(path.read_text())
        read = Protocol.model_validate(data)
    except OSError as error:
        raise ContractBroken(f"{path} cannot be read: {error.strerror}.", "Name the file of a protocol.") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ContractBroken(f"{path}: {error}.") from error
    except ValidationError as error:
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")  # a typo before what it leaves out
        key = ".".join(str(part) for part in first["loc"])
        hint = ""
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(str(first["loc"][-1]), _known_keys(Protocol.model_json_schema()), "keys")
        raise ContractBroken(f"{path}: {key}: {first['msg']}.", hint) from error
    if not read.columns():
        raise ContractBroken(f"{path}: no columns.", "Give it an [image] or a [surface] section.")
    if read.primary not in read.columns():
        raise ContractBroken(
            f"{path}: primary {read.primary!r} is no column.", did_you_mean(read.primary, read.columns())
        )
    _check_failure(path, read)
    return read


def _check_failure(path: Path, read: Protocol) -> None:
    """Raise ContractBroken unless every column, and nothing else, has a penalty that the metric can be, or none has."""
    for column in read.columns() if read.failure else ():
        if column not in read.failure:
            raise ContractBroken(
                f"{path}: column {column} has no penalty.", f"Say what a failed item counts as: [failure] {column} = …"
            )
    for column, penalty in read.failure.items():
        if column not in read.columns():
            raise ContractBroken(
                f"{path}: failure.{column} is no column.", did_you_mean(column, read.columns(), "columns")
            )
        metric = read.metric(column)
        if not metric.low <= penalty <= metric.high * getattr(read.columns()[column], "factor", 1):
            raise ContractBroken(
                f"{path}: failure.{column} = {penalty}: {metric.name} lies between {metric.low} and {metric.high}."
            )


def _known_keys(schema: dict[str, Any]) -> set[str]:
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}
