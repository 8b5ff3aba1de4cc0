import json
import math
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

import nfbench.harness.protocol
from nfbench.harness.column import AtRadius, Lpips, Psnr, Ssim
from nfbench.harness.errors import ContractBroken, NotFound
from nfbench.harness.metric import METRICS
from nfbench.harness.protocol import Protocol, protocol, read_protocol
from nfbench.harness.registry import registry

FOLDER = Path(nfbench.harness.protocol.__file__).parent / "protocols"
BUILT_IN = sorted(path.stem for path in FOLDER.glob("*.toml"))


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


WHITE, BLACK = (1, 1, 1), (0, 0, 0)
PSNR = {"psnr": Psnr(metric="psnr")}
TF = {"ssim": Ssim(metric="ssim", variant="tf")}
UNIFORM = {"ssim": Ssim(metric="ssim", variant="uniform7")}
VGG = {"lpips_vgg": Lpips(metric="lpips", net="vgg", version="0.1")}
ALEX = {"lpips_alex": Lpips(metric="lpips", net="alex", version="0.1")}

# Which views, over what, columns, and what the paragraph must say of what the protocol file cannot.
VIEWS = {
    "llff@1": ("hidden", BLACK, PSNR | TF | VGG, ("task's split", "0, 8, 16", "truncates")),
    "mipnerf360@1": ("hidden", BLACK, PSNR | TF | VGG, ("task's split", "0, 8, 16", "images_4", "images_2", "dm_pix")),
    "nsvf@1": ("hidden", WHITE, PSNR | UNIFORM | ALEX, ("task's split", "float renders", "truncates")),
    "srn@1": ("hidden", WHITE, PSNR | UNIFORM, ("task's split", "float renders", "251 views")),
    "pixelnerf-srn@1": ("hidden", WHITE, PSNR | UNIFORM | VGG, ("task's split", "truncates", "64 and 104")),
    "pixelnerf-nmr@1": ("hidden", WHITE, PSNR | UNIFORM | VGG, ("task's split", "truncates", "src_dvr.txt", "8,762")),
    "idr-dtu@1": (
        "given",
        WHITE,
        {"psnr_masked": Psnr(metric="psnr", masked=True)},
        ("trained on", "mask", "float renders", "volsdf-dtu"),
    ),
    "volsdf-dtu@1": ("given", BLACK, PSNR, ("trained on", "whole image", "float renders", "idr-dtu")),
}


@pytest.mark.parametrize("name", VIEWS)
def test_the_choices_of_the_view_protocols(name):
    views, background, columns, words = VIEWS[name]
    read = protocol(name)
    assert (read.image.views, read.image.background, read.image.columns) == (views, background, columns)
    assert list(read.columns()) == list(columns) and read.primary == next(iter(columns)) and read.surface is None
    told = " ".join(read.summary.split())
    assert all(word in told for word in words)
    assert "rounded to 8 bit" in told and "read back" in told


def test_only_the_papers_that_do_so_measure_training_views():
    given = {n for n in BUILT_IN if (image := protocol(n).image) is not None and image.views == "given"}
    assert given == {"idr-dtu@1", "volsdf-dtu@1"}


CLEANING = {
    "dtu-largest-component@1": (None, "disc", "area"),
    "dtu-mask-dilate-12@1": (12, "disc", None),
    "dtu-mask-dilate-50@1": (50, "ellipse", "faces"),
}


@pytest.mark.parametrize("name", CLEANING)
def test_the_choices_of_dtu(name):
    part = protocol(name).surface
    assert (part.cleaning.dilation, part.cleaning.element, part.cleaning.component) == CLEANING[name]
    assert (part.drawing, part.spacing, part.within, part.cutoff, part.frame) == (
        "grid",
        0.2,
        "observed",
        20,
        "original",
    )
    assert (part.unit, part.resolution, part.levels.sdf) == ("mm", 512, 0)
    assert protocol(name).failure == {"chamfer_l1_mean": 20, "accuracy": 20, "completeness": 20}
    assert list(part.columns) == ["chamfer_l1_mean", "accuracy", "completeness"]
    assert protocol(name).primary == "chamfer_l1_mean"


