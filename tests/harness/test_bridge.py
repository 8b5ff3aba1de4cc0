import json

import numpy as np
import pytest
import torch

from nfbench.harness import surface
from nfbench.harness.bridge import clouds, meshes, single
from nfbench.harness.errors import ContractBroken, DataCorrupt, NfbenchError
from nfbench.harness.mesh import sample
from nfbench.harness.meshfile import read_mesh
from nfbench.harness.protocol import protocol
from nfbench.harness.scene import Mesh, Points


class Meshes:
    """The methods of pytorch3d.structures.Meshes that are asked for, over lists of tensors."""

    def __init__(self, verts, faces):
        self._verts, self._faces = verts, faces

    def verts_list(self):
        return self._verts

    def faces_list(self):
        return self._faces


class Pointclouds:
    """Those of pytorch3d.structures.Pointclouds."""

    def __init__(self, points, normals=None):
        self._points, self._normals = points, normals

    def points_list(self):
        return self._points

    def normals_list(self):
        return self._normals


TRIANGLE = [[0.0, 0, 0], [1, 0, 0], [0, 2, 0]]
FACE = torch.tensor([[0, 1, 2]])


def random_clouds(*counts, seed=0):
    generator = torch.Generator().manual_seed(seed)
    normals = [torch.randn(n, 3, generator=generator) for n in counts]
    return Pointclouds(
        [torch.randn(n, 3, generator=generator) for n in counts], [n / n.norm(dim=1, keepdim=True) for n in normals]
    )


def chamfer(x, y, point_reduction="mean"):
    """What pytorch3d.loss.chamfer_distance is documented to give for norm 2, from full matrices, in float64."""
    losses, cosines = [], []
    normals = zip(x.normals_list(), y.normals_list(), strict=True)
    for p, t, (np_, nt) in zip(x.points_list(), y.points_list(), normals, strict=True):
        square = torch.cdist(p.double(), t.double()) ** 2
        forth, back = square.min(1), square.min(0)
        if point_reduction == "max":
            losses.append(max(forth.values.max(), back.values.max()))
            continue
        losses.append(forth.values.mean() + back.values.mean())
        ways = ((np_, nt, forth.indices), (nt, np_, back.indices))
        alike = [(a.double() * b.double()[at]).sum(1).abs() for a, b, at in ways]
        cosines.append(sum((1 - each).mean() for each in alike))
    return float(sum(losses) / len(losses)), float(sum(cosines) / len(cosines)) if cosines else None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_meshes_of_any_tensor(dtype):
    verts = torch.tensor(TRIANGLE, dtype=dtype, requires_grad=True)
    first, second = meshes(Meshes([verts, verts * 2], [FACE, FACE.int()]))
    assert isinstance(first, Mesh)
    np.testing.assert_array_equal(first.vertices, TRIANGLE)
    np.testing.assert_array_equal(second.vertices, np.array(TRIANGLE) * 2)
    np.testing.assert_array_equal([first.faces, second.faces], [[[0, 1, 2]]] * 2)
    assert verts.requires_grad


