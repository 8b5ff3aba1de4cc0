"""The extracted mesh is that of the dense grid, thin parts included, or the report bounds what is missing."""

import functools

import numpy as np
import pytest
from skimage.measure import marching_cubes

from nfbench.harness.extraction import extracted
from nfbench.harness.thin_parts import Probes

BOX = np.array([[-0.55] * 3, [0.55] * 3])
CELL = 1.1 / 128


def ball(p, centre=(0, 0, 0), radius=0.4):
    return np.linalg.norm(p - np.array(centre), axis=1) - radius


def block(p, low, high):
    middle, half = (np.array(low) + high) / 2, (np.array(high) - low) / 2
    q = np.abs(p - middle) - half
    return np.linalg.norm(np.maximum(q, 0), axis=1) + np.minimum(q.max(1), 0)


def rod(p, start, end, radius):
    start, along = np.array(start), np.array(end) - start
    t = np.clip((p - start) @ along / (along @ along), 0, 1)
    return np.linalg.norm(p - start - t[:, None] * along, axis=1) - radius


def balls(p, count, radius, seed):
    centres = np.random.default_rng(seed).uniform(-0.5, 0.5, (count, 3))
    return np.min([ball(p, centre, radius) for centre in centres], axis=0)


def torus(p, r=0.35, tube=0.1):
    return np.hypot(np.hypot(p[:, 0], p[:, 1]) - r, p[:, 2]) - tube


def waves(p):
    x, y, z = p.T * 14
    return (np.sin(x) * np.cos(y) + np.sin(y) * np.cos(z) + np.sin(z) * np.cos(x)) / 20


BETWEEN = -0.55 + 1.1 / 32 * 17.5  # half way between planes of the coarse grid, of 32 cells
SHAPES = {
    "ball": ball,
    "torus": torus,
    "waves": waves,
    "cube on grid points": lambda p: block(p, [-0.55 + 20 * CELL] * 3, [-0.55 + 90 * CELL] * 3),
    "cube that touches the box": lambda p: block(p, [-0.6, -0.2, -0.2], [0.1, 0.2, 0.6]),
    "half the box": lambda p: p[:, 2] - 0.1,
    "all but a ball": lambda p: -ball(p),
    "two balls": lambda p: np.minimum(ball(p, (-0.3, -0.1, -0.1), 0.2), ball(p, (0.21, 0.3, 0.2), 0.06)),
    "plate between coarse planes": lambda p: block(p, [-0.4, -0.4, BETWEEN - 0.01], [0.4, 0.4, BETWEEN + 0.01]),
    "plate of one cell": lambda p: block(p, [BETWEEN - 0.006, -0.3, -0.4], [BETWEEN + 0.006, 0.4, 0.3]),
    "tilted plate": lambda p: np.maximum(np.abs(p @ [0.27, 0.53, 0.8]) - 0.007, ball(p, radius=0.5)),
    "plate beside a ball": lambda p: np.minimum(
        ball(p, (0, 0, -0.3), 0.2), block(p, [-0.4, -0.4, BETWEEN - 0.01], [0.4, 0.4, BETWEEN + 0.01])
    ),
    "rod along an axis": lambda p: rod(p, (BETWEEN, BETWEEN, -0.4), (BETWEEN, BETWEEN, 0.45), 0.008),
    "slanted rod": lambda p: rod(p, (-0.4, -0.3, -0.2), (0.45, 0.35, 0.3), 0.008),
    "three rods apart": lambda p: np.min(
        [rod(p, (x, -0.4, x / 2), (x + 0.05, 0.4, -x), 0.009) for x in (-0.37, 0.013, 0.41)], axis=0
    ),
    "shell": lambda p: np.abs(ball(p)) - 0.007,
    "shell within a shell": lambda p: np.minimum(np.abs(ball(p)) - 0.007, np.abs(ball(p, radius=0.25)) - 0.006),
    "gap in a block": lambda p: np.maximum(
        block(p, [-0.4] * 3, [0.4] * 3), -block(p, [-0.3, -0.3, BETWEEN - 0.01], [0.3, 0.3, BETWEEN + 0.01])
    ),
    "many small balls": lambda p: balls(p, 40, 0.013, 0),
    "a few very small balls": lambda p: balls(p, 7, 0.0095, 1),
    "ring": lambda p: torus(p, 0.41, 0.008),
    "bubbles in a ball": lambda p: np.maximum(ball(p, radius=0.5), -balls(p, 12, 0.02, 2)),
}


