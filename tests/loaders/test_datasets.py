"""The datasets that have names: facts that hang together, and how one is chosen."""

import json
import re

import pytest

from nfbench.harness import listing
from nfbench.harness.errors import NfbenchError, NotFound, Unsupported
from nfbench.harness.registry import DatasetSpec, Registry, registry, resolve
from nfbench.loaders.datasets import Dataset, Piece, dataset, dataset_specs, read_dataset, stem

NAMES = [spec.name for spec in dataset_specs()]
TABLE = {
    "title": "T",
    "summary": "S",
    "version": "1",
    "format": "blender",
    "splits": "none",
    "licence": "CC0",
    "citation": "Me",
    "page": "https://127.0.0.1",
}


@pytest.mark.parametrize("name", NAMES)
def test_facts_hang_together(name):
    found = dataset(name)
    assert found.name == name and re.fullmatch(r"[a-z0-9-]+", name)
    for text in (found.title, found.summary, found.version, found.splits, found.licence, found.citation, found.page):
        assert text and text == text.strip()
    assert found.page.startswith("https://") and found.pieces
    assert list(found.scenes) == sorted(set(found.scenes), key=list(found.scenes).index)
    for piece in found.pieces:
        assert all(url.startswith("https://") and "{" not in url and "drive.google" not in url for url in piece.urls)
        assert piece.name and piece.file and "/" not in piece.name + piece.file
        assert piece.sha256 is None or re.fullmatch("[0-9a-f]{64}", piece.sha256)
        assert set(piece.scenes) <= set(found.scenes) and bool(piece.urls) != bool(piece.get)
    held = {scene for piece in found.pieces for scene in piece.scenes}
    assert held == set(found.scenes), "each scene is in some piece"


def test_what_there_is():
    assert {"nerf-synthetic", "llff", "mipnerf360", "dtu", "dtu-truth", "shapenet-onet", "shapenet-srn"} <= set(NAMES)
    assert set(registry().datasets) == set(NAMES) and registry().problems == []
    spec = registry().datasets["nerf-synthetic"]
    assert spec.access == "open" and len(spec.scenes) == 8 and "lego CC BY-NC" in spec.licence
    assert (spec.version, spec.format) == ("1", "blender") and spec.splits.startswith("train 100")
    assert spec.citation.startswith("Mildenhall") and spec.page == "https://www.matthewtancik.com/nerf"
    assert registry().datasets["shapenet-onet"].access == "own archive"
    assert resolve(spec.target)(spec.name) == dataset("nerf-synthetic")


def test_addresses_are_made_of_scenes():
    lego = dataset("nerf-synthetic").fetched("lego")
    base = "https://huggingface.co/datasets/nerfbaselines/nerfbaselines-data/resolve/main"
    assert lego == (Piece("lego", "lego.zip", (f"{base}/blender/lego.zip",), ("lego",), "lego"),)
    (aspen,) = dataset("nerfstudio").fetched("aspen")
    assert aspen.file == "aspen.zip" and aspen.urls == (f"{base}/nerfstudio/aspen.zip?download=true",)
    assert len(dataset("nerf-synthetic").fetched()) == 8, "the authors' archive of all is no ninth"


def test_one_archive_for_many_scenes_is_fetched_once():
    assert [p.name for p in dataset("mipnerf360").fetched()] == ["360_v2", "360_extra_scenes"]
    (piece,) = dataset("mipnerf360").fetched("flowers")
    assert piece.name == "360_extra_scenes" and piece.into == ""
    split, scene = sorted(dataset("phototourism").fetched("taj-mahal"), key=lambda p: p.single, reverse=True)
    assert split.single == "taj-mahal/nerfw_split.tsv" and scene.inside == "taj_mahal/dense"


def test_what_cannot_be_fetched_says_how_it_is_got():
    with pytest.raises(Unsupported, match=r"shapenet-onet cannot be fetched") as caught:
        dataset("shapenet-onet").fetched()
    assert "register at https://shapenet.org" in caught.value.hint
    assert "nfbench download shapenet-onet --from FILE" in caught.value.hint
    assert "Its licence: The terms of ShapeNet" in caught.value.hint
    assert "https://github.com/autonomousvision/occupancy_networks" in caught.value.hint
    assert "drive.google.com" in dataset("seathru-nerf").how()


