"""Approval: one plan, asked about with everything read, let go by whom the rule names, read again before it is done."""

from __future__ import annotations

import pytest
from stage import Stage

from remediator.engine import controls
from remediator.engine.controls import Impossible

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    facts: [{id: who, uses: test.probe}]
    target: 'app/{{ facts.who.name }}'
    mode: approve
    GUARD
    approval: {timeout: 15m, APPROVERS}
    steps:
      - {id: look, uses: test.read}
      - {id: act, uses: test.write, with: {says: '{{ steps.look.result.n }}'}}
      - {uses: test.notify, with: {says: '{{ steps.act.result.done }}'}}
    on_blocked: [{uses: test.notify, with: {says: blocked}}]
"""


def rule(*, approvers: str = "quorum: 1", guard: str = "guard: {cooldown: 0s}") -> str:
    return RULE.replace("APPROVERS", approvers).replace("GUARD", guard)


async def asked(stage: Stage, text: str = "") -> dict:
    """Let a run ask."""
    stage.outcomes["test.probe"] = [{"name": "web"}]
    stage.outcomes["test.read"] = [{"n": 3}]
    stage.outcomes["test.write"] = [{"done": "so"}]
    await stage.rules(text or rule())
    await stage.fires()
    return await stage.run()


async def test_a_person_is_asked_with_everything_read_and_nothing_done(stage: Stage) -> None:
    """What only a write can tell stands as `<from STEP>`."""
    run = await asked(stage)
    assert (run["state"], run["reason"], run["mode"]) == ("awaiting_approval", "approval", "approve")
    assert [name for name, _ in stage.calls] == ["test.probe", "test.read"]
    assert [step["says"] for step in run["plan"]] == ["test.read", "test.write 3", "test.notify, once act is known"]
    assert run["plan"][2]["parameters"] == {"says": "<from act>"}
    assert run["because"].startswith("whoever may operate the daemon may approve till 20")
    assert "remediator approve" in run["because"]


async def test_after_the_approval_everything_is_read_again_and_the_same_plan_is_done(stage: Stage) -> None:
    """Once."""
    run = await asked(stage)
    await stage.passes(120)
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]
    assert [name for name, _ in stage.calls] == [
        "test.probe", "test.read", "test.probe", "test.read", "test.write", "test.notify",
    ]  # fmt: skip
    with pytest.raises(Impossible):
        await controls.approve(stage.engine, run["id"], run["plan_hash"], "bob", "again")


async def test_p12_a_plan_that_has_changed_is_asked_about_again(stage: Stage) -> None:
    """An approval given before counts for nothing, whatever it was for."""
    run = await asked(stage)
    stage.outcomes["test.read"] = [{"n": 4}]
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.settle()
    again = await stage.run()
    assert again["state"] == "awaiting_approval"
    assert again["plan_hash"] != run["plan_hash"]
    assert "has changed since it was approved" in again["because"]
    assert stage.used("test.write") == 0
    with pytest.raises(Impossible, match="not the plan"):
        await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await controls.approve(stage.engine, run["id"], again["plan_hash"], "ann", "go")
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]
    assert ("test.write", "4") in stage.calls


async def test_p12_an_old_approval_does_not_count_when_the_plan_changes_back(stage: Stage) -> None:
    """A was approved, B was found, A is asked about again: a person has to answer again."""
    run = await asked(stage)
    stage.outcomes["test.read"] = [{"n": 4}, {"n": 3}]
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.passes(1)
    second = await stage.run()
    await controls.approve(stage.engine, run["id"], second["plan_hash"], "ann", "go")
    await stage.passes(1)
    third = await stage.run()
    assert third["plan_hash"] == run["plan_hash"]
    assert third["state"] == "awaiting_approval"
    await stage.passes(5)
    assert stage.used("test.write") == 0


async def test_an_approval_expires_and_on_blocked_runs(stage: Stage) -> None:
    """At its timeout, not after."""
    run = await asked(stage)
    await stage.passes(899)
    assert (await stage.run())["state"] == "awaiting_approval"
    await stage.passes(1)
    assert await stage.states() == [("cancelled", "expired")]
    assert stage.calls[-1] == ("test.notify", "blocked")
    with pytest.raises(Impossible):
        await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "late")


async def test_a_person_may_say_no(stage: Stage) -> None:
    """The reason stands in the record."""
    run = await asked(stage)
    await controls.reject(stage.engine, run["id"], "ann", "not during the sale")
    await stage.settle()
    ended = await stage.run()
    assert (ended["state"], ended["reason"]) == ("cancelled", "rejected")
    assert ended["because"] == "rejected by ann: not during the sale"
    assert stage.used("test.write") == 0


async def test_p12_only_the_named_approve_and_each_counts_once(stage: Stage) -> None:
    """A quorum of two is two people."""
    run = await asked(stage, rule(approvers="approvers: [ann, bob], quorum: 2"))
    approve = stage.engine, run["id"], run["plan_hash"]
    with pytest.raises(Impossible, match="not among the approvers"):
        await controls.approve(*approve, "eve", "me too")
    await controls.approve(*approve, "ann", "yes")
    await stage.settle()
    assert "ann approved" in (await stage.run())["because"]
    with pytest.raises(Impossible, match="already"):
        await controls.approve(*approve, "ann", "yes, yes")
    assert (await stage.run())["state"] == "awaiting_approval"
    await controls.approve(*approve, "bob", "yes")
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]


async def test_guards_are_tried_before_asking_and_used_up_after(stage: Stage) -> None:
    """Nobody is asked for what a guard refuses; one that refuses meanwhile still does."""
    limited = rule(guard="guard: {cooldown: 0s, limit: 1 per 1h}")
    run = await asked(stage, limited)
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.settle()
    await stage.fires(n="2")
    assert await stage.states() == [("succeeded", None), ("blocked", "limit")]


async def test_two_that_ask_at_once_use_up_one_limit(stage: Stage) -> None:
    """Asking uses nothing up: the second is refused when it is approved."""
    text = rule(guard="guard: {cooldown: 0s, limit: 1 per 1h}").replace("facts.who.name }}", "labels.app }}")
    stage.outcomes["test.read"], stage.outcomes["test.write"] = [{"n": 3}], [{"done": "so"}]
    await stage.rules(text)
    await stage.fires(app="a")
    await stage.fires(app="b")
    for run in await stage.runs():
        await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
        await stage.settle()
    assert await stage.states() == [("succeeded", None), ("blocked", "limit")]


async def test_a_run_whose_alerts_resolve_asks_no_longer(stage: Stage) -> None:
    """There is nothing to mend."""
    await asked(stage)
    await stage.resolves()
    assert await stage.states() == [("cancelled", "resolved")]


async def test_what_is_asked_survives_a_crash(stage: Stage) -> None:
    """And what is approved before it."""
    run = await asked(stage)
    await stage.crash()
    assert (await stage.run())["state"] == "awaiting_approval"
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.crash()
    assert await stage.states() == [("succeeded", None)]
    assert stage.used("test.write") == 1


async def test_a_pause_holds_what_is_approved_and_what_is_asked(stage: Stage) -> None:
    """On resume it is asked as before, for as long as was left."""
    run = await asked(stage)
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.passes(3600)
    assert (await stage.run())["reason"] == "paused"
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()
    assert (await stage.run())["state"] == "awaiting_approval"
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]


async def test_a_rule_that_changes_ends_what_it_asks(stage: Stage) -> None:
    """The alert is taken up by the rule as it is now."""
    await asked(stage)
    await stage.rules(rule().replace("timeout: 15m", "timeout: 20m"))
    assert await stage.states() == [("cancelled", "rule_changed"), ("awaiting_approval", "approval")]


async def test_a_leading_read_that_fails_blocks_before_anybody_is_asked(stage: Stage) -> None:
    """The plan could not be whole."""
    from remediator.actions.protocol import Outcome, Result

    stage.outcomes["test.probe"] = [{"name": "web"}]
    stage.outcomes["test.read"] = [Outcome(Result.ERROR, error="no answer")]
    await stage.rules(rule())
    await stage.fires()
    assert (await stage.states()) == [("blocked", "facts")]
    assert stage.calls[-1] == ("test.notify", "blocked")
