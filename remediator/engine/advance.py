"""What a run does next: one pure function, from a story and its surroundings to the story further on and an effect.

`advance` goes on until the world has to do something: an action to call, a time or a person to wait for, or the books to be
read for admission. The daemon, dry-run and the explainer all drive this same function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from remediator.actions.protocol import Effect as ActionEffect
from remediator.engine.scope import base_scope, with_results
from remediator.execute import Call, Course, Failed, Interrupted, Next, Wait, walk
from remediator.model.alert import Episode
from remediator.model.run import Control, ControlKind, EventKind, Mode, Phase, Reason, State, Step, lowest
from remediator.model.story import Story
from remediator.model.time import Seconds, Timestamp, format_duration
from remediator.rules.rule import Rule, StepRule, Verify
from remediator.rules.templates import PendingValue, TemplateError, UnsafeValue
from remediator.verify import Judgement, doubts, judge, passed, verdict

FACTS_AGE: Seconds = 30.0  # facts older than this are read again before they decide anything
_UNKNOWN_EVERY: Seconds = 60.0  # how often an unknown run's checks are polled once `within` has passed


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


def advance(story: Story, rule: Rule, around: Surroundings) -> tuple[Story, Effect]:
    """Take a story as far as it goes without the world. Pure; never called while a step of the run is at work."""
    while story.run.open:
        stage = _follow_up if story.run.ending is not None else _STAGES[story.run.state]
        story, effect = stage(story, rule, around)
        if isinstance(effect, Call) and story.run.ending is None and story.run.state is not State.UNKNOWN:
            # At work: a pause or a `for` that is over is no longer its reason.
            story = story.with_run(reason=Reason.FACTS if story.run.state is State.WAITING else None, because=None)
        if effect is not None:
            return story, effect
    return story, Ended()


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


# -- stages --


def _waiting(story: Story, rule: Rule, around: Surroundings) -> Move:
    run, now = story.run, around.now
    over = _cancelled(story, around)
    if over is not None:
        return over, None
    if around.firing == 0 and around.lost:
        return story.move(State.CANCELLED, now, Reason.LOST, "nothing was heard of its alerts for too long"), None
    if around.firing == 0:
        return story.move(State.CANCELLED, now, Reason.RESOLVED, "its alerts resolved before it began"), None
    mode = lowest(around.mode, rule.mode)
    if mode is Mode.OFF:
        return story.move(State.CANCELLED, now, Reason.OFF, "the mode in force became `off` before it began"), None
    story = story.with_run(mode=mode)
    held = _held(story, around)
    if held is not None:
        return held, Rest()
    ready = (around.first_seen if around.first_seen is not None else run.created_at) + rule.for_
    if ready > now:
        return story.rest(ready, now, Reason.FOR, f"for {format_duration(rule.for_)}"), Rest()
    story, effect = _facts(story, rule, around)
    if effect is not None or not story.run.open or story.run.ending is not None:
        return story, effect
    if story.run.target is None:
        return _name_target(story, rule, around)
    return story, Admit()


def _facts(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Read the facts, all of them again when the last reading is too old."""
    known = story.of(Phase.FACTS)
    read_at = max((step.ended_at for step in known if step.ended_at is not None), default=None)
    if read_at is not None and around.now - read_at > FACTS_AGE:
        story = replace_steps(story, tuple(step for step in story.steps if step.phase is not Phase.FACTS))
    facts = (*rule.facts, *((around.presence_check,) if around.presence_check is not None else ()))
    story, found = _go(story, Course(Phase.FACTS, facts, hosts=around.hosts), rule, around)
    if isinstance(found, Call):
        return story, found
    if isinstance(found, Wait):
        return story.rest(found.until, around.now, Reason.FACTS), Rest()
    if isinstance(found, Failed | Interrupted):
        step = found.step
        because = f"the fact {step.id or step.uses} could not be read: {step.error}"
        return block(story, rule, Reason.FACTS, because, around.now), None
    return (story if around.presence_check is None else _presence(story, rule, around)), None


