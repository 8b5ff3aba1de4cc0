import json
import subprocess
import sys

import pytest

import nfbench.harness.protocol
from nfbench.harness import listing
from nfbench.harness.errors import NotFound
from nfbench.harness.metric import METRICS
from nfbench.harness.protocol import protocol
from nfbench.harness.registry import FormatSpec, ProtocolSpec, Registry, registry
from nfbench.harness.sampling_floor import shipped_floors


def rows(kind):
    return {row["name"]: row for row in json.loads(listing.text(kind, as_json=True))}


def test_a_protocol_is_told_with_all_its_choices():
    row = rows("protocols")["onet-shapenet@1"]
    read = protocol("onet-shapenet@1")
    assert list(row) == ["name", "summary", "source", "primary", "image", "surface", "floor", "columns"]
    assert (
        row["summary"].startswith("The longest edge of the shape's bounding box is 1. The surface")
        and row["image"] is None
    )
    assert (row["source"], row["primary"]) == (read.source, "iou")
    assert row["surface"] == json.loads(read.surface.model_dump_json(exclude={"columns"}))
    assert row["columns"]["fscore@r0.01"] == {
        "unit": "1",
        "better": "higher",
        "penalty": 0.0,
        "floor": shipped_floors()["onet-shapenet@1"]["columns"]["fscore@r0.01"],
        "factor": 1.0,
        "metric": "fscore",
        "radius": 0.01,
        "strict": False,
    }
    assert row["columns"]["chamfer_l1_mean"]["penalty"] == 3**0.5
    assert row["columns"]["chamfer_l1_mean"]["unit"] == "longest edge of the bounding box"


def test_the_floor_of_every_surface_column_is_told():
    for name, row in rows("protocols").items():
        read = protocol(name)
        assert (row["floor"] is None) == (row["surface"] is None) == (read.surface is None)
        surface = () if read.surface is None else read.surface.columns
        for column, told in row["columns"].items():
            if column in surface:
                assert (told["floor"]["mean"] is None) == (told["floor"]["reason"] is not None)
                assert told["floor"] == shipped_floors()[name]["columns"][column]
            else:
                assert told["floor"] is None
        if surface:
            about = {key: value for key, value in shipped_floors()[name].items() if key != "columns"}
            assert row["floor"] == about
    assert "columns" in shipped_floors()["onet-shapenet@1"], "the shipped ones are left as they are"


def test_views_and_background_are_told():
    found = rows("protocols")
    assert found["idr-dtu@1"]["image"] == {"views": "given", "background": [1.0, 1.0, 1.0], "quantisation": "round"}
    assert found["idr-dtu@1"]["columns"]["psnr_masked"]["masked"] is True
    assert found["llff@1"]["image"]["views"] == "hidden"


def test_a_window_is_told_only_where_it_is_a_choice():
    found = rows("protocols")
    same = {"unit": "1", "better": "higher", "penalty": 0.0, "floor": None, "masked": False, "metric": "ssim"}
    assert found["srn@1"]["columns"]["ssim"] == same | {"variant": "uniform7"}
    free = {"variant": "gaussian", "window": "gaussian", "size": 11, "sigma": 1.5, "covariance": "population"}
    assert found["nerf-synthetic@1"]["columns"]["ssim"] == same | free


def part(name):
    text = listing.text("protocols", as_json=False)
    assert text.startswith("protocols\n  atlasnet@1\n      2,500 points a side")
    lines = text.split(f"\n  {name}\n")[1].split("\n  ")
    end = next((i for i, line in enumerate(lines) if not line.startswith(" ")), len(lines))
    return " ".join(" ".join(lines[:end]).split())


def test_the_text_has_paragraph_source_columns_and_floor():
    told = part("pytorch3d@1")
    read = protocol("pytorch3d@1")
    floor = shipped_floors()["pytorch3d@1"]["columns"]["chamfer_sq_sum"]
    assert told.startswith(" ".join(read.summary.split()))
    assert f"source: {read.source} columns: chamfer_sq_sum [(scene unit)^2 (squared), lower is better], normal" in told
    assert told.endswith(
        f"ranks by: chamfer_sq_sum sampling floor: chamfer_sq_sum {floor['mean']:.5g} ± {floor['std']:.2g}; 5 seeds of "
        "10,000 against 10,000 points on a sphere of radius 0.5 [scene unit]"
    )


def test_where_the_ranking_column_has_no_floor_another_has_its_place():
    told = part("onet-shapenet@1")
    assert "sampling floor: iou has none (measured inside and outside" in told
    assert "scores 1); chamfer_l1_mean 0.0028014 ± " in told and told.count("±") == 1
    assert "sampling floor: psnr has none (of surfaces only); chamfer_l1_mean 0.0028" in part("procedural@1")
    assert "sampling floor" not in part("llff@1") and part("llff@1").endswith("ranks by: psnr")


def test_names_are_not_broken_at_their_hyphens():
    text = listing.text("protocols", as_json=False)
    assert all(len(line) <= 100 for line in text.splitlines())
    assert "onet-\n" not in text


