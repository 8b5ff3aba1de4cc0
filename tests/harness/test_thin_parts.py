"""The extracted mesh is that of the dense grid, thin parts included, or the report bounds what is missing."""

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


def dense(value, resolution=128):
    """Vertices and faces of marching cubes on the dense grid of BOX, closed at its faces."""
    axis = BOX[0, 0] + np.arange(resolution + 1) * (BOX[1, 0] - BOX[0, 0]) / resolution
    xyz = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)
    depth = np.concatenate([-value(part.astype(np.float64)) for part in np.array_split(xyz, 40)]).astype(np.float32)
    grid = np.pad(depth.reshape((resolution + 1,) * 3), 1, constant_values=-1e3)
    vertices, faces, _, _ = marching_cubes(grid, 0.0, gradient_direction="ascent")
    return np.clip(BOX[0] + (vertices.astype(np.float64) - 1) * 1.1 / resolution, *BOX), faces, depth > 0


@pytest.mark.parametrize("name", SHAPES)
def test_the_mesh_of_a_distance_is_that_of_the_dense_grid(name):
    value = SHAPES[name]
    found = extracted(lambda xyz: value(xyz.astype(np.float64)), BOX, 128, 0.0, inside_above=False)
    vertices, faces, _ = dense(value)
    assert found.mesh.faces.shape == faces.shape
    np.testing.assert_allclose(found.mesh.vertices, vertices, atol=1e-6)
    np.testing.assert_array_equal(found.mesh.faces, faces)
    assert found.probes.wrong == 0
