"""Rule tests: what each key means, seen by tests that pass and tests that fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import pytest
import yaml

from remediator.review.ruletest.examine import Verdict

Examined: TypeAlias = Callable[[str, str], Sequence[Verdict]]
Judge: TypeAlias = Callable[[str, str], Verdict]

# The rule language's own example, with actions of the core.
ROLLBACK = """
rules:
  - name: rollback-bad-release
    summary: Roll back a fresh release whose error rate stays above 5 %.
    match: '{alertname="HighErrorRate", severity=~"critical|high"}'
    for: 2m
    facts:
      - id: releases
        uses: exec.probe
        with: {argv: [releases, '{{ labels.app }}']}
    target: 'fly/{{ labels.app }}'
    guard:
      cooldown: 30m
      limit: 2 per 6h
      only_if: facts.releases.current.age_s < 7200
    steps:
      - uses: http.request
        with: {method: POST, url: 'https://fly.example.com/rollback', json: {app: '{{ labels.app }}'}}
        timeout: 5m
      - uses: exec.run
        with: {argv: [rollback, '{{ labels.app }}']}
    verify:
      within: 10m
      stable_for: 1m
      resolved: true
      checks:
        - uses: http.get
          with: {url: 'https://{{ labels.app }}.fly.dev/health'}
          expect: result.status == 200
"""

ROLLBACK_TEST = """
tests:
  - name: rolls back once, then cools down
    start: 2026-01-15T23:30:00+07:00
    alerts:
      - {labels: {alertname: HighErrorRate, severity: critical, app: web}, fires: 0m, resolves: 8m}
      - {labels: {alertname: HighErrorRate, severity: critical, app: web}, fires: 20m, resolves: 30m}
    results:
      exec.probe: {current: {age_s: 600}}
      http.get: {status: 200}
    expect:
      - {at: 2m, rule: rollback-bad-release, target: fly/web, outcome: succeeded, steps: [http.request, exec.run]}
      - {at: 22m, rule: rollback-bad-release, target: fly/web, outcome: blocked, reason: cooldown}
"""

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 't/{{ labels.app }}'
    guard: {cooldown: 0s}
    steps:
      - {uses: exec.run, with: {argv: [mend, '{{ labels.app }}']}}
"""

FIRES = """
    alerts: [{labels: {alertname: Down, app: web}}]
"""


def rule(**keys: str) -> str:
    """Give the rule with more keys, or others, each as YAML."""
    document = yaml.safe_load(RULE)
    document["rules"][0] |= {key.rstrip("_"): yaml.safe_load(value) for key, value in keys.items()}
    return str(yaml.safe_dump(document, sort_keys=False))


def test_the_example_of_the_rule_language_passes(examined: Examined) -> None:
    """Two alerts, one rollback, one refusal: half an hour, in no time."""
    (only,) = examined(ROLLBACK, ROLLBACK_TEST)
    assert only.message == ""
    assert only.passed


def test_a_guard_taken_out_of_the_rule_fails_its_test_and_shows_why(examined: Examined) -> None:
    """The difference is told run by run, with the fields that differ and what the engine says of them."""
    (only,) = examined(ROLLBACK.replace("cooldown: 30m", "cooldown: 0s").replace("2 per 6h", "1 per 6h"), ROLLBACK_TEST)
    assert only.message.splitlines() == [
        "1 of 2 expected runs came; - is expected, + is what came, * is anything:",
        "  =  2m   rollback-bad-release  fly/web  succeeded         [http.request, exec.run]",
        "  -  22m  rollback-bad-release  fly/web  blocked cooldown",
        "  +  22m  rollback-bad-release  fly/web  blocked limit     []",
        "      reason: expected cooldown, got limit",
        "      why: 1 runs of rollback-bad-release were admitted in the last 6h, and that many are allowed",
    ]


# --- expect ---


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("at: 1m", "at: expected 1m, got 0s"),
        ("target: t/db", "target: expected t/db, got t/web"),
        ("outcome: failed", "outcome: expected failed, got succeeded"),
        ("reason: step", "reason: expected step, got none"),
        ("steps: [log]", "steps: expected [log], got [exec.run]"),
        ("steps: []", "steps: expected [], got [exec.run]"),
        ("mode: dry-run", "mode: expected dry-run, got auto"),
        ("rung: 1", "rung: expected 1, got 0"),
    ],
)
def test_every_field_that_is_given_is_compared(verdict: Judge, wrong: str, told: str) -> None:
    """And the message names the one that differs."""
    assert verdict(RULE, FIRES + f"    expect: [{{rule: mend, {wrong}}}]").message.splitlines()[3:] == [f"      {told}"]


