from nfbench.harness.record import FILE, MethodEntry, Record, TaskEntry, read_record, write_record
from nfbench.harness.workfolder import put_in_place, work_folder


def record(status):
    method, task = MethodEntry(name="nerf"), TaskEntry(name="t", version="1", scenes=["s"])
    return Record(method=method, task=task, scene="s", seed=0, protocol="p@1", primary="psnr", status=status)


def built(folder, status):
    work = work_folder(folder)
    write_record(work, record(status))
    return work


def test_a_run_appears_whole_and_its_work_folder_goes(tmp_path):
    folder = tmp_path / "0-abc"
    assert put_in_place(built(folder, "failed"), folder, FILE)
    assert [path.name for path in tmp_path.iterdir()] == ["0-abc"]


def test_good_work_takes_the_place_of_a_failure_and_never_the_reverse(tmp_path):
    folder = tmp_path / "0-abc"
    put_in_place(built(folder, "failed"), folder, FILE)
    assert put_in_place(built(folder, "ok"), folder, FILE)
    assert not put_in_place(built(folder, "failed"), folder, FILE)
    assert read_record(folder).status == "ok"
    assert [path.name for path in tmp_path.iterdir()] == ["0-abc"]


def test_a_damaged_record_is_no_good_work(tmp_path):
    folder = tmp_path / "0-abc"
    folder.mkdir()
    (folder / FILE).write_text("{")
    assert put_in_place(built(folder, "failed"), folder, FILE)
    assert read_record(folder).status == "failed"


def test_a_fresh_work_folder_is_empty(tmp_path):
    work = built(tmp_path / "0-abc", "ok")
    assert work_folder(tmp_path / "0-abc", fresh=False) == work and (work / FILE).exists()
    assert list(work_folder(tmp_path / "0-abc").iterdir()) == []
