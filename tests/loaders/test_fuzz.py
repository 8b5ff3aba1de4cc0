"""A few damaged files for every reader; `benchmarks/fuzz.py` does 10,000 of each."""

import subprocess
import sys
from pathlib import Path

ROUNDS = 5


def test_no_reader_fails_on_damaged_files_but_in_words():
    script = Path(__file__).parents[2] / "benchmarks" / "fuzz.py"
    done = subprocess.run(
        [sys.executable, script, "--count", str(ROUNDS)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and "reader" not in line]
    assert len(rows) == 46
    assert all(row.split("|")[2].strip() == str(ROUNDS) for row in rows)
