"""Runs, their steps, and the one function that knows every legal transition.

A run is one remediation of one target by one rule. It is frozen data: to change is to make a new one by `transition` (its
state) or `msgspec.structs.replace` (everything else).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from msgspec.structs import replace

from remediator.errors import IllegalTransition
from remediator.model.time import Seconds, Timestamp


class Mode(StrEnum):
    """How far a run may go. The mode in force is the lowest of the daemon's, the rule's and any control's."""

    OFF = "off"
    DRY_RUN = "dry-run"
    APPROVE = "approve"
    AUTO = "auto"

    @property
    def rank(self) -> int:
        """Give the place on the ladder, `off` lowest."""
        return _RANKS[self]


_RANKS = {mode: rank for rank, mode in enumerate(Mode)}


def lowest(*modes: Mode) -> Mode:
    """Give the lowest of some modes: the one in force."""
    return min(modes, key=lambda mode: mode.rank)


class Priority(StrEnum):
    """Orders work: P0 before P3."""

    P0 = "P0"
    P1 = "P1"
    P2 = "P2"
    P3 = "P3"


class State(StrEnum):
    """Where a run stands. `docs/architecture.md` draws the transitions."""

    WAITING = "waiting"
    AWAITING_APPROVAL = "awaiting_approval"
    RUNNING = "running"
    VERIFYING = "verifying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PLANNED = "planned"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"

    @property
    def open(self) -> bool:
        """Tell whether something may still happen to a run in this state."""
        return bool(LEGAL[self])

    @property
    def at_work(self) -> bool:
        """Tell whether a run in this state counts against `max_running`."""
        return self in {State.RUNNING, State.VERIFYING}


