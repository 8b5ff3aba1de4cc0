"""Protocol: every choice behind a number, as data. Two numbers share a column only when they share a protocol."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nfbench.harness.errors import ContractBroken, did_you_mean
from nfbench.harness.metric import LENGTHS, METRICS, Metric
from nfbench.harness.registry import find, registry


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Psnr(_Data):
    """Peak signal-to-noise ratio of one image, data range 1."""

    metric: Literal["psnr"]


class Ssim(_Data):
    """Structural similarity (Wang et al. 2004): Gaussian window, mean over the inside where the window fits."""

    metric: Literal["ssim"]
    window: Literal["gaussian"] = "gaussian"
    size: int = 11
    sigma: float = 1.5
    covariance: Literal["population", "sample"] = "population"


class Lpips(_Data):
    """Learned perceptual distance (Zhang et al. 2018) on images in [-1,1] at their own resolution."""

    metric: Literal["lpips"]
    net: Literal["alex", "vgg"]
    version: Literal["0.1"] = "0.1"


class _OnSurface(_Data):
    """What all columns about surfaces have: the score is multiplied by `factor`, and its unit says so."""

    factor: float = Field(default=1.0, gt=0, allow_inf_nan=False)


class Distance(_OnSurface):
    """A mean, a sum or the greatest of nearest-neighbour distances between samples of the two surfaces."""

    metric: Literal[
        "accuracy",
        "completeness",
        "chamfer_l1_mean",
        "chamfer_l1_sum",
        "chamfer_sq_sum",
        "chamfer_sq_half",
        "chamfer_points_sum",
        "hausdorff",
    ]


class NormalConsistency(_OnSurface):
    """Agreement of the normals of nearest neighbours, without regard to sign, or their disagreement."""

    metric: Literal["normal_consistency", "normal_cosine_loss"]


class AtRadius(_OnSurface):
    """The part of samples that lie within `radius` of the other surface, or their harmonic mean.

    A sample at `radius` counts, unless `strict`.
    """

    metric: Literal["fscore", "precision", "recall"]
    radius: float = Field(gt=0)
    strict: bool = False


class MeshAccuracy(_OnSurface):
    """The smallest distance within which `part` of `points` predicted samples lie of the true ones."""

    metric: Literal["mesh_accuracy"]
    part: float = Field(default=0.9, gt=0, le=1)
    points: int = Field(default=1000, gt=0)


class MeshCompletion(_OnSurface):
    """The part of the true samples within `radius` (inclusive) of the predicted samples."""

    metric: Literal["mesh_completion"]
    radius: float = Field(default=0.01, gt=0)


class Iou(_OnSurface):
    """Volume intersection over union at the truth's query points."""

    metric: Literal["iou"]


ImageColumn = Annotated[Psnr | Ssim | Lpips, Field(discriminator="metric")]
SurfaceColumn = Annotated[
    Distance | NormalConsistency | AtRadius | MeshAccuracy | MeshCompletion | Iou, Field(discriminator="metric")
]


class ImageSection(_Data):
    """How images are compared: predictions are written as 8-bit PNG, rounded, and read back before they are measured.

    Attributes:
        background: the sRGB colour behind transparent pixels of the truth.
        columns: column name to metric.
    """

    background: tuple[float, float, float]
    columns: dict[str, ImageColumn]


class Levels(_Data):
    """The level at which a field's surface is extracted, by what its value is."""

    sdf: float
    occupancy: float
    density: float


class SurfaceSection(_Data):
    """How surfaces are compared.

    Attributes:
        levels: where a field's value is cut.
        resolution: cubic cells along the longest edge of the box when a surface is extracted.
        samples: points drawn on the predicted surface.
        truth_samples: points drawn on the true surface where it is a mesh, and picked at random where it is a cloud of
            more; without it, `samples` on a mesh, and a cloud whole.
        seed: of those drawings.
        frame: the coordinates in which both surfaces are compared: the scene's, or the dataset's original ones.
        unit: what a length of 1 means in the columns.
        columns: column name to metric.
    """

    levels: Levels
    resolution: int = Field(gt=0)
    samples: int = Field(gt=0)
    truth_samples: int | None = Field(default=None, gt=0)
    seed: int = 0
    frame: Literal["scene", "original"] = "scene"
    unit: str
    columns: dict[str, SurfaceColumn]


class Protocol(_Data):
    """A named, versioned set of choices; `id` joins both, `nerf-synthetic@1`.

    Attributes:
        name: without the version.
        version: bumped whenever a number could change.
        summary: one paragraph for the reader of a table.
        source: the code or paper it follows.
        primary: the column that ranks.
        image: how images are compared, where they are.
        surface: how surfaces are compared, where they are.
    """

    name: str
    version: int
    summary: str
    source: str
    primary: str
    image: ImageSection | None = None
    surface: SurfaceSection | None = None

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
    """The protocol called `name`, `nerf-synthetic@1`; without a version, the newest.

    Raises:
        NotFound: there is none.
        ContractBroken: its file is not a protocol.
    """
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
    except (OSError, tomllib.TOMLDecodeError) as error:
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
    return read


def _known_keys(schema: dict[str, Any]) -> set[str]:
    parts = [schema, *schema.get("$defs", {}).values()]
    return {key for part in parts for key in part.get("properties", {})}
