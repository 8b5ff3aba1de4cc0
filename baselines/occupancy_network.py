"""Occupancy Networks: a point cloud, an image or voxels to a code, the code to the probability of lying inside.

Mescheder, Oechsle, Niemeyer, Nowozin, Geiger, "Occupancy Networks: Learning 3D Reconstruction in Function Space",
CVPR 2019. The numbers of the paper presets are those of the released configurations `configs/pointcloud/onet.yaml`,
`configs/img/onet.yaml` and `configs/voxels/onet.yaml`; parameter counts and outputs agree with the released networks,
whose weights `adopt` takes over. The encoders are in `onet_encoders`, the decoder in `onet_decoder`. The unconditional
model, a variational autoencoder, is not here.
"""

from __future__ import annotations

import dataclasses
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.onet_decoder import Decoder
from nfbench.baselines.onet_encoders import ImageEncoder, PointEncoder, VoxelEncoder, matched, read_trunk
from nfbench.baselines.onet_official import official_tensors
from nfbench.baselines.shape_batches import (
    CloudBatches,
    ImageBatches,
    Shape,
    ShapeBatches,
    VoxelBatches,
    border,
    cloud_of,
    picture,
    subset,
    views_of,
    voxels_of,
)
from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import Unsupported
from nfbench.harness.method import Budget, Method
from nfbench.harness.scene import Kind, Scene
from nfbench.harness.training import Precision, Training
from nfbench.harness.training_state import Kept


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


_Array = NDArray[np.float32]
_CHUNK_CPU = 1 << 13  # points at a time: the activations of a narrow decoder stay in the cache
_CHUNK_GPU = 1 << 18

_OF_LEARNING = (  # settings that alter neither the network nor what it is given when a scene is fitted
    *("query_points", "batch", "learning_rate", "cosine", "steps", "precision", "pretrained"),
    *("turn", "stretch", "near", "recolour"),
)

C = TypeVar("C", bound=OccupancyConfig)


# ------------------------------------------------------------------------------------------------------- the field


class OccupancyField:
    """One shape: the probability (P,) that points (P,3) lie inside.

    Attributes:
        kind: `occupancy`.
        parameters: trainable numbers of the whole network, encoder included.
        method: the name of the method that made it.
    """

    kind: Kind = "occupancy"

    def __init__(self, weights: Mapping[str, Tensor], parameters: int, device: str, method: str) -> None:
        self.parameters = parameters
        self.device = device
        self.method = method
        self.weights = {name: weight.to(device) for name, weight in weights.items()}
        self._blocks = sum(name.endswith(".weight_0") for name in weights)

    def value(self, xyz: NDArray[np.float32]) -> _Array:
        """Probabilities (P,) float32 in [0,1] at `xyz` (P,3) in scene units."""
        out = np.empty(len(xyz), np.float32)
        chunk = _CHUNK_CPU if self.device == "cpu" else _CHUNK_GPU
        with torch.inference_mode():
            for at in range(0, len(xyz), chunk):
                part = torch.tensor(np.asarray(xyz[at : at + chunk], np.float32), device=self.device)
                out[at : at + chunk] = torch.sigmoid(self._logits(part)).cpu().numpy()
        return out

    def _logits(self, xyz: Tensor) -> Tensor:
        w = self.weights
        x = functional.linear(xyz, w["in.weight"], w["in.bias"])
        for i in range(self._blocks):
            inner = torch.addcmul(w[f"{i}.shift"], x, w[f"{i}.scale"]).relu_()
            inner = functional.linear(inner, w[f"{i}.weight_0"], w[f"{i}.bias_0"]).relu_()
            x += functional.linear(inner, w[f"{i}.weight_1"], w[f"{i}.bias_1"])
        x = torch.addcmul(w["out.shift"], x, w["out.scale"]).relu_()
        return functional.linear(x, w["out.weight"], w["out.bias"]).squeeze(-1)

    def save(self, folder: Path) -> None:
        """Write `field.safetensors` and `field.json`; `restore` of the method reads them, without the network."""
        write_checkpoint(folder, self.method, "field", self.weights, {"parameters": self.parameters})


# ---------------------------------------------------------------------------------------------- what all three share


