"""What the stages of a run share: its surroundings, the effects, and the moves that more than one stage makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from remediator.engine.scope import base_scope, with_results
from remediator.execute import Call, Course, Next, walk
from remediator.guard import Refusal
from remediator.model.alert import Episode
from remediator.model.run import Control, ControlKind, EventKind, Mode, Phase, Reason, State, Step
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp
from remediator.rules.rule import Rule, StepRule

_LOOK_AGAIN: Seconds = 15.0  # how often a refusal that has no known end is looked at again, under `patience`


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that a run's next move depends on, beside the run and its rule."""

    now: Timestamp
    mode: Mode = Mode.AUTO  # the daemon's
    controls: Sequence[Control] = ()
    firing: int = 1  # how many of its alerts fire
    first_seen: Timestamp | None = None  # the earliest among those that fire
    alerts: Sequence[Episode] = ()  # filled where the rule asks for them
    hosts: Sequence[str] = ()  # `http.allow`
    public_url: str = ""
    lost: int = 0  # how many of its alerts were closed without anybody saying that they resolved
    resolved_check: StepRule | None = None  # asks Alertmanager's API, where one is configured
    presence_check: StepRule | None = None  # likewise, before admission: still there, and not silenced?


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing to do until the run is due again: `run.due_at` says when."""


@dataclass(frozen=True, slots=True)
class Admit:
    """The run is ready: the books have to be read, in the same transaction."""


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing will happen to this run any more."""


Effect: TypeAlias = Call | Rest | Admit | Ended
Move: TypeAlias = tuple[Story, Effect | None]  # None: go on


def scope_of(story: Story, rule: Rule, around: Surroundings, *, planning: bool = False) -> dict[str, Any]:
    """Give what the templates of this run see now."""
    base = base_scope(story.run, story.alert, rule, around.alerts, around.public_url)
    return with_results(base, story.steps, rule, planning=planning)


def block(story: Story, rule: Rule, reason: Reason, because: str, now: Timestamp) -> Story:
    """Refuse a run: `on_blocked` follows, once."""
    told = story.tell(
        EventKind.REFUSED,
        now,
        rule=rule.name,
        target=story.run.target,
        mode=story.run.mode,
        reason=reason,
        because=because,
    )
    if rule.on_blocked:
        return told.with_run(ending=State.BLOCKED, phase=Phase.ON_BLOCKED, reason=reason, because=because)
    return told.move(State.BLOCKED, now, reason, because)


def refuse(story: Story, rule: Rule, refusal: Refusal, now: Timestamp) -> tuple[Story, Rest | None]:
    """Refuse a run, or let it wait for the refusal to clear as long as the rule has patience."""
    since = story.run.refused_since if story.run.refused_since is not None else now
    patient_until = since + rule.guards.patience
    if now >= patient_until:
        return block(story, rule, refusal.reason, refusal.because, now), None
    look = refusal.clears_at if refusal.clears_at is not None else now + _LOOK_AGAIN
    story = story.with_run(refused_since=since)
    return story.rest(min(look, patient_until), now, refusal.reason, refusal.because), Rest()


def cancelled(story: Story, around: Surroundings) -> Story | None:
    """Obey a person's order to cancel, if one was laid."""
    ordered = order(around, ControlKind.CANCEL)
    return None if ordered is None else story.move(State.CANCELLED, around.now, Reason.OPERATOR, by(ordered))


def order(around: Surroundings, kind: ControlKind) -> Control | None:
    """Give the order of a kind that was laid on this run."""
    return next((control for control in around.controls if control.kind is kind), None)


def by(ordered: Control) -> str:
    """Say who ordered, and why."""
    return f"{ordered.author}: {ordered.reason}" if ordered.reason else f"by {ordered.author}"


def held(story: Story, around: Surroundings) -> tuple[Story, bool]:
    """Hold a run under a pause: nothing starts, and what was started has ended by now.

    The time that a pause takes is nobody's delay: neither the deadline nor the verification's span runs meanwhile, and
    what was seen to hold before proves nothing after.
    """
    run, now = story.run, around.now
    for control in around.controls:
        if control.kind is ControlKind.PAUSE and control.covers(run.rule, run.target):
            since = run.paused_since if run.paused_since is not None else now
            story = story.with_run(paused_since=since, good_since=None)
            if run.ending is not None or run.state is State.UNKNOWN:
                return story.with_run(due_at=control.until), True  # its reason says how it ends, and must not be lost
            return story.rest(control.until, now, Reason.PAUSED, f"paused by {by(control)}"), True
    if run.paused_since is None:
        return story, False
    span = now - run.paused_since
    verify_since = None if run.verify_since is None else run.verify_since + span
    return story.with_run(paused_since=None, paused_for=run.paused_for + span, verify_since=verify_since), False


def late(story: Story, rule: Rule, now: Timestamp) -> bool:
    """Tell whether the run's deadline has passed, waiting for people aside."""
    run = story.run
    return run.admitted_at is not None and now - run.admitted_at - run.paused_for >= rule.deadline


def go(story: Story, course: Course, rule: Rule, around: Surroundings) -> tuple[Story, Next]:
    """Walk a list, record what that adds, and bound the call by the run's deadline."""
    base = base_scope(story.run, story.alert, rule, around.alerts, around.public_url)
    scope = partial(_with_steps, base, rule)
    added, found = walk(course, story.steps, scope, around.now)
    for step in added:
        story = story.record(step, around.now)
    if isinstance(found, Call) and story.run.admitted_at is not None and course.phase in (Phase.STEPS, Phase.VERIFY):
        left = story.run.admitted_at + story.run.paused_for + rule.deadline - around.now
        found = replace(found, timeout=max(0.1, min(found.timeout, left)))
    return story, found


def _with_steps(base: Mapping[str, Any], rule: Rule, steps: Sequence[Step]) -> Mapping[str, Any]:
    return with_results(base, steps, rule)
