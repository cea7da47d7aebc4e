"""What too many failures and too many alerts open, by themselves: one transaction over a store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from samples import NOW, episode, put, run, story

from remediator.actions.protocol import Gate
from remediator.engine.breaking import open_breakers
from remediator.engine.noticing import Notice
from remediator.engine.storming import watch_for_storm
from remediator.model.alert import Alert, AlertStatus
from remediator.model.control import Control, ControlKind
from remediator.model.run import Book, Mode, Origin, Run, State
from remediator.rules.rule import Breaker, Guards, Rule, Rung
from remediator.rules.standing import Standing, Storm
from remediator.rules.templates import Text
from remediator.store.protocol import RunFilter, Store, Timer, Transaction
from remediator.store.sqlite import open_memory

FAILED: dict[str, Any] = {"state": State.FAILED, "ended_at": NOW, "failed_at": NOW, "due_at": None}
STORM = Storm(alerts=3, per=60.0, hold=600.0)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    """An empty store."""
    opened: Store = open_memory()
    yield opened
    await opened.close()


def rule(breaker: Breaker | None = None, *, confidential: bool = False) -> Rule:
    """Make a rule with a breaker."""
    return Rule(
        name="restart", hash="h", definition={}, summary="", match=(), target=Text("app1", Gate.DISPLAY),
        rungs=(Rung(()),), guards=Guards(breaker=breaker), confidential=confidential,
    )  # fmt: skip


async def laid(store: Store, kind: ControlKind) -> list[Control]:
    """Give what is laid of a kind."""
    return [each for each in await store.view(lambda tx: tx.controls(NOW)) if each.kind is kind]


# -- breakers --


async def opened(
    store: Store, by: Rule, lent: Standing | None = None, after: Run | None = None, before: Run | None = None
) -> list[Notice]:
    """Let a run fail: the last of those in the store."""
    failed = after or run(2, **FAILED)
    running = before or run(2, state=State.RUNNING)
    return await store.transact(lambda tx: open_breakers(tx, running, failed, by, lent or Standing(), NOW))


async def test_one_failure_too_many_opens_the_breaker_of_its_rule(store: Store) -> None:
    """It says what it counted, and holds for its span or till a person closes it."""
    await put(store, story(1, **{**FAILED, "failed_at": NOW - 599}), story(2, **FAILED))
    told = await opened(store, rule(Breaker(2, 600, reset=900), confidential=True))
    (control,) = await laid(store, ControlKind.BREAKER)
    reason = f"2 runs of restart ended failed or unknown within 10m, the last of them {run(2).id}"
    assert control == Control(
        control.id, ControlKind.BREAKER, NOW, "remediator", reason, rule="restart", book=Book.LIVE, until=NOW + 900
    )
    assert told == [
        Notice(
            "breaker",
            f"{reason}: the breaker is open, look, then close it with "
            f"`remediator resume --control {control.id} --reason …`",
            run(2, **FAILED),
            confidential=True,
        )
    ]
    assert await opened(store, rule(Breaker(2, 600, reset=900))) == []


async def test_a_failure_at_the_edge_of_the_span_and_one_too_few_open_nothing(store: Store) -> None:
    """Nor does a run that has not failed just now."""
    await put(store, story(1, **{**FAILED, "failed_at": NOW - 600}), story(2, **FAILED))
    assert await opened(store, rule(Breaker(2, 600, None))) == []
    assert await opened(store, rule(Breaker(1, 600, None)), before=run(2, **FAILED)) == []
    assert await opened(store, rule(Breaker(1, 600, None)), after=run(2, state=State.SUCCEEDED)) == []
    assert await opened(store, rule()) == []
    assert await laid(store, ControlKind.BREAKER) == []
    await store.transact(lambda tx: tx.lay(Control("c0", ControlKind.PAUSE, NOW, "ann", "deploy", rule="restart")))
    assert len(await opened(store, rule(Breaker(1, 600, None)))) == 1
    (control,) = await laid(store, ControlKind.BREAKER)
    assert control.until is None


async def test_the_daemons_breaker_counts_all_rules_beside_the_rules_own(store: Store) -> None:
    """Each may open without the other."""
    await put(store, story(1, rule="other", **FAILED), story(2, **FAILED))
    told = await opened(store, rule(Breaker(2, 600, None)), Standing(breaker=Breaker(2, 600, None)))
    (control,) = await laid(store, ControlKind.BREAKER)
    assert control.rule is None
    assert control.reason == (f"2 runs of all rules ended failed or unknown within 10m, the last of them {run(2).id}")
    assert len(told) == 1
    assert len(await opened(store, rule(Breaker(1, 600, None)), Standing(breaker=Breaker(2, 600, None)))) == 1
    assert [each.rule for each in await laid(store, ControlKind.BREAKER)] == [None, "restart"]


@pytest.mark.parametrize(("changes", "book"), [({"mode": Mode.DRY_RUN}, Book.DRY), ({"drill": True}, Book.DRILL)])
async def test_what_was_not_in_earnest_opens_a_breaker_for_its_like_and_calls_nobody(
    store: Store, changes: dict[str, Any], book: Book
) -> None:
    """Beside a live one that is open."""
    await put(store, story(1, **FAILED), story(2, **FAILED, **changes))
    assert len(await opened(store, rule(Breaker(1, 600, None)))) == 1
    assert await opened(store, rule(Breaker(1, 600, None)), after=run(2, **FAILED, **changes)) == []
    assert [each.book for each in await laid(store, ControlKind.BREAKER)] == [Book.LIVE, book]


@pytest.mark.parametrize(("lifted_at", "opens"), [(NOW - 700, True), (NOW - 301, True), (NOW - 300, False)])
async def test_failures_that_a_person_has_seen_count_no_more(store: Store, lifted_at: float, opens: bool) -> None:
    """A breaker that was closed counts anew."""
    await put(store, story(1, **{**FAILED, "failed_at": NOW - 300}), story(2, **FAILED))
    seen = Control(
        "c0", ControlKind.BREAKER, NOW - 900, "remediator", "", rule="restart", lifted_at=lifted_at, lifted_by="ann"
    )
    await store.transact(lambda tx: tx.lay(seen))
    assert bool(await opened(store, rule(Breaker(2, 600, None)))) is opens


# -- storms --


async def begin(store: Store, *ages: float) -> None:
    """Let alerts have begun so many seconds ago, the oldest first."""
    episodes = [episode(n, first_seen=NOW - age) for n, age in enumerate(ages, 1)]
    await store.transact(lambda tx: tx.save_episodes(episodes, [], []))


def to_come(number: int, status: str = "firing") -> Alert:
    """Make an alert of the body that is being kept; those of `begin` have the same fingerprints."""
    return Alert(episode(number).fingerprint, AlertStatus(status), {}, {}, NOW, None)


async def watch(store: Store, *coming: Alert, storm: Storm | None = STORM, now: float = NOW, **lent: Any) -> bool:
    """Look whether there is a storm."""
    return await store.transact(lambda tx: watch_for_storm(tx, Standing(storm=storm, **lent), coming, now, []))


async def test_one_alert_too_many_in_the_span_is_a_storm(store: Store) -> None:
    """Till it is over, and a while after; a timer says when."""
    await begin(store, 59, 40, 30, 10)
    assert await watch(store) is False
    (control,) = await laid(store, ControlKind.STORM)
    assert control == Control(
        control.id, ControlKind.STORM, NOW, "remediator", "a storm: more than 3 alerts began to fire within 1m",
        until=NOW - 59 + 660,
    )  # fmt: skip
    assert await store.view(lambda tx: tx.timers()) == [Timer("storm", NOW - 59 + 660, repr(NOW))]


async def test_as_many_as_allowed_are_none(store: Store) -> None:
    """What began a whole span ago is out of it; and without a threshold there is never one."""
    await begin(store, 60, 40, 30, 10)
    assert await watch(store) is False
    assert await watch(store, storm=None) is False
    assert await laid(store, ControlKind.STORM) == []


async def test_what_a_large_body_still_brings_counts_before_it_is_kept(store: Store) -> None:
    """Each alert once, those that fire, those that are not open already."""
    await begin(store, 40, 30)
    known, resolved = to_come(1), to_come(9, "resolved")
    await watch(store, to_come(3), to_come(3), known, resolved)
    assert await laid(store, ControlKind.STORM) == []
    await watch(store, to_come(3), to_come(4), known)
    assert [each.until for each in await laid(store, ControlKind.STORM)] == [NOW - 40 + 660]


async def test_a_body_that_is_a_storm_by_itself_began_now(store: Store) -> None:
    """Nothing has to have been there before."""
    await watch(store, *(to_come(n) for n in range(3)))
    assert await laid(store, ControlKind.STORM) == []
    await watch(store, *(to_come(n) for n in range(4)))
    assert [each.until for each in await laid(store, ControlKind.STORM)] == [NOW + 660]


async def test_a_storm_that_goes_on_lasts_longer(store: Store) -> None:
    """The same one, from the newest alert that was one too many; never shorter."""
    await begin(store, 50, 40, 30, 20)
    pause = Control("c0", ControlKind.PAUSE, NOW - 60, "ann", "deploy")
    await store.transact(lambda tx: tx.lay(pause))
    await watch(store)
    (before,) = await laid(store, ControlKind.STORM)
    assert await watch(store, to_come(11), to_come(12), now=NOW + 5) is False
    (after,) = await laid(store, ControlKind.STORM)
    assert (after.id, after.laid_at, after.until) == (before.id, NOW, NOW - 30 + 660)
    assert await store.view(lambda tx: tx.timers()) == [Timer("storm", NOW - 30 + 660, repr(NOW))]
    assert await watch(store, now=NOW + 6, notices=rule()) is False
    assert await laid(store, ControlKind.STORM) == [after]


async def test_a_storm_that_a_person_laid_without_an_end_gets_one(store: Store) -> None:
    """As every storm has."""
    await begin(store, 50, 40, 30, 20)
    endless = Control("c0", ControlKind.STORM, NOW - 60, "remediator", "")
    await store.transact(lambda tx: tx.lay(endless))
    await watch(store)
    assert [(each.id, each.until) for each in await laid(store, ControlKind.STORM)] == [("c0", NOW - 50 + 660)]


async def test_a_storm_that_is_laid_ends_as_it_was_said_when_nothing_more_begins(store: Store) -> None:
    """Whatever began is long ago."""
    present = Control("c1", ControlKind.STORM, NOW - 10, "remediator", "", until=NOW + 300)
    await store.transact(lambda tx: tx.lay(present))
    assert await watch(store) is False
    assert await laid(store, ControlKind.STORM) == [present]


async def test_a_storm_that_is_laid_counts_all_of_its_alerts(store: Store) -> None:
    """Also those from before an earlier one was lifted."""
    await begin(store, 50, 40, 30, 20)
    earlier = Control("c0", ControlKind.STORM, NOW - 99, "remediator", "", lifted_at=NOW - 25, lifted_by="ann")
    present = Control("c1", ControlKind.STORM, NOW - 10, "remediator", "", until=NOW + 1)
    for each in (earlier, present):
        await store.transact(lambda tx, each=each: tx.lay(each))
    await watch(store)
    assert [(each.id, each.until) for each in await laid(store, ControlKind.STORM)] == [("c1", NOW - 50 + 660)]


@pytest.mark.parametrize(("lifted_at", "storms"), [(NOW - 51, True), (NOW - 50, False), (NOW - 900, True)])
async def test_what_a_person_has_seen_and_lifted_counts_no_more(store: Store, lifted_at: float, storms: bool) -> None:
    """What began after that does."""
    await begin(store, 50, 40, 30, 20)
    seen = Control("c0", ControlKind.STORM, NOW - 99, "remediator", "", lifted_at=lifted_at, lifted_by="ann")
    await store.transact(lambda tx: tx.lay(seen))
    assert await watch(store) is False
    assert bool(await laid(store, ControlKind.STORM)) is storms


async def test_a_storm_gives_one_notice_where_notices_are_wanted(store: Store) -> None:
    """It is due at once, and not given again while the storm lasts."""
    await begin(store, 50, 40, 30, 20)
    assert await watch(store, notices=rule()) is True
    assert await watch(store, to_come(11), notices=rule(), now=NOW + 1) is False

    async def given(tx: Transaction) -> list[Run]:
        return [each for each in await tx.runs(RunFilter(notices=True)) if each.origin is Origin.NOTICE]

    (notice,) = await store.view(given)
    assert notice.given is not None
    assert (notice.given["kind"], notice.given["text"]) == (
        "storm", "a storm: more than 3 alerts began to fire within 1m: nothing is admitted till it has passed",
    )  # fmt: skip
