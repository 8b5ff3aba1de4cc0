"""IDR: Multiview Neural Surface Reconstruction by Disentangling Geometry and Appearance (Yariv et al., NeurIPS 2020).

One network is a signed distance whose zero level is the surface; another gives the colour of a surface point from its
place, its normal, the direction it is seen from, and a feature of the first. A ray's pixel is the colour where it meets
the surface, and that point is a function of the geometry's parameters (equation 3), so that colours shape the surface.
Masks are needed: rays of the background have to miss it.

`paper` follows the released code at its `dtu_fixed_cameras` settings; with `train_cameras` it is `dtu_trained_cameras`.
Where the code has more than the paper it is the code: the factor of the mask loss, mean eikonal loss at uniform points
and at all ray points, pixels of one view a step, geometric initialisation in which only the coordinates enter. Its
epochs, of one step a view, are stretched or squeezed to the budget. The maths is the same in fewer evaluations: value,
feature and normal come from one forward and one backward sweep in closed form, and the dependence of the surface point
on the parameters is put in by its derivative. The bench's own: the first pixel's centre is at +0.5; outside the sphere
that the scene is scaled to, the value is the distance to that sphere where this is greater; rays that miss the surface
get the scene's background.

`fast` is for a GPU and minutes. It differs in this: layers of 256; pixels of all views at once, half of them of the
object and many next to its outline; a grid of recent values that leads rays to the surface in place of sphere tracing;
frequencies that are brought in one after the other; a higher rate that falls steadily; the colour network gets the
place in frequencies as well, and runs in bfloat16.

`tiny` is the same for two processor cores and a few minutes, with 4 and 3 narrow layers, all in float32, and a mask
loss that is four times as sharp from the start.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nfbench.baselines.encoding import encode
from nfbench.baselines.masked_pixels import Batch, MaskedPixels
from nfbench.baselines.sphere_tracing import Distance, GuidedTracer, Traced, Tracer
from nfbench.harness.camera import Cameras, rays, unit_frame
from nfbench.harness.checkpoint import read_checkpoint, write_checkpoint
from nfbench.harness.errors import DataCorrupt, Unsupported
from nfbench.harness.method import Budget, Method
from nfbench.harness.official import mapped, section
from nfbench.harness.scene import Float, Kind, Scene
from nfbench.harness.training import Precision, Training
from nfbench.harness.view_maps import FieldMaps

NAME = "idr"

_softplus_out: Callable[..., Tensor] = torch._C._nn.softplus  # in place, which F.softplus is not

_EPOCHS = 2000  # of the released code, whose schedule is in the parts of them
_HALVED = (1000 / _EPOCHS, 1500 / _EPOCHS)  # where the rate is
_SHARPENED = tuple(at / _EPOCHS for at in (250, 500, 750, 1000, 1250))  # where alpha is doubled
_RAYS = 1 << 14  # traced at once when rendering
_CHUNK = 1 << 12  # points a forward pass without gradients: the activations of a wide network stay in the cache
_LEAST_COSINE = 1e-3  # of ray and normal, in the derivative of a point along a ray that grazes the surface
_MISSED = 0.005  # part of the foreground's rays that may miss the sphere before a larger one is taken
_PART = 1 << 17  # numbers of a layer on a CPU: the activations of a part of a batch stay in the caches
_REFRESH = 20  # steps between two looks at the grid's nodes next to the surface; every eighth time it is all of them
_BAND = 0.15  # of the unit sphere's radius, that is next to the surface


@dataclass(frozen=True)
class IdrConfig:
    """Settings; the defaults are those of the released code for DTU with fixed cameras.

    Attributes:
        layers: hidden layers of the signed distance.
        width: of each.
        skip: the encoded point is fed in again after this many layers; 0 for never.
        frequencies: of the positional encoding of points.
        growing: the part of the training by whose end all frequencies are in; 0 for all from the start.
        features: numbers that the signed distance hands to the colour.
        bias: radius of the sphere that the signed distance starts as, in units of the bounding sphere.
        beta: of softplus.
        colour_layers: hidden layers of the colour.
        colour_width: of each.
        place_frequencies: of the positional encoding of the point for the colour.
        view_frequencies: of the positional encoding of the viewing direction.
        iterations: of sphere tracing.
        samples: along a ray, where sphere tracing does not arrive, or should not.
        secants: steps of the secant method.
        guide: nodes along each edge of the grid that leads rays; 0 for sphere tracing.
        pixels: a step.
        one_view: whether the pixels of a step come from one view, uniformly; else from all, half from the foreground.
        epochs: of as many steps as there are views, where the budget has no number.
        rate: of Adam, at the first step.
        rate_end: what it has fallen to at the end, as a part; 0 for halving it after 1/2 and 3/4 of the training.
        eikonal: weight of the eikonal loss.
        mask: weight of the mask loss.
        alpha: its sharpness, doubled five times.
        train_cameras: whether the cameras' poses are optimised as well; what `render` is asked for stays as it is.
        camera_rate: of their Adam.
        precision: of the colour network; the signed distance is always float32, whose digits the tracer needs.
    """

    layers: int = 8
    width: int = 512
    skip: int = 4
    frequencies: int = 6
    growing: float = 0.0
    features: int = 256
    bias: float = 0.6
    beta: float = 100.0
    colour_layers: int = 4
    colour_width: int = 512
    place_frequencies: int = 0
    view_frequencies: int = 4
    iterations: int = 10
    samples: int = 100
    secants: int = 8
    guide: int = 0
    pixels: int = 2048
    one_view: bool = True
    epochs: int = _EPOCHS
    rate: float = 1e-4
    rate_end: float = 0.0
    eikonal: float = 0.1
    mask: float = 100.0
    alpha: float = 50.0
    train_cameras: bool = False
    camera_rate: float = 1e-4
    precision: Precision = "fp32"


FAST = IdrConfig(
    width=256,
    place_frequencies=8,
    colour_width=256,
    guide=128,
    secants=4,
    one_view=False,
    pixels=4096,
    epochs=400,
    rate=5e-4,
    rate_end=0.05,
    growing=0.3,
    precision="bf16",
)
TINY = IdrConfig(
    layers=4,
    width=64,
    skip=2,
    features=32,
    growing=0.4,
    colour_layers=3,
    colour_width=96,
    place_frequencies=9,
    view_frequencies=2,
    guide=64,
    secants=3,
    one_view=False,
    pixels=1024,
    epochs=160,
    rate=3e-3,
    rate_end=0.05,
    alpha=200.0,
)


class _Softplus(torch.autograd.Function):
    """Softplus h = ln(1 + e^(beta a)) / beta and its derivative s = 1 - e^(-beta h), with both derivatives from s."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, beta: float) -> tuple[Tensor, Tensor]:  # noqa: ANN401
        h = F.softplus(a, beta)
        s = torch.mul(h, -beta).expm1_().neg_()
        ctx.save_for_backward(s)
        ctx.beta = beta
        return h, s

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        gh, gs = gradients
        (s,) = ctx.saved_tensors
        return torch.addcmul(gh, gs, 1 - s, value=ctx.beta).mul_(s), None