def test_the_mesh_is_a_copy_in_double():
    verts = torch.tensor(TRIANGLE, dtype=torch.float64) + 1e-12
    (mesh,) = meshes(Meshes([verts], [FACE]))
    np.testing.assert_array_equal(mesh.vertices, verts.numpy())
    verts += 1
    np.testing.assert_allclose(mesh.vertices, TRIANGLE, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_clouds_of_any_tensor(dtype):
    points = torch.tensor(TRIANGLE, dtype=dtype, requires_grad=True)
    bare, none = clouds(Pointclouds([points, points[:0]]))
    assert isinstance(bare, Points)
    np.testing.assert_array_equal(bare.xyz, TRIANGLE)
    assert bare.normal is None
    assert len(none) == 0
    (full,) = clouds(Pointclouds([points], [torch.eye(3, dtype=dtype)]))
    np.testing.assert_array_equal(full.normal, np.eye(3))


def test_arrays_serve_as_well():
    (mesh,) = meshes(Meshes([np.array(TRIANGLE)], [[[0, 1, 2]]]))
    np.testing.assert_array_equal(mesh.vertices, TRIANGLE)
    np.testing.assert_array_equal(mesh.faces, [[0, 1, 2]])


def test_empty_items_and_batches():
    assert meshes(Meshes([], [])) == clouds(Pointclouds([])) == []
    (mesh,) = meshes(Meshes([torch.empty(0, 3)], [torch.empty(0, 3, dtype=torch.int64)]))
    assert len(mesh.vertices) == len(mesh.faces) == 0
    with pytest.raises(ContractBroken, match="predicted surface is empty"):
        surface.chamfer_sq_sum(Meshes([torch.empty(0, 3)], [torch.empty(0, 3)]), random_clouds(5))


def test_damaged_items_are_named():
    good, broken = torch.tensor(TRIANGLE), torch.tensor([[0, 0, float("nan")]])
    with pytest.raises(DataCorrupt, match=r"Mesh 1 of the batch: .*vertex 3"):
        meshes(Meshes([good, good], [FACE, FACE + 1]))
    with pytest.raises(DataCorrupt, match=r"Mesh 0 of the batch: .*NaN"):
        meshes(Meshes([broken], [FACE * 0]))
    with pytest.raises(DataCorrupt, match=r"Cloud 1 of the batch: .*NaN"):
        clouds(Pointclouds([good, broken]))
    with pytest.raises(DataCorrupt, match=r"Cloud 0 of the batch: .*normal"):
        clouds(Pointclouds([good], [broken]))


def test_lists_that_do_not_match():
    with pytest.raises(ContractBroken, match="1 lists of vertices and 2 of faces"):
        meshes(Meshes([torch.tensor(TRIANGLE)], [FACE, FACE]))
    with pytest.raises(ContractBroken, match="1 lists of points and 0 of normals"):
        clouds(Pointclouds([torch.tensor(TRIANGLE)], []))


def test_what_is_no_batch():
    with pytest.raises(ContractBroken, match="A Pointclouds is no batch of meshes"):
        meshes(Pointclouds([]))
    with pytest.raises(ContractBroken, match="A Meshes is no batch of clouds"):
        clouds(Meshes([], []))
    with pytest.raises(ContractBroken, match="A ndarray is no surface"):
        surface.hausdorff(np.zeros((4, 3)), random_clouds(4))


def test_single():
    points, mesh = Points(np.eye(3)), Mesh(np.eye(3), np.array([[0, 1, 2]]))
    assert single(points) is points
    assert single(mesh) is mesh
    assert isinstance(single(random_clouds(4)), Points)
    assert isinstance(single(Meshes([torch.eye(3)], [FACE])), Mesh)
    for batch, says in [
        (random_clouds(4, 5), "2 clouds"),
        (Pointclouds([]), "0 clouds"),
        (Meshes([torch.eye(3)] * 3, [FACE] * 3), "3 meshes"),
    ]:
        with pytest.raises(NfbenchError, match=says) as caught:
            single(batch)
        assert f"bridge.{says[2:]}(batch)" in caught.value.hint


def test_metrics_take_batches_of_one():
    x, y = random_clouds(300, seed=1), random_clouds(400, seed=2)
    loss, normals = chamfer(x, y)
    assert surface.chamfer_sq_sum(x, y) == pytest.approx(loss, rel=1e-6)
    assert surface.normal_cosine_loss(x, y) == pytest.approx(normals, rel=1e-6)
    assert surface.hausdorff(x, y) ** 2 == pytest.approx(chamfer(x, y, "max")[0], rel=1e-6)
    assert surface.chamfer_sq_sum(clouds(x)[0], y) == surface.chamfer_sq_sum(x, clouds(y)[0])


def test_meshes_are_sampled_like_any_other():
    batch = Meshes([torch.tensor(TRIANGLE)], [FACE])
    mesh, truth = meshes(batch)[0], random_clouds(50)
    assert surface.accuracy(batch, truth, count=200, seed=3) == surface.accuracy(sample(mesh, 200, 3), truth)


def test_the_mean_over_pairs_is_the_mean_of_a_batch():
    x, y = random_clouds(30, 200, 5, seed=3), random_clouds(40, 10, 300, seed=4)
    pairs = list(zip(clouds(x), clouds(y), strict=True))
    loss, normals = chamfer(x, y)
    assert np.mean([surface.chamfer_sq_sum(p, t) for p, t in pairs]) == pytest.approx(loss, rel=1e-6)
    assert np.mean([surface.normal_cosine_loss(p, t) for p, t in pairs]) == pytest.approx(normals, rel=1e-6)


def test_points_straight_above():
    grid = torch.cartesian_prod(torch.arange(5.0), torch.arange(5.0))
    flat = torch.cat([grid, torch.zeros(25, 1)], 1)
    up = torch.tensor([[0, 0, 1.0]]).expand(25, 3)
    x, y = Pointclouds([flat], [up]), Pointclouds([flat + torch.tensor([0, 0, 0.25])], [-up])
    assert chamfer(x, y) == (2 * 0.25**2, 0)
    assert surface.chamfer_sq_sum(x, y) == 2 * 0.25**2
    assert surface.normal_cosine_loss(x, y) == 0


@pytest.mark.parametrize("name", ["spot", "bunny", "fandisk"])
@pytest.mark.parametrize("pair", ["wobble", "scale103"])
def test_the_protocol_gives_what_pytorch3d_gave(real_data, name, pair):
    expected = json.loads((real_data.parent / "reference" / "expected_geometry.json").read_text())["meshes"][name]
    mesh = read_mesh(real_data / expected["file"])
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    truth = Mesh((mesh.vertices - (low + high) / 2) / (high - low).max(), mesh.faces)
    vertices = {
        "wobble": truth.vertices + 0.01 * np.sin(20 * truth.vertices[:, [1, 2, 0]]),
        "scale103": truth.vertices * 1.03,
    }[pair]
    drawn = [sample(Mesh(vertices, mesh.faces), 30_000, 8000), sample(truth, 30_000, 5000)]
    batches = [Pointclouds([torch.tensor(c.xyz)], [torch.tensor(c.normal)]) for c in drawn]
    found = surface.correspond(*batches)
    given = {key: value["values"][0] for key, value in expected["pairs"][pair]["sampled"]["pytorch3d"].items()}
    columns = protocol("pytorch3d@1").surface.columns
    names = {"chamfer_sq_sum": "chamfer(norm=2)", "normal_cosine_loss": "normals(abs_cosine=True)"}
    assert set(columns) == set(names)
    for column, key in names.items():
        assert columns[column].factor == 1
        assert getattr(found, columns[column].metric)() == pytest.approx(given[key], rel=1e-5)
    assert found.hausdorff() ** 2 == pytest.approx(given["point_reduction=max(norm=2)"], rel=1e-5)
    assert np.mean(found.to_truth**2) == pytest.approx(given["single_directional pred->gt(norm=2)"], rel=1e-5)
    still = surface.correspond(*(Pointclouds([torch.tensor(v)]) for v in (vertices, truth.vertices)))
    exact = expected["pairs"][pair]["vertex_clouds_deterministic"]["pytorch3d_float32"]
    assert still.chamfer_sq_sum() == pytest.approx(exact["chamfer(norm=2)"], rel=1e-6)
    assert still.hausdorff() ** 2 == pytest.approx(exact["point_reduction=max(norm=2)"], rel=1e-6)
