"""DeepSDF: Learning Continuous Signed Distance Functions for Shape Representation (Park et al., CVPR 2019).

A decoder takes a code and a point to the signed distance of the shape that the code stands for. There is no encoder:
the codes of the training shapes are learned together with the decoder, and an unseen shape is fitted by optimising its
code alone (section 4.2). `DeepSdf` is that; `DeepSdfShape` is one network for one shape, without a code (section 4.1).
`paper` follows the original code and its settings for chairs where they differ from the paper: the norm of a code is
penalised, not its square; a tanh stands behind the last layer whatever the settings say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from nfbench.baselines.dropout_kernel import relu_dropout
from nfbench.baselines.sdf_batches import SdfBatches
from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import DataCorrupt, NotFound, Unsupported, did_you_mean
from nfbench.harness.method import Budget, Method
from nfbench.harness.official import mapped, section
from nfbench.harness.scene import Kind, Scene
from nfbench.harness.training import Precision, Training

NAME, SINGLE = "deepsdf", "deepsdf-single"

_Array = NDArray[np.float32]
_Layers = list[tuple[Tensor, Tensor]]
_Active = Callable[[Tensor], Tensor]
_CACHED = 1 << 19  # numbers of one layer's output that stay in the cache of a processor
_GPU_ROWS = 1 << 18  # points at a time on a GPU
_RISE = 0.05  # the part of the training over which annealed rates rise
_SEEDS = 0x5DF  # sets the generator of dropout masks apart from that of samples


@dataclass(frozen=True)
class DeepSdfShapeConfig:
    """Settings of one network for one shape; the defaults are those of the original code for chairs, without a code.

    Attributes:
        width: of every hidden layer.
        layers: how many there are.
        skip: this layer, counted from 0, gets the input again beside the output of the one before; 0 for none.
        dropout: the chance of a hidden number to be dropped while training.
        clamp: distances, predicted and true, are cut off at plus and minus this, in scene units, for the loss.
        samples: of a shape and step, half of them outside, half inside.
        epochs: how often each training shape is met.
        rate: of Adam, for the network.
        halve_every: epochs after which the rates are halved.
        anneal: lets the rates fall to zero along a cosine instead, after a short rise.
        precision: `bf16` does matrix products in bfloat16 while training; the field is always fp32.
    """

    width: int = 512
    layers: int = 8
    skip: int = 4
    dropout: float = 0.2
    clamp: float = 0.1
    samples: int = 16384
    epochs: int = 2001
    rate: float = 5e-4
    halve_every: int = 500
    anneal: bool = False
    precision: Precision = "fp32"


@dataclass(frozen=True)
class DeepSdfConfig(DeepSdfShapeConfig):
    """Settings of DeepSDF; the defaults are those of the original code for chairs.

    Attributes:
        code: length of a code.
        code_norm: codes that are longer are shortened to this before they are used.
        code_rate: of Adam, for the codes.
        penalty: weight of the mean norm of the codes in the loss.
        ramp: epochs over which that weight rises from nothing.
        batch: shapes a step; all of them where there are fewer.
        fit_steps: optimisation steps for the code of an unseen shape; a budget can only shorten them.
        fit_samples: of the shape and step.
        fit_rate: of Adam, in the first half of them; a tenth of it in the second.
        fit_penalty: weight of the mean square of the code's numbers.
        fit_std: standard deviation of the code that it starts from.
    """

    code: int = 256
    code_norm: float = 1.0
    code_rate: float = 1e-3
    penalty: float = 1e-4
    ramp: int = 100
    batch: int = 64
    fit_steps: int = 800
    fit_samples: int = 8000
    fit_rate: float = 5e-3
    fit_penalty: float = 1e-4
    fit_std: float = 0.01


# ----------------------------------------------------------------------------------------------------- the network


class NormedLinear(nn.Module):
    """A linear layer whose weights are directions times lengths, by row (Salimans and Kingma 2016)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        plain = nn.Linear(inputs, outputs)
        self.bias = plain.bias
        self.weight_g = nn.Parameter(plain.weight.detach().norm(dim=1, keepdim=True))
        self.weight_v = plain.weight

    @property
    def weight(self) -> Tensor:
        """(outputs,inputs) weight_g * weight_v / |weight_v|."""
        lengths: Tensor = self.weight_v.norm(dim=1, keepdim=True)
        return self.weight_v * (self.weight_g / lengths)


