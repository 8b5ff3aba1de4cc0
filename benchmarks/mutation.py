"""How many small faults in a file its tests find: cosmic-ray's mutants of it, each tested in a process of its own.

    pip install cosmic-ray==8.7.0
    python benchmarks/mutation.py harness/maps.py --tests tests/harness/test_maps.py --real-data=DIR

cosmic-ray is not installed with the project: only this script wants it, and makes its mutants with its operators. It
would edit the file and start Python for each; here one process imports what the tests import from elsewhere, and forks
for each mutant a child that imports nfbench afresh, with the mutant in the file's place, and runs the tests up to the
first failure. Options that are not known here go to pytest, as `--real-data` and `--deselect` do. Processes that a
test starts do not see the mutant. Needs fork, so Linux or macOS.

What is no code is left alone: annotations, docstrings, `if TYPE_CHECKING`, numba's decorators, and whether an argument
may be given by its name or place. Kernels of the file and of the files that import it are compiled anew for every
mutant; those of others are taken from the first run.

A mutant is killed by a failure, an error, a crash, or by running out of time; it is incompetent where it does not
compile, and then does not count. It survives where all tests pass: a test is missing, or code is needless, or the
mutant computes the same.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import difflib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import json
import os
import pickle
import random
import resource
import runpy
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parents[1]
_OWN = {"nfbench", "tests", "conftest", "__main__", *sys.stdlib_module_names}  # not to be imported by the parent
PYTEST = ("-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=short")
POLL = 0.005  # seconds between looks at the children
MEMORY = 12 * 2**30  # bytes of address space for a child: a fault must not take the machine down
SURVIVED, KILLED, TIMEOUT = "survived", "killed", "timeout"


@dataclass(frozen=True)
class Mutant:
    """One fault: the operator, the line it is in, and that line before and after."""

    operator: str
    line: int
    before: str
    after: str
    source: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it when other lines of the file have changed."""
        return self.operator, self.before, self.after


class Meaning(ast.NodeTransformer):
    """Takes away from a syntax tree what does not run or only tells numba or a type checker something."""

    def visit_If(self, node: ast.If) -> ast.AST | None:  # noqa: D102
        return None if ast.unparse(node.test).endswith("TYPE_CHECKING") else self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:  # noqa: D102
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:  # noqa: D102
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:  # noqa: D102
        node.args, node.posonlyargs, node.kwonlyargs = [*node.posonlyargs, *node.args, *node.kwonlyargs], [], []
        node.defaults, node.kw_defaults = [*node.defaults, *(d for d in node.kw_defaults if d is not None)], []
        return self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST:  # noqa: D102
        return ast.Pass() if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:  # noqa: D102
        node.returns = None
        node.decorator_list = [d for d in node.decorator_list if not ast.unparse(d).startswith("numba.")]
        return self.generic_visit(node)


def meaning(source: str) -> str:
    """The code that runs, whatever its layout."""
    return ast.dump(Meaning().visit(ast.parse(source)))


def mutants(source: str) -> tuple[list[Mutant], int]:
    """Every mutant that runs other code, and how many more do not compile."""
    from cosmic_ray.ast import get_ast  # type: ignore[import-untyped]
    from cosmic_ray.mutating import MutationVisitor  # type: ignore[import-untyped]
    from cosmic_ray.plugins import get_operator, operator_names  # type: ignore[import-untyped]

    tree = pickle.dumps(get_ast(source))  # a mutant spoils its tree; loading another is faster than parsing
    seen, found, incompetent = {meaning(source)}, [], 0
    warnings.simplefilter("ignore", SyntaxWarning)  # mutants compare literals by identity
    for name in operator_names():
        if get_operator(name).arguments():
            continue
        for occurrence in itertools.count():
            visitor = MutationVisitor(occurrence, get_operator(name)())
            try:
                mutated: str = visitor.walk(pickle.loads(tree)).get_code()
            except AttributeError:  # cosmic-ray's ExceptionReplacer knows no dotted names
                incompetent += 1
                break
            if not visitor.mutation_applied:
                break
            try:
                said = meaning(mutated)
                compile(mutated, "mutant", "exec")
            except (SyntaxError, ValueError):
                incompetent += 1
                continue
            if said not in seen:
                seen.add(said)
                found.append(Mutant(name.removeprefix("core/"), *_difference(source, mutated), mutated))
    return sorted(found, key=lambda m: m.line), incompetent


