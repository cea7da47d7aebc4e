"""A notification that could not be sent is kept, and sent later: in order, across restarts, and told by another way meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from simulation.shared import SteppedStore
from stage import Stage, ok, stage_in

from remediator.actions.protocol import Outcome, Result
from remediator.model.run import EventKind
from remediator.rules.compile import check_rule
from remediator.rules.rule import Rule

RULES = """
rules:
  - name: mend
    summary: Mend what is down.
    match: '{alertname="Down"}'
    target: 'app/{{ labels.app }}'
    guard: {cooldown: 0s}
    MORE
    steps: [{uses: test.write}]
    on_success:
      - {uses: test.notify, with: {says: '{{ labels.app }}', WITH}}
      - {uses: test.read, with: {says: after}}
"""


@pytest.fixture(params=["sqlite", "postgres"])
async def stage(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """A started stage without rules, over each kind of store."""
    async with stage_in(tmp_path, SteppedStore() if request.param == "postgres" else None) as started:
        yield started


AWAY = Outcome(Result.NOT_SENT, error="nobody listens")
LOST = Outcome(Result.ERROR, error="no answer")


def rules(with_: str = "", more: str = "") -> str:
    return RULES.replace(", WITH", f", {with_}" if with_ else "").replace("MORE", more)


def sent(stage: Stage) -> list[str]:
    return [says for name, says in stage.calls if name == "test.notify"]


async def waiting(stage: Stage) -> list[str]:
    return [each.message.says for each in await stage.store.view(lambda tx: tx.messages(10))]


async def history(stage: Stage) -> list[dict[str, Any]]:
    events = await stage.store.view(lambda tx: tx.events(0, 1000))
    return [dict(each.data) for each in events if each.kind == EventKind.DELIVERED]


@pytest.mark.fault("pager down", store="sqlite")
@pytest.mark.fault("pager down", store="postgres")
async def test_what_could_not_be_sent_is_sent_when_it_can_be(stage: Stage) -> None:
    """The run goes on meanwhile, and says so of its step."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [AWAY, AWAY, ok()]
    await stage.fires(app="a")
    run = await stage.run()
    assert run["state"] == "succeeded"
    notify, after = run["steps"][-2:]
    assert (notify["state"], after["state"]) == ("failed", "succeeded")
    assert notify["error"] == "nobody listens; it is kept, and sent when that is possible"
    assert await waiting(stage) == ["test.notify a"]
    await stage.passes(5)
    assert sent(stage) == ["a", "a"]
    await stage.passes(10)
    assert sent(stage) == ["a", "a", "a"]
    await stage.passes(3600)
    assert sent(stage) == ["a", "a", "a"]
    assert await waiting(stage) == []
    assert await history(stage) == [{"uses": "test.notify", "rule": "mend", "sent": True, "error": None}]


async def test_messages_of_one_channel_keep_their_order(stage: Stage) -> None:
    """Those that come later wait their turn, and don't try the channel that is known to be away."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [AWAY, ok()]
    for app in "abc":
        await stage.fires(app=app)
    assert sent(stage) == ["a"]
    assert await waiting(stage) == ["test.notify a", "test.notify b", "test.notify c"]
    await stage.passes(30)
    assert sent(stage) == ["a", "a", "b", "c"]


@pytest.mark.fault("pager down", store="sqlite")
@pytest.mark.fault("pager down", store="postgres")
async def test_it_survives_a_crash(stage: Stage) -> None:
    """Kept is kept."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [AWAY, ok()]
    await stage.fires(app="a")
    await stage.crash()
    await stage.passes(10)
    assert sent(stage) == ["a", "a"]
    assert await waiting(stage) == []


async def test_p2_what_may_have_been_sent_is_not_sent_again(stage: Stage) -> None:
    """Where sending it twice is not the same as once; it failed, and that is all there is to say."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [LOST, ok()]
    await stage.fires(app="a")
    await stage.passes(3600)
    assert sent(stage) == ["a"]
    assert await waiting(stage) == []


async def test_what_may_be_repeated_is_sent_again_though_it_may_have_arrived(stage: Stage) -> None:
    """As with a pager that joins repeats by a key."""
    await stage.rules(rules("idempotent: true"))
    stage.outcomes["test.notify"] = [LOST, LOST, ok()]
    await stage.fires(app="a")
    await stage.passes(60)
    assert sent(stage) == ["a", "a", "a"]


async def test_p2_a_crash_while_it_is_being_sent_gives_it_up_unless_it_may_be_repeated(stage: Stage) -> None:
    """Nobody knows whether it arrived."""
    import asyncio

    for with_, times in (("", 2), ("idempotent: true", 3)):
        stage.calls.clear()
        await stage.rules(rules(with_))
        stage.outcomes["test.notify"] = [AWAY, ok()]
        await stage.fires(app=with_ or "a")
        stage.blocked["test.notify"] = asyncio.Event()
        await stage.passes(5)
        assert len(sent(stage)) == 2
        await stage.crash()
        del stage.blocked["test.notify"]
        await stage.passes(120)
        assert len(sent(stage)) == times
        assert await waiting(stage) == []


@pytest.mark.parametrize("still", [59.0, 3600.0])
async def test_p3_a_message_is_not_sent_once_its_claim_has_run_out(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, still: float
) -> None:
    """Another daemon may have given it up by then, or sent it; it is tried again by whoever has it."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [AWAY, ok()]
    await stage.fires(app="a")
    claim = stage.engine.delivery._claim

    async def slowly() -> Any:
        monkeypatch.undo()
        claimed = await claim()
        stage.clock.time += still
        return claimed

    monkeypatch.setattr(stage.engine.delivery, "_claim", slowly)
    await stage.passes(5 + still)
    assert sent(stage) == ["a"]
    assert await waiting(stage) == ["test.notify a"]
    await stage.passes(120)
    assert sent(stage) == ["a", "a"]
    assert await waiting(stage) == []


