"""What every store promises of alerts and runs: the suite runs over each of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from samples import NOW, episode, event, put, run, story

from remediator.errors import StaleLease, StoreError
from remediator.model.alert import Episode
from remediator.model.run import (
    Mode,
    Origin,
    Phase,
    Priority,
    Reason,
    State,
    Step,
    StepState,
)
from remediator.model.story import Story
from remediator.store.protocol import Decided, Store, Transaction


async def test_the_newest_episode_of_a_fingerprint_is_given_as_it_was_kept(store: Store) -> None:
    """Everything that an episode was told with comes back."""
    first, second = episode(1, ended_at=NOW), episode(2, fingerprint=f"{1:016x}")
    await store.transact(lambda tx: tx.save_episodes([first, second, episode(3)], [], []))
    assert await store.view(lambda tx: tx.episodes({first.fingerprint})) == {first.fingerprint: second}


async def test_episodes_are_closed_and_noted_as_heard_of_in_bulk(store: Store) -> None:
    """One call changes many."""
    await store.transact(lambda tx: tx.save_episodes([episode(n) for n in range(1, 200)], [], []))
    await store.transact(lambda tx: tx.save_episodes([], [(1, NOW + 60)], [(2, NOW + 5), (3, NOW + 6)]))
    firing = await store.view(lambda tx: tx.firing("Down"))
    assert len(firing) == 197
    assert firing[0].last_seen == NOW + 60
    assert await store.view(lambda tx: tx.firing("Other")) == []


async def test_one_fingerprint_has_one_open_episode_by_constraint(store: Store) -> None:
    """The database refuses a second one, whatever the code believes."""
    await store.transact(lambda tx: tx.save_episodes([episode(1)], [], []))
    with pytest.raises(StoreError):
        await store.transact(lambda tx: tx.save_episodes([episode(2, fingerprint=f"{1:016x}")], [], []))


async def test_an_alert_may_resolve_and_fire_anew_in_one_transaction(store: Store) -> None:
    """What is closed is closed before anything opens: two notifications of it may be kept in one commit."""
    await store.transact(lambda tx: tx.save_episodes([episode(1)], [], []))
    await store.transact(lambda tx: tx.save_episodes([episode(2, fingerprint=f"{1:016x}")], [], [(1, NOW + 5)]))
    assert [each.id for each in await store.view(lambda tx: tx.firing())] == [2]


async def test_one_rule_and_target_have_one_open_run_by_constraint(store: Store) -> None:
    """The database refuses a second one, whatever the code believes."""
    await put(store, story(1))
    with pytest.raises(StoreError):
        await store.transact(lambda tx: tx.add([story(2, target="app1")]))
    await store.transact(lambda tx: tx.add([story(3, target="app1", rule="other")]))
    await store.transact(lambda tx: tx.add([story(4, target="app1", origin=Origin.REVERT)]))
    await store.transact(lambda tx: tx.add([story(n, target="app1", origin=Origin.NOTICE) for n in (5, 6)]))


async def test_a_drill_may_be_open_beside_the_run_that_is_in_earnest(store: Store) -> None:
    """And there is one of each, by constraint; a dry run is no drill."""
    await put(store, story(1), story(2, target="app1", drill=True))
    for changes in ({"drill": True}, {"mode": Mode.DRY_RUN}):
        with pytest.raises(StoreError):
            await store.transact(lambda tx, changes=changes: tx.add([story(3, target="app1", **changes)]))
    live, drill = [await store.view(lambda tx, d=d: tx.open_run("restart", "app1", drill=d)) for d in (False, True)]
    assert live is not None
    assert drill is not None
    assert (live.id, drill.id) == (run(1).id, run(2).id)


async def test_one_rule_and_target_have_one_waiting_revert_by_constraint(store: Store) -> None:
    """One that has begun is no longer in the way; a drill's is another."""
    revert = {"origin": Origin.REVERT, "target": "app1", "reverts": run(9).id, "reason": Reason.REVERT}
    await put(store, story(1, **revert), story(2, drill=True, **revert))
    with pytest.raises(StoreError):
        await store.transact(lambda tx: tx.add([story(3, **revert)]))
    await store.transact(lambda tx: tx.add([story(4, **revert, state=State.RUNNING)]))
    assert await store.view(lambda tx: tx.open_run("restart", "app1")) is None
    for drill, number in ((False, 1), (True, 2)):
        found = await store.view(lambda tx, drill=drill: tx.waiting_revert("restart", "app1", drill=drill))
        assert found == run(number, drill=drill, **revert)
    assert await store.view(lambda tx: tx.waiting_revert("restart", "app2", drill=False)) is None


