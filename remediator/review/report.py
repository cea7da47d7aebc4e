"""The report: what a night came to, in the order in which somebody reads in the morning.

What is alike stands there once, with its count, and every list has a longest: a night of ten thousand runs is one page. Of a
confidential rule there is rule, priority, state and id alone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, TypeVar

import msgspec

from remediator.model.run import Origin, Priority, Reason, State
from remediator.model.time import Seconds

T = TypeVar("T")


class Verdict(StrEnum):
    """What became of a run, as a reviewer asks."""

    HELPED = "helped"  # its steps were done, and its verification held
    DONE = "done"  # its steps were done; that it helped, nobody has verified
    FAILED = "failed"
    STOPPED = "stopped"  # cancelled after its first step
    HEALED = "healed"  # a dry run; its alerts resolved by themselves
    PLANNED = "planned"  # a dry run; they have not, or no alert opened it
    REFUSED = "refused"
    NOT_BEGUN = "not_begun"  # cancelled before its first step
    OPEN = "open"


class Need(StrEnum):
    """What a person has to see to, the most pressing first."""

    UNKNOWN = "unknown"
    APPROVAL = "approval"
    BREAKER = "breaker"
    STORM = "storm"
    PAUSE = "pause"
    MODE = "mode"  # a person has laid a highest mode
    REVERT_HELD = "revert_held"
    RULES = "rules"  # what the files of a daemon say is refused: it goes on by the last good set
    FAILED = "failed"  # and nothing has succeeded there since
    NOTICE = "notice"  # what the daemon had to say reached nobody


class Listing(msgspec.Struct, Generic[T], frozen=True):
    """A list that has a longest."""

    entries: tuple[T, ...] = ()
    more: int = 0  # entries left out


class Pressing(msgspec.Struct, frozen=True):
    """Something that needs a person, told of the newest of its kind."""

    need: Need
    count: int
    rule: str | None  # None: all rules
    priority: Priority | None = None
    run: str | None = None
    since: str | None = None  # of the oldest; never told of a confidential rule, as the next two
    target: str | None = None
    because: str | None = None


class Deed(msgspec.Struct, frozen=True):
    """What one rule did to one target, or would have done: runs that came to the same, told of the newest."""

    rule: str
    target: str | None
    priority: Priority
    origin: Origin
    dry: bool
    what: tuple[
        str, ...
    ]  # the steps that wrote or notified, or would have, in the actions' own words, and how they ended
    verdict: Verdict
    reason: Reason | None
    because: str | None
    count: int
    first_at: str
    last_at: str
    shortest: Seconds | None  # from the first step to the end; `healed`: from the match until the alerts had resolved
    longest: Seconds | None
    run: str


class Group(msgspec.Struct, frozen=True):
    """Runs of one rule that are in the same state for the same reason, told of the newest."""

    rule: str
    state: State
    reason: Reason | None
    count: int
    dry: int  # how many of them are dry runs
    healed: int  # of how many it is known that their alerts have resolved by themselves
    shortest: Seconds | None  # from the match until the alerts of these had resolved
    longest: Seconds | None
    first_at: str
    last_at: str
    target: str | None
    because: str | None
    run: str


class Veiled(msgspec.Struct, frozen=True):
    """Runs of a confidential rule: all that is told of them."""

    rule: str
    priority: Priority
    state: State
    count: int
    run: str  # the newest


class Numbers(msgspec.Struct, frozen=True):
    """How many runs came to what."""

    runs: int = 0
    helped: int = 0
    done: int = 0
    failed: int = 0
    stopped: int = 0
    would_have_acted: int = 0
    healed: int = 0  # of these
    refused: int = 0
    not_begun: int = 0
    open: int = 0

    @property
    def acted(self) -> int:
        """Give how many began and ended."""
        return self.helped + self.done + self.failed + self.stopped


class RuleNumbers(msgspec.Struct, frozen=True):
    """How many runs of one rule came to what."""

    rule: str
    numbers: Numbers


class Review(msgspec.Struct, frozen=True):
    """A rule that somebody should go through again."""

    rule: str
    owner: str | None
    reviewed: str  # YYYY-MM-DD
    overdue: Seconds


class Missed(msgspec.Struct, frozen=True):
    """Times of a rule's schedule at which nothing was begun, told by reason."""

    rule: str
    times: int
    first_at: str
    last_at: str
    because: str | None  # of the newest; never told of a confidential rule


DRILLED_WITHIN: Seconds = 90 * 86_400.0  # a quarter, in which each procedure is to be drilled


class Report(msgspec.Struct, frozen=True):
    """What has happened in a span, and what waits now. Instants are RFC 3339."""

    since: str
    until: str
    whole: bool  # False: there were more runs than a report looks at, and the oldest are not in it
    numbers: Numbers  # of all runs but drills and those by hand
    begun_by_hand: int
    drilled: int
    pressing: Listing[Pressing]
    acted: Listing[Deed]
    would_have_acted: Listing[Deed]
    refused: Listing[Group]
    not_begun: Listing[Group]
    by_hand: Listing[Deed]
    drills: Listing[Deed]
    waiting: Listing[Group]
    confidential: Listing[Veiled]
    rules: Listing[RuleNumbers]
    reviews_due: Listing[Review]
    never_reviewed: Listing[str]
    undrilled: Listing[str]  # rule files of which no drill has gone well in `DRILLED_WITHIN`
    missed: Listing[Missed]
