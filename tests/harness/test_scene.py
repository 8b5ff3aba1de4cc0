import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfbench.harness.camera import Cameras
from nfbench.harness.errors import DataCorrupt, DataMissing
from nfbench.harness.scene import KINDS, WHITE, Given, Mesh, Points, Scene, Views, Voxels

W, H = 6, 4
BOX = np.array([[-1, -1, -1], [1, 1, 1]])
XYZ = np.random.default_rng(0).normal(size=(5, 3))


def cameras(n):
    c2w = np.tile(np.eye(4)[:3], (n, 1, 1))
    c2w[:, 0, 3] = np.arange(n)
    return Cameras(c2w, np.tile(np.diag([9.0, 9, 1]), (n, 1, 1)), np.tile([W, H], (n, 1)))


def image_of(index, channels=4):
    image = np.full((H, W, channels), index, np.uint8)
    if channels == 4:
        image[..., 3] = np.arange(W) * 50 + index  # 0 50 100 150 200 250
    return image


class Images:
    """A source of images that keeps account of what was asked for."""

    def __init__(self, give=image_of):
        self.asked = []
        self.give = give

    def __call__(self, index):
        self.asked.append(index)
        return self.give(index)


def views(n=4, load=image_of, **fields):
    return Views(cameras(n), tuple(f"v{i}" for i in range(n)), load, **fields)


# --- Views


def test_nothing_is_loaded_before_it_is_asked_for():
    images = Images()
    every = views(4, images)
    subset = every.subset([3, 1])
    scene = Scene("a", Given(views=subset), BOX, hidden=every)
    assert len(scene.given.views) == 2
    assert images.asked == []
    np.testing.assert_array_equal(subset.image(0), image_of(3))
    assert images.asked == [3]
    every.image(0)
    every.image(0)
    assert images.asked == [3, 0, 0]  # a view holds no image


@given(st.lists(st.integers(0, 5), unique=True), st.data())
@settings(max_examples=40, deadline=None)
def test_a_subset_of_a_subset_is_the_subset(outer, data):
    every = views(
        6,
        load_mask=lambda i: np.full((H, W), i % 2 == 0),
        load_depth=lambda i: np.full((H, W), i, np.float32),
    )
    inner = data.draw(st.lists(st.integers(0, len(outer) - 1), unique=True) if outer else st.just([]))
    picked = every.subset(outer).subset(inner)
    at = [outer[i] for i in inner]
    assert picked.names == tuple(f"v{i}" for i in at)
    assert picked.cameras.centres[:, 0].tolist() == at
    for i, original in enumerate(at):
        np.testing.assert_array_equal(picked.image(i), image_of(original))
        assert picked.mask(i).all() == (original % 2 == 0)
        assert picked.depth(i)[0, 0] == original


def test_a_subset_keeps_its_files(tmp_path):
    files = tuple(tmp_path / f"{i}.png" for i in range(4))
    assert views(4, files=files).subset(range(0, 4, 3)).files == (files[0], files[3])
    assert views(4).subset([0]).files == ()


def test_the_mask_is_the_data_set_s_or_alpha_of_one_half():
    np.testing.assert_array_equal(views().mask(0), np.tile(np.arange(W) >= 3, (H, 1)))
    exact = views(load=lambda i: np.array([[[0, 0, 0, 127], [0, 0, 0, 128]] * 3] * H, np.uint8))
    assert exact.mask(0)[0].tolist() == [False, True] * 3
    given_mask = views(load=lambda i: image_of(i, 3), load_mask=lambda i: np.eye(H, W, dtype=bool))
    np.testing.assert_array_equal(given_mask.mask(2), np.eye(H, W, dtype=bool))


def test_missing_mask_and_depth_are_named(tmp_path):
    opaque = views(load=lambda i: image_of(i, 3))
    with pytest.raises(DataMissing, match="'v2' has neither mask nor alpha"):
        opaque.mask(2)
    with pytest.raises(DataMissing, match="'v1' has no depth"):
        opaque.depth(1)
    files = tuple(tmp_path / f"{i}.png" for i in range(4))
    with pytest.raises(DataMissing) as caught:
        views(load=lambda i: image_of(i, 3), files=files).mask(2)
    assert str(files[2]) in caught.value.message


@pytest.mark.parametrize(
    ("image", "word"),
    [
        (np.zeros((H, W, 3), np.float32), "float32"),
        (np.zeros((H, W), np.uint8), "8-bit RGB"),
        (np.zeros((H, W, 2), np.uint8), "8-bit RGB"),
        (np.zeros((W, H, 3), np.uint8), "4x6 pixels, its camera says 6x4"),
    ],
)
def test_an_image_that_does_not_fit_its_camera_is_named(image, word):
    with pytest.raises(DataCorrupt, match=word) as caught:
        views(load=lambda i: image).image(3)
    assert "'v3'" in caught.value.message


