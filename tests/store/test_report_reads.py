"""What a report reads, and the timer by which it is due."""

from __future__ import annotations

from msgspec.structs import replace
from samples import NOW, admitted, episode, story
from samples import put as put_with_alerts

from remediator.model.run import Phase, State, Step, StepState
from remediator.model.story import Story
from remediator.store.protocol import REPORT_TIMER, Decided, RunFilter, Store, Timer, Transaction


async def put(store: Store, *stories: Story) -> None:
    await store.transact(lambda tx: tx.add(stories))


async def test_runs_are_given_by_when_they_ended(store: Store) -> None:
    """Whenever they were opened; those that are open have not."""
    blocked = story(4, state=State.BLOCKED, ended_at=NOW + 10, due_at=None)
    await put(store, admitted(1, NOW - 60), admitted(2, NOW - 1), story(3), blocked)
    found = await store.view(lambda tx: tx.runs(RunFilter(ended_since=NOW)))
    assert [run.target for run in found] == ["app4", "app2"]
    assert await store.view(lambda tx: tx.runs(RunFilter(ended_since=NOW, open_only=True))) == []


def step(phase: Phase, position: int = 0, *, rung: int = 0) -> Step:
    return Step(
        phase, position, 0, 1, "exec.run", None, StepState.FAILED, NOW, NOW + 1, result={"stdout": "much"}, error="no",
        parameters={"argv": ["x"]}, rung=rung,
    )  # fmt: skip


async def test_what_runs_did_is_given_by_run_in_its_order_without_results(store: Store) -> None:
    """Of the phases and runs that are asked for: a result may be large, and a report is about many runs."""
    steps = (step(Phase.STEPS, 1), step(Phase.STEPS), step(Phase.STEPS, rung=1), step(Phase.UNDO), step(Phase.FACTS))
    stories = [
        replace(each, steps=steps, touched=frozenset(step.key for step in steps))
        for each in (admitted(1, NOW), admitted(2, NOW))
    ]
    await put(store, *stories, admitted(3, NOW))
    asked = [each.run.id for each in (stories[0], admitted(3, NOW))]
    found = await store.view(lambda tx: tx.steps_of(asked, (Phase.STEPS, Phase.UNDO)))
    expected = [step(Phase.STEPS), step(Phase.STEPS, 1), step(Phase.UNDO), step(Phase.STEPS, rung=1)]
    assert found == {asked[0]: [replace(each, result=None) for each in expected]}


async def test_when_runs_had_healed_is_when_the_last_of_their_alerts_resolved(store: Store) -> None:
    """None of them may fire still, or have been lost; only those that are asked for are given."""
    begun = [story(number) for number in range(1, 5)]
    more = [episode(number) for number in (11, 12, 13)]
    await put_with_alerts(store, *begun)

    async def joined(tx: Transaction) -> None:
        await tx.save_episodes(more, [], [])
        await tx.add_decisions(
            [Decided(alert.id, "restart", each.run.id, NOW) for alert, each in zip(more, begun, strict=False)]
        )
        await tx.save_episodes([], [], [(1, NOW + 5), (11, NOW + 9), (2, NOW + 5), (3, NOW + 5), (4, NOW + 7)])
        await tx.save_episodes([], [(12, NOW + 60)], [])
        assert [each.id for each in await tx.lose(NOW + 30, NOW + 90)] == [13]

    await store.transact(joined)
    asked = [each.run.id for each in begun[:3]]
    assert await store.view(lambda tx: tx.resolved_at(asked)) == {begun[0].run.id: NOW + 9}


async def test_the_timer_of_the_report_wakes_nobody(store: Store) -> None:
    """It is the app's; all others do."""
    await store.transact(lambda tx: tx.set_timer(Timer(REPORT_TIMER, NOW, "")))
    assert await store.view(lambda tx: tx.next_due()) is None
    await store.transact(lambda tx: tx.set_timer(Timer("storm", NOW + 5, "")))
    assert await store.view(lambda tx: tx.next_due()) == NOW + 5
