"""Resuming: what is checked again of a run that a pause held before its first write (P7)."""

from __future__ import annotations

import asyncio

from stage import Stage

from remediator.engine import controls

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
