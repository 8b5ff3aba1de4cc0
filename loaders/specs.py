"""What the loaders offer: formats, procedural tasks and datasets to download."""

from nfbench.harness.registry import FormatSpec, TaskSpec
from nfbench.loaders.datasets import dataset_specs

_MADE = "nfbench.loaders.procedural:task"

SPECS = (
    FormatSpec(
        "blender",
        "nfbench.loaders.blender",
        "NeRF-synthetic: transforms_{train,val,test}.json beside PNG images",
        "nerf-synthetic@1",
    ),
    FormatSpec(
        "dtu-truth",
        "nfbench.loaders.dtu_truth",
        "DTU's scans to judge meshes by: Points/stl/stl024_total.ply beside ObsMask/*.mat",
        "dtu-largest-component@1",
    ),
    FormatSpec(
        "tanks-truth",
        "nfbench.loaders.tanks_truth",
        "Tanks and Temples' scans to judge clouds by: Ignatius/Ignatius.ply, .json and _trans.txt",
        "tanks-and-temples@1",
    ),
    TaskSpec("procedural/knot", _MADE, "Views of a trefoil knot: thin, curved, seen through itself.", "procedural@1"),
    TaskSpec("procedural/vase", _MADE, "Views of a hollow vase: an inside that few views see.", "procedural@1"),
    TaskSpec("procedural/gear", _MADE, "Views of a gear with a hole: flat faces and tight edges.", "procedural@1"),
    TaskSpec("procedural/torus", _MADE, "Views of a torus: smooth and simple.", "procedural@1"),
    TaskSpec(
        "procedural-shapes/points-to-shape",
        _MADE,
        "A vessel from 300 noisy points of its surface; 32 to learn from, 8 to solve.",
        "onet-shapenet@1",
    ),
    TaskSpec(
        "procedural-shapes/sdf-to-shape",
        _MADE,
        "A vessel from 50,000 points with exact signed distance; 32 to learn from, 8 to solve.",
        "onet-shapenet@1",
    ),
    *dataset_specs(),
)
