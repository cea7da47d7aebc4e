"""Steps: order, conditions, expectations, retries, loops, and what follows from an ending."""

from __future__ import annotations

import pytest
from stage import Stage

from remediator.actions.protocol import Outcome, Result

FAILED = Outcome(Result.REFUSED, error="exit status 1")
UNSENT = Outcome(Result.NOT_SENT, error="connection refused")


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


async def steps(stage: Stage) -> list[tuple[str, str, str]]:
    return [(step["phase"], step["id"] or step["uses"], step["state"]) for step in (await stage.run())["steps"]]


async def test_the_first_step_that_fails_ends_the_list(stage: Stage) -> None:
    """What comes after it is not begun."""
    await stage.rules(rule("[{id: a, uses: test.write}, {id: b, uses: test.notify}]"))
    stage.outcomes["test.write"] = [FAILED]
    await stage.fires()
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("failed", "step")
    assert "exit status 1" in run["because"]
    assert await steps(stage) == [("steps", "a", "failed")]


async def test_continue_on_error_goes_on(stage: Stage) -> None:
    """And later steps can see that it failed."""
    await stage.rules(
        rule(
            "[{id: a, uses: test.read, continue_on_error: true},"
            " {id: b, uses: test.write, if: not steps.a.ok}, {id: c, uses: test.write, if: steps.a.ok}]"
        )
    )
    stage.outcomes["test.read"] = [FAILED]
    await stage.fires()
    assert await steps(stage) == [("steps", "a", "failed"), ("steps", "b", "succeeded"), ("steps", "c", "skipped")]
    assert (await stage.run())["state"] == "succeeded"


async def test_results_of_earlier_steps_are_in_scope(stage: Stage) -> None:
    """In templates and in conditions."""
    await stage.rules(
        rule(
            "[{id: a, uses: test.read}, "
            "{uses: test.write, if: steps.a.result.free > 3, with: {says: '{{ steps.a.result.free }} free'}}]"
        )
    )
    stage.outcomes["test.read"] = [{"free": 4}]
    await stage.fires()
    assert stage.calls[-1] == ("test.write", "4 free")


async def test_expect_fails_a_step_whose_result_is_not_what_was_expected(stage: Stage) -> None:
    """The record shows what came instead."""
    await stage.rules(rule("[{uses: test.write, expect: result.code == 0}]"))
    stage.outcomes["test.write"] = [{"code": 7}]
    await stage.fires()
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("failed", "step")
    assert 'expected `result.code == 0`, and got {"code":7}' in run["because"]


async def test_retry_on_a_read_waits_for_a_condition(stage: Stage) -> None:
    """A false `expect` is tried again, each time after twice as long; no worker is held meanwhile."""
    await stage.rules(
        rule("[{id: a, uses: test.read, expect: result.ready, retry: {attempts: 4, backoff: 10s}}, {uses: test.write}]")
    )
    stage.outcomes["test.read"] = [{"ready": False}, {"ready": False}, {"ready": True}]
    await stage.fires()
    assert (stage.used("test.read"), len(stage.engine.workers.tasks)) == (1, 0)
    await stage.passes(10)
    assert stage.used("test.read") == 2
    await stage.passes(19)
    assert stage.used("test.read") == 2
    await stage.passes(1)
    run = await stage.run()
    assert (run["state"], run["steps"][0]["attempt"]) == ("succeeded", 3)


@pytest.mark.parametrize(
    ("with_", "outcome", "calls"),
    [
        ("{}", FAILED, 1),
        ("{}", Outcome(Result.ERROR, error="timed out"), 1),
        ("{}", UNSENT, 3),
        ("{idempotent: true}", FAILED, 3),
    ],
)
@pytest.mark.fault("DNS failure")
async def test_p2_a_write_is_tried_again_only_if_idempotent_or_not_sent(
    stage: Stage, with_: str, outcome: Outcome, calls: int
) -> None:
    """Anything else may have had its effect."""
    await stage.rules(rule(f"[{{uses: test.write, with: {with_}, retry: {{attempts: 3, backoff: 1s}}}}]"))
    stage.outcomes["test.write"] = [outcome]
    await stage.fires()
    await stage.passes(60)
    assert stage.used("test.write") == calls
    assert (await stage.run())["state"] == "failed"


async def test_for_each_runs_one_after_the_other_and_stops_at_the_first_failure(stage: Stage) -> None:
    """Items are taken in order."""
    await stage.rules(
        rule(
            "[{id: a, uses: test.read}, {uses: test.write, for_each: steps.a.result.pods, with: {says: '{{ item }}'}}]"
        )
    )
    stage.outcomes["test.read"] = [{"pods": ["p1", "p2", "p3"]}]
    stage.outcomes["test.write"] = [{}, FAILED]
    await stage.fires()
    assert [says for name, says in stage.calls if name == "test.write"] == ["p1", "p2"]
    assert (await stage.run())["reason"] == "step"


async def test_p5_a_list_longer_than_max_refuses_and_is_never_cut(stage: Stage) -> None:
    """Ten pods where three were meant: nothing is done."""
    await stage.rules(rule("[{id: a, uses: test.read}, {uses: test.write, for_each: steps.a.result}]"))
    stage.outcomes["test.read"] = [["p"] * 4]
    await stage.fires()
    assert stage.used("test.write") == 0
    assert "4 items and max is 3" in (await stage.run())["because"]


async def test_p5_an_empty_list_means_nothing(stage: Stage) -> None:
    """Never everything."""
    await stage.rules(rule("[{id: a, uses: test.read}, {id: b, uses: test.write, for_each: steps.a.result}]"))
    stage.outcomes["test.read"] = [[]]
    await stage.fires()
    assert await steps(stage) == [("steps", "a", "succeeded"), ("steps", "b", "skipped")]


