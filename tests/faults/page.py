"""The page `docs/faults.md`: what the promises name, which tests inject it, and what came of them when they were last run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from faults.marked import Marked
from faults.promised import FAULTS, PROMISED, Fault

PAGE = Path(__file__).resolve().parents[2] / "docs" / "faults.md"
NOT_YET, NOT_RUN = "not yet", "not run"

Results = Mapping[tuple[str, str], str]  # what came of each test, by its place and the store

_HEAD = """\
# Faults

What can go wrong with a process, its store, its clock, its input, its rules, its programs and its network; what is to come of it;
and the tests that make it happen, with real processes, signals, disks, clocks and sockets wherever that can be had. `make faults`
runs them all and writes this page.

Where a fault looks the same over any store, the store is `either`. What a machine can't do (mounting, tracing) is skipped, and
the result says why. P1 to P18 are the [promises](../README.md#what-it-promises).
"""


def render(marks: Sequence[Marked], results: Results) -> str:
    """Write the page; `results` are by the place of a test and the store."""
    parts = [_HEAD]
    for section in PROMISED:
        rows = [row for fault in FAULTS if fault.section == section for row in _rows(fault, marks, results)]
        head = "| Fault | Store | Expected | Tests | Result |\n| --- | --- | --- | --- | --- |"
        parts.append(f"## {section}\n\n{head}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _rows(fault: Fault, marks: Sequence[Marked], results: Results) -> list[str]:
    rows = []
    for store in fault.stores:
        mine = [mark for mark in marks if (mark.fault, mark.store) == (fault, store)]
        tests = "<br>".join(f"[{mark.test}](../tests/{mark.file})" for mark in mine)
        told = [results.get((mark.place, store), NOT_RUN) for mark in mine]
        result = "<br>".join(told) if len(set(told)) > 1 else (told[0] if told else NOT_YET)
        cells = (fault.what, store, fault.expected, tests, result)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return rows


def results_on(text: str) -> Results:
    """Read from a page what came of each test."""
    found: dict[tuple[str, str], str] = {}
    for line in text.splitlines():
        cells = line.split(" | ")
        tests = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[^)]+)\)", cells[-2]) if len(cells) == 5 else []
        told = cells[-1].removesuffix(" |").split("<br>") if tests else []
        told = told * len(tests) if len(told) == 1 else told
        found |= {(f"{file}::{test}", cells[1]): result for (test, file), result in zip(tests, told, strict=True)}
    return found