async def test_a_waiting_run_is_amended_over_the_head_of_who_holds_it(store: Store) -> None:
    """A newer success moves the revert; the worker that was looking at it has lost it."""
    revert = run(1, origin=Origin.REVERT, reverts=run(8).id, revert_at=NOW)
    await store.transact(lambda tx: tx.add([Story(revert, episode(1))]))
    (held,) = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    later = replace(held.run, reverts=run(9).id, revert_at=NOW + 600, due_at=NOW + 600)
    await store.transact(lambda tx: tx.amend(later))
    with pytest.raises(StaleLease):
        await store.transact(lambda tx: tx.save(held, "a", None))
    found = await store.view(lambda tx: tx.waiting_revert("restart", "app1", drill=False))
    assert found == replace(later, fence=held.run.fence + 1)
    (again,) = await store.transact(lambda tx: tx.claim("b", NOW + 600, NOW + 660, 1))
    assert again.run.reverts == run(9).id
    await store.transact(lambda tx: tx.save(again.move(State.RUNNING, NOW + 600), "b", NOW + 660))
    with pytest.raises(StaleLease, match="begun"):
        await store.transact(lambda tx: tx.amend(later))


async def test_a_lock_has_one_live_holder_by_constraint(store: Store) -> None:
    """A dry run's lock is in books of its own."""
    await put(store, story(1, lock="db"))
    with pytest.raises(StoreError):
        await store.transact(lambda tx: tx.add([story(2, lock="db")]))
    await store.transact(lambda tx: tx.add([story(3, lock="db", mode=Mode.DRY_RUN)]))


async def test_a_failed_script_leaves_nothing_and_spares_the_others_of_its_commit(store: Store) -> None:
    """Scripts that are committed together fail one by one."""

    async def good(tx: Transaction, number: int) -> None:
        await tx.append([event(number)])

    async def bad(tx: Transaction) -> None:
        await tx.append([event(99)])
        raise ValueError("no")

    outcomes = await asyncio.gather(
        *(store.transact(lambda tx, n=n: good(tx, n)) for n in range(5)),
        store.transact(bad),
        *(store.transact(lambda tx, n=n: good(tx, n)) for n in range(5, 10)),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes].count(ValueError) == 1
    events = await store.view(lambda tx: tx.events(0, 100))
    assert sorted(each.data["number"] for each in events) == list(range(10))
    assert [each.seq for each in events] == list(range(1, 11))


async def test_due_runs_are_claimed_by_priority_and_only_once(store: Store) -> None:
    """P0 goes first, and what one worker holds no other gets."""
    await put(store, story(1), story(2, priority=Priority.P0), story(3, due_at=NOW + 100), story(4, due_at=None))
    first = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 10))
    assert [each.run.id for each in first] == [run(2).id, run(1).id]
    assert await store.transact(lambda tx: tx.claim("b", NOW, NOW + 60, 10)) == []
    assert await store.transact(lambda tx: tx.next_due()) == NOW + 60


async def test_a_lease_that_ran_out_passes_to_another_and_fences_the_first(store: Store) -> None:
    """A worker that was frozen past its lease writes nothing when it wakes (P3)."""
    await put(store, story(1))
    (frozen,) = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    (taken,) = await store.transact(lambda tx: tx.claim("b", NOW + 61, NOW + 120, 1))
    with pytest.raises(StaleLease):
        await store.transact(lambda tx: tx.save(frozen.tell(event(1).kind, NOW), "a", NOW + 200))
    with pytest.raises(StaleLease):
        await store.transact(lambda tx: tx.save(frozen, "b", NOW + 200))
    await store.transact(lambda tx: tx.save(taken, "b", None))
    assert await store.view(lambda tx: tx.events(0, 10)) == []


