import dataclasses
import json

import numpy as np
import pytest
import trimesh

from nfbench.harness.diagnostics import Diagnostics, diagnose, dirichlet_energy, is_watertight
from nfbench.harness.errors import ContractBroken, NfbenchError
from nfbench.harness.scene import Mesh


def mesh_of(shape):
    return Mesh(np.asarray(shape.vertices), np.asarray(shape.faces))


def cube():
    return mesh_of(trimesh.creation.box())


def both(one, other):
    return Mesh(
        np.concatenate([one.vertices, other.vertices]), np.concatenate([one.faces, other.faces + len(one.vertices)])
    )


def moved(mesh, by):
    return Mesh(mesh.vertices + by, mesh.faces)


def moebius(count=24):
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    rows = []
    for side in (-0.3, 0.3):
        radius = 1 + side * np.cos(turn / 2)
        rows.append(np.stack([radius * np.cos(turn), radius * np.sin(turn), side * np.sin(turn / 2)], 1))
    faces = []
    for i in range(count):
        a, b = i, count + i
        c, d = (i + 1, count + i + 1) if i + 1 < count else (count, 0)  # the last quad joins side to other side
        faces += [[a, c, b], [b, c, d]]
    return Mesh(np.concatenate(rows), np.array(faces))


CUBE = Diagnostics(
    vertices=8,
    faces=12,
    watertight=True,
    consistent=True,
    inside_out=False,
    components=1,
    euler=2,
    genus=0,
    area=6.0,
    signed_volume=1.0,
    boundary_edges=0,
    nonmanifold_edges=0,
    degenerate_faces=0,
    duplicate_faces=0,
    longest_edge=pytest.approx((2 / 3) ** 0.5),
)


def test_cube():
    assert diagnose(cube()) == CUBE
    assert is_watertight(cube())
    plain = diagnose(cube()).as_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert list(plain) == list(Diagnostics.__dataclass_fields__)
    assert plain["genus"] == 0


def test_what_was_found_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        diagnose(cube()).faces = 3


def test_no_mesh():
    found = diagnose(Mesh(np.ones((4, 3)), np.empty((0, 3))))
    assert found == Diagnostics(4, 0, False, True, False, 0, 0, None, 0.0, 0.0, 0, 0, 0, 0, 0.0)
    assert not is_watertight(Mesh(np.empty((0, 3)), np.empty((0, 3))))


def test_torus_has_a_handle():
    major, minor, around, along = 1.0, 0.3, 64, 48
    found = diagnose(mesh_of(trimesh.creation.torus(major, minor, major_sections=around, minor_sections=along)))
    assert (found.watertight, found.consistent, found.components, found.euler, found.genus) == (True, True, 1, 0, 1)
    assert found.signed_volume == pytest.approx(2 * np.pi**2 * major * minor**2, rel=5e-3)
    assert found.area == pytest.approx(4 * np.pi**2 * major * minor, rel=3e-3)


def test_two_balls_one_turned_inside_out():
    ball = mesh_of(trimesh.creation.icosphere(subdivisions=2))
    turned = Mesh(ball.vertices + [3, 0, 0], ball.faces[:, ::-1])
    pair = diagnose(both(ball, moved(ball, [3, 0, 0])))
    assert (pair.components, pair.euler, pair.genus, pair.inside_out) == (2, 4, 0, False)
    mixed = diagnose(both(ball, turned))
    assert mixed.watertight
    assert mixed.consistent
    assert mixed.signed_volume == pytest.approx(0, abs=1e-12)
    alone = diagnose(turned)
    assert alone.inside_out
    assert alone.signed_volume == pytest.approx(-diagnose(ball).signed_volume, rel=1e-12)
    assert alone.signed_volume < -3


def test_two_tori_have_two_handles():
    ring = mesh_of(trimesh.creation.torus(1, 0.2))
    assert diagnose(both(ring, moved(ring, [0, 0, 1]))).genus == 2


def test_volume_far_from_the_origin():
    assert diagnose(moved(cube(), [1e6, -1e6, 1e6])).signed_volume == pytest.approx(1, rel=1e-9)


def test_moebius_strip():
    found = diagnose(moebius())
    assert (found.watertight, found.consistent, found.components, found.euler) == (False, False, 1, 0)
    assert (found.boundary_edges, found.nonmanifold_edges, found.genus) == (48, 0, None)


def test_open_plane():
    corners = np.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]], float)
    found = diagnose(Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]])))
    assert (found.watertight, found.consistent, found.euler, found.boundary_edges) == (False, True, 1, 4)
    assert (found.area, found.signed_volume, found.genus) == (2, 0, None)
    assert found.longest_edge == 1, "the shared diagonal of the box"
    flipped = diagnose(Mesh(corners, np.array([[0, 1, 2], [0, 3, 2]])))
    assert not flipped.consistent
    assert flipped.boundary_edges == 4


