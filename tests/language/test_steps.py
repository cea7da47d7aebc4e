"""Every key of a step, and of its `retry`."""

from __future__ import annotations

import pytest
from language.writing import Load, faults, file, only, rule, says
from stage import Stage

from remediator.actions.protocol import Outcome, Result

NO = Outcome(Result.REFUSED, error="no")


def steps(*written: str) -> str:
    return file(rule(steps="[" + ", ".join(f"{{{each}}}" for each in written) + "]"))


async def test_step_id(stage: Stage, load: Load) -> None:
    """The name by which later steps read its result."""
    await stage.rules(steps("id: look, uses: test.read", "uses: test.write, with: {says: '{{ steps.look.result.n }}'}"))
    stage.outcomes["test.read"] = [{"n": "seven"}]
    await stage.fires(app="web")
    assert says(stage) == ["seven"]
    assert faults(load(steps("id: a-b, uses: test.read"))) == [("steps[0].id", "bad-value")]
    assert faults(load(steps("id: a, uses: test.read", "id: a, uses: test.read"))) == [("steps[1].id", "duplicate-id")]


def test_step_uses(load: Load) -> None:
    """Required: an action of the catalog; a wrong one has the nearest beside it."""
    assert only(load(steps("uses: test.read"))).rungs[0].steps[0].action.name == "test.read"
    loaded = load(steps("uses: exec.rum, with: {argv: [true]}"))
    assert faults(loaded) == [("steps[0].uses", "unknown-action")]
    assert "exec.run" in loaded.problems[0].message
    assert faults(load(steps("with: {says: x}"))) == [("steps[0].uses", "missing-key")]


async def test_step_with(stage: Stage, load: Load) -> None:
    """The action's parameters: templates, checked by its own model when the file is loaded and when they are rendered."""
    await stage.rules(steps("uses: test.write, with: {says: 'on {{ target }}', number: '{{ labels.n | int }}'}"))
    await stage.fires(app="web", n="7")
    await stage.fires(app="db", n="many")
    assert says(stage) == ["on app/web"]
    assert (await stage.states())[1] == ("blocked", "template_error")
    assert faults(load(steps("uses: test.write, with: {number: many}"))) == [("steps[0].with.number", "bad-parameter")]
    assert faults(load(steps("uses: test.write, with: {colour: red}"))) == [("steps[0].with.colour", "bad-parameter")]


async def test_step_if(stage: Stage) -> None:
    """The step is skipped where it is false; what it speaks of has to be there."""
    await stage.rules(
        steps("uses: test.notify, if: labels.app == 'web'", "uses: test.write", "uses: test.undo, if: labels.none == 1")
    )
    await stage.fires(app="db")
    assert [name for name, _ in stage.calls] == []
    assert await stage.states() == [("blocked", "template_error")]
    await stage.rules(steps("uses: test.notify, if: labels.app == 'web'", "uses: test.write"))
    await stage.fires(app="db", n="2")
    assert [name for name, _ in stage.calls] == ["test.write"]


async def test_step_expect(stage: Stage) -> None:
    """Over `result`, of this very step: it fails where that is false."""
    await stage.rules(steps("uses: test.read, expect: result.n > 1", "uses: test.write"))
    stage.outcomes["test.read"] = [{"n": 1}, {"n": 2}, {}]
    for app in "abc":
        await stage.fires(app=app)
    assert await stage.states() == [("failed", "step"), ("succeeded", None), ("failed", "step")]


def test_step_timeout(load: Load) -> None:
    """A duration, 60s by default: the longest that one try may take."""
    assert only(load(steps("uses: test.read"))).rungs[0].steps[0].timeout == 60.0
    assert only(load(steps("uses: test.read, timeout: 5m"))).rungs[0].steps[0].timeout == 300.0
    assert faults(load(steps("uses: test.read, timeout: 0s"))) == [("steps[0].timeout", "bad-value")]


@pytest.mark.parametrize(
    ("step", "outcome", "calls"),
    [
        ("uses: test.write", NO, 1),
        ("uses: test.write", Outcome(Result.NOT_SENT, error="no way"), 3),
        ("uses: test.write, with: {idempotent: true}", NO, 3),
        ("uses: test.write, with: {idempotent: true}, expect: result.up", {"up": False}, 1),
        ("uses: test.read, expect: result.up", {"up": False}, 3),
    ],
)
async def test_step_retry(stage: Stage, step: str, outcome: object, calls: int) -> None:
    """Where it may be repeated, or nothing was sent; on a read, and no other, it also retries a false `expect`."""
    await stage.rules(steps(f"{step}, retry: {{attempts: 3, backoff: 1s}}"))
    stage.outcomes["test.write"] = stage.outcomes["test.read"] = [outcome]
    await stage.fires(app="web")
    await stage.passes(10)
    assert len(stage.calls) == calls


async def test_retry_attempts(stage: Stage, load: Load) -> None:
    """Required: tries in all."""
    await stage.rules(steps("uses: test.read, retry: {attempts: 2}"))
    stage.outcomes["test.read"] = [NO]
    await stage.fires(app="web")
    await stage.passes(60)
    assert stage.used("test.read") == 2
    assert faults(load(steps("uses: test.read, retry: {}"))) == [("steps[0].retry.attempts", "missing-key")]


async def test_retry_backoff(stage: Stage, load: Load) -> None:
    """The wait after the first failure, twice as long after each next; 1s by default."""
    await stage.rules(steps("uses: test.read, retry: {attempts: 3, backoff: 10s}"))
    stage.outcomes["test.read"] = [NO]
    await stage.fires(app="web")
    used = []
    for seconds in (9, 1, 19, 1):
        await stage.passes(seconds)
        used.append(stage.used("test.read"))
    assert used == [1, 2, 2, 3]
    retry = only(load(steps("uses: test.read, retry: {attempts: 3}"))).rungs[0].steps[0].retry
    assert retry is not None
    assert retry.backoff == 1.0


async def test_step_for_each(stage: Stage) -> None:
    """For each `item` of a list, one after the other; the first failure stops it."""
    await stage.rules(steps("uses: test.write, for_each: labels.hosts | split, with: {says: '{{ item }}'}"))
    stage.outcomes["test.write"] = [{}, NO, {}]
    await stage.fires(app="web", hosts="a b c")
    assert says(stage) == ["a", "b"]
    assert await stage.states() == [("failed", "step")]


async def test_step_max(stage: Stage, load: Load) -> None:
    """3 by default: a longer list refuses, it is never cut."""
    loop = "uses: test.write, for_each: labels.hosts | split"
    await stage.rules(steps(loop))
    await stage.fires(app="web", hosts="a b c d")
    assert (stage.calls, await stage.states()) == ([], [("blocked", "template_error")])
    await stage.rules(steps(f"{loop}, max: 4"))
    await stage.fires(app="db", hosts="a b c d")
    assert stage.used("test.write") == 4
    assert only(load(steps(loop))).rungs[0].steps[0].max == 3


async def test_step_continue_on_error(stage: Stage, load: Load) -> None:
    """Go on with the next step when this one fails; false by default."""
    await stage.rules(steps("id: a, uses: test.write, continue_on_error: true", "uses: test.undo, if: not steps.a.ok"))
    stage.outcomes["test.write"] = [NO]
    await stage.fires(app="web")
    assert [name for name, _ in stage.calls] == ["test.write", "test.undo"]
    assert await stage.states() == [("succeeded", None)]
    assert only(load(steps("uses: test.read"))).rungs[0].steps[0].continue_on_error is False
