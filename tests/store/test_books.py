"""What every store counts for the guards."""

from __future__ import annotations

from msgspec.structs import replace
from samples import NOW, admitted, episode, put, run, story

from remediator.model.books import Allowance, Ending, Question, Touched
from remediator.model.run import (
    Book,
    Mode,
    Origin,
    State,
)
from remediator.store.protocol import Decided, Store, Transaction


def question(**changes: object) -> Question:
    return Question(**{"run": "me", "rule": "restart", "target": "app1", **changes})  # type: ignore[arg-type]


async def test_the_books_know_the_last_run_of_the_rule_on_the_target(store: Store) -> None:
    """One that never started a step doesn't count, nor one elsewhere."""
    await put(
        store,
        admitted(1, NOW),
        admitted(2, NOW + 50, target="app1"),
        admitted(3, NOW + 60, target="app1", started_at=None),
        admitted(4, NOW + 70),
    )
    assert (await store.view(lambda tx: tx.books(question()))).last == Ending(at=NOW + 51, good=True)


async def test_live_books_do_not_see_dry_entries_and_dry_books_see_both(store: Store) -> None:
    """Dry-run uses up nothing of the live books, and a drill nothing of either."""
    await put(
        store,
        admitted(1, NOW),
        admitted(2, NOW + 50, target="app1", mode=Mode.DRY_RUN, state=State.PLANNED),
        admitted(3, NOW + 90, target="app1", drill=True, state=State.FAILED, failed_at=NOW + 91),
    )
    allowances = (Allowance(1, 60), Allowance(2, 60), Allowance(1, 60, rule="restart", target="app1"))
    live, dry, drill = [
        await store.view(lambda tx, book=book: tx.books(question(book=book, allowances=allowances)))
        for book in (Book.LIVE, Book.DRY, Book.DRILL)
    ]
    assert (live.last, live.full_since) == (Ending(NOW + 1, good=True), (NOW, None, NOW))
    assert (dry.last, dry.full_since) == (Ending(NOW + 51, good=True), (NOW + 50, NOW, NOW + 50))
    assert (drill.last, drill.full_since) == (Ending(NOW + 91, good=False), (NOW + 90, None, NOW + 90))


async def test_the_books_know_the_last_run_that_was_good_and_its_rung(store: Store) -> None:
    """A run that failed after it doesn't hide it."""
    await put(
        store,
        admitted(1, NOW, rung=1),
        admitted(2, NOW + 10, target="app1", rung=2),
        admitted(3, NOW + 20, target="app1", state=State.FAILED, failed_at=NOW + 21, rung=3),
        admitted(4, NOW + 30, target="app1", state=State.CANCELLED, rung=1),
    )
    books = await store.view(lambda tx: tx.books(question()))
    assert (books.last, books.last_good) == (Ending(NOW + 31, good=False, rung=1), Ending(NOW + 11, good=True, rung=2))


async def test_the_books_name_the_other_targets_that_were_touched(store: Store) -> None:
    """Each once, of a rule or of all, since an instant that itself is out of the span."""
    await put(
        store,
        admitted(1, NOW + 9),
        admitted(2, NOW),
        admitted(3, NOW + 1),
        admitted(4, NOW + 2, target="app3"),
        admitted(5, NOW + 3, rule="other"),
        admitted(6, NOW + 4, mode=Mode.DRY_RUN),
    )
    asked = question(touched=(Touched(NOW, "restart"), Touched(NOW), Touched(NOW + 5)))
    assert (await store.view(lambda tx: tx.books(asked))).touched == ({"app3"}, {"app3", "app5"}, frozenset())
    dry = question(touched=(Touched(NOW, "restart"),), book=Book.DRY)
    assert (await store.view(lambda tx: tx.books(dry))).touched == ({"app3", "app6"},)


async def test_the_books_count_the_episodes_of_the_rule_on_the_target(store: Store) -> None:
    """Whatever became of them; one whose target is still to be read counts once it is named."""

    async def begin(tx: Transaction) -> None:
        await tx.save_episodes([episode(n, first_seen=NOW + n) for n in range(1, 6)], [], [])
        await tx.add([story(4, target="app1"), story(5, target=None)])
        await tx.add_decisions(
            [
                *(Decided(n, "restart", None, NOW, "app1") for n in (1, 2)),
                Decided(3, "restart", None, NOW, "app2"),
                Decided(3, "other", None, NOW, "app1"),
                Decided(4, "restart", run(4).id, NOW, "app1"),
                Decided(5, "restart", run(5).id, NOW),
            ]
        )

    await store.transact(begin)
    since = question(episodes_since=NOW + 1)
    assert (await store.view(lambda tx: tx.books(since))).episodes == 2
    assert (await store.view(lambda tx: tx.books(question()))).episodes == 0
    await store.transact(lambda tx: tx.name_target(run(5).id, "app1"))
    assert (await store.view(lambda tx: tx.books(since))).episodes == 3


async def test_alerts_that_are_handed_over_have_the_target_of_the_run_that_takes_them(store: Store) -> None:
    """Their own run never learnt it for them."""
    await put(store, story(1), story(2, target=None))
    await store.transact(lambda tx: tx.hand_over(run(2).id, run(1).id))
    assert (await store.view(lambda tx: tx.books(question(episodes_since=NOW - 1)))).episodes == 2


async def test_reverts_and_notices_use_nothing_up(store: Store) -> None:
    """They are never admitted, fail for no breaker, and take no place."""
    aside = {"state": State.RUNNING, "due_at": None}
    gone = {"state": State.FAILED, "ended_at": NOW, "failed_at": NOW, "started_at": NOW, "due_at": None}
    for number, origin in ((1, Origin.REVERT), (3, Origin.NOTICE)):
        await put(
            store,
            story(number, origin=origin, target="app1", **aside),
            story(number + 1, origin=origin, target="app1", **gone),
        )
    asked = question(allowances=(Allowance(1, 60),), touched=(Touched(0),), target="else")
    for book in Book:
        books = await store.view(lambda tx, book=book: tx.books(replace(asked, book=book)))
        assert (books.last, books.full_since, books.touched, books.at_work) == (None, (None,), (frozenset(),), 0)
        assert await store.view(lambda tx, book=book: tx.failures(0, None, book)) == 0


async def test_failures_are_counted_by_rule_or_all_in_books_of_their_own(store: Store) -> None:
    """An unknown run counts from when it became so, until it proves good."""
    failed = {"state": State.FAILED, "ended_at": NOW, "failed_at": NOW, "due_at": None}
    await put(
        store,
        story(1, **failed),
        story(2, **{**failed, "failed_at": NOW + 1}),
        story(3, rule="other", state=State.UNKNOWN, failed_at=NOW + 2),
        story(4, mode=Mode.DRY_RUN, **failed),
        story(5, drill=True, **failed),
    )

    async def count(since: float, rule: str | None, book: Book) -> int:
        return await store.view(lambda tx: tx.failures(since, rule, book))

    assert [await count(NOW - 1, rule, Book.LIVE) for rule in (None, "restart", "other", "else")] == [3, 2, 1, 0]
    assert await count(NOW, None, Book.LIVE) == 2
    assert [await count(NOW - 1, None, book) for book in (Book.DRY, Book.DRILL)] == [4, 1]
    (proved,) = await store.transact(lambda tx: tx.claim("a", NOW, NOW + 60, 1))
    await store.transact(lambda tx: tx.save(proved.move(State.SUCCEEDED, NOW + 3), "a", None))
    assert await count(NOW - 1, "other", Book.LIVE) == 0


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