def test_the_choices_of_tanks_and_temples():
    part = protocol("tanks-and-temples@1").surface
    assert (part.drawing, part.within, part.frame, part.unit, part.cleaning) == (
        "vertices",
        "crop",
        "original",
        "m",
        None,
    )
    for name, column in part.columns.items():
        assert column == AtRadius(metric=name, radius="tolerance", strict=True)
    assert protocol("tanks-and-temples@1").failure == {"fscore": 0, "precision": 0, "recall": 0}


PENALTY = {
    "psnr": 0.0,
    "ssim": 0.0,
    "lpips": 1.0,
    "hausdorff": 3**0.5,
    "normal_cosine_loss": 2.0,
    "mesh_accuracy": 3**0.5,
}
PENALTY |= dict.fromkeys(("accuracy", "completeness", "chamfer_l1_mean"), 3**0.5) | {"chamfer_sq_sum": 6.0}
PENALTY |= {"chamfer_points_sum": 20_000 * 3**0.5}
PENALTY |= dict.fromkeys(("iou", "normal_consistency", "fscore", "precision", "recall", "mesh_completion"), 0.0)


@pytest.mark.parametrize(
    "name",
    [
        *VIEWS,
        "nerf-synthetic@1",
        "nerf-synthetic-black@1",
        "procedural@1",
        "onet-shapenet@1",
        "convonet@1",
        "dvr@1",
        "deepsdf@1",
        "imnet@1",
        "ldif@1",
        "atlasnet@1",
        "pytorch3d@1",
        "points2surf@1",
    ],
)
def test_what_a_lost_item_counts_as(name):
    read = protocol(name)
    assert list(read.failure) == list(read.columns())
    for column, penalty in read.failure.items():
        assert math.isclose(penalty, PENALTY[read.metric(column).name], rel_tol=1e-14), column