def _presence(story: Story, rule: Rule, around: Surroundings) -> Story:
    """Judge what Alertmanager's API says of the run's alerts: gone means resolved, suppressed starts nothing."""
    told = story.of(Phase.FACTS)[-1].result
    mine = {alert.fingerprint for alert in around.alerts if alert.firing}
    there = [each for each in told["alerts"] if each["fingerprint"] in mine]
    if not there:
        return story.move(State.CANCELLED, around.now, Reason.RESOLVED, "Alertmanager no longer has its alerts")
    if all(each["state"] == "suppressed" for each in there):
        return block(story, rule, Reason.SILENCED, "its alerts are silenced or inhibited in Alertmanager", around.now)
    return story


def replace_steps(story: Story, steps: tuple[Step, ...]) -> Story:
    """Forget some records: their steps will be taken again."""
    return Story(run=story.run, alert=story.alert, steps=steps, events=story.events, touched=story.touched)


def _name_target(story: Story, rule: Rule, around: Surroundings) -> Move:
    try:
        target = str(rule.target.render(scope_of(story, rule, around))).strip()
        if not target:
            raise TemplateError("target is an empty text, and an empty target would mean anything")
    except UnsafeValue as error:
        return block(story, rule, Reason.UNSAFE_VALUE, str(error), around.now), None
    except (TemplateError, PendingValue) as error:
        return block(story, rule, Reason.TEMPLATE_ERROR, str(error), around.now), None
    return story.with_run(target=target), None


def _running(story: Story, rule: Rule, around: Surroundings) -> Move:
    now = around.now
    stopped = _stopped(story, rule, around)
    if stopped is not None:
        return stopped, None
    if rule.when_resolved == "cancel" and around.firing == 0 and not story.run.dry:
        return story.move(State.CANCELLED, now, Reason.RESOLVED, "all its alerts have resolved"), None
    held = _held(story, around)
    if held is not None:
        return held, Rest()
    course = Course(Phase.STEPS, rule.steps, dry=story.run.dry, rung=story.run.rung, hosts=around.hosts)
    story, found = _go(story, course, rule, around)
    if isinstance(found, Call):
        return _starting(story, found), found
    if isinstance(found, Wait):
        return story.rest(found.until, now), Rest()
    if isinstance(found, Interrupted):
        return _unsure(story, found.step, now), None
    if isinstance(found, Failed):
        late = _late(story, rule, now)
        because = f"step {found.step.id or found.step.uses}: {found.step.error}"
        return _end(story, rule, State.FAILED, (Reason.DEADLINE if late else Reason.STEP, because)), None
    if story.run.dry:
        # In its books it counts as one that began: the next dry run cools down as a live one would.
        story = story.with_run(started_at=story.run.started_at if story.run.started_at is not None else now)
        return story.move(State.PLANNED, now, None, "dry-run: everything but the writing was done"), None
    if rule.verify is None:
        return _end(story, rule, State.SUCCEEDED, (None, None)), None
    story = story.with_run(phase=Phase.VERIFY, verify_since=now, poll=1, poll_at=now, good_since=None)
    return story.move(State.VERIFYING, now), None


def _starting(story: Story, call: Call) -> Story:
    run = story.run
    return story.with_run(
        started_at=run.started_at if run.started_at is not None else call.step.started_at,
        wrote=run.wrote or call.rule.effect is ActionEffect.WRITE,
    )


def _verifying(story: Story, rule: Rule, around: Surroundings) -> Move:
    now = around.now
    stopped = _stopped(story, rule, around)
    if stopped is not None:
        return stopped, None
    held = _held(story, around)
    if held is not None:
        return held, Rest()
    verify = rule.verify or Verify()
    story, effect, polled = _poll(story, rule, verify, around)
    if effect is not None or polled is None:
        return story, effect
    judgement, words = polled
    if judgement is Judgement.HOLDS and passed(verify, story.run, now):
        return _end(story, rule, State.SUCCEEDED, (None, None)), None
    over = verdict(verify, story.run, judgement, now)
    if over is not None:
        reason, because = over
        return _end(story, rule, State.FAILED, (reason, f"{because}: {words}")), None
    until = (story.run.verify_since or now) + verify.within
    return _next_poll(story, min(now + verify.every, until), verify, now), Rest()


