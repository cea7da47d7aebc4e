"""Revert: a temporary change is taken back once, by a run of its own that knows what was there before."""

from __future__ import annotations

import asyncio

from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.model.run import Mode

RULE = """
rules:
  - name: widen
    summary: Give it more while it is slow.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s}
    steps:
      - {id: before, uses: test.read}
      - {uses: test.write, with: {says: 'scale to {{ steps.before.result.n + 2 }}'}}
    VERIFY
    UNDO
    revert:
      WHEN
      steps: [{uses: test.undo, with: {says: 'scale to {{ steps.before.result.n }}'}}]
    on_failure: [{uses: test.notify, with: {says: failed}}]
"""


def rule(when: str, *, verify: str = "", undo: str = "") -> str:
    return RULE.replace("WHEN", when).replace("VERIFY", verify).replace("UNDO", undo)


def taken_back(stage: Stage) -> list[str]:
    return [says for name, says in stage.calls if name == "test.undo"]


async def test_it_is_taken_back_when_the_alerts_have_resolved(stage: Stage) -> None:
    """To what the run had found before."""
    await stage.rules(rule("resolved: true"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await stage.passes(600)
    assert taken_back(stage) == []
    await stage.resolves(app="web")
    assert taken_back(stage) == ["scale to 2"]
    first, revert = await stage.runs()
    assert (first["state"], revert["state"], revert["origin"]) == ("succeeded", "succeeded", "revert")
    assert revert["reverts"] == first["id"]


async def test_it_is_taken_back_at_the_latest_after_its_span(stage: Stage) -> None:
    """Counted from the end of the steps."""
    await stage.rules(rule("resolved: true\n      after: 1h"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await stage.passes(3599)
    assert taken_back(stage) == []
    await stage.passes(1)
    assert taken_back(stage) == ["scale to 2"]
    await stage.resolves(app="web")
    await stage.passes(3600)
    assert len(taken_back(stage)) == 1


async def test_it_is_taken_back_after_a_failure_too(stage: Stage) -> None:
    """What was written is still there."""
    verify = "verify: {within: 1m, checks: [{uses: test.check, expect: 'false'}]}"
    await stage.rules(rule("after: 10m", verify=verify))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await stage.passes(700)
    assert await stage.states() == [("failed", "verify"), ("succeeded", None)]
    assert taken_back(stage) == ["scale to 2"]


async def test_it_is_not_taken_back_twice_when_it_was_undone(stage: Stage) -> None:
    """Undo is enough."""
    verify = "verify: {within: 1m, checks: [{uses: test.check, expect: 'false'}]}"
    await stage.rules(rule("after: 10m", verify=verify, undo="undo: [{uses: test.undo, with: {says: undone}}]"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await stage.passes(7000)
    assert taken_back(stage) == ["undone"]


async def test_a_newer_success_moves_it_and_it_goes_back_to_where_the_first_began(stage: Stage) -> None:
    """2, then 4, then 6: back to 2, once."""
    await stage.rules(rule("after: 1h"))
    stage.outcomes["test.read"] = [{"n": 2}, {"n": 4}]
    await stage.fires(app="web", n="1")
    await stage.passes(1800)
    await stage.fires(app="web", n="2")
    await stage.passes(1900)
    assert taken_back(stage) == []
    await stage.passes(1800)
    assert taken_back(stage) == ["scale to 2"]
    assert [run["origin"] for run in await stage.runs()] == ["alert", "revert", "alert"]


async def test_a_revert_that_waits_stops_no_other_run(stage: Stage) -> None:
    """It is not the one open run of its rule and target, and holds no lock."""
    await stage.rules(rule("after: 1h"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    assert [run["state"] for run in await stage.runs() if run["origin"] == "alert"] == ["succeeded"] * 2


async def test_a_pause_holds_it_and_says_so(stage: Stage) -> None:
    """On resume it is taken back."""
    await stage.rules(rule("after: 10m"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.passes(3600)
    revert = (await stage.runs())[1]
    assert (revert["state"], revert["reason"]) == ("waiting", "paused")
    assert taken_back(stage) == []
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()
    assert taken_back(stage) == ["scale to 2"]


async def test_a_mode_that_has_fallen_holds_it(stage: Stage) -> None:
    """Dry-run writes nothing, not even back."""
    await stage.rules(rule("after: 10m"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await stage.rules(rule("after: 10m"), mode=Mode.DRY_RUN)
    await stage.passes(3600)
    assert taken_back(stage) == []
    assert "not taken back" in (await stage.runs())[1]["because"]
    await stage.rules(rule("after: 10m"), mode=Mode.AUTO)
    await stage.passes(60)
    assert taken_back(stage) == ["scale to 2"]


async def test_it_waits_for_the_lock(stage: Stage) -> None:
    """A run at work on the target goes first."""
    await stage.rules(rule("after: 10m"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web", n="1")
    await stage.passes(590)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web", n="2")
    await stage.passes(60)
    revert = next(run for run in await stage.runs() if run["origin"] == "revert")
    assert (revert["state"], revert["reason"]) == ("waiting", "lock")
    stage.blocked.pop("test.write").set()
    await stage.passes(601)
    assert taken_back(stage) == ["scale to 2"]


async def test_an_alert_that_comes_while_it_is_at_work_is_taken_up_when_it_has_closed(stage: Stage) -> None:
    """It is a run of the same rule and target that has begun: nobody is refused by the rule's own taking back."""
    await stage.rules(rule("resolved: true"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    stage.blocked["test.undo"] = asyncio.Event()
    await stage.resolves(app="web")
    await stage.passes(60)
    await stage.fires(app="web")
    await stage.passes(60)
    assert (await stage.states())[2] == ("waiting", "busy")
    stage.blocked.pop("test.undo").set()
    await stage.passes(60)
    assert [says for name, says in stage.calls if name != "test.read"] == ["scale to 4", "scale to 2", "scale to 4"]


async def test_what_fires_again_in_a_pause_is_taken_up_after_the_revert_that_it_held(stage: Stage) -> None:
    """Both are due when the pause ends, and the older goes first."""
    await stage.rules(rule("resolved: true"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "wait", rule=None, target=None, span=None)
    await stage.resolves(app="web")
    await stage.passes(60)
    await stage.fires(app="web")
    await stage.passes(60)
    await controls.resume(stage.engine, "ann", "go on", rule=None, target=None)
    await stage.passes(60)
    assert [says for name, says in stage.calls if name != "test.read"] == ["scale to 4", "scale to 2", "scale to 4"]


async def test_a_revert_of_another_rule_holds_its_lock_like_any_run(stage: Stage) -> None:
    """One open run is a promise of a rule and target; a lock holds over all rules."""
    other = rule("resolved: true").replace("name: widen", "name: narrow").replace('"Down"', '"Slow"')
    await stage.rules(rule("resolved: true") + other.replace("rules:\n", "").lstrip("\n"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    stage.blocked["test.undo"] = asyncio.Event()
    await stage.resolves(app="web")
    await stage.passes(60)
    await stage.fires("Slow", app="web")
    assert (await stage.states())[2] == ("blocked", "lock")


async def test_p2_a_revert_that_was_interrupted_is_unknown(stage: Stage) -> None:
    """It is a write like any other."""
    await stage.rules(rule("after: 10m"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    stage.blocked["test.undo"] = asyncio.Event()
    await stage.passes(600)
    await stage.crash()
    await stage.passes(60)
    assert [run["state"] for run in await stage.runs()] == ["succeeded", "unknown"]
    assert len(taken_back(stage)) == 1


async def test_it_survives_a_restart_and_a_change_of_the_rule(stage: Stage) -> None:
    """It keeps the rule that the change was made by."""
    await stage.rules(rule("after: 10m"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await stage.crash()
    await stage.rules("rules: []")
    await stage.passes(600)
    assert taken_back(stage) == ["scale to 2"]


async def test_a_revert_that_fails_tells_somebody(stage: Stage) -> None:
    """The temporary change is still there."""
    await stage.rules(rule("after: 10m"))
    stage.outcomes["test.read"] = [{"n": 2}]
    stage.outcomes["test.undo"] = [Outcome(Result.REFUSED, error="no")]
    await stage.fires(app="web")
    await stage.passes(600)
    assert (await stage.states())[1] == ("failed", "step")
    assert stage.calls[-1] == ("test.notify", "failed")


async def test_a_dry_run_has_nothing_to_take_back(stage: Stage) -> None:
    """It has written nothing."""
    await stage.rules(rule("after: 10m"), mode=Mode.DRY_RUN)
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    await stage.passes(700)
    assert await stage.states() == [("planned", None)]


async def test_a_person_may_cancel_it(stage: Stage) -> None:
    """The change stays."""
    await stage.rules(rule("after: 10m"))
    stage.outcomes["test.read"] = [{"n": 2}]
    await stage.fires(app="web")
    revert = (await stage.runs())[1]
    await controls.cancel(stage.engine, revert["id"], "ann", "keep it")
    await stage.passes(700)
    assert (await stage.states())[1] == ("cancelled", "operator")
    assert taken_back(stage) == []
