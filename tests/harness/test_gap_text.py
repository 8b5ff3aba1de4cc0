import json
import re

import numpy as np
import pytest

from nfbench.harness.image_scores import truth_image
from nfbench.harness.png import read_png, write_png
from nfbench.harness.probe import ball
from nfbench.loaders import blender


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Predictions and a small scene in Blender format."""
    made = ball(tmp_path_factory.mktemp("ball"))
    target = tmp_path_factory.mktemp("data") / "ball"
    blender.write(target, {"train": made.given.views, "test": made.hidden})
    predictions = tmp_path_factory.mktemp("predictions")
    for index, name in enumerate(made.hidden.names):
        noise = np.random.default_rng(index).normal(0, 3 + 5 * index, (24, 24, 3))
        image = np.clip(np.rint(truth_image(made.hidden, index, (1, 1, 1)) + noise), 0, 255)
        write_png(predictions / f"{name}.png", image.astype(np.uint8))
    return predictions, target


@pytest.fixture(scope="module")
def pooled(folders):
    """The PSNR of the mean squared error."""
    predictions, target = folders
    from nfbench.harness.dataset import task

    views = task(str(target)).test[0].open().hidden
    errors = [
        np.square((read_png(predictions / f"{n}.png").astype(float) - truth_image(views, i, (1, 1, 1))) / 255).mean()
        for i, n in enumerate(views.names)
    ]
    return float(-10 * np.log10(np.mean(errors)))


def test_the_table_is_short_narrow_and_says_what_differs(nfbench, folders, pooled):
    code, out, err = nfbench("explain-gap", *folders, "--reported", f"psnr={pooled:.4f}", "--top", 3, "--quiet")
    lines = out.splitlines()
    assert code == 0 and err == ""
    assert lines[0] == "blender/ball against nerf-synthetic@1"
    assert lines[2].startswith("images: ") and lines[2].endswith(" conventions of psnr")
    assert lines[3].split()[:4] == ["1", "off", "0.00", "psnr"] and f"{pooled:.6g}" in lines[3]
    assert lines[4] == "      mean: PSNR of the mean squared error"
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines if " off " in line] == ["1", "2", "3", "own"]
    out = " ".join(out.split())
    assert "the protocol's own convention, what nfbench score prints" in out
    assert "does not prove that it was meant" in out and "Not tried: float predictions" in out
    assert re.search(r" [1-3] of 62 rows agree within the digits", out), out


def test_json_has_every_convention(nfbench, folders, pooled):
    arguments = ("explain-gap", *folders, "--reported", f"psnr={pooled!r},ssim=.9", "--top", 2, "--json")
    code, out, err = nfbench(*arguments)
    data = json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert code == 0 and err == ""
    assert data["task"] == "blender/ball" and data["protocol"] == "nerf-synthetic@1"
    (section,) = data["sections"].values()
    assert set(section) == {"explained", "agreeing", "combinations", "rows", "own", "conventions", "left_out"}
    assert len(section["rows"]) == 2 and section["combinations"] > 100
    assert section["own"]["own"] is True and section["own"]["changes"] == []
    score = json.loads(nfbench("score", *folders, "--json")[1])["scores"]
    for name in ("psnr", "ssim"):
        assert section["own"]["numbers"][name]["value"] == score[name]["mean"], "what nfbench score prints"
        assert len(section["conventions"][name]) > 50
        assert {"value", "reported", "choices", "distance", "own"} <= set(section["conventions"][name][0])


def test_the_own_convention_and_nothing_at_all(nfbench, folders):
    score = json.loads(nfbench("score", *folders, "--json")[1])["scores"]["psnr"]["mean"]
    code, out, _ = nfbench("explain-gap", *folders, "--reported", f"psnr={score!r}")
    assert code == 0 and "nerf-synthetic@1 itself comes nearest" in out
    assert out.count("the protocol's own convention") == 1
    code, out, _ = nfbench("explain-gap", *folders, "--reported", "psnr=90.00")
    assert code == 0 and "Nothing here explains the gap: the nearest row is" in out and "agree within" not in out


def test_the_protocol_and_the_sub_task_can_be_named(nfbench, folders):
    data = json.loads(
        nfbench(
            "explain-gap", *folders, "--reported", "psnr=30", "--json", "--protocol", "nerf-synthetic-black@1",
            "--test-every", 2,
        )[1]
    )  # fmt: skip
    assert data["protocol"] == "nerf-synthetic-black@1" and data["task"] == "blender/ball+every2"
    own = data["sections"]["image"]["own"]["numbers"]["psnr"]["choices"]
    assert own["background"] == "black"


def test_identical_images_are_infinitely_good(nfbench, folders, tmp_path):
    from nfbench.harness.dataset import task

    views = task(str(folders[1])).test[0].open().hidden
    for index, name in enumerate(views.names):
        write_png(tmp_path / f"{name}.png", truth_image(views, index, (1, 1, 1)))
    code, out, _ = nfbench("explain-gap", tmp_path, folders[1], "--reported", "psnr=48", "--json")
    section = json.loads(out)["sections"]["image"]
    assert code == 0 and section["own"]["numbers"]["psnr"]["value"] == "Infinity"
    assert nfbench("explain-gap", tmp_path, folders[1], "--reported", "psnr=48")[0] == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--reported", "psrn=30"), ("psrn", "psnr")),
        (("--reported", "psnr"), ("name=value",)),
        (("--reported", "cd=1"), ("cd is about surfaces", "nerf-synthetic@1", "--protocol")),
        (("--reported", "ms_ssim=.9"), ("ms_ssim cannot be measured", "--reported")),
        (("--reported", "psnr=30", "--lpips-weights", "nowhere.pth"), ("nowhere.pth",)),
        (("--reported", "psnr=30", "--protocol", "nerf"), ("nerf-synthetic@1",)),
        (("--reported", "psnr=30", "--top", "0"), ("--top",)),
        (("--reported", "psnr=30", "--seeds", "0"), ("--seeds",)),
        ((), ("--reported",)),
    ],
)
def test_what_the_user_can_mend_is_one_message_and_exit_2(nfbench, folders, options, words):
    code, out, err = nfbench("explain-gap", *folders, *options)
    assert code == 2 and out == "" and "Traceback" not in err
    for word in words:
        assert word in err


def test_missing_predictions_are_named(nfbench, folders, tmp_path):
    code, _, err = nfbench("explain-gap", tmp_path, folders[1], "--reported", "psnr=30")
    assert code == 2 and "3 of 3" in err and "v_0.png" in err
