"""What methods learn from and are measured against: Views, Points, Voxels, Mesh and the Scene that holds them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.scan import CropVolume, ObservedVolume

Image = NDArray[np.uint8]
Float = NDArray[np.float32]
Kind = Literal["sdf", "occupancy", "density"]

WHITE = (1.0, 1.0, 1.0)
KINDS = ("views", "cloud", "samples", "voxels")
"""What a scene may give, as `Given` names it and a Task and a method's `needs` speak of it."""


@dataclass(frozen=True, eq=False)
class Views:
    """Posed images, decoded only when asked for.

    Attributes:
        cameras: N cameras.
        names: N names, as the dataset names its images, without the file's ending.
        load: gives view i as uint8 (H,W,3) sRGB or (H,W,4) sRGB with straight alpha.
        load_mask: gives the foreground of view i as bool (H,W), where the dataset has masks beside its images.
        load_depth: gives the depth of view i as float32 (H,W): distance along the ray, scene units, inf on background.
        files: the N files behind the images, where there are files.

    Raises:
        DataCorrupt: counts that differ, or a name given twice.
    """

    cameras: Cameras
    names: tuple[str, ...]
    load: Callable[[int], Image]
    load_mask: Callable[[int], NDArray[np.bool_]] | None = None
    load_depth: Callable[[int], Float] | None = None
    files: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if len(self.cameras) != len(self.names) or (self.files and len(self.files) != len(self.names)):
            raise DataCorrupt(f"{len(self.cameras)} cameras, {len(self.names)} names and {len(self.files)} files.")
        if len(set(self.names)) != len(self.names):
            twice = next(n for i, n in enumerate(self.names) if n in self.names[:i])
            raise DataCorrupt(f"Two views are named {twice!r}.", "Give every view of a split its own name.")

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> Image:
        """View `index` as uint8 (H,W,3) sRGB or (H,W,4) with straight alpha.

        Raises:
            DataCorrupt: the image is not of the size its camera declares.
        """
        image = self.load(index)
        width, height = self.cameras.size[index].tolist()
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
            raise DataCorrupt(f"{self._where(index)}: {image.dtype} {image.shape}, not 8-bit RGB or RGBA.")
        if image.shape[:2] != (height, width):
            raise DataCorrupt(
                f"{self._where(index)}: {image.shape[1]}x{image.shape[0]} pixels, its camera says {width}x{height}.",
                "All views of one camera must have the size that its intrinsics were made for.",
            )
        return image

    def mask(self, index: int) -> NDArray[np.bool_]:
        """The foreground of view `index`, bool (H,W): the dataset's mask, else alpha of at least one half.

        Raises:
            DataMissing: the view has neither mask nor alpha.
        """
        if self.load_mask is not None:
            mask = self.load_mask(index)
            width, height = self.cameras.size[index].tolist()
            if mask.dtype != np.bool_ or mask.shape != (height, width):
                raise DataCorrupt(
                    f"{self._where(index)}: its mask is {mask.dtype} {mask.shape}, not bool ({height}, {width})."
                )
            return mask
        image = self.image(index)
        if image.shape[2] == 3:
            raise DataMissing(f"{self._where(index)} has neither mask nor alpha.", "Use a dataset with masks.")
        return image[:, :, 3] >= 128

    def depth(self, index: int) -> Float:
        """The depth of view `index`, float32 (H,W): distance along the ray in scene units, inf on background.

        Raises:
            DataMissing: the dataset has no depth.
        """
        if self.load_depth is None:
            raise DataMissing(f"{self._where(index)} has no depth.", "Use a dataset with depth, procedural/* for one.")
        return self.load_depth(index)

    def subset(self, indices: Sequence[int]) -> Views:
        """The views at `indices`, in that order."""
        at = list(indices)

        def only(load: Callable[[int], NDArray[np.generic]] | None) -> Callable[[int], NDArray[np.generic]] | None:
            return None if load is None else lambda i: load(at[i])

        return Views(
            self.cameras[at],
            tuple(self.names[i] for i in at),
            lambda i: self.load(at[i]),
            only(self.load_mask),  # type: ignore[arg-type]  # the same loader, at other indices
            only(self.load_depth),  # type: ignore[arg-type]
            tuple(self.files[i] for i in at) if self.files else (),
        )

    def _where(self, index: int) -> str:
        return str(self.files[index]) if self.files else f"view {self.names[index]!r}"


