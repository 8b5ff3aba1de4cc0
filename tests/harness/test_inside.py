import sys

import igl
import numpy as np
import point_cloud_utils as pcu
import pytest
import trimesh

from nfbench.harness.diagnostics import diagnose
from nfbench.harness.errors import NfbenchError, Unsupported
from nfbench.harness.inside import inside, method_for
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.scene import Mesh

METHODS = ("winding-number", "parity")


def mesh_of(shape):
    return Mesh(np.asarray(shape.vertices), np.asarray(shape.faces))


def cube():
    return mesh_of(trimesh.creation.box())


def ball(subdivisions=4):
    return mesh_of(trimesh.creation.icosphere(subdivisions=subdivisions))


def queries(count, reach, seed=0):
    return np.random.default_rng(seed).uniform(-reach, reach, (count, 3))


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("method", METHODS)
def test_cube(method):
    xyz = queries(5000, 1)
    found = inside(cube(), xyz, method)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found, (np.abs(xyz) < 0.5).all(1))
    np.testing.assert_array_equal(inside(cube(), xyz.astype(np.float32), method), found)
    assert inside(cube(), np.empty((0, 3)), method).shape == (0,)
    assert not inside(Mesh(np.empty((0, 3)), np.empty((0, 3))), xyz, method).any()


@pytest.mark.parametrize("method", METHODS)
def test_ball(method):
    xyz = queries(20_000, 1.2)
    radius = np.linalg.norm(xyz, axis=1)
    clear = np.abs(radius - 1) > 3e-3  # the facets lie below the sphere
    np.testing.assert_array_equal(inside(ball(), xyz, method)[clear], (radius < 1)[clear])


@pytest.mark.parametrize("method", METHODS)
def test_torus(method):
    xyz = queries(20_000, 1.4)
    tube = np.hypot(np.hypot(xyz[:, 0], xyz[:, 1]) - 1, xyz[:, 2])
    clear = np.abs(tube - 0.3) > 5e-3
    ring = mesh_of(trimesh.creation.torus(1, 0.3, major_sections=96, minor_sections=48))
    np.testing.assert_array_equal(inside(ring, xyz, method)[clear], (tube < 0.3)[clear])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_no_unit_and_no_origin_matters(method, scale):
    xyz = queries(3000, 0.8)
    offset = np.array([30.0, -10, 20])
    found = inside(Mesh((cube().vertices + offset) * scale, cube().faces), (xyz + offset) * scale, method)
    np.testing.assert_array_equal(found, (np.abs(xyz) < 0.5).all(1))


def test_a_place_far_from_the_origin_costs_parity_no_digits():
    xyz, offset = queries(3000, 0.8), np.array([2e5, -3e5, 1e5])  # float32 would have steps of 0.02 there
    found = inside(Mesh(cube().vertices + offset, cube().faces), xyz + offset, "parity")
    np.testing.assert_array_equal(found, (np.abs(xyz) < 0.5).all(1))


def test_the_winding_number_is_the_default_and_exact():
    ring = mesh_of(trimesh.creation.torus(0.35, 0.1))
    open_ring = Mesh(ring.vertices, ring.faces[40:])
    for mesh in (ring, open_ring):
        xyz = queries(3000, 0.55)
        exact = np.abs(igl.winding_number(mesh.vertices, mesh.faces, xyz)) > 0.5
        np.testing.assert_array_equal(inside(mesh, xyz), exact)


def test_other_libraries_agree():
    shape = trimesh.creation.torus(0.35, 0.1)
    mesh, xyz = mesh_of(shape), queries(3000, 0.5)
    number = pcu.triangle_soup_fast_winding_number(mesh.vertices, mesh.faces, xyz)
    np.testing.assert_array_equal(inside(mesh, xyz), number > 0.5)
    np.testing.assert_array_equal(inside(mesh, xyz), shape.contains(xyz))


@pytest.mark.parametrize("method", METHODS)
def test_cavities_and_overlaps(method):
    small = ball(3)
    hollow = Mesh(
        np.concatenate([small.vertices * 2, small.vertices]),
        np.concatenate([small.faces, small.faces[:, ::-1] + len(small.vertices)]),
    )
    probes = np.array([[0, 0, 0], [0, 1.5, 0], [0, 0, 2.5]], float)
    assert inside(hollow, probes, method).tolist() == [False, True, False]
    turned = Mesh(hollow.vertices, hollow.faces[:, ::-1])
    assert inside(turned, probes, method).tolist() == [False, True, False]
    nested = Mesh(hollow.vertices, np.concatenate([small.faces, small.faces + len(small.vertices)]))
    assert inside(nested, probes, method).tolist() == [method == "winding-number", True, False]


@pytest.mark.parametrize("method", METHODS)
def test_an_inside_out_mesh_has_the_same_inside(method):
    turned = Mesh(ball().vertices, ball().faces[:, ::-1])
    xyz = queries(2000, 1.2)
    assert diagnose(turned).inside_out
    np.testing.assert_array_equal(inside(turned, xyz, method), inside(ball(), xyz, method))
    assert inside(turned, np.zeros((1, 3)), method).all()