def test_counts_and_names_are_checked(tmp_path):
    with pytest.raises(DataCorrupt, match="2 cameras, 1 names"):
        Views(cameras(2), ("a",), image_of)
    with pytest.raises(DataCorrupt, match="1 files"):
        views(2, files=(tmp_path,))
    with pytest.raises(DataCorrupt, match="Two views are named 'a'"):
        Views(cameras(3), ("b", "a", "a"), image_of)
    with pytest.raises(DataCorrupt, match="Two views"):
        views().subset([1, 1])


# --- Points


def test_points_are_float32_and_counted():
    points = Points(XYZ, normal=XYZ.tolist(), value=np.arange(5), kind="sdf")
    assert (points.xyz.dtype, points.normal.dtype, points.value.dtype) == (np.float32,) * 3
    assert len(points) == 5


def test_a_cloud_may_be_empty():
    assert len(Points(np.zeros((0, 3)), value=np.zeros(0), kind="sdf")) == 0


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"xyz": XYZ[:, :2]}, "Points.xyz has shape"),
        ({"xyz": XYZ, "normal": XYZ[:4]}, "Points.normal has shape"),
        ({"xyz": XYZ, "value": XYZ, "kind": "sdf"}, "Points.value has shape"),
        ({"xyz": XYZ, "value": np.arange(4), "kind": "sdf"}, "Points.value has shape"),
        ({"xyz": XYZ, "value": np.arange(5)}, "together"),
        ({"xyz": XYZ, "kind": "sdf"}, "together"),
        ({"xyz": np.where(np.arange(5)[:, None] == 3, np.nan, XYZ)}, "row 3 .1 rows"),
        ({"xyz": XYZ, "normal": np.full((5, 3), np.inf)}, "Points.normal holds NaN or infinity in row 0 .5 rows"),
        ({"xyz": XYZ, "value": [0, 1, np.nan, 0, 0], "kind": "occupancy"}, "Points.value .* row 2"),
    ],
)
def test_wrong_points_are_named(fields, word):
    with pytest.raises(DataCorrupt, match=word):
        Points(**fields)


# --- Mesh


def test_a_mesh_keeps_double_precision_and_may_be_empty():
    mesh = Mesh(XYZ, [[0, 1, 2], [2, 3, 4]])
    np.testing.assert_array_equal(mesh.vertices, XYZ)
    assert (mesh.vertices.dtype, mesh.faces.dtype) == (np.float64, np.int64)
    empty = Mesh([], [])
    assert (empty.vertices.shape, empty.faces.shape) == ((0, 3), (0, 3))


@pytest.mark.parametrize(
    ("vertices", "faces", "word"),
    [
        (XYZ * [1, np.nan, 1], [[0, 1, 2]], "vertex 0 .5 vertices"),
        (XYZ, [[0, 1, 5]], "names vertex 5; the mesh has 5"),
        (XYZ, [[0, 1, -1]], "A face names"),
        ([], [[0, 1, 2]], "the mesh has 0"),
    ],
)
def test_wrong_meshes_are_named(vertices, faces, word):
    with pytest.raises(DataCorrupt, match=word):
        Mesh(vertices, faces)


@pytest.mark.parametrize(
    ("vertices", "faces"),
    [(XYZ[:3, :2], []), (XYZ, [[0, 1, 2, 3]] * 3), (XYZ.ravel()[:3], [])],
    ids=["flat vertices", "quadrilaterals", "one list"],
)
def test_meshes_of_a_wrong_shape_are_not_regrouped_in_silence(vertices, faces):
    with pytest.raises(DataCorrupt, match="shape"):
        Mesh(vertices, faces)


# --- Voxels

FILLED = np.arange(27).reshape(3, 3, 3) % 2 == 0


def test_centres_of_voxels_against_a_loop():
    box = np.array([[-1.0, 0, 2], [2, 6, 3]])
    voxels = Voxels(FILLED, box)
    assert len(voxels) == 3 and voxels.box.dtype == np.float32
    expected = [[-0.5 + i, 1 + 2 * j, 2 + (k + 0.5) / 3] for i in range(3) for j in range(3) for k in range(3)]
    centres = voxels.centres()
    assert centres.dtype == np.float32
    np.testing.assert_allclose(centres, expected, atol=1e-6)
    at = np.argmin(np.abs(centres - [1.4, 3.2, 2.9]).sum(1))  # the order of the centres is that of the voxels
    assert np.unravel_index(at, FILLED.shape) == (2, 1, 2)


@pytest.mark.parametrize(
    ("filled", "box", "words"),
    [
        (FILLED.astype(np.uint8), BOX, "uint8"),
        (FILLED[:2], BOX, r"\(2, 3, 3\)"),
        (FILLED[0], BOX, r"\(3, 3\)"),
        (np.zeros((0, 0, 0), np.bool_), BOX, r"\(0, 0, 0\)"),
        (FILLED, BOX[::-1], "corner"),
        (FILLED, BOX[:1], "corner"),
        (FILLED, BOX * np.nan, "corner"),
    ],
)
def test_voxels_are_checked_when_built(filled, box, words):
    with pytest.raises(DataCorrupt, match=words):
        Voxels(filled, box)


