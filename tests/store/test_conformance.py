"""What every store promises: the suite runs over each of them."""

from __future__ import annotations

import asyncio

import pytest
from samples import NOW, admitted, episode, event, notification, run, story

from remediator.errors import StaleLease, StoreError
from remediator.model.books import Allowance, Question
from remediator.model.run import (
    Control,
    ControlKind,
    Mode,
    Phase,
    Priority,
    Reason,
    State,
    Step,
    StepState,
)
from remediator.model.story import Story
from remediator.store.protocol import Decided, RunFilter, Store, Transaction


async def put(store: Store, *stories: Story) -> None:
    async def script(tx: Transaction) -> None:
        await tx.save_episodes([each.alert for each in stories], [], [])
        await tx.add(stories)
        await tx.add_decisions(
            [Decided(each.alert.id, each.run.rule, each.run.id, NOW, each.run.target) for each in stories]
        )

    await store.transact(script)


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


async def test_one_rule_and_target_have_one_open_run_by_constraint(store: Store) -> None:
    """The database refuses a second one, whatever the code believes."""
    await put(store, story(1))
    with pytest.raises(StoreError):
        await store.transact(lambda tx: tx.add([story(2, target="app1")]))
    await store.transact(lambda tx: tx.add([story(3, target="app1", rule="other")]))


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
    assert await store.transact(lambda tx: tx.take_over(NOW)) == [run(1).id]
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
    assert await store.view(lambda tx: tx.decided([1, 2, 3])) == frozenset()


async def test_releasing_lets_rules_take_alerts_up_anew(store: Store) -> None:
    """What a run that never began had taken up is free again."""
    await put(store, story(1))
    assert [each.id for each in await store.transact(lambda tx: tx.release(run(1).id))] == [1]
    assert await store.view(lambda tx: tx.decided([1])) == frozenset()


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


# -- books --


def question(**changes: object) -> Question:
    return Question(**{"run": "me", "rule": "restart", "target": "app1", "dry": False, **changes})  # type: ignore[arg-type]


async def test_the_books_know_the_last_run_of_the_rule_on_the_target(store: Store) -> None:
    """One that never started a step doesn't count, nor one elsewhere."""
    await put(
        store,
        admitted(1, NOW),
        admitted(2, NOW + 50, target="app1"),
        admitted(3, NOW + 60, target="app1", started_at=None),
        admitted(4, NOW + 70),
    )
    assert (await store.view(lambda tx: tx.books(question()))).last_ended_at == NOW + 51


async def test_live_books_do_not_see_dry_entries_and_dry_books_see_both(store: Store) -> None:
    """Dry-run uses up nothing of the live books."""
    await put(store, admitted(1, NOW), admitted(2, NOW + 50, target="app1", mode=Mode.DRY_RUN))
    assert (await store.view(lambda tx: tx.books(question()))).last_ended_at == NOW + 1
    assert (await store.view(lambda tx: tx.books(question(dry=True)))).last_ended_at == NOW + 51


async def test_the_books_tell_since_when_a_limit_is_full(store: Store) -> None:
    """By rule, by rule and target, and over all rules."""
    await put(store, admitted(1, NOW), admitted(2, NOW + 10), admitted(3, NOW + 20, rule="other"))
    asked = question(
        allowances=(
            Allowance(2, 3600, rule="restart"),
            Allowance(3, 3600, rule="restart"),
            Allowance(1, 3600, rule="restart", target="app2"),
            Allowance(3, 3600),
        )
    )
    assert (await store.view(lambda tx: tx.books(asked))).full_since == (NOW, None, NOW + 10, NOW)


async def test_the_books_name_who_holds_the_lock_and_how_many_are_at_work(store: Store) -> None:
    """The asker itself doesn't count as a holder."""
    await put(store, story(1, state=State.RUNNING, lock="db"), story(2, state=State.VERIFYING))
    books = await store.view(lambda tx: tx.books(question(lock="db")))
    assert (books.lock_holder, books.at_work) == (run(1).id, 2)
    assert (await store.view(lambda tx: tx.books(question(lock="db", run=run(1).id)))).lock_holder is None


async def test_the_books_give_what_fires_by_name_or_all_of_it(store: Store) -> None:
    """A guard that names its alert doesn't read every alert."""
    other = episode(2, labels={"alertname": "DatabaseDown"})
    await store.transact(lambda tx: tx.save_episodes([episode(1), other], [], []))
    assert (await store.view(lambda tx: tx.books(question(firing=("DatabaseDown",))))).firing == (other.labels,)
    assert len((await store.view(lambda tx: tx.books(question(firing=(None,))))).firing) == 2