def test_unknown_names_give_the_nearest():
    with pytest.raises(NotFound, match=r"no dataset 'nerf-syntetic'") as caught:
        dataset("nerf-syntetic")
    assert caught.value.hint.startswith("Did you mean nerf-synthetic or")
    with pytest.raises(NotFound, match=r"nerf-synthetic has no scene 'logo'") as caught:
        dataset("nerf-synthetic").fetched("logo")
    assert caught.value.hint == "Did you mean lego?"
    with pytest.raises(NotFound) as caught:
        dataset("dtu").own("DTU.zip", "scan24")
    assert caught.value.hint == "It is fetched as a whole."


def test_the_users_own_file_is_told_by_its_name_or_by_the_scene():
    blender = dataset("nerf-synthetic")
    assert blender.own("nerf_synthetic.zip").sha256.startswith("f01fd1b4ab045b0d")
    assert blender.own("Lego.tar.gz").name == "lego" and blender.own("Lego.tar.gz").file == "Lego.tar.gz"
    assert blender.own("whatever.zip", "mic").name == "mic"
    assert blender.own("nerf_synthetic.zip", "mic").name == "nerf_synthetic"
    with pytest.raises(NotFound, match=r"other.zip is none of the files that nerf-synthetic comes in") as caught:
        blender.own("other.zip")
    assert "download nerf-synthetic/SCENE --from FILE" in caught.value.hint
    assert dataset("dtu").own("anything.tar").name == "DTU"
    assert dataset("dtu-truth").own("Points.zip").name == "Points"
    with pytest.raises(NotFound) as caught:
        dataset("dtu-truth").own("x.zip")
    assert caught.value.hint == "Known files: Points.zip, SampleSet.zip."
    assert [dataset("shapenet-srn").own(f"{s}.zip").name for s in ("cars_train", "cars_val")] == [
        "cars_train",
        "cars_val",
    ]


def test_terms_say_what_one_agrees_to():
    assert dataset("blendedmvs").terms().splitlines() == [
        "BlendedMVS, version 1",
        "  licence   CC BY 4.0",
        f"  cite      {dataset('blendedmvs').citation}",
        "  page      https://github.com/YoYo000/BlendedMVS",
    ]


def test_a_table_with_a_mistake_is_refused():
    row = {"name": "a", "urls": ["https://127.0.0.1/a%20b.zip"]}
    made = read_dataset("x", {**TABLE, "pieces": [row]})
    assert isinstance(made, Dataset) and made.pieces == (Piece("a", "a b.zip", ("https://127.0.0.1/a%20b.zip",)),)
    with pytest.raises(NfbenchError, match=r"x has two pieces of one name: a, a"):
        read_dataset("x", {**TABLE, "pieces": [row, row]})
    with pytest.raises(NfbenchError, match=r"nothing says how b is got"):
        read_dataset("x", {**TABLE, "pieces": [{"name": "b"}]})
    with pytest.raises(NfbenchError, match=r"x in datasets.toml: .*colour"):
        read_dataset("x", {**TABLE, "colour": "red", "pieces": [row]})
    with pytest.raises(NfbenchError, match=r"x in datasets.toml: .*colour"):
        read_dataset("x", {**TABLE, "pieces": [{**row, "colour": "red"}]})


@pytest.mark.parametrize("end", [".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".txz", ".tar", ".zip", ".tsv"])
def test_stems(end):
    assert stem(f"a.b{end}") == "a.b" and stem(f"A{end.upper()}") == "A" and stem(end) == end and stem("a") == "a"


def test_another_package_offers_a_dataset():
    shelf = Registry()
    shelf.add(DatasetSpec("mine", "a:b", "Mine.", "CC0"), "me")
    shelf.add(DatasetSpec("mine", "c:d", "Mine.", "CC0"), "you")
    assert shelf.datasets["mine"].target == "a:b" and shelf.problems == ["you offers 'mine', which a:b has already."]


def test_they_are_listed():
    rows = json.loads(listing.text("datasets", as_json=True))
    assert [row["name"] for row in rows] == NAMES and rows[0]["scenes"][4] == "lego" and rows[0]["access"] == "open"
    told = " ".join(listing.text("datasets", as_json=False).split())
    assert "nerf-synthetic Eight objects" in told and "scenes: chair, drums," in told and "access: own archive" in told
    assert "licence: CC BY 4.0 format: blendedmvs splits: lists" in told
