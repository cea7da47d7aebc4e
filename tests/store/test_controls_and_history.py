"""What every store promises of waking, controls, timers, lists, history and forgetting."""

from __future__ import annotations

from msgspec.structs import replace
from samples import NOW, admitted, episode, event, notification, put, run, story

from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, EventKind, Origin, Priority, Reason, State
from remediator.model.story import Story
from remediator.store.chain import GENESIS, Head
from remediator.store.protocol import Decided, RunFilter, Script, Store, Timer, Transaction


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


async def test_what_a_control_may_have_held_is_looked_at_again(store: Store) -> None:
    """Whatever has no time of its own, waits for a person or a breaker, or is a revert; not what waits out its `for`."""
    later = NOW + 600
    await put(
        store,
        story(1, reason=Reason.FOR, due_at=later),
        story(2, reason=Reason.PAUSED, paused_since=NOW, due_at=later),
        story(3, reason=Reason.BREAKER, due_at=later),
        story(4, reason=Reason.APPROVAL, state=State.AWAITING_APPROVAL, due_at=later),
        story(5, reason=Reason.REVERT, origin=Origin.REVERT, due_at=later),
        story(6, reason=Reason.MAX_RUNNING, due_at=None),
        story(7, state=State.VERIFYING, due_at=later),
        story(8, reason=Reason.COOLDOWN, due_at=later),
    )
    await store.transact(lambda tx: tx.wake_held(NOW))
    woken = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 10))
    assert {each.run.id for each in woken} == {run(n).id for n in range(2, 8)}


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
    await store.transact(lambda tx: tx.alter(lifted))
    assert await store.view(lambda tx: tx.controls(NOW + 61)) == []


async def test_the_span_of_a_control_can_be_moved(store: Store) -> None:
    """A storm that goes on is held for longer."""
    storm = Control("c1", ControlKind.STORM, NOW, "remediator", "", until=NOW + 60)
    await store.transact(lambda tx: tx.lay(storm))
    longer = replace(storm, until=NOW + 120)
    await store.transact(lambda tx: tx.alter(longer))
    assert await store.view(lambda tx: tx.controls(NOW + 61)) == [longer]
    assert await store.view(lambda tx: tx.controls(NOW + 120)) == []


async def test_it_is_known_when_a_person_last_lifted_a_breaker(store: Store) -> None:
    """One of that rule or of all, of those books; one that ran out was lifted by nobody."""

    async def laid(name: str, lifted_at: float | None, **changes: object) -> None:
        control = Control(name, ControlKind.BREAKER, NOW, "remediator", "", **changes)  # type: ignore[arg-type]
        await store.transact(lambda tx: tx.lay(control))
        if lifted_at is not None:
            await store.transact(lambda tx: tx.alter(replace(control, lifted_at=lifted_at, lifted_by="ann")))

    async def last(rule: str | None, book: Book = Book.LIVE, kind: ControlKind = ControlKind.BREAKER) -> float | None:
        return await store.view(lambda tx: tx.last_lifted(kind, rule, book))

    await laid("c1", NOW + 2, rule="restart")
    await laid("c2", NOW + 1, rule="restart")
    await laid("c3", NOW + 3)
    await laid("c4", NOW + 4, rule="restart", book=Book.DRY)
    await laid("c5", NOW + 5, rule="restart", target="app1")
    await laid("c6", None, rule="other", until=NOW + 1)
    assert (await last("restart"), await last(None), await last("restart", Book.DRY)) == (NOW + 2, NOW + 3, NOW + 4)
    assert (await last("other"), await last("restart", kind=ControlKind.PAUSE)) == (None, None)


async def test_timers_are_set_by_name_and_are_due_like_runs(store: Store) -> None:
    """The engine sleeps until the first of either."""
    await put(store, story(1, due_at=NOW + 50))
    await store.transact(lambda tx: tx.set_timer(Timer("storm", NOW + 10, "")))
    await store.transact(lambda tx: tx.set_timer(Timer("schedule:tidy", NOW + 90, "0 4 * * *")))
    assert await store.view(lambda tx: tx.next_due()) == NOW + 10
    await store.transact(lambda tx: tx.set_timer(Timer("storm", NOW + 60, "later")))
    assert [each.due_at for each in await store.view(lambda tx: tx.timers())] == [NOW + 90, NOW + 60]
    assert await store.view(lambda tx: tx.next_due()) == NOW + 50
    await store.transact(lambda tx: tx.drop_timer("storm"))
    assert await store.view(lambda tx: tx.timers()) == [Timer("schedule:tidy", NOW + 90, "0 4 * * *")]


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


async def test_what_the_daemon_says_for_itself_is_listed_only_when_asked_for(store: Store) -> None:
    """Its notices are no remediation."""
    notice = run(2, opened_by=None, origin=Origin.NOTICE, given={"text": "storm"}, target=None)
    await put(store, story(1))
    await store.transact(lambda tx: tx.add([Story(notice, episode(0))]))
    assert [each.id for each in await store.view(lambda tx: tx.runs(RunFilter()))] == [run(1).id]
    assert len(await store.view(lambda tx: tx.runs(RunFilter(notices=True)))) == 2


