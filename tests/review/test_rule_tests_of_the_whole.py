"""Rule tests of what goes beyond steps: people who are asked, reverts, ladders, schedules, windows, storms and notices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from remediator.review.ruletest.examine import Verdict
from remediator.review.ruletest.load import LoadedTests

Judge: TypeAlias = Callable[[str, str], Verdict]
Read: TypeAlias = Callable[[str], LoadedTests]

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 't/{{ labels.app }}'
    guard: {cooldown: 0s}
    steps: [{uses: exec.run, with: {argv: [mend]}}]
"""
FIRES = """
    alerts: [{labels: {alertname: Down, app: web}}]
"""
ASKS = FIRES + "    mode: approve\n"


# --- people ---


def test_a_person_approves_what_is_asked(verdict: Judge) -> None:
    """The run begins then."""
    test = ASKS + "    approve: [{at: 5m, rule: mend, by: oncall}]\n"
    expect = "    expect: [{at: 5m, outcome: succeeded, mode: approve, steps: [exec.run]}]"
    assert verdict(RULE, test + expect).message == ""


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("    reject: [{at: 5m, rule: mend}]\n", "at: 5m, outcome: cancelled, reason: rejected"),
        ("", "at: 15m, outcome: cancelled, reason: expired"),
        ("    approve: [{at: 20m, rule: mend}]\n", "at: 15m, outcome: cancelled, reason: expired"),
    ],
)
def test_a_person_says_no_or_nobody_answers_in_time(verdict: Judge, answer: str, expected: str) -> None:
    """Both end the run, with a reason."""
    assert verdict(RULE, ASKS + answer + f"    expect: [{{{expected}}}]").message == ""


def test_it_takes_as_many_as_the_rule_asks_for_and_those_it_names(verdict: Judge) -> None:
    """Each of them once."""
    rules = RULE + "    approval: {approvers: [ann, bob], quorum: 2}\n"
    people = ["{at: 1m, rule: mend, by: ann}", "{at: 2m, rule: mend, by: ann}", "{at: 3m, rule: mend, by: eve}"]
    test = ASKS + f"    approve: [{', '.join(people)}, {{at: 4m, rule: mend, by: bob}}]\n"
    assert verdict(rules, test + "    expect: [{at: 4m, outcome: succeeded}]").message == ""


def test_a_failed_test_says_whose_answer_came_to_nothing(verdict: Judge) -> None:
    """It may be what is wrong with the test, or just what it is about: then it passes."""
    rules = RULE + "    approval: {approvers: [ann]}\n"
    test = ASKS + "    approve: [{at: 1m, rule: mend, by: eve}, {at: 20m, rule: mend, by: ann}]\n"
    assert verdict(rules, test + "    expect: [{outcome: cancelled, reason: expired}]").message == ""
    assert verdict(rules, test + "    expect: [{outcome: succeeded}]").message.splitlines()[-2:] == [
        "at 1m: eve is not among the approvers of mend: one of ann has to answer, with a token of their own",
        "at 20m: ann was not asked about mend",
    ]


# --- what a rule may do beside its steps ---


def test_a_revert_is_told_with_the_run_whose_change_it_takes_back(verdict: Judge) -> None:
    """However much later it comes; what it knows of that run is not told twice."""
    rules = (
        RULE
        + """
    facts: [{id: known, uses: exec.probe, with: {argv: [look]}}]
    revert: {after: 7d, steps: [{uses: http.request, with: {method: POST, url: 'http://x'}}]}
"""
    )
    expect = "    expect: [{at: 0m, outcome: succeeded, steps: [exec.run, http.request]}]"
    assert verdict(rules, FIRES + expect).message == ""


@pytest.mark.parametrize(("answer", "outcome"), [("{}", "succeeded"), ("{error: no, exit_status: 1}", "failed")])
def test_the_steps_of_a_run_are_told_in_order_of_time(verdict: Judge, answer: str, outcome: str) -> None:
    """What follows a run comes before its revert, which begins once the run has ended and is followed by the same."""
    rules = (
        RULE
        + """
    on_success: [{uses: log, with: {message: good}}]
    on_failure: [{uses: log, with: {message: bad}}]
    revert: {after: 1h, steps: [{uses: http.request, with: {method: POST, url: 'http://x'}}]}
"""
    )
    test = f"    results: {{exec.run: {answer}}}\n    expect: [{{outcome: {outcome}, steps: [exec.run, log, http.request, log]}}]"
    assert verdict(rules, FIRES + test).message == ""


