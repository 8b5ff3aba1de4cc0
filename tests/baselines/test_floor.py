"""The floors on scenes whose answers are known: a sphere seen from all around, single colours, boxes."""

import numpy as np
import pytest

from nfbench.baselines.floor import (
    BoundingBox,
    MeanColour,
    NearestView,
    box_mesh,
    image_size,
    resized,
    view_distances,
)
from nfbench.baselines.visual_hull import VisualHull, VisualHullConfig, clearance
from nfbench.harness.camera import Cameras, look_at, rays
from nfbench.harness.errors import DataMissing, Unsupported
from nfbench.harness.image import composite
from nfbench.harness.method import Budget, NoConfig
from nfbench.harness.scene import Given, Points, Scene, Views, Voxels

CENTRE, RADIUS = np.array([0.1, -0.05, 0.15]), 0.5
BOX = np.array([[-1, -1, -1], [1, 1, 1]], np.float32)


def cameras_around(count, size=64, seed=0):
    eyes = np.random.default_rng(seed).normal(size=(count, 3))
    eyes *= 3 / np.linalg.norm(eyes, axis=1, keepdims=True)
    K = np.array([[1.2 * size, 0, size / 2], [0, 1.2 * size, size / 2], [0, 0, 1]])
    return Cameras(
        np.stack([look_at(e, [0, 0, 0]) for e in eyes]), np.tile(K, (count, 1, 1)), np.full((count, 2), size)
    )


def sphere_views(count, size=64, seed=0, alpha=True):
    """RGBA images of a sphere whose colour is its normal."""
    cameras = cameras_around(count, size, seed)

    def load(i):
        origins, directions = rays(cameras, i)
        towards = (origins - CENTRE).astype(np.float64)
        along = (towards * directions).sum(1)
        root = along**2 - (towards**2).sum(1) + RADIUS**2
        normal = (towards + (-along - np.sqrt(np.maximum(root, 0)))[:, None] * directions) / RADIUS
        image = np.zeros((size * size, 4), np.uint8)
        image[root > 0, :3] = np.rint(127.5 * normal[root > 0] + 127.5)
        image[root > 0, 3] = 255
        return image.reshape(size, size, 4)[:, :, : 4 if alpha else 3]

    return Views(cameras, tuple(f"r_{i}" for i in range(count)), load)


def sphere_scene(count=24, background=(1.0, 1.0, 1.0), **settings):
    return Scene("sphere", Given(views=sphere_views(count, **settings)), BOX, background=background)


@pytest.fixture(scope="module")
def hull():
    return VisualHull(VisualHullConfig(resolution=64)).fit(sphere_scene(40, size=128), Budget())


def test_mean_colour_is_the_mean_of_all_training_pixels():
    background = (0.2, 0.4, 0.6)
    scene = sphere_scene(5, background, size=16)
    images = np.stack([composite(scene.given.views.image(i), background) for i in range(5)]).astype(np.float64)
    field = MeanColour(NoConfig()).fit(scene, Budget())
    rendered = field.render(cameras_around(2, size=8))
    assert rendered.shape == (2, 8, 8, 3) and rendered.dtype == np.float32
    np.testing.assert_allclose(rendered[1, 3, 4], images.mean((0, 1, 2)), atol=1e-6)
    assert (rendered == rendered[0, 0, 0]).all()
    constant = ((images - rendered[0, 0, 0]) ** 2).mean()
    assert all(((images - rendered[0, 0, 0] - 0.01 * shift) ** 2).mean() > constant for shift in (-1, 1))


def test_mean_colour_weighs_pixels_not_images():
    cameras = cameras_around(2)
    sizes = np.array([[4, 2], [2, 2]])
    cameras = Cameras(cameras.c2w, cameras.K, sizes)
    views = Views(cameras, ("wide", "small"), lambda i: np.full((2, 4 - 2 * i, 3), 255 * i, np.uint8))
    field = MeanColour(NoConfig()).fit(Scene("two", Given(views=views), BOX), Budget())
    np.testing.assert_allclose(field.colour, 1 / 3, atol=1e-6)


def test_nearest_view_returns_the_training_image_of_a_training_camera():
    scene = sphere_scene(8)
    views = scene.given.views
    rendered = NearestView(NoConfig()).fit(scene, Budget()).render(views.cameras)
    for i in range(8):
        np.testing.assert_array_equal(rendered[i], composite(views.image(i), scene.background))


def test_nearest_view_decodes_one_image_a_camera_and_only_when_asked():
    scene, loads = sphere_scene(8), []
    views = scene.given.views
    counted = Views(views.cameras, views.names, lambda i: loads.append(i) or views.load(i))
    field = NearestView(NoConfig()).fit(Scene("s", Given(views=counted), BOX), Budget())
    assert loads == []
    field.render(views.cameras[[2, 5]])
    assert loads == [2, 5]