class Decoder(nn.Module):
    """Codes and points to signed distance (figure 4 of the paper).

    All points of a shape have the code in common, so that its part of the layers that see it, 256 of 259 columns of the
    first one, is computed once a shape and acts as their bias.
    """

    def __init__(self, code: int, config: DeepSdfShapeConfig) -> None:
        """The network of a config, for codes of length `code`, 0 for none, its weights from the global generator.

        Raises:
            Unsupported: no layer to feed the input into, or one with no room for it.
        """
        super().__init__()
        self.code, self.skip, entering = code, config.skip, code + 3
        if not 0 <= config.skip < config.layers or (config.skip and config.width <= entering):
            raise Unsupported(
                f"A network of {config.layers} layers, {config.width} wide, cannot take a code of {code} and a point in"
                f" again at layer {config.skip}.",
                f"Set skip to 0, or to a layer that there is, with a width of more than {entering}.",
            )
        inputs = [entering] + [config.width] * config.layers
        outputs = [config.width] * config.layers
        if config.skip:
            outputs[config.skip - 1] -= entering
            inputs[config.skip] = config.width
        hidden = [NormedLinear(n, m) for n, m in zip(inputs, outputs, strict=False)]
        self.lins = nn.ModuleList([*hidden, nn.Linear(config.width, 1)])

    def folded(self) -> tuple[_Layers, list[Tensor]]:
        """Weights and biases of all layers without the columns of the code, and those columns of the layers with it."""
        layers, columns = [], []
        for index, lin in enumerate(self.lins):
            weight, bias = lin.weight, lin.bias
            assert isinstance(weight, Tensor) and isinstance(bias, Tensor)  # for the type checker
            if self.code and index in (0, self.skip):
                at = weight.shape[1] - self.code - 3  # the point is last, the code before it
                columns.append(weight[:, at : at + self.code])
                weight = torch.cat([weight[:, :at], weight[:, at + self.code :]], 1)
            layers.append((weight, bias))
        return layers, columns

    def forward(self, xyz: Tensor, codes: Tensor, active: _Active = functional.relu) -> Tensor:
        """Signed distances (B,N) of points (B,N,3) for codes (B,code)."""
        return distances(*self.folded(), self.skip, xyz, codes, active)

    @torch.no_grad()
    def specialise(self, code: Tensor) -> _Layers:
        """Weights and biases of the plain network that gives the same distances for this one code (code,)."""
        layers, columns = self.folded()
        layers = with_codes(layers, columns, self.skip, code)
        return [(weight.detach().clone(), bias.detach().clone()) for weight, bias in layers]


