"""The command `test`: what it prints, what it writes for CI, what no test reaches, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from remediator.cli import main

ROOT = Path(__file__).parents[2]

RULES = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 't/{{ labels.app }}'
    guard: {cooldown: 10m, limit: 5 per 1h, only_if: labels.app != 'db', patience: 1m}
    steps:
      - {id: look, uses: http.get, with: {url: 'http://x'}, continue_on_error: true}
      - {id: act, uses: exec.run, with: {argv: [mend]}, if: not steps.look.ok}
    verify: {within: 1m, checks: [{uses: http.get, with: {url: 'http://x'}, expect: result.status == 200}]}
    undo: [{uses: exec.run, with: {argv: [undo]}}]
    on_failure: [{uses: log, with: {message: sorry}, if: labels.app == 'web'}]
    on_blocked: [{uses: log, with: {message: blocked}}]
  - name: forgotten
    summary: Nobody tests this.
    match: '{alertname="Other"}'
    target: t
    guard: {lock: x}
    steps: [{uses: exec.run, with: {argv: [x]}}]
    on_success: [{uses: log, with: {message: x}}]
"""

TESTS = """
tests:
  - name: mends it
    alerts: [{labels: {alertname: Down, app: web}}]
    results: {http.get: [{error: refused}, {status: 200}]}
    expect: [{at: 0m, rule: mend, outcome: succeeded, steps: [http.get, exec.run]}]
"""

MORE = """
  - name: says sorry
    alerts: [{labels: {alertname: Down, app: web}}, {labels: {alertname: Down, app: web2}, fires: 5s}]
    results: {http.get: [{error: refused}, {status: 500}, {status: 500}]}
    expect:
      - {rule: mend, outcome: failed, reason: verify, steps: [http.get, exec.run, exec.run, log]}
      - {rule: mend, outcome: failed, steps: [http.get]}
  - name: leaves the database alone
    alerts: [{labels: {alertname: Down, app: db}}]
    expect: [{at: 1m, rule: mend, outcome: blocked, reason: only_if}]
"""

FAILS = """
  - name: is "<wrong>" & fails
    alerts: [{labels: {alertname: Down, app: "\\x1b[2Jdb"}}]
    expect: []
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test in an empty folder, without variables."""
    for name in ("REMEDIATOR_CONFIG", "REMEDIATOR_URL", "REMEDIATOR_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, ["test", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def write(tests: str, rules: str = RULES) -> None:
    Path("rules").mkdir(exist_ok=True)
    Path("rules/web.yml").write_text(rules)
    Path("rules/web.test.yml").write_text(tests)


def document(*arguments: str) -> Any:
    return json.loads(run(*arguments, "-o", "json").stdout)


def missed(tests: str) -> list[tuple[str, str, str]]:
    write(tests)
    return [(each["kind"], each["rule"], each["what"]) for each in document("rules")["coverage"]["missed"]]


def test_it_tells_of_each_test_and_of_what_none_reaches() -> None:
    """Exit 0; what was assumed is said."""
    write(TESTS)
    result = run("rules")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "rules/web.test.yml",
        "  ok  mends it",
        "1 test: 1 passed, 0 failed; no configuration: what depends on one is assumed to be met",
        "Coverage: 1 of 2 rules, 0 of 4 guards, 1 of 9 branches; not reached:",
        "  rules/web.yml:3: mend: a refusal by guard.cooldown",
        "  rules/web.yml:3: mend: a refusal by guard.limit",
        "  rules/web.yml:3: mend: a refusal by guard.only_if",
        "  rules/web.yml:3: mend: steps[1] (act) with `if` false",
        "  rules/web.yml:3: mend: on_failure[0] (log) with `if` true",
        "  rules/web.yml:3: mend: on_failure[0] (log) with `if` false",
        "  rules/web.yml:3: mend: a verification that does not hold",
        "  rules/web.yml:3: mend: undo",
        "  rules/web.yml:3: mend: on_failure",
        "  rules/web.yml:3: mend: on_blocked",
        "  rules/web.yml:15: forgotten: a run of it",
    ]


def test_what_is_assumed_is_said_of_the_tests_that_name_no_configuration() -> None:
    """Where each names its own, nothing is assumed."""
    Path("lab.yml").write_text("exec: {allow: [mend, undo, x]}\n")
    named = "    config: ../lab.yml\n"
    write(TESTS + named)
    assert run("rules").stdout.splitlines()[2] == "1 test: 1 passed, 0 failed"
    write(TESTS + named + MORE)
    told = "3 tests: 3 passed, 0 failed; 2 without a configuration: what depends on one is assumed to be met"
    assert told in run("rules").stdout.splitlines()


def test_a_guard_that_can_refuse_nothing_is_none_that_a_test_could_reach() -> None:
    """No cooldown, no alerts that would speak against it, a first episode; and a lock on a rule that only reads."""
    idle = "{cooldown: 0s, unless_firing: [], episodes: {at_least: 1, per: 1h}}"
    rules = RULES.replace("{cooldown: 10m, limit: 5 per 1h, only_if: labels.app != 'db', patience: 1m}", idle)
    rules = rules.replace("steps: [{uses: exec.run, with: {argv: [x]}}]", "steps: [{uses: log, with: {message: x}}]")
    write(TESTS, rules)
    assert document("rules")["coverage"]["guards"] == {"reached": 0, "all": 0}
    write(TESTS, rules.replace("at_least: 1", "at_least: 1, at_most: 2"))
    assert document("rules")["coverage"]["guards"] == {"reached": 0, "all": 1}