@pytest.mark.parametrize("corner", range(3))
def test_longest_edge_is_any_of_three(corner):
    corners = np.roll([[0.0, 0, 0], [4, 0, 0], [0, 3, 0]], corner, axis=0)
    assert diagnose(Mesh(corners, np.array([[0, 1, 2]]))).longest_edge == pytest.approx(1)
    cornered = np.concatenate([corners, [[0, 0, 0], [0, 0, 12], [0, 1, 0]]])
    assert diagnose(Mesh(cornered, np.array([[0, 1, 2], [3, 5, 4]]))).longest_edge == pytest.approx(145**0.5 / 13)


def test_one_face_flipped():
    faces = cube().faces.copy()
    faces[3] = faces[3, ::-1]
    found = diagnose(Mesh(cube().vertices, faces))
    assert found.watertight
    assert not found.consistent
    assert found.genus is None
    assert not found.inside_out


def test_hole():
    found = diagnose(Mesh(cube().vertices, cube().faces[1:]))
    assert (found.watertight, found.boundary_edges, found.euler, found.genus) == (False, 3, 1, None)
    assert not is_watertight(Mesh(cube().vertices, cube().faces[1:]))


def test_repeated_vertices_are_joined():
    soup = Mesh(cube().vertices[cube().faces].reshape(-1, 3), np.arange(36).reshape(-1, 3))
    found = diagnose(soup)
    assert (found.vertices, found.watertight, found.components, found.euler, found.genus) == (36, True, 1, 2, 0)
    signed = soup.vertices.copy()
    signed[:, 0] = np.where(signed[:, 0] < 0, -0.0, 0.0)  # both zeros are one place
    assert diagnose(Mesh(signed, soup.faces)).vertices == 36
    flat = Mesh(signed, soup.faces)
    assert diagnose(flat).degenerate_faces == 8, "the sides of the flattened cube"


def test_unused_vertices_are_no_part_of_it():
    spare = Mesh(np.concatenate([[[9.0, 9, 9]], cube().vertices, [[7.0, 7, 7]]]), cube().faces + 1)
    found = diagnose(spare)
    assert found.vertices == 10
    assert (found.components, found.euler, found.longest_edge) == (1, 2, CUBE.longest_edge)


def test_duplicate_faces():
    faces = cube().faces
    again = np.concatenate([faces, faces[2:3], faces[2:3, [1, 2, 0]], faces[5:6, ::-1]])
    found = diagnose(Mesh(cube().vertices, again))
    assert (found.faces, found.duplicate_faces, found.nonmanifold_edges, found.watertight) == (15, 3, 6, False)
    assert found.consistent, "only edges of exactly two faces are asked"


def test_degenerate_faces():
    faces = np.concatenate([cube().faces, [[0, 1, 1], [4, 4, 4]]])
    found = diagnose(Mesh(cube().vertices, faces))
    assert (found.faces, found.degenerate_faces, found.watertight, found.euler) == (14, 2, True, 2)
    line = Mesh(np.array([[0, 0, 0], [0.1, 0.1, 0.1], [0.3, 0.3, 0.3]]), np.array([[0, 1, 2]]))
    assert diagnose(line).degenerate_faces == 1
    needle = Mesh(np.array([[0, 0, 0], [1, 0, 0], [0.5, 1e-9, 0]]), np.array([[0, 1, 2]]))
    assert diagnose(needle).degenerate_faces == 0
    small = Mesh(cube().vertices * 1e-9, cube().faces)
    assert diagnose(small).degenerate_faces == 0


def test_pinched_vertices_have_no_genus():
    touching = both(cube(), moved(cube(), [1, 1, 1]))
    found = diagnose(touching)
    assert (found.watertight, found.consistent, found.components, found.euler) == (True, True, 1, 3)
    assert found.genus is None


def test_cubes_that_share_an_edge_are_not_manifold():
    found = diagnose(both(cube(), moved(cube(), [1, 1, 0])))
    assert (found.nonmanifold_edges, found.watertight, found.genus, found.boundary_edges) == (1, False, None, 0)


@pytest.mark.parametrize(
    "shape",
    [
        trimesh.creation.icosphere(subdivisions=3),
        trimesh.creation.annulus(0.4, 1, 2),
        trimesh.creation.capsule(),
        trimesh.creation.torus(1, 0.5),
        trimesh.creation.cone(1, 2),
    ],
)
@pytest.mark.parametrize("part", [1.0, 0.6])
def test_agrees_with_trimesh(shape, part):
    keep = np.random.default_rng(0).permutation(len(shape.faces))[: int(part * len(shape.faces))]
    theirs = trimesh.Trimesh(shape.vertices, shape.faces[keep], process=True, validate=False)
    found = diagnose(mesh_of(theirs))
    assert found.watertight == theirs.is_watertight
    assert found.consistent == theirs.is_winding_consistent
    assert found.area == pytest.approx(theirs.area)
    if found.watertight:
        assert found.signed_volume == pytest.approx(theirs.volume)
    _, counts = np.unique(theirs.edges_unique_inverse, return_counts=True)
    assert found.boundary_edges == (counts == 1).sum()
    assert found.euler == len(np.unique(theirs.faces)) - len(counts) + len(theirs.faces)


