"""Claims, leases, fences and waking, row by row: what each of them changes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from inspect import isawaitable
from typing import Any

import pytest
from msgspec.structs import replace
from samples import NOW, admitted, episode, event, put, run, story

from remediator.errors import StaleLease
from remediator.model.books import Ending, Question
from remediator.model.identity import id_floor
from remediator.model.run import Mode, Origin, Phase, Priority, Reason, Run, State, Step, StepState
from remediator.model.story import Story
from remediator.store.protocol import Decided, RunFilter, Store, Timer, Transaction

LATER = NOW + 500
ENDED: dict[str, Any] = {"state": State.FAILED, "ended_at": NOW}  # with a due time that no ended run has by itself
Script = Callable[[Transaction], Coroutine[Any, Any, Any]]


async def rows(store: Store) -> Mapping[str, tuple[Any, ...]]:
    """Give what claims and wakes may change, by run."""

    async def script(tx: Transaction) -> list[tuple[Any, ...]]:
        found = tx._all("SELECT id, worker, due_at, fence, state, body FROM runs")  # type: ignore[attr-defined]
        return list(await found if isawaitable(found) else found)

    return {row[0]: row[1:] for row in await store.view(script)}


async def changed(store: Store, script: Script) -> set[int]:
    """Run a script; tell which runs it has changed."""
    before = await rows(store)
    await store.transact(script)
    after = await rows(store)
    return {int(each) for each in after if after[each] != before.get(each)}


async def claimed(store: Store, worker: str = "a", limit: int = 10, **more: Any) -> list[Story]:
    """Claim what is due."""
    return list(await store.transact(lambda tx: tx.claim(worker, NOW, NOW + 60, limit, **more)))


# -- claims --


async def test_no_more_is_claimed_than_asked_for_the_most_urgent_and_longest_due_first(store: Store) -> None:
    """Over all priorities together; of some of them, if that is asked."""
    await put(
        store,
        story(1, due_at=NOW - 1),
        story(2, due_at=NOW - 2),
        story(3, priority=Priority.P1, due_at=NOW),
        story(4, priority=Priority.P0, due_at=NOW),
    )
    first = await claimed(store, limit=2, priorities=(Priority.P1, Priority.P2))
    assert [int(each.run.id) for each in first] == [3, 2]
    assert [(each.run.due_at, each.run.fence) for each in first] == [(NOW + 60, 1)] * 2
    assert [int(each.run.id) for each in await claimed(store)] == [4, 1]


async def test_a_full_hand_looks_no_further(store: Store) -> None:
    """What is left is for whoever has room."""
    await put(store, *(story(n, priority=Priority.P0) for n in (1, 2)), *(story(n) for n in (3, 4)))
    assert [int(each.run.id) for each in await claimed(store, limit=2)] == [1, 2]
    assert [int(each.run.id) for each in await claimed(store, limit=1)] == [3]


async def test_an_ended_run_is_never_claimed_whatever_its_row_says(store: Store) -> None:
    """Nor looked for."""
    await put(store, story(1, **ENDED))
    assert await claimed(store) == []
    assert await store.view(lambda tx: tx.next_due()) is None


async def test_the_next_that_is_due_is_the_earliest_of_all_runs_and_timers(store: Store) -> None:
    """Of any priority."""
    await put(store, story(1, due_at=NOW + 30), story(2, due_at=NOW + 40), story(3, due_at=None), story(4, **ENDED))
    assert await store.view(lambda tx: tx.next_due()) == NOW + 30
    await put(store, story(5, due_at=NOW + 25, priority=Priority.P0))
    assert await store.view(lambda tx: tx.next_due()) == NOW + 25
    for number, due_at in enumerate((NOW + 20, NOW + 35)):
        await store.transact(lambda tx, n=number, at=due_at: tx.set_timer(Timer(f"t{n}", at, "")))
    assert await store.view(lambda tx: tx.next_due()) == NOW + 20


# -- leases and fences --


async def test_keeping_a_run_changes_no_other(store: Store) -> None:
    """Not of the same worker, nor one that was claimed as often."""
    await put(store, story(1), story(2))
    mine, _ = await claimed(store)
    assert await changed(store, lambda tx: tx.save(mine.with_run(poll=7), "a", NOW + 90)) == {1}
    kept = (await rows(store))[run(1).id]
    assert kept[:3] == ("a", NOW + 90, 1)
    assert await changed(store, lambda tx: tx.save(mine.with_run(due_at=NOW + 5), "a", None)) == {1}
    given_up = (await rows(store))[run(1).id]
    assert given_up[:3] == (None, NOW + 5, 1)


async def test_a_target_that_a_run_has_learnt_is_kept(store: Store) -> None:
    """It is found by it from then on."""
    await put(store, story(1, target=None))
    (mine,) = await claimed(store)
    assert await store.view(lambda tx: tx.open_run("restart", "db")) is None
    await store.transact(lambda tx: tx.save(mine.with_run(target="db"), "a", None))
    found = await store.view(lambda tx: tx.open_run("restart", "db"))
    assert found is not None
    assert found.id == run(1).id


async def test_only_the_worker_that_holds_a_run_keeps_it_and_only_since_its_last_claim(store: Store) -> None:
    """Each by itself is not enough."""
    await put(store, story(1))
    (mine,) = await claimed(store)
    with pytest.raises(StaleLease, match="another worker"):
        await store.transact(lambda tx: tx.save(mine, "b", None))
    older = mine.with_run(fence=0)
    with pytest.raises(StaleLease):
        await store.transact(lambda tx: tx.save(older, "a", None))


async def test_steps_and_history_are_kept_with_the_run_and_with_a_new_one(store: Store) -> None:
    """Of the steps those that were touched."""
    steps = [Step(phase, place, 0, 1, "exec.run", None, StepState.STARTED, rung=rung) for phase, place, rung in (
        (Phase.VERIFY, 0, 0), (Phase.STEPS, 1, 0), (Phase.STEPS, 0, 0), (Phase.FACTS, 0, 1),
    )]  # fmt: skip
    new = replace(
        story(1), steps=tuple(steps), touched=frozenset(each.key for each in steps[:3]), events=(event(1, run(1).id),)
    )
    await put(store, new, replace(story(2), steps=tuple(steps), touched=frozenset({steps[0].key})))
    found = await store.view(lambda tx: tx.run(run(1).id))
    assert found is not None
    assert found.steps == (steps[2], steps[1], steps[0])
    assert [each.run for each in await store.view(lambda tx: tx.events(0, 10))] == [run(1).id]
    (mine,) = await claimed(store, limit=1)
    await store.transact(lambda tx: tx.save(mine.record(steps[3], NOW), "a", None))
    found = await store.view(lambda tx: tx.run(run(1).id))
    assert found is not None
    assert found.steps == (steps[2], steps[1], steps[0], steps[3])


async def test_renewing_changes_nothing_but_the_leases_named(store: Store) -> None:
    """Not what has ended, what another holds, or what was not named."""
    await put(store, story(1), story(2))
    await claimed(store)
    await put(store, story(3))
    await claimed(store, "b")
    assert await changed(store, lambda tx: tx.renew("a", [run(1).id, run(3).id], LATER)) == {1}
    assert (await rows(store))[run(1).id][:3] == ("a", LATER, 1)
    (held,) = [each for each in [await store.view(lambda tx: tx.run(run(2).id))] if each is not None]
    ended = held.move(State.CANCELLED, NOW)
    await store.transact(lambda tx: tx.save(ended, "a", NOW + 90))
    assert await changed(store, lambda tx: tx.renew("a", [run(2).id], LATER)) == set()


async def test_taking_over_frees_what_was_held_and_is_open(store: Store) -> None:
    """What nobody held keeps its time."""
    await put(store, story(1), story(2))
    _, second = await claimed(store)
    await store.transact(lambda tx: tx.save(second.move(State.CANCELLED, NOW), "a", NOW + 90))
    await put(store, story(3, due_at=NOW + 7))
    assert await changed(store, lambda tx: tx.take_over(LATER, "a")) == {1}
    assert (await rows(store))[run(1).id][:3] == (None, LATER, 2)


async def test_amending_changes_one_waiting_run_and_outdates_whoever_holds_it(store: Store) -> None:
    """Though it is amended by an older copy."""
    await put(store, story(1), story(2, state=State.RUNNING))
    for _ in range(2):
        await store.transact(lambda tx: tx.take_over(NOW, "a"))
        await claimed(store)
    copy = run(1, due_at=LATER, poll=9)
    assert await changed(store, lambda tx: tx.amend(copy)) == {1}
    worker, due_at, fence, _, _ = (await rows(store))[run(1).id]
    assert (worker, due_at, fence) == (None, LATER, 4)
    ahead = run(1, due_at=LATER, fence=9)
    await store.transact(lambda tx: tx.amend(ahead))
    assert (await rows(store))[run(1).id][2] == 10
    with pytest.raises(StaleLease, match="can't be amended"):
        await store.transact(lambda tx: tx.amend(run(2, state=State.RUNNING)))


# -- waking --


async def test_waking_changes_the_named_that_are_open_and_free(store: Store) -> None:
    """And no other."""
    await put(store, story(1, due_at=LATER), story(2, due_at=LATER), story(3, **{**ENDED, "due_at": None}), story(4))
    await claimed(store)
    assert await changed(store, lambda tx: tx.wake([run(n).id for n in (1, 3, 4)], NOW)) == {1}
    assert (await rows(store))[run(1).id][1] == NOW


async def test_lifting_a_control_wakes_all_that_it_may_have_held(store: Store) -> None:
    """Those that it names as their reason, what has begun, reverts, and whatever nobody else would wake."""
    await put(
        store,
        story(1, reason=Reason.PAUSED, paused_since=NOW, due_at=LATER),
        story(2, reason=Reason.BREAKER, due_at=LATER),
        story(3, reason=Reason.STORM, due_at=LATER),
        story(4, reason=Reason.BUSY, due_at=None),
        story(5, state=State.VERIFYING, due_at=LATER),
        story(6, origin=Origin.REVERT, due_at=LATER),
        story(7, reason=Reason.COOLDOWN, due_at=LATER),
        story(8, **{**ENDED, "reason": Reason.PAUSED, "due_at": None}),
        story(9, reason=Reason.PAUSED),
    )
    assert [int(each.run.id) for each in await claimed(store)] == [9]
    assert await changed(store, lambda tx: tx.wake_held(NOW)) == {1, 2, 3, 4, 5, 6}


CLOSED = run(1, state=State.SUCCEEDED, ended_at=NOW, due_at=None, lock="db")


async def waking(store: Store, *, place_free: bool = False, closed: Run = CLOSED) -> tuple[set[int], int]:
    """Let a run close; tell which runs that woke, and how many it said."""
    told: list[int] = []

    async def script(tx: Transaction) -> None:
        told.append(await tx.wake_waiting(closed, place_free, NOW))

    return await changed(store, script), told[0]


async def test_a_run_that_closes_wakes_who_waits_for_it(store: Store) -> None:
    """Those of its rule that are busy, and those that wait for any lock, if it held one."""
    await put(
        store,
        story(1, reason=Reason.BUSY, due_at=LATER),
        story(2, reason=Reason.BUSY, due_at=None),
        story(3, reason=Reason.BUSY, rule="other", due_at=None),
        story(4, reason=Reason.LOCK, rule="other", due_at=None),
        story(5, reason=Reason.PAUSED, due_at=None),
        story(6, state=State.RUNNING, reason=Reason.LOCK, due_at=None),
        story(7, **{**ENDED, "reason": Reason.LOCK, "due_at": None}),
        story(8, reason=Reason.LOCK),
        story(9, reason=Reason.MAX_RUNNING, due_at=None),
        story(10, reason=Reason.LOCK, due_at=None),
    )
    assert [int(each.run.id) for each in await claimed(store)] == [8]
    assert await waking(store, closed=replace(CLOSED, lock=None)) == ({2}, 1)
    assert await waking(store, closed=replace(CLOSED, rule="third")) == ({4, 10}, 2)


async def test_a_place_that_becomes_free_wakes_the_one_whose_turn_it_is(store: Store) -> None:
    """The most urgent, then the oldest, that nobody holds and that is not due already."""
    urgent = {"priority": Priority.P0, "reason": Reason.MAX_RUNNING}
    await put(
        store,
        story(2, reason=Reason.MAX_RUNNING, due_at=None),
        story(3, **urgent, due_at=NOW),
        story(4, **{**urgent, "reason": Reason.PAUSED}, due_at=None),
        story(5, **urgent, state=State.RUNNING, due_at=None),
        story(6, **{**urgent, **ENDED, "state": State.WAITING, "due_at": None}),
        story(7, **urgent, due_at=NOW - 1),
    )
    assert [int(each.run.id) for each in await claimed(store, limit=1)] == [7]
    await put(store, story(8, **urgent, due_at=LATER), story(9, **urgent, due_at=None))
    assert await waking(store) == (set(), 0)
    assert await waking(store, place_free=True) == ({8}, 1)
    assert await waking(store, place_free=True) == ({9}, 1)
    assert await waking(store, place_free=True) == ({2}, 1)
    assert await waking(store, place_free=True) == (set(), 0)


# -- finding --


async def test_a_run_is_open_to_alerts_till_it_begins_or_its_end_is_decided(store: Store) -> None:
    """Those that come later are for the run after it."""
    await put(
        store,
        story(1),
        story(2, ending=State.BLOCKED),
        story(3, state=State.AWAITING_APPROVAL),
        story(4, **ENDED),
        story(5, rule="other", state=State.RUNNING, admitted_at=NOW),
        story(6, drill=True),
    )

    async def begun(number: int, rule: str = "restart") -> bool | None:
        found = await store.view(lambda tx: tx.open_run(rule, f"app{number}"))
        assert found is None or (found.id, found.rule, found.target) == (run(number).id, rule, f"app{number}")
        return None if found is None else found.begun

    assert [await begun(n) for n in (1, 2, 3, 4, 5, 6)] == [False, True, False, None, None, None]
    assert await begun(5, "other") is True


async def test_a_run_comes_back_with_its_own_alert_and_as_its_row_says(store: Store) -> None:
    """Or with what stands for an alert, or not at all."""
    await put(store, story(1, due_at=LATER), story(2))
    await store.transact(lambda tx: tx.wake([run(1).id], NOW + 9))
    first, second, none = [await store.view(lambda tx, n=n: tx.run(run(n).id)) for n in (1, 2, 3)]
    assert none is None
    assert first is not None
    assert second is not None
    assert (first.alert.id, first.run.due_at, second.alert.id) == (1, NOW + 9, 2)
    given = run(4, opened_by=None, given={"app": "x"})
    await store.transact(lambda tx: tx.add([Story(given, episode(0))]))
    found = await store.view(lambda tx: tx.run(given.id))
    assert found is not None
    assert found.alert.labels == {"app": "x"}


async def test_the_revert_that_waits_is_that_of_the_rule_and_target(store: Store) -> None:
    """Another rule's, one that has begun, and a run that is none are others."""
    revert = {"origin": Origin.REVERT, "target": "app1"}
    await put(store, story(1, **revert, rule="other"), story(2, **revert, state=State.RUNNING), story(3, target="app1"))
    assert await store.view(lambda tx: tx.waiting_revert("restart", "app1", drill=False)) is None
    found = await store.view(lambda tx: tx.waiting_revert("other", "app1", drill=False))
    assert found is not None
    assert found.id == run(1).id


