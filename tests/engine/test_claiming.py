"""The script by which a worker leases what is due, by itself: over a store in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
from samples import NOW, put, run, story
from stage import Stage

from remediator.engine.calling import Caller
from remediator.engine.desk import Desk
from remediator.engine.workers import Workers
from remediator.model.run import Priority
from remediator.review.stubs import StubbedSecrets
from remediator.rules.load import load_rules
from remediator.rules.standing import Standing
from remediator.store.protocol import Store, Timer
from remediator.store.sqlite import open_memory

LEASE = 60.0
SCHEDULED = """
rules:
  - name: tidy
    summary: Tidy up.
    schedule: '* * * * *'
    target: disk
    steps: [{uses: test.read}]
"""


class Clock:
    """Stands still."""

    def __init__(self, time: float) -> None:
        self.time = time

    def now(self) -> float:
        return self.time

    async def wait(self, event: asyncio.Event, seconds: float) -> None:
        raise AssertionError("a script waits for nothing")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """An empty store."""
    opened: Store = open_memory()
    yield opened
    await opened.close()


def workers_of(store: Store, folder: Path, rules: str = "") -> Workers:
    """Make the workers of a daemon that is called `me`."""
    catalog = Stage(folder).catalog
    desk = Desk(catalog, "me")
    if rules:
        (folder / "rules.yml").write_text(rules)
        loaded = load_rules([folder / "rules.yml"], catalog, vars={})
        assert loaded.ok
        desk.put(loaded.rules, Standing(lease=LEASE), {}, NOW)
    else:
        desk.put(desk.rules, Standing(lease=LEASE), {}, NOW)
    return Workers(store, Clock(NOW), desk, Caller(desk, StubbedSecrets()), lambda: None)


async def claim(workers: Workers, store: Store, now: float = NOW) -> tuple[list[int], float | None]:
    """Run the script; tell which runs it gave, and what is due next."""
    workers._clock = Clock(now)
    stories, due, _ = await store.transact(workers._claim_script)
    return [int(each.run.id) for each in stories], due


def busy(workers: Workers, number: int) -> None:
    """Have so many runs in hand."""
    workers.tasks = cast("set[asyncio.Task[None]]", set(range(number)))


async def test_what_is_due_is_leased_and_what_is_not_is_only_told(store: Store, tmp_path: Path) -> None:
    """To this worker, for the lease that is in force."""
    workers = workers_of(store, tmp_path)
    assert await claim(workers, store) == ([], None)
    await put(store, story(1, due_at=NOW + 5))
    assert await claim(workers, store) == ([], NOW + 5)
    assert await claim(workers, store, NOW + 5) == ([1], NOW + 5 + LEASE)
    (held,) = [await store.view(lambda tx: tx.run(run(1).id))]
    assert held is not None
    assert (held.run.due_at, held.run.fence) == (NOW + 5 + LEASE, 1)
    await store.transact(lambda tx: tx.save(held, "me", None))


@pytest.mark.parametrize(
    ("in_hand", "urgent", "others"),
    [(0, 10, 86), (84, 10, 2), (85, 10, 1), (86, 10, 0), (95, 10, 0), (120, 8, 0), (128, 0, 0), (130, 0, 0)],
)
async def test_room_is_kept_free_for_urgent_work(
    store: Store, tmp_path: Path, in_hand: int, urgent: int, others: int
) -> None:
    """Slow work of less weight fills no more than what is beyond that."""
    workers = workers_of(store, tmp_path)
    priorities = [Priority.P0] * 5 + [Priority.P1] * 5 + [Priority.P2] * 90 + [Priority.P3] * 30
    await put(store, *(story(n, priority=each) for n, each in enumerate(priorities, 1)))
    busy(workers, in_hand)
    given, _ = await claim(workers, store)
    assert given == list(range(1, urgent + 1)) + list(range(11, 11 + others))


async def test_leases_that_are_half_over_are_renewed_before_anything_is_claimed(store: Store, tmp_path: Path) -> None:
    """So that a worker that was kept busy never claims from itself; those that are young need nothing."""
    workers = workers_of(store, tmp_path)
    await put(store, story(1), story(2, due_at=NOW + 600))
    assert await claim(workers, store) == ([1], NOW + LEASE)
    workers._in_hand = {run(1).id}
    assert await claim(workers, store, NOW + LEASE / 2) == ([], NOW + LEASE)
    late = NOW + LEASE / 2 + 1
    assert await claim(workers, store, late) == ([], late + LEASE)
    assert await claim(workers, store, late + LEASE / 2) == ([], late + LEASE)
    after = late + LEASE + 1
    assert await claim(workers, store, after) == ([], after + LEASE)
    workers._in_hand = set()
    assert await claim(workers, store, after + LEASE) == ([1], after + 2 * LEASE)


async def test_schedules_whose_time_has_come_are_begun_with_what_is_due(store: Store, tmp_path: Path) -> None:
    """In the same transaction, and leased in it."""
    workers = workers_of(store, tmp_path, SCHEDULED)
    await store.transact(lambda tx: tx.set_timer(Timer("schedule:tidy", NOW, "* * * * *")))
    stories, due, taken = await store.transact(workers._claim_script)
    assert [each.run.rule for each in stories] == ["tidy"]
    assert due is not None
    assert NOW < due <= NOW + 60
    assert [each.run.rule for each in taken.stories] == ["tidy"]
    assert not taken.begin, "what is proposed here is claimed here, and not begun a second time"
