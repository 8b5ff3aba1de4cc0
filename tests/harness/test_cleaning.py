import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy import ndimage
from skimage.morphology import disk

from nfbench.harness.camera import Cameras, look_at
from nfbench.harness.cleaning import cull_by_masks, dilate, largest_component
from nfbench.harness.errors import ContractBroken, DataCorrupt, NfbenchError
from nfbench.harness.scene import Mesh


def joined(*parts):
    vertices, faces, start = [], [], 0
    for part in parts:
        vertices.append(part.vertices)
        faces.append(part.faces + start)
        start += len(part.vertices)
    return Mesh(np.concatenate(vertices), np.concatenate(faces))


def ball(subdivisions, radius, x=0.0):
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(made.vertices + [x, 0, 0], made.faces)


def test_the_largest_by_area_is_not_that_with_most_faces():
    coarse, fine = ball(1, 2.0), ball(3, 1.0, 9)
    for parts in [(coarse, fine), (fine, coarse)]:
        by_area, by_faces = largest_component(joined(*parts)), largest_component(joined(*parts), by="faces")
        np.testing.assert_array_equal(by_area.vertices, coarse.vertices)
        np.testing.assert_array_equal(by_area.faces, coarse.faces)
        np.testing.assert_array_equal(by_faces.vertices, fine.vertices)
        np.testing.assert_array_equal(by_faces.faces, fine.faces)


def test_the_first_of_equal_components():
    mesh = joined(ball(1, 1.0), ball(1, 1.0, 4))
    np.testing.assert_array_equal(largest_component(mesh, "faces").vertices, mesh.vertices[:42])


def test_components_agree_with_trimesh():
    rng = np.random.default_rng(0)
    for _ in range(20):
        vertices = rng.normal(size=(60, 3))
        faces = np.sort(rng.integers(0, 60, (150, 1)) + rng.integers(0, 4, (150, 3)), 1) % 60
        mesh = trimesh.Trimesh(vertices, faces, process=False)
        parts = mesh.split(only_watertight=False, repair=False)
        ours = largest_component(Mesh(vertices, faces))
        assert len(parts) > 1
        assert trimesh.Trimesh(ours.vertices, ours.faces).area == pytest.approx(max(p.area for p in parts))
        most = largest_component(Mesh(vertices, faces), "faces")
        assert len(most.faces) == max(len(p.faces) for p in parts)


def test_vertices_at_one_place_connect_and_a_shared_corner_does_not():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0.0]])
    soup = Mesh(square, np.array([[0, 1, 2], [3, 4, 5]]))
    assert len(largest_component(soup).faces) == 2
    bow = Mesh(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [-1, 0, 0], [-2, -1, 0.0]]), np.array([[0, 1, 2], [0, 3, 4]]))
    assert len(largest_component(bow).faces) == 1


def test_an_edge_of_three_faces_connects_none():
    fan = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0.0]])
    three = Mesh(fan, np.array([[0, 1, 2], [0, 1, 3], [0, 1, 4]]))
    assert len(largest_component(three, "faces").faces) == 1
    two = Mesh(fan, three.faces[:2])
    assert len(largest_component(two, "faces").faces) == 2


def test_nothing_has_no_largest_component():
    with pytest.raises(ContractBroken, match="without faces"):
        largest_component(Mesh(np.ones((3, 3)), np.empty((0, 3), int)))
    with pytest.raises(NfbenchError, match="'volume'"):
        largest_component(ball(1, 1.0), by="volume")


@pytest.mark.parametrize("radius", [0, 1, 2, 5, 12])
def test_discs_agree_with_scikit_image_s_footprint(radius):
    mask = np.random.default_rng(radius).random((40, 61)) < 0.01
    wanted = ndimage.binary_dilation(mask, disk(radius))
    np.testing.assert_array_equal(dilate(mask, radius), wanted)
    np.testing.assert_array_equal(dilate(mask, radius, "disc"), wanted)


# rows of OpenCV's getStructuringElement(MORPH_ELLIPSE, (2 r + 1, 2 r + 1)), as its documentation and users print it
ELLIPSES = {1: [1, 3, 1], 2: [1, 5, 5, 5, 1], 3: [1, 5, 7, 7, 7, 5, 1], 4: [1, 7, 7, 9, 9, 9, 7, 7, 1]}


@pytest.mark.parametrize("radius", ELLIPSES)
def test_ellipses_are_those_of_opencv(radius):
    mask = np.zeros((21, 25), bool)
    mask[10, 12] = True
    grown = dilate(mask, radius, "ellipse")
    assert grown.sum(1)[10 - radius : 11 + radius].tolist() == ELLIPSES[radius]
    assert grown.sum() == sum(ELLIPSES[radius])
    np.testing.assert_array_equal(grown, grown[:, ::-1][:, :])


