"""What is cut away from a mesh before a scan judges it: small components, and what lies outside of the masks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nfbench.harness.camera import Cameras, project
from nfbench.harness.errors import ContractBroken, DataCorrupt, NfbenchError
from nfbench.harness.scene import Mesh

Mask = NDArray[np.bool_]
Measure = Literal["area", "faces"]
Element = Literal["disc", "ellipse"]


def largest_component(mesh: Mesh, by: Measure = "area") -> Mesh:
    """The largest connected part of a mesh, without the vertices that it does not use; the first of equal ones.

    Two faces are connected where they share an edge that no third face shares, vertices at the same place being one:
    as trimesh's `split(only_watertight=False)`, which IDR, VolSDF and NeuS call. Recent versions of that also close
    holes of three and four edges; here nothing is added.

    Args:
        mesh: a mesh with faces.
        by: `area` (IDR, VolSDF) or the number of `faces` (NeuS).

    Raises:
        ContractBroken: a mesh without faces.
    """
    if not len(mesh.faces):
        raise ContractBroken("A mesh without faces has no component.", "The predicted surface is empty.")
    if by not in ("area", "faces"):
        raise NfbenchError(f"A component is not measured by {by!r}.", "Measures: area, faces.")
    pairs = _adjacent(_merged(mesh))
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (len(mesh.faces),) * 2)
    component = connected_components(graph, directed=False)[1]
    sizes = np.bincount(component, _doubled_areas(mesh) if by == "area" else None)
    largest = sizes[component] == sizes.max()
    faces = mesh.faces[component == component[np.argmax(largest)]]
    used = np.zeros(len(mesh.vertices), np.bool_)
    used[faces] = True
    return Mesh(mesh.vertices[used], (np.cumsum(used) - 1)[faces])


def cull_by_masks(
    mesh: Mesh, cameras: Cameras, masks: Callable[[int], Mask], dilation: int, *, element: Element = "disc"
) -> Mesh:
    """The mesh without the vertices that fall outside of some view's mask, and without the faces that use them.

    A vertex counts as inside of a view whose frame it falls out of, or that it lies behind: only what a view sees can
    be refuted by its mask. (The original scripts mirror points behind a camera into its image; DTU has none.) A vertex
    that stays is kept even where no face of its is left, since the evaluation of DTU counts vertices.

    Args:
        mesh: in the unit of the cameras.
        cameras: N cameras.
        masks: gives the foreground of view i as bool (H,W), `Views.mask` for one; asked for one view after another.
        dilation: by how many pixels masks are grown: 12 (UNISURF, MonoSDF) or 50 (NeuS) at 1600x1200.
        element: with what masks are grown: a `disc` as scikit-image's (MonoSDF) or the `ellipse` of OpenCV, which is
            the disc with each row's half width rounded instead of cut (NeuS).

    Raises:
        ContractBroken: no vertex is left.
        DataCorrupt: a mask that is not of its camera's size.
    """
    widths = _half_widths(dilation, element)
    kept = np.ones(len(mesh.vertices), np.bool_)
    for view in range(len(cameras)):
        remaining = np.flatnonzero(kept)
        xy, depth = project(cameras, view, mesh.vertices[remaining])
        width, height = cameras.size[view].tolist()
        with np.errstate(invalid="ignore"):
            seen = (depth > 0) & (xy >= 0).all(1) & (xy[:, 0] < width) & (xy[:, 1] < height)
        mask = masks(view)
        if mask.shape != (height, width) or mask.dtype != np.bool_:
            raise DataCorrupt(f"The mask of view {view} is {mask.dtype} {mask.shape}, not bool ({height}, {width}).")
        column, row = xy[seen].astype(np.int64).T
        kept[remaining[seen]] = _dilate(mask, widths)[row, column]
    if not kept.any():
        raise ContractBroken(
            "No vertex of the mesh falls inside of all masks.",
            "Check that the mesh is in the unit of the cameras, and not empty.",
        )
    faces = mesh.faces[kept[mesh.faces].all(1)]
    return Mesh(mesh.vertices[kept], (np.cumsum(kept) - 1)[faces])


def dilate(mask: Mask, radius: int, element: Element = "disc") -> Mask:
    """(H,W) bool, `mask` (H,W) grown by `radius` pixels; what lies outside of the frame is background.

    Args:
        mask: the foreground.
        radius: in pixels, at least 0.
        element: `disc`, all pixels whose centre is within `radius`, inclusive, of that of a foreground pixel; or
            `ellipse`, OpenCV's MORPH_ELLIPSE of 2 `radius` + 1 pixels, of which each row's half width is rounded.
    """
    return _dilate(mask, _half_widths(radius, element))


def _dilate(mask: Mask, widths: NDArray[np.int32]) -> Mask:
    """The mask grown by an element of `widths` half a row, from its middle row outwards."""
    far = int(widths[0]) + 1
    column = np.arange(mask.shape[1], dtype=np.int32)
    before = np.maximum.accumulate(np.where(mask, column, -far), axis=1)
    after = np.minimum.accumulate(np.where(mask, column, mask.shape[1] + far)[:, ::-1], axis=1)[:, ::-1]
    distance = np.minimum(np.minimum(column - before, after - column), far)  # to the nearest of the row, 0 on it
    distance = distance.astype(np.uint8 if far < 256 else np.int32)
    grown: Mask = distance <= widths[0]
    for off, width in enumerate(widths[1 : len(mask)].tolist(), start=1):
        grown[off:] |= distance[:-off] <= width
        grown[:-off] |= distance[off:] <= width
    return grown


def _half_widths(radius: int, element: Element) -> NDArray[np.int32]:
    """(radius+1,) how far the element reaches sideways in its middle row and in each row off it."""
    if radius < 0:
        raise NfbenchError(f"A mask cannot be grown by {radius} pixels.", "Give a number of pixels, 0 or more.")
    if element not in ("disc", "ellipse"):
        raise NfbenchError(f"Masks are not grown by a {element!r}.", "Elements: disc, ellipse.")
    reach = np.sqrt(radius**2 - np.arange(radius + 1.0) ** 2)
    widths: NDArray[np.float64] = np.floor(reach) if element == "disc" else np.rint(reach)
    return widths.astype(np.int32)


def _merged(mesh: Mesh) -> NDArray[np.int64]:
    """(F,3) the faces, vertices at the same place having the same number."""
    order = np.lexsort(mesh.vertices.T)
    placed = mesh.vertices[order]
    number = np.empty(len(order), np.int64)
    number[order] = np.cumsum(np.concatenate([[False], (placed[1:] != placed[:-1]).any(1)]))
    return number[mesh.faces]


def _adjacent(faces: NDArray[np.int64]) -> NDArray[np.int64]:
    """(E,2) the pairs of faces that share an edge with each other and with no third."""
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges = ends[:, 0] * (faces.max() + 1) + ends[:, 1]
    order = np.argsort(edges, kind="stable")
    edges = edges[order]
    new = np.concatenate([[True], edges[1:] != edges[:-1], [True]])
    first = np.flatnonzero(new)
    twice = first[:-1][np.diff(first) == 2]
    pairs: NDArray[np.int64] = np.stack([order[twice], order[twice + 1]], axis=1) % len(faces)
    return pairs


def _doubled_areas(mesh: Mesh) -> NDArray[np.float64]:
    first, second, third = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    doubled: NDArray[np.float64] = np.linalg.norm(np.cross(second - first, third - first), axis=1)
    return doubled