async def test_the_alerts_of_a_run_are_its_own(store: Store) -> None:
    """And how they stand is told of them alone: those that fire, and those that were lost."""
    await put(store, story(1), story(2))
    assert [each.id for each in await store.view(lambda tx: tx.alerts_of(run(2).id))] == [2]

    async def lose(tx: Transaction) -> None:
        changed = tx._change("UPDATE episodes SET lost = true, ended_at = 5 WHERE id = 2")  # type: ignore[attr-defined]
        assert (await changed if isawaitable(changed) else changed) == 1

    await store.transact(lose)
    first, second, none = [await store.view(lambda tx, n=n: tx.watch(run(n).id)) for n in (1, 2, 3)]
    assert (first.firing, first.first_seen, first.lost) == (1, NOW, 0)
    assert (second.firing, second.first_seen, second.lost) == (0, None, 1)
    assert (none.firing, none.first_seen, none.lost) == (0, None, 0)


async def test_healing_is_noted_on_one_run(store: Store) -> None:
    """The others go on being watched."""
    planned = {"state": State.PLANNED, "ended_at": NOW, "due_at": None, "mode": Mode.DRY_RUN}
    await put(store, story(1, **planned), story(2, **planned))
    assert await changed(store, lambda tx: tx.mark_healed(run(1, **planned, healed_at=NOW))) == {1}