def test_damage_costs_the_winding_number_little():
    mesh, xyz = ball(), queries(20_000, 1.1)
    truth, rng = inside(mesh, xyz), np.random.default_rng(1)
    few = rng.random(len(mesh.faces)) < 0.05
    assert iou(inside(Mesh(mesh.vertices, mesh.faces[~few]), xyz), truth) > 0.995
    flipped = mesh.faces.copy()
    tenth = rng.random(len(flipped)) < 0.1
    flipped[tenth] = flipped[tenth, ::-1]
    assert iou(inside(Mesh(mesh.vertices, flipped), xyz), truth) > 0.98
    assert iou(inside(Mesh(mesh.vertices, flipped[:, ::-1]), xyz), truth) > 0.98
    cap = mesh.vertices[mesh.faces].mean(1)[:, 2] > 0.8
    assert iou(inside(Mesh(mesh.vertices, mesh.faces[~cap]), xyz), truth) > 0.9


def test_double_faces_and_faces_without_area():
    mesh, xyz = ball(3), queries(3000, 1.1)
    truth = inside(mesh, xyz)
    for more in (mesh.faces, mesh.faces[:30], [[0, 1, 1], [5, 5, 5]]):
        np.testing.assert_array_equal(inside(Mesh(mesh.vertices, np.concatenate([mesh.faces, more])), xyz), truth)
    both_ways = Mesh(mesh.vertices, np.concatenate([mesh.faces, mesh.faces[:, ::-1]]))
    assert not inside(both_ways, xyz).any()


def test_huge_faces():
    half = np.array([5e3, 5e3, 5e-3])
    slab, xyz = mesh_of(trimesh.creation.box(2 * half)), queries(5000, 2) * half
    for method in METHODS:
        np.testing.assert_array_equal(inside(slab, xyz, method), (np.abs(xyz) < half).all(1))


@pytest.mark.parametrize("method", METHODS)
def test_points_on_the_surface_are_somewhere(method):
    on = np.concatenate([cube().vertices, [[0.5, 0.1, 0.2], [0.5, 0.5, 0]]])
    assert inside(cube(), on, method).dtype == np.bool_
    near = np.array([[0.5 - 1e-4, 0.1, 0.2], [0.5 + 1e-4, 0.1, 0.2]])
    assert inside(cube(), near, method).tolist() == [True, False]


def test_a_single_face_holds_nothing():
    assert not inside(Mesh(np.eye(3), np.array([[0, 1, 2]])), queries(500, 1)).any()


def test_parity_only_of_watertight_meshes():
    hole = Mesh(cube().vertices, cube().faces[1:])
    with pytest.raises(Unsupported, match=r"not watertight"):
        inside(hole, np.zeros((1, 3)), "parity")
    assert inside(hole, np.zeros((1, 3))).all()
    assert method_for(hole, "parity") == method_for(hole, "winding-number") == "winding-number"
    assert method_for(cube(), "parity") == "parity"
    assert method_for(cube(), "winding-number") == "winding-number"
    flipped = cube().faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert method_for(Mesh(cube().vertices, flipped), "parity") == "parity"


def test_parity_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh.ray.ray_pyembree", None)
    with pytest.raises(Unsupported, match="embreex") as caught:
        inside(cube(), np.zeros((1, 3)), "parity")
    assert "winding number" in caught.value.hint


def test_many_points_go_in_batches(monkeypatch):
    import nfbench.harness.inside as module

    monkeypatch.setattr(module, "_BATCH", 1000)
    xyz = queries(2500, 1)
    np.testing.assert_array_equal(inside(cube(), xyz, "parity"), (np.abs(xyz) < 0.5).all(1))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (np.zeros(3), r"shape \(3,\), with 0 "),
        (np.zeros((4, 2)), r"shape \(4, 2\), with 0 "),
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\), with 0 "),
        (np.array([[0, np.nan, 0]]), r"shape \(1, 3\), with 1 "),
        (np.array([[0, 0, np.inf], [np.nan, 0, 0]]), r"shape \(2, 3\), with 2 "),
    ],
)
def test_bad_points(bad, says):
    with pytest.raises(NfbenchError, match=says):
        inside(cube(), bad)


def test_unknown_method():
    with pytest.raises(NfbenchError, match="'rays'"):
        inside(cube(), np.zeros((1, 3)), "rays")


@pytest.mark.parametrize("name", ["spot.obj", "bunny.off", "fandisk.off"])
def test_real_meshes_by_both_methods(real_data, name):
    mesh = read_mesh(real_data / "meshes" / name)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    xyz = np.random.default_rng(0).uniform(low, high, (20_000, 3))
    by_number, by_parity = (inside(mesh, xyz, method) for method in METHODS)
    assert 0.1 < by_number.mean() < 0.9
    assert np.count_nonzero(by_number != by_parity) <= 2


def test_parity_bears_a_mesh_far_from_the_origin():
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    move = np.array([3e5, -2e5, 5e5])
    mesh = Mesh(np.asarray(ball.vertices) + move, np.asarray(ball.faces))
    xyz = np.random.default_rng(5).uniform(-0.6, 0.6, (2000, 3))
    clear = np.abs(np.linalg.norm(xyz, axis=1) - 0.5) > 0.02
    expected = np.linalg.norm(xyz, axis=1) < 0.5
    np.testing.assert_array_equal(inside(mesh, xyz + move, "parity")[clear], expected[clear])
    np.testing.assert_array_equal(inside(mesh, xyz + move)[clear], expected[clear])


def test_points_of_four_numbers_are_refused():
    ball = trimesh.creation.icosphere(subdivisions=1)
    with pytest.raises(NfbenchError, match=r"\(2, 4\)"):
        inside(Mesh(np.asarray(ball.vertices), np.asarray(ball.faces)), np.zeros((2, 4)))