def _unknown(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Open till verification proves it good or a person resolves it."""
    now = around.now
    order = _order(around, ControlKind.RESOLVE)
    if order is not None and order.outcome is not None:
        return story.move(order.outcome, now, Reason.OPERATOR, _by(order)), None
    held = _held(story, around)
    if held is not None:
        return held, Rest()
    if rule.verify is None or story.run.phase is Phase.UNDO:
        return story.rest(None, now, story.run.reason, story.run.because), Rest()
    story, effect, polled = _poll(story, rule, rule.verify, around)
    if effect is not None or polled is None:
        return story, effect
    judgement, _ = polled
    if judgement is Judgement.HOLDS and passed(rule.verify, story.run, now):
        return _end(story, rule, State.SUCCEEDED, (Reason.INTERRUPTED, "verification has proved it good")), None
    young = now - (story.run.verify_since or now) < rule.verify.within
    every = rule.verify.every if young else max(rule.verify.every, _UNKNOWN_EVERY)
    return _next_poll(story, now + every, rule.verify, now), Rest()


def _follow_up(story: Story, rule: Rule, around: Surroundings) -> Move:
    """Run what follows from an ending that is decided: `undo`, then `on_failure`; or `on_success`, or `on_blocked`."""
    now, run = around.now, story.run
    held = _held(story, around)
    if held is not None:
        return held, Rest()
    course = Course(run.phase, rule.list_for(run.phase), dry=run.dry, rung=run.rung, hosts=around.hosts)
    story, found = _go(story, course, rule, around)
    if isinstance(found, Call):
        return story, found
    if isinstance(found, Wait):
        return story.with_run(due_at=found.until), Rest()
    if run.phase is Phase.UNDO:
        if isinstance(found, Interrupted):
            return _unsure(story.with_run(ending=None), found.step, now), None
        return story.with_run(phase=Phase.ON_FAILURE), None
    if run.ending is None:
        raise AssertionError("a follow-up without an ending")
    return story.move(run.ending, now, run.reason, run.because), None


# No run waits for approval yet: `approve` is refused when rules and configuration are loaded.
_STAGES: Mapping[State, Callable[[Story, Rule, Surroundings], Move]] = {
    State.WAITING: _waiting,
    State.RUNNING: _running,
    State.VERIFYING: _verifying,
    State.UNKNOWN: _unknown,
}


# -- what the stages share --


def _go(story: Story, course: Course, rule: Rule, around: Surroundings) -> tuple[Story, Next]:
    """Walk a list, record what that adds, and bound the call by the run's deadline."""
    base = base_scope(story.run, story.alert, rule, around.alerts, around.public_url)
    scope = partial(_with_steps, base, rule)
    added, found = walk(course, story.steps, scope, around.now)
    for step in added:
        story = story.record(step, around.now)
    if isinstance(found, Call) and story.run.admitted_at is not None and course.phase in (Phase.STEPS, Phase.VERIFY):
        left = story.run.admitted_at + rule.deadline - around.now
        found = replace(found, timeout=max(0.1, min(found.timeout, left)))
    return story, found


def _with_steps(base: Mapping[str, Any], rule: Rule, steps: Sequence[Step]) -> Mapping[str, Any]:
    return with_results(base, steps, rule)


def _end(story: Story, rule: Rule, ending: State, why: tuple[Reason | None, str | None]) -> Story:
    """Decide how a run ends; the transition follows when its follow-ups have run."""
    reason, because = why
    if ending is State.SUCCEEDED:
        phase = Phase.ON_SUCCESS
    elif story.run.wrote and rule.undo and reason is not Reason.INCONCLUSIVE and story.run.phase is not Phase.UNDO:
        phase = Phase.UNDO
    else:
        phase = Phase.ON_FAILURE
    return story.with_run(ending=ending, phase=phase, reason=reason, because=because)


def _unsure(story: Story, step: Step, now: Timestamp) -> Story:
    because = f"step {step.id or step.uses}: {step.error}"
    phase = story.run.phase
    story = story.with_run(verify_since=now, poll=story.run.poll + 1, poll_at=now, good_since=None)
    return story.move(State.UNKNOWN, now, Reason.INTERRUPTED, because).with_run(phase=phase)


def _stopped(story: Story, rule: Rule, around: Surroundings) -> Story | None:
    over = _cancelled(story, around)
    if over is not None:
        return over
    if _late(story, rule, around.now):
        because = f"not done within its deadline of {format_duration(rule.deadline)}"
        return _end(story, rule, State.FAILED, (Reason.DEADLINE, because))
    return None


def _late(story: Story, rule: Rule, now: Timestamp) -> bool:
    return story.run.admitted_at is not None and now - story.run.admitted_at >= rule.deadline


def _cancelled(story: Story, around: Surroundings) -> Story | None:
    order = _order(around, ControlKind.CANCEL)
    return None if order is None else story.move(State.CANCELLED, around.now, Reason.OPERATOR, _by(order))


def _order(around: Surroundings, kind: ControlKind) -> Control | None:
    return next((control for control in around.controls if control.kind is kind), None)


def _by(order: Control) -> str:
    return f"{order.author}: {order.reason}" if order.reason else f"by {order.author}"


def _held(story: Story, around: Surroundings) -> Story | None:
    """Hold a run under a pause: nothing starts, and what was started has ended by now."""
    run = story.run
    for control in around.controls:
        if control.kind is ControlKind.PAUSE and control.covers(run.rule, run.target):
            if run.ending is not None or run.state is State.UNKNOWN:
                return story.with_run(due_at=control.until)  # its reason says how it will end, and must not be lost
            return story.rest(control.until, around.now, Reason.PAUSED, f"paused by {_by(control)}")
    return None


def _poll(
    story: Story, rule: Rule, verify: Verify, around: Surroundings
) -> tuple[Story, Effect | None, tuple[Judgement, str] | None]:
    """Poll all checks once. Gives an effect while that isn't done, then what the poll came to, in words too."""
    run, now = story.run, around.now
    resolved = None if not verify.resolved or around.resolved_check is not None else around.firing == 0
    unheard = resolved is True and around.lost > 0  # gone quiet is not resolved
    if run.poll_at is not None and now < run.poll_at and not (resolved and run.good_since is None):
        return _rest_between_polls(story, run.poll_at, now), Rest(), None
    checks = verify.checks
    if verify.resolved and around.resolved_check is not None:
        checks = (*checks, around.resolved_check)
    course = Course(Phase.VERIFY, checks, rung=run.rung, first_attempt=run.poll, to_the_end=True, hosts=around.hosts)
    story, found = _go(story, course, rule, around)
    if isinstance(found, Call):
        return story, found, None
    if isinstance(found, Wait):
        return _rest_between_polls(story, found.until, now), Rest(), None
    polled = tuple(step for step in story.of(Phase.VERIFY) if step.attempt >= run.poll)
    judgement = judge(polled, resolved, unheard=unheard)
    good_since = (run.good_since if run.good_since is not None else now) if judgement is Judgement.HOLDS else None
    return story.with_run(good_since=good_since), None, (judgement, doubts(polled, resolved))


def _next_poll(story: Story, at: Timestamp, verify: Verify, now: Timestamp) -> Story:
    run = story.run
    if run.good_since is not None:
        at = min(at, run.good_since + verify.stable_for)
    return _rest_between_polls(story.with_run(poll=run.poll + 1, poll_at=at), at, now)


def _rest_between_polls(story: Story, until: Timestamp, now: Timestamp) -> Story:
    if story.run.state is State.UNKNOWN:
        return story.rest(until, now, Reason.INTERRUPTED, story.run.because)
    return story.rest(until, now)
