"""Ladder: a remedy that did not help is followed by the next; one that has to be repeated was no remedy."""

from __future__ import annotations

from typing import Any

import msgspec
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.engine.plan import hash_plan
from remediator.model.run import PlannedStep

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {GUARD}
    recurrence: 1h
    ladder:
      - steps: [{id: act, uses: test.write, with: {says: restart}}]
        verify: {within: 1m, every: 10s, checks: [{uses: test.check, expect: result.up}]}
      - steps: [{id: act, uses: test.write, with: {says: rollback}}]
        verify: {within: 1m, every: 10s, checks: [{uses: test.check, expect: result.up}]}
        MORE
    undo: [{uses: test.undo, with: {says: '{{ steps.act.ok }}'}}]
    on_failure: [{uses: test.notify, with: {says: 'failed on rung {{ run.rung }}'}}]
"""


def rule(*, more: str = "", guard: str = "cooldown: 10m") -> str:
    return RULE.replace("MORE", more).replace("GUARD", guard)


def hash_of(plan: list[dict[str, Any]]) -> str:
    return hash_plan(msgspec.convert(plan, list[PlannedStep]))


def up(is_up: bool) -> dict[str, bool]:
    return {"up": is_up}


async def test_a_run_climbs_when_verification_is_false(stage: Stage) -> None:
    """One run, both remedies, nothing undone."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [*[up(False)] * 7, up(True)]
    await stage.fires(app="web")
    await stage.passes(120)
    run = await stage.run()
    assert (run["state"], run["rung"]) == ("succeeded", 1)
    assert [says for name, says in stage.calls if name != "test.check"] == ["restart", "rollback"]


async def test_the_plan_of_a_run_is_that_of_the_rung_that_it_is_on(stage: Stage) -> None:
    """Also where nobody is asked for it (P12: it and its hash belong together)."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [up(False)]
    await stage.fires(app="web")
    first = await stage.run()
    await stage.passes(65)
    second = await stage.run()
    assert (second["state"], second["rung"]) == ("verifying", 1)
    assert [[step["says"] for step in run["plan"]] for run in (first, second)] == [
        ["test.write restart"], ["test.write rollback"],
    ]  # fmt: skip
    assert first["plan_hash"] != second["plan_hash"] == hash_of(second["plan"])


async def test_a_rung_that_has_no_plan_is_not_begun(stage: Stage) -> None:
    """As nothing is that can't be planned before its first step; what was done before is undone."""
    two = "[{id: act, uses: test.write, with: {says: rollback}}, {uses: test.write, with: {says: '{{ labels.gone }}'}}]"
    await stage.rules(rule().replace("[{id: act, uses: test.write, with: {says: rollback}}]", two))
    stage.outcomes["test.check"] = [up(False)]
    await stage.fires(app="web")
    await stage.passes(65)
    run = await stage.run()
    assert (run["state"], run["reason"], run["rung"], run["plan"]) == ("failed", "step", 1, None)
    assert "gone" in run["because"]
    assert [says for name, says in stage.calls if name == "test.write"] == ["restart"]
    assert stage.used("test.undo") == 1


async def test_past_the_last_rung_it_has_failed_and_is_undone(stage: Stage) -> None:
    """Then a person is told."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [up(False)]
    await stage.fires(app="web")
    await stage.passes(300)
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("failed", "ladder")
    assert [says for name, says in stage.calls if name != "test.check"] == [
        "restart", "rollback", "true", "failed on rung 1",
    ]  # fmt: skip


async def test_what_can_not_be_read_does_not_climb(stage: Stage) -> None:
    """No data is not success, and not a reason to do more."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [Outcome(Result.ERROR, error="no answer")]
    await stage.fires(app="web")
    await stage.passes(300)
    assert await stage.states() == [("failed", "inconclusive")]
    assert stage.used("test.write") == 1
    assert stage.used("test.undo") == 0