async def test_runs_are_listed_by_what_is_asked(store: Store) -> None:
    """Newest first; the daemon's own notices only if they are."""
    await put(
        store,
        story(1, **{**ENDED, "due_at": None}),
        story(2),
        story(3, rule="other"),
        story(4, origin=Origin.NOTICE),
        story(5, state=State.RUNNING),
    )

    async def listed(**which: Any) -> list[int]:
        return [int(each.id) for each in await store.view(lambda tx: tx.runs(RunFilter(**which)))]

    assert await listed() == [5, 3, 2, 1]
    assert await listed(notices=True) == [5, 4, 3, 2, 1]
    assert await listed(state=State.WAITING) == [3, 2]
    assert await listed(rule="other") == [3]
    assert await listed(open_only=True) == [5, 3, 2]
    assert await listed(before=run(3).id) == [2, 1]
    assert await listed(limit=2) == [5, 3]
    first = id_floor(NOW + 60)
    await put(store, replace(story(6), run=replace(run(6), id=first)))
    assert [each.id for each in await store.view(lambda tx: tx.runs(RunFilter(since=NOW + 60)))] == [first]
    assert await listed(since=NOW + 61) == []
    counts = await store.view(lambda tx: tx.open_counts())
    assert counts == {State.WAITING: 4, State.RUNNING: 1}
    await put(store, story(8, drill=True, target="spare"))
    assert await listed(drills=True) == [8]