def test_a_ladder_is_climbed(verdict: Judge) -> None:
    """`rung` is the last, from 0; the steps are those of all rungs."""
    rules = (
        RULE.replace("    steps: [{uses: exec.run, with: {argv: [mend]}}]\n", "")
        + """
    ladder:
      - steps: [{uses: exec.run, with: {argv: [nudge]}}]
        verify: {within: 1m, checks: [{uses: http.get, with: {url: 'http://x'}, expect: result.status == 200}]}
      - steps: [{uses: http.request, with: {method: POST, url: 'http://x'}}]
"""
    )
    test = FIRES + "    results: {http.get: {status: 500}}\n"
    climbed = verdict(rules, test + "    expect: [{outcome: succeeded, rung: 1, steps: [exec.run, http.request]}]")
    assert climbed.message == ""
    assert "ladder[1]" in {point.what for point in climbed.reached}


# --- time ---

SCHEDULED = """
rules:
  - {name: tidy, summary: Tidy up., schedule: '0 3 * * *', target: t, steps: [{uses: exec.run, with: {argv: [tidy]}}]}
"""


@pytest.mark.parametrize(
    ("test", "good"),
    [
        ("    expect: [{at: 15h, rule: tidy, outcome: succeeded}]", True),
        ("    expect: [{at: 15h}, {at: 39h}, {at: 63h}]", True),
        ("    expect: [{at: 15h}, {at: 63h}]", False),
        ("    expect: []", False),
        ("    alerts: [{labels: {alertname: Down}, fires: 1h}]\n    expect: []", True),
        ("    alerts: [{labels: {alertname: Down}, fires: 16h}]\n    expect: []", False),
    ],
)
def test_a_schedule_begins_runs_up_to_the_last_time_of_the_test(verdict: Judge, test: str, good: bool) -> None:
    """Its expectations count; a test that names no time is a day long."""
    assert verdict(SCHEDULED, test).passed is good


@pytest.mark.parametrize(
    ("start", "outcome"),
    [
        ("2026-01-15T23:30:00+01:00", "succeeded"),
        ("2026-01-15T21:30:00+01:00", "planned"),
        ("2026-01-15T21:30:00Z", "succeeded"),
    ],
)
def test_windows_hold_by_the_start_of_the_test(verdict: Judge, start: str, outcome: str) -> None:
    """In the zone of the window."""
    Path("remediator.yml").write_text("""
exec: {allow: [mend]}
windows:
  night: [{times: [{start_time: '22:00', end_time: '07:00'}], location: Europe/Berlin}]
""")
    rules = RULE + "    mode: [{during: night, mode: auto}, {mode: dry-run}]\n"
    test = FIRES + f"    config: remediator.yml\n    mode: auto\n    start: {start}\n"
    assert verdict(rules, test + f"    expect: [{{outcome: {outcome}}}]").message == ""


# --- the daemon's own ---


def test_a_storm_is_waited_for(verdict: Judge) -> None:
    """What it stopped gets its second chance, and that is expected too."""
    Path("remediator.yml").write_text("exec: {allow: [mend]}\nguard: {storm: {alerts: 2, per: 1m, hold: 10m}}\n")
    alerts = ", ".join(f"{{labels: {{alertname: Down, app: {app}}}}}" for app in "abc")
    blocked = [f"{{target: t/{app}, outcome: blocked, reason: storm}}" for app in "abc"]
    mended = [f"{{target: t/{app}, outcome: succeeded}}" for app in "abc"]
    test = f"    alerts: [{alerts}]\n    config: remediator.yml\n    mode: auto\n"
    assert verdict(RULE, test + f"    expect: [{', '.join([*blocked, *mended])}]").message == ""


def test_what_the_daemon_has_to_say_is_no_run_and_takes_no_results(verdict: Judge) -> None:
    """Though the notice of the pause would use the very action that the rule does."""
    Path("remediator.yml").write_text("notices: {to: [{uses: http.get, with: {url: 'http://x'}}]}\n")
    rules = RULE.replace(
        "steps: [{uses: exec.run, with: {argv: [mend]}}]",
        "steps: [{uses: http.get, with: {url: 'http://x'}, expect: result.status == 200}]",
    )
    test = FIRES + "    pause: [{at: 0m, for: 1m}]\n    config: remediator.yml\n    mode: auto\n"
    results = "    results: {http.get: [{status: 200}, {status: 500}]}\n"
    assert verdict(rules, test + results + "    expect: [{at: 1m, outcome: succeeded}]").message == ""


def test_what_only_the_catalog_can_tell_of_a_configuration_is_a_fault_of_the_test(read: Read) -> None:
    """Said at the key that names it."""
    Path("web.yml").write_text(RULE)
    Path("remediator.yml").write_text("notices: {to: [{uses: exec.run, with: {argv: [a]}}]}\n")
    (problem,) = read("tests:\n  - name: it\n    config: remediator.yml\n    expect: []\n").problems
    assert (problem.line, problem.key) == (3, "tests[0].config")
    assert "notices.to" in problem.message
