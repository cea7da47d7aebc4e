"""What the rule language says in a subordinate clause, and is easily missed."""

from __future__ import annotations

import asyncio

import pytest
from stage import Stage

from remediator.actions.protocol import Outcome, Result
from remediator.engine import controls
from remediator.model.alert import Notification
from remediator.model.identity import new_id
from remediator.review.explain import explain


def rule(more: str, *, steps: str = "[{uses: test.write}]") -> str:
    return f"""
rules:
  - name: mend
    summary: Mend what is down.
    match: '{{alertname="Down"}}'
    target: 'app/{{{{ labels.app }}}}'
    {more}
    steps: {steps}
"""


# -- the deadline: "the longest that a run may take, waiting for people aside" --


@pytest.mark.parametrize(
    "more",
    [
        "when_resolved: finish",  # and steps that wait
        "verify: {within: 3h, every: 1h, checks: [{uses: test.check, expect: result.up}]}",
    ],
)
async def test_the_deadline_ends_a_run_that_only_waits(stage: Stage, more: str) -> None:
    """At its deadline, and not when the timer or the poll that it waits for has come."""
    steps = "[{uses: test.write}]" if "verify" in more else "[{uses: wait, with: {for: 1h}}, {uses: test.write}]"
    await stage.rules(rule(f"deadline: 5m\n    {more}", steps=steps))
    stage.outcomes["test.check"] = [{"up": False}]
    await stage.fires(app="web")
    await stage.passes(299)
    assert (await stage.run())["state"] in {"running", "verifying"}
    await stage.passes(1)
    assert await stage.states() == [("failed", "deadline")]


async def test_a_pause_before_a_run_began_does_not_lengthen_its_deadline(stage: Stage) -> None:
    """The deadline counts from admission."""
    await stage.rules(rule("deadline: 10m", steps="[{uses: wait, with: {for: 1h}}]"))
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=3600)
    await stage.fires(app="web")
    await stage.passes(3600)
    assert await stage.states() == [("running", None)]
    await stage.passes(600)
    assert await stage.states() == [("failed", "deadline")]


async def test_a_pause_while_a_person_is_asked_is_not_counted_twice(stage: Stage) -> None:
    """Neither the waiting nor the pause in it is the run's delay, and it is one span of time."""
    text = rule("deadline: 20m").replace(
        "    steps: [{uses: test.write}]",
        """    ladder:
      - steps: [{uses: test.write}]
        verify: {within: 1m, checks: [{uses: test.check, expect: result.up}]}
      - mode: approve
        approval: {timeout: 1d}
        steps: [{uses: test.notify}, {uses: wait, with: {for: 2h}}]""",
    )
    await stage.rules(text)
    stage.outcomes["test.check"] = [{"up": False}]
    await stage.fires(app="web")
    await stage.passes(60)
    await controls.pause(stage.engine, "ann", "deploy", rule=None, target=None, span=3600)
    await stage.passes(3600)
    run = await stage.run()
    assert run["state"] == "awaiting_approval"
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.passes(1139)
    assert await stage.states() == [("running", None)]
    await stage.passes(1)
    assert await stage.states() == [("failed", "deadline")]


# -- approval --


async def test_an_alert_that_comes_while_a_person_is_asked_joins_and_keeps_the_run_open(stage: Stage) -> None:
    """The run waits: no step of it has begun."""
    await stage.rules(rule("mode: approve"))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    await stage.resolves(app="web", n="1")
    run = await stage.run()
    assert (run["state"], len(run["alerts"])) == ("awaiting_approval", 2)
    await stage.resolves(app="web", n="2")
    assert await stage.states() == [("cancelled", "resolved")]


async def test_facts_are_read_again_when_the_reads_before_the_question_took_long(stage: Stage) -> None:
    """What decides is at most 30 s old; what was read after them is not read again for that."""
    text = rule(
        "mode: approve\n    facts: [{id: f, uses: test.probe}]", steps="[{uses: test.read}, {uses: test.write}]"
    )
    await stage.rules(text)
    stage.blocked["test.read"] = asyncio.Event()
    await stage.fires(app="web")
    await stage.passes(40)
    stage.blocked.pop("test.read").set()
    await stage.settle()
    assert (await stage.run())["state"] == "awaiting_approval"
    assert [name for name, _ in stage.calls] == ["test.probe", "test.read", "test.probe"]


# -- the cooldown: "the last run … that started a step" --


async def test_a_timer_is_a_step_that_was_started(stage: Stage) -> None:
    """So a run that was cancelled while it waited cools down."""
    await stage.rules(rule("guard: {cooldown: 10m}", steps="[{uses: wait, with: {for: 1h}}, {uses: test.write}]"))
    await stage.fires(app="web", n="1")
    await controls.cancel(stage.engine, (await stage.run())["id"], "ann", "not now")
    await stage.settle()
    await stage.fires(app="web", n="2")
    assert await stage.states() == [("cancelled", "operator"), ("blocked", "cooldown")]


