"""Exactly one format claims each dataset: what each writes, and the real samples."""

import numpy as np
import pytest

from nfbench.harness.scene import Given, Mesh, Points, Scene
from nfbench.loaders import (
    binvox,
    blender,
    clouds,
    convonet_rooms,
    deepsdf,
    dfaust,
    imnet,
    ldif,
    meshes,
    onet,
    points2surf,
    siren_xyz,
)

SHAPES = (binvox, clouds, convonet_rooms, deepsdf, dfaust, imnet, ldif, meshes, onet, points2surf, siren_xyz)
XYZ = np.random.default_rng(0).uniform(-0.5, 0.5, (27, 3)).astype(np.float32)
NORMAL = XYZ / np.linalg.norm(XYZ, axis=1, keepdims=True)
BOX = [[-1] * 3, [1] * 3]


def claims(folder):
    return [module.__name__.rpartition(".")[2] for module in SHAPES if module.scenes(folder)]


@pytest.mark.parametrize("module", SHAPES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_what_a_format_writes_it_alone_claims(tmp_path, module):
    samples = Points(XYZ, value=np.where(np.arange(27) % 2, 0.1, -0.1), kind="sdf")
    mesh = Mesh(np.eye(4, 3), np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]))
    surface = mesh if module in (meshes, binvox, imnet) else Points(XYZ, normal=NORMAL)
    given = Given(cloud=Points(XYZ), samples=samples)
    scenes = [Scene(name, given, BOX, surface=surface) for name in ("04379243-a", "04379243-b")]
    module.write(tmp_path, scenes, **({"edge": 4} if module in (binvox, imnet) else {}))
    assert claims(tmp_path) == [module.__name__.rpartition(".")[2]]
    assert len(module.scenes(tmp_path)) == 2
    assert not blender.detect(tmp_path)
    names = [module.name(path) for path in module.scenes(tmp_path)]
    assert [module.read(path).name for path in module.scenes(tmp_path)] == names
    for path in module.scenes(tmp_path):
        assert module.detect(path)
        assert module.read(path).given.kinds() == module.given


REAL = {
    "deepsdf_samples": ["deepsdf"],
    "deepsdf_samples/meshes": ["meshes"],
    "deepsdf_splits": [],
    "dtu_scan24_200x150": [],
    "image_metric_fixtures": [],
    "imnet_samplechair": ["imnet"],
    "imnet_samplechair/binvox": ["binvox"],
    "llff_fern": [],
    "meshes": ["meshes"],
    "nerf_synthetic_chair_200": [],
    "pixelnerf_viewlist": [],
    "points2surf_abc": ["points2surf"],
    "points2surf_abc/03_meshes": ["meshes"],
    "points2surf_abc/04_pts": ["clouds"],
    "shapenet_dvr_nmr": [],
    "shapenet_dvr_nmr/ShapeNet": [],
    "shapenet_dvr_nmr/ShapeNet/04379243": [],
    "srn_format_cars": [],
    "srn_format_cars/opencv_pose": [],
    "texture_fields_car": [],
}


@pytest.mark.parametrize("folder", REAL)
def test_real_samples_have_one_format_at_most(real_data, folder):
    assert claims(real_data / folder) == REAL[folder]
