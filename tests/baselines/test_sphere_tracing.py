import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from nfbench.baselines.sphere_tracing import GuidedTracer, Tracer, chords, least, secant

SPHERES = (((0.0, 0.0, 0.0), 0.5), ((0.55, 0.1, -0.1), 0.25), ((-0.3, 0.5, 0.2), 0.3))


def spheres(x):
    """The signed distance of the union of three balls."""
    return torch.stack([(x - x.new_tensor(c)).norm(dim=-1) - r for c, r in SPHERES]).amin(0)


def bumpy(x):
    """A distance whose slope is not 1, so that steps go through the surface and rays do not arrive."""
    return 1.6 * (x.norm(dim=-1) - 0.6) + 0.12 * torch.sin(9 * x[..., 0]) * torch.sin(7 * x[..., 1])


def rays_towards(count, seed=0, spread=0.9, distance=2.2):
    generator = np.random.default_rng(seed)
    origins = generator.normal(size=(count, 3))
    origins *= distance / np.linalg.norm(origins, axis=1, keepdims=True)
    directions = generator.uniform(-spread, spread, (count, 3)) - origins
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return torch.from_numpy(origins), torch.from_numpy(directions)


def exact(origins, directions):
    """Distances to the union of balls by the closed form, inf where a ray meets none."""
    best = np.full(len(origins), np.inf)
    for c, r in SPHERES:
        away = origins.numpy() - np.array(c)
        along = (away * directions.numpy()).sum(1)
        inside = along**2 - (away**2).sum(1) + r * r
        t = np.where(inside > 0, -along - np.sqrt(np.maximum(inside, 0)), np.inf)
        best = np.minimum(best, np.where(t > 0, t, np.inf))
    return best


def slow(f, o, d, mask, tracer, parts):
    """Distance and hit of one ray, step by step as the paper's code takes them, in plain numbers."""
    value = lambda t: float(f(o + t * d))  # noqa: E731
    along = float(o @ d)
    square = along**2 - float(o @ o) + 1
    if square <= 0:
        return -along, False
    near, far = -along - square**0.5, -along + square**0.5
    t, sign, going, after = [near, far], [1, -1], [True, True], [value(near), value(far)]
    for iteration in range(tracer.iterations + 1):
        step = [after[e] if going[e] and after[e] > tracer.threshold else 0.0 for e in (0, 1)]
        going = [going[e] and after[e] > tracer.threshold for e in (0, 1)]
        if iteration == tracer.iterations or not any(going):
            break
        for e in (0, 1):
            t[e] += sign[e] * step[e]
        after = [value(t[e]) if going[e] else 0.0 for e in (0, 1)]
        for turn in range(tracer.line_steps):
            for e in (0, 1):
                if after[e] < 0:
                    t[e] -= sign[e] * (1 - tracer.line_step) / 2**turn * step[e]
                    after[e] = value(t[e])
        going = [g and t[0] < t[1] for g in going]
    hit, stop = t[0] < t[1], t[0]
    if going[0]:
        places = [t[0] + i / (tracer.samples - 1) * (t[1] - t[0]) for i in range(tracer.samples)]
        values = [value(p) for p in places]
        first = next((i for i, v in enumerate(values) if v < 0), None)
        hit = first is not None
        if hit and (mask or mask is None):
            low, high, above, below = places[first - 1], places[first], values[first - 1], values[first]
            stop = low - above * (high - low) / (below - above)
            for _ in range(tracer.secants):
                middle = value(stop)
                if middle > 0:
                    low, above = stop, middle
                else:
                    high, below = stop, middle
                stop = low - above * (high - low) / (below - above)
        else:
            stop = places[int(np.argmin(values))]
    elif mask is not None and not (hit and mask):
        low = t[0] if hit else near
        places = [low + p * (far - low) for p in parts]
        stop = min(places, key=value)
    return stop, hit


@pytest.mark.parametrize("field", [spheres, bumpy])
@pytest.mark.parametrize("training", [False, True])
def test_against_a_slow_transcription(field, training):
    origins, directions = rays_towards(120)
    mask = torch.arange(120) % 3 > 0
    tracer = Tracer(samples=40)
    generator = torch.Generator().manual_seed(3)
    parts = torch.rand(40, generator=torch.Generator().manual_seed(3))
    if training:
        traced = tracer.trace(field, origins, directions, mask, generator)
    else:
        traced = tracer.trace(field, origins, directions)
    kinds = set()
    for i in range(120):
        wanted = bool(mask[i]) if training else None
        stop, hit = slow(field, origins[i], directions[i], wanted, tracer, parts.tolist())
        assert bool(traced.hit[i]) == hit
        if hit and wanted is not False:
            assert float(traced.distance[i]) == pytest.approx(stop, abs=1e-6)
        elif training:  # the least value, which two places of a ray may have
            least = [float(field(origins[i] + t * directions[i])) for t in (stop, float(traced.distance[i]))]
            assert least[1] == pytest.approx(least[0], abs=1e-6)
        kinds.add((hit, wanted))
    assert len(kinds) == (4 if training else 2)


def test_finds_the_surface_of_balls():
    origins, directions = rays_towards(2000)
    truth = exact(origins, directions)
    traced = Tracer().trace(spheres, origins, directions)
    at_edge = np.abs(spheres(origins + traced.distance[:, None] * directions).numpy()) < 0.02
    assert ((traced.hit.numpy() == np.isfinite(truth)) | at_edge).all()
    both = traced.hit.numpy() & np.isfinite(truth)
    error = np.abs(traced.distance.numpy() - truth)[both]
    assert both.sum() > 500 and np.median(error) < 1e-4 and np.quantile(error, 0.98) < 2e-3