@functools.cache
def distances(name):
    """The shape at all points of the dense grid, (129,129,129)."""
    axis = (BOX[0, 0] + np.arange(129) * CELL).astype(np.float32)
    xyz = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    return np.concatenate([SHAPES[name](part.astype(np.float64)) for part in np.array_split(xyz, 40)]).reshape(
        3 * (129,)
    )


def dense(depth):
    """Vertices and faces of marching cubes on the dense grid of BOX, closed at its faces."""
    grid = np.pad(depth.astype(np.float32), 1, constant_values=-1e3)
    vertices, faces, _, _ = marching_cubes(grid, 0.0, gradient_direction="ascent")
    return np.clip(BOX[0] + (vertices.astype(np.float64) - 1) * CELL, *BOX), faces


@pytest.mark.parametrize("name", SHAPES)
def test_the_mesh_of_a_distance_is_that_of_the_dense_grid(name):
    value = SHAPES[name]
    found = extracted(lambda xyz: value(xyz.astype(np.float64)), BOX, 128, 0.0, inside_above=False)
    vertices, faces = dense(-distances(name))
    assert found.mesh.faces.shape == faces.shape
    np.testing.assert_allclose(found.mesh.vertices, vertices, atol=1e-6)
    np.testing.assert_array_equal(found.mesh.faces, faces)
    assert found.probes.wrong == 0


KINDS = {  # how a distance becomes a value, and the level that belongs to it
    "occupancy": (lambda d: 1 / (1 + np.exp(np.clip(d / 0.01, -60, 60))), 0.2),
    "density": (lambda d: 10 * np.exp(np.clip(-d / 0.02, -60, 60)), 10.0),
}
THIN = [name for name in SHAPES if any(word in name for word in ("plate", "rod", "shell", "small", "ring", "gap"))]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["plate between coarse planes", "rod along an axis", "shell within a shell", "gap in a block"]
)
def test_the_mesh_of_a_smooth_field_is_that_of_the_dense_grid(name, kind):
    shape, (turn, level) = SHAPES[name], KINDS[kind]

    def value(xyz):
        return turn(shape(xyz.astype(np.float64)))

    found = extracted(value, BOX, 128, level, inside_above=True, kind=kind)
    vertices, faces = dense(turn(distances(name)) - level)
    np.testing.assert_array_equal(found.mesh.faces, faces)
    np.testing.assert_allclose(found.mesh.vertices, vertices, atol=1e-6)


def volume(vertices, faces):
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float(np.einsum("fi,fi->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("name", THIN)
def test_what_is_missed_of_a_field_without_slopes_is_within_the_bound(name):
    shape = SHAPES[name]

    def value(xyz):
        return (shape(xyz.astype(np.float64)) < 0).astype(np.float32)

    found = extracted(value, BOX, 128, 0.5, inside_above=True, kind="occupancy")
    vertices, faces = dense((distances(name) < 0) - 0.5)
    missed = abs(volume(found.mesh.vertices, found.mesh.faces) - volume(vertices, faces)) / 1.1**3
    assert missed <= found.probes.bound() < 1e-3
    assert found.mesh.faces.shape == faces.shape or missed > 0


def test_large_parts_between_coarse_points_are_found_without_slopes():
    plate = SHAPES["plate between coarse planes"]
    found = extracted(lambda xyz: (plate(xyz.astype(np.float64)) < 0) * 1.0, BOX, 128, 0.5, True, "occupancy")
    assert found.probes.found > 100
    assert found.facts()["extraction_thin_parts_found"] == found.probes.found
    assert volume(found.mesh.vertices, found.mesh.faces) == pytest.approx(
        0.8 * 0.8 * 3 * CELL, rel=0.02
    )  # three layers of points


def test_the_bound_is_that_of_clopper_and_pearson():
    assert Probes(100, 0).bound() == pytest.approx(1 - 0.05 ** (1 / 100))
    assert Probes(30000, 0).bound() == pytest.approx(3 / 30000, rel=2e-3)
    # 3 of 50: the share at which 3 or fewer have a probability of 5 %
    share = Probes(50, 3).bound()
    terms = [
        np.prod(range(50, 50 - k, -1)) / np.prod(range(1, k + 1)) * share**k * (1 - share) ** (50 - k) for k in range(4)
    ]
    assert sum(terms) == pytest.approx(0.05)
    assert Probes().bound() == 0


def test_a_field_without_slopes_costs_no_searches():
    found = extracted(lambda xyz: np.full(len(xyz), 7.0), BOX, 128, 0.0, inside_above=False)
    assert found.evaluations < 2 * 33**3
    assert (found.probes.wrong, found.probes.found) == (0, 0)