def test_what_is_left_out_is_not_compared(verdict: Judge) -> None:
    """The rule alone, or any other field alone."""
    for given in ("rule: mend", "at: 0m", "outcome: succeeded", "target: t/web"):
        assert verdict(RULE, FIRES + f"    expect: [{{{given}}}]").passed


def test_times_are_compared_to_the_second(verdict: Judge) -> None:
    """Half a second is the next one."""
    alert = "    alerts: [{labels: {alertname: Down, app: web}, fires: 2500ms}]\n"
    assert verdict(RULE, alert + "    expect: [{at: 3s}]").passed
    assert not verdict(RULE, alert + "    expect: [{at: 2s}]").passed


def test_a_run_that_is_not_expected_fails_the_test(verdict: Judge) -> None:
    """`expect` is complete, also when it is empty."""
    assert verdict(RULE, FIRES + "    expect: []").message.splitlines() == [
        "0 of 0 expected runs came; - is expected, + is what came, * is anything:",
        "  +  0s  mend  t/web  succeeded  [exec.run]",
        "      this run is not expected",
    ]


def test_a_run_that_does_not_come_fails_the_test_and_the_matcher_is_named(verdict: Judge) -> None:
    """Where no alert of the test is for the rule at all, that is why."""
    message = verdict(
        RULE, "    alerts: [{labels: {alertname: Up}}]\n    expect: [{rule: mend, outcome: failed}]"
    ).message
    assert message.splitlines()[1:] == [
        "  -  *  mend  *  failed",
        '      no such run came: no alert is for this rule: of Up, alertname="Down" does not match',
    ]


def test_an_open_expectation_leaves_a_run_to_the_one_that_only_it_fits(verdict: Judge) -> None:
    """Whatever the order in which they are written."""
    alerts = "    alerts: [{labels: {alertname: Down, app: a}}, {labels: {alertname: Down, app: b}}]\n"
    assert verdict(RULE, alerts + "    expect: [{rule: mend}, {rule: mend, target: t/a}]").passed
    assert verdict(RULE, alerts + "    expect: [{rule: mend, target: t/b}, {rule: mend}]").passed
    assert not verdict(RULE, alerts + "    expect: [{rule: mend, target: t/b}, {target: t/b}]").passed


# --- at and steps ---


def test_steps_are_what_was_used_in_order_facts_and_checks_aside(verdict: Judge) -> None:
    """Each item of a loop; not what `if` has skipped; then what was undone, then what followed."""
    rules = rule(
        facts="[{id: known, uses: exec.probe, with: {argv: [look]}}]",
        steps="""
      - {uses: http.request, with: {method: POST, url: 'http://x/y'}, if: labels.app == 'other'}
      - {uses: http.request, with: {method: POST, url: 'http://x/{{ item }}'}, for_each: "['a', 'b']"}
      - {uses: exec.run, with: {argv: [mend]}}""",
        undo="[{uses: exec.run, with: {argv: [undo]}}]",
        verify="{within: 1m, checks: [{uses: http.get, with: {url: 'http://x'}, expect: result.status == 200}]}",
        on_failure="[{uses: log, with: {message: sorry}}]",
    )
    used = "[http.request, http.request, exec.run, exec.run, log]"
    results = "    results: {http.get: {status: 500}}\n"
    expect = f"    expect: [{{outcome: failed, reason: verify, steps: {used}}}]"
    assert verdict(rules, FIRES + results + expect).message == ""


def test_a_run_begins_with_its_first_step_even_if_that_only_waits(verdict: Judge) -> None:
    """A timer takes its own time, and counts."""
    rules = rule(steps="[{uses: wait, with: {for: 10m}}, {uses: log, with: {message: x}}]")
    assert verdict(rules, FIRES + "    expect: [{at: 0m, outcome: succeeded, steps: [wait, log]}]").message == ""


def test_where_no_step_began_the_time_is_that_of_the_decision(verdict: Judge) -> None:
    """Under patience, when it was refused for good."""
    rules = rule(guard="{only_if: 'false', patience: 3h}")
    assert verdict(rules, FIRES + "    expect: [{at: 3h, outcome: blocked, reason: only_if, steps: []}]").message == ""


