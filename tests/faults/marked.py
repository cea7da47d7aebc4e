"""Which tests are marked for which fault, read from their source: it says the same whichever of them are run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.promised import EITHER, Fault, fault_of

TESTS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Marked:
    """One mark on one test."""

    fault: Fault
    store: str
    file: str  # below `tests`
    test: str

    @property
    def place(self) -> str:
        """Give where the test stands, as pytest begins its id."""
        return f"tests/{self.file}::{self.test}"


def marked() -> Sequence[Marked]:
    """Give all marks, in the order of files and lines. Raises LookupError for one that names no fault."""
    return [
        mark
        for file in sorted(TESTS.rglob("test_*.py"))
        if "mark.fault(" in (text := file.read_text())
        for mark in _read(file, text)
    ]


def _read(file: Path, text: str) -> Iterator[Marked]:
    for test in ast.walk(ast.parse(text)):
        if isinstance(test, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in test.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.fault":
                    named = {each.arg: ast.literal_eval(each.value) for each in decorator.keywords}
                    fault = fault_of(ast.literal_eval(decorator.args[0]))
                    yield Marked(fault, named.get("store", EITHER), str(file.relative_to(TESTS)), test.name)
