"""For pytest: notes what comes of the tests that are marked `fault`, and writes the page about them where it is asked to."""

from __future__ import annotations

from collections import defaultdict

import pytest
from faults.marked import marked
from faults.page import PAGE, render, results_on
from faults.promised import EITHER, POSTGRES, SQLITE


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that `make faults` uses."""
    parser.addoption(
        "--faults-page", action="store_true", help="write docs/faults.md from what comes of the marked tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin to note, if the page is wanted."""
    if config.getoption("--faults-page"):
        config.pluginmanager.register(_Noting())


class _Noting:
    def __init__(self) -> None:
        self.outcomes: dict[tuple[str, str], list[str]] = defaultdict(list)  # by place and store: of all parameters

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an end: of the call, or of a set-up that came to none."""
        if "fault" in report.keywords and (report.when == "call" or not report.passed):
            place, _, parameters = report.nodeid.partition("[")
            why = report.longrepr[2].removeprefix("Skipped: ") if isinstance(report.longrepr, tuple) else ""
            told = f"skipped: {why}" if report.skipped else report.outcome
            named = {store for store in (SQLITE, POSTGRES) if store in parameters}  # of a test that goes over both
            for store in named or {SQLITE, POSTGRES, EITHER}:
                self.outcomes[place, store].append(told)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the page, in the process that has heard of all of them."""
        if not hasattr(session.config, "workerinput"):
            before = results_on(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
            now = {where: _worst(outcomes) for where, outcomes in self.outcomes.items()}
            PAGE.write_text(render(marked(), {**before, **now}), encoding="utf-8")  # a part may be run again by itself


def _worst(outcomes: list[str]) -> str:
    """Sum up what came of one test with all its parameters: a failure, else what was skipped, else passed."""
    return next((each for each in ("failed", *sorted(set(outcomes) - {"passed"})) if each in outcomes), "passed")
