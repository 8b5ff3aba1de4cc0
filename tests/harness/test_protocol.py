import pytest

from nfbench.harness.errors import ContractBroken, NotFound
from nfbench.harness.metric import METRICS
from nfbench.harness.protocol import Ssim, protocol, read_protocol
from nfbench.harness.registry import registry


def test_every_protocol_is_sound_and_says_where_it_comes_from():
    for name in registry().protocols:
        read = protocol(name)
        assert read.id == name and read.source and len(read.summary) > 100
        assert read.primary in read.columns()
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


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        (SOUND.replace("background", "backgroud"), "image.backgroud", "background"),
        (SOUND.replace('metric = "psnr"', 'metric = "psnrr"'), "psnrr", ""),
        (SOUND.replace('primary = "psnr"', 'primary = "ssim"'), "primary 'ssim'", ""),
        (SOUND.replace("version = 1", 'version = "one"'), "version", ""),
        (SOUND.split("[image]")[0], "no columns", "section"),
        ("not toml at all", "mine.toml", ""),
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