def test_rays_turn_with_the_scene():
    turn = torch.from_numpy(Rotation.from_rotvec([0.4, -1.1, 0.7]).as_matrix())
    origins, directions = rays_towards(300)
    first = Tracer().trace(spheres, origins, directions)
    second = Tracer().trace(lambda x: spheres(x @ turn), origins @ turn.T, directions @ turn.T)
    assert torch.equal(first.hit, second.hit)
    torch.testing.assert_close(first.distance[first.hit], second.distance[first.hit], atol=1e-9, rtol=0)


def test_rays_that_miss_the_sphere_and_nothing_to_meet():
    origins = torch.tensor([[0.0, 3.0, -4.0], [0.0, 0.0, -4.0]])
    directions = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    near, far, meets = chords(origins, directions)
    assert meets.tolist() == [False, True] and near.tolist() == [0, 3] and far.tolist() == [0, 5]
    mask = torch.tensor([False, True])
    empty = Tracer().trace(lambda x: x.norm(dim=1) + 0.3, origins, directions, mask, torch.Generator())
    assert not empty.hit.any()
    assert empty.distance.tolist() == pytest.approx([4, 4], abs=0.05)  # nearest to the centre; the least value


def test_a_camera_in_the_sphere_sees_ahead():
    origins, directions = torch.tensor([[0.0, 0.0, -0.8]]), torch.tensor([[0.0, 0.0, 1.0]])
    traced = Tracer().trace(spheres, origins, directions)
    assert traced.hit.all() and traced.distance.item() == pytest.approx(0.3, abs=1e-3)
    assert not Tracer().trace(spheres, origins, -directions).hit.any()


def test_secant_finds_a_root():
    low, high = torch.tensor([0.0, 1.0]).double(), torch.tensor([2.0, 3.0]).double()
    f = lambda t: 2 - t**2  # noqa: E731
    root = secant(f, low, high, (f(low), f(high)), 20)
    np.testing.assert_allclose(root, [2**0.5] * 2, atol=1e-6)


def test_guide_agrees_with_sphere_tracing():
    origins, directions = (a.float() for a in rays_towards(1500))
    guide = GuidedTracer(64, 0.5, 3, "cpu")
    guide.refresh(spheres)
    one, other = guide.trace(spheres, origins, directions), Tracer().trace(spheres, origins, directions)
    assert (one.hit == other.hit).float().mean() > 0.97
    both = one.hit & other.hit
    assert (one.distance - other.distance)[both].abs().quantile(0.97) < 2e-3
    missed = ~one.hit & ~other.hit
    mask = torch.ones_like(missed)
    least = Tracer(samples=400).trace(spheres, origins, directions, mask, torch.Generator().manual_seed(0))
    again = guide.trace(spheres, origins, directions, mask, torch.Generator().manual_seed(0))
    values = [spheres(origins + t.distance[:, None] * directions)[missed] for t in (least, again)]
    assert (values[1] - values[0]).abs().quantile(0.97) < 0.02


def test_guide_that_is_old_still_finds_the_new_surface():
    origins, directions = (a.float() for a in rays_towards(500, spread=0.3))
    guide = GuidedTracer(64, 0.5, 3, "cpu")  # a ball of 0.5
    smaller = lambda x: x.norm(dim=-1) - 0.47  # noqa: E731
    traced = guide.trace(smaller, origins, directions)
    reached = smaller(origins + traced.distance[:, None] * directions)[traced.hit]
    assert traced.hit.float().mean() > 0.5 and reached.abs().quantile(0.95) < 5e-3


def test_guide_refreshes_next_to_the_surface_alone_and_keeps_its_state():
    guide = GuidedTracer(17, 0.6, 2, "cpu")
    before = guide.values.clone()
    guide.refresh(lambda x: torch.full((len(x),), 7.0), within=0.1)
    changed = guide.values != before
    assert torch.equal(changed, before.abs() < 0.1) and changed.any()
    other = GuidedTracer(17, 0.2, 2, "cpu")
    other.load_state_dict(guide.state_dict())
    assert torch.equal(other.values, guide.values)
    guide.refresh(lambda x: x[:, 0] + 10 * x[:, 1] + 100 * x[:, 2])
    assert guide.values[0, 0, 0, 1, 0] == pytest.approx(guide.values[0, 0, 0, 0, 0] + 10 / 8)
    assert guide.values[0, 0, 1, 0, 0] == pytest.approx(guide.values[0, 0, 0, 0, 0] + 100 / 8)


@pytest.mark.parametrize("field", [spheres, bumpy])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_the_least_of_all_places_in_fewer_evaluations(field, count):
    origins, directions = rays_towards(200, seed=4)
    generator = torch.Generator().manual_seed(2)
    places = 0.4 + 2.4 * torch.rand(200, count, generator=generator, dtype=torch.float64)
    asked = [0]

    def counted(x):
        asked[0] += len(x)
        return field(x)

    found = field(origins + least(counted, origins, directions, places)[:, None] * directions)
    every = field(origins[:, None] + places[..., None] * directions[:, None])
    torch.testing.assert_close(found, every.amin(1))
    assert asked[0] <= every.numel() and (count < 100 or asked[0] < 0.6 * every.numel())
