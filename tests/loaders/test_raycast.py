import numpy as np
import pytest
import trimesh
from PIL import Image

from nfbench.harness.camera import project, rays
from nfbench.harness.errors import DataCorrupt
from nfbench.harness.scene import Mesh
from nfbench.loaders.raycast import AMBIENT, GREY, Caster, cameras_around, read_painted, views_of


def ball(radius=0.5):
    shape = trimesh.creation.icosphere(subdivisions=4, radius=radius)
    return Mesh(np.asarray(shape.vertices), np.asarray(shape.faces))


def test_cameras_see_the_sphere_whole_from_all_around():
    cameras = cameras_around(20, 64, 0.5)
    directions = cameras.centres / np.linalg.norm(cameras.centres, axis=1, keepdims=True)
    assert np.linalg.norm(directions.mean(0)) < 0.05
    assert len({round(float(d), 3) for d in np.linalg.norm(cameras.centres, axis=1)}) == 1
    points = ball().vertices
    for index in range(len(cameras)):
        xy, depth = project(cameras, index, points)
        assert (xy > 0).all() and (xy < 64).all()
        assert (depth > cameras.near_far[index, 0] * 0.9).all()
    assert not np.allclose(cameras.c2w, cameras_around(20, 64, 0.5, seed=1).c2w)


def test_a_silhouette_is_that_of_the_ball():
    cameras = cameras_around(3, 96, 0.5)
    caster = Caster(ball())
    for index in range(3):
        alpha = caster.image(cameras, index)[:, :, 3]
        origin, direction = rays(cameras, index)
        closest = np.linalg.norm(np.cross(origin, direction), axis=1).reshape(96, 96)
        sure = np.abs(closest - 0.5) > 0.015
        assert sure.mean() > 0.9
        np.testing.assert_array_equal(alpha[sure], np.where(closest[sure] < 0.5, 255, 0))
        assert ((alpha > 0) & (alpha < 255)).any(), "edges are smooth"


def test_hits_tell_face_and_distance():
    face, distance = Caster(ball()).hits([[0, 0, -3], [0, 2, -3]], [[0, 0, 1], [0, 0, 1]])
    assert face[0] >= 0 and face[1] == -1
    np.testing.assert_allclose(distance, [2.5, np.inf], atol=2e-3)


def test_colours_of_vertices_faces_and_textures_are_kept(tmp_path):
    shape = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    red = np.tile(np.uint8([255, 0, 0, 255]), (len(shape.vertices), 1))
    trimesh.Trimesh(shape.vertices, shape.faces, vertex_colors=red, process=False).export(tmp_path / "red.ply")
    image = Image.fromarray(np.full((4, 4, 3), (0, 0, 255), np.uint8))
    uv = np.random.default_rng(0).random((len(shape.vertices), 2))
    painted = trimesh.visual.TextureVisuals(uv, image=image)
    trimesh.Trimesh(shape.vertices, shape.faces, visual=painted, process=False).export(tmp_path / "blue.glb")
    shape.export(tmp_path / "grey.off")
    cameras = cameras_around(1, 32, 0.5)
    for name, colour in (("red.ply", (1, 0, 0)), ("blue.glb", (0, 0, 1)), ("grey.off", (GREY,) * 3)):
        pixel = Caster(*read_painted(tmp_path / name)).image(cameras, 0)[16, 16, :3] / 255
        shade = pixel.max() / max(colour)
        assert AMBIENT - 0.01 <= shade <= 1.01
        np.testing.assert_allclose(pixel, np.array(colour) * shade, atol=0.01, err_msg=name)


def test_a_texture_lies_as_its_coordinates_say(tmp_path):
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) / 2
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0, 0], pixels[1, 1] = (255, 0, 0), (0, 255, 0)  # top left, bottom right
    uv = corners[:, :2] + 0.5
    visual = trimesh.visual.TextureVisuals(uv, image=Image.fromarray(pixels))
    faces = [[0, 1, 2], [0, 2, 3]]
    trimesh.Trimesh(corners, faces, visual=visual, process=False).export(tmp_path / "square.glb")
    mesh, paint = read_painted(tmp_path / "square.glb")
    caster = Caster(mesh, paint)
    start = np.array([[-0.25, 0.25, 2], [0.25, -0.25, 2], [0.25, 0.25, 2]])
    found = caster._run(start, np.tile([0.0, 0, -1], (3, 1)))
    u, v = found["u"].astype(float), found["v"].astype(float)
    colours = paint(found["primID"].astype(np.int64), np.stack([1 - u - v, u, v], -1))
    np.testing.assert_allclose(colours, [[1, 0, 0], [0, 1, 0], [0, 0, 0]], atol=1e-4)


def test_views_are_rendered_when_asked_for():
    views = views_of(Caster(ball()), cameras_around(2, 16, 0.5), "r_")
    assert views.names == ("r_0000", "r_0001") and views.image(1).shape == (16, 16, 4)
    assert views.mask(1)[8, 8] and not views.mask(1)[0, 0]


def test_an_empty_mesh_is_refused():
    with pytest.raises(DataCorrupt, match="no faces"):
        Caster(Mesh(np.zeros((0, 3)), np.zeros((0, 3), int)))
