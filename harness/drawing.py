"""Drawing points on a mesh, compiled by numba when first called and kept on disk; the random numbers are given."""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Singles = NDArray[np.float32]
Whole = NDArray[np.int64]


@numba.njit(nogil=True, cache=True)
def areas(vertices: Reals, faces: Whole) -> tuple[Reals, Reals]:
    """Per face (F,3) the cross product of its edges from its first corner, and (F,) the area up to its end."""
    cross, cumulative = np.empty((len(faces), 3)), np.empty(len(faces))
    total = 0.0
    for i in range(len(faces)):
        a, b, c = faces[i, 0], faces[i, 1], faces[i, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        vx, vy, vz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        cross[i, 0], cross[i, 1], cross[i, 2] = nx, ny, nz
        total += np.sqrt(nx * nx + ny * ny + nz * nz) / 2
        cumulative[i] = total
    return cross, cumulative


@numba.njit(nogil=True, cache=True)
def faces_at(cumulative: Reals, uniform: Reals) -> Whole:
    """Faces (N,): the first whose cumulative area is no less than the part `uniform` (N,) in [0,1) of the whole.

    A face without area is never among them. A table says where to begin, one entry a face on average, so that a step
    or two replace a search by halves.

    Args:
        cumulative: (F,) not decreasing, the last above 0.
        uniform: (N,) in [0,1).
    """
    count = len(cumulative)
    total = cumulative[-1]
    begin = np.empty(count + 1, np.int64)
    face = 0
    for i in range(count + 1):
        while face < count - 1 and cumulative[face] < i * (total / count):
            face += 1
        begin[i] = face
    first = 0
    while cumulative[first] == 0:
        first += 1
    found = np.empty(len(uniform), np.int64)
    for i in range(len(uniform)):
        area = uniform[i] * total
        face = begin[int(uniform[i] * count)]
        while cumulative[face] < area:
            face += 1
        while face > 0 and cumulative[face - 1] >= area:  # rounding may have begun too late
            face -= 1
        found[i] = max(face, first)
    return found


@numba.njit(nogil=True, cache=True)
def on_faces(vertices: Reals, faces: Whole, cross: Reals, face: Whole, along: Reals) -> tuple[Singles, Singles]:
    """Points (N,3) float32 on faces (N,), and the unit normals (N,3) float32 of these.

    Args:
        vertices: (V,3) of the mesh.
        faces: (F,3) of the mesh.
        cross: (F,3) as `areas` gives it.
        face: (N,) which face.
        along: (N,2) in [0,1], how far along its two edges; beyond the third, the point is folded back.
    """
    xyz, normal = np.empty((len(face), 3), np.float32), np.empty((len(face), 3), np.float32)
    for i in range(len(face)):
        at = face[i]
        a, b, c = faces[at, 0], faces[at, 1], faces[at, 2]
        s, t = along[i, 0], along[i, 1]
        if s + t > 1:
            s, t = 1 - s, 1 - t
        nx, ny, nz = cross[at, 0], cross[at, 1], cross[at, 2]
        length = max(np.sqrt(nx * nx + ny * ny + nz * nz), np.finfo(np.float64).tiny)
        for k in range(3):
            origin = vertices[a, k]
            xyz[i, k] = origin + s * (vertices[b, k] - origin) + t * (vertices[c, k] - origin)
            normal[i, k] = cross[at, k] / length
    return xyz, normal
