"""What admission asks of the store, and what the store answers. Both stores answer the same question alike."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from remediator.model.run import Priority
from remediator.model.time import Seconds, Timestamp


class Allowance(msgspec.Struct, frozen=True):
    """At most `count` admissions in any span of `per` seconds; with no rule, over all of them."""

    count: int
    per: Seconds
    rule: str | None = None
    target: str | None = None


class Question(msgspec.Struct, frozen=True):
    """What the guards of one run need to know."""

    run: str
    rule: str
    target: str
    dry: bool  # a dry run counts live and dry entries alike; a live one doesn't see dry ones
    priority: Priority = Priority.P2
    allowances: tuple[Allowance, ...] = ()
    lock: str | None = None
    firing: tuple[str | None, ...] = ()  # alert names that matter to a guard; None: all of them


class Books(msgspec.Struct, frozen=True):
    """What the guards count, as it stands inside the admitting transaction."""

    last_ended_at: Timestamp | None = None  # of the last run of the rule on the target that had started a step
    full_since: tuple[Timestamp | None, ...] = ()  # by allowance: when its `count`-th newest admission was
    lock_holder: str | None = None
    at_work: int = 0
    in_line: int = 0  # runs that wait for a place and go first: more urgent, or as urgent and older
    firing: tuple[Mapping[str, str], ...] = ()  # label sets that fire now, of the names asked for