def test_growing_by_more_than_the_frame_and_by_more_than_a_byte():
    mask = np.zeros((5, 700), bool)
    mask[2, 0] = True
    assert dilate(mask, 300).sum(1).tolist() == [300, 300, 301, 300, 300]
    assert dilate(mask, 254).sum(1).tolist() == [254, 254, 255, 254, 254]
    assert dilate(mask, 255).sum(1).tolist() == [255, 255, 256, 255, 255]
    assert not dilate(np.zeros((5, 7), bool), 9).any()
    assert dilate(np.ones((5, 7), bool), 0).all()


def test_growths_that_are_none_are_refused():
    with pytest.raises(NfbenchError, match="-1 pixels"):
        dilate(np.ones((3, 3), bool), -1)
    with pytest.raises(NfbenchError, match="'square'"):
        dilate(np.ones((3, 3), bool), 1, "square")


def camera(eye=(0, 0, -10), size=(20, 16)):
    """One that sees the plane z = 0 at one pixel a unit, the origin in the corner between the middle pixels."""
    K = [[10, 0, size[0] / 2], [0, 10, size[1] / 2], [0, 0, 1]]
    return Cameras(look_at(eye, (0, 0, 0), (0, -1, 0))[None], np.array([K]), np.array([size]))


def points(*xyz):
    return Mesh(np.array(xyz, float), np.empty((0, 3), int))


def test_a_vertex_stays_where_the_grown_mask_has_its_pixel():
    mask = np.zeros((16, 20), bool)
    mask[8, 10] = True  # x and y from 0 to 1
    mesh = points([0.5, 0.5, 0], [0.01, 0.99, 0], [1.01, 0.5, 0], [2.99, 0.5, 0], [3.01, 0.5, 0], [0.5, -0.01, 0])
    kept = cull_by_masks(mesh, camera(), lambda i: mask, 0)
    assert kept.vertices.tolist() == mesh.vertices[:2].tolist()
    kept = cull_by_masks(mesh, camera(), lambda i: mask, 2)
    assert kept.vertices.tolist() == mesh.vertices[[0, 1, 2, 3, 5]].tolist()


def test_the_element_is_chosen():
    mask = np.zeros((16, 20), bool)
    mask[8, 10] = True
    corner = points([0.5, 0.5, 0], [2.5, 1.5, 0])
    assert len(cull_by_masks(corner, camera(), lambda i: mask, 2).vertices) == 1
    assert len(cull_by_masks(corner, camera(), lambda i: mask, 2, element="ellipse").vertices) == 2


def test_what_a_view_does_not_see_stays():
    empty = np.zeros((16, 20), bool)
    x, y, edge = 10, 8, 1e-3
    outside = [[-x - edge, 0, 0], [x + edge, 0, 0], [0, -y - edge, 0], [0, y + edge, 0], [0, 0, -11], [0, 0, -10]]
    inside = [[-x + edge, 0, 0], [x - edge, 0, 0], [0, -y + edge, 0], [0, y - edge, 0], [0, 0, -9.9]]
    kept = cull_by_masks(points(*outside, *inside), camera(), lambda i: empty, 3)
    assert kept.vertices.tolist() == outside


def test_every_view_has_a_say_and_masks_are_asked_for_in_turn():
    pair = [camera(), camera((0, 0, 10))]
    cameras = Cameras(*(np.concatenate([getattr(c, name) for c in pair]) for name in ("c2w", "K", "size")))
    left = np.zeros((16, 20), bool)
    left[:, :12] = True
    asked = []

    def masks(view):
        asked.append(view)
        return left

    mesh = points([-5, 0, 0], [0.5, 0.5, 0], [5, 0, 0])  # the second camera sees x the other way round
    assert cull_by_masks(mesh, cameras, masks, 0).vertices.tolist() == [[0.5, 0.5, 0]]
    assert asked == [0, 1]


def test_faces_go_with_any_of_their_vertices_and_vertices_stay_without_faces():
    mask = np.zeros((16, 20), bool)
    mask[:, 10:] = True
    vertices = np.array([[1, 0, 0], [2, 0, 0], [2, 1, 0], [-5, 0, 0], [3, 3, 0], [4, 4, 0.0]])
    mesh = Mesh(vertices, np.array([[0, 1, 2], [0, 1, 3], [4, 3, 0], [4, 2, 5]]))
    kept = cull_by_masks(mesh, camera(), lambda i: mask, 0)
    assert kept.vertices.tolist() == vertices[[0, 1, 2, 4, 5]].tolist()
    assert kept.faces.tolist() == [[0, 1, 2], [3, 2, 4]]
    lone = cull_by_masks(Mesh(vertices[[0, 3, 4]], np.array([[0, 1, 2]])), camera(), lambda i: mask, 0)
    assert (len(lone.vertices), len(lone.faces)) == (2, 0)


