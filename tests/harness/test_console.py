import sys

from nfbench.harness.console import dumps, told, watching


def test_off_a_terminal_there_are_plain_lines_now_and_then(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("nfbench.harness.console.time.perf_counter", lambda: clock[0])
    with watching(quiet=False) as watcher:
        for second in range(0, 50, 5):
            clock[0] = second
            watcher.progress("nerf fit", second / 50, {"loss": 0.25})
        watcher.line("done")
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "nerf fit:  30%, 0:00:35 left, loss 0.25",
        "nerf fit:  60%, 0:00:20 left, loss 0.25",
        "nerf fit:  90%, 0:00:05 left, loss 0.25",
        "done",
    ]


def test_quiet_says_nothing(capsys):
    with watching(quiet=True) as watcher:
        watcher.progress("fit", 0.5, {})
        watcher.line("done")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with watching(quiet=False) as watcher:
        watcher.progress("nerf fit", 0.5, {"psnr": 25.0})
        watcher.progress("nerf predict", 0.1, {})
        watcher.line("nerf on chair: [25 dB]")
    assert "nerf on chair: [25 dB]" in capsys.readouterr().err


def test_infinities_are_strings_in_json():
    assert dumps({"a": [float("inf"), -float("inf"), 1.5]}).replace("\n", "").replace(" ", "") == (
        '{"a":["Infinity","-Infinity",1.5]}'
    )
    assert told({}) == ""
