"""What Alertmanager's API knows, and what silence means (rule language, "From alert to run", last point)."""

from __future__ import annotations

import asyncio

import pytest
from stage import Free, Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.receive import fingerprint
from remediator.rules.parameters import ParameterTemplates
from remediator.rules.rule import StepRule

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    for: 5m
    target: web
    guard: {cooldown: 0s}
    steps: [{uses: test.write}]
    on_blocked: [{uses: test.notify}]
"""
MINE = fingerprint({"alertname": "Down"})


def asks(stage: Stage) -> StepRule:
    """Stand in for the question to the API."""
    return StepRule("test.probe", stage.catalog["test.probe"], ParameterTemplates({}, Free))


@pytest.mark.parametrize(
    ("alerts", "end"),
    [
        ([{"fingerprint": MINE, "state": "active"}], ("succeeded", None)),
        ([{"fingerprint": MINE, "state": "suppressed"}], ("blocked", "silenced")),
        ([{"fingerprint": "0" * 16, "state": "active"}], ("cancelled", "resolved")),
        ([], ("cancelled", "resolved")),
    ],
)
async def test_the_api_is_asked_before_admission(stage: Stage, alerts: list, end: tuple) -> None:
    """Silenced or inhibited starts nothing, and what is no longer there has resolved."""
    await stage.rules(RULE, presence_check=asks(stage))
    stage.outcomes["test.probe"] = [{"alerts": alerts}]
    await stage.fires()
    await stage.passes(301)
    assert await stage.states() == [end]
    assert stage.used("test.write") == (end[0] == "succeeded")


@pytest.mark.parametrize(
    ("alerts", "end"),
    [
        ([{"fingerprint": MINE, "state": "active"}], ("succeeded", None)),
        ([{"fingerprint": MINE, "state": "suppressed"}], ("blocked", "silenced")),
        ([], ("cancelled", "resolved")),
    ],
)
async def test_p7_the_api_is_asked_again_when_a_pause_ends(stage: Stage, alerts: list, end: tuple) -> None:
    """A run that was held before its first write starts nothing for what was silenced meanwhile, or is gone."""
    rule = RULE.replace("for: 5m", "").replace("steps: [", "steps: [{uses: test.read}, ")
    await stage.rules(rule, presence_check=asks(stage))
    stage.outcomes["test.probe"] = [{"alerts": [{"fingerprint": MINE, "state": "active"}]}]
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires()
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    stage.blocked.pop("test.read").set()
    await stage.settle()
    stage.outcomes["test.probe"] = [{"alerts": alerts}]
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()
    assert await stage.states() == [end]
    assert (stage.used("test.probe"), stage.used("test.write")) == (2, end[0] == "succeeded")


async def test_p4_an_api_that_can_not_be_asked_is_a_refusal(stage: Stage) -> None:
    """What is needed and can't be got counts as no."""
    await stage.rules(RULE, presence_check=asks(stage))
    stage.outcomes["test.probe"] = [Outcome(Result.ERROR, error="no answer")]
    await stage.fires()
    await stage.passes(301)
    assert await stage.states() == [("blocked", "facts")]
    assert stage.used("test.notify") == 1


async def test_an_alert_not_heard_of_for_too_long_starts_nothing(stage: Stage) -> None:
    """It is closed as lost; heard of again it is a new episode, whatever its start."""
    await stage.rules(RULE.replace("for: 5m", "for: 6h"))
    alert = stage.alert()
    await stage.notify(alert)
    await stage.passes(5 * 3600 + 120)
    assert await stage.states() == [("cancelled", "lost")]
    await stage.notify(alert)
    assert await stage.states() == [("cancelled", "lost"), ("waiting", "for")]


async def test_an_alert_that_is_repeated_is_not_lost(stage: Stage) -> None:
    """Alertmanager's `repeat_interval` keeps it."""
    await stage.rules(RULE.replace("for: 5m", "for: 6h"))
    alert = stage.alert()
    for _ in range(2):
        await stage.notify(alert)
        await stage.passes(3 * 3600)
    await stage.passes(60)
    assert await stage.states() == [("succeeded", None)]


async def test_what_was_not_heard_of_while_the_daemon_was_away_starts_nothing(stage: Stage) -> None:
    """At its start it knows only what was true ten hours ago."""
    await stage.rules(RULE)
    await stage.fires()
    stage.clock.time += 10 * 3600
    await stage.crash()
    await stage.passes(60)
    assert await stage.states() == [("cancelled", "lost")]


async def test_gone_quiet_is_not_resolved(stage: Stage) -> None:
    """Verification sees no proof in an alert that nobody speaks of any more."""
    text = RULE.replace("for: 5m", "deadline: 10h").replace(
        "on_blocked", "verify: {within: 6h, resolved: true}\n    on_failure"
    )
    await stage.rules(text)
    await stage.fires()
    await stage.passes(5 * 3600 + 120)
    assert await stage.states() == [("verifying", None)]
    await stage.passes(3600)
    assert await stage.states() == [("failed", "inconclusive")]


async def test_a_plan_whose_alert_is_lost_has_not_healed(stage: Stage) -> None:
    """Nobody said so."""
    await stage.rules(RULE.replace("for: 5m", "mode: dry-run"))
    await stage.fires()
    await stage.passes(6 * 3600)
    assert (await stage.run())["healed_after"] is None
