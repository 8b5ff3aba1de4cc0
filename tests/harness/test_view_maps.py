from types import SimpleNamespace

import numpy as np
import pytest
import trimesh

from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.errors import ContractBroken, DataCorrupt
from nfbench.harness.scene import Mesh
from nfbench.harness.view_maps import FieldMaps, Maps, MeshMaps, maps_of

SIZE = (40, 30)


def cameras(*eyes):
    K = np.array([[40.0, 0, 20], [0, 40, 15], [0, 0, 1]])
    n = len(eyes)
    return Cameras(
        np.stack([look_at(eye, (0, 0, 0), (0.1, 0, 1)) for eye in eyes]), np.tile(K, (n, 1, 1)), np.tile(SIZE, (n, 1))
    )


EYES = cameras((0, -3, 0.5), (2, 2, 1))


def icosphere(radius=1.0, shift=(0, 0, 0)):
    ball = trimesh.creation.icosphere(subdivisions=5)
    return Mesh(np.asarray(ball.vertices) * radius + shift, np.asarray(ball.faces))


def by_formula(index, radius=1.0):
    """Depth and normals of a ball at the origin."""
    origins, directions = (a.astype(np.float64) for a in rays(EYES, index))
    along = -(origins * directions).sum(1)
    root = along**2 - (origins**2).sum(1) + radius**2
    depth = np.where(root > 0, along - np.sqrt(np.maximum(root, 0)), np.inf)
    with np.errstate(invalid="ignore"):
        normal = np.where(root[:, None] > 0, (origins + depth[:, None] * directions) / radius, 0)
    return depth.reshape(SIZE[::-1]), normal.reshape(*SIZE[::-1], 3)


def test_maps_of_a_mesh_are_those_of_the_ball():
    found = MeshMaps(icosphere()).maps(EYES)
    assert found.depth.shape == found.opacity.shape == (2, 30, 40)
    for index in range(2):
        depth, normal = by_formula(index)
        np.testing.assert_array_equal(found.opacity[index], np.isfinite(found.depth[index]))
        both = np.isfinite(depth) & np.isfinite(found.depth[index])
        assert both.sum() > 100
        assert (np.isfinite(depth) != np.isfinite(found.depth[index])).sum() < 6  # the rim
        np.testing.assert_allclose(found.depth[index][both], depth[both], atol=0.08)
        assert np.median(np.abs(found.depth[index][both] - depth[both])) < 1e-3
        np.testing.assert_allclose(found.normal[index][both], normal[both], atol=0.05)
        assert not found.normal[index][~np.isfinite(found.depth[index])].any()


def test_maps_of_a_mesh_move_and_grow_with_it():
    shift, scale = np.array([300.0, -200, 50]), 20.0
    here = MeshMaps(icosphere()).maps(EYES)
    c2w = EYES.c2w.copy()
    c2w[:, :, 3] = c2w[:, :, 3] * scale + shift
    there = MeshMaps(icosphere(scale, shift)).maps(Cameras(c2w, EYES.K, EYES.size))
    both = np.isfinite(here.depth) & np.isfinite(there.depth)
    assert (np.isfinite(here.depth) ^ np.isfinite(there.depth)).sum() < 10
    np.testing.assert_allclose(there.depth[both], here.depth[both] * scale, rtol=2e-3)


def test_sharp_edges_keep_their_normals():
    box = trimesh.creation.box((1, 1, 1))
    found = MeshMaps(Mesh(np.asarray(box.vertices), np.asarray(box.faces))).maps(EYES)
    normal = found.normal[np.isfinite(found.depth)]
    np.testing.assert_allclose(np.abs(normal).max(1), 1, atol=1e-6)  # along an axis, each
    assert set(np.abs(normal).argmax(1)) == {0, 1, 2}


def test_shading_follows_lambert_and_the_background():
    mesh = icosphere()
    image = MeshMaps(mesh).shaded(EYES, (0.0, 1.0, 0.0))
    assert image.shape == (2, 30, 40, 3)
    np.testing.assert_allclose(image[:, 0, 0], [[0, 1, 0]] * 2)
    turned = MeshMaps(Mesh(mesh.vertices, mesh.faces[:, ::-1])).shaded(EYES, (0.0, 1.0, 0.0))
    np.testing.assert_allclose(turned, image, atol=1e-5)
    _, directions = rays(EYES, 0)
    _, normal = by_formula(0)
    facing = np.abs((normal * directions.reshape(30, 40, 3)).sum(-1))
    middle = facing > 0.5
    np.testing.assert_allclose(image[0, :, :, 0][middle], (0.2 + 0.8 * facing[middle]) * 0.78, atol=0.03)


def test_an_empty_mesh_is_seen_nowhere():
    empty = MeshMaps(Mesh(np.empty((0, 3)), np.empty((0, 3), int)))
    found = empty.maps(EYES)
    assert np.isinf(found.depth).all()
    assert not found.opacity.any()
    np.testing.assert_allclose(empty.shaded(EYES, (0.5, 0.5, 1)), np.broadcast_to([0.5, 0.5, 1], (2, 30, 40, 3)))


def test_cameras_of_two_sizes_are_refused():
    two = Cameras(EYES.c2w, EYES.K, [[40, 30], [20, 30]])
    with pytest.raises(DataCorrupt, match="2 sizes"):
        MeshMaps(icosphere()).maps(two)


def field(**changes):
    given = {"depth": np.full((2, 30, 40), 2.0), "normal": np.ones((2, 30, 40, 3)), "opacity": np.ones((2, 30, 40))}
    return SimpleNamespace(maps=lambda cameras: FieldMaps(**(given | changes)))


def test_thin_floaters_have_no_depth():
    opacity = np.ones((2, 30, 40))
    opacity[0, 3, 4] = 0.4
    assert isinstance(field(), Maps)
    found = maps_of(field(opacity=opacity), EYES)
    assert np.isinf(found.depth[0, 3, 4])
    assert np.isinf(found.depth).sum() == 1
    assert not found.normal[0, 3, 4].any()
    assert found.opacity[0, 3, 4] == np.float32(0.4)
    assert maps_of(field(normal=None), EYES).normal is None


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"depth": np.ones((2, 40, 30))}, "depth has shape"),
        ({"normal": np.ones((2, 30, 40))}, "normal has shape"),
        ({"opacity": np.full((2, 30, 40), 1.5)}, "opacity spans"),
        ({"opacity": np.full((2, 30, 40), np.nan)}, "opacity holds NaN"),
        ({"depth": np.full((2, 30, 40), -1.0)}, "a depth of -1"),
    ],
)
def test_wrong_maps_are_named(changes, match):
    with pytest.raises(ContractBroken, match=match):
        maps_of(field(**changes), EYES)