class _Learner(Method[C]):
    """Learns a category from what is given of shapes with occupancy samples; fits a shape in one pass of the encoder.

    In every preset the network of the last step is kept rather than that of the best validation IoU, and a batch is
    drawn with fresh permutations of the shapes with no short batch at the end. When memory runs out, a batch is gone
    through in parts, and the decoder is then normalised over each part.
    """

    name: ClassVar[str]
    example: ClassVar[str]
    """A task that the method can learn from."""

    def __init__(self, config: C, seed: int = 0, device: str = "cpu") -> None:
        super().__init__(config, seed, device)
        self.network: Network | None = None

    @abstractmethod
    def _batches(self, scenes: Sequence[Scene]) -> ShapeBatches[Any]:
        """Batches of training scenes."""

    @abstractmethod
    def _seen(self, scene: Scene) -> Tensor:
        """What the encoder sees of a scene, a batch of one on the CPU."""

    def _begun(self) -> Network:
        """A network to learn with."""
        return network(self.config, self.seed)

    def learn(self, scenes: Sequence[Scene], budget: Budget) -> None:
        """Fit encoder and decoder to training scenes, each with the method's input and occupancy or distance samples.

        The loss is the binary cross-entropy of the logits, summed over the points of a shape and averaged over the
        batch (equation 3).

        Raises:
            DataMissing: a scene without input or samples, or with none; it is named.
            Unsupported: no scenes, or samples that do not tell inside from outside.
        """
        if not scenes:
            raise Unsupported(
                f"{self.name} learns from training scenes, and this task has none.",
                f"Use a task with a training split, {self.example} for one.",
            )
        config, batches = self.config, self._batches(scenes)
        net = self._begun().to(self.device).train()
        optimiser = optimiser_of(net, config)
        kept: dict[str, Kept] = {"network": net, "batches": batches}
        training = Training(budget, config.steps, optimiser, kept, device=self.device, precision=config.precision)
        for step in training:
            training.set_rates(config.learning_rate * (_one_cycle(step.fraction) if config.cosine else 1.0))
            given, xyz, inside = (self._sent(part) for part in next(batches))

            def loss(part: slice, given: Tensor = given, xyz: Tensor = xyz, inside: Tensor = inside) -> Tensor:
                with training.autocast():
                    logits = net(given[part], xyz[part])
                return entropy(logits, inside[part]) / len(inside)

            training.descend(len(inside), loss)
        self.network = net.eval()

    def _sent(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        return tensor if self.device == "cpu" else tensor.pin_memory().to(self.device, non_blocking=True)

    def fit(self, scene: Scene, budget: Budget) -> OccupancyField:
        """The field of one scene. It takes one pass of the encoder, whatever the budget.

        Raises:
            Unsupported: nothing was learned or loaded.
            DataMissing: the scene does not give what the method needs.
        """
        if self.network is None:
            raise Unsupported(
                f"{self.name} has learned nothing, so it cannot fit.",
                "Give it a task with training scenes, or load a checkpoint.",
            )
        with torch.no_grad():
            code = self.network.encoder(self._seen(scene).to(self.device))
            weights = self.network.decoder.specialise(code)
        count = sum(p.numel() for p in self.network.parameters())
        return OccupancyField(weights, count, self.device, self.name)

    def save(self, folder: Path) -> None:
        """Write `network.safetensors` and `network.json` into `folder`.

        Raises:
            Unsupported: nothing was learned or loaded.
        """
        if self.network is None:
            raise Unsupported(f"{self.name} has learned nothing to save.", "Call learn or load first.")
        about = {"config": dataclasses.asdict(self.config)}
        write_checkpoint(folder, self.name, "network", self.network.state_dict(), about)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            DataMissing: no checkpoint in `folder`.
            DataCorrupt: the checkpoint cannot be read, or is of another method.
            Unsupported: it is of another network; the settings that differ are named.
        """
        tensors, about = read_checkpoint(folder, self.name, "network")
        mine, theirs = dataclasses.asdict(self.config), about.get("config", {})
        other = [
            f"{name} {theirs.get(name)} instead of {value}"
            for name, value in mine.items()
            if name not in _OF_LEARNING and (name not in theirs or theirs[name] != value)
        ]
        if other:
            raise Unsupported(
                f"{folder} is a checkpoint of {self.name} with another config: {', '.join(other)}.",
                "Build the method with the config of the checkpoint, or learn again.",
            )
        self._take(tensors, str(folder / "network.safetensors"))

    def adopt(self, state: Mapping[str, Any], scene: Scene | None = None) -> None:
        """Take over a released model, so that the method can fit, and save what it took.

        Args:
            state: what `torch.load(file, weights_only=True)` gives for `model.pt` or a published file.
            scene: not looked at.

        Raises:
            DataCorrupt: weights of something else; what is missing, unknown or of another shape is named.
        """
        self._take(official_networks(state, self.config), "The checkpoint")

    def _take(self, tensors: Mapping[str, Tensor], whose: str) -> None:
        net = network(self.config, self.seed)
        net.load_state_dict(matched(tensors, net.state_dict(), whose, "Learn again, or name another checkpoint."))
        self.network = net.to(self.device).eval()

    def restore(self, folder: Path) -> OccupancyField:
        """The field that `OccupancyField.save` wrote into `folder`; nothing needs to be learned or loaded before.

        Raises:
            DataMissing: no field in `folder`.
            DataCorrupt: it cannot be read, or is of another method.
        """
        weights, about = read_checkpoint(folder, self.name, "field")
        return OccupancyField(weights, int(about["parameters"]), self.device, self.name)


def official_networks(state: Mapping[str, Any], config: OccupancyConfig) -> dict[str, Tensor]:
    """The state dict of our network of `config` from one of the original code; see `onet_official`."""
    return official_tensors(state, network(config, 0).state_dict())


def _one_cycle(fraction: float) -> float:
    """Factor of the learning rate: a linear rise over the first 5 %, then a cosine to zero at the end."""
    rise = 0.05
    if fraction < rise:
        return 0.1 + 0.9 * fraction / rise
    return 0.5 * (1 + math.cos(math.pi * (fraction - rise) / (1 - rise)))


# ----------------------------------------------------------------------------------------------------- the methods

_FAST: Mapping[str, Any] = {"learning_rate": 3e-4, "cosine": True, "steps": 20_000, "precision": "bf16"}
_NARROW: Mapping[str, Any] = {"code": 128, "decoder_hidden": 64, "decoder_blocks": 3, "query_points": 1024, "batch": 8}


class OccupancyNetwork(_Learner[OccupancyNetworkConfig]):
    """Completes an unseen point cloud, from a category of clouds with occupancy samples.

    Presets: `paper` is the released point-cloud configuration (10,373,889 parameters). `fast` is the same network and
    batch for a GPU, with matrix products in bfloat16, a learning rate of 3e-4 that rises shortly and falls along a
    cosine, and 20,000 steps. `tiny` learns a small category on two processor cores in a minute and differs in this:
    encoder 64 wide with 3 blocks, decoder 64 wide with 3 blocks, code of 128 (211,521 parameters); 8 shapes with 1024
    points a step; learning rate 2e-3 with a short rise and a cosine fall; 1500 steps; seven tenths of the query points
    close to the cloud, which sharpens the surface soonest; and it turns, mirrors and stretches the training shapes,
    cloud and samples alike, because tens of shapes would be learned by heart. It takes the third axis for upright.
    """

    Config = OccupancyNetworkConfig
    presets: ClassVar[Mapping[str, OccupancyNetworkConfig]] = {
        "paper": OccupancyNetworkConfig(),
        "fast": OccupancyNetworkConfig(**_FAST),
        "tiny": OccupancyNetworkConfig(
            **_NARROW,
            encoder_hidden=64,
            encoder_blocks=3,
            learning_rate=2e-3,
            cosine=True,
            steps=1500,
            turn=2,
            stretch=0.1,
            near=0.7,
        ),
    }
    needs = ("cloud",)
    name = "occupancy-network"
    example = "procedural-shapes/points-to-shape"

    def _batches(self, scenes: Sequence[Scene]) -> ShapeBatches[Any]:
        config, clouds = self.config, [cloud_of(scene).xyz for scene in scenes]
        return CloudBatches(
            [Shape.of(s, cloud, cloud if config.near else None) for s, cloud in zip(scenes, clouds, strict=True)],
            config.batch,
            config.query_points,
            config.input_points,
            noise=config.noise,
            near=config.near,
            turn=config.turn,
            stretch=config.stretch,
            seed=self.seed,
        )

    def _seen(self, scene: Scene) -> Tensor:
        rng = np.random.default_rng(self.seed)
        return torch.from_numpy(subset(cloud_of(scene).xyz, self.config.input_points, self.config.noise, rng)[None])


class OccupancyNetworkImage(_Learner[OccupancyNetworkImageConfig]):
    """Tells a shape from one image, from a category of images with occupancy samples; where cameras are is not used.

    While learning, a random view of each shape is shown; a test scene's first view is taken. Images are put on the
    scene's background. Presets: `paper` is the released image configuration (13,414,465 parameters). The paper's
    encoder starts from weights learned on ImageNet: give them as `pretrained`; without them it starts at random.
    `fast` is the same network and batch for a GPU, with matrix products in bfloat16, a learning rate of 3e-4 that
    rises shortly and falls along a cosine, and 20,000 steps. `tiny` learns a small category on two processor cores in
    a minute and differs in this: images of 64x64 pixels; ResNet-18 with a quarter of the channels and from random
    weights; decoder 64 wide with 3 blocks, code of 128; 8 shapes with 1024 points a step; learning rate 2e-3 with a
    short rise and a cosine fall; 800 steps; colour channels exchanged at random.
    """

    Config = OccupancyNetworkImageConfig
    presets: ClassVar[Mapping[str, OccupancyNetworkImageConfig]] = {
        "paper": OccupancyNetworkImageConfig(),
        "fast": OccupancyNetworkImageConfig(**_FAST),
        "tiny": OccupancyNetworkImageConfig(
            **_NARROW, side=64, width=16, learning_rate=2e-3, cosine=True, steps=800, recolour=True
        ),
    }
    needs = ("views",)
    name = "occupancy-network-image"
    example = "procedural-shapes/image-to-shape"

    def _begun(self) -> Network:
        net = super()._begun()
        if self.config.pretrained is not None:
            if self.config.width != 64:
                raise Unsupported(
                    f"ResNet-18 on ImageNet is 64 channels wide, and the config asks for {self.config.width}.",
                    "Leave pretrained out, or set width=64.",
                )
            assert isinstance(net.encoder, ImageEncoder)  # for the type checker
            net.encoder.features.load_state_dict(read_trunk(Path(self.config.pretrained)))
        return net

    def _batches(self, scenes: Sequence[Scene]) -> ShapeBatches[Any]:
        return ImageBatches(
            [Shape.of(scene, views_of(scene)) for scene in scenes],
            self.config.batch,
            self.config.query_points,
            [scene.background for scene in scenes],
            self.config.side,
            recolour=self.config.recolour,
            seed=self.seed,
        )

    def _seen(self, scene: Scene) -> Tensor:
        return torch.from_numpy(picture(views_of(scene), 0, scene.background, self.config.side)[None])


class OccupancyNetworkVoxels(_Learner[OccupancyNetworkVoxelsConfig]):
    """Refines voxels to a shape, from a category of voxels with occupancy samples.

    The network sees the voxels, not where their box is, so that box has to be the same in all scenes. Presets: `paper`
    is the released voxel configuration, 1024 points a shape (7,857,473 parameters). `fast` is the same network and
    batch for a GPU, with matrix products in bfloat16, a learning rate of 3e-4 that rises shortly and falls along a
    cosine, and 20,000 steps. `tiny` learns a small category on two processor cores in a minute and differs in this:
    encoder a quarter as wide; decoder 64 wide with 3 blocks, code of 128; 8 shapes a step; learning rate 2e-3 with a
    short rise and a cosine fall; 800 steps; half of the query points close to the border of the voxels; and it turns
    training shapes by quarters and mirrors them. It takes the third axis for upright.
    """

    Config = OccupancyNetworkVoxelsConfig
    presets: ClassVar[Mapping[str, OccupancyNetworkVoxelsConfig]] = {
        "paper": OccupancyNetworkVoxelsConfig(),
        "fast": OccupancyNetworkVoxelsConfig(**_FAST),
        "tiny": OccupancyNetworkVoxelsConfig(
            **_NARROW, width=8, learning_rate=2e-3, cosine=True, steps=800, turn=2, near=0.5
        ),
    }
    needs = ("voxels",)
    name = "occupancy-network-voxels"
    example = "procedural-shapes/voxels-to-shape"

    def _batches(self, scenes: Sequence[Scene]) -> ShapeBatches[Any]:
        config, given = self.config, [voxels_of(scene, self.config.voxels) for scene in scenes]
        return VoxelBatches(
            [Shape.of(s, v, border(v) if config.near else None) for s, v in zip(scenes, given, strict=True)],
            config.batch,
            config.query_points,
            near=config.near,
            turn=config.turn,
            seed=self.seed,
        )

    def _seen(self, scene: Scene) -> Tensor:
        return torch.from_numpy(voxels_of(scene, self.config.voxels).filled[None])
