"""The books against a plain reference, over random histories: the same question has the same answer."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from samples import NOW, episode, run

from remediator.model.alert import Episode
from remediator.model.books import Allowance, Books, Ending, Question, Touched
from remediator.model.run import Book, Mode, Origin, Priority, Reason, Run, State
from remediator.model.story import Story
from remediator.store.protocol import Decided, Store, Transaction
from remediator.store.sqlite import open_store

RULES, TARGETS = ("restart", "scale"), ("web", "db", "cache")
ASIDE = {Origin.REVERT, Origin.NOTICE}
SEES = {Book.LIVE: {Book.LIVE}, Book.DRY: {Book.LIVE, Book.DRY}, Book.DRILL: {Book.DRILL}}
IN_BOOK: dict[Book, dict[str, Any]] = {
    Book.LIVE: {},
    Book.DRY: {"mode": Mode.DRY_RUN},
    Book.DRILL: {"drill": True},
}


class Past(msgspec.Struct, frozen=True):
    """What has happened, in the order in which it did."""

    runs: list[Run]
    episodes: list[Episode]
    decisions: list[Decided]


class Answer(NamedTuple):
    """All that is asked of it."""

    books: Books
    failures: int
    begun_at: float | None


class Asked(msgspec.Struct, frozen=True):
    """What is asked."""

    question: Question
    since: float
    failures_of: str | None
    newest: int
    after: float | None


@st.composite
def pasts(draw: st.DrawFn) -> Past:
    """Make runs that follow one another, each with some episodes, and at last some that are open, at most one by target."""
    past = Past([], [], [])
    lived = st.tuples(
        st.sampled_from(RULES), st.sampled_from(TARGETS), st.sampled_from(Book), st.sampled_from(Origin),
        st.sampled_from([State.SUCCEEDED, State.SUCCEEDED, State.FAILED, State.PLANNED, State.BLOCKED, State.CANCELLED]),
        st.booleans(), st.integers(0, 2), st.lists(st.sampled_from("abcd"), max_size=2),
    )  # fmt: skip
    for number, (rule, target, book, origin, state, began, rung, alerts) in enumerate(
        draw(st.lists(lived, max_size=14))
    ):
        at = NOW + 2 * number
        past.runs.append(
            run(
                number, rule=rule, target=target, origin=origin, state=state, rung=rung, due_at=None, ended_at=at + 1,
                admitted_at=at if origin not in ASIDE and state is not State.BLOCKED else None,
                started_at=at if began else None, failed_at=at + 1 if state is State.FAILED else None, **IN_BOOK[book],
            )
        )  # fmt: skip
        for alert in alerts:
            heard = episode(len(past.episodes) + 1, fingerprint=alert, first_seen=at, ended_at=at, over=alert == "d")
            past.episodes.append(heard)
            past.decisions.append(Decided(len(past.episodes), rule, past.runs[-1].id, at, target))
    standing = st.tuples(
        st.sampled_from(RULES), st.sampled_from(Book), st.sampled_from([Origin.ALERT, Origin.REVERT]),
        st.sampled_from([State.WAITING, State.RUNNING, State.VERIFYING, State.UNKNOWN]), st.sampled_from(Priority),
        st.booleans(), st.booleans(),
    )  # fmt: skip
    for target in draw(st.sets(st.sampled_from(TARGETS))):
        rule, book, origin, state, priority, locked, full = draw(standing)
        at = NOW + 2 * len(past.runs)
        past.runs.append(
            run(
                len(past.runs), rule=rule, target=target, origin=origin, state=state, priority=priority,
                admitted_at=None if state is State.WAITING or origin in ASIDE else at, lock=target if locked else None,
                reason=Reason.MAX_RUNNING if full else None, failed_at=at if state is State.UNKNOWN else None, **IN_BOOK[book],
            )
        )  # fmt: skip
    return past


@st.composite
def asked(draw: st.DrawFn) -> Asked:
    """Ask for instants on the boundaries and between them."""
    at = st.integers(-1, 30).map(lambda after: NOW + after)
    rule = st.none() | st.sampled_from(RULES)
    allowances = st.builds(Allowance, st.integers(1, 4), st.just(60.0), rule, st.none()) | st.builds(
        Allowance, st.integers(1, 3), st.just(60.0), st.sampled_from(RULES), st.sampled_from(TARGETS)
    )
    question = Question(
        run=run(draw(st.integers(0, 16))).id,
        rule=draw(st.sampled_from(RULES)),
        target=draw(st.sampled_from(TARGETS)),
        book=draw(st.sampled_from(Book)),
        priority=draw(st.sampled_from(Priority)),
        allowances=tuple(draw(st.lists(allowances, max_size=3))),
        touched=tuple(draw(st.lists(st.builds(Touched, at, rule), max_size=2))),
        episodes_since=draw(st.none() | at),
        lock=draw(st.none() | st.sampled_from(TARGETS)),
    )
    return Asked(question, draw(at), draw(rule), draw(st.integers(1, 4)), draw(st.none() | at))


def expected(past: Past, ask: Asked) -> Answer:
    """Answer from the lists, by what the protocol says."""
    question = ask.question
    seen = [each for each in past.runs if each.book in SEES[question.book]]
    counted = [each for each in seen if each.origin not in ASIDE]
    admitted = [(each.admitted_at, each) for each in counted if each.admitted_at is not None]
    endings = [
        Ending(each.ended_at, each.state in {State.SUCCEEDED, State.PLANNED}, each.rung)
        for _, each in admitted
        if (each.rule, each.target) == (question.rule, question.target) and each.started_at and each.ended_at
    ]

    def full_since(allowance: Allowance) -> float | None:
        mine = [
            at
            for at, each in admitted
            if allowance.rule in {None, each.rule} and allowance.target in {None, each.target}
        ]
        return sorted(mine)[-allowance.count] if len(mine) >= allowance.count else None

    def touched(which: Touched) -> frozenset[str]:
        mine = [each for at, each in admitted if at > which.since and which.rule in {None, each.rule}]
        return frozenset(each.target for each in mine if each.target is not None) - {question.target}

    def before(each: Run) -> bool:
        return (each.priority, each.id) < (question.priority, question.run)

    about = {each.episode for each in past.decisions if (each.rule, each.target) == (question.rule, question.target)}
    since = question.episodes_since
    holders = [each.id for each in seen if each.open and each.lock and each.lock == question.lock]
    line = [each for each in counted if each.state is State.WAITING and each.reason is Reason.MAX_RUNNING]
    fired = [each for each in past.episodes if not each.over]
    begun = {each.fingerprint: each.first_seen for each in fired}
    begins = sorted(at for at in begun.values() if ask.after is None or at > ask.after)
    failed = [each for each in counted if ask.failures_of in {None, each.rule} and each.failed_at is not None]
    return Answer(
        Books(
            last=endings[-1] if endings else None,
            last_good=next((each for each in reversed(endings) if each.good), None),
            full_since=tuple(full_since(each) for each in question.allowances),
            touched=tuple(touched(each) for each in question.touched),
            episodes=sum(since is not None and each.id in about and each.first_seen > since for each in past.episodes),
            lock_holder=next((each for each in holders if each != question.run), None),
            at_work=sum(each.state.at_work for each in counted),
            in_line=sum(before(each) for each in line),
        ),
        failures=sum(each.failed_at is not None and each.failed_at > ask.since for each in failed),
        begun_at=begins[-ask.newest] if len(begins) >= ask.newest else None,
    )


class _Undone(Exception):
    """Thrown to undo a transaction: the next example finds the store empty."""


async def answered(store: Store, past: Past, ask: Asked) -> Answer:
    """Answer from the store, which is left as it was."""
    answers: list[Answer] = []

    async def script(tx: Transaction) -> None:
        await tx.save_episodes(past.episodes, [], [])
        await tx.add([Story(each, episode(0)) for each in past.runs])
        await tx.add_decisions(past.decisions)
        books = await tx.books(ask.question)
        failures = await tx.failures(ask.since, ask.failures_of, ask.question.book)
        answers.append(Answer(books, failures, await tx.begun_at(ask.newest, ask.after)))
        raise _Undone

    with contextlib.suppress(_Undone):
        await store.transact(script)
    return answers[-1]


def test_the_books_are_what_the_lists_say(tmp_path: Path) -> None:
    """For live runs, dry ones and drills, over every span."""
    store = open_store(tmp_path / "s.db")
    with asyncio.Runner() as runner:

        @settings(max_examples=300, deadline=None)
        @given(pasts(), asked())
        def agree(past: Past, ask: Asked) -> None:
            assert runner.run(answered(store, past, ask)) == expected(past, ask)

        agree()
        runner.run(store.close())