# --- Scene


def full_scene():
    cloud = Points(XYZ)
    samples = Points(XYZ, value=np.arange(5), kind="sdf")
    occupancy = Points(XYZ, value=np.ones(5), kind="occupancy")
    given_parts = Given(views=views(), cloud=cloud, samples=samples, voxels=Voxels(FILLED, BOX))
    mesh = Mesh(XYZ, [[0, 1, 2]])
    frame = np.diag([2.0, 2, 2, 1])
    return Scene("a", given_parts, BOX, views(2), mesh, occupancy, 0.1, frame, (0, 0, 0))


def test_what_a_method_sees_holds_no_truth():
    scene = full_scene()
    seen = scene.seen()
    assert (seen.hidden, seen.surface, seen.occupancy) == (None, None, None)
    for name in ("name", "given", "unit", "background"):
        assert getattr(seen, name) is getattr(scene, name)
    np.testing.assert_array_equal(seen.box, scene.box)
    np.testing.assert_array_equal(seen.frame, scene.frame)
    assert scene.hidden is not None  # the scene itself keeps its truth
    assert seen.seen().given is scene.given


def test_no_truth_can_be_reached_from_what_a_method_sees():
    """Nothing that hangs on the seen scene is, or leads to, one of the hidden objects."""
    scene = full_scene()
    truth = {id(part) for part in (scene, scene.hidden, scene.surface, scene.occupancy, scene.occupancy.value)}
    reached, todo = set(), [scene.seen()]
    while todo:
        thing = todo.pop()
        if id(thing) not in reached:
            reached.add(id(thing))
            todo += list(vars(thing).values()) if hasattr(thing, "__dataclass_fields__") else []
            todo += list(thing) if isinstance(thing, tuple) else []
    assert id(scene.given.views) in reached
    assert not truth & reached


def test_given_names_its_kinds():
    assert full_scene().given.kinds() == KINDS == ("views", "cloud", "samples", "voxels")
    assert tuple(field.name for field in dataclasses.fields(Given)) == KINDS  # a new kind has to be told in both
    assert Given(cloud=Points(XYZ)).kinds() == ("cloud",)
    assert Given().kinds() == ()


def test_given_is_restricted_to_some_kinds():
    given = full_scene().given
    part = given.only("voxels", "cloud")
    assert part.kinds() == ("cloud", "voxels") and part.cloud is given.cloud and part.voxels is given.voxels
    assert given.only().kinds() == ()
    assert Given(cloud=given.cloud).only("views", "cloud").kinds() == ("cloud",)  # what is not there stays away


def test_a_scene_that_gives_one_kind_withholds_the_images_of_the_others():
    scene = full_scene()
    files = tuple(Path(f"{i}.png") for i in range(len(scene.given.views)))
    of_files = replace(scene, given=replace(scene.given, views=replace(scene.given.views, files=files)))
    of_files = replace(of_files, withheld=(Path("mesh.ply"),))
    part = of_files.giving("cloud", "samples")
    assert part.given.kinds() == ("cloud", "samples") and part.given.cloud is scene.given.cloud
    assert part.withheld == (Path("mesh.ply"), *files)
    assert part.seen().withheld == ()
    assert part.hidden is scene.hidden and part.surface is scene.surface  # the truth stays
    assert of_files.giving("views").withheld == (Path("mesh.ply"),)
    with pytest.raises(DataMissing, match=r"gives no views.*") as caught:
        part.giving("views")
    assert caught.value.hint == "It gives cloud, samples."


def test_defaults_say_nothing_that_is_not_known():
    scene = Scene("a", Given(), BOX)
    assert (scene.unit, scene.background, scene.box.dtype) == (None, WHITE, np.float32)
    np.testing.assert_array_equal(scene.frame, np.eye(4))


@pytest.mark.parametrize("box", [BOX[::-1], np.zeros((2, 3)), BOX[:1], BOX * np.nan, BOX * [1, 1, 0]])
def test_a_box_without_an_inside_is_refused(box):
    with pytest.raises(DataCorrupt, match="'a': box"):
        Scene("a", Given(), box)


def test_a_frame_of_another_shape_is_refused():
    with pytest.raises(DataCorrupt, match=r"frame has shape \(3, 4\)"):
        Scene("a", Given(), BOX, frame=np.eye(4)[:3])


def test_scenes_and_views_are_compared_by_identity_and_cannot_be_changed():
    scene = full_scene()
    assert scene == scene
    assert scene != full_scene()
    assert len({scene, scene.seen()}) == 2
    for thing, name in ((scene, "hidden"), (scene.given, "views"), (scene.given.views, "names")):
        with pytest.raises(AttributeError):
            setattr(thing, name, None)
