"""Resuming: what is checked again of a run that a pause held before its first write (P7)."""

from __future__ import annotations

import asyncio

import pytest
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.model.run import Mode

HELD = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    facts: [{id: seen, uses: test.probe}]
    guard: {cooldown: 1h, patience: 1h, unless_firing: ['{alertname="Maintenance"}']}
    steps: [{id: look, uses: test.read}, {id: act, uses: test.write}]
"""


async def begun(stage: Stage, rules: str) -> None:
    """Begin a run whose first read is still at work, and pause everything."""
    stage.outcomes["test.probe"] = [{"n": 1, "app": "web"}]
    await stage.rules(rules)
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)


async def read_ends(stage: Stage) -> None:
    """Let the read that is at work come to its end."""
    stage.blocked.pop("test.read").set()
    await stage.settle()


async def resume(stage: Stage) -> None:
    """Lift the pause."""
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()


async def test_a_refusal_after_a_pause_is_waited_out_as_patience_allows(stage: Stage) -> None:
    """The refusal clears, and the run goes on."""
    await begun(stage, HELD)
    await read_ends(stage)
    await stage.fires("Maintenance")
    await resume(stage)
    assert (await stage.run())["reason"] == "unless_firing"
    assert stage.used("test.write") == 0
    await stage.resolves("Maintenance")
    await stage.passes(60)
    assert await stage.states() == [("succeeded", None)]
    assert stage.used("test.write") == 1


async def test_facts_that_name_another_target_after_a_pause_block_the_run(stage: Stage) -> None:
    """It was admitted for the first one, and holds that one's lock."""
    await begun(stage, HELD.replace("labels.app", "facts.seen.app"))
    await read_ends(stage)
    stage.outcomes["test.probe"] = [{"n": 1, "app": "db"}]
    await resume(stage)
    assert await stage.states() == [("blocked", "facts")]
    assert stage.used("test.write") == 0


async def test_a_pause_that_a_run_never_noticed_has_held_nothing(stage: Stage) -> None:
    """Laid and lifted while one step was at work: the run is not checked again."""
    await begun(stage, HELD)
    await resume(stage)
    await read_ends(stage)
    assert await stage.states() == [("succeeded", None)]
    assert [stage.used(f"test.{name}") for name in ("probe", "read", "write")] == [1, 1, 1]


async def test_a_run_whose_first_write_has_begun_goes_on_and_says_so(stage: Stage) -> None:
    """Half-done work is worse than finished: what would have kept it from beginning does not stop it."""
    await stage.rules(HELD.replace("steps: [", "steps: [{uses: test.undo}, "))
    stage.outcomes["test.probe"] = [{"n": 1, "app": "web"}]
    stage.blocked["test.undo"] = asyncio.Event()  # a write, too
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    stage.blocked.pop("test.undo").set()
    await stage.settle()
    await stage.fires("Maintenance")
    await resume(stage)
    assert (await stage.states(), stage.used("test.write")) == ([("succeeded", None)], 1)
    events = await stage.store.view(lambda tx: tx.events(0, 1000))
    told = [event.data["because"] for event in events if event.kind == "run.moved" and event.data["because"]]
    assert "goes on after the pause, and is not checked again: it had begun to write" in told


@pytest.mark.parametrize("before", ["{id: look,", "{id: act,"])
async def test_a_wait_that_has_run_its_time_under_a_pause_is_not_begun_anew(stage: Stage, before: str) -> None:
    """At the head of the steps or between them: it reads nothing that could be read again."""
    await stage.rules(HELD.replace(before, f"{{uses: wait, with: {{for: 5m}}}}, {before}"))
    stage.outcomes["test.probe"] = [{"n": 1, "app": "web"}]
    await stage.fires(app="web")
    await stage.passes(60)
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.passes(600)
    await resume(stage)
    assert (await stage.states(), stage.used("test.write")) == ([("succeeded", None)], 1)


LADDER = HELD.replace(
    "steps: [{id: look, uses: test.read}, {id: act, uses: test.write}]",
    "ladder: [{steps: [{uses: test.write}], verify: {within: 10s, every: 5s, checks: [{uses: test.check}]}}, "
    "{steps: [{id: look, uses: test.read}, {id: act, uses: test.undo}]}]",
)


async def test_a_rung_above_the_first_goes_on_for_the_run_has_written_before(stage: Stage) -> None:
    """Whatever that rung itself has done."""
    stage.outcomes["test.probe"] = [{"n": 1, "app": "web"}]
    stage.outcomes["test.check"] = [Outcome(Result.REFUSED, error="down")]
    await stage.rules(LADDER)
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.passes(30)
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await read_ends(stage)
    await stage.fires("Maintenance")
    await resume(stage)
    assert (await stage.states(), stage.used("test.undo")) == ([("succeeded", None)], 1)


async def test_a_run_that_only_reads_goes_on_verifying_after_a_pause(stage: Stage) -> None:
    """Nothing of it is written any more; its span begins anew where the pause has taken it."""
    await stage.rules(
        HELD.replace(", {id: act, uses: test.write}", "")
        + "    verify: {within: 1m, every: 10s, checks: [{uses: test.check}]}\n"
    )
    stage.outcomes["test.probe"] = [{"n": 1, "app": "web"}]
    stage.outcomes["test.check"] = [Outcome(Result.REFUSED, error="not yet")]
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.passes(300)
    assert await stage.states() == [("verifying", "paused")]
    stage.outcomes["test.check"] = []
    await resume(stage)
    await stage.passes(20)
    assert (await stage.states(), stage.used("test.read")) == ([("succeeded", None)], 1)


async def test_a_dry_run_is_checked_again_after_a_pause_as_a_live_one_is(stage: Stage) -> None:
    """It plans by the world after the pause."""
    stage.outcomes["test.probe"] = [{"n": 1, "app": "web"}]
    await stage.rules(HELD, mode=Mode.DRY_RUN)
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires(app="web")
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await read_ends(stage)
    await stage.fires("Maintenance")
    await resume(stage)
    assert (await stage.run())["reason"] == "unless_firing"
    await stage.resolves("Maintenance")
    await stage.passes(60)
    assert await stage.states() == [("planned", None)]


async def test_a_no_to_what_was_asked_again_after_a_pause_ends_the_run(stage: Stage) -> None:
    """The plan had been approved, and has changed under the pause."""
    stage.outcomes["test.probe"] = [{"n": 1, "app": "web"}]
    asks = HELD.replace(
        "{id: act, uses: test.write}", "{id: act, uses: test.write, with: {says: '{{ facts.seen.n }}'}}"
    )
    await stage.rules(asks.replace("    target:", "    mode: approve\n    target:"))
    await stage.fires(app="web")
    run = await stage.run()
    stage.blocked["test.read"] = asyncio.Event()
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "")
    await stage.settle()
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await read_ends(stage)
    stage.outcomes["test.probe"] = [{"n": 2, "app": "web"}]
    await stage.passes(60)
    await resume(stage)
    assert await stage.states() == [("awaiting_approval", "approval")]
    await controls.reject(stage.engine, run["id"], "bob", "not now")
    await stage.settle()
    assert (await stage.states(), stage.used("test.write")) == ([("cancelled", "rejected")], 0)
