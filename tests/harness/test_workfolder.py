import shutil
import subprocess
import sys

from nfbench.harness.journal import LOG
from nfbench.harness.record import FILE, MethodEntry, Record, TaskEntry, read_record, write_record
from nfbench.harness.workfolder import LAST_GOOD, claimed_state, keep_last_good, put_in_place, state_folder, work_folder


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


def test_two_at_the_same_run_do_not_share_their_state(tmp_path):
    folder = tmp_path / "a" / "0-abc"
    with claimed_state(folder) as first:
        (first / LOG).write_text("first")
        with claimed_state(folder) as second:
            assert second != first and second.parent == first.parent and not list(second.iterdir())
            (second / LOG).write_text("second")
        assert not second.exists() and (first / LOG).read_text() == "first"
    assert first == state_folder(folder) and (first / LOG).read_text() == "first", "a broken-off run goes on from it"
    with claimed_state(folder) as again:
        assert again == first


def test_a_state_that_its_owner_removed_is_claimed_anew(tmp_path):
    folder = tmp_path / "0-abc"
    with claimed_state(folder) as first:
        shutil.rmtree(first)
        with claimed_state(folder) as second:
            assert second == first and second.is_dir(), "the lock on the removed folder holds nobody up"
    assert second.is_dir()


def test_a_killed_process_holds_nothing(tmp_path):
    folder = tmp_path / "0-abc"
    script = (
        "import sys, time; from pathlib import Path; from nfbench.harness.workfolder import claimed_state\n"
        "with claimed_state(Path(sys.argv[1])) as state: print(state.name, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", script, folder], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline().strip() == state_folder(folder).name
        with claimed_state(folder) as mine:
            assert mine != state_folder(folder)
        other.kill()
    with claimed_state(folder) as mine:
        assert mine == state_folder(folder)
