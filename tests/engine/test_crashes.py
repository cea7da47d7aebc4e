"""Crashes: what was started and has no recorded end, and what was waiting."""

from __future__ import annotations

import asyncio

import pytest
from stage import Stage

from remediator.engine import controls
from remediator.errors import StoreError
from remediator.execute import Call
from remediator.model.run import State


def rule(steps: str, more: str = "") -> str:
    return f"""
rules:
  - name: mend
    summary: Mend what is down.
    match: '{{alertname="Down"}}'
    target: web
    guard: {{cooldown: 0s}}
    steps: {steps}
    {more}
"""


async def crash_during(stage: Stage, action: str) -> None:
    """Kill the daemon while an action is at work."""
    stage.blocked[action] = asyncio.Event()
    await stage.fires()
    assert stage.used(action) == 1
    stage.blocked.pop(action)
    await stage.crash()


async def test_p2_a_step_that_must_not_be_repeated_leaves_its_run_unknown(stage: Stage) -> None:
    """It was begun and has no recorded end: never again, whatever happens."""
    await stage.rules(rule("[{uses: test.write}, {uses: test.notify}]"))
    await crash_during(stage, "test.write")
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("unknown", "interrupted")
    assert run["steps"][0]["state"] == "interrupted"
    assert f"look at web, then `remediator resolve {run['id']}" in run["because"]
    await stage.passes(3600)
    await stage.crash()
    await stage.passes(3600)
    assert stage.used("test.write") == 1
    assert stage.used("test.notify") == 0


async def test_an_unknown_run_holds_its_target_and_lock(stage: Stage) -> None:
    """Nobody acts on what is in doubt."""
    await stage.rules(rule("[{uses: test.write}]"))
    await crash_during(stage, "test.write")
    await stage.fires(n="2")
    assert stage.used("test.write") == 1
    assert len(await stage.runs()) == 1


async def test_verification_may_prove_an_unknown_run_good(stage: Stage) -> None:
    """The world is looked at, not the record."""
    await stage.rules(
        rule(
            "[{uses: test.write}]", "verify: {within: 1m, every: 15s, checks: [{uses: test.check, expect: result.up}]}"
        )
    )
    stage.outcomes["test.check"] = [{"up": False}] * 6 + [{"up": True}]
    await crash_during(stage, "test.write")
    await stage.passes(61)
    assert (await stage.run())["state"] == "unknown"
    await stage.passes(300)
    assert (await stage.run())["state"] == "succeeded"
    assert stage.used("test.write") == 1


async def test_a_person_settles_an_unknown_run(stage: Stage) -> None:
    """Its target is free then."""
    await stage.rules(rule("[{uses: test.write}]"))
    await crash_during(stage, "test.write")
    run = await stage.run()
    with pytest.raises(controls.Impossible, match="resolve"):
        await controls.cancel(stage.engine, run["id"], "ann", "")
    await controls.resolve(stage.engine, run["id"], State.FAILED, "ann", "looked at it")
    await stage.settle()
    run = await stage.run()
    assert (run["state"], run["reason"], run["because"]) == ("failed", "operator", "ann: looked at it")
    await stage.fires(n="2")
    assert stage.used("test.write") == 2


async def test_an_idempotent_step_is_begun_again(stage: Stage) -> None:
    """Doing it twice is the same as doing it once."""
    await stage.rules(rule("[{uses: test.write, with: {idempotent: true}}]"))
    await crash_during(stage, "test.write")
    run = await stage.run()
    assert (run["state"], run["steps"][0]["attempt"]) == ("succeeded", 2)
    assert stage.used("test.write") == 2


async def test_a_read_is_begun_again_and_the_run_goes_on(stage: Stage) -> None:
    """Looking twice does no harm."""
    await stage.rules(rule("[{uses: test.read}, {uses: test.write}]"))
    await crash_during(stage, "test.read")
    assert await stage.states() == [("succeeded", None)]
    assert (stage.used("test.read"), stage.used("test.write")) == (2, 1)


async def test_a_wait_goes_on_over_a_restart(stage: Stage) -> None:
    """Its end was decided when it began."""
    await stage.rules(rule("[{uses: wait, with: {for: 10m}}, {uses: test.write}]"))
    await stage.fires()
    await stage.passes(300)
    await stage.crash()
    await stage.passes(299)
    assert stage.used("test.write") == 0
    await stage.passes(1)
    assert stage.used("test.write") == 1


async def test_an_interrupted_notice_does_not_keep_a_run_open(stage: Stage) -> None:
    """How the run ended was decided before; the notice is not sent twice."""
    await stage.rules(rule("[{uses: test.write}]", "on_success: [{uses: test.notify}]"))
    await crash_during(stage, "test.notify")
    run = await stage.run()
    assert run["state"] == "succeeded"
    assert run["steps"][1]["state"] == "interrupted"
    assert stage.used("test.notify") == 1