@dataclass(frozen=True, eq=False)
class Points:
    """Points in space, with a normal or a field's value each where known.

    Attributes:
        xyz: (P,3) float32, scene units.
        normal: (P,3) float32 unit vectors, outwards.
        value: (P,) float32, the field at the point.
        kind: what `value` is: `sdf` (scene units, negative inside), `occupancy` (1 inside, 0 outside) or `density`.
    """

    xyz: Float
    normal: Float | None = None
    value: Float | None = None
    kind: Kind | None = None

    def __post_init__(self) -> None:
        for name, width in (("xyz", 3), ("normal", 3), ("value", None)):
            array = getattr(self, name)
            if array is None:
                continue
            array = np.ascontiguousarray(array, np.float32)
            object.__setattr__(self, name, array)
            shape = (len(self.xyz),) if width is None else (len(self.xyz), width)
            if array.shape != shape:
                raise DataCorrupt(f"Points.{name} has shape {array.shape}, not {shape}.")
            if not np.isfinite(array).all():
                bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), width or 1)).all(1))
                raise DataCorrupt(f"Points.{name} holds NaN or infinity in row {bad[0]} ({len(bad)} rows in all).")
        if (self.value is None) != (self.kind is None):
            raise DataCorrupt("Points.value and Points.kind are given together or not at all.")

    def __len__(self) -> int:
        return len(self.xyz)


