"""Verify: what must be seen, and for how long, before a run counts as a success."""

from __future__ import annotations

import pytest
from stage import Stage

from remediator.actions.protocol import Outcome, Result

UNREADABLE = Outcome(Result.ERROR, error="timed out")
GOOD, BAD = {"status": 200}, {"status": 500}


def rule(verify: str, more: str = "") -> str:
    return f"""
rules:
  - name: mend
    summary: Mend what is down.
    match: '{{alertname="Down"}}'
    target: web
    guard: {{cooldown: 0s}}
    steps: [{{uses: test.write}}]
    verify: {verify}
    undo: [{{uses: test.undo}}]
    on_failure: [{{uses: test.notify}}]
    {more}
"""


CHECK = "checks: [{uses: test.check, expect: result.status == 200}]"


async def test_checks_are_polled_until_they_hold(stage: Stage) -> None:
    """Every so often; the run is verifying meanwhile."""
    await stage.rules(rule(f"{{within: 5m, every: 15s, {CHECK}}}"))
    stage.outcomes["test.check"] = [BAD, BAD, GOOD]
    await stage.fires()
    assert await stage.states() == [("verifying", None)]
    await stage.passes(29)
    assert stage.used("test.check") == 2
    await stage.passes(1)
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("succeeded", None)
    assert [(step["phase"], step["attempt"]) for step in run["steps"]] == [("steps", 1), ("verify", 3)]


async def test_stable_for_wants_them_to_hold_without_a_break(stage: Stage) -> None:
    """A flicker starts the count anew."""
    await stage.rules(rule(f"{{within: 5m, every: 15s, stable_for: 30s, {CHECK}}}"))
    stage.outcomes["test.check"] = [GOOD, GOOD, BAD, GOOD]
    await stage.fires()
    await stage.passes(45 + 29)
    assert await stage.states() == [("verifying", None)]
    await stage.passes(1)
    assert await stage.states() == [("succeeded", None)]


@pytest.mark.fault("remediation makes it worse")
async def test_a_verification_that_stays_false_undoes_and_tells(stage: Stage) -> None:
    """At the latest when `within` is over."""
    await stage.rules(rule(f"{{within: 1m, every: 15s, {CHECK}}}"))
    stage.outcomes["test.check"] = [BAD]
    await stage.fires()
    await stage.passes(59)
    assert await stage.states() == [("verifying", None)]
    await stage.passes(1)
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("failed", "verify")
    assert 'got {"status":500}' in run["because"]
    assert [name for name, _ in stage.calls if name != "test.check"] == ["test.write", "test.undo", "test.notify"]


async def test_a_platform_that_turns_a_check_away_has_said_nothing_of_what_was_asked(stage: Stage) -> None:
    """A credential that has run out must not undo a remedy; a program's exit status is an answer."""
    turned_away = Outcome(Result.REFUSED, error="answered 401")
    for says_no, reason in ((False, "inconclusive"), (True, "verify")):
        stage.catalog["test.check"].says_no = says_no  # type: ignore[misc]
        await stage.rules(rule(f"{{within: 1m, every: 15s, {CHECK}}}"))
        stage.outcomes["test.check"] = [turned_away]
        await stage.fires(app=reason)
        await stage.passes(61)
        assert (await stage.states())[-1] == ("failed", reason)


async def test_no_data_is_not_success_and_never_undoes(stage: Stage) -> None:
    """A check that can't be read is neither true nor false."""
    await stage.rules(rule(f"{{within: 1m, every: 15s, {CHECK}}}"))
    stage.outcomes["test.check"] = [UNREADABLE]
    await stage.fires()
    await stage.passes(61)
    assert await stage.states() == [("failed", "inconclusive")]
    assert [name for name, _ in stage.calls if name != "test.check"] == ["test.write", "test.notify"]


async def test_an_expectation_that_cannot_be_known_is_no_data(stage: Stage) -> None:
    """The field it looks at isn't there."""
    await stage.rules(rule("{within: 1m, checks: [{uses: test.check, expect: result.nothing == 1}]}"))
    stage.outcomes["test.check"] = [GOOD]
    await stage.fires()
    await stage.passes(61)
    assert await stage.states() == [("failed", "inconclusive")]


async def test_one_false_check_outweighs_an_unreadable_one(stage: Stage) -> None:
    """It was seen not to help."""
    await stage.rules(
        rule("{within: 1m, checks: [{uses: test.check}, {uses: test.probe, expect: result.status == 200}]}")
    )
    stage.outcomes["test.check"], stage.outcomes["test.probe"] = [UNREADABLE], [BAD]
    await stage.fires()
    await stage.passes(61)
    assert await stage.states() == [("failed", "verify")]


async def test_resolved_asks_that_all_alerts_of_the_run_have_resolved(stage: Stage) -> None:
    """The webhook's word, where no API is configured; it is looked at as soon as it comes."""
    await stage.rules(rule("{within: 10m, every: 1m, resolved: true}"))
    await stage.fires()
    await stage.passes(90)
    assert await stage.states() == [("verifying", None)]
    await stage.resolves()
    assert await stage.states() == [("succeeded", None)]


async def test_resolved_and_checks_must_both_hold(stage: Stage) -> None:
    """A remediation that works may also silence its own proof."""
    await stage.rules(rule(f"{{within: 2m, every: 15s, resolved: true, {CHECK}}}"))
    stage.outcomes["test.check"] = [BAD]
    await stage.fires()
    await stage.resolves()
    await stage.passes(60)
    assert await stage.states() == [("verifying", None)]
    stage.outcomes["test.check"] = [GOOD]
    await stage.passes(15)
    assert await stage.states() == [("succeeded", None)]


async def test_a_rule_without_verify_succeeds_when_its_steps_are_done(stage: Stage) -> None:
    """Nothing is asked, nothing is proven."""
    await stage.rules(rule("{within: 1m, resolved: true}").replace("    verify: {within: 1m, resolved: true}\n", ""))
    await stage.fires()
    assert await stage.states() == [("succeeded", None)]


async def test_an_expectation_may_speak_of_all_alerts_of_the_run(stage: Stage) -> None:
    """So that a check can compare what it read with them."""
    await stage.rules(rule("{within: 1m, checks: [{uses: test.check, expect: result.left == (alerts | length)}]}"))
    stage.outcomes["test.check"] = [{"left": 0}, {"left": 1}]
    await stage.fires()
    assert await stage.states() == [("verifying", None)]
    await stage.passes(15)
    assert await stage.states() == [("succeeded", None)]
