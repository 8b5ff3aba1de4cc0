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
        "llff",
        "nfbench.loaders.llff",
        "LLFF: poses_bounds.npy beside images; every eighth image is for testing",
        "llff@1",
    ),
    FormatSpec(
        "colmap",
        "nfbench.loaders.colmap",
        "COLMAP: sparse/0 in text or binary beside images, as mip-NeRF 360; every eighth image is for testing",
        "mipnerf360@1",
    ),
    FormatSpec(
        "nerfstudio",
        "nfbench.loaders.nerfstudio",
        "nerfstudio: transforms.json with lenses, masks and depth frame by frame",
        "llff@1",
    ),
    FormatSpec(
        "idr",
        "nfbench.loaders.idr",
        "IDR, NeuS and VolSDF copies of DTU and BlendedMVS: image, mask and cameras.npz or cameras_sphere.npz",
        "idr-dtu@1",
    ),
    FormatSpec(
        "mvsnet",
        "nfbench.loaders.mvsnet",
        "BlendedMVS and MVSNet: blended_images, cams/*_cam.txt and rendered_depth_maps/*.pfm",
        "volsdf-dtu@1",
    ),
    FormatSpec(
        "nsvf", "nfbench.loaders.nsvf", "NSVF: bbox.txt, intrinsics.txt, rgb/{0,1,2}_*.png and pose/*.txt", "nsvf@1"
    ),
    FormatSpec(
        "srn",
        "nfbench.loaders.srn",
        "SRN ShapeNet cars and chairs: rgb/, pose/ and intrinsics.txt; OpenCV or OpenGL poses, told by silhouettes",
        "srn@1",
    ),
    FormatSpec(
        "nmr",
        "nfbench.loaders.nmr",
        "ShapeNet NMR as DVR and pixelNeRF use it: image/ and cameras.npz in [-1,1]",
        "pixelnerf-nmr@1",
    ),
    FormatSpec(
        "texture-fields",
        "nfbench.loaders.texture_fields",
        "Texture Fields: visualize/image and visualize/depth/cameras.npz",
        "nerf-synthetic@1",
    ),
    FormatSpec(
        "co3d", "nfbench.loaders.co3d", "CO3D v2 sequences: images/ beside frame_annotations.jgz", "nerf-synthetic@1"
    ),
    FormatSpec(
        "tanks",
        "nfbench.loaders.tanks",
        "Tanks and Temples' photographs with a log of camera poses, and the truth where it lies beside them",
        "tanks-and-temples@1",
    ),
    FormatSpec(
        "onet",
        "nfbench.loaders.onet",
        "ShapeNet of Occupancy Networks: points.npz, pointcloud.npz and *.lst",
        "onet-shapenet@1",
    ),
    FormatSpec(
        "convonet-rooms",
        "nfbench.loaders.convonet_rooms",
        "Synthetic rooms of ConvONet: rooms_04/ID/pointcloud and points_iou",
        "convonet@1",
    ),
    FormatSpec(
        "deepsdf",
        "nfbench.loaders.deepsdf",
        "DeepSDF: SdfSamples/*.npz, SurfaceSamples and NormalizationParameters",
        "deepsdf@1",
    ),
    FormatSpec("imnet", "nfbench.loaders.imnet", "IM-NET: hdf5 of voxels, points_64 and values_64", "imnet@1"),
    FormatSpec("binvox", "nfbench.loaders.binvox", "A folder of .binvox files", "imnet@1"),
    FormatSpec("ldif", "nfbench.loaders.ldif", "LDIF: uniform_points.sdf and nss_points.sdf of each shape", "ldif@1"),
    FormatSpec(
        "points2surf", "nfbench.loaders.points2surf", "Points2Surf: 04_pts, 03_meshes and 05_query_*", "points2surf@1"
    ),
    FormatSpec(
        "meshes", "nfbench.loaders.meshes", "A folder of meshes, normalised to a longest edge of 1", "onet-shapenet@1"
    ),
    FormatSpec("clouds", "nfbench.loaders.clouds", "A folder of point clouds: PLY, XYZ or NPY", "pytorch3d@1"),
    FormatSpec("siren-xyz", "nfbench.loaders.siren_xyz", "SIREN's point clouds with normals: .xyz", "pytorch3d@1"),
    FormatSpec(
        "dfaust", "nfbench.loaders.dfaust", "D-FAUST scans as IGR prepared them: .npy with normals", "pytorch3d@1"
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
    TaskSpec(
        "procedural-shapes/image-to-shape",
        _MADE,
        "A vessel from one image of 137x137 pixels; 32 with 8 images each to learn from, 8 to solve.",
        "onet-shapenet@1",
    ),
    TaskSpec(
        "procedural-shapes/voxels-to-shape",
        _MADE,
        "A vessel from 32x32x32 voxels; 32 to learn from, 8 to solve.",
        "onet-shapenet@1",
    ),
    TaskSpec(
        "procedural-cars/one-view",
        _MADE,
        "A car from one image of 64x64 pixels; 24 with 24 images each to learn from, 4 to solve.",
        "procedural@1",
    ),
    *dataset_specs(),
)