def test_view_distance_is_twice_the_angle_on_a_sphere_of_cameras():
    angles = np.deg2rad([0, 5, 40, 90])
    eyes = np.stack([2 * np.cos(angles), 2 * np.sin(angles), 0 * angles], axis=1)
    K = np.tile(np.eye(3), (4, 1, 1))
    cameras = Cameras(np.stack([look_at(e, [0, 0, 0]) for e in eyes]), K, np.full((4, 2), 8))
    found = view_distances(cameras, 0, cameras, np.zeros(3))
    np.testing.assert_allclose(found, 2 * np.sin(angles / 2) + angles, atol=1e-6)
    moved = Cameras(cameras.c2w * [[[1, 1, 1, 10]]], K, cameras.size)  # the unit of length does not matter
    np.testing.assert_allclose(view_distances(moved, 0, moved, np.zeros(3)), found, atol=1e-6)


def test_view_distance_sees_a_camera_that_only_rolled():
    upright, rolled = look_at([2, 0, 0], [0, 0, 0]), look_at([2, 0, 0], [0, 0, 0], up=(0, 1, 0))
    cameras = Cameras(np.stack([upright, rolled]), np.tile(np.eye(3), (2, 1, 1)), np.full((2, 2), 8))
    np.testing.assert_allclose(view_distances(cameras, 0, cameras, np.zeros(3)), [0, np.pi / 2], atol=1e-6)


def test_nearest_view_resizes_to_the_asked_size():
    flat = np.full((6, 8, 3), 0.25, np.float32)
    np.testing.assert_allclose(resized(flat, 4, 3), 0.25, atol=1e-6)
    ramp = np.tile(np.arange(8, dtype=np.float32)[None, :, None] / 8, (6, 1, 3))
    half = resized(ramp, 4, 3)
    assert half.shape == (3, 4, 3)
    np.testing.assert_allclose(half[:, 1:3, 0], [[2.5 / 8, 4.5 / 8]] * 3, atol=1e-6)  # the mean of each pair
    scene = sphere_scene(3, size=32)
    assert NearestView(NoConfig()).fit(scene, Budget()).render(cameras_around(1, size=20)).shape == (1, 20, 20, 3)


def test_bounding_box_is_the_box_of_the_cloud_then_of_the_inside_then_of_the_scene():
    xyz = np.random.default_rng(0).uniform(-0.8, 0.9, (500, 3)).astype(np.float32)
    inside = np.linalg.norm(xyz, axis=1) < 0.5
    occupied = Points(xyz, value=inside.astype(np.float32), kind="occupancy")
    signed = Points(xyz, value=np.linalg.norm(xyz, axis=1) - 0.5, kind="sdf")
    filled = np.zeros((4, 4, 4), np.bool_)
    filled[2, 0:3, 1] = True
    voxels = Voxels(filled, BOX)
    cases = [
        (Given(cloud=Points(xyz[:40]), samples=occupied), xyz[:40]),
        (Given(samples=occupied), xyz[inside]),
        (Given(samples=signed), xyz[inside]),
        (Given(samples=signed, voxels=voxels), xyz[inside]),
        (Given(voxels=voxels), np.array([[0, -1, -0.5], [0.5, 0.5, 0]])),  # the voxels whole, not their centres
        (Given(voxels=Voxels(np.zeros((4, 4, 4), np.bool_), BOX)), BOX),
        (Given(views=sphere_views(2)), BOX),
        (Given(samples=Points(xyz, value=xyz[:, 0] * 0, kind="occupancy")), BOX),
    ]
    for given, expected in cases:
        mesh = BoundingBox(NoConfig()).fit(Scene("box", given, BOX), Budget()).mesh()
        np.testing.assert_array_equal(mesh.vertices.min(0), expected.min(0))
        np.testing.assert_array_equal(mesh.vertices.max(0), expected.max(0))


def test_box_mesh_is_closed_and_faces_outwards():
    mesh = box_mesh(np.array([[-1, 0, 2], [1, 3, 2.5]]))
    corners = mesh.vertices[mesh.faces]
    volume = np.einsum("fi,fi->f", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(2 * 3 * 0.5)
    edges = np.concatenate([mesh.faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))]).tolist()
    assert len({tuple(e) for e in edges}) == 36 and all([b, a] in edges for a, b in edges)


def test_visual_hull_contains_the_sphere_and_little_else(hull):
    xyz = np.random.default_rng(0).uniform(-1, 1, (40000, 3)).astype(np.float32)
    inside, value = np.linalg.norm(xyz - CENTRE, axis=1) < RADIUS, hull.value(xyz)
    assert value.min() == 0 and value.max() == 1 and value.dtype == np.float32
    cell = 2 / 64
    assert (value[np.linalg.norm(xyz - CENTRE, axis=1) < RADIUS - cell] > 0.99).all()
    hit = value >= 0.5
    assert (hit & inside).sum() / (hit | inside).sum() > 0.85