def _softplus(a: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    found: tuple[Tensor, Tensor] = _Softplus.apply(a, beta)  # type: ignore[no-untyped-call]
    return found


class Linear(nn.Module):
    """A linear layer with weight normalisation, in the parameters of the original: W = g v / |v|, row by row."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias)
        self.weight_g = nn.Parameter(weight.norm(dim=1, keepdim=True))
        self.weight_v = nn.Parameter(weight)

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias."""
        return torch._weight_norm(self.weight_v, self.weight_g, 0), self.bias


Weights = list[tuple[Tensor, Tensor]]


class Answer(NamedTuple):
    """What the geometry says of P points: signed distance (P,), its gradient (P,3), and features (P,F)."""

    distance: Tensor
    gradient: Tensor
    features: Tensor


class Geometry(nn.Module):
    """The signed distance, in units of the bounding sphere, with features for the colour."""

    reach: Tensor

    def __init__(self, config: IdrConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        encoded = 3 + 6 * config.frequencies
        if config.skip and config.width <= encoded:
            raise Unsupported(
                f"IDR with width {config.width} has no room for the {encoded} numbers of an encoded point.",
                f"Set width above {encoded}, skip=0, or fewer frequencies.",
            )
        self.register_buffer("reach", torch.ones(encoded))
        layers = []
        for index in range(config.layers):
            inputs = config.width if index else encoded
            outputs = config.width - (encoded if index + 1 == config.skip else 0)
            weight = torch.randn(outputs, inputs, generator=generator) * math.sqrt(2 / outputs)
            if index == 0 or index == config.skip:
                weight[:, inputs - encoded + 3 :] = 0  # at first, only the coordinates enter
            layers.append(Linear(weight, torch.zeros(outputs)))
        mean = math.sqrt(math.pi / config.width)
        last = mean + 1e-4 * torch.randn(1 + config.features, config.width, generator=generator)
        layers.append(Linear(last, torch.full((1 + config.features,), -config.bias)))
        self.layers = nn.ModuleList(layers)

    def grow(self, fraction: float) -> None:
        """Bring in the frequencies one after the other until `fraction` of the training is `config.growing`."""
        if self.config.growing:
            count = self.config.frequencies
            part = torch.arange(count, device=self.reach.device)
            level = 2 + (count - 2) * fraction / self.config.growing
            self.reach[3:] = (level - part).clamp(0, 1).repeat_interleave(6)

    def folded(self) -> Weights:
        """Weights and biases of all layers, once for all points of a step."""
        found: Weights = [layer.folded() for layer in self.layers]  # type: ignore[operator]
        if self.config.skip:
            weight, bias = found[self.config.skip]
            found[self.config.skip] = weight / math.sqrt(2), bias
        return found

    def _encoded(self, x: Tensor) -> Tensor:
        return encode(x, self.config.frequencies) * self.reach

    def forward(self, x: Tensor, weights: Weights, features: bool = True) -> Answer:
        """Signed distance, gradient and, unless left out, features at `x` (P,3), differentiable in weights and `x`.

        The gradient is the backward sweep of the chain rule, written out.
        """
        config, encoded = self.config, self._encoded(x)
        hidden, slopes = encoded, []
        for index, (weight, bias) in enumerate(weights[:-1]):
            if index and index == config.skip:
                hidden = torch.cat([hidden, encoded], 1)
            hidden, slope = _softplus(F.linear(hidden, weight, bias), config.beta)
            slopes.append(slope)
        weight, bias = weights[-1] if features else (weights[-1][0][:1], weights[-1][1][:1])
        output = F.linear(hidden, weight, bias)
        back, again = weight[:1], None
        for index in range(config.layers - 1, -1, -1):
            back = (back * slopes[index]) @ weights[index][0]
            if index and index == config.skip:
                width = back.shape[1] - encoded.shape[1]
                back, again = back[:, :width], back[:, width:]
        back = back if again is None else back + again
        return Answer(output[:, 0], self._to_point(back, encoded), output[:, 1:])

    def _to_point(self, back: Tensor, encoded: Tensor) -> Tensor:
        """The gradient (P,3) at the point, from that at its encoding (P,E)."""
        count = self.config.frequencies
        if not count:
            return back * self.reach
        octaves = 2.0 ** torch.arange(count, dtype=back.dtype, device=back.device)[:, None]
        back_sin, back_cos = back[:, 3:].view(-1, count, 2, 3).unbind(2)
        sin, cos = encoded[:, 3:].view(-1, count, 2, 3).unbind(2)  # as scaled by `reach`, and so is their derivative
        return back[:, :3] + ((back_sin * cos - back_cos * sin) * octaves).sum(1)

    @torch.no_grad()
    def distances(self, x: Tensor, weights: Weights) -> Tensor:
        """Signed distances (P,) at `x` (P,3), without gradients and features."""
        found = torch.empty(len(x), dtype=x.dtype, device=x.device)
        for start in range(0, len(x), _CHUNK):
            encoded = self._encoded(x[start : start + _CHUNK])
            hidden = encoded
            for index, (weight, bias) in enumerate(weights[:-1]):
                if index and index == self.config.skip:
                    width = hidden.shape[1]
                    linear = torch.addmm(bias, hidden, weight[:, :width].T).addmm_(encoded, weight[:, width:].T)
                else:
                    linear = torch.addmm(bias, hidden, weight.T)
                hidden = _softplus_out(linear, self.config.beta, out=linear)
            weight, bias = weights[-1]
            torch.addmv(bias[0], hidden, weight[0], out=found[start : start + _CHUNK])
        return found


class Colour(nn.Module):
    """The colour of surface points, in [-1,1]."""

    def __init__(self, config: IdrConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.config = config
        inputs = 3 + 6 * config.place_frequencies + 3 + 6 * config.view_frequencies + 3 + config.features
        sizes = [inputs] + [config.colour_width] * config.colour_layers + [3]
        layers = []
        for n, m in pairwise(sizes):
            weight, bias = torch.empty(m, n), torch.empty(m)
            for tensor in (weight, bias):  # the default of torch's linear layers, as in the original
                nn.init.uniform_(tensor, -1 / math.sqrt(n), 1 / math.sqrt(n), generator=generator)
            layers.append(Linear(weight, bias))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, normals: Tensor, views: Tensor, features: Tensor) -> Tensor:
        """Colours (P,3) of points `x` (P,3) with `normals` (P,3), seen along `views` (P,3), towards the camera."""
        config = self.config
        parts = [encode(x, config.place_frequencies), encode(views, config.view_frequencies), normals, features]
        hidden = torch.cat(parts, 1)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            for layer in self.layers[:-1]:
                hidden = F.linear(hidden, *layer.folded()).relu_()  # type: ignore[operator]
            raw = F.linear(hidden, *self.layers[-1].folded())  # type: ignore[operator]
        return torch.tanh(raw.to(x.dtype))


class Poses(nn.Module):
    """Camera poses as a quaternion and a centre each, in units of the bounding sphere, which may be optimised."""

    def __init__(self, c2w: Tensor) -> None:
        super().__init__()
        vectors = torch.cat([_quaternions(c2w[:, :, :3]), c2w[:, :, 3]], 1)
        self.vectors = nn.Embedding(len(c2w), 7, sparse=True, _weight=vectors)

    def forward(self, view: Tensor, local: Tensor) -> tuple[Tensor, Tensor]:
        """Origins and directions (R,3) of rays along `local` (R,3), in the axes of cameras `view` (R,)."""
        vectors = self.vectors(view)
        turn = F.normalize(vectors[:, :4], dim=1)
        real, axis = turn[:, :1], turn[:, 1:]
        twice = 2 * torch.linalg.cross(axis, local)
        return vectors[:, 4:], local + real * twice + torch.linalg.cross(axis, twice)


def _quaternions(rotations: Tensor) -> Tensor:
    """Unit quaternions (N,4), real part first and not negative, of rotations (N,3,3), by scipy."""
    from scipy.spatial.transform import Rotation

    xyzw = Rotation.from_matrix(rotations.double().cpu().numpy()).as_quat(canonical=True)
    return torch.from_numpy(np.roll(xyzw, 1, axis=1).astype(np.float32)).to(rotations.device)


class IdrField:
    """A fitted surface with its colours.

    Attributes:
        kind: `sdf`, in scene units, negative inside.
        geometry: the signed distance.
        colour: the colour of surface points.
        centre: (3,) of the bounding sphere, scene units.
        radius: of the bounding sphere, scene units.
        parameters: how many trainable numbers there are.
    """

    kind: Kind = "sdf"

    def __init__(
        self,
        config: IdrConfig,
        sphere: tuple[Sequence[float], float],
        background: Sequence[float],
        device: str,
        seed: int,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.config = config
        self.device = device
        self.geometry = Geometry(config, generator).to(device)
        self.colour = Colour(config, generator).to(device)
        self.centre, self.radius = np.array(sphere[0], np.float32), float(sphere[1])
        self.background = tuple(map(float, background))
        self.networks = nn.ModuleDict({"geometry": self.geometry, "colour": self.colour})
        self.parameters = sum(p.numel() for p in self.networks.parameters())
        self.guide = GuidedTracer(config.guide, config.bias, config.secants, device) if config.guide else None
        self.tracer = Tracer(config.iterations, samples=config.samples, secants=config.secants)

    def distance(self) -> Distance:
        """The signed distance in units of the bounding sphere, as the weights are now."""
        with torch.no_grad():
            weights = self.geometry.folded()
        return lambda x: self.geometry.distances(x, weights)

    def unit(self, c2w: Float) -> Tensor:
        """Poses (N,3,4) in units of the bounding sphere."""
        poses = np.concatenate([c2w[:, :, :3], ((c2w[:, :, 3] - self.centre) / self.radius)[:, :, None]], axis=2)
        return torch.from_numpy(poses).to(self.device)

    @torch.no_grad()
    def value(self, xyz: Float) -> Float:
        """Signed distances (P,) float32 in scene units at `xyz` (P,3); outside the bounding sphere never below its."""
        points = torch.from_numpy(np.asarray((xyz - self.centre) / self.radius, np.float32)).to(self.device)
        found = self.geometry.distances(points, self.geometry.folded())
        found = torch.maximum(found, points.norm(dim=1) - 1) * self.radius
        return found.cpu().numpy()

    def render(self, cameras: Cameras) -> Float:
        """Images (N,H,W,3) float32 in [0,1] of N cameras of one size; the background where a ray meets no surface."""
        width, height = cameras.size[0].tolist()
        images = np.empty((len(cameras), height * width, 3), np.float32)
        images[:] = self.background
        for index, image in enumerate(images):
            origins, directions, traced = self._traced(cameras, index)
            for rows in torch.split(traced.hit.nonzero()[:, 0], _CHUNK):
                xyz = origins[rows] + traced.distance[rows, None] * directions[rows]
                with torch.no_grad():
                    answer = self.geometry(xyz, self.geometry.folded())
                    colours = self.colour(xyz, answer.gradient, -directions[rows], answer.features)
                image[rows.cpu().numpy()] = (colours / 2 + 0.5).clamp_(0, 1).cpu().numpy()
        return images.reshape(len(cameras), height, width, 3)

    def maps(self, cameras: Cameras) -> FieldMaps:
        """Depth, normals and opacity as N cameras of one size see the surface."""
        width, height = cameras.size[0].tolist()
        depth = np.full((len(cameras), height * width), np.inf, np.float32)
        normals = np.zeros((*depth.shape, 3), np.float32)
        for index in range(len(cameras)):
            origins, directions, traced = self._traced(cameras, index)
            for rows in torch.split(traced.hit.nonzero()[:, 0], _CHUNK):
                xyz = origins[rows] + traced.distance[rows, None] * directions[rows]
                with torch.no_grad():
                    gradient = self.geometry(xyz, self.geometry.folded()).gradient
                at = rows.cpu().numpy()
                depth[index, at] = (traced.distance[rows] * self.radius).cpu().numpy()
                normals[index, at] = F.normalize(gradient, dim=1).cpu().numpy()
        shape = (len(cameras), height, width)
        opacity = np.isfinite(depth).astype(np.float32)
        return FieldMaps(depth.reshape(shape), normals.reshape(*shape, 3), opacity.reshape(shape))

    def _traced(self, cameras: Cameras, index: int) -> tuple[Tensor, Tensor, Traced]:
        """Origins, directions (R,3) and ends of the rays of one camera, in units of the bounding sphere."""
        origins, directions = rays(cameras, index)
        origins = (origins - self.centre) / np.float32(self.radius)
        o, d = torch.from_numpy(origins).to(self.device), torch.from_numpy(directions).to(self.device)
        tracer, distance = self.guide or self.tracer, self.distance()
        parts = [tracer.trace(distance, o[i : i + _RAYS], d[i : i + _RAYS]) for i in range(0, len(o), _RAYS)]
        return o, d, Traced(torch.cat([p.distance for p in parts]), torch.cat([p.hit for p in parts]))

    def save(self, folder: Path) -> None:
        """Write the field into `folder`: field.safetensors and field.json."""
        tensors = dict(self.networks.state_dict())
        if self.guide is not None:
            tensors["guide"] = self.guide.values
        about = {"config": dataclasses.asdict(self.config), "background": list(self.background)}
        about |= {"centre": self.centre.tolist(), "radius": [self.radius]}
        write_checkpoint(folder, NAME, "field", tensors, about)


class Idr(Method[IdrConfig]):
    """IDR, fitted to the posed and masked views of one scene."""

    Config: ClassVar[type[IdrConfig]] = IdrConfig
    presets: ClassVar[Mapping[str, IdrConfig]] = {"paper": IdrConfig(), "fast": FAST, "tiny": TINY}
    needs: ClassVar[tuple[str, ...]] = ("views",)

    def fit(self, scene: Scene, budget: Budget) -> IdrField:
        """The surface of one scene, from its views and their masks.

        Raises:
            DataMissing: the scene gives no views, a view has neither mask nor alpha, or all masks are empty.
            DataCorrupt: the foreground is seen beside the scene's box.
            Unsupported: a camera is within the object.
        """
        config = self.config
        pixels = MaskedPixels(scene, NAME, self.device)
        views = scene.given.views
        assert views is not None  # MaskedPixels has seen to it
        field = IdrField(config, _sphere(scene, pixels, config.bias, budget), scene.background, self.device, self.seed)
        poses = Poses(field.unit(views.cameras.c2w)).to(self.device).requires_grad_(config.train_cameras)
        draws = torch.Generator(self.device).manual_seed(self.seed)
        optimisers: list[torch.optim.Optimizer] = [
            torch.optim.Adam(field.networks.parameters(), config.rate, fused=True)
        ]
        kept: dict[str, Any] = {"networks": field.networks, "draws": draws, "poses": poses}
        if config.train_cameras:
            optimisers.append(torch.optim.SparseAdam(poses.parameters(), config.camera_rate))
        if field.guide is not None:
            kept["guide"] = field.guide
        order = Order(len(views), draws)
        kept["order"] = order
        steps = config.epochs * len(views)
        training = Training(
            budget,
            steps,
            optimisers,
            kept,
            device=self.device,
            precision=config.precision,
            rows=rows_at_once(config, self.device),
            field=lambda: field,
        )
        for step in training:
            training.set_rates(*_rates(config, step.fraction))
            field.geometry.grow(step.fraction)
            if config.one_view:
                batch = pixels.of_view(config.pixels, order.next(), draws)
            else:
                batch = pixels.balanced(config.pixels, draws)
            if field.guide is not None and step.index % _REFRESH == 0:
                field.guide.refresh(field.distance(), None if step.index % (8 * _REFRESH) == 0 else _BAND)
            sight = seen(field, poses, batch, draws)
            alpha = config.alpha * 2 ** sum(step.fraction >= at for at in _SHARPENED)
            training.descend(len(batch.mask), partial(loss, field, poses, sight, alpha))
        if field.guide is not None:
            field.guide.refresh(field.distance())
        return field

    def adopt(self, state: Mapping[str, Any], scene: Scene | None = None) -> IdrField:
        """The field of published weights, in coordinates of the unit sphere, over the background of `scene` or white.

        Raises:
            DataCorrupt: as `official_networks`.
        """
        background = (1.0, 1.0, 1.0) if scene is None else scene.background
        field = IdrField(self.config, ((0.0, 0.0, 0.0), 1.0), background, self.device, 0)
        field.networks.load_state_dict(official_networks(state, self.config))
        if field.guide is not None:
            field.guide.refresh(field.distance())
        return field

    def restore(self, folder: Path) -> IdrField:
        """The field that `IdrField.save` wrote into `folder`, or an import of official weights.

        Raises:
            DataMissing: a file is not there.
            DataCorrupt: a file is not what `save` writes.
        """
        tensors, about = read_checkpoint(folder, NAME, "field")
        try:
            sphere = about["centre"], about["radius"][0]
            field = IdrField(IdrConfig(**about["config"]), sphere, about["background"], self.device, 0)
            if field.guide is not None:
                field.guide.load_state_dict({"values": tensors.pop("guide")})
            field.networks.load_state_dict(tensors)
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DataCorrupt(f"{folder} holds no fitted IDR: {error}.", "Fit it again.") from error
        return field


def rows_at_once(config: IdrConfig, device: str) -> int | None:
    """How many rays of a batch go through the networks at once; all on a GPU."""
    return max(64, _PART // config.width) if torch.device(device).type == "cpu" else None


def _rates(config: IdrConfig, fraction: float) -> list[float]:
    """The learning rates of networks and, where they are trained, cameras."""
    halved = 0.5 ** sum(fraction >= at for at in _HALVED)
    rates = [config.rate * (config.rate_end**fraction if config.rate_end else halved)]
    return rates + [config.camera_rate * halved] * config.train_cameras


class Order:
    """The views one after the other, in a new random order each epoch."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count = count
        self.left: list[int] = []
        self._generator = generator

    def next(self) -> int:
        """The next view."""
        if not self.left:
            device = self._generator.device
            self.left = torch.randperm(self.count, generator=self._generator, device=device).tolist()
        return self.left.pop()

    def state_dict(self) -> dict[str, Any]:
        """What is left of this epoch."""
        return {"left": self.left}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.left = list(state["left"])


@dataclass(frozen=True)
class Sight:
    """R rays of a step, where they were stopped, in units of the bounding sphere, and points (R//2,3) in [-1,1]^3."""

    batch: Batch
    traced: Traced
    uniform: Tensor


@torch.no_grad()
def seen(field: IdrField, poses: Poses, batch: Batch, draws: torch.Generator) -> Sight:
    """The rays of a batch, traced, and as many points as half of them."""
    tracer = field.guide or field.tracer
    origins, directions = poses(batch.view, batch.local)
    traced = tracer.trace(field.distance(), origins, directions, batch.mask, draws)
    uniform = torch.rand(len(batch.mask) // 2, 3, generator=draws, device=batch.mask.device) * 2 - 1
    return Sight(batch, traced, uniform)


def loss(field: IdrField, poses: Poses, sight: Sight, alpha: float, rows: slice) -> Tensor:
    """The share of the rays `rows`, and of as many halves of uniform points, in the loss of the batch.

    Colour, mask and eikonal loss: equations 5 to 8 of the paper with the weights of the code. A ray that should meet
    the surface and does gives its colour, any other its mask.
    """
    config, geometry, batch, total = field.config, field.geometry, sight.batch, len(sight.batch.mask)
    weights = geometry.folded()
    surface = (sight.traced.hit & batch.mask)[rows]
    on, off = surface.nonzero()[:, 0], (~surface).nonzero()[:, 0]
    origins, directions = poses(batch.view[rows], batch.local[rows])
    moving = origins + sight.traced.distance[rows, None] * directions  # with the cameras, where these are trained
    points = moving.detach()
    uniform = sight.uniform[rows.start // 2 : rows.stop // 2]
    rest = geometry(torch.cat([points[off], uniform]), weights, features=False)
    distance = _carried(rest.distance[: len(off)], rest.gradient[: len(off)], moving[off])
    truth = batch.mask[rows][off].to(distance)
    masks = F.binary_cross_entropy_with_logits(-alpha * distance, truth, reduction="sum") / (alpha * total)
    steep = _steepness(rest.gradient)
    colours = masks.new_zeros(())
    if len(on):
        colours, gradient = _colour_loss(field, weights, moving[on], directions[on], batch.colours[rows][on], total)
        steep = steep + _steepness(gradient)
    return colours + config.mask * masks + config.eikonal * steep / (total + len(sight.uniform))


def _steepness(gradient: Tensor) -> Tensor:
    """The sum over points of (|g| - 1)^2 of gradients (P,3)."""
    steep: Tensor = (gradient.norm(dim=1) - 1).square().sum()
    return steep


def _carried(distance: Tensor, gradient: Tensor, moving: Tensor) -> Tensor:
    """The same distances (P,), which now depend on the cameras through the points `moving` (P,3) as well."""
    if not moving.requires_grad:
        return distance
    found: Tensor = distance + (gradient.detach() * (moving - moving.detach())).sum(1)
    return found


def _colour_loss(
    field: IdrField, weights: Weights, moving: Tensor, directions: Tensor, truth: Tensor, total: int
) -> tuple[Tensor, Tensor]:
    """The colour loss of points on the surface, L1 over `total` rays, and their gradients (P,3).

    The point where a ray meets the surface, x = c + t v, moves with the parameters as t - (f(x) - f0) / (n0 v) does, f0
    and n0 being constants (equation 3). Its value is x itself, so that the networks need not be evaluated again: the
    derivative g of the loss by x is taken first, and then -(g v) / (n0 v) f(x) has the derivative that is missing.
    """
    x = moving.detach().requires_grad_()
    answer = field.geometry(x, weights)
    colours = field.colour(x, answer.gradient, -directions, answer.features)
    found = (colours - (truth * 2 - 1)).abs().sum() / total
    (pull,) = torch.autograd.grad(found, x, retain_graph=True)
    ahead = directions.detach()
    cosine = (answer.gradient.detach() * ahead).sum(1)
    cosine = torch.where(cosine.abs() < _LEAST_COSINE, -_LEAST_COSINE, cosine)
    share = -(pull * ahead).sum(1) / cosine
    distance = _carried(answer.distance, answer.gradient, moving)
    found = found + (share * (distance - distance.detach())).sum()
    if moving.requires_grad:
        found = found + (pull * (moving - moving.detach())).sum()
    return found, answer.gradient


def _sphere(scene: Scene, pixels: MaskedPixels, bias: float, budget: Budget) -> tuple[list[float], float]:
    """Centre and radius, in scene units, of the sphere in which the surface is sought.

    The sphere inside the cube around the scene's box, as in the papers' data, where the foreground is; else the one
    around the box.

    Raises:
        DataCorrupt: the foreground is outside of both.
        Unsupported: a camera stands where the surface starts.
    """
    views = scene.given.views
    assert views is not None
    frame = unit_frame(scene.box)
    centre, inner = frame[:3, 3], float(frame[0, 0])
    outer = float(np.linalg.norm(scene.box[1] - scene.box[0])) / 2
    missed = 0.0
    for radius in (inner, outer):
        missed = pixels.missed(views.cameras.c2w, centre, radius)
        if missed <= _MISSED:
            break
    if missed > 0.5:
        raise DataCorrupt(
            f"Scene {scene.name!r}: {missed:.0%} of the foreground is seen beside its box {scene.box.tolist()}.",
            "The box, the poses and the masks must be of one scene, in the same units.",
        )
    if missed > _MISSED:
        budget.tell(f"Scene {scene.name!r}: {missed:.1%} of the foreground is seen beside its box, and is lost.")
    away = np.linalg.norm(views.cameras.centres - centre, axis=1) / radius
    inside = np.flatnonzero(away <= bias)
    if len(inside):
        raise Unsupported(
            f"Scene {scene.name!r}: {len(inside)} cameras, {views.names[inside[0]]!r} for one, are within the object: "
            f"IDR starts from a sphere of {bias:g} of the scene's, and looks at it from outside.",
            "Use `nerf` for a scene that is seen from within, or leave those views out.",
        )
    return centre.tolist(), radius


def official_networks(state: Mapping[str, Any], config: IdrConfig | None = None) -> dict[str, Tensor]:
    """The published weights, under the names of `IdrField.networks`.

    Args:
        state: of a file of ModelParameters, `{"epoch": ..., "model_state_dict": {...}}`, or the inner mapping;
            `module.` before names is left out.
        config: of networks of other sizes than the paper's.

    Raises:
        DataCorrupt: keys that are missing or unknown, or shapes of another config; they are named.
    """
    wanted = IdrField(config or IdrConfig(), ((0.0, 0.0, 0.0), 1.0), (1.0, 1.0, 1.0), "cpu", 0).networks.state_dict()
    names = {name: _original(name) for name in wanted if ".layers." in name}
    hint = "Give ModelParameters/latest.pth of IDR, and the config that it was trained with."
    shapes = {name: tensor.shape for name, tensor in wanted.items()}
    return wanted | mapped(section(state, "model_state_dict"), names, shapes, hint=hint)


def _original(name: str) -> str:
    """The original's name of one of our tensors."""
    part, _, rest = name.partition(".layers.")
    return f"{_OFFICIAL[part]}.lin{rest}"


_OFFICIAL = {"geometry": "implicit_network", "colour": "rendering_network"}