def test_each_branch_is_reached_by_the_test_that_goes_there() -> None:
    """`if` on both sides, the verification, the undoing, what follows, and a guard that refused for a while."""
    assert missed(TESTS + MORE) == [
        ("guards", "mend", "cooldown"),
        ("guards", "mend", "limit"),
        ("rules", "forgotten", ""),
    ]


def test_nothing_is_left_to_say_where_all_is_reached() -> None:
    """The line ends without a colon."""
    rules = (
        "rules:\n  - {name: a, summary: b, match: '{x=\"y\"}', target: t, steps: [{uses: log, with: {message: x}}]}\n"
    )
    write("tests: [{name: it, alerts: [{labels: {x: y}}], expect: [{rule: a}]}]", rules)
    assert run("rules").stdout.splitlines()[-1] == "Coverage: 1 of 1 rules, 0 of 0 guards, 0 of 0 branches"


def test_a_failed_test_is_exit_1_and_a_readable_difference() -> None:
    """Nothing in it steers the terminal."""
    write(TESTS + FAILS)
    result = run("rules/web.test.yml")
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines()[2:6] == [
        '  FAILED  is "<wrong>" & fails',
        "      0 of 0 expected runs came; - is expected, + is what came, * is anything:",
        "        +  0s  mend  no target  blocked unsafe_value  [log]",
        "            this run is not expected",
    ]
    assert "why: '\\x1b[2Jdb' can't stand in a header" in result.stdout
    assert "\x1b" not in result.stdout
    assert "2 tests: 1 passed, 1 failed" in result.stdout


def test_the_document_has_every_test() -> None:
    """And nothing else is on standard output."""
    write(TESTS + FAILS)
    found = document("rules")
    assert (found["passed"], found["failed"]) == (1, 1)
    assert [(each["file"], each["name"], each["passed"]) for each in found["tests"]] == [
        ("rules/web.test.yml", "mends it", True),
        ("rules/web.test.yml", 'is "<wrong>" & fails', False),
    ]
    assert found["tests"][0]["message"] == ""
    assert "not expected" in found["tests"][1]["message"]
    assert found["coverage"]["rules"] == {"reached": 1, "all": 2}


def test_junit_is_written_for_ci() -> None:
    """A suite for each file, a case for each test, the whole difference in the failure; nothing that XML can't hold."""
    write(TESTS + FAILS)
    assert run("rules", "--junit", "results.xml").exit_code == 1
    root = ElementTree.parse("results.xml").getroot()  # noqa: S314 - our own
    assert (root.tag, root.attrib) == ("testsuites", {"tests": "2", "failures": "1"})
    (suite,) = root
    assert suite.attrib == {"name": "rules/web.test.yml", "tests": "2", "failures": "1"}
    first, second = suite
    assert (first.attrib["name"], list(first)) == ("mends it", [])
    assert (second.attrib["classname"], second.attrib["name"]) == ("rules/web.test.yml", 'is "<wrong>" & fails')
    (failure,) = second
    assert failure.attrib["message"].startswith("0 of 0 expected runs came")
    assert "why: '\\x1b[2Jdb' can't stand in a header" in str(failure.text)


def test_a_file_that_can_not_be_read_is_exit_2_and_nothing_is_run() -> None:
    """All faults of all files at once, on standard error."""
    write(TESTS.replace("outcome", "outcom"))
    Path("rules/more.test.yml").write_text("tests: 5")
    result = run("rules", "-o", "json", "--junit", "results.xml")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "rules/web.test.yml:6:35: error: tests[0].expect[0].outcom: the key `outcom` is not known" in result.stderr
    assert "rules/more.test.yml:1:8: error: tests: expected a list" in result.stderr
    assert not Path("results.xml").exists()


@pytest.mark.parametrize("where", ["gone", "empty"])
def test_where_there_are_no_tests_is_exit_2(where: str) -> None:
    """A CI job that tests nothing must not be green."""
    Path("empty").mkdir()
    result = run(where)
    assert (result.exit_code, "*.test.yml" in result.stderr) == (2, True)


def test_rules_with_errors_are_failed_tests() -> None:
    """Exit 1: what was asked found fault."""
    write(TESTS, RULES.replace("summary", "sumary"))
    result = run("rules")
    assert result.exit_code == 1
    assert "rules/web.yml:4:5: error: rule mend: sumary: the key `sumary` is not known here" in result.stdout


def test_the_configured_rules_are_tested_by_default() -> None:
    """With their configuration, but for its mode."""
    write(TESTS)
    Path("remediator.yml").write_text("rules: [rules]\nmode: 'off'\nexec: {allow: [mend, undo, x]}\n")
    result = run()
    assert result.exit_code == 0
    assert "1 test: 1 passed, 0 failed\n" in result.stdout


def test_the_shipped_rules_pass_their_tests() -> None:
    """Without a configuration, as whoever has just installed it finds them."""
    result = run()
    assert result.exit_code == 0, result.stdout
    assert "Coverage: " in result.stdout
    assert "not reached" not in result.stdout


def test_the_configurations_of_deploy_do_by_day_and_night_what_their_tests_say() -> None:
    """Each names its configuration itself."""
    result = run(str(ROOT / "deploy"))
    assert result.exit_code == 0, result.stdout