async def test_a_run_is_not_forgotten_before_its_change_is_taken_back(store: Store) -> None:
    """The revert needs what it reverts."""
    revert = run(2, opened_by=None, origin=Origin.REVERT, reverts=run(1).id, target="app1")
    await put(store, admitted(1, NOW))
    await store.transact(lambda tx: tx.save_episodes([], [], [(1, NOW + 2)]))
    await store.transact(lambda tx: tx.add([Story(revert, episode(0))]))
    old = NOW + 1000
    assert await store.transact(lambda tx: tx.prune(old, old, old)) == 0
    (held,) = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    await store.transact(lambda tx: tx.save(held.move(State.CANCELLED, NOW + 9), "a", None))
    await store.transact(lambda tx: tx.prune(old, old, old))
    assert await store.view(lambda tx: tx.runs(RunFilter())) == []


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


async def test_what_one_round_of_pruning_forgets_is_bounded_also_of_alerts_that_have_no_run(store: Store) -> None:
    """However much is old at once, as when less is to be kept from now on: whoever decides waits for one round at most."""
    ids, old = range(1, 1502), NOW + 1000

    async def script(tx: Transaction) -> None:
        await tx.save_episodes([episode(number, ended_at=NOW + 2) for number in ids], [], [])
        await tx.add_decisions([Decided(number, "restart", None, NOW, "app") for number in ids])

    await store.transact(script)
    for gone, left in ((1000, 501), (501, 0), (0, 0)):
        assert await store.transact(lambda tx: tx.prune(old, old, old)) == gone
        assert len(await store.view(lambda tx: tx.decided(ids))) == left


async def test_the_lines_of_one_kind_since_an_instant_are_found_by_themselves(store: Store) -> None:
    """The newest of them, oldest first, after older lines were forgotten too; a kind that data only mentions is not one."""

    def since(at: float, limit: int = 10) -> Script[list[float]]:
        async def script(tx: Transaction) -> list[float]:
            return [each.at - NOW for each in await tx.events_since(EventKind.MISSED, NOW + at, limit)]

        return script

    assert await store.view(since(0)) == []
    told = [replace(event(n), kind=EventKind.MISSED) if n % 3 == 0 else event(n) for n in range(20)]
    told[10] = replace(told[10], data={"kinds": ["x", "schedule.missed", "y"]})
    await store.transact(lambda tx: tx.append(told))
    assert await store.view(since(-100)) == [0, 3, 6, 9, 12, 15, 18]
    assert await store.view(since(9)) == [9, 12, 15, 18]
    assert await store.view(since(9.5)) == [12, 15, 18]
    assert await store.view(since(0, limit=2)) == [15, 18]
    assert await store.view(since(19)) == []
    await store.transact(lambda tx: tx.prune(runs=NOW, notifications=NOW, events=NOW + 7))
    assert await store.view(since(0)) == [9, 12, 15, 18]


async def test_the_head_of_the_own_chain_is_its_newest_event_also_where_all_is_pruned(store: Store) -> None:
    """The next event follows from it, and whoever publishes it publishes what an audit finds."""

    async def head() -> tuple[int, str]:
        own, _ = await store.view(lambda tx: tx.heads())
        return own.number, own.hash

    assert await head() == (0, GENESIS)
    await store.transact(lambda tx: tx.append([event(1), event(2)]))
    newest = await store.view(lambda tx: tx.head())
    assert newest is not None
    assert await head() == (newest.number, newest.hash) == (2, newest.hash)
    await store.transact(lambda tx: tx.prune(runs=0, notifications=0, events=NOW + 9))
    assert await head() == (2, newest.hash)


async def test_a_line_is_remembered_as_long_as_it_stands_or_was_pruned(store: Store) -> None:
    """One that was never there, or was another one, is not."""
    await store.transact(lambda tx: tx.append([event(1), event(2)]))
    newest = await store.view(lambda tx: tx.head())
    assert newest is not None
    head = Head(newest.chain, newest.number, newest.hash)
    ahead, other = replace(head, number=3), replace(head, hash=GENESIS)

    async def remembered() -> list[bool]:
        return [await store.view(lambda tx, h=each: tx.remembers(h)) for each in (head, ahead, other)]

    assert await remembered() == [True, False, False]
    await store.transact(lambda tx: tx.prune(runs=0, notifications=0, events=NOW + 9))
    assert await remembered() == [True, False, True], "of what was pruned nothing more is known"


async def test_a_published_head_may_be_kept_again(store: Store) -> None:
    """A daemon that stands still publishes the same one every hour."""
    await store.transact(lambda tx: tx.append([event(1)]))
    own, _ = await store.view(lambda tx: tx.heads())
    for _ in range(2):
        await store.transact(lambda tx: tx.keep_head(own))
    assert (await store.view(lambda tx: tx.heads()))[0] == own


async def test_the_newest_instant_is_that_of_history_or_the_one_kept_last(store: Store) -> None:
    """Nothing was kept yet; then a line; then a while without any line; then a clock that a person has accepted."""
    assert await store.view(lambda tx: tx.newest()) is None
    await store.transact(lambda tx: tx.touch(NOW - 99))
    assert await store.view(lambda tx: tx.newest()) == NOW - 99
    await store.transact(lambda tx: tx.append([event(1)]))
    assert await store.view(lambda tx: tx.newest()) == NOW + 1
    await store.transact(lambda tx: tx.touch(NOW + 99))
    assert await store.view(lambda tx: tx.newest()) == NOW + 99
    await store.transact(lambda tx: tx.touch(NOW - 99))
    assert await store.view(lambda tx: tx.newest()) == NOW + 1
