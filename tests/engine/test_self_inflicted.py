"""A rule whose own action raises its alert: each run seems to help, and each brings about the next."""

from __future__ import annotations

from typing import Any

import pytest
from stage import Free, Stage

from remediator.actions.protocol import Outcome
from remediator.model.books import Allowance

RULE = """
rules:
  - name: mend
    summary: Restart what is down, which takes it down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: GUARD
    steps: [{uses: test.write}]
"""
HOUR = 3600.0


async def hours_of_it(stage: Stage, monkeypatch: pytest.MonkeyPatch, hours: int) -> int:
    """Let the alert resolve with each run and fire anew half a minute later; gives how often the rule acted."""
    act, again = stage.act, [True]

    async def harmful(name: str, params: Free) -> Outcome:
        again.append(True)
        return await act(name, params)

    monkeypatch.setattr(stage, "act", harmful)
    end = stage.clock.time + hours * HOUR
    while stage.clock.time < end:
        if again:
            again.clear()
            await stage.fires(app="web")
            await stage.passes(20)
            await stage.resolves(app="web")
        await stage.passes(10)
    return stage.used("test.write")


@pytest.mark.fault("a rule whose own action raises its alert")
@pytest.mark.parametrize(
    ("guard", "most", "reason"),
    [
        ("{}", 1, "cooldown"),
        ("{cooldown: 0s, limit: 3 per 6h}", 3, "limit"),
        ("{cooldown: 0s, episodes: {at_most: 4, per: 2h}}", 4, "episodes"),
        ("{cooldown: 0s}", 30, "limit"),
    ],
)
async def test_a_loop_of_a_rule_and_its_alert_is_broken_and_the_reason_recorded(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, guard: str, most: int, reason: str
) -> None:
    """By the cooldown that every rule which writes has, by the rule's own guards, or at last by the daemon's limit."""
    more: dict[str, Any] = {"allowances": (Allowance(30, HOUR),)}
    await stage.rules(RULE.replace("GUARD", guard), **more)
    assert await hours_of_it(stage, monkeypatch, 1) == most
    assert (await stage.states())[-1] == ("blocked", reason)