async def test_a_target_that_comes_back_starts_one_rung_above_the_success_without_cooling_down(stage: Stage) -> None:
    """A restart that has to be repeated is no remedy."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [up(True)]
    await stage.fires(app="web", n="1")
    await stage.passes(60)
    await stage.fires(app="web", n="2")
    await stage.passes(60)
    assert [(run["state"], run["rung"]) for run in await stage.runs()] == [("succeeded", 0), ("succeeded", 1)]
    assert [says for name, says in stage.calls if name == "test.write"] == ["restart", "rollback"]


async def test_past_the_last_success_nothing_is_done(stage: Stage) -> None:
    """It came back after the last remedy had helped."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [up(True)]
    for number in range(3):
        await stage.fires(app="web", n=str(number))
        await stage.passes(60)
    assert [(run["state"], run["reason"]) for run in await stage.runs()][2] == ("failed", "ladder")
    assert stage.used("test.write") == 2
    assert stage.calls[-1][0] == "test.notify"


async def test_a_success_is_forgotten_after_recurrence(stage: Stage) -> None:
    """Then the ladder begins at its foot."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [up(True)]
    await stage.fires(app="web", n="1")
    await stage.passes(3700)
    await stage.fires(app="web", n="2")
    await stage.passes(60)
    assert [run["rung"] for run in await stage.runs()] == [0, 0]


async def test_one_that_climbs_is_not_exempt_from_limit(stage: Stage) -> None:
    """Nor is one exempt from cooldown that comes back from a failure."""
    await stage.rules(rule(guard="cooldown: 10m, limit: 1 per 1h"))
    stage.outcomes["test.check"] = [up(True)]
    await stage.fires(app="web", n="1")
    await stage.passes(60)
    await stage.fires(app="web", n="2")
    assert (await stage.states())[1] == ("blocked", "limit")


async def test_a_failure_after_the_success_cools_down(stage: Stage) -> None:
    """Only the run next after the success is exempt."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [up(True), up(False)]
    await stage.fires(app="web", n="1")
    await stage.passes(60)
    await stage.fires(app="web", n="2")
    await stage.passes(120)
    await stage.fires(app="web", n="3")
    assert await stage.states() == [("succeeded", None), ("failed", "ladder"), ("blocked", "cooldown")]


async def test_a_rung_may_ask_before_it_is_tried(stage: Stage) -> None:
    """The first by itself, the second by leave."""
    await stage.rules(rule(more="mode: approve"))
    stage.outcomes["test.check"] = [*[up(False)] * 7, up(True)]
    await stage.fires(app="web")
    await stage.passes(120)
    run = await stage.run()
    assert (run["state"], run["rung"]) == ("awaiting_approval", 1)
    assert [step["says"] for step in run["plan"]] == ["test.write rollback"]
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.passes(60)
    assert await stage.states() == [("succeeded", None)]


async def test_a_rung_that_nobody_lets_go_fails_the_run(stage: Stage) -> None:
    """It has acted already, and did not help: that is undone, and told."""
    await stage.rules(rule(more="mode: approve\n        approval: {timeout: 5m}"))
    stage.outcomes["test.check"] = [up(False)]
    await stage.fires(app="web")
    await stage.passes(600)
    assert await stage.states() == [("failed", "ladder")]
    assert "not approved within 5m" in (await stage.run())["because"]
    assert stage.used("test.undo") == 1


async def test_a_rung_in_dry_run_is_not_tried(stage: Stage) -> None:
    """The one before it was."""
    await stage.rules(rule(more="mode: dry-run"))
    stage.outcomes["test.check"] = [up(False)]
    await stage.fires(app="web")
    await stage.passes(300)
    assert await stage.states() == [("failed", "ladder")]
    assert [says for name, says in stage.calls if name == "test.write"] == ["restart"]


async def test_p2_a_crash_on_a_later_rung_does_not_repeat_an_earlier_one(stage: Stage) -> None:
    """Each rung has its own records."""
    await stage.rules(rule())
    stage.outcomes["test.check"] = [*[up(False)] * 7, up(True)]
    await stage.fires(app="web")
    await stage.passes(61)
    await stage.crash()
    await stage.passes(120)
    assert [says for name, says in stage.calls if name == "test.write"] == ["restart", "rollback"]
    assert await stage.states() == [("succeeded", None)]
