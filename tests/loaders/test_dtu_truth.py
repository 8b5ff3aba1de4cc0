import numpy as np
import pytest
from scipy.io import savemat

from nfbench.harness.errors import DataCorrupt, DataMissing, Unsupported
from nfbench.harness.meshfile import write_ply
from nfbench.harness.scene import Mesh
from nfbench.loaders import matfile
from nfbench.loaders.dtu_truth import read_dtu_truth

XYZ = np.array([[1, 2, 30], [4, 5, 60], [7, 8, 90.0]])
BOX = np.array([[0.1, 0, 0], [20, 20, 100]])


def observed(**changes):
    mask = np.zeros((3, 4, 5), np.uint8)
    mask[1, 2, 3] = 1
    return {"ObsMask": mask, "BB": BOX, "Res": np.array([[10.0]]), "Margin": 10.0, **changes}


def write(root, scan=24, mask=None, plane=None, vertices=XYZ):
    (root / "ObsMask").mkdir(parents=True, exist_ok=True)
    (root / "Points" / "stl").mkdir(parents=True, exist_ok=True)
    savemat(root / "ObsMask" / f"ObsMask{scan}_10.mat", observed() if mask is None else mask, do_compression=True)
    savemat(
        root / "ObsMask" / f"Plane{scan}.mat", {"P": np.array([[0], [0], [1], [-40.0]])} if plane is None else plane
    )
    write_ply(root / "Points" / "stl" / f"stl{scan:03d}_total.ply", Mesh(vertices, np.empty((0, 3), int)))


@pytest.mark.parametrize("scan", [1, 24, 122])
def test_a_scan_is_read(tmp_path, scan):
    write(tmp_path, scan)
    points, volume = read_dtu_truth(tmp_path, scan)
    np.testing.assert_array_equal(points.xyz, XYZ)
    assert np.argwhere(volume.mask).tolist() == [[1, 2, 3]]
    assert volume.mask.shape == (3, 4, 5)
    assert volume.cell == 10
    assert volume.plane.tolist() == [0, 0, 1, -40]
    assert volume.box.dtype == np.float64
    np.testing.assert_array_equal(volume.box, BOX.astype(np.float32).astype(np.float64))
    assert volume.above(points.xyz).tolist() == [False, True, True]


@pytest.mark.parametrize("kind", [bool, np.float64, np.int16])
def test_masks_of_any_numbers(tmp_path, kind):
    write(tmp_path, mask=observed(ObsMask=observed()["ObsMask"].astype(kind)))
    assert read_dtu_truth(tmp_path, 24)[1].mask.sum() == 1


@pytest.mark.parametrize("name", ["ObsMask/ObsMask24_10.mat", "ObsMask/Plane24.mat", "Points/stl/stl024_total.ply"])
def test_a_file_that_is_not_there_is_named(tmp_path, name):
    write(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataMissing, match=name):
        read_dtu_truth(tmp_path, 24)


def test_object_arrays_are_refused(tmp_path):
    cell = np.empty((2, 2), object)
    cell[:] = "x"
    for changes in ({"ObsMask": cell}, {"BB": {"a": 1}}, {"Res": "ten"}):
        write(tmp_path, mask=observed(**changes))
        with pytest.raises(DataCorrupt, match=f"{next(iter(changes))} is (cell|struct|char), not an array of numbers"):
            read_dtu_truth(tmp_path, 24)
    write(tmp_path, mask=observed(BB=BOX * 1j))
    with pytest.raises(DataCorrupt, match="BB is an array of complex numbers"):
        read_dtu_truth(tmp_path, 24)
    incomplete = observed()
    del incomplete["Res"]
    write(tmp_path, mask=incomplete)
    with pytest.raises(DataCorrupt, match="Res is missing"):
        read_dtu_truth(tmp_path, 24)


def test_masks_beyond_all_sizes_are_refused_unread(tmp_path, monkeypatch):
    assert matfile.MOST == 2**30
    write(tmp_path)
    monkeypatch.setattr(matfile, "MOST", 60)
    read_dtu_truth(tmp_path, 24)
    monkeypatch.setattr(matfile, "MOST", 59)
    with pytest.raises(DataCorrupt, match="ObsMask declares 60 numbers"):
        read_dtu_truth(tmp_path, 24)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("mask", "plane", "word"),
    [
        (observed(Res=np.array([1.0, 2.0])), None, "Res has shape \\(1, 2\\)"),
        (None, {"P": np.ones((1, 3))}, "P \\(1, 3\\)"),
        (None, {"P": np.zeros((4, 1))}, "scan 24: ObservedVolume.plane"),
        (observed(BB=BOX[::-1]), None, "scan 24: ObservedVolume.box"),
        (observed(BB=BOX * 1e300), None, "scan 24: BB is"),
        (observed(BB=BOX * np.nan), None, "scan 24: BB is"),
        (observed(ObsMask=np.zeros((2, 2, 2))), None, "no voxel"),
        (observed(Res=-1.0), None, "cell"),
    ],
)
def test_values_that_make_no_volume_are_named(tmp_path, mask, plane, word):
    write(tmp_path, mask=mask, plane=plane)
    with pytest.raises(DataCorrupt, match=word):
        read_dtu_truth(tmp_path, 24)


def test_files_of_another_format_are_named(tmp_path):
    write(tmp_path)
    path = tmp_path / "ObsMask" / "ObsMask24_10.mat"
    whole = path.read_bytes()
    for damaged in (whole[:200], b"", b"what is this" * 20):
        path.write_bytes(damaged)
        with pytest.raises(DataCorrupt, match=r"ObsMask24_10.mat"):
            read_dtu_truth(tmp_path, 24)
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    path.write_bytes(header + b"\x89HDF\r\n\x1a\n" + bytes(512))
    with pytest.raises(Unsupported, match=r"7\.3"):
        read_dtu_truth(tmp_path, 24)


def test_a_scan_without_points_is_named(tmp_path):
    write(tmp_path, vertices=np.empty((0, 3)))
    with pytest.raises(DataCorrupt, match=r"stl024_total\.ply holds no points"):
        read_dtu_truth(tmp_path, 24)