# -- waking, controls, history --


async def test_a_closing_run_wakes_what_waited_for_it(store: Store) -> None:
    """Its rule and target, its lock, and one for its place: the most urgent."""
    await put(
        store,
        story(1, target=None, reason=Reason.BUSY, due_at=None),
        story(2, rule="other", reason=Reason.LOCK, due_at=NOW + 99),
        story(3, rule="a", reason=Reason.MAX_RUNNING, due_at=None),
        story(4, rule="b", reason=Reason.MAX_RUNNING, due_at=None, priority=Priority.P0),
        story(5, rule="c", reason=Reason.PAUSED, due_at=None),
    )
    closed = run(9, state=State.SUCCEEDED, ended_at=NOW, lock="db")
    await store.transact(lambda tx: tx.wake_waiting(closed, True, NOW))
    due = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 10))
    assert {each.run.id for each in due} == {run(1).id, run(2).id, run(4).id}


async def test_controls_are_in_force_until_lifted_or_over(store: Store) -> None:
    """Those laid on one run concern that run alone."""
    pause = Control("c1", ControlKind.PAUSE, NOW, "ann", "deploy")
    short = Control("c2", ControlKind.PAUSE, NOW, "ann", "lunch", until=NOW + 60)
    cancel = Control("c3", ControlKind.CANCEL, NOW, "ann", "", run="r1")
    for control in (pause, short, cancel):
        await store.transact(lambda tx, control=control: tx.lay(control))
    assert [each.id for each in await store.view(lambda tx: tx.controls(NOW, "r1"))] == ["c1", "c2", "c3"]
    assert [each.id for each in await store.view(lambda tx: tx.controls(NOW + 61))] == ["c1"]
    lifted = Control("c1", ControlKind.PAUSE, NOW, "ann", "deploy", lifted_at=NOW + 5, lifted_by="bob")
    await store.transact(lambda tx: tx.lift(lifted))
    assert await store.view(lambda tx: tx.controls(NOW + 61)) == []


async def test_rules_are_kept_by_hash(store: Store) -> None:
    """A run can go on with the rule it began with."""
    await store.transact(lambda tx: tx.keep_rules({"h": {"name": "restart", "for": "5m"}}, NOW))
    await store.transact(lambda tx: tx.keep_rules({"h": {"name": "restart", "for": "5m"}}, NOW + 1))
    assert await store.view(lambda tx: tx.rule_definition("h")) == {"name": "restart", "for": "5m"}
    assert await store.view(lambda tx: tx.rule_definition("x")) is None


async def test_runs_are_listed_newest_first_in_pages(store: Store) -> None:
    """With filters."""
    await put(store, *(story(n, rule="a" if n % 2 else "b") for n in range(1, 8)))
    page = await store.view(lambda tx: tx.runs(RunFilter(limit=3)))
    assert [each.id for each in page] == [run(7).id, run(6).id, run(5).id]
    rest = await store.view(lambda tx: tx.runs(RunFilter(before=page[-1].id)))
    assert len(rest) == 4
    assert len(await store.view(lambda tx: tx.runs(RunFilter(rule="b", state=State.WAITING)))) == 3
    assert await store.view(lambda tx: tx.runs(RunFilter(since=NOW + 1))) == []
    assert await store.view(lambda tx: tx.open_counts()) == {State.WAITING: 7}


async def test_pruning_forgets_what_is_old_and_keeps_the_chain_whole(store: Store) -> None:
    """An alert that still fires stays taken up, however old its run is."""
    await put(store, admitted(1, NOW), admitted(2, NOW))
    await store.transact(lambda tx: tx.save_episodes([], [], [(2, NOW + 2)]))
    await store.transact(lambda tx: tx.add_notifications([notification(1)]))
    await store.transact(lambda tx: tx.append([event(n) for n in range(5)]))
    gone = await store.transact(lambda tx: tx.prune(runs=NOW + 100, notifications=NOW + 1, events=NOW + 2.5))
    assert gone == 1 + 2 + 1 + 3  # a body, two runs, one closed episode, three events
    assert await store.view(lambda tx: tx.decided([1, 2])) == {(1, "restart")}
    await store.transact(lambda tx: tx.append([event(9)]))
    assert [each.seq for each in await store.view(lambda tx: tx.events(0, 10))] == [4, 5, 6]
