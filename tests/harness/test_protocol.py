import pytest

from nfbench.harness.column import AtRadius, Ssim
from nfbench.harness.errors import ContractBroken, NotFound
from nfbench.harness.metric import METRICS
from nfbench.harness.protocol import protocol, read_protocol
from nfbench.harness.registry import registry


def test_every_protocol_is_sound_and_says_where_it_comes_from():
    for name in registry().protocols:
        read = protocol(name)
        assert read.id == name and read.source and len(read.summary) > 100
        assert read.primary in read.columns()
        assert set(read.failure) == set(read.columns())
        for column in read.columns():
            assert read.unit(column)
            assert read.metric(column) is METRICS[read.columns()[column].metric]


def test_the_choices_of_nerf_synthetic():
    read = protocol("nerf-synthetic@1")
    assert read.image.background == (1, 1, 1)
    ssim = read.columns()["ssim"]
    assert ssim == Ssim(metric="ssim", size=11, sigma=1.5, covariance="population")
    assert list(read.columns()) == ["psnr", "ssim", "lpips_vgg", "lpips_alex"]
    assert protocol("nerf-synthetic-black@1").image.background == (0, 0, 0)


def test_the_choices_of_onet():
    read = protocol("onet-shapenet@1")
    assert read.surface.levels.occupancy == 0.2
    assert (read.surface.resolution, read.surface.samples) == (128, 100_000)
    assert read.unit("chamfer_l1_mean") == "longest edge of the bounding box"
    assert read.unit("iou") == "1"


# Points on the prediction, at most on a true cloud, cells, level of an occupancy, frame, metric of the ranking column.
SHAPES = {
    "onet-shapenet@1": (100_000, None, 128, 0.2, "scene", "iou"),
    "convonet@1": (100_000, None, 128, 0.2, "scene", "iou"),
    "dvr@1": (100_000, None, 256, 0.5, "scene", "chamfer_l1_mean"),
    "deepsdf@1": (30_000, None, 256, 0.5, "original", "chamfer_sq_sum"),
    "imnet@1": (100_000, None, 256, 0.5, "scene", "chamfer_sq_sum"),
    "ldif@1": (100_000, 100_000, 256, 0.5, "scene", "fscore"),
    "atlasnet@1": (2500, 2500, 128, 0.5, "scene", "chamfer_sq_sum"),
    "pytorch3d@1": (10_000, 10_000, 128, 0.5, "scene", "chamfer_sq_sum"),
    "points2surf@1": (10_000, 10_000, 256, 0.5, "scene", "chamfer_points_sum"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_choices_of_the_shape_protocols(name):
    read = protocol(name)
    part = read.surface
    choices = (part.samples, part.truth_samples, part.resolution, part.levels.occupancy, part.frame)
    assert (*choices, read.metric(read.primary).name) == SHAPES[name]
    assert read.image is None and part.levels.sdf == 0
    assert all(column.factor == 1 for column in part.columns.values()), "no built-in protocol multiplies"


def test_thresholds_on_squared_distances_become_radii():
    atlasnet, ldif = protocol("atlasnet@1").columns(), protocol("ldif@1").columns()
    assert atlasnet["fscore@r0.03162"] == AtRadius(metric="fscore", radius=0.001**0.5, strict=True)
    assert ldif["fscore@r0.01"] == AtRadius(metric="fscore", radius=1e-4**0.5, strict=False)
    assert ldif["fscore@r0.01414"].radius == pytest.approx(2e-4**0.5, rel=1e-14)
    for columns in (protocol(name).columns() for name in SHAPES):
        for name, column in columns.items():
            if "@r" in name:
                assert column.radius == pytest.approx(float(name.partition("@r")[2]), rel=2e-4)


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ('metric = "chamfer_l1_sum"', "mm"),
        ('metric = "hausdorff"\nfactor = 10', "mm, times 10"),
        ('metric = "chamfer_sq_sum"', "mm^2 (squared)"),
        ('metric = "chamfer_sq_half"\nfactor = 1000.0', "mm^2 (squared), times 1000"),
        ('metric = "chamfer_points_sum"', "mm, summed over points"),
        ('metric = "fscore"\nradius = 0.01\nfactor = 100', "percent"),
        ('metric = "normal_cosine_loss"', "1"),
        ('metric = "iou"\nfactor = 1000', "1, times 1000"),
    ],
)
def test_units_say_square_sum_and_factor(tmp_path, column, unit):
    path = tmp_path / "mine.toml"
    path.write_text(SURFACE + column)
    assert read_protocol(path).unit("c") == unit


