"""What a report reads, and the timer by which it is due."""

from __future__ import annotations

from samples import NOW, admitted, story

from remediator.model.run import State
from remediator.model.story import Story
from remediator.store.protocol import REPORT_TIMER, RunFilter, Store, Timer


async def put(store: Store, *stories: Story) -> None:
    await store.transact(lambda tx: tx.add(stories))


async def test_runs_are_given_by_when_they_ended(store: Store) -> None:
    """Whenever they were opened; those that are open have not."""
    blocked = story(4, state=State.BLOCKED, ended_at=NOW + 10, due_at=None)
    await put(store, admitted(1, NOW - 60), admitted(2, NOW - 1), story(3), blocked)
    found = await store.view(lambda tx: tx.runs(RunFilter(ended_since=NOW)))
    assert [run.target for run in found] == ["app4", "app2"]
    assert await store.view(lambda tx: tx.runs(RunFilter(ended_since=NOW, open_only=True))) == []


async def test_the_timer_of_the_report_wakes_nobody(store: Store) -> None:
    """It is the app's; all others do."""
    await store.transact(lambda tx: tx.set_timer(Timer(REPORT_TIMER, NOW, "")))
    assert await store.view(lambda tx: tx.next_due()) is None
    await store.transact(lambda tx: tx.set_timer(Timer("storm", NOW + 5, "")))
    assert await store.view(lambda tx: tx.next_due()) == NOW + 5