# Points on the prediction, at most on a true cloud, cells, level of an occupancy, frame, metric of the ranking column.
SHAPES = {
    "onet-shapenet@1": (100_000, None, 128, 0.2, "scene", "iou"),
    "convonet@1": (100_000, None, 128, 0.2, "scene", "iou"),
    "dvr@1": (100_000, None, 256, 0.5, "scene", "chamfer_l1_mean"),
    "deepsdf@1": (30_000, None, 256, 0.5, "original", "chamfer_sq_sum"),
    "imnet@1": (100_000, None, 256, 0.5, "scene", "chamfer_sq_sum"),
    "ldif@1": (100_000, 100_000, 256, 0.5, "original", "fscore"),
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
        ('metric = "hausdorff"\nfactor = 0.5', "mm, times 0.5"),
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
    versions = {}
    for name, _, version in (name.partition("@") for name in registry().protocols):
        versions.setdefault(name, []).append(int(version))
    for name, known in versions.items():
        assert protocol(name).id == f"{name}@{max(known)}"


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


CLEANED = SURFACE + 'metric = "hausdorff"\n[surface.cleaning]\nelement = "ellipse"\ndilation = 12'


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
        (SOUND + "maskd = true", "image.columns.psnr.psnr.maskd", "masked"),
        (SOUND.replace('"psnr"\n', '"ssim"\nvarient = "tf"\n'), "ssim.varient", "variant"),
        (SOUND.replace('metric = "psnr"\n', 'metric = "lpips"\nnett = "vgg"\n'), "lpips.nett", "net"),
        (SOUND + "[image.colums]", "image.colums", "columns"),
        (SOUND + "[failures]\npsnr = 0.0", "failures", "failure"),
        (SOUND + "[failure]\npsnr = 0.0\npsnrr = 0.0", "failure.psnrr", "psnr"),
        (SURFACE.replace("0.0, occ", "0.0, ocupancy = 0.2, occ") + 'metric = "iou"', "levels.ocupancy", "occupancy"),
        (CLEANED.replace("dilation", "dilatoin"), "surface.cleaning.dilatoin", "dilation"),
        (CLEANED.replace("ellipse", "elipse"), "surface.cleaning.element", ""),
        (SOUND + '[image.columns.s]\nmetric = "ssim"\nvariant = "uniform7"\nsize = 9', "uniform7 has a window", ""),
        (CLEANED.replace("12", "-1"), "surface.cleaning.dilation", ""),
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


def test_only_unknown_keys_have_a_nearest_one(tmp_path):
    path = tmp_path / "mine.toml"
    for text in (SOUND.replace("version = 1", 'version = "one"'), SOUND.replace('source = "me"', "")):
        path.write_text(text)
        with pytest.raises(ContractBroken) as caught:
            read_protocol(path)
        assert caught.value.hint == ""


def test_a_sound_file_reads(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(SOUND)
    assert read_protocol(path).id == "mine@1"


def test_a_line_for_editors_may_stand_first(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("#:schema ./schema.json\n" + CLEANED)
    assert read_protocol(path).surface.cleaning.model_dump() == {
        "dilation": 12,
        "element": "ellipse",
        "component": None,
    }


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_files_name_the_schema_beside_them(name):
    assert (FOLDER / f"{name}.toml").read_text().startswith("#:schema ./schema.json\n")
    assert f"{name}.toml" in registry().protocols[name].target


SCHEMA = json.loads((FOLDER / "schema.json").read_text())
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
ONLY_TOLD = {"title", "description", "default", "discriminator", "$defs", "$schema"}


def fits(value, schema):
    """Whether a value is one that the JSON Schema allows; of the keywords, those that the published one has."""
    return all(keyword in ONLY_TOLD or allows(value, keyword, schema) for keyword in schema)


def allows(value, keyword, schema):
    wanted = schema[keyword]
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match keyword:
        case "type":
            kinds = {"number": number, "integer": number and value == int(value)}
            return kinds[wanted] if wanted in kinds else isinstance(value, TYPES[wanted])
        case "$ref":
            return fits(value, SCHEMA["$defs"][wanted.rpartition("/")[2]])
        case "properties":
            return all(fits(value[key], part) for key, part in wanted.items() if key in value)
        case "required":
            return all(key in value for key in wanted)
        case "additionalProperties":
            rest = set(value) - set(schema.get("properties", ()))
            return not rest if wanted is False else wanted is True or all(fits(value[key], wanted) for key in rest)
        case "anyOf":
            return any(fits(value, part) for part in wanted)
        case "oneOf":
            return sum(fits(value, part) for part in wanted) == 1
        case "prefixItems":
            return all(fits(item, part) for item, part in zip(value, wanted, strict=False))
        case "const":
            return value == wanted
        case "enum":
            return value in wanted
    compare = {
        "minimum": lambda: value >= wanted,
        "maximum": lambda: value <= wanted,
        "exclusiveMinimum": lambda: not number or value > wanted,
        "minItems": lambda: len(value) >= wanted,
        "maxItems": lambda: len(value) <= wanted,
    }
    return compare[keyword]()


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_file_fits_the_published_schema(name):
    assert fits(tomllib.loads((FOLDER / f"{name}.toml").read_text()), SCHEMA)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("background = [1.0, 1.0, 1.0]", "background = [1.0, 1.0]"),
        ("background = [1.0, 1.0, 1.0]", "background = [1.0, 1.0, 1.0]\nviews = 'all'"),
        ('metric = "psnr"', 'metric = "chamfer_l1_mean"'),
        ('metric = "psnr"', 'metric = "psnr"\nmaskd = true'),
        ("version = 1", "version = 'one'"),
        ('source = "me"', ""),
    ],
)
def test_the_published_schema_refuses_what_the_reader_refuses(tmp_path, there, instead):
    assert fits(tomllib.loads(SOUND), SCHEMA)
    wrong = SOUND.replace(there, instead)
    assert wrong != SOUND and not fits(tomllib.loads(wrong), SCHEMA)
    path = tmp_path / "mine.toml"
    path.write_text(wrong)
    with pytest.raises(ContractBroken):
        read_protocol(path)


def test_the_published_schema_is_that_of_the_code():
    assert {"$schema": "https://json-schema.org/draft/2020-12/schema", **Protocol.model_json_schema()} == SCHEMA


IOU, SSIM = SURFACE + 'metric = "iou"\n', SOUND.replace('metric = "psnr"', 'metric = "ssim"')


@pytest.mark.parametrize(
    ("text", "sound", "wrong"),
    [
        (IOU + "[failure]\nc = ", ("0.0", "1.0"), ("-0.001", "1.001", "nan")),
        (IOU + "factor = 100\n[failure]\nc = ", ("0.0", "100.0"), ("-0.1", "100.1")),
        (SSIM + "[failure]\npsnr = ", ("-1.0", "1.0"), ("-1.001", "1.001")),
        (SOUND + "[failure]\npsnr = ", ("-inf", "0.0", "inf"), ("nan",)),
    ],
)
def test_a_penalty_is_a_value_that_the_metric_can_have(tmp_path, text, sound, wrong):
    path = tmp_path / "mine.toml"
    for penalty in sound:
        path.write_text(text + penalty)
        assert list(read_protocol(path).failure.values()) == [float(penalty)]
    for penalty in wrong:
        path.write_text(text + penalty)
        with pytest.raises(ContractBroken, match="lies between"):
            read_protocol(path)


@pytest.mark.parametrize("factor", ["inf", "nan", "0.0", "-1.0"])
def test_a_factor_is_a_number_above_0(tmp_path, factor):
    path = tmp_path / "mine.toml"
    path.write_text(IOU + f"factor = {factor}")
    with pytest.raises(ContractBroken, match=r"surface\.columns\.c\.iou\.factor"):
        read_protocol(path)


def test_a_protocol_that_was_read_does_not_change():
    read = protocol("onet-shapenet@1")
    for part, name in ((read, "version"), (read.surface, "seed"), (next(iter(read.columns().values())), "factor")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, 2)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ("samples = 100", ""),
        ('samples = 100\ndrawing = "area"', ""),
        ("", "drawing by area needs samples"),
        ('samples = 100\ndrawing = "vertices"', "drawing by vertices has no samples"),
        ('drawing = "vertices"', ""),
        ('drawing = "vertices"\nspacing = 0.2', "drawing by vertices has no spacing"),
        ('drawing = "grid"', "drawing by grid needs spacing"),
        ('drawing = "grid"\nspacing = 0.2', ""),
        ('drawing = "grid"\nspacing = 0.0', "spacing"),
        ('samples = 1\nwithin = "crop"', "within crop is told in the dataset's coordinates: frame must be original"),
        ('samples = 1\nwithin = "crop"\nframe = "original"', ""),
        ('samples = 1\nframe = "original"', ""),
        ('samples = 1\nwithin = "crop"\nframe = "original"\ncutoff = 1.0', "observed needs a cutoff"),
        ('samples = 1\nwithin = "observed"\nframe = "original"', "observed needs a cutoff"),
        ('samples = 1\nwithin = "observed"\nframe = "original"\ncutoff = 1.0', ""),
        ("samples = 0", "samples"),
    ],
)
def test_choices_that_belong_together(tmp_path, choices, message):
    path = tmp_path / "mine.toml"
    path.write_text(IOU.replace("samples = 100", choices))
    if not message:
        assert read_protocol(path).surface is not None
        return
    with pytest.raises(ContractBroken, match=message):
        read_protocol(path)
