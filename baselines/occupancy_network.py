"""Occupancy Networks: a point cloud to a code, the code to the probability that a point lies inside.

Mescheder, Oechsle, Niemeyer, Nowozin, Geiger, "Occupancy Networks: Learning 3D Reconstruction in Function Space",
CVPR 2019, in its point-cloud setting. The numbers of the paper preset are those of the released configuration
`configs/pointcloud/onet.yaml`; parameter counts and outputs agree with the released networks.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.onet_decoder import ConditionalNorm, Decoder
from nfbench.baselines.shape_batches import Shape, ShapeBatches, cloud_of, subset
from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.method import Budget, Method
from nfbench.harness.scene import Kind, Scene

NAME = "occupancy-network"

_Array = NDArray[np.float32]
_LOG_SECONDS = 0.5
_CHUNK_CPU = 1 << 13  # points at a time: the activations of a narrow decoder stay in the cache
_CHUNK_GPU = 1 << 18


@dataclass(frozen=True)
class OccupancyNetworkConfig:
    """Settings of Occupancy Networks; the defaults are the released point-cloud configuration.

    Attributes:
        code: length of the shape code.
        encoder_hidden: width of the encoder.
        encoder_blocks: residual blocks of the encoder.
        decoder_hidden: width of the decoder.
        decoder_blocks: residual blocks of the decoder.
        input_points: points of the cloud that the encoder sees; a larger cloud is subsampled anew at every step.
        noise: standard deviation, in scene units, of the Gaussian noise added to the input. The paper adds 0.005 to a
            clean cloud; the clouds of nfbench's points-to-shape tasks carry that noise already, and it is not added
            twice. Set 0.005 for clean clouds.
        query_points: points per shape and step at which the loss is taken.
        batch: shapes per step; where there are fewer training shapes, some come more than once, with other points.
        learning_rate: of Adam.
        cosine: lets the learning rate fall to zero along a cosine, after a short rise; the paper keeps it constant.
        steps: optimisation steps. The paper stops by the IoU on a validation set, which a task does not give here;
            300,000 is a fixed length in its place.
        turn: rotates training shapes at random about this axis (0, 1 or 2) and mirrors them; None leaves them alone.
        stretch: scales training shapes along their axes by random factors, of this standard deviation in the logarithm.
        near: the part of the query points that is drawn close to the input cloud, the others anywhere; 0 in the paper.
            It depends on the cloud and not on the occupancy, so the probabilities stay calibrated.
    """

    code: int = 512
    encoder_hidden: int = 512
    encoder_blocks: int = 5
    decoder_hidden: int = 256
    decoder_blocks: int = 5
    input_points: int = 300
    noise: float = 0.0
    query_points: int = 2048
    batch: int = 64
    learning_rate: float = 1e-4
    cosine: bool = False
    steps: int = 300_000
    turn: int | None = None
    stretch: float = 0.0
    near: float = 0.0


# ---------------------------------------------------------------------------------------------------- the networks


class ResidualBlock(nn.Module):
    """Two fully connected layers with ReLU before each, added to a linear shortcut."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.fc_0 = nn.Linear(features, out)
        self.fc_1 = nn.Linear(out, out)
        self.shortcut = nn.Linear(features, out, bias=False)
        nn.init.zeros_(self.fc_1.weight)

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        """(B,N,out) from features (B,N,F) of the points and features (B,1,G) that all points share, F + G in all.

        The shared part goes through its columns of the weights once a cloud rather than once a point.
        """
        split = [x.shape[-1], pooled.shape[-1]]
        own, shared = torch.split(self.fc_0.weight, split, dim=1)
        inner = functional.linear(functional.relu(x), own)
        inner = inner + functional.linear(functional.relu(pooled), shared, self.fc_0.bias)
        own, shared = torch.split(self.shortcut.weight, split, dim=1)
        straight = functional.linear(x, own) + functional.linear(pooled, shared)
        return straight + self.fc_1(functional.relu(inner))  # type: ignore[no-any-return]


