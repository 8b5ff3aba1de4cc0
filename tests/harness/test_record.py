import json
import math
import os

import pytest

from nfbench.harness.errors import RecordInvalid
from nfbench.harness.record import (
    MethodEntry,
    Record,
    Score,
    TaskEntry,
    check_writable,
    find_records,
    read_record,
    run_folder,
    short_hash,
    write_record,
)


def record(**changes):
    values = {
        "method": MethodEntry(name="nerf", config={"lr": 5e-4}, hash="0123abcd"),
        "task": TaskEntry(name="procedural/knot", version="1", scenes=["knot"]),
        "scene": "knot",
        "seed": 0,
        "protocol": "procedural@1",
        "primary": "psnr",
        "status": "ok",
        "scores": {"psnr": Score(mean=math.inf, unit="dB", better="higher", count=2)},
        "expected": 4,
        "missing": ["v_3"],
    }
    return Record(**{**values, **changes})


def test_a_record_reads_as_it_was_written_infinities_included(tmp_path):
    folder = run_folder(tmp_path, "procedural/knot", "nerf", "knot", 0, "0123abcd")
    write_record(folder, record(), {"psnr": {"v_0": math.inf, "v_1": 30.5}})
    assert folder == tmp_path / "procedural" / "knot" / "nerf" / "knot" / "0-0123abcd"
    assert read_record(folder) == record(created=read_record(folder).created)
    assert find_records(tmp_path) == [folder]
    text = (folder / "record.json").read_text()
    assert list(json.loads(text)) == sorted(json.loads(text)), "keys are sorted"
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_items_are_kept_by_name(tmp_path):
    import pyarrow.parquet as pq

    write_record(tmp_path, record(), {"psnr": {"v_0": 31.0, "v_1": 30.5}, "ssim": {"v_0": 0.9}})
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert {(r["item"], r["metric"], r["value"]) for r in rows} == {
        ("v_0", "psnr", 31.0),
        ("v_1", "psnr", 30.5),
        ("v_0", "ssim", 0.9),
    }
    write_record(tmp_path, record(status="failed"))
    assert pq.read_table(tmp_path / "scores.parquet").num_rows == 0, "a failed record has no items"


@pytest.mark.parametrize("name", ["../evil", "a/b", "", ".hidden", "a\\b"])
def test_a_name_that_leads_elsewhere_is_refused(tmp_path, name):
    with pytest.raises(RecordInvalid, match="cannot name a folder"):
        run_folder(tmp_path, "procedural/knot", name, "knot", 0, "0")
    with pytest.raises(RecordInvalid):
        run_folder(tmp_path, "procedural/knot", "nerf", name, 0, "0")


def test_coverage_counts_missing_items_and_failures():
    assert record().coverage == 0.75
    assert record(status="failed").coverage == 0
    assert record(expected=0).coverage == 0


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    write_record(tmp_path, record(seed=1))
    real = os.replace
    monkeypatch.setattr(
        "pathlib.Path.replace", lambda self, target: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(RecordInvalid, match="No space left"):
        write_record(tmp_path, record(seed=2))
    monkeypatch.setattr("pathlib.Path.replace", lambda self, target: real(self, target))
    assert read_record(tmp_path).seed == 1, "the old record is whole"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 9}', "\x00"])
def test_a_damaged_record_is_named(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(RecordInvalid, match=r"record\.json") as caught:
        read_record(tmp_path)
    assert caught.value.hint
    assert ": : " not in caught.value.message, "a place in the record is named only where there is one"


def test_a_folder_without_a_record_is_named(tmp_path):
    with pytest.raises(RecordInvalid, match="There is no"):
        read_record(tmp_path)


def test_runs_that_cannot_be_written_are_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordInvalid, match="cannot be written"):
        check_writable(tmp_path / "file" / "runs")
    check_writable(tmp_path / "new" / "runs")
    assert list((tmp_path / "new" / "runs").iterdir()) == []


def test_the_hash_follows_every_value_and_not_the_order():
    assert short_hash({"a": 1, "b": 2}) == short_hash({"b": 2, "a": 1}) != short_hash({"a": 1, "b": 3})
