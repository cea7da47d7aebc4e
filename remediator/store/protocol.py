"""What the engine asks of a store.

A *script* is a coroutine function that takes a `Transaction`: it reads, decides by pure functions, and writes. A store runs
a script whole or not at all, and may run it again from the start (a serialization failure), so that a script has no effect
outside its transaction. SQLite runs scripts on its writing thread, several in one commit; PostgreSQL awaits them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

import msgspec

from remediator.model.alert import Episode, Notification
from remediator.model.books import Books, Question
from remediator.model.control import Control, ControlKind
from remediator.model.message import KeptMessage, Message
from remediator.model.run import Book, Event, EventKind, Phase, Priority, Run, State, Step
from remediator.model.story import Story
from remediator.model.time import Timestamp
from remediator.store.chain import Head

T = TypeVar("T")


class Watch(msgspec.Struct, frozen=True):
    """How the alerts of one run stand."""

    firing: int
    first_seen: Timestamp | None  # the earliest among those that fire
    lost: int = 0  # closed without anybody saying that they resolved


class Decided(msgspec.Struct, frozen=True):
    """What became of one alert under one rule. `run` is None where it waits for an older run to close (deferred)."""

    episode: int
    rule: str
    run: str | None
    at: Timestamp
    target: str | None = None


class OpenRun(msgspec.Struct, frozen=True):
    """What a new match needs to know of the run that is already there."""

    id: str
    rule: str
    target: str
    begun: bool  # it was admitted, or its end is decided: alerts that come now are for the run after it


class RunFilter(msgspec.Struct, frozen=True):
    """Which runs to list, newest first."""

    state: State | None = None
    rule: str | None = None
    since: Timestamp | None = None
    ended_since: Timestamp | None = None  # only those that have ended, and not before then
    before: str | None = None  # only runs with a smaller id: the next page
    limit: int = 100
    open_only: bool = False
    notices: bool = False  # the daemon's own, too
    drills: bool = False  # drills alone


REPORT_TIMER = "report"  # the app looks at it by itself: the engine neither wakes for it nor does anything about it


class Timer(msgspec.Struct, frozen=True):
    """A time at which something is to be done that belongs to no run yet. There is one by each name."""

    name: str  # `storm`, `schedule:RULE`, or REPORT_TIMER
    due_at: Timestamp
    about: str  # what it was reckoned from (a schedule's text): another one has to be reckoned anew


class StoredEvent(msgspec.Struct, frozen=True):
    """One line of history with its place in the chain."""

    seq: int  # grows over the whole store: `events` goes on from one
    chain: str  # a replica's own
    number: int  # within the chain: 1, 2, 3, …
    at: Timestamp
    kind: str
    run: str | None
    data: Mapping[str, Any]
    hash: str  # sha256 over the hash before and this line's canonical form, hex


class Replica(msgspec.Struct, frozen=True):
    """A daemon that works over this store, as it has told of itself."""

    worker: str  # whose leases are its
    host: str
    version: str
    started_at: Timestamp
    rules: str  # a hash over all that are in force there
    seen_at: Timestamp  # when it last told
    refused: str | None = None  # why what its files say now is not in force: it goes on by the last good set


class Transaction(Protocol):
    """One transaction: everything in it becomes durable together, or nothing does."""

    # -- alerts --
    async def episodes(self, fingerprints: Collection[str]) -> Mapping[str, Episode]:
        """Give the newest episode of each fingerprint that has one."""

    async def episode_ids(self, count: int) -> Sequence[int]:
        """Reserve ids for new episodes."""

    async def add_notifications(self, notifications: Sequence[Notification]) -> None:
        """Keep the bodies, for replay."""

    async def save_episodes(
        self, opened: Sequence[Episode], seen: Sequence[tuple[int, Timestamp]], closed: Sequence[tuple[int, Timestamp]]
    ) -> None:
        """Open new episodes, note that some were heard of again, and close some."""

    async def lose(self, before: Timestamp, now: Timestamp) -> Sequence[Episode]:
        """Close as lost the open episodes that were last heard of before then, and give them."""

    async def count_open(self, fingerprints: Collection[str]) -> int:
        """Count these alerts' open episodes."""

    async def begun_at(self, newest: int, after: Timestamp | None) -> Timestamp | None:
        """Say when the so-many-th newest of the distinct alerts that began after then was first seen (1: the newest).

        One that was over when it was first heard of has not begun.
        """

    async def firing(self, name: str | None = None) -> Sequence[Episode]:
        """Give the episodes that are open, of one alert name or all."""

    # -- decisions --
    async def decided(self, episodes: Collection[int]) -> frozenset[tuple[int, str]]:
        """Give the (episode, rule) pairs that have been taken up already."""

    async def add_decisions(self, decisions: Sequence[Decided]) -> None:
        """Take up episodes; a pair that was taken up before is given its new run."""

    async def release_deferred(self, rule: str, target: str) -> Sequence[Episode]:
        """Let rules take up anew the alerts that wait for the run of this rule and target, and give those that fire."""

    async def hand_over(self, run: str, to: str) -> None:
        """Give all alerts of one run to another."""

    async def release(self, run: str) -> Sequence[Episode]:
        """Let rules take up anew the alerts of a run that never began, and give those that still fire."""

    async def name_target(self, run: str, target: str) -> None:
        """Note on the decisions of a run what its target is, now that its facts have told."""

    async def second_chances(self, since: Timestamp, limit: int) -> Sequence[tuple[str, Episode]]:
        """Let rules take up anew, once, what a storm has refused since then; gives rule and episode where it still fires.

        At most so many at a time: call again until there are none.
        """

    # -- runs --
    async def open_run(self, rule: str, target: str, *, drill: bool = False) -> OpenRun | None:
        """Give the open run of this rule and target (reverts aside): there is one at most, by constraint."""

    async def open_runs(self, pairs: Collection[tuple[str, str]]) -> Sequence[OpenRun]:
        """Give the open runs of many rules and targets, drills aside."""

    async def runs_of(self, episodes: Collection[int]) -> Sequence[Run]:
        """Give the runs that these episodes belong to: open ones, planned ones that haven't healed, and their reverts."""

    async def watch(self, run: str) -> Watch:
        """Say how the alerts of a run stand now."""

    async def waiting_revert(self, rule: str, target: str, *, drill: bool) -> Run | None:
        """Give the revert of this rule and target that has not begun: there is one at most, by constraint."""

    async def amend(self, run: Run) -> None:
        """Change a run that has not begun, whoever holds it: a holder has lost it, as its fence is raised.

        Raises StaleLease when it is not `waiting` any more; nothing is written then.
        """

    async def failures(self, since: Timestamp, rule: str | None, book: Book) -> int:
        """Count the runs that became `failed` or `unknown` after then and have not proved good since, of a rule or all."""

    async def alerts_of(self, run: str) -> Sequence[Episode]:
        """Give all alerts of a run, in the order in which they came."""

    async def books(self, question: Question) -> Books:
        """Answer what the guards ask."""

    async def add(self, stories: Sequence[Story], worker: str | None = None) -> None:
        """Keep new runs; with a worker named they are claimed by it from the start."""

    async def save(self, story: Story, worker: str, keep: Timestamp | None) -> None:
        """Keep a claimed run as it is now, under its fence; steps that the story has forgotten are forgotten here too.

        `keep` is the end of the lease where the worker goes on with it, None where it lets go.
        Raises StaleLease when the run has passed to another worker; nothing is written then.
        """

    async def mark_healed(self, run: Run) -> None:
        """Note on a planned run when its alerts had all resolved."""

    async def claim(
        self,
        worker: str,
        now: Timestamp,
        until: Timestamp,
        limit: int,
        priorities: Sequence[Priority] = tuple(Priority),
    ) -> Sequence[Story]:
        """Lease due runs of these priorities, the first of them first; each claim raises the fence."""

    async def renew(self, worker: str, runs: Collection[str], until: Timestamp) -> None:
        """Extend the leases of a worker on the runs that it has in hand."""

    async def take_over(self, now: Timestamp, worker: str | None) -> Sequence[str]:
        """Make due at once what a worker held that is known to have died, and give its runs.

        An embedded store has one daemon: whoever else holds a lease there has died, known or not.
        """

    async def wake(self, runs: Collection[str], now: Timestamp) -> None:
        """Make runs due now, unless a worker is on them (which looks again by itself before it lets go)."""

    async def wake_held(self, now: Timestamp) -> None:
        """Make due all that a control holds: under a pause, or an open run that rests for other reasons."""

    async def wake_waiting(self, closed: Run, place_free: bool, now: Timestamp) -> int:
        """Make due what waited for this run: its rule and target, its lock, and its place. Gives how many.

        A place wakes one run of each of the books: whose it is depends on what each of them sees.
        """

    async def next_due(self) -> Timestamp | None:
        """Say when the next run that nobody holds, or the next timer of the engine's, is due."""

    async def run(self, run_id: str) -> Story | None:
        """Give one run with its steps."""

    async def runs(self, which: RunFilter) -> Sequence[Run]:
        """List runs."""

    async def steps_of(self, runs: Collection[str], phases: Collection[Phase]) -> Mapping[str, Sequence[Step]]:
        """Give the steps of some phases by run, without what came of them (`result`); a run that has none is left out."""

    async def resolved_at(self, runs: Collection[str]) -> Mapping[str, Timestamp]:
        """Say by run when all its alerts had resolved; one is left out while any fires, or where one was lost."""

    async def open_counts(self) -> Mapping[State, int]:
        """Count the open runs by state."""

    # -- controls, rules, history --
    async def controls(self, now: Timestamp, run: str | None = None) -> Sequence[Control]:
        """Give what is laid and neither lifted nor over: what concerns no one run, and this one while it is open."""

    async def cancelled(self, runs: Collection[str]) -> Sequence[str]:
        """Give those of these runs for which a cancellation is laid."""

    async def lay(self, control: Control) -> None:
        """Lay a control."""

    async def alter(self, control: Control) -> None:
        """Change one: its end, or that it is lifted."""

    async def last_lifted(self, kind: ControlKind, rule: str | None, book: Book) -> Timestamp | None:
        """Say when a person last lifted one of this kind, laid on just this rule (None: on everything) and these books."""

    async def keep_rules(self, definitions: Mapping[str, Mapping[str, Any]], now: Timestamp) -> None:
        """Keep rule definitions by their hash, so that a run can go on with the rule it began with."""

    async def rule_definition(self, rule_hash: str) -> Mapping[str, Any] | None:
        """Give a kept definition."""

    async def append(self, events: Sequence[Event]) -> None:
        """Add lines to the history."""

    async def events(self, after: int, limit: int, run: str | None = None) -> Sequence[StoredEvent]:
        """Read history in order, from after a `seq`."""

    async def events_since(self, kind: EventKind, since: Timestamp, limit: int) -> Sequence[StoredEvent]:
        """Read the newest lines of one kind since then, oldest first."""

    async def head(self) -> StoredEvent | None:
        """Give the newest line of history."""

    async def heads(self) -> tuple[Head, Sequence[Head]]:
        """Give the head of this replica's own chain, and those of the others; the checkpoint's where all is pruned."""

    async def keep_head(self, head: Head) -> None:
        """Keep which event this head of the own chain was: it is published, and may be asked for when that event is pruned."""

    async def remembers(self, head: Head) -> bool:
        """Tell whether the history has this line as it was noted, or has pruned it."""

    async def timers(self) -> Sequence[Timer]:
        """Give all timers."""

    async def set_timer(self, timer: Timer) -> None:
        """Set a timer, in the place of one by the same name."""

    async def drop_timer(self, name: str) -> None:
        """Forget a timer."""

    # -- the outbox --

    async def keep_message(self, channel: str, message: Message, due_at: Timestamp) -> None:
        """Keep a message behind all others of its channel; `due_at` holds for the first one."""

    async def waits_for_outbox(self, channel: str) -> bool:
        """Tell whether a channel has messages that wait."""

    async def claim_messages(self, worker: str, now: Timestamp, until: Timestamp) -> Sequence[KeptMessage]:
        """Lease the first message of every channel where it is due."""

    async def put_back_message(self, seq: int, worker: str, message: Message, due_at: Timestamp) -> bool:
        """Let go of a message that could not be sent; tells whether its lease was still this worker's."""

    async def drop_message(self, seq: int, worker: str) -> bool:
        """Take a message out; tells whether its lease was still this worker's."""

    async def messages(self, limit: int) -> Sequence[KeptMessage]:
        """List what waits, in its order."""

    async def count_messages(self) -> int:
        """Count what waits."""

    async def next_message_due(self) -> Timestamp | None:
        """Say when the first message of any channel is due next."""

    async def tell_replica(self, replica: Replica) -> None:
        """Note that a daemon is here, in the place of what it told before."""

    async def replicas(self, since: Timestamp) -> Sequence[Replica]:
        """Give the daemons that were heard of since then, by host and start."""

    async def touch(self, now: Timestamp) -> None:
        """Keep the present instant: to see whether the store takes writes, and for `newest`."""

    async def newest(self) -> Timestamp | None:
        """Give the newest instant that was kept: of the newest line of history, or by `touch`."""

    async def prune(self, runs: Timestamp, notifications: Timestamp, events: Timestamp) -> int:
        """Forget some of the closed runs, bodies and history older than these instants, and say how many rows.

        A bounded number at a time: call again until it is 0. The chain keeps a checkpoint.
        """


Script: TypeAlias = Callable[[Transaction], Awaitable[T]]


class Store(Protocol):
    """A place where transactions happen."""

    place: str  # where it is, for people
    broken: str | None  # why nothing can be promised any more, if so: trying again is of no use
    failing: str | None  # why the last write was not taken, where that may pass

    async def transact(self, script: Script[T]) -> T:
        """Run a script; when this returns, what it wrote is durable.

        Raises StoreError when the store can't promise that at the moment.
        """

    async def view(self, script: Script[T]) -> T:
        """Run a script that only reads, beside the writer."""

    def when_stirred(self, look: Callable[[bool], None]) -> None:
        """Have something called when another daemon may have made work for this one: true where it was an order to a run.

        It may come late, or never.
        """

    async def close(self) -> None:
        """Finish what is under way and let go."""
