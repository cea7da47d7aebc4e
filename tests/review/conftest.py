"""What tests of rule tests share: a folder with rules and tests, and somebody who runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from remediator.actions.catalog import load_catalog
from remediator.app import read_rules, standing_of
from remediator.config import LoadedConfig, load_config
from remediator.review.ruletest.examine import Verdict, examine
from remediator.review.ruletest.load import LoadedTests, Wiring, read_tests
from remediator.review.stubs import stub

CATALOG = stub(load_catalog())
WIRING = Wiring(CATALOG, lambda loaded: read_rules(loaded, CATALOG), lambda loaded: standing_of(loaded, CATALOG))


@pytest.fixture
def nothing_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LoadedConfig:
    """No configuration, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return load_config(None, {})


@pytest.fixture
def read(nothing_configured: LoadedConfig) -> Callable[[str], LoadedTests]:
    """Reads `web.test.yml`, which is made of a text."""

    def of(tests: str) -> LoadedTests:
        Path("web.test.yml").write_text(tests)
        return read_tests([Path("web.test.yml")], nothing_configured, WIRING)

    return of


@pytest.fixture
def examined(read: Callable[[str], LoadedTests]) -> Callable[[str, str], Sequence[Verdict]]:
    """Runs the tests of a text over the rules of another."""

    def of(rules: str, tests: str) -> Sequence[Verdict]:
        Path("web.yml").write_text(rules)
        found = read(tests)
        assert found.problems == (), "\n".join(map(str, found.problems))
        return [examine(test, CATALOG) for test in found.tests]

    return of


@pytest.fixture
def verdict(examined: Callable[[str, str], Sequence[Verdict]]) -> Callable[[str, str], Verdict]:
    """Runs one test, of which only its keys beside `name` are given, and gives what became of it."""

    def of(rules: str, test: str) -> Verdict:
        (only,) = examined(rules, f"tests:\n  - name: it\n{test}")
        return only

    return of
