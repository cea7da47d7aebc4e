"""What the stages of a run share: its surroundings, the effects, and the moves that more than one stage makes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import msgspec

from remediator.engine.scope import base_scope, with_results
from remediator.execute import Call, Course, Next, walk
from remediator.guard import Refusal
from remediator.model.alert import Episode
from remediator.model.control import Control, ControlKind
from remediator.model.run import EventKind, Mode, Origin, Phase, Reason, Run, State, Step
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp
from remediator.rules.rule import Rule
from remediator.rules.standing import Standing

_BY_DEADLINE = frozenset({Phase.STEPS, Phase.VERIFY, Phase.REVERT})
_NOT_UNDONE = frozenset({Phase.UNDO, Phase.REVERT})
_LOOK_AGAIN: Seconds = 15.0  # how often a refusal that has no known end is looked at again, under `patience`


@dataclass(frozen=True, slots=True)
class Surroundings:
    """All that a run's next move depends on, beside the run and its rule."""

    now: Timestamp
    standing: Standing
    controls: Sequence[Control] = ()
    firing: int = 1  # how many of its alerts fire
    first_seen: Timestamp | None = None  # the earliest among those that fire
    alerts: Sequence[Episode] = ()  # filled where the rule asks for them
    lost: int = 0  # how many of its alerts were closed without anybody saying that they resolved

    def resolved(self, run: Run) -> bool:
        """Tell whether all alerts of a run have resolved: gone quiet is not resolved."""
        return run.by_alert and self.firing == 0 and not self.lost

    def mode(self, rule: Rule, run: Run) -> Mode:
        """Give the mode in force for a run; what the daemon has to say for itself is always said."""
        if run.origin is Origin.NOTICE:
            return Mode.AUTO
        return self.standing.mode_in_force(rule, run.rung, run.target, self.controls, self.now)


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
    base = base_scope(story.run, story.alert, rule, around.alerts, around.standing.public_url)
    return with_results(base, story, rule, planning=planning)


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
    if rule.on_blocked and reason is not Reason.STORM:  # a storm gives one notice, not one for each run
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


def end(story: Story, rule: Rule, ending: State, why: tuple[Reason | None, str | None]) -> Story:
    """Decide how a run ends; the transition follows when its follow-ups have run."""
    reason, because = why
    run = story.run
    if ending is State.SUCCEEDED:
        phase = Phase.ON_SUCCESS
    elif run.wrote and rule.undo and reason is not Reason.INCONCLUSIVE and run.phase not in _NOT_UNDONE:
        phase = Phase.UNDO
    else:
        phase = Phase.ON_FAILURE
    return story.with_run(ending=ending, phase=phase, reason=reason, because=because)


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

    The time that a pause takes is nobody's delay: neither the deadline, nor the verification's span, nor patience runs
    meanwhile, and what was seen to hold before proves nothing after.
    """
    run, now = story.run, around.now
    for control in around.controls if run.origin is not Origin.NOTICE else ():
        if control.kind is ControlKind.PAUSE and control.covers(run.rule, run.target):
            since = run.paused_since if run.paused_since is not None else max(control.laid_at, run.created_at)
            story = story.with_run(paused_since=since, pause_ends=control.until, good_since=None)
            if run.ending is not None or run.state is State.UNKNOWN:
                return story.with_run(due_at=control.until), True  # its reason says how it ends, and must not be lost
            return story.rest(control.until, now, Reason.PAUSED, f"paused by {by(control)}"), True
    if run.paused_since is None:
        return story, False
    span = pause_so_far(run, now)
    spans = (
        ("verify_since", run.verify_since),
        ("ask_until", run.ask_until),
        ("refused_since", run.refused_since),
    )
    later = {name: None if at is None else at + span for name, at in spans}
    asked = run.state is State.AWAITING_APPROVAL  # that time is counted whole, when the answer is there
    paused_for = run.paused_for + (0.0 if asked else span)
    return story.with_run(paused_since=None, pause_ends=None, paused_for=paused_for, **later), False


def pause_so_far(run: Run, now: Timestamp) -> float:
    """Give how long a pause has held a run: to the pause's end, and not to when we look again, which may be later."""
    if run.paused_since is None:
        return 0.0
    return min(now, run.pause_ends if run.pause_ends is not None else now) - run.paused_since


def late(story: Story, rule: Rule, now: Timestamp) -> bool:
    """Tell whether the run's deadline has passed, waiting for people aside."""
    at = _deadline(story.run, rule)
    return at is not None and now >= at


def in_time(until: Timestamp, story: Story, rule: Rule) -> Timestamp:
    """Give when a run at work looks again that has to wait till then: at its deadline, if that comes first."""
    at = _deadline(story.run, rule)
    return until if at is None else min(until, at)


def _deadline(run: Run, rule: Rule) -> Timestamp | None:
    since = run.admitted_at if run.admitted_at is not None else run.started_at  # a revert is never admitted
    return None if since is None else since + run.paused_for + rule.deadline


def go(story: Story, course: Course, rule: Rule, around: Surroundings) -> tuple[Story, Next]:
    """Walk a list, record what that adds, and bound the call by the run's deadline."""
    base = base_scope(story.run, story.alert, rule, around.alerts, around.standing.public_url)
    scope = partial(_with_steps, base, story, rule)
    added, found = walk(course, story.steps, scope, around.now)
    for step in added:
        story = story.record(step, around.now)
    if isinstance(found, Call) and course.phase in _BY_DEADLINE:
        end_by = in_time(around.now + found.timeout, story, rule)
        found = replace(found, timeout=max(0.1, end_by - around.now))
    return story, found


def _with_steps(base: Mapping[str, Any], story: Story, rule: Rule, steps: Sequence[Step]) -> Mapping[str, Any]:
    return with_results(base, msgspec.structs.replace(story, steps=tuple(steps)), rule)