def test_a_dry_run_lists_what_it_planned(verdict: Judge) -> None:
    """`mode` is the daemon's."""
    expect = "    expect: [{outcome: planned, mode: dry-run, steps: [exec.run]}]"
    assert verdict(RULE, FIRES + "    mode: dry-run\n" + expect).message == ""
    assert verdict(RULE, FIRES + "    mode: 'off'\n    expect: []").message == ""


# --- alerts ---


def test_alerts_of_one_name_and_moment_come_in_one_notification(verdict: Judge) -> None:
    """So that one run is for all of them."""
    rules = rule(
        target="'{{ group.labels.alertname }}'", steps="[{uses: log, if: (alerts | length) == 3, with: {message: x}}]"
    )
    alerts = ", ".join(f"{{labels: {{alertname: Down, app: {app}}}, fires: 1m}}" for app in "abc")
    assert verdict(rules, f"    alerts: [{alerts}]\n    expect: [{{target: Down, steps: [log]}}]").message == ""


def test_labels_annotations_and_start_are_those_of_the_alert(verdict: Judge) -> None:
    """As Alertmanager tells them."""
    rules = rule(target="'{{ annotations.team }} {{ alert.starts_at }} {{ group.labels.alertname }}'")
    test = """
    start: 2026-01-15T23:30:00+07:00
    alerts: [{labels: {alertname: Down, app: web}, annotations: {team: sre}, fires: 1m}]
    expect: [{target: sre 2026-01-15T16:31:00.000Z Down}]"""
    assert verdict(rules, test).message == ""


def test_an_alert_that_does_not_resolve_fires_to_the_end(verdict: Judge) -> None:
    """However long that is: Alertmanager would repeat it."""
    rules = rule(guard="{only_firing: ['{alertname=\"Other\"}'], patience: 8h}")
    test = """
    alerts: [{labels: {alertname: Down, app: web}}, {labels: {alertname: Other}, fires: 7h}]
    expect: [{at: 7h, outcome: succeeded}]"""
    assert verdict(rules, test).message == ""


@pytest.mark.parametrize(("resolves", "expected"), [("120s", "cancelled, reason: resolved"), ("121s", "succeeded")])
def test_what_happens_at_an_instant_comes_before_what_the_daemon_does(
    verdict: Judge, resolves: str, expected: str
) -> None:
    """An alert that resolves as its `for` is over has not fired for long enough; a pause holds what is due then."""
    rules = rule(for_="2m")
    alert = f"    alerts: [{{labels: {{alertname: Down, app: web}}, resolves: {resolves}}}]\n"
    assert verdict(rules, alert + f"    expect: [{{outcome: {expected}}}]").message == ""
    held = FIRES + "    pause: [{at: 2m, for: 1m}]\n    expect: [{at: 3m, outcome: succeeded}]"
    assert verdict(rules, held).message == ""


def test_an_alert_may_come_back(verdict: Judge) -> None:
    """A new episode is taken up anew."""
    test = """
    alerts:
      - {labels: {alertname: Down, app: web}, fires: 20m}
      - {labels: {alertname: Down, app: web}, resolves: 5m}
    expect: [{at: 0m, outcome: succeeded}, {at: 20m, outcome: succeeded}]"""
    assert verdict(RULE, test).message == ""


# --- results ---


def test_what_is_not_named_succeeds_with_an_empty_result(verdict: Judge) -> None:
    """So a template that reads something of it fails."""
    rules = rule(
        steps="[{id: a, uses: exec.probe, with: {argv: [x]}}, {uses: log, with: {message: '{{ steps.a.result.json }}'}}]"
    )
    failed = verdict(rules, FIRES + "    expect: [{outcome: succeeded}]")
    assert "outcome: expected succeeded, got failed" in failed.message
    assert "json" in failed.message.splitlines()[-1]
    told = "    results: {exec.probe: {json: 1}}\n"
    assert verdict(rules, FIRES + told + "    expect: [{outcome: succeeded}]").message == ""


