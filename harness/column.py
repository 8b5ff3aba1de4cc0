"""Columns: the metrics of a protocol with every choice that they leave open, as its TOML file gives them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Data(BaseModel):
    """A part of a protocol: unknown keys are refused, nothing changes once read."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _OnImages(Data):
    """What all columns about images have: `masked` ones take their mean over the pixels of the foreground alone."""

    masked: bool = False


class Psnr(_OnImages):
    """Peak signal-to-noise ratio of one image, data range 1."""

    metric: Literal["psnr"]


class Ssim(_OnImages):
    """Structural similarity (Wang et al. 2004); the variants are those of `nfbench.harness.image.ssim`.

    Window, size, sigma and covariance are choices of the variant `gaussian` and fixed by the others.
    """

    metric: Literal["ssim"]
    variant: Literal["gaussian", "tf", "matlab", "matlab-grey", "uniform7"] = "gaussian"
    window: Literal["gaussian"] = "gaussian"
    size: int = 11
    sigma: float = 1.5
    covariance: Literal["population", "sample"] = "population"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.variant != "gaussian" and self.model_fields_set & {"window", "size", "sigma", "covariance"}:
            raise ValueError(f"variant {self.variant} has a window of its own: leave size, sigma and covariance out")
        return self


class MsSsim(_OnImages):
    """Structural similarity over five scales (Wang, Simoncelli and Bovik 2003)."""

    metric: Literal["ms_ssim"]


class Lpips(_OnImages):
    """Learned perceptual distance (Zhang et al. 2018) on images in [-1,1] at their own resolution."""

    metric: Literal["lpips"]
    net: Literal["alex", "vgg", "squeeze"]
    version: Literal["0.1", "0.0"] = "0.1"


class _OnSurface(Data):
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

    A sample at `radius` counts, unless `strict`. The radius `tolerance` is the one that the dataset gives each scene.
    """

    metric: Literal["fscore", "precision", "recall"]
    radius: Annotated[float, Field(gt=0)] | Literal["tolerance"]
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
    """Volume intersection over union at the truth's query points.

    Attributes:
        inside: how a point is told to be inside the predicted mesh. Ray parity means nothing on a mesh with holes, and
            is taken on watertight ones only; the others fall to the winding number, and the record says so.
        points: query points drawn where the truth is a closed mesh and brings none of its own.
        margin: edge of the box in which they are drawn, in edges of the truth's bounding box.
    """

    metric: Literal["iou"]
    inside: Literal["winding-number", "parity"] = "winding-number"
    points: int = Field(default=100_000, gt=0)
    margin: float = Field(default=1.1, ge=1)


ImageColumn = Annotated[Psnr | Ssim | MsSsim | Lpips, Field(discriminator="metric")]
SurfaceColumn = Annotated[
    Distance | NormalConsistency | AtRadius | MeshAccuracy | MeshCompletion | Iou, Field(discriminator="metric")
]
