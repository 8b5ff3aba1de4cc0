"""The networks of Occupancy Networks for the three kinds of input, their settings, and the loss they learn with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.onet_decoder import Decoder
from nfbench.baselines.onet_encoders import ImageEncoder, PointEncoder, VoxelEncoder
from nfbench.harness.training import Precision


@dataclass(frozen=True)
class OccupancyConfig:
    """Settings that the three kinds of input share; the defaults are those of the released configurations.

    Attributes:
        code: length of the shape code.
        decoder_hidden: width of the decoder.
        decoder_blocks: residual blocks of the decoder.
        query_points: points per shape and step at which the loss is taken.
        batch: shapes per step; where there are fewer training shapes, some come more than once, with other points.
        learning_rate: of Adam.
        cosine: lets the learning rate fall to zero along a cosine, after a short rise; the paper keeps it constant.
        steps: optimisation steps. The paper stops by the IoU on a validation set, which a task does not give here;
            300,000 is a fixed length in its place.
        precision: `bf16` takes matrix products in bfloat16.
    """

    code: int = 256
    decoder_hidden: int = 256
    decoder_blocks: int = 5
    query_points: int = 2048
    batch: int = 64
    learning_rate: float = 1e-4
    cosine: bool = False
    steps: int = 300_000
    precision: Precision = "fp32"


@dataclass(frozen=True)
class OccupancyNetworkConfig(OccupancyConfig):
    """Settings of Occupancy Networks on point clouds; the defaults are the released configuration.

    Attributes:
        encoder_hidden: width of the encoder.
        encoder_blocks: residual blocks of the encoder.
        input_points: points of the cloud that the encoder sees; a larger cloud is subsampled anew at every step.
        noise: standard deviation, in scene units, of the Gaussian noise added to the input. The paper adds 0.005 to a
            clean cloud; the clouds of nfbench's points-to-shape tasks carry that noise already, and it is not added
            twice. Set 0.005 for clean clouds.
        turn: rotates training shapes at random about this axis (0, 1 or 2) and mirrors them; None leaves them alone.
        stretch: scales training shapes along their axes by random factors, of this standard deviation in the logarithm.
        near: the part of the query points that is drawn close to the input cloud, the others anywhere; 0 in the paper.
            It depends on the cloud and not on the occupancy, so the probabilities stay calibrated.
    """

    code: int = 512
    encoder_hidden: int = 512
    encoder_blocks: int = 5
    input_points: int = 300
    noise: float = 0.0
    turn: int | None = None
    stretch: float = 0.0
    near: float = 0.0


@dataclass(frozen=True)
class OccupancyNetworkImageConfig(OccupancyConfig):
    """Settings of Occupancy Networks on single images; the defaults are the released configuration.

    Attributes:
        side: pixels along an edge of the image that the encoder sees; images are brought to it.
        width: channels of the encoder's first layers, 64 in ResNet-18.
        pretrained: a file with torchvision's weights of ResNet-18 on ImageNet (`resnet18-f37072fd.pth`, or the same
            as .safetensors) for the encoder to start from. The paper's does; without a file it starts at random.
        recolour: exchanges the colour channels of training images at random.
    """

    side: int = 224
    width: int = 64
    pretrained: str | None = None
    recolour: bool = False


@dataclass(frozen=True)
class OccupancyNetworkVoxelsConfig(OccupancyConfig):
    """Settings of Occupancy Networks on voxels; the defaults are the released configuration.

    Attributes:
        voxels: along an edge.
        width: channels of the encoder's first layer.
        turn: turns training shapes by quarters about this axis (0, 1 or 2) and mirrors them; None leaves them alone.
        near: the part of the query points that is drawn close to the border of the filled voxels; 0 in the paper.
    """

    query_points: int = 1024
    voxels: int = 32
    width: int = 32
    turn: int | None = None
    near: float = 0.0


class Network(nn.Module):
    """Encoder and decoder in one, its parameters in the order of the released model's."""

    def __init__(self, config: OccupancyConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config.code, config.decoder_hidden, config.decoder_blocks)
        self.encoder: nn.Module
        if isinstance(config, OccupancyNetworkConfig):
            self.encoder = PointEncoder(config.code, config.encoder_hidden, config.encoder_blocks)
        elif isinstance(config, OccupancyNetworkImageConfig):
            self.encoder = ImageEncoder(config.code, config.width)
        elif isinstance(config, OccupancyNetworkVoxelsConfig):
            self.encoder = VoxelEncoder(config.code, config.width, config.voxels)
        else:
            raise TypeError(f"{type(config).__name__} says no kind of input.")

    def forward(self, given: Tensor, xyz: Tensor) -> Tensor:
        """Logits (B,T) of points (B,T,3) for what is given of B shapes: clouds, images or voxels."""
        return self.decoder(xyz, self.encoder(given))  # type: ignore[no-any-return]


def network(config: OccupancyConfig, seed: int) -> Network:
    """A network with weights drawn from `seed`, on the CPU; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Network(config)


def optimiser_of(net: Network, config: OccupancyConfig) -> torch.optim.Adam:
    """Adam for all parameters, in one pass over each."""
    return torch.optim.Adam(net.parameters(), lr=config.learning_rate, fused=True)


def entropy(logits: Tensor, inside: Tensor) -> Tensor:
    """The binary cross-entropy of logits (B,T) and occupancy (B,T), summed over everything (equation 3)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), inside, reduction="sum")
