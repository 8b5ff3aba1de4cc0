"""What the baselines offer. The names of the presets stand here too, so that listing imports no method."""

from nfbench.harness.registry import MethodSpec

SPECS = (
    MethodSpec(
        "nerf",
        "nfbench.baselines.nerf:Nerf",
        "Neural radiance field: density and view-dependent colour of one scene from posed views.",
        needs=("views",),
        gives=("render", "value"),
        presets=("paper", "tiny"),
        paper="Mildenhall et al., NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis, ECCV 2020",
    ),
    MethodSpec(
        "occupancy-network",
        "nfbench.baselines.occupancy_network:OccupancyNetwork",
        "Occupancy probability anywhere in space, from a point cloud and a prior over a category.",
        needs=("cloud",),
        gives=("value",),
        presets=("paper", "tiny"),
        paper="Mescheder et al., Occupancy Networks: Learning 3D Reconstruction in Function Space, CVPR 2019",
    ),
    MethodSpec(
        "mean-colour",
        "nfbench.baselines.floor:MeanColour",
        "The mean colour of all given pixels, everywhere.",
        needs=("views",),
        gives=("render",),
        origin="floor",
    ),
    MethodSpec(
        "nearest-view",
        "nfbench.baselines.floor:NearestView",
        "The given view whose camera is nearest.",
        needs=("views",),
        gives=("render",),
        origin="floor",
    ),
    MethodSpec(
        "bounding-box",
        "nfbench.baselines.floor:BoundingBox",
        "The bounding box of what is given.",
        gives=("mesh",),
        origin="floor",
    ),
    MethodSpec(
        "visual-hull",
        "nfbench.baselines.visual_hull:VisualHull",
        "What all silhouettes leave over, coloured from the nearest view.",
        needs=("views",),
        gives=("render", "value"),
        origin="floor",
    ),
)
