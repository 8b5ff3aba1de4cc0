"""What the loaders offer: formats and procedural tasks."""

from nfbench.harness.registry import FormatSpec

SPECS = (
    FormatSpec(
        "blender",
        "nfbench.loaders.blender",
        "NeRF-synthetic: transforms_{train,val,test}.json beside PNG images",
        "nerf-synthetic@1",
    ),
)