def test_masks_of_another_size_or_kind_and_meshes_outside_are_named():
    with pytest.raises(DataCorrupt, match="mask of view 0 is bool \\(20, 16\\), not bool \\(16, 20\\)"):
        cull_by_masks(points([0, 0, 0]), camera(), lambda i: np.ones((20, 16), bool), 1)
    with pytest.raises(DataCorrupt, match="view 0 is uint8"):
        cull_by_masks(points([0, 0, 0]), camera(), lambda i: np.ones((16, 20), np.uint8), 1)
    with pytest.raises(ContractBroken, match="No vertex"):
        cull_by_masks(points([0, 0, 0]), camera(), lambda i: np.zeros((16, 20), bool), 1)


def dtu_cameras(folder, count):
    """The cameras of NeuS' archive, K and pose from the products of the projection's left block."""
    archive = np.load(folder / "cameras_sphere.npz")
    c2w, K = [], []
    for i in range(count):
        P = (archive[f"world_mat_{i}"] @ archive[f"scale_mat_{i}"])[:3].astype(np.float64)
        lower = np.linalg.cholesky(np.linalg.inv(P[:, :3] @ P[:, :3].T))
        k = np.linalg.inv(lower.T)  # the upper triangular factor of M M^T
        R = lower.T @ P[:, :3]
        k /= k[2, 2]
        k[:2, 2] += 0.5  # centres of pixels are integers in the archive
        c2w.append(np.concatenate([R.T * np.sign(np.linalg.det(R)), -np.linalg.inv(P[:, :3]) @ P[:, 3:]], 1))
        K.append(k)
    return Cameras(np.array(c2w), np.array(K), np.tile([200, 150], (count, 1)))


def test_the_masks_of_dtu_leave_the_hull_and_cull_what_is_around_it(real_data):
    folder = real_data / "dtu_scan24_200x150"
    files = sorted((folder / "mask").glob("*.png"))
    cameras = dtu_cameras(folder, len(files))

    def mask(view):
        with Image.open(files[view]) as image:
            return np.asarray(image.convert("L")) > 127

    lattice = np.stack(np.meshgrid(*[np.linspace(-1, 1, 41)] * 3), -1).reshape(-1, 3)
    cloud = Mesh(lattice, np.empty((0, 3), int))
    hull = cull_by_masks(cloud, cameras, mask, 0).vertices
    grown = cull_by_masks(cloud, cameras, mask, 2).vertices
    assert 500 < len(hull) < len(grown) < 0.5 * len(lattice)
    assert {tuple(p) for p in hull} <= {tuple(p) for p in grown}
    # slowly, for points of the hull and around it: the pixel of each in each view
    archive = np.load(folder / "cameras_sphere.npz")
    everywhere = np.ones(len(lattice), bool)
    for view in range(len(files)):
        P = archive[f"world_mat_{view}"] @ archive[f"scale_mat_{view}"]
        image = np.c_[lattice, np.ones(len(lattice))] @ P[:3].T.astype(np.float64)
        xy = np.rint(image[:, :2] / image[:, 2:]).astype(int)
        framed = ((xy >= 0) & (xy < [200, 150])).all(1)
        everywhere[framed] &= mask(view)[xy[framed, 1], xy[framed, 0]]
    both = {tuple(p) for p in hull} & {tuple(p) for p in lattice[everywhere]}
    assert len(both) >= 0.99 * max(len(hull), everywhere.sum())  # but for points on the border of two pixels


def test_the_borders_of_a_frame_and_of_space_behind_it():
    cameras = Cameras(np.eye(4)[None, :3], [[[10, 0, 8], [0, 10, 6], [0, 0, 1]]], [[16, 12]])  # z = 10: moved by 8, 6
    nothing = np.zeros((12, 16), bool)
    refuted = [[-8, 0, 10], [0, -6, 10], [7.75, 5.75, 10], [0, 0, 1e-3]]
    unseen = [[8, 0, 10], [0, 6, 10], [-8.25, 0, 10], [0, -6.25, 10], [0, 0, -0.5], [0.1, 0.1, -0.25], [0, 0, 0]]
    kept = cull_by_masks(points(*refuted, *unseen), cameras, lambda i: nothing, 0)
    assert kept.vertices.tolist() == unseen
    for shape in [(11, 16), (12, 15), (13, 16), (12, 17)]:
        with pytest.raises(DataCorrupt, match="mask of view 0 is bool"):
            cull_by_masks(points(*unseen), cameras, lambda i, shape=shape: np.ones(shape, bool), 0)
