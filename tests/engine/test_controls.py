"""Controls: pause, resume, cancel (P7)."""

from __future__ import annotations

import asyncio

import pytest
from stage import Stage

from remediator.engine import controls

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s}
    steps: [{id: first, uses: test.write}, {id: second, uses: test.notify}]
"""


async def pause(stage: Stage, **on: str | float | None) -> None:
    await controls.pause(
        stage.engine,
        "ann",
        "deploy",
        rule=on.get("rule"),
        target=on.get("target"),
        span=on.get("span"),  # type: ignore[arg-type]
    )


async def resume(stage: Stage, **on: str) -> None:
    await controls.resume(stage.engine, "ann", "done", rule=on.get("rule"), target=on.get("target"))
    await stage.settle()


async def test_p7_a_pause_starts_nothing_and_resuming_looks_again(stage: Stage) -> None:
    """The alert still fires: its second chance."""
    await stage.rules(RULE)
    await pause(stage)
    await stage.fires(app="web")
    await stage.passes(3600)
    run = await stage.run()
    assert (run["state"], run["reason"], run["because"]) == ("waiting", "paused", "paused by ann: deploy")
    assert stage.calls == []
    await resume(stage)
    assert await stage.states() == [("succeeded", None)]


async def test_a_pause_holds_a_run_at_work_after_its_step(stage: Stage) -> None:
    """A step at work finishes; the next one doesn't begin."""
    await stage.rules(RULE)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await pause(stage)
    stage.blocked.pop("test.write").set()
    await stage.settle()
    assert await stage.states() == [("running", "paused")]
    assert stage.used("test.notify") == 0
    await resume(stage)
    assert await stage.states() == [("succeeded", None)]


async def test_a_pause_may_concern_one_rule_or_one_target(stage: Stage) -> None:
    """Everything else goes on."""
    await stage.rules(RULE)
    await pause(stage, target="app/web")
    await pause(stage, rule="other")
    await stage.fires(app="web")
    await stage.fires(app="db")
    assert await stage.states() == [("waiting", "paused"), ("succeeded", None)]
    await resume(stage, target="app/web")
    assert await stage.states() == [("succeeded", None), ("succeeded", None)]


async def test_a_pause_survives_a_restart_and_a_reload(stage: Stage) -> None:
    """Only a person lifts it."""
    await stage.rules(RULE)
    await pause(stage)
    await stage.crash()
    await stage.rules(RULE)
    await stage.fires(app="web")
    await stage.passes(60)
    assert stage.calls == []


async def test_the_span_that_a_person_gave_lifts_it(stage: Stage) -> None:
    """And nothing sooner."""
    await stage.rules(RULE)
    await pause(stage, span=600.0)
    await stage.fires(app="web")
    await stage.passes(599)
    assert stage.calls == []
    await stage.passes(2)
    assert await stage.states() == [("succeeded", None)]


async def test_an_alert_that_resolves_under_a_pause_starts_nothing_when_it_lifts(stage: Stage) -> None:
    """Runs are checked again."""
    await stage.rules(RULE)
    await pause(stage)
    await stage.fires(app="web")
    await stage.resolves(app="web")
    await resume(stage)
    assert await stage.states() == [("cancelled", "resolved")]


async def test_cancel_ends_a_waiting_run(stage: Stage) -> None:
    """With who and why."""
    await stage.rules(RULE.replace("    target:", "    for: 1h\n    target:"))
    await stage.fires(app="web")
    await controls.cancel(stage.engine, (await stage.run())["id"], "ann", "false alarm")
    await stage.settle()
    run = await stage.run()
    assert (run["state"], run["reason"], run["because"]) == ("cancelled", "operator", "ann: false alarm")


async def test_cancel_ends_the_step_at_work(stage: Stage) -> None:
    """It need not come to its own end."""
    await stage.rules(RULE)
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await controls.cancel(stage.engine, (await stage.run())["id"], "ann", "wrong one")
    stage.calls.clear()
    await stage.settle()
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("cancelled", "operator")
    assert run["steps"][0]["error"] == "ended by an operator's cancel"
    with pytest.raises(controls.Impossible, match="ended already"):
        await controls.cancel(stage.engine, run["id"], "ann", "")


async def test_every_control_is_in_the_history_with_its_author(stage: Stage) -> None:
    """Who held production, and why."""
    await pause(stage)
    await resume(stage)
    events = await stage.store.view(lambda tx: tx.events(0, 10))
    assert [(event.kind, event.data["author"]) for event in events if event.kind.startswith("control")] == [
        ("control.laid", "ann"),
        ("control.lifted", "ann"),
    ]


async def test_p7_what_rests_under_a_pause_loses_none_of_its_time(stage: Stage) -> None:
    """A verification that was between two polls when the pause was laid has its whole span left when it is lifted."""
    checks = "verify: {within: 2m, every: 1m, checks: [{uses: test.check, expect: result.ok}]}"
    await stage.rules(RULE.replace("    steps:", f"    {checks}\n    steps:"))
    stage.outcomes["test.check"] = [{"ok": False}, {"ok": True}]
    await stage.fires(app="web")
    await stage.passes(30)
    await pause(stage)
    await stage.passes(3600)
    assert stage.used("test.check") == 1
    await resume(stage)
    await stage.passes(60)
    assert await stage.states() == [("succeeded", None)]