def _difference(source: str, mutated: str) -> tuple[int, str, str]:
    """The first line that differs, and what differs, before and after."""
    old, new = source.splitlines(), mutated.splitlines()
    for tag, i, i_end, j, j_end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            return i + 1, _joined(old[i:i_end]), _joined(new[j:j_end])
    return 0, "", ""


def _joined(lines: Sequence[str]) -> str:
    return "; ".join(line.strip() for line in lines)


class Instead(importlib.abc.MetaPathFinder):
    """Finds one module, and gives it another source than its file holds."""

    def __init__(self, module: str, path: Path, source: str) -> None:
        class Loader(importlib.machinery.SourceFileLoader):
            def get_code(self, fullname: str) -> CodeType:
                code: CodeType = compile(source, str(path), "exec", dont_inherit=True)
                return code

        self.module = module
        self.spec = importlib.util.spec_from_file_location(module, path, loader=Loader(module, str(path)))

    def find_spec(  # noqa: D102
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        return self.spec if fullname == self.module else None


def dependents(module: str) -> set[str]:
    """The module and all modules of the harness that import it, directly or through others."""
    imports: dict[str, set[str]] = {}
    for path in (p for room in ("harness", "loaders", "baselines", "leaderboards") for p in (ROOT / room).glob("*.py")):
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        imports[_module(path.relative_to(ROOT))] = names
    found, more = set(), {module}
    while more:
        found |= more
        more = {name for name, names in imports.items() if names & found} - found
    return found


def _module(path: Path) -> str:
    return ".".join(("nfbench", *path.with_suffix("").parts))


class Bench:
    """Runs tests in forked children, for one file."""

    def __init__(self, file: Path, pytest_args: Sequence[str], scratch: Path) -> None:
        self.path, self.module = ROOT / file, _module(file)
        self.pytest_args, self.scratch = pytest_args, scratch
        self.kernels = scratch / "kernels"
        self.kernels.mkdir()
        self.count = 0

    def start(self, source: str, kernels: Path | None = None) -> tuple[int, Path]:
        """Forks a child that tests the source; its process id, and its folder with `output` and `modules`."""
        self.count += 1
        place = self.scratch / str(self.count)
        place.mkdir()
        if kernels is None:
            kernels = shutil.copytree(self.kernels, place / "kernels")
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            code = 99
            try:
                code = self._test(source, place, kernels)
            finally:
                os._exit(code)
        return process, place

    def _test(self, source: str, place: Path, kernels: Path) -> int:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        with (place / "output").open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.environ["NUMBA_CACHE_DIR"] = str(kernels)
        if "numba" in sys.modules:
            sys.modules["numba"].config.CACHE_DIR = str(kernels)
        sys.meta_path.insert(0, Instead(self.module, self.path, source))
        import pytest

        code = int(pytest.main([*PYTEST, f"--basetemp={place / 'tmp'}", *self.pytest_args]))
        sys.stdout.flush()
        (place / "modules").write_text("\n".join(m for m in sys.modules if m.partition(".")[0] not in _OWN))
        assert self.module in sys.modules, f"the tests do not import {self.module}"
        return code

    def original(self) -> float:
        """Tests the file as it is, and imports what the tests import; the seconds that the tests then take."""
        for _ in range(2):
            start = time.monotonic()
            process, place = self.start(self.path.read_text(), self.kernels)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            if code != 0:
                sys.exit(f"{(place / 'output').read_text()}\nThe tests fail without any mutant (exit {code}).")
            seconds = time.monotonic() - start
            preload((place / "modules").read_text().split())
        stale = {name.rpartition(".")[2] for name in dependents(self.module)}
        for kernel in self.kernels.rglob("*.nb[ic]"):
            if kernel.name.partition(".")[0] in stale:
                kernel.unlink()
        return seconds

    def results(self, wanted: Sequence[Mutant], jobs: int, timeout: float) -> Iterator[tuple[Mutant, str]]:
        """What became of each mutant."""
        waiting = list(reversed(wanted))
        running: dict[int, tuple[Mutant, Path, float]] = {}  # by process; the time is that of its end
        while waiting or running:
            while waiting and len(running) < jobs:
                mutant = waiting.pop()
                process, place = self.start(mutant.source)
                running[process] = mutant, place, time.monotonic() + timeout
            time.sleep(POLL)
            for process, (mutant, place, end) in list(running.items()):
                ended, status = os.waitpid(process, os.WNOHANG)
                if not ended and time.monotonic() < end:
                    continue
                _end_group(process)
                if not ended:
                    os.waitpid(process, 0)
                del running[process]
                shutil.rmtree(place, ignore_errors=True)
                yield mutant, TIMEOUT if not ended else SURVIVED if status == 0 else KILLED


def _end_group(process: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)


def preload(modules: Sequence[str]) -> None:
    """Imports the modules, as far as they can be, so that children need not."""
    if "torchvision" in modules:
        prepare = runpy.run_path(str(ROOT / "tests/conftest.py")).get("import_torchvision")
        if prepare is not None:
            prepare()
    for name in modules:
        if not name.split(".")[0].startswith(("test_", "_pytest_")) and name not in sys.modules:
            try:
                importlib.import_module(name)
            except Exception:  # whatever a foreign module may raise: a child then imports it itself
                continue
    if "numba" in modules:
        sys.modules["numba"].njit(lambda x: x + 1)(1)  # loads the compiler


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """What the command line asks for, and what is meant for pytest."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("file", type=Path, help="a file of the project, as in harness/maps.py")
    parser.add_argument("--tests", nargs="+", required=True, help="the tests that should find its faults")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tested at a time")
    parser.add_argument("--sample", type=int, help="test so many mutants, drawn by chance, instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument("--timeout", type=float, default=20, help="seconds a mutant may take")
    parser.add_argument("--again", type=Path, help="test only what survived in these earlier results")
    parser.add_argument("-o", "--output", type=Path, help="write the results as JSON")
    return parser.parse_known_args()


def main() -> None:
    """Print every survivor and the totals."""
    given, pytest_args = arguments()
    os.chdir(ROOT)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # set before the first import of numpy: a fork must find no threads
    sys.path.insert(0, str(ROOT))
    sys.dont_write_bytecode = True
    wanted, incompetent = mutants(given.file.read_text())
    everything = len(wanted)
    if given.again:
        keys = {tuple(m[k] for k in ("operator", "before", "after")) for m in json.loads(given.again.read_text())}
        wanted = [m for m in wanted if m.key in keys]
    if given.sample is not None and given.sample < len(wanted):
        wanted = sorted(random.Random(given.seed).sample(wanted, given.sample), key=lambda m: m.line)
    start, counts, survivors = time.monotonic(), Counter[str](), []
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(given.file, [*given.tests, *pytest_args], Path(scratch))
        seconds = bench.original()
        print(f"{given.file}: {everything} mutants, testing {len(wanted)}; the tests take {seconds:.1f} s", flush=True)
        for mutant, result in bench.results(wanted, given.jobs, given.timeout):
            counts[result] += 1
            if result == SURVIVED:
                survivors.append(mutant)
                print(f"{given.file}:{mutant.line} {mutant.operator}", flush=True)
                print(f"  - {mutant.before}\n  + {mutant.after}", flush=True)
    killed = counts[KILLED] + counts[TIMEOUT]
    print(f"{given.file}: killed {killed} of {len(wanted)} ({100 * killed / max(len(wanted), 1):.1f} %), ", end="")
    print(f"of these {counts[TIMEOUT]} by time; {len(survivors)} survived; {incompetent} do not compile; ", end="")
    print(f"{time.monotonic() - start:.0f} s")
    if given.output:
        rows = [{k: v for k, v in asdict(m).items() if k != "source"} for m in survivors]
        given.output.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
