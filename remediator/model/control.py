"""Controls: what is laid on everything, on a rule, a target or a run, by a person or by the daemon's own guards."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from remediator.model.run import Book, Mode, State
from remediator.model.time import Timestamp


class ControlKind(StrEnum):
    """What a person lays on the daemon, or on one run."""

    PAUSE = "pause"
    MODE = "mode"  # the highest mode that may be in force
    BREAKER = "breaker"  # laid by the daemon after too many failures; a person closes it, or its span
    STORM = "storm"  # laid by the daemon while too many alerts begin, and for a while after
    CANCEL = "cancel"  # one run
    RESOLVE = "resolve"  # one unknown run: a person says what became of it
    APPROVE = "approve"  # one run's plan
    REJECT = "reject"  # one run's plan


class Control(msgspec.Struct, frozen=True):
    """Something laid on everything, on a rule or a target, or on one run, by a person or by the daemon's own guards.

    Only a person lifts it, or the span that it was given.
    """

    id: str
    kind: ControlKind
    laid_at: Timestamp
    author: str
    reason: str
    rule: str | None = None  # a pause of one rule
    target: str | None = None  # a pause of one target
    run: str | None = None
    outcome: State | None = None  # RESOLVE: `succeeded` or `failed`
    mode: Mode | None = None  # MODE
    plan_hash: str | None = None  # APPROVE: the one plan that it is for
    book: Book = (
        Book.LIVE
    )  # BREAKER: whose failures opened it; one of dry runs holds dry runs alone, a live one holds both
    until: Timestamp | None = None
    lifted_at: Timestamp | None = None
    lifted_by: str | None = None

    def covers(self, rule: str, target: str | None) -> bool:
        """Tell whether it is laid on this rule and target (a target that is not known yet is not held by its name)."""
        return (self.rule is None or self.rule == rule) and (self.target is None or self.target == target)
