"""Runs the tests against every mutant: a plug-in of pytest, `make mutation`.

First every test runs once, and it is noted which lines of the mutated files each of them runs. Then each mutant has a process
of its own, forked from here with everything imported: the code of one function is exchanged, and the tests that run the
changed lines are run, the quickest first, till one fails. What a module does when it is imported can't be exchanged
afterwards: for such a mutant a fresh pytest imports the changed file.

A mutant is killed when a test fails, or takes several times as long as it did without the change. The rest survive.
"""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import IO, Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

sys.path.insert(0, str(Path(__file__).parent))
from mutants import ROOT, UNCHANGED, Mutant, functions_of, mutants_of, parse
from scope import FIRST, SCOPE

_PATIENCE = 8.0  # times as long as without the change, and
_GRACE = 3.0  # seconds beside: then a test hangs
_MEMORY = 4 << 30  # bytes: a mutant that never stops collecting must not take the machine with it
_AT_MOST = (
    10.0  # seconds of tests for one mutant, of those that run its lines: the likeliest to kill it, then the quickest
)
_HUNG = 124
_MEMORY_DISK = Path("/dev/shm")
KILLED, SURVIVED, TIMEOUT, UNTESTED = "killed", "survived", "timeout", "no test"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what can be said to `make mutation`."""
    group = parser.getgroup("mutation")
    group.addoption("--mutation-results", default=None, help="run all mutants, and write their ends to this file")
    group.addoption("--mutation-files", default="", help="only these files, by parts of their names, with commas")
    group.addoption("--mutation-jobs", type=int, default=os.cpu_count() or 1, help="mutants at a time")
    group.addoption("--mutant", default=None, help="import a file with this change: FILE:PLACE:VARIANT")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Change what is to be imported changed, before anything of the project is imported; have chance repeat itself."""
    options = early_config.known_args_namespace
    hypothesis.settings.register_profile("mutation", derandomize=True, database=None, deadline=None)
    if options.mutation_results or options.mutant:
        hypothesis.settings.load_profile("mutation")
    if options.mutant:
        file, place, variant = options.mutant.rsplit(":", 2)
        sys.meta_path.insert(0, _Changed(Mutant(file, 0, 0, "", "", "", int(place), int(variant))))


class _Changed(importlib.abc.MetaPathFinder, importlib.machinery.SourceFileLoader):
    """Imports one module with a change."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant
        super().__init__(_module_name(mutant.file), str(ROOT / mutant.file))

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Take part in the import of that module only."""
        if fullname != self.name:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, origin=self.path)

    def get_code(self, fullname: str) -> CodeType:
        """Compile what was changed."""
        return compile(self._mutant.tree(), self.path, "exec")


def _module_name(file: str) -> str:
    return file.removesuffix(".py").replace("/", ".")


