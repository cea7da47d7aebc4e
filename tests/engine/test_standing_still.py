"""What a daemon does that stood still (a suspended machine, SIGSTOP, a store that took its time) when it goes on."""

from __future__ import annotations

from typing import Any

import pytest
from stage import Stage

from remediator.engine.controls import pause, resume
from remediator.errors import StoreError
from remediator.model.alert import Notification
from remediator.model.identity import new_id
from remediator.rules.standing import Storm
from remediator.store.protocol import Script


def rule(guard: str = "{cooldown: 0s}", steps: str = "[{uses: test.write}]") -> str:
    return f"""
rules:
  - name: mend
    summary: Mend what is down.
    match: '{{alertname="Down"}}'
    target: 'app/{{{{ labels.app }}}}'
    guard: {guard}
    steps: {steps}
"""


def stand_still(stage: Stage, monkeypatch: pytest.MonkeyPatch, *, before: float = 0.0, after: float = 0.0) -> None:
    """Let so much time pass before the next transaction, and after it."""
    transact = stage.store.transact

    async def slowly(script: Script[Any]) -> Any:
        monkeypatch.undo()
        stage.clock.time += before
        value = await transact(script)
        stage.clock.time += after
        return value

    monkeypatch.setattr(stage.store, "transact", slowly)


@pytest.mark.fault("suspend and resume")
async def test_p5_a_limit_counts_from_the_moment_of_admission_however_long_that_had_to_wait(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock is read in the transaction: one admission in any minute, also after a machine was suspended."""
    await stage.rules(rule("{cooldown: 0s, limit: 1 per 1m}"))
    stand_still(stage, monkeypatch, before=50)
    await stage.fires(app="a")
    await stage.passes(15)
    await stage.fires(app="b")
    assert await stage.states() == [("succeeded", None), ("blocked", "limit")]


async def test_p6_a_body_that_had_to_wait_is_counted_when_it_is_taken_in(stage: Stage) -> None:
    """What begins at once is a storm, however long ago it was received: one replica stood still, say."""
    await stage.rules(rule(), storm=Storm(alerts=5, per=60.0, hold=600.0))
    now = stage.clock.now()
    alerts = tuple(stage.alert(app=f"a{n}") for n in range(6))
    await stage.engine.accept(Notification(new_id(now), now - 90, "hook", "{}", {}, 0, alerts, (), b"{}"))
    await stage.settle()
    assert await stage.states() == [("blocked", "storm")] * 6


@pytest.mark.fault("SIGSTOP past the lease", store="sqlite")
async def test_p3_a_step_does_not_begin_once_its_lease_has_run_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another may have the run by now: what is begun late would be by a stale plan."""
    await stage.rules(rule())
    stand_still(stage, monkeypatch, after=stage.standing.lease)
    await stage.fires(app="a")
    assert stage.used("test.write") == 0
    await stage.passes(stage.standing.lease)
    assert await stage.states() == [("unknown", "interrupted")]
    assert stage.used("test.write") == 0


@pytest.mark.parametrize("steps", ["[{uses: test.write}]", "[{uses: test.read}, {uses: test.write}]"])
@pytest.mark.parametrize("still", [2.0, 59.0])
async def test_p7_a_pause_holds_what_was_decided_before_it_and_did_not_begin_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, steps: str, still: float
) -> None:
    """The answer to a commit may be late, or a machine be suspended: what has not begun within 2 s is decided anew."""
    await stage.rules(rule(steps=steps))
    transact = stage.store.transact

    async def late(script: Script[Any]) -> Any:
        value = await transact(script)
        if stage.used("test.write") == 0 and any("test.write" in step["uses"] for step in await begun(stage)):
            monkeypatch.undo()
            stage.clock.time += still
            await pause(stage.engine, "ann", "look", rule=None, target=None, span=None)
        return value

    monkeypatch.setattr(stage.store, "transact", late)
    await stage.fires(app="a")
    await stage.passes(120)
    run = await stage.run()
    assert (stage.used("test.write"), run["reason"]) == (0, "paused")
    await resume(stage.engine, "ann", "looked", rule=None, target=None)
    await stage.settle()
    assert (stage.used("test.write"), await stage.states()) == (1, [("succeeded", None)])


async def begun(stage: Stage) -> list[dict[str, Any]]:
    """Give the steps that stand as started."""
    runs = [await stage.run()] if await stage.states() else []
    return [step for run in runs for step in run["steps"] if step["state"] == "started"]


async def test_p4_facts_grow_old_while_the_store_is_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are as old as their answer, not as its record: nothing is decided by what was true a minute ago."""
    facts = "facts: [{id: up, uses: test.probe, with: {says: '{{ alerts | length }}'}}]"
    await stage.rules(rule().replace("    steps:", f"    {facts}\n    steps:"))

    async def away(script: Script[Any]) -> Any:
        raise StoreError("the store is away")

    with monkeypatch.context() as outage:
        outage.setattr(stage.store, "view", away)
        await stage.fires(app="a")
        await stage.passes(60)
        assert (stage.used("test.probe"), stage.used("test.write")) == (1, 0)
    await stage.passes(1)
    assert (stage.used("test.probe"), stage.used("test.write")) == (2, 1)
