"""JUnit XML, as CI systems read it: a suite for each file, a case for each test."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from xml.etree import ElementTree

from remediator.actions.bounds import visible
from remediator.review.ruletest.examine import Verdict


def junit(verdicts: Sequence[Verdict]) -> bytes:
    """Write the verdicts, which come file by file."""
    root = ElementTree.Element("testsuites", _counts(verdicts))
    for file, group in groupby(verdicts, key=lambda verdict: verdict.file):
        cases = list(group)
        suite = ElementTree.SubElement(root, "testsuite", {"name": _fit(file), **_counts(cases)})
        for verdict in cases:
            case = ElementTree.SubElement(suite, "testcase", {"classname": _fit(file), "name": _fit(verdict.name)})
            if not verdict.passed:
                lines = [_fit(line) for line in verdict.message.splitlines()]
                ElementTree.SubElement(case, "failure", {"message": lines[0]}).text = "\n".join(lines)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def _counts(verdicts: Sequence[Verdict]) -> dict[str, str]:
    return {"tests": str(len(verdicts)), "failures": str(sum(not verdict.passed for verdict in verdicts))}


def _fit(text: str) -> str:
    """Write what XML can't hold (control characters, U+FFFE) as people can read it."""
    return "".join(char if char not in "\ufffe\uffff" else f"\\u{ord(char):04x}" for char in visible(text))
