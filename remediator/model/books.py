"""What admission asks of the store, and what the store answers. Both stores answer the same question alike."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from remediator.model.run import Book, Priority
from remediator.model.time import Seconds, Timestamp


class Allowance(msgspec.Struct, frozen=True):
    """At most `count` admissions in any span of `per` seconds; with no rule, over all of them."""

    count: int
    per: Seconds
    rule: str | None = None
    target: str | None = None


class Touched(msgspec.Struct, frozen=True):
    """Which targets were admitted since then, beside the run's own; with no rule, over all of them."""

    since: Timestamp
    rule: str | None = None


class Question(msgspec.Struct, frozen=True):
    """What the guards of one run need to know."""

    run: str
    rule: str
    target: str
    book: Book = Book.LIVE
    priority: Priority = Priority.P2
    allowances: tuple[Allowance, ...] = ()
    touched: tuple[Touched, ...] = ()
    episodes_since: Timestamp | None = None  # None: no guard counts episodes
    lock: str | None = None
    firing: tuple[str | None, ...] = ()  # alert names that matter to a guard; None: all of them


class Ending(msgspec.Struct, frozen=True):
    """How the last run of a rule on a target ended, of those that had started a step."""

    at: Timestamp
    good: bool  # `succeeded`; for dry runs `planned` too: that it would have helped is their assumption
    rung: int = 0


class Books(msgspec.Struct, frozen=True):
    """What the guards count, as it stands inside the admitting transaction."""

    last: Ending | None = None
    last_good: Ending | None = None  # the newest that was good
    full_since: tuple[Timestamp | None, ...] = ()  # by allowance: when its `count`-th newest admission was
    touched: tuple[frozenset[str], ...] = ()  # by `Touched`: other targets
    episodes: int = 0  # that the alerts of this rule and target began since then
    lock_holder: str | None = None
    at_work: int = 0
    in_line: int = 0  # runs that wait for a place and go first: more urgent, or as urgent and older
    firing: tuple[Mapping[str, str], ...] = ()  # label sets that fire now, of the names asked for
