"""Occasions: runs that no alert opens. A schedule's, and those that a person proposes by hand or as a drill."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec.structs import replace

from remediator.engine.scope import base_scope, priority_of
from remediator.errors import RemediatorError
from remediator.model.identity import new_id
from remediator.model.run import EventKind, Mode, Origin, Priority, Reason, Run, State
from remediator.model.story import Story, stand_in
from remediator.model.time import Timestamp
from remediator.rules.rule import Rule
from remediator.rules.standing import Standing
from remediator.rules.templates import PendingValue, TemplateError, UnsafeValue
from remediator.store.protocol import RunFilter, Transaction


class NotProposed(RemediatorError):
    """Nothing was proposed, and why."""

    def __init__(self, message: str, run: str | None = None) -> None:
        super().__init__(message)
        self.run = run  # that is open already


class Occasion(msgspec.Struct, frozen=True):
    """What begins a run in an alert's place."""

    origin: Origin
    given: Mapping[str, str] = {}  # labels
    author: str | None = None
    reason: str | None = None
    drill: bool = False


async def propose(tx: Transaction, rule: Rule, occasion: Occasion, standing: Standing, now: Timestamp) -> Story:
    """Propose a run without an alert; it goes through the same guards.

    Raises NotProposed where a label that was given breaks a matcher that names it, the mode is `off`, or an open run is on
    the same target already.
    """
    drill, given = occasion.drill, {name: value for name, value in occasion.given.items() if value}
    # What a value may mean is for the rule's matchers to say: a person may do no more by it than an alert.
    broken = next((each for each in rule.match if each.name in given and not each.matches(given)), None)
    if broken is not None:
        words = f"{rule.name} is not for {broken.name}={given[broken.name]!r}: its `match` has {broken}"
        raise NotProposed(words)
    controls = await tx.controls(now)
    mode = standing.mode_in_force(rule, 0, None, controls, now)
    if mode is Mode.OFF:
        raise NotProposed(f"the mode in force for {rule.name} is off")
    run = Run(
        id=new_id(now), rule=rule.name, rule_hash=rule.hash, state=State.WAITING, created_at=now, opened_by=None,
        origin=occasion.origin, given=given, mode=mode, drill=drill, due_at=now,
        reason=Reason.FACTS if rule.facts else None,
    )  # fmt: skip
    scope = base_scope(run, stand_in(run), rule, (stand_in(run),), standing.public_url)
    priority, target = Priority.P1, None
    try:
        priority = priority_of(rule, scope)
        if "facts" not in rule.target.names:
            target = str(rule.target.render(scope)).strip() or None
    except (TemplateError, UnsafeValue, PendingValue):
        target = None  # its admission says what is wrong
    if target is not None:
        there = await tx.open_run(rule.name, target, drill=drill)
        if there is not None:
            raise NotProposed(f"run {there.id} of {rule.name} on {target} is open already", there.id)
    elif occasion.origin is Origin.SCHEDULE:  # else they would pile up under a pause, and all be done after it
        waiting = await tx.runs(RunFilter(rule=rule.name, state=State.WAITING, open_only=True))
        unnamed = next((run for run in waiting if run.origin is Origin.SCHEDULE and run.target is None), None)
        if unnamed is not None:
            words = f"run {unnamed.id} of {rule.name} waits already, and its target is not known yet"
            raise NotProposed(words, unnamed.id)
    story = Story(run=replace(run, priority=priority, target=target), alert=stand_in(run)).tell(
        EventKind.PROPOSED, now, rule=rule.name, rule_hash=rule.hash, target=target, mode=mode, priority=priority,
        origin=occasion.origin, drill=drill, author=occasion.author, given_reason=occasion.reason, labels=occasion.given,
    )  # fmt: skip
    await tx.add([story])
    return story