async def test_a_for_each_over_facts_is_judged_before_anything_begins(stage: Stage) -> None:
    """The plan is rendered at admission: too long a list refuses the run."""
    text = rule("[{uses: test.notify}, {uses: test.write, for_each: facts.pods}]")
    await stage.rules(text.replace("    target:", "    facts: [{id: pods, uses: test.read}]\n    target:"))
    stage.outcomes["test.read"] = [["p"] * 4]
    await stage.fires()
    assert await stage.states() == [("blocked", "template_error")]
    assert stage.used("test.notify") == 0


async def test_wait_lets_time_pass_and_holds_no_worker(stage: Stage) -> None:
    """A timer is a row whose time will come."""
    await stage.rules(rule("[{uses: test.notify}, {uses: wait, with: {for: 90s}}, {uses: test.write}]"))
    await stage.fires()
    assert len(stage.engine.workers.tasks) == 0
    await stage.passes(89)
    assert stage.used("test.write") == 0
    await stage.passes(1)
    assert (await stage.run())["state"] == "succeeded"


async def test_undo_and_on_failure_follow_a_failure_after_a_write_has_started(stage: Stage) -> None:
    """In that order, before the run closes."""
    more = "undo: [{uses: test.undo}]\n    on_failure: [{uses: test.notify, with: {says: help}}]"
    await stage.rules(rule("[{uses: test.write}, {uses: test.read, expect: result.good}]", more))
    stage.outcomes["test.read"] = [{"good": False}]
    await stage.fires()
    assert [name for name, _ in stage.calls] == ["test.write", "test.read", "test.undo", "test.notify"]
    assert await stage.states() == [("failed", "step")]


async def test_undo_does_not_follow_when_no_write_has_started(stage: Stage) -> None:
    """There is nothing to take back."""
    more = "undo: [{uses: test.undo}]\n    on_failure: [{uses: test.notify}]"
    await stage.rules(rule("[{uses: test.read, expect: result.good}, {uses: test.write}]", more))
    stage.outcomes["test.read"] = [{"good": False}]
    await stage.fires()
    assert [name for name, _ in stage.calls] == ["test.read", "test.notify"]


async def test_a_failing_undo_still_tells_somebody(stage: Stage) -> None:
    """And the run's reason stays the first one."""
    more = "undo: [{uses: test.undo}, {uses: test.undo}]\n    on_failure: [{uses: test.notify}]"
    await stage.rules(rule("[{uses: test.write}]", more))
    stage.outcomes["test.write"] = [FAILED]
    stage.outcomes["test.undo"] = [FAILED]
    await stage.fires()
    assert [name for name, _ in stage.calls] == ["test.write", "test.undo", "test.notify"]
    assert await stage.states() == [("failed", "step")]


async def test_on_success_follows_a_success(stage: Stage) -> None:
    """A notice that can't be sent doesn't change what has been achieved."""
    await stage.rules(rule("[{uses: test.write}]", "on_success: [{uses: test.notify}]"))
    stage.outcomes["test.notify"] = [FAILED]
    await stage.fires()
    assert await stage.states() == [("succeeded", None)]
    assert stage.used("test.notify") == 1


async def test_the_deadline_ends_a_run_that_takes_too_long(stage: Stage) -> None:
    """It fails, and what follows a failure follows."""
    more = "deadline: 5m\n    undo: [{uses: test.undo}]\n    on_failure: [{uses: test.notify}]"
    await stage.rules(rule("[{uses: test.write}, {uses: wait, with: {for: 10m}}, {uses: test.write}]", more))
    await stage.fires()
    await stage.passes(601)
    assert await stage.states() == [("failed", "deadline")]
    assert [name for name, _ in stage.calls] == ["test.write", "test.undo", "test.notify"]


async def test_when_resolved_cancel_stops_before_the_next_step(stage: Stage) -> None:
    """The alerts are gone: what is left is not done."""
    await stage.rules(
        rule("[{uses: test.notify}, {uses: wait, with: {for: 5m}}, {uses: test.write}]", "when_resolved: cancel")
    )
    await stage.fires()
    await stage.resolves()
    assert await stage.states() == [("cancelled", "resolved")]
    assert stage.used("test.write") == 0


async def test_when_resolved_finish_goes_on(stage: Stage) -> None:
    """The default: half a remediation may be worse than none."""
    await stage.rules(rule("[{uses: test.notify}, {uses: wait, with: {for: 5m}}, {uses: test.write}]"))
    await stage.fires()
    await stage.resolves()
    await stage.passes(300)
    assert await stage.states() == [("succeeded", None)]


async def test_an_action_that_raises_fails_its_step_and_nothing_else(stage: Stage) -> None:
    """The defect is its author's; the daemon goes on."""

    class Defect(Exception):
        pass

    async def act(name: str, params: object) -> Outcome:
        raise Defect

    await stage.rules(rule("[{uses: test.write}]"))
    stage.act = act  # type: ignore[method-assign,assignment]
    await stage.fires()
    run = await stage.run()
    assert (run["state"], run["reason"]) == ("failed", "step")
    assert "raised Defect" in run["because"]


async def test_the_plan_is_on_the_run_with_its_hash(stage: Stage) -> None:
    """What only an earlier step can tell stands as `<from STEP>`."""
    await stage.rules(
        rule("[{id: a, uses: test.read}, {id: b, uses: test.write, with: {says: 'n={{ steps.a.result.n }}'}}]")
    )
    stage.outcomes["test.read"] = [{"n": 1}]
    await stage.fires()
    run = await stage.run()
    assert [step["parameters"] for step in run["plan"]] == [{}, {"says": "<from a>"}]
    assert len(run["plan_hash"]) == 64