async def test_what_a_platform_refuses_is_given_up(stage: Stage) -> None:
    """It would be refused again; the history says so."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [AWAY, Outcome(Result.REFUSED, error="no such channel")]
    await stage.fires(app="a")
    await stage.passes(600)
    assert sent(stage) == ["a", "a"]
    assert await history(stage) == [{"uses": "test.notify", "rule": "mend", "sent": False, "error": "no such channel"}]


async def test_what_is_a_day_old_wakes_nobody(stage: Stage) -> None:
    """A page of yesterday is for what is over."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [AWAY]
    await stage.fires(app="a")
    await stage.passes(25 * 3600)
    assert await waiting(stage) == []
    tried = len(sent(stage))
    assert tried > 100
    assert "could not be sent for 1d" in str((await history(stage))[0]["error"])
    await stage.passes(3600)
    assert len(sent(stage)) == tried


async def test_a_platform_that_asks_for_a_pause_gets_it(stage: Stage) -> None:
    """`Retry-After`, where it is longer than ours."""
    await stage.rules(rules())
    stage.outcomes["test.notify"] = [Outcome(Result.NOT_SENT, error="too often", retry_after=90.0), ok()]
    await stage.fires(app="a")
    await stage.passes(89)
    assert sent(stage) == ["a"]
    await stage.passes(2)
    assert sent(stage) == ["a", "a"]


async def test_retries_of_the_step_come_first(stage: Stage) -> None:
    """What they get through is never in the outbox."""
    text = rules().replace(
        "{says: '{{ labels.app }}'}}", "{says: '{{ labels.app }}'}, retry: {attempts: 3, backoff: 1s}}"
    )
    await stage.rules(text)
    stage.outcomes["test.notify"] = [AWAY, AWAY, ok()]
    await stage.fires(app="a")
    assert await waiting(stage) == []
    await stage.passes(4)
    assert sent(stage) == ["a", "a", "a"]
    assert (await stage.run())["steps"][-2]["state"] == "succeeded"


def second(stage: Stage) -> Rule:
    steps = [{"uses": "test.read", "with": {"says": "{{ notice.text }}"}}]
    definition = {"name": "second-notices", "summary": "x", "match": "all", "target": "x", "steps": steps, "vars": {}}
    rule, faults = check_rule(definition, stage.catalog, None)
    assert rule is not None, faults
    return rule


@pytest.mark.fault("pager down", store="sqlite")
@pytest.mark.fault("pager down", store="postgres")
async def test_past_a_span_another_channel_is_told_once(stage: Stage) -> None:
    """Of what, by which rule; the message is still sent when it can be."""
    await stage.rules(rules(), second=second(stage), second_after=300.0)
    stage.outcomes["test.notify"] = [AWAY]
    await stage.fires(app="a")
    await stage.passes(299)
    told = [says for name, says in stage.calls if name == "test.read" and says != "after"]
    assert told == []
    await stage.passes(3600)
    told = [says for name, says in stage.calls if name == "test.read" and says != "after"]
    assert told == ["test.notify of mend could not be sent: test.notify a"]
    stage.outcomes["test.notify"] = [ok()]
    await stage.passes(300)
    assert await waiting(stage) == []


async def test_of_a_confidential_rule_the_other_channel_learns_only_that_there_is_something(stage: Stage) -> None:
    """What it says is not for everyone."""
    await stage.rules(rules(more="confidential: true"), second=second(stage), second_after=60.0)
    stage.outcomes["test.notify"] = [AWAY]
    await stage.fires(app="a")
    await stage.passes(120)
    told = [says for name, says in stage.calls if name == "test.read" and says != "after"]
    assert told == ["test.notify of mend could not be sent: a confidential message"]