def test_real_meshes(real_data):
    from nfbench.harness.meshfile import read_mesh

    for name, watertight in (("spot.obj", True), ("bunny.off", True), ("fandisk.off", True)):
        mesh = read_mesh(real_data / "meshes" / name)
        found = diagnose(mesh)
        theirs = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        assert found.watertight == watertight == theirs.is_watertight
        assert (found.euler, found.components) == (theirs.euler_number, theirs.body_count)
        assert found.genus == (2 - found.euler) // 2


BOX = [[-1, -1, -1], [1, 1, 1]]


def test_energy_of_a_linear_field():
    energy = dirichlet_energy(lambda x: x @ np.float32([1, -2, 3]) + 5, [[0, 0, 0], [1, 2, 4]], 5000)
    assert energy == pytest.approx(14, rel=2e-4)
    assert dirichlet_energy(lambda x: np.zeros(len(x)), BOX, 10) == 0


def test_energy_of_a_signed_distance_is_one():
    def ball(xyz):
        return np.linalg.norm(xyz.astype(np.float64), axis=1) - 0.5

    assert dirichlet_energy(ball, BOX, 20_000) == pytest.approx(1, abs=1e-3)
    assert dirichlet_energy(ball, np.array(BOX) * 7, 20_000) == pytest.approx(1, abs=1e-3)


def test_energy_of_a_quadratic():
    # |grad |x|^2|^2 = 4 |x|^2, whose mean over the cube of edge 2 is 4; the standard error of 100,000 points is 0.0098
    def quadratic(xyz):
        return (xyz.astype(np.float64) ** 2).sum(1)

    assert dirichlet_energy(quadratic, BOX) == pytest.approx(4, abs=0.03)
    assert dirichlet_energy(quadratic, BOX) == dirichlet_energy(quadratic, BOX, 100_000, 0, step=1e-3)
    assert dirichlet_energy(quadratic, BOX, 1000, 1) != dirichlet_energy(quadratic, BOX, 1000, 2)


def test_energy_asks_inside_the_box_in_bounded_batches():
    asked = []

    def field(xyz):
        asked.append(xyz)
        return xyz[:, 0]

    assert dirichlet_energy(field, [[0, 0, 0], [1, 1, 2]], 70_000, step=0.25) == pytest.approx(1, rel=1e-5)
    assert {len(xyz) for xyz in asked} == {1 << 16, 70_000 - (1 << 16)}
    everything = np.concatenate(asked)
    assert everything.dtype == np.float32
    np.testing.assert_array_equal([everything.min(0), everything.max(0)], [[0, 0, 0], [1, 1, 2]])


@pytest.mark.parametrize(
    ("box", "count", "step"),
    [
        ([[0, 0, 0], [1, 0, 1]], 10, 0.1),
        (BOX, 0, 0.1),
        (BOX, 10, 0),
        (BOX, 10, 1),
        (BOX, 10, 1.5),
        ([[0, 0, 0], [1, -1, 1]], 10, 0.1),
        ([[0, 0, 0], [1, np.inf, 1]], 1, 0.1),
    ],
)
def test_energy_of_nothing(box, count, step):
    with pytest.raises(NfbenchError, match="Dirichlet energy"):
        dirichlet_energy(lambda x: x[:, 0], box, count, step=step)


def test_fields_that_break_their_contract():
    with pytest.raises(ContractBroken, match="shape"):
        dirichlet_energy(lambda x: x, BOX, 10)
    with pytest.raises(ContractBroken, match=r"nan at .* of 10 points"):
        dirichlet_energy(lambda x: np.full(len(x), np.nan), BOX, 10)


def test_one_bad_value_is_told_with_its_place():
    def field(xyz):
        return np.where(np.arange(len(xyz)) == 4, np.inf, 0.0)

    with pytest.raises(ContractBroken, match=r"inf at \[.*\] \(1 of 10 points\)"):
        dirichlet_energy(field, BOX, 10)


@pytest.mark.parametrize("face", [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
def test_faces_of_two_corners_count_for_nothing_whichever_is_doubled(face):
    found = diagnose(Mesh(cube().vertices, np.concatenate([cube().faces, [face]])))
    assert (found.watertight, found.euler, found.genus, found.degenerate_faces) == (True, 2, 0, 1)


def test_faces_of_equal_sums_are_no_duplicates():
    corners = np.random.default_rng(0).random((6, 3))
    faces = np.array([[0, 3, 5], [1, 2, 5], [0, 4, 5], [1, 3, 5], [2, 3, 4]])
    assert diagnose(Mesh(corners, faces)).duplicate_faces == 0
    assert diagnose(Mesh(corners, np.concatenate([faces, faces[1:2, ::-1]]))).duplicate_faces == 1
