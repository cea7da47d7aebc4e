"""Files of rule tests: where they are found, and what is wrong with them, all in one go and with its place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from remediator.config import LoadedConfig
from remediator.errors import ConfigurationError
from remediator.review.ruletest import form
from remediator.review.ruletest.load import LoadedTests, find_tests

Read: TypeAlias = Callable[[str], LoadedTests]

RULES = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: t
    steps: [{uses: log, with: {message: x}}]
"""


@pytest.fixture(autouse=True)
def _rules(nothing_configured: LoadedConfig) -> None:
    """A rule file to be tested."""
    Path("web.yml").write_text(RULES)


def test_a_file_tests_the_rules_beside_it_unless_it_names_others(read: Read) -> None:
    """NAME.test.yml is for NAME.yml, and paths count from the file."""
    Path("more").mkdir()
    Path("more/db.yml").write_text(RULES.replace("mend", "mend-db"))
    for rules, names in (
        ("", ["mend"]),
        ("rules: [more/db.yml]\n", ["mend-db"]),
        ("rules: [.]\n", ["mend-db", "mend"]),
    ):
        (test,) = read(f"{rules}x-anchors: 1\ntests: [{{name: it, expect: []}}]\n").tests
        assert [rule.name for rule in test.rules.rules.rules] == names


def test_every_fault_of_every_test_is_told_at_once(read: Read) -> None:
    """File, line, column, key, and the nearest word."""
    found = read("""ruls: [web.yml]
tests:
  - name: first
    start: noon
    alerts:
      - {labels: {alertname: 5}, fires: 5m, resolves: 1m}
      - {lables: {alertname: Down}}
    results: {http.gt: {seconds: soon, error: 5}, log: []}
    mode: on
    expect:
      - {at: 3h, rule: mend, outcome: suceeded, reason: cooldwn}
  - name: first
    alerts:
      - {labels: {alertname: Down}}
      - {labels: {alertname: Down}, fires: 6m}
    config: nothing.yml
    pause: [{at: 1m, for: 0s}]
    expect:
      - {rule: mind, steps: [lag]}
      - {}
""")
    assert found.tests == ()
    told = [str(problem).removeprefix("web.test.yml:") for problem in found.problems]
    assert [line.rpartition(" [")[0] for line in told] == [
        "1:1: error: ruls: the key `ruls` is not known here; did you mean `rules`?",
        "4:12: error: tests[0].start: 'noon' is not an RFC 3339 time",
        "6:30: error: tests[0].alerts[0].labels.alertname: expected text, found a number",
        "7:9: error: tests[0].alerts[1].labels: the key `labels` is missing",
        "7:10: error: tests[0].alerts[1].lables: the key `lables` is not known here; did you mean `labels`?",
        "8:15: error: tests[0].results.http.gt: there is no action `http.gt`; did you mean `http.get`?",
        "8:34: error: tests[0].results.http.gt.seconds: expected a number: the seconds that the step takes",
        "8:47: error: tests[0].results.http.gt.error: expected text: what the step fails with",
        "8:56: error: tests[0].results.log: this list is empty: give a result for each call",
        "9:11: error: tests[0].mode: expected `off`, `dry-run`, `approve` or `auto`, found `on`",
        "11:39: error: tests[0].expect[0].outcome: 'suceeded' is not the state of a run; did you mean `succeeded`?",
        "11:57: error: tests[0].expect[0].reason: 'cooldwn' is not the reason of a run's state; did you mean `cooldown`?",
        "12:11: error: tests[1].name: another test of this file is called 'first'",
        (
            "15:44: error: tests[1].alerts[1].fires: an alert of the same labels fires already: it has to resolve "
            "before this one fires"
        ),
        "16:13: error: tests[1].config: nothing.yml:0:0: error: can't be read: No such file or directory [yaml]",
        "17:27: error: tests[1].pause[0].for: the value should be greater than 0",
        "20:9: error: tests[1].expect[1]: this says nothing of the run: give at least `rule` and `outcome`",
    ]


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        ("expect: [{rule: mind}]", "expect[0].rule: no rule under test is called `mind`; did you mean `mend`?"),
        ("expect: [{rule: mend, steps: [lag]}]", "steps[0]: there is no action `lag`; did you mean `log`?"),
        ("expect: []\n    pause: [{at: 1m, rule: mind}]", "pause[0].rule: no rule under test is called `mind`"),
        ("expect: []\n    mode: ask", "mode: expected"),
        ("expect: []\n    approve: [{at: 1m, rule: mind}]", "approve[0].rule: no rule under test is called `mind`"),
        ("expect: []\n    results: {log: [1]}", "results.log[0]: expected a mapping, found a number"),
        ("expect: []\n    results: {log: {a: .inf}}", "results.log.a: infinity and not-a-number can't be stored"),
        ("expect: []\n    results: {log: [{seconds: -1}]}", "results.log[0].seconds: expected a number"),
        ("x: 1\n    expect: []", "x: the key `x` is not known here"),
    ],
)
def test_what_a_test_may_say(read: Read, test: str, problem: str) -> None:
    """The rest of it, one by one."""
    (only,) = read(f"tests:\n  - name: it\n    {test}\n").problems
    assert problem in str(only)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("rules: [gone.yml]\ntests: [{name: it, expect: []}]", "1:9: error: rules[0]: gone.yml is not there"),
        ("[]", "1:1: error: expected a mapping with the list `tests`"),
        ("rules: [web.yml]\ntests: []", "tests: "),
        ("tests: {", "not valid YAML"),
    ],
)
def test_what_a_file_may_say(read: Read, text: str, problem: str) -> None:
    """Its own keys, and its YAML."""
    (only,) = read(text).problems
    assert problem in str(only)


def test_a_file_without_rules_beside_it_says_which_are_missing(read: Read) -> None:
    """Where neither the key nor the file is there."""
    Path("web.yml").unlink()
    (only,) = read("tests: [{name: it, expect: []}]").problems
    assert "the key `rules` is missing: which rule files are tested?, and web.yml is not there" in str(only)


def test_tests_are_found_in_folders_and_beside_rules(nothing_configured: LoadedConfig) -> None:
    """Each once; hidden folders are left out, as for rules."""
    for name in ("web.test.yml", "more/db.test.yaml", ".git/x.test.yml", "more/notes.yml"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()
    names = [[str(path) for path in find_tests([Path(each)])] for each in (".", "more", "web.yml", "web.test.yml")]
    assert names == [["more/db.test.yaml", "web.test.yml"], ["more/db.test.yaml"], ["web.test.yml"], ["web.test.yml"]]
    assert find_tests([Path("web.yml"), Path()]) == [Path("web.test.yml"), Path("more/db.test.yaml")]
    with pytest.raises(ConfigurationError, match="gone is not there"):
        find_tests([Path("gone")])


def test_the_schema_has_every_key() -> None:
    """With its description, for editors."""
    schema: dict[str, Any] = form.tests_schema()
    test = schema["$defs"]["RuleTestForm"]
    assert set(test["properties"]) == set(form.RuleTestForm.known_keys())
    assert all(about.get("description") for about in test["properties"].values())
    assert test["properties"]["start"]["default"] == "2026-01-05T12:00:00.000Z"
    assert test["required"] == ["name", "expect"]