def test_a_list_of_results_is_one_a_call_and_the_last_stays(verdict: Judge) -> None:
    """A check that holds from the third poll on."""
    rules = rule(
        verify="""
      within: 5m
      every: 10s
      stable_for: 1m
      checks: [{uses: http.get, with: {url: 'http://x'}, expect: result.status == 200}]""",
        on_success="[{uses: log, with: {message: x}}]",
    )
    for results, outcome in (
        ("[{status: 500}, {status: 503}, {status: 200}]", "succeeded"),
        ("[{status: 200}, {status: 500}]", "failed, reason: verify"),
        ("[{status: 200}, {error: timed out}]", "failed, reason: inconclusive"),
        ("[{status: 200}, {error: turned away, status: 403}]", "failed, reason: inconclusive"),
    ):
        test = FIRES + f"    results: {{http.get: {results}}}\n    expect: [{{outcome: {outcome}}}]"
        assert verdict(rules, test).message == ""


def test_an_error_fails_the_step_with_its_text(verdict: Judge) -> None:
    """The text is in the message of a test that did not expect it."""
    test = FIRES + "    results: {exec.run: {error: the host is gone}}\n"
    assert verdict(RULE, test + "    expect: [{outcome: failed, reason: step, steps: [exec.run]}]").message == ""
    assert "why: step exec.run: the host is gone" in verdict(RULE, test + "    expect: [{outcome: succeeded}]").message


def test_a_step_takes_the_seconds_that_its_result_says(verdict: Judge) -> None:
    """Else none; past its timeout it fails."""
    rules = rule(
        deadline="8m",
        steps="[{uses: http.get, with: {url: 'http://x'}}, {uses: exec.run, with: {argv: [x]}, timeout: 10m}]",
    )
    in_time = "    results: {http.get: {seconds: 30}, exec.run: {seconds: 420.5}}\n"
    assert verdict(rules, FIRES + in_time + "    expect: [{at: 0m, outcome: succeeded}]").message == ""
    slow = "    results: {http.get: {seconds: 61}}\n    expect: [{outcome: failed, reason: step, steps: [http.get]}]"
    assert verdict(rules, FIRES + slow).message == ""
    late = "    results: {exec.run: {seconds: 500}}\n    expect: [{outcome: failed, reason: deadline}]"
    assert verdict(rules, FIRES + late).message == ""


def test_nothing_outside_is_touched(verdict: Judge, tmp_path: Path) -> None:
    """Not even a program that is there."""
    rules = rule(steps=f"[{{uses: exec.run, with: {{argv: [/usr/bin/touch, {tmp_path}/touched]}}}}]")
    assert verdict(rules, FIRES + "    expect: [{outcome: succeeded, steps: [exec.run]}]").message == ""
    assert not (tmp_path / "touched").exists()


# --- people ---


def test_a_pause_holds_what_comes_in_it(verdict: Judge) -> None:
    """From the very instant on, until its span is over."""
    test = FIRES + "    pause: [{at: 0m, for: 10m}]\n    expect: [{at: 10m, outcome: succeeded}]"
    assert verdict(RULE, test).message == ""


@pytest.mark.parametrize("scope", ["", ", rule: mend", ", target: t/web", ", rule: mend, target: t/web"])
def test_a_pause_without_an_end_leaves_the_run_waiting(verdict: Judge, scope: str) -> None:
    """Time does not go on for ever: the run is told by the state that it is in."""
    pause = f"    pause: [{{at: 0m{scope}}}]\n"
    assert verdict(RULE, FIRES + pause + "    expect: [{outcome: waiting, reason: paused}]").message == ""
    told = verdict(RULE, FIRES + pause + "    expect: [{at: 0m, outcome: succeeded}]").message
    assert "at: expected 0s, got never" in told
    assert "why: paused by somebody" in told


def test_a_pause_of_another_target_holds_nothing(verdict: Judge) -> None:
    """Only what it names."""
    assert verdict(RULE, FIRES + "    pause: [{at: 0m, target: t/db}]\n    expect: [{at: 0m}]").message == ""


# --- configuration ---


def test_without_a_configuration_what_depends_on_one_is_assumed_to_be_met(verdict: Judge) -> None:
    """Programs, hosts, sections and secrets."""
    rules = rule(
        steps="""
      - {uses: prometheus.query, with: {query: up}}
      - {uses: http.request, with: {url: 'https://{{ labels.app }}.example.com', auth: {bearer: {secret: token}}, method: POST}}
      - {uses: exec.run, with: {argv: [/bin/anything]}}"""
    )
    used = "[prometheus.query, http.request, exec.run]"
    assert verdict(rules, FIRES + f"    expect: [{{outcome: succeeded, steps: {used}}}]").message == ""


