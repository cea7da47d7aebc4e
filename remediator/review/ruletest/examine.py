"""Examine: run tests, and say of each whether what came is what was expected."""

from __future__ import annotations

from dataclasses import dataclass

from remediator.actions.catalog import Catalog
from remediator.errors import MalformedBody
from remediator.review.ruletest.coverage import Point, reached
from remediator.review.ruletest.difference import difference
from remediator.review.ruletest.load import RuleTest
from remediator.review.ruletest.play import play


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one test."""

    file: str
    name: str
    message: str  # why it failed; empty where it has passed
    reached: frozenset[Point] = frozenset()

    @property
    def passed(self) -> bool:
        """Tell whether all that was expected came, and nothing else."""
        return not self.message


def examine(test: RuleTest, catalog: Catalog) -> Verdict:
    """Run one test; `catalog` is the stubbed one that its rules were read with."""
    file, name = test.file, test.form.name
    errors = [problem for problem in test.rules.problems if problem.severity == "error"]
    if errors:
        return Verdict(file, name, "\n".join(["the rules under test have errors:", *map(str, errors)]))
    by_name = test.rules.rules.by_name
    try:
        played = play(test, catalog)
    except MalformedBody as error:
        return Verdict(file, name, f"an alert of this test would not be taken from Alertmanager: {error}")
    message = difference(test.form, played, by_name)
    return Verdict(file, name, message, frozenset(reached(played, by_name)))