def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Run the tests alone, then with each mutant."""
    where = session.config.getoption("--mutation-results")
    if where is None:
        return None
    wanted = [part for part in session.config.getoption("--mutation-files").split(",") if part]
    files = {file: only for file, only in SCOPE.items() if not wanted or any(part in file for part in wanted)}
    mutation = _Mutation(session, [each for file, only in files.items() for each in mutants_of(file, only)])
    mutation.measure()
    with Path(where).open("w", encoding="utf-8", buffering=1) as to:
        mutation.run(session.config.getoption("--mutation-jobs"), to)
    return True


@dataclass(frozen=True)
class _Process:
    mutant: Mutant
    tests: Sequence[pytest.Item]
    folder: Path


class _Mutation:
    """All mutants, and the tests that may kill them."""

    def __init__(self, session: pytest.Session, mutants: Sequence[Mutant]) -> None:
        self._session = session
        self._mutants = mutants
        self._took: dict[pytest.Item, float] = {}
        self._by_line: dict[tuple[str, int], set[pytest.Item]] = defaultdict(set)
        self._ran: set[tuple[str, int]] = set()  # statements that the present test has run
        self._at_work: dict[int, _Process] = {}  # by process
        self._kills: Counter[tuple[str, pytest.Item]] = Counter()  # by file: a test that has killed will kill again

    @cached_property
    def _say(self) -> Callable[[str], None]:
        reporter: Any = self._session.config.pluginmanager.getplugin("terminalreporter")
        return reporter.write_line  # type: ignore[no-any-return]

    # -- without a change --

    def measure(self) -> None:
        """Run every test once: how long it takes, and what it runs."""
        items = self._session.items
        for file in dict.fromkeys(each.file for each in self._mutants):
            _note_lines(file, self._ran)
        for item, following in zip(items, [*items[1:], None], strict=True):
            self._ran.clear()
            began = time.monotonic()
            reports = runtestprotocol(item, log=False, nextitem=following)
            self._took[item] = time.monotonic() - began
            bad = [each for each in reports if each.failed]
            if bad:
                raise pytest.UsageError(f"{item.nodeid} fails without any mutant:\n{bad[0].longreprtext}")
            for line in self._ran:
                self._by_line[line].add(item)
        self._say(f"{len(items)} tests in {sum(self._took.values()):.0f} s; {len(self._mutants)} mutants")

    def _tests_for(self, mutant: Mutant) -> list[pytest.Item]:
        """Give the tests that run the changed statement, as many as take no more time than a bound.

        Those come first that have killed mutants of this file, then those that run what few others run of the function.
        """
        weight: Counter[pytest.Item] = Counter()
        for line in {
            each.statement for each in self._mutants if (each.file, each.function) == (mutant.file, mutant.function)
        }:
            for item in self._by_line.get((mutant.file, line), ()):
                weight[item] += 1 / len(self._by_line[mutant.file, line])
        found = self._by_line.get((mutant.file, mutant.statement), set())
        seconds, some = 0.0, []
        for item in sorted(found, key=lambda item: (-self._kills[mutant.file, item], self._took[item] / weight[item])):
            seconds += self._took[item]
            if seconds > _AT_MOST and some:
                break
            some.append(item)
        return some

    # -- with a change --

    def run(self, jobs: int, to: IO[str]) -> None:
        """Run all mutants, some at a time, and write how each ended."""
        if threading.active_count() > 1:
            raise AssertionError("a thread that is left over would not live on in a forked process")
        self._check_unchanged()
        began, alive = time.monotonic(), 0
        for number, mutant in enumerate(self._mutants, 1):
            tests = self._tests_for(mutant)
            while len(self._at_work) >= jobs:
                alive += self._reap(to)
            if tests or not mutant.function:
                self._fork(mutant, tests)
            else:
                alive += _tell(to, mutant, UNTESTED)
            if number % 100 == 0:
                self._say(f"{number} of {len(self._mutants)}, {alive} alive, {time.monotonic() - began:.0f} s")
        while self._at_work:
            alive += self._reap(to)
        self._say(f"{alive} of {len(self._mutants)} alive after {time.monotonic() - began:.0f} s")

    def _check_unchanged(self) -> None:
        """Run what does not differ: whatever kills that is a defect of ours, and would make every figure a lie."""
        first = {(each.file, bool(each.function)): each for each in reversed(self._mutants)}
        for mutant in first.values():
            self._fork(replace(mutant, place=UNCHANGED), self._tests_for(mutant))
            child, status = os.wait()
            shutil.rmtree(self._at_work.pop(child).folder, ignore_errors=True)
            if status != 0:
                raise pytest.UsageError(f"{mutant.file} is killed without a change: status {status}")

    def _fork(self, mutant: Mutant, tests: Sequence[pytest.Item]) -> None:
        folder = Path(tempfile.mkdtemp(prefix="mutant-", dir=_MEMORY_DISK if _MEMORY_DISK.is_dir() else None))
        child = os.fork()
        if child == 0:
            self._be(mutant, tests, folder)
        self._at_work[child] = _Process(mutant, tests, folder)

    def _reap(self, to: IO[str]) -> bool:
        """Wait for one of them to end; tell whether its mutant is alive."""
        child, status = os.wait()
        process = self._at_work.pop(child)
        code = os.waitstatus_to_exitcode(status)
        told, by = process.folder / "test", ""
        if code != 0 and told.exists():
            killer = process.tests[int(told.read_text())]
            self._kills[process.mutant.file, killer] += 1
            by = killer.nodeid
        shutil.rmtree(process.folder, ignore_errors=True)
        return _tell(to, process.mutant, {0: SURVIVED, -signal.SIGALRM: TIMEOUT, _HUNG: TIMEOUT}.get(code, KILLED), by)

    def _be(self, mutant: Mutant, tests: Sequence[pytest.Item], folder: Path) -> None:
        """Be the process of one mutant: ends with 0 if it survives."""
        code = 0
        try:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            if mutant.function:
                _exchange(mutant.file, mutant.tree(), {mutant.function})
                self._session.config._tmp_path_factory._basetemp = folder  # type: ignore[attr-defined]
                for number, test in enumerate(tests):
                    (folder / "test").write_text(str(number))
                    if not self._passes(test):
                        code = 1
                        break
            else:
                code = self._import_changed(mutant, folder)
        except BaseException:  # a change may raise anything: whatever it is, it is not a test that has passed
            code = 1
        os._exit(code)

    def _passes(self, test: pytest.Item) -> bool:
        signal.setitimer(signal.ITIMER_REAL, self._took[test] * _PATIENCE + _GRACE)
        return not any(report.failed for report in runtestprotocol(test, log=False, nextitem=None))

    def _import_changed(self, mutant: Mutant, folder: Path) -> int:
        name = f"{mutant.file}:{mutant.place}:{mutant.variant}"
        arguments = [
            "-x",
            "-q",
            "-p",
            "mutation.plugin",
            "-p",
            "no:cacheprovider",
            f"--mutant={name}",
            f"--basetemp={folder}/t",
        ]
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        try:
            return subprocess.run(
                [sys.executable, "-m", "pytest", *arguments, *FIRST[mutant.file]],
                cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, timeout=120, check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return _HUNG


def _tell(to: IO[str], mutant: Mutant, end: str, by: str = "") -> bool:
    """Write how a mutant ended, a line each; tell whether it is alive."""
    shown = {"file": mutant.file, "line": mutant.line, "function": mutant.function}
    told = {"key": mutant.key, **shown, "before": mutant.before, "after": mutant.after, "end": end, "by": by}
    to.write(json.dumps(told, ensure_ascii=False) + "\n")
    return end in {SURVIVED, UNTESTED}


def _exchange(file: str, tree: ast.Module, functions: Collection[str]) -> None:
    """Put the changed code of some functions in the place of their own."""
    module = importlib.import_module(_module_name(file))
    for code in _codes(compile(tree, str(ROOT / file), "exec")):
        if code.co_qualname in functions:
            _function(module, code.co_qualname).__code__ = code


def _note_lines(file: str, ran: set[tuple[str, int]]) -> None:
    """Have all functions of a file note which of their statements are run: much quicker than tracing."""
    tree = parse(file)
    functions = []
    for name, function in functions_of(tree):
        functions.append(name)
        for node in ast.walk(function):
            for field in ("body", "orelse", "finalbody"):
                block = getattr(node, field, None)
                if isinstance(block, list):
                    setattr(node, field, [each for stmt in block for each in (_note(stmt.lineno), stmt)])
    vars(importlib.import_module(_module_name(file)))["_ran"] = lambda line: ran.add((file, line))
    _exchange(file, ast.fix_missing_locations(tree), functions)


def _note(line: int) -> ast.stmt:
    return ast.Expr(ast.Call(ast.Name("_ran", ast.Load()), [ast.Constant(line)], []))


def _codes(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _codes(each)


def _function(module: ModuleType, name: str) -> FunctionType:
    found: Any = module
    for part in name.split("."):
        found = vars(found)[part]
    for inside in ("fget", "func", "__func__"):
        found = getattr(found, inside, found)
    assert isinstance(found, FunctionType)
    return found
