"""The index: every row of every table of the rule language has a test named after it, and none is missing.

The rows are those of the tables in `docs/rules.md`, and those that the language is known to have: a row that is dropped from
the page, or a table that is, is missed too.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from remediator.actions.catalog import load_catalog

HERE = Path(__file__).parent
PAGE = (HERE.parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")

# The language's own tables, row by row. What is said in words beside them has tables on the page alone.
KEYS = """
    name summary match schedule for facts target mode guard approval steps ladder recurrence verify undo revert on_success
    on_failure on_blocked when_resolved deadline priority confidential owner runbook labels reviewed review_every
"""
GUARDS = "cooldown limit blast_radius breaker episodes unless_firing only_firing only_if lock patience"
DAEMON_GUARDS = "limit blast_radius breaker max_running storm"
ACTIONS = "exec.run exec.probe http.get http.request prometheus.query alertmanager.alerts wait log"
PLACES = "argument child_text directory grammar host url header promql matchers json display"
# Rows of the language's table of places that have another row's gate, or none: by what else keeps the value in its place.
MORE_PLACES = "argument_of_ssh sql"
LANGUAGE = {
    "key": KEYS.split(), "guard": GUARDS.split(), "daemon_guard": DAEMON_GUARDS.split(), "action": ACTIONS.split(),
    "gate": PLACES.split(),
}  # fmt: skip

# Which tables of the page are about rows of which kind: by the name of a generated one, or by the head of another.
GENERATED = {
    "rule-file-keys": "file", "rule-keys": "key", "mode-keys": "mode", "interval-keys": "interval", "guard-keys": "guard",
    "blast-radius-keys": "blast_radius", "breaker-keys": "breaker", "episodes-keys": "episodes",
    "approval-keys": "approval", "step-keys": "step", "retry-keys": "retry", "verify-keys": "verify", "rung-keys": "rung",
    "revert-keys": "revert", "schedule-keys": "schedule",
}  # fmt: skip
BY_HAND = {
    ("Key", "Default", "A run is refused, or waits"): "daemon_guard",
    ("Key", "Runs", "Steps that"): "key",
    ("Action", "Effect", "Parameters", "Result"): "action",
    ("Name", "Is"): "name",
    ("Place", "Gate", "A value from outside"): "gate",
}


def tables() -> Iterator[tuple[str, list[list[str]]]]:
    """Give every table of the page, with the kind of its rows."""
    for found in re.finditer(r"(?:<!-- generated: ([a-z-]+) -->\n)?((?:^\|.*\n)+)", PAGE, re.MULTILINE):
        head, _, *rows = [
            [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in found[2].splitlines()
        ]
        kind = GENERATED.get(found[1]) if found[1] else BY_HAND.get(tuple(head))
        assert kind is not None, f"no test is named after the rows of the table {found[1] or head}"
        yield kind, rows


def rows_of_the_page() -> Iterator[tuple[str, str]]:
    """Give kind and name of every row."""
    for kind, rows in tables():
        for row in rows:
            cell = row[1] if kind == "gate" else row[0]
            for name in cell.replace("`", "").split(", "):
                yield kind, name.removesuffix(".ID")


def collected(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give the tests that pytest collects from a file."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield node


TESTS = [(file.name, test) for file in sorted(HERE.glob("test_*.py")) for test in collected(file)]
NAMES = {test.name for _, test in TESTS}


def name_of(kind: str, row: str) -> str:
    """Give the name of the test for a row."""
    return f"test_{kind}_{row.replace('.', '_')}"


@pytest.mark.parametrize(("kind", "row"), sorted(set(rows_of_the_page())))
def test_every_row_of_the_page_has_a_test_named_after_it(kind: str, row: str) -> None:
    """Where one is missing: write it."""
    assert name_of(kind, row) in NAMES


@pytest.mark.parametrize("kind", LANGUAGE)
def test_every_row_of_the_language_is_on_the_page_and_has_its_test(kind: str) -> None:
    """No more, no less: a row that is dropped from the page would drop its test unseen."""
    assert sorted({row for of, row in rows_of_the_page() if of == kind}) == sorted(LANGUAGE[kind])
    assert [row for row in LANGUAGE[kind] if name_of(kind, row) not in NAMES] == []


@pytest.mark.parametrize("place", MORE_PLACES.split())
def test_every_place_without_a_gate_of_its_own_has_its_test(place: str) -> None:
    """The page has them in another place's row."""
    assert name_of("gate", place) in NAMES


def test_every_table_that_the_index_knows_is_on_the_page() -> None:
    """A table that is gone, or has another head, is missed."""
    assert {kind for kind, _ in rows_of_the_page()} == {*GENERATED.values(), *BY_HAND.values()}


def test_no_test_of_a_row_is_skipped_doubled_or_without_an_assertion() -> None:
    """What is named after a row has to prove it."""
    names = [test.name for _, test in TESTS]
    assert sorted({name for name in names if names.count(name) > 1}) == []
    wanted = {name_of(kind, row) for kind, row in rows_of_the_page()}
    for file, test in TESTS:
        if test.name not in wanted:
            continue
        marks = " ".join(ast.unparse(decorator) for decorator in test.decorator_list)
        assert not re.search("skip|xfail", marks), f"{file}: {test.name}"
        proofs = [node for node in ast.walk(test) if isinstance(node, ast.Assert)]
        assert proofs, f"{file}: {test.name} asserts nothing"
        assert ast.get_docstring(test), f"{file}: {test.name} says nothing"


def test_the_actions_of_the_core_are_those_that_are_there() -> None:
    """The table on the page, by hand, says of each what the catalog says."""
    catalog = load_catalog()
    rows = {row[0].strip("`"): row for kind, found in tables() if kind == "action" for row in found}
    for name, (_, effect, parameters, _) in rows.items():
        assert effect == catalog[name].effect, name
        known = {field.alias or each for each, field in catalog[name].parameters.model_fields.items()}
        assert set(re.findall(r"`([a-z]+)`", parameters)) == known, name