async def test_reads_that_were_taken_before_a_person_was_asked_are_steps_that_were_started(stage: Stage) -> None:
    """Also where there are no others."""
    await stage.rules(rule("mode: approve\n    guard: {cooldown: 10m}", steps="[{uses: test.read}]"))
    await stage.fires(app="web", n="1")
    run = await stage.run()
    await controls.approve(stage.engine, run["id"], run["plan_hash"], "ann", "go")
    await stage.settle()
    await stage.fires(app="web", n="2")
    assert await stage.states() == [("succeeded", None), ("blocked", "cooldown")]


async def test_a_step_that_failed_before_it_started_is_none_that_was_started(stage: Stage) -> None:
    """Nothing was done that would have to cool down."""
    skipped, then = "{id: a, uses: test.read, if: 1 == 2}", "{uses: test.write, with: {says: '{{ steps.a.result.x }}'}}"
    await stage.rules(rule("guard: {cooldown: 10m}", steps=f"[{skipped}, {then}]"))
    await stage.fires(app="web", n="1")
    await stage.fires(app="web", n="2")
    assert await stage.states() == [("failed", "step"), ("failed", "step")]


# -- "anything that a guard needs and can't get counts as a refusal" --


async def test_a_fact_that_can_not_be_read_is_a_refusal_and_patience_waits_for_it(stage: Stage) -> None:
    """It is read again, as long as the patience lasts."""
    text = rule("facts: [{id: load, uses: test.read}]\n    guard: {patience: 10m}")
    await stage.rules(text)
    stage.outcomes["test.read"] = [Outcome(Result.ERROR, error="no answer"), {}]
    await stage.fires(app="web")
    assert await stage.states() == [("waiting", "facts")]
    await stage.passes(120)
    assert await stage.states() == [("succeeded", None)]


async def test_without_patience_a_fact_that_can_not_be_read_blocks_at_once(stage: Stage) -> None:
    """The refusal stands."""
    await stage.rules(rule("facts: [{id: load, uses: test.read}]"))
    stage.outcomes["test.read"] = [Outcome(Result.ERROR, error="no answer"), {}]
    await stage.fires(app="web")
    await stage.passes(120)
    assert await stage.states() == [("blocked", "facts")]


async def test_a_priority_that_can_not_be_rendered_is_a_template_error(stage: Stage) -> None:
    """What is not there is an error; so is a word that is no priority."""
    await stage.rules(rule("priority: '{{ labels.urgency }}'"))
    await stage.fires(app="a")
    await stage.fires(app="b", urgency="urgent")
    await stage.fires(app="c", urgency="P0")
    assert await stage.states() == [("blocked", "template_error")] * 2 + [("succeeded", None)]
    assert "'urgent'" in (await stage.runs())[1]["because"]


async def test_the_explainer_says_so_of_a_priority_too(stage: Stage) -> None:
    """It tells what the daemon would do."""
    await stage.rules(rule("priority: '{{ labels.urgency }}'"))
    now = stage.clock.now()
    body = Notification(new_id(now), now, "hook", "{}", {}, 0, (stage.alert(app="web"),), (), b"{}")
    told = await explain(body, stage.engine.desk.rules.rules, stage.standing, now, None)
    (explained,) = told["alerts"][0]["rules"]
    assert (explained["outcome"], explained["reason"]) == ("blocked", "template_error")


async def test_a_fraction_is_the_fraction_that_the_author_wrote(stage: Stage) -> None:
    """0.29 of 100 is 29, though as floats it is a little less."""
    guard = "guard: {cooldown: 0s, blast_radius: {fraction: 0.29, of: '100', per: 1h}}"
    await stage.rules(rule(guard))
    for number in range(30):
        await stage.fires(app=f"app{number}")
    assert [state for state, _ in await stage.states()] == ["succeeded"] * 29 + ["blocked"]


# -- steps --


async def test_a_false_expectation_of_a_write_is_not_retried(stage: Stage) -> None:
    """It was done as asked, and doing it again is no way to wait for a condition."""
    step = "{uses: test.write, with: {idempotent: true}, expect: result.up, retry: {attempts: 3, backoff: 1s}}"
    await stage.rules(rule("undo: []", steps=f"[{step}]"))
    stage.outcomes["test.write"] = [{"up": False}]
    await stage.fires(app="web")
    await stage.passes(60)
    assert stage.used("test.write") == 1
    assert await stage.states() == [("failed", "step")]


async def test_alerts_that_nothing_was_heard_of_have_not_resolved(stage: Stage) -> None:
    """`when_resolved: cancel` waits for somebody who says so."""
    steps = "[{uses: test.notify}, {uses: wait, with: {for: 6h}}, {uses: test.write}]"
    await stage.rules(rule("when_resolved: cancel\n    deadline: 1d", steps=steps))
    await stage.fires(app="web")
    await stage.passes(6 * 3600 + 120)
    assert await stage.states() == [("succeeded", None)]