class PointEncoder(nn.Module):
    """Residual PointNet (supplementary material): a cloud (B,N,3) to a code (B,code).

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
        features = self.fc_pos(cloud)  # (B,N,2 hidden)
        pooled = features[:, :1, :0]  # nothing is shared before the first block
        for block in self.blocks:
            features = block(features, pooled)
            pooled = features.amax(1, keepdim=True)
        return self.fc_c(functional.relu(pooled[:, 0]))  # type: ignore[no-any-return]


class Network(nn.Module):
    """Encoder and decoder in one, its parameters in the order of the released model's."""

    def __init__(self, config: OccupancyNetworkConfig) -> None:
        super().__init__()
        self.decoder = Decoder(config.code, config.decoder_hidden, config.decoder_blocks)
        self.encoder = PointEncoder(config.code, config.encoder_hidden, config.encoder_blocks)

    def forward(self, cloud: Tensor, xyz: Tensor) -> Tensor:
        """Logits (B,T) of points (B,T,3) for clouds (B,N,3)."""
        return self.decoder(xyz, self.encoder(cloud))  # type: ignore[no-any-return]


def optimiser_of(net, config):
    return torch.optim.Adam(net.parameters(), lr=config.learning_rate, fused=True)


def step_loss(logits, inside):
    return functional.binary_cross_entropy_with_logits(logits, inside, reduction="none").sum(-1).mean()


