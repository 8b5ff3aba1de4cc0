"""The encoders of Occupancy Networks: a point cloud, an image or voxels to the code of a shape.

Mescheder et al., CVPR 2019, supplementary material, and the released code; He et al., "Deep Residual Learning for Image
Recognition", CVPR 2016, for the trunk of the image encoder, whose parameters have torchvision's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfbench.harness.official import mapped, read_official

IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of sRGB in [0,1], torchvision's
_STRIDES = 16  # what the voxel encoder divides an edge by

# ----------------------------------------------------------------------------------------------------- point clouds


class ResidualBlock(nn.Module):
    """Two fully connected layers with ReLU before each, added to a linear shortcut."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.fc_0 = nn.Linear(features, out)
        self.fc_1 = nn.Linear(out, out)
        self.shortcut = nn.Linear(features, out, bias=False)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        """(B,N,out) from features (B,N,F) of the points and features (B,1,F) that all points of a cloud share.

        The shared part goes through its columns of the weights once a cloud rather than once a point.
        """
        (first, first_shared), (straight, straight_shared) = (
            torch.split(fc.weight, [x.shape[-1], pooled.shape[-1]], dim=1) for fc in (self.fc_0, self.shortcut)
        )
        inner = functional.linear(functional.relu(x), first)
        inner += functional.linear(functional.relu(pooled), first_shared, self.fc_0.bias)
        out = functional.linear(x, straight)
        out += functional.linear(pooled, straight_shared, self.fc_1.bias)
        out += functional.linear(inner.relu_(), self.fc_1.weight)
        return out

    def of_points(self, cloud: Tensor, embedding: nn.Linear) -> Tensor:
        """(B,N,out) from points (B,N,3) whose features are `embedding` of them.

        The shortcut of a linear map is one linear map from three coordinates.
        """
        inner = functional.relu(self.fc_0(functional.relu(embedding(cloud))))
        bias = torch.mv(self.shortcut.weight, embedding.bias) + self.fc_1.bias
        straight = functional.linear(cloud, torch.mm(self.shortcut.weight, embedding.weight), bias)
        return straight + functional.linear(inner, self.fc_1.weight)


class PointEncoder(nn.Module):
    """Residual PointNet (the released `pointnet_resnet`): a cloud (B,N,3) to a code (B,code).

    Every block but the first sees, beside each point's features, their maximum over the cloud. So the order of the
    points makes no difference, nor do points given twice.
    """

    def __init__(self, code: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.fc_pos = nn.Linear(3, 2 * hidden)
        self.blocks = nn.ModuleList(ResidualBlock(2 * hidden, hidden) for _ in range(blocks))
        self.fc_c = nn.Linear(hidden, code)

    def forward(self, cloud: Tensor) -> Tensor:
        """Codes (B,code) of clouds (B,N,3)."""
        first, *others = self.blocks
        assert isinstance(first, ResidualBlock)  # for the type checker, which sees plain modules
        features = first.of_points(cloud, self.fc_pos)  # (B,N,hidden)
        pooled = features.amax(1, keepdim=True)
        for block in others:
            features = block(features, pooled)
            pooled = features.amax(1, keepdim=True)
        return self.fc_c(functional.relu(pooled[:, 0]))  # type: ignore[no-any-return]


# ----------------------------------------------------------------------------------------------------------- images


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, added to the input or to its projection."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        """(B,out,H/stride,W/stride) from (B,channels,H,W)."""
        straight = x if self.downsample is None else self.downsample(x)
        inner = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        return functional.relu(self.bn2(self.conv2(inner)) + straight, inplace=True)


class ResNet18(nn.Module):
    """The trunk of ResNet-18 to its pooled features (B,8 width); `width` is 64 in the paper."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(BasicBlock(width, width, 1), BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width, 1))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width, 1))
        self.layer4 = nn.Sequential(BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(B,8 width) from normalised images (B,3,H,W)."""
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
        return x.mean((2, 3))


class ImageEncoder(nn.Module):
    """ResNet-18 and a linear layer (the released `resnet18`): an image to a code."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, code: int, width: int) -> None:
        super().__init__()
        self.features = ResNet18(width)
        self.fc = nn.Linear(8 * width, code)
        for name, values in (("mean", IMAGENET_MEAN), ("deviation", IMAGENET_DEVIATION)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64)[:, None, None], persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Codes (B,code) of images (B,3,H,W) sRGB, floats in [0,1] or uint8."""
        kind = self.fc.weight.dtype
        if image.dtype == torch.uint8:
            image = image.to(kind) / 255
        normal = (image - self.mean.to(kind)) / self.deviation.to(kind)
        return self.fc(self.features(normal.contiguous(memory_format=torch.channels_last)))  # type: ignore[no-any-return]


def read_trunk(file: Path) -> dict[str, Tensor]:
    """Weights of torchvision's resnet18, for `ResNet18(64).load_state_dict`, without the classifier.

    Args:
        file: torchvision's state dict, .pth or .safetensors. Nothing in it is unpickled but tensors.

    Raises:
        DataMissing: no such file.
        DataCorrupt: it cannot be read, or holds something else; what is missing, unknown or of another shape is named.
    """
    state = read_official(file)
    again = "Give the state dict of torchvision's resnet18, as .pth or .safetensors."
    found = {name: value for name, value in state.items() if name not in ("fc.weight", "fc.bias")}
    return matched(found, ResNet18(64).state_dict(), str(file), again)


def matched(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], whose: str, hint: str) -> dict[str, Tensor]:
    """The tensors `found`, all of them wanted and none missing but counters of batches; each of the shape wanted.

    Raises:
        DataCorrupt: it is not so; names and shapes are told.
    """
    counters = {name: tensor for name, tensor in wanted.items() if name.endswith("num_batches_tracked")}
    names = {name: name for name in wanted if name in found or name not in counters}  # no use at a fixed momentum
    shapes = {name: tensor.shape for name, tensor in wanted.items()}
    return counters | mapped(found, names, shapes, whose=whose, hint=hint)


# ----------------------------------------------------------------------------------------------------------- voxels


class VoxelEncoder(nn.Module):
    """3D convolutions, four of five with stride 2, and a linear layer (the released `voxel_simple`): voxels to a code.

    The paper has 32 voxels along an edge and a width of 32.
    """

    def __init__(self, code: int, width: int, voxels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv3d(1, width, 3, padding=1)
        self.conv_0 = nn.Conv3d(width, 2 * width, 3, padding=1, stride=2)
        self.conv_1 = nn.Conv3d(2 * width, 4 * width, 3, padding=1, stride=2)
        self.conv_2 = nn.Conv3d(4 * width, 8 * width, 3, padding=1, stride=2)
        self.conv_3 = nn.Conv3d(8 * width, 16 * width, 3, padding=1, stride=2)
        self.fc = nn.Linear(16 * width * (-(-voxels // _STRIDES)) ** 3, code)

    def forward(self, filled: Tensor) -> Tensor:
        """Codes (B,code) of voxels (B,R,R,R), bool or numbers."""
        x = self.conv_in(filled[:, None].to(self.fc.weight.dtype))
        for layer in (self.conv_0, self.conv_1, self.conv_2, self.conv_3):
            x = layer(functional.relu(x))
        return self.fc(functional.relu(x.flatten(1)))  # type: ignore[no-any-return]