async def test_only_runs_that_a_storm_has_blocked_have_a_second_chance(store: Store) -> None:
    """Not one that was ended otherwise while its reason was still the storm."""
    storm = {"reason": Reason.STORM, "ended_at": NOW, "due_at": None}
    await put(store, story(1, **storm, state=State.BLOCKED), story(2, **storm, state=State.CANCELLED))
    given = await store.transact(lambda tx: tx.second_chances(NOW, 10))
    assert [each.id for _, each in given] == [1]


# -- the books --


async def test_the_line_before_a_run_is_who_is_more_urgent_or_older(store: Store) -> None:
    """For a place, in the books that it sees."""
    line = {"reason": Reason.MAX_RUNNING}
    await put(
        store,
        story(1, **line),
        story(5, **line),
        story(6, **line, priority=Priority.P1),
        story(2, **line, priority=Priority.P3),
        story(3, reason=Reason.BUSY),
        story(4, **line, state=State.RUNNING),
        story(7, **line, priority=Priority.P0, ended_at=NOW),
        story(8, **line, priority=Priority.P0, mode=Mode.DRY_RUN),
        story(9, **line, priority=Priority.P0, origin=Origin.REVERT),
    )

    async def before(number: int, **changes: Any) -> int:
        asked = Question(run(number).id, "restart", "x", **changes)
        return (await store.view(lambda tx: tx.books(asked))).in_line

    assert [await before(n) for n in (1, 2, 5)] == [1, 2, 2]
    assert await before(1, priority=Priority.P0) == 0


