from nfbench.harness.journal import LOG
from nfbench.harness.record import FILE, MethodEntry, Record, TaskEntry, read_record, write_record
from nfbench.harness.workfolder import LAST_GOOD, keep_last_good, put_in_place, state_folder, work_folder


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


def test_what_a_failed_run_leaves_to_look_into_is_kept_and_the_rest_of_an_empty_state_goes(tmp_path):
    state, work = state_folder(tmp_path / "0-abc"), work_folder(tmp_path / "0-abc")
    (state / "training").mkdir(parents=True)
    (state / "training" / LAST_GOOD).write_text("good")
    (state / LOG).write_text("log")
    keep_last_good(state, work)
    assert (work / "training" / LAST_GOOD).read_text() == "good" and (work / LOG).read_text() == "log"
    assert not state.exists()


def test_the_state_that_a_run_goes_on_from_stays_after_a_failure(tmp_path):
    state, work = state_folder(tmp_path / "0-abc"), work_folder(tmp_path / "0-abc")
    (state / "training").mkdir(parents=True)
    (state / "training" / "state.safetensors").write_text("state")
    keep_last_good(state, work)
    assert (state / "training" / "state.safetensors").is_file() and not list(work.iterdir())
