"""What the loaders offer: formats and procedural tasks."""

from nfbench.harness.registry import FormatSpec, TaskSpec

_MADE = "nfbench.loaders.procedural:task"

SPECS = (
    FormatSpec(
        "blender",
        "nfbench.loaders.blender",
        "NeRF-synthetic: transforms_{train,val,test}.json beside PNG images",
        "nerf-synthetic@1",
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
)