def test_the_square_of_a_phrase_stands_in_brackets():
    assert protocol("ldif@1").unit("chamfer_sq_sum") == "(longest edge of the bounding box)^2 (squared)"


def test_without_a_version_the_newest():
    assert protocol("nerf-synthetic").id == "nerf-synthetic@1"


def test_no_metric_is_called_just_chamfer():
    assert "chamfer" not in METRICS


def test_an_unknown_protocol_gives_the_nearest():
    with pytest.raises(NotFound) as caught:
        protocol("nerf-syntetic@1")
    assert "nerf-synthetic@1" in caught.value.hint


SOUND = """
name = "mine"
version = 1
primary = "psnr"
source = "me"
summary = "mine"
[image]
background = [1.0, 1.0, 1.0]
[image.columns.psnr]
metric = "psnr"
"""


SURFACE = """
name = "mine"
version = 1
primary = "c"
source = "me"
summary = "mine"
[surface]
resolution = 32
samples = 100
unit = "mm"
levels = { sdf = 0.0, occupancy = 0.5, density = 10.0 }
[surface.columns.c]
"""


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (SOUND.replace("background", "backgroud"), "image.backgroud", "background"),
        (SOUND.replace('metric = "psnr"', 'metric = "psnrr"'), "psnrr", ""),
        (SOUND.replace('primary = "psnr"', 'primary = "ssim"'), "primary 'ssim'", ""),
        (SOUND.replace("version = 1", 'version = "one"'), "version", ""),
        (SOUND.split("[image]")[0], "no columns", "section"),
        ("not toml at all", "mine.toml", ""),
        (SOUND + "[failure]\npsnrr = 0.0", "psnr has no penalty", "[failure] psnr"),
        (SOUND + "[failure]\npsnr = 0.0\nsim = 0.0", "failure.sim", "psnr"),
        (SURFACE + 'metric = "iou"\n[failure]\nc = 1.5', "failure.c = 1.5", ""),
        (SURFACE.replace("samples = 100", "") + 'metric = "iou"', "needs samples", ""),
        (SURFACE.replace("samples", "spacing = 0.2\nsamples") + 'metric = "iou"', "has no spacing", ""),
        (SURFACE.replace("samples = 100", 'drawing = "grid"') + 'metric = "iou"', "needs spacing", ""),
        (SURFACE.replace("samples", 'within = "crop"\nsamples') + 'metric = "iou"', "frame", ""),
        (SURFACE.replace("samples", "cutoff = 20.0\nsamples") + 'metric = "iou"', "cutoff", ""),
        (SURFACE + 'metric = "chamfer"', "chamfer_sq_sum", ""),
        (SURFACE + 'metric = "fscore"\nradius = 0.1\nstrictly = true', "strictly", "strict"),
        (SURFACE + 'metric = "chamfer_sq_sum"\nradius = 0.1', "radius", ""),
        (SURFACE + 'metric = "chamfer_sq_sum"\nfactor = 0', "factor", ""),
        (SURFACE + 'metric = "mesh_accuracy"\npart = 1.5', "part", ""),
        (SURFACE.replace("samples", 'frame = "world"\nsamples') + 'metric = "iou"', "frame", ""),
        (SURFACE.replace("samples", "truth_samples = 0\nsamples") + 'metric = "iou"', "truth_samples", ""),
    ],
)
def test_a_wrong_protocol_is_refused_with_the_key(tmp_path, text, message, hint):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(ContractBroken) as caught:
        read_protocol(path)
    assert message in caught.value.message and hint in caught.value.hint


def test_a_sound_file_reads(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SOUND)
    assert read_protocol(path).id == "mine@1"
