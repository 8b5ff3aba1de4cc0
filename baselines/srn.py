"""Scene Representation Networks: a code to the weights of a scene, a learned march along the ray to its colour.

Sitzmann, Zollhoefer, Wetzstein, "Scene Representation Networks: Continuous 3D-Structure-Aware Neural Scene
Representations", NeurIPS 2019. For each object of a category there is a code; a hypernetwork takes it to the weights of
a network phi from a point in space to features (section 3.2, equation 5); a recurrent cell reads the features at a
point of a ray and says how far to step on (algorithm 1); what phi says where the march ends becomes the pixel's colour.
An object that is not among those learned from gets a code that is optimised to explain its given views, with all
networks frozen (section 3.3).

Where paper and released code differ, `paper` follows the code: all four layers of phi are normalised and rectified; the
pixel generator has six linear layers; the weights of the cell are drawn uniformly, and only its biases get the value of
1 at the forget gate, both of them; the loss is 200 times the mean squared error of colours in [-1,1], the mean square
of the codes, and 10 times the mean square of the negative part of the final depths.

The cameras of the original are those of the bench, but for the half pixel: it sends the ray of pixel (0, 0) through the
image point (0, 0) of its intrinsics, the upper left corner of the pixel and not its centre. `pixel_offset` 0 does the
same, so that an imported network gives the pictures that it was trained to give. The depth of the original is along the
optical axis, its steps are along the ray; so it is here.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfbench.baselines.floor import image_size
from nfbench.baselines.object_views import Bundle, ObjectViews, camera_bundle
from nfbench.harness.camera import Cameras
from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.method import Budget, Method
from nfbench.harness.official import mapped, section
from nfbench.harness.scene import Float, Scene
from nfbench.harness.training import Precision, Training
from nfbench.harness.training_state import Kept

NAME = "srn"

_FIRST_DEPTH, _FIRST_SPREAD = 0.05, 5e-4  # scene units along the optical axis, mean and deviation, in the code
_CLAMP = 10.0  # bound of the gradient at each state of the cell, in the code
_CODE_SPREAD = 0.01
_FEATURES_CPU, _FEATURES_GPU = 1 << 18, 1 << 24  # numbers of a layer at once; on a CPU 1 MB, which stays in the cache
_LOOKED_AT = 256  # rays by which a first code is chosen


class Stage(NamedTuple):
    """Part of the training on whole images.

    Attributes:
        side: pixels along the longer edge, to which larger images are reduced.
        steps: how many steps.
        batch: images a step.
    """

    side: int
    steps: int
    batch: int


@dataclass(frozen=True)
class SrnConfig:
    """Settings; the defaults are those of the released code for ShapeNet cars.

    Attributes:
        code: length of an object's code.
        hyper_hidden: width of the two hidden layers of each hypernetwork; there is one for each layer of phi.
        width: of the layers of phi, and so of its features, and of the pixel generator.
        layers: of phi.
        march_hidden: units of the recurrent cell.
        march_steps: steps along a ray.
        generator_layers: linear layers of the pixel generator.
        pixel_offset: where in its pixel a ray goes through, from the upper left corner; 0.5 is the centre.
        start: where a march starts: close to the camera, with noise while training, or at the near plane.
        normalise: whether points are scaled so that the longest edge of the box around the training scenes is [-1,1].
        stages: one after the other, of training on whole images.
        rays: in place of whole images, this many rays from all views of an object; 0 for whole images.
        objects: objects a step, where it is rays.
        steps: where it is rays; for images, the stages have theirs.
        rate: of Adam, for the networks.
        code_rate: the same for the codes.
        rate_decay: the factor by which both have fallen at the end.
        image_weight: of the mean squared error.
        code_weight: of the mean square of the codes of a batch.
        depth_weight: of the mean square of negative depths.
        fit_steps: steps of Adam on the code of a scene.
        fit_every: how many of them there are to one look at the scene. The original optimises the codes of all test
            objects at once, so that each of 704 cars is in every 88th batch of 8 images; the momentum goes on in
            between.
        fit_rate: of Adam there.
        fit_rays: rays a look; 0 for a whole image.
        fit_start: the first code: random as in training, or that of the training object that explains the views best.
        precision: of matrix products, in training and fitting.
    """

    code: int = 256
    hyper_hidden: int = 256
    width: int = 256
    layers: int = 4
    march_hidden: int = 16
    march_steps: int = 10
    generator_layers: int = 6
    pixel_offset: float = 0.0
    start: Literal["camera", "near"] = "camera"
    normalise: bool = False
    stages: tuple[Stage, ...] = (Stage(64, 5_000, 64), Stage(128, 170_000, 16))
    rays: int = 0
    objects: int = 0
    steps: int = 0
    rate: float = 5e-5
    code_rate: float = 5e-5
    rate_decay: float = 1.0
    image_weight: float = 200.0
    code_weight: float = 1.0
    depth_weight: float = 10.0
    fit_steps: int = 100_000
    fit_every: int = 88
    fit_rate: float = 5e-5
    fit_rays: int = 0
    fit_start: Literal["random", "nearest"] = "random"
    precision: Precision = "fp32"

    def total_steps(self) -> int:
        """Steps of the whole training."""
        return self.steps if self.rays else sum(stage.steps for stage in self.stages)


FAST = SrnConfig(
    pixel_offset=0.5,
    start="near",
    normalise=True,
    rays=1024,
    objects=16,
    steps=40_000,
    rate=2e-4,
    code_rate=1e-3,
    rate_decay=0.1,
    fit_steps=500,
    fit_every=1,
    fit_rate=1e-2,
    fit_rays=4096,
    fit_start="nearest",
    precision="bf16",
)
TINY = SrnConfig(
    code=64,
    hyper_hidden=64,
    width=64,
    layers=3,
    march_steps=8,
    generator_layers=3,
    pixel_offset=0.5,
    start="near",
    normalise=True,
    rays=256,
    objects=8,
    steps=1500,
    rate=4e-3,
    code_rate=5e-3,
    rate_decay=0.1,
    fit_steps=200,
    fit_every=1,
    fit_rate=2e-2,
    fit_rays=1024,
    fit_start="nearest",
)
_SHAPE = ("code", "hyper_hidden", "width", "layers", "march_hidden", "march_steps", "generator_layers")
_FIXED = (*_SHAPE, "pixel_offset", "start", "normalise")  # what a trained network has to be used with


# ---------------------------------------------------------------------------------------------------- the networks


class _OutputLayer(torch.autograd.Function):
    """A linear layer whose weight is large and whose batch is small.

    The gradient of the weight is written over that of the step before, in the same memory: on a CPU, getting 200 MB
    from the system anew at each step costs more than the product. So it may go backwards once a step only.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, memory: list[Tensor]) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x, weight)
        ctx.memory = memory
        return F.linear(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        of_x = gradient.to(weight.dtype) @ weight if ctx.needs_input_grad[0] else None
        if not ctx.needs_input_grad[1]:
            return of_x, None, None, None
        memory: list[Tensor] = ctx.memory
        if not memory or memory[0].device != weight.device or memory[0].dtype != weight.dtype:
            memory[:] = [torch.empty_like(weight)]
        torch.mm(gradient.T, x, out=memory[0])
        return of_x, memory[0].detach(), gradient.sum(0), None


def _normalised(*widths: int) -> list[nn.Module]:
    """Linear layers of these widths, all but the last normalised and rectified."""
    parts: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        parts += [nn.Linear(inputs, outputs), nn.LayerNorm(outputs), nn.ReLU(inplace=True)]
    for linear in parts[::3]:
        nn.init.kaiming_normal_(cast(nn.Linear, linear).weight)
    return parts[:-2]


class Hypernetwork(nn.Sequential):
    """A code (B,code) to weight and bias of one layer for each of B objects, flat: (B, in * out + out)."""

    def __init__(self, code: int, hidden: int, inputs: int, outputs: int) -> None:
        super().__init__(*_normalised(code, hidden, hidden, inputs * outputs + outputs))
        self._memory: list[Tensor] = []
        with torch.no_grad():
            self._output.weight.mul_(0.1)

    @property
    def _output(self) -> nn.Linear:
        layer = self[-1]
        assert isinstance(layer, nn.Linear)
        return layer

    def forward(self, code: Tensor) -> Tensor:
        """See above."""
        x = code
        for layer in [*self][:-1]:
            x = layer(x)
        found: Tensor = _OutputLayer.apply(x, self._output.weight, self._output.bias, self._memory)  # type: ignore[no-untyped-call]
        return found


Layer = tuple[Tensor, Tensor]  # weight (B,out,in) and bias (B,1,out)


def features(layers: Sequence[Layer], points: Tensor) -> Tensor:
    """What phi says at points (B,R,3) of B objects: (B,R,width). Each layer is linear, then normalised and rectified.

    A product for each object is faster than one of all where the objects have many rays, on a CPU.
    """
    x = points
    for weight, bias in layers:
        linear = torch.matmul(x, weight.mT).add_(bias) if len(x) > 1 else F.linear(x, weight[0], bias[0, 0])
        x = F.layer_norm(linear, linear.shape[-1:]).relu_()
    return x


class Marcher(nn.Module):
    """The recurrent cell that says how far to go on along each ray (algorithm 1 of the paper)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTMCell(width, hidden)
        self.out_layer = nn.Linear(hidden, 1)
        with torch.no_grad():
            for bias in (self.lstm.bias_ih, self.lstm.bias_hh):
                bias[hidden : 2 * hidden] = 1

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Step lengths (N,) from features (N,width), and the state (hidden,N) twice; None before the first step.

        Rays are along the last axis, so that each gate is one piece of memory.
        """
        cell = self.lstm
        gates = torch.addmm((cell.bias_ih + cell.bias_hh)[:, None], cell.weight_ih, x.T)
        if state is not None:
            gates = torch.addmm(gates, cell.weight_hh, state[0])
        entry, forget, new, out = gates.chunk(4)
        memory = entry.sigmoid() * new.tanh()
        if state is not None:
            memory = torch.addcmul(memory, forget.sigmoid(), state[1])
        hidden = out.sigmoid() * memory.tanh()
        if hidden.requires_grad:
            hidden.register_hook(lambda gradient: gradient.clamp(-_CLAMP, _CLAMP))  # type: ignore[no-untyped-call]
        step = torch.addmm(self.out_layer.bias[:, None], self.out_layer.weight, hidden)
        return step[0], (hidden, memory)


class Networks(nn.Module):
    """Hypernetworks, marcher and pixel generator, and the frame that points are brought into.

    Attributes:
        frame: (4,) centre and scale: a point p goes in as (p - centre) / scale.
    """

    frame: Tensor

    def __init__(self, config: SrnConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.hyper = nn.ModuleList(
            Hypernetwork(config.code, config.hyper_hidden, 3 if i == 0 else width, width) for i in range(config.layers)
        )
        self.marcher = Marcher(width, config.march_hidden)
        self.generator = _generator(width, config.generator_layers)
        self.register_buffer("frame", torch.tensor([0.0, 0.0, 0.0, 1.0]))

    def weights(self, codes: Tensor) -> list[Tensor]:
        """The flat weights of the layers of phi for codes (B,code): (B, in * out + out) each."""
        with torch.autocast(codes.device.type, enabled=False):  # few rows: its cost is that of reading the weights
            return [hyper(codes) for hyper in self.hyper]

    def trace(self, weights: Sequence[Tensor], rays: Bundle, noise: torch.Generator | None = None) -> Layer:
        """Colours (B,R,3) in [-1,1], about, and final distances (B,R) along the rays, scene units.

        Args:
            weights: of phi for B objects, as `weights` gives them.
            rays: R of each.
            noise: draws the first depths, where the march starts at the camera; without it they are all the mean.
        """
        return trace(
            phi_layers(weights, self.config.width), self.marcher, self.generator, self.frame, self.config, rays, noise
        )


def _generator(width: int, layers: int) -> nn.Sequential:
    return nn.Sequential(*_normalised(*[width] * layers, 3))


def phi_layers(weights: Sequence[Tensor], width: int) -> list[Layer]:
    """Weight (B,out,in) and bias (B,1,out) of each layer from flat ones (B, in * out + out)."""
    return [(flat[:, :-width].view(len(flat), width, -1), flat[:, None, -width:]) for flat in weights]


def trace(
    layers: Sequence[Layer],
    marcher: Marcher,
    generator: nn.Module,
    frame: Tensor,
    config: SrnConfig,
    rays: Bundle,
    noise: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Colours (B,R,3) in [-1,1], about, and final distances (B,R) along the rays; see `Networks.trace`."""
    shape = rays.near.shape
    scale = frame[3]
    origins, distance = (rays.origins - frame[:3]) / scale, first_distances(config, rays, noise) / scale
    state = None
    for _ in range(config.march_steps):
        found = features(layers, torch.addcmul(origins, distance[..., None], rays.directions))
        step, state = marcher(found.flatten(0, 1), state)
        distance = distance + step.view(shape)
    found = features(layers, torch.addcmul(origins, distance[..., None], rays.directions))
    return generator(found), distance * scale


def first_distances(config: SrnConfig, rays: Bundle, noise: torch.Generator | None) -> Tensor:
    """Where marches start: (B,R) distances along the rays, scene units."""
    if config.start == "near":
        return rays.near
    depth = torch.full_like(rays.cosines, _FIRST_DEPTH)
    if noise is not None:
        depth += _FIRST_SPREAD * torch.randn(depth.shape, generator=noise, device=depth.device)
    return depth / rays.cosines


def networks(config: SrnConfig, seed: int) -> Networks:
    """Networks with weights drawn from `seed`, on the CPU; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Networks(config)


# -------------------------------------------------------------------------------------------------------- the loss


class StepLoss:
    """The loss of one step, in parts of the rays: the hypernetworks are evaluated once, and go backwards once.

    Equation 6 of the paper. Give the parts in turn; each is to go backwards before the next is asked for. The weights
    that all share gather the gradients of the parts, and the last part takes them on to the hypernetworks.
    """

    def __init__(self, net: Networks, codes: Tensor, rays: Bundle, noise: torch.Generator | None) -> None:
        self.net, self.rays, self.noise = net, rays, noise
        self._codes = codes
        self._weights: list[Tensor] = []
        self._gathered: list[Tensor] = []

    def __call__(self, part: slice) -> Tensor:
        """The share of rays `part` in the loss."""
        config, rays = self.net.config, self.rays.part(part)
        total = self.rays.near.numel()
        last = part.stop == self.rays.near.shape[1]
        if part.start == 0:
            self._weights = self.net.weights(self._codes)
            self._gathered = [] if last else [weight.detach().requires_grad_() for weight in self._weights]
        colour, distance = self.net.trace(self._weights if last else self._gathered, rays, self.noise)
        error = (colour.to(rays.colours) - (2 * rays.colours - 1)).square().sum() / (3 * total)
        behind = (distance.to(rays.cosines) * rays.cosines).clamp_max(0).square().sum() / total
        loss = config.image_weight * error + config.depth_weight * behind
        if last:
            loss = loss + config.code_weight * self._codes.square().mean()
            for weight, gathered in zip(self._weights, self._gathered, strict=False):  # none, where this part is all
                assert gathered.grad is not None
                carried = (weight * gathered.grad).sum()
                loss = loss + (carried - carried.detach())
        return loss


def optimiser_of(net: nn.Module, codes: nn.Module) -> torch.optim.Optimizer:
    """Adam for the networks and the codes, in this order, in one pass over memory."""
    return torch.optim.Adam([{"params": net.parameters()}, {"params": codes.parameters()}], fused=True)


def rows_at_once(config: SrnConfig, objects: int, device: str) -> int:
    """How many rays of each of the objects go through the networks at once."""
    numbers = _FEATURES_CPU if torch.device(device).type == "cpu" else _FEATURES_GPU
    return max(numbers // (config.width * objects), 1)


# ------------------------------------------------------------------------------------------------------- the field


class SrnField:
    """One object: the pixels and the depths that marches along rays end at.

    Attributes:
        code: (code,) of the object.
        parameters: trainable numbers of the networks, hypernetworks included, and of the code.
    """

    def __init__(self, net: Networks, code: Tensor, box: Float) -> None:
        self.config = net.config
        self.code = code.detach().flatten().clone()
        self.box = np.array(box, np.float32)
        self.parameters = sum(p.numel() for p in net.parameters()) + self.code.numel()
        self._marcher, self._generator, self._frame = net.marcher, net.generator, net.frame
        with torch.no_grad():
            self._weights = net.weights(self.code[None])

    def render(self, cameras: Cameras) -> Float:
        """Images (N,H,W,3) float32 in [0,1] of N cameras of one size; the background is what was learned for it."""
        return self._traced(cameras)[0]

    def depth(self, cameras: Cameras) -> Float:
        """Depths (N,H,W) float32 of N cameras of one size: distance along the ray where the march ends, scene units.

        A ray that meets nothing ends somewhere too.
        """
        return self._traced(cameras)[1]

    @torch.inference_mode()
    def _traced(self, cameras: Cameras) -> tuple[Float, Float]:
        width, height = image_size(cameras)
        images = np.empty((len(cameras), height, width, 3), np.float32)
        depths = np.empty((len(cameras), height, width), np.float32)
        device = self._frame.device
        layers = phi_layers(self._weights, self.config.width)
        for index in range(len(cameras)):
            rays = camera_bundle(cameras, index, self.box, self.config.pixel_offset).to(str(device))
            count, size = rays.near.shape[1], rows_at_once(self.config, 1, str(device))
            parts = [
                trace(layers, self._marcher, self._generator, self._frame, self.config, rays.part(slice(i, i + size)))
                for i in range(0, count, size)
            ]
            colour = torch.cat([part[0] for part in parts], 1).mul_(0.5).add_(0.5).clamp_(0, 1)
            images[index] = colour.view(height, width, 3).cpu().numpy()
            depths[index] = torch.cat([part[1] for part in parts], 1).view(height, width).cpu().numpy()
        return images, depths

    def save(self, folder: Path) -> None:
        """Write `field.safetensors` and `field.json`; `Srn.restore` reads them, without the hypernetworks."""
        tensors = {f"phi.{i}": weight for i, weight in enumerate(self._weights)}
        tensors |= {f"marcher.{name}": tensor for name, tensor in self._marcher.state_dict().items()}
        tensors |= {f"generator.{name}": tensor for name, tensor in self._generator.state_dict().items()}
        tensors |= {"code": self.code, "frame": self._frame}
        about = {"config": dataclasses.asdict(self.config), "box": self.box.tolist(), "parameters": self.parameters}
        write_checkpoint(folder, NAME, "field", tensors, about)

    @classmethod
    def restored(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any], device: str) -> SrnField:
        """The field of what `save` wrote; raises KeyError, TypeError, ValueError or RuntimeError where it did not."""
        field = cls.__new__(cls)
        field.config = _config_of(about)
        field.code, field._frame = tensors["code"].to(device), tensors["frame"].to(device)
        field.box, field.parameters = np.array(about["box"], np.float32), int(about["parameters"])
        if field.box.shape != (2, 3) or field.code.shape != (field.config.code,) or field._frame.shape != (4,):
            raise ValueError("the box, the code or the frame has another shape than the config says")
        width = field.config.width
        sizes = [(3 if i == 0 else width) * width + width for i in range(field.config.layers)]
        field._weights = [tensors[f"phi.{i}"].to(device) for i in range(len(sizes))]
        if [tuple(weight.shape) for weight in field._weights] != [(1, size) for size in sizes]:
            raise ValueError("a layer has another shape than the config says")
        field._marcher = Marcher(width, field.config.march_hidden)
        field._generator = _generator(width, field.config.generator_layers)
        for name, part in (("marcher.", field._marcher), ("generator.", field._generator)):
            part.load_state_dict({key[len(name) :]: t for key, t in tensors.items() if key.startswith(name)})
            part.to(device).requires_grad_(False)
        return field


def _config_of(about: Mapping[str, Any]) -> SrnConfig:
    config = SrnConfig(**about["config"])
    return dataclasses.replace(config, stages=tuple(Stage(*stage) for stage in config.stages))


# ------------------------------------------------------------------------------------------------------ the method


class Srn(Method[SrnConfig]):
    """Learns a category from posed images of its objects, and finds the code of an unseen one from few views.

    Presets: `paper` is the released configuration for ShapeNet cars (51,869,076 parameters without codes), trained on
    whole images. The rest is the same idea and differs in this. `fast` and `tiny` take random rays of all views of an
    object in place of whole images, start the march at the near plane, send rays through the centres of pixels, bring
    points into the box of the training scenes, let higher rates fall, and start a new code from that of the training
    object that explains the views best. `fast` has the networks of the paper, for a GPU, with products in bfloat16.
    `tiny` is for two processor cores: a code of 64 numbers, three layers of 64, 8 steps along a ray, and three layers
    to the colour.
    """

    Config = SrnConfig
    presets: ClassVar[Mapping[str, SrnConfig]] = {"paper": SrnConfig(), "fast": FAST, "tiny": TINY}
    needs = ("views",)

    def __init__(self, config: SrnConfig, seed: int = 0, device: str = "cpu") -> None:
        super().__init__(config, seed, device)
        self.networks: Networks | None = None
        self.codes: Tensor | None = None  # (N,code) of the training objects

    def learn(self, scenes: Sequence[Scene], budget: Budget) -> None:
        """Fit the networks, and a code for each of the training scenes, to their views.

        Raises:
            DataMissing: a scene without views; it is named.
            Unsupported: no scenes, or whole images that are not of one size.
            Diverged: the loss is no number.
        """
        if not scenes:
            raise Unsupported(
                f"{NAME} learns from training scenes, and this task has none.",
                "Use a task with a training split, procedural-cars/one-view for one.",
            )
        config = self.config
        views = ObjectViews(scenes, config.pixel_offset, self.seed, NAME)
        net, codes = networks(config, self.seed), self._codes(len(scenes))
        if config.normalise:
            net.frame.copy_(_frame(scenes))
        net.to(self.device)
        noise = torch.Generator(self.device).manual_seed(self.seed)
        adam = optimiser_of(net, codes)
        kept: dict[str, Kept] = {"networks": net, "codes": codes, "views": views, "noise": noise}
        training = Training(
            budget, config.total_steps(), adam, kept, device=self.device, precision=config.precision, name="prior"
        )
        for step in training:
            decay = config.rate_decay**step.fraction
            training.set_rates(config.rate * decay, config.code_rate * decay)
            if config.rays:
                rays = views.rays(config.objects, config.rays)
            else:
                stage = _stage(config.stages, step.fraction)
                rays = views.images(stage.batch, stage.side)
            rays = rays.to(self.device)
            self._descend(training, net, codes(rays.objects), rays, noise)
        self._learned(net, codes.weight)

    def fit(self, scene: Scene, budget: Budget) -> SrnField:
        """The field of one scene: its code is optimised on its views, and the networks stay as they are.

        It takes `fit_steps` steps, or fewer where the budget ends before.

        Raises:
            Unsupported: nothing was learned or loaded.
            DataMissing: the scene gives no views.
            Diverged: the loss is no number.
        """
        if self.networks is None or self.codes is None:
            raise Unsupported(
                f"{NAME} has learned nothing, so it cannot fit.",
                "Give it a task with training scenes, or load a checkpoint.",
            )
        config, net = self.config, self.networks
        views = ObjectViews([scene], config.pixel_offset, self.seed, NAME)
        noise = torch.Generator(self.device).manual_seed(self.seed)
        code = self._codes(1).to(self.device)
        if config.fit_start == "nearest":
            code.weight.data.copy_(self._nearest(views.rays(1, _LOOKED_AT)))
        adam = torch.optim.Adam(code.parameters(), fused=True)
        most = config.fit_steps if budget.steps is None else min(budget.steps, config.fit_steps)
        training = Training(
            dataclasses.replace(budget, steps=most),  # a budget of seconds can shorten the fit, not prolong it
            most,
            adam,
            {"code": code, "views": views, "noise": noise},
            device=self.device,
            precision=config.precision,
            field=lambda: SrnField(net, code.weight, scene.box),
            name="code",
        )
        for step in training:
            training.set_rates(config.fit_rate * config.rate_decay**step.fraction)
            if step.index % config.fit_every:
                training.descend(1, lambda part: 0 * code.weight[part].sum())  # only the momentum goes on
                continue
            rays = views.rays(1, config.fit_rays) if config.fit_rays else views.images(1, config.stages[-1].side)
            self._descend(training, net, code.weight, rays.to(self.device), noise)
        return SrnField(net, code.weight, scene.box)

    def _descend(self, training: Training, net: Networks, codes: Tensor, rays: Bundle, noise: torch.Generator) -> None:
        """One step of optimisation on a bundle of rays."""
        share = StepLoss(net, codes, rays, noise)
        if training.rows is None:
            training.rows = rows_at_once(self.config, len(rays.objects), self.device)

        def loss(part: slice) -> Tensor:
            with training.autocast():
                return share(part)

        training.descend(rays.near.shape[1], loss)

    def _codes(self, count: int) -> nn.Embedding:
        """`count` first codes, drawn from the seed."""
        drawn = torch.randn((count, self.config.code), generator=torch.Generator().manual_seed(self.seed))
        return nn.Embedding(count, self.config.code, _weight=_CODE_SPREAD * drawn).to(self.device)

    @torch.no_grad()
    def _nearest(self, rays: Bundle) -> Tensor:
        """The code (1,code), among those of the training objects and their mean, that explains the rays best."""
        assert self.networks is not None and self.codes is not None
        candidates = torch.cat([self.codes, self.codes.mean(0, keepdim=True)])
        rays = rays.to(self.device)
        errors = []
        for some in torch.split(candidates, rows_at_once(self.config, _LOOKED_AT, self.device)):
            each = Bundle(*(tensor.expand(len(some), *tensor.shape[1:]) for tensor in rays))
            colour, _ = self.networks.trace(self.networks.weights(some), each)
            errors.append((colour - (2 * rays.colours - 1)).square().mean((1, 2)))
        return candidates[torch.cat(errors).argmin()][None]

    def _learned(self, net: Networks, codes: Tensor) -> None:
        self.networks = net.to(self.device).requires_grad_(False)
        self.codes = codes.detach().to(self.device)

    def save(self, folder: Path) -> None:
        """Write `network.safetensors` and `network.json` into `folder`.

        Raises:
            Unsupported: nothing was learned or loaded.
        """
        if self.networks is None or self.codes is None:
            raise Unsupported(f"{NAME} has learned nothing to save.", "Call learn or load first.")
        tensors = {**self.networks.state_dict(), "codes": self.codes}
        write_checkpoint(folder, NAME, "network", tensors, {"config": dataclasses.asdict(self.config)})

    def load(self, folder: Path) -> None:
        """Read what `save` wrote. Steps, rates and how a code is fitted may differ; what makes the networks may not.

        Raises:
            DataMissing: no checkpoint in `folder`.
            DataCorrupt: the checkpoint cannot be read, or is of another method.
            Unsupported: it is of another config; the settings that differ are named.
        """
        tensors, about = read_checkpoint(folder, NAME, "network")
        theirs = about.get("config", {})
        mine = {name: getattr(self.config, name) for name in _FIXED}
        other = [f"{k} {theirs.get(k)} instead of {v}" for k, v in mine.items() if theirs.get(k) != v]
        if other:
            raise Unsupported(
                f"{folder} is a checkpoint of {NAME} with another config: {', '.join(other)}.",
                "Build the method with the config of the checkpoint, or learn again.",
            )
        net, codes = networks(self.config, self.seed), tensors.pop("codes", None)
        if codes is None or codes.ndim != 2 or not len(codes) or codes.shape[1] != self.config.code:
            raise DataCorrupt(f"{folder / 'network.safetensors'} has no codes of {self.config.code}.", "Learn again.")
        try:
            net.load_state_dict(tensors)
        except RuntimeError as error:
            raise DataCorrupt(f"{folder / 'network.safetensors'}: {error}", "Learn again.") from None
        self._learned(net, codes)

    def adopt(self, state: Mapping[str, Any], scene: Scene | None = None) -> None:
        """Take over the networks and codes of a published checkpoint; `scene` is not looked at.

        Raises:
            DataCorrupt: as `official_networks`.
        """
        tensors = official_networks(state, self.config)
        codes, net = tensors.pop("codes").float(), networks(self.config, 0)
        net.load_state_dict(tensors)
        self._learned(net, codes)

    def restore(self, folder: Path) -> SrnField:
        """The field that `SrnField.save` wrote into `folder`; nothing needs to be learned or loaded before.

        Raises:
            DataMissing: no field in `folder`.
            DataCorrupt: it cannot be read, or is of another method.
        """
        tensors, about = read_checkpoint(folder, NAME, "field")
        try:
            return SrnField.restored(tensors, about, self.device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise DataCorrupt(f"{folder} holds no field of {NAME}: {error}.", "Fit it again.") from error


def _stage(stages: Sequence[Stage], fraction: float) -> Stage:
    """The stage that a part of the training in [0,1) falls into."""
    done = fraction * sum(stage.steps for stage in stages)
    for stage in stages:
        done -= stage.steps
        if done < 0:
            return stage
    return stages[-1]


def _frame(scenes: Sequence[Scene]) -> Tensor:
    """(4,) centre and half of the longest edge of the box around the boxes of all scenes."""
    boxes = np.stack([scene.box for scene in scenes])
    low, high = boxes[:, 0].min(0), boxes[:, 1].max(0)
    return torch.tensor([*((low + high) / 2).tolist(), float((high - low).max()) / 2])


# -------------------------------------------------------------------------------------------- official checkpoints


def official_networks(state: Mapping[str, Any], config: SrnConfig | None = None) -> dict[str, Tensor]:
    """The tensors of our networks, and the codes, from a published checkpoint: what `Srn.save` writes.

    Args:
        state: what `torch.load(file, weights_only=True)` gives: the model's own state, or that under `model`.
        config: of the networks; `paper` when left out.

    Raises:
        DataCorrupt: a name that is not known, one that is missing, or a tensor of another shape; they are named.
    """
    config = config or SrnConfig()
    official, ours = section(state, "model"), networks(config, 0).state_dict()
    names = {name: _official(name, config) for name in ours if name != "frame"} | {"codes": "latent_codes.weight"}
    codes = official.get(names["codes"])
    shapes = {name: tuple(tensor.shape) for name, tensor in ours.items()}
    shapes["codes"] = (len(codes) if isinstance(codes, Tensor) else 0, config.code)
    hint = (
        "Only networks of a category with the per-pixel renderer are known, not --fit_single_srn, --use_unet_renderer "
        "or --has_params; a config of another size can be set."
    )
    return {"frame": ours["frame"]} | mapped(official, names, shapes, hint=hint)


def _official(name: str, config: SrnConfig) -> str:
    """The name in the original code of one of our tensors: all but the last layer stand in blocks of their own."""
    part, _, rest = name.partition(".")
    if part == "marcher":
        return f"ray_marcher.{rest}"
    prefix, last = "pixel_generator.net", 3 * (config.generator_layers - 1)
    if part == "hyper":
        layer, _, rest = rest.partition(".")
        prefix, last = f"hyper_phi.layers.{layer}.hyper_linear.hypo_params.net", 6
    place, _, kind = rest.partition(".")
    block, inside = divmod(int(place), 3)
    return f"{prefix}.{block}.{kind}" if int(place) == last else f"{prefix}.{block}.net.{inside}.{kind}"
