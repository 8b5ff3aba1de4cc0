from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from skimage.measure import marching_cubes

from nfbench.harness.errors import ContractBroken, NfbenchError, Unsupported
from nfbench.harness.extraction import Extracted, extract, extracted, mesh_of, surface_of
from nfbench.harness.protocol import Levels
from nfbench.harness.scene import Mesh

BOX = np.array([[-0.55] * 3, [0.55] * 3])
SECTION = SimpleNamespace(levels=Levels(sdf=0.0, occupancy=0.2, density=10.0), resolution=64)


def sphere(xyz, radius=0.4):
    return np.linalg.norm(xyz.astype(np.float64), axis=1) - radius


def torus(xyz):
    x, y, z = xyz.astype(np.float64).T
    return np.hypot(np.hypot(x, y) - 0.35, z) - 0.1


def gyroid(xyz):
    x, y, z = xyz.astype(np.float64).T * 14
    return np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)


def two_balls(xyz):
    return np.minimum(sphere(xyz - [-0.3, -0.1, -0.1], 0.2), sphere(xyz - [0.21, 0.3, 0.2], 0.06))


def tilted_plate(xyz):
    normal = np.array([1, 2, 3]) / np.sqrt(14)
    return np.maximum(np.abs(xyz @ normal) - 0.03, sphere(xyz, 0.5))


def cube():
    return Mesh(*igl_cube())


def igl_cube():
    box = trimesh.creation.box()
    return np.asarray(box.vertices), np.asarray(box.faces)


def volume(mesh):
    a, b, c = (mesh.vertices[mesh.faces[:, i]] for i in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


def is_closed(mesh):
    """Whether every edge is passed once in each direction for each face on it."""
    start = mesh.faces.ravel()
    end = mesh.faces[:, [1, 2, 0]].ravel()
    count = len(mesh.vertices)
    return np.array_equal(np.sort(start * count + end), np.sort(end * count + start))


def dense(value, resolution):
    """Marching cubes on the dense grid of BOX."""
    axis = BOX[0, 0] + np.arange(resolution + 1) * (BOX[1, 0] - BOX[0, 0]) / resolution
    xyz = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    grid = np.pad(-value(xyz).reshape((resolution + 1,) * 3), 1, constant_values=-1e6)
    vertices = marching_cubes(grid, 0.0)[0].astype(np.float64)
    return BOX[0] + (vertices - 1) * (BOX[1, 0] - BOX[0, 0]) / resolution


@pytest.mark.parametrize(
    ("value", "resolution"),
    [(sphere, 128), (sphere, 100), (torus, 70), (torus, 128), (gyroid, 64), (two_balls, 128), (tilted_plate, 96)],
)
def test_extract_equals_the_dense_grid(value, resolution):
    asked = 0

    def counted(xyz):
        nonlocal asked
        asked += len(xyz)
        assert xyz.dtype == np.float32
        assert len(xyz) <= 65_536
        return value(xyz)

    mesh = extract(counted, BOX, resolution, 0.0, inside_above=False)
    expected = dense(value, resolution)
    assert mesh.vertices.shape == expected.shape
    np.testing.assert_allclose(mesh.vertices, expected, atol=1e-6)
    assert asked < 0.7 * (resolution + 1) ** 3
    assert is_closed(mesh)


def test_extract_gives_the_sphere():
    mesh = extract(sphere, BOX, 128, 0.0, inside_above=False)
    np.testing.assert_allclose(np.linalg.norm(mesh.vertices, axis=1), 0.4, atol=2e-4)
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=1e-3)


def test_extract_is_indifferent_to_the_sign():
    below = extract(sphere, BOX, 64, 0.1, inside_above=False)
    above = extract(lambda xyz: -sphere(xyz), BOX, 64, -0.1, inside_above=True)
    np.testing.assert_array_equal(above.vertices, below.vertices)
    np.testing.assert_array_equal(above.faces, below.faces)
    assert volume(below) == pytest.approx(4 / 3 * np.pi * 0.5**3, rel=1e-2)


def test_extract_closes_the_surface_at_the_box():
    mesh = extract(lambda xyz: xyz[:, 0], BOX, 40, 0.11, inside_above=True)
    assert is_closed(mesh)
    assert volume(mesh) == pytest.approx(1.1 * 1.1 * 0.44, rel=1e-4)
    assert mesh.vertices.max() <= 0.55
    whole = extract(lambda xyz: np.full(len(xyz), np.inf), BOX, 10, 0.0, inside_above=True)
    assert volume(whole) == pytest.approx(1.1**3, rel=1e-4)