def test_where_nothing_has_a_floor_the_reason_stands_alone():
    floor = {"shape": "sphere", "radius": 30.0, "unit": "mm", "points": None, "seeds": 5}
    columns = {"a": {"floor": {"mean": None, "std": None, "reason": "drawn by grid"}}}
    assert listing.floor_told({"floor": floor, "primary": "a", "columns": columns}) == "a has none (drawn by grid)"


MINE = """
name = "mine"
version = 1
primary = "a"
source = "me"
summary = "mine"
[surface]
resolution = 8
samples = 100
unit = "mm"
levels = { sdf = 0.0, occupancy = 0.5, density = 10.0 }
[surface.columns.a]
metric = "accuracy"
"""


def test_a_protocol_of_another_package_tells_how_its_floor_is_computed(tmp_path, monkeypatch):
    (tmp_path / "plugged").mkdir()
    (tmp_path / "plugged" / "__init__.py").write_text("")
    (tmp_path / "plugged" / "mine@1.toml").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    shelf = Registry(protocols={"mine@1": ProtocolSpec("mine@1", "plugged:mine@1.toml")})
    monkeypatch.setattr(listing, "registry", lambda: shelf)
    monkeypatch.setattr(nfbench.harness.protocol, "registry", lambda: shelf)
    how = "not shipped: nfbench.harness.sampling_floor.sampling_floor(protocol('mine@1')) computes it"
    (row,) = rows("protocols").values()
    assert row["floor"] == {"how": how}
    assert row["columns"]["a"]["floor"] is None and row["columns"]["a"]["penalty"] is None
    assert f"sampling floor: {how}" in " ".join(listing.text("protocols", as_json=False).split())


@pytest.mark.parametrize("as_json", [True, False])
def test_the_schema_is_json_and_the_published_file_is_what_is_printed(as_json):
    from nfbench.harness.sampling_floor import SHIPPED

    published = SHIPPED.with_name("schema.json").read_text()
    assert listing.text("schema", as_json) + "\n" == published, "nfbench list schema > harness/protocols/schema.json"
    assert json.loads(published)["$schema"].endswith("2020-12/schema") and json.loads(published)["title"] == "Protocol"


def test_the_schema_is_not_among_what_is_listed_by_name():
    everything = json.loads(listing.text("", as_json=True))
    kinds = ["methods", "tasks", "formats", "protocols", "datasets", "metrics"]
    assert list(everything) == kinds == list(listing.KINDS)
    assert all(row["name"] and row["summary"] for kind in everything.values() for row in kind)
    assert '"$schema"' not in listing.text("", as_json=False)


def test_each_kind_has_what_the_registry_has():
    for kind in ("methods", "tasks", "formats", "protocols", "datasets"):
        assert set(rows(kind)) == set(getattr(registry(), kind))
    assert set(rows("metrics")) == set(METRICS)
    assert rows("metrics")["psnr"]["high"] == "Infinity"


def test_methods_and_metrics_as_text():
    text = listing.text("", as_json=False)
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert heads == ["methods", "tasks", "formats", "protocols", "datasets", "metrics"]
    assert "\n\ntasks\n  " in text
    metrics = listing.text("metrics", as_json=False)
    assert metrics.startswith("metrics\n  psnr\n      10 log10(1 / mean squared error) of one image.\n      unit: dB\n")
    assert "      better: lower" in metrics and "sampling floor" not in metrics
    told = " ".join(listing.text("methods", as_json=False).split())
    assert (
        "needs: views gives: render, value presets: paper, paper-llff, fast, tiny paper: Mildenhall et al., NeRF: "
        in told
    )
    tasks = listing.text("tasks", as_json=False).splitlines()
    assert tasks[tasks.index("  procedural/knot") + 2] == "      protocol: procedural@1"


@pytest.mark.parametrize(("typed", "meant"), [("method", "methods"), ("shema", "schema"), ("protocol", "protocols")])
def test_an_unknown_kind_gives_the_nearest(typed, meant):
    with pytest.raises(NotFound, match=f"nothing called '{typed}'") as caught:
        listing.text(typed, as_json=False)
    assert meant in caught.value.hint


def test_what_a_format_gives_and_can_give_is_told(monkeypatch):
    shelf = {
        "two": FormatSpec("two", "nowhere.two", "One of two inputs.", "p@1", ("cloud",), ("views", "cloud")),
        "one": FormatSpec("one", "nowhere.one", "One input.", "p@1", ("views",)),
        "none": FormatSpec("none", "nowhere.none", "Truth alone.", "p@1"),
    }
    monkeypatch.setattr(listing, "registry", lambda: Registry(formats=shelf))
    found = rows("formats")
    assert (found["two"]["given"], found["two"]["inputs"]) == (["cloud"], ["cloud", "views"])
    assert (found["one"]["given"], found["one"]["inputs"]) == (["views"], ["views"])
    assert (found["none"]["given"], found["none"]["inputs"]) == ([], [])
    told = listing.text("formats", as_json=False)
    assert "      given: cloud\n      inputs: cloud, views\n" in told and told.count("given:") == 2


def test_listing_loads_nothing_heavy():
    heavy = ("torch", "numba", "scipy", "skimage", "trimesh", "pandas", "numpy")
    code = (
        "import sys; from nfbench.harness.listing import text; text('', True); text('', False); text('schema', True)\n"
        f"print([m for m in {heavy!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