async def test_renewing_keeps_all_leases_of_a_worker(store: Store) -> None:
    """And of no other."""
    await put(store, story(1), story(2))
    await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    await store.transact(lambda tx: tx.claim("b", NOW, NOW + 60, 1))
    await store.transact(lambda tx: tx.renew("a", [run(1).id], NOW + 120))
    late = await store.transact(lambda tx: tx.claim("c", NOW + 61, NOW + 180, 10))
    assert [each.run.id for each in late] == [run(2).id]


async def test_waking_does_not_touch_what_a_worker_holds(store: Store) -> None:
    """A held run's due time is its lease: to wake it would give it to two."""
    await put(store, story(1), story(2, due_at=None))
    await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    await store.transact(lambda tx: tx.wake([run(1).id, run(2).id], NOW))
    woken = await store.transact(lambda tx: tx.claim("b", NOW, NOW + 60, 10))
    assert [each.run.id for each in woken] == [run(2).id]


async def test_taking_over_frees_every_lease(store: Store) -> None:
    """At its start the only daemon of a store has no living predecessor."""
    await put(store, story(1))
    (before,) = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    assert await store.transact(lambda tx: tx.take_over(NOW, "a")) == [run(1).id]
    with pytest.raises(StaleLease):
        await store.transact(lambda tx: tx.save(before, "a", None))
    (again,) = await store.transact(lambda tx: tx.claim("b", NOW, NOW + 60, 1))
    assert again.run.fence > before.run.fence


async def test_a_story_comes_back_with_its_steps_as_last_saved(store: Store) -> None:
    """A step has one place; saving it again replaces it."""
    await put(store, story(1))
    (held,) = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    started = Step(Phase.STEPS, 0, 0, 1, "exec.run", "restart", StepState.STARTED, started_at=NOW)
    ended = Step(
        Phase.STEPS, 0, 0, 1, "exec.run", "restart", StepState.SUCCEEDED, NOW, NOW + 1, result={"x": [1, None]}
    )
    held = held.record(started, NOW)
    await store.transact(lambda tx: tx.save(held, "a", NOW + 60))
    held = held.saved().record(ended, NOW + 1)
    await store.transact(lambda tx: tx.save(held, "a", None))
    found = await store.view(lambda tx: tx.run(held.run.id))
    assert found is not None
    assert found.steps == (ended,)
    assert [each.kind for each in await store.view(lambda tx: tx.events(0, 10, held.run.id))] == [
        "step.started",
        "step.ended",
    ]


@pytest.mark.parametrize("other", [{"rung": 1}, {"phase": Phase.VERIFY}, {"position": 2}, {"item": 2}, {"run": 2}])
async def test_a_step_that_is_forgotten_leaves_all_others(store: Store, other: dict[str, Any]) -> None:
    """Of other runs, rungs, lists and places."""
    await put(store, story(1), story(2))
    held = {each.run.id: each for each in await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 2))}
    gone = Step(Phase.STEPS, 1, 1, 1, "test.read", None, StepState.SUCCEEDED)
    whose = run(other.get("run", 1)).id
    stays = replace(gone, **{key: value for key, value in other.items() if key != "run"})
    kept = {run(1).id: held[run(1).id].record(gone, NOW), run(2).id: held[run(2).id]}
    kept[whose] = kept[whose].record(stays, NOW)
    for each in kept.values():
        await store.transact(lambda tx, each=each: tx.save(each, "a", NOW + 60))
    whole = kept[run(1).id].saved()
    without = replace(whole, steps=tuple(step for step in whole.steps if step != gone), touched=frozenset({gone.key}))
    await store.transact(lambda tx: tx.save(without, "a", NOW + 60))
    found = [await store.view(lambda tx, key=key: tx.run(key)) for key in kept]
    assert [step for each in found if each is not None for step in each.steps] == [stays]


