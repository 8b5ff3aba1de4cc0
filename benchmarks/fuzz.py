"""Every reader against damaged files: whatever comes out must be a scene or an NfbenchError that names the mend.

    python benchmarks/fuzz.py [--count 10000] [--only NAME ...] [--case N] [--list]

For each reader a small valid sample is written by nfbench's own writers, one of its files damaged (`mishaps.py`), and
all that the reader offers is called, images, masks and depths included. Anything but an NfbenchError with a message
and a hint is a failure: another exception, a warning, more than `SECONDS`, more than `MEMORY`, a crash of the process,
an object that was unpickled. Each case has a seed of its own, so that `--only NAME --case N` does one again.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
from fuzz_samples import SUBJECTS, Subject
from mishaps import MARK, mishap, misplace

from nfbench.harness.errors import NfbenchError

SECONDS = 5.0  # of wall time that one case may take
MEMORY = 1 << 30  # bytes that a process may take beyond what it has before the first case
WHOLE = 0.1  # of the cases do something to a file as a whole
HEAD = "| reader | damaged | refused | read all the same | failures | slowest | a case |\n" + "|---" * 7 + "|"


class _TooSlow(BaseException):
    """A case took longer than `SECONDS`."""


@dataclass
class Outcome:
    """What came of the cases of one reader; `failed` has of each kind of failure the first case, and its trace."""

    cases: int = 0
    refused: int = 0
    slowest: float = 0.0
    seconds: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)
    failed: dict[str, tuple[int, str]] = field(default_factory=dict)


def fuzz(subject: Subject, folder: Path, cases: range) -> Outcome:
    """Damage the files of a subject's sample, one case after another, in this process."""
    subject.make(folder)
    whole = {file: file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
    chosen = [file for file in whole if not subject.only or file.suffix in subject.only]
    calls = subject.calls(folder)
    for call in calls:
        call()  # what is sound is read
    outcome = Outcome()
    began = time.perf_counter()
    for case in cases:
        draw = np.random.default_rng([case, sum(subject.name.encode())])
        # big files are no more likely than small ones, and the many like images less than the few of other kinds
        suffix = sorted({file.suffix for file in chosen})[int(draw.integers(len({file.suffix for file in chosen})))]
        same = [file for file in chosen if file.suffix == suffix]
        file = same[int(draw.integers(len(same)))]
        left = _damage(file, whole[file], folder, draw)
        _case(outcome, case, calls)
        _restore(file, left, whole)
    outcome.seconds = time.perf_counter() - began
    for call in calls:
        call()
    return outcome


def _damage(file: Path, data: bytes, folder: Path, draw: np.random.Generator) -> Path | None:
    if draw.random() < WHOLE:
        return misplace(file, folder, draw)
    with warnings.catch_warnings(action="ignore"):  # those of the reader count, not those of what damages
        file.write_bytes(mishap(data, file.suffix, draw))
    return file


def _restore(file: Path, left: Path | None, whole: dict[Path, bytes]) -> None:
    for path in {left, file} - {None}:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if path in whole:
            path.write_bytes(whole[path])


def _case(outcome: Outcome, case: int, calls: list[Callable[[], object]]) -> None:
    outcome.cases += 1
    refused, start = False, time.perf_counter()
    for call in calls:
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            call()
        except NfbenchError as error:
            refused = True
            if not (error.message and error.hint):
                _fail(outcome, case, f"no hint: {error.message[:60]}")
        except (Exception, _TooSlow) as error:
            where = traceback.extract_tb(error.__traceback__)
            own = [frame for frame in where if "/benchmarks/" not in frame.filename and "/lib/" not in frame.filename]
            at = (own or where)[-1]
            _fail(outcome, case, f"{type(error).__name__} in {Path(at.filename).name}:{at.lineno}")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    outcome.refused += refused
    outcome.slowest = max(outcome.slowest, time.perf_counter() - start)


def _fail(outcome: Outcome, case: int, kind: str) -> None:
    outcome.failures[kind] += 1
    outcome.failed.setdefault(kind, (case, traceback.format_exc()))


def _alarm(signum: int, frame: FrameType | None) -> None:
    raise _TooSlow


def bounded(subject: Subject, cases: range) -> tuple[Outcome | None, str]:
    """The outcome of `fuzz` in a process of its own with bounded memory, and what it said; None where it crashed."""
    import pickle  # our own process's answer, no data

    reading, writing = os.pipe()
    said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # the child writes to it, too
    child = os.fork()
    if not child:
        os.close(reading)
        os.dup2(said.fileno(), 2)
        status = 1
        try:
            with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
                os.environ[MARK] = str(Path(place) / "mark")
                warnings.simplefilter("error")  # numpy's and others' would reach the user
                warnings.filterwarnings("ignore", ".*OpenGL poses, not SRN's")  # said on purpose
                warnings.filterwarnings("ignore", category=ResourceWarning)
                signal.signal(signal.SIGALRM, _alarm)
                pages = int(Path("/proc/self/statm").read_text().split()[0])
                most = pages * resource.getpagesize() + MEMORY
                resource.setrlimit(resource.RLIMIT_AS, (most, most))
                outcome = fuzz(subject, Path(place) / "sample", cases)
                if Path(os.environ[MARK]).exists():
                    outcome.failures["unpickled an object"] += 1
                with os.fdopen(writing, "wb") as pipe:
                    pickle.dump(outcome, pipe)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(child, 0)
    said.seek(0)
    return (pickle.loads(answer) if answer and not status else None), said.read()


def main() -> None:
    """Print a row of a Markdown table for each reader; exit 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="files damaged for each reader")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="of the readers")
    parser.add_argument("--case", type=int, help="only this one, in this process, with its trace")
    parser.add_argument("--list", action="store_true", help="the names of the readers")
    given = parser.parse_args()
    if given.list:
        print(*(subject.name for subject in SUBJECTS), sep="\n")
        return
    unknown = set(given.only) - {subject.name for subject in SUBJECTS}
    if unknown:
        parser.error(f"no reader is called {', '.join(sorted(unknown))}; see --list")
    cases = range(given.count) if given.case is None else range(given.case, given.case + 1)
    print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores.\n\n{HEAD}")
    bad = 0
    for subject in SUBJECTS:
        if given.only and subject.name not in given.only:
            continue
        outcome, said = bounded(subject, cases)
        if outcome is None:
            bad += 1
            print(f"| {subject.name} | {len(cases)} | | | crashed | | |\n{said}", flush=True)
            continue
        wrong = sum(outcome.failures.values())
        bad += wrong
        read = outcome.cases - outcome.refused
        row = (subject.name, f"{outcome.cases:,}", f"{outcome.refused:,}", f"{read:,}", wrong)
        each = 1000 * outcome.seconds / outcome.cases
        print(f"| {' | '.join(map(str, row))} | {outcome.slowest:.2f} s | {each:.1f} ms |", flush=True)
        for kind, count in outcome.failures.items():
            case, trace = outcome.failed.get(kind, (-1, ""))
            print(f"    {count}x {kind}, case {case} first\n{trace}", file=sys.stderr, flush=True)
    sys.exit(bad > 0)


if __name__ == "__main__":
    main()