def test_a_configuration_lends_its_vars_hosts_and_guards(verdict: Judge) -> None:
    """Its mode too, where the test says none."""
    Path("remediator.yml").write_text("""
mode: dry-run
vars: {place: moon}
guard: {limit: 1 per 1h}
exec: {allow: [mend]}
alertmanager: {url: 'http://127.0.0.1:9'}
""")
    test = """
    alerts: [{labels: {alertname: Down, app: a}}, {labels: {alertname: Down, app: b}, fires: 1m}]
    config: remediator.yml
    mode: auto
    expect:
      - {target: moon/a, outcome: succeeded}
      - {target: moon/b, outcome: blocked, reason: limit}"""
    rules = "vars: {place: earth}\n" + rule(target="'{{ vars.place }}/{{ labels.app }}'")
    assert verdict(rules, test).message == ""


def test_what_a_configuration_forbids_fails_the_test(verdict: Judge) -> None:
    """With the place in the rule."""
    Path("remediator.yml").write_text("exec: {allow: [other]}\n")
    message = verdict(RULE, FIRES + "    config: remediator.yml\n    expect: []").message
    assert message.startswith("the rules under test have errors:\n")
    assert "web.yml:9:" in message
    assert "[not-allowed]" in message


def test_rules_with_errors_fail_their_tests(verdict: Judge) -> None:
    """As `check` tells them."""
    assert "did you mean `summary`?" in verdict(RULE.replace("summary", "sumary"), FIRES + "    expect: []").message


def test_an_alert_that_the_webhook_would_refuse_fails_the_test(verdict: Judge) -> None:
    """With its reason."""
    labels = ", ".join(f"l{number}: x" for number in range(65))
    message = verdict(RULE, f"    alerts: [{{labels: {{{labels}}}}}]\n    expect: []").message
    assert "webhook.max_labels is 64" in message


def test_a_hundred_tests_take_a_few_seconds(examined: Examined) -> None:
    """They are run at every change of a rule. Counted is our own time, not that of whoever else is at work on the machine."""
    import time

    test = ROLLBACK_TEST.removeprefix("\ntests:\n")
    many = "".join(test.replace("rolls", f"{number} rolls") for number in range(100))
    began = time.process_time()
    assert all(verdict.passed for verdict in examined(ROLLBACK, f"tests:\n{many}"))
    assert time.process_time() - began < 20


def test_a_person_approves_or_rejects_what_asks(verdict: Judge) -> None:
    """Who may not has no effect; what nobody answers expires."""
    rules = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    mode: approve
    approval: {timeout: 15m, approvers: [ann]}
    guard: {cooldown: 0s}
    steps: [{uses: exec.run, with: {argv: [mend]}}]
"""
    test = """
    alerts:
      - {labels: {alertname: Down, app: a}}
      - {labels: {alertname: Down, app: b}, fires: 20m}
      - {labels: {alertname: Down, app: c}, fires: 40m}
    approve: [{at: 5m, rule: mend, by: ann}, {at: 25m, rule: mend, by: eve}]
    reject: [{at: 45m, rule: mend, by: ann}]
    expect:
      - {at: 5m, target: app/a, outcome: succeeded, steps: [exec.run]}
      - {at: 35m, target: app/b, outcome: cancelled, reason: expired}
      - {at: 45m, target: app/c, outcome: cancelled, reason: rejected}"""
    assert verdict(rules, test).message == ""


def test_what_takes_a_change_back_is_told_with_the_run_that_made_it(verdict: Judge) -> None:
    """The ladder's rungs too."""
    rules = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    ladder:
      - steps: [{uses: exec.run, with: {argv: [mend]}}]
        verify: {within: 1m, checks: [{uses: exec.probe, with: {argv: [look]}, expect: result.up}]}
      - steps: [{uses: http.request, with: {url: 'http://a.example/'}}]
        verify: {within: 1m, checks: [{uses: exec.probe, with: {argv: [look]}, expect: result.up}]}
    revert: {after: 1h, steps: [{uses: wait, with: {for: 1s}}, {uses: exec.run, with: {argv: [back]}}]}
"""
    test = """
    alerts: [{labels: {alertname: Down, app: a}, resolves: 10m}]
    results: {exec.probe: [{up: false}, {up: false}, {up: false}, {up: false}, {up: false}, {up: true}]}
    expect:
      - {at: 0s, rung: 1, outcome: succeeded, steps: [exec.run, http.request, wait, exec.run]}"""
    assert verdict(rules, test).message == ""