def network(config: OccupancyNetworkConfig, seed: int) -> Network:
    """A network with weights drawn from `seed`, on the CPU; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Network(config)


# ------------------------------------------------------------------------------------------------------- the field


class OccupancyField:
    """One shape: the probability (P,) that points (P,3) lie inside.

    Attributes:
        kind: `occupancy`.
        parameters: trainable numbers of the whole network, encoder included.
    """

    kind: Kind = "occupancy"

    def __init__(self, weights: Mapping[str, Tensor], parameters: int, device: str) -> None:
        self.parameters = parameters
        self.device = device
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
        """Write `field.safetensors` and `field.json`; `OccupancyNetwork.restore` reads them, without the network."""
        write_checkpoint(folder, NAME, "field", self.weights, {"parameters": self.parameters})


# ------------------------------------------------------------------------------------------------------ the method


class OccupancyNetwork(Method[OccupancyNetworkConfig]):
    """Learns a category from clouds with occupancy samples, and completes an unseen cloud in one pass of the encoder.

    Presets: `paper` is the released point-cloud configuration (10,373,889 parameters). `tiny` learns a small category
    on two processor cores in a minute and differs in this: encoder 64 wide with 3 blocks, decoder 64 wide with 3
    blocks, code of 128 (211,521 parameters); 8 shapes with 1024 points a step; learning rate 2e-3 with a short rise
    and a cosine fall; 1500 steps; seven tenths of the query points close to the cloud, which sharpens the surface
    soonest; and it turns, mirrors and stretches the training shapes, cloud and samples alike, because tens of shapes
    would be learned by heart. It takes the third axis for upright.

    Two things differ from the original code in every preset: the network of the last step is kept rather than that of
    the best validation IoU, and a batch is drawn with fresh permutations of the shapes with no short batch at the end.
    """

    Config = OccupancyNetworkConfig
    presets: ClassVar[Mapping[str, OccupancyNetworkConfig]] = {
        "paper": OccupancyNetworkConfig(),
        "tiny": OccupancyNetworkConfig(
            code=128,
            encoder_hidden=64,
            encoder_blocks=3,
            decoder_hidden=64,
            decoder_blocks=3,
            query_points=1024,
            batch=8,
            learning_rate=2e-3,
            cosine=True,
            steps=1500,
            turn=2,
            stretch=0.1,
            near=0.7,
        ),
    }
    needs = ("cloud",)

    def __init__(self, config: OccupancyNetworkConfig, seed: int = 0, device: str = "cpu") -> None:
        super().__init__(config, seed, device)
        self.network: Network | None = None

    def learn(self, scenes: Sequence[Scene], budget: Budget) -> None:
        """Fit encoder and decoder to training scenes, each with a cloud and with occupancy or distance samples.

        The loss is the binary cross-entropy of the logits, summed over the points of a shape and averaged over the
        batch (equation 3).

        Raises:
            DataMissing: a scene without cloud or samples, or with none; it is named.
            Unsupported: no scenes, or samples that do not tell inside from outside.
        """
        if not scenes:
            raise Unsupported(
                "occupancy-network learns from training scenes, and this task has none.",
                "Use a task with a training split, procedural-shapes/points-to-shape for one.",
            )
        config = self.config
        drawn = ShapeBatches(
            [Shape.of(scene, config.near) for scene in scenes],
            batch=config.batch,
            query_points=config.query_points,
            input_points=config.input_points,
            noise=config.noise,
            near=config.near,
            turn=config.turn,
            stretch=config.stretch,
            seed=self.seed,
        )
        batches = iter(drawn)
        net = network(config, self.seed).to(self.device).train()
        optimiser = torch.optim.Adam(net.parameters(), lr=config.learning_rate)
        logged = -math.inf
        for step in budget.run(config.steps):
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * (_one_cycle(step.fraction) if config.cosine else 1.0)
            cloud, xyz, inside = (torch.from_numpy(part).to(self.device) for part in next(batches))
            each = functional.binary_cross_entropy_with_logits(net(cloud, xyz), inside, reduction="none")
            loss = each.sum(-1).mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if time.perf_counter() - logged >= _LOG_SECONDS:
                logged = time.perf_counter()
                step.log(loss=loss.item())
        self.network = net.eval()

    def fit(self, scene: Scene, budget: Budget) -> OccupancyField:
        """The field of one cloud. It takes one pass of the encoder, whatever the budget.

        Raises:
            Unsupported: nothing was learned or loaded.
            DataMissing: the scene gives no cloud.
        """
        if self.network is None:
            raise Unsupported(
                "occupancy-network has learned nothing, so it cannot fit.",
                "Give it a task with training scenes, or load a checkpoint.",
            )
        rng = np.random.default_rng(self.seed)
        cloud = subset(cloud_of(scene).xyz, self.config.input_points, self.config.noise, rng)
        with torch.no_grad():
            code = self.network.encoder(torch.from_numpy(cloud[None]).to(self.device))
            weights = self.network.decoder.specialise(code)
        return OccupancyField(weights, sum(p.numel() for p in self.network.parameters()), self.device)

    def save(self, folder: Path) -> None:
        """Write `network.safetensors` and `network.json` into `folder`.

        Raises:
            Unsupported: nothing was learned or loaded.
        """
        if self.network is None:
            raise Unsupported("occupancy-network has learned nothing to save.", "Call learn or load first.")
        about = {"config": dataclasses.asdict(self.config)}
        write_checkpoint(folder, NAME, "network", self.network.state_dict(), about)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote.

        Raises:
            DataMissing: no checkpoint in `folder`.
            DataCorrupt: the checkpoint cannot be read, or is of another method.
            Unsupported: it is of another config; the settings that differ are named.
        """
        tensors, about = read_checkpoint(folder, NAME, "network")
        mine, theirs = dataclasses.asdict(self.config), about.get("config", {})
        other = [f"{k} {theirs.get(k)} instead of {v}" for k, v in mine.items() if k not in theirs or theirs[k] != v]
        if other:
            raise Unsupported(
                f"{folder} is a checkpoint of occupancy-network with another config: {', '.join(other)}.",
                "Build the method with the config of the checkpoint, or learn again.",
            )
        net = network(self.config, self.seed)
        try:
            net.load_state_dict(tensors)
        except RuntimeError as error:
            raise DataCorrupt(f"{folder / 'network.safetensors'}: {error}", "Learn again.") from None
        self.network = net.to(self.device).eval()

    def restore(self, folder: Path) -> OccupancyField:
        """The field that `OccupancyField.save` wrote into `folder`; nothing needs to be learned or loaded before.

        Raises:
            DataMissing: no field in `folder`.
            DataCorrupt: it cannot be read, or is of another method.
        """
        weights, about = read_checkpoint(folder, NAME, "field")
        return OccupancyField(weights, int(about["parameters"]), self.device)


def _one_cycle(fraction: float) -> float:
    """Factor of the learning rate: a linear rise over the first 5 %, then a cosine to zero at the end."""
    rise = 0.05
    if fraction < rise:
        return 0.1 + 0.9 * fraction / rise
    return 0.5 * (1 + math.cos(math.pi * (fraction - rise) / (1 - rise)))
