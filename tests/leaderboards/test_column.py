import pytest

from nfbench.harness.record import Failure

ALL = {"psnr": 0.0, "ssim": 0.0, "lpips_vgg": 1.0, "iou": 0.0}
BOTH = {"protocol": "procedural@1", "penalties": ALL, "scenes": ("a", "b")}
FAILED = {"status": "failed", "error": Failure(type="E", message="no"), **BOTH}


@pytest.fixture
def lost(only):
    """Of a row: column to the runs that ought to have it and those that lost it."""

    def read(name):
        (row,) = [row for row in only().rows if row.name == name]
        return {column: (value.runs, value.runs_lost) for column, value in row.values.items()}

    return read


def test_columns_know_their_section(put, only):
    put("m", {"psnr": [20], "iou": [0.5]}, protocol="procedural@1")
    sections = {column.name: column.section for column in only().columns}
    assert (sections["psnr"], sections["lpips_vgg"], sections["iou"]) == ("image", "image", "surface")
    put("m", {"psnr": [20], "iou": [0.5]}, task="u", protocol="nobody@9")
    put("n", {"psnr": [20]}, task="u", protocol="nobody@9")
    assert [(c.name, c.section, c.better) for c in only("u").columns] == [
        ("iou", "surface", "higher"),
        ("psnr", "image", "higher"),
    ]


def test_good_runs_tell_what_a_failed_one_lost(put, lost):
    put("good", {"psnr": [20], "iou": [0.5]}, scene="a", **BOTH)
    put("good", {"psnr": [20]}, scene="b", **BOTH)  # b has no surface
    for scene in ("a", "b"):
        put("bad", scene=scene, **FAILED)
    assert lost("bad") == {"psnr": (2, 2), "iou": (1, 1)}
    assert lost("good") == {"psnr": (2, 0), "iou": (1, 0)}


def test_a_scene_that_no_run_tells_of_is_like_the_others(put, lost):
    put("good", {"psnr": [20], "iou": [0.5]}, scene="a", **BOTH)
    for scene in ("a", "b"):
        put("bad", scene=scene, **FAILED)
    assert lost("bad") == {"psnr": (2, 2), "iou": (2, 2)}
    assert lost("good") == {"psnr": (2, 1), "iou": (2, 1)}


def test_a_scene_that_no_run_tells_of_is_like_those_that_have_the_column(put, lost):
    told = {"protocol": "procedural@1", "penalties": ALL, "scenes": ("a", "b", "c")}
    put("good", {"psnr": [20], "iou": [0.5]}, scene="a", **told)
    put("good", {"psnr": [20]}, scene="b", **told)
    put("bad", scene="c", **FAILED | told)
    assert lost("bad")["iou"] == (2, 2)  # a and c


def test_a_method_without_surfaces_tells_nothing_of_them(put, lost):
    put("images", {"psnr": [20]}, scene="a", unsupported=["surface"], **BOTH)
    put("good", {"psnr": [20], "iou": [0.5]}, scene="b", **BOTH)
    for scene in ("a", "b"):
        put("bad", scene=scene, **FAILED)
    assert lost("bad") == {"psnr": (2, 2), "iou": (2, 2)}


def test_only_methods_without_surfaces(put, lost):
    put("images", {"psnr": [20]}, scene="a", unsupported=["surface"], **BOTH)
    put("bad", scene="a", **FAILED)
    assert lost("bad") == {"psnr": (2, 2)}


def test_where_every_run_failed_the_section_that_ranks_is_lost(put, lost):
    put("bad", scene="a", **FAILED)
    assert lost("bad") == {"psnr": (2, 2), "ssim": (2, 2), "lpips_vgg": (2, 2)}


def test_one_row_with_the_score_outweighs_one_without(put, lost):
    put("first", {"psnr": [20]}, scene="a", **BOTH)
    put("second", {"psnr": [20], "iou": [0.5]}, scene="a", **BOTH)
    put("third", {"psnr": [20]}, scene="a", **BOTH)
    put("third", {"psnr": [20]}, scene="b", **BOTH)
    put("bad", scene="a", **FAILED)
    assert lost("bad")["iou"] == (1, 1)


def test_a_paper_may_leave_columns_out(put, lost):
    put("paper", {"psnr": [20]}, scene="a", origin="paper", protocol="procedural@1", scenes=("a", "b"))
    put("good", {"psnr": [20], "ssim": [0.5]}, scene="b", **BOTH)
    put("bad", scene="a", **FAILED)
    assert lost("bad")["ssim"] == (2, 2)
    assert lost("paper") == {"psnr": (2, 1)}


def test_missing_weights_tell_nothing(put, lost):
    put("lacking", {"psnr": [20]}, scene="a", unmeasured={"lpips_vgg": "no weights"}, **BOTH)
    put("bad", scene="a", **FAILED)
    assert lost("bad") == {"psnr": (2, 2)}
    put("having", {"psnr": [20], "lpips_vgg": [0.1]}, scene="b", **BOTH)
    assert lost("bad") == {"psnr": (2, 2), "lpips_vgg": (2, 2)}


def test_a_surface_that_every_run_lost(put, lost):
    put("empty", {"psnr": [20]}, scene="a", failed={"mesh.ply": "no surface"}, **BOTH)
    put("bad", scene="a", **FAILED)
    assert lost("empty") == {"psnr": (2, 1), "iou": (2, 2)}
    assert lost("bad") == {"psnr": (2, 2), "iou": (2, 2)}
    put("other", {"psnr": [20]}, scene="b", unmeasured={"iou": "no query points"}, **BOTH)
    assert lost("bad") == {"psnr": (2, 2)}
