import pytest

from nfbench.leaderboards.facts import SCENES, build_facts


def test_facts_by_row_scene_and_seed(put, only):
    for name, value in (("second", 20), ("first", 30)):
        for scene in ("b", "a"):
            for seed in (1, 0):
                fact = {"inside": "winding-number"} | ({"euler_number": seed} if scene == "b" else {})
                put(name, {"psnr": [value]}, scene=scene, scenes=("b", "a"), seed=seed, facts=fact)
    put("none", {"psnr": [10]}, scene="a", scenes=("b", "a"))
    found = build_facts(only())
    assert found.names == ["euler number", "inside"]
    assert found.lines[:4] == [
        ("first", "b", 0, ["0", "winding-number"]),
        ("first", "b", 1, ["1", "winding-number"]),
        ("first", "a", 0, ["—", "winding-number"]),
        ("first", "a", 1, ["—", "winding-number"]),
    ]
    assert [line[:3] for line in found.lines[4:]] == [("second", s, i) for s in "ba" for i in (0, 1)]
    assert found.more == ""


@pytest.mark.parametrize(("extra", "more"), [(0, ""), (1, "1 more scene has"), (2, "2 more scenes have")])
def test_facts_of_many_scenes_are_counted(put, only, extra, more):
    scenes = [f"s{i:02}" for i in range(SCENES + extra)]
    for scene in scenes:
        put("m", {"psnr": [20]}, scene=scene, scenes=scenes, facts={"components": 1})
    found = build_facts(only())
    assert [line[1] for line in found.lines] == scenes[:SCENES] and SCENES == 20
    assert found.more == (f"{more} facts, told by record.json." if more else "")


def test_facts_in_words(put, only):
    facts = {"a": True, "b": False, "c": 1234.5678, "d": 7, "e": "é", "f": ["é", 1], "g": {"x": None}, "h": None}
    put("m", {"psnr": [20]}, facts=facts)
    (line,) = build_facts(only()).lines
    assert line[3] == ["yes", "no", "1235", "7", "é", '["é", 1]', '{"x": null}', "—"]