async def test_an_interrupted_undo_leaves_the_run_unknown(stage: Stage) -> None:
    """What was half taken back needs a person, and verification can't prove it."""
    from remediator.actions.protocol import Outcome, Result

    await stage.rules(rule("[{uses: test.write}]", "undo: [{uses: test.undo}]"))
    stage.outcomes["test.write"] = [Outcome(Result.REFUSED, error="no")]
    await crash_during(stage, "test.undo")
    assert await stage.states() == [("unknown", "interrupted")]


async def test_cooldowns_and_limits_survive_a_restart(stage: Stage) -> None:
    """They are queries over what is kept."""
    await stage.rules(rule("[{uses: test.write}]").replace("cooldown: 0s", "cooldown: 10m"))
    await stage.fires()
    await stage.crash()
    await stage.fires(n="2")
    assert await stage.states() == [("succeeded", None), ("blocked", "cooldown")]


async def test_an_acknowledged_alert_whose_run_had_not_begun_is_acted_on_after_the_restart(stage: Stage) -> None:
    """Acknowledged is kept (P1)."""
    await stage.rules(rule("[{uses: test.write}]").replace("    target:", "    for: 5m\n    target:"))
    await stage.fires()
    await stage.crash()
    await stage.passes(301)
    assert await stage.states() == [("succeeded", None)]


@pytest.mark.fault("SIGTERM mid-run", store="sqlite")
async def test_draining_lets_a_step_end_and_leaves_the_rest_for_the_next_start(stage: Stage) -> None:
    """SIGTERM in the middle of a run loses nothing and repeats nothing."""
    await stage.rules(rule("[{uses: test.write}, {uses: test.notify}]"))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires()
    draining = asyncio.create_task(stage.engine.drain(5))
    await asyncio.sleep(0)
    stage.blocked.pop("test.write").set()
    await draining
    assert stage.used("test.notify") == 0
    await stage.crash()
    assert await stage.states() == [("succeeded", None)]
    assert (stage.used("test.write"), stage.used("test.notify")) == (1, 1)


@pytest.mark.fault("SIGSTOP past the lease", store="sqlite")
async def test_p3_a_daemon_that_was_frozen_past_its_lease_does_not_take_its_own_run_for_a_dead_ones(
    stage: Stage,
) -> None:
    """It renews before it claims: its step is still at work."""
    await stage.rules(rule("[{uses: test.write}]"))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires()
    stage.clock.time += 600
    stage.engine.look()
    await stage.settle()
    assert await stage.states() == [("running", None)]
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert await stage.states() == [("succeeded", None)]


LIMITED = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    for: 1m
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s, limit: 1 per 1h}
    steps: [{uses: test.write}]
"""


def lose_an_answer(stage: Stage) -> None:
    """Keep the next commit that lets a step begin, and break the connection before that is said."""
    transact = stage.store.transact

    async def lossy(script):  # type: ignore[no-untyped-def]
        result = await transact(script)
        if isinstance(result, tuple) and any(isinstance(each, Call) for each in result):
            stage.store.transact = transact  # type: ignore[method-assign]
            raise StoreError("the connection was lost in COMMIT")
        return result

    stage.store.transact = lossy  # type: ignore[method-assign]


async def test_p2_a_commit_whose_answer_was_lost_is_not_decided_again(stage: Stage) -> None:
    """It was kept: the limit is used up by this very run, and its step is called once."""
    await stage.rules(LIMITED)
    await stage.fires(app="web")
    lose_an_answer(stage)
    await stage.passes(120)
    assert await stage.states() == [("succeeded", None)]
    assert stage.used("test.write") == 1
    events = await stage.store.view(lambda tx: tx.events(0, 1000))
    steps = [event for event in events if event.kind in {"step.started", "step.ended"}]
    assert [event.data.get("state") for event in steps] == [None, "failed", None, "succeeded"]


async def test_p7_what_was_laid_while_an_answer_was_lost_is_heeded(stage: Stage) -> None:
    """The step was kept as started, and nobody had called it: it waits for the pause's end, and is then called once."""
    await stage.rules(LIMITED)
    await stage.fires(app="web")
    lose_an_answer(stage)
    await stage.passes(60)
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=None)
    await stage.passes(60)
    assert (stage.used("test.write"), await stage.states()) == (0, [("running", "paused")])
    await controls.resume(stage.engine, "ann", "done", rule=None, target=None)
    await stage.settle()
    assert (stage.used("test.write"), await stage.states()) == (1, [("succeeded", None)])
