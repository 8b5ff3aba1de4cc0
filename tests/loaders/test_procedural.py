import numpy as np
import pytest

from nfbench.harness.errors import NotFound
from nfbench.loaders.analytic import Size
from nfbench.loaders.procedural import SCENES, task

SMALL = Size(train_views=3, test_views=2, pixels=20, points=1000, cloud=20, samples=100)


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_fits_its_box_and_agrees_with_its_solid(name, tmp_path):
    solid = SCENES[name][0]()[0]
    found = task(f"procedural/{name}", tmp_path, SMALL)
    assert (found.given, found.protocol, found.train) == (("views",), "procedural@1", ())
    (ref,) = found.test
    scene = ref.open()
    assert scene.name == ref.name == name
    xyz = scene.surface.xyz.astype(np.float64)
    assert np.abs(solid.distance(xyz)).max() < 1e-6 and np.abs(xyz).max() < 1
    np.testing.assert_allclose(np.linalg.norm(scene.surface.normal, axis=1), 1, atol=1e-6)
    inside = scene.occupancy.value == 1
    np.testing.assert_array_equal(inside, solid.distance(scene.occupancy.xyz.astype(np.float64)) < 0)
    assert 0.03 < inside.mean() < 0.3
    image = scene.given.views.image(0)
    assert image[image[..., 3] == 255][:, :3].std(0).min() > 10  # it has a texture


def test_two_makings_are_the_same_to_the_bit(tmp_path):
    one, other = (task("procedural/vase", tmp_path / folder, SMALL).test[0].open() for folder in "ab")
    for read in (
        lambda s: s.given.views.image(2),
        lambda s: s.given.views.depth(2),
        lambda s: s.hidden.image(1),
        lambda s: s.hidden.cameras.c2w,
        lambda s: s.surface.xyz,
        lambda s: s.occupancy.value,
    ):
        assert read(one).tobytes() == read(other).tobytes()


def test_nothing_is_made_before_a_scene_is_opened(tmp_path):
    found = task("procedural/knot", tmp_path)
    assert found.version == "1" and not list(tmp_path.iterdir())


def test_every_other_view_is_a_sub_task(tmp_path):
    scene = task("procedural/torus", tmp_path, SMALL).every(2).test[0].open()
    assert len(scene.hidden) == 1 and len(scene.given.views) == 3


def test_unknown_names_are_not_found(tmp_path):
    with pytest.raises(NotFound, match=r"procedural/knot"):
        task("procedural/knob", tmp_path)
    with pytest.raises(NotFound):
        task("knot", tmp_path)
