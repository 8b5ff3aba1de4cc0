import sys
from importlib.metadata import EntryPoint

import pytest

from nfbench.harness import registry as registry_module
from nfbench.harness.errors import ContractBroken, NfbenchError, NotFound
from nfbench.harness.registry import MethodSpec, Registry, TaskSpec, find, method_spec, registry, resolve


def test_built_ins_are_there_without_importing_them():
    found = registry()
    assert found.problems == []
    assert {"nerf", "occupancy-network", "mean-colour", "nearest-view", "bounding-box", "visual-hull"} <= set(
        found.methods
    )
    assert "blender" in found.formats
    assert {"procedural/knot", "procedural-shapes/points-to-shape"} <= set(found.tasks)
    assert {"nerf-synthetic@1", "onet-shapenet@1"} <= set(found.protocols)


def test_every_target_of_a_spec_resolves():
    for spec in [*registry().methods.values(), *registry().tasks.values()]:
        assert callable(resolve(spec.target)), spec


def test_an_unknown_name_gives_the_nearest():
    with pytest.raises(NotFound, match="nerv") as caught:
        method_spec("nerv")
    assert caught.value.hint == "Did you mean nerf?"


def test_a_taken_name_is_a_problem_and_the_first_keeps_it():
    shelf = Registry()
    shelf.add(MethodSpec("mine", "a:A", "first"), "one")
    shelf.add(MethodSpec("mine", "a:A", "first"), "one again")
    shelf.add(MethodSpec("mine", "b:B", "second"), "two")
    assert shelf.methods["mine"].target == "a:A"
    assert shelf.problems == ["two offers 'mine', which a:A has already."]


def test_an_installed_package_takes_part(tmp_path, monkeypatch):
    (tmp_path / "their_bench.py").write_text(
        "from nfbench.harness.registry import MethodSpec\n"
        "SPECS = (MethodSpec('theirs', 'their_bench:Theirs', 'Somebody else\\'s.'),)\n"
        "class Theirs: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    real = registry_module.entry_points

    def with_theirs(group):
        broken = EntryPoint("broken", "no_such_package:SPECS", group)
        return [*real(group=group), EntryPoint("theirs", "their_bench:SPECS", group), broken]

    monkeypatch.setattr(registry_module, "entry_points", with_theirs)
    found = registry.__wrapped__()
    assert find(found.methods, "theirs", "method").target == "their_bench:Theirs"
    assert resolve("their_bench:Theirs").__name__ == "Theirs"
    assert "nerf" in found.methods, "a broken package must not hide the others"
    assert len(found.problems) == 1 and "no_such_package" in found.problems[0]


def test_a_class_in_a_file_becomes_a_method(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text('class Mine:\n    """What it does."""\n    needs = ("cloud",)\n')
    spec = method_spec(f"{path}:Mine")
    assert (spec.name, spec.summary, spec.needs) == ("Mine", "What it does.", ("cloud",))


def test_a_bad_target_says_what_is_wrong(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("class Mine: ...\nvalue = 3\n")
    with pytest.raises(NotFound, match="no file"):
        method_spec(f"{tmp_path / 'other.py'}:Mine")
    with pytest.raises(NotFound, match="Mime") as caught:
        method_spec(f"{path}:Mime")
    assert "Mine" in caught.value.hint
    with pytest.raises(ContractBroken, match="not a class"):
        method_spec(f"{path}:value")
    with pytest.raises(NotFound, match="no module 'no_such_module'"):
        resolve("no_such_module:Thing")
    path.write_text("raise RuntimeError('at import')")
    with pytest.raises(ContractBroken, match="at import"):
        resolve(f"{path}:Mine")
    with pytest.raises(NotFound, match="not a target"):
        resolve("plain")


def test_no_entry_points_at_all_is_told(monkeypatch):
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [])
    with pytest.raises(NfbenchError, match="no entry points"):
        registry.__wrapped__()


def test_registering_imports_neither_methods_nor_torch():
    spec = TaskSpec("t", "not_there:f", "", "")
    assert spec.target not in sys.modules