def test_extract_covers_a_long_box():
    box = np.array([[-2, 0, 1], [2, 0.51, 1.7]], np.float32)
    mesh = extract(lambda xyz: np.ones(len(xyz)), box, 80, 0.5, inside_above=True)
    np.testing.assert_allclose([mesh.vertices.min(0), mesh.vertices.max(0)], box, atol=0.0251)
    assert (mesh.vertices.min(0) <= box[0] + 1e-6).all()
    assert (mesh.vertices.max(0) >= box[1] - 1e-6).all()
    ball = extract(lambda xyz: sphere(xyz - [1, 0.25, 1.35], 0.2), box, 80, 0.0, inside_above=False)
    assert volume(ball) == pytest.approx(4 / 3 * np.pi * 0.2**3, rel=5e-2)


def test_extract_of_nothing_is_empty():
    mesh = extract(lambda xyz: np.ones(len(xyz)), BOX, 64, 0.0, inside_above=False)
    assert (len(mesh.vertices), len(mesh.faces)) == (0, 0)


def test_extract_follows_the_surface_out_of_coarse_cells():
    # A needle, thinner than a coarse cell, that a ball is stuck on: the coarse grid sees the ball alone.
    def needle(xyz):
        x, y, z = xyz.astype(np.float64).T - 0.003
        return np.minimum(sphere(xyz, 0.1), np.maximum(np.hypot(x, y) - 0.012, np.abs(z) - 0.5))

    mesh = extract(needle, BOX, 128, 0.0, inside_above=False)
    assert mesh.vertices[:, 2].max() == pytest.approx(0.503, abs=0.005)
    assert mesh.vertices.shape == dense(needle, 128).shape


@pytest.mark.parametrize("value", [sphere, torus, two_balls])
def test_extraction_at_256_asks_a_thirty_fifth_of_the_dense_grid(value):
    found = extracted(value, BOX, 256, 0.0, inside_above=False)
    assert 0 < found.evaluations <= 257**3 / 35
    assert found.facts()["extraction_evaluations"] == found.evaluations


def test_extracted_counts_what_was_asked():
    asked = 0

    def counted(xyz):
        nonlocal asked
        asked += len(xyz)
        return sphere(xyz)

    assert extracted(counted, BOX, 100, 0.0, inside_above=False).evaluations == asked


def test_a_surface_that_fills_the_box_is_refused(monkeypatch):
    monkeypatch.setattr("nfbench.harness.sparse_grid._MOST", 500)
    extract(lambda xyz: sphere(xyz, 0.05), BOX, 128, 0.0, inside_above=False)
    with pytest.raises(NfbenchError, match="blocks of 8"):
        extract(gyroid, BOX, 128, 0.0, inside_above=False)


def test_extract_names_the_first_nan():
    def broken(xyz):
        return np.where((xyz > 0.5).all(1), np.nan, 1.0)

    with pytest.raises(ContractBroken, match=r"NaN at \[0\.5"):
        extract(broken, BOX, 32, 0.0, inside_above=False)


@pytest.mark.parametrize(
    ("value", "box", "resolution"),
    [
        (lambda xyz: xyz, BOX, 32),
        (lambda xyz: xyz[:-1, 0], BOX, 32),
        (sphere, BOX[::-1], 32),
        (sphere, BOX * np.nan, 32),
        (sphere, BOX, 0),
    ],
)
def test_extract_refuses(value, box, resolution):
    with pytest.raises(NfbenchError):
        extract(value, box, resolution, 0.0, inside_above=False)


class Ball:
    """A ball of radius 0.4 at the level of SECTION, whatever its kind."""

    def __init__(self, kind):
        self.kind = kind

    def value(self, xyz):
        d = sphere(xyz)
        return {"sdf": d, "occupancy": 0.2 - d, "density": 10 - 100 * d}.get(self.kind, d)


@pytest.mark.parametrize("kind", ["sdf", "occupancy", "density"])
def test_mesh_of_cuts_each_kind_at_its_level(kind):
    mesh = mesh_of(Ball(kind), BOX, SECTION)
    assert volume(mesh) == pytest.approx(4 / 3 * np.pi * 0.4**3, rel=5e-3)


def test_mesh_of_takes_a_mesh():
    mesh = cube()
    assert mesh_of(SimpleNamespace(mesh=lambda: mesh), BOX, SECTION) is mesh
    assert surface_of(SimpleNamespace(mesh=lambda: mesh), BOX, SECTION).facts() == {}
    assert Extracted(mesh).probes.bound() == 0


def test_mesh_of_refuses():
    with pytest.raises(ContractBroken, match="'udf'"):
        mesh_of(Ball("udf"), BOX, SECTION)
    with pytest.raises(ContractBroken, match="not a Mesh"):
        mesh_of(SimpleNamespace(mesh=lambda: igl_cube()), BOX, SECTION)
    with pytest.raises(Unsupported, match="no surface"):
        mesh_of(SimpleNamespace(render=lambda cameras: None), BOX, SECTION)
