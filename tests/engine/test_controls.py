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


HELD = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    facts: [{id: seen, uses: test.probe}]
    guard: {cooldown: 1h, only_if: ['facts.seen.n == 1'], unless_firing: ['{alertname="Maintenance"}']}
    steps: [{id: look, uses: test.read}, {id: tell, uses: test.notify}, {id: act, uses: test.write}]
"""


async def held_before_its_first_write(stage: Stage) -> None:
    """Begin a run, and pause it while it takes its first read."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(HELD)
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires(app="web")
    await pause(stage)
    stage.blocked.pop("test.read").set()
    await stage.settle()
    assert await stage.states() == [("running", "paused")]


async def test_a_run_held_before_its_first_write_goes_on_where_all_is_as_it_was(stage: Stage) -> None:
    """Its facts and leading reads are read again; its own admission is no cooldown."""
    await held_before_its_first_write(stage)
    await resume(stage)
    assert await stage.states() == [("succeeded", None)]
    assert [stage.used(f"test.{name}") for name in ("probe", "read", "notify", "write")] == [2, 2, 1, 1]


async def test_a_run_held_before_its_first_write_is_refused_by_what_fires_since(stage: Stage) -> None:
    """The guards about the world are asked again."""
    await held_before_its_first_write(stage)
    await stage.fires("Maintenance")
    await resume(stage)
    assert await stage.states() == [("blocked", "unless_firing")]
    assert stage.used("test.write") == 0


async def test_a_run_held_before_its_first_write_is_refused_by_facts_that_changed(stage: Stage) -> None:
    """`only_if` goes by what is read after the pause."""
    await held_before_its_first_write(stage)
    stage.outcomes["test.probe"] = [{"n": 2}]
    await resume(stage)
    assert await stage.states() == [("blocked", "only_if")]
    assert stage.used("test.write") == 0


async def test_a_run_held_before_its_first_write_ends_where_its_alerts_resolved(stage: Stage) -> None:
    """There is nothing left to mend."""
    await held_before_its_first_write(stage)
    await stage.resolves(app="web")
    await resume(stage)
    assert await stage.states() == [("cancelled", "resolved")]
    assert stage.used("test.write") == 0


async def test_a_run_held_after_its_first_write_goes_on(stage: Stage) -> None:
    """Half-done work is worse than finished."""
    await stage.rules(RULE.replace("{cooldown: 0s}", "{unless_firing: ['{alertname=\"Maintenance\"}']}"))
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    await pause(stage)
    stage.blocked.pop("test.write").set()
    await stage.settle()
    await stage.fires("Maintenance")
    await resume(stage)
    assert await stage.states() == [("succeeded", None)]


async def test_an_approved_plan_that_changed_under_a_pause_is_asked_about_again(stage: Stage) -> None:
    """An approval is for one plan."""
    says = "with: {says: '{{ facts.seen.m }}'}"
    await stage.rules(
        HELD.replace("guard:", "mode: approve\n    guard:").replace("uses: test.write}", f"uses: test.write, {says}}}")
    )
    stage.outcomes["test.probe"] = [{"n": 1, "m": "a"}]
    await stage.fires(app="web")
    stage.blocked["test.notify"] = asyncio.Event()
    await approve(stage)
    await pause(stage)
    stage.blocked.pop("test.notify").set()
    await stage.settle()
    stage.outcomes["test.probe"] = [{"n": 1, "m": "b"}]
    await resume(stage)
    assert await stage.states() == [("awaiting_approval", "approval")]
    assert stage.used("test.write") == 0
    await approve(stage)
    assert await stage.states() == [("succeeded", None)]
    assert stage.calls[-1] == ("test.write", "b")
    assert stage.used("test.notify") == 1


async def test_an_approved_plan_that_is_the_same_after_a_pause_is_not_asked_about_again(stage: Stage) -> None:
    """The answer still stands."""
    stage.outcomes["test.probe"] = [{"n": 1}]
    await stage.rules(HELD.replace("guard:", "mode: approve\n    guard:"))
    await stage.fires(app="web")
    stage.blocked["test.read"] = asyncio.Event()
    await approve(stage)
    await pause(stage)
    stage.blocked.pop("test.read").set()
    await stage.settle()
    await resume(stage)
    assert await stage.states() == [("succeeded", None)]


async def approve(stage: Stage) -> None:
    """Let the plan go on that is asked about now."""
    run = await stage.run()
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "fine")
    await stage.settle()
