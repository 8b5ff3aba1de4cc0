import numpy as np
import pytest

from nfbench.loaders.shading import Gloss, Light, checks, marbled, rings, shade

UP = np.array([[0.0, 0.0, 1.0]])
GREY = np.full((1, 3), 0.5)
FROM_ABOVE = Gloss(ambient=0.2, highlight=0.0, lights=(Light((0, 0, 2), (1.0, 0.5, 0.0)),))


def slanted(degrees):
    return np.array([[np.sin(np.radians(degrees)), 0, np.cos(np.radians(degrees))]])


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 150])
def test_without_a_highlight_lamberts_law(degrees):
    facing = max(np.cos(np.radians(degrees)), 0)
    expected = 0.5 * (0.2 + facing * np.array([1.0, 0.5, 0.0]))
    np.testing.assert_allclose(shade(GREY, slanted(degrees), UP, FROM_ABOVE)[0], expected, atol=1e-12)


def test_the_highlight_is_where_the_mirrored_light_is_seen():
    gloss = Gloss(0.0, 1.0, 30.0, (Light((1, 0, 1), (0.4, 0.4, 0.4)),))
    seen = [shade(0 * GREY, UP, slanted(angle), gloss)[0, 0] for angle in (-45, -30, 0, 45)]
    assert seen == sorted(seen, reverse=True) and seen[0] == pytest.approx(0.4)
    assert seen[2] == pytest.approx(0.4 * np.cos(np.radians(22.5)) ** 30)
    behind = Gloss(0.0, 1.0, 2.0, (Light((1, 0, -0.1), (1, 1, 1)),))
    assert shade(0 * GREY, UP, UP, behind).max() == 0  # no shine from below the surface


def test_default_colours_depend_on_the_view_and_stay_in_range():
    rng = np.random.default_rng(0)
    normal, eye = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 500, 3)))
    one, other = shade(rng.random((500, 3)), normal, eye), shade(rng.random((500, 3)), normal, -eye)
    assert one.min() >= 0 and one.max() <= 1 and np.abs(one - other).max() > 0.2


@pytest.mark.parametrize(
    "texture",
    [
        checks((1, 0, 0), (0, 0, 1), 0.5),
        checks((1, 0, 0), (0, 0, 1), (0.5, 0.4, 0.9)),
        rings((1, 0, 0), (0, 0, 1), 5, 0.6),
    ],
)
def test_patterns_take_both_colours_and_what_lies_between(texture):
    xyz = np.random.default_rng(1).uniform(-1, 1, (5000, 3))
    colour = texture(xyz)
    assert colour.shape == (5000, 3) and colour.min() >= 0 and colour.max() <= 1
    np.testing.assert_allclose(colour[:, 0] + colour[:, 2], 1)
    assert (colour[:, 0] > 0.95).mean() > 0.1 and (colour[:, 2] > 0.95).mean() > 0.1
    waved = marbled(texture)(xyz)
    assert waved.min() >= 0 and waved.max() <= 1 and np.abs(waved - colour).max() > 0.1


def test_checks_repeat_and_rings_turn():
    xyz = np.random.default_rng(2).uniform(-1, 1, (100, 3))
    texture = checks((1, 0, 0), (0, 1, 0), (0.5, 0.4, 0.9))
    np.testing.assert_allclose(texture(xyz + (0.5, 0.4, 0.9)), texture(xyz), atol=1e-9)
    turn = 2 * np.pi / 6
    turned = xyz @ [[np.cos(turn), np.sin(turn), 0], [-np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    texture = rings((1, 0, 0), (0, 1, 0), 6, 0.5)
    np.testing.assert_allclose(texture(turned), texture(xyz), atol=1e-9)