async def test_a_lock_is_held_by_an_open_run_in_the_books_that_see_it(store: Store) -> None:
    """By the name that is asked for."""
    await put(
        store,
        story(1, lock="db", **{**ENDED, "due_at": None}),
        story(2, lock="other"),
        story(3, lock="db", mode=Mode.DRY_RUN),
    )

    async def holder(lock: str | None) -> str | None:
        return (await store.view(lambda tx: tx.books(Question("me", "restart", "x", lock=lock)))).lock_holder

    assert [await holder(lock) for lock in ("db", "other", None)] == [None, run(2).id, None]


async def test_a_run_that_is_still_at_work_is_no_ending(store: Store) -> None:
    """However new it is."""
    at_work = {"state": State.RUNNING, "admitted_at": NOW + 50, "started_at": NOW + 50, "due_at": None}
    await put(store, admitted(1, NOW), story(2, target="app1", **at_work))
    assert (await store.view(lambda tx: tx.books(Question("me", "restart", "app1")))).last == Ending(NOW + 1, good=True)


async def test_decisions_without_a_run_belong_to_no_runs_list(store: Store) -> None:
    """An alert that was deferred has none yet."""
    await put(store, story(1))

    async def defer(tx: Transaction) -> None:
        await tx.save_episodes([episode(2)], [], [])
        await tx.add_decisions([Decided(2, "restart", None, NOW, "app1")])

    await store.transact(defer)
    assert [each.id for each in await store.view(lambda tx: tx.runs_of([1, 2]))] == [run(1).id]
    assert await store.view(lambda tx: tx.runs_of([2])) == []
