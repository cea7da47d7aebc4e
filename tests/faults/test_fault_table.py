"""The table of faults has a test in every row, and `docs/faults.md` is what `make faults` makes of it."""

from __future__ import annotations

import pytest
from faults.marked import marked
from faults.page import NOT_YET as NOTHING_YET
from faults.page import PAGE, render, results_on
from faults.promised import FAULTS, fault_of

MARKS = marked()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.what[:40])
def test_every_fault_of_the_promises_is_injected_over_every_store_that_matters(fault) -> None:
    """No row is empty."""
    missing = {store for store in fault.stores if not any((each.fault, each.store) == (fault, store) for each in MARKS)}
    assert missing == set()


def test_every_mark_is_for_a_store_that_its_fault_is_tried_over() -> None:
    """Another one would stand in no row."""
    assert [each.place for each in MARKS if each.store not in each.fault.stores] == []


def test_the_page_names_the_tests_that_are_there() -> None:
    """Where it doesn't: `make faults`."""
    page = PAGE.read_text(encoding="utf-8")
    assert render(MARKS, results_on(page)) == page


def test_the_page_tells_what_came_of_each_and_nothing_failed() -> None:
    """Passed, or skipped with the reason."""
    results = results_on(PAGE.read_text(encoding="utf-8"))
    assert {(each.place, each.store) for each in MARKS} == results.keys()
    strange = {where: told for where, told in results.items() if told != "passed" and not told.startswith("skipped: ")}
    assert strange == {}


def test_a_row_without_a_test_says_so() -> None:
    """And a mark that names no fault, or several, is a defect of the mark."""
    assert f"| {NOTHING_YET} |" in render([], {})
    for text in ("", "c", "no such fault"):
        with pytest.raises(LookupError):
            fault_of(text)
