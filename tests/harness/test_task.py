from dataclasses import replace

import numpy as np
import pytest

from nfbench.harness.errors import DataMissing, NotFound, Unsupported
from nfbench.harness.guard import hidden_files
from nfbench.harness.probe import ball
from nfbench.harness.scene import KINDS, Given
from nfbench.harness.task import SceneRef, Task


@pytest.fixture
def scene(tmp_path):
    return ball(tmp_path)


def task(scene, given=("cloud",), inputs=(), give=None):
    """A task of two test scenes and a training scene; `give` opens a scene for a kind."""
    opened = lambda: replace(scene, given=scene.given.only(*given))  # noqa: E731
    refs = [SceneRef(name, opened, give) for name in "abc"]
    return Task("made/balls", "1", "procedural@1", given, tuple(refs[:2]), tuple(refs[2:]), inputs=inputs)


def test_a_sub_task_gives_one_kind_alone(scene):
    asked = []

    def give(kind):
        asked.append(kind)
        return scene  # all kinds: more than was asked for

    whole = task(scene, inputs=KINDS, give=give)
    for kind in ("views", "samples", "voxels"):
        part = whole.giving(kind)
        assert (part.name, part.given) == (f"made/balls+from-{kind}", (kind,))
        assert part.test[1].open().given.kinds() == (kind,)
        learned = part.train[0].open().given.kinds()
        assert learned == tuple(k for k in KINDS if k in (kind, "samples"))
        assert part.giving(kind) is part
        assert [ref.name for ref in part.test] == part.scenes == ["a", "b"]
    assert asked == [kind for kind in ("views", "samples", "voxels") for _ in range(2)]
    assert whole.giving("cloud") is whole, "what it gives anyway is the task itself"


def test_what_a_sub_task_does_not_give_cannot_be_opened(scene):
    part = task(scene, inputs=KINDS, give=lambda kind: scene).giving("voxels").test[0].open()
    assert set(hidden_files(part)) == {*scene.hidden.files, *scene.given.views.files}
    assert part.seen().given.kinds() == ("voxels",) and part.hidden is scene.hidden


def test_one_of_several_that_a_task_gives_together(scene):
    both = task(scene, ("views", "cloud"))
    part = both.giving("cloud")
    assert part.name == "made/balls+from-cloud" and part.test[0].open().given.kinds() == ("cloud",)
    with pytest.raises(Unsupported, match=r"made/balls cannot give voxels") as caught:
        both.giving("voxels")
    assert caught.value.hint == "It can give: views, cloud."
    with pytest.raises(Unsupported):
        part.giving("views")  # nor does a sub-task become another
    with pytest.raises(NotFound, match="--given view") as found:
        both.giving("view")
    assert "views" in found.value.hint


def test_a_scene_without_the_kind_says_so(scene):
    bare = replace(scene, given=Given(cloud=scene.given.cloud))
    part = task(scene, inputs=("cloud", "voxels"), give=lambda kind: bare).giving("voxels")
    with pytest.raises(DataMissing, match="gives no voxels"):
        part.test[0].open()


def test_sub_tasks_of_sub_tasks_have_one_name_and_the_same_scenes(scene):
    views = task(scene, ("views",), inputs=KINDS, give=lambda kind: scene)
    one, other = views.giving("cloud").every(2), views.every(2).giving("cloud")
    assert one.name == other.name == "made/balls+from-cloud+every2"
    for part in (one, other):  # held-out views are thinned, as without --given
        assert len(part.test) == 2
        opened = part.test[0].open()
        assert opened.hidden.names == scene.hidden.names[::2] and opened.given.kinds() == ("cloud",)


def test_every_nth_scene_of_shapes_also_where_images_are_given(scene):
    shapes = task(replace(scene, hidden=None), inputs=KINDS, give=lambda kind: replace(scene, hidden=None))
    for part in (shapes.giving("views").every(2), shapes.every(2).giving("views")):
        assert [ref.name for ref in part.test] == ["a"]
    images = Task("made/i", "1", "onet-shapenet@1", ("views",), shapes.test, thinned="scenes")
    assert [ref.name for ref in images.every(2).test] == ["a"]


def test_no_sub_task_changes_what_is_measured(scene):
    part = task(scene, inputs=KINDS, give=lambda kind: scene).giving("samples")
    opened = part.test[0].open()
    np.testing.assert_array_equal(opened.occupancy.xyz, scene.occupancy.xyz)
    assert (part.version, part.protocol, opened.surface) == ("1", "procedural@1", scene.surface)


def test_the_sub_task_of_a_run_is_found_from_the_task_on_disk(scene):
    whole = replace(task(scene, inputs=KINDS, give=lambda kind: scene), thinned="scenes")
    for part in (whole, whole.every(2), whole.giving("views"), whole.giving("views").every(2)):
        for asked in (whole, part):
            found = asked.as_run(part.name)
            assert (found.name, found.given, len(found.test)) == (part.name, part.given, len(part.test))
    eighth = whole.giving("views").every(2)
    for half_way in (whole.giving("views"), whole.every(2)):
        assert half_way.as_run(eighth.name).name == eighth.name
    for other in ("made/cubes", "made/balls+every3", "made/balls", "made/balls+everyone"):
        assert whole.every(2).as_run(other) is None
    assert whole.as_run("made/cubes+from-views") is None
    with pytest.raises(Unsupported, match="cannot give voxels"):
        task(scene).as_run("made/balls+from-voxels")
