"""What the baselines offer. The names of the presets stand here too, so that listing imports no method."""

from nfbench.harness.registry import MethodSpec

_PRESETS = ("paper", "fast", "tiny")
_DEEPSDF = "Park et al., DeepSDF: Learning Continuous Signed Distance Functions for Shape Representation, CVPR 2019"
_ONET = "Mescheder et al., Occupancy Networks: Learning 3D Reconstruction in Function Space, CVPR 2019"

SPECS = (
    MethodSpec(
        "nerf",
        "nfbench.baselines.nerf:Nerf",
        "Neural radiance field: density and view-dependent colour of one scene from posed views.",
        needs=("views",),
        gives=("render", "value"),
        presets=("paper", "paper-llff", "fast", "tiny"),
        paper="Mildenhall et al., NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis, ECCV 2020",
    ),
    MethodSpec(
        "idr",
        "nfbench.baselines.idr:Idr",
        "Signed distance and surface colour of one object from posed views with masks.",
        needs=("views",),
        gives=("render", "value"),
        presets=_PRESETS,
        paper="Yariv et al., Multiview Neural Surface Reconstruction by Disentangling Geometry and Appearance, "
        "NeurIPS 2020",
    ),
    MethodSpec(
        "srn",
        "nfbench.baselines.srn:Srn",
        "A scene as a learned function, marched along rays, from few views and a prior over a category.",
        needs=("views",),
        gives=("render",),
        presets=_PRESETS,
        paper="Sitzmann et al., Scene Representation Networks: Continuous 3D-Structure-Aware Neural Scene "
        "Representations, NeurIPS 2019",
    ),
    MethodSpec(
        "deepsdf",
        "nfbench.baselines.deepsdf:DeepSdf",
        "Signed distance of a shape by the code that explains samples of it, from a prior over a category.",
        needs=("samples",),
        gives=("value",),
        presets=_PRESETS,
        paper=_DEEPSDF,
    ),
    MethodSpec(
        "deepsdf-single",
        "nfbench.baselines.deepsdf:DeepSdfShape",
        "Signed distance of one shape from samples of it, without a prior.",
        needs=("samples",),
        gives=("value",),
        presets=_PRESETS,
        paper=_DEEPSDF,
    ),
    MethodSpec(
        "occupancy-network",
        "nfbench.baselines.occupancy_network:OccupancyNetwork",
        "Occupancy probability anywhere in space, from a point cloud and a prior over a category.",
        needs=("cloud",),
        gives=("value",),
        presets=_PRESETS,
        paper=_ONET,
    ),
    MethodSpec(
        "occupancy-network-image",
        "nfbench.baselines.occupancy_network:OccupancyNetworkImage",
        "Occupancy probability anywhere in space, from one image and a prior over a category.",
        needs=("views",),
        gives=("value",),
        presets=_PRESETS,
        paper=_ONET,
    ),
    MethodSpec(
        "occupancy-network-voxels",
        "nfbench.baselines.occupancy_network:OccupancyNetworkVoxels",
        "Occupancy probability anywhere in space, from coarse voxels and a prior over a category.",
        needs=("voxels",),
        gives=("value",),
        presets=_PRESETS,
        paper=_ONET,
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