@dataclass(frozen=True, eq=False)
class Mesh:
    """A triangle mesh; it may be empty.

    Attributes:
        vertices: (V,3) float64, scene units.
        faces: (F,3) int64, counter-clockwise seen from outside.

    Raises:
        DataCorrupt: a wrong shape, a vertex that is not finite, or a face that names no vertex.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, dtype in (("vertices", np.float64), ("faces", np.int64)):
            array: NDArray[np.generic] = np.ascontiguousarray(getattr(self, name), dtype)
            array = array if array.size else array.reshape(0, 3)
            if array.ndim != 2 or array.shape[1] != 3:
                raise DataCorrupt(f"Mesh.{name} has shape {array.shape}, not (N, 3).")
            object.__setattr__(self, name, array)
        bad = np.flatnonzero(~np.isfinite(self.vertices).all(1))
        if len(bad):
            raise DataCorrupt(f"The mesh has NaN or infinity in vertex {bad[0]} ({len(bad)} vertices in all).")
        if len(self.faces) and (self.faces.min() < 0 or self.faces.max() >= len(self.vertices)):
            raise DataCorrupt(f"A face names vertex {self.faces.max()}; the mesh has {len(self.vertices)} vertices.")


@dataclass(frozen=True, eq=False)
class Voxels:
    """A cube of voxels, each filled or empty.

    Attributes:
        filled: (R,R,R) bool, indexed x, y, z.
        box: (2,3) float32, the low corner of the first voxel and the high corner of the last, scene units.

    Raises:
        DataCorrupt: a wrong shape, values that are not bool, or a box that is no low and high corner.
    """

    filled: NDArray[np.bool_]
    box: Float

    def __post_init__(self) -> None:
        object.__setattr__(self, "filled", np.ascontiguousarray(self.filled))
        object.__setattr__(self, "box", np.ascontiguousarray(self.box, np.float32))
        if self.filled.dtype != np.bool_:
            raise DataCorrupt(f"Voxels.filled is {self.filled.dtype}, not bool.")
        if self.filled.ndim != 3 or not self.filled.size or len(set(self.filled.shape)) != 1:
            raise DataCorrupt(f"Voxels.filled has shape {self.filled.shape}, not (R, R, R).")
        if not _is_box(self.box):
            raise DataCorrupt(f"Voxels.box {self.box.tolist()} is not a low and a high corner.")

    def __len__(self) -> int:
        """Voxels along an edge, R."""
        return len(self.filled)

    def centres(self) -> Float:
        """The centres of all voxels, (R^3,3) float32 in scene units, x slowest and z fastest."""
        low, high = self.box.astype(np.float64)
        steps = (np.arange(len(self)) + 0.5) / len(self)
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        centres: Float = (low + grid * (high - low)).astype(np.float32)
        return centres


@dataclass(frozen=True, eq=False)
class Given:
    """What a method may see of a scene; a Task says which of these it gives.

    Attributes:
        views: posed images.
        cloud: a point cloud of the surface, with or without normals.
        samples: points in space with the value of the field there (signed distance or occupancy).
        voxels: a grid of filled and empty voxels.
    """

    views: Views | None = None
    cloud: Points | None = None
    samples: Points | None = None
    voxels: Voxels | None = None

    def kinds(self) -> tuple[str, ...]:
        """The names of what is given: some of `KINDS`, in that order."""
        return tuple(kind for kind in KINDS if getattr(self, kind) is not None)

    def only(self, *kinds: str) -> Given:
        """What is given, restricted to some of `KINDS`."""
        return Given(**{kind: getattr(self, kind) for kind in KINDS if kind in kinds})


@dataclass(frozen=True, eq=False)
class Scene:
    """One scene: what is given, and the truth that is hidden from methods.

    Attributes:
        name: as the dataset names it.
        given: what a method may see.
        box: (2,3) float32, the lowest and highest corner of what is of interest, scene units.
        hidden: held-out views.
        surface: the true surface: Points with normals, or a Mesh.
        occupancy: query points with true occupancy, for volume IoU.
        scan: where a scanned surface can be trusted, in the dataset's original coordinates.
        tolerance: the distance that the dataset gives this scene for precision and recall, original units.
        unit: metres per scene unit, where known.
        frame: (4,4) float64 similarity from scene coordinates to the dataset's original ones.
        background: the sRGB colour in [0,1] behind transparent pixels; the protocol sets it.
        withheld: files beside what is given that tell what is not: no method may open them, see `guard`.
    """

    name: str
    given: Given
    box: Float
    hidden: Views | None = None
    surface: Points | Mesh | None = None
    occupancy: Points | None = None
    scan: ObservedVolume | CropVolume | None = None
    tolerance: float | None = None
    unit: float | None = None
    frame: NDArray[np.float64] = field(default_factory=lambda: np.eye(4))
    background: tuple[float, float, float] = WHITE
    withheld: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "box", np.ascontiguousarray(self.box, np.float32))
        object.__setattr__(self, "frame", np.ascontiguousarray(self.frame, np.float64))
        if not _is_box(self.box):
            raise DataCorrupt(f"Scene {self.name!r}: box {self.box.tolist()} is not a low and a high corner.")
        if self.frame.shape != (4, 4):
            raise DataCorrupt(f"Scene {self.name!r}: frame has shape {self.frame.shape}, not (4, 4).")

    def seen(self) -> Scene:
        """The scene as a method gets it: without hidden views and all that is known of the true surface."""
        box, frame = self.box.copy(), self.frame.copy()  # the harness extracts in the box as it was
        return replace(self, hidden=None, surface=None, occupancy=None, scan=None, box=box, frame=frame, withheld=())

    def giving(self, kind: str, *also: str) -> Scene:
        """The scene giving `kind` of `KINDS` alone, and those of `also` that it has; other given images are withheld.

        Raises:
            DataMissing: it does not give `kind`.
        """
        if kind not in self.given.kinds():
            raise DataMissing(
                f"Scene {self.name!r} gives no {kind}.", f"It gives {', '.join(self.given.kinds()) or 'nothing'}."
            )
        given = self.given.only(kind, *also)
        views = self.given.views if given.views is None else None
        return replace(self, given=given, withheld=self.withheld + (() if views is None else views.files))


def _is_box(box: Float) -> bool:
    """Whether an array is a low and a high corner, (2,3) and finite."""
    return box.shape == (2, 3) and bool(np.isfinite(box).all() and (box[0] < box[1]).all())