async def test_the_watch_counts_the_alerts_that_still_fire(store: Store) -> None:
    """`for` counts from the earliest of them."""
    await put(store, story(1))

    async def join(tx: Transaction) -> None:
        await tx.save_episodes([episode(2, first_seen=NOW + 5)], [], [])
        await tx.add_decisions([Decided(2, "restart", run(1).id, NOW, "app1")])

    await store.transact(join)
    watch = await store.view(lambda tx: tx.watch(run(1).id))
    assert (watch.firing, watch.first_seen) == (2, NOW)
    await store.transact(lambda tx: tx.save_episodes([], [], [(1, NOW + 6)]))
    watch = await store.view(lambda tx: tx.watch(run(1).id))
    assert (watch.firing, watch.first_seen) == (1, NOW + 5)
    assert [each.id for each in await store.view(lambda tx: tx.alerts_of(run(1).id))] == [1, 2]


async def test_deferred_alerts_are_released_and_those_that_fire_given(store: Store) -> None:
    """They wait for the open run of their rule and target to close."""

    async def defer(tx: Transaction) -> None:
        await tx.save_episodes([episode(1), episode(2)], [], [])
        await tx.add_decisions([Decided(1, "restart", None, NOW, "web"), Decided(2, "restart", None, NOW, "web")])
        await tx.save_episodes([], [], [(2, NOW)])

    await store.transact(defer)
    assert await store.view(lambda tx: tx.decided([1, 2, 3])) == {(1, "restart"), (2, "restart")}
    assert [each.id for each in await store.transact(lambda tx: tx.release_deferred("restart", "web"))] == [1]
    assert await store.view(lambda tx: tx.decided([1, 2, 3])) == {(2, "restart")}, "it has begun all the same"
    assert await store.transact(lambda tx: tx.release_deferred("restart", "web")) == []


async def test_releasing_lets_rules_take_alerts_up_anew(store: Store) -> None:
    """What a run that never began had taken up is free again."""
    await put(store, story(1))

    async def join(tx: Transaction) -> None:
        await tx.save_episodes([episode(2)], [], [])
        await tx.add_decisions([Decided(2, "restart", run(1).id, NOW, "app1")])
        await tx.save_episodes([], [], [(2, NOW)])

    await store.transact(join)
    assert [each.id for each in await store.transact(lambda tx: tx.release(run(1).id))] == [1]
    assert await store.view(lambda tx: tx.decided([1, 2])) == {(2, "restart")}, "what has resolved began all the same"


async def test_runs_of_an_episode_are_the_open_ones_and_the_planned_that_are_watched(store: Store) -> None:
    """A resolve wakes the first and heals the second."""
    done = {"ended_at": NOW, "due_at": None}
    await put(store, story(1), story(2, state=State.PLANNED, **done), story(3, state=State.FAILED, **done))
    found = await store.view(lambda tx: tx.runs_of([1, 2, 3]))
    assert {each.id for each in found} == {run(1).id, run(2).id}
    planned = next(each for each in found if each.state is State.PLANNED)
    healed = run(2, state=State.PLANNED, **done, healed_at=NOW + 9)
    assert planned.id == healed.id
    await store.transact(lambda tx: tx.mark_healed(healed))
    assert [each.id for each in await store.view(lambda tx: tx.runs_of([2]))] == []


async def test_the_open_revert_of_a_run_belongs_to_its_episodes(store: Store) -> None:
    """Their resolving is what it may be waiting for, long after the run itself has closed."""
    done = {"state": State.SUCCEEDED, "ended_at": NOW, "due_at": None}
    await put(store, story(1, **done), story(2, **done))
    reverts = [
        run(3, opened_by=None, origin=Origin.REVERT, reverts=run(1).id),
        run(4, opened_by=None, origin=Origin.REVERT, reverts=run(2).id, **done),
    ]
    await store.transact(lambda tx: tx.add([Story(each, episode(0)) for each in reverts]))
    assert await store.view(lambda tx: tx.runs_of([1, 2])) == reverts[:1]
    assert (await store.view(lambda tx: tx.watch(run(3).id))).firing == 0


async def test_a_run_that_no_alert_opened_has_what_it_was_given_in_its_place(store: Store) -> None:
    """Its labels, or none."""
    by_hand = run(1, opened_by=None, origin=Origin.HAND, given={"app": "web"})
    scheduled = run(2, opened_by=None, origin=Origin.SCHEDULE)
    await store.transact(lambda tx: tx.add([Story(each, episode(0)) for each in (by_hand, scheduled)]))
    stories = [await store.view(lambda tx, each=each: tx.run(each.id)) for each in (by_hand, scheduled)]
    for found, kept, labels in zip(stories, (by_hand, scheduled), ({"app": "web"}, {}), strict=True):
        assert found is not None
        assert found.run == kept
        assert found.alert == Episode(
            id=0, fingerprint="", labels=labels, annotations={}, generator_url="", starts_at=NOW, first_seen=NOW,
            last_seen=NOW, ended_at=None,
        )  # fmt: skip