def decoder(code: int, config: DeepSdfShapeConfig, seed: int) -> Decoder:
    """A decoder with weights drawn from `seed`, on the CPU; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Decoder(code, config)


def with_codes(layers: _Layers, columns: Sequence[Tensor], skip: int, codes: Tensor) -> _Layers:
    """The layers with the part of the codes (...,code) in their biases: (...,outputs) where a layer sees the code."""
    entered = dict(zip((0, skip), columns, strict=False))
    return [
        (weight, functional.linear(codes, entered[i], bias) if i in entered else bias)
        for i, (weight, bias) in enumerate(layers)
    ]


def distances(
    layers: _Layers, columns: Sequence[Tensor], skip: int, xyz: Tensor, codes: Tensor, active: _Active
) -> Tensor:
    """Signed distances (B,N) of points (B,N,3) for codes (B,code), by a decoder that is `folded`."""
    if not columns:
        return plain_distances(layers, skip, xyz, active)
    if len(xyz) == 1:
        return plain_distances(with_codes(layers, columns, skip, codes[0]), skip, xyz, active)
    return plain_distances(with_codes(layers, columns, skip, codes), skip, xyz, active)


def plain_distances(layers: _Layers, skip: int, xyz: Tensor, active: _Active) -> Tensor:
    """Signed distances (...,N) of points (...,N,3); biases are (outputs,) or (...,outputs)."""
    x = xyz
    for index, (weight, bias) in enumerate(layers[:-1]):
        x = torch.cat([x, xyz.to(x.dtype)], -1) if index and index == skip else x
        x = functional.linear(x, weight, bias) if bias.dim() == 1 else functional.linear(x, weight) + bias[:, None]
        x = active(x)
    return torch.tanh(functional.linear(x, *layers[-1])).squeeze(-1)


class _ReluDropout(torch.autograd.Function):
    """ReLU and dropout, on the CPU in fp32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, keys: tuple[np.uint32, np.uint32], chance: float) -> Tensor:  # noqa: ANN401
        ctx.scale = 1 / (1 - chance)
        dropped = np.uint32(min(round(chance * 2**32), 2**32 - 1))
        out = torch.empty_like(x)
        relu_dropout(x.view(-1).numpy(), out.view(-1).numpy(), *keys, dropped, np.float32(ctx.scale))
        ctx.save_for_backward(out)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        (out,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(grad, out, 0).mul_(ctx.scale), None, None


@dataclass(frozen=True)
class Dropout:
    """ReLU, then dropout of numbers by `chance`, its masks drawn from `keys`, on a GPU from the global generator."""

    chance: float
    keys: np.random.Generator

    def __call__(self, x: Tensor) -> Tensor:
        """(...) from numbers of the same shape."""
        if self.chance == 0:
            return functional.relu(x)
        if x.device.type != "cpu" or x.dtype != torch.float32:
            return functional.dropout(functional.relu(x), self.chance)
        first, second = self.keys.integers(2**32, size=2, dtype=np.uint32)
        return _ReluDropout.apply(x, (first, second), self.chance)  # type: ignore[no-any-return, no-untyped-call]


# ------------------------------------------------------------------------------------------------------- the loss


def clamped_error(found: Tensor, true: Tensor, clamp: float) -> Tensor:
    """The sum of absolute differences of distances (B,N) that are both cut off at +-clamp (equations 4 and 5)."""
    return (found.float().clamp(-clamp, clamp) - true.clamp(-clamp, clamp)).abs().sum()


def shared_loss(
    net: Decoder, codes: Tensor, xyz: Tensor, true: Tensor, part: slice, clamp: float, weight: float, active: _Active
) -> Tensor:
    """What the rows `part` of a batch of points (B,N,3) and distances (B,N) add to its loss for codes (B,code).

    The loss is the mean over the batch of the clamped error and of the norm of the code, times `weight`.
    """
    folded = net.folded()
    total = xyz.new_zeros(())
    for shape, rows in pieces(part, xyz.shape[1]):
        found = distances(*folded, net.skip, xyz[shape, rows], codes[shape], active)
        norms = codes[shape].norm(dim=1).sum() * (rows.stop - rows.start)
        total = total + clamped_error(found, true[shape, rows], clamp) + weight * norms
    return total / true.numel()


def pieces(part: slice, samples: int) -> list[tuple[slice, slice]]:
    """Which shapes and which of their samples the rows `part` of a batch (B,samples) are, in up to three blocks."""
    found, at = [], part.start
    while at < part.stop:
        shape, first = divmod(at, samples)
        whole = (part.stop - at) // samples if first == 0 else 0
        if whole:
            found.append((slice(shape, shape + whole), slice(0, samples)))
            at += whole * samples
        else:
            last = min(samples, first + part.stop - at)
            found.append((slice(shape, shape + 1), slice(first, last)))
            at += last - first
    return found


@torch.no_grad()
def shorten(codes: Tensor, shapes: Tensor, most: float) -> None:
    """Scale those of the codes (M,code) at `shapes` (B,) down that are longer than `most`, in place."""
    drawn = codes[shapes]
    norm = drawn.norm(dim=1, keepdim=True)
    codes[shapes] = torch.where(norm > most, drawn * (most / (norm + 1e-7)), drawn)


def rows_at_once(width: int, device: str) -> int:
    """How many points go through a network at once: on a CPU, as many as keep what a layer gives in the cache."""
    return max(_CACHED // width, 256) if device == "cpu" else _GPU_ROWS


def rate_factor(config: DeepSdfShapeConfig, fraction: float) -> float:
    """What the rates are multiplied by, when `fraction` of the training has passed."""
    if config.anneal:
        rise = min(1.0, 0.1 + fraction / _RISE)
        return rise * 0.5 * (1 + math.cos(math.pi * fraction))
    return float(0.5 ** (epoch(config, fraction) // config.halve_every))


def epoch(config: DeepSdfShapeConfig, fraction: float) -> int:
    """The epoch, counted from 1 as the original does, when `fraction` of the training has passed."""
    return 1 + int(fraction * config.epochs + 1e-6)  # fractions of whole epochs are rounded up or down


# ------------------------------------------------------------------------------------------------------- the field


class DeepSdfField:
    """One shape: the signed distance (P,) at points (P,3), true up to the distance at which training cut it off.

    Attributes:
        kind: `sdf`, negative inside.
        parameters: trainable numbers of the decoder, and of the code where there is one.
    """

    kind: Kind = "sdf"

    def __init__(self, method: str, layers: _Layers, skip: int, parameters: int, device: str) -> None:
        self.method = method
        self.layers = [(weight.to(device), bias.to(device)) for weight, bias in layers]
        self.skip = skip
        self.parameters = parameters
        self.device = device

    def value(self, xyz: _Array) -> _Array:
        """Signed distances (P,) float32 at `xyz` (P,3), both in scene units."""
        out = np.empty(len(xyz), np.float32)
        rows = rows_at_once(self.layers[0][0].shape[0], self.device)
        with torch.inference_mode():
            for at in range(0, len(xyz), rows):
                part = torch.tensor(np.asarray(xyz[at : at + rows], np.float32), device=self.device)
                out[at : at + rows] = plain_distances(self.layers, self.skip, part, functional.relu_).cpu().numpy()
        return out

    def save(self, folder: Path) -> None:
        """Write `field.safetensors` and `field.json`; `restore` of the method reads them, without a decoder."""
        tensors: dict[str, Tensor] = {}
        for index, (weight, bias) in enumerate(self.layers):
            tensors |= {f"{index}.weight": weight, f"{index}.bias": bias}
        about = {"parameters": self.parameters, "skip": self.skip}
        write_checkpoint(folder, self.method, "field", tensors, about)

    @classmethod
    def restored(cls, method: str, folder: Path, device: str) -> DeepSdfField:
        """The field that `save` wrote.

        Raises:
            DataMissing: no field in `folder`.
            DataCorrupt: it cannot be read, is of another method, or its layers do not follow each other.
        """
        tensors, about = read_checkpoint(folder, method, "field")
        try:
            skip, parameters = int(about["skip"]), int(about["parameters"])
            layers = [(tensors[f"{i}.weight"], tensors[f"{i}.bias"]) for i in range(len(tensors) // 2)]
            found = plain_distances(layers, skip, torch.zeros(1, 3), functional.relu)
            if found.shape != (1,):
                raise ValueError(f"the last layer gives {found.shape[-1]} numbers, not one")
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            raise DataCorrupt(f"{folder} holds no field of {method}: {error}.", "Fit it again.") from error
        return cls(method, layers, skip, parameters, device)


# ------------------------------------------------------------------------------------------------------ the methods


class DeepSdf(Method[DeepSdfConfig]):
    """Learns a category from signed distances, and fits a shape by optimising its code.

    Presets: `paper` has the original settings for chairs (1,843,195 numbers beside the codes). `fast` is for one GPU
    and minutes: 300 epochs with all periods in proportion, a quarter of the samples at twice the rates, products in
    bfloat16, and half the steps to fit. `tiny` learns a small category on two processor cores in a minute: four layers
    of 128 and codes of 64 without dropout, 32 shapes with 128 samples a step, higher rates that fall along a cosine,
    and 400 steps of 2048 samples to fit.

    Steps follow from epochs: as many an epoch as there are whole batches of shapes, and one where there are fewer
    shapes than a batch has, where the original takes none at all. With a budget, rates and the ramp stretch over it;
    the fit of a shape takes as many steps as the config says, fewer with a smaller budget, never more. To fit, the
    original takes windows of shuffled samples, which is drawing without replacement; samples are drawn with it here,
    as both do to learn.
    """

    Config = DeepSdfConfig
    presets: ClassVar[Mapping[str, DeepSdfConfig]] = {
        "paper": DeepSdfConfig(),
        "fast": DeepSdfConfig(
            samples=4096,
            epochs=300,
            rate=1e-3,
            code_rate=2e-3,
            halve_every=75,
            ramp=15,
            fit_steps=400,
            precision="bf16",
        ),
        "tiny": DeepSdfConfig(
            width=128,
            layers=4,
            skip=2,
            code=64,
            dropout=0.0,
            samples=128,
            epochs=4000,
            rate=4e-3,
            code_rate=4e-3,
            anneal=True,
            batch=32,
            fit_steps=400,
            fit_samples=2048,
            fit_rate=1e-2,
        ),
    }
    needs = ("samples",)

    def __init__(self, config: DeepSdfConfig, seed: int = 0, device: str = "cpu") -> None:
        super().__init__(config, seed, device)
        self.decoder: Decoder | None = None
        self.codes = torch.zeros(0, config.code)
        self.names: tuple[str, ...] = ()

    def learn(self, scenes: Sequence[Scene], budget: Budget) -> None:
        """Fit the decoder and a code for each of the training scenes, from their signed distances (equation 9).

        The loss is the clamped error, averaged over all samples, and the weighted mean norm of the codes.

        Raises:
            DataMissing: a scene without samples, or without any inside or outside; it is named.
            Unsupported: no scenes, or samples of another kind.
        """
        if not scenes:
            raise Unsupported(
                f"{NAME} learns from training scenes, and this task has none.",
                f"Use {SINGLE} for one shape, or a task with a training split, procedural-shapes/sdf-to-shape for one.",
            )
        config = self.config
        batches = SdfBatches(scenes, config.batch, config.samples, self.device, self.seed)
        net = decoder(config.code, config, self.seed).to(self.device)
        table = torch.randn(len(scenes), config.code, generator=torch.Generator().manual_seed(self.seed))
        codes = nn.ParameterList([(table / math.sqrt(config.code)).to(self.device)])
        masks = np.random.default_rng([self.seed, _SEEDS])
        groups: list[dict[str, Any]] = [{"params": list(net.parameters())}, {"params": list(codes.parameters())}]
        training = Training(
            budget,
            config.epochs * batches.per_epoch,
            torch.optim.Adam(groups, fused=True),
            {"decoder": net, "codes": codes, "batches": batches, "masks": masks},
            device=self.device,
            precision=config.precision,
            rows=rows_at_once(config.width, self.device),
        )
        active = Dropout(config.dropout, masks)
        for step in training:
            factor = rate_factor(config, step.fraction)
            training.set_rates(config.rate * factor, config.code_rate * factor)
            weight = config.penalty * min(1.0, epoch(config, step.fraction) / config.ramp)
            shapes, xyz, true = batches.draw()
            shorten(codes[0], shapes, config.code_norm)

            def loss(
                part: slice, shapes: Tensor = shapes, xyz: Tensor = xyz, true: Tensor = true, weight: float = weight
            ) -> Tensor:
                with training.autocast():
                    return shared_loss(net, codes[0][shapes], xyz, true, part, config.clamp, weight, active)

            training.descend(true.numel(), loss)
        self.decoder, self.codes = net, codes[0].detach()
        self.names = tuple(scene.name for scene in scenes)

    def fit(self, scene: Scene, budget: Budget) -> DeepSdfField:
        """The field of a shape, by the code that explains its signed distances best (equation 10).

        Raises:
            Unsupported: nothing was learned or loaded, or samples of another kind.
            DataMissing: no samples, or none of them inside or outside.
        """
        net, config = self._learned(), self.config
        batches = SdfBatches([scene], 1, config.fit_samples, self.device, self.seed)
        start = torch.randn(1, config.code, generator=torch.Generator().manual_seed(self.seed)) * config.fit_std
        code = nn.ParameterList([start.to(self.device)])
        with torch.no_grad():
            layers, columns = net.folded()
        most = config.fit_steps if budget.steps is None else min(budget.steps, config.fit_steps)
        training = Training(
            dataclasses.replace(budget, steps=most),
            most,
            torch.optim.Adam(code.parameters(), fused=True),
            {"code": code, "batches": batches},
            device=self.device,
            precision=config.precision,
            rows=rows_at_once(config.width, self.device),
            field=lambda: self._field(code[0][0].detach()),
        )
        for step in training:
            training.set_rates(config.fit_rate * (1.0 if step.fraction < 0.5 else 0.1))
            _, xyz, true = batches.draw()

            def loss(part: slice, xyz: Tensor = xyz, true: Tensor = true) -> Tensor:
                with training.autocast():
                    found = distances(layers, columns, config.skip, xyz[:, part], code[0], functional.relu)
                penalty: Tensor = config.fit_penalty * code[0].square().mean() * found.numel()
                return (clamped_error(found, true[:, part], config.clamp) + penalty) / true.numel()

            training.descend(true.numel(), loss)
        return self._field(code[0][0].detach())

    def known(self, name: str) -> DeepSdfField:
        """The field of a training shape, by the code that was learned with the decoder.

        Raises:
            Unsupported: nothing was learned or loaded.
            NotFound: no training shape of that name.
        """
        self._learned()
        if name not in self.names:
            raise NotFound(f"No shape {name!r} was learned.", did_you_mean(name, self.names, "shapes"))
        return self._field(self.codes[self.names.index(name)])

    def save(self, folder: Path) -> None:
        """Write `network.safetensors` and `network.json`: the decoder, and the codes of the training shapes.

        Raises:
            Unsupported: nothing was learned or loaded.
        """
        tensors = {f"{_DECODER}{name}": tensor for name, tensor in self._learned().state_dict().items()}
        about = {"config": dataclasses.asdict(self.config), "names": list(self.names)}
        write_checkpoint(folder, NAME, "network", tensors | {"codes": self.codes}, about)

    def load(self, folder: Path) -> None:
        """Read what `save` wrote; settings that do not shape the network may be others.

        Raises:
            DataMissing: no checkpoint in `folder`.
            DataCorrupt: the checkpoint cannot be read, is of another method, or its tensors do not fit.
            Unsupported: it is of another network; the settings that differ are named.
        """
        tensors, about = read_checkpoint(folder, NAME, "network")
        theirs, mine = about.get("config", {}), dataclasses.asdict(self.config)
        other = [f"{k} {theirs.get(k)} instead of {mine[k]}" for k in _SHAPING if theirs.get(k) != mine[k]]
        if other:
            raise Unsupported(
                f"{folder} is a checkpoint of {NAME} with another config: {', '.join(other)}.",
                "Build the method with the config of the checkpoint, or learn again.",
            )
        names = {name: name for name in _shapes(self.config)}
        found = mapped(tensors, names, _shapes(self.config), ignored=("codes",))
        self._take(found | {"codes": tensors.get("codes", self.codes[:0].cpu())}, tuple(about.get("names", ())))

    def adopt(self, state: Mapping[str, Any], scene: Scene | None = None) -> None:
        """Take over what the original code saved; see `official_networks`. Codes are named by their numbers.

        Args:
            state: of a file of ModelParameters.
            scene: not looked at.

        Raises:
            DataCorrupt: tensors that are missing, not known or of another shape; they are named.
        """
        self._take(official_networks(state, self.config), ())

    def _take(self, tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> None:
        codes = tensors.get("codes", torch.zeros(0, self.config.code)).float()
        if codes.dim() != 2 or codes.shape[1] != self.config.code or len(names or codes) != len(codes):
            raise DataCorrupt(
                f"The codes are {tuple(codes.shape)}, for {len(names)} shapes and a length of {self.config.code}.",
                "Learn again, or build the method with the config of the codes.",
            )
        net = decoder(self.config.code, self.config, self.seed)
        net.load_state_dict({name.removeprefix(_DECODER): t for name, t in tensors.items() if name != "codes"})
        self.decoder, self.codes = net.to(self.device), codes.to(self.device)
        self.names = names or tuple(map(str, range(len(codes))))

    def restore(self, folder: Path) -> DeepSdfField:
        """The field that `DeepSdfField.save` wrote into `folder`; nothing needs to be learned or loaded before.

        Raises:
            DataMissing: no field in `folder`.
            DataCorrupt: it cannot be read, or is of another method.
        """
        return DeepSdfField.restored(NAME, folder, self.device)

    def _learned(self) -> Decoder:
        if self.decoder is None:
            raise Unsupported(
                f"{NAME} has learned nothing, so it can neither fit nor be saved.",
                "Give it a task with training scenes, or load a checkpoint.",
            )
        return self.decoder

    def _field(self, code: Tensor) -> DeepSdfField:
        net = self._learned()
        parameters = sum(p.numel() for p in net.parameters()) + code.numel()
        return DeepSdfField(NAME, net.specialise(code), self.config.skip, parameters, self.device)


class DeepSdfShape(Method[DeepSdfShapeConfig]):
    """One network for one shape, without a code, from its signed distances (section 4.1, figure 3a).

    Presets: `paper` takes network and training from the settings for chairs, of which one step is an epoch here. `fast`
    is for one GPU and a minute: products in bfloat16 and no dropout, which stands against learning by heart what is to
    be learned by heart here. `tiny` does so too, and has six layers of 128, on two processor cores for a minute: 512
    samples a step, since many steps tell more than many samples, and a rate that falls along a cosine.
    """

    Config = DeepSdfShapeConfig
    presets: ClassVar[Mapping[str, DeepSdfShapeConfig]] = {
        "paper": DeepSdfShapeConfig(),
        "fast": DeepSdfShapeConfig(dropout=0.0, precision="bf16"),
        "tiny": DeepSdfShapeConfig(
            width=128, layers=6, skip=3, dropout=0.0, samples=512, epochs=12_000, rate=1e-3, anneal=True
        ),
    }
    needs = ("samples",)

    def fit(self, scene: Scene, budget: Budget) -> DeepSdfField:
        """The field of one shape. The loss is the clamped error, averaged over the samples (equation 4).

        Raises:
            DataMissing: no samples, or none of them inside or outside.
            Unsupported: samples of another kind.
        """
        config = self.config
        batches = SdfBatches([scene], 1, config.samples, self.device, self.seed)
        net = decoder(0, config, self.seed).to(self.device)
        masks = np.random.default_rng([self.seed, _SEEDS])
        training = Training(
            budget,
            config.epochs,
            torch.optim.Adam(net.parameters(), fused=True),
            {"decoder": net, "batches": batches, "masks": masks},
            device=self.device,
            precision=config.precision,
            rows=rows_at_once(config.width, self.device),
            field=lambda: self._field(net),
        )
        active = Dropout(config.dropout, masks)
        for step in training:
            training.set_rates(config.rate * rate_factor(config, step.fraction))
            _, xyz, true = batches.draw()

            def loss(part: slice, xyz: Tensor = xyz, true: Tensor = true) -> Tensor:
                with training.autocast():
                    found = distances(*net.folded(), config.skip, xyz[:, part], xyz[:, :0, 0], active)
                return clamped_error(found, true[:, part], config.clamp) / true.numel()

            training.descend(true.numel(), loss)
        return self._field(net)

    def _field(self, net: Decoder) -> DeepSdfField:
        parameters = sum(p.numel() for p in net.parameters())
        return DeepSdfField(SINGLE, net.specialise(torch.zeros(0)), self.config.skip, parameters, self.device)

    def restore(self, folder: Path) -> DeepSdfField:
        """The field that `DeepSdfField.save` wrote into `folder`.

        Raises:
            DataMissing: no field in `folder`.
            DataCorrupt: it cannot be read, or is of another method.
        """
        return DeepSdfField.restored(SINGLE, folder, self.device)


# ------------------------------------------------------------------------------------------- the original's weights

_SHAPING = ("code", "width", "layers", "skip")  # what decides the shapes of the tensors
_DECODER = "decoder."
_PARTS = ("parametrizations.weight.original0", "parametrizations.weight.original1")  # of weight norm since torch 2.0


def official_networks(state: Mapping[str, Any], config: DeepSdfConfig) -> dict[str, Tensor]:
    """The tensors of a checkpoint of `DeepSdf`, `codes` among them where there are some.

    Args:
        state: as the original code saves it to `ModelParameters/*.pth`, or the state dict in it; with `latent_codes`
            of `LatentCodes/*.pth` put beside it where the codes of the training shapes are wanted.
        config: of the network.

    Raises:
        DataCorrupt: tensors that are missing, not known or of another shape; they are named.
    """
    official = section(state, "model_state_dict")
    shapes = _shapes(config)
    names = {name: name.replace(f"{_DECODER}lins.", "lin") for name in shapes}
    if any(_PARTS[0] in name for name in official):
        names = {k: v.replace("weight_g", _PARTS[0]).replace("weight_v", _PARTS[1]) for k, v in names.items()}
    found = mapped(official, names, shapes, ignored=("epoch", "latent_codes"))
    codes = state.get("latent_codes")
    codes = codes.get("weight") if isinstance(codes, Mapping) else codes
    return found if codes is None else found | {"codes": codes.reshape(len(codes), -1)}  # once they were (N,1,code)


def _shapes(config: DeepSdfConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of the decoder of a config, by its name in a checkpoint."""
    with torch.device("meta"):
        state = Decoder(config.code, config).state_dict()
    return {f"{_DECODER}{name}": tuple(tensor.shape) for name, tensor in state.items()}