def test_visual_hull_is_empty_outside_the_box_and_interpolates_within_a_cell(hull):
    assert hull.value(np.array([[2, 0, 0], [0, -1.01, 0]], np.float32)).tolist() == [0, 0]
    line = np.stack([np.linspace(-1, 1, 2001), np.full(2001, CENTRE[1]), np.full(2001, CENTRE[2])], axis=1)
    assert np.abs(np.diff(hull.value(line.astype(np.float32)))).max() < 0.05


def test_visual_hull_renders_what_the_training_views_show(hull):
    truth = sphere_views(3, size=100, seed=7)
    rendered = hull.render(truth.cameras)
    for i in range(3):
        image = composite(truth.image(i), (1, 1, 1))
        assert -10 * np.log10(((rendered[i] - image) ** 2).mean()) > 20
        foreground = (rendered[i] < 1).any(-1)
        assert (foreground & truth.mask(i)).sum() / (foreground | truth.mask(i)).sum() > 0.9
    np.testing.assert_array_equal(rendered[0, 0, 0], [1, 1, 1])


def test_march_finds_the_node_that_small_steps_find(hull):
    origins, directions = rays(cameras_around(1, size=24, seed=3), 0)
    found = hull._march(origins, directions)
    along = np.linspace(1.2, 4.8, 2000)
    xyz = origins[:, None] + along[None, :, None] * directions[:, None]
    nodes = np.rint((xyz + 1) / (2 / 64)).astype(int)
    hit = hull.inside[tuple(np.clip(nodes, 0, 64).transpose(2, 0, 1))] & (np.abs(xyz) <= 1).all(-1)
    slow = np.where(hit.any(1), along[hit.argmax(1)], np.inf)
    both = np.isfinite(found) & np.isfinite(slow)
    assert both.sum() > 30 and (np.isfinite(found) != np.isfinite(slow)).mean() < 0.02  # rays that graze one node
    late = found[both] - slow[both]
    assert late.min() > -0.01 and np.quantile(late, 0.8) < 2 / 64  # the others graze nodes before they hit one


def test_clearance_never_exceeds_the_distance_to_the_hull():
    inside = np.zeros((17, 17, 17), bool)
    inside[4:7, 9, 10:14] = True
    spacing = np.array([0.1, 0.2, 0.15], np.float32)
    bound = clearance(inside, spacing)
    nodes = np.argwhere(inside) * spacing
    everywhere = np.argwhere(np.ones_like(inside)) * spacing
    exact = np.linalg.norm(everywhere[:, None] - nodes, axis=-1).min(1).reshape(inside.shape)
    assert (bound[inside] == -1).all() and (bound[~inside] <= exact[~inside]).all() and (bound[~inside] >= 0).all()
    assert bound.max() > 0.5 * exact.max()
    assert np.isinf(clearance(np.zeros((3, 3, 3), bool), spacing)).all()


def test_a_view_that_does_not_see_a_point_does_not_carve_it():
    cameras = Cameras(look_at([0, -3, 0], [0, -6, 0])[None], 20 * np.eye(3)[None] * [[[1], [1], [0.05]]], [[8, 8]])
    behind = Views(cameras, ("away",), lambda i: np.zeros((8, 8, 4), np.uint8))
    field = VisualHull(VisualHullConfig(resolution=8)).fit(Scene("away", Given(views=behind), BOX), Budget())
    assert field.inside.all()


def test_an_empty_hull_renders_the_background():
    cameras = cameras_around(2, size=16)
    nothing = Views(cameras, ("a", "b"), lambda i: np.zeros((16, 16, 4), np.uint8))
    scene = Scene("nothing", Given(views=nothing), BOX * 0.3, background=(0.5, 0.25, 0.0))
    field = VisualHull(VisualHullConfig(resolution=16)).fit(scene, Budget())
    assert field.value(np.zeros((1, 3), np.float32))[0] == 0
    assert (field.render(cameras) == np.float32([0.5, 0.25, 0.0])).all()


def test_visual_hull_names_the_view_without_mask():
    with pytest.raises(DataMissing, match="r_0") as caught:
        VisualHull(VisualHullConfig()).fit(sphere_scene(2, alpha=False), Budget())
    assert caught.value.hint


@pytest.mark.parametrize("method", [MeanColour(NoConfig()), NearestView(NoConfig()), VisualHull(VisualHullConfig())])
def test_a_scene_without_views_is_named(method):
    with pytest.raises(DataMissing, match="cloudy"):
        method.fit(Scene("cloudy", Given(cloud=Points(np.zeros((1, 3)))), BOX), Budget())


def test_cameras_of_two_sizes_are_refused():
    cameras = cameras_around(2)
    with pytest.raises(Unsupported, match="2 image sizes"):
        image_size(Cameras(cameras.c2w, cameras.K, [[8, 8], [9, 8]]))


def test_floors_have_no_parameters(hull):
    scene = sphere_scene(2)
    fields = [m(NoConfig()).fit(scene, Budget()) for m in (MeanColour, NearestView, BoundingBox)]
    assert [f.parameters for f in [*fields, hull]] == [0, 0, 0, 0]