async def test_open_episodes_are_counted_by_alert(store: Store) -> None:
    """Those that are closed or another's don't count."""
    await store.transact(lambda tx: tx.save_episodes([episode(1), episode(2, ended_at=NOW), episode(3)], [], []))
    asked = [episode(n).fingerprint for n in (1, 2, 9)]
    assert await store.view(lambda tx: tx.count_open(asked)) == 1


async def test_it_is_known_since_when_so_many_distinct_alerts_have_begun(store: Store) -> None:
    """An alert that flaps counts once, by its newest episode."""
    begun = [(1, "a"), (2, "b"), (3, "a"), (5, "a"), (7, "c")]
    episodes = [episode(n, fingerprint=name, first_seen=NOW + n, ended_at=NOW + n + 1) for n, name in begun]
    await store.transact(lambda tx: tx.save_episodes(episodes, [], []))

    async def at(newest: int, after: float | None) -> float | None:
        return await store.view(lambda tx: tx.begun_at(newest, after))

    assert [await at(n, None) for n in (1, 2, 3, 4)] == [NOW + 7, NOW + 5, NOW + 2, None]
    assert [await at(n, NOW + 2) for n in (1, 2, 3)] == [NOW + 7, NOW + 5, None]
    assert await at(1, NOW + 7) is None


async def test_an_alert_that_was_over_when_it_was_first_heard_of_has_not_begun(store: Store) -> None:
    """One that was heard firing has, even if it is then said to have resolved before that."""
    episodes = [episode(1, ended_at=NOW - 5), episode(2, ended_at=NOW - 5, over=True)]
    await store.transact(lambda tx: tx.save_episodes(episodes, [], []))
    assert await store.view(lambda tx: tx.begun_at(1, NOW - 1)) == NOW
    assert await store.view(lambda tx: tx.begun_at(2, NOW - 1)) is None


async def test_what_a_storm_refused_is_taken_up_once_more_where_it_still_fires(store: Store) -> None:
    """A bounded number at a time; what was refused before, by another guard, or a second time, is left alone."""
    refused = {"state": State.BLOCKED, "reason": Reason.STORM, "ended_at": NOW, "due_at": None}
    await put(
        store,
        *(story(n, **refused) for n in range(1, 8)),
        story(8, **{**refused, "ended_at": NOW - 60}),
        story(9, **{**refused, "reason": Reason.LIMIT}),
        story(10, **refused, second_chance=True),
        story(11, reason=Reason.STORM),
    )
    await store.transact(lambda tx: tx.save_episodes([], [], [(n, NOW + 1) for n in (1, 2, 3, 5)]))
    given = []
    while chances := await store.transact(lambda tx: tx.second_chances(NOW - 1, 2)):
        assert len(chances) <= 2
        given += chances
    assert [(rule, each.id) for rule, each in given] == [("restart", n) for n in (4, 6, 7)]
    decided = await store.view(lambda tx: tx.decided(range(1, 12)))
    assert {number for number, _ in decided} == {1, 2, 3, 5, 8, 9, 10, 11}


async def test_all_alerts_of_a_run_that_a_storm_refused_have_their_second_chance(store: Store) -> None:
    """However many there are, some at a time."""
    await put(store, story(1, state=State.BLOCKED, reason=Reason.STORM, ended_at=NOW, due_at=None))

    async def join(tx: Transaction) -> None:
        await tx.save_episodes([episode(n) for n in range(2, 6)], [], [])
        await tx.add_decisions([Decided(n, "restart", run(1).id, NOW, "app1") for n in range(2, 6)])

    await store.transact(join)
    given = [len(await store.transact(lambda tx: tx.second_chances(NOW, 2))) for _ in range(4)]
    assert given == [2, 2, 1, 0]
