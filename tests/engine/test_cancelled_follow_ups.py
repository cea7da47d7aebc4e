"""A person may cancel what follows from an end that is decided: the step at work is ended, and the rest is skipped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls

RULE = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s, GUARD}
    steps: [{uses: test.write}]
    undo: [{uses: test.read}, {uses: test.undo}, {uses: test.read}]
    MORE
    on_success: [{uses: test.notify, with: {idempotent: true}}, {uses: test.probe}]
    on_failure: [{uses: test.notify}, {uses: test.probe}]
    on_blocked: [{uses: test.notify}, {uses: test.probe}]
"""
NO = Outcome(Result.REFUSED, error="no")
ENDED = "ended by an operator's cancel"
SKIPPED = "a person has cancelled it (ann: enough)"


def rule(guard: str = "", more: str = "") -> str:
    return RULE.replace(", GUARD", f", {guard}" if guard else "").replace("MORE", more)


async def cancel(stage: Stage) -> None:
    await controls.cancel(stage.engine, (await stage.runs())[0]["id"], "ann", "enough")
    await stage.settle()


async def follow_ups(stage: Stage) -> list[tuple[str, str, str | None]]:
    """Give phase, state and error of what followed."""
    steps = (await stage.runs())[0]["steps"]
    return [(step["phase"], step["state"], step["error"]) for step in steps if step["phase"] not in {"steps", "facts"}]


@pytest.mark.parametrize(
    ("phase", "guard", "outcome", "end"),
    [
        ("on_success", "", None, ("succeeded", None)),
        ("on_failure", "", NO, ("failed", "step")),
        ("on_blocked", "only_if: labels.app == 1", None, ("blocked", "only_if")),
    ],
)
async def test_the_step_at_work_is_ended_the_rest_skipped_and_the_end_kept(
    stage: Stage, phase: str, guard: str, outcome: Outcome | None, end: tuple[str, str | None]
) -> None:
    """Whatever end was decided; the reason stays too."""
    await stage.rules(rule(guard).replace("    undo: [{uses: test.read}, {uses: test.undo}, {uses: test.read}]\n", ""))
    stage.outcomes["test.write"] = [outcome] if outcome else []
    stage.blocked["test.notify"] = asyncio.Event()
    await stage.fires(app="web")
    await cancel(stage)
    assert await stage.states() == [end]
    assert await follow_ups(stage) == [(phase, "failed", ENDED), (phase, "skipped", SKIPPED)]
    assert stage.used("test.probe") == 0


async def test_to_cancel_an_undo_skips_what_follows_it_too(stage: Stage) -> None:
    """And says so of each."""
    await stage.rules(rule())
    stage.outcomes["test.write"] = [NO]
    stage.blocked["test.undo"] = asyncio.Event()
    await stage.fires(app="web")
    await cancel(stage)
    assert await stage.states() == [("failed", "step")]
    assert await follow_ups(stage) == [
        ("undo", "succeeded", None),
        ("undo", "failed", ENDED),
        ("undo", "skipped", SKIPPED),
        ("on_failure", "skipped", SKIPPED),
        ("on_failure", "skipped", SKIPPED),
    ]
    assert stage.used("test.notify") == 0


async def test_a_change_whose_undo_was_cancelled_is_still_taken_back_by_its_revert(stage: Stage) -> None:
    """What was skipped has undone nothing."""
    await stage.rules(rule(more="revert: {after: 10m, steps: [{uses: test.check}]}").replace(
        "[{uses: test.read}, {uses: test.undo}, {uses: test.read}]", "[{uses: wait, with: {for: 1h}}, {uses: test.undo}]"
    ))  # fmt: skip
    stage.outcomes["test.write"] = [NO]
    await stage.fires(app="web")
    await cancel(stage)
    assert (await follow_ups(stage))[:2] == [("undo", "interrupted", SKIPPED), ("undo", "skipped", SKIPPED)]
    await stage.passes(601)
    assert stage.used("test.check") == 1
    assert stage.used("test.undo") == 0


async def test_a_follow_up_that_a_pause_holds_can_be_cancelled(stage: Stage) -> None:
    """It need not be resumed for that."""
    await stage.rules(rule())
    stage.blocked["test.write"] = asyncio.Event()
    await stage.fires(app="web")
    stage.blocked["test.notify"] = asyncio.Event()
    stage.blocked.pop("test.write").set()
    await stage.settle()
    await controls.pause(stage.engine, "ann", "look", rule=None, target=None, span=None)
    stage.blocked.pop("test.notify").set()
    await stage.settle()
    assert [run["ended_at"] for run in await stage.runs()] == [None]
    await cancel(stage)
    assert await stage.states() == [("succeeded", None)]
    assert stage.used("test.probe") == 0


async def test_a_message_that_was_stopped_is_not_sent_later(stage: Stage) -> None:
    """It could be repeated, and would else be kept in the outbox."""
    await stage.rules(rule())
    stage.blocked["test.notify"] = asyncio.Event()
    await stage.fires(app="web")
    await cancel(stage)
    assert await stage.store.view(lambda tx: tx.messages(10)) == []
    assert (await follow_ups(stage))[0] == ("on_success", "failed", ENDED)


async def test_a_cancel_that_a_crash_came_after_is_obeyed_at_the_next_start(stage: Stage) -> None:
    """The step was ended with the daemon; nothing of the list is begun again."""
    await stage.rules(rule())
    stage.blocked["test.notify"] = asyncio.Event()
    await stage.fires(app="web")
    run: dict[str, Any] = (await stage.runs())[0]
    await controls._order(stage.engine, controls.ControlKind.CANCEL, run["id"], ("ann", "enough"), None)
    stage.calls.clear()
    await stage.crash()
    assert await stage.states() == [("succeeded", None)]
    assert stage.calls == []