# Every legal transition of a run; `None` is the state before it exists. A state from which nothing leads is an end.
LEGAL: Mapping[State | None, frozenset[State]] = {
    None: frozenset({State.WAITING}),
    State.WAITING: frozenset(
        {
            State.AWAITING_APPROVAL,
            State.RUNNING,
            State.BLOCKED,
            State.CANCELLED,
            State.FAILED,
        },  # failed: past the ladder
    ),
    State.AWAITING_APPROVAL: frozenset({State.WAITING, State.RUNNING, State.CANCELLED, State.FAILED}),
    State.RUNNING: frozenset(
        {
            State.AWAITING_APPROVAL,  # of the next rung
            State.VERIFYING,
            State.SUCCEEDED,
            State.FAILED,
            State.PLANNED,
            State.BLOCKED,  # checked again after a pause, before its first write
            State.CANCELLED,
            State.UNKNOWN,
        },
    ),
    State.VERIFYING: frozenset({State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED, State.UNKNOWN}),
    State.UNKNOWN: frozenset({State.SUCCEEDED, State.FAILED}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.PLANNED: frozenset(),
    State.BLOCKED: frozenset(),
    State.CANCELLED: frozenset(),
}


class Reason(StrEnum):
    """Why a run is where it is. Guards give their own key."""

    # waiting
    FOR = "for"
    FACTS = "facts"  # also: blocked, since they could not be read
    MAX_RUNNING = "max_running"
    PAUSED = "paused"
    BUSY = "busy"  # an older run of the same rule and target has to close first
    REVERT = "revert"  # the time to take a change back has not come
    # awaiting_approval
    APPROVAL = "approval"
    # blocked, by a guard
    COOLDOWN = "cooldown"
    LIMIT = "limit"
    UNLESS_FIRING = "unless_firing"
    ONLY_FIRING = "only_firing"
    ONLY_IF = "only_if"
    LOCK = "lock"
    BLAST_RADIUS = "blast_radius"
    BREAKER = "breaker"
    EPISODES = "episodes"
    STORM = "storm"
    # blocked, by what the rule needs
    UNSAFE_VALUE = "unsafe_value"
    TEMPLATE_ERROR = "template_error"
    SILENCED = "silenced"  # or inhibited, as Alertmanager's API says
    # cancelled
    RESOLVED = "resolved"
    OPERATOR = "operator"  # also: an unknown run that a person settled
    RULE_CHANGED = "rule_changed"
    LOST = "lost"  # nothing was heard of its alerts for `alertmanager.stale_after`
    JOINED = "joined"  # its target turned out to be that of an older run that still waits; its alerts went there
    OFF = "off"  # the mode fell to `off` while it waited
    REJECTED = "rejected"  # a person who was asked said no
    EXPIRED = "expired"  # nobody who was asked answered in time
    # failed
    STEP = "step"
    VERIFY = "verify"
    INCONCLUSIVE = "inconclusive"
    DEADLINE = "deadline"
    LADDER = "ladder"  # no rung is left that may be tried
    # unknown
    INTERRUPTED = "interrupted"  # a step that must not be repeated was begun and has no recorded end


class Phase(StrEnum):
    """Which of the rule's lists a step belongs to, and which one a run is going through."""

    FACTS = "facts"
    STEPS = "steps"
    VERIFY = "verify"
    UNDO = "undo"
    REVERT = "revert"
    ON_SUCCESS = "on_success"
    ON_FAILURE = "on_failure"
    ON_BLOCKED = "on_blocked"


class Origin(StrEnum):
    """What began a run."""

    ALERT = "alert"
    SCHEDULE = "schedule"
    HAND = "hand"  # a person: `remediator run`, `remediator drill`
    REVERT = "revert"  # an earlier run's temporary change is taken back
    NOTICE = "notice"  # what the daemon has to say for itself


class Book(StrEnum):
    """Which books a run is written in: what guards count of it, and for whom."""

    LIVE = "live"
    DRY = "dry"  # dry runs count live entries too; live ones don't see these
    DRILL = "drill"  # apart from all others


class StepState(StrEnum):
    """What is known of one step of one run."""

    STARTED = "started"  # committed before the action is called
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"  # its `if` was false; with an error: a person has cancelled what was left
    PLANNED = "planned"  # dry-run: rendered, not carried out
    INTERRUPTED = "interrupted"  # begun, and no end was recorded


class Step(msgspec.Struct, frozen=True, omit_defaults=False):
    """One step of one run; there is one for each place in the rule's lists and each item of a loop."""

    phase: Phase
    position: int  # in the rule's list
    item: int  # in the `for_each` list, else 0
    attempt: int  # from 1; for a check, how often it was polled
    uses: str
    id: str | None
    state: StepState
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    result: Any = None
    error: str | None = None
    refuted: bool = False  # it was carried out and the answer is no: a check is false, and not merely unreadable
    repeatable: bool = False  # idempotent, so that it may be begun again when its end is not known
    unsent: bool = False  # provably nothing was sent: may be tried again though it is not idempotent
    kept: bool = False  # a notification that could not be sent: it is in the outbox, and nothing waits for it
    retry_after: Seconds | None = None  # how long the other end has asked to be left alone
    parameters: Any = None  # as rendered, secrets by name
    items: Any = None  # on the first of a loop: what `for_each` was when the loop began
    rung: int = 0
    timer: bool = False  # it only lets time pass

    @property
    def key(self) -> tuple[int, Phase, int, int]:
        """Identify the step in its run."""
        return (self.rung, self.phase, self.position, self.item)


class PlannedStep(msgspec.Struct, frozen=True):
    """One step of a plan: what would be done, in words and data."""

    id: str | None
    uses: str
    effect: str
    says: str  # the action's own sentence
    parameters: Any  # rendered; what only an earlier step can tell stands as `<from STEP>`
    condition: str | None = None  # its `if`, where that can't be known yet
    each: str | None = None  # its `for_each`, where that can't be known yet


class Run(msgspec.Struct, frozen=True):
    """One remediation of one target by one rule, frozen with the rule it began with."""

    id: str
    rule: str
    rule_hash: str
    state: State
    created_at: Timestamp
    opened_by: int | None  # the episode of the alert that opened it
    origin: Origin = Origin.ALERT
    given: Mapping[str, str] | None = None  # where no alert opened it: the labels that stand for an alert's
    priority: Priority = Priority.P2
    target: str | None = None  # None until the facts that name it are read
    mode: Mode = Mode.AUTO  # the one in force at the last decision
    reason: Reason | None = None
    because: str | None = None  # the figures and the sentence that belong to the reason
    plan: tuple[PlannedStep, ...] | None = None
    plan_hash: str | None = None
    admitted_at: Timestamp | None = None  # guards were used up then
    started_at: Timestamp | None = None  # first step after admission
    ended_at: Timestamp | None = None
    healed_at: Timestamp | None = None  # `planned` only: when its alerts had all resolved by themselves
    lock: str | None = None  # held from admission until it closes
    wrote: bool = False  # a step that writes has been started: `undo` is due if the run fails
    refused_since: Timestamp | None = None  # first refusal: patience counts from here
    ending: State | None = None  # decided already; the steps that follow from it are still to run
    phase: Phase = Phase.FACTS
    verify_since: Timestamp | None = None
    poll: int = 0  # how many times the checks have been polled
    poll_at: Timestamp | None = None  # when the next poll is due
    paused_since: Timestamp | None = None
    pause_ends: Timestamp | None = None  # by the span that it was given, where nobody lifts it before
    paused_for: float = 0.0  # seconds that pauses have held it: they count against no deadline
    good_since: Timestamp | None = None  # all checks have held since then without a break
    due_at: Timestamp | None = None  # when it next has something to do; None: only when somebody wakes it
    fence: int = 0  # grows with every claim; a write that carries an older one writes nothing
    rung: int = 0
    drill: bool = False
    asked_at: Timestamp | None = None  # when a person was asked: what was approved before then doesn't count
    ask_until: Timestamp | None = None  # then the approval that it waits for expires
    approved_hash: str | None = None  # the plan that was approved, until it is begun
    reads_ahead: bool = False  # a person is to be asked, so its leading reads are taken before it is admitted
    second_chance: bool = False  # proposed anew after a storm: there is no third
    reverts: str | None = None  # the run whose change it takes back
    revert_at: Timestamp | None = None  # at the latest; None: only when the alerts have resolved
    failed_at: Timestamp | None = None  # when it ended `failed` or became `unknown`: the breaker counts it

    @property
    def open(self) -> bool:
        """Tell whether something may still happen to it."""
        return self.state.open

    @property
    def begun(self) -> bool:
        """Tell whether alerts that come now wait for it to close, and join it no more; so does who wants its lock."""
        return self.admitted_at is not None or self.ending is not None or self.origin is Origin.REVERT

    @property
    def dry(self) -> bool:
        """Tell whether nothing outside may be written or told by it."""
        return self.mode is Mode.DRY_RUN

    @property
    def healed_after(self) -> Seconds | None:
        """Give how long after the match its alerts had resolved, where they did so by themselves."""
        at = self.healed_at
        if self.state is State.CANCELLED and self.reason is Reason.RESOLVED and self.started_at is None:
            at = self.ended_at  # it waited, and was cancelled for that in the same transaction
        return None if at is None else at - self.created_at

    @property
    def book(self) -> Book:
        """Give the books that it is written in."""
        return Book.DRILL if self.drill else Book.DRY if self.dry else Book.LIVE

    @property
    def by_alert(self) -> bool:
        """Tell whether it is there for an alert, and has nothing to do once that has resolved."""
        return self.origin is Origin.ALERT


_FAILED = (State.FAILED, State.UNKNOWN)


def transition(run: Run, to: State, now: Timestamp, reason: Reason | None = None, because: str | None = None) -> Run:
    """Give the run in its new state: the only way to change one.

    An end sets `ended_at`, clears `due_at` and everything that was still to come. Raises IllegalTransition for a step
    that the table `LEGAL` does not have.
    """
    if to not in LEGAL[run.state]:
        raise IllegalTransition(f"run {run.id} of rule {run.rule} can't go from {run.state} to {to}")
    moved = replace(run, state=to, reason=reason, because=because)
    if to in _FAILED and run.failed_at is None:
        moved = replace(moved, failed_at=now)
    elif to is State.SUCCEEDED:
        moved = replace(moved, failed_at=None)  # it was unknown, and has proved good
    if to.open:
        return moved
    return replace(moved, ended_at=now, due_at=None, ending=None)


class EventKind(StrEnum):
    """What one line of history says."""

    NOTIFICATION = "notification.received"
    PROPOSED = "run.proposed"
    JOINED = "run.joined"
    MOVED = "run.moved"  # to another state, or to another reason for waiting
    ADMITTED = "run.admitted"
    REFUSED = "run.refused"
    HEALED = "run.healed"  # a planned run whose alerts resolved by themselves
    ASKED = "approval.asked"
    CLIMBED = "run.climbed"  # to the next rung
    REVERT_HELD = "revert.held"  # due, and not allowed to begin
    MISSED = "schedule.missed"  # a time of a schedule at which nothing was begun
    STEP_STARTED = "step.started"
    STEP_ENDED = "step.ended"
    CONTROL_LAID = "control.laid"
    CONTROL_LIFTED = "control.lifted"
    DELIVERED = "message.delivered"  # or given up: a notification that had been kept in the outbox
    LOST = "alerts.lost"  # not heard of for too long
    RULES_LOADED = "rules.loaded"
    DAEMON_STARTED = "daemon.started"
    DAEMON_STOPPED = "daemon.stopped"
    ANCHORED = "chain.anchored"  # the head of another replica's chain was seen


class Event(msgspec.Struct, frozen=True):
    """One line of history. The store numbers it and chains its hash to the one before."""

    at: Timestamp
    kind: EventKind
    run: str | None
    data: Mapping[str, Any]
