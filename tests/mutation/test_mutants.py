"""The mutants are what they say, and what is told of survivors is told of mutants that there are."""

from __future__ import annotations

import ast

import pytest
from mutation.mutants import ROOT, mutants_of, sql_changes
from mutation.run import why
from mutation.scope import FIRST, SCOPE, TESTS

MUTANTS = {file: mutants_of(file, only) for file, only in SCOPE.items()}


@pytest.mark.parametrize(
    ("statement", "changed"),
    [
        ("WHERE a < ?", {"WHERE a <= ?", "WHERE (a < ? OR 1)"}),
        ("WHERE a = ? AND b IS NULL", {
            "WHERE a != ? AND b IS NULL", "WHERE (a = ? OR 1) AND b IS NULL", "WHERE a = ? OR b IS NULL",
            "WHERE a = ? AND b IS NOT NULL", "WHERE a = ? AND (b IS NULL OR 1)",
        }),
        ("SET a = ? WHERE b NOT IN ('x')", {"SET a = ? WHERE b IN ('x')", "SET a = ? WHERE (b NOT IN ('x') OR 1)"}),
        ("plain words", set()),
    ],
)  # fmt: skip
def test_sql_is_changed_one_comparison_at_a_time(statement: str, changed: set[str]) -> None:
    """What is set is no comparison, and what is no SQL stays as it is."""
    assert set(sql_changes(statement)) == changed


@pytest.mark.parametrize("file", SCOPE)
def test_every_mutant_differs_from_the_file_and_can_be_compiled(file: str) -> None:
    """A tenth of them, evenly."""
    text = ast.unparse(ast.parse((ROOT / file).read_text(encoding="utf-8")))
    for mutant in MUTANTS[file][::10]:
        tree = mutant.tree()
        compile(tree, file, "exec")
        assert ast.unparse(tree) != text, mutant.key


def test_mutants_have_names_of_their_own_and_notes_are_of_mutants_that_there_are() -> None:
    """A note on code that has changed is to be thought over."""
    keys = [mutant.key for mutants in MUTANTS.values() for mutant in mutants]
    assert len(keys) == len(set(keys))
    assert set(why()) <= set(keys)


def test_the_tests_that_are_to_kill_them_are_there() -> None:
    """What a module does at import needs tests to be named for it."""
    assert all((ROOT / path).exists() for path in (*TESTS, *(each for some in FIRST.values() for each in some)))
    assert {file for file, mutants in MUTANTS.items() if not all(each.function for each in mutants)} <= set(FIRST)
